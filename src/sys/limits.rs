//! What the system lets this process do: io_uring, locked memory, file descriptors. Each refusal says
//! how to mend it.
use std::{fs, io, path::Path};

/// glommio does not start an executor below this `RLIMIT_MEMLOCK`, whatever its ring depth.
pub const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// glommio registers its block of I/O memory with each of its three rings, and each counts as locked.
pub const GLOMMIO_RINGS: u64 = 3;

/// The least block that glommio allocates, whatever was asked for.
pub const GLOMMIO_IO_BYTES_MIN: u64 = 64 * 1024;

/// How much of io_uring there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uring {
    /// All that the `uring` driver needs.
    Full,
    /// Rings work, but not as the `uring` driver needs them: why. Enough for the `glommio` driver.
    Basic(String),
    /// No rings at all, so neither driver works: why and how to mend it.
    Denied(String),
}

/// Sets up a ring, for nothing else tells whether one may: sysctl, seccomp and kernel all have a say.
pub fn uring(root: &Path) -> Uring {
    if let Err(error) = io_uring::IoUring::new(2) {
        return Uring::Denied(uring_denied(error.raw_os_error().unwrap_or(0), &uring_sysctl(root)));
    }
    match super::ring::uring_support() {
        Ok(()) => Uring::Full,
        Err(why) => Uring::Basic(why),
    }
}

/// The text of `kernel.io_uring_disabled`, empty where there is none.
pub(super) fn uring_sysctl(root: &Path) -> String {
    let text = fs::read_to_string(root.join("proc/sys/kernel/io_uring_disabled")).unwrap_or_default();
    text.trim().to_owned()
}

/// Why a ring was refused, from the error of `io_uring_setup` and the text of `kernel.io_uring_disabled`.
pub(super) fn uring_denied(errno: i32, sysctl: &str) -> String {
    match (errno, sysctl) {
        (libc::EPERM, "2") => "io_uring is switched off: kernel.io_uring_disabled is 2; \
             set it to 0 (`sysctl -w kernel.io_uring_disabled=0`)"
            .into(),
        (libc::EPERM, "1") => "io_uring is restricted: kernel.io_uring_disabled is 1; set it to 0, or run as a \
             member of the group in kernel.io_uring_group"
            .into(),
        (libc::EPERM | libc::EACCES, _) => "io_uring_setup is not permitted though the sysctl allows it: a seccomp \
             filter of the container runtime or the service forbids it; allow io_uring_setup, io_uring_enter and \
             io_uring_register"
            .into(),
        (libc::ENOSYS, _) => {
            "this kernel has no io_uring, or a seccomp filter hides it; Linux 5.19 is the oldest that serves, \
             6.1 for the `uring` driver"
                .into()
        }
        (libc::ENOMEM, _) => "no memory for a ring: raise RLIMIT_MEMLOCK (`ulimit -l`, LimitMEMLOCK=)".into(),
        (libc::EMFILE | libc::ENFILE, _) => {
            "no file descriptor for a ring: raise RLIMIT_NOFILE (`ulimit -n`, LimitNOFILE=)".into()
        }
        (errno, _) => format!("io_uring_setup: {}", io::Error::from_raw_os_error(errno)),
    }
}

/// A resource limit that this module raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Open file descriptors.
    Files,
    /// Bytes of locked memory.
    LockedMemory,
}

/// Raises the soft limit as far as this process may and returns where it stands now, `u64::MAX` for none.
/// Privileged processes raise locked memory beyond the hard limit, the others to it.
///
/// # Errors
/// What `getrlimit` says; failing to raise is no error, for the returned value tells.
pub fn raise(resource: Resource) -> io::Result<u64> {
    let which = match resource {
        Resource::Files => libc::RLIMIT_NOFILE,
        Resource::LockedMemory => libc::RLIMIT_MEMLOCK,
    };
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid `rlimit` to write to, for the length of the call.
    if unsafe { libc::getrlimit(which, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut wishes = vec![limit.rlim_max];
    if resource == Resource::LockedMemory && limit.rlim_max != libc::RLIM_INFINITY {
        wishes.insert(0, libc::RLIM_INFINITY);
    }
    for wish in wishes {
        if limit.rlim_cur == wish {
            break;
        }
        let raised = libc::rlimit { rlim_cur: wish, rlim_max: limit.rlim_max.max(wish) };
        // SAFETY: `raised` is a valid `rlimit` to read from, for the length of the call.
        if unsafe { libc::setrlimit(which, &raised) } == 0 {
            limit = raised;
            break;
        }
    }
    Ok(if limit.rlim_cur == libc::RLIM_INFINITY { u64::MAX } else { limit.rlim_cur })
}

/// Whether locked memory is not counted for this process (`CAP_IPC_LOCK`).
pub fn memlock_exempt(root: &Path) -> bool {
    const CAP_IPC_LOCK: u32 = 14;
    let status = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok())
        .is_some_and(|capabilities| capabilities >> CAP_IPC_LOCK & 1 == 1)
}

/// The I/O memory in bytes that each of `shards` executors may have: `wanted`, or as much as three
/// quarters of the limit bear (the rest is for whatever else this user has locked).
///
/// # Errors
/// The limit is too low for glommio to start at all: why and how to mend it.
pub fn glommio_io_bytes(limit: u64, exempt: bool, shards: u64, wanted: u64) -> Result<u64, String> {
    let needed = MEMLOCK_BYTES_MIN.max(GLOMMIO_IO_BYTES_MIN * GLOMMIO_RINGS * shards * 4 / 3);
    if limit < MEMLOCK_BYTES_MIN || (!exempt && limit < needed) {
        let needed = if exempt { MEMLOCK_BYTES_MIN } else { needed };
        return Err(format!(
            "RLIMIT_MEMLOCK is {} KiB, but the rings of {shards} shard(s) need at least {} KiB: raise it \
             (`ulimit -l`, LimitMEMLOCK=infinity, `--ulimit memlock=-1` for containers)",
            limit / 1024,
            needed.div_ceil(1024),
        ));
    }
    if exempt {
        return Ok(wanted);
    }
    let bearable = (limit / 4).saturating_mul(3) / (GLOMMIO_RINGS * shards);
    Ok(wanted.min(bearable & !4095).max(GLOMMIO_IO_BYTES_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_denial_names_its_mend() {
        for (errno, sysctl, needle) in [
            (libc::EPERM, "2", "io_uring_disabled is 2"),
            (libc::EPERM, "1", "io_uring_group"),
            (libc::EPERM, "0", "seccomp"),
            (libc::EPERM, "", "seccomp"),
            (libc::ENOSYS, "", "has no io_uring"),
            (libc::ENOMEM, "0", "RLIMIT_MEMLOCK"),
            (libc::EMFILE, "0", "RLIMIT_NOFILE"),
            (libc::EINVAL, "0", "Invalid argument"),
        ] {
            let text = uring_denied(errno, sysctl);
            assert!(text.contains(needle), "{errno} {sysctl}: {text}");
        }
    }

    #[test]
    fn io_memory_fits_the_limit() {
        const MIB: u64 = 1 << 20;
        for (limit, exempt, shards, expected) in [
            (u64::MAX, false, 64, Some(MIB)),
            (8 * MIB, false, 1, Some(MIB)),
            (8 * MIB, false, 4, Some(512 * 1024)),
            (8 * MIB, false, 64, None),
            (8 * MIB, true, 64, Some(MIB)),
            (MEMLOCK_BYTES_MIN, false, 1, Some(128 * 1024)),
            (MEMLOCK_BYTES_MIN - 1, false, 1, None),
            (MEMLOCK_BYTES_MIN - 1, true, 1, None),
        ] {
            let got = glommio_io_bytes(limit, exempt, shards, MIB);
            assert_eq!(got.as_ref().ok().copied(), expected, "{limit} {exempt} {shards}: {got:?}");
            if let Ok(bytes) = got
                && !exempt
            {
                assert!(bytes * GLOMMIO_RINGS * shards <= limit);
            }
        }
        assert!(glommio_io_bytes(65536, false, 2, MIB).unwrap_err().contains("64 KiB"));
    }

    #[test]
    fn limits_of_this_process_are_read() {
        assert!(raise(Resource::Files).unwrap() > 0);
        assert_eq!(raise(Resource::Files).unwrap(), raise(Resource::Files).unwrap());
        assert!(!matches!(uring(Path::new("/")), Uring::Denied(why) if why.is_empty()));
    }
}
