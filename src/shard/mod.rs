//! One core's everything: its executor, its memory, its logic and the driver that moves it.
//!
//! [`start`] puts a shard on its core; all of its memory is made and first touched there. From then on it is
//! reached through its [`Handle`] alone.
pub mod balance;
pub mod driver;
mod edge;
pub mod host;
pub mod http;
pub mod kafka;
pub mod listen;
mod logic;
pub mod passed;
pub mod spill;

use crate::config::plan::{Driver, Limits, Plan, Validator};
use crate::core::batch::policy::Policy;
use crate::core::engine::{CARRY_BYTES, Config, Engine, Timeouts, Waiting};
use crate::core::json::{AnyScanner, FastScanner, SimdScanner, StrictScanner};
use crate::core::metrics::Metrics;
use crate::core::sink::spill::Spilling;
use crate::core::sink::{AnySink, Mail, Request, Resume, null::NullSink, segments::SegmentSink};
use crate::replay::{chunk::Chunk, feed::Feed};
use crate::sink::kafka::resolve::Solution;
use crate::sys::clock::MonotonicClock;
use crate::sys::mapping::{Mapping, Residence};
use balance::{Home, Neighbours};
use driver::{Bounds, Buffers, Edges, Hosted, Kind, Listener, Logic as _, Message};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use std::io;
use std::sync::mpsc;

/// The engine as it runs in production.
pub type Core = Engine<Mapping, MonotonicClock, AnyScanner, AnySink>;

/// The logic of a shard: its engine and, when events go to somebody else, its connections there.
pub struct Shard {
    core: Core,
    edge: Option<Box<dyn edge::Edge>>,
    /// Only of a shard that spills.
    spill: Option<spill::Edge>,
    /// Only of a shard that replays.
    feed: Option<Box<Feed>>,
    /// Only of a shard that spreads new connections over others.
    neighbours: Option<Box<Neighbours>>,
}

impl Shard {
    /// Has it replay a chunk. Of no use to a shard that takes events from connections.
    pub fn replay(&mut self, chunk: Chunk) {
        if let Some(feed) = &mut self.feed {
            feed.give(chunk);
        }
    }

    /// Gives up what it replays and is not written yet; nothing is told of it. The last thing before it drains.
    pub fn give_up_replay(&mut self) {
        self.feed = None;
        self.core.give_up_replay();
    }

    /// Whether it takes events.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), &'static str> {
        self.core.ready()
    }

    /// Every spilled event up to this one is replicated.
    pub fn replicated(&mut self, through: u64) {
        self.core.replicated(through);
    }

    /// What the replayer knows of the shard's events, for its figures.
    pub fn note_waiting(&mut self, waiting: Waiting) {
        self.core.note_waiting(waiting);
    }

    /// Its figures, up to date.
    pub fn metrics(&mut self) -> &Metrics {
        if let Some(neighbours) = &mut self.neighbours {
            let figures = neighbours.figures(&self.core);
            self.core.note_balance(figures);
        }
        self.core.metrics()
    }

    /// What the helpers found out for a link.
    fn solved(&mut self, id: u32, solution: Solution) {
        if let Some(edge) = &mut self.edge {
            edge.solved(&mut self.core, id, solution);
        }
    }
}

/// Bytes of each arena of refused events.
const REFUSED_ARENA_BYTES: usize = 1 << 20;
/// Blocks from this size on are made of huge pages.
const HUGE_BYTES_MIN: usize = 2 << 20;

/// Who else takes the events.
#[derive(Clone)]
pub enum Beyond {
    /// Kafka.
    Kafka(kafka::Setup),
    /// An HTTP target.
    Http(http::Setup),
}

/// What a shard is given.
pub struct Assignment {
    /// Its number.
    pub number: u32,
    /// Its core.
    pub core: usize,
    /// Where it is reached.
    pub home: Home,
    /// Its own listeners.
    pub listeners: Vec<Listener>,
    /// Where its chain goes on; `None`: no segments, neither as the sink nor as its spill.
    pub resume: Option<Resume>,
    /// Number of the first quarantine file; `None`: refused events are not kept.
    pub quarantine_first: Option<u64>,
    /// How whoever else takes the events is reached. With neither it is the null sink.
    pub beyond: Option<Beyond>,
    /// What makes the segments a spill; `None`: they are the sink.
    pub spill: Option<spill::Setup>,
    /// To the housekeeper.
    pub requests: Option<mpsc::Sender<(u32, Request)>>,
}

/// The way to a running shard, from any thread.
#[derive(Clone)]
pub struct Handle {
    sender: driver::Sender<Shard>,
}

impl Handle {
    /// News from the housekeeper.
    pub fn mail(&self, mail: Mail) {
        // A shard that has ended needs no news.
        let _ = self.sender.send(Message::Mail(mail));
    }

    /// Runs `ask` on the shard between two wakes.
    pub fn ask(&self, ask: impl FnOnce(&mut Shard) + Send + 'static) {
        let _ = self.sender.send(Message::Ask(Box::new(ask)));
    }

    /// Answers what came, then ends.
    pub fn drain(&self) {
        let _ = self.sender.send(Message::Drain);
    }
}

/// A shard's thread.
pub struct Running {
    /// The way to it.
    pub handle: Handle,
    thread: ExecutorJoinHandle<io::Result<()>>,
}

impl Running {
    /// Waits until it has drained.
    ///
    /// # Errors
    /// What broke it.
    pub fn join(self) -> io::Result<()> {
        self.thread.join().map_err(|error| io::Error::other(error.to_string()))?
    }
}

/// Starts a shard on its core. `ended` is told when it ends, for whatever reason.
///
/// # Errors
/// When the executor cannot be made.
pub fn start(plan: &Plan, assignment: Assignment, ended: mpsc::Sender<u32>) -> io::Result<Running> {
    let (config, bounds, kind) = (engine_config(plan, &assignment), bounds(plan), kind(plan));
    let (validator, schemas) = (plan.scanner, plan.schemas.clone());
    let Assignment { number, core, home, listeners, resume, beyond, spill, requests, .. } = assignment;
    let Home { sender, mailbox, street } = home;
    let mail = sender.clone();
    let thread = LocalExecutorBuilder::new(Placement::Fixed(core))
        .name(&format!("shard-{number}"))
        .io_memory(plan.executor_io_bytes as usize)
        .spawn(move || async move {
            let sink = sink(number, &resume, &beyond, &spill)?;
            let mut core = make(config, sink, validator)?;
            core.set_schemas(&schemas).map_err(|bad| io::Error::other(bad.why.reason()))?;
            let edge = beyond.map(|beyond| connections(beyond, &core, mail)).transpose()?;
            let neighbours = street.map(|street| Box::new(Neighbours::new(street, number as usize)));
            let spill = spill.map(|setup| setup.edge(number));
            let shard = Shard { core, edge, spill, feed: None, neighbours };
            let (keeper, to_keeper) = (requests.clone(), requests);
            let requests = Box::new(move |request| pass_on(&to_keeper, number, request));
            let edges = Edges { listeners, mailbox, requests, hosted: Hosted::default(), bounds };
            let result = driver::drive(kind, shard, edges).await.map(|mut shard| {
                shard.core.close();
                while let Some(request) = shard.next_request() {
                    pass_on(&keeper, number, request);
                }
            });
            let _ = ended.send(number);
            result
        })
        .map_err(|error| io::Error::other(format!("cannot start the executor of core {core}: {error}")))?;
    Ok(Running { handle: Handle { sender }, thread })
}

fn pass_on(keeper: &Option<mpsc::Sender<(u32, Request)>>, shard: u32, request: Request) {
    if let Some(keeper) = keeper {
        // The keeper outlives every shard.
        let _ = keeper.send((shard, request));
    }
}

fn sink(
    number: u32,
    resume: &Option<Resume>,
    beyond: &Option<Beyond>,
    spill: &Option<spill::Setup>,
) -> io::Result<AnySink> {
    let main = match beyond {
        Some(Beyond::Kafka(setup)) => {
            Some(AnySink::Kafka(Box::new(setup.sink(number).map_err(io::Error::other)?)))
        }
        Some(Beyond::Http(setup)) => Some(AnySink::Http(Box::new(setup.sink(number)))),
        None => None,
    };
    Ok(match (resume, main) {
        (Some(resume), Some(main)) => {
            let spill = spill.as_ref().ok_or_else(|| io::Error::other("a spill without a replayer"))?;
            AnySink::Spilling(Box::new(Spilling::new(main, spill.spill(number, resume))))
        }
        (Some(resume), None) => AnySink::Segments(SegmentSink::new(number, resume)),
        (None, Some(main)) => main,
        (None, None) => AnySink::Null(NullSink),
    })
}

fn connections(beyond: Beyond, core: &Core, mail: driver::Sender<Shard>) -> io::Result<Box<dyn edge::Edge>> {
    Ok(match beyond {
        Beyond::Kafka(setup) => Box::new(setup.edge(mail)),
        Beyond::Http(setup) => {
            let (sink, _) = core.shipment().ok_or_else(|| io::Error::other("the sink is not HTTP"))?;
            Box::new(setup.edge(sink, mail).map_err(io::Error::other)?)
        }
    })
}

/// Makes the shard's engine and all its memory, on the shard's own core.
fn make(config: Config, sink: AnySink, validator: Validator) -> io::Result<Core> {
    let scanner = match validator {
        Validator::Fast(kernel) => AnyScanner::Fast(Box::new(FastScanner::new(kernel))),
        Validator::Exact => AnyScanner::Exact(StrictScanner::new()),
        Validator::SimdJson => AnyScanner::Simd(Box::new(SimdScanner::new())),
    };
    let mut failure = None;
    let shard = Engine::new(config, MonotonicClock, scanner, sink, |bytes| {
        Mapping::new(bytes, residence(bytes)).unwrap_or_else(|error| {
            failure.get_or_insert(error);
            Mapping::new(1, Residence::Lazy).expect("a page of address space")
        })
    });
    failure.map_or(Ok(shard), Err)
}

/// Everything is resident from the start but the carries, which are address space for what seldom comes.
fn residence(bytes: usize) -> Residence {
    match bytes {
        CARRY_BYTES => Residence::Lazy,
        HUGE_BYTES_MIN.. => Residence::Huge,
        _ => Residence::Now,
    }
}

fn engine_config(plan: &Plan, assignment: &Assignment) -> Config {
    let limits: &Limits = &plan.limits;
    let ns = |duration: std::time::Duration| duration.as_nanos() as u64;
    Config {
        shard: assignment.number,
        connections_max: limits.connections_max as usize,
        body_budget_bytes: limits.body_budget_bytes as usize,
        batch_arena_bytes: limits.arena_bytes as usize,
        refused_arena_bytes: REFUSED_ARENA_BYTES,
        ack: plan.ack,
        policy: Policy {
            bytes_max: limits.batch_bytes_max as usize,
            events_max: limits.batch_events_max,
            linger_ns: ns(limits.linger),
        },
        lines_replies: limits.lines_replies,
        shed_after_ns: ns(limits.shed_after),
        quarantine_first: assignment.quarantine_first,
        timeouts: Timeouts {
            head_ns: ns(limits.head_timeout),
            idle_ns: ns(limits.idle_timeout),
            reply_ns: ns(limits.reply_timeout),
            body_floor_bytes_per_s: limits.body_floor_bytes_per_s,
            ..Timeouts::default()
        },
    }
}

fn bounds(plan: &Plan) -> Bounds {
    let buffers = Buffers { count: plan.limits.receive_buffers, ..Bounds::default().buffers };
    Bounds { connections_max: plan.limits.connections_max, buffers, poll: plan.poll }
}

fn kind(plan: &Plan) -> Kind {
    match plan.driver {
        Driver::Uring => Kind::Uring,
        Driver::Glommio => Kind::Glommio,
    }
}
