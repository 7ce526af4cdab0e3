//! The sink that keeps nothing: for measuring everything before it.
use super::{NotReady, Sealed, Sink};
use crate::{ack::Ack, batch::Batch, memory::Memory};

/// Takes every batch at once and forgets it.
#[derive(Debug, Default)]
pub struct NullSink;

impl Sink for NullSink {
    fn strongest(&self) -> Ack {
        Ack::Accepted
    }
    fn ready(&self) -> Result<(), NotReady> {
        Ok(())
    }
    fn seal<M: Memory>(&mut self, _batch: &mut Batch<M>, _wall_ms: u64) -> Sealed {
        Sealed::Settled
    }
}
