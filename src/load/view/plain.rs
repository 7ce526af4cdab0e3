//! Progress where there is no terminal: one line, each second at first and then ever more seldom, so that the log of
//! a run of hours stays readable. Notes (faults, warnings) are told at once.
use super::Snapshot;
use crate::load::report::{
    format::{clock, count, rate, share, time},
    timeline::Timeline,
};
use std::io::Write;

/// Plain progress and how much of it was told.
#[derive(Default)]
pub(super) struct Plain {
    next_s: f64,
    notes_told: usize,
    phase: String,
}

impl Plain {
    pub(super) fn new() -> Plain {
        Plain::default()
    }

    /// Writes what is due. Nobody is left to tell when `out` is gone.
    pub(super) fn update(&mut self, now: &Snapshot, timeline: &Timeline, out: &mut impl Write) {
        for note in now.notes.iter().skip(self.notes_told) {
            let _ = writeln!(out, "load: {} {note}", clock(now.elapsed_s));
        }
        self.notes_told = now.notes.len();
        if now.phase != self.phase {
            self.phase.clone_from(&now.phase);
            self.next_s = now.elapsed_s;
        }
        // Half a tick of slack: ticks come a little before or after the full second.
        if now.elapsed_s + 0.5 >= self.next_s {
            self.next_s = now.elapsed_s + every_s(now.elapsed_s);
            let _ = writeln!(out, "load: {}", line(now, timeline));
        }
    }
}

/// Every second for ten, every 10 s for ten minutes, then every minute.
fn every_s(elapsed_s: f64) -> f64 {
    match elapsed_s {
        _ if elapsed_s < 10.0 => 1.0,
        _ if elapsed_s < 600.0 => 10.0,
        _ => 60.0,
    }
}

/// The whole state in one line.
fn line(now: &Snapshot, timeline: &Timeline) -> String {
    let of = now.duration_s.map_or_else(String::new, |whole| format!("/{}", clock(whole)));
    let mut line = format!("{}{of} {}: {}", clock(now.elapsed_s), now.phase, rate(now.completed_per_s));
    if now.open {
        line += &format!(" of {}", rate(now.offered_per_s));
    } else {
        line += " closed loop";
    }
    line += &format!(", in flight {}", count(now.in_flight));
    if now.queued > 0 {
        line += &format!(", queued {}", count(now.queued));
    }
    for (name, value) in &now.percentiles {
        // What cannot be told yet is left out: a line has no room for reasons.
        if let Some(ns) = value {
            line += &format!(", {name} {}", time(*ns));
        }
    }
    if let Some(last) = timeline.points().last().filter(|last| last.max_ns > 0) {
        line += &format!(", last max {}", time(last.max_ns));
    }
    let ended = now.completed + now.errors;
    if now.errors > 0 {
        line +=
            &format!(", errors {} ({})", count(now.errors), share(now.errors as f64 / ended.max(1) as f64));
    }
    if now.unexpected > 0 {
        line += &format!(", unexpected {}", count(now.unexpected));
    }
    for ratio in &now.ratios {
        line += &format!(", {} x{:.3} [{:.3} {:.3}]", ratio.what, ratio.ratio, ratio.low, ratio.high);
    }
    if let Some((limit, _)) = now.verdict.as_ref().filter(|(limit, _)| *limit != "none") {
        line += &format!(", {limit}-limited");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::timeline::Second;

    fn now(elapsed_s: f64) -> Snapshot {
        Snapshot {
            phase: "measuring".into(),
            open: true,
            elapsed_s,
            duration_s: Some(7200.0),
            offered_per_s: 50_000.0,
            completed_per_s: 49_900.0,
            in_flight: 12,
            completed: 99,
            errors: 1,
            percentiles: vec![("p50", Some(112_000)), ("p99.9", None)],
            ..Snapshot::default()
        }
    }

    #[test]
    fn a_line_tells_rate_latency_and_troubles_and_leaves_out_what_is_not_known() {
        let mut timeline = Timeline::new();
        timeline.push(Second { max_ns: 3_000_000, ..Second::default() });
        assert_eq!(
            line(&now(75.0), &timeline),
            "1:15/2:00:00 measuring: 49.9 k/s of 50.0 k/s, in flight 12, p50 112 us, last max 3.00 ms, errors 1 (1.0 %)"
        );
        let closed = Snapshot {
            phase: "measuring".into(),
            verdict: Some(("generator", String::new())),
            ..Snapshot::default()
        };
        assert_eq!(
            line(&closed, &Timeline::new()),
            "0 s measuring: 0.00/s closed loop, in flight 0, generator-limited"
        );
    }

    #[test]
    fn two_hours_are_a_readable_number_of_lines_and_each_note_is_told_once() {
        let (mut plain, mut out) = (Plain::new(), Vec::new());
        for second in 1..=7200 {
            let mut now = now(f64::from(second));
            if second >= 100 {
                now.notes.push("stop 123 for 200 ms".into());
            }
            plain.update(&now, &Timeline::new(), &mut out);
        }
        let text = String::from_utf8(out).unwrap();
        let (notes, lines): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.contains("stop 123"));
        assert_eq!(notes, ["load: 1:40 stop 123 for 200 ms"]);
        assert_eq!(lines.len(), 10 + 59 + 110, "{text}");
    }

    #[test]
    fn a_new_phase_is_told_at_once() {
        let (mut plain, mut out) = (Plain::new(), Vec::new());
        for (second, phase) in [(700.0, "measuring"), (701.0, "measuring"), (702.0, "probe 2")] {
            plain.update(&Snapshot { phase: phase.into(), ..now(second) }, &Timeline::new(), &mut out);
        }
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.lines().last().is_some_and(|line| line.contains("probe 2")));
    }
}
