//! Refused events to look at: a few of late, the start of each. The quarantine's files hold all of them in full.
//!
//! One is taken when a commit with refused events is sealed, so refusing costs nothing more. Without a quarantine
//! none is taken: whoever keeps no refused bytes does not want them shown either.

/// Samples of a shard.
pub const SAMPLES_MAX: usize = 8;
/// Bytes of each.
pub const SAMPLE_BYTES: usize = 200;

/// The start of a refused event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it was sealed: Unix time in milliseconds.
    pub time_ms: u64,
    /// Which event of its body, or line of its connection.
    pub index: u32,
    /// Where in the body the trouble was found.
    pub offset: u32,
    /// Bytes of the whole event.
    pub length: u32,
    /// Why it was refused.
    pub reason: &'static str,
    start: [u8; SAMPLE_BYTES],
}

impl Sample {
    const NONE: Sample =
        Sample { time_ms: 0, index: 0, offset: 0, length: 0, reason: "", start: [0; SAMPLE_BYTES] };

    /// Of an event's bytes.
    pub fn new(time_ms: u64, (index, offset): (u32, u32), reason: &'static str, bytes: &[u8]) -> Sample {
        let mut start = [0; SAMPLE_BYTES];
        let kept = bytes.len().min(SAMPLE_BYTES);
        start[..kept].copy_from_slice(&bytes[..kept]);
        Sample { time_ms, index, offset, length: bytes.len() as u32, reason, start }
    }

    /// Its first bytes, which may be anything.
    pub fn start(&self) -> &[u8] {
        &self.start[..SAMPLE_BYTES.min(self.length as usize)]
    }
}

/// The newest samples.
#[derive(Clone, Copy, Debug)]
pub struct Samples {
    ring: [Sample; SAMPLES_MAX],
    taken: usize,
}

impl Samples {
    /// None yet.
    pub const fn new() -> Samples {
        Samples { ring: [Sample::NONE; SAMPLES_MAX], taken: 0 }
    }

    /// Takes one, in the place of the oldest.
    pub fn take(&mut self, sample: Sample) {
        self.ring[self.taken % SAMPLES_MAX] = sample;
        self.taken = self.taken.wrapping_add(1);
    }

    /// Newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Sample> {
        (1..=self.taken.min(SAMPLES_MAX)).map(|back| &self.ring[(self.taken - back) % SAMPLES_MAX])
    }
}

impl Default for Samples {
    fn default() -> Samples {
        Samples::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};

    #[test]
    fn the_newest_stay_and_long_ones_are_cut() {
        let mut samples = Samples::new();
        assert_eq!(samples.newest_first().count(), 0);
        for n in 0..20 {
            samples.take(Sample::new(n, (1, 2), "why", &vec![b'x'; n as usize * 20]));
        }
        let got: Vec<_> = samples.newest_first().map(|s| (s.time_ms, s.length, s.start().len())).collect();
        assert_eq!(got.len(), SAMPLES_MAX);
        assert_eq!((got[0], got[7]), ((19, 380, 200), (12, 240, 200)));
        samples.take(Sample::new(20, (0, 0), "why", b"\xff\0"));
        assert_eq!(samples.newest_first().next().map(Sample::start), Some(&b"\xff\0"[..]));
    }
}
