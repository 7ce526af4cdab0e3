//! Whether anything can be written, in words that people understand.

use super::Producer;
use super::brokers::State;
use super::topics::Trouble;
use super::types::{LinkFailure, NotReady, TopicIndex};

impl Producer {
    /// At least one topic can be written to; before any was named, at least one broker is connected.
    ///
    /// # Errors
    /// Why not: what holds for all, or for the first topic.
    pub fn ready(&self) -> Result<(), NotReady> {
        if self.topics.table.is_empty() {
            return self.connected();
        }
        let mut topics = (0..self.topics.table.len()).map(|at| self.ready_topic(TopicIndex(at as u16)));
        let first = topics.next().unwrap_or(Ok(()));
        if first.is_ok() || topics.any(|ready| ready.is_ok()) { Ok(()) } else { first }
    }

    /// The topic can be written to: a partition's leader is connected and nothing is denied.
    ///
    /// # Errors
    /// Why not.
    ///
    /// # Panics
    /// When no such topic was named.
    pub fn ready_topic(&self, index: TopicIndex) -> Result<(), NotReady> {
        if self.drain_deadline_ns.is_some() {
            return Err(NotReady::Draining);
        }
        let topic = &self.topics.table[usize::from(index.0)];
        // Older knowledge does not help while nobody can be reached.
        self.connected()?;
        if let Some((code, _)) = self.no_id {
            return Err(NotReady::NoProducerId(code));
        }
        match topic.trouble {
            Some(Trouble::Absent) => return Err(NotReady::NoTopic(index)),
            Some(Trouble::Denied | Trouble::WriteDenied(_)) => return Err(NotReady::Denied(index)),
            Some(Trouble::Error(code)) => return Err(NotReady::TopicError(index, code)),
            Some(Trouble::TooManyPartitions) => return Err(NotReady::TooManyPartitions(index)),
            None => {}
        }
        if !self.metadata.known {
            return Err(if self.metadata.late() { NotReady::NoMetadata } else { NotReady::Starting });
        }
        if topic.count == 0 {
            return Err(NotReady::NoLeader(index));
        }
        let partitions = self.partitions(index);
        match (0..partitions.count).any(|number| partitions.is_connected(number)) {
            true => Ok(()),
            false => Err(self.failed_leader(index).map_or(NotReady::NoLeader(index), NotReady::Unreachable)),
        }
    }

    /// Some link is up.
    fn connected(&self) -> Result<(), NotReady> {
        if self.drain_deadline_ns.is_some() {
            return Err(NotReady::Draining);
        }
        if self.rows.iter().any(|peer| peer.state == State::Up) {
            return Ok(());
        }
        // Of a refused password people want to hear before they hear of a port that is closed besides.
        let failures = self.rows.iter().filter_map(|peer| peer.last_failure);
        Err(failures.max_by_key(|why| why.weight()).map_or(NotReady::Starting, NotReady::Unreachable))
    }

    fn failed_leader(&self, topic: TopicIndex) -> Option<LinkFailure> {
        let topic = usize::from(topic.0);
        let leaders = (0..self.topics.table[topic].count).filter_map(|number| {
            let p = self.topics.index(topic, number);
            self.partitions[p].leader
        });
        let failure = |row: usize| {
            let peer = &self.rows[row];
            peer.last_failure.or(peer.silent.then_some(LinkFailure::Timeout))
        };
        leaders.filter_map(failure).max_by_key(|why| why.weight())
    }
}
