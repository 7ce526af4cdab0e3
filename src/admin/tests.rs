//! The admin side over real sockets, with shards that answer, refuse, stay silent or are gone.
use super::*;
use crate::core::metrics::cause::Around;
use crate::core::metrics::{Cause, Metrics, Sample, SlowRequest, Stage, Stall};
use crate::core::segment::header::StreamName;
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A shard that answers at once.
struct Prompt {
    shard: u32,
    ready: Result<(), &'static str>,
    asked: Arc<AtomicUsize>,
}

impl ShardPort for Prompt {
    fn ask(&self, ask: Ask) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut metrics = Metrics::new();
        metrics.counters.events_received = 10;
        metrics.counters.events_stored = 7;
        metrics.counters.events_shed = 1;
        metrics.counters.requests.add(200, 4);
        metrics.gauges.events_in_flight = 2;
        metrics.stages.record_n(Stage::Sink, 1_000_000, 2_000);
        metrics.slowest.offer(&SlowRequest { total_ns: 5_500, status: 200, ..SlowRequest::default() });
        let (shard, ready) = (self.shard, self.ready);
        std::thread::spawn(move || ask.answer(shard, Some(shard + 2), ready, &metrics));
    }
}

/// A shard that never answers: it keeps the questions.
#[derive(Default)]
struct Silent(Mutex<Vec<Ask>>);

impl ShardPort for Silent {
    fn ask(&self, ask: Ask) {
        self.0.lock().unwrap().push(ask);
    }
}

/// A shard that is no more: its mailbox drops the questions.
struct Gone;

impl ShardPort for Gone {
    fn ask(&self, ask: Ask) {
        drop(ask);
    }
}

fn prompt(shard: u32, ready: Result<(), &'static str>) -> Box<dyn ShardPort> {
    Box::new(Prompt { shard, ready, asked: Arc::default() })
}

pub(super) fn facts() -> Facts {
    let config = [("sink", "segments:./data"), ("ack", "durable"), ("note", "two <b>streams</b>")];
    Facts {
        version: "9.9.9".into(),
        config: config.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        memory_plan_bytes: 64 << 20,
    }
}

pub(super) fn start(ports: Vec<Box<dyn ShardPort>>) -> Admin {
    bind("127.0.0.1:0").unwrap().serve(facts(), ports, || {}).unwrap()
}

/// A shard under load: its counters rise from look to look, and it has slow requests of every kind.
struct Busy {
    shard: u32,
    looks: AtomicUsize,
}

impl ShardPort for Busy {
    fn ask(&self, ask: Ask) {
        let looks = self.looks.fetch_add(1, Ordering::SeqCst) as u64 + 1;
        let mut metrics = Metrics::new();
        let more = looks * (40_000 + 9_000 * u64::from(self.shard)) + looks % 3 * 7_000;
        metrics.counters.events_received = more;
        metrics.counters.events_stored = more - 120;
        metrics.counters.events_quarantined = 80;
        metrics.counters.events_shed = 30;
        metrics.counters.bytes_received = more * 410;
        metrics.counters.bytes_stored = more * 400;
        metrics.counters.requests.add(200, more / 10);
        metrics.counters.requests.add(503, 3);
        metrics.gauges.events_in_flight = 10;
        metrics.gauges.connections = if self.shard == 1 { 90 } else { 22 };
        metrics.balance.used = true;
        (metrics.balance.busy, metrics.balance.active) = (90 + 400 * u64::from(self.shard), 20);
        if self.shard == 1 {
            (metrics.balance.repairing, metrics.balance.why) = (1, Some("connections"));
            (0..12).for_each(|n| metrics.balance.hand_over(if n < 5 { 0 } else { 2 }));
        } else {
            metrics.balance.adopted = 5 + u64::from(self.shard);
        }
        (metrics.gauges.batch_bytes, metrics.gauges.batch_bytes_max) = (300 << 10, 9 << 20);
        (metrics.gauges.buffers_used, metrics.gauges.buffers_max) = (7, 1024);
        for (at, stage) in crate::core::metrics::STAGES.into_iter().enumerate() {
            let usual = [2_000, 900, 14_000, 2_500, 400_000, 1_900_000, 30_000][at];
            for look in 1..=looks {
                metrics.stages.record_n(stage, usual + look * usual / 60, 2_000);
                metrics.stages.record_n(stage, usual * 6, 30);
            }
        }
        let stolen = Around { stalled_ns: 39_000_000, stall: Some(Stall::Preempted), ..Around::default() };
        let beside = Around { neighbour_ns: 9_000_000, neighbour_bytes: 8_388_608, ..Around::default() };
        for (total_ms, cause, around, status) in [
            (212, Cause::NoRoom, Around::default(), 503),
            (51, Cause::Commit, Around::default(), 200),
            (41, Cause::Stall(Stall::Preempted), stolen, 200),
            (33, Cause::CommitBefore, Around::default(), 200),
            (300, Cause::SlowBody, Around::default(), 200),
            (1, Cause::Neighbour, beside, 207),
        ] {
            let mut stages_ns = [0, 0, 0, 0, 0, total_ms * 700_000, 20_000];
            if cause == Cause::SlowBody {
                stages_ns = [total_ms * 990_000, 1_000, 15_000, 3_000, 0, 1_000_000, 20_000];
            }
            metrics.slowest.offer(&SlowRequest {
                shard: self.shard,
                total_ns: total_ms * 1_000_000,
                room_ns: if cause == Cause::NoRoom { 200_000_000 } else { 0 },
                unseen_ns: around.neighbour_ns,
                stages_ns,
                cause,
                around,
                at_ns: 1,
                time_ms: 1_795_000_000_123,
                status,
                events: 100,
                bytes: 41_000,
                stream: StreamName::new(b"checkout.orders-v2"),
                peer: Some(SocketAddr::from(([10, 0, 0, 7], 41_000 + self.shard as u16))),
                ..SlowRequest::default()
            });
        }
        let bad = b"{\"user\":\"a <b>bold</b> name\" \"id\":17}";
        metrics.samples.take(Sample::new(
            1_795_000_000_123,
            (3, 131),
            "expected `,` or `}` after a value",
            bad,
        ));
        ask.answer(self.shard, Some(self.shard + 2), Ok(()), &metrics);
    }
}

/// Three shards under load, one of which has far more connections than the others.
pub(super) fn busy() -> Vec<Box<dyn ShardPort>> {
    (0..3).map(|shard| Box::new(Busy { shard, looks: AtomicUsize::new(0) }) as Box<dyn ShardPort>).collect()
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn ask(address: SocketAddr, method: &str, path: &str) -> Reply {
    let mut stream = connect(address);
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

fn fetch(admin: &Admin, path: &str) -> Reply {
    ask(admin.local_addr(), "GET", path)
}

#[test]
fn a_healthy_server_says_so_everywhere() {
    let admin = start(vec![prompt(0, Ok(())), prompt(1, Ok(()))]);
    let health = fetch(&admin, "/healthz");
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
    let ready = fetch(&admin, "/readyz");
    assert_eq!((ready.status, ready.json()["ready"].as_bool()), (200, Some(true)));

    let metrics = fetch(&admin, "/metrics");
    assert_eq!(metrics.status, 200);
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        "ringmill_build_info{version=\"9.9.9\"} 1",
        "ringmill_memory_plan_bytes 67108864",
        "ringmill_shard_ready{shard=\"1\"} 1",
        "ringmill_events_received_total{shard=\"0\"} 10",
        "ringmill_requests_total{shard=\"1\",code=\"200\"} 4",
        "ringmill_stage_seconds_count{shard=\"0\",stage=\"sink\"} 2000",
    ] {
        assert!(metrics.body.lines().any(|l| l == line), "{line} is missing from\n{}", metrics.body);
    }
    assert!(metrics.body.contains("process_resident_memory_bytes "));

    let reply = fetch(&admin, "/status");
    assert!(reply.head.contains("content-type: application/json"));
    let status = reply.json();
    assert_eq!(status["version"], "9.9.9");
    assert_eq!(status["ready"], true);
    assert_eq!(status["config"]["sink"], "segments:./data");
    assert_eq!(status["memory_plan_bytes"], 64 << 20);
    assert!(status["rss_bytes"].as_u64().unwrap() > 1 << 20);
    assert_eq!(status["shards"].as_array().unwrap().len(), 2);
    let shard = &status["shards"][1];
    assert_eq!((&shard["shard"], &shard["core"]), (&1.into(), &3.into()));
    assert_eq!(shard["counters"]["events_stored"], 7);
    assert_eq!(shard["counters"]["timeouts_idle"], 0);
    assert_eq!(shard["requests"]["200"], 4);
    assert_eq!(shard["gauges"]["events_in_flight"], 2);
    assert_eq!(shard["books"]["balanced"], true);
    assert_eq!(shard["stages_us"]["read"]["p50"], Value::Null);
    assert_eq!(shard["stages_us"]["read"]["max"], Value::Null);
    assert!((shard["stages_us"]["sink"]["p999"].as_f64().unwrap() - 1_000.0).abs() < 10.0);
    assert_eq!(shard["slowest"][0]["total_us"], 5.5);
    assert_eq!(status["total"]["counters"]["events_received"], 20);

    assert_eq!(status["recent"], Value::Null, "nobody looked before");
    assert_eq!(fetch(&admin, "/quarantine").json()["samples"], serde_json::json!([]));

    let page = fetch(&admin, "/");
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-security-policy") && page.body.contains("<title>ringmill"));
    assert!(!page.body.contains("https://"), "no outside assets");
    admin.stop().unwrap();
}

#[test]
fn slow_requests_say_why_and_refused_events_how_they_look() {
    let admin = start(busy());
    let status = fetch(&admin, "/status").json();
    let slow = status["total"]["slowest"].as_array().unwrap();
    assert_eq!(slow.len(), 18);
    let of = |cause: &str| slow.iter().find(|slow| slow["cause"] == cause).unwrap();
    let stall = of("stall");
    assert_eq!((&stall["stall"], &stall["stalled_us"]), (&"preempted".into(), &39_000.0.into()));
    assert_eq!(stall["why"], "another thread had the core");
    assert_eq!((&stall["stream"], &stall["peer"]), (&"checkout.orders-v2".into(), &"10.0.0.7:41000".into()));
    assert_eq!(stall["stages_us"]["parse"], Value::Null, "it was not timed there");
    assert_eq!(stall["stages_us"]["seal_wait"], 0.0);
    assert_eq!(of("slow_body")["stages_us"]["parse"], 15.0);
    assert_eq!((&of("no_room")["room_us"], &of("no_room")["status"]), (&200_000.0.into(), &503.into()));
    assert_eq!(
        (&of("neighbour")["neighbour_bytes"], &of("neighbour")["unseen_us"]),
        (&8_388_608.into(), &9_000.0.into())
    );
    let refused = fetch(&admin, "/quarantine").json();
    assert_eq!(refused["samples"].as_array().unwrap().len(), 3);
    let first = &refused["samples"][0];
    assert_eq!((&first["index"], &first["offset"], &first["length"]), (&3.into(), &131.into(), &37.into()));
    assert_eq!(first["start"], "{\"user\":\"a <b>bold</b> name\" \"id\":17}");
}

#[test]
fn who_gave_connections_to_whom_and_why() {
    let admin = start(busy());
    let status = fetch(&admin, "/status").json();
    let (giver, total) = (&status["shards"][1]["balance"], &status["total"]["balance"]);
    assert_eq!(giver["handed_over"], serde_json::json!({ "0": 5, "2": 7 }));
    assert_eq!((&giver["repairing"], &giver["why"]), (&1.into(), &"connections".into()));
    assert_eq!((&giver["busy"], &giver["active"]), (&0.49.into(), &20.into()));
    assert_eq!(
        (&total["repairing"], &total["adopted"], &total["active"]),
        (&1.into(), &12.into(), &60.into())
    );
    let metrics = fetch(&admin, "/metrics").body;
    for line in [
        "ringmill_connections_handed_over_total{shard=\"1\",to=\"2\"} 7",
        "ringmill_connections_adopted_total{shard=\"0\"} 5",
        "ringmill_repairing{shard=\"1\"} 1",
        "ringmill_repairing{shard=\"2\"} 0",
        "ringmill_shard_busy_ratio{shard=\"2\"} 0.890",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} is missing from\n{metrics}");
    }
    let alone = start(vec![prompt(0, Ok(()))]);
    assert!(!fetch(&alone, "/metrics").body.contains("handed_over"), "one shard has nobody to give them to");
    assert_eq!(fetch(&alone, "/status").json()["total"].get("balance"), None);
}

#[test]
fn whoever_looks_twice_is_told_of_the_time_between() {
    let admin = start(busy());
    let first = fetch(&admin, "/status").json();
    assert_eq!(first["recent"], Value::Null);
    std::thread::sleep(Duration::from_millis(1_000));
    let second = fetch(&admin, "/status").json();
    let recent = &second["recent"];
    let window_s = recent["window_ms"].as_f64().unwrap() / 1_000.0;
    assert!(window_s >= 0.9, "{recent}");
    // 3 × 40 000 + 9 000 × 3 more, and 7 000 more for each.
    let events = recent["events_per_s"].as_f64().unwrap() * window_s;
    assert!((events - 168_000.0).abs() < 300.0, "{events} in {window_s} s");
    let shard = second["shards"][2]["recent"]["events_per_s"].as_f64().unwrap() * window_s;
    assert!((shard - 65_000.0).abs() < 150.0, "{shard}");
    assert_eq!(recent["stages_us"]["sink"]["count"], 6_090, "what was recorded before is not of this time");
    assert!(second["total"]["stages_us"]["sink"]["count"].as_u64().unwrap() > 6_090);
}

#[test]
fn readiness_names_each_shard_that_is_not() {
    let silent: Box<dyn ShardPort> = Box::new(Silent::default());
    let cases: Vec<(Vec<Box<dyn ShardPort>>, &str)> = vec![
        (vec![prompt(0, Ok(())), prompt(1, Err("no space left"))], "shard 1: no space left"),
        (vec![silent, prompt(1, Ok(()))], "shard 0 does not answer"),
        (vec![prompt(0, Err("draining")), Box::new(Gone)], "shard 0: draining; shard 1 does not answer"),
        (vec![], "no shard runs"),
    ];
    for (ports, reason) in cases {
        let admin = start(ports);
        let ready = fetch(&admin, "/readyz");
        assert_eq!((ready.status, ready.json()["reason"].as_str()), (503, Some(reason)));
        assert_eq!(fetch(&admin, "/healthz").status, 200, "not ready is still alive");
    }
}

#[test]
fn a_silent_shard_costs_a_second_and_hides_nobody() {
    let admin = start(vec![Box::new(Silent::default()), prompt(1, Ok(()))]);
    let began = Instant::now();
    let metrics = fetch(&admin, "/metrics");
    assert!(began.elapsed() >= ANSWER_MAX && began.elapsed() < 3 * ANSWER_MAX);
    assert_eq!(metrics.status, 200);
    assert!(metrics.body.contains("ringmill_shard_ready{shard=\"0\"} 0\n"));
    assert!(!metrics.body.contains("ringmill_events_received_total{shard=\"0\"}"));
    assert!(metrics.body.contains("ringmill_events_received_total{shard=\"1\"} 10\n"));
    let status = fetch(&admin, "/status").json();
    assert_eq!(status["shards"][0]["reason"], "does not answer");
    assert_eq!(status["shards"][0].get("counters"), None);
    assert_eq!(status["shards"][1]["counters"]["events_received"], 10);
}

#[test]
fn a_crowd_asks_the_shards_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Prompt { shard: 0, ready: Ok(()), asked: asked.clone() };
    // The silent shard holds every look for a second, so that the crowd meets.
    let admin = start(vec![Box::new(counted), Box::new(Silent::default())]);
    let address = admin.local_addr();
    let crowd: Vec<_> =
        (0..8).map(|_| std::thread::spawn(move || ask(address, "GET", "/metrics").status)).collect();
    assert!(crowd.into_iter().all(|one| one.join().unwrap() == 200));
    assert!(asked.load(Ordering::SeqCst) <= 3, "asked {} times", asked.load(Ordering::SeqCst));
}

#[test]
fn two_looks_of_one_reader_are_two_questions() {
    let asked = Arc::new(AtomicUsize::new(0));
    let admin = start(vec![Box::new(Prompt { shard: 0, ready: Ok(()), asked: asked.clone() })]);
    fetch(&admin, "/metrics");
    fetch(&admin, "/metrics");
    assert_eq!(asked.load(Ordering::SeqCst), 2, "a figure must never be older than its request");
}

#[test]
fn wrong_paths_and_methods() {
    let admin = start(vec![prompt(0, Ok(()))]);
    let address = admin.local_addr();
    for (method, path, status, error) in
        [("GET", "/nothing", 404, "not_found"), ("POST", "/metrics", 405, "method_not_allowed")]
    {
        let reply = ask(address, method, path);
        assert_eq!((reply.status, reply.json()["error"].as_str()), (status, Some(error)), "{method} {path}");
    }
    assert!(ask(address, "DELETE", "/status").head.contains("allow: get,head"));
    let head = ask(address, "HEAD", "/metrics");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn a_taken_address_is_named() {
    let first = bind("127.0.0.1:0").unwrap();
    let address = first.local_addr().to_string();
    let error = bind(&address).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address), "{error}");
    let error = bind("not an address").unwrap_err();
    assert!(error.to_string().contains("not an address"), "{error}");
}

#[test]
fn stopping_does_not_wait_for_idle_or_stuck_clients() {
    let admin = start(vec![Box::new(Silent::default())]);
    let address = admin.local_addr();
    let idle = connect(address);
    let mut half = connect(address);
    half.write_all(b"GET /status HTTP/1.1\r\nHo").unwrap();
    let asking = std::thread::spawn(move || ask(address, "GET", "/readyz").status);
    std::thread::sleep(Duration::from_millis(200));
    let began = Instant::now();
    admin.stop().unwrap();
    assert!(began.elapsed() < STOP_MAX + Duration::from_millis(500), "{:?}", began.elapsed());
    assert_eq!(asking.join().unwrap(), 503, "a reply under way is finished");
    assert!(TcpStream::connect(address).is_err());
    drop((idle, half));
}

#[test]
fn the_thread_is_pinned_before_it_serves() {
    let (sent, name) = std::sync::mpsc::channel();
    let pin = move || sent.send(std::thread::current().name().map(str::to_owned)).unwrap();
    let admin = bind("127.0.0.1:0").unwrap().serve(Facts::default(), vec![], pin).unwrap();
    assert_eq!(name.recv().unwrap().as_deref(), Some("admin"));
    drop(admin);
}

/// A server with tight limits on a runtime of its own, for the listener alone.
fn tight(connections_max: usize, quiet_max: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let listener = listen::Bounded::with_limits(listener, connections_max, quiet_max);
            axum::serve(listener, Router::new().route("/", get(async || "here"))).await.unwrap();
        });
    });
    address
}

#[test]
fn sleepers_and_drippers_lose_their_place() {
    let address = tight(2, Duration::from_millis(300));
    let mut sleeper = connect(address);
    let mut dripper = connect(address);
    // Both places are taken: this waits until one of them is free again.
    let waiting = std::thread::spawn(move || ask(address, "GET", "/").body);
    for byte in b"GET / HTTP/1.1\r\nHost: x\r\nX: aaaaaaaaaaaaaaaaaaaaaaaa" {
        if dripper.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(waiting.join().unwrap(), "here");
    let mut rest = Vec::new();
    assert!(matches!(sleeper.read_to_end(&mut rest), Ok(0) | Err(_)), "closed, not timed out here");
    let gone = match dripper.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    };
    assert!(gone, "the dripper was let go");
}

#[test]
fn resident_memory_is_read_from_proc() {
    for (text, bytes) in [
        ("Name:\tx\nVmRSS:\t    1234 kB\nVmData:\t1 kB\n", Some(1234 * 1024)),
        ("VmRSS:\tmany kB\n", None),
        ("VmRSS:\t99999999999999999999 kB\n", None),
        ("VmRSS:\t18446744073709551615 kB\n", None),
        ("", None),
    ] {
        assert_eq!(rss_of(text), bytes, "{text}");
    }
}
