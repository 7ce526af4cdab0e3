//! What a start makes of the files that the last run left: where the chain ends, and what had to be cut.
//!
//! The way is from header to header; what events hold is summed, never read. Only the end of a shard's chain
//! is walked, the last two segments that hold commits; of older ones only the first header is looked at
//! (`ringmill segments verify` walks all). Rules, in the order in which they decide:
//!
//! - A name or a beginning that is not ours is refused, and nothing at all is changed.
//! - A damaged commit behind which the same file holds a header of a later commit was acknowledged once:
//!   it is reported and left as it is, for nothing of it can be had by cutting.
//! - So is the end of a segment when the next segment's first header continues a chain that this one no
//!   longer holds.
//! - The last commit of a segment is an orphan when the next segment's first header names the header before
//!   that commit as its `prev`: the commit had failed and was answered so. It is cut.
//! - Any other unsound end was in flight when the run ended, and nobody was told that it is durable. It is cut.
//!
//! The order of effects lets a start that dies in the middle be repeated: cut and sync, oldest first, then
//! remove, then sync the directory. What is kept is synced even when nothing was cut, because the last run
//! may have died between write and flush, and the next commits must never outlive what they build on. The
//! last commit is written again before: had its flush failed, a second one would succeed and mean nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;

use ringmill_core::segment::header::{BLOCK_BYTES, Crc32c, HEADER_BYTES, HEADER_START, Hash, Header};
use ringmill_core::segment::quarantine::{Entry as Refused, QUARANTINE_HEADER_BYTES, QUARANTINE_START};
use ringmill_core::sink::{FileKind, Resume};

use super::name::Name;
use super::volume::{Entry, Volume, VolumeFile, read_full_at, write_all_at};

const BLOCK: u64 = BLOCK_BYTES as u64;
const HEADER: u64 = HEADER_BYTES as u64;
/// Read ahead: enough for sequential reads at the disk's pace.
const WINDOW_BYTES: usize = 1 << 20;
/// How many names a refusal lists.
const FOREIGN_NAMED_MAX: usize = 5;

/// Something that recovery did or found. `Display` gives the line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// An end that was never acknowledged as durable is gone.
    Cut {
        /// The file.
        file: String,
        /// The bytes that were cut, newlines of pre-writing behind them not counted.
        range: Range<u64>,
        /// What was wrong with them.
        why: String,
    },
    /// Bytes that were once acknowledged cannot be read back; they were left as they are.
    Damaged {
        /// The file.
        file: String,
        /// Where.
        range: Range<u64>,
        /// What is wrong.
        why: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Cut { file, range, why } => write!(
                f,
                "{file}: cut bytes {}..{}, which were never acknowledged as durable: {why}",
                range.start, range.end
            ),
            Finding::Damaged { file, range, why } => write!(
                f,
                "{file}: bytes {}..{} are damaged and left as they are: {why}; run `ringmill segments verify`, \
                 and restore the file from a copy if there is one",
                range.start, range.end
            ),
        }
    }
}

/// What recovery did in one shard's directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of files and offsets.
    pub findings: Vec<Finding>,
    /// Segments that hold commits and stay.
    pub segments: u64,
    /// Files removed because nothing was ever committed to them.
    pub removed: u64,
}

/// Why a directory was not taken. Nothing in it was changed, unless it is `Io`.
#[derive(Debug)]
pub enum RecoverError {
    /// Names or contents that are not this server's.
    Foreign {
        /// The files, at most five of them, each with what is foreign about it.
        files: Vec<String>,
        /// How many there are in all.
        count: usize,
    },
    /// The system refused to read or change a file.
    Io {
        /// What was tried, on which file.
        what: String,
        /// The system's error.
        error: io::Error,
    },
}

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecoverError::Foreign { files, count } => {
                write!(f, "{}", files.join("; "))?;
                if *count > files.len() {
                    write!(f, "; and {} more", count - files.len())?;
                }
                f.write_str(
                    "; nothing was changed: move what is foreign away, or name another directory with --sink",
                )
            }
            RecoverError::Io { what, error } => write!(f, "cannot {what}: {error}"),
        }
    }
}

impl std::error::Error for RecoverError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RecoverError::Foreign { .. } => None,
            RecoverError::Io { error, .. } => Some(error),
        }
    }
}

/// Finds the end of the chain of `shard`, cuts what was in flight, removes what was never used.
///
/// # Errors
/// Refuses foreign files before any change; see [`RecoverError`]. May be repeated after any error.
pub fn recover<V: Volume>(volume: &V, shard: u32) -> Result<(Resume, Report), RecoverError> {
    let found = Found::list(volume)?;
    let mut plan = Plan::default();
    let mut foreign = found.foreign;

    // From the newest back: until two segments hold commits.
    let mut follower: Option<Header> = None;
    let mut end: Option<End> = None;
    let mut walked = 0;
    for (&number, &bytes) in found.segments.iter().rev() {
        let name = Name { kind: FileKind::Segment, number, temporary: false }.text();
        let file = volume.open(&name).map_err(|e| io_error(volume, "open", &name, e))?;
        let reading = |e| io_error(volume, "read", &name, e);
        let mut start = [0; HEADER_BYTES];
        let got = read_full_at(&file, 0, &mut start).map_err(reading)?;
        match beginning(&start[..got], shard) {
            Beginning::Empty => {}
            Beginning::Ours | Beginning::Unsound => {}
            Beginning::Foreign(why) => {
                foreign.push(format!("{}: {why}", volume.display(&name)));
                continue;
            }
        }
        if walked == 2 && start[0] != b'\n' {
            plan.report.segments += 1;
            continue;
        }
        let mut scan =
            Scanner { file: &file, bytes, shard, window: Vec::new(), at: 0 }.scan().map_err(reading)?;
        plan.settle(volume, &name, &mut scan, follower.as_ref(), walked > 0);
        if let Some(first) = scan.first {
            follower = Some(first);
        }
        if let Some(last) = scan.ends.last() {
            walked += 1;
            plan.report.segments += 1;
            if end.is_none() {
                plan.rewrite = Some((name, last.start..last.end));
                end = Some(*last);
            }
        }
    }
    if !foreign.is_empty() {
        let count = foreign.len();
        foreign.truncate(FOREIGN_NAMED_MAX);
        return Err(RecoverError::Foreign { files: foreign, count });
    }
    for (&number, &bytes) in &found.quarantines {
        let name = Name { kind: FileKind::Quarantine, number, temporary: false }.text();
        let file = volume.open(&name).map_err(|e| io_error(volume, "open", &name, e))?;
        let used = quarantine_used(&file, bytes).map_err(|e| io_error(volume, "read", &name, e))?;
        match used {
            0 => plan.remove.push(name),
            used if used < bytes => plan.cut.push((name, used)),
            _ => {}
        }
    }
    plan.remove.extend(found.temporary);

    // Backwards so far; oldest first from here.
    plan.cut.reverse();
    plan.report.findings.reverse();
    for (name, used) in &plan.cut {
        let cut = |e| io_error(volume, "cut", name, e);
        let file = volume.open(name).map_err(cut)?;
        if file.len().map_err(cut)? > *used {
            file.truncate(*used).map_err(cut)?;
        }
        if let Some((_, range)) = plan.rewrite.as_ref().filter(|(last, _)| last == name) {
            rewrite(&file, range).map_err(|e| io_error(volume, "write again the last commit of", name, e))?;
        }
        file.sync().map_err(|e| io_error(volume, "sync", name, e))?;
    }
    for name in &plan.remove {
        volume.remove(name).map_err(|e| io_error(volume, "remove", name, e))?;
    }
    plan.report.removed = plan.remove.len() as u64;
    // Also when nothing was removed: the last run may have died before it synced a name.
    volume.sync_dir().map_err(|e| io_error(volume, "sync", "", e))?;

    let end = end.unwrap_or(End::NONE);
    let resume = Resume {
        next_segment: found.last_segment + 1,
        next_seq: end.next_seq,
        next_commit: end.next_commit,
        prev: end.prev,
        next_quarantine: found.last_quarantine + 1,
    };
    Ok((resume, plan.report))
}

/// Puts the same bytes in the same place.
fn rewrite(file: &impl VolumeFile, range: &Range<u64>) -> io::Result<()> {
    let mut at = range.start;
    let mut step = vec![0; WINDOW_BYTES.min((range.end - range.start) as usize)];
    while at < range.end {
        let want = step.len().min((range.end - at) as usize);
        let got = read_full_at(file, at, &mut step[..want])?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        write_all_at(file, at, &step[..got])?;
        at += got as u64;
    }
    Ok(())
}

fn io_error<V: Volume>(volume: &V, verb: &str, name: &str, error: io::Error) -> RecoverError {
    RecoverError::Io { what: format!("{verb} {}", volume.display(name)), error }
}

/// A directory's names, sorted out.
#[derive(Default)]
struct Found {
    /// Length by number.
    segments: BTreeMap<u64, u64>,
    quarantines: BTreeMap<u64, u64>,
    temporary: Vec<String>,
    foreign: Vec<String>,
    last_segment: u64,
    last_quarantine: u64,
}

impl Found {
    fn list<V: Volume>(volume: &V) -> Result<Found, RecoverError> {
        let mut found = Found::default();
        for Entry { name, bytes, regular, .. } in
            volume.list().map_err(|e| io_error(volume, "list", "", e))?
        {
            let Some(ours) = Name::parse(&name).filter(|_| regular) else {
                found.foreign.push(format!("{}: not a name that this server gives", volume.display(&name)));
                continue;
            };
            let last = match ours.kind {
                FileKind::Segment => &mut found.last_segment,
                FileKind::Quarantine => &mut found.last_quarantine,
            };
            *last = ours.number.max(*last);
            match ours {
                Name { temporary: true, .. } => found.temporary.push(name),
                Name { kind: FileKind::Segment, number, .. } => {
                    found.segments.insert(number, bytes);
                }
                Name { kind: FileKind::Quarantine, number, .. } => {
                    found.quarantines.insert(number, bytes);
                }
            }
        }
        Ok(found)
    }
}

enum Beginning {
    /// Newlines, or nothing: never committed to, or the first commit left no trace here.
    Empty,
    /// A header of this shard.
    Ours,
    /// It begins like a header, but is none.
    Unsound,
    Foreign(String),
}

fn beginning(start: &[u8], shard: u32) -> Beginning {
    if start.iter().all(|&b| b == b'\n') {
        return Beginning::Empty;
    }
    match Header::parse(start) {
        Ok(header) if header.shard == shard => Beginning::Ours,
        Ok(header) => Beginning::Foreign(format!(
            "it was written by shard {}, and stands among {shard}'s",
            header.shard
        )),
        Err(_) if start.starts_with(HEADER_START) => Beginning::Unsound,
        Err(_) if start.starts_with(b"{\"ringmill\":") => {
            Beginning::Foreign("it was written by another version of the format".into())
        }
        // A sector of a torn first commit may be missing, but what is there is either ours or newlines.
        Err(_) if start.starts_with(b"\n") => Beginning::Unsound,
        Err(_) => Beginning::Foreign("it does not begin like a segment".into()),
    }
}

/// What is to be done, gathered before anything is.
#[derive(Default)]
struct Plan {
    /// Files that are synced, and cut to that length where they are longer.
    cut: Vec<(String, u64)>,
    remove: Vec<String>,
    /// The last commit of all.
    rewrite: Option<(String, Range<u64>)>,
    /// Findings newest first until the end.
    report: Report,
}

impl Plan {
    /// Decides about one segment. `follower` is the first header behind it, from any newer segment; `inner`
    /// says that a newer segment holds commits.
    fn settle<V: Volume>(
        &mut self,
        volume: &V,
        name: &str,
        scan: &mut Scan,
        follower: Option<&Header>,
        inner: bool,
    ) {
        let file = volume.display(name);
        let mut findings = Vec::new();
        for (range, why) in scan.damaged.drain(..) {
            findings.push(Finding::Damaged { file: file.clone(), range, why });
        }
        let mut why = scan.tail_why.clone();
        let mut keep_tail = false;
        if let (Some(follower), Some(last)) = (follower, scan.ends.last().copied()) {
            if follower.prev == last.prev {
                // The chain goes on right behind.
            } else if follower.prev == last.before {
                scan.ends.pop();
                scan.tail = last.start;
                scan.dirty = scan.dirty.max(last.end);
                why = format!("commit {} failed and was superseded", last.next_commit - 1);
            } else if inner {
                // Both sides are sound, but they do not meet: what lay between is lost, here or as a file.
                keep_tail = true;
                findings.push(Finding::Damaged {
                    file: file.clone(),
                    range: scan.tail..scan.dirty.max(scan.tail),
                    why: format!(
                        "the chain ends at event {} here and goes on with event {} in a later segment",
                        last.next_seq.wrapping_sub(1),
                        follower.seq
                    ),
                });
            }
        }
        if scan.dirty > scan.tail && !keep_tail {
            findings.push(Finding::Cut { file, range: scan.tail..scan.dirty, why });
        }
        // The list is turned round as a whole later.
        self.report.findings.extend(findings.into_iter().rev());
        if scan.ends.is_empty() && scan.tail == 0 {
            self.remove.push(name.to_owned());
        } else {
            self.cut.push((
                name.to_owned(),
                if keep_tail { scan.dirty.next_multiple_of(BLOCK) } else { scan.tail },
            ));
        }
    }
}

/// The chain behind one sound commit.
#[derive(Clone, Copy)]
struct End {
    /// Where the commit begins, and ends, both on a block.
    start: u64,
    end: u64,
    next_seq: u64,
    next_commit: u64,
    /// Hash of the header before the commit.
    before: Hash,
    /// Hash of its last header.
    prev: Hash,
}

impl End {
    /// Nothing was ever committed.
    const NONE: End = End {
        start: 0,
        end: 0,
        next_seq: Resume::START.next_seq,
        next_commit: Resume::START.next_commit,
        before: Hash::ZERO,
        prev: Resume::START.prev,
    };
}

/// What one segment holds.
struct Scan {
    /// The first sound header, also when its commit is not.
    first: Option<Header>,
    /// The last two sound commits at most, in order.
    ends: Vec<End>,
    damaged: Vec<(Range<u64>, String)>,
    /// Where the sound part ends.
    tail: u64,
    /// Where the last byte that is no newline ends; at least `tail`.
    dirty: u64,
    /// What is wrong behind `tail`.
    tail_why: String,
}

struct Scanner<'a, F> {
    file: &'a F,
    bytes: u64,
    shard: u32,
    window: Vec<u8>,
    /// Offset of the window.
    at: u64,
}

impl<F: VolumeFile> Scanner<'_, F> {
    fn scan(mut self) -> io::Result<Scan> {
        let mut scan = Scan {
            first: None,
            ends: Vec::new(),
            damaged: Vec::new(),
            tail: 0,
            dirty: 0,
            tail_why: String::new(),
        };
        // Behind damage the chain is taken up wherever it stands.
        let mut link: Option<End> = None;
        let mut id: Option<u64> = None;
        let mut at = 0;
        while at < self.bytes {
            if scan.first.is_none()
                && let Ok(header) = self.header(at)?
            {
                scan.first = Some(header);
                id = Some(header.file);
            }
            match self.commit(at, id, link)? {
                Ok(end) => {
                    if scan.ends.len() == 2 {
                        scan.ends.remove(0);
                    }
                    scan.ends.push(end);
                    link = Some(end);
                    at = end.end;
                }
                Err(why) => {
                    let damaged = match self.header(at)? {
                        Ok(header) if id.is_none_or(|id| id == header.file) => Some(header.commit),
                        _ => link.map(|link| link.next_commit),
                    };
                    match self.later(at, id, damaged)? {
                        Some((next, header)) => {
                            id = Some(header.file);
                            scan.first.get_or_insert(header);
                            scan.damaged.push((at..next, why));
                            link = None;
                            at = next;
                        }
                        None => {
                            scan.tail = at;
                            scan.dirty = self.last_byte(at)?;
                            scan.tail_why = why;
                            return Ok(scan);
                        }
                    }
                }
            }
        }
        scan.tail = at.min(self.bytes);
        scan.dirty = scan.tail;
        Ok(scan)
    }

    fn header(&mut self, at: u64) -> io::Result<Result<Header, String>> {
        let shard = self.shard;
        let bytes = self.read(at, HEADER_BYTES)?;
        Ok(match Header::parse(bytes) {
            Ok(header) if header.shard != shard => {
                Err(format!("the header is one of shard {}", header.shard))
            }
            Ok(header) => Ok(header),
            Err(e) => Err(e.to_string()),
        })
    }

    /// The commit at `at`, whole and sound, or what is wrong with it.
    fn commit(&mut self, at: u64, id: Option<u64>, link: Option<End>) -> io::Result<Result<End, String>> {
        let mut offset = at;
        let mut first: Option<Hash> = None;
        let mut before: Option<(Header, Hash)> = None;
        loop {
            let header = match self.header(offset)? {
                Ok(header) => header,
                Err(why) => return Ok(Err(why)),
            };
            let line: &[u8; HEADER_BYTES] =
                self.read(offset, HEADER_BYTES)?.try_into().expect("parsed before");
            let hash = Header::hash(line);
            if id.is_some_and(|id| id != header.file) {
                return Ok(Err("the header is one of another file".into()));
            }
            let wrong = match (before, link) {
                (Some((last, hash)), _) => {
                    header.prev != hash
                        || header.seq != last.next_seq()
                        || header.commit != last.commit
                        || header.left + 1 != last.left
                        || header.file != last.file
                }
                (None, Some(link)) => {
                    header.prev != link.prev
                        || header.seq != link.next_seq
                        || header.commit != link.next_commit
                }
                (None, None) => false,
            };
            if wrong {
                return Ok(Err("the header does not continue the one before it".into()));
            }
            let end = offset + HEADER + u64::from(header.bytes);
            if end > self.bytes {
                return Ok(Err("the file ends within the run".into()));
            }
            if self.crc(offset + HEADER..end)? != header.crc32c {
                return Ok(Err("the events do not match their checksum".into()));
            }
            let chain = *first.get_or_insert(header.prev);
            if header.left > 0 {
                before = Some((header, hash));
                offset = end;
                continue;
            }
            let block = end.next_multiple_of(BLOCK);
            if block > self.bytes {
                return Ok(Err("the file ends within the commit".into()));
            }
            if self.read(end, (block - end) as usize)?.iter().any(|&b| b != b'\n') {
                return Ok(Err("the commit is not filled up with newlines".into()));
            }
            let end = End {
                start: at,
                end: block,
                next_seq: header.next_seq(),
                next_commit: header.commit + 1,
                before: chain,
                prev: hash,
            };
            return Ok(Ok(end));
        }
    }

    /// The next block behind `at` with a header of a later commit than `damaged`, which stood at `at`.
    ///
    /// Only one commit is ever in flight in a file, so any trace of a later one shows that this one had
    /// succeeded. A later run of the same commit may stand on a block as well, and shows nothing.
    fn later(&mut self, at: u64, id: Option<u64>, damaged: Option<u64>) -> io::Result<Option<(u64, Header)>> {
        let mut damaged = damaged;
        let mut block = at + BLOCK;
        while block < self.bytes {
            if self.read(block, 1)? == b"{"
                && let Ok(header) = self.header(block)?
                && id.is_none_or(|id| id == header.file)
            {
                match damaged {
                    Some(damaged) if header.commit > damaged => return Ok(Some((block, header))),
                    Some(_) => {}
                    None => damaged = Some(header.commit),
                }
            }
            block += BLOCK;
        }
        Ok(None)
    }

    fn crc(&mut self, range: Range<u64>) -> io::Result<u32> {
        let mut crc = Crc32c::new();
        let mut at = range.start;
        while at < range.end {
            let step = (range.end - at).min((WINDOW_BYTES / 2) as u64) as usize;
            let bytes = self.read(at, step)?;
            if bytes.is_empty() {
                break;
            }
            at += bytes.len() as u64;
            crc.update(bytes);
        }
        Ok(crc.value())
    }

    /// Where the last byte from `from` on that is no newline ends; `from` when there is none.
    fn last_byte(&mut self, from: u64) -> io::Result<u64> {
        let (mut at, mut last) = (from, from);
        while at < self.bytes {
            let step = (self.bytes - at).min((WINDOW_BYTES / 2) as u64) as usize;
            let bytes = self.read(at, step)?;
            if bytes.is_empty() {
                break;
            }
            if let Some(index) = bytes.iter().rposition(|&b| b != b'\n') {
                last = at + index as u64 + 1;
            }
            at += bytes.len() as u64;
        }
        Ok(last)
    }

    /// `count` bytes at `offset`, at most half a window; fewer only at the end of the file.
    fn read(&mut self, offset: u64, count: usize) -> io::Result<&[u8]> {
        let end = offset + count as u64;
        if offset < self.at || end > self.at + self.window.len() as u64 {
            self.window.resize(WINDOW_BYTES.min((self.bytes.saturating_sub(offset)) as usize), 0);
            let got = read_full_at(self.file, offset, &mut self.window)?;
            self.window.truncate(got);
            self.at = offset;
        }
        let skip = ((offset - self.at) as usize).min(self.window.len());
        Ok(&self.window[skip..(skip + count).min(self.window.len())])
    }
}

/// Length of a quarantine file without the newlines of its pre-writing. Never less than its entries, whose
/// bytes may well end in newlines; and whatever is no newline stays, sound or not.
fn quarantine_used<F: VolumeFile>(file: &F, bytes: u64) -> io::Result<u64> {
    let mut scanner = Scanner { file, bytes, shard: 0, window: Vec::new(), at: 0 };
    let mut at = 0u64;
    while at < bytes {
        let line = scanner.read(at, QUARANTINE_HEADER_BYTES)?;
        match line.starts_with(QUARANTINE_START).then(|| Refused::parse(line)) {
            Some(Ok((entry, ..))) => at += QUARANTINE_HEADER_BYTES as u64 + u64::from(entry.length) + 1,
            _ if !at.is_multiple_of(BLOCK) => at = at.next_multiple_of(BLOCK),
            _ => break,
        }
    }
    let at = at.min(bytes);
    Ok(scanner.last_byte(at)?.next_multiple_of(BLOCK).min(bytes))
}
