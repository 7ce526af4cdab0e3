//! Mistakes that a producer can make, to be made on purpose: the simulation must notice each of them.
//!
//! Outside this crate's own tests [`Producer::errs`] is false for the compiler, and nothing of this is left.

use super::Producer;
use super::errors::Verdict;
use super::partition::Phase;
use super::types::Outcome;

/// One variant a mistake, and the list of all of them.
macro_rules! mutants {
    ($($(#[$about:meta])* $name:ident,)*) => {
        /// One mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(dead_code, reason = "made in tests only")]
        pub(super) enum Mutant {
            $($(#[$about])* $name,)*
        }

        #[cfg(test)]
        impl Mutant {
            /// Every one.
            pub(super) const ALL: &[Mutant] = &[$(Mutant::$name,)*];
        }
    };
}

mutants! {
    /// After "possibly written" the sequence goes on where the batch began (rules 6 and 11).
    ReuseSequence,
    /// A retry gets a new stamp, whatever became of the first attempt (rules 5 and 7).
    RestampOnRetry,
    /// A bump re-stamps what is unknown on other partitions (rule 7).
    RestampOthers,
    /// NOT_LEADER and its like count as proof that nothing was appended (rule 6).
    NotLeaderIsProof,
    /// A lost connection counts as such a proof (rule 6).
    LostIsProof,
    /// DUPLICATE_SEQUENCE counts as a refusal (rule 8).
    DuplicateIsRefusal,
    /// The sequence wraps below zero (rule 4).
    WrapNegative,
    /// A topic that vanishes takes its sequences with it (rule 9).
    ForgetVanished,
    /// A topic made anew goes on with the old sequences.
    IgnoreRecreation,
    /// Too large is split although an attempt is unknown (rule 10).
    SplitMaybe,
    /// A batch in flight at its deadline counts as not written (rule 11).
    ExpireAsNotWritten,
    /// Answers of a link given up are believed.
    BelieveStale,
    /// A batch that an answer does not mention counts as written.
    MissingIsWritten,
    /// What waits for a partition without a leader is given up as not written, though an attempt is unknown.
    ForsakenIsProof,
    /// A partition that was forsaken stays so when its leader is back.
    ForsakenForGood,
    /// What waits for a partition without a leader holds its commit until the delivery timeout.
    WaitForLeader,
    /// A batch goes before those that its partition was given earlier.
    JumpQueue,
    /// The parts of a batch that was split go behind those that its partition was given later.
    PartsLast,
    /// A muted link is used (rule 14).
    IgnoreThrottle,
}

impl Producer {
    /// The mistake is to be made.
    #[cfg(test)]
    pub(super) fn errs(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// The mistake is to be made: never.
    #[cfg(not(test))]
    #[allow(clippy::unused_self, reason = "as its twin for tests")]
    pub(super) const fn errs(&self, _: Mutant) -> bool {
        false
    }

    /// The verdict itself, unless a mistake changes it.
    pub(super) fn misjudge(&mut self, batch: usize, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::MaybeElsewhere if self.errs(Mutant::NotLeaderIsProof) => Verdict::RetryElsewhere,
            Verdict::Duplicate if self.errs(Mutant::DuplicateIsRefusal) => {
                self.batches[batch].maybe = false;
                Verdict::Rejected
            }
            Verdict::Split if self.errs(Mutant::SplitMaybe) => {
                self.batches[batch].maybe = false;
                Verdict::Split
            }
            verdict => verdict,
        }
    }

    /// `MissingIsWritten`.
    pub(super) fn believe_missing(&mut self, now_ns: u64, row: usize, at: usize) {
        for batch in self.rows[row].request(at).batches.clone() {
            let p = self.batches[batch.0 as usize].partition;
            if self.partitions[p].phase == (Phase::Sent { row, request: at }) {
                self.finish(now_ns, p, Outcome::Written { base_offset: -1 });
            }
        }
    }

    /// `JumpQueue`. False: there is nothing to jump.
    pub(super) fn jump_queue(&mut self, p: usize, at: usize) -> bool {
        let Some(head) = self.partitions[p].head else { return false };
        let next = self.batches[head].next.replace(at);
        self.batches[at].next = next;
        if next.is_none() {
            self.partitions[p].tail = Some(at);
        }
        next.is_some()
    }

    /// `RestampOthers`.
    pub(super) fn restamp_others(&mut self) {
        for part in &mut self.partitions {
            if !matches!(part.phase, Phase::Sent { .. } | Phase::Ready(_)) && part.identity.is_some() {
                part.bump();
                if let Some(head) = part.head {
                    self.batches[head].stamp = None;
                }
            }
        }
    }

    /// `ForgetVanished`.
    pub(super) fn forget_vanished(&mut self, topic: usize) {
        self.topics.table[topic].incarnation += 1;
        for number in 0..self.topics.table[topic].reserved {
            let p = self.topics.index(topic, number);
            let part = &mut self.partitions[p];
            if !matches!(part.phase, Phase::Sent { .. } | Phase::Ready(_) | Phase::WantsId) {
                (part.identity, part.incarnation) = (None, self.topics.table[topic].incarnation);
                if let Some(head) = part.head {
                    self.batches[head].stamp = None;
                }
            }
        }
    }
}
