//! Aids for tests, here and of dependants (feature `testing`).
pub mod clock;
pub mod engine;
pub mod split;
