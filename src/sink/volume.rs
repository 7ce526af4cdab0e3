//! One shard's directory, behind a trait so that recovery and the keeper also run on a simulated disk.
//!
//! A [`Volume`] is a flat directory and a [`VolumeFile`] one file of it. Nothing is durable until it was
//! said so: contents by [`VolumeFile::sync`], names by [`Volume::sync_dir`].

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::sys::allocate::allocate;

/// Offsets, lengths and addresses of direct reads and writes are multiples of this many bytes.
pub const BLOCK_BYTES: usize = 4096;

/// What a directory holds under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, without any path; bytes that are not UTF-8 are replaced, which makes it a foreign one.
    pub name: String,
    /// Length in bytes; 0 for what is not a regular file.
    pub bytes: u64,
    /// When the contents last changed.
    pub modified: SystemTime,
    /// Whether this is a regular file.
    pub regular: bool,
}

/// A flat directory of files.
pub trait Volume {
    /// An open file of this directory.
    type File: VolumeFile;

    /// All entries, sorted by name.
    fn list(&self) -> io::Result<Vec<Entry>>;
    /// A new file, open to read and write directly; refuses a name that exists.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// An existing file, open to read and cut, through the page cache.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// Gives a file another name in one step. Refuses one that exists.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Takes a name away.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes every change of names so far survive loss of power.
    fn sync_dir(&self) -> io::Result<()>;
    /// How to name that file to a human.
    fn display(&self, name: &str) -> String;
}

/// One file of a [`Volume`].
pub trait VolumeFile {
    /// Reads up to `buffer.len()` bytes at `offset`; fewer at the end, or when interrupted.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes up to `bytes.len()` bytes at `offset`, and says how many.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize>;
    /// Makes contents and length survive loss of power. An error is final: what was written since the
    /// last success may be lost even when a later call succeeds.
    fn sync(&self) -> io::Result<()>;
    /// Makes the file `bytes` long with all of its space taken; what was never written reads as zeros. False: it
    /// cannot be had here, and nothing changed.
    fn allocate(&self, bytes: u64) -> io::Result<bool>;
    /// Cuts the file to `bytes`.
    fn truncate(&self, bytes: u64) -> io::Result<()>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether there is nothing in it.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// The number by which a ring writes to it.
    fn raw(&self) -> RawFd;
}

/// A directory of the machine's file system.
#[derive(Clone, Debug)]
pub struct FsVolume {
    dir: PathBuf,
    direct: bool,
}

impl FsVolume {
    /// The directory at `dir`, which exists. Finds out by a probe file, removed again, whether its file
    /// system takes direct writes.
    pub fn open(dir: &Path) -> io::Result<FsVolume> {
        let probe = dir.join("0000000000.seg.tmp");
        remove_if_there(&probe)?;
        let opened = new_options(true).open(&probe);
        let direct = match opened {
            Ok(_) => true,
            // EINVAL is how a file system says that it has no O_DIRECT; the name may be made by then.
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => false,
            Err(e) => return Err(named(&probe, e)),
        };
        remove_if_there(&probe)?;
        Ok(FsVolume { dir: dir.to_path_buf(), direct })
    }

    /// Whether writes go past the page cache. Without, they stay durable through `fdatasync`, but the page
    /// cache grows and a write may wait for it.
    pub fn direct(&self) -> bool {
        self.direct
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

fn new_options(direct: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o640);
    if direct {
        options.custom_flags(libc::O_DIRECT);
    }
    options
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(named(path, e)),
        _ => Ok(()),
    }
}

/// The same error with the path in its text. The kind stays, the number of the system does not; so this is
/// for what a human reads, after every decision by number.
pub(super) fn named(path: &Path, e: io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

impl Volume for FsVolume {
    type File = File;

    fn list(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            let regular = meta.is_file();
            entries.push(Entry {
                name: entry.file_name().to_string_lossy().into_owned(),
                bytes: if regular { meta.len() } else { 0 },
                modified: meta.modified()?,
                regular,
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        new_options(self.direct).open(self.dir.join(name))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.dir.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        // The lock on the whole directory keeps every other server out, so asking first is enough.
        if self.dir.join(to).symlink_metadata().is_ok() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{to} exists already")));
        }
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn display(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

impl VolumeFile for File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn allocate(&self, bytes: u64) -> io::Result<bool> {
        allocate(self.as_fd(), bytes)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn raw(&self) -> RawFd {
        self.as_raw_fd()
    }
}

/// The sole right to a data directory, held until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct DirLock(#[allow(dead_code, reason = "held, not used")] File);

/// Takes `dir/lock`, which says that a server writes there. `Ok(None)` when another process has it.
///
/// # Errors
/// When the file cannot be made or locked.
pub fn lock(dir: &Path) -> io::Result<Option<DirLock>> {
    lock_file(&dir.join("lock"))
}

/// Takes a lock file, made if it is not there. `Ok(None)` when another process, or this one, has it.
///
/// # Errors
/// When the file cannot be made or locked.
pub fn lock_file(path: &Path) -> io::Result<Option<DirLock>> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        .open(path)
        .map_err(|e| named(path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(DirLock(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(named(path, e)),
    }
}

/// Writes all of `bytes` at `offset`, going on after short writes.
pub fn write_all_at(file: &impl VolumeFile, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(offset, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                offset += n as u64;
                bytes = &bytes[n..];
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Fills `buffer` from `offset`, fewer bytes only at the end of the file.
pub fn read_full_at(file: &impl VolumeFile, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(offset + filled as u64, &mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
