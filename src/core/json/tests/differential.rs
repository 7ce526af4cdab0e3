//! Both scanners against serde_json and the standard library's UTF-8, over mutated lines and arrays.
use super::*;
use serde_json::value::RawValue;

/// Lines judged, at least. Each run takes another seed with `RINGMILL_SEED`.
const LINES: usize = 1_000_000;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (((self.next() >> 32) * n as u64) >> 32) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

fn seed() -> u64 {
    let seed = std::env::var("RINGMILL_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0x5eed_0001);
    std::eprintln!("RINGMILL_SEED={seed}");
    seed
}

const PIECES: &[&[u8]] = &[
    b"1",
    b"-1",
    b"0",
    b"-0",
    b"12.5",
    b"1e5",
    b"-1E-7",
    b"18446744073709551615",
    b"18446744073709551616",
    b"1e309",
    b"-9223372036854775809",
    b"1700000000000000000",
    b"0.1",
    b"true",
    b"false",
    b"null",
    b"\"\"",
    b"\"a\"",
    b"\"\\n\\\"\\\\\"",
    b"\"\\u00e9\"",
    b"\"\\ud83d\\ude00\"",
    b"\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
    b"\"a longer text, with {brackets] and: commas\"",
    b"{}",
    b"[]",
    b"\"\\/\\b\\f\\r\\t\"",
    b"\"\x7f\"",
];
const NOISE: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"\\u",
    b"\\ud800",
    b"\\udc00",
    b"\\uD8",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98",
    b"\xef\xbb\xbf",
    b"\0",
    b"\x1f",
    b"\t",
    b"\r",
    b" ",
    b"-",
    b"+",
    b".",
    b"e",
    b"0",
    b"00",
    b"E+",
    b"\\x",
    b"nul",
    b"//",
    b"\x0c",
    b"\xe2\x80\xa8",
    b"'",
    b"\"\"",
    b"\x80",
    b"\xc0\xaf",
];

fn value(random: &mut Random, depth: usize, out: &mut Vec<u8>) {
    match random.below(8) {
        0 if depth > 0 => object(random, depth - 1, out),
        1 if depth > 0 => {
            out.push(b'[');
            for i in 0..random.below(4) {
                if i > 0 {
                    out.push(b',');
                }
                value(random, depth - 1, out);
            }
            out.push(b']');
        }
        _ => out.extend_from_slice(random.pick(PIECES)),
    }
}

fn object(random: &mut Random, depth: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    for i in 0..random.below(if depth == 3 { 7 } else { 4 }) {
        if i > 0 {
            out.extend_from_slice(random.pick::<[u8]>(&[b",", b", "]));
        }
        out.extend_from_slice(random.pick::<[u8]>(&[
            b"\"k\"",
            b"\"key\"",
            b"\"\\u006b\"",
            b"\"k\" ",
            b"\"\"",
        ]));
        out.extend_from_slice(random.pick::<[u8]>(&[b":", b": ", b":"]));
        value(random, depth, out);
    }
    out.push(b'}');
}

fn mutate(random: &mut Random, line: &mut Vec<u8>) {
    let at = random.below(line.len() + 1);
    match random.below(6) {
        0 => line.truncate(at),
        1 if at < line.len() => line[at] ^= 1 << random.below(8),
        2 if at < line.len() => line[at] = random.next() as u8,
        3 if at < line.len() => {
            let end = line.len().min(at + 1 + random.below(4));
            line.drain(at..end);
        }
        4 => {
            let (from, len) = (random.below(line.len() + 1), random.below(12));
            let copy = line[from..line.len().min(from + len)].to_vec();
            line.splice(at..at, copy);
        }
        _ => {
            line.splice(at..at, random.pick(NOISE).iter().copied());
        }
    }
}

fn line_of(random: &mut Random, out: &mut Vec<u8>) {
    out.clear();
    object(random, 3, out);
    if random.below(8) == 0 {
        // Beyond one or two of simd-json's blocks.
        let pad = random.below(150);
        let at = out.len() - 1;
        out.splice(at..at, core::iter::repeat_n(b' ', pad));
    }
    for _ in 0..*random.pick::<usize>(&[&0, &1, &1, &2]) {
        mutate(random, out);
    }
}

/// Whether `event`, trimmed, is one by the standard library, serde_json and the two rules that they lack.
fn is_event(event: &[u8]) -> bool {
    let Ok(text) = core::str::from_utf8(event) else { return false };
    text.starts_with('{')
        && serde_json::from_str::<&RawValue>(text).is_ok()
        && surrogates_pair(text)
        && shallow(text)
}

/// In valid JSON each surrogate escape has its other half.
fn surrogates_pair(text: &str) -> bool {
    let mut units = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            units.push(u16::from(b'.'));
        } else if chars.next() == Some('u') {
            let hex = &chars.as_str()[..4];
            units.push(u16::from_str_radix(hex, 16).unwrap());
            chars = chars.as_str()[4..].chars();
        } else {
            units.push(u16::from(b'.'));
        }
    }
    char::decode_utf16(units).all(|c| c.is_ok())
}

/// Valid JSON is nested at most 64 deep.
fn shallow(text: &str) -> bool {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0usize, 0, false, false);
    for b in text.bytes() {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest <= 64
}

fn blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n')
}

/// The span of each non-blank line of `body` and whether it is an event.
fn lines_by_oracle(body: &[u8]) -> Vec<(Range<usize>, bool)> {
    let mut start = 0;
    let mut lines = Vec::new();
    for line in body.split(|&b| b == b'\n') {
        let lead = line.iter().take_while(|&&b| blank(b)).count();
        if lead < line.len() {
            let tail = line.iter().rev().take_while(|&&b| blank(b)).count();
            lines.push((start + lead..start + line.len() - tail, is_event(&line[lead..line.len() - tail])));
        }
        start += line.len() + 1;
    }
    lines
}

fn collect(scanner: &mut impl Scanner, body: &[u8], format: Format, into: &mut Vec<Verdict>) {
    into.clear();
    scanner.scan(body, format, |verdict| into.push(verdict));
}

#[test]
fn lines_agree_with_serde_json() {
    let mut random = Random(seed());
    let (mut simd, mut strict) = (SimdScanner::new(), StrictScanner::new());
    let (mut line, mut body, mut got, mut exact) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut total, mut good) = (0, 0);
    while total < LINES {
        body.clear();
        for _ in 0..64 {
            line_of(&mut random, &mut line);
            body.extend_from_slice(&line);
            body.extend_from_slice(random.pick::<[u8]>(&[b"\n", b"\r\n", b"\n\n"]));
        }
        let want = lines_by_oracle(&body);
        collect(&mut simd, &body, Format::Lines, &mut got);
        collect(&mut strict, &body, Format::Lines, &mut exact);
        assert_eq!(got, exact);
        assert_eq!(got.len(), want.len());
        for (verdict, (line, event)) in got.iter().zip(want) {
            let text = body[line.clone()].escape_ascii();
            match verdict {
                Verdict::Good { span, breaks } => {
                    assert!(event, "accepted {text}");
                    assert_eq!((span, *breaks), (&line, body[line.clone()].contains(&b'\r')));
                    good += 1;
                }
                Verdict::Bad { span, offset, reason } => {
                    assert!(!event, "refused {text}: {reason}");
                    assert_eq!(*span, line);
                    assert!((line.start..=line.end).contains(offset), "{text}: {offset}");
                }
            }
            total += 1;
        }
    }
    assert!((total / 4..total * 3 / 4).contains(&good), "{good} of {total} good: the mutation lost its bite");
}

#[test]
fn arrays_agree_with_serde_json() {
    let mut random = Random(seed());
    let (mut simd, mut strict) = (SimdScanner::new(), StrictScanner::new());
    let (mut line, mut body, mut got, mut exact) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut well_formed = 0;
    for _ in 0..60_000 {
        body.clear();
        body.push(b'[');
        for i in 0..random.below(5) {
            if i > 0 {
                body.push(b',');
            }
            line_of(&mut random, &mut line);
            if random.below(4) > 0 && !is_event(&line) {
                line = b"{ }".to_vec();
            }
            body.extend_from_slice(&line);
            body.extend_from_slice(random.pick::<[u8]>(&[b"", b" ", b"\n"]));
        }
        body.push(b']');
        if random.below(8) == 0 {
            mutate(&mut random, &mut body);
        }
        if body.iter().find(|&&b| !blank(b)) != Some(&b'[') {
            continue;
        }
        collect(&mut simd, &body, Format::Json, &mut got);
        collect(&mut strict, &body, Format::Json, &mut exact);
        assert_eq!(got, exact, "{}", body.escape_ascii());
        collect(&mut simd, &body, Format::Sniff, &mut exact);
        assert_eq!(got, exact, "{}", body.escape_ascii());
        let mut at = 0;
        for verdict in &got {
            let (Verdict::Good { span, .. } | Verdict::Bad { span, .. }) = verdict;
            assert!(at <= span.start && span.end <= body.len(), "{}", body.escape_ascii());
            at = span.end;
            if let Verdict::Good { span, breaks } = verdict {
                let event = &body[span.clone()];
                assert!(is_event(event), "accepted {}", event.escape_ascii());
                assert_eq!(*breaks, event.iter().any(|b| b"\r\n".contains(b)));
            }
        }
        let text = core::str::from_utf8(&body);
        let elements = text.ok().and_then(|text| serde_json::from_str::<Vec<&RawValue>>(text).ok());
        if let Some(elements) = elements {
            well_formed += 1;
            assert_eq!(got.len(), elements.len(), "{}", body.escape_ascii());
            for (verdict, element) in got.iter().zip(elements) {
                let start = element.get().as_ptr().addr() - body.as_ptr().addr();
                let element = start..start + element.get().len();
                match verdict {
                    Verdict::Good { span, .. } => assert_eq!(*span, element),
                    Verdict::Bad { span, .. } => {
                        assert_eq!(*span, element);
                        assert!(!is_event(&body[element]));
                    }
                }
            }
        }
    }
    assert!(well_formed > 10_000, "{well_formed}");
}

#[test]
fn unnamed_bodies_are_lines_or_one_object() {
    let mut random = Random(seed());
    let (mut simd, mut strict) = (SimdScanner::new(), StrictScanner::new());
    let (mut body, mut got, mut exact) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..60_000 {
        line_of(&mut random, &mut body);
        for _ in 0..random.below(4) {
            let at = random.below(body.len() + 1);
            body.splice(at..at, random.pick::<[u8]>(&[b"\n", b"\r\n", b"}\n{"]).iter().copied());
        }
        if body.iter().find(|&&b| !blank(b)) == Some(&b'[') {
            continue;
        }
        collect(&mut simd, &body, Format::Sniff, &mut got);
        collect(&mut strict, &body, Format::Sniff, &mut exact);
        assert_eq!(got, exact, "{}", body.escape_ascii());
        let lines = lines_by_oracle(&body);
        let (lead, tail) = (body.iter().position(|b| !blank(*b)), body.iter().rposition(|b| !blank(*b)));
        let trimmed = lead.zip(tail).map_or(&[][..], |(lead, tail)| &body[lead..=tail]);
        if lines.iter().all(|(_, event)| *event) || !is_event(trimmed) {
            let lone_flaw = got.len() == 1 && lines.len() > 1 && matches!(got[0], Verdict::Bad { .. });
            assert!(lone_flaw || got.len() == lines.len(), "{}", body.escape_ascii());
        } else {
            assert!(matches!(&got[..], [Verdict::Good { .. }]), "{}", body.escape_ascii());
        }
    }
}
