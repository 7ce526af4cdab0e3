//! `segments replay`: stored events to Kafka or an HTTP target, in order, from where the last replay left off.
//!
//! The replay runs on a thread of its own; this one prints what it tells.
use super::args::ReplayArgs;
use super::directory::shards;
use super::{Stop, complain};
use crate::config::replay::{ReplayPlan, Target, load};
use crate::config::units::parse_count;
use crate::core::segment::StreamName;
use crate::replay::read::Selection;
use crate::replay::{self, Cursors, Hosting, Notice, Once, Progress, Stopper, Summary};
use crate::shard::driver::Kind;
use crate::shard::host::ARENA_BYTES;
use crate::shard::{http, kafka};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long a signal waits for what is on its way: a broker that answers does so within.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// Without a terminal, how often a line tells how it goes.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Replays; the number says how many events were refused and places damaged, and counts one for an early end.
pub(super) fn replay(args: &ReplayArgs, out: impl Write) -> Result<u64, Stop> {
    let (plan, rate) = decide(args)?;
    let shards: Vec<u32> = shards(&args.dir, args.shard)?.iter().map(|shard| shard.number).collect();
    let target = match &plan.target {
        Target::Kafka(address, plan) => {
            let setup = kafka::Setup::new(address, plan).map_err(Stop::Usage)?;
            replay::Target::Kafka(Box::new(setup))
        }
        Target::Http(address, plan) => {
            let setup = http::Setup::new(address, plan, ARENA_BYTES).map_err(Stop::Usage)?;
            replay::Target::Http(Box::new(setup))
        }
    };
    let once = Once {
        dir: args.dir.clone(),
        shards,
        selection: Selection {
            stream: args.stream.as_ref().and_then(|stream| StreamName::new(stream.as_bytes())),
            from: args.from.unwrap_or(0),
        },
        target,
        name: plan.name.clone(),
        cursors: match (args.restart, args.adopt) {
            (true, _) => Cursors::Ignore,
            (_, true) => Cursors::Adopt,
            _ => Cursors::Heed,
        },
        rate,
        hosting: Hosting {
            cores: Vec::new(),
            driver: if plan.uring { Kind::Uring } else { Kind::Glommio },
            executor_io_bytes: plan.executor_io_bytes as usize,
        },
    };
    let (tell, notices) = mpsc::channel();
    let ready = replay::once(once, move |notice| drop(tell.send(notice)))?;
    watch_signals(ready.stopper())
        .map_err(|error| Stop::Failed(format!("cannot watch for signals: {error}")))?;
    let mut printer = Printer::new(out, ready.bytes());
    let running = std::thread::Builder::new().name("replay".into()).spawn(move || ready.run());
    let running = running.map_err(|error| Stop::Failed(format!("cannot start a thread: {error}")))?;
    printer.print(&notices)?;
    let summary = running.join().map_err(|_| Stop::Failed("the replay died".into()))??;
    printer.finish(&summary)
}

fn decide(args: &ReplayArgs) -> Result<(ReplayPlan, Option<u64>), Stop> {
    let rate = args.rate.as_deref().map(parse_count).transpose();
    let rate = rate.map_err(|why| Stop::Usage(format!("--rate: {why}")))?;
    if rate == Some(0) {
        return Err(Stop::Usage("--rate: at least one event a second, or leave it out for no bound".into()));
    }
    let plan = load(&args.to, &args.driver, args.settings.clone()).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Stop::Usage(errors.join("; "))
    })?;
    plan.warnings.iter().for_each(|warning| complain(warning));
    Ok((plan, rate))
}

/// The first signal ends it when what is on its way is settled, a second one at once: the cursor stands all the same.
fn watch_signals(stopper: Stopper) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let watch = move || {
        let mut came = signals.forever();
        if came.next().is_some() {
            stopper.stop(STOP_WITHIN);
        }
        if came.next().is_some() {
            std::process::exit(1);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(watch).map(drop)
}

/// Prints what the replay tells: what was refused to the output, everything else to standard error.
struct Printer<W> {
    out: W,
    bar: ProgressBar,
    bytes: u64,
    left: u64,
    events: u64,
    told: Instant,
    stuck: bool,
}

impl<W: Write> Printer<W> {
    fn new(out: W, bytes: u64) -> Printer<W> {
        let bar = match io::stderr().is_terminal() {
            true => ProgressBar::new(bytes),
            false => ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::hidden()),
        };
        let template = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Printer { out, bar, bytes, left: bytes, events: 0, told: Instant::now(), stuck: false }
    }

    fn print(&mut self, notices: &mpsc::Receiver<Notice>) -> Result<(), Stop> {
        loop {
            match notices.recv_timeout(TELL_EVERY) {
                Ok(notice) => self.notice(notice)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if self.bar.is_hidden() && self.told.elapsed() >= TELL_EVERY && !self.stuck {
                self.told = Instant::now();
                let done = (self.bytes - self.left.min(self.bytes)) >> 20;
                complain(&format!(
                    "{} events replayed, {done} of {} MiB read",
                    self.events,
                    self.bytes >> 20
                ));
            }
        }
    }

    fn notice(&mut self, notice: Notice) -> Result<(), Stop> {
        let line = match notice {
            Notice::Done { events, bytes_left, .. } => {
                (self.events, self.left) = (self.events + events, bytes_left);
                self.bar.set_length(self.bytes.max(bytes_left));
                self.bar.set_position(self.bytes.saturating_sub(bytes_left));
                return Ok(());
            }
            Notice::Refused { shard, seq, stream, why } => {
                let line = format!("refused: shard {shard} event {seq} (stream {stream}): {why}");
                let (bar, out) = (&self.bar, &mut self.out);
                return bar.suspend(|| writeln!(out, "{line}")).map_err(Stop::output);
            }
            Notice::Replicated { .. } => return Ok(()),
            Notice::Moving => {
                self.stuck = false;
                self.bar.set_message("");
                "going on".into()
            }
            Notice::Stuck { why } => {
                self.stuck = true;
                self.bar.set_message("waiting");
                format!("waiting: {why}")
            }
            Notice::Damaged { line } | Notice::Replaced { line } => line,
            Notice::Failing { what, error } => format!("cannot {what}: {error}; trying again"),
            Notice::Recovered { what } => format!("could {what} after all"),
            Notice::Removed { file, bytes } => format!("removed {file} ({bytes} bytes)"),
        };
        self.bar.suspend(|| complain(&line));
        Ok(())
    }

    fn finish(mut self, summary: &Summary) -> Result<u64, Stop> {
        self.bar.finish_and_clear();
        let sum = |of: fn(&Progress) -> u64| summary.shards.iter().map(of).sum::<u64>();
        let (events, bytes) = (sum(|shard| shard.replayed_events), sum(|shard| shard.replayed_bytes));
        let refused = sum(|shard| shard.refused_events);
        let mut line = format!("replayed shards={} events={events} bytes={bytes}", summary.shards.len());
        for (name, count) in [("refused", refused), ("damaged", summary.damaged)] {
            if count > 0 {
                line += &format!(" {name}={count}");
            }
        }
        if refused > 0 {
            line += "; what was refused is in replay.refused beside the segments, with the reasons";
        }
        writeln!(self.out, "{line}").and_then(|()| self.out.flush()).map_err(Stop::output)?;
        if let Some(stop) = &summary.stopped {
            complain(&stopped(stop));
        }
        if let Some(why) = &summary.cursor {
            complain(&format!("{why}; the next replay will bring again what it does not know of"));
        }
        Ok(refused
            + summary.damaged
            + u64::from(summary.stopped.is_some())
            + u64::from(summary.cursor.is_some()))
    }
}

fn stopped(stop: &replay::Stop) -> String {
    let place = stop.at.map_or(String::new(), |(shard, seq)| format!(" before event {seq} of shard {shard}"));
    let twice = match stop.perhaps {
        0 => String::new(),
        events => format!(", up to {events} events may come twice then"),
    };
    format!("stopped{place}: {}; run it again to go on{twice}", stop.why)
}
