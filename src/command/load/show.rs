//! What a run shows and writes while it goes: the view, the timeline, the interval log, the marks of faults.
//!
//! It is fed once a second by [`super::measure()`] and decides nothing.
use super::measure::{Second, Watch};
use super::shape;
use super::signals::Interrupt;
use crate::core::load::compare;
use crate::core::load::plan::Shape;
use crate::core::load::series::{ClassId, Recorder};
use crate::core::load::stats::{self, Intervals};
use crate::core::load::verdict::Limit;
use crate::load::faults::{Faults, Happened, Subjects};
use crate::load::probe::Platform;
use crate::load::report::hlog::IntervalLog;
use crate::load::report::{FaultMark, Recovery, timeline};
use crate::load::view::{ClassLine, RatioLine, Snapshot, View, Wish};
use std::time::{Duration, Instant};

/// Notes that are kept for the report.
const NOTES_MAX: usize = 100;

/// The running display and log of one command.
pub struct Show {
    view: View,
    /// The run second by second.
    pub timeline: timeline::Timeline,
    log: Option<IntervalLog>,
    now: Snapshot,
    /// What the reader must know.
    pub notes: Vec<String>,
    waiting: Option<Subjects>,
    faults: Option<Faults>,
    /// What was done to whom.
    pub marks: Vec<FaultMark>,
    interrupt: Interrupt,
    wish: Wish,
    /// Names of the classes that are sent, beside the valid one.
    classes: Vec<(ClassId, String)>,
    shape: Option<Shape>,
    /// Length of the stretch in nanoseconds.
    duration_ns: u64,
    /// Where the next stretch begins in the whole run, in seconds.
    offset_s: f64,
    begun: Option<Instant>,
    /// Whether seconds go into timeline and totals: those of a search's probes do, slices of a comparison do not.
    keeps_seconds: bool,
}

impl Show {
    /// Begins to show.
    pub fn new(view: View, target: String, interrupt: Interrupt, classes: Vec<(ClassId, String)>) -> Show {
        Show {
            view,
            timeline: timeline::Timeline::new(),
            log: None,
            now: Snapshot { target, ..Snapshot::default() },
            notes: Vec::new(),
            waiting: None,
            faults: None,
            marks: Vec::new(),
            interrupt,
            wish: Wish::Go,
            classes,
            shape: None,
            duration_ns: 0,
            offset_s: 0.0,
            begun: None,
            keeps_seconds: true,
        }
    }

    /// Writes each second to this log as well.
    pub fn log_to(&mut self, log: IntervalLog) {
        self.log = Some(log);
    }

    /// Does these faults once the measured time begins.
    pub fn harm(&mut self, subjects: Subjects) {
        self.waiting = Some(subjects);
    }

    /// Something for the user, shown now and kept for the report.
    pub fn note(&mut self, note: String) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(note.clone());
        }
        self.now.notes.push(note);
    }

    /// What the next stretch is: its plan, its length, and how it is called. `whole_s` is the length of the whole run.
    pub fn stretch(&mut self, phase: &str, shape: Option<&Shape>, duration_ns: u64, whole_s: Option<f64>) {
        self.now.phase = phase.to_string();
        self.now.open = shape.is_some();
        self.now.duration_s = whole_s;
        self.shape = shape.cloned();
        self.duration_ns = duration_ns;
    }

    /// Stretches are slices that are compared, so that their seconds mean nothing by themselves.
    pub fn only_slices(&mut self) {
        self.keeps_seconds = false;
    }

    /// A stretch is over that lasted so long.
    pub fn passed(&mut self, elapsed_ns: u64) {
        self.offset_s += elapsed_ns as f64 / 1e9;
    }

    /// Shows how two targets compare so far.
    pub fn ratios(&mut self, ratios: &[compare::Ratio]) {
        let line = |ratio: &compare::Ratio| {
            let (low, high) = ratio.interval?;
            Some(RatioLine {
                what: ratio.what.to_string(),
                ratio: ratio.ratio?,
                low,
                high,
                answer: ratio.answer.as_str().to_string(),
            })
        };
        self.now.ratios = ratios.iter().filter_map(line).collect();
    }

    /// Whether the user wants the results now.
    pub fn interrupted(&self) -> bool {
        self.interrupt.came() || self.wish == Wish::Stop
    }

    /// Ends the faults and gives back the terminal.
    pub fn close(&mut self) {
        if let Some(faults) = self.faults.take() {
            let (happened, problems) = faults.finish();
            happened.into_iter().for_each(|one| self.mark(one));
            problems.into_iter().for_each(|problem| self.note(problem));
        }
        self.view = View::start(true);
    }

    fn mark(&mut self, happened: Happened) {
        let at_s = self.offset_s + happened.at_ns as f64 / 1e9;
        let failed = happened.failed.as_ref();
        let note = match failed {
            Some(why) => format!("fault at {at_s:.1} s failed: {}: {why}", happened.what),
            None => format!("fault at {at_s:.1} s: {}", happened.what),
        };
        if let Some(log) = &mut self.log
            && let Err(problem) = log.comment(Duration::from_secs_f64(at_s), &note)
        {
            self.note(problem);
        }
        match failed {
            Some(_) => self.note(note),
            None => self.now.notes.push(note),
        }
        self.marks.push(FaultMark {
            at_s,
            for_s: happened.for_ns as f64 / 1e9,
            what: happened.what,
            failed: happened.failed,
            recovery: Recovery::default(),
        });
    }

    fn take_faults(&mut self) {
        let happened = self.faults.as_ref().map(Faults::happened).unwrap_or_default();
        happened.into_iter().for_each(|one| self.mark(one));
    }

    /// From when to when that second lasts, in nanoseconds of the stretch: the last one may be shorter.
    fn bounds(&self, second: &Second<'_>) -> (u64, u64) {
        let end = u64::from(second.number) + 1;
        let from = end.saturating_sub(u64::from(second.seconds.max(1)));
        (from * 1_000_000_000, (end * 1_000_000_000).min(self.duration_ns))
    }

    /// Requests that the plan holds in that second; 0 in a closed loop.
    fn offered(&self, second: &Second<'_>) -> f64 {
        let (from_ns, to_ns) = self.bounds(second);
        let shape = self.shape.as_ref();
        shape.map_or(0.0, |shape| shape::offered(shape, self.duration_ns, from_ns, to_ns))
    }

    fn keep(&mut self, second: &Second<'_>, offered: f64) {
        let counts = second.recorder.totals();
        let point = timeline::Second {
            at_s: (self.offset_s.round() as u32 + second.number + 1).saturating_sub(second.seconds.max(1)),
            span_s: second.seconds.max(1),
            offered: offered.round() as u64,
            sent: counts.sent,
            completed: counts.completed,
            errors: counts.errors,
            unexpected: counts.unexpected,
            in_flight: second.in_flight,
            queued: second.queued,
            busy_share: second.busy_share,
            hiccup_max_ns: second.platform.hiccup_max_ns(),
            steal_share: second.platform.steal_share as f32,
            ..timeline::Second::default()
        };
        let recorder = second.recorder;
        let point = point.with_latency(recorder.latency().values(), recorder.send_lag().values());
        let (from, length) =
            (Duration::from_secs(u64::from(point.at_s)), Duration::from_secs(u64::from(point.span_s)));
        self.timeline.push(point);
        if let Some(log) = &mut self.log
            && let Err(problem) = log.interval(from, length, series(recorder))
        {
            self.note(problem);
        }
    }

    fn update(&mut self, second: &Second<'_>, offered: f64) {
        let totals = second.totals.totals();
        let (from_ns, to_ns) = self.bounds(second);
        let seconds = (to_ns.saturating_sub(from_ns) as f64 / 1e9).max(1e-3);
        self.now.elapsed_s = self.offset_s + to_ns as f64 / 1e9;
        self.now.offered_per_s = offered / seconds;
        self.now.completed_per_s = second.recorder.totals().completed as f64 / seconds;
        self.now.in_flight = second.in_flight;
        self.now.queued = second.queued;
        self.now.sent = totals.sent;
        self.now.completed = totals.completed;
        self.now.errors = totals.errors;
        self.now.unexpected = totals.unexpected;
        let latency = stats::quantiles(second.totals.latency(), second.intervals.class(0));
        self.now.percentiles =
            latency.each().map(|(name, found)| (name, found.map(|found| found.value_ns))).to_vec();
        self.now.classes = self.class_lines(second.totals, second.intervals);
        self.now.verdict = platform_so_far(second.platform);
    }

    fn class_lines(&self, totals: &Recorder, intervals: &Intervals) -> Vec<ClassLine> {
        let line = |(id, name): &(ClassId, String)| {
            let class = totals.classes().get(usize::from(*id))?;
            let latency = stats::quantiles(&class.latency, intervals.class(usize::from(*id)));
            Some(ClassLine {
                name: name.clone(),
                completed: class.counts.completed,
                unexpected: class.counts.unexpected,
                p99_ns: latency.p99.map(|found| found.value_ns),
            })
        };
        self.classes.iter().filter_map(line).collect()
    }
}

/// While it lasts only the platform is told of: everything else is judged at the end.
fn platform_so_far(platform: &Platform) -> Option<(&'static str, String)> {
    (platform.steal_share > 0.05 || platform.hiccup_share > 0.05).then(|| {
        let why = format!(
            "in the last second {:.0} % stolen, {:.0} % lost to hiccups",
            platform.steal_share * 100.0,
            platform.hiccup_share * 100.0
        );
        (Limit::Platform.as_str(), why)
    })
}

/// The series of an interval log by their tags.
fn series(recorder: &Recorder) -> [(&'static str, &hdrhistogram::Histogram<u64>); 4] {
    [
        ("latency", recorder.latency().values()),
        ("service", recorder.service().values()),
        ("first_byte", recorder.first_byte().values()),
        ("send_lag", recorder.send_lag().values()),
    ]
}

impl Watch for Show {
    fn begins(&mut self, at: Instant) {
        self.begun = Some(at);
        if let Some(subjects) = self.waiting.take() {
            match Faults::start(subjects, at) {
                Ok(faults) => self.faults = Some(faults),
                Err(error) => self.note(format!("no faults are done, for there can be no thread: {error}")),
            }
        }
    }

    fn second(&mut self, second: &Second<'_>) {
        self.take_faults();
        let phase = self.now.phase.clone();
        if second.warmup {
            self.now.phase = if phase.is_empty() { "warm-up".into() } else { format!("{phase}, warm-up") };
            self.now.elapsed_s = self.offset_s;
        } else {
            let offered = self.offered(second);
            if self.keeps_seconds {
                self.keep(second, offered);
            }
            self.update(second, offered);
        }
        let wish = self.view.update(&self.now, &self.timeline);
        self.now.phase = phase;
        if wish == Wish::Stop {
            self.wish = wish;
        }
    }

    fn stop(&mut self) -> bool {
        self.interrupted()
    }
}
