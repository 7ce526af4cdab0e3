//! Everything that one commit takes along: two of them in a shard, one filling, one in flight; with a spill two more.
use super::ConnId;
use super::admit::NoRoom;
use crate::ack::Ack;
use crate::batch::store::{Layout, Store};
use crate::memory::Memory;
use crate::sink::quarantine::Refused;
use alloc::vec::Vec;

/// Runs of lines in one commit that goes out in parts, over all connections; more wait for the next commit. 32 bytes each.
pub(super) const SPANS_MAX: usize = 4096;

/// Events of one connection's lines that lie next to each other in such a commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub conn: ConnId,
    /// Index in the commit of the first.
    pub first: u32,
    pub events: u32,
    /// Line of the first, if each line since then is one of these events.
    pub line: Option<u64>,
}

/// Everything that one commit takes along.
pub(super) struct Bay<M> {
    pub batch: Store<M>,
    pub refused: Refused<M>,
    /// Refused events in `refused`.
    pub kept: u32,
    /// Connections that wait for its ticket; each at most once.
    pub waiters: Vec<ConnId>,
    /// The strongest level that anybody waits for.
    pub wants: Ack,
    pub wants_written: bool,
    pub requests: u32,
    /// Whose lines lie where, while a part of a commit may fail.
    pub spans: Vec<Span>,
    /// Its events are replayed: what becomes of them is noted.
    pub replays: bool,
}

impl<M: Memory> Bay<M> {
    pub fn new(
        layout: Layout,
        arena_bytes: usize,
        refused_bytes: usize,
        connections_max: usize,
        memory: &mut impl FnMut(usize) -> M,
    ) -> Bay<M> {
        let batch = Store::new(layout, arena_bytes, memory);
        let spans = if batch.is_in_parts() { SPANS_MAX } else { 0 };
        Bay {
            batch,
            refused: Refused::new(memory(refused_bytes)),
            kept: 0,
            waiters: Vec::with_capacity(connections_max),
            wants: Ack::Accepted,
            wants_written: false,
            requests: 0,
            spans: Vec::with_capacity(spans),
            replays: false,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.refused.entries() == 0
    }

    pub fn clear(&mut self) {
        self.batch.clear();
        self.refused.clear();
        self.waiters.clear();
        self.spans.clear();
        (self.kept, self.wants, self.wants_written, self.requests) = (0, Ack::Accepted, false, 0);
        self.replays = false;
    }

    /// Why a body did not fit: an empty batch that does not hold it, though it holds any body of plain lines, never
    /// will.
    pub fn no_room(&self) -> NoRoom {
        match self.batch.is_in_parts() && self.batch.is_empty() {
            true => NoRoom::Never,
            false => NoRoom::Later,
        }
    }
}
