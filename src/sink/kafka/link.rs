//! One broker connection without a socket: bytes that came into frames, requests into bytes that go.
//!
//! Requests leave in the order in which they were put, and brokers answer in that order, so answers are matched
//! with the oldest request and a wrong correlation id ends the connection. The batches of a Produce request are
//! sent from where they lie. An answer that comes before its request has left wholly is kept back until it has:
//! whoever believed it might touch bytes that the kernel still reads (KAFKA-19012).

use std::collections::VecDeque;
use std::ops::Range;

use super::Batches;
use super::handshake::{Failure, Handshake};
use super::tls;
use crate::core::kafka::produce::{Part, ProduceFrame};
use crate::core::kafka::producer::{LinkFailure, LinkId};
use crate::shard::driver::peer::{PeerId, PeerSend};
use crate::tls::Session;

/// Longest answer. Metadata of 100,000 partitions with three replicas has some 6 MB.
const FRAME_BYTES_MAX: usize = 16 << 20;
/// The same before it is known who the broker is.
const HELLO_BYTES_MAX: usize = 64 << 10;
/// What may have come behind an answer that is kept back.
const BEHIND_BYTES_MAX: usize = 64 << 10;
/// The buffer for what came goes back to this size after a long answer.
const INBOX_BYTES: usize = 64 << 10;
/// So much is encrypted at once.
const TLS_BYTES: usize = 256 << 10;

/// Requests that wait or are in flight at once, whatever they are; room for them is made when the connection is up.
const REQUESTS: usize = 16;
/// Produce requests among them: as many as the producer has in flight on a link.
const FRAMES: usize = 5;
/// Room for answers that come together.
const ANSWER_BYTES: usize = 8 << 10;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No connection: the place is free.
    Free,
    /// On its way.
    Dialing,
    /// Made; what is to be shown on it is being read.
    Secrets,
    /// In the TLS handshake.
    Tls,
    /// In ours.
    Hello,
    /// Takes requests.
    Up,
    /// Given up, until the driver lets go of it.
    Leaving,
}

/// What a request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Handshake,
    Metadata(i16),
    InitProducerId(i16),
    Produce(i16),
}

/// A request without an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) correlation: i32,
    pub(super) asked: Asked,
}

enum What {
    Bytes(Vec<u8>),
    Produce(ProduceFrame),
}

/// A request that has not left wholly.
struct Item {
    pending: Pending,
    what: What,
    bytes: usize,
    gone: usize,
}

impl Item {
    /// Shows the bytes that have not left, piece by piece, until `show` is full. Whether it took all.
    fn show<'a>(&'a self, batches: &'a impl Batches, mut show: impl FnMut(&'a [u8]) -> bool) -> bool {
        let mut skip = self.gone;
        let mut piece = |bytes: &'a [u8]| {
            let skipped = skip.min(bytes.len());
            skip -= skipped;
            show(&bytes[skipped..])
        };
        match &self.what {
            What::Bytes(bytes) => piece(bytes),
            What::Produce(frame) => frame.parts().iter().all(|part| match part {
                Part::Framing(range) => piece(&frame.framing()[range.clone()]),
                Part::Header(slot) => piece(batches.bytes(*slot).0),
                Part::Records(slot) => piece(batches.bytes(*slot).1),
            }),
        }
    }
}

/// See the module. Its memory is kept from one connection to the next.
pub(super) struct Link {
    pub(super) stage: Stage,
    /// Whose connection it is.
    pub(super) id: LinkId,
    /// Host and port, for sentences and certificates.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Option<Box<Session>>,
    pub(super) handshake: Option<Handshake>,
    /// When to say again who we are.
    pub(super) renew_ns: Option<u64>,
    /// That is being done: requests wait behind it.
    pub(super) renewing: bool,
    /// Answers to other requests than those of the handshake.
    pub(super) answers: u64,
    /// It stands in the list of those that may have something to send.
    pub(super) queued: bool,
    /// It was counted as one that reads batches.
    pub(super) borrowing: bool,
    queue: VecDeque<Item>,
    behind: VecDeque<Item>,
    pending: VecDeque<Pending>,
    /// Plain bytes that came and were not read.
    inbox: Vec<u8>,
    /// Encrypted bytes to send, and how many of them have left.
    cipher: Vec<u8>,
    cipher_gone: usize,
    /// Bytes in flight.
    flying: usize,
    /// Frames to be used again.
    spare: Vec<ProduceFrame>,
}

impl Link {
    pub(super) fn new() -> Link {
        Link {
            stage: Stage::Free,
            id: LinkId(0),
            host: String::new(),
            port: 0,
            tls: None,
            handshake: None,
            renew_ns: None,
            renewing: false,
            answers: 0,
            queued: false,
            borrowing: false,
            queue: VecDeque::new(),
            behind: VecDeque::new(),
            pending: VecDeque::new(),
            inbox: Vec::new(),
            cipher: Vec::new(),
            cipher_gone: 0,
            flying: 0,
            spare: Vec::new(),
        }
    }

    /// Makes the room that its requests and answers need, so that none is made while events flow.
    pub(super) fn prepare(&mut self) {
        for queue in [&mut self.queue, &mut self.behind] {
            queue.reserve(REQUESTS.saturating_sub(queue.len()));
        }
        self.pending.reserve(REQUESTS.saturating_sub(self.pending.len()));
        self.inbox.reserve(ANSWER_BYTES.saturating_sub(self.inbox.len()));
        self.spare.resize_with(FRAMES.max(self.spare.len()), ProduceFrame::default);
    }

    /// Gives it up. What is in flight stays until [`Link::free`].
    pub(super) fn leave(&mut self) {
        self.stage = Stage::Leaving;
        if self.flying == 0 {
            self.clear();
        }
    }

    /// Nothing is in flight any more.
    pub(super) fn free(&mut self) {
        self.flying = 0;
        self.clear();
        self.stage = Stage::Free;
    }

    fn clear(&mut self) {
        while let Some(item) = self.queue.pop_front().or_else(|| self.behind.pop_front()) {
            self.spare(item);
        }
        self.pending.clear();
        self.inbox.clear();
        self.cipher.clear();
        self.cipher_gone = 0;
        (self.tls, self.handshake, self.renew_ns) = (None, None, None);
        self.renewing = false;
        self.answers = 0;
    }

    /// Whether it may still read batches.
    pub(super) fn borrows(&self) -> bool {
        self.queue.iter().chain(&self.behind).any(|item| matches!(item.what, What::Produce(_)))
    }

    /// A frame to be filled, used before if there is one.
    pub(super) fn frame(&mut self) -> ProduceFrame {
        self.spare.pop().unwrap_or_default()
    }

    fn spare(&mut self, item: Item) {
        if let What::Produce(frame) = item.what {
            self.spare.push(frame);
        }
    }

    /// Puts a request that is wholly in `bytes`.
    pub(super) fn put(&mut self, pending: Pending, bytes: Vec<u8>) {
        let item = Item { pending, bytes: bytes.len(), what: What::Bytes(bytes), gone: 0 };
        self.queue_up(item);
    }

    /// Puts a Produce request of so many bytes.
    pub(super) fn put_produce(&mut self, pending: Pending, frame: ProduceFrame, bytes: usize) {
        self.queue_up(Item { pending, what: What::Produce(frame), bytes, gone: 0 });
    }

    fn queue_up(&mut self, item: Item) {
        if self.renewing && item.pending.asked != Asked::Handshake {
            return self.behind.push_back(item);
        }
        self.pending.push_back(item.pending);
        self.queue.push_back(item);
    }

    /// Lets those go that waited behind the handshake.
    pub(super) fn renewed(&mut self) {
        self.renewing = false;
        while let Some(item) = self.behind.pop_front() {
            self.queue_up(item);
        }
    }

    /// Whether there is something to send and nothing in flight. Encrypts what comes next.
    pub(super) fn wants_to_send(&mut self, batches: &impl Batches) -> bool {
        if self.flying > 0 || !matches!(self.stage, Stage::Tls | Stage::Hello | Stage::Up) {
            return false;
        }
        if self.tls.is_some() && self.cipher.is_empty() {
            self.encrypt(batches);
        }
        match self.tls {
            Some(_) => !self.cipher.is_empty(),
            None => !self.queue.is_empty(),
        }
    }

    fn encrypt(&mut self, batches: &impl Batches) {
        let Some(session) = &mut self.tls else { return };
        let mut room = TLS_BYTES;
        let mut taken = 0;
        if !session.is_shaking() {
            for item in &self.queue {
                let all = item.show(batches, |bytes| {
                    let len = bytes.len().min(room);
                    session.write(&bytes[..len]);
                    room -= len;
                    taken += len;
                    len == bytes.len()
                });
                if !all || room == 0 {
                    break;
                }
            }
        }
        session.collect(&mut self.cipher);
        self.gone(taken);
    }

    /// What is sent next.
    pub(super) fn send<'a>(&'a mut self, peer: PeerId, batches: &'a impl Batches) -> PeerSend<'a> {
        let mut send = PeerSend::new(peer);
        match self.tls {
            Some(_) => {
                send.push(&self.cipher[self.cipher_gone..]);
            }
            None => {
                // Short-circuits at the first piece that finds no room.
                let _ = self.queue.iter().all(|item| item.show(batches, |bytes| send.push(bytes)));
            }
        }
        self.flying = send.bytes();
        send
    }

    /// So many bytes left.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.flying = 0;
        if self.tls.is_none() {
            return self.gone(bytes);
        }
        self.cipher_gone += bytes;
        if self.cipher_gone >= self.cipher.len() {
            self.cipher.clear();
            self.cipher_gone = 0;
        }
    }

    fn gone(&mut self, mut bytes: usize) {
        while let Some(item) = self.queue.front_mut() {
            let now = bytes.min(item.bytes - item.gone);
            item.gone += now;
            bytes -= now;
            if item.gone < item.bytes {
                return;
            }
            if let Some(item) = self.queue.pop_front() {
                self.spare(item);
            }
        }
    }

    /// Takes bytes that came.
    pub(super) fn feed(&mut self, data: &[u8]) -> Result<(), Failure> {
        match &mut self.tls {
            Some(session) => session.read(data, &mut self.inbox)?,
            None => self.inbox.extend_from_slice(data),
        }
        let max = if self.stage == Stage::Up { FRAME_BYTES_MAX } else { HELLO_BYTES_MAX };
        if self.inbox.len() > max + BEHIND_BYTES_MAX {
            return Err(Failure::new(LinkFailure::Protocol, "sends more than it was asked for"));
        }
        Ok(())
    }

    /// All that came and was not read, to be given back with [`Link::put_back`].
    pub(super) fn take_inbox(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.inbox)
    }

    /// What is left of it from `read` on.
    pub(super) fn put_back(&mut self, mut inbox: Vec<u8>, read: usize) {
        if matches!(self.stage, Stage::Leaving | Stage::Free) {
            inbox.clear();
        } else {
            inbox.drain(..read);
        }
        if inbox.is_empty() && inbox.capacity() > INBOX_BYTES {
            inbox.shrink_to(INBOX_BYTES);
        }
        self.inbox = inbox;
    }

    /// The next answer in `inbox` from `read` on, when all of it is there and its request has left: which
    /// request it answers, and where it is.
    pub(super) fn next_answer(
        &mut self,
        inbox: &[u8],
        read: usize,
    ) -> Result<Option<(Pending, Range<usize>)>, Failure> {
        let Some(head) = inbox[read..].first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_be_bytes(*head) as usize;
        let max = if self.stage == Stage::Up { FRAME_BYTES_MAX } else { HELLO_BYTES_MAX };
        if len < 4 || len > max {
            return Err(not_kafka(*head));
        }
        if inbox.len() < read + 4 + len {
            return Ok(None);
        }
        let Some(&pending) = self.pending.front() else {
            return Err(Failure::new(LinkFailure::Protocol, "answers without having been asked"));
        };
        if self.pending.len() == self.queue.len() {
            return Ok(None);
        }
        let frame = read + 4..read + 4 + len;
        if super::wire::correlation(&inbox[frame.clone()]) != Some(pending.correlation) {
            return Err(Failure::new(LinkFailure::Protocol, "answers another request than the oldest"));
        }
        self.pending.pop_front();
        Ok(Some((pending, frame)))
    }

    /// What it means that the connection has ended, by the error number or 0.
    pub(super) fn lost(&self, code: i32) -> Failure {
        let why = match code {
            0 | libc::ECONNRESET | libc::EPIPE => LinkFailure::Reset,
            libc::ETIMEDOUT => LinkFailure::Timeout,
            code => LinkFailure::Other(code),
        };
        let handshake = self.handshake.as_ref().filter(|_| why == LinkFailure::Reset);
        match (self.stage, handshake) {
            (Stage::Tls, _) if why == LinkFailure::Reset => tls::closed(),
            (Stage::Hello, Some(handshake)) => handshake.closed(),
            (Stage::Up, Some(handshake)) if self.renewing => handshake.closed(),
            (Stage::Up, Some(_)) if self.answers == 0 => Failure::new(
                why,
                "closed the connection before it answered a request: does that port want credentials? check \
                 kafka.sasl",
            ),
            _ if why == LinkFailure::Reset => Failure::new(why, "closed the connection"),
            _ => Failure::new(
                why,
                format!("cannot be reached any more: {}", std::io::Error::from_raw_os_error(code)),
            ),
        }
    }
}

/// A length that no answer has, by what else it could be.
fn not_kafka(head: [u8; 4]) -> Failure {
    let text = match &head {
        [0x15, 3, ..] => "answers with a TLS alert: that port wants TLS; check kafka.tls",
        b"HTTP" => "answers with HTTP: give the port of Kafka in --sink",
        _ => "sends a frame that is too long or too short: does that port speak Kafka?",
    };
    Failure::new(LinkFailure::Protocol, text)
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
