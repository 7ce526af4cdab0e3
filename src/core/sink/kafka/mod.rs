//! Events to Kafka: which topic and partition, when a commit goes, what its batches came to.
//!
//! It holds the shard's [`Producer`], which the edge moves (see `Engine::upstream`), and no bytes: those of a
//! commit are in its [`Records`]. One commit is with the producer at a time, so an arena's slots are the
//! producer's.
//!
//! ```text
//! take_events ─▶ route (once a request) ─▶ append (each event) ─▶ send: seal, submit ─▶ take_outcome … ─▶ done
//! ```
use super::{Mail, NotReady, Receipt, Request, Sealed, Sink};
use crate::ack::Ack;
use crate::batch::Batch;
use crate::batch::fate::{Failure, Fate};
use crate::batch::store::{Layout, Records};
use crate::kafka::arena::{ArenaLimits, RecordArena, Slot};
use crate::kafka::compress::Compress;
use crate::kafka::partition::{Partitioner, Spread};
use crate::kafka::producer::{self, Outcome, PartitionIndex, Producer, TopicIndex, Why};
use crate::memory::Memory;
use crate::segment::header::StreamName;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// What a shard's Kafka sink is told at start.
pub struct Settings {
    /// The producer's. Its `slots_max` follows from `arena`.
    pub producer: producer::Settings,
    /// The arenas'. Their `partitions` follows from `producer`.
    pub arena: ArenaLimits,
    /// How events without a key are spread.
    pub spread: Spread,
    /// What compresses batches; `None`: nothing.
    pub compress: Option<Box<dyn Compress>>,
    /// Where events go.
    pub routing: Routing,
}

/// Where events go, and what goes with them.
#[derive(Clone, Debug)]
pub struct Routing {
    /// Name of the topic.
    pub topic: String,
}

/// One shard's way to Kafka.
pub struct KafkaSink {
    producer: Producer,
    limits: ArenaLimits,
    spread: Spread,
    seed: u64,
    compress: Option<Box<dyn Compress>>,
    fixed: Option<TopicIndex>,
    /// One a topic.
    partitioners: Vec<Partitioner>,
    draining: bool,
    figures: Figures,
    /// Of what was written of the commit that is out: bytes before compression, and as sent.
    written: (u64, u64),
}

/// What the sink counts beside its producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Bytes of written batches before compression.
    pub raw_bytes: u64,
    /// Bytes of written batches as sent.
    pub sent_bytes: u64,
    /// Events that are in no log though a batch had them.
    pub events_not_written: u64,
    /// Events of which nobody knows.
    pub events_possibly_written: u64,
    /// Events that Kafka refused one by one.
    pub events_refused: u64,
}

/// Where the events of one request go.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    topic: TopicIndex,
}

/// Why an event is not in the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// There is no room for it now.
    Full,
    /// No batch will ever hold it.
    TooLarge,
}

/// How a batch came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    /// It is done with.
    Done,
    /// It went on as two.
    Split,
    /// It is done with: its events are refused for good.
    Refused,
}

impl KafkaSink {
    /// A sink that begins to connect at once.
    ///
    /// # Errors
    /// What of the settings cannot be had, in words for who wrote them.
    pub fn new(mut settings: Settings, now_ns: u64) -> Result<KafkaSink, &'static str> {
        settings.arena.partitions = settings.producer.partitions_max as u32;
        settings.producer.slots_max = (settings.arena.batches + settings.arena.splits) as usize;
        let (seed, topics_max) = (settings.producer.seed, settings.producer.topics_max);
        let mut producer = Producer::new(settings.producer);
        let fixed = producer.add_topic(now_ns, &settings.routing.topic).ok_or(
            "the topic's name is not one that Kafka allows: 1 to 249 of letters, digits, `.`, `_` and `-`",
        )?;
        let mut partitioners = Vec::with_capacity(topics_max);
        partitioners.push(Partitioner::new(settings.spread, seed));
        Ok(KafkaSink {
            producer,
            limits: settings.arena,
            spread: settings.spread,
            seed,
            compress: settings.compress,
            fixed: Some(fixed),
            partitioners,
            draining: false,
            figures: Figures::default(),
            written: (0, 0),
        })
    }

    /// The producer, to look at.
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// The producer, for the edge to move.
    pub fn producer_mut(&mut self) -> &mut Producer {
        &mut self.producer
    }

    /// What it counted.
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// Where a request's events go.
    ///
    /// # Errors
    /// Why nothing can be written there now.
    pub fn route(&mut self, _now_ns: u64, _stream: &StreamName) -> Result<Route, NotReady> {
        let topic = self.fixed.unwrap_or(TopicIndex(0));
        match self.producer.ready_topic(topic) {
            Err(producer::NotReady::Draining) => {}
            Err(_) if self.draining && self.producer.partitions(topic).count > 0 => {}
            other => other.map_err(NotReady::Upstream)?,
        }
        Ok(Route { topic })
    }

    /// Copies one event in, as a record of the partition that its route leads to.
    ///
    /// # Errors
    /// It does not fit, now or ever.
    pub fn append<M: Memory>(
        &mut self,
        records: &mut Records<M>,
        route: &Route,
        value: &[u8],
        breaks: bool,
        now_ns: u64,
        wall_ms: u64,
    ) -> Result<(), Unfit> {
        if !records.arena.takes(value.len(), 0) {
            return Err(Unfit::TooLarge);
        }
        records.note_time(now_ns);
        let partitions = self.producer.partitions(route.topic);
        let partitioner = &mut self.partitioners[usize::from(route.topic.0)];
        for _ in 0..PARTITIONS_TRIED {
            let room = records.arena.batch_bytes_max() - value.len();
            let usable = |number| {
                let index = partitions.index(number).filter(|_| partitions.is_connected(number));
                index.is_some_and(|index| records.arena.partition_bytes(index.0) < room)
            };
            let number = partitioner.choose(None, value.len(), partitions.count, usable);
            let index = number.and_then(|number| partitions.index(number)).ok_or(Unfit::Full)?;
            if records.arena.append(index.0, None, &[], wall_ms as i64, value, breaks).is_ok() {
                return Ok(());
            }
            partitioner.switch();
        }
        Err(Unfit::Full)
    }

    /// Hands a filled arena to the producer. Returns how many outcomes there will be.
    pub fn send<M: Memory>(&mut self, arena: &mut RecordArena<M>, now_ns: u64) -> u32 {
        arena.seal(self.compress.as_mut().map(|compress| &mut **compress as &mut dyn Compress));
        for batch in arena.batches() {
            let partition = PartitionIndex(batch.partition);
            self.producer.submit(now_ns, batch.slot, partition, batch.records, batch.bytes);
        }
        arena.slots().len() as u32
    }

    /// Takes note of what became of one batch of the commit that is out.
    pub fn take_outcome<M: Memory>(
        &mut self,
        records: &mut Records<M>,
        slot: Slot,
        outcome: Outcome,
        now_ns: u64,
    ) -> Returned {
        let batch = records.arena.batch(slot);
        let partition = PartitionIndex(batch.partition);
        let (fate, reason) = match outcome {
            Outcome::Written { .. } => {
                self.written.0 += u64::from(batch.raw_bytes);
                self.written.1 += u64::from(batch.bytes);
                return Returned::Done;
            }
            Outcome::Split { .. } => {
                let compress = self.compress.as_mut().map(|compress| &mut **compress as &mut dyn Compress);
                if let Some((first, second)) = records.arena.split(slot, compress) {
                    let part = |slot| {
                        let batch = records.arena.batch(slot);
                        (slot, batch.records, batch.bytes)
                    };
                    self.producer.submit_split(now_ns, partition, [part(first), part(second)]);
                    return Returned::Split;
                }
                self.producer.give_up_split(now_ns, partition);
                (Fate::NotWritten, producer::Reason { why: Why::Rejected, code: 0 })
            }
            Outcome::PossiblyWritten(reason) => (Fate::PossiblyWritten, reason),
            // Every record of it was complained of.
            Outcome::NotWritten(reason) if reason.why == Why::BadRecord => (Fate::Refused, reason),
            Outcome::NotWritten(reason) => (Fate::NotWritten, reason),
            Outcome::Refused { reason, .. } => (Fate::Refused, reason),
        };
        *match fate {
            Fate::NotWritten => &mut self.figures.events_not_written,
            Fate::PossiblyWritten => &mut self.figures.events_possibly_written,
            Fate::Refused => &mut self.figures.events_refused,
        } += u64::from(batch.records);
        for events in records.arena.events_of(slot) {
            records.fates.fail(events, Failure { fate, partition, reason });
        }
        if fate == Fate::Refused { Returned::Refused } else { Returned::Done }
    }

    /// Bytes written of the commit that is done: before compression, and as sent.
    pub fn take_bytes(&mut self) -> (u64, u64) {
        let (raw, sent) = core::mem::take(&mut self.written);
        self.figures.raw_bytes += raw;
        self.figures.sent_bytes += sent;
        (raw, sent)
    }

    /// Gives up at once whatever has no outcome, and hangs up when nothing is left.
    pub fn cut_short(&mut self, now_ns: u64) {
        self.producer.drain(now_ns, now_ns);
    }

    /// From now on events are taken whether or not brokers can be reached: there will be no better time.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    fn new_partitioner(&self) -> Partitioner {
        Partitioner::new(self.spread, self.seed.wrapping_add(self.partitioners.len() as u64))
    }
}

/// Partitions whose batches are tried before a keyless event has to wait.
const PARTITIONS_TRIED: usize = 4;

impl Sink for KafkaSink {
    fn strongest(&self) -> Ack {
        Ack::Replicated
    }

    fn reached(&self, asked: Ack) -> Ack {
        if asked == Ack::Accepted { asked } else { Ack::Replicated }
    }

    fn ready(&self) -> Result<(), NotReady> {
        match self.draining {
            true => Ok(()),
            false => self.producer.ready().map_err(NotReady::Upstream),
        }
    }

    fn layout(&self) -> Layout {
        Layout::Records(self.limits)
    }

    fn kafka(&self) -> Option<&KafkaSink> {
        Some(self)
    }

    fn kafka_mut(&mut self) -> Option<&mut KafkaSink> {
        Some(self)
    }

    fn seal<M: Memory>(&mut self, _batch: &mut Batch<M>, _wall_ms: u64) -> Sealed {
        debug_assert!(false, "lines are not for Kafka");
        Sealed::NoFile
    }

    fn committed(&mut self) -> Option<Receipt> {
        None
    }

    fn receipt(&self) -> Option<Receipt> {
        None
    }

    fn failed(&mut self, _no_space: bool) {}

    fn next_request(&mut self) -> Option<Request> {
        None
    }

    fn mail(&mut self, _mail: Mail) {}

    fn close(&mut self) {}
}

/// What a producer's "not ready" means for who sends events, in words that need no formatting.
pub const fn reason(why: producer::NotReady) -> &'static str {
    use producer::{LinkFailure, NotReady};
    match why {
        NotReady::Starting => "still connecting to Kafka; retry",
        NotReady::Unreachable(why) => match why {
            LinkFailure::Unresolved => "no Kafka broker can be reached: the name has no address",
            LinkFailure::Refused => "no Kafka broker can be reached: connection refused",
            LinkFailure::Reset => "no Kafka broker can be reached: connection closed by the broker",
            LinkFailure::Timeout => "no Kafka broker can be reached: no answer in time",
            LinkFailure::Certificate => "no Kafka broker can be reached: certificate not trusted",
            LinkFailure::Authentication => "no Kafka broker can be reached: credentials refused",
            LinkFailure::TooOld => "no Kafka broker can be reached: broker older than 2.1",
            LinkFailure::Protocol => "no Kafka broker can be reached: answers against the protocol",
            LinkFailure::Other(_) => "no Kafka broker can be reached: a system error; see the server's log",
        },
        NotReady::NoMetadata => "Kafka brokers do not answer about topics; retry",
        NotReady::NoTopic(_) => "the Kafka topic does not exist: create it, or allow its creation",
        NotReady::Denied(_) => "Kafka does not let this user write to the topic: grant Describe and Write",
        NotReady::TopicError(..) => "the Kafka topic has an error; see the server's log",
        NotReady::TooManyPartitions(_) => "the Kafka topic has more partitions than there is room for",
        NotReady::NoLeader(_) => "no partition of the Kafka topic has a leader that can be reached; retry",
        NotReady::NoProducerId(_) => "Kafka refuses a producer id: grant IdempotentWrite on the cluster",
        NotReady::Draining => "the server is shutting down",
    }
}

impl core::fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("KafkaSink").field("ready", &self.ready()).field("figures", &self.figures).finish()
    }
}
