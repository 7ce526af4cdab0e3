//! CPUs: who may run on them, how deep they sleep, how fast they go; and what the kernel is told at boot.
use super::{Form, Wants, to_mask};
use crate::doctor::host::{Cgroups, Isolation};
use crate::sys::topology::format_list;

const CPU: &str = "/sys/devices/system/cpu";

/// Which CPUs are the shards', as the unit hands it on.
pub fn plan(wants: &mut Wants<'_>) {
    let line = format!("RINGMILL_CORES={}", format_list(&wants.host.plan.exec));
    wants.says("/etc/ringmill/cores.env", &[line]);
}

pub fn partition(wants: &mut Wants<'_>) {
    let host = wants.host;
    if host.isolation != Isolation::Partition
        || host.cgroups != Cgroups::V2
        || host.version < (6, 1)
        || host.plan.helper.is_none()
    {
        return;
    }
    slice(wants, "ringmill", &host.plan.part());
    if !host.plan.idle.is_empty() {
        slice(wants, "ringmillidle", &host.plan.idle);
    }
}

fn slice(wants: &mut Wants<'_>, name: &str, cpus: &[usize]) {
    let (list, folder) = (format_list(cpus), format!("/sys/fs/cgroup/{name}.slice"));
    let there = if wants.there(&folder) { "there" } else { "absent" };
    if wants.host.systemd {
        wants.says(&format!("/etc/systemd/system/{name}.slice"), &[format!("AllowedCPUs={list}")]);
    } else {
        let control = "/sys/fs/cgroup/cgroup.subtree_control";
        let has = |line: String| line.split_ascii_whitespace().any(|word| word == "cpuset");
        let now = wants.line(control).map(|line| if has(line) { "there" } else { "absent" }.into());
        wants.item(Form::Folder, format!("{control}:cpuset"), now, "there");
    }
    wants.item(Form::Folder, folder.as_str(), Some(there.into()), "there");
    wants.later(Form::List, &format!("{folder}/cpuset.cpus"), list);
    wants.later(Form::File, &format!("{folder}/cpuset.cpus.partition"), "isolated");
}

pub fn isolcpus(wants: &mut Wants<'_>) {
    let host = wants.host;
    if host.isolation != Isolation::Isolcpus || wants.crowded() {
    } else if !host.isolated.is_empty() && host.journal.plan.is_none() {
        wants.advise("isolated already");
    } else {
        wants.boot(&format!("isolcpus=managed_irq,domain,{}", format_list(&host.plan.guarded())));
    }
}

pub fn irqaffinity(wants: &mut Wants<'_>) {
    if !wants.crowded() {
        wants.boot(&format!("irqaffinity={}", format_list(&wants.host.plan.other())));
    }
}

pub fn skew_tick(wants: &mut Wants<'_>) {
    wants.boot("skew_tick=1");
}

/// No deeper than C1: the largest exit latency allowed is its own. The deepest one's, in microseconds, is told beside
/// it.
pub fn cstates(wants: &mut Wants<'_>) {
    if !wants.there(&format!("{CPU}/cpu0/cpuidle/state1")) {
        return;
    }
    let all = wants.host.plan.exec.iter().flat_map(|cpu| states(wants, *cpu));
    let longest = all.map(|(_, latency)| latency).max().unwrap_or(0);
    wants.advise(longest.to_string());
    for cpu in &wants.host.plan.exec {
        let deepest =
            states(wants, *cpu).into_iter().filter(|(name, _)| is_shallow(name)).map(|(_, latency)| latency);
        let wanted = deepest.fold(1, u64::max).to_string();
        wants.file(&format!("{CPU}/cpu{cpu}/power/pm_qos_resume_latency_us"), wanted);
    }
}

fn is_shallow(name: &str) -> bool {
    matches!(name, "C1" | "C1_ACPI" | "POLL" | "WFI") || name.contains("HLT") || name.starts_with("haltpoll")
}

/// Names and exit latencies in microseconds of a CPU's idle states, but the first, which is no sleep.
fn states(wants: &Wants<'_>, cpu: usize) -> Vec<(String, u64)> {
    let folder = format!("{CPU}/cpu{cpu}/cpuidle");
    let state = |name: String| {
        let number = name.strip_prefix("state")?;
        let path = format!("{folder}/{name}");
        let latency = wants.line(&format!("{path}/latency"))?.parse().ok()?;
        (!number.starts_with('0')).then_some((wants.line(&format!("{path}/name"))?, latency))
    };
    wants.look.names(&folder).into_iter().filter_map(state).collect()
}

pub fn governor(wants: &mut Wants<'_>) {
    for cpu in &wants.host.plan.exec {
        let folder = format!("{CPU}/cpu{cpu}/cpufreq");
        if wants.there(&format!("{folder}/scaling_governor")) {
            wants.file(&format!("{folder}/scaling_governor"), "performance");
            wants.file_if_there(&format!("{folder}/energy_performance_preference"), "performance");
        }
    }
}

pub fn workqueues(wants: &mut Wants<'_>) {
    if wants.crowded() {
        return;
    }
    let wanted = to_mask(&wants.host.plan.house);
    for path in ["/sys/devices/virtual/workqueue/cpumask", "/sys/devices/virtual/workqueue/writeback/cpumask"]
    {
        if wants.there(path) {
            wants.want(Form::Mask, path, wanted.as_str());
        }
    }
}
