//! What makes a batch the batch it is for a broker: producer, epoch, first sequence.

pub use crate::kafka::batch::{Stamp, next_sequence};
