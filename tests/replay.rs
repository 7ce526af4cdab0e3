//! `ringmill segments replay` from outside: folders of segments, a strict fake broker, and real Apache Kafka.
mod common;
mod replaying;
#[allow(dead_code, reason = "the tests of the HTTP sink use the rest")]
#[path = "http/target.rs"]
mod target;

use common::{Server, TempDir, ndjson, run, run_within, serve_segments};
use kafka_protocol::messages::ApiKey;
use replaying::{Files, Id, assert_each_once, counted, event, eventually, id, ids, replay, sample};
use ringmill_core::segment::BLOCK_BYTES;
use ringmill_kafka_kit::fake::{Act, Fake, Fault, Settings};
use ringmill_kafka_kit::rig::Rig;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

fn fake(partitions: i32) -> Fake {
    Fake::start(Settings { nodes: 2, ..Settings::default() }.topic("events", partitions))
}

/// Runs it; asserts the exit code and gives what it printed on standard output and on standard error.
#[track_caller]
fn ends(command: Command, code: i32) -> (String, String) {
    let shown = format!("{command:?}");
    let Output { status, stdout, stderr } = run(command);
    let (out, err) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert_eq!(status.code(), Some(code), "{shown}\n{out}{err}");
    (out, err)
}

fn all_of_sample() -> impl Iterator<Item = Id> {
    (1..=1500).map(|seq| (0, seq)).chain((1..=300).map(|seq| (11, seq)))
}

#[test]
fn every_event_arrives_once_in_order_under_its_own_id() {
    for more in [
        &["--driver", "uring"][..],
        &["--driver", "uring", "--kafka-compression", "lz4", "--kafka-partitioner", "round-robin"],
        &["--driver", "glommio", "--kafka-compression", "zstd"],
        &["--kafka-key", "/seq", "--rate", "50k"],
    ] {
        let dir = sample("replay-all");
        let fake = fake(3);
        let (out, err) = ends(replay(dir.path(), &fake.addresses(), "events", more), 0);
        assert!(out.starts_with("replayed shards=2 events=1800 bytes="), "{out}{err}");
        assert_each_once(&ids(&fake, "events", 3), all_of_sample());
        let records: Vec<_> = (0..3).flat_map(|partition| fake.records("events", partition)).collect();
        let of = |wanted: Id| records.iter().find(|stored| id(stored) == wanted).unwrap();
        // Bytes, stream and time are those of the segment.
        let stored = of((0, 101));
        assert_eq!(stored.record.value.as_deref(), Some(&event(0, 101, 0)[..]));
        assert_eq!(stored.record.headers[0], ("stream".to_string(), Some(b"logs".to_vec())));
        assert_eq!((stored.timestamp, of((0, 1500)).timestamp), (1_763_000_000_001, 1_763_000_000_003));
        assert_eq!(of((11, 7)).record.headers[0].1.as_deref(), Some(&b"default"[..]));
        // There is nothing left for a second run.
        let (out, _) = ends(replay(dir.path(), &fake.addresses(), "events", more), 0);
        assert_eq!(out, "replayed shards=2 events=0 bytes=0\n");
        assert_eq!(fake.complaints(), Vec::<String>::new());
    }
}

#[test]
fn streams_become_topics() {
    let dir = sample("replay-topics");
    let fake = Fake::start(Settings::default().topic("of.logs", 2).topic("of.default", 1));
    ends(replay(dir.path(), &fake.addresses(), "of.{stream}", &[]), 0);
    let logs = (101..=150).chain(301..=500).chain(1401..=1500).map(|seq| (0, seq));
    assert_each_once(&ids(&fake, "of.logs", 2), logs);
    assert_eq!(ids(&fake, "of.default", 1)[0].len(), 1450);
}

#[test]
fn a_part_is_selected_and_what_was_selected_is_remembered() {
    let dir = sample("replay-select");
    let fake = fake(1);
    let at = fake.addresses();
    let (out, _) = ends(replay(dir.path(), &at, "events", &["--shard", "11", "--from", "290"]), 0);
    assert!(out.starts_with("replayed shards=1 events=11 "), "{out}");
    let (out, _) = ends(replay(dir.path(), &at, "events", &["--shard", "0", "--stream", "logs"]), 0);
    assert!(out.starts_with("replayed shards=1 events=350 "), "{out}");
    let logs = (101..=150).chain(301..=500).chain(1401..=1500).map(|seq| (0, seq));
    assert_each_once(&ids(&fake, "events", 1), logs.chain((290..=300).map(|seq| (11, seq))));
    // A cursor counts for its own selection and target alone.
    for (topic, more, needle) in [
        ("events", &[][..], "stream logs alone through event 1500"),
        ("others", &["--stream", "logs"], "--restart begins anew"),
    ] {
        let (out, err) = ends(replay(dir.path(), &at, topic, more), 1);
        assert!(out.is_empty() && err.contains(needle), "{out}{err}");
    }
    assert_eq!(fake.records("events", 0).len(), 361, "nothing is sent by what is refused");
    let (out, _) = ends(replay(dir.path(), &at, "events", &["--adopt", "--shard", "0"]), 0);
    assert!(out.starts_with("replayed shards=1 events=0 "), "{out}");
    let (out, _) = ends(replay(dir.path(), &at, "events", &["--restart", "--from", "1000"]), 0);
    assert!(out.starts_with("replayed shards=2 events=501 "), "{out}");
}

/// Starts it and kills it as soon as the fake holds so many records.
fn kill_at(mut command: Command, fake: &Fake, records: usize) {
    let mut child: Child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("enough was replayed", || fake.records("events", 0).len() >= records);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_is_killed_goes_on_and_repeats_a_chunk_at_most() {
    let dir = TempDir::new("replay-kill");
    let mut files = Files::new(dir.path(), 0);
    for _ in 0..40 {
        files.commit_padded(&[("default", 250)], 200);
    }
    let fake = Fake::start(Settings::default().topic("events", 1));
    // Chunks of 400 events.
    let slow = || replay(dir.path(), &fake.addresses(), "events", &["--rate", "4k"]);
    kill_at(slow(), &fake, 1000);
    kill_at(slow(), &fake, 3000);
    let before = fake.records("events", 0).len();
    let (out, _) = ends(replay(dir.path(), &fake.addresses(), "events", &[]), 0);
    let counts = counted(&ids(&fake, "events", 1));
    assert_eq!(counts.len(), 10_000, "{out}");
    let twice = counts.values().filter(|count| **count > 1).count();
    // What the cursor did not know of: a tenth of a second at both ends of it, and the chunk that was out.
    assert!(twice <= 2 * 1600 && counts.values().all(|count| *count <= 3), "{twice} twice");
    let rest: usize = out.split("events=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(rest <= 10_000 - before + 1600, "it went on: {rest} after {before}");
}

#[test]
fn brokers_that_fail_lose_and_double_nothing() {
    for act in [
        Act::CloseBefore,
        Act::CloseAfter,
        Act::CloseMid,
        Act::ErrorAfter(19),
        Act::Error(6),
        Act::Throttle(200),
        Act::Slices(1),
    ] {
        let dir = sample("replay-faults");
        let fake = fake(3);
        fake.fault(Fault::next(ApiKey::Produce, act.clone()).after(1).times(3));
        let more = ["--kafka-partitioner", "round-robin", "--rate", "20k"];
        ends(replay(dir.path(), &fake.addresses(), "events", &more), 0);
        assert_each_once(&ids(&fake, "events", 3), all_of_sample());
        assert_eq!(fake.complaints(), Vec::<String>::new(), "{act:?}");
    }
}

#[test]
fn it_waits_for_brokers_and_gives_up_in_the_end() {
    let dir = sample("replay-away");
    let fake = Fake::start(Settings::default().topic("events", 1));
    fake.stop_node(1);
    let short = ["--kafka-request-timeout-s", "1", "--kafka-delivery-timeout-s", "1"];
    let (out, err) = ends(replay(dir.path(), &fake.addresses(), "events", &short), 1);
    assert_eq!(out, "replayed shards=2 events=0 bytes=0\n");
    for needle in
        ["waiting: no Kafka broker can be reached", "stopped before event 1 of shard 0", "run it again"]
    {
        assert!(err.contains(needle), "{needle} in {err}");
    }
    // Away for longer than a request, but not for longer than a delivery.
    let mut waiting = replay(dir.path(), &fake.addresses(), "events", &["--rate", "3k"]);
    let waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_millis(300));
    fake.start_node(1);
    eventually("it begins", || fake.records("events", 0).len() > 100);
    fake.stop_node(1);
    thread::sleep(Duration::from_millis(300));
    fake.start_node(1);
    let done = waiting.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    assert_each_once(&ids(&fake, "events", 1), all_of_sample());
}

#[test]
fn what_brokers_will_not_have_stops_it_and_nothing_is_passed_over() {
    let dir = TempDir::new("replay-stopped");
    let mut files = Files::new(dir.path(), 0);
    for _ in 0..10 {
        files.commit_padded(&[("default", 500)], 500);
    }
    let fake = Fake::start(Settings::default().topic("events", 1));
    fake.fault(Fault::next(ApiKey::Produce, Act::Error(44)).after(2).times(u32::MAX));
    let (out, err) = ends(replay(dir.path(), &fake.addresses(), "events", &[]), 1);
    let there = fake.records("events", 0).len();
    assert!(there > 1000 && there < 5000, "{there}");
    assert!(out.contains(&format!("events={there} ")), "{out}");
    assert!(
        err.contains(&format!("stopped before event {} of shard 0: topic events, partition 0", there + 1)),
        "{err}"
    );
    let fake_again = Fake::start(Settings::default().topic("events", 1));
    let (out, _) = ends(replay(dir.path(), &fake_again.addresses(), "events", &["--adopt"]), 0);
    assert!(out.contains(&format!("events={} ", 5000 - there)), "{out}");
    let rest = (there as u64 + 1..=5000).map(|seq| (0, seq));
    assert_each_once(&ids(&fake_again, "events", 1), rest);
}

#[test]
fn a_signal_ends_it_in_order() {
    let dir = sample("replay-signal");
    let fake = Fake::start(Settings::default().topic("events", 1));
    let mut command = replay(dir.path(), &fake.addresses(), "events", &["--rate", "1k"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("it begins", || !fake.records("events", 0).is_empty());
    let told = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(told.success());
    let done = child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{err}");
    assert!(err.contains("it was told to stop; run it again to go on"), "{err}");
    ends(replay(dir.path(), &fake.addresses(), "events", &[]), 0);
    assert_each_once(&ids(&fake, "events", 1), all_of_sample());
}

#[test]
fn events_that_are_refused_are_kept_aside_and_their_neighbours_arrive() {
    let dir = TempDir::new("replay-refused");
    let mut files = Files::new(dir.path(), 0);
    files.commit(&[("default", 10)]);
    files.commit_padded(&[("logs", 1)], 60_000);
    files.commit(&[("default", 10)]);
    let fake = Fake::start(Settings { batch_bytes_max: 30_000, ..Settings::default() }.topic("events", 1));
    let (out, err) = ends(replay(dir.path(), &fake.addresses(), "events", &[]), 1);
    assert!(
        out.contains("refused: shard 0 event 11 (stream logs): topic events, partition 0: larger"),
        "{out}{err}"
    );
    assert!(out.contains("replayed shards=1 events=20 ") && out.contains(" refused=1; "), "{out}");
    assert_each_once(&ids(&fake, "events", 1), (1..=10).chain(12..=21).map(|seq| (0, seq)));
    let kept = fs::read_to_string(dir.join("shard-000/replay.refused")).unwrap();
    let line: serde_json::Value = serde_json::from_str(kept.trim_end()).unwrap();
    assert_eq!(
        (&line["seq"], &line["stream"], &line["event"]["seq"]),
        (&11.into(), &"logs".into(), &11.into())
    );
    // It is done with: the next run has nothing to do, and the server takes the folder as its own.
    let (out, _) = ends(replay(dir.path(), &fake.addresses(), "events", &[]), 0);
    assert_eq!(out, "replayed shards=1 events=0 bytes=0\n");
    Server::start(serve_segments(dir.path())).stop();
    assert!(dir.join("shard-000/replay.refused").exists() && dir.join("shard-000/replay.cursor").exists());
}

#[test]
fn what_cannot_be_kept_stops_it_before_it_is_passed() {
    let dir = TempDir::new("replay-unkept");
    let mut files = Files::new(dir.path(), 0);
    files.commit_padded(&[("logs", 1)], 60_000);
    let fake = Fake::start(Settings { batch_bytes_max: 30_000, ..Settings::default() }.topic("events", 1));
    // A device that is always full.
    let refused = dir.join("shard-000/replay.refused");
    std::os::unix::fs::symlink("/dev/full", &refused).unwrap();
    let (_, err) = ends(replay(dir.path(), &fake.addresses(), "events", &[]), 1);
    let needle = "stopped before event 1 of shard 0: cannot keep refused events of shard 0: No space left";
    assert!(err.contains(needle), "{err}");
    fs::remove_file(&refused).unwrap();
    let (out, _) = ends(replay(dir.path(), &fake.addresses(), "events", &[]), 1);
    assert!(out.contains("refused: shard 0 event 1 "), "{out}");
    assert_eq!(fs::read_to_string(&refused).unwrap().lines().count(), 1);
}

#[test]
fn damage_is_told_and_passed_over() {
    let dir = TempDir::new("replay-damage");
    let mut files = Files::new(dir.path(), 0);
    files.commit(&[("default", 10)]);
    let at = files.writer.bytes.len() + 500;
    files.commit(&[("default", 10)]);
    files.commit(&[("default", 10)]);
    let path = files.path();
    let mut bytes = fs::read(&path).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    files.next_file();
    files.commit(&[("default", 10)]);
    // The last commit is torn.
    let torn = files.writer.bytes.len();
    files.commit(&[("default", 100)]);
    let mut bytes = files.writer.bytes.clone();
    bytes.truncate(torn + 2000);
    fs::write(files.path(), bytes).unwrap();
    let fake = fake(2);
    let (out, err) = ends(replay(dir.path(), &fake.addresses(), "events", &[]), 1);
    assert!(out.contains("events=30 ") && out.contains("damaged=2"), "{out}{err}");
    assert!(
        err.contains("damaged: shard-000/0000000001.seg bytes 4096..8192 (events 11..20 are lost)"),
        "{err}"
    );
    assert!(err.contains("its last commit: the file ends within"), "{err}");
    assert_each_once(&ids(&fake, "events", 2), (1..=10).chain(21..=40).map(|seq| (0, seq)));
    // What was passed over once is passed for good; what may still be written is looked at again.
    let (out, _) = ends(replay(dir.path(), &fake.addresses(), "events", &[]), 1);
    assert!(out.contains("events=0 ") && out.contains("damaged=1"), "{out}");
}

#[test]
fn a_chain_that_was_replaced_is_gone_through_again_from_there() {
    let dir = TempDir::new("replay-replaced");
    let mut files = Files::new(dir.path(), 0);
    files.commit(&[("default", 10)]);
    let before = files.writer.chain;
    files.commit(&[("default", 5)]);
    let fake = fake(1);
    ends(replay(dir.path(), &fake.addresses(), "events", &[]), 0);
    // The second commit's flush had failed: the next segment takes its numbers.
    files.writer.chain = before;
    files.next_file();
    files.commit(&[("logs", 7)]);
    let (out, err) = ends(replay(dir.path(), &fake.addresses(), "events", &[]), 0);
    assert!(out.contains("events=7 ") && err.contains("its end was replaced since"), "{out}{err}");
    let records = fake.records("events", 0);
    assert_eq!(records.len(), 22);
    assert!(records[15..].iter().all(|stored| stored.record.headers[0].1.as_deref() == Some(&b"logs"[..])));
    let (out, _) = ends(replay(dir.path(), &fake.addresses(), "events", &[]), 0);
    assert!(out.contains("events=0 "), "{out}");
}

#[test]
fn a_cursor_that_cannot_be_kept_stops_nothing() {
    let dir = sample("replay-full");
    let fake = fake(1);
    // Full for the first try only: the link itself is removed with the failed file.
    std::os::unix::fs::symlink("/dev/full", dir.join("shard-000/replay.cursor.tmp")).unwrap();
    let (_, err) = ends(replay(dir.path(), &fake.addresses(), "events", &["--rate", "3k"]), 0);
    assert!(
        err.contains("cannot write the cursor of shard 0: No space left") && err.contains("after all"),
        "{err}"
    );
    assert_each_once(&ids(&fake, "events", 1), all_of_sample());
    // For good: everything arrives, and the end says what that means.
    let dir = sample("replay-full");
    fs::create_dir_all(dir.join("shard-000/replay.cursor.tmp/x")).unwrap();
    let (out, err) = ends(replay(dir.path(), &fake.addresses(), "events", &[]), 1);
    assert!(
        out.contains("events=1800 ") && err.contains("will bring again what it does not know of"),
        "{out}{err}"
    );
    let (out, _) = ends(replay(dir.path(), &fake.addresses(), "events", &[]), 1);
    assert!(out.contains("events=1500 "), "{out}");
}

#[test]
fn cursors_that_are_none_are_refused() {
    let dir = sample("replay-cursor");
    let fake = fake(1);
    let path = dir.join("shard-000/replay.cursor");
    fs::write(&path, "{\"ringmill_replay\":1}\n").unwrap();
    let (_, err) = ends(replay(dir.path(), &fake.addresses(), "events", &[]), 1);
    assert!(err.contains("not a cursor") && err.contains("remove it to replay from the beginning"), "{err}");
    assert_eq!(fake.records("events", 0).len(), 0);
    ends(replay(dir.path(), &fake.addresses(), "events", &["--restart"]), 0);
    assert_each_once(&ids(&fake, "events", 1), all_of_sample());
}

#[test]
fn folders_without_events_and_bad_usage() {
    let fake = fake(1);
    let at = fake.addresses();
    let dir = TempDir::new("replay-empty");
    let (_, err) = ends(replay(dir.path(), &at, "events", &[]), 1);
    assert!(err.contains("no shards here"), "{err}");
    fs::create_dir(dir.join("shard-000")).unwrap();
    let (out, _) = ends(replay(dir.path(), &at, "events", &[]), 0);
    assert_eq!(out, "replayed shards=1 events=0 bytes=0\n");
    fs::write(dir.join("shard-000/0000000001.seg"), vec![b'\n'; 16 * BLOCK_BYTES]).unwrap();
    let (out, _) = ends(replay(dir.path(), &at, "events", &[]), 0);
    assert_eq!(out, "replayed shards=1 events=0 bytes=0\n");
    for (more, needle) in [
        (&["--rate", "0"][..], "at least one event a second"),
        (&["--rate", "x"], "--rate"),
        (&["--restart", "--adopt"], "cannot be used with"),
        (&["--kafka-compression", "rar"], "kafka.compression = rar (flag --kafka-compression)"),
        (&["--kafka-tls-ca", "x"], "of no use without TLS"),
        (&["--stream", "a b"], "a stream's name is"),
    ] {
        let (_, err) = ends(replay(dir.path(), &at, "events", more), 2);
        assert!(err.contains(needle), "{needle} in {err}");
    }
    let mut elsewhere = common::ringmill();
    elsewhere.args(["segments", "replay", "--to", "segments:x"]).arg(dir.path());
    assert!(
        ends(elsewhere, 2).1.contains("events are replayed to kafka:HOST:PORT/TOPIC or http://HOST/PATH")
    );
}

#[test]
fn beside_a_running_server_what_is_there_is_replayed() {
    let dir = TempDir::new("replay-live");
    let server = Server::start(serve_segments(dir.path()));
    let fake = fake(1);
    let mut client = server.client();
    let mut post = |from: u64, count: u64| {
        let lines: Vec<String> =
            (from..from + count).map(|seq| format!("{{\"shard\":0,\"seq\":{seq}}}")).collect();
        assert_eq!(client.ask(&ndjson(lines.join("\n"))).status, 200);
    };
    post(1, 500);
    ends(replay(dir.path(), &fake.addresses(), "events", &[]), 0);
    post(501, 200);
    let (out, _) = ends(replay(dir.path(), &fake.addresses(), "events", &[]), 0);
    assert!(out.contains("events=200 "), "{out}");
    server.stop();
    // Behind a restart the numbers go on, and so does the replay.
    let server = Server::start(serve_segments(dir.path()));
    let lines: Vec<String> = (701..=710).map(|seq| format!("{{\"shard\":0,\"seq\":{seq}}}")).collect();
    assert_eq!(server.client().ask(&ndjson(lines.join("\n"))).status, 200);
    ends(replay(dir.path(), &fake.addresses(), "events", &[]), 0);
    assert_each_once(&ids(&fake, "events", 1), (1..=710).map(|seq| (0, seq)));
    server.stop();
}

#[test]
fn one_replay_at_a_time() {
    let dir = sample("replay-twice");
    let fake = fake(1);
    let mut first = replay(dir.path(), &fake.addresses(), "events", &["--rate", "500"]);
    let mut first = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("it begins", || !fake.records("events", 0).is_empty());
    let (_, err) = ends(replay(dir.path(), &fake.addresses(), "events", &[]), 1);
    assert!(err.contains("is being replayed already") && err.contains("replay.lock"), "{err}");
    first.kill().unwrap();
    first.wait().unwrap();
    ends(replay(dir.path(), &fake.addresses(), "events", &[]), 0);
    assert_eq!(counted(&ids(&fake, "events", 1)).len(), 1800);
}

#[test]
fn real_kafka_holds_everything_after_a_kill() {
    let dir = TempDir::new("replay-kafka");
    let mut files = Files::new(dir.path(), 0);
    for file in 0..3 {
        for _ in 0..20 {
            files.commit_padded(&[("default", 400), ("logs", 100)], 300);
        }
        if file < 2 {
            files.next_file();
        }
    }
    let mut rig = Rig::start(&["--nodes", "1", "--topic", "events:3"]);
    let more = |rate: &'static str| ["--kafka-compression", "lz4", "--rate", rate];
    let command = |rate| replay(dir.path(), &rig.addresses(), "events", &more(rate));
    let mut child = command("20k").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let cursor = dir.join("shard-000/replay.cursor");
    eventually("it is under way", || next_of(&cursor).is_some_and(|next| next > 5000));
    child.kill().unwrap();
    child.wait().unwrap();
    let reached = next_of(&cursor).unwrap();
    let done = run_within(command("10M"), Duration::from_secs(60));
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let consumed = rig.consume("events");
    let mut partitions = vec![Vec::new(); 3];
    for record in &consumed {
        let id = String::from_utf8(record.headers[1].1.clone().unwrap()).unwrap();
        let (shard, seq) = id.split_once(':').unwrap();
        let id: Id = (shard.parse().unwrap(), seq.parse().unwrap());
        assert_eq!(record.value.as_deref(), Some(&event(0, id.1, 300)[..]));
        partitions[record.partition as usize].push(id);
    }
    let counts = counted(&partitions);
    assert_eq!(counts.keys().copied().collect::<BTreeSet<_>>(), (1..=30_000).map(|seq| (0, seq)).collect());
    let twice = counts.iter().filter(|(_, count)| **count > 1).map(|(id, _)| id.1);
    assert!(twice.clone().count() <= 6000, "a tenth of a second and a chunk: {}", twice.count());
    assert!(
        counts.iter().all(|(id, count)| *count == 1 || id.1 >= reached),
        "nothing before the cursor came twice"
    );
}

/// What a cursor says comes next.
fn next_of(cursor: &Path) -> Option<u64> {
    let text = fs::read_to_string(cursor).ok()?;
    serde_json::from_str::<serde_json::Value>(&text).ok()?["next"].as_u64()
}

fn to_http(dir: &Path, target: &target::Target, more: &[&str]) -> Command {
    let mut command = common::ringmill();
    command.args(["segments", "replay"]).arg(dir).arg("--to").arg(format!("http://{}/in", target.address()));
    command.args(more);
    command
}

/// The events of the bodies that were taken, as ids.
fn taken_ids(target: &target::Target) -> Vec<Id> {
    let parsed = |line: &String| {
        let event: serde_json::Value = serde_json::from_str(line).ok()?;
        Some((event["shard"].as_u64()? as u32, event["seq"].as_u64()?))
    };
    target.taken().iter().filter_map(parsed).collect()
}

#[test]
fn an_http_target_gets_everything_once_whatever_it_answers() {
    use target::{Act, Target};
    for more in [
        &["--driver", "uring"][..],
        &["--driver", "glommio"],
        &["--http-connections", "1", "--http-batch-bytes", "128k"],
    ] {
        let dir = sample("replay-http");
        let again = Act::Answer(503, "Retry-After: 0\r\n", String::new());
        let target = Target::start([again.clone(), Act::CloseAtHead, again]);
        let (out, err) = ends(to_http(dir.path(), &target, more), 0);
        assert!(out.starts_with("replayed shards=2 events=1800 bytes="), "{out}{err}");
        let mut ids = taken_ids(&target);
        ids.sort_unstable();
        assert!(ids.into_iter().eq(all_of_sample()), "each once: {out}{err}");
        let (out, _) = ends(to_http(dir.path(), &target, more), 0);
        assert_eq!(out, "replayed shards=2 events=0 bytes=0\n");
    }
}

#[test]
fn an_http_target_that_will_not_have_it_stops_it() {
    use target::{Act, Target};
    let dir = sample("replay-http-no");
    let target = Target::start([]);
    target.always(Some(Act::Answer(503, "", String::new())));
    let hasty = ["--http-request-timeout-s", "500ms", "--http-delivery-timeout-s", "1s"];
    let (_, err) = ends(to_http(dir.path(), &target, &hasty), 1);
    assert!(err.contains("stopped before event 1 of shard 0: ") && err.contains("503"), "{err}");
    target.always(None);
    ends(to_http(dir.path(), &target, &hasty), 0);
    let mut ids = taken_ids(&target);
    ids.sort_unstable();
    assert!(ids.into_iter().eq(all_of_sample()));
}
