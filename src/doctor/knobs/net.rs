//! The network: queues, steering, coalescing, queues of connections.
use super::{Form, Wants, to_mask};
use crate::doctor::look::Group;

/// The shards' CPUs in the order in which the queues of a card are given to them: those of its node alone, if any.
pub fn near(wants: &Wants<'_>, nic: &str) -> Vec<usize> {
    let node =
        wants.line(&format!("/sys/class/net/{nic}/device/numa_node")).and_then(|node| node.parse().ok());
    let exec = &wants.host.plan.exec;
    let Some(node) = node else { return exec.clone() };
    let near: Vec<usize> = exec.iter().copied().filter(|cpu| wants.host.node(node).contains(cpu)).collect();
    if near.is_empty() { exec.clone() } else { near }
}

/// How many queues a card receives on.
pub fn queue_count(wants: &Wants<'_>, nic: &str) -> usize {
    queues_of(wants, nic, "rx-").len()
}

/// Folders of a card's queues, with their numbers.
fn queues_of(wants: &Wants<'_>, nic: &str, kind: &str) -> Vec<(usize, String)> {
    let folder = format!("/sys/class/net/{nic}/queues");
    let queue = |name: String| Some((name.strip_prefix(kind)?.parse().ok()?, format!("{folder}/{name}")));
    wants.look.names(&folder).into_iter().filter_map(queue).collect()
}

/// A setting of a card; nothing where it has no such one, unknown where it cannot be asked.
fn device(wants: &mut Wants<'_>, nic: &str, group: Group, name: &str, wanted: &str) {
    let told = wants.look.device(nic, group);
    let now = match told {
        None => None,
        Some(told) => match told.into_iter().find(|(have, _)| have == name) {
            None => return,
            Some((_, value)) => Some(value),
        },
    };
    wants.item(Form::Device, format!("{nic} {} {name}", group.name()), now, wanted);
}

pub fn queues(wants: &mut Wants<'_>) {
    for nic in &wants.host.nics {
        let mut count = near(wants, nic).len();
        if let Some(told) = wants.look.device(nic, Group::Channels) {
            let most =
                told.iter().find(|(name, _)| name == "maximum").and_then(|(_, most)| most.parse().ok());
            let Some(most) = most else { continue };
            count = count.min(most);
        }
        device(wants, nic, Group::Channels, "combined", &count.to_string());
    }
}

pub fn coalesce(wants: &mut Wants<'_>) {
    for nic in &wants.host.nics {
        for (name, wanted) in
            [("adaptive-rx", "off"), ("adaptive-tx", "off"), ("rx-usecs", "0"), ("tx-usecs", "0")]
        {
            device(wants, nic, Group::Coalesce, name, wanted);
        }
    }
}

/// Shard i sends through queue i.
pub fn xps(wants: &mut Wants<'_>) {
    for nic in &wants.host.nics {
        let near = near(wants, nic);
        for (queue, folder) in queues_of(wants, nic, "tx-") {
            let path = format!("{folder}/xps_cpus");
            // One queue for all, or more queues than shards: the kernel's own choice is as good.
            if let (Some(_), Some(cpu)) = (wants.line(&path), near.get(queue)) {
                wants.want(Form::Mask, &path, to_mask(&[*cpu]));
            }
        }
    }
}

/// Spread by software only where there are fewer queues than shards.
pub fn rps(wants: &mut Wants<'_>) {
    for nic in &wants.host.nics {
        let near = near(wants, nic);
        let queues = queues_of(wants, nic, "rx-");
        let wanted = if queues.len() < near.len() { to_mask(&near) } else { to_mask(&[]) };
        for (_, folder) in queues {
            let path = format!("{folder}/rps_cpus");
            if wants.there(&path) {
                wants.want(Form::Mask, &path, wanted.as_str());
            }
        }
    }
}

pub fn rfs(wants: &mut Wants<'_>) {
    wants.sysctl("net.core.rps_sock_flow_entries", "0");
    for nic in &wants.host.nics {
        for (_, folder) in queues_of(wants, nic, "rx-") {
            wants.file_if_there(&format!("{folder}/rps_flow_cnt"), "0");
        }
    }
}

pub fn busy_poll(wants: &mut Wants<'_>) {
    wants.sysctl("net.core.busy_poll", "50");
    wants.sysctl("net.core.busy_read", "50");
}

pub fn backlog(wants: &mut Wants<'_>) {
    wants.least("/proc/sys/net/core/somaxconn", 4096);
    wants.least("/proc/sys/net/ipv4/tcp_max_syn_backlog", 4096);
}
