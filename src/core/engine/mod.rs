//! One shard's whole logic, without I/O: connections, batches, acknowledgements.
//!
//! A driver moves it. Methods fall in families:
//!
//! * what happened: [`Engine::open`], [`Engine::receive`], [`Engine::receive_end`], [`Engine::fail`],
//!   [`Engine::sent`], [`Engine::released`], [`Engine::io_done`], [`Engine::mail`], [`Engine::tick`];
//! * what to do now, asked until `None`: [`Engine::next_action`], [`Engine::next_io`],
//!   [`Engine::next_request`], [`Engine::next_send`];
//! * for a sink beyond this process, between the two: [`Engine::upstream`] (Kafka) or [`Engine::courier`] (HTTP),
//!   [`Engine::poll_upstream`];
//! * instead of connections, for what segments hold: [`Engine::replay`], [`Engine::take_replayed`];
//! * when to come back: [`Engine::run`] (now, if true), [`Engine::deadline_ns`].
//!
//! On each wake: `tick`, then what happened, then `run`, then what to do, then sleep.
//!
//! ```text
//! receive → pump (http, lines) → admit → scan → Batch::append ─┐ replies at level `accepted`
//!                                                              ▼
//!              next_io ← commit::start ← policy     Pending (ticket, level) in the connection
//!              io_done → Ledger → settle the waiters of that ticket, in order → Outbox → next_send
//! ```

mod admit;
mod ahead;
mod bay;
mod commit;
mod conn;
mod http;
mod lines;
mod look;
pub mod outbox;
mod partial;
pub mod replay;
mod settle;
mod spill;
mod tail;
mod timers;
mod upstream;
mod way;

pub use ahead::{LOGS, logs_bytes};
pub use conn::{Action, PENDING_MAX, Protocol, connection_bytes};

use crate::ack::Ack;
use crate::batch::ledger::Ledger;
use crate::batch::policy::Policy;
use crate::batch::store::Layout;
use crate::json::{Scanner, schema::Checks};
use crate::memory::{Clock, Memory};
use crate::metrics::{BalanceFigures, Metrics, cause::Spells};
use crate::reply::{Composer, ErrorRecord};
use crate::sink::{FileKind, Mail, NotReady, Remote, Request, Sink, files::Files};
use admit::NoRoom;
use ahead::{Ahead, AheadId};
use alloc::vec::Vec;
use bay::Bay;
use commit::Flight;
use conn::{Conn, ConnQueue, ErrorList, State};
use outbox::OUTBOX_BYTES;

pub use crate::reply::ERRORS_MAX;
pub use commit::{Io, IoStep};
pub use spill::{Mode, Spilled, Waiting};
pub use upstream::{Courier, Upstream};

/// A slot in the table of connections.
pub type ConnId = u32;

/// Bytes of a connection's carry that stay resident: what a request of ordinary size needs.
pub const CARRY_RESIDENT_BYTES: usize = 64 << 10;
/// Bytes of address space of a carry: the largest body, its head, and what may arrive before reading pauses.
pub const CARRY_BYTES: usize = (9 << 20) + (64 << 10);
/// Bytes that one connection may have processed before the others get their turn: four receive buffers.
pub const SHARE_BYTES: usize = 64 << 10;
/// Lists of refusals that may wait for their replies at once in a shard; each holds [`ERRORS_MAX`] records.
pub const ERROR_LISTS: usize = 512;

/// What a shard is told at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Number of the shard.
    pub shard: u32,
    /// Slots for connections.
    pub connections_max: usize,
    /// Bytes that bodies beyond the resident carry may take together.
    pub body_budget_bytes: usize,
    /// Bytes of each of the two batch arenas.
    pub batch_arena_bytes: usize,
    /// Bytes of each of the two quarantine arenas.
    pub refused_arena_bytes: usize,
    /// Level of requests that name none.
    pub ack: Ack,
    /// When batches are sealed.
    pub policy: Policy,
    /// Answer on line connections.
    pub lines_replies: bool,
    /// Requests that waited for room this long are shed.
    pub shed_after_ns: u64,
    /// First quarantine file; `None`: refused bytes are not kept.
    pub quarantine_first: Option<u64>,
    /// Deadlines of slow peers.
    pub timeouts: Timeouts,
}

/// Deadlines in nanoseconds; each is found out at the next quarter of a second.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// A head, in all.
    pub head_ns: u64,
    /// Nothing between requests.
    pub idle_ns: u64,
    /// A reply not read.
    pub reply_ns: u64,
    /// Grace before the body's floor counts.
    pub body_grace_ns: u64,
    /// Floor of a body in bytes a second.
    pub body_floor_bytes_per_s: u64,
}

impl Default for Timeouts {
    /// 5 s head, 60 s idle, 30 s reply, 1 KiB/s after 30 s.
    fn default() -> Timeouts {
        const S: u64 = 1_000_000_000;
        Timeouts {
            head_ns: 5 * S,
            idle_ns: 60 * S,
            reply_ns: 30 * S,
            body_grace_ns: 30 * S,
            body_floor_bytes_per_s: 1024,
        }
    }
}

/// One shard.
pub struct Engine<M, C, S, K> {
    conns: Vec<Conn<M>>,
    free: Vec<ConnId>,
    hub: Hub<M, C, S, K>,
}

/// All of a shard that is not one connection's.
struct Hub<M, C, S, K> {
    config: Config,
    clock: C,
    scanner: S,
    /// What is looked up in events besides.
    checks: Checks,
    /// What is known of bodies that are not whole yet.
    aheads: Vec<Ahead>,
    aheads_free: Vec<AheadId>,
    sink: K,
    quarantine: Option<Files>,
    /// Two for the sink, and two more for its spill: see [`spill`].
    bays: Vec<Bay<M>>,
    open_bay: usize,
    /// Commits of the sink and of its spill: one each at most.
    flights: [Option<Flight>; 2],
    /// How things stand with the sink, if it has a spill.
    spill: Option<spill::State>,
    /// Since when the open batch found no file to go to.
    stuck_since_ns: Option<u64>,
    ledger: Ledger,
    carries: Vec<M>,
    body_budget: usize,
    errors: Vec<Vec<ErrorRecord>>,
    errors_free: Vec<ErrorList>,
    composer: Composer,
    metrics: Metrics,
    now_ns: u64,
    wall_ms: u64,
    next_scan_ns: u64,
    /// Connections that count as sending: see [`Engine::active`].
    active: u32,
    /// Connections that had their share and have more.
    again: ConnQueue,
    /// Connections that found no room.
    blocked: ConnQueue,
    /// Room came free since `blocked` was last tried.
    freed: bool,
    to_send: ConnQueue,
    actions: alloc::collections::VecDeque<(ConnId, Action)>,
    draining: bool,
    drain_since_ns: u64,
    /// A sink beyond this process could be written to when it was last looked at.
    upstream_ready: bool,
    /// What it knew of topics then.
    upstream_version: u64,
    /// What became of a commit of replayed events, until it is taken.
    replayed: Option<replay::Settlement>,
    /// Counts requests, to time one in sixteen.
    sample: u32,
    /// How long what comes in this turn may have lain there, at most.
    unseen_ns: u64,
    /// What this turn has done so far.
    done: tail::Done,
    spells: Spells,
    /// Connections of slow requests whose addresses are wanted.
    unnamed: Vec<ConnId>,
}

impl<M: Memory, C: Clock, S: Scanner, K: Sink> Engine<M, C, S, K> {
    /// Takes every byte it will ever need from `memory` (called with a length; pages of carries may be
    /// resident only when touched).
    pub fn new(
        mut config: Config,
        clock: C,
        scanner: S,
        sink: K,
        mut memory: impl FnMut(usize) -> M,
    ) -> Self {
        let n = config.connections_max;
        let conns = (0..n).map(|_| Conn::new(memory(OUTBOX_BYTES))).collect();
        let carries = (0..n).map(|_| memory(CARRY_BYTES)).collect();
        let (now_ns, wall_ms) = (clock.now_ns(), clock.wall_ms());
        let spill = sink.spill().map(|spill| spill::State::new(spill, config.ack, now_ns, wall_ms));
        config.ack = sink.reached(config.ack);
        let checks = look::checks(&[], &sink).unwrap_or_default();
        let (bytes, refused) = (config.batch_arena_bytes, config.refused_arena_bytes);
        let mut bay = |layout| Bay::new(layout, bytes, refused, n, &mut memory);
        let layouts = [sink.layout(), sink.layout(), Layout::Lines, Layout::Lines];
        let bays: Vec<Bay<M>> =
            layouts.into_iter().take(if spill.is_some() { 4 } else { 2 }).map(&mut bay).collect();
        let open_bay = if spill.as_ref().is_some_and(|spill| spill.mode != Mode::Direct) { 2 } else { 0 };
        let (aheads, aheads_free) = ahead::pool(if scanner.looks_ahead() { n } else { 0 });
        let hub = Hub {
            quarantine: config.quarantine_first.map(|first| Files::new(FileKind::Quarantine, first)),
            body_budget: config.body_budget_bytes,
            clock,
            scanner,
            checks,
            aheads,
            aheads_free,
            sink,
            bays,
            open_bay,
            flights: [None, None],
            spill,
            stuck_since_ns: None,
            ledger: Ledger::new(),
            carries,
            errors: (0..ERROR_LISTS).map(|_| Vec::with_capacity(ERRORS_MAX)).collect(),
            errors_free: (0..ERROR_LISTS as ErrorList).rev().collect(),
            composer: Composer::new(),
            metrics: Metrics::new(),
            now_ns,
            wall_ms,
            next_scan_ns: now_ns,
            active: 0,
            again: ConnQueue::with_capacity(n),
            blocked: ConnQueue::with_capacity(n),
            freed: false,
            to_send: ConnQueue::with_capacity(n),
            actions: alloc::collections::VecDeque::with_capacity(4 * n + 16),
            draining: false,
            drain_since_ns: 0,
            upstream_ready: false,
            upstream_version: 0,
            replayed: None,
            sample: 0,
            unseen_ns: 0,
            done: tail::Done::default(),
            spells: Spells::new(),
            unnamed: Vec::with_capacity(tail::UNNAMED_MAX),
            config,
        };
        Engine { conns, free: (0..n as ConnId).rev().collect(), hub }
    }

    /// A connection was accepted. `None`: the table is full, close it.
    pub fn open(&mut self, protocol: Protocol) -> Option<ConnId> {
        let Some(id) = self.free.pop() else {
            self.refuse();
            return None;
        };
        self.conns[id as usize].open(protocol, self.hub.now_ns);
        self.hub.count_active(&mut self.conns[id as usize], true);
        self.hub.metrics.counters.connections_opened += 1;
        self.hub.metrics.gauges.connections += 1;
        Some(id)
    }

    /// A connection was closed for want of a slot, without having been opened.
    pub fn refuse(&mut self) {
        self.hub.metrics.counters.connections_refused += 1;
    }

    /// Bytes came. All of `data` is used or copied before this returns; its content may be changed.
    pub fn receive(&mut self, id: ConnId, data: &mut [u8]) {
        let (conn, hub) = (&mut self.conns[id as usize], &mut self.hub);
        hub.metrics.counters.bytes_received += data.len() as u64;
        if conn.state != State::Open {
            return;
        }
        (conn.active_ns, conn.came_ns) = (hub.now_ns, hub.now_ns);
        conn.body_bytes += data.len() as u64;
        if conn.carry_len > 0 || conn.must_wait() {
            hub.keep(conn, id, data);
            if !conn.must_wait() {
                hub.pump_carry(conn, id);
            }
        } else {
            let rest = hub.pump(conn, id, data);
            hub.keep(conn, id, &data[rest]);
        }
        hub.after_pump(conn, id);
        hub.finish(conn, id);
    }

    /// The peer ended its side.
    pub fn receive_end(&mut self, id: ConnId) {
        let (conn, hub) = (&mut self.conns[id as usize], &mut self.hub);
        conn.eof = true;
        match conn.state {
            State::Lingering => hub.close(conn, id),
            State::Open if !conn.must_wait() => {
                hub.pump_carry(conn, id);
                hub.after_pump(conn, id);
            }
            _ => {}
        }
        hub.finish(conn, id);
    }

    /// The connection broke.
    pub fn fail(&mut self, id: ConnId) {
        let (conn, hub) = (&mut self.conns[id as usize], &mut self.hub);
        if !matches!(conn.state, State::Free | State::Closing) {
            hub.metrics.counters.connections_reset += 1;
            hub.close(conn, id);
        }
    }

    /// The driver could not accept (no descriptor left, and the like).
    pub fn accept_failed(&mut self) {
        self.hub.metrics.counters.accept_errors += 1;
    }

    /// The socket is closed and no operation on it is in flight: the slot is free again.
    pub fn released(&mut self, id: ConnId) {
        let (conn, hub) = (&mut self.conns[id as usize], &mut self.hub);
        debug_assert_eq!(conn.state, State::Closing);
        hub.give_back(conn);
        for bay in &mut hub.bays {
            bay.spans.retain(|span| span.conn != id);
        }
        conn.state = State::Free;
        hub.count_active(conn, false);
        self.free.push(id);
        hub.metrics.counters.connections_closed += 1;
        hub.metrics.gauges.connections -= 1;
    }

    /// The kernel took `n` bytes of what [`Engine::next_send`] gave.
    pub fn sent(&mut self, id: ConnId, n: usize) {
        let (conn, hub) = (&mut self.conns[id as usize], &mut self.hub);
        conn.outbox.sent(n);
        hub.metrics.counters.bytes_sent += n as u64;
        if matches!(conn.state, State::Free | State::Closing) {
            return;
        }
        if hub.is_sampled() {
            let waited_ns = hub.now_ns - conn.send_since_ns;
            hub.metrics.stages.record(crate::metrics::Stage::Reply, waited_ns);
        }
        (conn.send_since_ns, conn.active_ns) = (hub.now_ns, hub.now_ns);
        hub.follow(conn, id, n);
        hub.want_send(conn, id);
        hub.freed = true;
        hub.finish(conn, id);
    }

    /// Next connection with bytes to send: once per connection and wake, none while its send is under way.
    pub fn next_send(&mut self) -> Option<(ConnId, &[u8])> {
        loop {
            let id = self.hub.to_send.pop_front()?;
            let conn = &mut self.conns[id as usize];
            conn.queued_send = false;
            let live = !matches!(conn.state, State::Free | State::Closing);
            if live && !conn.outbox.is_empty() && !conn.outbox.is_sending() {
                conn.send_since_ns = self.hub.now_ns;
                return Some((id, self.conns[id as usize].outbox.start_send()));
            }
        }
    }

    /// Next thing to do with a connection.
    pub fn next_action(&mut self) -> Option<(ConnId, Action)> {
        self.hub.actions.pop_front()
    }

    /// Next thing for the housekeeper.
    pub fn next_request(&mut self) -> Option<Request> {
        let quarantine = self.hub.quarantine.as_mut().and_then(Files::next_request);
        quarantine.or_else(|| self.hub.sink.next_request())
    }

    /// News from the housekeeper.
    pub fn mail(&mut self, mail: Mail) {
        let hub = &mut self.hub;
        if matches!(mail, Mail::Ready { kind: FileKind::Segment, .. }) {
            hub.metrics.counters.segments_opened += 1;
        }
        hub.sink.mail(mail);
        if let Some(quarantine) = &mut hub.quarantine {
            quarantine.mail(mail);
        }
        hub.freed = true;
    }

    /// Gives their turn to connections that had more than their share or found no room before. True: some
    /// still have work, come again without sleeping.
    pub fn run(&mut self) -> bool {
        let Engine { conns, hub, .. } = self;
        if core::mem::take(&mut hub.freed) {
            for _ in 0..hub.blocked.len() {
                let Some(id) = hub.blocked.pop_front() else { break };
                let conn = &mut conns[id as usize];
                conn.queued_blocked = false;
                if core::mem::take(&mut conn.blocked) {
                    hub.call_again(conn, id);
                }
            }
        }
        for _ in 0..hub.again.len() {
            let Some(id) = hub.again.pop_front() else { break };
            let conn = &mut conns[id as usize];
            conn.queued_again = false;
            if conn.state == State::Open {
                hub.pump_carry(conn, id);
                hub.after_pump(conn, id);
            }
            hub.finish(conn, id);
        }
        !hub.again.is_empty()
    }

    /// Whether the sink takes events and the quarantine what is refused of them.
    pub fn ready(&self) -> Result<(), &'static str> {
        match self.hub.draining {
            true => return Err("the server is shutting down"),
            false => self.hub.ready().map_err(NotReady::reason)?,
        }
        match &self.hub.quarantine {
            Some(files) if files.ready().is_err() => Err("no quarantine file is ready; see the server's log"),
            _ => Ok(()),
        }
    }

    /// Takes no new requests; answers what was received, then closes every connection.
    pub fn drain(&mut self) {
        if !self.hub.draining {
            self.hub.draining = true;
            self.hub.drain_since_ns = self.hub.now_ns;
            self.hub.next_scan_ns = self.hub.now_ns;
            self.hub.stay_as_it_is();
            if let Some(remote) = self.hub.sink.remote_mut::<M>() {
                remote.drain();
            }
        }
    }

    /// Everything received is settled and every connection closed.
    pub fn is_drained(&self) -> bool {
        let hub = &self.hub;
        let settled = hub.rests();
        let sink = hub.sink.remote::<M>().is_none_or(Remote::is_drained);
        hub.draining && self.free.len() == self.conns.len() && settled && sink
    }

    /// Hands the files back to the housekeeper; the last thing to do with a drained shard.
    pub fn close(&mut self) {
        self.hub.sink.close();
        if let Some(quarantine) = &mut self.hub.quarantine {
            quarantine.close();
        }
    }

    /// Where events go, to look at.
    pub fn sink(&self) -> &K {
        &self.hub.sink
    }

    /// What is known beyond the engine of connections that other shards got.
    pub fn note_balance(&mut self, figures: &BalanceFigures) {
        self.hub.metrics.balance = *figures;
    }

    /// The figures, with the gauges brought up to date.
    pub fn metrics(&mut self) -> &Metrics {
        let hub = &mut self.hub;
        let bay = &hub.bays[hub.open_bay];
        let gauges = &mut hub.metrics.gauges;
        gauges.batch_bytes = bay.batch.len() as u64;
        gauges.batch_bytes_max = bay.batch.capacity() as u64;
        gauges.buffers_max = hub.config.connections_max as u64;
        gauges.buffers_used = (hub.config.connections_max - hub.carries.len()) as u64;
        hub.metrics.slowest.slide(hub.now_ns);
        let gauges = &mut hub.metrics.gauges;
        gauges.commits_in_flight = hub.flights.iter().flatten().count() as u64;
        hub.metrics.scanner = hub.scanner.figures();
        if let Some(kafka) = hub.sink.kafka() {
            hub.metrics.kafka.read(kafka);
        }
        if let Some(http) = hub.sink.http() {
            hub.metrics.http.read(http);
        }
        hub.read_spill();
        &hub.metrics
    }
}

#[cfg(any(test, feature = "testing"))]
impl<M: Memory, C: Clock, S: Scanner, K: Sink> Engine<M, C, S, K> {
    /// For tests, when every connection was released and everything is settled: what did not come back to
    /// its pool.
    pub fn leaks(&self) -> Vec<&'static str> {
        let hub = &self.hub;
        let n = self.conns.len();
        let whole = [
            ("slots", self.free.len() == n && self.conns.iter().all(|conn| conn.state == State::Free)),
            ("carries", hub.carries.len() == n && self.conns.iter().all(|conn| conn.carry.is_none())),
            ("error lists", hub.errors_free.len() == ERROR_LISTS && hub.errors.iter().all(Vec::is_empty)),
            ("logs", hub.aheads_free.len() == hub.aheads.len()),
            ("body budget", hub.body_budget == hub.config.body_budget_bytes),
            ("a commit in flight", hub.flights.iter().all(Option::is_none)),
            ("the open batch", hub.bay_is_empty() && hub.bays.iter().all(|bay| bay.waiters.is_empty())),
            ("events in flight", hub.metrics.gauges.events_in_flight == 0),
            ("connections", hub.metrics.gauges.connections == 0),
        ];
        whole.iter().filter(|(_, back)| !back).map(|(what, _)| *what).collect()
    }
}

impl<M: Memory, C: Clock, S: Scanner, K: Sink> Hub<M, C, S, K> {
    /// One request in sixteen is timed: a clock read costs as much as a tenth of a small request.
    fn is_sampled(&self) -> bool {
        self.sample & 15 == 0
    }

    /// Works through `data`; returns the range that must be kept.
    fn pump(&mut self, conn: &mut Conn<M>, id: ConnId, data: &mut [u8]) -> core::ops::Range<usize> {
        match conn.protocol {
            conn::Protocol::Http => self.pump_http(conn, id, data),
            conn::Protocol::Lines => self.pump_lines(conn, id, data),
        }
    }

    fn pump_carry(&mut self, conn: &mut Conn<M>, id: ConnId) {
        let Some(mut carry) = conn.carry.take() else {
            self.pump(conn, id, &mut []);
            return;
        };
        let bytes = &mut carry.bytes_mut()[..conn.carry_len];
        let rest = self.pump(conn, id, bytes);
        conn.carry_len = rest.len();
        if rest.start > 0 {
            bytes.copy_within(rest, 0);
        }
        conn.carry = Some(carry);
        if conn.carry_len == 0 {
            self.give_back_carry(conn);
        }
    }

    /// Appends to the connection's carry.
    fn keep(&mut self, conn: &mut Conn<M>, id: ConnId, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let carry = conn.carry.get_or_insert_with(|| self.carries.pop().expect("one for every connection"));
        let Some(to) = carry.bytes_mut().get_mut(conn.carry_len..conn.carry_len + data.len()) else {
            // Only a peer that floods faster than reading can be paused gets here.
            self.metrics.counters.connections_reset += 1;
            self.close(conn, id);
            return;
        };
        to.copy_from_slice(data);
        conn.carry_len += data.len();
        conn.carry_peak = conn.carry_peak.max(conn.carry_len);
    }

    fn give_back_carry(&mut self, conn: &mut Conn<M>) {
        if let Some(mut carry) = conn.carry.take() {
            if conn.carry_peak > CARRY_RESIDENT_BYTES {
                carry.release(CARRY_RESIDENT_BYTES);
            }
            self.carries.push(carry);
        }
        (conn.carry_len, conn.carry_peak) = (0, 0);
    }

    fn give_back_budget(&mut self, conn: &mut Conn<M>) {
        if conn.charged > 0 {
            self.body_budget += core::mem::take(&mut conn.charged);
            self.freed = true;
        }
    }

    /// Everything that the connection holds returns to the shard.
    fn give_back(&mut self, conn: &mut Conn<M>) {
        self.give_back_carry(conn);
        self.give_back_budget(conn);
        self.forget_ahead(conn);
        while let Some(pending) = conn.pending.pop_front() {
            self.give_back_errors(&pending.what);
        }
        conn.held = None;
        conn.outbox.clear();
        conn.blocked = false;
    }

    /// Takes up to `bytes` of the body budget for it, or notes that it wants them.
    fn charge(&mut self, conn: &mut Conn<M>, bytes: usize) -> bool {
        let more = bytes.saturating_sub(conn.charged);
        if more > self.body_budget {
            conn.wants_budget = bytes;
            return false;
        }
        self.body_budget -= more;
        conn.charged += more;
        conn.wants_budget = 0;
        true
    }

    /// Reading, timers and budget after a connection's bytes were worked through.
    fn after_pump(&mut self, conn: &mut Conn<M>, id: ConnId) {
        if conn.carry_len <= CARRY_RESIDENT_BYTES && conn.wants_budget == 0 && conn.phase != conn::Phase::Body
        {
            self.give_back_budget(conn);
        }
        // Behind the last reply reading goes on, or the peer's end would never be seen.
        let hold = conn.state == State::Open
            && (conn.blocked || (conn.queued_again && conn.carry_len >= CARRY_RESIDENT_BYTES));
        if conn.state != State::Closing && hold != conn.paused {
            conn.paused = hold;
            self.metrics.counters.reads_paused += u64::from(hold);
            self.actions.push_back((id, if hold { Action::PauseReading } else { Action::ResumeReading }));
        }
    }

    fn call_again(&mut self, conn: &mut Conn<M>, id: ConnId) {
        if !conn.queued_again {
            conn.queued_again = true;
            self.again.push_back(id);
        }
    }

    fn block(&mut self, conn: &mut Conn<M>, id: ConnId) {
        if !conn.blocked {
            conn.blocked = true;
            if conn.blocked_since_ns == 0 {
                conn.blocked_since_ns = self.now_ns;
            }
            if !conn.queued_blocked {
                conn.queued_blocked = true;
                self.blocked.push_back(id);
            }
        }
    }

    fn want_send(&mut self, conn: &mut Conn<M>, id: ConnId) {
        if !conn.outbox.is_empty() && !conn.queued_send && !conn.outbox.is_sending() {
            conn.queued_send = true;
            self.to_send.push_back(id);
        }
    }

    /// Ends a connection that owes nothing and is owed nothing.
    fn finish(&mut self, conn: &mut Conn<M>, id: ConnId) {
        if !conn.is_even() || conn.must_wait() {
            return;
        }
        match conn.state {
            State::Open if conn.eof => self.close(conn, id),
            State::Last if conn.eof => self.close(conn, id),
            State::Last => {
                conn.state = State::Lingering;
                conn.phase_since_ns = self.now_ns;
                self.actions.push_back((id, Action::EndWriting));
            }
            _ => {}
        }
    }

    fn close(&mut self, conn: &mut Conn<M>, id: ConnId) {
        if conn.state != State::Closing {
            conn.state = State::Closing;
            self.lose_trail(conn, id);
            self.actions.push_back((id, Action::Close));
        }
    }
}

#[cfg(test)]
mod tests;
