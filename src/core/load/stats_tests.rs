//! Known distributions against what is said of them.
use super::super::plan::{Plan, Shape};
use super::super::series::{Done, Outcome};
use super::super::summary::{Mode, Summary};
use super::*;
use fastrand::Rng;

const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// `got` equals `truth` but for a histogram's three digits and `more` (relative).
fn assert_near(got: u64, truth: f64, more: f64, what: &str) {
    let off = (got as f64 / truth - 1.0).abs();
    assert!(off <= 0.001 + more, "{what}: {got} instead of {truth}, {:.2} % off", off * 100.0);
}

fn exponential(rng: &mut Rng, mean: f64) -> u64 {
    (-mean * libm::log(1.0 - rng.f64())) as u64
}

#[test]
fn a_stalling_server_shows_its_stall() {
    // One connection, 10,000 requests a second, 20 us each, and the server stands for the first 100 ms of each
    // second. A request due `t` ms into the stall waits 100 - t ms and for those before it (10 a ms, 20 us
    // each): 100 - 0.8 t ms, also after the stall until the queue is empty at 125 ms. The share that waits
    // longer than x ms is therefore (100 - x) / 800: p99 is 92 ms, p90 is 20 ms, both and the service.
    let mut recorder = Recorder::new(1);
    let mut intervals = Intervals::new(1);
    let mut second = Recorder::new(1);
    let mut free_ns = 0;
    let (seconds, service_ns) = (20, 20_000);
    for intended_ns in Plan::new(Shape::Constant { per_s: 10_000.0 }, seconds * S, 1).part(0, 1) {
        let sent_ns = intended_ns.max(free_ns);
        let stalled_until = sent_ns / S * S + 100 * MS;
        free_ns = sent_ns.max(stalled_until) + service_ns;
        second.sent(0);
        second.record(&Done {
            class: 0,
            intended_ns,
            sent_ns,
            first_byte_ns: free_ns,
            done_ns: free_ns,
            outcome: Outcome::Status(200),
            expected: true,
        });
        if intended_ns % S == S - 100_000 {
            intervals.add(intended_ns / S, &second);
            recorder.add(&second);
            second.clear();
        }
    }
    let summary = Summary::new(Mode::Open, Some(10_000.0), seconds * S, &recorder, &intervals, &["valid"]);
    assert_eq!(summary.counts.completed, 200_000);
    let p99 = summary.latency.p99.unwrap();
    assert_near(p99.value_ns, 92.02e6, 0.0, "p99");
    assert!(p99.low_ns <= 92 * MS && 92 * MS <= p99.high_ns.unwrap(), "{p99:?}");
    // Every second is like the others: nothing to be inflated.
    assert_eq!(p99.effective_samples, 200_000.0);
    assert_near(summary.latency.p90.unwrap().value_ns, 20.02e6, 0.001, "p90");
    assert_eq!(summary.latency.p50.unwrap().value_ns, recorder.latency().values().highest_equivalent(20_000));
    assert_near(summary.latency.max_ns.unwrap(), 100.02e6, 0.0, "max");
    // Counted from sending, the stall hits one request a second and vanishes: coordinated omission.
    assert!(summary.service.p999.unwrap().value_ns < 21_000, "{:?}", summary.service);
    assert_near(summary.send_lag.p99.unwrap().value_ns, 92e6, 0.0, "send lag");
}

#[test]
fn quantiles_of_a_uniform_are_its_ranks() {
    let mut series = Series::new();
    for n in 1..=100_000 {
        series.record(n * 1_000);
    }
    for (q, above) in [(0.5, 50_000.0), (0.9, 10_000.0), (0.99, 1_000.0), (0.999, 100.0), (0.9999, 10.0)] {
        let estimate = quantile(&series, q, 100_000.0).unwrap();
        assert_near(estimate.value_ns, q * 1e8, 0.0, "value");
        assert!((estimate.effective_above - above).abs() < 1e-3, "{estimate:?}");
        let width = 1.96 * libm::sqrt(above * q) * 1_000.0;
        let (low, high) = (estimate.low_ns as f64, estimate.high_ns.unwrap() as f64);
        // Rounding and skewness move an end by a few ranks and a cell.
        assert!((q * 1e8 - low - width).abs() < 1e5 + 2e3, "{q}: {estimate:?}");
        assert!((high - q * 1e8 - width).abs() < 1e5 + 2e3, "{q}: {estimate:?}");
        assert!((estimate.rank_error() - 1.96 / libm::sqrt(above)).abs() < 1e-6);
    }
}

#[test]
fn too_few_samples_are_refused() {
    let mut series = Series::new();
    for n in 0..10_000 {
        series.record(n * 1_000);
    }
    let cases = [
        (0.999, 10_000.0, true),
        (0.999, 9_999.0, false),
        (0.9999, 10_000.0, false),
        (0.997, 4_000.0, true),
        (0.997, 3_000.0, false),
        // Correlation asks for four times as many, whatever it is.
        (0.996, 2_500.0, true),
        (0.996, 2.0, true),
        (0.9961, 2.0, false),
        (1.0, 1e9, false),
        (f64::NAN, 1e9, false),
    ];
    for (q, effective, borne) in cases {
        assert_eq!(quantile(&series, q, effective).is_some(), borne, "{q} of {effective}");
    }
    assert_eq!(quantile(&Series::new(), 0.5, 1e6), None);
    assert_eq!(samples_needed(0.999, 1.0), 10_000);
    assert_eq!(samples_needed(0.9999, 2.5), 250_000);
    assert_eq!(samples_needed(0.9999, 250.0), 400_000);
    let vague = quantile(&series, 0.99, 100.0).unwrap();
    assert!(vague.high_ns.is_none() && vague.low_ns < 9_700_000 && !vague.at_least, "{vague:?}");
    let vaguer = quantile(&series, 0.5, 2.0).unwrap();
    assert!(vaguer.high_ns.is_none() && vaguer.low_ns <= 1_000, "{vaguer:?}");
    assert_eq!(quantiles(&Series::new(), None), Quantiles::default());
}

#[test]
fn censored_requests_bend_the_curve_and_do_not_vanish() {
    // Exponential answers of mean 1 s, requests spread over the 2 s that are watched: half are cut off.
    let truth = |q: f64| -libm::log(1.0 - q) * 1e9;
    for seed in 0..5 {
        let mut rng = Rng::with_seed(seed);
        let (mut series, mut dropped) = (Series::new(), Series::new());
        for _ in 0..100_000 {
            let age = rng.u64(0..2 * S);
            match exponential(&mut rng, 1e9) {
                answer if answer <= age => {
                    series.record(answer);
                    dropped.record(answer);
                }
                _ => series.censor(age),
            }
        }
        let p50 = quantile(&series, 0.5, 100_000.0).unwrap();
        assert_near(p50.value_ns, truth(0.5), 0.02, "p50 with censored requests");
        assert!((p50.low_ns as f64) < truth(0.5) * 1.01 && p50.high_ns.unwrap() as f64 > truth(0.5) * 0.99);
        let naive = quantile(&dropped, 0.5, dropped.len() as f64).unwrap();
        assert!((naive.value_ns as f64) < truth(0.5) * 0.8, "dropping them flatters: {naive:?}");
        // No request was watched for 2.3 s.
        let p90 = quantile(&series, 0.9, 100_000.0).unwrap();
        assert!(p90.at_least && p90.high_ns.is_none(), "{p90:?}");
        assert!(p90.value_ns <= truth(0.9) as u64 && p90.value_ns > 1_500 * MS, "{p90:?}");
    }
}

#[test]
fn a_server_that_stops_answering_is_at_least_that_slow() {
    // 9.5 s of answers within 1 ms, then none: ages at the end are spread evenly over 0.5 s, 5 % of all.
    let mut series = Series::new();
    (0..95_000).for_each(|_| series.record(MS));
    (0..5_000).for_each(|n| series.censor(n * 100_000));
    let p90 = quantile(&series, 0.9, 100_000.0).unwrap();
    assert!(!p90.at_least);
    assert_near(p90.value_ns, 1e6, 0.0, "p90");
    let p99 = quantile(&series, 0.99, 100_000.0).unwrap();
    assert!(p99.at_least && p99.high_ns.is_none());
    // A thousand of them have waited longer than 0.4 s; ages have two digits.
    assert_near(p99.value_ns, 0.4e9, 0.01, "p99");

    let mut mute = Series::new();
    (0..1_000).for_each(|n| mute.censor(n * MS));
    let p50 = quantile(&mute, 0.5, 1_000.0).unwrap();
    assert!(p50.at_least && p50.high_ns.is_none() && p50.low_ns <= p50.value_ns);
    assert_near(p50.value_ns, 0.5e9, 0.01, "all were censored");
    assert!((990..=999).contains(&(quantiles(&mute, None).max_ns.unwrap() / MS)));
}

#[test]
fn timeouts_and_wrong_replies_never_flatter() {
    let done = |done_ns, outcome, expected| Done {
        class: 0,
        intended_ns: 0,
        sent_ns: 0,
        first_byte_ns: 0,
        done_ns,
        outcome,
        expected,
    };
    let mut recorder = Recorder::new(2);
    for n in 0..1_000 {
        match n % 20 {
            0 => recorder.record(&done(10_000, Outcome::Status(503), false)),
            1 => recorder.record(&done(5 * S, Outcome::Timeout, false)),
            _ => recorder.record(&done(2 * MS, Outcome::Status(200), true)),
        }
        // Fast refusals of malformed requests have a histogram of their own.
        recorder.record(&Done { class: 1, ..done(1_000, Outcome::Status(400), true) });
    }
    let p50 = quantile(recorder.latency(), 0.5, 1_000.0).unwrap();
    assert_near(p50.value_ns, 2e6, 0.0, "p50");
    // 5 % are known to take longer than 5 s, and 5 % of the others might.
    let p99 = quantile(recorder.latency(), 0.99, 1_000.0).unwrap();
    assert!(p99.at_least && p99.value_ns > 4_900 * MS, "{p99:?}");
    assert!(quantile(&recorder.class(1).latency, 0.99, 1_000.0).unwrap().value_ns < 2_000);
    let totals = recorder.totals();
    assert_eq!((totals.completed, totals.unexpected, totals.errors, totals.all()), (1_950, 50, 50, 2_000));
    assert_eq!(recorder.statuses().collect::<Vec<_>>(), [(200, 900), (400, 1_000), (503, 50)]);
    assert_eq!(recorder.errors().timeout, 50);
}

/// A server with bursts: in each second it is slow with probability `share`, in stretches of `length` seconds in
/// the mean; latency is exponential, of mean 1 ms or, in a burst, 3 ms.
struct Bursts {
    share: f64,
    length: f64,
}

impl Bursts {
    fn truth(&self, q: f64) -> f64 {
        let above = |x: f64| (1.0 - self.share) * libm::exp(-x / 1e6) + self.share * libm::exp(-x / 3e6);
        let (mut low, mut high) = (0.0, 1e9);
        for _ in 0..100 {
            let middle = (low + high) / 2.0;
            if above(middle) > 1.0 - q { low = middle } else { high = middle }
        }
        low
    }

    fn run(&self, seed: u64, seconds: u64, per_s: u64) -> (Series, Batches) {
        let mut rng = Rng::with_seed(seed);
        let (mut all, mut one) = (Series::new(), Series::new());
        let mut batches = Batches::default();
        let mut slow = rng.f64() < self.share;
        for second in 0..seconds {
            one.clear();
            for _ in 0..per_s {
                let latency = exponential(&mut rng, if slow { 3e6 } else { 1e6 });
                one.record(latency);
                all.record(latency);
            }
            batches.add(second, &one);
            let leave = 1.0 / self.length;
            let enter = leave * self.share / (1.0 - self.share);
            slow = if slow { rng.f64() >= leave } else { rng.f64() < enter };
        }
        (all, batches)
    }

    /// Checks that 95 % intervals hold the truth in 90 to 99 % of 200 trials, whose seeds are 0 to 199; and that
    /// the mean inflation is at least `inflated`. A refusal is no interval, but must be rare.
    fn check_coverage(&self, q: f64, seconds: u64, inflated: f64) {
        let truth = self.truth(q);
        let (mut held, mut told, mut sum) = (0, 0, 0.0);
        let trials = 200;
        for seed in 0..trials {
            let (series, batches) = self.run(seed, seconds, 200);
            let inflation = batches.inflation(q);
            sum += inflation;
            let Some(estimate) = quantile(&series, q, series.len() as f64 / inflation) else { continue };
            told += 1;
            let high = estimate.high_ns.map_or(f64::INFINITY, |ns| ns as f64);
            held += u32::from(estimate.low_ns as f64 <= truth && truth <= high);
        }
        let (coverage, inflation) = (f64::from(held) / f64::from(told), sum / trials as f64);
        let what = std::format!("q {q}: {coverage} of {told} trials, inflation {inflation}");
        assert!((0.90..=0.99).contains(&coverage), "{what}");
        assert!(told >= 180 && inflation >= inflated, "{what}");
    }
}

#[test]
fn the_interval_covers_the_truth_of_independent_requests() {
    let calm = Bursts { share: 0.0, length: 1.0 };
    calm.check_coverage(0.5, 30, 1.0);
    calm.check_coverage(0.99, 30, 1.0);
}

#[test]
fn the_interval_covers_the_truth_through_bursts_of_a_second() {
    Bursts { share: 0.2, length: 1.25 }.check_coverage(0.9, 60, 20.0);
}

#[test]
fn the_interval_covers_the_truth_through_bursts_of_seconds() {
    Bursts { share: 0.2, length: 2.0 }.check_coverage(0.9, 120, 40.0);
}

#[test]
fn bursts_would_be_missed_without_the_inflation() {
    let bursts = Bursts { share: 0.2, length: 2.0 };
    let truth = bursts.truth(0.9);
    let held = (0..100).filter(|&seed| {
        let (series, _) = bursts.run(seed, 60, 200);
        let estimate = quantile(&series, 0.9, series.len() as f64).unwrap();
        estimate.low_ns as f64 <= truth && truth <= estimate.high_ns.unwrap() as f64
    });
    assert!(held.count() < 60, "the test's bursts must matter");
}

#[test]
fn drift_is_not_mistaken_for_knowledge() {
    // Latency doubles over a minute: the median of the run is no property of the server.
    let mut batches = Batches::default();
    let mut rng = Rng::with_seed(1);
    for second in 0..60 {
        let mut one = Series::new();
        (0..1_000).for_each(|_| one.record(exponential(&mut rng, 1e6 * (1.0 + second as f64 / 60.0))));
        batches.add(second, &one);
    }
    assert!(batches.inflation(0.5) > 50.0, "{}", batches.inflation(0.5));
}

#[test]
fn batches_merge_and_stay_bounded() {
    let mut series = Series::new();
    (1..=10).for_each(|n| series.record(n * MS));
    let mut batches = Batches::default();
    for second in 0..10_000 {
        batches.add(second, &series);
        assert!(batches.len() <= BATCHES_MAX);
    }
    // 10,000 seconds in batches of 256 s.
    assert_eq!((batches.len(), batches.intervals_each), (40, 256));
    let total: u64 = batches.batches.iter().map(|batch| batch.len()).sum();
    assert_eq!(total, 100_000);
    // Another thread may be behind; a gap is no batch.
    batches.add(3, &series);
    assert_eq!(batches.batches[0].len(), 2_570);
    let mut late = Batches::default();
    late.add(1_000_000, &series);
    assert_eq!(late.len(), 1);
    assert!(!late.is_empty() && Batches::default().is_empty());
}

#[test]
fn few_intervals_are_told_by_students_distribution() {
    assert_eq!(Batches::default().inflation(0.99), 1.0);
    let one = inflation(&[(1_000.0, 10.0)]);
    assert!((one - 4.82).abs() < 0.01, "{one}");
    // Ten equal seconds vary less than by chance: no gain is taken from that.
    assert_eq!(inflation(&[(1_000.0, 10.0); 10]), 1.0);
    for (free, wanted) in [(0.0, 12.706), (1.0, 12.706), (2.9, 4.303), (30.0, 2.042), (120.0, 1.98)] {
        assert!((student(free) - wanted).abs() < 0.001, "{free}: {}", student(free));
    }
}
