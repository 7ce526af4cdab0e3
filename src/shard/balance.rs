//! Connections that one shard accepts and another is to serve: how shards know each other's loads, and how a socket
//! gets from one to the other. Who gets what is decided in [`crate::core::balance`].
//!
//! A [`Street`] has a [`Seat`] for each shard, in cache lines of its own. A shard writes what it says of itself there
//! when it has changed, with plain relaxed stores, and looks at the others' when it accepts, where there are many at
//! most once a millisecond. Nobody waits for anybody, nobody decides on two of these words together, and one that is
//! old leads to a connection on the second best shard: so these are no lock, and no shard's work depends on them. The
//! socket itself goes through the shard's mailbox.
//!
//! Where there is one shard, or `connections_balance = false`, none of this is made.

use super::driver::{self, Handed, Mailbox, Sender};
use super::{Core, Shard};
use crate::core::balance::{Balance, COMING_NS_MAX, Load, Meter, Verdict, aged};
use crate::core::engine::{ConnId, Protocol};
use crate::core::metrics::BalanceFigures;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// So many others are looked at for each connection: a line is some 80 ns away. It matters when a sender opens all of
/// its connections at once: with what was seen a millisecond before, two shards gave each other three of eight.
const FEW: usize = 8;
/// What was seen of more than these is used for so long, in nanoseconds.
const LOOK_EVERY_NS: u64 = 1_000_000;
/// Whether the sink takes events is asked so often, in nanoseconds: it is not told of by itself.
const ASK_EVERY_NS: u64 = 100_000_000;

/// Bytes that all of it takes for one shard among so many, from above: its seat, what it sees of the others and ways
/// to them, and the slots of its mailbox.
pub const fn memory_bytes(shards: u64) -> u64 {
    let slots = (crate::core::balance::COMING_MAX as u64) * 64;
    size_of::<Seat>() as u64
        + size_of::<Neighbours>() as u64
        + slots
        + shards * (size_of::<Load>() as u64 + 64)
}

/// What a shard says of itself, and what others do to it.
#[derive(Default)]
#[repr(align(128))]
struct Seat {
    said: Said,
    porch: Porch,
}

/// Written by its shard alone. Two lines, for processors fetch them in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Said {
    active: AtomicU32,
    room: AtomicU32,
    takes: AtomicBool,
    busy: AtomicU32,
    /// When `busy` was found out.
    busy_at_ns: AtomicU64,
    /// How many of those that were given it has taken.
    taken: AtomicU32,
}

/// Written by those who give it connections.
#[derive(Default)]
#[repr(align(128))]
struct Porch {
    given: AtomicU32,
    /// When one was left before an empty door.
    since_ns: AtomicU64,
}

impl Seat {
    fn look(&self, now_ns: u64) -> Load {
        let (said, porch) = (&self.said, &self.porch);
        let age_ns = now_ns.saturating_sub(said.busy_at_ns.load(Relaxed));
        // Taken before given may be seen the wrong way round: then none is coming, or one is that has come.
        let coming = porch.given.load(Relaxed).wrapping_sub(said.taken.load(Relaxed));
        let coming = if coming > u32::MAX / 2 { 0 } else { coming };
        let waited_ns = now_ns.saturating_sub(porch.since_ns.load(Relaxed));
        Load {
            active: said.active.load(Relaxed),
            room: said.room.load(Relaxed),
            busy: aged(said.busy.load(Relaxed), age_ns),
            coming,
            takes: said.takes.load(Relaxed),
            stalled: coming > 0 && waited_ns > COMING_NS_MAX,
        }
    }

    /// Before a connection is left there.
    fn expect(&self, now_ns: u64) {
        let before = self.porch.given.fetch_add(1, Relaxed);
        if before == self.said.taken.load(Relaxed) {
            self.porch.since_ns.store(now_ns, Relaxed);
        }
    }

    /// It could not be left.
    fn expect_no_more(&self) {
        self.porch.given.fetch_sub(1, Relaxed);
    }
}

/// The seats of all shards, and ways to them.
pub struct Street {
    seats: Box<[Seat]>,
    ways: Box<[Sender<Shard>]>,
}

/// Where a shard is reached, and the others if it is to know them.
pub struct Home {
    pub(super) sender: Sender<Shard>,
    pub(super) mailbox: Mailbox<Shard>,
    pub(super) street: Option<Arc<Street>>,
}

/// Homes for so many shards, which spread new connections among themselves if `balance` says so and there are several.
///
/// # Errors
/// When there is no descriptor left for a mailbox.
pub fn homes(shards: usize, balance: bool) -> io::Result<Vec<Home>> {
    let boxes = (0..shards).map(|_| driver::mailbox::<Shard>()).collect::<io::Result<Vec<_>>>()?;
    let street = (balance && shards > 1).then(|| {
        let seats = (0..shards).map(|_| Seat::default()).collect();
        let ways = boxes.iter().map(|(sender, _)| sender.clone()).collect();
        Arc::new(Street { seats, ways })
    });
    let home = |(sender, mailbox)| Home { sender, mailbox, street: street.clone() };
    Ok(boxes.into_iter().map(home).collect())
}

/// One shard's view of the others. On its thread alone.
pub(super) struct Neighbours {
    street: Arc<Street>,
    own: usize,
    balance: Balance,
    meter: Meter,
    /// What was last seen of them, and when.
    loads: Box<[Load]>,
    looked_ns: u64,
    /// What was last said, so that what is the same need not be said again.
    said: (u32, u32),
    takes: bool,
    asked_ns: u64,
    figures: BalanceFigures,
}

impl Neighbours {
    pub fn new(street: Arc<Street>, own: usize) -> Neighbours {
        let loads = vec![Load::default(); street.seats.len()].into();
        let figures = BalanceFigures { used: true, ..BalanceFigures::default() };
        let (balance, meter) = (Balance::new(own), Meter::default());
        Neighbours {
            street,
            own,
            balance,
            meter,
            loads,
            looked_ns: 0,
            said: (0, 0),
            takes: false,
            asked_ns: 0,
            figures,
        }
    }

    /// Says what there is to say. Once a turn, and for each connection, for several may come in a turn.
    #[inline]
    pub fn say(&mut self, core: &Core) {
        let (now, now_ns) = ((core.active(), core.room()), core.now_ns());
        if now != self.said {
            self.said = now;
            let said = &self.street.seats[self.own].said;
            said.active.store(now.0, Relaxed);
            said.room.store(now.1, Relaxed);
        }
        // The last turn before a long sleep must not leave it told as not ready.
        if !self.takes || now_ns.saturating_sub(self.asked_ns) >= ASK_EVERY_NS {
            self.say_ready(core);
        }
    }

    /// Says whether it takes events.
    pub fn say_ready(&mut self, core: &Core) {
        (self.asked_ns, self.takes) = (core.now_ns(), core.ready().is_ok());
        self.street.seats[self.own].said.takes.store(self.takes, Relaxed);
    }

    /// See [`driver::Logic::note_ran`].
    pub fn note_ran(&mut self, at_ns: u64, ran_ns: u64) {
        if self.meter.read(at_ns, ran_ns) {
            let said = &self.street.seats[self.own].said;
            said.busy.store(self.meter.busy(), Relaxed);
            said.busy_at_ns.store(at_ns, Relaxed);
        }
    }

    fn look(&mut self, core: &Core) {
        let now_ns = core.now_ns();
        let few = self.loads.len() <= FEW;
        if few || now_ns.saturating_sub(self.looked_ns) >= LOOK_EVERY_NS {
            self.looked_ns = now_ns;
            for (load, seat) in self.loads.iter_mut().zip(&self.street.seats) {
                *load = seat.look(now_ns);
            }
        }
        // Its own is known to the last connection.
        let own = &mut self.loads[self.own];
        (own.active, own.room) = (core.active(), core.room());
    }

    /// See [`driver::Logic::pass_on`].
    pub fn pass_on(&mut self, core: &Core, protocol: Protocol, socket: OwnedFd) -> Option<OwnedFd> {
        self.look(core);
        let now_ns = core.now_ns();
        let to = match self.balance.place(now_ns, &self.loads) {
            Verdict::Stay => return Some(socket),
            Verdict::Forgo => {
                self.figures.forgone += 1;
                return Some(socket);
            }
            Verdict::To(to) => to,
        };
        match self.give(now_ns, to, Handed { socket, protocol, from: Some(self.own as u32) }) {
            Ok(()) => {
                self.figures.hand_over(to);
                self.loads[to].coming += 1;
                None
            }
            Err(handed) => {
                self.figures.forgone += 1;
                Some(handed.socket)
            }
        }
    }

    fn give(&self, now_ns: u64, to: usize, handed: Handed) -> Result<(), Handed> {
        let seat = &self.street.seats[to];
        seat.expect(now_ns);
        self.street.ways[to].hand_over(handed).inspect_err(|_| seat.expect_no_more())
    }

    /// See [`driver::Logic::adopt`].
    pub fn adopt(&mut self, core: &mut Core, mut handed: Handed) -> Option<(ConnId, OwnedFd)> {
        let from = handed.from.take();
        if core.room() > 0 {
            let id = core.open(handed.protocol)?;
            self.figures.adopted += u64::from(from.is_some());
            // Here before it is no more on its way, lest somebody sees neither.
            self.say(core);
            self.took();
            return Some((id, handed.socket));
        }
        self.took();
        // Without a slot here and there it is closed by being dropped, as one that is accepted without one.
        match from.map(|from| self.give(core.now_ns(), from as usize, handed)) {
            Some(Ok(())) => self.figures.returned += 1,
            Some(Err(_)) => self.figures.closed += 1,
            None => core.refuse(),
        }
        None
    }

    /// See [`driver::Logic::adopt_failed`].
    pub fn adopt_failed(&mut self) {
        self.took();
        self.figures.closed += 1;
    }

    fn took(&self) {
        let taken = &self.street.seats[self.own].said.taken;
        taken.store(taken.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Up to date.
    pub fn figures(&mut self, core: &Core) -> &BalanceFigures {
        self.look(core);
        let why = self.balance.why(&self.loads);
        self.figures.why = why.map(|why| why.as_str());
        self.figures.repairing = u64::from(why.is_some());
        self.figures.active = u64::from(core.active());
        self.figures.busy = u64::from(self.loads[self.own].busy);
        &self.figures
    }
}

#[cfg(test)]
#[path = "balance_tests.rs"]
mod tests;
