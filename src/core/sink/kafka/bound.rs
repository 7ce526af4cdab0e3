//! How long a topic's batches may be: learnt from brokers that found one too large.
//!
//! A topic's own `max.message.bytes` is told by nobody but a refusal. Halving each commit's batches anew would cost a
//! round trip and a split each time, so the half is remembered; and doubled again after a while in which it held, for
//! the topic may have been changed. A guess that was too large costs one more split.

/// A bound that held for so long may be too low.
const RISE_NS: u64 = 600_000_000_000;
/// It is not learnt below this: brokers that take less are asked with batches of this size, which are split.
const BYTES_MIN: usize = 16 << 10;

/// Bytes of records before compression that a topic's batch may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    bytes: usize,
    changed_ns: u64,
}

impl Bound {
    /// Nothing was learnt yet.
    pub(super) const NONE: Bound = Bound { bytes: usize::MAX, changed_ns: 0 };

    /// For batches of the next request.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A batch of so many bytes was found too large.
    pub(super) fn refused(&mut self, now_ns: u64, bytes: usize) {
        self.bytes = self.bytes.min(bytes / 2).max(BYTES_MIN);
        self.changed_ns = now_ns;
    }

    /// A batch of so many bytes was taken.
    pub(super) fn written(&mut self, now_ns: u64, bytes: usize) {
        // Only what comes near it proves anything.
        let near = self.bytes != usize::MAX && bytes >= self.bytes / 2;
        if near && now_ns.saturating_sub(self.changed_ns) > RISE_NS {
            self.bytes = self.bytes.saturating_mul(2);
            self.changed_ns = now_ns;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_at_once_and_doubles_after_a_while() {
        let mut bound = Bound::NONE;
        bound.written(u64::MAX, 1 << 20);
        assert_eq!(bound.bytes(), usize::MAX, "there is nothing to raise");
        bound.refused(5, 1_000_000);
        assert_eq!(bound.bytes(), 500_000);
        // Another batch of the same commit, made before it was known.
        bound.refused(6, 1_000_000);
        assert_eq!(bound.bytes(), 500_000);
        bound.refused(7, 500_000);
        assert_eq!(bound.bytes(), 250_000);
        bound.written(7 + RISE_NS, 250_000);
        bound.written(8 + RISE_NS, 100_000);
        assert_eq!(bound.bytes(), 250_000, "too early, too small");
        bound.written(8 + RISE_NS, 240_000);
        assert_eq!(bound.bytes(), 500_000);
        bound.written(9 + RISE_NS, 500_000);
        assert_eq!(bound.bytes(), 500_000, "one step a time");
        (0..20).for_each(|_| bound.refused(0, 1000));
        assert_eq!(bound.bytes(), BYTES_MIN);
    }
}
