//! SIGKILL under load, again and again on the same folder: what was acknowledged `durable` is there, what is there
//! was sent, byte for byte, once.
//!
//! `RINGMILL_KILLS` is the number of kills (default 10), `RINGMILL_SEED` repeats a run's choices.
mod common;

use common::{Random, Server, TempDir, cat, read_by_stranger, segments, serve_segments};
use std::{
    env,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

const PRODUCERS: usize = 3;
const DRIVERS: [&str; 2] = ["uring", "glommio"];

/// The event of that number: its length and bytes follow from it alone, so that what is stored can be checked
/// against what must have been sent.
fn event(producer: usize, number: usize) -> Vec<u8> {
    let mut random = Random::new((producer as u64) << 40 | number as u64);
    let fill = if random.below(200) == 0 { random.below(20_000) } else { random.below(400) };
    let letters: String = (0..fill).map(|_| (b'a' + random.below(26) as u8) as char).collect();
    format!("{{\"id\": \"{producer}-{number}\",\"fill\":\"{letters} ✓ \\u00e9\"}}").into_bytes()
}

/// Producer and number in an event's id.
fn id(line: &[u8]) -> Option<(usize, usize)> {
    let rest = line.strip_prefix(b"{\"id\": \"")?;
    let text = std::str::from_utf8(&rest[..rest.iter().position(|b| *b == b'"')?]).ok()?;
    let (producer, number) = text.split_once('-')?;
    Some((producer.parse().ok()?, number.parse().ok()?))
}

/// What one producer sent, by the event's number: whether it was acknowledged `durable`.
#[derive(Default)]
struct Sent {
    durable: Vec<bool>,
    replies: usize,
}

/// Posts until the connection breaks. Every event is sent once; one request in eight also holds a bad line, one
/// in four asks only for `accepted`.
fn produce(to: SocketAddr, producer: usize, mut sent: Sent, mut random: Random) -> Sent {
    let Ok(mut stream) = TcpStream::connect(to) else { return sent };
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
    let mut unread = Vec::new();
    loop {
        let mut requests = Vec::new();
        let mut expected = Vec::new();
        for _ in 0..1 + random.below(4) {
            let mut body = Vec::new();
            let from = sent.durable.len();
            for _ in 0..1 + random.below(12) {
                body.extend(event(producer, sent.durable.len()));
                body.push(b'\n');
                sent.durable.push(false);
            }
            let bad = random.below(8) == 0;
            if bad {
                body.extend(b"{\"id\": \"bad\n");
            }
            let weak = random.below(4) == 0;
            let path = if weak { "/v1/events?ack=accepted" } else { "/v1/events?ack=durable" };
            requests.extend(common::post(path, "Content-Type: application/x-ndjson\r\n", &body));
            let status = if bad {
                207
            } else if weak {
                202
            } else {
                200
            };
            expected.push((from..sent.durable.len(), status, weak));
        }
        if stream.write_all(&requests).is_err() {
            return sent;
        }
        for (range, wanted, weak) in expected {
            let Some((status, body)) = next_reply(&mut stream, &mut unread) else { return sent };
            sent.replies += 1;
            if status == 503 {
                continue;
            }
            assert_eq!(status, wanted, "{body}");
            let level = if weak { "accepted" } else { "durable" };
            assert!(body.contains(&format!("\"ack\":\"{level}\"")), "{body}");
            assert!(body.contains(&format!("\"accepted\":{},", range.len())), "{body}");
            if !weak {
                sent.durable[range].fill(true);
            }
        }
    }
}

/// A whole reply, or `None` when the connection broke first.
fn next_reply(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<(u16, String)> {
    let mut chunk = [0; 16384];
    loop {
        if let Some(end) = unread.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&unread[..end]).to_ascii_lowercase();
            let length =
                head.lines().find_map(|l| l.strip_prefix("content-length:"))?.trim().parse::<usize>().ok()?;
            if unread.len() >= end + 4 + length {
                let body = String::from_utf8_lossy(&unread[end + 4..end + 4 + length]).into_owned();
                let status = head[9..12].parse().ok()?;
                unread.drain(..end + 4 + length);
                return Some((status, body));
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(n) => unread.extend_from_slice(&chunk[..n]),
        }
    }
}

/// Checks one reader's output against what was sent; the number of events found.
fn check(reader: &str, stored: &[u8], all: &[Sent]) -> usize {
    let mut seen: Vec<Vec<bool>> = all.iter().map(|sent| vec![false; sent.durable.len()]).collect();
    let mut count = 0;
    assert!(stored.is_empty() || stored.ends_with(b"\n"), "{reader}: the last line has no end");
    for line in stored.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let shown = String::from_utf8_lossy(line);
        let (producer, number) = id(line).unwrap_or_else(|| panic!("{reader}: never sent: {shown}"));
        let seen = seen.get_mut(producer).and_then(|s| s.get_mut(number));
        let seen = seen.unwrap_or_else(|| panic!("{reader}: never sent: {shown}"));
        assert!(line == event(producer, number), "{reader}: other bytes than were sent: {shown}");
        assert!(!*seen, "{reader}: stored twice though sent once: {shown}");
        *seen = true;
        count += 1;
    }
    for (producer, sent) in all.iter().enumerate() {
        let lost: Vec<_> =
            (0..sent.durable.len()).filter(|n| sent.durable[*n] && !seen[producer][*n]).collect();
        assert!(
            lost.is_empty(),
            "{reader}: {} durable events of producer {producer} lost: {lost:?}",
            lost.len()
        );
    }
    count
}

#[test]
fn durable_survives_sigkill() {
    let kills: u32 = env::var("RINGMILL_KILLS").map_or(10, |n| n.parse().expect("RINGMILL_KILLS is a count"));
    let clock = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = env::var("RINGMILL_SEED").map_or(clock, |n| n.parse().expect("RINGMILL_SEED is a number"));
    println!("RINGMILL_SEED={seed}");
    let mut random = Random::new(seed);
    let dir = TempDir::new("kill");
    let data = dir.join("data");
    let mut all: Vec<Sent> = (0..PRODUCERS).map(|_| Sent::default()).collect();
    for round in 0..kills {
        let mut command = serve_segments(&data);
        // Both drivers take over each other's folders.
        command.args(["--driver", DRIVERS[round as usize % 2]]);
        let server = Server::start(command);
        let to = server.http();
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|p| {
                let (sent, random) =
                    (std::mem::take(&mut all[p]), Random::new(seed ^ (u64::from(round) << 8 | p as u64)));
                thread::spawn(move || produce(to, p, sent, random))
            })
            .collect();
        // Some kills fall into start-up work such as opening the second file, most into steady load.
        let wait_ms = if random.below(5) == 0 { random.below(10) } else { 20 + random.below(130) };
        thread::sleep(Duration::from_millis(wait_ms));
        server.kill();
        for (p, handle) in producers.into_iter().enumerate() {
            all[p] = handle.join().unwrap();
        }
        if round % 25 == 24 {
            check("segments cat, between kills", &cat(&data, &[]), &all);
        }
    }
    // As the last kill left it, then as recovery leaves it.
    check("segments cat, after a kill", &cat(&data, &[]), &all);
    Server::start(serve_segments(&data)).stop();
    let stored = cat(&data, &[]);
    let count = check("segments cat", &stored, &all);
    assert_eq!(check("read_segments.py", &read_by_stranger(&data), &all), count);
    let verify = segments("verify", &data, &[]);
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stdout));
    let durable: usize = all.iter().map(|sent| sent.durable.iter().filter(|d| **d).count()).sum();
    let sent: usize = all.iter().map(|sent| sent.durable.len()).sum();
    println!("{kills} kills: {sent} sent, {durable} acknowledged durable, {count} stored, 0 lost");
    assert!(kills == 0 || durable > 0, "nothing was acknowledged: the test has no teeth");
}
