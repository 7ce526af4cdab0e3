//! A made-up run with everything a report can hold: a service of some 100 µs with a tail, malformed requests, a
//! process stopped for 60 ms and one throttled for 5 s, a search, a comparison. The same in every test.
use super::{
    Comparison, Curve, CurvePoint, Expected, FaultMark, Ratio, Recovery, Report, Second, Timeline, recoveries,
};
use ringmill_core::load::{
    series::{Done, Outcome, Recorder},
    stats::Intervals,
    summary::{Mode, Summary},
    verdict::{Controls, Limit, Verdict},
};

const SECONDS: u32 = 60;
const PER_S: u64 = 4_000;
const NAMES: [&str; 5] = ["valid", "cut_json", "bad_utf8", "duplicate_content_length", "slow_body"];
const NS_PER_S: u64 = 1_000_000_000;

/// Numbers that look random and are the same everywhere (splitmix64).
struct Rng(u64);

impl Rng {
    /// 0 to 1, never 0.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11).max(1) as f64 / (1_u64 << 53) as f64
    }
}

/// Time that a request due at `intended_ns` takes beyond its own work: the stop and the throttling.
fn stall_ns(intended_ns: u64, rng: &mut Rng) -> u64 {
    let ms = intended_ns / 1_000_000;
    match ms {
        20_000..20_060 => (20_060 - ms) * 1_000_000,
        35_000..40_000 if ms % 100 > 95 => (8e6 * rng.next()) as u64,
        _ => 0,
    }
}

fn request(intended_ns: u64, rng: &mut Rng) -> Done {
    let class = if rng.next() < 0.8 { 0 } else { 1 + (rng.next() * 4.0) as u8 };
    let lag = 900.0 - 1_500.0 * rng.next().ln();
    let tail = if rng.next() < 0.03 { -400_000.0 * rng.next().ln() } else { 0.0 };
    let work = 62_000.0 - 22_000.0 * rng.next().ln() + tail;
    let work = if class == 0 { work } else { work * 0.6 };
    let sent_ns = intended_ns + lag as u64;
    let done_ns = sent_ns + work as u64 + stall_ns(intended_ns, rng);
    let status = match class {
        0 if rng.next() < 0.000_02 => 503,
        0 => 200,
        _ => 400,
    };
    let outcome = if class == 4 && rng.next() < 0.002 { Outcome::Reset } else { Outcome::Status(status) };
    let expected = matches!(outcome, Outcome::Status(_)) && status != 503;
    Done { class, intended_ns, sent_ns, first_byte_ns: done_ns - 3_000, done_ns, outcome, expected }
}

/// The run.
pub(super) fn report() -> Report {
    let (totals, intervals, timeline) = record();
    let summary = Summary::new(
        Mode::Open,
        Some(PER_S as f64),
        u64::from(SECONDS) * NS_PER_S,
        &totals,
        &intervals,
        &NAMES,
    );
    let mut faults =
        vec![fault(20.0, 0.06, "stop 4711 for 60 ms"), fault(35.0, 5.0, "throttle 4711 to 5 % for 5 s")];
    faults.push(FaultMark { failed: Some("no process 4712".into()), ..fault(50.0, 0.0, "kill 4712") });
    recoveries(timeline.points(), &mut faults);
    Report {
        target: "http://127.0.0.1:8080/v1/events".into(),
        command:
            "ringmill load http://127.0.0.1:8080/v1/events --rate 4k --duration 60s --malformed 20% --seed 7 \
                  --fault '20s: stop 4711 60ms; 35s: throttle 4711 5% for 5s; 50s: kill 4712' --html run.html"
                .into(),
        started_unix_ms: 1_800_000_000_000,
        settings: settings(),
        summary,
        totals,
        intervals: Some(intervals),
        verdict: Verdict {
            limit: Limit::Server,
            why: "up to 190 requests waited for a connection at 20 s".into(),
        },
        timeline,
        curve: Some(curve()),
        comparison: Some(comparison()),
        faults,
        expectations: vec![
            Expected { what: "errors<0.1%".into(), measured: "0.01 %".into(), met: true },
            Expected {
                what: "p999<5ms".into(),
                measured: "refused: too few effective samples".into(),
                met: false,
            },
        ],
        verify: [("acked", 191_998), ("stored", 191_999), ("lost", 0), ("duplicated", 1), ("altered", 0)]
            .map(|(name, n)| (name.to_string(), n))
            .to_vec(),
        controls: controls(),
        environment: environment(),
        notes: vec!["the run was made on two shared cores".into()],
    }
}

fn record() -> (Recorder, Intervals, Timeline) {
    let mut rng = Rng(7);
    let (mut totals, mut second) = (Recorder::new(NAMES.len()), Recorder::new(NAMES.len()));
    let (mut intervals, mut timeline) = (Intervals::new(NAMES.len()), Timeline::new());
    for at_s in 0..SECONDS {
        second.clear();
        for n in 0..PER_S {
            let done = request(u64::from(at_s) * NS_PER_S + n * NS_PER_S / PER_S, &mut rng);
            second.sent(done.class);
            second.record(&done);
        }
        if at_s == SECONDS - 1 {
            second.sent(0);
            second.censor(0, 4_000_000);
        }
        timeline.push(point(at_s, &second, &mut rng));
        intervals.add(u64::from(at_s), &second);
        totals.add(&second);
    }
    (totals, intervals, timeline)
}

fn point(at_s: u32, second: &Recorder, rng: &mut Rng) -> Second {
    let counts = second.totals();
    let stopped = at_s == 20;
    Second {
        at_s,
        span_s: 1,
        offered: PER_S,
        sent: counts.sent,
        completed: counts.completed,
        errors: counts.errors,
        unexpected: counts.unexpected,
        in_flight: if stopped { 64 } else { 2 },
        queued: if stopped { 190 } else { 0 },
        busy_share: 0.31,
        hiccup_max_ns: (20_000.0 - 60_000.0 * rng.next().ln()) as u64,
        steal_share: 0.001,
        ..Second::default()
    }
    .with_latency(second.latency().values(), second.send_lag().values())
}

fn fault(at_s: f64, for_s: f64, what: &str) -> FaultMark {
    FaultMark { at_s, for_s, what: what.into(), failed: None, recovery: Recovery::Unknown }
}

fn curve() -> Curve {
    let table = [
        ("up", 1_000.0, 420_000),
        ("up", 2_000.0, 510_000),
        ("up", 4_000.0, 700_000),
        ("up", 8_000.0, 1_900_000),
        ("up", 16_000.0, 240_000_000),
        ("bisect", 12_000.0, 6_100_000),
        ("bisect", 11_000.0, 4_200_000),
        ("down", 11_000.0, 7_900_000),
        ("down", 10_000.0, 3_900_000),
        ("down", 8_000.0, 2_000_000),
    ];
    let point = |(phase, offered_per_s, ns): (&str, f64, u64)| CurvePoint {
        offered_per_s,
        completed_per_s: Some(offered_per_s.min(12_400.0)),
        phase: phase.into(),
        p50_ns: Some(80_000),
        p99_ns: Some(ns / 3),
        goal_ns: Some(ns),
        low_ns: Some(ns * 9 / 10),
        high_ns: (ns < 100_000_000).then_some(ns * 23 / 20),
        holds: ns * 23 / 20 < 5_000_000,
        why: if ns > 100_000_000 { "the plan was not kept" } else { "the interval reaches beyond the goal" }
            .into(),
    };
    Curve {
        goal: "p999<5ms".into(),
        below_ns: 5_000_000,
        highest_up_per_s: Some(11_000.0),
        highest_down_per_s: Some(10_000.0),
        why: "After overload the server held 9.1 % less (hysteresis).".into(),
        points: table.into_iter().map(point).collect(),
    }
}

fn comparison() -> Comparison {
    let ratio = |what: &str, first: f64, ratio: f64, low: f64, high: f64, answer: &str| Ratio {
        what: what.into(),
        first: Some(first),
        second: Some(first * ratio),
        ratio: Some(ratio),
        low: Some(low),
        high: Some(high),
        pairs: 30,
        answer: answer.into(),
    };
    Comparison {
        first: "http://127.0.0.1:8080/v1/events".into(),
        second: "http://127.0.0.1:8081/v1/events".into(),
        ratios: vec![
            ratio("p50", 84_000.0, 0.92, 0.9, 0.94, "better"),
            ratio("p99", 410_000.0, 1.01, 0.95, 1.07, "not told apart"),
            ratio("p999", 1_900_000.0, 1.31, 1.12, 1.54, "worse"),
            ratio("throughput", 4_000.0, 1.0, 0.999, 1.001, "not told apart"),
        ],
    }
}

fn controls() -> Controls {
    Controls {
        probe_samples: 58_211,
        hiccup_p99_ns: 61_000,
        hiccup_max_ns: 390_000,
        hiccup_share: 0.002,
        steal_share: 0.001,
        send_lag_p50_ns: 2_100,
        send_lag_p99_ns: 8_200,
        generator_busy_share: 0.31,
        achieved_share: 0.999_9,
        queued_max: 190,
        ..Controls::default()
    }
}

fn settings() -> Vec<(String, String)> {
    [
        ("plan", "constant"),
        ("connections", "64"),
        ("pipeline", "1"),
        ("payload", "mix, 1 event a request"),
        ("seed", "7"),
    ]
    .map(|(name, value)| (name.to_string(), value.to_string()))
    .to_vec()
}

fn environment() -> serde_json::Value {
    serde_json::json!({
        "cpu": {"model": "Example CPU @ 2.50GHz", "cores": 2, "threads_per_core": 1, "governor": null,
                "flags": ["avx2", "sse4_2"]},
        "kernel": {"release": "6.1.0", "cmdline": "console=ttyS0 mitigations=auto", "clocksource": "tsc"},
        "limits": {"nofile": 1048576, "memlock": "unlimited"},
        "hypervisor": "kvm",
        "pmu": false
    })
}

/// A run that ended before its first reply.
pub(super) fn empty() -> Report {
    let totals = Recorder::new(1);
    let intervals = Intervals::new(1);
    Report {
        summary: Summary::new(Mode::Closed, None, 0, &totals, &intervals, &NAMES[..1]),
        totals,
        intervals: None,
        timeline: Timeline::new(),
        curve: None,
        comparison: None,
        faults: Vec::new(),
        expectations: Vec::new(),
        verify: Vec::new(),
        controls: Controls::default(),
        environment: serde_json::Value::Null,
        notes: vec!["ended before the first reply".into()],
        settings: Vec::new(),
        ..report()
    }
}
