//! Produces with librdkafka, as ringmill's sink would be asked to, and says what it cost: one JSON object.
//!
//! One thread hands over records and serves delivery reports; librdkafka's own threads (one a broker, one main) do the
//! rest. CPU is that of the whole process between the first record and the last report, so nothing it does is hidden.
//! Without `--rate` it produces as fast as the queue takes records, and no clock is read for a record; with it in an
//! open loop: record i is due at i / rate, and its latency counts from then, however late it could be handed over.
#[path = "../../produce/src/cpu.rs"]
mod cpu;

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
    path::PathBuf,
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
    /// The values: one a line, in turn.
    #[arg(long)]
    lines: PathBuf,
    /// Seconds measured.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Seconds before that.
    #[arg(long, default_value_t = 1.0)]
    warm: f64,
    /// Records a second in an open loop; as many as it takes if absent.
    #[arg(long)]
    rate: Option<u64>,
    /// Records that are due at once in an open loop.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    burst: u64,
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
    /// When the record was due, in nanoseconds since `began`; 0 if it was not due at any time.
    type DeliveryOpaque = usize;

    fn delivery(&self, report: &DeliveryResult<'_>, due_ns: usize) {
        let counter = if report.is_ok() { &self.written } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Err((error, record)) = report {
            eprintln!("partition {} refused: {error}", record.partition());
        }
        if due_ns == 0 {
            return;
        }
        let waited = self.began.elapsed().as_nanos() as u64 - due_ns as u64;
        self.latency.lock().expect("nobody panics with it").saturating_record(waited / 1000);
    }
}

fn main() {
    let options = Options::parse();
    let text = std::fs::read(&options.lines).unwrap_or_else(|e| panic!("{}: {e}", options.lines.display()));
    let values: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    assert!(!values.is_empty(), "{} has no line", options.lines.display());
    let bytes = values.iter().map(|value| value.len()).sum::<usize>() as f64 / values.len() as f64;
    let producer = connect(&options);
    run(&producer, &options, &values, options.warm);
    let warm = figures(&producer);
    producer.context().latency.lock().expect("nobody panics with it").reset();
    let (before, began) = (cpu::by_thread(), Instant::now());
    let records = run(&producer, &options, &values, options.seconds);
    let seconds = began.elapsed().as_secs_f64();
    let (threads, cpu) = cpu::between(&before, &cpu::by_thread());
    let now = figures(&producer);
    let latency = producer.context().latency.lock().expect("nobody panics with it");
    let at = |quantile: f64| latency.value_at_quantile(quantile);
    let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
    println!(
        "{}",
        json!({
            "producer": "librdkafka", "version": librdkafka, "codec": format!("{:?}", options.codec).to_lowercase(),
            "bytes": bytes, "keyed": options.keyed, "rate_wanted": options.rate, "burst": options.burst,
            "linger_ms": options.linger_ms, "batch_bytes": options.batch_bytes, "in_flight": options.in_flight,
            "records": records, "written": now.0 - warm.0, "failed": now.1, "seconds": seconds,
            "records_per_second": records as f64 / seconds,
            "cpu_us_per_record": cpu * 1e6 / records as f64, "cpu_seconds": cpu, "cpu_seconds_by_thread": threads,
            "latency_us": { "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": latency.max() },
        })
    );
    if now.1 > 0 || now.0 - warm.0 != records {
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

/// Hands over records for so many seconds, at the rate if there is one, and waits for all reports. Returns how many.
fn run(producer: &BaseProducer<Reports>, options: &Options, values: &[&[u8]], seconds: f64) -> u64 {
    let reports = producer.context();
    let begin = reports.began.elapsed();
    let end = begin + Duration::from_secs_f64(seconds);
    let mut i = 0;
    loop {
        let due = match options.rate {
            Some(rate) => {
                begin
                    + Duration::from_nanos(
                        (u128::from(i - i % options.burst) * 1_000_000_000 / u128::from(rate)) as u64,
                    )
            }
            // The clock is looked at once in 64 records.
            None if i % 64 == 0 => reports.began.elapsed(),
            None => begin,
        };
        if due >= end {
            break;
        }
        if options.rate.is_some() {
            while let Some(early) = due.checked_sub(reports.began.elapsed()).filter(|early| !early.is_zero())
            {
                wait(producer, early);
            }
        }
        let due = if options.rate.is_some() { due } else { Duration::ZERO };
        hand_over(producer, options, values[(i % values.len() as u64) as usize], i, due);
        if i % options.burst.max(if options.rate.is_some() { 1 } else { 64 }) == 0 {
            producer.poll(Duration::ZERO);
        }
        i += 1;
    }
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::from_millis(10));
    }
    i
}

/// Serves reports for some time. `poll` counts whole milliseconds: what is shorter is slept, or it would spin.
fn wait(producer: &BaseProducer<Reports>, time: Duration) {
    if time < Duration::from_millis(1) {
        std::thread::sleep(time);
    } else {
        producer.poll(Duration::from_millis(1));
    }
}

fn hand_over(producer: &BaseProducer<Reports>, options: &Options, value: &[u8], i: u64, due: Duration) {
    let key = i.to_be_bytes();
    let mut record =
        BaseRecord::<[u8; 8], [u8], usize>::with_opaque_to(&options.topic, due.as_nanos() as usize);
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
