//! What the plan needs to know of the machine, read once, so that the plan itself is a pure function.
use crate::sys::{affinity, limits, topology};
use std::path::Path;

/// A machine, as this process may use it.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Cores online, rising.
    pub online: Vec<usize>,
    /// Cores on which this process runs unless told otherwise, rising.
    pub affinity: Vec<usize>,
    /// Isolated cores (`isolcpus=`) that a thread can be pinned to, rising.
    pub isolated: Vec<usize>,
    /// Cores of the isolated cpuset partition that this process is in, rising.
    pub partition: Vec<usize>,
    /// Every core to which a thread can be pinned, with its neighbours, rising.
    pub reachable: Vec<topology::Core>,
    /// `RLIMIT_MEMLOCK` in bytes after raising; `u64::MAX` for none.
    pub memlock_bytes: u64,
    /// Whether locked memory is not counted for this process.
    pub memlock_exempt: bool,
    /// `RLIMIT_NOFILE` after raising.
    pub files_max: u64,
    /// Memory in bytes that this process may use, where known.
    pub memory_bytes: Option<u64>,
    /// How much of io_uring there is.
    pub uring: limits::Uring,
}

impl Machine {
    /// Asks the kernel, with `/proc` and `/sys` under `root`. Raises the process's limits, for only that
    /// tells how far they go; what the kernel does not tell counts as not there.
    pub fn read(root: &Path) -> Machine {
        let affinity = affinity::current().unwrap_or_default();
        let mut online = topology::online(root);
        if online.is_empty() {
            online = affinity.clone();
        }
        let reachable = affinity::reachable(&online);
        let mut isolated = topology::isolated(root);
        isolated.retain(|core| reachable.contains(core));
        let mut partition = topology::isolated_partition(root);
        partition.retain(|core| reachable.contains(core));
        Machine {
            isolated,
            partition,
            reachable: reachable.into_iter().map(|core| topology::core(root, core)).collect(),
            memlock_bytes: limits::raise(limits::Resource::LockedMemory).unwrap_or(u64::MAX),
            memlock_exempt: limits::memlock_exempt(root),
            files_max: limits::raise(limits::Resource::Files).unwrap_or(1024),
            memory_bytes: topology::memory_bytes(root),
            uring: limits::uring(root),
            online,
            affinity,
        }
    }
}
