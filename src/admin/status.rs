//! `/status`: what `/metrics` says and what it cannot, as JSON for people, the page and `top`.
use super::recent::Since;
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
    /// Of the last seconds; null when nobody looked shortly before.
    recent: Option<Recent>,
    shards: Vec<Shard>,
}

#[derive(Serialize)]
struct Shard {
    shard: u32,
    core: Option<u32>,
    ready: bool,
    reason: Option<&'static str>,
    /// Rates of the last seconds.
    recent: Option<Rates>,
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
    /// Of connections that other shards got, if there are others that get any.
    #[serde(skip_serializing_if = "Option::is_none")]
    balance: Option<Balance>,
    stages_us: BTreeMap<&'static str, Times>,
    slowest: Vec<Slow>,
}

#[derive(Serialize)]
struct Recent {
    window_ms: u64,
    #[serde(flatten)]
    rates: Rates,
    /// Null when a shard answered only now or only then.
    stages_us: Option<BTreeMap<&'static str, Times>>,
}

#[derive(Clone, Copy, Default, Serialize)]
struct Rates {
    events_per_s: f64,
    requests_per_s: f64,
    bytes_per_s: f64,
}

impl Rates {
    fn new(now: &Counters, then: &Counters, seconds: f64) -> Rates {
        let rate = |now: u64, then: u64| (now.saturating_sub(then) as f64 / seconds * 10.0).round() / 10.0;
        Rates {
            events_per_s: rate(now.events_received, then.events_received),
            requests_per_s: rate(now.requests.total(), then.requests.total()),
            bytes_per_s: rate(now.bytes_received, then.bytes_received),
        }
    }
}

impl Recent {
    fn new(since: &Since) -> Recent {
        let (mut now, mut then) = (Counters::default(), Counters::default());
        for (one, other) in since.shards.iter().flatten() {
            now.merge(one);
            then.merge(other);
        }
        Recent {
            window_ms: since.window.as_millis() as u64,
            rates: Rates::new(&now, &then, since.window.as_secs_f64()),
            stages_us: since.stages.as_ref().map(stages_us),
        }
    }
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
struct Balance {
    /// Whether a connection that comes now goes to another shard; of all shards how many do so.
    repairing: u64,
    /// Why: `connections`, `busy`, `closed`.
    why: Option<&'static str>,
    /// Connections that sent something of late.
    active: u64,
    /// Share of its core; of all shards how many cores.
    busy: f64,
    /// Connections that other shards were given, by their numbers.
    handed_over: BTreeMap<String, u64>,
    adopted: u64,
    returned: u64,
    closed: u64,
    forgone: u64,
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
    shard: u32,
    status: u16,
    /// Null when it is not known any more.
    stream: Option<String>,
    /// Null before it was asked for, and for a Unix socket.
    peer: Option<String>,
    events: u32,
    bytes: u32,
    /// First byte seen to reply taken by the kernel.
    total_us: f64,
    /// What it may have lain in the socket before, at most.
    unseen_us: f64,
    /// Between its last byte and being taken in.
    room_us: f64,
    /// `None`: not timed in that request.
    stages_us: BTreeMap<&'static str, Option<f64>>,
    /// What took most of it, and the same in words.
    cause: &'static str,
    why: &'static str,
    /// What kept the shard's thread from running meanwhile, and for how long.
    stall: Option<&'static str>,
    stalled_us: f64,
    /// How long the shard worked for others meanwhile, and on how many bytes.
    neighbour_us: f64,
    neighbour_bytes: u64,
}

impl<'a> Status<'a> {
    pub fn new(house: &'a House, look: &Look, rss_bytes: Option<u64>) -> Status<'a> {
        let reasons = reasons(look);
        let total = metrics::total(look.answered());
        let since = house.recent.since(look, &total);
        let rates = |shard: u32| {
            let since = since.as_ref()?;
            let (now, then) = since.shards.get(shard as usize)?.as_ref()?;
            Some(Rates::new(now, then, since.window.as_secs_f64()))
        };
        let shard = |(number, snapshot)| Shard::new(number, snapshot, rates(number));
        Status {
            version: &house.facts.version,
            ready: reasons.is_empty(),
            reasons,
            start_ms: house.start_ms,
            uptime_ms: house.started.elapsed().as_millis() as u64,
            rss_bytes,
            memory_plan_bytes: house.facts.memory_plan_bytes,
            config: &house.facts.config,
            total: Figures::new(&total),
            recent: since.as_ref().map(Recent::new),
            shards: look.numbered().map(shard).collect(),
        }
    }
}

impl Shard {
    fn new(number: u32, snapshot: Option<&ShardSnapshot>, recent: Option<Rates>) -> Shard {
        let ready = snapshot.map_or(Err("does not answer"), |s| s.ready);
        Shard {
            shard: number,
            core: snapshot.and_then(|s| s.core),
            ready: ready.is_ok(),
            reason: ready.err(),
            recent,
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
            balance: metrics.balance.used.then(|| balance(&metrics.balance)),
            stages_us: stages_us(&metrics.stages),
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

fn balance(figures: &metrics::BalanceFigures) -> Balance {
    Balance {
        repairing: figures.repairing,
        why: figures.why,
        active: figures.active,
        busy: figures.busy as f64 / 1000.0,
        handed_over: figures.receivers().map(|(to, count)| (to.to_string(), count)).collect(),
        adopted: figures.adopted,
        returned: figures.returned,
        closed: figures.closed,
        forgone: figures.forgone,
    }
}

fn stem(name: &'static str) -> &'static str {
    let name = name.strip_prefix("ringmill_").unwrap_or(name);
    name.strip_suffix("_total").unwrap_or(name)
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1_000.0
}

fn stages_us(stages: &Stages) -> BTreeMap<&'static str, Times> {
    STAGES.map(|stage| (stage.as_str(), times(stages, stage))).into()
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
    // One request of sixteen, and each with a large body, is timed in these stages, and then takes longer than nothing.
    let timed = |stage, ns| ns > 0 || !matches!(stage, Stage::Frame | Stage::Parse | Stage::Append);
    let named = |ns: [u64; STAGES.len()]| {
        let time = |(stage, ns): (Stage, u64)| (stage.as_str(), timed(stage, ns).then(|| us(ns)));
        STAGES.into_iter().zip(ns).map(time).collect()
    };
    let slow = |request: metrics::SlowRequest| Slow {
        time_ms: request.time_ms,
        shard: request.shard,
        status: request.status,
        stream: request.stream.map(|stream| stream.as_str().to_owned()),
        peer: request.peer.map(|peer| peer.to_string()),
        events: request.events,
        bytes: request.bytes,
        total_us: us(request.total_ns),
        unseen_us: us(request.unseen_ns),
        room_us: us(request.room_ns),
        stages_us: named(request.stages_ns),
        cause: request.cause.as_str(),
        why: request.cause.in_words(),
        stall: request.around.stall.map(metrics::Stall::as_str),
        stalled_us: us(request.around.stalled_ns),
        neighbour_us: us(request.around.neighbour_ns),
        neighbour_bytes: request.around.neighbour_bytes,
    };
    slowest.worst_first().into_iter().map(slow).collect()
}

/// `/quarantine`: the start of a few refused events, newest first.
#[derive(Serialize)]
pub(super) struct Refused {
    /// How all of them are had.
    all: &'static str,
    samples: Vec<Sample>,
}

#[derive(Serialize)]
struct Sample {
    time_ms: u64,
    shard: u32,
    index: u32,
    offset: u32,
    length: u32,
    reason: &'static str,
    /// As text; what is no UTF-8 is replaced.
    start: String,
}

impl Refused {
    pub fn new(look: &Look) -> Refused {
        let of = |shard: u32, sample: &metrics::Sample| Sample {
            time_ms: sample.time_ms,
            shard,
            index: sample.index,
            offset: sample.offset,
            length: sample.length,
            reason: sample.reason,
            start: String::from_utf8_lossy(sample.start()).into_owned(),
        };
        let shards = look.answered().map(|snapshot| (snapshot.shard, &snapshot.metrics.samples));
        let samples = shards.flat_map(|(shard, samples)| samples.newest_first().map(move |s| of(shard, s)));
        let mut samples: Vec<Sample> = samples.collect();
        samples.sort_by_key(|sample| std::cmp::Reverse(sample.time_ms));
        samples.truncate(metrics::samples::SAMPLES_MAX);
        Refused { all: "ringmill segments cat --quarantine DIR", samples }
    }
}
