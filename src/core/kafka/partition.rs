//! Which partition an event goes to.
//!
//! - With a key: murmur2 of it, as every client of Kafka in Java does, so that others find the same partition.
//!   It goes there whether or not that partition has a leader: order by key is worth the wait.
//! - Without a key: to one partition until enough bytes went there, then to another one at random (KIP-794).
//!   Switching by bytes and not by batch is what keeps a slow broker from getting the most. Or in turn.
//! - Or all to one partition that the user named.
//!
//! It does not know brokers or batches: the caller says how fit each partition is now.
use fastrand::Rng;

/// Kafka's murmur2 of `key`: the 32-bit MurmurHash2 with its seed.
pub fn murmur2(key: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let mut hash = SEED ^ key.len() as u32;
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of `key` among `partitions`, which is at least 1.
pub fn keyed(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions
}

/// How events without a key are spread over one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Byte-counted stickiness: another partition after this many bytes (at least 1).
    Sticky {
        /// Bytes of events for one partition before the next is chosen.
        bytes: u64,
    },
    /// The next usable partition with each event.
    RoundRobin,
    /// All events, those with a key too, to this one.
    Explicit(u32),
}

/// How fit a partition is for the next event without a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fitness {
    /// It has no leader that can be reached.
    Unusable,
    /// It has one, but its batch is full: another one would wait behind it.
    Full,
    /// It has one, and room.
    Fit,
    /// It has nothing of this commit yet: what goes there now lies in one piece.
    Empty,
}

/// Chooses partitions of one topic.
#[derive(Debug)]
pub struct Partitioner {
    spread: Spread,
    current: Option<u32>,
    /// Bytes that went to the current one.
    bytes: u64,
    /// Nothing was usable when the current one was chosen, so that it is not does not count against it.
    blind: bool,
    random: Rng,
}

impl Partitioner {
    /// One that spreads as told; `seed` decides which partitions stickiness chooses.
    pub fn new(spread: Spread, seed: u64) -> Partitioner {
        Partitioner { spread, current: None, bytes: 0, blind: false, random: Rng::with_seed(seed) }
    }

    /// The partition of an event of `bytes` bytes among `partitions`, the fitter before others (only events
    /// without a key choose).
    ///
    /// `None` when the topic has no partitions, or not the one that the user named.
    pub fn choose(
        &mut self,
        key: Option<&[u8]>,
        bytes: usize,
        partitions: u32,
        fitness: impl Fn(u32) -> Fitness,
    ) -> Option<u32> {
        if partitions == 0 {
            return None;
        }
        match (self.spread, key) {
            (Spread::Explicit(partition), _) => (partition < partitions).then_some(partition),
            (_, Some(key)) => Some(keyed(key, partitions)),
            (Spread::RoundRobin, None) => Some(self.turn(partitions, fitness)),
            (Spread::Sticky { bytes: most }, None) => Some(self.stick(bytes, most, partitions, fitness)),
        }
    }

    fn turn(&mut self, partitions: u32, fitness: impl Fn(u32) -> Fitness) -> u32 {
        let next = self.current.map_or(0, |current| (current + 1) % partitions);
        // In turn, whatever a commit has of them already.
        let chosen = best(next, partitions, &|partition| fitness(partition).min(Fitness::Fit));
        self.current = Some(chosen);
        chosen
    }

    fn stick(&mut self, bytes: usize, most: u64, partitions: u32, fitness: impl Fn(u32) -> Fitness) -> u32 {
        let fit = |at: u32| self.blind || fitness(at) >= Fitness::Fit;
        let stays = |at: &u32| self.bytes < most && *at < partitions && fit(*at);
        let chosen = match self.current.filter(stays) {
            Some(current) => current,
            None => {
                let drawn = self.draw(partitions, &fitness);
                self.blind = fitness(drawn) == Fitness::Unusable;
                self.bytes = 0;
                drawn
            }
        };
        self.current = Some(chosen);
        self.bytes = self.bytes.saturating_add(bytes as u64);
        chosen
    }

    /// One of the fittest at random, another than the current one if there is another.
    fn draw(&mut self, partitions: u32, fitness: &impl Fn(u32) -> Fitness) -> u32 {
        let current = self.current;
        let fresh = |partition: u32| match Some(partition) == current {
            true => Fitness::Unusable,
            false => fitness(partition),
        };
        for wanted in [Fitness::Empty, Fitness::Fit] {
            // With few holes one of these hits; all partitions alike. The scan behind is for many holes.
            for _ in 0..DRAWS {
                let drawn = self.random.u32(..partitions);
                if fresh(drawn) == wanted {
                    return drawn;
                }
            }
            let mut round = round(self.random.u32(..partitions), partitions);
            if let Some(found) = round.find(|partition| fresh(*partition) == wanted) {
                return found;
            }
        }
        let drawn = best(self.random.u32(..partitions), partitions, &fresh);
        match current {
            Some(current) if current < partitions && fitness(current) > fresh(drawn) => current,
            _ => drawn,
        }
    }
}

/// Random tries before a scan.
const DRAWS: usize = 8;

/// All partitions from `start` on, round the end.
fn round(start: u32, partitions: u32) -> impl Iterator<Item = u32> {
    (start..partitions).chain(0..start)
}

/// The first of the fittest partitions from `start` on, round the end; `start` if none is usable.
fn best(start: u32, partitions: u32, fitness: &impl Fn(u32) -> Fitness) -> u32 {
    let first = |wanted| round(start, partitions).find(|partition| fitness(*partition) == wanted);
    first(Fitness::Fit).or_else(|| first(Fitness::Full)).unwrap_or(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn fitness(usable: bool) -> Fitness {
        if usable { Fitness::Fit } else { Fitness::Unusable }
    }

    #[test]
    fn those_without_anything_come_first() {
        for seed in 0..50 {
            let mut partitioner = Partitioner::new(Spread::Sticky { bytes: 1 }, seed);
            let (mut taken, mut order) = ([false; 20], Vec::new());
            for _ in 0..30 {
                let fitness = |n: u32| match (n, taken[n as usize]) {
                    (7, _) => Fitness::Unusable,
                    (_, true) => Fitness::Fit,
                    (_, false) => Fitness::Empty,
                };
                let at = partitioner.choose(None, 1, 20, fitness).unwrap();
                taken[at as usize] = true;
                order.push(at);
            }
            let mut first = order[..19].to_vec();
            first.sort_unstable();
            first.dedup();
            assert_eq!(first.len(), 19, "each usable one before any comes again: {order:?}");
            assert!(!order.contains(&7) && order.windows(2).all(|pair| pair[0] != pair[1]), "{order:?}");
        }
        let mut round = Partitioner::new(Spread::RoundRobin, 9);
        let empty = |n| if n == 2 { Fitness::Empty } else { Fitness::Fit };
        assert_eq!([(); 4].map(|()| round.choose(None, 1, 3, empty).unwrap()), [0, 1, 2, 0]);
    }

    fn choices(partitioner: &mut Partitioner, events: usize, bytes: usize, usable: &[bool]) -> Vec<u32> {
        let choose = |_| {
            partitioner
                .choose(None, bytes, usable.len() as u32, |partition| fitness(usable[partition as usize]))
                .unwrap()
        };
        (0..events).map(choose).collect()
    }

    #[test]
    fn keys_go_where_they_go_leader_or_not() {
        for spread in [Spread::Sticky { bytes: 1000 }, Spread::RoundRobin] {
            let mut partitioner = Partitioner::new(spread, 1);
            // murmur2("21") is -973932308; Java takes its low 31 bits.
            assert_eq!(
                partitioner.choose(Some(b"21"), 10, 1000, |_| Fitness::Unusable),
                Some((-973_932_308i32 as u32 & 0x7fff_ffff) % 1000)
            );
            assert_eq!(partitioner.choose(Some(b"21"), 10, 1, |_| Fitness::Fit), Some(0));
            assert_eq!(partitioner.choose(Some(b""), 10, 0, |_| Fitness::Fit), None);
        }
    }

    #[test]
    fn stickiness_counts_bytes() {
        let mut partitioner = Partitioner::new(Spread::Sticky { bytes: 1000 }, 3);
        let chosen = choices(&mut partitioner, 3000, 300, &[true; 6]);
        let runs: Vec<usize> = chosen.chunk_by(|a, b| a == b).map(<[u32]>::len).collect();
        assert!(runs.iter().all(|run| *run == 4), "1000 bytes are reached by the fourth: {runs:?}");
        for partition in 0..6 {
            let share = chosen.iter().filter(|chosen| **chosen == partition).count();
            assert!((350..650).contains(&share), "{share} of 3000 for {partition}");
        }
    }

    #[test]
    fn the_leaderless_are_passed_over_while_there_are_others() {
        for spread in [Spread::Sticky { bytes: 100 }, Spread::RoundRobin] {
            for only in 0..40 {
                let mut usable = [false; 40];
                usable[only] = true;
                let chosen = choices(&mut Partitioner::new(spread, 5), 20, 60, &usable);
                assert!(chosen.iter().all(|chosen| *chosen == only as u32), "{spread:?} {only}: {chosen:?}");
            }
        }
        // Losing its leader, the current one is left before its bytes are reached.
        let mut partitioner = Partitioner::new(Spread::Sticky { bytes: 1 << 30 }, 5);
        let first = choices(&mut partitioner, 1, 1, &[true; 2])[0];
        let mut usable = [true; 2];
        usable[first as usize] = false;
        assert_eq!(choices(&mut partitioner, 1, 1, &usable), [1 - first]);
    }

    #[test]
    fn a_full_batch_is_left_at_once_unless_all_are_full() {
        for spread in [Spread::Sticky { bytes: 1000 }, Spread::RoundRobin] {
            let mut partitioner = Partitioner::new(spread, 3);
            let mut choose = |of: [Fitness; 4]| {
                partitioner.choose(None, 10, 4, |partition| of[partition as usize]).unwrap() as usize
            };
            for _ in 0..50 {
                let first = choose([Fitness::Fit; 4]);
                let mut of = [Fitness::Fit; 4];
                of[first] = Fitness::Full;
                assert_ne!(choose(of), first);
                // Full before unusable, wherever they are.
                let mut of = [Fitness::Unusable; 4];
                of[(first + 2) % 4] = Fitness::Full;
                assert_eq!(choose(of), (first + 2) % 4);
                of[first] = Fitness::Fit;
                assert_eq!(choose(of), first);
            }
        }
    }

    #[test]
    fn without_any_leader_events_still_have_somewhere_to_wait() {
        let mut partitioner = Partitioner::new(Spread::Sticky { bytes: 1000 }, 9);
        let chosen = choices(&mut partitioner, 400, 100, &[false; 5]);
        let runs: Vec<usize> = chosen.chunk_by(|a, b| a == b).map(<[u32]>::len).collect();
        assert!(runs.iter().all(|run| run % 10 == 0), "{runs:?}");
        let mut round = Partitioner::new(Spread::RoundRobin, 9);
        assert_eq!(choices(&mut round, 4, 1, &[false; 3]), [0, 1, 2, 0]);
    }

    #[test]
    fn in_turn_and_explicit() {
        let mut round = Partitioner::new(Spread::RoundRobin, 9);
        assert_eq!(choices(&mut round, 7, 1, &[true, false, true]), [0, 2, 0, 2, 0, 2, 0]);
        assert_eq!(choices(&mut round, 2, 1, &[true, true]), [1, 0], "fewer partitions than before");
        let mut explicit = Partitioner::new(Spread::Explicit(2), 9);
        assert_eq!(explicit.choose(Some(b"key"), 1, 3, |_| Fitness::Unusable), Some(2));
        assert_eq!(explicit.choose(None, 1, 2, |_| Fitness::Fit), None);
    }

    #[test]
    fn one_seed_one_order() {
        let run =
            |seed| choices(&mut Partitioner::new(Spread::Sticky { bytes: 1 }, seed), 50, 1, &[true; 50]);
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert_eq!(choices(&mut Partitioner::new(Spread::Sticky { bytes: 1 }, 1), 3, 1, &[true]), vec![0; 3]);
    }
}
