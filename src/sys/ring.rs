//! A submission and completion ring of our own, cut down to what a shard does, and a thread of `ringmill load`.
//!
//! Everything here is safe to call. The kernel writes only to the provided buffers, which the ring owns and
//! whose ownership it tracks one by one, and to those of peers, likewise. It reads the bytes given to
//! [`Ring::send`], [`Ring::peer_send`] and [`Ring::write`] until their completion was reaped: a caller that moves
//! or changes them before sends wrong bytes, so do not; but nothing of ours is written to.
//!
//! ```text
//! accept/receive/send/write/timer ──▶ submission queue ──▶ enter ──▶ kernel
//!                                                                      │
//! bytes(buffer) ◀── Completion ◀── reap ◀── completion queue ◀─────────┘
//!       └──▶ give_back ──▶ publish: the kernel may fill it again
//! ```

mod peers;
mod provided;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::{asked, limits};
use peers::Place;
pub use peers::{PARTS_MAX, PEER_BUFFER_BYTES};
pub use provided::Buffers;
use provided::Provided;

/// Entries of the completion queue. Past it the kernel keeps completions aside and loses none, but slowly; 8192
/// holds a full wake of 2,000 connections with multishot receives in a burst.
pub const COMPLETIONS: u32 = 8192;

/// Entries of the submission queue: one send and one cancel for each of 1,000 connections without an extra call.
pub const SUBMISSIONS: u32 = 2048;

/// Group of the provided buffers that every receive may take.
const ORDINARY: u16 = 0;
/// Group of the large ones.
const LARGE: u16 = 1;

/// Bits of a key; the rest of the user data names the operation.
const KEY_BITS: u32 = 56;

/// Largest key that an operation can carry.
pub const KEY_MAX: u64 = (1 << KEY_BITS) - 1;

/// What an operation was; together with its key it names one in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Multishot accept.
    Accept = 1,
    /// Multishot receive into provided buffers.
    Receive = 2,
    /// Send.
    Send = 3,
    /// Write to a file.
    Write = 4,
    /// fdatasync after a write.
    Sync = 5,
    /// Multishot readiness to read.
    Readable = 6,
    /// The one timer.
    Timer = 7,
    /// A cancellation or a change of the timer: of no interest once done.
    Control = 8,
    /// Readiness to write, once.
    Writable = 9,
    /// Receive of a peer, into the buffer of its slot.
    PeerReceive = 10,
    /// Send to a peer, gathered.
    PeerSend = 11,
}

impl Kind {
    fn tag(self, key: u64) -> u64 {
        debug_assert!(key <= KEY_MAX);
        (self as u64) << KEY_BITS | key
    }

    fn of(user_data: u64) -> Kind {
        match user_data >> KEY_BITS {
            1 => Kind::Accept,
            2 => Kind::Receive,
            3 => Kind::Send,
            4 => Kind::Write,
            5 => Kind::Sync,
            6 => Kind::Readable,
            7 => Kind::Timer,
            9 => Kind::Writable,
            10 => Kind::PeerReceive,
            11 => Kind::PeerSend,
            _ => Kind::Control,
        }
    }
}

/// One completion. Not to be copied, because an accepted socket or a filled buffer belongs to it.
#[derive(Debug)]
pub struct Completion {
    user_data: u64,
    result: i32,
    flags: u32,
}

impl Completion {
    /// Which operation.
    pub fn kind(&self) -> Kind {
        Kind::of(self.user_data)
    }

    /// The key that the operation was given.
    pub fn key(&self) -> u64 {
        self.user_data & KEY_MAX
    }

    /// Whether a multishot operation goes on.
    pub fn more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// Bytes moved.
    ///
    /// # Errors
    /// The error number, positive.
    pub fn result(&self) -> Result<usize, i32> {
        usize::try_from(self.result).map_err(|_| -self.result)
    }

    /// The provided buffer that a receive filled. It stays ours until [`Ring::give_back`].
    pub fn buffer(&self) -> Option<u16> {
        if self.kind() == Kind::Receive { cqueue::buffer_select(self.flags) } else { None }
    }

    /// The socket that an accept brought.
    ///
    /// # Errors
    /// The error number, positive.
    ///
    /// # Panics
    /// For a completion of another kind.
    pub fn into_socket(self) -> Result<OwnedFd, i32> {
        assert_eq!(self.kind(), Kind::Accept);
        if self.result < 0 {
            return Err(-self.result);
        }
        // SAFETY: the kernel just opened this descriptor for this completion, which is consumed here and
        // exists once: `reap` makes it, and it is neither `Clone` nor constructible elsewhere.
        Ok(unsafe { OwnedFd::from_raw_fd(self.result) })
    }
}

/// Whether to sleep in [`Ring::enter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until there is a completion.
    Block,
    /// Not at all: submit, let finished work post its completions, return.
    Look,
}

/// See the module. Belongs to the thread that made it.
pub struct Ring {
    /// Before the buffers, so that it is closed first.
    ring: IoUring,
    provided: std::mem::ManuallyDrop<Provided>,
    /// Likewise, if there are any.
    large: std::mem::ManuallyDrop<Option<Provided>>,
    /// Completions taken early because the kernel would accept no submission before.
    backlog: Vec<Completion>,
    /// Operations whose last completion was not reaped yet.
    outstanding: u64,
    /// When the armed timer fires, in nanoseconds of the monotonic clock.
    timer_ns: Option<u64>,
    /// Where the kernel reads the time from, at submission.
    timer: Box<types::Timespec>,
    /// An error of the ring itself, told by the next `enter`.
    broken: Option<io::Error>,
    /// The kernel marks in shared memory that it has work for the next `enter`.
    marked: bool,
    /// Of outgoing connections, by slot. Boxed, because the kernel knows where they are while this grows.
    #[allow(clippy::vec_box)]
    places: std::mem::ManuallyDrop<Vec<Box<Place>>>,
}

impl Ring {
    /// A ring of the calling thread with `buffers` provided to it, all resident.
    ///
    /// # Errors
    /// What the kernel says; [`uring_support`] says it in words.
    pub fn new(buffers: Buffers) -> io::Result<Ring> {
        Ring::with_queues(buffers, SUBMISSIONS, COMPLETIONS, false)
    }

    /// The same for a thread that spins: [`Ring::has_work`] tells without a system call whether to enter.
    ///
    /// # Errors
    /// As [`Ring::new`].
    pub fn spinning(buffers: Buffers) -> io::Result<Ring> {
        Ring::with_queues(buffers, SUBMISSIONS, COMPLETIONS, true)
    }

    fn with_queues(buffers: Buffers, submissions: u32, completions: u32, marked: bool) -> io::Result<Ring> {
        let mut builder = IoUring::builder();
        builder
            .setup_cqsize(completions)
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .dontfork();
        if marked {
            builder.setup_taskrun_flag();
        }
        let ring = builder.build(submissions)?;
        let provided = Provided::register(&ring, buffers, ORDINARY, 0)?;
        Ok(Ring {
            ring,
            provided: std::mem::ManuallyDrop::new(provided),
            large: std::mem::ManuallyDrop::new(None),
            backlog: Vec::new(),
            outstanding: 0,
            timer_ns: None,
            timer: Box::default(),
            broken: None,
            marked,
            places: Default::default(),
        })
    }

    /// Adds the large buffers that go with the ordinary ones, as [`Buffers::large`] says, all resident. Once, at start.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn provide_large(&mut self) -> io::Result<()> {
        assert!(self.large.is_none(), "large buffers are provided once");
        let ordinary = self.provided.shape();
        if let Some(large) = ordinary.large() {
            *self.large = Some(Provided::register(&self.ring, large, LARGE, ordinary.count)?);
        }
        Ok(())
    }

    /// Accepts connections until cancelled or failed; each completion brings one.
    pub fn accept(&mut self, listener: BorrowedFd<'_>, key: u64) {
        let entry = opcode::AcceptMulti::new(fd(listener)).flags(libc::SOCK_CLOEXEC).build();
        self.push(entry.user_data(Kind::Accept.tag(key)));
    }

    /// Receives into provided buffers until the peer ends, the buffers run out (`ENOBUFS`) or it is cancelled.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, key: u64) {
        let entry = opcode::RecvMulti::new(fd(socket), ORDINARY).build();
        self.push(entry.user_data(Kind::Receive.tag(key)));
    }

    /// The same into large buffers; without [`Ring::provide_large`] into ordinary ones.
    pub fn receive_large(&mut self, socket: BorrowedFd<'_>, key: u64) {
        let group = if self.large.is_some() { LARGE } else { ORDINARY };
        let entry = opcode::RecvMulti::new(fd(socket), group).build();
        self.push(entry.user_data(Kind::Receive.tag(key)));
    }

    /// Sends all of `bytes`, which stay where they are until the completion was reaped.
    pub fn send(&mut self, socket: BorrowedFd<'_>, bytes: &[u8], key: u64) {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(fd(socket), bytes.as_ptr(), len)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build();
        self.push(entry.user_data(Kind::Send.tag(key)));
    }

    /// Writes `bytes`, which stay where they are until the completion was reaped; with `sync`, fdatasync follows
    /// if all of them were written, and is reported as cancelled (`ECANCELED`) if not.
    pub fn write(&mut self, file: RawFd, offset: u64, bytes: &[u8], sync: bool, key: u64) {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let write = opcode::Write::new(types::Fd(file), bytes.as_ptr(), len)
            .offset(offset)
            .build()
            .user_data(Kind::Write.tag(key));
        if !sync {
            return self.push(write);
        }
        let sync = opcode::Fsync::new(types::Fd(file)).flags(types::FsyncFlags::DATASYNC).build();
        self.push_all(&[write.flags(squeue::Flags::IO_LINK), sync.user_data(Kind::Sync.tag(key))]);
    }

    /// Completes each time that there is something to read.
    pub fn readable(&mut self, socket: BorrowedFd<'_>, key: u64) {
        let entry = opcode::PollAdd::new(fd(socket), libc::POLLIN as u32).multi(true).build();
        self.push(entry.user_data(Kind::Readable.tag(key)));
    }

    /// Completes once, when the socket takes bytes, is connected, or has failed.
    pub fn writable(&mut self, socket: BorrowedFd<'_>, key: u64) {
        let entry = opcode::PollAdd::new(fd(socket), libc::POLLOUT as u32).build();
        self.push(entry.user_data(Kind::Writable.tag(key)));
    }

    /// Ends the operation of that kind and key, if there still is one; its last completion comes all the same.
    pub fn cancel(&mut self, kind: Kind, key: u64) {
        let entry = opcode::AsyncCancel::new(kind.tag(key)).build();
        self.push(entry.user_data(Kind::Control.tag(0)));
    }

    /// Sees to it that a [`Kind::Timer`] completion comes no later than `at_ns` of the monotonic clock.
    ///
    /// It may come earlier: a timer that was armed for an earlier moment is left as it is. So a deadline that
    /// only ever moves back costs one timer per span, not one per wake, and no wait needs a timeout.
    pub fn timer_until(&mut self, at_ns: u64) {
        if self.timer_ns.is_some_and(|armed| armed <= at_ns) {
            return;
        }
        // Setting an already queued, unsubmitted timer's time as well is harmless: the new one is earlier.
        *self.timer = types::Timespec::new().sec(at_ns / 1_000_000_000).nsec((at_ns % 1_000_000_000) as u32);
        let place: *const types::Timespec = &*self.timer;
        let entry = match self.timer_ns {
            None => opcode::Timeout::new(place)
                .flags(types::TimeoutFlags::ABS)
                .build()
                .user_data(Kind::Timer.tag(0)),
            // If it fired in the meantime this finds nothing, and its completion is there to be reaped.
            Some(_) => opcode::TimeoutUpdate::new(Kind::Timer.tag(0), place)
                .flags(types::TimeoutFlags::ABS)
                .build()
                .user_data(Kind::Control.tag(0)),
        };
        self.timer_ns = Some(at_ns);
        self.push(entry);
    }

    /// Submits what was queued and lets the kernel post completions; sleeps only if asked to and none is there.
    ///
    /// # Errors
    /// An error of the ring itself, after which it is of no use. Interruption and a full completion queue are
    /// none.
    pub fn enter(&mut self, wait: Wait) -> io::Result<()> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        let want = (wait == Wait::Block && self.backlog.is_empty()) as u32;
        match self.enter_once(want) {
            Err(error) if !passes(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether an `enter` or a `reap` would do anything: something is queued, or has ended. Always true for a ring
    /// that was not made by [`Ring::spinning`], because it cannot tell.
    pub fn has_work(&mut self) -> bool {
        if !self.marked || self.broken.is_some() || !self.backlog.is_empty() {
            return true;
        }
        let queue = self.ring.submission();
        if queue.taskrun() || queue.cq_overflow() || !queue.is_empty() {
            return true;
        }
        drop(queue);
        !self.ring.completion().is_empty()
    }

    /// Moves completions to `into`, as many as its capacity holds; the rest stays for the next call.
    pub fn reap(&mut self, into: &mut Vec<Completion>) {
        let backlog = self.backlog.len().min(into.capacity() - into.len());
        into.extend(self.backlog.drain(..backlog));
        self.take_completions(into);
    }

    /// The first `len` bytes of a buffer that a completion brought.
    ///
    /// # Panics
    /// When the buffer is the kernel's at the moment, or shorter than `len`.
    pub fn bytes(&mut self, buffer: u16, len: usize) -> &mut [u8] {
        self.group_of(buffer).bytes(buffer, len)
    }

    /// Returns a buffer; the kernel sees it from the next [`Ring::publish`] on.
    ///
    /// # Panics
    /// When it is not ours.
    pub fn give_back(&mut self, buffer: u16) {
        self.group_of(buffer).put(buffer);
    }

    /// Shows the kernel the buffers given back since the last time.
    pub fn publish(&self) {
        self.provided.publish();
        if let Some(large) = &*self.large {
            large.publish();
        }
    }

    /// Ordinary provided buffers that the kernel can fill.
    pub fn buffers_free(&self) -> u16 {
        self.provided.free()
    }

    /// Whether `len` bytes are all that an ordinary buffer holds, and there are larger ones.
    pub fn outgrows(&self, len: usize) -> bool {
        self.large.is_some() && len >= self.provided.shape().bytes as usize
    }

    #[inline]
    fn group_of(&mut self, buffer: u16) -> &mut Provided {
        match &mut *self.large {
            Some(large) if large.holds(buffer) => large,
            _ => &mut self.provided,
        }
    }

    /// Operations that were submitted and have not ended.
    pub fn outstanding(&self) -> u64 {
        self.outstanding
    }

    fn push(&mut self, entry: squeue::Entry) {
        self.push_all(std::slice::from_ref(&entry));
    }

    /// All in one submission, as a chain must be.
    fn push_all(&mut self, entries: &[squeue::Entry]) {
        self.outstanding += entries.len() as u64;
        loop {
            // SAFETY: what the entries point to is either owned by the ring (buffers, the timer's time) or
            // only read by the kernel; see the module.
            if unsafe { self.ring.submission().push_multiple(entries) }.is_ok() {
                entries.iter().for_each(|entry| asked::submission(Kind::of(entry.get_user_data())));
                return;
            }
            if let Err(error) = self.enter_once(0) {
                if !passes(&error) {
                    self.outstanding -= entries.len() as u64;
                    self.broken.get_or_insert(error);
                    return;
                }
                // The kernel holds completions that did not fit: make room, then it takes submissions again.
                let mut backlog = std::mem::take(&mut self.backlog);
                backlog.reserve(COMPLETIONS as usize);
                self.take_completions(&mut backlog);
                self.backlog = backlog;
            }
        }
    }

    fn enter_once(&mut self, want: u32) -> io::Result<usize> {
        const GET_EVENTS: u32 = 1;
        asked::call();
        let queued = self.ring.submission().len() as u32;
        // SAFETY: no argument is passed. Deferred work runs only in a call that asks for events, so always
        // ask.
        unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued, want, GET_EVENTS, None) }
    }

    fn take_completions(&mut self, into: &mut Vec<Completion>) {
        let mut room = into.capacity() - into.len();
        let mut queue = self.ring.completion();
        while room > 0 {
            let Some(entry) = queue.next() else { break };
            let completion =
                Completion { user_data: entry.user_data(), result: entry.result(), flags: entry.flags() };
            if !completion.more() {
                self.outstanding -= 1;
                if completion.kind() == Kind::Timer {
                    self.timer_ns = None;
                }
            }
            match completion.kind() {
                Kind::Control => continue,
                Kind::PeerReceive | Kind::PeerSend => Place::ended(&mut self.places, &completion),
                Kind::Receive => {
                    if let Some(buffer) = completion.buffer() {
                        match &mut *self.large {
                            Some(large) if large.holds(buffer) => large.take(buffer),
                            _ => self.provided.take(buffer),
                        }
                    }
                }
                _ => {}
            }
            into.push(completion);
            room -= 1;
        }
    }
}

impl Drop for Ring {
    /// Ends every operation and waits for it, so that nothing reads or writes memory that is gone.
    fn drop(&mut self) {
        let mut ended = Vec::with_capacity(COMPLETIONS as usize);
        for round in 0.. {
            self.reap(&mut ended);
            for completion in ended.drain(..) {
                if completion.kind() == Kind::Accept {
                    drop(completion.into_socket());
                }
            }
            if self.outstanding == 0 {
                break;
            }
            // Only file operations resist, and they end by themselves; a device that hangs for 10 s is left
            // with the memory that it may still use.
            if round > 10_000 || self.broken.is_some() {
                return;
            }
            if round > 8 {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            let all = opcode::AsyncCancel2::new(types::CancelBuilder::any()).build();
            self.push(all.user_data(Kind::Control.tag(0)));
            if self.enter(Wait::Look).is_err() {
                return;
            }
        }
        let _ = self.ring.submitter().unregister_buf_ring(ORDINARY);
        if self.large.is_some() {
            let _ = self.ring.submitter().unregister_buf_ring(LARGE);
        }
        // SAFETY: dropped once, here, and not used afterwards.
        unsafe { std::mem::ManuallyDrop::drop(&mut self.provided) };
        // SAFETY: as above.
        unsafe { std::mem::ManuallyDrop::drop(&mut self.large) };
        // SAFETY: as above.
        unsafe { std::mem::ManuallyDrop::drop(&mut self.places) };
    }
}

fn fd(of: BorrowedFd<'_>) -> types::Fd {
    types::Fd(of.as_raw_fd())
}

/// Whether the call may simply be repeated.
fn passes(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN | libc::ETIME))
}

/// Whether this process may have a ring with everything that [`Ring`] uses; if not, why, and what to do.
///
/// # Errors
/// A sentence for the operator.
pub fn uring_support() -> Result<(), String> {
    let mut ring = Ring::with_queues(Buffers { count: 8, bytes: 4096 }, 8, 16, false)
        .map_err(|error| explain(&error))?;
    let mut probe = io_uring::Probe::new();
    ring.ring.submitter().register_probe(&mut probe).map_err(|error| explain(&error))?;
    let needed = [
        ("accept", opcode::Accept::CODE),
        ("receive", opcode::RecvMulti::CODE),
        ("send", opcode::Send::CODE),
        ("gathered send", opcode::SendMsg::CODE),
        ("write", opcode::Write::CODE),
        ("fsync", opcode::Fsync::CODE),
        ("poll", opcode::PollAdd::CODE),
        ("cancel", opcode::AsyncCancel::CODE),
        ("timeout", opcode::Timeout::CODE),
        ("timeout update", opcode::TimeoutUpdate::CODE),
    ];
    for (name, code) in needed {
        if !probe.is_supported(code) {
            return Err(format!("the kernel's io_uring cannot {name}; Linux 6.1 or later is needed"));
        }
    }
    // A filter may let a ring be made and refuse its use.
    ring.enter(Wait::Look).map_err(|error| explain(&error))
}

fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EINVAL) => {
            "this kernel's io_uring lacks deferred task run or provided buffer rings: Linux 6.1 or later is \
             needed"
                .into()
        }
        errno => limits::uring_denied(errno.unwrap_or(0), &limits::uring_sysctl(Path::new("/"))),
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
