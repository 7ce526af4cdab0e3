//! From settings and machine to the [`Plan`]: one function for each group of settings.
use super::{
    ConfigError, cores, http,
    http_memory::HttpSizes,
    kafka,
    machine::Machine,
    memory::{self, Fixed, KafkaSizes, Sizes, links_max},
    plan::{Driver, Limits, Listen, Plan, Quarantine, SegmentLimits, Sink, SpillPlan, Validator},
    raw::Raw,
    read::{Reader, names},
    schema, units,
};
use crate::{
    core::ack::Ack,
    core::json::Kernel,
    log, replay,
    sink::http::peers_max,
    sys::limits::{self, Uring},
};
use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

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
        let edges = Edges::read(&mut read);
        let (sink, ack) = sink_and_ack(&mut read);
        let kafka = kafka::read(&mut read, &sink, &mut warnings);
        let http = http::read(&mut read, &sink, &mut warnings);
        let schemas = schema::check(&raw.schemas, kafka.as_ref(), &mut read.errors);
        let spill = spill(&mut read, &sink);
        let cores = cores::decide(&mut read, machine);
        let shards = cores.as_ref().map_or(1, |cores| cores.shards.len() as u64).max(1);
        let poll = read.choice("poll", "auto", &["on", "off", "auto"]);
        let log_format = read.choice("log_format", "text", &["text", "json"]);
        let log_level = read.choice("log_level", "info", &["off", "error", "warn", "info", "debug", "trace"]);
        let drain_timeout =
            read.time("drain_timeout_s", Duration::from_secs(30), Duration::ZERO..=Duration::from_secs(30));
        let dry_run = read.switch("dry_run");
        let beside = files_beside(&edges, kafka.as_ref(), http.as_ref(), spill.is_some(), shards);
        let connections_max = connections(&mut read, machine, shards, beside, &mut warnings);
        let mut sizes = sizes(&mut read, shards, connections_max);
        sizes.kafka = kafka.as_ref().map(KafkaSizes::of);
        sizes.http = http.as_ref().map(HttpSizes::of);
        let limits = traffic(&mut read, &sizes);
        let segments = segments(&mut read, &sizes, spill.is_some());
        let quarantine = quarantine(&mut read, &sink, spill.is_some());
        let (driver, driver_why) = driver(&mut read, machine);
        sizes.glommio = driver == Driver::Glommio;
        sizes.executor_io_bytes = executor_io_bytes(&mut read, machine, shards + u64::from(spill.is_some()));
        let replay_bytes = |kafka| replay::memory_bytes(kafka, sizes.executor_io_bytes);
        sizes.replay_bytes = kafka.as_ref().filter(|_| spill.is_some()).map(replay_bytes);
        let sizes = fit(&mut read, sizes, machine, &mut warnings);
        let (Some(sizes), Some(cores), true) = (sizes, cores, read.errors.is_empty()) else {
            return Err(read.errors);
        };
        warnings.extend(cores.shared());
        let poll = match poll.as_str() {
            "on" => true,
            "off" => false,
            _ => cores.isolated,
        };
        Ok(Plan {
            dry_run,
            listen: edges.listen,
            listen_lines: edges.listen_lines,
            admin: edges.admin,
            sink,
            spill,
            ack,
            cores,
            driver,
            driver_why,
            driver_forced: raw.text("driver").is_some_and(|name| name != "auto"),
            scanner: sizes.scanner,
            schemas,
            poll,
            limits: Limits {
                connections_max: sizes.connections_max as u32,
                body_budget_bytes: sizes.body_budget_bytes,
                ..limits
            },
            segments,
            quarantine,
            kafka,
            http,
            executor_io_bytes: sizes.executor_io_bytes,
            drain_timeout,
            log_format: if log_format == "json" { log::Format::Json } else { log::Format::Text },
            log_level: log_level.parse().unwrap_or(log::LevelFilter::Info),
            memory: sizes.plan(),
            warnings,
        })
    }
}

/// Descriptors that the server wants beside those of its connections: its listeners, the links of its sink, and
/// what the replayer has, which is a shard without connections, with links of its own.
fn files_beside(
    edges: &Edges,
    kafka: Option<&kafka::KafkaPlan>,
    http: Option<&http::HttpPlan>,
    spills: bool,
    shards: u64,
) -> u64 {
    let links = kafka.map_or(0, |kafka| links_max(kafka.brokers_max.into()))
        + http.map_or(0, |http| peers_max(http.connections) as u64);
    let replays = if spills { (FILES_PER_SHARD + links).div_ceil(shards) } else { 0 };
    edges.listeners() + links + replays
}

/// Where the server can be reached.
struct Edges {
    listen: Vec<SocketAddr>,
    listen_lines: Vec<Listen>,
    admin: Option<SocketAddr>,
}

impl Edges {
    fn read(read: &mut Reader) -> Edges {
        let tcp = |listen| match listen {
            Listen::Tcp(address) => Some(address),
            Listen::Unix(_) => None,
        };
        let listen: Vec<SocketAddr> =
            addresses(read, "listen", "127.0.0.1:8080", false).into_iter().filter_map(tcp).collect();
        let listen_lines = addresses(read, "listen_lines", "none", true);
        let admin = read.one("admin", "127.0.0.1:9090", |text| match text {
            "none" => Ok(None),
            _ => parse_address(text).map(Some),
        });
        let edges = Edges { listen, listen_lines, admin: admin.flatten() };
        edges.must_differ(read);
        if edges.listeners() == 0 && read.errors.is_empty() {
            read.refuse(
                "listen",
                "nothing would be listened to: give an address here or in listen_lines".into(),
            );
        }
        edges
    }

    fn listeners(&self) -> u64 {
        (self.listen.len() + self.listen_lines.len()) as u64
    }

    /// Two listeners on one address would silently share its connections.
    fn must_differ(&self, read: &mut Reader) {
        let mut seen = HashSet::new();
        let http = self.listen.iter().map(|address| ("listen", Listen::Tcp(*address)));
        let lines = self.listen_lines.iter().map(|listen| ("listen_lines", listen.clone()));
        let admin = self.admin.map(|address| ("admin", Listen::Tcp(address)));
        for (name, listen) in http.chain(lines).chain(admin) {
            let chosen_later = matches!(listen, Listen::Tcp(address) if address.port() == 0);
            if !chosen_later && !seen.insert(listen.clone()) {
                read.refuse(name, format!("{listen} is given twice"));
            }
        }
    }
}

fn addresses(read: &mut Reader, name: &str, default: &str, unix: bool) -> Vec<Listen> {
    let texts = read.raw.get(name).map_or(vec![default.to_string()], |given| given.texts.clone());
    if texts == ["none"] || texts.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for text in texts {
        let parsed = match text.strip_prefix("unix:") {
            Some(_) if !unix => Err("Unix sockets take lines only: use listen_lines".into()),
            Some("") => Err("no path behind `unix:`".into()),
            // The kernel's address holds 108 bytes with the closing zero.
            Some(path) if path.len() > 107 => Err("the path of a Unix socket has 107 bytes at most".into()),
            Some(path) => Ok(Listen::Unix(path.into())),
            None => parse_address(&text).map(Listen::Tcp),
        };
        match parsed {
            Ok(listen) => found.push(listen),
            Err(why) => read.refuse(name, format!("`{text}`: {why}")),
        }
    }
    found
}

fn sink_and_ack(read: &mut Reader) -> (Sink, Ack) {
    let sink = read.one("sink", "segments:./data", parse_sink);
    let sink_refused = sink.is_none();
    let mut sink = sink.unwrap_or(Sink::Null);
    if let Sink::Http(address) = &mut sink {
        http::level(read, address);
    }
    let default = sink.highest().as_str();
    let errors = read.errors.len();
    let ack = read.one("ack", default, |text| {
        let level = Ack::from_name(text.as_bytes())
            .ok_or_else(|| format!("not a level; expected {}", names(&Ack::ALL.map(Ack::as_str))))?;
        match level <= sink.highest() {
            true => Ok(level),
            false => Err(format!("the sink {sink} reaches `{default}` at most")),
        }
    });
    if sink_refused {
        // It would make a second, misleading error of the level.
        read.errors.truncate(errors);
    }
    (sink, ack.unwrap_or(Ack::Accepted))
}

/// Where events wait, if that is wanted and there is something to wait for.
fn spill(read: &mut Reader, sink: &Sink) -> Option<SpillPlan> {
    let dir = read.one("spill", "none", |text| match (text, text.strip_prefix("segments:")) {
        ("none", _) => Ok(None),
        (_, Some("")) => Err("no directory behind `segments:`".into()),
        (_, Some(dir)) => Ok(Some(dir.into())),
        _ => Err("not a spill; expected segments:DIR or none".into()),
    });
    let (least, most) = (Duration::from_millis(100), Duration::from_secs(3600));
    let after = read.time("spill_after_ms", Duration::from_secs(1), least..=most);
    let spill = dir.flatten().map(|dir| SpillPlan { dir, after });
    if spill.is_some() && !matches!(sink, Sink::Kafka(_)) {
        read.refuse("spill", format!("of use only with a Kafka sink; events go to {sink}"));
    }
    if spill.is_none() && read.raw.get("spill_after_ms").is_some() {
        read.refuse("spill_after_ms", "of no use without a spill: give spill = segments:DIR".into());
    }
    spill
}

/// Connections of a shard: what was asked for, or what the descriptors bear beside its listeners and links.
fn connections(
    read: &mut Reader,
    machine: &Machine,
    shards: u64,
    beside: u64,
    warnings: &mut Vec<String>,
) -> u64 {
    let files = machine.files_max;
    let bound = (files.saturating_sub(FILES_OF_PROCESS) / shards).saturating_sub(FILES_PER_SHARD + beside);
    let wanted = read.count("connections_max", memory::CONNECTIONS.min(bound.max(1)), 1..=65_536);
    let mend = "raise it (`ulimit -n`, LimitNOFILE=)";
    if wanted > bound {
        let why = format!(
            "RLIMIT_NOFILE of {files} leaves {bound} connections a shard: {mend} or lower connections_max"
        );
        read.refuse("connections_max", why);
    } else if wanted < memory::CONNECTIONS && read.raw.get("connections_max").is_none() {
        warnings.push(format!("RLIMIT_NOFILE of {files} leaves {wanted} connections a shard: {mend}"));
    }
    wanted
}

/// The quantities of the memory plan, before they are made to fit.
fn sizes(read: &mut Reader, shards: u64, connections_max: u64) -> Sizes {
    let receive_buffers = read.count("receive_buffers", memory::RECEIVE_BUFFERS, 16..=32_768);
    if !receive_buffers.is_power_of_two() {
        let next = receive_buffers.next_power_of_two();
        read.refuse("receive_buffers", format!("a power of two is needed, such as {next}"));
    }
    let budget = memory::BODY_BUDGET_BYTES_MIN..=1 << 40;
    Sizes {
        shards,
        connections_max,
        receive_buffers,
        body_budget_bytes: read.bytes("body_budget_bytes", memory::BODY_BUDGET_BYTES, budget),
        batch_bytes_max: read.bytes("batch_bytes_max", 8 * MIB, BLOCK_BYTES..=64 * MIB),
        executor_io_bytes: memory::EXECUTOR_IO_BYTES,
        scanner: scanner(read),
        schemas: read.raw.schemas.len() as u64,
        balance: read.switch_or("connections_balance", true) && shards > 1,
        glommio: false,
        kafka: None,
        http: None,
        replay_bytes: None,
    }
}

/// Who validates JSON, and with which kernel.
fn scanner(read: &mut Reader) -> Validator {
    let names: Vec<&str> =
        ["auto"].into_iter().chain(Kernel::ALL.iter().map(|kernel| kernel.name())).collect();
    let wanted = read.choice("simd", "auto", &names);
    let kernel = Kernel::ALL.iter().copied().find(|kernel| kernel.name() == wanted);
    if let Some(kernel) = kernel.filter(|kernel| !kernel.is_available()) {
        let best = Kernel::best().name();
        read.refuse("simd", format!("this processor has no {}; its best is {best}", kernel.name()));
    }
    match read.choice("scanner", "fast", &["fast", "exact", "simd-json"]).as_str() {
        "fast" => Validator::Fast(kernel.unwrap_or_else(Kernel::best)),
        "exact" => Validator::Exact,
        _ => Validator::SimdJson,
    }
}

fn traffic(read: &mut Reader, sizes: &Sizes) -> Limits {
    let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
    let from_10_ms = |to: Duration| Duration::from_millis(10)..=to;
    Limits {
        connections_max: sizes.connections_max as u32,
        connections_balance: sizes.balance,
        body_budget_bytes: sizes.body_budget_bytes,
        receive_buffers: sizes.receive_buffers as u16,
        arena_bytes: sizes.arena_bytes().next_multiple_of(BLOCK_BYTES),
        batch_bytes_max: sizes.batch_bytes_max,
        batch_events_max: read.count("batch_events_max", 65_536, 1..=1 << 24) as u32,
        linger: read.time("linger_us", Duration::ZERO, Duration::ZERO..=second),
        shed_after: read.time("shed_after_ms", second, Duration::from_millis(1)..=hour),
        head_timeout: read.time("head_timeout_s", 5 * second, from_10_ms(hour)),
        body_floor_bytes_per_s: read.bytes("body_floor_bytes_per_s", 1024, 0..=1 << 30),
        idle_timeout: read.time("idle_timeout_s", 60 * second, from_10_ms(24 * hour)),
        reply_timeout: read.time("reply_timeout_s", 30 * second, from_10_ms(hour)),
        lines_replies: read.switch("lines.replies"),
    }
}

fn segments(read: &mut Reader, sizes: &Sizes, spill: bool) -> SegmentLimits {
    // A commit of the fullest arena must fit into one segment.
    let least = (sizes.arena_bytes() + BLOCK_BYTES).next_multiple_of(MIB);
    // Of a spill one file of each shard stays on disk, and its successor with it.
    let usual = if spill { 64 * MIB } else { 256 * MIB };
    let segment_bytes = read.bytes("segment_bytes", usual.max(least), least..=SEGMENT_BYTES_MAX);
    let segment_bytes = segment_bytes & !(BLOCK_BYTES - 1);
    let quarantine = 2 * memory::QUARANTINE_ARENA_BYTES..=SEGMENT_BYTES_MAX;
    let quarantine_bytes = read.bytes("quarantine_bytes", 64 * MIB, quarantine);
    let retention_min = 2 * sizes.shards * segment_bytes;
    let retention_bytes = read.bytes("retention_bytes", 0, 0..=u64::MAX);
    if retention_bytes != 0 && retention_bytes < retention_min {
        let why = format!(
            "at least {} is needed, two segments for each of {} shard(s); 0 keeps everything",
            units::bytes(retention_min),
            sizes.shards
        );
        read.refuse("retention_bytes", why);
    }
    if spill {
        for name in ["retention_bytes", "retention_age_s"] {
            if read.raw.get(name).is_some() {
                let why = "would delete events of the spill that are not with the sink yet: leave it out; what is \
                           replayed is removed by itself";
                read.refuse(name, why.into());
            }
        }
    }
    let retention_age =
        read.time("retention_age_s", Duration::ZERO, Duration::ZERO..=Duration::from_secs(1 << 32));
    SegmentLimits {
        segment_bytes,
        quarantine_bytes: quarantine_bytes & !(BLOCK_BYTES - 1),
        retention_bytes: (retention_bytes != 0).then_some(retention_bytes),
        retention_age: (!retention_age.is_zero()).then_some(retention_age),
    }
}

/// Where refused events are kept. Segments have a place for them; of other sinks somebody has to name one.
fn quarantine(read: &mut Reader, sink: &Sink, spill: bool) -> Quarantine {
    let beside = spill || matches!(sink, Sink::Segments(_));
    match read.raw.text("quarantine") {
        None if beside => Quarantine::Segments,
        None | Some("none") => Quarantine::None,
        Some("") => {
            read.refuse("quarantine", "a directory or `none` is expected".into());
            Quarantine::None
        }
        Some(_) if beside => {
            let why = "segments, of the sink or the spill, have their quarantine beside them: leave it out, or say `none`";
            read.refuse("quarantine", why.into());
            Quarantine::Segments
        }
        Some(dir) => Quarantine::Dir(dir.into()),
    }
}

/// The driver, and how the choice came about.
fn driver(read: &mut Reader, machine: &Machine) -> (Driver, String) {
    let wanted = read.choice("driver", "auto", &["uring", "glommio", "auto"]);
    match (wanted.as_str(), &machine.uring) {
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
    }
}

fn executor_io_bytes(read: &mut Reader, machine: &Machine, shards: u64) -> u64 {
    let (memlock, exempt) = (machine.memlock_bytes, machine.memlock_exempt);
    limits::glommio_io_bytes(memlock, exempt, shards, memory::EXECUTOR_IO_BYTES).unwrap_or_else(|why| {
        read.errors.push(ConfigError::Machine(why));
        memory::EXECUTOR_IO_BYTES
    })
}

/// Makes the sizes fit the memory that was given, or what the machine has.
fn fit(read: &mut Reader, sizes: Sizes, machine: &Machine, warnings: &mut Vec<String>) -> Option<Sizes> {
    let fixed = Fixed {
        connections_max: read.raw.get("connections_max").is_some(),
        body_budget_bytes: read.raw.get("body_budget_bytes").is_some(),
    };
    let given = read.one("memory", "0", units::parse_bytes)?;
    if read.raw.get("memory").is_some() {
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
        return fitted.map_err(|least| read.refuse("memory", why(least))).ok();
    }
    // Without a bound the machine is the bound, and a fifth of it is left to others.
    let total = sizes.plan().total_bytes();
    let Some(bound) = machine.memory_bytes.map(|bytes| bytes / 5 * 4).filter(|bound| total > *bound) else {
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
            read.errors.push(ConfigError::Machine(why));
            None
        }
    }
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

/// Parses `segments:DIR`, `kafka:HOST:PORT/TOPIC`, a URL of HTTP (with or without `http:` before it) or `null`.
///
/// # Errors
/// What a sink looks like.
pub fn parse_sink(text: &str) -> Result<Sink, String> {
    match text.split_once(':') {
        None if text == "null" => Ok(Sink::Null),
        Some(("segments", "")) => Err("no directory behind `segments:`".into()),
        Some(("segments", dir)) => Ok(Sink::Segments(dir.into())),
        Some(("kafka", address)) => kafka::parse_address(address).map(Sink::Kafka),
        Some(("http" | "https", rest)) if rest.starts_with("//") => http::parse_address(text).map(Sink::Http),
        Some(("http", url)) => http::parse_address(url).map(Sink::Http),
        _ => Err("not a sink; expected segments:DIR, kafka:HOST:PORT/TOPIC, http://HOST/PATH or null".into()),
    }
}

#[cfg(test)]
#[path = "derive_tests.rs"]
pub(super) mod tests;
