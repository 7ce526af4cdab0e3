//! A place beside a sink where events wait while it cannot take them: segments of their own.
//!
//! [`Spilling`] is the two together and decides nothing. The engine asks for the one or the other (`core/engine/spill.rs`
//! says when); to everybody who does not, a spilling sink is the sink that it stands beside.
use super::http::HttpSink;
use super::kafka::KafkaSink;
use super::segments::SegmentSink;
use super::{AnySink, Mail, NotReady, Receipt, Remote, Request, Sealed, Sink};
use crate::ack::Ack;
use crate::batch::Batch;
use crate::batch::store::Layout;
use crate::memory::Memory;

/// The segments, and when they are used.
#[derive(Debug)]
pub struct Spill {
    /// Where events wait.
    pub segments: SegmentSink,
    /// For so many nanoseconds the sink must have taken nothing before events are spilled.
    pub after_ns: u64,
    /// Everything up to this event is replicated, as far as is known at start. What an earlier run left behind it
    /// comes before anything new.
    pub through: u64,
}

/// A sink and its spill.
#[derive(Debug)]
pub struct Spilling {
    main: AnySink,
    spill: Spill,
}

impl Spilling {
    /// `main`, with `spill` beside it.
    pub fn new(main: AnySink, spill: Spill) -> Spilling {
        Spilling { main, spill }
    }
}

impl Sink for Spilling {
    fn strongest(&self) -> Ack {
        self.main.strongest()
    }
    fn ready(&self) -> Result<(), NotReady> {
        self.main.ready()
    }
    fn reached(&self, asked: Ack) -> Ack {
        self.main.reached(asked)
    }
    fn layout(&self) -> Layout {
        self.main.layout()
    }
    #[inline]
    fn kafka(&self) -> Option<&KafkaSink> {
        self.main.kafka()
    }
    #[inline]
    fn kafka_mut(&mut self) -> Option<&mut KafkaSink> {
        self.main.kafka_mut()
    }
    #[inline]
    fn http(&self) -> Option<&HttpSink> {
        self.main.http()
    }
    #[inline]
    fn http_mut(&mut self) -> Option<&mut HttpSink> {
        self.main.http_mut()
    }
    #[inline]
    fn remote<M: Memory>(&self) -> Option<&dyn Remote<M>> {
        self.main.remote()
    }
    #[inline]
    fn remote_mut<M: Memory>(&mut self) -> Option<&mut dyn Remote<M>> {
        self.main.remote_mut()
    }
    fn origin(&mut self, shard: u32, seq: u64) {
        self.main.origin(shard, seq);
    }
    fn spill(&self) -> Option<&Spill> {
        Some(&self.spill)
    }
    fn spill_mut(&mut self) -> Option<&mut Spill> {
        Some(&mut self.spill)
    }
    fn seal<M: Memory>(&mut self, batch: &mut Batch<M>, wall_ms: u64) -> Sealed {
        self.main.seal(batch, wall_ms)
    }
    fn committed(&mut self) -> Option<Receipt> {
        self.main.committed()
    }
    fn receipt(&self) -> Option<Receipt> {
        self.main.receipt()
    }
    fn failed(&mut self, no_space: bool) {
        self.main.failed(no_space);
    }
    fn next_request(&mut self) -> Option<Request> {
        self.main.next_request().or_else(|| self.spill.segments.next_request())
    }
    fn mail(&mut self, mail: Mail) {
        self.main.mail(mail);
        self.spill.segments.mail(mail);
    }
    fn close(&mut self) {
        self.main.close();
        self.spill.segments.close();
    }
}
