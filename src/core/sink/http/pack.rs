//! A commit's lines as the bodies of requests: which lines go into which request, without moving any.
use super::target::Preset;
use crate::batch::{Batch, RUNS_MAX};
use crate::memory::Memory;
use crate::segment::header::StreamName;
use alloc::vec::Vec;
use core::ops::Range;
use memchr::{memchr, memchr_iter, memrchr};

/// Requests that are cut in two, over one commit. What is refused beyond that is refused as a whole.
pub(super) const SPLITS_MAX: usize = 64;

/// Lines of one commit that follow each other, in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where in the batch they begin.
    pub at: usize,
    /// Their bytes.
    pub len: usize,
    /// Index in the commit of the first event.
    pub first: u32,
    /// How many events they are.
    pub events: u32,
}

impl Piece {
    /// Where in the batch they lie.
    pub fn bytes(&self) -> Range<usize> {
        self.at..self.at + self.len
    }

    /// Which events of the commit they are.
    pub fn range(&self) -> Range<u32> {
        self.first..self.first + self.events
    }
}

/// What one request carries.
#[derive(Clone, Copy, Debug)]
pub struct Parcel {
    pub(super) pieces: (u32, u32),
    pub(super) stream: StreamName,
    /// Events in it.
    pub events: u32,
    /// Bytes of its body, uncompressed.
    pub bytes: u64,
    /// Some of its events are done with: the body is the rest.
    pub partial: bool,
}

/// The parcels of one commit.
pub(super) struct Packing {
    pub parcels: Vec<Parcel>,
    pieces: Vec<Piece>,
    order: Vec<u16>,
    splits: usize,
    batch_bytes: usize,
    by_stream: bool,
    lines_per_event: usize,
}

/// Most parcels of one commit.
pub(super) const fn parcels_max(arena_bytes: usize, batch_bytes: usize) -> usize {
    // Two neighbours of one stream hold more than one batch's bytes together.
    RUNS_MAX + 2 * (arena_bytes / batch_bytes) + 2 + SPLITS_MAX
}

/// Most pieces of one commit, those of parcels that were cut in two included.
const fn pieces_max(arena_bytes: usize, batch_bytes: usize) -> usize {
    parcels_max(arena_bytes, batch_bytes) + 2 * RUNS_MAX
}

/// Bytes of its tables.
pub(super) const fn table_bytes(arena_bytes: usize, batch_bytes: usize) -> usize {
    parcels_max(arena_bytes, batch_bytes) * size_of::<Parcel>()
        + pieces_max(arena_bytes, batch_bytes) * size_of::<Piece>()
        + RUNS_MAX * size_of::<u16>()
}

impl Packing {
    pub fn new(arena_bytes: usize, batch_bytes: usize, by_stream: bool, preset: Preset) -> Packing {
        Packing {
            parcels: Vec::with_capacity(parcels_max(arena_bytes, batch_bytes)),
            pieces: Vec::with_capacity(pieces_max(arena_bytes, batch_bytes)),
            order: Vec::with_capacity(RUNS_MAX),
            splits: 0,
            batch_bytes,
            by_stream,
            lines_per_event: if preset.is_bulk() { 2 } else { 1 },
        }
    }

    pub fn pieces(&self, parcel: &Parcel) -> &[Piece] {
        &self.pieces[parcel.pieces.0 as usize..parcel.pieces.1 as usize]
    }

    /// Sorts a commit's lines into parcels, in the order of the events; streams apart if each has a path of its own.
    pub fn pack<M: Memory>(&mut self, batch: &Batch<M>) {
        self.parcels.clear();
        self.pieces.clear();
        self.order.clear();
        self.splits = 0;
        let runs = batch.runs();
        self.order.extend(0..runs.len() as u16);
        if self.by_stream {
            let key = |at: &u16| (*runs[usize::from(*at)].stream(), *at);
            self.order.sort_unstable_by(|a, b| {
                let ((left, at), (right, to)) = (key(a), key(b));
                left.as_bytes().cmp(right.as_bytes()).then(at.cmp(&to))
            });
        }
        for at in 0..runs.len() {
            let run = &runs[usize::from(self.order[at])];
            let lines = run.lines();
            let mut piece =
                Piece { at: lines.start, len: lines.len(), first: run.first(), events: run.events() };
            while piece.len > self.batch_bytes {
                let (len, events) = self.front(batch.bytes(piece.bytes()), self.batch_bytes);
                if len == piece.len {
                    break;
                }
                self.add(run.stream(), Piece { len, events, ..piece });
                piece = Piece {
                    at: piece.at + len,
                    len: piece.len - len,
                    first: piece.first + events,
                    events: piece.events - events,
                };
            }
            self.add(run.stream(), piece);
        }
    }

    /// Puts a piece into the newest parcel, or a new one.
    fn add(&mut self, stream: &StreamName, piece: Piece) {
        let at = self.pieces.len() as u32;
        self.pieces.push(piece);
        let (by_stream, max) = (self.by_stream, self.batch_bytes as u64);
        let joins = |parcel: &&mut Parcel| {
            (!by_stream || parcel.stream == *stream) && parcel.bytes + piece.len as u64 <= max
        };
        match self.parcels.last_mut().filter(joins) {
            Some(parcel) => {
                parcel.pieces.1 += 1;
                parcel.events += piece.events;
                parcel.bytes += piece.len as u64;
            }
            None => self.parcels.push(Parcel {
                pieces: (at, at + 1),
                stream: *stream,
                events: piece.events,
                bytes: piece.len as u64,
                partial: false,
            }),
        }
    }

    /// The whole events at the front of `lines`, as many as `max` bytes hold and one at least.
    fn front(&self, lines: &[u8], max: usize) -> (usize, u32) {
        if self.lines_per_event == 1 {
            let end = memrchr(b'\n', &lines[..max.min(lines.len())]).or_else(|| memchr(b'\n', lines));
            let len = end.map_or(lines.len(), |end| end + 1);
            return (len, memchr_iter(b'\n', &lines[..len]).count() as u32);
        }
        let mut taken = (0, 0);
        for event in events_in(lines, self.lines_per_event) {
            if event.end > max && taken.1 > 0 {
                break;
            }
            taken = (event.end, taken.1 + 1);
        }
        taken
    }

    /// Each event of a piece: its index in the commit, and where its lines lie, an action line before it and its
    /// line end included.
    pub fn events<'a, M: Memory>(
        &self,
        piece: &Piece,
        batch: &'a Batch<M>,
    ) -> impl Iterator<Item = (u32, &'a [u8])> + use<'a, M> {
        let lines = batch.bytes(piece.bytes());
        let events = events_in(lines, self.lines_per_event).map(move |range| &lines[range]);
        (piece.first..).zip(events)
    }

    /// Cuts a parcel of several events in two: the first half in its place, the second behind all others, whose
    /// index is returned. `None`: there is no room for more, and nothing has changed.
    pub fn split<M: Memory>(&mut self, at: usize, batch: &Batch<M>) -> Option<usize> {
        let parcel = self.parcels[at];
        let (from, to) = (parcel.pieces.0 as usize, parcel.pieces.1 as usize);
        let room = self.pieces.len() + (to - from) + 2 <= self.pieces.capacity();
        if parcel.events < 2
            || self.splits == SPLITS_MAX
            || !room
            || self.parcels.len() == self.parcels.capacity()
        {
            return None;
        }
        self.splits += 1;
        let half = parcel.events / 2;
        let start = self.pieces.len() as u32;
        let (mut events, mut bytes, mut middle) = (0, 0, start);
        for index in from..to {
            let piece = self.pieces[index];
            let wanted = half.saturating_sub(events).min(piece.events);
            let len = self.len_of(wanted, batch.bytes(piece.bytes()));
            let front = Piece { len, events: wanted, ..piece };
            let back = Piece {
                at: piece.at + len,
                len: piece.len - len,
                first: piece.first + wanted,
                events: piece.events - wanted,
            };
            for part in [front, back].into_iter().filter(|part| part.events > 0) {
                self.pieces.push(part);
            }
            middle += u32::from(wanted > 0);
            (events, bytes) = (events + wanted, bytes + len as u64);
        }
        let end = self.pieces.len() as u32;
        self.parcels[at] = Parcel { pieces: (start, middle), events: half, bytes, ..parcel };
        let rest = Parcel {
            pieces: (middle, end),
            events: parcel.events - half,
            bytes: parcel.bytes - bytes,
            ..parcel
        };
        self.parcels.push(rest);
        Some(self.parcels.len() - 1)
    }

    /// Bytes of so many events at the front of `lines`.
    fn len_of(&self, events: u32, lines: &[u8]) -> usize {
        match events {
            0 => 0,
            _ => events_in(lines, self.lines_per_event)
                .nth(events as usize - 1)
                .map_or(lines.len(), |range| range.end),
        }
    }
}

/// Where the events lie in `lines`, each with its line ends.
fn events_in(lines: &[u8], lines_per_event: usize) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    core::iter::from_fn(move || {
        let start = at;
        for _ in 0..lines_per_event {
            at += memchr(b'\n', &lines[at..])? + 1;
        }
        Some(start..at)
    })
}

#[cfg(test)]
#[path = "tests/pack.rs"]
mod tests;
