//! ringmill: JSON events in, truthful acknowledgements out, one core a shard.
pub use ringmill_core as core;

pub mod shard;
pub mod sys;
