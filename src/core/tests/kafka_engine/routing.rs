//! Where events go and what goes with them: topics, keys, times, headers.
use super::bench::{Bench, MS, S, config, event, events, post, settings};
use super::cluster::{self, Cluster};
use super::fixed;
use ringmill_core::engine::Protocol;
use ringmill_core::json::pointer::Pointer;
use ringmill_core::kafka::partition::{Spread, keyed};
use ringmill_core::sink::kafka::{HeaderRules, KafkaSink, KeyFrom, Routing, TimeFrom, TopicFrom};

fn routed(routing: Routing) -> Bench {
    Bench::ready(config(), settings(routing), Cluster::new(2, &[("events", 4)]))
}

fn pointer(text: &str) -> Pointer {
    Pointer::parse(text).expect("a pointer")
}

#[test]
fn keys_from_the_event_decide_the_partition() {
    let mut bench = routed(Routing { key: KeyFrom::Pointer(pointer("/u/id")), ..fixed() });
    let id = bench.open(Protocol::Http);
    let cases: [(&str, Option<&[u8]>); 7] = [
        ("{\"u\":{\"id\":\"ann\"}}", Some(b"ann")),
        ("{\"u\":{\"id\":42}}", Some(b"42")),
        ("{\"u\":{\"id\":\"a\\u00e9\\n\"}}", Some("a\u{e9}\n".as_bytes())),
        ("{\"u\":{\"id\":\"\"}}", Some(b"")),
        ("{\"u\":{\"id\":[1, 2]}}", Some(b"[1, 2]")),
        ("{\"u\":{\"id\":null}}", None),
        ("{\"u\":{}}", None),
    ];
    let body: String = cases.iter().map(|(event, _)| format!("{event}\n")).collect();
    let (status, _) = bench.ask(id, &post("/v1/events", "", &body), S);
    assert_eq!(status, 200);
    for (event, key) in cases {
        let mut logs = bench.cluster.logs.iter();
        let is = |record: &&cluster::Logged| record.value == event.as_bytes();
        let found = logs.find_map(|(place, log)| Some((place.1, log.iter().find(is)?)));
        let (partition, record) = found.expect(event);
        assert_eq!(record.key.as_deref(), key, "{event}");
        if let Some(key) = key {
            assert_eq!(partition as u32, keyed(key, 4), "{event}");
        }
    }
    bench.finish();
}

#[test]
fn a_key_of_the_request_is_that_of_all_its_events() {
    let mut bench = routed(Routing { key: KeyFrom::Header, ..fixed() });
    let id = bench.open(Protocol::Http);
    for (headers, status) in [
        ("Ringmill-Key: ann\r\n", 200),
        ("ringmill-key:  bob  \r\n", 200),
        ("Ringmill-Key:\r\n", 200),
        ("Ringmill-Key: a\r\nRingmill-Key: b\r\n", 400),
    ] {
        assert_eq!(bench.ask(id, &post("/v1/events", headers, &events(0..3)), S).0, status, "{headers}");
    }
    let of = |key: Option<&[u8]>| {
        let records = bench.cluster.logs.values().flatten();
        records.filter(|record| record.key.as_deref() == key).count()
    };
    assert_eq!((of(Some(b"ann")), of(Some(b"bob")), of(None)), (3, 3, 3));
    bench.finish();
}

#[test]
fn headers_name_stream_and_event_and_whatever_was_configured() {
    let headers = HeaderRules {
        stream: Some("stream".into()),
        event_id: Some("id".into()),
        extra: vec![("site".into(), "north".into())],
    };
    let mut bench = routed(Routing { headers: headers.clone(), ..fixed() });
    let id = bench.open(Protocol::Http);
    bench.ask(id, &post("/v1/events/clicks", "", &events(0..2)), S);
    bench.ask(id, &post("/v1/events", "", &format!("bad\n{}", event(2))), S);
    let mut seen = Vec::new();
    for record in bench.cluster.logs.values().flatten() {
        let names: Vec<&str> = record.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["stream", "id", "site"]);
        let text = |at: usize| String::from_utf8(record.headers[at].1.clone()).unwrap();
        seen.push((text(1), text(0), text(2), String::from_utf8(record.value.clone()).unwrap()));
    }
    seen.sort();
    let expected = [("3:1000", "clicks", 0), ("3:1001", "clicks", 1), ("3:1002", "default", 2)];
    for (seen, (id, stream, n)) in seen.iter().zip(expected) {
        let value = event(n).trim_end().to_owned();
        assert_eq!(*seen, (id.into(), stream.into(), "north".into(), value));
    }
    bench.finish();
    let extra = (0..7).map(|n| (format!("h{n}"), "v".into())).collect();
    let refused =
        KafkaSink::new(settings(Routing { headers: HeaderRules { extra, ..headers }, ..fixed() }), 0);
    assert!(refused.is_err_and(|why| why.contains("at most eight headers")));
}

#[test]
fn times_come_from_the_event_or_from_its_arrival() {
    let mut bench = routed(Routing { time: TimeFrom::Pointer(pointer("/at")), ..fixed() });
    let id = bench.open(Protocol::Http);
    let arrival = (bench.now_ns() / MS) as i64;
    let cases = [
        ("{\"at\":1763000000}", 1_763_000_000_000),
        ("{\"at\":1763000000123}", 1_763_000_000_123),
        ("{\"at\":\"2026-11-21T20:03:52.5Z\"}", 1_795_291_432_500),
        ("{\"at\":\"yesterday\"}", arrival),
        ("{}", arrival),
    ];
    let body: String = cases.iter().map(|(event, _)| format!("{event}\n")).collect();
    bench.ask(id, &post("/v1/events", "", &body), S);
    for (event, at_ms) in cases {
        let mut records = bench.cluster.logs.values().flatten();
        let record = records.find(|record| record.value == event.as_bytes()).expect(event);
        assert_eq!(record.timestamp_ms, at_ms, "{event}");
    }
    bench.finish();
}

#[test]
fn streams_become_topics_and_one_that_is_not_there_harms_no_other() {
    let routing = Routing { topic: TopicFrom::Stream { prefix: "in.".into() }, ..fixed() };
    let cluster = Cluster::new(2, &[("in.default", 2), ("in.clicks", 2)]);
    let mut settings = settings(routing);
    settings.producer.topics_max = 3;
    let mut bench = Bench::ready(config(), settings, cluster);
    let id = bench.open(Protocol::Http);
    for (target, status, said) in [
        ("/v1/events", 200, "replicated"),
        ("/v1/events/clicks", 200, "replicated"),
        ("/v1/events/absent", 503, "the Kafka topic does not exist: create it, or allow its creation"),
        ("/v1/events/clicks", 200, "replicated"),
        ("/v1/events/fourth", 503, "no_topic"),
        ("/v1/events", 200, "replicated"),
    ] {
        let (found, body) = bench.ask(id, &post(target, "", "{}"), 3 * S);
        assert_eq!((found, body.contains(said)), (status, true), "{target}: {body}");
    }
    assert_eq!(bench.cluster.values("in.default").len(), 2);
    assert_eq!(bench.cluster.values("in.clicks").len(), 2);
    bench.finish();
}

#[test]
fn a_named_partition_takes_everything_if_it_is_there() {
    for (partition, status) in [(2, 200), (4, 503)] {
        let mut settings = settings(fixed());
        settings.spread = Spread::Explicit(partition);
        let mut bench = Bench::ready(config(), settings, Cluster::new(2, &[("events", 4)]));
        let id = bench.open(Protocol::Http);
        assert_eq!(bench.ask(id, &post("/v1/events", "", &events(0..50)), 2 * S).0, status);
        let log = bench.cluster.logs.get(&("events".to_owned(), 2)).map_or(0, Vec::len);
        assert_eq!(log, if status == 200 { 50 } else { 0 });
        bench.finish();
    }
}
