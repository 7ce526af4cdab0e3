//! Where batches go, as a state machine: what to write where, and what that made true.
//!
//! A sink does no I/O. It seals a batch into an [`Extent`] that the driver writes, and is told how that ended.
//! Files are opened, pre-written and retired by a housekeeper that speaks [`Request`] and [`Mail`].

pub mod files;
pub mod http;
pub mod kafka;
pub mod null;
pub mod quarantine;
pub mod segments;
pub mod spill;

use crate::ack::Ack;
use crate::batch::Batch;
use crate::batch::fate::Cause;
use crate::batch::store::{Layout, Store};
use crate::json::Reason as Flaw;
use crate::kafka::producer;
use crate::memory::Memory;
use crate::segment::header::{Hash, StreamName};

/// Which of the two kinds of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Events.
    Segment,
    /// Refused bytes.
    Quarantine,
}

/// What a shard asks of the housekeeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Make file `number` ready: created, pre-written, its directory entry synced.
    Prepare {
        /// Segment or quarantine.
        kind: FileKind,
        /// Its number, per shard and kind.
        number: u64,
    },
    /// The file is full or failed: cut it to `used` bytes, sync, close.
    Retire {
        /// Segment or quarantine.
        kind: FileKind,
        /// The descriptor that [`Mail::Ready`] brought.
        file: i32,
        /// Its number.
        number: u64,
        /// Bytes of sound commits.
        used: u64,
    },
}

/// What the housekeeper answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mail {
    /// A file is ready to be written.
    Ready {
        /// Segment or quarantine.
        kind: FileKind,
        /// Descriptor, open for direct writing.
        file: i32,
        /// Its number.
        number: u64,
        /// The random id that its headers carry.
        id: u64,
        /// Bytes that were pre-written.
        capacity: u64,
    },
    /// It could not be made; the housekeeper goes on trying.
    Failed {
        /// Segment or quarantine.
        kind: FileKind,
        /// The device is full.
        no_space: bool,
    },
}

/// Where a shard goes on after recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Number of the next segment.
    pub next_segment: u64,
    /// Sequence number of the next event.
    pub next_seq: u64,
    /// Number of the next commit.
    pub next_commit: u64,
    /// Hash of the newest sound header; zeros when there is none.
    pub prev: Hash,
    /// Number of the next quarantine file.
    pub next_quarantine: u64,
}

impl Resume {
    /// An empty directory.
    pub const START: Resume =
        Resume { next_segment: 1, next_seq: 1, next_commit: 1, prev: Hash::ZERO, next_quarantine: 1 };
}

/// What the driver is to write: the first `len` bytes of the sealed memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Descriptor.
    pub file: i32,
    /// Where in the file, a multiple of the block.
    pub offset: u64,
    /// How much, a multiple of the block.
    pub len: usize,
}

/// What sealing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// Nothing to write: settled as it is.
    Settled,
    /// Write this, then say how it ended.
    Write(Extent),
    /// So many parts are on their way to somebody else: settled when each of them has its outcome.
    Sent(u32),
    /// No file is ready, or no broker; the batch stays open.
    NoFile,
}

/// Why a sink takes no events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// No file is ready yet, or the last one failed.
    NoFile,
    /// The device is full.
    NoSpace,
    /// Kafka cannot be written to now.
    Upstream(producer::NotReady),
    /// The HTTP target cannot be written to now.
    Target(http::NotReady),
}

impl NotReady {
    /// What, and how to mend it.
    pub const fn reason(self) -> &'static str {
        match self {
            NotReady::NoFile => {
                "the sink is not taking events: no segment file is ready; see the server's log and retry"
            }
            NotReady::NoSpace => {
                "no space left for segments: free space on the data directory's device and retry"
            }
            NotReady::Upstream(why) => kafka::reason(why),
            NotReady::Target(why) => why.reason(),
        }
    }
}

/// What a reply's receipt says of the sink's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Sequence number of the commit's first event.
    pub seq: u64,
    /// Number of the segment.
    pub segment: u64,
}

/// A destination of batches. One commit is in flight at a time.
pub trait Sink {
    /// The strongest level it can reach.
    fn strongest(&self) -> Ack;
    /// Whether it takes events.
    fn ready(&self) -> Result<(), NotReady>;
    /// The level that its events will have reached when one of `asked` is told so: stronger where a stronger one
    /// comes at the same time.
    fn reached(&self, asked: Ack) -> Ack {
        asked
    }
    /// How it wants events laid out.
    fn layout(&self) -> Layout {
        Layout::Lines
    }
    /// The Kafka sink, if it is this one.
    #[inline]
    fn kafka(&self) -> Option<&kafka::KafkaSink> {
        None
    }
    /// The Kafka sink, to be moved.
    #[inline]
    fn kafka_mut(&mut self) -> Option<&mut kafka::KafkaSink> {
        None
    }
    /// The HTTP sink, if it is this one.
    #[inline]
    fn http(&self) -> Option<&http::HttpSink> {
        None
    }
    /// The HTTP sink, to be moved.
    #[inline]
    fn http_mut(&mut self) -> Option<&mut http::HttpSink> {
        None
    }
    /// What it has in common with others whose commits go to somebody else in parts, if it is such a one.
    #[inline]
    fn remote<M: Memory>(&self) -> Option<&dyn Remote<M>> {
        None
    }
    /// The same, to be moved.
    #[inline]
    fn remote_mut<M: Memory>(&mut self) -> Option<&mut dyn Remote<M>> {
        None
    }
    /// Where its events wait while it cannot take them, if there is such a place.
    #[inline]
    fn spill(&self) -> Option<&spill::Spill> {
        None
    }
    /// The same, to be moved.
    #[inline]
    fn spill_mut(&mut self) -> Option<&mut spill::Spill> {
        None
    }
    /// The next commit's events are that shard's, stored before, from this sequence number on, rising and perhaps
    /// with gaps. For sinks that name commits by their events.
    fn origin(&mut self, shard: u32, seq: u64) {
        let _ = (shard, seq);
    }
    /// Does a part of what sealing `batch` takes, while its newest bytes are in the cache.
    #[inline]
    fn ahead_of_seal<M: Memory>(&self, batch: &mut Batch<M>) {
        let _ = batch;
    }
    /// Makes `batch` ready to be written.
    fn seal<M: Memory>(&mut self, batch: &mut Batch<M>, wall_ms: u64) -> Sealed;
    /// The sealed batch is written (and flushed, if that was asked). This and all below is for sinks with files;
    /// others have nothing to say.
    fn committed(&mut self) -> Option<Receipt> {
        None
    }
    /// What [`Sink::committed`] will say of the batch in flight.
    fn receipt(&self) -> Option<Receipt> {
        None
    }
    /// The sealed batch failed: never retried on the same file.
    fn failed(&mut self, no_space: bool) {
        let _ = no_space;
    }
    /// Something for the housekeeper.
    fn next_request(&mut self) -> Option<Request> {
        None
    }
    /// Something from it.
    fn mail(&mut self, mail: Mail) {
        let _ = mail;
    }
    /// No more events will come: hand the open file back.
    fn close(&mut self) {}
}

/// Told of each event that the other side refuses for what it is: its index in the commit, its bytes, and why.
pub type Late<'a> = dyn FnMut(u32, &[u8], Flaw) + 'a;

/// Where events should have gone, and why they did not, for replies.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// A topic and a partition.
    Kafka(&'a str, i32, producer::Reason),
    /// An HTTP target.
    Http(http::Why),
}

/// A sink that hands a commit on to somebody else in parts, each with an outcome of its own.
///
/// What moves it is the edge of each such sink; this is what the engine needs of all of them.
pub trait Remote<M> {
    /// Looks at the time. Whether something may have come of it.
    fn tick(&mut self, now_ns: u64) -> bool;
    /// When that is due.
    fn deadline_ns(&self) -> Option<u64>;
    /// Grows whenever what can be written to may have changed.
    fn version(&self) -> u64;
    /// Why the events of a stream have nowhere to go now, if that is so.
    fn why_not(&mut self, now_ns: u64, stream: &StreamName) -> Option<NotReady>;
    /// From now on events are taken whether or not anybody can be reached: there will be no better time.
    fn drain(&mut self);
    /// Gives up at once whatever has no outcome, and hangs up.
    fn cut_short(&mut self, now_ns: u64);
    /// Everything was told and hung up.
    fn is_drained(&self) -> bool;
    /// Notes in `store`, the commit that is out, what became of its events. Returns by how many the outcomes that
    /// are awaited change: one less for each part that is done with.
    fn take_outcomes(&mut self, store: &mut Store<M>, now_ns: u64, late: &mut Late<'_>) -> i64;
    /// Bytes written of the commit that is done: as they were, and as sent.
    fn take_bytes(&mut self) -> (u64, u64);
    /// What a cause means in words, if it is one of this sink's.
    fn place(&self, cause: Cause) -> Option<Place<'_>>;
    /// What replies call the other side.
    fn name(&self) -> &'static str;
}

/// The sink that the configuration named. One a shard, so the smaller variant's slack costs nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum AnySink {
    /// Keeps nothing.
    Null(null::NullSink),
    /// Segment files.
    Segments(segments::SegmentSink),
    /// Kafka.
    Kafka(alloc::boxed::Box<kafka::KafkaSink>),
    /// An HTTP target.
    Http(alloc::boxed::Box<http::HttpSink>),
    /// One of the others, with a place beside it where events wait while it cannot take them.
    Spilling(alloc::boxed::Box<spill::Spilling>),
}

macro_rules! each {
    ($self:ident, $sink:ident => $do:expr) => {
        match $self {
            AnySink::Null($sink) => $do,
            AnySink::Segments($sink) => $do,
            AnySink::Kafka($sink) => $do,
            AnySink::Http($sink) => $do,
            AnySink::Spilling($sink) => $do,
        }
    };
}

impl Sink for AnySink {
    fn strongest(&self) -> Ack {
        each!(self, sink => sink.strongest())
    }
    fn ready(&self) -> Result<(), NotReady> {
        each!(self, sink => sink.ready())
    }
    fn reached(&self, asked: Ack) -> Ack {
        each!(self, sink => sink.reached(asked))
    }
    fn layout(&self) -> Layout {
        each!(self, sink => sink.layout())
    }
    #[inline]
    fn kafka(&self) -> Option<&kafka::KafkaSink> {
        match self {
            AnySink::Kafka(sink) => Some(sink),
            AnySink::Spilling(sink) => sink.kafka(),
            AnySink::Null(_) | AnySink::Segments(_) | AnySink::Http(_) => None,
        }
    }
    #[inline]
    fn kafka_mut(&mut self) -> Option<&mut kafka::KafkaSink> {
        match self {
            AnySink::Kafka(sink) => Some(sink),
            AnySink::Spilling(sink) => sink.kafka_mut(),
            AnySink::Null(_) | AnySink::Segments(_) | AnySink::Http(_) => None,
        }
    }
    #[inline]
    fn spill(&self) -> Option<&spill::Spill> {
        if let AnySink::Spilling(sink) = self { sink.spill() } else { None }
    }
    #[inline]
    fn spill_mut(&mut self) -> Option<&mut spill::Spill> {
        if let AnySink::Spilling(sink) = self { sink.spill_mut() } else { None }
    }
    fn origin(&mut self, shard: u32, seq: u64) {
        each!(self, sink => sink.origin(shard, seq));
    }
    #[inline]
    fn http(&self) -> Option<&http::HttpSink> {
        match self {
            AnySink::Http(sink) => Some(sink),
            AnySink::Spilling(sink) => sink.http(),
            AnySink::Null(_) | AnySink::Segments(_) | AnySink::Kafka(_) => None,
        }
    }
    #[inline]
    fn http_mut(&mut self) -> Option<&mut http::HttpSink> {
        match self {
            AnySink::Http(sink) => Some(sink),
            AnySink::Spilling(sink) => sink.http_mut(),
            AnySink::Null(_) | AnySink::Segments(_) | AnySink::Kafka(_) => None,
        }
    }
    #[inline]
    fn remote<M: Memory>(&self) -> Option<&dyn Remote<M>> {
        each!(self, sink => sink.remote())
    }
    #[inline]
    fn remote_mut<M: Memory>(&mut self) -> Option<&mut dyn Remote<M>> {
        each!(self, sink => sink.remote_mut())
    }
    #[inline]
    fn ahead_of_seal<M: Memory>(&self, batch: &mut Batch<M>) {
        if let AnySink::Segments(sink) = self {
            sink.ahead_of_seal(batch);
        }
    }
    fn seal<M: Memory>(&mut self, batch: &mut Batch<M>, wall_ms: u64) -> Sealed {
        each!(self, sink => sink.seal(batch, wall_ms))
    }
    fn committed(&mut self) -> Option<Receipt> {
        each!(self, sink => sink.committed())
    }
    fn receipt(&self) -> Option<Receipt> {
        each!(self, sink => sink.receipt())
    }
    fn failed(&mut self, no_space: bool) {
        each!(self, sink => sink.failed(no_space))
    }
    fn next_request(&mut self) -> Option<Request> {
        each!(self, sink => sink.next_request())
    }
    fn mail(&mut self, mail: Mail) {
        each!(self, sink => sink.mail(mail))
    }
    fn close(&mut self) {
        each!(self, sink => sink.close())
    }
}
