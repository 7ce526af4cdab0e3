//! The events of one commit as Kafka's records: a batch a partition, or several where one would be too long.
//!
//! [`RecordArena::append`] is the only copy that an event meets before the kernel's, as long as the events of a
//! partition come one after the other (what a sticky partitioner sees to). Methods fall in families: `append`
//! with `mark` and `rollback` around one request, `seal` once, then reading (`batches`, `stamp`, `batch_bytes`,
//! `locate`, and `split` after a broker's "too large"), then `clear`.
//!
//! ```text
//! first block:   [record][record]…[record][record][record]…      in the order of the events
//!                 run 0: partition 4      run 1: partition 0  run 2: partition 4 again
//! second block:  [run 0, run 2 │ or what they compress to][       ]     made by seal, only where needed
//! headers:       [61 bytes][61 bytes]…                           written by stamp
//! ```
//!
//! A batch is sent from where its records lie: from the first block if they are one run and not compressed.
//! Otherwise `seal` gathers (or compresses) them into the second block. **That is the one further copy**, of the
//! events of partitions that took turns, which keyed events do: some 9 ns an event of 300 bytes (the stage
//! `kafka-seal-keyed` of `benches/micro` against `kafka-seal`). The first block stays as it was, so that a batch can
//! be split.
//!
//! A codec that works block by block may begin before that: `compress_ahead`, between requests, compresses what the
//! newest run has of whole blocks while it is in the cache, into the second block opposite to the run. `seal` goes on
//! from there if every batch is one run, else it begins afresh.
//!
//! Neither lengths nor addresses change from `seal` to `clear`, and only `stamp` and `split` change bytes: of
//! the slot they are called for. When that is allowed (nothing of it in flight) is the producer's to know.
//! The arena knows no topics, brokers, acknowledgements or times of day.

mod look;
mod seal;
#[cfg(test)]
mod tests;

pub use seal::SealedBatch;

use super::batch::{HEADER_BYTES, RECORD_OVERHEAD_MAX, RecordHeader, encode_record, headers_len};
use super::varint;
use crate::memory::Memory;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use seal::Place;

/// Largest batch by default, header included: the broker's `message.max.bytes` is 1,048,588, and a margin for
/// topics and clusters that count otherwise.
pub const BATCH_BYTES_MAX: usize = 1_000_000;
/// Smallest bound of a batch that can be asked for: below it the overhead is more than the events.
pub const BATCH_BYTES_MIN: usize = 1024;

/// No room for it now: seal first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// One batch of a commit, from `seal` to `clear`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// What an arena reserves at start.
#[derive(Clone, Copy, Debug)]
pub struct ArenaLimits {
    /// Partitions that there may be, over all topics: indexes given to `append` are below. 4 bytes each.
    pub partitions: u32,
    /// Batches in one commit: one for each partition that it touches, and one more for each that is full. 136
    /// bytes each, as are `splits`.
    pub batches: u32,
    /// Times that a batch of one commit may be split.
    pub splits: u32,
    /// Changes from one partition to another in one commit. 32 bytes each.
    pub runs: u32,
    /// Bytes of one batch as sent before compression, header included: [`BATCH_BYTES_MAX`] or less.
    pub batch_bytes: usize,
}

impl Default for ArenaLimits {
    fn default() -> Self {
        ArenaLimits {
            partitions: 4096,
            batches: 1024,
            splits: 256,
            runs: 32 * 1024,
            batch_bytes: BATCH_BYTES_MAX,
        }
    }
}

/// Stands for no slot and for no run.
const NONE: u32 = u32::MAX;

/// Records of one partition that lie next to each other.
#[derive(Clone, Copy, Debug)]
struct Run {
    at: u32,
    bytes: u32,
    records: u32,
    /// Index in the commit of its first event.
    first_event: u32,
    slot: u32,
    /// The partition's next run. Linked by `seal`.
    next: u32,
    max_timestamp_ms: i64,
}

/// Records of one partition.
#[derive(Clone, Copy, Debug)]
struct Batch {
    partition: u32,
    /// The slot of the partition's batch before this one, which is full; [`NONE`] if it is the first.
    before: u32,
    records: u32,
    /// Bytes of its records in the first block.
    bytes: u32,
    /// First of its runs. Set by `seal`.
    first_run: u32,
    first_timestamp_ms: i64,
    /// What of its first run is compressed already.
    ahead: Ahead,
    /// From here on down set by `seal`.
    max_timestamp_ms: i64,
    /// Its part of the second block: from here, as many bytes as it has in the first.
    region: u32,
    place: Place,
}

/// A frame that was begun in the second block before its batch is sealed, opposite to the run that it is made of.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    /// Bytes of the run that are in it.
    raw: u32,
    /// Bytes of the frame; 0: not begun.
    made: u32,
    /// It became no shorter than its run.
    vain: bool,
}

impl Ahead {
    const NONE: Ahead = Ahead { raw: 0, made: 0, vain: false };
}

/// A point to which [`RecordArena::rollback`] returns.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    len: usize,
    events: u32,
    runs: usize,
    batches: usize,
    /// The newest run as it was.
    last: Option<Run>,
}

/// Records on their way to one commit.
pub struct RecordArena<M> {
    first: M,
    second: M,
    len: usize,
    events: u32,
    runs: Vec<Run>,
    batches: Vec<Batch>,
    headers: Box<[[u8; HEADER_BYTES]]>,
    /// Slot of each partition's newest batch, or [`NONE`].
    slot_of: Box<[u32]>,
    limits: ArenaLimits,
    batch_bytes: usize,
}

impl<M: Memory> RecordArena<M> {
    /// An empty arena over two blocks of the same length, at most 1 GiB each. The second is touched only by
    /// commits that gather or compress.
    ///
    /// # Panics
    /// When the blocks differ in length or are larger, or a limit is 0.
    pub fn new(first: M, second: M, limits: ArenaLimits) -> RecordArena<M> {
        assert!(first.bytes().len() == second.bytes().len(), "both blocks have one length");
        assert!(first.bytes().len() <= 1 << 30, "positions are 32 bits, with room to spare");
        assert!(limits.partitions > 0 && limits.batches > 0 && limits.runs > 0, "room for something");
        let slots = limits.batches as usize + limits.splits as usize;
        RecordArena {
            first,
            second,
            len: 0,
            events: 0,
            runs: Vec::with_capacity(limits.runs as usize + limits.splits as usize),
            batches: Vec::with_capacity(slots),
            headers: vec![[0; HEADER_BYTES]; slots].into(),
            slot_of: vec![NONE; limits.partitions as usize].into(),
            limits,
            batch_bytes: limits.batch_bytes.max(BATCH_BYTES_MIN),
        }
    }

    /// Bytes that an arena of these limits takes beside its two blocks.
    pub const fn table_bytes(limits: &ArenaLimits) -> usize {
        let slots = limits.batches as usize + limits.splits as usize;
        slots * (HEADER_BYTES + size_of::<Batch>())
            + (limits.runs as usize + limits.splits as usize) * size_of::<Run>()
            + limits.partitions as usize * size_of::<u32>()
    }

    /// Bound of a batch of more than one record in bytes, header included.
    pub fn batch_bytes_max(&self) -> usize {
        self.batch_bytes
    }

    /// Bounds the batches from here on, between [`BATCH_BYTES_MIN`] and what the arena was made with. An event that
    /// is longer goes alone.
    pub fn bound_batches(&mut self, bytes: usize) {
        let most = self.limits.batch_bytes.max(BATCH_BYTES_MIN);
        self.batch_bytes = bytes.clamp(BATCH_BYTES_MIN, most);
    }

    /// Whether an empty arena takes an event of so many bytes of key, headers' names and values, and value
    /// together. If not, no arena ever will: it is too large and not to be waited with.
    pub fn takes(&self, bytes: usize, headers: usize) -> bool {
        let overhead = HEADER_BYTES + RECORD_OVERHEAD_MAX + 2 * varint::BYTES_MAX * headers;
        overhead + bytes <= self.limits.batch_bytes.max(BATCH_BYTES_MIN).min(self.capacity())
    }

    /// Events in it.
    pub fn events(&self) -> u32 {
        self.events
    }

    /// Bytes of its records.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Bytes of records that it takes at most.
    pub fn capacity(&self) -> usize {
        self.first.bytes().len()
    }

    /// Whether `bytes` of records more may well fit: a look before the work. The promise is only what `append`
    /// returns, since every event adds its overhead and every partition has a bound of its own; a request that
    /// does not fit as a whole is rolled back.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.len + bytes <= self.capacity() && self.runs.len() < self.limits.runs as usize
    }

    /// Bytes of records in a partition's newest batch; 0 if it has none in this commit.
    pub fn newest_bytes(&self, partition: u32) -> usize {
        match self.slot_of[partition as usize] {
            NONE => 0,
            slot => self.batches[slot as usize].bytes as usize,
        }
    }

    /// Remembers this point, for one request that may have to be undone.
    pub fn mark(&self) -> Mark {
        Mark {
            len: self.len,
            events: self.events,
            runs: self.runs.len(),
            batches: self.batches.len(),
            last: self.runs.last().copied(),
        }
    }

    /// Whether a record for this partition would lie next to those that it has: it has none, or the newest.
    #[inline]
    pub fn stays_whole(&self, partition: u32) -> bool {
        let slot = self.slot_of[partition as usize];
        slot == NONE || self.runs.last().is_some_and(|run| run.slot == slot)
    }

    /// The partition of the newest record.
    pub fn newest_partition(&self) -> Option<u32> {
        self.runs.last().map(|run| self.batches[run.slot as usize].partition)
    }

    /// Forgets all that came after `mark`. What was compressed ahead before it stays.
    pub fn rollback(&mut self, mark: Mark) {
        for run in self.runs.drain(mark.runs..) {
            let batch = &mut self.batches[run.slot as usize];
            batch.bytes -= run.bytes;
            batch.records -= run.records;
        }
        if let (Some(run), Some(last)) = (self.runs.last_mut(), mark.last) {
            let batch = &mut self.batches[run.slot as usize];
            batch.bytes -= run.bytes - last.bytes;
            batch.records -= run.records - last.records;
            *run = last;
        }
        for batch in self.batches.drain(mark.batches..).rev() {
            self.slot_of[batch.partition as usize] = batch.before;
        }
        self.len = mark.len;
        self.events = mark.events;
    }

    /// Copies one event in as a record of `partition`, a dense index over the partitions of all topics, below
    /// [`ArenaLimits::partitions`]. With `breaks`, raw line breaks in the value become spaces. Where the
    /// partition's batch is full, another one begins; they are sent in the order of their slots.
    ///
    /// # Errors
    /// [`Full`] when the arena or an empty batch has no room for it, or a table has none. It leaves no trace.
    #[inline(always)]
    pub fn append(
        &mut self,
        partition: u32,
        key: Option<&[u8]>,
        headers: &[RecordHeader],
        timestamp_ms: i64,
        value: &[u8],
        breaks: bool,
    ) -> Result<(), Full> {
        let slot = match self.slot_of[partition as usize] {
            NONE => self.open(partition, timestamp_ms)?,
            slot => slot,
        };
        match self.append_to(slot, key, headers, timestamp_ms, value, breaks) {
            Ok(()) => Ok(()),
            Err(Full) => self.append_behind(slot, key, headers, timestamp_ms, value, breaks),
        }
    }

    /// Appends to a new batch behind that of `slot`, if that one was the bound.
    #[cold]
    #[inline(never)]
    fn append_behind(
        &mut self,
        slot: u32,
        key: Option<&[u8]>,
        headers: &[RecordHeader],
        timestamp_ms: i64,
        value: &[u8],
        breaks: bool,
    ) -> Result<(), Full> {
        let Some(&Batch { partition, records: 1.., .. }) = self.batches.get(slot as usize) else {
            return Err(Full);
        };
        let next = self.open(partition, timestamp_ms)?;
        self.append_to(next, key, headers, timestamp_ms, value, breaks)
    }

    #[inline(always)]
    fn append_to(
        &mut self,
        slot: u32,
        key: Option<&[u8]>,
        headers: &[RecordHeader],
        timestamp_ms: i64,
        value: &[u8],
        breaks: bool,
    ) -> Result<(), Full> {
        let run = self.run_of(slot);
        let batch = &mut self.batches[slot as usize];
        let bound =
            if batch.records == 0 { self.limits.batch_bytes.max(BATCH_BYTES_MIN) } else { self.batch_bytes };
        let most = bound.saturating_sub(HEADER_BYTES + batch.bytes as usize);
        let block = self.first.bytes_mut();
        let end = block.len().min(self.len + most);
        let delta = timestamp_ms.wrapping_sub(batch.first_timestamp_ms);
        let place = &mut block[self.len..end];
        let written = match run {
            Some(_) => encode_record(place, batch.records, delta, key, headers, value),
            None => None,
        };
        let (Some(run), Some(bytes)) = (run, written) else {
            self.undo_open(slot);
            return Err(Full);
        };
        if breaks {
            spaces_for_breaks(&mut block[self.len..self.len + bytes], headers, value.len());
        }
        batch.bytes += bytes as u32;
        batch.records += 1;
        if run == self.runs.len() {
            let (at, first_event) = (self.len as u32, self.events);
            let max_timestamp_ms = timestamp_ms;
            let run = Run { at, bytes: 0, records: 0, first_event, slot, next: NONE, max_timestamp_ms };
            self.runs.push(run);
        }
        let run = &mut self.runs[run];
        run.bytes += bytes as u32;
        run.records += 1;
        run.max_timestamp_ms = run.max_timestamp_ms.max(timestamp_ms);
        self.len += bytes;
        self.events += 1;
        Ok(())
    }

    /// Index of the run that the next record of `slot` belongs to, one behind the last if it begins one.
    #[inline]
    fn run_of(&self, slot: u32) -> Option<usize> {
        match self.runs.last() {
            Some(run) if run.slot == slot => Some(self.runs.len() - 1),
            _ => (self.runs.len() < self.limits.runs as usize).then_some(self.runs.len()),
        }
    }

    fn open(&mut self, partition: u32, timestamp_ms: i64) -> Result<u32, Full> {
        if self.batches.len() >= self.limits.batches as usize {
            return Err(Full);
        }
        let slot = self.batches.len() as u32;
        self.batches.push(Batch {
            partition,
            before: self.slot_of[partition as usize],
            records: 0,
            bytes: 0,
            first_run: NONE,
            first_timestamp_ms: timestamp_ms,
            ahead: Ahead::NONE,
            max_timestamp_ms: timestamp_ms,
            region: 0,
            place: Place::UNSEALED,
        });
        self.slot_of[partition as usize] = slot;
        Ok(slot)
    }

    /// Takes a batch back that its first record did not fit into.
    #[cold]
    fn undo_open(&mut self, slot: u32) {
        let batch = self.batches[slot as usize];
        if batch.records == 0 {
            self.batches.pop();
            self.slot_of[batch.partition as usize] = batch.before;
        }
    }

    /// Empties it for the next commit.
    pub fn clear(&mut self) {
        for batch in self.batches.drain(..) {
            self.slot_of[batch.partition as usize] = NONE;
        }
        self.runs.clear();
        self.len = 0;
        self.events = 0;
    }
}

/// Makes spaces of line breaks in the value of `record`, which stands before its headers.
#[cold]
fn spaces_for_breaks(record: &mut [u8], headers: &[RecordHeader], value: usize) {
    let end = record.len() - headers_len(headers);
    let value = &mut record[end - value..end];
    value.iter_mut().filter(|byte| matches!(**byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
}
