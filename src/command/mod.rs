//! The commands: wiring only.
pub mod serve;
