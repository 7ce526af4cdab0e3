//! The driver on glommio's own streams and files: the readable reference, for older kernels too.
//!
//! Each connection has a task that reads while it writes; files, listeners and the mailbox have theirs. They
//! tell the logic what happened (`Shared::tell`) and ring; the pump ([`drive`]) then takes what is to be done
//! and hands it to them. No borrow of the logic lives across an `await`.
//!
//! It copies replies and commits, where [`uring`](super::uring) hands the kernel the logic's own bytes, and
//! takes two descriptors for a connection.

mod peers;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use glommio::GlommioError;
use glommio::io::{DmaFile, OpenOptions};
use glommio::net::{TcpListener, TcpStream};

use super::watch::Watch;
use super::{ACCEPT_REST, Edges, Handed, Listener, Logic, Mailbox, Message};
use crate::core::engine::{Action, ConnId, IoStep, Protocol};
use crate::core::memory::Clock;
use crate::sys::adopt;
use crate::sys::clock::MonotonicClock;
use peers::Peer;

/// Wakes the one task that waits for it.
#[derive(Default)]
struct Signal {
    set: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Signal {
    fn set(&self) {
        self.set.set(true);
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }

    async fn wait(&self) {
        poll_fn(|context| {
            if self.set.replace(false) {
                return Poll::Ready(());
            }
            *self.waiter.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// What the pump tells a connection's task.
struct Conn {
    /// For shutting down what the task is reading or writing.
    control: OwnedFd,
    paused: Cell<bool>,
    closing: Cell<bool>,
    /// Bytes to send; empty when there are none.
    out: RefCell<Vec<u8>>,
    read: Signal,
    write: Signal,
}

impl Conn {
    fn shut_down(&self, how: Shutdown) {
        // A socket that is down already says so, which changes nothing.
        let _ = socket2::SockRef::from(&self.control).shutdown(how);
    }
}

struct Shared<L> {
    /// None once it was returned.
    logic: RefCell<Option<L>>,
    conns: RefCell<Vec<Option<Rc<Conn>>>>,
    /// By their numbers; empty until one is dialed.
    peers: RefCell<Vec<Option<Rc<Peer>>>>,
    /// Something happened: the pump has to look.
    bell: Signal,
    draining: Cell<bool>,
    buffer_bytes: usize,
    watch: RefCell<Watch>,
}

impl<L: Logic> Shared<L> {
    /// Calls the logic and lets the pump know.
    fn tell<T>(&self, what: impl FnOnce(&mut L) -> T) -> Option<T> {
        let mut logic = self.logic.borrow_mut();
        let logic = logic.as_mut()?;
        logic.tick();
        let answer = what(logic);
        self.watch.borrow_mut().turn_ends(logic);
        self.bell.set();
        Some(answer)
    }

    fn conn(&self, id: ConnId) -> Option<Rc<Conn>> {
        self.conns.borrow()[id as usize].clone()
    }
}

/// Moves `logic` until it has drained, and returns it. To be awaited on a glommio executor.
///
/// # Errors
/// When there is no descriptor left for the mailbox.
pub async fn drive<L: Logic + 'static>(logic: L, edges: Edges<L>) -> io::Result<L> {
    let Edges { listeners, mailbox, mut requests, hosted: _, bounds } = edges;
    let shared = Rc::new(Shared {
        logic: RefCell::new(Some(logic)),
        conns: RefCell::new((0..bounds.connections_max).map(|_| None).collect()),
        peers: RefCell::default(),
        bell: Signal::default(),
        draining: Cell::new(false),
        buffer_bytes: bounds.buffers.bytes as usize,
        watch: RefCell::new(Watch::new()),
    });
    let bell = adopt::stream(mailbox.try_clone_reader()?);
    let mail = glommio::spawn_local(read_mail(shared.clone(), mailbox, bell));
    let mut doors: Vec<_> = listeners
        .into_iter()
        .map(|Listener { socket, protocol }| {
            glommio::spawn_local(accept(shared.clone(), adopt::listener(socket), protocol))
        })
        .collect();
    let files: Rc<Files> = Rc::default();
    loop {
        let (more, deadline_ns) = pump(&shared, &files, &mut requests);
        if shared.draining.get() {
            for door in doors.drain(..) {
                door.cancel().await;
            }
            let drained = shared.logic.borrow_mut().as_mut().is_none_or(L::is_drained);
            if drained {
                break;
            }
        }
        if more {
            glommio::executor().yield_now().await;
            continue;
        }
        let time = async {
            match deadline_ns.map(|at_ns| at_ns.saturating_sub(MonotonicClock.now_ns())) {
                Some(left_ns) => glommio::timer::sleep(Duration::from_nanos(left_ns)).await,
                None => future::pending().await,
            }
        };
        future::or(shared.bell.wait(), time).await;
    }
    mail.cancel().await;
    files.close().await;
    let mut logic = shared.logic.take().expect("only this takes it");
    peers::end(&shared).await;
    while let Some(request) = logic.next_request() {
        requests(request);
    }
    Ok(logic)
}

/// Takes everything that is to be done and hands it on. Whether the logic wants another turn soon, and when it
/// wants one at the latest.
fn pump<L: Logic + 'static>(
    shared: &Rc<Shared<L>>,
    files: &Rc<Files>,
    requests: &mut dyn FnMut(L::Request),
) -> (bool, Option<u64>) {
    let mut logic = shared.logic.borrow_mut();
    let Some(logic) = logic.as_mut() else { return (false, None) };
    logic.tick();
    let more = logic.run();
    loop {
        let mut idle = true;
        while let Some(id) = logic.next_unnamed() {
            let peer =
                shared.conn(id).and_then(|conn| socket2::SockRef::from(&conn.control).peer_addr().ok());
            if let Some(peer) = peer.and_then(|peer| peer.as_socket()) {
                logic.name(id, peer);
            }
        }
        while let Some((id, action)) = logic.next_action() {
            idle = false;
            let Some(conn) = shared.conn(id) else { continue };
            match action {
                Action::PauseReading => conn.paused.set(true),
                Action::ResumeReading => {
                    conn.paused.set(false);
                    conn.read.set();
                }
                Action::EndWriting => conn.shut_down(Shutdown::Write),
                Action::Close => {
                    conn.closing.set(true);
                    conn.shut_down(Shutdown::Both);
                    conn.read.set();
                    conn.write.set();
                }
            }
        }
        while let Some(io) = logic.next_io() {
            let job = Job {
                slot: io.slot,
                file: io.file,
                offset: io.offset,
                bytes: io.bytes.to_vec(),
                sync: io.sync,
            };
            glommio::spawn_local(commit(shared.clone(), files.clone(), job)).detach();
        }
        idle &= !peers::serve(shared, logic);
        while let Some(request) = logic.next_request() {
            requests(request);
        }
        while let Some((id, bytes)) = logic.next_send() {
            idle = false;
            if let Some(conn) = shared.conn(id) {
                let mut out = conn.out.borrow_mut();
                debug_assert!(out.is_empty(), "connection {id} has a send in flight");
                out.extend_from_slice(bytes);
                conn.write.set();
            }
        }
        if idle {
            shared.watch.borrow_mut().turn_ends(logic);
            return (more, logic.deadline_ns());
        }
    }
}

async fn read_mail<L: Logic + 'static>(shared: Rc<Shared<L>>, mailbox: Mailbox<L>, mut bell: TcpStream) {
    loop {
        match bell.read(&mut [0; 64]).await {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
        }
        mailbox.hush();
        while let Some(message) = mailbox.take() {
            shared.tell(|logic| match message {
                Message::Mail(mail) => logic.mail(mail),
                Message::Ask(ask) => ask(logic),
                Message::Drain => {
                    shared.draining.set(true);
                    logic.drain();
                }
            });
        }
        while let Some(handed) = mailbox.take_handed() {
            take_over(&shared, handed);
        }
    }
}

/// Serves what another shard accepted.
fn take_over<L: Logic + 'static>(shared: &Rc<Shared<L>>, handed: Handed) {
    let Ok(control) = handed.socket.try_clone() else {
        shared.tell(|logic| logic.adopt_failed(handed));
        return;
    };
    if let Some((id, socket)) = shared.tell(|logic| logic.adopt(handed)).flatten() {
        begin(shared, id, adopt::stream(socket), control);
    }
}

/// A connection that the logic took.
fn begin<L: Logic + 'static>(shared: &Rc<Shared<L>>, id: ConnId, stream: TcpStream, control: OwnedFd) {
    let conn = Rc::new(Conn {
        control,
        paused: Cell::new(false),
        closing: Cell::new(false),
        out: RefCell::default(),
        read: Signal::default(),
        write: Signal::default(),
    });
    shared.conns.borrow_mut()[id as usize] = Some(conn.clone());
    glommio::spawn_local(serve(shared.clone(), conn, id, stream)).detach();
}

async fn accept<L: Logic + 'static>(shared: Rc<Shared<L>>, listener: TcpListener, protocol: Protocol) {
    loop {
        let accepted = listener.accept().await.map_err(|error| error_number(&error));
        let opened = match accepted {
            Ok(stream) => adopt::duplicate(&stream)
                .map(|control| (stream, control))
                .map_err(|error| error.raw_os_error().unwrap_or(libc::EMFILE)),
            Err(code) => Err(code),
        };
        match opened {
            Ok((stream, control)) => {
                // A stream that another shard is to have, or that there is no slot for, ends here: its descriptor is
                // dropped. Whoever got the other one has the connection.
                let opened = shared.tell(|logic| {
                    let control = logic.pass_on(protocol, control)?;
                    Some((logic.open(protocol)?, control))
                });
                if let Some((id, control)) = opened.flatten() {
                    begin(&shared, id, stream, control);
                }
            }
            Err(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                shared.tell(L::accept_failed);
                glommio::timer::sleep(ACCEPT_REST).await;
            }
            // The connection went before it was taken. The pause keeps an error that stays from spinning.
            Err(_) => glommio::timer::sleep(Duration::from_millis(1)).await,
        }
    }
}

/// One connection from its first byte to its release.
async fn serve<L: Logic>(shared: Rc<Shared<L>>, conn: Rc<Conn>, id: ConnId, stream: TcpStream) {
    let (mut from, mut to) = futures_lite::io::split(stream);
    let reading = async {
        let mut buffer = vec![0; shared.buffer_bytes];
        loop {
            let result = from.read(&mut buffer).await;
            // A pause may have come while this read was under way.
            while conn.paused.get() && !conn.closing.get() {
                conn.read.wait().await;
            }
            if conn.closing.get() {
                return;
            }
            match result {
                Ok(0) => {
                    shared.tell(|logic| logic.receive_end(id));
                    return;
                }
                Ok(len) => {
                    shared.tell(|logic| logic.receive(id, &mut buffer[..len]));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    shared.tell(|logic| logic.fail(id));
                    return;
                }
            }
            // The pump says whether to pause before more is read.
            glommio::executor().yield_now().await;
        }
    };
    let writing = async {
        loop {
            conn.write.wait().await;
            if conn.closing.get() {
                return;
            }
            let bytes = conn.out.take();
            if bytes.is_empty() {
                continue;
            }
            let result = to.write_all(&bytes).await;
            if conn.closing.get() {
                return;
            }
            let len = bytes.len();
            // The allocation goes back to be used again.
            *conn.out.borrow_mut() = bytes;
            conn.out.borrow_mut().clear();
            match result {
                Ok(()) => shared.tell(|logic| logic.sent(id, len)),
                Err(_) => shared.tell(|logic| logic.fail(id)),
            };
        }
    };
    future::zip(reading, writing).await;
    drop((from, to));
    shared.conns.borrow_mut()[id as usize] = None;
    drop(conn);
    shared.tell(|logic| logic.released(id));
}

/// A commit on its way to a file.
struct Job {
    slot: u8,
    file: i32,
    offset: u64,
    bytes: Vec<u8>,
    sync: bool,
}

/// A file opened a second time, for glommio.
struct Reopened {
    /// Device and inode, because a descriptor's number is used again.
    identity: (u64, u64),
    file: Rc<DmaFile>,
}

/// The newest file of each slot.
#[derive(Default)]
struct Files {
    open: RefCell<[Option<Reopened>; 2]>,
}

impl Files {
    async fn get(&self, slot: u8, file: i32) -> Result<Rc<DmaFile>, i32> {
        let path = format!("/proc/self/fd/{file}");
        let of = std::fs::metadata(&path).map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))?;
        let identity = (of.dev(), of.ino());
        if let Some(known) = &self.open.borrow()[slot as usize]
            && known.identity == identity
        {
            return Ok(known.file.clone());
        }
        let file =
            OpenOptions::new().write(true).dma_open(&path).await.map_err(|error| error_number(&error))?;
        let file = Rc::new(file);
        let before = self.open.borrow_mut()[slot as usize].replace(Reopened { identity, file: file.clone() });
        if let Some(before) = before {
            let _ = before.file.close_rc().await;
        }
        Ok(file)
    }

    async fn close(&self) {
        for known in self.open.take().into_iter().flatten() {
            let _ = known.file.close_rc().await;
        }
    }
}

async fn commit<L: Logic>(shared: Rc<Shared<L>>, files: Rc<Files>, job: Job) {
    let file = files.get(job.slot, job.file).await;
    let written = match &file {
        Ok(file) => {
            let mut buffer = file.alloc_dma_buffer(job.bytes.len());
            buffer.as_bytes_mut()[..job.bytes.len()].copy_from_slice(&job.bytes);
            file.write_at(buffer, job.offset).await.map_err(|error| error_number(&error))
        }
        Err(code) => Err(*code),
    };
    shared.tell(|logic| logic.io_done(job.slot, IoStep::Write, written));
    if job.sync {
        let synced = match &file {
            Ok(file) if written == Ok(job.bytes.len()) => {
                file.fdatasync().await.map(|()| 0).map_err(|error| error_number(&error))
            }
            _ => Err(libc::ECANCELED),
        };
        shared.tell(|logic| logic.io_done(job.slot, IoStep::Sync, synced));
    }
}

/// The kernel's error number within; `EIO` where there is none.
fn error_number(error: &GlommioError<()>) -> i32 {
    let source = match error {
        GlommioError::IoError(source) | GlommioError::EnhancedIoError { source, .. } => source.raw_os_error(),
        _ => None,
    };
    source.unwrap_or(libc::EIO)
}
