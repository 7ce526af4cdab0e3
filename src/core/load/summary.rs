//! What is known at the end of a run: one struct that JSON, report, expectations and verdict all read.
//!
//! It holds numbers only; words and formats belong to its readers.
use super::series::{ClassId, Counts, Errors, Recorder};
use super::stats::{self, Estimate, Intervals};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Whether requests left by a plan or as replies allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By a plan: latency counts from the intended time.
    Open,
    /// A new request when a reply is there: latency counts from sending and hides stalls.
    Closed,
}

impl Mode {
    /// `open` or `closed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Open => "open",
            Mode::Closed => "closed",
        }
    }
}

/// The quantiles of one series. `None`: the samples cannot bear it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quantiles {
    /// Median.
    pub p50: Option<Estimate>,
    /// 90 %.
    pub p90: Option<Estimate>,
    /// 95 %.
    pub p95: Option<Estimate>,
    /// 99 %.
    pub p99: Option<Estimate>,
    /// 99.9 %.
    pub p999: Option<Estimate>,
    /// 99.99 %.
    pub p9999: Option<Estimate>,
    /// Longest time seen, in nanoseconds, ages of censored requests included; `None` without requests.
    pub max_ns: Option<u64>,
    /// Requests in the series, censored ones included.
    pub samples: u64,
}

/// The quantiles of [`Quantiles`] with their names, rising.
pub const QUANTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999)];

impl Quantiles {
    /// Each quantile with its name, rising, as in [`QUANTILES`].
    pub fn each(&self) -> [(&'static str, Option<Estimate>); 6] {
        let values = [self.p50, self.p90, self.p95, self.p99, self.p999, self.p9999];
        core::array::from_fn(|at| (QUANTILES[at].0, values[at]))
    }

    /// The quantile with that name (`p999`); `None` both for another name and for a refusal.
    pub fn get(&self, name: &str) -> Option<Estimate> {
        self.each().into_iter().find(|(have, _)| *have == name).and_then(|(_, estimate)| estimate)
    }
}

/// One payload class at the end.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassSummary {
    /// Its number.
    pub id: ClassId,
    /// Its name, `valid` for 0.
    pub name: String,
    /// How many requests, and what became of them.
    pub counts: Counts,
    /// Intended time to the right answer.
    pub latency: Quantiles,
}

/// A run's results.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Open or closed loop.
    pub mode: Mode,
    /// Requests a second that the plan holds; `None` in a closed loop.
    pub offered_per_s: Option<f64>,
    /// Length of the measured stretch, warm-up left out, in nanoseconds.
    pub elapsed_ns: u64,
    /// Of all classes.
    pub counts: Counts,
    /// Replies by status, rising.
    pub status: Vec<(u16, u64)>,
    /// Failures without a reply, by kind.
    pub errors: Errors,
    /// Intended to right answer, of valid requests.
    pub latency: Quantiles,
    /// Sent to right answer, of valid requests.
    pub service: Quantiles,
    /// Sent to first byte, of valid requests.
    pub first_byte: Quantiles,
    /// Intended to sent, of all requests.
    pub send_lag: Quantiles,
    /// Every class that was asked for, by number.
    pub classes: Vec<ClassSummary>,
}

impl Summary {
    /// Sums up a run of `elapsed_ns` from everything recorded and the intervals it was recorded in. `names` are
    /// those of the classes by number; a class without a name is called by its number.
    pub fn new(
        mode: Mode,
        offered_per_s: Option<f64>,
        elapsed_ns: u64,
        recorder: &Recorder,
        intervals: &Intervals,
        names: &[&str],
    ) -> Summary {
        let classes: Vec<ClassSummary> = (0..=ClassId::MAX)
            .zip(recorder.classes())
            .map(|(id, class)| ClassSummary {
                id,
                name: names.get(usize::from(id)).map_or_else(|| id.to_string(), |name| name.to_string()),
                counts: class.counts,
                latency: stats::quantiles(&class.latency, intervals.class(usize::from(id))),
            })
            .collect();
        Summary {
            mode,
            offered_per_s,
            elapsed_ns,
            counts: recorder.totals(),
            status: recorder.statuses().collect(),
            errors: *recorder.errors(),
            latency: classes.first().map_or_else(Quantiles::default, |valid| valid.latency),
            service: stats::quantiles(recorder.service(), Some(intervals.service())),
            first_byte: stats::quantiles(recorder.first_byte(), Some(intervals.first_byte())),
            send_lag: stats::quantiles(recorder.send_lag(), Some(intervals.send_lag())),
            classes,
        }
    }

    /// Requests completed a second; 0 for an empty stretch.
    pub fn completed_per_s(&self) -> f64 {
        if self.elapsed_ns == 0 { 0.0 } else { self.counts.completed as f64 * 1e9 / self.elapsed_ns as f64 }
    }
}
