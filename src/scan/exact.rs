//! The authority: decides exactly, without recursion or memory, what is wrong with a value and where.
//!
//! Two kinds of trouble are told apart. A *flaw* leaves the grammar intact (a lone surrogate, invalid UTF-8
//! inside a string, too deep): the value's end is still known, so what follows it can be read. Where the
//! value is *broken*, nothing behind it can be trusted. The first trouble in byte order is reported.
use crate::skim::skip_blank;
use crate::{Kind, MAX_DEPTH};

/// Nesting that is followed before a value counts as broken: behind it the kind of each open bracket is no
/// longer kept. 128 bytes to clear for each value.
const FOLLOWED_DEPTH: usize = 1024;

/// Trouble and where it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// Byte of the body.
    pub offset: usize,
    /// What is wrong there.
    pub kind: Kind,
}

impl Flaw {
    pub(crate) fn new(offset: usize, kind: Kind) -> Flaw {
        Flaw { offset, kind }
    }
}

/// What [`value`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    /// Just behind the value's last byte; where it broke when `broken`.
    pub end: usize,
    /// The first trouble in byte order.
    pub flaw: Option<Flaw>,
    /// The grammar is violated.
    pub broken: bool,
}

/// Judges `bytes[at..]` as exactly one event whose first byte is not white space and which is followed by
/// nothing but white space.
pub(crate) fn event(bytes: &[u8], at: usize) -> Option<Flaw> {
    if let Some(flaw) = wrong_start(bytes, at) {
        return Some(flaw);
    }
    let value = value(bytes, at);
    if value.flaw.is_some() {
        return value.flaw;
    }
    let rest = skip_blank(bytes, value.end);
    (rest < bytes.len()).then(|| Flaw::new(rest, Kind::TrailingData))
}

/// Why what begins at `at` cannot be an object.
pub(crate) fn wrong_start(bytes: &[u8], at: usize) -> Option<Flaw> {
    let kind = match bytes.get(at..).unwrap_or_default() {
        [b'{', ..] => return None,
        [0xef, 0xbb, 0xbf, ..] => Kind::ByteOrderMark,
        [0x80..=0xff, ..] if utf8_len(bytes, at).is_none() => Kind::InvalidUtf8,
        _ => Kind::NotAnObject,
    };
    Some(Flaw::new(at, kind))
}

/// What the grammar wants next.
enum Next {
    Value,
    /// Behind `[`: a value or the end.
    ValueOrEnd,
    Key,
    /// Behind `{`: a key or the end.
    KeyOrEnd,
    AfterValue,
}

/// The open brackets: whether each is an object's.
struct Open {
    depth: usize,
    objects: [u64; FOLLOWED_DEPTH / 64],
}

impl Open {
    fn push(&mut self, object: bool) -> bool {
        if self.depth == FOLLOWED_DEPTH {
            return false;
        }
        let (word, bit) = (self.depth / 64, self.depth % 64);
        self.objects[word] = self.objects[word] & !(1 << bit) | u64::from(object) << bit;
        self.depth += 1;
        true
    }

    fn in_object(&self) -> bool {
        let top = self.depth - 1;
        self.objects[top / 64] >> (top % 64) & 1 == 1
    }
}

/// Judges the one value that begins at `at`, where no white space stands.
pub(crate) fn value(bytes: &[u8], at: usize) -> Value {
    let mut first = None;
    let (end, broken) = match walk(bytes, at, &mut first) {
        Ok(end) => (end, false),
        Err(trouble) => {
            first.get_or_insert(trouble);
            (trouble.offset, true)
        }
    };
    Value { end, flaw: first, broken }
}

/// The end of the value at `at`, or where it broke; the first flaw met on the way goes to `flaw`.
fn walk(bytes: &[u8], mut at: usize, flaw: &mut Option<Flaw>) -> Result<usize, Flaw> {
    let mut open = Open { depth: 0, objects: [0; FOLLOWED_DEPTH / 64] };
    let mut next = Next::Value;
    loop {
        let Some(&byte) = bytes.get(at) else { return Err(Flaw::new(at, Kind::CutShort)) };
        next = match (next, byte) {
            (Next::KeyOrEnd, b'}') | (Next::ValueOrEnd, b']') => {
                open.depth -= 1;
                at += 1;
                Next::AfterValue
            }
            (Next::Key | Next::KeyOrEnd, b'"') => {
                at = skip_blank(bytes, string(bytes, at, flaw)?);
                match bytes.get(at) {
                    Some(b':') => at += 1,
                    Some(_) => return Err(unexpected(bytes, at, Kind::ExpectedColon)),
                    None => return Err(Flaw::new(at, Kind::CutShort)),
                }
                Next::Value
            }
            (Next::Key, _) => return Err(unexpected(bytes, at, Kind::ExpectedKey)),
            (Next::KeyOrEnd, _) => return Err(unexpected(bytes, at, Kind::ExpectedKeyOrBrace)),
            (Next::Value | Next::ValueOrEnd, b'{' | b'[') => {
                if open.depth == MAX_DEPTH {
                    flaw.get_or_insert(Flaw::new(at, Kind::TooDeep));
                }
                if !open.push(byte == b'{') {
                    return Err(Flaw::new(at, Kind::TooDeep));
                }
                at += 1;
                if byte == b'{' { Next::KeyOrEnd } else { Next::ValueOrEnd }
            }
            (Next::Value | Next::ValueOrEnd, _) => {
                at = match byte {
                    b'"' => string(bytes, at, flaw)?,
                    b'-' | b'0'..=b'9' => number(bytes, at)?,
                    b't' => literal(bytes, at, b"true")?,
                    b'f' => literal(bytes, at, b"false")?,
                    b'n' => literal(bytes, at, b"null")?,
                    _ => return Err(unexpected(bytes, at, Kind::ExpectedValue)),
                };
                Next::AfterValue
            }
            (Next::AfterValue, b',') => {
                at += 1;
                if open.in_object() { Next::Key } else { Next::Value }
            }
            (Next::AfterValue, b'}') if open.in_object() => {
                open.depth -= 1;
                at += 1;
                Next::AfterValue
            }
            (Next::AfterValue, b']') if !open.in_object() => {
                open.depth -= 1;
                at += 1;
                Next::AfterValue
            }
            (Next::AfterValue, _) => {
                let wanted =
                    if open.in_object() { Kind::ExpectedCommaOrBrace } else { Kind::ExpectedCommaOrBracket };
                return Err(unexpected(bytes, at, wanted));
            }
        };
        if open.depth == 0 {
            return Ok(at);
        }
        at = skip_blank(bytes, at);
    }
}

/// The trouble with a byte between tokens that does not belong there.
#[cold]
fn unexpected(bytes: &[u8], at: usize, wanted: Kind) -> Flaw {
    let invalid = bytes[at] >= 0x80 && utf8_len(bytes, at).is_none();
    Flaw::new(at, if invalid { Kind::InvalidUtf8 } else { wanted })
}

/// The end of the string whose opening quote is at `at`.
fn string(bytes: &[u8], at: usize, flaw: &mut Option<Flaw>) -> Result<usize, Flaw> {
    let mut at = at + 1;
    loop {
        at = skip_plain(bytes, at);
        match bytes.get(at) {
            None => return Err(Flaw::new(at, Kind::UnclosedString)),
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at = escape(bytes, at, flaw)?,
            Some(..0x20) => return Err(Flaw::new(at, Kind::ControlCharacter)),
            Some(0x80..) => match utf8_len(bytes, at) {
                Some(len) => at += len,
                None => {
                    flaw.get_or_insert(Flaw::new(at, Kind::InvalidUtf8));
                    at += 1;
                }
            },
            Some(_) => at += 1,
        }
    }
}

/// The first byte from `at` on that may need a closer look: quote, backslash, control, non-ASCII. Eight
/// bytes a step; it may stop early only at the end, where it steps by one.
fn skip_plain(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    while let Some(chunk) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let zero = |x: u64| x.wrapping_sub(ONES) & !x;
        let quote = zero(word ^ (ONES * b'"' as u64));
        let slash = zero(word ^ (ONES * b'\\' as u64));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        // A borrow makes false marks only above a true one, so the lowest mark is exact.
        let marks = (quote | slash | control | word) & HIGHS;
        if marks != 0 {
            return at + marks.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while let Some(0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7f) = bytes.get(at) {
        at += 1;
    }
    at
}

/// The end of the escape whose backslash is at `at`: of both halves where two make one character.
fn escape(bytes: &[u8], at: usize, flaw: &mut Option<Flaw>) -> Result<usize, Flaw> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => {
            let unit = hex4(bytes, at + 2)?;
            if unit & 0xf800 != 0xd800 {
                return Ok(at + 6);
            }
            if unit < 0xdc00 && bytes.get(at + 6..at + 8) == Some(b"\\u") {
                let low = hex4(bytes, at + 8)?;
                if low & 0xfc00 == 0xdc00 {
                    return Ok(at + 12);
                }
            }
            // What follows may be a good pair of its own, so only this half is passed over.
            flaw.get_or_insert(Flaw::new(at, Kind::LoneSurrogate));
            Ok(at + 6)
        }
        Some(_) => Err(Flaw::new(at, Kind::BadEscape)),
        None => Err(Flaw::new(at + 1, Kind::UnclosedString)),
    }
}

/// Four hex digits as a number.
fn hex4(bytes: &[u8], at: usize) -> Result<u32, Flaw> {
    let mut unit = 0;
    for at in at..at + 4 {
        match bytes.get(at).map(|&b| (b as char).to_digit(16)) {
            Some(Some(digit)) => unit = unit << 4 | digit,
            Some(None) => return Err(Flaw::new(at, Kind::BadHex)),
            None => return Err(Flaw::new(at, Kind::UnclosedString)),
        }
    }
    Ok(unit)
}

/// The end of the number at `at`.
fn number(bytes: &[u8], mut at: usize) -> Result<usize, Flaw> {
    if bytes[at] == b'-' {
        at += 1;
    }
    if bytes.get(at) == Some(&b'0') {
        at += 1;
        if let Some(b'0'..=b'9') = bytes.get(at) {
            return Err(Flaw::new(at - 1, Kind::LeadingZero));
        }
    } else {
        at = digits(bytes, at)?;
    }
    if bytes.get(at) == Some(&b'.') {
        at = digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = bytes.get(at) {
            at += 1;
        }
        at = digits(bytes, at)?;
    }
    Ok(at)
}

/// The end of at least one digit.
fn digits(bytes: &[u8], at: usize) -> Result<usize, Flaw> {
    let len = bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
    match len {
        0 if at == bytes.len() => Err(Flaw::new(at, Kind::CutShort)),
        0 => Err(Flaw::new(at, Kind::ExpectedDigit)),
        _ => Ok(at + len),
    }
}

/// The end of `true`, `false` or `null`.
fn literal(bytes: &[u8], at: usize, word: &[u8]) -> Result<usize, Flaw> {
    let rest = &bytes[at..];
    if rest.starts_with(word) {
        Ok(at + word.len())
    } else if word.starts_with(rest) {
        Err(Flaw::new(bytes.len(), Kind::CutShort))
    } else {
        Err(Flaw::new(at, Kind::BadLiteral))
    }
}

/// The length of the well-formed UTF-8 sequence (Unicode, table 3-7) at `at`.
fn utf8_len(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at..).unwrap_or_default() {
        [0..=0x7f, ..] => Some(1),
        [0xc2..=0xdf, 0x80..=0xbf, ..] => Some(2),
        [0xe0, 0xa0..=0xbf, 0x80..=0xbf, ..]
        | [0xe1..=0xec | 0xee..=0xef, 0x80..=0xbf, 0x80..=0xbf, ..]
        | [0xed, 0x80..=0x9f, 0x80..=0xbf, ..] => Some(3),
        [0xf0, 0x90..=0xbf, 0x80..=0xbf, 0x80..=0xbf, ..]
        | [0xf1..=0xf3, 0x80..=0xbf, 0x80..=0xbf, 0x80..=0xbf, ..]
        | [0xf4, 0x80..=0x8f, 0x80..=0xbf, 0x80..=0xbf, ..] => Some(4),
        _ => None,
    }
}
