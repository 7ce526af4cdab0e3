//! ringmill: JSON events in, truthful acknowledgements out, one core a shard.
pub use ringmill_core as core;

pub mod admin;
pub mod cli;
pub mod command;
pub mod config;
pub mod log;
pub mod shard;
pub mod sink;
pub mod sys;
