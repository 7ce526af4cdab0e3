//! What a shard's spill came to, as the shard and its replayer see it.
use super::exposition::{Answer, answered, family};
use alloc::string::String;
use core::fmt::{self, Write};

/// Copied out of the engine when figures are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpillFigures {
    /// There is a spill.
    pub used: bool,
    /// Where events go: `direct`, `spilling`, `returning`. Of several shards the first that is not `direct`.
    pub mode: &'static str,
    /// Why the sink takes none, if they go elsewhere.
    pub why: Option<&'static str>,
    /// 1 while events go elsewhere; of several shards how many.
    pub active: u64,
    /// Since when, Unix time in milliseconds; 0: they do not. Of several shards the earliest.
    pub since_ms: u64,
    /// Times that spilling began.
    pub begun: u64,
    /// Events spilled by this process.
    pub events: u64,
    /// Bytes spilled by this process, headers included.
    pub bytes: u64,
    /// Events that the replayer brought to the sink since the process began.
    pub replayed_events: u64,
    /// Their bytes.
    pub replayed_bytes: u64,
    /// Events that the sink refused for good when they were replayed.
    pub refused_events: u64,
    /// Events that are on disk and not with the sink.
    pub waiting_events: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// When the oldest of them came, Unix time in milliseconds; 0: there is none.
    pub oldest_ms: u64,
    /// How long ago that is, in milliseconds.
    pub oldest_age_ms: u64,
}

impl SpillFigures {
    /// Adds another shard's.
    pub fn merge(&mut self, other: &SpillFigures) {
        let earliest = |one: u64, other: u64| match (one, other) {
            (0, at) | (at, 0) => at,
            (one, other) => one.min(other),
        };
        if other.used && (!self.used || self.active == 0) {
            self.mode = other.mode;
        }
        self.used |= other.used;
        self.why = self.why.or(other.why);
        self.since_ms = earliest(self.since_ms, other.since_ms);
        self.oldest_ms = earliest(self.oldest_ms, other.oldest_ms);
        self.oldest_age_ms = self.oldest_age_ms.max(other.oldest_age_ms);
        for (mine, theirs) in [
            (&mut self.active, other.active),
            (&mut self.begun, other.begun),
            (&mut self.events, other.events),
            (&mut self.bytes, other.bytes),
            (&mut self.replayed_events, other.replayed_events),
            (&mut self.replayed_bytes, other.replayed_bytes),
            (&mut self.refused_events, other.refused_events),
            (&mut self.waiting_events, other.waiting_events),
            (&mut self.waiting_bytes, other.waiting_bytes),
        ] {
            *mine += theirs;
        }
    }

    /// Name, help and value of each number.
    pub fn each(&self) -> [(&'static str, &'static str, u64); 10] {
        [
            ("active", "1 while events go to the spill instead of the sink.", self.active),
            ("begun_total", "Times that spilling began.", self.begun),
            ("events_total", "Events spilled.", self.events),
            ("bytes_total", "Bytes spilled, headers included.", self.bytes),
            ("replayed_events_total", "Spilled events that were brought to the sink.", self.replayed_events),
            (
                "replayed_bytes_total",
                "Bytes of spilled events that were brought to the sink.",
                self.replayed_bytes,
            ),
            ("refused_events_total", "Spilled events that the sink refused for good.", self.refused_events),
            ("waiting_events", "Events that are in the spill and not with the sink.", self.waiting_events),
            (
                "waiting_bytes",
                "Bytes of events that are in the spill and not with the sink.",
                self.waiting_bytes,
            ),
            (
                "since_ms",
                "Since when events are spilled: Unix time in milliseconds, 0 if they are not.",
                self.since_ms,
            ),
        ]
    }
}

/// Appends everything about spills; nothing if no shard has one.
pub(super) fn render(out: &mut String, answers: &[Answer<'_>]) -> fmt::Result {
    let shards = || answered(answers).map(|(shard, snapshot)| (shard, snapshot.metrics.spill));
    if !shards().any(|(_, spill)| spill.used) {
        return Ok(());
    }
    for (at, (name, help, _)) in SpillFigures::default().each().into_iter().enumerate() {
        let full = alloc::format!("ringmill_spill_{name}");
        family(out, &full, if name.ends_with("_total") { "counter" } else { "gauge" }, help)?;
        for (shard, spill) in shards() {
            writeln!(out, "{full}{{shard=\"{shard}\"}} {}", spill.each()[at].2)?;
        }
    }
    let name = "ringmill_spill_oldest_seconds";
    family(out, name, "gauge", "Age of the oldest event that is in the spill and not with the sink.")?;
    for (shard, spill) in shards() {
        let ms = spill.oldest_age_ms;
        writeln!(out, "{name}{{shard=\"{shard}\"}} {}.{:03}", ms / 1_000, ms % 1_000)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_add_up_and_the_one_that_spills_shows() {
        let direct = SpillFigures { used: true, mode: "direct", events: 5, ..SpillFigures::default() };
        let spilling = SpillFigures {
            used: true,
            mode: "spilling",
            why: Some("away"),
            active: 1,
            since_ms: 70,
            events: 7,
            waiting_events: 3,
            oldest_ms: 80,
            oldest_age_ms: 20,
            ..SpillFigures::default()
        };
        let later = SpillFigures { since_ms: 90, oldest_ms: 60, oldest_age_ms: 40, ..spilling };
        for order in [[direct, spilling, later], [later, direct, spilling], [spilling, later, direct]] {
            let mut sum = SpillFigures::default();
            order.iter().for_each(|figures| sum.merge(figures));
            assert_eq!((sum.mode, sum.why, sum.active, sum.events), ("spilling", Some("away"), 2, 19));
            assert_eq!((sum.since_ms, sum.oldest_ms, sum.oldest_age_ms), (70, 60, 40));
            assert_eq!(sum.waiting_events, 6);
        }
    }
}
