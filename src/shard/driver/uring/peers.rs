//! Outgoing connections. See [`crate::shard::driver::peer`] for what is told when.

use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};

use super::Driver;
use super::conns::GENERATION_MASK;
use crate::shard::driver::Logic;
use crate::shard::driver::peer::{PEERS_MAX, PeerId, dial, error_number};
use crate::sys::ring::{Completion, Kind};

#[derive(Default)]
pub(super) struct Peer {
    /// From being dialed until it is released.
    open: bool,
    /// None while there is none: the dial failed at once.
    socket: Option<OwnedFd>,
    generation: u32,
    dialing: bool,
    receiving: bool,
    sending: bool,
    /// The logic was told that it is lost.
    lost: bool,
    /// The logic has hung up.
    leaving: bool,
}

impl Peer {
    fn key(&self, id: PeerId) -> u64 {
        (self.generation as u64) << 32 | id as u64
    }
}

impl<L: Logic> Driver<'_, L> {
    /// Carries out what the logic wants of peers. Whether it was told anything, which may lead to another wish.
    pub(super) fn serve_peers(&mut self) -> bool {
        let mut told = false;
        // Dials first: one may have been given up before it was even taken.
        while let Some((id, address)) = self.logic.next_dial() {
            if let Err(error) = self.dial(id, address) {
                self.logic.dialed(id, Err(error_number(&error)));
                told = true;
            }
        }
        while let Some(id) = self.logic.next_hang_up() {
            told |= self.hang_up(id);
        }
        while let Some(send) = self.logic.next_peer_send() {
            let Some(peer) = self.peers.get_mut(send.peer as usize) else { continue };
            debug_assert!(!peer.sending, "peer {} has a send in flight", send.peer);
            debug_assert!(send.bytes() > 0, "nothing to send to peer {}", send.peer);
            if peer.leaving || peer.lost {
                continue;
            }
            if let Some(socket) = &peer.socket {
                self.ring.peer_send(socket.as_fd(), send.parts(), peer.key(send.peer));
                peer.sending = true;
            }
        }
        told
    }

    fn dial(&mut self, id: PeerId, address: std::net::SocketAddr) -> std::io::Result<()> {
        assert!(id < PEERS_MAX, "peer {id} of at most {PEERS_MAX}");
        if self.peers.len() <= id as usize {
            self.peers.resize_with(id as usize + 1, Peer::default);
        }
        let peer = &mut self.peers[id as usize];
        assert!(!peer.open, "peer {id} was dialed twice");
        let generation = peer.generation.wrapping_add(1) & GENERATION_MASK;
        *peer = Peer { open: true, generation, ..Peer::default() };
        self.ring.prepare_peer(id)?;
        let socket = dial(address)?;
        self.ring.writable(socket.as_fd(), peer.key(id));
        peer.dialing = true;
        peer.socket = Some(socket.into());
        Ok(())
    }

    /// Connecting has ended, one way or the other.
    pub(super) fn peer_dialed(&mut self, completion: Completion) {
        let Some((id, peer)) = self.peer_of(&completion) else { return };
        peer.dialing = false;
        let Some(socket) = peer.socket.as_ref().filter(|_| !peer.leaving) else { return self.leave_peer(id) };
        let socket = socket2::SockRef::from(socket);
        let failed = match (completion.result(), socket.take_error()) {
            (Err(code), _) => Some(code),
            // The ring waits by itself only on a socket that blocks.
            (_, Ok(None)) => socket.set_nonblocking(false).err().map(|error| error_number(&error)),
            (_, Ok(Some(error)) | Err(error)) => Some(error_number(&error)),
        };
        match failed {
            Some(code) => {
                peer.lost = true;
                self.logic.dialed(id, Err(code));
            }
            None => {
                self.receive_from_peer(id);
                self.logic.dialed(id, Ok(()));
            }
        }
    }

    pub(super) fn peer_received(&mut self, completion: Completion) {
        let Some((id, peer)) = self.peer_of(&completion) else { return };
        peer.receiving = false;
        if peer.leaving {
            return self.leave_peer(id);
        }
        match completion.result() {
            Ok(0) => self.lose_peer(id, 0),
            Ok(len) => {
                self.logic.peer_receive(id, self.ring.peer_bytes(id, len));
                self.receive_from_peer(id);
            }
            Err(libc::EINTR | libc::EAGAIN) => self.receive_from_peer(id),
            Err(code) => self.lose_peer(id, code),
        }
    }

    pub(super) fn peer_sent(&mut self, completion: Completion) {
        let Some((id, peer)) = self.peer_of(&completion) else { return };
        peer.sending = false;
        match completion.result() {
            _ if peer.leaving => self.leave_peer(id),
            Ok(bytes) => self.logic.peer_sent(id, bytes),
            Err(code) => self.lose_peer(id, code),
        }
    }

    fn peer_of(&mut self, completion: &Completion) -> Option<(PeerId, &mut Peer)> {
        let id = completion.key() as PeerId;
        let peer = self.peers.get_mut(id as usize)?;
        assert_eq!(completion.key(), peer.key(id), "a completion of a peer that is gone");
        Some((id, peer))
    }

    fn receive_from_peer(&mut self, id: PeerId) {
        let peer = &mut self.peers[id as usize];
        if let Some(socket) = &peer.socket {
            peer.receiving = true;
            self.ring.peer_receive(socket.as_fd(), peer.key(id));
        }
    }

    fn lose_peer(&mut self, id: PeerId, code: i32) {
        if !std::mem::replace(&mut self.peers[id as usize].lost, true) {
            self.logic.peer_lost(id, code);
        }
    }

    /// Ends everything on it. Whether it is released already.
    fn hang_up(&mut self, id: PeerId) -> bool {
        let Some(peer) = self.peers.get_mut(id as usize).filter(|peer| peer.open && !peer.leaving) else {
            debug_assert!(false, "peer {id} is not there to be hung up");
            return false;
        };
        peer.leaving = true;
        let key = peer.key(id);
        if let Some(socket) = &peer.socket {
            // Ends a send that the peer does not read, too.
            let _ = socket2::SockRef::from(socket).shutdown(Shutdown::Both);
        }
        let flying = [
            (peer.dialing, Kind::Writable),
            (peer.receiving, Kind::PeerReceive),
            (peer.sending, Kind::PeerSend),
        ];
        for (_, kind) in flying.iter().filter(|(flies, _)| *flies) {
            self.ring.cancel(*kind, key);
        }
        self.leave_peer(id);
        !self.peers[id as usize].open
    }

    /// Closes and releases a peer that is leaving, once nothing is in flight.
    fn leave_peer(&mut self, id: PeerId) {
        let peer = &mut self.peers[id as usize];
        if !(peer.dialing || peer.receiving || peer.sending) {
            *peer = Peer { generation: peer.generation, ..Peer::default() };
            self.logic.peer_released(id);
        }
    }
}
