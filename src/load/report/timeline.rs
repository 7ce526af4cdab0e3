//! The run second by second, in memory that does not grow: when all points are used, neighbours are put together and
//! each point stands for twice as long from then on. An hour is kept in seconds, a day in 32-second points.
//!
//! Counts of a wider point are sums. Latencies, in-flight and platform figures are the **worst second** in it: a
//! stall of one second stays visible however long the run, which an average would hide.
use hdrhistogram::Histogram;
use serde::Serialize;

/// Points of a full timeline. More than a screen is wide, so nothing is lost to the eye before an hour.
pub const POINTS: usize = 3600;

/// Bands of latency in the heat strip, four a decade from 1 µs; the last holds everything above.
pub const BANDS: usize = 32;

/// The band of a latency in nanoseconds.
pub fn band(ns: u64) -> usize {
    let us = ns as f64 / 1000.0;
    if us <= 1.0 { 0 } else { ((us.log10() * 4.0 + 1e-9) as usize).min(BANDS - 1) }
}

/// The lower edge of a band in nanoseconds.
pub fn band_floor_ns(band: usize) -> u64 {
    (10_f64.powf(band as f64 / 4.0) * 1000.0) as u64
}

/// How many values of `histogram` (nanoseconds) fall into each band.
pub fn bands(histogram: &Histogram<u64>) -> [u64; BANDS] {
    let mut counts = [0; BANDS];
    for step in histogram.iter_recorded() {
        counts[band(step.value_iterated_to())] += step.count_at_value();
    }
    counts
}

/// One point of the timeline. Times are seconds from the run's start, latencies nanoseconds counted from the plan
/// and 0 where nothing was completed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Second {
    /// When the point begins.
    pub at_s: u32,
    /// How many seconds it holds.
    pub span_s: u32,
    /// Requests that the plan asked for; 0 in a closed loop.
    pub offered: u64,
    /// Requests written to a socket.
    pub sent: u64,
    /// Requests answered in full.
    pub completed: u64,
    /// Requests that ended without a reply.
    pub errors: u64,
    /// Replies that broke their class's expectation.
    pub unexpected: u64,
    /// Median latency; of several seconds the worst.
    pub p50_ns: u64,
    /// 99th percentile of the latency; of several seconds the worst.
    pub p99_ns: u64,
    /// Highest latency.
    pub max_ns: u64,
    /// 99th percentile of sent minus intended.
    pub send_lag_p99_ns: u64,
    /// Requests without a reply when the second ended.
    pub in_flight: u64,
    /// Requests that were due and had no connection when the second ended.
    pub queued: u64,
    /// Share of the second in which the busiest generator thread worked, 0 to 1.
    pub busy_share: f32,
    /// Longest time that the platform took away from the probe.
    pub hiccup_max_ns: u64,
    /// Share of the machine's time that the hypervisor took, 0 to 1.
    pub steal_share: f32,
    /// Latencies by [`band`].
    pub bands: Vec<u64>,
}

impl Second {
    /// Fills the latency figures from the second's histograms (nanoseconds).
    pub fn with_latency(mut self, latency: &Histogram<u64>, send_lag: &Histogram<u64>) -> Second {
        let at = |histogram: &Histogram<u64>, quantile| {
            if histogram.is_empty() { 0 } else { histogram.value_at_quantile(quantile) }
        };
        self.p50_ns = at(latency, 0.5);
        self.p99_ns = at(latency, 0.99);
        self.max_ns = at(latency, 1.0);
        self.send_lag_p99_ns = at(send_lag, 0.99);
        self.bands = bands(latency).to_vec();
        self
    }

    /// Completed requests a second.
    pub fn completed_per_s(&self) -> f64 {
        self.completed as f64 / f64::from(self.span_s.max(1))
    }

    fn absorb(&mut self, next: &Second) {
        self.span_s += next.span_s;
        self.offered += next.offered;
        self.sent += next.sent;
        self.completed += next.completed;
        self.errors += next.errors;
        self.unexpected += next.unexpected;
        self.p50_ns = self.p50_ns.max(next.p50_ns);
        self.p99_ns = self.p99_ns.max(next.p99_ns);
        self.max_ns = self.max_ns.max(next.max_ns);
        self.send_lag_p99_ns = self.send_lag_p99_ns.max(next.send_lag_p99_ns);
        self.in_flight = self.in_flight.max(next.in_flight);
        self.queued = self.queued.max(next.queued);
        self.busy_share = self.busy_share.max(next.busy_share);
        self.hiccup_max_ns = self.hiccup_max_ns.max(next.hiccup_max_ns);
        self.steal_share = self.steal_share.max(next.steal_share);
        if self.bands.len() < next.bands.len() {
            self.bands.resize(next.bands.len(), 0);
        }
        for (mine, theirs) in self.bands.iter_mut().zip(&next.bands) {
            *mine += theirs;
        }
    }
}

/// The run's points, oldest first; at most [`POINTS`].
#[derive(Clone, Debug)]
pub struct Timeline {
    points: Vec<Second>,
    /// Seconds that a full point holds.
    width: u32,
}

impl Default for Timeline {
    fn default() -> Timeline {
        Timeline { points: Vec::new(), width: 1 }
    }
}

impl Timeline {
    /// An empty timeline.
    pub fn new() -> Timeline {
        Timeline::default()
    }

    /// Adds a second; seconds come in order. `span_s` of 0 counts as 1.
    pub fn push(&mut self, mut second: Second) {
        second.span_s = second.span_s.max(1);
        if let Some(last) = self.points.last_mut()
            && last.span_s < self.width
        {
            last.absorb(&second);
            return;
        }
        if self.points.len() == POINTS {
            self.halve();
        }
        self.points.push(second);
    }

    /// The points, oldest first.
    pub fn points(&self) -> &[Second] {
        &self.points
    }

    /// Seconds that each point but the last stands for.
    pub fn width_s(&self) -> u32 {
        self.width
    }

    fn halve(&mut self) {
        self.width *= 2;
        let old = std::mem::take(&mut self.points);
        for pair in old.chunks(2) {
            let mut point = pair[0].clone();
            if let Some(next) = pair.get(1) {
                point.absorb(next);
            }
            self.points.push(point);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(at_s: u32, p99_ns: u64) -> Second {
        Second { at_s, span_s: 1, completed: 10, p99_ns, bands: vec![1; BANDS], ..Second::default() }
    }

    #[test]
    fn a_day_stays_bounded_and_loses_neither_a_request_nor_the_worst_second() {
        let mut timeline = Timeline::new();
        for at in 0..86_400 {
            timeline.push(second(at, if at == 40_001 { 9_000_000 } else { 1_000_000 }));
        }
        let points = timeline.points();
        assert!(
            points.len() <= POINTS && timeline.width_s() == 32,
            "{} {}",
            points.len(),
            timeline.width_s()
        );
        assert_eq!(points.iter().map(|point| point.completed).sum::<u64>(), 864_000);
        assert_eq!(points.iter().map(|point| point.bands[3]).sum::<u64>(), 86_400);
        assert_eq!(points.iter().map(|point| point.span_s).sum::<u32>(), 86_400);
        let worst: Vec<u32> =
            points.iter().filter(|point| point.p99_ns == 9_000_000).map(|point| point.at_s).collect();
        assert_eq!(worst, [40_000]);
        assert!(points.windows(2).all(|pair| pair[0].at_s + pair[0].span_s == pair[1].at_s));
    }

    #[test]
    fn an_hour_is_kept_second_by_second() {
        let mut timeline = Timeline::new();
        (0..3600).for_each(|at| timeline.push(second(at, 1)));
        assert_eq!((timeline.points().len(), timeline.width_s()), (3600, 1));
    }

    #[test]
    fn bands_are_four_a_decade_from_a_microsecond() {
        let table = [
            (0, 0),
            (999, 0),
            (1_000, 0),
            (1_800, 1),
            (10_000, 4),
            (100_000, 8),
            (1_000_000, 12),
            (u64::MAX, 31),
        ];
        for (ns, expected) in table {
            assert_eq!(band(ns), expected, "{ns} ns");
        }
        for band_index in 1..BANDS {
            assert_eq!(band(band_floor_ns(band_index) + 1), band_index);
        }
    }

    #[test]
    fn a_second_without_replies_has_no_latency() {
        let empty = Histogram::<u64>::new_with_bounds(1000, 3_600_000_000_000, 3).unwrap();
        let second = Second::default().with_latency(&empty, &empty);
        assert_eq!((second.p50_ns, second.max_ns, second.bands.iter().sum::<u64>()), (0, 0, 0));
    }
}
