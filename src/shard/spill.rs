//! The spill side of a shard: what its engine spilled is told to the replayer, and a change of mode to the log.
//!
//! It decides nothing: when to spill is the engine's to say, when all is replicated the replayer's.
use super::Core;
use crate::core::engine::{Mode, Waiting};
use crate::core::sink::Sink as _;
use crate::core::sink::segments::SegmentSink;
use crate::core::sink::spill::Spill;
use crate::core::sink::{NotReady, Resume};
use crate::log;
use crate::replay;
use std::time::Duration;

/// What a shard with a spill is given.
#[derive(Clone)]
pub struct Setup {
    /// Where it goes, for the log.
    pub place: String,
    /// For how long the sink must have taken nothing.
    pub after: Duration,
    /// Everything up to this event was replicated when the server started.
    pub through: u64,
    /// Who brings what was spilled to the sink.
    pub replayer: replay::Handle,
}

impl Setup {
    /// The engine's part.
    pub fn spill(&self, shard: u32, resume: &Resume) -> Spill {
        let after_ns = self.after.as_nanos() as u64;
        Spill { segments: SegmentSink::new(shard, resume), after_ns, through: self.through }
    }

    /// The shard's part.
    pub fn edge(self, shard: u32) -> Edge {
        Edge { setup: self, shard, mode: Mode::Direct }
    }
}

/// See the module.
pub struct Edge {
    setup: Setup,
    shard: u32,
    /// As it was logged.
    mode: Mode,
}

impl Edge {
    /// Once a wake, behind everything that was told to the engine.
    pub fn step(&mut self, core: &mut Core) {
        if let Some(spilled) = core.take_spilled() {
            let (segment, through) = (spilled.segment, spilled.through);
            let (bytes, time_ms) = (spilled.bytes, spilled.time_ms);
            let what = replay::Committed { segment, through, bytes, time_ms };
            self.setup.replayer.committed(self.shard, what);
        }
        match core.mode() {
            Some(Mode::Direct) if self.mode != Mode::Direct => {
                log::info!(
                    "shard {}: everything spilled is replicated; events go to the sink again",
                    self.shard
                );
                self.mode = Mode::Direct;
            }
            Some(Mode::Spilling) if self.mode == Mode::Direct => {
                self.mode = Mode::Spilling;
                let why = core.sink().ready().err().map(NotReady::reason);
                let why = why.unwrap_or("events of earlier are not replicated yet");
                log::warn!("shard {}: events go to {}: {why}", self.shard, self.setup.place);
            }
            _ => {}
        }
    }
}

/// What the replayer knows of one shard, in the engine's words.
pub fn waiting(progress: &replay::Progress) -> Waiting {
    Waiting {
        bytes: progress.waiting_bytes,
        oldest_ms: progress.oldest_ms.unwrap_or(0),
        replayed_events: progress.replayed_events,
        replayed_bytes: progress.replayed_bytes,
        refused_events: progress.refused_events,
    }
}
