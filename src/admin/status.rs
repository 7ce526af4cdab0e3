//! `/status`: what `/metrics` says and what it cannot, as JSON for people, the page and `top`.
use super::{House, Look, reasons};
use crate::core::metrics::{self, Counters, Metrics, STAGES, ShardSnapshot, Slowest, Stage, Stages};
use serde::Serialize;
use std::collections::BTreeMap;

/// The whole reply. Times end in their unit; a figure that the samples cannot bear is null.
#[derive(Serialize)]
pub(super) struct Status<'a> {
    version: &'a str,
    ready: bool,
    /// Why not, one sentence a shard.
    reasons: Vec<String>,
    start_ms: u64,
    uptime_ms: u64,
    rss_bytes: Option<u64>,
    memory_plan_bytes: u64,
    config: &'a BTreeMap<String, String>,
    /// All shards that answered, together.
    total: Figures,
    shards: Vec<Shard>,
}

#[derive(Serialize)]
struct Shard {
    shard: u32,
    core: Option<u32>,
    ready: bool,
    reason: Option<&'static str>,
    /// Null when the shard does not answer.
    #[serde(flatten)]
    figures: Option<Figures>,
}

#[derive(Serialize)]
struct Figures {
    counters: BTreeMap<String, u64>,
    requests: BTreeMap<String, u64>,
    gauges: BTreeMap<&'static str, u64>,
    books: Books,
    scanner: Scanner,
    /// Of the Kafka sink, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka: Option<BTreeMap<&'static str, u64>>,
    /// Of the HTTP sink, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<BTreeMap<&'static str, u64>>,
    /// Of its spill, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    spill: Option<Spill>,
    stages_us: BTreeMap<&'static str, Times>,
    slowest: Vec<Slow>,
}

#[derive(Serialize)]
struct Spill {
    /// Where events go: `direct`, `spilling`, `returning`.
    mode: &'static str,
    /// Why the sink takes none.
    reason: Option<&'static str>,
    /// Since when; null when it is the sink that takes them.
    since_ms: Option<u64>,
    times: u64,
    events: u64,
    bytes: u64,
    replayed_events: u64,
    replayed_bytes: u64,
    refused_events: u64,
    waiting_events: u64,
    waiting_bytes: u64,
    /// When the oldest waiting event came.
    oldest_ms: Option<u64>,
}

#[derive(Serialize)]
struct Scanner {
    /// `fast`, `exact` or `simd-json`.
    name: &'static str,
    /// Its vector units, where it has a choice of them.
    kernel: Option<&'static str>,
    /// Events that these did not vouch for, so that they were judged byte by byte.
    second_looks: u64,
}

#[derive(Serialize)]
struct Books {
    received: u64,
    accounted: u64,
    balanced: bool,
}

#[derive(Serialize)]
struct Times {
    count: u64,
    sum: f64,
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
    p999: Option<f64>,
    max: Option<f64>,
}

#[derive(Serialize)]
struct Slow {
    time_ms: u64,
    status: u16,
    events: u32,
    bytes: u32,
    total_us: f64,
    /// `None`: not timed in that request.
    stages_us: BTreeMap<&'static str, Option<f64>>,
}

impl<'a> Status<'a> {
    pub fn new(house: &'a House, look: &Look, rss_bytes: Option<u64>) -> Status<'a> {
        let reasons = reasons(look);
        Status {
            version: &house.facts.version,
            ready: reasons.is_empty(),
            reasons,
            start_ms: house.start_ms,
            uptime_ms: house.started.elapsed().as_millis() as u64,
            rss_bytes,
            memory_plan_bytes: house.facts.memory_plan_bytes,
            config: &house.facts.config,
            total: Figures::new(&metrics::total(look.answered())),
            shards: look.numbered().map(|(number, snapshot)| Shard::new(number, snapshot)).collect(),
        }
    }
}

impl Shard {
    fn new(number: u32, snapshot: Option<&ShardSnapshot>) -> Shard {
        let ready = snapshot.map_or(Err("does not answer"), |s| s.ready);
        Shard {
            shard: number,
            core: snapshot.and_then(|s| s.core),
            ready: ready.is_ok(),
            reason: ready.err(),
            figures: snapshot.map(|s| Figures::new(&s.metrics)),
        }
    }
}

impl Figures {
    fn new(metrics: &Metrics) -> Figures {
        let books = metrics.books();
        let code = |code: Option<u16>| code.map_or("other".into(), |code| code.to_string());
        Figures {
            counters: counters(&metrics.counters),
            requests: metrics.counters.requests.each().map(|(c, count)| (code(c), count)).collect(),
            gauges: metrics.gauges.each().map(|(name, _, value)| (stem(name), value)).into(),
            books: Books { received: books.received, accounted: books.accounted, balanced: books.balanced() },
            scanner: Scanner {
                name: metrics.scanner.name,
                kernel: metrics.scanner.kernel,
                second_looks: metrics.scanner.second_looks,
            },
            kafka: metrics.kafka.used.then(|| kafka(&metrics.kafka)),
            http: metrics.http.used.then(|| metrics.http.each().collect()),
            spill: metrics.spill.used.then(|| spill(&metrics.spill)),
            stages_us: STAGES.map(|stage| (stage.as_str(), times(&metrics.stages, stage))).into(),
            slowest: slowest(&metrics.slowest),
        }
    }
}

/// The metric's name without what every name has: `ringmill_timeouts_total{kind="idle"}` is `timeouts_idle`.
fn counters(counters: &Counters) -> BTreeMap<String, u64> {
    let key = |field: &metrics::counters::Field| match field.label {
        None => stem(field.name).to_owned(),
        Some((_, value)) => format!("{}_{value}", stem(field.name)),
    };
    Counters::FIELDS.iter().map(|field| (key(field), (field.get)(counters))).collect()
}

/// Batches and events; `/metrics` has each broker and partition.
fn kafka(kafka: &metrics::Kafka) -> BTreeMap<&'static str, u64> {
    let (figures, totals) = (&kafka.figures, &kafka.totals);
    BTreeMap::from([
        ("batches", totals.written),
        ("batches_not_written", totals.not_written),
        ("batches_possibly_written", totals.possibly_written),
        ("retries", totals.retries),
        ("splits", totals.splits),
        ("bytes_raw", figures.raw_bytes),
        ("bytes_sent", figures.sent_bytes),
        ("events_not_written", figures.events_not_written),
        ("events_possibly_written", figures.events_possibly_written),
        ("events_refused", figures.events_refused),
    ])
}

fn spill(figures: &metrics::SpillFigures) -> Spill {
    let some = |ms: u64| (ms > 0).then_some(ms);
    Spill {
        mode: figures.mode,
        reason: figures.why,
        since_ms: some(figures.since_ms),
        times: figures.begun,
        events: figures.events,
        bytes: figures.bytes,
        replayed_events: figures.replayed_events,
        replayed_bytes: figures.replayed_bytes,
        refused_events: figures.refused_events,
        waiting_events: figures.waiting_events,
        waiting_bytes: figures.waiting_bytes,
        oldest_ms: some(figures.oldest_ms),
    }
}

fn stem(name: &'static str) -> &'static str {
    let name = name.strip_prefix("ringmill_").unwrap_or(name);
    name.strip_suffix("_total").unwrap_or(name)
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1_000.0
}

fn times(stages: &Stages, stage: Stage) -> Times {
    let quantile = |q| stages.quantile_ns(stage, q).map(us);
    let count = stages.count(stage);
    Times {
        count,
        sum: us(stages.sum_ns(stage)),
        p50: quantile(0.5),
        p90: quantile(0.9),
        p99: quantile(0.99),
        p999: quantile(0.999),
        max: (count > 0).then(|| us(stages.max_ns(stage))),
    }
}

fn slowest(slowest: &Slowest) -> Vec<Slow> {
    // One request of sixteen is timed in the other stages, and then takes longer than nothing.
    let timed = |stage, ns| ns > 0 || matches!(stage, Stage::SealWait | Stage::Sink);
    let named = |ns: [u64; STAGES.len()]| {
        let time = |(stage, ns): (Stage, u64)| (stage.as_str(), timed(stage, ns).then(|| us(ns)));
        STAGES.into_iter().zip(ns).map(time).collect()
    };
    let slow = |request: metrics::SlowRequest| Slow {
        time_ms: request.time_ms,
        status: request.status,
        events: request.events,
        bytes: request.bytes,
        total_us: us(request.total_ns),
        stages_us: named(request.stages_ns),
    };
    slowest.worst_first().into_iter().map(slow).collect()
}
