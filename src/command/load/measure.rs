//! One stretch of load on one target: threads started, their seconds merged, what was recorded handed out.
//!
//! ```text
//! load-0 ─┐  a recorder a second      ┌─▶ Watch::second   (view, log, timeline)
//! load-1 ─┼──────────▶ Merge ─────────┤
//! load-2 ─┘      all of one second    └─▶ totals and intervals ─▶ Measured
//!    ▲                  │
//!    └── empty again ◀──┘
//! ```
//!
//! A second is handed on when every thread has told it. Memory is constant: recorders go round. Everything about
//! words, files and exit codes is elsewhere.
use super::inputs::{Aim, Placement};
use super::shape;
use crate::core::load::plan::{Plan, Shape};
use crate::core::load::reconcile::Acked;
use crate::core::load::series::Recorder;
use crate::core::load::stats::Intervals;
use crate::core::memory::Clock;
use crate::load::probe::{Platform, Probe};
use crate::load::worker::{self, Ended, Job, Message, Running, Start, Tick};
use crate::sys::clock::MonotonicClock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How often the main thread looks whether it shall stop.
const LOOK: Duration = Duration::from_millis(20);

/// What is to be measured.
#[derive(Clone, Copy)]
pub struct Stretch<'a> {
    /// Where and with what.
    pub aim: &'a Aim,
    /// By what plan; `None` for a closed loop.
    pub shape: Option<&'a Shape>,
    /// Measured time in nanoseconds.
    pub duration_ns: u64,
    /// Time before it.
    pub warmup_ns: u64,
    /// Of the plan and the draws.
    pub seed: u64,
    /// Connections over all threads, and requests in flight on each.
    pub connections: u32,
    /// Requests in flight on each connection.
    pub pipeline: u32,
    /// Nanoseconds after which a request has failed.
    pub timeout_ns: u64,
    /// Threads.
    pub placement: &'a Placement,
    /// Payload classes that recorders tell apart.
    pub classes: usize,
    /// Whether acknowledged events are noted.
    pub verify: bool,
}

/// One second of all threads together.
pub struct Second<'a> {
    /// Which, from 0, of the measured time or of the warm-up.
    pub number: u32,
    /// Seconds that it holds: more than one when this thread was late.
    pub seconds: u32,
    /// Whether it belongs to the warm-up; nothing is recorded then.
    pub warmup: bool,
    /// What was recorded in it.
    pub recorder: &'a Recorder,
    /// What was recorded so far.
    pub totals: &'a Recorder,
    /// The same, cut into intervals.
    pub intervals: &'a Intervals,
    /// Requests in flight at its end.
    pub in_flight: u64,
    /// Requests due and not sent at its end.
    pub queued: u64,
    /// Share of time in which the busiest thread worked.
    pub busy_share: f32,
    /// What the platform did meanwhile.
    pub platform: &'a Platform,
}

/// Whoever looks on.
pub trait Watch {
    /// The measured time begins then; it may lie ahead.
    fn begins(&mut self, at: Instant);
    /// A second is over.
    fn second(&mut self, second: &Second<'_>);
    /// Asked some fifty times a second: whether to end now.
    fn stop(&mut self) -> bool;
}

/// What came of it.
pub struct Measured {
    /// Everything recorded.
    pub totals: Recorder,
    /// The same, cut into intervals.
    pub intervals: Intervals,
    /// Measured time that has passed, in nanoseconds.
    pub elapsed_ns: u64,
    /// What the platform did.
    pub platform: Platform,
    /// Share of time in which the busiest thread worked, in the mean of all seconds.
    pub busy_share: f32,
    /// Most requests that were due and not sent at the end of any second.
    pub queued_max: u64,
    /// Growth of requests in flight and queued, a second.
    pub growth_per_s: f64,
    /// Whether it was ended early.
    pub stopped: bool,
    /// How each thread's run went.
    pub ended: Vec<Ended>,
    /// What was acknowledged, thread by thread, if that was asked for.
    pub acknowledged: Vec<Acked>,
}

impl Measured {
    /// Takes a further slice of the same target in, as one interval of its own.
    pub fn add(&mut self, slice: Measured, slice_ns: u64) {
        self.totals.add(&slice.totals);
        self.intervals.add(self.elapsed_ns / slice_ns.max(1), &slice.totals);
        let parts = (self.elapsed_ns as f32, slice.elapsed_ns as f32);
        let whole = (parts.0 + parts.1).max(1.0);
        self.busy_share = (self.busy_share * parts.0 + slice.busy_share * parts.1) / whole;
        self.platform.add(&slice.platform);
        self.elapsed_ns += slice.elapsed_ns;
        self.queued_max = self.queued_max.max(slice.queued_max);
        self.stopped |= slice.stopped;
        self.ended.extend(slice.ended);
    }
}

/// Measures.
///
/// # Errors
/// Why nothing could be measured: no connection, no ring, no thread.
pub fn measure(stretch: &Stretch<'_>, probe: &mut Probe, watch: &mut dyn Watch) -> Result<Measured, String> {
    let start = Arc::new(Start::new(stretch.placement.threads.len() as u32));
    let (tell, told) = mpsc::channel();
    let running = start_threads(stretch, &start, probe, tell)?;
    let mut merge = Merge::new(stretch, running.len());
    let outcome = merge.follow(&running, &told, &start, probe, watch);
    running.iter().for_each(Running::stop);
    running.into_iter().for_each(Running::join);
    outcome?;
    Ok(merge.finish(&start, probe, watch))
}

fn start_threads(
    stretch: &Stretch<'_>,
    start: &Arc<Start>,
    probe: &Probe,
    tell: mpsc::Sender<Message>,
) -> Result<Vec<Running>, String> {
    let threads = stretch.placement.threads.len() as u32;
    let whole_ns = stretch.warmup_ns.saturating_add(stretch.duration_ns);
    let plan = stretch.shape.map(|shape| {
        let shape = shape::with_warmup(shape, stretch.warmup_ns, stretch.duration_ns);
        Plan::new(shape, whole_ns, stretch.seed)
    });
    let mut running = Vec::new();
    for (thread, core) in (0..threads).zip(&stretch.placement.threads) {
        let share = stretch.connections / threads + u32::from(thread < stretch.connections % threads);
        let job = Job {
            thread,
            target: stretch.aim.target.clone(),
            connections: share.max(1),
            pipeline: stretch.pipeline,
            timeout_ns: stretch.timeout_ns,
            arrivals: plan.as_ref().map(|plan| plan.part(thread, threads)),
            duration_ns: stretch.duration_ns,
            warmup_ns: stretch.warmup_ns,
            corpus: stretch.aim.corpus.for_thread(thread as u16),
            // Neighbouring seeds must not draw the same requests in the same order.
            seed: stretch.seed ^ u64::from(thread + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15),
            start: start.clone(),
            core: *core,
            spin: stretch.placement.spin,
            sampler: core.and_then(|core| probe.sampler(core)),
            classes: stretch.classes,
            verify: stretch.verify.then(|| Acked::new(thread as u16)),
        };
        match worker::spawn(job, tell.clone()) {
            Ok(thread) => running.push(thread),
            Err(error) => {
                start.abandon();
                running.into_iter().for_each(Running::join);
                return Err(format!("cannot start a thread: {error}"));
            }
        }
    }
    Ok(running)
}

/// A second that some threads have told and others have not.
struct Pending {
    recorder: Recorder,
    seconds: u32,
    in_flight: u64,
    queued: u64,
    busy_share: f32,
}

struct Merge<'a> {
    stretch: &'a Stretch<'a>,
    totals: Recorder,
    intervals: Intervals,
    pending: BTreeMap<(bool, u32), Pending>,
    spare: Vec<Recorder>,
    /// The last second that each thread has told: warm-up before measured ones.
    reached: Vec<Option<(bool, u32)>>,
    ended: Vec<Ended>,
    acknowledged: Vec<Acked>,
    over: Option<u64>,
    stopped: bool,
    busy_sum: f64,
    seconds: u32,
    queued_max: u64,
    slope: Slope,
    begun: bool,
}

impl<'a> Merge<'a> {
    fn new(stretch: &'a Stretch<'a>, threads: usize) -> Merge<'a> {
        Merge {
            stretch,
            totals: Recorder::new(stretch.classes),
            intervals: Intervals::new(stretch.classes),
            pending: BTreeMap::new(),
            spare: Vec::new(),
            reached: vec![None; threads],
            ended: Vec::new(),
            acknowledged: Vec::new(),
            over: None,
            stopped: false,
            busy_sum: 0.0,
            seconds: 0,
            queued_max: 0,
            slope: Slope::default(),
            begun: false,
        }
    }

    /// Takes messages until every thread has ended.
    fn follow(
        &mut self,
        running: &[Running],
        told: &Receiver<Message>,
        start: &Start,
        probe: &mut Probe,
        watch: &mut dyn Watch,
    ) -> Result<(), String> {
        while self.ended.len() < running.len() {
            match told.recv_timeout(LOOK) {
                Ok(Message::Tick(tick)) => {
                    let thread = tick.thread as usize;
                    running[thread].recycle(self.take(tick));
                    self.hand_on(probe, watch);
                }
                Ok(Message::Ended(ended)) => self.thread_ended(ended, probe, watch),
                Ok(Message::Failed { error, .. }) => return Err(error),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err("a sending thread is gone".into()),
            }
            self.look_for_begin(start, probe, watch);
            if !self.stopped && watch.stop() {
                self.stopped = true;
                running.iter().for_each(Running::stop);
            }
        }
        Ok(())
    }

    fn look_for_begin(&mut self, start: &Start, probe: &mut Probe, watch: &mut dyn Watch) {
        let Some(origin_ns) = start.origin_ns().filter(|_| !self.begun) else { return };
        let warm_ns = origin_ns + self.stretch.warmup_ns;
        let now_ns = MonotonicClock.now_ns();
        let ahead = Duration::from_nanos(warm_ns.saturating_sub(now_ns));
        let behind = Duration::from_nanos(now_ns.saturating_sub(warm_ns));
        watch.begins((Instant::now() + ahead).checked_sub(behind).unwrap_or_else(Instant::now));
        probe.restart();
        self.begun = true;
    }

    fn thread_ended(&mut self, mut ended: Ended, probe: &mut Probe, watch: &mut dyn Watch) {
        self.over = Some(MonotonicClock.now_ns());
        self.acknowledged.extend(ended.verify.take());
        self.reached[ended.thread as usize] = Some((true, u32::MAX));
        self.ended.push(ended);
        self.hand_on(probe, watch);
    }

    /// Adds a thread's second to the others'; gives the recorder back empty.
    fn take(&mut self, tick: Tick) -> Box<Recorder> {
        let last =
            (self.stretch.duration_ns.div_ceil(1_000_000_000).max(1) - 1).min(u64::from(u32::MAX)) as u32;
        // What a thread tells at its very end belongs to the last second.
        let number = if tick.warmup { tick.second } else { tick.second.min(last) };
        let key = (!tick.warmup, number);
        let reached = &mut self.reached[tick.thread as usize];
        *reached = (*reached).max(Some(key));
        let (spare, classes) = (&mut self.spare, self.stretch.classes);
        let pending = self.pending.entry(key).or_insert_with(|| Pending {
            recorder: spare.pop().unwrap_or_else(|| Recorder::new(classes)),
            seconds: 0,
            in_flight: 0,
            queued: 0,
            busy_share: 0.0,
        });
        let mut recorder = tick.recorder;
        pending.recorder.add(&recorder);
        pending.seconds = pending.seconds.max(tick.seconds);
        pending.in_flight += u64::from(tick.in_flight);
        pending.queued += tick.queued;
        pending.busy_share = pending.busy_share.max(tick.busy_share);
        recorder.clear();
        recorder
    }

    /// Hands on every second that all threads have told or passed.
    fn hand_on(&mut self, probe: &mut Probe, watch: &mut dyn Watch) {
        let Some(reached) = self.reached.iter().min().copied().flatten() else { return };
        while let Some(entry) = self.pending.first_entry() {
            let key = *entry.key();
            // Of the last second a thread may tell more when it ends, and has then reached the end of all.
            if key > reached || (key == reached && self.is_last(key)) {
                return;
            }
            let Some(((measured, number), pending)) = self.pending.pop_first() else { return };
            self.one(measured, number, pending, probe, watch);
        }
    }

    /// Whether that is the last measured second, of which more may come.
    fn is_last(&self, key: (bool, u32)) -> bool {
        key.0 && u64::from(key.1) + 1 >= self.stretch.duration_ns.div_ceil(1_000_000_000)
    }

    fn one(
        &mut self,
        measured: bool,
        number: u32,
        mut pending: Pending,
        probe: &mut Probe,
        watch: &mut dyn Watch,
    ) {
        if measured {
            self.totals.add(&pending.recorder);
            self.intervals.add(u64::from(number), &pending.recorder);
            self.busy_sum += f64::from(pending.busy_share);
            self.seconds += 1;
            self.queued_max = self.queued_max.max(pending.queued);
            self.slope.add(f64::from(number), (pending.in_flight + pending.queued) as f64);
        } else {
            // What the platform did before the measured time is nobody's figure.
            probe.restart();
        }
        let platform = probe.take();
        watch.second(&Second {
            number,
            seconds: pending.seconds,
            warmup: !measured,
            recorder: &pending.recorder,
            totals: &self.totals,
            intervals: &self.intervals,
            in_flight: pending.in_flight,
            queued: pending.queued,
            busy_share: pending.busy_share,
            platform: &platform,
        });
        pending.recorder.clear();
        self.spare.push(pending.recorder);
    }

    fn finish(mut self, start: &Start, probe: &mut Probe, watch: &mut dyn Watch) -> Measured {
        self.reached.fill(Some((true, u32::MAX)));
        self.hand_on(probe, watch);
        let began_ns = start.origin_ns().map(|origin_ns| origin_ns + self.stretch.warmup_ns);
        let passed_ns = match (began_ns, self.over) {
            (Some(began_ns), Some(over_ns)) => over_ns.saturating_sub(began_ns),
            _ => 0,
        };
        let elapsed_ns =
            if self.stopped { passed_ns.min(self.stretch.duration_ns) } else { self.stretch.duration_ns };
        Measured {
            totals: self.totals,
            intervals: self.intervals,
            elapsed_ns,
            platform: probe.total(),
            busy_share: (self.busy_sum / f64::from(self.seconds.max(1))) as f32,
            queued_max: self.queued_max,
            growth_per_s: self.slope.per_step(),
            stopped: self.stopped,
            ended: self.ended,
            acknowledged: self.acknowledged,
        }
    }
}

/// The slope of a straight line through points, in constant memory.
#[derive(Clone, Copy, Debug, Default)]
struct Slope {
    count: f64,
    mean_x: f64,
    mean_y: f64,
    spread_x: f64,
    joint: f64,
}

impl Slope {
    fn add(&mut self, x: f64, y: f64) {
        self.count += 1.0;
        let off = x - self.mean_x;
        self.mean_x += off / self.count;
        self.mean_y += (y - self.mean_y) / self.count;
        self.spread_x += off * (x - self.mean_x);
        self.joint += off * (y - self.mean_y);
    }

    fn per_step(&self) -> f64 {
        if self.spread_x > 0.0 { self.joint / self.spread_x } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_of_a_line_is_found() {
        for (points, expected) in [
            (vec![], 0.0),
            (vec![(0.0, 5.0)], 0.0),
            (vec![(0.0, 5.0), (1.0, 7.0), (2.0, 9.0)], 2.0),
            (vec![(0.0, 4.0), (1.0, 4.0), (2.0, 4.0)], 0.0),
            (vec![(0.0, 0.0), (1.0, 3.0), (2.0, 0.0), (3.0, 3.0)], 0.6),
        ] {
            let mut slope = Slope::default();
            points.iter().for_each(|&(x, y)| slope.add(x, y));
            assert!((slope.per_step() - expected).abs() < 1e-9, "{points:?}: {}", slope.per_step());
        }
    }
}
