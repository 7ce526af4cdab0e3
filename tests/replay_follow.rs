//! The replay beside a server that spills: it follows what becomes durable, and removes what is done.
//!
//! The server is played: files are written by hand, and their commits told as durable one by one.
mod common;
mod replaying;

use common::{PATIENCE, TempDir};
use kafka_protocol::messages::ApiKey;
use replaying::{Files, assert_each_once, counted, eventually, ids};
use ringmill::config::raw::{Given, Key, Raw};
use ringmill::config::{Origin, replay as config};
use ringmill::replay::{self, Committed, Follow, Handle, Hosting, Notice, Start, Target};
use ringmill::shard::driver::Kind;
use ringmill::shard::kafka::Setup;
use ringmill_kafka_kit::fake::{Act, Fake, Fault, Settings};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(5);

/// A replay that is followed, and what it told.
struct Replay {
    handle: Handle,
    told: Arc<Mutex<Vec<Notice>>>,
}

impl Replay {
    fn start(dir: &Path, fake: &Fake, shards: &[(u32, u64, u64)]) -> Replay {
        Replay::try_start(dir, fake, shards, Kind::Glommio).unwrap()
    }

    fn try_start(
        dir: &Path,
        fake: &Fake,
        shards: &[(u32, u64, u64)],
        driver: Kind,
    ) -> Result<Replay, String> {
        let list: Vec<String> = fake.addresses().iter().map(ToString::to_string).collect();
        let mut raw = Raw::default();
        for (name, value) in [
            ("kafka.partitions_max", "64"),
            ("kafka.brokers_max", "4"),
            ("kafka.request_timeout_s", "1"),
            ("kafka.delivery_timeout_s", "1"),
            // So that an event goes to the same partition whoever sends it.
            ("kafka.key", "/seq"),
        ] {
            let given = Given { texts: vec![value.into()], origin: Origin::Flag(name.into()) };
            raw.set(Key::find(name).unwrap(), given);
        }
        let plan = config::load(&format!("kafka:{}/events", list.join(",")), "auto", raw).unwrap();
        let config::Target::Kafka(address, kafka) = &plan.target;
        let told: Arc<Mutex<Vec<Notice>>> = Arc::default();
        let to = told.clone();
        let settings = Follow {
            dir: dir.to_path_buf(),
            shards: shards
                .iter()
                .map(|&(shard, segment, through)| Start { shard, segment, through })
                .collect(),
            target: Target::Kafka(Box::new(Setup::new(address, kafka).unwrap())),
            name: plan.name.clone(),
            hosting: Hosting {
                cores: Vec::new(),
                driver,
                executor_io_bytes: plan.executor_io_bytes as usize,
            },
            remove: true,
        };
        let handle = replay::follow(settings, move |notice| to.lock().unwrap().push(notice))?;
        Ok(Replay { handle, told })
    }

    /// Tells the newest commit of these files as durable.
    fn committed(&self, shard: u32, files: &Files) {
        let (segment, through) = (files.number(), files.last());
        self.handle.committed(shard, Committed { segment, through, bytes: 1000, time_ms: 1_763_000_000_000 });
    }

    fn through(&self, lane: usize) -> u64 {
        self.handle.progress()[lane].through
    }

    #[track_caller]
    fn reaches(&self, lane: usize, through: u64) {
        let end = Instant::now() + PATIENCE;
        while self.through(lane) < through {
            let progress = self.handle.progress();
            assert!(
                Instant::now() < end,
                "not through {through}: {progress:?}, {:?}",
                self.told.lock().unwrap()
            );
            thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(self.through(lane), through);
    }

    /// Whether something was told that this finds.
    fn told(&self, find: impl Fn(&Notice) -> bool) -> bool {
        self.told.lock().unwrap().iter().any(find)
    }

    fn removed(&self) -> Vec<String> {
        let told = self.told.lock().unwrap();
        let file = |notice: &Notice| match notice {
            Notice::Removed { file, .. } => Some(file.clone()),
            _ => None,
        };
        told.iter().filter_map(file).collect()
    }
}

fn fake() -> Fake {
    Fake::start(Settings::default().topic("events", 2))
}

fn all(shard: u32, last: u64) -> impl Iterator<Item = (u32, u64)> {
    (1..=last).map(move |seq| (shard, seq))
}

#[test]
fn it_follows_and_never_reads_beyond_what_is_durable() {
    for driver in [Kind::Glommio, Kind::Uring] {
        let (dir, fake) = (TempDir::new("follow"), fake());
        let mut files = [Files::new(dir.path(), 0), Files::new(dir.path(), 1)];
        let replay = Replay::try_start(dir.path(), &fake, &[(0, 0, 0), (1, 0, 0)], driver).unwrap();
        for round in 1..=6 {
            for shard in [0, 1] {
                let it = &mut files[shard as usize];
                it.commit_padded(&[("default", 40), ("logs", 10)], 300);
                replay.committed(shard, it);
                // The next commit is on its way to the disk, and not told yet.
                let durable = it.last();
                let torn = it.writer.clone();
                it.commit(&[("logs", 7)]);
                replay.reaches(shard as usize, durable);
                it.writer = torn;
                it.save();
                if round % 2 == 0 {
                    it.next_file();
                    it.save();
                }
            }
        }
        let progress = replay.handle.progress();
        assert_eq!((progress[1].replayed_events, progress[1].waiting_events), (300, 0));
        assert_eq!((progress[0].waiting_bytes, progress[0].oldest_ms, &progress[0].stuck), (0, None, &None));
        replay.handle.stop(SOON);
        assert_each_once(&ids(&fake, "events", 2), all(0, 300).chain(all(1, 300)));
        assert_eq!(fake.complaints(), Vec::<String>::new());
        assert!(replay.told(|notice| *notice == Notice::Replicated { shard: 1, through: 300 }));
        assert!(!replay.told(|notice| matches!(notice, Notice::Damaged { .. } | Notice::Replaced { .. })));
    }
}

#[test]
fn whole_segments_go_when_they_are_done_but_never_the_newest() {
    let (dir, fake) = (TempDir::new("follow-remove"), fake());
    let mut files = Files::new(dir.path(), 0);
    let replay = Replay::start(dir.path(), &fake, &[(0, 0, 0)]);
    let mut paths = Vec::new();
    for _ in 0..4 {
        files.commit(&[("default", 20)]);
        files.commit(&[("default", 5)]);
        paths.push(files.path());
        replay.committed(0, &files);
        replay.reaches(0, files.last());
        assert!(files.path().exists(), "the newest stays");
        files.next_file();
        // A spare, made ahead.
        files.save();
    }
    eventually("the others go", || paths[..3].iter().all(|path| !path.exists()));
    assert!(paths[3].exists() && files.path().exists());
    let names = ["shard-000/0000000001.seg", "shard-000/0000000002.seg", "shard-000/0000000003.seg"];
    assert_eq!(replay.removed(), names);
    replay.handle.stop(SOON);
    // The next start finds nothing to do, and goes on with what comes.
    let replay = Replay::start(dir.path(), &fake, &[(0, 5, 100)]);
    assert_eq!((replay.through(0), replay.handle.progress()[0].waiting_events), (100, 0));
    files.next_file();
    files.commit(&[("logs", 11)]);
    replay.committed(0, &files);
    replay.reaches(0, 111);
    replay.handle.stop(SOON);
    assert_each_once(&ids(&fake, "events", 2), all(0, 111));
}

#[test]
fn commits_that_failed_are_never_replayed() {
    let (dir, fake) = (TempDir::new("follow-failed"), fake());
    let mut files = Files::new(dir.path(), 0);
    let replay = Replay::start(dir.path(), &fake, &[(0, 0, 0)]);
    files.commit(&[("default", 10)]);
    replay.committed(0, &files);
    replay.reaches(0, 10);
    for _ in 0..3 {
        // On the disk, and whole, and yet its flush failed: the next file takes its numbers.
        let before = files.writer.chain;
        files.commit(&[("failed", 3)]);
        files.writer.chain = before;
        files.next_file();
        files.commit(&[("default", 10)]);
        replay.committed(0, &files);
        replay.reaches(0, files.last());
    }
    replay.handle.stop(SOON);
    assert_each_once(&ids(&fake, "events", 2), all(0, 40));
    let streams = (0..2).flat_map(|partition| fake.records("events", partition));
    assert!(streams.into_iter().all(|stored| stored.record.headers[0].1.as_deref() == Some(&b"default"[..])));
    assert!(!replay.told(|notice| matches!(notice, Notice::Damaged { .. })));
}

#[test]
fn brokers_that_come_and_go_lose_and_double_nothing() {
    let (dir, fake) = (TempDir::new("follow-away"), fake());
    let mut files = Files::new(dir.path(), 0);
    fake.stop_node(1);
    for _ in 0..3 {
        files.commit_padded(&[("default", 300)], 400);
    }
    let replay = Replay::start(dir.path(), &fake, &[(0, 1, 900)]);
    let progress = &replay.handle.progress()[0];
    assert_eq!((progress.through, progress.waiting_events, progress.oldest_ms.is_some()), (0, 900, true));
    assert!(progress.waiting_bytes > 900 * 400);
    // Longer than a delivery may last for others: it waits all the same.
    eventually("it says why", || {
        replay.handle.progress()[0]
            .stuck
            .as_ref()
            .is_some_and(|why| why.contains("no Kafka broker can be reached"))
    });
    thread::sleep(Duration::from_millis(1500));
    fake.fault(Fault::next(ApiKey::Produce, Act::CloseAfter).times(2));
    fake.fault(Fault::next(ApiKey::Produce, Act::DropAnswer).after(3));
    fake.start_node(1);
    replay.reaches(0, 900);
    for _ in 0..10 {
        files.commit(&[("default", 30)]);
        replay.committed(0, &files);
        fake.cut(1);
        thread::sleep(Duration::from_millis(10));
    }
    replay.reaches(0, 1200);
    assert_eq!(replay.handle.progress()[0].stuck, None);
    replay.handle.stop(SOON);
    assert_each_once(&ids(&fake, "events", 2), all(0, 1200));
    assert_eq!(fake.complaints(), Vec::<String>::new());
}

#[test]
fn events_that_were_not_written_go_again_before_anything_newer() {
    let (dir, fake) = (TempDir::new("follow-rejected"), fake());
    let mut files = Files::new(dir.path(), 0);
    for _ in 0..8 {
        files.commit_padded(&[("default", 500)], 1000);
    }
    // Rejected by a policy of one partition, for a while; the other one takes its own.
    fake.fault(Fault::next(ApiKey::Produce, Act::Error(44)).after(2).times(2));
    let replay = Replay::start(dir.path(), &fake, &[(0, 1, 4000)]);
    eventually("it says why", || {
        replay.told(|notice| matches!(notice, Notice::Stuck { why } if why.contains("POLICY_VIOLATION")))
    });
    files.commit(&[("default", 100)]);
    replay.committed(0, &files);
    replay.reaches(0, 4100);
    assert!(replay.told(|notice| *notice == Notice::Moving));
    assert_eq!(replay.handle.progress()[0].refused_events, 0);
    replay.handle.stop(SOON);
    assert_each_once(&ids(&fake, "events", 2), all(0, 4100));
    assert_eq!(fake.complaints(), Vec::<String>::new());
}

#[test]
fn a_stop_is_bounded_and_the_next_start_goes_on() {
    let (dir, fake) = (TempDir::new("follow-stop"), fake());
    let mut files = Files::new(dir.path(), 0);
    for _ in 0..20 {
        files.commit_padded(&[("default", 400)], 1000);
    }
    let mut through = 0;
    for round in 0..4 {
        fake.fault(Fault::next(ApiKey::Produce, Act::Freeze).after(round));
        let replay = Replay::start(dir.path(), &fake, &[(0, 1, 8000)]);
        assert!(replay.through(0) >= through);
        // The broker answers nobody any more: the stop does not wait for it.
        eventually("it struck", || fake.faults_left() == 0);
        let began = Instant::now();
        replay.handle.stop(Duration::from_millis(200));
        assert!(began.elapsed() < PATIENCE);
        through = replay.through(0);
        fake.cut(1);
    }
    let replay = Replay::start(dir.path(), &fake, &[(0, 1, 8000)]);
    replay.reaches(0, 8000);
    replay.handle.stop(SOON);
    // What was out may have come twice; nothing is missing, and nothing came before what is older.
    assert_eq!(counted(&ids(&fake, "events", 2)).len(), 8000);
}

#[test]
fn what_is_refused_is_kept_and_a_full_disk_holds_it_up() {
    let dir = TempDir::new("follow-refused");
    let fake = Fake::start(Settings { batch_bytes_max: 30_000, ..Settings::default() }.topic("events", 1));
    let mut files = Files::new(dir.path(), 0);
    let refused = dir.join("shard-000/replay.refused");
    std::os::unix::fs::symlink("/dev/full", &refused).unwrap();
    let replay = Replay::start(dir.path(), &fake, &[(0, 0, 0)]);
    files.commit(&[("default", 10)]);
    replay.committed(0, &files);
    replay.reaches(0, 10);
    files.commit_padded(&[("logs", 1)], 60_000);
    files.commit(&[("default", 10)]);
    replay.committed(0, &files);
    eventually("it says so", || {
        replay.told(|notice| matches!(notice, Notice::Failing { what, .. } if what.contains("keep")))
    });
    assert_eq!(replay.through(0), 10, "what cannot be kept is not passed");
    fs::remove_file(&refused).unwrap();
    replay.reaches(0, 21);
    assert_eq!(replay.handle.progress()[0].refused_events, 1);
    assert!(replay.told(|notice| matches!(notice, Notice::Refused { seq: 11, .. })));
    assert!(replay.told(|notice| matches!(notice, Notice::Recovered { .. })));
    replay.handle.stop(SOON);
    assert!(fs::read_to_string(&refused).unwrap().contains("\"seq\":11"));
    assert_each_once(&ids(&fake, "events", 1), all(0, 21).filter(|id| id.1 != 11));
}

#[test]
fn damage_is_told_and_its_segment_stays() {
    let (dir, fake) = (TempDir::new("follow-damage"), fake());
    let mut files = Files::new(dir.path(), 0);
    files.commit(&[("default", 10)]);
    let at = files.writer.bytes.len() + 500;
    files.commit(&[("default", 10)]);
    files.commit(&[("default", 10)]);
    let spoiled = files.path();
    let mut bytes = fs::read(&spoiled).unwrap();
    bytes[at] ^= 1;
    fs::write(&spoiled, bytes).unwrap();
    files.next_file();
    files.commit(&[("default", 10)]);
    for _ in 0..2 {
        let replay = Replay::start(dir.path(), &fake, &[(0, 2, 40)]);
        replay.reaches(0, 40);
        replay.handle.stop(SOON);
        assert!(spoiled.exists(), "somebody may want to look at it");
    }
    assert_each_once(&ids(&fake, "events", 2), all(0, 40).filter(|id| !(11..=20).contains(&id.1)));
}

#[test]
fn what_is_lost_at_the_end_holds_nobody_up() {
    let (dir, fake) = (TempDir::new("follow-lost"), fake());
    let mut files = Files::new(dir.path(), 0);
    files.commit(&[("default", 10)]);
    let replay = Replay::start(dir.path(), &fake, &[(0, 1, 10)]);
    replay.reaches(0, 10);
    // Told as durable, and not there: the device lies.
    replay.handle.committed(0, Committed { segment: 1, through: 15, bytes: 9, time_ms: 1 });
    replay.reaches(0, 15);
    eventually("the shard hears of it", || {
        replay.told(|notice| *notice == Notice::Replicated { shard: 0, through: 15 })
    });
    let lost = "damaged: shard 0: events 11 to 15 are in no segment";
    assert!(replay.told(|notice| matches!(notice, Notice::Damaged { line } if line == lost)));
    files.writer.chain.seq = 16;
    files.next_file();
    files.commit(&[("default", 5)]);
    replay.committed(0, &files);
    replay.reaches(0, 20);
    replay.handle.stop(SOON);
    assert_each_once(&ids(&fake, "events", 2), all(0, 20).filter(|id| !(11..=15).contains(&id.1)));
}

#[test]
fn numbers_that_are_given_again_are_replayed_again() {
    let (dir, fake) = (TempDir::new("follow-again"), fake());
    let mut files = Files::new(dir.path(), 0);
    files.commit(&[("default", 10)]);
    let chain = files.writer.chain;
    files.commit(&[("default", 10)]);
    let replay = Replay::start(dir.path(), &fake, &[(0, 1, 20)]);
    replay.reaches(0, 20);
    replay.handle.stop(SOON);
    // A power cut took the second commit, so the server gives its numbers again.
    files.writer = {
        let mut before = files.writer.clone();
        before.bytes.truncate(4096);
        before.chain = chain;
        before
    };
    files.save();
    let replay = Replay::start(dir.path(), &fake, &[(0, 1, 10)]);
    assert_eq!(replay.through(0), 10);
    files.next_file();
    files.commit(&[("logs", 5)]);
    replay.committed(0, &files);
    replay.reaches(0, 15);
    replay.handle.stop(SOON);
    let logs = (0..2).flat_map(|partition| fake.records("events", partition));
    assert_eq!(logs.filter(|stored| stored.record.headers[0].1.as_deref() == Some(&b"logs"[..])).count(), 5);
}

#[test]
fn a_folder_has_one_replay() {
    let (dir, fake) = (TempDir::new("follow-lock"), fake());
    Files::new(dir.path(), 0);
    let replay = Replay::start(dir.path(), &fake, &[(0, 0, 0)]);
    let second = Replay::try_start(dir.path(), &fake, &[(0, 0, 0)], Kind::Glommio);
    assert!(second.err().is_some_and(|why| why.contains("is being replayed already")));
    replay.handle.stop(SOON);
    Replay::start(dir.path(), &fake, &[(0, 0, 0)]).handle.stop(SOON);
}
