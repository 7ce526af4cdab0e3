//! A shard without listeners that only replays: its engine is fed from segments instead of connections.
//!
//! It has what any shard has (sink, links, driver), on an executor that is not pinned to a core of its own.
use super::driver::{Bounds, Buffers, Edges, Hosted, Kind, Logic as _};
use super::{Beyond, Handle, Running, Shard, connections, driver, make, sink};
use crate::config::plan::Validator;
use crate::core::ack::Ack;
use crate::core::batch::policy::Policy;
use crate::core::engine::{Config, Timeouts};
use crate::log;
use crate::replay::chunk::CHUNK_EVENTS;
use crate::replay::feed::Feed;
use crate::sys::affinity;
use glommio::{LocalExecutorBuilder, Placement};
use std::io;

/// Bytes of each of the four blocks of its two batches: the events of a chunk, and what records add to them.
pub const ARENA_BYTES: usize = 6 << 20;
/// Bytes for events that were refused, of which there are none: a page.
const REFUSED_ARENA_BYTES: usize = 4096;
/// Receive buffers of a ring without connections.
const BUFFERS: Buffers = Buffers { count: 2, bytes: 4096 };

/// Where and how it runs.
#[derive(Clone, Debug)]
pub struct Hosting {
    /// Cores that it may run on; empty: any.
    pub cores: Vec<usize>,
    /// How its sockets are driven.
    pub driver: Kind,
    /// I/O memory of its executor.
    pub executor_io_bytes: usize,
}

/// Starts it. `ended` is told how it ended, for whatever reason.
///
/// # Errors
/// When the mailbox or the executor cannot be made.
pub fn start(
    hosting: Hosting,
    beyond: Beyond,
    feed: Feed,
    ended: impl FnOnce(Result<(), String>) + Send + 'static,
) -> io::Result<Running> {
    let (sender, mailbox) = driver::mailbox::<Shard>()?;
    let mail = sender.clone();
    let thread = LocalExecutorBuilder::new(Placement::Unbound)
        .name("replay-engine")
        .io_memory(hosting.executor_io_bytes)
        .spawn(move || async move {
            if !hosting.cores.is_empty()
                && let Err(error) = affinity::pin(&hosting.cores)
            {
                log::warn!("cannot move the replay to cores {:?}: {error}", hosting.cores);
            }
            let run = async {
                let beyond = Some(beyond);
                let core = make(config(), sink(0, &None, &beyond, &None)?, Validator::Exact)?;
                let edge = beyond.map(|beyond| connections(beyond, &core, mail)).transpose()?;
                let shard = Shard { core, edge, spill: None, feed: Some(Box::new(feed)), neighbours: None };
                let bounds = Bounds { connections_max: 0, buffers: BUFFERS, poll: false };
                let requests = Box::new(|_| {});
                let edges =
                    Edges { listeners: Vec::new(), mailbox, requests, hosted: Hosted::default(), bounds };
                driver::drive(hosting.driver, shard, edges).await.map(|mut shard| {
                    shard.core.close();
                    while shard.next_request().is_some() {}
                })
            };
            let result = run.await;
            ended(result.as_ref().copied().map_err(ToString::to_string));
            result
        })
        .map_err(|error| io::Error::other(format!("cannot start the executor of the replay: {error}")))?;
    Ok(Running { handle: Handle { sender }, thread })
}

/// No connection, no quarantine; commits as large as they get, at once; and nothing is ever shed, for whoever feeds it
/// knows better when to give up.
fn config() -> Config {
    Config {
        shard: 0,
        connections_max: 0,
        body_budget_bytes: 0,
        batch_arena_bytes: ARENA_BYTES,
        refused_arena_bytes: REFUSED_ARENA_BYTES,
        ack: Ack::Replicated,
        policy: Policy { bytes_max: ARENA_BYTES, events_max: CHUNK_EVENTS as u32, linger_ns: 0 },
        lines_replies: false,
        shed_after_ns: u64::MAX,
        quarantine_first: None,
        timeouts: Timeouts::default(),
    }
}
