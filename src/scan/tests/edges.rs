//! Where blocks, windows and memory end: every length at every alignment, everything that can straddle a block's
//! edge, pages that must not be touched.
mod common;
use common::*;
use ringmill_scan::{Format, Kernel, MAX_EVENT_BYTES, Scanner, Verdict};

/// Bytes whose end, or start, lies at a page that cannot be read.
struct Guarded {
    pages: *mut u8,
    len: usize,
}

const PAGE: usize = 4096;

impl Guarded {
    fn new(pages: usize) -> Guarded {
        let len = (pages + 2) * PAGE;
        // SAFETY: fresh memory of our own; the first and the last page lose their rights.
        let pages = unsafe {
            let (rights, kind) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let pages = libc::mmap(std::ptr::null_mut(), len, rights, kind, -1, 0);
            assert_ne!(pages, libc::MAP_FAILED);
            assert_eq!(libc::mprotect(pages, PAGE, libc::PROT_NONE), 0);
            assert_eq!(libc::mprotect(pages.add(len - PAGE), PAGE, libc::PROT_NONE), 0);
            pages.cast::<u8>()
        };
        Guarded { pages, len }
    }

    /// A copy of `bytes` that ends where the readable memory does.
    fn at_end(&mut self, bytes: &[u8]) -> &[u8] {
        self.copy(self.len - PAGE - bytes.len(), bytes)
    }

    /// A copy of `bytes` that begins where the readable memory does.
    fn at_start(&mut self, bytes: &[u8]) -> &[u8] {
        self.copy(PAGE, bytes)
    }

    fn copy(&mut self, at: usize, bytes: &[u8]) -> &[u8] {
        assert!(bytes.len() <= self.len - 2 * PAGE);
        // SAFETY: within the readable pages, as asserted.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.pages.add(at), bytes.len());
            std::slice::from_raw_parts(self.pages.add(at), bytes.len())
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: ours, and nothing borrows from it any more.
        unsafe { libc::munmap(self.pages.cast(), self.len) };
    }
}

#[test]
fn nothing_outside_the_body_is_read() {
    let (mut random, mut scanners, mut memory) = (Random(seed()), scanners(), Guarded::new(8));
    let (mut line, mut body) = (Vec::new(), Vec::new());
    for round in 0..3000 {
        body.clear();
        let want = match round % 4 {
            0 => random.below(300),
            1 => random.below(1400),
            2 => random.below(9000),
            _ => random.below(30_000),
        };
        while body.len() < want {
            line_of(&mut random, &mut line);
            body.extend_from_slice(&line);
            body.push(b'\n');
        }
        body.truncate(want);
        for format in [Format::Lines, Format::Json, Format::Sniff] {
            let at_end = agreed(&mut scanners, memory.at_end(&body), format);
            assert_eq!(agreed(&mut scanners, memory.at_start(&body), format), at_end);
        }
    }
}

#[test]
fn every_length_at_every_alignment() {
    let mut scanners = scanners();
    let mut store = vec![0u8; 1024];
    for len in 2..=200usize {
        // A number, a string and a word fill it, each across another place.
        for fill in 0..3 {
            let mut event = b"{".to_vec();
            if len >= 12 {
                let room = len - 10;
                event.extend_from_slice(b"\"a\":");
                match fill {
                    0 => event.extend((0..room + 4).map(|i| b'1' + (i % 9) as u8)),
                    1 => event.extend([b"\"", &vec![b'x'; room + 2][..], b"\""].concat()),
                    _ => event.extend([&vec![b' '; room][..], b"true"].concat()),
                }
            }
            event.resize(len - 1, b' ');
            event.push(b'}');
            for at in 0..64 {
                store[at..at + len].copy_from_slice(&event);
                let body = &store[at..at + len];
                for format in [Format::Lines, Format::Json] {
                    let verdicts = agreed(&mut scanners, body, format);
                    assert_eq!(verdicts, [Verdict::Good { span: 0..len, breaks: false }]);
                }
            }
        }
    }
}

/// Things of which something could go wrong when a block ends in the middle of them.
const STRADDLERS: &[&str] = &[
    "\"\\\\\\\"\\\\\"",
    "\"\\\\\\\\\\\\\\\\\"",
    "\"\\ud83d\\ude00\"",
    "\"\\ud83d\\ude0\"",
    "\"\\ud83dx\\ude00\"",
    "\"\\\\ud83d\\ude00\"",
    "\"\\u00e9\\u0000\"",
    "\"\\x\"",
    "\"\u{e9}\u{20ac}\u{1f600}\"",
    "-12.5e-10",
    "0.0E+0",
    "-0",
    "00",
    "01",
    "1.",
    "1.e5",
    "1e",
    "1e+",
    "-",
    "+1",
    "1.2.3",
    "1e5e5",
    "1-2",
    "12a",
    "true",
    "false",
    "null",
    "truex",
    "tru",
    "nulll",
    "falsey",
    "\"a\"\"b\"",
    "[[],{}]",
    "[1,]",
    "{\"a\":1,}",
    "{\"a\" 1}",
    "[1 2]",
    "{}{}",
    "]",
    "}",
    "\"\t\"",
    "\"\n\"",
    "\"\\\n\"",
    "\u{c}",
    "\u{1a}",
    "1234567890123456789012345678901234567890123456789012345678901234567890.5e1",
    "\"a\\\\\":1",
    ",",
    ":",
];

#[test]
fn whatever_straddles_an_edge() {
    let mut scanners = scanners();
    let window = 64 * 128;
    for thing in STRADDLERS {
        for (from, to) in [(0, 80), (window - 100, window - 60), (window - 20, window + 20)] {
            for before in from..to {
                let mut body = vec![b' '; before];
                // What comes before is on the same line, or on lines of its own.
                if before > 4000 {
                    body[..before - 80].copy_from_slice(&b"{\"k\":1}\n".repeat(2000)[..before - 80]);
                }
                body.extend_from_slice(b"{\"k\":");
                body.extend_from_slice(thing.as_bytes());
                body.extend_from_slice(b",\"z\":[1.5]}\n{\"n\":2}\n");
                if before > 4000 {
                    body.extend_from_slice(&b"{\"k\":-1.5}\n".repeat(200));
                }
                agreed(&mut scanners, &body, Format::Lines);
                let mut array = b"[".to_vec();
                array.extend(body.iter().map(|&b| if b == b'\n' { b',' } else { b }));
                array.extend_from_slice(b"{}]");
                agreed(&mut scanners, &array, Format::Json);
            }
        }
    }
}

#[test]
fn bytes_that_are_no_utf8_are_found_at_every_place() {
    let mut scanners = scanners();
    let texts: [&[u8]; 14] = [
        b"\xc3\xa9",
        b"\xe2\x82\xac",
        b"\xf0\x9f\x98\x80",
        b"\xc3",
        b"\xe2\x82",
        b"\xf0\x9f\x98",
        b"\x80",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe0\x9f\xbf",
        b"\xff",
        b"\xf0\x8f\xbf\xbf",
        b"\xed\x9f\xbf",
    ];
    for text in texts {
        for before in 0..140 {
            let body = [b"{\"a\":\"", &vec![b'x'; before][..], text, b"\"}\n{\"b\":\"\xc3\xa9\"}"].concat();
            let verdicts = agreed(&mut scanners, &body, Format::Lines);
            assert!(matches!(verdicts[1], Verdict::Good { .. }));
            assert_eq!(matches!(verdicts[0], Verdict::Good { .. }), std::str::from_utf8(text).is_ok());
        }
    }
}

#[test]
fn depth_and_size_have_the_same_limits() {
    let mut scanners = scanners();
    for depth in 60..=70 {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let inner = format!("{}1{}", open.repeat(depth - 1), close.repeat(depth - 1));
            let body = format!("{{\"a\":{inner}}}\n{{}}\n");
            let good = agreed(&mut scanners, body.as_bytes(), Format::Lines);
            assert_eq!(matches!(good[0], Verdict::Good { .. }), depth <= 64, "{depth}");
            assert!(matches!(good[1], Verdict::Good { .. }));
            agreed(&mut scanners, format!("[{{\"a\":{inner}}},{{}}]").as_bytes(), Format::Json);
        }
    }
    for len in [MAX_EVENT_BYTES - 1, MAX_EVENT_BYTES, MAX_EVENT_BYTES + 1] {
        for filler in ["x", "\u{e9}", "\\n"] {
            let text = filler.repeat((len - 8) / filler.len());
            let pad = " ".repeat(len - 8 - text.len());
            let event = format!("{{\"a\":\"{text}\"{pad}}}");
            assert_eq!(event.len(), len);
            let lines = agreed(&mut scanners, format!("{{}}\n{event}\r\n{{}}").as_bytes(), Format::Lines);
            assert_eq!(matches!(lines[1], Verdict::Good { .. }), len <= MAX_EVENT_BYTES);
            agreed(&mut scanners, format!("[{{}},{event},{{}}]").as_bytes(), Format::Json);
        }
    }
}

/// As deep as can be, and one deeper, behind so many brackets and members that the deep part begins at every place
/// of a step of four brackets and of a word of 64 tokens; good neighbours on either side.
#[test]
fn the_deepest_events_are_judged_wherever_they_begin() {
    let mut scanners = scanners();
    for depth in 57..=66 {
        for lead in 0..40 {
            let shallow = ["[],", "1,", "[{}],", "{\"b\":[]},"][lead % 4].repeat(lead / 4 + 1);
            for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
                let deep = format!("{}1{}", open.repeat(depth - 2), close.repeat(depth - 2));
                let event = format!("{{\"k\":[{shallow}{deep}]}}");
                let body = format!("{{}}\n{event}\n{{\"z\":[{{}}]}}\n");
                let verdicts = agreed(&mut scanners, body.as_bytes(), Format::Lines);
                let good: Vec<bool> = verdicts.iter().map(|v| matches!(v, Verdict::Good { .. })).collect();
                assert_eq!(good, [true, depth <= 64, true], "{depth} behind {shallow}");
                let alone = agreed(&mut scanners, event.as_bytes(), Format::Json);
                assert_eq!(matches!(alone[..], [Verdict::Good { .. }]), depth <= 64, "{depth}");
            }
        }
    }
}

/// An early line break in an event of several windows is not forgotten.
#[test]
fn line_breaks_are_seen_across_windows() {
    let mut scanners = scanners();
    for pad in [10, 8000, 20_000, 40_000] {
        let event = format!("{{\"a\":\r1,\"b\":\"{}\"}}", "x".repeat(pad));
        let verdicts = agreed(&mut scanners, format!("{{}}\n{event}\n{{}}").as_bytes(), Format::Lines);
        assert!(matches!(verdicts[1], Verdict::Good { breaks: true, .. }));
        let array = format!("[{{}},{event},{{}}]");
        let verdicts = agreed(&mut scanners, array.replace('\r', "\n").as_bytes(), Format::Json);
        assert!(matches!(verdicts[1], Verdict::Good { breaks: true, .. }));
    }
}

/// A bad event among good ones, in each position: its neighbours are untouched.
#[test]
fn neighbours_of_a_bad_event_are_untouched() {
    let mut scanners = scanners();
    let good = b"{\"type\":\"log\",\"n\":[1,-2.5e3,true],\"s\":\"a\\n\xc3\xa9\"}";
    for thing in STRADDLERS {
        let bad = format!("{{\"k\":{thing}");
        for place in 0..12 {
            let mut body = Vec::new();
            for i in 0..12 {
                body.extend_from_slice(if i == place { bad.as_bytes() } else { good });
                body.push(b'\n');
            }
            let verdicts = agreed(&mut scanners, &body, Format::Lines);
            let sound = verdicts.iter().filter(|v| matches!(v, Verdict::Good { .. })).count();
            assert!(sound >= 11, "{thing}: {sound}");
        }
    }
}

/// On sound events the exact judge is never asked: else the kernels would be of no use.
#[test]
fn sound_events_need_no_second_look() {
    let mut random = Random(seed());
    let mut body = Vec::new();
    for _ in 0..20_000 {
        object(&mut random, 3, &mut body);
        body.push(b'\n');
    }
    let array = [b"[", &body[..body.len() - 1], b"]"].concat();
    let array: Vec<u8> = array.iter().map(|&b| if b == b'\n' { b',' } else { b }).collect();
    for mut scanner in scanners() {
        let mut good = 0;
        scanner.scan(&body, Format::Lines, |v| good += usize::from(matches!(v, Verdict::Good { .. })));
        scanner.scan(&array, Format::Json, |v| good += usize::from(matches!(v, Verdict::Good { .. })));
        assert_eq!((good, scanner.second_looks()), (40_000, 0), "{:?}", scanner.kernel());
    }
}

/// A body that is all trouble costs a bounded multiple of a sound one: no resynchronising looks back.
#[test]
fn the_worst_bodies_end_soon() {
    let mut scanners = scanners();
    let worst: [(&str, usize); 8] =
        [("1,", 0), ("\"\n", 0), ("{\"\n", 0), ("[", 0), ("\n", 0), ("1.1", 0), ("{},", 1), ("\\", 0)];
    for (piece, array) in worst {
        let body = format!("{}{}", if array == 1 { "[" } else { "" }, piece.repeat((1 << 20) / piece.len()));
        for format in [Format::Lines, Format::Json, Format::Sniff] {
            for scanner in &mut scanners {
                let mut verdicts = 0u64;
                scanner.scan(body.as_bytes(), format, |_| verdicts += 1);
                assert!(verdicts <= 1 << 20);
            }
        }
        let list = format!("[{}1]", piece.repeat(100_000));
        for scanner in &mut scanners {
            let mut verdicts = 0u64;
            scanner.scan(list.as_bytes(), Format::Json, |_| verdicts += 1);
            assert!(verdicts <= 300_002);
        }
    }
}

#[test]
fn kernels_are_named_and_the_best_one_is_there() {
    for kernel in Kernel::ALL {
        assert_eq!(Scanner::new(*kernel).kernel() == *kernel, kernel.is_available(), "{}", kernel.name());
    }
    assert!(Kernel::best().is_available() && Kernel::Scalar.is_available());
}
