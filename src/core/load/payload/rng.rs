//! The generator behind every payload: xorshift64*, the same as in `benches/payload.py`.
//!
//! Owned here so that no release of a library can change the bytes that a seed stands for. Not for secrets.

/// A seeded stream of numbers; the same seed gives the same stream, on any machine.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The stream of `seed`.
    pub const fn new(seed: u64) -> Rng {
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x2545_f491_4f6c_dd1d);
        // Of all states only 0 leads nowhere.
        Rng(if state == 0 { 1 } else { state })
    }

    /// 64 bits, of which the upper ones are the better.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// 53 bits: what `payload.py` draws.
    pub(super) fn next(&mut self) -> u64 {
        self.bits() >> 11
    }

    /// 0 to `n` - 1, by a multiplication instead of a division: for the hot path, where it is within 2^-32 of
    /// even. `n` is 1 at least.
    #[inline]
    pub(super) fn fast_below(&mut self, n: u32) -> u32 {
        (((self.bits() >> 32) * u64::from(n)) >> 32) as u32
    }

    /// 0 to `n` - 1; `n` is 1 at least.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// `low` to `high`, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// One of `among`, which is not empty.
    pub(super) fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[(self.next() % among.len() as u64) as usize]
    }

    /// True in `percent` of a hundred draws.
    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.next() % 1000 < percent * 10
    }
}
