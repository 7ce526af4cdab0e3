//! Topics by name and id, and which dense index stands for which partition of which topic.

use super::types::{PartitionIndex, TopicId, TopicIndex};
use super::{Partition, Producer};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Why a topic cannot be written to at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Absent,
    /// Metadata says so, and says when it ends.
    Denied,
    /// A Produce answer said so; the next try is due at this time.
    WriteDenied(u64),
    Error(i16),
    TooManyPartitions,
}

pub(super) struct Topic {
    name: Box<str>,
    pub(super) id: TopicId,
    /// What it was before it was made anew; an answer with it is late.
    pub(super) id_before: TopicId,
    pub(super) older: u8,
    /// How often it was made anew, as far as seen.
    pub(super) incarnation: u32,
    /// Its entries in `order`: first and how many, among them partitions that are gone.
    first: usize,
    pub(super) reserved: usize,
    /// Partitions that it has now: 0 until known.
    pub(super) count: usize,
    pub(super) trouble: Option<Trouble>,
}

pub(super) struct Topics {
    pub(super) table: Vec<Topic>,
    pub(super) indices: Vec<TopicIndex>,
    /// Indices of partitions, topic by topic, each by number.
    order: Vec<u32>,
    topics_max: usize,
    partitions_max: usize,
    /// Grows with every change of what [`Partitions`] says.
    pub(super) version: u64,
}

impl Topics {
    pub(super) fn new(topics_max: usize, partitions_max: usize) -> Topics {
        let topics_max = topics_max.min(usize::from(u16::MAX));
        Topics {
            table: Vec::with_capacity(topics_max),
            indices: Vec::with_capacity(topics_max),
            order: Vec::with_capacity(partitions_max),
            topics_max,
            partitions_max,
            version: 0,
        }
    }

    /// `likely` is tried first: answers come in the order of the question.
    pub(super) fn find(&self, name: &str, likely: usize) -> Option<usize> {
        match self.table.get(likely) {
            Some(topic) if *topic.name == *name => Some(likely),
            _ => self.table.iter().position(|topic| *topic.name == *name),
        }
    }

    pub(super) fn add(&mut self, name: &str) -> Option<TopicIndex> {
        let sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let sound = (1..=249).contains(&name.len()) && name.bytes().all(sound) && name != "." && name != "..";
        if !sound || self.table.len() == self.topics_max {
            return None;
        }
        let index = TopicIndex(self.table.len() as u16);
        self.table.push(Topic {
            name: name.into(),
            id: TopicId::NONE,
            id_before: TopicId::NONE,
            older: 0,
            incarnation: 0,
            first: self.order.len(),
            reserved: 0,
            count: 0,
            trouble: None,
        });
        self.indices.push(index);
        Some(index)
    }

    /// The index of partition `number` of a topic, also of one that is gone.
    pub(super) fn index(&self, topic: usize, number: usize) -> usize {
        self.order[self.table[topic].first + number] as usize
    }

    /// Makes entries for partitions up to `count`. False: there is no room for all of them, none was made.
    pub(super) fn grow(&mut self, topic: usize, count: usize, partitions: &mut Vec<Partition>) -> bool {
        let Topic { first, reserved, incarnation, .. } = self.table[topic];
        if count <= reserved {
            return true;
        }
        if count - reserved > self.partitions_max - self.order.len() {
            return false;
        }
        for number in reserved..count {
            self.order.insert(first + number, partitions.len() as u32);
            partitions.push(Partition::new(topic, number as i32, incarnation));
        }
        self.table[topic].reserved = count;
        // Topics lie in the order of their names' indices.
        for later in &mut self.table[topic + 1..] {
            later.first += count - reserved;
        }
        true
    }
}

/// A topic's partitions, as far as they are known.
#[derive(Clone, Copy)]
pub struct Partitions<'a> {
    /// How many; 0 until metadata came. With keys, partition = hash % count.
    pub count: u32,
    /// Grows whenever a count, a leader or a link of any topic may have changed: what was derived from the
    /// last look is sound as long as it is the same.
    pub version: u64,
    order: &'a [u32],
    producer: &'a Producer,
}

impl Partitions<'_> {
    /// The index of partition `number`, 0 to `count` - 1.
    #[must_use]
    pub fn index(&self, number: u32) -> Option<PartitionIndex> {
        self.order.get(number as usize).map(|&index| PartitionIndex(index))
    }

    /// It has a leader, connected or not: keyless records go to such partitions.
    #[must_use]
    pub fn has_leader(&self, number: u32) -> bool {
        let index = self.order.get(number as usize);
        index.is_some_and(|&index| self.producer.partitions[index as usize].leader.is_some())
    }

    /// It has had no leader that can be reached for too long: what is submitted for it is given up at once.
    #[must_use]
    pub fn is_forsaken(&self, number: u32) -> bool {
        let index = self.order.get(number as usize);
        index.is_some_and(|&index| self.producer.partitions[index as usize].forsaken)
    }

    /// It has a leader, the link to it is up, and it answers.
    #[must_use]
    pub fn is_connected(&self, number: u32) -> bool {
        let index = self.order.get(number as usize);
        let leader = index.and_then(|&index| self.producer.partitions[index as usize].leader);
        leader.is_some_and(|row| self.producer.rows[row].speaks())
    }
}

impl Producer {
    /// The partitions of a topic.
    ///
    /// # Panics
    /// When no such topic was named.
    #[must_use]
    pub fn partitions(&self, topic: TopicIndex) -> Partitions<'_> {
        let Topic { first, count, .. } = self.topics.table[usize::from(topic.0)];
        Partitions {
            count: count as u32,
            version: self.topics.version,
            order: &self.topics.order[first..first + count],
            producer: self,
        }
    }

    /// Topic and number of a partition.
    ///
    /// # Panics
    /// When the index is not one that [`partitions`](Self::partitions) gave.
    #[must_use]
    pub fn locate(&self, partition: PartitionIndex) -> (TopicIndex, i32) {
        let partition = &self.partitions[partition.0 as usize];
        (TopicIndex(partition.topic as u16), partition.number)
    }

    /// Every topic that was named.
    pub fn topics(&self) -> impl Iterator<Item = TopicIndex> + '_ {
        self.topics.indices.iter().copied()
    }

    /// Name and id of a topic; the id is what the newest metadata says.
    ///
    /// # Panics
    /// When no such topic was named.
    #[must_use]
    pub fn topic(&self, topic: TopicIndex) -> (&str, TopicId) {
        let topic = &self.topics.table[usize::from(topic.0)];
        (&topic.name, topic.id)
    }

    /// The topic of a name, for answers that name it.
    #[must_use]
    pub fn topic_by_name(&self, name: &str) -> Option<TopicIndex> {
        self.topics.find(name, 0).map(|at| TopicIndex(at as u16))
    }

    /// The topic of an id, also of the id that it had before it was made anew, for answers that give ids.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<TopicIndex> {
        let is = |topic: &Topic| id != TopicId::NONE && (topic.id == id || topic.id_before == id);
        self.topics.table.iter().position(is).map(|at| TopicIndex(at as u16))
    }

    /// Partition `number` of a topic, for answers: `None` when there never was one.
    #[must_use]
    pub fn partition(&self, topic: TopicIndex, number: i32) -> Option<PartitionIndex> {
        let Topic { first, reserved, .. } = *self.topics.table.get(usize::from(topic.0))?;
        let number = usize::try_from(number).ok().filter(|&number| number < reserved)?;
        Some(PartitionIndex(self.topics.order[first + number]))
    }
}
