//! Memory, timers, clocks, disks, limits.
use super::Wants;

pub fn thp(wants: &mut Wants<'_>) {
    let folder = "/sys/kernel/mm/transparent_hugepage";
    if wants.there(&format!("{folder}/enabled")) {
        wants.file(&format!("{folder}/enabled"), "madvise");
        wants.file(&format!("{folder}/defrag"), "madvise");
    }
}

pub fn numa(wants: &mut Wants<'_>) {
    wants.sysctl("kernel.numa_balancing", "0");
    wants.sysctl("vm.zone_reclaim_mode", "0");
    wants.file_if_there("/sys/kernel/mm/ksm/run", "0");
}

pub fn swappiness(wants: &mut Wants<'_>) {
    wants.sysctl("vm.swappiness", "10");
}

/// Ratios, unless somebody has set bytes, which they would erase.
pub fn dirty(wants: &mut Wants<'_>) {
    for name in ["dirty_bytes", "dirty_background_bytes"] {
        if let Some(set) = wants.line(&format!("/proc/sys/vm/{name}")).filter(|set| set != "0") {
            return wants.advise(format!("vm.{name} = {set}, set by somebody"));
        }
    }
    wants.sysctl("vm.dirty_ratio", "10");
    wants.sysctl("vm.dirty_background_ratio", "3");
}

pub fn stat_interval(wants: &mut Wants<'_>) {
    wants.sysctl("vm.stat_interval", "10");
}

pub fn timers(wants: &mut Wants<'_>) {
    wants.sysctl("kernel.timer_migration", "0");
}

pub fn nmi_watchdog(wants: &mut Wants<'_>) {
    wants.sysctl("kernel.nmi_watchdog", "0");
}

pub fn clocksource(wants: &mut Wants<'_>) {
    let folder = "/sys/devices/system/clocksource/clocksource0";
    let Some(available) = wants.line(&format!("{folder}/available_clocksource")) else { return };
    let current = format!("{folder}/current_clocksource");
    if available.split(' ').any(|name| name == "tsc") {
        wants.file(&current, "tsc");
    } else {
        wants.advise(format!("{} of {available}", wants.line(&current).unwrap_or("?".into())));
    }
}

/// NVMe and virtio need no scheduler; completions come to the CPU that asked; writes are not held back.
pub fn disk(wants: &mut Wants<'_>) {
    for disk in &wants.host.disks {
        let folder = format!("/sys/block/{disk}/queue");
        let turns = wants.line(&format!("{folder}/rotational")).as_deref() == Some("1");
        if turns && (disk.starts_with("sd") || disk.starts_with("hd")) {
            continue;
        }
        let scheduler = format!("{folder}/scheduler");
        if wants.line(&scheduler).is_some_and(|line| line.contains("none")) {
            wants.file(&scheduler, "none");
        }
        wants.file_if_there(&format!("{folder}/rq_affinity"), "2");
        if wants.line(&format!("{folder}/wbt_lat_usec")).is_some() {
            wants.file(&format!("{folder}/wbt_lat_usec"), "0");
        }
        wants.file_if_there(&format!("{folder}/add_random"), "0");
    }
}

/// Where a package puts the unit.
const UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// For the unit, by its own words or by ours, and for who logs in as its user.
pub fn limits(wants: &mut Wants<'_>) {
    wants.least("/proc/sys/fs/nr_open", 1_048_576);
    let lines = ["LimitMEMLOCK=infinity".to_string(), "LimitNOFILE=1048576".into()];
    if wants.there("/etc/systemd/system") {
        let unit = UNITS.iter().find_map(|folder| wants.look.text(&format!("{folder}/ringmill.service")));
        let drop_in = "/etc/systemd/system/ringmill.service.d/90-ringmill-tune.conf";
        let own = unit.is_some_and(|unit| lines.iter().all(|line| unit.lines().any(|have| have == line)));
        if !own || wants.there(drop_in) {
            wants.says(drop_in, &lines);
        }
    }
    let user = |what: &str| ["soft", "hard"].map(|kind| format!("ringmill {kind} {what}"));
    let lines = [user("memlock unlimited"), user("nofile 1048576")].concat();
    wants.says("/etc/security/limits.d/90-ringmill-tune.conf", &lines);
}

/// Never of a profile: only forbidden to all is wrong, and whoever owns the risk decides.
pub fn io_uring(wants: &mut Wants<'_>) {
    let path = "/proc/sys/kernel/io_uring_disabled";
    match wants.line(path).as_deref() {
        None | Some("0") => wants.advise("allowed to everybody"),
        Some("1") => wants.advise("allowed to the group kernel.io_uring_group"),
        Some(_) => wants.file(path, "1"),
    }
}
