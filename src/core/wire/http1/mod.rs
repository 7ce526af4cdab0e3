//! HTTP/1.1, strict: finds the next request in a connection's bytes, or says why it is refused.
use crate::{ack::Ack, json::Format, reject::Reject};
use core::ops::Range;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incomplete {
    /// Bytes of the buffer to keep: chunked bodies are compacted in place, which shortens what was fed.
    /// The caller truncates its buffer to this and appends what arrives next.
    pub keep: usize,
    /// Total bytes the buffer will need to hold at its largest, as far as known now (0: unknown).
    pub wants: usize,
    /// The head is complete (the deadline of the head no longer counts, the floor of the body does).
    pub in_body: bool,
    /// The client waits for `100 Continue`. Reported once per request.
    pub send_continue: bool,
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

/// Finds requests in one connection's bytes. Holds positions only, relative to the buffer's front.
#[derive(Debug, Default)]
pub struct Decoder {}

impl Decoder {
    /// A decoder at the start of a request.
    pub const fn new() -> Decoder {
        Decoder {}
    }

    /// Looks for one request at the front of `buf`, which holds every byte of this request received so far
    /// (less what compaction removed) and perhaps the beginning of the next.
    pub fn decode(&mut self, buf: &mut [u8]) -> Decoded {
        let _ = buf;
        Decoded::Reject(Reject::new(501, "not_built", "not built yet"))
    }
}
