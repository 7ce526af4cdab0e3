//! A data directory: taken by one server, one folder a shard, each recovered before it is used.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ringmill_core::sink::Resume;

use super::name::{REPLAY_LOCK, parse_shard_dir, shard_dir};
use super::recover::{Finding, RecoverError, Report, recover};
use super::volume::{DirLock, FsVolume, lock, named};

/// An open data directory. Nobody else can open it until this is dropped.
#[derive(Debug)]
pub struct Store {
    /// The shards in order, as many as were asked for.
    pub shards: Vec<OpenShard>,
    /// Folders of shards beyond those; recovered, but nothing will be written to them.
    pub idle: Vec<OpenShard>,
    lock: DirLock,
}

/// One shard's folder, recovered.
#[derive(Debug)]
pub struct OpenShard {
    /// The shard's number.
    pub shard: u32,
    /// Its folder.
    pub volume: FsVolume,
    /// Where its chain goes on.
    pub resume: Resume,
    /// What recovery did.
    pub report: Report,
}

/// Why a data directory was not opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another server has it.
    Taken {
        /// The directory.
        dir: PathBuf,
    },
    /// It holds what this server did not write.
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// A foreign name in it.
        name: String,
    },
    /// The system refused.
    Io {
        /// What was tried, and where.
        what: String,
        /// The system's error.
        error: io::Error,
    },
    /// A shard's folder was not taken.
    Shard {
        /// Which shard.
        shard: u32,
        /// Why.
        error: RecoverError,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Taken { dir } => write!(
                f,
                "{} is in use by another server, which holds the lock on {}; stop it, or name another \
                 directory with --sink",
                dir.display(),
                dir.join("lock").display()
            ),
            OpenError::Foreign { dir, name } => write!(
                f,
                "{} holds {name:?}, which this server did not write; nothing was changed: move it away, or \
                 name another directory with --sink",
                dir.display()
            ),
            OpenError::Io { what, error } => write!(f, "cannot {what}: {error}"),
            OpenError::Shard { shard, error } => write!(f, "shard {shard}: {error}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::Taken { .. } | OpenError::Foreign { .. } => None,
            OpenError::Io { error, .. } => Some(error),
            OpenError::Shard { error, .. } => Some(error),
        }
    }
}

impl Store {
    /// Opens `dir` for `shards` shards: makes what is missing, takes the lock, looks for foreign names, then
    /// recovers each shard.
    ///
    /// # Errors
    /// See [`OpenError`]; each says what is wrong, where, and how to mend it.
    pub fn open(dir: &Path, shards: u32) -> Result<Store, OpenError> {
        let io = |what: &str| {
            let what = format!("{what} {}", dir.display());
            move |error| OpenError::Io { what, error }
        };
        make_dir(dir).map_err(io("make the directory"))?;
        let present = foreign_or_shards(dir)?;
        let lock = match lock(dir).map_err(io("lock"))? {
            Some(lock) => lock,
            None => return Err(OpenError::Taken { dir: dir.to_path_buf() }),
        };
        for shard in 0..shards {
            make_dir(&dir.join(shard_dir(shard))).map_err(io("make a shard's folder in"))?;
        }
        sync_dir(dir).map_err(io("sync"))?;

        let open = |shard: u32| {
            let path = dir.join(shard_dir(shard));
            let volume = FsVolume::open(&path)
                .map_err(|error| OpenError::Io { what: format!("write in {}", path.display()), error })?;
            let (resume, report) =
                recover(&volume, shard).map_err(|error| OpenError::Shard { shard, error })?;
            Ok(OpenShard { shard, volume, resume, report })
        };
        let idle =
            present.into_iter().filter(|&shard| shard >= shards).map(open).collect::<Result<_, _>>()?;
        let shards = (0..shards).map(open).collect::<Result<_, _>>()?;
        Ok(Store { shards, idle, lock })
    }

    /// What was found and done, as lines for the log, the first of each pair saying whether it is a warning.
    pub fn report(&self) -> Vec<(bool, String)> {
        let mut lines = Vec::new();
        for open in self.shards.iter().chain(&self.idle) {
            for finding in &open.report.findings {
                lines.push((matches!(finding, Finding::Damaged { .. }), finding.to_string()));
            }
        }
        if let Some(open) = self.shards.iter().find(|open| !open.volume.direct()) {
            let dir = open.volume.dir().display();
            lines.push((
                true,
                format!(
                    "{dir}: this file system refuses O_DIRECT; commits go through the page cache, slower"
                ),
            ));
        }
        for open in &self.idle {
            let dir = open.volume.dir().display();
            lines.push((
                false,
                format!("{dir}: of an earlier run with more shards; left as it is, still readable"),
            ));
        }
        lines
    }

    /// Takes the store apart: the shards, and the lock, which must live as long as they are written to.
    pub fn into_parts(self) -> (Vec<OpenShard>, DirLock) {
        (self.shards, self.lock)
    }
}

/// Makes `dir` with all its parents, each name durable.
fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    make_dir(parent)?;
    match fs::create_dir(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists || !dir.is_dir() => Err(named(dir, e)),
        _ => sync_dir(parent),
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

/// The shards that have a folder.
fn foreign_or_shards(dir: &Path) -> Result<Vec<u32>, OpenError> {
    let io = |error| OpenError::Io { what: format!("list {}", dir.display()), error };
    let mut shards = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        let is_dir = entry.file_type().map_err(io)?.is_dir();
        let name = entry.file_name().to_string_lossy().into_owned();
        match parse_shard_dir(&name) {
            Some(shard) if is_dir => shards.push(shard),
            // The second is what a file system of its own has at its top.
            _ if (name == "lock" || name == REPLAY_LOCK) && !is_dir || name == "lost+found" && is_dir => {}
            _ => return Err(OpenError::Foreign { dir: dir.to_path_buf(), name }),
        }
    }
    shards.sort_unstable();
    Ok(shards)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
