//! What a commit's events are laid out as: lines for segments, records for Kafka.
//!
//! An enum and not a parameter of the engine: which one it is follows from the configuration, and the one branch
//! for each event is always taken the same way. Callers that do different things with the two match on it.
use super::fate::Fates;
use super::{Batch, Full, Mark};
use crate::kafka::arena::{self, ArenaLimits, RecordArena};
use crate::memory::Memory;

/// Which layout a sink wants.
#[derive(Clone, Copy, Debug)]
pub enum Layout {
    /// [`Batch`]: one event a line.
    Lines,
    /// The same, for events that may come to different ends.
    Parcels,
    /// [`Records`], within these limits.
    Records(ArenaLimits),
}

/// The events of one commit.
#[allow(clippy::large_enum_variant)]
pub enum Store<M> {
    /// As segments hold them.
    Lines(Batch<M>),
    /// As Kafka takes them.
    Records(Records<M>),
}

/// Kafka's records, when the first came, and what became of them.
pub struct Records<M> {
    /// The records.
    pub arena: RecordArena<M>,
    /// Which of them failed, once they were sent.
    pub fates: Fates,
    opened_ns: u64,
    /// Of the newest `mark`: larger than what a request should carry about.
    mark: Option<arena::Mark>,
}

/// A point to which [`Store::rollback`] returns.
#[derive(Clone, Copy, Debug)]
pub enum StoreMark {
    /// Of lines.
    Lines(Mark),
    /// Of records, which remember the newest themselves.
    Records,
}

/// Fewest bytes of a record: seven of framing around `{}`.
const RECORD_BYTES_MIN: usize = 9;

impl<M: Memory> Records<M> {
    /// None yet, over two blocks of the same length.
    pub fn new(first: M, second: M, limits: ArenaLimits) -> Records<M> {
        let events_max = first.bytes().len() / RECORD_BYTES_MIN + 1;
        Records {
            arena: RecordArena::new(first, second, limits),
            fates: Fates::with_capacity(events_max),
            opened_ns: 0,
            mark: None,
        }
    }

    /// Bytes that it takes beside its two blocks of `block_bytes` each; those for fates are only address space until
    /// something fails.
    pub const fn table_bytes(limits: &ArenaLimits, block_bytes: usize) -> usize {
        RecordArena::<M>::table_bytes(limits) + block_bytes / RECORD_BYTES_MIN + 1
    }

    /// Notes the time of the first event; before each `append` to the arena.
    #[inline]
    pub fn note_time(&mut self, now_ns: u64) {
        if self.arena.is_empty() {
            self.opened_ns = now_ns;
        }
    }
}

macro_rules! either {
    ($self:ident, $lines:ident => $of_lines:expr, $records:ident => $of_records:expr) => {
        match $self {
            Store::Lines($lines) => $of_lines,
            Store::Records($records) => $of_records,
        }
    };
}

impl<M: Memory> Store<M> {
    /// An empty store; `memory` is called for one block of that length, or two for records.
    pub fn new(layout: Layout, bytes: usize, memory: &mut impl FnMut(usize) -> M) -> Store<M> {
        match layout {
            Layout::Lines => Store::Lines(Batch::new(memory(bytes))),
            Layout::Parcels => Store::Lines(Batch::in_parts(memory(bytes))),
            Layout::Records(limits) => Store::Records(Records::new(memory(bytes), memory(bytes), limits)),
        }
    }

    /// Events in it.
    #[inline]
    pub fn events(&self) -> u32 {
        either!(self, lines => lines.events(), records => records.arena.events())
    }

    /// Bytes in it.
    #[inline]
    pub fn len(&self) -> usize {
        either!(self, lines => lines.len(), records => records.arena.len())
    }

    /// Whether it holds nothing.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.events() == 0
    }

    /// When its first event came (nanoseconds); meaningless while empty.
    pub fn opened_ns(&self) -> u64 {
        either!(self, lines => lines.opened_ns(), records => records.opened_ns)
    }

    /// Bytes it takes at most.
    pub fn capacity(&self) -> usize {
        either!(self, lines => lines.capacity(), records => records.arena.capacity())
    }

    /// Index of the newest run of lines; 0 for records, which have no receipts.
    #[inline]
    pub fn newest_run(&self) -> usize {
        either!(self, lines => lines.newest_run(), _records => 0)
    }

    /// Whether a request whose body is `body_bytes` long is sure to fit (lines) or may well fit (records).
    #[inline]
    pub fn has_room(&self, body_bytes: usize) -> bool {
        either!(self, lines => lines.has_room(body_bytes), records => records.arena.has_room(body_bytes))
    }

    /// Remembers this point, for one request that may have to be undone.
    #[inline]
    pub fn mark(&mut self) -> StoreMark {
        match self {
            Store::Lines(lines) => StoreMark::Lines(lines.mark()),
            Store::Records(records) => {
                records.mark = Some(records.arena.mark());
                StoreMark::Records
            }
        }
    }

    /// Forgets all that came after `mark`, which is of this store and the newest.
    pub fn rollback(&mut self, mark: StoreMark) {
        match (self, mark) {
            (Store::Lines(lines), StoreMark::Lines(mark)) => lines.rollback(mark),
            (Store::Records(records), StoreMark::Records) => {
                if let Some(mark) = records.mark.take() {
                    records.arena.rollback(mark);
                }
            }
            _ => debug_assert!(false, "a mark of another store"),
        }
    }

    /// The lines; `None` if it holds records.
    #[inline]
    pub fn lines(&self) -> Option<&Batch<M>> {
        either!(self, lines => Some(lines), _records => None)
    }

    /// The lines, to change; `None` if it holds records.
    #[inline]
    pub fn lines_mut(&mut self) -> Option<&mut Batch<M>> {
        either!(self, lines => Some(lines), _records => None)
    }

    /// The records; `None` if it holds lines.
    #[inline]
    pub fn records(&self) -> Option<&Records<M>> {
        either!(self, _lines => None, records => Some(records))
    }

    /// The records, to change; `None` if it holds lines.
    #[inline]
    pub fn records_mut(&mut self) -> Option<&mut Records<M>> {
        either!(self, _lines => None, records => Some(records))
    }

    /// What became of its events, once they were sent.
    #[inline]
    pub fn fates(&self) -> &Fates {
        either!(self, lines => lines.fates(), records => &records.fates)
    }

    /// Whether each of its events may come to an end of its own.
    pub fn is_in_parts(&self) -> bool {
        either!(self, lines => lines.fates().has_room(), _records => true)
    }

    /// Empties it for the next commit.
    pub fn clear(&mut self) {
        match self {
            Store::Lines(lines) => lines.clear(),
            Store::Records(records) => {
                records.arena.clear();
                records.fates.clear();
            }
        }
    }
}

impl From<arena::Full> for Full {
    fn from(_: arena::Full) -> Full {
        Full
    }
}
