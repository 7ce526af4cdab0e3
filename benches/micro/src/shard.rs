//! Stages that are a whole engine: bytes of one connection in, replies out, with a disk that is done at once.
use crate::{PER_BODY, Work, one_in_five_cut, post};
use ringmill_core::ack::Ack;
use ringmill_core::batch::policy::Policy;
use ringmill_core::engine::{Config, ConnId, Engine, IoStep, Protocol, Timeouts};
use ringmill_core::json::StrictScanner;
use ringmill_core::memory::Clock;
use ringmill_core::sink::{AnySink, Mail, Request, Resume, null::NullSink, segments::SegmentSink};
use std::{cell::Cell, rc::Rc};

/// Requests that a pipelining client sends at once.
const PIPELINE: usize = 16;
/// What the kernel hands over in one piece.
const PIECE_BYTES: usize = 16 << 10;
const SEGMENT_BYTES: u64 = 256 << 20;
/// Between two wakes; far less than any deadline.
const WAKE_NS: u64 = 10_000;

/// A clock that only moves when told to.
#[derive(Clone, Default)]
struct Hand(Rc<Cell<u64>>);

impl Clock for Hand {
    fn now_ns(&self) -> u64 {
        self.0.get()
    }
    fn wall_ms(&self) -> u64 {
        1_795_219_200_000
    }
}

struct Shard {
    clock: Hand,
    engine: Engine<Vec<u8>, Hand, StrictScanner, AnySink>,
    conn: ConnId,
    files: i32,
}

impl Shard {
    fn new(ack: Ack) -> Shard {
        let config = Config {
            shard: 0,
            connections_max: 1,
            body_budget_bytes: 16 << 20,
            batch_arena_bytes: 1 << 20,
            refused_arena_bytes: 64 << 10,
            ack,
            policy: Policy { bytes_max: 512 << 10, events_max: u32::MAX, linger_ns: 0 },
            lines_replies: false,
            shed_after_ns: 1_000_000_000,
            quarantine_first: (ack == Ack::Durable).then_some(1),
            timeouts: Timeouts::default(),
        };
        let sink = match ack {
            Ack::Accepted => AnySink::Null(NullSink),
            _ => AnySink::Segments(SegmentSink::new(0, &Resume::START)),
        };
        let clock = Hand::default();
        let mut engine =
            Engine::new(config, clock.clone(), StrictScanner::new(), sink, |bytes| vec![0; bytes]);
        let conn = engine.open(Protocol::Http).expect("a free slot");
        let mut shard = Shard { clock, engine, conn, files: 2 };
        shard.settle();
        shard
    }

    /// One wake that brought these pieces. Returns bytes of replies.
    fn wake<'a>(&mut self, pieces: impl Iterator<Item = &'a mut [u8]>) -> usize {
        self.clock.0.set(self.clock.0.get() + WAKE_NS);
        self.engine.tick();
        for piece in pieces {
            self.engine.receive(self.conn, piece);
        }
        self.settle()
    }

    /// Everything that follows, until nothing does.
    fn settle(&mut self) -> usize {
        let mut replied = 0;
        loop {
            let mut busy = self.engine.run();
            while let Some(request) = self.engine.next_request() {
                busy = true;
                self.prepare(request);
            }
            while let Some((slot, len, sync)) =
                self.engine.next_io().map(|io| (io.slot, io.bytes.len(), io.sync))
            {
                busy = true;
                self.engine.io_done(slot, IoStep::Write, Ok(len));
                if sync {
                    self.engine.io_done(slot, IoStep::Sync, Ok(0));
                }
            }
            while let Some((conn, len)) = self.engine.next_send().map(|(conn, bytes)| (conn, bytes.len())) {
                busy = true;
                replied += len;
                self.engine.sent(conn, len);
            }
            while self.engine.next_action().is_some() {}
            if !busy {
                return replied;
            }
        }
    }

    fn prepare(&mut self, request: Request) {
        if let Request::Prepare { kind, number } = request {
            self.files += 1;
            let (file, capacity) = (self.files, SEGMENT_BYTES);
            self.engine.mail(Mail::Ready { kind, file, number, id: number, capacity });
        }
    }

    fn replies(&mut self) -> u64 {
        self.engine.metrics().counters.requests.total()
    }
}

/// Feeds `bytes`, which hold `requests`, cut into pieces that end at `cuts`.
fn feed(ack: Ack, mut bytes: Vec<u8>, requests: usize, units: usize, cuts: Vec<usize>) -> Work {
    let mut shard = Shard::new(ack);
    let mut answered = 0;
    Box::new(move || {
        let mut rest = &mut bytes[..];
        let mut from = 0;
        // The kernel would have copied them in; nothing in them is changed, for no body is chunked.
        let pieces = cuts.iter().map(|to| {
            let (piece, after) = std::mem::take(&mut rest).split_at_mut(to - from);
            (rest, from) = (after, *to);
            piece
        });
        let replied = shard.wake(pieces);
        assert!(replied > 0);
        answered += requests as u64;
        assert_eq!(shard.replies(), answered, "every request is answered in its wake");
        units
    })
}

/// Ends of the pieces in which the kernel hands over so many bytes.
fn whole_buffers(len: usize) -> Vec<usize> {
    (PIECE_BYTES..len).step_by(PIECE_BYTES).chain([len]).collect()
}

fn pipelined(lines: &[&[u8]], ack: Ack, cut: bool) -> Work {
    let mut bytes = Vec::new();
    let mut cuts = Vec::new();
    for line in &lines[..PIPELINE] {
        let request = post(line);
        cuts.extend([bytes.len() + request.len() / 2, bytes.len() + request.len()]);
        bytes.extend(request);
    }
    let cuts = if cut { cuts } else { whole_buffers(bytes.len()) };
    feed(ack, bytes, PIPELINE, PIPELINE, cuts)
}

fn body(lines: &[&[u8]], ack: Ack) -> Work {
    let bytes = post(&lines.join(&b'\n'));
    let cuts = whole_buffers(bytes.len());
    feed(ack, bytes, 1, lines.len(), cuts)
}

/// Requests of one event, 16 at a time, null sink.
pub fn request(lines: &[&[u8]]) -> Work {
    pipelined(lines, Ack::Accepted, false)
}

/// The same, each request in two pieces, so that half of it must be kept.
pub fn request_cut(lines: &[&[u8]]) -> Work {
    pipelined(lines, Ack::Accepted, true)
}

/// The same as `request`, through a commit of the segment sink.
pub fn request_durable(lines: &[&[u8]]) -> Work {
    pipelined(lines, Ack::Durable, false)
}

/// One body of 100 events, which comes in several pieces, null sink.
pub fn batch(lines: &[&[u8]]) -> Work {
    body(&lines[..PER_BODY], Ack::Accepted)
}

/// The same through a commit of the segment sink.
pub fn batch_durable(lines: &[&[u8]]) -> Work {
    body(&lines[..PER_BODY], Ack::Durable)
}

/// The same with one event in five refused and kept in the quarantine.
pub fn batch_bad(lines: &[&[u8]]) -> Work {
    body(&one_in_five_cut(&lines[..PER_BODY]), Ack::Durable)
}
