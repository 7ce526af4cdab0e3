//! Parcels to one target over a few connections: whose turn it is, what an answer means, when to try again.
//!
//! A connection here is a **lane**: a number for the edge to hang a socket on. A lane carries one request at a time,
//! for an answer may be the last thing that a connection says. Bytes, sockets and clocks are the edge's.
//!
//! ```text
//!            submit                next_command: Post           Answered 2xx
//!  Waiting ◀──────── (parcel) ───────────────────────▶ Posted ─────────────────▶ Done(Taken)
//!     ▲                                                  │ 4xx ────────────────▶ Done(Content | Denied)
//!     └────────── 408, 425, 429, 5xx, lost, late ────────┘
//!                (after a rest, until its deadline)
//! ```
//!
//! The target is one, so what it says of being overloaded counts for all lanes.
use super::terms::{
    Answer, Command, Done, Input, Lane, LaneId, Reach, Rules, Sending, Standing, Totals, Verdict,
};
use super::why::{NotReady, Trouble, Why};
use crate::kafka::producer::Backoff;
use alloc::vec::Vec;

const MS: u64 = 1_000_000;
/// Rests after failures of requests and of dials.
const BACKOFF: Backoff = Backoff { min_ns: 100 * MS, max_ns: 10_000 * MS };
/// How long a target that refuses requests as they are is left alone.
const REFUSED: Backoff = Backoff { min_ns: 1_000 * MS, max_ns: 30_000 * MS };
/// Longest rest that an answer may ask for. Events wait meanwhile, and whoever asks for more may have lost its clock.
const REST_NS_MAX: u64 = 60_000 * MS;
/// How long a connect and its TLS may take at most.
const CONNECT_NS_MAX: u64 = 10_000 * MS;

/// See the module.
pub(super) struct Delivery {
    rules: Rules,
    lanes: Vec<Lane>,
    sendings: Vec<Sending>,
    /// When whatever of them has no end is given up: they come at once.
    give_up_ns: u64,
    /// Sendings in `Waiting`, and the lowest that may be.
    waiting: usize,
    lowest: usize,
    /// Sendings in `Done`.
    done: usize,
    hang_ups: Vec<LaneId>,
    chance: fastrand::Rng,
    /// Nothing is posted before; and failures in a row.
    rest_until_ns: u64,
    failures: u32,
    dial_at_ns: u64,
    dial_failures: u32,
    reach: Reach,
    /// The target refuses requests as they are: the status, and until when none is sent.
    refusal: Option<(u16, u64)>,
    refusals: u32,
    closed: bool,
    totals: Totals,
}

impl Delivery {
    pub fn new(rules: Rules, parcels_max: usize) -> Delivery {
        let lanes = usize::from(rules.lanes);
        Delivery {
            rules,
            lanes: alloc::vec![Lane::Off; lanes],
            sendings: Vec::with_capacity(parcels_max),
            give_up_ns: 0,
            waiting: 0,
            lowest: 0,
            done: 0,
            hang_ups: Vec::with_capacity(lanes),
            chance: fastrand::Rng::with_seed(rules.seed),
            rest_until_ns: 0,
            failures: 0,
            dial_at_ns: 0,
            dial_failures: 0,
            reach: Reach::Starting,
            refusal: None,
            refusals: 0,
            closed: false,
            totals: Totals::default(),
        }
    }

    pub const fn table_bytes(parcels_max: usize) -> usize {
        parcels_max * size_of::<Sending>()
    }

    pub fn totals(&self) -> Totals {
        let stands = |lane: &&Lane| matches!(lane, Lane::Idle { .. } | Lane::Busy { .. });
        Totals {
            connected: self.lanes.iter().filter(stands).count() as u64,
            in_flight: self.lanes.iter().filter(|lane| matches!(lane, Lane::Busy { .. })).count() as u64,
            ..self.totals
        }
    }

    pub fn ready(&self) -> Result<(), NotReady> {
        match (self.reach, self.refusal) {
            (Reach::Starting, _) => Err(NotReady::Starting),
            (Reach::Down(trouble), _) => Err(NotReady::Unreachable(trouble)),
            (Reach::Up, Some((status, _))) => Err(NotReady::Refuses(status)),
            (Reach::Up, None) => Ok(()),
        }
    }

    /// Forgets the parcels of the commit before, all of which have come to an end.
    fn clear(&mut self) {
        debug_assert!(self.sendings.iter().all(|sending| sending.standing == Standing::Told));
        self.sendings.clear();
        (self.waiting, self.lowest, self.done) = (0, 0, 0);
    }

    /// Takes a commit's parcels, numbered from 0.
    pub fn submit(&mut self, now_ns: u64, parcels: usize) {
        self.clear();
        self.give_up_ns = now_ns.saturating_add(self.rules.delivery_timeout_ns);
        let sending = Sending { standing: Standing::Waiting, unsure: false, why: None };
        self.sendings.resize(parcels, sending);
        self.waiting = parcels;
        if self.closed {
            (0..parcels).for_each(|parcel| self.give_up(parcel, Why::Waited));
        }
    }

    /// A parcel that was told as `Content` goes on as something smaller, within its old deadline.
    pub fn resubmit(&mut self, parcel: usize) {
        let sending = &mut self.sendings[parcel];
        debug_assert_eq!(sending.standing, Standing::Told);
        (sending.standing, sending.unsure) = (Standing::Waiting, false);
        self.waiting += 1;
        self.lowest = self.lowest.min(parcel);
        if self.closed {
            self.give_up(parcel, Why::Waited);
        }
    }

    /// Adds a parcel that is the other half of `of`.
    pub fn submit_half(&mut self, of: usize) {
        let half = Sending { standing: Standing::Told, ..self.sendings[of] };
        self.sendings.push(half);
        self.resubmit(self.sendings.len() - 1);
    }

    /// Some parcel that has come to an end, once.
    pub fn next_done(&mut self) -> Option<(usize, Done)> {
        if self.done == 0 {
            return None;
        }
        self.sendings.iter_mut().enumerate().find_map(|(parcel, sending)| match sending.standing {
            Standing::Done(done) => {
                sending.standing = Standing::Told;
                self.done -= 1;
                Some((parcel, done))
            }
            _ => None,
        })
    }

    /// What to do next; call it until there is nothing, whenever something happened.
    pub fn next_command(&mut self, now_ns: u64) -> Option<Command> {
        if let Some(lane) = self.hang_ups.pop() {
            return Some(Command::HangUp(lane));
        }
        if self.closed {
            return None;
        }
        if now_ns >= self.rest_until_ns
            && let Some(lane) = self.idle_lane()
            && let Some(parcel) = self.next_waiting()
        {
            let Lane::Idle { used, .. } = self.lanes[usize::from(lane)] else { return None };
            let until_ns = now_ns.saturating_add(self.rules.request_timeout_ns);
            self.lanes[usize::from(lane)] = Lane::Busy { parcel, posted_ns: now_ns, until_ns, used };
            let sending = &mut self.sendings[parcel];
            self.totals.retries += u64::from(sending.why.is_some());
            sending.standing = Standing::Posted(lane);
            self.waiting -= 1;
            return Some(Command::Post(lane, parcel));
        }
        if now_ns >= self.dial_at_ns && self.wants_dial() {
            let lane = self.lanes.iter().position(|lane| *lane == Lane::Off)?;
            let patience_ns = self.rules.request_timeout_ns.min(CONNECT_NS_MAX);
            self.lanes[lane] = Lane::Dialing { until_ns: now_ns.saturating_add(patience_ns) };
            self.totals.dials += 1;
            return Some(Command::Dial(lane as LaneId));
        }
        None
    }

    /// The idle lane that was used last: the others may rest until they are let go of.
    fn idle_lane(&self) -> Option<LaneId> {
        let idle = self.lanes.iter().enumerate().filter_map(|(at, lane)| match lane {
            Lane::Idle { until_ns, .. } => Some((*until_ns, at as LaneId)),
            _ => None,
        });
        idle.max().map(|(_, lane)| lane)
    }

    fn next_waiting(&mut self) -> Option<usize> {
        if self.waiting == 0 {
            return None;
        }
        let from = self.lowest;
        let found = self.sendings[from..].iter().position(|sending| sending.standing == Standing::Waiting);
        self.lowest = from + found?;
        Some(self.lowest)
    }

    /// Whether one more connection would be of use: for each parcel that waits, and to find out whether the target
    /// can be reached again.
    fn wants_dial(&self) -> bool {
        let count = |is: fn(&Lane) -> bool| self.lanes.iter().filter(|lane| is(lane)).count();
        let dialing = count(|lane| matches!(lane, Lane::Dialing { .. }));
        let idle = count(|lane| matches!(lane, Lane::Idle { .. }));
        let off = count(|lane| *lane == Lane::Off);
        match self.reach {
            _ if off == 0 => false,
            Reach::Up => self.waiting > dialing + idle,
            _ => off == self.lanes.len(),
        }
    }

    /// Takes note of what happened.
    pub fn handle(&mut self, now_ns: u64, input: Input) {
        match input {
            Input::Up(lane) => {
                if let Lane::Dialing { .. } = self.lanes[usize::from(lane)] {
                    self.lanes[usize::from(lane)] = self.idle(now_ns, None, false);
                    (self.reach, self.dial_failures, self.dial_at_ns) = (Reach::Up, 0, 0);
                }
            }
            Input::Down { lane, trouble, begun } => self.down(now_ns, lane, trouble, begun),
            Input::Progress(lane) => {
                if let Lane::Busy { until_ns, .. } = &mut self.lanes[usize::from(lane)] {
                    *until_ns = now_ns.saturating_add(self.rules.request_timeout_ns);
                }
            }
            Input::Answered(lane, answer) => self.answered(now_ns, lane, &answer),
        }
    }

    fn idle(&self, now_ns: u64, asked_ns: Option<u64>, used: bool) -> Lane {
        let idle_ns = asked_ns.map_or(self.rules.idle_ns, |asked_ns| asked_ns.min(self.rules.idle_ns));
        Lane::Idle { until_ns: now_ns.saturating_add(idle_ns), used }
    }

    fn down(&mut self, now_ns: u64, lane: LaneId, trouble: Trouble, begun: bool) {
        match core::mem::replace(&mut self.lanes[usize::from(lane)], Lane::Off) {
            Lane::Off | Lane::Idle { .. } => {}
            Lane::Dialing { .. } => self.dial_failed(now_ns, trouble),
            Lane::Busy { parcel, used, .. } => {
                self.totals.lost += 1;
                self.sendings[parcel].unsure |= begun;
                // Targets close connections that rested for long; that is no sign of trouble.
                let expected = used && trouble == Trouble::Closed;
                self.again(now_ns, parcel, Why::Trouble(trouble), None, expected);
            }
        }
    }

    fn dial_failed(&mut self, now_ns: u64, trouble: Trouble) {
        self.totals.dials_failed += 1;
        self.reach = Reach::Down(trouble);
        self.dial_failures += 1;
        self.dial_at_ns = now_ns.saturating_add(BACKOFF.wait_ns(self.dial_failures, &mut self.chance));
        for sending in self.sendings.iter_mut().filter(|sending| sending.standing == Standing::Waiting) {
            sending.why.get_or_insert(Why::Trouble(trouble));
        }
    }

    fn answered(&mut self, now_ns: u64, lane: LaneId, answer: &Answer) {
        let Lane::Busy { parcel, posted_ns, .. } = self.lanes[usize::from(lane)] else { return };
        self.let_rest(now_ns, lane, answer);
        let rtt_ns = now_ns.saturating_sub(posted_ns);
        self.totals.rtt_ns =
            if self.totals.rtt_ns == 0 { rtt_ns } else { (self.totals.rtt_ns * 7 + rtt_ns) / 8 };
        let verdict = Verdict::of(answer.status);
        *(if verdict == Verdict::Taken { &mut self.totals.taken } else { &mut self.totals.refused }) += 1;
        let why = Why::Status(answer.status);
        match verdict {
            Verdict::Taken => {
                self.went_well();
                self.end(parcel, Done::Taken);
            }
            Verdict::Again { sure } => {
                self.sendings[parcel].unsure |= !sure;
                self.again(now_ns, parcel, why, answer.rest_ns, false);
            }
            Verdict::Content => {
                self.went_well();
                self.end(parcel, Done::Content(why));
            }
            Verdict::Denied => {
                self.refused(now_ns, answer.status);
                let unsure = self.sendings[parcel].unsure;
                self.end(parcel, Done::Lost { why, unsure });
            }
        }
    }

    /// The target answered a `_bulk` with 2xx, but some events are to be sent again: because of `why`, and it is
    /// known (`sure`) or not that they were not taken.
    pub fn answered_in_part(&mut self, now_ns: u64, lane: LaneId, answer: &Answer, why: Why, sure: bool) {
        let Lane::Busy { parcel, .. } = self.lanes[usize::from(lane)] else { return };
        self.let_rest(now_ns, lane, answer);
        self.totals.taken += 1;
        // Of those that are left nothing is unknown: what earlier attempts may have taken was told by this answer.
        self.sendings[parcel].unsure = !sure;
        self.again(now_ns, parcel, why, answer.rest_ns, false);
    }

    fn let_rest(&mut self, now_ns: u64, lane: LaneId, answer: &Answer) {
        self.lanes[usize::from(lane)] = match answer.reusable && !self.closed {
            true => self.idle(now_ns, answer.idle_ns, true),
            false => {
                self.hang_ups.push(lane);
                Lane::Off
            }
        };
    }

    fn went_well(&mut self) {
        (self.failures, self.refusals, self.refusal) = (0, 0, None);
    }

    /// The target takes nothing from us as we are: it is left alone for a while.
    pub fn refused(&mut self, now_ns: u64, status: u16) {
        self.refusals += 1;
        let rest_ns = REFUSED.wait_ns(self.refusals, &mut self.chance);
        self.refusal = Some((status, now_ns.saturating_add(rest_ns)));
    }

    /// Back into the queue, after a rest unless the failure was to be expected.
    fn again(&mut self, now_ns: u64, parcel: usize, why: Why, rest_ns: Option<u64>, expected: bool) {
        let sending = &mut self.sendings[parcel];
        (sending.standing, sending.why) = (Standing::Waiting, Some(why));
        self.waiting += 1;
        self.lowest = self.lowest.min(parcel);
        if self.closed || now_ns >= self.give_up_ns {
            return self.give_up(parcel, why);
        }
        if expected {
            return;
        }
        self.failures += 1;
        let own_ns = BACKOFF.wait_ns(self.failures, &mut self.chance);
        let wait_ns = rest_ns.map_or(own_ns, |asked_ns| asked_ns.min(REST_NS_MAX).max(own_ns));
        let until_ns = now_ns.saturating_add(wait_ns);
        if until_ns > self.rest_until_ns {
            self.totals.rested_ns += until_ns - self.rest_until_ns.max(now_ns);
            self.rest_until_ns = until_ns;
        }
    }

    /// A waiting parcel's time is over.
    fn give_up(&mut self, parcel: usize, why: Why) {
        debug_assert_eq!(self.sendings[parcel].standing, Standing::Waiting);
        self.waiting -= 1;
        let Sending { unsure, why: last, .. } = self.sendings[parcel];
        self.end(parcel, Done::Lost { why: last.unwrap_or(why), unsure });
    }

    fn end(&mut self, parcel: usize, done: Done) {
        self.sendings[parcel].standing = Standing::Done(done);
        self.done += 1;
    }

    /// Looks at the time.
    pub fn tick(&mut self, now_ns: u64) {
        if self.refusal.is_some_and(|(_, until_ns)| until_ns <= now_ns) {
            self.refusal = None;
        }
        for at in 0..self.lanes.len() {
            let lane = self.lanes[at];
            let (Lane::Dialing { until_ns } | Lane::Idle { until_ns, .. } | Lane::Busy { until_ns, .. }) =
                lane
            else {
                continue;
            };
            if until_ns <= now_ns {
                self.hang_ups.push(at as LaneId);
                self.down(now_ns, at as LaneId, Trouble::Timeout, true);
            }
        }
        if self.next_deadline_ns().is_some_and(|deadline_ns| deadline_ns <= now_ns) {
            (0..self.sendings.len()).for_each(|parcel| self.expire(now_ns, parcel));
        }
    }

    fn expire(&mut self, now_ns: u64, parcel: usize) {
        match self.sendings[parcel].standing {
            Standing::Waiting => self.give_up(parcel, Why::Waited),
            Standing::Posted(lane) => {
                self.hang_ups.push(lane);
                self.down(now_ns, lane, Trouble::Timeout, true);
            }
            Standing::Done(_) | Standing::Told => {}
        }
    }

    fn next_deadline_ns(&self) -> Option<u64> {
        let busy = self.lanes.iter().any(|lane| matches!(lane, Lane::Busy { .. }));
        (self.waiting > 0 || busy).then_some(self.give_up_ns)
    }

    /// When [`Delivery::tick`] or [`Delivery::next_command`] is due.
    pub fn deadline_ns(&self) -> Option<u64> {
        let lanes = self.lanes.iter().filter_map(|lane| match lane {
            Lane::Off => None,
            Lane::Dialing { until_ns } | Lane::Idle { until_ns, .. } | Lane::Busy { until_ns, .. } => {
                Some(*until_ns)
            }
        });
        let post =
            (!self.closed && self.waiting > 0 && self.idle_lane().is_some()).then_some(self.rest_until_ns);
        let dial = (!self.closed && self.wants_dial()).then_some(self.dial_at_ns);
        let refusal = self.refusal.map(|(_, until_ns)| until_ns);
        lanes.chain([post, dial, refusal, self.next_deadline_ns()].into_iter().flatten()).min()
    }

    /// Gives up what has no end yet, and hangs up; nothing is sent any more.
    pub fn close(&mut self, now_ns: u64) {
        if core::mem::replace(&mut self.closed, true) {
            return;
        }
        for lane in 0..self.lanes.len() {
            if self.lanes[lane] != Lane::Off {
                self.hang_ups.push(lane as LaneId);
                self.down(now_ns, lane as LaneId, Trouble::Timeout, true);
            }
        }
        for parcel in 0..self.sendings.len() {
            if self.sendings[parcel].standing == Standing::Waiting {
                self.give_up(parcel, Why::Waited);
            }
        }
    }

    /// Nothing is left to be done but to let go of connections.
    pub fn is_drained(&self) -> bool {
        self.closed
            && self.hang_ups.is_empty()
            && self.done == 0
            && self.lanes.iter().all(|lane| *lane == Lane::Off)
    }

    /// The parcel that a lane carries.
    pub fn parcel_of(&self, lane: LaneId) -> Option<usize> {
        match self.lanes.get(usize::from(lane)) {
            Some(Lane::Busy { parcel, .. }) => Some(*parcel),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "tests/delivery.rs"]
mod tests;
