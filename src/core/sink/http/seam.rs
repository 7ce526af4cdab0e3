//! The HTTP sink as the engine sees it: a sink like others, and one of those that deliver in parts.
use super::target::EventId;
use super::{HttpSink, mark};
use crate::ack::Ack;
use crate::batch::Batch;
use crate::batch::fate::Cause;
use crate::batch::store::{Layout, Store};
use crate::memory::Memory;
use crate::segment::header::StreamName;
use crate::sink::{Late, Mail, NotReady, Place, Receipt, Remote, Request, Sealed, Sink};

impl Sink for HttpSink {
    fn strongest(&self) -> Ack {
        self.level
    }

    fn reached(&self, asked: Ack) -> Ack {
        // A weaker level comes at the same time; one that cannot be reached stays what it is, to be refused.
        if asked == Ack::Accepted { asked } else { asked.max(self.level) }
    }

    fn ready(&self) -> Result<(), NotReady> {
        match self.draining {
            // There will be no better time: what is taken now is given up at the end of the drain at the latest.
            true => Ok(()),
            false => self.delivery.ready().map_err(NotReady::Target),
        }
    }

    fn layout(&self) -> Layout {
        Layout::Parcels
    }

    fn http(&self) -> Option<&HttpSink> {
        Some(self)
    }

    fn http_mut(&mut self) -> Option<&mut HttpSink> {
        Some(self)
    }

    fn remote<M: Memory>(&self) -> Option<&dyn Remote<M>> {
        Some(self)
    }

    fn remote_mut<M: Memory>(&mut self) -> Option<&mut dyn Remote<M>> {
        Some(self)
    }

    fn origin(&mut self, shard: u32, seq: u64) {
        self.origin = Some((shard, seq));
    }

    fn seal<M: Memory>(&mut self, batch: &mut Batch<M>, _wall_ms: u64) -> Sealed {
        if Sink::ready(self).is_err() {
            return Sealed::NoFile;
        }
        self.packing.pack(batch);
        if self.preset.is_bulk() {
            self.marks.clear();
            self.marks.resize(batch.events() as usize, mark::OPEN);
        }
        let parcels = self.packing.parcels.len();
        self.delivery.submit(self.now_ns, parcels);
        self.sent = match self.origin.take() {
            Some((shard, sequence)) => EventId { shard, sequence, ..self.next },
            None => self.next,
        };
        self.next.sequence += u64::from(batch.events());
        Sealed::Sent(parcels as u32)
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

impl<M: Memory> Remote<M> for HttpSink {
    fn tick(&mut self, now_ns: u64) -> bool {
        self.now_ns = now_ns;
        let due = self.delivery.deadline_ns().is_some_and(|due_ns| due_ns <= now_ns);
        if due {
            self.delivery.tick(now_ns);
        }
        due
    }

    fn deadline_ns(&self) -> Option<u64> {
        self.delivery.deadline_ns()
    }

    fn version(&self) -> u64 {
        // There is one target: whether it can be written to, `ready` tells.
        0
    }

    fn why_not(&mut self, _now_ns: u64, _stream: &StreamName) -> Option<NotReady> {
        Sink::ready(self).err()
    }

    fn drain(&mut self) {
        self.draining = true;
    }

    fn cut_short(&mut self, now_ns: u64) {
        self.delivery.close(now_ns);
    }

    fn is_drained(&self) -> bool {
        self.delivery.is_drained()
    }

    fn take_outcomes(&mut self, store: &mut Store<M>, _now_ns: u64, late: &mut Late<'_>) -> i64 {
        let Some(batch) = store.lines_mut() else { return 0 };
        let mut change = 0;
        while let Some((parcel, done)) = self.delivery.next_done() {
            change += self.settle(batch, parcel, done, late) - 1;
        }
        change
    }

    fn take_bytes(&mut self) -> (u64, u64) {
        let raw = core::mem::take(&mut self.taken_bytes);
        self.figures.raw_bytes += raw;
        let sent =
            self.figures.sent_bytes - core::mem::replace(&mut self.sent_before, self.figures.sent_bytes);
        (raw, sent)
    }

    fn place(&self, cause: Cause) -> Option<Place<'_>> {
        match cause {
            Cause::Http(why) => Some(Place::Http(why)),
            Cause::Kafka(..) => None,
        }
    }

    fn name(&self) -> &'static str {
        "the HTTP target"
    }
}
