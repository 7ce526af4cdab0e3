//! What the machine did to the measurement: hiccups, steal, throttling, waiting for a core.
//!
//! On a core where a generator thread spins, that thread is the probe: whatever comes between two idle turns of its
//! loop is the platform's, and looking costs nothing ([`Sampler::idled`]). On every other core a sampler sleeps for
//! ten milliseconds, again and again, and records how late it was woken: with precedence over ordinary threads
//! (`SCHED_FIFO`) nothing but the platform can make it late. Where precedence is not allowed only the generator's
//! own cores are sampled, and lateness may mean another thread as well: [`Platform::precedes`] says which. A spinning
//! sampler would take the core from whoever is measured.
//!
//! The rest is read from `/proc` and the control groups when [`Probe::take`] is called, about once a second.
//! What is *not* here: any judgement (that is `core::load::verdict`), and any figure of the server.
use crate::core::memory::Clock;
use crate::sys::{affinity, clock::MonotonicClock, sched};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// How often a sampler wakes. Hiccups shorter than this are met by chance, longer ones always. A wake costs its core
/// some 3 us, and in a virtual machine, whose timers trap, up to 70: every millisecond took a fifteenth of each core.
const PERIOD_NS: u64 = 10_000_000;

/// How often a spinning thread records how late it saw a moment.
const MARK_NS: u64 = 1_000_000;

/// Lateness above this counts as lost time; below lie timer interrupts and leaving idle states.
const HICCUP_NS: u64 = 100_000;

/// Longest lateness that is told apart: an hour.
const LATENESS_MAX_NS: u64 = 3_600_000_000_000;

/// Cores that are sampled at most; beyond, the first ones stand for all.
const SAMPLERS_MAX: usize = 64;

/// What the platform did in a span of time.
#[derive(Clone, Debug)]
pub struct Platform {
    /// Length of the span in nanoseconds.
    pub elapsed_ns: u64,
    /// How late the samplers of all cores were woken, in nanoseconds.
    pub lateness: Histogram<u64>,
    /// Time that samplers lost to hiccups over 100 us, as a share of the span, on the worst core.
    pub hiccup_share: f64,
    /// Time taken by the hypervisor for others, as a share of the span, on the worst core.
    pub steal_share: f64,
    /// How long this process's control groups held it back, in nanoseconds.
    pub throttled_ns: u64,
    /// Time that a generator thread stood runnable without a core, as a share of the span; the worst thread.
    pub run_queue_share: f64,
    /// Whether samplers preceded ordinary threads, so that lateness is the platform's alone.
    pub precedes: bool,
}

impl Platform {
    fn new(precedes: bool) -> Platform {
        Platform {
            elapsed_ns: 0,
            lateness: histogram(),
            hiccup_share: 0.0,
            steal_share: 0.0,
            throttled_ns: 0,
            run_queue_share: 0.0,
            precedes,
        }
    }

    /// Takes another span in. Shares become those of both spans together.
    pub fn add(&mut self, other: &Platform) {
        let parts = (self.elapsed_ns as f64, other.elapsed_ns as f64);
        let whole = (parts.0 + parts.1).max(1.0);
        let joined = |mine: f64, theirs: f64| (mine * parts.0 + theirs * parts.1) / whole;
        self.hiccup_share = joined(self.hiccup_share, other.hiccup_share);
        self.steal_share = joined(self.steal_share, other.steal_share);
        self.run_queue_share = joined(self.run_queue_share, other.run_queue_share);
        self.throttled_ns += other.throttled_ns;
        self.elapsed_ns += other.elapsed_ns;
        self.precedes &= other.precedes;
        // The bounds are the same, so this cannot fail.
        let _ = self.lateness.add(&other.lateness);
    }

    /// The 99th percentile of lateness, in nanoseconds; 0 without samples.
    pub fn hiccup_p99_ns(&self) -> u64 {
        self.lateness.value_at_quantile(0.99)
    }

    /// The worst lateness, in nanoseconds; 0 without samples.
    pub fn hiccup_max_ns(&self) -> u64 {
        self.lateness.max()
    }
}

/// Counters that only rise, as they stand at one moment.
#[derive(Clone, Debug, Default)]
struct Counters {
    at_ns: u64,
    /// Ticks of each core: stolen, and all.
    cores: BTreeMap<usize, (u64, u64)>,
    throttled_ns: u64,
    /// Nanoseconds that each thread waited for a core.
    waits: BTreeMap<u32, u64>,
    /// Nanoseconds that each sampler lost.
    lost: Vec<u64>,
}

/// Samplers and counters; both end with the value.
pub struct Probe {
    shared: Vec<Arc<Sampler>>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    precedes: bool,
    prefix: String,
    first: Counters,
    last: Counters,
    total: Histogram<u64>,
}

/// One core's sampler, as its thread and the reader share it.
#[derive(Debug)]
pub struct Sampler {
    core: usize,
    /// Lateness since the last look, and all time lost. Taken a thousand times a second at most by the sampler and
    /// once by the reader: never contended for long.
    state: Mutex<(Histogram<u64>, u64)>,
}

impl Sampler {
    /// A spinning thread of that core had nothing to do from one turn (`last_ns`) to the next (`now_ns`). `mark_ns`
    /// is the thread's own: the moment that is looked for next, 0 to begin with. Never waits.
    #[inline]
    pub fn idled(&self, last_ns: u64, now_ns: u64, mark_ns: &mut u64) {
        let gap_ns = now_ns - last_ns;
        if now_ns >= *mark_ns || gap_ns > HICCUP_NS {
            // A mark that passed while the thread worked says nothing.
            let late_ns = (*mark_ns > last_ns && now_ns >= *mark_ns).then(|| now_ns - *mark_ns);
            if now_ns >= *mark_ns {
                *mark_ns = now_ns + MARK_NS;
            }
            self.note(late_ns, gap_ns);
        }
    }

    #[cold]
    fn note(&self, late_ns: Option<u64>, gap_ns: u64) {
        // The reader has it: a sample more or less is no matter.
        let Ok(mut state) = self.state.try_lock() else { return };
        if let Some(late_ns) = late_ns {
            state.0.saturating_record(late_ns.max(1));
        }
        if gap_ns > HICCUP_NS {
            state.1 += gap_ns;
        }
    }
}

impl Probe {
    /// Starts samplers: on all cores that this process may use if they may precede other threads, else on
    /// `cores` alone, which are the generator's. Where its threads spin they are the samplers themselves and take
    /// [`Probe::sampler`]. Generator threads are known by names that begin with `prefix`.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(cores: &[usize], spin: bool, prefix: &str) -> io::Result<Probe> {
        let precedes = thread::spawn(|| sched::precede().is_ok()).join().unwrap_or(false);
        let mut places =
            if precedes { affinity::current().unwrap_or_else(|_| cores.to_vec()) } else { cores.to_vec() };
        places.truncate(SAMPLERS_MAX);
        let stop = Arc::new(AtomicBool::new(false));
        let (mut shared, mut threads) = (Vec::new(), Vec::new());
        for core in places {
            let sampler = Arc::new(Sampler { core, state: Mutex::new((histogram(), 0)) });
            shared.push(sampler.clone());
            if !(spin && cores.contains(&core)) {
                let (name, stop) = (format!("probe-{core}"), stop.clone());
                threads.push(thread::Builder::new().name(name).spawn(move || sample(&sampler, &stop))?);
            }
        }
        let mut probe = Probe {
            shared,
            threads,
            stop,
            precedes,
            prefix: prefix.to_string(),
            first: Counters::default(),
            last: Counters::default(),
            total: histogram(),
        };
        probe.restart();
        Ok(probe)
    }

    /// What a thread that spins on `core` records into.
    pub fn sampler(&self, core: usize) -> Option<Arc<Sampler>> {
        self.shared.iter().find(|sampler| sampler.core == core).cloned()
    }

    /// Forgets what was so far: the measured time begins now.
    pub fn restart(&mut self) {
        let mut unused = histogram();
        self.drain(&mut unused);
        self.first = self.counters();
        self.last = self.first.clone();
        self.total.reset();
    }

    /// What happened since the last call.
    pub fn take(&mut self) -> Platform {
        let mut platform = Platform::new(self.precedes);
        self.drain(&mut platform.lateness);
        let now = self.counters();
        between(&self.last, &now, &mut platform);
        let _ = self.total.add(&platform.lateness);
        self.last = now;
        platform
    }

    /// What happened since the start, or the last [`Probe::restart`], up to the last [`Probe::take`].
    pub fn total(&self) -> Platform {
        let mut platform = Platform::new(self.precedes);
        between(&self.first, &self.last, &mut platform);
        let _ = platform.lateness.add(&self.total);
        platform
    }

    /// Moves what the samplers have recorded into `into`.
    fn drain(&self, into: &mut Histogram<u64>) {
        for sampler in &self.shared {
            let mut state = sampler.state.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = into.add(&state.0);
            state.0.reset();
        }
    }

    fn counters(&self) -> Counters {
        let root = Path::new("/");
        let lost = |sampler: &Arc<Sampler>| sampler.state.lock().unwrap_or_else(PoisonError::into_inner).1;
        Counters {
            at_ns: MonotonicClock.now_ns(),
            cores: steal(&fs::read_to_string("/proc/stat").unwrap_or_default()),
            throttled_ns: throttled_ns(root),
            waits: waits(root, &self.prefix),
            lost: self.shared.iter().map(lost).collect(),
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Two significant digits tell hiccups apart well enough, and keep a sampler's histogram at some 30 KiB.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENESS_MAX_NS, 2).expect("constant bounds that the histogram takes")
}

/// A sampler's life.
fn sample(own: &Sampler, stop: &AtomicBool) {
    // Each of these may be forbidden; then samples are a little later, which errs to the safe side.
    let _ = affinity::pin(&[own.core]);
    let _ = sched::exact_timers();
    let _ = sched::precede();
    let clock = MonotonicClock;
    while !stop.load(Ordering::Relaxed) {
        let due = clock.now_ns() + PERIOD_NS;
        sched::sleep_until(due);
        let late = clock.now_ns().saturating_sub(due);
        let mut state = own.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0.saturating_record(late.max(1));
        if late > HICCUP_NS {
            state.1 += late;
        }
    }
}

/// Fills in the shares from two looks at the counters.
fn between(from: &Counters, to: &Counters, platform: &mut Platform) {
    let elapsed_ns = to.at_ns.saturating_sub(from.at_ns);
    platform.elapsed_ns = elapsed_ns;
    platform.throttled_ns = to.throttled_ns.saturating_sub(from.throttled_ns);
    let share = |ns: u64| if elapsed_ns == 0 { 0.0 } else { (ns as f64 / elapsed_ns as f64).min(1.0) };
    let lost = to.lost.iter().enumerate().map(|(at, &lost)| {
        let before = from.lost.get(at).copied().unwrap_or(0);
        share(lost.saturating_sub(before))
    });
    platform.hiccup_share = lost.fold(0.0, f64::max);
    let stolen = to.cores.iter().filter_map(|(core, &(steal, all))| {
        let &(steal_before, all_before) = from.cores.get(core)?;
        let all = all.saturating_sub(all_before);
        (all > 0).then(|| steal.saturating_sub(steal_before) as f64 / all as f64)
    });
    platform.steal_share = stolen.fold(0.0, f64::max);
    // A thread that began in between waited since its birth.
    let waited = to.waits.iter().map(|(thread, &ns)| {
        let before = from.waits.get(thread).copied().unwrap_or(0);
        share(ns.saturating_sub(before))
    });
    platform.run_queue_share = waited.fold(0.0, f64::max);
}

/// Stolen ticks and all ticks of each core, from the text of `/proc/stat`.
pub fn steal(text: &str) -> BTreeMap<usize, (u64, u64)> {
    let line = |line: &str| {
        let mut fields = line.strip_prefix("cpu")?.split_ascii_whitespace();
        let core = fields.next()?.parse().ok()?;
        let ticks: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; guest time is counted in user already.
        Some((core, (*ticks.get(7)?, ticks.iter().take(8).sum())))
    };
    text.lines().filter(|text| !text.starts_with("cpu ")).filter_map(line).collect()
}

/// The folders of this process's control groups that may hold it back, own first, then those above.
pub fn cpu_groups(root: &Path) -> Vec<PathBuf> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut folders = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let mounts: &[&str] = match controllers.split(',').any(|name| name == "cpu") {
            true => &["sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"],
            false if controllers.is_empty() => &["sys/fs/cgroup", "sys/fs/cgroup/unified"],
            false => continue,
        };
        for mount in mounts.iter().map(|mount| root.join(mount)) {
            let own = mount.join(path.trim_start_matches('/'));
            let above = own.ancestors().take_while(|folder| folder.starts_with(&mount));
            folders.extend(above.filter(|folder| folder.join("cpu.stat").exists()).map(Path::to_path_buf));
        }
    }
    folders
}

/// For how long the control groups of this process were held back since they exist, in nanoseconds.
pub fn throttled_ns(root: &Path) -> u64 {
    let group = |folder: &PathBuf| {
        let text = fs::read_to_string(folder.join("cpu.stat")).unwrap_or_default();
        let field = |name: &str, scale: u64| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
            Some(line.trim().parse::<u64>().ok()? * scale)
        };
        field("throttled_usec", 1000).or_else(|| field("throttled_time", 1)).unwrap_or(0)
    };
    cpu_groups(root).iter().map(group).sum()
}

/// Nanoseconds that each thread with a name of that beginning stood runnable without a core.
fn waits(root: &Path, prefix: &str) -> BTreeMap<u32, u64> {
    let Ok(tasks) = fs::read_dir(root.join("proc/self/task")) else { return BTreeMap::new() };
    let wait = |task: fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        if !name.starts_with(prefix) {
            return None;
        }
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        let ns = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some((task.file_name().to_str()?.parse().ok()?, ns))
    };
    tasks.flatten().filter_map(wait).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_read_for_each_core() {
        let text = "cpu  10 0 0 0 0 0 0 9 0 0\ncpu0 1 2 3 4 5 6 7 8 100 100\ncpu11 0 0 0 90 0 0 0 10\n\
                    cpu3 1 2 3\nintr 5 6\n";
        assert_eq!(steal(text), BTreeMap::from([(0, (8, 36)), (11, (10, 100))]));
        assert!(steal(&fs::read_to_string("/proc/stat").unwrap()).values().all(|&(steal, all)| steal <= all));
    }

    #[test]
    fn shares_are_those_of_the_worst() {
        let from = Counters {
            at_ns: 1_000,
            cores: BTreeMap::from([(0, (0, 100)), (1, (5, 100))]),
            throttled_ns: 70,
            waits: BTreeMap::from([(7, 100)]),
            lost: vec![10, 10],
        };
        let to = Counters {
            at_ns: 2_000,
            cores: BTreeMap::from([(0, (1, 200)), (1, (30, 200)), (2, (9, 9))]),
            throttled_ns: 90,
            waits: BTreeMap::from([(7, 200), (8, 300)]),
            lost: vec![20, 510],
        };
        let mut platform = Platform::new(false);
        between(&from, &to, &mut platform);
        let shares = [platform.hiccup_share, platform.steal_share, platform.run_queue_share];
        assert_eq!(shares, [0.5, 0.25, 0.3]);
        assert_eq!((platform.elapsed_ns, platform.throttled_ns), (1_000, 20));
        between(&to, &to, &mut platform);
        assert_eq!([platform.hiccup_share, platform.steal_share, platform.run_queue_share], [0.0; 3]);
    }

    #[test]
    fn spans_are_put_together_by_their_length() {
        let mut first =
            Platform { elapsed_ns: 100, steal_share: 0.5, throttled_ns: 7, ..Platform::new(true) };
        let mut second = Platform { elapsed_ns: 300, hiccup_share: 0.2, ..Platform::new(true) };
        second.lateness.record(5000).unwrap();
        first.add(&second);
        assert_eq!((first.elapsed_ns, first.throttled_ns, first.lateness.len()), (400, 7, 1));
        assert!((first.steal_share - 0.125).abs() < 1e-9 && (first.hiccup_share - 0.15).abs() < 1e-9);
    }

    #[test]
    fn throttling_is_summed_over_the_groups_of_both_versions() {
        let root = std::env::temp_dir().join(format!("ringmill-probe-{}", std::process::id()));
        for (version, group, mount, stat, expected) in [
            ("v2", "0::/a/b\n", "sys/fs/cgroup", "usage_usec 1\nthrottled_usec 5\n", 10_000),
            ("v1", "3:memory:/x\n2:cpu,cpuacct:/a/b\n", "sys/fs/cgroup/cpu", "throttled_time 7\n", 14),
        ] {
            let root = root.join(version);
            fs::create_dir_all(root.join("proc/self")).unwrap();
            fs::write(root.join("proc/self/cgroup"), group).unwrap();
            fs::create_dir_all(root.join(mount).join("a/b")).unwrap();
            for folder in ["a", "a/b"] {
                fs::write(root.join(mount).join(folder).join("cpu.stat"), stat).unwrap();
            }
            assert_eq!(throttled_ns(&root), expected, "{version}");
        }
        assert_eq!(throttled_ns(&root), 0);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_spinning_thread_tells_what_came_between_its_turns() {
        let sampler = Sampler { core: 3, state: Mutex::new((histogram(), 0)) };
        let mut mark_ns = 0;
        let ms = 1_000_000;
        // (from, to, samples and lost time after it): the first turn only sets the mark.
        let turns = [
            (10 * ms, 10 * ms + 50, 0, 0),
            (10 * ms + 50, 10 * ms + 100, 0, 0),
            // A hiccup between marks is lost time without a sample of lateness.
            (10 * ms + 100, 10 * ms + 300_100, 0, 300_000),
            // One across the mark at 11 ms + 50 ns.
            (11 * ms, 11 * ms + 10_050, 1, 300_000),
            // The mark passed while the thread was busy, from 11.1 to 20 ms.
            (20 * ms, 20 * ms + 50, 1, 300_000),
            (21 * ms, 23 * ms, 2, 300_000 + 2 * ms),
        ];
        for (from, to, samples, lost) in turns {
            sampler.idled(from, to, &mut mark_ns);
            let state = sampler.state.lock().unwrap();
            assert_eq!((state.0.len(), state.1), (samples, lost), "{from} to {to}");
        }
        let late = sampler.state.lock().unwrap().0.min();
        assert!((9_900..=10_100).contains(&late), "{late}");
    }

    #[test]
    fn cores_with_a_spinning_thread_get_no_other() {
        let cores = affinity::current().unwrap();
        let probe = Probe::start(&cores, true, "no such thread").unwrap();
        assert!(probe.threads.is_empty() && probe.sampler(cores[0]).is_some());
        assert!(probe.sampler(usize::MAX).is_none());
    }

    #[test]
    fn a_running_probe_has_samples() {
        let cores = affinity::current().unwrap();
        let mut probe = Probe::start(&cores[..1], false, "no such thread").unwrap();
        let mut seen = 0;
        for _ in 0..1000 {
            thread::sleep(std::time::Duration::from_millis(20));
            seen += probe.take().lateness.len();
            if seen >= 5 {
                break;
            }
        }
        let total = probe.total();
        assert_eq!(total.lateness.len(), seen);
        assert!(seen >= 5 && total.hiccup_max_ns() >= total.hiccup_p99_ns() && total.hiccup_p99_ns() > 0);
        assert!(total.elapsed_ns > 0 && total.run_queue_share == 0.0);
        probe.restart();
        assert_eq!(probe.total().lateness.len(), 0);
    }
}
