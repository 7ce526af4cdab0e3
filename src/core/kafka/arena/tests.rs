use super::*;
use crate::kafka::batch::Stamp;
use crate::kafka::compress::{Codec, Compress, Lz4};
use crate::kafka::decode::{self, Event};
use proptest::prelude::*;
use std::format;

type Arena = RecordArena<Vec<u8>>;

const LIMITS: ArenaLimits =
    ArenaLimits { partitions: 64, batches: 8, splits: 16, runs: 64, batch_bytes: BATCH_BYTES_MAX };
const STAMP: Stamp = Stamp { producer_id: 4000, epoch: 2, sequence: 77 };

fn arena(bytes: usize, limits: ArenaLimits) -> Arena {
    RecordArena::new(vec![0xee; bytes], vec![0xee; bytes], limits)
}

fn put(arena: &mut Arena, partition: u32, value: &str) -> Result<(), Full> {
    arena.append(partition, None, &[], 1000 + i64::from(arena.events()), value.as_bytes(), false)
}

fn sent(arena: &Arena, slot: Slot) -> Vec<u8> {
    let (header, records) = arena.batch_bytes(slot);
    assert_eq!(header.len() + records.len(), arena.batch(slot).bytes as usize);
    [header, records].concat()
}

/// Stamps and reads all batches: per batch its partition, and its values.
fn read(arena: &mut Arena) -> Vec<(u32, Vec<std::string::String>)> {
    let batches: Vec<SealedBatch> = arena.batches().collect();
    let mut read = Vec::new();
    for batch in batches {
        arena.stamp(batch.slot, STAMP);
        let events = decode::batch(&sent(arena, batch.slot)).events;
        let text = |event: &Event| std::string::String::from_utf8(event.value.clone()).unwrap();
        read.push((batch.partition, events.iter().map(text).collect()));
    }
    read
}

#[test]
fn events_of_one_partition_are_sent_from_where_they_were_written() {
    let mut arena = arena(4096, LIMITS);
    (0..5).for_each(|n| put(&mut arena, 9, &format!("{n}")).unwrap());
    (5..7).for_each(|n| put(&mut arena, 2, &format!("{n}")).unwrap());
    arena.seal(None);
    let values = |range: std::ops::Range<u32>| range.map(|n| format!("{n}")).collect::<Vec<_>>();
    assert_eq!(read(&mut arena), [(9, values(0..5)), (2, values(5..7))]);
    assert!(arena.second.iter().all(|byte| *byte == 0xee), "the second block is untouched");
    let at = |slot| arena.batch_bytes(slot).1.as_ptr() as usize - arena.first.as_ptr() as usize;
    assert_eq!((at(Slot(0)), at(Slot(1))), (0, arena.batch_bytes(Slot(0)).1.len()));
}

#[test]
fn events_of_partitions_that_take_turns_are_gathered() {
    let mut arena = arena(4096, LIMITS);
    for n in 0..9 {
        put(&mut arena, [5, 5, 6][n % 3], &format!("{n}")).unwrap();
    }
    arena.seal(None);
    assert_eq!(
        read(&mut arena),
        [
            (5, ["0", "1", "3", "4", "6", "7"].map(Into::into).to_vec()),
            (6, ["2", "5", "8"].map(Into::into).to_vec())
        ]
    );
    let located: Vec<_> = (0..7).map(|record| arena.locate(Slot(0), record)).collect();
    assert_eq!(located, [Some(0), Some(1), Some(3), Some(4), Some(6), Some(7), None]);
    assert_eq!((arena.locate(Slot(1), 1), arena.locate(Slot(1), u32::MAX)), (Some(5), None));
    assert_eq!(arena.batches().map(|batch| batch.first_event).collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn a_request_is_undone_without_a_trace() {
    let mut arena = arena(4096, LIMITS);
    put(&mut arena, 1, "kept").unwrap();
    let before = (arena.len(), arena.newest_bytes(1));
    let mark = arena.mark();
    for partition in [1, 2, 1, 3] {
        arena.append(partition, None, &[], i64::MAX, b"undone", false).unwrap();
    }
    arena.rollback(mark);
    assert_eq!((arena.len(), arena.newest_bytes(1)), before);
    assert_eq!((arena.events(), arena.newest_bytes(2), arena.newest_bytes(3)), (1, 0, 0));
    put(&mut arena, 3, "other").unwrap();
    put(&mut arena, 1, "more").unwrap();
    arena.seal(None);
    assert_eq!(
        read(&mut arena),
        [(1, ["kept", "more"].map(Into::into).to_vec()), (3, ["other"].map(Into::into).to_vec())]
    );
    arena.clear();
    assert_eq!((arena.is_empty(), arena.batches().len(), arena.newest_bytes(1)), (true, 0, 0));
    let mark = arena.mark();
    put(&mut arena, 1, "gone").unwrap();
    arena.rollback(mark);
    assert_eq!((arena.is_empty(), arena.newest_bytes(1)), (true, 0));
}

#[test]
fn line_breaks_become_spaces_only_in_the_value() {
    let mut arena = arena(4096, LIMITS);
    let headers = [(&b"a\nb"[..], &b"\r\n"[..])];
    arena.append(0, Some(b"k\n"), &headers, 5, b"{\r\n\"a\":\n1}\n", true).unwrap();
    arena.append(0, None, &[], 5, b"\n", true).unwrap();
    arena.append(0, None, &[], 5, b"{\n}", false).unwrap();
    arena.seal(None);
    arena.stamp(Slot(0), STAMP);
    let events = decode::batch(&sent(&arena, Slot(0))).events;
    assert_eq!((&events[0].value[..], events[0].key.as_deref()), (&b"{  \"a\": 1} "[..], Some(&b"k\n"[..])));
    assert_eq!(events[0].headers, [(b"a\nb".to_vec(), b"\r\n".to_vec())]);
    assert_eq!((&events[1].value[..], &events[2].value[..]), (&b" "[..], &b"{\n}"[..]));
}

#[test]
fn each_bound_refuses_and_leaves_no_trace() {
    // (limits, bytes of the arena, events that fit as (partition, length of value), the one that does not)
    let small = ArenaLimits { batches: 2, runs: 3, batch_bytes: BATCH_BYTES_MIN, ..LIMITS };
    type Case = (usize, &'static [(u32, usize)], (u32, usize));
    let cases: [Case; 6] = [
        (64, &[(0, 20), (0, 20)], (0, 20)),
        (64, &[], (0, 64)),
        (1 << 20, &[(0, 900), (0, 900)], (0, 60)),
        (1 << 20, &[], (0, BATCH_BYTES_MIN - HEADER_BYTES - 8)),
        (1 << 20, &[(0, 1), (1, 1)], (2, 1)),
        (1 << 20, &[(0, 1), (1, 1), (0, 1)], (1, 1)),
    ];
    for (bytes, fits, last) in cases {
        let mut arena = arena(bytes, small);
        for (partition, len) in fits {
            put(&mut arena, *partition, &"v".repeat(*len)).unwrap();
        }
        let state = |arena: &Arena| {
            let partitions: Vec<usize> = (0..4).map(|partition| arena.newest_bytes(partition)).collect();
            (arena.len(), arena.events(), arena.batches.len(), arena.runs.len(), partitions)
        };
        let before = state(&arena);
        assert_eq!(put(&mut arena, last.0, &"v".repeat(last.1)), Err(Full), "{fits:?} {last:?}");
        assert_eq!(state(&arena), before);
    }
}

#[test]
fn what_an_empty_arena_takes_is_known_before() {
    let limits = ArenaLimits { batch_bytes: BATCH_BYTES_MIN, ..LIMITS };
    for blocks in [512, 1 << 16] {
        let empty = || arena(blocks, limits);
        let most = (0..2000).rev().find(|bytes| empty().takes(*bytes, 1)).unwrap();
        let (name, value) = (&b"name"[..], "v".repeat(most - 8));
        empty().append(0, Some(b"ke"), &[(name, b"hv")], i64::MIN, value.as_bytes(), false).unwrap();
        assert!(!empty().takes(most + 1, 1) && !empty().takes(most, 2));
    }
}

#[test]
fn room_is_looked_for_before_the_work() {
    let mut arena = arena(1000, ArenaLimits { runs: 2, ..LIMITS });
    assert!(arena.has_room(1000) && !arena.has_room(1001));
    put(&mut arena, 0, &"v".repeat(91)).unwrap();
    assert_eq!((arena.len(), arena.capacity()), (100, 1000));
    assert!(arena.has_room(900) && !arena.has_room(901));
    put(&mut arena, 1, "").unwrap();
    assert!(!arena.has_room(1), "no run is left");
}

#[test]
fn sealing_again_changes_nothing() {
    let mut arena = arena(4096, LIMITS);
    (0..30).for_each(|n| put(&mut arena, n % 3, &format!("{n}")).unwrap());
    arena.seal(None);
    let before = read(&mut arena);
    arena.seal(None);
    assert_eq!(read(&mut arena), before);
    assert_eq!(arena.slots().collect::<Vec<_>>(), [Slot(0), Slot(1), Slot(2)]);
}

#[test]
fn a_full_batch_is_no_longer_than_its_bound() {
    let limits = ArenaLimits { batch_bytes: BATCH_BYTES_MIN, ..LIMITS };
    for len in 1..300 {
        let mut arena = arena(1 << 16, limits);
        while put(&mut arena, 0, &"v".repeat(len)).is_ok() {}
        arena.seal(None);
        assert_eq!(arena.batches().len(), limits.batches as usize);
        for batch in arena.batches() {
            assert!(batch.bytes as usize <= BATCH_BYTES_MIN, "{} bytes of {len}", batch.bytes);
            assert!(batch.bytes as usize + len + 12 > BATCH_BYTES_MIN, "{} bytes of {len}", batch.bytes);
        }
    }
    for bytes in [0, 1, BATCH_BYTES_MIN, BATCH_BYTES_MAX] {
        let arena = arena(1 << 16, ArenaLimits { batch_bytes: bytes, ..LIMITS });
        assert_eq!(arena.batch_bytes_max(), bytes.max(BATCH_BYTES_MIN));
    }
}

#[test]
fn a_partition_has_as_many_batches_as_its_events_need_and_keeps_their_order() {
    let limits = ArenaLimits { batch_bytes: BATCH_BYTES_MIN, ..LIMITS };
    let mut arena = arena(1 << 16, limits);
    let value = |n: u32| format!("{n:0300}");
    // Two partitions in turn, two events of one against one of the other.
    let partition = |n: u32| u32::from(n % 3 == 2);
    (0..12).for_each(|n| put(&mut arena, partition(n), &value(n)).unwrap());
    arena.seal(None);
    let found = read(&mut arena);
    assert_eq!(found.iter().map(|batch| batch.0).collect::<Vec<_>>(), [0, 1, 0, 0, 1]);
    for wanted in 0..2 {
        let values = found.iter().filter(|batch| batch.0 == wanted).flat_map(|batch| &batch.1);
        assert!(values.cloned().eq((0..12).filter(|n| partition(*n) == wanted).map(value)));
    }
    let events: Vec<u32> = arena.slots().flat_map(|slot| arena.events_of(slot)).flatten().collect();
    assert_eq!(events, [0, 1, 3, 2, 5, 8, 4, 6, 7, 9, 10, 11]);
}

#[test]
fn undoing_gives_a_partition_its_earlier_batch_back() {
    let limits = ArenaLimits { batch_bytes: BATCH_BYTES_MIN, ..LIMITS };
    let mut arena = arena(1 << 16, limits);
    put(&mut arena, 1, "kept").unwrap();
    for _ in 0..3 {
        let mark = arena.mark();
        (0..12).for_each(|_| put(&mut arena, 1, &"v".repeat(300)).unwrap());
        assert_eq!(arena.batches.len(), 4);
        arena.rollback(mark);
        assert_eq!((arena.batches.len(), arena.newest_bytes(1)), (1, 11));
    }
    put(&mut arena, 1, "more").unwrap();
    arena.seal(None);
    assert_eq!(read(&mut arena), [(1, ["kept", "more"].map(Into::into).to_vec())]);
}

#[test]
fn a_lower_bound_makes_more_batches_and_lets_a_longer_event_go_alone() {
    let mut arena = arena(1 << 16, LIMITS);
    arena.bound_batches(0);
    assert_eq!(arena.batch_bytes_max(), BATCH_BYTES_MIN);
    for len in [400, 400, 400, 5000, 10] {
        assert!(arena.takes(len, 0));
        put(&mut arena, 0, &"v".repeat(len)).unwrap();
    }
    arena.seal(None);
    let records: Vec<u32> = arena.batches().map(|batch| batch.records).collect();
    assert_eq!(records, [2, 1, 1, 1]);
    arena.clear();
    arena.bound_batches(usize::MAX);
    assert_eq!(arena.batch_bytes_max(), LIMITS.batch_bytes);
}

#[test]
fn a_batch_halves_down_to_single_records() {
    let mut arena = arena(1 << 16, ArenaLimits { splits: 300, ..LIMITS });
    (0..300).for_each(|n| put(&mut arena, 0, &format!("{n}")).unwrap());
    arena.seal(None);
    let mut waiting = vec![Slot(0)];
    let mut seen = Vec::new();
    while let Some(slot) = waiting.pop() {
        match arena.split(slot, None) {
            Some((first, second)) => waiting.extend([second, first]),
            None => {
                arena.stamp(slot, STAMP);
                let events = decode::batch(&sent(&arena, slot)).events;
                assert_eq!(events.len(), 1);
                assert_eq!(events[0].value, format!("{}", seen.len()).as_bytes());
                assert_eq!(arena.locate(slot, 0), Some(seen.len() as u32));
                seen.push(slot);
            }
        }
    }
    assert_eq!(seen.len(), 300);
}

#[test]
fn splits_end_when_their_table_is_full() {
    let mut arena = arena(1 << 16, ArenaLimits { batches: 1, splits: 2, ..LIMITS });
    (0..9).for_each(|n| put(&mut arena, 0, &format!("{n}")).unwrap());
    arena.seal(None);
    assert_eq!(arena.split(Slot(0), None), Some((Slot(0), Slot(1))));
    assert_eq!(arena.split(Slot(1), None), Some((Slot(1), Slot(2))));
    let before = read(&mut arena);
    assert_eq!(arena.split(Slot(0), None), None);
    assert_eq!(read(&mut arena), before);
    assert_eq!(before.iter().map(|(_, values)| values.len()).collect::<Vec<_>>(), [4, 2, 3]);
}

#[test]
fn a_batch_that_does_not_compress_goes_as_it_is() {
    let mut random = fastrand::Rng::with_seed(7);
    let noise: std::string::String = (0..40_000).map(|_| random.alphanumeric()).collect();
    let mut arena = arena(1 << 17, LIMITS);
    // Base 62 in bytes still leaves a quarter, which LZ4 cannot have; the other one is all alike.
    put(&mut arena, 0, &noise).unwrap();
    put(&mut arena, 1, &"again ".repeat(5000)).unwrap();
    arena.seal(Some(&mut Lz4::new()));
    let batches: Vec<_> = arena.batches().collect();
    assert_eq!((batches[0].codec, batches[1].codec), (Codec::None, Codec::Lz4));
    assert_eq!(batches[0].bytes, batches[0].raw_bytes + HEADER_BYTES as u32);
    assert!(batches[1].bytes < batches[1].raw_bytes / 20);
    assert_eq!(read(&mut arena), [(0, [noise].to_vec()), (1, ["again ".repeat(5000)].to_vec())]);
}

/// One event of a property test, and whether a request begins or ends with it.
#[derive(Clone, Debug)]
struct Step {
    partition: u32,
    event: Event,
    /// Undo the last so many events after this one.
    undo: usize,
}

/// Appends a request of some events to both, or nothing of it; whether there was room.
fn request(
    arenas: [&mut Arena; 2],
    partition: u32,
    random: &mut fastrand::Rng,
    noise: bool,
    undone: bool,
) -> bool {
    let [plain, ahead] = arenas;
    let marks = (plain.mark(), ahead.mark());
    let mut room = true;
    for n in 0..random.u32(1..200) {
        let value: Vec<u8> = match noise {
            true => (0..300).map(|_| random.u8(..)).collect(),
            false => {
                format!("{{\"n\":{n},\"chance\":{},\"text\":\"{}\"}}", random.u64(..), "order ".repeat(40))
                    .into()
            }
        };
        let put = |arena: &mut Arena| arena.append(partition, None, &[], 1000, &value, false);
        let (first, second) = (put(plain), put(ahead));
        assert_eq!(first, second);
        room &= first.is_ok();
    }
    if undone || !room {
        plain.rollback(marks.0);
        ahead.rollback(marks.1);
    }
    room
}

#[test]
fn work_done_ahead_changes_no_byte() {
    let limits = ArenaLimits { batch_bytes: 300_000, ..LIMITS };
    let mut random = fastrand::Rng::with_seed(8);
    for round in 0..40 {
        let (mut plain, mut ahead) = (arena(1 << 20, limits), arena(1 << 20, limits));
        let (mut at_once, mut in_steps) = (Lz4::new(), Lz4::new());
        let (again, noise) = (round % 3 == 1, round % 5 == 4);
        let mut partition = 0;
        loop {
            let undone = random.u32(..6) == 0;
            if !request([&mut plain, &mut ahead], partition, &mut random, noise, undone) && partition > 6 {
                break;
            }
            if random.bool() {
                ahead.compress_ahead(&mut in_steps);
            }
            if random.u32(..4) == 0 {
                partition = if again && partition < 6 { random.u32(..8) } else { partition + 1 };
            }
            if plain.len() > 900_000 || partition > 60 {
                break;
            }
        }
        let begun = ahead.batches.iter().any(|batch| batch.ahead.made > 0);
        assert!(begun || noise, "round {round}");
        plain.seal(Some(&mut at_once));
        ahead.seal(Some(&mut in_steps));
        let slots: Vec<Slot> = plain.slots().collect();
        for slot in slots {
            for arena in [&mut plain, &mut ahead] {
                arena.stamp(slot, STAMP);
            }
            assert!(sent(&plain, slot) == sent(&ahead, slot), "round {round}, {slot:?}");
            let halves = plain.split(slot, Some(&mut at_once));
            assert_eq!(halves, ahead.split(slot, Some(&mut in_steps)));
            for half in halves.into_iter().flat_map(|(first, second)| [first, second]) {
                for arena in [&mut plain, &mut ahead] {
                    arena.stamp(half, STAMP);
                }
                assert!(sent(&plain, half) == sent(&ahead, half), "round {round}, half {half:?} of {slot:?}");
            }
        }
    }
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..most),
        (any::<u8>(), 0..4 * most).prop_map(|(byte, len)| vec![byte; len])
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let time = prop_oneof![3 => 1_795_219_200_000..1_795_219_209_999i64, 1 => any::<i64>()];
    let headers = prop::collection::vec((bytes(8), bytes(8)), 0..3);
    let event = (time, prop::option::of(bytes(20)), bytes(120), headers)
        .prop_map(|(timestamp_ms, key, value, headers)| Event { timestamp_ms, key, value, headers });
    let partition = prop_oneof![3 => 0..3u32, 1 => 0..12u32];
    let undo = prop_oneof![9 => Just(0), 1 => 1..4usize];
    (partition, event, undo).prop_map(|(partition, event, undo)| Step { partition, event, undo })
}

/// Puts events in as the steps say; returns those that are in, in order.
fn play(arena: &mut Arena, steps: &[Step]) -> Vec<(u32, Event)> {
    let mut marks = Vec::new();
    let mut model: Vec<(u32, Event)> = Vec::new();
    for step in steps {
        marks.truncate(model.len());
        marks.push(arena.mark());
        let event = &step.event;
        let headers: Vec<RecordHeader> =
            event.headers.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        let key = event.key.as_deref();
        match arena.append(step.partition, key, &headers, event.timestamp_ms, &event.value, false) {
            Ok(()) => model.push((step.partition, event.clone())),
            Err(Full) => continue,
        }
        if step.undo > 0 {
            let left = model.len().saturating_sub(step.undo);
            arena.rollback(marks[left]);
            model.truncate(left);
        }
    }
    assert_eq!(arena.events() as usize, model.len());
    model
}

/// Every batch says what the model has for its partition from `taken` on, in order, and where each event came from.
fn check(arena: &mut Arena, model: &[(u32, Event)], order: &[Slot]) {
    let mut taken = vec![0; LIMITS.partitions as usize];
    for slot in order {
        let batch = arena.batch(*slot);
        arena.stamp(*slot, STAMP);
        let read = decode::batch(&sent(arena, *slot));
        assert_eq!((read.producer_id, read.epoch, read.sequence), (4000, 2, 77));
        assert_eq!((read.codec, read.events.len() as u32), (batch.codec.id(), batch.records));
        let mine = model.iter().enumerate().filter(|(_, (partition, _))| *partition == batch.partition);
        let skipped = &mut taken[batch.partition as usize];
        let mine: Vec<_> = mine.skip(*skipped).take(batch.records as usize).collect();
        *skipped += batch.records as usize;
        for (record, (index, (_, event))) in (0..).zip(mine) {
            assert_eq!(&read.events[record as usize], event);
            assert_eq!(arena.locate(*slot, record), Some(index as u32));
        }
    }
    assert_eq!(taken.iter().sum::<usize>(), model.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Two commits in one arena, each read back by the slow reader, then split again and again, both with and
    /// without a compressor.
    #[test]
    fn every_batch_reads_back_whole_and_in_halves(
        commits in prop::collection::vec(prop::collection::vec(step(), 1..60), 2),
        splits in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        compressed: bool,
        kib in 1usize..12,
    ) {
        let limits = ArenaLimits { batches: 10, runs: 40, splits: 12, ..LIMITS };
        let mut arena = arena(kib * 1024, limits);
        let mut lz4 = Lz4::new();
        for steps in &commits {
            arena.clear();
            let model = play(&mut arena, steps);
            arena.seal(compressed.then_some(&mut lz4 as &mut dyn Compress));
            let mut order: Vec<Slot> = arena.batches().map(|batch| batch.slot).collect();
            check(&mut arena, &model, &order);
            for split in &splits {
                if order.is_empty() {
                    break;
                }
                let place = split.index(order.len());
                let before = arena.batch(order[place]).records;
                if let Some((first, second)) = arena.split(order[place], compressed.then_some(&mut lz4 as _)) {
                    prop_assert_eq!(first, order[place]);
                    prop_assert_eq!(arena.batch(first).records, before / 2);
                    order.insert(place + 1, second);
                    check(&mut arena, &model, &order);
                }
            }
        }
    }
}
