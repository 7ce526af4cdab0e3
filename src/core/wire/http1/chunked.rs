//! The chunked coding: takes the framing out of a body in place, in one pass, whatever the splits.
//!
//! Each byte of framing is one step of the table in `step`, so nothing of a half-received size line needs to
//! stay in the buffer: after each call the buffer up to `write` holds the head and the body so far, and that is
//! all that there is to keep.
use super::limits::{CHUNK_EXTENSION_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX, TRAILER_BYTES_MAX};
use super::syntax::{is_text, is_token};
use crate::reject::Reject;

const BAD_SIZE: Reject = Reject::new(
    400,
    "bad_chunk_size",
    "a chunk begins with 1 to 16 hexadecimal digits directly followed by CR LF or a semicolon",
);
const BAD_EXTENSION: Reject = Reject::new(
    400,
    "bad_chunk_extension",
    "a chunk extension is ;name or ;name=value, without spaces, ended by CR LF; leave extensions out",
);
const LONG_EXTENSION: Reject = Reject::new(
    400,
    "chunk_extensions_too_long",
    "the chunk extensions of this body exceed 4096 bytes in all; leave them out",
);
const BAD_LINE_BREAK: Reject = Reject::new(
    400,
    "bad_chunk_line_break",
    "a line of the chunked framing does not end with CR LF; send CR LF after each size and trailer line",
);
const BAD_DATA_END: Reject = Reject::new(
    400,
    "bad_chunk_data",
    "chunk data is not followed by CR LF; its length must equal the size in the line before it",
);
const BAD_TRAILER: Reject = Reject::new(
    400,
    "bad_trailer",
    "after the last chunk come trailer lines of the form name: value, then an empty line, each ended by CR LF",
);
const LONG_TRAILER: Reject = Reject::new(
    431,
    "trailer_too_long",
    "the trailer section exceeds 4096 bytes; send such fields as headers or leave them out",
);

/// Where in the framing the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    SizeFirst,
    Size,
    NameFirst,
    Name,
    ValueFirst,
    Value,
    Quoted,
    Escaped,
    QuotedEnd,
    SizeBreak,
    Data,
    DataCr,
    DataLf,
    TrailerFirst,
    TrailerName,
    TrailerValue,
    TrailerBreak,
    EndBreak,
    End,
}

/// How far the body of one request has been decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunks {
    at: At,
    digits: u8,
    extension_bytes: u16,
    trailer_bytes: u16,
    /// Size of the present chunk while its line is read, then the bytes of it still to come.
    left: u64,
}

impl Chunks {
    pub(super) const fn new() -> Chunks {
        Chunks { at: At::SizeFirst, digits: 0, extension_bytes: 0, trailer_bytes: 0, left: 0 }
    }

    /// Bytes of the present chunk still to come.
    pub(super) fn left(&self) -> usize {
        if self.at == At::Data { self.left as usize } else { 0 }
    }

    /// Decodes what stands in `buf` from `write` on, moving data down to `write`, which moves on behind it.
    /// `Some(end)`: the body is complete, and the request ended at `end` (of the buffer as it was passed).
    ///
    /// ```text
    ///              body     write
    ///              ↓        ↓
    ///   ┌──────────┬────────┬─────┬──────────┬──┬─┬────┬─────────────────┐
    ///   │ head     │ so far │4␍␊ │ data     │␍␊│0│␍␊␍␊│ next request    │   as fed
    ///   └──────────┴────────┴─────┴──────────┴──┴─┴────┴─────────────────┘
    ///                        ┌─────────┘               ↑
    ///   ┌──────────┬────────┬▼─────────┬───────────────┬─────────────────┐
    ///   │ head     │ so far │ data     │ left over     │ next request    │   when complete
    ///   └──────────┴────────┴──────────┴───────────────┴─────────────────┘
    ///                                  ↑               ↑
    ///                                  write           end
    /// ```
    ///
    /// Data only moves towards the front and never further back than where it stood, so no byte at or behind
    /// `end` is ever written. Every byte is looked at once and moved at most once.
    ///
    /// # Errors
    /// A framing error, or `over` as soon as a chunk's size takes the body past `bytes_max`.
    pub(super) fn advance(
        &mut self,
        buf: &mut [u8],
        body: usize,
        write: &mut usize,
        bytes_max: usize,
        over: Reject,
    ) -> Result<Option<usize>, Reject> {
        let mut read = *write;
        while let Some(&byte) = buf.get(read) {
            if self.at == At::Data {
                let take = (buf.len() - read).min(self.left as usize);
                buf.copy_within(read..read + take, *write);
                *write += take;
                read += take;
                self.left -= take as u64;
                if self.left == 0 {
                    self.at = At::DataCr;
                }
                continue;
            }
            read += 1;
            self.step(byte)?;
            if self.at == At::Data && self.left > (bytes_max - (*write - body)) as u64 {
                return Err(over);
            }
            if self.at == At::End {
                return Ok(Some(read));
            }
        }
        Ok(None)
    }

    /// One byte of framing.
    fn step(&mut self, byte: u8) -> Result<(), Reject> {
        self.at = match (self.at, byte) {
            (At::SizeFirst | At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if self.digits == CHUNK_SIZE_DIGITS_MAX {
                    return Err(BAD_SIZE);
                }
                self.digits += 1;
                let digit = if byte <= b'9' { byte - b'0' } else { (byte | 0x20) - b'a' + 10 };
                self.left = self.left << 4 | u64::from(digit);
                At::Size
            }
            (At::Size | At::Name | At::Value | At::QuotedEnd, b'\r') => At::SizeBreak,
            (At::Size | At::Name | At::Value | At::QuotedEnd, b';') => At::NameFirst,
            (At::SizeFirst | At::Size, _) => return Err(BAD_SIZE),

            (At::NameFirst | At::Name, _) if is_token(byte) => At::Name,
            (At::Name, b'=') => At::ValueFirst,
            (At::ValueFirst | At::Value, _) if is_token(byte) => At::Value,
            (At::ValueFirst, b'"') => At::Quoted,
            (At::Quoted, b'"') => At::QuotedEnd,
            (At::Quoted, b'\\') => At::Escaped,
            (At::Quoted | At::Escaped, _) if is_text(byte) => At::Quoted,
            (
                At::NameFirst
                | At::Name
                | At::ValueFirst
                | At::Value
                | At::Quoted
                | At::Escaped
                | At::QuotedEnd,
                _,
            ) => return Err(BAD_EXTENSION),

            (At::SizeBreak, b'\n') => {
                self.digits = 0;
                if self.left == 0 { At::TrailerFirst } else { At::Data }
            }
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::SizeFirst,
            (At::DataCr | At::DataLf, _) => return Err(BAD_DATA_END),

            (At::TrailerFirst, b'\r') => At::EndBreak,
            (At::EndBreak, b'\n') => At::End,
            (At::TrailerFirst | At::TrailerName, _) if is_token(byte) => At::TrailerName,
            (At::TrailerName, b':') => At::TrailerValue,
            (At::TrailerValue, b'\r') => At::TrailerBreak,
            (At::TrailerValue, _) if is_text(byte) => At::TrailerValue,
            (At::TrailerBreak, b'\n') => At::TrailerFirst,
            (At::TrailerFirst | At::TrailerName | At::TrailerValue, _) => return Err(BAD_TRAILER),
            (At::SizeBreak | At::TrailerBreak | At::EndBreak, _) => return Err(BAD_LINE_BREAK),

            (At::Data | At::End, _) => unreachable!("data is copied, and nothing is read behind the end"),
        };
        self.count()
    }

    /// Counts the byte just read against the bounds of extensions and trailers.
    fn count(&mut self) -> Result<(), Reject> {
        match self.at {
            At::NameFirst
            | At::Name
            | At::ValueFirst
            | At::Value
            | At::Quoted
            | At::Escaped
            | At::QuotedEnd => {
                self.extension_bytes += 1;
                if self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX {
                    return Err(LONG_EXTENSION);
                }
            }
            At::TrailerName | At::TrailerValue | At::TrailerBreak => {
                self.trailer_bytes += 1;
                if self.trailer_bytes > TRAILER_BYTES_MAX {
                    return Err(LONG_TRAILER);
                }
            }
            _ => {}
        }
        Ok(())
    }
}
