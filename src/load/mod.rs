//! The edge of `ringmill load`: sockets, threads and files around the decisions of [`crate::core::load`].
//!
//! Enter at [`target`] (what is meant by a URL), then [`worker::spawn`], which makes a thread that sends what a
//! plan says and reports once a second. Nothing here decides what a number means.

pub mod target;
pub mod worker;
