use super::*;
use proptest::prelude::*;
use std::{vec, vec::Vec};

const MS: u64 = 1_000_000;

fn load(active: u32, busy: u32) -> Load {
    Load { active, busy, room: 1000, takes: true, ..Load::default() }
}

/// What a fresh shard 0 decides.
fn place(loads: &[Load]) -> Verdict {
    Balance::new(0).place(1, loads)
}

#[test]
fn who_gets_a_new_connection() {
    use Verdict::{Forgo, Stay, To};
    let full = Load { room: 0, ..load(5, 0) };
    let ill = Load { takes: false, ..load(0, 0) };
    for (what, loads, verdict) in [
        ("nobody else", vec![load(50, 900)], Stay),
        ("the very first", vec![load(0, 0), load(0, 0)], Stay),
        ("the second on the same", vec![load(1, 0), load(0, 0)], To(1)),
        ("one each", vec![load(1, 0), load(1, 0)], Stay),
        ("three and two", vec![load(3, 0), load(2, 0)], To(1)),
        ("an eighth is begun", vec![load(113, 0), load(88, 0)], To(1)),
        ("less than an eighth", vec![load(110, 0), load(92, 0)], Stay),
        ("the others are above", vec![load(2, 0), load(9, 0)], Stay),
        ("of several the one with fewest", vec![load(9, 0), load(4, 0), load(2, 0), load(3, 0)], To(2)),
        ("of equals the less busy", vec![load(9, 0), load(2, 60), load(2, 0)], To(2)),
        ("of equals the next", vec![load(9, 0), load(2, 0), load(2, 0)], To(1)),
        // Idle connections are no load, so who has many of them still takes.
        ("busy beats counts", vec![load(1, 900), load(10, 100)], To(1)),
        ("counts do not send it to a busy one", vec![load(10, 100), load(1, 900)], Forgo),
        ("both at the end of their cores", vec![load(8, 990), load(2, 980)], To(1)),
        ("a tenth apart is alike", vec![load(8, 500), load(2, 590)], To(1)),
        ("busy, but the other has far too many", vec![load(2, 900), load(90, 100), load(3, 850)], Forgo),
        ("nothing to speak of", vec![load(4, 90), load(4, 0)], Stay),
        ("a full table", vec![full, load(40, 999)], To(1)),
        ("a full table, and all others full", vec![full, full], Forgo),
        ("a sink that is not ready", vec![Load { takes: false, ..load(0, 0) }, load(40, 0)], To(1)),
        ("nobody takes", vec![ill, ill], Forgo),
        ("the free one drains", vec![load(9, 0), ill], Stay),
        ("the free one drains, another does not", vec![load(9, 0), ill, load(1, 0)], To(2)),
        ("the free one is stalled", vec![load(9, 0), Load { stalled: true, ..load(0, 0) }], Forgo),
        ("those on their way count", vec![load(3, 0), Load { coming: 3, ..load(0, 0) }], Stay),
        ("its mailbox is full", vec![load(90, 0), Load { coming: COMING_MAX, ..load(0, 0) }], Forgo),
        ("its last slots are spoken for", vec![load(9, 0), Load { coming: 2, room: 2, ..load(0, 0) }], Forgo),
    ] {
        assert_eq!(place(&loads), verdict, "{what}");
    }
}

#[test]
fn begin_and_end_lie_apart_where_counts_wobble() {
    let mut balance = Balance::new(0);
    // The mean is 100 with the new one, so it begins at 113 and ends at 100.
    for (mine, theirs, verdict) in [
        (110, 89, Verdict::Stay),
        (112, 87, Verdict::To(1)),
        (110, 89, Verdict::To(1)),
        (101, 98, Verdict::To(1)),
        (99, 100, Verdict::Stay),
        (101, 98, Verdict::Stay),
        (110, 89, Verdict::Stay),
    ] {
        assert_eq!(balance.place(1, &[load(mine, 0), load(theirs, 0)]), verdict, "{mine} and {theirs}");
    }
}

#[test]
fn the_share_begins_late_ends_early_and_is_spaced() {
    let mut balance = Balance::new(0);
    let mut now_ns = 1;
    let mut why = |mine, theirs| {
        now_ns += BUSY_EVERY_NS;
        let loads = [load(4, mine), load(4, theirs)];
        (balance.place(now_ns, &loads), balance.why(&loads))
    };
    let busy = (Verdict::To(1), Some(Why::Busy));
    assert_eq!(why(200, 10).1, None, "95 over the mean");
    assert_eq!(why(220, 10), busy);
    assert_eq!(why(150, 30), busy, "60 over the mean, still");
    assert_eq!(why(120, 50), (Verdict::Stay, None), "35 over it: over");
    assert_eq!(why(150, 30), (Verdict::Stay, None));
    assert_eq!(why(1000, 900), (Verdict::Stay, None), "a nineteenth is not far above");
    assert_eq!(why(900, 500), busy);
    let loads = [load(4, 900), load(4, 500)];
    let placed: Vec<bool> =
        (0..100).map(|ms| balance.place(now_ns + ms * MS, &loads) == Verdict::To(1)).collect();
    assert_eq!(placed.iter().filter(|to| **to).count(), 1, "{placed:?}");
}

#[test]
fn the_budget_bounds_what_it_costs() {
    let mut balance = Balance::new(0);
    let (loads, s) = ([load(900, 0), load(0, 0)], 1_000 * MS);
    let mut given = |from_ns: u64, to_ns: u64| {
        let times = (from_ns..to_ns).step_by(10_000);
        times.filter(|at_ns| balance.place(*at_ns, &loads) == Verdict::To(1)).count()
    };
    assert_eq!(given(5 * s, 5 * s + 6_300_000), 64, "at once");
    let each = given(5 * s + 6_300_000, 7 * s);
    assert!((127..=128).contains(&each), "{each} in two seconds");
    assert_eq!(given(9 * s, 9 * s + 3 * MS), 64, "it fills again");
}

#[test]
fn the_last_readings_decide_how_busy_a_thread_is() {
    let mut meter = Meter::default();
    assert!(meter.read(5_000 * MS, 77 * MS), "the first only begins");
    assert_eq!(meter.busy(), 0);
    assert!(!meter.read(5_049 * MS, 99 * MS), "too soon");
    // 100 ms of nothing but work are a tenth of the second that counts.
    assert!(meter.read(5_100 * MS, 177 * MS));
    assert_eq!(meter.busy(), 100);
    assert!(meter.read(6_100 * MS, 677 * MS), "a whole second of half a core is all that counts");
    assert_eq!(meter.busy(), 500);
    assert!(meter.read(60_000 * MS, 677 * MS));
    assert_eq!(meter.busy(), 0);
    // Clocks of different kinds may differ a little, and neither may go back.
    assert!(meter.read(61_000 * MS, 2_000 * MS));
    assert_eq!(meter.busy(), 1000);
    assert!(!meter.read(60_000 * MS, 0));
}

#[test]
fn silence_is_sleep() {
    for (age_ms, busy) in [(0, 800), (200, 800), (700, 400), (1_200, 0), (u64::MAX / MS, 0)] {
        assert_eq!(aged(800, age_ms * MS), busy, "{age_ms}");
    }
}

/// Shards that are told of each other at once, each with its own decisions.
struct Street {
    balances: Vec<Balance>,
    active: Vec<u32>,
    now_ns: u64,
}

impl Street {
    fn new(shards: usize) -> Street {
        Street { balances: (0..shards).map(Balance::new).collect(), active: vec![0; shards], now_ns: 1 }
    }

    fn loads(&self) -> Vec<Load> {
        self.active.iter().map(|active| load(*active, 0)).collect()
    }

    /// A connection that the kernel gave to `at`, as fast as the budget goes. Where it ended up.
    fn open(&mut self, at: usize) -> usize {
        self.now_ns += PURSE.1;
        let loads = self.loads();
        let to = match self.balances[at].place(self.now_ns, &loads) {
            Verdict::To(to) => to,
            Verdict::Stay | Verdict::Forgo => at,
        };
        self.active[to] += 1;
        to
    }
}

proptest! {
    /// However the kernel hashes and whoever leaves: whoever gets a new connection is not above the bound then.
    #[test]
    fn whoever_gets_a_new_connection_is_not_far_above(
        shards in 2_usize..9,
        steps in prop::collection::vec((0_u8..3, 0_usize..64), 1..400),
    ) {
        let mut street = Street::new(shards);
        for (step, at) in steps {
            let at = at % shards;
            if step == 0 {
                street.active[at] = street.active[at].saturating_sub(1);
                continue;
            }
            let to = street.open(at);
            let (all, got) = (street.active.iter().sum::<u32>(), street.active[to]);
            let (mean, n) = (f64::from(all) / shards as f64, shards as f64);
            let margin = 1.0_f64.max(mean / COUNT_BEGIN_PART as f64);
            prop_assert!(f64::from(got) < mean + margin + 1.0 / n, "{got} of {all} on {shards}");
        }
    }

    /// Without anybody leaving, few connections are spread as evenly as can be, whatever the hash.
    #[test]
    fn few_connections_differ_by_one(
        shards in 2_usize..9,
        hashes in prop::collection::vec(0_usize..64, 1..60),
    ) {
        let mut street = Street::new(shards);
        for at in hashes.into_iter().take(shards * COUNT_BEGIN_PART as usize) {
            street.open(at % shards);
            let (least, most) = (street.active.iter().min().unwrap(), street.active.iter().max().unwrap());
            prop_assert!(most - least <= 2, "{:?}", street.active);
            prop_assert!(shards > 2 || most - least <= 1, "{:?}", street.active);
        }
    }

    /// Any loads at all: an answer without a panic, and never a shard that cannot have it.
    #[test]
    fn never_to_one_that_cannot_have_it(
        loads in prop::collection::vec(
            (any::<u16>(), 0_u32..4, 0_u32..1001, 0_u32..40, any::<bool>(), any::<bool>()), 1..8),
        own in 0_usize..8,
        times in prop::collection::vec(0_u64..1 << 40, 1..20),
    ) {
        let loads: Vec<Load> = loads.into_iter().map(|(active, room, busy, coming, takes, stalled)| {
            Load { active: active.into(), room, busy, coming, takes, stalled }
        }).collect();
        let own = own % loads.len();
        let mut balance = Balance::new(own);
        for now_ns in times {
            if let Verdict::To(to) = balance.place(now_ns, &loads) {
                let load = loads[to];
                prop_assert!(to != own && load.takes && !load.stalled);
                prop_assert!(load.coming < COMING_MAX && load.coming < load.room);
            }
        }
    }
}
