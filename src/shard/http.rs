//! The HTTP side of a shard: between the engine's courier, the links to the target, and the helpers.
//!
//! It passes on and decides nothing. What it sees to: that commands are taken whenever the sink may have some, that a
//! commit stays where it is while the kernel may read it, and that outcomes are taken at once.
use super::driver::Sender;
use super::driver::peer::{PeerId, PeerSend};
use super::edge::{Edge, Errands};
use super::{Core, Shard};
use crate::config::http::{Address, HttpPlan};
use crate::core::engine::Courier;
use crate::core::memory::Clock;
use crate::core::sink::http::target::EventId;
use crate::core::sink::http::{HttpSink, Rules, Settings};
use crate::sink::http::{LinkSettings, Links};
use crate::sink::kafka::resolve::{Helpers, Solution};
use crate::sink::kafka::tls::Tls;
use crate::sys::clock::MonotonicClock;
use crate::sys::mapping::Mapping;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;

/// What a shard needs to reach an HTTP target; the same for all of them.
#[derive(Clone, Debug)]
pub struct Setup {
    address: Address,
    /// How.
    pub plan: HttpPlan,
    tls: Option<Tls>,
    /// What every request says of who we are.
    secrets: Vec<u8>,
    helpers: Helpers,
    arena_bytes: usize,
}

impl Setup {
    /// Reads what the plan names, and starts the helpers.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn new(address: &Address, plan: &HttpPlan, arena_bytes: usize) -> Result<Setup, String> {
        Ok(Setup {
            address: address.clone(),
            tls: plan.tls.as_ref().map(Tls::load).transpose()?,
            secrets: plan.secrets()?,
            helpers: Helpers::start(None)
                .map_err(|error| format!("cannot start a thread for names: {error}"))?,
            plan: plan.clone(),
            arena_bytes,
        })
    }

    /// The sink that the engine of that shard is given.
    pub fn sink(&self, shard: u32) -> HttpSink {
        let plan = &self.plan;
        let ns = |duration: std::time::Duration| duration.as_nanos() as u64;
        let rules = Rules {
            lanes: plan.connections,
            request_timeout_ns: ns(plan.request_timeout),
            delivery_timeout_ns: ns(plan.delivery_timeout),
            idle_ns: ns(plan.idle_timeout),
            // Shards must not back off in step.
            seed: RandomState::new().hash_one(std::process::id()),
        };
        let settings = Settings {
            preset: plan.preset,
            target: plan.target(&self.address, &self.secrets),
            rules,
            batch_bytes: plan.batch_bytes as usize,
            arena_bytes: self.arena_bytes,
            level: self.address.level,
            // A run of its own for each shard: what two servers send must never be taken for the same.
            first: EventId { run: RandomState::new().hash_one(shard), shard, sequence: 1 },
        };
        HttpSink::new(settings, MonotonicClock.now_ns())
    }

    /// The links of one shard, which `mail` leads to.
    ///
    /// # Errors
    /// When there is no memory to compress with.
    pub fn edge(self, sink: &HttpSink, mail: Sender<Shard>) -> Result<HttpEdge, &'static str> {
        let settings = LinkSettings {
            host: self.address.host.clone(),
            port: self.address.port,
            tls: self.tls,
            lanes: self.plan.connections,
            batch_bytes: self.plan.batch_bytes as usize,
            coding: self.plan.coding,
        };
        let links = Links::new(settings, sink, self.arena_bytes)?;
        Ok(HttpEdge { links, errands: Errands::new("http", self.helpers, mail), pinned: false })
    }
}

/// See the module.
pub struct HttpEdge {
    links: Links,
    errands: Errands,
    /// The commit in flight is held for the kernel.
    pinned: bool,
}

impl HttpEdge {
    /// Tells the links something that the sink hears of, and takes what came of it.
    fn tell(&mut self, core: &mut Core, tell: impl FnOnce(&mut Links, (u64, u64), &mut HttpSink)) {
        let Some(Courier { sink, now_ns, wall_ms, .. }) = core.courier() else { return };
        tell(&mut self.links, (now_ns, wall_ms), sink);
        self.settle(core);
    }

    /// Carries out what the sink commands.
    fn obey(&mut self, core: &mut Core) {
        let Some(Courier { sink, lines, now_ns, .. }) = core.courier() else { return };
        self.links.obey::<Mapping>(now_ns, sink, lines);
        self.settle(core);
    }

    fn settle(&mut self, core: &mut Core) {
        let borrows = self.links.borrows();
        if borrows != self.pinned {
            self.pinned = borrows;
            if borrows { core.pin() } else { core.unpin() }
        }
        core.poll_upstream();
        while let Some((id, task)) = self.links.next_task() {
            self.errands.ask(id, task);
        }
        while let Some(failure) = self.links.next_failure() {
            self.errands.log(MonotonicClock.now_ns(), failure);
        }
    }
}

impl Edge for HttpEdge {
    fn solved(&mut self, core: &mut Core, id: u32, solution: Solution) {
        self.tell(core, |links, (now_ns, _), sink| links.solved(now_ns, sink, id, solution));
    }
    fn tick(&mut self, _core: &mut Core) {}
    fn deadline_ns(&self) -> Option<u64> {
        None
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
        let (sink, lines) = core.shipment()?;
        self.links.next_peer_send(sink, lines)
    }
    fn dialed(&mut self, core: &mut Core, peer: PeerId, result: Result<(), i32>) {
        self.tell(core, |links, (now_ns, _), sink| links.dialed(now_ns, sink, peer, result));
    }
    fn peer_receive(&mut self, core: &mut Core, peer: PeerId, data: &[u8]) {
        self.tell(core, |links, now, sink| links.peer_receive(now, sink, peer, data));
    }
    fn peer_sent(&mut self, core: &mut Core, peer: PeerId, bytes: usize) {
        self.tell(core, |links, now, sink| links.peer_sent(now, sink, peer, bytes));
    }
    fn peer_lost(&mut self, core: &mut Core, peer: PeerId, code: i32) {
        self.tell(core, |links, now, sink| links.peer_lost(now, sink, peer, code));
    }
    fn peer_released(&mut self, core: &mut Core, peer: PeerId) {
        self.tell(core, |links, _, _| links.peer_released(peer));
    }
}
