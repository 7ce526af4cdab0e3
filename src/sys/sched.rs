//! How the calling thread is woken: exact sleeps, and precedence over ordinary threads where that is allowed.
use std::io;

/// Lets timers of the calling thread fire when they are due. By default Linux may gather them for 50 us.
///
/// # Errors
/// What `prctl` says; a filter may forbid it.
pub fn exact_timers() -> io::Result<()> {
    // SAFETY: plain integers; a slack of 1 ns is the least (0 would mean the default).
    let failed = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong, 0, 0, 0) };
    if failed != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// By how much the kernel may be late with timers of the calling thread, in nanoseconds.
///
/// # Errors
/// What `prctl` says; a filter may forbid it.
pub fn timer_slack_ns() -> io::Result<u64> {
    // SAFETY: plain integers; this one only reads.
    let slack = unsafe { libc::prctl(libc::PR_GET_TIMERSLACK, 0, 0, 0, 0) };
    u64::try_from(slack).map_err(|_| io::Error::last_os_error())
}

/// Puts the calling thread before all ordinary ones (`SCHED_FIFO`, the lowest of its priorities). For threads
/// that hardly ever run: one that does not sleep starves its core.
///
/// # Errors
/// `EPERM` without `CAP_SYS_NICE` or an `RLIMIT_RTPRIO`; also in control groups without a real-time budget.
pub fn precede() -> io::Result<()> {
    let param = libc::sched_param { sched_priority: 1 };
    // SAFETY: `param` is valid to read for the length of the call; 0 is the calling thread. RESET_ON_FORK keeps
    // the precedence from whatever this thread might start.
    let failed = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &param) };
    if failed != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sleeps until `CLOCK_MONOTONIC` shows `at_ns` ([`super::clock::MonotonicClock`] counts the same way). Returns
/// at once when that is over, and early only if the kernel refuses the time.
pub fn sleep_until(at_ns: u64) {
    let time = libc::timespec {
        tv_sec: (at_ns / 1_000_000_000) as libc::time_t,
        tv_nsec: (at_ns % 1_000_000_000) as libc::c_long,
    };
    loop {
        // SAFETY: `time` is valid to read for the length of the call; an absolute sleep writes no remainder.
        let done = unsafe {
            libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &time, std::ptr::null_mut())
        };
        if done != libc::EINTR {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::memory::Clock;
    use crate::sys::clock::MonotonicClock;

    #[test]
    fn sleeps_last_at_least_as_long_as_asked() {
        exact_timers().unwrap();
        assert_eq!(timer_slack_ns().unwrap(), 1);
        let clock = MonotonicClock;
        for ns in [0, 1, 1_000_000] {
            let at = clock.now_ns() + ns;
            sleep_until(at);
            assert!(clock.now_ns() >= at, "{ns}");
        }
        sleep_until(1);
    }
}
