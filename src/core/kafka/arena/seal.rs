//! From records to batches that are ready to be sent, and to halves of them.
use super::{Ahead, Batch, NONE, RecordArena, Run, Slot};
use crate::kafka::batch::{BatchHeader, HEADER_BYTES, Stamp, length_at, renumber};
use crate::kafka::compress::{Codec, Compress};
use crate::memory::Memory;

/// Where the records of a batch are sent from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    second: bool,
    at: u32,
    bytes: u32,
    codec: Codec,
}

impl Place {
    pub(super) const UNSEALED: Place = Place { second: false, at: 0, bytes: 0, codec: Codec::None };
}

/// One batch of a sealed arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedBatch {
    /// What it is asked for by.
    pub slot: Slot,
    /// The dense index that its events were appended with.
    pub partition: u32,
    /// Records in it, from 1.
    pub records: u32,
    /// Bytes as sent, header included.
    pub bytes: u32,
    /// Bytes of its records before compression.
    pub raw_bytes: u32,
    /// How its records are compressed; none if that would not have made them shorter.
    pub codec: Codec,
    /// Index in the commit of its first event.
    pub first_event: u32,
}

impl<M: Memory> RecordArena<M> {
    /// Freezes the records: compresses or gathers those that are not sent from where they lie. All
    /// batches have the compressor's codec, save those that it does not make shorter. Nothing may be appended
    /// or rolled back from here to `clear`.
    pub fn seal(&mut self, mut compressor: Option<&mut dyn Compress>) {
        self.batches.iter_mut().for_each(|batch| batch.first_run = NONE);
        for index in (0..self.runs.len()).rev() {
            let run = &mut self.runs[index];
            let batch = &mut self.batches[run.slot as usize];
            run.next = batch.first_run;
            // The last one seen is the first, and overwrites.
            let largest = if run.next == NONE { run.max_timestamp_ms } else { batch.max_timestamp_ms };
            batch.max_timestamp_ms = largest.max(run.max_timestamp_ms);
            batch.first_run = index as u32;
        }
        // Then each region is opposite to the batch's only run.
        let whole = self.runs.len() == self.batches.len();
        let mut region = 0;
        for slot in 0..self.batches.len() {
            self.batches[slot].region = region;
            region += self.batches[slot].bytes;
            if !(whole && self.finish_ahead(slot, &mut compressor)) {
                // What lies behind may be frames that were begun.
                let end = if whole { region as usize } else { self.second.bytes().len() };
                self.place(slot, end, &mut compressor);
            }
        }
    }

    /// Compresses what the newest run has of whole blocks, if it is its batch's only one. To be called between requests,
    /// not between `mark` and `rollback`, and with the compressor that `seal` is given.
    pub fn compress_ahead(&mut self, compressor: &mut dyn Compress) {
        let (Some(block), Some(run)) = (compressor.block_bytes(), self.runs.last()) else { return };
        let batch = &mut self.batches[run.slot as usize];
        let blocks = (run.bytes - batch.ahead.raw.min(run.bytes)) / block as u32 * block as u32;
        if blocks == 0 || batch.bytes != run.bytes || batch.ahead.vain {
            return;
        }
        let (at, raw) = (run.at as usize, (run.at + batch.ahead.raw) as usize);
        let raw = &self.first.bytes()[raw..raw + blocks as usize];
        let out = &mut self.second.bytes_mut()[at..at + run.bytes as usize];
        match compressor.go_on(raw, false, out, batch.ahead.made as usize) {
            Some(made) => (batch.ahead.raw, batch.ahead.made) = (batch.ahead.raw + blocks, made as u32),
            None => batch.ahead.vain = true,
        }
    }

    /// Ends the frame that was begun for a batch. False: there is none, or it would not be shorter.
    fn finish_ahead(&mut self, slot: usize, compressor: &mut Option<&mut dyn Compress>) -> bool {
        let batch = &mut self.batches[slot];
        let (Some(compressor), false) = (compressor, batch.ahead.made == 0 || batch.ahead.vain) else {
            return false;
        };
        let run = &self.runs[batch.first_run as usize];
        debug_assert!(run.at == batch.region && run.bytes == batch.bytes && batch.ahead.raw <= run.bytes);
        let (at, end) = (run.at as usize, (run.at + run.bytes) as usize);
        let rest = &self.first.bytes()[at + batch.ahead.raw as usize..end];
        let out = &mut self.second.bytes_mut()[at..end];
        let Some(made) = compressor.go_on(rest, true, out, batch.ahead.made as usize) else { return false };
        let codec = compressor.codec();
        batch.place = Place { second: true, at: batch.region, bytes: made as u32, codec };
        true
    }

    /// The batches' slots, in the order of [`RecordArena::batches`], without borrowing the arena.
    pub fn slots(&self) -> impl ExactSizeIterator<Item = Slot> + use<M> {
        (0..self.batches.len() as u32).map(Slot)
    }

    /// The batches, in the order of their first events; halves of a split one at the end.
    pub fn batches(&self) -> impl ExactSizeIterator<Item = SealedBatch> + '_ {
        self.slots().map(|slot| self.batch(slot))
    }

    /// One batch.
    pub fn batch(&self, slot: Slot) -> SealedBatch {
        let batch = &self.batches[slot.0 as usize];
        SealedBatch {
            slot,
            partition: batch.partition,
            records: batch.records,
            bytes: HEADER_BYTES as u32 + batch.place.bytes,
            raw_bytes: batch.bytes,
            codec: batch.place.codec,
            first_event: self.runs[batch.first_run as usize].first_event,
        }
    }

    /// Writes the header of a batch, with the checksum. Not while any of it is in flight, and after a batch was
    /// sent only if its outcome is known and the next attempt is a new one.
    pub fn stamp(&mut self, slot: Slot, stamp: Stamp) {
        let batch = &self.batches[slot.0 as usize];
        let header = BatchHeader {
            first_timestamp_ms: batch.first_timestamp_ms,
            max_timestamp_ms: batch.max_timestamp_ms,
            records: batch.records,
            codec: batch.place.codec,
            stamp,
        };
        let block = if batch.place.second { self.second.bytes() } else { self.first.bytes() };
        let at = batch.place.at as usize;
        let records = &block[at..at + batch.place.bytes as usize];
        header.encode(&mut self.headers[slot.0 as usize], records);
    }

    /// A stamped batch as it is sent: its header, and its records behind. They stay where they are until
    /// `clear`, or `split` of this slot.
    pub fn batch_bytes(&self, slot: Slot) -> (&[u8], &[u8]) {
        let place = &self.batches[slot.0 as usize].place;
        let block = if place.second { self.second.bytes() } else { self.first.bytes() };
        let at = place.at as usize;
        (&self.headers[slot.0 as usize], &block[at..at + place.bytes as usize])
    }

    /// Index in the commit of the event that is the batch's record number `record`, from 0; `None` if it has
    /// not so many. Takes as long as the batch has runs.
    pub fn locate(&self, slot: Slot, record: u32) -> Option<u32> {
        let mut left = record;
        let runs = self.runs_of(slot.0 as usize);
        let found = runs.into_iter().find(|run| {
            let here = left < run.records;
            if !here {
                left -= run.records;
            }
            here
        });
        found.map(|run| run.first_event + left)
    }

    /// Makes two batches of one that a broker found too large, each with half of the records: the first under
    /// the same slot, to be sent first, and the second under a new one. Both have to be stamped. `None`, and
    /// nothing happened, if it is of one record, or the commit had all its splits.
    pub fn split(&mut self, slot: Slot, mut compressor: Option<&mut dyn Compress>) -> Option<(Slot, Slot)> {
        let whole = self.batches[slot.0 as usize];
        if whole.records < 2 || self.batches.len() == self.headers.len() {
            return None;
        }
        let (first, second) = (slot.0 as usize, self.batches.len());
        let kept = whole.records / 2;
        let tail = self.cut(first, kept, second as u32)?;
        let (kept_bytes, kept_max) = self.total(whole.first_run);
        let (bytes, max) = self.total(tail);
        let region = whole.region + kept_bytes;
        let whole = Batch { ahead: Ahead::NONE, ..whole };
        let half = Batch { records: kept, bytes: kept_bytes, max_timestamp_ms: kept_max, ..whole };
        self.batches[first] = half;
        let records = whole.records - kept;
        self.batches.push(Batch { records, bytes, max_timestamp_ms: max, first_run: tail, region, ..whole });
        self.place(first, region as usize, &mut compressor);
        self.place(second, (region + bytes) as usize, &mut compressor);
        Some((slot, Slot(second as u32)))
    }
}

impl<M: Memory> RecordArena<M> {
    pub(super) fn runs_of(&self, slot: usize) -> Chain<'_> {
        Chain { runs: &self.runs, at: self.batches[slot].first_run }
    }

    /// Decides where a batch is sent from and brings its records there. What lies in the second block from its
    /// region up to `end` may be scribbled on.
    fn place(&mut self, slot: usize, end: usize, compressor: &mut Option<&mut dyn Compress>) {
        let batch = &self.batches[slot];
        let first = self.first.bytes();
        let chain = Chain { runs: &self.runs, at: batch.first_run };
        let mut pieces = chain.map(|run| &first[run.at as usize..(run.at + run.bytes) as usize]);
        let out = &mut self.second.bytes_mut()[batch.region as usize..end];
        let mut place = Place { second: true, at: batch.region, bytes: batch.bytes, codec: Codec::None };
        let compressed = compressor.as_mut().and_then(|compressor| {
            let len = compressor.compress(&mut pieces.clone(), out, batch.bytes as usize)?;
            Some((len as u32, compressor.codec()))
        });
        let run = &self.runs[batch.first_run as usize];
        match compressed {
            Some((bytes, codec)) => (place.bytes, place.codec) = (bytes, codec),
            None if run.next == NONE => (place.second, place.at) = (false, run.at),
            None => {
                let mut at = 0;
                for piece in &mut pieces {
                    out[at..at + piece.len()].copy_from_slice(piece);
                    at += piece.len();
                }
            }
        }
        self.batches[slot].place = place;
    }

    /// Ends the chain of a batch behind `kept` of its records, gives the runs behind to `to` and numbers their
    /// records from 0. Returns the first of those runs; `None` if the table of runs is full.
    fn cut(&mut self, slot: usize, kept: u32, to: u32) -> Option<u32> {
        let (mut before, mut at, mut left) = (NONE, self.batches[slot].first_run, kept);
        while left >= self.runs[at as usize].records {
            left -= self.runs[at as usize].records;
            (before, at) = (at, self.runs[at as usize].next);
        }
        let tail = match left {
            0 => at,
            _ => self.cut_run(at, left)?,
        };
        let last_kept = if left == 0 { before } else { at };
        self.runs[last_kept as usize].next = NONE;
        let (mut next, mut number) = (tail, 0);
        while next != NONE {
            self.runs[next as usize].slot = to;
            self.renumber(next, number, self.batches[slot].first_timestamp_ms);
            number += self.runs[next as usize].records;
            next = self.runs[next as usize].next;
        }
        if left > 0 {
            self.renumber(at, kept - left, self.batches[slot].first_timestamp_ms);
        }
        Some(tail)
    }

    /// Makes two runs of one, the first of `records` records; returns the second.
    fn cut_run(&mut self, index: u32, records: u32) -> Option<u32> {
        if self.runs.len() == self.limits.runs as usize + self.limits.splits as usize {
            return None;
        }
        let second = self.runs.len() as u32;
        let run = &mut self.runs[index as usize];
        let block = self.first.bytes();
        let bytes = (0..records).fold(0, |at, _| at + length_at(&block[run.at as usize + at..])) as u32;
        let rest = Run {
            at: run.at + bytes,
            bytes: run.bytes - bytes,
            records: run.records - records,
            first_event: run.first_event + records,
            ..*run
        };
        (run.bytes, run.records, run.next) = (bytes, records, second);
        self.runs.push(rest);
        Some(second)
    }

    /// Numbers the records of a run from `first`, and looks their times up again.
    fn renumber(&mut self, index: u32, first: u32, base_timestamp_ms: i64) {
        let run = &mut self.runs[index as usize];
        let records = &mut self.first.bytes_mut()[run.at as usize..(run.at + run.bytes) as usize];
        let renumbered = renumber(records, first, base_timestamp_ms);
        (run.bytes, run.max_timestamp_ms) = (renumbered.0 as u32, renumbered.1);
    }

    /// Bytes of a chain of runs, and the largest of their timestamps.
    fn total(&self, first_run: u32) -> (u32, i64) {
        let chain = Chain { runs: &self.runs, at: first_run };
        chain.fold((0, i64::MIN), |(bytes, max), run| (bytes + run.bytes, max.max(run.max_timestamp_ms)))
    }
}

/// The runs of one batch.
#[derive(Clone)]
pub(super) struct Chain<'a> {
    runs: &'a [Run],
    at: u32,
}

impl<'a> Iterator for Chain<'a> {
    type Item = &'a Run;

    fn next(&mut self) -> Option<&'a Run> {
        let run = self.runs.get(self.at as usize)?;
        self.at = run.next;
        Some(run)
    }
}
