//! One shard's replay: its reader, what is settled, and the figures of both.
use super::Progress;
use super::cursor::Place;
use super::read::Reader;
use std::collections::VecDeque;

/// Times of commits that are kept to tell the age of the oldest waiting event: an hour at one a second.
const MARKS_MAX: usize = 3600;

/// One shard's replay.
pub struct Lane {
    pub reader: Reader,
    /// Everything before is done.
    pub settled: Place,
    pub kept: Vec<u64>,
    pub progress: Progress,
    /// Segment and sequence number of what is durable, of a shard that is followed.
    pub durable: Option<(u64, u64)>,
    /// Sequence numbers and times of commits that wait, rising.
    pub marks: VecDeque<(u64, u64)>,
    /// There is nothing to read now.
    pub dry: bool,
    /// The cursor on the disk is behind `settled`.
    pub dirty: bool,
    /// Segments below were removed.
    pub removed_below: u64,
}

impl Lane {
    /// At the place where its reader begins.
    pub fn new(reader: Reader, kept: Vec<u64>, durable: Option<(u64, u64)>) -> Lane {
        let settled = reader.place();
        let progress = Progress {
            shard: reader.shard(),
            through: settled.next.saturating_sub(1),
            ..Progress::default()
        };
        let marks = VecDeque::new();
        let (dry, dirty, removed_below) = (false, false, 0);
        Lane { reader, settled, kept, progress, durable, marks, dry, dirty, removed_below }
    }

    /// Counts what waits at the start.
    ///
    /// # Errors
    /// When its folder cannot be listed.
    pub fn sum_up(&mut self) -> Result<(), String> {
        if self.durable.is_none() {
            return Ok(());
        }
        let (mut bytes, mut marks) = (0, Vec::new());
        self.reader.sum_up(|through, more, time_ms| {
            bytes += more;
            marks.push((through, time_ms));
        })?;
        marks.into_iter().for_each(|(through, time_ms)| self.mark(through, time_ms));
        self.progress.waiting_bytes = bytes;
        self.count();
        Ok(())
    }

    /// Notes that a commit waits.
    pub fn mark(&mut self, through: u64, time_ms: u64) {
        let full = self.marks.len() == MARKS_MAX;
        match self.marks.back_mut() {
            // One a second is enough, and what is over the bound joins the newest.
            Some(last) if full || time_ms < last.1 + 1000 => last.0 = through,
            _ => self.marks.push_back((through, time_ms)),
        }
    }

    /// Brings the figures of what waits up to date.
    pub fn count(&mut self) {
        self.progress.through = self.settled.next.saturating_sub(1);
        let Some((_, through)) = self.durable else { return };
        while self.marks.front().is_some_and(|mark| mark.0 < self.settled.next) {
            self.marks.pop_front();
        }
        let progress = &mut self.progress;
        progress.waiting_events = (through + 1).saturating_sub(self.settled.next.max(1));
        if progress.waiting_events == 0 {
            (progress.waiting_bytes, progress.stuck) = (0, None);
        }
        progress.oldest_ms = self.marks.front().map(|mark| mark.1);
    }
}
