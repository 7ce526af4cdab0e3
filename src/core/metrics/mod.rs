//! What one shard counts and times, and how it leaves the shard.
//!
//! [`Metrics`] belongs to the shard's engine, which increments its plain fields as it goes: no atomics,
//! no locks, no allocation after [`Metrics::new`]. Whoever wants to look hands the shard an empty
//! [`ShardSnapshot`] that *they* allocated; the shard copies its figures into it (memory copies of about
//! 220 KiB, some 4 µs, and of the lines of a Kafka sink) and sends it back. So a scrape shares nothing with the shard and costs it no allocation.
//!
//! - [`counters`]: what happened, one table for the struct, its sums and every listing;
//! - [`stages`]: where a request's time went;
//! - [`slowest`]: the requests that the tail is made of, and [`cause`] why;
//! - [`samples`]: a few refused events to look at;
//! - [`kafka`], [`http`]: what a sink of that kind adds to that;
//! - [`spill`]: what waits on disk for the sink;
//! - [`balance`]: connections that other shards got;
//! - [`scanner`]: who judges events;
//! - [`exposition`]: all of it as Prometheus text.
pub mod balance;
#[cfg(any(test, feature = "testing"))]
pub mod catalogue;
pub mod cause;
pub mod counters;
pub mod exposition;
pub mod http;
pub mod kafka;
pub mod samples;
pub mod scanner;
pub mod slowest;
pub mod spill;
pub mod stages;

pub use balance::BalanceFigures;
pub use cause::{Cause, Stall};
pub use counters::{Books, Counters, Requests, Timeout};
pub use http::Http;
pub use kafka::Kafka;
pub use samples::{Sample, Samples};
pub use scanner::ScannerFigures;
pub use slowest::{SlowRequest, Slowest};
pub use spill::SpillFigures;
pub use stages::{STAGES, Stage, Stages};

/// Quantities that rise and fall, as they stand now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Events received whose fate is not yet in a counter: in the open batch or in a commit under way.
    pub events_in_flight: u64,
    /// Open ingest connections, of all listeners.
    pub connections: u64,
    /// Bytes in the open batch.
    pub batch_bytes: u64,
    /// Bytes that the open batch can hold at most.
    pub batch_bytes_max: u64,
    /// Receive buffers lent to connections.
    pub buffers_used: u64,
    /// Receive buffers that the shard owns in all.
    pub buffers_max: u64,
    /// Commits handed to the sink whose receipt is not there yet.
    pub commits_in_flight: u64,
    /// Sequence number that the next event will get.
    pub seq_next: u64,
    /// Every event below this sequence number has reached the sink's highest level.
    pub seq_watermark: u64,
    /// Bytes a second that the sink drained lately (what `Retry-After` is computed from).
    pub drain_bytes_per_s: u64,
}

impl Gauges {
    /// Adds another shard's gauges: levels, bounds and rates add up; so do the sequence numbers, which then
    /// count events of all shards.
    pub fn merge(&mut self, other: &Gauges) {
        for (mine, theirs) in self.each_mut().into_iter().zip(other.each()) {
            *mine = mine.saturating_add(theirs.2);
        }
    }

    /// Every gauge as (metric name, help text, value), in the order of the struct.
    pub fn each(&self) -> [(&'static str, &'static str, u64); 10] {
        [
            ("ringmill_events_in_flight", "Events received and not yet settled.", self.events_in_flight),
            ("ringmill_connections", "Open ingest connections.", self.connections),
            ("ringmill_batch_bytes", "Bytes in the open batch.", self.batch_bytes),
            ("ringmill_batch_max_bytes", "Bytes that the open batch can hold.", self.batch_bytes_max),
            ("ringmill_buffers_used", "Receive buffers lent to connections.", self.buffers_used),
            ("ringmill_buffers_max", "Receive buffers that the shard owns.", self.buffers_max),
            ("ringmill_commits_in_flight", "Commits that the sink has not settled.", self.commits_in_flight),
            ("ringmill_seq_next", "Sequence number of the next event.", self.seq_next),
            ("ringmill_seq_watermark", "Events below this sequence number are safe.", self.seq_watermark),
            (
                "ringmill_drain_bytes_per_second",
                "Bytes a second the sink took lately.",
                self.drain_bytes_per_s,
            ),
        ]
    }

    fn each_mut(&mut self) -> [&mut u64; 10] {
        [
            &mut self.events_in_flight,
            &mut self.connections,
            &mut self.batch_bytes,
            &mut self.batch_bytes_max,
            &mut self.buffers_used,
            &mut self.buffers_max,
            &mut self.commits_in_flight,
            &mut self.seq_next,
            &mut self.seq_watermark,
            &mut self.drain_bytes_per_s,
        ]
    }
}

/// Everything one shard measures. The engine owns it and writes its fields directly.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// What happened since start.
    pub counters: Counters,
    /// What stands now.
    pub gauges: Gauges,
    /// Where the time of requests went.
    pub stages: Stages,
    /// The slowest requests of late.
    pub slowest: Slowest,
    /// Refused events of late.
    pub samples: Samples,
    /// Of the Kafka sink, if it is one.
    pub kafka: Kafka,
    /// Of the HTTP sink, if it is one.
    pub http: Http,
    /// Of the spill, if there is one.
    pub spill: SpillFigures,
    /// Of connections that other shards got, if there are others.
    pub balance: BalanceFigures,
    /// Who judges events, and how often a closer look was needed.
    pub scanner: ScannerFigures,
}

impl Metrics {
    /// All zero. Allocates what it will ever need: about 170 KiB of histograms, 50 KiB of slow requests, and address space for 80 KiB of Kafka's
    /// figures, which nothing else touches.
    pub fn new() -> Metrics {
        Metrics {
            counters: Counters::default(),
            gauges: Gauges::default(),
            stages: Stages::new(),
            slowest: Slowest::new(),
            samples: Samples::new(),
            kafka: Kafka::new(),
            http: Http::default(),
            spill: SpillFigures::default(),
            balance: BalanceFigures::default(),
            scanner: ScannerFigures::default(),
        }
    }

    /// Becomes equal to `other` without allocating.
    pub fn copy_from(&mut self, other: &Metrics) {
        self.counters = other.counters;
        self.gauges = other.gauges;
        self.stages.copy_from(&other.stages);
        self.slowest.copy_from(&other.slowest);
        self.samples = other.samples;
        self.kafka.copy_from(&other.kafka);
        self.http = other.http;
        self.spill = other.spill;
        self.balance = other.balance;
        self.scanner = other.scanner;
    }

    /// Adds another shard's figures; samples stay where they are.
    pub fn merge(&mut self, other: &Metrics) {
        self.counters.merge(&other.counters);
        self.gauges.merge(&other.gauges);
        self.stages.merge(&other.stages);
        self.slowest.merge(&other.slowest);
        self.kafka.merge(&other.kafka);
        self.http.merge(&other.http);
        self.spill.merge(&other.spill);
        self.balance.merge(&other.balance);
        self.scanner.merge(&other.scanner);
    }

    /// Both sides of received = stored + quarantined + rejected + shed + in flight.
    pub fn books(&self) -> Books {
        self.counters.books(self.gauges.events_in_flight)
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

/// A shard's figures at one moment, outside the shard.
#[derive(Clone, Debug)]
pub struct ShardSnapshot {
    /// Number of the shard, from 0.
    pub shard: u32,
    /// CPU to which it is pinned; `None` when it is not.
    pub core: Option<u32>,
    /// Whether it takes events, else why not, in words for the operator.
    pub ready: Result<(), &'static str>,
    /// The figures.
    pub metrics: Metrics,
}

impl ShardSnapshot {
    /// An empty snapshot for a shard to fill. Allocates, so make it on the asking side.
    pub fn new() -> ShardSnapshot {
        ShardSnapshot { shard: 0, core: None, ready: Err("not filled"), metrics: Metrics::new() }
    }

    /// Copies a shard's present state in, without allocating.
    pub fn fill(
        &mut self,
        shard: u32,
        core: Option<u32>,
        ready: Result<(), &'static str>,
        metrics: &Metrics,
    ) {
        (self.shard, self.core, self.ready) = (shard, core, ready);
        self.metrics.copy_from(metrics);
    }
}

impl Default for ShardSnapshot {
    fn default() -> ShardSnapshot {
        ShardSnapshot::new()
    }
}

/// The figures of all shards together.
pub fn total<'a>(shards: impl IntoIterator<Item = &'a ShardSnapshot>) -> Metrics {
    let mut sum = Metrics::new();
    for shard in shards {
        sum.merge(&shard.metrics);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shard whose every figure differs from its neighbour's.
    fn shard(number: u32) -> ShardSnapshot {
        let n = u64::from(number) + 1;
        let mut metrics = Metrics::new();
        metrics.counters.events_received = 100 * n;
        metrics.counters.events_stored = 90 * n;
        metrics.counters.events_shed = 3 * n;
        metrics.counters.requests.add(200, 9 * n);
        metrics.gauges.events_in_flight = 7 * n;
        metrics.gauges.drain_bytes_per_s = n;
        metrics.stages.record(Stage::Sink, 1_000 * n);
        metrics.slowest.offer(&SlowRequest { total_ns: n, ..SlowRequest::default() });
        let mut snapshot = ShardSnapshot::new();
        snapshot.fill(number, Some(number + 4), Ok(()), &metrics);
        snapshot
    }

    #[test]
    fn a_snapshot_is_what_the_shard_had() {
        let snapshot = shard(1);
        assert_eq!((snapshot.shard, snapshot.core, snapshot.ready), (1, Some(5), Ok(())));
        assert_eq!(snapshot.metrics.counters.events_received, 200);
        assert_eq!(snapshot.metrics.gauges.events_in_flight, 14);
        assert_eq!(snapshot.metrics.stages.count(Stage::Sink), 1);
        assert_eq!(snapshot.metrics.slowest.worst_first()[0].total_ns, 2);
        let mut again = snapshot.clone();
        again.fill(0, None, Err("draining"), &Metrics::new());
        assert_eq!(again.metrics.stages.count(Stage::Sink), 0, "an older content must not shine through");
        assert_eq!(again.metrics.counters, Counters::default());
    }

    #[test]
    fn shards_add_up() {
        let sum = total(&[shard(0), shard(1), shard(2)]);
        assert_eq!(sum.counters.events_received, 600);
        assert_eq!(sum.counters.requests.get(200), 54);
        assert_eq!(sum.gauges.drain_bytes_per_s, 6);
        assert_eq!(sum.stages.count(Stage::Sink), 3);
        assert_eq!(sum.stages.sum_ns(Stage::Sink), 6_000);
        assert_eq!(
            sum.slowest.worst_first().iter().map(|s| s.total_ns).collect::<alloc::vec::Vec<_>>(),
            [3, 2, 1]
        );
        assert!(sum.books().balanced());
    }

    #[test]
    fn gauges_list_and_add_the_same_fields() {
        let mut gauges = Gauges::default();
        for (n, gauge) in gauges.each_mut().into_iter().enumerate() {
            *gauge = n as u64 + 1;
        }
        let before = gauges;
        for (n, (name, _, value)) in before.each().into_iter().enumerate() {
            assert_eq!(value, n as u64 + 1, "{name}");
        }
        gauges.merge(&before);
        assert!(gauges.each().iter().zip(before.each()).all(|(a, b)| a.2 == 2 * b.2));
    }
}
