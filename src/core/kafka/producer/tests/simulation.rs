//! Ten thousand lives of a producer among brokers that fail, each from one seed; and mistakes that must show.
//!
//! `RINGMILL_SEED=n` runs that one alone, `RINGMILL_SEEDS=n` so many.
use super::world::World;
use crate::kafka::producer::Outcome;
use crate::kafka::producer::mutant::Mutant;
use std::collections::BTreeMap;
use std::string::String;
use std::sync::Mutex;
use std::vec::Vec;
use std::{format, println};

/// How often each outcome was given.
type Tally = BTreeMap<String, u64>;

/// Schedules of an ordinary run.
const SEEDS: u64 = 10_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// One life; a panic is as good a failure as any. Adds what was said to `tally`.
fn run(seed: u64, mutant: Option<Mutant>, tally: &mut Tally) -> Result<(), String> {
    let life = std::panic::catch_unwind(|| {
        let mut world = World::new(seed, mutant);
        let end = world.run();
        (end, world.outcomes().collect::<Vec<_>>())
    });
    let Ok((end, outcomes)) = life else { return Err("panicked".into()) };
    for outcome in outcomes {
        let kind = match outcome {
            Outcome::Written { .. } => "written".into(),
            Outcome::NotWritten(reason) => format!("not written, {:?}", reason.why),
            Outcome::PossiblyWritten(reason) => format!("possibly written, {:?}", reason.why),
            Outcome::Split { .. } => "split".into(),
            Outcome::Refused { reason, .. } => format!("refused, {:?}", reason.why),
        };
        *tally.entry(kind).or_default() += 1;
    }
    end
}

#[test]
fn whatever_happens_every_batch_is_told_the_truth() {
    let seeds = match number("RINGMILL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RINGMILL_SEEDS").unwrap_or(SEEDS),
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let failures: Mutex<(Vec<(u64, String)>, Tally)> = Mutex::default();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (seeds, failures) = (seeds.clone(), &failures);
            scope.spawn(move || {
                let mut tally = Tally::new();
                for seed in seeds.filter(|seed| seed % threads == thread) {
                    if let Err(broken) = run(seed, None, &mut tally) {
                        failures.lock().expect("no panics").0.push((seed, broken));
                    }
                }
                let mut failures = failures.lock().expect("no panics");
                tally.into_iter().for_each(|(kind, times)| *failures.1.entry(kind).or_default() += times);
            });
        }
    });
    let (mut failures, tally) = failures.into_inner().expect("no panics");
    println!("{tally:#?}");
    failures.sort();
    let first = failures.first().map(|(seed, broken)| format!("RINGMILL_SEED={seed}: {broken}"));
    assert!(
        failures.is_empty(),
        "{} schedules failed, the first {}",
        failures.len(),
        first.unwrap_or_default()
    );
}

#[test]
fn mistakes_show() {
    let mut unseen = Vec::new();
    for &mutant in Mutant::ALL {
        match (0..5000).find_map(|seed| Some((seed, run(seed, Some(mutant), &mut Tally::new()).err()?))) {
            Some((seed, broken)) => println!("{mutant:?} shows with seed {seed}: {broken}"),
            None => unseen.push(mutant),
        }
    }
    assert!(unseen.is_empty(), "not noticed: {unseen:?}");
}
