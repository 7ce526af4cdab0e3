//! What the rings of a thread have asked of the kernel: for tests of how little that is.
//!
//! No metric: a shard's wake is one call whatever it serves, and its submissions follow from what it answers.
use std::cell::Cell;

use super::ring::Kind;

/// A slot a kind, by its number, of which there are fewer; no kind is 0, which counts calls.
const SLOTS: usize = 16;

thread_local! {
    static COUNTS: [Cell<u64>; SLOTS] = const { [const { Cell::new(0) }; SLOTS] };
}

fn count(slot: usize) {
    COUNTS.with(|counts| counts[slot].set(counts[slot].get() + 1));
}

/// One call of `io_uring_enter`.
pub(super) fn call() {
    count(0);
}

/// One submission.
pub(super) fn submission(kind: Kind) {
    count(kind as usize);
}

/// Calls and submissions of one thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked([u64; SLOTS]);

impl Asked {
    /// Of the calling thread since it began.
    pub fn so_far() -> Asked {
        COUNTS.with(|counts| Asked(std::array::from_fn(|slot| counts[slot].get())))
    }

    /// Calls of `io_uring_enter`.
    pub fn calls(&self) -> u64 {
        self.0[0]
    }

    /// Submissions of that kind.
    pub fn submissions(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    /// What was asked between `before` and this.
    pub fn since(&self, before: &Asked) -> Asked {
        Asked(std::array::from_fn(|slot| self.0[slot] - before.0[slot]))
    }
}
