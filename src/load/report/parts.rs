//! The parts of a report that only some runs have, as they are shown: latency against rate, two targets side by
//! side, expectations. They are copies of what the pure part found, with the words that people need.
use super::format;
use ringmill_core::load::{
    compare,
    expect::{self, Expectation},
    search::{Found, Goal, Point},
    summary::Summary,
};
use serde::Serialize;
use std::slice;

/// Latency against rate.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Curve {
    /// The goal as it was given, for instance `p999<1ms`.
    pub goal: String,
    /// The goal's bound in nanoseconds.
    pub below_ns: u64,
    /// Highest rate that held it on the way up, requests a second.
    pub highest_up_per_s: Option<f64>,
    /// Highest rate that held it on the way down.
    pub highest_down_per_s: Option<f64>,
    /// What the search has to say: bounds reached, hysteresis.
    pub why: String,
    /// All probes in the order in which they were made.
    pub points: Vec<CurvePoint>,
}

impl Curve {
    /// The curve of a search for `goal`, given as `text`.
    pub fn new(text: &str, goal: &Goal, found: &Found, points: Vec<CurvePoint>) -> Curve {
        Curve {
            goal: text.into(),
            below_ns: goal.below_ns,
            highest_up_per_s: found.up_per_s,
            highest_down_per_s: found.down_per_s,
            why: words(found),
            points,
        }
    }

    /// The result in a sentence.
    pub fn headline(&self) -> String {
        let Some(up) = self.highest_up_per_s else {
            return format!("no rate held {}. {}", self.goal, self.why);
        };
        let down = self.highest_down_per_s.map_or_else(
            || ", coming from above none did".into(),
            |down| format!(", coming from above up to {}", format::rate(down)),
        );
        format!("{} held up to {}{down}. {}", self.goal, format::rate(up), self.why)
    }
}

fn words(found: &Found) -> String {
    let mut words = Vec::new();
    if found.generator_limited {
        words.push("The generator ended the search: the server may hold more.".to_string());
    }
    if found.bounded {
        words.push("The highest rate allowed held: the server may hold more.".to_string());
    }
    if found.up_per_s.is_some() && found.hysteresis > 0.0 {
        words.push(format!(
            "After overload the server held {} less (hysteresis).",
            format::share(found.hysteresis)
        ));
    }
    words.join(" ")
}

/// One probe of a search for a rate. Latencies in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Rate asked for, requests a second.
    pub offered_per_s: f64,
    /// Rate reached, where it was kept.
    pub completed_per_s: Option<f64>,
    /// `up`, `bisect` or `down`.
    pub phase: String,
    /// Median.
    pub p50_ns: Option<u64>,
    /// 99th percentile.
    pub p99_ns: Option<u64>,
    /// The quantile of the goal, with the ends of its interval.
    pub goal_ns: Option<u64>,
    /// Lower end.
    pub low_ns: Option<u64>,
    /// Upper end; none where too many requests never ended.
    pub high_ns: Option<u64>,
    /// Whether the goal was held.
    pub holds: bool,
    /// Why, in a few words.
    pub why: String,
}

impl CurvePoint {
    /// A point of the search, with the figures of its probe where they were kept.
    pub fn new(point: &Point, summary: Option<&Summary>) -> CurvePoint {
        let estimate = point.seen.estimate;
        CurvePoint {
            offered_per_s: point.probe.per_s,
            completed_per_s: summary.map(Summary::completed_per_s),
            phase: point.probe.phase.as_str().into(),
            p50_ns: summary.and_then(|summary| summary.latency.p50).map(|found| found.value_ns),
            p99_ns: summary.and_then(|summary| summary.latency.p99).map(|found| found.value_ns),
            goal_ns: estimate.map(|found| found.value_ns),
            low_ns: estimate.map(|found| found.low_ns),
            high_ns: estimate.and_then(|found| found.high_ns),
            holds: point.held,
            why: point.why.clone(),
        }
    }
}

/// Two targets side by side.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// The first URL.
    pub first: String,
    /// The URL of `--against`.
    pub second: String,
    /// What was compared.
    pub ratios: Vec<Ratio>,
}

/// One ratio, second target to first.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Ratio {
    /// `p50`, `p99`, `throughput`.
    pub what: String,
    /// Value of the first target over the whole run, in nanoseconds or requests a second, where it was kept.
    pub first: Option<f64>,
    /// Value of the second target.
    pub second: Option<f64>,
    /// The ratio: the median of the pairs, not the quotient of the two values.
    pub ratio: Option<f64>,
    /// Lower end of its 95 % interval; `None` where the pairs cannot bear one.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Pairs that it rests on.
    pub pairs: u64,
    /// `better`, `worse` or `not told apart`.
    pub answer: String,
}

impl Ratio {
    /// A ratio of the comparison, with the values of both targets where they were kept.
    pub fn new(found: &compare::Ratio, first: Option<f64>, second: Option<f64>) -> Ratio {
        Ratio {
            what: found.what.into(),
            first,
            second,
            ratio: found.ratio,
            low: found.interval.map(|(low, _)| low),
            high: found.interval.map(|(_, high)| high),
            pairs: found.pairs,
            answer: found.answer.as_str().into(),
        }
    }

    /// A value of this ratio for people: a rate for the throughput, a time for the rest.
    pub fn show(&self, value: Option<f64>) -> String {
        match value {
            None => "-".into(),
            Some(value) if self.what == "throughput" => format::rate(value),
            Some(value) => format::time(value as u64),
        }
    }
}

/// One expectation and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Expected {
    /// As it was given: `p999<5ms`.
    pub what: String,
    /// What was measured, or why nothing could be.
    pub measured: String,
    /// Whether it held.
    pub met: bool,
}

impl Expected {
    /// All expectations of `text` (`p999<5ms, errors<0.1%`) with what became of them.
    ///
    /// # Errors
    /// What cannot be read, as the parser says it.
    pub fn all(text: &str, summary: &Summary) -> Result<Vec<Expected>, String> {
        let parsed = expect::parse(text)?;
        let one = |(expectation, written): (&Expectation, &str)| {
            let unmet = expect::check(slice::from_ref(expectation), summary).pop();
            Expected {
                what: written.split_whitespace().collect(),
                met: unmet.is_none(),
                measured: unmet.map_or_else(|| "held".into(), |unmet| unmet.measured),
            }
        };
        Ok(parsed.iter().zip(text.split(',')).map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headline_of_a_search_tells_both_ways_and_what_ended_it() {
        let goal = Goal { quantile: 0.999, below_ns: 1_000_000 };
        let found = Found {
            up_per_s: Some(48_000.0),
            down_per_s: Some(42_000.0),
            hysteresis: 0.125,
            ..Found::default()
        };
        let curve = Curve::new("p999<1ms", &goal, &found, Vec::new());
        assert_eq!(
            curve.headline(),
            "p999<1ms held up to 48.0 k/s, coming from above up to 42.0 k/s. After overload the server held 12.5 % less (hysteresis)."
        );
        let none =
            Curve::new("p999<1ms", &goal, &Found { generator_limited: true, ..Found::default() }, Vec::new());
        assert!(
            none.headline().starts_with("no rate held p999<1ms. The generator ended"),
            "{}",
            none.headline()
        );
    }

    #[test]
    fn expectations_are_told_one_by_one_in_their_order() {
        let summary = crate::load::report::sample::report().summary;
        let all = Expected::all("errors<1%, p50 < 1us", &summary).unwrap();
        let told: Vec<(&str, bool)> =
            all.iter().map(|expected| (expected.what.as_str(), expected.met)).collect();
        assert_eq!(told, [("errors<1%", true), ("p50<1us", false)]);
        assert!(!all[1].measured.is_empty());
        assert!(Expected::all("p50 near 1us", &summary).is_err());
    }

    #[test]
    fn values_of_a_ratio_carry_their_own_unit() {
        let latency = Ratio { what: "p99".into(), ..Ratio::default() };
        let throughput = Ratio { what: "throughput".into(), ..Ratio::default() };
        assert_eq!(
            [latency.show(Some(1.2e6)), throughput.show(Some(950.0)), latency.show(None)],
            ["1.20 ms", "950/s", "-"]
        );
    }
}
