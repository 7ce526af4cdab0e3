//! Records from memory in the engine's place: two bays, one commit in flight, the next filling.
//!
//! ```text
//! warming ─▶ resting ─▶ measured ─▶ ending
//!     records      all answered  records     all answered: figures, then the links are closed
//! ```
//!
//! It does what `core::engine` does about a Kafka sink (`commit.rs`, `upstream.rs`) and what `shard::kafka` does
//! between links and engine, and nothing of what they do for clients.
use crate::cpu;
use hdrhistogram::Histogram;
use ringmill::core::batch::policy::Policy;
use ringmill::core::batch::store::{Layout, Records};
use ringmill::core::engine::{Action, ConnId, Io, IoStep, Protocol};
use ringmill::core::memory::Clock;
use ringmill::core::segment::header::StreamName;
use ringmill::core::sink::Sink;
use ringmill::core::sink::kafka::{Event, KafkaSink, Returned, Unfit};
use ringmill::shard::driver::peer::{PeerId, PeerSend};
use ringmill::shard::driver::{Logic, Message, Sender};
use ringmill::sink::kafka::Links;
use ringmill::sys::clock::MonotonicClock;
use ringmill::sys::mapping::{Mapping, Residence};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

/// Bytes of records between two looks at the connections, when there is no rate: what a wake of a busy server brings.
const SLICE_BYTES: usize = 128 << 10;
/// What the arenas have beyond the largest commit, for framing.
const SLACK_BYTES: usize = 1 << 20;
/// Without a broker for so long, it gives up.
const PATIENCE_NS: u64 = 20_000_000_000;

/// What to produce, and how.
#[derive(Debug)]
pub struct Load {
    /// The values, in turn.
    pub values: Vec<Vec<u8>>,
    /// Records a second; `None`: as many as there is room for.
    pub rate: Option<u64>,
    /// Records that are due at once then, at least 1.
    pub burst: u64,
    /// Each record has a key of its own.
    pub keyed: bool,
    /// How long a commit waits for more.
    pub linger_ns: u64,
    /// A commit's bytes at most.
    pub commit_bytes: usize,
    /// How long records come before anything counts.
    pub warm_ns: u64,
    /// How long they come then.
    pub measured_ns: u64,
}

/// What was seen of the measured phase.
#[derive(Debug)]
pub struct Seen {
    pub written: u64,
    pub failed: u64,
    pub commits: u64,
    pub batches: u64,
    /// Before compression, and as sent.
    pub raw_bytes: u64,
    pub sent_bytes: u64,
    /// From when a record was due to its outcome; empty without a rate.
    pub latency_us: Histogram<u64>,
    pub cpu_before: BTreeMap<String, u64>,
    pub cpu_after: BTreeMap<String, u64>,
    began_ns: u64,
    ended_ns: u64,
}

impl Seen {
    /// From the first record to the last outcome.
    pub fn seconds(&self) -> f64 {
        self.ended_ns.saturating_sub(self.began_ns) as f64 / 1e9
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Until a broker leads the topic.
    Connecting,
    Warming,
    Resting,
    Measured,
    Last,
    Ended,
}

struct Bay {
    records: Records<Mapping>,
    /// Number of its first record in this phase, and when it came.
    first: u64,
    opened_ns: u64,
}

/// The commit in flight.
struct Flight {
    bay: usize,
    /// Batches without an outcome.
    awaits: u32,
    /// Their outcomes were taken; only the kernel still reads from it.
    answered: bool,
}

/// See the module.
pub struct Feeder {
    load: Load,
    policy: Policy,
    sink: KafkaSink,
    links: Links,
    bays: [Bay; 2],
    open: usize,
    flight: Option<Flight>,
    mail: Sender<Feeder>,
    phase: Phase,
    phase_ns: u64,
    /// Number of the next record of this phase.
    next: u64,
    now_ns: u64,
    wall_ms: u64,
    /// There was no room when the last record was tried.
    full: bool,
    seen: Seen,
}

impl Feeder {
    /// A feeder with all its memory.
    ///
    /// # Errors
    /// When there is none.
    pub fn new(load: Load, sink: KafkaSink, links: Links, mail: Sender<Feeder>) -> io::Result<Feeder> {
        let Layout::Records(limits) = sink.layout() else { unreachable!("a Kafka sink wants records") };
        let block = || Mapping::new(load.commit_bytes + SLACK_BYTES, Residence::Huge);
        let bay = || {
            Ok::<_, io::Error>(Bay {
                records: Records::new(block()?, block()?, limits),
                first: 0,
                opened_ns: 0,
            })
        };
        let now_ns = MonotonicClock.now_ns();
        let latency_us = Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are in order");
        Ok(Feeder {
            policy: Policy { bytes_max: load.commit_bytes, events_max: u32::MAX, linger_ns: load.linger_ns },
            bays: [bay()?, bay()?],
            load,
            sink,
            links,
            open: 0,
            flight: None,
            mail,
            phase: Phase::Connecting,
            phase_ns: now_ns,
            next: 0,
            now_ns,
            wall_ms: MonotonicClock.wall_ms(),
            full: false,
            seen: Seen {
                written: 0,
                failed: 0,
                commits: 0,
                batches: 0,
                raw_bytes: 0,
                sent_bytes: 0,
                latency_us,
                cpu_before: BTreeMap::new(),
                cpu_after: BTreeMap::new(),
                began_ns: 0,
                ended_ns: 0,
            },
        })
    }

    /// What was seen.
    pub fn into_seen(self) -> Seen {
        self.seen
    }

    /// How long records come in this phase; none in the others.
    fn length_ns(&self) -> Option<u64> {
        match self.phase {
            Phase::Warming => Some(self.load.warm_ns),
            Phase::Measured => Some(self.load.measured_ns),
            _ => None,
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.phase_ns = self.now_ns;
    }

    /// Goes on to the next phase when it is time.
    fn proceed(&mut self) {
        let over = self.length_ns().is_some_and(|length| self.now_ns - self.phase_ns >= length);
        let rests = self.flight.is_none() && self.bays[self.open].records.arena.is_empty();
        match self.phase {
            Phase::Connecting if self.sink.ready().is_ok() => self.begin(Phase::Warming),
            Phase::Connecting if self.now_ns - self.phase_ns > PATIENCE_NS => {
                eprintln!("produce: {:?}", self.sink.ready());
                self.end();
            }
            Phase::Warming if over => self.enter(Phase::Resting),
            Phase::Resting if rests => {
                self.seen.cpu_before = cpu::by_thread();
                self.begin(Phase::Measured);
                self.seen.began_ns = self.now_ns;
            }
            Phase::Measured if over => self.enter(Phase::Last),
            Phase::Last if rests => {
                self.seen.cpu_after = cpu::by_thread();
                self.seen.ended_ns = self.now_ns;
                self.end();
            }
            _ => {}
        }
    }

    fn begin(&mut self, phase: Phase) {
        self.now_ns = MonotonicClock.now_ns();
        self.next = 0;
        self.enter(phase);
    }

    fn end(&mut self) {
        self.enter(Phase::Ended);
        // The driver that takes it is the one that is moving us.
        let _ = self.mail.send(Message::Drain);
    }

    /// When record `next` is due in an open loop.
    fn due_ns(&self, rate: u64, record: u64) -> u64 {
        let first = record - record % self.load.burst;
        self.phase_ns + (u128::from(first) * 1_000_000_000 / u128::from(rate)) as u64
    }

    /// Copies in what is due. Whether there is more that could be.
    fn feed(&mut self) -> bool {
        let Some(length) = self.length_ns() else { return false };
        let Ok(route) = self.sink.route(self.now_ns, &StreamName::DEFAULT) else { return false };
        let until = match self.load.rate {
            // Never one that is due after the phase.
            Some(rate) => {
                let past = (self.now_ns - self.phase_ns).min(length);
                let last = (u128::from(past) * u128::from(rate) / 1_000_000_000) as u64;
                last - last % self.load.burst + self.load.burst
            }
            None => u64::MAX,
        };
        let bay = &mut self.bays[self.open];
        if bay.records.arena.is_empty() {
            (bay.first, bay.opened_ns) = (self.next, self.now_ns);
        }
        let (mut bytes, stream) = (0, StreamName::DEFAULT);
        self.full = false;
        while self.next < until && bytes < SLICE_BYTES {
            let value = &self.load.values[(self.next % self.load.values.len() as u64) as usize];
            let key = self.next.to_be_bytes();
            let event = Event {
                stream: &stream,
                key: self.load.keyed.then_some(&key[..]),
                value,
                picked: None,
                breaks: false,
                now_ns: self.now_ns,
                wall_ms: self.wall_ms,
                id: None,
            };
            let fits = self.policy.admits(bay.records.arena.len(), value.len());
            let appended =
                if fits { self.sink.append(&mut bay.records, &route, &event) } else { Err(Unfit::Full) };
            if let Err(why) = appended {
                assert_eq!(why, Unfit::Full, "a value is too large");
                self.full = true;
                break;
            }
            bytes += value.len();
            self.next += 1;
        }
        !self.full && self.next < until
    }

    /// Seals the open bay when nothing is in flight and it is time, as the engine does.
    fn start_commit(&mut self) {
        let resting = self.length_ns().is_none();
        let bay = &mut self.bays[self.open];
        let arena = &mut bay.records.arena;
        if self.flight.is_some() || arena.is_empty() {
            return;
        }
        let age_ns = self.now_ns.saturating_sub(bay.opened_ns);
        if self.full || resting || self.policy.seals(arena.len(), arena.events(), age_ns) {
            let awaits = self.sink.send(arena, self.now_ns);
            if self.counts() {
                self.seen.commits += 1;
                self.seen.batches += u64::from(awaits);
            }
            self.flight = Some(Flight { bay: self.open, awaits, answered: false });
            self.open ^= 1;
            self.full = false;
        }
    }

    /// Whether what happens now is of the measured records.
    fn counts(&self) -> bool {
        matches!(self.phase, Phase::Measured | Phase::Last)
    }

    /// Takes the producer's outcomes, and frees the bay behind the last.
    fn settle(&mut self) {
        while let Some((slot, outcome)) = self.sink.producer_mut().next_outcome() {
            let Some(flight) = &mut self.flight else { continue };
            let records = &mut self.bays[flight.bay].records;
            match self.sink.take_outcome(records, slot, outcome, self.now_ns) {
                Returned::Done | Returned::Refused => flight.awaits -= 1,
                Returned::Split => flight.awaits += 1,
            }
        }
        if self.flight.as_ref().is_some_and(|flight| flight.awaits == 0 && !flight.answered) {
            self.answered();
        }
        if self.flight.as_ref().is_some_and(|flight| flight.answered) && !self.links.borrows_batches() {
            let bay = self.flight.take().map_or(0, |flight| flight.bay);
            self.bays[bay].records.arena.clear();
            self.bays[bay].records.fates.clear();
        }
        self.proceed();
    }

    /// Every batch of the commit in flight has its outcome.
    fn answered(&mut self) {
        let counts = self.counts();
        let Some(flight) = &mut self.flight else { return };
        flight.answered = true;
        let bay = &self.bays[flight.bay];
        let events = bay.records.arena.events();
        let (raw, sent) = self.sink.take_bytes();
        if !counts {
            return;
        }
        let sum = bay.records.fates.sum(0..events);
        let failed = sum.not_written + sum.possibly_written + sum.refused;
        self.seen.failed += u64::from(failed);
        self.seen.written += u64::from(events - failed);
        self.seen.raw_bytes += raw;
        self.seen.sent_bytes += sent;
        let first = bay.first;
        if let Some(rate) = self.load.rate {
            let now_ns = MonotonicClock.now_ns();
            for record in first..first + u64::from(events) {
                let waited = now_ns.saturating_sub(self.due_ns(rate, record));
                self.seen.latency_us.saturating_record(waited / 1000);
            }
        }
    }

    /// Carries out what the producer commands.
    fn obey(&mut self) {
        let mut arena = match &self.flight {
            Some(flight) => Some(&mut self.bays[flight.bay].records.arena),
            None => None,
        };
        self.links.obey(self.now_ns, self.sink.producer_mut(), &mut arena);
        assert!(self.links.next_task().is_none(), "addresses need no helper");
        while let Some(failure) = self.links.next_failure() {
            eprintln!("produce: {failure}");
        }
        self.settle();
    }
}

impl Logic for Feeder {
    type Request = ();
    type Mail = ();

    fn open(&mut self, _: Protocol) -> Option<ConnId> {
        None
    }
    fn accept_failed(&mut self) {}
    fn receive(&mut self, _: ConnId, _: &mut [u8]) {}
    fn receive_end(&mut self, _: ConnId) {}
    fn fail(&mut self, _: ConnId) {}
    fn released(&mut self, _: ConnId) {}
    fn next_send(&mut self) -> Option<(ConnId, &[u8])> {
        None
    }
    fn sent(&mut self, _: ConnId, _: usize) {}
    fn next_action(&mut self) -> Option<(ConnId, Action)> {
        None
    }
    fn run(&mut self) -> bool {
        self.feed()
    }
    fn next_io(&mut self) -> Option<Io<'_>> {
        self.sink.work_ahead(&mut self.bays[self.open].records);
        self.start_commit();
        None
    }
    fn io_done(&mut self, _: u8, _: IoStep, _: Result<usize, i32>) {}
    fn next_request(&mut self) -> Option<()> {
        None
    }
    fn mail(&mut self, (): ()) {}

    fn deadline_ns(&self) -> Option<u64> {
        let producer = self.sink.producer().deadline_ns();
        let bay = &self.bays[self.open];
        let lingers = self.flight.is_none() && !bay.records.arena.is_empty();
        let linger = lingers.then_some(bay.opened_ns + self.load.linger_ns);
        let ends = self.length_ns().map(|length| self.phase_ns + length);
        let due = self.load.rate.filter(|_| ends.is_some()).map(|rate| self.due_ns(rate, self.next));
        let connecting = (self.phase == Phase::Connecting).then_some(self.phase_ns + PATIENCE_NS + 1);
        let links = self.links.deadline_ns();
        [producer, linger, ends, due, connecting, links].into_iter().flatten().min()
    }

    fn tick(&mut self) {
        (self.now_ns, self.wall_ms) = (MonotonicClock.now_ns(), MonotonicClock.wall_ms());
        self.links.tick(self.now_ns);
        if self.sink.producer().deadline_ns().is_some_and(|at_ns| at_ns <= self.now_ns) {
            self.sink.producer_mut().tick(self.now_ns);
            self.settle();
        }
        self.proceed();
    }

    fn drain(&mut self) {
        self.sink.drain();
        self.sink.cut_short(self.now_ns);
    }

    fn is_drained(&mut self) -> bool {
        self.links.is_empty()
    }

    fn next_dial(&mut self) -> Option<(PeerId, SocketAddr)> {
        self.links.next_dial().or_else(|| {
            self.obey();
            self.links.next_dial()
        })
    }

    fn dialed(&mut self, peer: PeerId, result: Result<(), i32>) {
        self.links.dialed(self.now_ns, self.sink.producer_mut(), peer, result);
        self.settle();
    }

    fn peer_receive(&mut self, peer: PeerId, data: &mut [u8]) {
        self.links.peer_receive(self.now_ns, self.sink.producer_mut(), peer, data);
        self.settle();
    }

    fn peer_lost(&mut self, peer: PeerId, code: i32) {
        self.links.peer_lost(self.now_ns, self.sink.producer_mut(), peer, code);
        self.settle();
    }

    fn next_peer_send(&mut self) -> Option<PeerSend<'_>> {
        let bay = self.flight.as_ref().map_or(0, |flight| flight.bay);
        self.links.next_peer_send(&self.bays[bay].records.arena)
    }

    fn peer_sent(&mut self, peer: PeerId, bytes: usize) {
        self.links.peer_sent(self.now_ns, self.sink.producer_mut(), peer, bytes);
        self.settle();
    }

    fn next_hang_up(&mut self) -> Option<PeerId> {
        self.links.next_hang_up()
    }

    fn peer_released(&mut self, peer: PeerId) {
        self.links.peer_released(peer);
        self.settle();
    }
}
