//! What a shard's connections came to that other shards were to have, and its own of theirs.
use super::exposition::{Answer, answered, family};
use alloc::string::String;
use core::fmt::{self, Write};

/// Shards told apart as receivers; those beyond count together with the last.
pub const RECEIVERS: usize = 256;

/// Copied out of the shard when figures are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BalanceFigures {
    /// There are several shards, and connections are spread over them.
    pub used: bool,
    /// 1 while a new connection would go to another shard; of several shards how many.
    pub repairing: u64,
    /// Why it would; of several shards the first that has a reason.
    pub why: Option<&'static str>,
    /// Connections that sent something of late.
    pub active: u64,
    /// Thousandths of its core that the shard took of late.
    pub busy: u64,
    /// Connections handed over, by receiver.
    pub handed_over: [u64; RECEIVERS],
    /// Connections of other shards that are served here.
    pub adopted: u64,
    /// Connections of other shards that found no room here and went back.
    pub returned: u64,
    /// Connections of other shards that were closed here, for they could not even go back.
    pub closed: u64,
    /// Connections that stayed though the shard was above the others.
    pub forgone: u64,
}

impl Default for BalanceFigures {
    fn default() -> BalanceFigures {
        BalanceFigures {
            used: false,
            repairing: 0,
            why: None,
            active: 0,
            busy: 0,
            handed_over: [0; RECEIVERS],
            adopted: 0,
            returned: 0,
            closed: 0,
            forgone: 0,
        }
    }
}

impl BalanceFigures {
    /// Counts a connection that was given to that shard.
    pub fn hand_over(&mut self, to: usize) {
        self.handed_over[to.min(RECEIVERS - 1)] += 1;
    }

    /// The receivers that were given any, with how many.
    pub fn receivers(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.handed_over.iter().copied().enumerate().filter(|(_, count)| *count > 0)
    }

    /// Adds another shard's.
    pub fn merge(&mut self, other: &BalanceFigures) {
        self.used |= other.used;
        self.why = self.why.or(other.why);
        for (mine, theirs) in self.handed_over.iter_mut().zip(other.handed_over) {
            *mine += theirs;
        }
        for (mine, theirs) in [
            (&mut self.repairing, other.repairing),
            (&mut self.active, other.active),
            (&mut self.busy, other.busy),
            (&mut self.adopted, other.adopted),
            (&mut self.returned, other.returned),
            (&mut self.closed, other.closed),
            (&mut self.forgone, other.forgone),
        ] {
            *mine += theirs;
        }
    }

    /// Name, help and value of each number but those by receiver.
    pub fn each(&self) -> [(&'static str, &'static str, u64); 6] {
        [
            (
                "connections_active",
                "Ingest connections that sent something in the last 15 seconds.",
                self.active,
            ),
            ("repairing", "1 while new connections of this shard go to other shards.", self.repairing),
            ("connections_adopted_total", "Connections of other shards that are served here.", self.adopted),
            (
                "connections_returned_total",
                "Connections of other shards that found no room here and went back.",
                self.returned,
            ),
            (
                "hand_overs_closed_total",
                "Connections of other shards that were closed here: no room, and none to go back to; or no descriptor.",
                self.closed,
            ),
            (
                "hand_overs_forgone_total",
                "Connections that stayed though the shard was above the others: none could have them, or enough \
                 had been handed over.",
                self.forgone,
            ),
        ]
    }
}

/// Appends everything about it; nothing if no shard has others.
pub(super) fn render(out: &mut String, answers: &[Answer<'_>]) -> fmt::Result {
    let shards = || answered(answers).map(|(shard, snapshot)| (shard, &snapshot.metrics.balance));
    if !shards().any(|(_, balance)| balance.used) {
        return Ok(());
    }
    for (at, (name, help, _)) in BalanceFigures::default().each().into_iter().enumerate() {
        let full = alloc::format!("ringmill_{name}");
        family(out, &full, if name.ends_with("_total") { "counter" } else { "gauge" }, help)?;
        for (shard, balance) in shards() {
            writeln!(out, "{full}{{shard=\"{shard}\"}} {}", balance.each()[at].2)?;
        }
    }
    let name = "ringmill_connections_handed_over_total";
    family(out, name, "counter", "New connections that another shard was given, by receiver.")?;
    for (shard, balance) in shards() {
        for (to, count) in balance.receivers() {
            writeln!(out, "{name}{{shard=\"{shard}\",to=\"{to}\"}} {count}")?;
        }
    }
    let name = "ringmill_shard_busy_ratio";
    family(out, name, "gauge", "Share of its core that the shard took of late.")?;
    for (shard, balance) in shards() {
        writeln!(out, "{name}{{shard=\"{shard}\"}} {}.{:03}", balance.busy / 1000, balance.busy % 1000)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_beyond_the_last_count_with_it_and_shards_add_up() {
        let mut one = BalanceFigures { used: true, repairing: 1, why: Some("busy"), ..Default::default() };
        for to in [1, RECEIVERS - 1, RECEIVERS, 70_000] {
            one.hand_over(to);
        }
        assert!(one.receivers().eq([(1, 1), (RECEIVERS - 1, 3)]));
        let mut sum = BalanceFigures { adopted: 2, ..Default::default() };
        sum.merge(&one);
        sum.merge(&one);
        assert!(sum.receivers().eq([(1, 2), (RECEIVERS - 1, 6)]));
        assert_eq!((sum.used, sum.repairing, sum.why, sum.adopted), (true, 2, Some("busy"), 2));
    }
}
