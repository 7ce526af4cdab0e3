//! A thread that sends what a plan says, and writes down what came of it.
//!
//! ```text
//!  plan ─▶ queue ─▶ offer ─▶ connections ─▶ one send each ─▶ enter ─▶ server
//!                              ▲   │                           │
//!                              │   └─ flight: awaited answers  │
//!                    dial, TLS ┘            │                  ▼
//!  main ◀── a recorder a second ◀── tally ◀─┴── reader ◀── receive
//! ```
//!
//! One thread has one ring, its own connections and its own part of the plan; threads share nothing but the moment
//! at which they [begin](Start). A request that is due waits until a connection has room; its latency counts from
//! when it was due. With a core to itself the thread spins, and then no system call is made between requests;
//! otherwise it sleeps until something is due.
//!
//! The loop allocates nothing and keeps nothing of a request that has ended, except over TLS and while a connection
//! is made anew. It decides nothing about the figures.
//!
//! Enter at [`spawn`]; the loop is in `drive.rs`.

mod conn;
mod dial;
mod drive;
mod offer;
mod queue;
mod reader;
mod schedule;
mod start;
mod take;
mod tally;
mod tls;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

pub use start::Start;

use crate::core::load::payload::Corpus;
use crate::core::load::plan::Arrivals;
use crate::core::load::reconcile::Acked;
use crate::core::load::series::Recorder;
use crate::load::probe::Sampler;
use crate::load::target::Target;
use crate::sys::limits::{self, Resource};
use crate::sys::{affinity, ring};

/// Descriptors that a run needs beside its connections: rings, logs, standard streams, the probe's files.
const DESCRIPTORS_BESIDE: u64 = 64;

/// What one thread is to do.
#[derive(Debug)]
pub struct Job {
    /// Number of the thread, from 0.
    pub thread: u32,
    /// The server.
    pub target: Target,
    /// Connections of this thread, at least one.
    pub connections: u32,
    /// Requests in flight on a connection, at least one.
    pub pipeline: u32,
    /// How long an answer may take after its request was sent.
    pub timeout_ns: u64,
    /// When requests are due, counted from the beginning of the warm-up. None for a closed loop: each connection
    /// sends as soon as it has room.
    pub arrivals: Option<Arrivals>,
    /// What is measured, after the warm-up.
    pub duration_ns: u64,
    /// Requests due before this are sent and not recorded.
    pub warmup_ns: u64,
    /// What is sent.
    pub corpus: Corpus,
    /// Draws among the requests.
    pub seed: u64,
    /// Where all threads of the run meet.
    pub start: Arc<Start>,
    /// The core to run on.
    pub core: Option<usize>,
    /// Whether that core is this thread's alone, so that it may spin.
    pub spin: bool,
    /// Where a spinning thread tells what came between its turns.
    pub sampler: Option<Arc<Sampler>>,
    /// Payload classes, as recorders count them.
    pub classes: usize,
    /// Where the identifiers of acknowledged events are noted, for `--verify`.
    pub verify: Option<Acked>,
}

/// What a thread tells the main thread.
#[derive(Debug)]
pub enum Message {
    /// A second has passed.
    Tick(Tick),
    /// The run is over; no message of this thread follows.
    Ended(Ended),
    /// The thread could not begin, or its ring failed; no message of this thread follows.
    Failed {
        /// Which thread.
        thread: u32,
        /// A sentence for the user.
        error: String,
    },
}

/// One second, or what is left at the end.
#[derive(Debug)]
pub struct Tick {
    /// Which thread.
    pub thread: u32,
    /// Which second, from 0: of the warm-up, or of what is measured.
    pub second: u32,
    /// Seconds that the recorder holds, this one the last of them: more than one when no empty recorder came back.
    pub seconds: u32,
    /// Whether it belongs to the warm-up. Its recorder is empty then.
    pub warmup: bool,
    /// What was recorded. To be cleared and sent back by [`Running::recycle`].
    pub recorder: Box<Recorder>,
    /// Requests in flight at its end.
    pub in_flight: u32,
    /// Requests due and not sent at its end.
    pub queued: u64,
    /// Part of the second in which the thread had something to do, 0 to 1. One that never waits cannot do more.
    pub busy_share: f32,
}

/// How a thread's run went.
#[derive(Debug)]
pub struct Ended {
    /// Which thread.
    pub thread: u32,
    /// Whether it was stopped before its time.
    pub stopped: bool,
    /// Connections made.
    pub connects: u64,
    /// Attempts that failed.
    pub connect_failures: u64,
    /// Connections that the server closed or that broke while nothing of the kind was expected.
    pub lost: u64,
    /// Replies that came without a request.
    pub unsolicited: u64,
    /// Why the last attempt to connect failed, if one did.
    pub last_failure: Option<String>,
    /// As it was given, with what was acknowledged.
    pub verify: Option<Acked>,
}

/// A thread at work.
#[derive(Debug)]
pub struct Running {
    back: Sender<Box<Recorder>>,
    stop: Arc<AtomicBool>,
    handle: JoinHandle<()>,
}

impl Running {
    /// Gives an emptied recorder back for a later second.
    pub fn recycle(&self, recorder: Box<Recorder>) {
        // A thread that has ended needs none.
        let _ = self.back.send(recorder);
    }

    /// Ends the run early, as if its time were over; takes effect within a tenth of a second.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for the thread, which has sent its last message then.
    pub fn join(self) {
        // It cannot have panicked: a panic ends the process.
        let _ = self.handle.join();
    }
}

/// Starts a thread. What goes wrong there is told as [`Message::Failed`].
///
/// # Errors
/// When there can be no thread.
pub fn spawn(job: Job, ticks: Sender<Message>) -> io::Result<Running> {
    let (back, from_main) = channel();
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = stop.clone();
    let name = format!("load-{}", job.thread);
    let handle = std::thread::Builder::new().name(name).spawn(move || {
        let (thread, start) = (job.thread, job.start.clone());
        let told = match drive::run(job, stopping, ticks.clone(), from_main) {
            Ok(ended) => Message::Ended(ended),
            Err(error) => {
                start.abandon();
                Message::Failed { thread, error }
            }
        };
        let _ = ticks.send(told);
    })?;
    Ok(Running { back, stop, handle })
}

/// What must hold before a thread makes its first connection.
fn prepare(job: &Job) -> Result<(), String> {
    if let Some(core) = job.core {
        affinity::pin(&[core]).map_err(|error| {
            format!("thread {} cannot run on core {core}: {error}; name other cores with --cores", job.thread)
        })?;
    }
    ring::uring_support()?;
    let limit =
        limits::raise(Resource::Files).map_err(|error| format!("the limit of open files: {error}"))?;
    let needed = u64::from(job.connections) + DESCRIPTORS_BESIDE;
    if limit < needed {
        return Err(descriptors(job.connections, limit));
    }
    Ok(())
}

fn descriptors(connections: u32, limit: u64) -> String {
    format!(
        "{connections} connections need {} file descriptors, but this process may open only {limit}: raise the \
         limit (`ulimit -n`, LimitNOFILE=) or lower --connections",
        u64::from(connections) + DESCRIPTORS_BESIDE
    )
}
