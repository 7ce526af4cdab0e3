//! Sizes, times and counts as people write them.
use std::time::Duration;

const SIZES: [(&str, u64); 13] = [
    ("", 1),
    ("b", 1),
    ("k", 1 << 10),
    ("kib", 1 << 10),
    ("m", 1 << 20),
    ("mib", 1 << 20),
    ("g", 1 << 30),
    ("gib", 1 << 30),
    ("t", 1 << 40),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
];

const TIMES_NS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Bytes from `8388608`, `256k`, `64MiB`, `1G` (powers of 1024; `kB`, `MB`, `GB` are powers of 1000).
/// Underscores between digits are ignored, case does not matter.
///
/// # Errors
/// What a size looks like.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let unit = unit.to_ascii_lowercase();
    scaled(number, SIZES.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale)).ok_or_else(|| {
        "not a size; a size is a whole number of bytes, with or without k, M, G, KiB, MiB, GiB".into()
    })
}

/// A time from `250us`, `5s`, `1h`; a plain number counts in `unit` (`us`, `ms`, `s` …).
///
/// # Errors
/// What a time looks like.
pub fn parse_time(text: &str, unit: &str) -> Result<Duration, String> {
    let (number, given) = split(text);
    let given = if given.is_empty() { unit } else { given };
    scaled(number, TIMES_NS.iter().find(|(name, _)| *name == given).map(|(_, scale)| *scale))
        .map(Duration::from_nanos)
        .ok_or_else(|| {
            format!("not a time; a time is a whole number of {unit}, or one with us, ms, s, m, h, d")
        })
}

/// A count from `1024`, `50k`, `2M` (powers of 1000).
///
/// # Errors
/// What a count looks like.
pub fn parse_count(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let scale = match unit {
        "" => Some(1),
        "k" | "K" => Some(1_000),
        "M" => Some(1_000_000),
        _ => None,
    };
    scaled(number, scale).ok_or_else(|| "not a count; a count is a whole number, with or without k, M".into())
}

/// Bytes with the largest unit that divides them: `64 MiB`.
pub fn bytes(count: u64) -> String {
    for (name, scale) in [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1u64 << 20), ("KiB", 1 << 10)] {
        if count >= scale && count.is_multiple_of(scale) {
            return format!("{} {name}", count / scale);
        }
    }
    format!("{count} bytes")
}

/// A time with the largest unit that divides it: `5s`.
pub fn time(time: Duration) -> String {
    let ns = time.as_nanos();
    let found = TIMES_NS
        .iter()
        .rev()
        .find(|(_, scale)| ns >= u128::from(*scale) && ns.is_multiple_of(u128::from(*scale)));
    found.map_or("0".into(), |(name, scale)| format!("{}{name}", ns / u128::from(*scale)))
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '_')).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

fn scaled(number: &str, scale: Option<u64>) -> Option<u64> {
    number.replace('_', "").parse::<u64>().ok()?.checked_mul(scale?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", Some(0)),
            ("8388608", Some(8 << 20)),
            ("8_388_608", Some(8 << 20)),
            ("256k", Some(256 << 10)),
            ("64MiB", Some(64 << 20)),
            ("64 mib", Some(64 << 20)),
            (" 2G ", Some(2 << 30)),
            ("1T", Some(1 << 40)),
            ("5MB", Some(5_000_000)),
            ("12b", Some(12)),
            ("", None),
            ("k", None),
            ("-1", None),
            ("1.5G", None),
            ("64MiBs", None),
            ("99999999999999999999", None),
            ("18446744073709551615k", None),
        ] {
            assert_eq!(parse_bytes(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn times() {
        for (text, unit, expected) in [
            ("5", "s", Some(Duration::from_secs(5))),
            ("5", "ms", Some(Duration::from_millis(5))),
            ("5s", "ms", Some(Duration::from_secs(5))),
            ("250us", "s", Some(Duration::from_micros(250))),
            ("1 h", "s", Some(Duration::from_secs(3600))),
            ("7d", "s", Some(Duration::from_secs(7 * 86400))),
            ("5 sec", "s", None),
            ("-5", "s", None),
            ("", "s", None),
            ("999999999999d", "s", None),
        ] {
            assert_eq!(parse_time(text, unit).ok(), expected, "{text}");
        }
    }

    #[test]
    fn counts() {
        for (text, expected) in
            [("7", Some(7)), ("50k", Some(50_000)), ("2M", Some(2_000_000)), ("2MiB", None), ("many", None)]
        {
            assert_eq!(parse_count(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn written_back() {
        for (count, text) in
            [(0, "0 bytes"), (1000, "1000 bytes"), (1024, "1 KiB"), (64 << 20, "64 MiB"), (1 << 40, "1 TiB")]
        {
            assert_eq!(bytes(count), text);
        }
        for (span, text) in
            [(Duration::ZERO, "0"), (Duration::from_secs(90), "90s"), (Duration::from_secs(120), "2m")]
        {
            assert_eq!(time(span), text);
        }
    }
}
