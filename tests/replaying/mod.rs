//! Segment folders written in memory, and what brokers hold of them.
#![allow(dead_code)] // Each test program uses its part.

use crate::common::{PATIENCE, TempDir, ringmill};
use ringmill_core::segment::testing::Writer;
use ringmill_kafka_kit::fake::{Fake, Stored};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// What an event's id is: shard and sequence number.
pub type Id = (u32, u64);

/// One shard's files, written commit by commit.
pub struct Files {
    folder: PathBuf,
    shard: u32,
    number: u64,
    pub writer: Writer,
}

impl Files {
    /// A first, empty segment of a shard.
    pub fn new(dir: &Path, shard: u32) -> Files {
        let folder = dir.join(format!("shard-{shard:03}"));
        fs::create_dir_all(&folder).unwrap();
        Files { folder, shard, number: 1, writer: Writer::new(shard, 1, Writer::FIRST) }
    }

    /// The next segment goes on from where this one ends.
    pub fn next_file(&mut self) {
        self.number += 1;
        self.writer = Writer::new(self.shard, self.number, self.writer.chain);
    }

    /// The file that is being written.
    pub fn path(&self) -> PathBuf {
        self.folder.join(format!("{:010}.seg", self.number))
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Sequence number of the newest event.
    pub fn last(&self) -> u64 {
        self.writer.chain.seq - 1
    }

    /// One commit of so many events of each stream; each event names its id.
    pub fn commit(&mut self, runs: &[(&str, usize)]) {
        self.commit_padded(runs, 0);
    }

    /// The same with events of at least so many bytes.
    pub fn commit_padded(&mut self, runs: &[(&str, usize)], bytes: usize) {
        let mut seq = self.writer.chain.seq;
        let mut all = Vec::new();
        for (stream, count) in runs {
            let events: Vec<Vec<u8>> =
                (seq..seq + *count as u64).map(|seq| event(self.shard, seq, bytes)).collect();
            seq += *count as u64;
            all.push((*stream, events));
        }
        let runs: Vec<(&str, Vec<&[u8]>)> = all
            .iter()
            .map(|(stream, events)| (*stream, events.iter().map(Vec::as_slice).collect()))
            .collect();
        let runs: Vec<(&str, &[&[u8]])> =
            runs.iter().map(|(stream, events)| (*stream, &events[..])).collect();
        self.writer.commit(&runs);
        self.save();
    }

    /// Writes the file as a server leaves it: newlines behind the last commit. What is there is written over in
    /// place, so that a reader never finds less than before.
    pub fn save(&self) {
        let mut bytes = self.writer.bytes.clone();
        bytes.resize(bytes.len() + (64 << 10), b'\n');
        let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(self.path()).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
    }
}

/// The bytes of an event.
pub fn event(shard: u32, seq: u64, bytes: usize) -> Vec<u8> {
    let mut event = format!("{{\"shard\":{shard},\"seq\":{seq},\"pad\":\"");
    while event.len() + 2 < bytes {
        event.push(char::from(b'a' + (seq % 26) as u8));
    }
    (event + "\"}").into_bytes()
}

/// `segments replay` of that folder to a topic of these brokers.
pub fn replay(dir: &Path, brokers: &[SocketAddr], topic: &str, more: &[&str]) -> Command {
    let list: Vec<String> = brokers.iter().map(ToString::to_string).collect();
    let mut command = ringmill();
    command.args(["segments", "replay"]).arg(dir);
    command.arg("--to").arg(format!("kafka:{}/{topic}", list.join(",")));
    command.args(["--kafka-partitions-max", "64", "--kafka-brokers-max", "4"]).args(more);
    command
}

/// Two shards in several files, with two streams: 1,500 events of shard 0, 300 of shard 11.
pub fn sample(name: &str) -> TempDir {
    let dir = TempDir::new(name);
    let mut files = Files::new(dir.path(), 0);
    files.commit(&[("default", 100), ("logs", 50), ("default", 150)]);
    files.commit_padded(&[("logs", 200)], 500);
    files.next_file();
    files.save();
    files.next_file();
    files.commit_padded(&[("default", 900), ("logs", 100)], 2000);
    let mut other = Files::new(dir.path(), 11);
    other.commit(&[("default", 300)]);
    dir
}

/// The id in a record's header, checked against the event's own words.
pub fn id(stored: &Stored) -> Id {
    let header = |name: &str| {
        let found = stored.record.headers.iter().find(|(header, _)| header == name);
        String::from_utf8(found.unwrap_or_else(|| panic!("no header {name}")).1.clone().unwrap()).unwrap()
    };
    let text = header("id");
    let (shard, seq) = text.split_once(':').unwrap();
    let id = (shard.parse().unwrap(), seq.parse().unwrap());
    let value: serde_json::Value = serde_json::from_slice(stored.record.value.as_ref().unwrap()).unwrap();
    assert_eq!((value["shard"].as_u64(), value["seq"].as_u64()), (Some(u64::from(id.0)), Some(id.1)));
    id
}

/// The ids in each partition of a topic, in the order of offsets.
pub fn ids(fake: &Fake, topic: &str, partitions: usize) -> Vec<Vec<Id>> {
    (0..partitions).map(|partition| fake.records(topic, partition).iter().map(id).collect()).collect()
}

/// How often each id is there; asserts that ids of a shard rise in each partition, once repeats are left out.
#[track_caller]
pub fn counted(partitions: &[Vec<Id>]) -> BTreeMap<Id, usize> {
    let mut counts = BTreeMap::new();
    for ids in partitions {
        let mut newest: BTreeMap<u32, u64> = BTreeMap::new();
        for id in ids {
            let count = counts.entry(*id).or_insert(0);
            *count += 1;
            if *count == 1 {
                let before = newest.insert(id.0, id.1);
                assert!(before.is_none_or(|before| before < id.1), "{id:?} came behind {before:?}");
            }
        }
    }
    counts
}

/// Exactly these ids are there, each once, in order.
#[track_caller]
pub fn assert_each_once(partitions: &[Vec<Id>], expected: impl IntoIterator<Item = Id>) {
    let counts = counted(partitions);
    let expected: BTreeMap<Id, usize> = expected.into_iter().map(|id| (id, 1)).collect();
    assert!(counts == expected, "{} of {}, or some twice", counts.len(), expected.len());
}

/// Waits until it holds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
