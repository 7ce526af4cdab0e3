//! What is read of an answer beside its end: fields that say when to come again, verdicts of a `_bulk`, and how it
//! begins, for the log.
use super::bulk::Bulk;
use crate::load::reply::Tap;
use alloc::vec::Vec;

/// Bytes of a body that the log shows.
pub const EXCERPT_BYTES: usize = 240;

/// When to come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// So many seconds from now.
    Seconds(u64),
    /// At this Unix time.
    At(u64),
}

impl RetryAfter {
    /// Reads the value of `Retry-After`: seconds, or a date as HTTP writes it today.
    pub fn parse(value: &[u8]) -> Option<RetryAfter> {
        let text = core::str::from_utf8(value).ok()?.trim();
        match text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
            // A number beyond all bounds is a long time.
            true => Some(RetryAfter::Seconds(text.parse().unwrap_or(u64::MAX))),
            false => unix_of_date(text).map(RetryAfter::At),
        }
    }

    /// Nanoseconds from now.
    pub fn wait_ns(self, wall_ms: u64) -> u64 {
        match self {
            RetryAfter::Seconds(seconds) => seconds.saturating_mul(1_000_000_000),
            RetryAfter::At(unix) => {
                unix.saturating_mul(1000).saturating_sub(wall_ms).saturating_mul(1_000_000)
            }
        }
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` as Unix seconds.
fn unix_of_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let rest = text.get(3..)?.strip_prefix(", ")?.strip_suffix(" GMT")?;
    let mut words = rest.split(' ');
    let mut word = || words.next();
    let day: u64 = word()?.parse().ok()?;
    let name = word()?;
    let month = MONTHS.iter().position(|known| *known == name)? as u64 + 1;
    let year: u64 = word()?.parse().ok()?;
    let mut clock = word()?.split(':').map(str::parse::<u64>);
    let mut part = |max: u64| clock.next()?.ok().filter(|value| *value <= max);
    let (hour, minute, second) = (part(23)?, part(59)?, part(60)?);
    if clock.next().is_some()
        || words.next().is_some()
        || !(1970..10_000).contains(&year)
        || !(1..=31).contains(&day)
    {
        return None;
    }
    // Counted from 1 March of year 0, as `Date` counts back.
    let shifted = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + day_of_year;
    let unix_day = days.checked_sub(719_468)?;
    Some(unix_day * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Listens to the answers of one connection.
#[derive(Debug)]
pub struct Listener {
    /// When to come again, where the answer says so.
    pub retry_after: Option<RetryAfter>,
    /// Seconds after which the target closes the idle connection.
    pub keep_alive_s: Option<u64>,
    /// The verdict for each event, where the target gives one.
    pub bulk: Option<Bulk>,
    excerpt: Vec<u8>,
}

impl Listener {
    /// `items_max`: most events of a request where each has a verdict of its own.
    pub fn new(items_max: Option<usize>) -> Listener {
        Listener {
            retry_after: None,
            keep_alive_s: None,
            bulk: items_max.map(Bulk::with_capacity),
            excerpt: Vec::with_capacity(EXCERPT_BYTES),
        }
    }

    /// Bytes that it holds.
    pub const fn memory_bytes(items_max: Option<usize>) -> usize {
        EXCERPT_BYTES
            + match items_max {
                Some(items_max) => 2 * items_max,
                None => 0,
            }
    }

    /// An answer to a request of so many events is awaited.
    pub fn begin(&mut self, events: usize) {
        if let Some(bulk) = &mut self.bulk {
            bulk.begin(events);
        }
        self.forget();
    }

    fn forget(&mut self) {
        (self.retry_after, self.keep_alive_s) = (None, None);
        self.excerpt.clear();
    }

    /// How the body begins.
    pub fn excerpt(&self) -> &[u8] {
        &self.excerpt
    }
}

impl Tap for Listener {
    fn begin(&mut self) {
        self.forget();
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"retry-after") {
            self.retry_after = RetryAfter::parse(value);
        } else if name.eq_ignore_ascii_case(b"keep-alive") {
            let options = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
            let timeout = options.filter_map(|option| option.strip_prefix(b"timeout=")).next();
            let text = timeout.and_then(|text| core::str::from_utf8(text).ok());
            self.keep_alive_s = text.and_then(|text| text.parse().ok());
        }
    }

    fn body(&mut self, bytes: &[u8]) {
        let room = EXCERPT_BYTES - self.excerpt.len();
        self.excerpt.extend_from_slice(&bytes[..room.min(bytes.len())]);
        if let Some(bulk) = &mut self.bulk {
            bulk.feed(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::date::Date;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        for (value, parsed) in [
            ("0", Some(RetryAfter::Seconds(0))),
            (" 120 ", Some(RetryAfter::Seconds(120))),
            ("99999999999999999999999", Some(RetryAfter::Seconds(u64::MAX))),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(RetryAfter::At(784_111_777))),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(RetryAfter::At(0))),
            ("Thu, 29 Feb 2024 23:59:60 GMT", Some(RetryAfter::At(1_709_251_200))),
            ("Sun, 06 Nov 1994 08:49:37", None),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("Sun, 06 Nev 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 24:49:37 GMT", None),
            ("Sun, 00 Nov 1994 04:49:37 GMT", None),
            ("Sun, 06 Nov 0094 04:49:37 GMT", None),
            ("-1", None),
            ("", None),
            ("é, é", None),
        ] {
            assert_eq!(RetryAfter::parse(value.as_bytes()), parsed, "{value}");
        }
        assert_eq!(RetryAfter::Seconds(3).wait_ns(7), 3_000_000_000);
        assert_eq!(RetryAfter::At(10).wait_ns(7_500), 2_500_000_000);
        assert_eq!(RetryAfter::At(10).wait_ns(17_500), 0);
        assert_eq!(RetryAfter::Seconds(u64::MAX).wait_ns(0), u64::MAX);
    }

    #[test]
    fn dates_are_those_that_days_become() {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        for unix_day in (0..80_000).step_by(13) {
            let Date { year, month, day } = Date::of_unix_day(unix_day);
            let month = MONTHS[month as usize - 1];
            let text = alloc::format!("Xyz, {day:02} {month} {year} 01:02:03 GMT");
            assert_eq!(unix_of_date(&text), Some(unix_day * 86_400 + 3723), "{text}");
        }
    }
}
