//! A directory of segments: its shards, their files, and the walk over all of them in order.
use ringmill_core::segment::{Chain, Depth, Front, ReadAt, Step, Walker, front};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// How long a commit that is being written is waited for: tries and pause. A commit takes as long as one
/// write and one flush; a second is far over what any device in service takes.
const TAIL_TRIES: u32 = 20;
const TAIL_PAUSE: Duration = Duration::from_millis(50);

/// A file by offset.
#[derive(Debug)]
pub struct Source(File);

impl Source {
    /// Opens the file for reading.
    ///
    /// # Errors
    /// As the system gives them.
    pub fn open(path: &Path) -> io::Result<Source> {
        File::open(path).map(Source)
    }
}

impl ReadAt for Source {
    type Error = io::Error;
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match FileExt::read_at(&self.0, out, offset) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

/// One file of a shard.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its number, from the name.
    pub number: u64,
    /// `shard-000/0000000001.seg`, as receipts name it.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes when the directory was read.
    pub len: u64,
}

/// One shard's files, each kind by rising number.
#[derive(Clone, Debug)]
pub struct Shard {
    /// Its number, from the directory's name.
    pub number: u32,
    /// `*.seg`
    pub segments: Vec<Segment>,
    /// `*.quarantine`
    pub quarantines: Vec<Segment>,
}

impl Shard {
    /// Length of all segments in bytes.
    pub fn len(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// Whether there is no segment.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }
}

/// The shards under `dir` by number, or only the one asked for.
///
/// # Errors
/// In words for the operator: no such directory, no shards in it, unreadable.
pub fn shards(dir: &Path, only: Option<u32>) -> Result<Vec<Shard>, String> {
    let told = |error: io::Error| match error.kind() {
        ErrorKind::NotFound => format!("{}: no such directory", dir.display()),
        ErrorKind::NotADirectory => format!("{}: not a directory", dir.display()),
        _ => format!("{}: {error}", dir.display()),
    };
    let mut shards = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(told)? {
        let entry = entry.map_err(told)?;
        let name = entry.file_name();
        let Some(number) = name.to_str().and_then(|name| numbered(name, "shard-", 3, "")) else { continue };
        let Ok(number) = u32::try_from(number) else { continue };
        if only.is_none_or(|only| only == number) {
            shards.push(
                files(&entry.path(), number)
                    .map_err(|error| format!("{}: {error}", entry.path().display()))?,
            );
        }
    }
    shards.sort_by_key(|shard| shard.number);
    match (shards.is_empty(), only) {
        (false, _) => Ok(shards),
        (true, Some(number)) => Err(format!("{}: no shard {number} here (shard-{number:03})", dir.display())),
        (true, None) => Err(format!(
            "{}: no shards here; the directory of `--sink segments:DIR` holds shard-000 and so on",
            dir.display()
        )),
    }
}

fn files(path: &Path, shard: u32) -> io::Result<Shard> {
    let mut found = Shard { number: shard, segments: Vec::new(), quarantines: Vec::new() };
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let (number, files) = match (numbered(name, "", 10, ".seg"), numbered(name, "", 10, ".quarantine")) {
            (Some(number), _) => (number, &mut found.segments),
            (_, Some(number)) => (number, &mut found.quarantines),
            _ => continue,
        };
        let len = match entry.metadata() {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        files.push(Segment { number, name: format!("shard-{shard:03}/{name}"), path: entry.path(), len });
    }
    found.segments.sort_by_key(|segment| segment.number);
    found.quarantines.sort_by_key(|segment| segment.number);
    Ok(found)
}

/// The number in `prefix` + at least `digits` digits + `suffix`.
fn numbered(name: &str, prefix: &str, digits: usize, suffix: &str) -> Option<u64> {
    let text = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
    let plain = text.len() >= digits && text.bytes().all(|byte| byte.is_ascii_digit());
    // Longer than needed only without leading zeros, so that every number has one name.
    (plain && (text.len() == digits || !text.starts_with('0'))).then(|| text.parse().ok()).flatten()
}

/// What a visitor is shown.
pub enum Visit<'a> {
    /// The walk of this segment begins.
    Open(&'a Segment),
    /// A step of it.
    Step(&'a Segment, &'a mut Walker<Source>, &'a Step),
    /// It could not be read (from this offset on).
    Failed(&'a Segment, u64, io::Error),
    /// Its walk is over.
    Close(&'a Segment),
}

/// Walks all segments of a shard, oldest first. `from` passes over segments that only hold smaller sequence numbers.
///
/// # Errors
/// What the visitor breaks off with.
pub fn walk<B>(
    shard: &Shard,
    depth: Depth,
    from: Option<u64>,
    mut visit: impl FnMut(Visit<'_>) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let mut chain = None;
    for (at, segment) in shard.segments.iter().enumerate() {
        let next = following(&shard.segments[at + 1..]);
        if from.is_some_and(|from| next.is_some_and(|next| next.seq <= from)) {
            continue;
        }
        let source = match Source::open(&segment.path) {
            Ok(source) => source,
            // Retention removed it since the directory was read.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                chain = None;
                continue;
            }
            Err(error) => {
                chain = None;
                visit(Visit::Failed(segment, 0, error))?;
                continue;
            }
        };
        visit(Visit::Open(segment))?;
        chain = segment_steps(source, shard.number, segment, (chain, next), depth, &mut visit)?;
        visit(Visit::Close(segment))?;
    }
    ControlFlow::Continue(())
}

fn segment_steps<B>(
    source: Source,
    shard: u32,
    segment: &Segment,
    (chain, next): (Option<Chain>, Option<ringmill_core::segment::Header>),
    depth: Depth,
    visit: &mut impl FnMut(Visit<'_>) -> ControlFlow<B>,
) -> ControlFlow<B, Option<Chain>> {
    let mut walker = Walker::new(source, shard, chain, next, depth);
    let (mut tries, mut grew) = (0, false);
    loop {
        match walker.step() {
            Ok(None) => return ControlFlow::Continue(walker.chain()),
            // The last segment's tail may be a commit on its way: wait for that one, and leave it at that.
            Ok(Some(Step::Tail { .. })) if next.is_none() && grew => {
                return ControlFlow::Continue(walker.chain());
            }
            Ok(Some(Step::Tail { .. })) if next.is_none() && tries < TAIL_TRIES => {
                tries += 1;
                sleep(TAIL_PAUSE);
                walker.retry();
            }
            Ok(Some(step)) => {
                grew |= tries > 0 && matches!(step, Step::Commit(_));
                visit(Visit::Step(segment, &mut walker, &step))?;
            }
            Err(error) => {
                visit(Visit::Failed(segment, walker.position(), error))?;
                return ControlFlow::Continue(None);
            }
        }
    }
}

/// The first header of the next segment that has one.
pub fn following(later: &[Segment]) -> Option<ringmill_core::segment::Header> {
    for segment in later {
        match front(&mut Source::open(&segment.path).ok()?).ok()? {
            Front::Header(header) => return Some(header),
            Front::Blank => {}
            Front::Spoiled => return None,
        }
    }
    None
}
