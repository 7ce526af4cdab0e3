//! Scanning asks the heap for nothing: every kernel, every format, sound events and broken ones.
#[path = "../../core/tests/counting/mod.rs"]
mod counting;
use ringmill_scan::{Format, Kernel, Scanner, Verdict, scan_exactly};
use std::sync::atomic::Ordering::Relaxed;

/// Events, every seventh broken, of which every second ends within a string; more than a few windows.
fn lines() -> Vec<u8> {
    let mut body = Vec::new();
    for i in 0..400 {
        let event = format!(
            "{{\"n\":{i},\"f\":-{i}.5e-3,\"text\":\"a \\\"b\\\" \\ud83d\\ude00 Größe {}\",\"ok\":[true,null,{{}}]}}",
            "x".repeat(i % 90)
        );
        let keep = if i % 7 == 0 { event.len() - 1 - i % 2 * 40 } else { event.len() };
        body.extend_from_slice(&event.as_bytes()[..keep]);
        body.push(b'\n');
    }
    body
}

#[test]
fn scanning_allocates_nothing() {
    let lines = lines();
    let good: Vec<&[u8]> = lines.split(|&b| b == b'\n').filter(|line| line.ends_with(b"]}")).collect();
    let array = [b"[", &good.join(&b","[..])[..], b"]"].concat();
    let bodies = [&lines[..], &array[..], good[0], good[1], b"{}", b"", b"{\"a\":", &lines[..9000]];
    let mut scanners: Vec<_> = Kernel::ALL.iter().map(|kernel| Box::new(Scanner::new(*kernel))).collect();
    let (mut accepted, mut refused) = (0u64, 0u64);
    let before = counting::CALLS.load(Relaxed);
    for body in bodies {
        for format in [Format::Json, Format::Lines, Format::Sniff] {
            let mut count = |verdict| match verdict {
                Verdict::Good { .. } => accepted += 1,
                Verdict::Bad { .. } => refused += 1,
            };
            for scanner in &mut scanners {
                scanner.scan(body, format, &mut count);
            }
            scan_exactly(body, format, |_| false, count);
        }
    }
    let asked = counting::CALLS.load(Relaxed) - before;
    assert_eq!(asked, 0);
    assert!(counting::LIVE.load(Relaxed) > 0, "the counting allocator is in use");
    assert!(accepted > 5000 && refused > 500, "{accepted} accepted, {refused} refused");
}
