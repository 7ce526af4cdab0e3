//! Batches to the sink and back: one commit in flight, the next filling.
//!
//! With a spill there are two lanes, each with two bays and a commit in flight of its own: 0 is the sink's, 1 the
//! spill's. One of them takes events.
use super::settle::Settled;
use super::{Engine, Hub, Mode};
use crate::ack::Ack;
use crate::batch::ledger::Ticket;
use crate::batch::store::{Records, Store};
use crate::json::Scanner;
use crate::memory::{Clock, Memory};
use crate::metrics::{Sample, Stage};
use crate::segment::header::BLOCK_BYTES;
use crate::sink::{Extent, Sealed, Sink};

/// `ENOSPC`.
const NO_SPACE: i32 = 28;
/// `ECANCELED`: the flush behind a failed or short write.
const CANCELED: i32 = 125;

/// The commit in flight.
pub(super) struct Flight {
    pub ticket: Ticket,
    pub bay: usize,
    /// The segment's write and the quarantine's.
    pub parts: [Option<Part>; 2],
    pub sync: bool,
    pub started_ns: u64,
    /// Batches that are with the Kafka producer.
    pub awaits: u32,
    /// They were given to it: what became of them is in the bay's fates.
    pub sent: bool,
    /// Sends that the kernel reads the bay's bytes for.
    pub pins: u32,
    /// Settled; only pins keep it.
    pub settled: bool,
    /// Events refused by Kafka that the open bay's quarantine took.
    pub kept_late: u32,
    /// When an outcome of a batch last came, at first when it was sealed.
    pub heard_ns: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    extent: Extent,
    stage: PartStage,
    error: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PartStage {
    Todo,
    Writing,
    Syncing,
    Done,
}

impl Flight {
    fn is_written(&self) -> bool {
        self.parts.iter().flatten().all(|part| matches!(part.stage, PartStage::Syncing | PartStage::Done))
    }
    pub(super) fn is_done(&self) -> bool {
        self.awaits == 0 && self.parts.iter().flatten().all(|part| part.stage == PartStage::Done)
    }
    /// A write of that slot is under way.
    fn writes(&self, slot: u8) -> bool {
        let under_way = |part: &Part| matches!(part.stage, PartStage::Writing | PartStage::Syncing);
        self.parts[usize::from(slot)].as_ref().is_some_and(under_way)
    }
    fn error(&self, slot: usize) -> Option<i32> {
        self.parts[slot].as_ref().and_then(|part| part.error)
    }
}

/// The two steps of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoStep {
    /// The write.
    Write,
    /// The flush linked behind it.
    Sync,
}

/// A write for the driver to submit, with a flush linked behind it if `sync`.
#[derive(Debug)]
pub struct Io<'a> {
    /// 0 segment, 1 quarantine; [`Engine::io_done`] names it.
    pub slot: u8,
    /// Descriptor, open for direct writing.
    pub file: i32,
    /// A multiple of the block.
    pub offset: u64,
    /// Page-aligned, whole blocks, in place until the last step is reported.
    pub bytes: &'a [u8],
    /// Flush after it.
    pub sync: bool,
}

impl<M: Memory, C: Clock, S: Scanner, K: Sink> Engine<M, C, S, K> {
    /// Next write to submit. Seals the open batch when nothing is in flight and the policy says so.
    pub fn next_io(&mut self) -> Option<Io<'_>> {
        self.hub.work_ahead();
        let lane = self.hub.lane();
        if self.hub.flights[lane].is_none() {
            self.hub.start_commit();
            let nothing = |flight: &Flight| !flight.sent && flight.parts.iter().all(Option::is_none);
            if self.hub.flights[lane].as_ref().is_some_and(nothing) {
                // Refused events alone, and no quarantine to keep them: there is nothing to wait for.
                self.finish_commit(lane);
            } else if self.hub.flights[lane].as_ref().is_some_and(|flight| flight.sent) {
                // The producer may have given batches up at once.
                self.poll_upstream();
            }
        }
        let hub = &mut self.hub;
        let todo = |part: &Option<Part>| part.is_some_and(|part| part.stage == PartStage::Todo);
        let due = |flight: &&mut Flight| flight.parts.iter().any(todo);
        let flight = hub.flights.iter_mut().flatten().find(due)?;
        let slot = flight.parts.iter().position(todo)?;
        let part = flight.parts[slot].as_mut()?;
        part.stage = PartStage::Writing;
        let Extent { file, offset, len } = part.extent;
        let bay = &hub.bays[flight.bay];
        let bytes = match (slot, bay.batch.lines()) {
            (0, Some(lines)) => lines.bytes(0..len),
            _ => bay.refused.bytes(len),
        };
        Some(Io { slot: slot as u8, file, offset, bytes, sync: flight.sync })
    }

    /// How a step of the write in `slot` ended: bytes written, or the errno. With `sync` both steps are
    /// reported, the flush behind a failed write as cancelled.
    pub fn io_done(&mut self, slot: u8, step: IoStep, result: Result<usize, i32>) {
        let hub = &mut self.hub;
        // At most one commit at a time has something to write in a slot.
        let writes = |flight: &Option<Flight>| flight.as_ref().is_some_and(|flight| flight.writes(slot));
        let Some(lane) = hub.flights.iter().position(writes) else { return };
        let Some(flight) = hub.flights[lane].as_mut() else { return };
        let sync = flight.sync;
        let Some(part) = flight.parts[usize::from(slot)].as_mut() else { return };
        match (step, result) {
            (IoStep::Write, Ok(written)) if written == part.extent.len => {}
            // A short write is a failure: what it left out was promised to nobody yet.
            (IoStep::Write, Ok(_)) => part.error = Some(part.error.unwrap_or(CANCELED)),
            (_, Err(errno)) => part.error = Some(part.error.unwrap_or(errno)),
            (IoStep::Sync, Ok(_)) => {}
        }
        part.stage = if step == IoStep::Write && sync { PartStage::Syncing } else { PartStage::Done };
        let (done, overtaken) = (flight.is_done(), hub.ledger.is_held(flight.ticket));
        if done {
            self.finish_commit(lane);
        } else if flight.sent {
            // Its batches may be out for long; the quarantine is for others to write to meanwhile.
            hub.finish_quarantine(lane);
        } else if step == IoStep::Write && flight.is_written() && flight.error(0).is_none() && !overtaken {
            self.settle_written(lane);
        }
    }

    fn settle_written(&mut self, lane: usize) {
        let hub = &mut self.hub;
        let Some(flight) = &hub.flights[lane] else { return };
        let (ticket, bay) = (flight.ticket, flight.bay);
        hub.ledger.settle_written(ticket);
        if hub.bays[bay].wants_written {
            let settled = hub.settled(flight, false);
            self.settle_waiters(&settled);
        }
    }

    pub(super) fn finish_commit(&mut self, lane: usize) {
        let hub = &mut self.hub;
        let Some(flight) = &hub.flights[lane] else { return };
        let (ticket, sync, sent, failed) = (flight.ticket, flight.sync, flight.sent, flight.error(0));
        let settled = hub.settled(flight, failed == Some(NO_SPACE));
        hub.finish_quarantine(lane);
        hub.ledger.release(ticket);
        match failed {
            Some(errno) => hub.commit_failed(ticket, errno, &settled),
            None if sent => hub.commit_answered(ticket, &settled),
            None => hub.commit_sound(ticket, sync, &settled),
        }
        hub.note_replayed(&settled, failed.is_some());
        self.settle_waiters(&settled);
        if let Some(flight) = &mut self.hub.flights[lane] {
            flight.settled = true;
        }
        self.land(lane);
    }

    /// Frees the bay of a settled commit, unless the kernel still reads from it.
    pub(super) fn land(&mut self, lane: usize) {
        let hub = &mut self.hub;
        if let Some(flight) = hub.flights[lane].as_ref().filter(|flight| flight.settled && flight.pins == 0) {
            hub.bays[flight.bay].clear();
            hub.flights[lane] = None;
            hub.freed = true;
        }
    }

    fn settle_waiters(&mut self, settled: &Settled) {
        let waiters = core::mem::take(&mut self.hub.bays[settled.bay].waiters);
        for &id in &waiters {
            self.hub.settle_conn(&mut self.conns[id as usize], id, Some(settled));
        }
        self.hub.bays[settled.bay].waiters = waiters;
    }

    /// The sink has taken nothing for too long: those who wait are told so.
    pub(super) fn fail_open_bay(&mut self) {
        let hub = &mut self.hub;
        if hub.flights[hub.lane()].is_none() && !hub.bay_is_empty() {
            self.fail_bay(self.hub.open_bay);
        }
    }

    /// Tells all who wait for the bay, which was open until now, that nothing of it is kept.
    pub(super) fn fail_bay(&mut self, bay: usize) {
        let hub = &mut self.hub;
        hub.stuck_since_ns = None;
        let no_space = hub.ready() == Err(crate::sink::NotReady::NoSpace);
        let ticket = hub.ledger.seal();
        let settled = Settled { bay, receipt: None, no_space, sink_ns: 0 };
        hub.ledger.settle_failed(ticket);
        hub.shed_bay(bay);
        hub.note_replayed(&settled, true);
        self.settle_waiters(&settled);
        self.hub.bays[bay].clear();
        self.hub.freed = true;
    }
}

/// Gives records to the Kafka producer, if it can reach anybody.
fn send<M: Memory, K: Sink>(sink: &mut K, records: &mut Records<M>, now_ns: u64) -> Sealed {
    if sink.ready().is_err() {
        return Sealed::NoFile;
    }
    sink.kafka_mut().map_or(Sealed::NoFile, |kafka| Sealed::Sent(kafka.send(&mut records.arena, now_ns)))
}

impl<M: Memory, C: Clock, S: Scanner, K: Sink> Hub<M, C, S, K> {
    pub(super) fn bay_is_empty(&self) -> bool {
        self.bays[self.open_bay].is_empty()
    }

    /// Every request in the open bay is booked here: a part of what sealing it takes can be done now, while its bytes
    /// are in the cache and nobody waits.
    #[inline]
    fn work_ahead(&mut self) {
        match &mut self.bays[self.open_bay].batch {
            Store::Lines(lines) => match self.sink.spill().filter(|_| self.open_bay >= 2) {
                Some(spill) => spill.segments.ahead_of_seal(lines),
                None => self.sink.ahead_of_seal(lines),
            },
            Store::Records(records) => {
                if let Some(kafka) = self.sink.kafka_mut() {
                    kafka.work_ahead(records);
                }
            }
        }
    }

    /// Nothing is in flight and nothing waits to be.
    pub(super) fn rests(&self) -> bool {
        self.flights.iter().all(Option::is_none) && self.bay_is_empty()
    }

    /// Which lane takes events: 0 the sink, 1 its spill.
    #[inline]
    pub(super) fn lane(&self) -> usize {
        self.open_bay / 2
    }

    fn start_commit(&mut self) {
        let bay = &mut self.bays[self.open_bay];
        // A batch without events, beside refused ones, has no age.
        let since_ns = if bay.batch.is_empty() { self.now_ns } else { bay.batch.opened_ns() };
        let age_ns = self.now_ns.saturating_sub(since_ns);
        let hurry = self.draining || self.spill.as_ref().is_some_and(|spill| spill.mode == Mode::Returning);
        let seals = self.config.policy.seals(bay.batch.len(), bay.batch.events(), age_ns) || hurry;
        if bay.is_empty() || !(seals || bay.batch.is_empty()) {
            return;
        }
        let quarantines = |flight: &Flight| flight.parts[1].is_some();
        if bay.refused.entries() > 0 && self.flights.iter().flatten().any(quarantines) {
            return;
        }
        let (mut segment, mut awaits) = (None, 0);
        if !bay.batch.is_empty() {
            let spill = if self.open_bay < 2 { None } else { self.sink.spill_mut() };
            let sealed = match (&mut bay.batch, spill) {
                (Store::Lines(lines), Some(spill)) => spill.segments.seal(lines, self.wall_ms),
                (Store::Lines(lines), None) => self.sink.seal(lines, self.wall_ms),
                (Store::Records(records), _) => send(&mut self.sink, records, self.now_ns),
            };
            match sealed {
                Sealed::NoFile => {
                    self.stuck_since_ns.get_or_insert(self.now_ns);
                    return;
                }
                Sealed::Settled if bay.refused.entries() == 0 => return self.settle_at_once(),
                // Settled as it is, but for what was refused beside it.
                Sealed::Settled => {}
                Sealed::Write(extent) => segment = Some(extent),
                Sealed::Sent(batches) => awaits = batches,
            }
        }
        self.stuck_since_ns = None;
        let quarantine = self.seal_quarantine();
        let bay = &mut self.bays[self.open_bay];
        let part = |extent: Option<Extent>| {
            extent.map(|extent| Part { extent, stage: PartStage::Todo, error: None })
        };
        let flight = Flight {
            ticket: self.ledger.seal(),
            bay: self.open_bay,
            parts: [part(segment), part(quarantine)],
            // What waits on disk for the sink is flushed whatever was asked: it may wait for long.
            sync: bay.wants >= Ack::Durable || self.open_bay >= 2,
            started_ns: self.now_ns,
            awaits,
            sent: awaits > 0,
            pins: 0,
            settled: false,
            kept_late: 0,
            heard_ns: self.now_ns,
        };
        self.done.sealed(bay.batch.len());
        self.metrics.stages.record_n(Stage::SealWait, age_ns, u64::from(bay.requests));
        self.flights[self.open_bay / 2] = Some(flight);
        self.open_bay ^= 1;
    }

    /// The sink keeps nothing: the batch is done as it is.
    fn settle_at_once(&mut self) {
        let bay = self.open_bay;
        self.note_replayed(&Settled { bay, receipt: None, no_space: false, sink_ns: 0 }, false);
        let bay = &mut self.bays[self.open_bay];
        let events = u64::from(bay.batch.events());
        self.metrics.counters.events_stored += events;
        self.metrics.counters.bytes_stored += bay.batch.len() as u64;
        self.metrics.counters.commits += 1;
        self.metrics.gauges.events_in_flight -= events;
        bay.clear();
        self.freed |= !self.blocked.is_empty();
    }

    fn seal_quarantine(&mut self) -> Option<Extent> {
        let bay = &mut self.bays[self.open_bay];
        if bay.refused.entries() == 0 {
            return None;
        }
        let files = self.quarantine.as_mut()?;
        if let Some((bytes, place, reason)) = bay.refused.newest() {
            self.metrics.samples.take(Sample::new(self.wall_ms, place, reason, bytes));
        }
        let len = bay.refused.sealed_len().next_multiple_of(BLOCK_BYTES);
        if files.make_room(len)
            && let Some((file, _)) = files.current()
        {
            bay.refused.seal(self.config.shard, file, self.wall_ms);
            return files.take(len);
        }
        self.drop_quarantined();
        None
    }

    /// The quarantine could not keep them after all: they count as rejected, as their senders were told.
    fn drop_quarantined(&mut self) {
        let bay = &mut self.bays[self.open_bay];
        let kept = u64::from(core::mem::take(&mut bay.kept));
        bay.refused.clear();
        self.metrics.counters.events_rejected += kept;
        self.metrics.counters.quarantine_dropped += kept;
        self.metrics.gauges.events_in_flight -= kept;
    }

    fn settled(&self, flight: &Flight, no_space: bool) -> Settled {
        let receipt = || match self.sink.spill().filter(|_| flight.bay >= 2) {
            Some(spill) => spill.segments.receipt(),
            None => self.sink.receipt(),
        };
        Settled {
            bay: flight.bay,
            receipt: flight.parts[0].and_then(|_| receipt()),
            no_space,
            sink_ns: self.now_ns.saturating_sub(flight.started_ns),
        }
    }

    /// Once the quarantine's part of a commit is written, or failed.
    fn finish_quarantine(&mut self, lane: usize) {
        let Some(flight) = &mut self.flights[lane] else { return };
        let Some(part) = flight.parts[1].take_if(|part| part.stage == PartStage::Done) else { return };
        let kept = u64::from(self.bays[flight.bay].kept);
        let Some(files) = self.quarantine.as_mut() else { return };
        match part.error {
            None => {
                files.committed();
                self.metrics.counters.events_quarantined += kept;
            }
            Some(errno) => {
                files.failed(errno == NO_SPACE);
                self.metrics.counters.events_rejected += kept;
                self.metrics.counters.quarantine_dropped += kept;
            }
        }
        self.metrics.gauges.events_in_flight -= kept;
    }

    fn commit_sound(&mut self, ticket: Ticket, sync: bool, settled: &Settled) {
        let bay = &self.bays[settled.bay];
        let (events, bytes, requests) =
            (u64::from(bay.batch.events()), bay.batch.len() as u64, u64::from(bay.requests));
        if self.ledger.standing(ticket, Ack::Written) == crate::batch::ledger::Standing::Waiting {
            self.ledger.settle_written(ticket);
        }
        if sync && self.ledger.standing(ticket, Ack::Durable) == crate::batch::ledger::Standing::Waiting {
            self.ledger.settle_durable(ticket);
        }
        let written = self.flights[settled.bay / 2].as_ref().is_some_and(|flight| flight.parts[0].is_some());
        match self.sink.spill_mut().filter(|_| written && settled.bay >= 2) {
            Some(spill) => {
                if let Some(receipt) = spill.segments.committed() {
                    self.note_spilled(receipt, events, bytes);
                }
            }
            None if written => drop(self.sink.committed()),
            None => {}
        }
        let counters = &mut self.metrics.counters;
        counters.events_stored += events;
        counters.bytes_stored += bytes;
        counters.bytes_written += if written { bytes.next_multiple_of(BLOCK_BYTES as u64) } else { 0 };
        counters.commits += 1;
        let gauges = &mut self.metrics.gauges;
        gauges.events_in_flight -= events;
        if bytes > 0 {
            let rate = bytes.saturating_mul(1_000_000_000) / settled.sink_ns.max(1);
            gauges.drain_bytes_per_s = (gauges.drain_bytes_per_s * 7 + rate) / 8;
        }
        if let Some(receipt) = settled.receipt {
            gauges.seq_watermark = receipt.seq + events - 1;
            gauges.seq_next = receipt.seq + events;
        }
        self.metrics.stages.record_n(Stage::Sink, settled.sink_ns, requests);
    }

    fn commit_failed(&mut self, ticket: Ticket, errno: i32, settled: &Settled) {
        self.ledger.settle_failed(ticket);
        match self.sink.spill_mut().filter(|_| settled.bay >= 2) {
            Some(spill) => spill.segments.failed(errno == NO_SPACE),
            None => self.sink.failed(errno == NO_SPACE),
        }
        let counters = &mut self.metrics.counters;
        counters.commit_failures += 1;
        counters.segments_failed += 1;
        let events = u64::from(self.bays[settled.bay].batch.events());
        self.metrics.counters.events_shed += events;
        self.metrics.gauges.events_in_flight -= events;
    }

    /// Counts everything in a bay as shed.
    fn shed_bay(&mut self, bay: usize) {
        let events = u64::from(self.bays[bay].batch.events()) + u64::from(self.bays[bay].kept);
        self.metrics.counters.events_shed += events;
        self.metrics.gauges.events_in_flight -= events;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::policy::Policy;
    use crate::engine::{Config, Protocol};
    use crate::json::StrictScanner;
    use crate::sink::{FileKind, Mail, Resume, segments::SegmentSink};
    use crate::testing::clock::HandClock;
    use crate::testing::engine::config;
    use alloc::{format, vec};

    #[test]
    fn refused_events_alone_do_not_inherit_the_age_of_an_earlier_batch() {
        let clock = HandClock::default();
        let config = Config {
            connections_max: 1,
            body_budget_bytes: 0,
            batch_arena_bytes: 64 << 10,
            policy: Policy { bytes_max: 32 << 10, events_max: 100, linger_ns: 0 },
            lines_replies: false,
            quarantine_first: Some(1),
            ..config()
        };
        let sink = SegmentSink::new(0, &Resume::START);
        let mut engine = Engine::new(config, clock.clone(), StrictScanner::default(), sink, |n| vec![0; n]);
        for kind in [FileKind::Segment, FileKind::Quarantine] {
            engine.mail(Mail::Ready { kind, file: 3, number: 1, id: 7, capacity: 1 << 20 });
        }
        let id = engine.open(Protocol::Http).unwrap();
        // Both arenas take a commit in turn, so the third meets the one that the first has used.
        for body in ["{}", "{}", "x"] {
            clock.0.set(clock.0.get() + 10_000_000_000);
            engine.tick();
            let head =
                format!("POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
            engine.receive(id, &mut format!("{head}{body}").into_bytes());
            let (slot, len) = engine.next_io().map(|io| (io.slot, io.bytes.len())).unwrap();
            engine.io_done(slot, IoStep::Write, Ok(len));
            engine.io_done(slot, IoStep::Sync, Ok(0));
            let reply = engine.next_send().map_or(0, |(_, bytes)| bytes.len());
            engine.sent(id, reply);
        }
        let stages = &engine.metrics().stages;
        assert_eq!((stages.count(Stage::SealWait), stages.max_ns(Stage::SealWait)), (3, 0));
    }
}
