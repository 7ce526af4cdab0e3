//! `ringmill doctor`: what will limit p999 on this host, and the one command that mends each.
//!
//! ```text
//! look ──▶ host, knobs, storage ──┐
//! (files)                         ├──▶ Observed ──▶ judge ──▶ Judgement ──▶ report
//! measure ────────────────────────┘
//! (idle cores, disk, the server itself)
//! ```
//!
//! [`judge`] decides and reads nothing; [`look`] reads files below whatever stands for `/`; [`measure`] tries out what
//! no file tells. What should be is what `tuning/` would set: told a second time here, and held against it by
//! `tests/doctor.rs`. Nothing is changed by any of it, but for a file that is written in the data directory and removed.
pub mod host;
pub mod judge;
pub mod knobs;
pub mod look;
pub mod measure;
pub mod report;
pub mod storage;

use judge::{Observed, Quota};
use look::{Look, Root};
use std::path::{Path, PathBuf};

/// What to look at.
#[derive(Clone, Debug)]
pub struct Wish {
    /// What stands for `/`.
    pub root: PathBuf,
    /// The shards' CPUs, where they were named.
    pub cores: Option<Vec<usize>>,
    /// The data directory, where it was named.
    pub data: Option<PathBuf>,
    /// Whether to measure. A tree that is not the host itself cannot be.
    pub measure: bool,
}

/// Looks, and measures if that was wished for.
///
/// # Errors
/// What is missing without which nothing can be told.
pub fn observe(wish: &Wish) -> Result<Observed, String> {
    let look = Root::new(&wish.root);
    let host = host::Host::read(&look, wish.cores.as_deref())?;
    let own = wish.root == Path::new("/");
    let dir = data(&look, wish.data.as_deref(), own)?;
    let units = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
    Ok(Observed {
        knobs: knobs::collect(&look, &host),
        harmful: host::harmful(&look),
        storage: storage::storage(&look, &dir),
        quotas: quotas(&look),
        unit: units.iter().any(|folder| look.there(&format!("{folder}/ringmill.service"))),
        measured: wish.measure.then(|| measure::measure(&wish.root, &host.plan, Path::new(&dir))),
        tool: tool(own),
        host,
    })
}

/// The installed one, or the one of the checkout in which this is run.
fn tool(own: bool) -> String {
    let here = own && Path::new("tuning/ringmill-tune").exists();
    if here { "tuning/ringmill-tune" } else { "ringmill-tune" }.into()
}

/// Where segments go: as named, or as the package's settings say, or `data` here.
fn data(look: &Root, named: Option<&Path>, own: bool) -> Result<String, String> {
    let settings = look.text("/etc/ringmill/ringmill.toml").unwrap_or_default();
    let table: Option<toml::Table> = settings.parse().ok();
    let sink = table.as_ref().and_then(|table| table.get("sink")?.as_str()?.strip_prefix("segments:"));
    let dir = named.map(Path::to_path_buf).or(sink.map(PathBuf::from)).unwrap_or(PathBuf::from("data"));
    let dir = match own {
        true => std::path::absolute(&dir).map_err(|error| format!("{}: {error}", dir.display()))?,
        false => Path::new("/").join(dir),
    };
    // Links above it may lead to another file system.
    let real = dir.ancestors().find_map(|above| Some((above, look.real(above.to_str()?)?)));
    let real =
        real.map(|(above, real)| Path::new(&real).join(dir.strip_prefix(above).unwrap_or(Path::new(""))));
    let real = real.unwrap_or(dir);
    let text = real.to_str().map(|text| text.trim_end_matches('/').to_string());
    text.ok_or_else(|| format!("{} is no UTF-8: name another with --data", real.display()))
}

/// Bounds on the CPU time of this process's control groups, and of the server's unit, if it is there.
fn quotas(look: &dyn Look) -> Vec<Quota> {
    let own = look.text("/proc/self/cgroup").unwrap_or_default();
    let mut groups: Vec<(String, String)> = Vec::new();
    for line in own.lines() {
        let [_, controllers, path] = line.splitn(3, ':').collect::<Vec<_>>()[..] else { continue };
        let mount = match controllers.split(',').any(|name| name == "cpu") {
            true => "/sys/fs/cgroup/cpu",
            false if controllers.is_empty() => "/sys/fs/cgroup",
            false => continue,
        };
        let above = Path::new(path).ancestors().filter_map(Path::to_str);
        groups.extend(above.map(|group| (mount.to_string(), group.trim_end_matches('/').to_string())));
    }
    groups.push(("/sys/fs/cgroup".into(), "/ringmill.slice/ringmill.service".into()));
    groups.push(("/sys/fs/cgroup".into(), "/ringmill.slice".into()));
    let quota = |(mount, group): (String, String)| {
        let folder = format!("{mount}{group}");
        let (quota, period) = match look.line(&format!("{folder}/cpu.max")) {
            Some(line) => {
                line.split_once(' ').map(|(quota, period)| (quota.to_string(), period.to_string()))?
            }
            None => (
                look.line(&format!("{folder}/cpu.cfs_quota_us"))?,
                look.line(&format!("{folder}/cpu.cfs_period_us"))?,
            ),
        };
        // `max`, or -1: none.
        let (quota_us, period_us) = (quota.parse().ok()?, period.parse().ok()?);
        let group = if group.is_empty() { "this process's control group".into() } else { group };
        Some(Quota { group, quota_us, period_us })
    };
    let mut all: Vec<Quota> = groups.into_iter().filter_map(quota).collect();
    all.dedup();
    all
}

#[cfg(test)]
mod host_tests;
#[cfg(test)]
mod judge_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use look::testing::Recorded;

    #[test]
    fn quotas_are_read_in_both_kinds_of_control_groups() {
        let quota = |group: &str, quota_us, period_us| Quota { group: group.into(), quota_us, period_us };
        for (files, expected) in [
            (
                vec![
                    ("/proc/self/cgroup", "0::/a/b\n"),
                    ("/sys/fs/cgroup/a/cpu.max", "50000 100000"),
                    ("/sys/fs/cgroup/a/b/cpu.max", "max 100000"),
                ],
                vec![quota("/a", 50_000, 100_000)],
            ),
            (
                vec![("/proc/self/cgroup", "0::/\n"), ("/sys/fs/cgroup/cpu.max", "1000 2000")],
                vec![quota("this process's control group", 1_000, 2_000)],
            ),
            (
                vec![
                    ("/proc/self/cgroup", "3:cpu,cpuacct:/x\n"),
                    ("/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "300"),
                    ("/sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "400"),
                ],
                vec![quota("/x", 300, 400)],
            ),
            (
                vec![
                    ("/proc/self/cgroup", "3:cpu:/x\n"),
                    ("/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "-1"),
                    ("/sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "400"),
                ],
                vec![],
            ),
            (
                vec![("/sys/fs/cgroup/ringmill.slice/ringmill.service/cpu.max", "1 2")],
                vec![quota("/ringmill.slice/ringmill.service", 1, 2)],
            ),
            (vec![], vec![]),
        ] {
            assert_eq!(quotas(&Recorded::new(&files)), expected, "{files:?}");
        }
    }
}
