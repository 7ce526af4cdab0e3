//! The edge of the Kafka sink: a shard's connections to brokers, without sockets and without a clock.
//!
//! ```text
//!  Producer ── Command ─▶ Links ─▶ next_dial, next_peer_send, next_hang_up ─▶ driver ─▶ brokers
//!     ▲                    │ │◀── dialed, peer_receive, peer_sent, peer_lost ──┘
//!     └────── Input ───────┘ └─ next_task ─▶ Helpers (names, keys) ─▶ solved
//! ```
//!
//! [`Links`] carries out what the producer commands and tells it what came of it; it decides nothing about
//! batches. Batches are read where they lie ([`Batches`]) while [`Links::borrows_batches`].
//!
//! - `steps`: requests put on a connection, and what answers mean for the producer.
//! - `link`: one connection: frames, order, what is in flight.
//! - [`handshake`]: versions and credentials; [`sasl`] and [`tls`] within it.
//! - [`secrets`]: certificates and credentials, read anew for each connection.
//! - `wire`: control messages to and from bytes.
//! - [`resolve`]: threads for what takes long. [`zstd`]: a codec that is written in C.

pub mod handshake;
mod link;
pub mod resolve;
pub mod sasl;
pub mod secrets;
mod steps;
pub mod tls;
mod wire;
pub mod zstd;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::core::kafka::arena::RecordArena;
use crate::core::kafka::producer::{
    Command, Endpoint, Input, LinkFailure, LinkId, ProduceAnswer, Producer, Slot, Stamp, TopicIndex,
};
use crate::core::memory::Memory;
use crate::shard::driver::peer::{PEERS_MAX, PeerId, PeerSend};
use handshake::{Failure, Handshake};
use link::{Link, Stage};
use resolve::{Solution, Task};
use sasl::Credentials;
use secrets::Secrets;
use tls::Tls;

/// Sentences about failed connections that wait to be logged.
const FAILURES_MAX: usize = 16;

/// How a cluster is reached.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// The bootstrap list: host and port, in the order that the producer counts them.
    pub brokers: Vec<(String, u16)>,
    /// What brokers log us as; at most 249 bytes.
    pub client_id: String,
    /// TLS, if it is wanted.
    pub tls: Option<Tls>,
    /// Credentials, if they are wanted.
    pub sasl: Option<Credentials>,
    /// Both are asked for again ([`Task::Secrets`]) for each connection; these are the first.
    pub renews_secrets: bool,
    /// How long a leader may wait for the other replicas, milliseconds. Below the producer's request timeout.
    pub produce_timeout_ms: i32,
}

/// Sealed batches, to be sent.
pub trait Batches {
    /// Header and records, which stay where they are while [`Links::borrows_batches`].
    fn bytes(&self, slot: Slot) -> (&[u8], &[u8]);
}

/// Sealed batches of which some were never sent.
pub trait Unsent: Batches {
    /// Writes the header, before the batch is sent under this stamp for the first time.
    fn stamp(&mut self, slot: Slot, stamp: Stamp);
}

impl<M: Memory> Batches for RecordArena<M> {
    fn bytes(&self, slot: Slot) -> (&[u8], &[u8]) {
        self.batch_bytes(slot)
    }
}

impl<M: Memory> Unsent for RecordArena<M> {
    fn stamp(&mut self, slot: Slot, stamp: Stamp) {
        RecordArena::stamp(self, slot, stamp);
    }
}

/// The producer's name for a connection, and what it is made of now.
#[derive(Default)]
struct Row {
    id: Option<LinkId>,
    peer: Option<PeerId>,
    host: String,
    port: u16,
    /// Addresses that were not tried yet.
    addresses: VecDeque<SocketAddr>,
}

/// A shard's connections. See the module.
pub struct Links {
    settings: LinkSettings,
    client_id: Arc<str>,
    credentials: Option<Arc<Credentials>>,
    rows: Vec<Row>,
    links: Vec<Link>,
    /// Connections that may have something to send, each once.
    to_send: VecDeque<PeerId>,
    /// Connections that read batches.
    borrowing: usize,
    /// No connection says again who we are before this.
    renew_ns: Option<u64>,
    dials: VecDeque<(PeerId, SocketAddr)>,
    hang_ups: VecDeque<PeerId>,
    tasks: VecDeque<(LinkId, Task)>,
    failures: VecDeque<String>,
    slots: Vec<Slot>,
    topics: Vec<TopicIndex>,
    answers: Vec<ProduceAnswer>,
}

impl Links {
    /// For a producer that knows up to `brokers_max` brokers.
    pub fn new(settings: LinkSettings, brokers_max: usize) -> Links {
        let rows = brokers_max + 1;
        // One more for each that the driver has not let go of yet.
        let peers = (2 * rows).min(PEERS_MAX as usize);
        Links {
            client_id: settings.client_id.as_str().into(),
            credentials: settings.sasl.clone().map(Arc::new),
            settings,
            rows: (0..rows).map(|_| Row::default()).collect(),
            links: (0..peers).map(|_| Link::new()).collect(),
            to_send: VecDeque::with_capacity(peers),
            borrowing: 0,
            renew_ns: None,
            dials: VecDeque::new(),
            hang_ups: VecDeque::new(),
            tasks: VecDeque::new(),
            failures: VecDeque::new(),
            slots: Vec::with_capacity(32),
            topics: Vec::new(),
            answers: Vec::with_capacity(32),
        }
    }

    /// Carries out everything that the producer commands. To be called after whatever may have changed its mind:
    /// each of the calls below, and each of the producer's own.
    pub fn obey(&mut self, now_ns: u64, producer: &mut Producer, batches: &mut impl Unsent) {
        while let Some(command) = producer.next_command(now_ns) {
            match command {
                Command::Dial { link, to } => self.dial(now_ns, producer, link, to),
                Command::HangUp { link } => self.hang_up(link),
                Command::Metadata { link, correlation, topics, allow_create } => {
                    self.topics.clear();
                    self.topics.extend_from_slice(topics);
                    self.ask_metadata(producer, link, correlation, allow_create);
                }
                Command::InitProducerId { link, correlation, .. } => {
                    self.ask_producer_id(link, correlation);
                }
                Command::Produce { link, correlation, batches: slots } => {
                    self.slots.clear();
                    self.slots.extend_from_slice(slots);
                    self.produce(now_ns, producer, batches, link, correlation);
                }
            }
        }
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
    pub fn next_peer_send<'a>(&'a mut self, batches: &'a impl Batches) -> Option<PeerSend<'a>> {
        loop {
            let peer = self.to_send.pop_front()?;
            let link = &mut self.links[peer as usize];
            link.queued = false;
            if link.wants_to_send(batches) {
                // What encrypting took along is borrowed no longer.
                self.touch(peer);
                return Some(self.links[peer as usize].send(peer, batches));
            }
        }
    }

    /// Something about a connection has changed: it may have something to send, may borrow or not, may be due. So
    /// that no wake has to look at all of them.
    fn touch(&mut self, peer: PeerId) {
        let link = &mut self.links[peer as usize];
        if !std::mem::replace(&mut link.queued, true) {
            self.to_send.push_back(peer);
        }
        let borrows = link.borrows();
        match (std::mem::replace(&mut link.borrowing, borrows), borrows) {
            (false, true) => self.borrowing += 1,
            (true, false) => self.borrowing -= 1,
            _ => {}
        }
        self.renew_ns = self.renew_ns.into_iter().chain(link.renew_ns).min();
    }

    /// For [`resolve::Helpers::ask`]; the solution goes to [`Links::solved`].
    pub fn next_task(&mut self) -> Option<(LinkId, Task)> {
        self.tasks.pop_front()
    }

    /// A sentence about a connection that failed, to be logged: what, where, how to mend.
    pub fn next_failure(&mut self) -> Option<String> {
        self.failures.pop_front()
    }

    /// Whether a request that has not left reads batches. Until it says no, no batch may be cleared, split or
    /// stamped anew, also when its outcome is known. It ends by itself, at the latest with the producer's request
    /// timeout.
    pub fn borrows_batches(&self) -> bool {
        self.borrowing > 0
    }

    /// Whether the driver has let go of every connection.
    pub fn is_empty(&self) -> bool {
        self.links.iter().all(|link| link.stage == Stage::Free)
    }

    /// When [`Links::tick`] is due.
    pub fn deadline_ns(&self) -> Option<u64> {
        self.renew_ns
    }

    /// Says again who we are where it is time to.
    pub fn tick(&mut self, now_ns: u64) {
        if self.renew_ns.is_none_or(|at_ns| at_ns > now_ns) {
            return;
        }
        for peer in 0..self.links.len() {
            let link = &mut self.links[peer];
            if link.stage == Stage::Up && link.renew_ns.take_if(|at_ns| *at_ns <= now_ns).is_some() {
                match self.settings.renews_secrets {
                    true => self.tasks.push_back((link.id, Task::Secrets)),
                    false => link.renew(self.credentials.clone()),
                }
                self.touch(peer as PeerId);
            }
        }
        self.renew_ns = self.links.iter().filter_map(|link| link.renew_ns).min();
    }

    fn dial(&mut self, now_ns: u64, producer: &mut Producer, id: LinkId, to: Endpoint) {
        let place = match to {
            Endpoint::Bootstrap(at) => {
                self.settings.brokers.get(at as usize).map(|(host, port)| (&**host, *port))
            }
            Endpoint::Broker { id } => producer.address(id),
        };
        let row = &mut self.rows[id.row()];
        debug_assert!(row.id.is_none(), "a row is dialed twice");
        row.id = Some(id);
        row.addresses.clear();
        row.host.clear();
        let Some((host, port)) = place else {
            let failure = Failure::new(LinkFailure::Unresolved, "has no address");
            return self.down(now_ns, producer, id, &failure);
        };
        row.host.push_str(host);
        row.port = port;
        match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) => {
                row.addresses.push_back((address, port).into());
                self.dial_next(now_ns, producer, id, None);
            }
            Err(_) => self.tasks.push_back((id, Task::Resolve { host: host.into(), port })),
        }
    }

    /// Dials the next address, or gives up because of `failure`.
    fn dial_next(&mut self, now_ns: u64, producer: &mut Producer, id: LinkId, failure: Option<Failure>) {
        let row = &mut self.rows[id.row()];
        let free = self.links.iter().position(|link| link.stage == Stage::Free);
        let (Some(address), Some(at)) = (row.addresses.pop_front(), free) else {
            let none =
                || Failure::new(LinkFailure::Other(libc::EAGAIN), "cannot be dialed: too many connections");
            return self.down(now_ns, producer, id, &failure.unwrap_or_else(none));
        };
        let link = &mut self.links[at];
        link.stage = Stage::Dialing;
        link.id = id;
        link.host.clone_from(&row.host);
        link.port = row.port;
        row.peer = Some(at as PeerId);
        self.dials.push_back((at as PeerId, address));
    }

    /// What the helper found out, for the connection that [`Links::next_task`] named.
    pub fn solved(&mut self, now_ns: u64, producer: &mut Producer, id: LinkId, solution: Solution) {
        let Some(row) = self.rows.get_mut(id.row()).filter(|row| row.id == Some(id)) else { return };
        match (solution, row.peer) {
            (Solution::Resolved(Ok(addresses)), None) => {
                row.addresses.extend(addresses);
                self.dial_next(now_ns, producer, id, None);
            }
            (Solution::Resolved(Err(error)), None) => {
                let text = format!("has no address: {error}; check --sink");
                self.down(now_ns, producer, id, &Failure::new(LinkFailure::Unresolved, text));
            }
            (Solution::Key(key), Some(peer)) => {
                let link = &mut self.links[peer as usize];
                link.proceed(|handshake, out| handshake.key(&key, out));
                self.touch(peer);
            }
            (Solution::Secrets(found), Some(peer)) => {
                self.take_secrets(found);
                let link = &mut self.links[peer as usize];
                match link.stage {
                    Stage::Secrets => self.introduce(now_ns, producer, peer),
                    Stage::Up => link.renew(self.credentials.clone()),
                    _ => {}
                }
                self.touch(peer);
            }
            _ => {}
        }
    }

    fn take_secrets(&mut self, found: Result<Secrets, String>) {
        match found {
            Ok(secrets) => {
                self.settings.tls = secrets.tls;
                self.credentials = secrets.sasl.map(Arc::new);
            }
            Err(why) => self.say(format!("{why}; going on with what was read before")),
        }
    }

    /// Has a sentence logged.
    fn say(&mut self, text: String) {
        if self.failures.len() == FAILURES_MAX {
            self.failures.pop_front();
        }
        self.failures.push_back(text);
    }

    /// From the driver.
    pub fn dialed(&mut self, now_ns: u64, producer: &mut Producer, peer: PeerId, result: Result<(), i32>) {
        let link = &mut self.links[peer as usize];
        if link.stage != Stage::Dialing {
            return;
        }
        if let Err(code) = result {
            return self.dial_failed(now_ns, producer, peer, code);
        }
        if self.settings.renews_secrets {
            link.stage = Stage::Secrets;
            let id = link.id;
            return self.tasks.push_back((id, Task::Secrets));
        }
        self.introduce(now_ns, producer, peer);
    }

    /// Begins to speak on a connection that was made.
    fn introduce(&mut self, now_ns: u64, producer: &mut Producer, peer: PeerId) {
        let link = &mut self.links[peer as usize];
        link.handshake = Some(Handshake::new(self.client_id.clone(), self.credentials.clone()));
        let Some(tls) = &self.settings.tls else {
            link.stage = Stage::Hello;
            link.proceed(Handshake::begin);
            return self.touch(peer);
        };
        match tls.session(&link.host) {
            Ok(session) => {
                link.tls = Some(Box::new(session));
                link.stage = Stage::Tls;
                self.touch(peer);
            }
            Err(failure) => {
                let id = link.id;
                self.down(now_ns, producer, id, &failure);
            }
        }
    }

    fn dial_failed(&mut self, now_ns: u64, producer: &mut Producer, peer: PeerId, code: i32) {
        let error = std::io::Error::from_raw_os_error(code);
        let failure = match code {
            libc::ECONNREFUSED => Failure::new(
                LinkFailure::Refused,
                "refuses the connection: is it running, and does it listen there? check --sink",
            ),
            libc::ETIMEDOUT => Failure::new(LinkFailure::Timeout, "does not answer; check --sink"),
            libc::ECONNRESET => Failure::new(LinkFailure::Reset, "resets the connection"),
            code => Failure::new(LinkFailure::Other(code), format!("cannot be reached: {error}")),
        };
        let id = self.links[peer as usize].id;
        self.let_go(peer);
        self.rows[id.row()].peer = None;
        self.dial_next(now_ns, producer, id, Some(failure));
    }

    /// From the driver.
    pub fn peer_lost(&mut self, now_ns: u64, producer: &mut Producer, peer: PeerId, code: i32) {
        let link = &self.links[peer as usize];
        if !matches!(link.stage, Stage::Leaving | Stage::Free) {
            let (id, failure) = (link.id, link.lost(code));
            self.down(now_ns, producer, id, &failure);
        }
    }

    /// From the driver.
    pub fn peer_released(&mut self, peer: PeerId) {
        self.links[peer as usize].free();
        self.touch(peer);
    }

    /// The producer wants it no more.
    fn hang_up(&mut self, id: LinkId) {
        let row = &mut self.rows[id.row()];
        if row.id == Some(id) {
            row.id = None;
            if let Some(peer) = row.peer.take() {
                self.let_go(peer);
            }
        }
    }

    fn let_go(&mut self, peer: PeerId) {
        self.links[peer as usize].leave();
        self.touch(peer);
        self.hang_ups.push_back(peer);
    }

    /// A connection is no more: for the producer, and for the log.
    fn down(&mut self, now_ns: u64, producer: &mut Producer, id: LinkId, failure: &Failure) {
        let row = &self.rows[id.row()];
        self.say(format!("broker {}:{} {}", row.host, row.port, failure.text));
        self.hang_up(id);
        producer.handle(now_ns, Input::Down { link: id, why: failure.why });
    }
}

#[cfg(test)]
#[path = "links_tests.rs"]
mod tests;
