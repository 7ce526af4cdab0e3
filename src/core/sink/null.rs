//! The sink that keeps nothing: for measuring everything before it.
use super::{Mail, NotReady, Receipt, Request, Sealed, Sink};
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
    fn committed(&mut self) -> Option<Receipt> {
        None
    }
    fn receipt(&self) -> Option<Receipt> {
        None
    }
    fn failed(&mut self, _no_space: bool) {}
    fn next_request(&mut self) -> Option<Request> {
        None
    }
    fn mail(&mut self, _mail: Mail) {}
    fn close(&mut self) {}
}
