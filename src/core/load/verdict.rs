//! Who limited the run: nobody, the server, the generator or the platform below both.
//!
//! A rule names what it saw and is only asked when the ones before it did not hold: a platform that steals
//! time makes a generator late, and a late generator makes a server look slow, so the lowest layer is judged
//! first. The verdict refuses to guess: what was not measured is said in its words.
use super::summary::{Mode, Summary};
use alloc::format;
use alloc::string::String;

/// What was measured beside the requests, over the same stretch. Zero where nothing of the kind happened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Controls {
    /// Samples of the idle probe; 0: it did not run, and the platform is not judged by it.
    pub probe_samples: u64,
    /// 99 % of the probe's samples were late by no more than this, in nanoseconds.
    pub hiccup_p99_ns: u64,
    /// Its largest lateness, in nanoseconds.
    pub hiccup_max_ns: u64,
    /// Time that the probe lost to hiccups, of all its time (0 to 1).
    pub hiccup_share: f64,
    /// CPU time that the hypervisor gave to others, of the time of the cores used (0 to 1).
    pub steal_share: f64,
    /// Time that the control group was throttled for its quota, in nanoseconds.
    pub throttled_ns: u64,
    /// Time that the generator's threads waited for a core, of their time (0 to 1).
    pub run_queue_share: f64,
    /// Median lateness of sending, in nanoseconds, of requests for which a connection was free.
    pub send_lag_p50_ns: u64,
    /// Its 99 % quantile, in nanoseconds.
    pub send_lag_p99_ns: u64,
    /// Time that the busiest generator thread worked and did not wait (0 to 1).
    pub generator_busy_share: f64,
    /// Requests sent a second, divided by those of the plan; 1 in a closed loop.
    pub achieved_share: f64,
    /// Most requests that waited for a free connection at the end of any interval.
    pub queued_max: u64,
    /// Growth of requests queued and in flight from the first to the last quarter, a second.
    pub in_flight_growth_per_s: f64,
}

/// The limit of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The plan was kept and nothing disturbed it.
    None,
    /// The server did not keep up.
    Server,
    /// The load generator did not keep up: the figures are its own.
    Generator,
    /// The machine disturbed the run: the figures are not the server's alone.
    Platform,
}

impl Limit {
    /// `none`, `server`, `generator` or `platform`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Limit::None => "none",
            Limit::Server => "server",
            Limit::Generator => "generator",
            Limit::Platform => "platform",
        }
    }
}

/// The limit, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Who limited the run.
    pub limit: Limit,
    /// What was seen, with its figures, in one sentence or two.
    pub why: String,
}

/// Time lost to hiccups, steal or throttling above which the platform is blamed: a hundredth of the time
/// lost is what a p99 is made of.
const LOST_SHARE: f64 = 0.01;
/// Part of a latency quantile above which a disturbance explains it.
const PART_OF_TAIL: f64 = 0.2;
/// Waiting for a core above which the generator did not own its cores.
const RUN_QUEUE_SHARE: f64 = 0.05;
/// A thread busier than this has no room to be on time.
const BUSY_SHARE: f64 = 0.9;
/// Sent below this part of the plan, the rate was not kept.
const ACHIEVED_SHARE: f64 = 0.99;
/// Failed or unexpected above this share, the server did not serve the load.
const FAILED_SHARE: f64 = 0.001;
/// Requests piling up faster than this part of the rate, the server does not keep up.
const GROWTH_SHARE: f64 = 0.01;
/// Sending is not called late below this, in nanoseconds: two histogram cells of noise and a spinning
/// pacer's own turn are of this size.
const LAG_NOISE_NS: u64 = 5_000;

/// Judges a run.
pub fn judge(controls: &Controls, summary: &Summary) -> Verdict {
    let rules: [(Limit, Rule); 3] =
        [(Limit::Platform, platform), (Limit::Generator, generator), (Limit::Server, server)];
    for (limit, rule) in rules {
        if let Some(why) = rule(controls, summary) {
            return Verdict { limit, why };
        }
    }
    let mut why = format!(
        "{:.1} % of the plan was sent, send lag p99 {}, generator busy {:.0} %",
        controls.achieved_share * 100.0,
        time(controls.send_lag_p99_ns),
        controls.generator_busy_share * 100.0
    );
    if controls.probe_samples == 0 {
        why.push_str("; no hiccup probe ran, so short disturbances of the platform are not excluded");
    }
    Verdict { limit: Limit::None, why }
}

type Rule = fn(&Controls, &Summary) -> Option<String>;

fn platform(c: &Controls, s: &Summary) -> Option<String> {
    let throttled_share = share(c.throttled_ns as f64, s.elapsed_ns as f64);
    if c.steal_share > LOST_SHARE {
        return Some(format!("the hypervisor stole {:.1} % of the cores' time", c.steal_share * 100.0));
    }
    if throttled_share > LOST_SHARE {
        return Some(format!("the control group was throttled for {:.1} % of the time", throttled_share * 100.0));
    }
    if c.run_queue_share > RUN_QUEUE_SHARE {
        return Some(format!(
            "the generator waited for a core {:.1} % of its time; give it cores of its own (--cores)",
            c.run_queue_share * 100.0
        ));
    }
    if c.probe_samples == 0 {
        return None;
    }
    if c.hiccup_share > LOST_SHARE {
        return Some(format!(
            "the idle probe lost {:.1} % of its time to hiccups of up to {}",
            c.hiccup_share * 100.0,
            time(c.hiccup_max_ns)
        ));
    }
    let p99 = s.latency.p99?.value_ns;
    (c.hiccup_p99_ns as f64 > PART_OF_TAIL * p99 as f64).then(|| {
        format!(
            "hiccups of the idle probe (p99 {}) are as large as the latency to be measured (p99 {})",
            time(c.hiccup_p99_ns),
            time(p99)
        )
    })
}

fn generator(c: &Controls, s: &Summary) -> Option<String> {
    let busy = c.generator_busy_share > BUSY_SHARE;
    if s.mode == Mode::Closed {
        return busy.then(|| {
            format!("the generator was busy {:.0} %: the server may do more", c.generator_busy_share * 100.0)
        });
    }
    if c.achieved_share < ACHIEVED_SHARE && (busy || c.queued_max == 0) {
        return Some(format!(
            "it sent {:.1} % of the plan while connections were free (busy {:.0} %); give it more cores or a lower --rate",
            c.achieved_share * 100.0,
            c.generator_busy_share * 100.0
        ));
    }
    for (name, lag, latency) in
        [("p50", c.send_lag_p50_ns, s.latency.p50), ("p99", c.send_lag_p99_ns, s.latency.p99)]
    {
        let Some(latency) = latency else { continue };
        if lag > LAG_NOISE_NS && lag as f64 > PART_OF_TAIL * latency.value_ns as f64 && (busy || c.queued_max == 0)
        {
            return Some(format!(
                "its own send lag ({name} {}) is a large part of the latency ({name} {})",
                time(lag),
                time(latency.value_ns)
            ));
        }
    }
    None
}

fn server(c: &Controls, s: &Summary) -> Option<String> {
    let failed = s.counts.errors + s.counts.unexpected;
    let failed_share = share(failed as f64, s.counts.all() as f64);
    if s.counts.all() > 0 && s.counts.completed == 0 {
        return Some(format!("it completed none of {} requests", s.counts.all()));
    }
    if failed_share > FAILED_SHARE {
        return Some(format!(
            "{:.2} % of the requests failed or got a reply that their class does not expect",
            failed_share * 100.0
        ));
    }
    if s.mode == Mode::Closed {
        return Some(String::from("a closed loop runs as fast as the server replies"));
    }
    if c.achieved_share < ACHIEVED_SHARE {
        return Some(format!(
            "{:.1} % of the plan was sent: up to {} requests waited for a free connection (the server, or too few --connections)",
            c.achieved_share * 100.0,
            c.queued_max
        ));
    }
    let rate = s.offered_per_s.unwrap_or(0.0);
    (c.in_flight_growth_per_s > GROWTH_SHARE * rate && rate > 0.0).then(|| {
        format!(
            "unanswered requests grew by {:.0} a second at {rate:.0} offered a second",
            c.in_flight_growth_per_s
        )
    })
}

fn share(part: f64, of: f64) -> f64 {
    if of > 0.0 { part / of } else { 0.0 }
}

/// A time for people, in the unit that fits, with three digits.
pub fn time(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let digits = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.digits$} {unit}")
}
