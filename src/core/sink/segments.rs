//! Events into segment files: numbering, the hash chain, and what a failure does to both.
//!
//! Sequence, commit number and chain advance only when a commit is known to be sound. After a failure the
//! next commit takes the same numbers in another file, so that whatever the failed write left behind is
//! superseded in the chain and no reader counts it.
use super::files::Files;
use super::{FileKind, Mail, NotReady, Receipt, Request, Resume, Sealed, Sink};
use crate::ack::Ack;
use crate::batch::{Batch, Seal};
use crate::memory::Memory;
use crate::segment::header::Hash;

/// One shard's chain of commits.
#[derive(Debug)]
pub struct SegmentSink {
    shard: u32,
    files: Files,
    seq: u64,
    commit: u64,
    prev: Hash,
    flight: Option<Flight>,
}

#[derive(Debug)]
struct Flight {
    events: u32,
    last_hash: Hash,
    segment: u64,
}

impl SegmentSink {
    /// Goes on where recovery says; the first file is asked for at once.
    pub fn new(shard: u32, resume: &Resume) -> SegmentSink {
        SegmentSink {
            shard,
            files: Files::new(FileKind::Segment, resume.next_segment),
            seq: resume.next_seq,
            commit: resume.next_commit,
            prev: resume.prev,
            flight: None,
        }
    }

    /// Sequence number of the first event that no sound commit holds.
    pub fn next_seq(&self) -> u64 {
        self.seq
    }
}

impl Sink for SegmentSink {
    fn strongest(&self) -> Ack {
        Ack::Durable
    }

    fn ready(&self) -> Result<(), NotReady> {
        self.files.ready()
    }

    #[inline]
    fn ahead_of_seal<M: Memory>(&self, batch: &mut Batch<M>) {
        batch.sum_ahead();
    }

    fn seal<M: Memory>(&mut self, batch: &mut Batch<M>, wall_ms: u64) -> Sealed {
        debug_assert!(self.flight.is_none(), "one commit in flight");
        let len = batch.len().next_multiple_of(crate::segment::header::BLOCK_BYTES);
        if !self.files.make_room(len) {
            return Sealed::NoFile;
        }
        let Some((file, segment)) = self.files.current() else { return Sealed::NoFile };
        let (shard, prev) = (self.shard, self.prev);
        let seal = Seal { shard, seq: self.seq, commit: self.commit, time_ms: wall_ms, file, prev };
        let (last_hash, len) = batch.seal(&seal);
        self.flight = Some(Flight { events: batch.events(), last_hash, segment });
        self.files.take(len).map_or(Sealed::NoFile, Sealed::Write)
    }

    fn receipt(&self) -> Option<Receipt> {
        self.flight.as_ref().map(|flight| Receipt { seq: self.seq, segment: flight.segment })
    }

    fn committed(&mut self) -> Option<Receipt> {
        let receipt = self.receipt();
        if let Some(flight) = self.flight.take() {
            self.seq += u64::from(flight.events);
            self.commit += 1;
            self.prev = flight.last_hash;
            self.files.committed();
        }
        receipt
    }

    fn failed(&mut self, no_space: bool) {
        self.flight = None;
        self.files.failed(no_space);
    }

    fn next_request(&mut self) -> Option<Request> {
        self.files.next_request()
    }

    fn mail(&mut self, mail: Mail) {
        self.files.mail(mail);
    }

    fn close(&mut self) {
        self.files.close();
    }
}
