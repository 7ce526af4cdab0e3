//! One connection to the target without a socket: a request into bytes that go, an answer out of bytes that came.
//!
//! One request is on a connection at a time. Its body is sent from where it lies in the commit; compressed bodies,
//! and the rest of one that was taken in part, are put together in a buffer of the connection. An answer that says
//! "taken" before all of the request has left is kept back until it has: whoever believed it might touch bytes that
//! the kernel still reads. One that says "no" ends the sending, and the connection with it.

use super::encode::Encoder;
use crate::core::batch::Batch;
use crate::core::load::reply::Replies;
use crate::core::memory::Memory;
use crate::core::sink::http::answer::Listener;
use crate::core::sink::http::{HttpSink, LaneId, Piece, Trouble};
use crate::shard::driver::peer::{PeerId, PeerSend};
use crate::tls::{Session, TlsError};

/// So much is encrypted at once.
pub const TLS_BYTES: usize = 256 << 10;
/// Longest answer, beside its verdicts.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// What one verdict of an answer may take: targets name indices and reasons.
const VERDICT_BYTES_MAX: u64 = 4 << 10;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No connection: the place is free.
    Free,
    /// On its way.
    Dialing,
    /// In the TLS handshake.
    Tls,
    /// Takes requests.
    Up,
    /// Given up, until the driver lets go of it.
    Leaving,
}

/// Where the body of the request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// In the commit, as this parcel.
    Commit(usize),
    /// In the connection's own buffer.
    Own,
}

/// The request that has no answer.
#[derive(Clone, Copy, Debug)]
struct Request {
    body: Body,
    /// Bytes of head and body, and of those that have left (with TLS: were encrypted).
    bytes: usize,
    gone: usize,
    /// Some were given to the kernel.
    begun: bool,
    /// Bytes of the answer so far.
    answer_bytes: u64,
    answer_max: u64,
}

/// An answer that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub status: u16,
    /// Nothing but the answer came, all of the request has left, and the target keeps the connection.
    pub reusable: bool,
}

/// The request on its way: its head, its body where that is not in the commit, and how far it is.
struct Outgoing {
    head: Vec<u8>,
    own: Vec<u8>,
    request: Option<Request>,
}

impl Outgoing {
    /// Shows the bytes that have not left, piece by piece, as long as `show` says so.
    fn show<'a, M: Memory>(
        &'a self,
        sink: &'a HttpSink,
        batch: Option<&'a Batch<M>>,
        mut show: impl FnMut(&'a [u8]) -> bool,
    ) {
        let Some(request) = &self.request else { return };
        let mut skip = request.gone;
        let mut piece = |bytes: &'a [u8]| {
            let skipped = skip.min(bytes.len());
            skip -= skipped;
            skipped == bytes.len() || show(&bytes[skipped..])
        };
        if !piece(&self.head) {
            return;
        }
        match (request.body, batch) {
            (Body::Own, _) => {
                piece(&self.own);
            }
            (Body::Commit(parcel), Some(batch)) => {
                // Short-circuits at the first piece that finds no room.
                let _ = sink.pieces(parcel).iter().all(|range| piece(batch.bytes(range.bytes())));
            }
            (Body::Commit(_), None) => debug_assert!(false, "a parcel without its commit"),
        }
    }

    /// So many more bytes have left.
    fn go(&mut self, bytes: usize) {
        if let Some(request) = &mut self.request {
            request.gone += bytes;
            debug_assert!(request.gone <= request.bytes);
        }
    }

    fn is_in_commit(&self) -> bool {
        self.request.is_some_and(|request| matches!(request.body, Body::Commit(_)))
    }
}

/// See the module. Its memory is kept from one connection to the next.
pub(super) struct Link {
    pub stage: Stage,
    /// Which of the sink's connections it is.
    pub lane: LaneId,
    pub tls: Option<Box<Session>>,
    pub listener: Listener,
    replies: Replies,
    out: Outgoing,
    /// "Taken", before the request had left.
    held: Option<Heard>,
    /// Plain bytes that came through TLS.
    inbox: Vec<u8>,
    /// Encrypted bytes to send, and how many of them have left.
    cipher: Vec<u8>,
    cipher_gone: usize,
    /// Bytes in flight, and whether they lie in the commit.
    flying: usize,
    borrows: bool,
}

impl Link {
    /// `own_bytes`: for bodies that are put together.
    pub fn new(head_bytes: usize, own_bytes: usize, items_max: Option<usize>) -> Link {
        let (head, own) = (Vec::with_capacity(head_bytes), Vec::with_capacity(own_bytes));
        Link {
            stage: Stage::Free,
            lane: 0,
            tls: None,
            listener: Listener::new(items_max),
            replies: Replies::new(),
            out: Outgoing { head, own, request: None },
            held: None,
            inbox: Vec::new(),
            cipher: Vec::new(),
            cipher_gone: 0,
            flying: 0,
            borrows: false,
        }
    }

    /// Gives it up. What is in flight stays until [`Link::free`].
    pub fn leave(&mut self) {
        self.stage = Stage::Leaving;
        if self.flying == 0 {
            self.clear();
        }
    }

    /// Nothing is in flight any more.
    pub fn free(&mut self) {
        self.flying = 0;
        self.clear();
        self.stage = Stage::Free;
    }

    fn clear(&mut self) {
        (self.out.request, self.held, self.tls) = (None, None, None);
        self.inbox.clear();
        self.cipher.clear();
        self.cipher_gone = 0;
        self.borrows = false;
        self.replies.reset();
    }

    /// Whether it may still read from the commit.
    pub fn borrows(&self) -> bool {
        let unsent = || self.out.request.is_some_and(|request| request.gone < request.bytes);
        match self.stage {
            Stage::Free => false,
            Stage::Leaving => self.borrows && self.flying > 0,
            _ => self.borrows && self.flying > 0 || self.out.is_in_commit() && unsent(),
        }
    }

    /// Whether bytes of its request may have left.
    pub fn begun(&self) -> bool {
        self.out.request.is_some_and(|request| request.begun)
    }

    /// Puts a request for a parcel. False: its body cannot be compressed.
    pub fn post<M: Memory>(
        &mut self,
        sink: &HttpSink,
        parcel: usize,
        batch: &Batch<M>,
        encoder: Option<&mut Encoder>,
    ) -> bool {
        let Outgoing { head, own, request } = &mut self.out;
        own.clear();
        head.clear();
        let whole = |piece: &Piece| batch.bytes(piece.bytes());
        let partial = sink.parcel(parcel).partial;
        let sound = match (partial, encoder) {
            (false, None) => true,
            (false, Some(encoder)) => encoder.encode(sink.pieces(parcel).iter().map(whole), own),
            (true, Some(encoder)) => encoder.encode(sink.open_events(parcel, batch), own),
            (true, None) => {
                sink.open_events(parcel, batch).for_each(|lines| own.extend_from_slice(lines));
                true
            }
        };
        let (body, body_bytes) = match own.is_empty() && !partial {
            true => (Body::Commit(parcel), sink.parcel(parcel).bytes as usize),
            false => (Body::Own, own.len()),
        };
        sink.head(parcel, body_bytes as u64, head);
        let events = sink.events_to_send(parcel);
        self.listener.begin(events);
        let verdicts = if sink.preset().is_bulk() { events as u64 * VERDICT_BYTES_MAX } else { 0 };
        *request = Some(Request {
            body,
            bytes: head.len() + body_bytes,
            gone: 0,
            begun: false,
            answer_bytes: 0,
            answer_max: ANSWER_BYTES_MAX + verdicts,
        });
        sound
    }

    /// Bytes of the body of its request.
    pub fn body_bytes(&self) -> usize {
        self.out.request.map_or(0, |request| request.bytes - self.out.head.len())
    }

    /// Whether there is something to send and nothing in flight. Encrypts what comes next.
    pub fn wants_to_send<M: Memory>(&mut self, sink: &HttpSink, batch: Option<&Batch<M>>) -> bool {
        if self.flying > 0 || !matches!(self.stage, Stage::Tls | Stage::Up) {
            return false;
        }
        if self.tls.is_none() {
            return self.out.request.is_some_and(|request| request.gone < request.bytes);
        }
        if self.cipher.is_empty() {
            self.encrypt(sink, batch);
        }
        !self.cipher.is_empty()
    }

    fn encrypt<M: Memory>(&mut self, sink: &HttpSink, batch: Option<&Batch<M>>) {
        let Some(session) = &mut self.tls else { return };
        if self.stage == Stage::Up {
            let mut room = TLS_BYTES;
            self.out.show(sink, batch, |bytes| {
                let len = bytes.len().min(room);
                session.write(&bytes[..len]);
                room -= len;
                len == bytes.len() && room > 0
            });
            self.out.go(TLS_BYTES - room);
        }
        session.collect(&mut self.cipher);
    }

    /// What is sent next.
    pub fn send<'a, M: Memory>(
        &'a mut self,
        peer: PeerId,
        sink: &'a HttpSink,
        batch: Option<&'a Batch<M>>,
    ) -> PeerSend<'a> {
        if let Some(request) = &mut self.out.request {
            request.begun |= self.stage == Stage::Up;
        }
        self.borrows = self.tls.is_none() && self.out.is_in_commit();
        let mut send = PeerSend::new(peer);
        match self.tls {
            Some(_) => {
                send.push(&self.cipher[self.cipher_gone..]);
            }
            None => self.out.show(sink, batch, |bytes| send.push(bytes)),
        }
        self.flying = send.bytes();
        send
    }

    /// So many bytes left. Returns an answer that waited for it.
    pub fn sent(&mut self, bytes: usize) -> Option<Heard> {
        self.flying = 0;
        self.borrows = false;
        if self.tls.is_none() {
            self.out.go(bytes);
        } else {
            self.cipher_gone += bytes;
            if self.cipher_gone >= self.cipher.len() {
                self.cipher.clear();
                self.cipher_gone = 0;
            }
        }
        if self.has_left() { self.held.take() } else { None }
    }

    /// Whether all of its request was given to the other side's kernel, or ours to keep.
    fn has_left(&self) -> bool {
        let gone = self.out.request.is_none_or(|request| request.gone == request.bytes);
        gone && self.flying == 0 && self.cipher.is_empty()
    }

    /// Takes bytes that came. Returns the answer, once it is there and can be believed.
    pub fn feed(&mut self, data: &[u8]) -> Result<Option<Heard>, LinkError> {
        if self.tls.is_none() {
            return self.hear(data);
        }
        let mut plain = std::mem::take(&mut self.inbox);
        plain.clear();
        let read = match &mut self.tls {
            Some(session) => session.read(data, &mut plain),
            None => Ok(()),
        };
        let heard = read.map_err(LinkError::Tls).and_then(|()| self.hear(&plain));
        self.inbox = plain;
        heard
    }

    fn hear(&mut self, data: &[u8]) -> Result<Option<Heard>, LinkError> {
        if data.is_empty() {
            return Ok(None);
        }
        let Some(request) = self.out.request.as_mut().filter(|_| self.held.is_none()) else {
            return Err(LinkError::Unasked);
        };
        request.answer_bytes += data.len() as u64;
        if request.answer_bytes > request.answer_max {
            return Err(LinkError::Protocol("sends an answer without end"));
        }
        let first = self.replies.feed_to(data, &mut self.listener).next();
        match first {
            None => Ok(None),
            Some(Err(bad)) => Err(LinkError::Protocol(bad.why)),
            Some(Ok(reply)) => {
                let alone = reply.end == data.len();
                Ok(self.heard(reply.status, !reply.close && alone))
            }
        }
    }

    /// An answer is there: to be believed now, or when its request has left.
    fn heard(&mut self, status: u16, reusable: bool) -> Option<Heard> {
        let left = self.has_left();
        let heard = Heard { status, reusable: reusable && left };
        if !left && (200..300).contains(&status) {
            // Of the rest nobody will say more.
            self.held = Some(Heard { status, reusable: false });
            return None;
        }
        Some(heard)
    }

    /// The request was answered; the connection may take another.
    pub fn done(&mut self) {
        self.out.request = None;
    }

    /// The connection has ended: the answer that this completes, if any.
    pub fn end(&mut self) -> Option<Heard> {
        self.out.request?;
        match self.replies.end() {
            Ok(Some(reply)) => self.heard(reply.status, false),
            _ => None,
        }
    }

    /// What it means that the connection has ended, by the error number or 0.
    pub fn lost(&self, code: i32) -> Trouble {
        match code {
            0 | libc::ECONNRESET | libc::EPIPE => Trouble::Closed,
            libc::ETIMEDOUT => Trouble::Timeout,
            code => Trouble::System(code),
        }
    }
}

/// Why what came is of no use.
#[derive(Debug)]
pub(super) enum LinkError {
    /// Nothing was asked: most say so that they close a connection that rested.
    Unasked,
    /// It is no answer.
    Protocol(&'static str),
    /// TLS is broken, or not to be trusted.
    Tls(TlsError),
}
