//! Which cores shards take, and which are left for everything else.
use super::{machine::Machine, read::Reader};
use crate::sys::topology::{self, Core};

/// Which cores do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores {
    /// Shard i runs on the i-th; rising.
    pub shards: Vec<Core>,
    /// Where everything else runs: never empty, and apart from the shards where the machine allows it.
    pub housekeeping: Vec<usize>,
    /// All shards stand on cores that the kernel keeps free of other work.
    pub isolated: bool,
    /// How the choice came about.
    pub why: String,
}

impl Cores {
    /// A warning for each pair of shards on one physical core.
    pub fn shared(&self) -> impl Iterator<Item = String> + '_ {
        let sibling = |shard: &Core| {
            let shares = |other: &&Core| shard.siblings.contains(&other.core) && shard.core < other.core;
            self.shards.iter().find(shares).map(|other| other.core)
        };
        self.shards.iter().filter_map(move |shard| {
            let (one, other) = (shard.core, sibling(shard)?);
            Some(format!("shards on cores {one} and {other} share one physical core: tail latency suffers"))
        })
    }
}

/// Decides which cores do what; `None`, and a refusal, where that cannot be.
pub fn decide(read: &mut Reader, machine: &Machine) -> Option<Cores> {
    let given = read.raw.get("cores").map_or("auto".into(), |given| given.texts.join(","));
    let reachable: Vec<usize> = machine.reachable.iter().map(|core| core.core).collect();
    let apart = |core: &usize| machine.isolated.contains(core) || machine.partition.contains(core);
    let choice = match given.as_str() {
        "auto" => choose(machine),
        list => allowed(list, machine).map(|chosen| {
            let isolated = chosen.iter().all(apart);
            (chosen, isolated, "as configured".to_string())
        }),
    };
    let (chosen, isolated, why) = choice.map_err(|why| read.refuse("cores", why)).ok()?;
    let mut housekeeping: Vec<usize> = reachable.clone();
    housekeeping.retain(|core| !chosen.contains(core) && machine.affinity.contains(core));
    if housekeeping.is_empty() {
        // Not in the affinity, but free: another part of an isolated set.
        housekeeping = reachable.into_iter().filter(|core| !chosen.contains(core)).collect();
    }
    if housekeeping.is_empty() {
        housekeeping = chosen.clone();
    }
    let shards = machine.reachable.iter().filter(|core| chosen.contains(&core.core)).cloned().collect();
    Some(Cores { shards, housekeeping, isolated, why })
}

/// The cores that `auto` takes, whether they are isolated, and why these.
fn choose(machine: &Machine) -> Result<(Vec<usize>, bool, String), String> {
    if !machine.isolated.is_empty() {
        return Ok((machine.isolated.clone(), true, "auto: the isolated cores of this machine".into()));
    }
    // One core stays for everything that is not a shard; in a partition as anywhere else, for nothing of
    // this process runs outside of it.
    let (pool, isolated, name) = match machine.partition.is_empty() {
        false => (&machine.partition, true, "the isolated cpuset partition"),
        true => (&machine.affinity, false, "the process's affinity, for no core is isolated"),
    };
    match pool.as_slice() {
        [] => Err("no core is known: /sys is not readable and the affinity is empty; name the cores".into()),
        [only] => Ok((vec![*only], isolated, format!("auto: the one core of {name}"))),
        [_, rest @ ..] => Ok((rest.to_vec(), isolated, format!("auto: all but the first core of {name}"))),
    }
}

/// A list of cores, each of which a shard may take.
fn allowed(list: &str, machine: &Machine) -> Result<Vec<usize>, String> {
    let cores = topology::parse_list(list)?;
    if cores.is_empty() {
        return Err("no core is named; expected a list such as `0-3,5`, or `auto`".into());
    }
    let wanted = |core: &usize| {
        machine.affinity.contains(core) || machine.isolated.contains(core) || machine.partition.contains(core)
    };
    for core in &cores {
        if !machine.online.contains(core) {
            return Err(format!(
                "core {core} is not online; online are {}",
                topology::format_list(&machine.online)
            ));
        }
        if !machine.reachable.iter().any(|reachable| reachable.core == *core) {
            return Err(format!(
                "core {core} is outside the cpuset of this process: widen cpuset.cpus or `--cpuset-cpus`"
            ));
        }
        if !wanted(core) {
            return Err(format!(
                "core {core} is outside the affinity of this process, {}: start it with a wider one (`taskset -c`, \
                 CPUAffinity=)",
                topology::format_list(&machine.affinity)
            ));
        }
    }
    Ok(cores)
}
