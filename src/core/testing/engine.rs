//! What engines in tests are told, where it does not matter.
use crate::ack::Ack;
use crate::batch::policy::Policy;
use crate::engine::{Config, Timeouts};

/// Four connections, room for one of the largest bodies in all, commits of 256 KiB, replies to lines, no quarantine.
pub fn config() -> Config {
    Config {
        shard: 0,
        connections_max: 4,
        body_budget_bytes: 17 << 20,
        batch_arena_bytes: 1 << 20,
        refused_arena_bytes: 64 << 10,
        ack: Ack::Durable,
        policy: Policy { bytes_max: 256 << 10, events_max: 10_000, linger_ns: 0 },
        lines_replies: true,
        shed_after_ns: 1_000_000_000,
        quarantine_first: None,
        timeouts: Timeouts::default(),
    }
}
