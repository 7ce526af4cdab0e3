//! Findings from what was read: knobs, isolation, quotas, the file system and disk below the data directory.
use super::{Finding, MS, Observed, Quota, US, Weight};
use crate::doctor::host::Kind;
use crate::doctor::knobs::{self, Form, Item, Knob, State, chosen};
use crate::doctor::storage::Storage;
use crate::sys::topology::format_list;

/// Every knob that is not as the profile of such a host wants it.
pub fn knobs(seen: &Observed, findings: &mut Vec<Finding>, untold: &mut Vec<String>) {
    // Values of the host are seen from a container, and limit it just the same.
    let profile = seen.host.machine.profile();
    for knob in &seen.knobs {
        let counts = knob.is_in(profile) || knob.is_in(seen.host.kind.profile()) || knob.name == "io-uring";
        if !counts || !knobs::is_visible(knob, seen.host.kind) {
            continue;
        }
        match knob.state() {
            State::Differs if seen.harmful.iter().any(|name| name == knob.name) => {}
            State::Differs => findings.push(differs(seen, knob)),
            State::Unknown => {
                let Some(lost) = knob.items.iter().find(|item| item.now.is_none()) else { continue };
                let mend = if lost.form == Form::Device { ": install ethtool" } else { "" };
                untold.push(format!("{}: {} cannot be read{mend}", knob.name, lost.target));
            }
            State::Ok if knob.needs_boot() => findings.extend(waits(seen, knob)),
            _ => {}
        }
    }
}

fn differs(seen: &Observed, knob: &Knob) -> Finding {
    Finding::new(knob.name, weight(knob), summary(knob), knob.says("why")).tune(seen, knob.name)
}

/// An argument that stands in the boot entries and not yet in the running kernel's.
fn waits(seen: &Observed, knob: &Knob) -> Option<Finding> {
    let key = knob.name.replace('-', "_");
    let running = seen.host.arguments.iter().any(|word| word.split('=').next() == Some(&key));
    let why = "it is set, and takes effect at the next boot";
    (!running)
        .then(|| Finding::new(knob.name, weight(knob), knob.says("title"), why).mend("sudo systemctl reboot"))
}

/// How much a knob that is not as wanted can cost, with the evidence of `knobs.txt` where it has some.
fn weight(knob: &Knob) -> Weight {
    Weight::costs(match knob.name {
        "io-uring" => return Weight::Stops,
        // Stalls up to seconds; `accept` fails beyond 1024 files.
        "thp" | "dirty" | "limits" => 1_000 * MS,
        // A lost SYN is sent again after a second (RFC 6298). Beyond the other bound SYN cookies serve.
        "backlog" if off(knob).iter().any(|item| item.target.ends_with("somaxconn")) => 1_000 * MS,
        "partition" | "isolcpus" => 17 * MS,
        // The kernel's own target for reads that wait behind writes, on a disk that does not turn.
        "disk" => 2 * MS,
        "swappiness" => MS,
        "cstates" => deepest_us(knob).max(1) * US,
        "coalesce" => gathered_us(knob) * US,
        "plan" | "nic-irqs" | "irqs" | "irqbalance" | "workqueues" | "numa" | "governor" => 100 * US,
        "queues" | "rps" | "stat-interval" | "timers" | "clocksource" => 10 * US,
        // Without a figure, or without effect on this server until it is proved.
        _ => 0,
    })
}

/// What of a knob is not as wanted.
fn off(knob: &Knob) -> Vec<&Item> {
    knob.items.iter().filter(|item| item.same() == Some(false)).collect()
}

/// The exit latency of the deepest state: the host says it beside the limit, see [`crate::doctor::knobs`].
fn deepest_us(knob: &Knob) -> u64 {
    knob.advice.as_deref().and_then(|advice| advice.parse().ok()).unwrap_or(100)
}

/// For how long a card gathers interrupts. One that adapts decides by itself: 64 us is what ENA does.
fn gathered_us(knob: &Knob) -> u64 {
    let of = |item: &Item| match (item.now.as_deref(), item.target.ends_with("usecs")) {
        (Some(now), true) => now.parse().unwrap_or(0),
        (Some("on"), false) => 64,
        _ => 0,
    };
    knob.items.iter().map(of).max().unwrap_or(0)
}

/// What is there and what should be, in one line.
fn summary(knob: &Knob) -> String {
    let off = off(knob);
    let show = |item: &Item| {
        let now = item.now.as_deref().map(chosen).filter(|now| !now.is_empty()).unwrap_or("empty");
        match item.wanted.as_str() {
            "as wanted" => {
                format!("{} is {}", item.target, if now == "absent" { "not there" } else { "otherwise" })
            }
            wanted => format!("{} is {now}, wanted {}", item.target, chosen(wanted)),
        }
    };
    match off[..] {
        [] => knob.says("title").to_string(),
        [one] => show(one),
        [first, ..] => format!("{}, and {} more of {}", show(first), off.len() - 1, knob.items.len()),
    }
}

/// Nothing keeps the shards' CPUs free, and no knob can.
pub fn apart(seen: &Observed) -> Option<Finding> {
    let host = &seen.host;
    let why = "whatever else runs there makes requests wait; with isolcpus the largest stall went from 17 ms to 18 us";
    let weight = Weight::costs(17 * MS);
    if !host.plan.apart {
        let what = format!("no CPU of {} can be the shards' alone", host.online.len());
        return Some(Finding::new("cores", weight, what, why).note("a machine with more CPUs"));
    }
    let says =
        |knob: &&Knob| matches!(knob.name, "partition" | "isolcpus") && knobs::is_visible(knob, host.kind);
    let told = seen.knobs.iter().filter(says).any(|knob| knob.state() != State::Skip);
    let isolated = host.plan.exec.iter().all(|cpu| host.isolated.contains(cpu));
    (!told && !isolated).then(|| {
        let list = format_list(&host.plan.guarded());
        let what =
            format!("nothing keeps other work off the shards' CPUs ({})", format_list(&host.plan.exec));
        let note = match host.kind {
            Kind::Container => {
                format!("isolcpus= or a cpuset partition for {list} on the host of this container")
            }
            _ => format!("isolcpus=managed_irq,domain,{list} among the kernel's arguments, by hand"),
        };
        Finding::new("cores", weight, what, why).note(note)
    })
}

/// A bound on CPU time.
pub fn quota(quota: &Quota) -> Finding {
    let Quota { group, quota_us, period_us } = quota;
    let what = format!("{group} may run for {quota_us} of each {period_us} us");
    let why = "when that is used up, all its threads stand still until the period is over";
    let finding = Finding::new("quota", Weight::costs(period_us * US), what, why);
    match group.strip_prefix("/ringmill.slice/") {
        Some(unit) => finding.mend(format!("sudo systemctl set-property {unit} CPUQuota=")),
        None => finding
            .note("no quota where the server runs (`--cpus`, limits.cpu, CPUQuota=): whole CPUs instead"),
    }
}

/// Whether a flush that succeeded means what it says.
pub fn durability(storage: &Storage, machine: Kind) -> Vec<Finding> {
    let mut all = Vec::new();
    let Storage { dir, mount, kind, .. } = storage;
    if matches!(kind.as_str(), "tmpfs" | "ramfs") {
        let what = format!("{dir} is in memory ({kind})");
        all.push(
            Finding::new(
                "memory-disk",
                Weight::Loses,
                what,
                "nothing outlives a power cut there, whatever a reply says",
            )
            .note("a sink on a disk: --sink segments:DIR"),
        );
    }
    if let Some(option) =
        storage.options.iter().find(|option| matches!(option.as_str(), "nobarrier" | "barrier=0"))
    {
        let what = format!("{mount} is mounted with {option}");
        let why = "the file system flushes no cache, so a power cut takes what was acknowledged as durable";
        let command = format!("sudo mount -o remount,barrier=1 {mount}");
        all.push(Finding::new("barrier", Weight::Loses, what, why).mend(command));
    }
    for device in &storage.devices {
        let name = &device.name;
        if device.write_cache.as_deref() == Some("write through")
            && device.claimed.as_deref() == Some("write back")
        {
            let what = format!("{name} has a volatile cache, and the kernel was told that it has none");
            let command = format!("echo write back | sudo tee /sys/block/{name}/queue/write_cache");
            let why = "it is never flushed, so a power cut takes what was acknowledged as durable";
            all.push(Finding::new("write-cache", Weight::Loses, what, why).mend(command));
        }
        // Virtual disks say so without meaning it.
        if device.rotational && machine == Kind::Metal {
            let what = format!("{name} turns");
            let why = "each commit waits for the platter";
            let note = "an SSD with power-loss protection";
            all.push(Finding::new("rotational", Weight::costs(10 * MS), what, why).note(note));
        }
    }
    if matches!(kind.as_str(), "nfs" | "nfs4" | "cifs" | "9p" | "ceph" | "fuse" | "fuseblk" | "overlay") {
        let what = format!("{dir} is on {kind}");
        let why = if kind == "overlay" {
            "the container's own layer goes with the container"
        } else {
            "each commit waits for another machine or program"
        };
        all.push(Finding::new("file-system", Weight::Little, what, why).note("a volume on a local disk"));
    }
    all
}
