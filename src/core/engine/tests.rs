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

#[test]
fn connections_that_send_nothing_for_long_do_not_count() {
    const S: u64 = 1_000_000_000;
    let clock = HandClock::default();
    let mut engine = engine(&clock, true);
    assert_eq!((engine.active(), engine.room()), (0, 1));
    let id = engine.open(Protocol::Lines).unwrap();
    assert_eq!((engine.active(), engine.room()), (1, 0), "it has just come");
    for (at_ns, active) in [(14 * S, 1), (16 * S, 0), (17 * S, 0)] {
        clock.0.set(at_ns);
        engine.tick();
        assert_eq!(engine.active(), active, "at {at_ns}");
    }
    engine.receive(id, &mut b"{}\n".to_vec());
    clock.0.set(18 * S);
    engine.tick();
    assert_eq!(engine.active(), 1, "it sent something");
    engine.fail(id);
    engine.released(id);
    assert_eq!((engine.active(), engine.room()), (0, 1));
    let id = engine.open(Protocol::Lines).unwrap();
    clock.0.set(40 * S);
    engine.tick();
    engine.fail(id);
    engine.released(id);
    assert_eq!((engine.active(), engine.room()), (0, 1), "counted down once");
    engine.drain();
    assert_eq!(engine.room(), 0);
    engine.refuse();
    assert_eq!(engine.metrics().counters.connections_refused, 1);
}

#[test]
fn a_schema_of_one_stream_leaves_no_body_to_its_end() {
    use crate::json::schema::{Field, Schema, Types};
    use crate::json::{FastScanner, Kernel};
    use crate::segment::header::StreamName;
    let scanner = FastScanner::new(Kernel::best());
    if scanner.kernel() == Kernel::Scalar {
        // It looks at nothing before all is here.
        return;
    }
    let config = Config { connections_max: 1, ..config() };
    let sink = SegmentSink::new(0, &Resume::START);
    let mut engine = Engine::new(config, HandClock::default(), scanner, sink, |n| vec![0; n]);
    engine.mail(Mail::Ready { kind: FileKind::Segment, file: 3, number: 1, id: 7, capacity: 4 << 20 });
    let field = Field { required: true, types: Types::named("integer").unwrap(), ..Field::at("/n") };
    let stream = StreamName::new(b"held");
    engine.set_schemas(&[Schema { stream, additional: true, fields: vec![field] }]).unwrap();
    let body = "{\"n\":1,\"t\":\"some text\"}\n{\"n\":\"1\"}\n{\"n\":}\n".repeat(400);
    let id = engine.open(Protocol::Http).unwrap();
    for (stream, accepted) in [("default", 800), ("held", 400)] {
        let head = format!(
            "POST /v1/events/{stream}?ack=accepted HTTP/1.1\r\nHost: t\r\nContent-Type: application/x-ndjson\r\n\
            Content-Length: {}\r\n\r\n",
            body.len()
        );
        let (front, rest) = body.split_at(body.len() - 100);
        engine.receive(id, &mut [head.as_bytes(), front.as_bytes()].concat());
        let through = engine.hub.aheads[0].through();
        assert!(through > front.len() - 512, "{stream}: {through} of {} judged before the end", front.len());
        engine.receive(id, &mut rest.as_bytes().to_vec());
        let said = String::from_utf8(
            core::iter::from_fn(|| {
                let (id, bytes) = engine.next_send().map(|(id, bytes)| (id, bytes.to_vec()))?;
                engine.sent(id, bytes.len());
                Some(bytes)
            })
            .flatten()
            .collect(),
        )
        .unwrap();
        assert!(
            said.contains(&format!("\"accepted\":{accepted},\"rejected\":{}", 1200 - accepted)),
            "{said}"
        );
    }
}
