//! Commits into parcels: every line in exactly one, in order, none too large, halves that add up.
use super::*;
use alloc::vec;

const ARENA_BYTES: usize = 1 << 20;

fn name(text: &str) -> StreamName {
    StreamName::new(text.as_bytes()).unwrap()
}

/// A batch of `events`, each of one stream.
fn batch(events: &[(&str, &str)], lead: &[u8]) -> Batch<Vec<u8>> {
    let mut batch = Batch::in_parts(vec![0; ARENA_BYTES]);
    for (stream, event) in events {
        batch.append_behind(lead, &name(stream), event.as_bytes(), false, 0).unwrap();
    }
    batch
}

/// What each parcel carries: its text, and the indices of its events.
fn content(packing: &Packing, batch: &Batch<Vec<u8>>) -> Vec<(alloc::string::String, Vec<u32>)> {
    let of = |parcel: &Parcel| {
        let pieces = packing.pieces(parcel);
        let text: Vec<u8> = pieces.iter().flat_map(|piece| batch.bytes(piece.bytes()).to_vec()).collect();
        let events: Vec<u32> =
            pieces.iter().flat_map(|piece| packing.events(piece, batch).map(|(event, _)| event)).collect();
        assert_eq!(text.len() as u64, parcel.bytes);
        assert_eq!(events.len(), parcel.events as usize);
        assert_eq!(events, pieces.iter().flat_map(Piece::range).collect::<Vec<_>>());
        (alloc::string::String::from_utf8(text).unwrap(), events)
    };
    packing.parcels.iter().map(of).collect()
}

#[test]
fn lines_go_into_parcels_as_large_as_may_be() {
    let events = [("a", "{\"n\":1}"), ("b", "{\"n\":2}"), ("a", "{\"n\":3}"), ("a", "{\"n\":4}")];
    let texts = ["{\"n\":1}\n", "{\"n\":2}\n", "{\"n\":3}\n", "{\"n\":4}\n"];
    for (max, by_stream, expected) in [
        (1000, false, vec![vec![0, 1, 2, 3]]),
        (1000, true, vec![vec![0, 2, 3], vec![1]]),
        (16, false, vec![vec![0, 1], vec![2, 3]]),
        (17, true, vec![vec![0], vec![2, 3], vec![1]]),
        (8, false, vec![vec![0], vec![1], vec![2], vec![3]]),
        // One event is never cut.
        (3, false, vec![vec![0], vec![1], vec![2], vec![3]]),
    ] {
        let batch = batch(&events, b"");
        let mut packing = Packing::new(ARENA_BYTES, max, by_stream, Preset::Plain);
        packing.pack(&batch);
        let expected: Vec<_> = expected
            .into_iter()
            .map(|events: Vec<u32>| (events.iter().map(|event| texts[*event as usize]).collect(), events))
            .collect();
        assert_eq!(content(&packing, &batch), expected, "{max} {by_stream}");
    }
}

#[test]
fn whatever_the_events_nothing_is_lost_or_doubled() {
    for seed in 0..300 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let preset = if chance.bool() { Preset::Plain } else { Preset::Elasticsearch };
        let lead: &[u8] = if preset.is_bulk() { b"{\"create\":{}}\n" } else { b"" };
        let streams = ["a", "b", "c"];
        let owned: Vec<_> = (0..chance.usize(1..200))
            .map(|n| {
                (
                    streams[chance.usize(0..3)],
                    alloc::format!("{{\"n\":{n},\"p\":\"{}\"}}", "x".repeat(chance.usize(0..300))),
                )
            })
            .collect();
        let events: Vec<_> = owned.iter().map(|(stream, event)| (*stream, event.as_str())).collect();
        let batch = batch(&events, lead);
        let (max, by_stream) = (chance.usize(10..4000), chance.bool());
        let mut packing = Packing::new(ARENA_BYTES, max, by_stream, preset);
        packing.pack(&batch);
        for _ in 0..chance.usize(0..100) {
            let at = chance.usize(0..packing.parcels.len());
            let before = packing.parcels[at];
            let Some(other) = packing.split(at, &batch) else { continue };
            let (left, right) = (packing.parcels[at], packing.parcels[other]);
            assert_eq!((left.events + right.events, left.bytes + right.bytes), (before.events, before.bytes));
            assert!(left.events.abs_diff(right.events) <= 1, "seed {seed}");
        }
        let mut seen = vec![0; events.len()];
        for (parcel, (text, indices)) in packing.parcels.iter().zip(content(&packing, &batch)) {
            assert!(parcel.events == 1 || parcel.bytes <= max as u64, "seed {seed}");
            let lines: alloc::string::String = indices
                .iter()
                .map(|at| {
                    alloc::format!("{}{}\n", core::str::from_utf8(lead).unwrap(), events[*at as usize].1)
                })
                .collect();
            assert_eq!(text, lines, "seed {seed}");
            assert!(indices.is_sorted(), "seed {seed}");
            for at in indices {
                seen[at as usize] += 1;
                assert!(!by_stream || name(events[at as usize].0) == parcel.stream, "seed {seed}");
            }
        }
        assert!(seen.iter().all(|count| *count == 1), "seed {seed}: {seen:?}");
    }
}

#[test]
fn cutting_ends_where_its_tables_do() {
    let owned: Vec<_> = (0..1000).map(|n| alloc::format!("{{\"n\":{n}}}")).collect();
    let events: Vec<_> = owned.iter().map(|event| ("a", event.as_str())).collect();
    let batch = batch(&events, b"");
    let mut packing = Packing::new(ARENA_BYTES, ARENA_BYTES, false, Preset::Plain);
    packing.pack(&batch);
    let (parcels, pieces) = (packing.parcels.capacity(), packing.pieces.capacity());
    let large = |packing: &Packing| packing.parcels.iter().position(|parcel| parcel.events > 1);
    let mut cuts = 0;
    while large(&packing).is_some_and(|at| packing.split(at, &batch).is_some()) {
        cuts += 1;
    }
    assert_eq!(cuts, SPLITS_MAX);
    assert_eq!((packing.parcels.capacity(), packing.pieces.capacity()), (parcels, pieces), "nothing grew");
    // The next commit has cuts of its own, and one event is never cut.
    packing.pack(&batch);
    assert!(packing.split(0, &batch).is_some());
    let one = self::batch(&[("a", "{}")], b"");
    packing.pack(&one);
    assert_eq!(packing.split(0, &one), None);
}
