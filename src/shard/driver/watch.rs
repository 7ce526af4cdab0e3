//! Whether a turn of the loop was long, and what kept its thread from running.
//!
//! A turn lasts from the logic's `tick` to here. To tell it from its neighbours costs one look at the clock; the
//! system is asked only after a long one, and a hundred times a second for something to compare with.
use super::Logic;
use crate::core::memory::Clock;
use crate::core::metrics::cause::{LONG_NS, Reading, Spell};
use crate::sys::clock::MonotonicClock;
use crate::sys::pressure::Pressure;

/// So old may be what a long turn is compared with. Asking takes some 2 µs: 0.02 % of a core.
const READ_EVERY_NS: u64 = 10_000_000;

/// Of one shard, on its own thread.
pub(super) struct Watch {
    clock: MonotonicClock,
    pressure: Pressure,
    before: Reading,
    /// Time run with nothing to do.
    spun_ns: u64,
}

impl Watch {
    /// For the calling thread.
    pub fn new() -> Watch {
        let (clock, pressure) = (MonotonicClock, Pressure::of_this_thread());
        let before = pressure.read(clock.now_ns());
        Watch { clock, pressure, before, spun_ns: 0 }
    }

    /// So much of what the thread ran it only looked for something to do.
    #[inline]
    pub fn spun(&mut self, ns: u64) {
        self.spun_ns += ns;
    }

    /// Ends the turn that began with the last `tick`.
    #[inline]
    pub fn turn_ends<L: Logic>(&mut self, logic: &mut L) {
        let (from_ns, now_ns) = (logic.now_ns(), self.clock.now_ns());
        let is_long = now_ns.saturating_sub(from_ns) >= LONG_NS;
        if is_long || now_ns.saturating_sub(self.before.at_ns) >= READ_EVERY_NS {
            self.look(logic, from_ns, now_ns);
        }
    }

    #[cold]
    #[inline(never)]
    fn look<L: Logic>(&mut self, logic: &mut L, from_ns: u64, now_ns: u64) {
        let after = self.pressure.read(now_ns);
        // The first turn makes everything and is nobody's wait; a turn that was seen before has been told of.
        let from_ns = from_ns.max(self.before.at_ns.min(now_ns));
        if let Some(spell) = Spell::of_turn(&self.before, &after, from_ns) {
            logic.note_spell(spell);
        }
        if let Some(ran_ns) = after.ran_ns {
            logic.note_ran(now_ns, ran_ns.saturating_sub(self.spun_ns));
        }
        self.before = after;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Echo;
    use super::*;

    #[test]
    fn a_turn_that_slept_was_held_up_and_one_that_spun_was_not_its_first_half() {
        let mut watch = Watch::new();
        let mut logic = Echo::new(1);
        logic.tick();
        std::thread::sleep(std::time::Duration::from_millis(30));
        watch.turn_ends(&mut logic);
        let spell = logic.spells.pop().expect("30 ms are long");
        assert_eq!(spell.from_ns, logic.began_ns);
        let stalled_ns = spell.stall.map_or(0, |(_, ns)| ns);
        assert_eq!(spell.worked_ns + stalled_ns, spell.to_ns - spell.from_ns);
        if watch.before.ran_ns.is_some() {
            assert!(stalled_ns > 20_000_000, "it slept: {spell:?}");
        }
        logic.tick();
        watch.turn_ends(&mut logic);
        assert!(
            logic.spells.iter().all(|spell| spell.worked_ns == 0),
            "a short one is no work: {:?}",
            logic.spells
        );
    }

    #[test]
    fn looking_for_something_to_do_is_no_work() {
        let mut watch = Watch::new();
        let mut logic = Echo::new(1);
        logic.tick();
        std::thread::sleep(std::time::Duration::from_millis(15));
        watch.turn_ends(&mut logic);
        if watch.before.ran_ns.is_none() {
            eprintln!("not tested: the kernel does not count how long a thread ran");
            return;
        }
        let (at_ns, ran_ns) = logic.ran.take().expect("it was time to look");
        assert!(at_ns >= logic.began_ns + 15_000_000 && ran_ns > 0, "{at_ns} {ran_ns}");
        watch.spun(ran_ns / 2);
        logic.tick();
        std::thread::sleep(std::time::Duration::from_millis(15));
        watch.turn_ends(&mut logic);
        let (_, later_ns) = logic.ran.take().unwrap();
        assert_eq!(Some(later_ns + ran_ns / 2), watch.before.ran_ns);
        watch.spun(u64::MAX / 2);
        logic.tick();
        std::thread::sleep(std::time::Duration::from_millis(15));
        watch.turn_ends(&mut logic);
        assert_eq!(
            logic.ran.take().map(|(_, ran_ns)| ran_ns),
            Some(0),
            "a clock that goes ahead does no harm"
        );
    }
}
