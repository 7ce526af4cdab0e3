//! Figures for metrics: counted as things happen, read at any time.

use super::Producer;
use super::partition::Phase;
use super::types::{LinkFailure, PartitionIndex, TopicIndex};

/// All partitions together, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Batches acknowledged by all replicas in sync.
    pub written: u64,
    /// Records in them.
    pub records: u64,
    /// Batches that ended in no log.
    pub not_written: u64,
    /// Batches of which nobody knows.
    pub possibly_written: u64,
    /// Batches that came back to be split.
    pub splits: u64,
    /// Attempts after a first one.
    pub retries: u64,
}

/// A known broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerStats {
    /// Its id.
    pub id: i32,
    /// The link is up.
    pub up: bool,
    /// Partitions of ours that it leads.
    pub leads: u32,
    /// Requests without an answer.
    pub in_flight: usize,
    /// Requests given out.
    pub requests: u64,
    /// Times dialled.
    pub dials: u64,
    /// Links that failed or were lost.
    pub lost: u64,
    /// From command to answer, smoothed, nanoseconds; 0 before the first. With acks=all it holds replication.
    pub rtt_ns: u64,
    /// Silence that it asked for, nanoseconds in all.
    pub throttled_ns: u64,
    /// Muted until this time.
    pub muted_until_ns: u64,
    /// Why the link failed last, until it works again.
    pub last_failure: Option<LinkFailure>,
}

/// A partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionStats {
    /// Its topic.
    pub topic: TopicIndex,
    /// Its number.
    pub number: i32,
    /// Its leader's id.
    pub leader: Option<i32>,
    /// It has had no leader that can be reached for too long.
    pub forsaken: bool,
    /// A batch is in flight.
    pub in_flight: bool,
    /// Batches written, and what was in them: with `records`, how well batches are filled.
    pub batches: u64,
    /// Records written.
    pub records: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Attempts after a first one.
    pub retries: u64,
    /// Sequences begun anew.
    pub bumps: u64,
    /// Batches that ended in no log.
    pub not_written: u64,
    /// Batches of which nobody knows.
    pub possibly_written: u64,
}

impl Producer {
    /// All partitions together.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Every known broker.
    pub fn brokers(&self) -> impl Iterator<Item = BrokerStats> + '_ {
        self.rows.iter().filter_map(|peer| {
            Some(BrokerStats {
                id: peer.broker?,
                up: peer.is_up(),
                leads: peer.leads,
                in_flight: peer.in_flight(),
                requests: peer.figures.requests,
                dials: peer.figures.dials,
                lost: peer.figures.lost,
                rtt_ns: peer.figures.rtt_ns,
                throttled_ns: peer.figures.throttled_ns,
                muted_until_ns: peer.muted_until_ns,
                last_failure: peer.last_failure,
            })
        })
    }

    /// Every partition that was ever known, by index.
    pub fn partition_stats(&self) -> impl Iterator<Item = (PartitionIndex, PartitionStats)> + '_ {
        self.partitions.iter().enumerate().map(|(index, part)| {
            let stats = PartitionStats {
                topic: TopicIndex(part.topic as u16),
                number: part.number,
                leader: part.leader.and_then(|row| self.rows[row].broker),
                forsaken: part.forsaken,
                in_flight: matches!(part.phase, Phase::Sent { .. }),
                batches: part.figures.batches,
                records: part.figures.records,
                bytes: part.figures.bytes,
                retries: part.figures.retries,
                bumps: part.figures.bumps,
                not_written: part.figures.not_written,
                possibly_written: part.figures.possibly_written,
            };
            (PartitionIndex(index as u32), stats)
        })
    }
}
