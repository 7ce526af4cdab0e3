//! One commit's worth of events, laid out in memory exactly as the disk will hold them.
//!
//! [`Batch::append`] is the only copy an event meets in user space. Methods fall in families:
//! `append*` while it is open, `mark`/`rollback` around one request, `seal` once, then reading, then `clear`.
//!
//! ```text
//! arena: [header][event\n event\n …][header][event\n …][\n padding to the block]
//!         run 0: one stream           run 1: the next stream
//! ```
//!
//! This is no queue: it knows neither who waits for it ([`ledger`]) nor when it is full enough ([`policy`]).
//! A commit for Kafka is laid out otherwise ([`crate::kafka::arena`]); [`store`] is either, [`fate`] what became
//! of the latter's events.

pub mod fate;
pub mod ledger;
pub mod policy;
pub mod store;
mod sum;

use crate::memory::Memory;
use crate::segment::header::{BLOCK_BYTES, HEADER_BYTES, Hash, Header, StreamName};
use crate::segment::key::RunKey;
use alloc::vec::Vec;
use core::ops::Range;
use fate::Fates;
use sum::Sum;

/// Most runs (changes of stream) in one batch; reserved at start, 112 bytes each.
pub const RUNS_MAX: usize = 4096;

/// The batch has no room for it: seal first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Contiguous events of one stream and key, behind one header.
#[derive(Clone, Debug)]
pub struct Run {
    stream: StreamName,
    /// Length of the key, which stands where the header will be written.
    key: Option<u8>,
    /// Where the header stands; the events follow it.
    at: usize,
    end: usize,
    /// Index in the batch of the run's first event.
    first: u32,
    events: u32,
    hash: Hash,
}

impl Run {
    /// The stream of its events.
    pub fn stream(&self) -> &StreamName {
        &self.stream
    }

    /// Where its lines lie in the batch.
    pub fn lines(&self) -> Range<usize> {
        self.at + HEADER_BYTES..self.end
    }

    /// Index in the batch of its first event.
    pub fn first(&self) -> u32 {
        self.first
    }

    /// How many events it has.
    pub fn events(&self) -> u32 {
        self.events
    }

    /// SHA-256 of the run's header, once sealed.
    pub fn hash(&self) -> &Hash {
        &self.hash
    }
}

/// A point to which [`Batch::rollback`] returns.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    len: usize,
    runs: usize,
    last: Option<(usize, u32)>,
    events: u32,
}

/// What the headers of a sealed batch say beside what the batch knows itself.
#[derive(Clone, Copy, Debug)]
pub struct Seal {
    /// Shard that owns the chain.
    pub shard: u32,
    /// Sequence number of the batch's first event.
    pub seq: u64,
    /// Number of the commit, from 1.
    pub commit: u64,
    /// Unix time in milliseconds.
    pub time_ms: u64,
    /// Random id of the file that takes it.
    pub file: u64,
    /// Hash of the header before.
    pub prev: Hash,
}

/// Events on their way to one commit.
pub struct Batch<M> {
    arena: M,
    len: usize,
    runs: Vec<Run>,
    events: u32,
    opened_ns: u64,
    /// What became of its events, where they do not all come to the same.
    fates: Fates,
    /// The checksum of the newest run, as far as it was taken ahead of the seal.
    sum: Sum,
}

/// Fewest bytes of an event: `{}` and its line end.
const EVENT_BYTES_MIN: usize = 3;

impl<M: Memory> Batch<M> {
    /// An empty batch over `arena`, whose length is a multiple of the block.
    pub fn new(arena: M) -> Batch<M> {
        Batch::with_fates(arena, 0)
    }

    /// The same for events that may come to different ends: a byte for each that the arena can hold is reserved,
    /// and touched only when something fails.
    pub fn in_parts(arena: M) -> Batch<M> {
        let events_max = Batch::<M>::events_max(arena.bytes().len());
        Batch::with_fates(arena, events_max)
    }

    /// Events that an arena of so many bytes can hold.
    pub const fn events_max(arena_bytes: usize) -> usize {
        arena_bytes / EVENT_BYTES_MIN
    }

    fn with_fates(arena: M, events_max: usize) -> Batch<M> {
        assert!(arena.bytes().len().is_multiple_of(BLOCK_BYTES), "an arena is whole blocks");
        let (runs, fates) = (Vec::with_capacity(RUNS_MAX), Fates::with_capacity(events_max));
        Batch { arena, len: 0, runs, events: 0, opened_ns: 0, fates, sum: Sum::new() }
    }

    /// What became of its events.
    pub fn fates(&self) -> &Fates {
        &self.fates
    }

    /// What became of its events, to be noted.
    pub fn fates_mut(&mut self) -> &mut Fates {
        &mut self.fates
    }

    /// Its runs, in the order of their events.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Events in it.
    pub fn events(&self) -> u32 {
        self.events
    }

    /// Bytes in it, headers included, padding not.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// When its first event came (nanoseconds); meaningless while empty.
    pub fn opened_ns(&self) -> u64 {
        self.opened_ns
    }

    /// Index of the newest run.
    pub fn newest_run(&self) -> usize {
        self.runs.len().saturating_sub(1)
    }

    /// A run by its index.
    pub fn run(&self, index: usize) -> &Run {
        &self.runs[index]
    }

    /// Whether a request whose body is `body_bytes` long is sure to fit: an event and its line end never
    /// take more than its share of the body, save the last line's end.
    pub fn has_room(&self, body_bytes: usize) -> bool {
        self.runs.len() < RUNS_MAX && self.len + HEADER_BYTES + body_bytes < self.capacity()
    }

    /// Bytes it takes at most; one block stays free for the padding.
    pub fn capacity(&self) -> usize {
        self.arena.bytes().len() - BLOCK_BYTES
    }

    /// Remembers this point, for one request that may have to be undone.
    pub fn mark(&self) -> Mark {
        let last = self.runs.last().map(|run| (run.end, run.events));
        Mark { len: self.len, runs: self.runs.len(), last, events: self.events }
    }

    /// Forgets all that came after `mark`.
    pub fn rollback(&mut self, mark: Mark) {
        self.runs.truncate(mark.runs);
        if let (Some(run), Some((end, events))) = (self.runs.last_mut(), mark.last) {
            run.end = end;
            run.events = events;
        }
        self.len = mark.len;
        self.events = mark.events;
        self.sum.cut(self.len);
    }

    /// Copies one event in, followed by a line end. With `breaks`, raw line breaks between its tokens
    /// become spaces, so that it stays one line of the same length.
    ///
    /// # Errors
    /// There is no room for it.
    #[inline]
    pub fn append(
        &mut self,
        stream: &StreamName,
        event: &[u8],
        breaks: bool,
        now_ns: u64,
    ) -> Result<(), Full> {
        self.append_as(stream, None, &[], event, 1, breaks, now_ns)
    }

    /// Copies `events` events in at once, each but the last followed by one line end already, and none with line
    /// breaks between its tokens.
    ///
    /// # Errors
    /// There is no room for all of them.
    #[inline]
    pub fn append_run(
        &mut self,
        stream: &StreamName,
        run: &[u8],
        events: u32,
        now_ns: u64,
    ) -> Result<(), Full> {
        self.append_as(stream, None, &[], run, events, false, now_ns)
    }

    /// One event as [`Batch::append`], with a key, which must fit into its header: see [`RunKey::fits`].
    ///
    /// # Errors
    /// There is no room for it.
    #[inline]
    pub fn append_keyed(
        &mut self,
        stream: &StreamName,
        key: Option<&[u8]>,
        event: &[u8],
        breaks: bool,
        now_ns: u64,
    ) -> Result<(), Full> {
        self.append_as(stream, key, &[], event, 1, breaks, now_ns)
    }

    /// One event as [`Batch::append`], behind `lead`, which ends in a line end of its own.
    ///
    /// # Errors
    /// There is no room for both.
    #[inline]
    pub fn append_behind(
        &mut self,
        lead: &[u8],
        stream: &StreamName,
        event: &[u8],
        breaks: bool,
        now_ns: u64,
    ) -> Result<(), Full> {
        self.append_as(stream, None, lead, event, 1, breaks, now_ns)
    }

    #[inline]
    #[allow(clippy::too_many_arguments, reason = "an event with all that may stand around it")]
    fn append_as(
        &mut self,
        stream: &StreamName,
        key: Option<&[u8]>,
        lead: &[u8],
        event: &[u8],
        events: u32,
        breaks: bool,
        now_ns: u64,
    ) -> Result<(), Full> {
        let same = self.runs.last().is_some_and(|run| run.stream == *stream && self.key_of(run) == key);
        let header = if same { 0 } else { HEADER_BYTES };
        let bytes = lead.len() + event.len() + 1;
        if self.len + header + bytes > self.capacity() || (!same && self.runs.len() == RUNS_MAX) {
            return Err(Full);
        }
        if self.events == 0 {
            self.opened_ns = now_ns;
        }
        if !same {
            self.begin_run(stream, key);
        }
        let to = &mut self.arena.bytes_mut()[self.len..self.len + bytes];
        let (front, to) = to.split_at_mut(lead.len());
        front.copy_from_slice(lead);
        let (line, end) = to.split_at_mut(event.len());
        line.copy_from_slice(event);
        end[0] = b'\n';
        if breaks {
            line.iter_mut().filter(|byte| matches!(**byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        }
        self.len += bytes;
        self.events += events;
        if let Some(run) = self.runs.last_mut() {
            run.end = self.len;
            run.events += events;
        }
        Ok(())
    }

    fn key_of(&self, run: &Run) -> Option<&[u8]> {
        run.key.map(|len| &self.arena.bytes()[run.at..run.at + usize::from(len)])
    }

    fn begin_run(&mut self, stream: &StreamName, key: Option<&[u8]>) {
        let (at, first) = (self.len, self.events);
        let key = key.map(|key| {
            debug_assert!(key.len() <= RunKey::BYTES_MAX, "no header holds it");
            let len = key.len().min(RunKey::BYTES_MAX);
            self.arena.bytes_mut()[at..at + len].copy_from_slice(&key[..len]);
            len as u8
        });
        let end = at + HEADER_BYTES;
        self.runs.push(Run { stream: *stream, key, at, end, first, events: 0, hash: Hash::ZERO });
        self.len = end;
    }

    /// Takes the checksum of what has come to the newest run since the last time, while its bytes are still in the
    /// cache: less is left to [`Batch::seal`], for which the device waits.
    #[inline]
    pub fn sum_ahead(&mut self) {
        if let Some(run) = self.runs.last() {
            self.sum.advance(self.arena.bytes(), self.runs.len() - 1, run.lines());
        }
    }

    /// Writes the headers and the padding. Returns the hash of the last header and the length to write.
    pub fn seal(&mut self, seal: &Seal) -> (Hash, usize) {
        let mut prev = seal.prev;
        let runs = self.runs.len();
        for (index, run) in self.runs.iter_mut().enumerate() {
            let arena = self.arena.bytes_mut();
            let body = &arena[run.at + HEADER_BYTES..run.end];
            let crc32c = self.sum.of(arena, index, run.lines());
            let header = Header {
                shard: seal.shard,
                stream: run.stream,
                key: run.key.and_then(|len| RunKey::new(&arena[run.at..run.at + usize::from(len)])),
                seq: seal.seq + u64::from(run.first),
                events: run.events,
                bytes: body.len() as u32,
                commit: seal.commit,
                left: (runs - 1 - index) as u32,
                time_ms: seal.time_ms,
                file: seal.file,
                crc32c,
                prev,
            };
            let place = arena[run.at..].first_chunk_mut::<HEADER_BYTES>().expect("room was kept for it");
            header.encode(place);
            prev = Hash::of(place);
            run.hash = prev;
        }
        (prev, pad_to_block(self.arena.bytes_mut(), self.len))
    }

    /// The sealed bytes.
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.arena.bytes()[range]
    }

    /// Empties it for the next batch.
    pub fn clear(&mut self) {
        self.len = 0;
        self.events = 0;
        self.runs.clear();
        self.fates.clear();
        self.sum.clear();
    }
}

/// Fills `arena` from `len` to the next block boundary with line ends; returns that boundary.
pub fn pad_to_block(arena: &mut [u8], len: usize) -> usize {
    let end = len.next_multiple_of(BLOCK_BYTES);
    arena[len..end].fill(b'\n');
    end
}
