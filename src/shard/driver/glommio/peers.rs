//! Outgoing connections: a task each, from being dialed to its release. See [`crate::shard::driver::peer`].

use std::cell::{Cell, RefCell};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use glommio::net::TcpStream;
use socket2::SockRef;

use super::{Shared, Signal, error_number};
use crate::shard::driver::Logic;
use crate::shard::driver::peer::{self, PEERS_MAX, PeerId, PeerSend};
use crate::sys::adopt;
use crate::sys::ring::PEER_BUFFER_BYTES;

/// What the pump tells a peer's task.
#[derive(Default)]
pub(super) struct Peer {
    /// For shutting down what the task is reading or writing, once it is connected.
    control: RefCell<Option<OwnedFd>>,
    closing: Cell<bool>,
    /// The logic was told that it is lost.
    lost: Cell<bool>,
    /// Bytes to send; empty when there are none.
    out: RefCell<Vec<u8>>,
    /// Set by hanging up.
    over: Signal,
    write: Signal,
}

/// Carries out what the logic wants of peers. Whether there was anything.
pub(super) fn serve<L: Logic + 'static>(shared: &Rc<Shared<L>>, logic: &mut L) -> bool {
    let mut peers = shared.peers.borrow_mut();
    let mut any = false;
    // Dials first: one may have been given up before it was even taken.
    while let Some((id, address)) = logic.next_dial() {
        any = true;
        assert!(id < PEERS_MAX, "peer {id} of at most {PEERS_MAX}");
        if peers.len() <= id as usize {
            peers.resize_with(id as usize + 1, || None);
        }
        let peer = Rc::new(Peer::default());
        let before = peers[id as usize].replace(peer.clone());
        assert!(before.is_none(), "peer {id} was dialed twice");
        glommio::spawn_local(live(shared.clone(), peer, id, address)).detach();
    }
    while let Some(id) = logic.next_hang_up() {
        any = true;
        if let Some(Some(peer)) = peers.get(id as usize) {
            peer.hang_up();
        }
    }
    while let Some(send) = logic.next_peer_send() {
        any = true;
        if let Some(Some(peer)) = peers.get(send.peer as usize) {
            peer.send(&send);
        }
    }
    any
}

/// Ends those that the logic has left behind, when it is not there any more to be told.
pub(super) async fn end<L: Logic>(shared: &Shared<L>) {
    shared.peers.borrow().iter().flatten().for_each(|peer| peer.hang_up());
    while shared.peers.borrow().iter().any(Option::is_some) {
        glommio::timer::sleep(Duration::from_millis(1)).await;
    }
}

impl Peer {
    fn hang_up(&self) {
        self.closing.set(true);
        if let Some(control) = &*self.control.borrow() {
            // A socket that is down already says so, which changes nothing.
            let _ = SockRef::from(control).shutdown(Shutdown::Both);
        }
        self.over.set();
        self.write.set();
    }

    fn send(&self, send: &PeerSend<'_>) {
        let mut out = self.out.borrow_mut();
        debug_assert!(out.is_empty(), "peer {} has a send in flight", send.peer);
        send.parts().iter().for_each(|part| out.extend_from_slice(part));
        self.write.set();
    }

    fn lose<L: Logic>(&self, shared: &Shared<L>, id: PeerId, code: i32) {
        if !self.closing.get() && !self.lost.replace(true) {
            shared.tell(|logic| logic.peer_lost(id, code));
        }
    }
}

async fn live<L: Logic>(shared: Rc<Shared<L>>, peer: Rc<Peer>, id: PeerId, address: SocketAddr) {
    let over = async {
        peer.over.wait().await;
        Err(libc::ECANCELED)
    };
    let connected = future::or(over, connect(&peer, address)).await;
    if !peer.closing.get() {
        shared.tell(|logic| logic.dialed(id, connected.as_ref().map(drop).map_err(|code| *code)));
        match connected {
            Ok(stream) => converse(&shared, &peer, id, stream).await,
            Err(_) => peer.over.wait().await,
        }
    }
    shared.peers.borrow_mut()[id as usize] = None;
    drop(peer);
    shared.tell(|logic| logic.peer_released(id));
}

async fn connect(peer: &Peer, address: SocketAddr) -> Result<TcpStream, i32> {
    let stream = TcpStream::connect(address).await.map_err(|error| error_number(&error))?;
    let control = adopt::duplicate(&stream).map_err(|error| peer::error_number(&error))?;
    peer::prepare(SockRef::from(&control)).map_err(|error| peer::error_number(&error))?;
    *peer.control.borrow_mut() = Some(control);
    Ok(stream)
}

/// Reads and writes until the logic hangs up.
async fn converse<L: Logic>(shared: &Shared<L>, peer: &Peer, id: PeerId, stream: TcpStream) {
    let (mut from, mut to) = futures_lite::io::split(stream);
    let reading = async {
        let mut buffer = vec![0; PEER_BUFFER_BYTES];
        loop {
            let result = from.read(&mut buffer).await;
            if peer.closing.get() {
                return;
            }
            match result {
                Ok(len @ 1..) => {
                    shared.tell(|logic| logic.peer_receive(id, &mut buffer[..len]));
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(0) => break peer.lose(shared, id, 0),
                Err(error) => break peer.lose(shared, id, peer::error_number(&error)),
            }
        }
    };
    let writing = async {
        loop {
            peer.write.wait().await;
            if peer.closing.get() {
                return;
            }
            let bytes = peer.out.take();
            if bytes.is_empty() {
                continue;
            }
            let result = to.write_all(&bytes).await;
            if peer.closing.get() {
                return;
            }
            let len = bytes.len();
            // The allocation goes back to be used again.
            *peer.out.borrow_mut() = bytes;
            peer.out.borrow_mut().clear();
            match result {
                Ok(()) => {
                    shared.tell(|logic| logic.peer_sent(id, len));
                }
                Err(error) => peer.lose(shared, id, peer::error_number(&error)),
            }
        }
    };
    future::zip(future::zip(reading, writing), peer.over.wait()).await;
}
