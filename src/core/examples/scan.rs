//! What scanning costs beside simd-json alone: `cargo run --release -p ringmill-core --example scan`.
//!
//! Mixed log, metric and span lines (423 B mean), 1 MiB of them, 25 interleaved rounds, medians. The yardstick
//! splits at line feeds, copies each line to a hot scratch and fills one tape; `written twice` is the
//! convenient call that copies once more for padding.
use ringmill_core::json::{Format, Scanner, SimdScanner, StrictScanner, Verdict};
use std::{fmt::Write, hint::black_box, time::Instant};

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) * n) >> 32
    }
}

const WORDS: [&str; 12] = [
    "checkout",
    "retry",
    "upstream",
    "timeout",
    "accepted",
    "payload",
    "cache miss",
    "Größe",
    "\\\"quoted\\\"",
    "line\\nbreak",
    "tab\\there",
    "connection",
];

fn text(random: &mut Random, words: u64) -> String {
    (0..words).map(|_| WORDS[random.below(12) as usize]).collect::<Vec<_>>().join(" ")
}

fn line(random: &mut Random, out: &mut String) {
    let ts = 1_763_000_000_000_000_000 + random.below(3_600_000_000) * 1000;
    let host = random.below(2000);
    match random.below(100) {
        0..50 => {
            let words = if random.below(20) == 0 { 150 } else { 8 };
            let message = text(random, words);
            let (status, took) = (200 + random.below(300), random.below(100_000));
            write!(out, r#"{{"type":"log","key":"service-{host:010x}-{host:05x}","ts":{ts},"level":"info","message":"{message}","attrs":{{"http":{{"method":"POST","status":{status},"path":"/v1/orders/{host}"}},"took_us":{took},"sampled":true,"tags":["eu-1","blue"]}}}}"#)
        }
        50..80 => {
            write!(out, r#"{{"type":"metric","key":"host-{host:04}","ts":{ts},"values":{{"#).unwrap();
            for i in 0..6 + random.below(6) {
                let n = random.below(1_000_000);
                let comma = if i > 0 { "," } else { "" };
                match random.below(4) {
                    0 => write!(out, r#"{comma}"counter_{i}":{n}"#),
                    1 => write!(out, r#"{comma}"gauge_{i}":{}.{:03}"#, n / 1000, n % 1000),
                    2 => write!(out, r#"{comma}"delta_{i}":-{n}"#),
                    _ => write!(out, r#"{comma}"ratio_{i}":{}.{:04}e-{}"#, n % 10, n / 100, n % 9),
                }
                .unwrap();
            }
            write!(out, "}},\"unit\":\"ms\"}}")
        }
        _ => {
            let (id, parent) = (random.below(u64::MAX), random.below(u64::MAX));
            let (sql, events) = (text(random, 12), text(random, 6));
            write!(out, r#"{{"type":"span","key":"{id:032x}","ts":{ts},"parent":"{parent:016x}","name":"SELECT orders","resource":{{"service":{{"name":"orders","version":"1.{host}.0"}},"host":{{"name":"host-{host}","arch":"amd64"}}}},"attributes":{{"db":{{"system":"postgresql","statement":"SELECT \"id\" FROM \"orders\" WHERE note = '{sql}'"}},"net":{{"peer":{{"ip":"10.0.{}.{}","port":5432}}}}}},"events":[{{"ts":{ts},"name":"acquired","waited_us":{host}}},{{"ts":{ts},"name":"{events}","rows":{}}}],"status":{{"code":0,"ok":true,"error":null}}}}"#, host % 250, host % 199, host * 7)
        }
    }
    .unwrap();
}

fn main() {
    let mut random = Random(0x5eed_0002);
    let (mut lines, mut array) = (String::new(), String::from("["));
    while lines.len() < 1 << 20 {
        let start = lines.len();
        line(&mut random, &mut lines);
        array.push_str(&lines[start..]);
        array.push(',');
        lines.push('\n');
    }
    array.pop();
    array.push(']');
    let (lines, array) = (lines.as_bytes(), array.as_bytes());
    let events = lines.iter().filter(|&&b| b == b'\n').count();
    println!("{events} events, mean {} B", lines.len() / events);

    let (mut simd, mut strict) = (SimdScanner::new(), StrictScanner::new());
    let mut scratch = vec![0u8; 1 << 20];
    let mut buffers = simd_json::Buffers::new(1 << 20);
    let mut tape = simd_json::Tape::null().reset();
    let mut alone = |padded: bool| {
        let (mut good, mut start) = (0, 0);
        for end in memchr::memchr_iter(b'\n', lines) {
            let line = &lines[start..end];
            start = end + 1;
            scratch[..line.len()].copy_from_slice(line);
            let mut filled = std::mem::replace(&mut tape, simd_json::Tape(Vec::new())).reset();
            let sound = if padded {
                simd_json::fill_tape_padded(&mut scratch, line.len(), &mut buffers, &mut filled)
            } else {
                simd_json::fill_tape(&mut scratch[..line.len()], &mut buffers, &mut filled)
            };
            good += usize::from(sound.is_ok());
            tape = filled.reset();
        }
        good
    };
    let names =
        ["yardstick", "written twice", "SimdScanner lines", "SimdScanner array", "StrictScanner", "… array"];
    let mut times: [Vec<f64>; 6] = Default::default();
    for _ in 0..25 {
        for (what, times) in times.iter_mut().enumerate() {
            let begun = Instant::now();
            let good = match what {
                0 => alone(true),
                1 => alone(false),
                2 => count(&mut simd, lines, Format::Lines),
                3 => count(&mut simd, array, Format::Json),
                4 => count(&mut strict, lines, Format::Lines),
                _ => count(&mut strict, array, Format::Json),
            };
            times.push(begun.elapsed().as_nanos() as f64 / events as f64);
            assert_eq!(black_box(good), events);
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let medians = times.each_mut().map(median);
    for (name, ns) in names.iter().zip(medians) {
        let rate = lines.len() as f64 / events as f64 / ns;
        println!("{name:18} {ns:6.0} ns/event {rate:5.2} GB/s {:5.2}×", ns / medians[0]);
    }
}

fn count(scanner: &mut impl Scanner, body: &[u8], format: Format) -> usize {
    let mut good = 0;
    scanner.scan(body, format, |verdict| good += usize::from(matches!(verdict, Verdict::Good { .. })));
    good
}
