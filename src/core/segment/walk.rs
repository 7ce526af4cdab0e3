//! One segment file from its first header to its last, in constant memory.
//!
//! A [`Walker`] goes from header to header and never looks inside events. Each step is a whole commit whose
//! every run was checked, or says what stands there instead:
//!
//! ```text
//! 0        4096             16384            20480                      262144
//! | commit |  commit        | damaged        | commit | torn | unused ...   |
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
    /// Newlines or zeros, which stand where nothing was written yet, are where a commit must be.
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
    /// The fill behind the last event is not all newlines and zeros. No event is touched.
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
            Why::Blank => f.write_str("nothing stands where a commit must be"),
            Why::Short => f.write_str("the file ends within a commit"),
            Why::Shard(found) => write!(f, "a header of shard {found} stands here"),
            Why::File(found) => write!(f, "a header of another file ({found:016x}) stands here"),
            Why::Seq { due, found } => write!(f, "event {due} is due, the header begins at {found}"),
            Why::Commit { due, found } => write!(f, "commit {due} is due, the header is of commit {found}"),
            Why::Prev => f.write_str("the header does not follow the one before it (`prev` is another)"),
            Why::Runs => f.write_str("the runs of the commit are not numbered as they must be"),
            Why::Run(at) => write!(f, "the events of the header at {at} do not match its crc32c"),
            Why::Padding => {
                f.write_str("the fill behind the events is not newlines and zeros; no event is touched")
            }
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
    /// The unsound last bytes of the file, unused ones at the end not counted: a commit never finished,
    /// or not finished yet. Nothing acknowledged is known to be in it.
    Tail {
        /// Where: begins at the end of the last sound commit.
        range: Range<u64>,
        /// What is wrong with it.
        why: Why,
    },
    /// Nothing but unused bytes from here on: newlines, and zeros where a file was allocated and not written.
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

    /// The same, begun at this offset, where an earlier walk over the file left off with `chain`.
    ///
    /// # Panics
    /// When the offset is not a multiple of [`BLOCK_BYTES`]: no commit begins there.
    #[must_use]
    pub fn begun_at(mut self, offset: u64) -> Walker<R> {
        assert!(offset.is_multiple_of(BLOCK_BYTES as u64), "commits begin on blocks");
        self.at = offset;
        self
    }

    /// The first header of the next segment that has one, now that there is one.
    pub fn followed_by(&mut self, next: Header) {
        self.next = Some(next);
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
            // Zeros: of a commit that was cut short in a file not pre-written, only the fill may be missing.
            if found.len() < fill || !unused(found) {
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
        if unused(line) {
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
            if !unused(bytes) {
                let last = bytes.iter().rposition(|byte| !matches!(byte, b'\n' | 0)).unwrap_or(0);
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
#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack")]
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
    if unused(&line[..len]) {
        return Ok(Front::Blank);
    }
    Ok(Header::parse(&line[..len]).map_or(Front::Spoiled, Front::Header))
}

/// Nothing was ever written there: newlines of pre-writing, or zeros of an allocated file.
fn unused(bytes: &[u8]) -> bool {
    bytes.chunks(64).all(|chunk| chunk.iter().fold(true, |all, byte| all & matches!(byte, b'\n' | 0)))
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
#[path = "walk_tests.rs"]
mod tests;
