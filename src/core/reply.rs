//! Replies as bytes: heads, verdict lists, receipts. Formats into buffers that were made at start.
use crate::ack::Ack;
use crate::date::Date;
use crate::engine::outbox::{OUTBOX_BYTES, Outbox};
use crate::json::Reason as Flaw;
use crate::memory::Memory;
use crate::reject::Reject;
use crate::segment::header::Hash;
use crate::sink::Place;
use alloc::vec::Vec;
use core::fmt::{self, Write};

/// Most entries in a reply's `errors`; `rejected` is the full count.
pub const ERRORS_MAX: usize = 100;
/// What any reply without `errors` fits into, head and all.
pub const REPLY_BYTES_MAX: usize = 900;
/// What one entry of `errors` fits into: 50 bytes of frame and digits, and the longest reason.
pub const ERROR_BYTES_MAX: usize = 50 + REASON_BYTES_MAX;
/// Longest reason of a refused event.
pub const REASON_BYTES_MAX: usize = 80;
const _: () = assert!(REPLY_BYTES_MAX + ERRORS_MAX * ERROR_BYTES_MAX <= OUTBOX_BYTES);

/// One refused event, small enough to keep a hundred.
#[derive(Clone, Copy, Debug)]
pub struct ErrorRecord {
    /// Which event of the body (or line of the connection); [`ErrorRecord::NOWHERE`] if it is not known.
    pub index: u32,
    /// Byte of the body; [`ErrorRecord::NOWHERE`] if it is not known.
    pub offset: u32,
    /// Why.
    pub reason: Flaw,
}

impl ErrorRecord {
    /// Stands for a place that is not known: of what was refused later, when its bytes were gone.
    pub const NOWHERE: u32 = u32::MAX;
}

/// Events that Kafka or an HTTP target did not acknowledge.
#[derive(Clone, Copy, Debug)]
pub struct Undelivered<'a> {
    /// Of the request's: those that are there.
    pub written: u32,
    /// Those that are not and will not be.
    pub not_written: u32,
    /// Those of which nobody knows.
    pub possibly_written: u32,
    /// What the other side is called.
    pub name: &'static str,
    /// Where the gravest failure was, and why.
    pub place: Place<'a>,
}

/// Why lines have no acknowledgement.
#[derive(Clone, Copy, Debug)]
pub enum Trouble<'a> {
    /// The server's own reason.
    Reject(&'a Reject),
    /// The other side's.
    Undelivered(&'a Undelivered<'a>),
}

/// What the head says beside its status.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// HEAD: lengths but no body.
    pub head_only: bool,
    /// `Prefer: return=minimal`: no body at all.
    pub minimal: bool,
    /// The connection ends behind this reply.
    pub close: bool,
    /// Seconds after which to try again; 0: say nothing.
    pub retry_after_s: u32,
}

impl Manner {
    fn is_plain(&self) -> bool {
        !(self.head_only || self.minimal || self.close || self.retry_after_s > 0)
    }
}

/// Where the stored events are.
#[derive(Clone, Copy, Debug)]
pub struct ReceiptText {
    /// Shard.
    pub shard: u32,
    /// Sequence number of the first event.
    pub first: u64,
    /// Of the last.
    pub last: u64,
    /// Number of the segment.
    pub segment: u64,
    /// Hash of the header of the run that holds them.
    pub hash: Hash,
}

/// The outcome of an ingest request.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<'a> {
    /// Level reached.
    pub ack: Ack,
    /// Events taken.
    pub accepted: u32,
    /// Events refused.
    pub rejected: u32,
    /// The first of the refusals.
    pub errors: &'a [ErrorRecord],
    /// Where the taken ones are, if the sink can tell.
    pub receipt: Option<ReceiptText>,
    /// The request was all-or-nothing.
    pub all_or_nothing: bool,
}

impl Outcome<'_> {
    /// The status of the reply.
    pub fn status(&self) -> u16 {
        match (self.accepted, self.rejected) {
            (0, _) => 400,
            (_, 0) => self.ack.http_status(),
            _ => 207,
        }
    }
}

/// Formats replies. One per shard.
pub struct Composer {
    body: Vec<u8>,
    head: Vec<u8>,
    date: [u8; 29],
    date_s: u64,
    /// The newest plain reply, whole: under load most are alike but for their `Date`.
    plain: Vec<u8>,
    plain_of: Option<(Ack, u32)>,
}

impl Composer {
    /// Takes all the memory it will ever need.
    pub fn new() -> Composer {
        let mut composer = Composer {
            body: Vec::with_capacity(OUTBOX_BYTES),
            head: Vec::with_capacity(REPLY_BYTES_MAX),
            date: [b' '; 29],
            date_s: u64::MAX,
            plain: Vec::with_capacity(REPLY_BYTES_MAX),
            plain_of: None,
        };
        composer.set_time(0);
        composer
    }

    /// The time that `Date` tells.
    pub fn set_time(&mut self, wall_ms: u64) {
        if wall_ms / 1000 != self.date_s {
            self.date_s = wall_ms / 1000;
            self.date = http_date(self.date_s);
            self.plain_of = None;
        }
    }

    /// The reply to an ingest request. Returns its status.
    pub fn outcome<M: Memory>(&mut self, to: &mut Outbox<M>, outcome: &Outcome<'_>, manner: Manner) -> u16 {
        let status = outcome.status();
        let is_plain = outcome.rejected == 0 && outcome.accepted > 0 && outcome.receipt.is_none();
        let plain = (is_plain && manner.is_plain()).then_some((outcome.ack, outcome.accepted));
        if plain.is_some() && plain == self.plain_of {
            to.push(&self.plain);
            return status;
        }
        self.body.clear();
        if !manner.minimal || status == 400 {
            self.outcome_body(outcome, status);
        }
        self.send(to, status, manner);
        if plain.is_some() {
            self.plain.clear();
            self.plain.extend_from_slice(&self.head);
            self.plain.extend_from_slice(&self.body);
            self.plain_of = plain;
        }
        status
    }

    fn outcome_body(&mut self, outcome: &Outcome<'_>, status: u16) {
        let body = &mut self.body;
        put(body, b"{\"ack\":\"");
        put(body, outcome.ack.as_str().as_bytes());
        put(body, b"\",\"accepted\":");
        number(body, u64::from(outcome.accepted));
        put(body, b",\"rejected\":");
        number(body, u64::from(outcome.rejected));
        if status == 400 {
            let (code, reason) = match (outcome.rejected, outcome.all_or_nothing) {
                (0, _) => ("no_events", "the body holds no event: send at least one JSON object"),
                (_, true) => (
                    "rejected",
                    "partial=reject and some events were refused, so none is stored: mend those listed in errors",
                ),
                _ => (
                    "no_good_event",
                    "every event of the body was refused: see errors for index, offset and reason",
                ),
            };
            error_fields(body, code, reason);
        }
        put(body, b",\"errors\":[");
        for (at, error) in outcome.errors.iter().enumerate() {
            put(body, if at == 0 { b"{\"index\":" } else { b",{\"index\":" });
            number(body, u64::from(error.index));
            if error.offset != ErrorRecord::NOWHERE {
                put(body, b",\"offset\":");
                number(body, u64::from(error.offset));
            }
            put(body, b",\"reason\":\"");
            put(body, error.reason.as_str().as_bytes());
            put(body, b"\"}");
        }
        put(body, b"],\"receipt\":");
        match &outcome.receipt {
            Some(receipt) => receipt_object(body, receipt),
            None => put(body, b"null"),
        }
        put(body, b"}");
    }

    /// The reply to a refused request.
    pub fn reject<M: Memory>(&mut self, to: &mut Outbox<M>, reject: &Reject, manner: Manner) {
        self.body.clear();
        put(&mut self.body, b"{\"accepted\":0");
        error_fields(&mut self.body, reject.code, reject.reason);
        put(&mut self.body, b"}");
        self.send(to, reject.status, manner);
    }

    /// The reply to a request of which events were not acknowledged by the other side. Returns its status.
    pub fn undelivered<M: Memory>(
        &mut self,
        to: &mut Outbox<M>,
        undelivered: &Undelivered<'_>,
        manner: Manner,
    ) -> u16 {
        self.body.clear();
        put(&mut self.body, b"{\"accepted\":0");
        undelivered_fields(&mut self.body, undelivered);
        put(&mut self.body, b"}");
        self.send(to, 503, manner);
        503
    }

    /// The reply to `OPTIONS`.
    pub fn options<M: Memory>(&mut self, to: &mut Outbox<M>, manner: Manner) {
        self.body.clear();
        self.send(to, 204, manner);
    }

    /// One line of the line protocol: all lines up to `through` are settled at `ack`.
    pub fn lines<M: Memory>(
        &mut self,
        to: &mut Outbox<M>,
        ack: Result<Ack, Trouble<'_>>,
        through: u64,
        errors: &[ErrorRecord],
    ) {
        self.body.clear();
        let body = &mut self.body;
        match ack {
            Ok(ack) => {
                put(body, b"{\"ack\":\"");
                put(body, ack.as_str().as_bytes());
                put(body, b"\"");
            }
            Err(trouble) => {
                put(body, b"{\"ack\":null");
                match trouble {
                    Trouble::Reject(reject) => error_fields(body, reject.code, reject.reason),
                    Trouble::Undelivered(undelivered) => undelivered_fields(body, undelivered),
                }
            }
        }
        put(body, b",\"through\":");
        number(body, through);
        put(body, b",\"rejected\":[");
        for (at, error) in errors.iter().enumerate() {
            put(body, if at == 0 { b"{\"line\":" } else { b",{\"line\":" });
            match error.index {
                ErrorRecord::NOWHERE => put(body, b"null"),
                line => number(body, u64::from(line)),
            }
            put(body, b",\"reason\":\"");
            put(body, error.reason.as_str().as_bytes());
            put(body, b"\"}");
        }
        put(body, b"]}\n");
        to.push(&self.body);
    }

    fn send<M: Memory>(&mut self, to: &mut Outbox<M>, status: u16, manner: Manner) {
        let head = &mut self.head;
        head.clear();
        put(head, b"HTTP/1.1 ");
        number(head, u64::from(status));
        put(head, reason_phrase(status));
        put(head, b"\r\nDate: ");
        put(head, &self.date);
        if matches!(status, 204 | 405) {
            put(head, b"\r\nAllow: POST, OPTIONS");
        }
        if status != 204 {
            if !self.body.is_empty() {
                put(head, b"\r\nContent-Type: application/json");
            }
            put(head, b"\r\nContent-Length: ");
            number(head, self.body.len() as u64);
        }
        if manner.retry_after_s > 0 {
            put(head, b"\r\nRetry-After: ");
            number(head, u64::from(manner.retry_after_s));
        }
        put(head, if manner.close { b"\r\nConnection: close\r\n\r\n" } else { b"\r\n\r\n" });
        to.push(head);
        if !manner.head_only {
            to.push(&self.body);
        }
    }
}

impl Default for Composer {
    fn default() -> Composer {
        Composer::new()
    }
}

/// `HTTP/1.1 100 Continue`, whole.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

#[inline]
fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend_from_slice(bytes);
}

#[inline]
fn number(to: &mut Vec<u8>, n: u64) {
    to.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

fn error_fields(to: &mut Vec<u8>, code: &str, reason: &str) {
    put(to, b",\"error\":\"");
    put(to, code.as_bytes());
    put(to, b"\",\"reason\":\"");
    put(to, reason.as_bytes());
    put(to, b"\"");
}

/// Where and why, in words, and how many events came how far.
fn undelivered_fields(to: &mut Vec<u8>, undelivered: &Undelivered<'_>) {
    let Undelivered { written, not_written, possibly_written, name, place } = *undelivered;
    let (code, what, advice) = match (written, possibly_written) {
        (0, 0) => ("not_written", "nothing of it is in ", "send again"),
        (_, 0) => ("possibly_written", "some of it is in ", "sending again writes that twice"),
        _ => ("possibly_written", "it may be in ", "sending again may write it twice"),
    };
    put(to, b",\"error\":\"");
    put(to, code.as_bytes());
    put(to, b"\",\"reason\":\"");
    // Names of topics and all words hold nothing that JSON escapes; writing to a Vec does not fail.
    let _ = match place {
        Place::Kafka(topic, partition, reason) => {
            write!(Text(to), "topic {topic}, partition {partition}: {reason}; ")
        }
        Place::Http(why) => write!(Text(to), "{name}: {why}; "),
    };
    let _ = write!(Text(to), "{what}{name}: {advice}");
    put(to, b"\"");
    for (field, count) in [
        (&b",\"written\":"[..], written),
        (b",\"not_written\":", not_written),
        (b",\"possibly_written\":", possibly_written),
    ] {
        put(to, field);
        number(to, u64::from(count));
    }
}

struct Text<'a>(&'a mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        put(self.0, text.as_bytes());
        Ok(())
    }
}

fn receipt_object(to: &mut Vec<u8>, receipt: &ReceiptText) {
    put(to, b"{\"shard\":");
    number(to, u64::from(receipt.shard));
    put(to, b",\"first\":");
    number(to, receipt.first);
    put(to, b",\"last\":");
    number(to, receipt.last);
    put(to, b",\"segment\":\"shard-");
    padded(to, u64::from(receipt.shard), 3);
    put(to, b"/");
    padded(to, receipt.segment, 10);
    put(to, b".seg\",\"hash\":\"");
    let mut hex = [0; 64];
    receipt.hash.hex(&mut hex);
    put(to, &hex);
    put(to, b"\"}");
}

fn padded(to: &mut Vec<u8>, n: u64, width: usize) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(n).as_bytes();
    for _ in digits.len()..width {
        to.push(b'0');
    }
    put(to, digits);
}

fn reason_phrase(status: u16) -> &'static [u8] {
    match status {
        200 => b" OK",
        202 => b" Accepted",
        204 => b" No Content",
        207 => b" Multi-Status",
        400 => b" Bad Request",
        404 => b" Not Found",
        405 => b" Method Not Allowed",
        408 => b" Request Timeout",
        411 => b" Length Required",
        413 => b" Content Too Large",
        414 => b" URI Too Long",
        415 => b" Unsupported Media Type",
        417 => b" Expectation Failed",
        431 => b" Request Header Fields Too Large",
        501 => b" Not Implemented",
        503 => b" Service Unavailable",
        505 => b" HTTP Version Not Supported",
        507 => b" Insufficient Storage",
        _ => b" Error",
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` for seconds since 1970.
fn http_date(unix_s: u64) -> [u8; 29] {
    const DAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    let Date { year, month, day } = Date::of_unix_day(days);
    let mut out = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    let weekday = (days % 7) as usize * 3;
    out[..3].copy_from_slice(&DAYS[weekday..weekday + 3]);
    let name = (month as usize - 1) * 3;
    out[8..11].copy_from_slice(&MONTHS[name..name + 3]);
    let mut two = |at: usize, n: u64| {
        out[at] = b'0' + (n / 10) as u8;
        out[at + 1] = b'0' + (n % 10) as u8;
    };
    two(5, day);
    two(12, year / 100);
    two(14, year % 100);
    two(17, second / 3600);
    two(20, second / 60 % 60);
    two(23, second % 60);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (unix_s, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (1_795_219_200, "Sat, 21 Nov 2026 00:00:00 GMT"),
        ] {
            assert_eq!(core::str::from_utf8(&http_date(unix_s)), Ok(text));
        }
    }
}
