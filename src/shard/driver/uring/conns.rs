//! Connections that came: what is received on them, held for them while paused, sent, and how they end.
//!
//! Every path ends in [`Driver::leave`], which gives a number back to the logic once nothing is in flight on it.

use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use super::Driver;
use crate::core::engine::{Action, ConnId};
use crate::shard::driver::Logic;
use crate::sys::ring::{Completion, Kind};

/// No buffer.
pub(super) const NONE: u16 = u16::MAX;

/// After so many full receives on end a connection gets large buffers: what it sends at once is longer than two
/// ordinary ones.
const FILLED_MIN: u8 = 2;

/// Bits of a generation within a key, above the connection's 32.
pub(super) const GENERATION_MASK: u32 = (1 << 24) - 1;

pub(super) struct Conn {
    /// None while the slot is free.
    socket: Option<OwnedFd>,
    generation: u32,
    /// A multishot receive is in flight.
    receiving: bool,
    /// It takes large buffers.
    receiving_large: bool,
    /// The next one shall.
    large: bool,
    /// So many receives on end brought all that an ordinary buffer holds.
    filled: u8,
    /// It was asked to end.
    cancelled: bool,
    sending: bool,
    /// By the logic's wish.
    paused: bool,
    /// The receive ended for want of buffers and the connection stands in `Driver::starved`.
    starved: bool,
    /// The peer has ended or the socket is broken: no receive any more.
    ended: bool,
    /// The logic has closed it: everything on it is being cancelled.
    closing: bool,
    /// Buffers that came while paused, oldest first, chained through `Driver::chain`.
    held_first: u16,
    held_last: u16,
    /// How the receive ended while paused: the error number, 0 for a clean end.
    held_end: Option<i32>,
}

impl Conn {
    pub(super) const FREE: Conn = Conn {
        socket: None,
        generation: 0,
        receiving: false,
        receiving_large: false,
        large: false,
        filled: 0,
        cancelled: false,
        sending: false,
        paused: false,
        starved: false,
        ended: false,
        closing: false,
        held_first: NONE,
        held_last: NONE,
        held_end: None,
    };

    fn key(&self, id: ConnId) -> u64 {
        (self.generation as u64) << 32 | id as u64
    }

    fn holds(&self) -> bool {
        self.held_first != NONE || self.held_end.is_some()
    }
}

impl<L: Logic> Driver<'_, L> {
    /// A connection that the logic took.
    pub(super) fn begin(&mut self, id: ConnId, socket: OwnedFd) {
        let conn = &mut self.conns[id as usize];
        assert!(conn.socket.is_none(), "connection {id} was opened twice");
        let generation = conn.generation.wrapping_add(1) & GENERATION_MASK;
        *conn = Conn { socket: Some(socket), generation, ..Conn::FREE };
        self.receive(id);
    }

    pub(super) fn send(&mut self) {
        while let Some((id, bytes)) = self.logic.next_send() {
            let conn = &mut self.conns[id as usize];
            debug_assert!(!conn.sending, "connection {id} has a send in flight");
            if conn.closing {
                continue;
            }
            let key = conn.key(id);
            if let Some(socket) = &conn.socket {
                self.ring.send(socket.as_fd(), bytes, key);
                conn.sending = true;
            }
        }
    }

    pub(super) fn received(&mut self, completion: Completion) {
        let id = completion.key() as ConnId;
        let conn = &mut self.conns[id as usize];
        assert_eq!(completion.key(), conn.key(id), "a completion of a connection that is gone");
        if !completion.more() {
            conn.receiving = false;
            conn.cancelled = false;
        }
        let result = completion.result();
        if let Some(buffer) = completion.buffer() {
            let len = result.unwrap_or(0);
            self.weigh(id, len);
            let conn = &mut self.conns[id as usize];
            if conn.closing || len == 0 {
                self.ring.give_back(buffer);
            } else if conn.paused || conn.holds() {
                self.chain[buffer as usize] = (NONE, len as u32);
                match conn.held_last {
                    NONE => conn.held_first = buffer,
                    last => self.chain[last as usize].0 = buffer,
                }
                conn.held_last = buffer;
            } else {
                self.deliver(id, buffer, len);
            }
        }
        let end = match result {
            Ok(0) => Some(0),
            Ok(_) | Err(libc::ECANCELED) => None,
            Err(libc::ENOBUFS) => {
                let conn = &mut self.conns[id as usize];
                if conn.receiving_large {
                    // There may be ordinary ones.
                    (conn.large, conn.filled) = (false, 0);
                } else if !std::mem::replace(&mut conn.starved, true) {
                    self.starved.push(id);
                }
                None
            }
            Err(code) => Some(code),
        };
        if let Some(code) = end {
            let conn = &mut self.conns[id as usize];
            conn.ended = true;
            if !conn.closing {
                if conn.paused || conn.holds() {
                    conn.held_end = Some(code);
                } else {
                    self.end(id, code);
                }
            }
        }
        self.settle(id);
    }

    /// Whoever sends much at a time gets large buffers from the next receive on.
    fn weigh(&mut self, id: ConnId, len: usize) {
        let outgrows = self.ring.outgrows(len);
        let conn = &mut self.conns[id as usize];
        if conn.large || !outgrows {
            conn.filled = 0;
            return;
        }
        conn.filled += 1;
        if conn.filled == FILLED_MIN {
            conn.large = true;
            self.stop_receiving(id);
        }
    }

    fn deliver(&mut self, id: ConnId, buffer: u16, len: usize) {
        self.logic.receive(id, self.ring.bytes(buffer, len));
        self.ring.give_back(buffer);
        // A wish to pause must hold for the very next completion.
        self.act();
    }

    fn end(&mut self, id: ConnId, code: i32) {
        match code {
            0 => self.logic.receive_end(id),
            _ => self.logic.fail(id),
        }
        self.act();
    }

    pub(super) fn sent(&mut self, completion: Completion) {
        let id = completion.key() as ConnId;
        let conn = &mut self.conns[id as usize];
        assert_eq!(completion.key(), conn.key(id), "a completion of a connection that is gone");
        conn.sending = false;
        match completion.result() {
            _ if conn.closing => self.leaving.push(id),
            Ok(bytes) => self.logic.sent(id, bytes),
            Err(_) => self.logic.fail(id),
        }
        self.act();
    }

    /// Takes what the logic wants of connections. It only notes, cancels and names, so it never makes the logic do
    /// anything.
    pub(super) fn act(&mut self) {
        // First, for what follows may close it.
        while let Some(id) = self.logic.next_unnamed() {
            let socket = self.conns[id as usize].socket.as_ref();
            if let Some(peer) = socket.and_then(peer_of) {
                self.logic.name(id, peer);
            }
        }
        while let Some((id, action)) = self.logic.next_action() {
            let conn = &mut self.conns[id as usize];
            if conn.socket.is_none() || conn.closing {
                continue;
            }
            match action {
                Action::PauseReading => {
                    conn.paused = true;
                    self.stop_receiving(id);
                }
                Action::ResumeReading => {
                    conn.paused = false;
                    self.resumed.push(id);
                }
                Action::EndWriting => shut_down(conn, Shutdown::Write),
                Action::Close => {
                    conn.closing = true;
                    self.let_go(id);
                    self.leaving.push(id);
                }
            }
        }
    }

    /// Returns buffers that nobody will read.
    fn let_go(&mut self, id: ConnId) {
        let conn = &mut self.conns[id as usize];
        conn.held_end = None;
        conn.held_last = NONE;
        let mut buffer = std::mem::replace(&mut conn.held_first, NONE);
        while buffer != NONE {
            self.ring.give_back(buffer);
            buffer = self.chain[buffer as usize].0;
        }
    }

    /// Delivers what came while the connection was paused, then reads on.
    pub(super) fn resume(&mut self, id: ConnId) {
        loop {
            let conn = &mut self.conns[id as usize];
            if conn.paused || conn.closing {
                return;
            }
            if conn.held_first != NONE {
                let buffer = conn.held_first;
                let (next, len) = self.chain[buffer as usize];
                conn.held_first = next;
                if next == NONE {
                    conn.held_last = NONE;
                }
                self.deliver(id, buffer, len as usize);
            } else if let Some(code) = conn.held_end.take() {
                return self.end(id, code);
            } else {
                return self.settle(id);
            }
        }
    }

    /// Receives again if the connection should and does not.
    fn settle(&mut self, id: ConnId) {
        let conn = &self.conns[id as usize];
        if conn.closing {
            self.leaving.push(id);
        } else if !conn.paused && !conn.holds() {
            self.receive(id);
        }
    }

    fn receive(&mut self, id: ConnId) {
        let conn = &mut self.conns[id as usize];
        if conn.receiving || conn.ended || conn.starved {
            return;
        }
        if let Some(socket) = &conn.socket {
            (conn.receiving, conn.receiving_large) = (true, conn.large);
            match conn.large {
                true => self.ring.receive_large(socket.as_fd(), conn.key(id)),
                false => self.ring.receive(socket.as_fd(), conn.key(id)),
            }
        }
    }

    fn stop_receiving(&mut self, id: ConnId) {
        let conn = &mut self.conns[id as usize];
        if conn.receiving && !std::mem::replace(&mut conn.cancelled, true) {
            self.ring.cancel(Kind::Receive, conn.key(id));
        }
    }

    /// Closes and releases a closing connection, or cancels what stands in the way.
    pub(super) fn leave(&mut self, id: ConnId) {
        let conn = &mut self.conns[id as usize];
        if conn.socket.is_none() || !conn.closing {
            return;
        }
        if conn.receiving || conn.sending {
            // Ends a send whose peer does not read, too.
            shut_down(conn, Shutdown::Both);
            let (sending, key) = (conn.sending, conn.key(id));
            self.stop_receiving(id);
            if sending {
                self.ring.cancel(Kind::Send, key);
            }
            return;
        }
        *conn = Conn { generation: conn.generation, ..Conn::FREE };
        self.logic.released(id);
    }

    pub(super) fn feed_starved(&mut self) {
        let mut free = self.ring.buffers_free();
        while free > 0
            && let Some(id) = self.starved.pop()
        {
            if std::mem::replace(&mut self.conns[id as usize].starved, false) {
                self.settle(id);
                free -= 1;
            }
        }
    }
}

fn peer_of(socket: &OwnedFd) -> Option<SocketAddr> {
    socket2::SockRef::from(socket).peer_addr().ok()?.as_socket()
}

fn shut_down(conn: &Conn, how: Shutdown) {
    if let Some(socket) = &conn.socket {
        // Unix sockets take the same call. A socket that is already down says so, which changes nothing.
        let _ = socket2::SockRef::from(socket).shutdown(how);
    }
}
