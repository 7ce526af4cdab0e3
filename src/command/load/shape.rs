//! A plan with its warm-up in front, and how much of it falls into a stretch of time.
use crate::core::load::plan::Shape;

/// Pieces that a ramp behind a warm-up is laid out in. Within a piece the rate is constant; with 2,000 of them it is
/// never off by more than a two-thousandth of the ramp.
const RAMP_PIECES: u32 = 2_000;

/// The shape of warm-up and measured time together. The warm-up runs at the rate that the measured time begins with,
/// or at a trace's mean.
pub fn with_warmup(shape: &Shape, warmup_ns: u64, duration_ns: u64) -> Shape {
    if warmup_ns == 0 {
        return shape.clone();
    }
    match shape {
        Shape::Constant { .. } | Shape::Poisson { .. } => shape.clone(),
        Shape::Steps(steps) => {
            let first = steps.iter().map(|&(per_s, _)| per_s).find(|&per_s| per_s > 0.0).unwrap_or(0.0);
            Shape::Steps([&[(first, warmup_ns)], &steps[..]].concat())
        }
        Shape::Ramp { from_per_s, to_per_s } => {
            let mut steps = vec![(*from_per_s, warmup_ns)];
            let mut begun = 0;
            for piece in 1..=RAMP_PIECES {
                let ends = (u128::from(duration_ns) * u128::from(piece) / u128::from(RAMP_PIECES)) as u64;
                let middle = (f64::from(piece) - 0.5) / f64::from(RAMP_PIECES);
                steps.push((from_per_s + (to_per_s - from_per_s) * middle, ends - begun));
                begun = ends;
            }
            Shape::Steps(steps)
        }
        Shape::Trace(times) => {
            let mean_gap_ns = (duration_ns / (times.len() as u64).max(1)).max(1);
            let before = (0..warmup_ns / mean_gap_ns).map(|number| number * mean_gap_ns);
            Shape::Trace(before.chain(times.iter().map(|time| time.saturating_add(warmup_ns))).collect())
        }
    }
}

/// How many requests the plan holds between two moments of the measured time, expected for Poisson.
pub fn offered(shape: &Shape, duration_ns: u64, from_ns: u64, to_ns: u64) -> f64 {
    until(shape, duration_ns, to_ns.min(duration_ns)) - until(shape, duration_ns, from_ns.min(duration_ns))
}

fn until(shape: &Shape, duration_ns: u64, at_ns: u64) -> f64 {
    let seconds = |ns: u64| ns as f64 / 1e9;
    match shape {
        Shape::Constant { per_s } | Shape::Poisson { per_s } => per_s * seconds(at_ns),
        Shape::Ramp { from_per_s, to_per_s } => {
            let slope = (to_per_s - from_per_s) / seconds(duration_ns).max(1e-9);
            (from_per_s + slope * seconds(at_ns) / 2.0) * seconds(at_ns)
        }
        Shape::Steps(steps) => {
            let mut left = at_ns;
            let mut sum = 0.0;
            for &(per_s, length_ns) in steps {
                let part = left.min(length_ns);
                sum += per_s * seconds(part);
                left -= part;
            }
            sum
        }
        Shape::Trace(times) => times.iter().filter(|&&time| time < at_ns).count() as f64,
    }
}

/// The shape in words: `50000 a second, evenly spaced`.
pub fn describe(shape: &Shape) -> String {
    match shape {
        Shape::Constant { per_s } => format!("{per_s} a second, evenly spaced"),
        Shape::Poisson { per_s } => format!("{per_s} a second in the mean, Poisson"),
        Shape::Ramp { from_per_s, to_per_s } => format!("ramp from {from_per_s} to {to_per_s} a second"),
        Shape::Steps(steps) => {
            let step = |&(per_s, ns): &(f64, u64)| format!("{per_s} a second for {} s", ns as f64 / 1e9);
            format!("steps: {}", steps.iter().map(step).collect::<Vec<_>>().join(", "))
        }
        Shape::Trace(times) => format!("a trace of {} requests", times.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::load::plan::Plan;

    const S: u64 = 1_000_000_000;

    fn shapes() -> [Shape; 4] {
        [
            Shape::Constant { per_s: 1000.0 },
            Shape::Ramp { from_per_s: 100.0, to_per_s: 1900.0 },
            Shape::Steps(vec![(500.0, S), (0.0, S), (2000.0, 2 * S)]),
            Shape::Trace((0..4000).map(|number| number * number * 250).collect()),
        ]
    }

    #[test]
    fn the_measured_part_is_the_plan_moved_behind_the_warm_up() {
        for shape in shapes() {
            let alone: Vec<u64> = Plan::new(shape.clone(), 4 * S, 1).part(0, 1).collect();
            let whole = Plan::new(with_warmup(&shape, 2 * S, 4 * S), 6 * S, 1).part(0, 1);
            let (before, behind): (Vec<u64>, Vec<u64>) = whole.partition(|&time| time < 2 * S);
            assert!(!before.is_empty(), "{shape:?}");
            // The first request of a stretch depends on the fraction that the one before left over.
            assert!(behind.len().abs_diff(alone.len()) <= 1, "{shape:?}: {} {}", behind.len(), alone.len());
            for (moved, time) in behind.iter().zip(&alone) {
                let off = (moved - 2 * S).abs_diff(*time);
                assert!(off <= 11_000_000, "{shape:?}: {time} moved by {off}");
            }
        }
        assert_eq!(with_warmup(&shapes()[1], 0, S), shapes()[1]);
    }

    #[test]
    fn what_is_offered_in_each_second_is_what_the_plan_holds() {
        for shape in shapes() {
            let plan = Plan::new(shape.clone(), 4 * S, 1);
            let times: Vec<u64> = plan.part(0, 1).collect();
            for second in 0..4 {
                let (from, to) = (second * S, (second + 1) * S);
                let exact = times.iter().filter(|&&time| (from..to).contains(&time)).count() as f64;
                let told = offered(&shape, 4 * S, from, to);
                assert!((told - exact).abs() <= 1.0, "{shape:?} second {second}: {told} {exact}");
            }
            assert!((offered(&shape, 4 * S, 0, 9 * S) - plan.offered()).abs() < 1e-6, "{shape:?}");
        }
    }

    #[test]
    fn shapes_in_words() {
        let words: Vec<String> = shapes().iter().map(describe).collect();
        assert_eq!(words[0], "1000 a second, evenly spaced");
        assert_eq!(words[1], "ramp from 100 to 1900 a second");
        assert_eq!(words[2], "steps: 500 a second for 1 s, 0 a second for 1 s, 2000 a second for 2 s");
        assert_eq!(words[3], "a trace of 4000 requests");
    }
}
