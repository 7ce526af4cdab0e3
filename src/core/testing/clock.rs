//! A clock that a test turns by hand.
use crate::memory::Clock;
use alloc::rc::Rc;
use core::cell::Cell;

/// Shows what its cell holds, in nanoseconds; all clones show the same.
#[derive(Clone, Debug, Default)]
pub struct HandClock(pub Rc<Cell<u64>>);

impl Clock for HandClock {
    fn now_ns(&self) -> u64 {
        self.0.get()
    }

    fn wall_ms(&self) -> u64 {
        self.0.get() / 1_000_000
    }
}
