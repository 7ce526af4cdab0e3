//! When events go to the spill instead of the sink, and when they go to the sink again.
//!
//! ```text
//!            the sink took nothing for `after`
//!   Direct ────────────────────────────────────▶ Spilling ◀──────────────┐
//!     ▲                                              │ few events left,  │ it takes too long, or the
//!     │ nothing left                                 ▼ the sink takes    │ sink takes nothing again
//!     └────────────────────────────────────────── Returning ─────────────┘
//! ```
//!
//! A lane is a pair of bays with a commit in flight of its own: 0 for the sink, 1 for the spill. One of them takes
//! events. What was with the sink when spilling began stays with it until its outcome is known, and is overtaken by
//! spilled commits ([`Ledger::hold`](crate::batch::ledger::Ledger::hold)).
//!
//! **Order.** An event of a shard reaches the sink before those that were taken after it: the replayer may read
//! nothing while a commit is still with the sink ([`Engine::take_spilled`]), and the sink takes nothing itself until
//! the replayer has said that all that was spilled is replicated ([`Engine::replicated`]). To get there under load,
//! requests wait while the last few spilled events go over.
//!
//! Nothing is replayed here: that is the edge's, with an engine of its own.
use super::{Engine, Hub};
use crate::ack::Ack;
use crate::json::Scanner;
use crate::memory::{Clock, Memory};
use crate::metrics::SpillFigures;
use crate::sink::spill::Spill;
use crate::sink::{NotReady, Receipt, Sink};

/// Requests are made to wait when so few events are left: what a replayer sends within some ten milliseconds.
const LAST_EVENTS: u64 = 20_000;
/// How long they wait at most. Longer ones would be shed.
const RETURN_NS: u64 = 500_000_000;
/// How long after a failed attempt the next may be made.
const REST_NS: u64 = 2_000_000_000;

/// Where a shard's events go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To the sink.
    Direct,
    /// To the spill.
    Spilling,
    /// Nowhere for a moment: the last spilled events are on their way to the sink.
    Returning,
}

impl Mode {
    /// The name in figures and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Direct => "direct",
            Mode::Spilling => "spilling",
            Mode::Returning => "returning",
        }
    }
}

/// Commits to the spill that may be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spilled {
    /// Segment of the newest.
    pub segment: u64,
    /// Its last event.
    pub through: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// When the oldest was sealed: Unix time in milliseconds.
    pub time_ms: u64,
}

/// What the replayer knows of a shard's spilled events, for the figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Bytes that are durable and not replicated.
    pub bytes: u64,
    /// When the oldest of them came: Unix time in milliseconds; 0: there is none.
    pub oldest_ms: u64,
    /// Events replicated by this process.
    pub replayed_events: u64,
    /// Their bytes.
    pub replayed_bytes: u64,
    /// Events that the sink refused for good, which were kept aside.
    pub refused_events: u64,
}

/// What a shard with a spill remembers.
#[derive(Debug)]
pub(super) struct State {
    pub mode: Mode,
    /// The level of requests that name none, while they are spilled.
    level: Ack,
    after_ns: u64,
    /// Since when the sink has taken nothing.
    away_since_ns: Option<u64>,
    /// That was long ago enough when it was last looked at.
    suspected: bool,
    /// Since when the mode is what it is.
    since_ns: u64,
    /// No attempt to return before.
    rests_until_ns: u64,
    /// Everything up to this event is replicated.
    through: u64,
    /// Commits that the replayer was not told of.
    untold: Option<Spilled>,
    waiting: Waiting,
    /// When spilling began, Unix time in milliseconds; 0: it does not.
    since_ms: u64,
    begun: u64,
    events: u64,
    bytes: u64,
}

impl State {
    /// At start: what an earlier run left is replayed before anything else is done.
    pub fn new(spill: &Spill, level: Ack, now_ns: u64, wall_ms: u64) -> State {
        let left = spill.through + 1 < spill.segments.next_seq();
        State {
            mode: if left { Mode::Spilling } else { Mode::Direct },
            level: level.min(Ack::Durable),
            after_ns: spill.after_ns,
            away_since_ns: Some(now_ns),
            suspected: false,
            since_ns: now_ns,
            rests_until_ns: 0,
            through: spill.through,
            untold: None,
            waiting: Waiting::default(),
            since_ms: if left { wall_ms } else { 0 },
            begun: 0,
            events: 0,
            bytes: 0,
        }
    }

    fn enter(&mut self, mode: Mode, now_ns: u64) {
        (self.mode, self.since_ns) = (mode, now_ns);
    }
}

impl<M: Memory, C: Clock, S: Scanner, K: Sink> Engine<M, C, S, K> {
    /// Where events go; `None`: the sink has no spill.
    pub fn mode(&self) -> Option<Mode> {
        self.hub.spill.as_ref().map(|spill| spill.mode)
    }

    /// What may be replayed since this was last asked: nothing while events that were taken earlier are still with
    /// the sink. Ask behind everything that tells what happened.
    #[inline]
    pub fn take_spilled(&mut self) -> Option<Spilled> {
        let holds = self.hub.ledger.holds();
        self.hub.spill.as_mut().filter(|_| !holds)?.untold.take()
    }

    /// The replayer says that every spilled event up to this one is replicated, or refused for good and kept aside.
    pub fn replicated(&mut self, through: u64) {
        if let Some(state) = &mut self.hub.spill {
            state.through = state.through.max(through);
            self.tick_spill();
        }
    }

    /// What the replayer knows, for the figures.
    pub fn note_waiting(&mut self, waiting: Waiting) {
        if let Some(state) = &mut self.hub.spill {
            state.waiting = waiting;
        }
    }

    /// Looks whether it is time to go elsewhere.
    pub(super) fn tick_spill(&mut self) {
        let hub = &mut self.hub;
        let Some(mode) = hub.spill.as_ref().map(|spill| spill.mode).filter(|_| !hub.draining) else { return };
        match mode {
            // Twice, for a wake that comes late brings what was heard meanwhile.
            Mode::Direct => {
                let away = hub.is_away();
                let suspected =
                    hub.spill.as_mut().map(|spill| core::mem::replace(&mut spill.suspected, away));
                if away && suspected == Some(true) {
                    self.begin_spilling();
                }
            }
            Mode::Spilling if !hub.nears_end() => {}
            Mode::Spilling | Mode::Returning if hub.is_at_end() => hub.begin_direct(),
            Mode::Spilling => hub.enter(Mode::Returning),
            Mode::Returning if hub.returns_in_vain() => hub.stay_as_it_is(),
            Mode::Returning => {}
        }
    }

    fn begin_spilling(&mut self) {
        let hub = &mut self.hub;
        if let Some(flight) = hub.flights[0].as_ref().filter(|flight| !flight.settled) {
            hub.ledger.hold(flight.ticket);
        }
        let stranded = hub.open_bay;
        hub.open_bay = hub.flights[1].as_ref().map_or(2, |flight| flight.bay ^ 1);
        hub.stuck_since_ns = None;
        hub.enter(Mode::Spilling);
        if let Some(spill) = &mut hub.spill {
            (spill.since_ms, spill.suspected) = (hub.wall_ms, false);
            spill.begun += 1;
        }
        if !hub.bays[stranded].is_empty() {
            // Laid out for the sink and never sent. What they were promised cannot be kept in the spill.
            self.fail_bay(stranded);
        }
        self.hub.freed = true;
    }
}

impl<M: Memory, C: Clock, S: Scanner, K: Sink> Hub<M, C, S, K> {
    /// Whether what takes events now is able to.
    pub(super) fn ready(&self) -> Result<(), NotReady> {
        match self.sink.spill().filter(|_| self.lane() == 1) {
            Some(spill) => spill.segments.ready(),
            None => self.sink.ready(),
        }
    }

    /// The same, and whether it does.
    #[inline]
    pub(super) fn admits(&self) -> bool {
        let waits = self.spill.as_ref().is_some_and(|spill| spill.mode == Mode::Returning);
        !waits && self.ready().is_ok()
    }

    /// The level that a request's events will have reached when it is answered.
    pub(super) fn level(&self, asked: Option<Ack>) -> Ack {
        match (asked, self.lane()) {
            (None, _) => self.usual_level(),
            (Some(asked), 0) => self.sink.reached(asked),
            (Some(asked), _) => asked,
        }
    }

    /// The level of requests that name none.
    pub(super) fn usual_level(&self) -> Ack {
        match self.spill.as_ref().filter(|_| self.lane() == 1) {
            Some(spill) => spill.level,
            None => self.config.ack,
        }
    }

    /// No more going to and fro: the server drains, or an attempt to return failed.
    pub(super) fn stay_as_it_is(&mut self) {
        if self.spill.as_ref().is_some_and(|spill| spill.mode == Mode::Returning) {
            self.enter(Mode::Spilling);
        }
        if let Some(spill) = &mut self.spill {
            spill.rests_until_ns = self.now_ns + REST_NS;
        }
        self.freed = true;
    }

    fn enter(&mut self, mode: Mode) {
        let now_ns = self.now_ns;
        if let Some(spill) = &mut self.spill {
            spill.enter(mode, now_ns);
        }
    }

    /// The sink has taken nothing for so long that events are better spilled: it says that it takes none, or no
    /// outcome came of what is with it.
    fn is_away(&mut self) -> bool {
        let silent_since = self.flights[0].as_ref().filter(|flight| flight.awaits > 0).map(|f| f.heard_ns);
        self.note_away(self.sink.ready().is_ok());
        let (Some(spill), now_ns) = (&self.spill, self.now_ns) else { return false };
        let since_ns = [spill.away_since_ns, silent_since].into_iter().flatten().min();
        since_ns.is_some_and(|since_ns| now_ns.saturating_sub(since_ns) >= spill.after_ns)
    }

    /// Events in the spill that are not known to be replicated.
    fn events_left(&self) -> u64 {
        let (Some(state), Some(spill)) = (&self.spill, self.sink.spill()) else { return 0 };
        (spill.segments.next_seq() - 1).saturating_sub(state.through)
    }

    /// The sink was looked at.
    pub(super) fn note_away(&mut self, ready: bool) {
        let now_ns = self.now_ns;
        match self.spill.as_mut() {
            Some(spill) if ready => spill.away_since_ns = None,
            Some(spill) => _ = spill.away_since_ns.get_or_insert(now_ns),
            None => {}
        }
    }

    /// Few events are left in the spill, and the sink takes more.
    fn nears_end(&self) -> bool {
        let rested = self.spill.as_ref().is_some_and(|state| self.now_ns >= state.rests_until_ns);
        rested && self.events_left() <= LAST_EVENTS && !self.ledger.holds() && self.sink.ready().is_ok()
    }

    /// None are left.
    fn is_at_end(&self) -> bool {
        let written = self.flights[1].is_none() && self.bay_is_empty();
        written && self.events_left() == 0 && self.sink.ready().is_ok()
    }

    fn returns_in_vain(&self) -> bool {
        let Some(state) = &self.spill else { return false };
        self.sink.ready().is_err() || self.now_ns.saturating_sub(state.since_ns) > RETURN_NS
    }

    fn begin_direct(&mut self) {
        // A commit that settled long ago may still be read by the kernel.
        self.open_bay = self.flights[0].as_ref().map_or(0, |flight| flight.bay ^ 1);
        self.stuck_since_ns = None;
        self.enter(Mode::Direct);
        if let Some(spill) = &mut self.spill {
            spill.away_since_ns = None;
            spill.since_ms = 0;
        }
        self.freed = true;
    }

    /// When [`Engine::tick`] has something to do about it.
    pub(super) fn spill_deadline_ns(&self) -> Option<u64> {
        let state = self.spill.as_ref().filter(|_| !self.draining)?;
        if state.untold.is_some() && !self.ledger.holds() {
            return Some(self.now_ns);
        }
        match state.mode {
            Mode::Direct => {
                let silent = self.flights[0].as_ref().filter(|flight| flight.awaits > 0).map(|f| f.heard_ns);
                let since_ns = [silent, state.away_since_ns].into_iter().flatten().min();
                since_ns.map(|since_ns| since_ns + state.after_ns)
            }
            Mode::Spilling => Some(state.rests_until_ns).filter(|until_ns| *until_ns > self.now_ns),
            Mode::Returning => Some(state.since_ns + RETURN_NS + 1),
        }
    }

    /// A commit to the spill is sound.
    pub(super) fn note_spilled(&mut self, receipt: Receipt, events: u64, bytes: u64) {
        let time_ms = self.wall_ms;
        let Some(spill) = &mut self.spill else { return };
        spill.events += events;
        spill.bytes += bytes;
        let (segment, through) = (receipt.segment, receipt.seq + events - 1);
        let before = spill.untold.unwrap_or(Spilled { segment, through, bytes: 0, time_ms });
        spill.untold = Some(Spilled { segment, through, bytes: before.bytes + bytes, ..before });
    }

    /// Brings the figures up to date.
    pub(super) fn read_spill(&mut self) {
        let Some(state) = &self.spill else { return };
        let (left, waiting) = (self.events_left(), state.waiting);
        let oldest_ms = if left == 0 { 0 } else { waiting.oldest_ms };
        self.metrics.spill = SpillFigures {
            used: true,
            mode: state.mode.as_str(),
            why: if state.mode == Mode::Direct {
                None
            } else {
                self.sink.ready().err().map(NotReady::reason)
            },
            active: u64::from(state.mode != Mode::Direct),
            since_ms: state.since_ms,
            begun: state.begun,
            events: state.events,
            bytes: state.bytes,
            replayed_events: waiting.replayed_events,
            replayed_bytes: waiting.replayed_bytes,
            refused_events: waiting.refused_events,
            waiting_events: left,
            waiting_bytes: if left == 0 { 0 } else { waiting.bytes },
            oldest_ms,
            oldest_age_ms: if oldest_ms == 0 { 0 } else { self.wall_ms.saturating_sub(oldest_ms) },
        };
    }
}
