//! The names that files of a shard's directory may have.

use ringmill_core::sink::FileKind;

/// A name of ours, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// What the file is for.
    pub kind: FileKind,
    /// Its number: rises by file, per shard and kind.
    pub number: u64,
    /// Still being prepared: nothing was ever committed to it.
    pub temporary: bool,
}

impl Name {
    /// `0000000001.seg`, `0000000001.quarantine`, either with `.tmp` behind it; none for any other name.
    pub fn parse(name: &str) -> Option<Name> {
        let (stem, temporary) = match name.strip_suffix(".tmp") {
            Some(stem) => (stem, true),
            None => (name, false),
        };
        let (digits, ending) = stem.split_once('.')?;
        let kind = match ending {
            "seg" => FileKind::Segment,
            "quarantine" => FileKind::Quarantine,
            _ => return None,
        };
        // Ten digits until they no longer suffice; never a leading zero beyond them.
        let sound = digits.len() == 10 || (digits.len() > 10 && !digits.starts_with('0'));
        if !sound || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(Name { kind, number: digits.parse().ok()?, temporary })
    }

    /// The name as text.
    pub fn text(&self) -> String {
        let ending = match self.kind {
            FileKind::Segment => "seg",
            FileKind::Quarantine => "quarantine",
        };
        let tmp = if self.temporary { ".tmp" } else { "" };
        format!("{:010}.{ending}{tmp}", self.number)
    }
}

/// How far a shard's segments were replayed, in its directory.
pub const CURSOR: &str = "replay.cursor";
/// The next cursor while it is being written.
pub const CURSOR_NEW: &str = "replay.cursor.tmp";
/// Events that a replay's target refuses for good, in the shard's directory.
pub const REFUSED: &str = "replay.refused";
/// Held by whoever replays, beside the shards' directories.
pub const REPLAY_LOCK: &str = "replay.lock";

/// Whether a file of that name in a shard's directory is a replay's, and none of the server's business.
pub fn is_replays(name: &str) -> bool {
    matches!(name, CURSOR | CURSOR_NEW | REFUSED)
}

/// The directory of one shard.
pub fn shard_dir(shard: u32) -> String {
    format!("shard-{shard:03}")
}

/// The shard of a directory's name.
pub fn parse_shard_dir(name: &str) -> Option<u32> {
    let shard: u32 = name.strip_prefix("shard-")?.parse().ok()?;
    (shard_dir(shard) == name).then_some(shard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_exactly() {
        let sound = ["0000000001.seg", "0000000001.seg.tmp", "9999999999.quarantine", "10000000000.seg"];
        for name in sound {
            assert_eq!(Name::parse(name).expect(name).text(), name);
        }
        let foreign = [
            "1.seg",
            "00000000001.seg",
            "000000000a.seg",
            "0000000001.log",
            "0000000001",
            "x",
            "",
            "0000000001.seg.bak",
            "0000000001.tmp",
            "+000000001.seg",
            "0000000001.seg.tmp.tmp",
        ];
        for name in foreign {
            assert_eq!(Name::parse(name), None, "{name}");
            assert!(!is_replays(name), "{name}");
        }
        assert_eq!(parse_shard_dir("shard-007"), Some(7));
        assert_eq!(parse_shard_dir("shard-1000"), Some(1000));
        for name in ["shard-7", "shard-+07", "shard-0007", "shard-", "Shard-007"] {
            assert_eq!(parse_shard_dir(name), None, "{name}");
        }
    }
}
