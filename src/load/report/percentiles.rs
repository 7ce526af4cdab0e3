//! The curve behind the percentile plot: value and interval along the quantiles, as far as the samples bear it.
use super::json::us;
use ringmill_core::load::{
    series::Series,
    stats::{Batches, quantile},
};
use serde::Serialize;

/// Points from one quantile to the one with a tenth of its distance to 100 %.
const STEPS_A_DECADE: u32 = 8;
/// The curve ends at 1 - 10^-7: an hour at full rate bears no more.
const DECADES: u32 = 7;

/// One point: how far the quantile is from 100 %, its value and interval in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// 1 - quantile, so that the far tail keeps its digits.
    pub above: f64,
    /// The quantile.
    pub us: f64,
    /// Lower end of its 95 % interval.
    pub low_us: f64,
    /// Upper end; `None` where only a lower bound is known.
    pub high_us: Option<f64>,
    /// Whether the quantile falls among requests that never ended, and is at least this.
    pub at_least: bool,
}

/// A series as a curve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// Name for people.
    pub name: &'static str,
    /// Rising quantiles, up to the last that the samples bear.
    pub points: Vec<Point>,
}

/// The curve of `series`; `batches` are those of the same series, without them it counts as independent samples.
pub fn percentiles(name: &'static str, series: &Series, batches: Option<&Batches>) -> Percentiles {
    let mut points = Vec::new();
    for step in 0..=STEPS_A_DECADE * DECADES {
        let above = 10_f64.powf(-f64::from(step) / f64::from(STEPS_A_DECADE));
        let q = 1.0 - above;
        let inflation = batches.map_or(1.0, |batches| batches.inflation(q));
        // The first refusal ends the curve: a point behind a gap would look as good as the others.
        let Some(found) = quantile(series, q, series.len() as f64 / inflation) else { break };
        points.push(Point {
            above,
            us: us(found.value_ns),
            low_us: us(found.low_ns),
            high_us: found.high_ns.map(us),
            at_least: found.at_least,
        });
    }
    Percentiles { name, points }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_rises_and_ends_where_ten_samples_are_left() {
        let mut series = Series::new();
        (1..=10_000).for_each(|n| series.record(n * 10_000));
        let curve = percentiles("latency", &series, None);
        assert!(
            curve.points.windows(2).all(|pair| pair[0].us <= pair[1].us && pair[0].above > pair[1].above)
        );
        assert!(
            curve
                .points
                .iter()
                .all(|point| point.low_us <= point.us && point.high_us.is_none_or(|high| point.us <= high))
        );
        let last = curve.points.last().unwrap();
        assert!((0.000_9..0.001_4).contains(&last.above), "{last:?}");
        // Uniform up to 100 ms: the quantile is its share of that.
        let median = curve
            .points
            .iter()
            .min_by(|a, b| (a.above - 0.5).abs().total_cmp(&(b.above - 0.5).abs()))
            .unwrap();
        assert!((median.us / 100_000.0 - (1.0 - median.above)).abs() < 0.01, "{median:?}");
    }

    #[test]
    fn nothing_recorded_is_no_curve() {
        assert!(percentiles("latency", &Series::new(), None).points.is_empty());
    }
}
