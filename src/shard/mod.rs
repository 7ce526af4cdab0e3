//! One core's everything.
pub mod driver;
