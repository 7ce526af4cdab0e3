//! The edge of the sinks: files and directories, and the thread that keeps them.
//!
//! What a commit is, and what follows from its success or failure, is decided in [`ringmill_core::sink`];
//! the write and the flush themselves go through the shard's driver. Here is all that may wait: opening a
//! data directory ([`store`]), finding where the last run ended ([`recover`]), making and retiring files
//! ([`keeper`]), each over a [`volume::Volume`], so that a simulated disk can stand in.

pub mod http;
pub mod kafka;
pub mod keeper;
pub mod name;
pub mod recover;
pub mod store;
pub mod volume;
