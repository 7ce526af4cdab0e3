//! The line side of a connection: each line an event, back-pressure by not reading, replies if asked for.
use super::admit::{NoRoom, Tally};
use super::bay::{SPANS_MAX, Span};
use super::conn::{Conn, Pending, Phase, State, What};
use super::outbox::OUTBOX_BYTES;
use super::{CARRY_RESIDENT_BYTES, ConnId, Hub, SHARE_BYTES};
use crate::json::{Format, MAX_EVENT_BYTES, Reason, Scanner};
use crate::memory::{Clock, Memory};
use crate::reply::{ERROR_BYTES_MAX, ERRORS_MAX, REPLY_BYTES_MAX};
use crate::segment::header::StreamName;
use crate::sink::Sink;
use core::ops::Range;
use memchr::{memchr, memchr_iter, memrchr};

/// What a reply to lines fits into.
const LINES_REPLY_BYTES_MAX: usize = REPLY_BYTES_MAX + ERRORS_MAX * ERROR_BYTES_MAX;
/// So a connection owes one at a time, and none that failed ever waits behind another.
const _: () = assert!(2 * LINES_REPLY_BYTES_MAX > OUTBOX_BYTES);

impl<M: Memory, C: Clock, S: Scanner, K: Sink> Hub<M, C, S, K> {
    pub(super) fn pump_lines(&mut self, conn: &mut Conn<M>, id: ConnId, data: &mut [u8]) -> Range<usize> {
        let (mut at, end) = (0, data.len());
        let mut share = SHARE_BYTES;
        while conn.state == State::Open && at < end {
            if conn.skipping {
                at += skip_line(conn, &data[at..end]);
                continue;
            }
            let Some(run) = next_run(&data[at..end], conn.eof) else {
                at += self.note_partial_line(conn, id, &data[at..end]);
                break;
            };
            if share == 0 {
                self.call_again(conn, id);
                break;
            }
            let Some(run) = self.take_lines(conn, id, &data[at..at + run]) else {
                self.block(conn, id);
                break;
            };
            conn.phase = Phase::Idle;
            conn.blocked_since_ns = 0;
            at += run;
            share = share.saturating_sub(run);
        }
        if self.draining && at == end && conn.state == State::Open {
            conn.state = State::Last;
        }
        at..end
    }

    /// An unfinished line: kept, unless it is already longer than any event.
    fn note_partial_line(&mut self, conn: &mut Conn<M>, id: ConnId, rest: &[u8]) -> usize {
        if rest.len() > MAX_EVENT_BYTES {
            // White space before an event is none of it.
            if !rest.trim_ascii_start().is_empty() && !self.refuse_partial_line(conn, id, rest) {
                self.block(conn, id);
                return 0;
            }
            return rest.len();
        }
        if rest.len() > CARRY_RESIDENT_BYTES / 2 && !self.charge(conn, MAX_EVENT_BYTES + CARRY_RESIDENT_BYTES)
        {
            self.block(conn, id);
        }
        0
    }

    /// Refuses a line that is too large before its end came: listed, and kept as far as it was received; the
    /// rest will be skipped.
    fn refuse_partial_line(&mut self, conn: &mut Conn<M>, id: ConnId, start: &[u8]) -> bool {
        if !self.has_lines_room(conn) {
            return false;
        }
        let line = (conn.lines + 1) as u32;
        let tally = self.refuse_event(start, line, MAX_EVENT_BYTES as u32, Reason::TOO_LARGE);
        conn.skipping = true;
        self.count_lines(conn, id, &tally, 1);
        true
    }

    /// Whether a run's refusals and its reply have their places.
    fn has_lines_room(&self, conn: &Conn<M>) -> bool {
        // Lines of one batch share one reply, so an outbox that is even always has room for it.
        let room = || conn.is_even() || self.joins(conn) || conn.has_reply_room(LINES_REPLY_BYTES_MAX);
        let spans = self.bays[self.open_bay].spans.len() < SPANS_MAX;
        !self.errors_free.is_empty() && (!self.config.lines_replies || spans && room())
    }

    /// Takes a run of whole lines, or the front of it; returns how much. `None`: no room now.
    fn take_lines(&mut self, conn: &mut Conn<M>, id: ConnId, run: &[u8]) -> Option<usize> {
        if !self.has_lines_room(conn) {
            return None;
        }
        let (mut counted, mut line) = (0, conn.lines);
        let label = |_, span: &Range<usize>| {
            line += memchr_iter(b'\n', &run[counted..span.start]).count() as u64;
            counted = span.start;
            (line + 1) as u32
        };
        let tally = match self.take_events(None, run, Format::Lines, &StreamName::DEFAULT, None, label) {
            Ok(tally) => tally,
            // Lines have no reply of their own to be refused with: they wait.
            Err(NoRoom::Later | NoRoom::Refused(_)) => return None,
            Err(NoRoom::Never) => return self.take_half(conn, id, run),
        };
        let lines = memchr_iter(b'\n', run).count() as u64 + u64::from(!run.ends_with(b"\n"));
        self.count_lines(conn, id, &tally, lines);
        Some(run.len())
    }

    /// Takes the first half of a run that no batch holds as a whole; the rest is taken next. A single line that
    /// no batch holds was refused by itself.
    #[cold]
    fn take_half(&mut self, conn: &mut Conn<M>, id: ConnId, run: &[u8]) -> Option<usize> {
        let half = memrchr(b'\n', &run[..run.len() / 2]).or_else(|| memchr(b'\n', run))? + 1;
        if half == run.len() { None } else { self.take_lines(conn, id, &run[..half]) }
    }

    /// Enters `lines` more lines and what they came to into the books, and owes their reply.
    fn count_lines(&mut self, conn: &mut Conn<M>, id: ConnId, tally: &Tally, lines: u64) {
        let ticket = self.book(conn, id, tally, self.usual_level());
        conn.lines += lines;
        let taken = tally.accepted + tally.rejected;
        let in_parts = self.bays[self.open_bay].batch.is_in_parts();
        if ticket != 0 && tally.accepted > 0 && self.config.lines_replies && in_parts {
            let line = (lines == u64::from(tally.accepted)).then_some(conn.lines - lines + 1);
            let span = Span { conn: id, first: tally.first, events: tally.accepted, line };
            self.bays[self.open_bay].spans.push(span);
        }
        self.metrics.counters.lines_received += u64::from(taken);
        self.sample = self.sample.wrapping_add(1);
        if self.config.lines_replies && taken > 0 {
            self.owe_lines_reply(conn, id, ticket, taken, tally.errors);
        } else {
            self.give_back_list(tally.errors);
        }
    }

    /// Whether the newest pending reply is for the batch that is open now.
    fn joins(&self, conn: &Conn<M>) -> bool {
        conn.pending.back().is_some_and(|pending| pending.ticket == self.ledger.open())
    }

    fn owe_lines_reply(
        &mut self,
        conn: &mut Conn<M>,
        id: ConnId,
        ticket: u64,
        more: u32,
        new_errors: Option<super::conn::ErrorList>,
    ) {
        let lines = conn.lines;
        // What waits for no commit of its own goes along with the newest reply that waits for one.
        if let Some(Pending { what: What::Lines { through, errors, taken }, .. }) =
            conn.pending.back_mut().filter(|pending| ticket == 0 || pending.ticket == ticket)
        {
            *through = lines;
            *taken += more;
            match (*errors, new_errors) {
                (None, new) => *errors = new,
                (Some(list), Some(new)) => {
                    for at in 0..self.errors[usize::from(new)].len() {
                        let record = self.errors[usize::from(new)][at];
                        if self.errors[usize::from(list)].len() < ERRORS_MAX {
                            self.errors[usize::from(list)].push(record);
                        }
                    }
                    self.give_back_list(Some(new));
                }
                (Some(_), None) => {}
            }
            return;
        }
        let reserved = LINES_REPLY_BYTES_MAX;
        conn.reserved += reserved;
        let what = What::Lines { through: lines, errors: new_errors, taken: more };
        let (level, received_ns) = (self.usual_level(), self.now_ns);
        conn.pending.push_back(Pending { ticket, level, received_ns, reserved, what });
        self.settle_conn(conn, id, None);
    }
}

/// Length of a run of whole lines at the front: about a share of them, at least one.
fn next_run(data: &[u8], eof: bool) -> Option<usize> {
    let window = data.len().min(SHARE_BYTES);
    let whole =
        memrchr(b'\n', &data[..window]).or_else(|| memchr(b'\n', &data[window..]).map(|at| window + at));
    match whole {
        Some(last) => Some(last + 1),
        None if eof => Some(data.len()),
        None => None,
    }
}

/// Drops bytes up to the end of the line that was too long.
fn skip_line<M>(conn: &mut Conn<M>, data: &[u8]) -> usize {
    match memchr(b'\n', data) {
        Some(at) => {
            conn.skipping = false;
            at + 1
        }
        None => data.len(),
    }
}
