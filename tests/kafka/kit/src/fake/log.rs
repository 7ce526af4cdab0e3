//! One partition of the fake: what it takes and refuses, in the order in which Kafka checks.
//!
//! That order shows: a duplicate with a timestamp of tomorrow is refused for its timestamp. The names in comments are
//! Kafka's.

use crate::batch::{Batch, HEADER_BYTES, Record, Unreadable, sequence_after};
use std::collections::{HashMap, VecDeque};

/// Error codes of the protocol that the fake gives.
pub mod error {
    #![allow(missing_docs)] // The protocol's own names and meanings.
    pub const NONE: i16 = 0;
    pub const UNKNOWN_SERVER_ERROR: i16 = -1;
    pub const CORRUPT_MESSAGE: i16 = 2;
    pub const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
    pub const LEADER_NOT_AVAILABLE: i16 = 5;
    pub const NOT_LEADER_OR_FOLLOWER: i16 = 6;
    pub const REQUEST_TIMED_OUT: i16 = 7;
    pub const MESSAGE_TOO_LARGE: i16 = 10;
    pub const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
    pub const INVALID_TOPIC_EXCEPTION: i16 = 17;
    pub const NOT_ENOUGH_REPLICAS: i16 = 19;
    pub const NOT_ENOUGH_REPLICAS_AFTER_APPEND: i16 = 20;
    pub const INVALID_REQUIRED_ACKS: i16 = 21;
    pub const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
    pub const INVALID_TIMESTAMP: i16 = 32;
    pub const UNSUPPORTED_SASL_MECHANISM: i16 = 33;
    pub const ILLEGAL_SASL_STATE: i16 = 34;
    pub const UNSUPPORTED_VERSION: i16 = 35;
    pub const INVALID_REQUEST: i16 = 42;
    pub const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
    pub const INVALID_PRODUCER_EPOCH: i16 = 47;
    pub const KAFKA_STORAGE_ERROR: i16 = 56;
    pub const SASL_AUTHENTICATION_FAILED: i16 = 58;
    pub const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
    pub const INVALID_RECORD: i16 = 87;
    pub const UNKNOWN_TOPIC_ID: i16 = 100;
}

/// Kafka takes timestamps up to an hour ahead (`message.timestamp.after.max.ms`).
const AHEAD_MAX_MS: i64 = 3_600_000;
/// Batches remembered for each producer.
const REMEMBERED: usize = 5;

/// What a partition says of one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// One of [`error`].
    pub error: i16,
    /// Offset of the first record, −1 with an error.
    pub base_offset: i64,
    /// When the log has the batch since, in milliseconds since 1970: only told of a duplicate, else −1.
    pub append_time: i64,
    /// First offset of the log, −1 with errors that are found before the log is asked.
    pub log_start: i64,
    /// The records at fault, by their index in the batch.
    pub records: Vec<i32>,
}

impl Verdict {
    fn refused(error: i16) -> Verdict {
        // `ReplicaManager.appendRecordsToLeader` tells the start of the log with all errors that it does not expect.
        let expected = matches!(error, error::CORRUPT_MESSAGE | error::MESSAGE_TOO_LARGE);
        let log_start = if expected { -1 } else { 0 };
        Verdict { error, base_offset: -1, append_time: -1, log_start, records: Vec::new() }
    }
}

/// A record in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Id, epoch and sequence of its producer.
    pub stamp: (i64, i16, i32),
    /// Key, value and headers.
    pub record: Record,
}

/// What a topic demands of its batches.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Largest batch in bytes.
    pub batch_bytes_max: usize,
    /// Whether every record needs a key.
    pub compacted: bool,
}

#[derive(Debug, Clone, Default)]
struct Producer {
    epoch: i16,
    batches: VecDeque<Entry>,
}

/// One of the newest batches of a producer.
#[derive(Debug, Clone, Copy)]
struct Entry {
    first: i32,
    last: i32,
    base_offset: i64,
    timestamp: i64,
}

/// The log of one partition.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// Everything taken, by offset.
    pub records: Vec<Stored>,
    producers: HashMap<i64, Producer>,
    /// For each stamp, the bytes that carried it first: a retry must repeat them.
    seen: HashMap<(i64, i16, i32), Vec<u8>>,
}

impl Log {
    /// Judges the bytes of one partition in a Produce request of `version`, and takes them if they are right.
    /// `complaints` collects what Kafka cannot see but a correct producer never does.
    pub fn append(
        &mut self,
        bytes: &[u8],
        version: i16,
        rules: Rules,
        now_ms: i64,
        complaints: &mut Vec<String>,
    ) -> Verdict {
        let batch = match read(bytes, version) {
            Ok(batch) => batch,
            Err(error) => return Verdict { log_start: -1, ..Verdict::refused(error) },
        };
        if let Some(error) = analyze(&batch, bytes, rules) {
            return Verdict::refused(error);
        }
        self.notice_changed_retry(&batch, bytes, complaints);
        match validate(&batch, rules, now_ms) {
            Ok(records) => match self.sequence(&batch) {
                Ok(None) => self.store(&batch, records),
                Ok(Some(Entry { base_offset, timestamp, .. })) => {
                    Verdict { base_offset, append_time: timestamp, ..Verdict::refused(error::NONE) }
                }
                Err(error) => Verdict::refused(error),
            },
            Err((error, records)) => Verdict { records, ..Verdict::refused(error) },
        }
    }

    /// Forgets all producers, as retention or `DeleteRecords` make a broker do.
    pub fn forget_producers(&mut self) {
        self.producers.clear();
    }

    /// A batch sent again must be the same bytes: whether the first was taken, its producer cannot know.
    fn notice_changed_retry(&mut self, batch: &Batch, bytes: &[u8], complaints: &mut Vec<String>) {
        if batch.producer_id < 0 {
            return;
        }
        let stamp = (batch.producer_id, batch.epoch, batch.sequence);
        if *self.seen.entry(stamp).or_insert_with(|| bytes.to_vec()) != bytes {
            complaints.push(format!("stamp {stamp:?} was sent again with other bytes"));
        }
    }

    /// `ProducerAppendInfo`: the original when it is a duplicate, nothing when it is next.
    fn sequence(&self, batch: &Batch) -> Result<Option<Entry>, i16> {
        let Some(known) = self.producers.get(&batch.producer_id).filter(|_| batch.producer_id >= 0) else {
            return Ok(None); // Whatever its sequence: the broker may just have forgotten it.
        };
        if batch.epoch < known.epoch {
            return Err(error::INVALID_PRODUCER_EPOCH);
        }
        if batch.epoch > known.epoch {
            return if batch.sequence == 0 { Ok(None) } else { Err(error::OUT_OF_ORDER_SEQUENCE_NUMBER) };
        }
        let range = (batch.sequence, batch.last_sequence());
        if let Some(original) = known.batches.iter().find(|entry| (entry.first, entry.last) == range) {
            return Ok(Some(*original));
        }
        match known.batches.back() {
            Some(entry) if sequence_after(entry.last, 1) == batch.sequence => Ok(None),
            _ => Err(error::OUT_OF_ORDER_SEQUENCE_NUMBER),
        }
    }

    fn store(&mut self, batch: &Batch, records: Vec<Record>) -> Verdict {
        let base_offset = self.records.len() as i64;
        let latest = records.iter().map(|it| batch.base_timestamp + it.timestamp_delta).max();
        for (i, record) in (0..).zip(records) {
            self.records.push(Stored {
                offset: base_offset + i64::from(record.offset_delta),
                timestamp: batch.base_timestamp + record.timestamp_delta,
                stamp: (batch.producer_id, batch.epoch, sequence_after(batch.sequence.max(0), i)),
                record,
            });
        }
        if batch.producer_id >= 0 {
            let known = self.producers.entry(batch.producer_id).or_default();
            if known.epoch != batch.epoch {
                *known = Producer { epoch: batch.epoch, ..Producer::default() };
            }
            let (first, last, timestamp) = (batch.sequence, batch.last_sequence(), latest.unwrap_or(-1));
            known.batches.push_back(Entry { first, last, base_offset, timestamp });
            if known.batches.len() > REMEMBERED {
                known.batches.pop_front();
            }
        }
        Verdict { base_offset, ..Verdict::refused(error::NONE) }
    }
}

/// `ByteBufferLogInputStream` and `ProduceRequest.validateRecords`: exactly one whole batch of version 2.
fn read(bytes: &[u8], version: i16) -> Result<Batch, i16> {
    let first = first_batch(bytes)?.ok_or(error::INVALID_RECORD)?;
    if first[16] != 2 {
        return Err(error::INVALID_RECORD);
    }
    if first.get(22).is_some_and(|codec| codec & 7 == 4) && version < 7 {
        return Err(error::UNSUPPORTED_COMPRESSION_TYPE);
    }
    if first_batch(&bytes[first.len()..])?.is_some() {
        return Err(error::INVALID_RECORD);
    }
    if first.len() < HEADER_BYTES {
        return Err(error::CORRUPT_MESSAGE);
    }
    Batch::decode(first).ok_or(error::CORRUPT_MESSAGE)
}

/// The first whole batch; nothing when there is none, which Kafka tells from one that says nonsense.
fn first_batch(bytes: &[u8]) -> Result<Option<&[u8]>, i16> {
    let Some(length) = bytes.get(8..12) else { return Ok(None) };
    let length = i32::from_be_bytes(length.try_into().expect("it has four bytes"));
    if length < 14 {
        return Err(error::CORRUPT_MESSAGE);
    }
    if length > i32::MAX - 12 {
        return Err(error::UNKNOWN_SERVER_ERROR); // The sum of both overflows in Kafka.
    }
    match bytes.get(16) {
        None => Ok(None),
        Some(0..=2) => Ok(bytes.get(..length as usize + 12)),
        Some(_) => Err(error::CORRUPT_MESSAGE),
    }
}

/// `UnifiedLog.analyzeAndValidateRecords`.
fn analyze(batch: &Batch, bytes: &[u8], rules: Rules) -> Option<i16> {
    if batch.base_offset != 0 {
        Some(error::INVALID_RECORD)
    } else if bytes.len() > rules.batch_bytes_max {
        Some(error::MESSAGE_TOO_LARGE)
    } else if !batch.is_intact() {
        Some(error::CORRUPT_MESSAGE)
    } else if batch.attributes & 7 > 4 {
        Some(error::UNKNOWN_SERVER_ERROR)
    } else {
        None
    }
}

/// `LogValidator`: the batch's own figures, then each record. The second part of an error are records at fault.
fn validate(batch: &Batch, rules: Rules, now_ms: i64) -> Result<Vec<Record>, (i16, Vec<i32>)> {
    let control = batch.attributes & 0x20 != 0;
    let unnumbered = batch.producer_id >= 0 && batch.sequence < 0;
    if batch.count <= 0 || batch.last_offset_delta != batch.count - 1 || control || unnumbered {
        return Err((error::INVALID_RECORD, Vec::new()));
    }
    let records = batch.records().map_err(|why| match why {
        Unreadable::Codec | Unreadable::Payload => (error::UNKNOWN_SERVER_ERROR, Vec::new()),
        Unreadable::Records => (error::INVALID_RECORD, Vec::new()),
    })?;
    if batch.attributes & 7 != 0 && (0..).zip(&records).any(|(i, record)| record.offset_delta != i) {
        return Err((error::UNKNOWN_SERVER_ERROR, Vec::new())); // Plain ones may have any deltas.
    }
    let latest = now_ms + AHEAD_MAX_MS;
    let error = |record: &Record| match record {
        Record { key: None, .. } if rules.compacted => Some(error::INVALID_RECORD),
        record if batch.base_timestamp + record.timestamp_delta > latest => Some(error::INVALID_TIMESTAMP),
        _ => None,
    };
    let at_fault: Vec<(i32, i16)> = (0..).zip(&records).filter_map(|(i, it)| Some((i, error(it)?))).collect();
    if at_fault.is_empty() {
        return Ok(records);
    }
    let early = at_fault.iter().any(|&(_, error)| error == error::INVALID_TIMESTAMP);
    let error = if early { error::INVALID_TIMESTAMP } else { error::INVALID_RECORD };
    Err((error, at_fault.into_iter().map(|(i, _)| i).collect()))
}
