//! Events from segments instead of connections: their own ids and times, and what became of each.
use super::bench::{Bench, MS, S, config, settings};
use super::cluster::{Cluster, Deed, Logged};
use super::fixed;
use ringmill_core::batch::fate::Fate;
use ringmill_core::engine::replay::{Replayed, Settlement, Unsent};
use ringmill_core::json::pointer::Pointer;
use ringmill_core::segment::StreamName;
use ringmill_core::sink::NotReady;
use ringmill_core::sink::kafka::{HeaderRules, KeyFrom, Routing, TopicFrom};

fn routing() -> Routing {
    Routing {
        key: KeyFrom::Pointer(Pointer::parse("/n").expect("a pointer")),
        headers: HeaderRules {
            stream: Some("stream".into()),
            event_id: Some("id".into()),
            extra: Vec::new(),
        },
        ..fixed()
    }
}

fn bench() -> Bench {
    Bench::ready(config(), settings(routing()), Cluster::new(2, &[("events", 4)]))
}

fn value(seq: u64) -> Vec<u8> {
    format!("{{\"n\":{seq}}}").into_bytes()
}

fn put(bench: &mut Bench, stream: &StreamName, seq: u64, value: &[u8]) -> Result<(), Unsent> {
    let time_ms = 1_700_000_000_000 + seq;
    bench.engine.replay(&Replayed { shard: 9, seq, stream, key: None, value, time_ms })
}

/// Sends a commit of these events and lets time pass until it is settled.
fn commit(bench: &mut Bench, seqs: impl Iterator<Item = u64>) -> Settlement {
    bench.engine.tick();
    for seq in seqs {
        assert_eq!(put(bench, &StreamName::DEFAULT, seq, &value(seq)), Ok(()), "{seq}");
    }
    for _ in 0..600 {
        bench.turn();
        if let Some(settlement) = bench.engine.take_replayed() {
            assert_eq!(bench.engine.take_replayed(), None, "told once");
            return settlement;
        }
        bench.pass(100 * MS);
    }
    panic!("a commit is settled in the end");
}

fn seq_of(record: &Logged) -> u64 {
    let id = String::from_utf8(record.headers[1].1.clone()).expect("text");
    id.strip_prefix("9:").expect("the shard that stored it").parse().expect("a number")
}

#[test]
fn they_keep_their_ids_streams_and_times() {
    let mut bench = bench();
    let logs = StreamName::new(b"logs").expect("a name");
    bench.engine.tick();
    assert_eq!(put(&mut bench, &logs, 7, &value(7)), Ok(()));
    assert_eq!(put(&mut bench, &StreamName::DEFAULT, 70_000_000_001, &value(1)), Ok(()));
    bench.turn();
    assert!(bench.engine.is_replaying());
    assert_eq!(put(&mut bench, &logs, 8, &value(8)), Err(Unsent::Later), "one commit at a time");
    bench.pass(S);
    assert_eq!(bench.engine.take_replayed(), Some(Settlement { events: 2, failed: Vec::new(), lost: false }));
    assert!(!bench.engine.is_replaying());
    let mut records: Vec<&Logged> = bench.cluster.logs.values().flatten().collect();
    records.sort_by_key(|record| seq_of(record));
    assert_eq!((seq_of(records[0]), records[0].timestamp_ms), (7, 1_700_000_000_007));
    assert_eq!(
        (records[0].headers[0].1.as_slice(), records[0].value.as_slice()),
        (&b"logs"[..], &b"{\"n\":7}"[..])
    );
    assert_eq!((seq_of(records[1]), records[1].headers[0].1.as_slice()), (70_000_000_001, &b"default"[..]));
    let counters = bench.engine.metrics().counters;
    assert_eq!((counters.events_received, counters.events_stored), (2, 2));
    bench.finish();
}

#[test]
fn each_is_told_what_became_of_it() {
    // Of four partitions one is refused and one breaks until the end; one finds a single record invalid.
    let mut bench = bench();
    bench.cluster.deed = Box::new(|batch| match batch.partition {
        0 => Deed::Refuse(44),
        1 => Deed::AppendAndBreak,
        2 | 3 => {
            let invalid = |value: &[u8]| value.ends_with(b"0}") || value.ends_with(b"5}");
            let at = batch.records.iter().position(|record| invalid(&record.value));
            at.map_or(Deed::Append, |at| Deed::Complain(87, at as u32, 1))
        }
        _ => Deed::Append,
    });
    let settlement = commit(&mut bench, 1..=40);
    assert_eq!((settlement.events, settlement.lost), (40, false));
    let failed: Vec<u32> = settlement.failed.iter().map(|(at, _)| *at).collect();
    assert!(failed.is_sorted() && !failed.is_empty(), "{failed:?}");
    let mut fates = [0; 4];
    let written = bench.cluster.values("events");
    for at in 0..40 {
        let event = String::from_utf8(value(at + 1)).expect("text");
        let failure = settlement.failed.iter().find(|(failed, _)| u64::from(*failed) == at);
        match failure.map(|(_, failure)| failure.fate) {
            None => assert_eq!(written.iter().filter(|value| **value == event).count(), 1, "{event}"),
            Some(Fate::PossiblyWritten) => {}
            Some(_) => assert!(!written.contains(&event), "{event}"),
        }
        fates[failure.map_or(0, |(_, failure)| 1 + failure.fate as usize)] += 1;
    }
    assert!(fates.iter().all(|count| *count > 0), "each of them: {fates:?}");
    let (_, failure) = settlement.failed[0];
    let words = bench.engine.explain(&failure);
    assert!(words.starts_with("topic events, partition "), "{words}");
    // What failed goes again, alone, under the same ids.
    bench.cluster.deed = Box::new(|_| Deed::Append);
    let again = settlement.failed.iter().filter(|(_, failure)| failure.fate == Fate::NotWritten);
    let again: Vec<u64> = again.map(|(at, _)| u64::from(*at) + 1).collect();
    assert_eq!(commit(&mut bench, again.iter().copied()).failed, []);
    let ids: Vec<u64> = bench.cluster.logs.values().flatten().map(seq_of).collect();
    assert!(again.iter().all(|seq| ids.contains(seq)));
    bench.finish();
}

#[test]
fn nothing_is_taken_that_cannot_go() {
    let down = {
        let mut cluster = Cluster::new(2, &[("events", 4)]);
        cluster.down = true;
        cluster
    };
    let mut bench = Bench::new(config(), settings(routing()), down);
    bench.pass(100 * MS);
    let taken = put(&mut bench, &StreamName::DEFAULT, 1, &value(1));
    assert!(matches!(taken, Err(Unsent::NotReady(NotReady::Upstream(_)))), "{taken:?}");
    // Streams that are no topics yet, or never: each says why.
    let by_stream = Routing { topic: TopicFrom::Stream { prefix: "of.".into() }, ..routing() };
    let mut bench = Bench::new(config(), settings(by_stream), Cluster::new(2, &[("of.here", 1)]));
    bench.pass(100 * MS);
    let stream = |name: &str| StreamName::new(name.as_bytes()).expect("a name");
    assert!(
        matches!(put(&mut bench, &stream("here"), 1, &value(1)), Err(Unsent::NotReady(_))),
        "not known yet"
    );
    bench.turn();
    bench.pass(S);
    assert_eq!(put(&mut bench, &stream("here"), 1, &value(1)), Ok(()));
    assert!(matches!(put(&mut bench, &stream("absent"), 2, &value(2)), Err(Unsent::NotReady(_))));
    for more in 0..8 {
        let _ = put(&mut bench, &stream(&format!("more{more}")), 3, &value(3));
    }
    let taken = put(&mut bench, &stream("too-many"), 4, &value(4));
    assert!(matches!(taken, Err(Unsent::Refused(_))), "{taken:?}");
    let large = format!("{{\"n\":\"{}\"}}", "x".repeat(250_000)).into_bytes();
    assert_eq!(put(&mut bench, &stream("here"), 5, &large), Err(Unsent::TooLarge));
    bench.pass(S);
    assert_eq!(bench.engine.take_replayed().map(|settlement| settlement.events), Some(1));
    bench.finish();
}

#[test]
fn a_full_batch_says_so_and_the_rest_goes_with_the_next() {
    let mut bench = bench();
    let mut next = 1;
    let mut settled = 0;
    while settled < 20_000 {
        bench.engine.tick();
        let before = next;
        while next <= 20_000 && put(&mut bench, &StreamName::DEFAULT, next, &value(next)) == Ok(()) {
            next += 1;
        }
        assert!(next > before || next > 20_000, "an empty batch takes something");
        bench.turn();
        bench.pass(20 * MS);
        settled += bench.engine.take_replayed().map_or(0, |settlement| settlement.events);
    }
    for log in bench.cluster.logs.values() {
        assert!(log.iter().map(seq_of).is_sorted(), "in order in each partition");
    }
    assert_eq!(bench.cluster.values("events").len(), 20_000);
    bench.finish();
}

#[test]
fn what_is_given_up_is_told_at_once() {
    let mut bench = bench();
    bench.cluster.deed = Box::new(|_| Deed::Silence);
    bench.engine.tick();
    assert_eq!(put(&mut bench, &StreamName::DEFAULT, 1, &value(1)), Ok(()));
    bench.pass(20 * MS);
    assert_eq!(bench.engine.take_replayed(), None);
    bench.engine.give_up_replay();
    bench.pass(MS);
    let settlement = bench.engine.take_replayed().expect("settled");
    assert_eq!(settlement.failed[0].1.fate, Fate::PossiblyWritten);
    bench.finish();
}
