//! On which cores a thread may run.
use std::io;

/// Cores that a mask can name. Linux builds allow at most 8192.
const CORES_MAX: usize = 8192;
const WORDS: usize = CORES_MAX / 64;

/// The cores on which the calling thread may run, rising.
///
/// # Errors
/// What `sched_getaffinity` says; it fails only where a filter forbids it.
pub fn current() -> io::Result<Vec<usize>> {
    let mut mask = [0u64; WORDS];
    // SAFETY: the kernel writes at most `size_of_val(&mask)` bytes to `mask`, which lives across the call;
    // `cpu_set_t` is a plain bit mask, of which this is a longer one.
    let failed = unsafe {
        libc::sched_getaffinity(0, size_of_val(&mask), mask.as_mut_ptr().cast::<libc::cpu_set_t>())
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((0..CORES_MAX).filter(|core| mask[core / 64] >> (core % 64) & 1 == 1).collect())
}

/// Lets the calling thread run on exactly these cores.
///
/// # Errors
/// `EINVAL` when none of them is online and allowed by the cpuset; `InvalidInput` for a core over 8191.
pub fn pin(cores: &[usize]) -> io::Result<()> {
    let mut mask = [0u64; WORDS];
    for &core in cores {
        if core >= CORES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("core {core} is over 8191")));
        }
        mask[core / 64] |= 1 << (core % 64);
    }
    // SAFETY: the kernel only reads `size_of_val(&mask)` bytes of `mask`, which lives across the call.
    let failed =
        unsafe { libc::sched_setaffinity(0, size_of_val(&mask), mask.as_ptr().cast::<libc::cpu_set_t>()) };
    if failed != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Those of `cores` to which a thread of this process can really be pinned. Asked of the kernel by a
/// scratch thread, because isolated cores are missing from the affinity and yet allowed, while a cpuset
/// forbids cores that are online.
pub fn reachable(cores: &[usize]) -> Vec<usize> {
    let cores = cores.to_vec();
    let probe = move || cores.into_iter().filter(|&core| pin(&[core]).is_ok()).collect();
    std::thread::spawn(probe).join().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_runs_where_it_was_told() {
        std::thread::spawn(|| {
            let core = current().unwrap()[0];
            pin(&[core]).unwrap();
            assert_eq!(current().unwrap(), [core]);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn probing_leaves_the_caller_alone() {
        let before = current().unwrap();
        assert_eq!(reachable(&[before[0], 8000, 9000]), [before[0]]);
        assert_eq!(current().unwrap(), before);
        assert!(pin(&[9000]).unwrap_err().to_string().contains("core 9000"));
    }
}
