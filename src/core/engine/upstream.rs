//! Commits that go to somebody else in parts: what the edges of such sinks move, and what the parts' outcomes make of
//! a commit.
//!
//! What all of them have in common goes through [`Remote`]. An HTTP target's edge moves a [`Courier`]. Kafka's: on
//! each wake, behind `tick`, the edge tells [`Upstream::producer`] what its links brought (`handle`) and calls
//! [`Engine::poll_upstream`]; behind `next_io`, which seals, it takes the producer's commands until there is none.
//! For a `Produce` command it calls [`Upstream::freeze`] for each slot, then frames the request around
//! [`Engine::upstream_batch`]. Bytes stay in place from `freeze` on as long as the commit is in flight; while the
//! kernel reads them (also on a link that was given up) the edge holds the commit with [`Upstream::pin`], for
//! outcomes do not wait for sends.
use super::settle::Settled;
use super::timers::DRAIN_NS_MAX;
use super::{Engine, Hub};
use crate::ack::Ack;
use crate::batch::Batch;
use crate::batch::ledger::{Standing, Ticket};
use crate::json::{Reason as Flaw, Scanner};
use crate::kafka::arena::{RecordArena, Slot};
use crate::kafka::producer::Producer;
use crate::memory::{Clock, Memory};
use crate::metrics::Stage;
use crate::sink::http::HttpSink;
use crate::sink::{Remote, Sink};

/// How long before the end of a drain the last batches are given up, so that their senders still hear of it.
const CUT_SHORT_NS: u64 = 1_000_000_000;

/// A Kafka sink's moving parts.
pub struct Upstream<'a, M> {
    /// Who leads, what is to be sent, what became of it. Its outcomes are the engine's to take.
    pub producer: &'a mut Producer,
    /// The records of the commit in flight; its slots are the producer's.
    pub records: Option<&'a mut RecordArena<M>>,
    /// The engine's time: that of its last `tick`.
    pub now_ns: u64,
    pins: Option<&'a mut u32>,
}

/// An HTTP sink's moving parts.
pub struct Courier<'a, M> {
    /// Whose turn it is, and what answers mean. Its outcomes are the engine's to take.
    pub sink: &'a mut HttpSink,
    /// The lines of the commit in flight.
    pub lines: Option<&'a Batch<M>>,
    /// The engine's time: that of its last `tick`.
    pub now_ns: u64,
    /// Unix time in milliseconds.
    pub wall_ms: u64,
}

impl<M: Memory> Upstream<'_, M> {
    /// Writes the header of a batch that a `Produce` command names, unless it was sent before under the same
    /// stamp: then its bytes are frozen. False: the slot is none that is to be sent.
    pub fn freeze(&mut self, slot: Slot) -> bool {
        let (Some(_), Some(records)) = (self.producer.stamp(slot), self.records.as_mut()) else {
            return false;
        };
        if let Some(stamp) = self.producer.new_stamp(slot) {
            records.stamp(slot, stamp);
        }
        true
    }

    /// The kernel was given bytes of the commit in flight: they stay where they are until [`Upstream::unpin`].
    pub fn pin(&mut self) {
        if let Some(pins) = self.pins.as_mut() {
            **pins += 1;
        }
    }

    /// The kernel is done with what one `pin` was for. Call [`Engine::poll_upstream`] afterwards.
    pub fn unpin(&mut self) {
        if let Some(pins) = self.pins.as_mut() {
            debug_assert!(**pins > 0, "as many as pins");
            **pins = pins.saturating_sub(1);
        }
    }
}

impl<M: Memory, C: Clock, S: Scanner, K: Sink> Engine<M, C, S, K> {
    /// What is to be moved when the sink is Kafka; `None` for every other.
    pub fn upstream(&mut self) -> Option<Upstream<'_, M>> {
        let hub = &mut self.hub;
        let now_ns = hub.now_ns;
        let producer = hub.sink.kafka_mut()?.producer_mut();
        let flight = hub.flights[0].as_mut().filter(|flight| flight.sent);
        let (records, pins) = match flight {
            Some(flight) => {
                let records = hub.bays[flight.bay].batch.records_mut();
                (records.map(|records| &mut records.arena), Some(&mut flight.pins))
            }
            None => (None, None),
        };
        Some(Upstream { producer, records, now_ns, pins })
    }

    /// Header and records of a frozen batch of the commit in flight.
    pub fn upstream_batch(&self, slot: Slot) -> Option<(&[u8], &[u8])> {
        let flight = self.hub.flights[0].as_ref().filter(|flight| flight.sent)?;
        self.hub.bays[flight.bay].batch.records().map(|records| records.arena.batch_bytes(slot))
    }

    /// What is to be moved when the sink is an HTTP target; `None` for every other.
    pub fn courier(&mut self) -> Option<Courier<'_, M>> {
        let hub = &mut self.hub;
        let lines = hub.flights[0].as_ref().filter(|flight| flight.sent);
        let lines = lines.and_then(|flight| hub.bays[flight.bay].batch.lines());
        let (now_ns, wall_ms) = (hub.now_ns, hub.wall_ms);
        hub.sink.http_mut().map(|sink| Courier { sink, lines, now_ns, wall_ms })
    }

    /// The same to look at: the sink, and the lines of the commit that is with its target.
    pub fn shipment(&self) -> Option<(&HttpSink, Option<&Batch<M>>)> {
        let flight = self.hub.flights[0].as_ref().filter(|flight| flight.sent);
        let lines = flight.and_then(|flight| self.hub.bays[flight.bay].batch.lines());
        self.hub.sink.http().map(|sink| (sink, lines))
    }

    /// Holds the commit in flight for the kernel, which was given bytes of it: they stay where they are until
    /// [`Engine::unpin`].
    pub fn pin(&mut self) {
        if let Some(flight) = &mut self.hub.flights[0] {
            flight.pins += 1;
        }
    }

    /// The kernel is done with what one `pin` was for. Call [`Engine::poll_upstream`] afterwards.
    pub fn unpin(&mut self) {
        if let Some(flight) = &mut self.hub.flights[0] {
            debug_assert!(flight.pins > 0, "as many as pins");
            flight.pins = flight.pins.saturating_sub(1);
        }
    }

    /// Has the sink look at the time.
    pub(super) fn tick_upstream(&mut self) {
        let now_ns = self.hub.now_ns;
        if self.hub.sink.remote_mut::<M>().is_some_and(|remote| remote.tick(now_ns)) {
            self.poll_upstream();
        }
    }

    /// Four times a second: what only time tells, and the end of a drain.
    pub(super) fn scan_upstream(&mut self) {
        let closed = self.free.len() == self.conns.len();
        let hub = &mut self.hub;
        let (now_ns, draining, since_ns) = (hub.now_ns, hub.draining, hub.drain_since_ns);
        let rests = hub.rests();
        let Some(remote) = hub.sink.remote_mut::<M>() else { return };
        // A topic that becomes writable does not always show in what is cheap to watch.
        hub.freed |= !hub.blocked.is_empty();
        if draining && (closed && rests || now_ns.saturating_sub(since_ns) > DRAIN_NS_MAX - CUT_SHORT_NS) {
            remote.cut_short(now_ns);
            self.poll_upstream();
        }
    }

    /// Takes the outcomes of parts; answers those who wait when the last of a commit has come. Call it whenever
    /// the sink was told something, and when a pin was taken back.
    pub fn poll_upstream(&mut self) {
        let hub = &mut self.hub;
        if hub.sink.remote::<M>().is_none() {
            return;
        }
        hub.note_readiness();
        hub.take_outcomes();
        match &self.hub.flights[0] {
            Some(flight) if flight.settled => self.land(0),
            Some(flight) if flight.sent && flight.is_done() => self.finish_commit(0),
            _ => {}
        }
    }
}

impl<M: Memory, C: Clock, S: Scanner, K: Sink> Hub<M, C, S, K> {
    /// Who was turned away because no broker could be reached may try again when one can.
    fn note_readiness(&mut self) {
        let ready = self.sink.ready().is_ok();
        self.note_away(ready);
        let version = self.sink.remote::<M>().map_or(0, Remote::version);
        let news = ready && !self.upstream_ready || version != self.upstream_version;
        self.freed |= news && !self.blocked.is_empty();
        if ready && self.lane() == 0 {
            self.stuck_since_ns = None;
        }
        (self.upstream_ready, self.upstream_version) = (ready, version);
    }

    fn take_outcomes(&mut self) {
        let Some(flight) = self.flights[0].as_mut().filter(|flight| flight.sent) else { return };
        let Ok([bay, open]) = self.bays.get_disjoint_mut([flight.bay, self.open_bay]) else { return };
        let Some(remote) = self.sink.remote_mut::<M>() else { return };
        let (keeps, mut kept) = (self.quarantine.is_some(), 0);
        // Their index is that in the commit, for their requests may have been answered.
        let mut late = |event: u32, value: &[u8], why: Flaw| {
            kept += u32::from(keeps && open.refused.append(value, event, 0, why.as_str()));
        };
        let change = remote.take_outcomes(&mut bay.batch, self.now_ns, &mut late);
        if change != 0 {
            flight.heard_ns = self.now_ns;
        }
        flight.awaits = flight.awaits.saturating_add_signed(change as i32);
        flight.kept_late += kept;
        open.kept += kept;
    }

    /// Every batch of a commit has its outcome: what was written is acknowledged, the rest goes by its fate.
    pub(super) fn commit_answered(&mut self, ticket: Ticket, settled: &Settled) {
        if self.ledger.standing(ticket, Ack::Written) == Standing::Waiting {
            self.ledger.settle_written(ticket);
        }
        if self.ledger.standing(ticket, Ack::Durable) == Standing::Waiting {
            self.ledger.settle_durable(ticket);
        }
        let bay = &self.bays[settled.bay];
        let (events, requests) = (bay.batch.events(), u64::from(bay.requests));
        let kept = self.flights[0].as_ref().map_or(0, |flight| flight.kept_late);
        let sum = bay.batch.fates().sum(0..events);
        let lost = sum.not_written + sum.possibly_written;
        let (raw, sent) = self.sink.remote_mut::<M>().map_or((0, 0), Remote::take_bytes);
        let counters = &mut self.metrics.counters;
        counters.events_stored += u64::from(events - lost - sum.refused);
        counters.events_shed += u64::from(lost);
        counters.events_rejected += u64::from(sum.refused - kept);
        if self.quarantine.is_some() {
            counters.quarantine_dropped += u64::from(sum.refused - kept);
        }
        counters.bytes_stored += raw;
        counters.bytes_written += sent;
        counters.commits += 1;
        counters.commit_failures += u64::from(lost > 0);
        let gauges = &mut self.metrics.gauges;
        // What the quarantine took is in its commit now.
        gauges.events_in_flight -= u64::from(events - kept);
        if raw > 0 {
            let rate = raw.saturating_mul(1_000_000_000) / settled.sink_ns.max(1);
            gauges.drain_bytes_per_s = (gauges.drain_bytes_per_s * 7 + rate) / 8;
        }
        self.metrics.stages.record_n(Stage::Sink, settled.sink_ns, requests);
    }
}
