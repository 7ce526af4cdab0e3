//! What this server will do, decided before it does anything: every value within its bounds, every core
//! named, every byte of memory accounted for.
use super::{
    ConfigError, Origin,
    machine::Machine,
    memory::{self, Fixed, MemoryPlan, Sizes},
    raw::{Given, Key, Kind, Raw, parse_switch},
    units,
};
use crate::{
    core::ack::Ack,
    log,
    sys::{
        limits::{self, Uring},
        topology::{self, Core},
    },
};
use std::{
    collections::HashSet,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
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
}

impl Sink {
    /// The strongest level that it can promise.
    pub fn highest(&self) -> Ack {
        match self {
            Sink::Null => Ack::Accepted,
            Sink::Segments(_) => Ack::Durable,
        }
    }
}

impl fmt::Display for Sink {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sink::Null => out.write_str("null"),
            Sink::Segments(dir) => write!(out, "segments:{}", dir.display()),
        }
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

/// Which cores do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores {
    /// Shard i runs on the i-th; rising.
    pub shards: Vec<Core>,
    /// Where everything else runs: never empty, and apart from the shards where the machine allows it.
    pub housekeeping: Vec<usize>,
    /// All shards stand on cores that the kernel keeps free of other work.
    pub isolated: bool,
    /// How the choice came about.
    pub why: String,
}

/// Bounds of a shard's traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections a shard holds.
    pub connections_max: u32,
    /// Bytes of a shard for the parts of bodies beyond their carry buffer.
    pub body_budget_bytes: u64,
    /// Receive buffers of a shard, a power of two; [`memory::RECEIVE_BUFFER_BYTES`] each.
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
    /// simd-json instead of the exact pass.
    pub simd_json: bool,
    /// Spin instead of sleeping.
    pub poll: bool,
    /// Bounds of a shard's traffic.
    pub limits: Limits,
    /// Bounds of the segments sink.
    pub segments: SegmentLimits,
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

/// The largest segment that a plan allows.
const SEGMENT_BYTES_MAX: u64 = 1 << 40;
const BLOCK_BYTES: u64 = 4096;
const MIB: u64 = 1 << 20;
/// File descriptors of a shard beside its connections: rings, event descriptors, files, their successors
/// and the directory.
const FILES_PER_SHARD: u64 = 32;
/// File descriptors of the process: standard streams, admin and its clients, housekeeping.
const FILES_OF_PROCESS: u64 = 96;

impl Plan {
    /// Decides everything.
    ///
    /// # Errors
    /// Everything that is wrong with the settings; where they are sound, what the machine lacks.
    pub fn derive(raw: &Raw, machine: &Machine) -> Result<Plan, Vec<ConfigError>> {
        let mut read = Reader { raw, errors: Vec::new() };
        let mut warnings = Vec::new();

        let listen = read.addresses("listen", "127.0.0.1:8080", false);
        let listen: Vec<SocketAddr> = listen
            .into_iter()
            .filter_map(|listen| match listen {
                Listen::Tcp(address) => Some(address),
                Listen::Unix(_) => None,
            })
            .collect();
        let listen_lines = read.addresses("listen_lines", "none", true);
        let admin = read.one("admin", "127.0.0.1:9090", |text| match text {
            "none" => Ok(None),
            _ => parse_address(text).map(Some),
        });
        read.distinct(&listen, &listen_lines, admin.flatten());
        if listen.is_empty() && listen_lines.is_empty() && read.errors.is_empty() {
            read.refuse(
                "listen",
                "nothing would be listened to: give an address here or in listen_lines".into(),
            );
        }

        let sink = read.one("sink", "segments:./data", parse_sink).unwrap_or(Sink::Null);
        let default = sink.highest().as_str();
        let ack = read.one("ack", default, |text| {
            let level = Ack::from_name(text.as_bytes())
                .ok_or_else(|| format!("not a level; expected {}", names(&Ack::ALL.map(Ack::as_str))))?;
            match level <= sink.highest() {
                true => Ok(level),
                false => Err(format!("the sink {sink} reaches `{default}` at most")),
            }
        });
        // A sink that was refused already would make a second, misleading error of the level.
        let sink_refused =
            read.errors.iter().any(|error| matches!(error, ConfigError::Value { key, .. } if key == "sink"));
        if sink_refused {
            read.errors.retain(|error| !matches!(error, ConfigError::Value { key, .. } if key == "ack"));
        }

        let cores = read.cores(machine);
        let driver = read.choice("driver", "auto", &["uring", "glommio", "auto"]);
        let scanner = read.choice("scanner", "exact", &["exact", "simd-json"]);
        let poll = read.choice("poll", "auto", &["on", "off", "auto"]);
        let log_format = read.choice("log_format", "text", &["text", "json"]);
        let log_level = read.choice("log_level", "info", &["off", "error", "warn", "info", "debug", "trace"]);

        let files_bound = {
            let shards = cores.as_ref().map_or(1, |cores| cores.shards.len() as u64).max(1);
            let listeners = (listen.len() + listen_lines.len()) as u64;
            (machine.files_max.saturating_sub(FILES_OF_PROCESS) / shards)
                .saturating_sub(FILES_PER_SHARD + listeners)
        };
        let connections_max =
            read.count("connections_max", memory::CONNECTIONS.min(files_bound.max(1)), 1..=65_536);
        if connections_max > files_bound {
            let why = format!(
                "RLIMIT_NOFILE of {} leaves {files_bound} connections a shard: raise it (`ulimit -n`, LimitNOFILE=) \
                 or lower connections_max",
                machine.files_max
            );
            read.refuse("connections_max", why);
        } else if connections_max < memory::CONNECTIONS && raw.get("connections_max").is_none() {
            warnings.push(format!(
                "RLIMIT_NOFILE of {} leaves {connections_max} connections a shard: raise it (`ulimit -n`, LimitNOFILE=)",
                machine.files_max
            ));
        }
        let receive_buffers = read.count("receive_buffers", memory::RECEIVE_BUFFERS, 16..=32_768);
        if !receive_buffers.is_power_of_two() {
            read.refuse(
                "receive_buffers",
                format!("a power of two is needed, such as {}", receive_buffers.next_power_of_two()),
            );
        }
        let body_budget_bytes = read.bytes(
            "body_budget_bytes",
            memory::BODY_BUDGET_BYTES,
            memory::BODY_BUDGET_BYTES_MIN..=1 << 40,
        );
        let batch_bytes_max = read.bytes("batch_bytes_max", 8 * MIB, BLOCK_BYTES..=64 * MIB);
        let batch_events_max = read.count("batch_events_max", 65_536, 1..=1 << 24);
        let linger = read.time("linger_us", Duration::ZERO, Duration::ZERO..=Duration::from_secs(1));
        let second = Duration::from_secs(1);
        let hour = Duration::from_secs(3600);
        let shed_after = read.time("shed_after_ms", second, Duration::from_millis(1)..=hour);
        let head_timeout = read.time("head_timeout_s", 5 * second, Duration::from_millis(10)..=hour);
        let idle_timeout = read.time("idle_timeout_s", 60 * second, Duration::from_millis(10)..=24 * hour);
        let reply_timeout = read.time("reply_timeout_s", 30 * second, Duration::from_millis(10)..=hour);
        let drain_timeout = read.time("drain_timeout_s", 30 * second, Duration::ZERO..=30 * second);
        let body_floor_bytes_per_s = read.bytes("body_floor_bytes_per_s", 1024, 0..=1 << 30);
        let lines_replies = read.switch("lines.replies");
        let dry_run = read.switch("dry_run");

        let shards = cores.as_ref().map_or(1, |cores| cores.shards.len() as u64);
        let mut sizes = Sizes {
            shards,
            connections_max,
            receive_buffers,
            body_budget_bytes,
            batch_bytes_max,
            executor_io_bytes: memory::EXECUTOR_IO_BYTES,
            simd_json: scanner == "simd-json",
            glommio: false,
        };
        // A commit of the fullest arena must fit into one segment.
        let segment_min = (sizes.arena_bytes() + BLOCK_BYTES).next_multiple_of(MIB);
        let segment_bytes =
            read.bytes("segment_bytes", (256 * MIB).max(segment_min), segment_min..=SEGMENT_BYTES_MAX);
        let segment_bytes = segment_bytes & !(BLOCK_BYTES - 1);
        let quarantine_min = 2 * memory::QUARANTINE_ARENA_BYTES;
        let quarantine_bytes = read.bytes("quarantine_bytes", 64 * MIB, quarantine_min..=SEGMENT_BYTES_MAX);
        let retention_min = 2 * shards * segment_bytes;
        let retention_bytes = read.bytes("retention_bytes", 0, 0..=u64::MAX);
        if retention_bytes != 0 && retention_bytes < retention_min {
            let why = format!(
                "at least {} is needed, two segments for each of {shards} shard(s); 0 keeps everything",
                units::bytes(retention_min)
            );
            read.refuse("retention_bytes", why);
        }
        let retention_age =
            read.time("retention_age_s", Duration::ZERO, Duration::ZERO..=Duration::from_secs(1 << 32));
        let segments = SegmentLimits {
            segment_bytes,
            quarantine_bytes: quarantine_bytes & !(BLOCK_BYTES - 1),
            retention_bytes: (retention_bytes != 0).then_some(retention_bytes),
            retention_age: (!retention_age.is_zero()).then_some(retention_age),
        };

        let (driver, driver_why) = match (driver.as_str(), &machine.uring) {
            (_, Uring::Denied(why)) => {
                read.errors.push(ConfigError::Machine(why.clone()));
                (Driver::Uring, String::new())
            }
            ("glommio", _) => (Driver::Glommio, "as configured".into()),
            ("uring", Uring::Basic(why)) => {
                read.refuse("driver", format!("{why}; `glommio` or `auto` would do"));
                (Driver::Uring, String::new())
            }
            ("uring", Uring::Full) => (Driver::Uring, "as configured".into()),
            (_, Uring::Basic(why)) => (Driver::Glommio, why.clone()),
            (_, Uring::Full) => (Driver::Uring, "the kernel has what it needs".into()),
        };
        sizes.glommio = driver == Driver::Glommio;
        let (memlock, exempt) = (machine.memlock_bytes, machine.memlock_exempt);
        match limits::glommio_io_bytes(memlock, exempt, shards, memory::EXECUTOR_IO_BYTES) {
            Ok(bytes) => sizes.executor_io_bytes = bytes,
            Err(why) => read.errors.push(ConfigError::Machine(why)),
        }

        let sizes = read.fit(sizes, machine, &mut warnings);
        let (Some(sizes), Some(cores), true) = (sizes, cores, read.errors.is_empty()) else {
            return Err(read.errors);
        };
        for shard in &cores.shards {
            if let Some(sibling) = cores
                .shards
                .iter()
                .find(|other| shard.siblings.contains(&other.core) && shard.core < other.core)
            {
                warnings.push(format!(
                    "shards on cores {} and {} share one physical core: tail latency suffers",
                    shard.core, sibling.core
                ));
            }
        }
        let poll = match poll.as_str() {
            "on" => true,
            "off" => false,
            _ => cores.isolated,
        };
        Ok(Plan {
            dry_run,
            listen,
            listen_lines,
            admin: admin.flatten(),
            sink,
            ack: ack.unwrap_or(Ack::Accepted),
            cores,
            driver,
            driver_why,
            simd_json: sizes.simd_json,
            driver_forced: raw.text("driver").is_some_and(|name| name != "auto"),
            poll,
            limits: Limits {
                connections_max: sizes.connections_max as u32,
                body_budget_bytes: sizes.body_budget_bytes,
                receive_buffers: sizes.receive_buffers as u16,
                arena_bytes: sizes.arena_bytes().next_multiple_of(BLOCK_BYTES),
                batch_bytes_max,
                batch_events_max: batch_events_max as u32,
                linger,
                shed_after,
                head_timeout,
                body_floor_bytes_per_s,
                idle_timeout,
                reply_timeout,
                lines_replies,
            },
            segments,
            executor_io_bytes: sizes.executor_io_bytes,
            drain_timeout,
            log_format: if log_format == "json" { log::Format::Json } else { log::Format::Text },
            log_level: log_level.parse().unwrap_or(log::LevelFilter::Info),
            memory: sizes.plan(),
            warnings,
        })
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
        row("connections", format!("{} a shard", limits.connections_max))?;
        let linger = if limits.linger.is_zero() { "none".into() } else { units::time(limits.linger) };
        row(
            "batch",
            format!(
                "{} or {} events, linger {linger}",
                units::bytes(limits.batch_bytes_max),
                limits.batch_events_max
            ),
        )?;
        if let Sink::Segments(_) = self.sink {
            let keep = |kept: Option<String>| kept.unwrap_or("all".into());
            row(
                "segments",
                format!(
                    "{} each, keep {} by size, {} by age; quarantine 2 x {} a shard",
                    units::bytes(self.segments.segment_bytes),
                    keep(self.segments.retention_bytes.map(units::bytes)),
                    keep(self.segments.retention_age.map(units::time)),
                    units::bytes(self.segments.quarantine_bytes),
                ),
            )?;
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

/// Reads typed values out of text and gathers what is wrong with them.
struct Reader<'a> {
    raw: &'a Raw,
    errors: Vec<ConfigError>,
}

impl Reader<'_> {
    fn refuse(&mut self, name: &str, why: String) {
        let default = Given { texts: Vec::new(), origin: Origin::Default };
        let given = self.raw.get(name).unwrap_or(&default);
        let value = if given.texts.is_empty() { "(default)".into() } else { given.texts.join(",") };
        self.errors.push(ConfigError::Value { key: name.into(), value, origin: given.origin.clone(), why });
    }

    fn one<T>(
        &mut self,
        name: &str,
        default: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let parsed = parse(self.raw.text(name).unwrap_or(default));
        parsed.map_err(|why| self.refuse(name, why)).ok()
    }

    fn choice(&mut self, name: &str, default: &str, known: &[&str]) -> String {
        let found = self.one(name, default, |text| match known.contains(&text) {
            true => Ok(text.to_string()),
            false => Err(format!("expected {}", names(known))),
        });
        found.unwrap_or(default.into())
    }

    fn switch(&mut self, name: &str) -> bool {
        self.one(name, "false", parse_switch).unwrap_or(false)
    }

    fn bounded<T: PartialOrd + Copy>(
        &mut self,
        name: &str,
        default: T,
        bounds: RangeInclusive<T>,
        parse: impl FnOnce(&str) -> Result<T, String>,
        show: impl Fn(T) -> String,
    ) -> T {
        let Some(text) = self.raw.text(name) else { return default };
        let parsed = parse(text).and_then(|value| match value {
            value if value < *bounds.start() => Err(format!("at least {} is needed", show(*bounds.start()))),
            value if value > *bounds.end() => Err(format!("at most {} is allowed", show(*bounds.end()))),
            value => Ok(value),
        });
        parsed.unwrap_or_else(|why| {
            self.refuse(name, why);
            default
        })
    }

    fn bytes(&mut self, name: &str, default: u64, bounds: RangeInclusive<u64>) -> u64 {
        self.bounded(name, default, bounds, units::parse_bytes, units::bytes)
    }

    fn count(&mut self, name: &str, default: u64, bounds: RangeInclusive<u64>) -> u64 {
        self.bounded(name, default, bounds, units::parse_count, |count| count.to_string())
    }

    fn time(&mut self, name: &str, default: Duration, bounds: RangeInclusive<Duration>) -> Duration {
        let unit = match Key::find(name).map(|key| key.kind) {
            Some(Kind::Time(unit)) => unit,
            _ => "s",
        };
        self.bounded(name, default, bounds, |text| units::parse_time(text, unit), units::time)
    }

    fn addresses(&mut self, name: &str, default: &str, unix: bool) -> Vec<Listen> {
        let texts = self.raw.get(name).map_or(vec![default.to_string()], |given| given.texts.clone());
        if texts == ["none"] || texts.is_empty() {
            return Vec::new();
        }
        let mut found = Vec::new();
        for text in texts {
            let parsed = match text.strip_prefix("unix:") {
                Some(_) if !unix => Err("Unix sockets take lines only: use listen_lines".into()),
                Some("") => Err("no path behind `unix:`".into()),
                // The kernel's address holds 108 bytes with the closing zero.
                Some(path) if path.len() > 107 => {
                    Err("the path of a Unix socket has 107 bytes at most".into())
                }
                Some(path) => Ok(Listen::Unix(path.into())),
                None => parse_address(&text).map(Listen::Tcp),
            };
            match parsed {
                Ok(listen) => found.push(listen),
                Err(why) => self.refuse(name, format!("`{text}`: {why}")),
            }
        }
        found
    }

    /// Two listeners on one address would silently share its connections.
    fn distinct(&mut self, http: &[SocketAddr], lines: &[Listen], admin: Option<SocketAddr>) {
        let mut seen = HashSet::new();
        let http = http.iter().map(|address| ("listen", Listen::Tcp(*address)));
        let lines = lines.iter().map(|listen| ("listen_lines", listen.clone()));
        let admin = admin.map(|address| ("admin", Listen::Tcp(address)));
        for (name, listen) in http.chain(lines).chain(admin) {
            let chosen_later = matches!(listen, Listen::Tcp(address) if address.port() == 0);
            if !chosen_later && !seen.insert(listen.clone()) {
                self.refuse(name, format!("{listen} is given twice"));
            }
        }
    }

    fn cores(&mut self, machine: &Machine) -> Option<Cores> {
        let given = self.raw.get("cores").map_or("auto".into(), |given| given.texts.join(","));
        let reachable: Vec<usize> = machine.reachable.iter().map(|core| core.core).collect();
        let (chosen, isolated, why) = match given.as_str() {
            "auto" => match choose(machine) {
                Ok(choice) => choice,
                Err(why) => {
                    self.refuse("cores", why);
                    return None;
                }
            },
            list => match allowed(list, machine) {
                Ok(chosen) => {
                    let apart =
                        |core: &usize| machine.isolated.contains(core) || machine.partition.contains(core);
                    let isolated = chosen.iter().all(apart);
                    (chosen, isolated, "as configured".to_string())
                }
                Err(why) => {
                    self.refuse("cores", why);
                    return None;
                }
            },
        };
        let mut housekeeping: Vec<usize> = reachable.clone();
        housekeeping.retain(|core| !chosen.contains(core) && machine.affinity.contains(core));
        if housekeeping.is_empty() {
            // Not in the affinity, but free: another part of an isolated set.
            housekeeping = reachable.into_iter().filter(|core| !chosen.contains(core)).collect();
        }
        if housekeeping.is_empty() {
            housekeeping = chosen.clone();
        }
        let shards = machine.reachable.iter().filter(|core| chosen.contains(&core.core)).cloned().collect();
        Some(Cores { shards, housekeeping, isolated, why })
    }

    fn fit(&mut self, sizes: Sizes, machine: &Machine, warnings: &mut Vec<String>) -> Option<Sizes> {
        let fixed = Fixed {
            connections_max: self.raw.get("connections_max").is_some(),
            body_budget_bytes: self.raw.get("body_budget_bytes").is_some(),
        };
        let given = self.one("memory", "0", units::parse_bytes)?;
        if self.raw.get("memory").is_some() {
            let fitted = memory::fit(sizes, fixed, given);
            let why = |least: u64| {
                format!(
                    "at least {least} bytes ({} MiB) are needed for {} shard(s){}: --dry-run prints the sum",
                    least.div_ceil(MIB),
                    sizes.shards,
                    match fixed == Fixed::default() {
                        true => "",
                        false => " with the connections and body budget that were given",
                    }
                )
            };
            return fitted.map_err(|least| self.refuse("memory", why(least))).ok();
        }
        // Without a bound the machine is the bound, and a fifth of it is left to others.
        let total = sizes.plan().total_bytes();
        let Some(bound) = machine.memory_bytes.map(|bytes| bytes / 5 * 4).filter(|bound| total > *bound)
        else {
            return Some(sizes);
        };
        match memory::fit(sizes, fixed, bound) {
            Ok(fitted) => {
                warnings.push(format!(
                    "the memory of this machine or cgroup leaves {} connections a shard and {} for large bodies",
                    fitted.connections_max,
                    units::bytes(fitted.body_budget_bytes)
                ));
                Some(fitted)
            }
            Err(least) => {
                let why = format!(
                    "{} shard(s) need {} MiB of memory at least, but {} MiB are four fifths of what this machine or \
                     cgroup has: take fewer cores, lower connections_max, or give --memory to insist",
                    sizes.shards,
                    least.div_ceil(MIB),
                    bound / MIB
                );
                self.errors.push(ConfigError::Machine(why));
                None
            }
        }
    }
}

/// The cores that `auto` takes, whether they are isolated, and why these.
fn choose(machine: &Machine) -> Result<(Vec<usize>, bool, String), String> {
    if !machine.isolated.is_empty() {
        return Ok((machine.isolated.clone(), true, "auto: the isolated cores of this machine".into()));
    }
    // One core stays for everything that is not a shard; in a partition as anywhere else, for nothing of
    // this process runs outside of it.
    let (pool, isolated, name) = match machine.partition.is_empty() {
        false => (&machine.partition, true, "the isolated cpuset partition"),
        true => (&machine.affinity, false, "the process's affinity, for no core is isolated"),
    };
    match pool.as_slice() {
        [] => Err("no core is known: /sys is not readable and the affinity is empty; name the cores".into()),
        [only] => Ok((vec![*only], isolated, format!("auto: the one core of {name}"))),
        [_, rest @ ..] => Ok((rest.to_vec(), isolated, format!("auto: all but the first core of {name}"))),
    }
}

/// A list of cores, each of which a shard may take.
fn allowed(list: &str, machine: &Machine) -> Result<Vec<usize>, String> {
    let cores = topology::parse_list(list)?;
    if cores.is_empty() {
        return Err("no core is named; expected a list such as `0-3,5`, or `auto`".into());
    }
    let wanted = |core: &usize| {
        machine.affinity.contains(core) || machine.isolated.contains(core) || machine.partition.contains(core)
    };
    for core in &cores {
        if !machine.online.contains(core) {
            return Err(format!(
                "core {core} is not online; online are {}",
                topology::format_list(&machine.online)
            ));
        }
        if !machine.reachable.iter().any(|reachable| reachable.core == *core) {
            return Err(format!(
                "core {core} is outside the cpuset of this process: widen cpuset.cpus or `--cpuset-cpus`"
            ));
        }
        if !wanted(core) {
            return Err(format!(
                "core {core} is outside the affinity of this process, {}: start it with a wider one (`taskset -c`, \
                 CPUAffinity=)",
                topology::format_list(&machine.affinity)
            ));
        }
    }
    Ok(cores)
}

/// Parses `127.0.0.1:8080`, `[::1]:0` or `localhost:8080`. Names are not resolved, so that a server
/// starts without a resolver.
///
/// # Errors
/// What an address looks like.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    if let Ok(port) = text.trim_start_matches(':').parse::<u16>() {
        return Err(format!(
            "not an address; `127.0.0.1:{port}` for this machine only, `0.0.0.0:{port}` for all"
        ));
    }
    Err("not an address; expected IP:PORT such as `127.0.0.1:8080` or `[::1]:8080`".into())
}

/// Parses `segments:DIR` or `null`.
///
/// # Errors
/// What a sink looks like.
pub fn parse_sink(text: &str) -> Result<Sink, String> {
    match text.split_once(':') {
        None if text == "null" => Ok(Sink::Null),
        Some(("segments", "")) => Err("no directory behind `segments:`".into()),
        Some(("segments", dir)) => Ok(Sink::Segments(dir.into())),
        Some(("kafka", _)) => Err("kafka is not in this build yet: use segments or null".into()),
        _ => Err("not a sink; expected segments:DIR or null".into()),
    }
}

fn names(known: &[&str]) -> String {
    let quoted: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
