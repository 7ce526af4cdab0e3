//! What a running load test shows: a live view on a terminal, a line a second otherwise. Both draw on standard error,
//! for standard output may be the JSON.
//!
//! The view only shows. It measures nothing, and it is fed once a second by the thread that merges the ticks, never
//! by a thread that sends. Enter at [`View::start`].
mod draw;
pub(crate) mod live;
pub(crate) mod paint;
mod plain;

use crate::load::report::timeline::Timeline;
use std::io::IsTerminal;

/// Everything shown at one moment. Times are seconds from the run's start, latencies nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The URL, or both of a comparison.
    pub target: String,
    /// What is being done: `warm-up`, `measuring`, `probe 7, up: 48 k/s`.
    pub phase: String,
    /// Whether requests leave by a plan; a closed loop says so.
    pub open: bool,
    /// Time since the measured run began.
    pub elapsed_s: f64,
    /// How long it will take, where that is known.
    pub duration_s: Option<f64>,
    /// Rate that the plan asks for now; 0 in a closed loop.
    pub offered_per_s: f64,
    /// Rate of completed requests in the last second.
    pub completed_per_s: f64,
    /// Requests without a reply.
    pub in_flight: u64,
    /// Requests that are due and have no connection.
    pub queued: u64,
    /// Counts since the start: requests sent, completed, ended without a reply, answered against expectation.
    pub sent: u64,
    /// Completed requests since the start.
    pub completed: u64,
    /// Requests without a reply since the start.
    pub errors: u64,
    /// Replies against expectation since the start.
    pub unexpected: u64,
    /// Percentiles of the latency since the start, in the order shown; `None` where the samples cannot bear one.
    pub percentiles: Vec<(&'static str, Option<u64>)>,
    /// Classes of requests; shown when there are several.
    pub classes: Vec<ClassLine>,
    /// Limit (`none`, `server`, `generator`, `platform`) and the reason, as far as the run has come.
    pub verdict: Option<(&'static str, String)>,
    /// Running ratios of a comparison.
    pub ratios: Vec<RatioLine>,
    /// What happened of late, newest last: faults done, warnings. Only the last few are shown.
    pub notes: Vec<String>,
}

/// One class of requests in the view.
#[derive(Clone, Debug, Default)]
pub struct ClassLine {
    /// Name as in the JSON.
    pub name: String,
    /// Requests completed.
    pub completed: u64,
    /// Replies against expectation.
    pub unexpected: u64,
    /// 99th percentile in nanoseconds, where there are samples enough.
    pub p99_ns: Option<u64>,
}

/// One running ratio of a comparison, second target to first.
#[derive(Clone, Debug, Default)]
pub struct RatioLine {
    /// What is compared, for instance `p99`.
    pub what: String,
    /// The ratio and its interval.
    pub ratio: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// `better`, `worse` or `not told apart`.
    pub answer: String,
}

/// What the user wants of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Go on.
    Go,
    /// End now, with the results so far: `q`, Ctrl-C, SIGINT or SIGTERM.
    Stop,
}

/// The view of a run: live on a terminal, plain lines otherwise.
pub struct View(Kind);

enum Kind {
    Live(Box<live::Live>),
    Plain(plain::Plain),
    Quiet,
}

impl View {
    /// Chooses by standard error: a terminal that can be drawn on gets the live view, which takes the keyboard and
    /// SIGINT and SIGTERM until it is dropped; anything else gets plain lines. `quiet` shows nothing.
    pub fn start(quiet: bool) -> View {
        if quiet {
            return View(Kind::Quiet);
        }
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if !std::io::stderr().is_terminal() || dumb {
            return View(Kind::Plain(plain::Plain::new()));
        }
        // A terminal that refuses (no size, no raw mode) still reads lines.
        live::Live::start()
            .map_or_else(|_| View(Kind::Plain(plain::Plain::new())), |live| View(Kind::Live(Box::new(live))))
    }

    /// Plain lines, also on a terminal.
    pub fn plain() -> View {
        View(Kind::Plain(plain::Plain::new()))
    }

    /// Shows `now`; call it once a second. Failing to draw is not a reason to end a measurement and is ignored.
    pub fn update(&mut self, now: &Snapshot, timeline: &Timeline) -> Wish {
        match &mut self.0 {
            Kind::Live(live) => live.update(now, timeline),
            Kind::Plain(plain) => {
                plain.update(now, timeline, &mut std::io::stderr());
                Wish::Go
            }
            Kind::Quiet => Wish::Go,
        }
    }
}
