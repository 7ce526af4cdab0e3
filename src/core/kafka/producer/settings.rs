//! What a producer is told at its start: sizes of its tables, times, seed. All memory follows from it.

use super::backoff::Backoff;

const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// Sizes, times and the seed of one shard's [`Producer`](super::Producer).
#[derive(Clone, Debug)]
pub struct Settings {
    /// Addresses in the bootstrap list; 1 at least. The edge knows what they are.
    pub bootstrap: u16,
    /// Brokers that can be known at once, 1 to 32,766. One link each, and one for bootstrapping.
    pub brokers_max: usize,
    /// Topics that can be named.
    pub topics_max: usize,
    /// Partitions of all topics together.
    pub partitions_max: usize,
    /// Batches that can be submitted at once: slots are 0 to this - 1.
    pub slots_max: usize,
    /// Produce requests in flight per link. 5: what the Java client takes by default.
    pub requests_max: usize,
    /// Batches of one request. 20: three parts each stay below the 64 slices of one send.
    pub batches_per_request_max: usize,
    /// Bytes of batches of one request; a single batch goes out however large it is. 8 MiB: far below the
    /// broker's `socket.request.max.bytes` of 100 MiB, and a bound on what a slow link delays.
    pub request_bytes_max: u64,
    /// From `submit` to the last moment at which an outcome is given. 120 s: Java's `delivery.timeout.ms`.
    pub delivery_timeout_ns: u64,
    /// A partition whose leader could not be reached for so long is forsaken: what of it is surely in no log is given
    /// up then, and at once from then on. 10 s: brokers that died lose their leadership after 9 s by default.
    pub leader_wait_ns: u64,
    /// From a request to its answer; then the link is given up. 30 s: Java's `request.timeout.ms`. Must exceed
    /// the timeout that Produce requests tell the broker.
    pub request_timeout_ns: u64,
    /// From `Dial` to `Up`: TCP, TLS, ApiVersions and SASL together. 10 s: Java's `socket.connection.setup.timeout.ms`.
    pub dial_timeout_ns: u64,
    /// A request that is older makes the producer ask another broker who leads. 2 s: a stopped broker loses its
    /// leadership within 1 to 1.5 s.
    pub suspect_ns: u64,
    /// A broker with a request that is older counts as not reachable until it answers: what has a choice goes
    /// elsewhere, and where all are silent the producer is not ready. 5 s: above what slow replicas take.
    pub silent_ns: u64,
    /// Retries of a batch, and of questions (metadata, producer ids). 100 ms to 1 s: Java's `retry.backoff`.
    pub retry: Backoff,
    /// Redials of a broker. 50 ms to 10 s.
    pub redial: Backoff,
    /// Retries of one batch; `u32::MAX` leaves it to the delivery timeout.
    pub retries_max: u32,
    /// Metadata is asked for again after this time. 300 s: Java's `metadata.max.age.ms`.
    pub metadata_age_ns: u64,
    /// Without an answer about metadata for so long, though one is wanted, the bootstrap list is asked (KIP-1102).
    pub rebootstrap_ns: u64,
    /// A denied topic counts as not ready for so long; then the next batch tries again. 10 s.
    pub denied_retry_ns: u64,
    /// The longest that a broker can mute its link by one answer. 60 s: beyond any quota window in use.
    pub throttle_max_ns: u64,
    /// Let brokers create topics that are asked for and do not exist.
    pub allow_create: bool,
    /// First sequence number of a new producer id: 0. Tests begin just before the wrap.
    pub first_sequence: i32,
    /// Source of all chance in here.
    pub seed: u64,
}

impl Settings {
    /// The usual times, and tables for `topics` topics with `partitions` partitions together.
    #[must_use]
    pub fn new(bootstrap: u16, brokers: usize, topics: usize, partitions: usize, seed: u64) -> Settings {
        Settings {
            bootstrap,
            brokers_max: brokers,
            topics_max: topics,
            partitions_max: partitions,
            slots_max: partitions,
            requests_max: 5,
            batches_per_request_max: 20,
            request_bytes_max: 8 << 20,
            delivery_timeout_ns: 120 * S,
            leader_wait_ns: 10 * S,
            request_timeout_ns: 30 * S,
            dial_timeout_ns: 10 * S,
            suspect_ns: 2 * S,
            silent_ns: 5 * S,
            retry: Backoff { min_ns: 100 * MS, max_ns: S },
            redial: Backoff { min_ns: 50 * MS, max_ns: 10 * S },
            retries_max: u32::MAX,
            metadata_age_ns: 300 * S,
            rebootstrap_ns: 300 * S,
            denied_retry_ns: 10 * S,
            throttle_max_ns: 60 * S,
            allow_create: false,
            first_sequence: 0,
            seed,
        }
    }
}
