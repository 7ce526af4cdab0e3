//! The keeper on a real directory.

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use ringmill_core::sink::{FileKind, Mail, Request};

use super::super::volume::FsVolume;
use super::*;

const MIB: u64 = 1 << 20;

/// A directory of its own, gone at the end of the test.
struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> TempDir {
        let dir = std::env::temp_dir().join(format!("ringmill-keeper-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("a temporary directory");
        TempDir(dir)
    }

    fn names(&self) -> Vec<String> {
        let volume = FsVolume::open(&self.0).expect("open");
        volume.list().expect("list").into_iter().map(|entry| entry.name).collect()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Running {
    keeper: Keeper,
    mail: mpsc::Receiver<(u32, Mail)>,
    notices: mpsc::Receiver<Notice>,
}

impl Running {
    fn start(dirs: &[&TempDir], options: Options) -> Running {
        let volumes = dirs.iter().map(|dir| FsVolume::open(&dir.0).expect("open")).collect();
        let (mail_to, mail) = mpsc::channel();
        let (notice_to, notices) = mpsc::channel();
        let deliver = move |shard, mail| {
            let _ = mail_to.send((shard, mail));
        };
        let notice = move |notice| {
            let _ = notice_to.send(notice);
        };
        let keeper = Keeper::start(volumes, options, || {}, deliver, notice);
        Running { keeper: keeper.expect("a thread"), mail, notices }
    }

    fn ask(&self, shard: u32, request: Request) {
        self.keeper.requests().send((shard, request)).expect("the keeper runs");
    }

    fn prepare(&self, shard: u32, number: u64) {
        self.ask(shard, Request::Prepare { kind: FileKind::Segment, number });
    }

    fn next(&self) -> (u32, Mail) {
        self.mail.recv_timeout(Duration::from_secs(20)).expect("mail")
    }

    /// The descriptor, number, id and capacity of the next file, which must be ready.
    fn ready(&self) -> (u32, i32, u64, u64, u64) {
        match self.next() {
            (shard, Mail::Ready { file, number, id, capacity, .. }) => (shard, file, number, id, capacity),
            other => panic!("{other:?}"),
        }
    }

    fn retire(&self, shard: u32, file: i32, number: u64, used: u64) {
        self.ask(shard, Request::Retire { kind: FileKind::Segment, file, number, used });
    }

    fn stop(self) -> Vec<Notice> {
        self.keeper.join();
        self.notices.try_iter().collect()
    }
}

fn options() -> Options {
    Options {
        segment_bytes: 2 * MIB + 4096,
        quarantine_bytes: MIB,
        retention_bytes: None,
        retention_age: None,
        paced: true,
        filled_bytes_per_s_max: u64::MAX,
    }
}

#[test]
fn a_file_is_full_of_newlines_then_cut_to_its_use() {
    let dir = TempDir::new("prepare");
    let keeper = Running::start(&[&dir], options());
    keeper.prepare(0, 7);
    keeper.prepare(0, 7);
    keeper.prepare(0, 8);
    let (_, file, number, id, capacity) = keeper.ready();
    assert_eq!((number, capacity), (7, 2 * MIB + 4096));
    let (_, spare, number, other_id, _) = keeper.ready();
    assert_eq!(number, 8, "what was asked twice is made once");
    assert_ne!(id, other_id);
    let path = dir.0.join("0000000007.seg");
    assert_eq!(fs::read(&path).expect("readable"), vec![b'\n'; (2 * MIB + 4096) as usize]);

    keeper.retire(0, file, 7, 8192);
    keeper.retire(0, spare, 8, 0);
    assert_eq!(keeper.stop(), []);
    assert_eq!(fs::metadata(&path).expect("kept").len(), 8192);
    assert_eq!(dir.names(), ["0000000007.seg"], "the unused spare is gone");
}

#[test]
fn shards_that_fill_files_fast_get_spares_that_are_not_written_twice() {
    let dir = TempDir::new("fast");
    let whole = options().segment_bytes;
    let probe = FsVolume::open(&dir.0).and_then(|volume| volume.create("probe")).expect("a file");
    let allocates = probe.allocate(4096).expect("space");
    fs::remove_file(dir.0.join("probe")).expect("remove");
    // Whatever is filled at all is filled faster than this.
    let keeper = Running::start(&[&dir], Options { filled_bytes_per_s_max: 0, ..options() });
    keeper.prepare(0, 1);
    keeper.prepare(0, 2);
    let (_, first, ..) = keeper.ready();
    keeper.ready();
    let content = |number: u64| fs::read(dir.0.join(format!("{number:010}.seg"))).expect("readable");
    assert_eq!(content(2), vec![b'\n'; whole as usize], "as long as nothing is known, it is");
    keeper.retire(0, first, 1, whole);
    keeper.prepare(0, 3);
    assert_eq!((keeper.ready().2, content(3).len()), (3, whole as usize));
    assert_eq!(content(3), vec![if allocates { 0 } else { b'\n' }; whole as usize]);
    keeper.stop();
}

#[test]
fn a_pace_falls_when_a_file_lasts() {
    let dir = TempDir::new("pace");
    let mut shard = Shard::new(FsVolume::open(&dir.0).expect("open")).expect("empty");
    let (start, s) = (shard.since, Duration::from_secs(1));
    assert_eq!(shard.pace(100, start + s), 0, "none was full yet");
    shard.note_pace(100, start + 2 * s);
    assert_eq!(shard.pace(100, start + 2 * s), 50);
    assert_eq!(shard.pace(100, start + 4 * s), 50);
    assert_eq!(shard.pace(100, start + 12 * s), 10);
}

#[test]
fn whoever_has_nothing_comes_first() {
    let dirs = [TempDir::new("first-a"), TempDir::new("first-b"), TempDir::new("first-c")];
    let keeper = Running::start(&dirs.each_ref(), options());
    // All asked before the first can be done.
    for shard in 0..3 {
        keeper.prepare(shard, 1);
        keeper.prepare(shard, 2);
    }
    let order: Vec<_> =
        (0..6).map(|_| keeper.ready()).map(|(shard, _, number, ..)| (number, shard)).collect();
    for shard in 0..3 {
        let at = |number| order.iter().position(|&next| next == (number, shard)).expect("made");
        assert!(at(1) < at(2), "{order:?}");
    }
    keeper.stop();
}

#[test]
fn nothing_is_overwritten_and_the_shard_is_told_once() {
    let dir = TempDir::new("exists");
    fs::write(dir.0.join("0000000003.seg"), "precious").expect("write");
    let keeper = Running::start(&[&dir], options());
    keeper.prepare(0, 3);
    keeper.prepare(0, 4);
    assert_eq!(keeper.next(), (0, Mail::Failed { kind: FileKind::Segment, no_space: false }));
    assert!(matches!(keeper.notices.recv().expect("a notice"), Notice::Failing { .. }));
    assert_eq!(dir.names(), ["0000000003.seg"]);
    assert_eq!(fs::read(dir.0.join("0000000003.seg")).expect("read"), b"precious");

    // Tried again by itself, and file 4 does not come before file 3.
    fs::remove_file(dir.0.join("0000000003.seg")).expect("remove");
    assert_eq!(keeper.ready().2, 3);
    assert_eq!(keeper.ready().2, 4);
    assert!(matches!(keeper.stop()[..], [Notice::Recovered { .. }]));
}

#[test]
fn retention_takes_the_oldest_and_spares_the_chains_end() {
    let dir = TempDir::new("retention");
    for number in 1..=4 {
        fs::write(dir.0.join(format!("{number:010}.seg")), vec![b'x'; MIB as usize]).expect("write");
    }
    // Room for the open one and two of the four.
    let keeper = Running::start(&[&dir], Options { retention_bytes: Some(4 * MIB + 8192), ..options() });
    keeper.prepare(0, 5);
    let (_, file, ..) = keeper.ready();
    keeper.retire(0, file, 5, 4096);
    let removed: Vec<_> = keeper.stop().iter().map(|notice| notice.to_string()).collect();
    assert_eq!(removed.len(), 2, "{removed:?}");
    assert_eq!(dir.names(), ["0000000003.seg", "0000000004.seg", "0000000005.seg"]);

    let aged = Options { retention_age: Some(Duration::ZERO), ..options() };
    let keeper = Running::start(&[&dir], aged);
    keeper.prepare(0, 6);
    let (_, file, ..) = keeper.ready();
    keeper.retire(0, file, 6, 0);
    keeper.stop();
    assert_eq!(dir.names(), ["0000000005.seg"]);
}

#[test]
fn two_used_quarantine_files_are_kept() {
    let dir = TempDir::new("quarantine");
    let keeper = Running::start(&[&dir], options());
    for number in 1..=4 {
        keeper.ask(0, Request::Prepare { kind: FileKind::Quarantine, number });
        let (_, file, ..) = keeper.ready();
        keeper.ask(0, Request::Retire { kind: FileKind::Quarantine, file, number, used: 4096 });
    }
    keeper.stop();
    assert_eq!(dir.names(), ["0000000003.quarantine", "0000000004.quarantine"]);
}
