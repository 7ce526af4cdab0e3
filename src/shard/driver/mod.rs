//! Between the sockets and files of one core and the logic that knows no I/O.
//!
//! ```text
//!   sockets ─▶ receive ─┐                       ┌─▶ next_send   ─▶ sockets
//!   files   ─▶ io_done ─┼─▶ Logic (the engine) ─┼─▶ next_io     ─▶ files
//!   peers   ─▶ peer_…  ─┤                       ├─▶ next_dial … ─▶ peers
//!   mailbox ─▶ mail    ─┘                       ├─▶ next_request ─▶ housekeeper
//!                                               └─▶ next_action
//! ```
//!
//! Two implementations move the same logic: [`uring`], a ring of our own hosted as one task of the shard's
//! glommio executor, and [`glommio`], plain streams and files, which is the readable reference. Neither decides
//! anything about events; neither is seen by the logic.

pub mod glommio;
pub mod peer;
pub mod uring;
mod watch;

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crate::core::balance::COMING_MAX;
use crate::core::engine::{Action, ConnId, Io, IoStep, Protocol};
use crate::core::memory::Clock;
use crate::core::metrics::cause::Spell;
use crate::sys::clock::MonotonicClock;
pub use crate::sys::ring::Buffers;
use peer::{PeerId, PeerSend};

/// One shard's logic, as a driver moves it. Calls never block and never wait.
///
/// A driver, each time it wakes, calls `tick`, then tells what happened (`open`, `receive`, `receive_end`, `fail`,
/// `sent`, `io_done`, `mail`, `adopt`, `released`, and of peers), then calls `run`, then takes what is to be done
/// (`next_action`, `next_io`, `next_request`, `next_send`, and for peers) until there is none. It may take what is to be done, and begin with
/// `tick` again, before it has told everything.
pub trait Logic {
    /// What it asks of the housekeeper.
    type Request: Send + 'static;
    /// What the housekeeper answers.
    type Mail: Send + 'static;

    /// A connection came. None when the slab is full: the driver closes it without a word.
    fn open(&mut self, protocol: Protocol) -> Option<ConnId>;
    /// A connection was accepted, and another shard may be to have it: `None` when it was given away; else it comes
    /// back, to be opened here.
    fn pass_on(&mut self, protocol: Protocol, socket: OwnedFd) -> Option<OwnedFd> {
        let _ = protocol;
        Some(socket)
    }
    /// Another shard accepted it and gave it to this one: its number here, as if it had been opened. `None` when it is
    /// not served here; then it is given back or closed.
    fn adopt(&mut self, handed: Handed) -> Option<(ConnId, OwnedFd)> {
        self.open(handed.protocol).map(|id| (id, handed.socket))
    }
    /// The same, but the driver has no descriptor for it: closed.
    fn adopt_failed(&mut self, handed: Handed) {
        drop(handed);
    }
    /// Bytes came; all are consumed or copied on return. Never called for a paused connection.
    fn receive(&mut self, conn: ConnId, data: &mut [u8]);
    /// The peer sends no more.
    fn receive_end(&mut self, conn: ConnId);
    /// The connection broke; `Action::Close` follows.
    fn fail(&mut self, conn: ConnId);
    /// No descriptor was left for a connection; accepting rests for a while.
    fn accept_failed(&mut self);
    /// After `Action::Close`: the socket is closed and nothing is in flight on it; its number is free.
    fn released(&mut self, conn: ConnId);
    /// Bytes for a connection that has none in flight, in place until `sent` or `released`.
    fn next_send(&mut self) -> Option<(ConnId, &[u8])>;
    /// So many of them left.
    fn sent(&mut self, conn: ConnId, bytes: usize);
    /// A change to a connection.
    fn next_action(&mut self) -> Option<(ConnId, Action)>;
    /// Serves connections that were cut off for fairness. Whether more wait, so that the driver must not sleep.
    fn run(&mut self) -> bool;
    /// Bytes for a file, in place until every step was reported.
    fn next_io(&mut self) -> Option<Io<'_>>;
    /// How a step ended: bytes written, or the positive error number.
    fn io_done(&mut self, slot: u8, step: IoStep, result: Result<usize, i32>);
    /// Something for the housekeeper.
    fn next_request(&mut self) -> Option<Self::Request>;
    /// The housekeeper's answer.
    fn mail(&mut self, mail: Self::Mail);
    /// When `tick` is due, in nanoseconds of [`MonotonicClock`].
    fn deadline_ns(&self) -> Option<u64>;
    /// Look at the clock. Called once at the start of every wake.
    fn tick(&mut self);
    /// The time that the last `tick` read, in nanoseconds of the same clock.
    fn now_ns(&self) -> u64 {
        MonotonicClock.now_ns()
    }
    /// The turn that ends here was long, or its thread was held up. Told before the next `tick`.
    fn note_spell(&mut self, spell: Spell) {
        let _ = spell;
    }
    /// By `at_ns` of the same clock the thread had worked for `ran_ns` in all. Told every 10 ms or so of those in
    /// which the loop turns; not where the system does not tell.
    fn note_ran(&mut self, at_ns: u64, ran_ns: u64) {
        let _ = (at_ns, ran_ns);
    }
    /// A connection whose address is wanted. To be asked before anything of it is closed.
    fn next_unnamed(&mut self) -> Option<ConnId> {
        None
    }
    /// The address of a connection that was asked for.
    fn name(&mut self, conn: ConnId, peer: SocketAddr) {
        let _ = (conn, peer);
    }
    /// Take no new requests, answer those that came.
    fn drain(&mut self);
    /// Whether that is done and every connection was released. It may have last requests then.
    fn is_drained(&mut self) -> bool;

    /// An outgoing connection to be made, under a number that is free: never used, or released. See [`peer`].
    fn next_dial(&mut self) -> Option<(PeerId, SocketAddr)> {
        None
    }
    /// How that ended: connected, or the positive error number, after which it is to be hung up.
    fn dialed(&mut self, peer: PeerId, result: Result<(), i32>) {
        let _ = (peer, result);
    }
    /// Bytes came from a peer; all are consumed or copied on return.
    fn peer_receive(&mut self, peer: PeerId, data: &mut [u8]) {
        let _ = (peer, data);
    }
    /// The peer ended the connection (0) or it broke (the positive error number): to be hung up. Told once. A
    /// send that was in flight may still be told as sent.
    fn peer_lost(&mut self, peer: PeerId, code: i32) {
        let _ = (peer, code);
    }
    /// Bytes, at least one, for a connected peer that has none in flight, in place until `peer_sent` or
    /// `peer_released`; not until `peer_lost`.
    fn next_peer_send(&mut self) -> Option<PeerSend<'_>> {
        None
    }
    /// So many of them left, from the first on; the rest is to be given again.
    fn peer_sent(&mut self, peer: PeerId, bytes: usize) {
        let _ = (peer, bytes);
    }
    /// A peer to be given up, in whatever state it is. Only `peer_released` follows.
    fn next_hang_up(&mut self) -> Option<PeerId> {
        None
    }
    /// Nothing is in flight any more, and the number is free.
    fn peer_released(&mut self, peer: PeerId) {
        let _ = peer;
    }
}

/// How long accepting rests when the process or the system has no descriptor left.
pub const ACCEPT_REST: Duration = Duration::from_millis(100);

/// A listening stream socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpListener),
    /// Unix.
    Unix(UnixListener),
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(listener) => listener.as_fd(),
            Socket::Unix(listener) => listener.as_fd(),
        }
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> OwnedFd {
        match socket {
            Socket::Tcp(listener) => listener.into(),
            Socket::Unix(listener) => listener.into(),
        }
    }
}

/// Where connections come from, and what they speak.
#[derive(Debug)]
pub struct Listener {
    /// Bound and listening. Set `TCP_NODELAY` on it: accepted sockets inherit it.
    pub socket: Socket,
    /// What is spoken.
    pub protocol: Protocol,
}

/// Numbers of the plan that a driver needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at most; the slab of the logic has as many slots.
    pub connections_max: u32,
    /// Receive buffers shared by all connections (`uring`); `glommio` takes one of that size per connection.
    pub buffers: Buffers,
    /// Spin instead of sleeping: for a core that nobody else uses.
    pub poll: bool,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { connections_max: 1024, buffers: Buffers { count: 1024, bytes: 16 * 1024 }, poll: false }
    }
}

/// Everything that a driver is given beside the logic.
pub struct Edges<L: Logic> {
    /// Closed when draining starts.
    pub listeners: Vec<Listener>,
    /// From other threads.
    pub mailbox: Mailbox<L>,
    /// To the housekeeper; must not block.
    pub requests: Box<dyn FnMut(L::Request)>,
    /// Work of other tasks of the same executor.
    pub hosted: Hosted,
    /// Numbers of the plan.
    pub bounds: Bounds,
}

/// Which implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A ring of our own.
    Uring,
    /// glommio's streams and files.
    Glommio,
}

impl Kind {
    /// The name in flags and on the ready line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Uring => "uring",
            Kind::Glommio => "glommio",
        }
    }
}

/// Moves the logic until it has drained, and returns it. To be awaited on the shard's glommio executor.
///
/// # Errors
/// When the ring cannot be made or fails as a whole. Nothing that befalls a connection or a file is an error.
pub async fn drive<L: Logic + 'static>(kind: Kind, mut logic: L, edges: Edges<L>) -> io::Result<L> {
    match kind {
        Kind::Uring => uring::drive(&mut logic, edges).await.map(|()| logic),
        Kind::Glommio => glommio::drive(logic, edges).await,
    }
}

/// What other threads tell a shard.
pub enum Message<L: Logic> {
    /// From the housekeeper.
    Mail(L::Mail),
    /// To be run on the shard, between two wakes: a snapshot, for instance. Must be short.
    Ask(Box<dyn FnOnce(&mut L) + Send>),
    /// Close the listeners, answer what came, then end.
    Drain,
}

impl<L: Logic> fmt::Debug for Message<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Message::Mail(_) => "Mail",
            Message::Ask(_) => "Ask",
            Message::Drain => "Drain",
        })
    }
}

/// A connection that one shard accepted and another is to serve.
#[derive(Debug)]
pub struct Handed {
    /// Nothing was read from it.
    pub socket: OwnedFd,
    /// What is spoken.
    pub protocol: Protocol,
    /// Who gave it and would have it back; `None`: it was given back before.
    pub from: Option<u32>,
}

/// The shard is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the shard has ended")
    }
}

impl std::error::Error for Gone {}

/// A way to a shard from any thread. Clone it freely.
pub struct Sender<L: Logic> {
    queue: mpsc::Sender<Message<L>>,
    handed: mpsc::SyncSender<Handed>,
    bell: Arc<Bell>,
}

impl<L: Logic> Clone for Sender<L> {
    fn clone(&self) -> Self {
        Sender { queue: self.queue.clone(), handed: self.handed.clone(), bell: self.bell.clone() }
    }
}

impl<L: Logic> Sender<L> {
    /// Leaves a message and wakes the shard. Never blocks.
    ///
    /// # Errors
    /// When the shard has ended.
    pub fn send(&self, message: Message<L>) -> Result<(), Gone> {
        self.queue.send(message).map_err(|_| Gone)?;
        self.ring()
    }

    /// Leaves a connection and wakes the shard. Neither blocks nor allocates.
    ///
    /// # Errors
    /// The connection, when the shard has ended or [`COMING_MAX`] wait for it already.
    pub fn hand_over(&self, handed: Handed) -> Result<(), Handed> {
        use mpsc::TrySendError::{Disconnected, Full};
        self.handed.try_send(handed).map_err(|error| match error {
            Full(handed) | Disconnected(handed) => handed,
        })?;
        // A shard that ends at this moment drops what was left for it, which closes the connection.
        let _ = self.ring();
        Ok(())
    }

    fn ring(&self) -> Result<(), Gone> {
        // Whoever rings the bell writes the byte; the others ride along until the shard has reset it.
        if !self.bell.rung.swap(true, Ordering::AcqRel) {
            (&self.bell.writer).write_all(&[1]).map_err(|_| Gone)?;
        }
        Ok(())
    }
}

struct Bell {
    rung: AtomicBool,
    writer: UnixStream,
}

/// The shard's end: a queue, and a socket that becomes readable when the queue is no longer empty.
pub struct Mailbox<L: Logic> {
    queue: mpsc::Receiver<Message<L>>,
    handed: mpsc::Receiver<Handed>,
    bell: Arc<Bell>,
    reader: UnixStream,
}

/// A mailbox and the way to it.
///
/// # Errors
/// When there is no descriptor left for the pair of sockets.
pub fn mailbox<L: Logic>() -> io::Result<(Sender<L>, Mailbox<L>)> {
    let (writer, reader) = UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    let bell = Arc::new(Bell { rung: AtomicBool::new(false), writer });
    let (send, queue) = mpsc::channel();
    // Its slots are made here, once.
    let (hand_over, handed) = mpsc::sync_channel(COMING_MAX as usize);
    let sender = Sender { queue: send, handed: hand_over, bell: bell.clone() };
    Ok((sender, Mailbox { queue, handed, bell, reader }))
}

impl<L: Logic> Mailbox<L> {
    /// Readable whenever there is a message.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    /// The same, to wait on elsewhere.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn try_clone_reader(&self) -> io::Result<OwnedFd> {
        self.reader.as_fd().try_clone_to_owned()
    }

    /// Resets the bell; call it before taking messages, so that one which comes meanwhile rings again.
    pub fn hush(&self) {
        // At most one byte is on its way per ring of the bell.
        let _ = (&self.reader).read(&mut [0; 64]);
        // Read-modify-write on both sides: a sender that found the bell rung has queued before this.
        self.bell.rung.swap(false, Ordering::AcqRel);
    }

    /// The next message, if there is one.
    pub fn take(&self) -> Option<Message<L>> {
        self.queue.try_recv().ok()
    }

    /// The next connection that another shard left here. To be looked for whenever messages are.
    pub fn take_handed(&self) -> Option<Handed> {
        self.handed.try_recv().ok()
    }
}

/// Counts what other tasks of the executor are waiting for, so that the `uring` driver gives them a turn only
/// while there is something.
///
/// The driver task never ends its turn by itself, and glommio looks at its own rings only when every task waits
/// or its preemption timer fires. So a task beside the driver holds a [`Working`] while it awaits.
#[derive(Clone, Debug, Default)]
pub struct Hosted(Rc<Cell<u32>>);

impl Hosted {
    /// Claims turns until the guard is dropped.
    pub fn working(&self) -> Working {
        self.0.set(self.0.get() + 1);
        Working(self.0.clone())
    }

    /// Whether a task waits for glommio.
    pub fn is_busy(&self) -> bool {
        self.0.get() > 0
    }
}

/// See [`Hosted`].
#[derive(Debug)]
pub struct Working(Rc<Cell<u32>>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod hand_over_tests;
#[cfg(test)]
mod peer_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
