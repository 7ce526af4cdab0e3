//! From a body to events: where each begins and ends, and what is wrong with the bad ones.
//!
//! An event is a JSON object (RFC 8259, UTF-8) of at most [`MAX_EVENT_BYTES`], nested at most
//! [`MAX_DEPTH`] deep. Nothing is converted, so numbers have any size and keys may repeat.
//!
//! `frame` finds the events of a body and asks a fast check about each line; whatever that does not vouch
//! for goes to `strict`, the one authority on what is wrong and where. The fast check may therefore refuse
//! what is right (simd-json does, for numbers beyond `u64` and `f64`) but never accept what is wrong.
//! Elements of an array go to `strict` at once, which finds their end in the same pass.
use core::ops::Range;

mod frame;
pub mod pointer;
mod reason;
mod simd;
mod strict;
#[cfg(test)]
mod tests;

pub use reason::Reason;
pub use simd::SimdScanner;
pub use strict::StrictScanner;

/// Longest event in bytes, from its first to its last.
pub const MAX_EVENT_BYTES: usize = 256 << 10;

/// Deepest nesting of objects and arrays; the event itself is depth 1.
pub const MAX_DEPTH: usize = 64;

/// How a body holds its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/json`: one value; an object is one event, an array holds events.
    ///
    /// An element that is well-formed but no acceptable event is refused alone. Behind malformed JSON there
    /// is no telling where the next element begins: the rest of the body is refused as one event.
    Json,
    /// `application/x-ndjson`: one event a line. A bad line never touches its neighbours.
    Lines,
    /// Any other type or none: `[` first is an array, else lines if each stands alone, else one object,
    /// and when it is not that either, lines with the verdict of each.
    Sniff,
}

/// One event's verdict, in the order of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Store `body[span]`. `breaks`: it holds raw line breaks between tokens, which become spaces.
    Good {
        /// From the event's first byte to its last.
        span: Range<usize>,
        /// Raw `\r` or `\n` stand between its tokens.
        breaks: bool,
    },
    /// Refuse `body[span]`.
    Bad {
        /// Its bytes as far as they can be told (a line, an element, or the rest of the body, which is
        /// empty when the body ends where more was due).
        span: Range<usize>,
        /// Byte of the body where the trouble was found; the body's length when it ends too early.
        offset: usize,
        /// Why.
        reason: Reason,
    },
}

/// Validates bodies. One per core: it owns buffers that are reused.
pub trait Scanner {
    /// Calls `each` once for each event of `body`, in order; blank lines are no events, nor is there any in
    /// a blank body or an empty array.
    fn scan(&mut self, body: &[u8], format: Format, each: impl FnMut(Verdict));
}

/// The scanner that the configuration named.
pub enum AnyScanner {
    /// One exact pass over the bytes as they came.
    Exact(StrictScanner),
    /// simd-json on a scratch copy, the exact pass for what it does not vouch for.
    Simd(alloc::boxed::Box<SimdScanner>),
}

impl Scanner for AnyScanner {
    fn scan(&mut self, body: &[u8], format: Format, each: impl FnMut(Verdict)) {
        match self {
            AnyScanner::Exact(scanner) => scanner.scan(body, format, each),
            AnyScanner::Simd(scanner) => scanner.scan(body, format, each),
        }
    }
}
