//! Every metric that a server may expose, as the exposition itself writes it: what `docs/metrics.md` is made of.
use super::exposition::{Answer, Process, write};
use super::{Kafka, ShardSnapshot};
use alloc::string::String;
use alloc::vec::Vec;

/// One metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// Its labels in order, separated by commas; without those of a histogram's buckets.
    pub labels: String,
    /// Which servers have it: `all`, or those with `kafka`, `http`, `spill`, or several `shards`.
    pub with: &'static str,
    /// What it counts.
    pub help: String,
}

/// All of them, those that every server has first, each part in the order of the exposition.
pub fn families() -> Vec<Family> {
    let mut found: Vec<Family> = Vec::new();
    for with in ["all", "kafka", "http", "spill", "shards"] {
        for family in exposed(with) {
            if !found.iter().any(|known| known.name == family.name) {
                found.push(family);
            }
        }
    }
    found
}

/// What a server of that kind exposes when it has something to say everywhere.
fn exposed(with: &'static str) -> Vec<Family> {
    let mut snapshot = ShardSnapshot { ready: Ok(()), ..ShardSnapshot::new() };
    let metrics = &mut snapshot.metrics;
    metrics.counters.requests.count(200);
    match with {
        "kafka" => metrics.kafka = Kafka::exemplary(),
        "http" => metrics.http.used = true,
        "spill" => metrics.spill.used = true,
        "shards" => {
            metrics.balance.used = true;
            metrics.balance.hand_over(1);
        }
        _ => {}
    }
    let process = Process { rss_bytes: Some(1), ..Process::default() };
    let mut text = String::new();
    write(&mut text, &process, &[Answer { shard: 0, snapshot: Some(&snapshot) }]);
    read(&text, with)
}

/// The families of a text of the exposition.
pub fn read(text: &str, with: &'static str) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            let (name, help) = (name.into(), help.into());
            families.push(Family { name, kind: String::new(), labels: String::new(), with, help });
        } else if let Some(family) = families.last_mut() {
            if let Some((_, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
                family.kind = kind.into();
            } else if family.labels.is_empty() {
                family.labels = labels(line);
            }
        }
    }
    families
}

fn labels(sample: &str) -> String {
    let inside =
        sample.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(inside, _)| inside);
    let names = inside.split(',').filter_map(|label| label.split_once('=')).map(|(name, _)| name);
    names.filter(|name| *name != "le").collect::<Vec<_>>().join(", ")
}
