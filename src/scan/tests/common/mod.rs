//! What the tests of this package share.
#![allow(dead_code, unused_imports)]
pub mod events;
pub mod inputs;

pub use events::*;

use ringmill_scan::{Format, Kernel, Progress, Scanner, Verdict, scan_exactly};

/// Every kernel of this machine but the scalar one, best first.
pub fn kernels() -> Vec<Kernel> {
    let all = Kernel::ALL.iter().copied();
    let found: Vec<_> = all.filter(|k| *k != Kernel::Scalar && k.is_available()).collect();
    eprintln!("kernels: {found:?}");
    found
}

pub fn scanners() -> Vec<Box<Scanner>> {
    kernels().into_iter().map(|kernel| Box::new(Scanner::new(kernel))).collect()
}

pub fn scanners_of_all_kernels() -> Vec<Box<Scanner>> {
    let mut all = scanners();
    all.push(Box::new(Scanner::new(Kernel::Scalar)));
    all
}

/// The verdicts on `body` when it is `cuts` bytes long, one after the other, and then whole. What a piece brings
/// is copied to a place of its own, so that nothing behind it is ever there; between pieces the scanner looks at
/// other bodies.
pub fn in_pieces(scanner: &mut Scanner, body: &[u8], format: Format, cuts: &[usize]) -> Vec<Verdict> {
    let (mut progress, mut verdicts) = (Progress::new(format), Vec::new());
    for &cut in cuts {
        let so_far = body[..cut].to_vec();
        scanner.advance(&mut progress, &so_far, |verdict| verdicts.push(verdict));
        scanner.scan(b"[{\"another\":\"body\",\"n\":12345678901234567890}, 12", Format::Json, |_| {});
    }
    // Who found no room for them asks again.
    for last in [false, true] {
        let (mut rest, told) = (progress, verdicts.len());
        scanner.finish(&mut rest, body, |verdict| verdicts.push(verdict));
        if !last {
            verdicts.truncate(told);
        }
    }
    verdicts
}

pub fn exact(body: &[u8], format: Format) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    scan_exactly(body, format, |_| false, |verdict| verdicts.push(verdict));
    verdicts
}

/// All verdicts on `body`, on which every kernel must agree with the exact judge to the last offset.
#[track_caller]
pub fn agreed(scanners: &mut [Box<Scanner>], body: &[u8], format: Format) -> Vec<Verdict> {
    let want = exact(body, format);
    for scanner in scanners {
        let mut got = Vec::new();
        scanner.scan(body, format, |verdict| got.push(verdict));
        if got != want {
            let differ = got.iter().zip(&want).find(|(got, want)| got != want);
            let near = differ.map_or(0, |(got, _)| {
                let (Verdict::Good { span, .. } | Verdict::Bad { span, .. }) = got;
                span.start
            });
            let part = &body[near.saturating_sub(20)..body.len().min(near + 300)];
            panic!(
                "{:?} {format:?}, {} bytes: {differ:?}, {} and {} verdicts\n{}",
                scanner.kernel(),
                body.len(),
                got.len(),
                want.len(),
                part.escape_ascii()
            );
        }
    }
    want
}
