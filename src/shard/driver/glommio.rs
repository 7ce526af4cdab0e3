//! x
use super::{Edges, Logic};
use std::io;
/// x
pub async fn drive<L: Logic + 'static>(_logic: L, _edges: Edges<L>) -> io::Result<L> {
    Err(io::ErrorKind::Unsupported.into())
}
