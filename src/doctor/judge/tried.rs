//! Findings from what was tried out: rings, limits, timers, idle cores, commits, the server.
use super::{Finding, Flush, Jitter, MS, Measured, Observed, US, Weight, time};
use crate::doctor::host::Kind;
use crate::doctor::knobs::State;
use crate::sys::limits::{MEMLOCK_BYTES_MIN, Uring};

/// A request that arrives at any time waits so long for its core at p999: below lie timer interrupts.
const JITTER_NS: u64 = 50_000;
/// A commit takes so long at p99: above, the disk is what `durable` waits for.
const FLUSH_NS: u64 = 1_000_000;
/// No device takes a write and a flush in less: two system calls alone take a microsecond or two.
const FLUSH_LEAST_NS: u64 = 5_000;
/// The server's own p99 over loopback, on a host without troubles: some 40 us.
const LOOPBACK_NS: u64 = 1_000_000;
/// What a thread's timers are late by if nobody asked for anything else.
const SLACK_NS: u64 = 50_000;
/// Descriptors a shard takes: its connections (1024), and rings, files, sockets.
const FILES_A_SHARD: u64 = 1024 + 128;
/// Locked memory that a shard's executor likes to have.
const IO_MEMORY_BYTES: u64 = 1 << 20;

/// All of them, and what could not be measured.
pub fn all(seen: &Observed, measured: &Measured, findings: &mut Vec<Finding>, untold: &mut Vec<String>) {
    findings.extend(rings(seen, &measured.uring));
    if !seen.unit {
        findings.extend(limits(seen, measured));
    }
    if let Some(slack) = measured.slack_ns.filter(|slack| *slack > SLACK_NS) {
        let what = format!("timers of this process may be {} late", time(slack));
        findings.push(
            Finding::new(
                "timer-slack",
                Weight::costs(slack),
                what,
                "a thread that sleeps is woken that much later",
            )
            .note("started without TimerSlackNSec="),
        );
    }
    if measured.jitter.is_empty() {
        untold.push("idle jitter: no thread could be pinned to a core".into());
    }
    findings
        .extend(measured.jitter.iter().filter_map(|jitter| stalls(seen, jitter)).min_by_key(|f| f.weight));
    match &measured.flush {
        Ok(flush) => findings.extend(disk(seen, flush)),
        Err(why) => untold.push(format!("the disk: {why}")),
    }
    match &measured.loopback {
        Ok(loopback) if loopback.p99_ns > LOOPBACK_NS => {
            let what = format!("the server itself took {} at p99 over loopback", time(loopback.p99_ns));
            let why = "nothing but this host was between question and answer";
            let note = "what else stands here, then once more";
            findings.push(Finding::new("loopback", Weight::costs(loopback.p99_ns), what, why).note(note));
        }
        Ok(_) => {}
        Err(why) => untold.push(format!("the server's own latency: {why}")),
    }
}

fn rings(seen: &Observed, uring: &Uring) -> Option<Finding> {
    let why = "both drivers are made of rings";
    match uring {
        Uring::Full => None,
        // The sysctl's knob says it already.
        Uring::Denied(_)
            if seen.knobs.iter().any(|knob| knob.name == "io-uring" && knob.state() == State::Differs) =>
        {
            None
        }
        Uring::Denied(what) => {
            let finding = Finding::new("io_uring", Weight::Stops, what.as_str(), why);
            Some(match seen.host.kind {
                Kind::Container => {
                    finding.note("run it with --security-opt seccomp=deploy/container/seccomp.json")
                }
                _ => {
                    finding.note("kernel.io_uring_disabled, or the filter of the service (SystemCallFilter=)")
                }
            })
        }
        Uring::Basic(what) => {
            let why = "the `glommio` driver serves instead, at 1.6 to 3 times the CPU";
            Some(
                Finding::new("io_uring", Weight::costs(100 * US), what.as_str(), why)
                    .note("Linux 6.1 or newer"),
            )
        }
    }
}

fn limits(seen: &Observed, measured: &Measured) -> Vec<Finding> {
    let shards = seen.host.plan.exec.len() as u64;
    let mut all = Vec::new();
    let (bytes, exempt) = (measured.memlock_bytes, measured.memlock_exempt);
    if let Err(what) = crate::sys::limits::glommio_io_bytes(bytes, exempt, shards, IO_MEMORY_BYTES) {
        let why = format!("an executor locks {} KiB at least", MEMLOCK_BYTES_MIN / 1024);
        all.push(Finding::new("memlock", Weight::Stops, what, why).tune(seen, "limits"));
    }
    let needed = shards * FILES_A_SHARD;
    if measured.files_max < needed {
        let what = format!("{} files may be open, {shards} shard(s) want {needed}", measured.files_max);
        let why = "connections beyond what is left are turned away";
        all.push(Finding::new("nofile", Weight::costs(1_000 * MS), what, why).tune(seen, "limits"));
    }
    all
}

/// A core that is not as idle as it should be, and who had it.
fn stalls(seen: &Observed, jitter: &Jitter) -> Option<Finding> {
    let Jitter { core, p999_ns, longest_ns, ran_others_ns, stolen_ns, .. } = jitter;
    let weight = match (*p999_ns, *longest_ns) {
        (JITTER_NS.., _) => Weight::costs(*p999_ns),
        (_, MS..) => Weight::Little,
        _ => return None,
    };
    let what = format!(
        "idle core {core} was away for up to {}; a request that comes at any time waits {} for it at p999",
        time(*longest_ns),
        time(*p999_ns)
    );
    let lost = |part: &u64| *part * 4 >= *longest_ns;
    let finding = |why: String| Finding::new("jitter", weight, what.clone(), why);
    let keep = seen
        .knobs
        .iter()
        .find(|knob| matches!(knob.name, "partition" | "isolcpus") && knob.state() == State::Differs);
    Some(match () {
        () if lost(stolen_ns) => {
            finding(format!("the hypervisor had it for {} of the measured time", time(*stolen_ns)))
                .note("a dedicated host, or CPUs of one's own from the provider")
        }
        () if lost(ran_others_ns) => {
            let finding =
                finding(format!("other threads of this host ran there for {}", time(*ran_others_ns)));
            match keep {
                Some(knob) => finding.tune(seen, knob.name),
                None => finding.note("nothing else on this core: taskset, AllowedCPUs="),
            }
        }
        () => {
            let most = jitter.interrupt.as_ref().map_or(String::new(), |(name, count)| {
                format!("; the most frequent interrupt there was {name}, {count} times")
            });
            let finding = finding(format!("no thread of this host had it meanwhile{most}"));
            match seen.host.machine {
                Kind::Vm => finding.note("the hypervisor, by all appearances: a dedicated host"),
                _ => finding
                    .mend("sudo hwlatdetect --duration=60")
                    .note("tells whether the firmware (SMIs) takes it"),
            }
        }
    })
}

fn disk(seen: &Observed, flush: &Flush) -> Vec<Finding> {
    let mut all = Vec::new();
    let memory =
        seen.storage.as_ref().is_some_and(|storage| matches!(storage.kind.as_str(), "tmpfs" | "ramfs"));
    if flush.p50_ns < FLUSH_LEAST_NS && !memory {
        let what = format!("a write with its flush takes {}", time(flush.p50_ns));
        let why = "no device answers so fast: the flush does not reach one, and a power cut takes what was acknowledged as durable";
        all.push(
            Finding::new("flush", Weight::Loses, what, why)
                .note("nothing between server and disk that swallows fdatasync (libeatmydata, a cache)"),
        );
    }
    if flush.p99_ns > FLUSH_NS {
        let what =
            format!("a commit of 4 KiB takes {} at p99 (median {})", time(flush.p99_ns), time(flush.p50_ns));
        let finding = Finding::new(
            "flush-slow",
            Weight::costs(flush.p99_ns),
            what,
            "every `durable` reply waits for it",
        );
        let knob =
            seen.knobs.iter().find(|k| matches!(k.name, "disk" | "dirty") && k.state() == State::Differs);
        all.push(match knob {
            Some(knob) => finding.tune(seen, knob.name),
            None => finding.note("an SSD with power-loss protection, of the server's own"),
        });
    }
    if !flush.direct && !memory {
        let what = "the data directory's file system takes no O_DIRECT";
        let why = "commits go through the page cache, with less even latency";
        all.push(Finding::new("direct", Weight::Little, what, why).note("ext4, XFS or btrfs"));
    }
    all
}

/// What a request that arrives at a random moment waits at quantile `q` if the core is away during `gaps` of `total`
/// nanoseconds: the x for which the time spent in gaps with more than x still to go is 1 - q of all.
pub fn delay_quantile(gaps: &mut [u64], total_ns: u64, q: f64) -> u64 {
    gaps.sort_unstable_by_key(|gap| std::cmp::Reverse(*gap));
    let share = (1.0 - q) * total_ns as f64;
    let mut sum = 0.0;
    for (index, gap) in gaps.iter().enumerate() {
        sum += *gap as f64;
        let (count, next) = ((index + 1) as f64, gaps.get(index + 1).copied().unwrap_or(0));
        let wait = (sum - share) / count;
        if wait >= next as f64 {
            return wait.round() as u64;
        }
    }
    0
}
