//! A common beginning for all threads of a run.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::core::memory::Clock;
use crate::sys::clock::MonotonicClock;

/// From the last thread's arrival to the beginning of the run: time to wake the others.
const LEAD_NS: u64 = 2_000_000;

/// Threads connect, arrive here, and begin at the same moment, which is time 0 of the plan.
#[derive(Debug)]
pub struct Start {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    missing: u32,
    origin_ns: Option<u64>,
    abandoned: bool,
}

impl Start {
    /// For that many threads.
    pub fn new(threads: u32) -> Start {
        Start {
            state: Mutex::new(State { missing: threads, origin_ns: None, abandoned: false }),
            changed: Condvar::new(),
        }
    }

    /// Waits for the others: when the run begins, in nanoseconds of the monotonic clock. None if one of them gave
    /// up.
    pub fn arrive(&self) -> Option<u64> {
        let mut state = self.lock();
        state.missing = state.missing.saturating_sub(1);
        if state.missing == 0 && state.origin_ns.is_none() {
            state.origin_ns = Some(MonotonicClock.now_ns() + LEAD_NS);
            self.changed.notify_all();
        }
        while state.origin_ns.is_none() && !state.abandoned {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.abandoned { None } else { state.origin_ns }
    }

    /// Tells the others that this thread will not come.
    pub fn abandon(&self) {
        self.lock().abandoned = true;
        self.changed.notify_all();
    }

    /// When the run began, in nanoseconds of the monotonic clock; None as long as a thread is missing.
    pub fn origin_ns(&self) -> Option<u64> {
        self.lock().origin_ns
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn all_begin_at_once_or_not_at_all() {
        let start = Arc::new(Start::new(3));
        let others: Vec<_> = (0..2)
            .map(|_| {
                let start = start.clone();
                std::thread::spawn(move || start.arrive())
            })
            .collect();
        let origin = start.arrive();
        assert!(origin.is_some() && origin == start.origin_ns());
        assert!(others.into_iter().all(|other| other.join().unwrap() == origin));

        let start = Arc::new(Start::new(2));
        let other = std::thread::spawn({
            let start = start.clone();
            move || start.arrive()
        });
        start.abandon();
        assert_eq!((other.join().unwrap(), start.origin_ns()), (None, None));
    }
}
