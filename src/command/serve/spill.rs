//! A server with a spill: the replayer beside the shards, and what each of them is given for it.
use super::pin_aside;
use crate::config::plan::{Driver, Plan};
use crate::core::engine::Waiting;
use crate::log;
use crate::replay::{self, Follow, Hosting, Notice, Progress, Start, Target};
use crate::shard::driver::Kind;
use crate::shard::{Beyond, Handle, spill};
use crate::sink::store::Store;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long the events that are on their way may take when the server stops. What is given up then may be in Kafka
/// and is replayed once more by the next start.
pub const STOP_WITHIN: Duration = Duration::from_secs(2);

/// Starts the replayer, if there is a spill. Notices that concern a shard go to it through `handles`.
///
/// # Errors
/// When somebody else replays the directory, or there is no thread for it.
pub fn start(
    plan: &Plan,
    store: Option<&Store>,
    beyond: Option<&Beyond>,
    handles: Arc<OnceLock<Vec<Handle>>>,
) -> Result<Option<replay::Handle>, String> {
    let (Some(spill), Some(store), Some(Beyond::Kafka(kafka))) = (&plan.spill, store, beyond) else {
        return Ok(None);
    };
    let shards = store.shards.iter().chain(&store.idle).map(|open| Start {
        shard: open.shard,
        segment: open.resume.next_segment.saturating_sub(1),
        through: open.resume.next_seq - 1,
    });
    let driver = match plan.driver {
        Driver::Uring => Kind::Uring,
        Driver::Glommio => Kind::Glommio,
    };
    let cores = plan.cores.housekeeping.clone();
    let settings = Follow {
        dir: spill.dir.clone(),
        shards: shards.collect(),
        target: Target::Kafka(Box::new(kafka.clone())),
        name: plan.sink.to_string(),
        hosting: Hosting { cores, driver, executor_io_bytes: plan.executor_io_bytes as usize },
        remove: true,
    };
    let mut pin = Some(pin_aside(plan.cores.housekeeping.clone()));
    let notice = move |notice| {
        if let Some(pin) = pin.take() {
            pin();
        }
        tell(&handles, notice);
    };
    replay::follow(settings, notice).map(Some)
}

/// Passes a notice on: to its shard, or to the log.
fn tell(handles: &OnceLock<Vec<Handle>>, notice: Notice) {
    match notice {
        Notice::Replicated { shard, through } => {
            // Of an earlier run with more shards there are folders that no shard of this one has.
            if let Some(handle) = handles.wait().get(shard as usize) {
                handle.ask(move |shard| shard.replicated(through));
            }
        }
        Notice::Refused { shard, seq, stream, why } => {
            log::warn!(
                "spill: Kafka refuses event {seq} of shard {shard}, stream {stream}, kept aside: {why}"
            );
        }
        Notice::Removed { file, bytes } => {
            log::debug!("spill: {file} is replayed and removed ({bytes} bytes)")
        }
        Notice::Failing { what, error } => log::warn!("spill: cannot {what}: {error}; it is tried again"),
        Notice::Recovered { what } => log::info!("spill: could {what} again"),
        Notice::Damaged { line } | Notice::Replaced { line } => log::error!("spill: {line}"),
        Notice::Stuck { why } => log::warn!("spill: nothing can be replayed: {why}"),
        Notice::Moving => log::info!("spill: events are replayed again"),
        Notice::Done { .. } => {}
    }
}

/// What each shard is given, in order.
pub fn setups(plan: &Plan, replayer: &replay::Handle) -> Vec<spill::Setup> {
    let Some(spill) = &plan.spill else { return Vec::new() };
    let progress = replayer.progress();
    let setup = |progress: &Progress| spill::Setup {
        place: spill.to_string(),
        after: spill.after,
        through: progress.through,
        replayer: replayer.clone(),
    };
    progress.iter().take(plan.cores.shards.len()).map(setup).collect()
}

/// What the replayer knows of a shard.
pub fn waiting(replayer: &replay::Handle, shard: u32) -> Option<Waiting> {
    let progress = replayer.progress();
    progress.iter().find(|progress| progress.shard == shard).map(spill::waiting)
}
