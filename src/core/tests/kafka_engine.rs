//! Requests in at one side, brokers at the other: what a shard with a Kafka sink says, and what is true.
#[path = "kafka_engine/bench.rs"]
mod bench;
#[path = "kafka_engine/cluster.rs"]
mod cluster;
#[path = "kafka_engine/disk.rs"]
mod disk;
#[path = "kafka_engine/leaders.rs"]
mod leaders;
#[path = "kafka_engine/lengths.rs"]
mod lengths;
#[path = "kafka_engine/replay.rs"]
mod replay;
#[path = "kafka_engine/routing.rs"]
mod routing;
#[path = "kafka_engine/spill.rs"]
mod spill;
#[path = "kafka_engine/squalls.rs"]
mod squalls;
#[path = "kafka_engine/weather.rs"]
mod weather;

use bench::{Bench, MS, S, config, event, events, post, settings};
use cluster::{Cluster, Deed};
use ringmill_core::ack::Ack;
use ringmill_core::engine::Protocol;
use ringmill_core::metrics::ShardSnapshot;
use ringmill_core::metrics::exposition::{self, Answer, Process};
use ringmill_core::sink::kafka::Routing;

fn fixed() -> Routing {
    Routing::fixed("events")
}

fn usual() -> Bench {
    Bench::ready(config(), settings(fixed()), Cluster::new(2, &[("events", 4)]))
}

#[test]
fn events_are_acknowledged_when_every_replica_has_them_and_not_before() {
    let mut bench = usual();
    let id = bench.open(Protocol::Http);
    bench.send(id, &post("/v1/events", "", &events(0..100)));
    assert_eq!((bench.heard(id).as_str(), bench.cluster.values("events").len()), ("", 0));
    bench.pass(10 * MS);
    let heard = bench.heard(id);
    assert!(heard.starts_with("HTTP/1.1 200 "), "{heard}");
    assert!(heard.ends_with(
        "{\"ack\":\"replicated\",\"accepted\":100,\"rejected\":0,\"errors\":[],\"receipt\":null}"
    ));
    let mut values = bench.cluster.values("events");
    values.sort_by_key(String::len);
    assert_eq!(values.len(), 100);
    assert_eq!(values[0], "{\"n\":0}");
    let counters = bench.engine.metrics().counters;
    assert_eq!((counters.events_stored, counters.commits), (100, 1));
    bench.finish();
}

#[test]
fn every_weaker_level_is_told_what_was_reached() {
    for (ack, status, said) in [
        ("accepted", 202, "accepted"),
        ("written", 200, "replicated"),
        ("durable", 200, "replicated"),
        ("replicated", 200, "replicated"),
    ] {
        let mut bench = usual();
        let id = bench.open(Protocol::Http);
        let (found, body) = bench.ask(id, &post(&format!("/v1/events?ack={ack}"), "", "{}"), 20 * MS);
        assert_eq!(found, status, "{ack}");
        assert!(body.starts_with(&format!("{{\"ack\":\"{said}\"")), "{ack}: {body}");
        assert_eq!(bench.cluster.values("events"), ["{}"], "{ack}");
        bench.finish();
    }
}

#[test]
fn replies_are_the_same_however_the_request_is_cut() {
    let text = post("/v1/events", "", &format!("{}[1]\n{}", events(0..9), event(9)));
    let mut whole: Option<String> = None;
    for piece in 1..text.len() {
        let mut bench = usual();
        let id = bench.open(Protocol::Http);
        bench.send_in_pieces(id, &text, piece);
        bench.pass(20 * MS);
        let heard = bench.heard(id);
        let body = heard.split_once("\r\n\r\n").expect("a reply").1.to_owned();
        assert!(heard.starts_with("HTTP/1.1 207 "), "{heard}");
        assert_eq!(*whole.get_or_insert(body.clone()), body, "pieces of {piece}");
        assert_eq!(bench.cluster.values("events").len(), 10);
        assert_eq!(bench.engine.metrics().counters.events_quarantined, 1);
    }
}

#[test]
fn a_batch_that_is_in_no_log_fails_its_requests_and_no_others() {
    let mut bench = usual();
    // 46 times 350 bytes fill a partition's turn, so that two requests lie in different batches.
    let body = |n: usize| format!("{{\"n\":{n},\"x\":\"{}\"}}\n", "x".repeat(16 << 10));
    let ids: Vec<_> = (0..4).map(|_| bench.open(Protocol::Http)).collect();
    bench.cluster.deed = Box::new(|batch| match batch.records[0].value.starts_with(b"{\"n\":2,") {
        true => Deed::Refuse(29),
        false => Deed::Append,
    });
    bench.engine.tick();
    for (n, id) in ids.iter().enumerate() {
        let text = post("/v1/events", "", &body(n));
        bench.engine.receive(*id, &mut text.into_bytes());
    }
    bench.pass(50 * MS);
    let heard: Vec<String> = ids.iter().map(|id| bench.heard(*id)).collect();
    assert!(heard[2].starts_with("HTTP/1.1 503 ") && heard[2].contains("Retry-After: "), "{}", heard[2]);
    let why = "Kafka does not allow writing to this topic (last answer: TOPIC_AUTHORIZATION_FAILED 29)";
    assert!(
        heard[2].contains("\"accepted\":0,\"error\":\"not_written\",\"reason\":\"topic events, partition ")
    );
    assert!(heard[2].contains(why) && heard[2].contains("\"not_written\":1"), "{}", heard[2]);
    for n in [0, 1, 3] {
        assert!(heard[n].starts_with("HTTP/1.1 200 "), "{n}: {}", heard[n]);
    }
    assert_eq!(bench.cluster.values("events").len(), 3);
    let counters = bench.engine.metrics().counters;
    assert_eq!((counters.events_stored, counters.events_shed), (3, 1));
    bench.finish();
}

#[test]
fn what_nobody_knows_is_called_possibly_written() {
    for appended in [true, false] {
        let mut bench = usual();
        let id = bench.open(Protocol::Http);
        let mut first = true;
        bench.cluster.deed = Box::new(move |_| match (std::mem::take(&mut first), appended) {
            (true, true) => Deed::AppendAndBreak,
            (true, false) => Deed::Break,
            _ => Deed::Silence,
        });
        let (status, body) = bench.ask(id, &post("/v1/events", "", &events(0..10)), 20 * S);
        assert_eq!(status, 503);
        assert!(
            body.contains("\"error\":\"possibly_written\"") && body.contains("\"possibly_written\":10"),
            "{body}"
        );
        assert_eq!(bench.cluster.values("events").len(), if appended { 10 } else { 0 });
        bench.cluster.deed = Box::new(|_| Deed::Append);
        let (status, _) = bench.ask(id, &post("/v1/events", "", "{}"), S);
        assert_eq!(status, 200, "and the next one finds nothing amiss");
        bench.finish();
    }
}

#[test]
fn a_lost_answer_costs_neither_an_event_nor_a_second_copy() {
    let mut bench = usual();
    let id = bench.open(Protocol::Http);
    let mut first = true;
    bench.cluster.deed = Box::new(move |_| match std::mem::take(&mut first) {
        true => Deed::AppendAndBreak,
        false => Deed::Append,
    });
    let (status, _) = bench.ask(id, &post("/v1/events", "", &events(0..10)), 5 * S);
    assert_eq!((status, bench.cluster.values("events").len()), (200, 10));
    bench.finish();
}

#[test]
fn a_record_that_kafka_refuses_is_a_verdict_and_its_neighbours_go_in() {
    for quarantine in [true, false] {
        let mut config = config();
        config.quarantine_first = quarantine.then_some(1);
        let mut bench = Bench::ready(config, settings(fixed()), Cluster::new(2, &[("events", 4)]));
        let id = bench.open(Protocol::Http);
        bench.cluster.deed = Box::new(|batch| {
            let poison = |value: &[u8]| value == b"{\"n\":5}" || value == b"{\"n\":77}";
            match batch.records.iter().position(|record| poison(&record.value)) {
                Some(first) => Deed::Complain(87, first as u32, 1),
                None => Deed::Append,
            }
        });
        // A bad event before them: places in the body are told as the sender counts.
        let body = format!("nonsense\n{}", events(0..100));
        let (status, body) = bench.ask(id, &post("/v1/events", "", &body), 5 * S);
        assert_eq!(status, 207, "{body}");
        assert!(body.contains("\"accepted\":98,\"rejected\":3"), "{body}");
        for index in [6, 78] {
            let entry = format!("{{\"index\":{index},\"reason\":\"refused by Kafka as an invalid record\"}}");
            assert!(body.contains(&entry), "{body}");
        }
        assert_eq!(bench.cluster.values("events").len(), 98);
        let counters = bench.engine.metrics().counters;
        let kept = [(0, 3), (3, 0)][usize::from(quarantine)];
        assert_eq!(
            (counters.events_stored, (counters.events_quarantined, counters.events_rejected)),
            (98, kept)
        );
        let text = String::from_utf8_lossy(&bench.quarantined).into_owned();
        assert_eq!(text.contains("{\"n\":77}\n"), quarantine);
        bench.finish();
    }
}

#[test]
fn a_batch_too_large_is_halved_until_it_fits_or_one_event_is_at_fault() {
    let mut bench = usual();
    let id = bench.open(Protocol::Http);
    bench.cluster.deed = Box::new(|batch| {
        let bytes: usize = batch.records.iter().map(|record| record.value.len()).sum();
        if bytes > 300 { Deed::Refuse(10) } else { Deed::Append }
    });
    let large = format!("{{\"x\":\"{}\"}}\n", "x".repeat(400));
    let body = format!("{}{large}{}", events(0..60), events(60..100));
    let (status, body) = bench.ask(id, &post("/v1/events", "", &body), 5 * S);
    assert_eq!(status, 207, "{body}");
    assert!(body.contains(
        "\"accepted\":100,\"rejected\":1,\"errors\":[{\"index\":60,\"reason\":\"larger than Kafka takes\"}]"
    ));
    let mut expected: Vec<String> = (0..100).map(|n| event(n).trim_end().into()).collect();
    let mut values = bench.cluster.values("events");
    expected.sort();
    values.sort();
    assert_eq!(values, expected);
    bench.finish();
}

#[test]
fn a_request_refused_whole_is_a_400() {
    let mut bench = usual();
    let id = bench.open(Protocol::Http);
    bench.cluster.deed = Box::new(|batch| Deed::Complain(32, 0, batch.records.len() as u32));
    let (status, body) = bench.ask(id, &post("/v1/events", "", &events(0..3)), 5 * S);
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("\"accepted\":0,\"rejected\":3,\"error\":\"no_good_event\""), "{body}");
    assert_eq!(body.matches("refused by Kafka for its timestamp").count(), 3);
    assert_eq!(bench.engine.metrics().counters.events_quarantined, 3);
    bench.finish();
}

#[test]
fn without_brokers_requests_are_turned_away_with_the_reason_and_later_taken_again() {
    let mut bench = usual();
    let id = bench.open(Protocol::Http);
    let now_ns = bench.now_ns();
    bench.cluster.go_down(now_ns);
    bench.pass(S);
    assert_eq!(bench.engine.ready(), Err("no Kafka broker can be reached: connection refused"));
    let (status, body) = bench.ask(id, &post("/v1/events", "", "{}"), 2 * S);
    assert_eq!(status, 503);
    assert_eq!(
        body,
        "{\"accepted\":0,\"error\":\"not_ready\",\"reason\":\"no Kafka broker can be reached: connection refused\"}"
    );
    bench.cluster.down = false;
    bench.pass(20 * S);
    let (status, _) = bench.ask(id, &post("/v1/events", "", "{}"), S);
    assert_eq!((status, bench.cluster.values("events").len()), (200, 1));
    bench.finish();
}

#[test]
fn a_request_that_came_while_brokers_were_away_is_taken_if_they_return_in_time() {
    let mut bench = Bench::new(config(), settings(fixed()), Cluster::new(2, &[("events", 4)]));
    let id = bench.open(Protocol::Http);
    assert_eq!(bench.engine.ready(), Err("still connecting to Kafka; retry"));
    let (status, _) = bench.ask(id, &post("/v1/events", "", "{}"), 100 * MS);
    assert_eq!(status, 200);
    bench.finish();
}

#[test]
fn a_topic_that_does_not_exist_is_named_as_the_reason() {
    let mut bench = Bench::new(config(), settings(fixed()), Cluster::new(2, &[("other", 4)]));
    bench.pass(2 * S);
    assert_eq!(bench.engine.ready(), Err("the Kafka topic does not exist: create it, or allow its creation"));
    bench.cluster.topics.push(cluster::Topic { name: "events".into(), leaders: vec![0], error: 0 });
    bench.pass(5 * S);
    assert_eq!(bench.engine.ready(), Ok(()));
    bench.finish();
}

#[test]
fn events_whose_way_broke_before_they_left_are_failed_as_not_written() {
    let mut config = config();
    config.policy.linger_ns = 500 * MS;
    let mut bench = Bench::ready(config, settings(fixed()), Cluster::new(2, &[("events", 4)]));
    let id = bench.open(Protocol::Http);
    bench.send(id, &post("/v1/events", "", "{}"));
    let now_ns = bench.now_ns();
    bench.cluster.go_down(now_ns);
    bench.pass(3 * S);
    let heard = bench.heard(id);
    assert!(heard.starts_with("HTTP/1.1 503 ") && heard.contains("\"error\":\"not_ready\""), "{heard}");
    assert_eq!(bench.engine.metrics().counters.events_shed, 1);
    bench.finish();
}

#[test]
fn a_drain_sends_what_was_taken_and_gives_up_what_cannot_be_sent() {
    for reachable in [true, false] {
        let mut config = config();
        config.policy.linger_ns = 10 * S;
        let mut bench = Bench::ready(config, settings(fixed()), Cluster::new(2, &[("events", 4)]));
        let id = bench.open(Protocol::Http);
        bench.send(id, &post("/v1/events", "", &events(0..5)));
        if !reachable {
            let now_ns = bench.now_ns();
            bench.cluster.go_down(now_ns);
        }
        let mut bench = bench.finish();
        let heard = bench.heard(id);
        let (status, stored) = if reachable { ("200", 5) } else { ("503", 0) };
        assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{heard}");
        assert_eq!(bench.cluster.values("events").len(), stored);
    }
}

#[test]
fn a_body_that_no_commit_holds_is_refused_and_smaller_ones_are_not() {
    let mut bench = usual();
    let id = bench.open(Protocol::Http);
    let (status, body) = bench.ask(id, &post("/v1/events", "", &"{}\n".repeat(200_000)), S);
    assert_eq!(status, 413);
    assert!(body.contains("too_large_at_once"), "{body}");
    let (status, _) = bench.ask(id, &post("/v1/events", "", &"{}\n".repeat(20_000)), S);
    assert_eq!((status, bench.cluster.values("events").len()), (200, 20_000));
    bench.finish();
}

/// What `/metrics` says.
fn figures(bench: &mut Bench) -> String {
    let mut snapshot = ShardSnapshot::new();
    snapshot.fill(3, None, Ok(()), bench.engine.metrics());
    let mut text = String::new();
    exposition::write(&mut text, &Process::default(), &[Answer { shard: 3, snapshot: Some(&snapshot) }]);
    text
}

#[test]
fn lines_hear_of_their_own_failures_only() {
    let mut bench = usual();
    let ids = [bench.open(Protocol::Lines), bench.open(Protocol::Lines)];
    bench.cluster.deed =
        Box::new(|batch| match batch.records.iter().position(|record| record.value == b"{\"n\":13}") {
            Some(first) => Deed::Complain(87, first as u32, 1),
            None => Deed::Append,
        });
    bench.engine.tick();
    for (id, range) in [(ids[0], 0..5), (ids[1], 10..15), (ids[0], 5..10)] {
        bench.engine.receive(id, &mut events(range).into_bytes());
    }
    bench.pass(S);
    assert_eq!(bench.heard(ids[0]), "{\"ack\":\"replicated\",\"through\":10,\"rejected\":[]}\n");
    assert_eq!(
        bench.heard(ids[1]),
        "{\"ack\":\"replicated\",\"through\":5,\"rejected\":[{\"line\":4,\"reason\":\"refused by Kafka as an invalid record\"}]}\n"
    );
    bench.cluster.deed = Box::new(|_| Deed::Refuse(29));
    bench.send(ids[1], &events(0..2));
    bench.pass(S);
    let heard = bench.heard(ids[1]);
    assert!(
        heard.starts_with("{\"ack\":null,\"error\":\"not_written\",\"reason\":\"topic events, "),
        "{heard}"
    );
    assert!(heard.ends_with("\"through\":7,\"rejected\":[]}\n"), "{heard}");
    bench.finish();
}

#[test]
fn events_of_the_weakest_level_are_counted_though_nobody_waits() {
    let mut config = config();
    config.ack = Ack::Accepted;
    let mut bench = Bench::ready(config, settings(fixed()), Cluster::new(2, &[("events", 4)]));
    let id = bench.open(Protocol::Http);
    bench.cluster.deed = Box::new(|_| Deed::Refuse(29));
    let (status, _) = bench.ask(id, &post("/v1/events", "", &events(0..5)), S);
    assert_eq!((status, bench.engine.metrics().counters.events_shed), (202, 5));
    bench.finish();
}

#[test]
fn an_event_that_no_batch_holds_is_refused_alone() {
    let mut settings = settings(fixed());
    settings.arena.batch_bytes = 4096;
    let mut bench = Bench::ready(config(), settings, Cluster::new(2, &[("events", 4)]));
    let id = bench.open(Protocol::Http);
    let body = format!("{}{{\"x\":\"{}\"}}\n{}", event(0), "x".repeat(5000), event(1));
    let (status, body) = bench.ask(id, &post("/v1/events", "", &body), S);
    assert_eq!(status, 207);
    assert!(
        body.contains("\"errors\":[{\"index\":1,\"offset\":8,\"reason\":\"larger than Kafka takes\"}]"),
        "{body}"
    );
    assert_eq!(bench.cluster.values("events").len(), 2);
    assert_eq!(bench.engine.metrics().counters.events_quarantined, 1);
    bench.finish();
}

#[test]
fn figures_of_brokers_and_partitions_are_shown() {
    let mut bench = usual();
    let id = bench.open(Protocol::Http);
    bench.ask(id, &post("/v1/events", "", &events(0..100)), S);
    let text = figures(&mut bench);
    for line in [
        "ringmill_kafka_records_total{shard=\"3\"} 100",
        "ringmill_kafka_batches_total{shard=\"3\"} 1",
        "ringmill_kafka_events_not_written_total{shard=\"3\"} 0",
        "ringmill_kafka_broker_connected{shard=\"3\",broker=\"0\"} 1",
        "ringmill_kafka_broker_leads{shard=\"3\",broker=\"1\"} 2",
        "# TYPE ringmill_kafka_partition_records_total counter",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    let records: u64 = text
        .lines()
        .filter(|line| {
            line.starts_with("ringmill_kafka_partition_records_total{shard=\"3\",topic=\"events\"")
        })
        .map(|line| line.rsplit_once(' ').expect("a value").1.parse::<u64>().expect("a number"))
        .sum();
    assert_eq!(records, 100);
    bench.finish();
}

#[test]
fn a_commit_that_cannot_be_cut_further_fails_and_the_next_goes_its_way() {
    let mut settings = settings(fixed());
    (settings.arena.batches, settings.arena.splits) = (1, 2);
    let mut bench = Bench::ready(config(), settings, Cluster::new(2, &[("events", 1)]));
    let id = bench.open(Protocol::Http);
    bench.cluster.deed =
        Box::new(|batch| if batch.records.len() > 4 { Deed::Refuse(10) } else { Deed::Append });
    let (status, body) = bench.ask(id, &post("/v1/events", "", &events(0..64)), 5 * S);
    assert_eq!((status, body.contains("\"error\":\"not_written\"")), (503, true), "{body}");
    let (status, _) = bench.ask(id, &post("/v1/events", "", &events(64..68)), 5 * S);
    assert_eq!((status, bench.cluster.values("events").len()), (200, 4));
    bench.finish();
}

#[test]
fn bytes_that_the_kernel_still_reads_outlive_the_outcome() {
    let mut bench = usual();
    let ids = [bench.open(Protocol::Http), bench.open(Protocol::Http)];
    bench.cluster.deed = Box::new(|_| Deed::Silence);
    bench.send(ids[0], &post("/v1/events", "", "{\"first\":1}"));
    bench.pass(10 * MS);
    let slot = bench.last_sent.expect("a batch went out");
    let bytes =
        |bench: &Bench| bench.engine.upstream_batch(slot).map(|(head, records)| [head, records].concat());
    let sent = bytes(&bench).expect("in flight");
    bench.engine.upstream().expect("the sink is Kafka").pin();
    bench.pass(15 * S);
    assert!(bench.heard(ids[0]).contains("possibly_written"), "its sender is not kept waiting");
    bench.cluster.deed = Box::new(|_| Deed::Append);
    bench.send(ids[1], &post("/v1/events", "", "{\"second\":2}"));
    bench.pass(500 * MS);
    assert_eq!((bytes(&bench), bench.heard(ids[1]).as_str()), (Some(sent), ""), "nothing takes its place");
    bench.engine.upstream().expect("the sink is Kafka").unpin();
    bench.engine.poll_upstream();
    bench.pass(S);
    assert!(bench.heard(ids[1]).starts_with("HTTP/1.1 200 "));
    bench.finish();
}

#[test]
fn untrue_replies_and_broken_order_are_noticed() {
    weather::the_judge_sees(3);
}

#[test]
fn whatever_brokers_and_disk_do_nothing_acknowledged_is_lost_and_order_holds() {
    let seeds = std::env::var("KAFKA_ENGINE_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seeds = seeds.map_or(0..300, |seed: u64| seed..seed + 1);
    let alone = seeds.end - seeds.start == 1;
    let mut kinds = squalls::Kinds::default();
    for seed in seeds {
        kinds.add(&squalls::run(seed));
    }
    if !alone {
        kinds.assert_all_met();
    }
}

#[test]
fn whatever_brokers_do_replies_are_true() {
    let seeds = std::env::var("KAFKA_ENGINE_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seeds = seeds.map_or(0..400, |seed: u64| seed..seed + 1);
    let mut kinds = weather::Kinds::default();
    for seed in seeds {
        kinds.add(&weather::run(seed));
    }
    kinds.assert_all_met();
}
