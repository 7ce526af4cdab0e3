//! Ten thousand lives of a producer among brokers that fail, each from one seed; and mistakes that must show.
//!
//! `RINGMILL_SEED=n` runs that one alone, `RINGMILL_SEEDS=n` so many.
use super::world::World;
use crate::kafka::producer::mutant::Mutant;
use std::string::String;
use std::sync::Mutex;
use std::vec::Vec;
use std::{format, println};

/// Schedules of an ordinary run.
const SEEDS: u64 = 10_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// One life; a panic is as good a failure as any.
fn run(seed: u64, mutant: Option<Mutant>) -> Result<(), String> {
    let life = std::panic::catch_unwind(|| World::new(seed, mutant).run());
    life.unwrap_or_else(|_| Err("panicked".into()))
}

#[test]
fn whatever_happens_every_batch_is_told_the_truth() {
    let seeds = match number("RINGMILL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RINGMILL_SEEDS").unwrap_or(SEEDS),
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let failures: Mutex<Vec<(u64, String)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (seeds, failures) = (seeds.clone(), &failures);
            scope.spawn(move || {
                for seed in seeds.filter(|seed| seed % threads == thread) {
                    if let Err(broken) = run(seed, None) {
                        failures.lock().expect("no panics").push((seed, broken));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("no panics");
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
    use Mutant::*;
    let all = [
        ReuseSequence,
        RestampOnRetry,
        RestampOthers,
        NotLeaderIsProof,
        LostIsProof,
        DuplicateIsRefusal,
        WrapNegative,
        ForgetVanished,
        IgnoreRecreation,
        SplitMaybe,
        ExpireAsNotWritten,
        BelieveStale,
        MissingIsWritten,
        IgnoreThrottle,
    ];
    let mut unseen = Vec::new();
    for mutant in all {
        match (0..5000).find_map(|seed| Some((seed, run(seed, Some(mutant)).err()?))) {
            Some((seed, broken)) => println!("{mutant:?} shows with seed {seed}: {broken}"),
            None => unseen.push(mutant),
        }
    }
    assert!(unseen.is_empty(), "not noticed: {unseen:?}");
}
