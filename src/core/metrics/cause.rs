//! Why a request was slow, as far as a shard can tell.
//!
//! Three kinds of evidence: where the request's own time went ([`Parts`]), what kept the shard's thread from running
//! ([`Reading`], taken by the driver), and for whom it worked meanwhile ([`Spells`]). [`judge`] weighs them. It names
//! what took at least half of the time, or the largest part of it from a third on, and else says that it does not
//! know. Nothing here reads a clock or asks the system; numbers come in as arguments.

/// A turn of the shard's loop from this length on is remembered as a spell, in nanoseconds: several times what a
/// full receive buffer takes to parse, and a tenth of what people call slow.
pub const LONG_NS: u64 = 1_000_000;
/// Spells remembered. A second of nothing but long turns would be more; then the newest count.
const SPELLS: usize = 64;
/// What handling a byte may take before something else is suspected, in nanoseconds: ten times what the slowest
/// path (every event refused, kept and listed; records compressed) was seen to take.
const BYTE_NS: u64 = 40;
/// What a page fault takes at least, in nanoseconds.
const FAULT_NS: u64 = 500;

/// What kept a shard's thread from running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// The control group's quota was used up.
    Throttled,
    /// Another thread had the core.
    Preempted,
    /// Pages had to be found or read.
    PageFault,
    /// Neither running nor waiting for a core: the hypervisor had it, or the process was stopped.
    Stolen,
    /// It took far longer than what was done in it: interrupts, firmware, or a hypervisor that does not tell.
    Unknown,
}

impl Stall {
    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stall::Throttled => "throttled",
            Stall::Preempted => "preempted",
            Stall::PageFault => "page_fault",
            Stall::Stolen => "stolen",
            Stall::Unknown => "unknown",
        }
    }
}

/// What a request waited for most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// No part stands out.
    #[default]
    Unknown,
    /// Its peer sent it slowly.
    SlowBody,
    /// Its peer took the reply slowly.
    SlowReader,
    /// There was no room for it in the open batch, or for its reply.
    NoRoom,
    /// The commit before its own was still under way, or its batch lingered.
    CommitBefore,
    /// Its own commit.
    Commit,
    /// Itself: a large body takes its time to arrive and to be judged.
    OwnBody,
    /// What the shard did for others.
    Neighbour,
    /// The shard's thread did not run.
    Stall(Stall),
}

impl Cause {
    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::Unknown => "unknown",
            Cause::SlowBody => "slow_body",
            Cause::SlowReader => "slow_reader",
            Cause::NoRoom => "no_room",
            Cause::CommitBefore => "commit_before",
            Cause::Commit => "commit",
            Cause::OwnBody => "own_body",
            Cause::Neighbour => "neighbour",
            Cause::Stall(_) => "stall",
        }
    }

    /// For people: what happened, and where one would look next.
    pub const fn in_words(self) -> &'static str {
        match self {
            Cause::Unknown => "no single thing took most of the time",
            Cause::SlowBody => "the peer sent it slowly",
            Cause::SlowReader => "the peer took its reply slowly",
            Cause::NoRoom => "it waited for room: the sink does not keep up",
            Cause::CommitBefore => "it waited in the open batch, behind the commit before or for the linger",
            Cause::Commit => "its commit took that long: the disk, or whoever takes the events",
            Cause::OwnBody => "its own body is large",
            Cause::Neighbour => "the shard worked for other requests",
            Cause::Stall(Stall::Throttled) => {
                "the core was throttled: the control group's CPU quota is used up"
            }
            Cause::Stall(Stall::Preempted) => "another thread had the core",
            Cause::Stall(Stall::PageFault) => "the shard waited for memory pages",
            Cause::Stall(Stall::Stolen) => "the hypervisor had the core, or the process was stopped",
            Cause::Stall(Stall::Unknown) => "the core was held up by something the kernel does not tell",
        }
    }

    /// Whether it is the peer's doing, so that many of them say little about the server.
    pub const fn is_peers(self) -> bool {
        matches!(self, Cause::SlowBody | Cause::SlowReader)
    }
}

/// What the system had counted for the shard's thread at one moment; everything only rises. `None` where the system
/// does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// When, on the shard's clock.
    pub at_ns: u64,
    /// Time that it ran.
    pub ran_ns: Option<u64>,
    /// Time that it wanted to run and another thread had the core.
    pub waited_ns: Option<u64>,
    /// Time that its control group was throttled, of all cores together.
    pub throttled_ns: Option<u64>,
    /// Times that the core was taken from it.
    pub switches: u64,
    /// Page faults, with and without I/O.
    pub faults: [u64; 2],
}

/// A stretch of time in which the shard did something long, or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spell {
    /// Begin, on the shard's clock.
    pub from_ns: u64,
    /// End.
    pub to_ns: u64,
    /// What kept the thread from running, and for how long.
    pub stall: Option<(Stall, u64)>,
    /// The rest, if the stretch was one turn of work: how long, how many bytes, and of whom half of them or more.
    pub worked_ns: u64,
    /// Bytes that were judged or sealed meanwhile.
    pub bytes: u64,
    /// The connection that half of them or more came from.
    pub conn: Option<u32>,
}

impl Spell {
    /// What became of a turn that lasted from `from_ns` to `after.at_ns`, from what was counted at its end and at some
    /// moment before it, shortly if possible. `None`: neither long nor held up.
    pub fn of_turn(before: &Reading, after: &Reading, from_ns: u64) -> Option<Spell> {
        let took_ns = after.at_ns.saturating_sub(from_ns);
        let waited_ns = since(after.waited_ns, before.waited_ns).unwrap_or(0);
        let to_ns = after.at_ns;
        if took_ns < LONG_NS {
            // The core may have been late to wake the thread, though what it did then was short.
            let late = (waited_ns >= LONG_NS).then_some((Stall::Preempted, waited_ns));
            return late.map(|late| Spell {
                from_ns: before.at_ns,
                to_ns,
                stall: Some(late),
                ..Spell::default()
            });
        }
        let stall = held_up(before, after, took_ns, waited_ns);
        let worked_ns = took_ns - stall.map_or(0, |(_, ns)| ns);
        Some(Spell { from_ns, to_ns, stall, worked_ns, ..Spell::default() })
    }

    /// Enters what was done in it. What takes far longer than its bytes explain was no work.
    pub fn with_work(mut self, bytes: u64, largest: (u32, u64)) -> Spell {
        let explained_ns = bytes.saturating_mul(BYTE_NS).saturating_add(LONG_NS);
        if self.stall.is_none() && self.worked_ns / 2 > explained_ns {
            self.stall = Some((Stall::Unknown, self.worked_ns - explained_ns));
            self.worked_ns = explained_ns;
        }
        self.bytes = bytes;
        self.conn = (largest.1 > 0 && largest.1 >= bytes / 2).then_some(largest.0);
        self
    }
}

fn since(after: Option<u64>, before: Option<u64>) -> Option<u64> {
    Some(after?.saturating_sub(before?))
}

/// What kept the thread from running for the greater part of what its turn was held up.
fn held_up(before: &Reading, after: &Reading, took_ns: u64, waited_ns: u64) -> Option<(Stall, u64)> {
    let throttled_ns = since(after.throttled_ns, before.throttled_ns).unwrap_or(0);
    // It ran for at most so long, for what it ran before the turn counts along.
    let away_ns = since(after.ran_ns, before.ran_ns).map_or(0, |ran_ns| took_ns.saturating_sub(ran_ns));
    let [major, minor] = [1, 0].map(|at| after.faults[at].saturating_sub(before.faults[at]));
    let (kind, held_ns) = match () {
        () if throttled_ns >= LONG_NS / 2 => (Stall::Throttled, throttled_ns.max(away_ns)),
        () if waited_ns >= LONG_NS / 2 => (Stall::Preempted, waited_ns.max(away_ns)),
        () if away_ns >= LONG_NS / 2 && major > 0 => (Stall::PageFault, away_ns),
        () if away_ns >= LONG_NS / 2 => (Stall::Stolen, away_ns),
        () => (Stall::PageFault, minor.saturating_mul(FAULT_NS)),
    };
    (held_ns >= LONG_NS / 2).then_some((kind, held_ns.min(took_ns)))
}

/// The spells of late.
#[derive(Clone, Debug)]
pub struct Spells {
    ring: [Spell; SPELLS],
    next: usize,
}

/// What happened around a request while it was under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// Time for which the shard did not run, and the longest reason.
    pub stalled_ns: u64,
    /// The reason that held it up longest.
    pub stall: Option<Stall>,
    /// Time that the shard worked for others.
    pub neighbour_ns: u64,
    /// Bytes of others in that time.
    pub neighbour_bytes: u64,
}

impl Spells {
    /// None yet.
    pub const fn new() -> Spells {
        let none = Spell { from_ns: 0, to_ns: 0, stall: None, worked_ns: 0, bytes: 0, conn: None };
        Spells { ring: [none; SPELLS], next: 0 }
    }

    /// Remembers one, and forgets the oldest.
    pub fn push(&mut self, spell: Spell) {
        self.ring[self.next % SPELLS] = spell;
        self.next = self.next.wrapping_add(1);
    }

    /// What happened between two moments around a request of that connection.
    pub fn around(&self, from_ns: u64, to_ns: u64, conn: u32) -> Around {
        let mut around = Around::default();
        let mut longest_ns = 0;
        for spell in self.ring.iter().filter(|spell| spell.to_ns > from_ns && spell.from_ns < to_ns) {
            let shared_ns = spell.to_ns.min(to_ns) - spell.from_ns.max(from_ns);
            if let Some((kind, ns)) = spell.stall {
                let ns = ns.min(shared_ns);
                around.stalled_ns = around.stalled_ns.saturating_add(ns);
                if ns > longest_ns {
                    (longest_ns, around.stall) = (ns, Some(kind));
                }
            }
            if spell.conn != Some(conn) {
                around.neighbour_ns = around.neighbour_ns.saturating_add(spell.worked_ns.min(shared_ns));
                around.neighbour_bytes = around.neighbour_bytes.saturating_add(spell.bytes);
            }
        }
        around
    }
}

impl Default for Spells {
    fn default() -> Spells {
        Spells::new()
    }
}

/// Where a request's own time went, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// All of it, and what it may have waited before it was seen.
    pub total_ns: u64,
    /// First byte to last.
    pub read_ns: u64,
    /// Whole, but without room.
    pub room_ns: u64,
    /// Judging and copying, where that was timed.
    pub work_ns: u64,
    /// In the open batch.
    pub seal_wait_ns: u64,
    /// Its commit.
    pub sink_ns: u64,
    /// Written to taken.
    pub reply_ns: u64,
    /// Bytes of its body.
    pub bytes: u32,
}

/// A body from this size on may be its own reason, and is timed whether its turn has come or not.
pub const LARGE_BYTES: usize = 64 << 10;
/// A peer that sends a large body at this rate is not slow, in bytes per millisecond: 50 MB/s.
const QUICK_BYTES_PER_MS: u64 = 50_000;

/// Names what took most of a request's time.
pub fn judge(parts: &Parts, around: &Around) -> Cause {
    if let Some(stall) = around.stall.filter(|_| around.stalled_ns.saturating_mul(2) >= parts.total_ns) {
        return Cause::Stall(stall);
    }
    if around.neighbour_ns > 0 && around.neighbour_ns.saturating_mul(2) >= parts.total_ns {
        return Cause::Neighbour;
    }
    let large = parts.bytes as usize >= LARGE_BYTES;
    let quick =
        large && u64::from(parts.bytes) * 1_000_000 >= parts.read_ns.saturating_mul(QUICK_BYTES_PER_MS);
    let candidates = [
        (parts.work_ns, Cause::OwnBody),
        (parts.read_ns, if quick { Cause::OwnBody } else { Cause::SlowBody }),
        (parts.room_ns, Cause::NoRoom),
        (parts.seal_wait_ns, Cause::CommitBefore),
        (parts.sink_ns, Cause::Commit),
        (parts.reply_ns, Cause::SlowReader),
    ];
    let (most_ns, cause) = candidates.into_iter().max_by_key(|(ns, _)| *ns).unwrap_or_default();
    if most_ns > 0 && most_ns.saturating_mul(3) >= parts.total_ns { cause } else { Cause::Unknown }
}

#[cfg(test)]
#[path = "cause_tests.rs"]
mod tests;
