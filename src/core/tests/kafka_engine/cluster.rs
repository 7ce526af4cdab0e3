//! Brokers as far as a shard can tell: who leads, what a Produce request came to, and a log to look into.
use bytes::Bytes;
use kafka_protocol::records::RecordBatchDecoder;
use ringmill_core::kafka::producer::{
    BrokerSeen, Endpoint, Input, LinkFailure, LinkId, MetadataAnswer, PartitionIndex, PartitionSeen,
    ProduceAnswer, Producer, ProducerIdAnswer, RecordErrors, TopicId, TopicSeen,
};
use std::collections::{BTreeMap, HashMap};

/// From a command to what follows from it.
pub const LATENCY_NS: u64 = 1_000_000;

/// A record in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    pub timestamp_ms: i64,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// What a broker does with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Appends it and says so.
    Append,
    /// Answers this code, having appended nothing.
    Refuse(i16),
    /// Complains of these records (first, how many).
    Complain(i16, u32, u32),
    /// Appends it, then the connection breaks.
    AppendAndBreak,
    /// The connection breaks before the batch was looked at.
    Break,
    /// Nothing, and no answer.
    Silence,
}

/// A batch as a broker sees it.
pub struct Batch {
    pub topic: String,
    pub partition: i32,
    pub records: Vec<Logged>,
    stamp: (i64, i16, i32),
}

pub struct Topic {
    pub name: String,
    /// Leader of each partition; -1 for none.
    pub leaders: Vec<i32>,
    pub error: i16,
}

enum Event {
    Up(LinkId),
    Down(LinkId, LinkFailure),
    Metadata(LinkId, i32, Vec<String>),
    ProducerId(LinkId, i32, i64),
    Produced(LinkId, i32, Vec<ProduceAnswer>),
}

/// Who last wrote to a partition: producer, epoch, next sequence, the newest batch's first.
type Writer = (i64, i16, i32, i32);

pub struct Cluster {
    pub brokers: i32,
    /// Nobody listens, and what is connected breaks.
    pub down: bool,
    pub topics: Vec<Topic>,
    pub logs: BTreeMap<(String, i32), Vec<Logged>>,
    /// Asked about every batch.
    pub deed: Box<dyn FnMut(&Batch) -> Deed>,
    /// Batches seen, appended or not.
    pub batches: u64,
    writers: HashMap<(String, i32), Writer>,
    links: Vec<LinkId>,
    events: Vec<(u64, Event)>,
    ids: i64,
}

impl Cluster {
    pub fn new(brokers: i32, topics: &[(&str, i32)]) -> Cluster {
        let topic = |&(name, partitions): &(&str, i32)| Topic {
            name: name.into(),
            leaders: (0..partitions).map(|partition| partition % brokers).collect(),
            error: 0,
        };
        Cluster {
            brokers,
            down: false,
            topics: topics.iter().map(topic).collect(),
            logs: BTreeMap::new(),
            deed: Box::new(|_| Deed::Append),
            batches: 0,
            writers: HashMap::new(),
            links: Vec::new(),
            events: Vec::new(),
            ids: 1000,
        }
    }

    pub fn values(&self, topic: &str) -> Vec<String> {
        let logs = self.logs.iter().filter(|((name, _), _)| name == topic);
        logs.flat_map(|(_, log)| log).map(|record| String::from_utf8(record.value.clone()).unwrap()).collect()
    }

    /// Breaks every connection.
    pub fn go_down(&mut self, now_ns: u64) {
        self.down = true;
        self.events.clear();
        for link in std::mem::take(&mut self.links) {
            self.events.push((now_ns, Event::Down(link, LinkFailure::Reset)));
        }
    }

    /// Every partition has its leader.
    pub fn lead_all(&mut self) {
        for topic in &mut self.topics {
            let leaders = topic.leaders.iter_mut().enumerate();
            leaders.for_each(|(partition, leader)| *leader = partition as i32 % self.brokers);
        }
    }

    fn later(&mut self, now_ns: u64, event: Event) {
        self.events.push((now_ns + LATENCY_NS, event));
    }

    pub fn dial(&mut self, now_ns: u64, link: LinkId, to: Endpoint) {
        assert!(
            matches!(to, Endpoint::Bootstrap(_))
                || matches!(to, Endpoint::Broker { id } if id < self.brokers)
        );
        match self.down {
            true => self.later(now_ns, Event::Down(link, LinkFailure::Refused)),
            false => {
                self.links.push(link);
                self.later(now_ns, Event::Up(link));
            }
        }
    }

    pub fn hang_up(&mut self, link: LinkId) {
        self.links.retain(|known| *known != link);
    }

    pub fn metadata(&mut self, now_ns: u64, link: LinkId, correlation: i32, names: Vec<String>) {
        self.later(now_ns, Event::Metadata(link, correlation, names));
    }

    pub fn producer_id(&mut self, now_ns: u64, link: LinkId, correlation: i32) {
        self.ids += 1;
        let id = self.ids;
        self.later(now_ns, Event::ProducerId(link, correlation, id));
    }

    /// A Produce request: of each batch its partition, and header and records as one.
    pub fn produce(
        &mut self,
        now_ns: u64,
        link: LinkId,
        correlation: i32,
        batches: Vec<(PartitionIndex, String, i32, Vec<u8>)>,
    ) {
        let mut answers = Vec::new();
        let (mut breaks, mut silent) = (false, false);
        for (index, topic, partition, bytes) in batches {
            self.batches += 1;
            let batch = decode(topic, partition, bytes);
            let deed = (self.deed)(&batch);
            let (mut error, mut records) = (0, None);
            match deed {
                Deed::Append | Deed::AppendAndBreak => error = self.append(batch),
                Deed::Refuse(code) => error = code,
                Deed::Complain(code, first, count) => {
                    (error, records) = (code, Some(RecordErrors { first, count }));
                }
                Deed::Break | Deed::Silence => {}
            }
            breaks |= matches!(deed, Deed::AppendAndBreak | Deed::Break);
            silent |= deed == Deed::Silence;
            answers.push(ProduceAnswer { partition: index, error, base_offset: 0, records, leader: None });
        }
        if breaks {
            self.hang_up(link);
            self.later(now_ns, Event::Down(link, LinkFailure::Reset));
        } else if !silent {
            self.later(now_ns, Event::Produced(link, correlation, answers));
        }
    }

    fn append(&mut self, batch: Batch) -> i16 {
        let place = (batch.topic, batch.partition);
        let (id, epoch, sequence) = batch.stamp;
        let next = sequence + batch.records.len() as i32;
        match self.writers.get(&place) {
            Some(&(known, old, _, newest)) if (known, old, newest) == (id, epoch, sequence) => return 0,
            Some(&(known, old, due, _)) if known == id && old == epoch && due != sequence => return 45,
            Some(&(known, old, ..)) if known == id && old > epoch => return 47,
            Some(&(known, old, ..)) if (known != id || old != epoch) && sequence != 0 => return 45,
            _ => {}
        }
        self.writers.insert(place.clone(), (id, epoch, next, sequence));
        self.logs.entry(place).or_default().extend(batch.records);
        0
    }

    pub fn due_ns(&self) -> Option<u64> {
        self.events.iter().map(|(at_ns, _)| *at_ns).min()
    }

    /// Tells the producer of everything that is due; whether there was anything.
    pub fn deliver(&mut self, now_ns: u64, producer: &mut Producer) -> bool {
        let (due, rest) =
            std::mem::take(&mut self.events).into_iter().partition(|(at_ns, _)| *at_ns <= now_ns);
        self.events = rest;
        let due: Vec<(u64, Event)> = due;
        let any = !due.is_empty();
        for (_, event) in due {
            self.tell(now_ns, producer, event);
        }
        any
    }

    fn tell(&self, now_ns: u64, producer: &mut Producer, event: Event) {
        match event {
            Event::Up(link) => producer.handle(now_ns, Input::Up { link }),
            Event::Down(link, why) => producer.handle(now_ns, Input::Down { link, why }),
            Event::ProducerId(link, correlation, producer_id) => {
                let answer = ProducerIdAnswer { error: 0, throttle_ms: 0, producer_id, epoch: 0 };
                producer.handle(now_ns, Input::InitProducerId { link, correlation, answer });
            }
            Event::Produced(link, correlation, answers) => {
                let mut answers = answers.into_iter();
                let (throttle_ms, nodes) = (0, &[][..]);
                let answers = &mut answers;
                producer.handle(now_ns, Input::Produce { link, correlation, throttle_ms, nodes, answers });
            }
            Event::Metadata(link, correlation, names) => {
                self.tell_metadata(now_ns, producer, link, correlation, &names);
            }
        }
    }

    fn tell_metadata(
        &self,
        now_ns: u64,
        producer: &mut Producer,
        link: LinkId,
        correlation: i32,
        names: &[String],
    ) {
        let broker = |id| BrokerSeen { id, host: "127.0.0.1", port: 9092 };
        let brokers: Vec<BrokerSeen<'_>> = (0..self.brokers).map(broker).collect();
        let seen = |topic: &Topic| -> Vec<PartitionSeen> {
            let leaders = topic.leaders.iter().enumerate();
            let seen = leaders.map(|(number, &leader)| PartitionSeen {
                error: if leader < 0 { 5 } else { 0 },
                number: number as i32,
                leader,
                leader_epoch: 1,
            });
            seen.collect()
        };
        let partitions: Vec<Vec<PartitionSeen>> = self.topics.iter().map(seen).collect();
        let seen = |name: &'_ String| match self.topics.iter().position(|topic| topic.name == *name) {
            Some(at) => {
                let topic = &self.topics[at];
                TopicSeen {
                    error: topic.error,
                    name: &topic.name,
                    id: TopicId::NONE,
                    partitions: &partitions[at],
                }
            }
            None => TopicSeen { error: 3, name: "", id: TopicId::NONE, partitions: &[] },
        };
        let mut topics: Vec<TopicSeen<'_>> = names.iter().map(seen).collect();
        topics.iter_mut().zip(names).for_each(|(topic, name)| topic.name = name);
        let answer = MetadataAnswer { error: 0, throttle_ms: 0, brokers: &brokers, topics: &topics };
        producer.handle(now_ns, Input::Metadata { link, correlation, answer });
    }
}

fn decode(topic: String, partition: i32, bytes: Vec<u8>) -> Batch {
    let mut bytes = Bytes::from(bytes);
    let read = RecordBatchDecoder::decode(&mut bytes).expect("a sound batch");
    assert!(bytes.is_empty(), "one batch and nothing else");
    let first = &read.records[0];
    let stamp = (first.producer_id, first.producer_epoch, first.sequence);
    let records = read.records.iter().map(|record| Logged {
        key: record.key.as_ref().map(|key| key.to_vec()),
        value: record.value.as_ref().expect("a value").to_vec(),
        timestamp_ms: record.timestamp,
        headers: record
            .headers
            .iter()
            .map(|(name, value)| {
                (name.to_string(), value.as_ref().map_or(Vec::new(), |value| value.to_vec()))
            })
            .collect(),
    });
    Batch { topic, partition, stamp, records: records.collect() }
}
