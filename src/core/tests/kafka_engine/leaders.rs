//! A partition without a leader: who waits for it, and for how long.
use super::bench::{Bench, MS, S, config, post, settings};
use super::cluster::Cluster;
use super::{figures, fixed};
use ringmill_core::engine::Protocol;
use ringmill_core::json::pointer::Pointer;
use ringmill_core::kafka::partition::keyed;
use ringmill_core::sink::kafka::{KeyFrom, Routing};

/// Events of one key; the first for partition 0 of two, the second for partition 1.
fn keys_of_two() -> [String; 2] {
    [0, 1].map(|wanted| {
        let key = (0..).map(|n| format!("k{n}")).find(|key| keyed(key.as_bytes(), 2) == wanted);
        format!("{{\"k\":\"{}\"}}\n", key.expect("there are as many as one wants"))
    })
}

/// A shard whose events have keys, and which knows that partition 0 of two has no leader.
fn half_led(leader_wait_ns: u64) -> Bench {
    let key = KeyFrom::Pointer(Pointer::parse("/k").expect("a pointer"));
    let mut settings = settings(Routing { key, ..fixed() });
    settings.producer.leader_wait_ns = leader_wait_ns;
    let mut bench = Bench::ready(config(), settings, Cluster::new(2, &[("events", 2)]));
    bench.cluster.topics[0].leaders[0] = -1;
    bench.break_links();
    bench.pass(200 * MS);
    assert_eq!(bench.engine.ready(), Ok(()), "for the other one");
    bench
}

#[test]
fn a_partition_without_a_leader_holds_up_the_others_only_for_so_long() {
    let mut bench = half_led(2 * S);
    let [unled, led] = keys_of_two().map(|event| post("/v1/events", "", &event));
    let ids = [0; 3].map(|_| bench.open(Protocol::Http));
    bench.send(ids[0], &unled);
    bench.send(ids[1], &led);
    bench.pass(S);
    assert_eq!(
        (bench.heard(ids[0]).as_str(), bench.heard(ids[1]).as_str()),
        ("", ""),
        "one commit at a time"
    );
    bench.pass(S);
    let heard = bench.heard(ids[0]);
    assert!(heard.starts_with("HTTP/1.1 503 ") && heard.contains("\"error\":\"not_written\""), "{heard}");
    assert!(heard.contains("partition 0: the partition has had no leader"), "{heard}");
    assert!(bench.heard(ids[1]).starts_with("HTTP/1.1 200 "));
    // From here on the one is turned away at once, and the other never waits.
    let (status, body) = bench.ask(ids[0], &unled, 0);
    assert!(status == 503 && body.contains("\"error\":\"no_leader\""), "{body}");
    assert_eq!(bench.ask(ids[1], &led, 10 * MS).0, 200);
    let both = format!("{}{}", keys_of_two()[1], keys_of_two()[0]);
    let (status, body) = bench.ask(ids[2], &post("/v1/events", "", &both), 0);
    assert!(status == 503 && body.contains("\"accepted\":0"), "all of a request or nothing: {body}");
    assert_eq!(bench.cluster.values("events").len(), 2);
    let forsaken = "ringmill_kafka_partition_forsaken{shard=\"3\",topic=\"events\",partition=\"0\"} 1";
    assert!(figures(&mut bench).lines().any(|line| line == forsaken));
    bench.cluster.topics[0].leaders[0] = 0;
    bench.pass(2 * S);
    assert_eq!(bench.ask(ids[0], &unled, 10 * MS).0, 200);
    bench.finish();
}

#[test]
fn lines_for_a_partition_without_a_leader_wait_for_it_and_hold_up_nobody() {
    let mut bench = half_led(100 * MS);
    let [unled, led] = keys_of_two();
    let ids = [bench.open(Protocol::Lines), bench.open(Protocol::Lines)];
    bench.send(ids[0], &unled);
    bench.send(ids[1], &led);
    bench.pass(5 * S);
    assert_eq!(bench.heard(ids[0]), "");
    assert_eq!(bench.heard(ids[1]), "{\"ack\":\"replicated\",\"through\":1,\"rejected\":[]}\n");
    bench.cluster.topics[0].leaders[0] = 0;
    bench.pass(3 * S);
    assert_eq!(bench.heard(ids[0]), "{\"ack\":\"replicated\",\"through\":1,\"rejected\":[]}\n");
    bench.finish();
}
