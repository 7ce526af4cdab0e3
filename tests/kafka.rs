//! The built server with brokers behind it: a strict fake one in this process, and real Apache Kafka.
//!
//! What brokers hold is compared byte by byte with what was sent and said about it.
mod common;

use common::{PATIENCE, Reply, Server, TempDir, get, ndjson, post, serve};
use kafka_protocol::messages::ApiKey;
use ringmill_kafka_kit::fake::{Act, Fake, Fault, Settings, Stored};
use ringmill_kafka_kit::rig::Rig;
use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";

/// `serve` towards these brokers, with room for little and patience for little.
fn towards(brokers: &[SocketAddr], topic: &str, more: &[&str]) -> Command {
    let list: Vec<String> = brokers.iter().map(ToString::to_string).collect();
    let mut command = serve();
    command.arg("--sink").arg(format!("kafka:{}/{topic}", list.join(",")));
    command.args(["--kafka-partitions-max", "64", "--kafka-brokers-max", "4"]).args(more);
    command
}

fn start(fake: &Fake, more: &[&str]) -> Server {
    Server::start(towards(&fake.addresses(), "events", more))
}

/// Events that differ, one a line.
fn events(from: usize, count: usize) -> Vec<String> {
    let pad = "x".repeat(100);
    (from..from + count)
        .map(|n| format!(r#"{{"n":{n},"user":{{"id":"u{}"}},"pad":"{pad}"}}"#, n % 7))
        .collect()
}

fn send(server: &Server, events: &[String]) -> Reply {
    server.client().ask(&ndjson(events.join("\n")))
}

#[track_caller]
fn assert_replicated(reply: &Reply, count: usize) {
    assert_eq!(reply.status, 200, "{}", reply.show());
    let body = reply.json();
    assert_eq!((&body["ack"], &body["accepted"]), (&"replicated".into(), &count.into()), "{body}");
    assert!(body["receipt"].is_null(), "{body}");
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn is_ready(server: &Server) -> bool {
    get(server.admin(), "/readyz").status == 200
}

/// Why the server is not ready.
fn reason(server: &Server) -> String {
    let reply = get(server.admin(), "/readyz");
    assert_eq!(reply.status, 503, "{}", reply.show());
    reply.json()["reason"].as_str().unwrap().to_string()
}

fn stored(fake: &Fake, topic: &str, partitions: usize) -> Vec<Stored> {
    (0..partitions).flat_map(|partition| fake.records(topic, partition)).collect()
}

fn text(bytes: &Option<Vec<u8>>) -> String {
    String::from_utf8(bytes.clone().unwrap_or_default()).unwrap()
}

/// Every event is there once, and nothing else.
#[track_caller]
fn assert_each_once<'a>(values: impl Iterator<Item = &'a Option<Vec<u8>>>, sent: &[String]) {
    let mut found: Vec<String> = values.map(text).collect();
    let mut sent = sent.to_vec();
    found.sort();
    sent.sort();
    assert!(found == sent, "{} sent, {} found", sent.len(), found.len());
}

#[test]
fn what_is_told_as_replicated_is_there_byte_by_byte() {
    for more in [
        &["--driver", "uring"][..],
        &["--driver", "uring", "--kafka-compression", "lz4", "--kafka-partitioner", "round-robin"],
        &["--driver", "glommio", "--kafka-compression", "zstd"],
    ] {
        let fake = Fake::start(Settings { nodes: 2, ..Settings::default() }.topic("events", 3));
        let server = start(&fake, more);
        assert_eq!(server.field("ack"), "replicated");
        assert!(server.field("sink").starts_with("kafka:127.0.0.1:"), "{}", server.ready());
        let all = events(0, 600);
        for part in all.chunks(60) {
            assert_replicated(&send(&server, part), part.len());
        }
        // What lies between the tokens of an event is kept.
        let odd = r#"{ "a" : [1,  2] ,"b":"\u00e9é" }"#.to_string();
        assert_replicated(&send(&server, std::slice::from_ref(&odd)), 1);
        let records = stored(&fake, "events", 3);
        assert_each_once(records.iter().map(|s| &s.record.value), &[all, vec![odd]].concat());
        let ids: BTreeSet<String> = records.iter().map(|s| text(&s.record.headers[1].1)).collect();
        assert_eq!(ids.len(), 601, "each has an id of its own");
        assert!(records.iter().all(|s| s.record.key.is_none() && s.record.headers[0].0 == "stream"));
        assert_eq!(server.metric("ringmill_events_stored_total"), 601.0);
        assert_eq!(fake.complaints(), Vec::<String>::new());
        server.stop();
    }
}

#[test]
fn topic_key_time_and_headers_come_from_where_they_are_said_to() {
    let fake = Fake::start(Settings::default().topic("in.a", 4).topic("in.b", 4));
    let more = [
        "--kafka-key",
        "/user/id",
        "--kafka-timestamp",
        "/at",
        "--kafka-headers",
        "from={stream},site=north",
    ];
    let server = Server::start(towards(&fake.addresses(), "in.{stream}", &more));
    let body = |user: &str| format!(r#"{{"user":{{"id":"{user}"}},"at":1700000000123}}"#);
    for (stream, user) in [("a", "one"), ("b", "two"), ("a", "one")] {
        let request = post(&format!("/v1/events/{stream}"), NDJSON, body(user).as_bytes());
        assert_replicated(&server.client().ask(&request), 1);
    }
    for (stream, user, count) in [("a", "one", 2), ("b", "two", 1)] {
        let records = stored(&fake, &format!("in.{stream}"), 4);
        assert_eq!(records.len(), count, "{stream}");
        for Stored { record, timestamp, .. } in &records {
            assert_eq!((text(&record.key).as_str(), *timestamp), (user, 1_700_000_000_123));
            assert_eq!(text(&record.value), body(user));
            let headers: Vec<_> =
                record.headers.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
            assert_eq!(headers, [("from", stream.to_string()), ("site", "north".into())]);
        }
        let used = (0..4).filter(|p| !fake.records(&format!("in.{stream}"), *p).is_empty()).count();
        assert_eq!(used, 1, "one key, one partition");
    }
    server.stop();
}

#[test]
fn brokers_that_cannot_be_reached_at_start_are_waited_for() {
    let fake = Fake::start(Settings::default().topic("events", 1));
    fake.stop_node(1);
    let server = start(&fake, &["--shed-after-ms", "50"]);
    let why = reason(&server);
    assert!(why.contains("no Kafka broker can be reached: connection refused"), "{why}");
    let reply = send(&server, &events(0, 1));
    assert_eq!((reply.status, reply.json()["accepted"].as_u64()), (503, Some(0)), "{}", reply.show());
    assert!(reply.header("retry-after").is_some(), "{}", reply.show());
    assert!(reply.json()["reason"].as_str().unwrap().contains("no Kafka broker"), "{}", reply.show());
    assert_eq!(get(server.admin(), "/healthz").status, 200, "alive all the same");
    let told = server.log().lines().filter(|line| line.contains("refuses the connection")).count();
    assert_eq!(told, 1, "said once, with what to check:\n{}", server.log());
    fake.start_node(1);
    eventually("it recovers by itself", || is_ready(&server));
    assert_replicated(&send(&server, &events(1, 5)), 5);
    assert_each_once(fake.records("events", 0).iter().map(|s| &s.record.value), &events(1, 5));
    server.stop();
}

#[test]
fn a_topic_that_does_not_exist_is_named_and_waited_for() {
    let fake = Fake::start(Settings { auto_create: true, ..Settings::default() });
    let server = start(&fake, &["--shed-after-ms", "50"]);
    eventually("it knows", || reason(&server).contains("the Kafka topic does not exist"));
    assert_eq!(send(&server, &events(0, 1)).status, 503);
    fake.change(|cluster| cluster.create("events", 2));
    eventually("it recovers by itself", || is_ready(&server));
    assert_replicated(&send(&server, &events(0, 3)), 3);
    server.stop();

    let fake = Fake::start(Settings { auto_create: true, ..Settings::default() });
    let server = start(&fake, &["--kafka-create-topics"]);
    eventually("it is created when that is asked for", || is_ready(&server));
    assert_replicated(&send(&server, &events(0, 3)), 3);
    server.stop();
}

#[test]
fn a_lost_answer_is_asked_for_again_and_writes_nothing_twice() {
    let fake = Fake::start(Settings::default().topic("events", 1));
    let server = start(&fake, &[]);
    let all = events(0, 40);
    for (number, part) in all.chunks(10).enumerate() {
        let act = [Act::CloseBefore, Act::CloseMid, Act::CloseAfter, Act::Slices(1)][number].clone();
        fake.fault(Fault::next(ApiKey::Produce, act));
        assert_replicated(&send(&server, part), part.len());
    }
    assert_eq!((fake.faults_left(), fake.complaints()), (0, vec![]));
    assert_each_once(fake.records("events", 0).iter().map(|s| &s.record.value), &all);
    server.stop();
}

#[test]
fn nothing_is_claimed_of_what_may_not_be_written() {
    let fake = Fake::start(Settings::default().topic("events", 1));
    let patience = ["--kafka-request-timeout-s", "1s", "--kafka-delivery-timeout-s", "1s"];
    let server = start(&fake, &patience);
    assert_replicated(&send(&server, &events(0, 1)), 1);
    fake.fault(Fault::next(ApiKey::Produce, Act::DropAnswer).times(100));
    let reply = send(&server, &events(1, 2));
    assert_eq!(reply.status, 503, "{}", reply.show());
    let body = reply.json();
    assert_eq!((&body["error"], &body["accepted"]), (&"possibly_written".into(), &0.into()), "{body}");
    assert!(body["reason"].as_str().unwrap().contains("events"), "the topic is named: {body}");
    assert_eq!(server.metric("ringmill_kafka_events_possibly_written_total"), 2.0);
    server.stop();
}

#[test]
fn credentials_are_shown_to_brokers_and_to_nobody_else() {
    let users = vec![("alice".to_string(), "pw-of-alice".to_string())];
    let fake = Fake::start(Settings { users, ..Settings::default() }.topic("events", 1));
    let folder = TempDir::new("kafka-sasl");
    for mechanism in ["plain", "scram-sha-256", "scram-sha-512"] {
        let secret = folder.join("secret");
        fs::write(&secret, "pw-of-alice\n").unwrap();
        let path = secret.to_str().unwrap();
        let more = ["--kafka-sasl", mechanism, "--kafka-user", "alice", "--kafka-password-file", path];
        let server = start(&fake, &more);
        assert_replicated(&send(&server, &events(0, 3)), 3);
        let status = get(server.admin(), "/status");
        let log = server.log();
        assert!(!status.show().contains("pw-of") && !log.contains("pw-of"), "{log}");
        server.stop();

        fs::write(&secret, "pw-of-mallory\n").unwrap();
        let server = start(&fake, &more);
        eventually("it knows", || reason(&server).contains("credentials refused"));
        let log = server.log();
        assert!(log.contains("refuses the user name or password") && !log.contains("pw-of"), "{log}");
        server.stop();
    }
    let server = start(&fake, &[]);
    eventually("it knows", || reason(&server).contains("connection closed by the broker"));
    server.stop();
}

#[test]
fn a_drain_does_not_wait_for_brokers_that_are_gone() {
    let fake = Fake::start(Settings::default().topic("events", 1));
    let server = start(&fake, &[]);
    assert_replicated(&send(&server, &events(0, 1)), 1);
    fake.stop_node(1);
    eventually("it knows", || !is_ready(&server));
    let began = Instant::now();
    server.stop();
    // The bound of a drain with something left is 30 s; nothing is left here.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[test]
fn a_drain_answers_those_who_wait_for_brokers() {
    let fake = Fake::start(Settings::default().topic("events", 1));
    let patience = ["--kafka-request-timeout-s", "2s", "--kafka-delivery-timeout-s", "2s"];
    let mut server = start(&fake, &patience);
    assert_replicated(&send(&server, &events(0, 1)), 1);
    fake.fault(Fault::next(ApiKey::Produce, Act::DropAnswer).times(100));
    let mut client = server.client();
    client.send(&ndjson(events(1, 1).join("\n")));
    eventually("it is on its way", || fake.records("events", 0).len() == 2);
    server.terminate();
    let reply = client.reply();
    assert_eq!((reply.status, &reply.json()["error"]), (503, &"possibly_written".into()), "{}", reply.show());
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
}

fn assert_consumed(rig: &mut Rig, topic: &str, sent: &[String]) {
    let records = rig.consume(topic);
    assert_each_once(records.iter().map(|record| &record.value), sent);
}

#[test]
fn real_kafka_has_what_was_told_also_when_it_went_away_in_between() {
    let mut rig = Rig::start(&["--nodes", "1", "--topic", "events:3"]);
    let server = Server::start(towards(&rig.addresses(), "events", &["--shed-after-ms", "50"]));
    let mut sent = events(0, 500);
    for part in sent.chunks(50) {
        assert_replicated(&send(&server, part), part.len());
    }
    assert_consumed(&mut rig, "events", &sent);
    rig.order(&["kill", "1"]);
    eventually("it knows", || !is_ready(&server));
    assert_eq!(send(&server, &events(500, 1)).status, 503);
    rig.order(&["start", "1"]);
    eventually("it recovers by itself", || is_ready(&server));
    let later = events(501, 100);
    assert_replicated(&send(&server, &later), 100);
    sent.extend(later);
    assert_consumed(&mut rig, "events", &sent);
    server.stop();
}

#[test]
fn real_kafka_is_reached_through_tls_with_credentials() {
    let mut rig = Rig::start(&["--nodes", "1", "--secure", "--topic", "events:2"]);
    let folder = TempDir::new("kafka-secure");
    let secret = |name: &str, text: &str| {
        fs::write(folder.join(name), text).unwrap();
        folder.join(name).to_str().unwrap().to_string()
    };
    let show = |path: &Path| path.to_str().unwrap().to_string();
    let (bob, alice) = (secret("bob", "pw-bob\n"), secret("alice", "pw-alice"));
    let ca = show(&rig.file("ca.pem"));
    let (cert, key) = (show(&rig.file("client.pem")), show(&rig.file("client.key")));
    let tls = ["--kafka-tls", "--kafka-tls-ca", &ca];
    let as_bob = ["--kafka-user", "bob", "--kafka-password-file", &bob, "--kafka-compression", "lz4"];
    let as_alice = ["--kafka-sasl", "plain", "--kafka-user", "alice", "--kafka-password-file", &alice];
    let mut sent = Vec::new();
    for (listener, more) in [
        ("SSL", tls.to_vec()),
        ("MTLS", [&tls[..], &["--kafka-tls-cert", &cert, "--kafka-tls-key", &key]].concat()),
        ("SASL", [&as_bob[..], &["--kafka-sasl", "scram-sha-512"]].concat()),
        ("SASLSSL", [&tls[..], &as_bob, &["--kafka-sasl", "scram-sha-256"]].concat()),
        ("SASLSSL", [&tls[..], &as_alice].concat()),
    ] {
        let server = Server::start(towards(&rig.listener(listener), "events", &more));
        eventually("it is connected", || is_ready(&server));
        let part = events(sent.len(), 20);
        assert_replicated(&send(&server, &part), 20);
        sent.extend(part);
        server.stop();
    }
    assert_consumed(&mut rig, "events", &sent);
    for (listener, more, why) in [
        ("SSL", vec!["--kafka-tls"], "certificate not trusted"),
        (
            "SASLSSL",
            [&tls[..], &["--kafka-sasl", "plain", "--kafka-user", "bob", "--kafka-password-file", &alice]]
                .concat(),
            "credentials refused",
        ),
    ] {
        let server = Server::start(towards(&rig.listener(listener), "events", &more));
        eventually("it knows", || reason(&server).contains(why));
        server.stop();
    }
}
