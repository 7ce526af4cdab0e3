//! The commands: wiring only.
pub mod segments;
