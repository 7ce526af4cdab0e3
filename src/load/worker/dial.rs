//! Connections made, lost and made anew. None of it is part of a request's way, but it happens on the same thread:
//! a connection costs some twenty microseconds.
//!
//! ```text
//!  Waiting ──dial──▶ Dialling ──▶ (Shaking) ──▶ Up ──leave──▶ Leaving ──left──▶ Waiting
//!     ▲                 │             │                                            │
//!     └── backoff ◀─────┴─────────────┘ dial_failed                  at once if it ever answered
//! ```

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};

use socket2::{Domain, SockAddr, Socket, Type};

use super::conn::Stage;
use super::descriptors;
use super::drive::Worker;
use super::tls::Tls;
use crate::core::load::series::{Done, Outcome, VALID};
use crate::core::memory::Clock;
use crate::load::target::{Endpoint, Target};
use crate::sys::ring::{Completion, Kind};

/// How long a connection may take to be made, TLS included. A lost first packet is sent again after 1 and 3 s.
const DIAL_NS: u64 = 10_000_000_000;

/// First and last pause before another attempt. The first is short because most servers are back at once; the last
/// keeps a hundred connections from drowning a server that is coming up.
const PAUSE_NS_MIN: u64 = 10_000_000;
const PAUSE_NS_MAX: u64 = 500_000_000;

/// How to connect to the target.
pub(super) struct Dialler {
    target: Target,
    pub(super) addresses: Vec<SockAddr>,
    tls: Option<Tls>,
    /// What no repetition mends.
    pub(super) fatal: Option<String>,
}

impl Dialler {
    pub(super) fn new(target: &Target) -> Result<Dialler, String> {
        let addresses = match &target.endpoint {
            Endpoint::Tcp(addresses) => addresses.iter().map(|&address| address.into()).collect(),
            Endpoint::Unix(path) => {
                let address = SockAddr::unix(path).map_err(|error| {
                    format!("{}: {error}; the path of a socket has 107 bytes at most", path.display())
                })?;
                vec![address]
            }
        };
        Ok(Dialler { target: target.clone(), addresses, tls: Tls::new(target)?, fatal: None })
    }

    /// A socket on its way to the `attempt`-th address.
    fn dial(&self, attempt: usize) -> io::Result<Socket> {
        let address = &self.addresses[attempt % self.addresses.len()];
        let socket = Socket::new(address.domain(), Type::STREAM, None)?;
        if address.domain() != Domain::UNIX {
            socket.set_tcp_nodelay(true)?;
        }
        socket.set_nonblocking(true)?;
        match socket.connect(address) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(socket),
        }
    }
}

impl Worker {
    pub(super) fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    /// A connection wanted to be looked at.
    pub(super) fn overdue(&mut self, id: u32, now_ns: u64) {
        let conn = &mut self.conns[id as usize];
        match conn.stage {
            Stage::Waiting if conn.act_ns <= now_ns => self.dial(id, now_ns),
            Stage::Dialling | Stage::Shaking if conn.act_ns <= now_ns => {
                self.dial_failed(id, "no answer within 10 s", now_ns);
            }
            Stage::Up if conn.quitting && conn.act_ns <= now_ns => {
                self.leave(id, Outcome::Closed, now_ns, false);
            }
            Stage::Up => {
                if conn.act_ns <= now_ns && !conn.sending {
                    conn.put_rest();
                    self.touch(id);
                } else if conn.act_ns <= now_ns {
                    // The first half is still on its way.
                    conn.act_ns = now_ns + 1_000_000;
                }
                let conn = &self.conns[id as usize];
                let oldest = conn.flight.front();
                if oldest.is_some_and(|oldest| oldest.sent_ns.saturating_add(self.timeout_ns) <= now_ns) {
                    return self.timed_out(id, now_ns);
                }
                self.note_due(id);
            }
            _ => self.note_due(id),
        }
    }

    fn dial(&mut self, id: u32, now_ns: u64) {
        let conn = &mut self.conns[id as usize];
        let socket = match self.dialler.dial(conn.failures as usize) {
            Ok(socket) => socket,
            Err(error) => {
                if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
                    let open = self.conns.iter().filter(|conn| conn.socket.is_some()).count() as u64;
                    self.dialler.fatal.get_or_insert_with(|| descriptors(self.conns.len() as u32, open));
                }
                return self.dial_failed(id, &explain(&error), now_ns);
            }
        };
        let key = conn.key(id);
        self.ring.writable(socket.as_fd(), key);
        conn.polling = true;
        conn.socket = Some(OwnedFd::from(socket));
        conn.stage = Stage::Dialling;
        conn.act_ns = now_ns + DIAL_NS;
        self.note_due(id);
    }

    /// Connecting has ended, one way or the other.
    pub(super) fn dialled(&mut self, completion: &Completion, now_ns: u64) {
        let id = completion.key() as u32;
        let conn = &mut self.conns[id as usize];
        debug_assert_eq!(completion.key(), conn.key(id), "a dial of a connection that is gone");
        conn.polling = false;
        if conn.stage != Stage::Dialling {
            return self.left(id, now_ns);
        }
        let Some(socket) = &conn.socket else { return };
        let socket = socket2::SockRef::from(socket);
        let failed = match socket.take_error() {
            Ok(None) => socket.set_nonblocking(false).err(),
            Ok(error) => error,
            Err(error) => Some(error),
        };
        if let Some(error) = failed {
            return self.dial_failed(id, &explain(&error), now_ns);
        }
        let Some(tls) = &self.dialler.tls else {
            return self.raise(id);
        };
        match tls.session() {
            Ok(session) => {
                conn.tls = Some(Box::new(session));
                conn.stage = Stage::Shaking;
                self.receive(id);
                self.touch(id);
            }
            Err(error) => self.dial_failed(id, &format!("TLS: {error}"), now_ns),
        }
    }

    /// Looks whether the TLS handshake is over.
    pub(super) fn shaken(&mut self, id: u32, _now_ns: u64) {
        let conn = &self.conns[id as usize];
        if conn.stage == Stage::Shaking && conn.tls.as_ref().is_some_and(|session| !session.is_shaking()) {
            self.raise(id);
        }
    }

    /// The connection takes requests from now on.
    fn raise(&mut self, id: u32) {
        let conn = &mut self.conns[id as usize];
        conn.stage = Stage::Up;
        conn.act_ns = u64::MAX;
        conn.first_byte_ns = 0;
        self.up += 1;
        self.ended.connects += 1;
        self.note_due(id);
        self.receive(id);
        self.list(id);
    }

    /// What TLS cannot read.
    pub(super) fn tls_failed(&mut self, id: u32, error: &str, now_ns: u64) {
        if self.conns[id as usize].stage != Stage::Shaking {
            // The other requests in flight end with it.
            if let Some(pending) = self.pop(id) {
                self.end(pending, Outcome::BadReply, 0, now_ns, None);
            }
            return self.leave(id, Outcome::Closed, now_ns, false);
        }
        let hint = if error.contains("certificate") {
            "; give --insecure to take any certificate"
        } else if error.contains("corrupt message") {
            "; does the server speak TLS on that port?"
        } else {
            ""
        };
        self.dial_failed(id, &format!("the TLS handshake failed: {error}{hint}"), now_ns);
    }

    /// An attempt to connect failed: why, in words.
    pub(super) fn dial_failed(&mut self, id: u32, why: &str, now_ns: u64) {
        self.ended.connect_failures += 1;
        self.ended.last_failure = Some(format!(
            "cannot connect to {} ({}): {why}",
            self.dialler.target, self.dialler.target.endpoint
        ));
        let conn = &mut self.conns[id as usize];
        conn.failures += 1;
        self.drop_socket(id, now_ns);
        self.refuse(now_ns);
    }

    /// No connection is up and none can be made: a request that is due now fails.
    fn refuse(&mut self, now_ns: u64) {
        if self.up > 0 || !self.open {
            return;
        }
        let intended_ns = match &mut self.queue {
            None => now_ns,
            Some(queue) => match queue.take() {
                Some(intended_ns) => intended_ns,
                None => return,
            },
        };
        self.tally.record(&Done {
            class: VALID,
            intended_ns,
            sent_ns: 0,
            first_byte_ns: 0,
            done_ns: now_ns,
            outcome: Outcome::ConnectFailed,
            expected: false,
        });
    }

    /// Gives up a connection that is up: what is in flight on it ends as `outcome`.
    pub(super) fn leave(&mut self, id: u32, outcome: Outcome, now_ns: u64, reset: bool) {
        if self.conns[id as usize].stage != Stage::Up {
            return;
        }
        let (mut unexpected, mut ended) = (false, false);
        while let Some(pending) = self.pop(id) {
            unexpected |= !self.corpus.classes()[usize::from(pending.class)].expected.is_met_by(outcome);
            self.end(pending, outcome, 0, now_ns, None);
            ended = true;
        }
        self.ended.lost += u64::from(unexpected);
        self.up -= 1;
        if reset {
            self.arm_reset(id);
        }
        let conn = &mut self.conns[id as usize];
        // One that never answers is dialled ever more slowly, like one that refuses.
        let was_of_use = conn.answered || ended && !unexpected;
        conn.failures = if was_of_use { 0 } else { conn.failures + 1 };
        self.drop_socket(id, now_ns);
    }

    /// Ends everything on a socket; it is closed when that has ended.
    fn drop_socket(&mut self, id: u32, now_ns: u64) {
        let conn = &mut self.conns[id as usize];
        let (was, key) = (conn.stage, conn.key(id));
        conn.stage = Stage::Leaving;
        if conn.receiving {
            self.ring.cancel(Kind::Receive, key);
        }
        if conn.polling {
            self.ring.cancel(Kind::Writable, key);
        }
        if conn.sending {
            self.ring.cancel(Kind::Send, key);
            if was == Stage::Up
                && let Some(socket) = &conn.socket
            {
                // Ends a send whose peer does not read, too.
                let _ = socket2::SockRef::from(socket).shutdown(Shutdown::Both);
            }
        }
        self.left(id, now_ns);
    }

    /// Closes a socket that nothing refers to any more, and notes when to dial again.
    pub(super) fn left(&mut self, id: u32, now_ns: u64) {
        let conn = &mut self.conns[id as usize];
        if conn.stage != Stage::Leaving || !conn.is_still() {
            self.note_due(id);
            return;
        }
        let pause_ns = match conn.failures {
            0 => 0,
            failures => PAUSE_NS_MAX.min(PAUSE_NS_MIN << (failures - 1).min(10)),
        };
        conn.retire(now_ns + pause_ns);
        self.note_due(id);
    }
}

/// What to do about an error of `connect`.
fn explain(error: &io::Error) -> String {
    let hint = match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => "; is the server running, and listening there?",
        Some(libc::ENOENT) => "; there is no such socket",
        Some(libc::EACCES | libc::EPERM) => "; this user may not",
        Some(libc::EADDRNOTAVAIL) => {
            "; all local ports towards it are in use or resting: use fewer classes that close, or a lower rate"
        }
        Some(libc::EAGAIN) => "; the server's queue of connections is full",
        Some(libc::EMFILE | libc::ENFILE) => "; raise the limit of open files (`ulimit -n`)",
        _ => "",
    };
    format!("{error}{hint}")
}
