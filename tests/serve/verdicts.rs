//! What is said about the events of a body, one by one, and what is stored of them.
use crate::common::{cat, json, ndjson, post, read_by_stranger, segments};
use crate::{NDJSON, assert_counts, assert_explained, null_server, segments_server};
use serde_json::{Value, json as value};
use std::ops::RangeInclusive;

/// One body, what is said about it, and what is stored.
pub struct Case {
    pub name: &'static str,
    pub content_type: &'static str,
    pub body: &'static [u8],
    pub status: u16,
    pub stored: &'static [&'static [u8]],
    /// Index of each refused event and where in the body its trouble may be placed.
    pub refused: &'static [(u64, RangeInclusive<u64>)],
}

const fn good(
    name: &'static str,
    content_type: &'static str,
    body: &'static [u8],
    stored: &'static [&'static [u8]],
) -> Case {
    Case { name, content_type, body, status: 200, stored, refused: &[] }
}

pub const BODIES: &[Case] = &[
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
