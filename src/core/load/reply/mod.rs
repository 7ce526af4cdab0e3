//! Replies as a client reads them: finds their ends in a stream of bytes, whatever the splits, without memory.
//!
//! [`Replies`] reads HTTP/1.1 and 1.0. It is lenient where a server's taste is its own (line breaks, reasons,
//! unknown fields) and strict where the end of a reply would be in doubt. It does not validate replies, join
//! bodies or know which request a reply belongs to: replies come in the order of the requests.
//!
//! ```text
//!            status line      empty line            body complete
//!   Start ───────────────► Head ────────► body ─────────────────────► Start   (Reply)
//!     ▲                     │ 1xx           │
//!     └─────────────────────┘               └── unsized: ends with the connection (Replies::end)
//! ```
//!
//! The load tester wants no more than that, at the cost of a comparison; whoever wants fields and bodies listens
//! with a [`Tap`].
//!
//! [`LineReplies`] reads what ringmill answers to lines.
mod lines;
#[cfg(test)]
mod tests;

pub use lines::{LineReplies, LineReply};

use core::ops::Range;
use memchr::memchr;

/// Bytes of a line that are looked at; what stands behind them is skipped. No field that matters is as long.
const LINE_BYTES_MAX: usize = 512;
/// Bytes of a head, after which the server is not taken seriously any more. Browsers stop at 256 KiB.
const HEAD_BYTES_MAX: u64 = 256 << 10;
/// Longest head that is remembered. Those of servers under load have 80 to 300 bytes.
const SEEN_BYTES_MAX: usize = 512;

/// A reply that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its status, 200 to 999 (1xx are passed over).
    pub status: u16,
    /// The server ends the connection behind it.
    pub close: bool,
    /// Bytes of the body, its coding aside.
    pub body_bytes: u64,
    /// Where the body lies in what was fed, if all of it lies there in one piece.
    pub body: Option<Range<usize>>,
    /// Where in what was fed the next reply begins.
    pub end: usize,
}

/// What came is no reply. Nothing behind it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadReply {
    /// What is wrong, for people.
    pub why: &'static str,
    /// Bytes received on this connection before the line or chunk where it was found.
    pub offset: u64,
}

/// Where the next byte belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    Head,
    /// A body with so many bytes to come.
    Sized(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailer,
    UntilClose,
}

/// What a head says that matters.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    status: u16,
    /// HTTP/1.0.
    old: bool,
    length: Option<u64>,
    chunked: bool,
    /// A coding whose end only the connection's end shows.
    unsized_coding: bool,
    close: bool,
    keep_alive: bool,
}

/// Reads the replies of one connection.
#[derive(Clone, Debug)]
pub struct Replies {
    state: State,
    head: Head,
    head_only: bool,
    carry: Carry,
    /// Bytes of the present head, or of the present chunk's or trailer's lines.
    head_bytes: u64,
    body_bytes: u64,
    /// Bytes of earlier feeds.
    before: u64,
    fed: u64,
    dead: Option<BadReply>,
    /// The newest head that came in one piece. Under load most are alike but for their date, so most are read
    /// by one comparison.
    seen: [u8; SEEN_BYTES_MAX],
    seen_len: usize,
    seen_head: Head,
}

/// The beginning of a line whose end has not come.
#[derive(Clone, Debug)]
struct Carry {
    bytes: [u8; LINE_BYTES_MAX],
    len: usize,
    /// Bytes of the line so far, kept or not.
    total: u64,
}

/// A line without its break.
struct Line<'a> {
    text: &'a [u8],
    /// It was longer than what is looked at.
    cut: bool,
    /// Its bytes, break and all.
    total: u64,
}

impl Carry {
    /// The line that goes on at `at` and ends in `data`; otherwise keeps what there is.
    fn line<'a>(&'a mut self, data: &'a [u8], at: &mut usize) -> Option<Line<'a>> {
        let rest = &data[*at..];
        let Some(end) = memchr(b'\n', rest) else {
            self.keep(rest);
            *at = data.len();
            return None;
        };
        *at += end + 1;
        let total = self.total + end as u64 + 1;
        let text = if self.total == 0 {
            &rest[..end.min(LINE_BYTES_MAX)]
        } else {
            self.keep(&rest[..end]);
            &self.bytes[..self.len]
        };
        (self.len, self.total) = (0, 0);
        let cut = total - 1 > LINE_BYTES_MAX as u64;
        Some(Line { text: text.strip_suffix(b"\r").filter(|_| !cut).unwrap_or(text), cut, total })
    }

    fn keep(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(LINE_BYTES_MAX - self.len);
        self.bytes[self.len..self.len + kept].copy_from_slice(&bytes[..kept]);
        self.len += kept;
        self.total += bytes.len() as u64;
    }
}

impl Replies {
    /// Of a connection just opened.
    pub const fn new() -> Replies {
        const HEAD: Head = Head {
            status: 0,
            old: false,
            length: None,
            chunked: false,
            unsized_coding: false,
            close: false,
            keep_alive: false,
        };
        Replies {
            state: State::Start,
            head: HEAD,
            head_only: false,
            carry: Carry { bytes: [0; LINE_BYTES_MAX], len: 0, total: 0 },
            head_bytes: 0,
            body_bytes: 0,
            before: 0,
            fed: 0,
            dead: None,
            seen: [0; SEEN_BYTES_MAX],
            seen_len: 0,
            seen_head: HEAD,
        }
    }

    /// The same where every request is a HEAD: replies have no bodies, whatever length they name.
    pub const fn to_head() -> Replies {
        let mut replies = Replies::new();
        replies.head_only = true;
        replies
    }

    /// Begins anew: another connection to the same server.
    pub fn reset(&mut self) {
        self.state = State::Start;
        (self.carry.len, self.carry.total) = (0, 0);
        (self.before, self.fed, self.head_bytes) = (0, 0, 0);
        self.dead = None;
    }

    /// Takes what was received. Go through the replies to the end: what is left over is lost otherwise.
    #[inline]
    pub fn feed<'a>(&'a mut self, data: &'a [u8]) -> Feed<'a> {
        self.before += self.fed;
        self.fed = data.len() as u64;
        Feed { replies: self, tap: None, data, at: 0, ended: false }
    }

    /// The same, and `tap` hears what the replies say.
    pub fn feed_to<'a>(&'a mut self, data: &'a [u8], tap: &'a mut dyn Tap) -> Feed<'a> {
        Feed { tap: Some(tap), ..self.feed(data) }
    }

    /// Whether a reply has begun and is not complete.
    pub fn in_reply(&self) -> bool {
        self.state != State::Start || self.carry.total > 0
    }

    /// The server ended the connection: the reply that this completes, if any.
    ///
    /// # Errors
    /// It ended within a reply, or there was no sense in what came before.
    pub fn end(&mut self) -> Result<Option<Reply>, BadReply> {
        if let Some(bad) = self.dead {
            return Err(bad);
        }
        if self.state == State::UntilClose {
            self.state = State::Start;
            return Ok(Some(self.reply(0, None)));
        }
        if self.in_reply() {
            return Err(self.die("the connection ended within a reply", self.before + self.fed));
        }
        Ok(None)
    }

    fn die(&mut self, why: &'static str, offset: u64) -> BadReply {
        *self.dead.insert(BadReply { why, offset })
    }

    fn reply(&self, end: usize, body: Option<Range<usize>>) -> Reply {
        let Head { status, old, close, keep_alive, .. } = self.head;
        Reply { status, close: close || old && !keep_alive, body_bytes: self.body_bytes, body, end }
    }

    /// Where the body of the head just read ends. `true`: there is none.
    fn begin_body(&mut self) -> bool {
        let head = &mut self.head;
        (self.body_bytes, self.head_bytes) = (0, 0);
        self.state = State::Start;
        if self.head_only || matches!(head.status, 204 | 304) {
            return true;
        }
        if head.chunked {
            // RFC 9112, 6.3: whoever names a length as well is answered by leaving.
            head.close |= head.length.is_some();
            self.state = State::ChunkSize;
            return false;
        }
        match head.length {
            Some(0) if !head.unsized_coding => true,
            Some(length) if !head.unsized_coding => {
                self.state = State::Sized(length);
                false
            }
            _ => {
                head.close = true;
                self.state = State::UntilClose;
                false
            }
        }
    }

    /// Remembers a head that lies in one piece.
    fn remember(&mut self, head: &[u8]) {
        if head.len() <= SEEN_BYTES_MAX {
            self.seen[..head.len()].copy_from_slice(head);
            self.seen_len = head.len();
            self.seen_head = self.head;
        }
    }
}

impl Default for Replies {
    fn default() -> Replies {
        Replies::new()
    }
}

/// Hears what a reply says, beside where it ends.
pub trait Tap {
    /// A head begins: an interim one, or the reply's.
    fn begin(&mut self);
    /// One field of it. Of a line that is very long the front.
    fn field(&mut self, name: &[u8], value: &[u8]);
    /// Some bytes of the body, its transfer coding taken off.
    fn body(&mut self, bytes: &[u8]);
}

/// The replies that end in one piece of input, in their order.
pub struct Feed<'a> {
    replies: &'a mut Replies,
    tap: Option<&'a mut dyn Tap>,
    data: &'a [u8],
    at: usize,
    ended: bool,
}

impl Iterator for Feed<'_> {
    type Item = Result<Reply, BadReply>;

    #[inline]
    fn next(&mut self) -> Option<Result<Reply, BadReply>> {
        if self.ended {
            return None;
        }
        let next = match self.replies.dead {
            Some(bad) => Err(bad),
            None => self.advance(),
        };
        self.ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

impl core::fmt::Debug for Feed<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Feed").field("replies", &self.replies).field("at", &self.at).finish()
    }
}

impl Feed<'_> {
    fn advance(&mut self) -> Result<Option<Reply>, BadReply> {
        // Where the head and the body began, if in this piece.
        let (mut head_at, mut body_at) = (None, None);
        while self.at < self.data.len() {
            let state = self.replies.state;
            match state {
                State::Start if self.knows_head() => {
                    if self.replies.begin_body() {
                        return Ok(Some(self.replies.reply(self.at, Some(self.at..self.at))));
                    }
                    body_at = Some(self.at);
                }
                State::Start => {
                    head_at = (self.replies.carry.total == 0).then_some(self.at);
                    if self.line(Head::begin)?.is_some() {
                        self.replies.state = State::Head;
                        if let Some(tap) = &mut self.tap {
                            tap.begin();
                        }
                    }
                }
                State::Head => {
                    if self.field()? != Some(true) || self.passes_over()? {
                        continue;
                    }
                    if let Some(start) = head_at {
                        self.replies.remember(&self.data[start..self.at]);
                    }
                    if self.replies.begin_body() {
                        return Ok(Some(self.replies.reply(self.at, Some(self.at..self.at))));
                    }
                    body_at = Some(self.at);
                }
                State::Sized(left) => {
                    if self.skip(left, State::Sized) {
                        self.replies.state = State::Start;
                        return Ok(Some(self.replies.reply(self.at, body_at.map(|start| start..self.at))));
                    }
                }
                State::UntilClose => {
                    self.skip(u64::MAX, |_| State::UntilClose);
                }
                State::ChunkSize | State::ChunkData(_) | State::ChunkEnd | State::Trailer => {
                    if self.chunk()? {
                        return Ok(Some(self.replies.reply(self.at, None)));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Passes over a head that is the same as the one before, byte for byte, and so means the same.
    #[inline]
    fn knows_head(&mut self) -> bool {
        let replies = &mut *self.replies;
        let seen = &replies.seen[..replies.seen_len];
        // Whoever listens is told each field.
        let knows = !seen.is_empty()
            && self.tap.is_none()
            && replies.carry.total == 0
            && self.data[self.at..].starts_with(seen);
        if knows {
            self.at += seen.len();
            replies.head = replies.seen_head;
        }
        knows
    }

    /// Whether the head just read is an interim one, behind which the reply is still to come.
    fn passes_over(&mut self) -> Result<bool, BadReply> {
        let status = self.replies.head.status;
        if status == 101 {
            let offset = self.replies.before + self.at as u64;
            return Err(self.replies.die("the server switches protocols, which nobody asked for", offset));
        }
        if status < 200 {
            self.replies.state = State::Start;
        }
        Ok(status < 200)
    }

    /// Goes on with a chunked body; `true` at its end.
    fn chunk(&mut self) -> Result<bool, BadReply> {
        match self.replies.state {
            State::ChunkData(left) => {
                if self.skip(left, State::ChunkData) {
                    self.replies.state = State::ChunkEnd;
                }
            }
            State::ChunkEnd => {
                if self.line(|_, line| end_of_chunk(line))?.is_some() {
                    self.replies.state = State::ChunkSize;
                }
            }
            State::Trailer => {
                if self.line(|_, line| Ok(line.text.is_empty()))? == Some(true) {
                    self.replies.head_bytes = 0;
                    self.replies.state = State::Start;
                    return Ok(true);
                }
            }
            _ => {
                if let Some(size) = self.line(|_, line| chunk_size(line))? {
                    self.replies.head_bytes = 0;
                    self.replies.state = if size == 0 { State::Trailer } else { State::ChunkData(size) };
                }
            }
        }
        Ok(false)
    }

    /// Passes over up to `left` bytes; `true` when that were all.
    fn skip(&mut self, left: u64, state: impl Fn(u64) -> State) -> bool {
        let taken = left.min((self.data.len() - self.at) as u64);
        if let Some(tap) = &mut self.tap {
            tap.body(&self.data[self.at..self.at + taken as usize]);
        }
        self.at += taken as usize;
        self.replies.body_bytes += taken;
        self.replies.state = state(left - taken);
        left == taken
    }

    /// Reads one line of a head; `true` for the empty one that ends it.
    fn field(&mut self) -> Result<Option<bool>, BadReply> {
        let mut tap = self.tap.take();
        let read = self.line(|head, line| {
            if let (Some(tap), Some(colon)) = (&mut tap, memchr(b':', line.text)) {
                tap.field(&line.text[..colon], line.text[colon + 1..].trim_ascii());
            }
            head.take(line)
        });
        self.tap = tap;
        read
    }

    /// What `read` makes of the next line of a head, chunk size or trailer, `None` while it is not all there.
    fn line<T>(
        &mut self,
        read: impl FnOnce(&mut Head, &Line<'_>) -> Result<T, &'static str>,
    ) -> Result<Option<T>, BadReply> {
        let replies = &mut *self.replies;
        let offset = replies.before + self.at as u64 - replies.carry.total;
        let Some(line) = replies.carry.line(self.data, &mut self.at) else {
            let text = &replies.carry.bytes[..replies.carry.len];
            let why = match replies.state {
                // Whoever speaks another protocol may never send the end of a line.
                State::Start if !is_http(text) => NOT_HTTP,
                State::ChunkEnd if !matches!(text, [] | [b'\r']) => CHUNK_OVERRUN,
                _ if replies.head_bytes + replies.carry.total > HEAD_BYTES_MAX => TOO_LONG,
                _ => return Ok(None),
            };
            return Err(replies.die(why, offset));
        };
        replies.head_bytes += line.total;
        let read = match replies.head_bytes > HEAD_BYTES_MAX {
            true => Err(TOO_LONG),
            false => read(&mut replies.head, &line),
        };
        read.map(Some).map_err(|why| replies.die(why, offset))
    }
}

const NOT_HTTP: &str = "what came does not begin like an HTTP/1 reply";
const CHUNK_OVERRUN: &str = "a chunk is longer than its size says";
const TOO_LONG: &str = "a head or trailer over 256 KiB";

/// Whether `text` begins like a status line, as far as it goes.
fn is_http(text: &[u8]) -> bool {
    const START: &[u8] = b"HTTP/1.";
    let len = text.len().min(START.len());
    text[..len] == START[..len]
}

fn end_of_chunk(line: &Line<'_>) -> Result<(), &'static str> {
    if line.text.is_empty() { Ok(()) } else { Err(CHUNK_OVERRUN) }
}

fn chunk_size(line: &Line<'_>) -> Result<u64, &'static str> {
    let end = line.text.iter().position(|b| !b.is_ascii_hexdigit()).unwrap_or(line.text.len());
    let (digits, rest) = line.text.split_at(end);
    let size = core::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
    match (size, rest.trim_ascii_start().first()) {
        (Some(size), None | Some(b';')) => Ok(size),
        _ => Err("a chunk does not begin with its size in hexadecimal digits"),
    }
}

impl Head {
    /// Begins with a status line.
    fn begin(&mut self, line: &Line<'_>) -> Result<(), &'static str> {
        const NO_STATUS: &str =
            "the first line of the reply is not HTTP/1.1, a status of three digits and a reason";
        if line.text.len() < 7 || !is_http(line.text) {
            return Err(NOT_HTTP);
        }
        let [minor @ (b'0' | b'1'), b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] =
            &line.text[7..]
        else {
            return Err(NO_STATUS);
        };
        if !matches!(rest, [] | [b' ', ..]) {
            return Err(NO_STATUS);
        }
        let digit = |byte: &u8| u16::from(byte - b'0');
        let status = digit(a) * 100 + digit(b) * 10 + digit(c);
        *self = Head { status, old: *minor == b'0', ..Head::default() };
        Ok(())
    }

    /// Takes note of a header line; `true` for the empty line that ends the head.
    fn take(&mut self, line: &Line<'_>) -> Result<bool, &'static str> {
        if line.text.is_empty() {
            return Ok(true);
        }
        if matches!(line.text[0], b' ' | b'\t') {
            return Err("a header line of the reply is folded");
        }
        let Some(colon) = memchr(b':', line.text) else {
            return if line.cut { Ok(false) } else { Err("a header line of the reply has no colon") };
        };
        let (name, value) = (&line.text[..colon], line.text[colon + 1..].trim_ascii());
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => self.take_length(value)?,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let last = value.rsplit(|&byte| byte == b',').next().unwrap_or_default();
                self.chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
                self.unsized_coding = !self.chunked;
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            _ => {}
        }
        Ok(false)
    }

    fn take_length(&mut self, value: &[u8]) -> Result<(), &'static str> {
        let digits = value.iter().all(u8::is_ascii_digit).then(|| core::str::from_utf8(value).ok()).flatten();
        let Some(length) = digits.and_then(|digits| digits.parse().ok()) else {
            return Err("the reply's Content-Length is no number");
        };
        match self.length.replace(length) {
            Some(before) if before != length => Err("the reply has two lengths that differ"),
            _ => Ok(()),
        }
    }
}
