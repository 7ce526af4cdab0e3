//! What judging costs beside serde_json and simd-json: `cargo run --release -p ringmill-scan --example compare`.
//!
//! Five bodies of 1 MiB and four of events of one size, 25 interleaved rounds, medians. serde_json skips values
//! (`IgnoredAny`) behind a check of UTF-8; simd-json fills one tape from a copy of each line. `alone` hands over one
//! line at a time. The figures are written as JSON to the file that the argument `--json FILE` names. With
//! arguments `KERNEL CORPUS N` it only scans that body N times, for a profiler or callgrind.
use ringmill_scan::{Format, Kernel, Scanner, Verdict};
use std::{hint::black_box, time::Instant};

mod corpora;

/// What is measured: a name, and what returns the number of good events.
type Contender<'a> = (String, Box<dyn FnMut(&[u8]) -> usize + 'a>);

fn good(scanner: &mut Scanner, body: &[u8]) -> usize {
    let mut good = 0;
    scanner.scan(body, Format::Lines, |verdict| good += usize::from(matches!(verdict, Verdict::Good { .. })));
    good
}

fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', body).map(move |end| {
        let line = &body[start..end];
        start = end + 1;
        line
    })
}

fn contenders<'a>() -> Vec<Contender<'a>> {
    let mut all: Vec<Contender> = Vec::new();
    for kernel in Kernel::ALL.iter().copied().filter(|kernel| kernel.is_available()) {
        let mut whole = Box::new(Scanner::new(kernel));
        all.push((kernel.name().into(), Box::new(move |body| good(&mut whole, body))));
        let mut alone = Box::new(Scanner::new(kernel));
        let one_by_one = move |body: &[u8]| lines(body).map(|line| good(&mut alone, line)).sum();
        all.push((format!("{} alone", kernel.name()), Box::new(one_by_one)));
    }
    let skipped = |line: &[u8]| {
        std::str::from_utf8(line)
            .is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
    };
    all.push(("serde_json".into(), Box::new(move |body| lines(body).filter(|line| skipped(line)).count())));
    let mut buffers = simd_json::Buffers::new(1 << 16);
    let (mut scratch, mut tape) = (vec![0u8; 1 << 16], simd_json::Tape(Vec::new()));
    let by_tape = move |body: &[u8]| {
        let mut sound = 0;
        for line in lines(body) {
            scratch[..line.len()].copy_from_slice(line);
            let mut filled = std::mem::replace(&mut tape, simd_json::Tape(Vec::new())).reset();
            let result = simd_json::fill_tape_padded(&mut scratch, line.len(), &mut buffers, &mut filled);
            sound += usize::from(result.is_ok());
            tape = filled.reset();
        }
        sound
    };
    all.push(("simd-json".into(), Box::new(by_tape)));
    all
}

/// Median nanoseconds an event and the range of all rounds, by contender.
fn measure(body: &[u8], events: usize) -> Vec<(String, [f64; 3])> {
    let mut contenders = contenders();
    let mut times = vec![Vec::new(); contenders.len()];
    for _ in 0..25 {
        for ((_, run), times) in contenders.iter_mut().zip(&mut times) {
            let begun = Instant::now();
            assert_eq!(black_box(run(body)), events);
            times.push(begun.elapsed().as_nanos() as f64 / events as f64);
        }
    }
    let figures = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        [times[times.len() / 2], times[0], times[times.len() - 1]]
    };
    contenders.into_iter().zip(times).map(|((name, _), times)| (name, figures(times))).collect()
}

/// What the figures depend on.
fn environment() -> serde_json::Value {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let of = |key: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown").to_string()
    };
    serde_json::json!({
        "cpu": of("model name"), "family": of("cpu family"), "model": of("model\t"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "load": std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
        "kernel": Kernel::best().name(),
    })
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [kernel, corpus, times] = &args[..] {
        let kernel = Kernel::ALL.iter().find(|k| k.name() == kernel).expect("a kernel's name");
        let (_, body) = corpora::all().into_iter().find(|(name, _)| name == corpus).expect("a corpus");
        let mut scanner = Box::new(Scanner::new(*kernel));
        let times = times.parse().expect("a number");
        let total: usize = (0..times).map(|_| good(&mut scanner, body.as_bytes())).sum();
        println!("{total} events, {} second looks", scanner.second_looks());
        return;
    }
    let environment = environment();
    let mut rows = Vec::new();
    for (name, body) in corpora::all() {
        let body = body.as_bytes();
        let events = memchr::memchr_iter(b'\n', body).count();
        println!("{name}: {events} events, mean {} B", body.len() / events);
        for (contender, [ns, least, most]) in measure(body, events) {
            let rate = body.len() as f64 / events as f64 / ns;
            println!("  {contender:14} {ns:6.0} ns/event ({least:.0} to {most:.0}) {rate:5.2} GB/s");
            rows.push(serde_json::json!({
                "corpus": name, "bytes": body.len() / events, "contender": contender,
                "ns": ns, "least": least, "most": most, "gb_s": rate,
            }));
        }
    }
    if let [json, path] = &args[..]
        && json == "--json"
    {
        let result = serde_json::json!({ "suite": "scan", "environment": environment, "results": rows });
        std::fs::write(path, format!("{result:#}\n")).expect("the file can be written");
    }
}
