//! A device that may fail, and the housekeeper that makes files on it.
use super::world::Rng;
use ringmill_core::segment::header::{BLOCK_BYTES, HEADER_BYTES, Header};
use ringmill_core::segment::walk::{Chain, Depth, Step, Walker};
use ringmill_core::segment::{Hash, QuarantineStep, QuarantineWalker};
use ringmill_core::sink::FileKind;
use std::collections::{HashMap, HashSet};

/// Errno.
pub const EIO: i32 = 5;
/// Errno.
pub const ENOSPC: i32 = 28;
/// Errno of a flush behind a failed write.
pub const ECANCELED: i32 = 125;

/// How often things go wrong, in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub write: u64,
    pub sync: u64,
    pub short: u64,
    pub full: u64,
    /// The device thinks for seconds.
    pub hang: u64,
    /// The housekeeper fails or takes seconds.
    pub keeper: u64,
}

/// One file, as written and as it would survive a loss of power.
pub struct File {
    pub kind: FileKind,
    pub number: u64,
    pub written: Vec<u8>,
    pub flushed: Vec<u8>,
    /// Nothing may be written to it any more.
    pub failed: bool,
    /// End of its last sound commit.
    pub used: u64,
}

/// The write under way in one slot.
pub struct Write {
    pub file: i32,
    pub offset: usize,
    pub bytes: Vec<u8>,
    pub sync: bool,
    pub outcome: Result<usize, i32>,
    pub sync_outcome: Result<usize, i32>,
}

pub struct Device {
    pub files: HashMap<i32, File>,
    pub faults: Faults,
    pub slots: [Option<Write>; 2],
    chain: Chain,
    /// Events in sound commits.
    pub stored: u64,
    order: Vec<Vec<u8>>,
    sound: HashSet<Vec<u8>>,
    landed: HashSet<Vec<u8>>,
    durable: HashSet<Vec<u8>>,
    /// Events that are written but not flushed, and where.
    unflushed: Vec<(i32, Vec<u8>)>,
    /// Entries in sound quarantine commits.
    pub quarantined: u64,
    pub failures: u64,
}

impl Device {
    pub fn new(faults: Faults) -> Device {
        Device {
            files: HashMap::new(),
            faults,
            slots: [None, None],
            chain: Chain { commit: 0, seq: 1, prev: Hash::ZERO },
            stored: 0,
            order: Vec::new(),
            sound: HashSet::new(),
            landed: HashSet::new(),
            durable: HashSet::new(),
            unflushed: Vec::new(),
            quarantined: 0,
            failures: 0,
        }
    }

    pub fn create(&mut self, fd: i32, kind: FileKind, number: u64, capacity: usize) {
        let blank = vec![b'\n'; capacity];
        let file = File { kind, number, written: blank.clone(), flushed: blank, failed: false, used: 0 };
        assert!(self.files.insert(fd, file).is_none());
    }

    pub fn submit(&mut self, rng: &mut Rng, slot: u8, write: (i32, u64, &[u8], bool)) {
        let (file, offset, bytes, sync) = write;
        let kind = self.files[&file].kind;
        assert_eq!(kind == FileKind::Quarantine, slot == 1, "each slot writes its kind");
        let f = &self.files[&file];
        assert!(!f.failed, "nothing is written to a file that failed");
        assert_eq!(offset, f.used, "commits follow each other");
        assert!((offset as usize).is_multiple_of(BLOCK_BYTES) && bytes.len().is_multiple_of(BLOCK_BYTES));
        assert!(!bytes.is_empty() && offset as usize + bytes.len() <= f.written.len(), "within the file");
        let faults = self.faults;
        let outcome = if rng.chance(faults.write) {
            Err(EIO)
        } else if rng.chance(faults.full) {
            Err(ENOSPC)
        } else if rng.chance(faults.short) {
            Ok(rng.below(bytes.len() as u64) as usize)
        } else {
            Ok(bytes.len())
        };
        let sync_outcome = match outcome {
            Ok(n) if n == bytes.len() => {
                if rng.chance(faults.sync) {
                    Err(EIO)
                } else {
                    Ok(0)
                }
            }
            _ => Err(ECANCELED),
        };
        let place = &mut self.slots[usize::from(slot)];
        assert!(place.is_none(), "one write a slot");
        *place =
            Some(Write { file, offset: offset as usize, bytes: bytes.to_vec(), sync, outcome, sync_outcome });
    }

    /// Carries out the write of a slot; returns what to report.
    pub fn write(&mut self, rng: &mut Rng, slot: u8) -> Result<usize, i32> {
        let write = self.slots[usize::from(slot)].as_ref().expect("a write under way");
        let file = self.files.get_mut(&write.file).expect("a file");
        let landed = match write.outcome {
            Ok(n) => n,
            Err(_) => rng.below(write.bytes.len() as u64 + 1) as usize,
        };
        file.written[write.offset..write.offset + landed].copy_from_slice(&write.bytes[..landed]);
        if write.outcome == Ok(write.bytes.len()) && file.kind == FileKind::Segment {
            self.landed.extend(events(&write.bytes));
        }
        write.outcome
    }

    /// Carries out the flush; returns what to report.
    pub fn sync(&mut self, rng: &mut Rng, slot: u8) -> Result<usize, i32> {
        let write = self.slots[usize::from(slot)].as_ref().expect("a write under way");
        let file = self.files.get_mut(&write.file).expect("a file");
        let kept = match write.sync_outcome {
            Ok(_) => true,
            Err(ECANCELED) => false,
            Err(_) => rng.chance(500),
        };
        if kept {
            file.flushed.copy_from_slice(&file.written);
        }
        write.sync_outcome
    }

    /// Judges the write of a slot once both of its steps are over, before the shard hears of the last.
    pub fn over(&mut self, slot: u8) {
        let write = self.slots[usize::from(slot)].take().expect("a write under way");
        let whole = write.outcome == Ok(write.bytes.len());
        let sound = whole && (!write.sync || write.sync_outcome.is_ok());
        let file = self.files.get_mut(&write.file).expect("a file");
        if !sound {
            file.failed = true;
            self.failures += 1;
            return;
        }
        let range = write.offset..write.offset + write.bytes.len();
        file.used = range.end as u64;
        let bytes = if write.sync { file.flushed[range].to_vec() } else { file.written[range].to_vec() };
        match file.kind {
            FileKind::Segment => self.commit(write.file, &bytes, write.sync),
            FileKind::Quarantine => self.refused(&bytes),
        }
    }

    fn commit(&mut self, file: i32, bytes: &[u8], sync: bool) {
        let mut walker = Walker::new(bytes, 0, Some(self.chain), None, Depth::Full);
        let Some(Step::Commit(commit)) = walker.step().expect("memory") else {
            panic!("no sound commit was written")
        };
        assert_eq!(commit.end, bytes.len() as u64, "one commit a write");
        self.chain = walker.chain().expect("behind a commit");
        let events = events(bytes);
        assert_eq!(events.len() as u64, commit.events, "an event is a line");
        for event in &events {
            assert!(self.sound.insert(event.clone()), "stored twice: {}", String::from_utf8_lossy(event));
        }
        self.stored += events.len() as u64;
        self.order.extend(events.iter().cloned());
        self.unflushed.extend(events.into_iter().map(|event| (file, event)));
        if sync {
            // A flush takes along what earlier commits left unflushed in the same file.
            let (theirs, others) =
                std::mem::take(&mut self.unflushed).into_iter().partition(|(of, _)| *of == file);
            self.unflushed = others;
            let theirs: Vec<(i32, Vec<u8>)> = theirs;
            self.durable.extend(theirs.into_iter().map(|(_, event)| event));
        }
    }

    fn refused(&mut self, bytes: &[u8]) {
        let mut walker = QuarantineWalker::new(bytes, 0);
        loop {
            match walker.step().expect("memory") {
                Some(QuarantineStep::Entry { .. }) => self.quarantined += 1,
                Some(QuarantineStep::End { .. }) | None => return,
                Some(other) => panic!("an unsound quarantine commit: {other:?}"),
            }
        }
    }

    /// The event is flushed, or about to be reported as such.
    pub fn is_durable(&self, event: &[u8]) -> bool {
        self.durable.contains(event)
    }

    /// The event was written whole, whatever became of its flush.
    pub fn was_written(&self, event: &[u8]) -> bool {
        self.landed.contains(event)
    }

    /// What a receipt says is where it says.
    pub fn check_receipt(&self, first: u64, events: &[Vec<u8>], durable: bool) {
        let at = first as usize - 1;
        if durable {
            assert_eq!(self.order[at..at + events.len()], *events, "the receipt names other events");
        }
    }

    /// The event is in a sound commit.
    pub fn is_stored(&self, event: &[u8]) -> bool {
        self.sound.contains(event)
    }
}

/// The events of one commit.
fn events(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut at, mut events) = (0, Vec::new());
    loop {
        let header = Header::parse(&bytes[at..]).expect("a header");
        at += HEADER_BYTES;
        let run = &bytes[at..at + header.bytes as usize];
        events.extend(run[..run.len() - 1].split(|b| *b == b'\n').map(<[u8]>::to_vec));
        at += header.bytes as usize;
        if header.left == 0 {
            return events;
        }
    }
}
