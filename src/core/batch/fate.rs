//! What became of each event of a commit of which not all was written.
//!
//! A commit for Kafka or an HTTP target is a set of batches, each with an outcome of its own. Nothing is kept of those that were
//! written; of the others each event has one byte, the number of a failure in a short list. Both are reserved at
//! start and touched only by failures.
use crate::json::Reason as Flaw;
use crate::kafka::producer::{PartitionIndex, Reason};
use crate::sink::http::{self, Why};
use crate::sink::kafka;
use alloc::vec::Vec;
use core::ops::Range;

/// What can become of an event instead of being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is in no log and will not be.
    NotWritten,
    /// Nobody knows.
    PossiblyWritten,
    /// The target refuses this very event, and would again.
    Refused,
}

/// Where some events should have gone, and why they did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// To a partition.
    Kafka(PartitionIndex, Reason),
    /// To an HTTP target.
    Http(Why),
}

impl Cause {
    /// What a list of errors says of events that were refused for it.
    pub(crate) fn flaw(self) -> Flaw {
        match self {
            Cause::Kafka(_, reason) => kafka::flaw(reason),
            Cause::Http(why) => http::flaw(why),
        }
    }
}

/// Why some events failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How.
    pub fate: Fate,
    /// Where and why.
    pub cause: Cause,
}

/// Failures told apart in one commit; of later ones events go with the last of the same fate, or of another.
const FAILURES_MAX: usize = 254;

/// How many of some events failed, and the gravest of the failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// In no log.
    pub not_written: u32,
    /// Unknown.
    pub possibly_written: u32,
    /// Refused one by one.
    pub refused: u32,
    /// The first failure of the gravest fate: possibly written before not written before refused.
    pub gravest: Option<Failure>,
}

/// Which of two failures a reply tells of.
const fn weight(failure: &Failure) -> u8 {
    match failure.fate {
        Fate::Refused => 0,
        Fate::NotWritten => 1,
        Fate::PossiblyWritten => 2,
    }
}

impl Sum {
    /// Adds what became of other events.
    pub fn add(&mut self, other: &Sum) {
        self.not_written += other.not_written;
        self.possibly_written += other.possibly_written;
        self.refused += other.refused;
        if let Some(failure) = &other.gravest {
            self.meet(failure);
        }
    }

    fn meet(&mut self, failure: &Failure) {
        if self.gravest.is_none_or(|known| weight(&known) < weight(failure)) {
            self.gravest = Some(*failure);
        }
    }
}

/// The fates of one commit's events.
pub struct Fates {
    /// 0: written; else 1 + the index of its failure.
    of: Vec<u8>,
    failures: Vec<Failure>,
    events_max: usize,
}

impl Fates {
    /// For commits of up to so many events: one byte each.
    pub fn with_capacity(events_max: usize) -> Fates {
        let failures = if events_max > 0 { FAILURES_MAX } else { 0 };
        let (of, failures) = (Vec::with_capacity(events_max), Vec::with_capacity(failures));
        Fates { of, failures, events_max }
    }

    /// Whether it was made for any events at all.
    pub fn has_room(&self) -> bool {
        self.events_max > 0
    }

    /// Nothing failed.
    pub fn is_empty(&self) -> bool {
        self.failures.is_empty()
    }

    /// Notes that these events failed.
    pub fn fail(&mut self, events: Range<u32>, failure: Failure) {
        debug_assert!(events.end as usize <= self.events_max, "no commit holds so many");
        let place = self.place(failure);
        if self.of.len() < events.end as usize {
            self.of.resize(events.end as usize, 0);
        }
        self.of[events.start as usize..events.end as usize].fill(place);
    }

    fn place(&mut self, failure: Failure) -> u8 {
        let last = |of: fn(&Failure, &Failure) -> bool| {
            self.failures.iter().rposition(|known| of(known, &failure)).map(|at| at as u8 + 1)
        };
        if let Some(place) = last(|known, new| known == new) {
            return place;
        }
        // One place is kept for each fate that has none yet, so that no fate is ever taken for another.
        let fates = [Fate::NotWritten, Fate::PossiblyWritten, Fate::Refused];
        let missing =
            |fate: &&Fate| **fate != failure.fate && !self.failures.iter().any(|f| f.fate == **fate);
        let kept = fates.iter().filter(missing).count();
        if self.failures.len() + kept >= FAILURES_MAX
            && let Some(place) = last(|known, new| known.fate == new.fate)
        {
            return place;
        }
        self.failures.push(failure);
        self.failures.len() as u8
    }

    /// What became of one event; `None`: written.
    pub fn of(&self, event: u32) -> Option<&Failure> {
        match self.of.get(event as usize) {
            None | Some(0) => None,
            Some(place) => self.failures.get(usize::from(*place) - 1),
        }
    }

    /// Adds up what became of these events.
    pub fn sum(&self, events: Range<u32>) -> Sum {
        let mut sum = Sum::default();
        if self.is_empty() {
            return sum;
        }
        for failure in events.filter_map(|event| self.of(event)) {
            *match failure.fate {
                Fate::NotWritten => &mut sum.not_written,
                Fate::PossiblyWritten => &mut sum.possibly_written,
                Fate::Refused => &mut sum.refused,
            } += 1;
            sum.meet(failure);
        }
        sum
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.of.clear();
        self.failures.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::producer;

    fn failure(fate: Fate, partition: u32) -> Failure {
        let reason = Reason { why: producer::Why::Deadline, code: 7 };
        Failure { fate, cause: Cause::Kafka(PartitionIndex(partition), reason) }
    }

    #[test]
    fn ranges_add_up_to_what_was_noted() {
        let mut fates = Fates::with_capacity(100);
        assert_eq!(fates.sum(0..100), Sum::default());
        fates.fail(10..20, failure(Fate::NotWritten, 1));
        fates.fail(30..32, failure(Fate::Refused, 2));
        fates.fail(32..40, failure(Fate::PossiblyWritten, 3));
        for (range, sum) in [
            (0..10, (0, 0, 0)),
            (5..11, (1, 0, 0)),
            (19..31, (1, 0, 1)),
            (0..100, (10, 8, 2)),
            (40..100, (0, 0, 0)),
        ] {
            let found = fates.sum(range.clone());
            assert_eq!((found.not_written, found.possibly_written, found.refused), sum, "{range:?}");
        }
        assert_eq!(fates.sum(0..100).gravest, Some(failure(Fate::PossiblyWritten, 3)));
        assert_eq!(fates.sum(0..32).gravest, Some(failure(Fate::NotWritten, 1)));
        fates.clear();
        assert_eq!((fates.is_empty(), fates.sum(0..100)), (true, Sum::default()));
    }

    #[test]
    fn a_full_list_never_takes_one_fate_for_another() {
        let mut fates = Fates::with_capacity(2000);
        for event in 0..1000 {
            fates.fail(event..event + 1, failure(Fate::NotWritten, event));
        }
        fates.fail(1000..1001, failure(Fate::Refused, 1000));
        for event in 1001..1500 {
            fates.fail(event..event + 1, failure(Fate::PossiblyWritten, event));
        }
        let sum = fates.sum(0..2000);
        assert_eq!((sum.not_written, sum.possibly_written, sum.refused), (1000, 499, 1));
    }
}
