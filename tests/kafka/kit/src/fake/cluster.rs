//! What the brokers of a fake agree on: topics, leaders, logs, producer ids.

use super::{
    Settings,
    log::{Log, Rules},
};
use std::{collections::BTreeMap, net::SocketAddr};
use uuid::Uuid;

/// What a broker that does not lead says of who does (KIP-951), from Produce version 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// The truth.
    True,
    /// Nothing: leader −1, epoch −1.
    None,
    /// This node and epoch, whatever is true.
    Lie(i32, i32),
}

/// A partition: who leads it, and its log.
#[derive(Debug, Clone)]
pub struct Partition {
    /// Id of the leader, −1 for none.
    pub leader: i32,
    /// Rises with each new leader.
    pub leader_epoch: i32,
    /// What others say of the leader.
    pub hint: Hint,
    /// What it holds.
    pub log: Log,
    /// Leader and epoch as Metadata tells them while it is frozen.
    told: Option<(i32, i32)>,
}

/// A topic.
#[derive(Debug, Clone)]
pub struct Topic {
    /// New with each creation.
    pub id: Uuid,
    /// Its partitions.
    pub partitions: Vec<Partition>,
    /// What it demands of batches.
    pub rules: Rules,
    /// Users who may not write to it.
    pub denied: Vec<String>,
}

/// The state that all nodes share.
#[derive(Debug)]
pub struct Cluster {
    addresses: Vec<SocketAddr>,
    up: Vec<bool>,
    topics: BTreeMap<String, Topic>,
    ids: u128,
    producers: i64,
    batch_bytes_max: usize,
}

impl Cluster {
    pub(super) fn new(settings: &Settings, addresses: &[SocketAddr]) -> Cluster {
        let mut cluster = Cluster {
            addresses: addresses.to_vec(),
            up: vec![true; addresses.len()],
            topics: BTreeMap::new(),
            ids: 0,
            producers: 0,
            batch_bytes_max: settings.batch_bytes_max,
        };
        for (name, partitions) in &settings.topics {
            cluster.create(name, *partitions);
        }
        cluster
    }

    /// A new topic, led by the nodes in turn. One of that name goes first, with all it held.
    pub fn create(&mut self, name: &str, partitions: i32) {
        self.ids += 1;
        let rules = Rules { batch_bytes_max: self.batch_bytes_max, compacted: false };
        let id = Uuid::from_u128(self.ids << 64 | self.ids);
        self.topics.insert(name.into(), Topic { id, partitions: Vec::new(), rules, denied: Vec::new() });
        self.grow(name, partitions);
    }

    /// More partitions for a topic.
    pub fn grow(&mut self, name: &str, partitions: i32) {
        let nodes = self.addresses.len();
        let topic = self.topic(name);
        for i in topic.partitions.len()..partitions as usize {
            let (leader, log) = ((i % nodes) as i32 + 1, Log::default());
            topic.partitions.push(Partition { leader, leader_epoch: 0, hint: Hint::True, log, told: None });
        }
    }

    /// Removes a topic with all it held.
    pub fn delete(&mut self, name: &str) {
        self.topics.remove(name).expect("the topic is there");
    }

    /// A topic that must be there.
    pub fn topic(&mut self, name: &str) -> &mut Topic {
        self.topics.get_mut(name).unwrap_or_else(|| panic!("no topic {name}"))
    }

    /// A new leader, −1 for none. Others hint at it truly unless the partition's `hint` is set.
    pub fn lead(&mut self, topic: &str, partition: usize, node: i32) {
        let partition = &mut self.topic(topic).partitions[partition];
        partition.leader = node;
        partition.leader_epoch += 1;
    }

    /// From now on Metadata repeats the leaders of this moment, as a broker does that lags behind.
    pub fn freeze_metadata(&mut self) {
        self.each_partition(|it| it.told = Some((it.leader, it.leader_epoch)));
    }

    /// Metadata tells the truth again.
    pub fn thaw_metadata(&mut self) {
        self.each_partition(|it| it.told = None);
    }

    /// Every partition forgets every producer.
    pub fn forget_producers(&mut self) {
        self.each_partition(|it| it.log.forget_producers());
    }

    fn each_partition(&mut self, how: impl FnMut(&mut Partition)) {
        self.topics.values_mut().flat_map(|topic| &mut topic.partitions).for_each(how);
    }

    pub(super) fn set_up(&mut self, node: i32, up: bool) {
        self.up[node as usize - 1] = up;
    }

    pub(super) fn find(&mut self, name: &str) -> Option<&mut Topic> {
        self.topics.get_mut(name)
    }

    pub(super) fn find_id(&mut self, id: Uuid) -> Option<(&str, &mut Topic)> {
        self.topics.iter_mut().find(|(_, topic)| topic.id == id).map(|(name, topic)| (name.as_str(), topic))
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.topics.keys().cloned().collect()
    }

    /// Ids and addresses of the nodes that are up.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (i32, SocketAddr)> {
        (1..)
            .zip(&self.addresses)
            .zip(&self.up)
            .filter(|&(_, &up)| up)
            .map(|((id, &address), _)| (id, address))
    }

    pub(super) fn new_producer(&mut self) -> i64 {
        self.producers += 1;
        self.producers + 999 // Not 0: whoever forgets to read it is caught.
    }
}

impl Partition {
    /// Leader and epoch as Metadata tells them.
    pub(super) fn told(&self) -> (i32, i32) {
        self.told.unwrap_or((self.leader, self.leader_epoch))
    }

    /// Leader and epoch as a broker that does not lead tells them.
    pub(super) fn hinted(&self) -> (i32, i32) {
        match self.hint {
            Hint::True => (self.leader, self.leader_epoch),
            Hint::None => (-1, -1),
            Hint::Lie(node, epoch) => (node, epoch),
        }
    }
}
