//! An event's own time, from the JSON value that has it.

/// Unix time in milliseconds of a JSON value: a number of seconds, milliseconds, microseconds or nanoseconds since
/// 1970, told apart by size (seconds up to 1e11, which is the year 5138, and so on by thousands; a fraction is
/// dropped, save that of seconds, which counts to the millisecond), or a string with a time by RFC 3339. `None`:
/// it is neither, or before 1970.
pub fn unix_ms(value: &[u8]) -> Option<i64> {
    match value {
        [b'"', text @ .., b'"'] => rfc3339(text),
        _ => number(value),
    }
}

fn number(text: &[u8]) -> Option<i64> {
    let whole = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let n = digits(&text[..whole])?;
    let fraction = match &text[whole..] {
        [] => &[][..],
        [b'.', fraction @ ..] if fraction.iter().all(u8::is_ascii_digit) => fraction,
        _ => return None,
    };
    let ms = if n < 100_000_000_000 {
        n * 1000 + millis(fraction)
    } else if n < 100_000_000_000_000 {
        n
    } else if n < 100_000_000_000_000_000 {
        n / 1000
    } else {
        n / 1_000_000
    };
    i64::try_from(ms).ok()
}

/// The first three digits of a fraction.
fn millis(fraction: &[u8]) -> u64 {
    let digit = |at: usize| fraction.get(at).map_or(0, |byte| u64::from(byte - b'0'));
    digit(0) * 100 + digit(1) * 10 + digit(2)
}

fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0')))
}

/// `2026-11-21T20:03:52.125+01:00`, the letters in either case, a space for `T` as RFC 3339 allows.
fn rfc3339(text: &[u8]) -> Option<i64> {
    let field = |from: usize, to: usize, most: u64| digits(text.get(from..to)?).filter(|n| *n <= most);
    let marks = [(4, b"-" as &[u8]), (7, b"-"), (10, b"Tt "), (13, b":"), (16, b":")];
    if !marks.iter().all(|(at, marks)| text.get(*at).is_some_and(|byte| marks.contains(byte))) {
        return None;
    }
    let (year, month, day) = (field(0, 4, 9999)?, field(5, 7, 12)?, field(8, 10, 31)?);
    // A leap second counts as the first of the next minute.
    let (hour, minute, second) = (field(11, 13, 23)?, field(14, 16, 59)?, field(17, 19, 60)?);
    let mut rest = &text[19..];
    let mut fraction: &[u8] = &[];
    if let [b'.', behind @ ..] = rest {
        let len = behind.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (fraction, rest) = behind.split_at_checked(len).filter(|_| len > 0)?;
    }
    let offset_min = match rest {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let minutes = digits(&[*h1, *h2])? * 60 + digits(&[*m1, *m2])?;
            if *sign == b'+' { minutes as i64 } else { -(minutes as i64) }
        }
        _ => return None,
    };
    let of_day = (hour * 60 + minute) * 60_000 + second * 1000 + millis(fraction);
    let ms = unix_day(year, month, day)? * 86_400_000 + of_day as i64 - offset_min * 60_000;
    (ms >= 0).then_some(ms)
}

/// Days since 1970-01-01; `None` if there is no such day.
fn unix_day(year: u64, month: u64, day: u64) -> Option<i64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days).contains(&day) {
        return None;
    }
    // Counted from March, so that the leap day ends a year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some(days as i64 - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::date::Date;
    use std::format;

    #[test]
    fn times_by_size_and_by_rfc_3339() {
        for (value, ms) in [
            ("0", Some(0)),
            ("1763000000", Some(1_763_000_000_000)),
            ("1763000000.1239", Some(1_763_000_000_123)),
            ("1763000000.5", Some(1_763_000_000_500)),
            ("1763000000123", Some(1_763_000_000_123)),
            ("1763000000123456", Some(1_763_000_000_123)),
            ("1763000000123456789", Some(1_763_000_000_123)),
            ("99999999999999999999", None),
            ("-5", None),
            ("1e9", None),
            ("true", None),
            ("{}", None),
            ("\"\"", None),
            ("\"1763000000\"", None),
            ("\"1970-01-01T00:00:00Z\"", Some(0)),
            ("\"2026-11-21T20:03:52Z\"", Some(1_795_291_432_000)),
            ("\"2026-11-21t20:03:52.125z\"", Some(1_795_291_432_125)),
            ("\"2026-11-21 21:03:52.1+01:00\"", Some(1_795_291_432_100)),
            ("\"2026-11-21T18:33:52-01:30\"", Some(1_795_291_432_000)),
            ("\"2026-11-21T20:03:52\"", None),
            ("\"2026-11-21T20:03:52.Z\"", None),
            ("\"2026-02-29T00:00:00Z\"", None),
            ("\"2024-02-29T00:00:00Z\"", Some(1_709_164_800_000)),
            ("\"2026-13-01T00:00:00Z\"", None),
            ("\"2026-11-21T24:00:00Z\"", None),
            ("\"1969-12-31T23:59:59Z\"", None),
            ("\"2026-11-21T20:03:52+0100\"", None),
            ("\"0000-01-01T00:00:00Z\"", None),
        ] {
            assert_eq!(unix_ms(value.as_bytes()), ms, "{value}");
        }
    }

    #[test]
    fn every_day_is_the_calendars() {
        for day in (0..200_000).step_by(7) {
            let Date { year, month, day: of_month } = Date::of_unix_day(day);
            assert_eq!(unix_day(year, month, of_month), Some(day as i64));
            let text = format!("\"{year:04}-{month:02}-{of_month:02}T00:00:00Z\"");
            assert_eq!(unix_ms(text.as_bytes()), Some(day as i64 * 86_400_000));
        }
    }
}
