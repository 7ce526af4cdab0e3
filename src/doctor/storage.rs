//! What lies under the data directory: file system, devices, and what those say about their caches.
use super::look::Look;

/// A disk, or what stands for one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Its name in `/sys/block`.
    pub name: String,
    /// `write back` or `write through`, as the kernel treats it: only the first is flushed.
    pub write_cache: Option<String>,
    /// What the device itself says about its cache, where it is asked (SCSI).
    pub claimed: Option<String>,
    /// Whether a single write can be forced through the cache.
    pub fua: Option<bool>,
    /// Whether it turns.
    pub rotational: bool,
}

/// The place where segments go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// The directory.
    pub dir: String,
    /// Where its file system is mounted.
    pub mount: String,
    /// What kind it is.
    pub kind: String,
    /// How it is mounted; both the mount's options and the file system's.
    pub options: Vec<String>,
    /// The disks below, through partitions, volumes and arrays. Empty when none could be found.
    pub devices: Vec<Device>,
}

/// Devices below devices, at most: a partition on a volume on an array on a disk is four.
const DEPTH_MAX: usize = 8;

/// What lies under `dir`, an absolute path. `None` without `/proc/self/mountinfo`.
pub fn storage(look: &dyn Look, dir: &str) -> Option<Storage> {
    let text = look.text("/proc/self/mountinfo")?;
    let mounts = text.lines().filter_map(mount);
    let (number, source, mut storage) = mounts.filter(|(_, _, mount)| is_below(dir, &mount.mount)).fold(
        None,
        // Of several at the same place the last covers the others.
        |best: Option<(String, String, Storage)>, this| match best {
            Some(best) if best.2.mount.len() > this.2.mount.len() => Some(best),
            _ => Some(this),
        },
    )?;
    storage.dir = dir.to_string();
    if let Some(name) = block(look, &number, &source) {
        below(look, &name, 0, &mut storage.devices);
    }
    Some(storage)
}

/// Number and source of the device, and the mount.
fn mount(line: &str) -> Option<(String, String, Storage)> {
    let (front, back) = line.split_once(" - ")?;
    let front: Vec<&str> = front.split(' ').collect();
    let back: Vec<&str> = back.split(' ').collect();
    let ([_, _, number, _, mount, options, ..], [kind, source, rest @ ..]) = (&front[..], &back[..]) else {
        return None;
    };
    let all = rest.first().into_iter().chain([options]).flat_map(|list| list.split(',')).map(str::to_string);
    let storage = Storage {
        // Spaces in paths are written in octal.
        mount: mount.replace("\\040", " "),
        kind: kind.to_string(),
        options: all.collect(),
        ..Storage::default()
    };
    Some((number.to_string(), source.to_string(), storage))
}

fn is_below(dir: &str, mount: &str) -> bool {
    let rest = dir.strip_prefix(mount.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The whole disk that a number or a source names: its folder in `/sys/block`.
fn block(look: &dyn Look, number: &str, source: &str) -> Option<String> {
    let known = |name: &str| look.there(&format!("/sys/block/{name}")).then(|| name.to_string());
    let real = look.real(&format!("/sys/dev/block/{number}"));
    let real = real.or_else(|| look.real(&format!("/sys/class/block/{}", source.rsplit('/').next()?)));
    // `…/block/vda/vda1` for a partition, `…/block/vda` for the disk.
    let of_path = |path: String| path.rsplit('/').take(2).find_map(known);
    real.and_then(of_path).or_else(|| {
        // A recorded tree has no links: the longest disk's name that the source begins with.
        let base = source.strip_prefix("/dev/")?;
        let names = look.names("/sys/block").into_iter();
        names.filter(|name| base.starts_with(name.as_str())).max_by_key(String::len)
    })
}

fn below(look: &dyn Look, name: &str, depth: usize, into: &mut Vec<Device>) {
    let folder = format!("/sys/block/{name}");
    let parts = look.names(&format!("{folder}/slaves"));
    if !parts.is_empty() && depth < DEPTH_MAX {
        for part in parts {
            if let Some(part) = block(look, "", &format!("/dev/{part}")) {
                below(look, &part, depth + 1, into);
            }
        }
        return;
    }
    let claims = format!("{folder}/device/scsi_disk");
    let claimed = look.names(&claims).first().and_then(|id| look.line(&format!("{claims}/{id}/cache_type")));
    let device = Device {
        name: name.to_string(),
        write_cache: look.line(&format!("{folder}/queue/write_cache")),
        claimed,
        fua: look.line(&format!("{folder}/queue/fua")).map(|fua| fua == "1"),
        rotational: look.line(&format!("{folder}/queue/rotational")).as_deref() == Some("1"),
    };
    if !into.contains(&device) {
        into.push(device);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::look::testing::Recorded;

    #[test]
    fn the_disk_below_a_directory_is_found() {
        let mounts = "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro\n\
                      30 22 0:25 / /dev/shm rw,nosuid - tmpfs tmpfs rw\n\
                      31 22 253:0 / /var/lib rw - xfs /dev/dm-0 rw,attr2\n\
                      32 22 0:40 / /var/lib/a\\040b rw,nobarrier - btrfs /dev/nvme0n1p2 rw,ssd\n";
        let look = Recorded::new(&[
            ("/proc/self/mountinfo", mounts),
            ("/sys/block/vda/queue/write_cache", "write back"),
            ("/sys/block/vda/queue/fua", "0"),
            ("/sys/block/dm-0/slaves/sda3/x", ""),
            ("/sys/block/dm-0/slaves/sdb1/x", ""),
            ("/sys/block/sda/queue/rotational", "1"),
            ("/sys/block/sda/device/scsi_disk/0:0:0:0/cache_type", "write back"),
            ("/sys/block/sdb/queue/write_cache", "write through"),
            ("/sys/block/nvme0n1/queue/fua", "1"),
        ]);
        let device = |name: &str| Device { name: name.into(), ..Device::default() };
        for (dir, mount, kind, devices) in [
            (
                "/srv/data",
                "/",
                "ext4",
                vec![Device { write_cache: Some("write back".into()), fua: Some(false), ..device("vda") }],
            ),
            ("/dev/shm/x", "/dev/shm", "tmpfs", vec![]),
            (
                "/dev/shmx",
                "/",
                "ext4",
                vec![Device { write_cache: Some("write back".into()), fua: Some(false), ..device("vda") }],
            ),
            (
                "/var/lib",
                "/var/lib",
                "xfs",
                vec![
                    Device { rotational: true, claimed: Some("write back".into()), ..device("sda") },
                    Device { write_cache: Some("write through".into()), ..device("sdb") },
                ],
            ),
            (
                "/var/lib/a b/c",
                "/var/lib/a b",
                "btrfs",
                vec![Device { fua: Some(true), ..device("nvme0n1") }],
            ),
        ] {
            let found = storage(&look, dir).unwrap();
            assert_eq!(
                (found.mount.as_str(), found.kind.as_str(), &found.devices),
                (mount, kind, &devices),
                "{dir}"
            );
            assert_eq!(found.options.contains(&"nobarrier".to_string()), kind == "btrfs");
        }
        assert_eq!(storage(&Recorded::new(&[]), "/srv"), None);
    }
}
