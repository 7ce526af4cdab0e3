//! `--find-rate`: the highest rate that holds a goal such as p999 < 1 ms, going up and then coming down.
//!
//! A rate *holds* only if the whole 95 % interval of the quantile is below the goal, nearly nothing failed and
//! the plan was kept. While the interval straddles the goal or the samples are too few, the same rate is asked
//! for again, longer; what stays undecided does not hold.
//!
//! Rates double from the start until one does not hold ([`Phase::Up`]); the gap is halved in ratio
//! ([`Phase::Bisect`]); then the same rates are walked from the lowest overload down ([`Phase::Down`]), because a
//! server with full queues or a thinned pool may not recover at the rate that it held on the way up. The
//! difference is the hysteresis.
//!
//! The machine neither runs probes nor knows how long one is. Enter at [`Search::next`].
use super::stats::Estimate;
use super::verdict::time;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// What a rate has to hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// Quantile of the latency of valid requests, 0 to 1.
    pub quantile: f64,
    /// It must be below this, in nanoseconds.
    pub below_ns: u64,
}

/// Where to search, and what else a rate has to hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Lowest rate that is tried, in requests a second; above 0.
    pub min_per_s: f64,
    /// Highest rate that is tried, in requests a second.
    pub max_per_s: f64,
    /// The search ends when the lowest rate that does not hold is at most this much above the highest that
    /// does (0.05: 5 %).
    pub precision: f64,
    /// Highest share of failed and unexpected replies (0 to 1).
    pub failed_share: f64,
    /// Lowest share of the plan that must have been sent (0 to 1).
    pub achieved_share: f64,
}

impl Default for Bounds {
    /// 1 to 100 million a second, to 5 %, with at most 0.1 % failed and at least 99 % of the plan sent.
    fn default() -> Bounds {
        Bounds { min_per_s: 1.0, max_per_s: 1e8, precision: 0.05, failed_share: 0.001, achieved_share: 0.99 }
    }
}

/// The way the search is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Doubling, or halving while nothing has held yet.
    Up,
    /// Narrowing between a rate that held and one that did not.
    Bisect,
    /// Down again from overload.
    Down,
}

impl Phase {
    /// `up`, `bisect` or `down`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Up => "up",
            Phase::Bisect => "bisect",
            Phase::Down => "down",
        }
    }
}

/// A rate to be measured next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probe {
    /// Requests a second.
    pub per_s: f64,
    /// The way the search is going.
    pub phase: Phase,
    /// How many times the usual length it shall last: 1, 2 or 4.
    pub stretch: u32,
}

/// What a probe saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// The goal's quantile of the latency of valid requests; `None`: refused.
    pub estimate: Option<Estimate>,
    /// Failed and unexpected replies, of all requests (0 to 1).
    pub failed_share: f64,
    /// Requests sent, of those of the plan (0 to 1).
    pub achieved_share: f64,
    /// The verdict of that probe was the generator: the rate is beyond what this machine can send.
    pub generator_limited: bool,
}

/// One measured rate: a point of the curve of latency against rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// What was asked for.
    pub probe: Probe,
    /// What was seen.
    pub seen: Seen,
    /// Whether the rate held the goal.
    pub held: bool,
    /// Why, in a few words.
    pub why: String,
}

/// How a search ended.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Found {
    /// Highest rate that held on the way up, in requests a second; `None`: none did.
    pub up_per_s: Option<f64>,
    /// Highest rate that held on the way down.
    pub down_per_s: Option<f64>,
    /// 1 - down / up: 0 without hysteresis, 1 if nothing held on the way down.
    pub hysteresis: f64,
    /// The generator, not the goal, ended the way up: the server may hold more.
    pub generator_limited: bool,
    /// The highest rate allowed held: the server may hold more.
    pub bounded: bool,
}

/// Longest stretch of an undecided probe.
const STRETCH_MAX: u32 = 4;

/// The search's state.
#[derive(Clone, Debug)]
pub struct Search {
    goal: Goal,
    bounds: Bounds,
    pending: Option<Probe>,
    held: Option<f64>,
    failed: Option<f64>,
    /// Rates still to be walked down, the next one last.
    down: Vec<f64>,
    curve: Vec<Point>,
    found: Found,
}

enum Held {
    Yes,
    No(String),
    Undecided(String),
}

impl Search {
    /// A search that begins at `start_per_s` (brought within the bounds).
    pub fn new(goal: Goal, start_per_s: f64, bounds: Bounds) -> Search {
        // max, then min: a NaN becomes the lowest rate.
        let per_s = start_per_s.max(bounds.min_per_s).min(bounds.max_per_s);
        Search {
            goal,
            bounds,
            pending: Some(Probe { per_s, phase: Phase::Up, stretch: 1 }),
            held: None,
            failed: None,
            down: Vec::new(),
            curve: Vec::new(),
            found: Found::default(),
        }
    }

    /// The probe to be made now; the same until it is observed. `None`: the search is over.
    #[allow(clippy::should_implement_trait)] // It does not move by itself: each step needs an observation.
    pub fn next(&mut self) -> Option<Probe> {
        self.pending
    }

    /// Tells what the pending probe saw. Ignored when the search is over.
    pub fn observe(&mut self, seen: Seen) {
        let Some(probe) = self.pending.take() else { return };
        let (held, why) = match self.judge(&seen) {
            Held::Yes => (true, String::from("held")),
            Held::No(why) => (false, why),
            Held::Undecided(why) => {
                if probe.stretch < STRETCH_MAX {
                    self.pending = Some(Probe { stretch: probe.stretch * 2, ..probe });
                    return;
                }
                (false, why)
            }
        };
        self.curve.push(Point { probe, seen, held, why });
        if probe.phase == Phase::Down {
            self.step_down(probe.per_s, held);
        } else {
            self.found.generator_limited = match held {
                false => seen.generator_limited,
                true => self.found.generator_limited,
            };
            self.step_up(probe, held);
        }
    }

    /// Every decided probe, in the order of time.
    pub fn curve(&self) -> &[Point] {
        &self.curve
    }

    /// The result, once [`Search::next`] gives `None`; before that what is known so far.
    pub fn found(&self) -> Found {
        let hysteresis = match (self.found.up_per_s, self.found.down_per_s) {
            (Some(up), Some(down)) => 1.0 - down / up,
            (Some(_), None) if self.pending.is_none() => 1.0,
            _ => 0.0,
        };
        Found { hysteresis, ..self.found }
    }

    fn judge(&self, seen: &Seen) -> Held {
        if seen.achieved_share < self.bounds.achieved_share {
            let who = if seen.generator_limited { "generator" } else { "server" };
            return Held::No(format!(
                "only {:.1} % of the plan was sent ({who})",
                seen.achieved_share * 100.0
            ));
        }
        if seen.failed_share > self.bounds.failed_share {
            return Held::No(format!("{:.2} % failed", seen.failed_share * 100.0));
        }
        let Some(estimate) = seen.estimate else {
            return Held::Undecided(String::from("the samples cannot bear the quantile"));
        };
        let goal_ns = self.goal.below_ns;
        if estimate.low_ns >= goal_ns {
            return Held::No(format!("at least {} at 95 % confidence", time(estimate.low_ns)));
        }
        match estimate.high_ns {
            Some(high_ns) if high_ns < goal_ns && seen.generator_limited => {
                Held::No(String::from("the generator was the limit"))
            }
            Some(high_ns) if high_ns < goal_ns => Held::Yes,
            Some(high_ns) => Held::Undecided(format!("may be {} at 95 % confidence", time(high_ns))),
            None => Held::Undecided(String::from("the samples give it no upper end")),
        }
    }

    fn step_up(&mut self, probe: Probe, held: bool) {
        if held {
            self.held = Some(probe.per_s);
            self.found.up_per_s = self.held;
        } else {
            self.failed = Some(probe.per_s);
        }
        let ask = |per_s, phase| Some(Probe { per_s, phase, stretch: 1 });
        let Bounds { min_per_s, max_per_s, precision, .. } = self.bounds;
        self.pending = match (self.held, self.failed) {
            (Some(low), Some(high)) if high > low * (1.0 + precision) => {
                ask(libm::sqrt(low * high), Phase::Bisect)
            }
            (Some(low), None) if low < max_per_s => ask((low * 2.0).min(max_per_s), Phase::Up),
            (None, Some(high)) if high > min_per_s => ask((high / 2.0).max(min_per_s), Phase::Up),
            (None, _) => None,
            (Some(_), failed) => {
                self.found.bounded = failed.is_none();
                self.turn();
                return;
            }
        };
    }

    /// Begins the way down: the lowest overload, then every rate below it that was measured.
    fn turn(&mut self) {
        let top = self.failed.or(self.held).unwrap_or(0.0);
        self.down = self.curve.iter().map(|point| point.probe.per_s).filter(|&per_s| per_s <= top).collect();
        self.down.sort_unstable_by(f64::total_cmp);
        self.down.dedup();
        self.ask_down();
    }

    fn ask_down(&mut self) {
        self.pending = self.down.pop().map(|per_s| Probe { per_s, phase: Phase::Down, stretch: 1 });
    }

    fn step_down(&mut self, per_s: f64, held: bool) {
        if held {
            self.found.down_per_s = Some(per_s);
        } else {
            self.ask_down();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exact waiting time of a queue with one server and independent arrivals: its p999 is
    /// ln(1000) / (capacity - rate) seconds.
    fn queue(capacity: f64, per_s: f64) -> Seen {
        let p999_s = 6.907_755 / (capacity - per_s).max(1.0);
        let value_ns = (p999_s * 1e9) as u64;
        Seen {
            estimate: Some(Estimate {
                value_ns,
                low_ns: (value_ns as f64 * 0.99) as u64,
                high_ns: Some((value_ns as f64 * 1.01) as u64),
                effective_samples: 1e6,
                effective_above: 1e3,
                at_least: false,
            }),
            failed_share: 0.0,
            achieved_share: if per_s > capacity { capacity / per_s } else { 1.0 },
            generator_limited: false,
        }
    }

    const GOAL: Goal = Goal { quantile: 0.999, below_ns: 1_000_000 };

    fn run(search: &mut Search, mut server: impl FnMut(Probe) -> Seen) -> Found {
        for _ in 0..200 {
            let Some(probe) = search.next() else { return search.found() };
            search.observe(server(probe));
        }
        panic!("no end after 200 probes");
    }

    #[test]
    fn the_rate_found_is_that_of_the_formula() {
        // p999 < 1 ms at ln(1000) * 1000 = 6,908 a second below capacity; 1 % of the interval apart.
        for (capacity, start) in [(50_000.0, 1_000.0), (50_000.0, 400_000.0), (220_000.0, 50_000.0)] {
            let mut search = Search::new(GOAL, start, Bounds::default());
            let found = run(&mut search, |probe| queue(capacity, probe.per_s));
            let truth = capacity - 6_908.0;
            let up = found.up_per_s.unwrap();
            assert!(up <= truth && up > truth / 1.06, "capacity {capacity}, start {start}: {up}");
            assert_eq!(found.down_per_s, found.up_per_s);
            assert_eq!(found.hysteresis, 0.0);
            assert!(!found.bounded && !found.generator_limited);
            let down: Vec<f64> = search
                .curve()
                .iter()
                .filter(|point| point.probe.phase == Phase::Down)
                .map(|point| point.probe.per_s)
                .collect();
            assert!(down.len() == 2 && down[0] > truth, "overload first, then the rate that held: {down:?}");
        }
    }

    #[test]
    fn a_server_that_does_not_recover_shows_hysteresis() {
        let mut broken = false;
        let mut search = Search::new(GOAL, 8_000.0, Bounds::default());
        let found = run(&mut search, |probe| {
            broken |= probe.phase == Phase::Down && probe.per_s > 43_092.0;
            queue(if broken { 30_000.0 } else { 50_000.0 }, probe.per_s)
        });
        let (up, down) = (found.up_per_s.unwrap(), found.down_per_s.unwrap());
        assert!(up > 40_000.0 && down <= 23_092.0, "{found:?}");
        assert!((found.hysteresis - (1.0 - down / up)).abs() < 1e-12 && found.hysteresis > 0.4);
    }

    #[test]
    fn a_server_that_never_recovers_holds_nothing_on_the_way_down() {
        let mut broken = false;
        let found = run(&mut Search::new(GOAL, 8_000.0, Bounds::default()), |probe| {
            broken |= probe.phase == Phase::Down;
            queue(if broken { 0.0 } else { 50_000.0 }, probe.per_s)
        });
        assert!(found.up_per_s.is_some());
        assert_eq!((found.down_per_s, found.hysteresis), (None, 1.0));
    }

    #[test]
    fn what_is_undecided_is_asked_again_longer_and_then_does_not_hold() {
        let mut stretches = Vec::new();
        let bounds = Bounds { min_per_s: 900.0, ..Bounds::default() };
        let mut search = Search::new(GOAL, 1_000.0, bounds);
        let found = run(&mut search, |probe| {
            stretches.push((probe.per_s, probe.stretch));
            Seen { estimate: None, ..queue(50_000.0, probe.per_s) }
        });
        assert_eq!(found, Found::default());
        assert_eq!(stretches, [(1_000.0, 1), (1_000.0, 2), (1_000.0, 4), (900.0, 1), (900.0, 2), (900.0, 4)]);
        assert!(search.curve()[0].why.contains("cannot bear"), "{:?}", search.curve());
    }

    #[test]
    fn an_interval_across_the_goal_holds_only_once_it_is_narrow() {
        let wide = |probe: Probe| {
            let mut seen = queue(50_000.0, probe.per_s);
            let estimate = seen.estimate.as_mut().unwrap();
            if probe.stretch < 4 {
                (estimate.low_ns, estimate.high_ns) = (1, Some(u64::MAX));
            }
            seen
        };
        let found = run(&mut Search::new(GOAL, 1_000.0, Bounds::default()), wide);
        assert!(found.up_per_s.unwrap() > 40_000.0);
    }

    #[test]
    fn the_ends_of_the_search_are_told_apart() {
        let bounds = Bounds { max_per_s: 20_000.0, ..Bounds::default() };
        let found = run(&mut Search::new(GOAL, 1_000.0, bounds), |probe| queue(50_000.0, probe.per_s));
        assert_eq!((found.up_per_s, found.bounded), (Some(20_000.0), true));

        let found = run(&mut Search::new(GOAL, 1_000.0, Bounds::default()), |probe| {
            let limited = probe.per_s > 10_000.0;
            Seen { generator_limited: limited, ..queue(50_000.0, probe.per_s) }
        });
        assert!(found.generator_limited && found.up_per_s.unwrap() <= 10_000.0, "{found:?}");

        let found = run(&mut Search::new(GOAL, 1_000.0, Bounds::default()), |probe| Seen {
            failed_share: 0.5,
            ..queue(50_000.0, probe.per_s)
        });
        assert_eq!(found, Found::default());

        let mut search = Search::new(GOAL, f64::NAN, Bounds::default());
        assert_eq!(search.next().unwrap().per_s, 1.0);
    }
}
