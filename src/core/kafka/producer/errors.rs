//! Every error code that Produce, Metadata and InitProducerId answer with, and what follows from it. One table.
//!
//! What decides about Produce is whether the code proves that this attempt is not in the log. Codes that a
//! leader gives before it appends prove it. Codes that a waiting request (acks=all) is ended with do not: a
//! leader that appended and then lost its leadership, its partition or its disk answers 6, 3 or 56, and the
//! records may live on in a replica.

/// What follows from a code in a Produce answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// In the log.
    Written,
    /// In the log since an earlier attempt.
    Duplicate,
    /// Not appended by this attempt; try again.
    Retry,
    /// As `Retry`, and ask who leads.
    RetryElsewhere,
    /// May be in the log: try again with the same stamp.
    Maybe,
    /// As `Maybe`, and ask who leads.
    MaybeElsewhere,
    /// Not appended: the broker's idea of the sequence differs. Start a new epoch.
    Bump,
    /// Not appended: the broker knows a newer epoch. Take a new producer id.
    Renew,
    /// Not appended: too large as a whole.
    Split,
    /// Not appended: one record or more is at fault.
    BadRecord,
    /// Not appended: not allowed.
    Denied,
    /// Not appended, and never will be.
    Rejected,
}

/// What follows from a code in a Metadata answer (of a topic or partition) or an InitProducerId answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// No error, or one that does not concern a producer.
    Fine,
    /// Ask again.
    Retry,
    /// The topic does not exist (yet, or any more). Ask again.
    Absent,
    /// Not allowed. Ask again, it may be granted.
    Denied,
    /// Wrong in itself. Ask again, seldom.
    Bad,
    /// Ask the bootstrap list (KIP-1102).
    Rebootstrap,
}

/// One code.
struct Row(i16, &'static str, Verdict, Control);

use Control::{Absent, Bad, Denied as Forbidden, Fine, Rebootstrap, Retry as Again};
use Verdict::{
    BadRecord, Bump, Denied, Duplicate, Maybe, MaybeElsewhere, Rejected, Renew, Retry, RetryElsewhere, Split,
    Written,
};

/// Sorted by code. What is not here: [`UNLISTED`].
const TABLE: &[Row] = &[
    Row(-1, "UNKNOWN_SERVER_ERROR", Maybe, Again),
    Row(0, "NONE", Written, Fine),
    // Damaged on the way: the bytes here are frozen and sound, the next attempt may arrive whole.
    Row(2, "CORRUPT_MESSAGE", Retry, Again),
    Row(3, "UNKNOWN_TOPIC_OR_PARTITION", MaybeElsewhere, Absent),
    Row(5, "LEADER_NOT_AVAILABLE", MaybeElsewhere, Again),
    Row(6, "NOT_LEADER_OR_FOLLOWER", MaybeElsewhere, Again),
    Row(7, "REQUEST_TIMED_OUT", Maybe, Again),
    Row(8, "BROKER_NOT_AVAILABLE", MaybeElsewhere, Again),
    // In Metadata: a follower is away, which is not our concern.
    Row(9, "REPLICA_NOT_AVAILABLE", MaybeElsewhere, Fine),
    Row(10, "MESSAGE_TOO_LARGE", Split, Bad),
    Row(13, "NETWORK_EXCEPTION", MaybeElsewhere, Again),
    Row(14, "COORDINATOR_LOAD_IN_PROGRESS", Maybe, Again),
    Row(15, "COORDINATOR_NOT_AVAILABLE", Maybe, Again),
    Row(16, "NOT_COORDINATOR", MaybeElsewhere, Again),
    Row(17, "INVALID_TOPIC_EXCEPTION", Rejected, Bad),
    Row(18, "RECORD_LIST_TOO_LARGE", Split, Bad),
    // Before the append; 20 is its twin after it.
    Row(19, "NOT_ENOUGH_REPLICAS", Retry, Again),
    Row(20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", Maybe, Again),
    Row(21, "INVALID_REQUIRED_ACKS", Rejected, Bad),
    Row(29, "TOPIC_AUTHORIZATION_FAILED", Denied, Forbidden),
    Row(31, "CLUSTER_AUTHORIZATION_FAILED", Denied, Forbidden),
    Row(32, "INVALID_TIMESTAMP", BadRecord, Bad),
    Row(33, "UNSUPPORTED_SASL_MECHANISM", Retry, Again),
    Row(34, "ILLEGAL_SASL_STATE", Retry, Again),
    Row(35, "UNSUPPORTED_VERSION", Rejected, Bad),
    Row(41, "NOT_CONTROLLER", Maybe, Again),
    Row(42, "INVALID_REQUEST", Rejected, Bad),
    Row(43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", Rejected, Bad),
    Row(44, "POLICY_VIOLATION", Rejected, Bad),
    Row(45, "OUT_OF_ORDER_SEQUENCE_NUMBER", Bump, Again),
    Row(46, "DUPLICATE_SEQUENCE_NUMBER", Duplicate, Again),
    Row(47, "INVALID_PRODUCER_EPOCH", Renew, Again),
    Row(48, "INVALID_TXN_STATE", Renew, Again),
    Row(49, "INVALID_PRODUCER_ID_MAPPING", Renew, Again),
    Row(51, "CONCURRENT_TRANSACTIONS", Maybe, Again),
    Row(53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Denied, Forbidden),
    Row(54, "SECURITY_DISABLED", Denied, Forbidden),
    Row(56, "KAFKA_STORAGE_ERROR", MaybeElsewhere, Again),
    Row(58, "SASL_AUTHENTICATION_FAILED", Retry, Again),
    Row(59, "UNKNOWN_PRODUCER_ID", Bump, Again),
    Row(72, "LISTENER_NOT_FOUND", MaybeElsewhere, Again),
    Row(73, "TOPIC_DELETION_DISABLED", Rejected, Bad),
    Row(74, "FENCED_LEADER_EPOCH", MaybeElsewhere, Again),
    Row(75, "UNKNOWN_LEADER_EPOCH", MaybeElsewhere, Again),
    Row(76, "UNSUPPORTED_COMPRESSION_TYPE", Rejected, Bad),
    Row(77, "STALE_BROKER_EPOCH", MaybeElsewhere, Again),
    Row(84, "INELIGIBLE_REPLICA", MaybeElsewhere, Again),
    Row(87, "INVALID_RECORD", BadRecord, Bad),
    Row(88, "UNSTABLE_OFFSET_COMMIT", Maybe, Again),
    Row(89, "THROTTLING_QUOTA_EXCEEDED", Retry, Again),
    Row(90, "PRODUCER_FENCED", Renew, Again),
    // v13 looks the id up before it appends.
    Row(100, "UNKNOWN_TOPIC_ID", RetryElsewhere, Absent),
    Row(103, "INCONSISTENT_TOPIC_ID", RetryElsewhere, Again),
    Row(120, "TRANSACTION_ABORTABLE", Renew, Again),
    Row(129, "REBOOTSTRAP_REQUIRED", MaybeElsewhere, Rebootstrap),
];

/// A code of the future: it proves nothing, so the stamp is kept and the deadline decides.
const UNLISTED: Row = Row(i16::MIN, "code not known here", MaybeElsewhere, Again);

fn row(code: i16) -> &'static Row {
    match TABLE.binary_search_by_key(&code, |row| row.0) {
        Ok(at) => &TABLE[at],
        Err(_) => &UNLISTED,
    }
}

/// Of a Produce answer.
pub(super) fn produce(code: i16) -> Verdict {
    row(code).2
}

/// Of a Metadata or InitProducerId answer.
pub(super) fn control(code: i16) -> Control {
    row(code).3
}

/// Kafka's name of a code.
#[must_use]
pub fn name(code: i16) -> &'static str {
    row(code).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_it_can_be_searched() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn no_code_that_may_follow_an_append_counts_as_a_proof() {
        // What `DelayedProduce` and `appendToLocalLog` of Kafka can end an appended request with.
        for code in [-1, 3, 5, 6, 7, 9, 20, 56, 74, 12345] {
            assert!(matches!(produce(code), Maybe | MaybeElsewhere), "{code}");
        }
    }

    #[test]
    fn codes_have_names_for_people() {
        assert_eq!(name(45), "OUT_OF_ORDER_SEQUENCE_NUMBER");
        assert_eq!(name(12345), "code not known here");
    }
}
