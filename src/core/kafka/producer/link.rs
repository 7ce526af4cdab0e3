//! Links coming up and going down, and what that means for the requests on them.

use super::brokers::{Asked, State};
use super::mutant::Mutant;
use super::partition::Phase;
use super::types::{LinkFailure, LinkId, ProducerIdAnswer};
use super::{Producer, errors, partition::Identity};

impl Producer {
    /// The row of a link that has not been given up.
    pub(super) fn row_of(&self, link: LinkId) -> Option<usize> {
        let row = link.row();
        let peer = self.rows.get(row)?;
        let current = peer.link(row) == link || self.errs(Mutant::BelieveStale);
        (peer.state != State::Closed && current).then_some(row)
    }

    pub(super) fn row_of_broker(&self, id: i32) -> Option<usize> {
        self.rows.iter().position(|peer| peer.broker == Some(id))
    }

    pub(super) fn is_bootstrap(&self, row: usize) -> bool {
        row + 1 == self.rows.len()
    }

    pub(super) fn broker_is_up(&self) -> bool {
        self.rows[..self.rows.len() - 1].iter().any(|peer| peer.is_up())
    }

    pub(super) fn link_up(&mut self, now_ns: u64, link: LinkId) {
        let Some(row) = self.row_of(link) else { return };
        if matches!(self.rows[row].state, State::Dialing(_)) {
            self.rows[row].state = State::Up;
            self.topics.version += 1;
            self.note_row(now_ns, row);
        }
    }

    pub(super) fn link_down(&mut self, now_ns: u64, link: LinkId, why: LinkFailure) {
        if let Some(row) = self.row_of(link) {
            self.lose(now_ns, row, why);
        }
    }

    /// Gives a link up from this side. The edge is told; what it still brings of it is stale.
    pub(super) fn hang_up(&mut self, now_ns: u64, row: usize, why: LinkFailure) {
        if self.rows[row].state != State::Closed {
            self.rows[row].hang_up = Some(self.rows[row].link(row));
            self.lose(now_ns, row, why);
        }
    }

    /// Closes a link that is not wanted any more and has nothing in flight.
    pub(super) fn retire(&mut self, row: usize) {
        let peer = &mut self.rows[row];
        if peer.state != State::Closed {
            peer.hang_up = Some(peer.link(row));
            peer.close();
            self.topics.version += 1;
        }
        self.stirred = true;
    }

    /// A link is no more: whatever was in flight on it may have been carried out.
    pub(super) fn lose(&mut self, now_ns: u64, row: usize, why: LinkFailure) {
        let was_up = self.rows[row].is_up();
        let peer = &mut self.rows[row];
        peer.close();
        peer.figures.lost += 1;
        peer.last_failure = Some(why);
        peer.failures = peer.failures.saturating_add(1);
        peer.redial_ns = now_ns + self.settings.redial.wait_ns(peer.failures, &mut self.chance);
        let redial_ns = peer.redial_ns;
        self.wake(redial_ns);
        self.stirred = true;
        self.topics.version += 1;
        self.note_row(now_ns, row);
        if self.is_bootstrap(row) {
            self.bootstrap = (self.bootstrap + 1) % self.settings.bootstrap;
        }
        for at in 0..self.rows[row].requests().len() {
            let request = self.rows[row].request(at);
            match core::mem::replace(&mut request.asked, Asked::Free) {
                Asked::Free => {}
                Asked::Metadata => self.metadata_failed(now_ns),
                Asked::ProducerId(p) => self.id_failed(now_ns, p),
                Asked::Produce => self.unanswered(now_ns, row, at),
            }
        }
        // Whoever answered may not have known yet that it is gone: as long as it is said to lead, each dial that fails
        // asks again.
        if !self.is_bootstrap(row) && (was_up || self.rows[row].leads > 0) {
            self.want_metadata(now_ns);
        }
    }

    /// The batches of request `at` that have no answer, and will have none.
    pub(super) fn unanswered(&mut self, now_ns: u64, row: usize, at: usize) {
        let mut batches = core::mem::take(&mut self.rows[row].request(at).batches);
        for slot in batches.drain(..) {
            let batch = slot.0 as usize;
            let p = self.batches[batch].partition;
            let here = self.partitions[p].phase == Phase::Sent { row, request: at };
            if here && self.partitions[p].head == Some(batch) {
                self.batches[batch].maybe = !self.errs(Mutant::LostIsProof);
                self.retry(now_ns, p, true);
            }
        }
        self.rows[row].request(at).batches = batches;
    }

    pub(super) fn id_answered(
        &mut self,
        now_ns: u64,
        link: LinkId,
        correlation: i32,
        answer: ProducerIdAnswer,
    ) {
        let Some((row, at)) = self.request_of(now_ns, link, correlation) else { return };
        let Asked::ProducerId(p) = self.rows[row].requests()[at].asked else {
            return self.hang_up(now_ns, row, LinkFailure::Protocol);
        };
        self.rows[row].request(at).asked = Asked::Free;
        self.mute(now_ns, row, answer.throttle_ms);
        let sound = answer.producer_id >= 0 && answer.epoch >= 0;
        if answer.error != 0 || !sound {
            if errors::control(answer.error) == errors::Control::Denied {
                let until = now_ns + self.settings.denied_retry_ns;
                self.no_id = Some((answer.error, until));
                self.wake(until);
            }
            return self.id_failed(now_ns, p);
        }
        self.no_id = None;
        let part = &mut self.partitions[p];
        part.asked_id = false;
        part.failures = 0;
        let (producer_id, epoch) = (answer.producer_id, answer.epoch);
        part.identity = Some(Identity { producer_id, epoch, sequence: self.settings.first_sequence });
        self.place(now_ns, p);
    }

    fn id_failed(&mut self, now_ns: u64, p: usize) {
        let part = &mut self.partitions[p];
        part.asked_id = false;
        part.failures = part.failures.saturating_add(1);
        part.not_before_ns = now_ns + self.settings.retry.wait_ns(part.failures, &mut self.chance);
        self.place(now_ns, p);
    }

    /// The request that an answer belongs to. An answer to nothing is against the protocol: the link is given up.
    pub(super) fn request_of(
        &mut self,
        now_ns: u64,
        link: LinkId,
        correlation: i32,
    ) -> Option<(usize, usize)> {
        let row = self.row_of(link).filter(|&row| self.rows[row].is_up())?;
        let Some(at) = self.rows[row].find(correlation) else {
            self.hang_up(now_ns, row, LinkFailure::Protocol);
            return None;
        };
        let news = self.rows[row].answered(now_ns, at);
        self.topics.version += u64::from(news);
        Some((row, at))
    }

    /// Sends nothing on a link for as long as its broker asks (KIP-219), within bounds.
    pub(super) fn mute(&mut self, now_ns: u64, row: usize, throttle_ms: i32) {
        let Ok(ms) = u64::try_from(throttle_ms) else { return };
        if ms == 0 || self.errs(Mutant::IgnoreThrottle) {
            return;
        }
        let silence = (ms * 1_000_000).min(self.settings.throttle_max_ns);
        let until = self.rows[row].muted_until_ns.max(now_ns + silence);
        self.rows[row].muted_until_ns = until;
        self.rows[row].figures.throttled_ns += silence;
        self.wake(until);
    }
}
