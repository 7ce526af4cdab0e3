//! What limits p999: findings from observations, the most important first. No file is read here and no clock.
//!
//! A finding costs what its cause can cost one request, as the evidence in `tuning/knobs.txt` or a measurement here
//! puts it. These are orders of magnitude for the sake of the order; below [`LITTLE_NS`] something is said and does
//! not make a host unfit.
mod read;
mod tried;

pub use tried::delay_quantile;

use super::host::{Host, Kind};
use super::knobs::{self, Knob};
use super::storage::Storage;
use crate::sys::limits::Uring;

/// Below it nothing limits a p999 of some hundred microseconds.
pub const LITTLE_NS: u64 = 10_000;

const MS: u64 = 1_000_000;
const US: u64 = 1_000;

/// How much something matters, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// The server does not run.
    Stops,
    /// What is acknowledged as durable may be lost.
    Loses,
    /// A request can wait this many nanoseconds for it. The order is that of `u64` turned round.
    Costs(std::cmp::Reverse<u64>),
    /// Hardly.
    Little,
}

impl Weight {
    fn costs(ns: u64) -> Weight {
        if ns < LITTLE_NS { Weight::Little } else { Weight::Costs(std::cmp::Reverse(ns)) }
    }

    /// The word for programs.
    pub fn name(self) -> &'static str {
        match self {
            Weight::Stops => "stops",
            Weight::Loses => "loses",
            Weight::Costs(_) => "limits",
            Weight::Little => "little",
        }
    }
}

/// Something that should be otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A knob's name, or a word of our own.
    pub id: String,
    /// How much it matters.
    pub weight: Weight,
    /// What it is here.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// The one command that mends it, where there is one.
    pub mend: Option<String>,
    /// What is to be known of the mend: a reboot, or what to do without a command.
    pub note: Option<String>,
    /// Whether it is for the host of this container to mend.
    pub on_host: bool,
}

impl Finding {
    fn new(id: &str, weight: Weight, what: impl Into<String>, why: impl Into<String>) -> Finding {
        let (what, why) = (what.into(), why.into());
        Finding { id: id.into(), weight, what, why, mend: None, note: None, on_host: false }
    }
    fn mend(self, command: impl Into<String>) -> Finding {
        Finding { mend: Some(command.into()), ..self }
    }
    /// `ringmill-tune` mends it: here, or on the host of this container, where it is under its installed name.
    fn tune(self, seen: &Observed, knob: &str) -> Finding {
        let on_host = seen.host.kind == Kind::Container && knobs::says(knob, "scope") == "host";
        let tool = if on_host { "ringmill-tune" } else { &seen.tool };
        let finding = Finding { on_host, ..self.mend(format!("sudo {tool} apply --only {knob}")) };
        if knobs::says(knob, "reboot") == "yes" { finding.note("and a reboot") } else { finding }
    }
    fn note(self, note: impl Into<String>) -> Finding {
        Finding { note: Some(note.into()), ..self }
    }
}

/// What can be said of a host as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing that was looked at limits p999.
    Fit,
    /// Something does.
    Unfit,
    /// Nothing was found, and something could not be read.
    Untold,
}

/// The CPU time that a control group may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Whose.
    pub group: String,
    /// Microseconds of each period.
    pub quota_us: u64,
    /// Microseconds of a period.
    pub period_us: u64,
}

/// One core, spun on while it should have been idle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jitter {
    /// Its number.
    pub core: usize,
    /// What a request that arrives at any time waits for the core at p999, in nanoseconds.
    pub p999_ns: u64,
    /// The longest gap.
    pub longest_ns: u64,
    /// For how long the thread was spinning or kept from it.
    pub spun_ns: u64,
    /// For how much of that another thread of this host had the core.
    pub ran_others_ns: u64,
    /// For how much of it the hypervisor had.
    pub stolen_ns: u64,
    /// The interrupt that came most, and how often.
    pub interrupt: Option<(String, u64)>,
}

/// Writes of 4 KiB with their flush, in the data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flush {
    /// How many.
    pub count: usize,
    /// Median of write and flush, in nanoseconds.
    pub p50_ns: u64,
    /// The 99th percentile.
    pub p99_ns: u64,
    /// The longest.
    pub longest_ns: u64,
    /// Median of a write alone.
    pub write_p50_ns: u64,
    /// Whether writes went past the page cache.
    pub direct: bool,
}

/// The server itself with the null sink on one of the cores, asked over loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loopback {
    /// The core it ran on.
    pub core: usize,
    /// Requests.
    pub count: usize,
    /// Median, in nanoseconds.
    pub p50_ns: u64,
    /// The 99th percentile.
    pub p99_ns: u64,
    /// The longest.
    pub longest_ns: u64,
}

/// What was tried out rather than read.
#[derive(Clone, Debug)]
pub struct Measured {
    /// How much of io_uring there is.
    pub uring: Uring,
    /// `RLIMIT_MEMLOCK` of this process in bytes, `u64::MAX` for none.
    pub memlock_bytes: u64,
    /// Whether it is not counted.
    pub memlock_exempt: bool,
    /// `RLIMIT_NOFILE` of this process.
    pub files_max: u64,
    /// By how much timers of this process may be late, in nanoseconds.
    pub slack_ns: Option<u64>,
    /// By how much they were: median and p99.
    pub wake_ns: Option<(u64, u64)>,
    /// Idle cores.
    pub jitter: Vec<Jitter>,
    /// The disk; why not, otherwise.
    pub flush: Result<Flush, String>,
    /// The server; why not, otherwise.
    pub loopback: Result<Loopback, String>,
}

/// All that is known of a host.
#[derive(Clone, Debug)]
pub struct Observed {
    /// What it is.
    pub host: Host,
    /// Its knobs.
    pub knobs: Vec<Knob>,
    /// Knobs that were proved to harm here.
    pub harmful: Vec<String>,
    /// What lies under the data directory.
    pub storage: Option<Storage>,
    /// Bounds on the CPU time of this process or of the server's unit.
    pub quotas: Vec<Quota>,
    /// Whether the server's unit is installed, so that limits of this process say nothing about the server.
    pub unit: bool,
    /// What was tried out; `None`: nothing.
    pub measured: Option<Measured>,
    /// How `ringmill-tune` is called here.
    pub tool: String,
}

/// What is said about a host.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// As a whole.
    pub verdict: Verdict,
    /// The most important first.
    pub findings: Vec<Finding>,
    /// What could not be told.
    pub untold: Vec<String>,
}

/// Judges.
pub fn judge(seen: &Observed) -> Judgement {
    let mut findings = Vec::new();
    let mut untold = Vec::new();
    read::knobs(seen, &mut findings, &mut untold);
    findings.extend(read::apart(seen));
    findings.extend(seen.quotas.iter().map(read::quota));
    match &seen.storage {
        Some(storage) => findings.extend(read::durability(storage, seen.host.machine)),
        None => untold.push("what lies under the data directory: no /proc/self/mountinfo".into()),
    }
    if let Some(measured) = &seen.measured {
        tried::all(seen, measured, &mut findings, &mut untold);
    }
    findings.sort_by_key(|finding| finding.weight);
    let verdict = match () {
        () if findings.iter().any(|finding| finding.weight != Weight::Little) => Verdict::Unfit,
        () if !untold.is_empty() => Verdict::Untold,
        () => Verdict::Fit,
    };
    Judgement { verdict, findings, untold }
}

/// A length of time in two or three digits and a unit.
pub fn time(ns: u64) -> String {
    let (value, unit) = match ns {
        1_000_000_000.. => (ns as f64 / 1e9, "s"),
        1_000_000.. => (ns as f64 / 1e6, "ms"),
        1_000.. => (ns as f64 / 1e3, "us"),
        _ => return format!("{ns} ns"),
    };
    if value < 10.0 && (value * 10.0).round() % 10.0 != 0.0 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}
