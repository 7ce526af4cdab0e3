//! From a body to events: where each begins and ends, and what is wrong with the bad ones.
//!
//! The judging is done in a package of its own, `ringmill-scan`: an exact judge that is the one authority on what
//! is wrong and where, and kernels that vouch for whole windows of events at once. Here its verdicts get their
//! reasons in words, and simd-json may stand in for the kernels. Whoever vouches may refuse what is right
//! (simd-json does, for numbers beyond `u64` and `f64`) but never accept what is wrong.
use crate::metrics::ScannerFigures;
use core::ops::Range;
use ringmill_scan::Kind;
pub use ringmill_scan::{Fields, Found, Slot};

mod fast;
pub mod pointer;
mod reason;
pub mod schema;
mod simd;
#[cfg(test)]
mod tests;
pub mod view;

pub use fast::{FastScanner, StrictScanner};
pub use reason::Reason;
pub use ringmill_scan::{Format, Kernel, MAX_DEPTH, MAX_EVENT_BYTES, Progress};
pub use simd::SimdScanner;

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

    /// The same, and `each` is told what was found in a good event of what `fields` wants. What it is told with a
    /// refused event is of no meaning.
    fn scan_fields(
        &mut self,
        body: &[u8],
        format: Format,
        fields: &Fields,
        mut each: impl FnMut(Verdict, &Found),
    ) {
        let mut found = Found::new();
        self.scan(body, format, |verdict| {
            if let Verdict::Good { span, .. } = &verdict {
                fields.find(&body[span.clone()], &mut found);
            }
            each(verdict, &found);
        });
    }

    /// Whether [`Scanner::advance`] does anything.
    fn looks_ahead(&self) -> bool {
        false
    }

    /// Judges what can be judged of a body that is not whole yet: `body` is what is here of it, from its first
    /// byte on. Calls `each` for events whose verdict no later byte can change, in order, for each once in the
    /// body's life. It may leave everything to [`Scanner::finish`].
    fn advance(&mut self, progress: &mut Progress, body: &[u8], each: impl FnMut(Verdict)) {
        let _ = (progress, body, each);
    }

    /// Judges the rest of a body, of which `progress` tells what is known: `body` is all of it.
    fn finish(&mut self, progress: &mut Progress, body: &[u8], each: impl FnMut(Verdict)) {
        self.scan(body, progress.format(), each);
    }

    /// [`Scanner::advance`], and `each` is told what was found as by [`Scanner::scan_fields`]. To be gone on with, and
    /// finished, with the same `fields`.
    fn advance_fields(
        &mut self,
        progress: &mut Progress,
        body: &[u8],
        fields: &Fields,
        each: impl FnMut(Verdict, &Found),
    ) {
        let _ = (progress, body, fields, each);
    }

    /// [`Scanner::finish`], and `each` is told what was found.
    fn finish_fields(
        &mut self,
        progress: &mut Progress,
        body: &[u8],
        fields: &Fields,
        each: impl FnMut(Verdict, &Found),
    ) {
        self.scan_fields(body, progress.format(), fields, each);
    }

    /// Who it is, and how it fared.
    fn figures(&self) -> ScannerFigures;
}

impl From<ringmill_scan::Verdict> for Verdict {
    #[inline(always)]
    fn from(verdict: ringmill_scan::Verdict) -> Verdict {
        match verdict {
            ringmill_scan::Verdict::Good { span, breaks } => Verdict::Good { span, breaks },
            ringmill_scan::Verdict::Bad { span, offset, kind } => {
                Verdict::Bad { span, offset, reason: kind.into() }
            }
        }
    }
}

impl From<Kind> for Reason {
    fn from(kind: Kind) -> Reason {
        match kind {
            Kind::NotAnObject => Reason::NOT_AN_OBJECT,
            Kind::ByteOrderMark => Reason::BYTE_ORDER_MARK,
            Kind::InvalidUtf8 => Reason::INVALID_UTF8,
            Kind::LoneSurrogate => Reason::LONE_SURROGATE,
            Kind::TooDeep => Reason::TOO_DEEP,
            Kind::TooLarge => Reason::TOO_LARGE,
            Kind::TrailingData => Reason::TRAILING_DATA,
            Kind::CutShort => Reason::CUT_SHORT,
            Kind::UnclosedString => Reason::UNCLOSED_STRING,
            Kind::ControlCharacter => Reason::CONTROL_CHARACTER,
            Kind::BadEscape => Reason::BAD_ESCAPE,
            Kind::BadHex => Reason::BAD_HEX,
            Kind::ExpectedValue => Reason::EXPECTED_VALUE,
            Kind::ExpectedKey => Reason::EXPECTED_KEY,
            Kind::ExpectedKeyOrBrace => Reason::EXPECTED_KEY_OR_BRACE,
            Kind::ExpectedColon => Reason::EXPECTED_COLON,
            Kind::ExpectedCommaOrBrace => Reason::EXPECTED_COMMA_OR_BRACE,
            Kind::ExpectedCommaOrBracket => Reason::EXPECTED_COMMA_OR_BRACKET,
            Kind::ExpectedDigit => Reason::EXPECTED_DIGIT,
            Kind::LeadingZero => Reason::LEADING_ZERO,
            Kind::BadLiteral => Reason::BAD_LITERAL,
            Kind::UnclosedArray => Reason::UNCLOSED_ARRAY,
            Kind::AfterArray => Reason::AFTER_ARRAY,
            Kind::BetweenEvents => Reason::BETWEEN_EVENTS,
        }
    }
}

/// The scanner that the configuration named.
pub enum AnyScanner {
    /// Windows of bytes through the processor's vector units, the exact pass for what these do not vouch for.
    Fast(alloc::boxed::Box<FastScanner>),
    /// One exact pass over the bytes as they came.
    Exact(StrictScanner),
    /// simd-json on a scratch copy, the exact pass for what it does not vouch for.
    Simd(alloc::boxed::Box<SimdScanner>),
}

impl Scanner for AnyScanner {
    fn scan(&mut self, body: &[u8], format: Format, each: impl FnMut(Verdict)) {
        match self {
            AnyScanner::Fast(scanner) => scanner.scan(body, format, each),
            AnyScanner::Exact(scanner) => scanner.scan(body, format, each),
            AnyScanner::Simd(scanner) => scanner.scan(body, format, each),
        }
    }

    fn scan_fields(
        &mut self,
        body: &[u8],
        format: Format,
        fields: &Fields,
        each: impl FnMut(Verdict, &Found),
    ) {
        match self {
            AnyScanner::Fast(scanner) => scanner.scan_fields(body, format, fields, each),
            AnyScanner::Exact(scanner) => scanner.scan_fields(body, format, fields, each),
            AnyScanner::Simd(scanner) => scanner.scan_fields(body, format, fields, each),
        }
    }

    fn looks_ahead(&self) -> bool {
        matches!(self, AnyScanner::Fast(scanner) if scanner.looks_ahead())
    }

    fn advance(&mut self, progress: &mut Progress, body: &[u8], each: impl FnMut(Verdict)) {
        if let AnyScanner::Fast(scanner) = self {
            scanner.advance(progress, body, each);
        }
    }

    fn finish(&mut self, progress: &mut Progress, body: &[u8], each: impl FnMut(Verdict)) {
        match self {
            AnyScanner::Fast(scanner) => scanner.finish(progress, body, each),
            AnyScanner::Exact(scanner) => scanner.finish(progress, body, each),
            AnyScanner::Simd(scanner) => scanner.finish(progress, body, each),
        }
    }

    fn advance_fields(
        &mut self,
        progress: &mut Progress,
        body: &[u8],
        fields: &Fields,
        each: impl FnMut(Verdict, &Found),
    ) {
        if let AnyScanner::Fast(scanner) = self {
            scanner.advance_fields(progress, body, fields, each);
        }
    }

    fn finish_fields(
        &mut self,
        progress: &mut Progress,
        body: &[u8],
        fields: &Fields,
        each: impl FnMut(Verdict, &Found),
    ) {
        match self {
            AnyScanner::Fast(scanner) => scanner.finish_fields(progress, body, fields, each),
            AnyScanner::Exact(scanner) => scanner.finish_fields(progress, body, fields, each),
            AnyScanner::Simd(scanner) => scanner.finish_fields(progress, body, fields, each),
        }
    }

    fn figures(&self) -> ScannerFigures {
        match self {
            AnyScanner::Fast(scanner) => scanner.figures(),
            AnyScanner::Exact(scanner) => scanner.figures(),
            AnyScanner::Simd(scanner) => scanner.figures(),
        }
    }
}
