//! What makes a batch the batch it is for a broker: producer, epoch, first sequence.
//!
//! TO BE MERGED: a private copy of what `kafka/batch.rs` owns. At the merge this file becomes the one line
//! `pub use crate::kafka::batch::{Stamp, next_sequence};`.

/// What a broker tells a batch from its repetition by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The number that a broker gave for one (shard, partition).
    pub producer_id: i64,
    /// Grows by one whenever the sequence starts anew; 0 to 32767.
    pub epoch: i16,
    /// Sequence number of the batch's first record; 0 to 2^31 - 1.
    pub sequence: i32,
}

/// The sequence number `records` after `sequence`: after 2^31 - 1 comes 0.
#[must_use]
pub const fn next_sequence(sequence: i32, records: u32) -> i32 {
    ((sequence as u32 as u64 + records as u64) % (1 << 31)) as i32
}
