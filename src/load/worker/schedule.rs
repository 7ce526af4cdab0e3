//! When the seconds of a run begin and end.

use std::ops::Range;

/// One second, in nanoseconds.
pub(super) const SECOND_NS: u64 = 1_000_000_000;

/// The stretches of a run: warm-up, then what is measured, each cut into seconds from its own beginning. Times are
/// absolute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// When the warm-up begins.
    pub(super) origin_ns: u64,
    /// When measuring begins.
    pub(super) warm_ns: u64,
    /// When the run ends.
    pub(super) end_ns: u64,
}

impl Schedule {
    pub(super) fn new(origin_ns: u64, warmup_ns: u64, duration_ns: u64) -> Schedule {
        let warm_ns = origin_ns.saturating_add(warmup_ns);
        Schedule { origin_ns, warm_ns, end_ns: warm_ns.saturating_add(duration_ns) }
    }

    /// Whether a request of that time is recorded.
    #[inline]
    pub(super) fn measures(&self, intended_ns: u64) -> bool {
        intended_ns >= self.warm_ns
    }

    /// The first end of a second, of the warm-up or of the run after `now_ns`.
    pub(super) fn next_mark(&self, now_ns: u64) -> u64 {
        let stretch = self.stretch(now_ns);
        let passed = now_ns.saturating_sub(stretch.start) / SECOND_NS;
        stretch.end.min(stretch.start.saturating_add((passed + 1).saturating_mul(SECOND_NS)))
    }

    /// Which second of its stretch ended last before or at `mark_ns`, and whether that was warm-up.
    pub(super) fn second(&self, mark_ns: u64) -> (u32, bool) {
        let inside = mark_ns.saturating_sub(1);
        let stretch = self.stretch(inside);
        (((inside.saturating_sub(stretch.start)) / SECOND_NS) as u32, inside < self.warm_ns)
    }

    fn stretch(&self, now_ns: u64) -> Range<u64> {
        if now_ns < self.warm_ns { self.origin_ns..self.warm_ns } else { self.warm_ns..self.end_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = SECOND_NS;

    #[test]
    fn seconds_are_cut_from_the_beginning_of_each_stretch() {
        let schedule = Schedule::new(7 * S, S + S / 2, 2 * S + S / 4);
        let mut marks = vec![];
        let mut at = 7 * S;
        while at < schedule.end_ns {
            at = schedule.next_mark(at);
            marks.push((at - 7 * S, schedule.second(at)));
        }
        assert_eq!(
            marks,
            [
                (S, (0, true)),
                (S + S / 2, (1, true)),
                (2 * S + S / 2, (0, false)),
                (3 * S + S / 2, (1, false)),
                (3 * S + 3 * S / 4, (2, false)),
            ]
        );
        assert!(!schedule.measures(8 * S + S / 2 - 1) && schedule.measures(8 * S + S / 2));
    }

    #[test]
    fn a_run_without_warm_up_or_without_end() {
        let schedule = Schedule::new(5, 0, 3 * S);
        assert_eq!((schedule.next_mark(5), schedule.second(5 + S)), (5 + S, (0, false)));
        // A thread that was stopped for a while goes on with the second it is in.
        assert_eq!(
            (schedule.next_mark(5 + 2 * S + 3), schedule.second(5 + 2 * S + 3)),
            (5 + 3 * S, (2, false))
        );
        assert_eq!(Schedule::new(5, 0, u64::MAX).next_mark(5), 5 + S);
    }
}
