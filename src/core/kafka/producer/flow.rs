//! A batch's way: placed, sent, tried again, ended. The only file that moves a partition from phase to phase,
//! but for `command.rs`, which sends.

use super::mutant::Mutant;
use super::partition::{Life, Phase};
use super::types::{Outcome, Reason, Slot, Why};
use super::{Producer, stamp::next_sequence};

impl Producer {
    /// Puts a partition where its head batch can wait for what it lacks. Safe to call at any time.
    pub(super) fn place(&mut self, now_ns: u64, p: usize) {
        if matches!(self.partitions[p].phase, Phase::Sent { .. } | Phase::Held) {
            return;
        }
        self.loosen(p);
        self.follow_incarnation(p);
        self.leave_gone(p);
        self.leave_forsaken(p);
        let part = &mut self.partitions[p];
        if part.head.is_none() {
            return;
        }
        part.phase = Phase::Waiting;
        if now_ns < part.not_before_ns {
            let at = part.not_before_ns;
            return self.wake(at);
        }
        if part.identity.is_none() {
            if !part.asked_id {
                part.phase = Phase::WantsId;
                self.wants_id.push(&mut self.partitions, p);
                self.stirred = true;
            }
            return;
        }
        match part.leader {
            None => self.want_metadata(now_ns),
            Some(row) => {
                part.phase = Phase::Ready(row);
                self.rows[row].ready.push(&mut self.partitions, p);
                self.stirred = true;
            }
        }
    }

    /// Takes a partition out of the list that it waits in.
    pub(super) fn loosen(&mut self, p: usize) {
        match self.partitions[p].phase {
            Phase::WantsId => self.wants_id.remove(&mut self.partitions, p),
            Phase::Ready(row) => self.rows[row].ready.remove(&mut self.partitions, p),
            Phase::Idle | Phase::Waiting | Phase::Sent { .. } | Phase::Held => return,
        }
        self.partitions[p].phase = Phase::Waiting;
    }

    /// Ends what waits for a partition that the topic made anew has not.
    fn leave_gone(&mut self, p: usize) {
        let part = &self.partitions[p];
        if (part.number as usize) < self.topics.table[part.topic].count {
            return;
        }
        while let Some(head) = self.partitions[p].head {
            self.end(p, self.ended(head, Why::PartitionGone));
        }
    }

    /// The topic was made anew: nothing of the old sequence may be known to the new log.
    fn follow_incarnation(&mut self, p: usize) {
        let part = &self.partitions[p];
        let incarnation = self.topics.table[part.topic].incarnation;
        if part.incarnation == incarnation || self.errs(Mutant::IgnoreRecreation) {
            return;
        }
        let part = &mut self.partitions[p];
        part.incarnation = incarnation;
        if let Some(head) = part.head {
            if self.batches[head].maybe {
                self.end(p, Outcome::PossiblyWritten(self.reason(head, Why::Recreated)));
            } else {
                self.batches[head].stamp = None;
                self.batches[head].frozen = false;
            }
        }
        if self.partitions[p].identity.is_some() {
            self.partitions[p].renew();
        }
    }

    /// An attempt failed. `patient`: after a backoff; otherwise at once, to follow a hint.
    pub(super) fn retry(&mut self, now_ns: u64, p: usize, patient: bool) {
        // Following a hint may have placed it.
        self.loosen(p);
        let part = &mut self.partitions[p];
        part.phase = Phase::Waiting;
        part.figures.retries += 1;
        self.totals.retries += 1;
        if patient {
            part.failures = part.failures.saturating_add(1);
            part.not_before_ns = now_ns + self.settings.retry.wait_ns(part.failures, &mut self.chance);
        }
        let Some(head) = part.head else { return };
        if self.errs(Mutant::RestampOnRetry) && self.partitions[p].identity.is_some() {
            self.partitions[p].bump();
            self.batches[head].stamp = None;
        }
        let batch = &mut self.batches[head];
        batch.retries = batch.retries.saturating_add(1);
        if batch.retries > self.settings.retries_max {
            return self.give_up(now_ns, p, Why::Retries);
        }
        if now_ns >= batch.deadline_ns {
            return self.give_up(now_ns, p, Why::Deadline);
        }
        self.place(now_ns, p);
    }

    /// Ends the head batch without success; says *possibly* where an attempt ended without a proof.
    ///
    /// The batch must not be in a request of a link that is up: what is ended may be forgotten by its owner.
    pub(super) fn give_up(&mut self, now_ns: u64, p: usize, why: Why) {
        if let Some(head) = self.partitions[p].head {
            self.finish(now_ns, p, self.ended(head, why));
        }
    }

    pub(super) fn ended(&self, batch: usize, why: Why) -> Outcome {
        let reason = self.reason(batch, why);
        let expired = match why {
            Why::Deadline => self.errs(Mutant::ExpireAsNotWritten),
            Why::NoLeader => self.errs(Mutant::ForsakenIsProof),
            _ => false,
        };
        match self.batches[batch].maybe && !expired {
            true => Outcome::PossiblyWritten(reason),
            false => Outcome::NotWritten(reason),
        }
    }

    /// Ends the head batch and goes on with the next.
    pub(super) fn finish(&mut self, now_ns: u64, p: usize, outcome: Outcome) {
        self.end(p, outcome);
        self.place(now_ns, p);
    }

    /// Ends the head batch.
    pub(super) fn end(&mut self, p: usize, outcome: Outcome) {
        self.loosen(p);
        let (reuse, negative) = (self.errs(Mutant::ReuseSequence), self.errs(Mutant::WrapNegative));
        let part = &mut self.partitions[p];
        let Some(head) = part.head else { return };
        let batch = &mut self.batches[head];
        part.phase = Phase::Waiting;
        match outcome {
            Outcome::Written { .. } => {
                if let Some(id) = &mut part.identity {
                    id.sequence = match negative {
                        false => next_sequence(id.sequence, batch.records),
                        true => id.sequence.wrapping_add(batch.records as i32),
                    };
                }
                part.failures = 0;
                part.hints = 0;
                part.not_before_ns = 0;
                part.figures.batches += 1;
                part.figures.records += u64::from(batch.records);
                part.figures.bytes += u64::from(batch.bytes);
                self.totals.records += u64::from(batch.records);
                self.totals.written += 1;
            }
            Outcome::PossiblyWritten(_) => {
                // Its sequence numbers may be taken: they are left behind with their epoch.
                if !reuse {
                    part.bump();
                }
                part.figures.possibly_written += 1;
                self.totals.possibly_written += 1;
            }
            Outcome::Split { .. } => {
                part.held_deadline_ns = batch.deadline_ns;
                part.phase = Phase::Held;
                self.held += 1;
                self.totals.splits += 1;
            }
            Outcome::NotWritten(_) | Outcome::Refused { .. } => {
                part.figures.not_written += 1;
                self.totals.not_written += 1;
            }
        }
        batch.life = Life::Settled;
        part.head = batch.next.take();
        if part.head.is_none() {
            part.tail = None;
            if part.phase == Phase::Waiting {
                part.phase = Phase::Idle;
            }
        }
        self.queued -= 1;
        self.stirred = true;
        self.outcomes.push_back((Slot(head as u32), outcome));
    }

    pub(super) fn reason(&self, batch: usize, why: Why) -> Reason {
        Reason { why, code: self.batches[batch].last_error }
    }
}
