//! The floor: what the kernel's sockets cost through io_uring when nothing is done with the bytes.
//!
//! Multishot accept and receive, provided buffers, one send for each connection and wake. Requests are framed and
//! counted, bodies are not looked at. One thread, one ring.
//!
//! `--buffer-bytes N` (16384): size of a provided buffer.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use ringmill_yardstick::{ACCEPTED, Frame, Options, frame};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const BUFFERS: u16 = 1024;
const GROUP: u16 = 0;
/// Replies that one send may carry.
const REPLIES_MAX: usize = 512;

const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1 << 32;
const SEND: u64 = 2 << 32;
const SLOT: u64 = (1 << 32) - 1;

/// Buffers that the kernel fills, and the ring in which they are handed to it.
struct Provided {
    entries: *mut types::BufRingEntry,
    memory: *mut u8,
    bytes: usize,
    tail: u16,
}

impl Provided {
    fn new(ring: &IoUring, bytes: usize) -> io::Result<Provided> {
        let entries = map(usize::from(BUFFERS) * size_of::<types::BufRingEntry>())?.cast();
        let memory = map(usize::from(BUFFERS) * bytes)?;
        // SAFETY: the mapping is page-aligned, large enough for the entries, and lives as long as the process.
        unsafe { ring.submitter().register_buf_ring_with_flags(entries as u64, BUFFERS, GROUP, 0)? };
        let mut provided = Provided { entries, memory, bytes, tail: 0 };
        (0..BUFFERS).for_each(|buffer| provided.give_back(buffer));
        provided.publish();
        Ok(provided)
    }

    fn give_back(&mut self, buffer: u16) {
        // SAFETY: the index is below BUFFERS, and the kernel reads an entry only once the tail says so.
        unsafe {
            let entry = &mut *self.entries.add(usize::from(self.tail % BUFFERS));
            entry.set_addr(self.memory.add(usize::from(buffer) * self.bytes) as u64);
            entry.set_len(self.bytes as u32);
            entry.set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        // SAFETY: the tail lies within the mapping, is aligned, and the kernel only reads it.
        unsafe {
            let tail = types::BufRingEntry::tail(self.entries).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }

    /// What was received into a buffer that was not given back yet.
    fn bytes(&self, buffer: u16, len: usize) -> &'static [u8] {
        // SAFETY: the kernel filled `len` bytes of this buffer and leaves it alone until it is given back, which
        // the one caller does only after its last look.
        unsafe { std::slice::from_raw_parts(self.memory.add(usize::from(buffer) * self.bytes), len) }
    }
}

/// Zeroed resident memory, never given back.
fn map(bytes: usize) -> io::Result<*mut u8> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    // SAFETY: a fresh anonymous mapping touches no memory of ours.
    let at = unsafe { libc::mmap(ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at.cast()) }
}

struct Conn {
    socket: OwnedFd,
    /// The start of a request whose end is still to come.
    rest: Vec<u8>,
    owed: usize,
    receiving: bool,
    sending: bool,
    closing: bool,
}

struct Server {
    ring: IoUring,
    provided: Provided,
    listener: OwnedFd,
    conns: Vec<Option<Conn>>,
    free: Vec<usize>,
    /// Slots that owe replies since this wake.
    owing: Vec<usize>,
    replies: Vec<u8>,
}

fn main() -> io::Result<()> {
    let options = Options::parse(&["buffer-bytes"]);
    let listener = OwnedFd::from(options.listen()?);
    let ring = IoUring::builder()
        .setup_cqsize(8192)
        .setup_single_issuer()
        .setup_coop_taskrun()
        .setup_defer_taskrun()
        .build(2048)?;
    let provided = Provided::new(&ring, options.number("buffer-bytes", 16 << 10) as usize)?;
    let replies = ACCEPTED.repeat(REPLIES_MAX);
    let (conns, free, owing) = (Vec::new(), Vec::new(), Vec::new());
    Server { ring, provided, listener, conns, free, owing, replies }.run()
}

impl Server {
    fn run(mut self) -> io::Result<()> {
        self.accept()?;
        let mut wake = Vec::with_capacity(8192);
        loop {
            match self.ring.submit_and_wait(1) {
                Err(error) if !matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY)) => {
                    return Err(error);
                }
                _ => wake.extend(self.ring.completion()),
            }
            for completion in wake.drain(..) {
                self.completed(&completion)?;
            }
            self.provided.publish();
            let mut owing = std::mem::take(&mut self.owing);
            for slot in owing.drain(..) {
                self.send(slot)?;
            }
            self.owing = owing;
        }
    }

    fn completed(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        let (data, result) = (completion.user_data(), completion.result());
        let (slot, more) = ((data & SLOT) as usize, cqueue::more(completion.flags()));
        match data & !SLOT {
            ACCEPT => {
                if result >= 0 {
                    // SAFETY: the kernel has just opened this descriptor for us.
                    self.open(unsafe { OwnedFd::from_raw_fd(result) })?;
                }
                if more { Ok(()) } else { self.accept() }
            }
            RECEIVE => self.received(slot, result, cqueue::buffer_select(completion.flags()), more),
            _ => {
                let Some(conn) = &mut self.conns[slot] else { return Ok(()) };
                conn.sending = false;
                conn.closing |= result < 0;
                if conn.owed > 0 {
                    self.owing.push(slot);
                }
                self.close_if_done(slot);
                Ok(())
            }
        }
    }

    fn received(&mut self, slot: usize, result: i32, buffer: Option<u16>, more: bool) -> io::Result<()> {
        let Some(conn) = &mut self.conns[slot] else { return Ok(()) };
        conn.receiving = more;
        if let (Some(buffer), Ok(len)) = (buffer, usize::try_from(result)) {
            let bytes = self.provided.bytes(buffer, len);
            let owed_before = conn.owed;
            conn.take(bytes);
            self.provided.give_back(buffer);
            if conn.owed > owed_before && owed_before == 0 && !conn.sending {
                self.owing.push(slot);
            }
        }
        conn.closing |= result <= 0 && result != -libc::ENOBUFS;
        if conn.closing || conn.receiving {
            self.close_if_done(slot);
            return Ok(());
        }
        self.receive(slot)
    }

    fn open(&mut self, socket: OwnedFd) -> io::Result<()> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.conns.push(None);
            self.conns.len() - 1
        });
        let (rest, owed) = (Vec::new(), 0);
        self.conns[slot] =
            Some(Conn { socket, rest, owed, receiving: false, sending: false, closing: false });
        self.receive(slot)
    }

    /// Ends a connection once the kernel holds nothing of it any more, so that no late completion meets another
    /// connection in its slot.
    fn close_if_done(&mut self, slot: usize) {
        let Some(conn) = &self.conns[slot] else { return };
        if !conn.closing || conn.sending {
            return;
        }
        if conn.receiving {
            // SAFETY: a plain call on a descriptor that we own; the pending receive ends by it.
            unsafe { libc::shutdown(conn.socket.as_raw_fd(), libc::SHUT_RDWR) };
        } else {
            self.conns[slot] = None;
            self.free.push(slot);
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        let listener = types::Fd(self.listener.as_raw_fd());
        self.push(&opcode::AcceptMulti::new(listener).build().user_data(ACCEPT))
    }

    fn receive(&mut self, slot: usize) -> io::Result<()> {
        let Some(conn) = &mut self.conns[slot] else { return Ok(()) };
        conn.receiving = true;
        let socket = types::Fd(conn.socket.as_raw_fd());
        self.push(&opcode::RecvMulti::new(socket, GROUP).build().user_data(RECEIVE | slot as u64))
    }

    fn send(&mut self, slot: usize) -> io::Result<()> {
        let Some(conn) = &mut self.conns[slot] else { return Ok(()) };
        if conn.sending || conn.closing || conn.owed == 0 {
            return Ok(());
        }
        let replies = conn.owed.min(REPLIES_MAX);
        (conn.owed, conn.sending) = (conn.owed - replies, true);
        let (socket, len) = (types::Fd(conn.socket.as_raw_fd()), replies * ACCEPTED.len());
        let send = opcode::Send::new(socket, self.replies.as_ptr(), len as u32)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build();
        self.push(&send.user_data(SEND | slot as u64))
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: what the entries point to, descriptors, buffers and replies, outlives their completions.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }
}

impl Conn {
    /// Counts the requests that are whole with these bytes and keeps what is left.
    fn take(&mut self, bytes: &[u8]) {
        if self.rest.is_empty() {
            let used = self.count(bytes);
            self.rest.extend_from_slice(&bytes[used..]);
        } else {
            self.rest.extend_from_slice(bytes);
            let rest = std::mem::take(&mut self.rest);
            let used = self.count(&rest);
            self.rest = rest;
            self.rest.drain(..used);
        }
    }

    /// Bytes of whole requests at the front.
    fn count(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            match frame(&bytes[at..]) {
                Frame::Request { head, body, .. } => {
                    at += head + body;
                    self.owed += 1;
                }
                Frame::Partial => break,
                Frame::Bad => {
                    self.closing = true;
                    break;
                }
            }
        }
        at
    }
}
