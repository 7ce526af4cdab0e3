//! The clocks of the machine, and of a thread.

use crate::core::memory::Clock;

/// `CLOCK_MONOTONIC` and `CLOCK_REALTIME`, read through the vDSO.
///
/// Every value of this type counts from the same moment, so a deadline that the engine computed with its own
/// may be compared with the driver's, and handed to the kernel as an absolute time.
#[derive(Clone, Copy, Debug, Default)]
pub struct MonotonicClock;

impl Clock for MonotonicClock {
    fn now_ns(&self) -> u64 {
        read(libc::CLOCK_MONOTONIC)
    }

    fn wall_ms(&self) -> u64 {
        read(libc::CLOCK_REALTIME) / 1_000_000
    }
}

/// Nanoseconds that the calling thread has run on a processor.
pub fn thread_cpu_ns() -> u64 {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for one `timespec`. All three clocks exist on every Linux, so this cannot
    // fail; if it did, zero would be returned.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_works_uses_its_processor() {
        let before = thread_cpu_ns();
        while thread_cpu_ns() == before {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn time_goes_forward_and_the_wall_agrees_with_the_standard_library() {
        let clock = MonotonicClock;
        let first = clock.now_ns();
        assert!(clock.now_ns() >= first);
        let std_ms =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
        assert!(std_ms.abs_diff(clock.wall_ms()) < 5_000);
    }
}
