//! What must hold while a life goes on: nobody waits for a partition without a leader longer than told.
use super::world::World;
use crate::kafka::producer::partition::Phase;
use std::format;
use std::string::String;

impl World {
    /// What is surely in no log waits for a leader no longer than it may.
    pub(super) fn nobody_is_held_up(&self) -> Result<(), String> {
        let producer = &self.producer;
        // Hanging up in the end is not told to anybody.
        if producer.is_finished() {
            return Ok(());
        }
        for part in &producer.partitions {
            let reached = part.leader.is_some_and(|row| producer.rows[row].is_up());
            if reached == part.away_since_ns.is_some() {
                return Err(format!("does not know whether its leader is there: {part:?}"));
            }
            let too_long = |since| self.now > since + producer.settings.leader_wait_ns;
            let waits = !matches!(part.phase, Phase::Sent { .. } | Phase::Held)
                && part.head.is_some_and(|head| !producer.batches[head].maybe);
            if waits && part.away_since_ns.is_some_and(too_long) {
                return Err(format!("waits for a leader for too long: {part:?}"));
            }
        }
        Ok(())
    }
}
