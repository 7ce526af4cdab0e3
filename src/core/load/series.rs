//! What is recorded of each request, in fixed memory.
//!
//! A worker owns a [`Recorder`] for each second, the main thread adds them up. Four times are kept apart:
//! **latency** (intended to done), **service** (sent to done), **first byte** (sent to first byte) and
//! **send lag** (intended to sent). Latency counts from the plan, so a server that stalls cannot hide the
//! requests which it kept from being sent.
//!
//! **Latency is the time to the right answer.** A request that timed out, broke, or got a reply which its
//! class does not expect never had one: of it is known only that the answer takes longer than it was watched.
//! It is therefore *censored* at that age, like those that are queued or in flight at the end. So neither a fast
//! 503 nor a timeout cut short flatters a percentile. Latency, service and first byte of the whole run are
//! those of class 0, the valid requests: a fast 400 to a malformed one has a histogram of its own.
//!
//! No clock, no statistics: those are in [`super::stats`]. After [`Recorder::new`] nothing allocates.
use alloc::boxed::Box;
use alloc::vec::Vec;
use hdrhistogram::Histogram;

pub use super::stats::Estimate;
pub use super::summary::{ClassSummary, Mode, Quantiles, Summary};

/// Number of a payload class. 0 is [`VALID`]; the others are numbered by `payload`.
pub type ClassId = u8;

/// The class of valid requests, whose latency is the headline.
pub const VALID: ClassId = 0;

/// Shortest time told apart, in nanoseconds; the histogram's cells are then 512 ns wide up to 1 ms.
pub const TIME_NS_MIN: u64 = 1_000;
/// Longest time told apart, in nanoseconds: one hour. Longer ones count as this.
pub const TIME_NS_MAX: u64 = 3_600_000_000_000;
/// Significant digits of a recorded time (192 KiB a histogram).
const DIGITS: u8 = 3;
/// Significant digits of the age of a censored request (13 KiB): it is a lower bound anyway.
const CENSOR_DIGITS: u8 = 2;
/// Status codes are counted one by one below this; larger ones cannot be written in three digits.
const STATUS_END: usize = 1000;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A reply with this status.
    Status(u16),
    /// The server closed the connection before a reply.
    Closed,
    /// The connection was reset.
    Reset,
    /// No reply within the time allowed.
    Timeout,
    /// Bytes that are no reply.
    BadReply,
    /// The connection could not be made.
    ConnectFailed,
}

/// One request that ended. Times are nanoseconds since the start of the run.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// Its payload class.
    pub class: ClassId,
    /// When it was due. In a closed loop: when it was sent.
    pub intended_ns: u64,
    /// When its bytes were handed to the kernel; before `intended_ns` (0, say) if it never was.
    pub sent_ns: u64,
    /// When the first byte of its reply was there; 0 if none came.
    pub first_byte_ns: u64,
    /// When its reply was complete, or when it failed.
    pub done_ns: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the class expects that outcome.
    pub expected: bool,
}

/// Numbers of requests, of one class or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Handed to the kernel, whatever became of them.
    pub sent: u64,
    /// Ended by a reply, or by what the class expects (a close, say).
    pub completed: u64,
    /// Of the completed ones, those whose status the class does not expect.
    pub unexpected: u64,
    /// Ended without a reply, and not as the class expects.
    pub errors: u64,
    /// Queued or in flight at the end of the run.
    pub censored: u64,
}

impl Counts {
    /// Adds another's numbers.
    pub fn add(&mut self, other: &Counts) {
        self.sent += other.sent;
        self.completed += other.completed;
        self.unexpected += other.unexpected;
        self.errors += other.errors;
        self.censored += other.censored;
    }

    /// Requests whose end is known or that were cut off by the end of the run: every one of the plan.
    pub fn all(&self) -> u64 {
        self.completed + self.errors + self.censored
    }

    /// Completed as expected.
    pub fn right(&self) -> u64 {
        self.completed - self.unexpected
    }
}

/// Errors by kind. Their sum is [`Counts::errors`] of all classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// Closed before a reply.
    pub closed: u64,
    /// Reset.
    pub reset: u64,
    /// No reply in time.
    pub timeout: u64,
    /// Bytes that are no reply.
    pub bad_reply: u64,
    /// No connection.
    pub connect_failed: u64,
}

impl Errors {
    /// Each kind with its name, in a fixed order.
    pub fn each(&self) -> [(&'static str, u64); 5] {
        [
            ("closed", self.closed),
            ("reset", self.reset),
            ("timeout", self.timeout),
            ("bad_reply", self.bad_reply),
            ("connect_failed", self.connect_failed),
        ]
    }

    fn add(&mut self, other: &Errors) {
        self.closed += other.closed;
        self.reset += other.reset;
        self.timeout += other.timeout;
        self.bad_reply += other.bad_reply;
        self.connect_failed += other.connect_failed;
    }

    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Status(_) => {}
            Outcome::Closed => self.closed += 1,
            Outcome::Reset => self.reset += 1,
            Outcome::Timeout => self.timeout += 1,
            Outcome::BadReply => self.bad_reply += 1,
            Outcome::ConnectFailed => self.connect_failed += 1,
        }
    }
}

/// Times of one kind: the known ones, and lower bounds of those that were not seen to their end.
#[derive(Clone, Debug)]
pub struct Series {
    values: Histogram<u64>,
    censored: Histogram<u32>,
}

impl Series {
    /// Empty. Allocates about 205 KiB.
    pub fn new() -> Series {
        const WHY: &str = "the bounds are constants that the type allows";
        Series {
            values: Histogram::new_with_bounds(TIME_NS_MIN, TIME_NS_MAX, DIGITS).expect(WHY),
            censored: Histogram::new_with_bounds(TIME_NS_MIN, TIME_NS_MAX, CENSOR_DIGITS).expect(WHY),
        }
    }

    /// Records a time in nanoseconds; over [`TIME_NS_MAX`] it counts as that.
    pub fn record(&mut self, ns: u64) {
        self.values.saturating_record(ns.min(TIME_NS_MAX));
    }

    /// Records a time of which only is known that it is longer than `age_ns`.
    pub fn censor(&mut self, age_ns: u64) {
        self.censored.saturating_record(age_ns.min(TIME_NS_MAX));
    }

    /// Adds another's times.
    pub fn add(&mut self, other: &Series) {
        const WHY: &str = "all series have the same bounds";
        self.values.add(&other.values).expect(WHY);
        self.censored.add(&other.censored).expect(WHY);
    }

    /// Forgets all times and keeps the memory. Costs nothing where nothing was recorded.
    pub fn clear(&mut self) {
        if !self.values.is_empty() {
            self.values.reset();
        }
        if !self.censored.is_empty() {
            self.censored.reset();
        }
    }

    /// The known times, in nanoseconds (what goes into an interval log).
    pub fn values(&self) -> &Histogram<u64> {
        &self.values
    }

    /// Ages of censored requests, in nanoseconds.
    pub fn censored(&self) -> &Histogram<u32> {
        &self.censored
    }

    /// Known and censored times together.
    pub fn len(&self) -> u64 {
        self.values.len() + self.censored.len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for Series {
    fn default() -> Series {
        Series::new()
    }
}

/// What is recorded of one payload class.
#[derive(Clone, Debug, Default)]
pub struct ClassRecord {
    /// Intended time to the right answer.
    pub latency: Series,
    /// How many requests, and what became of them.
    pub counts: Counts,
}

/// Everything recorded in a stretch of time. Memory is fixed: 205 KiB for each class and three times that.
#[derive(Clone, Debug)]
pub struct Recorder {
    classes: Vec<ClassRecord>,
    service: Series,
    first_byte: Series,
    send_lag: Series,
    statuses: Box<[u64; STATUS_END]>,
    errors: Errors,
}

impl Recorder {
    /// Empty, for classes `0..classes`; at least one.
    pub fn new(classes: usize) -> Recorder {
        Recorder {
            classes: (0..classes.max(1)).map(|_| ClassRecord::default()).collect(),
            service: Series::new(),
            first_byte: Series::new(),
            send_lag: Series::new(),
            statuses: Box::new([0; STATUS_END]),
            errors: Errors::default(),
        }
    }

    /// Records a request that ended. Never allocates.
    ///
    /// # Panics
    /// When the class is not below the number given to [`Recorder::new`].
    pub fn record(&mut self, done: &Done) {
        let class = &mut self.classes[usize::from(done.class)];
        let latency = done.done_ns.saturating_sub(done.intended_ns);
        let was_sent = done.sent_ns >= done.intended_ns;
        if was_sent {
            self.send_lag.record(done.sent_ns - done.intended_ns);
        }
        match done.outcome {
            Outcome::Status(status) => {
                self.statuses[usize::from(status).min(STATUS_END - 1)] += 1;
                class.counts.completed += 1;
                class.counts.unexpected += u64::from(!done.expected);
            }
            _ if done.expected => class.counts.completed += 1,
            failed => {
                class.counts.errors += 1;
                self.errors.count(failed);
            }
        }
        if done.expected {
            class.latency.record(latency)
        } else {
            class.latency.censor(latency)
        }
        if done.class != VALID || !was_sent {
            return;
        }
        let service = done.done_ns.saturating_sub(done.sent_ns);
        if done.expected {
            self.service.record(service)
        } else {
            self.service.censor(service)
        }
        if done.first_byte_ns >= done.sent_ns && done.first_byte_ns != 0 {
            self.first_byte.record(done.first_byte_ns - done.sent_ns);
        } else if !done.expected {
            self.first_byte.censor(service);
        }
    }

    /// Counts a request handed to the kernel. Its end comes by [`Recorder::record`] or [`Recorder::censor`],
    /// perhaps in the recorder of a later second.
    pub fn sent(&mut self, class: ClassId) {
        self.classes[usize::from(class)].counts.sent += 1;
    }

    /// Records a request that was queued or in flight at the end of the run, `age_ns` after its intended time.
    pub fn censor(&mut self, class: ClassId, age_ns: u64) {
        let class = &mut self.classes[usize::from(class)];
        class.counts.censored += 1;
        class.latency.censor(age_ns);
    }

    /// Adds another recorder's times and counts.
    ///
    /// # Panics
    /// When the other has more classes.
    pub fn add(&mut self, other: &Recorder) {
        assert!(other.classes.len() <= self.classes.len(), "recorders of one run have the same classes");
        for (mine, theirs) in self.classes.iter_mut().zip(&other.classes) {
            mine.latency.add(&theirs.latency);
            mine.counts.add(&theirs.counts);
        }
        self.service.add(&other.service);
        self.first_byte.add(&other.first_byte);
        self.send_lag.add(&other.send_lag);
        for (mine, theirs) in self.statuses.iter_mut().zip(other.statuses.iter()) {
            *mine += theirs;
        }
        self.errors.add(&other.errors);
    }

    /// Becomes empty and keeps its memory.
    pub fn clear(&mut self) {
        for class in &mut self.classes {
            class.latency.clear();
            class.counts = Counts::default();
        }
        self.service.clear();
        self.first_byte.clear();
        self.send_lag.clear();
        self.statuses.fill(0);
        self.errors = Errors::default();
    }

    /// Sums over all classes.
    pub fn totals(&self) -> Counts {
        let mut sum = Counts::default();
        for class in &self.classes {
            sum.add(&class.counts);
        }
        sum
    }

    /// One class.
    ///
    /// # Panics
    /// When the class is not below the number given to [`Recorder::new`].
    pub fn class(&self, id: ClassId) -> &ClassRecord {
        &self.classes[usize::from(id)]
    }

    /// All classes; the index is the [`ClassId`].
    pub fn classes(&self) -> &[ClassRecord] {
        &self.classes
    }

    /// Latency of valid requests: intended to right answer.
    pub fn latency(&self) -> &Series {
        &self.classes[usize::from(VALID)].latency
    }

    /// Service time of valid requests: sent to right answer.
    pub fn service(&self) -> &Series {
        &self.service
    }

    /// Sent to first byte of the reply, of valid requests.
    pub fn first_byte(&self) -> &Series {
        &self.first_byte
    }

    /// Intended to sent, of all classes: how late the generator was.
    pub fn send_lag(&self) -> &Series {
        &self.send_lag
    }

    /// Replies by status, rising; statuses that never came are left out.
    pub fn statuses(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        (0u16..).zip(self.statuses.iter().copied()).filter(|&(_, count)| count != 0)
    }

    /// Requests that failed without a reply, by kind.
    pub fn errors(&self) -> &Errors {
        &self.errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Done = Done {
        class: VALID,
        intended_ns: 1_000_000,
        sent_ns: 1_010_000,
        first_byte_ns: 1_500_000,
        done_ns: 2_000_000,
        outcome: Outcome::Status(200),
        expected: true,
    };

    fn only(series: &Series) -> u64 {
        assert_eq!((series.values().len(), series.censored().len()), (1, 0));
        series.values().max()
    }

    /// The top of the cell of `ns`, as the histogram gives it back.
    fn cell(ns: u64) -> u64 {
        Series::new().values().highest_equivalent(ns)
    }

    #[test]
    fn each_time_counts_from_where_it_says() {
        let mut recorder = Recorder::new(1);
        recorder.sent(VALID);
        recorder.record(&BASE);
        assert_eq!(only(recorder.latency()), cell(1_000_000));
        assert_eq!(only(recorder.service()), cell(990_000));
        assert_eq!(only(recorder.first_byte()), cell(490_000));
        assert_eq!(only(recorder.send_lag()), cell(10_000));
        let totals = recorder.totals();
        assert_eq!((totals.sent, totals.completed, totals.right(), totals.all()), (1, 1, 1, 1));
    }

    #[test]
    fn how_it_ends_decides_where_it_counts() {
        // (outcome, expected) → completed, unexpected, errors, latency known
        let cases = [
            (Outcome::Status(200), true, (1, 0, 0), true),
            (Outcome::Status(503), false, (1, 1, 0), false),
            (Outcome::Closed, true, (1, 0, 0), true),
            (Outcome::Closed, false, (0, 0, 1), false),
            (Outcome::Reset, false, (0, 0, 1), false),
            (Outcome::Timeout, false, (0, 0, 1), false),
            (Outcome::BadReply, false, (0, 0, 1), false),
            (Outcome::ConnectFailed, false, (0, 0, 1), false),
        ];
        let mut errors = Errors::default();
        for (outcome, expected, counts, known) in cases {
            let mut recorder = Recorder::new(1);
            recorder.record(&Done { outcome, expected, ..BASE });
            let totals = recorder.totals();
            assert_eq!((totals.completed, totals.unexpected, totals.errors), counts, "{outcome:?}");
            for series in [recorder.latency(), recorder.service()] {
                let seen = (series.values().len() == 1, series.censored().len() == 1);
                assert_eq!(seen, (known, !known), "{outcome:?}");
            }
            assert_eq!(recorder.errors().each().iter().map(|(_, n)| n).sum::<u64>(), totals.errors);
            errors.add(recorder.errors());
        }
        assert!(errors.each().iter().all(|&(_, count)| count == 1), "{errors:?}");
    }

    #[test]
    fn what_was_never_sent_has_no_service_time_and_no_lag() {
        let mut recorder = Recorder::new(1);
        recorder.record(&Done { sent_ns: 0, outcome: Outcome::ConnectFailed, expected: false, ..BASE });
        recorder.censor(VALID, 5_000_000);
        assert!(recorder.service().is_empty() && recorder.send_lag().is_empty());
        assert_eq!(recorder.latency().censored().len(), 2);
        assert_eq!(recorder.totals().censored, 1);
        assert_eq!(recorder.totals().all(), 2);
    }

    #[test]
    fn classes_are_kept_apart_and_only_valid_ones_are_the_headline() {
        let mut recorder = Recorder::new(3);
        recorder.sent(2);
        recorder.record(&Done { class: 2, outcome: Outcome::Status(400), ..BASE });
        recorder.censor(1, 7);
        assert!(recorder.latency().is_empty() && recorder.service().is_empty());
        assert_eq!(only(&recorder.class(2).latency), cell(1_000_000));
        assert_eq!(recorder.class(1).counts, Counts { censored: 1, ..Counts::default() });
        assert_eq!(only(recorder.send_lag()), cell(10_000), "lateness is the generator's, whatever it sends");
    }

    #[test]
    fn adding_is_recording_both_and_clearing_forgets() {
        let (mut one, mut two, mut both) = (Recorder::new(2), Recorder::new(2), Recorder::new(2));
        for n in 0..1_000u64 {
            let expected = n % 7 != 0;
            let outcome = if n % 11 == 0 { Outcome::Reset } else { Outcome::Status(200 + (n % 3) as u16) };
            let class = (n % 2) as ClassId;
            let done = Done { class, outcome, expected, done_ns: BASE.done_ns + n * n * 1_000, ..BASE };
            let half = if n % 3 == 0 { &mut one } else { &mut two };
            for recorder in [half, &mut both] {
                recorder.sent(class);
                recorder.record(&done);
            }
        }
        one.add(&two);
        assert_eq!(one.totals(), both.totals());
        assert_eq!(one.errors(), both.errors());
        assert!(one.statuses().eq(both.statuses()));
        let each = |recorder: &Recorder| {
            let Recorder { classes, service, first_byte, send_lag, .. } = recorder.clone();
            let mut all: Vec<Series> = classes.into_iter().map(|class| class.latency).collect();
            all.extend([service, first_byte, send_lag]);
            all
        };
        for (got, wanted) in each(&one).iter().zip(&each(&both)) {
            assert!(got.values() == wanted.values() && got.censored() == wanted.censored());
        }
        one.clear();
        assert_eq!(one.totals(), Counts::default());
        assert!(each(&one).iter().all(Series::is_empty) && one.statuses().next().is_none());
    }

    #[test]
    fn what_is_out_of_range_counts_at_its_edge() {
        let mut recorder = Recorder::new(1);
        recorder.record(&Done { done_ns: u64::MAX, outcome: Outcome::Status(65_535), ..BASE });
        recorder.censor(VALID, u64::MAX);
        // A clock that went back.
        recorder.record(&Done { done_ns: 0, first_byte_ns: 3, ..BASE });
        assert_eq!(recorder.latency().values().max(), cell(TIME_NS_MAX));
        assert_eq!(recorder.latency().values().min(), 0);
        assert_eq!(recorder.statuses().collect::<Vec<_>>(), [(200, 1), (999, 1)]);
    }
}
