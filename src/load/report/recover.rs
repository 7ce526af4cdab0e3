//! How long a fault was felt: from the per-second figures alone, so it works for any server.
//!
//! The run before the first fault is what is normal: the median of its seconds' p99 and throughput. A fault is over
//! when three points (`CALM`) in succession are normal again. The resolution is that of the timeline, one second.
use super::timeline::Second;
use serde::Serialize;

/// Points in succession that must be normal. One could be luck between two stalls.
const CALM: usize = 3;
/// A p99 up to this multiple of the normal one still is normal, and so is one that was seen before any fault.
const LATENCY_SLACK: f64 = 2.0;
/// A throughput from this share of the normal one on is normal.
const RATE_SLACK: f64 = 0.9;

/// A fault that was done to a process.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FaultMark {
    /// When it was done, seconds from the run's start.
    pub at_s: f64,
    /// How long it was done, seconds; 0 for a kill.
    pub for_s: f64,
    /// For people, for instance `stop 1234 for 200 ms`.
    pub what: String,
    /// Why it could not be done, where it could not.
    pub failed: Option<String>,
    /// What came of it.
    pub recovery: Recovery,
}

/// When things were normal again.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// Seconds after the fault began, to the second.
    After(f64),
    /// Not before the run ended or the next fault came.
    NotSeen,
    /// Too little of the run lies before the first fault to know what is normal.
    #[default]
    Unknown,
}

/// Finds the recovery of each fault. `points` is the run's timeline, faults come in order of time.
pub fn recoveries(points: &[Second], faults: &mut [FaultMark]) {
    let Some(first) = faults.iter().map(|fault| fault.at_s).reduce(f64::min) else { return };
    let before: Vec<&Second> = points
        .iter()
        .filter(|point| f64::from(point.at_s + point.span_s) <= first && point.completed > 0)
        .collect();
    let normal = Normal::of(&before);
    for index in 0..faults.len() {
        let next = faults.get(index + 1).map_or(f64::INFINITY, |next| next.at_s);
        let fault = &mut faults[index];
        fault.recovery = match (&normal, &fault.failed) {
            (Some(normal), None) => recovery(points, fault, next, normal),
            _ => Recovery::Unknown,
        };
    }
}

struct Normal {
    p99_ns: f64,
    completed_per_s: f64,
}

impl Normal {
    fn of(before: &[&Second]) -> Option<Normal> {
        if before.len() < CALM {
            return None;
        }
        let highest = before.iter().map(|point| point.p99_ns as f64).fold(0.0, f64::max);
        let p99_ns = (LATENCY_SLACK * median(before.iter().map(|point| point.p99_ns as f64))).max(highest);
        let completed_per_s = RATE_SLACK * median(before.iter().map(|point| point.completed_per_s()));
        Some(Normal { p99_ns, completed_per_s })
    }

    fn holds(&self, point: &Second) -> bool {
        point.p99_ns > 0
            && point.p99_ns as f64 <= self.p99_ns
            && point.completed_per_s() >= self.completed_per_s
    }
}

fn recovery(points: &[Second], fault: &FaultMark, next_s: f64, normal: &Normal) -> Recovery {
    // The point in which the fault fell counts, for a short one may not be felt at all.
    let felt: Vec<&Second> = points
        .iter()
        .filter(|point| f64::from(point.at_s + point.span_s) > fault.at_s && f64::from(point.at_s) < next_s)
        .collect();
    let calm = felt.windows(CALM).find(|window| {
        let ends = f64::from(window[0].at_s + window[0].span_s);
        window.iter().all(|point| normal.holds(point)) && ends > fault.at_s + fault.for_s
    });
    match calm {
        Some(window) => Recovery::After((f64::from(window[0].at_s) - fault.at_s).max(0.0)),
        None => Recovery::NotSeen,
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(p99_ms: &[u64]) -> Vec<Second> {
        let point = |(at, ms): (usize, &u64)| Second {
            at_s: at as u32,
            span_s: 1,
            completed: if *ms == 0 { 0 } else { 1000 },
            p99_ns: ms * 1_000_000,
            ..Second::default()
        };
        p99_ms.iter().enumerate().map(point).collect()
    }

    fn fault(at_s: f64, for_s: f64) -> FaultMark {
        FaultMark { at_s, for_s, what: "stop 1".into(), failed: None, recovery: Recovery::Unknown }
    }

    #[test]
    fn recovery_is_counted_from_the_beginning_of_the_fault() {
        let table: [(&[u64], f64, f64, Recovery); 6] = [
            (&[1, 1, 1, 1, 90, 40, 1, 1, 1], 4.0, 0.2, Recovery::After(2.0)),
            (&[1, 1, 1, 1, 90, 40, 1, 9, 1, 1, 1], 4.0, 0.2, Recovery::After(4.0)),
            (&[1, 1, 1, 1, 0, 0, 0, 0], 4.0, 0.0, Recovery::NotSeen),
            (&[1, 1, 1, 1, 90, 1, 1], 4.0, 0.0, Recovery::NotSeen),
            (&[1, 1, 90, 1, 1, 1, 1], 2.0, 0.0, Recovery::Unknown),
            (&[1, 1, 1, 1, 1, 1, 1, 1], 4.0, 0.1, Recovery::After(0.0)),
        ];
        for (p99, at_s, for_s, expected) in table {
            let mut faults = [fault(at_s, for_s)];
            recoveries(&run(p99), &mut faults);
            assert_eq!(faults[0].recovery, expected, "{p99:?}");
        }
    }

    #[test]
    fn calm_during_a_fault_is_not_recovery_from_it() {
        // Throttled for 5 s, felt only at its end.
        let mut faults = [fault(3.0, 5.0)];
        recoveries(&run(&[1, 1, 1, 1, 1, 1, 1, 50, 1, 1, 1]), &mut faults);
        assert_eq!(faults[0].recovery, Recovery::After(5.0));
    }

    #[test]
    fn a_fault_is_judged_only_up_to_the_next_and_a_failed_one_never() {
        let mut faults = [fault(3.0, 0.0), fault(5.0, 0.0), fault(9.0, 0.0)];
        faults[2].failed = Some("no such process".into());
        recoveries(&run(&[1, 1, 1, 50, 50, 50, 1, 1, 1, 1, 1, 1]), &mut faults);
        let found: Vec<&Recovery> = faults.iter().map(|fault| &fault.recovery).collect();
        assert_eq!(found, [&Recovery::NotSeen, &Recovery::After(1.0), &Recovery::Unknown]);
    }
}
