//! A shard's whole logic in virtual time: clients that misbehave, a device that fails, a housekeeper that dawdles.
//!
//! Everything follows from one seed. `RINGMILL_SEED=n` runs that one alone, `RINGMILL_SEEDS=n` runs that many.
//! What the shard does is held against what an independent model of clients and device knows.
#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/device.rs"]
mod device;
#[path = "simulation/world.rs"]
mod world;

use world::{Rng, World};

/// Seeds of an ordinary run.
const SEEDS: u64 = 3000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn whatever_happens_replies_are_true_and_nothing_leaks() {
    let seeds = match number("RINGMILL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RINGMILL_SEEDS").unwrap_or(SEEDS),
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let seeds = seeds.clone();
            scope.spawn(move || {
                for seed in seeds.filter(|seed| seed % threads == thread) {
                    let told = Told(seed);
                    World::new(Rng::new(seed)).run();
                    std::mem::forget(told);
                }
            });
        }
    });
}

/// Says which seed it was when a run panics; tests abort on panic, so it must be said by the hook.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        eprintln!("RINGMILL_SEED={}", self.0);
    }
}
