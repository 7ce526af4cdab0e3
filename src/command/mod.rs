//! The commands: wiring only.
pub mod load;
pub mod segments;
pub mod serve;
pub mod top;
