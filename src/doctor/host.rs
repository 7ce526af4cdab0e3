//! What a host is, and which of its CPUs are the shards': the same decisions as `tuning/lib/host.sh`, told apart
//! from it by a test on recorded trees (`tests/doctor.rs`).
use super::look::Look;
use crate::sys::topology::parse_list;
use std::collections::BTreeMap;

/// What kind of machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The hardware itself.
    Metal,
    /// A guest.
    Vm,
    /// A container, on either.
    Container,
}

impl Kind {
    /// The word for programs.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Metal => "metal",
            Kind::Vm => "vm",
            Kind::Container => "container",
        }
    }

    /// The profile of `ringmill-tune` that fits it.
    pub fn profile(self) -> &'static str {
        match self {
            Kind::Metal => "latency",
            Kind::Vm => "vm",
            Kind::Container => "container",
        }
    }
}

/// Which control groups are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cgroups {
    /// The one tree.
    V2,
    /// A tree for each controller.
    V1,
    /// None.
    None,
}

/// How the kernel is told its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loader {
    /// Drop-ins for GRUB.
    Grub,
    /// Files that name a kernel and its arguments.
    Entries(Vec<String>),
    /// Nothing that could be changed.
    None,
}

/// How the shards' CPUs are to be kept free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// A cpuset partition.
    Partition,
    /// A boot argument.
    Isolcpus,
    /// Not at all: no CPU can be spared.
    None,
}

/// Which CPUs are whose; lists rise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// One a shard.
    pub exec: Vec<usize>,
    /// The system's.
    pub house: Vec<usize>,
    /// The server's other threads'.
    pub helper: Option<usize>,
    /// Siblings of the shards' that are to stay idle.
    pub idle: Vec<usize>,
    /// Whether shards and system share no CPU.
    pub apart: bool,
}

impl Plan {
    /// The shards' and their siblings', rising.
    pub fn guarded(&self) -> Vec<usize> {
        union(&self.exec, &self.idle)
    }
    /// The partition's: the shards' and the helpers'.
    pub fn part(&self) -> Vec<usize> {
        union(&self.exec, self.helper.as_slice())
    }
    /// All that are not the shards' nor their siblings'.
    pub fn other(&self) -> Vec<usize> {
        union(&self.house, self.helper.as_slice())
    }
}

/// A host.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name for itself.
    pub system: String,
    /// The kernel's release, and its first two numbers.
    pub kernel: String,
    /// Major and minor.
    pub version: (u32, u32),
    /// What it is, containers included.
    pub kind: Kind,
    /// What it is below a container.
    pub machine: Kind,
    /// Its control groups.
    pub cgroups: Cgroups,
    /// Its boot loader.
    pub loader: Loader,
    /// Whether systemd rules it.
    pub systemd: bool,
    /// The kernel's arguments.
    pub arguments: Vec<String>,
    /// CPUs online.
    pub online: Vec<usize>,
    /// CPUs that are isolated since boot, or by a partition where the kernel lists those too.
    pub isolated: Vec<usize>,
    /// Network cards.
    pub nics: Vec<String>,
    /// Disks.
    pub disks: Vec<String>,
    /// CPUs of each memory node.
    pub nodes: BTreeMap<usize, Vec<usize>>,
    /// Which CPUs are whose.
    pub plan: Plan,
    /// How they are to be kept free.
    pub isolation: Isolation,
    /// What `ringmill-tune` noted.
    pub journal: Journal,
}

/// What the journal of `ringmill-tune` says about the host as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    /// Shards and helper of the last plan.
    pub plan: Option<(Vec<usize>, Option<usize>)>,
    /// Interrupts that the kernel would not have moved, in this boot.
    pub managed: Vec<String>,
    /// All of it.
    pub text: String,
}

/// Where `ringmill-tune` keeps what it knows.
const STATE: &str = "/var/lib/ringmill-tune";

impl Host {
    /// Reads it. `cores` are the shards', where they were named.
    ///
    /// # Errors
    /// What is missing, and the mend: without it nothing can be told.
    pub fn read(look: &dyn Look, cores: Option<&[usize]>) -> Result<Host, String> {
        let kernel =
            look.line("/proc/sys/kernel/osrelease").ok_or("no /proc/sys/kernel/osrelease: mount proc")?;
        let numbers: Vec<u32> =
            kernel.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse().ok()).collect();
        let version = (numbers.first().copied().unwrap_or(0), numbers.get(1).copied().unwrap_or(0));
        let online = list(look, "/sys/devices/system/cpu/online").filter(|list| !list.is_empty());
        let online = online.ok_or("/sys/devices/system/cpu/online cannot be read: mount sysfs")?;
        let machine = machine(look);
        let container = ["/.dockerenv", "/run/.containerenv", "/run/systemd/container"];
        let kind = match container.iter().any(|path| look.there(path))
            || look.there("/var/run/secrets/kubernetes.io")
        {
            true => Kind::Container,
            false => machine,
        };
        let cgroups = match look.there("/sys/fs/cgroup/cgroup.controllers") {
            true => Cgroups::V2,
            false if look.there("/sys/fs/cgroup") => Cgroups::V1,
            false => Cgroups::None,
        };
        let (nics, disks) = devices(look);
        let mut host = Host {
            system: system(look),
            version,
            kernel,
            kind,
            machine,
            cgroups,
            loader: loader(look),
            systemd: look.there("/run/systemd/system"),
            arguments: words(&look.line("/proc/cmdline").unwrap_or_default()),
            isolated: list(look, "/sys/devices/system/cpu/isolated").unwrap_or_default(),
            nics,
            disks,
            nodes: nodes(look, &online),
            plan: Plan::default(),
            isolation: Isolation::None,
            journal: journal(look),
            online,
        };
        host.plan = plan(look, &host, cores);
        host.isolation = host.isolation();
        Ok(host)
    }

    /// CPUs of that memory node; all where it is not told.
    pub fn node(&self, node: usize) -> &[usize] {
        self.nodes.get(&node).unwrap_or(&self.online)
    }

    fn isolation(&self) -> Isolation {
        if !self.plan.apart {
            Isolation::None
        } else if !self.isolated.is_empty() && self.journal.plan.is_none() {
            Isolation::Isolcpus
        } else if self.cgroups == Cgroups::V2 && self.version >= (6, 1) && self.plan.helper.is_some() {
            Isolation::Partition
        } else {
            Isolation::Isolcpus
        }
    }

    /// Whether the journal holds an argument, so that the kernel's word for it is `ringmill-tune`'s.
    pub fn ours(&self, knob: &str, argument: &str) -> bool {
        let key = argument.split('=').next().unwrap_or_default();
        self.journal.text.contains(&format!(":{argument}\t"))
            || self.journal.text.contains(&format!("90-ringmill-{knob}-{key}.cfg\t"))
    }
}

/// A list of CPUs in a file; `None` when it is missing or no list.
pub fn list(look: &dyn Look, path: &str) -> Option<Vec<usize>> {
    parse_list(&look.line(path)?).ok()
}

/// Words between white space.
pub fn words(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_string).collect()
}

/// Both, rising.
fn union(one: &[usize], two: &[usize]) -> Vec<usize> {
    let mut all = [one, two].concat();
    all.sort_unstable();
    all.dedup();
    all
}

/// Those of the first that are not in the second.
pub fn without(one: &[usize], two: &[usize]) -> Vec<usize> {
    one.iter().copied().filter(|cpu| !two.contains(cpu)).collect()
}

fn common(one: &[usize], two: &[usize]) -> Vec<usize> {
    one.iter().copied().filter(|cpu| two.contains(cpu)).collect()
}

fn system(look: &dyn Look) -> String {
    let text = look.text("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or("unknown system".into(), |name| name.trim_matches('"').to_string())
}

/// Bare metal or a guest, by what the firmware calls itself; some guests of EC2 are the whole metal.
fn machine(look: &dyn Look) -> Kind {
    const GUESTS: [&str; 10] = [
        "QEMU",
        "KVM",
        "VMware",
        "Xen",
        "VirtualBox",
        "Virtual Machine",
        "Amazon EC2",
        "Google",
        "OpenStack",
        "Bochs",
    ];
    let vendor: String = ["sys_vendor", "product_name"]
        .iter()
        .filter_map(|file| look.line(&format!("/sys/class/dmi/id/{file}")))
        .fold(String::new(), |all, word| format!("{all} {word}"));
    if vendor.contains(".metal") {
        return Kind::Metal;
    }
    let info = look.text("/proc/cpuinfo").unwrap_or_default();
    let flag = |line: &str| line.starts_with("flags") && words(line).iter().any(|word| word == "hypervisor");
    match GUESTS.iter().any(|guest| vendor.contains(guest)) || info.lines().any(flag) {
        true => Kind::Vm,
        false => Kind::Metal,
    }
}

fn loader(look: &dyn Look) -> Loader {
    let mut entries = Vec::new();
    for folder in ["/boot/loader/entries", "/boot/efi/loader/entries", "/efi/loader/entries"] {
        for name in look.names(folder) {
            if name.ends_with(".conf") && !name.contains("rescue") {
                entries.push(format!("{folder}/{name}"));
            }
        }
    }
    match entries.is_empty() {
        true if look.there("/etc/default/grub") => Loader::Grub,
        true => Loader::None,
        false => {
            entries.extend(look.there("/etc/kernel/cmdline").then(|| "/etc/kernel/cmdline".to_string()));
            Loader::Entries(entries)
        }
    }
}

fn nodes(look: &dyn Look, online: &[usize]) -> BTreeMap<usize, Vec<usize>> {
    let number = |name: &String| name.strip_prefix("node")?.parse::<usize>().ok();
    let names = look.names("/sys/devices/system/node");
    let cpus = |node: usize| {
        let named = list(look, &format!("/sys/devices/system/node/node{node}/cpulist"));
        (node, named.map_or(online.to_vec(), |cpus| common(&cpus, online)))
    };
    let nodes: BTreeMap<usize, Vec<usize>> = names.iter().filter_map(number).map(cpus).collect();
    if nodes.is_empty() { BTreeMap::from([(0, online.to_vec())]) } else { nodes }
}

/// Network cards that are not down, and disks of their own.
fn devices(look: &dyn Look) -> (Vec<String>, Vec<String>) {
    let up = |name: &String| {
        let path = format!("/sys/class/net/{name}");
        look.there(&format!("{path}/device"))
            && look.line(&format!("{path}/operstate")).is_none_or(|state| state != "down")
    };
    const NONE: [&str; 8] = ["loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd"];
    let real = |name: &String| {
        !NONE.iter().any(|kind| name.starts_with(kind))
            && look.there(&format!("/sys/block/{name}/device"))
            && look.there(&format!("/sys/block/{name}/queue"))
    };
    let nics = look.names("/sys/class/net").into_iter().filter(up).collect();
    (nics, look.names("/sys/block").into_iter().filter(real).collect())
}

/// Only whole lines count, as for the tool itself.
fn journal(look: &dyn Look) -> Journal {
    let text = look.text(&format!("{STATE}/journal")).unwrap_or_default();
    let boot = look.line("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let mut journal = Journal::default();
    for line in text.lines() {
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["plan", exec, helper, _, "."] => {
                journal.plan = parse_list(exec).ok().map(|exec| (exec, helper.parse().ok()));
            }
            ["managed", at, target, "."] if at == boot => journal.managed.push(target.to_string()),
            _ => {}
        }
    }
    journal.text = text;
    journal
}

/// What `ringmill-tune prove` found to harm on this host.
pub fn harmful(look: &dyn Look) -> Vec<String> {
    let text = look.text(&format!("{STATE}/proofs")).unwrap_or_default();
    let mut last: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines() {
        if let [knob, verdict, ..] = line.split('\t').collect::<Vec<_>>()[..] {
            last.insert(knob, verdict);
        }
    }
    last.into_iter()
        .filter(|(_, verdict)| verdict.starts_with("harms"))
        .map(|(knob, _)| knob.into())
        .collect()
}

/// The threads of each core, the first of which stands for it.
fn threads(look: &dyn Look, online: &[usize]) -> Vec<Vec<usize>> {
    let siblings = |&cpu: &usize| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        list(look, &path).map_or(vec![cpu], |siblings| common(&siblings, online))
    };
    let of = |cpu: &usize| Some(siblings(cpu)).filter(|threads| threads.first() == Some(cpu));
    online.iter().filter_map(of).collect()
}

fn plan(look: &dyn Look, host: &Host, cores: Option<&[usize]>) -> Plan {
    let threads = threads(look, &host.online);
    let given = match (cores, &host.journal.plan) {
        (Some(cores), _) => Some(cores.to_vec()),
        (None, Some((exec, _))) => Some(exec.clone()),
        (None, None) => Some(host.isolated.clone()).filter(|isolated| !isolated.is_empty()),
    };
    let given = given.map(|given| common(&given, &host.online)).filter(|given| !given.is_empty());
    let (exec, mut helper) = given.map_or_else(|| choose(host, &threads), |given| (given, None));
    if let (None, Some((_, planned))) = (cores, &host.journal.plan) {
        helper = planned.or(helper);
    }
    let whole: Vec<usize> =
        threads.iter().filter(|core| core.iter().any(|cpu| exec.contains(cpu))).flatten().copied().collect();
    let mut idle = without(&whole, &exec);
    idle.sort_unstable();
    let rest = |helper: Option<usize>| {
        let taken = [&exec[..], &idle, helper.as_slice()].concat();
        without(&host.online, &taken)
    };
    let mut house = rest(helper);
    if house.is_empty() {
        house = host.online.clone();
    }
    if helper.is_none() && cores.is_some() && house.len() >= 3 {
        helper = house.pop();
    }
    let apart = !exec.iter().any(|cpu| house.contains(cpu));
    Plan { exec, house, helper, idle, apart }
}

/// One core in eight, and one of each node, stays the system's; the next one is for the server's other threads.
fn choose(host: &Host, threads: &[Vec<usize>]) -> (Vec<usize>, Option<usize>) {
    let cores: Vec<usize> = threads.iter().map(|threads| threads[0]).collect();
    if cores.len() <= 1 {
        return (host.online.clone(), None);
    }
    let mut house: Vec<usize> = Vec::new();
    for node in host.nodes.values() {
        let mine = common(&cores, node);
        house.extend(mine.iter().take(mine.len().div_ceil(8)));
    }
    let mut exec = without(&cores, &house);
    if exec.is_empty() {
        exec = house.split_off(1);
    }
    match exec.len() {
        3.. => (exec[1..].to_vec(), Some(exec[0])),
        _ => (exec, None),
    }
}
