//! Events into the open batch: all of a request or nothing of it, and never more than can be answered.
use super::ahead::{self, AheadId};
use super::conn::{Conn, ErrorList, Pending, State, Taken, What};
use super::http::{Admission, short};
use super::look::{Good, Judged};
use super::tail::Arrival;
use super::way::{Refusals, Way};
use super::{ConnId, Hub};
use crate::ack::Ack;
use crate::batch::store::StoreMark;
use crate::json::{Format, Reason, Scanner};
use crate::memory::{Clock, Memory};
use crate::metrics::{Stage, cause::LARGE_BYTES};
use crate::reject::Reject;
use crate::reply::{ERROR_BYTES_MAX, ERRORS_MAX, ErrorRecord, Manner, REPLY_BYTES_MAX};
use crate::segment::header::StreamName;
use crate::sink::kafka::{Event, KafkaSink, Unfit};
use crate::sink::{NotReady, Sink};
use crate::wire::http1::{Action, Ingest, Repeated, Request, header};
use core::ops::Range;

/// What a body came to. Its events are in the open batch but not yet in the books.
pub(super) struct Tally {
    pub accepted: u32,
    pub rejected: u32,
    /// Refused events that the quarantine took.
    pub kept: u32,
    pub first: u32,
    pub run: u32,
    pub errors: Option<ErrorList>,
    /// What judging and copying took; 0 where that was not timed.
    parse_ns: u32,
    append_ns: u32,
    undo: Undo,
}

impl Tally {
    fn empty(undo: Undo) -> Tally {
        Tally {
            accepted: 0,
            rejected: 0,
            kept: 0,
            first: 0,
            run: 0,
            errors: None,
            parse_ns: 0,
            append_ns: 0,
            undo,
        }
    }
}

/// Why a body's events are not in the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// Try again when some came free.
    Later,
    /// An empty batch does not hold them either (records take more than their share of the body).
    Never,
    /// There is nowhere for them to go.
    Refused(Reject),
}

const REPEATED_KEY: Reject =
    Reject::new(400, "repeated_key", "Ringmill-Key is given more than once; keep one");

/// Events refused later for which a reply always has room.
const LATE_LISTED: usize = 4;

const NO_LEADER: Reject = Reject::new(
    503,
    "no_leader",
    "the Kafka partition of an event has had no leader that can be reached for too long: send again later",
);

const NOT_REPLICATED: Reject = Reject::new(
    503,
    "not_replicated",
    "the sink cannot be written to and events wait on disk: ask for `durable` or no level, or retry later",
);

const TOO_LARGE_AT_ONCE: Reject = Reject::new(
    413,
    "too_large_at_once",
    "the events of the body are more than one commit to the sink holds: send them in several requests",
);

struct Undo {
    batch: StoreMark,
    refused: usize,
}

impl<M: Memory, C: Clock, S: Scanner, K: Sink> Hub<M, C, S, K> {
    pub(super) fn ingest(
        &mut self,
        conn: &mut Conn<M>,
        id: ConnId,
        ingest: &Ingest,
        body: &[u8],
        data: &[u8],
        manner: Manner,
    ) -> Admission {
        let level = self.level(ingest.ack);
        self.done.judged(id, body.len());
        let reject = match self.take_body(conn, ingest, level, body, data) {
            Ok(tally) => return self.owe(conn, id, ingest, level, body.len(), tally, manner),
            Err(NoRoom::Later) => return Admission::Later,
            Err(NoRoom::Never) => TOO_LARGE_AT_ONCE,
            Err(NoRoom::Refused(reject)) => reject,
        };
        let retry_after_s = if reject.status == 503 { self.retry_after_s() } else { manner.retry_after_s };
        self.reply_later(conn, id, What::Reject(reject, Manner { retry_after_s, ..manner }));
        Admission::Done
    }

    /// Takes a request's events, to the stream and with the key that its head names.
    fn take_body(
        &mut self,
        conn: &mut Conn<M>,
        ingest: &Ingest,
        level: Ack,
        body: &[u8],
        data: &[u8],
    ) -> Result<Tally, NoRoom> {
        let name = ingest.stream.clone().and_then(|range| StreamName::new(&data[range]));
        conn.arrival.stream = conn.streams.note(name.as_ref());
        if let Some(reject) = self.refusal(level) {
            return Err(NoRoom::Refused(reject));
        }
        let stream = name.unwrap_or(StreamName::DEFAULT);
        let wants_key = self.sink.kafka().is_some_and(KafkaSink::wants_key);
        let key = match if wants_key { header(data, b"ringmill-key") } else { Ok(None) } {
            Ok(key) => key,
            Err(Repeated) => return Err(NoRoom::Refused(REPEATED_KEY)),
        };
        self.take_events(conn.ahead, body, ingest.format, &stream, key, |index, _| index)
    }

    /// Owes a request the reply to what was taken of it, if there is room for one.
    #[allow(clippy::too_many_arguments, reason = "all of a request, and its connection")]
    fn owe(
        &mut self,
        conn: &mut Conn<M>,
        id: ConnId,
        ingest: &Ingest,
        level: Ack,
        bytes: usize,
        mut tally: Tally,
        manner: Manner,
    ) -> Admission {
        let listed = tally.errors.map_or(0, |list| self.errors[usize::from(list)].len());
        // Single events may be refused later; a few of them are sure to be listed.
        let late = if self.bays[self.open_bay].batch.is_in_parts() { LATE_LISTED } else { 0 };
        let reserved = REPLY_BYTES_MAX + (listed + late).min(ERRORS_MAX) * ERROR_BYTES_MAX;
        if !conn.has_reply_room(reserved) {
            self.undo(&tally);
            return Admission::Later;
        }
        if ingest.all_or_nothing && tally.rejected > 0 {
            self.undo_events(&tally);
            (tally.rejected, tally.accepted, tally.kept) = (tally.rejected + tally.accepted, 0, 0);
        }
        let ticket = self.book(conn, id, &tally, level);
        let arrival = Arrival { parse_ns: tally.parse_ns, append_ns: tally.append_ns, ..conn.arrival };
        let taken = Taken {
            accepted: tally.accepted,
            rejected: tally.rejected,
            first: tally.first,
            run: tally.run,
            bytes: bytes as u32,
            errors: tally.errors,
            manner,
            all_or_nothing: ingest.all_or_nothing,
        };
        let what = What::Events(taken);
        let pending = Pending { ticket, level, received_ns: self.now_ns, arrival, reserved, what };
        if ticket == 0 && conn.pending.is_empty() {
            // Nobody to wait for: the way of most requests at level `accepted`.
            self.write_reply(conn, id, &pending, false, None);
            self.give_back_list(taken.errors);
            self.want_send(conn, id);
        } else {
            conn.reserved += reserved;
            conn.pending.push_back(pending);
        }
        Admission::Done
    }

    /// Why no event can be taken at that level now, if waiting would not help.
    fn refusal(&self, level: Ack) -> Option<Reject> {
        if level > self.sink.strongest() {
            let reason = "this sink cannot reach the ack level asked for: ask for a weaker one or none";
            return Some(Reject::new(400, "ack_not_reachable", reason));
        }
        if level == Ack::Replicated && self.lane() == 1 {
            return Some(NOT_REPLICATED);
        }
        match self.ready() {
            Err(NotReady::NoSpace) => Some(Reject::new(507, "no_space", NotReady::NoSpace.reason())),
            _ => None,
        }
    }

    /// Scans what of `body` was not judged ahead, and appends its good events to the open batch, its bad ones to
    /// the quarantine. `label` numbers an error from the event's index and bytes.
    pub(super) fn take_events(
        &mut self,
        ahead: Option<AheadId>,
        body: &[u8],
        format: Format,
        stream: &StreamName,
        key: Option<&[u8]>,
        mut label: impl FnMut(u32, &Range<usize>) -> u32,
    ) -> Result<Tally, NoRoom> {
        let (sampled, now_ns, wall_ms) = (self.is_sampled(), self.now_ns, self.wall_ms);
        let (keeps, admits) = (self.quarantine.is_some(), self.admits());
        let Hub { bays, open_bay, scanner, checks, aheads, clock, errors, errors_free, sink, config, .. } =
            self;
        let (own, spill) = bays.split_at_mut(2);
        let (bay, fits) = match open_bay.checked_sub(2) {
            None => (&mut own[*open_bay], None),
            Some(at) => (&mut spill[at], own[0].batch.records()),
        };
        let has_room = bay.batch.has_room(body.len() + 1);
        if !(config.policy.admits(bay.batch.len(), body.len()) && has_room && admits) {
            return Err(if has_room { NoRoom::Later } else { bay.no_room() });
        }
        let undo = Undo { batch: bay.batch.mark(), refused: bay.refused.entries() };
        let first = bay.batch.events();
        let mut tally = Tally { first, ..Tally::empty(undo) };
        let mut way = match fits {
            None => Way::find(&mut bay.batch, sink, now_ns, stream)?,
            Some(fits) => Way::spill(&mut bay.batch, sink, fits, (config.shard, now_ns, stream, key))?,
        };
        let mut refusals = Refusals { errors, free: errors_free, refused: &mut bay.refused, keeps };
        let (mut index, mut append_ns, mut unfit) = (0u32, 0u64, None);
        // Against what a large body takes to judge, two looks at the clock are nothing.
        let timed = sampled || body.len() >= LARGE_BYTES;
        let start_ns = if timed { clock.now_ns() } else { 0 };
        let runs = way.takes_runs();
        let take = |span: Range<usize>, verdict: Judged<'_>| {
            let at = index;
            let (offset, reason) = match verdict {
                Ok(Good { events, breaks, picked }) => {
                    let before_ns = if sampled { clock.now_ns() } else { 0 };
                    let value = &body[span.clone()];
                    let event = Event { stream, key, value, picked, breaks, now_ns, wall_ms, id: None };
                    let appended = way.append_run(&event, events);
                    append_ns += if sampled { clock.now_ns() - before_ns } else { 0 };
                    index += events;
                    if appended != Err(Unfit::TooLarge) {
                        unfit = unfit.or(appended.err());
                        tally.accepted += events;
                        return;
                    }
                    (span.start, Reason::KAFKA_TOO_LARGE)
                }
                Err(trouble) => {
                    index += 1;
                    trouble
                }
            };
            let record = ErrorRecord { index: label(at, &span), offset: offset as u32, reason };
            refusals.take(&mut tally, record, at, &body[span]);
        };
        let ahead = ahead.map(|id| &aheads[usize::from(id)]);
        ahead::judge(scanner, ahead, checks.of(stream), (body, format), runs, take);
        tally.run = bay.batch.newest_run() as u32;
        if timed {
            let scan_ns = (clock.now_ns() - start_ns).saturating_sub(append_ns);
            (tally.parse_ns, tally.append_ns) = (short(scan_ns), short(append_ns));
            if sampled {
                self.metrics.stages.record(Stage::Parse, scan_ns);
                self.metrics.stages.record(Stage::Append, append_ns);
            }
        }
        let Some(unfit) = unfit else { return Ok(tally) };
        self.undo(&tally);
        Err(match unfit {
            Unfit::NoLeader => NoRoom::Refused(NO_LEADER),
            Unfit::Full | Unfit::TooLarge => self.bays[self.open_bay].no_room(),
        })
    }

    /// Refuses one event of which only the start is known: listed, and quarantined if there is room.
    pub(super) fn refuse_event(&mut self, start: &[u8], index: u32, offset: u32, reason: Reason) -> Tally {
        let bay = &mut self.bays[self.open_bay];
        let undo = Undo { batch: bay.batch.mark(), refused: bay.refused.entries() };
        let (first, run) = (bay.batch.events(), bay.batch.newest_run() as u32);
        let kept = self.quarantine.is_some() && bay.refused.append(start, index, offset, reason.as_str());
        let errors = self.errors_free.pop();
        if let Some(list) = errors {
            self.errors[usize::from(list)].push(ErrorRecord { index, offset, reason });
        }
        Tally { rejected: 1, kept: u32::from(kept), first, run, errors, ..Tally::empty(undo) }
    }

    /// As if it had never been looked at. Nothing came free by it: whoever tries again at once finds no more
    /// room than before.
    fn undo(&mut self, tally: &Tally) {
        self.undo_events(tally);
        if let Some(list) = tally.errors {
            self.errors[usize::from(list)].clear();
            self.errors_free.push(list);
        }
    }

    fn undo_events(&mut self, tally: &Tally) {
        let bay = &mut self.bays[self.open_bay];
        bay.batch.rollback(tally.undo.batch);
        bay.refused.rollback(tally.undo.refused);
    }

    /// Enters what was taken into the books and the connection into the list of those who wait for it.
    /// Returns the ticket to wait for, 0 for none.
    pub(super) fn book(&mut self, conn: &mut Conn<M>, id: ConnId, tally: &Tally, level: Ack) -> u64 {
        let counters = &mut self.metrics.counters;
        let (accepted, rejected, kept) =
            (u64::from(tally.accepted), u64::from(tally.rejected), u64::from(tally.kept));
        counters.events_received += accepted + rejected;
        counters.events_rejected += rejected - kept;
        if self.quarantine.is_some() && tally.accepted + tally.kept > 0 {
            counters.quarantine_dropped += rejected - kept;
        }
        self.metrics.gauges.events_in_flight += accepted + kept;
        if accepted + kept == 0 {
            return 0;
        }
        let bay = &mut self.bays[self.open_bay];
        bay.kept += tally.kept;
        bay.requests += 1;
        if level == Ack::Accepted {
            return 0;
        }
        let ticket = self.ledger.open();
        bay.wants = bay.wants.max(level);
        bay.wants_written |= level == Ack::Written;
        if conn.waits != ticket {
            conn.waits = ticket;
            bay.waiters.push(id);
        }
        ticket
    }

    pub(super) fn give_back_list(&mut self, list: Option<ErrorList>) {
        if let Some(list) = list {
            self.errors[usize::from(list)].clear();
            self.errors_free.push(list);
            self.freed = true;
        }
    }

    pub(super) fn give_back_errors(&mut self, what: &What) {
        match what {
            What::Events(taken) => self.give_back_list(taken.errors),
            What::Lines { errors, .. } => self.give_back_list(*errors),
            _ => {}
        }
    }

    /// Why the request at the head of a connection has nowhere to go, if that is what it waits for.
    fn why_not_routed(&mut self, conn: &Conn<M>) -> Option<NotReady> {
        if self.lane() == 1 {
            return self.ready().err();
        }
        let now_ns = self.now_ns;
        let remote = self.sink.remote_mut::<M>()?;
        let name = match (&conn.held, &conn.carry) {
            (
                Some(Request { action: Action::Ingest(Ingest { stream: Some(range), .. }), .. }),
                Some(carry),
            ) => carry.bytes().get(range.clone()).and_then(StreamName::new),
            _ => None,
        };
        remote.why_not(now_ns, &name.unwrap_or(StreamName::DEFAULT))
    }

    /// Sheds the request at the head of a connection that waited too long for room.
    pub(super) fn shed(&mut self, conn: &mut Conn<M>, id: ConnId) {
        let reason = "the server holds as much as it may: wait as Retry-After says, then send again";
        let reject = match self.why_not_routed(conn) {
            Some(why) => Reject::new(503, "not_ready", why.reason()),
            None => Reject::new(503, "overloaded", reason),
        };
        let retry_after_s = self.retry_after_s();
        let Some(request) = conn.held.take() else {
            // Its body has not arrived: answer and close, for the rest cannot be told from a request.
            self.note_whole(conn);
            let manner = Manner { close: true, retry_after_s, ..Manner::default() };
            self.reply_later(conn, id, What::Reject(reject, manner));
            conn.state = State::Last;
            return;
        };
        let close = !request.keep_alive || self.draining;
        let manner = Manner { close, retry_after_s, head_only: request.head_only, minimal: false };
        self.reply_later(conn, id, What::Reject(reject, manner));
        conn.end_request();
        if close {
            conn.state = State::Last;
        }
        self.forget_ahead(conn);
        // The shed request's bytes leave the front of the carry; those behind it get their chance.
        if let Some(carry) = conn.carry.as_mut() {
            let drop = request.consumed.min(conn.carry_len);
            carry.bytes_mut().copy_within(drop..conn.carry_len, 0);
            conn.carry_len -= drop;
        }
    }
}
