//! The Kafka side of a shard: between the engine's upstream, the links to brokers, and the helpers.
//!
//! ```text
//!  engine.upstream() ── commands ─▶ Links ─▶ driver ─▶ brokers
//!         ▲                          │ ▲
//!         └──── inputs, pins ────────┘ └── solutions ── Helpers (names, keys)
//! ```
//!
//! It passes on and decides nothing. What it sees to: that commands are taken whenever the producer may have some,
//! that a commit stays where it is while the kernel may read it, and that outcomes are taken at once.
use super::driver::Sender;
use super::driver::peer::{PeerId, PeerSend};
use super::edge::Errands;
use super::{Core, Shard};
use crate::config::kafka::{Address, KafkaPlan};
use crate::core::engine::Upstream;
use crate::core::kafka::arena::Slot;
use crate::core::kafka::compress::{Codec, Compress, Lz4};
use crate::core::kafka::producer::{self, Producer};
use crate::core::memory::Clock;
use crate::core::sink::kafka::{KafkaSink, Settings};
use crate::sink::kafka::resolve::Helpers;
use crate::sink::kafka::secrets::{self, Secrets};
use crate::sink::kafka::zstd::Zstd;
use crate::sink::kafka::{Batches, LinkSettings, Links};
use crate::sys::clock::MonotonicClock;
use crate::sys::mapping::Mapping;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;

/// Where the sequence of a new producer id begins, if this is set. Not a setting: only tests name it, which cannot
/// write two thousand million records to see the numbers wrap.
const FIRST_SEQUENCE: &str = "RINGMILL_TEST_KAFKA_FIRST_SEQUENCE";

/// What a shard needs to reach Kafka; the same for all of them.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where.
    pub address: Address,
    /// How.
    pub plan: KafkaPlan,
    /// What was in the files at the start.
    pub secrets: Secrets,
    /// They are read anew for each connection.
    pub renews_secrets: bool,
    /// What is given up takes along what waits behind it: for who sends it again.
    pub in_order: bool,
    /// Threads for what takes long.
    pub helpers: Helpers,
}

impl Setup {
    /// Reads what the plan names, and starts the helpers.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn new(address: &Address, plan: &KafkaPlan) -> Result<Setup, String> {
        let password = plan.sasl.clone().map(|sasl| {
            let path = sasl.password_file.clone();
            (path, Box::new(move || sasl.credentials()) as Box<_>)
        });
        let mut files = secrets::Files::new(plan.tls.clone(), password);
        let secrets = files.read()?;
        let read: Option<secrets::Read> = match secrets {
            Secrets { tls: None, sasl: None } => None,
            _ => Some(Box::new(move || files.read())),
        };
        let renews_secrets = read.is_some();
        let helpers = Helpers::start(read);
        Ok(Setup {
            address: address.clone(),
            secrets,
            renews_secrets,
            in_order: false,
            helpers: helpers.map_err(|error| format!("cannot start a thread for Kafka: {error}"))?,
            plan: plan.clone(),
        })
    }

    /// The sink that the engine of that shard is given.
    ///
    /// # Errors
    /// What of the settings cannot be had.
    pub fn sink(&self, shard: u32) -> Result<KafkaSink, &'static str> {
        let plan = &self.plan;
        let ns = |duration: std::time::Duration| duration.as_nanos() as u64;
        // Shards must not back off and choose partitions in step.
        let seed = RandomState::new().hash_one(std::process::id());
        let bootstrap = self.address.brokers.len() as u16;
        let [brokers, topics, partitions] =
            [plan.brokers_max, plan.topics_max, plan.partitions_max].map(|max| max as usize);
        let producer = producer::Settings {
            delivery_timeout_ns: ns(plan.delivery_timeout),
            leader_wait_ns: ns(plan.leader_wait),
            request_timeout_ns: ns(plan.request_timeout),
            allow_create: plan.create_topics,
            in_order: self.in_order,
            first_sequence: first_sequence(std::env::var(FIRST_SEQUENCE).ok().as_deref()),
            ..producer::Settings::new(bootstrap, brokers, topics, partitions, seed)
        };
        let settings = Settings {
            producer,
            arena: plan.arena(),
            spread: plan.spread,
            compress: compress(plan.codec)?,
            routing: plan.routing(&self.address),
            shard,
            first_sequence: MonotonicClock.wall_ms() * 1_000_000,
        };
        KafkaSink::new(settings, MonotonicClock.now_ns())
    }

    /// The links of one shard, which `mail` leads to.
    pub fn edge(self, mail: Sender<Shard>) -> Edge {
        let brokers_max = self.plan.brokers_max as usize;
        let settings = LinkSettings {
            brokers: self.address.brokers,
            client_id: self.plan.client_id.clone(),
            tls: self.secrets.tls,
            sasl: self.secrets.sasl,
            renews_secrets: self.renews_secrets,
            produce_timeout_ms: self.plan.produce_timeout().as_millis() as i32,
        };
        Edge {
            links: Links::new(settings, brokers_max),
            errands: Errands::new("kafka", self.helpers, mail),
            pinned: false,
        }
    }
}

/// 0, unless a test says otherwise in so many digits.
fn first_sequence(told: Option<&str>) -> i32 {
    told.and_then(|text| text.parse().ok()).filter(|first| *first >= 0).unwrap_or(0)
}

fn compress(codec: Codec) -> Result<Option<Box<dyn Compress>>, &'static str> {
    Ok(match codec {
        Codec::None => None,
        Codec::Lz4 => Some(Box::new(Lz4::new())),
        Codec::Zstd => Some(Box::new(Zstd::new().ok_or("there is no memory for zstd")?)),
    })
}

/// See the module.
pub struct Edge {
    links: Links,
    errands: Errands,
    /// The commit in flight is held for the kernel.
    pinned: bool,
}

impl Batches for Core {
    fn bytes(&self, slot: Slot) -> (&[u8], &[u8]) {
        self.upstream_batch(slot).unwrap_or((&[], &[]))
    }
}

impl Edge {
    /// Tells the links something that the producer hears of, and takes what came of it.
    fn tell(&mut self, core: &mut Core, tell: impl FnOnce(&mut Links, u64, &mut Producer)) {
        let Some(upstream) = core.upstream() else { return };
        tell(&mut self.links, upstream.now_ns, upstream.producer);
        self.settle(core);
    }

    /// Carries out what the producer commands.
    fn obey(&mut self, core: &mut Core) {
        let Some(Upstream { producer, mut records, now_ns, .. }) = core.upstream() else { return };
        self.links.obey(now_ns, producer, &mut records);
        self.settle(core);
    }

    fn settle(&mut self, core: &mut Core) {
        let Some(mut upstream) = core.upstream() else { return };
        let now_ns = upstream.now_ns;
        let borrows = self.links.borrows_batches();
        if borrows != self.pinned {
            self.pinned = borrows;
            if borrows { upstream.pin() } else { upstream.unpin() }
        }
        core.poll_upstream();
        while let Some((id, task)) = self.links.next_task() {
            self.errands.ask(id.0, task);
        }
        while let Some(failure) = self.links.next_failure() {
            self.errands.log(now_ns, failure);
        }
    }
}

impl super::edge::Edge for Edge {
    fn solved(&mut self, core: &mut Core, id: u32, solution: crate::sink::kafka::resolve::Solution) {
        let id = producer::LinkId(id);
        self.tell(core, |links, now_ns, producer| links.solved(now_ns, producer, id, solution));
    }

    fn tick(&mut self, core: &mut Core) {
        let due = |upstream: &Upstream<'_, Mapping>| {
            self.links.deadline_ns().is_some_and(|at_ns| at_ns <= upstream.now_ns)
        };
        if let Some(upstream) = core.upstream().filter(due) {
            self.links.tick(upstream.now_ns);
        }
    }

    fn deadline_ns(&self) -> Option<u64> {
        self.links.deadline_ns()
    }

    fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// The driver asks for this first, behind `next_io`, which seals: so here commands are taken.
    fn next_dial(&mut self, core: &mut Core) -> Option<(PeerId, SocketAddr)> {
        self.links.next_dial().or_else(|| {
            self.obey(core);
            self.links.next_dial()
        })
    }

    fn next_hang_up(&mut self) -> Option<PeerId> {
        self.links.next_hang_up()
    }

    fn next_peer_send<'a>(&'a mut self, core: &'a Core) -> Option<PeerSend<'a>> {
        self.links.next_peer_send(core)
    }

    fn dialed(&mut self, core: &mut Core, peer: PeerId, result: Result<(), i32>) {
        self.tell(core, |links, now_ns, producer| links.dialed(now_ns, producer, peer, result));
    }

    fn peer_receive(&mut self, core: &mut Core, peer: PeerId, data: &[u8]) {
        self.tell(core, |links, now_ns, producer| links.peer_receive(now_ns, producer, peer, data));
    }

    fn peer_sent(&mut self, core: &mut Core, peer: PeerId, bytes: usize) {
        self.tell(core, |links, now_ns, producer| links.peer_sent(now_ns, producer, peer, bytes));
    }

    fn peer_lost(&mut self, core: &mut Core, peer: PeerId, code: i32) {
        self.tell(core, |links, now_ns, producer| links.peer_lost(now_ns, producer, peer, code));
    }

    fn peer_released(&mut self, core: &mut Core, peer: PeerId) {
        self.tell(core, |links, _, _| links.peer_released(peer));
    }
}

#[cfg(test)]
mod tests {
    use super::first_sequence;

    #[test]
    fn a_sequence_begins_at_0_unless_a_test_says_otherwise() {
        for (told, first) in
            [(None, 0), (Some(""), 0), (Some("-1"), 0), (Some("2147483645"), i32::MAX - 2), (Some("x"), 0)]
        {
            assert_eq!(first_sequence(told), first, "{told:?}");
        }
    }
}
