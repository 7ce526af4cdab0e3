//! The housekeeper of segment files: makes them ahead of need, cuts them after use, removes the oldest.
//!
//! One thread per process, off the shards' cores. A shard never creates, extends, cuts or closes a file: it
//! asks with a [`Request`] and finds a [`Mail`] later. What is handed over has all of its space and, as far as
//! there was time, is pre-written with newlines, so that a commit converts no extents; its name is durable before
//! the shard hears of it: from then on `fdatasync` of the file is all that a commit needs.
//!
//! There is no time when a shard has come to need the file, or when the shards fill files so fast
//! (`FILLED_BYTES_PER_S_MAX`) that writing everything twice would take the disk from the commits.
//!
//! ```text
//! Prepare → N.seg.tmp: allocate, write, fsync → rename to N.seg → fsync directory → Ready → (commits) → Retire
//!                                                               → cut to what was used, fsync → retention
//! ```
//!
//! The keeper owns every file until it is retired; shards use only its number. A request that fails stays
//! and is tried again each second: the shard is told once, and need not ask again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use ringmill_core::memory::Memory;
use ringmill_core::sink::{FileKind, Mail, Request};

use super::name::Name;
use super::volume::{BLOCK_BYTES, Entry, Volume, VolumeFile, write_all_at};
use crate::sys::mapping::{Mapping, Residence};

/// One pre-writing step. Large enough for a disk's full throughput, small enough that a commit of a shard
/// waits behind at most about a millisecond of it.
const STEP_BYTES: usize = 1 << 20;

/// Shards that fill files faster than this many bytes a second, all together, get files that are not pre-written. Their commits are large
/// then: with 1.3 MB each, converting extents took 2.89 M events/s where pre-writing beside them left 2.52 M; a commit
/// of 64 KiB that nothing competes with takes 0.18 ms in a pre-written file, 0.41 ms in another.
pub const FILLED_BYTES_PER_S_MAX: u64 = 256 << 20;

/// How long a failed request rests before it is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How often age is looked at when nothing else happens.
const IDLE_ROUND: Duration = Duration::from_secs(10);

/// Quarantine files kept per shard beside the one in use and its spare.
const QUARANTINES_KEPT: usize = 2;

/// How files are made and how long they are kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of a pre-written segment; a multiple of 4096.
    pub segment_bytes: u64,
    /// Size of a quarantine file; a multiple of 4096.
    pub quarantine_bytes: u64,
    /// Bound on all segment files of all shards together. Open and prepared ones count in full and are
    /// never removed, nor is the newest retired one of each shard, for the chain hangs on it.
    pub retention_bytes: Option<u64>,
    /// Retired segments whose last write is longer ago are removed, all but the newest of each shard.
    pub retention_age: Option<Duration>,
    /// Rest between the steps of pre-writing a spare, so that commits have half of the disk at least. A
    /// shard without any file never waits for it.
    pub paced: bool,
    /// Shards that fill files faster than this many bytes a second, all together, get spares that are not pre-written.
    pub filled_bytes_per_s_max: u64,
}

/// Something that the operator should read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A file was removed by retention.
    Removed {
        /// Which.
        file: String,
        /// Its length, where it is known.
        bytes: Option<u64>,
        /// The bound that it fell to, as an option's name.
        by: &'static str,
    },
    /// A request failed and will be tried again.
    Failing {
        /// What was tried, on which file.
        what: String,
        /// The system's words.
        error: String,
    },
    /// A request that had failed succeeded.
    Recovered {
        /// What, on which file.
        what: String,
    },
    /// A used file could not be cut to its used length; its events are sound all the same.
    NotCut {
        /// Which.
        file: String,
        /// The system's words.
        error: String,
    },
}

impl Notice {
    /// Whether the operator has something to mend.
    pub fn is_warning(&self) -> bool {
        matches!(self, Notice::Failing { .. } | Notice::NotCut { .. })
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Removed { file, bytes: Some(bytes), by } => {
                write!(f, "removed {file} ({bytes} bytes) by {by}")
            }
            Notice::Removed { file, bytes: None, by } => write!(f, "removed {file} by {by}"),
            Notice::Failing { what, error } => {
                write!(f, "cannot {what}: {error}; trying again every {} s", RETRY_AFTER.as_secs())
            }
            Notice::Recovered { what } => write!(f, "could {what} after all"),
            Notice::NotCut { file, error } => {
                write!(f, "{file} keeps its pre-written length, for it could not be cut: {error}")
            }
        }
    }
}

/// Newlines for one step of pre-writing, in a huge page of their own, so that a step is one segment to the device.
fn newlines() -> io::Result<Mapping> {
    let mut newlines = Mapping::new(2 * STEP_BYTES, Residence::Huge)?;
    newlines.bytes_mut().fill(b'\n');
    Ok(newlines)
}

/// Makes the file `kind`/`number` of `capacity` bytes (a multiple of 4096) and its name durable. `goes_on` is asked
/// before each step of pre-writing, with the time that the step before took, whether there is time for it; what is
/// left out of a segment reads as zeros. Quarantine files, and those on a file system that cannot allocate, are
/// written to their end whatever it says.
///
/// On an error nothing of the file is left, unless the directory itself could not be synced.
pub fn prepare<V: Volume>(
    volume: &V,
    kind: FileKind,
    number: u64,
    capacity: u64,
    goes_on: impl FnMut(Duration) -> bool,
) -> io::Result<V::File> {
    prepare_from(newlines()?.bytes(), volume, kind, number, capacity, goes_on)
}

fn prepare_from<V: Volume>(
    newlines: &[u8],
    volume: &V,
    kind: FileKind,
    number: u64,
    capacity: u64,
    mut goes_on: impl FnMut(Duration) -> bool,
) -> io::Result<V::File> {
    let name = Name { kind, number, temporary: false };
    let temporary = Name { temporary: true, ..name }.text();
    let file = match volume.create(&temporary) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            // A try of before that could not even be removed.
            volume.remove(&temporary)?;
            volume.create(&temporary)?
        }
        other => other?,
    };
    let mut fill = || {
        let may_stop = kind == FileKind::Segment && file.allocate(capacity)?;
        let (mut offset, mut took) = (0, Duration::ZERO);
        while offset < capacity && (goes_on(took) || !may_stop) {
            let started = Instant::now();
            let step = &newlines[..STEP_BYTES.min((capacity - offset) as usize)];
            write_all_at(&file, offset, step)?;
            offset += step.len() as u64;
            took = started.elapsed();
        }
        file.sync()?;
        volume.rename(&temporary, &name.text())
    };
    if let Err(e) = fill() {
        // Gives the space back; the name alone would do no harm.
        let _ = volume.remove(&temporary);
        return Err(e);
    }
    volume.sync_dir()?;
    Ok(file)
}

/// Ends the use of a file: cut to `used` bytes and synced, or removed when nothing was committed to it.
pub fn retire<V: Volume>(
    volume: &V,
    file: &V::File,
    kind: FileKind,
    number: u64,
    used: u64,
) -> io::Result<()> {
    if used == 0 {
        volume.remove(&Name { kind, number, temporary: false }.text())?;
        return volume.sync_dir();
    }
    file.truncate(used)?;
    file.sync()
}

/// A running keeper. Ends when every sender of requests is dropped and all work is done; [`Keeper::join`]
/// waits for that.
#[derive(Debug)]
pub struct Keeper {
    requests: Sender<(u32, Request)>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Starts the thread. `volumes[n]` is the directory of shard `n`, already recovered. `pin` runs first in
    /// the thread, to move it off the shards' cores. `deliver` is called from the thread and must not block;
    /// so is `notice`.
    pub fn start<V>(
        volumes: Vec<V>,
        options: Options,
        pin: impl FnOnce() + Send + 'static,
        deliver: impl FnMut(u32, Mail) + Send + 'static,
        notice: impl FnMut(Notice) + Send + 'static,
    ) -> io::Result<Keeper>
    where
        V: Volume + Send + 'static,
        V::File: Send,
    {
        assert!(options.segment_bytes >= BLOCK_BYTES as u64, "a segment holds a block at least");
        assert_eq!(options.segment_bytes % BLOCK_BYTES as u64, 0, "segments are whole blocks");
        assert_eq!(options.quarantine_bytes % BLOCK_BYTES as u64, 0, "quarantine files are whole blocks");
        let (sender, receiver) = mpsc::channel();
        let mut shards = Vec::with_capacity(volumes.len());
        for volume in volumes {
            shards.push(Shard::new(volume)?);
        }
        let work = Work {
            shards,
            options,
            newlines: newlines()?,
            inbox: receiver,
            jobs: VecDeque::new(),
            open: HashMap::new(),
            deliver: Box::new(deliver),
            notice: Box::new(notice),
            closed: false,
        };
        let thread = std::thread::Builder::new().name("ringmill-keeper".into()).spawn(move || {
            pin();
            work.run();
        })?;
        Ok(Keeper { requests: sender, thread })
    }

    /// Where shard `n` sends its requests, each tagged with `n`. Each shard holds one clone.
    pub fn requests(&self) -> Sender<(u32, Request)> {
        self.requests.clone()
    }

    /// Waits until every shard dropped its sender and what they asked for is done. Files still open then
    /// stay as they are; the next start cuts them.
    pub fn join(self) {
        drop(self.requests);
        // The thread does not panic; if it did, the process has ended by the panic policy.
        let _ = self.thread.join();
    }
}

/// A retired segment, oldest first in its shard.
struct Retired {
    number: u64,
    bytes: u64,
    modified: SystemTime,
}

struct Shard<V> {
    volume: V,
    retired: VecDeque<Retired>,
    /// Numbers of retired quarantine files, oldest first.
    quarantines: VecDeque<u64>,
    /// Bytes of open and prepared segments.
    live_bytes: u64,
    live_segments: usize,
    /// Since when it fills the file that it fills.
    since: Instant,
    /// Bytes a second at which it filled the one before.
    bytes_per_s: u64,
}

impl<V: Volume> Shard<V> {
    fn new(volume: V) -> io::Result<Shard<V>> {
        let mut retired = BTreeMap::new();
        let mut quarantines = Vec::new();
        for Entry { name, bytes, modified, .. } in volume.list()? {
            match Name::parse(&name) {
                Some(Name { kind: FileKind::Segment, number, temporary: false }) => {
                    retired.insert(number, Retired { number, bytes, modified });
                }
                Some(Name { kind: FileKind::Quarantine, number, temporary: false }) => {
                    quarantines.push(number)
                }
                _ => {}
            }
        }
        quarantines.sort_unstable();
        Ok(Shard {
            volume,
            retired: retired.into_values().collect(),
            quarantines: quarantines.into(),
            live_bytes: 0,
            live_segments: 0,
            since: Instant::now(),
            bytes_per_s: 0,
        })
    }

    /// Notes that a file is full, or given up, with `used` bytes in it.
    fn note_pace(&mut self, used: u64, now: Instant) {
        self.bytes_per_s = per_second(used, now - self.since);
        self.since = now;
    }

    /// Bytes a second at which it fills files: as with the last one, or fewer when this one of `capacity` bytes takes
    /// longer.
    fn pace(&self, capacity: u64, now: Instant) -> u64 {
        self.bytes_per_s.min(per_second(capacity, now - self.since))
    }

    fn segment_bytes(&self) -> u64 {
        self.live_bytes + self.retired.iter().map(|r| r.bytes).sum::<u64>()
    }
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    (u128::from(bytes) * 1_000_000_000 / time.as_nanos().max(1)).try_into().unwrap_or(u64::MAX)
}

struct Job {
    shard: u32,
    request: Request,
    /// Not before; set once it failed.
    after: Option<Instant>,
}

struct OpenFile<F> {
    file: F,
    capacity: u64,
}

struct Work<V: Volume> {
    shards: Vec<Shard<V>>,
    options: Options,
    newlines: Mapping,
    inbox: Receiver<(u32, Request)>,
    jobs: VecDeque<Job>,
    open: HashMap<i32, OpenFile<V::File>>,
    deliver: Box<dyn FnMut(u32, Mail) + Send>,
    notice: Box<dyn FnMut(Notice) + Send>,
    closed: bool,
}

impl<V: Volume> Work<V> {
    fn run(mut self) {
        loop {
            self.drain_inbox();
            if self.closed {
                // Nobody is left to use a new file.
                self.jobs.retain(|job| matches!(job.request, Request::Retire { .. }));
            }
            if let Some(job) = self.next_job() {
                self.carry_out(job);
                self.retain();
                continue;
            }
            if self.closed {
                return;
            }
            let wait = if self.jobs.is_empty() { IDLE_ROUND } else { RETRY_AFTER / 4 };
            match self.inbox.recv_timeout(wait) {
                Ok((shard, request)) => self.enqueue(shard, request),
                Err(RecvTimeoutError::Timeout) => self.retain(),
                Err(RecvTimeoutError::Disconnected) => self.closed = true,
            }
        }
    }

    fn drain_inbox(&mut self) {
        loop {
            match self.inbox.try_recv() {
                Ok((shard, request)) => self.enqueue(shard, request),
                Err(mpsc::TryRecvError::Empty) => return,
                Err(mpsc::TryRecvError::Disconnected) => {
                    self.closed = true;
                    return;
                }
            }
        }
    }

    fn enqueue(&mut self, shard: u32, request: Request) {
        assert!((shard as usize) < self.shards.len(), "a request of a shard that has no directory");
        if let Request::Prepare { kind, number } = request {
            let asked = |job: &Job| {
                job.shard == shard
                    && matches!(job.request, Request::Prepare { kind: k, number: n } if k == kind && n == number)
            };
            if self.jobs.iter().any(asked) {
                return;
            }
        }
        self.jobs.push_back(Job { shard, request, after: None });
    }

    /// Retiring first, for it gives space back; then whoever has the fewest files.
    fn next_job(&mut self) -> Option<Job> {
        let now = Instant::now();
        let (index, _) = self
            .jobs
            .iter()
            .enumerate()
            .filter(|(_, job)| job.after.is_none_or(|after| after <= now) && !self.overtakes(job))
            .min_by_key(|(index, job)| (self.urgency(job), *index))?;
        self.jobs.remove(index)
    }

    /// Whether an earlier file of the same shard and kind is still to be made. A shard fills files in the
    /// order in which they come, and the chain runs by their numbers.
    fn overtakes(&self, job: &Job) -> bool {
        let Request::Prepare { kind, number } = job.request else { return false };
        self.jobs.iter().any(|other| {
            other.shard == job.shard
                && matches!(other.request, Request::Prepare { kind: k, number: n } if k == kind && n < number)
        })
    }

    fn urgency(&self, job: &Job) -> usize {
        match job.request {
            Request::Retire { .. } => 0,
            Request::Prepare { kind: FileKind::Segment, .. } => {
                1 + 2 * self.shards[job.shard as usize].live_segments
            }
            Request::Prepare { kind: FileKind::Quarantine, .. } => 2,
        }
    }

    fn carry_out(&mut self, job: Job) {
        match job.request {
            Request::Prepare { kind, number } => self.prepare(job, kind, number),
            Request::Retire { kind, file, number, used } => self.retire(job.shard, kind, file, number, used),
        }
    }

    /// Bytes a second at which the shards fill files, all together.
    fn pace(&self) -> u64 {
        let now = Instant::now();
        let each = self.shards.iter().map(|shard| shard.pace(self.options.segment_bytes, now));
        each.fold(0, u64::saturating_add)
    }

    fn prepare(&mut self, mut job: Job, kind: FileKind, number: u64) {
        let shard = &self.shards[job.shard as usize];
        let capacity = match kind {
            FileKind::Segment => self.options.segment_bytes,
            FileKind::Quarantine => self.options.quarantine_bytes,
        };
        // Only a spare can wait.
        let spare = kind == FileKind::Segment && shard.live_segments > 0;
        let (inbox, paced) = (&self.inbox, self.options.paced && spare);
        let fast = spare && self.pace() > self.options.filled_bytes_per_s_max;
        let mut arrived: Vec<(u32, Request)> = Vec::new();
        let made = prepare_from(self.newlines.bytes(), &shard.volume, kind, number, capacity, |took| {
            // Whoever comes meanwhile shall not wait for a leisurely one.
            arrived.extend(inbox.try_iter());
            if paced && arrived.is_empty() {
                std::thread::sleep(took.min(Duration::from_millis(50)));
            }
            // A shard that gives its file back while its spare is being made has none.
            let gave_back = |(of, request): &(u32, Request)| {
                *of == job.shard && matches!(request, Request::Retire { kind: FileKind::Segment, .. })
            };
            let needed = spare && arrived.iter().any(gave_back);
            !(fast || needed)
        })
        .and_then(|file| Ok((random_id()?, file)));
        let what =
            || format!("prepare {}", shard.volume.display(&Name { kind, number, temporary: false }.text()));
        match made {
            Ok((id, file)) => {
                if job.after.is_some() {
                    (self.notice)(Notice::Recovered { what: what() });
                }
                let raw = file.raw();
                self.open.insert(raw, OpenFile { file, capacity });
                let shard = &mut self.shards[job.shard as usize];
                match kind {
                    FileKind::Segment => {
                        if shard.live_segments == 0 {
                            shard.since = Instant::now();
                        }
                        shard.live_bytes += capacity;
                        shard.live_segments += 1;
                    }
                    FileKind::Quarantine => {}
                }
                (self.deliver)(job.shard, Mail::Ready { kind, file: raw, number, id, capacity });
            }
            Err(error) => {
                if job.after.is_none() {
                    let no_space = no_space(&error);
                    (self.notice)(Notice::Failing { what: what(), error: error.to_string() });
                    (self.deliver)(job.shard, Mail::Failed { kind, no_space });
                }
                job.after = Some(Instant::now() + RETRY_AFTER);
                self.jobs.push_back(job);
            }
        }
        for (shard, request) in arrived {
            self.enqueue(shard, request);
        }
    }

    fn retire(&mut self, shard_number: u32, kind: FileKind, raw: i32, number: u64, used: u64) {
        let Some(OpenFile { file, capacity }) = self.open.remove(&raw) else {
            unreachable!("shard {shard_number} retires file {raw}, which it was not given");
        };
        let shard = &mut self.shards[shard_number as usize];
        let result = retire(&shard.volume, &file, kind, number, used);
        let mut bytes = used;
        if let Err(error) = result {
            bytes = capacity;
            let file = shard.volume.display(&Name { kind, number, temporary: false }.text());
            (self.notice)(Notice::NotCut { file, error: error.to_string() });
        }
        match kind {
            FileKind::Segment => {
                shard.note_pace(used, Instant::now());
                shard.live_bytes -= capacity;
                shard.live_segments -= 1;
                if used > 0 {
                    shard.retired.push_back(Retired { number, bytes, modified: SystemTime::now() });
                }
            }
            FileKind::Quarantine if used > 0 => shard.quarantines.push_back(number),
            FileKind::Quarantine => {}
        }
    }

    /// Removes what is beyond the bounds, oldest first.
    fn retain(&mut self) {
        for index in 0..self.shards.len() {
            while self.shards[index].quarantines.len() > QUARANTINES_KEPT {
                let number = self.shards[index].quarantines.pop_front().expect("longer than the bound");
                let name = Name { kind: FileKind::Quarantine, number, temporary: false }.text();
                self.remove(index, &name, None, "the bound on quarantine files");
            }
        }
        if let Some(age) = self.options.retention_age {
            let now = SystemTime::now();
            while let Some(index) = self.oldest() {
                let oldest = &self.shards[index].retired[0];
                // A clock that was set back makes files young, never old.
                if now.duration_since(oldest.modified).is_ok_and(|old| old > age) {
                    self.remove_oldest(index, "retention_age");
                } else {
                    break;
                }
            }
        }
        if let Some(bound) = self.options.retention_bytes {
            while self.shards.iter().map(Shard::segment_bytes).sum::<u64>() > bound {
                let Some(index) = self.oldest() else { break };
                self.remove_oldest(index, "retention_bytes");
            }
        }
    }

    /// The shard that has the oldest segment that may go.
    fn oldest(&self) -> Option<usize> {
        let removable = self.shards.iter().enumerate().filter(|(_, shard)| shard.retired.len() > 1);
        removable.min_by_key(|(_, shard)| shard.retired[0].modified).map(|(index, _)| index)
    }

    fn remove_oldest(&mut self, index: usize, by: &'static str) {
        let Retired { number, bytes, .. } = self.shards[index].retired.pop_front().expect("one that may go");
        self.remove(
            index,
            &Name { kind: FileKind::Segment, number, temporary: false }.text(),
            Some(bytes),
            by,
        );
    }

    fn remove(&mut self, index: usize, name: &str, bytes: Option<u64>, by: &'static str) {
        let volume = &self.shards[index].volume;
        let file = volume.display(name);
        // Oldest first must also hold after a loss of power, so that no gap opens in the chain.
        (self.notice)(match volume.remove(name).and_then(|()| volume.sync_dir()) {
            Ok(()) => Notice::Removed { file, bytes, by },
            Err(e) => Notice::Failing { what: format!("remove {file}"), error: e.to_string() },
        });
    }
}

/// Whether the error says that the disk or the quota is full.
pub fn no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// An id that no other file has.
fn random_id() -> io::Result<u64> {
    use std::io::Read;
    let mut id = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut id)?;
    Ok(u64::from_le_bytes(id))
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
