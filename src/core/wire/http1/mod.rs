//! HTTP/1.1, strict: finds the next request in a connection's bytes, or says why it is refused.
//!
//! The rules of the cycle, all of which stand in [`Decoder`]:
//!
//! ```text
//!            head complete             body complete
//!   Head ───────────────────► Body ───────────────────► Head   (Decoded::Request)
//!    │                          │
//!    └──────── malformed, over a limit ────────► Dead          (Decoded::Reject, for ever)
//! ```
//!
//! - The verdict over a request depends on its bytes alone, not on how they were cut: framing first (malformed
//!   is [`Decoded::Reject`], and the connection ends), then what is asked for ([`Action::Refuse`] keeps it).
//!   The one exception: who waits for `100 Continue` with a request that will be refused hears so at once.
//! - Where two readings of a message are possible it is refused, also where the RFC would allow to repair it:
//!   repairing differently from a proxy in front is how requests are smuggled.
//! - Nothing behind the present request is read, written or moved.
//! - A head that arrives in one piece is parsed once; otherwise each byte is looked at a fixed number of times.
mod chunked;
mod head;
pub mod limits;
mod route;
mod syntax;
#[cfg(test)]
mod tests;

use crate::{ack::Ack, json::Format, reject::Reject};
use chunked::Chunks;
use core::ops::Range;
use head::{BODY_TOO_LONG, Framing, Head, Search};
use limits::{BODY_BYTES_MAX, REFUSED_BODY_BYTES_MAX};

/// What [`Decoder::decode`] found at the front of the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The request is not all there yet. Not an error.
    Incomplete(Incomplete),
    /// A whole request; the next one begins at `request.consumed`.
    Request(Request),
    /// Malformed or over a limit: answer this, then close; nothing behind it may be read as a request.
    Reject(Reject),
}

/// How to go on when the request is not all there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incomplete {
    /// Bytes of the buffer to keep: chunked bodies are compacted in place, which shortens what was fed.
    /// The caller truncates its buffer to this and appends what arrives next.
    pub keep: usize,
    /// Total bytes the buffer will need to hold at its largest, as far as known now (0: unknown).
    pub wants: usize,
    /// `wants` may still grow: the body is chunked.
    pub open_ended: bool,
    /// The head is complete (the deadline of the head no longer counts, the floor of the body does).
    pub in_body: bool,
    /// The client waits for `100 Continue`. Reported once per request.
    pub send_continue: bool,
    /// The body's front, which the buffer holds up to `keep`; `None` without a body, or with one that nobody will
    /// look at.
    pub body: Option<Front>,
}

/// What a head says of the body that has begun behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Front {
    /// Where it begins in the buffer.
    pub start: usize,
    /// From Content-Type.
    pub format: Format,
    /// As [`Ingest::stream`].
    pub stream: Option<Range<usize>>,
}

/// A complete request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Bytes to drop from the buffer's front to reach the next request.
    pub consumed: usize,
    /// The decoded body.
    pub body: Range<usize>,
    /// Whether the connection lives on after the reply (HTTP/1.0, `Connection: close`).
    pub keep_alive: bool,
    /// Reply without a body though with its length: HEAD.
    pub head_only: bool,
    /// What is to be done with it.
    pub action: Action,
}

/// What the request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `POST /v1/events[/STREAM]`
    Ingest(Ingest),
    /// `OPTIONS`: 204 with `Allow`.
    Options,
    /// Well framed but refused (404, 405 + Allow, 415, bad `ack` …): answer, keep the connection.
    Refuse(Reject),
}

/// The particulars of an ingest request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingest {
    /// The stream's name inside the buffer (1–64 of `[A-Za-z0-9._-]`); `None`: `default`.
    pub stream: Option<Range<usize>>,
    /// From Content-Type.
    pub format: Format,
    /// From `?ack=` or `Ringmill-Ack` (the query wins).
    pub ack: Option<Ack>,
    /// `?partial=reject`
    pub all_or_nothing: bool,
    /// `Prefer: return=minimal`
    pub minimal: bool,
}

/// A header stands there more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated;

/// The value of a header that few ask for, in a head that was decoded before; `None` when it is absent or empty.
/// Looked for only when it is wanted, so that requests of those who do not want it pay nothing.
///
/// # Errors
/// It is given more than once.
pub fn header<'h>(head: &'h [u8], name: &[u8]) -> Result<Option<&'h [u8]>, Repeated> {
    let mut found = None;
    for line in head.split(|&byte| byte == b'\n').skip(1) {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        if line[..colon].eq_ignore_ascii_case(name) && found.replace(line[colon + 1..].trim_ascii()).is_some()
        {
            return Err(Repeated);
        }
    }
    Ok(found.filter(|value| !value.is_empty()))
}

/// Finds requests in one connection's bytes. Holds positions only, relative to the buffer's front.
///
/// Call [`Decoder::decode`] whenever bytes arrived and again after each request, until it is `Incomplete`:
///
/// - after `Incomplete`, truncate the buffer to `keep`, append what arrives, call again;
/// - after `Request`, use the ranges, then drop `consumed` bytes from the buffer's front;
/// - after `Reject`, answer and close: every later call says the same.
#[derive(Debug, Default)]
pub struct Decoder {
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Before the end of a head.
    Head(Search),
    /// The head is complete, the body is not.
    Body(Head, Body),
    /// Refused; nothing more is read.
    Dead(Reject),
}

/// How far an incomplete body has come.
#[derive(Debug)]
enum Body {
    /// Complete when the buffer holds this many bytes.
    Until(usize),
    /// Compacted up to `write`, where what arrives next is expected.
    Chunked { chunks: Chunks, write: usize },
}

impl Default for Phase {
    fn default() -> Phase {
        Phase::Head(Search::new())
    }
}

impl Decoder {
    /// A decoder at the start of a request.
    pub const fn new() -> Decoder {
        Decoder { phase: Phase::Head(Search::new()) }
    }

    /// Looks for one request at the front of `buf`, which holds every byte of this request received so far
    /// (less what compaction removed) and perhaps the beginning of the next.
    ///
    /// Only a chunked body is moved, within the bytes of its own request: `buf[consumed..]` is never touched.
    pub fn decode(&mut self, buf: &mut [u8]) -> Decoded {
        let send_continue = match &mut self.phase {
            Phase::Head(search) => match search.find(buf) {
                Ok(Some(head)) => match head.framing {
                    // The usual request is all there, and nothing needs to be remembered.
                    Framing::Length(length) if buf.len() - head.end >= length => {
                        self.phase = Phase::default();
                        return Decoded::Request(request(head, length, length));
                    }
                    _ => match self.begin_body(head, buf.len()) {
                        Ok(send_continue) => send_continue,
                        Err(reject) => return self.die(reject),
                    },
                },
                Ok(None) => {
                    let (keep, in_body) = (buf.len(), false);
                    return Decoded::Incomplete(Incomplete {
                        keep,
                        wants: 0,
                        open_ended: false,
                        in_body,
                        send_continue: false,
                        body: None,
                    });
                }
                Err(reject) => return self.die(reject),
            },
            Phase::Body(..) => false,
            Phase::Dead(reject) => return Decoded::Reject(*reject),
        };
        self.continue_body(buf, send_continue)
    }

    /// Remembers a head whose body is still to come. Returns whether to send `100 Continue`.
    ///
    /// # Errors
    /// The refusal of a request whose body is not worth reading: the client still waits with it, or it is long.
    #[cold]
    fn begin_body(&mut self, head: Head, received: usize) -> Result<bool, Reject> {
        let waits = head.expects_continue && received == head.end;
        if let Action::Refuse(reject) = head.action {
            let long = matches!(head.framing, Framing::Length(length) if length > REFUSED_BODY_BYTES_MAX);
            if waits || long {
                return Err(reject);
            }
        }
        let body = match head.framing {
            Framing::Length(length) => Body::Until(head.end + length),
            Framing::Chunked => Body::Chunked { chunks: Chunks::new(), write: head.end },
        };
        self.phase = Phase::Body(head, body);
        Ok(waits)
    }

    /// Goes on with a body as far as it has arrived.
    fn continue_body(&mut self, buf: &mut [u8], send_continue: bool) -> Decoded {
        let Phase::Body(head, body) = &mut self.phase else { unreachable!("a body follows a head") };
        let (keep, wants, open_ended) = match body {
            Body::Until(end) if buf.len() < *end => (buf.len(), *end, false),
            Body::Until(end) => {
                let length = *end - head.end;
                return self.complete(length, length);
            }
            Body::Chunked { chunks, write } => {
                let (bytes_max, over) = match head.action {
                    Action::Refuse(reject) => (REFUSED_BODY_BYTES_MAX, reject),
                    _ => (BODY_BYTES_MAX, BODY_TOO_LONG),
                };
                match chunks.advance(buf, head.end, write, bytes_max, over) {
                    Ok(None) => (*write, *write + chunks.left() + 2, true),
                    Ok(Some(end)) => {
                        let (length, framed) = (*write - head.end, end - head.end);
                        return self.complete(length, framed);
                    }
                    Err(reject) => return self.die(reject),
                }
            }
        };
        let body = match &head.action {
            Action::Ingest(ingest) => {
                Some(Front { start: head.end, format: ingest.format, stream: ingest.stream.clone() })
            }
            _ => None,
        };
        Decoded::Incomplete(Incomplete { keep, wants, open_ended, in_body: true, send_continue, body })
    }

    /// The remembered request, complete, its body `length` bytes long and `framed` bytes with its framing.
    fn complete(&mut self, length: usize, framed: usize) -> Decoded {
        match core::mem::take(&mut self.phase) {
            Phase::Body(head, _) => Decoded::Request(request(head, length, framed)),
            _ => unreachable!("only a body completes a request"),
        }
    }

    #[cold]
    fn die(&mut self, reject: Reject) -> Decoded {
        self.phase = Phase::Dead(reject);
        Decoded::Reject(reject)
    }
}

fn request(head: Head, length: usize, framed: usize) -> Request {
    Request {
        consumed: head.end + framed,
        body: head.end..head.end + length,
        keep_alive: head.keep_alive,
        head_only: head.head_only,
        action: head.action,
    }
}
