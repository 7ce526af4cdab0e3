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
//! A run of good lines is told as one, for a batch takes them in one copy.
//!
//! This is no store of events: a log holds where they begin and end, and no byte of them.
use super::conn::Conn;
use super::{ConnId, Hub};
use crate::json::{Format, Progress, Reason, Scanner, Verdict};
use crate::memory::{Clock, Memory};
use crate::sink::Sink;
use alloc::vec::Vec;
use core::ops::Range;
use memchr::memchr_iter;

/// Bytes of one log: runs of good lines take up to twelve bytes, an element of an array three or four, what is
/// refused some six.
pub const LOG_BYTES: usize = 16 << 10;

/// Logs of a shard, if it has that many connections.
pub const LOGS: usize = 128;

/// New bytes of a body that are worth a look before it is whole; fewer cost less in one go with what follows.
const PIECE_BYTES_MIN: usize = 4 << 10;

/// Most bytes that one entry takes: two varints of up to 24 bits, one of 32, and a byte.
const ENTRY_BYTES_MAX: usize = 4 + 4 + 5 + 1;

/// A place in the pool.
pub(super) type AheadId = u16;

/// What a scanner found, events of one line each side by side taken together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Good ones; when there are several, each but the last is followed by one line feed.
    Good { span: Range<usize>, events: u32, breaks: bool },
    /// One to refuse.
    Bad { span: Range<usize>, offset: usize, reason: Reason },
}

/// Puts good lines that follow each other together.
pub(super) struct Runs<'b> {
    body: &'b [u8],
    span: Range<usize>,
    events: u32,
}

impl<'b> Runs<'b> {
    pub fn new(body: &'b [u8]) -> Runs<'b> {
        Runs { body, span: 0..0, events: 0 }
    }

    #[inline(always)]
    pub fn push(&mut self, verdict: Verdict, mut each: impl FnMut(Told)) {
        match verdict {
            Verdict::Good { span, breaks: false } => {
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
            Verdict::Good { span, breaks } => {
                self.flush(&mut each);
                each(Told::Good { span, events: 1, breaks });
            }
            Verdict::Bad { span, offset, reason } => {
                self.flush(&mut each);
                each(Told::Bad { span, offset, reason });
            }
        }
    }

    /// Tells the run that is open.
    #[inline(always)]
    pub fn flush(&mut self, mut each: impl FnMut(Told)) {
        if self.events > 0 {
            each(Told::Good { span: self.span.clone(), events: self.events, breaks: false });
            self.events = 0;
        }
    }
}

/// The events of a run, one by one.
pub(super) fn each_line(body: &[u8], span: Range<usize>, mut each: impl FnMut(Range<usize>)) {
    let mut start = span.start;
    for end in memchr_iter(b'\n', &body[span.clone()]) {
        each(start..span.start + end);
        start = span.start + end + 1;
    }
    each(start..span.end);
}

/// Tells of all events of `body`, with what is known of it.
#[inline(always)]
pub(super) fn judge(
    scanner: &mut impl Scanner,
    ahead: Option<&Ahead>,
    body: &[u8],
    format: Format,
    mut each: impl FnMut(Told),
) {
    if let Some(ahead) = ahead {
        return ahead.tell(scanner, body, each);
    }
    let mut runs = Runs::new(body);
    scanner.scan(body, format, |verdict| runs.push(verdict, &mut each));
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

    /// Judges what is new in `body`, which begins as it did the last time.
    pub fn advance(&mut self, scanner: &mut impl Scanner, body: &[u8]) {
        let (before, len, end) = (self.progress, self.log.len(), self.end);
        let mut progress = self.progress;
        let mut runs = Runs::new(body);
        scanner.advance(&mut progress, body, |verdict| runs.push(verdict, |told| self.note(told)));
        runs.flush(|told| self.note(told));
        self.progress = progress;
        if self.full {
            // As if this piece had not been looked at yet.
            (self.progress, self.end) = (before, end);
            self.log.truncate(len);
        }
    }

    /// Tells what is known of `body`, then judges the rest of it. May be asked again.
    pub fn tell(&self, scanner: &mut impl Scanner, body: &[u8], mut each: impl FnMut(Told)) {
        let (mut log, mut at) = (&self.log[..], 0);
        while let Some(told) = next(&mut log, &mut at) {
            each(told);
        }
        let (mut progress, mut runs) = (self.progress, Runs::new(body));
        scanner.finish(&mut progress, body, |verdict| runs.push(verdict, &mut each));
        runs.flush(each);
    }

    fn note(&mut self, told: Told) {
        if self.full || self.log.len() + ENTRY_BYTES_MAX > LOG_BYTES {
            self.full = true;
            return;
        }
        let (span, tag) = match &told {
            Told::Good { span, events: 1, breaks } => (span, if *breaks { BROKEN } else { ONE }),
            Told::Good { span, .. } => (span, RUN),
            Told::Bad { span, .. } => (span, BAD),
        };
        put(&mut self.log, (span.start - self.end) << 2 | tag);
        put(&mut self.log, span.len());
        self.end = span.end;
        match told {
            Told::Good { events, .. } if tag == RUN => put(&mut self.log, events as usize),
            Told::Good { .. } => {}
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

/// The entry at the front of `log`; the one before ended at `at`.
fn next(log: &mut &[u8], at: &mut usize) -> Option<Told> {
    let head = get(log)?;
    let start = *at + (head >> 2);
    let span = start..start + get(log)?;
    *at = span.end;
    Some(match head & 3 {
        BAD => {
            let offset = start + get(log)?;
            Told::Bad { span, offset, reason: Reason::ALL[get(log)?] }
        }
        RUN => Told::Good { span, events: get(log)? as u32, breaks: false },
        tag => Told::Good { span, events: 1, breaks: tag == BROKEN },
    })
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
    /// Judges what is new of a body that is not whole yet.
    pub(super) fn look_ahead(&mut self, conn: &mut Conn<M>, of: ConnId, body: &[u8], format: Format) {
        if !self.checks.is_empty() {
            // What is looked up in an event is looked up when it is taken; logs hold verdicts alone.
            return;
        }
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
            ahead.advance(&mut self.scanner, body);
            self.done.judged(of, ahead.progress.through() - before);
        }
    }

    /// The body is done with.
    pub(super) fn forget_ahead(&mut self, conn: &mut Conn<M>) {
        self.aheads_free.extend(conn.ahead.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{FastScanner, Kernel, StrictScanner};
    use alloc::{format, string::String, vec};
    use fastrand::Rng;

    fn told(mut scan: impl FnMut(&mut dyn FnMut(Told))) -> Vec<Told> {
        let mut all = vec![];
        scan(&mut |told| all.push(told));
        all
    }

    /// Runs depend on where pieces ended; events do not.
    fn events(body: &[u8], all: &[Told]) -> Vec<Told> {
        let mut single = vec![];
        for told in all {
            match told {
                Told::Good { span, events, breaks } => {
                    let before = single.len();
                    if *events == 1 {
                        single.push(told.clone());
                    } else {
                        each_line(body, span.clone(), |span| {
                            single.push(Told::Good { span, events: 1, breaks: *breaks });
                        });
                    }
                    assert_eq!(single.len() - before, *events as usize);
                }
                bad => single.push(bad.clone()),
            }
        }
        single
    }

    fn line(random: &mut Rng) -> String {
        match random.u32(..12) {
            0 => "{\"cut\":".into(),
            1 => "{\"a\":\r1}".into(),
            2 => String::new(),
            3 => "[1,2]".into(),
            _ => format!("{{\"n\":{},\"t\":\"{}\"}}", random.u32(..1 << 20), "x".repeat(random.usize(..400))),
        }
    }

    #[test]
    fn a_body_in_pieces_is_told_as_a_whole() {
        let mut random = Rng::with_seed(0x5eed_0002);
        let (mut fast, mut strict) = (FastScanner::new(Kernel::best()), StrictScanner::new());
        let mut ahead = Ahead::new();
        for round in 0..300 {
            let lines: Vec<String> = (0..random.usize(..400)).map(|_| line(&mut random)).collect();
            let (format, body) = match round % 3 {
                0 => (Format::Lines, lines.join("\n")),
                1 => (Format::Sniff, lines.join("\n")),
                _ => (Format::Json, format!("[{}]", lines.join(","))),
            };
            let body = body.as_bytes();
            ahead.begin(format);
            let mut here = 0;
            while here < body.len() {
                if ahead.wants(here) {
                    ahead.advance(&mut fast, &body[..here]);
                }
                here += 1 + random.usize(..20_000);
            }
            let mut runs = Runs::new(body);
            let want = told(|each| {
                strict.scan(body, format, |verdict| runs.push(verdict, &mut *each));
                runs.flush(each);
            });
            let want = events(body, &want);
            // Twice: the first time there was no room.
            for _ in 0..2 {
                let got = told(|each| ahead.tell(&mut fast, body, each));
                assert_eq!(events(body, &got), want, "round {round}");
            }
        }
    }

    #[test]
    fn a_full_log_leaves_the_rest_for_the_end() {
        let mut fast = FastScanner::new(Kernel::best());
        let mut ahead = Ahead::new();
        for (body, format) in [
            (format!("[{}]", vec!["{}"; 200_000].join(",")), Format::Json),
            (["{}", "{", "{\"a\":1}"].join("\n").repeat(60_000), Format::Lines),
        ] {
            let body = body.as_bytes();
            ahead.begin(format);
            for here in (0..body.len()).step_by(9_999) {
                if ahead.wants(here) {
                    ahead.advance(&mut fast, &body[..here]);
                    assert!(ahead.log.len() <= LOG_BYTES && ahead.log.capacity() == LOG_BYTES);
                }
            }
            assert!(ahead.full && ahead.progress.through() > 10_000 && ahead.progress.through() < body.len());
            let got = told(|each| ahead.tell(&mut fast, body, each));
            let mut count = 0;
            fast.scan(body, format, |_| count += 1);
            assert_eq!(events(body, &got).len(), count);
        }
    }

    #[test]
    fn entries_come_back_as_they_were() {
        let all = [
            Told::Good { span: 0..2, events: 1, breaks: false },
            Told::Good { span: 3..9_000_000, events: 3_000_000, breaks: false },
            Told::Bad { span: 9_000_000..9_000_000, offset: 9_000_000, reason: Reason::UNCLOSED_ARRAY },
            Told::Bad { span: 9_000_001..9_300_000, offset: 9_262_145, reason: Reason::TOO_LARGE },
            Told::Good { span: 9_400_000..9_400_010, events: 1, breaks: true },
        ];
        let mut ahead = Ahead::new();
        all.iter().for_each(|told| ahead.note(told.clone()));
        assert!(!ahead.full && ahead.log.len() <= all.len() * ENTRY_BYTES_MAX);
        let (mut log, mut at) = (&ahead.log[..], 0);
        assert_eq!(core::iter::from_fn(|| next(&mut log, &mut at)).collect::<Vec<_>>(), all);
    }
}
