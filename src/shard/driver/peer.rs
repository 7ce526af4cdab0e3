//! Outgoing connections, as a driver and its logic speak of them. The way of one:
//!
//! ```text
//! next_dial ─▶ dialed(Ok) ─▶ next_peer_send, peer_sent, peer_receive ─▶ peer_lost ─┐
//!     │            └─ dialed(Err) ──────────────────────────────────────────────────┼─▶ next_hang_up ─▶ peer_released
//!     └─ the logic waits no longer, at any time ────────────────────────────────────┘
//! ```
//!
//! Every peer that was dialed is hung up by the logic and then released by the driver, and nothing else is told
//! of it in between. Time is the logic's: a connect that is never answered ends when it hangs up.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};

pub use crate::sys::ring::PARTS_MAX;

/// One outgoing connection: a small number that the logic chooses, free again once it was released. A driver
/// keeps tables as long as the largest.
pub type PeerId = u32;

/// Largest number of a peer, so that a mistake does not turn into memory: 1,024 brokers a shard.
pub const PEERS_MAX: u32 = 1024;

/// A connection that was silent for so long is probed. Routers between forget silent ones after some minutes.
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(60);

/// What is to be sent to a peer, as slices that lie where they lie until `peer_sent` or `peer_released`.
#[derive(Debug)]
pub struct PeerSend<'a> {
    /// To whom.
    pub peer: PeerId,
    parts: [IoSlice<'a>; PARTS_MAX],
    count: usize,
}

impl<'a> PeerSend<'a> {
    /// Nothing yet.
    pub fn new(peer: PeerId) -> PeerSend<'a> {
        PeerSend { peer, parts: [IoSlice::new(&[]); PARTS_MAX], count: 0 }
    }

    /// Appends a slice. False when there are [`PARTS_MAX`] already: it belongs to the next send. An empty one is
    /// taken and left out.
    pub fn push(&mut self, part: &'a [u8]) -> bool {
        if part.is_empty() {
            return true;
        }
        let Some(place) = self.parts.get_mut(self.count) else { return false };
        *place = IoSlice::new(part);
        self.count += 1;
        true
    }

    /// In the order in which they are sent.
    pub fn parts(&self) -> &[IoSlice<'a>] {
        &self.parts[..self.count]
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }
}

/// A socket that has begun to connect, not blocking yet.
pub(super) fn dial(to: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    prepare(SockRef::from(&socket))?;
    socket.set_nonblocking(true)?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// Small requests leave at once, and a peer that has gone without a word is noticed in the end.
pub(super) fn prepare(socket: SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE_AFTER))
}

/// The error number within; `EIO` where there is none.
pub(super) fn error_number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_has_so_many_parts_and_no_empty_one() {
        let byte = [7_u8; 3];
        let mut send = PeerSend::new(4);
        assert_eq!((send.parts().len(), send.bytes()), (0, 0));
        assert!(send.push(&[]));
        assert!((0..PARTS_MAX).all(|_| send.push(&byte)));
        assert!(!send.push(&byte) && send.push(&[]));
        assert_eq!((send.parts().len(), send.bytes()), (PARTS_MAX, 3 * PARTS_MAX));
        assert!(send.parts().iter().all(|part| **part == byte));
    }
}
