//! What a request leaves behind until its reply is gone, so that the slow ones can be told apart, and why.
//!
//! An ordinary request costs a copy of a few words and one comparison. Only what is among the slowest of its quarter
//! of a minute is looked at closer, in [`Hub::record`].
//!
//! ```text
//! first byte ─ begun ─ whole ─ received ─────── written ─ taken by the kernel
//!        unseen    read     room    seal_wait, sink    reply
//! ```
//!
//! Of what waits in one outbox only the request that began first is followed: the others came later and leave with
//! it. Lines are not followed, for a line has no reply of its own.
use super::conn::{Conn, Pending, Phase, Taken};
use super::settle::Settled;
use super::{ConnId, Engine, Hub};
use crate::json::Scanner;
use crate::memory::{Clock, Memory};
use crate::metrics::cause::{LONG_NS, Parts, Spell, judge};
use crate::metrics::{STAGES, SlowRequest, Stage};
use crate::segment::header::StreamName;
use crate::sink::Sink;
use core::net::SocketAddr;

/// Connections whose addresses may be asked for at once; a request of one more goes without.
pub(super) const UNNAMED_MAX: usize = 16;

/// How a request came in. Moments are on the shard's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrival {
    /// Its first byte was seen.
    pub begun_ns: u64,
    /// Its last byte was seen.
    pub whole_ns: u64,
    /// How long the first byte may have lain in the socket, at most.
    pub unseen_ns: u64,
    /// What finding, judging and copying it took; 0 where that was not timed.
    pub frame_ns: u32,
    pub parse_ns: u32,
    pub append_ns: u32,
    /// Which of its connection's streams: [`Streams::tell`].
    pub stream: u8,
}

/// The stream that the last request of a connection named. Others of its requests are told by a number: one that is
/// not the last one's has a name that is forgotten.
#[derive(Clone, Debug)]
pub struct Streams {
    last: StreamName,
    number: u8,
}

impl Streams {
    /// Requests that name none go to the default stream.
    const DEFAULT: u8 = 0;
    /// Of a request that was refused before its target was read.
    const UNKNOWN: u8 = u8::MAX;

    pub const fn new() -> Streams {
        Streams { last: StreamName::DEFAULT, number: 1 }
    }

    /// The number of a name; `None`: the default stream's.
    pub fn note(&mut self, name: Option<&StreamName>) -> u8 {
        let Some(name) = name else { return Streams::DEFAULT };
        if self.last != *name {
            self.last = *name;
            self.number = self.number % (Streams::UNKNOWN - 1) + 1;
        }
        self.number
    }

    /// The name of a number, unless it is forgotten.
    fn tell(&self, number: u8) -> Option<StreamName> {
        match number {
            Streams::DEFAULT => Some(StreamName::DEFAULT),
            number => (number == self.number).then_some(self.last),
        }
    }
}

/// A request whose reply lies in the outbox.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trail {
    arrival: Arrival,
    received_ns: u64,
    written_ns: u64,
    /// What its commit took.
    sink_ns: u64,
    /// Bytes that the connection has sent when the last of its reply is gone; 0: there is no such request.
    ends_at: u64,
    status: u16,
    events: u32,
    bytes: u32,
}

/// What a turn of the shard's loop has done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    bytes: u64,
    largest: (ConnId, u64),
    /// A turn that was long, and its end.
    long: Option<(u64, u64)>,
}

impl Done {
    /// A body was judged for a connection.
    #[inline]
    pub fn judged(&mut self, conn: ConnId, bytes: usize) {
        self.bytes += bytes as u64;
        if bytes as u64 > self.largest.1 {
            self.largest = (conn, bytes as u64);
        }
    }

    /// A batch was sealed.
    pub fn sealed(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }
}

impl<M: Memory, C: Clock, S: Scanner, K: Sink> Engine<M, C, S, K> {
    /// A turn of the loop that was long, or a stall of its thread: to be told before the next [`Engine::tick`]. What
    /// was done in it the engine knows by itself.
    pub fn note_spell(&mut self, spell: Spell) {
        let hub = &mut self.hub;
        if spell.worked_ns == 0 {
            return hub.spells.push(spell);
        }
        hub.done.long = Some((spell.from_ns, spell.to_ns));
        hub.spells.push(spell.with_work(hub.done.bytes, hub.done.largest));
    }

    /// A connection whose address is wanted, once for each.
    #[inline]
    pub fn next_unnamed(&mut self) -> Option<ConnId> {
        self.hub.unnamed.pop()
    }

    /// The address of a connection that [`Engine::next_unnamed`] gave.
    pub fn name(&mut self, id: ConnId, peer: SocketAddr) {
        let conn = &mut self.conns[id as usize];
        conn.peer = Some(peer);
        self.hub.metrics.slowest.name((id, conn.serial), peer);
    }

    /// The time that the last [`Engine::tick`] read, in nanoseconds.
    pub fn now_ns(&self) -> u64 {
        self.hub.now_ns
    }
}

impl<M: Memory, C: Clock, S: Scanner, K: Sink> Hub<M, C, S, K> {
    /// A new turn begins. What came while the last one was long may have lain there since it began, unless the thread
    /// has slept since.
    #[inline]
    pub(super) fn begin_turn(&mut self) {
        self.unseen_ns = match self.done.long {
            None => 0,
            Some((from_ns, to_ns)) if self.now_ns.saturating_sub(to_ns) < LONG_NS => {
                self.now_ns.saturating_sub(from_ns)
            }
            Some(_) => 0,
        };
        self.done = Done::default();
    }

    /// The request at the front of what came is whole.
    #[inline]
    pub(super) fn note_whole(&mut self, conn: &mut Conn<M>) {
        // What came while it was blocked came behind it.
        let came_ns = match conn.blocked_since_ns {
            0 => conn.came_ns,
            since_ns => since_ns.min(conn.came_ns),
        };
        if conn.phase == Phase::Idle {
            (conn.arrival.begun_ns, conn.arrival.unseen_ns) = (came_ns, self.unseen_ns);
        }
        conn.arrival.whole_ns = came_ns;
        conn.arrival.stream = Streams::UNKNOWN;
        (conn.arrival.frame_ns, conn.arrival.parse_ns, conn.arrival.append_ns) = (0, 0, 0);
    }

    /// The reply to a request was written into the outbox.
    #[inline]
    pub(super) fn leave_trail(
        &self,
        conn: &mut Conn<M>,
        pending: &Pending,
        status: u16,
        taken: Option<&Taken>,
        settled: Option<&Settled>,
    ) {
        if conn.trail.ends_at != 0 {
            return;
        }
        let waited_ns = if pending.ticket == 0 { 0 } else { self.now_ns - pending.received_ns };
        conn.trail = Trail {
            arrival: pending.arrival,
            received_ns: pending.received_ns,
            written_ns: self.now_ns,
            sink_ns: settled.map_or(waited_ns, |settled| settled.sink_ns.min(waited_ns)),
            ends_at: conn.sent_bytes + conn.outbox.len() as u64,
            status,
            events: taken.map_or(0, |taken| taken.accepted + taken.rejected),
            bytes: taken.map_or(0, |taken| taken.bytes),
        };
    }

    /// The kernel took bytes of the outbox.
    #[inline]
    pub(super) fn follow(&mut self, conn: &mut Conn<M>, id: ConnId, sent: usize) {
        conn.sent_bytes += sent as u64;
        if conn.trail.ends_at != 0 && conn.sent_bytes >= conn.trail.ends_at {
            self.end_trail(conn, id);
        }
    }

    /// The connection ends. Whose reply was followed and not taken has waited in vain.
    pub(super) fn lose_trail(&mut self, conn: &mut Conn<M>, id: ConnId) {
        if conn.trail.ends_at != 0 {
            self.end_trail(conn, id);
        }
    }

    /// The reply that was followed is gone, or will never be.
    #[inline]
    fn end_trail(&mut self, conn: &mut Conn<M>, id: ConnId) {
        conn.trail.ends_at = 0;
        let Arrival { begun_ns, unseen_ns, .. } = conn.trail.arrival;
        if self.now_ns.saturating_sub(begun_ns) + unseen_ns > self.metrics.slowest.bar_ns() {
            self.record(conn, id);
        }
    }

    #[cold]
    #[inline(never)]
    fn record(&mut self, conn: &Conn<M>, id: ConnId) {
        let Trail { arrival, received_ns, written_ns, sink_ns, status, events, bytes, .. } = conn.trail;
        let total_ns = self.now_ns.saturating_sub(arrival.begun_ns);
        let read_ns = arrival.whole_ns.saturating_sub(arrival.begun_ns);
        let room_ns = received_ns.saturating_sub(arrival.whole_ns);
        let work_ns =
            u64::from(arrival.frame_ns) + u64::from(arrival.parse_ns) + u64::from(arrival.append_ns);
        // The clock is looked at once a turn, so the work on it lies within whatever came next.
        let waited_ns = (written_ns - received_ns).saturating_sub(sink_ns);
        let seal_wait_ns = waited_ns.saturating_sub(work_ns);
        let reply_ns = (self.now_ns - written_ns).saturating_sub(work_ns.saturating_sub(waited_ns));
        let mut stages_ns = [0; STAGES.len()];
        for (stage, ns) in [
            (Stage::Read, read_ns),
            (Stage::Frame, arrival.frame_ns.into()),
            (Stage::Parse, arrival.parse_ns.into()),
            (Stage::Append, arrival.append_ns.into()),
            (Stage::SealWait, seal_wait_ns),
            (Stage::Sink, sink_ns),
            (Stage::Reply, reply_ns),
        ] {
            stages_ns[stage as usize] = ns;
        }
        let from_ns = arrival.begun_ns.saturating_sub(arrival.unseen_ns);
        let around = self.spells.around(from_ns, self.now_ns, id);
        let parts = Parts {
            total_ns: total_ns + arrival.unseen_ns,
            read_ns,
            room_ns,
            work_ns,
            seal_wait_ns,
            sink_ns,
            reply_ns,
            bytes,
        };
        self.metrics.slowest.offer(&SlowRequest {
            shard: self.config.shard,
            total_ns,
            unseen_ns: arrival.unseen_ns,
            stages_ns,
            room_ns,
            cause: judge(&parts, &around),
            around,
            at_ns: self.now_ns,
            time_ms: self.wall_ms,
            status,
            events,
            bytes,
            stream: conn.streams.tell(arrival.stream),
            peer: conn.peer,
            conn: (id, conn.serial),
        });
        if conn.peer.is_none() && self.unnamed.len() < UNNAMED_MAX {
            self.unnamed.push(id);
        }
    }
}

#[cfg(test)]
#[path = "tail_tests.rs"]
mod tests;
