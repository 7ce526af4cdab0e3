//! When a batch is sealed: as soon as the device is idle, or held back while it may still grow.

/// Bounds of a batch, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// No request joins a batch that it would push past this many bytes (an empty batch takes any request).
    pub bytes_max: usize,
    /// Seal at this many events without waiting for `linger_ns`.
    pub events_max: u32,
    /// How long a batch may wait for company while the device is idle; 0: not at all.
    pub linger_ns: u64,
}

impl Policy {
    /// Whether a batch of that size and age goes to an idle device now.
    pub fn seals(&self, bytes: usize, events: u32, age_ns: u64) -> bool {
        age_ns >= self.linger_ns || bytes >= self.bytes_max || events >= self.events_max
    }

    /// Whether a request of `body_bytes` may still join a batch of `bytes`.
    pub fn admits(&self, bytes: usize, body_bytes: usize) -> bool {
        bytes == 0 || bytes + body_bytes <= self.bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules() {
        let eager = Policy { bytes_max: 1000, events_max: 10, linger_ns: 0 };
        assert!(eager.seals(1, 1, 0), "without linger an idle device takes what there is");
        let patient = Policy { linger_ns: 500, ..eager };
        for (bytes, events, age, seals) in
            [(1, 1, 0, false), (1, 1, 499, false), (1, 1, 500, true), (1000, 1, 0, true), (1, 10, 0, true)]
        {
            assert_eq!(patient.seals(bytes, events, age), seals, "{bytes} {events} {age}");
        }
        assert!(eager.admits(0, 5000) && eager.admits(600, 400) && !eager.admits(600, 401));
    }
}
