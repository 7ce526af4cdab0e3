//! Requests to send: valid and malformed classes, prebuilt and seeded.
//!
//! A [`Corpus`] is built once from a [`Spec`]: some hundred different requests of each class, in one buffer. The
//! hot path then only picks one ([`Corpus::pick`]): no formatting, no allocation. With `ids` on, the number of
//! each event is written over its digits in place.
//!
//! [`class`] says what the classes are and what the server should answer; `events` makes events, `request` the
//! heads around them, `malformed` spoils them. Nothing here knows of sockets or time.
//!
//! Enter at [`Corpus::build`].
pub mod class;
mod corpus;
mod events;
mod malformed;
mod request;
mod rng;
#[cfg(test)]
mod tests;

pub use class::{Class, Expect, Scope, Then};
pub use corpus::{Corpus, RequestRef};
pub use malformed::Delivery;
pub(super) use request::{ID_BYTES, ID_NUMBER_AT, ID_START, ID_THREAD_AT};
pub use rng::Rng;

use crate::json::{Format, Reason, Scanner, StrictScanner, Verdict};
use alloc::{string::String, vec::Vec};

/// What valid requests are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// Lines of a service's log, about 260 bytes each.
    Log,
    /// A dozen readings of one host, about 270 bytes.
    Metric,
    /// Spans of traces, about 800 bytes, with many escapes.
    Span,
    /// 50 % logs, 30 % metrics, 15 % spans, 5 % logs with a stack trace: 423 bytes in the mean.
    Mix,
    /// Events of the user's own, one a line; blank lines are skipped.
    Lines(&'a [u8]),
    /// One body, sent as it is by every valid request. Empty with GET and the like: none is sent.
    Body(&'a [u8]),
}

/// What to build.
#[derive(Clone, Debug)]
pub struct Spec<'a> {
    /// Of what.
    pub source: Source<'a>,
    /// Events in a valid request, 1 at least. With one, an HTTP body is one JSON object, with more NDJSON.
    pub events_per_request: u32,
    /// Share of malformed requests, 0 to 1.
    pub malformed_share: f64,
    /// Names of the malformed classes to draw from; empty: all that fit.
    pub malformed_classes: Vec<String>,
    /// Expectations of the user's own, each `NAME=STATUS`.
    pub class_status: Vec<String>,
    /// The same seed gives the same corpus.
    pub seed: u64,
    /// Number of the thread that will send it; part of the identifiers. [`Corpus::for_thread`] changes it.
    pub thread: u16,
    /// Method, in capitals.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Value of Host.
    pub host: String,
    /// Further header fields; they stand in for the default ones of the same name.
    pub headers: Vec<(String, String)>,
    /// Each good event carries an identifier in a field `r` in front of all others, see [`super::reconcile`].
    pub ids: bool,
    /// The line protocol: bodies without HTTP around them.
    pub lines: bool,
    /// How long the second half of a `slow_body` waits, in nanoseconds.
    pub slow_ns: u64,
}

impl Default for Spec<'_> {
    /// POST of one event of the mix to `/v1/events` of `127.0.0.1`, seed 1, nothing malformed.
    fn default() -> Self {
        Spec {
            source: Source::Mix,
            events_per_request: 1,
            malformed_share: 0.0,
            malformed_classes: Vec::new(),
            class_status: Vec::new(),
            seed: 1,
            thread: 0,
            method: "POST".into(),
            path: "/v1/events".into(),
            host: "127.0.0.1".into(),
            headers: Vec::new(),
            ids: false,
            lines: false,
            slow_ns: SLOW_NS,
        }
    }
}

/// How long the second half of a slow body waits if nothing else is said: 200 ms, beyond any scheduling delay
/// and far below what servers allow (ringmill 30 s). It holds its connection up for so long.
pub const SLOW_NS: u64 = 200_000_000;

/// The first line of `lines` that ringmill would not take as an event, counted from 1, and why: a user's own
/// payload may be meant for another server, so this is worth a warning and no refusal.
pub fn first_bad_line(lines: &[u8]) -> Option<(u64, Reason)> {
    let mut first = None;
    StrictScanner::new().scan(lines, Format::Lines, |verdict| {
        if let (None, Verdict::Bad { span, reason, .. }) = (first, verdict) {
            let before = memchr::memchr_iter(b'\n', &lines[..span.start]).count() as u64;
            first = Some((before + 1, reason));
        }
    });
    first
}
