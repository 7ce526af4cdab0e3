use super::*;
use crate::json::StrictScanner;
use crate::sink::{Resume, segments::SegmentSink};
use crate::testing::clock::HandClock;
use crate::testing::engine::config;
use alloc::{format, string::String, vec, vec::Vec};

type Tried = Engine<Vec<u8>, HandClock, StrictScanner, SegmentSink>;

/// A shard with a ready segment, and a ready quarantine if asked for.
fn engine(clock: &HandClock, quarantine: bool) -> Tried {
    let config = Config {
        connections_max: 1,
        body_budget_bytes: 1 << 20,
        refused_arena_bytes: 1 << 20,
        policy: Policy { bytes_max: 512 << 10, events_max: 1000, linger_ns: 0 },
        quarantine_first: quarantine.then_some(1),
        ..config()
    };
    let sink = SegmentSink::new(0, &Resume::START);
    let mut engine = Engine::new(config, clock.clone(), StrictScanner::default(), sink, |n| vec![0; n]);
    for kind in [FileKind::Segment, FileKind::Quarantine] {
        engine.mail(Mail::Ready { kind, file: 3, number: 1, id: 7, capacity: 4 << 20 });
    }
    engine
}

/// Carries out every commit that is due.
fn commit(engine: &mut Tried) {
    while let Some((slot, len)) = engine.next_io().map(|io| (io.slot, io.bytes.len())) {
        engine.io_done(slot, IoStep::Write, Ok(len));
        engine.io_done(slot, IoStep::Sync, Ok(0));
    }
}

/// Everything that would be sent now.
fn sent(engine: &mut Tried) -> String {
    let mut all = Vec::new();
    while let Some((id, bytes)) = engine.next_send() {
        let n = bytes.len();
        all.extend_from_slice(bytes);
        engine.sent(id, n);
    }
    String::from_utf8(all).unwrap()
}

#[test]
fn refused_lines_that_wait_for_no_commit_share_the_reply_that_does() {
    // Without a quarantine, or with a full one, refused lines have no commit. A reply of its own for each run
    // of them would promise more room than an outbox has.
    let mut engine = engine(&HandClock::default(), false);
    let id = engine.open(Protocol::Lines).unwrap();
    engine.receive(id, &mut b"{}\n".to_vec());
    for _ in 0..3 {
        engine.receive(id, &mut b"x\n".repeat(ERRORS_MAX));
    }
    let conn = &engine.conns[0];
    assert_eq!(conn.pending.len(), 1);
    assert!(conn.reserved <= OUTBOX_BYTES, "{} bytes promised", conn.reserved);
    commit(&mut engine);
    let reply = sent(&mut engine);
    assert!(reply.starts_with("{\"ack\":\"durable\",\"through\":301,\"rejected\":[{\"line\":2,"), "{reply}");
    assert_eq!(reply.matches("{\"line\":").count(), ERRORS_MAX, "{reply}");
    assert_eq!(engine.hub.errors_free.len(), ERROR_LISTS, "every list is given back");
}

#[test]
fn a_line_that_grows_too_large_is_listed_and_its_start_kept() {
    let mut engine = engine(&HandClock::default(), true);
    let id = engine.open(Protocol::Lines).unwrap();
    engine.receive(id, &mut b"{\"a\":1}\n{\"large\":\"".to_vec());
    for _ in 0..30 {
        engine.receive(id, &mut vec![b'x'; 16 << 10]);
    }
    engine.receive(id, &mut b"\"}\n{\"a\":2}\nx\n".to_vec());
    commit(&mut engine);
    let reply = sent(&mut engine);
    let last = reply.lines().last().unwrap();
    assert!(last.starts_with("{\"ack\":\"durable\",\"through\":4,"), "{reply}");
    for line in [2, 4] {
        assert_eq!(reply.matches(&format!("{{\"line\":{line},")).count(), 1, "{reply}");
    }
    assert!(reply.contains(crate::json::Reason::TOO_LARGE.as_str()), "{reply}");
    let counters = &engine.metrics().counters;
    assert_eq!((counters.events_received, counters.events_stored), (4, 2));
    assert_eq!((counters.events_quarantined, counters.lines_received), (2, 4));
}

#[test]
fn white_space_before_a_line_is_not_counted_against_it() {
    let mut engine = engine(&HandClock::default(), true);
    let id = engine.open(Protocol::Lines).unwrap();
    for _ in 0..30 {
        engine.receive(id, &mut vec![b' '; 16 << 10]);
    }
    engine.receive(id, &mut b"{\"a\":1}\n".to_vec());
    commit(&mut engine);
    assert_eq!(sent(&mut engine), "{\"ack\":\"durable\",\"through\":1,\"rejected\":[]}\n");
}

#[test]
fn a_body_below_the_floor_is_given_up() {
    let clock = HandClock::default();
    let mut engine = engine(&clock, true);
    let id = engine.open(Protocol::Http).unwrap();
    let head = b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n";
    engine.receive(id, &mut head.to_vec());
    for second in 1..=40 {
        clock.0.set(second * 1_000_000_000);
        engine.tick();
        let reply = sent(&mut engine);
        if !reply.is_empty() {
            assert!(second > 30, "given up after {second} s");
            assert!(reply.starts_with("HTTP/1.1 408 "), "{reply}");
            assert!(reply.contains("body_floor_bytes_per_s"), "the floor is a setting: {reply}");
            return;
        }
        engine.receive(id, &mut vec![b' '; 1000]);
    }
    panic!("1,000 bytes a second are above 1 KiB a second");
}
