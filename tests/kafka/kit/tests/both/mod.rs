//! Two brokers that are asked the same, and what they say.

use ringmill_kafka_kit::{
    batch::Batch,
    raw::{Raw, Topic},
};
use std::{fmt::Debug, io, net::SocketAddr, time::Duration};

/// What a broker says of one request, as far as a client can act on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Partition { error: i16, base_offset: i64, append_time: i64, log_start: i64, records: Vec<i32> },
    Closed,
    Silent,
}

pub struct Broker {
    pub address: SocketAddr,
    pub raw: Raw,
    pub topic: Topic,
    pub compacted: Topic,
    /// Each broker hands out ids of its own: the same steps use the broker's.
    pub producer: i64,
}

impl Broker {
    pub fn connect(address: SocketAddr) -> Broker {
        let mut raw = Raw::connect(address).unwrap();
        let (topic, compacted) = (raw.topic("events").unwrap(), raw.topic("compacted").unwrap());
        let mut broker = Broker { address, raw, topic, compacted, producer: -1 };
        broker.new_producer();
        broker
    }

    pub fn new_producer(&mut self) {
        self.producer = self.raw.producer_id().unwrap();
    }

    pub fn put(&mut self, version: i16, partition: i32, bytes: Option<Vec<u8>>) -> Said {
        let topic = self.topic.clone();
        self.put_to(version, &topic, partition, bytes)
    }

    pub fn put_to(&mut self, version: i16, topic: &Topic, partition: i32, bytes: Option<Vec<u8>>) -> Said {
        self.raw.patience(Duration::from_secs(3));
        match self.raw.produce(version, topic, partition, bytes) {
            Ok(it) => Said::Partition {
                error: it.error_code,
                base_offset: it.base_offset,
                append_time: it.log_append_time_ms,
                log_start: it.log_start_offset,
                records: it.record_errors.iter().map(|record| record.batch_index).collect(),
            },
            Err(e) if [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset].contains(&e.kind()) => {
                self.raw = Raw::connect(self.address).unwrap();
                Said::Closed
            }
            Err(e) if [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&e.kind()) => {
                self.raw = Raw::connect(self.address).unwrap();
                Said::Silent
            }
            Err(e) => panic!("{e}"),
        }
    }
}

/// Both brokers do the same; what they say must be the same.
pub struct Both {
    pub kafka: Broker,
    pub fake: Broker,
    pub asked: usize,
    pub differences: Vec<String>,
}

impl Both {
    /// What Kafka says. A difference is noted, so that one run shows all of them.
    pub fn same<R: PartialEq + Debug>(&mut self, what: &str, mut step: impl FnMut(&mut Broker) -> R) -> R {
        let (kafka, fake) = (step(&mut self.kafka), step(&mut self.fake));
        self.asked += 1;
        if fake != kafka {
            self.differences.push(format!("{what}\n    Kafka: {kafka:?}\n    fake:  {fake:?}"));
        }
        kafka
    }

    /// One stamped batch, made anew for each broker's producer id.
    pub fn put(&mut self, what: &str, version: i16, make: impl Fn(i64) -> Batch) -> Said {
        self.same(what, |broker| {
            let bytes = make(broker.producer).encode();
            broker.put(version, 0, Some(bytes))
        })
    }

    pub fn error(&mut self, what: &str, version: i16, make: impl Fn(i64) -> Batch) -> i16 {
        match self.put(what, version, make) {
            Said::Partition { error, .. } => error,
            other => panic!("{what}: {other:?}"),
        }
    }
}
