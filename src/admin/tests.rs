//! The admin side over real sockets, with shards that answer, refuse, stay silent or are gone.
use super::*;
use crate::core::metrics::{Metrics, SlowRequest, Stage};
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

fn start(ports: Vec<Box<dyn ShardPort>>) -> Admin {
    let facts = Facts {
        version: "9.9.9".into(),
        config: [("sink".to_owned(), "segments:./data".to_owned())].into(),
        memory_plan_bytes: 64 << 20,
    };
    bind("127.0.0.1:0").unwrap().serve(facts, ports, || {}).unwrap()
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

    let page = fetch(&admin, "/");
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-security-policy") && page.body.contains("<title>ringmill"));
    assert!(!page.body.contains("http://") && !page.body.contains("https://"), "no outside assets");
    admin.stop().unwrap();
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
