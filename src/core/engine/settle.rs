//! Replies, in order, to those whose ticket has come.
use super::conn::{Conn, Pending, State, Taken, What};
use super::{ConnId, Hub};
use crate::batch::ledger::Standing;
use crate::json::Scanner;
use crate::memory::{Clock, Memory};
use crate::reject::Reject;
use crate::reply::{CONTINUE, Manner, Outcome, ReceiptText, Trouble};
use crate::sink::{NotReady, Receipt, Sink};

/// The commit that is being settled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    pub bay: usize,
    pub receipt: Option<Receipt>,
    pub no_space: bool,
    /// How long the device took.
    pub sink_ns: u64,
}

impl<M: Memory, C: Clock, S: Scanner, K: Sink> Hub<M, C, S, K> {
    /// Writes every reply at the front of the connection's queue whose turn has come.
    pub(super) fn settle_conn(&mut self, conn: &mut Conn<M>, id: ConnId, settled: Option<&Settled>) {
        if matches!(conn.state, State::Free | State::Closing) {
            return;
        }
        while let Some(front) = conn.pending.front() {
            let standing = self.ledger.standing(front.ticket, front.level);
            if standing == Standing::Waiting {
                break;
            }
            let Some(pending) = conn.pending.pop_front() else { break };
            conn.reserved -= pending.reserved;
            self.write_reply(conn, id, &pending, standing == Standing::Failed, settled);
            self.give_back_errors(&pending.what);
            self.freed |= !self.blocked.is_empty();
        }
        if let Some(settled) = settled.filter(|_| self.ledger.holds()) {
            self.resolve_behind(conn, settled);
        }
        self.want_send(conn, id);
        self.finish(conn, id);
    }

    /// What settled behind a reply that still waits for Kafka: when its turn comes its commit is long gone, so it
    /// goes without a receipt, and why it failed is kept with it.
    #[cold]
    fn resolve_behind(&mut self, conn: &mut Conn<M>, settled: &Settled) {
        let (failure, retry_after_s) = (self.failure(Some(settled)), self.retry_after_s());
        for at in 0..conn.pending.len() {
            let pending = &mut conn.pending[at];
            let standing = self.ledger.standing(pending.ticket, pending.level);
            if pending.ticket == 0 || standing == Standing::Waiting {
                continue;
            }
            pending.ticket = 0;
            let what = pending.what;
            // Of lines there is one reply at a time: see `LINES_REPLY_BYTES_MAX`.
            if let (Standing::Failed, What::Events(taken)) = (standing, what) {
                pending.what = What::Reject(failure, Manner { retry_after_s, ..taken.manner });
                self.give_back_errors(&what);
            }
        }
    }

    pub(super) fn write_reply(
        &mut self,
        conn: &mut Conn<M>,
        id: ConnId,
        pending: &Pending,
        failed: bool,
        settled: Option<&Settled>,
    ) {
        match pending.what {
            What::Events(taken) if failed => {
                let failure = self.failure(settled);
                let manner = Manner { retry_after_s: self.retry_after_s(), ..taken.manner };
                self.composer.reject(&mut conn.outbox, &failure, manner);
                self.metrics.counters.requests.count(failure.status);
                self.leave_trail(conn, pending, failure.status, Some(&taken), settled);
            }
            What::Events(taken) => {
                let status = match self.sum(pending, settled, taken.first..taken.first + taken.accepted) {
                    Some(sum) => self.write_partial(conn, pending, &taken, settled, &sum),
                    None => self.write_outcome(conn, pending, &taken, settled),
                };
                self.metrics.counters.requests.count(status);
                self.leave_trail(conn, pending, status, Some(&taken), settled);
            }
            What::Reject(reject, manner) => {
                self.composer.reject(&mut conn.outbox, &reject, manner);
                self.metrics.counters.requests.count(reject.status);
                self.leave_trail(conn, pending, reject.status, None, None);
            }
            What::Options(manner) => {
                self.composer.options(&mut conn.outbox, manner);
                self.metrics.counters.requests.count(204);
            }
            What::Continue => conn.outbox.push(CONTINUE),
            What::Lines { through, errors, .. } => {
                if !failed && let Some(sum) = self.sum_of_lines(id, pending, settled) {
                    return self.write_partial_lines(conn, id, pending, settled, &sum);
                }
                let errors = errors.map_or(&[][..], |list| &self.errors[usize::from(list)]);
                let failure = if failed { Err(self.failure(settled)) } else { Ok(pending.level) };
                let ack = failure.as_ref().copied().map_err(Trouble::Reject);
                self.composer.lines(&mut conn.outbox, ack, through, errors);
            }
        }
    }

    pub(super) fn write_outcome(
        &mut self,
        conn: &mut Conn<M>,
        pending: &Pending,
        taken: &Taken,
        settled: Option<&Settled>,
    ) -> u16 {
        let receipt = settled.and_then(|settled| {
            let receipt = settled.receipt.filter(|_| taken.accepted > 0 && pending.ticket != 0)?;
            let first = receipt.seq + u64::from(taken.first);
            let last = first + u64::from(taken.accepted) - 1;
            let hash = *self.bays[settled.bay].batch.lines()?.run(taken.run as usize).hash();
            Some(ReceiptText { shard: self.config.shard, first, last, segment: receipt.segment, hash })
        });
        let outcome = Outcome {
            ack: pending.level,
            accepted: taken.accepted,
            rejected: taken.rejected,
            errors: taken.errors.map_or(&[], |list| &self.errors[usize::from(list)]),
            receipt,
            all_or_nothing: taken.all_or_nothing,
        };
        self.composer.outcome(&mut conn.outbox, &outcome, taken.manner)
    }

    fn failure(&self, settled: Option<&Settled>) -> Reject {
        match settled {
            Some(Settled { no_space: true, .. }) => Reject::new(507, "no_space", NotReady::NoSpace.reason()),
            _ if self.sink.remote::<M>().is_some() && settled.is_none_or(|settled| settled.bay < 2) => {
                self.upstream_failure()
            }
            _ => {
                let reason = "the device failed under this batch and nothing of it is promised: send again";
                Reject::new(503, "sink_failed", reason)
            }
        }
    }

    /// Events that never left: nobody could be reached.
    pub(super) fn upstream_failure(&self) -> Reject {
        let why = self.sink.ready().err();
        let reason = why.map_or(
            "nobody could be reached for too long and nothing is written: send again",
            NotReady::reason,
        );
        Reject::new(503, "not_ready", reason)
    }

    /// Seconds until what waits now has drained, from the rate measured; at least 1, at most 60.
    pub(super) fn retry_after_s(&self) -> u32 {
        let waiting: u64 = self.bays.iter().map(|bay| bay.batch.len() as u64).sum();
        let rate = self.metrics.gauges.drain_bytes_per_s.max(1);
        (waiting / rate + 1).min(60) as u32
    }
}
