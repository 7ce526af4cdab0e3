//! Rates and times of the last seconds: what a look differs by from one before it.
//!
//! Nothing is asked for in the background. Each look that somebody takes is kept for the next ones, so whoever reads
//! once a second sees the last five; the first look has nothing to compare with. Figures of the shards and one sum of
//! their histograms are kept, at most six times.
use super::gather::Look;
use crate::core::metrics::{Counters, Metrics, Stages};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

/// Looks closer together than this are one.
const EVERY: Duration = Duration::from_millis(900);
/// What is older says nothing of now: two readers' intervals of the usual ten seconds.
const AGE_MAX: Duration = Duration::from_secs(20);
/// What is compared with is about so old if readers come often.
const WINDOW: Duration = Duration::from_secs(5);
const KEPT_MAX: usize = 6;

struct Past {
    asked: Instant,
    stages: Stages,
    /// By shard; `None`: it did not answer.
    shards: Vec<Option<Counters>>,
}

/// What happened between two looks.
pub(super) struct Since {
    pub window: Duration,
    /// Of all shards together; `None` when one of them answered only one of the two.
    pub stages: Option<Stages>,
    /// By shard: its counters now and then.
    pub shards: Vec<Option<(Counters, Counters)>>,
}

/// Looks of late, oldest first.
#[derive(Default)]
pub(super) struct Recent(Mutex<VecDeque<Past>>);

impl Recent {
    /// Compares a look, whose sum is `total`, with the one about five seconds before it, and keeps it.
    pub fn since(&self, look: &Look, total: &Metrics) -> Option<Since> {
        let mut kept = self.kept();
        let asked = look.asked();
        kept.retain(|past| asked.saturating_duration_since(past.asked) <= AGE_MAX);
        let age = |past: &Past| asked.saturating_duration_since(past.asked);
        let before = kept.iter().find(|past| age(past) <= WINDOW + EVERY / 2).or(kept.back());
        let before = before.filter(|past| age(past) >= EVERY);
        let shards: Vec<_> = look.numbered().map(|(_, s)| s.map(|s| s.metrics.counters)).collect();
        let since = before.map(|before| Since {
            window: age(before),
            stages: total.stages.since(&before.stages),
            shards: shards.iter().zip(&before.shards).map(|(now, then)| now.zip(*then)).collect(),
        });
        if kept.back().is_none_or(|last| asked.saturating_duration_since(last.asked) >= EVERY) {
            kept.push_back(Past { asked, stages: total.stages.clone(), shards });
            if kept.len() > KEPT_MAX {
                kept.pop_front();
            }
        }
        since
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Past>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
