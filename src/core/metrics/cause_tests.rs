use super::*;

const MS: u64 = 1_000_000;

/// (ran, waited, throttled, faults without I/O, faults with) in the ten milliseconds before and in the turn.
type Counted = (Option<u64>, Option<u64>, Option<u64>, u64, u64);

fn turn(took_ns: u64, counted: Counted) -> Option<Spell> {
    let (ran, waited, throttled, minor, major) = counted;
    let base = |known: Option<u64>| known.map(|_| 5_000 * MS);
    let before = Reading {
        at_ns: 1_000 * MS,
        ran_ns: base(ran),
        waited_ns: base(waited),
        throttled_ns: base(throttled),
        switches: 7,
        faults: [100, 10],
    };
    let add = |base: Option<u64>, more: Option<u64>| base.zip(more).map(|(a, b)| a + b);
    let after = Reading {
        at_ns: 1_010 * MS + took_ns,
        ran_ns: add(before.ran_ns, ran),
        waited_ns: add(before.waited_ns, waited),
        throttled_ns: add(before.throttled_ns, throttled),
        switches: 8,
        faults: [100 + minor, 10 + major],
    };
    Spell::of_turn(&before, &after, 1_010 * MS)
}

#[test]
fn a_held_up_turn_names_its_reason() {
    let some = |ns: u64| Some(ns * MS);
    type Case = (&'static str, u64, Counted, Option<(Stall, u64)>);
    let cases: [Case; 8] = [
        ("it only worked", 8, (some(9), some(0), None, 3, 0), None),
        ("another thread", 8, (some(2), some(7), None, 0, 0), Some((Stall::Preempted, 7 * MS))),
        ("a quota", 60, (some(5), some(2), some(50), 0, 0), Some((Stall::Throttled, 55 * MS))),
        ("the hypervisor", 20, (some(1), some(0), Some(0), 0, 0), Some((Stall::Stolen, 19 * MS))),
        ("a page read from disk", 20, (some(1), some(0), None, 5, 1), Some((Stall::PageFault, 19 * MS))),
        ("many pages", 4, (some(5), some(0), None, 6_000, 0), Some((Stall::PageFault, 3 * MS))),
        ("few pages", 4, (some(5), some(0), None, 600, 0), None),
        ("a system that tells nothing", 20, (None, None, None, 0, 0), None),
    ];
    for (what, took_ms, counted, stall) in cases {
        let spell = turn(took_ms * MS, counted).expect("it is long");
        assert_eq!(spell.stall, stall, "{what}");
        assert_eq!(spell.worked_ns, took_ms * MS - stall.map_or(0, |(_, ns)| ns), "{what}");
    }
}

#[test]
fn a_short_turn_is_remembered_only_when_the_thread_was_woken_late() {
    assert_eq!(turn(MS / 2, (Some(MS), Some(MS / 2), None, 0, 0)), None);
    let late = turn(MS / 2, (Some(MS), Some(3 * MS), None, 0, 0)).unwrap();
    assert_eq!((late.from_ns, late.stall, late.worked_ns), (1_000 * MS, Some((Stall::Preempted, 3 * MS)), 0));
}

#[test]
fn what_bytes_do_not_explain_is_no_work() {
    let spell = Spell { to_ns: 50 * MS, worked_ns: 50 * MS, ..Spell::default() };
    let work = spell.with_work(8 << 20, (3, 8 << 20));
    assert_eq!((work.stall, work.worked_ns, work.conn), (None, 50 * MS, Some(3)));
    let idle = spell.with_work(1_000, (3, 400));
    assert_eq!(idle.conn, None, "nobody had half of it");
    assert_eq!(idle.stall, Some((Stall::Unknown, 50 * MS - MS - 40_000)));
    let known = Spell { stall: Some((Stall::Stolen, 40 * MS)), worked_ns: 10 * MS, ..spell };
    assert_eq!(known.with_work(0, (0, 0)).stall, known.stall);
}

#[test]
fn only_what_overlaps_counts_and_nobody_is_his_own_neighbour() {
    let mut spells = Spells::new();
    let spell = |from: u64, to: u64| Spell { from_ns: from * MS, to_ns: to * MS, ..Spell::default() };
    for old in 0..200 {
        spells.push(Spell { worked_ns: MS, ..spell(old, old + 1) });
    }
    spells.push(Spell { worked_ns: 10 * MS, bytes: 9, conn: Some(1), ..spell(1_000, 1_010) });
    spells.push(Spell {
        stall: Some((Stall::Stolen, 5 * MS)),
        worked_ns: MS,
        bytes: 1,
        ..spell(1_010, 1_016)
    });
    spells.push(Spell { stall: Some((Stall::Preempted, 4 * MS)), ..spell(1_020, 1_030) });
    let of = |from: u64, to: u64, conn| spells.around(from * MS, to * MS, conn);
    assert_eq!(of(900, 1_000, 0), Around::default(), "the end of one is the begin of the other");
    assert_eq!((of(1_004, 1_010, 0).neighbour_ns, of(1_004, 1_010, 0).neighbour_bytes), (6 * MS, 9));
    assert_eq!(of(1_000, 1_010, 1), Around::default());
    let all = of(0, 2_000, 1);
    assert_eq!((all.stalled_ns, all.stall), (9 * MS, Some(Stall::Stolen)));
    assert_eq!(all.neighbour_ns, 62 * MS, "the newest sixty-four, save the own");
}

#[test]
fn the_greatest_part_is_named_or_none() {
    let parts = Parts { total_ns: 100, ..Parts::default() };
    let none = Around::default();
    let large = 1 << 20;
    let cases = [
        ("read", Parts { read_ns: 60, ..parts }, Cause::SlowBody),
        ("room", Parts { room_ns: 60, sink_ns: 30, ..parts }, Cause::NoRoom),
        ("the commit before", Parts { seal_wait_ns: 50, sink_ns: 40, ..parts }, Cause::CommitBefore),
        ("the commit", Parts { seal_wait_ns: 40, sink_ns: 50, ..parts }, Cause::Commit),
        ("the reply", Parts { reply_ns: 90, ..parts }, Cause::SlowReader),
        ("work", Parts { work_ns: 80, read_ns: 10, ..parts }, Cause::OwnBody),
        ("many small parts", Parts { read_ns: 30, sink_ns: 30, reply_ns: 30, ..parts }, Cause::Unknown),
        ("nothing known", parts, Cause::Unknown),
        ("no time at all", Parts::default(), Cause::Unknown),
        (
            "a large body at 100 MB/s",
            Parts { total_ns: 10 * MS, read_ns: 10 * MS, bytes: large, ..parts },
            Cause::OwnBody,
        ),
        (
            "a large body at 1 MB/s",
            Parts { total_ns: 1_000 * MS, read_ns: 1_000 * MS, bytes: large, ..parts },
            Cause::SlowBody,
        ),
    ];
    for (what, parts, cause) in cases {
        assert_eq!(judge(&parts, &none), cause, "{what}");
    }
    let commit = Parts { sink_ns: 90, ..parts };
    let stalled = |ns| Around { stalled_ns: ns, stall: Some(Stall::Stolen), ..none };
    let beside = |ns| Around { neighbour_ns: ns, ..none };
    for (what, around, cause) in [
        ("stalled for half of it", stalled(50), Cause::Stall(Stall::Stolen)),
        ("stalled for less", stalled(49), Cause::Commit),
        ("others for half of it", beside(50), Cause::Neighbour),
        ("others for less", beside(49), Cause::Commit),
        ("both", Around { neighbour_ns: 60, ..stalled(60) }, Cause::Stall(Stall::Stolen)),
    ] {
        assert_eq!(judge(&commit, &around), cause, "{what}");
    }
}

#[test]
fn no_number_overflows() {
    let most = Reading {
        at_ns: u64::MAX,
        ran_ns: Some(u64::MAX),
        waited_ns: Some(u64::MAX),
        throttled_ns: Some(u64::MAX),
        switches: u64::MAX,
        faults: [u64::MAX; 2],
    };
    let none = Reading { ran_ns: Some(0), waited_ns: Some(0), throttled_ns: Some(0), ..Reading::default() };
    for (before, after, from_ns) in
        [(none, most, 0), (most, none, 0), (none, most, u64::MAX), (most, none, 5)]
    {
        let spell = Spell::of_turn(&before, &after, from_ns);
        let _ = spell.map(|spell| spell.with_work(u64::MAX, (0, u64::MAX / 2)));
    }
    let parts = Parts { total_ns: u64::MAX, read_ns: u64::MAX, bytes: u32::MAX, ..Parts::default() };
    let around = Around { stalled_ns: u64::MAX, neighbour_ns: u64::MAX, ..Around::default() };
    assert_eq!(judge(&parts, &Around::default()), Cause::SlowBody);
    assert_eq!(judge(&parts, &around), Cause::Neighbour);
}
