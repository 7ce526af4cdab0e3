//! Replay: events from segments to the sink that they should have reached, in order, resumable.
//!
//! ```text
//!  segments ─▶ Reader ─▶ Chunk ─▶ Feed ─▶ Engine ─▶ sink ─▶ brokers
//!  (a shard's  read      control   on a hosted shard's thread    │
//!   folder)    ahead     thread      ▲ again, what failed        │
//!  cursor ◀── settled ◀── Done ◀─────┴────── outcomes ◀──────────┘
//! ```
//!
//! One chunk is out at a time and settled event by event before the next goes, so the order of each (shard,
//! partition) holds whatever fails; the next is read meanwhile. [`follow`] serves a running server's spill and never
//! ends by itself; [`once`] is `ringmill segments replay`.
//!
//! It is no second way to Kafka: engine, sink, links and driver are those of every shard. It never changes a segment;
//! it removes whole ones, if it was told to, when each of their events is done.
mod aside;
pub mod chunk;
mod control;
pub mod cursor;
mod disk;
pub mod feed;
mod lane;
pub mod read;

use crate::config::kafka::KafkaPlan;
use crate::config::memory;
use crate::core::kafka::arena::RecordArena;
use crate::shard;
use crate::sink::name::{REPLAY_LOCK, shard_dir};
use crate::sink::volume::{DirLock, lock_file};
use crate::sys::mapping::Mapping;
use chunk::{CHUNK_BYTES, CHUNK_EVENTS};
use control::{Control, Message};
use cursor::{Cursor, Place};
use feed::{Feed, Told};
use lane::Lane;
use read::{Bound, Reader, Selection};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

pub use control::{Stop, Summary};
pub use shard::host::Hosting;

/// How long a batch of a replay that never gives up may be on its way: a year, for the producer wants a number.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Where events are replayed to.
#[derive(Clone, Debug)]
pub enum Target {
    /// A topic, or one for each stream.
    Kafka(Box<shard::kafka::Setup>),
    /// An HTTP target, set up for arenas of [`shard::host::ARENA_BYTES`].
    Http(Box<shard::http::Setup>),
}

impl Target {
    fn without_deadline(mut self) -> Target {
        match &mut self {
            Target::Kafka(setup) => setup.plan.delivery_timeout = FOR_EVER,
            Target::Http(setup) => setup.plan.delivery_timeout = FOR_EVER,
        }
        self
    }

    /// How long a sink may take nothing before a replay that gives up does.
    fn patience(&self) -> Duration {
        match self {
            Target::Kafka(setup) => setup.plan.delivery_timeout,
            Target::Http(setup) => setup.plan.delivery_timeout,
        }
    }

    fn beyond(self) -> shard::Beyond {
        match self {
            Target::Kafka(setup) => shard::Beyond::Kafka(*setup),
            Target::Http(setup) => shard::Beyond::Http(*setup),
        }
    }
}

/// What a replay beside a running server is told at start.
pub struct Follow {
    /// The directory, locked and recovered.
    pub dir: PathBuf,
    /// Every shard that has a folder in it.
    pub shards: Vec<Start>,
    /// Where events go.
    pub target: Target,
    /// What the cursors name it.
    pub name: String,
    /// Where the engine runs.
    pub hosting: Hosting,
    /// Remove segments of which each event is done.
    pub remove: bool,
}

/// How far a shard's segments are known to be durable at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The shard.
    pub shard: u32,
    /// Number of its newest segment, 0 for none.
    pub segment: u64,
    /// Sequence number of its newest event, 0 for none.
    pub through: u64,
}

/// A commit that has become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Number of the segment that holds it.
    pub segment: u64,
    /// Sequence number of its last event.
    pub through: u64,
    /// Bytes of its events.
    pub bytes: u64,
    /// When it was sealed: Unix time in milliseconds.
    pub time_ms: u64,
}

/// How a shard's replay stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The shard.
    pub shard: u32,
    /// Every event up to this one is with the target, or refused and kept aside.
    pub through: u64,
    /// Events replayed since the start.
    pub replayed_events: u64,
    /// Their bytes.
    pub replayed_bytes: u64,
    /// Events that the target refuses for good.
    pub refused_events: u64,
    /// Events that are durable and not replayed yet.
    pub waiting_events: u64,
    /// Their bytes, nearly.
    pub waiting_bytes: u64,
    /// When the oldest of them was stored, to a second: Unix time in milliseconds.
    pub oldest_ms: Option<u64>,
    /// Why nothing moves.
    pub stuck: Option<String>,
}

/// Something that happened, told on the thread of the replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Every event of the shard up to this one is with the target, or refused and kept aside.
    Replicated {
        /// The shard.
        shard: u32,
        /// Sequence number.
        through: u64,
    },
    /// The target refuses this event for good; it is kept in `replay.refused`.
    Refused {
        /// The shard.
        shard: u32,
        /// Sequence number.
        seq: u64,
        /// Its stream.
        stream: String,
        /// Why.
        why: String,
    },
    /// A segment was removed, for each of its events is done.
    Removed {
        /// Which.
        file: String,
        /// Its length.
        bytes: u64,
    },
    /// Something does not succeed and is tried again.
    Failing {
        /// What.
        what: String,
        /// Why.
        error: String,
    },
    /// It did succeed.
    Recovered {
        /// What.
        what: String,
    },
    /// Bytes that cannot be read, and the events that are lost with them to the replay.
    Damaged {
        /// In words.
        line: String,
    },
    /// Segments are not those that were replayed.
    Replaced {
        /// In words.
        line: String,
    },
    /// Nothing moves, and why.
    Stuck {
        /// Why.
        why: String,
    },
    /// It moves again.
    Moving,
    /// So far.
    Done {
        /// The shard.
        shard: u32,
        /// Events of the chunk.
        events: u64,
        /// Bytes of files that are left to read.
        bytes_left: u64,
    },
}

/// The way to a replay that follows. Clone it freely.
#[derive(Clone)]
pub struct Handle {
    messages: mpsc::Sender<Message>,
    progress: Arc<Mutex<Vec<Progress>>>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Handle {
    /// A commit of a shard is durable. Never blocks.
    pub fn committed(&self, shard: u32, what: Committed) {
        // A replay that has ended needs no news.
        let _ = self.messages.send(Message::Committed(shard, what));
    }

    /// How each shard stands, in the order of [`Follow::shards`]. Takes a lock that is held for moments.
    pub fn progress(&self) -> Vec<Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it when the chunk that is out is done, or gives that up after `within`; returns when the cursors are
    /// written. What is left is replayed by the next start.
    pub fn stop(&self, within: Duration) {
        let _ = self.messages.send(Message::Stop(within));
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// Replays what shards spill, from where the cursors stand, until it is stopped. Cursors are read before it returns.
///
/// # Errors
/// When somebody else replays the directory, or threads cannot be started.
pub fn follow(settings: Follow, notice: impl FnMut(Notice) + Send + 'static) -> Result<Handle, String> {
    let Follow { dir, shards, target, name, hosting, remove } = settings;
    let lock = lock(&dir)?;
    let (messages, inbox) = mpsc::channel();
    let mut control = Control::new(dir.clone(), name, None, inbox, Box::new(notice));
    for start in shards {
        let cursor = Cursor::read(&dir.join(shard_dir(start.shard))).unwrap_or_else(|line| {
            control.tell(Notice::Replaced { line });
            None
        });
        let (mut place, kept) = cursor.map_or_else(Default::default, |cursor| (cursor.place, cursor.kept));
        if place.next > start.through + 1 {
            // Events beyond were replayed and are gone from the segments: their numbers will be given again.
            place = Place { offset: 0, chain: None, next: start.through + 1, ..place };
        }
        let bound = Bound::Through { segment: start.segment, seq: start.through };
        let reader = Reader::new(&dir, start.shard, Selection::default(), place, bound)?;
        control.add(Lane::new(reader, kept, Some((start.segment, start.through))));
    }
    control.remove = remove;
    control.start_engine(hosting, target.without_deadline(), None, &messages)?;
    let progress = control.progress();
    let thread = std::thread::Builder::new().name("replay".into()).spawn(move || {
        // How it ended was told as a notice.
        let _ = control.run();
        drop(lock);
    });
    let thread = thread.map_err(|error| format!("cannot start a thread for the replay: {error}"))?;
    Ok(Handle { messages, progress, thread: Arc::new(Mutex::new(Some(thread))) })
}

/// What a replay by hand is told.
pub struct Once {
    /// The directory.
    pub dir: PathBuf,
    /// Its shards, in the order in which they are gone through.
    pub shards: Vec<u32>,
    /// Which events.
    pub selection: Selection,
    /// Where they go.
    pub target: Target,
    /// What the cursors name it.
    pub name: String,
    /// What a cursor that is there is worth.
    pub cursors: Cursors,
    /// Events a second at most.
    pub rate: Option<u64>,
    /// Where the engine runs.
    pub hosting: Hosting,
}

/// What to make of cursors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursors {
    /// Go on from those of the same target, refuse others.
    Heed,
    /// Go on from them whatever target they name.
    Adopt,
    /// Begin anew.
    Ignore,
}

/// Tells a replay by hand to end. Clone it freely.
#[derive(Clone)]
pub struct Stopper(mpsc::Sender<Message>);

impl Stopper {
    /// Ends it when the chunk that is out is done, at most `within` later.
    pub fn stop(&self, within: Duration) {
        let _ = self.0.send(Message::Stop(within));
    }
}

/// A replay by hand, ready to run.
pub struct Ready {
    control: Control,
    stopper: Stopper,
    _lock: DirLock,
}

impl Ready {
    /// The way to end it early.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Bytes of files that it will go through.
    pub fn bytes(&self) -> u64 {
        self.control.bytes_left()
    }

    /// Replays to the end of what is there, or until it is stopped.
    ///
    /// # Errors
    /// When the engine ends by itself.
    pub fn run(self) -> Result<Summary, String> {
        self.control.run()
    }
}

/// Prepares a replay from where the cursors stand to the end of what is there.
///
/// # Errors
/// When somebody else replays the directory; when a cursor is unsound or names another target; when threads cannot
/// be started. Nothing is changed then.
pub fn once(settings: Once, notice: impl FnMut(Notice) + Send + 'static) -> Result<Ready, String> {
    let Once { dir, shards, selection, target, name, cursors, rate, hosting } = settings;
    let lock = lock(&dir)?;
    let (messages, inbox) = mpsc::channel();
    let mut control = Control::new(dir.clone(), name, selection.stream, inbox, Box::new(notice));
    for shard in shards {
        let (place, kept) = control.where_to_begin(shard, cursors)?;
        let reader = Reader::new(&dir, shard, selection, place, Bound::End)?;
        control.add(Lane::new(reader, kept, None));
    }
    control.rate = rate;
    let patience = target.patience();
    control.start_engine(hosting, target, Some(patience), &messages)?;
    Ok(Ready { control, stopper: Stopper(messages), _lock: lock })
}

fn lock(dir: &Path) -> Result<DirLock, String> {
    let path = dir.join(REPLAY_LOCK);
    match lock_file(&path) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(format!(
            "{} is being replayed already, by the server that spills there or by another command (it holds the lock \
             on {}): wait for it or stop it",
            dir.display(),
            path.display()
        )),
        Err(error) => Err(format!("cannot take the replay's lock: {error}")),
    }
}

/// Bytes that a replay to Kafka holds, from above: its arenas with their tables, two chunks, windows over files, the
/// engine's lists and the executor.
pub fn memory_bytes(plan: &KafkaPlan, executor_io_bytes: u64) -> u64 {
    let arenas = 4 * shard::host::ARENA_BYTES as u64;
    let tables = 2 * RecordArena::<Mapping>::table_bytes(&plan.arena()) as u64 + 2 * memory::FATES_BYTES;
    // An event beyond the bound, 16 bytes for each event, and 8 for those that are out.
    let chunks = 2 * (CHUNK_BYTES + (256 << 10) + 16 * CHUNK_EVENTS) as u64 + 8 * CHUNK_EVENTS as u64;
    let links = memory::links_max(u64::from(plan.brokers_max)) * memory::LINK_BYTES;
    let engine = memory::RECORDS_BYTES + memory::RING_BYTES + memory::METRICS_BYTES;
    arenas + tables + chunks + links + engine + memory::EXECUTOR_BYTES + executor_io_bytes + (1 << 20)
}

/// Sends what a feed tells into the control's inbox.
fn teller(messages: &mpsc::Sender<Message>) -> impl FnMut(Told) + Send + 'static {
    let messages = messages.clone();
    move |told| drop(messages.send(Message::Told(told)))
}

/// The feed of an engine that `messages` leads back from.
fn feed(patience: Option<Duration>, messages: &mpsc::Sender<Message>) -> Feed {
    Feed::new(patience, teller(messages))
}
