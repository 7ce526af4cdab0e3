//! The machine: what it has and what it lets us do. The only place where `unsafe` may stand.
pub mod adopt;
pub mod affinity;
pub mod allocate;
pub mod asked;
pub mod clock;
pub mod limits;
pub mod mapping;
pub mod pressure;
pub mod ring;
pub mod sched;
pub mod signal;
pub mod topology;
