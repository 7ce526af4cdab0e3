//! The summary printed at the end of a run: everything that a decision needs, in what fits a terminal of 100 columns.
//! A percentile that cannot be told is the word `refused`, never a number.
use super::{
    Recovery, Report,
    format::{clock, count, rate, share, time},
};
use ringmill_core::load::{
    stats::{ABOVE_MIN, CORRELATION_MAX, Estimate},
    summary::{Mode, Quantiles},
};
use std::fmt::Write;

/// The whole summary, ending with the verdict.
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    for part in [head, percentiles, classes, curve, comparison, faults, verify, expectations, ending] {
        // Writing into a string cannot fail.
        let _ = part(&mut out, report);
    }
    out.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

type Written = std::fmt::Result;

fn head(out: &mut String, report: &Report) -> Written {
    let summary = &report.summary;
    let counts = &summary.counts;
    writeln!(out, "{}", report.target)?;
    match (summary.mode, summary.offered_per_s) {
        (Mode::Open, offered) => {
            write!(out, "open loop, {} offered, ", rate(offered.unwrap_or_default()))?;
        }
        (Mode::Closed, _) => write!(out, "closed loop (latency counts from sending and hides stalls), ")?,
    }
    writeln!(
        out,
        "{} completed, {}",
        rate(summary.completed_per_s()),
        clock(summary.elapsed_ns as f64 / 1e9)
    )?;
    write!(out, "sent {}, completed {}", count(counts.sent), count(counts.completed))?;
    writeln!(
        out,
        ", errors {} ({}), unexpected {}, never ended {}",
        count(counts.errors),
        share(counts.errors as f64 / counts.all().max(1) as f64),
        count(counts.unexpected),
        count(counts.censored)
    )?;
    let status: Vec<String> =
        summary.status.iter().map(|(code, times)| format!("{code}: {}", count(*times))).collect();
    let errors = summary.errors.each().into_iter().filter(|(_, times)| *times > 0);
    let kinds: Vec<String> =
        errors.map(|(kind, times)| format!("{}: {}", kind.replace('_', " "), count(times))).collect();
    writeln!(out, "status {}", if status.is_empty() { "none".into() } else { status.join(", ") })?;
    if !kinds.is_empty() {
        writeln!(out, "errors {}", kinds.join(", "))?;
    }
    Ok(())
}

fn percentiles(out: &mut String, report: &Report) -> Written {
    let summary = &report.summary;
    let others: [&Quantiles; 3] = [&summary.service, &summary.first_byte, &summary.send_lag];
    writeln!(
        out,
        "\n{:<8}{:>11}  {:<25}{:>11}{:>12}{:>11}{:>13}",
        "", "latency", "95 % interval", "service", "first byte", "send lag", "eff. samples"
    )?;
    let mut refused = false;
    for (index, (name, found)) in summary.latency.each().into_iter().enumerate() {
        refused |= found.is_none();
        write!(
            out,
            "{:<8}{:>11}  {:<25}",
            label(name),
            shown(found),
            found.map_or_else(String::new, interval)
        )?;
        for (series, width) in others.iter().zip([11, 12, 11]) {
            write!(out, "{:>width$}", shown(series.each()[index].1))?;
        }
        writeln!(
            out,
            "{:>13}",
            found.map_or_else(String::new, |found| count(found.effective_samples as u64))
        )?;
    }
    write!(out, "{:<8}{:>11}  {:<25}", "max", longest(&summary.latency), "")?;
    for (series, width) in others.iter().zip([11, 12, 11]) {
        write!(out, "{:>width$}", longest(series))?;
    }
    writeln!(out)?;
    if refused {
        writeln!(
            out,
            "refused: fewer than {ABOVE_MIN:.0} requests lie above it ({:.0} where slow ones come together); run longer",
            ABOVE_MIN * CORRELATION_MAX
        )?;
    }
    Ok(())
}

fn classes(out: &mut String, report: &Report) -> Written {
    let classes = &report.summary.classes;
    if classes.len() < 2 {
        return Ok(());
    }
    writeln!(
        out,
        "\n{:<26}{:>13}{:>12}{:>9}{:>12}{:>11}{:>11}",
        "class", "completed", "unexpected", "errors", "p50", "p99", "p99.9"
    )?;
    for class in classes {
        let (counts, latency) = (&class.counts, &class.latency);
        writeln!(
            out,
            "{:<26}{:>13}{:>12}{:>9}{:>12}{:>11}{:>11}",
            class.name,
            count(counts.completed),
            count(counts.unexpected),
            count(counts.errors),
            shown(latency.p50),
            shown(latency.p99),
            shown(latency.p999)
        )?;
    }
    Ok(())
}

fn curve(out: &mut String, report: &Report) -> Written {
    let Some(curve) = &report.curve else { return Ok(()) };
    let goal = curve.goal.split('<').next().unwrap_or_default();
    writeln!(
        out,
        "\n{:>12}{:>12}  {:<8}{:>12}  {:<25}",
        "offered", "completed", "phase", goal, "95 % interval"
    )?;
    for point in &curve.points {
        let ends = match (point.low_ns, point.high_ns) {
            (Some(low), Some(high)) => format!("{} .. {}", time(low), time(high)),
            (Some(low), None) => format!("{} ..", time(low)),
            _ => String::new(),
        };
        writeln!(
            out,
            "{:>12}{:>12}  {:<8}{:>12}  {:<25}{}",
            rate(point.offered_per_s),
            point.completed_per_s.map_or_else(|| "-".into(), rate),
            point.phase,
            point.goal_ns.map_or_else(|| "refused".into(), time),
            ends,
            if point.holds { "holds" } else { point.why.as_str() }
        )?;
    }
    writeln!(out, "{}", curve.headline().trim_end())
}

fn comparison(out: &mut String, report: &Report) -> Written {
    let Some(comparison) = &report.comparison else { return Ok(()) };
    writeln!(out, "\n{} (second) against {} (first)", comparison.second, comparison.first)?;
    writeln!(
        out,
        "{:<12}{:>12}{:>12}{:>9}  {:<18}{:>6}",
        "", "first", "second", "ratio", "95 % interval", "pairs"
    )?;
    for ratio in &comparison.ratios {
        let ends = match (ratio.low, ratio.high) {
            (Some(low), Some(high)) => format!("{low:.3} .. {high:.3}"),
            _ => "refused".into(),
        };
        writeln!(
            out,
            "{:<12}{:>12}{:>12}{:>9}  {:<18}{:>6}  {}",
            ratio.what,
            ratio.show(ratio.first),
            ratio.show(ratio.second),
            ratio.ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.3}")),
            ends,
            ratio.pairs,
            ratio.answer
        )?;
    }
    Ok(())
}

fn faults(out: &mut String, report: &Report) -> Written {
    for (index, fault) in report.faults.iter().enumerate() {
        let became = match (&fault.failed, &fault.recovery) {
            (Some(why), _) => format!("not done: {why}"),
            (None, Recovery::After(0.0)) => "not felt".into(),
            (None, Recovery::After(seconds)) => format!("recovered within {seconds:.0} s of its beginning"),
            (None, Recovery::NotSeen) => "recovery not seen".into(),
            (None, Recovery::Unknown) => "recovery unknown: too little of the run lies before it".into(),
        };
        let heading = if index == 0 { "\n" } else { "" };
        writeln!(out, "{heading}fault at {}: {}, {became}", clock(fault.at_s), fault.what)?;
    }
    Ok(())
}

fn verify(out: &mut String, report: &Report) -> Written {
    if report.verify.is_empty() {
        return Ok(());
    }
    let counts: Vec<String> = report.verify.iter().map(|(name, n)| format!("{name} {}", count(*n))).collect();
    writeln!(out, "\nverified: {}", counts.join(", "))
}

fn expectations(out: &mut String, report: &Report) -> Written {
    for (index, expected) in report.expectations.iter().enumerate() {
        let heading = if index == 0 { "\n" } else { "" };
        let met = if expected.met { "met" } else { "NOT met" };
        writeln!(out, "{heading}expected {}: {met}, {}", expected.what, expected.measured)?;
    }
    Ok(())
}

fn ending(out: &mut String, report: &Report) -> Written {
    writeln!(out)?;
    for note in &report.notes {
        writeln!(out, "note: {note}")?;
    }
    writeln!(out, "limit: {} - {}", report.verdict.limit.as_str(), report.verdict.why)
}

/// `p99.9` of `p999`, as people write it.
pub fn label(name: &str) -> String {
    match name.strip_prefix('p') {
        Some(digits) if digits.len() > 2 => format!("p{}.{}", &digits[..2], &digits[2..]),
        _ => name.into(),
    }
}

fn shown(found: Option<Estimate>) -> String {
    found.map_or_else(
        || "refused".into(),
        |found| format!("{}{}", if found.at_least { ">= " } else { "" }, time(found.value_ns)),
    )
}

fn interval(found: Estimate) -> String {
    found.high_ns.map_or_else(
        || format!("{} .. unknown", time(found.low_ns)),
        |high| format!("{} .. {}", time(found.low_ns), time(high)),
    )
}

fn longest(series: &Quantiles) -> String {
    series.max_ns.map_or_else(|| "-".into(), time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::sample;

    #[test]
    fn the_summary_fits_a_terminal_and_ends_with_the_verdict() {
        let text = render(&sample::report());
        for line in text.lines() {
            assert!(
                line.chars().count() <= 100 || line.contains(". ") || line.starts_with("limit:"),
                "{line}"
            );
        }
        assert!(text.lines().last().unwrap().starts_with("limit: server - "), "{text}");
        for part in [
            "p99.9 ",
            "cut_json",
            "p999<5ms held up to",
            "not told apart",
            "fault at",
            "NOT met",
            "verified: acked",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_refused_with_the_reason() {
        let mut report = sample::report();
        report.summary.latency.p9999 = None;
        let text = render(&report);
        let line = text.lines().find(|line| line.starts_with("p99.99")).unwrap();
        assert_eq!(line.split_whitespace().nth(1), Some("refused"), "{line}");
        assert!(text.contains("fewer than 10 requests lie above it (40 "), "{text}");
    }

    #[test]
    fn a_closed_loop_says_that_it_hides_stalls() {
        let mut report = sample::report();
        report.summary.mode = Mode::Closed;
        assert!(render(&report).contains("closed loop (latency counts from sending and hides stalls)"));
    }

    #[test]
    fn a_run_without_a_reply_has_a_summary_too() {
        let text = render(&sample::empty());
        assert!(
            text.contains("status none") && text.contains("refused") && text.contains("note: ended before"),
            "{text}"
        );
    }

    #[test]
    fn labels_are_as_people_write_them() {
        assert_eq!(
            ["p50", "p99", "p999", "p9999", "max"].map(label),
            ["p50", "p99", "p99.9", "p99.99", "max"]
        );
    }
}
