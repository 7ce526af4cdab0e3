//! `--against`: is the new server better, worse, or not told apart from the old one?
//!
//! Both are loaded in turns of equal length, within seconds of each other, in an order that a coin decides
//! ([`Compare::next_block`]), so that whatever drifts or disturbs the machine meets both. Each pair gives one
//! logarithm of a ratio; the pairs, not the requests, are the samples. The ratio reported is their
//! Hodges–Lehmann median with the 95 % interval of Wilcoxon's signed-rank test, which assumes no distribution.
//!
//! A quantile is only taken where its slices bear it: for a p999 several blocks are pooled until ten requests
//! lie above it on both sides. Below six pairs there is no interval, and the answer is "not told apart".
use super::series::{Recorder, Series};
use super::stats::{self, ABOVE_MIN};
use alloc::vec::Vec;
use fastrand::Rng;

/// One of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arm {
    /// The old one.
    A,
    /// The new one.
    B,
}

/// What is said of B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// B is better: its interval excludes equality, and the difference is worth telling.
    Better,
    /// B is worse, likewise.
    Worse,
    /// Neither can be said.
    NotToldApart,
}

impl Answer {
    /// `better`, `worse` or `not told apart`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Answer::Better => "better",
            Answer::Worse => "worse",
            Answer::NotToldApart => "not told apart",
        }
    }
}

/// B against A in one respect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// `p50`, `p95`, `p99`, `p999` or `throughput`.
    pub what: &'static str,
    /// B / A; `None` without pairs.
    pub ratio: Option<f64>,
    /// Its 95 % interval; `None` with fewer than six pairs.
    pub interval: Option<(f64, f64)>,
    /// Pairs that it rests on.
    pub pairs: u64,
    /// What may be said of B.
    pub answer: Answer,
}

/// Smaller differences are not worth telling, however many pairs prove them: two copies of one program differ
/// by as much through their memory layout.
pub const EFFECT_MIN: f64 = 0.01;

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)];

/// A comparison under way. Memory is bounded: some 2 MiB.
#[derive(Clone, Debug)]
pub struct Compare {
    rng: Rng,
    quantiles: [Pooled; QUANTILES.len()],
    throughput: Ratios,
}

impl Compare {
    /// An empty comparison; `seed` decides the order of the arms.
    pub fn new(seed: u64) -> Compare {
        Compare {
            rng: Rng::with_seed(seed),
            quantiles: core::array::from_fn(|_| Pooled::default()),
            throughput: Ratios::default(),
        }
    }

    /// The order of the next four slices, ABBA or BAAB: within either a steady drift cancels.
    pub fn next_block(&mut self) -> [Arm; 4] {
        if self.rng.bool() { [Arm::A, Arm::B, Arm::B, Arm::A] } else { [Arm::B, Arm::A, Arm::A, Arm::B] }
    }

    /// Adds a pair: what was recorded of A and of B in slices of equal total length, close in time. Best is a
    /// whole block, both slices of an arm added up.
    pub fn add(&mut self, a: &Recorder, b: &Recorder) {
        for (pooled, (_, q)) in self.quantiles.iter_mut().zip(QUANTILES) {
            pooled.add(a.latency(), b.latency(), q);
        }
        let rate = |recorder: &Recorder| recorder.totals().right() as f64 + 0.5;
        self.throughput.add(libm::log(rate(b) / rate(a)));
    }

    /// What can be said now: p50, p95, p99, p999 of the latency of valid requests, and throughput.
    pub fn ratios(&self) -> [Ratio; QUANTILES.len() + 1] {
        core::array::from_fn(|i| match QUANTILES.get(i) {
            Some((what, _)) => self.quantiles[i].ratios.ratio(what, true),
            None => self.throughput.ratio("throughput", false),
        })
    }
}

/// One quantile's slices, gathered until they bear it.
#[derive(Clone, Debug, Default)]
struct Pooled {
    a: Series,
    b: Series,
    ratios: Ratios,
}

impl Pooled {
    fn add(&mut self, a: &Series, b: &Series, q: f64) {
        self.a.add(a);
        self.b.add(b);
        let borne = |series: &Series| (1.0 - q) * series.len() as f64 * (1.0 + 1e-9) >= ABOVE_MIN;
        if !borne(&self.a) || !borne(&self.b) {
            return;
        }
        if let (Some(a), Some(b)) = (stats::point(&self.a, q), stats::point(&self.b, q)) {
            self.ratios.add(libm::log(b.max(1) as f64 / a.max(1) as f64));
        }
        self.a.clear();
        self.b.clear();
    }
}

/// Values kept at most; then neighbours are averaged, which also takes out what correlation they have.
const VALUES_MAX: usize = 256;

/// Logarithms of ratios.
#[derive(Clone, Debug)]
struct Ratios {
    values: Vec<f64>,
    /// Pairs in each value, a power of two.
    pairs_each: u64,
    sum: f64,
    in_sum: u64,
    pairs: u64,
}

impl Default for Ratios {
    fn default() -> Ratios {
        Ratios { values: Vec::new(), pairs_each: 1, sum: 0.0, in_sum: 0, pairs: 0 }
    }
}

impl Ratios {
    fn add(&mut self, log_ratio: f64) {
        self.pairs += 1;
        self.sum += log_ratio;
        self.in_sum += 1;
        if self.in_sum < self.pairs_each {
            return;
        }
        self.values.push(self.sum / self.in_sum as f64);
        (self.sum, self.in_sum) = (0.0, 0);
        if self.values.len() == VALUES_MAX {
            self.values = self.values.chunks(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect();
            self.pairs_each *= 2;
        }
    }

    fn ratio(&self, what: &'static str, less_is_better: bool) -> Ratio {
        let walsh = walsh(&self.values);
        let middle = median(&walsh);
        let interval =
            signed_rank_cut(self.values.len()).map(|cut| (walsh[cut], walsh[walsh.len() - 1 - cut]));
        let answer = match (middle, interval) {
            (Some(middle), Some((low, high))) if libm::fabs(middle) >= libm::log(1.0 + EFFECT_MIN) => {
                match (low > 0.0, high < 0.0) {
                    (false, false) => Answer::NotToldApart,
                    (_, less) if less == less_is_better => Answer::Better,
                    _ => Answer::Worse,
                }
            }
            _ => Answer::NotToldApart,
        };
        Ratio {
            what,
            ratio: middle.map(libm::exp),
            interval: interval.map(|(low, high)| (libm::exp(low), libm::exp(high))),
            pairs: self.pairs,
            answer,
        }
    }
}

/// Means of all pairs of values, each with itself too, rising.
fn walsh(values: &[f64]) -> Vec<f64> {
    let mut means: Vec<f64> = values
        .iter()
        .enumerate()
        .flat_map(|(i, first)| values[i..].iter().map(move |second| (first + second) / 2.0))
        .collect();
    means.sort_unstable_by(f64::total_cmp);
    means
}

fn median(sorted: &[f64]) -> Option<f64> {
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[half]),
        _ => Some((sorted[half - 1] + sorted[half]) / 2.0),
    }
}

/// How many of the sorted means are to be cut off on each side for 95 %: the largest number whose probability,
/// as a signed-rank sum of `n` values, is at most 2.5 %. `None` when even none is too many.
fn signed_rank_cut(n: usize) -> Option<usize> {
    const EXACT_UP_TO: usize = 40;
    let sums = n * (n + 1) / 2;
    if n > EXACT_UP_TO {
        let variance = (n * (n + 1) * (2 * n + 1)) as f64 / 24.0;
        return Some((sums as f64 / 2.0 - 0.5 - 1.96 * libm::sqrt(variance)) as usize);
    }
    // Each rank is in the sum or not, with probability one half.
    let mut chance = Vec::from([1.0]);
    chance.resize(sums + 1, 0.0);
    for rank in 1..=n {
        for sum in (0..=sums).rev() {
            let with = if sum >= rank { chance[sum - rank] } else { 0.0 };
            chance[sum] = (chance[sum] + with) / 2.0;
        }
    }
    let mut below = 0.0;
    let within = chance.iter().take_while(|chance| {
        below += **chance;
        below <= 0.025
    });
    within.count().checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::super::series::{Done, Outcome};
    use super::*;

    #[test]
    fn the_cut_is_that_of_the_tables_of_wilcoxon() {
        // Two-sided 5 %: critical values of the signed-rank sum.
        for (n, cut) in [(5, None), (6, Some(0)), (7, Some(2)), (8, Some(3)), (10, Some(8)), (20, Some(52))] {
            assert_eq!(signed_rank_cut(n), cut, "{n} pairs");
        }
        assert_eq!(signed_rank_cut(40), Some(264));
        // 50 pairs: 434 in the tables.
        assert!((433..=434).contains(&signed_rank_cut(50).unwrap()));
    }

    /// A slice of `n` requests with exponential latency of this mean, on a machine that is `noise` times slower.
    fn slice(into: &mut Recorder, rng: &mut Rng, n: u64, mean_ns: f64) {
        for _ in 0..n {
            let latency = -mean_ns * libm::log(1.0 - rng.f64());
            into.sent(0);
            into.record(&Done {
                class: 0,
                intended_ns: 0,
                sent_ns: 0,
                first_byte_ns: latency as u64,
                done_ns: latency as u64,
                outcome: Outcome::Status(200),
                expected: true,
            });
        }
    }

    /// `blocks` blocks in which the machine drifts and bursts; B is `factor` times slower.
    fn compare(seed: u64, blocks: u32, factor: f64) -> [Ratio; 5] {
        let mut rng = Rng::with_seed(seed);
        let mut compare = Compare::new(seed);
        let (mut a, mut b) = (Recorder::new(1), Recorder::new(1));
        let mut drift = 1.0;
        for _ in 0..blocks {
            a.clear();
            b.clear();
            for arm in compare.next_block() {
                drift *= libm::exp(0.05 * (rng.f64() - 0.5));
                let burst = if rng.f64() < 0.08 { 1.3 + 1.7 * rng.f64() } else { 1.0 };
                let mean_ns = 1e5 * drift * burst;
                match arm {
                    Arm::A => slice(&mut a, &mut rng, 1_000, mean_ns),
                    Arm::B => slice(&mut b, &mut rng, 1_000, mean_ns * factor),
                }
            }
            compare.add(&a, &b);
        }
        compare.ratios()
    }

    #[test]
    fn the_same_server_twice_is_not_told_apart() {
        let trials = 30;
        let mut told = 0;
        for seed in 0..trials {
            let ratios = compare(seed, 24, 1.0);
            told += ratios.iter().filter(|ratio| ratio.answer != Answer::NotToldApart).count();
        }
        // Each of the 150 answers may be wrong by chance in 5 % of the cases; three standard deviations more
        // are 15.
        assert!(told <= 15, "{told} of {} told apart", trials * 5);
        assert!(compare(3, 24, 1.0).iter().all(|ratio| ratio.answer == Answer::NotToldApart));
    }

    #[test]
    fn ten_percent_are_told_apart_in_their_direction() {
        for (factor, wanted) in [(1.1, Answer::Worse), (1.0 / 1.1, Answer::Better)] {
            let mut caught = 0;
            for seed in 100..120 {
                let ratios = compare(seed, 48, factor);
                let p95 = ratios[1];
                let ratio = p95.ratio.unwrap();
                assert!((ratio / factor - 1.0).abs() < 0.07, "seed {seed}: {p95:?}");
                caught += u32::from(p95.answer == wanted);
                let wrong = p95.answer != wanted && p95.answer != Answer::NotToldApart;
                assert!(!wrong, "seed {seed}: {p95:?}");
                assert_eq!(ratios[4].answer, Answer::NotToldApart, "equal throughput, seed {seed}");
            }
            assert!(caught >= 17, "caught {caught} of 20 with factor {factor}");
        }
    }

    #[test]
    fn a_p999_waits_for_slices_that_bear_it() {
        let ratios = compare(1, 24, 1.0);
        let pairs: Vec<u64> = ratios.iter().map(|ratio| ratio.pairs).collect();
        // 2,000 requests an arm and block: p999 needs 10,000.
        assert_eq!(pairs, [24, 24, 24, 4, 24]);
        assert_eq!((ratios[3].interval, ratios[3].answer), (None, Answer::NotToldApart));
    }

    #[test]
    fn throughput_that_falls_is_worse_and_nothing_is_no_answer() {
        let mut rng = Rng::with_seed(1);
        let mut compare = Compare::new(1);
        assert!(compare.ratios().iter().all(|r| r.ratio.is_none() && r.answer == Answer::NotToldApart));
        let (mut a, mut b) = (Recorder::new(1), Recorder::new(1));
        for n in 0..10 {
            a.clear();
            b.clear();
            slice(&mut a, &mut rng, 1_000 + n, 1e5);
            slice(&mut b, &mut rng, 800 + n, 1e5);
            compare.add(&a, &b);
        }
        let throughput = compare.ratios()[4];
        assert_eq!(throughput.answer, Answer::Worse, "{throughput:?}");
        assert!((throughput.ratio.unwrap() - 0.8).abs() < 0.01);
    }

    #[test]
    fn memory_stays_bounded_over_a_million_pairs() {
        let mut ratios = Ratios::default();
        for n in 0..1_000_000u32 {
            ratios.add(if n % 2 == 0 { 0.11 } else { 0.09 });
        }
        assert!(ratios.values.len() < VALUES_MAX);
        let ratio = ratios.ratio("p50", true);
        assert_eq!((ratio.pairs, ratio.answer), (1_000_000, Answer::Worse));
        assert!((ratio.ratio.unwrap() - libm::exp(0.1)).abs() < 1e-9);
    }
}
