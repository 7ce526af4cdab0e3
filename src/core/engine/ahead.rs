//! Verdicts on the front of a body, kept until the body is whole.
//!
//! Whether a request is taken at all is known when its last byte is here: it may be refused as a whole, or find no
//! room. So the events of its front are judged as they come, while their bytes are in the cache, and what was
//! found is kept in a few bytes each; then all of them are told at once, and only the last piece is left to judge.
//!
//! The logs come from a pool, for few connections are within a body at once. Where there is none left, or one is
//! full, or the scanner cannot do it, what is not in a log is judged when the body is whole: the verdicts are the
//! same, only later.
//!
//! A run of good lines is told as one, for a batch takes them in one copy. Where a stream's events are held against a
//! schema, its verdict is the one that is kept; where the sink wants a value of each, so is where that stands.
//!
//! This is no store of events: a log holds where they begin and end, and no byte of them.
use super::conn::Conn;
use super::look::{Good, Judged, Look};
use super::{ConnId, Hub};
use crate::json::schema::{Check, Picked};
use crate::json::{Format, Progress, Reason, Scanner};
use crate::memory::{Clock, Memory};
use crate::segment::header::StreamName;
use crate::sink::Sink;
use crate::wire::http1::Front;
use alloc::vec::Vec;
use core::ops::Range;
use memchr::memchr_iter;

/// Bytes of one log: runs of good lines take up to twelve bytes, an element of an array three or four, what is
/// refused some six; a value that the sink wants, two or three.
pub const LOG_BYTES: usize = 16 << 10;

/// Logs of a shard, if it has that many connections.
pub const LOGS: usize = 128;

/// New bytes of a body that are worth a look before it is whole; fewer cost less in one go with what follows.
const PIECE_BYTES_MIN: usize = 4 << 10;

/// Most bytes that one entry takes: two varints of up to 24 bits, and one of 32 and a byte, or four of 19 bits.
const ENTRY_BYTES_MAX: usize = 4 + 4 + 4 * 3;

/// A place in the pool.
pub(super) type AheadId = u16;

/// What a scanner found, events of one line each side by side taken together.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told<'b> {
    /// Good ones; when there are several, each but the last is followed by one line feed.
    Good { span: Range<usize>, good: Good<'b> },
    /// One to refuse.
    Bad { span: Range<usize>, offset: usize, reason: Reason },
}

/// Puts good lines that follow each other together.
struct Runs<'b> {
    body: &'b [u8],
    span: Range<usize>,
    events: u32,
}

impl<'b> Runs<'b> {
    fn new(body: &'b [u8]) -> Runs<'b> {
        Runs { body, span: 0..0, events: 0 }
    }

    #[inline(always)]
    fn push(&mut self, span: Range<usize>, judged: Judged<'b>, mut each: impl FnMut(Told<'b>)) {
        match judged {
            Ok(Good { breaks: false, picked: None, .. }) => {
                let follows = self.events > 0
                    && span.start == self.span.end + 1
                    && self.body.get(self.span.end) == Some(&b'\n');
                if follows {
                    (self.span.end, self.events) = (span.end, self.events + 1);
                } else {
                    self.flush(&mut each);
                    (self.span, self.events) = (span, 1);
                }
            }
            Ok(good) => {
                self.flush(&mut each);
                each(Told::Good { span, good });
            }
            Err((offset, reason)) => {
                self.flush(&mut each);
                each(Told::Bad { span, offset, reason });
            }
        }
    }

    /// Tells the run that is open.
    #[inline(always)]
    fn flush(&mut self, mut each: impl FnMut(Told<'b>)) {
        if self.events > 0 {
            let good = Good { events: self.events, breaks: false, picked: None };
            each(Told::Good { span: self.span.clone(), good });
            self.events = 0;
        }
    }
}

/// The events of a run, one by one.
fn each_line(body: &[u8], span: Range<usize>, mut each: impl FnMut(Range<usize>)) {
    let mut start = span.start;
    for end in memchr_iter(b'\n', &body[span.clone()]) {
        each(start..span.start + end);
        start = span.start + end + 1;
    }
    each(start..span.end);
}

/// Judges all events of `body`, with what is known of it. `runs`: several good lines may be given at once.
#[inline(always)]
pub(super) fn judge<'b>(
    scanner: &mut impl Scanner,
    ahead: Option<&Ahead>,
    check: Option<&Check>,
    (body, format): (&'b [u8], Format),
    runs: bool,
    mut each: impl FnMut(Range<usize>, Judged<'b>),
) {
    let each = |told: Told<'b>| match told {
        Told::Bad { span, offset, reason } => each(span, Err((offset, reason))),
        Told::Good { span, good } if runs || good.events == 1 => each(span, Ok(good)),
        Told::Good { span, good } => {
            each_line(body, span, |span| each(span, Ok(Good { events: 1, ..good })));
        }
    };
    match ahead {
        Some(ahead) => ahead.tell(scanner, check, body, each),
        None => judge_whole(scanner, check, body, format, each),
    }
}

#[inline(always)]
fn judge_whole<'b>(
    scanner: &mut impl Scanner,
    check: Option<&Check>,
    body: &'b [u8],
    format: Format,
    mut each: impl FnMut(Told<'b>),
) {
    let mut runs = Runs::new(body);
    Look { check, body }.scan(scanner, format, |span, judged| runs.push(span, judged, &mut each));
    runs.flush(each);
}

/// What is known of one body.
pub(super) struct Ahead {
    progress: Progress,
    log: Vec<u8>,
    /// Where the last event in the log ends.
    end: usize,
    /// The log is full.
    full: bool,
}

impl Ahead {
    pub fn new() -> Ahead {
        let log = Vec::with_capacity(LOG_BYTES);
        Ahead { progress: Progress::new(Format::Sniff), log, end: 0, full: false }
    }

    /// For another body.
    pub fn begin(&mut self, format: Format) {
        (self.progress, self.end, self.full) = (Progress::new(format), 0, false);
        self.log.clear();
    }

    /// Whether there is enough new in a body that is `len` bytes long to look at it.
    pub fn wants(&self, len: usize) -> bool {
        !self.full && len >= self.progress.through() + PIECE_BYTES_MIN
    }

    /// Bytes of the body that were looked at.
    #[cfg(test)]
    pub fn through(&self) -> usize {
        self.progress.through()
    }

    /// Judges what is new in `body`, which begins as it did the last time and is held against the same `check`.
    pub fn advance(&mut self, scanner: &mut impl Scanner, check: Option<&Check>, body: &[u8]) {
        let (before, len, end) = (self.progress, self.log.len(), self.end);
        let mut progress = self.progress;
        let mut runs = Runs::new(body);
        Look { check, body }.advance(scanner, &mut progress, |span, judged| {
            runs.push(span, judged, |told| self.note(body, told));
        });
        runs.flush(|told| self.note(body, told));
        self.progress = progress;
        if self.full {
            // As if this piece had not been looked at yet.
            (self.progress, self.end) = (before, end);
            self.log.truncate(len);
        }
    }

    /// Tells what is known of `body`, then judges the rest of it. May be asked again.
    #[inline(always)]
    fn tell<'b>(
        &self,
        scanner: &mut impl Scanner,
        check: Option<&Check>,
        body: &'b [u8],
        mut each: impl FnMut(Told<'b>),
    ) {
        let look = Look { check, body };
        let mut entries = Entries { log: &self.log, at: 0, look: &look };
        while let Some(told) = entries.next() {
            each(told);
        }
        let (mut progress, mut runs) = (self.progress, Runs::new(body));
        look.finish(scanner, &mut progress, |span, judged| runs.push(span, judged, &mut each));
        runs.flush(each);
    }

    fn note(&mut self, body: &[u8], told: Told<'_>) {
        if self.full || self.log.len() + ENTRY_BYTES_MAX > LOG_BYTES {
            self.full = true;
            return;
        }
        let (span, tag) = match &told {
            Told::Good { span, good: Good { events: 1, breaks, .. } } => {
                (span, if *breaks { BROKEN } else { ONE })
            }
            Told::Good { span, .. } => (span, RUN),
            Told::Bad { span, .. } => (span, BAD),
        };
        put(&mut self.log, (span.start - self.end) << 2 | tag);
        put(&mut self.log, span.len());
        self.end = span.end;
        match told {
            Told::Good { good, .. } if tag == RUN => put(&mut self.log, good.events as usize),
            Told::Good { span, good } => {
                if let Some(picked) = good.picked {
                    put_value(&mut self.log, &body[span.clone()], picked.key);
                    put_value(&mut self.log, &body[span], picked.time);
                }
            }
            Told::Bad { span, offset, reason } => {
                put(&mut self.log, offset - span.start);
                self.log.push(reason.number());
            }
        }
    }
}

// What an entry is, in the lowest bits of its distance from the one before.
const ONE: usize = 0;
const BROKEN: usize = 1;
const RUN: usize = 2;
const BAD: usize = 3;

fn put(log: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        log.push(number as u8 | 0x80);
        number >>= 7;
    }
    log.push(number as u8);
}

/// A value within `event`: where it ends, 0 if there is none, and its length.
fn put_value(log: &mut Vec<u8>, event: &[u8], value: Option<&[u8]>) {
    let Some(value) = value else { return put(log, 0) };
    let start = value.as_ptr() as usize - event.as_ptr() as usize;
    put(log, start + value.len());
    put(log, value.len());
}

fn get_value<'b>(log: &mut &[u8], event: &'b [u8]) -> Option<&'b [u8]> {
    let end = get(log).filter(|end| *end > 0)?;
    event.get(end.checked_sub(get(log)?)?..end)
}

fn get(log: &mut &[u8]) -> Option<usize> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (&byte, rest) = log.split_first()?;
        *log = rest;
        number |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
        shift += 7;
    }
}

/// The entries of a log.
struct Entries<'l, 'b> {
    log: &'l [u8],
    /// Where the one before ended.
    at: usize,
    look: &'l Look<'l, 'b>,
}

impl<'b> Entries<'_, 'b> {
    #[inline(always)]
    fn next(&mut self) -> Option<Told<'b>> {
        let log = &mut self.log;
        let head = get(log)?;
        let start = self.at + (head >> 2);
        let span = start..start + get(log)?;
        self.at = span.end;
        Some(match head & 3 {
            BAD => {
                let offset = start + get(log)?;
                let (&number, rest) = log.split_first()?;
                *log = rest;
                let known = Reason::ALL.get(usize::from(number)).copied();
                // What a schema words is looked up again.
                let reason = known.unwrap_or_else(|| self.look.why(span.clone()));
                Told::Bad { span, offset, reason }
            }
            RUN => {
                let good = Good { events: get(log)? as u32, breaks: false, picked: None };
                Told::Good { span, good }
            }
            tag => {
                let picked = self.look.picks().then(|| {
                    let event = &self.look.body[span.clone()];
                    Picked { key: get_value(log, event), time: get_value(log, event) }
                });
                Told::Good { span, good: Good { events: 1, breaks: tag == BROKEN, picked } }
            }
        })
    }
}

/// Bytes that the logs of a shard with so many connections take.
pub const fn logs_bytes(connections: usize) -> usize {
    logs(connections) * (LOG_BYTES + size_of::<Ahead>() + size_of::<AheadId>())
}

const fn logs(connections: usize) -> usize {
    if connections < LOGS { connections } else { LOGS }
}

/// The pool of a shard with so many connections, and what is free of it.
pub(super) fn pool(connections: usize) -> (Vec<Ahead>, Vec<AheadId>) {
    let all = logs(connections);
    ((0..all).map(|_| Ahead::new()).collect(), (0..all as AheadId).rev().collect())
}

impl<M: Memory, C: Clock, S: Scanner, K: Sink> Hub<M, C, S, K> {
    /// Judges what is new of a body that is not whole yet; `data` is what is here of its request.
    pub(super) fn look_ahead(&mut self, conn: &mut Conn<M>, of: ConnId, data: &[u8], front: &Front) {
        let (body, format) = (&data[front.start..], front.format);
        if conn.ahead.is_none() && body.len() >= PIECE_BYTES_MIN {
            conn.ahead = self.aheads_free.pop();
            if let Some(id) = conn.ahead {
                self.aheads[usize::from(id)].begin(format);
            }
        }
        if let Some(ahead) = conn.ahead.map(|id| &mut self.aheads[usize::from(id)])
            && ahead.wants(body.len())
        {
            let before = ahead.progress.through();
            let name = || front.stream.clone().and_then(|name| StreamName::new(&data[name]));
            let check = match self.checks.is_empty() {
                true => None,
                false => self.checks.of(&name().unwrap_or(StreamName::DEFAULT)),
            };
            ahead.advance(&mut self.scanner, check, body);
            self.done.judged(of, ahead.progress.through() - before);
        }
    }

    /// The body is done with.
    pub(super) fn forget_ahead(&mut self, conn: &mut Conn<M>) {
        self.aheads_free.extend(conn.ahead.take());
    }
}

#[cfg(test)]
#[path = "ahead_tests.rs"]
mod tests;
