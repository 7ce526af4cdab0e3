//! How idle an idle core is: a thread spins on it and looks at the clock; whatever comes between two looks is
//! somebody else's. No tracer is needed, so it works on every kernel.
use crate::core::memory::Clock;
use crate::doctor::judge::{Jitter, delay_quantile};
use crate::load::probe::steal;
use crate::sys::{affinity, clock::MonotonicClock};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Two looks at the clock are some 30 ns apart; what is shorter than this is no gap.
const GAP_NS: u64 = 1_000;
/// Gaps that are kept, some 100 ns each: a second holds a few thousand. Later ones only count if they are the longest.
const GAPS_MAX: usize = 1 << 16;
/// Cores that are spun on; the first ones stand for all.
const CORES_MAX: usize = 64;
/// The kernel's ticks in `/proc/stat`, in nanoseconds: always a hundredth of a second for programs.
const TICK_NS: u64 = 10_000_000;

/// What was seen on one core by its own thread.
struct Seen {
    gaps: Vec<u64>,
    longest_ns: u64,
    spun_ns: u64,
    waited_ns: u64,
}

/// Spins on these cores, all at once. Those that no thread can be pinned to are left out.
pub fn measure(cores: &[usize], span: Duration) -> Vec<Jitter> {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (stat, interrupts) = (text("/proc/stat"), text("/proc/interrupts"));
    let threads: Vec<_> = cores
        .iter()
        .take(CORES_MAX)
        .map(|&core| (core, std::thread::spawn(move || spin(core, span))))
        .collect();
    let seen: Vec<_> =
        threads.into_iter().filter_map(|(core, thread)| Some((core, thread.join().ok()??))).collect();
    let (stolen, before) = (steal(&text("/proc/stat")), steal(&stat));
    let counts = (counts(&interrupts), counts(&text("/proc/interrupts")));
    let judge = |(core, mut seen): (usize, Seen)| {
        let ticks = |all: &BTreeMap<usize, (u64, u64)>| all.get(&core).map_or(0, |(stolen, _)| *stolen);
        Jitter {
            core,
            p999_ns: delay_quantile(&mut seen.gaps, seen.spun_ns, 0.999),
            longest_ns: seen.longest_ns,
            spun_ns: seen.spun_ns,
            ran_others_ns: seen.waited_ns,
            stolen_ns: ticks(&stolen).saturating_sub(ticks(&before)) * TICK_NS,
            interrupt: most(&counts.0, &counts.1, core),
        }
    };
    seen.into_iter().map(judge).collect()
}

fn spin(core: usize, span: Duration) -> Option<Seen> {
    affinity::pin(&[core]).ok()?;
    let mut gaps = Vec::with_capacity(GAPS_MAX);
    let waited = waited_ns();
    let begun = MonotonicClock.now_ns();
    let end = begun + span.as_nanos() as u64;
    let (mut last, mut longest_ns) = (begun, 0);
    while last < end {
        let now = MonotonicClock.now_ns();
        let gap = now - last;
        last = now;
        if gap >= GAP_NS {
            longest_ns = longest_ns.max(gap);
            if gaps.len() < GAPS_MAX {
                gaps.push(gap);
            }
        }
    }
    Some(Seen { gaps, longest_ns, spun_ns: last - begun, waited_ns: waited_ns().saturating_sub(waited) })
}

/// For how long the calling thread stood ready while another one had its core.
fn waited_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_ascii_whitespace().nth(1).and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

/// Counts of each interrupt on each core, from the text of `/proc/interrupts`.
fn counts(text: &str) -> BTreeMap<String, BTreeMap<usize, u64>> {
    let mut lines = text.lines();
    let cores: Vec<usize> = lines
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .filter_map(|name| name.strip_prefix("CPU")?.parse().ok())
        .collect();
    let line = |line: &str| {
        let (id, rest) = line.split_once(':')?;
        let words: Vec<&str> = rest.split_ascii_whitespace().collect();
        let counts =
            cores.iter().zip(&words).map_while(|(core, word)| Some((*core, word.parse().ok()?))).collect();
        // `24:  0  9  PCI-MSIX 0-edge  virtio1-req.0`, `LOC:  1  2  Local timer interrupts`
        let name = words.get(cores.len()..).unwrap_or_default();
        let name = match id.trim().parse::<u32>() {
            Ok(number) => format!("{} ({number})", name.last().unwrap_or(&"")),
            Err(_) => name.join(" "),
        };
        Some((name, counts))
    };
    lines.filter_map(line).collect()
}

/// The interrupt that came most to a core between two looks.
fn most(
    before: &BTreeMap<String, BTreeMap<usize, u64>>,
    after: &BTreeMap<String, BTreeMap<usize, u64>>,
    core: usize,
) -> Option<(String, u64)> {
    let count = |all: &BTreeMap<String, BTreeMap<usize, u64>>, name: &str| {
        all.get(name).and_then(|counts| counts.get(&core)).copied().unwrap_or(0)
    };
    let rise = |name: &String| (name.clone(), count(after, name).saturating_sub(count(before, name)));
    after.keys().map(rise).filter(|(_, rise)| *rise > 0).max_by_key(|(_, rise)| *rise)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_interrupt_is_named() {
        let before = "           CPU0       CPU2\n 24:          5          9   PCI-MSIX-0000 0-edge      eth0-rx-0\n\
                      LOC:        100        200   Local timer interrupts\nERR:          0\n";
        let after = "           CPU0       CPU2\n 24:          6         99   PCI-MSIX-0000 0-edge      eth0-rx-0\n\
                     LOC:        150        250   Local timer interrupts\nERR:          0\n";
        let (before, after) = (counts(before), counts(after));
        for (core, expected) in [
            (0, Some(("Local timer interrupts".to_string(), 50))),
            (2, Some(("eth0-rx-0 (24)".to_string(), 90))),
            (1, None),
        ] {
            assert_eq!(most(&before, &after, core), expected, "{core}");
        }
    }
}
