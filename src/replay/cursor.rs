//! How far a shard's segments were replayed, and to where: a small file beside them.
//!
//! It names the commit where the reading goes on and the header before that one by its hash, so that a chain which
//! was replaced since (a failed flush, a copy put back) is noticed. It is replaced as a whole: written beside,
//! synced, renamed, and the folder synced.
use crate::core::segment::{Chain, Hash};
use crate::sink::name::{CURSOR, CURSOR_NEW};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

/// Longest cursor file that is read: names, a few numbers, and numbers of segments.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// A place between two events of a shard's segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Number of the segment; 0: before the first.
    pub segment: u64,
    /// Where in it the commit begins that holds `next`, or will.
    pub offset: u64,
    /// The chain before that commit; `None`: whatever stands there.
    pub chain: Option<Chain>,
    /// Sequence number of the first event that is not done.
    pub next: u64,
}

/// What a cursor file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Where the events went.
    pub target: String,
    /// The one stream that was replayed; `None`: all.
    pub stream: Option<String>,
    /// Where it goes on.
    pub place: Place,
    /// Segments that hold what could not be read: they are never removed.
    pub kept: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    ringmill_replay: u32,
    target: String,
    stream: Option<String>,
    segment: u64,
    offset: u64,
    commit: Option<u64>,
    seq: Option<u64>,
    prev: Option<String>,
    next: u64,
    #[serde(default)]
    kept: Vec<u64>,
}

/// The format's version.
const VERSION: u32 = 1;

impl Cursor {
    fn encode(&self) -> Vec<u8> {
        let Place { segment, offset, chain, next } = self.place;
        let text = Text {
            ringmill_replay: VERSION,
            target: self.target.clone(),
            stream: self.stream.clone(),
            segment,
            offset,
            commit: chain.map(|chain| chain.commit),
            seq: chain.map(|chain| chain.seq),
            prev: chain.map(|chain| chain.prev.to_string()),
            next,
            kept: self.kept.clone(),
        };
        let mut line = serde_json::to_vec(&text).unwrap_or_default();
        line.push(b'\n');
        line
    }

    fn decode(bytes: &[u8]) -> Result<Cursor, String> {
        let text: Text = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if text.ringmill_replay != VERSION {
            return Err(format!("it is of version {}, not {VERSION}", text.ringmill_replay));
        }
        let chain = match (text.commit, text.seq, text.prev) {
            (None, None, None) => None,
            (Some(commit), Some(seq), Some(prev)) => {
                let prev = Hash::from_hex(prev.as_bytes()).ok_or("prev is not 64 hex digits")?;
                Some(Chain { commit, seq, prev })
            }
            _ => return Err("commit, seq and prev belong together".into()),
        };
        if !text.offset.is_multiple_of(crate::core::segment::BLOCK_BYTES as u64) {
            return Err(format!("no commit begins at offset {}", text.offset));
        }
        let place = Place { segment: text.segment, offset: text.offset, chain, next: text.next };
        Ok(Cursor { target: text.target, stream: text.stream, place, kept: text.kept })
    }

    /// Reads the cursor of a shard's folder; `None` when there is none.
    ///
    /// # Errors
    /// What is wrong with the file, and how to mend it.
    pub fn read(folder: &Path) -> Result<Option<Cursor>, String> {
        let path = folder.join(CURSOR);
        let fail = |why: String| format!("{}: {why}", path.display());
        let mut bytes = Vec::new();
        match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error.to_string())),
            Ok(file) => file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(|e| fail(e.to_string()))?,
        };
        Cursor::decode(&bytes)
            .map(Some)
            .map_err(|why| fail(format!("not a cursor ({why}); remove it to replay from the beginning")))
    }

    /// Replaces the cursor of a shard's folder, durably.
    ///
    /// # Errors
    /// As the system gives them; the one before is left then.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let new = folder.join(CURSOR_NEW);
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(&self.encode())?;
            file.sync_all()
        });
        let replaced = written.and_then(|()| fs::rename(&new, folder.join(CURSOR)));
        if replaced.is_err() {
            // Half a cursor helps nobody, and takes room where there may be none.
            let _ = fs::remove_file(&new);
        }
        replaced.and_then(|()| File::open(folder)?.sync_all())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor() -> Cursor {
        let chain = Some(Chain { commit: 7, seq: 100, prev: Hash([0xab; 32]) });
        let place = Place { segment: 3, offset: 8192, chain, next: 120 };
        Cursor { target: "kafka:a:1/t".into(), stream: Some("logs".into()), place, kept: vec![1] }
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = std::env::temp_dir().join(format!("ringmill-cursor-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        assert_eq!(Cursor::read(&dir), Ok(None));
        let fresh = Cursor { stream: None, place: Place::default(), ..cursor() };
        for cursor in [cursor(), fresh, cursor()] {
            cursor.write(&dir).unwrap();
            assert_eq!(Cursor::read(&dir), Ok(Some(cursor)));
            assert!(!dir.join(CURSOR_NEW).exists());
        }
        // What cannot be replaced stays as it is.
        fs::create_dir(dir.join(CURSOR_NEW)).unwrap();
        let other = Cursor { target: "other".into(), ..cursor() };
        assert!(other.write(&dir).is_err());
        assert_eq!(Cursor::read(&dir), Ok(Some(cursor())));
        fs::remove_dir_all(&dir).unwrap();
        assert!(cursor().write(&dir).is_err());
    }

    #[test]
    fn nothing_else_passes_for_a_cursor() {
        let whole = cursor().encode();
        assert_eq!(Cursor::decode(&whole), Ok(cursor()));
        for end in 0..whole.len() - 1 {
            assert!(Cursor::decode(&whole[..end]).is_err(), "cut at {end}");
        }
        let text = String::from_utf8(whole).unwrap();
        for (from, to) in [
            ("\"ringmill_replay\":1", "\"ringmill_replay\":2"),
            ("8192", "8193"),
            ("8192", "-1"),
            ("abab", "ab"),
            ("\"commit\":7", "\"commit\":null"),
            ("\"next\":120", "\"nxt\":120"),
            ("\"next\":120", "\"next\":120,\"more\":1"),
            ("}\n", "} x"),
        ] {
            assert!(text.contains(from), "{from}");
            assert!(Cursor::decode(text.replacen(from, to, 1).as_bytes()).is_err(), "{from} → {to}");
        }
    }
}
