//! Planted reasons on a clock turned by hand: each slow request names the one that was planted.
use crate::batch::policy::Policy;
use crate::engine::{Config, ConnId, Engine, IoStep, Protocol, Timeouts};
use crate::json::StrictScanner;
use crate::metrics::cause::{Cause, Spell, Stall};
use crate::metrics::{SlowRequest, Stage};
use crate::sink::{FileKind, Mail, Resume, segments::SegmentSink};
use crate::testing::clock::HandClock;
use crate::testing::engine::config;
use alloc::{format, string::String, vec, vec::Vec};
use core::net::SocketAddr;

const MS: u64 = 1_000_000;

struct Bench {
    clock: HandClock,
    engine: Engine<Vec<u8>, HandClock, StrictScanner, SegmentSink>,
}

impl Bench {
    fn new() -> Bench {
        let clock = HandClock::default();
        clock.0.set(1_000 * MS);
        let config = Config {
            shard: 3,
            body_budget_bytes: 32 << 20,
            batch_arena_bytes: 9 << 20,
            policy: Policy { bytes_max: 256 << 10, events_max: u32::MAX, linger_ns: 0 },
            lines_replies: false,
            shed_after_ns: 5_000 * MS,
            timeouts: Timeouts { reply_ns: 2_000 * MS, ..Timeouts::default() },
            ..config()
        };
        let sink = SegmentSink::new(0, &Resume::START);
        let mut engine = Engine::new(config, clock.clone(), StrictScanner::default(), sink, |n| vec![0; n]);
        engine.mail(Mail::Ready { kind: FileKind::Segment, file: 3, number: 1, id: 7, capacity: 1 << 30 });
        Bench { clock, engine }
    }

    fn open(&mut self) -> ConnId {
        self.engine.open(Protocol::Http).unwrap()
    }

    /// The thread sleeps for so long, then wakes.
    fn wake_after(&mut self, ms: u64) {
        self.clock.0.set(self.clock.0.get() + ms * MS);
        self.engine.tick();
    }

    fn receive(&mut self, id: ConnId, bytes: &str) {
        self.engine.receive(id, &mut String::from(bytes).into_bytes());
        self.engine.run();
    }

    /// Begins what is to be written; whether there was something.
    fn begin_commit(&mut self) -> Option<usize> {
        self.engine.next_io().map(|io| io.bytes.len())
    }

    fn end_commit(&mut self, len: usize) {
        self.engine.io_done(0, IoStep::Write, Ok(len));
        self.engine.io_done(0, IoStep::Sync, Ok(0));
        self.engine.run();
    }

    fn commit(&mut self) {
        let len = self.begin_commit().expect("something to write");
        self.end_commit(len);
    }

    /// The kernel takes every reply, and the addresses that are wanted are told.
    fn take_replies(&mut self) {
        while let Some((id, len)) = self.engine.next_send().map(|(id, bytes)| (id, bytes.len())) {
            self.engine.sent(id, len);
        }
        while let Some(id) = self.engine.next_unnamed() {
            self.engine.name(id, peer(id));
        }
        while self.engine.next_action().is_some() {}
    }

    fn slowest(&mut self) -> Vec<SlowRequest> {
        self.engine.metrics().slowest.worst_first()
    }
}

fn peer(id: ConnId) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 40_000 + id as u16))
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn small() -> String {
    post("/v1/events", "{}")
}

fn large(bytes: usize) -> String {
    let event = format!("{{\"a\":\"{}\"}}\n", "x".repeat(1_000));
    post("/v1/events/big", &event.repeat(bytes / event.len()))
}

/// The one slow request, with where its time went in milliseconds by stage.
fn the_slow(bench: &mut Bench) -> (SlowRequest, Vec<(&'static str, u64)>) {
    let worst = bench.slowest()[0];
    let stages = crate::metrics::STAGES.into_iter().zip(worst.stages_ns);
    (worst, stages.map(|(stage, ns)| (stage.as_str(), ns / MS)).filter(|(_, ms)| *ms > 0).collect())
}

#[test]
fn a_peer_that_sends_slowly() {
    for cut in [10, 60] {
        let mut bench = Bench::new();
        let id = bench.open();
        let whole = post("/v1/events/slow.stream", "{\"a\":1}");
        bench.wake_after(5);
        bench.receive(id, &whole[..cut]);
        bench.wake_after(300);
        bench.receive(id, &whole[cut..]);
        bench.commit();
        bench.take_replies();
        let (slow, stages) = the_slow(&mut bench);
        assert_eq!((slow.cause, stages), (Cause::SlowBody, vec![("read", 300)]), "cut at {cut}");
        assert_eq!((slow.total_ns, slow.status, slow.events, slow.bytes), (300 * MS, 200, 1, 7));
        assert_eq!(slow.stream.unwrap().as_str(), "slow.stream");
        assert_eq!((slow.peer, slow.shard), (Some(peer(id)), 3));
    }
}

#[test]
fn a_peer_that_takes_its_reply_slowly_or_never() {
    let mut bench = Bench::new();
    let id = bench.open();
    bench.wake_after(5);
    bench.receive(id, &small());
    bench.commit();
    let len = bench.engine.next_send().unwrap().1.len();
    bench.wake_after(200);
    bench.engine.sent(id, len / 2);
    let rest = bench.engine.next_send().unwrap().1.len();
    bench.wake_after(100);
    bench.engine.sent(id, rest);
    let (slow, stages) = the_slow(&mut bench);
    assert_eq!((slow.cause, stages, slow.total_ns), (Cause::SlowReader, vec![("reply", 300)], 300 * MS));

    bench.wake_after(5);
    bench.receive(id, &small());
    bench.commit();
    assert!(bench.engine.next_send().is_some());
    bench.wake_after(2_500);
    let (slow, _) = the_slow(&mut bench);
    assert_eq!((slow.cause, slow.total_ns), (Cause::SlowReader, 2_500 * MS), "closed for being too slow");
}

#[test]
fn a_commit_that_lasts_and_one_that_waits_behind_it() {
    let mut bench = Bench::new();
    let (first, second) = (bench.open(), bench.open());
    bench.wake_after(5);
    bench.receive(first, &small());
    let len = bench.begin_commit().unwrap();
    bench.wake_after(1);
    bench.receive(second, &small());
    bench.wake_after(50);
    bench.end_commit(len);
    bench.commit();
    bench.take_replies();
    let worst = bench.slowest();
    let of = |worst: &SlowRequest, stage: Stage| worst.stages_ns[stage as usize] / MS;
    assert_eq!((worst[0].cause, of(&worst[0], Stage::Sink), worst[0].conn.0), (Cause::Commit, 51, first));
    assert_eq!(
        (worst[1].cause, of(&worst[1], Stage::SealWait), worst[1].conn.0),
        (Cause::CommitBefore, 50, second)
    );
}

#[test]
fn a_request_that_finds_no_room() {
    let mut bench = Bench::new();
    let (first, second, third) = (bench.open(), bench.open(), bench.open());
    bench.wake_after(5);
    bench.receive(first, &small());
    let len = bench.begin_commit().unwrap();
    // Fills the open batch, so that the next one waits outside of it.
    bench.receive(second, &large(256 << 10));
    bench.receive(third, &post("/v1/events", &"{\"a\":\"bbbbbbbb\"}\n".repeat(5_000)));
    bench.wake_after(80);
    bench.end_commit(len);
    bench.commit();
    bench.engine.run();
    bench.commit();
    bench.take_replies();
    let slow = bench.slowest().into_iter().find(|slow| slow.conn.0 == third).expect("it was slow");
    assert_eq!((slow.cause, slow.room_ns / MS), (Cause::NoRoom, 80));
}

#[test]
fn a_stall_of_the_core() {
    for stall in [Stall::Preempted, Stall::Throttled, Stall::Stolen, Stall::PageFault] {
        let mut bench = Bench::new();
        let id = bench.open();
        bench.wake_after(5);
        bench.receive(id, &small());
        bench.commit();
        // In the same turn, before the reply was handed over.
        let from_ns = bench.clock.0.get();
        bench.clock.0.set(from_ns + 40 * MS);
        let len = bench.engine.next_send().unwrap().1.len();
        let spell = Spell { from_ns, to_ns: from_ns + 40 * MS, ..Spell::default() };
        bench.engine.note_spell(Spell { stall: Some((stall, 39 * MS)), worked_ns: MS, ..spell });
        bench.engine.tick();
        bench.engine.sent(id, len);
        let (slow, _) = the_slow(&mut bench);
        assert_eq!(
            (slow.cause, slow.total_ns, slow.around.stalled_ns),
            (Cause::Stall(stall), 40 * MS, 39 * MS)
        );
    }
}

#[test]
fn a_turn_that_its_bytes_do_not_explain_is_a_stall_too() {
    let mut bench = Bench::new();
    let (first, id) = (bench.open(), bench.open());
    bench.wake_after(5);
    bench.receive(first, &small());
    bench.commit();
    bench.take_replies();
    let from_ns = bench.clock.0.get();
    bench.clock.0.set(from_ns + 30 * MS);
    bench.engine.note_spell(Spell {
        from_ns,
        to_ns: from_ns + 30 * MS,
        worked_ns: 30 * MS,
        ..Spell::default()
    });
    bench.engine.tick();
    bench.receive(id, &small());
    bench.commit();
    bench.take_replies();
    let (slow, _) = the_slow(&mut bench);
    assert_eq!((slow.cause, slow.unseen_ns), (Cause::Stall(Stall::Unknown), 30 * MS));
    assert_eq!((slow.total_ns, slow.conn.0), (0, id), "of its own it took no time");
}

/// One connection sends 8 MB, another a small request meanwhile.
#[test]
fn a_long_neighbour() {
    let mut bench = Bench::new();
    let (big, id) = (bench.open(), bench.open());
    bench.wake_after(5);
    let from_ns = bench.clock.0.get();
    let whole = large(8 << 20);
    for piece in 0..whole.len().div_ceil(64 << 10) {
        let end = whole.len().min((piece + 1) << 16);
        bench.engine.receive(big, &mut whole.as_bytes()[piece << 16..end].to_vec());
    }
    bench.clock.0.set(from_ns + 9 * MS);
    bench.engine.note_spell(Spell {
        from_ns,
        to_ns: from_ns + 9 * MS,
        worked_ns: 9 * MS,
        ..Spell::default()
    });
    bench.engine.tick();
    bench.receive(id, &small());
    bench.commit();
    bench.commit();
    bench.take_replies();
    let worst = bench.slowest();
    let of = |id| worst.iter().find(|slow| slow.conn.0 == id).expect("both are there");
    let neighbour = of(id);
    assert_eq!((neighbour.cause, neighbour.unseen_ns), (Cause::Neighbour, 9 * MS));
    assert!(neighbour.around.neighbour_bytes > 8_000_000, "{neighbour:?}");
    assert_eq!(of(big).around.neighbour_ns, 0, "it is nobody's neighbour but the other's");
    assert_eq!(of(big).stream.unwrap().as_str(), "big");
}

#[test]
fn what_came_after_a_sleep_was_seen_at_once() {
    let mut bench = Bench::new();
    let id = bench.open();
    let from_ns = bench.clock.0.get();
    bench.engine.note_spell(Spell {
        from_ns,
        to_ns: from_ns + 9 * MS,
        worked_ns: 9 * MS,
        ..Spell::default()
    });
    bench.wake_after(9 + 100);
    bench.receive(id, &small());
    bench.wake_after(1);
    bench.commit();
    bench.take_replies();
    let (slow, _) = the_slow(&mut bench);
    assert_eq!((slow.unseen_ns, slow.total_ns, slow.cause), (0, MS, Cause::CommitBefore));
}

#[test]
fn refused_requests_and_pipelined_ones_have_their_own_times() {
    let mut bench = Bench::new();
    let id = bench.open();
    bench.wake_after(5);
    // Three at once; the names of the first two are forgotten but for the last one's.
    let three = [post("/v1/events/a", "{}"), post("/v1/events/b", "{}"), small()].concat();
    bench.receive(id, &three);
    bench.wake_after(20);
    bench.commit();
    bench.take_replies();
    let worst = bench.slowest();
    assert_eq!(
        (worst.len(), worst[0].total_ns, worst[0].stream),
        (1, 20 * MS, None),
        "the first is followed"
    );
    // Half a head, then nothing: told 408 and closed.
    bench.receive(id, "POST /v1/ev");
    bench.wake_after(6_000);
    bench.take_replies();
    let (slow, stages) = the_slow(&mut bench);
    assert_eq!((slow.status, slow.cause, stages), (408, Cause::SlowBody, vec![("read", 6_000)]));
}

#[test]
fn a_slot_that_is_used_again_does_not_name_its_predecessor() {
    let mut bench = Bench::new();
    let id = bench.open();
    bench.wake_after(5);
    bench.receive(id, &small());
    bench.wake_after(7);
    bench.commit();
    let len = bench.engine.next_send().unwrap().1.len();
    bench.engine.sent(id, len);
    assert_eq!(bench.engine.next_unnamed(), Some(id));
    bench.engine.fail(id);
    bench.engine.released(id);
    assert_eq!(bench.open(), id);
    bench.engine.name(id, peer(id));
    assert_eq!(bench.slowest()[0].peer, None);
}
