//! Replies to those of whose events not all were written: to each what is true of its own.
//!
//! Only commits that go to somebody else in parts can be written in part. A request with an event that is missing, or may be, fails as a
//! whole: 503, and how many came how far. One with events that are refused for what they are succeeds without
//! them, as if they had been refused on arrival.
use super::conn::{Conn, ErrorList, Pending, Taken, What};
use super::settle::Settled;
use super::{ConnId, Hub};
use crate::batch::fate::{Failure, Fate, Fates, Sum};
use crate::json::Scanner;
use crate::memory::{Clock, Memory};
use crate::reply::{ERROR_BYTES_MAX, ERRORS_MAX, ErrorRecord, Manner, REPLY_BYTES_MAX, Trouble, Undelivered};
use crate::sink::Sink;
use core::ops::Range;

impl<M: Memory, C: Clock, S: Scanner, K: Sink> Hub<M, C, S, K> {
    /// The fates of the commit that is being settled, if any of its events failed and `pending` waited for it.
    fn fates(&self, pending: &Pending, settled: Option<&Settled>) -> Option<&Fates> {
        let settled = settled.filter(|_| pending.ticket != 0)?;
        let fates = self.bays[settled.bay].batch.fates();
        (!fates.is_empty()).then_some(fates)
    }

    /// What became of a request's events, if any of them failed.
    pub(super) fn sum(
        &self,
        pending: &Pending,
        settled: Option<&Settled>,
        events: Range<u32>,
    ) -> Option<Sum> {
        let sum = self.fates(pending, settled)?.sum(events);
        sum.gravest.map(|_| sum)
    }

    /// The same for a connection's lines.
    pub(super) fn sum_of_lines(
        &self,
        id: ConnId,
        pending: &Pending,
        settled: Option<&Settled>,
    ) -> Option<Sum> {
        let fates = self.fates(pending, settled)?;
        let spans = &self.bays[settled?.bay].spans;
        let mine = spans.iter().filter(|span| span.conn == id);
        let mut sum = Sum::default();
        mine.for_each(|span| sum.add(&fates.sum(span.first..span.first + span.events)));
        sum.gravest.map(|_| sum)
    }

    pub(super) fn write_partial(
        &mut self,
        conn: &mut Conn<M>,
        pending: &Pending,
        taken: &Taken,
        settled: Option<&Settled>,
        sum: &Sum,
    ) -> u16 {
        if let Some(failure) = sum.gravest.filter(|failure| failure.fate != Fate::Refused) {
            let written = taken.accepted - sum.not_written - sum.possibly_written - sum.refused;
            let manner = Manner { retry_after_s: self.retry_after_s(), ..taken.manner };
            let Hub { composer, sink, .. } = self;
            let Some(undelivered) = undelivered::<M>(sink, &failure, sum, written) else { return 503 };
            return composer.undelivered(&mut conn.outbox, &undelivered, manner);
        }
        let room = conn.outbox.free().saturating_sub(conn.reserved + REPLY_BYTES_MAX) / ERROR_BYTES_MAX;
        let list = taken.errors.or_else(|| self.errors_free.pop());
        if let (Some(list), Some(settled)) = (list, settled) {
            self.list_refused(list, taken, settled, room.min(ERRORS_MAX));
        }
        let accepted = taken.accepted - sum.refused;
        let late = Taken { accepted, rejected: taken.rejected + sum.refused, errors: list, ..*taken };
        let status = self.write_outcome(conn, pending, &late, settled);
        if taken.errors.is_none() {
            self.give_back_list(list);
        }
        status
    }

    /// Adds a request's events that the other side refused to its errors, as far as there is room and the place of each
    /// in the body can be told.
    fn list_refused(&mut self, list: ErrorList, taken: &Taken, settled: &Settled, room: usize) {
        let fates = self.bays[settled.bay].batch.fates();
        let errors = &mut self.errors[usize::from(list)];
        let known = errors.len();
        if known < taken.rejected as usize {
            return;
        }
        for at in 0..taken.accepted {
            let Some(failure) = fates.of(taken.first + at) else { continue };
            if errors.len() >= room {
                break;
            }
            // Those refused on arrival stand in order and count along.
            let index = errors[..known].iter().fold(at, |at, error| at + u32::from(error.index <= at));
            errors.push(ErrorRecord { index, offset: ErrorRecord::NOWHERE, reason: failure.cause.flaw() });
        }
        errors.sort_unstable_by_key(|error| error.index);
    }

    pub(super) fn write_partial_lines(
        &mut self,
        conn: &mut Conn<M>,
        id: ConnId,
        pending: &Pending,
        settled: Option<&Settled>,
        sum: &Sum,
    ) {
        let What::Lines { through, errors, .. } = pending.what else { return };
        let list = errors.or_else(|| self.errors_free.pop());
        if let (Some(list), Some(settled)) = (list, settled) {
            self.list_refused_lines(list, id, settled);
        }
        let Hub { composer, sink, errors: lists, bays, .. } = self;
        let listed = list.map_or(&[][..], |list| &lists[usize::from(list)]);
        let events = settled.map_or(0, |settled| {
            let spans = bays[settled.bay].spans.iter().filter(|span| span.conn == id);
            spans.map(|span| span.events).sum()
        });
        let failure = sum.gravest.filter(|failure| failure.fate != Fate::Refused);
        let written = events - sum.not_written - sum.possibly_written - sum.refused;
        match failure.and_then(|failure| undelivered::<M>(sink, &failure, sum, written)) {
            Some(undelivered) => {
                let trouble = Trouble::Undelivered(&undelivered);
                composer.lines(&mut conn.outbox, Err(trouble), through, listed);
            }
            None => composer.lines(&mut conn.outbox, Ok(pending.level), through, listed),
        }
        if errors.is_none() {
            self.give_back_list(list);
        }
    }

    fn list_refused_lines(&mut self, list: ErrorList, id: ConnId, settled: &Settled) {
        let bay = &self.bays[settled.bay];
        let fates = bay.batch.fates();
        let errors = &mut self.errors[usize::from(list)];
        for span in bay.spans.iter().filter(|span| span.conn == id) {
            for at in 0..span.events {
                let failure = fates.of(span.first + at);
                let Some(failure) = failure.filter(|failure| failure.fate == Fate::Refused) else { continue };
                if errors.len() == ERRORS_MAX {
                    return;
                }
                let index = span.line.map_or(ErrorRecord::NOWHERE, |line| line as u32 + at);
                errors.push(ErrorRecord {
                    index,
                    offset: ErrorRecord::NOWHERE,
                    reason: failure.cause.flaw(),
                });
            }
        }
    }
}

fn undelivered<'a, M: Memory + 'a>(
    sink: &'a impl Sink,
    failure: &Failure,
    sum: &Sum,
    written: u32,
) -> Option<Undelivered<'a>> {
    let remote = sink.remote::<M>()?;
    Some(Undelivered {
        written,
        not_written: sum.not_written,
        possibly_written: sum.possibly_written,
        name: remote.name(),
        place: remote.place(failure.cause)?,
    })
}
