//! What came of requests: sends that ended, replies, and connections that did.

use std::net::Shutdown;
use std::time::Duration;

use super::conn::{Parting, Pending, Stage};
use super::drive::Worker;
use super::reader::{Answer, Nonsense, UNTOLD};
use crate::core::load::series::{Done, Outcome};
use crate::load::target::Speech;
use crate::sys::ring::Completion;

/// How long the server may take to end a connection behind a last reply.
const QUIT_NS: u64 = 50_000_000;

impl Worker {
    /// A send ended.
    pub(super) fn sent(&mut self, completion: &Completion, now_ns: u64) {
        let id = completion.key() as u32;
        let conn = &mut self.conns[id as usize];
        debug_assert_eq!(completion.key(), conn.key(id), "a send of a connection that is gone");
        conn.sending = false;
        let whole = completion.result() == Ok(conn.out.len());
        conn.out.clear();
        match conn.stage {
            Stage::Leaving => return self.left(id, now_ns),
            Stage::Up if !whole => {
                // Why is what the receiving side will say, perhaps after a last reply.
                conn.blocked = true;
                return;
            }
            _ => {}
        }
        if self.speech == (Speech::Lines { replies: false }) {
            self.taken(id, now_ns);
        }
        if self.conns[id as usize].parting != Parting::Stay {
            self.part(id);
        }
        // TLS may have more to say.
        if self.conns[id as usize].tls.is_some() {
            self.touch(id);
        }
        self.list(id);
    }

    /// Lines without replies: what the kernel took as a whole is done.
    fn taken(&mut self, id: u32, now_ns: u64) {
        let conn = &mut self.conns[id as usize];
        // Of a slow or torn request, which is the last one, there is more to come.
        let torn = conn.parting != Parting::Stay || conn.half_closed || !conn.rest.is_empty();
        while self.conns[id as usize].flight.len() > usize::from(torn)
            && let Some(pending) = self.pop(id)
        {
            self.conns[id as usize].answered = true;
            // Nobody says whether they were right; what is known is that they were taken.
            self.end(pending, Outcome::Status(UNTOLD), 0, now_ns, Some(true));
        }
        self.note_due(id);
    }

    /// Carries out how a torn request ends, as soon as it is the only one on its connection.
    pub(super) fn part(&mut self, id: u32) {
        let conn = &mut self.conns[id as usize];
        if conn.flight.len() > 1 || conn.sending {
            return;
        }
        let Some(socket) = &conn.socket else { return };
        let socket = socket2::SockRef::from(socket);
        match conn.parting {
            Parting::Stay => {}
            Parting::Close => {
                let _ = socket.shutdown(Shutdown::Write);
                conn.parting = Parting::Stay;
                conn.half_closed = true;
            }
            Parting::Reset => {
                let now_ns = self.now_ns();
                self.leave(id, Outcome::Reset, now_ns, true);
            }
        }
    }

    /// Something came, or the connection ended.
    pub(super) fn received(&mut self, completion: &Completion, now_ns: u64) {
        let id = completion.key() as u32;
        let conn = &mut self.conns[id as usize];
        debug_assert_eq!(completion.key(), conn.key(id), "a receive of a connection that is gone");
        conn.receiving &= completion.more();
        let result = completion.result();
        if let Some(buffer) = completion.buffer() {
            let len = result.unwrap_or(0);
            let conn = &self.conns[id as usize];
            if len > 0 && conn.stage != Stage::Leaving && !conn.quitting {
                self.read(id, buffer, len, now_ns);
            }
            self.ring.give_back(buffer);
        }
        if self.conns[id as usize].stage == Stage::Leaving {
            return self.left(id, now_ns);
        }
        match result {
            Ok(0) => self.ended_by_peer(id, Outcome::Closed, now_ns),
            Ok(_) | Err(libc::ECANCELED) => self.receive(id),
            Err(libc::ENOBUFS) => {
                let conn = &mut self.conns[id as usize];
                if !std::mem::replace(&mut conn.starved, true) {
                    self.starved.push(id);
                }
            }
            Err(_) => self.ended_by_peer(id, Outcome::Reset, now_ns),
        }
    }

    /// Takes the bytes of a buffer.
    fn read(&mut self, id: u32, buffer: u16, len: usize, now_ns: u64) {
        let conn = &mut self.conns[id as usize];
        let mut bytes: &[u8] = self.ring.bytes(buffer, len);
        if let Some(session) = &mut conn.tls {
            self.plain.clear();
            let read = session.read(bytes, &mut self.plain);
            bytes = &self.plain;
            if let Err(error) = read {
                return self.tls_failed(id, &error.to_string(), now_ns);
            }
        }
        if conn.first_byte_ns == 0 && !bytes.is_empty() {
            conn.first_byte_ns = now_ns;
        }
        self.answers.clear();
        let read = conn.reader.feed(bytes, &conn.flight, &mut self.answers);
        if conn.tls.is_some() {
            self.touch(id);
            self.shaken(id, now_ns);
        }
        self.answer(id, now_ns);
        if let Err(Nonsense) = read
            && self.conns[id as usize].stage == Stage::Up
        {
            self.nonsense(id, now_ns);
        }
    }

    /// Works off `self.answers`, which came on that connection.
    fn answer(&mut self, id: u32, now_ns: u64) {
        for at in 0..self.answers.len() {
            let Answer { status, close } = self.answers[at];
            let first_byte_ns = self.conns[id as usize].first_byte_ns;
            let Some(pending) = self.pop(id) else {
                self.ended.unsolicited += 1;
                return self.leave(id, Outcome::Closed, now_ns, false);
            };
            let expected = (status == UNTOLD).then_some(true);
            self.end(pending, Outcome::Status(status), first_byte_ns, now_ns, expected);
            let conn = &mut self.conns[id as usize];
            conn.answered = true;
            conn.failures = 0;
            if conn.flight.is_empty() && !conn.rest.is_empty() {
                // Answered before all of it was sent: the rest of it would be taken for another request.
                return self.leave(id, Outcome::Closed, now_ns, false);
            }
            if close || pending.closes {
                return self.quit(id, now_ns);
            }
        }
        let conn = &mut self.conns[id as usize];
        if self.answers.is_empty() {
            return;
        }
        conn.first_byte_ns = if conn.reader.in_reply() { now_ns } else { 0 };
        if conn.parting != Parting::Stay {
            self.part(id);
        }
        self.note_due(id);
        self.list(id);
    }

    /// Nothing more can come on this connection. The server ends it; whoever ends it first keeps its port busy for
    /// a minute, so that is left to the server for a while.
    fn quit(&mut self, id: u32, now_ns: u64) {
        while let Some(pending) = self.pop(id) {
            self.end(pending, Outcome::Closed, 0, now_ns, None);
            self.ended.lost += 1;
        }
        let conn = &mut self.conns[id as usize];
        (conn.quitting, conn.blocked, conn.act_ns) = (true, true, now_ns + QUIT_NS);
        self.note_due(id);
    }

    /// What came is no reply: to the oldest request, and nothing after it can be read.
    fn nonsense(&mut self, id: u32, now_ns: u64) {
        match self.pop(id) {
            Some(pending) => {
                let first_byte_ns = self.conns[id as usize].first_byte_ns;
                self.end(pending, Outcome::BadReply, first_byte_ns, now_ns, None);
            }
            None => self.ended.unsolicited += 1,
        }
        self.leave(id, Outcome::Closed, now_ns, false);
    }

    /// The server ended the connection, or it broke.
    fn ended_by_peer(&mut self, id: u32, how: Outcome, now_ns: u64) {
        let conn = &mut self.conns[id as usize];
        if conn.stage != Stage::Up {
            let why =
                if how == Outcome::Closed { "the server closed the connection" } else { "it was reset" };
            return self.dial_failed(id, &format!("the TLS handshake failed: {why}"), now_ns);
        }
        if conn.quitting {
            return self.leave(id, how, now_ns, false);
        }
        self.answers.clear();
        let ended = conn.reader.end(how == Outcome::Closed, &mut self.answers);
        // The last reply may be one that ends with the connection.
        self.answer(id, now_ns);
        if self.conns[id as usize].stage != Stage::Up {
            return;
        }
        if ended.is_err() && how == Outcome::Closed {
            return self.nonsense(id, now_ns);
        }
        self.leave(id, how, now_ns, false);
    }

    /// The oldest request's time is over. Replies can no longer be told apart on this connection, so it goes.
    pub(super) fn timed_out(&mut self, id: u32, now_ns: u64) {
        while self.conns[id as usize]
            .flight
            .front()
            .is_some_and(|oldest| oldest.sent_ns.saturating_add(self.timeout_ns) <= now_ns)
        {
            let first_byte_ns = self.conns[id as usize].first_byte_ns;
            if let Some(pending) = self.pop(id) {
                self.end(pending, Outcome::Timeout, first_byte_ns, now_ns, None);
            }
            self.conns[id as usize].first_byte_ns = 0;
        }
        self.leave(id, Outcome::Closed, now_ns, false);
    }

    /// Takes the oldest request off a connection.
    #[inline]
    pub(super) fn pop(&mut self, id: u32) -> Option<Pending> {
        let conn = &mut self.conns[id as usize];
        let pending = conn.flight.pop_front()?;
        if conn.flight.is_empty() && conn.rest.is_empty() {
            // Whatever no request might follow has been answered.
            conn.blocked = false;
        }
        self.in_flight -= 1;
        Some(pending)
    }

    /// Writes down how a request ended. `expected` overrides what its class says.
    #[inline]
    pub(super) fn end(
        &mut self,
        pending: Pending,
        outcome: Outcome,
        first_byte_ns: u64,
        now_ns: u64,
        expected: Option<bool>,
    ) {
        let met = || self.corpus.classes()[usize::from(pending.class)].expected.is_met_by(outcome);
        let expected = expected.unwrap_or_else(met);
        self.tally.record(&Done {
            class: pending.class,
            intended_ns: pending.intended_ns,
            sent_ns: pending.sent_ns,
            first_byte_ns,
            done_ns: now_ns,
            outcome,
            expected,
        });
        if let (Some(verify), Outcome::Status(status)) = (&mut self.verify, outcome)
            && pending.ids > 0
            // A 207 acknowledges all good events only where bad ones were among them.
            && (matches!(status, 200 | 201 | 202 | 204) || status == 207 && expected)
        {
            verify.mark(pending.first_id, pending.ids);
        }
    }

    /// Sets a socket to be reset when it is closed.
    pub(super) fn arm_reset(&self, id: u32) {
        if let Some(socket) = &self.conns[id as usize].socket {
            let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }
}
