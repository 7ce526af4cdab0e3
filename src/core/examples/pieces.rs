//! What is left to do behind the last piece of a body: `valgrind --tool=callgrind --toggle-collect='*last_piece*'
//! target/release/examples/pieces [BYTES] [PIECE] [EVENT_BYTES] [fast|exact] [lines|array] [KERNEL]`.
//!
//! A body of `BYTES` arrives in receives of `PIECE` bytes; instructions are counted from the last one to the reply.
use ringmill_core::ack::Ack;
use ringmill_core::batch::policy::Policy;
use ringmill_core::engine::{Config, ConnId, Engine, Protocol};
use ringmill_core::json::{FastScanner, Kernel, Scanner, StrictScanner};
use ringmill_core::sink::null::NullSink;
use ringmill_core::testing::clock::HandClock;
use ringmill_core::testing::engine::config;

type Bare<S> = Engine<Vec<u8>, HandClock, S, NullSink>;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |at: usize, default| args.get(at).map_or(default, |n| n.parse::<usize>().expect("a number"));
    let word = |at: usize, default| args.get(at).map_or(default, String::as_str);
    let (bytes, piece, event_bytes) = (number(1, 1 << 20), number(2, 16 << 10), number(3, 300));
    let body = body(bytes, event_bytes, word(5, "lines") == "array");
    let named = Kernel::ALL.iter().copied().find(|kernel| kernel.name() == word(6, ""));
    match word(4, "fast") {
        "fast" => run(FastScanner::new(named.unwrap_or_else(Kernel::best)), &body, piece),
        _ => run(StrictScanner::new(), &body, piece),
    }
}

fn body(bytes: usize, event_bytes: usize, array: bool) -> Vec<u8> {
    let fill = event_bytes.saturating_sub(60);
    let event = |n: usize| {
        format!("{{\"type\":\"log\",\"ts\":{n},\"n\":[1,2.5,-3e7],\"text\":\"{}\"}}", "x".repeat(fill))
    };
    let events: Vec<String> = (0..bytes / event_bytes).map(|n| event(1_000_000_000 + n)).collect();
    let (kind, text) = match array {
        true => ("application/json", format!("[{}]", events.join(","))),
        false => ("application/x-ndjson", events.join("\n")),
    };
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: t\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        text.len()
    );
    (head + &text).into_bytes()
}

fn run<S: Scanner>(scanner: S, body: &[u8], piece: usize) {
    let mut engine = engine(scanner);
    let conn = engine.open(Protocol::Http).expect("a free slot");
    // Warm once, count twice.
    for _ in 0..3 {
        let mut pieces: Vec<Vec<u8>> = body.chunks(piece).map(<[u8]>::to_vec).collect();
        let mut last = pieces.pop().expect("a body");
        engine.tick();
        for mut piece in pieces {
            engine.receive(conn, &mut piece);
            while engine.run() {}
        }
        let said = last_piece(&mut engine, conn, &mut last);
        assert!(said.starts_with(b"HTTP/1.1 202"), "{}", said.escape_ascii());
    }
    println!("{} bytes in pieces of {piece}, three times", body.len());
}

#[inline(never)]
fn last_piece<S: Scanner>(engine: &mut Bare<S>, conn: ConnId, last: &mut [u8]) -> Vec<u8> {
    engine.receive(conn, last);
    while engine.run() {}
    while engine.next_action().is_some() {}
    let (_, reply) = engine.next_send().expect("a reply");
    let said = reply.to_vec();
    engine.sent(conn, said.len());
    said
}

fn engine<S: Scanner>(scanner: S) -> Bare<S> {
    let config = Config {
        connections_max: 1,
        body_budget_bytes: 32 << 20,
        batch_arena_bytes: 9 << 20,
        refused_arena_bytes: 1 << 20,
        ack: Ack::Accepted,
        policy: Policy { bytes_max: 8 << 20, events_max: u32::MAX, linger_ns: 0 },
        lines_replies: false,
        ..config()
    };
    Engine::new(config, HandClock::default(), scanner, NullSink, |bytes| vec![0; bytes])
}
