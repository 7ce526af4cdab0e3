//! Events to Kafka: which topic and partition, when a commit goes, what its batches came to.
//!
//! It holds the shard's [`Producer`], which the edge moves (see `Engine::upstream`), and no bytes: those of a
//! commit are in its [`Records`]. One commit is with the producer at a time, so an arena's slots are the
//! producer's.
//!
//! ```text
//! take_events ─▶ route (once a request) ─▶ append (each event) ─▶ send: seal, submit ─▶ take_outcome … ─▶ done
//! ```
mod bound;
mod remote;
mod routing;
mod time;

pub(crate) use remote::flaw;
pub use routing::{HEADERS_MAX, HeaderRules, KeyFrom, Routing, TimeFrom, TopicFrom};
pub use time::unix_ms;

use super::{NotReady, Remote, Sealed, Sink};
use crate::ack::Ack;
use crate::batch::Batch;
use crate::batch::fate::{Cause, Failure, Fate};
use crate::batch::store::{Layout, Records};
use crate::json::pointer::Pointer;
use crate::json::schema::Picked;
use crate::kafka::arena::{ArenaLimits, RecordArena, Slot};
use crate::kafka::compress::Compress;
use crate::kafka::partition::{Fitness, Partitioner, Spread};
use crate::kafka::producer::{self, Outcome, PartitionIndex, Producer, TopicIndex, Why};
use crate::memory::Memory;
use crate::reject::Reject;
use crate::segment::header::StreamName;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bound::Bound;
use routing::{EventId, Headers};

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
    /// Number of the shard, for the ids of events.
    pub shard: u32,
    /// Sequence number of the first event. The Unix time of the start in nanoseconds tells the runs of a process
    /// apart, for no shard takes as many events.
    pub first_sequence: u64,
}

/// One shard's way to Kafka.
pub struct KafkaSink {
    producer: Producer,
    limits: ArenaLimits,
    spread: Spread,
    seed: u64,
    compress: Option<Box<dyn Compress>>,
    routing: Routing,
    shard: u32,
    /// Id of the event that was last appended.
    id: EventId,
    /// Records of a partition come together, so that compressing them need not wait for the commit.
    ahead: bool,
    fixed: Option<TopicIndex>,
    /// Topics of streams, by name of the stream.
    streams: Vec<(StreamName, TopicIndex)>,
    /// One a topic.
    partitioners: Vec<Partitioner>,
    /// One a topic.
    bounds: Vec<Bound>,
    /// A key whose escapes were decoded.
    scratch: Vec<u8>,
    /// Of the first event of the batch that is filling.
    next_sequence: u64,
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

/// One event on its way into a batch.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The stream that its request named.
    pub stream: &'a StreamName,
    /// The key that its request named.
    pub key: Option<&'a [u8]>,
    /// Its bytes.
    pub value: &'a [u8],
    /// What its judge found in it for key and time; `None`: nobody looked.
    pub picked: Option<Picked<'a>>,
    /// Raw line breaks stand between its tokens; they become spaces.
    pub breaks: bool,
    /// When it came, for lingering.
    pub now_ns: u64,
    /// When it came, for its record.
    pub wall_ms: u64,
    /// The shard and sequence number under which it was stored before; `None`: this shard's next.
    pub id: Option<(u32, u64)>,
}

/// Why a request's events have nowhere to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misroute {
    /// Not now.
    NotReady(NotReady),
    /// Not as long as the configuration is what it is.
    Refused(Reject),
}

/// Where the events of one request go.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    topic: TopicIndex,
    /// Bytes that its batches may have.
    batch_bytes: usize,
}

impl Route {
    /// Bytes that its batches may have, as far as its topic's brokers have said.
    pub fn batch_bytes(&self) -> usize {
        self.batch_bytes
    }
}

impl Route {
    /// The topic of all of them.
    pub const fn topic(&self) -> TopicIndex {
        self.topic
    }
}

/// Why an event is not in the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// There is no room for it now.
    Full,
    /// No batch will ever hold it.
    TooLarge,
    /// Its partition has had no leader for too long, and others were not to be chosen.
    NoLeader,
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
        settings.routing.check()?;
        settings.arena.partitions = settings.producer.partitions_max as u32;
        settings.producer.slots_max = (settings.arena.batches + settings.arena.splits) as usize;
        let (seed, topics_max) = (settings.producer.seed, settings.producer.topics_max);
        let mut sink = KafkaSink {
            producer: Producer::new(settings.producer),
            shard: settings.shard,
            id: EventId::new(settings.shard, settings.first_sequence),
            ahead: matches!(settings.spread, Spread::Sticky { .. } | Spread::Explicit(_))
                && matches!(settings.routing.key, KeyFrom::None)
                && matches!(settings.routing.topic, TopicFrom::Fixed(_))
                && settings.compress.as_ref().is_some_and(|compress| compress.block_bytes().is_some()),
            limits: settings.arena,
            spread: settings.spread,
            seed,
            compress: settings.compress,
            fixed: None,
            streams: Vec::with_capacity(topics_max),
            partitioners: Vec::with_capacity(topics_max),
            bounds: Vec::with_capacity(topics_max),
            scratch: settings.routing.scratch(),
            routing: settings.routing,
            next_sequence: settings.first_sequence,
            draining: false,
            figures: Figures::default(),
            written: (0, 0),
        };
        if let TopicFrom::Fixed(name) = &sink.routing.topic {
            let topic = sink.producer.add_topic(now_ns, name).ok_or(
                "the topic's name is not one that Kafka allows: 1 to 249 of letters, digits, `.`, `_` and `-`",
            )?;
            sink.fixed = Some(topic);
            sink.add_partitioners(topic);
        }
        Ok(sink)
    }

    /// Whether the key is the request's to name.
    pub fn wants_key(&self) -> bool {
        matches!(self.routing.key, KeyFrom::Header)
    }

    /// Where key and time of a record stand in its event.
    pub fn pointers(&self) -> (Option<&Pointer>, Option<&Pointer>) {
        self.routing.pointers()
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
    /// Why nothing can be written there, now or ever.
    pub fn route(&mut self, now_ns: u64, stream: &StreamName) -> Result<Route, Misroute> {
        let topic = match self.fixed {
            Some(topic) => topic,
            None => self.topic_of(now_ns, stream)?,
        };
        let count = self.producer.partitions(topic).count;
        match self.producer.ready_topic(topic) {
            // There will be no better time: what is taken now is given up at the end of the drain at the latest.
            Err(_) if self.draining && count > 0 => {}
            other => other.map_err(|why| Misroute::NotReady(NotReady::Upstream(why)))?,
        }
        match self.spread {
            Spread::Explicit(partition) if partition >= count => Err(Misroute::Refused(NO_PARTITION)),
            _ => Ok(Route { topic, batch_bytes: self.bounds[usize::from(topic.0)].bytes() }),
        }
    }

    /// Makes sure that a stream has a topic, whether or not it can be written to now.
    ///
    /// # Errors
    /// It cannot have one as long as the configuration is what it is.
    pub fn name_topic(&mut self, now_ns: u64, stream: &StreamName) -> Result<(), Reject> {
        match self.fixed.map_or_else(|| self.topic_of(now_ns, stream), Ok) {
            Err(Misroute::Refused(why)) => Err(why),
            Ok(_) | Err(Misroute::NotReady(_)) => Ok(()),
        }
    }

    /// Whether an arena like this one takes the event as a record.
    pub fn takes<M: Memory>(&mut self, arena: &RecordArena<M>, event: &Event<'_>) -> bool {
        let key = self.routing.key(event, &mut self.scratch);
        let id = EventId::new(self.shard, self.next_sequence);
        let headers = Headers::new(&self.routing.headers, event.stream, &id);
        let bytes = event.value.len() + key.map_or(0, <[u8]>::len) + headers.bytes();
        arena.takes(bytes, headers.as_slice().len())
    }

    /// The topic of a stream, named to the producer when it is first seen.
    fn topic_of(&mut self, now_ns: u64, stream: &StreamName) -> Result<TopicIndex, Misroute> {
        let found = self.streams.binary_search_by(|(known, _)| known.as_bytes().cmp(stream.as_bytes()));
        let at = match found {
            Ok(at) => return Ok(self.streams[at].1),
            Err(at) => at,
        };
        let TopicFrom::Stream { prefix } = &self.routing.topic else {
            return Err(Misroute::Refused(NO_TOPIC));
        };
        let mut name = [0; TOPIC_BYTES_MAX];
        let len = prefix.len() + stream.as_bytes().len();
        let place = name.get_mut(..len).ok_or(Misroute::Refused(NO_TOPIC))?;
        place[..prefix.len()].copy_from_slice(prefix.as_bytes());
        place[prefix.len()..].copy_from_slice(stream.as_bytes());
        let name = core::str::from_utf8(place).map_err(|_| Misroute::Refused(NO_TOPIC))?;
        let topic = self.producer.add_topic(now_ns, name).ok_or(Misroute::Refused(NO_TOPIC))?;
        self.streams.insert(at, (*stream, topic));
        self.add_partitioners(topic);
        Ok(topic)
    }

    fn add_partitioners(&mut self, topic: TopicIndex) {
        while self.partitioners.len() <= usize::from(topic.0) {
            let seed = self.seed.wrapping_add(self.partitioners.len() as u64);
            self.partitioners.push(Partitioner::new(self.spread, seed));
            self.bounds.push(Bound::NONE);
        }
    }

    /// Grows whenever what can be written to may have changed.
    pub fn version(&self) -> u64 {
        match self.partitioners.is_empty() {
            true => 0,
            false => self.producer.partitions(TopicIndex(0)).version,
        }
    }

    /// Copies one event in, as a record of the partition that its route leads to.
    ///
    /// # Errors
    /// It does not fit, now or ever.
    // Apart from the loop over a body's events, which lines for segments go through as well.
    #[inline(never)]
    pub fn append<M: Memory>(
        &mut self,
        records: &mut Records<M>,
        route: &Route,
        event: &Event<'_>,
    ) -> Result<(), Unfit> {
        let Event { value, breaks, .. } = *event;
        let key = self.routing.key(event, &mut self.scratch);
        let list;
        let (headers, headers_bytes) = match self.routing.headers.is_empty() {
            true => (&[][..], 0),
            false => {
                let next = || (self.shard, self.next_sequence + u64::from(records.arena.events()));
                let (shard, sequence) = event.id.unwrap_or_else(next);
                self.id.turn_to(shard, sequence);
                list = Headers::new(&self.routing.headers, event.stream, &self.id);
                (list.as_slice(), list.bytes())
            }
        };
        let bytes = value.len() + key.map_or(0, <[u8]>::len) + headers_bytes;
        if !records.arena.takes(bytes, headers.len()) {
            return Err(Unfit::TooLarge);
        }
        records.note_time(event.now_ns);
        let time_ms = self.routing.time_ms(event);
        let partitions = self.producer.partitions(route.topic);
        let partitioner = &mut self.partitioners[usize::from(route.topic.0)];
        let room = records.arena.batch_bytes_max().saturating_sub(bytes);
        let fitness = |number| match partitions.index(number).filter(|_| partitions.is_connected(number)) {
            None => Fitness::Unusable,
            Some(index) => match records.arena.newest_bytes(index.0) {
                0 => Fitness::Empty,
                bytes if bytes < room => Fitness::Fit,
                _ => Fitness::Full,
            },
        };
        let number = partitioner.choose(key, bytes, partitions.count, fitness);
        if number.is_some_and(|number| partitions.is_forsaken(number)) {
            return Err(Unfit::NoLeader);
        }
        let index = number.and_then(|number| partitions.index(number)).ok_or(Unfit::Full)?;
        // Rather another batch behind that one than a run that comes back to what was compressed already.
        let comes_back = self.ahead && key.is_none() && !records.arena.stays_whole(index.0);
        let newest = if comes_back { records.arena.newest_partition() } else { None };
        let partition = newest.unwrap_or(index.0);
        let appended = records.arena.append(partition, key, headers, time_ms, value, breaks);
        appended.map_err(|_| Unfit::Full)
    }

    /// Does a part of the next commit's work: compresses what lies together of the events that are there. To be
    /// called between requests, when nothing can be taken back any more.
    #[inline]
    pub fn work_ahead<M: Memory>(&mut self, records: &mut Records<M>) {
        if let (true, Some(compress)) = (self.ahead, self.compress.as_mut()) {
            records.arena.compress_ahead(&mut **compress);
        }
    }

    /// Hands a filled arena to the producer. Returns how many outcomes there will be.
    pub fn send<M: Memory>(&mut self, arena: &mut RecordArena<M>, now_ns: u64) -> u32 {
        arena.seal(self.compress.as_mut().map(|compress| &mut **compress as &mut dyn Compress));
        for batch in arena.batches() {
            let partition = PartitionIndex(batch.partition);
            self.producer.submit(now_ns, batch.slot, partition, batch.records, batch.bytes);
        }
        self.next_sequence += u64::from(arena.events());
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
                self.bound(partition).written(now_ns, batch.raw_bytes as usize);
                self.written.0 += u64::from(batch.raw_bytes);
                self.written.1 += u64::from(batch.bytes);
                return Returned::Done;
            }
            Outcome::Split { why, .. } => {
                if why == Why::TooLarge {
                    self.bound(partition).refused(now_ns, batch.raw_bytes as usize);
                }
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
            records.fates.fail(events, Failure { fate, cause: Cause::Kafka(partition, reason) });
        }
        if fate == Fate::Refused { Returned::Refused } else { Returned::Done }
    }

    /// What is known of the topic of a partition.
    fn bound(&mut self, partition: PartitionIndex) -> &mut Bound {
        let (topic, _) = self.producer.locate(partition);
        &mut self.bounds[usize::from(topic.0)]
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
}

/// Longest name of a topic that brokers allow.
const TOPIC_BYTES_MAX: usize = 249;

const NO_TOPIC: Reject = Reject::new(
    503,
    "no_topic",
    "this stream cannot become a Kafka topic: its name is none for Kafka, or there are as many topics as may be",
);
const NO_PARTITION: Reject = Reject::new(
    503,
    "no_partition",
    "the Kafka topic does not have the partition that the configuration names",
);

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

    fn remote<M: Memory>(&self) -> Option<&dyn Remote<M>> {
        Some(self)
    }

    fn remote_mut<M: Memory>(&mut self) -> Option<&mut dyn Remote<M>> {
        Some(self)
    }

    fn seal<M: Memory>(&mut self, _batch: &mut Batch<M>, _wall_ms: u64) -> Sealed {
        debug_assert!(false, "lines are not for Kafka");
        Sealed::NoFile
    }
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
