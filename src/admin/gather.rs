//! Asking every shard at once, and what it means when one stays silent.
use crate::core::metrics::{Metrics, ShardSnapshot};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{Mutex, oneshot};

/// How long a shard may take to answer. A shard turns its loop in microseconds; one that needs a second has
/// stopped taking events, whatever the reason.
pub const ANSWER_MAX: Duration = Duration::from_secs(1);

/// The way to one shard. Several may call it at once.
pub trait ShardPort: Send + Sync {
    /// Passes the question on to the shard, without waiting. If the shard is gone or its mailbox full, drop
    /// the question: that counts as silence.
    fn ask(&self, ask: Ask);
}

/// A question to a shard, with the memory for the answer.
#[derive(Debug)]
pub struct Ask {
    into: Box<ShardSnapshot>,
    reply: oneshot::Sender<Box<ShardSnapshot>>,
}

impl Ask {
    /// A question, and where its answer arrives.
    pub fn new() -> (Ask, oneshot::Receiver<Box<ShardSnapshot>>) {
        let (reply, answer) = oneshot::channel();
        (Ask { into: Box::new(ShardSnapshot::new()), reply }, answer)
    }

    /// Called on the shard: copies its state in and sends it off. Neither waits nor allocates.
    pub fn answer(
        mut self,
        shard: u32,
        core: Option<u32>,
        ready: Result<(), &'static str>,
        metrics: &Metrics,
    ) {
        self.into.fill(shard, core, ready, metrics);
        // Whoever asked may have given up.
        let _ = self.reply.send(self.into);
    }
}

/// What all shards said, at one moment.
pub(super) struct Look {
    /// When the question went out.
    asked: Instant,
    answers: Vec<Option<Box<ShardSnapshot>>>,
}

impl Look {
    /// When the shards were asked.
    pub fn asked(&self) -> Instant {
        self.asked
    }

    /// Every shard's number and answer; `None` for a silent one.
    pub fn numbered(&self) -> impl ExactSizeIterator<Item = (u32, Option<&ShardSnapshot>)> {
        self.answers.iter().enumerate().map(|(shard, answer)| (shard as u32, answer.as_deref()))
    }

    /// The answers there are.
    pub fn answered(&self) -> impl Iterator<Item = &ShardSnapshot> {
        self.answers.iter().flatten().map(|answer| &**answer)
    }
}

/// The shards, asked one question at a time.
pub(super) struct Shards {
    ports: Vec<Box<dyn ShardPort>>,
    last: Mutex<Option<Arc<Look>>>,
}

impl Shards {
    pub fn new(ports: Vec<Box<dyn ShardPort>>) -> Shards {
        Shards { ports, last: Mutex::new(None) }
    }

    /// The state of all shards, no older than this call.
    pub async fn look(&self) -> Arc<Look> {
        let called = Instant::now();
        let mut last = self.last.lock().await;
        if let Some(look) = last.as_ref().filter(|look| look.asked >= called) {
            return look.clone();
        }
        let look = Arc::new(self.ask_all().await);
        *last = Some(look.clone());
        look
    }

    async fn ask_all(&self) -> Look {
        let asked = Instant::now();
        let pending: Vec<_> = self
            .ports
            .iter()
            .map(|port| {
                let (ask, answer) = Ask::new();
                port.ask(ask);
                answer
            })
            .collect();
        let deadline = tokio::time::Instant::from_std(asked + ANSWER_MAX);
        let mut answers = Vec::with_capacity(pending.len());
        for answer in pending {
            // An answer that is there is taken even when another's silence used up the time.
            answers.push(tokio::time::timeout_at(deadline, answer).await.ok().and_then(Result::ok));
        }
        Look { asked, answers }
    }
}
