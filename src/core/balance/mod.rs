//! Whether a new connection stays on the shard that accepted it, or which other one is to have it.
//!
//! The kernel spreads connections by a hash, which is even for thousands and not for ten. [`Balance`] is asked once
//! for each connection that is accepted, with what every shard last said of itself ([`Load`]), and answers with a
//! [`Verdict`]. It moves no connection that is being served, asks nobody, and knows neither sockets nor threads: how
//! loads travel between shards, and connections, is the edge's (`shard/balance.rs`).
//!
//! What counts as load, in this order:
//!
//! 1. Whether the shard can take a connection at all: a full table or a sink that takes nothing beats everything.
//! 2. The share of its core ([`Meter`]). It alone tells one connection that sends megabytes from ten that send a line
//!    a second. But it answers late, and two shards with closed loops are both at 100 %.
//! 3. Connections that sent something of late: what counts where shares are alike, and before there is any load. Idle
//!    ones are none, however many.
//!
//! What keeps it calm: begin and end lie apart where counts are large enough to wobble; what goes by the core's share
//! is spaced by the time in which that share answers; a connection that was handed over is never asked about again;
//! and hand-overs have a budget, so that one-request connections, which come and go too fast for any of this to help,
//! do not pay for it.

/// A connection that sent nothing for this long is idle: beyond the ten seconds at which most agents flush.
pub const ACTIVE_NS: u64 = 15_000_000_000;
/// Connections that may be on their way to one shard. One that works takes them in microseconds; what waits behind
/// these would wait as long in its own listener's queue.
pub const COMING_MAX: u32 = 32;
/// From this age on, in nanoseconds, a connection on its way says that its shard is held up: longer than any turn of
/// a loop that shows up in a p99.
pub const COMING_NS_MAX: u64 = 5_000_000;

/// A share of a core is of so much time, in nanoseconds: shorter, and one commit is a load; longer, and a burst of
/// connections is over before it shows.
const SHARE_NS: u64 = 1_000_000_000;
/// Shares are measured over this at least, in nanoseconds.
const SHARE_EVERY_NS: u64 = 50_000_000;
/// Silence up to this, in nanoseconds, says nothing; a longer one is sleep, for whoever works is heard of.
const SILENCE_NS: u64 = 200_000_000;

/// Begin by the share: beyond five fourths of the mean, and by so many thousandths of a core.
const BUSY_BEGIN: (u64, u64, u64) = (5, 4, 100);
/// End by the share, the same way.
const BUSY_END: (u64, u64, u64) = (11, 10, 40);
/// Whoever takes it must be so many thousandths less busy, or when counts decide not so much busier.
const BUSY_APART: u32 = 100;
/// Hand-overs by the share are spaced by this, in nanoseconds: some twenty in the time in which it answers.
const BUSY_EVERY_NS: u64 = 50_000_000;

/// Begin by counts: beyond the mean by one connection, or by an eighth of it where that is more (1,000 connections
/// hashed to two shards differ from the mean by a thirtieth). End at the mean.
const COUNT_BEGIN_PART: u64 = 8;

/// Hand-overs at once, then one in so many nanoseconds: 64 a second. One costs both shards some 30 µs together: a wake
/// of its own and a byte through a socket (one-request connections, of which 4 % were handed over, took 1.02 of the CPU
/// time that they take without any of this). So this is a five-hundredth of a core.
const PURSE: (u64, u64) = (64, 1_000_000_000 / 64);

/// What a shard says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Connections that sent something, or came, within [`ACTIVE_NS`].
    pub active: u32,
    /// Free slots.
    pub room: u32,
    /// Thousandths of its core that it took of late.
    pub busy: u32,
    /// Connections on their way to it from other shards.
    pub coming: u32,
    /// It takes events: it does not drain, and its sink is ready.
    pub takes: bool,
    /// One of those on their way has waited for longer than [`COMING_NS_MAX`].
    pub stalled: bool,
}

impl Load {
    fn count(&self) -> u64 {
        u64::from(self.active) + u64::from(self.coming)
    }

    fn is_open(&self) -> bool {
        self.takes && !self.stalled && self.coming < COMING_MAX && self.room > self.coming
    }
}

/// Why new connections go elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The shard takes none: its table is full, or its sink is not ready.
    Closed,
    /// Its core has far more to do than the others'.
    Busy,
    /// It has more connections that send than the others.
    Connections,
}

impl Why {
    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Why::Closed => "closed",
            Why::Busy => "busy",
            Why::Connections => "connections",
        }
    }
}

/// What is to become of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Stay,
    /// It stays, though the shard is above the others: none of them can have it, or enough were handed over of late.
    Forgo,
    /// That shard is to have it.
    To(usize),
}

/// One shard's decisions.
#[derive(Clone, Debug)]
pub struct Balance {
    own: usize,
    /// Which of the reasons holds; between its begin and its end.
    by_busy: bool,
    by_count: bool,
    next_by_busy_ns: u64,
    /// The budget, as the moment up to which it is spent.
    spent_until_ns: u64,
}

impl Balance {
    /// Of the shard of that number.
    pub const fn new(own: usize) -> Balance {
        Balance { own, by_busy: false, by_count: false, next_by_busy_ns: 0, spent_until_ns: 0 }
    }

    /// Why a connection that came now would be wanted elsewhere; `None`: it would not.
    ///
    /// # Panics
    /// When `loads` has no place for this shard.
    pub fn why(&mut self, loads: &[Load]) -> Option<Why> {
        let own = loads[self.own];
        let counted = || loads.iter().enumerate().filter(|(at, load)| *at == self.own || load.takes);
        let n = counted().count() as u64;
        let busy: u64 = counted().map(|(_, load)| u64::from(load.busy)).sum();
        // With the one that came.
        let (mine, all) = (own.count() + 1, counted().map(|(_, load)| load.count()).sum::<u64>() + 1);
        let (times, of, over) = if self.by_busy { BUSY_END } else { BUSY_BEGIN };
        let scaled = u64::from(own.busy) * n;
        self.by_busy = n > 1 && scaled * of >= busy * times && scaled >= busy + over * n;
        let margin = if self.by_count { n } else { n.max(all / COUNT_BEGIN_PART) };
        self.by_count = n > 1 && mine * n >= all + margin;
        match (own.takes && own.room > 0, self.by_busy, self.by_count) {
            (false, ..) => Some(Why::Closed),
            (_, true, _) => Some(Why::Busy),
            (_, _, true) => Some(Why::Connections),
            _ => None,
        }
    }

    /// Decides about a connection that came now, `now_ns` being of any clock that does not go back.
    ///
    /// # Panics
    /// When `loads` has no place for this shard.
    pub fn place(&mut self, now_ns: u64, loads: &[Load]) -> Verdict {
        let Some(why) = self.why(loads) else { return Verdict::Stay };
        let by_busy = why == Why::Busy && now_ns >= self.next_by_busy_ns;
        let found = match why {
            Why::Closed => self.fewest(loads, |_| true),
            Why::Busy if by_busy => self.least_busy(loads),
            Why::Busy | Why::Connections => None,
        };
        let busiest = loads[self.own].busy.saturating_add(BUSY_APART);
        let fewer = |load: &Load| load.count() < loads[self.own].count() && load.busy <= busiest;
        let found = found.or_else(|| if self.by_count { self.fewest(loads, fewer) } else { None });
        match found {
            Some(to) if self.spend(now_ns) => {
                if by_busy {
                    self.next_by_busy_ns = now_ns + BUSY_EVERY_NS;
                }
                Verdict::To(to)
            }
            // Spaced, not forgone.
            None if why == Why::Busy && !by_busy => Verdict::Stay,
            _ => Verdict::Forgo,
        }
    }

    /// Those that can have it, with how far behind this shard they stand, so that ties do not all go to the first.
    fn others<'a>(&self, loads: &'a [Load]) -> impl Iterator<Item = (usize, usize, &'a Load)> {
        let (own, n) = (self.own, loads.len());
        let open = loads.iter().enumerate().filter(move |(at, load)| *at != own && load.is_open());
        open.map(move |(at, load)| (at, (at + n - own) % n, load))
    }

    fn fewest(&self, loads: &[Load], fits: impl Fn(&Load) -> bool) -> Option<usize> {
        let fitting = self.others(loads).filter(|(_, _, load)| fits(load));
        fitting.min_by_key(|(_, behind, load)| (load.count(), load.busy, *behind)).map(|(at, ..)| at)
    }

    /// The share says nothing of what came within the last second, so counts bound what it may lead to.
    fn least_busy(&self, loads: &[Load]) -> Option<usize> {
        let all: u64 = loads.iter().map(Load::count).sum();
        let most = 2 * all / loads.len() as u64 + 8;
        let busiest = loads[self.own].busy.saturating_sub(BUSY_APART);
        let fitting = self.others(loads).filter(|(_, _, load)| load.busy <= busiest && load.count() < most);
        fitting.min_by_key(|(_, behind, load)| (load.busy, load.count(), *behind)).map(|(at, ..)| at)
    }

    fn spend(&mut self, now_ns: u64) -> bool {
        let (most, each_ns) = PURSE;
        let until_ns = self.spent_until_ns.max(now_ns) + each_ns;
        let is_left = until_ns <= now_ns + most * each_ns;
        if is_left {
            self.spent_until_ns = until_ns;
        }
        is_left
    }
}

/// The share of its core that a thread took of late, from readings of how long it ran.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    /// Time and time run at the last reading that counted; none yet: zeros.
    at_ns: u64,
    ran_ns: u64,
    busy: u32,
}

impl Meter {
    /// Takes a reading: at `now_ns` the thread had run for `ran_ns` in all. Whether the share changed or was confirmed.
    pub fn read(&mut self, now_ns: u64, ran_ns: u64) -> bool {
        let wall_ns = now_ns.saturating_sub(self.at_ns);
        if self.at_ns > 0 && wall_ns < SHARE_EVERY_NS {
            return false;
        }
        if self.at_ns > 0 {
            let share = (ran_ns.saturating_sub(self.ran_ns) * 1000 / wall_ns).min(1000);
            let weight = wall_ns.min(SHARE_NS) / 1_000_000;
            let whole = SHARE_NS / 1_000_000;
            self.busy = ((u64::from(self.busy) * (whole - weight) + share * weight) / whole) as u32;
        }
        (self.at_ns, self.ran_ns) = (now_ns, ran_ns);
        true
    }

    /// Thousandths of a core.
    pub const fn busy(&self) -> u32 {
        self.busy
    }
}

/// What a share that was last heard of `age_ns` ago is now: nothing was heard because the thread slept.
pub fn aged(busy: u32, age_ns: u64) -> u32 {
    let slept_ns = age_ns.saturating_sub(SILENCE_NS).min(SHARE_NS);
    (u64::from(busy) * (SHARE_NS - slept_ns) / SHARE_NS) as u32
}

#[cfg(test)]
mod tests;
