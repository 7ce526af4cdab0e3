//! The built server while its brokers are away: events wait on disk, survive our crash, and arrive in order.
mod common;

use common::{
    Client, PATIENCE, Reply, Server, TempDir, get, ndjson, post, read_by_stranger, segments, serve,
};
use kafka_protocol::messages::ApiKey;
use ringmill_kafka_kit::fake::{Act, Fake, Fault, Settings, Stored};
use ringmill_kafka_kit::rig::Rig;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// `serve` towards these brokers with a spill, which begins soon.
fn towards(brokers: &[SocketAddr], dir: &Path, more: &[&str]) -> Command {
    let list: Vec<String> = brokers.iter().map(ToString::to_string).collect();
    let mut command = serve();
    command.arg("--sink").arg(format!("kafka:{}/events", list.join(",")));
    command.arg("--spill").arg(format!("segments:{}", dir.display())).args(["--spill-after-ms", "200"]);
    command.args(["--kafka-partitions-max", "64", "--kafka-brokers-max", "4"]).args(more);
    command
}

fn start(fake: &Fake, dir: &Path, more: &[&str]) -> Server {
    Server::start(towards(&fake.addresses(), dir, more))
}

fn event(n: usize) -> String {
    format!(r#"{{"n":{n},"pad":"{}"}}"#, "x".repeat(100))
}

fn events(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(event).collect()
}

fn send(server: &Server, events: &[String]) -> Reply {
    server.client().ask(&ndjson(events.join("\n")))
}

/// Sends until it is taken: what is caught in the middle of a change is told 503, and none of it is kept.
#[track_caller]
fn store(server: &Server, events: &[String]) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let reply = send(server, events);
        if reply.status == 200 {
            let body = reply.json();
            assert_eq!(body["accepted"], events.len(), "{body}");
            return body["ack"].as_str().expect("a level").to_string();
        }
        assert!(reply.status == 503 && Instant::now() < end, "{}", reply.show());
        assert_ne!(reply.json()["error"], "possibly_written", "{}", reply.show());
        thread::sleep(Duration::from_millis(20));
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn is_direct(server: &Server) -> bool {
    server.metric("ringmill_spill_active") == 0.0
}

fn number(value: &Option<Vec<u8>>) -> usize {
    let value: serde_json::Value = serde_json::from_slice(value.as_deref().expect("a value")).expect("JSON");
    value["n"].as_u64().expect("a number") as usize
}

fn id(stored: &Stored) -> String {
    let found = stored.record.headers.iter().find(|(name, _)| name == "id").expect("an id");
    String::from_utf8(found.1.clone().expect("a value")).expect("text")
}

fn numbers(fake: &Fake) -> Vec<usize> {
    fake.records("events", 0).iter().map(|stored| number(&stored.record.value)).collect()
}

fn spill_status(server: &Server) -> serde_json::Value {
    get(server.admin(), "/status").json()["total"]["spill"].clone()
}

#[test]
fn events_wait_on_disk_while_brokers_are_away_and_arrive_in_order() {
    for driver in ["uring", "glommio"] {
        let fake = Fake::start(Settings::default().topic("events", 1));
        let dir = TempDir::new("spill-order");
        let server = start(&fake, dir.path(), &["--driver", driver]);
        assert_eq!(store(&server, &events(0..50)), "replicated");
        assert_eq!(spill_status(&server)["mode"], "direct");
        fake.stop_node(1);
        let mut next = 50;
        // Whatever is caught by the change is sent again; from then on the level is that of the disk.
        while store(&server, &events(next..next + 10)) == "replicated" {
            next += 10;
        }
        next += 10;
        for _ in 0..20 {
            assert_eq!(store(&server, &events(next..next + 10)), "durable");
            next += 10;
        }
        assert_eq!(get(server.admin(), "/readyz").status, 200, "events are taken");
        let insists = server.client().ask(&post("/v1/events?ack=replicated", "", event(0).as_bytes()));
        assert_eq!((insists.status, &insists.json()["error"]), (503, &"not_replicated".into()));
        assert!(insists.header("retry-after").is_some(), "{}", insists.show());
        let (status, waiting) = (spill_status(&server), server.metric("ringmill_spill_waiting_events"));
        assert_eq!((&status["mode"], waiting as usize), (&"spilling".into(), 210), "{status}");
        assert!(status["reason"].as_str().expect("a reason").contains("no Kafka broker"), "{status}");
        // The age is known to a second.
        let [since, oldest] = ["since_ms", "oldest_ms"].map(|name| status[name].as_u64().expect("a time"));
        assert!(oldest.abs_diff(since) < 30_000, "{status}");
        assert!(status["waiting_bytes"].as_u64() >= Some(210 * 110), "{status}");
        fake.start_node(1);
        eventually("it returns", || is_direct(&server));
        assert_eq!(store(&server, &events(next..next + 10)), "replicated");
        assert_eq!(numbers(&fake), (0..next + 10).collect::<Vec<_>>(), "{driver}");
        let ids: BTreeSet<String> = fake.records("events", 0).iter().map(id).collect();
        assert_eq!(ids.len(), next + 10, "each has an id of its own");
        let status = spill_status(&server);
        assert_eq!(
            (&status["waiting_events"], &status["replayed_events"]),
            (&0.into(), &210.into()),
            "{status}"
        );
        assert_eq!(server.metric("ringmill_events_stored_total") as usize, next + 10);
        assert_eq!(fake.complaints(), Vec::<String>::new());
        let log = server.log();
        let told = log.lines().filter(|line| line.contains("shard 0: events go to segments:"));
        assert_eq!(told.filter(|line| line.contains("no Kafka broker can be reached")).count(), 1, "{log}");
        server.stop();
        assert!(segments("verify", dir.path(), &[]).status.success());
    }
}

#[test]
fn a_server_without_brokers_at_start_is_ready_and_spills() {
    let fake = Fake::start(Settings::default().topic("events", 1));
    fake.stop_node(1);
    let dir = TempDir::new("spill-start");
    let server = start(&fake, dir.path(), &[]);
    assert_eq!(get(server.admin(), "/readyz").status, 200, "when it says that it is ready, it is");
    assert_eq!(store(&server, &events(0..5)), "durable");
    fake.start_node(1);
    eventually("it returns", || is_direct(&server));
    assert_eq!(store(&server, &events(5..10)), "replicated");
    assert_eq!(numbers(&fake), (0..10).collect::<Vec<_>>());
    server.stop();
}

#[test]
fn silence_is_spilled_around_and_what_is_with_the_broker_comes_first() {
    let fake = Fake::start(Settings::default().topic("events", 1));
    let dir = TempDir::new("spill-silence");
    let server = start(&fake, dir.path(), &["--kafka-request-timeout-s", "3s"]);
    assert_eq!(store(&server, &events(0..1)), "replicated");
    fake.fault(Fault::next(ApiKey::Produce, Act::Freeze));
    let mut early = server.client();
    early.send(&ndjson(event(1)));
    eventually("it spills", || !is_direct(&server));
    for n in 2..20 {
        assert_eq!(store(&server, &events(n..n + 1)), "durable");
    }
    let reply = early.reply();
    assert_eq!((reply.status, &reply.json()["ack"]), (200, &"replicated".into()), "{}", reply.show());
    eventually("it returns", || is_direct(&server));
    assert_eq!(numbers(&fake), (0..20).collect::<Vec<_>>());
    server.stop();
}

#[test]
fn keys_of_requests_lead_to_the_same_partition_as_ever() {
    let fake = Fake::start(Settings::default().topic("events", 4));
    let dir = TempDir::new("spill-keys");
    let server = start(&fake, dir.path(), &["--kafka-key", "header"]);
    let keyed = |key: &str, n: usize| {
        let headers = format!("Ringmill-Key: {key}\r\n");
        let end = Instant::now() + PATIENCE;
        loop {
            let reply = server.client().ask(&post("/v1/events", &headers, event(n).as_bytes()));
            if reply.status == 200 || reply.json()["error"] == "key_too_long" || Instant::now() > end {
                return reply.status;
            }
        }
    };
    let keys = ["ann", "bob", "carol", "a \"quoted\" one"];
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(keyed(key, n), 200);
    }
    fake.stop_node(1);
    eventually("it spills", || !is_direct(&server));
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(keyed(key, 10 + n), 200);
    }
    assert_eq!(keyed(&"k".repeat(200), 99), 503);
    fake.start_node(1);
    eventually("it returns", || is_direct(&server));
    for partition in 0..4 {
        let found: Vec<_> =
            fake.records("events", partition).into_iter().map(|stored| stored.record).collect();
        for (n, key) in keys.iter().enumerate() {
            let of = found.iter().filter(|record| record.key.as_deref() == Some(key.as_bytes()));
            let of: Vec<usize> = of.map(|record| number(&record.value)).collect();
            assert!(of.is_empty() || of == [n, 10 + n], "{key}: {of:?}");
        }
    }
    assert_eq!((0..4).map(|partition| fake.records("events", partition).len()).sum::<usize>(), 8);
    server.stop();
    let spilled: String = (10..14).map(|n| event(n) + "\n").collect();
    assert_eq!(String::from_utf8(read_by_stranger(dir.path())).expect("text"), spilled, "keys and all");
}

/// What a log must hold after crashes of ours: everything that was acknowledged, in order, and nothing twice but what
/// was on its way when a crash came.
#[track_caller]
fn assert_in_order(found: &[usize], acknowledged: &[usize], crashes: usize) {
    let there: BTreeSet<usize> = found.iter().copied().collect();
    let missing: Vec<&usize> = acknowledged.iter().filter(|n| !there.contains(n)).collect();
    assert!(missing.is_empty(), "{} of {} are missing: {missing:?}", missing.len(), acknowledged.len());
    let back = found.windows(2).filter(|pair| pair[1] <= pair[0]).count();
    assert!(back <= crashes, "{back} steps back, {crashes} crashes");
}

#[test]
fn a_crash_while_spilling_and_one_while_replaying_lose_nothing() {
    let fake = Fake::start(Settings::default().topic("events", 1));
    let dir = TempDir::new("spill-crash");
    let server = start(&fake, dir.path(), &[]);
    assert_eq!(store(&server, &events(0..100)), "replicated");
    fake.stop_node(1);
    let mut next = 100;
    while next < 20_100 {
        store(&server, &events(next..next + 500));
        next += 500;
    }
    server.kill();

    let server = start(&fake, dir.path(), &[]);
    assert!(!is_direct(&server), "what is left comes first");
    assert_eq!(store(&server, &events(next..next + 500)), "durable");
    next += 500;
    // Chunks of the replay come slowly: the crash finds it in the middle.
    fake.fault(Fault::next(ApiKey::Produce, Act::Delay(Duration::from_millis(300))).times(1000));
    fake.start_node(1);
    eventually("it replays", || numbers(&fake).len() > 2000);
    server.kill();
    let before = numbers(&fake).len();

    let server = start(&fake, dir.path(), &[]);
    assert!(before < next, "nothing would be left to replay");
    eventually("it returns", || is_direct(&server));
    assert_eq!(store(&server, &events(next..next + 100)), "replicated");
    next += 100;
    assert_in_order(&numbers(&fake), &(0..next).collect::<Vec<_>>(), 1);
    let mut of: Vec<(usize, String)> =
        fake.records("events", 0).iter().map(|stored| (number(&stored.record.value), id(stored))).collect();
    of.sort();
    of.dedup();
    assert_eq!(of.len(), next, "copies of an event carry its id");
    server.stop();
}

/// Bodies of 100 one after the other until `stop`; the numbers of those that were taken. What may be written is not
/// sent again. At a rate that a replay catches up with on a busy machine too: spilling ends only then.
fn load(server: SocketAddr, from: usize, stop: &AtomicBool) -> (Vec<usize>, usize) {
    let (mut taken, mut next) = (Vec::new(), from);
    while !stop.load(Ordering::Relaxed) {
        let reply = Client::connect(server).ask(&ndjson(events(next..next + 100).join("\n")));
        match reply.status {
            200 => taken.extend(next..next + 100),
            503 => thread::sleep(Duration::from_millis(20)),
            _ => panic!("{}", reply.show()),
        }
        thread::sleep(Duration::from_millis(2));
        if reply.status == 200 || reply.json()["error"] == "possibly_written" {
            next += 100;
        }
    }
    (taken, next)
}

/// Ends the load also when what is done meanwhile panics: the scope would wait for it for ever.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does that under load; adds what was taken to `taken`.
fn under_load(server: &Server, (taken, next): (&mut Vec<usize>, &mut usize), meanwhile: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    let (server, from) = (server.http(), *next);
    let (more, end) = thread::scope(|scope| {
        let load = scope.spawn(|| load(server, from, &stop));
        let end = StopAtEnd(&stop);
        meanwhile();
        drop(end);
        load.join().expect("every request is answered in time")
    });
    taken.extend(more);
    *next = end;
}

#[test]
fn real_kafka_has_everything_in_order_after_an_outage_and_two_crashes() {
    let mut rig = Rig::start(&["--nodes", "1", "--topic", "events:1"]);
    let dir = TempDir::new("spill-real");
    let patience = ["--kafka-request-timeout-s", "3s", "--kafka-delivery-timeout-s", "3s"];
    let new = |rig: &Rig| Server::start(towards(&rig.addresses(), dir.path(), &patience));
    let server = new(&rig);
    assert_eq!(store(&server, &events(0..100)), "replicated");
    let (mut taken, mut next): (Vec<usize>, usize) = ((0..100).collect(), 100);
    under_load(&server, (&mut taken, &mut next), || {
        rig.order(&["kill", "1"]);
        eventually("it spills", || !is_direct(&server));
        thread::sleep(Duration::from_secs(4));
    });
    server.kill();

    let server = new(&rig);
    under_load(&server, (&mut taken, &mut next), || {
        thread::sleep(Duration::from_secs(1));
        rig.order(&["start", "1"]);
        eventually("it replays", || server.metric("ringmill_spill_replayed_events_total") > 0.0);
    });
    server.kill();

    let server = new(&rig);
    under_load(&server, (&mut taken, &mut next), || eventually("it returns", || is_direct(&server)));
    assert_eq!(store(&server, &events(next..next + 1)), "replicated");
    let found: Vec<usize> = rig.consume("events").iter().map(|record| number(&record.value)).collect();
    assert_in_order(&found, &taken, 2);
    server.stop();
    let sound = segments("verify", dir.path(), &[]);
    assert!(sound.status.success(), "{}", String::from_utf8_lossy(&sound.stdout));
}
