//! One connection's state: what it still owes us, what we still owe it.
use super::ConnId;
use super::ahead::AheadId;
use super::outbox::Outbox;
use super::tail::{Arrival, Streams, Trail};
use crate::ack::Ack;
use crate::batch::ledger::Ticket;
use crate::memory::Memory;
use crate::reject::Reject;
use crate::reply::Manner;
use crate::wire::http1;
use alloc::collections::VecDeque;
use core::net::SocketAddr;

/// Requests of one connection that may wait for their acknowledgement at once. More than an outbox holds
/// replies for would never be used.
pub const PENDING_MAX: usize = 32;

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// NDJSON lines.
    Lines,
}

/// Where a connection is in its life; it only moves down this list, then back to the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The slot is free.
    Free,
    /// Requests are read and answered.
    Open,
    /// The last reply is on its way; what comes in is thrown away.
    Last,
    /// We ended our side and wait for the peer's end, lest a reset destroy the last reply.
    Lingering,
    /// The driver was told to close.
    Closing,
}

/// A place in the pool of error lists.
pub type ErrorList = u16;

/// A reply that waits for its turn and its ticket.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    pub ticket: Ticket,
    pub level: Ack,
    pub received_ns: u64,
    pub arrival: Arrival,
    /// Bytes kept free in the outbox for it.
    pub reserved: usize,
    pub what: What,
}

#[derive(Clone, Copy, Debug)]
pub enum What {
    Events(Taken),
    Reject(Reject, Manner),
    Options(Manner),
    Continue,
    Lines { through: u64, errors: Option<ErrorList>, taken: u32 },
}

/// What became of an ingest request so far.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    pub accepted: u32,
    pub rejected: u32,
    /// Index in the batch of its first event.
    pub first: u32,
    /// The run that holds its events.
    pub run: u32,
    pub bytes: u32,
    pub errors: Option<ErrorList>,
    pub manner: Manner,
    pub all_or_nothing: bool,
}

/// Which deadline runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Between requests.
    Idle,
    /// A head has begun.
    Head,
    /// A body has begun.
    Body,
}

pub struct Conn<M> {
    pub state: State,
    pub protocol: Protocol,
    pub decoder: http1::Decoder,
    /// A whole request that found no room: it is the next to be admitted.
    pub held: Option<http1::Request>,
    /// What is known of the present body, if it did not come whole.
    pub ahead: Option<AheadId>,
    pub carry: Option<M>,
    pub carry_len: usize,
    /// High-water mark of the carry since it was taken, for giving pages back.
    pub carry_peak: usize,
    /// Bytes taken from the shard's body budget.
    pub charged: usize,
    pub outbox: Outbox<M>,
    /// Sum of `reserved` of all pending replies.
    pub reserved: usize,
    pub pending: VecDeque<Pending>,
    pub eof: bool,
    pub paused: bool,
    pub blocked: bool,
    pub queued_blocked: bool,
    pub blocked_since_ns: u64,
    /// Wants this much of the body budget before it may go on.
    pub wants_budget: usize,
    pub queued_again: bool,
    pub queued_send: bool,
    /// Newest ticket for which it stands in the list of waiters.
    pub waits: Ticket,
    /// `100 Continue` is to be sent when the body's room is there.
    pub owes_continue: bool,
    pub phase: Phase,
    pub phase_since_ns: u64,
    /// Of the present request.
    pub arrival: Arrival,
    /// When bytes last came.
    pub came_ns: u64,
    /// Bytes of replies that the kernel took.
    pub sent_bytes: u64,
    pub trail: Trail,
    pub streams: Streams,
    /// Who it is, once that was asked for.
    pub peer: Option<SocketAddr>,
    /// How many connections had the slot.
    pub serial: u32,
    /// Bytes of the present body received.
    pub body_bytes: u64,
    pub active_ns: u64,
    /// It counts as one that sends.
    pub active: bool,
    pub send_since_ns: u64,
    /// Lines: those taken or refused so far, and whether the rest of an oversized one is being skipped.
    pub lines: u64,
    pub skipping: bool,
}

impl<M: Memory> Conn<M> {
    pub fn new(outbox: M) -> Conn<M> {
        Conn {
            state: State::Free,
            protocol: Protocol::Http,
            decoder: http1::Decoder::new(),
            held: None,
            ahead: None,
            carry: None,
            carry_len: 0,
            carry_peak: 0,
            charged: 0,
            outbox: Outbox::new(outbox),
            reserved: 0,
            pending: VecDeque::with_capacity(PENDING_MAX),
            eof: false,
            paused: false,
            blocked: false,
            queued_blocked: false,
            blocked_since_ns: 0,
            wants_budget: 0,
            queued_again: false,
            queued_send: false,
            waits: 0,
            owes_continue: false,
            phase: Phase::Idle,
            phase_since_ns: 0,
            arrival: Arrival::default(),
            came_ns: 0,
            sent_bytes: 0,
            trail: Trail::default(),
            streams: Streams::new(),
            peer: None,
            serial: 0,
            body_bytes: 0,
            active_ns: 0,
            active: false,
            send_since_ns: 0,
            lines: 0,
            skipping: false,
        }
    }

    /// Makes a free slot a fresh connection. Marks of queues (`queued_*`, `waits`) stay:
    /// the queue may still name this slot.
    pub fn open(&mut self, protocol: Protocol, now_ns: u64) {
        debug_assert!(
            self.ahead.is_none() && self.carry.is_none() && self.pending.is_empty() && self.charged == 0
        );
        self.state = State::Open;
        self.protocol = protocol;
        self.decoder = http1::Decoder::new();
        self.held = None;
        self.outbox.clear();
        (self.reserved, self.wants_budget, self.body_bytes, self.lines, self.blocked_since_ns) =
            (0, 0, 0, 0, 0);
        (self.eof, self.paused, self.blocked, self.skipping) = (false, false, false, false);
        self.owes_continue = false;
        self.phase = Phase::Idle;
        (self.phase_since_ns, self.active_ns, self.send_since_ns) = (now_ns, now_ns, now_ns);
        (self.arrival, self.trail, self.sent_bytes, self.came_ns) =
            (Arrival::default(), Trail::default(), 0, now_ns);
        (self.peer, self.serial) = (None, self.serial.wrapping_add(1));
    }

    /// The request in hand was taken or refused: what was noted of it no longer counts.
    pub fn end_request(&mut self) {
        self.phase = Phase::Idle;
        (self.blocked_since_ns, self.wants_budget, self.owes_continue) = (0, 0, false);
    }

    /// Whether bytes that arrive now may be looked at, or must wait behind others.
    pub fn must_wait(&self) -> bool {
        self.blocked || self.queued_again
    }

    /// Whether a reply of that length has its room when its turn comes.
    pub fn has_reply_room(&self, reply_bytes_max: usize) -> bool {
        self.pending.len() < PENDING_MAX && self.outbox.free() >= self.reserved + reply_bytes_max
    }

    /// Nothing is owed to the peer.
    pub fn is_even(&self) -> bool {
        self.pending.is_empty() && self.outbox.is_empty()
    }
}

/// Bytes of a connection's state beside its buffers.
pub const fn connection_bytes<M>() -> usize {
    size_of::<Conn<M>>() + PENDING_MAX * size_of::<Pending>()
}

/// What the driver is to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Stop receiving; bytes already on their way are still handed in.
    PauseReading,
    /// Receive again.
    ResumeReading,
    /// End our side (`shutdown(SHUT_WR)`) and go on receiving.
    EndWriting,
    /// Close the socket, then call `released`.
    Close,
}

/// A queue of connections that never grows: each connection stands in it at most once.
pub type ConnQueue = VecDeque<ConnId>;
