//! Produces with the Kafka sink of a shard, without a listener: what `benches/kafka` does with librdkafka, and the
//! same JSON object.
//!
//! One thread on one core: [`feeder::Feeder`] takes the engine's place between the shard's driver and the sink, and
//! copies records from memory into the batches as the engine does, without HTTP and without looking at JSON. CPU is
//! that of the whole process between the first record and the last outcome. Without `--rate` records come as fast as
//! there is room for them; with it in an open loop: record i is due at i / rate, and its latency counts from then.
//!
//! Not for correctness: what a broker does with its batches is the business of `tests/kafka`.
mod cpu;
mod feeder;

use clap::{Parser, ValueEnum};
use feeder::{Feeder, Load, Seen};
use glommio::{LocalExecutorBuilder, Placement};
use ringmill::core::kafka::arena::{ArenaLimits, BATCH_BYTES_MAX};
use ringmill::core::kafka::compress::{Compress, Lz4};
use ringmill::core::kafka::partition::Spread;
use ringmill::core::kafka::producer;
use ringmill::core::sink::kafka::{HeaderRules, KafkaSink, KeyFrom, Routing, Settings};
use ringmill::core::{memory::Clock, sink::kafka};
use ringmill::shard::driver::{self, Bounds, Buffers, Edges, Hosted, Kind};
use ringmill::sink::kafka::zstd::Zstd;
use ringmill::sink::kafka::{LinkSettings, Links};
use ringmill::sys::clock::MonotonicClock;
use serde_json::json;
use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// How records are compressed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Codec {
    None,
    Lz4,
    Zstd,
}

/// Produces records with ringmill's sink and prints CPU per record, rate and latency as JSON.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// Brokers, as address:port with commas; the rig sets it.
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
    /// Records a second in an open loop; as many as there is room for if absent.
    #[arg(long)]
    rate: Option<u64>,
    /// Records that are due at once in an open loop.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    burst: u64,
    /// How long a commit waits for more, milliseconds.
    #[arg(long, default_value_t = 5.0)]
    linger_ms: f64,
    /// Bytes of a batch.
    #[arg(long, default_value_t = BATCH_BYTES_MAX)]
    batch_bytes: usize,
    /// Bytes of a commit, over all partitions: `batch_bytes_max` of the server.
    #[arg(long, default_value_t = 8 << 20)]
    commit_bytes: usize,
    /// How records are compressed.
    #[arg(long, value_enum, default_value = "none")]
    codec: Codec,
    /// Give every record a key of its own, so that they scatter over all partitions.
    #[arg(long)]
    keyed: bool,
    /// Give every record the two headers that the server does: stream and event id.
    #[arg(long)]
    headers: bool,
    /// The core to run on.
    #[arg(long, default_value_t = 0)]
    core: usize,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match produce(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("produce: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether every record was written.
fn produce(options: &Options) -> Result<bool, Box<dyn Error>> {
    let text = std::fs::read(&options.lines)?;
    let values: Vec<Vec<u8>> =
        text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect();
    if values.is_empty() {
        return Err(format!("{} has no line", options.lines.display()).into());
    }
    let bytes = values.iter().map(Vec::len).sum::<usize>() as f64 / values.len() as f64;
    let brokers = brokers(&options.bootstrap)?;
    let load = load(options, values);
    let told = options.clone();
    let seen = LocalExecutorBuilder::new(Placement::Fixed(options.core))
        .name("produce")
        .spawn(move || async move { run(load, &told, brokers).await })?
        .join()
        .map_err(|error| error.to_string())??;
    let (threads, cpu) = cpu::between(&seen.cpu_before, &seen.cpu_after);
    let (records, seconds) = (seen.written + seen.failed, seen.seconds());
    let at = |quantile: f64| seen.latency_us.value_at_quantile(quantile);
    println!(
        "{}",
        json!({
            "producer": "ringmill", "version": env!("CARGO_PKG_VERSION"),
            "codec": format!("{:?}", options.codec).to_lowercase(), "bytes": bytes, "keyed": options.keyed,
            "headers": options.headers, "rate_wanted": options.rate, "burst": options.burst, "linger_ms": options.linger_ms,
            "batch_bytes": options.batch_bytes, "commit_bytes": options.commit_bytes,
            "records": records, "written": seen.written, "failed": seen.failed, "seconds": seconds,
            "records_per_second": records as f64 / seconds, "cpu_us_per_record": cpu * 1e6 / records.max(1) as f64,
            "cpu_seconds": cpu, "cpu_seconds_by_thread": threads,
            "commits": seen.commits, "batches": seen.batches, "raw_bytes": seen.raw_bytes, "sent_bytes": seen.sent_bytes,
            "latency_us": { "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": seen.latency_us.max() },
        })
    );
    Ok(seen.failed == 0 && seen.written > 0)
}

fn brokers(list: &str) -> Result<Vec<(String, u16)>, String> {
    let one = |text: &str| {
        // Names are resolved by threads that this program does not have.
        let address: SocketAddr = text.parse().map_err(|_| format!("`{text}` is not ADDRESS:PORT"))?;
        Ok((address.ip().to_string(), address.port()))
    };
    list.split(',').map(one).collect()
}

fn load(options: &Options, values: Vec<Vec<u8>>) -> Load {
    let ns = |seconds: f64| (seconds * 1e9) as u64;
    Load {
        values,
        rate: options.rate,
        burst: options.burst,
        keyed: options.keyed,
        linger_ns: ns(options.linger_ms / 1e3),
        commit_bytes: options.commit_bytes,
        warm_ns: ns(options.warm),
        measured_ns: ns(options.seconds),
    }
}

fn settings(options: &Options, bootstrap: usize) -> Result<kafka::Settings, &'static str> {
    let compress: Option<Box<dyn Compress>> = match options.codec {
        Codec::None => None,
        Codec::Lz4 => Some(Box::new(Lz4::new())),
        Codec::Zstd => Some(Box::new(Zstd::new().ok_or("there is no memory for zstd")?)),
    };
    let mut routing = Routing::fixed(&options.topic);
    if options.keyed {
        routing.key = KeyFrom::Header;
    }
    if options.headers {
        let named = |name: &str| Some(name.to_owned());
        routing.headers = HeaderRules { stream: named("stream"), event_id: named("id"), extra: Vec::new() };
    }
    Ok(Settings {
        producer: producer::Settings::new(bootstrap as u16, 32, 1, 1024, u64::from(std::process::id())),
        arena: ArenaLimits { partitions: 1024, batch_bytes: options.batch_bytes, ..ArenaLimits::default() },
        spread: Spread::Sticky { bytes: options.batch_bytes as u64 },
        compress,
        routing,
        shard: 0,
        first_sequence: MonotonicClock.wall_ms() * 1_000_000,
    })
}

/// On the executor: moves a feeder to its end.
async fn run(load: Load, options: &Options, brokers: Vec<(String, u16)>) -> Result<Seen, String> {
    let (mail, mailbox) = driver::mailbox::<Feeder>().map_err(|error| error.to_string())?;
    let sink = KafkaSink::new(settings(options, brokers.len())?, MonotonicClock.now_ns())?;
    let client_id = format!("produce-{}", options.topic);
    let links = LinkSettings {
        brokers,
        client_id,
        tls: None,
        sasl: None,
        renews_secrets: false,
        produce_timeout_ms: 25_000,
    };
    let feeder = Feeder::new(load, sink, Links::new(links, 32), mail).map_err(|error| error.to_string())?;
    let bounds = Bounds { connections_max: 1, buffers: Buffers { count: 16, bytes: 4096 }, poll: false };
    let edges = Edges {
        listeners: Vec::new(),
        mailbox,
        requests: Box::new(|()| ()),
        hosted: Hosted::default(),
        bounds,
    };
    driver::drive(Kind::Uring, feeder, edges).await.map(Feeder::into_seen).map_err(|error| error.to_string())
}
