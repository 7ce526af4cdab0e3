//! The commands: wiring only.
pub mod segments;
pub mod serve;
