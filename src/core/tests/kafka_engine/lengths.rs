//! How long batches are: several for a partition where one would be too long, and what a topic takes.
use super::bench::{Bench, S, config, event, events, post, settings};
use super::cluster::{Cluster, Deed};
use super::fixed;
use ringmill_core::engine::Protocol;

#[test]
fn a_body_longer_than_a_batch_goes_to_its_partition_in_several_and_in_order() {
    let mut settings = settings(fixed());
    settings.arena.batch_bytes = 8 << 10;
    let mut bench = Bench::ready(config(), settings, Cluster::new(2, &[("events", 1)]));
    let id = bench.open(Protocol::Http);
    let mut batches = 0;
    bench.cluster.deed = Box::new(move |batch| {
        batches += 1;
        match batches {
            2 => Deed::AppendAndBreak,
            4 => Deed::Refuse(19),
            7 if batch.records.len() > 1 => Deed::Refuse(10),
            8 => Deed::Break,
            _ => Deed::Append,
        }
    });
    let (status, body) = bench.ask(id, &post("/v1/events", "", &events(0..5000)), 9 * S);
    assert_eq!(status, 200, "{body}");
    let expected: Vec<String> = (0..5000).map(|n| event(n).trim_end().into()).collect();
    assert_eq!(bench.cluster.values("events"), expected);
    assert!(bench.cluster.batches > 12, "one after the other: {}", bench.cluster.batches);
    assert_eq!(bench.engine.metrics().counters.commits, 1);
    bench.finish();
}

#[test]
fn of_several_batches_of_a_partition_each_has_its_own_fate() {
    let mut settings = settings(fixed());
    settings.arena.batch_bytes = 4 << 10;
    let mut bench = Bench::ready(config(), settings, Cluster::new(2, &[("events", 1)]));
    let id = bench.open(Protocol::Http);
    let mut batches = 0;
    bench.cluster.deed = Box::new(move |_| {
        batches += 1;
        if batches == 2 { Deed::Refuse(44) } else { Deed::Append }
    });
    let (status, body) = bench.ask(id, &post("/v1/events", "", &events(0..600)), 5 * S);
    let missing = 600 - bench.cluster.values("events").len();
    assert!(status == 503 && missing > 0 && body.contains(&format!("\"not_written\":{missing}")), "{body}");
    bench.finish();
}

#[test]
fn what_a_topic_takes_is_learnt_once() {
    let mut settings = settings(fixed());
    settings.arena.batch_bytes = 200_000;
    let mut bench = Bench::ready(config(), settings, Cluster::new(2, &[("events", 1)]));
    let refused = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = refused.clone();
    bench.cluster.deed = Box::new(move |batch| {
        let bytes: usize = batch.records.iter().map(|record| record.value.len() + 9).sum();
        count.set(count.get() + u32::from(bytes > 60_000));
        if bytes > 60_000 { Deed::Refuse(10) } else { Deed::Append }
    });
    let body = format!("{{\"x\":\"{}\"}}\n", "x".repeat(980)).repeat(300);
    let ask = |bench: &mut Bench| {
        let id = bench.open(Protocol::Http);
        assert_eq!(bench.ask(id, &post("/v1/events", "", &body), 3 * S).0, 200);
        refused.take()
    };
    let first = ask(&mut bench);
    assert!(first >= 3, "{first}: 200 KB, then 100 KB, and the rest of the commit");
    assert_eq!([0; 3].map(|_| ask(&mut bench)), [0; 3]);
    // The topic may have been changed meanwhile: one guess in ten minutes.
    bench.pass(601 * S);
    assert_eq!(ask(&mut bench), 0);
    let guess = ask(&mut bench);
    assert!((1..first).contains(&guess), "{guess}");
    assert_eq!([0; 3].map(|_| ask(&mut bench)), [0; 3]);
    assert_eq!(bench.cluster.values("events").len(), 300 * 9);
    bench.finish();
}
