//! The Kafka sink's decisions: no sockets, no clock, no bytes of the wire except those of record batches.
//!
//! Enter at [`producer`]: who leads a partition, what is stamped and sent when, and what became of it.

pub mod producer;
