//! What the system has counted for a thread: whether it ran, waited for a core, was throttled, missed pages.
use crate::core::metrics::cause::Reading;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The files of one thread, kept open: reading both and asking for its usage takes some 2 µs.
///
/// What the system does not offer stays `None` in every reading: a kernel without `SCHED_INFO`, a process outside of
/// a control group with a quota.
#[derive(Debug)]
pub struct Pressure {
    scheduled: Option<File>,
    throttled: Option<File>,
}

impl Pressure {
    /// Of the calling thread. To be read by that thread.
    pub fn of_this_thread() -> Pressure {
        let throttled = cpu_stat(Path::new("/")).and_then(|path| File::open(path).ok());
        Pressure { scheduled: File::open("/proc/thread-self/schedstat").ok(), throttled }
    }

    /// What was counted up to now, which is `at_ns` on the caller's clock. Never allocates.
    pub fn read(&self, at_ns: u64) -> Reading {
        let mut room = [0; 1024];
        let scheduled = self.scheduled.as_ref().and_then(|file| text(file, &mut room)).and_then(times);
        let mut room = [0; 1024];
        let throttled = self.throttled.as_ref().and_then(|file| text(file, &mut room)).and_then(throttled_ns);
        let (switches, faults) = usage();
        Reading {
            at_ns,
            ran_ns: scheduled.map(|(ran_ns, _)| ran_ns),
            waited_ns: scheduled.map(|(_, waited_ns)| waited_ns),
            throttled_ns: throttled,
            switches,
            faults,
        }
    }
}

fn text<'a>(file: &File, room: &'a mut [u8]) -> Option<&'a str> {
    let len = file.read_at(room, 0).ok()?;
    std::str::from_utf8(&room[..len]).ok()
}

/// Time run and time waited, from `schedstat`.
fn times(text: &str) -> Option<(u64, u64)> {
    let mut fields = text.split_ascii_whitespace().map(str::parse);
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
}

/// Time throttled, from the `cpu.stat` of either kind of control group.
fn throttled_ns(text: &str) -> Option<u64> {
    let value = |name| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    value("throttled_usec ").map(|us| us.saturating_mul(1_000)).or_else(|| value("throttled_time "))
}

/// Where the process's control group counts its throttling, if it does: the second kind, else the first.
fn cpu_stat(root: &Path) -> Option<PathBuf> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let paths = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (kind, group) = rest.split_once(':')?;
        let mount = match kind {
            "" => "sys/fs/cgroup",
            kind if kind.split(',').any(|kind| kind == "cpu") => "sys/fs/cgroup/cpu",
            _ => return None,
        };
        Some(root.join(mount).join(group.trim_start_matches('/')).join("cpu.stat"))
    });
    let tells = |path: &PathBuf| fs::read_to_string(path).ok().and_then(|text| throttled_ns(&text)).is_some();
    paths.into_iter().find(tells)
}

/// Times that the core was taken from the calling thread, and its page faults without and with I/O.
fn usage() -> (u64, [u64; 2]) {
    // SAFETY: all zero is a valid `rusage`.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a valid place for one `rusage`; the call cannot fail otherwise.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut usage) };
    (usage.ru_nivcsw as u64, [usage.ru_minflt as u64, usage.ru_majflt as u64])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::testing::Tree;

    #[test]
    fn files_as_kernels_write_them() {
        for (text, expected) in [
            ("96053 437279 2\n", Some((96_053, 437_279))),
            ("18446744073709551615 0 0", Some((u64::MAX, 0))),
            ("0 0", Some((0, 0))),
            ("5", None),
            ("", None),
            ("x 1 2", None),
            ("-1 1 2", None),
        ] {
            assert_eq!(times(text), expected, "{text:?}");
        }
        for (text, expected) in [
            ("usage_usec 5\nnr_throttled 2\nthrottled_usec 1500\n", Some(1_500_000)),
            ("nr_periods 1\nnr_throttled 1\nthrottled_time 77\n", Some(77)),
            ("throttled_usec 18446744073709551615", Some(u64::MAX)),
            ("usage_usec 5\n", None),
            ("throttled_usec many\n", None),
        ] {
            assert_eq!(throttled_ns(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_group_that_counts_is_found() {
        let second = ("sys/fs/cgroup/a/b/cpu.stat", "throttled_usec 1\n");
        let first = ("sys/fs/cgroup/cpu/c/cpu.stat", "throttled_time 2\n");
        for (what, files, expected) in [
            ("v2", vec![("proc/self/cgroup", "0::/a/b\n"), second], Some(second.0)),
            ("v1", vec![("proc/self/cgroup", "3:cpuset:/x\n1:cpu,cpuacct:/c\n"), first], Some(first.0)),
            ("both", vec![("proc/self/cgroup", "1:cpu:/c\n0::/\n"), first], Some(first.0)),
            (
                "a group without a quota",
                vec![("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/cpu.stat", "usage_usec 1\n")],
                None,
            ),
            ("none", vec![("proc/self/cgroup", "garbage")], None),
        ] {
            let tree = Tree::new(&format!("pressure-{}", what.len()), &files);
            assert_eq!(cpu_stat(&tree.0), expected.map(|path| tree.0.join(path)), "{what}");
        }
    }

    #[test]
    fn a_thread_that_runs_is_counted() {
        let pressure = Pressure::of_this_thread();
        let before = pressure.read(1);
        let until = std::time::Instant::now() + std::time::Duration::from_millis(20);
        while std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
        let after = pressure.read(2);
        assert_eq!((before.at_ns, after.at_ns), (1, 2));
        if let (Some(before), Some(after)) = (before.ran_ns, after.ran_ns) {
            assert!(after > before);
        }
        // Another test may have locked all memory to come, and then nobody misses a page.
        assert!(
            after.switches >= before.switches && after.faults[0] >= before.faults[0],
            "{before:?} {after:?}"
        );
    }
}
