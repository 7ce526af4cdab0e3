//! Once warm, a scanner takes no memory, whatever it is fed. Alone in its binary: the counter is global.
mod counting;

use counting::{CALLS, LIVE};
use ringmill_core::json::{Format, Scanner, SimdScanner, StrictScanner};
use std::sync::atomic::Ordering::Relaxed;

#[test]
fn scanning_allocates_nothing_once_warm_and_never_beyond_its_bound() {
    let large = format!("{{\"a\":[{}1]}}", "1,".repeat(32_000));
    let huge = format!("{{\"a\":[{}1]}}", "1,".repeat(130_000));
    let deep = format!("{{\"a\":{}", "[".repeat(60_000));
    let small = "{\"type\":\"log\",\"ts\":1763000000000000000,\"text\":\"a \\\"quoted\\\" \\u00e9\",\"n\":[1.5,-2e9]}\n";
    let bodies = [
        (small.repeat(50), Format::Lines),
        (format!("{}{{\"a\":\n{}{{\"a\":1e400}}\n", small, small), Format::Sniff),
        (format!("[{}{{}}]", small.replace('\n', ",").repeat(50)), Format::Json),
        (format!("{large}\n{huge}\n{deep}\n"), Format::Lines),
        (huge.clone(), Format::Json),
    ];
    let before = LIVE.load(Relaxed);
    let mut simd = SimdScanner::new();
    let mut strict = StrictScanner::new();
    let mut warm = 0;
    for round in 0..3 {
        for (body, format) in &bodies {
            simd.scan(body.as_bytes(), *format, |_| {});
            strict.scan(body.as_bytes(), *format, |_| {});
        }
        let held = LIVE.load(Relaxed) - before;
        assert!(held <= SimdScanner::memory_max_bytes() as u64, "{held} bytes");
        let calls = CALLS.load(Relaxed);
        assert!(round == 0 || calls == warm, "{} allocations", calls - warm);
        warm = calls;
    }
}
