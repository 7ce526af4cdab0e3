//! What the engine asks of a sealed arena when some of it failed: which events, and their bytes.
use super::{RecordArena, Slot};
use crate::memory::Memory;
use core::ops::Range;

impl<M: Memory> RecordArena<M> {
    /// Indexes in the commit of a batch's events, in order, run by run.
    pub fn events_of(&self, slot: Slot) -> impl Iterator<Item = Range<u32>> + '_ {
        let runs = self.runs_of(slot.0 as usize);
        runs.map(|run| run.first_event..run.first_event + run.records)
    }
}
