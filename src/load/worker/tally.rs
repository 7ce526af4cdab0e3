//! What a thread writes down, and how it gets to the main thread: a [`Recorder`] a second, which comes back empty.

use std::sync::mpsc::{Receiver, Sender};

use super::schedule::Schedule;
use super::{Message, Tick};
use crate::core::load::series::{ClassId, Done, Outcome, Recorder};

/// Recorders of a thread: one being filled, one on its way, one being merged.
pub(super) const RECORDERS: usize = 3;

pub(super) struct Tally {
    thread: u32,
    current: Box<Recorder>,
    #[expect(clippy::vec_box, reason = "a recorder travels by its address, as it does in the channels")]
    spare: Vec<Box<Recorder>>,
    /// From the main thread, empty.
    back: Receiver<Box<Recorder>>,
    ticks: Sender<Message>,
    schedule: Schedule,
    /// Seconds that `current` holds beyond the one being counted, because no other recorder was there.
    overdue: u32,
}

/// What a second's report says besides the recorder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gauges {
    pub(super) in_flight: u32,
    pub(super) queued: u64,
    pub(super) busy_share: f32,
}

impl Tally {
    /// Makes all recorders and touches all of their memory, so that the run has no page faults.
    pub(super) fn new(
        thread: u32,
        classes: usize,
        back: Receiver<Box<Recorder>>,
        ticks: Sender<Message>,
    ) -> Tally {
        let mut spare: Vec<_> = (0..RECORDERS).map(|_| Box::new(resident(classes))).collect();
        let current = spare.pop().unwrap_or_else(|| Box::new(resident(classes)));
        let schedule = Schedule::new(0, 0, 0);
        Tally { thread, current, spare, back, ticks, schedule, overdue: 0 }
    }

    pub(super) fn begin(&mut self, schedule: Schedule) {
        self.schedule = schedule;
    }

    /// A request of that intended time was handed to the kernel.
    #[inline]
    pub(super) fn sent(&mut self, class: ClassId, intended_ns: u64) {
        if self.schedule.measures(intended_ns) {
            self.current.sent(class);
        }
    }

    /// A request ended. All times are absolute; a `sent_ns` of 0 says that it never was sent.
    #[inline]
    pub(super) fn record(&mut self, done: &Done) {
        if !self.schedule.measures(done.intended_ns) {
            return;
        }
        let origin_ns = self.schedule.origin_ns;
        self.current.record(&Done {
            intended_ns: done.intended_ns - origin_ns,
            sent_ns: done.sent_ns.saturating_sub(origin_ns),
            first_byte_ns: done.first_byte_ns.saturating_sub(origin_ns),
            done_ns: done.done_ns.saturating_sub(origin_ns),
            ..*done
        });
    }

    /// A request had not ended when the run did.
    pub(super) fn censor(&mut self, class: ClassId, intended_ns: u64, end_ns: u64) {
        if self.schedule.measures(intended_ns) {
            self.current.censor(class, end_ns.saturating_sub(intended_ns));
        }
    }

    /// Reports the second that ended at `mark_ns`. Without an empty recorder it goes on with this one and reports
    /// with the next second, so that a main thread that is late costs no memory.
    pub(super) fn tick(&mut self, mark_ns: u64, gauges: Gauges) {
        self.spare.extend(self.back.try_iter());
        let Some(next) = self.spare.pop() else {
            self.overdue += 1;
            return;
        };
        let full = std::mem::replace(&mut self.current, next);
        self.send(mark_ns, gauges, full);
    }

    /// Reports what is left.
    pub(super) fn end(self, mark_ns: u64, gauges: Gauges) {
        let mut this = self;
        let last = std::mem::replace(&mut this.current, Box::new(Recorder::new(1)));
        this.send(mark_ns, gauges, last);
    }

    fn send(&mut self, mark_ns: u64, gauges: Gauges, recorder: Box<Recorder>) {
        let (second, warmup) = self.schedule.second(mark_ns);
        let Gauges { in_flight, queued, busy_share } = gauges;
        let seconds = std::mem::take(&mut self.overdue) + 1;
        let tick =
            Tick { thread: self.thread, second, seconds, warmup, recorder, in_flight, queued, busy_share };
        // Nobody listens any more: the run is being given up.
        let _ = self.ticks.send(Message::Tick(tick));
    }
}

/// A recorder whose memory has been written to once.
fn resident(classes: usize) -> Recorder {
    let mut recorder = Recorder::new(classes);
    for class in 0..classes.max(1) {
        let class = class as ClassId;
        for expected in [true, false] {
            let outcome = Outcome::Status(0);
            let done =
                Done { class, intended_ns: 0, sent_ns: 1, first_byte_ns: 1, done_ns: 1, outcome, expected };
            recorder.record(&done);
        }
        recorder.censor(class, 1);
    }
    recorder.clear();
    recorder
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    const S: u64 = super::super::schedule::SECOND_NS;
    const GAUGES: Gauges = Gauges { in_flight: 1, queued: 2, busy_share: 0.5 };

    fn done(intended_ns: u64) -> Done {
        let outcome = Outcome::Status(200);
        Done {
            class: 1,
            intended_ns,
            sent_ns: intended_ns + 1000,
            first_byte_ns: 0,
            done_ns: intended_ns + 5000,
            outcome,
            expected: true,
        }
    }

    #[test]
    fn recorders_go_round_and_warm_up_is_not_recorded() {
        let (ticks, told) = channel();
        let (give, back) = channel();
        let mut tally = Tally::new(3, 2, back, ticks);
        let origin = 1 << 50;
        tally.begin(Schedule::new(origin, S, 10 * S));
        tally.sent(1, origin);
        tally.record(&done(origin));
        tally.censor(1, origin, origin + S);
        tally.tick(origin + S, GAUGES);
        let Message::Tick(tick) = told.recv().unwrap() else { panic!() };
        assert_eq!((tick.thread, tick.second, tick.seconds, tick.warmup), (3, 0, 1, true));
        assert_eq!(tick.recorder.totals(), Default::default());

        // Two recorders are with us, then none: the third second is told with the fourth.
        for second in 1..=3u64 {
            tally.sent(1, origin + second * S);
            tally.record(&done(origin + second * S));
            tally.tick(origin + (second + 1) * S, GAUGES);
        }
        let counts = |message| match message {
            Message::Tick(tick) => (tick.second, tick.seconds, tick.recorder.totals().completed),
            _ => panic!(),
        };
        assert_eq!(counts(told.recv().unwrap()), (0, 1, 1));
        assert!(told.try_recv().is_err());
        give.send(Box::new(Recorder::new(2))).unwrap();
        tally.censor(1, origin + 4 * S, origin + 5 * S);
        tally.tick(origin + 5 * S, GAUGES);
        assert_eq!(counts(told.recv().unwrap()), (3, 3, 2));
        tally.end(origin + 5 * S + 1, GAUGES);
        assert_eq!(counts(told.recv().unwrap()), (4, 1, 0));
    }
}
