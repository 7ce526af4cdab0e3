//! The words in which delivery, sink and edge speak of connections, parcels and answers. No behaviour but what a status
//! means.
use super::why::{Trouble, Why};

/// Bounds, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Connections at once.
    pub lanes: u16,
    /// After which an answer, or progress of a request on its way, is waited for no longer.
    pub request_timeout_ns: u64,
    /// After which a parcel is given up.
    pub delivery_timeout_ns: u64,
    /// After which an idle connection is not used any more.
    pub idle_ns: u64,
    /// For chance.
    pub seed: u64,
}

/// Number of a connection.
pub type LaneId = u16;

/// What the edge is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Connect.
    Dial(LaneId),
    /// Close, and say nothing more of it.
    HangUp(LaneId),
    /// Send this parcel.
    Post(LaneId, usize),
}

/// What happened at the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// TCP and TLS are done.
    Up(LaneId),
    /// It could not be made, or is lost. The edge has closed it.
    Down {
        /// Which.
        lane: LaneId,
        /// Why.
        trouble: Trouble,
        /// Bytes of its request may have left.
        begun: bool,
    },
    /// Bytes of its request left.
    Progress(LaneId),
    /// The answer to its request.
    Answered(LaneId, Answer),
}

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status, 200 to 999.
    pub status: u16,
    /// How long the target wants to be left alone.
    pub rest_ns: Option<u64>,
    /// The connection can be used again.
    pub reusable: bool,
    /// How long it may rest before that, where the target says so.
    pub idle_ns: Option<u64>,
}

/// What a status means for what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All of it is taken.
    Taken,
    /// Not now; it is known that nothing was taken, or not.
    Again { sure: bool },
    /// What was sent cannot be taken: another half may.
    Content,
    /// Nothing can be taken from us as we are.
    Denied,
}

impl Verdict {
    pub(super) const fn of(status: u16) -> Verdict {
        match status {
            200..=299 => Verdict::Taken,
            408 | 425 | 429 | 503 | 507 => Verdict::Again { sure: true },
            500..=599 => Verdict::Again { sure: false },
            400 | 409 | 413 | 422 => Verdict::Content,
            _ => Verdict::Denied,
        }
    }
}

/// What became of a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Taken,
    /// It cannot be taken as it is.
    Content(Why),
    /// Given up.
    Lost {
        why: Why,
        /// Some attempt may have been taken.
        unsure: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Waiting,
    Posted(LaneId),
    Done(Done),
    /// Its end was told.
    Told,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Sending {
    pub standing: Standing,
    /// Some attempt may have been taken.
    pub unsure: bool,
    /// Of the newest attempt.
    pub why: Option<Why>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Off,
    Dialing { until_ns: u64 },
    Idle { until_ns: u64, used: bool },
    Busy { parcel: usize, posted_ns: u64, until_ns: u64, used: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    Starting,
    Up,
    Down(Trouble),
}

/// What it counts, and how it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that a 2xx answered.
    pub taken: u64,
    /// Requests that another status answered.
    pub refused: u64,
    /// Attempts after a first one.
    pub retries: u64,
    /// Requests that were lost with their connection, or not answered in time.
    pub lost: u64,
    /// Connections that were begun.
    pub dials: u64,
    /// Of those, how many came to nothing.
    pub dials_failed: u64,
    /// Nanoseconds that the target wanted to be left alone, or was because of failures.
    pub rested_ns: u64,
    /// From request to answer, smoothed, nanoseconds.
    pub rtt_ns: u64,
    /// Connections that stand now.
    pub connected: u64,
    /// Requests without an answer now.
    pub in_flight: u64,
}
