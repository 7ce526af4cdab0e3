//! One shard's segments, oldest first, from a place on: chunks of events, and what cannot be read in between.
//!
//! What is sound is the [`Walker`]'s to say; here is which file it walks, where it begins, and how far it may go: a
//! shard that is being written to says what is durable ([`Reader::allow`]), and nothing beyond is looked at.
mod place;

use super::chunk::Chunk;
use super::cursor::Place;
use crate::command::segments::directory::{self, Segment, Source, following};
use crate::command::segments::{damage_line, tail_line};
use crate::core::segment::{Commit, Depth, Front, HEADER_BYTES, Header, Step, StreamName, Walker, front};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// How often a file that cannot be read is tried again before what follows in it counts as lost, and the pause.
const READ_TRIES: u32 = 3;
const READ_PAUSE: Duration = Duration::from_millis(300);
/// How long the end of the last file may look unfinished because a server is writing there.
const TAIL_TRIES: u32 = 20;
const TAIL_PAUSE: Duration = Duration::from_millis(50);

/// How far reading may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// To the end of what the folder held when it was looked at.
    End,
    /// Through this sequence number, which stands in this segment. More may be allowed later.
    Through {
        /// Number of the segment.
        segment: u64,
        /// Sequence number of the last event that may be read.
        seq: u64,
    },
}

/// What a call to [`Reader::fill`] ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// The chunk is full.
    Full,
    /// There is no more for now, or at all; the chunk may hold events.
    Dry,
}

/// Something that the operator should read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// These bytes, or these events, are lost to the replay. The segment is kept.
    Damage {
        /// Number of the segment.
        segment: u64,
        /// What and where, in words.
        line: String,
    },
    /// The chain is another than the one that was replayed; it goes back.
    Replaced(String),
}

/// Which events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only those of this stream.
    pub stream: Option<StreamName>,
    /// Only those with at least this sequence number.
    pub from: u64,
}

/// A commit whose runs are being read.
#[derive(Clone, Copy, Debug)]
struct Pass {
    commit: Commit,
    runs_left: u32,
    /// Where the next header stands, or the next line of `run`.
    at: u64,
    run: Option<(Header, u32, u64)>,
}

struct Open {
    segment: Segment,
    walker: Walker<Source>,
    /// The walker knows which header follows.
    has_next: bool,
}

/// See the module.
pub struct Reader {
    folder: PathBuf,
    shard: u32,
    stream: Option<StreamName>,
    bound: Bound,
    /// Files not walked yet, by rising number.
    files: std::collections::VecDeque<Segment>,
    open: Option<Open>,
    pass: Option<Pass>,
    place: Place,
    findings: Vec<Finding>,
    /// Events below this are left out, though they were never done.
    from: u64,
    /// Number of the first file that may be opened next.
    first: u64,
    /// How often the file at hand could not be read, and looked unfinished, in a row.
    tries: u32,
    looks: u32,
}

impl Reader {
    /// Begins at `place`, if that still is where it was.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn new(
        dir: &Path,
        shard: u32,
        selection: Selection,
        place: Place,
        bound: Bound,
    ) -> Result<Reader, String> {
        let folder = dir.join(crate::sink::name::shard_dir(shard));
        let mut reader = Reader {
            folder,
            shard,
            stream: selection.stream,
            bound,
            files: std::collections::VecDeque::new(),
            open: None,
            pass: None,
            place,
            findings: Vec::new(),
            from: selection.from,
            first: place.segment,
            tries: 0,
            looks: 0,
        };
        reader.list().map_err(|error| format!("{}: {error}", reader.folder.display()))?;
        if place.chain.is_some() && reader.files.front().is_some_and(|file| file.number == place.segment) {
            reader.find_place();
        }
        Ok(reader)
    }

    /// The shard.
    pub fn shard(&self) -> u32 {
        self.shard
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where it stands.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Events through this one, in this segment, may be read from now on.
    pub fn allow(&mut self, segment: u64, seq: u64) {
        self.bound = Bound::Through { segment, seq };
        if let Some(open) = &mut self.open {
            // What was read beyond the last bound is not what stands there now.
            open.walker.retry();
        }
    }

    /// What was found since the last call.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    /// Length of the files that are left to read, from where it stands.
    pub fn bytes_left(&self) -> u64 {
        let open = self.open.as_ref().map_or(0, |open| open.segment.len.saturating_sub(self.place.offset));
        open + self.files.iter().map(|file| file.len).sum::<u64>()
    }

    /// Fills a chunk from where it stands. Waits for the disk, and a second at most for a commit that is being written.
    pub fn fill(&mut self, chunk: &mut Chunk, events_max: usize) -> Filled {
        chunk.begin(self.shard, self.place, events_max);
        let filled = loop {
            match self.advance(chunk) {
                Ok(None) => {}
                Ok(Some(filled)) => break filled,
                Err(error) => self.unreadable(&error),
            }
        };
        chunk.end = self.place;
        filled
    }

    /// Sums up what is left to read, by headers: events, bytes, and each commit's last event with its time.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn sum_up(&self, mut each: impl FnMut(u64, u64, u64)) -> Result<(), String> {
        let dir = self.folder.parent().unwrap_or(Path::new("."));
        let Some(mut shard) = directory::shards(dir, Some(self.shard))?.pop() else { return Ok(()) };
        shard.segments.retain(|file| file.number >= self.place.segment);
        let last = match self.bound {
            Bound::End => u64::MAX,
            Bound::Through { seq, .. } => seq,
        };
        let _ = directory::walk::<()>(&shard, Depth::Headers, None, |visit| {
            if let directory::Visit::Step(_, _, Step::Commit(commit)) = visit
                && commit.last.next_seq() > self.place.next
                && commit.first.seq <= last
            {
                each(commit.last.last_seq(), commit.bytes, commit.last.time_ms);
            }
            std::ops::ControlFlow::Continue(())
        });
        Ok(())
    }

    /// One step on. `None`: go on.
    fn advance(&mut self, chunk: &mut Chunk) -> io::Result<Option<Filled>> {
        if !chunk.has_room() {
            return Ok(Some(Filled::Full));
        }
        if let Some(pass) = self.pass {
            return self.pass_on(pass, chunk).map(|()| None);
        }
        if let (Bound::Through { seq, .. }, Some(chain)) = (self.bound, self.place.chain)
            && chain.seq > seq
        {
            return Ok(Some(Filled::Dry));
        }
        if self.bound == (Bound::Through { segment: 0, seq: 0 }) {
            return Ok(Some(Filled::Dry));
        }
        if self.open.is_none() && !self.open_next()? {
            return Ok(Some(self.dry_at_end()));
        }
        self.step()
    }

    /// Behind the last file. What was promised to be there and is not, is lost.
    fn dry_at_end(&mut self) -> Filled {
        if let Bound::Through { segment, seq } = self.bound
            && self.place.next <= seq
            && self.place.chain.is_none_or(|chain| chain.seq <= seq)
        {
            let next = self.place.next;
            let line = format!("damaged: shard {}: events {next} to {seq} are in no segment", self.shard);
            self.findings.push(Finding::Damage { segment, line });
            self.place.next = seq + 1;
            self.place.chain = None;
            // Whatever comes next is taken at its word; until then there is nothing.
            self.bound = Bound::Through { segment: 0, seq: 0 };
        }
        Filled::Dry
    }

    fn step(&mut self) -> io::Result<Option<Filled>> {
        self.look_ahead()?;
        let Some(open) = &mut self.open else { return Ok(None) };
        let (number, name) = (open.segment.number, &open.segment.name);
        let step = open.walker.step()?;
        let mut lost = |line| self.findings.push(Finding::Damage { segment: number, line });
        match step {
            Some(Step::Commit(commit)) => {
                (self.tries, self.looks) = (0, 0);
                self.pass = Some(Pass { commit, runs_left: commit.runs, at: commit.start, run: None });
                return Ok(None);
            }
            Some(Step::Superseded(_)) => {}
            Some(Step::Damage(damage)) => {
                lost(damage_line(name, &damage));
                if let Some(events) = &damage.lost {
                    self.place.next = self.place.next.max(events.end);
                }
            }
            Some(Step::Tail { range, why }) => {
                if self.awaits_more(false) {
                    return Ok(None);
                }
                let Some(open) = &self.open else { return Ok(None) };
                // Behind a next file the chain says whether anything is missing.
                if !open.has_next {
                    self.findings.push(Finding::Damage {
                        segment: number,
                        line: tail_line(&open.segment.name, &range, &why),
                    });
                }
            }
            Some(Step::End { .. }) => {
                if self.awaits_more(true) {
                    return Ok(None);
                }
            }
            None => {
                self.place.chain = open.walker.chain().or(self.place.chain);
                self.open = None;
                return Ok(None);
            }
        }
        if let Some(open) = &self.open {
            self.place.offset = open.walker.position().next_multiple_of(4096);
            self.place.chain = open.walker.chain();
        }
        Ok(None)
    }

    /// At the end of what is whole, with nothing behind it or something unfinished: whether to look again, for a
    /// commit may be being written there, or is said to be there.
    fn awaits_more(&mut self, nothing: bool) -> bool {
        let Some(open) = &mut self.open else { return false };
        let may_come = match self.bound {
            Bound::End => !nothing && self.files.is_empty(),
            Bound::Through { .. } => true,
        };
        let again = may_come && !open.has_next && self.looks < TAIL_TRIES;
        if again {
            self.looks += 1;
            sleep(TAIL_PAUSE);
            open.walker.retry();
        }
        again
    }

    /// Takes lines of the commit at hand.
    fn pass_on(&mut self, mut pass: Pass, chunk: &mut Chunk) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let Some((header, nth, end)) = pass.run else {
            if pass.runs_left == 0 {
                self.pass = None;
                self.place.offset = pass.commit.end;
                self.place.chain = open.walker.chain();
                self.place.next = self.place.next.max(pass.commit.last.next_seq());
                return Ok(());
            }
            let header =
                Header::parse(open.walker.bytes(pass.at, HEADER_BYTES)?).map_err(io::Error::other)?;
            let body = pass.at + HEADER_BYTES as u64;
            let end = body + u64::from(header.bytes);
            let wanted = self.stream.is_none_or(|stream| stream == header.stream)
                && header.last_seq() >= self.place.next.max(self.from);
            pass.runs_left -= 1;
            (pass.at, pass.run) = if wanted { (body, Some((header, 0, end))) } else { (end, None) };
            self.pass = Some(pass);
            return Ok(());
        };
        let want = (end - pass.at).min(Walker::<Source>::WINDOW_BYTES as u64) as usize;
        let piece = open.walker.bytes(pass.at, want)?;
        let from = self.place.next.max(self.from);
        let (mut lines, mut bytes) = chunk.push(&header, nth, piece, from);
        if lines == 0 {
            // A line longer than the window.
            let mut long = piece.to_vec();
            let rest = open.walker.bytes(pass.at + long.len() as u64, want)?;
            long.extend_from_slice(&rest[..rest.len().min((end - pass.at) as usize - long.len())]);
            (lines, bytes) = chunk.push(&header, nth, &long, from);
            if lines == 0 {
                return Err(io::Error::other("the file was cut while it was read"));
            }
        }
        pass.at += bytes as u64;
        self.place.next = self.place.next.max(header.seq + u64::from(nth + lines));
        pass.run = (pass.at < end).then_some((header, nth + lines, end));
        self.pass = Some(pass);
        Ok(())
    }

    /// Tells the walker what follows, as soon as the next segment has begun: it shows which commits failed.
    fn look_ahead(&mut self) -> io::Result<()> {
        let Bound::Through { segment, .. } = self.bound else { return Ok(()) };
        if self.open.as_ref().is_none_or(|open| open.has_next || open.segment.number >= segment) {
            return Ok(());
        }
        self.list()?;
        let (next, open) = (following(self.files.make_contiguous()), self.open.as_mut());
        if let (Some(next), Some(open)) = (next, open) {
            open.walker.retry();
            open.walker.followed_by(next);
            open.has_next = true;
        }
        Ok(())
    }

    /// Opens the next file that there is. False: there is none, or none that may be read yet.
    fn open_next(&mut self) -> io::Result<bool> {
        if self.files.is_empty() && self.bound != Bound::End {
            self.list()?;
        }
        let may = |file: &Segment| match self.bound {
            Bound::End => true,
            Bound::Through { segment, .. } => file.number <= segment,
        };
        if !self.files.front().is_some_and(may) {
            return Ok(false);
        }
        let Some(segment) = self.files.pop_front() else { return Ok(false) };
        let resumes = segment.number == self.place.segment;
        let mut source = match Source::open(&segment.path) {
            Ok(source) => source,
            // Removed since the folder was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => {
                self.files.push_front(segment);
                return Err(error);
            }
        };
        if !resumes {
            match front(&mut source)? {
                // A spare that nothing was written to yet; what comes will be found when it may be read.
                Front::Blank if self.bound != Bound::End => {
                    self.first = segment.number + 1;
                    return Ok(true);
                }
                Front::Header(header) => self.go_back(&segment, &header),
                _ => {}
            }
            (self.place.segment, self.place.offset) = (segment.number, 0);
        }
        self.first = segment.number + 1;
        let next = following(self.files.make_contiguous());
        if next.is_some_and(|next| next.seq <= self.from) {
            self.place.chain = None;
            return Ok(true);
        }
        let next = next.filter(|_| self.bound == Bound::End || self.is_before_bound(segment.number));
        let walker =
            Walker::new(source, self.shard, self.place.chain, next, Depth::Full).begun_at(self.place.offset);
        self.open = Some(Open { segment, walker, has_next: next.is_some() });
        Ok(true)
    }

    fn is_before_bound(&self, number: u64) -> bool {
        matches!(self.bound, Bound::Through { segment, .. } if number < segment)
    }

    fn list(&mut self) -> io::Result<()> {
        let dir = self.folder.parent().unwrap_or(Path::new("."));
        let shards = directory::shards(dir, Some(self.shard)).map_err(io::Error::other)?;
        self.files = shards.into_iter().flat_map(|shard| shard.segments).collect();
        self.files.retain(|file| file.number >= self.first);
        Ok(())
    }

    /// A file that cannot be read: tried again, then passed over.
    fn unreadable(&mut self, error: &io::Error) {
        self.tries += 1;
        if self.tries < READ_TRIES {
            sleep(READ_PAUSE);
            if let Some(open) = &mut self.open {
                open.walker.retry();
            }
            return;
        }
        self.tries = 0;
        let (segment, name) = match (self.open.take(), self.files.front()) {
            (Some(open), _) => (open.segment.number, open.segment.name),
            (None, Some(file)) => (file.number, file.name.clone()),
            (None, None) => (self.place.segment, self.folder.display().to_string()),
        };
        self.first = segment + 1;
        self.files.retain(|file| file.number > segment);
        let offset = self.place.offset;
        let line = format!("damaged: {name} cannot be read from byte {offset} on: {error}");
        self.findings.push(Finding::Damage { segment, line });
        (self.pass, self.place.chain) = (None, None);
    }
}
