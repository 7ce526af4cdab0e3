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
    pub deadline_ns: u64,
    pub stamp: Option<Stamp>,
    pub attempts: u32,
    pub outcome: Option<Outcome>,
}

fn records(log: &Log) -> impl Iterator<Item = (u64, Stamp)> + '_ {
    log.entries.iter().flat_map(|entry| (0..entry.records).map(|n| (entry.first + u64::from(n), entry.stamp)))
}

/// A, C: every record is in as many logs, and as often, as was said. B: in the order of their submission.
///
/// Where brokers know topics by name alone (`by_id` false), a batch that was sent again may lie in a topic that was
/// deleted and in the one made anew under its name: no reader sees both.
pub fn check(cluster: &Cluster, told: &[Told], by_id: bool) -> Result<(), String> {
    let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
    let live = cluster.topics.iter().flat_map(|topic| topic.parts.iter().map(|part| &part.log));
    let logs: Vec<&Log> = live.chain(cluster.buried.iter().map(|(_, _, log)| log)).collect();
    for log in &logs {
        let mut ids: Vec<u64> = records(log).map(|record| record.0).collect();
        ids.sort_unstable();
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("record {} is twice in one log", pair[0]));
        }
        ids.into_iter().for_each(|id| *seen.entry(id).or_default() += 1);
    }
    let mut surely = BTreeMap::new();
    for batch in told {
        for id in batch.first..batch.first + u64::from(batch.records) {
            let times = seen.get(&id).copied().unwrap_or(0);
            let sound = match batch.outcome {
                Some(Outcome::Written { .. }) => times == 1 || (times > 1 && !by_id),
                Some(Outcome::NotWritten(_) | Outcome::Refused { .. }) => times == 0,
                Some(Outcome::PossiblyWritten(_)) => times <= 1 || !by_id,
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
            // A late attempt under an id that was given up cannot be fenced; it was said to be possible, or was
            // written to the topic deleted meanwhile.
            let late = one.producer_id != other.producer_id && (!surely[&after] || !by_id);
            if after <= before && !late {
                return Err(format!("record {after} behind {before}: {one:?} {other:?}"));
            }
        }
    }
    Ok(())
}
