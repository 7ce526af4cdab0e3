//! The built server from outside, against what README.md promises: every reply, every stored byte.
mod common;

use common::{
    Client, PATIENCE, Random, Reply, Server, TempDir, cat, get, json, ndjson, post, read_by_stranger, run,
    segments, serve, serve_segments,
};
use ringmill_core::json::Kernel;
use ringmill_core::kafka::partition::keyed;
use ringmill_kafka_kit::fake::{Fake, Settings};
use serde_json::{Value, json as value};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    ops::RangeInclusive,
    os::unix::net::UnixStream,
    process::Command,
    time::{Duration, Instant},
};

const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";
const JSON: &str = "Content-Type: application/json\r\n";

/// A server that writes segments, and its folder.
fn segments_server(name: &str) -> (Server, TempDir) {
    let dir = TempDir::new(name);
    (Server::start(serve_segments(&dir.join("data"))), dir)
}

/// A server without storage.
fn null_server() -> Server {
    let mut command = serve();
    command.args(["--sink", "null"]);
    Server::start(command)
}

/// Status and the counts of an ordinary reply.
fn assert_counts(what: &str, reply: &Reply, status: u16, accepted: u64, rejected: u64) -> Value {
    assert_eq!(reply.status, status, "{what}: {}", reply.show());
    assert_eq!(reply.header("content-type"), Some("application/json"), "{what}: {}", reply.show());
    let body = reply.json();
    assert_eq!(body["accepted"], accepted, "{what}: {body}");
    assert_eq!(body["rejected"], rejected, "{what}: {body}");
    assert_eq!(body["errors"].as_array().map(Vec::len), Some(rejected.min(100) as usize), "{what}: {body}");
    body
}

/// A reply outside 2xx says what went wrong, where, and how to mend it.
fn assert_explained(what: &str, reply: &Reply) {
    let body = reply.json();
    let code = body["error"].as_str().unwrap_or_else(|| panic!("{what}: no error in {body}"));
    let short = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    assert!(!code.is_empty() && code.bytes().all(short), "{what}: {code}");
    let reason = body["reason"].as_str().unwrap_or_else(|| panic!("{what}: no reason in {body}"));
    assert!(reason.len() > 10, "{what}: {reason}");
}

/// Asks until it holds: what is counted is counted soon after the reply, not before it.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn ready_line_names_what_runs() {
    let dir = TempDir::new("ready");
    let mut command = serve_segments(&dir.join("data"));
    command.args(["--listen", "127.0.0.1:0", "--listen-lines", "127.0.0.1:0", "--driver", "uring"]);
    let lines = format!("unix:{}", dir.join("lines.sock").display());
    command.args(["--listen-lines", &lines]);
    let mut server = Server::start(command);
    let keys: Vec<&str> =
        server.ready().split(' ').skip(2).map(|part| part.split('=').next().unwrap()).collect();
    assert_eq!(keys, ["http", "lines", "admin", "shards", "sink", "ack", "driver"], "{}", server.ready());
    assert_eq!(server.field("http").split(',').count(), 2);
    assert_eq!(server.field("lines").split(',').count(), 2);
    assert!(server.field("lines").split(',').any(|a| a == lines), "{}", server.ready());
    assert_eq!(server.field("shards"), "1");
    assert_eq!(server.field("sink"), format!("segments:{}", dir.join("data").display()));
    assert_eq!((server.field("ack"), server.field("driver")), ("durable", "uring"));
    for http in server.field("http").split(',') {
        assert_eq!(Client::connect(http.parse().unwrap()).ask(&json(r#"{"a":1}"#)).status, 200);
    }
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(server.further_output(), Vec::<String>::new(), "one line only on standard output");

    let mut command = common::ringmill();
    command.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--sink",
        "null",
        "--admin",
        "none",
        "--cores",
        &common::core(),
    ]);
    let server = Server::start(command);
    let fields = ["lines", "admin", "sink", "ack"].map(|name| server.field(name).to_string());
    assert_eq!(fields, ["-", "-", "null", "accepted"]);
}

/// One body, what is said about it, and what is stored.
struct Case {
    name: &'static str,
    content_type: &'static str,
    body: &'static [u8],
    status: u16,
    stored: &'static [&'static [u8]],
    /// Index of each refused event and where in the body its trouble may be placed.
    refused: &'static [(u64, RangeInclusive<u64>)],
}

const fn good(
    name: &'static str,
    content_type: &'static str,
    body: &'static [u8],
    stored: &'static [&'static [u8]],
) -> Case {
    Case { name, content_type, body, status: 200, stored, refused: &[] }
}

const BODIES: &[Case] = &[
    good("object", "application/json", b"{\"a\":1}", &[b"{\"a\":1}"]),
    good("object with parameters", "application/json; charset=utf-8", b" {\"a\": 1} \n", &[b"{\"a\": 1}"]),
    good("array", "application/json", b"[{\"a\":1}, {\"b\":2}\n]", &[b"{\"a\":1}", b"{\"b\":2}"]),
    good("pretty object", "application/json", b"{\n  \"a\": [\r\n 1]\n}\n", &[b"{   \"a\": [   1] }"]),
    good("pretty array", "application/json", b"[\n {\n\"a\":1\n},\n{}\n]", &[b"{ \"a\":1 }", b"{}"]),
    good("lines", "application/x-ndjson", b"{\"a\":1}\n{\"b\":2}\n", &[b"{\"a\":1}", b"{\"b\":2}"]),
    good("lines, last without end", "application/ndjson", b"{\"a\":1}\n{\"b\":2}", &[b"{\"a\":1}", b"{\"b\":2}"]),
    good("lines, CRLF and blank", "application/jsonl", b"\r\n{\"a\":1}\r\n \t \n\n{}\r\n", &[b"{\"a\":1}", b"{}"]),
    good("sniffed lines", "text/plain", b"{\"a\":1}\n{\"b\":2}\n", &[b"{\"a\":1}", b"{\"b\":2}"]),
    good("sniffed array", "", b" [{\"a\":1}]", &[b"{\"a\":1}"]),
    good("sniffed pretty object", "", b"{\n\"a\":1\n}", &[b"{ \"a\":1 }"]),
    good("sniffed object", "application/octet-stream", b"{\"a\":1}", &[b"{\"a\":1}"]),
    good(
        "numbers of any size, escapes, duplicates, text beyond ASCII",
        "application/x-ndjson",
        b"{\"n\":123456789012345678901234567890,\"f\":-1.5e9999}\n{\"s\":\"\\ud83d\\ude80 \\/ \\u0000\",\"s\":\"\xc3\xa9\xf0\x9f\x9a\x80\"}\n",
        &[
            b"{\"n\":123456789012345678901234567890,\"f\":-1.5e9999}",
            b"{\"s\":\"\\ud83d\\ude80 \\/ \\u0000\",\"s\":\"\xc3\xa9\xf0\x9f\x9a\x80\"}",
        ],
    ),
    Case {
        name: "bad line between good ones",
        content_type: "application/x-ndjson",
        body: b"{\"a\":1}\n{\"b\":}\n{\"c\":3}\n",
        status: 207,
        stored: &[b"{\"a\":1}", b"{\"c\":3}"],
        refused: &[(1, 13..=13)],
    },
    Case {
        name: "lines are never joined",
        content_type: "application/x-ndjson",
        body: b"{\"type\":\"a\"\n\"ts\":1}\n{\"c\":3}\n",
        status: 207,
        stored: &[b"{\"c\":3}"],
        refused: &[(0, 0..=11), (1, 12..=19)],
    },
    Case {
        name: "blank lines are not counted",
        content_type: "application/x-ndjson",
        body: b"\n \n{\"a\":1}\n\n17\n",
        status: 207,
        stored: &[b"{\"a\":1}"],
        refused: &[(1, 12..=14)],
    },
    Case {
        name: "an element that is no object",
        content_type: "application/json",
        body: b"[{\"a\":1},17,{\"c\":3}]",
        status: 207,
        stored: &[b"{\"a\":1}", b"{\"c\":3}"],
        refused: &[(1, 9..=11)],
    },
    Case {
        name: "invalid UTF-8, lone surrogate, control character, BOM in the middle",
        content_type: "application/x-ndjson",
        body: b"{\"a\":\"\xff\"}\n{\"a\":\"\\ud83d\"}\n{\"a\":\"\x01\"}\n\xef\xbb\xbf{}\n{\"ok\":1}\n",
        status: 207,
        stored: &[b"{\"ok\":1}"],
        refused: &[(0, 6..=6), (1, 16..=24), (2, 31..=31), (3, 35..=38)],
    },
    Case {
        name: "nothing good in lines",
        content_type: "application/x-ndjson",
        body: b"{\"a\":1]\nnull\n",
        status: 400,
        stored: &[],
        refused: &[(0, 6..=7), (1, 8..=12)],
    },
    Case {
        name: "no object",
        content_type: "application/json",
        body: b"\"text\"",
        status: 400,
        stored: &[],
        refused: &[(0, 0..=6)],
    },
    Case {
        name: "cut object",
        content_type: "application/json",
        body: b"{\"a\":1",
        status: 400,
        stored: &[],
        refused: &[(0, 0..=6)],
    },
    Case {
        name: "trailing data",
        content_type: "application/json",
        body: b"{\"a\":1} {\"b\":2}",
        status: 400,
        stored: &[],
        refused: &[(0, 7..=15)],
    },
];

#[test]
fn bodies_are_judged_event_by_event() {
    let (server, dir) = segments_server("bodies");
    let mut client = server.client();
    let mut stored = Vec::new();
    let mut next = None;
    for case in BODIES {
        let content_type = match case.content_type {
            "" => String::new(),
            some => format!("Content-Type: {some}\r\n"),
        };
        let reply = client.ask(&post("/v1/events", &content_type, case.body));
        let accepted = case.stored.len() as u64;
        let body = assert_counts(case.name, &reply, case.status, accepted, case.refused.len() as u64);
        for (error, (index, offset)) in body["errors"].as_array().unwrap().iter().zip(case.refused) {
            assert_eq!(error["index"], *index, "{}: {body}", case.name);
            let found = error["offset"].as_u64().unwrap_or_else(|| panic!("{}: {body}", case.name));
            assert!(offset.contains(&found), "{}: offset {found}, expected {offset:?}: {body}", case.name);
            assert!(error["reason"].as_str().is_some_and(|r| !r.is_empty()), "{}: {body}", case.name);
        }
        if case.stored.is_empty() {
            assert_explained(case.name, &reply);
            assert!(body["receipt"].is_null(), "{}: {body}", case.name);
            continue;
        }
        assert_eq!(body["ack"], "durable", "{}: {body}", case.name);
        let (first, last) =
            (body["receipt"]["first"].as_u64().unwrap(), body["receipt"]["last"].as_u64().unwrap());
        assert_eq!(last + 1 - first, accepted, "{}: {body}", case.name);
        assert_eq!(*next.get_or_insert(first), first, "{}: sequence numbers rise by one: {body}", case.name);
        next = Some(last + 1);
        assert_eq!(body["receipt"]["shard"], 0, "{}: {body}", case.name);
        assert!(
            body["receipt"]["segment"].is_string() && body["receipt"]["hash"].is_string(),
            "{}: {body}",
            case.name
        );
        for event in case.stored {
            stored.extend_from_slice(event);
            stored.push(b'\n');
        }
        let receipt = body["receipt"].to_string();
        let verify = segments("verify", &dir.join("data"), &["--receipt", &receipt]);
        assert!(
            verify.status.success(),
            "{}: {receipt}: {}",
            case.name,
            String::from_utf8_lossy(&verify.stdout)
        );
    }
    // The same bytes while the server runs, after it ended, and to a reader that shares no code with it.
    let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(show(&cat(&dir.join("data"), &[])), show(&stored));
    server.stop();
    assert_eq!(cat(&dir.join("data"), &[]), stored);
    assert_eq!(show(&read_by_stranger(&dir.join("data"))), show(&stored));
    assert!(segments("verify", &dir.join("data"), &[]).status.success());
    assert!(segments("ls", &dir.join("data"), &[]).status.success());
}

#[test]
fn bounds_of_an_event() {
    let server = null_server();
    let mut client = server.client();
    let deep = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    let long = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    for (what, event, status) in [
        ("depth 64", deep(64), 202),
        ("depth 65", deep(65), 400),
        ("256 KiB", long(256 << 10), 202),
        ("256 KiB and one byte", long((256 << 10) + 1), 400),
    ] {
        for request in [json(&event), ndjson(format!("{event}\n")), json(format!("[{event}]"))] {
            let reply = client.ask(&request);
            assert_eq!(reply.status, status, "{what}: {}", reply.show());
        }
    }
    // A long event harms no neighbour.
    let reply = client.ask(&ndjson(format!("{{\"a\":1}}\n{}\n{{\"b\":2}}", long(300 << 10))));
    assert_counts("long between short", &reply, 207, 2, 1);
    // A hundred entries, the count in full.
    let reply = client.ask(&ndjson("{}\n".to_string() + &"no\n".repeat(250)));
    let body = assert_counts("many bad", &reply, 207, 1, 250);
    assert_eq!(body["errors"][99]["index"], 100);
    // A body of nearly 8 MiB.
    let line = long(4095) + "\n";
    let reply = client.ask(&ndjson(line.repeat(2047)));
    assert_counts("8 MiB", &reply, 202, 2047, 0);
}

#[test]
fn levels_and_preferences() {
    let (server, dir) = segments_server("levels");
    let mut client = server.client();
    for (path, headers, status, ack) in [
        ("/v1/events", "", 200, "durable"),
        ("/v1/events?ack=durable", "", 200, "durable"),
        ("/v1/events?ack=written", "", 202, "written"),
        ("/v1/events?ack=accepted", "", 202, "accepted"),
        ("/v1/events", "Ringmill-Ack: accepted\r\n", 202, "accepted"),
        ("/v1/events", "ringmill-ack: written\r\n", 202, "written"),
        ("/v1/events/a.b_C-9?ack=durable", "", 200, "durable"),
    ] {
        let reply = client.ask(&post(path, headers, b"{\"a\":1}"));
        let body = assert_counts(path, &reply, status, 1, 0);
        assert_eq!(body["ack"], ack, "{path} {headers}: {body}");
    }
    // Refused before anything is stored; the connection lives on.
    for (path, headers) in [
        ("/v1/events?ack=sure", ""),
        ("/v1/events?ack=", ""),
        ("/v1/events", "Ringmill-Ack: DURABLE!\r\n"),
        ("/v1/events?partial=maybe", ""),
    ] {
        let reply = client.ask(&post(path, headers, b"{\"refused\":1}"));
        assert_eq!(reply.status, 400, "{path}: {}", reply.show());
        assert_explained(path, &reply);
    }
    // All or nothing.
    let lines = b"{\"kept\":1}\nno\n{\"kept\":2}\n";
    let reply = client.ask(&post("/v1/events?partial=reject", NDJSON, lines));
    assert_eq!(reply.status, 400, "{}", reply.show());
    let body = reply.json();
    assert_eq!((&body["accepted"], &body["receipt"]), (&value!(0), &Value::Null), "{body}");
    assert!(body["errors"].as_array().unwrap().iter().any(|e| e["index"] == 1), "{body}");
    assert_explained("partial=reject", &reply);
    let reply =
        client.ask(&post("/v1/events?partial=reject&ack=durable", NDJSON, b"{\"all\":1}\n{\"all\":2}\n"));
    assert_counts("partial=reject, all good", &reply, 200, 2, 0);
    // No body when none is wanted.
    let reply = client.ask(&post("/v1/events", "Prefer: return=minimal\r\n", b"{\"minimal\":1}"));
    assert_eq!((reply.status, reply.body.len()), (200, 0), "{}", reply.show());
    let stored = cat(&dir.join("data"), &[]);
    let text = String::from_utf8(stored).unwrap();
    assert_eq!(text.lines().count(), 7 + 2 + 1, "{text}");
    assert!(!text.contains("refused") && !text.contains("kept"), "{text}");
    assert_eq!(cat(&dir.join("data"), &["--stream", "a.b_C-9"]), b"{\"a\":1}\n");
    assert_eq!(cat(&dir.join("data"), &["--stream", "none-such"]), b"");
    let meta = String::from_utf8(cat(&dir.join("data"), &["--with-meta", "--stream", "a.b_C-9"])).unwrap();
    let fields: Vec<_> = meta.trim_end().split('\t').collect();
    assert_eq!((fields[0], fields[1], fields[3]), ("0", "a.b_C-9", "{\"a\":1}"), "{meta}");
    let from = String::from_utf8(cat(&dir.join("data"), &["--from", fields[2], "--shard", "0"])).unwrap();
    assert_eq!(from.lines().count(), 4, "{from}");
}

#[test]
fn a_level_beyond_the_sink_is_refused_at_start() {
    for (sink, ack) in [("null", "durable"), ("null", "replicated"), ("segments:./never-made", "replicated")]
    {
        let mut command = serve();
        command.args(["--sink", sink, "--ack", ack]);
        let output = run(command);
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{sink} {ack}: {log}");
        assert!(log.contains("ack") && log.contains(ack), "{log}");
    }
}

/// What becomes of the connection after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Closes,
    Lives,
    Either,
}

/// A name, what must not be taken, the statuses that fit, and what follows.
type Refusal = (&'static str, Vec<u8>, &'static [u16], Then);

/// What must not be taken.
fn refusals() -> Vec<Refusal> {
    const OK: &str = "{\"a\":1}";
    let raw = |head: &str| format!("{head}\r\n\r\n{OK}").into_bytes();
    let with =
        |header: &str| raw(&format!("POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n{header}"));
    let chunked = |body: &str| {
        format!("POST /v1/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
            .into_bytes()
    };
    let close = |name, bytes, statuses: &'static [u16]| -> Refusal { (name, bytes, statuses, Then::Closes) };
    let keep = |name, bytes, statuses: &'static [u16]| -> Refusal { (name, bytes, statuses, Then::Lives) };
    let either = |name, bytes, statuses: &'static [u16]| -> Refusal { (name, bytes, statuses, Then::Either) };
    let mut many = String::new();
    for n in 0..80 {
        many += &format!("X-{n}: 1\r\n");
    }
    vec![
        close("no Host", raw("POST /v1/events HTTP/1.1\r\nContent-Length: 7"), &[400]),
        close("two Hosts", with("Host: b"), &[400]),
        close("bad Host", raw("POST /v1/events HTTP/1.1\r\nHost: a/b\r\nContent-Length: 7"), &[400]),
        close("length and coding", with("Transfer-Encoding: chunked"), &[400]),
        close("two lengths", with("Content-Length: 6"), &[400]),
        close("list of lengths", raw("POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 7, 7"), &[400]),
        close("signed length", raw("POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: +7"), &[400]),
        close(
            "huge length",
            raw("POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999"),
            &[400, 413],
        ),
        close(
            "body over 8 MiB",
            raw("POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 8388609"),
            &[413],
        ),
        close(
            "gzip coding",
            raw("POST /v1/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip"),
            &[400, 501],
        ),
        close(
            "chunked twice",
            raw("POST /v1/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked"),
            &[400],
        ),
        close("space before colon", with("X : 1"), &[400]),
        close("folded header", with("X: 1\r\n 2"), &[400]),
        close(
            "bare LF",
            b"POST /v1/events HTTP/1.1\nHost: a\nContent-Length: 7\n\n{\"a\":1}".to_vec(),
            &[400],
        ),
        close("bare CR in a value", with("X: a\rb"), &[400]),
        close("NUL in a value", with("X: a\0b"), &[400]),
        close("header without colon", with("nothing"), &[400]),
        close("double space", raw("POST  /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 7"), &[400]),
        close(
            "lower-case version",
            raw("POST /v1/events http/1.1\r\nHost: a\r\nContent-Length: 7"),
            &[400, 505],
        ),
        close("version 2.0", raw("POST /v1/events HTTP/2.0\r\nHost: a\r\nContent-Length: 7"), &[505]),
        close("no version", b"POST /v1/events\r\n\r\n".to_vec(), &[400]),
        close("chunk size 0x7", chunked("0x7\r\n{\"a\":1}\r\n0\r\n\r\n"), &[400]),
        close("chunk size +7", chunked("+7\r\n{\"a\":1}\r\n0\r\n\r\n"), &[400]),
        close("chunk over its size", chunked("6\r\n{\"a\":1}\r\n0\r\n\r\n"), &[400]),
        close("chunk ended by LF", chunked("7\n{\"a\":1}\r\n0\r\n\r\n"), &[400]),
        close(
            "target over 8 KiB",
            raw(&format!("POST /v1/events/{} HTTP/1.1\r\nHost: a", "x".repeat(9000))),
            &[414],
        ),
        close("head over 16 KiB", with(&format!("X: {}", "x".repeat(17_000))), &[431]),
        close("80 headers", with(many.trim_end()), &[431]),
        close("no length", b"POST /v1/events HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), &[411]),
        keep("unknown path", post("/nowhere", "", b"{}"), &[404]),
        keep("bad stream", post("/v1/events/a%20b", "", b"{}"), &[404]),
        keep("stream of 65", post(&format!("/v1/events/{}", "s".repeat(65)), "", b"{}"), &[404]),
        keep("gzip body", post("/v1/events", "Content-Encoding: gzip\r\n", b"\x1f\x8b"), &[415]),
        keep("GET", b"GET /v1/events HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), &[405]),
        keep("PUT", b"PUT /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}".to_vec(), &[405]),
        either("unknown method", b"BREW /v1/events HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), &[405, 501]),
        either("unknown expectation", with("Expect: miracles"), &[417]),
    ]
}

#[test]
fn what_http_forbids_is_refused() {
    let (server, dir) = segments_server("refusals");
    for (what, bytes, statuses, then) in refusals() {
        let mut client = server.client();
        client.send_some(&bytes);
        client.send_some(&json(r#"{"behind":1}"#));
        let reply = client.try_reply(false).unwrap_or_else(|| panic!("{what}: closed without a reply"));
        assert!(statuses.contains(&reply.status), "{what}: expected {statuses:?}: {}", reply.show());
        assert_explained(what, &reply);
        if reply.status == 405 {
            let allow = reply.header("allow").unwrap_or_else(|| panic!("{what}: no Allow: {}", reply.show()));
            assert!(allow.contains("POST") && allow.contains("OPTIONS"), "{what}: Allow: {allow}");
        }
        match client.try_reply(false) {
            Some(next) => assert!(then != Then::Closes && next.status == 200, "{what}: then {}", next.show()),
            None => {
                assert!(then != Then::Lives, "{what}: the connection should live on after {}", reply.show())
            }
        }
    }
    let stored = String::from_utf8(cat(&dir.join("data"), &[])).unwrap();
    assert!(stored.lines().all(|line| line == r#"{"behind":1}"#), "{stored}");
}

#[test]
fn head_and_options() {
    let server = null_server();
    let mut client = server.client();
    client.send(b"HEAD /v1/events HTTP/1.1\r\nHost: a\r\n\r\n");
    let reply = client.try_reply(true).unwrap();
    assert_eq!(reply.status, 405, "{}", reply.show());
    let reply = client.ask(b"OPTIONS /v1/events HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(reply.status, 204, "{}", reply.show());
    assert!(reply.header("allow").is_some_and(|allow| allow.contains("POST")), "{}", reply.show());
    assert_eq!(client.ask(&json(r#"{"a":1}"#)).status, 202);
}

#[test]
fn connections_live_as_http_says() {
    let server = null_server();
    let mut client = server.client();
    let head = "POST /v1/events HTTP/1.0\r\nContent-Length: 7\r\n\r\n{\"a\":1}";
    assert_eq!(client.ask(head.as_bytes()).status, 202);
    client.assert_closed("HTTP/1.0");
    let mut client = server.client();
    assert_eq!(client.ask(&post("/v1/events", "Connection: close\r\n", b"{\"a\":1}")).status, 202);
    client.assert_closed("Connection: close");
    let mut client = server.client();
    for _ in 0..50 {
        assert_eq!(client.ask(&json(r#"{"a":1}"#)).status, 202);
    }
    // Case and white space of header names and values, absolute form, an empty line in front.
    let odd =
        "\r\nPOST http://any.example/v1/events HTTP/1.1\r\nhOsT:\ta\r\ncontent-LENGTH: 7 \r\n\r\n{\"a\":1}";
    assert_eq!(client.ask(odd.as_bytes()).status, 202);
    // The client has said all it will say; what it asked is answered.
    let mut client = server.client();
    client.send(&json(r#"{"a":1}"#));
    client.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.reply().status, 202);
    client.assert_closed("after the client's end");
    // A body that never comes whole is no event.
    let before = server.metric("ringmill_events_received_total");
    let mut client = server.client();
    client.send(b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n{\"a\":1}");
    client.stream().shutdown(Shutdown::Write).unwrap();
    if let Some(reply) = client.try_reply(false) {
        assert!(reply.status >= 400, "{}", reply.show());
    }
    assert_eq!(server.metric("ringmill_events_received_total"), before);
}

#[test]
fn continue_when_asked() {
    let server = null_server();
    let mut client = server.client();
    client.send(b"POST /v1/events HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 7\r\n\r\n");
    assert_eq!(client.reply().status, 100);
    assert_eq!(client.ask(b"{\"a\":1}").status, 202);
    // With the body at hand the final reply is enough.
    let reply = client.ask(&post("/v1/events", "Expect: 100-continue\r\n", b"{\"a\":1}"));
    let last = if reply.status == 100 { client.reply() } else { reply };
    assert_eq!(last.status, 202);
    // Too much is refused before it is sent.
    client.send(
        b"POST /v1/events HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9000000\r\n\r\n",
    );
    assert_eq!(client.reply().status, 413);
}

#[test]
fn split_anywhere() {
    let (server, dir) = segments_server("split");
    let body = b"5\r\n{\"a\":\r\n00A;x=y\r\n \"split\"}\n\r\n8\r\n{\"b\":2}\n\r\n0\r\nT: v\r\n\r\n";
    let mut request =
        b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\n".to_vec();
    request.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
    let head = request.len();
    request.extend_from_slice(body);
    let mut client = server.client();
    let mut expected = 0;
    let splits = (1..head).step_by(13).chain(head..request.len());
    for at in splits {
        client.send_split(&request, at);
        assert_counts(&format!("split at {at}"), &client.reply(), 200, 2, 0);
        expected += 1;
    }
    // Byte by byte.
    for byte in &request {
        client.send(&[*byte]);
    }
    assert_counts("byte by byte", &client.reply(), 200, 2, 0);
    let want = b"{\"a\": \"split\"}\n{\"b\":2}\n".repeat(expected + 1);
    assert!(cat(&dir.join("data"), &[]) == want);
}

#[test]
fn pipelined_replies_come_in_order() {
    let (server, dir) = segments_server("pipeline");
    let mut client = server.client();
    let (mut all, mut expected, mut stored) = (Vec::new(), Vec::new(), String::new());
    let mut random = Random::new(7);
    for n in 0..300 {
        match random.below(6) {
            0 => {
                all.extend(ndjson(format!("{{\"n\":{n}}}\nbad\n")));
                expected.push(207);
            }
            1 => {
                all.extend(json(b"bad"));
                expected.push(400);
                continue;
            }
            2 => {
                all.extend(post("/elsewhere", "", b"{}"));
                expected.push(404);
                continue;
            }
            3 => {
                all.extend(post("/v1/events?ack=accepted", JSON, format!("{{\"n\":{n}}}").as_bytes()));
                expected.push(202);
            }
            _ => {
                all.extend(json(format!("{{\"n\":{n}}}")));
                expected.push(200);
            }
        }
        stored += &format!("{{\"n\":{n}}}\n");
    }
    client.send(&all);
    // A weak level may be promised before there is a receipt; what is stored is numbered in order all the same.
    let (mut before, mut numbers) = (0, Vec::new());
    for (n, status) in expected.iter().enumerate() {
        let reply = client.reply();
        assert_eq!(reply.status, *status, "request {n}: {}", reply.show());
        if matches!(reply.status, 400 | 404) {
            continue;
        }
        let receipt = &reply.json()["receipt"];
        assert!(receipt.is_object() || reply.status == 202, "request {n}: {}", reply.show());
        numbers.extend(receipt["first"].as_u64().map(|first| first - before));
        before += 1;
    }
    assert!(numbers.iter().all(|base| *base == numbers[0]), "{numbers:?}");
    server.stop();
    assert_eq!(String::from_utf8(cat(&dir.join("data"), &[])).unwrap(), stored);
}

#[test]
fn lines_over_tcp_and_unix() {
    let dir = TempDir::new("lines");
    let config = dir.join("ringmill.toml");
    fs::write(&config, "[lines]\nreplies = true\n").unwrap();
    let socket = dir.join("lines.sock");
    let mut command = serve_segments(&dir.join("data"));
    command.arg("--config").arg(&config).args(["--listen-lines", "127.0.0.1:0"]);
    command.arg("--listen-lines").arg(format!("unix:{}", socket.display()));
    let server = Server::start(command);
    let tcp = TcpStream::connect(server.lines()).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    talk_lines(&tcp, &tcp, "tcp");
    tcp.shutdown(Shutdown::Write).unwrap();
    assert_eq!((&tcp).read(&mut [0; 16]).unwrap(), 0, "the server closes after the client's end");
    let unix = UnixStream::connect(&socket).unwrap();
    unix.set_read_timeout(Some(PATIENCE)).unwrap();
    talk_lines(&unix, &unix, "unix");
    // The last line may lack its end.
    let cut = TcpStream::connect(server.lines()).unwrap();
    cut.set_read_timeout(Some(PATIENCE)).unwrap();
    (&cut).write_all(b"{\"last\":1}").unwrap();
    cut.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    (&cut).read_to_string(&mut rest).unwrap();
    assert!(rest.lines().any(|l| serde_json::from_str::<Value>(l).unwrap()["through"] == 1), "{rest}");
    let stored = cat(&dir.join("data"), &[]);
    let text = String::from_utf8(stored).unwrap();
    for from in ["tcp", "unix"] {
        assert_eq!(text.lines().filter(|l| l.contains(from)).count(), 42, "{text}");
    }
    assert!(text.contains("{\"last\":1}\n"), "{text}");
    assert!(
        String::from_utf8_lossy(&cat(&dir.join("data"), &["--quarantine"])).contains("not json from tcp")
    );
    server.stop();
    assert!(!socket.exists(), "the socket's file is removed at the end");
}

/// Sends 42 good lines and a bad third, in uneven pieces; waits for the reply through the last.
fn talk_lines(mut write: impl Write, read: impl Read, from: &str) {
    let mut lines = format!("{{\"from\":\"{from}\"}}\r\n{{\"from\":\"{from}\"}}\nnot json from {from}!\n");
    for n in 0..40 {
        lines += &format!("{{\"from\":\"{from}\",\"n\":{n}}}\n");
    }
    let (one, two) = lines.as_bytes().split_at(37);
    write.write_all(one).unwrap();
    std::thread::sleep(Duration::from_millis(5));
    write.write_all(two).unwrap();
    let (mut through, mut rejected) = (0, Vec::new());
    for line in BufReader::new(read).lines() {
        let reply: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(reply["ack"], "durable", "{reply}");
        let now = reply["through"].as_u64().unwrap();
        assert!(now > through, "{reply} after {through}");
        through = now;
        rejected.extend(reply["rejected"].as_array().unwrap().clone());
        if through == 43 {
            break;
        }
    }
    assert_eq!((through, rejected.len()), (43, 1), "{rejected:?}");
    // Counted like `through`: the third line is 3.
    assert_eq!(rejected[0]["line"], 3, "{rejected:?}");
    assert!(rejected[0]["reason"].is_string(), "{rejected:?}");
}

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
fn admin_answers() {
    let (server, _dir) = segments_server("admin");
    assert_eq!(get(server.admin(), "/healthz").status, 200);
    assert_eq!(get(server.admin(), "/readyz").status, 200);
    let status = get(server.admin(), "/status");
    assert_eq!(status.status, 200);
    let status = status.json();
    let kernel = Kernel::best().name();
    for judge in [&status["total"]["scanner"], &status["shards"][0]["scanner"]] {
        assert_eq!((&judge["name"], &judge["kernel"]), (&value!("fast"), &value!(kernel)), "{status}");
    }
    assert_eq!(status["config"]["scanner"], format!("fast ({kernel})"));
    assert_eq!(get(server.admin(), "/nowhere").status, 404);
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

#[test]
fn sigterm_answers_what_was_received() {
    let (mut server, dir) = segments_server("drain");
    let mut client = server.client();
    let mut all = Vec::new();
    for n in 0..200 {
        all.extend(json(format!("{{\"n\":{n}}}")));
    }
    client.send(&all);
    assert_eq!(client.reply().status, 200);
    let idle = server.client();
    server.terminate();
    let mut acked = 1;
    while let Some(reply) = client.try_reply(false) {
        acked += usize::from(reply.status == 200);
    }
    let status = server.wait();
    assert_eq!(status.code(), Some(0), "{}", server.log());
    drop(idle);
    let stored = String::from_utf8(cat(&dir.join("data"), &[])).unwrap();
    assert!(stored.lines().count() >= acked, "{acked} acknowledged, stored:\n{stored}");
    for (n, line) in stored.lines().enumerate() {
        assert_eq!(line, format!("{{\"n\":{n}}}"));
    }
    assert!(segments("verify", &dir.join("data"), &[]).status.success());
}

#[test]
fn one_owner_a_folder() {
    let (server, dir) = segments_server("owner");
    let output = run(serve_segments(&dir.join("data")));
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(output.stdout.is_empty() && log.contains(&*dir.join("data").to_string_lossy()), "{log}");
    assert_eq!(server.client().ask(&json(r#"{"a":1}"#)).status, 200, "the first goes on");
    server.stop();
    assert_eq!(cat(&dir.join("data"), &[]), b"{\"a\":1}\n");
}

#[test]
fn a_taken_port_is_an_error() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = null_server();
    for taken in [other.local_addr().unwrap(), server.http()] {
        let mut command = common::ringmill();
        command.args([
            "serve",
            "--sink",
            "null",
            "--admin",
            "none",
            "--cores",
            &common::core(),
            "--listen",
            &taken.to_string(),
        ]);
        let output = run(command);
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(output.stdout.is_empty() && log.contains(&taken.to_string()), "{log}");
    }
}

#[test]
fn foreign_files_are_refused_and_kept() {
    let dir = TempDir::new("foreign");
    let shard = dir.join("data/shard-000");
    fs::create_dir_all(&shard).unwrap();
    let foreign = shard.join("0000000001.seg");
    fs::write(&foreign, "somebody else's notes\n").unwrap();
    let output = run(serve_segments(&dir.join("data")));
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("0000000001.seg"), "{log}");
    assert_eq!(fs::read_to_string(&foreign).unwrap(), "somebody else's notes\n");
}

#[test]
fn bad_usage_is_explained() {
    let dir = TempDir::new("usage");
    let config = dir.join("bad.toml");
    fs::write(&config, "# first\nlisten = \"127.0.0.1:0\"\nsnik = \"null\"\n").unwrap();
    let config = config.to_string_lossy().into_owned();
    for (args, wanted) in [
        (vec!["serve", "--snik", "null"], "--sink"),
        (vec!["serve", "--config", &config], "sink"),
        (vec!["serve", "--config", &config], "3"),
        (vec!["serve", "--sink", "tape:x"], "sink"),
        (vec!["serve", "--cores", "9999"], "9999"),
        (vec!["serve", "--listen", "nowhere"], "listen"),
        (vec!["serve", "--memory", "1k"], "memory"),
    ] {
        let mut command = common::ringmill();
        command.args(&args);
        let output = run(command);
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {log}");
        assert!(log.contains(wanted), "{args:?}: {log}");
    }
    let mut command = serve();
    command.args(["--sink", "null", "--dry-run"]);
    let output = run(command);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).to_lowercase().contains("total"));
}

/// The same bytes through one driver: all replies, without what time or chance decides, and all that is stored.
fn scripted(driver: &str) -> (Vec<Reply>, Vec<u8>, Vec<u8>) {
    let dir = TempDir::new(driver);
    let mut command = serve_segments(&dir.join("data"));
    command.args(["--driver", driver]);
    let server = Server::start(command);
    assert_eq!(server.field("driver"), driver);
    let mut replies = Vec::new();
    let mut tell = |client: &mut Client| {
        let Some(mut reply) = client.try_reply(false) else { return false };
        reply.headers.retain(|(name, _)| name != "date");
        if let Ok(mut body) = serde_json::from_slice::<Value>(&reply.body) {
            // The hash covers the time and the file's random id; a body's length does not depend on them.
            if body["receipt"].is_object() {
                body["receipt"]["hash"] = value!("*");
            }
            reply.body = body.to_string().into_bytes();
        }
        replies.push(reply);
        true
    };
    let mut client = server.client();
    for case in BODIES {
        client.send(&post("/v1/events", &format!("Content-Type: {}\r\n", case.content_type), case.body));
        tell(&mut client);
    }
    for (_, bytes, _, _) in refusals() {
        let mut client = server.client();
        client.send_some(&bytes);
        client.stream().shutdown(Shutdown::Write).ok();
        while tell(&mut client) {}
    }
    // Seeded traffic: streams, levels, sizes from nothing to more than any buffer, pipelined and cut anywhere.
    let mut random = Random::new(42);
    for _ in 0..40 {
        let (mut bytes, count) = (Vec::new(), 1 + random.below(12));
        for _ in 0..count {
            let mut body = Vec::new();
            for _ in 0..1 + random.below(30) {
                let long = if random.below(40) == 0 { 60_000 } else { 300 };
                let fill = "x".repeat(random.below(long) as usize);
                let line = if random.below(10) == 0 {
                    format!("{{\"bad\":{fill}\n")
                } else {
                    format!("{{\"n\":\"{fill}\"}}\n")
                };
                body.extend_from_slice(line.as_bytes());
            }
            let ack = ["durable", "written", "accepted"][random.below(3) as usize];
            let path = format!("/v1/events/s{}?ack={ack}", random.below(3));
            bytes.extend(post(&path, NDJSON, &body));
        }
        let at = random.below(bytes.len() as u64) as usize;
        // Replies are read as they come so that neither side waits for the other.
        client.send_split(&bytes, at);
        for _ in 0..count {
            assert!(tell(&mut client), "{driver} closed");
        }
    }
    server.stop();
    let data = dir.join("data");
    (replies, cat(&data, &["--with-meta"]), cat(&data, &[]))
}

#[test]
fn both_drivers_say_and_store_the_same() {
    let (replies, meta, stored) = scripted("uring");
    let (other_replies, other_meta, other_stored) = scripted("glommio");
    for (n, (a, b)) in replies.iter().zip(&other_replies).enumerate() {
        assert_eq!(a.show(), b.show(), "reply {n}");
    }
    assert_eq!(replies.len(), other_replies.len());
    assert!(meta == other_meta, "streams and numbers differ");
    assert!(stored == other_stored, "stored bytes differ");
}
