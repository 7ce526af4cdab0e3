//! Events of one shard on their way from its segments to the sink: what is read at once, and settled at once.
//!
//! A chunk knows where it begins and where the reading goes on behind it, so that settling it is moving the cursor.
use super::cursor::Place;
use crate::core::engine::replay::Replayed;
use crate::core::segment::{Header, RunKey, StreamName};
use memchr::memchr_iter;

/// Bytes of events in a chunk, but for the last event. Enough for full batches of several partitions in one go; two
/// of them are held.
pub const CHUNK_BYTES: usize = 4 << 20;
/// Events in a chunk: 16 bytes of table each.
pub const CHUNK_EVENTS: usize = 64 << 10;

/// What the events of a run have in common.
#[derive(Clone, Copy, Debug)]
struct Run {
    stream: StreamName,
    key: Option<RunKey>,
    seq: u64,
    time_ms: u64,
}

/// One event.
#[derive(Clone, Copy, Debug)]
struct Line {
    run: u32,
    /// How manieth of its run.
    nth: u32,
    start: u32,
    len: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Chunk {
    shard: u32,
    bytes: Vec<u8>,
    runs: Vec<Run>,
    lines: Vec<Line>,
    /// Events beyond which it is full.
    events_max: usize,
    /// Where it begins.
    pub start: Place,
    /// Where what follows it begins.
    pub end: Place,
}

impl Chunk {
    /// An empty one, with its memory.
    pub fn new() -> Chunk {
        Chunk {
            shard: 0,
            bytes: Vec::with_capacity(CHUNK_BYTES),
            runs: Vec::new(),
            lines: Vec::new(),
            events_max: CHUNK_EVENTS,
            start: Place::default(),
            end: Place::default(),
        }
    }

    /// Empties it for events of a shard from `start` on, at most so many.
    pub fn begin(&mut self, shard: u32, start: Place, events_max: usize) {
        self.bytes.clear();
        self.runs.clear();
        self.lines.clear();
        (self.shard, self.start, self.end) = (shard, start, start);
        self.events_max = events_max.clamp(1, CHUNK_EVENTS);
    }

    /// The shard whose events these are.
    pub fn shard(&self) -> u32 {
        self.shard
    }

    /// How many events.
    pub fn events(&self) -> usize {
        self.lines.len()
    }

    /// Bytes of events, line ends included.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether another event may join.
    pub fn has_room(&self) -> bool {
        self.bytes.len() < CHUNK_BYTES && self.lines.len() < self.events_max
    }

    /// Appends a piece of a run that begins with the run's event number `nth`; takes whole lines only, none below
    /// sequence number `from`, and as many as there is room for. Returns how many lines and bytes it went through.
    pub fn push(&mut self, header: &Header, nth: u32, piece: &[u8], from: u64) -> (u32, usize) {
        let mut run = None;
        let (mut taken, mut at) = (0, 0);
        for end in memchr_iter(b'\n', piece) {
            if !self.has_room() {
                break;
            }
            let nth = nth + taken;
            if header.seq + u64::from(nth) >= from {
                let run = *run.get_or_insert_with(|| {
                    let Header { stream, key, seq, time_ms, .. } = *header;
                    self.runs.push(Run { stream, key, seq, time_ms });
                    self.runs.len() as u32 - 1
                });
                let start = self.bytes.len() as u32;
                self.bytes.extend_from_slice(&piece[at..=end]);
                self.lines.push(Line { run, nth, start, len: (end - at) as u32 });
            }
            (taken, at) = (taken + 1, end + 1);
        }
        (taken, at)
    }

    /// An event by its place.
    pub fn event(&self, index: usize) -> Replayed<'_> {
        let Line { run, nth, start, len } = self.lines[index];
        let run = &self.runs[run as usize];
        Replayed {
            shard: self.shard,
            seq: run.seq + u64::from(nth),
            stream: &run.stream,
            key: run.key.as_ref().map(RunKey::as_bytes),
            value: &self.bytes[start as usize..(start + len) as usize],
            time_ms: run.time_ms,
        }
    }
}

impl Default for Chunk {
    fn default() -> Chunk {
        Chunk::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::segment::Hash;

    fn header(seq: u64, events: u32) -> Header {
        Header {
            shard: 3,
            stream: StreamName::new(b"logs").unwrap(),
            key: RunKey::new(b"ann"),
            seq,
            events,
            bytes: 0,
            commit: 1,
            left: 0,
            time_ms: 77,
            file: 0,
            crc32c: 0,
            prev: Hash::ZERO,
        }
    }

    fn seen(chunk: &Chunk) -> Vec<(u64, &[u8])> {
        (0..chunk.events()).map(|at| chunk.event(at)).map(|event| (event.seq, event.value)).collect()
    }

    #[test]
    fn whole_lines_are_taken_from_where_they_are_wanted() {
        for (piece, from, events_max, taken, expected) in [
            (&b"{}\n[1]\n"[..], 0, 9, (2, 7), vec![(10, &b"{}"[..]), (11, b"[1]")]),
            (b"{}\n[1]\n", 11, 9, (2, 7), vec![(11, b"[1]")]),
            (b"{}\n[1]\n", 12, 9, (2, 7), vec![]),
            (b"{}\n[1]\n", 0, 1, (1, 3), vec![(10, b"{}")]),
            (b"{}\n[1", 0, 9, (1, 3), vec![(10, b"{}")]),
            (b"{", 0, 9, (0, 0), vec![]),
            (b"", 0, 9, (0, 0), vec![]),
        ] {
            let mut chunk = Chunk::new();
            chunk.begin(3, Place::default(), events_max);
            assert_eq!(chunk.push(&header(10, 2), 0, piece, from), taken, "{piece:?} {from}");
            assert_eq!(seen(&chunk), expected, "{piece:?} {from}");
            assert_eq!(chunk.is_empty(), expected.is_empty());
        }
    }

    #[test]
    fn pieces_of_a_run_are_numbered_on() {
        let mut chunk = Chunk::new();
        chunk.begin(3, Place::default(), 9);
        assert_eq!(chunk.push(&header(10, 4), 0, b"a\nb\nc", 0), (2, 4));
        assert_eq!(chunk.push(&header(10, 4), 2, b"c\nd\n", 0), (2, 4));
        assert_eq!(chunk.push(&header(14, 1), 0, b"e\n", 0), (1, 2));
        assert_eq!(seen(&chunk).last(), Some(&(14, &b"e"[..])));
        assert_eq!(chunk.events(), 5);
        let event = chunk.event(3);
        assert_eq!((event.shard, event.seq, event.value, event.time_ms), (3, 13, &b"d"[..], 77));
        assert_eq!((event.stream.as_str(), event.key), ("logs", Some(&b"ann"[..])));
        chunk.begin(4, Place::default(), 0);
        assert!(chunk.is_empty() && chunk.bytes() == 0 && chunk.has_room());
    }
}
