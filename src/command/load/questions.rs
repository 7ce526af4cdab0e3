//! `--find-rate` and `--against`: many short stretches instead of a long one.
use super::inputs::Inputs;
use super::measure::{Measured, Stretch, measure};
use super::settings::Settings;
use super::show::Show;
use super::summing::{self, Sum};
use crate::core::load::compare::{Arm, Compare};
use crate::core::load::plan::Shape;
use crate::core::load::search::{Bounds, Goal, Search, Seen};
use crate::core::load::series::Recorder;
use crate::core::load::stats;
use crate::core::load::summary::QUANTILES;
use crate::core::load::verdict::Limit;
use crate::load::probe::Probe;
use crate::load::report::{Comparison, Curve, CurvePoint, Ratio};

/// Warm-up of a slice: long enough for the connections to be used once, short against the slice.
const SLICE_WARMUP_NS: u64 = 200_000_000;
/// Slices are no longer than this, so that a drift of the machine meets both targets alike.
const SLICE_NS_MAX: u64 = 1_000_000_000;
/// And no shorter, or the warm-up would be most of it.
const SLICE_NS_MIN: u64 = 100_000_000;
/// Blocks of four slices that a comparison should have, for six pairs are the least that bear an interval.
const BLOCKS_WANTED: u64 = 8;

/// Length of a probe of `--find-rate` when nothing is said.
pub const PROBE_NS: u64 = 5_000_000_000;
/// Length of a comparison when nothing is said, warm-ups left out.
pub const COMPARISON_NS: u64 = 40_000_000_000;

/// Searches the highest rate that holds the goal. Gives the stretch at that rate, or the last one.
///
/// # Errors
/// When not even the first probe could be made; later the search ends with what it has.
pub fn find_rate(
    inputs: &Inputs,
    settings: &Settings,
    (text, goal): (&str, Goal),
    probe: &mut Probe,
    show: &mut Show,
) -> Result<(Measured, Sum, Curve), String> {
    let (first, poisson) = match inputs.shape {
        Some(Shape::Poisson { per_s }) => (per_s, true),
        Some(Shape::Constant { per_s }) => (per_s, false),
        _ => (super::settings::FIRST_RATE, false),
    };
    let mut search = Search::new(goal, first, Bounds::default());
    let mut points: Vec<CurvePoint> = Vec::new();
    let mut kept: Option<(Measured, Sum)> = None;
    let mut number = 0;
    while let Some(asked) = search.next() {
        number += 1;
        let per_s = asked.per_s;
        let shape = if poisson { Shape::Poisson { per_s } } else { Shape::Constant { per_s } };
        let duration_ns = inputs.duration_ns * u64::from(asked.stretch);
        let phase = format!("probe {number}, {}: {per_s:.0}/s", asked.phase.as_str());
        show.stretch(&phase, Some(&shape), duration_ns, None);
        let stretch = stretch(inputs, settings, Some(&shape), duration_ns);
        let measured = match measure(&stretch, probe, show) {
            Ok(measured) => measured,
            Err(why) if kept.is_some() => {
                show.note(format!("the search ended early: {why}"));
                break;
            }
            Err(why) => return Err(why),
        };
        show.passed(measured.elapsed_ns);
        if measured.stopped {
            show.note("the search was ended early".into());
            kept = kept.or_else(|| Some(with_sum(measured, inputs, Some(&shape))));
            break;
        }
        let (measured, sum) = with_sum(measured, inputs, Some(&shape));
        search.observe(seen(&sum, goal));
        if let Some(point) = search.curve().get(points.len()) {
            points.push(CurvePoint::new(point, Some(&sum.summary)));
            let best = search.found().up_per_s == Some(per_s) && point.held;
            if best || kept.is_none() {
                kept = Some((measured, sum));
            }
        }
    }
    let curve = Curve::new(text, &goal, &search.found(), points);
    let (measured, sum) = kept.ok_or("the search made no probe")?;
    Ok((measured, sum, curve))
}

fn with_sum(measured: Measured, inputs: &Inputs, shape: Option<&Shape>) -> (Measured, Sum) {
    let sum = summing::sum(&measured, inputs, shape);
    (measured, sum)
}

fn seen(sum: &Sum, goal: Goal) -> Seen {
    let name = QUANTILES.iter().find(|(_, q)| *q == goal.quantile).map(|(name, _)| *name);
    let counts = &sum.summary.counts;
    let failed = (counts.errors + counts.unexpected) as f64;
    Seen {
        estimate: name.and_then(|name| sum.summary.latency.get(name)),
        failed_share: failed / counts.all().max(1) as f64,
        achieved_share: sum.controls.achieved_share,
        generator_limited: sum.verdict.limit == Limit::Generator,
    }
}

fn stretch<'a>(
    inputs: &'a Inputs,
    settings: &'a Settings,
    shape: Option<&'a Shape>,
    duration_ns: u64,
) -> Stretch<'a> {
    Stretch { shape, duration_ns, ..inputs.stretch(settings) }
}

/// Both targets in turns. Gives what was measured of the first one, and the comparison.
///
/// # Errors
/// When a target cannot be reached before anything was compared.
pub fn against(
    inputs: &Inputs,
    settings: &Settings,
    probe: &mut Probe,
    show: &mut Show,
) -> Result<(Measured, Sum, Comparison), String> {
    let second = inputs.second.as_ref().ok_or("there is no second target")?;
    let slice_ns = (inputs.duration_ns / (4 * BLOCKS_WANTED)).clamp(SLICE_NS_MIN, SLICE_NS_MAX);
    let blocks = inputs.duration_ns.div_ceil(4 * slice_ns).max(1);
    let mut compare = Compare::new(settings.seed);
    let mut sides: [Option<Measured>; 2] = [None, None];
    show.only_slices();
    'blocks: for block in 0..blocks {
        let mut pair: [Option<Recorder>; 2] = [None, None];
        for arm in compare.next_block() {
            let at = usize::from(arm == Arm::B);
            let name = if arm == Arm::A { "first" } else { "second" };
            let phase = format!("block {} of {blocks}, {name} target", block + 1);
            let whole_s = inputs.duration_ns as f64 / 1e9;
            show.stretch(&phase, inputs.shape.as_ref(), slice_ns, Some(whole_s));
            let aim = if arm == Arm::A { &inputs.first } else { second };
            let slice = Stretch {
                aim,
                warmup_ns: SLICE_WARMUP_NS.min(settings.warmup_ns),
                ..stretch(inputs, settings, inputs.shape.as_ref(), slice_ns)
            };
            let told = |why: String| format!("{}: {why}", aim.target.url);
            let measured = match measure(&slice, probe, show) {
                Ok(measured) => measured,
                Err(why) if block > 0 => {
                    show.note(format!("the comparison ended early: {}", told(why)));
                    break 'blocks;
                }
                Err(why) => return Err(told(why)),
            };
            show.passed(measured.elapsed_ns);
            if measured.stopped {
                show.note("the comparison was ended early; its last block does not count".into());
                keep(&mut sides[at], measured, slice_ns);
                break 'blocks;
            }
            match &mut pair[at] {
                Some(recorder) => recorder.add(&measured.totals),
                empty => *empty = Some(measured.totals.clone()),
            }
            keep(&mut sides[at], measured, slice_ns);
        }
        if let [Some(first), Some(second)] = &pair {
            compare.add(first, second);
            show.ratios(&compare.ratios());
        }
    }
    finish(inputs, &compare, sides)
}

/// Adds a slice to those of the same target.
fn keep(side: &mut Option<Measured>, slice: Measured, slice_ns: u64) {
    match side {
        Some(side) => side.add(slice, slice_ns),
        empty => *empty = Some(slice),
    }
}

fn finish(
    inputs: &Inputs,
    compare: &Compare,
    sides: [Option<Measured>; 2],
) -> Result<(Measured, Sum, Comparison), String> {
    let values = |side: &Option<Measured>, what: &str| {
        let side = side.as_ref()?;
        let seconds = side.elapsed_ns as f64 / 1e9;
        match what {
            "throughput" => (seconds > 0.0).then(|| side.totals.totals().right() as f64 / seconds),
            _ => {
                let quantile = match what {
                    "p50" => 0.5,
                    "p95" => 0.95,
                    "p99" => 0.99,
                    _ => 0.999,
                };
                stats::point(side.totals.latency(), quantile).map(|ns| ns as f64)
            }
        }
    };
    let ratios = compare
        .ratios()
        .map(|ratio| Ratio::new(&ratio, values(&sides[0], ratio.what), values(&sides[1], ratio.what)));
    let comparison = Comparison {
        first: inputs.first.target.url.clone(),
        second: inputs.second.as_ref().map(|aim| aim.target.url.clone()).unwrap_or_default(),
        ratios: ratios.to_vec(),
    };
    let [first, second] = sides;
    let measured = first.or(second).ok_or("nothing was compared")?;
    let sum = summing::sum(&measured, inputs, inputs.shape.as_ref());
    Ok((measured, sum, comparison))
}
