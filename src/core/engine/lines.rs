//! The line side of a connection: each line an event, back-pressure by not reading, replies if asked for.
use super::conn::{Conn, Pending, Phase, State, What};
use super::{CARRY_RESIDENT_BYTES, ConnId, Hub, SHARE_BYTES};
use crate::json::{Format, MAX_EVENT_BYTES, Reason, Scanner};
use crate::memory::{Clock, Memory};
use crate::reply::{ERROR_BYTES_MAX, ERRORS_MAX, ErrorRecord, REPLY_BYTES_MAX};
use crate::segment::header::StreamName;
use crate::sink::Sink;
use core::ops::Range;
use memchr::{memchr, memchr_iter, memrchr};

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
            if !self.take_lines(conn, id, &data[at..at + run]) {
                self.block(conn, id);
                break;
            }
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
            return self.skip_long_line(conn, id, rest.len());
        }
        if rest.len() > CARRY_RESIDENT_BYTES / 2 && !self.charge(conn, MAX_EVENT_BYTES + CARRY_RESIDENT_BYTES)
        {
            self.block(conn, id);
        }
        0
    }

    /// Refuses a line whose end is not in sight, and says so like of any other. How many bytes to drop.
    fn skip_long_line(&mut self, conn: &mut Conn<M>, id: ConnId, bytes: usize) -> usize {
        if !self.has_lines_room(conn) {
            self.block(conn, id);
            return 0;
        }
        conn.skipping = true;
        conn.lines += 1;
        let counters = &mut self.metrics.counters;
        counters.events_received += 1;
        counters.events_rejected += 1;
        counters.lines_received += 1;
        if self.config.lines_replies {
            let list = self.errors_free.pop();
            if let Some(list) = list {
                let (index, offset) = (conn.lines as u32, MAX_EVENT_BYTES as u32);
                self.errors[usize::from(list)].push(ErrorRecord { index, offset, reason: Reason::TOO_LARGE });
            }
            self.owe_lines_reply(conn, id, 0, 1, list);
        }
        bytes
    }

    /// Whether the reply to more lines, with all their errors, has its room.
    fn has_lines_room(&self, conn: &Conn<M>) -> bool {
        let reply_bytes_max = REPLY_BYTES_MAX + ERRORS_MAX * ERROR_BYTES_MAX;
        // Lines of one batch share one reply, so an outbox that is even always has room for it.
        let room = !self.config.lines_replies
            || conn.is_even()
            || self.joins(conn)
            || conn.has_reply_room(reply_bytes_max);
        room && !self.errors_free.is_empty()
    }

    fn take_lines(&mut self, conn: &mut Conn<M>, id: ConnId, run: &[u8]) -> bool {
        let replies = self.config.lines_replies;
        if !self.has_lines_room(conn) {
            return false;
        }
        let (mut counted, mut line) = (0, conn.lines);
        let label = |_, span: &Range<usize>| {
            line += memchr_iter(b'\n', &run[counted..span.start]).count() as u64;
            counted = span.start;
            (line + 1) as u32
        };
        let Some(tally) = self.take_events(run, Format::Lines, &StreamName::DEFAULT, label) else {
            return false;
        };
        let ticket = self.book(conn, id, &tally, self.config.ack);
        conn.lines += memchr_iter(b'\n', run).count() as u64 + u64::from(!run.ends_with(b"\n"));
        let taken = tally.accepted + tally.rejected;
        self.metrics.counters.lines_received += u64::from(taken);
        self.sample = self.sample.wrapping_add(1);
        if !replies || taken == 0 {
            self.give_back_list(tally.errors);
            return true;
        }
        self.owe_lines_reply(conn, id, ticket, taken, tally.errors);
        true
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
        if let Some(Pending { ticket: theirs, what: What::Lines { through, errors, taken }, .. }) =
            conn.pending.back_mut().filter(|pending| [pending.ticket, 0].contains(&ticket))
        {
            // Lines that wait for nothing ride along, lest they take room that nobody reserved.
            debug_assert!(ticket == 0 || *theirs == ticket);
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
        let reserved = REPLY_BYTES_MAX + ERRORS_MAX * ERROR_BYTES_MAX;
        conn.reserved += reserved;
        let what = What::Lines { through: lines, errors: new_errors, taken: more };
        let (level, received_ns) = (self.config.ack, self.now_ns);
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
