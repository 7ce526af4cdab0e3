//! Requests that are due to connections that have room, and the sends that follow.

use std::os::fd::AsFd;

use super::conn::{Parting, Pending, Stage};
use super::drive::Worker;
use crate::core::load::payload::Delivery;
use crate::load::target::Speech;

/// Sends of an open loop between two looks at the clock. A send costs the kernel some microseconds, so with more of
/// them the last would leave visibly later than it claims.
const SENDS_PER_TURN: usize = 8;

/// The same when so many or more are waiting: what is late already is better helped by fewer system calls than by a
/// sharper time of sending, which says some 0.2 ms too little for the last of them.
const SENDS_PER_TURN_BEHIND: usize = 64;

impl Worker {
    /// Puts what is due on connections with room. Whether there was more than a turn should send.
    pub(super) fn offer(&mut self, now_ns: u64) -> bool {
        let Some(queue) = &mut self.queue else {
            self.offer_all(now_ns);
            return false;
        };
        queue.advance(now_ns);
        let behind = queue.waiting() >= SENDS_PER_TURN_BEHIND as u64;
        let sends_max = if behind { SENDS_PER_TURN_BEHIND } else { SENDS_PER_TURN };
        while let Some(&id) = self.ready.front() {
            let Some(queue) = &mut self.queue else { break };
            if queue.waiting() == 0 {
                return false;
            }
            if self.dirty.len() >= sends_max {
                return true;
            }
            self.ready.pop_front();
            self.conns[id as usize].listed = false;
            if self.conns[id as usize].takes(self.pipeline)
                && let Some(intended_ns) = queue.take()
            {
                self.stage(id, intended_ns, now_ns);
                // Behind the others, so that they share the load.
                self.list(id);
            }
        }
        false
    }

    /// The closed loop: fills every connection that has room.
    fn offer_all(&mut self, now_ns: u64) {
        while let Some(id) = self.ready.pop_front() {
            self.conns[id as usize].listed = false;
            while self.conns[id as usize].takes(self.pipeline) {
                self.stage(id, now_ns, now_ns);
            }
        }
    }

    /// Puts one request on a connection that takes it.
    #[inline]
    fn stage(&mut self, id: u32, intended_ns: u64, now_ns: u64) {
        let request = self.corpus.pick(&mut self.rng);
        let conn = &mut self.conns[id as usize];
        let lines = match self.speech {
            Speech::Lines { replies: true } => memchr::memchr_iter(b'\n', request.bytes).count() as u32,
            _ => 0,
        };
        let pending = Pending {
            class: request.class,
            closes: request.closes,
            lines,
            ids: request.ids,
            first_id: request.first_id,
            intended_ns,
            sent_ns: now_ns,
        };
        let is_due = conn.flight.is_empty() || request.delivery != Delivery::Whole;
        conn.put(&request, pending);
        if !std::mem::replace(&mut conn.dirty, true) {
            self.dirty.push(id);
        }
        self.in_flight += 1;
        self.tally.sent(pending.class, intended_ns);
        if is_due {
            self.note_due(id);
        }
    }

    /// Notes a connection that has room.
    #[inline]
    pub(super) fn list(&mut self, id: u32) {
        let conn = &mut self.conns[id as usize];
        if !conn.listed && conn.takes(self.pipeline) {
            conn.listed = true;
            self.ready.push_back(id);
        }
    }

    /// One send for each connection that has something to say.
    pub(super) fn send_all(&mut self) {
        while let Some(id) = self.dirty.pop() {
            let conn = &mut self.conns[id as usize];
            conn.dirty = false;
            self.send(id);
        }
    }

    /// Sends what is there, unless a send is in flight: its end leads here again.
    pub(super) fn send(&mut self, id: u32) {
        let conn = &mut self.conns[id as usize];
        if conn.sending || !matches!(conn.stage, Stage::Up | Stage::Shaking) {
            return;
        }
        if let Some(session) = &mut conn.tls {
            session.collect(&mut conn.out);
        }
        if conn.out.is_empty() {
            // Nothing of the request is to be sent before its connection is torn.
            if conn.parting != Parting::Stay {
                self.part(id);
            }
            return;
        }
        let key = conn.key(id);
        if let Some(socket) = &conn.socket {
            self.ring.send(socket.as_fd(), &conn.out, key);
            conn.sending = true;
        }
    }

    /// Marks a connection as having something to send.
    pub(super) fn touch(&mut self, id: u32) {
        let conn = &mut self.conns[id as usize];
        if !std::mem::replace(&mut conn.dirty, true) {
            self.dirty.push(id);
        }
    }

    /// Receives until told otherwise.
    pub(super) fn receive(&mut self, id: u32) {
        let conn = &mut self.conns[id as usize];
        if conn.receiving || conn.starved || !matches!(conn.stage, Stage::Up | Stage::Shaking) {
            return;
        }
        let key = conn.key(id);
        if let Some(socket) = &conn.socket {
            self.ring.receive(socket.as_fd(), key);
            conn.receiving = true;
        }
    }
}
