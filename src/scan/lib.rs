//! Finds and judges JSON events in one pass over their bytes, 64 at a time.
//!
//! An event is a JSON object (RFC 8259, UTF-8) of at most [`MAX_EVENT_BYTES`], nested at most [`MAX_DEPTH`]
//! deep. Nothing is converted, so numbers have any size and keys may repeat.
//!
//! Two judges share the work. `exact` decides: it says what is wrong and where, byte by byte, and its code is
//! the readable definition of the language. The **kernels** only vouch: in windows of some kilobytes they turn
//! bytes into bit masks and tokens, and check grammar, numbers, escapes and UTF-8 of all events at once. A
//! block of 64 bytes in which they find anything odd is a *suspect*, and the events that touch it go to the
//! exact judge. So no kernel ever words a verdict of its own, and all agree to the last offset; a kernel may be
//! suspicious of what is right, but must never vouch for what is wrong.
//!
//! ```text
//!            stage 1, a block a step                          stage 2, 64 tokens a step
//! bytes ──▶ masks: strings, tokens, … ──▶ tokens ──────────▶ grammar ─┐
//!                    │ blocks with numbers, escapes, non-ASCII        ├─▶ suspect blocks ──▶ verdicts
//!                    └──────────────────▶ closer checks ──────────────┘        (exact judge)
//! ```
//!
//! It is no parser: it builds nothing, allocates nothing and changes nothing. Enter at [`Scanner::scan`], or
//! at [`Scanner::advance`] with a body that arrives in pieces.
//!
//! `unsafe` stands in the kernels and in the code that they run through (`window`); nothing of it can be
//! reached but through [`Scanner`], which chooses only kernels that the processor has.
#![no_std]

#[cfg(any(test, feature = "std"))]
extern crate std;

use core::ops::Range;

mod brackets;
mod checks;
mod chunked;
pub(crate) mod exact;
mod fast;
pub mod fields;
mod frame;
mod grammar;
mod kernel;
mod kind;
pub mod skim;
mod stage1;
mod window;

pub use chunked::Progress;
pub use fast::Scanner;
pub use fields::{Fields, Found, Slot, Unescaped};
pub use kernel::Kernel;
pub use kind::Kind;

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
        kind: Kind,
    },
}

/// Judges `body` exactly, byte by byte, without memory; `vouches` is shown slices that begin with `{`, and what
/// it vouches for is not looked at again. With `|_| false` this is the definition that all kernels are held to.
pub fn scan_exactly(
    body: &[u8],
    format: Format,
    mut vouches: impl FnMut(&[u8]) -> bool,
    each: impl FnMut(Verdict),
) {
    frame::scan(&mut frame::Exact(&mut vouches), body, format, each);
}
