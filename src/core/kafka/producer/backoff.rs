//! How long to wait before the next try: doubled each time, bounded, a fifth of it left to chance (KIP-580).

/// Bounds of a wait that doubles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait, nanoseconds, 1 at least.
    pub min_ns: u64,
    /// The longest wait before chance is added, nanoseconds.
    pub max_ns: u64,
}

impl Backoff {
    /// The wait after `failures` failures in a row (1 at least): 80 % to 120 % of the doubled first wait.
    ///
    /// Without chance all partitions that lost one leader, on all shards, would come back in the same instant.
    pub(crate) fn wait_ns(self, failures: u32, chance: &mut fastrand::Rng) -> u64 {
        let doublings = failures.saturating_sub(1).min(32);
        let wait = self.min_ns.saturating_mul(1 << doublings).min(self.max_ns).max(1);
        wait / 5 * 4 + chance.u64(0..=wait / 5 * 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_its_bound_and_strays_by_a_fifth() {
        let backoff = Backoff { min_ns: 100, max_ns: 1000 };
        let mut chance = fastrand::Rng::with_seed(1);
        for (failures, middle) in
            [(0, 100), (1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (u32::MAX, 1000)]
        {
            for _ in 0..100 {
                let wait = backoff.wait_ns(failures, &mut chance);
                assert!((middle * 4 / 5..=middle * 6 / 5).contains(&wait), "{failures}: {wait}");
            }
        }
    }
}
