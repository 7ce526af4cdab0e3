//! The Produce request (v3 to v13), framed around batches that stay where they are, and its answer.
//!
//! | versions | what is new |
//! |-|-|
//! | 3 | record batches v2 |
//! | 7 | zstd allowed |
//! | 8 | which records were refused, and why |
//! | 9 | flexible: compact lengths, tagged fields |
//! | 10 | an answer may say who leads now, and where that broker is |
//! | 13 | topics by id instead of name |
//!
//! Always `acks=all`, never transactional. Which brokers and versions, retries and what an error means are not
//! decided here.

mod request;
mod response;
#[cfg(test)]
mod tests;

pub use request::{BATCHES_MAX, FrameError, Part, ProduceBatch, ProduceFrame, ProduceHead, TopicRef};
pub use response::{
    Endpoints, Malformed, NodeEndpoint, PartitionAnswer, PartitionAnswers, ProduceResponse, RecordError,
    RecordErrors,
};

/// Number of the Produce request.
pub const API_KEY: i16 = 0;
/// Oldest version spoken: the first with batches v2, what brokers from 0.11 on take.
pub const VERSION_MIN: i16 = 3;
/// Newest version spoken.
pub const VERSION_MAX: i16 = 13;
/// First version that allows zstd.
pub const VERSION_ZSTD: i16 = 7;
/// First version with topic ids instead of names.
pub const VERSION_TOPIC_IDS: i16 = 13;

/// First version with refused records.
const VERSION_RECORD_ERRORS: i16 = 8;
/// First flexible version.
const VERSION_FLEXIBLE: i16 = 9;
/// First version with leaders and where they are.
const VERSION_HINTS: i16 = 10;
