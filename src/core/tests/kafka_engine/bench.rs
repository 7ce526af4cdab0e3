//! A shard with a Kafka sink, and everything that it stands between, in virtual time.
use super::cluster::Cluster;
use super::disk::Disk;
use ringmill_core::ack::Ack;
use ringmill_core::batch::policy::Policy;
use ringmill_core::engine::{Action, Config, ConnId, Engine, IoStep, Protocol};
use ringmill_core::json::SimdScanner;
use ringmill_core::kafka::arena::{ArenaLimits, Slot};
use ringmill_core::kafka::partition::Spread;
use ringmill_core::kafka::producer::{self, Command, LinkId};
use ringmill_core::sink::kafka::{KafkaSink, Routing, Settings};
use ringmill_core::sink::segments::SegmentSink;
use ringmill_core::sink::spill::{Spill, Spilling};
use ringmill_core::sink::{AnySink, FileKind, Mail, Request, Resume};
use ringmill_core::testing::clock::HandClock;
use ringmill_core::testing::engine::config as usual;

pub const MS: u64 = 1_000_000;
pub const S: u64 = 1_000 * MS;
pub const CONNECTIONS: usize = 6;

pub struct Bench {
    pub clock: HandClock,
    pub engine: Engine<Vec<u8>, HandClock, SimdScanner, AnySink>,
    pub cluster: Cluster,
    /// Bytes that the quarantine was told to write.
    pub quarantined: Vec<u8>,
    /// The batch that was sent last.
    pub last_sent: Option<Slot>,
    /// What was spilled, if there is a spill, and who replays it.
    pub disk: Option<Disk>,
    said: Vec<Vec<u8>>,
    file: i32,
}

/// What is usual; tests change it.
pub fn config() -> Config {
    Config {
        shard: 3,
        connections_max: CONNECTIONS,
        ack: Ack::Replicated,
        policy: Policy { bytes_max: 512 << 10, events_max: 10_000, linger_ns: 0 },
        quarantine_first: Some(1),
        ..usual()
    }
}

pub fn settings(routing: Routing) -> Settings {
    let mut producer = producer::Settings::new(2, 4, 8, 64, 7);
    producer.delivery_timeout_ns = 10 * S;
    producer.request_timeout_ns = 4 * S;
    let arena = ArenaLimits { partitions: 64, batches: 32, splits: 32, runs: 4096, batch_bytes: 200_000 };
    let spread = Spread::Sticky { bytes: 16 << 10 };
    Settings { producer, arena, spread, compress: None, routing, shard: 3, first_sequence: 1000 }
}

impl Bench {
    pub fn new(config: Config, settings: Settings, cluster: Cluster) -> Bench {
        Bench::with(config, settings, cluster, None)
    }

    /// The same with a spill behind it; one second without Kafka fills it.
    pub fn spilling(config: Config, settings: Settings, cluster: Cluster, disk: Disk) -> Bench {
        Bench::with(config, settings, cluster, Some(disk))
    }

    fn with(config: Config, settings: Settings, cluster: Cluster, disk: Option<Disk>) -> Bench {
        let clock = HandClock::default();
        clock.0.set(1_795_219_200_000 * MS);
        let sink = KafkaSink::new(settings, clock.0.get()).expect("sound settings");
        let mut sink = AnySink::Kafka(Box::new(sink));
        if let Some(disk) = &disk {
            let resume = Resume { next_seq: disk.next_seq(), ..Resume::START };
            let segments = SegmentSink::new(config.shard, &resume);
            let spill = Spill { segments, after_ns: S, through: disk.replayed };
            sink = AnySink::Spilling(Box::new(Spilling::new(sink, spill)));
        }
        let engine = Engine::new(config, clock.clone(), SimdScanner::new(), sink, |len| vec![0; len]);
        let said = vec![Vec::new(); CONNECTIONS];
        let mut bench =
            Bench { clock, engine, cluster, quarantined: Vec::new(), last_sent: None, disk, said, file: 2 };
        bench.turn();
        bench
    }

    /// A shard that is connected and knows who leads.
    pub fn ready(config: Config, settings: Settings, cluster: Cluster) -> Bench {
        let mut bench = Bench::new(config, settings, cluster);
        bench.pass(20 * MS);
        assert_eq!(bench.engine.ready(), Ok(()));
        bench
    }

    pub fn now_ns(&self) -> u64 {
        self.clock.0.get()
    }

    pub fn open(&mut self, protocol: Protocol) -> ConnId {
        self.engine.open(protocol).expect("a slot")
    }

    pub fn send(&mut self, id: ConnId, text: &str) {
        self.send_in_pieces(id, text, 16 << 10);
    }

    pub fn send_in_pieces(&mut self, id: ConnId, text: &str, piece: usize) {
        self.engine.tick();
        for piece in text.as_bytes().chunks(piece) {
            self.engine.receive(id, &mut piece.to_vec());
        }
        self.turn();
    }

    /// What was said to a connection since the last look.
    pub fn heard(&mut self, id: ConnId) -> String {
        String::from_utf8(std::mem::take(&mut self.said[id as usize])).expect("replies are text")
    }

    /// Every connection to brokers breaks; they can be made anew at once.
    pub fn break_links(&mut self) {
        let now_ns = self.now_ns();
        self.cluster.go_down(now_ns);
        self.cluster.down = false;
    }

    /// Posts, waits, and gives status and body of the one reply.
    pub fn ask(&mut self, id: ConnId, text: &str, ns: u64) -> (u16, String) {
        self.send(id, text);
        self.pass(ns);
        let heard = self.heard(id);
        assert_eq!(heard.matches("HTTP/1.1 ").count(), 1, "one reply: {heard:?}");
        let (head, body) = heard.split_once("\r\n\r\n").expect("a head");
        (head[9..12].parse().expect("a status"), body.into())
    }

    /// Lets time pass in steps of what is due.
    pub fn pass(&mut self, ns: u64) {
        let end = self.now_ns() + ns;
        loop {
            let replay = self.disk.as_ref().and_then(|disk| disk.due_ns(self.now_ns(), self.cluster.down));
            let due = [self.engine.deadline_ns(), self.cluster.due_ns(), replay].into_iter().flatten().min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            self.clock.0.set(due.max(self.now_ns()));
            self.engine.tick();
            self.turn();
        }
        self.clock.0.set(end);
        self.engine.tick();
        self.turn();
    }

    pub fn turn(&mut self) {
        loop {
            let mut more = self.engine.run();
            more |= self.keep_files();
            more |= self.move_links();
            more |= self.replay();
            while let Some((id, bytes)) = self.engine.next_send() {
                let bytes = bytes.to_vec();
                self.said[id as usize].extend_from_slice(&bytes);
                self.engine.sent(id, bytes.len());
                more = true;
            }
            while let Some((id, action)) = self.engine.next_action() {
                if action == Action::Close {
                    self.engine.released(id);
                }
                more = true;
            }
            let books = self.engine.metrics().books();
            assert!(books.balanced(), "{books:?}");
            if !more {
                return;
            }
        }
    }

    fn keep_files(&mut self) -> bool {
        let mut any = false;
        while let Some(request) = self.engine.next_request() {
            if let Request::Prepare { kind, number } = request {
                assert!(kind == FileKind::Quarantine || self.disk.is_some(), "Kafka has no segments");
                self.file += 1;
                let (file, capacity) = (self.file, 32 << 20);
                self.engine.mail(Mail::Ready { kind, file, number, id: number, capacity });
                any = true;
            }
        }
        let mut written = Vec::new();
        while let Some(io) = self.engine.next_io() {
            let result = match (io.slot, &mut self.disk) {
                (0, Some(disk)) => disk.write(io.bytes),
                (1, _) => {
                    self.quarantined.extend_from_slice(io.bytes);
                    Ok(io.bytes.len())
                }
                _ => panic!("nothing but the quarantine writes"),
            };
            written.push((io.slot, result, io.sync));
        }
        for (slot, result, sync) in &written {
            self.engine.io_done(*slot, IoStep::Write, *result);
            if *sync {
                self.engine.io_done(*slot, IoStep::Sync, result.map(|_| 0));
            }
        }
        any || !written.is_empty()
    }

    /// Lets the replayer do what is due.
    fn replay(&mut self) -> bool {
        let now_ns = self.now_ns();
        let Some(disk) = &mut self.disk else { return false };
        if let Some(spilled) = self.engine.take_spilled() {
            disk.may_read(now_ns, spilled.through);
        }
        let Some(through) = disk.replay(now_ns, &mut self.cluster) else { return false };
        self.engine.replicated(through);
        true
    }

    /// Carries out the producer's commands and tells it what is due.
    fn move_links(&mut self) -> bool {
        let now_ns = self.now_ns();
        let upstream = self.engine.upstream().expect("the sink is Kafka");
        let mut any = self.cluster.deliver(now_ns, upstream.producer);
        if any {
            self.engine.poll_upstream();
        }
        loop {
            let mut upstream = self.engine.upstream().expect("the sink is Kafka");
            let Some(command) = upstream.producer.next_command(now_ns) else { break };
            any = true;
            match command {
                Command::Dial { link, to } => self.cluster.dial(now_ns, link, to),
                Command::HangUp { link } => self.cluster.hang_up(link),
                Command::Metadata { link, correlation, topics, .. } => {
                    let topics = topics.to_vec();
                    let name = |topic| upstream.producer.topic(topic).0.to_owned();
                    let names = topics.into_iter().map(name).collect();
                    self.cluster.metadata(now_ns, link, correlation, names);
                }
                Command::InitProducerId { link, correlation, .. } => {
                    self.cluster.producer_id(now_ns, link, correlation);
                }
                Command::Produce { link, correlation, batches } => {
                    let slots = batches.to_vec();
                    for slot in &slots {
                        assert!(upstream.freeze(*slot), "a batch that is to be sent has a stamp");
                    }
                    self.produce(now_ns, link, correlation, &slots);
                }
            }
        }
        any
    }

    fn produce(&mut self, now_ns: u64, link: LinkId, correlation: i32, slots: &[Slot]) {
        let mut batches = Vec::new();
        for slot in slots {
            self.last_sent = Some(*slot);
            let upstream = self.engine.upstream().expect("the sink is Kafka");
            let index = upstream.producer.partition_of(*slot).expect("in use");
            let (topic, number) = upstream.producer.locate(index);
            let topic = upstream.producer.topic(topic).0.to_owned();
            let (header, records) = self.engine.upstream_batch(*slot).expect("a commit is in flight");
            batches.push((index, topic, number, [header, records].concat()));
        }
        self.cluster.produce(now_ns, link, correlation, batches);
    }

    /// Ends everything and looks at what is left.
    pub fn finish(mut self) -> Bench {
        self.engine.drain();
        self.pass(30 * S);
        assert!(self.engine.is_drained(), "within half a minute");
        assert_eq!(self.engine.leaks(), [""; 0]);
        self
    }
}

pub fn post(target: &str, headers: &str, body: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: t\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

pub fn event(n: usize) -> String {
    format!("{{\"n\":{n}}}\n")
}

pub fn events(range: std::ops::Range<usize>) -> String {
    range.map(event).collect()
}
