//! Power cuts, killed processes and failing disks, simulated: the real writer and the real recovery on a
//! disk that keeps what was flushed and any part of the rest.
//!
//! A seed decides everything: what is written, which calls fail, at which operation the end comes, which
//! sectors and names survive it. Each seed lives several lives on one disk. Between two lives
//! a reader of its own checks what is promised:
//!
//! - every event that was acknowledged is there, byte for byte, under its sequence number;
//! - nothing is there that was not sent, and nothing twice;
//! - sequence numbers rise by one from 1, the hash chain holds, recovery reports no damage;
//! - recovering again changes nothing.
//!
//! What one recovery kept is promised from then on. That the test has teeth is a test too: each
//! [`Mutant`] breaks one rule of durability and must be caught.
//!
//! `RINGMILL_SEEDS=10000` runs more of them, `RINGMILL_SEED=17` a single one.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::rc::Rc;
use std::time::SystemTime;

use ringmill::core::batch::Batch;
use ringmill::core::segment::header::{BLOCK_BYTES, HEADER_BYTES, Hash, Header, StreamName, crc32c};
use ringmill::core::sink::segments::SegmentSink;
use ringmill::core::sink::{Extent, FileKind, Mail, Request, Resume, Sealed, Sink};
use ringmill::sink::keeper;
use ringmill::sink::recover::{Finding, recover};
use ringmill::sink::volume::{Entry, Volume, VolumeFile, write_all_at};

const SECTOR_BYTES: usize = 512;
const LIVES: usize = 4;
const SEEDS: u64 = 800;
/// Largest batch; small, so that commits are torn in every way and files rotate often.
const ARENA_BYTES: usize = 32 * 1024;

/// One rule broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    /// Commits are not flushed.
    NoSync,
    /// The acknowledgement goes out between write and flush.
    AckBeforeFlush,
    /// Recovery takes events that do not match their checksum.
    CrcIgnored,
    /// New names are not made durable.
    NoDirSync,
    /// A write that took fewer bytes counts as done.
    ShortWriteIgnored,
    /// A failed flush is tried again, and believed.
    RetryAfterEio,
    /// Recovery does not flush what it goes on from.
    NoSyncInRecovery,
}

const MUTANTS: [Mutant; 7] = [
    Mutant::NoSync,
    Mutant::AckBeforeFlush,
    Mutant::CrcIgnored,
    Mutant::NoDirSync,
    Mutant::ShortWriteIgnored,
    Mutant::RetryAfterEio,
    Mutant::NoSyncInRecovery,
];

/// xorshift64*: small, seeded, the same everywhere.
#[derive(Clone)]
struct Rng(u64);

impl Rng {
    fn new(seed: u64) -> Rng {
        Rng((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

// --- the disk ---

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Cut { bytes: usize },
}

#[derive(Clone)]
enum NameChange {
    Add(String, usize),
    Remove(String),
    Rename(String, String, usize),
}

#[derive(Clone, Default)]
struct Inode {
    /// What every reader sees now.
    current: Vec<u8>,
    /// What is sure to survive.
    durable: Vec<u8>,
    /// What the next flush makes sure.
    pending: Vec<Change>,
    /// What a failed flush left: readers see it, no flush will ever make it sure.
    limbo: Vec<Change>,
}

#[derive(Clone)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<NameChange>,
    rng: Rng,
    /// The end comes in the course of this operation.
    ends_at: u64,
    operations: u64,
    ended: bool,
    /// One in so many writes and flushes fails; 0: none.
    faults: u64,
    no_sync: bool,
    no_dir_sync: bool,
    crc_ignored: bool,
}

/// A disk with one directory.
#[derive(Clone)]
struct Disk(Rc<RefCell<State>>);

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { offset, bytes } => {
            let end = offset + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*offset..end].copy_from_slice(bytes);
        }
        Change::Cut { bytes } => content.resize(*bytes, 0),
    }
}

fn apply_name(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Add(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        NameChange::Remove(name) => {
            names.remove(name);
        }
        NameChange::Rename(from, to, inode) => {
            names.remove(from);
            names.insert(to.clone(), *inode);
        }
    }
}

/// Applies that part of `changes` which happens to have reached the medium.
fn apply_some(content: &mut Vec<u8>, changes: &[Change], rng: &mut Rng) {
    // Nothing, everything, sectors or blocks at random, or all up to some moment.
    let mode = rng.below(5);
    let moment = rng.below(changes.len() as u64 + 1) as usize;
    for (index, change) in changes.iter().enumerate() {
        match (mode, change) {
            (0, _) => {}
            (1, _) => apply(content, change),
            (4, _) if index < moment => apply(content, change),
            (4, _) if index > moment => {}
            (_, Change::Write { offset, bytes }) => {
                let unit = if mode == 3 { BLOCK_BYTES } else { SECTOR_BYTES };
                for (index, bytes) in bytes.chunks(unit).enumerate() {
                    if rng.one_in(2) {
                        let offset = offset + index * unit;
                        apply(content, &Change::Write { offset, bytes: bytes.to_vec() });
                    }
                }
            }
            (_, Change::Cut { .. }) => {
                if rng.one_in(2) {
                    apply(content, change);
                }
            }
        }
    }
}

fn error(kind: io::ErrorKind) -> io::Error {
    kind.into()
}

impl State {
    /// Counts an operation. `Ok(true)`: this one is where the end comes.
    fn operation(&mut self) -> io::Result<bool> {
        if self.ended {
            return Err(error(io::ErrorKind::BrokenPipe));
        }
        self.operations += 1;
        self.ended = self.operations == self.ends_at;
        Ok(self.ended)
    }

    fn faulty(&mut self) -> bool {
        self.faults > 0 && self.rng.one_in(self.faults)
    }
}

impl Disk {
    fn new(seed: u64) -> Disk {
        Disk(Rc::new(RefCell::new(State {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            rng: Rng::new(seed ^ 0xd15c),
            ends_at: 0,
            operations: 0,
            ended: false,
            faults: 0,
            no_sync: false,
            no_dir_sync: false,
            crc_ignored: false,
        })))
    }

    /// A disk of the same state that goes its own way from here.
    fn copy(&self) -> Disk {
        Disk(Rc::new(RefCell::new(self.0.borrow().clone())))
    }

    fn ended(&self) -> bool {
        self.0.borrow().ended
    }

    /// Powers up again after the current was cut.
    fn after_power_cut(&self) {
        let state = &mut *self.0.borrow_mut();
        for inode in &mut state.inodes {
            let mut content = std::mem::take(&mut inode.durable);
            apply_some(&mut content, &std::mem::take(&mut inode.limbo), &mut state.rng);
            apply_some(&mut content, &std::mem::take(&mut inode.pending), &mut state.rng);
            *inode = Inode { current: content.clone(), durable: content, ..Inode::default() };
        }
        let all = state.rng.one_in(4);
        for change in std::mem::take(&mut state.pending_names) {
            if all || state.rng.one_in(2) {
                apply_name(&mut state.durable_names, &change);
            }
        }
        state.names = state.durable_names.clone();
        state.ended = false;
    }

    /// The process was killed: what it had written is there, as unsure as before.
    fn after_death(&self) {
        self.0.borrow_mut().ended = false;
    }

    fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.0.borrow();
        state.names.iter().map(|(name, &inode)| (name.clone(), state.inodes[inode].current.clone())).collect()
    }
}

struct SimFile {
    disk: Disk,
    inode: usize,
}

impl Volume for Disk {
    type File = SimFile;

    fn list(&self) -> io::Result<Vec<Entry>> {
        let state = self.0.borrow();
        let entry = |(name, &inode): (&String, &usize)| Entry {
            name: name.clone(),
            bytes: state.inodes[inode].current.len() as u64,
            modified: SystemTime::UNIX_EPOCH,
            regular: true,
        };
        Ok(state.names.iter().map(entry).collect())
    }

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let state = &mut *self.0.borrow_mut();
        state.operation()?;
        if state.faulty() {
            return Err(error(io::ErrorKind::StorageFull));
        }
        if state.names.contains_key(name) {
            return Err(error(io::ErrorKind::AlreadyExists));
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.names.insert(name.into(), inode);
        state.pending_names.push(NameChange::Add(name.into(), inode));
        Ok(SimFile { disk: self.clone(), inode })
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        let state = self.0.borrow();
        let inode = *state.names.get(name).ok_or_else(|| error(io::ErrorKind::NotFound))?;
        Ok(SimFile { disk: self.clone(), inode })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        state.operation()?;
        if state.names.contains_key(to) {
            return Err(error(io::ErrorKind::AlreadyExists));
        }
        let inode = *state.names.get(from).ok_or_else(|| error(io::ErrorKind::NotFound))?;
        let change = NameChange::Rename(from.into(), to.into(), inode);
        apply_name(&mut state.names, &change);
        state.pending_names.push(change);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        state.operation()?;
        let change = NameChange::Remove(name.into());
        apply_name(&mut state.names, &change);
        state.pending_names.push(change);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        if state.operation()? || state.no_dir_sync {
            return Ok(());
        }
        state.pending_names.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn display(&self, name: &str) -> String {
        name.into()
    }
}

impl VolumeFile for SimFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.0.borrow();
        let content = &state.inodes[self.inode].current;
        let doctored;
        let content = if state.crc_ignored {
            doctored = with_fitting_checksums(content);
            &doctored
        } else {
            content
        };
        let rest = content.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let state = &mut *self.disk.0.borrow_mut();
        let (offset, mut count) = (offset as usize, bytes.len());
        let end = state.operation()?;
        let fault = state.faulty();
        if (end || fault) && count > SECTOR_BYTES {
            // Stopped half way, after whole sectors.
            count = (1 + state.rng.below((count / SECTOR_BYTES) as u64) as usize) * SECTOR_BYTES;
            count = count.min(bytes.len());
        }
        let change = Change::Write { offset, bytes: bytes[..count].to_vec() };
        let failed = fault && state.rng.one_in(2);
        let inode = &mut state.inodes[self.inode];
        apply(&mut inode.current, &change);
        inode.pending.push(change);
        match end || failed {
            true => Err(io::Error::from_raw_os_error(5)),
            false => Ok(count),
        }
    }

    fn allocate(&self, bytes: u64) -> io::Result<bool> {
        let state = &mut *self.disk.0.borrow_mut();
        state.operation()?;
        if state.faulty() {
            return Err(error(io::ErrorKind::StorageFull));
        }
        let change = Change::Cut { bytes: bytes as usize };
        let inode = &mut state.inodes[self.inode];
        apply(&mut inode.current, &change);
        inode.pending.push(change);
        Ok(true)
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.disk.0.borrow_mut();
        if state.operation()? {
            return Err(io::Error::from_raw_os_error(5));
        }
        let fault = state.faulty();
        let inode = &mut state.inodes[self.inode];
        if state.no_sync {
            return Ok(());
        }
        if fault {
            inode.limbo.append(&mut inode.pending);
            return Err(io::Error::from_raw_os_error(5));
        }
        for change in std::mem::take(&mut inode.pending) {
            // What was in limbo stays there, but never comes out over what was written later.
            if let Change::Write { offset, bytes } = &change {
                for old in &mut inode.limbo {
                    if let Change::Write { offset: old_offset, bytes: old_bytes } = old {
                        let (from, to) = (*offset, offset + bytes.len());
                        let (old_from, old_to) = (*old_offset, *old_offset + old_bytes.len());
                        let (from_both, to_both) = (from.max(old_from), to.min(old_to));
                        if from_both < to_both {
                            let newer = &bytes[from_both - from..to_both - from];
                            old_bytes[from_both - old_from..to_both - old_from].copy_from_slice(newer);
                        }
                    }
                }
            } else {
                inode.limbo.clear();
            }
            apply(&mut inode.durable, &change);
        }
        Ok(())
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        let state = &mut *self.disk.0.borrow_mut();
        state.operation()?;
        let change = Change::Cut { bytes: bytes as usize };
        let inode = &mut state.inodes[self.inode];
        apply(&mut inode.current, &change);
        inode.pending.push(change);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.borrow().inodes[self.inode].current.len() as u64)
    }

    fn raw(&self) -> i32 {
        self.inode as i32
    }
}

/// The file as a recovery sees it that does not check the events: every checksum fits.
fn with_fitting_checksums(content: &[u8]) -> Vec<u8> {
    let mut content = content.to_vec();
    let mut at = 0;
    while let Some(rest) = content.get_mut(at..).filter(|rest| !rest.is_empty()) {
        let Ok(mut header) = Header::parse(rest) else { break };
        let end = HEADER_BYTES + header.bytes as usize;
        let Some(run) = rest.get(HEADER_BYTES..end) else { break };
        let crc = crc32c(run);
        if crc != header.crc32c {
            header.crc32c = crc;
            header.encode(rest.first_chunk_mut().expect("parsed"));
        }
        at += end;
        if header.left == 0 {
            at = at.next_multiple_of(BLOCK_BYTES);
        }
    }
    content
}

// --- the writer ---

/// What was sent and what was promised, over all lives.
#[derive(Default)]
struct Journal {
    sent: HashSet<Vec<u8>>,
    /// Acknowledged as durable, by sequence number.
    durable: BTreeMap<u64, Vec<u8>>,
    /// Acknowledged as written; may go with the current, not with the process.
    written: BTreeMap<u64, Vec<u8>>,
    next_id: u64,
}

struct Writer<'a> {
    disk: &'a Disk,
    rng: &'a mut Rng,
    mutant: Option<Mutant>,
    capacity: u64,
    sink: SegmentSink,
    files: HashMap<i32, SimFile>,
    /// Requests that failed, to be tried again.
    waiting: Vec<Request>,
}

impl Writer<'_> {
    /// The keeper's part, without its thread.
    fn keep(&mut self) {
        let mut requests = std::mem::take(&mut self.waiting);
        requests.extend(std::iter::from_fn(|| self.sink.next_request()));
        for request in requests {
            match request {
                Request::Prepare { kind, number } => {
                    // Never out of order.
                    if !self.waiting.is_empty() {
                        self.waiting.push(request);
                        continue;
                    }
                    let has_time = self.rng.one_in(2);
                    match keeper::prepare(self.disk, kind, number, self.capacity, |_| has_time) {
                        Ok(file) => {
                            let (raw, id) = (file.raw(), self.rng.next());
                            self.files.insert(raw, file);
                            self.sink.mail(Mail::Ready {
                                kind,
                                file: raw,
                                number,
                                id,
                                capacity: self.capacity,
                            });
                        }
                        Err(e) => {
                            self.sink.mail(Mail::Failed { kind, no_space: keeper::no_space(&e) });
                            if e.kind() != io::ErrorKind::AlreadyExists {
                                self.waiting.push(request);
                            }
                        }
                    }
                }
                Request::Retire { kind, file, number, used } => {
                    let file = self.files.remove(&file).expect("retired once");
                    // An error leaves the file longer; nothing else.
                    let _ = keeper::retire(self.disk, &file, kind, number, used);
                }
            }
        }
    }

    /// Writes and flushes as a driver does. `acked` is called when the client would be told.
    fn commit(&self, extent: Extent, bytes: &[u8], mut acked: impl FnMut(bool)) -> io::Result<()> {
        let file = &self.files[&extent.file];
        if self.mutant == Some(Mutant::ShortWriteIgnored) {
            file.write_at(extent.offset, bytes)?;
        } else {
            write_all_at(file, extent.offset, bytes)?;
        }
        acked(self.mutant == Some(Mutant::AckBeforeFlush));
        match file.sync() {
            Err(_) if self.mutant == Some(Mutant::RetryAfterEio) => file.sync()?,
            other => other?,
        }
        Ok(())
    }

    /// One life: commits until the end comes or the work is done.
    fn live(&mut self, journal: &mut Journal, commits: u64) {
        let mut batch = Batch::new(vec![0; ARENA_BYTES]);
        for _ in 0..commits {
            self.keep();
            let mut events = Vec::new();
            for _ in 0..1 + self.rng.below(12) {
                let event = event(self.rng, journal.next_id);
                let stream = [&b"default"[..], b"audit", b"x"][self.rng.below(3) as usize];
                let stream = StreamName::new(stream).expect("a name");
                if batch.append(&stream, &event, false, 0).is_err() {
                    break;
                }
                journal.next_id += 1;
                journal.sent.insert(event.clone());
                events.push(event);
            }
            match self.sink.seal(&mut batch, 1_763_000_000_000) {
                Sealed::Write(extent) => {
                    let first = self.sink.receipt().expect("in flight").seq;
                    let numbered = || (first..).zip(events.iter().cloned());
                    self.disk.0.borrow_mut().no_sync = self.mutant == Some(Mutant::NoSync);
                    let done = self.commit(extent, batch.bytes(0..extent.len), |before_flush| {
                        if before_flush {
                            journal.durable.extend(numbered());
                        }
                        journal.written.extend(numbered());
                    });
                    self.disk.0.borrow_mut().no_sync = false;
                    match done {
                        Ok(()) => {
                            self.sink.committed();
                            journal.durable.extend(numbered());
                        }
                        Err(_) => {
                            // Killed in the flush, it stays written; failed, it was taken back.
                            if !self.disk.ended() {
                                numbered().for_each(|(seq, _)| drop(journal.written.remove(&seq)));
                            }
                            self.sink.failed(false);
                        }
                    }
                }
                Sealed::NoFile => {}
                Sealed::Settled | Sealed::Sent(_) => unreachable!("segments are written"),
            }
            batch.clear();
            if self.disk.ended() {
                return;
            }
        }
        if self.rng.one_in(2) {
            self.sink.close();
            self.keep();
        }
    }
}

fn event(rng: &mut Rng, id: u64) -> Vec<u8> {
    let mut event = format!("{{\"id\":{id},\"pad\":\"").into_bytes();
    let pad = if rng.one_in(8) { 6000 } else { 600 };
    for _ in 0..rng.below(pad) {
        event.push(b'a' + rng.below(26) as u8);
    }
    event.extend_from_slice(b"\"}");
    event
}

// --- the reader ---

/// Events with their sequence numbers, in order.
type Events = Vec<(u64, Vec<u8>)>;

struct Commit {
    before: Hash,
    last: Hash,
    events: Events,
}

/// Reads the commit at the front of `bytes`: the commit and its length.
fn read_commit(bytes: &[u8]) -> Result<(Commit, usize), String> {
    let (mut at, mut commit): (usize, Option<Commit>) = (0, None);
    loop {
        let header = Header::parse(&bytes[at..]).map_err(|e| e.to_string())?;
        let hash = Hash::of(bytes[at..].first_chunk().expect("parsed"));
        at += HEADER_BYTES;
        let run = bytes.get(at..at + header.bytes as usize).ok_or("cut run")?;
        if crc32c(run) != header.crc32c {
            return Err(format!("run of event {} does not match its checksum", header.seq));
        }
        at += run.len();
        let lines: Vec<_> = run.split_inclusive(|&b| b == b'\n').map(|l| l[..l.len() - 1].to_vec()).collect();
        if lines.len() != header.events as usize {
            return Err("number of events".into());
        }
        let commit =
            commit.get_or_insert(Commit { before: header.prev, last: header.prev, events: Vec::new() });
        if header.prev != commit.last {
            return Err(format!("chain broken within a commit at event {}", header.seq));
        }
        commit.last = hash;
        commit.events.extend((header.seq..).zip(lines));
        if header.left == 0 {
            break;
        }
    }
    let end = at.next_multiple_of(BLOCK_BYTES);
    if bytes.get(at..end).is_none_or(|padding| padding.iter().any(|&b| !matches!(b, b'\n' | 0))) {
        return Err("padding".into());
    }
    Ok((commit.expect("one header at least"), end))
}

/// All events of a recovered directory and the last hash.
fn read_all(files: &BTreeMap<String, Vec<u8>>) -> Result<(Events, Hash), String> {
    let mut commits: Vec<Commit> = Vec::new();
    let mut unsound: Option<String> = None;
    for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".seg")) {
        let mut at = 0;
        while at < bytes.len() && bytes[at] != b'\n' {
            match read_commit(&bytes[at..]) {
                Ok((commit, len)) => {
                    let last = commits.last().map_or(Hash::ZERO, |commit| commit.last);
                    if commit.before != last {
                        // Only the first of a segment may supersede, and only the one before it.
                        let superseded = commits.pop().filter(|old| at == 0 && old.before == commit.before);
                        superseded.ok_or(format!("{name}: chain broken at {at}"))?;
                    }
                    // Whatever else stood at the end of the segment before had failed.
                    unsound = None;
                    commits.push(commit);
                    at += len;
                }
                Err(why) => {
                    unsound = Some(format!("{name}: {why} at {at}"));
                    break;
                }
            }
        }
    }
    if let Some(why) = unsound {
        return Err(format!("left by recovery: {why}"));
    }
    let last = commits.last().map_or(Hash::ZERO, |commit| commit.last);
    Ok((commits.into_iter().flat_map(|commit| commit.events).collect(), last))
}

/// Recovers and checks every promise. Leaves the disk recovered.
fn check(disk: &Disk, journal: &mut Journal, killed: bool) -> Result<Resume, String> {
    let (resume, report) = recover(disk, 0).map_err(|e| format!("refused: {e}"))?;
    if let Some(damage) = report.findings.iter().find(|f| matches!(f, Finding::Damaged { .. })) {
        return Err(format!("damage where none was done: {damage}"));
    }
    let files = disk.contents();
    let (stored, last) = read_all(&files)?;
    let mut seen = HashSet::new();
    for (index, (seq, event)) in stored.iter().enumerate() {
        if *seq != index as u64 + 1 {
            return Err(format!("event {seq} stands where {} belongs", index + 1));
        }
        if !journal.sent.contains(event) {
            return Err(format!("event {seq} was never sent"));
        }
        if !seen.insert(event) {
            return Err(format!("event {seq} is stored twice"));
        }
    }
    let promised = journal
        .durable
        .iter()
        .chain(if killed { Some(&journal.written) } else { None }.into_iter().flatten());
    for (seq, event) in promised {
        match stored.get(*seq as usize - 1) {
            Some((_, stored)) if stored == event => {}
            Some(_) => return Err(format!("acknowledged event {seq} is another now")),
            None => return Err(format!("acknowledged event {seq} is lost; {} are stored", stored.len())),
        }
    }
    if resume.next_seq != stored.len() as u64 + 1 || resume.prev != last {
        return Err(format!("goes on with event {} behind {}", resume.next_seq, stored.len()));
    }

    let again = disk.copy();
    let (resume_again, report) = recover(&again, 0).map_err(|e| format!("refused the second time: {e}"))?;
    let next_file = Resume { next_segment: resume.next_segment, ..resume_again };
    if next_file != resume || !report.findings.is_empty() || again.contents() != files {
        return Err(format!("recovering again changed something: {report:?}"));
    }

    // From now on all of it is promised: whoever reads it may rely on it.
    journal.durable = stored.into_iter().collect();
    journal.written.clear();
    Ok(resume)
}

/// All lives of one seed: how many ended in a power cut, or what went wrong.
fn torture(seed: u64, mutant: Option<Mutant>) -> Result<u64, String> {
    let mut rng = Rng::new(seed);
    let disk = Disk::new(seed);
    let mut journal = Journal::default();
    let mut cuts = 0;
    let capacity = (ARENA_BYTES * (2 + rng.below(4) as usize)) as u64;
    disk.0.borrow_mut().no_dir_sync = mutant == Some(Mutant::NoDirSync);
    let mut resume = check(&disk, &mut journal, false)?;
    for life in 0..LIVES {
        {
            let mut state = disk.0.borrow_mut();
            state.operations = 0;
            state.ends_at = 1 + rng.below(150);
            // Half of the lives are spent on a sound disk.
            state.faults = [0, 0, 12, 40][rng.below(4) as usize];
        }
        let commits = 5 + rng.below(45);
        let sink = SegmentSink::new(0, &resume);
        let mut writer = Writer {
            disk: &disk,
            rng: &mut rng,
            mutant,
            capacity,
            sink,
            files: HashMap::new(),
            waiting: Vec::new(),
        };
        writer.live(&mut journal, commits);

        let killed = rng.one_in(3);
        {
            let mut state = disk.0.borrow_mut();
            state.faults = 0;
            state.ends_at = 0;
            state.crc_ignored = mutant == Some(Mutant::CrcIgnored);
            state.no_sync = mutant == Some(Mutant::NoSyncInRecovery);
        }
        if killed {
            disk.after_death();
        } else {
            disk.after_power_cut();
            cuts += 1;
            // And again while recovering, sometimes; whatever it did then must not matter.
            if rng.one_in(3) {
                {
                    let mut state = disk.0.borrow_mut();
                    state.operations = 0;
                    state.ends_at = 1 + rng.below(6);
                }
                let _ = recover(&disk, 0);
                disk.0.borrow_mut().ends_at = 0;
                disk.after_power_cut();
                cuts += 1;
            }
        }
        resume = check(&disk, &mut journal, killed).map_err(|e| format!("life {life}: {e}"))?;
        let mut state = disk.0.borrow_mut();
        state.crc_ignored = false;
        state.no_sync = false;
    }
    Ok(cuts)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn no_acknowledged_event_is_lost_in_any_power_cut() {
    let seeds = match number("RINGMILL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RINGMILL_SEEDS").unwrap_or(SEEDS),
    };
    let enough = seeds.end - seeds.start >= SEEDS;
    let mut cuts = 0;
    for seed in seeds {
        match torture(seed, None) {
            Ok(n) => cuts += n,
            Err(why) => panic!("RINGMILL_SEED={seed}: {why}"),
        }
    }
    println!("{cuts} power cuts");
    assert!(cuts >= 2000 || !enough, "{cuts} power cuts are not enough");
}

#[test]
fn every_mutant_is_caught() {
    for mutant in MUTANTS {
        let caught = (0..SEEDS).find_map(|seed| torture(seed, Some(mutant)).err().map(|why| (seed, why)));
        match caught {
            Some((seed, why)) => println!("{mutant:?}: caught by seed {seed}: {why}"),
            None => panic!("{mutant:?} lives"),
        }
    }
}

#[test]
fn quarantine_is_no_segment() {
    // A quarantine file beside the segments changes nothing of the chain.
    let disk = Disk::new(1);
    keeper::prepare(&disk, FileKind::Quarantine, 3, 8192, |_| false).expect("no faults");
    let (resume, report) = recover(&disk, 0).expect("ours");
    assert_eq!((resume.next_quarantine, resume.next_segment, report.removed), (4, 1, 1));
}
