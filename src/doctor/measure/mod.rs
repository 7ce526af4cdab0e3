//! The measured part: three seconds in which idle cores are spun on, the data directory is written to, and the server
//! itself is asked. Judged elsewhere ([`super::judge`]).
//!
//! It disturbs: a server that runs on the same cores shares them with it for a second.
mod flush;
mod jitter;
mod loopback;

use super::host::Plan;
use super::judge::Measured;
use crate::core::memory::Clock;
use crate::sys::clock::MonotonicClock;
use crate::sys::limits::{self, Resource};
use crate::sys::{affinity, sched};
use std::path::Path;
use std::time::Duration;

/// How long idle cores are spun on.
const JITTER: Duration = Duration::from_millis(1_000);
/// How often, and for how long each time, a thread sleeps to see how late it is woken.
const SLEEPS: (usize, u64) = (200, 1_000_000);

/// Measures, on those of the shards' cores that this process may use.
pub fn measure(root: &Path, plan: &Plan, dir: &Path) -> Measured {
    // Before limits are raised, for children inherit them all the same; what may be raised counts as there.
    let memlock_bytes = limits::raise(Resource::LockedMemory).unwrap_or(0);
    let files_max = limits::raise(Resource::Files).unwrap_or(0);
    let cores = cores(plan);
    Measured {
        uring: limits::uring(root),
        memlock_bytes,
        memlock_exempt: limits::memlock_exempt(root),
        files_max,
        slack_ns: sched::timer_slack_ns().ok(),
        wake_ns: cores.first().and_then(|core| wakes(*core)),
        jitter: jitter::measure(&cores, JITTER),
        flush: flush::measure(dir),
        loopback: match cores.first() {
            Some(core) => loopback::measure(*core, &plan.other()),
            None => Err("no core to run it on".into()),
        },
    }
}

/// The shards' cores as far as this process may use them; if none, whatever it may use.
fn cores(plan: &Plan) -> Vec<usize> {
    let reachable = affinity::reachable(&plan.exec);
    if reachable.is_empty() { affinity::current().unwrap_or_default() } else { reachable }
}

/// By how much a sleeping thread of that core is woken late: median and p99, in nanoseconds.
fn wakes(core: usize) -> Option<(u64, u64)> {
    let sleep = move || {
        affinity::pin(&[core]).ok()?;
        let mut late: Vec<u64> = (0..SLEEPS.0)
            .map(|_| {
                let at = MonotonicClock.now_ns() + SLEEPS.1;
                sched::sleep_until(at);
                MonotonicClock.now_ns().saturating_sub(at)
            })
            .collect();
        late.sort_unstable();
        Some((quantile(&late, 0.5), quantile(&late, 0.99)))
    };
    std::thread::spawn(sleep).join().ok()?
}

/// Of a rising list; 0 of none.
fn quantile(sorted: &[u64], q: f64) -> u64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values: Vec<u64> = (1..=100).collect();
        for (q, expected) in [(0.0, 1), (0.5, 50), (0.99, 99), (1.0, 100)] {
            assert_eq!(quantile(&values, q), expected);
        }
        assert_eq!(quantile(&[], 0.5), 0);
    }

    #[test]
    fn this_machine_can_be_measured() {
        let core = affinity::current().unwrap()[0];
        let (p50, p99) = wakes(core).unwrap();
        assert!(p50 <= p99 && p99 > 0);
        let jitter = jitter::measure(&[core], Duration::from_millis(20));
        let jitter = &jitter[0];
        assert_eq!(jitter.core, core);
        assert!(jitter.spun_ns >= 20_000_000 && jitter.longest_ns <= jitter.spun_ns);
        assert!(jitter.p999_ns <= jitter.longest_ns);
        assert_eq!(jitter::measure(&[9000], Duration::from_millis(1)), []);
        let dir = std::env::temp_dir();
        let flush = flush::measure(&dir).unwrap();
        assert!(flush.count > 0 && flush.p50_ns <= flush.p99_ns && flush.p99_ns <= flush.longest_ns);
        let error = flush::measure(Path::new("/proc/no/such")).unwrap_err();
        assert!(error.contains("/proc"), "{error}");
    }
}
