//! Brokers to test the Kafka sink against: a strict fake, real ones, and a proxy between.
//!
//! - [`fake::Fake`]: brokers in this process that check what Kafka checks and break on command.
//! - [`rig::Rig`]: real Apache Kafka, by the program `tests/kafka/rig`.
//! - [`proxy::Proxy`]: loses answers, cuts, slows and slices between a client and either.
//! - [`raw::Raw`]: a client without any cleverness, for requests that no proper client would send.
//! - [`batch::Batch`]: record batches whose every field can lie, and the reader that the fake judges them with.
//!
//! All of it is for tests: it panics where a test should fail, and is written to be plainly right, not fast.
//! `tests/same_as_kafka.rs` is what entitles the fake to be believed.

pub mod batch;
pub mod fake;
pub mod proxy;
pub mod raw;
pub mod rig;
mod wire;
