//! A shard in its steady state asks the heap for nothing, and the kernel for no more than it must.
//!
//! The shard is the real one, started in this process the way `serve` starts it and driven over sockets. The
//! allocator counts what the shard's own thread asks for; everybody else, this test included, goes uncounted.
//!
//! `RINGMILL_ALLOC_TRACE=1` prints where each counted allocation came from.
mod common;
// Of its acts only the plainest is wanted here.
#[allow(dead_code)]
#[path = "http/target.rs"]
mod target;

use common::{Client, Random, TempDir, json, ndjson, post};
use ringmill::{
    cli, config,
    config::plan::{Plan, Sink},
    shard::{self, Assignment, Beyond, Handle, Running},
    sink::{
        keeper::{Keeper, Options},
        store::Store,
        volume::DirLock,
    },
    sys::{asked::Asked, ring::Kind},
};
use ringmill_kafka_kit::fake::{Fake, Settings};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};
use target::Target;

const CONNECTIONS: usize = 16;
const WARM_UP_REQUESTS: usize = 2_000;
const REQUESTS: usize = 20_000;
/// Between them connections are replaced, and lines sent.
const PARTS: usize = 20;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counts {
    allocations: u64,
    reallocations: u64,
}

thread_local! {
    /// Whether this thread is watched.
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static COUNTS: Cell<Counts> = const { Cell::new(Counts { allocations: 0, reallocations: 0 }) };
}
static TRACE: AtomicBool = AtomicBool::new(false);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(what: &str, bytes: usize, add: impl FnOnce(&mut Counts)) {
    // The cells have no destructor, so they may be used at any time of a thread's life and allocate nothing.
    if !WATCHED.get() {
        return;
    }
    let mut counts = COUNTS.get();
    add(&mut counts);
    COUNTS.set(counts);
    if TRACE.load(Ordering::Relaxed) {
        // What printing allocates is not the shard's.
        WATCHED.set(false);
        eprintln!("{what} of {bytes} bytes\n{}", std::backtrace::Backtrace::force_capture());
        WATCHED.set(true);
    }
}

// SAFETY: every call goes to the system's allocator as it came; counting changes neither arguments nor results.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count("allocation", layout.size(), |counts| counts.allocations += 1);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count("zeroed allocation", layout.size(), |counts| counts.allocations += 1);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count("reallocation", bytes, |counts| counts.reallocations += 1);
        // SAFETY: as above; the block came from `System`.
        unsafe { System.realloc(block, layout, bytes) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above; the block came from `System`.
        unsafe { System.dealloc(block, layout) }
    }
}

/// A shard with what `serve` puts around it.
struct Served {
    shard: Running,
    keeper: Option<Keeper>,
    http: SocketAddr,
    lines: SocketAddr,
    _lock: Option<DirLock>,
}

fn plan(driver: &str, sink: &str) -> Plan {
    plan_on(&common::core(), driver, sink)
}

fn plan_on(cores: &str, driver: &str, sink: &str) -> Plan {
    let args = [
        &["ringmill", "serve", "--listen", "127.0.0.1:0", "--admin", "none"][..],
        &["--listen-lines", "127.0.0.1:0", "--lines-replies"],
        &["--cores", cores, "--driver", driver, "--sink", sink, "--segment-bytes", "256MiB"],
        &["--quarantine-bytes", "64MiB", "--connections-max", "64", "--receive-buffers", "128"],
    ];
    let args = args.concat().into_iter().map(Into::into);
    let Ok(cli::Command::Serve(given)) = cli::parse(args) else { panic!("not a serve command") };
    config::load(given).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn serve(plan: &Plan) -> Served {
    let mut listening = shard::listen::listen(plan, shard::passed::Passed::default()).unwrap();
    let http = listening.http[0].parse().unwrap();
    let lines = listening.lines[0].parse().unwrap();
    let handles: Arc<OnceLock<Handle>> = Arc::default();
    let (mut resume, mut keeper, mut lock) = (None, None, None);
    if let Sink::Segments(dir) = &plan.sink {
        let (mut shards, held) = Store::open(dir, 1).unwrap().into_parts();
        let open = shards.remove(0);
        (resume, lock) = (Some(open.resume), Some(held));
        let options = Options {
            segment_bytes: plan.segments.segment_bytes,
            quarantine_bytes: plan.segments.quarantine_bytes,
            retention_bytes: None,
            retention_age: None,
            paced: false,
            filled_bytes_per_s_max: u64::MAX,
        };
        let way = handles.clone();
        let deliver = move |_, mail| way.wait().mail(mail);
        let notice = |notice| eprintln!("{notice}");
        keeper = Some(Keeper::start(vec![open.volume], options, || (), deliver, notice).unwrap());
    }
    let beyond = match (&plan.sink, &plan.kafka, &plan.http) {
        (Sink::Kafka(address), Some(kafka), _) => {
            Some(Beyond::Kafka(shard::kafka::Setup::new(address, kafka).unwrap()))
        }
        (Sink::Http(address), _, Some(http)) => {
            let arena_bytes = plan.limits.arena_bytes as usize;
            Some(Beyond::Http(shard::http::Setup::new(address, http, arena_bytes).unwrap()))
        }
        _ => None,
    };
    let assignment = Assignment {
        number: 0,
        core: plan.cores.shards[0].core,
        home: shard::balance::homes(1, true).unwrap().remove(0),
        listeners: listening.shards.remove(0),
        resume,
        quarantine_first: resume.map(|resume| resume.next_quarantine),
        beyond,
        spill: None,
        requests: keeper.as_ref().map(Keeper::requests),
    };
    let shard = shard::start(plan, assignment, mpsc::channel().0).unwrap();
    assert!(handles.set(shard.handle.clone()).is_ok());
    Served { shard, keeper, http, lines, _lock: lock }
}

impl Served {
    /// Runs `look` on the shard's own thread, unwatched while it answers.
    fn ask<T: Send + 'static>(&self, look: impl FnOnce(&mut shard::Shard) -> T + Send + 'static) -> T {
        let (answer, answered) = mpsc::channel();
        self.shard.handle.ask(move |shard| {
            let watched = WATCHED.replace(false);
            answer.send(look(shard)).unwrap();
            WATCHED.set(watched);
        });
        answered.recv_timeout(common::PATIENCE).expect("the shard answers")
    }

    /// Counts from here on.
    fn watch(&self) {
        self.shard.handle.ask(|_| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or_default();
            assert!(name.starts_with("shard-"), "{name:?} is no shard's thread");
            COUNTS.set(Counts::default());
            WATCHED.set(true);
        });
    }

    /// What was counted; counts no more.
    fn unwatch(&self) -> Counts {
        let (answer, answered) = mpsc::channel();
        self.shard.handle.ask(move |_| {
            WATCHED.set(false);
            answer.send(COUNTS.get()).unwrap();
        });
        answered.recv_timeout(common::PATIENCE).expect("the shard answers")
    }

    fn stop(self) {
        self.shard.handle.drain();
        self.shard.join().unwrap();
        if let Some(keeper) = self.keeper {
            keeper.join();
        }
    }
}

/// Events that stand on one line each; one in five is refused, for all sorts of reasons.
fn event(random: &mut Random, out: &mut Vec<u8>) {
    let bad: [&[u8]; 6] = [
        b"{\"level\":\"warn\",\"cut\":[1,2",
        b"{\"surrogate\":\"\\ud800\"}",
        b"{\"utf8\":\"\xff\xfe\"}",
        b"[\"no object\"]",
        b"{\"number\":01}",
        b"{\"a\":1}{\"b\":2}",
    ];
    let fill = &"abcdefghijklmnopqrstuvwxyz0123456789".repeat(12)[..random.below(400) as usize];
    let number = random.below(1 << 40);
    match random.below(5) {
        0 => out.extend_from_slice(bad[random.below(bad.len() as u64) as usize]),
        // Numbers that fit no machine type take the exact path.
        1 if random.below(4) == 0 => write!(out, "{{\"n\":{number}00000000000000000000e-400}}").unwrap(),
        _ => write!(
            out,
            "{{\"time\":{number},\"text\":\"\\u00e9\\t{fill}\",\"nested\":[{{\"a\":[1.5e3,null]}}]}}"
        )
        .unwrap(),
    }
}

fn body(random: &mut Random, events: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..events {
        event(random, &mut body);
        body.push(b'\n');
    }
    body
}

fn array(random: &mut Random, events: usize) -> Vec<u8> {
    let mut body = b"[\n".to_vec();
    for n in 0..events {
        body.extend_from_slice(if n == 0 { b" " } else { b",\n " });
        write!(body, "{{\"n\": {},\n \"of\": \"an array\"}}", random.below(1000)).unwrap();
    }
    body.extend_from_slice(b"]");
    body
}

fn chunked(random: &mut Random, body: &[u8]) -> Vec<u8> {
    let head = "POST /v1/events HTTP/1.1\r\nHost: test\r\nContent-Type: application/x-ndjson\r\n";
    let mut request = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at((1 + random.below(5000) as usize).min(rest.len()));
        write!(request, "{:x}\r\n", chunk.len()).unwrap();
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
        rest = after;
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

/// What one connection sends at once, and how many replies that asks for.
fn burst(random: &mut Random) -> (Vec<u8>, usize) {
    match random.below(20) {
        0..8 => (json(body(random, 1)), 1),
        8..13 => ((0..16).flat_map(|_| ndjson(body(random, 1))).collect(), 16),
        13..17 => (ndjson(body(random, 100)), 1),
        17 => (json(array(random, 40)), 1),
        18 => {
            let body = body(random, 60);
            (chunked(random, &body), 1)
        }
        _ => match random.below(4) {
            // Beyond the connection's own buffer: draws on the budget of the shard.
            0 => (ndjson(body(random, 1200)), 1),
            1 => (
                post("/v1/events/some-stream?partial=reject", "Prefer: return=minimal\r\n", &body(random, 3)),
                1,
            ),
            2 => (post("/v1/nowhere", "", b"{}"), 1),
            _ => (post("/v1/events?ack=accepted", "", &body(random, 20)), 1),
        },
    }
}

/// A connection for lines, which are answered.
struct Lines {
    stream: TcpStream,
    sent: u64,
}

impl Lines {
    fn connect(to: SocketAddr) -> Lines {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
        Lines { stream, sent: 0 }
    }

    /// Sends that many lines and waits until the last one is answered.
    fn ask(&mut self, random: &mut Random, lines: usize) {
        self.stream.write_all(&body(random, lines)).unwrap();
        self.sent += lines as u64;
        let mut replies = BufReader::new(&self.stream);
        let (mut through, mut reply) = (0, String::new());
        while through < self.sent {
            reply.clear();
            replies.read_line(&mut reply).unwrap();
            let reply: serde_json::Value = serde_json::from_str(&reply).unwrap();
            through = reply["through"].as_u64().unwrap();
        }
    }
}

/// Sends that many requests over all connections in turn, some of them in pieces; replies by status.
fn drive(clients: &mut [Client], requests: usize, random: &mut Random, seen: &mut BTreeMap<u16, usize>) {
    let mut sent = 0;
    while sent < requests {
        let mut expected = Vec::new();
        for client in clients.iter_mut() {
            let (bytes, replies) = burst(random);
            let cut =
                if random.below(8) == 0 { random.below(bytes.len() as u64) as usize } else { bytes.len() };
            client.send(&bytes[..cut]);
            expected.push((bytes, cut, replies));
            sent += replies;
        }
        for (client, (bytes, cut, replies)) in clients.iter_mut().zip(expected) {
            client.send(&bytes[cut..]);
            for _ in 0..replies {
                *seen.entry(client.reply().status).or_default() += 1;
            }
        }
    }
}

/// Counts once `warm`: what a sink asks for once a partition, and no more, is behind it then.
fn measure(driver: &str, sink: &str, warm: &dyn Fn() -> bool) -> Counts {
    let plan = plan(driver, sink);
    let served = serve(&plan);
    while served.ask(|shard| shard.ready().is_err()) {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| Client::connect(served.http)).collect();
    let (mut random, mut seen) = (Random::new(7), BTreeMap::new());
    let mut lines = Lines::connect(served.lines);
    for round in 0.. {
        drive(&mut clients, WARM_UP_REQUESTS, &mut random, &mut seen);
        lines.ask(&mut random, 200);
        if warm() {
            break;
        }
        assert!(round < 100, "never warm");
    }
    seen.clear();
    served.watch();
    for _ in 0..PARTS {
        drive(&mut clients, REQUESTS / PARTS, &mut random, &mut seen);
        lines.ask(&mut random, 200);
        // Connections come and go.
        let leaver = random.below(CONNECTIONS as u64) as usize;
        clients[leaver] = Client::connect(served.http);
    }
    let counts = served.unwatch();
    println!("{driver}, {}: {counts:?} in {seen:?}", sink.split(':').next().unwrap_or(sink));
    assert!(!seen.contains_key(&503), "the shard was overloaded: {seen:?}");
    assert!(seen.len() >= 4 && seen.contains_key(&207) && seen.contains_key(&400), "too tame: {seen:?}");
    drop((clients, lines));
    served.stop();
    counts
}

#[test]
fn the_count_sees_what_a_shard_allocates() {
    let plan = plan("uring", "null");
    let served = serve(&plan);
    served.watch();
    served.shard.handle.ask(|_| {
        let mut block = std::hint::black_box(vec![0_u8; 100]);
        block.reserve_exact(5000);
        drop(std::hint::black_box(block));
        drop(std::hint::black_box(Box::new(7)));
    });
    assert_eq!(served.unwatch(), Counts { allocations: 2, reallocations: 1 });
    served.stop();
}

const PARTITIONS: usize = 4;

#[test]
fn nothing_is_allocated_in_the_steady_state() {
    TRACE.store(std::env::var_os("RINGMILL_ALLOC_TRACE").is_some(), Ordering::Relaxed);
    let dir = TempDir::new("allocations");
    let fake = Fake::start(Settings { nodes: 2, ..Settings::default() }.topic("events", PARTITIONS as i32));
    let target = Target::start([]);
    let brokers: Vec<_> = fake.addresses().iter().map(ToString::to_string).collect();
    for (driver, sink, per_request_max) in [
        ("uring", format!("kafka:{}/events", brokers.join(",")), 0.0),
        ("uring", format!("http://{}/in", target.address()), 0.0),
        ("uring", "null".to_string(), 0.0),
        ("uring", format!("segments:{}", dir.join("uring").display()), 0.0),
        ("glommio", "null".to_string(), 8.0),
        ("glommio", format!("segments:{}", dir.join("glommio").display()), 8.0),
    ] {
        // Each partition's first batch asks for a producer id.
        let warm = || {
            !sink.starts_with("kafka")
                || (0..PARTITIONS).all(|number| !fake.records("events", number).is_empty())
        };
        let counts = measure(driver, &sink, &warm);
        let per_request = (counts.allocations + counts.reallocations) as f64 / REQUESTS as f64;
        assert!(per_request <= per_request_max, "{driver}, {sink}: {per_request} a request, {counts:?}");
    }
}

/// Connections that one shard accepts and another serves, coming and going.
#[test]
fn handing_connections_over_allocates_nothing() {
    let Some(second) = common::second_core() else {
        eprintln!("not tested: there is one core");
        return;
    };
    let plan = plan_on(&format!("{},{second}", common::core()), "uring", "null");
    let listening = shard::listen::listen(&plan, shard::passed::Passed::default()).unwrap();
    let (http, lines) = (listening.http[0].parse().unwrap(), listening.lines[0].parse().unwrap());
    let homes = shard::balance::homes(2, true).unwrap();
    let places = homes.into_iter().zip(listening.shards).zip(&plan.cores.shards).enumerate();
    let shards: Vec<Served> = places
        .map(|(number, ((home, listeners), core))| {
            let assignment = Assignment {
                number: number as u32,
                core: core.core,
                home,
                listeners,
                resume: None,
                quarantine_first: None,
                beyond: None,
                spill: None,
                requests: None,
            };
            let shard = shard::start(&plan, assignment, mpsc::channel().0).unwrap();
            Served { shard, keeper: None, http, lines, _lock: None }
        })
        .collect();
    let (mut random, mut stay) = (Random::new(11), Vec::new());
    let mut come_and_go = |times: usize| {
        for _ in 0..times {
            let mut client = Client::connect(http);
            assert_eq!(client.ask(&ndjson("{\"a\":1}\n")).status, 202);
            stay.push(client);
            if stay.len() > 12 {
                stay.swap_remove(random.below(12) as usize);
            }
        }
    };
    let handed = || {
        let of = |shard: &mut shard::Shard| {
            shard.metrics().balance.receivers().map(|(_, count)| count).sum::<u64>()
        };
        shards.iter().map(|shard| shard.ask(of)).sum::<u64>()
    };
    come_and_go(200);
    // Only so many are handed over a second; a second later as many again.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    let before = handed();
    shards.iter().for_each(Served::watch);
    come_and_go(600);
    let counts: Vec<Counts> = shards.iter().map(Served::unwatch).collect();
    let given = handed() - before;
    println!("{given} of 600 connections were handed over: {counts:?}");
    assert!(given > 20, "too tame: {given}");
    assert_eq!(counts, [Counts::default(); 2]);
    drop(stay);
    shards.into_iter().for_each(Served::stop);
}

/// One connection that waits for each reply before it sends on: what that takes of the kernel, exactly.
#[test]
fn a_lone_request_costs_one_send_and_what_its_commit_writes() {
    const ROUNDS: u64 = 500;
    // Not timers and what moves them: how many depends on how long it takes.
    const KINDS: [Kind; 5] = [Kind::Accept, Kind::Receive, Kind::Send, Kind::Write, Kind::Sync];
    let event: &[u8] = b"{\"type\":\"log\",\"n\":[1.5,-2e9]}\n";
    let dir = TempDir::new("submissions");
    let segments = format!("segments:{}", dir.join("data").display());
    let refused = [event, b"{\"a\":\n"].concat();
    // Sends, writes and flushes a request; everything else is set up once.
    let cases = [
        ("one event, null sink", "null", ndjson(event), [0, 0, 1, 0, 0]),
        ("one event, durable", &*segments, ndjson(event), [0, 0, 1, 1, 1]),
        ("a hundred events, durable", &segments, ndjson(event.repeat(100)), [0, 0, 1, 1, 1]),
        ("one good and one refused event, durable", &segments, ndjson(refused), [0, 0, 1, 2, 2]),
    ];
    for (what, sink, request, each) in cases {
        let served = serve(&plan("uring", sink));
        while served.ask(|shard| shard.ready().is_err()) {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let mut client = Client::connect(served.http);
        let mut round = || {
            client.send(&request);
            client.reply()
        };
        round();
        let before = served.ask(|_| Asked::so_far());
        (0..ROUNDS).for_each(|_| drop(round()));
        let asked = served.ask(|_| Asked::so_far()).since(&before);
        println!("{what}: {:.2} calls of io_uring_enter a request", asked.calls() as f64 / ROUNDS as f64);
        assert_eq!(KINDS.map(|kind| asked.submissions(kind)), each.map(|n| n * ROUNDS), "{what}");
        drop(client);
        served.stop();
    }
}
