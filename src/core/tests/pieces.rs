//! Bodies that arrive in pieces are judged as they come, and come to what they would come to whole: the same
//! replies and the same bytes for the disk, whatever the pieces, the format, the refusals and the room.
use fastrand::Rng;
use ringmill_core::batch::policy::Policy;
use ringmill_core::engine::{Config, ConnId, Engine, IoStep, Protocol};
use ringmill_core::json::{FastScanner, Kernel, Scanner, StrictScanner};
use ringmill_core::sink::segments::SegmentSink;
use ringmill_core::sink::{Mail, Request, Resume};
use ringmill_core::testing::clock::HandClock;
use ringmill_core::testing::engine::config;

struct Bench<S> {
    engine: Engine<Vec<u8>, HandClock, S, SegmentSink>,
    /// The device completes what it is given.
    device: bool,
    waiting: Vec<(u8, usize, bool)>,
    file: i32,
    said: Vec<u8>,
    written: Vec<u8>,
}

impl<S: Scanner> Bench<S> {
    fn new(scanner: S) -> Bench<S> {
        let config = Config {
            body_budget_bytes: 32 << 20,
            batch_arena_bytes: 9 << 20,
            refused_arena_bytes: 4 << 20,
            policy: Policy { bytes_max: 300 << 10, events_max: 100_000, linger_ns: 0 },
            quarantine_first: Some(1),
            ..config()
        };
        let clock = HandClock::default();
        clock.0.set(1_000_000_000);
        let sink = SegmentSink::new(0, &Resume::START);
        let engine = Engine::new(config, clock, scanner, sink, |len| vec![0; len]);
        let (waiting, said, written) = (Vec::new(), Vec::new(), Vec::new());
        Bench { engine, device: true, waiting, file: 2, said, written }
    }

    fn turn(&mut self) {
        loop {
            let mut more = self.engine.run();
            while let Some(request) = self.engine.next_request() {
                if let Request::Prepare { kind, number } = request {
                    self.file += 1;
                    let file = self.file;
                    self.engine.mail(Mail::Ready { kind, file, number, id: number, capacity: 1 << 30 });
                    more = true;
                }
            }
            while let Some(io) = self.engine.next_io() {
                self.written.extend_from_slice(io.bytes);
                self.waiting.push((io.slot, io.bytes.len(), io.sync));
            }
            if self.device {
                for (slot, len, sync) in std::mem::take(&mut self.waiting) {
                    self.engine.io_done(slot, IoStep::Write, Ok(len));
                    if sync {
                        self.engine.io_done(slot, IoStep::Sync, Ok(0));
                    }
                    more = true;
                }
            }
            while let Some((id, bytes)) = self.engine.next_send() {
                let len = bytes.len();
                self.said.extend_from_slice(bytes);
                self.engine.sent(id, len);
                more = true;
            }
            while self.engine.next_action().is_some() {}
            if !more {
                return;
            }
        }
    }

    fn send(&mut self, id: ConnId, bytes: &[u8]) {
        self.engine.tick();
        self.engine.receive(id, &mut bytes.to_vec());
        self.turn();
    }
}

fn event(rng: &mut Rng) -> String {
    match rng.u32(..24) {
        0 => "{\"cut\":".into(),
        1 => "{\"lone\":\"\\ud800\"}".into(),
        2 => "[1,2]".into(),
        3 => "{\"a\":\r1}".into(),
        _ => format!("{{\"n\":{},\"t\":\"{}\",\"e\":-1.5e3}}", rng.u32(..), "é\\n".repeat(rng.usize(..60))),
    }
}

fn body(rng: &mut Rng) -> (&'static str, Vec<u8>) {
    let count = [1, 3, 40, 300, 1_500][rng.usize(..5)];
    let flawless = rng.bool();
    let mut events: Vec<String> = (0..count).map(|_| event(rng)).collect();
    if flawless {
        events.retain(|event| event.contains("\"e\""));
    }
    let kind = ["application/x-ndjson", "application/json", "text/plain"][rng.usize(..3)];
    let text = match (kind, rng.u32(..4)) {
        ("application/json", 0) => format!("{{\"all\":[{}]}}", events.join(",")),
        ("application/json", _) | (_, 0) => format!(" [{}]\n", events.join(", ")),
        _ => events.join("\n"),
    };
    (kind, text.into_bytes())
}

fn request(rng: &mut Rng) -> Vec<u8> {
    let (kind, body) = body(rng);
    let query = if rng.u32(..4) == 0 { "?partial=reject" } else { "" };
    let head = format!("POST /v1/events{query} HTTP/1.1\r\nHost: t\r\nContent-Type: {kind}\r\n");
    if rng.bool() {
        return [format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat();
    }
    let mut bytes = (head + "Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    let mut rest = &body[..];
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at((1 + rng.usize(..40_000)).min(rest.len()));
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
        rest = behind;
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

#[test]
fn a_body_in_pieces_comes_to_what_it_would_whole() {
    let seed = std::env::var("RINGMILL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed_0003);
    eprintln!("RINGMILL_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let (mut whole, mut cut) =
        (Bench::new(StrictScanner::new()), Bench::new(FastScanner::new(Kernel::best())));
    whole.turn();
    cut.turn();
    let ids: Vec<ConnId> = (0..3).map(|_| whole.engine.open(Protocol::Http).expect("a slot")).collect();
    assert!(ids.iter().all(|id| cut.engine.open(Protocol::Http) == Some(*id)));
    for round in 0..250 {
        // While a commit is on its way the next bodies may find no room.
        (whole.device, cut.device) = (round % 5 > 2, round % 5 > 2);
        let requests: Vec<Vec<u8>> = ids.iter().map(|_| request(&mut rng)).collect();
        // The pieces of several bodies come in turn; each is complete before the next is.
        let step = [700, 5_000, 16 << 10, 70_000][rng.usize(..4)];
        let mut sent = vec![0; ids.len()];
        for at in 0..ids.len() {
            for other in at..ids.len() {
                let last = requests[other].len() - 1;
                while sent[other] < last && (other == at || rng.bool()) {
                    let end = (sent[other] + 1 + rng.usize(..step)).min(last);
                    cut.send(ids[other], &requests[other][sent[other]..end]);
                    sent[other] = end;
                }
            }
            cut.send(ids[at], &requests[at][sent[at]..]);
            whole.send(ids[at], &requests[at]);
        }
        (whole.device, cut.device) = (true, true);
        whole.turn();
        cut.turn();
        assert_eq!(
            String::from_utf8_lossy(&cut.said),
            String::from_utf8_lossy(&whole.said),
            "replies of round {round}"
        );
        assert!(cut.written == whole.written, "round {round} wrote something else");
        for bench in [(&mut whole.said, &mut whole.written), (&mut cut.said, &mut cut.written)] {
            assert!(bench.0.starts_with(b"HTTP/1.1 "));
            bench.0.clear();
            bench.1.clear();
        }
    }
}
