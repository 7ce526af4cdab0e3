//! What this server will do, decided before it does anything: every value within its bounds, every core
//! named, every byte of memory accounted for.
//!
//! [`Plan::derive`] (in `derive.rs`) decides; here stands what was decided, and how it is printed.
use super::http::HttpPlan;
use super::kafka::{Address, KafkaPlan};
use super::{cores::Cores, memory::MemoryPlan, schema, units};
use crate::{
    core::{ack::Ack, json::schema::Schema},
    log,
    sys::topology,
};
use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where lines are taken in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Listen {
    /// TCP; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// A Unix socket at this path.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => address.fmt(out),
            Listen::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// Where events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Counted and dropped.
    Null,
    /// Segment files under this directory.
    Segments(PathBuf),
    /// A topic of a Kafka cluster.
    Kafka(Address),
    /// An HTTP target.
    Http(super::http::Address),
}

impl Sink {
    /// The strongest level that it can promise.
    pub fn highest(&self) -> Ack {
        match self {
            Sink::Null => Ack::Accepted,
            Sink::Segments(_) => Ack::Durable,
            Sink::Kafka(_) => Ack::Replicated,
            Sink::Http(address) => address.level,
        }
    }
}

impl fmt::Display for Sink {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sink::Null => out.write_str("null"),
            Sink::Segments(dir) => write!(out, "segments:{}", dir.display()),
            Sink::Kafka(address) => write!(out, "kafka:{address}"),
            Sink::Http(address) => address.fmt(out),
        }
    }
}

/// Where events wait while the sink cannot be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpillPlan {
    /// Segment files under this directory.
    pub dir: PathBuf,
    /// For how long nothing must have been written.
    pub after: Duration,
}

impl fmt::Display for SpillPlan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "segments:{}", self.dir.display())
    }
}

/// How sockets are driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// An io_uring of our own.
    Uring,
    /// glommio's streams.
    Glommio,
}

impl fmt::Display for Driver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Driver::Uring => "uring",
            Driver::Glommio => "glommio",
        })
    }
}

/// Bounds of a shard's traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections a shard holds.
    pub connections_max: u32,
    /// Whether new connections are spread over the shards; never with one.
    pub connections_balance: bool,
    /// Bytes of a shard for the parts of bodies beyond their carry buffer.
    pub body_budget_bytes: u64,
    /// Receive buffers of a shard, a power of two; [`RECEIVE_BUFFER_BYTES`](super::memory::RECEIVE_BUFFER_BYTES) each.
    pub receive_buffers: u16,
    /// Bytes of one batch arena, a multiple of 4096.
    pub arena_bytes: u64,
    /// Bytes at which a batch is sealed.
    pub batch_bytes_max: u64,
    /// Events at which a batch is sealed.
    pub batch_events_max: u32,
    /// How long a commit waits for more events.
    pub linger: Duration,
    /// How long something may wait for room before it is answered 503.
    pub shed_after: Duration,
    /// Within which a request's head must be complete.
    pub head_timeout: Duration,
    /// Bytes a second at which a body must arrive at least.
    pub body_floor_bytes_per_s: u64,
    /// After which an idle connection is closed.
    pub idle_timeout: Duration,
    /// After which a connection that does not read its reply is closed.
    pub reply_timeout: Duration,
    /// Whether lines are answered.
    pub lines_replies: bool,
}

/// Where refused events are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quarantine {
    /// Nowhere.
    None,
    /// Beside the segments.
    Segments,
    /// Under this directory, one folder a shard.
    Dir(PathBuf),
}

/// Bounds of the segments sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentLimits {
    /// Bytes of a segment file, a multiple of 4096.
    pub segment_bytes: u64,
    /// Bytes of one quarantine file, a multiple of 4096.
    pub quarantine_bytes: u64,
    /// Bytes of all shards' segments together beyond which the oldest are deleted.
    pub retention_bytes: Option<u64>,
    /// Age beyond which segments are deleted.
    pub retention_age: Option<Duration>,
}

/// Everything that `serve` needs to know.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Print this and stop.
    pub dry_run: bool,
    /// HTTP addresses.
    pub listen: Vec<SocketAddr>,
    /// Addresses for lines.
    pub listen_lines: Vec<Listen>,
    /// Address of the admin side.
    pub admin: Option<SocketAddr>,
    /// Where events go.
    pub sink: Sink,
    /// Where they wait while the sink cannot be written to.
    pub spill: Option<SpillPlan>,
    /// The level when a request names none; never above the sink's highest.
    pub ack: Ack,
    /// Which cores do what.
    pub cores: Cores,
    /// How sockets are driven.
    pub driver: Driver,
    /// How that choice came about.
    pub driver_why: String,
    /// Whether the operator named that driver; if not, another may take its place.
    pub driver_forced: bool,
    /// Who validates JSON.
    pub scanner: Validator,
    /// Spin instead of sleeping.
    pub poll: bool,
    /// What events of streams must look like.
    pub schemas: Vec<Schema>,
    /// Bounds of a shard's traffic.
    pub limits: Limits,
    /// Bounds of the segments sink.
    pub segments: SegmentLimits,
    /// Where refused events are kept.
    pub quarantine: Quarantine,
    /// The Kafka sink's settings, if it is the sink.
    pub kafka: Option<KafkaPlan>,
    /// The HTTP sink's settings, if it is the sink.
    pub http: Option<HttpPlan>,
    /// I/O memory of a glommio executor in bytes, within `RLIMIT_MEMLOCK`.
    pub executor_io_bytes: u64,
    /// After which draining is given up.
    pub drain_timeout: Duration,
    /// How log lines look.
    pub log_format: log::Format,
    /// Which log lines are written.
    pub log_level: log::LevelFilter,
    /// The memory of all of it.
    pub memory: MemoryPlan,
    /// What the operator should know though it stops nothing.
    pub warnings: Vec<String>,
}

impl Plan {
    /// What there is to say of a sink beyond this process.
    pub fn sink_rows(&self) -> Vec<(&'static str, String)> {
        let kafka = self.kafka.iter().flat_map(KafkaPlan::rows);
        kafka.chain(self.http.iter().flat_map(HttpPlan::rows)).collect()
    }

    /// Where segments are, be they the sink or its spill.
    pub fn segments_dir(&self) -> Option<&Path> {
        match (&self.sink, &self.spill) {
            (Sink::Segments(dir), _) => Some(dir),
            (_, Some(spill)) => Some(&spill.dir),
            _ => None,
        }
    }

    /// Where this server's files are: segments with their quarantine, or the quarantine alone.
    pub fn data_dir(&self) -> Option<&Path> {
        match &self.quarantine {
            Quarantine::Dir(dir) => Some(dir),
            _ => self.segments_dir(),
        }
    }

    /// The addresses for the ready line: separated by commas, `-` for none.
    pub fn join<T: fmt::Display>(addresses: impl IntoIterator<Item = T>) -> String {
        let texts: Vec<String> = addresses.into_iter().map(|address| address.to_string()).collect();
        if texts.is_empty() { "-".into() } else { texts.join(",") }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = &self.limits;
        let mut row = |name: &str, value: String| writeln!(out, "{name:<16} {value}");
        row("http", Plan::join(&self.listen))?;
        row("lines", Plan::join(&self.listen_lines))?;
        row("admin", Plan::join(self.admin))?;
        row("sink", self.sink.to_string())?;
        row("ack", self.ack.as_str().into())?;
        row("driver", format!("{} ({})", self.driver, self.driver_why))?;
        row("scanner", self.scanner.to_string())?;
        row("idle cores", if self.poll { "polled" } else { "sleep" }.into())?;
        for (index, shard) in self.cores.shards.iter().enumerate() {
            let node = shard.node.map_or("-".into(), |node| node.to_string());
            let siblings = match shard.siblings.is_empty() {
                true => "-".into(),
                false => topology::format_list(&shard.siblings),
            };
            row(&format!("shard {index}"), format!("core {} node {node} siblings {siblings}", shard.core))?;
        }
        row("cores", self.cores.why.clone())?;
        row("housekeeping", format!("cores {}", topology::format_list(&self.cores.housekeeping)))?;
        let spread = if limits.connections_balance { ", new ones spread by load" } else { "" };
        row("connections", format!("{} a shard{spread}", limits.connections_max))?;
        let linger = if limits.linger.is_zero() { "none".into() } else { units::time(limits.linger) };
        row(
            "batch",
            format!(
                "{} or {} events, linger {linger}",
                units::bytes(limits.batch_bytes_max),
                limits.batch_events_max
            ),
        )?;
        if let Some(spill) = &self.spill {
            let after = units::time(spill.after);
            let each = units::bytes(self.segments.segment_bytes);
            row("spill", format!("{spill} after {after}, files of {each}"))?;
        }
        if let Sink::Segments(_) = self.sink {
            let keep = |kept: Option<String>| kept.unwrap_or("all".into());
            row(
                "segments",
                format!(
                    "{} each, keep {} by size, {} by age",
                    units::bytes(self.segments.segment_bytes),
                    keep(self.segments.retention_bytes.map(units::bytes)),
                    keep(self.segments.retention_age.map(units::time)),
                ),
            )?;
        }
        let files = format!("2 x {} a shard", units::bytes(self.segments.quarantine_bytes));
        row(
            "quarantine",
            match &self.quarantine {
                Quarantine::None => "none".into(),
                Quarantine::Segments => format!("{files}, beside the segments"),
                Quarantine::Dir(dir) => format!("{files}, in {}", dir.display()),
            },
        )?;
        for (name, value) in self.sink_rows() {
            row(name, value)?;
        }
        for schema in &self.schemas {
            row("schema", schema::row(schema))?;
        }
        row(
            "timeouts",
            format!(
                "head {}, idle {}, reply {}, shed after {}, drain {}",
                units::time(limits.head_timeout),
                units::time(limits.idle_timeout),
                units::time(limits.reply_timeout),
                units::time(limits.shed_after),
                units::time(self.drain_timeout),
            ),
        )?;
        self.memory.fmt(out)
    }
}

/// Who validates JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validator {
    /// A kernel of `ringmill-scan`.
    Fast(crate::core::json::Kernel),
    /// The exact pass alone.
    Exact,
    /// simd-json, and the exact pass for what it refuses.
    SimdJson,
}

impl fmt::Display for Validator {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Validator::Fast(kernel) => write!(out, "fast ({})", kernel.name()),
            Validator::Exact => out.write_str("exact"),
            Validator::SimdJson => out.write_str("simd-json"),
        }
    }
}
