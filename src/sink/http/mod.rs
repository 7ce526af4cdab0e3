//! The edge of the HTTP sink: a shard's connections to its target, without sockets and without a clock.
//!
//! ```text
//!  HttpSink ── Command ─▶ Links ─▶ next_dial, next_peer_send, next_hang_up ─▶ driver ─▶ target
//!     ▲                    │ │◀── dialed, peer_receive, peer_sent, peer_lost ──┘
//!     └────── Input ───────┘ └─ next_task ─▶ Helpers (names) ─▶ solved
//! ```
//!
//! [`Links`] carries out what the sink commands and tells it what came of it; it decides nothing about events. Lines
//! are read where they lie while [`Links::borrows`].
//!
//! - `link`: one connection: a request out, its answer in. TLS within it.
//! - [`encode`]: gzip and zstd.
//! - `explain`: failures in words, for the log.

pub mod encode;
mod explain;
mod link;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::core::batch::Batch;
use crate::core::memory::Memory;
use crate::core::sink::http::answer::{Listener, RetryAfter};
use crate::core::sink::http::{Answer, Command, HttpSink, Input, LaneId, Trouble};
use crate::shard::driver::peer::{PeerId, PeerSend};
use crate::sink::kafka::resolve::{Solution, Task};
use crate::sink::kafka::tls::Tls;
use encode::Encoder;
use link::{Heard, Link, LinkError, Stage};

/// Sentences about failures that wait to be logged.
const FAILURES_MAX: usize = 16;
/// The largest event with its action line, by which one body may be larger than a batch.
const EVENT_BYTES_MAX: usize = (256 << 10) + 128;

/// How a target is reached.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// A name or an address, without brackets.
    pub host: String,
    /// Where it listens.
    pub port: u16,
    /// TLS, if it is wanted.
    pub tls: Option<Tls>,
    /// Connections at once.
    pub lanes: u16,
    /// Bytes of one body, uncompressed.
    pub batch_bytes: usize,
    /// How bodies are compressed.
    pub coding: encode::Coding,
}

/// Bytes that each connection holds for bodies that are put together.
pub const fn own_bytes(batch_bytes: usize, together: bool) -> usize {
    if together { batch_bytes + EVENT_BYTES_MAX } else { 0 }
}

/// Connections of one shard with the driver: one more for each that it has not let go of yet.
pub const fn peers_max(lanes: u16) -> usize {
    2 * lanes as usize
}

/// What a connection of the sink is made of now.
#[derive(Default)]
struct Row {
    /// Tells it from an earlier one of the same number.
    generation: u32,
    wanted: bool,
    peer: Option<PeerId>,
    /// Addresses that were not tried yet.
    addresses: VecDeque<SocketAddr>,
}

/// A shard's connections. See the module.
pub struct Links {
    settings: LinkSettings,
    encoder: Option<Encoder>,
    rows: Vec<Row>,
    links: Vec<Link>,
    /// From which the next search for something to send begins.
    turn: usize,
    dials: VecDeque<(PeerId, SocketAddr)>,
    hang_ups: VecDeque<PeerId>,
    tasks: VecDeque<(u32, Task)>,
    failures: VecDeque<String>,
}

impl Links {
    /// For a sink with those settings, over arenas of so many bytes.
    ///
    /// # Errors
    /// When there is no memory to compress with.
    pub fn new(settings: LinkSettings, sink: &HttpSink, arena_bytes: usize) -> Result<Links, &'static str> {
        let encoder = Encoder::new(settings.coding)?;
        let preset = sink.preset();
        let items_max = HttpSink::items_max(arena_bytes.min(settings.batch_bytes + EVENT_BYTES_MAX), preset);
        let own = own_bytes(settings.batch_bytes, encoder.is_some() || preset.is_bulk());
        let peers = peers_max(settings.lanes);
        Ok(Links {
            rows: (0..settings.lanes).map(|_| Row::default()).collect(),
            links: (0..peers).map(|_| Link::new(sink.head_bytes_max(), own, items_max)).collect(),
            turn: 0,
            dials: VecDeque::with_capacity(peers),
            hang_ups: VecDeque::with_capacity(peers),
            tasks: VecDeque::new(),
            failures: VecDeque::new(),
            encoder,
            settings,
        })
    }

    /// Bytes that one connection holds, beside what the driver does and TLS.
    pub const fn link_bytes(batch_bytes: usize, together: bool, items_max: Option<usize>) -> usize {
        own_bytes(batch_bytes, together) + Listener::memory_bytes(items_max) + size_of::<Link>()
    }

    /// Carries out everything that the sink commands. To be called after whatever may have changed its mind: each of
    /// the calls below, and the sealing of a commit.
    pub fn obey<M: Memory>(&mut self, now_ns: u64, sink: &mut HttpSink, lines: Option<&Batch<M>>) {
        while let Some(command) = sink.next_command(now_ns) {
            match command {
                Command::Dial(lane) => self.dial(now_ns, sink, lane),
                Command::HangUp(lane) => self.hang_up(lane),
                Command::Post(lane, parcel) => self.post(now_ns, sink, lane, parcel, lines),
            }
        }
    }

    fn post<M: Memory>(
        &mut self,
        now_ns: u64,
        sink: &mut HttpSink,
        lane: LaneId,
        parcel: usize,
        lines: Option<&Batch<M>>,
    ) {
        let (Some(peer), Some(lines)) = (self.rows[usize::from(lane)].peer, lines) else {
            debug_assert!(false, "a parcel without its commit or its connection");
            return self.down(now_ns, sink, lane, Trouble::Closed, "is not there");
        };
        let link = &mut self.links[peer as usize];
        if !link.post(sink, parcel, lines, self.encoder.as_mut()) {
            return self.down(
                now_ns,
                sink,
                lane,
                Trouble::System(libc::ENOMEM),
                "cannot be sent compressed bodies",
            );
        }
        sink.note_sent(link.body_bytes() as u64);
    }

    /// For the driver.
    pub fn next_dial(&mut self) -> Option<(PeerId, SocketAddr)> {
        self.dials.pop_front()
    }

    /// For the driver.
    pub fn next_hang_up(&mut self) -> Option<PeerId> {
        self.hang_ups.pop_front()
    }

    /// For the driver.
    pub fn next_peer_send<'a, M: Memory>(
        &'a mut self,
        sink: &'a HttpSink,
        lines: Option<&'a Batch<M>>,
    ) -> Option<PeerSend<'a>> {
        let count = self.links.len();
        let mut each = (0..count).map(|n| (self.turn + n) % count);
        let at = each.find(|&at| self.links[at].wants_to_send(sink, lines))?;
        self.turn = at + 1;
        Some(self.links[at].send(at as PeerId, sink, lines))
    }

    /// For the helpers; the solution goes to [`Links::solved`].
    pub fn next_task(&mut self) -> Option<(u32, Task)> {
        self.tasks.pop_front()
    }

    /// A sentence about a failure, to be logged: what, where, how to mend.
    pub fn next_failure(&mut self) -> Option<String> {
        self.failures.pop_front()
    }

    /// Whether a request that has not left reads from the commit. Until it says no, the commit stays where it is,
    /// also when its outcome is known.
    pub fn borrows(&self) -> bool {
        self.links.iter().any(Link::borrows)
    }

    /// Whether the driver has let go of every connection.
    pub fn is_empty(&self) -> bool {
        self.links.iter().all(|link| link.stage == Stage::Free)
    }

    fn dial(&mut self, now_ns: u64, sink: &mut HttpSink, lane: LaneId) {
        let row = &mut self.rows[usize::from(lane)];
        row.generation = row.generation.wrapping_add(1) & 0xff_ffff;
        row.wanted = true;
        row.addresses.clear();
        match self.settings.host.parse::<IpAddr>() {
            Ok(address) => {
                row.addresses.push_back((address, self.settings.port).into());
                self.dial_next(now_ns, sink, lane, None);
            }
            Err(_) => {
                let task = Task::Resolve { host: self.settings.host.clone(), port: self.settings.port };
                self.tasks.push_back((row.generation << 8 | u32::from(lane), task));
            }
        }
    }

    /// Dials the next address, or gives up because of what befell the one before.
    fn dial_next(
        &mut self,
        now_ns: u64,
        sink: &mut HttpSink,
        lane: LaneId,
        failure: Option<(Trouble, String)>,
    ) {
        let row = &mut self.rows[usize::from(lane)];
        let free = self.links.iter().position(|link| link.stage == Stage::Free);
        match (free, row.addresses.pop_front()) {
            (Some(at), Some(address)) => {
                let link = &mut self.links[at];
                (link.stage, link.lane) = (Stage::Dialing, lane);
                row.peer = Some(at as PeerId);
                self.dials.push_back((at as PeerId, address));
            }
            _ => {
                let none = || {
                    (
                        Trouble::System(libc::EAGAIN),
                        "cannot be dialed: too many connections are closing".into(),
                    )
                };
                let (trouble, text) = failure.unwrap_or_else(none);
                self.down(now_ns, sink, lane, trouble, &text);
            }
        }
    }

    /// What the helper found out, for what [`Links::next_task`] named.
    pub fn solved(&mut self, now_ns: u64, sink: &mut HttpSink, id: u32, solution: Solution) {
        let lane = (id & 0xff) as LaneId;
        let Some(row) = self.rows.get_mut(usize::from(lane)) else { return };
        let Solution::Resolved(found) = solution else { return };
        if !row.wanted || row.generation != id >> 8 || row.peer.is_some() {
            return;
        }
        match found {
            Ok(addresses) => {
                row.addresses.extend(addresses);
                self.dial_next(now_ns, sink, lane, None);
            }
            Err(error) => {
                let text = format!("has no address: {error}; check --sink");
                self.down(now_ns, sink, lane, Trouble::Unresolved, &text);
            }
        }
    }

    /// From the driver.
    pub fn dialed(&mut self, now_ns: u64, sink: &mut HttpSink, peer: PeerId, result: Result<(), i32>) {
        let link = &mut self.links[peer as usize];
        if link.stage != Stage::Dialing {
            return;
        }
        let lane = link.lane;
        if let Err(code) = result {
            let failure = explain::dial(code);
            self.let_go(peer);
            self.rows[usize::from(lane)].peer = None;
            return self.dial_next(now_ns, sink, lane, Some(failure));
        }
        let Some(tls) = &self.settings.tls else {
            link.stage = Stage::Up;
            return sink.handle(now_ns, Input::Up(lane));
        };
        match tls.connect(&self.settings.host) {
            Ok(session) => {
                link.tls = Some(Box::new(session));
                link.stage = Stage::Tls;
            }
            Err(text) => self.down(now_ns, sink, lane, Trouble::Certificate, &text),
        }
    }

    /// From the driver.
    pub fn peer_receive(
        &mut self,
        (now_ns, wall_ms): (u64, u64),
        sink: &mut HttpSink,
        peer: PeerId,
        data: &[u8],
    ) {
        let link = &mut self.links[peer as usize];
        if !matches!(link.stage, Stage::Tls | Stage::Up) {
            return;
        }
        let lane = link.lane;
        match link.feed(data) {
            Ok(heard) => {
                if link.stage == Stage::Tls && link.tls.as_ref().is_some_and(|tls| !tls.is_shaking()) {
                    link.stage = Stage::Up;
                    sink.handle(now_ns, Input::Up(lane));
                }
                if let Some(heard) = heard {
                    self.answered(now_ns, wall_ms, sink, peer, heard);
                }
            }
            // The way to close a connection that rested; whatever comes next needs another.
            Err(LinkError::Unasked) => self.down(now_ns, sink, lane, Trouble::Closed, ""),
            Err(LinkError::Protocol(why)) => {
                let text = format!("does not answer as HTTP/1.1 does: {why}; check --sink");
                self.down(now_ns, sink, lane, Trouble::Protocol, &text);
            }
            Err(LinkError::Tls(error)) => {
                let (trouble, text) = explain::tls(&error);
                self.down(now_ns, sink, lane, trouble, &text);
            }
        }
    }

    /// From the driver.
    pub fn peer_sent(
        &mut self,
        (now_ns, wall_ms): (u64, u64),
        sink: &mut HttpSink,
        peer: PeerId,
        bytes: usize,
    ) {
        let link = &mut self.links[peer as usize];
        let live = matches!(link.stage, Stage::Tls | Stage::Up);
        let (lane, heard) = (link.lane, link.sent(bytes));
        if !live {
            return;
        }
        if link.stage == Stage::Up {
            sink.handle(now_ns, Input::Progress(lane));
        }
        if let Some(heard) = heard {
            self.answered(now_ns, wall_ms, sink, peer, heard);
        }
    }

    fn answered(&mut self, now_ns: u64, wall_ms: u64, sink: &mut HttpSink, peer: PeerId, heard: Heard) {
        let link = &mut self.links[peer as usize];
        let lane = link.lane;
        link.done();
        // A second before the target hangs up nothing should be on its way any more.
        let idle_ns = link.listener.keep_alive_s.map(|s| s.saturating_sub(1).saturating_mul(1_000_000_000));
        let rest_ns = link.listener.retry_after.map(|retry: RetryAfter| retry.wait_ns(wall_ms));
        let answer = Answer { status: heard.status, rest_ns, reusable: heard.reusable, idle_ns };
        let failure = explain::answer(heard.status, link.listener.excerpt());
        let statuses = link.listener.bulk.as_ref().map(|bulk| bulk.statuses());
        let failure = failure.or_else(|| explain::items(statuses?));
        match statuses {
            Some(statuses) => sink.handle_bulk(now_ns, lane, answer, statuses),
            None => sink.handle(now_ns, Input::Answered(lane, answer)),
        }
        if let Some(text) = failure {
            self.note(&text);
        }
    }

    /// From the driver.
    pub fn peer_lost(&mut self, (now_ns, wall_ms): (u64, u64), sink: &mut HttpSink, peer: PeerId, code: i32) {
        let link = &mut self.links[peer as usize];
        if matches!(link.stage, Stage::Leaving | Stage::Free) {
            return;
        }
        if let Some(heard) = link.end().filter(|_| code == 0) {
            return self.answered(now_ns, wall_ms, sink, peer, heard);
        }
        let (lane, trouble) = (link.lane, link.lost(code));
        let text = match (link.stage, link.begun()) {
            (Stage::Tls, _) if trouble == Trouble::Closed => explain::CLOSED_IN_TLS.to_owned(),
            (_, true) => format!("did not answer: {trouble}"),
            // It rested: no news.
            _ => String::new(),
        };
        self.down(now_ns, sink, lane, trouble, &text);
    }

    /// From the driver.
    pub fn peer_released(&mut self, peer: PeerId) {
        self.links[peer as usize].free();
    }

    /// The sink wants it no more.
    fn hang_up(&mut self, lane: LaneId) {
        let row = &mut self.rows[usize::from(lane)];
        row.wanted = false;
        if let Some(peer) = row.peer.take() {
            self.let_go(peer);
        }
    }

    fn let_go(&mut self, peer: PeerId) {
        self.links[peer as usize].leave();
        self.hang_ups.push_back(peer);
    }

    /// A connection is no more: for the sink, and for the log.
    fn down(&mut self, now_ns: u64, sink: &mut HttpSink, lane: LaneId, trouble: Trouble, text: &str) {
        let peer = self.rows[usize::from(lane)].peer;
        let begun = peer.is_some_and(|peer| self.links[peer as usize].begun());
        self.hang_up(lane);
        if !text.is_empty() {
            self.note(text);
        }
        sink.handle(now_ns, Input::Down { lane, trouble, begun });
    }

    fn note(&mut self, text: &str) {
        if self.failures.len() == FAILURES_MAX {
            self.failures.pop_front();
        }
        self.failures.push_back(format!("target {}:{} {text}", self.settings.host, self.settings.port));
    }
}

#[cfg(test)]
mod tests;
