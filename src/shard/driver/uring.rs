//! The driver that owns its ring. One task, no task or allocation per connection or request.
//!
//! A wake: submit and sleep ([`Ring::enter`]), take every completion, tell the logic, take what it wants done,
//! queue that, sleep again. So a wake costs one system call however many connections it serves, and each of
//! them gets at most one send. Only while a flush is in flight, a wake that brought much is cut into slices of
//! `SLICE_BYTES` with a look at the ring between them: neither must a flush wait to be started, nor those who
//! wait for it to be told, until megabytes of others have been parsed.
//!
//! A connection's number is given back to the logic only when no operation on its socket is in flight. Its
//! operations carry a generation beside the number all the same, and one that came late trips an assertion
//! instead of another connection.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::{ACCEPT_REST, Edges, Hosted, Listener, Logic, Mailbox, Message};
use crate::core::engine::{Action, ConnId, IoStep};
use crate::core::memory::Clock;
use crate::sys::clock::MonotonicClock;
use crate::sys::ring::{COMPLETIONS, Completion, Kind, Ring, Wait};

/// How often glommio gets a turn while another task of the executor waits for something.
///
/// A turn costs a few system calls; at 1 ms that is below one per cent of a core, and the files that are opened
/// and synced there take longer anyway.
const TURN_EVERY_NS: u64 = 1_000_000;

/// So many received bytes are worked off between two looks at the ring while a flush is in flight: about 100 µs of
/// parsing. More looks let receives arrive in more pieces: 64 KiB in every wake, flush or not, took 16 instead of
/// 10 µs of system time a body of 100 events.
const SLICE_BYTES: usize = 128 << 10;

/// No buffer.
const NONE: u16 = u16::MAX;

/// Bits of a generation within a key, above the connection's 32.
const GENERATION_MASK: u32 = (1 << 24) - 1;

struct Conn {
    /// None while the slot is free.
    socket: Option<OwnedFd>,
    generation: u32,
    /// A multishot receive is in flight.
    receiving: bool,
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
    const FREE: Conn = Conn {
        socket: None,
        generation: 0,
        receiving: false,
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

/// A listener and when it accepts again after it ran out of descriptors.
struct Door {
    listener: Listener,
    armed: bool,
    rest_until_ns: Option<u64>,
}

struct Driver<'a, L: Logic> {
    logic: &'a mut L,
    ring: Ring,
    clock: MonotonicClock,
    conns: Vec<Conn>,
    /// For each provided buffer held for a paused connection: the next one, and its length.
    chain: Vec<(u16, u32)>,
    /// Connections whose receive ended for want of buffers.
    starved: Vec<ConnId>,
    /// Connections to read again, held bytes first.
    resumed: Vec<ConnId>,
    /// Closing connections that may be ready to be released.
    leaving: Vec<ConnId>,
    doors: Vec<Door>,
    mailbox: Mailbox<L>,
    requests: Box<dyn FnMut(L::Request)>,
    draining: bool,
    /// Just reaped.
    fresh: Vec<Completion>,
    /// Reaped and not told to the logic yet, oldest first.
    waiting: VecDeque<Completion>,
    /// Flushes in flight.
    flushes: u32,
}

/// Moves `logic` until it has drained. To be awaited on a glommio executor, and dropped on the same thread.
///
/// # Errors
/// When the ring cannot be made or fails as a whole.
pub async fn drive<L: Logic>(logic: &mut L, edges: Edges<L>) -> io::Result<()> {
    let Edges { listeners, mailbox, requests, hosted, bounds } = edges;
    let connections = bounds.connections_max as usize;
    let mut driver = Driver {
        logic,
        ring: Ring::new(bounds.buffers)?,
        clock: MonotonicClock,
        conns: (0..connections).map(|_| Conn::FREE).collect(),
        chain: vec![(NONE, 0); bounds.buffers.count as usize],
        starved: Vec::with_capacity(connections),
        resumed: Vec::with_capacity(connections),
        leaving: Vec::with_capacity(connections),
        doors: listeners
            .into_iter()
            .map(|listener| Door { listener, armed: false, rest_until_ns: None })
            .collect(),
        mailbox,
        requests,
        draining: false,
        fresh: Vec::with_capacity(COMPLETIONS as usize),
        waiting: VecDeque::with_capacity(2 * COMPLETIONS as usize),
        flushes: 0,
    };
    driver.ring.readable(driver.mailbox.as_fd(), 0);
    driver.open_doors();
    let mut turns = Turns { hosted, next_ns: 0 };
    turns.give().await;
    // Mail may have come, and the logic may have wishes, before the first completion.
    let mut busy = true;
    loop {
        driver.wish();
        if driver.draining && driver.waiting.is_empty() && driver.logic.is_drained() {
            driver.ask();
            return Ok(());
        }
        if turns.hosted.is_busy() {
            let now_ns = driver.clock.now_ns();
            if now_ns >= turns.next_ns {
                // What is queued goes out first, so that nothing waits for glommio.
                driver.ring.enter(Wait::Look)?;
                turns.give().await;
                turns.next_ns = driver.clock.now_ns() + TURN_EVERY_NS;
            }
            driver.ring.timer_until(turns.next_ns);
        }
        driver.look(if busy || bounds.poll { Wait::Look } else { Wait::Block })?;
        driver.work_off()?;
        busy = driver.serve() || !driver.waiting.is_empty();
    }
}

impl<L: Logic> Driver<'_, L> {
    /// Submits, takes what has ended, and tells the logic of its commits at once.
    fn look(&mut self, wait: Wait) -> io::Result<()> {
        self.ring.enter(wait)?;
        if self.flushes > 0 && wait == Wait::Look {
            // The kernel's worker that flushes runs on this core. Without this it waits for the end of our time
            // slice, milliseconds, to start a flush and again to end it.
            std::thread::yield_now();
        }
        self.ring.reap(&mut self.fresh);
        self.logic.tick();
        let mut fresh = std::mem::take(&mut self.fresh);
        for completion in fresh.drain(..) {
            match completion.kind() {
                Kind::Write | Kind::Sync => self.complete(completion),
                _ => self.waiting.push_back(completion),
            }
        }
        self.fresh = fresh;
        Ok(())
    }

    /// Tells the logic what happened up to now; what comes meanwhile is left for the next time.
    fn work_off(&mut self) -> io::Result<()> {
        let mut slice_bytes = 0;
        for _ in 0..self.waiting.len() {
            if slice_bytes >= SLICE_BYTES && self.flushes > 0 {
                slice_bytes = 0;
                self.wish();
                self.look(Wait::Look)?;
            }
            let Some(completion) = self.waiting.pop_front() else { break };
            slice_bytes += completion.buffer().map_or(0, |_| completion.result().unwrap_or(0));
            self.complete(completion);
        }
        Ok(())
    }

    /// Tells the logic one thing that happened.
    fn complete(&mut self, completion: Completion) {
        match completion.kind() {
            Kind::Receive => self.received(completion),
            Kind::Send => self.sent(completion),
            Kind::Write => {
                self.logic.io_done(completion.key() as u8, IoStep::Write, completion.result());
            }
            Kind::Sync => {
                self.flushes -= 1;
                self.logic.io_done(completion.key() as u8, IoStep::Sync, completion.result());
            }
            Kind::Accept => self.accepted(completion),
            Kind::Readable => {
                if !completion.more() {
                    self.ring.readable(self.mailbox.as_fd(), 0);
                }
                self.read_mail();
            }
            Kind::Timer => self.timer_fired(),
            // A server makes no connections.
            Kind::Control | Kind::Writable => {}
        }
    }

    /// Gives the logic its turn and carries out what it says about connections. Whether it wants another soon.
    fn serve(&mut self) -> bool {
        let more = self.logic.run();
        self.act();
        while let Some(id) = self.resumed.pop() {
            self.resume(id);
        }
        more
    }

    /// Queues everything that the logic wants done, and gives the kernel its buffers back.
    fn wish(&mut self) {
        loop {
            self.act();
            while let Some(id) = self.resumed.pop() {
                self.resume(id);
            }
            while let Some(io) = self.logic.next_io() {
                self.ring.write(io.file, io.offset, io.bytes, io.sync, io.slot as u64);
                self.flushes += u32::from(io.sync);
            }
            self.ask();
            self.send();
            while let Some(id) = self.leaving.pop() {
                self.leave(id);
            }
            // Sending or releasing may have led to another wish; sleeping on it would lose it.
            self.act();
            if self.resumed.is_empty() && self.leaving.is_empty() {
                break;
            }
        }
        self.ring.publish();
        self.feed_starved();
        if let Some(at_ns) = self.deadline_ns() {
            self.ring.timer_until(at_ns);
        }
    }

    fn ask(&mut self) {
        while let Some(request) = self.logic.next_request() {
            (self.requests)(request);
        }
    }

    fn send(&mut self) {
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

    fn deadline_ns(&self) -> Option<u64> {
        let rest = self.doors.iter().filter_map(|door| door.rest_until_ns);
        rest.chain(self.logic.deadline_ns()).min()
    }

    /// Accepts again where it rested. The logic looks at the clock by itself.
    fn timer_fired(&mut self) {
        let now_ns = self.clock.now_ns();
        for door in &mut self.doors {
            door.rest_until_ns.take_if(|until| *until <= now_ns);
        }
        self.open_doors();
    }

    fn read_mail(&mut self) {
        self.mailbox.hush();
        while let Some(message) = self.mailbox.take() {
            match message {
                Message::Mail(mail) => self.logic.mail(mail),
                Message::Ask(ask) => ask(self.logic),
                Message::Drain => {
                    self.draining = true;
                    for index in 0..self.doors.len() {
                        self.ring.cancel(Kind::Accept, index as u64);
                    }
                    self.logic.drain();
                }
            }
        }
    }

    fn open_doors(&mut self) {
        for (index, door) in self.doors.iter_mut().enumerate() {
            if !door.armed && door.rest_until_ns.is_none() && !self.draining {
                self.ring.accept(door.listener.socket.as_fd(), index as u64);
                door.armed = true;
            }
        }
    }

    fn accepted(&mut self, completion: Completion) {
        let index = completion.key() as usize;
        let door = &mut self.doors[index];
        door.armed &= completion.more();
        match completion.into_socket() {
            Ok(socket) => {
                let protocol = door.listener.protocol;
                // A socket that the logic has no slot for is closed by being dropped.
                if let Some(id) = (!self.draining).then(|| self.logic.open(protocol)).flatten() {
                    let conn = &mut self.conns[id as usize];
                    assert!(conn.socket.is_none(), "connection {id} was opened twice");
                    let generation = conn.generation.wrapping_add(1) & GENERATION_MASK;
                    *conn = Conn { socket: Some(socket), generation, ..Conn::FREE };
                    self.receive(id);
                }
            }
            Err(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                door.rest_until_ns = Some(self.clock.now_ns() + ACCEPT_REST.as_nanos() as u64);
                self.logic.accept_failed();
            }
            // The connection went before it was taken, or we are draining.
            Err(_) => {}
        }
        self.open_doors();
    }

    fn received(&mut self, completion: Completion) {
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
                if !std::mem::replace(&mut conn.starved, true) {
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

    fn sent(&mut self, completion: Completion) {
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

    /// Takes what the logic wants of connections. It only notes and cancels, so it never calls the logic back.
    fn act(&mut self) {
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
    fn resume(&mut self, id: ConnId) {
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
            conn.receiving = true;
            self.ring.receive(socket.as_fd(), conn.key(id));
        }
    }

    fn stop_receiving(&mut self, id: ConnId) {
        let conn = &mut self.conns[id as usize];
        if conn.receiving && !std::mem::replace(&mut conn.cancelled, true) {
            self.ring.cancel(Kind::Receive, conn.key(id));
        }
    }

    /// Closes and releases a closing connection, or cancels what stands in the way.
    fn leave(&mut self, id: ConnId) {
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

    fn feed_starved(&mut self) {
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

fn shut_down(conn: &Conn, how: Shutdown) {
    if let Some(socket) = &conn.socket {
        // Unix sockets take the same call. A socket that is already down says so, which changes nothing.
        let _ = socket2::SockRef::from(socket).shutdown(how);
    }
}

/// When glommio looks at its own rings.
struct Turns {
    hosted: Hosted,
    next_ns: u64,
}

impl Turns {
    /// Becomes pending, so that the executor polls its rings and runs whatever became ready. A timer that is due
    /// when it is first looked at would not do: it never waits (`cargo run --release --example turn` shows both).
    async fn give(&self) {
        glommio::timer::sleep(Duration::from_micros(1)).await;
    }
}
