//! Brokers as a model: leaders, logs, producer state, replication. What a real broker does with a batch, and no more.
use crate::kafka::producer::{Stamp, TopicId, next_sequence};
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

/// A batch in a log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which append this was, over all.
    pub serial: u64,
    pub stamp: Stamp,
    /// Ids of its records: first and how many.
    pub first: u64,
    pub records: u32,
    pub offset: i64,
    pub replicated: bool,
}

/// What a log's leader remembers of a producer.
#[derive(Clone, Debug)]
struct Known {
    epoch: i16,
    /// The last five: first sequence, records, serial.
    last: Vec<(i32, u32, u64)>,
}

#[derive(Clone, Debug, Default)]
pub struct Log {
    pub entries: Vec<Entry>,
    known: BTreeMap<i64, Known>,
    next_offset: i64,
}

/// How an append ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    New(u64),
    /// Of an earlier append that is still in the log.
    Again(u64),
    Refused(i16),
}

impl Log {
    /// What `ProducerAppendInfo` and `ProducerStateManager` do. `old`: a broker that refuses what it never met.
    pub fn append(&mut self, serial: u64, stamp: Stamp, first: u64, records: u32, old: bool) -> Appended {
        let known = self.known.get(&stamp.producer_id);
        if let Some(known) = known {
            if stamp.epoch < known.epoch {
                return Appended::Refused(47);
            }
            if stamp.epoch == known.epoch {
                if let Some(&(_, _, serial)) =
                    known.last.iter().find(|last| last.0 == stamp.sequence && last.1 == records)
                {
                    return Appended::Again(serial);
                }
                let expected = known.last.last().map(|last| next_sequence(last.0, last.1));
                if expected.is_some_and(|expected| expected != stamp.sequence) {
                    return Appended::Refused(45);
                }
            } else if stamp.sequence != 0 {
                return Appended::Refused(45);
            }
        } else if old && stamp.sequence != 0 {
            return Appended::Refused(59);
        }
        let entry = Entry { serial, stamp, first, records, offset: self.next_offset, replicated: false };
        self.next_offset += i64::from(records);
        self.remember(&entry);
        self.entries.push(entry);
        Appended::New(serial)
    }

    fn remember(&mut self, entry: &Entry) {
        let stamp = entry.stamp;
        let known =
            self.known.entry(stamp.producer_id).or_insert(Known { epoch: stamp.epoch, last: Vec::new() });
        if known.epoch != stamp.epoch {
            *known = Known { epoch: stamp.epoch, last: Vec::new() };
        }
        known.last.push((stamp.sequence, entry.records, entry.serial));
        if known.last.len() > 5 {
            known.last.remove(0);
        }
    }

    pub fn offset_of(&self, serial: u64) -> Option<i64> {
        self.entries.iter().find(|entry| entry.serial == serial).map(|entry| entry.offset)
    }

    /// The replicas have everything up to this append.
    pub fn replicate(&mut self, serial: u64) {
        let Some(at) = self.entries.iter().position(|entry| entry.serial == serial) else { return };
        self.entries[..=at].iter_mut().for_each(|entry| entry.replicated = true);
    }

    /// Another one leads: what was not replicated is lost, or just made it.
    pub fn change_leader(&mut self, keep: bool) {
        if keep {
            self.entries.iter_mut().for_each(|entry| entry.replicated = true);
            return;
        }
        self.entries.retain(|entry| entry.replicated);
        let entries = std::mem::take(&mut self.entries);
        self.known.clear();
        entries.iter().for_each(|entry| self.remember(entry));
        self.next_offset = entries.last().map_or(0, |last| last.offset + i64::from(last.records));
        self.entries = entries;
    }

    /// `producer.id.expiration.ms`, or DeleteRecords.
    pub fn forget_producer(&mut self, producer: i64) {
        self.known.remove(&producer);
    }
}

#[derive(Clone, Debug)]
pub struct Part {
    pub leader: Option<usize>,
    pub epoch: i32,
    pub log: Log,
}

#[derive(Clone, Debug)]
pub struct Topic {
    pub exists: bool,
    pub denied: bool,
    pub id: u8,
    pub parts: Vec<Part>,
}

impl Topic {
    pub fn topic_id(&self) -> TopicId {
        TopicId([self.id; 16])
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Up,
    /// It takes nothing in and gives nothing out.
    Stopped,
    Down,
}

/// What Metadata says of a topic: exists, denied, id, (leader, epoch) by partition.
pub type View = Vec<(bool, bool, TopicId, Vec<(Option<usize>, i32)>)>;

pub struct Cluster {
    pub nodes: Vec<Health>,
    pub topics: Vec<Topic>,
    /// Logs of topics that were deleted, by (topic, partition).
    pub buried: Vec<(usize, usize, Log)>,
    pub views: Vec<View>,
    pub next_producer: i64,
}

impl Cluster {
    pub fn new(nodes: usize, partitions: &[usize]) -> Cluster {
        let part = |n: usize| Part { leader: Some(n % nodes), epoch: 0, log: Log::default() };
        let topics = partitions.iter().enumerate().map(|(at, &count)| Topic {
            exists: true,
            denied: false,
            id: at as u8 + 1,
            parts: (0..count).map(|n| part(n + at)).collect(),
        });
        let mut cluster = Cluster {
            nodes: vec![Health::Up; nodes],
            topics: topics.collect(),
            buried: Vec::new(),
            views: Vec::new(),
            next_producer: 1000,
        };
        cluster.publish();
        cluster
    }

    /// Makes the present state what Metadata says; older views stay for those that lag.
    pub fn publish(&mut self) {
        let view = self.topics.iter().map(|topic| {
            let parts = topic.parts.iter().map(|part| (part.leader, part.epoch)).collect();
            (topic.exists, topic.denied, topic.topic_id(), parts)
        });
        let view = view.collect();
        self.views.push(view);
    }

    /// Gives a partition to another node, and says whether there was one.
    pub fn move_leader(&mut self, topic: usize, part: usize, to: Option<usize>, keep: bool) {
        let part = &mut self.topics[topic].parts[part];
        if part.leader == to {
            return;
        }
        part.leader = to;
        part.epoch += 1;
        part.log.change_leader(keep);
    }

    pub fn bury(&mut self, topic: usize) {
        let parts = std::mem::take(&mut self.topics[topic].parts);
        for (n, part) in parts.into_iter().enumerate() {
            self.buried.push((topic, n, part.log));
        }
        self.topics[topic].exists = false;
    }

    /// Makes a topic that was buried anew.
    pub fn create(&mut self, topic: usize, partitions: usize, leaders: &[usize]) {
        self.topics[topic].exists = true;
        self.topics[topic].id += 16;
        for n in 0..partitions {
            let leader = (!leaders.is_empty()).then(|| leaders[n % leaders.len()]);
            self.topics[topic].parts.push(Part { leader, epoch: 0, log: Log::default() });
        }
    }
}
