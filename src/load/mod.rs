//! The edge of `ringmill load`: sockets, threads and files around the decisions of [`crate::core::load`].
//!
//! Enter at [`target`] (what is meant by a URL), then [`worker::spawn`], which makes a thread that sends what a
//! plan says and reports once a second. Beside it run [`probe`] (what the machine did meanwhile) and [`faults`] (what
//! was done to processes on purpose); [`view`] shows, [`report`] keeps, [`environment`] says where it was, [`verify`]
//! reads what was stored. Nothing here decides what a number means.
pub mod environment;
pub mod faults;
pub mod probe;
pub mod report;
pub mod target;
#[cfg(test)]
pub(crate) mod testing;
pub mod verify;
pub mod view;
pub mod worker;
