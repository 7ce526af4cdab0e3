//! The machine: what it has and what it lets us do. The only place where `unsafe` may stand.
pub mod affinity;
pub mod limits;
pub mod topology;
