//! Opening a real directory, whatever lies in it.

use std::fs;
use std::path::PathBuf;

use ringmill_core::batch::Batch;
use ringmill_core::segment::header::StreamName;
use ringmill_core::sink::segments::SegmentSink;
use ringmill_core::sink::{Mail, Request, Sealed, Sink};

use super::super::keeper;
use super::super::volume::{Volume, VolumeFile, write_all_at};
use super::*;

const BLOCK: usize = 4096;
const CAPACITY: u64 = 64 * 1024;

struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> TempDir {
        let dir = std::env::temp_dir().join(format!("ringmill-store-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        TempDir(dir)
    }

    fn open(&self, shards: u32) -> Result<Store, OpenError> {
        Store::open(&self.0, shards)
    }

    fn segment(&self, number: u64) -> PathBuf {
        self.0.join(format!("shard-000/{number:010}.seg"))
    }

    /// Opens, commits `commits` times two events in one block each, and stops as a killed process does.
    fn live(&self, commits: u64) {
        let store = self.open(1).expect("opens");
        let OpenShard { volume, resume, .. } = &store.shards[0];
        let mut sink = SegmentSink::new(0, resume);
        let mut files = Vec::new();
        while let Some(Request::Prepare { kind, number }) = sink.next_request() {
            let file = keeper::prepare(volume, kind, number, CAPACITY, |_| true).expect("space");
            let (raw, capacity) = (file.raw(), CAPACITY);
            files.push(file);
            sink.mail(Mail::Ready { kind, file: raw, number, id: 7 + number, capacity });
        }
        // Twice the size, so that a block can be found in it whose address is aligned.
        let mut aligned = vec![0; 2 * BLOCK];
        let skip = aligned.as_ptr().align_offset(BLOCK);
        let mut batch = Batch::new(vec![0; 2 * BLOCK]);
        for commit in 0..commits {
            for event in [format!("{{\"commit\":{commit}}}"), "{}".into()] {
                batch.append(&StreamName::DEFAULT, event.as_bytes(), false, 0).expect("room");
            }
            let Sealed::Write(extent) = sink.seal(&mut batch, 0) else { panic!("a file is ready") };
            aligned[skip..skip + BLOCK].copy_from_slice(batch.bytes(0..extent.len));
            let file = files.iter().find(|file| file.raw() == extent.file).expect("ours");
            write_all_at(file, extent.offset, &aligned[skip..skip + BLOCK]).expect("written");
            file.sync().expect("flushed");
            sink.committed();
            batch.clear();
        }
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn refusal(result: Result<Store, OpenError>) -> String {
    result.expect_err("must be refused").to_string()
}

#[test]
fn lives_follow_each_other() {
    let dir = TempDir::new("lives");
    for life in 0..3 {
        let store = dir.open(1).expect("opens");
        assert_eq!(store.report(), []);
        let resume = store.shards[0].resume;
        assert_eq!((resume.next_seq, resume.next_commit), (1 + life * 6, 1 + life * 3));
        drop(store);
        dir.live(3);
    }
    // Two files a life were made; the spare was removed at the next start, the other cut to its use. The
    // number of a file that never held anything is free again.
    dir.open(1).expect("opens");
    let volume = FsVolume::open(&dir.0.join("shard-000")).expect("opens");
    let files: Vec<_> =
        volume.list().expect("listed").into_iter().map(|file| (file.name, file.bytes)).collect();
    let kept = ["0000000001.seg", "0000000002.seg", "0000000003.seg"];
    assert_eq!(files, kept.map(|name| (name.to_owned(), 3 * BLOCK as u64)));
}

#[test]
fn a_torn_end_is_cut_and_damage_is_left_alone() {
    // Block changed, whether it is a cut.
    for (block, cut) in [(0, false), (1, false), (2, true)] {
        for at in [20, 384] {
            let dir = TempDir::new("damage");
            dir.live(3);
            let mut bytes = fs::read(dir.segment(1)).expect("read");
            bytes[block * BLOCK + at] ^= 4;
            fs::write(dir.segment(1), &bytes).expect("write");

            let store = dir.open(1).expect("opens");
            let report = store.report();
            assert_eq!(report.len(), 1, "{block} {at}: {report:?}");
            let (warning, line) = &report[0];
            assert_eq!(*warning, !cut, "{line}");
            assert!(line.contains("0000000001.seg") && line.contains(&(block * BLOCK).to_string()), "{line}");
            let stays = if cut { 2 * BLOCK } else { 3 * BLOCK };
            assert!(fs::read(dir.segment(1)).expect("read") == bytes[..stays], "{block} {at}: other bytes");
            assert_eq!(store.shards[0].resume.next_seq, if cut { 5 } else { 7 });
            drop(store);
            let findings = dir.open(1).expect("opens again").report().len();
            assert_eq!(findings, usize::from(!cut), "cut once, damage each time");
        }
    }
}

#[test]
fn a_lost_end_before_another_segment_is_damage() {
    let dir = TempDir::new("lost");
    dir.live(3);
    dir.live(3);
    dir.open(1).expect("opens");
    let bytes = fs::read(dir.segment(1)).expect("read");
    fs::write(dir.segment(1), &bytes[..2 * BLOCK + 100]).expect("write");
    let store = dir.open(1).expect("opens");
    let report = store.report();
    assert!(report.len() == 1 && report[0].0, "{report:?}");
    assert_eq!(store.shards[0].resume.next_seq, 13);
    assert!(fs::metadata(dir.segment(1)).expect("there").len() >= 2 * BLOCK as u64 + 100);
}

#[test]
fn what_is_foreign_is_refused_and_kept() {
    let dir = TempDir::new("foreign");
    dir.live(2);
    let cases: [(&str, &[u8], &str); 7] = [
        ("notes.txt", b"x", "notes.txt"),
        ("shard-1", b"x", "shard-1"),
        ("shard-000/notes.txt", b"x", "notes.txt: not a name that this server gives"),
        ("shard-000/0000000009.seg.bak", b"x", "0000000009.seg.bak: not a name"),
        ("shard-000/0000000000.seg", b"PK\x03\x04", "0000000000.seg: it does not begin like a segment"),
        ("shard-000/0000000009.seg", b"{\"ringmill\":2,", "0000000009.seg: it is of another version"),
        ("shard-000/0000000009.seg", b"\0\0\0\0", "0000000009.seg: it does not begin like a segment"),
    ];
    let before = fs::read(dir.segment(1)).expect("read");
    for (name, bytes, told) in cases {
        let path = dir.0.join(name);
        fs::write(&path, bytes).expect("write");
        let text = refusal(dir.open(1));
        assert!(text.contains(told), "{name}: {text}");
        assert!(text.contains("nothing was changed") && text.contains("--sink"), "{name}: {text}");
        assert_eq!(fs::read(&path).expect("kept"), bytes, "{name}");
        assert!(fs::read(dir.segment(1)).expect("kept") == before, "{name}: the segment changed");
        fs::remove_file(&path).expect("remove");
    }
    // A segment of another shard, in a place where it would be taken for this one's.
    fs::create_dir(dir.0.join("shard-001")).expect("mkdir");
    fs::copy(dir.segment(1), dir.0.join("shard-001/0000000001.seg")).expect("copy");
    assert!(refusal(dir.open(2)).contains("it was written by shard 0"));
}

#[test]
fn one_owner_at_a_time() {
    let dir = TempDir::new("owner");
    let store = dir.open(1).expect("opens");
    let text = refusal(dir.open(1));
    assert!(text.contains("in use by another server"), "{text}");
    let (_shards, lock) = store.into_parts();
    assert!(dir.open(1).is_err(), "the lock outlives the store");
    drop(lock);
    dir.open(1).expect("free again");
}

#[test]
fn shards_beyond_are_left_and_reported() {
    let dir = TempDir::new("beyond");
    dir.open(3).expect("opens");
    fs::write(dir.0.join("shard-002/0000000004.seg.tmp"), "half made").expect("write");
    let store = dir.open(1).expect("opens");
    assert_eq!(store.idle.iter().map(|open| open.shard).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(store.report().len(), 2);
    drop(store);
    assert_eq!(dir.open(3).expect("opens").shards.len(), 3);
}

#[test]
fn a_missing_or_forbidden_place_is_named() {
    let dir = TempDir::new("deep");
    Store::open(&dir.0.join("a/b/c"), 1).expect("made with its parents");
    fs::write(dir.0.join("a/file"), "").expect("write");
    let text = refusal(Store::open(&dir.0.join("a/file"), 1));
    assert!(text.contains("a/file"), "{text}");
}
