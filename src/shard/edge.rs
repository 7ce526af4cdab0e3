//! What a shard needs of connections that its sink makes, whoever is on the other side.
use super::Core;
use super::driver::peer::{PeerId, PeerSend};
use crate::log;
use crate::sink::kafka::resolve::Solution;
use std::net::SocketAddr;

/// The connections of one shard's sink; the calls are the driver's about peers (see [`super::driver::Logic`]), each
/// with the engine whose sink it is.
pub(super) trait Edge {
    /// What the helpers found out about something it had asked under that number.
    fn solved(&mut self, core: &mut Core, id: u32, solution: Solution);
    /// Look at the time; behind the engine's own look.
    fn tick(&mut self, core: &mut Core);
    /// When `tick` is due, beside the engine's.
    fn deadline_ns(&self) -> Option<u64>;
    /// The driver has let go of every connection.
    fn is_empty(&self) -> bool;
    /// See [`super::driver::Logic::next_dial`].
    fn next_dial(&mut self, core: &mut Core) -> Option<(PeerId, SocketAddr)>;
    /// See [`super::driver::Logic::next_hang_up`].
    fn next_hang_up(&mut self) -> Option<PeerId>;
    /// See [`super::driver::Logic::next_peer_send`].
    fn next_peer_send<'a>(&'a mut self, core: &'a Core) -> Option<PeerSend<'a>>;
    /// See [`super::driver::Logic::dialed`].
    fn dialed(&mut self, core: &mut Core, peer: PeerId, result: Result<(), i32>);
    /// See [`super::driver::Logic::peer_receive`].
    fn peer_receive(&mut self, core: &mut Core, peer: PeerId, data: &[u8]);
    /// See [`super::driver::Logic::peer_sent`].
    fn peer_sent(&mut self, core: &mut Core, peer: PeerId, bytes: usize);
    /// See [`super::driver::Logic::peer_lost`].
    fn peer_lost(&mut self, core: &mut Core, peer: PeerId, code: i32);
    /// See [`super::driver::Logic::peer_released`].
    fn peer_released(&mut self, core: &mut Core, peer: PeerId);
}

/// A failure that was logged is not logged again for so long, so that a target that is down costs two lines a
/// minute and not one for each attempt.
const SAME_FAILURE_NS: u64 = 30_000_000_000;
/// Failures told apart for that.
const FAILURES_KNOWN: usize = 16;

/// Failures on their way to the log, each seldom: those that begin alike, up to the first `: `, are one.
pub(super) struct Complaints {
    of: &'static str,
    /// What was logged, and when.
    told: Vec<(String, u64)>,
}

impl Complaints {
    /// About that sink.
    pub(super) fn new(of: &'static str) -> Complaints {
        Complaints { of, told: Vec::with_capacity(FAILURES_KNOWN) }
    }

    /// Logs it, unless that was done lately.
    pub(super) fn log(&mut self, now_ns: u64, failure: String) {
        self.told.retain(|(_, at_ns)| now_ns.saturating_sub(*at_ns) < SAME_FAILURE_NS);
        let alike = |text: &str| text.split(": ").next() == failure.split(": ").next();
        if self.told.iter().any(|(text, _)| alike(text)) {
            return;
        }
        log::warn!("{}: {failure}", self.of);
        if self.told.len() == FAILURES_KNOWN {
            self.told.remove(0);
        }
        self.told.push((failure, now_ns));
    }
}
