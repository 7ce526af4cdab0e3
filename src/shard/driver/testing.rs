//! A logic small enough to see through: it echoes, and says on request what a driver must carry out.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use super::{Handed, Logic, Sender};
use crate::core::engine::{Action, ConnId, Io, IoStep, Protocol};
use crate::core::memory::{Clock, Memory};
use crate::core::metrics::cause::Spell;
use crate::sys::clock::MonotonicClock;
use crate::sys::mapping::{Mapping, Residence};

/// What the call comes to once it is not interrupted any more. A thread that has tried out a ring
/// (`uring_support`) may be interrupted in any later wait, when the kernel takes that ring apart; `peek` and a plain
/// `read` do not begin anew by themselves.
pub fn patiently<T>(mut call: impl FnMut() -> io::Result<T>) -> T {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.unwrap(),
        }
    }
}

#[test]
fn what_was_interrupted_begins_anew() {
    let mut calls = 0;
    let mut call = || {
        calls += 1;
        if calls < 3 { Err(io::Error::from_raw_os_error(libc::EINTR)) } else { Ok(calls) }
    };
    assert_eq!(patiently(&mut call), 3);
}

/// Bytes that may wait for one connection before it is paused.
const OWED_MAX: usize = 64 * 1024;

#[derive(Default)]
struct Conn {
    open: bool,
    paused: bool,
    ending: bool,
    ended: bool,
    lingering: bool,
    closed: bool,
    sending: usize,
    owed: Vec<u8>,
    flight: Vec<u8>,
}

/// Echoes. A `Q` closes after the echo; an `X` closes at once; mail of a descriptor writes a page to it.
#[derive(Default)]
pub struct Echo {
    conns: Vec<Conn>,
    actions: VecDeque<(ConnId, Action)>,
    pub most: usize,
    pub refused: usize,
    pub failed: usize,
    pub pauses: usize,
    /// Bytes of the longest receive.
    pub longest: usize,
    pub steps: Vec<(IoStep, Result<usize, i32>)>,
    file: Option<i32>,
    page: Option<Mapping>,
    asked: bool,
    pub draining: bool,
    pub began_ns: u64,
    pub spells: Vec<Spell>,
    /// When, and how long the thread had worked by then.
    pub ran: Option<(u64, u64)>,
    /// Who gets every connection that is accepted.
    pub onward: Option<Sender<Echo>>,
    pub passed: usize,
    pub adopted: usize,
}

impl Echo {
    pub fn new(connections: usize) -> Echo {
        let conns = (0..connections).map(|_| Conn::default()).collect();
        Echo { conns, page: Mapping::new(4096, Residence::Now).ok(), ..Echo::default() }
    }

    pub fn open_count(&self) -> usize {
        self.conns.iter().filter(|conn| conn.open).count()
    }

    fn close_if_done(&mut self, id: ConnId) {
        let conn = &mut self.conns[id as usize];
        let idle = conn.owed.is_empty() && conn.sending == 0;
        if conn.open && !conn.closed && idle && (conn.ending || self.draining) {
            // A peer that has not ended may still send: ours ends first, theirs ends the connection.
            if conn.ended {
                conn.closed = true;
                self.actions.push_back((id, Action::Close));
            } else if !std::mem::replace(&mut conn.lingering, true) {
                self.actions.push_back((id, Action::EndWriting));
            }
        }
    }
}

impl Logic for Echo {
    type Request = &'static str;
    type Mail = i32;

    fn open(&mut self, _: Protocol) -> Option<ConnId> {
        let Some(id) = self.conns.iter().position(|conn| !conn.open) else {
            self.refused += 1;
            return None;
        };
        self.conns[id] = Conn { open: true, ..Conn::default() };
        self.most = self.most.max(self.conns.iter().filter(|conn| conn.open).count());
        Some(id as ConnId)
    }

    fn pass_on(&mut self, protocol: Protocol, socket: OwnedFd) -> Option<OwnedFd> {
        let Some(onward) = &self.onward else { return Some(socket) };
        match onward.hand_over(Handed { socket, protocol, from: None }) {
            Ok(()) => {
                self.passed += 1;
                None
            }
            Err(handed) => Some(handed.socket),
        }
    }

    fn adopt(&mut self, handed: Handed) -> Option<(ConnId, OwnedFd)> {
        let id = (!self.draining).then(|| self.open(handed.protocol)).flatten()?;
        self.adopted += 1;
        Some((id, handed.socket))
    }

    fn receive(&mut self, id: ConnId, data: &mut [u8]) {
        let conn = &mut self.conns[id as usize];
        assert!(conn.open && !conn.paused, "bytes for a paused connection");
        if conn.lingering || conn.closed {
            return;
        }
        conn.owed.extend_from_slice(data);
        self.longest = self.longest.max(data.len());
        if data.contains(&b'Q') {
            conn.ending = true;
        }
        if data.contains(&b'X') {
            conn.owed.clear();
            conn.closed = true;
            self.actions.push_back((id, Action::Close));
            return;
        }
        if conn.owed.len() > OWED_MAX {
            conn.paused = true;
            self.pauses += 1;
            self.actions.push_back((id, Action::PauseReading));
        }
        self.close_if_done(id);
    }

    fn receive_end(&mut self, id: ConnId) {
        assert!(!self.conns[id as usize].paused);
        let conn = &mut self.conns[id as usize];
        (conn.ending, conn.ended) = (true, true);
        self.close_if_done(id);
    }

    fn accept_failed(&mut self) {}

    fn fail(&mut self, id: ConnId) {
        self.failed += 1;
        let conn = &mut self.conns[id as usize];
        if !conn.closed {
            conn.closed = true;
            self.actions.push_back((id, Action::Close));
        }
    }

    fn released(&mut self, id: ConnId) {
        assert!(self.conns[id as usize].closed);
        self.conns[id as usize] = Conn::default();
    }

    fn next_send(&mut self) -> Option<(ConnId, &[u8])> {
        let (id, conn) = self
            .conns
            .iter_mut()
            .enumerate()
            .find(|(_, conn)| conn.open && !conn.closed && conn.sending == 0 && !conn.owed.is_empty())?;
        std::mem::swap(&mut conn.owed, &mut conn.flight);
        conn.sending = conn.flight.len();
        Some((id as ConnId, &conn.flight))
    }

    fn sent(&mut self, id: ConnId, bytes: usize) {
        let conn = &mut self.conns[id as usize];
        assert_eq!(conn.sending, bytes);
        conn.sending = 0;
        conn.flight.clear();
        if conn.paused && conn.owed.len() <= OWED_MAX {
            conn.paused = false;
            self.actions.push_back((id, Action::ResumeReading));
        }
        self.close_if_done(id);
    }

    fn next_action(&mut self) -> Option<(ConnId, Action)> {
        self.actions.pop_front()
    }

    fn run(&mut self) -> bool {
        false
    }

    fn next_io(&mut self) -> Option<Io<'_>> {
        let file = self.file.take()?;
        let page = self.page.as_mut()?;
        page.bytes_mut().fill(b'e');
        Some(Io { slot: 0, file, offset: 4096, bytes: page.bytes(), sync: true })
    }

    fn io_done(&mut self, slot: u8, step: IoStep, result: Result<usize, i32>) {
        assert_eq!(slot, 0);
        self.steps.push((step, result));
    }

    fn next_request(&mut self) -> Option<&'static str> {
        (!std::mem::replace(&mut self.asked, true)).then_some("a file, please")
    }

    fn mail(&mut self, file: i32) {
        self.file = Some(file);
    }

    fn deadline_ns(&self) -> Option<u64> {
        None
    }

    fn tick(&mut self) {
        self.began_ns = MonotonicClock.now_ns();
    }

    fn now_ns(&self) -> u64 {
        self.began_ns
    }

    fn note_ran(&mut self, at_ns: u64, ran_ns: u64) {
        self.ran = Some((at_ns, ran_ns));
    }

    fn note_spell(&mut self, spell: Spell) {
        self.spells.push(spell);
    }

    fn drain(&mut self) {
        self.draining = true;
        for id in 0..self.conns.len() {
            self.close_if_done(id as ConnId);
        }
    }

    fn is_drained(&mut self) -> bool {
        self.draining && self.conns.iter().all(|conn| !conn.open)
    }
}
