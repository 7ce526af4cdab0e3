//! Produces with librdkafka, as ringmill's sink would be asked to, and says what it cost: one JSON object.
//!
//! One thread hands over records and serves delivery reports; librdkafka's own threads (one a broker, one main) do the
//! rest. CPU is that of the whole process between the first record and the last report, so nothing it does is hidden.
//! Without `--rate` it produces as fast as the queue takes records; with it in an open loop: record i is due at i / rate,
//! and its latency counts from then, however late it could be handed over.

use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;
use rdkafka::{
    ClientConfig, ClientContext, Message,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseProducer, BaseRecord, Producer, ProducerContext},
};
use serde_json::json;
use std::{
    sync::{Mutex, atomic::AtomicU64, atomic::Ordering},
    time::{Duration, Instant},
};

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Codec {
    None,
    Lz4,
}

/// Produces records with librdkafka and prints CPU per record, rate and latency as JSON.
#[derive(Debug, Parser)]
struct Options {
    /// Brokers, as host:port with commas; the rig sets it.
    #[arg(long, env = "RIG_BOOTSTRAP")]
    bootstrap: String,
    /// An existing topic.
    #[arg(long, default_value = "events")]
    topic: String,
    /// Records to produce, after a tenth as many to warm up.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Size of a value in bytes.
    #[arg(long, default_value_t = 300)]
    bytes: usize,
    /// Records a second in an open loop; as many as it takes if absent.
    #[arg(long)]
    rate: Option<u64>,
    /// linger.ms.
    #[arg(long, default_value_t = 5.0)]
    linger_ms: f64,
    /// batch.size in bytes.
    #[arg(long, default_value_t = 1_000_000)]
    batch_bytes: u32,
    /// compression.codec.
    #[arg(long, value_enum, default_value = "none")]
    codec: Codec,
    /// max.in.flight.requests.per.connection, 5 at most with idempotence.
    #[arg(long, default_value_t = 5)]
    in_flight: u32,
    /// Give every record a key of its own, so that they scatter over all partitions.
    #[arg(long)]
    keyed: bool,
    /// Another setting of librdkafka.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

/// What delivery reports tell.
#[derive(Debug)]
struct Reports {
    began: Instant,
    written: AtomicU64,
    failed: AtomicU64,
    /// Microseconds from when a record was due to its report. Only the polling thread takes this lock.
    latency: Mutex<Histogram<u64>>,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    /// When the record was due, in nanoseconds since `began`.
    type DeliveryOpaque = usize;

    fn delivery(&self, report: &DeliveryResult<'_>, due_ns: usize) {
        let counter = if report.is_ok() { &self.written } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Err((error, record)) = report {
            eprintln!("partition {} refused: {error}", record.partition());
        }
        let waited = self.began.elapsed().as_nanos() as u64 - due_ns as u64;
        self.latency.lock().expect("nobody panics with it").saturating_record(waited / 1000);
    }
}

fn main() {
    let options = Options::parse();
    let producer = connect(&options);
    let values = values(options.bytes);
    run(&producer, &options, &values, options.records / 10 + 1, None);
    let warm = figures(&producer);
    producer.context().latency.lock().expect("nobody panics with it").reset();
    let (cpu, began) = (cpu_seconds(), Instant::now());
    run(&producer, &options, &values, options.records, options.rate);
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let now = figures(&producer);
    let latency = producer.context().latency.lock().expect("nobody panics with it");
    let at = |quantile: f64| latency.value_at_quantile(quantile);
    let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
    println!(
        "{}",
        json!({
            "producer": "librdkafka", "version": librdkafka, "codec": format!("{:?}", options.codec).to_lowercase(),
            "records": options.records, "bytes": options.bytes, "rate_wanted": options.rate, "keyed": options.keyed,
            "linger_ms": options.linger_ms, "batch_bytes": options.batch_bytes, "in_flight": options.in_flight,
            "written": now.0 - warm.0, "failed": now.1, "seconds": seconds,
            "records_per_second": options.records as f64 / seconds,
            "cpu_us_per_record": cpu * 1e6 / options.records as f64, "cpu_seconds": cpu, "threads": threads(),
            "latency_us": { "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": latency.max() },
        })
    );
    if now.1 > 0 || now.0 - warm.0 != options.records {
        std::process::exit(1);
    }
}

fn connect(options: &Options) -> BaseProducer<Reports> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &options.bootstrap)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", options.linger_ms.to_string())
        .set("batch.size", options.batch_bytes.to_string())
        .set("batch.num.messages", "1000000")
        .set("queue.buffering.max.messages", "1000000")
        .set("compression.codec", format!("{:?}", options.codec).to_lowercase())
        .set("max.in.flight.requests.per.connection", options.in_flight.to_string());
    for setting in &options.settings {
        let (key, value) = setting.split_once('=').expect("--set takes KEY=VALUE");
        config.set(key, value);
    }
    let reports = Reports {
        began: Instant::now(),
        written: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        latency: Mutex::new(
            Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are in order"),
        ),
    };
    config.create_with_context(reports).unwrap_or_else(|e| panic!("librdkafka takes its settings: {e}"))
}

/// Some hundred log events of the wanted size: alike enough for a codec to find something, not equal.
fn values(bytes: usize) -> Vec<String> {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let event = |_| {
        let mut text = format!(
            r#"{{"type":"log","timestamp":{},"level":"{}","service":"checkout-{}","trace":"{:016x}{:016x}","message":""#,
            1_700_000_000_000 + next() % 1_000_000_000,
            ["info", "warn", "error"][(next() % 3) as usize],
            next() % 50,
            next(),
            next(),
        );
        while text.len() + 2 < bytes {
            text.push_str(
                ["order ", "payment ", "accepted ", "retry ", "of ", "user "][(next() % 6) as usize],
            );
            text.push_str(&(next() % 10_000).to_string());
            text.push(' ');
        }
        text.truncate(bytes.saturating_sub(2));
        text + "\"}"
    };
    (0..512).map(event).collect()
}

/// Hands over `count` records, at `rate` if there is one, and waits for all reports.
fn run(
    producer: &BaseProducer<Reports>,
    options: &Options,
    values: &[String],
    count: u64,
    rate: Option<u64>,
) {
    let reports = producer.context();
    let begin = reports.began.elapsed();
    for i in 0..count {
        let due = match rate {
            Some(rate) => {
                begin + Duration::from_nanos((u128::from(i) * 1_000_000_000 / u128::from(rate)) as u64)
            }
            None => reports.began.elapsed(),
        };
        while let Some(early) = due.checked_sub(reports.began.elapsed()).filter(|early| !early.is_zero()) {
            wait(producer, early);
        }
        hand_over(producer, options, &values[(i % values.len() as u64) as usize], i, due);
        if rate.is_some() || i % 64 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::from_millis(10));
    }
}

/// Serves reports for some time. `poll` counts whole milliseconds: what is shorter is slept, or it would spin.
fn wait(producer: &BaseProducer<Reports>, time: Duration) {
    if time < Duration::from_millis(1) {
        std::thread::sleep(time);
    } else {
        producer.poll(Duration::from_millis(1));
    }
}

fn hand_over(producer: &BaseProducer<Reports>, options: &Options, value: &str, i: u64, due: Duration) {
    let key = i.to_be_bytes();
    let mut record =
        BaseRecord::<[u8; 8], str, usize>::with_opaque_to(&options.topic, due.as_nanos() as usize);
    record = record.payload(value);
    if options.keyed {
        record = record.key(&key);
    }
    loop {
        match producer.send(record) {
            Ok(()) => return,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => record = back,
            Err((error, _)) => panic!("librdkafka takes a record: {error}"),
        }
        producer.poll(Duration::from_millis(1));
    }
}

/// Records written and failed so far.
fn figures(producer: &BaseProducer<Reports>) -> (u64, u64) {
    let reports = producer.context();
    (reports.written.load(Ordering::Relaxed), reports.failed.load(Ordering::Relaxed))
}

/// CPU time of this process, all threads, user and system.
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of this frame, which the call fills.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(failed, 0, "every process has a clock of its CPU time");
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Threads that are alive now.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}
