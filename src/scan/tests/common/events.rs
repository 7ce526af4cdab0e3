//! Random events, how they are spoilt, and the oracle that tells one from the other. Knows neither scanner nor
//! verdict, so that the tests of other packages can take it in by path.
use serde_json::value::RawValue;
use std::vec::Vec;

/// xorshift64*.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (((self.next() >> 32) * n as u64) >> 32) as usize
    }

    pub fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

/// From `RINGMILL_SEED`, printed.
pub fn seed() -> u64 {
    let seed = std::env::var("RINGMILL_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0x5eed_0001);
    std::eprintln!("RINGMILL_SEED={seed}");
    seed
}

pub const PIECES: &[&[u8]] = &[
    b"1",
    b"-1",
    b"0",
    b"-0",
    b"12.5",
    b"1e5",
    b"-1E-7",
    b"18446744073709551615",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"1e309",
    b"0.1",
    b"10",
    b"1700000000000000000",
    b"0e0",
    b"-0.0E+00",
    b"1234567890123456789012345678901234567890.5e-12",
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
    b"\"\\\\\\\\\"",
    b"\"\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf\"",
];
pub const NOISE: &[&[u8]] = &[
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
    b"\x1a",
    b"\xe2\x80\xa8",
    b"'",
    b"\"\"",
    b"\x80",
    b"\xc0\xaf",
    b"9",
    b"1.",
    b"true",
    b"\xf4\x90\x80\x80",
    b"\xe0\x9f\xbf",
    b"\\ud83d\\ude00",
    b"\\\"",
    b";",
    b"=",
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

pub fn object(random: &mut Random, depth: usize, out: &mut Vec<u8>) {
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

pub fn mutate(random: &mut Random, line: &mut Vec<u8>) {
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

/// An event, three times of four spoilt.
pub fn line_of(random: &mut Random, out: &mut Vec<u8>) {
    out.clear();
    object(random, 3, out);
    if random.below(8) == 0 {
        // Across one or two blocks more.
        let pad = random.below(150);
        let at = out.len() - 1;
        out.splice(at..at, std::iter::repeat_n(b' ', pad));
    }
    for _ in 0..*random.pick::<usize>(&[&0, &1, &1, &2]) {
        mutate(random, out);
    }
}

/// Whether `event`, trimmed, is one by the standard library, serde_json and the two rules that they lack.
pub fn is_event(event: &[u8]) -> bool {
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
        if c == '\\' && chars.next() == Some('u') {
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

pub fn blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n')
}
