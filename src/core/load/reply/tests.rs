//! Replies in tables: whole, byte by byte, cut anywhere, and with another reply behind them.
use super::lines::LINE_REPLY_BYTES_MAX;
use super::*;
use crate::load::payload::Rng;
use crate::testing::split::every_split;
use alloc::{format, string::String, vec, vec::Vec};

/// Status, close, bytes of the body.
type Seen = (u16, bool, u64);

/// What a connection that receives `pieces` makes of them, and what it makes of its end.
fn read(mut replies: Replies, pieces: &[&[u8]]) -> (Vec<Seen>, Result<Option<Seen>, BadReply>) {
    let short = |reply: &Reply| (reply.status, reply.close, reply.body_bytes);
    let mut seen = vec![];
    for piece in pieces {
        let mut end = 0;
        for reply in replies.feed(piece) {
            match reply {
                Ok(reply) => {
                    assert!(reply.end >= end && reply.end <= piece.len(), "ends rise");
                    if let Some(body) = &reply.body {
                        assert_eq!(body.len() as u64, reply.body_bytes);
                        assert_eq!(body.end, reply.end);
                    }
                    end = reply.end;
                    seen.push(short(&reply));
                }
                Err(bad) => {
                    assert_eq!(replies.feed(b"more").next(), Some(Err(bad)), "it is final");
                    assert_eq!(replies.end(), Err(bad), "it is final");
                    return (seen, Err(bad));
                }
            }
        }
    }
    let end = replies.end();
    (seen, end.map(|reply| reply.map(|reply| short(&reply))))
}

const TAIL: &[u8] = b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\nRetry-After: 1\r\n\r\nno";

/// The replies in `text` in every split, alone and with one behind that must be read as well.
fn replies(text: &[u8]) -> Vec<Seen> {
    let alone = every_split(text, |pieces| read(Replies::new(), pieces));
    let (seen, end) = alone;
    assert_eq!(end, Ok(None), "{}", text.escape_ascii());
    let both = [text, TAIL].concat();
    let (with_tail, end) = every_split(&both, |pieces| read(Replies::new(), pieces));
    assert_eq!((&with_tail[..seen.len()], end), (&seen[..], Ok(None)));
    assert_eq!(with_tail[seen.len()..], [(503, false, 2)], "with a pipelined tail");
    seen
}

#[test]
fn whole_replies() {
    let cases: &[(&str, &[Seen])] = &[
        ("HTTP/1.1 204 No Content\r\n\r\n", &[(204, false, 0)]),
        ("HTTP/1.1 204\r\nContent-Length: 7\r\n\r\n", &[(204, false, 0)]),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n", &[(304, false, 0)]),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", &[(200, false, 5)]),
        ("HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n", &[(200, false, 0)]),
        ("HTTP/1.1 200 \r\nCONTENT-LENGTH:\t5 \r\nConnection: Close\r\n\r\nhello", &[(200, true, 5)]),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", &[(200, false, 5)]),
        ("HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", &[(200, false, 5)]),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", &[(200, true, 5)]),
        (
            "HTTP/1.0 200 OK\r\nConnection: x, keep-alive\r\nContent-Length: 5\r\n\r\nhello",
            &[(200, false, 5)],
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\r\n", &[(200, false, 2)]),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\nx",
            &[(201, false, 1)],
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[(200, false, 0)]),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n00a ; x=\"y\"\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
            &[(200, false, 15)],
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\nContent-Length: 3\r\n\r\n1\r\n\n\r\n0\r\n\r\n",
            &[(200, true, 1)],
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nbbHTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            &[(200, false, 1), (202, false, 2), (400, false, 0), (204, false, 0)],
        ),
        ("", &[]),
    ];
    for (text, expected) in cases {
        assert_eq!(replies(text.as_bytes()), *expected, "{text}");
    }
}

#[test]
fn heads_that_repeat_and_heads_that_differ_by_a_byte() {
    let reply = |second: u32, length: usize| {
        format!(
            "HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 15:23:0{second} GMT\r\nContent-Length: {length}\r\n\r\n{}",
            "x".repeat(length)
        )
    };
    let texts: Vec<String> =
        [(1, 5), (1, 5), (1, 6), (1, 5), (2, 5), (2, 5), (2, 0), (2, 0)].map(|(s, l)| reply(s, l)).into();
    let expected: Vec<Seen> = [5, 5, 6, 5, 5, 5, 0, 0].map(|length| (200, false, length)).into();
    assert_eq!(replies(texts.concat().as_bytes()), expected);
}

#[test]
fn where_bodies_lie() {
    let mut connection = Replies::new();
    let text =
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwo";
    let first: Vec<Reply> = connection.feed(text).map(Result::unwrap).collect();
    assert_eq!(first.len(), 1);
    assert_eq!(&text[first[0].body.clone().unwrap()], b"hello");
    assert!(connection.in_reply());
    let second = connection.feed(b"rld").next().unwrap().unwrap();
    assert_eq!((second.body, second.body_bytes, second.end), (None, 5, 3), "it came in two pieces");
    assert!(!connection.in_reply());
}

#[test]
fn what_is_no_reply() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX as usize));
    let line = |number: u32| -> String { format!("X-{number}: {}\r\n", "x".repeat(1000)) };
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", (0..300).map(line).collect::<String>());
    let cases: &[(&[u8], &str, u64)] = &[
        (b"SSH-2.0-OpenSSH_9.6\r\n", NOT_HTTP, 0),
        (b"\x15\x03\x03\x00\x02\x02\x46", NOT_HTTP, 0),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", NOT_HTTP, 0),
        (b"HTTP/2 200\r\n\r\n", NOT_HTTP, 0),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naagain", NOT_HTTP, 39),
        (b"HTTP/1.1 20 OK\r\n\r\n", "status of three digits", 0),
        (b"HTTP/1.1 2000\r\n\r\n", "status of three digits", 0),
        (b"HTTP/1.7 200 OK\r\n\r\n", "status of three digits", 0),
        (b"HTTP/1.1 OK\r\n\r\n", "status of three digits", 0),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "switches protocols", 36),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "no colon", 17),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "folded", 23),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "no number", 17),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n", "no number", 17),
        (b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", "no number", 17),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n", "no number", 17),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "differ", 36),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "hexadecimal", 47),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", "hexadecimal", 47),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\n", "hexadecimal", 47),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", CHUNK_OVERRUN, 51),
        (long.as_bytes(), TOO_LONG, 17),
        (many.as_bytes(), TOO_LONG, 261_238),
    ];
    for (text, why, offset) in cases {
        let shown = text[..text.len().min(80)].escape_ascii();
        // Long ones in a few places only, for each split reads all of it.
        let (_, end) = match text.len() {
            ..1000 => every_split(text, |pieces| read(Replies::new(), pieces)),
            _ => {
                let pieces: Vec<&[u8]> = text.chunks(1000).collect();
                let bytes: Vec<&[u8]> = text.chunks(1).collect();
                let whole = read(Replies::new(), &[text]);
                assert_eq!(read(Replies::new(), &pieces), whole, "{shown}");
                assert_eq!(read(Replies::new(), &bytes), whole, "{shown}");
                whole
            }
        };
        let bad = end.expect_err("it is no reply");
        assert!(bad.why.contains(why), "{shown}: {bad:?}");
        assert_eq!(bad.offset, *offset, "{shown}: {bad:?}");
    }
}

#[test]
fn a_line_longer_than_what_is_kept() {
    let text = format!(
        "HTTP/1.1 200 OK\r\nSet-Cookie: {}\r\n{}\r\nContent-Length: 3\r\n\r\nabc",
        "c".repeat(2000),
        "n".repeat(600) + ": x"
    );
    assert_eq!(replies(text.as_bytes()), [(200, false, 3)]);
}

#[test]
fn ends_of_connections() {
    type End = Result<Option<Seen>, &'static str>;
    let cases: &[(&[u8], End)] = &[
        (b"", Ok(None)),
        (b"HTTP/1.1 200 OK\r\n\r\n", Ok(Some((200, true, 0)))),
        (b"HTTP/1.1 200 OK\r\n\r\nall of this", Ok(Some((200, true, 11)))),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 2\r\n\r\nall",
            Ok(Some((200, true, 3))),
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", Err("within")),
        (b"HTTP/1.1 200 OK\r\nContent-Le", Err("within")),
        (b"HTTP", Err("within")),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", Err("within")),
        (b"HTTP/1.1 100 Continue\r\n\r\n", Ok(None)),
    ];
    for (text, expected) in cases {
        let (seen, end) = every_split(text, |pieces| read(Replies::new(), pieces));
        assert!(seen.is_empty(), "{}", text.escape_ascii());
        match (end, expected) {
            (Ok(end), Ok(expected)) => assert_eq!(end, *expected, "{}", text.escape_ascii()),
            (Err(bad), Err(why)) => {
                assert!(bad.why.contains(why) && bad.offset == text.len() as u64, "{bad:?}");
            }
            (end, _) => panic!("{}: {end:?}", text.escape_ascii()),
        }
    }
}

#[test]
fn replies_to_head_have_no_bodies() {
    let text = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (seen, end) = every_split(text, |pieces| read(Replies::to_head(), pieces));
    assert_eq!((seen, end), (vec![(200, false, 0), (200, false, 0)], Ok(None)));
}

#[test]
fn a_connection_can_be_used_anew() {
    let mut replies = Replies::new();
    assert!(replies.feed(b"nonsense").next().unwrap().is_err());
    replies.reset();
    assert!(replies.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").next().is_none());
    replies.reset();
    let reply = replies.feed(b"HTTP/1.1 204 No Content\r\n\r\n").next().unwrap().unwrap();
    assert_eq!(reply.status, 204);
}

/// Through, acked and the refused lines of each reply.
type SeenLines = (Vec<(u64, bool, Vec<u64>)>, Option<BadReply>);

fn read_lines(pieces: &[&[u8]]) -> SeenLines {
    let mut replies = LineReplies::new();
    let (mut seen, mut bad) = (vec![], None);
    for piece in pieces {
        let mut rest = *piece;
        while let Some(reply) = replies.next(&mut rest) {
            match reply {
                Ok(reply) => seen.push((reply.through, reply.acked, reply.rejected().collect())),
                Err(found) => bad = bad.or(Some(found)),
            }
        }
        assert!(rest.is_empty(), "all of a piece is taken in");
    }
    (seen, bad)
}

#[test]
fn replies_to_lines() {
    let first = br#"{"ack":"durable","through":4,"rejected":[{"line":3,"reason":"expected a value"}]}"#;
    let failed = br#"{"ack":null,"error":"sink_failed","reason":"try again","through":9,"rejected":[]}"#;
    let many =
        br#"{"ack":"accepted","through":12,"rejected":[{"line":10,"reason":"x"},{"line":12,"reason":"y"}]}"#;
    let text = [&first[..], failed, many, b""].join(&b'\n');
    let (seen, bad) = every_split(&text, read_lines);
    assert_eq!(bad, None);
    assert_eq!(seen, [(4, true, vec![3]), (9, false, vec![]), (12, true, vec![10, 12])]);
    for (line, offset) in [
        (&b"hello\n"[..], 0),
        (b"{\"ack\":\"durable\"}\n", 0),
        (b"{\"ack\":\"durable\",\"through\":,\"rejected\":[]}\n", 0),
        (b"{\"ack\":\"durable\",\"through\":1,\"rejected\":[]}\n\n", 44),
    ] {
        let (_, bad) = every_split(line, read_lines);
        assert_eq!(bad.map(|bad| bad.offset), Some(offset), "{}", line.escape_ascii());
    }
    // A list that is full may not be all.
    for (refused, told) in [(99, 500), (100, 104)] {
        let list: Vec<String> =
            (5..5 + refused).map(|line| format!("{{\"line\":{line},\"reason\":\"x\"}}")).collect();
        let text = format!("{{\"ack\":\"written\",\"through\":500,\"rejected\":[{}]}}\n", list.join(","));
        let mut replies = LineReplies::new();
        let reply = replies.next(&mut text.as_bytes()).expect("a line").expect("a reply");
        assert_eq!((reply.rejected().count(), reply.told_through()), (refused, told));
    }
    let endless = vec![b'x'; LINE_REPLY_BYTES_MAX + 1];
    assert!(read_lines(&[&endless]).1.is_some_and(|bad| bad.why.contains("64 KiB")));
}

/// One reply at random, and what it is.
fn any_reply(rng: &mut Rng) -> (Vec<u8>, Seen) {
    let status = [200, 202, 204, 207, 304, 400, 503][rng.bits() as usize % 7];
    let bare = matches!(status, 204 | 304);
    let length = if bare { 0 } else { rng.bits() as usize % 300 };
    let close = rng.bits().is_multiple_of(5);
    let mut text = format!("HTTP/1.1 {status} Any\r\n");
    if rng.bits().is_multiple_of(3) {
        text = format!("HTTP/1.1 100 Continue\r\n\r\n{text}X: {}\r\n", "y".repeat(rng.bits() as usize % 900));
    }
    if close {
        text += "Connection: close\r\n";
    }
    // Bodies that look like heads.
    let body = b"HTTP/1.1 500 X\r\n\r\n0\r\n\r\n".repeat(20);
    let mut bytes = text.into_bytes();
    if bare || rng.bits().is_multiple_of(2) {
        bytes.extend_from_slice(format!("Content-Length: {length}\r\n\r\n").as_bytes());
        bytes.extend_from_slice(&body[..length]);
    } else {
        bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        for chunk in body[..length].chunks(1 + rng.bits() as usize % 100) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
    }
    (bytes, (status, close, length as u64))
}

fn any_pieces<'a>(mut text: &'a [u8], rng: &mut Rng) -> Vec<&'a [u8]> {
    let mut pieces = vec![];
    let scale = [3, 40, 1000][rng.bits() as usize % 3];
    while !text.is_empty() {
        let (piece, rest) = text.split_at((1 + rng.bits() as usize % scale).min(text.len()));
        pieces.push(piece);
        text = rest;
    }
    pieces
}

#[test]
fn any_replies_in_any_pieces() {
    for seed in 0..500 {
        let mut rng = Rng::new(seed);
        let (mut text, mut expected) = (vec![], vec![]);
        for _ in 0..20 {
            let (bytes, reply) = any_reply(&mut rng);
            text.extend_from_slice(&bytes);
            expected.push(reply);
        }
        assert_eq!(read(Replies::new(), &any_pieces(&text, &mut rng)), (expected, Ok(None)), "seed {seed}");
        // What is damaged means the same in any pieces.
        for _ in 0..5 {
            let at = rng.bits() as usize % text.len();
            text[at] = b"\r\n: 0fHx\0\xff"[rng.bits() as usize % 10];
            let whole = read(Replies::new(), &[&text]);
            assert_eq!(read(Replies::new(), &any_pieces(&text, &mut rng)), whole, "seed {seed}");
        }
    }
}
