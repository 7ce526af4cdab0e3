//! Where a request's time went: one HDR histogram a stage.
use alloc::vec::Vec;
use hdrhistogram::Histogram;

/// The parts of a request's way, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// First byte received to last byte received.
    Read,
    /// Finding the request in the bytes.
    Frame,
    /// Validating its events.
    Parse,
    /// Copying them into the batch.
    Append,
    /// Waiting in the open batch for the commit to begin.
    SealWait,
    /// Write and flush, or the broker's acknowledgement.
    Sink,
    /// Acknowledged to reply handed to the kernel.
    Reply,
}

/// Every stage, in the order of a request's way.
pub const STAGES: [Stage; 7] =
    [Stage::Read, Stage::Frame, Stage::Parse, Stage::Append, Stage::SealWait, Stage::Sink, Stage::Reply];

impl Stage {
    /// The label's value in the metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stage::Read => "read",
            Stage::Frame => "frame",
            Stage::Parse => "parse",
            Stage::Append => "append",
            Stage::SealWait => "seal_wait",
            Stage::Sink => "sink",
            Stage::Reply => "reply",
        }
    }
}

/// Shortest time told apart from zero, in nanoseconds. Framing and appending take a few hundred.
pub const TIME_NS_MIN: u64 = 100;
/// Longest time told apart, in nanoseconds: beyond the longest deadline of a request. Longer ones count as this.
pub const TIME_NS_MAX: u64 = 60_000_000_000;
/// Significant digits: a time is known to 1 %, and a stage's histogram is 24 KiB.
const DIGITS: u8 = 2;

/// One histogram and one exact sum for each stage. All memory is taken by [`Stages::new`].
#[derive(Clone, Debug)]
pub struct Stages {
    histograms: [Histogram<u64>; STAGES.len()],
    sums_ns: [u64; STAGES.len()],
}

impl Stages {
    /// Empty histograms. Allocates 24 KiB a stage.
    pub fn new() -> Stages {
        let empty = Histogram::new_with_bounds(TIME_NS_MIN, TIME_NS_MAX, DIGITS)
            .expect("the bounds are constants that the type allows");
        Stages { histograms: core::array::from_fn(|_| empty.clone()), sums_ns: [0; STAGES.len()] }
    }

    /// Records one time in nanoseconds. Never allocates; times over [`TIME_NS_MAX`] count as that.
    pub fn record(&mut self, stage: Stage, ns: u64) {
        self.record_n(stage, ns, 1);
    }

    /// Records `n` requests that took the same time, as those of one commit do. Never allocates.
    pub fn record_n(&mut self, stage: Stage, ns: u64, n: u64) {
        let ns = ns.min(TIME_NS_MAX);
        self.histograms[stage as usize].saturating_record_n(ns, n);
        let sum = &mut self.sums_ns[stage as usize];
        *sum = sum.saturating_add(ns.saturating_mul(n));
    }

    /// Times recorded.
    pub fn count(&self, stage: Stage) -> u64 {
        self.histograms[stage as usize].len()
    }

    /// Sum of the times recorded, exact, in nanoseconds.
    pub fn sum_ns(&self, stage: Stage) -> u64 {
        self.sums_ns[stage as usize]
    }

    /// The longest time in nanoseconds, to 1 %; 0 when nothing was recorded.
    pub fn max_ns(&self, stage: Stage) -> u64 {
        match self.count(stage) {
            0 => 0,
            _ => self.histograms[stage as usize].max().min(TIME_NS_MAX),
        }
    }

    /// The time in nanoseconds within which the share `quantile` (0 to 1) stayed, to 1 %. `None` when the
    /// samples are too few to say: fewer than one of them would lie beyond it.
    pub fn quantile_ns(&self, stage: Stage, quantile: f64) -> Option<u64> {
        let beyond = self.count(stage) as f64 * (1.0 - quantile);
        // 1e-6: 1 - 0.999 is not quite 0.001.
        let histogram = &self.histograms[stage as usize];
        // The upper end of a bin may lie beyond the longest time.
        (beyond >= 1.0 - 1e-6)
            .then(|| histogram.value_at_quantile(quantile).min(histogram.max()).min(TIME_NS_MAX))
    }

    /// For each of the rising `bounds_ns` how many times were at most that long.
    ///
    /// A histogram's bin is 1 % wide; one that a bound cuts counts above it, so the answer never flatters.
    pub fn cumulative(&self, stage: Stage, bounds_ns: &[u64]) -> Vec<u64> {
        let mut within = Vec::with_capacity(bounds_ns.len());
        let mut bins = self.histograms[stage as usize].iter_recorded().peekable();
        let mut sum = 0u64;
        for bound in bounds_ns {
            while let Some(bin) = bins.next_if(|bin| bin.value_iterated_to() <= *bound) {
                sum = sum.saturating_add(bin.count_at_value());
            }
            within.push(sum);
        }
        within
    }

    /// What was recorded since `earlier`, which is an earlier state of the same. `None`: it is not.
    pub fn since(&self, earlier: &Stages) -> Option<Stages> {
        let mut more = self.clone();
        for (mine, theirs) in more.histograms.iter_mut().zip(&earlier.histograms) {
            mine.subtract(theirs).ok()?;
        }
        for (mine, theirs) in more.sums_ns.iter_mut().zip(earlier.sums_ns) {
            *mine = mine.checked_sub(theirs)?;
        }
        Some(more)
    }

    /// Becomes equal to `other` without allocating.
    pub fn copy_from(&mut self, other: &Stages) {
        for (mine, theirs) in self.histograms.iter_mut().zip(&other.histograms) {
            mine.set_to(theirs).expect("both have the bounds of new()");
        }
        self.sums_ns = other.sums_ns;
    }

    /// Adds another shard's times.
    pub fn merge(&mut self, other: &Stages) {
        for (mine, theirs) in self.histograms.iter_mut().zip(&other.histograms) {
            mine.add(theirs).expect("both have the bounds of new()");
        }
        for (mine, theirs) in self.sums_ns.iter_mut().zip(other.sums_ns) {
            *mine = mine.saturating_add(theirs);
        }
    }
}

impl Default for Stages {
    fn default() -> Stages {
        Stages::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_a_place() {
        let mut stages = Stages::new();
        for ns in [0, 1, 99, 100, TIME_NS_MAX, TIME_NS_MAX + 1, u64::MAX] {
            stages.record(Stage::Read, ns);
        }
        assert_eq!(stages.count(Stage::Read), 7);
        assert_eq!(stages.max_ns(Stage::Read), TIME_NS_MAX);
        assert_eq!(stages.sum_ns(Stage::Read), 200 + 3 * TIME_NS_MAX);
        assert_eq!(stages.count(Stage::Frame), 0);
        let mut copy = Stages::new();
        copy.copy_from(&stages);
        copy.merge(&stages);
        assert_eq!(copy.count(Stage::Read), 14);
        assert_eq!(copy.max_ns(Stage::Read), TIME_NS_MAX);
    }

    #[test]
    fn what_was_recorded_since() {
        let mut stages = Stages::new();
        stages.record_n(Stage::Sink, 1_000_000, 50);
        let earlier = stages.clone();
        assert_eq!(stages.since(&earlier).unwrap().count(Stage::Sink), 0);
        stages.record_n(Stage::Sink, 2_000, 10);
        let more = stages.since(&earlier).unwrap();
        assert_eq!((more.count(Stage::Sink), more.sum_ns(Stage::Sink)), (10, 20_000));
        assert!(more.max_ns(Stage::Sink) < 2_100, "the older maximum is not this time's");
        assert!(earlier.since(&stages).is_none());
    }

    #[test]
    fn quantiles_say_only_what_the_samples_bear() {
        let mut stages = Stages::new();
        assert_eq!((stages.quantile_ns(Stage::Sink, 0.5), stages.max_ns(Stage::Sink)), (None, 0));
        stages.record_n(Stage::Read, 0, 2);
        assert_eq!((stages.quantile_ns(Stage::Read, 0.5), stages.max_ns(Stage::Read)), (Some(0), 0));
        stages.record_n(Stage::Sink, 10_000, 990);
        stages.record_n(Stage::Sink, 5_000_000, 10);
        let about = |ns: Option<u64>, expected: u64| ns.unwrap().abs_diff(expected) * 100 <= expected;
        assert!(about(stages.quantile_ns(Stage::Sink, 0.5), 10_000));
        assert!(about(stages.quantile_ns(Stage::Sink, 0.99), 10_000));
        assert!(about(stages.quantile_ns(Stage::Sink, 0.999), 5_000_000));
        assert_eq!(stages.quantile_ns(Stage::Sink, 0.9999), None);
    }

    #[test]
    fn cumulative_counts_rise_and_never_flatter() {
        let mut stages = Stages::new();
        let mut ns = 50;
        while ns < 2 * TIME_NS_MAX {
            stages.record(Stage::Parse, ns);
            ns += ns / 7 + 1;
        }
        let bounds = [1_000, 25_000, 1_000_000, 10_000_000_000, u64::MAX];
        let within = stages.cumulative(Stage::Parse, &bounds);
        assert!(within.is_sorted());
        assert_eq!(*within.last().unwrap(), stages.count(Stage::Parse));
        let mut exact = [0u64; 5];
        let mut ns = 50;
        while ns < 2 * TIME_NS_MAX {
            for (slot, bound) in exact.iter_mut().zip(bounds) {
                *slot += u64::from(ns <= bound);
            }
            ns += ns / 7 + 1;
        }
        assert!(within.iter().zip(exact).all(|(got, exact)| *got <= exact && exact - got <= 1));
    }
}
