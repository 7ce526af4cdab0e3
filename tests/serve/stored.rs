//! What is kept, of good events and of refused ones, and that the books say so.
use crate::common::{
    Random, Server, TempDir, cat, json, ndjson, post, read_by_stranger, run, serve, serve_segments,
};
use crate::{NDJSON, assert_counts, eventually, segments_server};
use ringmill_core::kafka::partition::keyed;
use ringmill_kafka_kit::fake::{Fake, Settings};
use serde_json::{Value, json as value};
use std::fs;
use std::process::Command;

#[test]
fn quarantine_holds_the_very_bytes() {
    let (server, dir) = segments_server("quarantine");
    let mut client = server.client();
    let bad: &[&[u8]] = &[b"{\"cut\":", b"\xff\xfe{}", b"{\"ringmill\":1,\"forged\":true", b"plain words"];
    for bytes in bad {
        let mut body = bytes.to_vec();
        body.extend_from_slice(b"\n{\"good\":1}\n");
        assert_counts("one bad", &client.ask(&ndjson(&body)), 207, 1, 1);
    }
    // Settled before the reply: it is there although the server is killed now.
    server.kill();
    let held = cat(&dir.join("data"), &["--quarantine"]);
    for bytes in bad {
        let found = held.windows(bytes.len()).any(|w| w == *bytes);
        assert!(found, "{} not in {}", String::from_utf8_lossy(bytes), String::from_utf8_lossy(&held));
    }
    assert_eq!(cat(&dir.join("data"), &[]), b"{\"good\":1}\n".repeat(bad.len()));
}

#[test]
fn any_sink_keeps_what_is_refused_where_it_is_told() {
    let dir = TempDir::new("quarantine-elsewhere");
    let fake = Fake::start(Settings { nodes: 1, ..Settings::default() }.topic("events", 2));
    let kafka = format!("kafka:{}/events", fake.addresses()[0]);
    for sink in ["null", &*kafka] {
        let kept = dir.join(&sink[..4]);
        let mut command = serve();
        command.args(["--sink", sink, "--quarantine"]).arg(&kept);
        let server = Server::start(command);
        let mut client = server.client();
        for n in 0..3 {
            let body = format!("{{\"good\":{n}}}\nnonsense {n}\n");
            assert_counts(sink, &client.ask(&ndjson(&body)), 207, 1, 1);
            assert_counts(sink, &client.ask(&ndjson(format!("[{n}]\n"))), 400, 0, 1);
        }
        eventually("all is counted", || {
            server.metric("ringmill_events_quarantined_total") == 6.0
                && server.metric("ringmill_events_stored_total") == 3.0
        });
        server.stop();
        let held = String::from_utf8(cat(&kept, &["--quarantine"])).unwrap();
        for n in 0..3 {
            assert!(
                held.contains(&format!("nonsense {n}\n")) && held.contains(&format!("\n[{n}]\n")),
                "{held}"
            );
        }
        assert_eq!(cat(&kept, &[]), b"", "{sink}: and no event beside them");
    }
}

#[test]
fn a_partition_without_a_leader_is_turned_away_alone() {
    let fake = Fake::start(Settings { nodes: 2, ..Settings::default() }.topic("events", 2));
    let brokers: Vec<_> = fake.addresses().iter().map(ToString::to_string).collect();
    let mut command = serve();
    command.args(["--sink", &format!("kafka:{}/events", brokers.join(","))]);
    command.args(["--kafka-key", "/k", "--kafka-leader-wait-s", "300ms", "--kafka-batch-bytes", "64KiB"]);
    let server = Server::start(command);
    let [unled, led] = [0, 1].map(|wanted| {
        let key = (0..).map(|n| format!("k{n}")).find(|key| keyed(key.as_bytes(), 2) == wanted).unwrap();
        format!("{{\"k\":\"{key}\",\"x\":\"{}\"}}\n", "x".repeat(200))
    });
    let mut client = server.client();
    for event in [&unled, &led] {
        assert_counts("both are led", &client.ask(&ndjson(event)), 200, 1, 0);
    }
    fake.change(|cluster| cluster.lead("events", 0, -1));
    fake.cut(1);
    eventually("its partition is given up", || server.metric("ringmill_kafka_partition_forsaken") == 1.0);
    let reply = client.ask(&ndjson(&unled));
    assert_eq!((reply.status, &reply.json()["error"]), (503, &value!("no_leader")), "{}", reply.show());
    assert!(reply.header("retry-after").is_some(), "{}", reply.show());
    // Several batches' worth, all for the other one.
    assert_counts("the other one", &client.ask(&ndjson(led.repeat(3000))), 200, 3000, 0);
    fake.change(|cluster| cluster.lead("events", 0, 1));
    eventually("its leader is back", || client.ask(&ndjson(&unled)).status == 200);
    assert_eq!((fake.records("events", 0).len(), fake.records("events", 1).len()), (2, 3001));
    assert_eq!(fake.complaints(), [""; 0]);
    server.stop();
}

#[test]
fn without_a_quarantine_segments_keep_only_what_is_good() {
    let dir = TempDir::new("no-quarantine");
    let mut command = serve_segments(&dir.join("data"));
    command.args(["--quarantine", "none"]);
    let server = Server::start(command);
    assert_counts("one bad", &server.client().ask(&ndjson("nonsense\n{\"good\":1}\n")), 207, 1, 1);
    assert_eq!(server.metric("ringmill_events_rejected_total"), 1.0);
    server.stop();
    assert_eq!(cat(&dir.join("data"), &["--quarantine"]), b"");
    assert_eq!(cat(&dir.join("data"), &[]), b"{\"good\":1}\n");
}

#[test]
fn books_balance() {
    let (server, _dir) = segments_server("books");
    let mut client = server.client();
    let mut random = Random::new(3);
    let (mut good, mut bad, mut refused) = (0, 0, 0);
    for _ in 0..100 {
        let (a, b) = (random.below(20), random.below(5));
        let body = "{\"a\":1}\n".repeat(a as usize) + &"bad\n".repeat(b as usize);
        if a == 0 || b == 0 {
            continue;
        }
        let whole = random.below(4) == 0;
        let path = if whole { "/v1/events?partial=reject" } else { "/v1/events" };
        let reply = client.ask(&post(path, NDJSON, body.as_bytes()));
        assert_eq!(reply.status, if whole { 400 } else { 207 }, "{}", reply.show());
        if whole {
            refused += a + b;
        } else {
            (good, bad) = (good + a, bad + b);
        }
    }
    let count = |name: &str| server.metric(&format!("ringmill_events_{name}"));
    eventually("all is settled", || {
        count("received_total") == (good + bad + refused) as f64 && count("in_flight") == 0.0
    });
    assert_eq!(count("stored_total"), good as f64);
    let parts = ["stored_total", "quarantined_total", "rejected_total", "shed_total"].map(count);
    assert_eq!(count("received_total"), parts.iter().sum::<f64>(), "{parts:?}");
    assert!(parts[1] >= bad as f64, "{bad} bad beside good: {parts:?}");
    let metrics = server.metrics();
    assert!(metrics.keys().any(|k| k.starts_with("ringmill_requests_total{") && k.contains("code=\"207\"")));
    for stage in ["read", "frame", "parse", "append", "seal_wait", "sink", "reply"] {
        let label = format!("stage=\"{stage}\"");
        let counted =
            metrics.iter().find(|(k, _)| k.starts_with("ringmill_stage_seconds_count") && k.contains(&label));
        assert!(counted.is_some_and(|(_, n)| *n > 0.0), "{stage}: {counted:?}");
    }
    assert_eq!(server.metric("ringmill_connections"), 1.0);
    assert!(server.metric("ringmill_bytes_received_total") > 0.0);
}

#[test]
fn stored_is_what_was_sent() {
    let (server, dir) = segments_server("stored");
    let mut python = Command::new("python3");
    python
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/payload.py"))
        .args(["--events", "6000", "--seed", "11"]);
    let payload = run(python).stdout;
    assert!(payload.len() > 2_000_000);
    let lines: Vec<&[u8]> = payload.split_inclusive(|b| *b == b'\n').collect();
    let mut client = server.client();
    let mut pipelined = Vec::new();
    for body in lines.chunks(150) {
        pipelined.extend(ndjson(body.concat()));
    }
    client.send(&pipelined);
    for _ in lines.chunks(150) {
        assert_counts("payload", &client.reply(), 200, 150, 0);
    }
    assert!(cat(&dir.join("data"), &[]) == payload, "while it runs");
    server.stop();
    assert!(cat(&dir.join("data"), &[]) == payload, "after its end");
    assert!(read_by_stranger(&dir.join("data")) == payload, "read by a stranger");
    // Every line of a segment that is not blank is JSON, as jq reads it.
    let shard = fs::read_dir(dir.join("data/shard-000")).unwrap();
    for file in shard.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "seg")) {
        let bytes = fs::read(&file).unwrap();
        for line in bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            serde_json::from_slice::<Value>(line).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        }
    }
    // A second life goes on with the numbers and keeps the first one's events.
    let again = Server::start(serve_segments(&dir.join("data")));
    let body = again.client().ask(&json(r#"{"again":1}"#)).json();
    again.stop();
    let meta = String::from_utf8(cat(&dir.join("data"), &["--with-meta"])).unwrap();
    let last: Vec<&str> = meta.lines().last().unwrap().split('\t').collect();
    assert_eq!((last[2], last[3]), (&*body["receipt"]["first"].to_string(), r#"{"again":1}"#));
    assert_eq!(meta.lines().count(), 6001);
}
