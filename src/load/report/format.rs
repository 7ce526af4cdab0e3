//! Numbers for people: times, counts, rates, shares. Nothing here is for machines; JSON keeps plain numbers.

/// A time of `ns` nanoseconds with three significant digits and its unit: `840 ns`, `12.3 us`, `1.20 ms`, `3.00 s`.
pub fn time(ns: u64) -> String {
    let ns = ns as f64;
    // The limits lie where rounding to three digits would say "1000".
    let (value, unit) = match ns {
        _ if ns < 999.5 => return format!("{ns:.0} ns"),
        _ if ns < 999.5e3 => (ns / 1e3, "us"),
        _ if ns < 999.5e6 => (ns / 1e6, "ms"),
        _ if ns < 599.5e9 => (ns / 1e9, "s"),
        _ => (ns / 60e9, "min"),
    };
    format!("{} {unit}", digits3(value))
}

/// A length of time in whole units for a clock: `9 s`, `2:05`, `1:02:05`.
pub fn clock(seconds: f64) -> String {
    let s = seconds.max(0.0) as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{}:{:02}", s / 60, s % 60),
        _ => format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60),
    }
}

/// A count with thin groups: `1 234 567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// A rate: `950/s`, `49.9 k/s`, `1.20 M/s`.
pub fn rate(per_s: f64) -> String {
    match per_s {
        _ if !per_s.is_finite() => "-".into(),
        _ if per_s < 9.995 => format!("{per_s:.2}/s"),
        _ if per_s < 999.5 => format!("{per_s:.0}/s"),
        _ if per_s < 999.5e3 => format!("{} k/s", digits3(per_s / 1e3)),
        _ => format!("{} M/s", digits3(per_s / 1e6)),
    }
}

/// A share of 1 as a percentage: `0 %`, `<0.01 %`, `1.2 %`.
pub fn share(part: f64) -> String {
    let percent = part * 100.0;
    match percent {
        _ if !percent.is_finite() => "-".into(),
        _ if percent <= 0.0 => "0 %".into(),
        _ if percent < 0.01 => "<0.01 %".into(),
        _ if percent < 1.0 => format!("{percent:.2} %"),
        _ => format!("{percent:.1} %"),
    }
}

fn digits3(value: f64) -> String {
    match value {
        _ if value < 9.995 => format!("{value:.2}"),
        _ if value < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_carry_three_digits_and_never_say_a_thousand() {
        let table = [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 us"),
            (12_345, "12.3 us"),
            (999_499, "999 us"),
            (999_500, "1.00 ms"),
            (1_204_000, "1.20 ms"),
            (3_000_000_000, "3.00 s"),
            (3_600_000_000_000, "60.0 min"),
        ];
        for (ns, expected) in table {
            assert_eq!(time(ns), expected);
        }
    }

    #[test]
    fn counts_rates_shares_and_clocks() {
        assert_eq!([count(0), count(999), count(1000), count(1234567)], ["0", "999", "1 000", "1 234 567"]);
        assert_eq!(
            [rate(0.5), rate(950.0), rate(49_900.0), rate(1.2e6)],
            ["0.50/s", "950/s", "49.9 k/s", "1.20 M/s"]
        );
        assert_eq!(
            [share(0.0), share(1e-6), share(0.0012), share(0.5)],
            ["0 %", "<0.01 %", "0.12 %", "50.0 %"]
        );
        assert_eq!([clock(9.9), clock(125.0), clock(3725.0)], ["9 s", "2:05", "1:02:05"]);
        assert_eq!([rate(f64::NAN), share(f64::INFINITY)], ["-", "-"]);
    }
}
