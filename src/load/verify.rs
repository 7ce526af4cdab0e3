//! `--verify`: everything that a target has stored, event by event, for `core::load::reconcile` to count.
//!
//! A directory is walked as `ringmill segments` walks it, with every checksum and the chain of headers: what is
//! damaged, unfinished or superseded is not stored. A file is a dump as any sink may write it, one event a line.
//! Which events were acknowledged, and what is lost, is not decided here.
use crate::command::segments::directory::{Segment, Source, Visit, shards, walk};
use crate::core::segment::{Commit, Depth, HEADER_BYTES, Header, Step, Walker};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::Path;

/// Longest line of a dump, in bytes. Events of ringmill have at most 256 KiB; other servers may allow more.
const LINE_BYTES_MAX: usize = 16 << 20;

/// How a header line of a segment begins, in case a segment file is named as a dump.
const HEADER_START: &[u8] = b"{\"ringmill\":1,";

/// Damaged places that are told one by one.
const TOLD_MAX: usize = 20;

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Events that are there.
    pub events: u64,
    /// Their bytes, without line ends.
    pub bytes: u64,
    /// Damaged places, in words; the first twenty.
    pub damage: Vec<String>,
    /// How many places are damaged.
    pub damaged: u64,
}

impl Stored {
    fn found(&mut self, place: String) {
        self.damaged += 1;
        if self.damage.len() < TOLD_MAX {
            self.damage.push(place);
        }
    }

    fn event(&mut self, event: &[u8], each: &mut impl FnMut(&[u8])) {
        self.events += 1;
        self.bytes += event.len() as u64;
        each(event);
    }
}

/// Whether [`read`] could begin: asked before a run, for nothing is worse than to learn it afterwards. A directory
/// or file that the target has yet to make is all right if the folder it belongs in is there.
///
/// # Errors
/// What is wrong with the path and what to name instead.
pub fn readable(path: &Path) -> Result<(), String> {
    let why = match std::fs::metadata(path) {
        Ok(_) => File::open(path).map(drop).err().map(|error| error.to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (!above.is_dir()).then(|| error.to_string())
        }
        Err(error) => Some(error.to_string()),
    };
    why.map_or(Ok(()), |why| {
        Err(format!(
            "--verify {}: {why}; name the directory of `--sink segments:DIR` or a file with one event a line",
            path.display()
        ))
    })
}

/// Shows each stored event to `each`, without its line end.
///
/// # Errors
/// When nothing can be read there at all; damage in places is in the result.
pub fn read(path: &Path, each: &mut impl FnMut(&[u8])) -> Result<Stored, String> {
    if path.is_dir() { segments(path, each) } else { dump(path, each) }
}

fn dump(path: &Path, each: &mut impl FnMut(&[u8])) -> Result<Stored, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut reader = BufReader::with_capacity(256 << 10, File::open(path).map_err(failed)?);
    let (mut stored, mut lines) = (Stored::default(), Lines::default());
    loop {
        let piece = reader.fill_buf().map_err(failed)?;
        if piece.is_empty() {
            break;
        }
        let used = piece.len();
        lines.feed(piece, &mut |line| line_of_dump(line, &mut stored, each));
        if lines.rest.len() > LINE_BYTES_MAX {
            return Err(format!("{}: a line is longer than 16 MiB; this is no NDJSON", path.display()));
        }
        reader.consume(used);
    }
    // The last line counts with or without its end.
    let rest = std::mem::take(&mut lines.rest);
    line_of_dump(&rest, &mut stored, each);
    Ok(stored)
}

fn line_of_dump(line: &[u8], stored: &mut Stored, each: &mut impl FnMut(&[u8])) {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if !line.iter().all(u8::is_ascii_whitespace) && !line.starts_with(HEADER_START) {
        stored.event(line, each);
    }
}

/// Puts lines together that come in pieces.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Shows each line that is complete with this piece, without its end.
    fn feed(&mut self, mut piece: &[u8], each: &mut impl FnMut(&[u8])) {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            if self.rest.is_empty() {
                each(&piece[..end]);
            } else {
                self.rest.extend_from_slice(&piece[..end]);
                each(&self.rest);
                self.rest.clear();
            }
            piece = &piece[end + 1..];
        }
        self.rest.extend_from_slice(piece);
    }
}

fn segments(dir: &Path, each: &mut impl FnMut(&[u8])) -> Result<Stored, String> {
    let mut stored = Stored::default();
    for shard in shards(dir, None)? {
        let last = shard.segments.last().map(|segment| segment.number);
        let walked = walk(&shard, Depth::Full, None, |visit| {
            match visit {
                Visit::Step(segment, walker, Step::Commit(commit)) => {
                    if let Err(why) = commit_events(segment, walker, commit, &mut stored, each) {
                        return ControlFlow::Break(why);
                    }
                }
                Visit::Step(segment, _, Step::Damage(damage)) => stored.found(format!(
                    "{} bytes {}..{}: {}",
                    segment.name, damage.range.start, damage.range.end, damage.why
                )),
                // Behind an earlier segment's tail the next one goes on: a server that died, nothing promised.
                Visit::Step(segment, _, Step::Tail { range, why }) if last == Some(segment.number) => {
                    stored.found(format!("{} bytes {}..{}: {why}", segment.name, range.start, range.end));
                }
                Visit::Failed(segment, offset, error) => {
                    stored.found(format!("{} cannot be read from byte {offset} on: {error}", segment.name));
                }
                _ => {}
            }
            ControlFlow::Continue(())
        });
        if let ControlFlow::Break(why) = walked {
            return Err(why);
        }
    }
    Ok(stored)
}

/// The events of a sound commit: each run's bytes are lines.
fn commit_events(
    segment: &Segment,
    walker: &mut Walker<Source>,
    commit: &Commit,
    stored: &mut Stored,
    each: &mut impl FnMut(&[u8]),
) -> Result<(), String> {
    let unread = |error| format!("{} cannot be read: {error}", segment.name);
    let changed = || format!("{} changed while it was read", segment.name);
    let mut at = commit.start;
    let mut lines = Lines::default();
    for _ in 0..commit.runs {
        let head = walker.bytes(at, HEADER_BYTES).map_err(unread)?;
        let header = Header::parse(head).map_err(|_| changed())?;
        let mut from = at + HEADER_BYTES as u64;
        at = from + u64::from(header.bytes);
        while from < at {
            let want = (at - from).min(Walker::<Source>::WINDOW_BYTES as u64) as usize;
            let piece = walker.bytes(from, want).map_err(unread)?;
            if piece.is_empty() {
                return Err(changed());
            }
            from += piece.len() as u64;
            lines.feed(piece, &mut |event| stored.event(event, each));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmill_core::segment::testing::Writer;

    fn temp(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("ringmill-verify-{name}-{}", std::process::id()))
    }

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let text = b"{\"a\":1}\n\n{\"bb\":22}\r\n{\"c\":3}";
        for at in 0..=text.len() {
            let mut seen: Vec<Vec<u8>> = Vec::new();
            let mut lines = Lines::default();
            for piece in [&text[..at], &text[at..]] {
                lines.feed(piece, &mut |line| seen.push(line.to_vec()));
            }
            assert_eq!(seen, [&b"{\"a\":1}"[..], b"", b"{\"bb\":22}\r"], "cut at {at}");
            assert_eq!(lines.rest, b"{\"c\":3}");
        }
    }

    #[test]
    fn a_dump_holds_events_and_nothing_else_counts() {
        let path = temp("dump");
        for (text, expected) in [
            ("", vec![]),
            ("{\"a\":1}", vec!["{\"a\":1}"]),
            ("{\"a\":1}\r\n \n\n{\"b\":2}\n", vec!["{\"a\":1}", "{\"b\":2}"]),
            ("{\"ringmill\":1,\"shard\":0}   \n{\"b\":2}\n\n\n\n", vec!["{\"b\":2}"]),
            ("not json\n", vec!["not json"]),
        ] {
            std::fs::write(&path, text).unwrap();
            let mut seen = Vec::new();
            let stored =
                read(&path, &mut |event| seen.push(String::from_utf8(event.to_vec()).unwrap())).unwrap();
            assert_eq!(seen, expected, "{text:?}");
            assert_eq!((stored.events as usize, stored.damaged), (expected.len(), 0));
            assert_eq!(stored.bytes as usize, expected.iter().map(|event| event.len()).sum::<usize>());
        }
        std::fs::write(&path, vec![b'x'; LINE_BYTES_MAX + 1]).unwrap();
        assert!(read(&path, &mut |_| ()).unwrap_err().contains("no NDJSON"));
        std::fs::remove_file(&path).unwrap();
        assert!(read(&path, &mut |_| ()).unwrap_err().contains("No such file"));
    }

    #[test]
    fn segments_give_their_events_and_damage_takes_a_commit_away() {
        let dir = temp("segments");
        let big = format!("{{\"big\":\"{}\"}}", "b".repeat(300_000));
        let mut writer = Writer::new(0, 1, Writer::FIRST);
        writer.commit(&[("default", &[b"{\"n\":1}", big.as_bytes()]), ("logs", &[b"{\"n\":3}"])]);
        let first = writer.bytes.len();
        writer.commit(&[("default", &[b"{\"n\":4}"])]);
        std::fs::create_dir_all(dir.join("shard-000")).unwrap();
        for (length, events, damaged) in [(writer.bytes.len(), 4, 0), (first, 3, 0), (first + 100, 3, 1)] {
            std::fs::write(dir.join("shard-000/0000000001.seg"), &writer.bytes[..length]).unwrap();
            let mut seen = Vec::new();
            let stored = read(&dir, &mut |event| seen.push(event.to_vec())).unwrap();
            assert_eq!((stored.events, stored.damaged), (events, damaged), "{length}: {stored:?}");
            assert_eq!(stored.damage.len() as u64, damaged);
            assert_eq!(seen[..3], [b"{\"n\":1}".to_vec(), big.clone().into_bytes(), b"{\"n\":3}".to_vec()]);
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_cannot_be_read_is_told_before_a_run() {
        let dir = temp("none");
        for (path, needle) in [(dir.join("deep/er"), Some("--sink segments:DIR")), (dir.clone(), None)] {
            let told = readable(&path);
            assert_eq!(told.is_ok(), needle.is_none(), "{told:?}");
            assert!(told.err().unwrap_or_default().contains(needle.unwrap_or_default()));
        }
        assert_eq!(readable(Path::new("/")), Ok(()));
        assert!(segments(&std::env::temp_dir().join("ringmill-no-such"), &mut |_| ()).is_err());
    }
}
