//! What a broker answered, read in place.
//!
//! [`ProduceResponse::parse`] goes through all of it before it says anything, because half an answer read wrongly
//! would be a false acknowledgement. Afterwards nothing can fail. It takes no memory, whatever counts the peer
//! claims: each element is at least a byte long and has to be there.
use super::{
    VERSION_FLEXIBLE, VERSION_HINTS, VERSION_MAX, VERSION_MIN, VERSION_RECORD_ERRORS, VERSION_TOPIC_IDS,
};
use crate::kafka::cursor::Cursor;
use crate::kafka::produce::TopicRef;

/// The bytes are no answer to a Produce request of that version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// How far it could be read, in bytes.
    pub at: usize,
}

/// An answer that was read to its end.
#[derive(Clone, Copy, Debug)]
pub struct ProduceResponse<'a> {
    correlation: i32,
    throttle_ms: i32,
    version: i16,
    /// From the count of topics on.
    topics: Reader<'a>,
    /// From the count of brokers on; empty when there are none.
    endpoints: &'a [u8],
}

/// What became of one batch.
#[derive(Clone, Debug)]
pub struct PartitionAnswer<'a> {
    /// As the request named it.
    pub topic: TopicRef<'a>,
    /// Number of the partition within the topic.
    pub partition: i32,
    /// 0, or Kafka's error code.
    pub error: i16,
    /// Offset of the batch's first record; -1 with an error.
    pub base_offset: i64,
    /// When the broker appended it, Unix time in milliseconds, where the topic keeps that time; else -1.
    pub log_append_time_ms: i64,
    /// First offset that the partition still has; -1 before v5.
    pub log_start_offset: i64,
    /// The records that caused the batch to be refused, from v8 on.
    pub record_errors: RecordErrors<'a>,
    /// What the broker says about it, from v8 on; text of its own, UTF-8 as a rule.
    pub message: Option<&'a [u8]>,
    /// Broker that leads the partition now and its epoch, from v10 on, with errors that say that it moved.
    pub leader: Option<(i32, i32)>,
}

/// A record that caused its batch to be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordError<'a> {
    /// Number of the record in its batch, from 0; the peer's word, so it may be out of range.
    pub record: i32,
    /// Why.
    pub message: Option<&'a [u8]>,
}

/// Where a broker is that an answer named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeEndpoint<'a> {
    /// Its id.
    pub id: i32,
    /// Its host name or address.
    pub host: &'a [u8],
    /// Its port; the peer's word, so it may be none.
    pub port: i32,
}

impl<'a> ProduceResponse<'a> {
    /// Reads an answer to a request of `version`. `bytes` is one frame without its length.
    ///
    /// # Errors
    /// [`Malformed`] if it is cut off, contradicts itself, has something behind its end, or the version is not
    /// spoken.
    pub fn parse(bytes: &'a [u8], version: i16) -> Result<ProduceResponse<'a>, Malformed> {
        let mut reader = Reader::new(bytes, version);
        ProduceResponse::read(&mut reader).ok_or(Malformed { at: reader.cursor.position() })
    }

    fn read(reader: &mut Reader<'a>) -> Option<ProduceResponse<'a>> {
        let version = reader.version;
        if !(VERSION_MIN..=VERSION_MAX).contains(&version) {
            return None;
        }
        let correlation = reader.cursor.header()?;
        let topics = *reader;
        for _ in 0..reader.count()? {
            reader.topic()?;
            for _ in 0..reader.count()? {
                reader.partition(TopicRef::Id([0; 16]))?;
            }
            reader.cursor.tags()?;
        }
        let throttle_ms = reader.cursor.i32()?;
        let mut endpoints: &[u8] = &[];
        reader.cursor.each_tag(|tag, bytes| {
            if tag != 0 || version < VERSION_HINTS {
                return Some(());
            }
            endpoints = bytes;
            let mut field = Reader::new(bytes, version);
            (0..field.count()?).try_for_each(|_| field.endpoint().map(|_| ()))?;
            field.cursor.ends()
        })?;
        reader.cursor.ends()?;
        Some(ProduceResponse { correlation, throttle_ms, version, topics, endpoints })
    }

    /// Which request it answers.
    pub fn correlation(&self) -> i32 {
        self.correlation
    }

    /// For how many milliseconds nothing more may be sent on this connection; 0 for none.
    pub fn throttle_ms(&self) -> u32 {
        self.throttle_ms.max(0) as u32
    }

    /// What became of each batch, in the order of the answer. A peer may leave some out or repeat some.
    pub fn partitions(&self) -> PartitionAnswers<'a> {
        let mut reader = self.topics;
        let topics = reader.count().unwrap_or(0);
        PartitionAnswers { reader, topic: TopicRef::Id([0; 16]), topics, partitions: 0, begun: false }
    }

    /// Where brokers named as leaders are, from v10 on.
    pub fn endpoints(&self) -> Endpoints<'a> {
        let mut reader = Reader::new(self.endpoints, self.version);
        let left = if self.endpoints.is_empty() { 0 } else { reader.count().unwrap_or(0) };
        Endpoints { reader, left }
    }
}

/// See [`ProduceResponse::partitions`].
#[derive(Clone, Debug)]
pub struct PartitionAnswers<'a> {
    reader: Reader<'a>,
    topic: TopicRef<'a>,
    /// Topics, and partitions of the current one, still to come.
    topics: u32,
    partitions: u32,
    begun: bool,
}

impl<'a> Iterator for PartitionAnswers<'a> {
    type Item = PartitionAnswer<'a>;

    fn next(&mut self) -> Option<PartitionAnswer<'a>> {
        while self.partitions == 0 {
            if self.begun {
                self.reader.cursor.tags()?;
            }
            self.begun = true;
            self.topics = self.topics.checked_sub(1)?;
            self.topic = self.reader.topic()?;
            self.partitions = self.reader.count()?;
        }
        self.partitions -= 1;
        self.reader.partition(self.topic)
    }
}

/// See [`PartitionAnswer::record_errors`].
#[derive(Clone, Debug)]
pub struct RecordErrors<'a> {
    reader: Reader<'a>,
    left: u32,
}

impl<'a> Iterator for RecordErrors<'a> {
    type Item = RecordError<'a>;

    fn next(&mut self) -> Option<RecordError<'a>> {
        self.left = self.left.checked_sub(1)?;
        self.reader.record_error()
    }
}

/// See [`ProduceResponse::endpoints`].
#[derive(Clone, Debug)]
pub struct Endpoints<'a> {
    reader: Reader<'a>,
    left: u32,
}

impl<'a> Iterator for Endpoints<'a> {
    type Item = NodeEndpoint<'a>;

    fn next(&mut self) -> Option<NodeEndpoint<'a>> {
        self.left = self.left.checked_sub(1)?;
        self.reader.endpoint()
    }
}

/// Takes the parts of an answer of one version; `None` means cut off or impossible.
#[derive(Clone, Copy, Debug)]
struct Reader<'a> {
    cursor: Cursor<'a>,
    version: i16,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], version: i16) -> Reader<'a> {
        Reader { cursor: Cursor::new(bytes, version >= VERSION_FLEXIBLE), version }
    }

    /// Elements of an array. No array of an answer is null.
    fn count(&mut self) -> Option<u32> {
        self.cursor.count()?
    }

    fn topic(&mut self) -> Option<TopicRef<'a>> {
        match self.version >= VERSION_TOPIC_IDS {
            true => self.cursor.array().map(TopicRef::Id),
            false => self.cursor.string()?.map(TopicRef::Name),
        }
    }

    fn partition(&mut self, topic: TopicRef<'a>) -> Option<PartitionAnswer<'a>> {
        let partition = self.cursor.i32()?;
        let error = self.cursor.i16()?;
        let base_offset = self.cursor.i64()?;
        let log_append_time_ms = self.cursor.i64()?;
        let log_start_offset = if self.version >= 5 { self.cursor.i64()? } else { -1 };
        let mut record_errors = RecordErrors { reader: *self, left: 0 };
        let mut message = None;
        if self.version >= VERSION_RECORD_ERRORS {
            record_errors.left = self.count()?;
            record_errors.reader = *self;
            for _ in 0..record_errors.left {
                self.record_error()?;
            }
            message = self.cursor.string()?;
        }
        let (mut leader, version) = (None, self.version);
        self.cursor.each_tag(|tag, bytes| {
            if tag == 0 && version >= VERSION_HINTS {
                let mut field = Cursor::new(bytes, true);
                leader = Some((field.i32()?, field.i32()?));
                field.tags()?;
                field.ends()?;
            }
            Some(())
        })?;
        // A leader of -1 is how "nobody" and "I do not know" are written.
        let leader = leader.filter(|(id, _)| *id >= 0);
        Some(PartitionAnswer {
            topic,
            partition,
            error,
            base_offset,
            log_append_time_ms,
            log_start_offset,
            record_errors,
            message,
            leader,
        })
    }

    fn record_error(&mut self) -> Option<RecordError<'a>> {
        let error = RecordError { record: self.cursor.i32()?, message: self.cursor.string()? };
        self.cursor.tags()?;
        Some(error)
    }

    fn endpoint(&mut self) -> Option<NodeEndpoint<'a>> {
        let endpoint =
            NodeEndpoint { id: self.cursor.i32()?, host: self.cursor.string()??, port: self.cursor.i32()? };
        let _rack = self.cursor.string()?;
        self.cursor.tags()?;
        Some(endpoint)
    }
}
