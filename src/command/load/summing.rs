//! From what was measured to what may be said: summary, controls, verdict.
use super::inputs::Inputs;
use super::measure::Measured;
use super::shape;
use crate::core::load::plan::Shape;
use crate::core::load::series::{Recorder, VALID};
use crate::core::load::summary::{Mode, Summary};
use crate::core::load::verdict::{self, Controls, Verdict};

/// A stretch, judged.
pub struct Sum {
    /// Its figures.
    pub summary: Summary,
    /// What was measured beside them.
    pub controls: Controls,
    /// Who was the limit.
    pub verdict: Verdict,
}

/// Sums up and judges.
pub fn sum(measured: &Measured, inputs: &Inputs, shape: Option<&Shape>) -> Sum {
    let corpus = &inputs.first.corpus;
    let names: Vec<&str> = corpus.classes().iter().map(|class| class.name).collect();
    let mode = if shape.is_some() { Mode::Open } else { Mode::Closed };
    let seconds = measured.elapsed_ns as f64 / 1e9;
    let offered_per_s = shape.map(|shape| match shape {
        Shape::Constant { per_s } | Shape::Poisson { per_s } => *per_s,
        _ if seconds > 0.0 => shape::offered(shape, inputs.duration_ns, 0, measured.elapsed_ns) / seconds,
        _ => 0.0,
    });
    let mut summary =
        Summary::new(mode, offered_per_s, measured.elapsed_ns, &measured.totals, &measured.intervals, &names);
    summary.classes.retain(|class| class.id == VALID || corpus.drawn().any(|drawn| drawn.id == class.id));
    let controls = controls(measured, &summary);
    let verdict = verdict::judge(&controls, &summary);
    Sum { summary, controls, verdict }
}

fn controls(measured: &Measured, summary: &Summary) -> Controls {
    let platform = &measured.platform;
    Controls {
        probe_samples: platform.lateness.len(),
        hiccup_p99_ns: platform.hiccup_p99_ns(),
        hiccup_max_ns: platform.hiccup_max_ns(),
        hiccup_share: platform.hiccup_share,
        steal_share: platform.steal_share,
        throttled_ns: platform.throttled_ns,
        run_queue_share: platform.run_queue_share,
        send_lag_p50_ns: lag(&measured.totals, 0.5),
        send_lag_p99_ns: lag(&measured.totals, 0.99),
        generator_busy_share: f64::from(measured.busy_share),
        achieved_share: achieved(summary),
        queued_max: measured.queued_max,
        in_flight_growth_per_s: measured.growth_per_s,
    }
}

fn lag(totals: &Recorder, quantile: f64) -> u64 {
    let values = totals.send_lag().values();
    if values.is_empty() { 0 } else { values.value_at_quantile(quantile) }
}

/// Sent of those that were due. Counted from the requests themselves, for a Poisson plan holds a few more or less
/// than expected.
fn achieved(summary: &Summary) -> f64 {
    let due = summary.counts.all();
    match (summary.mode, due) {
        (Mode::Closed, _) | (_, 0) => 1.0,
        _ => (summary.counts.sent as f64 / due as f64).min(1.0),
    }
}
