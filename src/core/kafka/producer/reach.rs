//! Partitions whose leader cannot be reached: since when, and what becomes of what waits for them.
//!
//! A commit settles as a whole, so what waits for one partition keeps the others of its shard waiting. After
//! `leader_wait_ns` without a leader that is connected a partition is *forsaken*: what of it is surely in no log is
//! given up, and its owner takes in nothing more for it ([`Partitions::is_forsaken`](super::Partitions)) until a
//! leader is there. What may be in a log is not given up early: its delivery timeout is for finding out.

use super::Producer;
use super::mutant::Mutant;
use super::types::Why;

impl Producer {
    /// Takes note of whether the leader of a partition can be reached; whenever one of the two has changed.
    pub(super) fn note_reach(&mut self, now_ns: u64, p: usize) {
        let reached = self.partitions[p].leader.is_some_and(|row| self.rows[row].is_up());
        let keeps = self.errs(Mutant::ForsakenForGood);
        let part = &mut self.partitions[p];
        if reached {
            part.away_since_ns = None;
            part.forsaken &= keeps;
        } else {
            let since = *part.away_since_ns.get_or_insert(now_ns);
            if !part.forsaken {
                self.wake(since.saturating_add(self.settings.leader_wait_ns));
            }
        }
    }

    /// The same for all that a broker leads.
    pub(super) fn note_row(&mut self, now_ns: u64, row: usize) {
        if self.rows[row].leads == 0 {
            return;
        }
        for p in 0..self.partitions.len() {
            if self.partitions[p].leader == Some(row) {
                self.note_reach(now_ns, p);
            }
        }
    }

    /// Forsakes a partition whose leader has been away for too long.
    pub(super) fn tick_reach(&mut self, now_ns: u64, p: usize) {
        let part = &mut self.partitions[p];
        let Some(since) = part.away_since_ns.filter(|_| !part.forsaken) else { return };
        let end = since.saturating_add(self.settings.leader_wait_ns);
        if now_ns < end {
            return self.wake(end);
        }
        if self.errs(Mutant::WaitForLeader) {
            return;
        }
        self.partitions[p].forsaken = true;
        self.topics.version += 1;
        self.place(now_ns, p);
    }

    /// Ends what waits for a forsaken partition, up to the first batch that may be in a log.
    pub(super) fn leave_forsaken(&mut self, p: usize) {
        let blind = self.errs(Mutant::ForsakenIsProof);
        while let Some(head) = self.partitions[p].head
            && self.partitions[p].forsaken
            && (blind || !self.batches[head].maybe)
        {
            self.end(p, self.ended(head, Why::NoLeader));
        }
    }
}
