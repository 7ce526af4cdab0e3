//! `segments ls`: one line a file.
use super::Stop;
use super::args::LsArgs;
use super::directory::{Segment, Source, Visit, shards, walk};
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
                Visit::Step(_, _, Step::Commit(commit)) => {
                    row.commits += 1;
                    row.events += commit.events;
                    row.bytes += commit.bytes;
                    row.used = commit.end;
                    let first = row.seqs.map_or(commit.first.seq, |(first, _)| first);
                    row.seqs = Some((first, commit.last.last_seq()));
                    let first = row.times.map_or(commit.first.time_ms, |(first, _)| first);
                    row.times = Some((first, commit.last.time_ms));
                }
                Visit::Step(_, _, Step::Superseded(commit)) => {
                    row.superseded = true;
                    row.used = commit.end;
                }
                Visit::Step(_, _, Step::Damage(_)) => row.damaged = true,
                Visit::Step(_, _, Step::Tail { .. }) => row.tail = true,
                Visit::Step(_, _, Step::End { .. }) => {}
                Visit::Failed(segment, offset, error) => {
                    unreadable += 1;
                    super::complain(&format!(
                        "{} cannot be read from byte {offset} on: {error}",
                        segment.name
                    ));
                }
                Visit::Close(segment) => {
                    let number = |pair: Option<(u64, u64)>, last: bool| match pair {
                        Some((first, end)) => (if last { end } else { first }).to_string(),
                        None => "-".to_string(),
                    };
                    let time = |last: bool| match row.times {
                        Some((first, end)) => utc(if last { end } else { first }),
                        None => "-".to_string(),
                    };
                    let cells = [
                        segment.name.clone(),
                        row.state(segment).to_string(),
                        row.commits.to_string(),
                        row.events.to_string(),
                        number(row.seqs, false),
                        number(row.seqs, true),
                        row.bytes.to_string(),
                        segment.len.to_string(),
                        time(false),
                        time(true),
                    ];
                    if let Err(stop) = line(&mut out, &cells) {
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
            let Ok(source) = Source::open(&file.path) else { continue };
            let mut walker = QuarantineWalker::new(source, shard.number);
            let (mut entries, mut bytes) = (0u64, 0);
            while let Ok(Some(step)) = walker.step() {
                if let QuarantineStep::Entry { range } = step {
                    entries += 1;
                    bytes += range.end - range.start;
                }
            }
            let dash = || "-".to_string();
            let (name, entries, bytes) = (file.name.clone(), entries.to_string(), bytes.to_string());
            let cells = [
                name,
                "quarantine".into(),
                dash(),
                entries,
                dash(),
                dash(),
                bytes,
                file.len.to_string(),
                dash(),
                dash(),
            ];
            line(&mut out, &cells)?;
        }
    }
    out.flush().map_err(Stop::output)?;
    Ok(unreadable)
}

fn line(out: &mut impl Write, cells: &[String; 10]) -> Result<(), Stop> {
    let [name, state, commits, events, first, last, bytes, size, from, to] = cells;
    writeln!(
        out,
        "{name:<31} {state:<10} {commits:>8} {events:>11} {first:>11} {last:>11} {bytes:>13} {size:>11} {from:<24} {to}"
    )
    .map_err(Stop::output)
}

/// `2025-11-13T02:13:20.000Z`
fn utc(time_ms: u64) -> String {
    let (days, ms) = (time_ms / 86_400_000, time_ms % 86_400_000);
    // Days since 0000-03-01, in eras of 400 years: the leap day stands last.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + carry;
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn times_are_written_out() {
        for (time_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_763_000_000_000, "2025-11-13T02:13:20.000Z"),
        ] {
            assert_eq!(utc(time_ms), text);
        }
    }
}
