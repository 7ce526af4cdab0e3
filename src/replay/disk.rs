//! What the replay does to its folder: cursors, refused events, segments that are done. Whatever fails there is told
//! once and tried again.
use super::Notice;
use super::control::Control;
use super::cursor::Cursor;
use crate::command::segments::directory;
use std::fs::{self, File};
use std::io;
use std::time::{Duration, Instant};

/// A cursor is written at most so often while more follows: two syncs each, so a hundredth of a disk's time; a crash
/// replays as much again.
const CURSOR_EVERY: Duration = Duration::from_millis(100);
/// How soon what failed on the disk is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Control {
    /// What failed on the disk, and what is due there.
    pub(super) fn try_again(&mut self) {
        let now = Instant::now();
        if self.retry_at.is_none_or(|at| now >= at) {
            self.retry_at = None;
            if self.out.as_ref().is_some_and(|out| out.held.is_some()) {
                self.settle();
            }
        }
        if now >= self.next_cursor {
            self.write_cursors();
        }
    }

    pub(super) fn write_cursors(&mut self) {
        self.next_cursor = Instant::now() + CURSOR_EVERY;
        self.summary.cursor = None;
        for at in 0..self.lanes.len() {
            let lane = &self.lanes[at];
            if !lane.dirty {
                continue;
            }
            let cursor = Cursor {
                target: self.name.clone(),
                stream: self.stream.map(|stream| stream.to_string()),
                place: lane.settled,
                kept: lane.kept.clone(),
            };
            let what = format!("write the cursor of shard {}", lane.reader.shard());
            match cursor.write(lane.reader.folder()) {
                Ok(()) => {
                    self.lanes[at].dirty = false;
                    self.succeeds(&what);
                }
                Err(error) => {
                    self.summary.cursor = Some(format!("cannot {what}: {error}"));
                    self.next_cursor = Instant::now() + RETRY_AFTER;
                    self.fails(what, &error);
                }
            }
        }
    }

    /// Tells once that something does not succeed, and notes when it is tried again.
    pub(super) fn fails(&mut self, what: String, error: &io::Error) {
        self.retry_at = Some(Instant::now() + RETRY_AFTER);
        if !self.failing.contains(&what) {
            self.failing.push(what.clone());
            self.tell(Notice::Failing { what, error: error.to_string() });
        }
    }

    /// Tells that what failed before succeeded.
    pub(super) fn succeeds(&mut self, what: &str) {
        if let Some(at) = self.failing.iter().position(|failing| failing == what) {
            let what = self.failing.swap_remove(at);
            self.tell(Notice::Recovered { what });
        }
    }

    /// Removes the segments of a shard whose every event is done, but never the newest that holds commits, nor one
    /// that holds what could not be read.
    pub(super) fn remove_done(&mut self, at: usize) {
        let lane = &self.lanes[at];
        let Some((newest, _)) = lane.durable.filter(|_| self.remove) else { return };
        let below = lane.settled.segment.min(newest);
        if below <= lane.removed_below {
            return;
        }
        let shard = lane.reader.shard();
        let Ok(mut shards) = directory::shards(&self.dir, Some(shard)) else { return };
        let files = shards.pop().map_or(Vec::new(), |shard| shard.segments);
        let (mut all, mut any) = (true, false);
        for file in files.into_iter().filter(|file| file.number < below && !lane.kept.contains(&file.number))
        {
            match fs::remove_file(&file.path) {
                Ok(()) => {
                    any = true;
                    (self.notice)(Notice::Removed { file: file.name, bytes: file.len });
                }
                Err(error) => {
                    all = false;
                    let what = format!("remove {}", file.name);
                    (self.notice)(Notice::Failing { what, error: error.to_string() });
                }
            }
        }
        if any && let Ok(folder) = File::open(lane.reader.folder()) {
            // A name that comes back after a crash is removed again.
            let _ = folder.sync_all();
        }
        if all {
            self.lanes[at].removed_below = below;
        }
    }
}
