//! Random requests among brokers that fail at random, and what must be true of every reply.
use super::bench::{Bench, CONNECTIONS, MS, S, config, post, settings};
use super::cluster::{Cluster, Deed, Logged};
use ringmill_core::engine::Protocol;
use ringmill_core::json::pointer::Pointer;
use ringmill_core::sink::kafka::{KeyFrom, Routing};
use std::collections::{BTreeMap, HashMap};

/// How many replies of each kind there were.
#[derive(Default)]
pub struct Kinds {
    whole: u64,
    partial: u64,
    not_written: u64,
    possibly_written: u64,
    /// Of those not written.
    no_leader: u64,
}

impl Kinds {
    pub fn add(&mut self, other: &Kinds) {
        self.whole += other.whole;
        self.partial += other.partial;
        self.not_written += other.not_written;
        self.possibly_written += other.possibly_written;
        self.no_leader += other.no_leader;
    }

    /// A run that never meets a kind says nothing of it.
    pub fn assert_all_met(&self) {
        let Kinds { whole, partial, not_written, possibly_written, no_leader } = *self;
        assert!(whole > 100 && partial > 20 && not_written > 20 && possibly_written > 20 && no_leader > 20);
    }
}

fn deeds(seed: u64) -> Box<dyn FnMut(&super::cluster::Batch) -> Deed> {
    let mut chance = fastrand::Rng::with_seed(seed);
    let calm = chance.u32(1..40);
    Box::new(move |batch| {
        let records = batch.records.len() as u32;
        if let Some(first) = batch.records.iter().position(|record| record.value.starts_with(b"{\"poison\""))
        {
            return Deed::Complain(87, first as u32, 1);
        }
        match chance.u32(..calm + 8) {
            0 => Deed::AppendAndBreak,
            1 => Deed::Break,
            2 => Deed::Silence,
            3 => Deed::Refuse([29, 17, 6, 19, 7, 3][chance.usize(..6)]),
            4 if records > 1 => Deed::Refuse(10),
            5 => Deed::Refuse(45),
            _ => Deed::Append,
        }
    })
}

struct Asked {
    conn: usize,
    /// Numbers of its events, those that brokers refuse among them.
    good: Vec<usize>,
    poison: usize,
}

/// One run. Panics, the seed in the message, when a reply is untrue.
pub fn run(seed: u64) -> Kinds {
    let (bench, asked, heard) = live(seed);
    judge(seed, &bench, &asked, &heard)
}

/// One life, to its end: what was asked, and what each connection heard.
fn live(seed: u64) -> (Bench, Vec<Asked>, Vec<String>) {
    let mut chance = fastrand::Rng::with_seed(seed ^ 0x5eed);
    let pointer = Pointer::parse("/k").expect("a pointer");
    let key = if chance.bool() { KeyFrom::Pointer(pointer) } else { KeyFrom::None };
    let mut config = config();
    config.quarantine_first = chance.bool().then_some(1);
    config.policy.linger_ns = [0, 5 * MS][chance.usize(..2)];
    let mut settings = settings(Routing { key, ..Routing::fixed("events") });
    // The least there is: most commits have several batches for a partition then.
    settings.arena.batch_bytes = [200_000, 1024][chance.usize(..2)];
    settings.producer.leader_wait_ns = [10 * S, 300 * MS][chance.usize(..2)];
    let mut bench = Bench::ready(config, settings, Cluster::new(3, &[("events", 6)]));
    bench.cluster.deed = deeds(seed);
    let ids: Vec<_> = (0..CONNECTIONS).map(|_| bench.open(Protocol::Http)).collect();
    let mut asked: Vec<Asked> = Vec::new();
    let mut heard = vec![String::new(); CONNECTIONS];
    let mut next = 0;
    for _ in 0..chance.usize(5..40) {
        let conn = chance.usize(..CONNECTIONS);
        let (mut body, mut good, mut poison) = (String::new(), Vec::new(), 0);
        for _ in 0..chance.usize(1..30) {
            match chance.u32(..100) {
                0 => {
                    body += &format!("{{\"poison\":{next}}}\n");
                    poison += 1;
                }
                _ => {
                    body += &format!("{{\"n\":{next},\"k\":{}}}\n", chance.u32(..9));
                    good.push(next);
                }
            }
            next += 1;
        }
        asked.push(Asked { conn, good, poison });
        bench.send(ids[conn], &post("/v1/events", "", &body));
        match chance.u32(..30) {
            0 => {
                let now_ns = bench.now_ns();
                bench.cluster.go_down(now_ns);
                bench.pass(chance.u64(..3 * S));
                bench.cluster.down = false;
            }
            1 | 2 => {
                let partition = chance.usize(..6);
                bench.cluster.topics[0].leaders[partition] = -1;
                bench.break_links();
                bench.pass(chance.u64(..2 * S));
            }
            3 => bench.cluster.lead_all(),
            4..12 => {}
            _ => bench.pass(chance.u64(..30 * MS)),
        }
        ids.iter().zip(&mut heard).for_each(|(id, heard)| heard.push_str(&bench.heard(*id)));
    }
    bench.cluster.lead_all();
    bench.pass(60 * S);
    let mut bench = bench.finish();
    ids.iter().zip(&mut heard).for_each(|(id, heard)| heard.push_str(&bench.heard(*id)));
    (bench, asked, heard)
}

/// In each log the events of one connection stand in the order in which it sent them.
fn in_order(logs: &BTreeMap<(String, i32), Vec<Logged>>, asked: &[Asked]) -> Result<(), String> {
    let sent = asked.iter().flat_map(|asked| asked.good.iter().map(|n| (*n, asked.conn)));
    let conn: HashMap<usize, usize> = sent.collect();
    for (place, log) in logs {
        let mut last = [None; CONNECTIONS];
        for record in log {
            let number = number(&record.value);
            let before = last[conn[&number]].replace(number);
            if before >= Some(number) {
                return Err(format!("{place:?}: {number} behind {before:?} of the same connection"));
            }
        }
    }
    Ok(())
}

fn number(value: &[u8]) -> usize {
    let digits = value["{\"n\":".len()..].split(|byte| *byte == b',').next();
    let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(value)))
}

/// Records that changed places, that are missing or there twice are noticed: or the judge proves nothing.
pub fn the_judge_sees(seed: u64) {
    let (bench, asked, heard) = live(seed);
    judge(seed, &bench, &asked, &heard);
    let broken = |spoil: &dyn Fn(&mut Vec<Logged>)| {
        let (mut bench, asked, heard) = live(seed);
        bench.cluster.logs.values_mut().filter(|log| log.len() > 20).for_each(spoil);
        let judged = std::panic::AssertUnwindSafe(|| judge(seed, &bench, &asked, &heard));
        std::panic::catch_unwind(judged).is_err()
    };
    assert!(broken(&|log| log.reverse()), "another order");
    assert!(broken(&|log| drop(log.pop())), "one is missing");
    assert!(broken(&|log| log.push(log[0].clone())), "one is there twice");
}

fn judge(seed: u64, bench: &Bench, asked: &[Asked], heard: &[String]) -> Kinds {
    in_order(&bench.cluster.logs, asked).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    let mut copies: HashMap<usize, u32> = HashMap::new();
    for value in bench.cluster.values("events") {
        *copies.entry(number(value.as_bytes())).or_default() += 1;
    }
    assert!(copies.values().all(|copies| *copies == 1), "seed {seed}: an event twice");
    let mut kinds = Kinds::default();
    for (conn, heard) in heard.iter().enumerate() {
        let replies: Vec<&str> = heard.split("HTTP/1.1 ").skip(1).collect();
        let asked: Vec<&Asked> = asked.iter().filter(|asked| asked.conn == conn).collect();
        assert_eq!(replies.len(), asked.len(), "seed {seed}, connection {conn}: every request has its reply");
        for (reply, asked) in replies.iter().zip(asked) {
            let stored = asked.good.iter().filter(|n| copies.contains_key(n)).count();
            let (good, poison) = (asked.good.len(), asked.poison);
            let all = |accepted: usize, rejected: usize| {
                reply.contains(&format!("\"accepted\":{accepted},\"rejected\":{rejected}"))
            };
            let what = format!("seed {seed}: {stored} of {good} stored, {poison} poisonous: {reply}");
            match &reply[..3] {
                "200" => {
                    assert!(stored == good && poison == 0 && all(good, 0), "{what}");
                    kinds.whole += 1;
                }
                "207" => {
                    assert!(stored == good && poison > 0 && all(good, poison), "{what}");
                    kinds.partial += 1;
                }
                "400" => assert!(good == 0 && poison > 0 && all(0, poison), "{what}"),
                "503" if reply.contains("\"possibly_written\",") => kinds.possibly_written += 1,
                "503" => {
                    assert!(stored == 0, "{what}");
                    kinds.no_leader += u64::from(reply.contains("had no leader"));
                    kinds.not_written += 1;
                }
                _ => panic!("{what}"),
            }
        }
    }
    kinds
}
