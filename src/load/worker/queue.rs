//! Requests that are due and could not be sent yet.
//!
//! A plan is a pure function, so what waits need not be stored: it is the part of the plan between the last request
//! taken and now. Two cursors on the same times stand for it. The queue has no bound and takes no memory.

/// See the module. Times are absolute, in nanoseconds of the monotonic clock.
pub(super) struct Queue<I> {
    origin_ns: u64,
    /// The next request to take.
    taken: I,
    /// The next request to become due, and when; `u64::MAX` when the plan is at its end.
    arriving: I,
    next_ns: u64,
    waiting: u64,
}

impl<I: Iterator<Item = u64> + Clone> Queue<I> {
    /// `times` counts from `origin_ns` and rises.
    pub(super) fn new(times: I, origin_ns: u64) -> Queue<I> {
        let mut queue = Queue { origin_ns, taken: times.clone(), arriving: times, next_ns: 0, waiting: 0 };
        queue.step();
        queue
    }

    fn step(&mut self) {
        self.next_ns = self.arriving.next().map_or(u64::MAX, |time| time.saturating_add(self.origin_ns));
    }

    /// Lets everything up to and with `now_ns` become due.
    #[inline]
    pub(super) fn advance(&mut self, now_ns: u64) {
        while self.next_ns <= now_ns {
            self.waiting += 1;
            self.step();
        }
    }

    /// Takes the oldest request that is due: when it was.
    #[inline]
    pub(super) fn take(&mut self) -> Option<u64> {
        self.waiting = self.waiting.checked_sub(1)?;
        self.taken.next().map(|time| time.saturating_add(self.origin_ns))
    }

    /// How many are due.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting
    }

    /// When the next one becomes due; `u64::MAX` for never.
    pub(super) fn next_ns(&self) -> u64 {
        self.next_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_waits_in_order_and_keeps_its_time() {
        let times = [0u64, 10, 10, 25];
        let mut queue = Queue::new(times.iter().copied(), 100);
        assert_eq!((queue.waiting(), queue.next_ns(), queue.take()), (0, 100, None));
        queue.advance(99);
        assert_eq!(queue.waiting(), 0);
        queue.advance(110);
        assert_eq!((queue.waiting(), queue.next_ns()), (3, 125));
        assert_eq!((queue.take(), queue.take()), (Some(100), Some(110)));
        queue.advance(1_000);
        assert_eq!((queue.waiting(), queue.next_ns()), (2, u64::MAX));
        assert_eq!((queue.take(), queue.take(), queue.take()), (Some(110), Some(125), None));
        queue.advance(u64::MAX - 1);
        assert_eq!(queue.waiting(), 0);
    }

    #[test]
    fn an_empty_plan_is_never_due() {
        let mut queue = Queue::new(std::iter::empty(), 5);
        queue.advance(1 << 60);
        assert_eq!((queue.waiting(), queue.next_ns(), queue.take()), (0, u64::MAX, None));
    }
}
