//! What the samples can bear: quantiles with their intervals, or a refusal.

/// A quantile with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The quantile, in nanoseconds. A lower bound when [`Estimate::at_least`] is set.
    pub value_ns: u64,
    /// Lower end of the interval, in nanoseconds.
    pub low_ns: u64,
    /// Upper end of the interval, in nanoseconds. `None`: it falls among requests of which only a lower
    /// bound is known (censored ones), so the samples give no upper end.
    pub high_ns: Option<u64>,
    /// Number of independent samples that would tell as much: the requests, censored ones included,
    /// divided by the inflation that their correlation in time causes.
    pub effective_samples: f64,
    /// Those of [`Estimate::effective_samples`] that lie above the quantile. Never below
    /// [`ABOVE_MIN`]; the relative error of the rank is about 1.96 / sqrt of it.
    pub effective_above: f64,
    /// The quantile itself falls among censored requests: it is at least [`Estimate::value_ns`].
    pub at_least: bool,
}

/// Fewest effective samples above a quantile for which it is reported.
pub const ABOVE_MIN: f64 = 10.0;
