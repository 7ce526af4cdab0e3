//! What must hold, held against the logs and nothing else.
use super::cluster::{Cluster, Log};
use crate::kafka::producer::{Outcome, Stamp};
use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::vec::Vec;

/// What was said of a batch; `None`: nothing yet.
#[derive(Clone, Debug)]
pub struct Told {
    pub topic: usize,
    pub part: usize,
    pub first: u64,
    pub records: u32,
    pub submitted_ns: u64,
    pub deadline_ns: u64,
    pub stamp: Option<Stamp>,
    pub attempts: u32,
    pub outcome: Option<Outcome>,
}

fn records(log: &Log) -> impl Iterator<Item = (u64, Stamp)> + '_ {
    log.entries.iter().flat_map(|entry| (0..entry.records).map(|n| (entry.first + u64::from(n), entry.stamp)))
}

/// A, C: every record is in as many logs, and as often, as was said. B: in the order of their submission.
pub fn check(cluster: &Cluster, told: &[Told]) -> Result<(), String> {
    let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
    let live = cluster.topics.iter().flat_map(|topic| topic.parts.iter().map(|part| &part.log));
    let logs: Vec<&Log> = live.chain(cluster.buried.iter().map(|(_, _, log)| log)).collect();
    for log in &logs {
        records(log).for_each(|(id, _)| *seen.entry(id).or_default() += 1);
    }
    let mut surely = BTreeMap::new();
    for batch in told {
        for id in batch.first..batch.first + u64::from(batch.records) {
            let times = seen.get(&id).copied().unwrap_or(0);
            let sound = match batch.outcome {
                Some(Outcome::Written { .. }) => times == 1,
                Some(Outcome::NotWritten(_) | Outcome::Refused { .. }) => times == 0,
                Some(Outcome::PossiblyWritten(_)) => times <= 1,
                // Its parts are batches of their own, with the same ids.
                Some(Outcome::Split { .. }) => true,
                None => return Err(format!("no outcome: {batch:?}")),
            };
            if !sound {
                return Err(format!("record {id} is there {times} times, but {batch:?}"));
            }
            surely.insert(id, matches!(batch.outcome, Some(Outcome::Written { .. })));
        }
    }
    for log in &logs {
        let all: Vec<_> = records(log).collect();
        for pair in all.windows(2) {
            let ((before, one), (after, other)) = (pair[0], pair[1]);
            // A late attempt under an id that was given up cannot be fenced; it was said to be possible.
            let late = one.producer_id != other.producer_id && !surely[&after];
            if after <= before && !late {
                return Err(format!("record {after} behind {before}: {one:?} {other:?}"));
            }
        }
        let sure: Vec<u64> = all.iter().map(|record| record.0).filter(|id| surely[id]).collect();
        if let Some(pair) = sure.windows(2).find(|pair| pair[1] <= pair[0]) {
            return Err(format!("written out of order: {pair:?}"));
        }
    }
    Ok(())
}
