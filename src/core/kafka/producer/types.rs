//! What goes in and comes out of a [`Producer`](super::Producer): values, no behaviour.

use super::errors;
use core::fmt;

/// A broker connection: a slot in a fixed table (low half) and how often that slot was dialled (high half).
///
/// An event that names a connection since given up is told by the high half and ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u32);

impl LinkId {
    pub(super) const fn new(row: usize, generation: u16) -> LinkId {
        LinkId((generation as u32) << 16 | row as u32)
    }

    /// The slot in the table of links: 0 to `brokers_max`, both included.
    #[must_use]
    pub const fn row(self) -> usize {
        (self.0 & 0xffff) as usize
    }
}

/// A topic: its place in the order in which names were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicIndex(pub u16);

/// A (topic, partition): dense, and never another one's while the producer lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionIndex(pub u32);

/// The caller's name for a batch, from `submit` until its outcome was taken; below `slots_max`.
pub use crate::kafka::arena::Slot;

/// A topic's id as brokers name it since 2.8; zeros where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// No id.
    pub const NONE: TopicId = TopicId([0; 16]);
}

/// Where to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An address of the bootstrap list, by its place.
    Bootstrap(u16),
    /// A broker that metadata named; its address is at [`Producer::address`](super::Producer::address).
    Broker {
        /// The broker's id.
        id: i32,
    },
}

/// What the edge is to do now. Correlation ids count per link from 0 to 2^31 - 1 and then from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Connect, all the way through TLS, ApiVersions and SASL; answer with `Up` or `Down`.
    Dial {
        /// Its name until `Down` or `HangUp`.
        link: LinkId,
        /// Where to.
        to: Endpoint,
    },
    /// Close it. Whatever it still brings is ignored. A buffer that the kernel is still sending from must be
    /// kept until the kernel lets it go, also when the outcome of its batch was given meanwhile.
    HangUp {
        /// Which.
        link: LinkId,
    },
    /// Ask who leads what.
    Metadata {
        /// On which connection.
        link: LinkId,
        /// Of the request.
        correlation: i32,
        /// About these topics, all that have been named.
        topics: &'a [TopicIndex],
        /// As the settings say.
        allow_create: bool,
    },
    /// Ask for a new producer id, without a transactional id.
    InitProducerId {
        /// On which connection.
        link: LinkId,
        /// Of the request.
        correlation: i32,
        /// For which partition, for logs.
        partition: PartitionIndex,
    },
    /// Send these batches, at most one a partition. [`Producer::new_stamp`](super::Producer::new_stamp) says what to
    /// write into the header of each before it goes, unless its bytes are frozen already.
    Produce {
        /// On which connection.
        link: LinkId,
        /// Of the request.
        correlation: i32,
        /// Which batches.
        batches: &'a [Slot],
    },
}

/// Why a connection is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkFailure {
    /// The name has no address.
    Unresolved,
    /// Nobody listens there.
    Refused,
    /// Closed by the other side, or the way there broke.
    Reset,
    /// No answer in time.
    Timeout,
    /// The certificate is not trusted, or ours is not.
    Certificate,
    /// The credentials or the mechanism were refused.
    Authentication,
    /// The broker is older than what is supported.
    TooOld,
    /// It does not speak Kafka, or against the rules.
    Protocol,
    /// Anything else, by the system's error number.
    Other(i32),
}

impl LinkFailure {
    /// How much it tells: the greater is shown where there are several.
    pub(super) const fn weight(self) -> u8 {
        match self {
            LinkFailure::Timeout | LinkFailure::Reset => 0,
            LinkFailure::Refused | LinkFailure::Other(_) => 1,
            LinkFailure::Unresolved => 2,
            LinkFailure::Protocol | LinkFailure::TooOld => 3,
            LinkFailure::Certificate | LinkFailure::Authentication => 4,
        }
    }
}

impl fmt::Display for LinkFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LinkFailure::Unresolved => "the name has no address",
            LinkFailure::Refused => "connection refused",
            LinkFailure::Reset => "connection closed by the broker",
            LinkFailure::Timeout => "no answer in time",
            LinkFailure::Certificate => "certificate not trusted",
            LinkFailure::Authentication => "credentials refused",
            LinkFailure::TooOld => "broker older than 2.1",
            LinkFailure::Protocol => "answers against the protocol",
            LinkFailure::Other(errno) => return write!(f, "system error {errno}"),
        })
    }
}

/// What happened at the edge.
pub enum Input<'a> {
    /// TCP, TLS, ApiVersions and SASL are done.
    Up {
        /// Which.
        link: LinkId,
    },
    /// It could not be made, or is lost. Requests without an answer count as possibly carried out.
    Down {
        /// Which.
        link: LinkId,
        /// Why.
        why: LinkFailure,
    },
    /// An answer to `Command::Metadata`.
    Metadata {
        /// From which connection.
        link: LinkId,
        /// Of the request.
        correlation: i32,
        /// What it says.
        answer: MetadataAnswer<'a>,
    },
    /// An answer to `Command::InitProducerId`.
    InitProducerId {
        /// From which connection.
        link: LinkId,
        /// Of the request.
        correlation: i32,
        /// What it says.
        answer: ProducerIdAnswer,
    },
    /// An answer to `Command::Produce`.
    Produce {
        /// From which connection.
        link: LinkId,
        /// Of the request.
        correlation: i32,
        /// How long the broker wants silence, milliseconds.
        throttle_ms: i32,
        /// Addresses of the leaders that the answers hint at (v10 on).
        nodes: &'a [BrokerSeen<'a>],
        /// One a batch. One that lacks counts as possibly written, one too many is ignored.
        answers: &'a mut dyn Iterator<Item = ProduceAnswer>,
    },
}

/// A broker, as an answer names it.
#[derive(Clone, Copy, Debug)]
pub struct BrokerSeen<'a> {
    /// Its id, 0 or above.
    pub id: i32,
    /// Its name or address; longer than 255 bytes counts as unknown.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
}

/// What a Metadata answer says.
#[derive(Clone, Copy, Debug)]
pub struct MetadataAnswer<'a> {
    /// Of the whole answer (v13 on); 0 otherwise.
    pub error: i16,
    /// How long the broker wants silence, milliseconds.
    pub throttle_ms: i32,
    /// All brokers.
    pub brokers: &'a [BrokerSeen<'a>],
    /// The topics asked for; others are ignored.
    pub topics: &'a [TopicSeen<'a>],
}

/// A topic, as a Metadata answer names it.
#[derive(Clone, Copy, Debug)]
pub struct TopicSeen<'a> {
    /// Its own error.
    pub error: i16,
    /// Its name.
    pub name: &'a str,
    /// Its id (v10 on); [`TopicId::NONE`] otherwise.
    pub id: TopicId,
    /// All its partitions, in any order.
    pub partitions: &'a [PartitionSeen],
}

/// A partition, as a Metadata answer names it.
#[derive(Clone, Copy, Debug)]
pub struct PartitionSeen {
    /// Its own error.
    pub error: i16,
    /// Its number.
    pub number: i32,
    /// The leader's id; -1 when there is none.
    pub leader: i32,
    /// How often leadership moved (v7 on); -1 when not known.
    pub leader_epoch: i32,
}

/// What an InitProducerId answer says.
#[derive(Clone, Copy, Debug)]
pub struct ProducerIdAnswer {
    /// 0 or why not.
    pub error: i16,
    /// How long the broker wants silence, milliseconds.
    pub throttle_ms: i32,
    /// The id.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
}

/// What a Produce answer says about one partition.
#[derive(Clone, Copy, Debug)]
pub struct ProduceAnswer {
    /// Which.
    pub partition: PartitionIndex,
    /// 0 or why not.
    pub error: i16,
    /// Offset of the first record; -1 when not known.
    pub base_offset: i64,
    /// What is wrong with records (v8 on).
    pub records: Option<RecordErrors>,
    /// Who leads instead (v10 on, KIP-951).
    pub leader: Option<LeaderHint>,
}

/// Which records of a batch a broker complained of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordErrors {
    /// The first, counted from 0.
    pub first: u32,
    /// How many; 1 at least.
    pub count: u32,
}

/// A leader named by one that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderHint {
    /// The leader's id.
    pub leader: i32,
    /// Its epoch.
    pub epoch: i32,
}

/// What became of a batch. Each is given once, and ends the producer's use of the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All replicas in sync have it, exactly once as far as brokers keep their promises.
    Written {
        /// Offset of the first record; -1 when the broker did not say.
        base_offset: i64,
    },
    /// It is in no log and will not be.
    NotWritten(Reason),
    /// It may be in the log, or get there; it will not be sent again.
    PossiblyWritten(Reason),
    /// Refused because of its size or of one of its records, and of more than one record: it is in no log.
    /// Cut it before record `at` and call [`Producer::submit_split`](super::Producer::submit_split), any cut
    /// between records will do. The partition sends nothing before that.
    Split {
        /// 1 to records - 1.
        at: u32,
        /// Which of the two: [`Why::TooLarge`] or [`Why::BadRecord`].
        why: Why,
    },
    /// A batch of one record, refused because of that record: it is in no log.
    Refused {
        /// Which record: 0.
        record: u32,
        /// Why.
        reason: Reason,
    },
}

/// Why a batch was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What ended it.
    pub why: Why,
    /// The last error that a broker answered about it; 0 when there was none.
    pub code: i16,
}

/// What ended a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The delivery timeout, or the deadline of the drain.
    Deadline,
    /// The partition had no leader that could be reached for too long, and no attempt is unknown.
    NoLeader,
    /// The retries allowed were used up.
    Retries,
    /// The broker refuses it, and would again.
    Rejected,
    /// Writing to the topic is not allowed.
    Denied,
    /// The record is too large for the broker.
    TooLarge,
    /// The broker finds the record invalid (its timestamp, or no key where the topic is compacted).
    BadRecord,
    /// The broker has lost track of the sequence, and an earlier attempt may be in the log.
    SequenceLost,
    /// The topic was deleted and made anew after it had been sent.
    Recreated,
    /// The topic was made anew with fewer partitions.
    PartitionGone,
}

impl Why {
    /// The same events would meet the same fate again.
    #[must_use]
    pub const fn is_permanent(self) -> bool {
        matches!(self, Why::Rejected | Why::Denied | Why::TooLarge | Why::BadRecord)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.why {
            Why::Deadline => "not acknowledged by Kafka in time",
            Why::NoLeader => "the partition has had no leader that can be reached for too long",
            Why::Retries => "not acknowledged by Kafka within the retries allowed",
            Why::Rejected => "rejected by Kafka",
            Why::Denied => "Kafka does not allow writing to this topic",
            Why::TooLarge => "larger than Kafka takes (max.message.bytes)",
            Why::BadRecord => "a record that Kafka finds invalid",
            Why::SequenceLost => "Kafka lost track of this producer",
            Why::Recreated => "the topic was made anew meanwhile",
            Why::PartitionGone => "the partition is gone, the topic was made anew with fewer",
        })?;
        match self.code {
            0 => Ok(()),
            code => write!(f, " (last answer: {} {code})", errors::name(code)),
        }
    }
}

/// Why nothing, or nothing for one topic, can be written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// Nothing failed yet, the first connection or answer is awaited.
    Starting,
    /// No broker can be reached; the last one failed so.
    Unreachable(LinkFailure),
    /// Brokers can be reached but do not answer about topics.
    NoMetadata,
    /// The topic does not exist.
    NoTopic(TopicIndex),
    /// The topic may not be read about or written to.
    Denied(TopicIndex),
    /// The topic's name is not one that Kafka allows, or its metadata has an error of this code.
    TopicError(TopicIndex, i16),
    /// The topic has more partitions than there is room for (`partitions_max`).
    TooManyPartitions(TopicIndex),
    /// None of its partitions has a leader that is connected.
    NoLeader(TopicIndex),
    /// Producer ids are refused with this code; 31: this user lacks `IdempotentWrite` on the cluster.
    NoProducerId(i16),
    /// It is being drained.
    Draining,
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotReady::Starting => f.write_str("still connecting to Kafka"),
            NotReady::Unreachable(why) => write!(f, "no Kafka broker can be reached: {why}"),
            NotReady::NoMetadata => f.write_str("Kafka brokers do not answer about topics"),
            NotReady::NoTopic(_) => f.write_str("the topic does not exist: create it, or allow its creation"),
            NotReady::Denied(_) => {
                f.write_str("this user may not write to the topic: grant Describe and Write")
            }
            NotReady::TopicError(_, code) => {
                write!(f, "the topic has an error: {} {code}", errors::name(*code))
            }
            NotReady::TooManyPartitions(_) => {
                f.write_str("the topic has more partitions than there is room for: raise the limit")
            }
            NotReady::NoLeader(_) => {
                f.write_str("no partition of the topic has a leader that can be reached")
            }
            NotReady::NoProducerId(code) => {
                write!(
                    f,
                    "Kafka refuses a producer id: {} {code}; grant IdempotentWrite",
                    errors::name(*code)
                )
            }
            NotReady::Draining => f.write_str("draining"),
        }
    }
}
