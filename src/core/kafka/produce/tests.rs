use super::*;
use crate::kafka::arena::Slot;
use crate::kafka::varint;
use alloc::vec;
use alloc::vec::Vec;

const HEAD: ProduceHead =
    ProduceHead { version: 9, correlation: 1, client_id: "ringmill", timeout_ms: 30_000 };

fn batch(topic: TopicRef, partition: i32) -> ProduceBatch {
    ProduceBatch { topic, partition, slot: Slot(partition as u32), bytes: 100 }
}

#[test]
fn what_cannot_be_framed_is_refused() {
    let (a, b) = (TopicRef::Name(b"a"), TopicRef::Name(b"b"));
    let id = TopicRef::Id([7; 16]);
    let long = vec![b'n'; 250];
    let large = ProduceBatch { bytes: i32::MAX as u32, ..batch(a, 0) };
    let text = core::str::from_utf8(&long).unwrap();
    let cases = [
        (ProduceHead { version: 2, ..HEAD }, vec![batch(a, 0)], FrameError::Version),
        (ProduceHead { version: 14, ..HEAD }, vec![batch(a, 0)], FrameError::Version),
        (HEAD, vec![], FrameError::Batches),
        (HEAD, (0..22).map(|n| batch(a, n)).collect(), FrameError::Batches),
        (HEAD, vec![batch(id, 0)], FrameError::Name),
        (ProduceHead { version: 13, ..HEAD }, vec![batch(a, 0)], FrameError::Name),
        (HEAD, vec![batch(TopicRef::Name(&long), 0)], FrameError::Name),
        (ProduceHead { client_id: text, ..HEAD }, vec![batch(a, 0)], FrameError::Name),
        (HEAD, vec![batch(a, 0), batch(b, 0), batch(a, 1)], FrameError::Order),
        (HEAD, vec![batch(a, 0), batch(a, 1), batch(a, 0)], FrameError::Order),
        (HEAD, vec![large], FrameError::TooLong),
    ];
    let mut frame = ProduceFrame::new();
    for (head, batches, error) in cases {
        assert_eq!(frame.encode(&head, &batches), Err(error), "{error:?} of {} batches", batches.len());
    }
}

#[test]
fn the_largest_request_needs_no_more_memory_and_no_more_parts() {
    let mut frame = ProduceFrame::new();
    let reserved = (frame.framing().as_ptr(), frame.parts().as_ptr());
    let names: Vec<Vec<u8>> = (0..BATCHES_MAX as u8).map(|n| vec![b'a' + n; 249]).collect();
    let client = "c".repeat(249);
    let head = ProduceHead { client_id: &client, ..HEAD };
    for version in VERSION_MIN..=VERSION_MAX {
        let head = ProduceHead { version, ..head };
        let name = |n: usize| match version >= VERSION_TOPIC_IDS {
            true => TopicRef::Id([n as u8; 16]),
            false => TopicRef::Name(&names[n]),
        };
        let batches: Vec<_> = (0..BATCHES_MAX).map(|n| batch(name(n), n as i32)).collect();
        let total = frame.encode(&head, &batches).unwrap();
        assert_eq!(total, frame.framing().len() + 100 * BATCHES_MAX);
        // Up to v8 nothing stands behind the last batch.
        assert_eq!(frame.parts().len(), 3 * BATCHES_MAX + usize::from(version >= 9));
        assert!(frame.parts().len() <= 64);
        assert_eq!((frame.framing().as_ptr(), frame.parts().as_ptr()), reserved);
    }
}

/// Every value of an answer is touched; what comes of it does not matter.
fn walk(response: &ProduceResponse) -> usize {
    let mut seen = 0;
    for answer in response.partitions() {
        seen += 1 + answer.record_errors.clone().count() + answer.message.map_or(0, <[u8]>::len);
        seen += usize::from(answer.leader.is_some());
    }
    seen + response.endpoints().map(|node| node.host.len()).sum::<usize>()
}

fn answers() -> Vec<(i16, Vec<u8>)> {
    let golden = include_str!("../../../../tests/kafka/golden/golden.txt");
    let lines = golden.lines().filter_map(|line| line.strip_prefix("response ")?.split_once(" x"));
    let unhex = |hex: &str| {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    lines.map(|(version, hex)| (version.parse().unwrap(), unhex(hex))).collect()
}

#[test]
fn a_cut_or_prolonged_answer_is_no_answer() {
    for (version, bytes) in answers() {
        assert!(walk(&ProduceResponse::parse(&bytes, version).unwrap()) > 2);
        for len in 0..bytes.len() {
            let error = ProduceResponse::parse(&bytes[..len], version).unwrap_err();
            assert!(error.at <= len, "v{version} cut at {len}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(ProduceResponse::parse(&longer, version).unwrap_err().at, bytes.len());
        for other in [-1, 0, 2, 14, i16::MAX] {
            assert!(ProduceResponse::parse(&bytes, other).is_err());
        }
    }
}

#[test]
fn no_corruption_panics_or_shows_more_than_was_sent() {
    let mut random = fastrand::Rng::with_seed(41);
    for (version, bytes) in answers() {
        let mut parsed = 0;
        let mut attempt = |corrupt: &[u8], version: i16| {
            if let Ok(response) = ProduceResponse::parse(corrupt, version) {
                parsed += 1;
                assert!(walk(&response) <= corrupt.len(), "v{version}: more than its bytes");
            }
        };
        for at in 0..bytes.len() {
            let mut corrupt = bytes.clone();
            for value in 0..=255 {
                corrupt[at] = value;
                attempt(&corrupt, version);
            }
        }
        for _ in 0..5000 {
            let mut corrupt = bytes.clone();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(..corrupt.len());
                let values = [0, 1, 2, 0x7f, 0x80, 0xff, random.u8(..)];
                corrupt[at] = *random.choice(&values).unwrap();
            }
            corrupt.truncate(random.usize(..=corrupt.len()));
            attempt(&corrupt, version);
            // Or read as if it were of another version.
            attempt(&corrupt, random.i16(VERSION_MIN..=VERSION_MAX));
        }
        assert!(parsed > bytes.len(), "flipped offsets and codes still read: {parsed}");
    }
}

#[test]
fn claimed_counts_cost_no_more_than_bytes() {
    // 2^31-1 topics, or partitions of one, or refused records of that, and nothing behind.
    let topics = [&[0, 0, 0, 1][..], &[0x7f, 0xff, 0xff, 0xff]].concat();
    assert!(ProduceResponse::parse(&topics, 8).is_err());
    let negative = [&[0, 0, 0, 1][..], &[0xff; 4], &[0; 4]].concat();
    assert!(ProduceResponse::parse(&negative, 8).is_err());
    let mut count = [0; varint::LONG_BYTES_MAX];
    for n in [u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX] {
        let len = varint::put_unsigned(&mut count, n);
        let flexible = [&[0, 0, 0, 1, 0][..], &count[..len], &[0; 64]].concat();
        assert!(ProduceResponse::parse(&flexible, 12).is_err());
        assert!(ProduceResponse::parse(&flexible, 13).is_err());
    }
    // A null array is not what a broker sends.
    assert!(ProduceResponse::parse(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], 12).is_err());
    // No topics at all are readable, and are nobody's acknowledgement.
    let empty = ProduceResponse::parse(&[0, 0, 0, 1, 0, 1, 0, 0, 0, 9, 0], 12).unwrap();
    assert_eq!((empty.partitions().count(), empty.throttle_ms()), (0, 9));
}

#[test]
fn unknown_tagged_fields_are_passed_over() {
    for (version, bytes) in answers().into_iter().filter(|(version, _)| *version >= 9) {
        // The last bytes are the answer's tags: none in v9, brokers in tag 0 after it. A header with a tag of its
        // own reads the same.
        let tagged = [&bytes[..4], &[1, 0x80, 0x40, 3, b'n', b'e', b'w'], &bytes[5..]].concat();
        let (plain, tagged) = (
            ProduceResponse::parse(&bytes, version).unwrap(),
            ProduceResponse::parse(&tagged, version).unwrap(),
        );
        assert_eq!(walk(&plain), walk(&tagged));
    }
}
