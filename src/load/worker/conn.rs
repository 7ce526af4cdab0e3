//! One connection to the server under test: what was sent on it and waits for an answer, and what comes next.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use super::reader::Reader;
use crate::core::load::payload::{Delivery, RequestRef};
use crate::core::load::series::ClassId;
use crate::tls::Session;

/// Bytes that each connection can send without growing its buffers: a few dozen ordinary requests. Pages that are never
/// touched cost nothing; a larger request lets them grow once.
const OUT_BYTES: usize = 16 * 1024;

/// Bits of a generation within a key, above the connection's 32.
const GENERATION_MASK: u32 = (1 << 24) - 1;

/// The life of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No socket; to be dialled at `Conn::act_ns`.
    Waiting,
    /// Connecting; given up at `Conn::act_ns`.
    Dialling,
    /// In the TLS handshake; given up at `Conn::act_ns`.
    Shaking,
    /// Takes requests.
    Up,
    /// Nothing more is sent or read; waits for its operations to end.
    Leaving,
}

/// What happens behind the bytes that are being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parting {
    /// Nothing.
    Stay,
    /// The sending side ends.
    Close,
    /// The connection is reset.
    Reset,
}

/// A request whose answer is awaited. Times are absolute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) class: ClassId,
    /// Nothing may follow it on its connection.
    pub(super) closes: bool,
    /// Lines in it; only known where lines are answered.
    pub(super) lines: u32,
    /// Events with an identifier, and the number of the first.
    pub(super) ids: u32,
    pub(super) first_id: u64,
    pub(super) intended_ns: u64,
    pub(super) sent_ns: u64,
}

pub(super) struct Conn {
    pub(super) socket: Option<OwnedFd>,
    pub(super) stage: Stage,
    pub(super) generation: u32,
    /// A multishot receive is in flight.
    pub(super) receiving: bool,
    pub(super) sending: bool,
    /// The wait for a connection to be made is in flight.
    pub(super) polling: bool,
    /// Receiving stopped for want of buffers, and the connection stands in `Worker::starved`.
    pub(super) starved: bool,
    /// It stands in `Worker::ready`.
    pub(super) listed: bool,
    /// It stands in `Worker::dirty`.
    pub(super) dirty: bool,
    /// Takes no further request until this one is answered, or at all.
    pub(super) blocked: bool,
    /// Nothing follows on it: the server is expected to end it, until `act_ns`.
    pub(super) quitting: bool,
    /// Our side of it has ended.
    pub(super) half_closed: bool,
    /// A reply came since it was dialled.
    pub(super) answered: bool,
    pub(super) parting: Parting,
    /// Failed attempts in a row.
    pub(super) failures: u32,
    /// When something is to be done by itself: dial, give up dialling, send `rest`, leave; `u64::MAX` for never.
    pub(super) act_ns: u64,
    /// When the first byte of the reply that is being read came; 0 if none has.
    pub(super) first_byte_ns: u64,
    /// In the order in which they were sent.
    pub(super) flight: VecDeque<Pending>,
    pub(super) reader: Reader,
    pub(super) tls: Option<Box<Session>>,
    /// What is being sent. Only touched while nothing is in flight.
    pub(super) out: Vec<u8>,
    /// The second half of a slow request.
    pub(super) rest: Vec<u8>,
}

impl Conn {
    /// One that is to be dialled at once.
    pub(super) fn new(pipeline: usize, reader: Reader) -> Conn {
        Conn {
            socket: None,
            stage: Stage::Waiting,
            generation: 0,
            receiving: false,
            sending: false,
            polling: false,
            starved: false,
            listed: false,
            dirty: false,
            blocked: false,
            quitting: false,
            half_closed: false,
            answered: false,
            parting: Parting::Stay,
            failures: 0,
            act_ns: 0,
            first_byte_ns: 0,
            flight: VecDeque::with_capacity(pipeline),
            reader,
            tls: None,
            out: Vec::with_capacity(OUT_BYTES),
            rest: Vec::with_capacity(OUT_BYTES),
        }
    }

    /// Names its operations, and tells them from those of its predecessors.
    pub(super) fn key(&self, id: u32) -> u64 {
        (self.generation as u64) << 32 | id as u64
    }

    /// Whether a request can be put on it now.
    #[inline]
    pub(super) fn takes(&self, pipeline: usize) -> bool {
        self.stage == Stage::Up && !self.sending && !self.blocked && self.flight.len() < pipeline
    }

    /// Puts a request into what is sent next.
    pub(super) fn put(&mut self, request: &RequestRef<'_>, pending: Pending) {
        let bytes = request.bytes;
        self.blocked |= request.closes;
        let now_bytes = match request.delivery {
            Delivery::Whole => bytes,
            Delivery::Slow { first, rest_after_ns } => {
                let (first, rest) = bytes.split_at(first.min(bytes.len()));
                self.rest.extend_from_slice(rest);
                self.act_ns = pending.sent_ns.saturating_add(rest_after_ns);
                first
            }
            Delivery::ResetAfter(count) => {
                self.parting = Parting::Reset;
                &bytes[..count.min(bytes.len())]
            }
            Delivery::CloseAfter(count) => {
                self.parting = Parting::Close;
                &bytes[..count.min(bytes.len())]
            }
        };
        self.blocked |= request.delivery != Delivery::Whole;
        self.flight.push_back(pending);
        self.write(now_bytes);
    }

    /// Sends the second half of a slow request next.
    pub(super) fn put_rest(&mut self) {
        self.act_ns = u64::MAX;
        let rest = std::mem::take(&mut self.rest);
        self.write(&rest);
        self.rest = rest;
        self.rest.clear();
    }

    fn write(&mut self, bytes: &[u8]) {
        match &mut self.tls {
            None => self.out.extend_from_slice(bytes),
            Some(session) => session.write(bytes),
        }
    }

    /// When it wants to be looked at: for its oldest request's timeout, or by itself.
    #[inline]
    pub(super) fn due_ns(&self, timeout_ns: u64) -> u64 {
        match (self.stage, self.flight.front()) {
            (Stage::Leaving, _) => u64::MAX,
            (_, None) => self.act_ns,
            (_, Some(oldest)) => self.act_ns.min(oldest.sent_ns.saturating_add(timeout_ns)),
        }
    }

    /// Whether nothing that the kernel does refers to it.
    pub(super) fn is_still(&self) -> bool {
        !self.receiving && !self.sending && !self.polling
    }

    /// Gives the socket up and becomes one to be dialled at `act_ns`. Everything in flight must have ended.
    pub(super) fn retire(&mut self, act_ns: u64) {
        debug_assert!(self.is_still() && self.flight.is_empty());
        self.socket = None;
        self.tls = None;
        self.stage = Stage::Waiting;
        self.generation = (self.generation + 1) & GENERATION_MASK;
        self.blocked = false;
        self.quitting = false;
        self.half_closed = false;
        self.answered = false;
        self.parting = Parting::Stay;
        self.first_byte_ns = 0;
        self.act_ns = act_ns;
        self.out.clear();
        self.rest.clear();
        self.reader.reset();
    }
}

/// When each connection wants to be looked at, dense, so that thousands are gone through in a microsecond.
pub(super) struct Dues {
    at_ns: Vec<u64>,
    /// No later than the earliest of them.
    next_ns: u64,
}

impl Dues {
    pub(super) fn new(count: usize) -> Dues {
        Dues { at_ns: vec![0; count], next_ns: 0 }
    }

    #[inline]
    pub(super) fn set(&mut self, id: u32, at_ns: u64) {
        self.at_ns[id as usize] = at_ns;
        self.next_ns = self.next_ns.min(at_ns);
    }

    /// When to call [`Dues::sweep`]; `u64::MAX` for never.
    #[inline]
    pub(super) fn next_ns(&self) -> u64 {
        self.next_ns
    }

    /// Fills `into` with those that are due, and finds out when the next one is. Those that are due count as never
    /// due again until they are set.
    pub(super) fn sweep(&mut self, now_ns: u64, into: &mut Vec<u32>) {
        self.next_ns = u64::MAX;
        for (id, at_ns) in (0u32..).zip(self.at_ns.iter_mut()) {
            if *at_ns <= now_ns {
                *at_ns = u64::MAX;
                into.push(id);
            }
            self.next_ns = self.next_ns.min(*at_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(sent_ns: u64) -> Pending {
        Pending { class: 0, closes: false, lines: 0, ids: 0, first_id: 0, intended_ns: sent_ns, sent_ns }
    }

    fn request(bytes: &[u8], delivery: Delivery) -> RequestRef<'_> {
        RequestRef { class: 0, bytes, at: 0, delivery, closes: false, first_id: 0, ids: 0 }
    }

    fn up() -> Conn {
        let mut conn = Conn::new(4, Reader::None);
        conn.stage = Stage::Up;
        conn.act_ns = u64::MAX;
        conn
    }

    #[test]
    fn deliveries() {
        for (delivery, out, rest, parting, act_ns, blocked) in [
            (Delivery::Whole, "abcdef", "", Parting::Stay, u64::MAX, false),
            (Delivery::Slow { first: 2, rest_after_ns: 50 }, "ab", "cdef", Parting::Stay, 57, true),
            (Delivery::Slow { first: 9, rest_after_ns: 50 }, "abcdef", "", Parting::Stay, 57, true),
            (Delivery::ResetAfter(3), "abc", "", Parting::Reset, u64::MAX, true),
            (Delivery::CloseAfter(99), "abcdef", "", Parting::Close, u64::MAX, true),
        ] {
            let mut conn = up();
            conn.put(&request(b"abcdef", delivery), pending(7));
            let found = (&*conn.out, &*conn.rest, conn.parting, conn.act_ns, conn.blocked);
            assert_eq!(found, (out.as_bytes(), rest.as_bytes(), parting, act_ns, blocked), "{delivery:?}");
            conn.put_rest();
            assert_eq!((conn.out.as_slice(), conn.act_ns), ([out, rest].concat().as_bytes(), u64::MAX));
        }
    }

    #[test]
    fn takes_as_many_as_the_pipeline_and_none_behind_a_last_one() {
        let mut conn = up();
        for at in 0..3 {
            assert!(conn.takes(3));
            conn.put(&request(b"x", Delivery::Whole), pending(10 + at));
        }
        assert!(!conn.takes(3) && conn.takes(4));
        assert_eq!((conn.due_ns(100), conn.due_ns(u64::MAX)), (110, u64::MAX));
        conn.sending = true;
        assert!(!conn.takes(4));
        conn.sending = false;
        conn.put(&RequestRef { closes: true, ..request(b"y", Delivery::Whole) }, pending(20));
        assert!(!conn.takes(9));
        assert_eq!(conn.out, b"xxxy");
    }

    #[test]
    fn a_successor_is_not_taken_for_its_predecessor() {
        let mut conn = up();
        conn.put(&request(b"x", Delivery::CloseAfter(1)), pending(1));
        let before = conn.key(5);
        conn.flight.clear();
        conn.retire(77);
        assert_ne!(conn.key(5), before);
        assert_eq!((conn.due_ns(1), conn.out.len(), conn.blocked), (77, 0, false));
    }

    #[test]
    fn dues_come_once() {
        let mut dues = Dues::new(4);
        let mut into = Vec::new();
        dues.sweep(0, &mut into);
        assert_eq!((&*into, dues.next_ns()), (&[0, 1, 2, 3][..], u64::MAX));
        dues.set(2, 30);
        dues.set(1, 50);
        dues.set(2, 60);
        // The earliest may have moved back; a look at it then finds nothing.
        assert_eq!(dues.next_ns(), 30);
        into.clear();
        dues.sweep(40, &mut into);
        assert_eq!((into.len(), dues.next_ns()), (0, 50));
        dues.sweep(60, &mut into);
        assert_eq!((&*into, dues.next_ns()), (&[1, 2][..], u64::MAX));
    }
}
