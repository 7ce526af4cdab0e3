//! Holding a process back through its control group, in both versions of them, and restoring exactly.
//!
//! A group that holds nobody but the process gets its bound changed in place. Otherwise the process moves to a group
//! made for it, beside the others (version 2, where only leaves hold processes) or below its own (version 1), and back
//! afterwards; the made group is removed.
//!
//! "By 5 %" takes 5 % away of the cores that the process keeps busy, counted in whole cores: a server that uses 1.3
//! cores of CPU gets 1.9 of 2. A quota on all cores of a large machine would never be felt.
use crate::sys::signal::Process;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The kernel's own default, and what people mean by `95000 100000`.
const PERIOD_US: u64 = 100_000;

/// Least quota that the kernel takes.
const QUOTA_MIN_US: u64 = 1_000;

/// How long the use of processors is watched before the bound is set.
const WATCH: Duration = Duration::from_millis(200);

/// Ticks a second in `/proc/PID/stat`, fixed since Linux 2.6.
const TICKS_PER_S: f64 = 100.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Where a process stands in the hierarchy that bounds processor time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    version: Version,
    mount: PathBuf,
    folder: PathBuf,
}

/// A process held back; [`Throttled::restore`] undoes it.
#[derive(Debug)]
pub(super) struct Throttled {
    pid: u32,
    group: Group,
    /// The bound as it was, for a group changed in place: file and text, in the order of writing.
    before: Vec<(PathBuf, String)>,
    /// The group made for it.
    made: Option<PathBuf>,
    /// The file in which the cpu controller was switched on for `made`.
    enabled: Option<PathBuf>,
}

/// Whether that process can be held back here; changes nothing.
///
/// # Errors
/// What is missing.
pub(super) fn possible(root: &Path, pid: u32, percent: f64) -> Result<(), String> {
    if !(percent > 0.0 && percent < 100.0) {
        return Err(format!("{percent}% cannot be taken away; more than 0 and less than 100 can"));
    }
    let group = find(root, pid)?;
    let file = match (group.version, alone(&group, pid)) {
        (Version::One, true) => group.folder.join("cpu.cfs_quota_us"),
        (Version::Two, true) => group.folder.join("cpu.max"),
        (Version::One, false) => group.folder.join("cgroup.procs"),
        (Version::Two, false) => group.beside().join("cgroup.procs"),
    };
    OpenOptions::new().write(true).open(&file).map(drop).map_err(|error| {
        format!(
            "its control group cannot be changed ({}: {error}); that takes root, or a delegated group",
            file.display()
        )
    })
}

/// Holds it back by that share of the processors it uses.
///
/// # Errors
/// What could not be done; whatever had been done by then is undone.
pub(super) fn throttle(root: &Path, process: &Process, percent: f64) -> Result<Throttled, String> {
    let pid = process.pid();
    let cores = cores_used(root, pid).ok_or_else(|| format!("process {pid} has ended"))?;
    let group = find(root, pid)?;
    let quota_us = quota(percent, cores);
    let mut throttled =
        Throttled { pid, group: group.clone(), before: Vec::new(), made: None, enabled: None };
    let done = if alone(&group, pid) {
        throttled.before = read_bound(&group)?;
        write_bound(&group, &group.folder, quota_us)
    } else {
        throttled.enter_new_group(quota_us)
    };
    match done {
        Ok(()) => Ok(throttled),
        Err(why) => Err(match throttled.restore() {
            Ok(()) => why,
            Err(also) => format!("{why}; and {also}"),
        }),
    }
}

/// Microseconds of processor time a period.
fn quota(percent: f64, cores: u32) -> u64 {
    let share = (100.0 - percent) / 100.0 * f64::from(cores);
    ((share * PERIOD_US as f64) as u64).max(QUOTA_MIN_US)
}

/// Whole cores that the process keeps busy, at least one.
fn cores_used(root: &Path, pid: u32) -> Option<u32> {
    let ticks = || {
        let fields = super::stat(root, pid)?;
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    };
    let (began, before) = (Instant::now(), ticks()?);
    std::thread::sleep(WATCH);
    let used = ticks()?.saturating_sub(before) as f64 / TICKS_PER_S / began.elapsed().as_secs_f64();
    // A tenth more than a whole number is the coarseness of ticks, not another core.
    Some(((used - 0.1).ceil() as u32).max(1))
}

/// The group of the process that bounds its processor time.
fn find(root: &Path, pid: u32) -> Result<Group, String> {
    let lines =
        read(&root.join(format!("proc/{pid}/cgroup"))).map_err(|_| "it has just ended".to_string())?;
    let own = |line: &str| -> Option<(Version, String)> {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        match controllers {
            "" => Some((Version::Two, path.to_string())),
            _ if controllers.split(',').any(|name| name == "cpu") => Some((Version::One, path.to_string())),
            _ => None,
        }
    };
    let mut found: Vec<_> = lines.lines().filter_map(own).collect();
    // Where version 1 has the controller, version 2 does not.
    found.sort_by_key(|(version, _)| *version == Version::Two);
    let (version, path) =
        found.into_iter().next().ok_or("the kernel has no control groups for processors")?;
    let mount = mount(root, version).ok_or("no control groups are mounted that bound processor time")?;
    let folder = mount.join(path.trim_start_matches('/'));
    if !folder.join("cgroup.procs").exists() {
        return Err(format!("its control group {path} is not visible from here (another namespace)"));
    }
    // A thread that has just ended stands nowhere.
    let task = |tid: &str| read(&root.join(format!("proc/{pid}/task/{tid}/cgroup"))).unwrap_or_default();
    let tasks = fs::read_dir(root.join(format!("proc/{pid}/task"))).into_iter().flatten().flatten();
    let scattered = tasks
        .filter_map(|entry| entry.file_name().to_str().map(task))
        .any(|groups| !groups.is_empty() && groups != lines);
    match scattered {
        true => Err("its threads stand in different control groups, which could not be restored".into()),
        false => Ok(Group { version, mount, folder }),
    }
}

/// Where the hierarchy with the cpu controller is mounted.
fn mount(root: &Path, version: Version) -> Option<PathBuf> {
    let mounts = read(&root.join("proc/self/mounts")).ok()?;
    let line = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let (place, kind, options) = (fields.get(1)?, fields.get(2)?, fields.get(3)?);
        let fits = match version {
            Version::One => *kind == "cgroup" && options.split(',').any(|option| option == "cpu"),
            Version::Two => *kind == "cgroup2",
        };
        fits.then(|| root.join(place.trim_start_matches('/')))
    };
    let mount = mounts.lines().find_map(line)?;
    let controls = |mount: &PathBuf| {
        let list = read(&mount.join("cgroup.controllers")).unwrap_or_default();
        version == Version::One || list.split_ascii_whitespace().any(|name| name == "cpu")
    };
    Some(mount).filter(controls)
}

/// Whether the group may be changed in place: it has a bound of its own and holds nobody else, nor groups below.
fn alone(group: &Group, pid: u32) -> bool {
    let bound = match group.version {
        Version::One => "cpu.cfs_quota_us",
        Version::Two => "cpu.max",
    };
    let only = read(&group.folder.join("cgroup.procs"))
        .is_ok_and(|text| text.split_ascii_whitespace().eq([pid.to_string().as_str()]));
    let below = fs::read_dir(&group.folder).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
    });
    group.folder != group.mount && only && !below && group.folder.join(bound).exists()
}

fn read_bound(group: &Group) -> Result<Vec<(PathBuf, String)>, String> {
    let names: &[&str] = match group.version {
        // A quota larger than the period's bound is refused, so the period goes first.
        Version::One => &["cpu.cfs_period_us", "cpu.cfs_quota_us"],
        Version::Two => &["cpu.max"],
    };
    names
        .iter()
        .map(|name| {
            let file = group.folder.join(name);
            read(&file).map(|text| (file.clone(), text))
        })
        .collect()
}

fn write_bound(group: &Group, folder: &Path, quota_us: u64) -> Result<(), String> {
    match group.version {
        Version::One => {
            write(&folder.join("cpu.cfs_period_us"), &PERIOD_US.to_string())?;
            write(&folder.join("cpu.cfs_quota_us"), &quota_us.to_string())
        }
        Version::Two => write(&folder.join("cpu.max"), &format!("{quota_us} {PERIOD_US}")),
    }
}

impl Group {
    /// The folder in which a group for the process is made.
    fn beside(&self) -> &Path {
        match self.version {
            Version::Two if self.folder != self.mount => self.folder.parent().unwrap_or(&self.mount),
            _ => &self.folder,
        }
    }
}

impl Throttled {
    fn enter_new_group(&mut self, quota_us: u64) -> Result<(), String> {
        let above = self.group.beside().to_path_buf();
        if self.group.version == Version::Two {
            let switch = above.join("cgroup.subtree_control");
            if !read(&switch)?.split_ascii_whitespace().any(|name| name == "cpu") {
                write(&switch, "+cpu")?;
                self.enabled = Some(switch);
            }
        }
        let made = above.join(format!("ringmill-load-{}-{}", std::process::id(), self.pid));
        fs::create_dir(&made)
            .map_err(|error| format!("cannot make the group {}: {error}", made.display()))?;
        self.made = Some(made.clone());
        write_bound(&self.group, &made, quota_us)?;
        write(&made.join("cgroup.procs"), &self.pid.to_string())
    }

    /// Puts everything back as it was found.
    ///
    /// # Errors
    /// What is not as it was, and how to mend it by hand.
    pub(super) fn restore(self) -> Result<(), String> {
        let mut problems: Vec<String> =
            self.before.iter().filter_map(|(file, text)| write(file, text).err()).collect();
        if let Some(made) = &self.made {
            problems.extend(self.leave(made).err());
        }
        if let Some(switch) = &self.enabled {
            problems.extend(write(switch, "-cpu").err());
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "the control group of process {} is not as it was: {}",
                self.pid,
                problems.join("; ")
            )),
        }
    }

    /// Moves everybody out of the made group, the children that the process had meanwhile too, and removes it.
    fn leave(&self, made: &Path) -> Result<(), String> {
        let back = self.group.folder.join("cgroup.procs");
        // A process that forks while it is moved is met in the next round.
        for _ in 0..100 {
            for pid in read(&made.join("cgroup.procs"))?.split_ascii_whitespace() {
                match OpenOptions::new()
                    .write(true)
                    .open(&back)
                    .and_then(|mut file| file.write_all(pid.as_bytes()))
                {
                    Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                        return Err(format!("process {pid} cannot go back to {}: {error}", back.display()));
                    }
                    _ => {}
                }
            }
            match fs::remove_dir(made) {
                Ok(()) => return Ok(()),
                // A killed process stays in its group until its memory is gone.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(error) => return Err(format!("cannot remove {}: {error}", made.display())),
            }
        }
        Err(format!("the group {} does not get empty; remove it with rmdir", made.display()))
    }
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file)
        .map(|text| text.trim_end().to_string())
        .map_err(|error| format!("cannot read {}: {error}", file.display()))
}

/// Writes to a file of the kernel, which is there or not: never made.
fn write(file: &Path, text: &str) -> Result<(), String> {
    let written =
        OpenOptions::new().write(true).open(file).and_then(|mut open| open.write_all(text.as_bytes()));
    written.map_err(|error| format!("cannot write `{text}` to {}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::testing::Tree;
    use std::process::Command;

    #[test]
    fn the_quota_is_a_share_of_whole_cores() {
        for (percent, cores, expected) in
            [(5.0, 1, 95_000), (5.0, 2, 190_000), (50.0, 1, 50_000), (99.9, 1, 1_000), (0.5, 4, 398_000)]
        {
            assert_eq!(quota(percent, cores), expected, "{percent} of {cores}");
        }
    }

    const TWO: [(&str, &str); 5] = [
        ("proc/7/cgroup", "0::/box\n"),
        ("proc/7/task/7/cgroup", "0::/box\n"),
        ("proc/self/mounts", "none /sys/fs/cgroup cgroup2 rw 0 0\n"),
        ("sys/fs/cgroup/cgroup.controllers", "cpu memory\n"),
        ("sys/fs/cgroup/box/cpu.max", "max 100000\n"),
    ];

    #[test]
    fn groups_are_found_and_what_could_not_be_restored_is_refused() {
        let procs = ("sys/fs/cgroup/box/cgroup.procs", "7\n");
        let tree = Tree::new("two", &[&TWO[..], &[procs]].concat());
        let group = find(&tree.0, 7).unwrap();
        assert_eq!((group.version, group.folder.clone()), (Version::Two, tree.0.join("sys/fs/cgroup/box")));
        assert!(alone(&group, 7) && !alone(&group, 8));
        assert_eq!(group.beside(), tree.0.join("sys/fs/cgroup"));
        assert_eq!(possible(&tree.0, 7, 5.0), Ok(()));
        for (percent, needle) in [(0.0, "more than 0"), (100.0, "less than 100"), (f64::NAN, "more than 0")] {
            assert!(possible(&tree.0, 7, percent).unwrap_err().contains(needle), "{percent}");
        }
        assert!(find(&tree.0, 8).unwrap_err().contains("ended"));

        let one = [
            ("proc/7/cgroup", "4:memory:/m\n3:cpu,cpuacct:/box\n0::/\n"),
            ("proc/self/mounts", "none /u cgroup2 rw 0 0\nnone /c cgroup rw,cpu,cpuacct 0 0\n"),
            ("c/box/cgroup.procs", "7\n8\n"),
        ];
        let tree = Tree::new("one", &one);
        let group = find(&tree.0, 7).unwrap();
        assert_eq!((group.version, group.folder.clone()), (Version::One, tree.0.join("c/box")));
        assert!(!alone(&group, 7));
        assert_eq!(group.beside(), tree.0.join("c/box"));

        for (name, files, needle) in [
            ("hidden", &TWO[..], "not visible"),
            ("none", &[("proc/7/cgroup", "4:memory:/m\n")][..], "no control groups for processors"),
            ("unmounted", &TWO[..2], "no control groups are mounted"),
            (
                "scattered",
                &[&TWO[..], &[procs, ("proc/7/task/9/cgroup", "0::/elsewhere\n")]].concat()[..],
                "different control groups",
            ),
        ] {
            let tree = Tree::new(name, files);
            assert!(find(&tree.0, 7).unwrap_err().contains(needle), "{name}");
        }
    }

    #[test]
    fn a_bound_in_place_is_put_back_as_it_was() {
        let tree = Tree::new("place", &[&TWO[..], &[("sys/fs/cgroup/box/cgroup.procs", "7\n")]].concat());
        let group = find(&tree.0, 7).unwrap();
        let throttled = Throttled {
            pid: 7,
            group: group.clone(),
            before: read_bound(&group).unwrap(),
            made: None,
            enabled: None,
        };
        write_bound(&group, &group.folder, 95_000).unwrap();
        let bound = || fs::read_to_string(tree.0.join("sys/fs/cgroup/box/cpu.max")).unwrap();
        assert!(bound().starts_with("95000 100000"));
        // A file of the kernel takes each write as a whole; an ordinary one keeps the longer rest.
        fs::write(tree.0.join("sys/fs/cgroup/box/cpu.max"), "").unwrap();
        throttled.restore().unwrap();
        assert_eq!(bound(), "max 100000");
    }

    #[test]
    fn a_real_process_is_held_back_and_let_go() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let root = Path::new("/");
        let groups = || fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
        let before = groups();
        let checked = match possible(root, child.id(), 50.0) {
            // Without root or control groups the refusal is what there is to see.
            Err(why) => why.len() > 10,
            Ok(()) => {
                let process = Process::open(child.id()).unwrap();
                let throttled = throttle(root, &process, 50.0).unwrap();
                let made = throttled.made.clone().unwrap();
                let held =
                    ["cpu.max", "cpu.cfs_quota_us"].map(|name| read(&made.join(name)).unwrap_or_default());
                let moved = groups() != before;
                throttled.restore().unwrap();
                moved && held.concat().starts_with("50000") && !made.exists() && groups() == before
            }
        };
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(checked);
    }
}
