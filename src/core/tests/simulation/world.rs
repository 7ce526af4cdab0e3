//! Time, chance, the driver's part, and what must hold at the end.
use super::client::{Client, Taste};
use super::device::{Device, Faults};
use ringmill_core::ack::Ack;
use ringmill_core::batch::policy::Policy;
use ringmill_core::engine::{Action, Config, ConnId, Engine, IoStep, Protocol, Timeouts};
use ringmill_core::json::{AnyScanner, FastScanner, Kernel, SimdScanner, StrictScanner};
use ringmill_core::memory::Clock;
use ringmill_core::sink::segments::SegmentSink;
use ringmill_core::sink::{AnySink, FileKind, Mail, Request, Resume, null::NullSink};
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;
/// Wakes after which a run counts as stalled.
const WAKES_MAX: u64 = 2_000_000;
/// Virtual time after which a run counts as stalled.
const TIME_NS_MAX: u64 = 3_600 * S;

/// SplitMix64.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x9e37_79b9)
    }
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next() % n }
    }
    /// True in so many of a thousand cases.
    pub fn chance(&mut self, thousandths: u64) -> bool {
        self.below(1000) < thousandths
    }
    /// Below `n`, small far more often than large.
    pub fn skewed(&mut self, n: u64) -> u64 {
        let bits = 64 - n.leading_zeros() as u64;
        let bits = self.below(bits + 1);
        self.below(1 << bits).min(n.saturating_sub(1))
    }
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

#[derive(Clone, Debug, Default)]
struct VirtualClock(Rc<Cell<u64>>);

impl Clock for VirtualClock {
    fn now_ns(&self) -> u64 {
        self.0.get()
    }
    fn wall_ms(&self) -> u64 {
        1_763_000_000_000 + self.0.get() / MS
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Connect(usize),
    Send(usize),
    /// Bytes that the shard gave arrive.
    Read(usize, usize),
    End(usize),
    Break(usize),
    /// Stop waiting for `100 Continue`.
    GiveUp(usize),
    Drain,
    Written(u8),
    Synced(u8),
    Keeper,
}

/// Where a connection is, seen from the driver.
#[derive(Clone, Copy, Debug, Default)]
struct Socket {
    client: Option<usize>,
    paused: bool,
    closing: bool,
    sending: bool,
    /// Arrived while paused.
    held: bool,
    held_end: bool,
}

type Shard = Engine<Vec<u8>, VirtualClock, AnyScanner, AnySink>;

pub struct World {
    rng: Rng,
    clock: VirtualClock,
    shard: Shard,
    device: Device,
    clients: Vec<Client>,
    conn_of: Vec<Option<ConnId>>,
    sockets: Vec<Socket>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    order: u64,
    requests: std::collections::VecDeque<Request>,
    next_fd: i32,
    capacity: usize,
    null: bool,
    calm: bool,
    retired: usize,
    drained_at: Option<u64>,
}

impl World {
    pub fn new(mut rng: Rng) -> World {
        let clock = VirtualClock::default();
        clock.0.set(S);
        let null = rng.chance(150);
        let huge = rng.chance(8);
        let large = huge || rng.chance(80);
        let trouble = rng.chance(500);
        let mut rate = |often: u64, thousandths: u64| {
            if trouble && rng.chance(often) { 1 + rng.below(thousandths) } else { 0 }
        };
        let faults = Faults {
            write: rate(300, 150),
            sync: rate(300, 150),
            short: rate(300, 150),
            full: rate(300, 150),
            hang: rate(200, 60),
            keeper: rate(400, 500),
        };
        let arena = if huge { 10 << 20 } else { *rng.pick(&[32 << 10, 128 << 10, 128 << 10, 512 << 10]) };
        let connections = 1 + rng.below(8) as usize;
        let strongest = if null { Ack::Accepted } else { Ack::Durable };
        let ack = if null {
            Ack::Accepted
        } else {
            *rng.pick(&[Ack::Accepted, Ack::Written, Ack::Durable, Ack::Durable])
        };
        let quarantine = !null && rng.chance(800);
        let config = Config {
            shard: 0,
            connections_max: connections,
            body_budget_bytes: (9 << 20) + rng.below(12 << 20) as usize,
            batch_arena_bytes: arena,
            refused_arena_bytes: *rng.pick(&[8 << 10, 32 << 10]),
            ack,
            policy: Policy {
                bytes_max: arena / (1 + rng.below(3) as usize),
                events_max: 1 + rng.skewed(5000) as u32,
                linger_ns: if rng.chance(300) { rng.skewed(5 * MS) } else { 0 },
            },
            lines_replies: rng.chance(800),
            shed_after_ns: 500 * MS + rng.below(2 * S),
            quarantine_first: quarantine.then_some(1),
            timeouts: Timeouts::default(),
        };
        let body_bytes_max = if huge { 8 << 20 } else { arena - 16 * 1024 };
        let event_bytes_max = if huge {
            200_000
        } else if large {
            body_bytes_max as u64 / 4
        } else {
            300
        };
        let taste = Taste {
            requests: if huge { 4 } else { 40 },
            event_bytes_max: event_bytes_max.min(200_000),
            long_lines: arena >= 512 << 10 && rng.chance(100),
            events_max: if rng.chance(200) { 150 } else { 12 },
            body_bytes_max,
            level: ack,
            strongest,
        };
        let clients: Vec<Client> = (0..1 + rng.below(10))
            .map(|n| {
                // A run of lines has up to a share and one line; smaller arenas are no configuration.
                let protocol =
                    if arena > 64 << 10 && rng.chance(300) { Protocol::Lines } else { Protocol::Http };
                Client::new(&mut rng, &taste, &n.to_string(), protocol)
            })
            .collect();
        let sink = match null {
            true => AnySink::Null(NullSink),
            false => AnySink::Segments(SegmentSink::new(0, &Resume::START)),
        };
        let capacity = arena * (1 + rng.below(4) as usize);
        let patient =
            clients.iter().all(|client| !client.slow && client.reads_max > 1000 && client.piece_max > 600);
        let drains = rng.chance(150);
        let calm = !trouble && patient && !huge && !drains;
        let scanner = match rng.below(8) {
            0 => AnyScanner::Simd(Box::new(SimdScanner::new())),
            1 => AnyScanner::Exact(StrictScanner::new()),
            _ => AnyScanner::Fast(Box::new(FastScanner::new(Kernel::best()))),
        };
        let shard = Engine::new(config, clock.clone(), scanner, sink, |len| vec![0; len]);
        let mut world = World {
            conn_of: vec![None; clients.len()],
            sockets: vec![Socket::default(); connections],
            rng,
            clock,
            shard,
            device: Device::new(faults),
            clients,
            events: BinaryHeap::new(),
            order: 0,
            requests: Default::default(),
            next_fd: 3,
            capacity,
            null,
            calm,
            retired: 0,
            drained_at: None,
        };
        if drains {
            let delay = world.rng.skewed(10 * S);
            world.at(delay, Event::Drain);
        }
        for n in 0..world.clients.len() {
            let delay = world.rng.skewed(20 * MS);
            world.at(delay, Event::Connect(n));
        }
        world
    }

    fn at(&mut self, delay_ns: u64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((self.clock.0.get() + delay_ns, self.order, event)));
    }

    pub fn run(mut self) {
        self.until(|world| world.clients.iter().all(|client| client.gone));
        self.until(|world| world.shard.metrics().gauges.events_in_flight == 0);
        let draining_since = self.drained_at.unwrap_or(self.clock.0.get());
        self.shard.drain();
        self.until(|world| world.shard.is_drained());
        assert!(self.clock.0.get() - draining_since < 30 * S, "draining took too long");
        self.shard.close();
        self.wish();
        self.settle_accounts();
    }

    /// Wakes the shard until `done`.
    fn until(&mut self, done: impl Fn(&mut World) -> bool) {
        let mut wakes = 0;
        self.wish();
        while !done(self) {
            let event = self.events.peek().map(|Reverse((at, _, _))| *at);
            let due = self.shard.deadline_ns();
            let Some(at) = event.into_iter().chain(due).min() else {
                panic!("nothing will ever happen: {}", self.state())
            };
            let now = self.clock.0.get().max(at);
            self.clock.0.set(now);
            wakes += 1;
            assert!(wakes < WAKES_MAX && now < TIME_NS_MAX, "stalled: {}", self.state());
            self.shard.tick();
            while let Some(Reverse((at, _, _))) = self.events.peek() {
                if *at > now {
                    break;
                }
                let Some(Reverse((_, _, event))) = self.events.pop() else { break };
                self.happen(event);
                self.act();
                if self.rng.chance(200) {
                    break;
                }
            }
            let mut more = self.shard.run();
            self.wish();
            let mut turns = 0;
            while more {
                self.shard.tick();
                more = self.shard.run();
                self.wish();
                turns += 1;
                assert!(turns < 100_000, "it never has enough: {}", self.state());
            }
        }
    }

    fn state(&mut self) -> String {
        let waiting: Vec<String> = self
            .clients
            .iter()
            .enumerate()
            .filter(|(_, client)| !client.gone)
            .map(|(n, client)| {
                format!(
                    "client {n} {:?} conn {:?} at {:?} of {} answered {} ended {}",
                    client.protocol,
                    self.conn_of[n],
                    client.at,
                    client.asked.len(),
                    client.answered(),
                    client.ended
                )
            })
            .collect();
        format!("{waiting:#?} {:?} {:?}", self.sockets, self.shard.leaks())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Connect(n) if self.drained_at.is_some() => self.clients[n].gone = true,
            Event::Drain => {
                self.drained_at = Some(self.clock.0.get());
                self.shard.drain();
            }
            Event::Connect(n) => match self.shard.open(self.clients[n].protocol) {
                Some(id) => {
                    let socket = &mut self.sockets[id as usize];
                    assert!(socket.client.is_none(), "a slot in use was given");
                    *socket = Socket { client: Some(n), ..Socket::default() };
                    self.conn_of[n] = Some(id);
                    if self.clients[n].abort_after.is_some() && self.rng.chance(300) {
                        let delay = self.rng.skewed(S);
                        self.at(delay, Event::Break(n));
                    }
                    self.send_later(n);
                }
                None => {
                    let delay = MS + self.rng.below(S);
                    self.at(delay, Event::Connect(n));
                }
            },
            Event::Send(n) => self.send(n),
            Event::Read(n, bytes) => self.read(n, bytes),
            Event::End(n) => self.end(n),
            Event::Break(n) => self.break_off(n),
            Event::GiveUp(n) => {
                self.clients[n].timed_out = true;
                self.send_later(n);
            }
            Event::Written(slot) => {
                let result = self.device.write(&mut self.rng, slot);
                let sync = self.device.slots[usize::from(slot)].as_ref().is_some_and(|write| write.sync);
                if sync {
                    let delay = self.rng.skewed(3 * MS);
                    self.at(delay, Event::Synced(slot));
                } else {
                    self.device.over(slot);
                }
                self.shard.io_done(slot, IoStep::Write, result);
            }
            Event::Synced(slot) => {
                let result = self.device.sync(&mut self.rng, slot);
                self.device.over(slot);
                self.shard.io_done(slot, IoStep::Sync, result);
            }
            Event::Keeper => self.keep_house(),
        }
    }

    fn send_later(&mut self, n: usize) {
        if std::mem::replace(&mut self.clients[n].sending, true) {
            return;
        }
        let delay = match self.clients[n].slow {
            true => self.rng.skewed(3 * S),
            false => self.rng.skewed(300 * US),
        };
        self.at(delay, Event::Send(n));
    }

    fn send(&mut self, n: usize) {
        self.clients[n].sending = false;
        let Some(id) = self.conn_of[n] else { return };
        let socket = self.sockets[id as usize];
        if socket.closing {
            return;
        }
        // Bytes already on their way come in even now and then when paused.
        if socket.paused && !self.rng.chance(100) {
            self.sockets[id as usize].held = true;
            return;
        }
        let client = &mut self.clients[n];
        if let Some(mut piece) = client.next_piece(&mut self.rng) {
            let aborts = client.abort_after.is_some_and(|after| client.sent_bytes > after);
            self.shard.receive(id, &mut piece);
            if aborts {
                return self.break_off(n);
            }
            return self.send_later(n);
        }
        let client = &self.clients[n];
        let all_sent = client.at.0 >= client.asked.len();
        let told = client.half_closes || client.protocol == Protocol::Lines || client.is_served();
        if (all_sent && told || client.server_ended || client.last_reply && client.at.0 > 0) && !client.ended
        {
            return self.at(0, Event::End(n));
        }
        if client.asked.get(client.at.0).is_some_and(|asked| asked.gate == Some(client.at.1))
            && !client.timed_out
        {
            // `calm` clients wait for the word for ever: it must come.
            if !self.calm {
                self.at(S, Event::GiveUp(n));
            }
        }
    }

    fn read(&mut self, n: usize, bytes: usize) {
        let Some(id) = self.conn_of[n] else { return };
        self.sockets[id as usize].sending = false;
        if self.sockets[id as usize].closing {
            return;
        }
        self.clients[n].read += bytes;
        self.shard.sent(id, bytes);
        self.send_later(n);
    }

    fn end(&mut self, n: usize) {
        let Some(id) = self.conn_of[n] else { return };
        let socket = &mut self.sockets[id as usize];
        if socket.closing || self.clients[n].ended {
            return;
        }
        if socket.paused {
            socket.held_end = true;
            return;
        }
        self.clients[n].ended = true;
        self.shard.receive_end(id);
    }

    fn break_off(&mut self, n: usize) {
        let Some(id) = self.conn_of[n] else { return };
        if !self.sockets[id as usize].closing {
            self.clients[n].abort_after = Some(0);
            self.clients[n].ended = true;
            self.shard.fail(id);
        }
    }

    /// Carries out what the shard says about connections.
    fn act(&mut self) {
        while let Some((id, action)) = self.shard.next_action() {
            let socket = &mut self.sockets[id as usize];
            let Some(n) = socket.client else { panic!("{action:?} for a connection that is gone") };
            assert!(!socket.closing, "{action:?} after Close");
            match action {
                Action::PauseReading => socket.paused = true,
                Action::ResumeReading => {
                    socket.paused = false;
                    if std::mem::take(&mut socket.held) {
                        self.send_later(n);
                    }
                    if std::mem::take(&mut self.sockets[id as usize].held_end) {
                        self.at(0, Event::End(n));
                    }
                }
                Action::EndWriting => {
                    assert!(!socket.paused, "nobody would see the peer's end");
                    self.clients[n].server_ended = true;
                    self.send_later(n);
                }
                Action::Close => socket.closing = true,
            }
        }
    }

    /// All that the shard wants done.
    fn wish(&mut self) {
        loop {
            self.act();
            while let Some(io) = self.shard.next_io() {
                let (slot, write) = (io.slot, (io.file, io.offset, io.bytes, io.sync));
                self.device.submit(&mut self.rng, slot, write);
                let hang = self.device.faults.hang;
                let delay = if self.rng.chance(hang) { 5 * S } else { self.rng.skewed(3 * MS) };
                self.at(delay, Event::Written(slot));
            }
            while let Some(request) = self.shard.next_request() {
                if self.requests.is_empty() {
                    self.events_keeper();
                }
                self.requests.push_back(request);
            }
            while let Some((id, bytes)) = self.shard.next_send() {
                let socket = &mut self.sockets[id as usize];
                let n = socket.client.expect("an open connection");
                assert!(!socket.sending && !bytes.is_empty());
                socket.sending = true;
                let client = &mut self.clients[n];
                let known = client.said.len() - client.read;
                assert_eq!(
                    bytes[..known.min(bytes.len())],
                    client.said[client.read..][..known.min(bytes.len())]
                );
                client.hear(bytes.get(known..).unwrap_or_default(), &self.device);
                let takes = bytes.len().min(1 + self.rng.below(client.reads_max) as usize);
                let delay = if client.slow { self.rng.skewed(4 * S) } else { self.rng.skewed(200 * US) };
                let event = Reverse((self.clock.0.get() + delay, self.order, Event::Read(n, takes)));
                self.order += 1;
                self.events.push(event);
            }
            let leaving: Vec<ConnId> = (0..self.sockets.len() as ConnId)
                .filter(|id| {
                    let socket = &self.sockets[*id as usize];
                    socket.closing && socket.client.is_some()
                })
                .collect();
            for id in &leaving {
                let n = self.sockets[*id as usize].client.take().expect("a client");
                self.sockets[*id as usize] = Socket::default();
                self.clients[n].gone = true;
                self.conn_of[n] = None;
                self.shard.released(*id);
            }
            if leaving.is_empty() {
                return;
            }
        }
    }

    fn events_keeper(&mut self) {
        let keeper = self.device.faults.keeper;
        let delay = if self.rng.chance(keeper) { self.rng.below(6 * S) } else { self.rng.skewed(5 * MS) };
        self.at(delay, Event::Keeper);
    }

    fn keep_house(&mut self) {
        let Some(request) = self.requests.front().copied() else { return };
        let keeper = self.device.faults.keeper;
        match request {
            Request::Prepare { kind, .. } if self.rng.chance(keeper) => {
                self.shard.mail(Mail::Failed { kind, no_space: self.rng.chance(500) });
            }
            Request::Prepare { kind, number } => {
                self.requests.pop_front();
                let file = self.next_fd;
                self.next_fd += 1;
                let capacity = if kind == FileKind::Segment { self.capacity } else { 64 << 10 };
                self.device.create(file, kind, number, capacity);
                let id = self.rng.next() >> 11;
                self.shard.mail(Mail::Ready { kind, file, number, id, capacity: capacity as u64 });
            }
            Request::Retire { kind, file, number, used } => {
                self.requests.pop_front();
                self.retire(kind, file, number, used);
            }
        }
        if !self.requests.is_empty() {
            self.events_keeper();
        }
    }

    fn retire(&mut self, kind: FileKind, file: i32, number: u64, used: u64) {
        let file = &self.device.files[&file];
        assert_eq!(
            (file.kind, file.number, file.used),
            (kind, number, used),
            "cut where the last sound commit ends"
        );
        self.retired += 1;
    }

    fn settle_accounts(&mut self) {
        while let Some(request) = self.requests.pop_front() {
            if let Request::Retire { kind, file, number, used } = request {
                self.retire(kind, file, number, used);
            }
        }
        assert_eq!(self.retired, self.device.files.len(), "every file is handed back once");
        assert_eq!(self.shard.leaks(), [""; 0]);
        let metrics = self.shard.metrics();
        assert!(metrics.books().balanced(), "{:?}", metrics.books());
        let counters = &metrics.counters;
        if self.null {
            assert_eq!(counters.events_shed, 0);
        } else {
            assert_eq!(counters.events_stored, self.device.stored, "stored is what is in sound commits");
            assert_eq!(counters.events_quarantined, self.device.quarantined);
        }
        let refused = counters.requests.get(503) + counters.requests.get(507);
        assert!(!self.calm || self.device.failures > 0 || refused == 0, "{refused} were shed without need");
        for (n, client) in self.clients.iter().enumerate() {
            for event in &client.denied {
                assert!(!self.device.is_stored(event), "stored though the client was told otherwise");
            }
            let whole = client.abort_after.is_none() && self.calm;
            match client.protocol {
                Protocol::Http if whole => assert!(client.is_served(), "client {n} was not answered"),
                Protocol::Lines if whole && !self.null => {
                    for event in client.lines.iter().flatten().filter(|line| !line.is_empty()) {
                        assert!(self.device.is_stored(event), "a line of client {n} is missing");
                    }
                }
                _ => {}
            }
        }
    }
}
