//! Who leads what: when to ask, and how much of an answer to believe.
//!
//! Answers differ from broker to broker while something changes. Leader epochs and topic ids tell which is newer;
//! but a hint or an answer may lie, or a cluster be restored from yesterday, so what contradicts is believed when
//! it was said [`OLDER_MAX`] times in a row.

use super::Producer;
use super::brokers::Asked;
use super::errors::{self, Control};
use super::mutant::Mutant;
use super::partition::Phase;
use super::topics::Trouble;
use super::types::{BrokerSeen, LinkFailure, LinkId, MetadataAnswer, PartitionSeen, TopicId, TopicSeen, Why};

/// Contradictions in a row before they are believed.
const OLDER_MAX: u8 = 3;

/// When to ask.
#[derive(Debug)]
pub(super) struct Metadata {
    /// Ask from this time on; `u64::MAX` never.
    pub(super) due_ns: u64,
    /// A question is in flight.
    pub(super) asked: bool,
    /// Something new is wanted that the question in flight does not ask.
    pub(super) again: bool,
    /// Questions in a row that failed or left something open.
    failures: u32,
    /// The last answer, or failure.
    last_ns: u64,
    /// Since when an answer is wanted and none came.
    pub(super) late_since_ns: Option<u64>,
    /// The cluster's brokers do not answer, or sent us away: ask the bootstrap list.
    pub(super) through_bootstrap: bool,
    /// An answer came at least once.
    pub(super) known: bool,
}

impl Metadata {
    pub(super) fn new() -> Metadata {
        Metadata {
            due_ns: 0,
            asked: false,
            again: false,
            failures: 0,
            last_ns: 0,
            late_since_ns: Some(0),
            through_bootstrap: false,
            known: false,
        }
    }

    /// A question has failed and none was answered since.
    pub(super) fn late(&self) -> bool {
        self.failures > 0
    }
}

impl Producer {
    /// Has metadata asked for, soon but not more often than retries are.
    pub(super) fn want_metadata(&mut self, now_ns: u64) {
        if self.metadata.asked {
            self.metadata.again = true;
            return;
        }
        let wait = match self.metadata.known {
            true => self.settings.retry.wait_ns(self.metadata.failures, &mut self.chance),
            false => 0,
        };
        let due = now_ns.max(self.metadata.last_ns + wait);
        if due < self.metadata.due_ns {
            self.metadata.due_ns = due;
        }
        let due = self.metadata.due_ns;
        self.metadata.late_since_ns.get_or_insert(due);
        // What is due already waits for a link, not for a time: waking for it would turn in a circle.
        if due > now_ns {
            self.wake(due);
        }
        self.stirred = true;
    }

    /// No answer, or none of use.
    pub(super) fn metadata_failed(&mut self, now_ns: u64) {
        self.metadata_ended(now_ns, false);
    }

    fn metadata_ended(&mut self, now_ns: u64, satisfied: bool) {
        let metadata = &mut self.metadata;
        metadata.asked = false;
        metadata.last_ns = now_ns;
        metadata.failures = if satisfied { 0 } else { metadata.failures.saturating_add(1) };
        metadata.due_ns = match satisfied {
            true => now_ns + self.settings.metadata_age_ns,
            false => now_ns + self.settings.retry.wait_ns(metadata.failures, &mut self.chance),
        };
        let due = metadata.due_ns;
        self.wake(due);
        if core::mem::take(&mut self.metadata.again) {
            self.want_metadata(now_ns);
        }
    }

    pub(super) fn metadata_answered(
        &mut self,
        now_ns: u64,
        link: LinkId,
        correlation: i32,
        answer: &MetadataAnswer<'_>,
    ) {
        let Some((row, at)) = self.request_of(now_ns, link, correlation) else { return };
        if self.rows[row].requests()[at].asked != Asked::Metadata {
            return self.hang_up(now_ns, row, LinkFailure::Protocol);
        }
        self.rows[row].request(at).asked = Asked::Free;
        self.mute(now_ns, row, answer.throttle_ms);
        let control = errors::control(answer.error);
        if control != Control::Fine || answer.brokers.is_empty() {
            self.metadata.through_bootstrap |= control == Control::Rebootstrap;
            return self.metadata_failed(now_ns);
        }
        self.metadata.known = true;
        self.metadata.late_since_ns = None;
        self.metadata.through_bootstrap = false;
        self.topics.version += 1;
        self.brokers_seen(now_ns, answer);
        let mut satisfied = true;
        for (likely, seen) in answer.topics.iter().enumerate() {
            if let Some(topic) = self.topics.find(seen.name, likely) {
                satisfied &= self.topic_seen(now_ns, topic, seen);
            }
        }
        for row in 0..self.rows.len() - 1 {
            let peer = &self.rows[row];
            if peer.broker.is_some() && !peer.seen && peer.leads == 0 && peer.in_flight() == 0 {
                self.dismiss(now_ns, row);
            }
        }
        self.metadata_ended(now_ns, satisfied);
    }

    /// Known brokers first, so that a new one never takes the row of one that is still there.
    /// Where there are more than rows, only those count that lead something of ours.
    fn brokers_seen(&mut self, now_ns: u64, answer: &MetadataAnswer<'_>) {
        let brokers = answer.brokers;
        let all = brokers.len() < self.rows.len();
        let leads =
            |id| answer.topics.iter().any(|topic| topic.partitions.iter().any(|part| part.leader == id));
        self.rows.iter_mut().for_each(|peer| peer.seen = false);
        for seen in brokers {
            if let Some(row) = self.row_of_broker(seen.id) {
                self.rows[row].seen = true;
                if self.rows[row].port != seen.port || self.rows[row].host.get() != seen.host {
                    self.hang_up(now_ns, row, LinkFailure::Reset);
                    self.rows[row].occupy(seen.id, seen.host, seen.port);
                }
            }
        }
        for seen in brokers.iter().filter(|seen| seen.id >= 0 && (all || leads(seen.id))) {
            if let Some(row) = self.admit_broker(now_ns, seen) {
                self.rows[row].seen = true;
            }
        }
    }

    /// The row of a broker, a free one, or that of a broker which leads nothing and was not named of late.
    pub(super) fn admit_broker(&mut self, now_ns: u64, seen: &BrokerSeen<'_>) -> Option<usize> {
        if let Some(row) = self.row_of_broker(seen.id) {
            return Some(row);
        }
        let brokers = &self.rows[..self.rows.len() - 1];
        let free = brokers.iter().position(|peer| peer.broker.is_none());
        let spare = || brokers.iter().position(|peer| !peer.seen && peer.leads == 0);
        let row = free.or_else(spare)?;
        self.dismiss(now_ns, row);
        self.rows[row].occupy(seen.id, seen.host, seen.port);
        Some(row)
    }

    /// Forgets a broker that leads nothing.
    fn dismiss(&mut self, now_ns: u64, row: usize) {
        self.hang_up(now_ns, row, LinkFailure::Reset);
        self.rows[row].broker = None;
    }

    /// False: something is still open, ask again.
    fn topic_seen(&mut self, now_ns: u64, topic: usize, seen: &TopicSeen<'_>) -> bool {
        let trouble = match errors::control(seen.error) {
            Control::Fine => None,
            Control::Retry | Control::Rebootstrap => return false,
            // What is known of it stays, its sequences above all: it may be back (rule 9).
            Control::Absent => Some(Trouble::Absent),
            Control::Denied => Some(Trouble::Denied),
            Control::Bad => Some(Trouble::Error(seen.error)),
        };
        if let Some(trouble) = trouble {
            self.trouble(topic, Some(trouble));
            if trouble == Trouble::Absent && self.errs(Mutant::ForgetVanished) {
                self.forget_vanished(topic);
            }
            if trouble == Trouble::Denied {
                self.give_up_topic(now_ns, topic, Why::Denied);
            }
            return false;
        }
        if seen.partitions.is_empty() {
            return false;
        }
        let Some(reborn) = self.is_reborn(topic, seen) else { return false };
        if !self.topics.grow(topic, seen.partitions.len(), &mut self.partitions) {
            self.trouble(topic, Some(Trouble::TooManyPartitions));
            return false;
        }
        if !matches!(self.topics.table[topic].trouble, Some(Trouble::WriteDenied(_))) {
            self.trouble(topic, None);
        }
        self.topics.table[topic].count = seen.partitions.len();
        if reborn {
            self.start_topic_anew(now_ns, topic);
        }
        let mut satisfied = true;
        for partition in seen.partitions {
            satisfied &= self.partition_seen(now_ns, topic, partition);
        }
        satisfied
    }

    /// Whether the topic was deleted and made anew. `None`: the answer is older than what is known.
    fn is_reborn(&mut self, topic: usize, seen: &TopicSeen<'_>) -> Option<bool> {
        let topic = &mut self.topics.table[topic];
        let told = seen.id != TopicId::NONE && topic.id != TopicId::NONE;
        let same = !told || seen.id == topic.id;
        let fewer = seen.partitions.len() < topic.count;
        // Partitions are never taken away: fewer of them are an old answer about this topic, or another topic.
        let doubtful = if same { fewer && told } else { seen.id == topic.id_before };
        if doubtful && topic.older < OLDER_MAX {
            topic.older += 1;
            return None;
        }
        topic.older = 0;
        if !same {
            topic.id_before = topic.id;
        }
        if seen.id != TopicId::NONE {
            topic.id = seen.id;
        }
        let reborn = !same || fewer;
        topic.incarnation += u32::from(reborn);
        Some(reborn)
    }

    /// The topic was made anew: epochs of leaders begin again, sequences too, and partitions may be gone.
    fn start_topic_anew(&mut self, now_ns: u64, topic: usize) {
        let (count, reserved) = (self.topics.table[topic].count, self.topics.table[topic].reserved);
        for number in 0..reserved {
            let p = self.topics.index(topic, number);
            let part = &mut self.partitions[p];
            (part.leader_epoch, part.older, part.hints) = (-1, 0, 0);
            if number >= count {
                self.set_leader(now_ns, p, None);
            }
            self.place(now_ns, p);
        }
    }

    fn give_up_topic(&mut self, now_ns: u64, topic: usize, why: Why) {
        for number in 0..self.topics.table[topic].reserved {
            let p = self.topics.index(topic, number);
            self.give_up_waiting(now_ns, p, why);
        }
    }

    /// Ends every batch of a partition, but not one in flight: its answer decides.
    fn give_up_waiting(&mut self, now_ns: u64, p: usize, why: Why) {
        while self.partitions[p].head.is_some()
            && !matches!(self.partitions[p].phase, Phase::Sent { .. } | Phase::Held)
        {
            self.give_up(now_ns, p, why);
        }
    }

    /// False: it has no leader, or an answer contradicts what is known.
    fn partition_seen(&mut self, now_ns: u64, topic: usize, seen: &PartitionSeen) -> bool {
        let count = self.topics.table[topic].count;
        let Some(number) = usize::try_from(seen.number).ok().filter(|&number| number < count) else {
            return false;
        };
        let p = self.topics.index(topic, number);
        let part = &mut self.partitions[p];
        let older = seen.leader_epoch >= 0 && seen.leader_epoch < part.leader_epoch;
        if older && part.older < OLDER_MAX {
            part.older += 1;
            return false;
        }
        (part.older, part.hints) = (0, 0);
        let newer = seen.leader_epoch > part.leader_epoch;
        part.leader_epoch = seen.leader_epoch;
        let broker = if seen.leader < 0 { None } else { self.row_of_broker(seen.leader) };
        let leader = broker.filter(|&row| self.rows[row].seen);
        if let Phase::Sent { row, .. } = self.partitions[p].phase
            && leader.is_some_and(|leader| leader != row && newer)
            && self.is_suspect(now_ns, row)
        {
            // It neither answers nor leads any more: stopped, or cut off.
            self.hang_up(now_ns, row, LinkFailure::Timeout);
        }
        self.set_leader(now_ns, p, leader);
        leader.is_some()
    }

    /// Moves a partition, and what waits for its leader, to another one.
    pub(super) fn set_leader(&mut self, now_ns: u64, p: usize, leader: Option<usize>) {
        let before = core::mem::replace(&mut self.partitions[p].leader, leader);
        self.note_reach(now_ns, p);
        if before == leader {
            return;
        }
        if let Some(row) = before {
            self.rows[row].leads -= 1;
        }
        if let Some(row) = leader {
            self.rows[row].leads += 1;
        }
        self.topics.version += 1;
        self.stirred = true;
        self.place(now_ns, p);
    }

    pub(super) fn trouble(&mut self, topic: usize, trouble: Option<Trouble>) {
        if core::mem::replace(&mut self.topics.table[topic].trouble, trouble) != trouble {
            self.topics.version += 1;
        }
    }
}
