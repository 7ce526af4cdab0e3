//! The slowest requests of the last minute, with their stages and why: what the tail is made of.
//!
//! The minute slides by slices of a quarter: each keeps its own slowest, and the oldest slice is forgotten as a
//! whole. So an ordinary request is one comparison with [`Slowest::bar_ns`], nothing is sorted before somebody looks,
//! and whatever belongs among the slowest of the minute is among those of its slice.
use super::cause::{Around, Cause};
use super::stages::STAGES;
use crate::segment::header::StreamName;
use alloc::vec::Vec;
use core::net::SocketAddr;

/// How many are kept, of a slice and of the minute.
pub const SLOWEST_MAX: usize = 32;
/// How many of them may be slow for their peer's sake: a crowd of slow peers must not hide what the server did.
pub const PEERS_MAX: usize = 8;
/// How far back the list reaches, in nanoseconds.
pub const WINDOW_NS: u64 = 60_000_000_000;
const SLICE_NS: u64 = WINDOW_NS / 4;
/// Four that are full and the one that fills.
const SLICES: usize = 5;

/// One request's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowRequest {
    /// Shard that took it.
    pub shard: u32,
    /// First byte seen to reply taken by the kernel, in nanoseconds.
    pub total_ns: u64,
    /// How long its first byte may have lain in the socket before, at most: the turn before was long.
    pub unseen_ns: u64,
    /// Time of each stage in nanoseconds, in the order of [`STAGES`]; 0 also where it was not timed.
    pub stages_ns: [u64; STAGES.len()],
    /// Between the last byte and being taken in: there was no room, or others had their share.
    pub room_ns: u64,
    /// What took most of it.
    pub cause: Cause,
    /// What happened around it.
    pub around: Around,
    /// When its reply was gone, on the shard's clock.
    pub at_ns: u64,
    /// The same as Unix time in milliseconds.
    pub time_ms: u64,
    /// Status of the reply.
    pub status: u16,
    /// Events in its body.
    pub events: u32,
    /// Bytes of its body.
    pub bytes: u32,
    /// Where its events went; `None`: not known any more, or it named none because it was refused before.
    pub stream: Option<StreamName>,
    /// Who sent it, once that was asked for.
    pub peer: Option<SocketAddr>,
    /// Its connection: slot, and how many had the slot before.
    pub conn: (u32, u32),
}

impl SlowRequest {
    const NONE: SlowRequest = SlowRequest {
        shard: 0,
        total_ns: 0,
        unseen_ns: 0,
        stages_ns: [0; STAGES.len()],
        room_ns: 0,
        cause: Cause::Unknown,
        around: Around { stalled_ns: 0, stall: None, neighbour_ns: 0, neighbour_bytes: 0 },
        at_ns: 0,
        time_ms: 0,
        status: 0,
        events: 0,
        bytes: 0,
        stream: None,
        peer: None,
        conn: (0, 0),
    };

    /// What it is ranked by: its peer may have waited that long.
    pub fn weight_ns(&self) -> u64 {
        self.total_ns.saturating_add(self.unseen_ns)
    }
}

impl Default for SlowRequest {
    fn default() -> SlowRequest {
        SlowRequest::NONE
    }
}

/// The slowest of a quarter of a minute.
#[derive(Clone, Debug)]
struct Slice {
    list: [SlowRequest; SLOWEST_MAX],
    /// Entries in use, a prefix of `list`.
    len: usize,
    /// What a request must exceed to belong here.
    bar_ns: u64,
}

impl Slice {
    const EMPTY: Slice = Slice { list: [SlowRequest::NONE; SLOWEST_MAX], len: 0, bar_ns: 0 };

    fn used(&self) -> &[SlowRequest] {
        &self.list[..self.len]
    }

    fn clear(&mut self) {
        (self.len, self.bar_ns) = (0, 0);
    }

    fn copy_from(&mut self, other: &Slice) {
        self.list[..other.len].copy_from_slice(other.used());
        (self.len, self.bar_ns) = (other.len, other.bar_ns);
    }

    fn offer(&mut self, request: &SlowRequest) {
        let is_peers = request.cause.is_peers();
        let peers = self.used().iter().filter(|entry| entry.cause.is_peers()).count();
        let crowded = is_peers && peers >= PEERS_MAX;
        if self.len < SLOWEST_MAX && !crowded {
            self.list[self.len] = *request;
            self.len += 1;
        } else {
            let rivals = self.list[..self.len].iter_mut().filter(|entry| !crowded || entry.cause.is_peers());
            let Some(weakest) = rivals.min_by_key(|entry| entry.weight_ns()) else { return };
            if weakest.weight_ns() >= request.weight_ns() {
                return;
            }
            *weakest = *request;
        }
        if self.len == SLOWEST_MAX {
            self.bar_ns = self.used().iter().map(SlowRequest::weight_ns).min().unwrap_or(0);
        }
    }
}

/// The slowest requests of the last minute. All memory is taken by [`Slowest::new`].
#[derive(Clone, Debug)]
pub struct Slowest {
    slices: Vec<Slice>,
    /// Number of the slice that fills, counted from the clock's zero; it lies at this place modulo their number.
    newest: u64,
    now_ns: u64,
}

impl Slowest {
    /// Empty. Allocates some 50 KiB.
    pub fn new() -> Slowest {
        Slowest { slices: (0..SLICES).map(|_| Slice::EMPTY).collect(), newest: 0, now_ns: 0 }
    }

    /// A request that took no longer than this is not among the slowest.
    #[inline]
    pub fn bar_ns(&self) -> u64 {
        self.slices[(self.newest % SLICES as u64) as usize].bar_ns
    }

    /// Lets the window slide to `now_ns`. To be called now and then, and before anybody looks.
    pub fn slide(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.slide_to(now_ns / SLICE_NS);
    }

    fn slide_to(&mut self, newest: u64) {
        let steps = newest.saturating_sub(self.newest).min(SLICES as u64);
        for step in 0..steps {
            self.slices[((newest - step) % SLICES as u64) as usize].clear();
        }
        self.newest = self.newest.max(newest);
    }

    /// Takes the request in if it belongs among the slowest of its time, else forgets it.
    pub fn offer(&mut self, request: &SlowRequest) {
        self.slide(request.at_ns.max(self.now_ns));
        self.slices[(self.newest % SLICES as u64) as usize].offer(request);
    }

    /// Enters the address of a connection into its requests.
    pub fn name(&mut self, conn: (u32, u32), peer: SocketAddr) {
        for slice in &mut self.slices {
            let its = slice.list[..slice.len].iter_mut().filter(|entry| entry.conn == conn);
            its.for_each(|entry| entry.peer = Some(peer));
        }
    }

    /// The slowest requests of the minute, slowest first, at most [`SLOWEST_MAX`].
    pub fn worst_first(&self) -> Vec<SlowRequest> {
        let since_ns = self.now_ns.saturating_sub(WINDOW_NS);
        let all = self.slices.iter().flat_map(Slice::used);
        let mut sorted: Vec<SlowRequest> = all.filter(|entry| entry.at_ns >= since_ns).copied().collect();
        sorted.sort_by_key(|entry| core::cmp::Reverse(entry.weight_ns()));
        let mut peers = 0;
        sorted.retain(|entry| {
            peers += usize::from(entry.cause.is_peers());
            !entry.cause.is_peers() || peers <= PEERS_MAX
        });
        sorted.truncate(SLOWEST_MAX);
        sorted
    }

    /// Becomes equal to `other` without allocating.
    pub fn copy_from(&mut self, other: &Slowest) {
        for (mine, theirs) in self.slices.iter_mut().zip(&other.slices) {
            mine.copy_from(theirs);
        }
        (self.newest, self.now_ns) = (other.newest, other.now_ns);
    }

    /// Takes in another shard's, whose clock is the same.
    pub fn merge(&mut self, other: &Slowest) {
        self.now_ns = self.now_ns.max(other.now_ns);
        self.slide_to(other.newest);
        for back in 0..SLICES as u64 {
            // What is older than the oldest of ours has been forgotten.
            let Some(number) = other.newest.checked_sub(back) else { break };
            if number + SLICES as u64 > self.newest {
                let at = (number % SLICES as u64) as usize;
                other.slices[at].used().iter().for_each(|entry| self.slices[at].offer(entry));
            }
        }
    }
}

impl Default for Slowest {
    fn default() -> Slowest {
        Slowest::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn slow(total_ns: u64, at_s: u64) -> SlowRequest {
        SlowRequest { total_ns, at_ns: at_s * S, ..SlowRequest::default() }
    }

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
            order.into_iter().for_each(|total_ns| slowest.offer(&slow(total_ns, 5)));
            assert_eq!(totals(&slowest), (69..=100).rev().collect::<Vec<_>>());
            assert_eq!(slowest.bar_ns(), 69, "what takes no longer is turned away by one comparison");
        }
    }

    #[test]
    fn the_window_slides_and_no_slow_one_of_the_minute_is_lost() {
        let mut slowest = Slowest::new();
        // A slow one a second, each quarter of a minute beside a crowd of quick ones.
        for s in 0..200 {
            slowest.slide(s * S);
            slowest.offer(&slow(1_000_000 + s, s));
            (0..100).for_each(|n| slowest.offer(&slow(n, s)));
            let expected: Vec<u64> =
                (s.saturating_sub(60)..=s).rev().take(32).map(|s| 1_000_000 + s).collect();
            let got = totals(&slowest);
            assert_eq!(&got[..expected.len()], expected, "after {s} s");
        }
        slowest.slide(500 * S);
        assert_eq!((totals(&slowest), slowest.bar_ns()), (Vec::new(), 0), "nobody came for minutes");
        slowest.slide(u64::MAX);
        slowest.offer(&slow(1, 3));
        assert!(totals(&slowest).is_empty(), "a moment long ago");
    }

    #[test]
    fn slow_peers_do_not_hide_the_rest() {
        let mut slowest = Slowest::new();
        let by_peer = |n| SlowRequest { cause: Cause::SlowBody, ..slow(30 * S + n, 1) };
        (0..10).for_each(|n| slowest.offer(&SlowRequest { cause: Cause::Commit, ..slow(n + 1, 1) }));
        (0..100).for_each(|n| slowest.offer(&by_peer(n)));
        let got = slowest.worst_first();
        assert_eq!(got.iter().filter(|entry| entry.cause.is_peers()).count(), PEERS_MAX);
        assert_eq!(got.len(), PEERS_MAX + 10);
        assert_eq!(got[0].total_ns, 30 * S + 99);
        (0..100).for_each(|n| slowest.offer(&SlowRequest { cause: Cause::Commit, ..slow(40 * S + n, 1) }));
        assert!(
            slowest.worst_first().iter().all(|entry| entry.cause == Cause::Commit),
            "all of them were slower"
        );
    }

    #[test]
    fn what_lay_unseen_counts() {
        let mut slowest = Slowest::new();
        slowest.offer(&SlowRequest { unseen_ns: 100, ..slow(1, 1) });
        slowest.offer(&slow(50, 1));
        assert_eq!(totals(&slowest), [1, 50]);
    }

    #[test]
    fn a_connection_is_named_in_all_its_requests_and_no_other() {
        let mut slowest = Slowest::new();
        for (at_s, conn) in [(1, (7, 1)), (20, (7, 1)), (20, (7, 2)), (20, (8, 1))] {
            slowest.offer(&SlowRequest { conn, ..slow(at_s, at_s) });
        }
        let peer = SocketAddr::from(([127, 0, 0, 9], 1234));
        slowest.name((7, 1), peer);
        for entry in slowest.worst_first() {
            assert_eq!(entry.peer, (entry.conn == (7, 1)).then_some(peer));
        }
    }

    #[test]
    fn shards_with_different_last_requests_add_up() {
        let (mut early, mut late) = (Slowest::new(), Slowest::new());
        early.offer(&slow(9, 10));
        early.offer(&slow(8, 40));
        late.offer(&slow(7, 80));
        for (one, other) in [(&early, &late), (&late, &early)] {
            let mut sum = Slowest::new();
            sum.merge(one);
            sum.merge(other);
            assert_eq!(totals(&sum), [8, 7]);
        }
        let mut copy = Slowest::new();
        (0..99).for_each(|n| copy.offer(&slow(n, 80)));
        copy.copy_from(&late);
        assert_eq!(totals(&copy), [7], "an older content must not shine through");
    }
}
