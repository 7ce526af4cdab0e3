//! The JSON of a run, for scripts: the fields of the contract and their intervals beside them. Names carry the unit of
//! a time. A percentile that the samples cannot bear is `null`, in the values and in the intervals alike.
use super::{Comparison, Curve, Expected, FaultMark, Report, Second};
use ringmill_core::load::{
    series::Counts,
    stats::{ABOVE_MIN, Estimate},
    summary::{ClassSummary, Quantiles},
    verdict::Controls,
};
use serde::{Serialize, Serializer};

/// The whole document, one line end at its end.
pub fn render(report: &Report) -> String {
    let mut text =
        serde_json::to_string_pretty(&document(report)).expect("plain data without foreign maps serialises");
    text.push('\n');
    text
}

/// The document as a value that other formats embed.
pub(super) fn document(report: &Report) -> impl Serialize + '_ {
    Document::of(report)
}

/// An object whose keys keep the order of the pairs.
pub(super) struct Object<K, V>(pub Vec<(K, V)>);

impl<K: Serialize, V: Serialize> Serialize for Object<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

#[derive(Serialize)]
struct Document<'a> {
    mode: &'static str,
    offered_per_s: Option<f64>,
    completed_per_s: f64,
    elapsed_s: f64,
    sent: u64,
    completed: u64,
    censored: u64,
    errors: u64,
    status: Object<String, u64>,
    unexpected: u64,
    error_kinds: Object<&'static str, u64>,
    latency_us: Object<&'static str, Option<f64>>,
    service_us: Object<&'static str, Option<f64>>,
    first_byte_us: Object<&'static str, Option<f64>>,
    send_lag_us: Object<&'static str, Option<f64>>,
    intervals: Intervals,
    classes: Object<&'a str, Class>,
    verdict: Verdict<'a>,
    expect: &'a [Expected],
    #[serde(skip_serializing_if = "Option::is_none")]
    find_rate: Option<&'a Curve>,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<&'a Comparison>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    faults: &'a [FaultMark],
    #[serde(skip_serializing_if = "Option::is_none")]
    verify: Option<Object<&'a str, u64>>,
    notes: &'a [String],
    seconds: Vec<Point>,
    platform: Platform,
    environment: &'a serde_json::Value,
    settings: Object<&'a str, &'a str>,
    target: &'a str,
    started_unix_ms: u64,
    command: &'a str,
}

impl Document<'_> {
    fn of(report: &Report) -> Document<'_> {
        let summary = &report.summary;
        let verify = &report.verify;
        Document {
            mode: summary.mode.as_str(),
            offered_per_s: summary.offered_per_s,
            completed_per_s: thousandth(summary.completed_per_s()),
            elapsed_s: summary.elapsed_ns as f64 / 1e9,
            sent: summary.counts.sent,
            completed: summary.counts.completed,
            censored: summary.counts.censored,
            errors: summary.counts.errors,
            status: Object(summary.status.iter().map(|(code, count)| (code.to_string(), *count)).collect()),
            unexpected: summary.counts.unexpected,
            error_kinds: Object(summary.errors.each().to_vec()),
            latency_us: values(&summary.latency),
            service_us: values(&summary.service),
            first_byte_us: values(&summary.first_byte),
            send_lag_us: values(&summary.send_lag),
            intervals: Intervals {
                confidence: 0.95,
                refused_below_samples_above: ABOVE_MIN,
                latency_us: intervals(&summary.latency),
                service_us: intervals(&summary.service),
                first_byte_us: intervals(&summary.first_byte),
                send_lag_us: intervals(&summary.send_lag),
            },
            classes: Object(
                summary.classes.iter().map(|class| (class.name.as_str(), Class::of(class))).collect(),
            ),
            verdict: Verdict { limit: report.verdict.limit.as_str(), why: &report.verdict.why },
            expect: &report.expectations,
            find_rate: report.curve.as_ref(),
            against: report.comparison.as_ref(),
            faults: &report.faults,
            verify: (!verify.is_empty())
                .then(|| Object(verify.iter().map(|(name, count)| (name.as_str(), *count)).collect())),
            notes: &report.notes,
            seconds: report.timeline.points().iter().map(Point::of).collect(),
            platform: Platform::of(&report.controls),
            environment: &report.environment,
            settings: Object(
                report.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
            ),
            target: &report.target,
            started_unix_ms: report.started_unix_ms,
            command: &report.command,
        }
    }
}

#[derive(Serialize)]
struct Verdict<'a> {
    limit: &'static str,
    why: &'a str,
}

/// The controls with their units in the names. Shares are of 1; hiccups are null where no probe ran.
#[derive(Serialize)]
struct Platform {
    probe_samples: u64,
    hiccup_p99_us: Option<f64>,
    hiccup_max_us: Option<f64>,
    hiccup_share: Option<f64>,
    steal_share: f64,
    throttled_ms: f64,
    run_queue_share: f64,
    send_lag_p50_us: f64,
    send_lag_p99_us: f64,
    generator_busy_share: f64,
    achieved_share: f64,
    queued_max: u64,
    in_flight_growth_per_s: f64,
}

impl Platform {
    fn of(controls: &Controls) -> Platform {
        let probed = controls.probe_samples > 0;
        Platform {
            probe_samples: controls.probe_samples,
            hiccup_p99_us: probed.then(|| us(controls.hiccup_p99_ns)),
            hiccup_max_us: probed.then(|| us(controls.hiccup_max_ns)),
            hiccup_share: probed.then_some(controls.hiccup_share),
            steal_share: controls.steal_share,
            throttled_ms: controls.throttled_ns as f64 / 1e6,
            run_queue_share: controls.run_queue_share,
            send_lag_p50_us: us(controls.send_lag_p50_ns),
            send_lag_p99_us: us(controls.send_lag_p99_ns),
            generator_busy_share: controls.generator_busy_share,
            achieved_share: controls.achieved_share,
            queued_max: controls.queued_max,
            in_flight_growth_per_s: thousandth(controls.in_flight_growth_per_s),
        }
    }
}

#[derive(Serialize)]
struct Intervals {
    confidence: f64,
    /// Fewer effective samples above a percentile, and it is null.
    refused_below_samples_above: f64,
    latency_us: Object<&'static str, Option<Interval>>,
    service_us: Object<&'static str, Option<Interval>>,
    first_byte_us: Object<&'static str, Option<Interval>>,
    send_lag_us: Object<&'static str, Option<Interval>>,
}

#[derive(Serialize)]
struct Interval {
    low: f64,
    /// Null: the samples give no upper end, for too many requests never ended.
    high: Option<f64>,
    effective_samples: f64,
    effective_above: f64,
    /// The percentile is at least the value given: it falls among requests that never ended.
    at_least: bool,
}

#[derive(Serialize)]
struct Class {
    sent: u64,
    completed: u64,
    unexpected: u64,
    errors: u64,
    censored: u64,
    latency_us: Object<&'static str, Option<f64>>,
    intervals: Object<&'static str, Option<Interval>>,
}

impl Class {
    fn of(class: &ClassSummary) -> Class {
        let Counts { sent, completed, unexpected, errors, censored } = class.counts;
        let latency = &class.latency;
        Class {
            sent,
            completed,
            unexpected,
            errors,
            censored,
            latency_us: values(latency),
            intervals: intervals(latency),
        }
    }
}

/// A point of the timeline, times in microseconds, null where nothing was completed.
#[derive(Serialize)]
struct Point {
    at_s: u32,
    span_s: u32,
    offered: u64,
    sent: u64,
    completed: u64,
    errors: u64,
    unexpected: u64,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    max_us: Option<f64>,
    send_lag_p99_us: f64,
    in_flight: u64,
    queued: u64,
    busy_share: f32,
    hiccup_max_us: f64,
    steal_share: f32,
}

impl Point {
    fn of(second: &Second) -> Point {
        let latency = |ns: u64| (second.max_ns > 0).then(|| us(ns));
        Point {
            at_s: second.at_s,
            span_s: second.span_s,
            offered: second.offered,
            sent: second.sent,
            completed: second.completed,
            errors: second.errors,
            unexpected: second.unexpected,
            p50_us: latency(second.p50_ns),
            p99_us: latency(second.p99_ns),
            max_us: latency(second.max_ns),
            send_lag_p99_us: us(second.send_lag_p99_ns),
            in_flight: second.in_flight,
            queued: second.queued,
            busy_share: second.busy_share,
            hiccup_max_us: us(second.hiccup_max_ns),
            steal_share: second.steal_share,
        }
    }
}

fn values(quantiles: &Quantiles) -> Object<&'static str, Option<f64>> {
    let mut pairs: Vec<_> = quantiles
        .each()
        .into_iter()
        .map(|(name, found)| (name, found.map(|found| us(found.value_ns))))
        .collect();
    pairs.push(("max", quantiles.max_ns.map(us)));
    Object(pairs)
}

fn intervals(quantiles: &Quantiles) -> Object<&'static str, Option<Interval>> {
    let interval = |found: Estimate| Interval {
        low: us(found.low_ns),
        high: found.high_ns.map(us),
        effective_samples: found.effective_samples.round(),
        effective_above: thousandth(found.effective_above),
        at_least: found.at_least,
    };
    Object(quantiles.each().into_iter().map(|(name, found)| (name, found.map(interval))).collect())
}

/// Nanoseconds as microseconds.
pub(super) fn us(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

fn thousandth(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::sample;

    #[test]
    fn the_contract_holds() {
        let json: serde_json::Value = serde_json::from_str(&render(&sample::report())).unwrap();
        for key in [
            "mode",
            "offered_per_s",
            "sent",
            "completed",
            "censored",
            "errors",
            "status",
            "unexpected",
            "latency_us",
            "service_us",
            "send_lag_us",
            "classes",
            "verdict",
            "environment",
            "command",
        ] {
            assert!(json.get(key).is_some(), "{key} is missing");
        }
        for series in ["latency_us", "service_us", "first_byte_us", "send_lag_us"] {
            let keys: Vec<&String> = json[series].as_object().unwrap().keys().collect();
            assert_eq!(keys.len(), 7, "{series}: {keys:?}");
            assert!(json[series]["p50"].is_number() && json[series]["max"].is_number(), "{series}");
        }
        assert_eq!(json["mode"], "open");
        assert!(json["status"]["200"].as_u64().unwrap() > 0);
        assert!(json["classes"]["cut_json"]["latency_us"]["p50"].is_number());
        assert_eq!(json["verdict"]["limit"], "server");
    }

    #[test]
    fn a_percentile_that_the_samples_cannot_bear_is_null_in_value_and_interval() {
        let mut report = sample::report();
        report.summary.latency.p9999 = None;
        let json: serde_json::Value = serde_json::from_str(&render(&report)).unwrap();
        assert!(json["latency_us"]["p9999"].is_null() && json["latency_us"].get("p9999").is_some());
        assert!(json["intervals"]["latency_us"]["p9999"].is_null());
        let p99 = &json["intervals"]["latency_us"]["p99"];
        let value = json["latency_us"]["p99"].as_f64().unwrap();
        assert!(p99["low"].as_f64().unwrap() <= value && value <= p99["high"].as_f64().unwrap(), "{p99}");
    }

    #[test]
    fn a_closed_loop_offers_nothing_and_the_first_keys_are_those_people_look_for() {
        let mut report = sample::report();
        report.summary.mode = ringmill_core::load::summary::Mode::Closed;
        report.summary.offered_per_s = None;
        let text = render(&report);
        assert!(
            text.starts_with("{\n  \"mode\": \"closed\",\n  \"offered_per_s\": null,"),
            "{}",
            &text[..80]
        );
    }

    #[test]
    fn a_second_without_replies_has_null_latencies() {
        let point = serde_json::to_value(Point::of(&Second { max_ns: 0, ..Second::default() })).unwrap();
        assert!(point["p99_us"].is_null() && point["max_us"].is_null());
    }
}
