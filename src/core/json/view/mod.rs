//! Events as Rust sees them: typed values and structs that borrow the stored bytes, or an error; no allocator.
//!
//! ```
//! use ringmill_core::json::view::Event;
//! #[derive(serde::Deserialize)]
//! struct Request<'e> {
//!     service: &'e str,
//!     took_us: u32,
//! }
//! let stored = br#"{"service":"checkout","took_us":1250,"attrs":{"http.method":"GET"}}"#;
//! let event = Event::new(stored)?;
//! assert_eq!(event.get::<&str>("/attrs/http.method")?, "GET");
//! assert_eq!(event.get::<Option<u64>>("/attrs/status")?, None);
//! let request: Request = event.read()?;
//! assert_eq!((request.service, request.took_us), ("checkout", 1250));
//! # Ok::<(), ringmill_core::json::view::Error>(())
//! ```
//!
//! A string that holds escapes does not stand in the event as what it means. Asked for as `&str` it is an error,
//! for there is nothing to borrow (in structs as `Cow<str>` too, for serde does not tell the two apart);
//! [`Text`] compares and prints it without memory, and [`Event::get`] of a `Cow<str>` takes some. Nothing else
//! here allocates, errors included, but what the asked-for type allocates itself (`String`, `Vec`).
//!
//! Looking a value up costs a walk over the event up to it: for many values of each event read a struct, which is
//! one walk.
use super::pointer::{BadPointer, element, index, member, value_end};
use super::{Format, Reason, Scanner, StrictScanner, Verdict};
use core::fmt::{self, Write};
use ringmill_scan::Unescaped;
use ringmill_scan::skim::{skip_blank, string_end};

mod de;
mod error;
mod from;

pub use error::{Error, ErrorKind};
pub use from::FromJson;

/// A JSON object that was judged good.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    bytes: &'a [u8],
}

impl<'a> Event<'a> {
    /// `bytes`, white space around them aside, as one event by the rules of the server.
    ///
    /// # Errors
    /// Why they are none, and where.
    pub fn new(bytes: &'a [u8]) -> Result<Event<'a>, Error> {
        let mut event = Err(Error::at(0, ErrorKind::Refused(Reason::NOT_AN_OBJECT)));
        if !skip_to(bytes).starts_with(b"[") {
            StrictScanner::new().scan(bytes, Format::Json, |verdict| event = Event::of(bytes, verdict));
        }
        event
    }

    /// Every event of `body`, in order, or why it is none and where in the body; `scanner` is the judge. Nothing is
    /// looked at a second time.
    pub fn each(
        scanner: &mut impl Scanner,
        body: &'a [u8],
        format: Format,
        mut each: impl FnMut(Result<Event<'a>, Error>),
    ) {
        scanner.scan(body, format, |verdict| each(Event::of(body, verdict)));
    }

    fn of(body: &'a [u8], verdict: Verdict) -> Result<Event<'a>, Error> {
        match verdict {
            Verdict::Good { span, .. } => Ok(Event { bytes: &body[span] }),
            Verdict::Bad { offset, reason, .. } => Err(Error::at(offset, ErrorKind::Refused(reason))),
        }
    }

    /// As it stands, from `{` to `}`.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// As a value.
    pub fn as_value(&self) -> Value<'a> {
        Value { bytes: self.bytes }
    }

    /// The value at a JSON pointer (RFC 6901), as `T`. Of a name that an object repeats the first counts.
    ///
    /// # Errors
    /// There is none ([`Option`] makes that a `None`, and a null too), it is of another type, it does not fit, or
    /// the pointer is none.
    pub fn get<T: FromJson<'a>>(&self, pointer: &str) -> Result<T, Error> {
        self.as_value().get(pointer)
    }

    /// Reads a struct, map or whatever else can be deserialized. In it `&str` borrows, and [`Text`] and [`Value`]
    /// do whatever stands there.
    ///
    /// # Errors
    /// The event has another shape, or a string with escapes where a `&str` is wanted. Unlike [`Event::get`], a
    /// struct has no place for a field that stands twice.
    pub fn read<T: serde::Deserialize<'a>>(&self) -> Result<T, Error> {
        self.as_value().read()
    }

    /// Its members in their order.
    pub fn members(&self) -> Members<'a> {
        Members { rest: Rest::of(self.bytes) }
    }
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.bytes.escape_ascii(), f)
    }
}

fn skip_to(bytes: &[u8]) -> &[u8] {
    &bytes[skip_blank(bytes, 0)..]
}

/// Any value of an event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Value<'a> {
    /// Without white space around it.
    bytes: &'a [u8],
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number, of any size.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl<'a> Value<'a> {
    /// As it stands.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        match self.bytes.first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// As `T`.
    ///
    /// # Errors
    /// It is of another type, or does not fit.
    pub fn to<T: FromJson<'a>>(&self) -> Result<T, Error> {
        T::from_json(*self).map_err(|kind| Error::at(0, kind))
    }

    /// The value at a JSON pointer that begins here; the empty one is this value.
    ///
    /// # Errors
    /// As of [`Event::get`]; their offsets count from here.
    pub fn get<T: FromJson<'a>>(&self, pointer: &str) -> Result<T, Error> {
        let kind = match self.at(pointer) {
            Err(bad) => ErrorKind::Pointer(bad),
            Ok(None) => return T::missing().ok_or(Error::at(0, ErrorKind::Missing)),
            Ok(Some(value)) => match T::from_json(value) {
                Ok(wanted) => return Ok(wanted),
                Err(kind) => return Err(Error::at(value.offset_in(self.bytes), kind)),
            },
        };
        Err(Error::at(0, kind))
    }

    fn at(&self, pointer: &str) -> Result<Option<Value<'a>>, BadPointer> {
        let steps = match pointer.strip_prefix('/') {
            None if pointer.is_empty() => return Ok(Some(*self)),
            None => return Err(BadPointer::NoSlash),
            Some(rest) => rest.split('/'),
        };
        let mut value = Some(self.bytes);
        for step in steps {
            let tildes = || step.bytes().enumerate().filter(|(_, byte)| *byte == b'~');
            let after = |at: usize| step.as_bytes().get(at + 1);
            if tildes().any(|(at, _)| !matches!(after(at), Some(b'0' | b'1'))) {
                return Err(BadPointer::BadTilde);
            }
            value = value.and_then(|bytes| match bytes.first()? {
                b'{' => member(bytes, |raw| is_name(raw, step.as_bytes())),
                b'[' => element(bytes, index(step)?),
                _ => None,
            });
        }
        Ok(value.map(|bytes| Value { bytes }))
    }

    /// Reads whatever can be deserialized; see [`Event::read`].
    ///
    /// # Errors
    /// As of [`Event::read`]; their offsets count from here.
    pub fn read<T: serde::Deserialize<'a>>(&self) -> Result<T, Error> {
        de::read(self.bytes)
    }

    /// How far into `whole`, of which it is a part, it begins.
    fn offset_in(&self, whole: &[u8]) -> usize {
        (self.bytes.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.bytes.escape_ascii(), f)
    }
}

/// Whether a name, as it stands between its quotes, is that of a pointer's step.
fn is_name(raw: &[u8], step: &[u8]) -> bool {
    match memchr::memchr(b'\\', raw).or(memchr::memchr(b'~', step)) {
        None => raw == step,
        Some(_) => Unescaped::of(raw).eq(Untilded { rest: step }),
    }
}

/// The name that a step of a pointer stands for; behind each tilde is 0 or 1.
struct Untilded<'p> {
    rest: &'p [u8],
}

impl Iterator for Untilded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (byte, taken) = match self.rest {
            [b'~', b'1', ..] => (b'/', 2),
            [b'~', _, ..] => (b'~', 2),
            [byte, ..] => (*byte, 1),
            [] => return None,
        };
        self.rest = &self.rest[taken..];
        Some(byte)
    }
}

/// A string, whatever of it is escaped.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    /// What stands between the quotes.
    raw: &'a [u8],
}

impl<'a> Text<'a> {
    /// As it stands, if nothing of it is escaped.
    pub fn as_str(&self) -> Option<&'a str> {
        match memchr::memchr(b'\\', self.raw) {
            None => core::str::from_utf8(self.raw).ok(),
            Some(_) => None,
        }
    }

    /// The bytes that it stands for: UTF-8.
    pub fn bytes(&self) -> impl Iterator<Item = u8> + use<'a> {
        Unescaped::of(self.raw)
    }

    /// What it stands for, with memory only where something is escaped.
    pub fn to_cow(&self) -> alloc::borrow::Cow<'a, str> {
        match self.as_str() {
            Some(text) => text.into(),
            None => alloc::string::String::from_utf8_lossy(&self.bytes().collect::<alloc::vec::Vec<u8>>())
                .into_owned()
                .into(),
        }
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        self.bytes().eq(other.bytes())
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes().eq(other.bytes())
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.as_str() {
            return f.write_str(text);
        }
        let mut bytes = self.bytes();
        while let Some(first) = bytes.next() {
            let len = match first {
                0..0xc0 => 1,
                0xc0..0xe0 => 2,
                0xe0..0xf0 => 3,
                _ => 4,
            };
            let mut character = [first, 0, 0, 0];
            character[1..len].fill_with(|| bytes.next().unwrap_or(b'?'));
            let text = core::str::from_utf8(&character[..len]).unwrap_or("\u{fffd}");
            text.chars().try_for_each(|character| f.write_char(character))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.raw.escape_ascii())
    }
}

/// What is left of the inside of an array or object.
#[derive(Clone)]
struct Rest<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Rest<'a> {
    fn of(bytes: &'a [u8]) -> Rest<'a> {
        Rest { bytes, at: 1 }
    }

    /// At the next member or element, over the comma; `None` at the end.
    fn begin(&mut self) -> Option<u8> {
        self.at = skip_blank(self.bytes, self.at);
        if self.bytes.get(self.at) == Some(&b',') {
            self.at = skip_blank(self.bytes, self.at + 1);
        }
        self.bytes.get(self.at).copied().filter(|byte| !matches!(byte, b'}' | b']'))
    }

    fn value(&mut self) -> Option<Value<'a>> {
        let start = self.at;
        self.at = value_end(self.bytes, start)?;
        Some(Value { bytes: &self.bytes[start..self.at] })
    }

    fn name(&mut self) -> Option<Text<'a>> {
        let start = self.at;
        let end = string_end(self.bytes, start)?;
        // The colon.
        self.at = skip_blank(self.bytes, skip_blank(self.bytes, end) + 1);
        Some(Text { raw: &self.bytes[start + 1..end - 1] })
    }
}

/// The elements of an array.
#[derive(Clone)]
pub struct Elements<'a> {
    rest: Rest<'a>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.rest.begin()?;
        self.rest.value()
    }
}

/// The members of an object: name and value.
#[derive(Clone)]
pub struct Members<'a> {
    rest: Rest<'a>,
}

impl<'a> Iterator for Members<'a> {
    type Item = (Text<'a>, Value<'a>);

    fn next(&mut self) -> Option<(Text<'a>, Value<'a>)> {
        self.rest.begin()?;
        Some((self.rest.name()?, self.rest.value()?))
    }
}

#[cfg(test)]
mod tests;
