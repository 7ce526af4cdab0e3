//! The record of where a run took place: what a reader needs to repeat it, or to doubt it.
//!
//! Everything is read from `/proc` and `/sys` below a root that tests may choose; what a machine does not tell is
//! null. The record goes into the JSON and the report as it is. Nothing is judged or changed here, and nothing
//! that names people or hosts is read: no host name, no environment variables, no addresses.
use crate::load::probe;
use crate::sys::topology;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long git may take to say which commit this is, before the record goes without.
const GIT_PATIENCE: Duration = Duration::from_millis(500);

/// The whole record.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Environment {
    /// When it was taken: `2026-01-31T12:00:00.000Z`.
    pub time: String,
    /// The program that generated the load.
    pub program: Program,
    /// Processors.
    pub cpu: Cpu,
    /// The kernel and how it was started.
    pub kernel: Kernel,
    /// What this process may take.
    pub limits: Limits,
    /// Control groups of this process.
    pub cgroup: Cgroup,
    /// How the generator was placed and what it sent.
    pub generator: Generator,
    /// Counters before the run.
    pub before: Pressure,
    /// Counters after it; null while it lasts.
    pub after: Option<Pressure>,
    /// The most memory that this process held, in bytes; known after the run.
    pub peak_rss_bytes: Option<u64>,
}

/// The program and the checkout it was started in.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Program {
    /// Of ringmill.
    pub version: String,
    /// `release` or `debug`: figures of a debug build mean little.
    pub profile: String,
    /// Architecture and the vector extensions compiled for.
    pub target: String,
    /// Commit of the git checkout in the working directory; null outside of one.
    pub commit: Option<String>,
    /// Whether tracked files of that checkout were changed.
    pub dirty: Option<bool>,
}

/// Processors.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Cpu {
    /// As the kernel names it.
    pub model: Option<String>,
    /// Revision of the microcode.
    pub microcode: Option<String>,
    /// Cores online, as a list: `0-3,5`.
    pub online: String,
    /// Cores that this process may use.
    pub allowed: String,
    /// Cores that the kernel keeps free of other work.
    pub isolated: String,
    /// Whether two threads share a core.
    pub smt: Option<bool>,
    /// Memory nodes.
    pub nodes: usize,
    /// Frequency governor of the first core; null where the machine has none to choose.
    pub governor: Option<String>,
    /// Whether cores may exceed their nominal frequency.
    pub turbo: Option<bool>,
    /// Whether hardware events can be counted.
    pub pmu: bool,
    /// The hypervisor, if the processor says that there is one.
    pub hypervisor: Option<String>,
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
}

/// The kernel.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Kernel {
    /// Its release.
    pub release: Option<String>,
    /// Its command line: `isolcpus`, `nohz_full` and `mitigations` stand there.
    pub cmdline: Option<String>,
    /// What it keeps time with.
    pub clocksource: Option<String>,
    /// Vulnerabilities that concern this machine and what is done about each.
    pub mitigations: BTreeMap<String, String>,
    /// Cores without a periodic tick.
    pub nohz_full: Option<String>,
    /// Cores to which new interrupts go, as the kernel's mask.
    pub irq_affinity: Option<String>,
    /// Receive packet steering of the loopback device, as the kernel's mask.
    pub loopback_rps: Option<String>,
    /// Transparent huge pages: the setting in force.
    pub huge_pages: Option<String>,
    /// `kernel.io_uring_disabled`.
    pub io_uring_disabled: Option<String>,
    /// Congestion control of TCP.
    pub tcp_congestion: Option<String>,
    /// Longest queue of a listener.
    pub somaxconn: Option<u64>,
}

/// Limits of this process: soft ones, as text (`unlimited` is one).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Open files.
    pub open_files: Option<String>,
    /// Bytes of locked memory.
    pub locked_memory: Option<String>,
}

/// Control groups.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Cgroup {
    /// Lines of `/proc/self/cgroup`.
    pub groups: Vec<String>,
    /// Quota and period that bound the processor time, own group first; empty where nothing does.
    pub cpu_max: Vec<String>,
}

/// The generator.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Generator {
    /// Its threads, one a core.
    pub threads: usize,
    /// The cores to which they were pinned; empty when they were not.
    pub cores: String,
    /// Whether they spin between requests rather than sleep.
    pub spins: bool,
    /// Seed of plan and payloads.
    pub seed: u64,
    /// CRC-32C over all prepared requests, in hexadecimal: equal ones sent the same bytes.
    pub corpus: Option<String>,
}

/// Counters that only rise.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pressure {
    /// Ticks taken by the hypervisor, all cores together.
    pub steal_ticks: u64,
    /// Nanoseconds for which this process's control groups were held back.
    pub throttled_ns: u64,
    /// Microseconds in which some task of the machine waited for a core; null without PSI.
    pub cpu_pressure_us: Option<u64>,
    /// The same for storage.
    pub io_pressure_us: Option<u64>,
    /// The same for memory.
    pub memory_pressure_us: Option<u64>,
    /// Load averages.
    pub load: Option<String>,
}

impl Environment {
    /// Reads the record, with `/proc` and `/sys` under `root`.
    pub fn read(root: &Path, generator: Generator) -> Environment {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Environment {
            time: crate::log::rfc3339(now.as_millis() as u64),
            program: program(),
            cpu: cpu(root),
            kernel: kernel(root),
            limits: limits(root),
            cgroup: cgroup(root),
            generator,
            before: pressure(root),
            after: None,
            peak_rss_bytes: None,
        }
    }

    /// Adds what is only known after the run.
    pub fn finish(&mut self, root: &Path) {
        self.after = Some(pressure(root));
        self.peak_rss_bytes = status(root, "VmHWM:")
            .and_then(|text| text.strip_suffix("kB")?.trim().parse::<u64>().ok())
            .map(|kib| kib * 1024);
    }
}

/// The trimmed text of a file; `None` when it is missing or empty.
fn text(root: &Path, path: &str) -> Option<String> {
    let text = fs::read_to_string(root.join(path)).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_string())
}

/// A field of `/proc/self/status`.
fn status(root: &Path, name: &str) -> Option<String> {
    let all = text(root, "proc/self/status")?;
    all.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_string())
}

fn program() -> Program {
    let git = git();
    let vectors = [
        ("sse4.2", cfg!(target_feature = "sse4.2")),
        ("avx2", cfg!(target_feature = "avx2")),
        ("avx512f", cfg!(target_feature = "avx512f")),
    ];
    let vectors = vectors.iter().filter(|(_, on)| *on).map(|(name, _)| format!("+{name}"));
    Program {
        version: env!("CARGO_PKG_VERSION").to_string(),
        profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_string(),
        target: std::env::consts::ARCH.to_string() + &vectors.collect::<String>(),
        commit: git.as_ref().map(|(commit, _)| commit.clone()),
        dirty: git.map(|(_, dirty)| dirty),
    }
}

/// Commit and whether tracked files differ from it, if the working directory is in a checkout.
fn git() -> Option<(String, bool)> {
    let mut child = Command::new("git")
        .args(["status", "--porcelain=v2", "--branch", "--untracked-files=no"])
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let output = child.stdout.take()?;
    let reader = std::thread::spawn(move || std::io::read_to_string(output).unwrap_or_default());
    let end = Instant::now() + GIT_PATIENCE;
    while child.try_wait().ok()?.is_none() {
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    parse_git(&reader.join().ok()?)
}

fn parse_git(text: &str) -> Option<(String, bool)> {
    let commit = text.lines().find_map(|line| line.strip_prefix("# branch.oid "))?;
    let hash = commit.len() >= 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    hash.then(|| (commit.to_string(), text.lines().any(|line| !line.starts_with('#'))))
}

fn cpu(root: &Path) -> Cpu {
    let info = text(root, "proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let mut pairs = info.lines().filter_map(|line| line.split_once(':'));
        pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_string())
    };
    let virtual_machine = field("flags").is_some_and(|flags| flags.split(' ').any(|f| f == "hypervisor"));
    let flag = |path: &str, on: &str| text(root, path).map(|text| text == on);
    Cpu {
        model: field("model name"),
        microcode: field("microcode"),
        online: topology::format_list(&topology::online(root)),
        allowed: status(root, "Cpus_allowed_list:").unwrap_or_default(),
        isolated: topology::format_list(&topology::isolated(root)),
        smt: flag("sys/devices/system/cpu/smt/active", "1"),
        nodes: nodes(root),
        governor: text(root, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        turbo: flag("sys/devices/system/cpu/cpufreq/boost", "1")
            .or_else(|| flag("sys/devices/system/cpu/intel_pstate/no_turbo", "0")),
        pmu: ["cpu", "cpu_core", "armv8_pmuv3_0"]
            .iter()
            .any(|name| root.join("sys/bus/event_source/devices").join(name).exists()),
        hypervisor: virtual_machine.then(|| hypervisor(root)),
        memory_bytes: topology::memory_bytes(root),
    }
}

fn nodes(root: &Path) -> usize {
    let Ok(entries) = fs::read_dir(root.join("sys/devices/system/node")) else { return 1 };
    let node = |name: &str| name.strip_prefix("node").is_some_and(|number| number.parse::<u32>().is_ok());
    entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(node)).count().max(1)
}

/// Its vendor and product, as far as the firmware tells them.
fn hypervisor(root: &Path) -> String {
    let parts = ["sys/hypervisor/type", "sys/class/dmi/id/sys_vendor", "sys/class/dmi/id/product_name"];
    let known: Vec<String> = parts.iter().filter_map(|path| text(root, path)).collect();
    if known.is_empty() { "unnamed".to_string() } else { known.join(" ") }
}

fn kernel(root: &Path) -> Kernel {
    Kernel {
        release: text(root, "proc/sys/kernel/osrelease"),
        cmdline: text(root, "proc/cmdline"),
        clocksource: text(root, "sys/devices/system/clocksource/clocksource0/current_clocksource"),
        mitigations: mitigations(root),
        nohz_full: text(root, "sys/devices/system/cpu/nohz_full").filter(|list| list != "(null)"),
        irq_affinity: text(root, "proc/irq/default_smp_affinity"),
        loopback_rps: text(root, "sys/class/net/lo/queues/rx-0/rps_cpus"),
        huge_pages: text(root, "sys/kernel/mm/transparent_hugepage/enabled").as_deref().map(chosen),
        io_uring_disabled: text(root, "proc/sys/kernel/io_uring_disabled"),
        tcp_congestion: text(root, "proc/sys/net/ipv4/tcp_congestion_control"),
        somaxconn: text(root, "proc/sys/net/core/somaxconn").and_then(|text| text.parse().ok()),
    }
}

/// The word in brackets, or all of it where nothing is chosen.
fn chosen(text: &str) -> String {
    let inner = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inner.map_or(text, |(word, _)| word).to_string()
}

fn mitigations(root: &Path) -> BTreeMap<String, String> {
    let folder = "sys/devices/system/cpu/vulnerabilities";
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return BTreeMap::new() };
    let entry = |entry: fs::DirEntry| {
        let name = entry.file_name().to_str()?.to_string();
        let state = text(root, &format!("{folder}/{name}"))?;
        (state != "Not affected").then_some((name, state))
    };
    entries.flatten().filter_map(entry).collect()
}

fn limits(root: &Path) -> Limits {
    let all = text(root, "proc/self/limits").unwrap_or_default();
    let soft = |name: &str| {
        let rest = all.lines().find_map(|line| line.strip_prefix(name))?;
        rest.split_ascii_whitespace().next().map(str::to_string)
    };
    Limits { open_files: soft("Max open files"), locked_memory: soft("Max locked memory") }
}

fn cgroup(root: &Path) -> Cgroup {
    let bound = |folder: &std::path::PathBuf| {
        let read = |name: &str| fs::read_to_string(folder.join(name)).ok().map(|t| t.trim().to_string());
        let set = read("cpu.max")
            .or_else(|| Some(format!("{} {}", read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?)))?;
        (!set.starts_with("max") && !set.starts_with("-1")).then_some(set)
    };
    Cgroup {
        groups: text(root, "proc/self/cgroup")
            .map(|text| text.lines().map(str::to_string).collect())
            .unwrap_or_default(),
        cpu_max: probe::cpu_groups(root).iter().filter_map(bound).collect(),
    }
}

fn pressure(root: &Path) -> Pressure {
    let waited = |what: &str| {
        let text = text(root, &format!("proc/pressure/{what}"))?;
        let line = text.lines().find(|line| line.starts_with("some "))?;
        line.rsplit_once("total=")?.1.trim().parse().ok()
    };
    Pressure {
        steal_ticks: text(root, "proc/stat")
            .map(|text| probe::steal(&text).values().map(|&(stolen, _)| stolen).sum())
            .unwrap_or(0),
        throttled_ns: probe::throttled_ns(root),
        cpu_pressure_us: waited("cpu"),
        io_pressure_us: waited("io"),
        memory_pressure_us: waited("memory"),
        load: text(root, "proc/loadavg").map(|text| text.split(' ').take(3).collect::<Vec<_>>().join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::testing::Tree;

    #[test]
    fn a_recorded_machine_is_read() {
        let tree = Tree::new(
            "machine",
            &[
                (
                    "proc/cpuinfo",
                    "processor\t: 0\nmodel name\t: Some CPU\nmicrocode\t: 0x1f\nflags\t: fpu hypervisor sse\n",
                ),
                ("proc/stat", "cpu  1 1\ncpu0 1 0 0 1 0 0 0 4\ncpu1 1 0 0 1 0 0 0 5\n"),
                ("proc/pressure/cpu", "some avg10=0.00 avg60=1.00 avg300=0.00 total=77\nfull total=5\n"),
                ("proc/loadavg", "0.10 0.20 0.30 1/99 1234\n"),
                (
                    "proc/self/limits",
                    "Limit Soft Hard Units\nMax open files            20000                30000  files\n",
                ),
                ("proc/self/status", "VmHWM:\t    2048 kB\nCpus_allowed_list:\t0-1\n"),
                ("proc/self/cgroup", "0::/box\n"),
                ("proc/sys/kernel/osrelease", "6.1.0\n"),
                ("sys/fs/cgroup/box/cpu.max", "95000 100000\n"),
                ("sys/fs/cgroup/box/cpu.stat", "throttled_usec 3\n"),
                ("sys/devices/system/cpu/online", "0-1\n"),
                ("sys/devices/system/cpu/smt/active", "0\n"),
                ("sys/devices/system/cpu/nohz_full", "(null)\n"),
                ("sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected\n"),
                ("sys/devices/system/cpu/vulnerabilities/retbleed", "Mitigation: untrained return\n"),
                ("sys/devices/system/node/node0/x", ""),
                ("sys/devices/system/node/node1/x", ""),
                ("sys/bus/event_source/devices/cpu/type", "4"),
                ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
                ("sys/class/dmi/id/sys_vendor", "QEMU\n"),
            ],
        );
        let mut read = Environment::read(&tree.0, Generator { seed: 7, ..Generator::default() });
        assert_eq!(read.cpu.model.as_deref(), Some("Some CPU"));
        assert_eq!((read.cpu.online.as_str(), read.cpu.allowed.as_str()), ("0-1", "0-1"));
        assert_eq!((read.cpu.smt, read.cpu.nodes, read.cpu.pmu), (Some(false), 2, true));
        assert_eq!((read.cpu.hypervisor.as_deref(), read.cpu.governor.as_deref()), (Some("QEMU"), None));
        assert_eq!((read.kernel.release.as_deref(), read.kernel.nohz_full.as_deref()), (Some("6.1.0"), None));
        assert_eq!(read.kernel.mitigations.len(), 1);
        assert_eq!(read.kernel.huge_pages.as_deref(), Some("madvise"));
        assert_eq!(
            (read.limits.open_files.as_deref(), read.limits.locked_memory.as_deref()),
            (Some("20000"), None)
        );
        assert_eq!(read.cgroup.groups, ["0::/box"]);
        assert_eq!(read.cgroup.cpu_max, ["95000 100000"]);
        let before = read.before.clone();
        assert_eq!((before.steal_ticks, before.throttled_ns, before.cpu_pressure_us), (9, 3000, Some(77)));
        assert_eq!((before.io_pressure_us, before.load.as_deref()), (None, Some("0.10 0.20 0.30")));
        read.finish(&tree.0);
        assert_eq!((read.peak_rss_bytes, read.after.unwrap().steal_ticks), (Some(2 << 20), 9));
    }

    #[test]
    fn an_empty_machine_is_no_error_and_a_record_survives_json() {
        let tree = Tree::new("empty", &[("x", "")]);
        let mut read = Environment::read(&tree.0, Generator::default());
        read.finish(&tree.0);
        assert_eq!((read.cpu.model.clone(), read.peak_rss_bytes), (None, None));
        let text = serde_json::to_string(&read).unwrap();
        let back: Environment = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), text);
        assert!(Environment::read(Path::new("/"), Generator::default()).kernel.release.is_some());
    }

    #[test]
    fn git_tells_commit_and_changes() {
        let hash = "0123456789abcdef0123456789abcdef01234567";
        for (text, expected) in [
            (format!("# branch.oid {hash}\n# branch.head main\n"), Some((hash.to_string(), false))),
            (format!("# branch.oid {hash}\n1 .M N... 100644 a.rs\n"), Some((hash.to_string(), true))),
            ("# branch.oid (initial)\n".to_string(), None),
            (String::new(), None),
        ] {
            assert_eq!(parse_git(&text), expected, "{text}");
        }
    }
}
