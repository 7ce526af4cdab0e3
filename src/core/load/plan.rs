//! When each request is due: a pure function of shape, length and seed.
//!
//! The plan never learns what the server does. A request is due at its time whether or not the ones before it
//! were answered, and its latency counts from there; a driver may be late, but it may not move these times.
//!
//! Enter at [`Plan::new`]; each generator thread takes its [`Plan::part`].
use alloc::sync::Arc;
use alloc::vec::Vec;
use fastrand::Rng;

/// How the rate runs over time. Rates are requests a second; one that is not a positive finite number means
/// that nothing is sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Evenly spaced.
    Constant {
        /// Requests a second.
        per_s: f64,
    },
    /// Independent arrivals with this mean rate: gaps are exponential, as of many users.
    Poisson {
        /// Requests a second in the mean.
        per_s: f64,
    },
    /// From one rate to another, linear over the whole run.
    Ramp {
        /// Requests a second at the start.
        from_per_s: f64,
        /// Requests a second at the end.
        to_per_s: f64,
    },
    /// One rate after another, each as (requests a second, nanoseconds). The plan ends with the last step.
    Steps(Vec<(f64, u64)>),
    /// Recorded times, nanoseconds from the start, in any order.
    Trace(Vec<u64>),
}

/// The intended times of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    kind: Kind,
    duration_ns: u64,
    seed: u64,
}

#[derive(Clone, Debug)]
enum Kind {
    Poisson { per_s: f64 },
    Ramp { from_per_s: f64, to_per_s: f64 },
    Steps(Arc<[Step]>),
    Trace(Arc<[u64]>),
}

/// A stretch of constant rate.
#[derive(Clone, Copy, Debug)]
struct Step {
    per_s: f64,
    start_ns: u64,
    end_ns: u64,
    /// Requests due before this stretch, with their fraction, so that a rate change loses none.
    before: f64,
}

impl Plan {
    /// A plan of `duration_ns`. `seed` matters for [`Shape::Poisson`] only; the same one gives the same times.
    ///
    /// Steps and traces that are longer are cut, those that are shorter end the plan early.
    pub fn new(shape: Shape, duration_ns: u64, seed: u64) -> Plan {
        let (kind, duration_ns) = match shape {
            Shape::Constant { per_s } => steps(&[(per_s, duration_ns)], duration_ns),
            Shape::Poisson { per_s } => (Kind::Poisson { per_s: usable(per_s) }, duration_ns),
            Shape::Ramp { from_per_s, to_per_s } => {
                (Kind::Ramp { from_per_s: usable(from_per_s), to_per_s: usable(to_per_s) }, duration_ns)
            }
            Shape::Steps(list) => steps(&list, duration_ns),
            Shape::Trace(mut times) => {
                times.retain(|&time| time < duration_ns);
                times.sort_unstable();
                (Kind::Trace(times.into()), duration_ns)
            }
        };
        Plan { kind, duration_ns, seed }
    }

    /// The times of thread `index` of `of`, rising: every `of`-th of the plan, beginning with the `index`-th.
    /// Poisson parts are independent processes of the `of`-th part of the rate; their union is Poisson again.
    ///
    /// # Panics
    /// When `index` is not below `of`.
    pub fn part(&self, index: u32, of: u32) -> Arrivals {
        assert!(index < of, "thread {index} of {of}");
        let source = match &self.kind {
            Kind::Poisson { per_s } => Source::Poisson {
                mean_gap_ns: 1e9 / per_s * f64::from(of),
                at_ns: 0.0,
                // Streams of neighbouring seeds are unrelated: fastrand's steps are a hash of the state.
                rng: Rng::with_seed(self.seed ^ u64::from(index).wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            },
            Kind::Ramp { from_per_s, to_per_s } => Source::Ramp {
                from_per_s: *from_per_s,
                slope_per_s2: (to_per_s - from_per_s) / (self.duration_ns.max(1) as f64 / 1e9),
            },
            Kind::Steps(steps) => Source::Steps { steps: steps.clone(), at: 0 },
            Kind::Trace(times) => Source::Trace(times.clone()),
        };
        Arrivals { source, next: u64::from(index), stride: u64::from(of), end_ns: self.duration_ns }
    }

    /// Length of the plan, in nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        self.duration_ns
    }

    /// How many requests it holds; the expected number for [`Shape::Poisson`].
    pub fn offered(&self) -> f64 {
        let seconds = self.duration_ns as f64 / 1e9;
        match &self.kind {
            Kind::Poisson { per_s } => per_s * seconds,
            Kind::Ramp { from_per_s, to_per_s } => (from_per_s + to_per_s) / 2.0 * seconds,
            Kind::Steps(steps) => {
                steps.iter().map(|step| step.per_s * (step.end_ns - step.start_ns) as f64 / 1e9).sum()
            }
            Kind::Trace(times) => times.len() as f64,
        }
    }

    /// Its mean rate over its length, in requests a second; 0 for an empty plan.
    pub fn offered_per_s(&self) -> f64 {
        if self.duration_ns == 0 { 0.0 } else { self.offered() * 1e9 / self.duration_ns as f64 }
    }
}

fn usable(per_s: f64) -> f64 {
    if per_s.is_finite() && per_s > 0.0 { per_s } else { 0.0 }
}

/// Lays steps one after another up to `duration_ns`, and says how long they are together.
fn steps(list: &[(f64, u64)], duration_ns: u64) -> (Kind, u64) {
    let mut laid = Vec::with_capacity(list.len());
    let (mut start_ns, mut before) = (0u64, 0.0);
    for &(per_s, length_ns) in list {
        let per_s = usable(per_s);
        let end_ns = start_ns.saturating_add(length_ns).min(duration_ns);
        laid.push(Step { per_s, start_ns, end_ns, before });
        before += per_s * (end_ns - start_ns) as f64 / 1e9;
        start_ns = end_ns;
    }
    (Kind::Steps(laid.into()), start_ns)
}

/// The intended times of one thread, rising, in nanoseconds from the start. Takes no memory as it goes.
#[derive(Clone, Debug)]
pub struct Arrivals {
    source: Source,
    /// Number of the next request in the whole plan.
    next: u64,
    stride: u64,
    end_ns: u64,
}

#[derive(Clone, Debug)]
enum Source {
    Poisson { mean_gap_ns: f64, at_ns: f64, rng: Rng },
    Ramp { from_per_s: f64, slope_per_s2: f64 },
    Steps { steps: Arc<[Step]>, at: usize },
    Trace(Arc<[u64]>),
}

impl Iterator for Arrivals {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let number = self.next;
        let at_ns = match &mut self.source {
            Source::Poisson { mean_gap_ns, at_ns, rng } => {
                // 1 - f64() is in (0, 1]: its logarithm is finite.
                *at_ns -= *mean_gap_ns * libm::log(1.0 - rng.f64());
                *at_ns
            }
            Source::Ramp { from_per_s, slope_per_s2 } => ramp(number as f64, *from_per_s, *slope_per_s2)?,
            Source::Steps { steps, at } => step(number as f64, steps, at)?,
            Source::Trace(times) => *times.get(usize::try_from(number).ok()?)? as f64,
        };
        self.next += self.stride;
        (at_ns < self.end_ns as f64).then_some(at_ns as u64)
    }
}

/// When the `number`-th request of a linear ramp is due, in nanoseconds: the rate's integral, solved for time.
fn ramp(number: f64, from_per_s: f64, slope_per_s2: f64) -> Option<f64> {
    if from_per_s == 0.0 && slope_per_s2 <= 0.0 {
        return None;
    }
    let under_root = from_per_s * from_per_s + 2.0 * slope_per_s2 * number;
    if under_root < 0.0 {
        // A falling ramp ends before this request.
        return None;
    }
    // This form of the root loses no digits when the ramp is nearly flat.
    let below = from_per_s + libm::sqrt(under_root);
    Some(if number == 0.0 { 0.0 } else { 2e9 * number / below })
}

/// When the `number`-th request of a row of steps is due; `at` remembers the step of the one before.
fn step(number: f64, steps: &[Step], at: &mut usize) -> Option<f64> {
    while let Some(step) = steps.get(*at) {
        if step.per_s > 0.0 {
            let at_ns = step.start_ns as f64 + (number - step.before) * 1e9 / step.per_s;
            if at_ns < step.end_ns as f64 {
                return Some(at_ns);
            }
        }
        *at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    const S: u64 = 1_000_000_000;

    fn times(shape: Shape, duration_ns: u64) -> Vec<u64> {
        Plan::new(shape, duration_ns, 7).part(0, 1).collect()
    }

    #[test]
    fn deterministic_shapes_give_the_times_of_their_integral() {
        let cases: [(Shape, u64, &[u64]); 9] = [
            (Shape::Constant { per_s: 4.0 }, S, &[0, 250_000_000, 500_000_000, 750_000_000]),
            (Shape::Constant { per_s: 0.0 }, S, &[]),
            (Shape::Constant { per_s: f64::NAN }, S, &[]),
            (Shape::Constant { per_s: 4.0 }, 0, &[]),
            // 0 to 4 a second over two seconds: N(t) = t², so the k-th is due at sqrt(k).
            (
                Shape::Ramp { from_per_s: 0.0, to_per_s: 4.0 },
                2 * S,
                &[0, 1_000_000_000, 1_414_213_562, 1_732_050_807],
            ),
            (Shape::Ramp { from_per_s: 0.0, to_per_s: 0.0 }, S, &[]),
            (Shape::Ramp { from_per_s: 2.0, to_per_s: 2.0 }, S, &[0, 500_000_000]),
            // Half a request is carried over the gap: the third one is due half a gap into the last step.
            (
                Shape::Steps(vec![(1.5, S), (0.0, S), (1.0, 2 * S)]),
                10 * S,
                &[0, 666_666_666, 2_500_000_000, 3_500_000_000],
            ),
            (Shape::Trace(vec![5, 3, 3, 10]), 10, &[3, 3, 5]),
        ];
        for (shape, duration, wanted) in cases {
            assert_eq!(times(shape.clone(), duration), wanted, "{shape:?}");
        }
    }

    #[test]
    fn a_falling_ramp_ends_with_its_integral() {
        let all = times(Shape::Ramp { from_per_s: 1000.0, to_per_s: 0.0 }, 4 * S);
        assert!((1999..=2001).contains(&all.len()), "{}", all.len());
        assert!(all.is_sorted() && *all.last().unwrap() < 4 * S);
        let half = all.iter().filter(|&&time| time < 2 * S).count();
        assert!((1499..=1501).contains(&half), "three quarters fall in the first half: {half}");
    }

    #[test]
    fn parts_together_are_the_plan() {
        for shape in [
            Shape::Constant { per_s: 1234.5 },
            Shape::Ramp { from_per_s: 10.0, to_per_s: 900.0 },
            Shape::Steps(vec![(100.0, S), (700.0, S), (1.0, S)]),
            Shape::Trace((0..1000).map(|n| n * n).collect()),
        ] {
            let plan = Plan::new(shape.clone(), 3 * S, 1);
            let whole: Vec<u64> = plan.part(0, 1).collect();
            for of in [2, 3, 7] {
                let mut union: Vec<u64> = (0..of).flat_map(|index| plan.part(index, of)).collect();
                union.sort_unstable();
                assert_eq!(union, whole, "{shape:?} over {of}");
            }
            let offered = plan.offered();
            assert!((offered - whole.len() as f64).abs() <= 1.0, "{shape:?}: {offered}, {}", whole.len());
        }
    }

    #[test]
    fn poisson_is_seeded_and_has_exponential_gaps_in_each_part() {
        for seed in 0..4 {
            let plan = Plan::new(Shape::Poisson { per_s: 40_000.0 }, 2 * S, seed);
            let parts: Vec<Vec<u64>> = (0..4).map(|index| plan.part(index, 4).collect()).collect();
            assert_eq!(parts[1], plan.part(1, 4).collect::<Vec<_>>(), "seed {seed}");
            assert_ne!(parts[0], parts[1], "seed {seed}");
            let total: usize = parts.iter().map(Vec::len).sum();
            // 80,000 expected; five standard deviations are 1,414.
            assert!(total.abs_diff(80_000) < 1_414, "seed {seed}: {total}");
            let mut union = parts.concat();
            union.sort_unstable();
            let long = union.windows(2).filter(|w| w[1] - w[0] > 25_000).count() as f64;
            // Longer than the mean gap: 1/e of all.
            let share = long / union.len() as f64;
            assert!((share - 0.3679).abs() < 0.01, "seed {seed}: {share}");
        }
    }

    #[test]
    fn a_day_keeps_nanoseconds_apart() {
        let day = 86_400 * S;
        let mut part = Plan::new(Shape::Constant { per_s: 200_000.0 }, day, 0).part(0, 1);
        part.next = 17_279_999_999;
        assert_eq!(part.next(), Some(day - 5_000));
        assert_eq!(part.next(), None);
        assert_eq!(part.next(), None);
    }
}
