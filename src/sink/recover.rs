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

use ringmill_core::segment::header::{BLOCK_BYTES, HEADER_BYTES, HEADER_START, Header};
use ringmill_core::segment::quarantine::{Entry as Refused, QUARANTINE_HEADER_BYTES};
use ringmill_core::segment::walk::{Chain, Commit, Damage, Depth, ReadAt, Step, Walker};
use ringmill_core::sink::{FileKind, Resume};

use super::name::{Name, is_replays};
use super::volume::{Entry, Volume, VolumeFile, read_full_at, write_all_at};

const BLOCK: u64 = BLOCK_BYTES as u64;
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
        /// The bytes that were cut, unused ones behind them not counted.
        range: Range<u64>,
        /// What was wrong with them.
        why: String,
    },
    /// Bytes that were once acknowledged cannot be read back; they were left as they are.
    Damaged {
        /// The file.
        file: String,
        /// Where; empty when something is missing at that place.
        range: Range<u64>,
        /// Sequence numbers that are gone with it, where that is known.
        lost: Option<Range<u64>>,
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
            Finding::Damaged { file, range, lost, why } => {
                write!(
                    f,
                    "{file}: bytes {}..{} are damaged and left as they are: {why}",
                    range.start, range.end
                )?;
                if let Some(lost) = lost {
                    write!(f, "; events {}..{} are lost", lost.start, lost.end)?;
                }
                f.write_str(
                    "; run `ringmill segments verify`, and restore the file from a copy if there is one",
                )
            }
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
    let mut found = Found::list(volume)?;
    let mut plan = Plan::default();
    let newest = plan.newest(volume, shard, &mut found)?;
    let chain = plan.walk_all(volume, shard, newest)?;
    if !found.foreign.is_empty() {
        let count = found.foreign.len();
        found.foreign.truncate(FOREIGN_NAMED_MAX);
        return Err(RecoverError::Foreign { files: found.foreign, count });
    }
    plan.look_at_quarantines(volume, &found)?;
    plan.remove.extend(found.temporary);
    plan.carry_out(volume)?;
    let resume = Resume {
        next_segment: found.last_segment + 1,
        next_seq: chain.seq,
        next_commit: chain.commit + 1,
        prev: chain.prev,
        next_quarantine: found.last_quarantine + 1,
    };
    Ok((resume, plan.report))
}

/// A segment that is to be walked: its name, the file, and the header that it begins with, if that is sound.
type Begun<F> = (String, F, Option<Header>);

impl Plan {
    /// The segments from the newest back until two hold commits, newest first. Counts the older ones, and notes
    /// what is foreign.
    fn newest<V: Volume>(
        &mut self,
        volume: &V,
        shard: u32,
        found: &mut Found,
    ) -> Result<Vec<Begun<V::File>>, RecoverError> {
        let mut newest = Vec::new();
        let mut holding = 0;
        for &number in found.segments.keys().rev() {
            let name = Name { kind: FileKind::Segment, number, temporary: false }.text();
            let file = volume.open(&name).map_err(|e| io_error(volume, "open", &name, e))?;
            let reading = |e| io_error(volume, "read", &name, e);
            let mut start = [0; HEADER_BYTES];
            let got = read_full_at(&file, 0, &mut start).map_err(reading)?;
            if let Some(why) = foreign_beginning(&start[..got], shard) {
                found.foreign.push(format!("{}: {why}", volume.display(&name)));
            } else if holding == 2 {
                self.report.segments += 1;
            } else {
                let front = Header::parse(&start[..got]).ok();
                let mut walker = Walker::new(Reader(&file), shard, None, None, Depth::Full);
                let first = walker.step().map_err(reading)?;
                holding += usize::from(matches!(first, Some(Step::Commit(_) | Step::Damage(_))));
                newest.push((name, file, front));
            }
        }
        Ok(newest)
    }

    /// Walks them forward again, each from where the one before ended. The oldest of all is begun by its own
    /// header, or, when that is torn, is the shard's first: retention never takes the last segment that holds
    /// commits.
    fn walk_all<V: Volume>(
        &mut self,
        volume: &V,
        shard: u32,
        newest: Vec<Begun<V::File>>,
    ) -> Result<Chain, RecoverError> {
        let mut chain = match newest.last() {
            Some((_, _, None)) => Some(START),
            _ => None,
        };
        let fronts: Vec<Option<Header>> = newest.iter().map(|(_, _, front)| *front).collect();
        for (index, (name, file, _)) in newest.into_iter().enumerate().rev() {
            let next = fronts[..index].iter().rev().copied().flatten().next();
            let walker = Walker::new(Reader(&file), shard, chain, next, Depth::Full);
            chain = self.walk(volume, name, walker)?;
        }
        Ok(chain.unwrap_or(START))
    }

    /// Empty ones go, others are cut to what they hold.
    fn look_at_quarantines<V: Volume>(&mut self, volume: &V, found: &Found) -> Result<(), RecoverError> {
        for (&number, &bytes) in &found.quarantines {
            let name = Name { kind: FileKind::Quarantine, number, temporary: false }.text();
            let file = volume.open(&name).map_err(|e| io_error(volume, "open", &name, e))?;
            let used = quarantine_used(&file, bytes).map_err(|e| io_error(volume, "read", &name, e))?;
            match used {
                0 => self.remove.push(name),
                used if used < bytes => self.cut.push((name, used)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Does what was decided; the first change of all.
    fn carry_out<V: Volume>(&mut self, volume: &V) -> Result<(), RecoverError> {
        for (name, used) in &self.cut {
            let cut = |e| io_error(volume, "cut", name, e);
            let file = volume.open(name).map_err(cut)?;
            if file.len().map_err(cut)? > *used {
                file.truncate(*used).map_err(cut)?;
            }
            if let Some((_, range)) = self.rewrite.as_ref().filter(|(last, _)| last == name) {
                rewrite(&file, range)
                    .map_err(|e| io_error(volume, "write again the last commit of", name, e))?;
            }
            file.sync().map_err(|e| io_error(volume, "sync", name, e))?;
        }
        for name in &self.remove {
            volume.remove(name).map_err(|e| io_error(volume, "remove", name, e))?;
        }
        self.report.removed = self.remove.len() as u64;
        // Also when nothing was removed: the last run may have died before it synced a name.
        volume.sync_dir().map_err(|e| io_error(volume, "sync", "", e))
    }
}

/// Before the first commit of a shard.
const START: Chain =
    Chain { commit: Resume::START.next_commit - 1, seq: Resume::START.next_seq, prev: Resume::START.prev };

struct Reader<'a, F>(&'a F);

impl<F: VolumeFile> ReadAt for Reader<'_, F> {
    type Error = io::Error;
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        read_full_at(self.0, offset, out)
    }
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
            if regular && is_replays(&name) {
                continue;
            }
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

/// What is foreign about a segment's first bytes, if anything.
fn foreign_beginning(start: &[u8], shard: u32) -> Option<String> {
    match Header::parse(start) {
        Ok(header) if header.shard == shard => None,
        Ok(header) => Some(format!("it was written by shard {}, and stands among {shard}'s", header.shard)),
        // Damaged, or torn. A sector of a torn first commit may be missing, but then newlines or zeros are there.
        Err(_) if start.is_empty() || start.starts_with(b"\n") || start.starts_with(HEADER_START) => None,
        Err(_) if *start == [0; HEADER_BYTES] => None,
        Err(_) if start.starts_with(b"{\"ringmill\":") => {
            Some("it is of another version of the format".into())
        }
        Err(_) => Some("it does not begin like a segment".into()),
    }
}

/// What is to be done, gathered before anything is.
#[derive(Default)]
struct Plan {
    /// Files that are synced, and cut to that length where they are longer, oldest first.
    cut: Vec<(String, u64)>,
    remove: Vec<String>,
    /// The last commit of all.
    rewrite: Option<(String, Range<u64>)>,
    report: Report,
}

impl Plan {
    /// Walks one segment to its end and decides what stays of it. Returns where the chain stands behind it.
    fn walk<V: Volume>(
        &mut self,
        volume: &V,
        name: String,
        mut walker: Walker<Reader<'_, V::File>>,
    ) -> Result<Option<Chain>, RecoverError> {
        let file = || volume.display(&name);
        let mut keep = 0;
        let mut commit_last = None;
        while let Some(step) = walker.step().map_err(|e| io_error(volume, "read", &name, e))? {
            let finding = match step {
                Step::Commit(commit) => {
                    keep = commit.end;
                    commit_last = Some(commit.start..commit.end);
                    continue;
                }
                Step::End { .. } => continue,
                Step::Superseded(Commit { start, data_end, first, .. }) => {
                    let why = format!("commit {} failed, and another took its place", first.commit);
                    Finding::Cut { file: file(), range: start..data_end, why }
                }
                Step::Tail { range, why } => Finding::Cut { file: file(), range, why: why.to_string() },
                Step::Damage(Damage { range, lost, why }) => {
                    keep = keep.max(range.end.next_multiple_of(BLOCK));
                    Finding::Damaged { file: file(), range, lost, why: why.to_string() }
                }
            };
            self.report.findings.push(finding);
        }
        match commit_last {
            Some(range) => {
                self.report.segments += 1;
                self.rewrite = Some((name.clone(), range));
                self.cut.push((name, keep));
            }
            None if keep > 0 => self.cut.push((name, keep)),
            None => self.remove.push(name),
        }
        Ok(walker.chain())
    }
}

/// Length of a quarantine file without the newlines of its pre-writing. Never less than its entries, whose
/// bytes may well end in newlines; and whatever is no newline stays, sound or not.
fn quarantine_used<F: VolumeFile>(file: &F, bytes: u64) -> io::Result<u64> {
    let mut line = [0; QUARANTINE_HEADER_BYTES];
    let mut at = 0u64;
    while at < bytes {
        let got = read_full_at(file, at, &mut line)?;
        match Refused::parse(&line[..got]) {
            Ok((entry, ..)) => at += QUARANTINE_HEADER_BYTES as u64 + u64::from(entry.length) + 1,
            Err(_) if !at.is_multiple_of(BLOCK) => at = at.next_multiple_of(BLOCK),
            Err(_) => break,
        }
    }
    let mut last = at.min(bytes);
    let mut window = vec![0; WINDOW_BYTES];
    while at < bytes {
        let got = read_full_at(file, at, &mut window)?;
        if got == 0 {
            break;
        }
        if let Some(index) = window[..got].iter().rposition(|&b| b != b'\n') {
            last = at + index as u64 + 1;
        }
        at += got as u64;
    }
    Ok(last.next_multiple_of(BLOCK).min(bytes))
}
