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
//! instead of another connection. Outgoing connections (`peers`) end the same way.

mod conns;
mod peers;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::watch::Watch;
use super::{ACCEPT_REST, Edges, Hosted, Listener, Logic, Mailbox, Message};
use crate::core::engine::{ConnId, IoStep, Protocol};
use crate::core::memory::Clock;
use crate::sys::clock::MonotonicClock;
use crate::sys::ring::{COMPLETIONS, Completion, Kind, Ring, Wait};
use conns::{Conn, NONE};
use peers::Peer;

/// How often glommio gets a turn while another task of the executor waits for something.
///
/// A turn costs a few system calls; at 1 ms that is below one per cent of a core, and the files that are opened
/// and synced there take longer anyway.
const TURN_EVERY_NS: u64 = 1_000_000;

/// So many received bytes are worked off between two looks at the ring while a flush is in flight: about 100 µs of
/// parsing. More looks let receives arrive in more pieces: 64 KiB in every wake, flush or not, took 16 instead of
/// 10 µs of system time a body of 100 events.
const SLICE_BYTES: usize = 128 << 10;

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
    /// By their numbers; empty until one is dialed.
    peers: Vec<Peer>,
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
    watch: Watch,
}

/// Moves `logic` until it has drained. To be awaited on a glommio executor, and dropped on the same thread.
///
/// # Errors
/// When the ring cannot be made or fails as a whole.
pub async fn drive<L: Logic>(logic: &mut L, edges: Edges<L>) -> io::Result<()> {
    let Edges { listeners, mailbox, requests, hosted, bounds } = edges;
    let connections = bounds.connections_max as usize;
    let mut ring = Ring::new(bounds.buffers)?;
    ring.provide_large()?;
    let large = bounds.buffers.large().map_or(0, |large| large.count);
    let mut driver = Driver {
        logic,
        ring,
        clock: MonotonicClock,
        conns: (0..connections).map(|_| Conn::FREE).collect(),
        chain: vec![(NONE, 0); usize::from(bounds.buffers.count + large)],
        starved: Vec::with_capacity(connections),
        resumed: Vec::with_capacity(connections),
        leaving: Vec::with_capacity(connections),
        peers: Vec::new(),
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
        watch: Watch::new(),
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
        let before_ns = driver.logic.now_ns();
        driver.look(if busy || bounds.poll { Wait::Look } else { Wait::Block })?;
        if bounds.poll && !busy && driver.waiting.is_empty() {
            driver.watch.spun(driver.logic.now_ns().saturating_sub(before_ns));
        }
        driver.work_off()?;
        busy = driver.serve() || !driver.waiting.is_empty();
    }
}

impl<L: Logic> Driver<'_, L> {
    /// Submits, takes what has ended, and tells the logic of its commits at once.
    fn look(&mut self, wait: Wait) -> io::Result<()> {
        self.watch.turn_ends(self.logic);
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
            Kind::Writable => self.peer_dialed(completion),
            Kind::PeerReceive => self.peer_received(completion),
            Kind::PeerSend => self.peer_sent(completion),
            Kind::Control => {}
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
            let told = self.serve_peers();
            self.ask();
            self.send();
            while let Some(id) = self.leaving.pop() {
                self.leave(id);
            }
            // Sending or releasing may have led to another wish; sleeping on it would lose it.
            self.act();
            if self.resumed.is_empty() && self.leaving.is_empty() && !told {
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
        while let Some(handed) = self.mailbox.take_handed() {
            if let Some((id, socket)) = self.logic.adopt(handed) {
                self.begin(id, socket);
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

    /// A socket that the logic has no slot for is closed by being dropped.
    fn take_in(&mut self, protocol: Protocol, socket: OwnedFd) {
        let Some(socket) = self.logic.pass_on(protocol, socket) else { return };
        if let Some(id) = self.logic.open(protocol) {
            self.begin(id, socket);
        }
    }

    fn accepted(&mut self, completion: Completion) {
        let index = completion.key() as usize;
        let door = &mut self.doors[index];
        door.armed &= completion.more();
        match completion.into_socket() {
            Ok(socket) => {
                let protocol = door.listener.protocol;
                if !self.draining {
                    self.take_in(protocol, socket);
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
