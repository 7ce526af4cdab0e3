//! Events while brokers are away: to the spill, told truthfully, and back.
use super::bench::{Bench, MS, S, config, event, events, post, settings};
use super::cluster::{Cluster, Deed};
use super::disk::Disk;
use super::fixed;
use ringmill_core::engine::{Mode, Protocol};
use ringmill_core::metrics::SpillFigures;
use ringmill_core::sink::kafka::{KeyFrom, Routing};

fn keyed_by_header() -> Routing {
    Routing { key: KeyFrom::Header, ..fixed() }
}

fn bench(routing: Routing) -> Bench {
    let cluster = Cluster::new(2, &[("events", 4)]);
    let mut bench = Bench::spilling(config(), settings(routing), cluster, Disk::default());
    bench.pass(20 * MS);
    assert_eq!((bench.engine.ready(), bench.engine.mode()), (Ok(()), Some(Mode::Direct)));
    bench
}

fn away(bench: &mut Bench) {
    let now_ns = bench.now_ns();
    bench.cluster.go_down(now_ns);
    bench.pass(1100 * MS);
    assert_eq!(bench.engine.mode(), Some(Mode::Spilling));
}

fn spill(bench: &mut Bench) -> SpillFigures {
    bench.engine.metrics().spill
}

fn headers(bench: &Bench) -> usize {
    bench.disk.as_ref().expect("a disk").headers().len()
}

#[test]
fn without_brokers_events_are_durable_and_replicated_later() {
    let mut bench = bench(fixed());
    let id = bench.open(Protocol::Http);
    assert_eq!(bench.ask(id, &post("/v1/events", "", &events(0..3)), S).0, 200);
    away(&mut bench);
    assert_eq!(bench.engine.ready(), Ok(()), "events are taken");
    let (status, body) = bench.ask(id, &post("/v1/events/clicks", "", &events(3..6)), 100 * MS);
    assert_eq!(status, 200);
    assert!(body.starts_with("{\"ack\":\"durable\",\"accepted\":3,"), "{body}");
    assert!(body.contains("\"receipt\":{\"shard\":3,\"first\":1,\"last\":3,"), "{body}");
    let figures = spill(&mut bench);
    assert_eq!((figures.active, figures.begun, figures.waiting_events), (1, 1, 3));
    assert_eq!(
        (figures.mode, figures.why),
        ("spilling", Some("no Kafka broker can be reached: connection refused"))
    );
    assert_eq!(bench.cluster.values("events").len(), 3);
    bench.cluster.down = false;
    bench.pass(20 * S);
    assert_eq!((bench.engine.mode(), bench.cluster.values("events").len()), (Some(Mode::Direct), 6));
    let (status, body) = bench.ask(id, &post("/v1/events", "", &events(6..9)), S);
    assert!(status == 200 && body.starts_with("{\"ack\":\"replicated\""), "{body}");
    let figures = spill(&mut bench);
    assert_eq!((figures.active, figures.mode, figures.why, figures.since_ms), (0, "direct", None, 0));
    assert_eq!((figures.events, figures.waiting_events, headers(&bench)), (3, 0, 1));
    bench.finish();
}

#[test]
fn levels_are_those_of_the_spill_and_replicated_is_refused() {
    for (asked, status, said) in [
        ("", 200, "{\"ack\":\"durable\""),
        ("?ack=durable", 200, "{\"ack\":\"durable\""),
        ("?ack=written", 202, "{\"ack\":\"written\""),
        ("?ack=accepted", 202, "{\"ack\":\"accepted\""),
        ("?ack=replicated", 503, "{\"accepted\":0,\"error\":\"not_replicated\""),
    ] {
        let mut bench = bench(fixed());
        let id = bench.open(Protocol::Http);
        away(&mut bench);
        bench.send(id, &post(&format!("/v1/events{asked}"), "", &events(0..2)));
        bench.pass(50 * MS);
        let heard = bench.heard(id);
        assert!(
            heard.starts_with(&format!("HTTP/1.1 {status} ")) && heard.contains(said),
            "{asked}: {heard}"
        );
        assert_eq!(heard.contains("Retry-After: "), status == 503, "{heard}");
        assert_eq!(headers(&bench), usize::from(status != 503));
        bench.cluster.down = false;
        bench.pass(20 * S);
        assert_eq!(bench.cluster.values("events").len(), if status == 503 { 0 } else { 2 });
        bench.finish();
    }
}

#[test]
fn spilling_begins_without_brokers_at_start_and_not_before_its_time() {
    let mut cluster = Cluster::new(2, &[("events", 4)]);
    cluster.down = true;
    let mut bench = Bench::spilling(config(), settings(fixed()), cluster, Disk::default());
    bench.pass(900 * MS);
    assert_eq!((bench.engine.mode(), bench.engine.ready().is_err()), (Some(Mode::Direct), true));
    bench.pass(200 * MS);
    assert_eq!((bench.engine.mode(), bench.engine.ready()), (Some(Mode::Spilling), Ok(())));
    bench.cluster.down = false;
    bench.pass(20 * S);
    assert_eq!(bench.engine.mode(), Some(Mode::Direct), "there was nothing to replay");
    bench.finish();
}

#[test]
fn a_request_that_came_when_they_went_waits_for_the_spill() {
    let mut bench = bench(fixed());
    let id = bench.open(Protocol::Http);
    let now_ns = bench.now_ns();
    bench.cluster.go_down(now_ns);
    bench.pass(100 * MS);
    let (status, body) = bench.ask(id, &post("/v1/events", "", &events(0..2)), 1100 * MS);
    assert!(status == 200 && body.contains("\"durable\""), "{status} {body}");
    bench.finish();
}

#[test]
fn what_an_earlier_run_left_comes_first() {
    let mut before = bench(fixed());
    let id = before.open(Protocol::Http);
    away(&mut before);
    before.ask(id, &post("/v1/events", "", &events(0..5)), 100 * MS);
    let mut disk = Disk::left_behind(before.disk.take().expect("a disk").bytes, 0);
    disk.idle = true;
    let cluster = Cluster::new(2, &[("events", 1)]);
    let mut bench = Bench::spilling(config(), settings(fixed()), cluster, disk);
    let id = bench.open(Protocol::Http);
    bench.pass(5 * S);
    assert_eq!(bench.engine.mode(), Some(Mode::Spilling), "brokers are there, but it is not its turn");
    let (status, body) = bench.ask(id, &post("/v1/events", "", &event(5)), 50 * MS);
    assert!(status == 200 && body.contains("\"durable\"") && body.contains("\"first\":6"), "{body}");
    bench.disk.as_mut().expect("a disk").idle = false;
    bench.pass(S);
    assert_eq!(bench.engine.mode(), Some(Mode::Direct));
    bench.ask(id, &post("/v1/events", "", &event(6)), S);
    let expected: Vec<String> = (0..7).map(|n| event(n).trim_end().into()).collect();
    assert_eq!(bench.cluster.values("events"), expected);
    bench.finish();
}

#[test]
fn what_is_with_the_brokers_stays_with_them_and_is_overtaken() {
    let mut bench = bench(fixed());
    let (early, late) = (bench.open(Protocol::Http), bench.open(Protocol::Http));
    bench.cluster.deed = Box::new(|_| Deed::Silence);
    bench.send(early, &post("/v1/events", "", &event(0)));
    bench.pass(1500 * MS);
    assert_eq!(bench.engine.mode(), Some(Mode::Spilling), "silence is as good as absence");
    // Behind its own first request, and on another connection.
    bench.send(early, &post("/v1/events", "", &event(1)));
    let (status, body) = bench.ask(late, &post("/v1/events", "", &event(2)), 50 * MS);
    assert!(status == 200 && body.contains("\"durable\""), "{body}");
    assert_eq!(bench.heard(early), "", "replies keep the order of their requests");
    assert_eq!(bench.cluster.values("events").len(), 0, "nothing may overtake it in Kafka");
    bench.cluster.deed = Box::new(|_| Deed::Append);
    bench.pass(20 * S);
    let heard = bench.heard(early);
    let levels: Vec<_> = heard.match_indices("{\"ack\":\"").map(|(at, _)| &heard[at + 8..at + 12]).collect();
    assert_eq!(levels, ["repl", "dura"], "{heard}");
    assert_eq!((bench.cluster.values("events").len(), bench.engine.mode()), (3, Some(Mode::Direct)));
    bench.finish();
}

#[test]
fn a_failure_behind_an_overtaken_request_is_told_when_its_turn_comes() {
    let mut config = config();
    config.policy.linger_ns = 300 * MS;
    let cluster = Cluster::new(2, &[("events", 4)]);
    let mut bench = Bench::spilling(config, settings(fixed()), cluster, Disk::default());
    bench.pass(20 * MS);
    let ids = [bench.open(Protocol::Http), bench.open(Protocol::Lines)];
    bench.cluster.deed = Box::new(|_| Deed::Silence);
    bench.send(ids[0], &post("/v1/events", "", &event(0)));
    bench.send(ids[1], &event(1));
    bench.pass(1200 * MS);
    bench.send(ids[0], &post("/v1/events", "", &event(2)));
    bench.send(ids[1], &event(3));
    bench.pass(S);
    assert_eq!(bench.engine.mode(), Some(Mode::Spilling));
    assert_eq!((bench.heard(ids[0]), bench.heard(ids[1])), (String::new(), String::new()));
    bench.cluster.deed = Box::new(|_| Deed::Append);
    bench.pass(20 * S);
    let heard = bench.heard(ids[0]);
    assert!(heard.starts_with("HTTP/1.1 200 ") && heard.contains("HTTP/1.1 503 "), "{heard}");
    let heard = bench.heard(ids[1]);
    let (first, second) = heard.split_once('\n').expect("two replies");
    assert_eq!(first, "{\"ack\":\"replicated\",\"through\":1,\"rejected\":[]}");
    // One reply to lines at a time: these waited.
    assert!(second.contains("\"through\":2") && !second.contains("error"), "{second}");
    let mut values = bench.cluster.values("events");
    values.sort();
    assert_eq!(values, ["{\"n\":0}", "{\"n\":1}", "{\"n\":3}"]);
    bench.finish();
}

#[test]
fn keys_of_requests_survive_and_those_too_long_are_refused() {
    let mut bench = bench(keyed_by_header());
    let id = bench.open(Protocol::Http);
    away(&mut bench);
    let long = "k".repeat(100);
    for (key, status) in [("ann", 200), ("b\"%\u{e9}", 200), (long.as_str(), 503), ("ann", 200)] {
        let (found, body) =
            bench.ask(id, &post("/v1/events", &format!("Ringmill-Key: {key}\r\n"), "{}"), 50 * MS);
        assert_eq!((found, body.contains("key_too_long")), (status, status == 503), "{body}");
    }
    bench.ask(id, &post("/v1/events", "", "{}"), 50 * MS);
    bench.cluster.down = false;
    bench.pass(20 * S);
    let mut keys: Vec<_> = bench.cluster.logs.values().flatten().map(|record| record.key.clone()).collect();
    keys.sort();
    let expected: Vec<Option<Vec<u8>>> = [None, Some("ann"), Some("ann"), Some("b\"%\u{e9}")]
        .map(|key| key.map(|key| key.as_bytes().to_vec()))
        .into();
    assert_eq!(keys, expected);
    bench.finish();
}

#[test]
fn what_no_record_holds_is_refused_before_it_is_spilled() {
    let mut settings = settings(fixed());
    settings.arena.batch_bytes = 4096;
    let cluster = Cluster::new(2, &[("events", 4)]);
    let mut bench = Bench::spilling(config(), settings, cluster, Disk::default());
    bench.pass(20 * MS);
    let id = bench.open(Protocol::Http);
    away(&mut bench);
    let body = format!("{}{{\"x\":\"{}\"}}\n{}", event(0), "x".repeat(5000), event(1));
    let (status, body) = bench.ask(id, &post("/v1/events", "", &body), 50 * MS);
    assert_eq!(status, 207);
    assert!(body.contains("{\"index\":1,\"offset\":8,\"reason\":\"larger than Kafka takes\"}"), "{body}");
    assert_eq!(bench.engine.metrics().counters.events_quarantined, 1);
    bench.finish();
}

#[test]
fn a_full_disk_is_507_and_a_broken_one_503() {
    for (errno, status, error) in [(28, 507, "no_space"), (5, 503, "sink_failed")] {
        let mut bench = bench(fixed());
        let id = bench.open(Protocol::Http);
        away(&mut bench);
        bench.disk.as_mut().expect("a disk").sick = Some(errno);
        let (found, body) = bench.ask(id, &post("/v1/events", "", "{}"), 50 * MS);
        assert!(found == status && body.contains(error), "{found} {body}");
        bench.disk.as_mut().expect("a disk").sick = None;
        assert_eq!(bench.ask(id, &post("/v1/events", "", "{}"), 50 * MS).0, 200);
        bench.cluster.down = false;
        bench.pass(20 * S);
        assert_eq!((bench.engine.mode(), bench.cluster.values("events").len()), (Some(Mode::Direct), 1));
        bench.finish();
    }
}

#[test]
fn requests_wait_only_for_the_last_few_events() {
    let mut bench = bench(fixed());
    let id = bench.open(Protocol::Http);
    away(&mut bench);
    bench.cluster.down = false;
    let mut levels = Vec::new();
    // A request every other millisecond: there is always something left when a turn of the replayer ends.
    for n in 0..10_000 {
        bench.send(id, &post("/v1/events", "", &event(n)));
        bench.pass(2 * MS);
        let heard = bench.heard(id);
        levels.push(if heard.contains("\"durable\"") { 'd' } else { 'r' });
        assert!(!heard.contains("HTTP/1.1 503"), "{heard}");
        if bench.engine.mode() == Some(Mode::Direct) {
            break;
        }
    }
    assert_eq!(bench.engine.mode(), Some(Mode::Direct), "after {} requests", levels.len());
    bench.finish();
}

#[test]
fn a_drain_while_spilling_leaves_the_rest_to_the_next_start() {
    let mut bench = bench(fixed());
    let id = bench.open(Protocol::Http);
    away(&mut bench);
    bench.send(id, &post("/v1/events", "", &events(0..5)));
    let mut bench = bench.finish();
    assert!(bench.heard(id).contains("\"durable\""));
    assert_eq!((bench.cluster.values("events").len(), bench.disk.expect("a disk").next_seq()), (0, 6));
}
