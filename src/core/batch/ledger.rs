//! Who may be told what: one watermark a level, over the tickets of batches.
//!
//! Every batch has a ticket, rising by one. A reply waits for a (ticket, level) pair, and an acknowledgement
//! is one comparison with the watermark of that level. Batches settle in order, one in flight at a time, so
//! a watermark never has gaps; a batch that failed is the one exception, and it is named. So is one that later
//! ones overtake, because it is with another sink than they are ([`Ledger::hold`]).

use crate::ack::Ack;

/// Number of a batch; 0 means "waits for nothing".
pub type Ticket = u64;

/// How a ticket stands towards a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not yet.
    Waiting,
    /// The level is reached: the reply may say so.
    Reached,
    /// It will never be reached: the sink failed under this batch.
    Failed,
}

/// The watermarks of one shard.
#[derive(Debug)]
pub struct Ledger {
    open: Ticket,
    written: Ticket,
    durable: Ticket,
    failed: Ticket,
    /// Overtaken: it waits whatever the watermarks say.
    held: Ticket,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger::new()
    }
}

impl Ledger {
    /// A ledger whose first open batch has ticket 1.
    pub const fn new() -> Ledger {
        Ledger { open: 1, written: 0, durable: 0, failed: 0, held: 0 }
    }

    /// Ticket of the batch that is filling.
    pub fn open(&self) -> Ticket {
        self.open
    }

    /// The open batch was sealed: returns its ticket and opens the next.
    pub fn seal(&mut self) -> Ticket {
        self.open += 1;
        self.open - 1
    }

    /// Later batches may settle before `ticket` from now on, until [`Ledger::release`]. One at a time.
    pub fn hold(&mut self, ticket: Ticket) {
        debug_assert!(self.held == 0 && ticket < self.open, "one is overtaken at a time");
        self.held = ticket;
    }

    /// `ticket` is about to settle; nothing happens if it was not held.
    pub fn release(&mut self, ticket: Ticket) {
        if self.held == ticket {
            self.held = 0;
        }
    }

    /// Whether `ticket` is overtaken.
    pub fn is_held(&self, ticket: Ticket) -> bool {
        self.held != 0 && self.held == ticket
    }

    /// Whether a batch is overtaken.
    pub fn holds(&self) -> bool {
        self.held != 0
    }

    /// All writes of `ticket` completed.
    pub fn settle_written(&mut self, ticket: Ticket) {
        debug_assert!(ticket > self.written && ticket < self.open, "batches are written in order, once");
        self.written = ticket;
    }

    /// All flushes of `ticket` completed, its writes before them.
    pub fn settle_durable(&mut self, ticket: Ticket) {
        debug_assert!(ticket > self.durable && ticket <= self.written, "durable follows written");
        self.durable = ticket;
    }

    /// The sink failed under `ticket`; those who wait for it are answered now, before the next settles.
    pub fn settle_failed(&mut self, ticket: Ticket) {
        debug_assert!(ticket > self.durable && ticket < self.open);
        self.failed = ticket;
        self.written = self.written.max(ticket);
        self.durable = self.durable.max(ticket);
    }

    /// How `ticket` stands towards `level`.
    pub fn standing(&self, ticket: Ticket, level: Ack) -> Standing {
        let reached = match level {
            Ack::Accepted => return Standing::Reached,
            Ack::Written => self.written,
            Ack::Durable | Ack::Replicated => self.durable,
        };
        match ticket <= reached && (ticket != self.held || ticket == 0) {
            false => Standing::Waiting,
            true if ticket != 0 && ticket == self.failed => Standing::Failed,
            true => Standing::Reached,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_never_overtakes_its_flush() {
        let mut ledger = Ledger::new();
        let ticket = ledger.seal();
        assert_eq!(ledger.standing(ticket, Ack::Accepted), Standing::Reached);
        assert_eq!(ledger.standing(ticket, Ack::Written), Standing::Waiting);
        ledger.settle_written(ticket);
        assert_eq!(ledger.standing(ticket, Ack::Written), Standing::Reached);
        assert_eq!(ledger.standing(ticket, Ack::Durable), Standing::Waiting);
        ledger.settle_durable(ticket);
        assert_eq!(ledger.standing(ticket, Ack::Durable), Standing::Reached);
        assert_eq!(ledger.standing(ledger.open(), Ack::Written), Standing::Waiting);
    }

    #[test]
    fn a_failed_batch_is_never_reached_and_harms_no_other() {
        let mut ledger = Ledger::new();
        let (bad, good) = (ledger.seal(), ledger.seal());
        ledger.settle_failed(bad);
        assert_eq!(ledger.standing(bad, Ack::Durable), Standing::Failed);
        assert_eq!(ledger.standing(good, Ack::Durable), Standing::Waiting);
        ledger.settle_written(good);
        ledger.settle_durable(good);
        assert_eq!(ledger.standing(good, Ack::Durable), Standing::Reached);
        assert_eq!(ledger.standing(0, Ack::Durable), Standing::Reached);
    }

    #[test]
    fn a_held_batch_waits_while_later_ones_settle_or_fail() {
        let mut ledger = Ledger::new();
        let (held, failed, good) = (ledger.seal(), ledger.seal(), ledger.seal());
        ledger.hold(held);
        ledger.settle_failed(failed);
        assert_eq!(ledger.standing(failed, Ack::Durable), Standing::Failed);
        ledger.settle_written(good);
        ledger.settle_durable(good);
        assert_eq!(ledger.standing(good, Ack::Durable), Standing::Reached);
        for level in [Ack::Written, Ack::Durable, Ack::Replicated] {
            assert_eq!(ledger.standing(held, level), Standing::Waiting);
        }
        assert_eq!(ledger.standing(0, Ack::Durable), Standing::Reached, "who waits for nothing");
        assert!(ledger.holds());
        ledger.release(good);
        assert_eq!(ledger.standing(held, Ack::Replicated), Standing::Waiting);
        ledger.release(held);
        assert_eq!((ledger.standing(held, Ack::Replicated), ledger.holds()), (Standing::Reached, false));
    }
}
