//! What a shard needs of connections that its sink makes, whoever is on the other side.
use super::driver::peer::{PeerId, PeerSend};
use super::driver::{Message, Sender};
use super::{Core, Shard};
use crate::log;
use crate::sink::kafka::resolve::{Helpers, Solution, Task};
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

/// What connections ask for beyond the shard's loop: helpers that may block, and the log.
pub(super) struct Errands {
    helpers: Helpers,
    /// To the shard itself, for what the helpers find out.
    mail: Sender<Shard>,
    complaints: Complaints,
}

impl Errands {
    /// For the sink of that name in the log, in the shard that `mail` leads to.
    pub(super) fn new(of: &'static str, helpers: Helpers, mail: Sender<Shard>) -> Errands {
        Errands { helpers, mail, complaints: Complaints::new(of) }
    }

    /// Has a helper solve it; the shard hears of it by [`Edge::solved`] with this `id`.
    pub(super) fn ask(&self, id: u32, task: Task) {
        let mail = self.mail.clone();
        self.helpers.ask(task, move |solution| {
            let solved = move |shard: &mut Shard| shard.solved(id, solution);
            // A shard that has ended waits for nothing.
            let _ = mail.send(Message::Ask(Box::new(solved)));
        });
    }

    /// Logs a failure, unless that was done lately.
    pub(super) fn log(&mut self, now_ns: u64, failure: String) {
        self.complaints.log(now_ns, failure);
    }
}

/// A failure that was logged is not logged again for so long, so that a target that is down costs two lines a
/// minute and not one for each attempt.
const SAME_FAILURE_NS: u64 = 30_000_000_000;
/// Failures told apart for that.
const FAILURES_KNOWN: usize = 16;

/// Failures on their way to the log, each seldom: those that begin alike, up to the first `: `, are one.
struct Complaints {
    of: &'static str,
    /// What was logged, and when.
    told: Vec<(String, u64)>,
}

impl Complaints {
    fn new(of: &'static str) -> Complaints {
        Complaints { of, told: Vec::with_capacity(FAILURES_KNOWN) }
    }

    fn log(&mut self, now_ns: u64, failure: String) {
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
