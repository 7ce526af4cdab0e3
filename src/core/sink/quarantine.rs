//! Refused bytes, verbatim, on their way to the quarantine file of a shard.
//!
//! Bounded on purpose: what does not fit is refused all the same, counted, and not kept. A failing
//! quarantine fails no request, for no reply promises it.
use crate::batch::pad_to_block;
use crate::memory::Memory;
use crate::segment::header::BLOCK_BYTES;
use crate::segment::quarantine::{Entry, QUARANTINE_HEADER_BYTES};
use alloc::vec::Vec;

/// Most entries between two commits; reserved at start.
pub const ENTRIES_MAX: usize = 4096;

#[derive(Clone, Copy, Debug)]
struct Kept {
    at: usize,
    length: u32,
    index: u32,
    offset: u32,
    reason: &'static str,
}

/// The refused events of one commit.
pub struct Refused<M> {
    arena: M,
    len: usize,
    kept: Vec<Kept>,
}

impl<M: Memory> Refused<M> {
    /// Empty, over an arena of whole blocks.
    pub fn new(arena: M) -> Refused<M> {
        assert!(arena.bytes().len().is_multiple_of(BLOCK_BYTES), "an arena is whole blocks");
        Refused { arena, len: 0, kept: Vec::with_capacity(ENTRIES_MAX) }
    }

    /// Entries held.
    pub fn entries(&self) -> usize {
        self.kept.len()
    }

    /// The one kept last: its bytes, its place (event, byte of the body), and why it was refused.
    pub fn newest(&self) -> Option<(&[u8], (u32, u32), &'static str)> {
        let Kept { at, length, index, offset, reason } = *self.kept.last()?;
        let start = at + QUARANTINE_HEADER_BYTES;
        Some((&self.arena.bytes()[start..start + length as usize], (index, offset), reason))
    }

    /// Keeps `bytes`; false when there is no room.
    pub fn append(&mut self, bytes: &[u8], index: u32, offset: u32, reason: &'static str) -> bool {
        let end = self.len + QUARANTINE_HEADER_BYTES + bytes.len() + 1;
        if end > self.arena.bytes().len() - BLOCK_BYTES || self.kept.len() == ENTRIES_MAX {
            return false;
        }
        let to = &mut self.arena.bytes_mut()[self.len + QUARANTINE_HEADER_BYTES..end];
        to[..bytes.len()].copy_from_slice(bytes);
        to[bytes.len()] = b'\n';
        self.kept.push(Kept { at: self.len, length: bytes.len() as u32, index, offset, reason });
        self.len = end;
        true
    }

    /// Forgets all but the first `entries`.
    pub fn rollback(&mut self, entries: usize) {
        if let Some(first) = self.kept.get(entries) {
            self.len = first.at;
            self.kept.truncate(entries);
        }
    }

    /// Bytes that [`Refused::seal`] will have to write.
    pub fn sealed_len(&self) -> usize {
        self.len.next_multiple_of(BLOCK_BYTES)
    }

    /// Writes headers and padding.
    pub fn seal(&mut self, shard: u32, file: u64, time_ms: u64) {
        for kept in &self.kept {
            let Kept { at, length, index, offset, reason } = *kept;
            let (before, bytes) = self.arena.bytes_mut().split_at_mut(at + QUARANTINE_HEADER_BYTES);
            let place = before[at..].first_chunk_mut().expect("room was kept for it");
            let entry = Entry { shard, reason, index, offset, length, time_ms, file };
            entry.encode(&bytes[..length as usize], place);
        }
        pad_to_block(self.arena.bytes_mut(), self.len);
    }

    /// The sealed bytes.
    pub fn bytes(&self, len: usize) -> &[u8] {
        &self.arena.bytes()[..len]
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.len = 0;
        self.kept.clear();
    }
}
