//! The timeline of faults: `10s: throttle PID 5% for 5s; 20s: stop PID 200ms; 30s: kill PID`.
//!
//! Text to a list in the order of time. Whether such processes exist, and doing it to them, is the edge's.
use alloc::{format, string::String, vec::Vec};
use core::fmt;

/// Longest time from the start of a run: a year, so that no sum overflows.
const TIME_NS_MAX: u64 = 366 * 24 * 3_600_000_000_000;
/// The kernel's bound on process numbers (`PID_MAX_LIMIT`).
const PID_MAX: u32 = 4_194_304;

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// When, in nanoseconds from the start of the run.
    pub at_ns: u64,
    /// To which process: 2 or more, for 0 would mean the tester's own group and 1 the machine.
    pub pid: u32,
    /// What happens to it.
    pub what: What,
}

/// What happens to a process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// Its cgroup loses a part of its processor time (`cpu.max`).
    Throttle {
        /// The part that is taken away, in percent, over 0 and under 100: 5 leaves 95.
        percent: f64,
        /// For how long, in nanoseconds.
        for_ns: u64,
    },
    /// It is stopped (SIGSTOP) and goes on afterwards (SIGCONT).
    Stop {
        /// For how long, in nanoseconds.
        for_ns: u64,
    },
    /// It is killed (SIGKILL).
    Kill,
}

impl Fault {
    /// When it is over, in nanoseconds from the start of the run; of a kill: when it happens.
    pub fn end_ns(&self) -> u64 {
        match self.what {
            What::Throttle { for_ns, .. } | What::Stop { for_ns } => self.at_ns + for_ns,
            What::Kill => self.at_ns,
        }
    }
}

impl fmt::Display for Fault {
    /// As it is written, without its time: `stop 1234 200ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::Throttle { percent, for_ns } => {
                write!(f, "throttle {} {percent}% for {}", self.pid, Time(for_ns))
            }
            What::Stop { for_ns } => write!(f, "stop {} {}", self.pid, Time(for_ns)),
            What::Kill => write!(f, "kill {}", self.pid),
        }
    }
}

/// A time in the largest unit that divides it.
struct Time(u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let (unit, ns) = UNITS.iter().rev().find(|(_, ns)| self.0.is_multiple_of(*ns)).unwrap_or(&("ns", 1));
        write!(f, "{}{unit}", self.0 / ns)
    }
}

const UNITS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The faults that `text` lists, by their time.
///
/// # Errors
/// Which of them cannot be understood, or cannot happen beside the others, and how one is written.
pub fn parse(text: &str) -> Result<Vec<Fault>, String> {
    let mut faults = Vec::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        faults.push(parse_one(part).map_err(|why| {
            format!(
                "fault `{part}`: {why}; write TIME: throttle PID PERCENT% for TIME, TIME: stop PID TIME, or TIME: \
                 kill PID, separated by semicolons"
            )
        })?);
    }
    if faults.is_empty() {
        return Err("there is no fault in it; write for instance `10s: stop PID 200ms`".into());
    }
    faults.sort_by_key(|fault| fault.at_ns);
    check(&faults)?;
    Ok(faults)
}

fn parse_one(text: &str) -> Result<Fault, String> {
    let (time, what) = text.split_once(':').ok_or("its time is missing")?;
    let at_ns = parse_time(time.trim())?;
    let words: Vec<&str> = what.split_whitespace().collect();
    let (pid, what) = match words[..] {
        ["throttle", pid, percent, "for", time] => {
            let percent = parse_percent(percent)?;
            (pid, What::Throttle { percent, for_ns: parse_length(time)? })
        }
        ["stop", pid, time] | ["stop", pid, "for", time] => (pid, What::Stop { for_ns: parse_length(time)? }),
        ["kill", pid] => (pid, What::Kill),
        [] => return Err("nothing stands behind its time".into()),
        [first, ..] if matches!(first, "throttle" | "stop" | "kill") => {
            return Err(format!("`{first}` needs other words behind it"));
        }
        [first, ..] => return Err(format!("`{first}` is none of throttle, stop and kill")),
    };
    Ok(Fault { at_ns, pid: parse_pid(pid)?, what })
}

fn parse_pid(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(pid @ 2..=PID_MAX) => Ok(pid),
        Ok(_) => Err(format!("{text} is not the number of a process that may be named (2 to {PID_MAX})")),
        Err(_) => Err(format!("`{text}` is not the number of a process")),
    }
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(decimal);
    percent.filter(|&percent| percent > 0.0 && percent < 100.0).ok_or_else(|| {
        format!("`{text}` is not the part to take away, over 0% and under 100% (stop takes all)")
    })
}

fn parse_length(text: &str) -> Result<u64, String> {
    match parse_time(text)? {
        0 => Err(format!("`{text}` is no time at all")),
        ns => Ok(ns),
    }
}

/// A time with its unit, like `200ms` or `1.5s`.
fn parse_time(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let ns = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, ns)| *ns as f64);
    match (decimal(number), ns) {
        (Some(number), Some(ns)) if number * ns <= TIME_NS_MAX as f64 => Ok((number * ns + 0.5) as u64),
        _ => Err(format!("`{text}` is not a time, which is a number with us, ms, s, m or h")),
    }
}

/// Digits with at most one point between them, and nothing that Rust would take beside: no sign, no exponent.
fn decimal(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let bounded = text.starts_with(|c: char| c.is_ascii_digit()) && !text.ends_with('.');
    if plain && bounded { text.parse().ok() } else { None }
}

/// Whether each can happen after those before it.
fn check(faults: &[Fault]) -> Result<(), String> {
    for (at, later) in faults.iter().enumerate() {
        for earlier in faults[..at].iter().filter(|earlier| earlier.pid == later.pid) {
            let same = core::mem::discriminant(&earlier.what) == core::mem::discriminant(&later.what);
            if earlier.what == What::Kill {
                return Err(format!(
                    "fault `{later}` at {}: process {} was killed at {} already; leave one out",
                    Time(later.at_ns),
                    later.pid,
                    Time(earlier.at_ns)
                ));
            }
            if same && later.at_ns < earlier.end_ns() {
                return Err(format!(
                    "fault `{later}` at {}: `{earlier}` lasts until {}; let it begin then or later",
                    Time(later.at_ns),
                    Time(earlier.end_ns())
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    const S: u64 = 1_000_000_000;

    #[test]
    fn timelines() {
        let faults = parse("10s: throttle 77 5% for 5s; 20s: stop 78 200ms; 30s: kill 77").unwrap();
        assert_eq!(
            faults,
            [
                Fault { at_ns: 10 * S, pid: 77, what: What::Throttle { percent: 5.0, for_ns: 5 * S } },
                Fault { at_ns: 20 * S, pid: 78, what: What::Stop { for_ns: S / 5 } },
                Fault { at_ns: 30 * S, pid: 77, what: What::Kill },
            ]
        );
        assert_eq!(faults.iter().map(Fault::end_ns).collect::<Vec<_>>(), [15 * S, 20 * S + S / 5, 30 * S]);
        let shown: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["throttle 77 5% for 5s", "stop 78 200ms", "kill 77"]);
    }

    #[test]
    fn order_spaces_and_units_are_free() {
        let faults = parse(" 1h:kill 9;;1.5m :  stop 9 for 250us ; 0s: throttle 9 0.5%  for 1.5ms;").unwrap();
        let at: Vec<u64> = faults.iter().map(|fault| fault.at_ns).collect();
        assert_eq!(at, [0, 90 * S, 3600 * S]);
        assert_eq!(faults[0].what, What::Throttle { percent: 0.5, for_ns: 1_500_000 });
        assert_eq!(faults[1].what, What::Stop { for_ns: 250_000 });
        // What ends when the next begins, and different kinds at once, can be.
        parse("1s: stop 9 1s; 2s: stop 9 1s; 1s: throttle 9 50% for 9s; 3s: kill 9; 4s: stop 10 1s").unwrap();
    }

    #[test]
    fn what_cannot_be() {
        for (text, says) in [
            ("", "no fault"),
            (" ; ", "no fault"),
            ("stop 9 1s", "time is missing"),
            ("10s:", "nothing stands"),
            ("10: kill 9", "not a time"),
            ("-1s: kill 9", "not a time"),
            ("1.s: kill 9", "not a time"),
            ("1e3s: kill 9", "not a time"),
            ("9999999h: kill 9", "not a time"),
            ("10s: pause 9 1s", "none of throttle, stop and kill"),
            ("10s: stop 9", "other words"),
            ("10s: kill 9 1s", "other words"),
            ("10s: throttle 9 5 for 5s", "over 0%"),
            ("10s: throttle 9 0% for 5s", "over 0%"),
            ("10s: throttle 9 100% for 5s", "over 0%"),
            ("10s: throttle 9 NaN% for 5s", "over 0%"),
            ("10s: throttle 9 5% for 0s", "no time at all"),
            ("10s: stop 9 200", "not a time"),
            ("10s: kill 0", "may be named"),
            ("10s: kill 1", "may be named"),
            ("10s: kill 4194305", "may be named"),
            ("10s: kill -9", "not the number"),
            ("10s: kill ringmill", "not the number"),
            ("1s: kill 9; 2s: stop 9 1s", "killed at 1s already"),
            ("1s: kill 9; 2s: kill 9", "killed at 1s already"),
            ("1s: stop 9 2s; 2s: stop 9 1s", "lasts until 3s"),
            ("1s: throttle 9 5% for 2s; 1s: throttle 9 50% for 1s", "lasts until 3s"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "`{text}`: {error}");
        }
    }
}
