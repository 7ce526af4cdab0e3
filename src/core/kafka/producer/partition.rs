//! One partition: its leader, its producer id and sequence, and the queue of batches of which one is in flight.

use super::list::{Listed, Node};
use super::stamp::Stamp;

/// Where the head batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// There is none.
    Idle,
    /// Waits for a leader, an id that has been asked for, or the end of a backoff.
    Waiting,
    /// In the list of partitions that want a producer id.
    WantsId,
    /// In the list of what the leader, by row, is to be sent.
    Ready(usize),
    /// In a request on a row.
    Sent { row: usize, request: usize },
    /// Was refused as a whole: its parts are awaited before anything else goes.
    Held,
}

/// Who this shard is for the partition's leader, and what comes next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
    pub(super) sequence: i32,
}

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) topic: usize,
    pub(super) number: i32,
    /// The row of its leader.
    pub(super) leader: Option<usize>,
    pub(super) leader_epoch: i32,
    /// Answers in a row that were older than what is known.
    pub(super) older: u8,
    /// Hints followed since the last good metadata.
    pub(super) hints: u8,
    pub(super) identity: Option<Identity>,
    /// An id has been asked for.
    pub(super) asked_id: bool,
    /// Of which making of the topic the identity is.
    pub(super) incarnation: u32,
    pub(super) phase: Phase,
    /// Since when it has had no leader that is connected.
    pub(super) away_since_ns: Option<u64>,
    /// That is too long.
    pub(super) forsaken: bool,
    pub(super) head: Option<usize>,
    pub(super) tail: Option<usize>,
    pub(super) node: Node,
    /// Nothing is sent before.
    pub(super) not_before_ns: u64,
    /// Attempts in a row that failed.
    pub(super) failures: u32,
    /// Deadline of the batch whose parts are awaited.
    pub(super) held_deadline_ns: u64,
    pub(super) figures: Figures,
}

/// What is counted of a partition.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) batches: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) not_written: u64,
    pub(super) possibly_written: u64,
    pub(super) retries: u64,
    pub(super) bumps: u64,
}

impl Listed for Partition {
    fn node(&mut self) -> &mut Node {
        &mut self.node
    }
}

impl Partition {
    pub(super) fn new(topic: usize, number: i32, incarnation: u32) -> Partition {
        Partition {
            topic,
            number,
            leader: None,
            leader_epoch: -1,
            older: 0,
            hints: 0,
            identity: None,
            asked_id: false,
            incarnation,
            phase: Phase::Idle,
            away_since_ns: None,
            forsaken: false,
            head: None,
            tail: None,
            node: Node::LOOSE,
            not_before_ns: 0,
            failures: 0,
            held_deadline_ns: 0,
            figures: Figures::default(),
        }
    }

    /// Starts the sequence anew, so that no late attempt of the old one can follow what comes now.
    ///
    /// The epoch is raised here and not by a broker (KIP-360): for a producer without transactions the broker
    /// would only give a new id, and a late attempt under the old id would not be fenced off.
    pub(super) fn bump(&mut self) {
        self.figures.bumps += 1;
        self.identity = match self.identity {
            Some(Identity { producer_id, epoch, .. }) if epoch < i16::MAX => {
                Some(Identity { producer_id, epoch: epoch + 1, sequence: 0 })
            }
            _ => None,
        };
    }

    /// Gives the id up; a new one is asked for when there is something to send.
    pub(super) fn renew(&mut self) {
        self.figures.bumps += 1;
        self.identity = None;
    }

    pub(super) fn stamp(&self) -> Option<Stamp> {
        self.identity.map(|id| Stamp { producer_id: id.producer_id, epoch: id.epoch, sequence: id.sequence })
    }
}

/// A slot: free, in a partition's queue, or with an outcome that was not taken yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    pub(super) life: Life,
    pub(super) partition: usize,
    pub(super) records: u32,
    pub(super) bytes: u32,
    pub(super) deadline_ns: u64,
    /// What it was first sent with; kept until an answer proved that it is not in the log.
    pub(super) stamp: Option<Stamp>,
    /// The stamp was given in an earlier attempt.
    pub(super) frozen: bool,
    /// An attempt ended without such a proof.
    pub(super) maybe: bool,
    pub(super) retries: u32,
    pub(super) last_error: i16,
    /// Next in the partition's queue.
    pub(super) next: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Free,
    Queued,
    Settled,
}

impl Batch {
    pub(super) const FREE: Batch = Batch {
        life: Life::Free,
        partition: 0,
        records: 0,
        bytes: 0,
        deadline_ns: 0,
        stamp: None,
        frozen: false,
        maybe: false,
        retries: 0,
        last_error: 0,
        next: None,
    };
}
