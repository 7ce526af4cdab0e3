//! What time alone brings about. A full look at everything, but seldom: `wake_ns` is never later than the first
//! thing due, and in a healthy run a look per `suspect_ns` is all.

use super::Producer;
use super::brokers::State;
use super::partition::Phase;
use super::topics::Trouble;
use super::types::{LinkFailure, Why};

impl Producer {
    /// Does what is due; nothing before [`deadline_ns`](Self::deadline_ns).
    pub fn tick(&mut self, now_ns: u64) {
        if now_ns < self.wake_ns {
            return;
        }
        self.wake_ns = u64::MAX;
        self.stirred = true;
        for row in 0..self.rows.len() {
            self.tick_row(now_ns, row);
        }
        self.tick_metadata(now_ns);
        for p in 0..self.partitions.len() {
            self.tick_partition(now_ns, p);
        }
        // Who is not ready is given nothing to write, and would never learn that it may: doubt has to end by itself.
        match self.no_id {
            Some((_, until)) if until > now_ns => self.wake(until),
            _ => self.no_id = None,
        }
        for topic in 0..self.topics.table.len() {
            if let Some(Trouble::WriteDenied(until)) = self.topics.table[topic].trouble {
                if until <= now_ns {
                    self.trouble(topic, None);
                } else {
                    self.wake(until);
                }
            }
        }
    }

    fn tick_row(&mut self, now_ns: u64, row: usize) {
        let peer = &self.rows[row];
        let (muted, redial) = (peer.muted_until_ns, peer.redial_ns);
        for at in [muted, redial].into_iter().filter(|&at| at > now_ns) {
            self.wake(at);
        }
        match self.rows[row].state {
            State::Closed => {}
            State::Dialing(since) => {
                let end = since + self.settings.dial_timeout_ns;
                if end <= now_ns {
                    return self.hang_up(now_ns, row, LinkFailure::Timeout);
                }
                self.wake(end);
                self.suspect(now_ns, since);
            }
            State::Up => self.tick_requests(now_ns, row),
        }
    }

    fn tick_requests(&mut self, now_ns: u64, row: usize) {
        let Some(asked) = self.rows[row].oldest_ns() else { return };
        let end = asked + self.settings.request_timeout_ns;
        if end <= now_ns {
            return self.hang_up(now_ns, row, LinkFailure::Timeout);
        }
        self.wake(end);
        let silent = asked + self.settings.silent_ns;
        if silent > now_ns {
            self.wake(silent);
        } else if !self.rows[row].silent {
            self.rows[row].silent = true;
            self.topics.version += 1;
        }
        self.suspect(now_ns, asked);
    }

    /// Asks who leads when a broker has been silent since `since_ns` for long enough to doubt it.
    fn suspect(&mut self, now_ns: u64, since_ns: u64) {
        let suspect = since_ns + self.settings.suspect_ns;
        if suspect > now_ns {
            return self.wake(suspect);
        }
        // It may have lost its leadership and be unable to say so.
        if !self.metadata.asked {
            self.want_metadata(now_ns);
        }
        self.wake(now_ns + self.settings.suspect_ns);
    }

    fn tick_metadata(&mut self, now_ns: u64) {
        if self.metadata.asked {
            return;
        }
        let due = self.metadata.due_ns;
        if now_ns < due {
            return self.wake(due);
        }
        let late = *self.metadata.late_since_ns.get_or_insert(due);
        let end = late + self.settings.rebootstrap_ns;
        if now_ns < end {
            return self.wake(end);
        }
        self.metadata.through_bootstrap = true;
    }

    fn tick_partition(&mut self, now_ns: u64, p: usize) {
        self.tick_reach(now_ns, p);
        while let Some(head) = self.partitions[p].head {
            let (end, phase) = (self.batches[head].deadline_ns, self.partitions[p].phase);
            if phase == Phase::Held {
                // The parts that are awaited go first, and end first.
                return;
            }
            if now_ns < end {
                let not_before = self.partitions[p].not_before_ns;
                self.wake(if not_before > now_ns { end.min(not_before) } else { end });
                if phase == Phase::Waiting {
                    self.place(now_ns, p);
                }
                return;
            }
            match phase {
                // No outcome while the link may still read the bytes: it goes first, and that ends the batch.
                Phase::Sent { row, .. } => {
                    self.hang_up(now_ns, row, LinkFailure::Timeout);
                }
                _ => self.give_up(now_ns, p, Why::Deadline),
            }
        }
    }
}
