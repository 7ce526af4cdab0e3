//! Events to an HTTP target as lines of JSON: a commit is a few requests, each with an end of its own.
//!
//! It holds no bytes: those of a commit stay in its [`Batch`], from which the edge sends them. It decides whose turn
//! it is, what an answer means for which events, and when to try again; it opens no socket, compresses nothing and
//! reads no clock. Enter at [`HttpSink`]; the edge moves it through `Engine::courier`.
//!
//! ```text
//! append ─▶ seal: pack into parcels ─▶ next_command: Post ─▶ answered ─▶ take_outcomes ─▶ fates of events
//! ```
//!
//! | module | what |
//! |-|-|
//! | `pack` | which lines go into which request; halves of one that is refused |
//! | `delivery`, `terms` | connections, turns, retries, deadlines, and the words for them |
//! | `seam` | what the engine sees |
//! | [`target`] | heads of requests, action lines of `_bulk` |
//! | [`answer`], [`bulk`] | what is read of an answer |
//! | `why` | what can go wrong, in words |
pub mod answer;
pub mod bulk;
mod delivery;
mod pack;
mod seam;
pub mod target;
mod terms;
mod why;

pub use pack::{Parcel, Piece};
pub use target::{Preset, Target};
pub use terms::{Answer, Command, Input, LaneId, Rules, Totals};
pub use why::{NotReady, Trouble, Why};

use super::{Late, Sink};
use crate::ack::Ack;
use crate::batch::Batch;
use crate::batch::fate::{Cause, Failure, Fate, Fates};
use crate::json::Reason as Flaw;
use crate::memory::Memory;
use alloc::vec::Vec;
use bulk::Item;
use delivery::Delivery;
use pack::Packing;
use target::{EventId, LEAD_BYTES_MIN, Lead, Own};
use terms::{Done, Verdict};

/// What a shard's HTTP sink is told at start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the target wants events.
    pub preset: Preset,
    /// Where they go there.
    pub target: Target,
    /// Connections and patience.
    pub rules: Rules,
    /// Bytes of one request's body, uncompressed; one event may be more.
    pub batch_bytes: usize,
    /// Bytes of each arena.
    pub arena_bytes: usize,
    /// What a 2xx of the target promises.
    pub level: Ack,
    /// Id of the first event; its run is random.
    pub first: EventId,
}

/// What the sink counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Bytes of bodies that were taken, before compression.
    pub raw_bytes: u64,
    /// Bytes of bodies as sent, whatever became of them.
    pub sent_bytes: u64,
    /// Requests that were cut in two after a refusal.
    pub splits: u64,
    /// Events that were sent again by themselves.
    pub events_retried: u64,
    /// Events that are not at the target.
    pub events_not_written: u64,
    /// Events of which nobody knows.
    pub events_possibly_written: u64,
    /// Events that the target refused for what they are.
    pub events_refused: u64,
}

/// What a `_bulk` said of one event.
mod mark {
    /// Nothing yet, or to be sent again.
    pub const OPEN: u8 = 0;
    pub const TAKEN: u8 = 1;
    pub const REFUSED: u8 = 2;
    pub const TOO_LARGE: u8 = 3;
    pub const DENIED: u8 = 4;
}

/// One shard's way to an HTTP target.
pub struct HttpSink {
    preset: Preset,
    target: Target,
    level: Ack,
    /// Of the first event of the batch that is filling, and of the commit that is out.
    next: EventId,
    sent: EventId,
    /// What the next commit's first event was called before.
    origin: Option<(u32, u64)>,
    packing: Packing,
    delivery: Delivery,
    /// What `_bulk` said of the events of the commit that is out; empty for other presets.
    marks: Vec<u8>,
    /// Statuses of the newest refusal and denial of single events.
    refused_status: u16,
    denied_status: u16,
    draining: bool,
    now_ns: u64,
    figures: Figures,
    /// Bytes taken of the commit that is out.
    taken_bytes: u64,
    sent_before: u64,
}

impl HttpSink {
    /// A sink that begins to connect at once.
    pub fn new(settings: Settings, now_ns: u64) -> HttpSink {
        let Settings { preset, target, rules, batch_bytes, arena_bytes, level, first } = settings;
        let by_stream = target.is_by_stream();
        let marks = if preset.is_bulk() { bulk_events_max(arena_bytes) } else { 0 };
        HttpSink {
            preset,
            level,
            next: first,
            sent: first,
            origin: None,
            packing: Packing::new(arena_bytes, batch_bytes, by_stream, preset),
            delivery: Delivery::new(rules, pack::parcels_max(arena_bytes, batch_bytes)),
            marks: Vec::with_capacity(marks),
            refused_status: 400,
            denied_status: 403,
            target,
            draining: false,
            now_ns,
            figures: Figures::default(),
            taken_bytes: 0,
            sent_before: 0,
        }
    }

    /// Bytes of its tables, beside a byte for each event of each arena, which failures touch.
    pub const fn table_bytes(arena_bytes: usize, batch_bytes: usize, preset: Preset) -> usize {
        let marks = if preset.is_bulk() { bulk_events_max(arena_bytes) } else { 0 };
        pack::table_bytes(arena_bytes, batch_bytes)
            + Delivery::table_bytes(pack::parcels_max(arena_bytes, batch_bytes))
            + marks
    }

    /// Most events of one request where each has a verdict of its own.
    pub const fn items_max(arena_bytes: usize, preset: Preset) -> Option<usize> {
        if preset.is_bulk() { Some(bulk_events_max(arena_bytes)) } else { None }
    }

    /// What it counted.
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// What its connections and requests came to.
    pub fn totals(&self) -> Totals {
        self.delivery.totals()
    }

    /// How the target wants events.
    pub fn preset(&self) -> Preset {
        self.preset
    }

    /// The action line before the event with that index in the batch that is filling; `None`: events stand alone.
    /// `before`: the shard and number under which a replayed event was stored.
    #[inline]
    pub(crate) fn lead(&self, event: u32, before: Option<(u32, u64)>) -> Option<Lead> {
        let id = match before {
            Some((shard, sequence)) => EventId { shard, sequence, ..self.next },
            None => EventId { sequence: self.next.sequence + u64::from(event), ..self.next },
        };
        self.preset.is_bulk().then(|| Lead::new(id))
    }

    /// What to do next; for the edge, until there is nothing.
    pub fn next_command(&mut self, now_ns: u64) -> Option<Command> {
        self.delivery.next_command(now_ns)
    }

    /// The edge tells what happened on a connection.
    pub fn handle(&mut self, now_ns: u64, input: Input) {
        self.delivery.handle(now_ns, input);
    }

    /// The answer to a `_bulk` and, if it has one for each event, their statuses.
    pub fn handle_bulk(&mut self, now_ns: u64, lane: LaneId, answer: Answer, statuses: Option<&[u16]>) {
        let Some(parcel) = self.delivery.parcel_of(lane) else { return };
        if Verdict::of(answer.status) != Verdict::Taken {
            return self.handle(now_ns, Input::Answered(lane, answer));
        }
        let Some(statuses) = statuses else {
            return self.delivery.answered_in_part(now_ns, lane, &answer, Why::NoVerdict, false);
        };
        let (left, denied) = self.mark(parcel, statuses);
        match left {
            None => self.delivery.handle(now_ns, Input::Answered(lane, answer)),
            Some((status, sure)) => {
                self.packing.parcels[parcel].partial = true;
                self.delivery.answered_in_part(now_ns, lane, &answer, Why::Status(status), sure);
            }
        }
        if let Some(status) = denied {
            self.delivery.refused(now_ns, status);
        }
    }

    /// Notes what became of each open event. Returns why some are left, if any, and whether it is known that those
    /// were not taken; and why we are not let in, if that is so.
    fn mark(&mut self, parcel: usize, statuses: &[u16]) -> (Option<(u16, bool)>, Option<u16>) {
        let (mut left, mut denied) = (None, None);
        let mut statuses = statuses.iter();
        for piece in self.packing.pieces(&self.packing.parcels[parcel]) {
            for event in piece.range() {
                let place = &mut self.marks[event as usize];
                if *place != mark::OPEN {
                    continue;
                }
                let Some(&status) = statuses.next() else { return (left, denied) };
                match Item::of(status) {
                    Item::Taken => *place = mark::TAKEN,
                    Item::Refused if status == 413 => *place = mark::TOO_LARGE,
                    Item::Refused => (*place, self.refused_status) = (mark::REFUSED, status),
                    Item::Denied => {
                        (*place, self.denied_status) = (mark::DENIED, status);
                        denied = Some(status);
                    }
                    Item::Again { sure } => {
                        let all_sure = left.is_none_or(|(_, sure)| sure);
                        left = Some((status, sure && all_sure));
                        self.figures.events_retried += 1;
                    }
                }
            }
        }
        (left, denied)
    }

    /// A parcel that is to be sent.
    pub fn parcel(&self, parcel: usize) -> &Parcel {
        &self.packing.parcels[parcel]
    }

    /// Its lines, in order. Of one that is [partial](Parcel::partial) only the [open events](HttpSink::open_events)
    /// are sent.
    pub fn pieces(&self, parcel: usize) -> &[Piece] {
        self.packing.pieces(&self.packing.parcels[parcel])
    }

    /// How many events an attempt at a parcel carries.
    pub fn events_to_send(&self, parcel: usize) -> usize {
        match self.packing.parcels[parcel].partial {
            false => self.packing.parcels[parcel].events as usize,
            true => {
                self.pieces(parcel).iter().flat_map(Piece::range).filter(|event| self.is_open(*event)).count()
            }
        }
    }

    /// The lines of those events of a parcel that are not done with, in pieces that follow each other where they
    /// can.
    pub fn open_events<'a, M: Memory>(
        &'a self,
        parcel: usize,
        batch: &'a Batch<M>,
    ) -> impl Iterator<Item = &'a [u8]> + use<'a, M> {
        let each = move |piece: &'a Piece| self.packing.events(piece, batch);
        self.pieces(parcel)
            .iter()
            .flat_map(each)
            .filter(|(event, _)| self.is_open(*event))
            .map(|(_, lines)| lines)
    }

    fn is_open(&self, event: u32) -> bool {
        self.marks.get(event as usize).is_none_or(|mark| *mark == mark::OPEN)
    }

    /// Appends the head of a request for a parcel with a body of so many bytes.
    pub fn head(&self, parcel: usize, body_bytes: u64, out: &mut Vec<u8>) {
        let Parcel { stream, events, .. } = &self.packing.parcels[parcel];
        let first = self.pieces(parcel).first().map_or(0, |piece| piece.first);
        let first = EventId { sequence: self.sent.sequence + u64::from(first), ..self.sent };
        self.target.head(&Own { stream, first, events: *events, body_bytes }, out);
    }

    /// Bytes that no head is longer than.
    pub fn head_bytes_max(&self) -> usize {
        self.target.head_bytes_max()
    }

    /// So many bytes of a body are on their way.
    pub fn note_sent(&mut self, bytes: u64) {
        self.figures.sent_bytes += bytes;
    }

    /// Notes what became of one parcel. Returns how many more outcomes there will be for it.
    fn settle<M: Memory>(
        &mut self,
        batch: &mut Batch<M>,
        parcel: usize,
        done: Done,
        late: &mut Late<'_>,
    ) -> i64 {
        let (fate, why) = match done {
            Done::Taken => {
                self.taken_bytes += self.packing.parcels[parcel].bytes;
                if self.marks.is_empty() {
                    return 0;
                }
                // Nothing is open, so this is nobody's.
                (Fate::NotWritten, Why::Waited)
            }
            Done::Content(why) => {
                if let Some(other) = self.packing.split(parcel, batch) {
                    self.figures.splits += 1;
                    self.delivery.resubmit(parcel);
                    self.delivery.submit_half(parcel);
                    debug_assert_eq!(other + 1, self.packing.parcels.len());
                    return 2;
                }
                (Fate::Refused, why)
            }
            Done::Lost { why, unsure: true } => (Fate::PossiblyWritten, why),
            Done::Lost { why, unsure: false } => (Fate::NotWritten, why),
        };
        let open = Failure { fate, cause: Cause::Http(why) };
        for at in 0..self.pieces(parcel).len() {
            let piece = self.pieces(parcel)[at];
            match self.marks.is_empty() {
                true => self.fail(batch.fates_mut(), piece.range(), open),
                false => piece.range().for_each(|event| {
                    if let Some(failure) = self.failure_of(event, open) {
                        self.fail(batch.fates_mut(), event..event + 1, failure);
                    }
                }),
            }
            self.tell_refused(batch, &piece, late);
        }
        0
    }

    /// Why a marked event is not at the target, if it is not.
    fn failure_of(&self, event: u32, open: Failure) -> Option<Failure> {
        let of = |fate, status| Some(Failure { fate, cause: Cause::Http(Why::Status(status)) });
        match self.marks[event as usize] {
            mark::TAKEN => None,
            mark::REFUSED => of(Fate::Refused, self.refused_status),
            mark::TOO_LARGE => of(Fate::Refused, 413),
            mark::DENIED => of(Fate::NotWritten, self.denied_status),
            _ => Some(open),
        }
    }

    fn fail(&mut self, fates: &mut Fates, events: core::ops::Range<u32>, failure: Failure) {
        *match failure.fate {
            Fate::NotWritten => &mut self.figures.events_not_written,
            Fate::PossiblyWritten => &mut self.figures.events_possibly_written,
            Fate::Refused => &mut self.figures.events_refused,
        } += u64::from(events.end - events.start);
        fates.fail(events, failure);
    }

    /// Hands on the bytes of events that were refused for what they are.
    fn tell_refused<M: Memory>(&self, batch: &Batch<M>, piece: &Piece, late: &mut Late<'_>) {
        let fates = batch.fates();
        if fates.sum(piece.range()).refused == 0 {
            return;
        }
        for (event, lines) in self.packing.events(piece, batch) {
            let Some(Failure { fate: Fate::Refused, cause: Cause::Http(why) }) = fates.of(event).copied()
            else {
                continue;
            };
            let lines = lines.strip_suffix(b"\n").unwrap_or(lines);
            let start = match self.preset.is_bulk() {
                true => memchr::memchr(b'\n', lines).map_or(0, |end| end + 1),
                false => 0,
            };
            late(event, &lines[start..], flaw(why));
        }
    }
}

/// What a list of errors says of a refusal by a target.
pub(crate) const fn flaw(why: Why) -> Flaw {
    match why {
        Why::Status(413) => Flaw::HTTP_TOO_LARGE,
        _ => Flaw::HTTP_REFUSED,
    }
}

/// Most events of an arena where each has an action line before it.
const fn bulk_events_max(arena_bytes: usize) -> usize {
    arena_bytes / (LEAD_BYTES_MIN + 3)
}

impl core::fmt::Debug for HttpSink {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("HttpSink").field("ready", &Sink::ready(self)).field("figures", &self.figures).finish()
    }
}

#[cfg(test)]
#[path = "tests/sink.rs"]
mod tests;
