//! The machine: what it has and what it lets us do. The only place where `unsafe` may stand.
pub mod adopt;
pub mod clock;
pub mod mapping;
pub mod ring;
