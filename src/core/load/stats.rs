//! What the samples can bear: quantiles with their intervals, or a refusal.
//!
//! A quantile's 95 % interval is between two order statistics, so no distribution is assumed. Two things make
//! raw counts lie, and both are dealt with here:
//!
//! - **Requests are not independent.** A burst of 50 slow ones is one event, not fifty. [`Batches`] keeps up to
//!   64 stretches of the run and measures how much more the share of slow requests varies between them than it
//!   would by chance; the number of requests divided by that inflation is the *effective* number.
//! - **Some requests were not seen to their end.** They are right-censored: the curve is the product-limit
//!   (Kaplan–Meier) one, and a quantile that falls among them is reported as "at least".
//!
//! What never happened in the run is in no interval: ten seconds know nothing of a burst that comes once a
//! minute. The run has to hold several of whatever is to be told.
//!
//! Enter at [`Intervals`] (feed it once an interval) and [`quantiles`]; [`quantile`] for one.
use super::series::{Recorder, Series, TIME_NS_MAX, TIME_NS_MIN};
use super::summary::Quantiles;
use alloc::vec::Vec;
use hdrhistogram::Histogram;

/// Fewest effective samples above a quantile for which it is reported. With ten its rank is known to some
/// 60 %; with fewer the upper end of the interval is the maximum, which says nothing.
pub const ABOVE_MIN: f64 = 10.0;
/// Correlation asks for more requests above a quantile, but for no more than this many times [`ABOVE_MIN`].
/// Beyond, the interval says how little is known: a run of ten seconds on a machine whose speed drifts has a
/// median worth two independent samples, and it is still the median of all that was seen.
pub const CORRELATION_MAX: f64 = 4.0;
/// Standard deviations on each side of a 95 % interval.
const Z: f64 = 1.96;

/// A quantile with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The quantile, in nanoseconds. A lower bound when [`Estimate::at_least`] is set.
    pub value_ns: u64,
    /// Lower end of the interval, in nanoseconds.
    pub low_ns: u64,
    /// Upper end of the interval, in nanoseconds. `None`: the samples give no upper end, for it falls among
    /// requests of which only a lower bound is known (censored ones), or beyond the largest of too few.
    pub high_ns: Option<u64>,
    /// Number of independent samples that would tell as much: the requests, censored ones included,
    /// divided by the inflation that their correlation in time causes.
    pub effective_samples: f64,
    /// Those of [`Estimate::effective_samples`] that lie above the quantile. Below [`ABOVE_MIN`] only where
    /// requests are correlated more than [`CORRELATION_MAX`] times.
    pub effective_above: f64,
    /// The quantile itself falls among censored requests: it is at least [`Estimate::value_ns`].
    pub at_least: bool,
}

impl Estimate {
    /// Relative error of the quantile's rank at 95 %: 1.96 / sqrt(effective samples above). 0.1 means that
    /// the "1 in 1000" of a p999 is known to ±10 %.
    pub fn rank_error(&self) -> f64 {
        Z / libm::sqrt(self.effective_above)
    }
}

/// Requests that a quantile needs to be reported at all, where correlation inflates by `inflation`.
pub fn samples_needed(q: f64, inflation: f64) -> u64 {
    libm::ceil(ABOVE_MIN / (1.0 - q) * inflation.clamp(1.0, CORRELATION_MAX) - 1e-6) as u64
}

/// The `q`-quantile (0 to 1) of a series that is worth `effective_samples` independent ones; `None` when fewer
/// requests than [`samples_needed`] are there.
pub fn quantile(series: &Series, q: f64, effective_samples: f64) -> Option<Estimate> {
    // Rounding of 1 - q must not refuse what is just enough.
    let above = (1.0 - q) * effective_samples * (1.0 + 1e-9);
    let samples = series.len() as f64;
    let needed = ABOVE_MIN * (samples / effective_samples).clamp(1.0, CORRELATION_MAX);
    if series.is_empty() || !(0.0..1.0).contains(&q) || (1.0 - q) * samples * (1.0 + 1e-9) < needed {
        return None;
    }
    // Quantiles of the binomial number above, by normal approximation with its correction for skewness: for
    // ten it gives 4.3 and 16.7, the exact ones are 4 and 17.
    let spread = Z * libm::sqrt(above * q);
    let skew = (Z * Z - 1.0) / 6.0 * (2.0 * q - 1.0);
    let share = |count: f64| count / effective_samples;
    let [low, middle, high] =
        shares_above(series, [share(above + spread + skew), 1.0 - q, share(above - spread + skew)]);
    Some(Estimate {
        value_ns: middle.ns,
        low_ns: series.values().lowest_equivalent(low.ns),
        high_ns: (!high.at_least).then_some(high.ns),
        effective_samples,
        effective_above: above,
        at_least: middle.at_least,
    })
}

/// The quantile without an interval, in nanoseconds, for comparing like with like; `None` for an empty series.
pub fn point(series: &Series, q: f64) -> Option<u64> {
    (!series.is_empty()).then(|| shares_above(series, [1.0 - q])[0].ns)
}

/// All quantiles of a series. Without `batches` nothing is known of its correlation: it counts as independent.
pub fn quantiles(series: &Series, batches: Option<&Batches>) -> Quantiles {
    let samples = series.len();
    let at = |q| {
        let inflation = batches.map_or(1.0, |batches| batches.inflation(q));
        quantile(series, q, samples as f64 / inflation)
    };
    Quantiles {
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        p999: at(0.999),
        p9999: at(0.9999),
        max_ns: (samples > 0).then(|| series.values().max().max(age(series, series.censored().max()))),
        samples,
    }
}

/// A time such that a given share of requests takes longer.
#[derive(Clone, Copy)]
struct Found {
    ns: u64,
    at_least: bool,
}

/// For each share (falling) the least time that no larger share of the requests exceeds, by the product-limit
/// curve. Where the curve ends above the share, the answer is a lower bound.
fn shares_above<const N: usize>(series: &Series, shares: [f64; N]) -> [Found; N] {
    // The curve is a product of up to 24,000 factors; their rounding must not shift a rank.
    let reached = |above: f64, share: f64| above <= share * (1.0 + 1e-9);
    let mut censored = series.censored().iter_recorded().peekable();
    let mut at_risk = series.len() as f64;
    let mut above = 1.0;
    let mut last_ns = 0;
    let mut found = [None; N];
    for cell in series.values().iter_recorded() {
        let ns = cell.value_iterated_to();
        let from_ns = series.values().lowest_equivalent(ns);
        while let Some(gone) = censored.next_if(|gone| age(series, gone.value_iterated_to()) < from_ns) {
            at_risk -= f64::from(gone.count_at_value());
        }
        let ended = cell.count_at_value() as f64;
        above *= (at_risk - ended) / at_risk;
        at_risk -= ended;
        last_ns = ns;
        for (found, share) in found.iter_mut().zip(shares) {
            if found.is_none() && reached(above, share) {
                *found = Some(ns);
            }
        }
    }
    core::array::from_fn(|i| match found[i] {
        Some(ns) => Found { ns, at_least: false },
        None => Found { ns: last_ns.max(share_above_by_age(series, shares[i])), at_least: true },
    })
}

/// The same as if censored requests had ended at their age: never more than the truth.
fn share_above_by_age(series: &Series, share: f64) -> u64 {
    let limit = share.max(0.0) * (1.0 + 1e-9) * series.len() as f64;
    let mut ages = series.censored().iter_recorded().peekable();
    let mut above = series.len() as f64;
    for cell in series.values().iter_recorded() {
        while let Some(gone) =
            ages.next_if(|gone| age(series, gone.value_iterated_to()) < cell.value_iterated_to())
        {
            above -= f64::from(gone.count_at_value());
            if above <= limit {
                return age(series, gone.value_iterated_to());
            }
        }
        above -= cell.count_at_value() as f64;
        if above <= limit {
            return cell.value_iterated_to();
        }
    }
    let mut last = 0;
    for gone in ages {
        above -= f64::from(gone.count_at_value());
        last = age(series, gone.value_iterated_to());
        if above <= limit {
            break;
        }
    }
    last
}

/// The lower end of a censored cell: what is surely known of the ages in it.
fn age(series: &Series, ns: u64) -> u64 {
    series.censored().lowest_equivalent(ns)
}

/// Stretches of the run that are kept apart. Between 32 and 64 remain in a long run, enough to estimate a
/// variance to some 20 %; each then is long against bursts.
const BATCHES_MAX: usize = 64;
/// Significant digits in a batch: only the share above an edge is asked of it (13 KiB a batch).
const BATCH_DIGITS: u8 = 2;

/// One series cut into stretches of equal length, in bounded memory (at most 860 KiB): when 64 are full,
/// neighbours are merged. From it comes how much correlation inflates the variance of a quantile's rank.
#[derive(Clone, Debug)]
pub struct Batches {
    batches: Vec<Histogram<u32>>,
    /// Intervals in each batch, a power of two.
    intervals_each: u64,
}

impl Default for Batches {
    fn default() -> Batches {
        Batches { batches: Vec::new(), intervals_each: 1 }
    }
}

impl Batches {
    /// Adds what was recorded in interval number `interval` (from 0, all of the same length; one second is
    /// usual). Several threads may add to the same one, in any order.
    pub fn add(&mut self, interval: u64, series: &Series) {
        if series.is_empty() {
            return;
        }
        while interval / self.intervals_each >= BATCHES_MAX as u64 {
            self.halve();
        }
        let index = (interval / self.intervals_each) as usize;
        while self.batches.len() <= index {
            self.batches.push(
                Histogram::new_with_bounds(TIME_NS_MIN, TIME_NS_MAX, BATCH_DIGITS)
                    .expect("the bounds are constants that the type allows"),
            );
        }
        let batch = &mut self.batches[index];
        for cell in series.values().iter_recorded() {
            batch.saturating_record_n(cell.value_iterated_to(), clamp(cell.count_at_value()));
        }
        batch.add(series.censored()).expect("ages have the bounds and digits of a batch");
    }

    /// Batches with anything in them.
    pub fn len(&self) -> usize {
        self.batches.iter().filter(|batch| !batch.is_empty()).count()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// By what the number of requests is to be divided to get that of independent ones, for the `q`-quantile;
    /// at least 1.
    ///
    /// It is the variance of the number of requests above the quantile, estimated from the batches and their
    /// lag-one correlation, over that of independent requests; times what Student's distribution demands for
    /// having estimated it from so few. With fewer than three batches nothing can be estimated, and the factor
    /// of three batches (4.8) is taken.
    pub fn inflation(&self, q: f64) -> f64 {
        let Some(edge_ns) = self.edge(q) else { return 1.0 };
        let counts: Vec<(f64, f64)> = self
            .batches
            .iter()
            .filter(|batch| !batch.is_empty())
            .map(|batch| (batch.len() as f64, (batch.len() - batch.count_between(0, edge_ns)) as f64))
            .collect();
        inflation(&counts)
    }

    fn halve(&mut self) {
        let merged = self.batches.chunks_mut(2).map(|pair| {
            let (first, second) = pair.split_first_mut().expect("chunks are not empty");
            if let Some(second) = second.first() {
                first.add(second).expect("batches have the same bounds");
            }
            first.clone()
        });
        self.batches = merged.collect();
        self.intervals_each *= 2;
    }

    /// The cell edge that parts the requests most nearly at the quantile and leaves some on either side.
    fn edge(&self, q: f64) -> Option<u64> {
        let mut all: Histogram<u64> =
            Histogram::new_with_bounds(TIME_NS_MIN, TIME_NS_MAX, BATCH_DIGITS).ok()?;
        for cell in self.batches.iter().flat_map(|batch| batch.iter_recorded()) {
            all.saturating_record_n(cell.value_iterated_to(), u64::from(cell.count_at_value()));
        }
        let wanted = (1.0 - q) * all.len() as f64;
        let mut above = all.len();
        let mut before = None;
        for cell in all.iter_recorded() {
            above -= cell.count_at_value();
            if above == 0 {
                break;
            }
            let here = Some((cell.value_iterated_to(), above as f64));
            if above as f64 <= wanted {
                // Nearer in ratio: above / wanted against wanted / before.
                let nearer = before.is_none_or(|(_, more)| above as f64 * more >= wanted * wanted);
                return if nearer { here } else { before }.map(|(edge, _)| edge);
            }
            before = here;
        }
        before.map(|(edge, _)| edge)
    }
}

fn clamp(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Inflation from (requests, those above the edge) of each batch, in the order of time.
fn inflation(counts: &[(f64, f64)]) -> f64 {
    let batches = counts.len() as f64;
    let (all, above) = counts.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let share = above / all;
    let by_chance = all * share * (1.0 - share);
    if counts.len() < 3 || by_chance <= 0.0 {
        return square(student(2.0) / Z);
    }
    let residuals: Vec<f64> = counts.iter().map(|(requests, above)| above - requests * share).collect();
    let squares: f64 = residuals.iter().map(|r| r * r).sum();
    let neighbours: f64 = residuals.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let lag_one = if squares > 0.0 { neighbours / squares } else { 0.0 };
    // Taking the mean off draws the estimate down by about (1 + 4 rho) / n: put it back. What chance gives one
    // time in twenty is taken for none, else ten seconds without any correlation would count as three.
    let rho = (lag_one + (1.0 + 4.0 * lag_one) / batches).min(0.95);
    let rho = if rho > 1.64 / libm::sqrt(batches) { rho } else { 0.0 };
    // With fewer than three stretches that are free of each other no factor would be large enough.
    let memory = ((1.0 + rho) / (1.0 - rho)).min(batches / 3.0);
    let variance = squares * batches / (batches - 1.0) * memory;
    let free = (batches / memory - 1.0).max(2.0);
    (variance / by_chance * square(student(free) / Z)).max(1.0)
}

fn square(x: f64) -> f64 {
    x * x
}

/// Student's 97.5 % quantile for `free` degrees of freedom.
fn student(free: f64) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
        2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048,
        2.045, 2.042,
    ];
    let whole = (free.max(1.0) as usize).min(usize::MAX - 1);
    TABLE.get(whole - 1).copied().unwrap_or(Z + 2.4 / free)
}

/// [`Batches`] of every series of a [`Recorder`].
#[derive(Clone, Debug)]
pub struct Intervals {
    classes: Vec<Batches>,
    service: Batches,
    first_byte: Batches,
    send_lag: Batches,
}

impl Intervals {
    /// Empty, for as many classes as the recorders have. Memory is taken as intervals come, up to 860 KiB a
    /// series.
    pub fn new(classes: usize) -> Intervals {
        Intervals {
            classes: (0..classes.max(1)).map(|_| Batches::default()).collect(),
            service: Batches::default(),
            first_byte: Batches::default(),
            send_lag: Batches::default(),
        }
    }

    /// Adds what a thread recorded in interval number `interval` (from 0, all of the same length).
    pub fn add(&mut self, interval: u64, recorder: &Recorder) {
        for (batches, class) in self.classes.iter_mut().zip(recorder.classes()) {
            batches.add(interval, &class.latency);
        }
        self.service.add(interval, recorder.service());
        self.first_byte.add(interval, recorder.first_byte());
        self.send_lag.add(interval, recorder.send_lag());
    }

    /// Latency of a class; `None` when there is no such class.
    pub fn class(&self, index: usize) -> Option<&Batches> {
        self.classes.get(index)
    }

    /// Service time.
    pub fn service(&self) -> &Batches {
        &self.service
    }

    /// Time to first byte.
    pub fn first_byte(&self) -> &Batches {
        &self.first_byte
    }

    /// Send lag.
    pub fn send_lag(&self) -> &Batches {
        &self.send_lag
    }
}

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;
