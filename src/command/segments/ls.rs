//! `segments ls`: one line a file.
use super::Stop;
use super::args::LsArgs;
use super::directory::{Segment, Source, Visit, shards, walk};
use crate::log::rfc3339;
use ringmill_core::segment::{Depth, QuarantineStep, QuarantineWalker, Step};
use std::io::Write;
use std::ops::ControlFlow;

#[derive(Default)]
struct Row {
    commits: u64,
    events: u64,
    bytes: u64,
    seqs: Option<(u64, u64)>,
    times: Option<(u64, u64)>,
    used: u64,
    damaged: bool,
    tail: bool,
    superseded: bool,
}

impl Row {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Commit(commit) => {
                self.commits += 1;
                self.events += commit.events;
                self.bytes += commit.bytes;
                self.used = commit.end;
                let first = self.seqs.map_or(commit.first.seq, |(first, _)| first);
                self.seqs = Some((first, commit.last.last_seq()));
                let first = self.times.map_or(commit.first.time_ms, |(first, _)| first);
                self.times = Some((first, commit.last.time_ms));
            }
            Step::Superseded(commit) => {
                self.superseded = true;
                self.used = commit.end;
            }
            Step::Damage(_) => self.damaged = true,
            Step::Tail { .. } => self.tail = true,
            Step::End { .. } => {}
        }
    }

    fn cells(&self, segment: &Segment) -> [String; 10] {
        let [first, last] = ends(self.seqs, |seq| seq.to_string());
        let [from, to] = ends(self.times, rfc3339);
        let (commits, events) = (self.commits.to_string(), self.events.to_string());
        let (bytes, size) = (self.bytes.to_string(), segment.len.to_string());
        let (name, state) = (segment.name.clone(), self.state(segment).to_string());
        [name, state, commits, events, first, last, bytes, size, from, to]
    }

    fn state(&self, segment: &Segment) -> &'static str {
        match () {
            () if self.damaged => "damaged",
            () if self.tail => "unfinished",
            () if self.superseded => "failed",
            () if segment.len > self.used => "open",
            () if self.commits == 0 => "empty",
            () => "closed",
        }
    }
}

/// Lists; reads headers only. `state` is `open` (longer than what is used: written to, or its server died),
/// `closed`, `empty`, `failed` (its last commit was replaced by the next segment), `unfinished` or `damaged`.
pub(super) fn ls(args: &LsArgs, out: impl Write) -> Result<u64, Stop> {
    let shards = shards(&args.dir, args.shard)?;
    let mut out = std::io::BufWriter::new(out);
    let heads = ["FILE", "STATE", "COMMITS", "EVENTS", "FIRST", "LAST", "BYTES", "SIZE", "FROM", "TO"];
    line(&mut out, &heads.map(str::to_string))?;
    let mut unreadable = 0;
    for shard in &shards {
        let mut row = Row::default();
        let walked = walk(shard, Depth::Headers, None, |visit| {
            match visit {
                Visit::Open(_) => row = Row::default(),
                Visit::Step(_, _, step) => row.take(step),
                Visit::Failed(segment, offset, error) => {
                    unreadable += 1;
                    let name = &segment.name;
                    super::complain(&format!("{name} cannot be read from byte {offset} on: {error}"));
                }
                Visit::Close(segment) => {
                    if let Err(stop) = line(&mut out, &row.cells(segment)) {
                        return ControlFlow::Break(stop);
                    }
                }
            }
            ControlFlow::Continue(())
        });
        if let ControlFlow::Break(stop) = walked {
            return Err(stop);
        }
        for file in &shard.quarantines {
            if let Some(cells) = quarantine_cells(file, shard.number) {
                line(&mut out, &cells)?;
            }
        }
    }
    out.flush().map_err(Stop::output)?;
    Ok(unreadable)
}

/// A quarantine file's row; `None` where it went in the meantime.
fn quarantine_cells(file: &Segment, shard: u32) -> Option<[String; 10]> {
    let mut walker = QuarantineWalker::new(Source::open(&file.path).ok()?, shard);
    let (mut entries, mut bytes) = (0u64, 0);
    while let Ok(Some(step)) = walker.step() {
        if let QuarantineStep::Entry { range } = step {
            entries += 1;
            bytes += range.end - range.start;
        }
    }
    let dash = || "-".to_string();
    let (name, state) = (file.name.clone(), "quarantine".to_string());
    let (entries, bytes, size) = (entries.to_string(), bytes.to_string(), file.len.to_string());
    Some([name, state, dash(), entries, dash(), dash(), bytes, size, dash(), dash()])
}

/// Both ends as text, dashes where there are none.
fn ends(pair: Option<(u64, u64)>, text: impl Fn(u64) -> String) -> [String; 2] {
    pair.map_or_else(|| ["-", "-"].map(str::to_string), |(first, last)| [text(first), text(last)])
}

fn line(out: &mut impl Write, cells: &[String; 10]) -> Result<(), Stop> {
    let [name, state, commits, events, first, last, bytes, size, from, to] = cells;
    writeln!(
        out,
        "{name:<31} {state:<10} {commits:>8} {events:>11} {first:>11} {last:>11} {bytes:>13} {size:>11} {from:<24} {to}"
    )
    .map_err(Stop::output)
}
