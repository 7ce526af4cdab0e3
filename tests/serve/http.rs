//! HTTP's rules: what is refused, how connections live, pieces and pipelines.
use crate::common::{Random, cat, json, ndjson, post};
use crate::{JSON, assert_counts, assert_explained, null_server, segments_server};
use std::net::Shutdown;

/// What becomes of the connection after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Closes,
    Lives,
    Either,
}

/// A name, what must not be taken, the statuses that fit, and what follows.
pub type Refusal = (&'static str, Vec<u8>, &'static [u16], Then);

/// What must not be taken.
pub fn refusals() -> Vec<Refusal> {
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
