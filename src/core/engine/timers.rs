//! Deadlines of slow peers, of requests without room, of the drain: looked after four times a second.
use super::conn::{Conn, Phase, State};
use super::{ConnId, Engine, Hub};
use crate::balance::ACTIVE_NS;
use crate::json::Scanner;
use crate::memory::{Clock, Memory};
use crate::metrics::Timeout;
use crate::reject::Reject;
use crate::sink::{Remote, Sink};

/// How often the connections are looked through. A table of a thousand costs some microseconds; a deadline
/// is met to a quarter of a second.
const SCAN_NS: u64 = 250_000_000;
/// How long the peer may take to end its side after our last reply.
const LINGER_NS: u64 = 2_000_000_000;
/// How long a half-received request may hold up a drain.
const DRAIN_GRACE_NS: u64 = 1_000_000_000;
/// When a drain closes whatever is left.
pub(super) const DRAIN_NS_MAX: u64 = 25_000_000_000;

impl<M: Memory, C: Clock, S: Scanner, K: Sink> Engine<M, C, S, K> {
    /// Reads the clocks, and looks after deadlines when it is time. Once at the head of every wake.
    pub fn tick(&mut self) {
        let hub = &mut self.hub;
        hub.now_ns = hub.clock.now_ns();
        hub.wall_ms = hub.clock.wall_ms();
        hub.begin_turn();
        hub.composer.set_time(hub.wall_ms);
        self.tick_upstream();
        self.tick_spill();
        let hub = &mut self.hub;
        if hub.now_ns < hub.next_scan_ns {
            return;
        }
        hub.next_scan_ns = hub.now_ns + SCAN_NS;
        hub.metrics.slowest.slide(hub.now_ns);
        self.scan_deadlines();
    }

    /// When [`Engine::tick`] must be called at the latest; `None`: only when something happens.
    pub fn deadline_ns(&self) -> Option<u64> {
        let hub = &self.hub;
        if !hub.again.is_empty() || hub.freed && !hub.blocked.is_empty() {
            // Room came free behind the last `run`: a null sink's batch, a closed connection's budget.
            return Some(hub.now_ns);
        }
        let lingers = hub.flights[hub.lane()].is_none() && !hub.bay_is_empty();
        // A batch that found no file waits for mail, not for the clock.
        let seal = (lingers && hub.stuck_since_ns.is_none())
            .then(|| hub.bays[hub.open_bay].batch.opened_ns() + hub.config.policy.linger_ns);
        let busy = hub.metrics.gauges.connections > 0 || hub.draining || lingers;
        let scan = busy.then_some(hub.next_scan_ns);
        let upstream = hub.sink.remote::<M>().and_then(Remote::deadline_ns);
        [seal, scan, upstream, hub.spill_deadline_ns()].into_iter().flatten().min()
    }

    /// Connections that sent something, were answered or came of late; found out four times a second.
    pub fn active(&self) -> u32 {
        self.hub.active
    }

    /// Slots that are free, none while it drains: whether [`Engine::open`] would have one.
    pub fn room(&self) -> u32 {
        if self.hub.draining { 0 } else { self.free.len() as u32 }
    }

    fn scan_deadlines(&mut self) {
        let stale_ns = self.hub.config.shed_after_ns;
        if self.hub.stuck_since_ns.is_some_and(|since_ns| self.hub.now_ns.saturating_sub(since_ns) > stale_ns)
        {
            self.fail_open_bay();
        }
        self.scan_upstream();
        for at in 0..self.conns.len() {
            let (conn, hub) = (&mut self.conns[at], &mut self.hub);
            if !matches!(conn.state, State::Free | State::Closing) {
                let silent_ns = hub.now_ns.saturating_sub(conn.active_ns);
                hub.count_active(conn, silent_ns < ACTIVE_NS);
                hub.check(conn, at as ConnId);
            }
        }
    }
}

impl<M: Memory, C: Clock, S: Scanner, K: Sink> Hub<M, C, S, K> {
    /// Whether the connection counts as one that sends.
    pub(super) fn count_active(&mut self, conn: &mut Conn<M>, is: bool) {
        if core::mem::replace(&mut conn.active, is) != is {
            self.active = if is { self.active + 1 } else { self.active - 1 };
        }
    }

    fn check(&mut self, conn: &mut Conn<M>, id: ConnId) {
        let since = |then_ns: u64| self.now_ns.saturating_sub(then_ns);
        let limits = self.config.timeouts;
        if !conn.outbox.is_empty() && since(conn.send_since_ns) > limits.reply_ns {
            self.metrics.counters.timeout(Timeout::Reply);
            return self.close(conn, id);
        }
        if self.draining && since(self.drain_since_ns) > DRAIN_NS_MAX {
            return self.close(conn, id);
        }
        match conn.state {
            State::Lingering if since(conn.phase_since_ns) > LINGER_NS => return self.close(conn, id),
            State::Open => {}
            _ => return,
        }
        if conn.blocked && since(conn.blocked_since_ns) > self.config.shed_after_ns {
            return self.shed_blocked(conn, id);
        }
        if conn.must_wait() || !conn.pending.is_empty() {
            return;
        }
        let waited_ns = since(conn.phase_since_ns);
        match conn.phase {
            Phase::Head if waited_ns > limits.head_ns => self.too_slow(conn, id, Timeout::Head),
            Phase::Body
                if waited_ns > limits.body_grace_ns
                    && below_floor(conn, waited_ns, limits.body_floor_bytes_per_s) =>
            {
                self.too_slow(conn, id, Timeout::Body);
            }
            Phase::Idle if since(conn.active_ns) > limits.idle_ns && conn.outbox.is_empty() => {
                self.metrics.counters.timeout(Timeout::Idle);
                self.close(conn, id);
            }
            _ if self.draining => self.check_drain(conn, id),
            _ => {}
        }
    }

    fn shed_blocked(&mut self, conn: &mut Conn<M>, id: ConnId) {
        // Lines have no reply to say it with: their back-pressure is the socket's.
        if conn.protocol == super::conn::Protocol::Http && conn.has_reply_room(crate::reply::REPLY_BYTES_MAX)
        {
            conn.blocked = false;
            self.shed(conn, id);
            self.call_again(conn, id);
            self.after_pump(conn, id);
        }
    }

    fn too_slow(&mut self, conn: &mut Conn<M>, id: ConnId, which: Timeout) {
        self.metrics.counters.timeout(which);
        let reason = match which {
            Timeout::Head => "the head of the request did not arrive in time: send it at once",
            _ => {
                "the body of the request came below the floor that body_floor_bytes_per_s sets: send it faster"
            }
        };
        self.refuse_and_close(conn, id, Reject::new(408, "too_slow", reason));
    }

    fn check_drain(&mut self, conn: &mut Conn<M>, id: ConnId) {
        let waited_ns = self.now_ns.saturating_sub(self.drain_since_ns);
        let half_received = conn.phase != Phase::Idle || conn.carry_len > 0;
        if conn.is_even() && (!half_received || waited_ns > DRAIN_GRACE_NS) {
            self.close(conn, id);
        }
    }
}

fn below_floor<M>(conn: &Conn<M>, waited_ns: u64, floor_bytes_per_s: u64) -> bool {
    conn.body_bytes < floor_bytes_per_s.saturating_mul(waited_ns / 1_000_000_000)
}
