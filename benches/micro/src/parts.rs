//! Stages that are one part of the core each.
use crate::{PER_BODY, Work, one_in_five_cut, post};
use ringmill_core::ack::Ack;
use ringmill_core::batch::{Batch, Seal};
use ringmill_core::engine::outbox::{OUTBOX_BYTES, Outbox};
use ringmill_core::json::{Format, Reason, Scanner, SimdScanner, StrictScanner, Verdict};
use ringmill_core::reply::{Composer, ErrorRecord, Manner, Outcome, ReceiptText};
use ringmill_core::segment::header::{Hash, StreamName};
use ringmill_core::wire::http1::{Decoded, Decoder};
use std::hint::black_box;

/// Requests or replies of a run in the stages without bodies.
const IN_A_ROW: usize = 64;
const ARENA_BYTES: usize = 1 << 20;

/// Finds requests of one event each in what a pipelining client sent.
pub fn frame(lines: &[&[u8]]) -> Work {
    let mut bytes: Vec<u8> = lines[..IN_A_ROW].iter().flat_map(|line| post(line)).collect();
    let mut decoder = Decoder::new();
    Box::new(move || {
        let (mut at, mut found) = (0, 0);
        while let Decoded::Request(request) = decoder.decode(&mut bytes[at..]) {
            at += black_box(request).consumed;
            found += 1;
        }
        assert_eq!((at, found), (bytes.len(), IN_A_ROW));
        found
    })
}

fn scan(mut scanner: impl Scanner + 'static, body: Vec<u8>, format: Format, good: usize) -> Work {
    Box::new(move || {
        let (mut events, mut vouched) = (0, 0);
        scanner.scan(&body, format, |verdict| {
            events += 1;
            vouched += usize::from(matches!(black_box(verdict), Verdict::Good { .. }));
        });
        assert_eq!(vouched, good);
        events
    })
}

/// The exact scanner over lines.
pub fn parse(lines: &[&[u8]]) -> Work {
    scan(StrictScanner::new(), lines[..PER_BODY].join(&b'\n'), Format::Lines, PER_BODY)
}

/// The exact scanner over an array.
pub fn parse_array(lines: &[&[u8]]) -> Work {
    let body = [&b"["[..], &lines[..PER_BODY].join(&b','), b"]"].concat();
    scan(StrictScanner::new(), body, Format::Json, PER_BODY)
}

/// simd-json over lines.
pub fn parse_simd(lines: &[&[u8]]) -> Work {
    scan(SimdScanner::new(), lines[..PER_BODY].join(&b'\n'), Format::Lines, PER_BODY)
}

/// The exact scanner where one line in five is refused.
pub fn parse_bad(lines: &[&[u8]]) -> Work {
    let body = one_in_five_cut(&lines[..PER_BODY]).join(&b'\n');
    scan(StrictScanner::new(), body, Format::Lines, PER_BODY - PER_BODY / 5)
}

fn filled(lines: &[&[u8]]) -> Batch<Vec<u8>> {
    let mut batch = Batch::new(vec![0; ARENA_BYTES]);
    for line in &lines[..PER_BODY] {
        batch.append(&StreamName::DEFAULT, line, false, 1).expect("the arena is large enough");
    }
    batch
}

/// The one copy of an event, a batch of them.
pub fn append(lines: &[&[u8]]) -> Work {
    let events: Vec<Vec<u8>> = lines[..PER_BODY].iter().map(|line| line.to_vec()).collect();
    let mut batch = filled(lines);
    Box::new(move || {
        batch.clear();
        for event in &events {
            batch
                .append(&StreamName::DEFAULT, black_box(event), false, 1)
                .expect("the arena is large enough");
        }
        batch.events() as usize
    })
}

/// Checksum, header, hash and padding of a batch.
pub fn seal(lines: &[&[u8]]) -> Work {
    let mut batch = filled(lines);
    let mut prev = Hash::ZERO;
    Box::new(move || {
        let seal = Seal { shard: 0, seq: 1041, commit: 17, time_ms: 1_795_219_200_000, file: 42, prev };
        let (hash, len) = batch.seal(black_box(&seal));
        assert!(len > batch.len());
        prev = hash;
        1
    })
}

fn replies(outcome: impl Fn(&mut Composer, &mut Outbox<Vec<u8>>, u32) -> u16 + 'static, status: u16) -> Work {
    let mut composer = Composer::new();
    composer.set_time(1_795_219_200_000);
    let mut outbox = Outbox::new(vec![0; OUTBOX_BYTES]);
    Box::new(move || {
        for n in 0..IN_A_ROW {
            // Two in turn, so that no reply is the one before over again.
            assert_eq!(outcome(&mut composer, &mut outbox, 1 + n as u32 % 2), status);
            let sent = black_box(outbox.start_send()).len();
            outbox.sent(sent);
            let rest = outbox.len();
            outbox.sent(rest);
        }
        IN_A_ROW
    })
}

/// The reply to durable events, with its receipt.
pub fn reply(_: &[&[u8]]) -> Work {
    let receipt = |last| ReceiptText { shard: 0, first: 1041, last, segment: 3, hash: Hash([0xa5; 32]) };
    let outcome = move |composer: &mut Composer, outbox: &mut Outbox<Vec<u8>>, accepted: u32| {
        let receipt = Some(receipt(1041 + u64::from(accepted)));
        let outcome =
            Outcome { ack: Ack::Durable, accepted, rejected: 0, errors: &[], receipt, all_or_nothing: false };
        composer.outcome(outbox, black_box(&outcome), Manner::default())
    };
    replies(outcome, 200)
}

/// The reply that lists three refused events.
pub fn reply_refused(_: &[&[u8]]) -> Work {
    let errors =
        [1, 2, 3].map(|index| ErrorRecord { index, offset: 400 * index, reason: Reason::EXPECTED_VALUE });
    let outcome = move |composer: &mut Composer, outbox: &mut Outbox<Vec<u8>>, accepted: u32| {
        let outcome = Outcome {
            ack: Ack::Accepted,
            accepted,
            rejected: errors.len() as u32,
            errors: &errors,
            receipt: None,
            all_or_nothing: false,
        };
        composer.outcome(outbox, black_box(&outcome), Manner::default())
    };
    replies(outcome, 207)
}
