//! Mistakes that a producer can make, to be made on purpose: the simulation must notice each of them.

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "made in tests only")]
pub(super) enum Mutant {
    /// After "possibly written" the sequence goes on where the batch began (rules 6 and 11).
    ReuseSequence,
    /// A retry gets a new stamp, whatever became of the first attempt (rules 5 and 7).
    RestampOnRetry,
    /// A bump re-stamps what is unknown on other partitions (rule 7).
    RestampOthers,
    /// NOT_LEADER and its like count as proof that nothing was appended (rule 6).
    NotLeaderIsProof,
    /// A lost connection counts as such a proof (rule 6).
    LostIsProof,
    /// DUPLICATE_SEQUENCE counts as a refusal (rule 8).
    DuplicateIsRefusal,
    /// The sequence wraps below zero (rule 4).
    WrapNegative,
    /// A topic that vanishes takes its sequences with it (rule 9).
    ForgetVanished,
    /// A topic made anew goes on with the old sequences.
    IgnoreRecreation,
    /// Too large is split although an attempt is unknown (rule 10).
    SplitMaybe,
    /// A batch in flight at its deadline counts as not written (rule 11).
    ExpireAsNotWritten,
    /// Answers of a link given up are believed.
    BelieveStale,
    /// A batch that an answer does not mention counts as written.
    MissingIsWritten,
    /// A muted link is used (rule 14).
    IgnoreThrottle,
}
