//! The shard as the driver sees it: every call goes on to the engine, those about peers to the sink's edge.
use super::Shard;
use super::driver::peer::{PeerId, PeerSend};
use super::driver::{Handed, Logic};
use crate::core::engine::{Action, ConnId, Io, IoStep, Protocol};
use crate::core::metrics::cause::Spell;
use crate::core::sink::{Mail, Request};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

impl Logic for Shard {
    type Request = Request;
    type Mail = Mail;

    fn open(&mut self, protocol: Protocol) -> Option<ConnId> {
        let opened = self.core.open(protocol);
        if let Some(neighbours) = &mut self.neighbours {
            neighbours.say(&self.core);
        }
        opened
    }
    fn pass_on(&mut self, protocol: Protocol, socket: OwnedFd) -> Option<OwnedFd> {
        match &mut self.neighbours {
            Some(neighbours) => neighbours.pass_on(&self.core, protocol, socket),
            None => Some(socket),
        }
    }
    fn adopt(&mut self, handed: Handed) -> Option<(ConnId, OwnedFd)> {
        self.neighbours.as_mut()?.adopt(&mut self.core, handed)
    }
    fn adopt_failed(&mut self, _: Handed) {
        if let Some(neighbours) = &mut self.neighbours {
            neighbours.adopt_failed();
        }
    }
    fn accept_failed(&mut self) {
        self.core.accept_failed();
    }
    fn receive(&mut self, conn: ConnId, data: &mut [u8]) {
        self.core.receive(conn, data);
    }
    fn receive_end(&mut self, conn: ConnId) {
        self.core.receive_end(conn);
    }
    fn fail(&mut self, conn: ConnId) {
        self.core.fail(conn);
    }
    fn released(&mut self, conn: ConnId) {
        self.core.released(conn);
    }
    fn next_send(&mut self) -> Option<(ConnId, &[u8])> {
        self.core.next_send()
    }
    fn sent(&mut self, conn: ConnId, bytes: usize) {
        self.core.sent(conn, bytes);
    }
    fn next_action(&mut self) -> Option<(ConnId, Action)> {
        self.core.next_action()
    }
    fn run(&mut self) -> bool {
        if let Some(feed) = &mut self.feed {
            feed.step(&mut self.core);
        }
        if let Some(spill) = &mut self.spill {
            spill.step(&mut self.core);
        }
        let more = self.core.run();
        if let Some(neighbours) = &mut self.neighbours {
            neighbours.say(&self.core);
        }
        more
    }
    fn next_io(&mut self) -> Option<Io<'_>> {
        self.core.next_io()
    }
    fn io_done(&mut self, slot: u8, step: IoStep, result: Result<usize, i32>) {
        self.core.io_done(slot, step, result);
    }
    fn next_request(&mut self) -> Option<Request> {
        self.core.next_request()
    }
    fn mail(&mut self, mail: Mail) {
        self.core.mail(mail);
    }
    fn deadline_ns(&self) -> Option<u64> {
        let links = self.edge.as_ref().and_then(|edge| edge.deadline_ns());
        let feed = self.feed.as_ref().and_then(|feed| feed.deadline_ns());
        self.core.deadline_ns().into_iter().chain(links).chain(feed).min()
    }
    fn tick(&mut self) {
        self.core.tick();
        if let Some(edge) = &mut self.edge {
            edge.tick(&mut self.core);
        }
    }
    fn now_ns(&self) -> u64 {
        self.core.now_ns()
    }
    fn note_spell(&mut self, spell: Spell) {
        self.core.note_spell(spell);
    }
    fn note_ran(&mut self, at_ns: u64, ran_ns: u64) {
        if let Some(neighbours) = &mut self.neighbours {
            neighbours.note_ran(at_ns, ran_ns);
        }
    }
    fn next_unnamed(&mut self) -> Option<ConnId> {
        self.core.next_unnamed()
    }
    fn name(&mut self, conn: ConnId, peer: SocketAddr) {
        self.core.name(conn, peer);
    }
    fn drain(&mut self) {
        self.core.drain();
        if let Some(neighbours) = &mut self.neighbours {
            neighbours.say_ready(&self.core);
        }
    }
    fn is_drained(&mut self) -> bool {
        self.core.is_drained() && self.edge.as_ref().is_none_or(|edge| edge.is_empty())
    }

    fn next_dial(&mut self) -> Option<(PeerId, SocketAddr)> {
        self.edge.as_mut()?.next_dial(&mut self.core)
    }
    fn dialed(&mut self, peer: PeerId, result: Result<(), i32>) {
        if let Some(edge) = &mut self.edge {
            edge.dialed(&mut self.core, peer, result);
        }
    }
    fn peer_receive(&mut self, peer: PeerId, data: &mut [u8]) {
        if let Some(edge) = &mut self.edge {
            edge.peer_receive(&mut self.core, peer, data);
        }
    }
    fn peer_lost(&mut self, peer: PeerId, code: i32) {
        if let Some(edge) = &mut self.edge {
            edge.peer_lost(&mut self.core, peer, code);
        }
    }
    fn next_peer_send(&mut self) -> Option<PeerSend<'_>> {
        self.edge.as_mut()?.next_peer_send(&self.core)
    }
    fn peer_sent(&mut self, peer: PeerId, bytes: usize) {
        if let Some(edge) = &mut self.edge {
            edge.peer_sent(&mut self.core, peer, bytes);
        }
    }
    fn next_hang_up(&mut self) -> Option<PeerId> {
        self.edge.as_mut()?.next_hang_up()
    }
    fn peer_released(&mut self, peer: PeerId) {
        if let Some(edge) = &mut self.edge {
            edge.peer_released(&mut self.core, peer);
        }
    }
}
