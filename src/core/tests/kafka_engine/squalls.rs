//! Random requests among brokers that come and go and a disk that fails: what was promised, and in which order.
use super::bench::{Bench, CONNECTIONS, MS, S, config, post, settings};
use super::cluster::{Cluster, Deed};
use super::disk::Disk;
use ringmill_core::engine::{Mode, Protocol};
use ringmill_core::sink::kafka::{KeyFrom, Routing};
use std::collections::HashMap;

/// How often each was seen.
#[derive(Default)]
pub struct Kinds {
    replicated: u64,
    durable: u64,
    refused: u64,
    not_replicated: u64,
    unknown: u64,
    begun: u64,
}

impl Kinds {
    pub fn add(&mut self, other: &Kinds) {
        self.replicated += other.replicated;
        self.durable += other.durable;
        self.refused += other.refused;
        self.not_replicated += other.not_replicated;
        self.unknown += other.unknown;
        self.begun += other.begun;
    }

    /// A run that never meets a kind says nothing of it.
    pub fn assert_all_met(&self) {
        let Kinds { replicated, durable, refused, not_replicated, unknown, begun } = *self;
        assert!(replicated > 500 && durable > 500 && refused > 50, "{replicated} {durable} {refused}");
        assert!(not_replicated > 50 && unknown > 10 && begun > 100, "{not_replicated} {unknown} {begun}");
    }
}

struct Asked {
    conn: usize,
    key: u32,
    numbers: std::ops::Range<usize>,
    level: &'static str,
}

fn deeds(seed: u64) -> Box<dyn FnMut(&super::cluster::Batch) -> Deed> {
    let mut chance = fastrand::Rng::with_seed(seed);
    let calm = chance.u32(4..60);
    Box::new(move |_| match chance.u32(..calm + 5) {
        0 => Deed::AppendAndBreak,
        1 => Deed::Break,
        2 => Deed::Silence,
        3 => Deed::Refuse([6, 19, 7, 3][chance.usize(..4)]),
        4 => Deed::Refuse(45),
        _ => Deed::Append,
    })
}

/// Weather: brokers go or come, they misbehave or not, the disk is full or not, time passes.
fn gust(bench: &mut Bench, chance: &mut fastrand::Rng, seed: u64) {
    let now_ns = bench.now_ns();
    match chance.u32(..40) {
        0 if !bench.cluster.down => bench.cluster.go_down(now_ns),
        1 | 2 => bench.cluster.down = false,
        3 => bench.cluster.deed = deeds(seed ^ chance.u64(..)),
        4 => bench.cluster.deed = Box::new(|_| Deed::Append),
        5 => bench.cluster.deed = Box::new(|_| Deed::Silence),
        6 => bench.disk.as_mut().expect("a disk").sick = Some(if chance.bool() { 28 } else { 5 }),
        7 | 8 => bench.disk.as_mut().expect("a disk").sick = None,
        9 => bench.pass(chance.u64(..3 * S)),
        10..16 => bench.pass(chance.u64(..300 * MS)),
        16..30 => bench.pass(chance.u64(..10 * MS)),
        _ => {}
    }
}

/// One run. Panics, the seed in the message, when a reply is untrue or the order is wrong.
pub fn run(seed: u64) -> Kinds {
    let mut chance = fastrand::Rng::with_seed(seed ^ 0x5b111);
    let mut config = config();
    config.policy.linger_ns = [0, 5 * MS, 100 * MS][chance.usize(..3)];
    config.quarantine_first = chance.bool().then_some(1);
    let routing = Routing { key: KeyFrom::Header, ..Routing::fixed("events") };
    let mut cluster = Cluster::new(3, &[("events", 4)]);
    cluster.down = chance.u32(..4) == 0;
    let mut bench = Bench::spilling(config, settings(routing), cluster, Disk::default());
    let ids: Vec<_> = (0..CONNECTIONS).map(|_| bench.open(Protocol::Http)).collect();
    let mut asked: Vec<Asked> = Vec::new();
    let mut heard = vec![String::new(); CONNECTIONS];
    let mut next = 0;
    for _ in 0..chance.usize(20..150) {
        gust(&mut bench, &mut chance, seed);
        let (conn, key) = (chance.usize(..CONNECTIONS), chance.u32(..5));
        let numbers = next..next + chance.usize(1..20);
        next = numbers.end;
        let mut body: String = numbers.clone().map(|n| format!("{{\"n\":{n},\"c\":{conn}}}\n")).collect();
        if chance.u32(..20) == 0 {
            body.push_str("nonsense\n");
        }
        let level = ["", "", "", "?ack=durable", "?ack=written", "?ack=replicated"][chance.usize(..6)];
        bench.send(
            ids[conn],
            &post(&format!("/v1/events{level}"), &format!("Ringmill-Key: {key}\r\n"), &body),
        );
        asked.push(Asked { conn, key, numbers, level });
        ids.iter().zip(&mut heard).for_each(|(id, heard)| heard.push_str(&bench.heard(*id)));
    }
    bench.cluster.down = false;
    bench.cluster.deed = Box::new(|_| Deed::Append);
    bench.disk.as_mut().expect("a disk").sick = None;
    bench.pass(90 * S);
    assert_eq!(bench.engine.mode(), Some(Mode::Direct), "seed {seed}: everything is where it belongs");
    assert_eq!(bench.engine.metrics().spill.waiting_events, 0, "seed {seed}");
    let begun = bench.engine.metrics().spill.begun;
    let mut bench = bench.finish();
    ids.iter().zip(&mut heard).for_each(|(id, heard)| heard.push_str(&bench.heard(*id)));
    in_order(seed, &bench, &asked);
    Kinds { begun, ..judge(seed, &bench, &asked, &heard) }
}

/// Of one connection's events with one key none overtakes another, wherever each of them waited.
fn in_order(seed: u64, bench: &Bench, asked: &[Asked]) {
    let mut owner = HashMap::new();
    for (at, request) in asked.iter().enumerate() {
        owner.extend(request.numbers.clone().map(|n| (n, at)));
    }
    for log in bench.cluster.logs.values() {
        let mut newest: HashMap<(usize, u32), usize> = HashMap::new();
        for record in log {
            let n = number(&record.value);
            let request = &asked[owner[&n]];
            assert_eq!(record.key.as_deref(), Some(request.key.to_string().as_bytes()), "seed {seed}: {n}");
            let before = newest.insert((request.conn, request.key), n);
            assert!(before.is_none_or(|before| before < n), "seed {seed}: {n} behind {before:?}");
        }
    }
}

fn number(value: &[u8]) -> usize {
    let text = std::str::from_utf8(value).expect("text");
    text["{\"n\":".len()..].split(',').next().and_then(|n| n.parse().ok()).expect("a number")
}

fn judge(seed: u64, bench: &Bench, asked: &[Asked], heard: &[String]) -> Kinds {
    let mut copies: HashMap<usize, u32> = HashMap::new();
    for record in bench.cluster.logs.values().flatten() {
        *copies.entry(number(&record.value)).or_default() += 1;
    }
    assert!(copies.values().all(|copies| *copies == 1), "seed {seed}: an event twice");
    let mut kinds = Kinds::default();
    for (conn, heard) in heard.iter().enumerate() {
        let replies: Vec<&str> = heard.split("HTTP/1.1 ").skip(1).collect();
        let asked: Vec<&Asked> = asked.iter().filter(|asked| asked.conn == conn).collect();
        assert_eq!(replies.len(), asked.len(), "seed {seed}, connection {conn}: every request has its reply");
        for (reply, asked) in replies.iter().zip(asked) {
            let stored = asked.numbers.clone().filter(|n| copies.contains_key(n)).count();
            let what =
                format!("seed {seed}: {stored} of {} stored, {}: {reply}", asked.numbers.len(), asked.level);
            let accepted = reply.contains(&format!("\"accepted\":{},", asked.numbers.len()));
            match &reply[..3] {
                "200" | "202" | "207" => {
                    assert!(stored == asked.numbers.len() && accepted, "{what}");
                    let durable =
                        reply.contains("\"ack\":\"durable\"") || reply.contains("\"ack\":\"written\"");
                    assert!(durable || reply.contains("\"ack\":\"replicated\""), "{what}");
                    assert!(!(durable && asked.level == "?ack=replicated"), "{what}");
                    *if durable { &mut kinds.durable } else { &mut kinds.replicated } += 1;
                }
                "503" if reply.contains("\"possibly_written\",") => kinds.unknown += 1,
                "503" | "507" => {
                    assert_eq!(stored, 0, "{what}");
                    let insists = reply.contains("\"not_replicated\"");
                    *if insists { &mut kinds.not_replicated } else { &mut kinds.refused } += 1;
                }
                _ => panic!("{what}"),
            }
        }
    }
    kinds
}
