//! The commands: wiring only.
pub mod doctor;
pub mod load;
pub mod segments;
pub mod serve;
