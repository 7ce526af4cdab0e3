//! What can go wrong, without memory.
use crate::json::Reason;
use crate::json::pointer::BadPointer;
use core::fmt::{self, Write};

/// Bytes kept of what a `Deserialize` says; the rest is cut.
const MESSAGE_BYTES: usize = 80;

/// What is wrong, and where. Of fixed size; making one allocates nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    offset: usize,
    message: [u8; MESSAGE_BYTES],
    message_len: u8,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The bytes are no event.
    Refused(Reason),
    /// The pointer is none.
    Pointer(BadPointer),
    /// Nothing stands there.
    Missing,
    /// Something else stands there than this.
    Expected(&'static str),
    /// A string with escapes cannot be borrowed as `&str`.
    Escaped,
    /// A number that the type does not hold.
    OutOfRange,
    /// What the type's own `Deserialize` says.
    Shape,
}

impl Error {
    pub(super) fn at(offset: usize, kind: ErrorKind) -> Error {
        Error { kind, offset, message: [0; MESSAGE_BYTES], message_len: 0 }
    }

    /// With a place, where it has none yet.
    pub(super) fn or_at(mut self, offset: usize) -> Error {
        if self.kind == ErrorKind::Shape && self.offset == 0 {
            self.offset = offset;
        }
        self
    }

    /// What is wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Byte of the event (or value, or body) that was asked.
    pub fn offset(&self) -> usize {
        self.offset
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ErrorKind::Refused(reason) => reason.fmt(f)?,
            ErrorKind::Pointer(bad) => return f.write_str(bad.reason()),
            ErrorKind::Missing => return f.write_str("there is no such value"),
            ErrorKind::Expected(what) => write!(f, "expected {what}")?,
            ErrorKind::Escaped => {
                f.write_str("a string with escapes cannot be borrowed: ask for Text or Cow")?
            }
            ErrorKind::OutOfRange => f.write_str("a number out of range")?,
            ErrorKind::Shape => {
                let message = &self.message[..usize::from(self.message_len)];
                f.write_str(core::str::from_utf8(message).unwrap_or("another shape"))?;
            }
        }
        write!(f, " at byte {}", self.offset)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::de::StdError for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Error {
        let mut error = Error::at(0, ErrorKind::Shape);
        // Cut, not failed: `write_str` takes what fits.
        let _cut = write!(Message(&mut error), "{message}");
        error
    }
}

struct Message<'m>(&'m mut Error);

impl fmt::Write for Message<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let at = usize::from(self.0.message_len);
            let Some(room) = self.0.message.get_mut(at..at + character.len_utf8()) else {
                return Err(fmt::Error);
            };
            character.encode_utf8(room);
            self.0.message_len += room.len() as u8;
        }
        Ok(())
    }
}
