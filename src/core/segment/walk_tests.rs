//! Sound files, torn ends, damage at every place.
use super::*;
use crate::segment::testing::Writer;
use std::vec;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// Four commits in 7 blocks: [0,1) [1,2) two runs, [2,6) one big event, [6,7).
fn file() -> Writer {
    let mut writer = Writer::new(3, 0xabc, Writer::FIRST);
    writer.commit(&[("default", &[b"{\"a\":1}", b"{\"a\":2}"])]);
    writer.commit(&[("x", &[b"{}"]), ("y", &[b"{\"y\":[1,2]}", b"{}", b"{}"])]);
    let mut big = b"{\"big\":\"".to_vec();
    big.resize(3 * BLOCK_BYTES, b'z');
    big.extend_from_slice(b"\"}");
    writer.commit(&[("default", &[&big])]);
    writer.commit(&[("default", &[b"{\"last\":true}"])]);
    writer
}

fn walk(bytes: &[u8], chain: Option<Chain>, next: Option<Header>) -> (Vec<Step>, Option<Chain>) {
    let mut walker = Walker::new(bytes, 3, chain, next, Depth::Full);
    let mut steps = vec![];
    while let Some(step) = walker.step().unwrap() {
        steps.push(step);
        assert!(steps.len() < 100, "the walk ends");
    }
    (steps, walker.chain())
}

fn starts(steps: &[Step]) -> Vec<u64> {
    steps
        .iter()
        .filter_map(|step| if let Step::Commit(commit) = step { Some(commit.start / BLOCK) } else { None })
        .collect()
}

fn header(bytes: &[u8], at: u64) -> Header {
    Header::parse(&bytes[at as usize..]).unwrap()
}

#[test]
fn a_sound_file_is_walked_whole_and_may_end_in_newlines_and_zeros() {
    let mut writer = file();
    let fills = [0, 1, BLOCK_BYTES, 20 * BLOCK_BYTES + 5];
    for (newlines, zeros) in fills.into_iter().flat_map(|newlines| fills.map(|zeros| (newlines, zeros))) {
        let mut bytes = writer.bytes.clone();
        bytes.resize(bytes.len() + newlines, b'\n');
        bytes.resize(bytes.len() + zeros, 0);
        let (steps, chain) = walk(&bytes, Some(Writer::FIRST), None);
        assert_eq!(starts(&steps), [0, 1, 2, 6]);
        assert_eq!(steps[4..], [Step::End { used: 7 * BLOCK }]);
        assert_eq!(chain, Some(writer.chain));
    }
    let (steps, _) = walk(&writer.bytes, None, None);
    let Step::Commit(second) = &steps[1] else { panic!("{steps:?}") };
    assert_eq!((second.runs, second.events, second.first.seq, second.last.last_seq()), (2, 4, 3, 6));
    writer.bytes.clear();
    assert_eq!(walk(&writer.bytes, Some(writer.chain), None).0, [Step::End { used: 0 }]);
}

/// Whatever bit flips, the walk names a range that holds it, serves every commit it does not touch,
/// and never calls an acknowledged commit a tail while something stands behind it.
#[test]
fn every_flipped_bit_is_found_and_located() {
    let writer = file();
    let mut bytes = writer.bytes.clone();
    bytes.resize(bytes.len() + BLOCK_BYTES, b'\n');
    for at in 0..bytes.len() {
        let inside_big = (3 * BLOCK_BYTES..5 * BLOCK_BYTES).contains(&at);
        if inside_big && at % 97 != 0 {
            continue;
        }
        for bit in [at % 8, (at + 3) % 8] {
            bytes[at] ^= 1 << bit;
            let (steps, _) = walk(&bytes, Some(Writer::FIRST), None);
            let place = steps.iter().find_map(|step| match step {
                Step::Damage(damage) => Some((damage.range.clone(), false)),
                Step::Tail { range, .. } => Some((range.clone(), true)),
                _ => None,
            });
            let (range, tail) = place.unwrap_or_else(|| panic!("byte {at} bit {bit}: {steps:?}"));
            assert!(range.contains(&(at as u64)), "byte {at} bit {bit}: {range:?}");
            assert_eq!(
                tail,
                at as u64 >= 7 * BLOCK || (steps.len() == 4 && range.start == 6 * BLOCK),
                "{at}"
            );
            let touched = [0, 1, 2, 6].into_iter().rfind(|start| at as u64 >= start * BLOCK).unwrap();
            let kept = starts(&steps);
            for start in [0, 1, 2, 6] {
                assert!(kept.contains(&start) || start == touched, "byte {at} bit {bit}: {kept:?}");
            }
            bytes[at] ^= 1 << bit;
        }
    }
}

/// What a commit leaves in a file that was allocated and not pre-written, when some of its blocks are missing.
#[test]
fn a_torn_commit_among_zeros_is_a_tail() {
    let writer = file();
    let whole = walk(&writer.bytes, Some(Writer::FIRST), None).0;
    let Some(Step::Commit(commit)) = whole.get(3) else { panic!("{whole:?}") };
    let (last, end) = (commit.start as usize, commit.data_end as usize);
    for from in (last..end).step_by(64) {
        let mut bytes = writer.bytes.clone();
        bytes[from..].fill(0);
        bytes.resize(20 * BLOCK_BYTES, 0);
        let (steps, _) = walk(&bytes, Some(Writer::FIRST), None);
        assert_eq!(starts(&steps), [0, 1, 2]);
        match (from == last, steps.last()) {
            (true, Some(Step::End { used })) => assert_eq!(*used, 6 * BLOCK),
            (false, Some(Step::Tail { range, .. })) => {
                assert!(range.start == 6 * BLOCK && range.end <= from as u64, "{from}: {range:?}");
            }
            (_, other) => panic!("{from}: {other:?}"),
        }
    }
}

#[test]
fn every_truncation_within_a_commit_is_found() {
    let writer = file();
    for len in (0..writer.bytes.len()).filter(|len| len % 13 == 0 || len % BLOCK_BYTES < 2) {
        let (steps, _) = walk(&writer.bytes[..len], Some(Writer::FIRST), None);
        let whole = [0, 1, 2, 6, 7].into_iter().filter(|end| end * BLOCK <= len as u64).max().unwrap();
        let ends = matches!(steps.last(), Some(Step::End { used }) if *used == whole * BLOCK);
        let on_the_edge = len as u64 == whole * BLOCK;
        let tail = matches!(steps.last(), Some(Step::Tail { range, .. }) if range.start == whole * BLOCK);
        let padding =
            steps.iter().any(|step| matches!(step, Step::Damage(damage) if damage.why == Why::Padding));
        assert!(if on_the_edge { ends } else { tail || padding }, "{len}: {steps:?}");
    }
}

#[test]
fn a_segment_that_goes_on_tells_what_the_one_before_lost() {
    let first = file();
    let mut second = Writer::new(3, 0xdef, first.chain);
    second.commit(&[("default", &[b"{}"])]);
    let next = Some(header(&second.bytes, 0));

    let (steps, chain) = walk(&first.bytes, None, next);
    assert_eq!(steps.len(), 5);
    assert_eq!(walk(&second.bytes, chain, None).0.len(), 2);

    // Cut at a commit's edge, only the next segment can tell.
    let (steps, chain) = walk(&first.bytes[..6 * BLOCK_BYTES], None, next);
    let lost = Some(8..9);
    let damage = Damage { range: 6 * BLOCK..6 * BLOCK, lost: lost.clone(), why: Why::Missing };
    assert_eq!(steps[3..], [Step::Damage(damage), Step::End { used: 6 * BLOCK }]);
    assert_eq!(walk(&second.bytes, chain, None).0.len(), 2);

    // A spoiled last commit is no unfinished one when the next segment follows it.
    let mut spoiled = first.bytes.clone();
    spoiled[6 * BLOCK_BYTES + HEADER_BYTES] ^= 1;
    let (steps, _) = walk(&spoiled, None, next);
    let Some(Step::Damage(damage)) = steps.last() else { panic!("{steps:?}") };
    assert_eq!((damage.range.start, damage.lost.clone()), (6 * BLOCK, lost));

    // A whole segment gone between two.
    let chain = Chain { commit: 1, seq: 3, ..first.chain };
    let (steps, _) = walk(&second.bytes, Some(chain), None);
    assert!(matches!(&steps[0], Step::Damage(damage) if damage.lost == Some(3..9) && damage.range == (0..0)));
    assert_eq!(starts(&steps), [0]);
}

#[test]
fn a_commit_that_failed_is_replaced_by_the_next_segment() {
    let mut first = file();
    let before = first.chain;
    first.commit(&[("default", &[b"{\"answered\":503}"])]);
    for commit in [before.commit, before.commit + 1] {
        let mut second = Writer::new(3, 0xdef, Chain { commit, ..before });
        second.commit(&[("default", &[b"{}", b"{}"])]);
        let (steps, chain) = walk(&first.bytes, None, Some(header(&second.bytes, 0)));
        assert!(matches!(&steps[4], Step::Superseded(commit) if commit.start == 7 * BLOCK));
        assert_eq!(steps[5..], [Step::End { used: 8 * BLOCK }]);
        assert_eq!(walk(&second.bytes, chain, None).0.len(), 2);
        // Half written, it is a tail.
        let (steps, chain) =
            walk(&first.bytes[..7 * BLOCK_BYTES + 390], None, Some(header(&second.bytes, 0)));
        assert!(matches!(&steps[4], Step::Tail { range, .. } if range.start == 7 * BLOCK));
        assert_eq!(chain, Some(before));
    }
    // Without a next segment nobody knows that it failed, and it is kept.
    assert_eq!(starts(&walk(&first.bytes, None, None).0), [0, 1, 2, 6, 7]);
}

#[test]
fn blocks_that_went_missing_or_astray_are_damage() {
    let sound = file().bytes;
    // The second commit's block was never written.
    let mut bytes = sound.clone();
    bytes[BLOCK_BYTES..2 * BLOCK_BYTES].fill(b'\n');
    let (steps, _) = walk(&bytes, None, None);
    let damage = Damage { range: BLOCK..2 * BLOCK, lost: Some(3..7), why: Why::Blank };
    assert_eq!(steps[1], Step::Damage(damage));
    assert_eq!(starts(&steps), [0, 2, 6]);
    // An old commit stands in its place.
    bytes.copy_within(..BLOCK_BYTES, BLOCK_BYTES);
    assert_eq!(starts(&walk(&bytes, None, None).0), [0, 2, 6]);
    // It was cut out: what follows is served, and the gap is told.
    let cut = [&sound[..BLOCK_BYTES], &sound[2 * BLOCK_BYTES..]].concat();
    let (steps, _) = walk(&cut, None, None);
    assert!(matches!(&steps[1], Step::Damage(damage) if damage.lost == Some(3..7)));
    assert_eq!(starts(&steps), [0, 1, 5]);
    // Another shard's file.
    assert!(matches!(
        Walker::new(&sound[..], 4, None, None, Depth::Full).step(),
        Ok(Some(Step::Tail { why: Why::Shard(3), .. }))
    ));
}

#[test]
fn an_event_altered_with_all_its_checksums_breaks_the_chain() {
    let sound = file().bytes;
    let mut other = Writer::new(3, 0xabc, Writer::FIRST);
    other.commit(&[("default", &[b"{\"a\":1}", b"{\"a\":3}"])]);
    let bytes = [&other.bytes[..], &sound[BLOCK_BYTES..]].concat();
    let (steps, _) = walk(&bytes, None, None);
    assert!(
        matches!(&steps[1], Step::Damage(Damage { why: Why::Prev, range, .. }) if *range == (BLOCK..BLOCK))
    );
}

#[test]
fn a_header_inside_an_event_is_never_believed() {
    // An event that is the line of a later header, without its last bytes: a stored event is trimmed.
    let mut forged = Writer::new(3, 0xabc, Chain { commit: 9, seq: 100, prev: Hash::ZERO });
    forged.commit(&[("default", &[b"{\"forged\":1}"])]);
    let line = forged.bytes[..HEADER_BYTES].trim_ascii_end();
    let mut writer = Writer::new(3, 0xabc, Writer::FIRST);
    // Laid so that it begins at a block.
    let mut filler = b"{\"f\":\"".to_vec();
    filler.resize(BLOCK_BYTES - HEADER_BYTES - 3, b'f');
    filler.extend_from_slice(b"\"}");
    writer.commit(&[("default", &[&filler, line, b"{\"forged\":1}"])]);
    assert!(writer.bytes[BLOCK_BYTES..].starts_with(b"{\"ringmill\":1,"));
    writer.commit(&[("default", &[b"{}"])]);
    assert_eq!(starts(&walk(&writer.bytes, None, None).0), [0, 2]);
    // Neither when the commit around it is damaged.
    for at in [0, HEADER_BYTES + 3] {
        let mut bytes = writer.bytes.clone();
        bytes[at] ^= 1;
        let (steps, _) = walk(&bytes, None, None);
        assert_eq!(starts(&steps), [2], "{steps:?}");
        assert!(matches!(&steps[0], Step::Damage(damage) if damage.range == (0..2 * BLOCK)));
    }
}

#[test]
fn headers_alone_give_the_same_commits() {
    let mut bytes = file().bytes;
    bytes.resize(bytes.len() + BLOCK_BYTES, b'\n');
    let mut walker = Walker::new(&bytes[..], 3, None, None, Depth::Headers);
    let mut steps = vec![];
    while let Some(step) = walker.step().unwrap() {
        steps.push(step);
    }
    assert_eq!(steps, walk(&bytes, None, None).0);
}

#[test]
fn a_tail_that_was_finished_meanwhile_is_a_commit_on_the_second_look() {
    struct Growing<'a>(&'a [u8], core::cell::Cell<bool>);
    impl ReadAt for &Growing<'_> {
        type Error = Infallible;
        fn read_at(&mut self, offset: u64, out: &mut [u8]) -> Result<usize, Infallible> {
            let len = if self.1.get() { self.0.len() } else { 6 * BLOCK_BYTES + 390 };
            (&self.0[..len]).read_at(offset, out)
        }
    }
    let bytes = file().bytes;
    let growing = Growing(&bytes, core::cell::Cell::new(false));
    let mut walker = Walker::new(&growing, 3, None, None, Depth::Full);
    while !matches!(walker.step(), Ok(Some(Step::Tail { .. }))) {}
    assert_eq!(walker.step(), Ok(None));
    growing.1.set(true);
    walker.retry();
    assert!(matches!(walker.step(), Ok(Some(Step::Commit(commit))) if commit.start == 6 * BLOCK));
    assert!(matches!(walker.step(), Ok(Some(Step::End { .. }))));
}

#[test]
fn a_walk_goes_on_where_another_left_off() {
    let writer = file();
    let mut first = Walker::new(&writer.bytes[..], 3, Some(Writer::FIRST), None, Depth::Full);
    let mut places = vec![(0, Some(Writer::FIRST))];
    while let Some(Step::Commit(commit)) = first.step().unwrap() {
        places.push((commit.end, first.chain()));
    }
    for (index, (offset, chain)) in places.into_iter().enumerate() {
        let mut walker = Walker::new(&writer.bytes[..], 3, chain, None, Depth::Full).begun_at(offset);
        let mut left = 0;
        while let Some(Step::Commit(_)) = walker.step().unwrap() {
            left += 1;
        }
        assert_eq!((left, walker.chain()), (4 - index, Some(writer.chain)));
        // With another chain nothing there is taken for what is due.
        let other = chain.map(|chain| Chain { prev: Hash([7; 32]), ..chain });
        let mut walker = Walker::new(&writer.bytes[..], 3, other, None, Depth::Full).begun_at(offset);
        assert!(!matches!(walker.step().unwrap(), Some(Step::Commit(_))), "{offset}");
    }
}

#[test]
fn what_follows_may_be_learnt_during_the_walk() {
    let writer = file();
    let before = Chain::before(&header(&writer.bytes, 6 * BLOCK));
    let mut next = Writer::new(3, 0xdef, before);
    next.commit(&[("default", &[b"{}"])]);
    let mut walker = Walker::new(&writer.bytes[..], 3, Some(Writer::FIRST), None, Depth::Full);
    for _ in 0..3 {
        assert!(matches!(walker.step().unwrap(), Some(Step::Commit(_))));
    }
    walker.followed_by(header(&next.bytes, 0));
    assert!(matches!(walker.step().unwrap(), Some(Step::Superseded(commit)) if commit.start == 6 * BLOCK));
    assert_eq!(walker.chain(), Some(before));
}
