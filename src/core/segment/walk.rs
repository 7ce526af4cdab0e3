//! One segment file from its first header to its last, in constant memory.
//!
//! A [`Walker`] goes from header to header and never looks inside events. Each step is a whole commit whose
//! every run was checked, or says what stands there instead:
//!
//! ```text
//! 0        4096             16384            20480                      262144
//! | commit |  commit        | damaged        | commit | torn | newlines ... |
//! | Commit |  Commit        | Damage         | Commit | Tail               |
//! ```
//!
//! An unsound place is [`Step::Damage`] when anything proves that it was once whole: a later commit of the same
//! file (only one is ever in flight, so its start is the end of the one before), or a next segment that
//! continues behind it. Otherwise it is a [`Step::Tail`], a commit that was never finished.
//! A sound commit that the next segment does not continue, but replaces, is [`Step::Superseded`]: its flush
//! failed, its events were answered 503, and they are not there.
use super::header::{BLOCK_BYTES, Crc32c, HEADER_BYTES, Hash, Header, HeaderError};
use alloc::vec::Vec;
use core::{convert::Infallible, fmt, ops::Range};

/// Bytes of a file, by offset.
pub trait ReadAt {
    /// Why reading failed.
    type Error;
    /// Reads some bytes from `offset` on into `out`; 0 only at the file's end.
    ///
    /// # Errors
    /// When the file cannot be read there.
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> Result<usize, Self::Error>;
}

impl ReadAt for &[u8] {
    type Error = Infallible;
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> Result<usize, Infallible> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

/// A place in a shard's chain of headers: what the next one must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Number of the last commit, 0 before the first.
    pub commit: u64,
    /// Sequence number of the next event.
    pub seq: u64,
    /// Hash of the last header.
    pub prev: Hash,
}

impl Chain {
    /// The place just before `header`.
    pub fn before(header: &Header) -> Chain {
        Chain { commit: header.commit.saturating_sub(1), seq: header.seq, prev: header.prev }
    }
}

/// A sound commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Offset of its first header, a multiple of [`BLOCK_BYTES`].
    pub start: u64,
    /// Offset behind its last event.
    pub data_end: u64,
    /// `data_end` rounded up to a whole block.
    pub end: u64,
    /// Its first header.
    pub first: Header,
    /// Its last header.
    pub last: Header,
    /// Hash of its last header.
    pub hash: Hash,
    /// Headers in it, at least 1.
    pub runs: u32,
    /// Events in all its runs.
    pub events: u64,
    /// Bytes of all events with their newlines, without headers and padding.
    pub bytes: u64,
}

/// Bytes that are not what they must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where in the file; empty when something is missing at that place.
    pub range: Range<u64>,
    /// Sequence numbers that are gone with it, where the headers around it tell.
    pub lost: Option<Range<u64>>,
    /// What is wrong.
    pub why: Why,
}

/// What is wrong with a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Where a header must stand is none.
    Header(HeaderError),
    /// Newlines stand where a commit must be.
    Blank,
    /// The file ends within it.
    Short,
    /// The header is another shard's.
    Shard(u32),
    /// The header carries the id of another file.
    File(u64),
    /// The header's first sequence number is not the one due.
    Seq {
        /// The number due.
        due: u64,
        /// The number found.
        found: u64,
    },
    /// The header's commit number is not the one due.
    Commit {
        /// The number due.
        due: u64,
        /// The number found.
        found: u64,
    },
    /// The header does not name the one before it by its hash.
    Prev,
    /// The runs of one commit are not numbered down to 0, or one is empty.
    Runs,
    /// The checksum over a run's bytes is another; the offset is that of its header.
    Run(u64),
    /// The fill behind the last event is not all newlines. No event is touched.
    Padding,
    /// The next segment begins behind events that are not here.
    Missing,
    /// It stands behind a commit that failed, where nothing was ever to be written.
    Failed,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Header(error) => error.fmt(f),
            Why::Blank => f.write_str("newlines stand where a commit must be"),
            Why::Short => f.write_str("the file ends within a commit"),
            Why::Shard(found) => write!(f, "a header of shard {found} stands here"),
            Why::File(found) => write!(f, "a header of another file ({found:016x}) stands here"),
            Why::Seq { due, found } => write!(f, "event {due} is due, the header begins at {found}"),
            Why::Commit { due, found } => write!(f, "commit {due} is due, the header is of commit {found}"),
            Why::Prev => f.write_str("the header does not follow the one before it (`prev` is another)"),
            Why::Runs => f.write_str("the runs of the commit are not numbered as they must be"),
            Why::Run(at) => write!(f, "the events of the header at {at} do not match its crc32c"),
            Why::Padding => f.write_str("the fill behind the events is not newlines; no event is touched"),
            Why::Missing => f.write_str("the file ends before the events that the next segment follows"),
            Why::Failed => f.write_str("it stands behind a commit that failed"),
        }
    }
}

/// What a [`Walker`] found next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A commit, whole and in its place.
    Commit(Commit),
    /// A whole commit that was never acknowledged, because the next segment begins in its place.
    Superseded(Commit),
    /// Bytes that were sound once, or an event missing. The walk goes on behind.
    Damage(Damage),
    /// The unsound last bytes of the file, newlines at the end not counted: a commit never finished,
    /// or not finished yet. Nothing acknowledged is known to be in it.
    Tail {
        /// Where: begins at the end of the last sound commit.
        range: Range<u64>,
        /// What is wrong with it.
        why: Why,
    },
    /// Nothing but newlines from here on.
    End {
        /// End of the last commit, a multiple of [`BLOCK_BYTES`].
        used: u64,
    },
}

/// How closely a [`Walker`] looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Every byte.
    Full,
    /// Headers only: reads a few hundred bytes a run, misses what only the bytes between them could tell.
    Headers,
}

/// Walks one segment file. [`step`](Walker::step) until it gives `None`; at any time [`chain`](Walker::chain).
#[derive(Debug)]
pub struct Walker<R> {
    window: Window<R>,
    shard: u32,
    chain: Option<Chain>,
    next: Option<Header>,
    depth: Depth,
    file: Option<u64>,
    at: u64,
    queued: Option<Step>,
    replaced: bool,
    done: bool,
}

/// An unsound place, and the header that stands there if it is at least well formed.
struct Fault {
    why: Why,
    header: Option<Header>,
}

impl<R: ReadAt> Walker<R> {
    /// Bytes read at a time, and the memory that a walk takes.
    pub const WINDOW_BYTES: usize = 256 << 10;
    /// The same for a walk over headers only, which jumps.
    pub const JUMP_BYTES: usize = 16 << 10;

    /// A walk over `source`, a file of `shard`.
    ///
    /// `chain` is where the file before ended (`None`: this is the oldest there is, take its first header's word);
    /// `next` is the first header of the next segment of the shard that has one (`None`: this is the last).
    pub fn new(source: R, shard: u32, chain: Option<Chain>, next: Option<Header>, depth: Depth) -> Walker<R> {
        Walker {
            window: Window::new(
                source,
                if depth == Depth::Full { Self::WINDOW_BYTES } else { Self::JUMP_BYTES },
            ),
            shard,
            chain,
            next,
            depth,
            file: None,
            at: 0,
            queued: None,
            replaced: false,
            done: false,
        }
    }

    /// Where the chain stands behind all that was accepted so far.
    pub fn chain(&self) -> Option<Chain> {
        self.chain
    }

    /// The file's id, once a header has told it.
    pub fn file(&self) -> Option<u64> {
        self.file
    }

    /// Offset where the next step begins; behind `Tail` and `End` the end of what is sound.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Up to `want` bytes from `offset` on; fewer when the window holds no more than that, or at the file's end.
    ///
    /// # Errors
    /// When the source fails.
    pub fn bytes(&mut self, offset: u64, want: usize) -> Result<&[u8], R::Error> {
        self.window.at(offset, want)
    }

    /// After `Tail` or `End`: forgets what was read, so that the next step looks at the same place again.
    /// A commit that was being written may be whole by then.
    pub fn retry(&mut self) {
        self.window.forget();
        self.queued = None;
        self.done = false;
    }

    /// The next finding; `None` behind `Tail` and `End`.
    ///
    /// # Errors
    /// When the source fails. The step can be tried again.
    pub fn step(&mut self) -> Result<Option<Step>, R::Error> {
        if let Some(step) = self.queued.take() {
            return Ok(Some(step));
        }
        if self.done {
            return Ok(None);
        }
        let step = if self.replaced {
            // Nothing was ever written behind a commit that failed.
            self.unsound(Fault { why: Why::Failed, header: None })?
        } else {
            match self.commit()? {
                Ok(commit) => self.accept(commit)?,
                Err(fault) => self.unsound(fault)?,
            }
        };
        Ok(Some(step))
    }

    fn accept(&mut self, commit: Commit) -> Result<Step, R::Error> {
        self.file = Some(commit.first.file);
        self.at = commit.end;
        if self.next.is_some_and(|next| commit.first.seq >= next.seq) {
            self.replaced = true;
            return Ok(Step::Superseded(commit));
        }
        self.chain =
            Some(Chain { commit: commit.first.commit, seq: commit.last.next_seq(), prev: commit.hash });
        if self.depth == Depth::Full {
            let fill = (commit.end - commit.data_end) as usize;
            let found = self.window.at(commit.data_end, fill)?;
            if found.len() < fill || !blank(found) {
                let range = commit.data_end..commit.end;
                self.queued = Some(Step::Damage(Damage { range, lost: None, why: Why::Padding }));
            }
        }
        Ok(Step::Commit(commit))
    }

    /// Reads and checks the commit at `self.at`.
    fn commit(&mut self) -> Result<Result<Commit, Fault>, R::Error> {
        let start = self.at;
        let (first, mut hash) = match self.header(start)? {
            Ok(found) => found,
            Err(why) => return Ok(Err(Fault { why, header: None })),
        };
        let fault = |why| Ok(Err(Fault { why, header: Some(first) }));
        if let Err(why) = self.follows(&first) {
            return fault(why);
        }
        let mut commit = Commit {
            start,
            data_end: start,
            end: start,
            first,
            last: first,
            hash,
            runs: 0,
            events: 0,
            bytes: 0,
        };
        let mut at = start;
        loop {
            let header = commit.last;
            if header.events == 0 || header.bytes < header.events {
                return fault(Why::Runs);
            }
            let body = at + HEADER_BYTES as u64;
            if let Err(why) = self.run(body, &header)? {
                return fault(if why == Why::Run(0) { Why::Run(at) } else { why });
            }
            commit.hash = hash;
            commit.runs += 1;
            commit.events += u64::from(header.events);
            commit.bytes += u64::from(header.bytes);
            at = body + u64::from(header.bytes);
            if header.left == 0 {
                break;
            }
            let (next, next_hash) = match self.header(at)? {
                Ok(found) => found,
                Err(why) => return fault(why),
            };
            if next.file != first.file {
                return fault(Why::File(next.file));
            }
            if next.prev != hash {
                return fault(Why::Prev);
            }
            let numbered = next.shard == first.shard
                && next.commit == first.commit
                && next.left == header.left - 1
                && next.seq == header.next_seq();
            if !numbered {
                return fault(Why::Runs);
            }
            commit.last = next;
            hash = next_hash;
        }
        commit.data_end = at;
        commit.end = at.next_multiple_of(BLOCK_BYTES as u64);
        Ok(Ok(commit))
    }

    fn header(&mut self, at: u64) -> Result<Result<(Header, Hash), Why>, R::Error> {
        let line = self.window.at(at, HEADER_BYTES)?;
        if blank(line) {
            return Ok(Err(Why::Blank));
        }
        Ok(match Header::parse(line) {
            Ok(header) => {
                Ok((header, Hash::of(line.try_into().expect("a header parses from its whole length"))))
            }
            Err(error) => Err(Why::Header(error)),
        })
    }

    /// Whether `first` may be the first header of the next commit.
    fn follows(&self, first: &Header) -> Result<(), Why> {
        if first.shard != self.shard {
            return Err(Why::Shard(first.shard));
        }
        if self.file.is_some_and(|file| file != first.file) {
            return Err(Why::File(first.file));
        }
        let Some(chain) = self.chain else { return Ok(()) };
        if first.seq != chain.seq {
            return Err(Why::Seq { due: chain.seq, found: first.seq });
        }
        let due = chain.commit + 1;
        // A commit that failed may have used its number up, but then its file was given up too.
        if first.commit < due || (self.file.is_some() && first.commit != due) {
            return Err(Why::Commit { due, found: first.commit });
        }
        if first.prev != chain.prev {
            return Err(Why::Prev);
        }
        Ok(())
    }

    /// Checks a run's bytes. `Why::Run(0)`: the checksum is another.
    fn run(&mut self, body: u64, header: &Header) -> Result<Result<(), Why>, R::Error> {
        let end = body + u64::from(header.bytes);
        if self.depth == Depth::Headers {
            let there = self.window.at(end - 1, 1)?.len() == 1;
            return Ok(if there { Ok(()) } else { Err(Why::Short) });
        }
        let mut crc = Crc32c::new();
        let mut at = body;
        while at < end {
            let piece = self.window.up_to(at, end)?;
            if piece.is_empty() {
                return Ok(Err(Why::Short));
            }
            crc.update(piece);
            at += piece.len() as u64;
        }
        Ok(if crc.value() == header.crc32c { Ok(()) } else { Err(Why::Run(0)) })
    }

    /// Decides what an unsound place is, and where to go on.
    fn unsound(&mut self, fault: Fault) -> Result<Step, R::Error> {
        let start = self.at;
        // A good header in a wrong place: something before it is missing or altered, not it.
        if let (Some(header), Why::Seq { .. } | Why::Commit { .. } | Why::Prev) = (fault.header, fault.why)
            && self
                .chain
                .is_some_and(|chain| self.follows(&header).is_err() && self.may_resume(&header, chain.commit))
        {
            return Ok(self.resume(start, header, fault.why));
        }
        if self.depth == Depth::Headers && fault.why == Why::Blank {
            return Ok(self.end(start));
        }
        let floor = match (self.chain, fault.header) {
            (Some(chain), Some(header)) if self.file.is_none() => header.commit.max(chain.commit + 1),
            (Some(chain), _) => chain.commit + 1,
            (None, Some(header)) => header.commit,
            (None, None) => 0,
        };
        let mut junk_end = start;
        let mut block = start;
        loop {
            let bytes = self.window.at(block, BLOCK_BYTES)?;
            if bytes.is_empty() {
                break;
            }
            if !blank(bytes) {
                let last = bytes.iter().rposition(|byte| *byte != b'\n').unwrap_or(0);
                junk_end = block + last as u64 + 1;
            }
            if block > start
                && !self.replaced
                && let Ok(header) = Header::parse(bytes)
                && self.may_resume(&header, floor)
            {
                // In a file that is being written both may have come since the first look.
                self.window.forget();
                return match self.commit()? {
                    Ok(commit) => self.accept(commit),
                    Err(fault) => Ok(self.resume(block, header, fault.why)),
                };
            }
            block += BLOCK_BYTES as u64;
        }
        if junk_end == start {
            return Ok(self.end(start));
        }
        self.done = true;
        let range = start..junk_end;
        if self
            .next
            .is_some_and(|next| self.chain.map_or(next.prev != Hash::ZERO, |chain| next.seq > chain.seq))
        {
            let lost = self.leave_for_next();
            return Ok(Step::Damage(Damage { range, lost, why: fault.why }));
        }
        Ok(Step::Tail { range, why: fault.why })
    }

    /// Whether a commit behind the one numbered `floor` may begin with `header`.
    fn may_resume(&self, header: &Header, floor: u64) -> bool {
        header.shard == self.shard
            && header.commit > floor
            && self.file.is_none_or(|file| file == header.file)
            && self.chain.is_none_or(|chain| header.seq >= chain.seq)
            && self.next.is_none_or(|next| header.seq < next.seq)
    }

    fn resume(&mut self, at: u64, header: Header, why: Why) -> Step {
        let range = self.at..at;
        let lost = self.chain.map(|chain| chain.seq..header.seq);
        self.file = Some(header.file);
        self.chain = Some(Chain::before(&header));
        self.at = at;
        Step::Damage(Damage { range, lost, why })
    }

    fn end(&mut self, used: u64) -> Step {
        self.done = true;
        let end = Step::End { used };
        match (self.chain, self.next) {
            (Some(chain), Some(next)) if next.seq > chain.seq => {
                let lost = self.leave_for_next();
                self.queued = Some(end);
                Step::Damage(Damage { range: used..used, lost, why: Why::Missing })
            }
            _ => end,
        }
    }

    /// What the next segment says must be here and is not; the chain then goes on as that segment has it.
    fn leave_for_next(&mut self) -> Option<Range<u64>> {
        let next = self.next?;
        let lost = self.chain.map(|chain| chain.seq..next.seq);
        self.chain = Some(Chain::before(&next));
        lost
    }
}

/// What stands at the front of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// Nothing, or newlines: no commit was ever begun in it, or its first one is lost.
    Blank,
    /// A sound header.
    Header(Header),
    /// Something else.
    Spoiled,
}

/// Looks at the front of a file, for the walk over the one before.
///
/// # Errors
/// When the source fails.
pub fn front<R: ReadAt>(source: &mut R) -> Result<Front, R::Error> {
    let mut line = [b'\n'; HEADER_BYTES];
    let mut len = 0;
    while len < line.len() {
        match source.read_at(len as u64, &mut line[len..])? {
            0 => break,
            more => len += more,
        }
    }
    if blank(&line[..len]) {
        return Ok(Front::Blank);
    }
    Ok(Header::parse(&line[..len]).map_or(Front::Spoiled, Front::Header))
}

pub(super) fn blank(bytes: &[u8]) -> bool {
    // Without an early way out the compiler compares whole vectors.
    bytes.chunks(64).all(|chunk| chunk.iter().fold(0, |other, byte| other | (byte ^ b'\n')) == 0)
}

/// A stretch of a file in memory.
#[derive(Debug)]
pub(super) struct Window<R> {
    source: R,
    buffer: Vec<u8>,
    start: u64,
    len: usize,
}

impl<R: ReadAt> Window<R> {
    pub(super) fn new(source: R, bytes: usize) -> Window<R> {
        Window { source, buffer: alloc::vec![0; bytes], start: 0, len: 0 }
    }

    pub(super) fn forget(&mut self) {
        self.len = 0;
    }

    /// Up to `want` bytes from `offset` on, fewer only at the file's end.
    pub(super) fn at(&mut self, offset: u64, want: usize) -> Result<&[u8], R::Error> {
        let want = want.min(self.buffer.len());
        let held = self.start..self.start + self.len as u64;
        if !(held.start <= offset && offset + want as u64 <= held.end) {
            self.fill(offset)?;
        }
        let from = (offset - self.start) as usize;
        Ok(&self.buffer[from..(from + want).min(self.len)])
    }

    /// The bytes at hand between `offset` and `end`; none only at the file's end.
    pub(super) fn up_to(&mut self, offset: u64, end: u64) -> Result<&[u8], R::Error> {
        let held = self.start + self.len as u64;
        let want = if self.start <= offset && offset < held { held.min(end) - offset } else { end - offset };
        self.at(offset, usize::try_from(want).unwrap_or(usize::MAX))
    }

    fn fill(&mut self, offset: u64) -> Result<(), R::Error> {
        (self.start, self.len) = (offset, 0);
        while self.len < self.buffer.len() {
            match self.source.read_at(offset + self.len as u64, &mut self.buffer[self.len..])? {
                0 => break,
                more => self.len += more,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::testing::Writer;
    use std::vec;

    const BLOCK: u64 = BLOCK_BYTES as u64;

    /// Four commits in 7 blocks: [0,1) [1,2) two runs, [2,6) one big event, [6,7).
    fn file() -> Writer {
        let mut writer = Writer::new(3, 0xabc, Writer::FIRST);
        writer.commit(&[("default", &[b"{\"a\":1}", b"{\"a\":2}"])]);
        writer.commit(&[("x", &[b"{}"]), ("y", &[b"{\"y\":[1,2]}", b"{}", b"{}"])]);
        let mut big = b"{\"big\":\"".to_vec();
        big.resize(3 * BLOCK_BYTES, b'z');
        big.extend_from_slice(b"\"}");
        writer.commit(&[("default", &[&big])]);
        writer.commit(&[("default", &[b"{\"last\":true}"])]);
        writer
    }

    fn walk(bytes: &[u8], chain: Option<Chain>, next: Option<Header>) -> (Vec<Step>, Option<Chain>) {
        let mut walker = Walker::new(bytes, 3, chain, next, Depth::Full);
        let mut steps = vec![];
        while let Some(step) = walker.step().unwrap() {
            steps.push(step);
            assert!(steps.len() < 100, "the walk ends");
        }
        (steps, walker.chain())
    }

    fn starts(steps: &[Step]) -> Vec<u64> {
        steps
            .iter()
            .filter_map(
                |step| if let Step::Commit(commit) = step { Some(commit.start / BLOCK) } else { None },
            )
            .collect()
    }

    fn header(bytes: &[u8], at: u64) -> Header {
        Header::parse(&bytes[at as usize..]).unwrap()
    }

    #[test]
    fn a_sound_file_is_walked_whole_and_may_end_in_newlines() {
        let mut writer = file();
        for fill in [0, 1, BLOCK_BYTES, 20 * BLOCK_BYTES + 5] {
            let mut bytes = writer.bytes.clone();
            bytes.resize(bytes.len() + fill, b'\n');
            let (steps, chain) = walk(&bytes, Some(Writer::FIRST), None);
            assert_eq!(starts(&steps), [0, 1, 2, 6]);
            assert_eq!(steps[4..], [Step::End { used: 7 * BLOCK }]);
            assert_eq!(chain, Some(writer.chain));
        }
        let (steps, _) = walk(&writer.bytes, None, None);
        let Step::Commit(second) = &steps[1] else { panic!("{steps:?}") };
        assert_eq!((second.runs, second.events, second.first.seq, second.last.last_seq()), (2, 4, 3, 6));
        writer.bytes.clear();
        assert_eq!(walk(&writer.bytes, Some(writer.chain), None).0, [Step::End { used: 0 }]);
    }

    /// Whatever bit flips, the walk names a range that holds it, serves every commit it does not touch,
    /// and never calls an acknowledged commit a tail while something stands behind it.
    #[test]
    fn every_flipped_bit_is_found_and_located() {
        let writer = file();
        let mut bytes = writer.bytes.clone();
        bytes.resize(bytes.len() + BLOCK_BYTES, b'\n');
        for at in 0..bytes.len() {
            let inside_big = (3 * BLOCK_BYTES..5 * BLOCK_BYTES).contains(&at);
            if inside_big && at % 97 != 0 {
                continue;
            }
            for bit in [at % 8, (at + 3) % 8] {
                bytes[at] ^= 1 << bit;
                let (steps, _) = walk(&bytes, Some(Writer::FIRST), None);
                let place = steps.iter().find_map(|step| match step {
                    Step::Damage(damage) => Some((damage.range.clone(), false)),
                    Step::Tail { range, .. } => Some((range.clone(), true)),
                    _ => None,
                });
                let (range, tail) = place.unwrap_or_else(|| panic!("byte {at} bit {bit}: {steps:?}"));
                assert!(range.contains(&(at as u64)), "byte {at} bit {bit}: {range:?}");
                assert_eq!(
                    tail,
                    at as u64 >= 7 * BLOCK || (steps.len() == 4 && range.start == 6 * BLOCK),
                    "{at}"
                );
                let touched = [0, 1, 2, 6].into_iter().rfind(|start| at as u64 >= start * BLOCK).unwrap();
                let kept = starts(&steps);
                for start in [0, 1, 2, 6] {
                    assert!(kept.contains(&start) || start == touched, "byte {at} bit {bit}: {kept:?}");
                }
                bytes[at] ^= 1 << bit;
            }
        }
    }

    #[test]
    fn every_truncation_within_a_commit_is_found() {
        let writer = file();
        for len in (0..writer.bytes.len()).filter(|len| len % 13 == 0 || len % BLOCK_BYTES < 2) {
            let (steps, _) = walk(&writer.bytes[..len], Some(Writer::FIRST), None);
            let whole = [0, 1, 2, 6, 7].into_iter().filter(|end| end * BLOCK <= len as u64).max().unwrap();
            let ends = matches!(steps.last(), Some(Step::End { used }) if *used == whole * BLOCK);
            let on_the_edge = len as u64 == whole * BLOCK;
            let tail = matches!(steps.last(), Some(Step::Tail { range, .. }) if range.start == whole * BLOCK);
            let padding =
                steps.iter().any(|step| matches!(step, Step::Damage(damage) if damage.why == Why::Padding));
            assert!(if on_the_edge { ends } else { tail || padding }, "{len}: {steps:?}");
        }
    }

    #[test]
    fn a_segment_that_goes_on_tells_what_the_one_before_lost() {
        let first = file();
        let mut second = Writer::new(3, 0xdef, first.chain);
        second.commit(&[("default", &[b"{}"])]);
        let next = Some(header(&second.bytes, 0));

        let (steps, chain) = walk(&first.bytes, None, next);
        assert_eq!(steps.len(), 5);
        assert_eq!(walk(&second.bytes, chain, None).0.len(), 2);

        // Cut at a commit's edge, only the next segment can tell.
        let (steps, chain) = walk(&first.bytes[..6 * BLOCK_BYTES], None, next);
        let lost = Some(8..9);
        let damage = Damage { range: 6 * BLOCK..6 * BLOCK, lost: lost.clone(), why: Why::Missing };
        assert_eq!(steps[3..], [Step::Damage(damage), Step::End { used: 6 * BLOCK }]);
        assert_eq!(walk(&second.bytes, chain, None).0.len(), 2);

        // A spoiled last commit is no unfinished one when the next segment follows it.
        let mut spoiled = first.bytes.clone();
        spoiled[6 * BLOCK_BYTES + HEADER_BYTES] ^= 1;
        let (steps, _) = walk(&spoiled, None, next);
        let Some(Step::Damage(damage)) = steps.last() else { panic!("{steps:?}") };
        assert_eq!((damage.range.start, damage.lost.clone()), (6 * BLOCK, lost));

        // A whole segment gone between two.
        let chain = Chain { commit: 1, seq: 3, ..first.chain };
        let (steps, _) = walk(&second.bytes, Some(chain), None);
        assert!(
            matches!(&steps[0], Step::Damage(damage) if damage.lost == Some(3..9) && damage.range == (0..0))
        );
        assert_eq!(starts(&steps), [0]);
    }

    #[test]
    fn a_commit_that_failed_is_replaced_by_the_next_segment() {
        let mut first = file();
        let before = first.chain;
        first.commit(&[("default", &[b"{\"answered\":503}"])]);
        for commit in [before.commit, before.commit + 1] {
            let mut second = Writer::new(3, 0xdef, Chain { commit, ..before });
            second.commit(&[("default", &[b"{}", b"{}"])]);
            let (steps, chain) = walk(&first.bytes, None, Some(header(&second.bytes, 0)));
            assert!(matches!(&steps[4], Step::Superseded(commit) if commit.start == 7 * BLOCK));
            assert_eq!(steps[5..], [Step::End { used: 8 * BLOCK }]);
            assert_eq!(walk(&second.bytes, chain, None).0.len(), 2);
            // Half written, it is a tail.
            let (steps, chain) =
                walk(&first.bytes[..7 * BLOCK_BYTES + 390], None, Some(header(&second.bytes, 0)));
            assert!(matches!(&steps[4], Step::Tail { range, .. } if range.start == 7 * BLOCK));
            assert_eq!(chain, Some(before));
        }
        // Without a next segment nobody knows that it failed, and it is kept.
        assert_eq!(starts(&walk(&first.bytes, None, None).0), [0, 1, 2, 6, 7]);
    }

    #[test]
    fn blocks_that_went_missing_or_astray_are_damage() {
        let sound = file().bytes;
        // The second commit's block was never written.
        let mut bytes = sound.clone();
        bytes[BLOCK_BYTES..2 * BLOCK_BYTES].fill(b'\n');
        let (steps, _) = walk(&bytes, None, None);
        let damage = Damage { range: BLOCK..2 * BLOCK, lost: Some(3..7), why: Why::Blank };
        assert_eq!(steps[1], Step::Damage(damage));
        assert_eq!(starts(&steps), [0, 2, 6]);
        // An old commit stands in its place.
        bytes.copy_within(..BLOCK_BYTES, BLOCK_BYTES);
        assert_eq!(starts(&walk(&bytes, None, None).0), [0, 2, 6]);
        // It was cut out: what follows is served, and the gap is told.
        let cut = [&sound[..BLOCK_BYTES], &sound[2 * BLOCK_BYTES..]].concat();
        let (steps, _) = walk(&cut, None, None);
        assert!(matches!(&steps[1], Step::Damage(damage) if damage.lost == Some(3..7)));
        assert_eq!(starts(&steps), [0, 1, 5]);
        // Another shard's file.
        assert!(matches!(
            Walker::new(&sound[..], 4, None, None, Depth::Full).step(),
            Ok(Some(Step::Tail { why: Why::Shard(3), .. }))
        ));
    }

    #[test]
    fn an_event_altered_with_all_its_checksums_breaks_the_chain() {
        let sound = file().bytes;
        let mut other = Writer::new(3, 0xabc, Writer::FIRST);
        other.commit(&[("default", &[b"{\"a\":1}", b"{\"a\":3}"])]);
        let bytes = [&other.bytes[..], &sound[BLOCK_BYTES..]].concat();
        let (steps, _) = walk(&bytes, None, None);
        assert!(
            matches!(&steps[1], Step::Damage(Damage { why: Why::Prev, range, .. }) if *range == (BLOCK..BLOCK))
        );
    }

    #[test]
    fn a_header_inside_an_event_is_never_believed() {
        // An event that is the line of a later header, without its last bytes: a stored event is trimmed.
        let mut forged = Writer::new(3, 0xabc, Chain { commit: 9, seq: 100, prev: Hash::ZERO });
        forged.commit(&[("default", &[b"{\"forged\":1}"])]);
        let line = forged.bytes[..HEADER_BYTES].trim_ascii_end();
        let mut writer = Writer::new(3, 0xabc, Writer::FIRST);
        // Laid so that it begins at a block.
        let mut filler = b"{\"f\":\"".to_vec();
        filler.resize(BLOCK_BYTES - HEADER_BYTES - 3, b'f');
        filler.extend_from_slice(b"\"}");
        writer.commit(&[("default", &[&filler, line, b"{\"forged\":1}"])]);
        assert!(writer.bytes[BLOCK_BYTES..].starts_with(b"{\"ringmill\":1,"));
        writer.commit(&[("default", &[b"{}"])]);
        assert_eq!(starts(&walk(&writer.bytes, None, None).0), [0, 2]);
        // Neither when the commit around it is damaged.
        for at in [0, HEADER_BYTES + 3] {
            let mut bytes = writer.bytes.clone();
            bytes[at] ^= 1;
            let (steps, _) = walk(&bytes, None, None);
            assert_eq!(starts(&steps), [2], "{steps:?}");
            assert!(matches!(&steps[0], Step::Damage(damage) if damage.range == (0..2 * BLOCK)));
        }
    }

    #[test]
    fn headers_alone_give_the_same_commits() {
        let mut bytes = file().bytes;
        bytes.resize(bytes.len() + BLOCK_BYTES, b'\n');
        let mut walker = Walker::new(&bytes[..], 3, None, None, Depth::Headers);
        let mut steps = vec![];
        while let Some(step) = walker.step().unwrap() {
            steps.push(step);
        }
        assert_eq!(steps, walk(&bytes, None, None).0);
    }

    #[test]
    fn a_tail_that_was_finished_meanwhile_is_a_commit_on_the_second_look() {
        struct Growing<'a>(&'a [u8], core::cell::Cell<bool>);
        impl ReadAt for &Growing<'_> {
            type Error = Infallible;
            fn read_at(&mut self, offset: u64, out: &mut [u8]) -> Result<usize, Infallible> {
                let len = if self.1.get() { self.0.len() } else { 6 * BLOCK_BYTES + 390 };
                (&self.0[..len]).read_at(offset, out)
            }
        }
        let bytes = file().bytes;
        let growing = Growing(&bytes, core::cell::Cell::new(false));
        let mut walker = Walker::new(&growing, 3, None, None, Depth::Full);
        while !matches!(walker.step(), Ok(Some(Step::Tail { .. }))) {}
        assert_eq!(walker.step(), Ok(None));
        growing.1.set(true);
        walker.retry();
        assert!(matches!(walker.step(), Ok(Some(Step::Commit(commit))) if commit.start == 6 * BLOCK));
        assert!(matches!(walker.step(), Ok(Some(Step::End { .. }))));
    }
}
