//! From a body to events: where each begins and ends, and what is wrong with the bad ones.
use core::ops::Range;

/// How a body holds its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/json`: one value; an object is one event, an array holds events.
    Json,
    /// `application/x-ndjson`: one event a line.
    Lines,
    /// Any other type or none: `[` first is an array, else lines if each stands alone, else one object.
    Sniff,
}

/// Why an event is refused. Small and `Copy`, so that verdicts can be kept without allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason(pub(crate) u8);

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
        /// Its bytes as far as they can be told (a line, an element, or the rest of the body).
        span: Range<usize>,
        /// Byte of the body where the trouble was found.
        offset: usize,
        /// Why.
        reason: Reason,
    },
}

/// Validates bodies. One per core: it owns buffers that are reused.
pub trait Scanner {
    /// Calls `each` once for each event of `body`, in order; blank lines are no events.
    fn scan(&mut self, body: &[u8], format: Format, each: impl FnMut(Verdict));
}
