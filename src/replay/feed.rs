//! A chunk's events into the engine that replays, and what became of each of them.
//!
//! It runs on the engine's own thread, between two wakes, and holds one chunk at a time. Events that the sink does not
//! have go again before anything newer of the chunk, and a chunk ends only when each of its events is there or refused
//! for good: so whatever fails, no event overtakes an older one of the same partition.
use super::chunk::Chunk;
use crate::core::batch::fate::Fate;
use crate::core::engine::replay::{Settlement, Unsent};
use crate::core::memory::Clock;
use crate::shard::Core;
use crate::sys::clock::MonotonicClock;
use std::collections::VecDeque;
use std::time::Duration;

/// What the feed says of its chunk.
#[derive(Debug)]
pub enum Told {
    /// It is done with.
    Done(Box<Done>),
    /// Nothing moves, and why. Told when it begins and when the reason changes.
    Stuck(String),
    /// It moves again.
    Moving,
    /// The engine has ended.
    Ended(Result<(), String>),
}

/// What became of a chunk.
#[derive(Debug)]
pub struct Done {
    /// The chunk, to be used again.
    pub chunk: Chunk,
    /// Its events that are refused for good, by their places, rising, each with the reason.
    pub refused: Vec<(usize, String)>,
    /// It was given up.
    pub stopped: Option<Stopped>,
}

/// Why a chunk was given up before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Place of the first event that the sink does not have, or may not have.
    pub at: usize,
    /// Events of this and behind it that it has or may have all the same.
    pub perhaps: usize,
    /// Why.
    pub why: String,
}

/// How soon again a sink is asked that takes nothing now: what makes it ready does not always wake us.
const POLL_NS: u64 = 100_000_000;
/// Rests between tries of events that were not written: the producer has tried for long before it says so.
const REST_NS: std::ops::RangeInclusive<u64> = 100_000_000..=5_000_000_000;

/// See the module.
pub struct Feed {
    tell: Box<dyn FnMut(Told) + Send>,
    /// How long a sink may take nothing before the chunk is given up; `None`: for ever.
    patience_ns: Option<u64>,
    work: Option<Work>,
    stuck: Option<String>,
}

/// A chunk that is being sent.
struct Work {
    chunk: Chunk,
    /// Events that failed, to go before `next`.
    again: VecDeque<usize>,
    next: usize,
    /// Those in the open batch or with the sink, by their places there.
    sent: Vec<usize>,
    refused: Vec<(usize, String)>,
    /// Written, by their places. Only for what a stop leaves behind.
    written_through: usize,
    rests_until_ns: u64,
    rest_ns: u64,
    /// Since when the sink takes nothing.
    waits_since_ns: Option<u64>,
}

impl Feed {
    /// A feed without work.
    pub fn new(patience: Option<Duration>, tell: impl FnMut(Told) + Send + 'static) -> Feed {
        let patience_ns = patience.map(|patience| patience.as_nanos() as u64);
        Feed { tell: Box::new(tell), patience_ns, work: None, stuck: None }
    }

    /// The next chunk, which has events. The one before is done.
    pub fn give(&mut self, chunk: Chunk) {
        debug_assert!(self.work.is_none(), "one chunk at a time");
        self.work = Some(Work {
            chunk,
            again: VecDeque::new(),
            next: 0,
            sent: Vec::new(),
            refused: Vec::new(),
            written_through: 0,
            rests_until_ns: 0,
            rest_ns: *REST_NS.start(),
            waits_since_ns: None,
        });
    }

    /// Takes what became of events, and sends what can be sent. On each wake.
    pub fn step(&mut self, core: &mut Core) {
        let now_ns = MonotonicClock.now_ns();
        if let Some(settlement) = core.take_replayed() {
            self.settle(core, settlement, now_ns);
        }
        let Some(work) = &mut self.work else { return };
        if now_ns < work.rests_until_ns {
            return;
        }
        let mut stuck = None;
        if work.sent.is_empty() {
            stuck = work.fill(core);
        }
        if work.is_done() {
            return self.finish(None);
        }
        // What the open batch holds waits for the sink as well.
        let waits = work.sent.is_empty() || !core.is_replaying() && core.ready().is_err();
        if !waits {
            work.waits_since_ns = None;
            return;
        }
        let why = stuck.or_else(|| core.ready().err().map(str::to_owned));
        let since_ns = *work.waits_since_ns.get_or_insert(now_ns);
        if let Some(why) = why {
            self.note_stuck(why);
        }
        if self.patience_ns.is_some_and(|patience_ns| now_ns - since_ns >= patience_ns) {
            let why = self.stuck.clone().unwrap_or_else(|| "the sink takes nothing".into());
            self.stop(why);
        }
    }

    /// When `step` is due at the latest.
    pub fn deadline_ns(&self) -> Option<u64> {
        let work = self.work.as_ref()?;
        let now_ns = MonotonicClock.now_ns();
        match now_ns < work.rests_until_ns {
            true => Some(work.rests_until_ns),
            false => work.waits_since_ns.map(|_| now_ns + POLL_NS),
        }
    }

    fn settle(&mut self, core: &Core, settlement: Settlement, now_ns: u64) {
        let Some(work) = &mut self.work else { return };
        work.waits_since_ns = None;
        let (failed, perhaps, why) = work.sort(core, &settlement);
        if failed.is_empty() {
            work.rest_ns = *REST_NS.start();
            if self.stuck.take().is_some() {
                (self.tell)(Told::Moving);
            }
            return;
        }
        failed.iter().rev().for_each(|event| work.again.push_front(*event));
        if self.patience_ns.is_some() {
            work.written_through = work.written_through.max(perhaps);
            return self.stop(why);
        }
        work.rests_until_ns = now_ns + work.rest_ns;
        work.rest_ns = (2 * work.rest_ns).min(*REST_NS.end());
        self.note_stuck(why);
    }

    fn note_stuck(&mut self, why: String) {
        if self.stuck.as_ref() != Some(&why) {
            self.stuck = Some(why.clone());
            (self.tell)(Told::Stuck(why));
        }
    }

    fn stop(&mut self, why: String) {
        let Some(work) = &self.work else { return };
        let waiting = work.again.iter().chain(&work.sent).copied();
        let at = waiting.chain([work.next]).min().unwrap_or(work.next);
        let perhaps = work.written_through.saturating_sub(at);
        self.finish(Some(Stopped { at, perhaps, why }));
    }

    fn finish(&mut self, stopped: Option<Stopped>) {
        let Some(mut work) = self.work.take() else { return };
        work.refused.sort_unstable_by_key(|(event, _)| *event);
        (self.tell)(Told::Done(Box::new(Done { chunk: work.chunk, refused: work.refused, stopped })));
    }
}

impl Work {
    fn is_done(&self) -> bool {
        self.sent.is_empty() && self.again.is_empty() && self.next == self.chunk.events()
    }

    /// Sorts the events of a commit by what became of them: those to be sent again in their order, the place behind
    /// the last that is or may be there, and why they failed.
    fn sort(&mut self, core: &Core, settlement: &Settlement) -> (Vec<usize>, usize, String) {
        let sent = std::mem::take(&mut self.sent);
        debug_assert_eq!(settlement.events as usize, sent.len(), "a commit is what was sent");
        if settlement.lost {
            let why = core.ready().err().unwrap_or("the sink failed");
            return (sent, 0, why.to_owned());
        }
        let (mut failed, mut why) = (Vec::new(), String::new());
        let mut fates = settlement.failed.iter().peekable();
        let mut perhaps = 0;
        for (place, event) in sent.iter().copied().enumerate() {
            match fates.next_if(|(failed, _)| *failed as usize == place) {
                None => perhaps = event + 1,
                Some((_, failure)) if Core::is_final(failure) => {
                    self.refused.push((event, core.explain(failure)));
                }
                Some((_, failure)) => {
                    if failure.fate == Fate::PossiblyWritten {
                        perhaps = event + 1;
                    }
                    if why.is_empty() {
                        why = core.explain(failure);
                    }
                    failed.push(event);
                }
            }
        }
        self.written_through = self.written_through.max(perhaps);
        self.sent = sent;
        self.sent.clear();
        (failed, perhaps, why)
    }

    /// Puts events into the open batch, as many as it takes. Returns why it takes no more, if that is the sink's doing.
    fn fill(&mut self, core: &mut Core) -> Option<String> {
        loop {
            let (event, is_again) = match self.again.front() {
                Some(event) => (*event, true),
                None if self.next < self.chunk.events() => (self.next, false),
                None => return None,
            };
            match core.replay(&self.chunk.event(event)) {
                Ok(()) => {
                    self.waits_since_ns = None;
                    self.sent.push(event);
                }
                Err(Unsent::Later) => return None,
                Err(Unsent::NotReady(why)) => return Some(why.reason().to_owned()),
                Err(Unsent::TooLarge) => {
                    self.refused.push((event, "larger than a batch may be (kafka.batch_bytes)".into()));
                }
                Err(Unsent::Refused(reject)) => self.refused.push((event, reject.reason.to_owned())),
            }
            if is_again {
                self.again.pop_front();
            } else {
                self.next += 1;
            }
        }
    }
}
