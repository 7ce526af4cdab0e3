//! What a shard's Kafka sink shows of itself: totals, brokers, partitions.
//!
//! The lists are as long as was reserved at first, so that a snapshot is filled without taking memory: what is
//! beyond [`BROKERS_SHOWN`], [`TOPICS_SHOWN`] and [`PARTITIONS_SHOWN`] counts in the totals alone.
use super::exposition::{Answer, answered, family};
use crate::kafka::producer::{BrokerStats, PartitionStats, Totals};
use crate::sink::kafka::{Figures, KafkaSink};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

/// Brokers of which figures are shown.
pub const BROKERS_SHOWN: usize = 32;
/// Topics of whose partitions figures are shown.
pub const TOPICS_SHOWN: usize = 64;
/// Partitions of which figures are shown, over all topics.
pub const PARTITIONS_SHOWN: usize = 512;

/// A topic's name, in place.
#[derive(Clone, Copy, Debug)]
struct Name {
    bytes: [u8; 249],
    len: u8,
}

/// Figures of one shard's Kafka sink.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// The sink is Kafka; otherwise all is empty.
    pub used: bool,
    /// Of events and bytes.
    pub figures: Figures,
    /// Of batches.
    pub totals: Totals,
    brokers: Vec<BrokerStats>,
    topics: Vec<Name>,
    partitions: Vec<PartitionStats>,
}

impl Default for Kafka {
    fn default() -> Kafka {
        Kafka::new()
    }
}

impl Kafka {
    /// Nothing, with room for everything.
    pub fn new() -> Kafka {
        Kafka {
            used: false,
            figures: Figures::default(),
            totals: Totals::default(),
            brokers: Vec::with_capacity(BROKERS_SHOWN),
            topics: Vec::with_capacity(TOPICS_SHOWN),
            partitions: Vec::with_capacity(PARTITIONS_SHOWN),
        }
    }

    /// Reads the sink, without taking memory.
    pub(crate) fn read(&mut self, sink: &KafkaSink) {
        self.clear();
        self.used = true;
        let producer = sink.producer();
        (self.figures, self.totals) = (sink.figures(), producer.totals());
        self.brokers.extend(producer.brokers().take(BROKERS_SHOWN));
        let shown = |stats: &PartitionStats| usize::from(stats.topic.0) < TOPICS_SHOWN;
        let partitions = producer.partition_stats().map(|(_, stats)| stats).filter(shown);
        self.partitions.extend(partitions.take(PARTITIONS_SHOWN));
        for topic in producer.topics().take(TOPICS_SHOWN) {
            let name = producer.topic(topic).0.as_bytes();
            let mut bytes = [0; 249];
            bytes[..name.len()].copy_from_slice(name);
            self.topics.push(Name { bytes, len: name.len() as u8 });
        }
    }

    /// One broker and one partition, to see what is shown of each.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn exemplary() -> Kafka {
        use crate::kafka::producer::TopicIndex;
        let broker = BrokerStats {
            id: 1,
            up: true,
            leads: 1,
            in_flight: 0,
            requests: 0,
            dials: 0,
            lost: 0,
            rtt_ns: 0,
            throttled_ns: 0,
            muted_until_ns: 0,
            last_failure: None,
        };
        let partition = PartitionStats {
            topic: TopicIndex(0),
            number: 0,
            leader: Some(1),
            forsaken: false,
            in_flight: false,
            batches: 0,
            records: 0,
            bytes: 0,
            retries: 0,
            bumps: 0,
            not_written: 0,
            possibly_written: 0,
        };
        let mut kafka = Kafka { used: true, ..Kafka::new() };
        kafka.brokers.push(broker);
        kafka.partitions.push(partition);
        kafka
    }

    fn clear(&mut self) {
        self.brokers.clear();
        self.topics.clear();
        self.partitions.clear();
    }

    /// Becomes equal to `other` without allocating.
    pub fn copy_from(&mut self, other: &Kafka) {
        self.clear();
        (self.used, self.figures, self.totals) = (other.used, other.figures, other.totals);
        self.brokers.extend_from_slice(&other.brokers);
        self.topics.extend_from_slice(&other.topics);
        self.partitions.extend_from_slice(&other.partitions);
    }

    /// Adds another shard's totals. Its brokers and partitions stay its own.
    pub fn merge(&mut self, other: &Kafka) {
        self.used |= other.used;
        for (_, _, field) in FIGURES {
            *field(&mut self.figures) += *field(&mut other.figures.clone());
        }
        for (_, _, field) in TOTALS {
            *field(&mut self.totals) += *field(&mut other.totals.clone());
        }
    }

    fn topic(&self, stats: &PartitionStats) -> &str {
        let name = self.topics.get(usize::from(stats.topic.0));
        name.and_then(|name| core::str::from_utf8(&name.bytes[..usize::from(name.len)]).ok()).unwrap_or("?")
    }
}

type Field<T> = (&'static str, &'static str, fn(&mut T) -> &mut u64);

const FIGURES: [Field<Figures>; 5] = [
    ("raw_bytes_total", "Bytes of written batches before compression.", |f| &mut f.raw_bytes),
    ("sent_bytes_total", "Bytes of written batches as sent.", |f| &mut f.sent_bytes),
    ("events_not_written_total", "Events sent or to be sent that are in no log.", |f| {
        &mut f.events_not_written
    }),
    ("events_possibly_written_total", "Events of which it is not known whether they are in a log.", |f| {
        &mut f.events_possibly_written
    }),
    ("events_refused_total", "Events that brokers refused one by one.", |f| &mut f.events_refused),
];

const TOTALS: [Field<Totals>; 6] = [
    ("batches_total", "Batches acknowledged by all replicas in sync.", |t| &mut t.written),
    ("records_total", "Records in them.", |t| &mut t.records),
    ("batches_not_written_total", "Batches that are in no log.", |t| &mut t.not_written),
    ("batches_possibly_written_total", "Batches that may be in a log.", |t| &mut t.possibly_written),
    ("splits_total", "Batches that were cut in two after a refusal.", |t| &mut t.splits),
    ("retries_total", "Attempts after a first one.", |t| &mut t.retries),
];

/// A value, or nanoseconds to be shown as seconds.
enum Value {
    Plain(u64),
    Seconds(u64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Value::Plain(n) => write!(f, "{n}"),
            Value::Seconds(ns) => write!(f, "{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000),
        }
    }
}

type Shown<T> = (&'static str, &'static str, fn(&T) -> Value);

const BROKERS: [Shown<BrokerStats>; 8] = [
    ("broker_connected", "Whether the broker is connected.", |b| Value::Plain(u64::from(b.up))),
    ("broker_leads", "Partitions that it leads.", |b| Value::Plain(u64::from(b.leads))),
    ("broker_requests_in_flight", "Requests without an answer.", |b| Value::Plain(b.in_flight as u64)),
    ("broker_rtt_seconds", "From request to answer, smoothed; replication included.", |b| {
        Value::Seconds(b.rtt_ns)
    }),
    ("broker_requests_total", "Requests sent to it.", |b| Value::Plain(b.requests)),
    ("broker_dials_total", "Times it was dialled.", |b| Value::Plain(b.dials)),
    ("broker_links_lost_total", "Connections to it that failed or were lost.", |b| Value::Plain(b.lost)),
    ("broker_throttled_seconds_total", "Silence that it asked for.", |b| Value::Seconds(b.throttled_ns)),
];

const PARTITIONS: [Shown<PartitionStats>; 9] = [
    ("partition_forsaken", "Whether it has had no leader for longer than kafka.leader_wait_s.", |p| {
        Value::Plain(u64::from(p.forsaken))
    }),
    ("partition_in_flight", "Whether a batch is with the leader.", |p| Value::Plain(u64::from(p.in_flight))),
    ("partition_batches_total", "Batches written.", |p| Value::Plain(p.batches)),
    ("partition_records_total", "Records written.", |p| Value::Plain(p.records)),
    ("partition_bytes_total", "Bytes written, as sent.", |p| Value::Plain(p.bytes)),
    ("partition_retries_total", "Attempts after a first one.", |p| Value::Plain(p.retries)),
    ("partition_epoch_bumps_total", "Sequences begun anew.", |p| Value::Plain(p.bumps)),
    ("partition_batches_not_written_total", "Batches that are in no log.", |p| Value::Plain(p.not_written)),
    ("partition_batches_possibly_written_total", "Batches that may be in a log.", |p| {
        Value::Plain(p.possibly_written)
    }),
];

/// Opens a family; its name decides whether it is a counter.
fn open(out: &mut String, name: &str, help: &str) -> fmt::Result {
    let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
    let mut full = String::from("ringmill_kafka_");
    full.push_str(name);
    family(out, &full, kind, help)
}

/// Appends everything about Kafka; nothing if no shard writes to it.
pub(super) fn render(out: &mut String, answers: &[Answer<'_>]) -> fmt::Result {
    let shards = || answered(answers).map(|(shard, snapshot)| (shard, &snapshot.metrics.kafka));
    if !shards().any(|(_, kafka)| kafka.used) {
        return Ok(());
    }
    for (name, help, field) in FIGURES {
        open(out, name, help)?;
        for (shard, kafka) in shards() {
            writeln!(
                out,
                "ringmill_kafka_{name}{{shard=\"{shard}\"}} {}",
                field(&mut kafka.figures.clone())
            )?;
        }
    }
    for (name, help, field) in TOTALS {
        open(out, name, help)?;
        for (shard, kafka) in shards() {
            writeln!(out, "ringmill_kafka_{name}{{shard=\"{shard}\"}} {}", field(&mut kafka.totals.clone()))?;
        }
    }
    for (name, help, value) in BROKERS {
        open(out, name, help)?;
        for (shard, kafka) in shards() {
            for broker in &kafka.brokers {
                let (id, value) = (broker.id, value(broker));
                writeln!(out, "ringmill_kafka_{name}{{shard=\"{shard}\",broker=\"{id}\"}} {value}")?;
            }
        }
    }
    for (name, help, value) in PARTITIONS {
        open(out, name, help)?;
        for (shard, kafka) in shards() {
            for stats in &kafka.partitions {
                let (topic, number, value) = (kafka.topic(stats), stats.number, value(stats));
                let labels = format_args!("shard=\"{shard}\",topic=\"{topic}\",partition=\"{number}\"");
                writeln!(out, "ringmill_kafka_{name}{{{labels}}} {value}")?;
            }
        }
    }
    Ok(())
}
