//! One shard's Kafka producer without I/O: who leads a partition, what is stamped and sent when, what became of it.
//!
//! It holds no bytes: batches are slots, links are numbers, time comes in with each call, chance follows from a
//! seed. There is one producer id per (shard, partition) and one batch in flight per partition, so a new epoch
//! concerns one partition and never meets a second batch in flight.
//!
//! Three ideas carry it:
//!
//! - **Maybe.** An attempt that ended without a proof that the batch is not in the log makes the batch a *maybe*
//!   for good. A maybe is sent again with the same stamp and the same bytes, or given up as possibly written and
//!   its sequence left behind by a new epoch; it never gets another stamp.
//! - **Place.** Whatever changed about a partition, `place` puts it where its head batch can wait for what it
//!   lacks: a leader, a producer id, the end of a backoff, its turn on the leader's link.
//! - **No last state.** Every error is retried, or ends one batch. Nothing that a broker answers ends the producer.
//!
//! Calls fall in families. **In**: [`submit`](Producer::submit), [`submit_split`](Producer::submit_split),
//! [`handle`](Producer::handle), [`tick`](Producer::tick) at [`deadline_ns`](Producer::deadline_ns). **Out**, until
//! both say `None`: [`next_command`](Producer::next_command), [`next_outcome`](Producer::next_outcome). **Looks**:
//! everything else. No call allocates except [`new`](Producer::new) and [`add_topic`](Producer::add_topic).
//!
//! It refuses to know: addresses of the bootstrap list, versions of requests beyond those told with `Up`, bytes.

mod answer;
mod backoff;
mod brokers;
mod command;
mod errors;
mod flow;
mod link;
mod list;
mod metadata;
mod mutant;
mod partition;
mod reach;
mod ready;
mod settings;
mod stamp;
mod stats;
#[cfg(test)]
mod tests;
mod timer;
mod topics;
mod types;

pub use backoff::Backoff;
pub use errors::name as error_name;
pub use settings::Settings;
pub use stamp::{Stamp, next_sequence};
pub use stats::{BrokerStats, PartitionStats, Totals};
pub use topics::Partitions;
pub use types::*;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use brokers::Peer;
use list::List;
use metadata::Metadata;
use mutant::Mutant;
use partition::{Batch, Life, Partition};
use topics::Topics;

/// The producer of one shard. See the module's page.
pub struct Producer {
    settings: Settings,
    chance: fastrand::Rng,
    /// Brokers; the last row is the bootstrap link.
    rows: Vec<Peer>,
    /// Which address of the bootstrap list is next.
    bootstrap: u16,
    topics: Topics,
    partitions: Vec<Partition>,
    /// Partitions that want a producer id.
    wants_id: List,
    metadata: Metadata,
    batches: Vec<Batch>,
    outcomes: VecDeque<(Slot, Outcome)>,
    /// Batches without an outcome.
    queued: usize,
    /// Partitions whose parts are awaited.
    held: usize,
    /// Nothing happens by time alone before this.
    wake_ns: u64,
    /// Something changed since `next_command` had nothing to say.
    stirred: bool,
    /// Row from which the next search begins, so that no broker starves another.
    turn: usize,
    drain_deadline_ns: Option<u64>,
    /// Why producer ids are refused, and when another one counts as worth asking for.
    no_id: Option<(i16, u64)>,
    totals: Totals,
    #[cfg(test)]
    mutant: Option<mutant::Mutant>,
}

impl Producer {
    /// A producer that begins to connect at once. All its memory is taken here and in [`add_topic`](Self::add_topic).
    ///
    /// # Panics
    /// When the settings name no bootstrap address, no broker or more than 32,766, or no slot.
    #[must_use]
    pub fn new(settings: Settings) -> Producer {
        assert!(settings.bootstrap > 0, "a bootstrap address");
        assert!((1..=32_766).contains(&settings.brokers_max), "1 to 32,766 brokers");
        assert!(settings.slots_max > 0 && settings.requests_max > 0 && settings.batches_per_request_max > 0);
        let mut chance = fastrand::Rng::with_seed(settings.seed);
        let peer = |_| Peer::new(settings.requests_max, settings.batches_per_request_max);
        Producer {
            bootstrap: chance.u16(0..settings.bootstrap),
            chance,
            rows: (0..=settings.brokers_max).map(peer).collect(),
            topics: Topics::new(settings.topics_max, settings.partitions_max),
            partitions: Vec::with_capacity(settings.partitions_max),
            wants_id: List::EMPTY,
            metadata: Metadata::new(),
            batches: (0..settings.slots_max).map(|_| Batch::FREE).collect(),
            outcomes: VecDeque::with_capacity(settings.slots_max),
            queued: 0,
            held: 0,
            wake_ns: 0,
            stirred: true,
            turn: 0,
            drain_deadline_ns: None,
            no_id: None,
            totals: Totals::default(),
            #[cfg(test)]
            mutant: None,
            settings,
        }
    }

    /// Names a topic, or finds it again. `None`: there is no room for another one (`topics_max`), or Kafka knows
    /// no such names (empty, `.`, `..`, longer than 249 bytes, other than letters, digits, `.`, `_`, `-`).
    pub fn add_topic(&mut self, now_ns: u64, name: &str) -> Option<TopicIndex> {
        if let Some(at) = self.topics.find(name, 0) {
            return Some(TopicIndex(at as u16));
        }
        let at = self.topics.add(name)?;
        self.metadata.again = true;
        self.want_metadata(now_ns);
        Some(at)
    }

    /// Takes a batch: from here on it has exactly one outcome, at the latest after the delivery timeout.
    ///
    /// # Panics
    /// When the slot is out of bounds or its outcome was not taken, when the partition is not known, when there
    /// are no records: bugs of the caller.
    pub fn submit(&mut self, now_ns: u64, slot: Slot, partition: PartitionIndex, records: u32, bytes: u32) {
        let deadline = now_ns.saturating_add(self.settings.delivery_timeout_ns);
        let deadline = deadline.min(self.drain_deadline_ns.unwrap_or(u64::MAX));
        let p = partition.0 as usize;
        let at = self.occupy(slot, p, records, bytes, deadline);
        self.queue_up(p, at);
        if self.partitions[p].head == Some(at) {
            self.place(now_ns, p);
        }
    }

    /// Puts a batch behind those of its partition.
    fn queue_up(&mut self, p: usize, at: usize) {
        if self.errs(Mutant::JumpQueue) && self.jump_queue(p, at) {
            return;
        }
        match self.partitions[p].tail.replace(at) {
            Some(last) => self.batches[last].next = Some(at),
            None => self.partitions[p].head = Some(at),
        }
    }

    /// Takes the parts of a batch that came back as [`Outcome::Split`]: (slot, records, bytes) of each, in order.
    /// They go before whatever waits behind, and share the deadline of the whole. The whole's slot may be one of them.
    ///
    /// # Panics
    /// As [`submit`](Self::submit), and when no split is awaited.
    pub fn submit_split(&mut self, now_ns: u64, partition: PartitionIndex, parts: [(Slot, u32, u32); 2]) {
        let p = partition.0 as usize;
        assert_eq!(self.partitions[p].phase, partition::Phase::Held, "no split is awaited");
        let deadline = self.partitions[p].held_deadline_ns.min(self.drain_deadline_ns.unwrap_or(u64::MAX));
        let last = self.errs(Mutant::PartsLast);
        for (slot, records, bytes) in if last { parts } else { [parts[1], parts[0]] } {
            let at = self.occupy(slot, p, records, bytes, deadline);
            if last {
                self.queue_up(p, at);
                continue;
            }
            let part = &mut self.partitions[p];
            self.batches[at].next = part.head.replace(at);
            part.tail = part.tail.or(Some(at));
        }
        self.partitions[p].phase = partition::Phase::Waiting;
        self.held -= 1;
        self.place(now_ns, p);
    }

    /// A batch that came back as [`Outcome::Split`] will not be sent in parts either: its partition goes on with
    /// what waits behind.
    ///
    /// # Panics
    /// When no split is awaited.
    pub fn give_up_split(&mut self, now_ns: u64, partition: PartitionIndex) {
        let p = partition.0 as usize;
        assert_eq!(self.partitions[p].phase, partition::Phase::Held, "no split is awaited");
        self.partitions[p].phase = match self.partitions[p].head {
            Some(_) => partition::Phase::Waiting,
            None => partition::Phase::Idle,
        };
        self.held -= 1;
        self.stirred = true;
        self.place(now_ns, p);
    }

    fn occupy(&mut self, slot: Slot, partition: usize, records: u32, bytes: u32, deadline_ns: u64) -> usize {
        let at = slot.0 as usize;
        assert_eq!(self.batches[at].life, Life::Free, "slot {at} is in use");
        assert!(records > 0 && partition < self.partitions.len());
        self.batches[at] =
            Batch { life: Life::Queued, partition, records, bytes, deadline_ns, ..Batch::FREE };
        self.queued += 1;
        self.wake(deadline_ns);
        at
    }

    /// Takes note of what happened at the edge.
    pub fn handle(&mut self, now_ns: u64, input: Input<'_>) {
        self.stirred = true;
        match input {
            Input::Up { link } => self.link_up(now_ns, link),
            Input::Down { link, why } => self.link_down(now_ns, link, why),
            Input::Metadata { link, correlation, answer } => {
                self.metadata_answered(now_ns, link, correlation, &answer);
            }
            Input::InitProducerId { link, correlation, answer } => {
                self.id_answered(now_ns, link, correlation, answer);
            }
            Input::Produce { link, correlation, throttle_ms, nodes, answers } => {
                self.produce_answered(now_ns, link, correlation, throttle_ms, nodes, answers);
            }
        }
    }

    /// The next outcome; the slot is the caller's again.
    pub fn next_outcome(&mut self) -> Option<(Slot, Outcome)> {
        let (slot, outcome) = self.outcomes.pop_front()?;
        self.batches[slot.0 as usize].life = Life::Free;
        Some((slot, outcome))
    }

    /// When [`tick`](Self::tick) has something to do; it may turn out to be nothing.
    #[must_use]
    pub fn deadline_ns(&self) -> Option<u64> {
        (self.wake_ns != u64::MAX).then_some(self.wake_ns)
    }

    /// Brings everything to an outcome by `deadline_ns`, then hangs up. Batches may still be submitted until then.
    pub fn drain(&mut self, now_ns: u64, deadline_ns: u64) {
        let deadline_ns = deadline_ns.max(now_ns);
        self.drain_deadline_ns = Some(deadline_ns);
        for batch in self.batches.iter_mut().filter(|batch| batch.life == Life::Queued) {
            batch.deadline_ns = batch.deadline_ns.min(deadline_ns);
        }
        self.wake(deadline_ns);
        self.stirred = true;
    }

    /// The drain is over: no batch, no outcome, no link.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let closed = |row: &Peer| row.state == brokers::State::Closed && row.hang_up.is_none();
        self.is_finished() && self.outcomes.is_empty() && self.rows.iter().all(closed)
    }

    fn is_finished(&self) -> bool {
        self.drain_deadline_ns.is_some() && self.queued == 0 && self.held == 0
    }

    /// The stamp of a batch that is to be sent; `None` when it was not given out by [`Command::Produce`].
    #[must_use]
    pub fn stamp(&self, slot: Slot) -> Option<Stamp> {
        self.batches.get(slot.0 as usize)?.stamp
    }

    /// The batch was sent with this very stamp before: its bytes are frozen and must not be touched.
    #[must_use]
    pub fn is_retry(&self, slot: Slot) -> bool {
        self.batches.get(slot.0 as usize).is_some_and(|batch| batch.frozen)
    }

    /// The stamp to write into the header before a batch of [`Command::Produce`] is sent; `None` for a retry, whose
    /// bytes are frozen.
    #[must_use]
    pub fn new_stamp(&self, slot: Slot) -> Option<Stamp> {
        self.stamp(slot).filter(|_| !self.is_retry(slot))
    }

    /// The partition of a batch.
    #[must_use]
    pub fn partition_of(&self, slot: Slot) -> Option<PartitionIndex> {
        let batch = self.batches.get(slot.0 as usize)?;
        (batch.life != Life::Free).then_some(PartitionIndex(batch.partition as u32))
    }

    /// Host and port of a known broker.
    #[must_use]
    pub fn address(&self, broker: i32) -> Option<(&str, u16)> {
        let row = self.rows.iter().find(|row| row.broker == Some(broker))?;
        Some((row.host.get(), row.port))
    }

    fn wake(&mut self, at_ns: u64) {
        self.wake_ns = self.wake_ns.min(at_ns);
    }
}
