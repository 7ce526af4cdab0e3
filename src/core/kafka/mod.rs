//! What the Kafka sink writes and reads, without a socket: record batches, where they lie, and the one request
//! that carries them.
//!
//! ```text
//! an event ─▶ partition (which) ─▶ arena: append … seal ─▶ stamp ─▶ produce: frame ─▶ broker
//!                                   │ batch: record           │ batch: header, CRC     │
//!                                   └ compress, gather        └ frozen from here on    └▶ produce: answer
//! ```
//!
//! - [`arena`]: the events of one commit as records, one batch a partition. Enter here.
//! - [`batch`]: the bytes of a record and of a batch's header (RecordBatch v2, "magic 2").
//! - [`varint`]: the integers in a record.
//! - [`compress`]: codecs; LZ4 frames here, others by a trait that the edge implements.
//! - [`partition`]: which partition an event goes to.
//! - [`produce`]: a Produce request around batches that stay where they are, and its answer.
//! - [`cursor`]: values from the front of any answer.
//! - [`producer`]: who leads a partition, what is stamped and sent when, and what became of it.
//!
//! It writes no request but Produce. Nothing a broker answers is believed before all of it has been read.

pub mod arena;
pub mod batch;
pub mod compress;
pub mod cursor;
pub mod partition;
pub mod produce;
pub mod producer;
pub mod varint;

#[cfg(test)]
mod decode;
#[cfg(test)]
mod golden;
