//! The cores of this machine as the kernel lists them: online, isolated, siblings, memory nodes.
//!
//! Every function takes the root of the file system, so that tests stand on recorded trees.
use std::{fs, path::Path};

/// The highest core number that a list may name.
pub const CORE_MAX: usize = 8191;

/// One core and its neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Core {
    /// Its number.
    pub core: usize,
    /// Other logical cores of the same physical one, rising. Empty without SMT or where it is not told.
    pub siblings: Vec<usize>,
    /// The memory node it belongs to, where the kernel knows nodes.
    pub node: Option<usize>,
}

/// Parses a list of cores as the kernel writes them: `0-3,5`. Rising, without duplicates; empty text is
/// an empty list.
///
/// # Errors
/// What is wrong with which part of the list.
pub fn parse_list(text: &str) -> Result<Vec<usize>, String> {
    let mut cores = Vec::new();
    let text = text.trim();
    if text.is_empty() {
        return Ok(cores);
    }
    let number = |digits: &str| match digits.trim().parse::<usize>() {
        Ok(core) if core <= CORE_MAX => Ok(core),
        Ok(core) => Err(format!("core {core} is over {CORE_MAX}")),
        Err(_) => Err(format!("`{digits}` is not a core number")),
    };
    for part in text.split(',') {
        match part.split_once('-') {
            None => cores.push(number(part)?),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return Err(format!("`{part}` runs backwards"));
                }
                cores.extend(first..=last);
            }
        }
    }
    cores.sort_unstable();
    cores.dedup();
    Ok(cores)
}

/// Writes a rising list of cores as the kernel does: `0-3,5`.
pub fn format_list(cores: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &core in cores {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => parts.push((core, core)),
        }
    }
    let text = |&(first, last): &(usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    parts.iter().map(text).collect::<Vec<_>>().join(",")
}

/// Cores online. Where `/sys` is not mounted nothing is known: empty.
pub fn online(root: &Path) -> Vec<usize> {
    list(&root.join("sys/devices/system/cpu/online"))
}

/// Cores that the kernel keeps free of other work (`isolcpus=`, and isolated partitions on kernels that
/// list them here too).
pub fn isolated(root: &Path) -> Vec<usize> {
    list(&root.join("sys/devices/system/cpu/isolated"))
}

/// The cores of this process's cgroup when it, or one above it, is an isolated cpuset partition.
pub fn isolated_partition(root: &Path) -> Vec<usize> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let Some(own) = groups.lines().find_map(|line| line.strip_prefix("0::/")) else { return Vec::new() };
    for mount in ["sys/fs/cgroup", "sys/fs/cgroup/unified"] {
        let mount = root.join(mount);
        let group = mount.join(own);
        for above in group.ancestors().take_while(|path| path.starts_with(&mount)) {
            // An invalid partition reads `isolated invalid (why)` and isolates nothing.
            let state = fs::read_to_string(above.join("cpuset.cpus.partition")).unwrap_or_default();
            if state.trim() == "isolated" {
                // The controller may end above the own group; the nearest effective set counts.
                return group
                    .ancestors()
                    .take_while(|path| path.starts_with(&mount))
                    .map(|path| list(&path.join("cpuset.cpus.effective")))
                    .find(|cores| !cores.is_empty())
                    .unwrap_or_default();
            }
        }
    }
    Vec::new()
}

/// What the kernel says about one core's neighbours.
pub fn core(root: &Path, core: usize) -> Core {
    let folder = root.join(format!("sys/devices/system/cpu/cpu{core}"));
    let mut siblings = list(&folder.join("topology/thread_siblings_list"));
    siblings.retain(|&sibling| sibling != core);
    let node = fs::read_dir(&folder).ok().and_then(|entries| {
        entries
            .flatten()
            .find_map(|entry| entry.file_name().to_str()?.strip_prefix("node")?.parse::<usize>().ok())
    });
    Core { core, siblings, node }
}

/// Memory that this process may use, in bytes: the machine's, or the least limit of its cgroups.
pub fn memory_bytes(root: &Path) -> Option<u64> {
    let info = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    let total = info.lines().find_map(|line| {
        let kib = line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?;
        Some(kib.trim().parse::<u64>().ok()? * 1024)
    });
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mount = root.join("sys/fs/cgroup");
    let limit = groups.lines().find_map(|line| line.strip_prefix("0::/")).and_then(|own| {
        mount
            .join(own)
            .ancestors()
            .take_while(|path| path.starts_with(&mount))
            .filter_map(|path| fs::read_to_string(path.join("memory.max")).ok()?.trim().parse::<u64>().ok())
            .min()
    });
    match (total, limit) {
        (Some(total), Some(limit)) => Some(total.min(limit)),
        (total, limit) => total.or(limit),
    }
}

fn list(path: &Path) -> Vec<usize> {
    fs::read_to_string(path).ok().and_then(|text| parse_list(&text).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn lists_are_read_and_written() {
        for (text, cores, again) in [
            ("", vec![], ""),
            ("0\n", vec![0], "0"),
            ("0-3,5", vec![0, 1, 2, 3, 5], "0-3,5"),
            ("5,0-2,1", vec![0, 1, 2, 5], "0-2,5"),
            ("7 , 8", vec![7, 8], "7-8"),
        ] {
            assert_eq!(parse_list(text).unwrap(), cores, "{text}");
            assert_eq!(format_list(&cores), again);
        }
        for (text, why) in [
            ("a", "`a` is not a core number"),
            ("1,", "`` is not a core number"),
            ("-1", "`` is not a core number"),
            ("3-1", "`3-1` runs backwards"),
            ("0-99999999", "core 99999999 is over 8191"),
        ] {
            assert_eq!(parse_list(text).unwrap_err(), why, "{text}");
        }
    }

    /// A tree of files under a fresh folder.
    fn tree(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("ringmill-topology-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn neighbours_are_read() {
        let root = tree(
            "neighbours",
            &[
                ("sys/devices/system/cpu/online", "0-3\n"),
                ("sys/devices/system/cpu/isolated", "2-3\n"),
                ("sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "2-3\n"),
                ("sys/devices/system/cpu/cpu2/node1/cpulist", "2-3\n"),
            ],
        );
        assert_eq!(online(&root), [0, 1, 2, 3]);
        assert_eq!(isolated(&root), [2, 3]);
        assert_eq!(core(&root, 2), Core { core: 2, siblings: vec![3], node: Some(1) });
        assert_eq!(core(&root, 0), Core { core: 0, siblings: vec![], node: None });
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_partition_counts_from_itself_and_from_above() {
        let group = ("proc/self/cgroup", "4:memory:/x\n0::/fast/app\n");
        for (name, files, cores) in [
            (
                "own",
                vec![
                    group,
                    ("sys/fs/cgroup/fast/app/cpuset.cpus.partition", "isolated\n"),
                    ("sys/fs/cgroup/fast/app/cpuset.cpus.effective", "4-5\n"),
                ],
                vec![4, 5],
            ),
            (
                "above",
                vec![
                    group,
                    ("sys/fs/cgroup/fast/cpuset.cpus.partition", "isolated\n"),
                    ("sys/fs/cgroup/fast/cpuset.cpus.effective", "6-7\n"),
                    ("sys/fs/cgroup/fast/app/cpuset.cpus.partition", "member\n"),
                    ("sys/fs/cgroup/fast/app/cpuset.cpus.effective", "7\n"),
                ],
                vec![7],
            ),
            (
                "invalid",
                vec![
                    group,
                    (
                        "sys/fs/cgroup/fast/app/cpuset.cpus.partition",
                        "isolated invalid (Cpu list in cpuset.cpus not exclusive)\n",
                    ),
                    ("sys/fs/cgroup/fast/app/cpuset.cpus.effective", "4-5\n"),
                ],
                vec![],
            ),
            ("none", vec![("proc/self/cgroup", "1:cpu:/\n")], vec![]),
        ] {
            let root = tree(name, &files);
            assert_eq!(isolated_partition(&root), cores, "{name}");
            fs::remove_dir_all(root).unwrap();
        }
    }

    #[test]
    fn memory_is_the_least_limit() {
        let root = tree(
            "memory",
            &[
                ("proc/meminfo", "MemTotal:        4096 kB\nMemFree: 1 kB\n"),
                ("proc/self/cgroup", "0::/a/b\n"),
                ("sys/fs/cgroup/a/memory.max", "1048576\n"),
                ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ],
        );
        assert_eq!(memory_bytes(&root), Some(1048576));
        fs::remove_dir_all(root.join("sys")).unwrap();
        assert_eq!(memory_bytes(&root), Some(4096 * 1024));
        fs::remove_dir_all(root).unwrap();
    }
}
