//! What the edge is to do next. Nothing here fails: what cannot go now stays where it waits.

use super::Producer;
use super::brokers::{Asked, State};
use super::partition::Phase;
use super::types::{Command, Endpoint, LinkId, PartitionIndex, Slot};

/// A command before it borrows.
enum Step {
    HangUp(LinkId),
    Dial(usize, Endpoint),
    Metadata(usize, usize),
    ProducerId(usize, usize, usize),
    Produce(usize, usize),
}

impl Producer {
    /// What is to be done next; to be asked after every call of the family *in*, until it says `None`.
    pub fn next_command(&mut self, now_ns: u64) -> Option<Command<'_>> {
        if !self.stirred {
            return None;
        }
        let Some(step) = self.next_step(now_ns) else {
            self.stirred = false;
            return None;
        };
        let link = |row: usize| self.rows[row].link(row);
        let correlation = |row: usize, at: usize| self.rows[row].requests()[at].correlation;
        Some(match step {
            Step::HangUp(link) => Command::HangUp { link },
            Step::Dial(row, to) => Command::Dial { link: link(row), to },
            Step::Metadata(row, at) => Command::Metadata {
                link: link(row),
                correlation: correlation(row, at),
                topics: &self.topics.indices,
                allow_create: self.settings.allow_create,
            },
            Step::ProducerId(row, at, p) => Command::InitProducerId {
                link: link(row),
                correlation: correlation(row, at),
                partition: PartitionIndex(p as u32),
            },
            Step::Produce(row, at) => Command::Produce {
                link: link(row),
                correlation: correlation(row, at),
                batches: &self.rows[row].requests()[at].batches,
            },
        })
    }

    fn next_step(&mut self, now_ns: u64) -> Option<Step> {
        self.retire_unwanted();
        if let Some(link) = self.rows.iter_mut().find_map(|peer| peer.hang_up.take()) {
            return Some(Step::HangUp(link));
        }
        if self.is_finished() {
            return None;
        }
        self.dial(now_ns)
            .or_else(|| self.ask_metadata(now_ns))
            .or_else(|| self.ask_id(now_ns))
            .or_else(|| self.send(now_ns))
    }

    /// The bootstrap link goes when a broker of the cluster is connected; all go when the drain is over.
    fn retire_unwanted(&mut self) {
        let finished = self.is_finished();
        let brokers = self.rows.len() - 1;
        if self.rows[brokers].in_flight() == 0 && !self.bootstrap_wanted() {
            self.retire_open(brokers);
        }
        if finished {
            (0..brokers).for_each(|row| self.retire_open(row));
        }
    }

    fn retire_open(&mut self, row: usize) {
        if self.rows[row].state != State::Closed {
            // Only questions can be in flight when every batch has its outcome.
            for at in 0..self.rows[row].requests().len() {
                match core::mem::replace(&mut self.rows[row].request(at).asked, Asked::Free) {
                    Asked::Metadata => self.metadata.asked = false,
                    Asked::ProducerId(p) => self.partitions[p].asked_id = false,
                    Asked::Free | Asked::Produce => {}
                }
            }
            self.retire(row);
        }
    }

    fn bootstrap_wanted(&self) -> bool {
        !self.is_finished() && (self.metadata.through_bootstrap || !self.broker_is_up())
    }

    fn dial(&mut self, now_ns: u64) -> Option<Step> {
        // A bootstrap list of old addresses must not keep us from brokers that were named since.
        let lost = !self.broker_is_up() && self.rows[self.rows.len() - 1].failures > 0;
        for row in 0..self.rows.len() {
            let known = self.rows[row].broker.is_some();
            let wanted = match self.is_bootstrap(row) {
                true => self.bootstrap_wanted(),
                false => self.rows[row].leads > 0 || (known && lost),
            };
            let peer = &mut self.rows[row];
            if !wanted || peer.state != State::Closed {
                continue;
            }
            if now_ns < peer.redial_ns {
                let at = peer.redial_ns;
                self.wake(at);
                continue;
            }
            peer.state = State::Dialing(now_ns);
            peer.figures.dials += 1;
            let to = peer.endpoint(self.bootstrap);
            self.wake(now_ns + self.settings.dial_timeout_ns);
            return Some(Step::Dial(row, to));
        }
        None
    }

    fn ask_metadata(&mut self, now_ns: u64) -> Option<Step> {
        if self.metadata.asked || now_ns < self.metadata.due_ns {
            return None;
        }
        let (row, at) = self.row_for_metadata(now_ns)?;
        self.metadata.asked = true;
        self.metadata.again = false;
        self.ask(now_ns, row, at, Asked::Metadata);
        Some(Step::Metadata(row, at))
    }

    /// A link for a question about the cluster: one that answers, and has little to do.
    fn row_for_metadata(&self, now_ns: u64) -> Option<(usize, usize)> {
        let rows = self.rows.len();
        if self.metadata.through_bootstrap
            && let Some(at) = self.rows[rows - 1].room(now_ns, false)
        {
            return Some((rows - 1, at));
        }
        let usable = (0..rows).filter_map(|row| Some((row, self.rows[row].room(now_ns, false)?)));
        usable.min_by_key(|&(row, _)| {
            let peer = &self.rows[row];
            (self.is_suspect(now_ns, row), peer.in_flight(), (row + rows - self.turn % rows) % rows)
        })
    }

    /// Its oldest request is old enough to doubt it.
    pub(super) fn is_suspect(&self, now_ns: u64, row: usize) -> bool {
        let oldest = self.rows[row].oldest_ns();
        oldest.is_some_and(|asked| now_ns.saturating_sub(asked) >= self.settings.suspect_ns)
    }

    fn ask_id(&mut self, now_ns: u64) -> Option<Step> {
        let p = self.wants_id.first()?;
        let rows = self.rows.len();
        let leader = self.partitions[p].leader;
        let first = leader.and_then(|row| Some((row, self.rows[row].room(now_ns, false)?)));
        let any = || (0..rows).find_map(|row| Some((row, self.rows[row].room(now_ns, false)?)));
        let (row, at) = first.or_else(any)?;
        self.loosen(p);
        self.partitions[p].asked_id = true;
        self.ask(now_ns, row, at, Asked::ProducerId(p));
        Some(Step::ProducerId(row, at, p))
    }

    fn send(&mut self, now_ns: u64) -> Option<Step> {
        let brokers = self.rows.len() - 1;
        for turn in 0..brokers {
            let row = (self.turn + turn) % brokers;
            if self.rows[row].ready.first().is_none() {
                continue;
            }
            if let Some(at) = self.rows[row].room(now_ns, true) {
                self.turn = row + 1;
                self.fill(row, at);
                self.ask(now_ns, row, at, Asked::Produce);
                return Some(Step::Produce(row, at));
            }
        }
        None
    }

    /// Moves batches from the row's list into a request.
    fn fill(&mut self, row: usize, at: usize) {
        let mut bytes = 0;
        while let Some(p) = self.rows[row].ready.first() {
            let Some(head) = self.partitions[p].head else { break };
            let batch = &mut self.batches[head];
            bytes += u64::from(batch.bytes);
            let batches = &mut self.rows[row].request(at).batches;
            let full = batches.len() == self.settings.batches_per_request_max;
            if full || (bytes > self.settings.request_bytes_max && !batches.is_empty()) {
                break;
            }
            batches.push(Slot(head as u32));
            batch.frozen = batch.stamp.is_some();
            batch.stamp = batch.stamp.or(self.partitions[p].stamp());
            self.loosen(p);
            self.partitions[p].phase = Phase::Sent { row, request: at };
        }
    }

    fn ask(&mut self, now_ns: u64, row: usize, at: usize, asked: Asked) {
        self.rows[row].ask(now_ns, at, asked);
        self.wake(now_ns + self.settings.suspect_ns.min(self.settings.request_timeout_ns));
    }
}
