//! Heads: httparse reads them, and what it is lenient about is checked here.
//!
//! httparse already refuses spaces around names, folded lines, control characters and any version but 1.0
//! and 1.1. It lets pass a bare LF as a line break and any byte above 0x7f in a target.
use super::limits::{BODY_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX, METHOD_BYTES_MAX, TARGET_BYTES_MAX};
use super::limits::{LEADING_BREAK_BYTES_MAX, REQUEST_LINE_BYTES_MAX};
use super::route::{self, Wishes};
use super::syntax::{is, is_authority, list};
use super::{Action, Ingest};
use crate::reject::Reject;
use core::mem::MaybeUninit;

const BAD_REQUEST_LINE: Reject = Reject::new(
    400,
    "bad_request_line",
    "the request line must be METHOD TARGET HTTP/1.1 with single spaces, ended by CR LF",
);
const BAD_VERSION: Reject =
    Reject::new(400, "bad_version", "the request line does not end with HTTP/1.1 or HTTP/1.0");
const WRONG_VERSION: Reject = Reject::new(
    505,
    "version_not_supported",
    "this version of HTTP is not spoken here; use HTTP/1.1 or HTTP/1.0",
);
const BAD_LINE_BREAK: Reject = Reject::new(
    400,
    "bad_line_break",
    "a line of the head does not end with CR LF; end each with exactly these two bytes",
);
const BAD_HEADER_NAME: Reject = Reject::new(
    400,
    "bad_header_name",
    "a header line must begin with its name directly followed by a colon; lines may not be folded",
);
const BAD_HEADER_VALUE: Reject =
    Reject::new(400, "bad_header_value", "a header value holds a control character or a bare CR; remove it");
const TARGET_TOO_LONG: Reject =
    Reject::new(414, "target_too_long", "the request target exceeds 8192 bytes; shorten the URL");
const METHOD_TOO_LONG: Reject =
    Reject::new(501, "unknown_method", "the method is longer than any known one; send events with POST");
const HEAD_TOO_LONG: Reject = Reject::new(
    431,
    "head_too_long",
    "the request line and headers exceed 16384 bytes; send fewer or shorter ones",
);
const TOO_MANY_HEADERS: Reject =
    Reject::new(431, "too_many_headers", "the request has more than 64 headers; send fewer");
const NO_HOST: Reject = Reject::new(400, "no_host", "HTTP/1.1 requires one Host header; send it");
const BAD_HOST: Reject = Reject::new(
    400,
    "bad_host",
    "there must be one Host header, its value a host name or address and perhaps a port",
);
const BAD_LENGTH: Reject =
    Reject::new(400, "bad_content_length", "Content-Length must be given once, as decimal digits only");
const LENGTH_AND_CODING: Reject = Reject::new(
    400,
    "length_and_coding",
    "the request has both Content-Length and Transfer-Encoding; send one of them",
);
const BAD_CODING: Reject =
    Reject::new(400, "bad_transfer_encoding", "Transfer-Encoding must be chunked, alone, and given once");
const CODING_TOO_NEW: Reject = Reject::new(
    400,
    "bad_transfer_encoding",
    "HTTP/1.0 has no Transfer-Encoding; use HTTP/1.1 or Content-Length",
);
const NO_LENGTH: Reject = Reject::new(
    411,
    "length_required",
    "a POST needs Content-Length or Transfer-Encoding: chunked; send one",
);

/// The body is longer than the decoder takes.
pub(super) const BODY_TOO_LONG: Reject =
    Reject::new(413, "body_too_long", "the body exceeds 8388608 bytes; send the events in several requests");

/// How the end of the body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(usize),
    Chunked,
}

/// A complete head, reduced to what is acted upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Where the body begins, relative to the buffer's front.
    pub(super) end: usize,
    pub(super) framing: Framing,
    pub(super) keep_alive: bool,
    pub(super) head_only: bool,
    /// The client sent `Expect: 100-continue` and would understand the answer.
    pub(super) expects_continue: bool,
    pub(super) action: Action,
}

/// The search for the end of a head, through any number of calls.
///
/// The first call parses what is there: a request that arrived in one piece costs one pass. When that does not
/// reach the end, later calls only look at the new bytes for line breaks, and parse again when the request
/// line and when the head is complete: three passes at most, however slowly the peer sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Search {
    /// Bytes at the buffer's front in which there is no end; 0 before the first call.
    searched: usize,
    /// The request line has been seen whole and is in order.
    line_checked: bool,
}

impl Search {
    pub(super) const fn new() -> Search {
        Search { searched: 0, line_checked: false }
    }

    /// The head at the front of `buf`, `None` while it is not all there.
    ///
    /// # Errors
    /// The head is malformed or over a limit, as far as it has arrived.
    pub(super) fn find(&mut self, buf: &[u8]) -> Result<Option<Head>, Reject> {
        let Some(start) = skip_breaks(buf)? else { return Ok(None) };
        if self.searched == 0
            && let Some(head) = parse(buf, start)?
        {
            return Ok(Some(head));
        }
        self.find_slowly(buf, start)
    }

    #[cold]
    fn find_slowly(&mut self, buf: &[u8], start: usize) -> Result<Option<Head>, Reject> {
        let end = buf.len().min(start + HEAD_BYTES_MAX);
        let from = self.searched.clamp(start, end);
        for at in memchr::memchr_iter(b'\n', &buf[from..end]) {
            let line_end = from + at + 1;
            if !buf[start..line_end].ends_with(b"\r\n") {
                // What stands before it may be worse, and then that is what the peer should hear of.
                parse(&buf[..line_end], start)?;
                return Err(BAD_LINE_BREAK);
            }
            if !self.line_checked {
                if let Some(head) = parse(&buf[..line_end], start)? {
                    return Ok(Some(head));
                }
                self.line_checked = true;
            } else if buf[start..line_end].ends_with(b"\r\n\r\n") {
                return parse(&buf[..line_end], start);
            }
        }
        self.searched = end;
        if !self.line_checked && end - start >= REQUEST_LINE_BYTES_MAX {
            let method = &buf[start..start + METHOD_BYTES_MAX + 1];
            return Err(if method.contains(&b' ') { TARGET_TOO_LONG } else { METHOD_TOO_LONG });
        }
        if end - start == HEAD_BYTES_MAX { Err(HEAD_TOO_LONG) } else { Ok(None) }
    }
}

/// Where the request line begins: behind a few empty lines at most. `None`: it has not begun yet.
fn skip_breaks(buf: &[u8]) -> Result<Option<usize>, Reject> {
    let mut start = 0;
    loop {
        match buf[start..] {
            [] | [b'\r'] => return Ok(None),
            [b'\r', b'\n', ..] if start < LEADING_BREAK_BYTES_MAX => start += 2,
            [b'\r' | b'\n', ..] => return Err(BAD_REQUEST_LINE),
            _ => return Ok(Some(start)),
        }
    }
}

/// Parses the head that begins at `start`; `None` when `buf` (or the limit of a head) ends before it.
fn parse(buf: &[u8], start: usize) -> Result<Option<Head>, Reject> {
    let text = &buf[start..buf.len().min(start + HEAD_BYTES_MAX)];
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(text, &mut headers);
    // Before any complaint, for a cut-off target or method looks like a fault further on.
    if request.path.is_some_and(|target| target.len() > TARGET_BYTES_MAX) {
        return Err(TARGET_TOO_LONG);
    }
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return explain(error, &request, text).map_or(Ok(None), Err),
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(BAD_REQUEST_LINE);
    };
    if method.len() > METHOD_BYTES_MAX {
        return Err(METHOD_TOO_LONG);
    }
    if !text[..length].ends_with(b"\r\n\r\n") {
        return Err(BAD_LINE_BREAK);
    }

    let mut fields = Fields::default();
    for header in request.headers.iter() {
        // Each line's break stands right before the next line's name.
        let name_at = offset(text, header.name.as_bytes());
        if text[name_at - 2] != b'\r' {
            return Err(BAD_LINE_BREAK);
        }
        fields.take(header.name.as_bytes(), header.value)?;
    }
    let target_at = start + offset(text, target.as_bytes());
    fields.finish(method.as_bytes(), target.as_bytes(), target_at, minor, start + length).map(Some)
}

/// Where `part`, a piece of `whole`, begins in it.
fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

/// What httparse's error means here. `None`: the line must be seen to its end to tell.
#[cold]
fn explain(error: httparse::Error, request: &httparse::Request, text: &[u8]) -> Option<Reject> {
    Some(match error {
        httparse::Error::TooManyHeaders => TOO_MANY_HEADERS,
        httparse::Error::HeaderName => BAD_HEADER_NAME,
        httparse::Error::HeaderValue => BAD_HEADER_VALUE,
        httparse::Error::NewLine if request.version.is_some() => BAD_LINE_BREAK,
        httparse::Error::Version => {
            let line = &text[..memchr::memchr(b'\n', text)?];
            // httparse has seen a method and a target; all behind the second space should be a version.
            let version = line.splitn(3, |&b| b == b' ').last().unwrap_or_default();
            match version {
                [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9', b'\r'] => WRONG_VERSION,
                _ => BAD_VERSION,
            }
        }
        _ => BAD_REQUEST_LINE,
    })
}

/// The header fields that are acted upon, gathered in one pass.
#[derive(Default)]
struct Fields<'b> {
    host: Option<&'b [u8]>,
    /// Content-Length; saturates, which is over the limit as well.
    length: Option<usize>,
    chunked: bool,
    close: bool,
    expects_continue: bool,
    wishes: Wishes<'b>,
}

impl<'b> Fields<'b> {
    /// Takes note of one header. By length first: most names then cost one comparison or none.
    fn take(&mut self, name: &[u8], value: &'b [u8]) -> Result<(), Reject> {
        match name.len() {
            4 if is(name, b"host") => {
                let repeated = self.host.replace(value).is_some();
                if repeated || !is_authority(value) {
                    return Err(BAD_HOST);
                }
            }
            14 if is(name, b"content-length") => {
                if self.length.is_some() || value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
                    return Err(BAD_LENGTH);
                }
                self.length = Some(value.iter().fold(0, |sum: usize, digit| {
                    sum.saturating_mul(10).saturating_add(usize::from(digit - b'0'))
                }));
            }
            17 if is(name, b"transfer-encoding") => {
                if self.chunked || !is(value, b"chunked") {
                    return Err(BAD_CODING);
                }
                self.chunked = true;
            }
            10 if is(name, b"connection") => {
                self.close |= list(value).any(|option| is(option, b"close"));
            }
            12 if is(name, b"content-type") => {
                self.wishes.repeated_type |= self.wishes.content_type.replace(value).is_some();
            }
            12 if is(name, b"ringmill-ack") => {
                self.wishes.repeated_ack |= self.wishes.ack.replace(value).is_some();
            }
            16 if is(name, b"content-encoding") => {
                self.wishes.coded |= list(value).any(|coding| !is(coding, b"identity"));
            }
            6 if is(name, b"expect") => {
                if is(value, b"100-continue") {
                    self.expects_continue = true;
                } else {
                    self.wishes.unknown_expectation = true;
                }
            }
            6 if is(name, b"prefer") => self.wishes.prefer(value),
            _ => {}
        }
        Ok(())
    }

    /// The verdict over a head whose lines are each in order: framing first, for what is not framed soundly
    /// can be answered but not be followed by anything.
    fn finish(
        self,
        method: &[u8],
        target: &[u8],
        target_at: usize,
        minor: u8,
        end: usize,
    ) -> Result<Head, Reject> {
        if minor == 1 && self.host.is_none() {
            return Err(NO_HOST);
        }
        let framing = match (self.chunked, self.length) {
            (true, Some(_)) => return Err(LENGTH_AND_CODING),
            (true, None) if minor == 0 => return Err(CODING_TOO_NEW),
            (true, None) => Framing::Chunked,
            (false, length) => Framing::Length(length.unwrap_or(0)),
        };
        let action = match route::action(method, target, &self.wishes)? {
            Action::Ingest(ingest) => {
                if !self.chunked && self.length.is_none() {
                    return Err(NO_LENGTH);
                }
                let stream = ingest.stream.map(|name| target_at + name.start..target_at + name.end);
                Action::Ingest(Ingest { stream, ..ingest })
            }
            other => other,
        };
        if matches!(framing, Framing::Length(length) if length > BODY_BYTES_MAX) {
            return Err(BODY_TOO_LONG);
        }
        Ok(Head {
            end,
            framing,
            // What follows a CONNECT is not ours to read, whatever we answered.
            keep_alive: minor == 1 && !self.close && method != b"CONNECT",
            head_only: method == b"HEAD",
            expects_continue: minor == 1 && self.expects_continue,
            action,
        })
    }
}
