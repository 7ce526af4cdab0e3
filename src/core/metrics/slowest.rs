//! The slowest requests of late, with their stages: what the tail is made of.
use super::stages::STAGES;

/// How many are kept.
pub const SLOWEST_MAX: usize = 16;
/// A request older than this makes room for any newer one, so that the list does not stay at the first
/// minute after start. In milliseconds: ten minutes, several scrapes and one person's attention span.
pub const AGE_MS_MAX: u64 = 600_000;

/// One request's times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlowRequest {
    /// First byte received to reply handed to the kernel, in nanoseconds.
    pub total_ns: u64,
    /// Time of each stage in nanoseconds, in the order of [`STAGES`].
    pub stages_ns: [u64; STAGES.len()],
    /// When it was answered: Unix time in milliseconds.
    pub time_ms: u64,
    /// Status of the reply.
    pub status: u16,
    /// Events in its body.
    pub events: u32,
    /// Bytes of its body.
    pub bytes: u32,
}

/// A fixed list of the slowest requests of the last ten minutes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slowest {
    list: [SlowRequest; SLOWEST_MAX],
    /// Entries in use, a prefix of `list`.
    len: usize,
    /// Position of the entry to replace next once the list is full.
    weakest: usize,
    /// When the oldest entry grows too old, in Unix milliseconds.
    stale_at_ms: u64,
}

impl Slowest {
    /// An empty list.
    pub const fn new() -> Slowest {
        let none = SlowRequest {
            total_ns: 0,
            stages_ns: [0; STAGES.len()],
            time_ms: 0,
            status: 0,
            events: 0,
            bytes: 0,
        };
        Slowest { list: [none; SLOWEST_MAX], len: 0, weakest: 0, stale_at_ms: u64::MAX }
    }

    /// Whether [`Slowest::offer`] would take a request of this length now: two comparisons, so that the
    /// caller need not gather the particulars of the ordinary ones.
    pub fn would_take(&self, total_ns: u64, time_ms: u64) -> bool {
        self.len < SLOWEST_MAX || total_ns > self.list[self.weakest].total_ns || time_ms >= self.stale_at_ms
    }

    /// Takes the request in if it belongs among the slowest, else forgets it.
    pub fn offer(&mut self, request: &SlowRequest) {
        if !self.would_take(request.total_ns, request.time_ms) {
            return;
        }
        if self.len < SLOWEST_MAX {
            self.list[self.len] = *request;
            self.len += 1;
        } else {
            let stale = |entry: &SlowRequest| request.time_ms >= entry.time_ms.saturating_add(AGE_MS_MAX);
            let slot = self.list.iter().position(stale).unwrap_or(self.weakest);
            self.list[slot] = *request;
        }
        self.settle();
    }

    /// Finds the next entry to give way, after a change.
    fn settle(&mut self) {
        let used = &self.list[..self.len];
        self.weakest = used.iter().enumerate().min_by_key(|(_, r)| r.total_ns).map_or(0, |(at, _)| at);
        let oldest = used.iter().map(|r| r.time_ms).min();
        self.stale_at_ms = oldest.map_or(u64::MAX, |ms| ms.saturating_add(AGE_MS_MAX));
    }

    /// The requests kept, slowest first.
    pub fn worst_first(&self) -> alloc::vec::Vec<SlowRequest> {
        let mut sorted = self.list[..self.len].to_vec();
        sorted.sort_by_key(|request| core::cmp::Reverse(request.total_ns));
        sorted
    }

    /// Takes in another shard's.
    pub fn merge(&mut self, other: &Slowest) {
        for request in &other.list[..other.len] {
            self.offer(request);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn totals(slowest: &Slowest) -> Vec<u64> {
        slowest.worst_first().iter().map(|r| r.total_ns).collect()
    }

    #[test]
    fn keeps_the_slowest_in_any_order_of_arrival() {
        let rising: Vec<u64> = (1..=100).collect();
        let falling: Vec<u64> = (1..=100).rev().collect();
        let mixed: Vec<u64> = (1..=100).map(|n| n * 37 % 101).collect();
        for order in [rising, falling, mixed] {
            let mut slowest = Slowest::new();
            for total_ns in order {
                slowest.offer(&SlowRequest { total_ns, time_ms: 5, ..SlowRequest::default() });
            }
            assert_eq!(totals(&slowest), (85..=100).rev().collect::<Vec<_>>());
            assert!(!slowest.would_take(85, 6) && slowest.would_take(86, 6));
        }
    }

    #[test]
    fn old_ones_give_way() {
        let mut slowest = Slowest::new();
        for n in 0..SLOWEST_MAX as u64 {
            slowest.offer(&SlowRequest { total_ns: 1_000 + n, time_ms: n, ..SlowRequest::default() });
        }
        slowest.offer(&SlowRequest { total_ns: 1, time_ms: AGE_MS_MAX - 1, ..SlowRequest::default() });
        assert!(!totals(&slowest).contains(&1), "nothing is old yet");
        slowest.offer(&SlowRequest { total_ns: 1, time_ms: AGE_MS_MAX, ..SlowRequest::default() });
        assert!(totals(&slowest).contains(&1) && !totals(&slowest).contains(&1_000));
        assert_eq!(totals(&slowest).len(), SLOWEST_MAX);
    }

    #[test]
    fn an_empty_list_takes_anything() {
        let mut slowest = Slowest::new();
        assert!(slowest.worst_first().is_empty());
        slowest.offer(&SlowRequest::default());
        assert_eq!(totals(&slowest), [0]);
    }
}
