//! What the HTTP sink adds to the memory plan.
use super::http::HttpPlan;
use super::memory::{ARENAS, FATES_BYTES, LINK_TLS_BYTES, Term};
use crate::core::batch::Batch;
use crate::core::json::MAX_EVENT_BYTES;
use crate::core::sink::http::{HttpSink, Preset};
use crate::sink::http::encode::Coding;
use crate::sink::http::{Links, peers_max};
use crate::sys::mapping::Mapping;

const KIB: u64 = 1 << 10;

/// The quantities of the HTTP sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpSizes {
    /// How the target wants events.
    pub preset: Preset,
    /// Connections of a shard.
    pub connections: u16,
    /// Bytes of one body.
    pub batch_bytes: u64,
    /// How bodies are compressed.
    pub coding: Coding,
    /// Whether connections are encrypted.
    pub tls: bool,
}

impl HttpSizes {
    /// Those of a plan.
    pub fn of(plan: &HttpPlan) -> HttpSizes {
        HttpSizes {
            preset: plan.preset,
            connections: plan.connections,
            batch_bytes: plan.batch_bytes,
            coding: plan.coding,
            tls: plan.tls.is_some(),
        }
    }

    pub(super) fn terms(&self, arena_bytes: u64) -> Vec<Term> {
        let term = |name, count, each_bytes, why| Term { name, count, each_bytes, why };
        let (arena, batch) = (arena_bytes as usize, self.batch_bytes as usize);
        let fates = Batch::<Mapping>::events_max(arena) as u64 + FATES_BYTES;
        let together = self.coding != Coding::Identity || self.preset.is_bulk();
        let items_max = HttpSink::items_max(arena.min(batch + MAX_EVENT_BYTES), self.preset);
        let own = Links::link_bytes(batch, together, items_max) as u64;
        // As for a link to a broker: the driver's receive buffer and addresses, and what is small.
        let link = own + (16 + 2 + 16) * KIB + if self.tls { LINK_TLS_BYTES } else { 0 };
        let tables = HttpSink::table_bytes(arena, batch, self.preset) as u64;
        let mut terms = vec![
            term("fates", ARENAS, fates, "what became of each event, where some failed"),
            term("HTTP requests", 1, tables, "which lines go into which, and how they stand"),
            term("HTTP connections", peers_max(self.connections) as u64, link, "to the target"),
        ];
        if self.coding != Coding::Identity {
            terms.push(term("compression", 1, self.coding.memory_bytes() as u64, "its context"));
        }
        terms
    }
}
