//! Everything of ringmill that is a decision and not an effect.
//!
//! There is no file, socket, clock, thread or `unsafe` here: the crate is `no_std`, so the compiler
//! refuses them. Bytes, time (nanoseconds since any fixed moment) and randomness come in as arguments.
//!
//! Enter at [`engine`]: one shard's whole logic. Bytes go `wire` → `json` → `batch` → (sink) → `batch::ledger`
//! → [`reply`] and come back out as replies in order.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;
#[cfg(any(test, feature = "testing"))]
extern crate std;

pub mod ack;
pub mod balance;
pub mod batch;
pub mod date;
pub mod engine;
pub mod json;
pub mod kafka;
pub mod load;
pub mod memory;
pub mod metrics;
pub mod reject;
pub mod reply;
pub mod segment;
pub mod sink;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod wire;
