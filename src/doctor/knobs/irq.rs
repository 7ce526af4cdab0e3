//! Interrupts: the network's queues to the CPUs that serve them, everything else to the system's.
use super::{Form, Wants, to_mask};
use crate::sys::topology::format_list;

/// The interrupts of a network card in order, with the number of the queue for those that are one's.
fn of_nic(wants: &Wants<'_>, nic: &str) -> Vec<(u32, Option<usize>)> {
    let folders =
        [format!("/sys/class/net/{nic}/device/msi_irqs"), format!("/sys/class/net/{nic}/device/../msi_irqs")];
    let Some(folder) = folders.iter().find(|folder| wants.there(folder)) else { return Vec::new() };
    let mut next = 0;
    let mut all = Vec::new();
    for irq in wants.look.names(folder).iter().filter_map(|name| name.parse::<u32>().ok()) {
        let Some(name) = name(wants, irq) else { continue };
        let queue = queue(name.split('@').next().unwrap_or_default(), &mut next);
        all.push((irq, queue));
    }
    all
}

/// The queue that an interrupt is of, by its name; those without a number are counted.
fn queue(name: &str, next: &mut usize) -> Option<usize> {
    const NONE: [&str; 9] = ["config", "mgmnt", "mgmt", "async", "control", "ctrl", "cmd", "event", "fdir"];
    if NONE.iter().any(|word| name.contains(word)) {
        return None;
    }
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    if digits == 0 {
        *next += 1;
        return Some(*next - 1);
    }
    let (stem, number) = name.split_at(name.len() - digits);
    // `virtio0` ends with the device's number, not the queue's.
    if stem == "virtio" && digits <= 2 { None } else { number.parse().ok() }
}

/// The name under which an interrupt is handled, if it is.
fn name(wants: &Wants<'_>, irq: u32) -> Option<String> {
    let folder = format!("/proc/irq/{irq}");
    wants.look.names(&folder).into_iter().find(|name| wants.look.folder(&format!("{folder}/{name}")))
}

fn affinity(irq: u32) -> String {
    format!("/proc/irq/{irq}/smp_affinity_list")
}

/// irqbalance keeps away from the shards: its configuration is judged by what it says about them.
pub fn irqbalance(wants: &mut Wants<'_>) {
    let files = ["/etc/default/irqbalance", "/etc/sysconfig/irqbalance"];
    let Some(file) = files.into_iter().find(|file| wants.there(file)) else { return };
    if wants.crowded() {
        return;
    }
    let bans: String = wants
        .host
        .nics
        .iter()
        .flat_map(|nic| of_nic(wants, nic))
        .fold(String::new(), |all, (irq, _)| format!("{all} --banirq={irq}"));
    let banned = format!("IRQBALANCE_BANNED_CPULIST={}", format_list(&wants.host.plan.guarded()));
    let text = wants.look.text(file).unwrap_or_default();
    let kept = text.lines().any(|line| line == banned) && text.lines().any(|line| line.contains(bans.trim()));
    wants.item(
        Form::Text,
        file,
        Some(if kept { "as wanted" } else { "another content" }.into()),
        "as wanted",
    );
}

/// New interrupts.
pub fn default(wants: &mut Wants<'_>) {
    let path = "/proc/irq/default_smp_affinity";
    if !wants.crowded() && wants.there(path) {
        wants.want(Form::Mask, path, to_mask(&wants.host.plan.house));
    }
}

/// Local where there is a queue for each shard near the card, split otherwise.
pub fn nics(wants: &mut Wants<'_>) {
    let plan = &wants.host.plan;
    for nic in &wants.host.nics {
        let near = super::net::near(wants, nic);
        let local = super::net::queue_count(wants, nic) >= near.len();
        let cpus = if local { &near } else { &plan.house };
        for (irq, queue) in of_nic(wants, nic) {
            if !wants.there(&affinity(irq)) {
                continue;
            }
            let wanted = match queue {
                None => format_list(&plan.house),
                Some(queue) => cpus[queue % cpus.len()].to_string(),
            };
            wants.want(Form::List, &affinity(irq), wanted);
        }
    }
}

/// All others.
pub fn others(wants: &mut Wants<'_>) {
    if wants.crowded() {
        return;
    }
    let mine: Vec<u32> =
        wants.host.nics.iter().flat_map(|nic| of_nic(wants, nic)).map(|(irq, _)| irq).collect();
    let house = format_list(&wants.host.plan.house);
    for irq in wants.look.names("/proc/irq").iter().filter_map(|name| name.parse::<u32>().ok()) {
        let path = affinity(irq);
        let kept = wants.host.journal.managed.contains(&path);
        if !mine.contains(&irq) && !kept && wants.there(&path) && name(wants, irq).is_some() {
            wants.want(Form::List, &path, house.as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::queue;

    #[test]
    fn queues_are_told_by_their_names() {
        for (name, expected) in [
            ("eth0-TxRx-3", Some(3)),
            ("eth0-mgmnt", None),
            ("virtio0", None),
            ("virtio0-input.1", Some(1)),
            ("virtio0-config", None),
            ("mlx5_comp12", Some(12)),
            ("mlx5_async0", None),
            ("eth0-rx", Some(7)),
        ] {
            let mut next = 7;
            assert_eq!(queue(name, &mut next), expected, "{name}");
        }
    }
}
