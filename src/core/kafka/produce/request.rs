//! Pieces of framing, and where the frozen bytes go between them.
use super::{API_KEY, VERSION_FLEXIBLE, VERSION_MAX, VERSION_MIN, VERSION_TOPIC_IDS};
use crate::kafka::arena::Slot;
use crate::kafka::varint;
use alloc::vec::Vec;
use core::ops::Range;

/// Most batches in one request: with framing, header and records of each and a piece at the end, the 64 parts that
/// a connection sends at once.
pub const BATCHES_MAX: usize = 21;
const PARTS_MAX: usize = 3 * BATCHES_MAX + 1;
/// Longest framing: names of 249 bytes, the longest a broker allows, and a client id like them.
const FRAMING_BYTES: usize = (BATCHES_MAX + 1) * 320;

/// How a topic is named to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicRef<'a> {
    /// By name, up to v12.
    Name(&'a [u8]),
    /// By id, from v13 on.
    Id([u8; 16]),
}

/// What stands before the batches.
#[derive(Clone, Copy, Debug)]
pub struct ProduceHead<'a> {
    /// Version of the request, within [`VERSION_MIN`] and [`VERSION_MAX`].
    pub version: i16,
    /// Comes back with the answer.
    pub correlation: i32,
    /// What the broker's log and quotas call this client; at most 249 bytes.
    pub client_id: &'a str,
    /// How long the leader may wait for the other replicas, in milliseconds.
    pub timeout_ms: i32,
}

/// One batch of a request.
#[derive(Clone, Copy, Debug)]
pub struct ProduceBatch<'a> {
    /// Its topic.
    pub topic: TopicRef<'a>,
    /// Number of the partition within the topic.
    pub partition: i32,
    /// Where its bytes are.
    pub slot: Slot,
    /// How many: header and records.
    pub bytes: u32,
}

/// A piece of a request, in the order to send them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// These bytes of [`ProduceFrame::framing`].
    Framing(Range<usize>),
    /// The header of a batch.
    Header(Slot),
    /// The records of a batch, as they are sent.
    Records(Slot),
}

/// Why a request cannot be framed; a mistake of the caller, nothing a peer or a user can cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The version is not spoken.
    Version,
    /// No batches, or over [`BATCHES_MAX`].
    Batches,
    /// A topic is named in a way that the version does not have, or with over 249 bytes, or the client id is.
    Name,
    /// The batches of a topic do not stand together, or a partition has two.
    Order,
    /// The request would be longer than its length can say (2^31-1).
    TooLong,
}

/// A request's framing, kept and used again: it takes memory once.
#[derive(Debug)]
pub struct ProduceFrame {
    framing: Vec<u8>,
    parts: Vec<Part>,
}

impl ProduceFrame {
    /// One with its memory.
    pub fn new() -> ProduceFrame {
        ProduceFrame { framing: Vec::with_capacity(FRAMING_BYTES), parts: Vec::with_capacity(PARTS_MAX) }
    }

    /// Frames a request and returns its length in bytes, everything counted. What it held before is gone. The
    /// batches of one topic stand next to each other, and each partition has one.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn encode(&mut self, head: &ProduceHead, batches: &[ProduceBatch]) -> Result<usize, FrameError> {
        self.framing.clear();
        self.parts.clear();
        check(head, batches)?;
        let mut to = Framer { frame: self, flexible: head.version >= VERSION_FLEXIBLE, from: 0 };
        to.head(head);
        to.count(batches.chunk_by(|a, b| a.topic == b.topic).count());
        for topic in batches.chunk_by(|a, b| a.topic == b.topic) {
            to.topic(topic);
        }
        to.tags();
        to.cut();
        let batches: usize = batches.iter().map(|batch| batch.bytes as usize).sum();
        let total = self.framing.len() + batches;
        let length = i32::try_from(total - 4).map_err(|_| FrameError::TooLong)?;
        self.framing[..4].copy_from_slice(&length.to_be_bytes());
        Ok(total)
    }

    /// The pieces, in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// What [`Part::Framing`] points into.
    pub fn framing(&self) -> &[u8] {
        &self.framing
    }
}

impl Default for ProduceFrame {
    fn default() -> Self {
        ProduceFrame::new()
    }
}

/// Longest name of a topic that brokers allow.
const NAME_BYTES_MAX: usize = 249;

fn check(head: &ProduceHead, batches: &[ProduceBatch]) -> Result<(), FrameError> {
    if !(VERSION_MIN..=VERSION_MAX).contains(&head.version) {
        return Err(FrameError::Version);
    }
    if batches.is_empty() || batches.len() > BATCHES_MAX {
        return Err(FrameError::Batches);
    }
    let ids = head.version >= VERSION_TOPIC_IDS;
    let named = |batch: &ProduceBatch| match batch.topic {
        TopicRef::Name(name) => !ids && name.len() <= NAME_BYTES_MAX,
        TopicRef::Id(_) => ids,
    };
    if head.client_id.len() > NAME_BYTES_MAX || !batches.iter().all(named) {
        return Err(FrameError::Name);
    }
    for (index, batch) in batches.iter().enumerate() {
        let before = &batches[..index];
        let apart = before.last().is_some_and(|last| last.topic != batch.topic)
            && before.iter().any(|other| other.topic == batch.topic);
        let twice =
            before.iter().any(|other| other.topic == batch.topic && other.partition == batch.partition);
        if apart || twice {
            return Err(FrameError::Order);
        }
    }
    Ok(())
}

struct Framer<'a> {
    frame: &'a mut ProduceFrame,
    flexible: bool,
    /// Where the piece being written begins.
    from: usize,
}

impl Framer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.frame.framing.extend_from_slice(bytes);
    }

    fn head(&mut self, head: &ProduceHead) {
        self.put(&[0; 4]);
        self.put(&API_KEY.to_be_bytes());
        self.put(&head.version.to_be_bytes());
        self.put(&head.correlation.to_be_bytes());
        // The client id has its old form in every version.
        self.put(&(head.client_id.len() as i16).to_be_bytes());
        self.put(head.client_id.as_bytes());
        self.tags();
        match self.flexible {
            true => self.put(&[0]),
            false => self.put(&(-1i16).to_be_bytes()),
        }
        self.put(&(-1i16).to_be_bytes());
        self.put(&head.timeout_ms.to_be_bytes());
    }

    fn topic(&mut self, batches: &[ProduceBatch]) {
        match batches[0].topic {
            TopicRef::Id(id) => self.put(&id),
            TopicRef::Name(name) => {
                match self.flexible {
                    true => self.unsigned(name.len() as u64 + 1),
                    false => self.put(&(name.len() as i16).to_be_bytes()),
                }
                self.put(name);
            }
        }
        self.count(batches.len());
        for batch in batches {
            self.put(&batch.partition.to_be_bytes());
            match self.flexible {
                true => self.unsigned(u64::from(batch.bytes) + 1),
                false => self.put(&batch.bytes.to_be_bytes()),
            }
            self.cut();
            self.frame.parts.push(Part::Header(batch.slot));
            self.frame.parts.push(Part::Records(batch.slot));
            self.tags();
        }
        self.tags();
    }

    /// Elements of an array.
    fn count(&mut self, elements: usize) {
        match self.flexible {
            true => self.unsigned(elements as u64 + 1),
            false => self.put(&(elements as i32).to_be_bytes()),
        }
    }

    fn unsigned(&mut self, n: u64) {
        let mut bytes = [0; varint::LONG_BYTES_MAX];
        let len = varint::put_unsigned(&mut bytes, n);
        self.put(&bytes[..len]);
    }

    /// No tagged fields.
    fn tags(&mut self) {
        if self.flexible {
            self.put(&[0]);
        }
    }

    /// Ends the piece being written, if there is anything in it.
    fn cut(&mut self) {
        let end = self.frame.framing.len();
        if end > self.from {
            self.frame.parts.push(Part::Framing(self.from..end));
            self.from = end;
        }
    }
}
