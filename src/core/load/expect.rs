//! `--expect 'p999<5ms, errors<0.1%, rate>45k'`: what a run must show for exit code 0.
//!
//! | written | measured |
//! |---|---|
//! | `p50` `p90` `p95` `p99` `p999` `p9999` `max` | latency of valid requests; also `p99.9` |
//! | `service.p99` `first_byte.p99` `send_lag.p99` `cut_json.p99` | the same of another series or class |
//! | `errors` | failed requests and unexpected replies: `<0.1%` of all, or `<10` of them |
//! | `unexpected` `censored` | those alone, likewise |
//! | `rate` | replies as expected, a second; `k` and `M` are understood |
//!
//! A percentile that was refused is unmet, whatever its limit: nobody knows it. So is a share of nothing.
use super::search::Goal;
use super::stats::Estimate;
use super::summary::{QUANTILES, Quantiles, Summary};
use super::verdict::time;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// One condition on a summary.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    what: What,
    below: bool,
    limit: Limit,
    /// As the user wrote it, without spaces.
    text: String,
}

/// An expectation that a run did not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// The expectation, as it was written.
    pub what: String,
    /// What was measured instead, or why nothing could be.
    pub measured: String,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    /// A quantile (or `max`) of a series or class; `latency` when none is named.
    Time {
        series: String,
        quantile: &'static str,
    },
    Errors,
    Unexpected,
    Censored,
    Rate,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Limit {
    Ns(u64),
    Share(f64),
    Count(f64),
}

/// Reads expectations separated by commas. The error names the one that is wrong, and how to write it.
pub fn parse(text: &str) -> Result<Vec<Expectation>, String> {
    text.split(',').map(one).collect()
}

/// Reads the goal of `--find-rate`, as `p999<1ms`: a quantile of the latency of valid requests.
pub fn goal(text: &str) -> Result<Goal, String> {
    let expectation = one(text)?;
    match (expectation.what, expectation.limit, expectation.below) {
        (What::Time { series, quantile }, Limit::Ns(below_ns), true) if series == "latency" => {
            match QUANTILES.iter().find(|(name, _)| *name == quantile) {
                Some(&(_, quantile)) => Ok(Goal { quantile, below_ns }),
                None => {
                    Err(format!("goal {text:?}: a maximum cannot be held; take a quantile, as in p999<1ms"))
                }
            }
        }
        _ => {
            Err(format!("goal {text:?}: needs a quantile of the latency and an upper limit, as in p999<1ms"))
        }
    }
}

/// An expectation and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The expectation, as it was written.
    pub what: String,
    /// What was measured, or why nothing could be.
    pub measured: String,
    /// Whether it was met.
    pub met: bool,
}

/// What became of each expectation, in their order.
pub fn each(expectations: &[Expectation], summary: &Summary) -> Vec<Checked> {
    let one = |expectation: &Expectation| {
        let (met, measured) = expectation.look(summary);
        Checked { what: expectation.text.clone(), measured, met }
    };
    expectations.iter().map(one).collect()
}

/// The expectations that the run does not meet, in their order.
pub fn check(expectations: &[Expectation], summary: &Summary) -> Vec<Unmet> {
    let unmet = each(expectations, summary).into_iter().filter(|one| !one.met);
    unmet.map(|one| Unmet { what: one.what, measured: one.measured }).collect()
}

impl Expectation {
    /// Whether it is met, and what was measured.
    fn look(&self, summary: &Summary) -> (bool, String) {
        let counts = &summary.counts;
        match &self.what {
            What::Time { series, quantile } => self.look_at_time(summary, series, quantile),
            What::Errors => self.look_at_share(counts.errors + counts.unexpected, counts.all()),
            What::Unexpected => self.look_at_share(counts.unexpected, counts.all()),
            What::Censored => self.look_at_share(counts.censored, counts.all()),
            What::Rate => {
                let per_s = match summary.elapsed_ns {
                    0 => 0.0,
                    ns => counts.right() as f64 * 1e9 / ns as f64,
                };
                let met = matches!(self.limit, Limit::Count(limit) if self.holds(per_s, limit));
                (met, format!("{per_s:.0} a second as expected"))
            }
        }
    }

    fn look_at_time(&self, summary: &Summary, series: &str, quantile: &str) -> (bool, String) {
        let quantiles = match find(summary, series) {
            Ok(quantiles) => quantiles,
            Err(why) => return (false, why),
        };
        let (value_ns, estimate) = match (quantile, quantiles.get(quantile)) {
            ("max", _) => (quantiles.max_ns, None),
            (_, estimate) => (estimate.map(|estimate| estimate.value_ns), estimate),
        };
        let Some(value_ns) = value_ns else {
            return (false, format!("not measurable: {} requests cannot bear it", quantiles.samples));
        };
        let at_least = estimate.is_some_and(|estimate| estimate.at_least);
        let held = matches!(self.limit, Limit::Ns(limit) if self.holds(value_ns as f64, limit as f64));
        let measured = estimate.map_or_else(|| time(value_ns), |estimate| in_words(&estimate));
        (held && !(at_least && self.below), measured)
    }

    fn look_at_share(&self, part: u64, all: u64) -> (bool, String) {
        if all == 0 {
            return (false, String::from("not measurable: there was no request"));
        }
        let met = match self.limit {
            Limit::Count(limit) => self.holds(part as f64, limit),
            Limit::Share(limit) => self.holds(part as f64 / all as f64, limit),
            Limit::Ns(_) => false,
        };
        (met, format!("{part} of {all} requests ({:.3} %)", part as f64 * 100.0 / all as f64))
    }

    fn holds(&self, value: f64, limit: f64) -> bool {
        if self.below { value < limit } else { value > limit }
    }
}

/// A quantile with its interval, for people.
fn in_words(estimate: &Estimate) -> String {
    let at_least = if estimate.at_least { "at least " } else { "" };
    let high = estimate.high_ns.map_or_else(|| String::from("unknown"), time);
    format!("{at_least}{} (95 %: {} to {high})", time(estimate.value_ns), time(estimate.low_ns))
}

fn find<'a>(summary: &'a Summary, series: &str) -> Result<&'a Quantiles, String> {
    Ok(match series {
        "latency" => &summary.latency,
        "service" => &summary.service,
        "first_byte" => &summary.first_byte,
        "send_lag" => &summary.send_lag,
        class => match summary.classes.iter().find(|have| have.name == class) {
            Some(have) => &have.latency,
            None => return Err(format!("not measurable: this run has no series or class {class:?}")),
        },
    })
}

fn one(text: &str) -> Result<Expectation, String> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let fail = |why: &str| Err(format!("expectation {text:?}: {why}"));
    if text.is_empty() {
        return fail("nothing is there; write one as p999<5ms, several with commas between");
    }
    let Some(at) = text.find(['<', '>']) else {
        return fail("has neither < nor >; write it as p999<5ms");
    };
    let (name, value) = (&text[..at], &text[at + 1..]);
    if value.starts_with('=') || value.contains(['<', '>']) {
        return fail("needs one < or >, without =");
    }
    let read = match what(name) {
        Ok(what) => limit(&what, value).map(|limit| (what, limit)),
        Err(why) => Err(why),
    };
    match read {
        Ok((what, limit)) => {
            Ok(Expectation { what, below: text.as_bytes()[at] == b'<', limit, text: text.clone() })
        }
        Err(why) => fail(&why),
    }
}

fn what(name: &str) -> Result<What, String> {
    let (series, quantile) = match name.split_once('.') {
        // A point may also stand in p99.9.
        Some((series, quantile)) if !series.starts_with('p') || quantile_name(name).is_none() => {
            (series, quantile)
        }
        _ => ("latency", name),
    };
    if let Some(quantile) = quantile_name(quantile) {
        if series.is_empty() {
            return Err("has no series before the point; write service.p99, or p99 for latency".to_string());
        }
        return Ok(What::Time { series: series.to_string(), quantile });
    }
    match name {
        "errors" => Ok(What::Errors),
        "unexpected" => Ok(What::Unexpected),
        "censored" => Ok(What::Censored),
        "rate" => Ok(What::Rate),
        _ => Err(format!(
            "{name:?} is not measured; there are p50, p90, p95, p99, p999, p9999, max (also service.p99, \
             first_byte.p99, send_lag.p99, CLASS.p99), errors, unexpected, censored and rate"
        )),
    }
}

fn quantile_name(name: &str) -> Option<&'static str> {
    let plain = match name {
        "max" => return Some("max"),
        "p99.9" => "p999",
        "p99.99" => "p9999",
        _ => name,
    };
    QUANTILES.iter().map(|(have, _)| *have).find(|have| *have == plain)
}

fn limit(what: &What, text: &str) -> Result<Limit, String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let Ok(number) = number.parse::<f64>() else {
        return Err(format!("{text:?} does not begin with a number; write it as p999<5ms"));
    };
    let scaled =
        |units: &[(&str, f64)]| units.iter().find(|(name, _)| *name == unit).map(|(_, scale)| number * scale);
    const TIMES: [(&str, f64); 7] =
        [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12)];
    const COUNTS: [(&str, f64); 3] = [("", 1.0), ("k", 1e3), ("M", 1e6)];
    match what {
        What::Time { .. } => match scaled(&TIMES) {
            Some(ns) => Ok(Limit::Ns(ns as u64)),
            None if unit.is_empty() => {
                Err(format!("{text:?} has no unit; write {text}ms (ns, us, ms, s, m, h)"))
            }
            None => Err(format!("{unit:?} is no unit of time; there are ns, us, ms, s, m and h")),
        },
        What::Rate => match scaled(&COUNTS) {
            Some(per_s) => Ok(Limit::Count(per_s)),
            None => {
                Err(format!("{unit:?} is no unit of a rate; write requests a second, as 45000, 45k or 1.5M"))
            }
        },
        What::Errors | What::Unexpected | What::Censored => match (unit, scaled(&COUNTS)) {
            ("%", _) if number <= 100.0 => Ok(Limit::Share(number / 100.0)),
            ("%", _) => Err(format!("{text:?} is more than all of them")),
            (_, Some(count)) => Ok(Limit::Count(count)),
            _ => Err(format!("{unit:?} is no unit of a number of requests; write 0.1% or 10 (also k, M)")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::series::{Counts, Errors};
    use super::super::summary::{ClassSummary, Mode};
    use super::*;
    use std::vec;

    fn estimate(value_ns: u64, at_least: bool) -> Option<Estimate> {
        let high_ns = (!at_least).then_some(value_ns + 100_000);
        Some(Estimate {
            value_ns,
            low_ns: value_ns - 100_000,
            high_ns,
            effective_samples: 1e5,
            effective_above: 100.0,
            at_least,
        })
    }

    /// 100,000 requests in 2 s: 90,000 right, 50 unexpected, 30 errors, the rest censored.
    fn summary() -> Summary {
        let latency = Quantiles {
            p50: estimate(1_000_000, false),
            p99: estimate(4_000_000, false),
            p999: estimate(9_000_000, true),
            max_ns: Some(20_000_000),
            samples: 100_000,
            ..Quantiles::default()
        };
        let cut = Quantiles { p99: estimate(300_000, false), ..Quantiles::default() };
        let counts = Counts { sent: 99_000, completed: 90_050, unexpected: 50, errors: 30, censored: 9_920 };
        let class = |id, name: &str, latency| ClassSummary { id, name: name.to_string(), counts, latency };
        Summary {
            mode: Mode::Open,
            offered_per_s: Some(50_000.0),
            elapsed_ns: 2_000_000_000,
            counts,
            status: vec![(200, 90_000), (503, 50)],
            errors: Errors { timeout: 30, ..Errors::default() },
            latency,
            service: Quantiles { p99: estimate(2_000_000, false), ..Quantiles::default() },
            first_byte: Quantiles::default(),
            send_lag: Quantiles::default(),
            classes: vec![class(0, "valid", latency), class(1, "cut_json", cut)],
        }
    }

    #[test]
    fn what_is_met_and_what_is_not() {
        let cases = [
            ("p50<1.1ms", ""),
            ("p50<1ms", "1.00 ms (95 %: 900 us to 1.10 ms)"),
            ("p50 > 900 us", ""),
            ("p99<0.005s, p99>3000us", ""),
            // At least 9 ms: surely above 8, and not known to be below anything.
            ("p999>8ms", ""),
            ("p99.9<1s", "at least 9.00 ms (95 %: 8.90 ms to unknown)"),
            ("p9999<1h", "not measurable: 100000 requests cannot bear it"),
            ("p9999>1ns", "not measurable: 100000 requests cannot bear it"),
            ("max<21ms", ""),
            ("max<20ms", "20.0 ms"),
            ("service.p99<3ms,cut_json.p99<1ms", ""),
            ("cut_json.p99<1us", "300 us (95 %: 200 us to 400 us)"),
            ("bom.p99<1ms", "not measurable: this run has no series or class \"bom\""),
            ("errors<0.1%", ""),
            ("errors<0.08%", "80 of 100000 requests (0.080 %)"),
            ("errors<81", ""),
            ("errors<80", "80 of 100000 requests (0.080 %)"),
            ("unexpected<51,censored<10%", ""),
            ("censored<1%", "9920 of 100000 requests (9.920 %)"),
            ("rate>44.9k", ""),
            ("rate>45k", "45000 a second as expected"),
            ("rate<1M", ""),
        ];
        for (text, wanted) in cases {
            let unmet = check(&parse(text).unwrap(), &summary());
            let measured: Vec<&str> = unmet.iter().map(|unmet| unmet.measured.as_str()).collect();
            let wanted: Vec<&str> = [wanted].into_iter().filter(|wanted| !wanted.is_empty()).collect();
            assert_eq!(measured, wanted, "{text}");
        }
        let unmet = check(&parse("p50<1ms, rate>1, p99 < 1 ms").unwrap(), &summary());
        let names: Vec<&str> = unmet.iter().map(|unmet| unmet.what.as_str()).collect();
        assert_eq!(names, ["p50<1ms", "p99<1ms"]);
    }

    #[test]
    fn a_run_without_requests_meets_no_share() {
        let empty = Summary { counts: Counts::default(), ..summary() };
        let unmet = check(&parse("errors<1%, errors<10, rate>1").unwrap(), &empty);
        assert_eq!(unmet.len(), 3, "{unmet:?}");
        assert_eq!(unmet[0].measured, "not measurable: there was no request");
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_remedy() {
        let cases = [
            ("", "nothing is there"),
            ("p50<1ms,", "nothing is there"),
            ("p999", "neither < nor >"),
            ("p999=5ms", "neither < nor >"),
            ("p999<=5ms", "without ="),
            ("1ms<p50<2ms", "needs one < or >"),
            ("p999<5", "\"5\" has no unit; write 5ms"),
            ("p999<5kg", "\"kg\" is no unit of time"),
            ("p999<", "does not begin with a number"),
            ("p999<-5ms", "does not begin with a number"),
            ("p999<1.2.3ms", "does not begin with a number"),
            ("p75<5ms", "\"p75\" is not measured; there are p50"),
            ("latenzy<5ms", "\"latenzy\" is not measured"),
            ("service.p42<5ms", "\"service.p42\" is not measured"),
            (".p99<5ms", "no series before the point"),
            ("<5ms", "\"\" is not measured"),
            ("errors<0.1ms", "\"ms\" is no unit of a number"),
            ("errors<101%", "more than all"),
            ("rate>45%", "\"%\" is no unit of a rate"),
        ];
        for (text, wanted) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.contains(wanted) && error.starts_with("expectation \""), "{text}: {error}");
        }
    }

    #[test]
    fn a_goal_is_an_upper_limit_of_a_latency() {
        assert_eq!(goal("p999<1ms"), Ok(Goal { quantile: 0.999, below_ns: 1_000_000 }));
        assert_eq!(goal(" p99.99 < 20 us "), Ok(Goal { quantile: 0.9999, below_ns: 20_000 }));
        for text in ["p999>1ms", "errors<1%", "service.p99<1ms", "max<1ms", "p999", "p50<1ms,p99<2ms"] {
            assert!(goal(text).is_err(), "{text}");
        }
    }
}
