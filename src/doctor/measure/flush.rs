//! How long a commit takes in the data directory: writes of 4 KiB into a file that was written before, each with its
//! `fdatasync`, as the server does; then writes alone, to tell the flush from the write.
use super::quantile;
use crate::core::memory::{Clock, Memory};
use crate::doctor::judge::Flush;
use crate::sys::clock::MonotonicClock;
use crate::sys::mapping::{Mapping, Residence};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Time for commits, and for writes alone.
const SPANS_NS: (u64, u64) = (500_000_000, 100_000_000);
/// Bytes of one write: the least that the server commits.
const BLOCK: usize = 4096;
/// Bytes of the file, written once before it is measured.
const FILE: usize = 4 << 20;

/// Removed however this ends.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Measures in `dir`, or in the nearest folder above it that is there.
///
/// # Errors
/// What cannot be done, with the path.
pub fn measure(dir: &Path) -> Result<Flush, String> {
    let place = dir.ancestors().find(|place| place.is_dir()).unwrap_or(Path::new("."));
    let scratch = Scratch(place.join(format!(".ringmill-doctor-{}", std::process::id())));
    let explain = |error: io::Error| {
        format!(
            "cannot write in {}: {error}; run it as the server's user, or name another with --data",
            place.display()
        )
    };
    let (file, direct) = open(&scratch.0).map_err(explain)?;
    run(&file, direct).map_err(explain)
}

/// The file, and whether it is written past the page cache.
fn open(path: &Path) -> io::Result<(File, bool)> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    io::Write::write_all(&mut file, &vec![b'\n'; FILE])?;
    file.sync_all()?;
    match OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path) {
        Ok(direct) => Ok((direct, true)),
        Err(_) => Ok((file, false)),
    }
}

fn run(file: &File, direct: bool) -> io::Result<Flush> {
    let mut block = Mapping::new(BLOCK, Residence::Now)?;
    block.bytes_mut().fill(b'\n');
    let commits = times(SPANS_NS.0, |at| {
        file.write_all_at(block.bytes(), at)?;
        file.sync_data()
    })?;
    let writes = times(SPANS_NS.1, |at| file.write_all_at(block.bytes(), at))?;
    Ok(Flush {
        count: commits.len(),
        p50_ns: quantile(&commits, 0.5),
        p99_ns: quantile(&commits, 0.99),
        longest_ns: quantile(&commits, 1.0),
        write_p50_ns: quantile(&writes, 0.5),
        direct,
    })
}

/// How long each of as many calls took as go into that time, at least one; rising. The call is given a place.
fn times(span_ns: u64, mut call: impl FnMut(u64) -> io::Result<()>) -> io::Result<Vec<u64>> {
    let mut all = Vec::new();
    let end = MonotonicClock.now_ns() + span_ns;
    loop {
        let place = (all.len() * BLOCK % FILE) as u64;
        let begun = MonotonicClock.now_ns();
        call(place)?;
        let now = MonotonicClock.now_ns();
        all.push(now - begun);
        if now >= end {
            all.sort_unstable();
            return Ok(all);
        }
    }
}
