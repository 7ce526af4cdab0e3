//! Clients: what they send, and whether what they are told is true.
use super::device::Device;
use super::world::Rng;
use ringmill_core::ack::Ack;
use ringmill_core::engine::Protocol;
use serde_json::Value;
use std::collections::VecDeque;

/// What a request must come to when nothing is wrong with the server.
#[derive(Clone, Debug)]
pub enum Expect {
    /// Events that are good, as they must be stored; how many are bad; what was asked for.
    Events { good: Vec<Vec<u8>>, bad: u64, level: Ack, all_or_nothing: bool, minimal: bool },
    /// This status, and whether the connection ends behind it.
    Status(u16, bool),
}

/// A piece of what a client sends.
#[derive(Clone, Debug)]
pub struct Asked {
    pub bytes: Vec<u8>,
    /// Bytes before the wait for `100 Continue`.
    pub gate: Option<usize>,
    pub expect: Expect,
    pub head_only: bool,
}

/// How big and how bad a script is.
#[derive(Clone, Copy, Debug)]
pub struct Taste {
    pub requests: u64,
    pub event_bytes_max: u64,
    pub events_max: u64,
    /// Lines longer than any event.
    pub long_lines: bool,
    pub body_bytes_max: usize,
    pub level: Ack,
    pub strongest: Ack,
}

pub struct Client {
    pub protocol: Protocol,
    pub asked: Vec<Asked>,
    /// Request and byte of it to send next.
    pub at: (usize, usize),
    pub depth: usize,
    pub piece_max: u64,
    pub reads_max: u64,
    pub slow: bool,
    /// Aborts instead of ending when this many bytes were sent.
    pub abort_after: Option<usize>,
    pub half_closes: bool,
    pub sent_bytes: usize,
    pub ended: bool,
    pub gone: bool,
    pub timed_out: bool,
    pub sending: bool,
    /// The shard's side: stream of replies as said, how much of it was read, where each reply ends.
    pub said: Vec<u8>,
    pub read: usize,
    parsed: usize,
    ends: Vec<usize>,
    continues: VecDeque<usize>,
    pub server_ended: bool,
    pub last_reply: bool,
    pub statuses: Vec<u16>,
    /// Events that the shard said are not stored.
    pub denied: Vec<Vec<u8>>,
    /// Lines: the model's lines (good event or none), and how far replies went.
    pub lines: Vec<Option<Vec<u8>>>,
    pub through: usize,
    pub level: Ack,
}

fn event(rng: &mut Rng, tag: &str, bytes_max: u64) -> Vec<u8> {
    let pad = rng.skewed(bytes_max) as usize;
    format!("{{\"id\":\"{tag}-{:016x}\",\"pad\":\"{}\"}}", rng.next(), "x".repeat(pad)).into_bytes()
}

const BAD: [&str; 7] =
    ["{\"a\":", "[1]", "nonsense", "{\"a\":01}", "\"text\"", "{\"a\":1}}", "{\"\u{1}\":1}"];

impl Client {
    pub fn new(rng: &mut Rng, taste: &Taste, tag: &str, protocol: Protocol) -> Client {
        let mut client = Client {
            protocol,
            asked: Vec::new(),
            at: (0, 0),
            depth: if rng.chance(500) { 1 } else { 1 + rng.below(64) as usize },
            piece_max: [1 << 14, 1 << 14, 700, 64, 3][rng.below(5) as usize],
            reads_max: if rng.chance(200) { 1 + rng.below(200) } else { 1 << 20 },
            slow: rng.chance(150),
            abort_after: None,
            half_closes: rng.chance(700),
            sent_bytes: 0,
            ended: false,
            gone: false,
            timed_out: false,
            sending: false,
            said: Vec::new(),
            read: 0,
            parsed: 0,
            ends: Vec::new(),
            continues: VecDeque::new(),
            server_ended: false,
            last_reply: false,
            statuses: Vec::new(),
            denied: Vec::new(),
            lines: Vec::new(),
            through: 0,
            level: taste.level,
        };
        for n in 0..1 + rng.skewed(taste.requests) {
            let tag = format!("{tag}-{n}");
            match protocol {
                Protocol::Http => client.asked.push(request(rng, taste, &tag)),
                Protocol::Lines => client.add_lines(rng, taste, &tag),
            }
        }
        if protocol == Protocol::Lines {
            client.depth = usize::MAX;
            if let (Some(last), true) = (client.asked.last_mut(), rng.chance(300)) {
                // The last line without its end counts when the sender ends its side.
                if last.bytes.ends_with(b"\n") && !last.bytes.ends_with(b"\n\n") {
                    last.bytes.pop();
                    client.half_closes = true;
                }
            }
        }
        let bytes: usize = client.asked.iter().map(|asked| asked.bytes.len()).sum();
        if rng.chance(150) {
            client.abort_after = Some(rng.below(bytes as u64) as usize);
        }
        if bytes > 20_000 {
            client.piece_max = client.piece_max.max(3000);
        }
        client
    }

    fn add_lines(&mut self, rng: &mut Rng, taste: &Taste, tag: &str) {
        let mut bytes = Vec::new();
        for n in 0..1 + rng.skewed(taste.events_max) {
            if rng.chance(50) {
                bytes.extend_from_slice(b"\n");
                self.lines.push(None);
            }
            if taste.long_lines && rng.chance(100) {
                let len = (256 << 10) + 1 + rng.below(100 << 10) as usize;
                bytes.resize(bytes.len() + len, b' ');
                let at = bytes.len() - len;
                (bytes[at], bytes[at + len - 1]) = (b'{', b'}');
                self.lines.push(Some(Vec::new()));
            } else if rng.chance(200) {
                bytes.extend_from_slice(rng.pick(&BAD).as_bytes());
                self.lines.push(Some(Vec::new()));
            } else {
                let event = event(rng, &format!("{tag}-{n}"), taste.event_bytes_max);
                bytes.extend_from_slice(&event);
                self.lines.push(Some(event));
            }
            bytes.extend_from_slice(if rng.chance(100) { b"\r\n" } else { b"\n" });
        }
        self.asked.push(Asked { bytes, gate: None, expect: Expect::Status(0, false), head_only: false });
    }

    /// Replies to requests that this client has read.
    pub fn answered(&self) -> usize {
        self.ends.iter().filter(|end| **end <= self.read).count()
    }

    /// Everything was said that will be.
    pub fn is_served(&self) -> bool {
        match self.protocol {
            Protocol::Http => self.ends.len() >= self.asked.len() || self.last_reply,
            Protocol::Lines => self.at.0 >= self.asked.len(),
        }
    }

    /// The next bytes to send, if it is their time.
    pub fn next_piece(&mut self, rng: &mut Rng) -> Option<Vec<u8>> {
        if self.ended || self.gone || self.last_reply {
            return None;
        }
        let mut piece = Vec::new();
        let want = 1 + rng.below(self.piece_max) as usize;
        while piece.len() < want && self.at.0 < self.asked.len() {
            let (request, byte) = self.at;
            let read = self.read;
            if self.protocol == Protocol::Http && request >= self.answered().saturating_add(self.depth) {
                break;
            }
            let asked = &self.asked[request];
            let continued = self.continues.iter().any(|end| *end <= read);
            let end = match asked.gate {
                Some(gate) if !continued && !self.timed_out => gate,
                _ => asked.bytes.len(),
            };
            if byte == end && end < asked.bytes.len() {
                break;
            }
            let n = (end - byte).min(want - piece.len());
            piece.extend_from_slice(&asked.bytes[byte..byte + n]);
            self.at.1 += n;
            if self.at.1 == asked.bytes.len() {
                if asked.gate.is_some() {
                    self.continues.clear();
                    self.timed_out = false;
                }
                self.at = (request + 1, 0);
            }
        }
        self.sent_bytes += piece.len();
        (!piece.is_empty()).then_some(piece)
    }

    /// The shard put more bytes on their way: are they true at this moment?
    pub fn hear(&mut self, bytes: &[u8], device: &Device) {
        self.said.extend_from_slice(bytes);
        match self.protocol {
            Protocol::Http => while self.hear_http(device) {},
            Protocol::Lines => while self.hear_line(device) {},
        }
    }

    fn hear_http(&mut self, device: &Device) -> bool {
        let rest = &self.said[self.parsed..];
        let Some(head_len) = rest.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4) else {
            return false;
        };
        let head = std::str::from_utf8(&rest[..head_len]).expect("ASCII");
        let status: u16 = head[9..12].parse().expect("a status");
        if status == 100 {
            self.parsed += head_len;
            let request = self.ends.len();
            assert!(self.asked[request].gate.is_some(), "100 Continue to one who did not ask");
            self.continues.push_back(self.parsed);
            return true;
        }
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let request = self.ends.len();
        assert!(request < self.asked.len() && request <= self.at.0, "a reply to no request:\n{head}");
        let asked = &self.asked[request];
        let length: usize = field("Content-Length:").map_or(0, |text| text.parse().expect("a length"));
        let there = if asked.head_only { 0 } else { length };
        if rest.len() < head_len + there {
            return false;
        }
        let body = &rest[head_len..head_len + there];
        assert!(!self.last_reply, "nothing follows the last reply");
        let closes = field("Connection:") == Some("close");
        if matches!(status, 503) {
            let seconds: u64 = field("Retry-After:").expect("503 says when").parse().expect("seconds");
            assert!((1..=60).contains(&seconds));
        }
        let body: Option<Value> =
            (there > 0).then(|| serde_json::from_slice(body).expect("replies are JSON"));
        self.judge(request, status, closes, body.as_ref(), device);
        self.parsed += head_len + there;
        self.ends.push(self.parsed);
        self.statuses.push(status);
        self.last_reply |= closes;
        true
    }

    fn judge(&mut self, request: usize, status: u16, closes: bool, body: Option<&Value>, device: &Device) {
        let asked = &self.asked[request];
        let whole = self.at.0 > request;
        if status == 408 {
            assert!(!whole && closes, "only a request that is not all there can be too slow");
            return;
        }
        match &asked.expect {
            Expect::Status(expected, ends) => {
                assert!(status == *expected || matches!(status, 503), "{status} instead of {expected}");
                assert!(closes || !ends);
            }
            Expect::Events { good, bad, level, all_or_nothing, minimal } => {
                if matches!(status, 503 | 507) {
                    // A body that has not all arrived could not be told from what follows.
                    assert!(whole || closes || asked.gate.is_some());
                    self.denied.extend(good.iter().cloned());
                    return;
                }
                assert!(whole, "{status} to half a request");
                let taken = if *all_or_nothing && *bad > 0 { 0 } else { good.len() as u64 };
                let refused = good.len() as u64 + bad - taken;
                let expected = match (taken, refused) {
                    (0, _) => 400,
                    (_, 0) => level.http_status(),
                    _ => 207,
                };
                assert_eq!(status, expected, "{body:?}");
                assert!(body.is_some() || *minimal || asked.head_only);
                if let Some(body) = body {
                    assert_eq!(body["accepted"], taken);
                    assert_eq!(body["rejected"], refused);
                    assert_eq!(body["ack"], level.as_str());
                    assert_eq!(body["errors"].as_array().expect("a list").len() as u64, (*bad).min(100));
                    let receipt = &body["receipt"];
                    if taken > 0 && *level >= Ack::Written {
                        let (first, last) = (receipt["first"].as_u64(), receipt["last"].as_u64());
                        let (first, last) = (first.expect("a receipt"), last.expect("a receipt"));
                        assert_eq!(last - first + 1, taken);
                        device.check_receipt(first, good, *level >= Ack::Durable);
                    } else {
                        assert!(receipt.is_null());
                    }
                }
                if taken == 0 {
                    self.denied.extend(good.iter().cloned());
                    return;
                }
                for event in good {
                    match level {
                        Ack::Accepted => {}
                        Ack::Written => assert!(device.was_written(event), "written before it was"),
                        _ => assert!(device.is_durable(event), "durable before it was"),
                    }
                }
            }
        }
    }

    fn hear_line(&mut self, device: &Device) -> bool {
        let rest = &self.said[self.parsed..];
        let Some(len) = rest.iter().position(|b| *b == b'\n') else { return false };
        let reply: Value = serde_json::from_slice(&rest[..len]).expect("replies are JSON");
        self.parsed += len + 1;
        let through = reply["through"].as_u64().expect("a number") as usize;
        assert!(through > self.through && through <= self.lines.len(), "through {through}");
        let lines = &self.lines[self.through..through];
        let bad: Vec<u64> = (self.through + 1..=through)
            .filter(|line| self.lines[line - 1].as_ref().is_some_and(Vec::is_empty))
            .map(|line| line as u64)
            .collect();
        let told: Vec<u64> = reply["rejected"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| one["line"].as_u64().expect("a number"))
            .collect();
        assert_eq!(told, bad[..bad.len().min(100)], "the refused lines are named");
        let good = lines.iter().flatten().filter(|line| !line.is_empty());
        match reply["ack"].as_str() {
            None => self.denied.extend(good.cloned()),
            Some(level) => {
                assert_eq!(level, self.level.as_str());
                for event in good {
                    match self.level {
                        Ack::Accepted => {}
                        Ack::Written => assert!(device.was_written(event), "written before it was"),
                        _ => assert!(device.is_durable(event), "durable before it was"),
                    }
                }
            }
        }
        self.through = through;
        self.ends.push(self.parsed);
        true
    }
}

fn request(rng: &mut Rng, taste: &Taste, tag: &str) -> Asked {
    let plain = |text: &str, status, closes, head_only| Asked {
        bytes: text.as_bytes().to_vec(),
        gate: None,
        expect: Expect::Status(status, closes),
        head_only,
    };
    match rng.below(60) {
        0 => return plain("GET /nowhere HTTP/1.1\r\nHost: t\r\n\r\n", 404, false, false),
        1 => return plain("GET /v1/events HTTP/1.1\r\nHost: t\r\n\r\n", 405, false, false),
        2 => return plain("HEAD /v1/events HTTP/1.1\r\nHost: t\r\n\r\n", 405, false, true),
        3 => return plain("OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n", 204, false, false),
        4 => return plain("POST /v1/events HTTP/1.1\r\nHost: t\r\n\r\n", 411, true, false),
        5 => {
            return plain(
                "POST /v1/events?ack=huh HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}",
                400,
                false,
                false,
            );
        }
        6 => {
            return plain(
                "POST /v1/events?ack=replicated HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}",
                400,
                false,
                false,
            );
        }
        _ => {}
    }
    let mut body = Vec::new();
    let (mut good, mut bad) = (Vec::new(), 0);
    let badness = *rng.pick(&[0, 0, 0, 300, 1000]);
    let array = rng.chance(250);
    for n in 0..1 + rng.skewed(taste.events_max) {
        if body.len() as u64 + taste.event_bytes_max + 200 > taste.body_bytes_max as u64 {
            break;
        }
        if array {
            body.extend_from_slice(if n == 0 { b"[" } else { b"," });
        }
        if rng.chance(badness) {
            body.extend_from_slice(if array { "[{}]" } else { rng.pick(&BAD) }.as_bytes());
            bad += 1;
        } else {
            let event = event(rng, &format!("{tag}-{n}"), taste.event_bytes_max);
            if array && rng.chance(300) {
                // Line breaks between tokens become spaces.
                body.extend_from_slice(b"{\r\n");
                body.extend_from_slice(&event[1..]);
                good.push([&b"{  "[..], &event[1..]].concat());
            } else {
                body.extend_from_slice(&event);
                good.push(event);
            }
        }
        if !array {
            body.extend_from_slice(if rng.chance(100) { b"\r\n" } else { b"\n" });
        }
    }
    if array {
        body.push(b']');
    }
    let levels: Vec<Ack> = Ack::ALL.into_iter().filter(|level| *level <= taste.strongest).collect();
    let level = rng.chance(700).then(|| *rng.pick(&levels));
    let all_or_nothing = rng.chance(150);
    let minimal = rng.chance(100);
    let mut head = String::from("POST /v1/events");
    if rng.chance(300) {
        head += ["/a", "/b.c", "/some-stream"][rng.below(3) as usize];
    }
    let mut query = Vec::new();
    if let Some(level) = level {
        query.push(format!("ack={}", level.as_str()));
    }
    if all_or_nothing {
        query.push("partial=reject".into());
    }
    if !query.is_empty() {
        head += &format!("?{}", query.join("&"));
    }
    head += " HTTP/1.1\r\nHost: t\r\n";
    head +=
        if array { "Content-Type: application/json\r\n" } else { "Content-Type: application/x-ndjson\r\n" };
    if minimal {
        head += "Prefer: return=minimal\r\n";
    }
    let closes = rng.chance(30);
    if closes {
        head += "Connection: close\r\n";
    }
    let gated = rng.chance(60);
    if gated {
        head += "Expect: 100-continue\r\n";
    }
    let mut bytes;
    let gate;
    if rng.chance(250) {
        bytes = (head + "Transfer-Encoding: chunked\r\n\r\n").into_bytes();
        gate = bytes.len();
        let mut at = 0;
        while at < body.len() {
            let n = (1 + rng.skewed(body.len() as u64) as usize).min(body.len() - at);
            bytes.extend_from_slice(format!("{n:x}\r\n").as_bytes());
            bytes.extend_from_slice(&body[at..at + n]);
            bytes.extend_from_slice(b"\r\n");
            at += n;
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
    } else {
        bytes = (head + &format!("Content-Length: {}\r\n\r\n", body.len())).into_bytes();
        gate = bytes.len();
        bytes.extend_from_slice(&body);
    }
    let level = level.unwrap_or(taste.level);
    let expect = Expect::Events { good, bad, level, all_or_nothing, minimal };
    Asked { bytes, gate: gated.then_some(gate), expect, head_only: false }
}
