//! `segments verify`: every byte, or one receipt.
use super::args::VerifyArgs;
use super::directory::{Segment, Source, Visit, shards, walk};
use super::{Progress, Stop, damage_line, tail_line};
use ringmill_core::segment::{
    Commit, Depth, HEADER_BYTES, Hash, Header, QuarantineStep, QuarantineWalker, Step, Walker,
};
use serde::Deserialize;
use std::io::Write;
use std::ops::{ControlFlow, Range};

/// Checks; the number says how many places are damaged, or promises broken.
pub(super) fn verify(args: &VerifyArgs, mut out: impl Write) -> Result<u64, Stop> {
    if let Some(receipt) = &args.receipt {
        return promised(args, receipt, out);
    }
    let shards = shards(&args.dir, args.shard)?;
    let progress = Progress::new(shards.iter().map(|shard| shard.len()).sum());
    let mut damaged = 0;
    let mut all = Counts::default();
    for shard in &shards {
        let mut counts = Counts::default();
        let mut findings = Findings { out: &mut out, damaged: 0, error: None };
        let walked = walk(shard, Depth::Full, None, |visit| {
            match visit {
                Visit::Step(segment, _, Step::Commit(commit)) => {
                    counts.add(commit);
                    progress.at(segment, commit.end);
                }
                Visit::Step(_, _, Step::Superseded(_)) => counts.superseded += 1,
                Visit::Step(segment, _, Step::Damage(damage)) => {
                    findings.tell(&progress, &damage_line(&segment.name, damage));
                }
                Visit::Step(segment, walker, Step::Tail { range, why }) => {
                    // Behind it the next segment goes on where this one's last sound commit left off.
                    let cut = shard.segments.last().is_some_and(|last| last.number != segment.number);
                    if cut && walker.chain().is_some() {
                        counts.unfinished += 1;
                    } else {
                        findings.tell(&progress, &tail_line(&segment.name, range, why));
                    }
                }
                Visit::Failed(segment, offset, error) => {
                    let line =
                        format!("damaged: {} cannot be read from byte {offset} on: {error}", segment.name);
                    findings.tell(&progress, &line);
                }
                Visit::Open(_) => counts.segments += 1,
                Visit::Close(segment) => progress.file_done(segment),
                Visit::Step(_, _, Step::End { .. }) => {}
            }
            if findings.error.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        for file in &shard.quarantines {
            quarantine(file, shard.number, &mut counts, &mut findings, &progress);
        }
        let Findings { damaged: here, error, .. } = findings;
        if let (ControlFlow::Break(()), Some(error)) | (_, Some(error)) = (walked, error) {
            return Err(Stop::output(error));
        }
        damaged += here;
        progress
            .hidden(|| writeln!(out, "shard {}: {}", shard.number, counts.line()))
            .map_err(Stop::output)?;
        all.merge(&counts);
    }
    progress.finish();
    let verdict = match damaged {
        0 => "sound".to_string(),
        1 => "damaged in 1 place".to_string(),
        places => format!("damaged in {places} places"),
    };
    writeln!(out, "{}: {}", verdict, all.line()).and_then(|()| out.flush()).map_err(Stop::output)?;
    Ok(damaged)
}

struct Findings<'a, W> {
    out: &'a mut W,
    damaged: u64,
    error: Option<std::io::Error>,
}

impl<W: Write> Findings<'_, W> {
    fn tell(&mut self, progress: &Progress, line: &str) {
        self.damaged += 1;
        let told = progress.hidden(|| writeln!(self.out, "{line}"));
        self.error = self.error.take().or(told.err());
    }
}

fn quarantine(
    file: &Segment,
    shard: u32,
    counts: &mut Counts,
    findings: &mut Findings<'_, impl Write>,
    progress: &Progress,
) {
    let walked = Source::open(&file.path).and_then(|source| {
        let mut walker = QuarantineWalker::new(source, shard);
        while let Some(step) = walker.step()? {
            match step {
                QuarantineStep::Entry { .. } => counts.quarantined += 1,
                QuarantineStep::Damage { range, why } => {
                    let line = format!("damaged: {} bytes {}..{}: {why}", file.name, range.start, range.end);
                    findings.tell(progress, &line);
                }
                // Being written, or its server died: a refusal was promised to nobody before it was whole.
                QuarantineStep::Tail { .. } => counts.unfinished += 1,
                QuarantineStep::End { .. } => {}
            }
        }
        Ok(())
    });
    match walked {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            findings.tell(progress, &format!("damaged: {} cannot be read: {error}", file.name));
        }
        _ => {}
    }
}

#[derive(Clone, Debug, Default)]
struct Counts {
    segments: u64,
    commits: u64,
    events: u64,
    bytes: u64,
    superseded: u64,
    unfinished: u64,
    quarantined: u64,
    seqs: Option<Range<u64>>,
}

impl Counts {
    fn add(&mut self, commit: &Commit) {
        self.commits += 1;
        self.events += commit.events;
        self.bytes += commit.bytes;
        let first = self.seqs.as_ref().map_or(commit.first.seq, |seqs| seqs.start);
        self.seqs = Some(first..commit.last.next_seq());
    }

    fn merge(&mut self, other: &Counts) {
        self.segments += other.segments;
        self.commits += other.commits;
        self.events += other.events;
        self.bytes += other.bytes;
        self.superseded += other.superseded;
        self.unfinished += other.unfinished;
        self.quarantined += other.quarantined;
    }

    fn line(&self) -> String {
        let Counts { segments, commits, events, bytes, .. } = self;
        let mut line = format!("segments={segments} commits={commits} events={events} bytes={bytes}");
        if let Some(seqs) = &self.seqs {
            line += &format!(" first={} last={}", seqs.start, seqs.end - 1);
        }
        for (name, count) in [
            ("superseded", self.superseded),
            ("unfinished", self.unfinished),
            ("quarantined", self.quarantined),
        ] {
            if count > 0 {
                line += &format!(" {name}={count}");
            }
        }
        line
    }
}

/// What a reply promised.
#[derive(Debug, Deserialize)]
struct Receipt {
    shard: u32,
    first: u64,
    last: u64,
    segment: String,
    hash: String,
}

fn receipt(text: &str) -> Result<Receipt, Stop> {
    let usage = |why: String| Stop::Usage(format!("--receipt: {why}"));
    let mut value: serde_json::Value =
        serde_json::from_str(text).map_err(|error| usage(format!("not JSON: {error}")))?;
    if let Some(inner) = value.get_mut("receipt") {
        value = inner.take();
    }
    if value.is_null() {
        return Err(usage(
            "the reply's receipt is null: nothing was stored, or the sink gives none".to_string(),
        ));
    }
    let receipt: Receipt =
        serde_json::from_value(value).map_err(|error| usage(format!("no receipt: {error}")))?;
    if receipt.first > receipt.last {
        return Err(usage(format!("first ({}) is over last ({})", receipt.first, receipt.last)));
    }
    Ok(receipt)
}

fn promised(args: &VerifyArgs, text: &str, mut out: impl Write) -> Result<u64, Stop> {
    let receipt = receipt(text)?;
    let Some(hash) = Hash::from_hex(receipt.hash.as_bytes()) else {
        return Err(Stop::Usage("--receipt: hash is 64 lower-case hex digits".to_string()));
    };
    let shards = shards(&args.dir, Some(receipt.shard))?;
    let verdict = look_up(&receipt, hash, &shards[0]);
    let Receipt { shard, first, last, segment, .. } = &receipt;
    let (broken, line) = match verdict {
        Ok(at) => {
            (0, format!("kept: events {first}..{last} of shard {shard} are in {segment} from byte {at} on"))
        }
        Err(why) => (1, format!("not kept: events {first}..{last} of shard {shard} in {segment}: {why}")),
    };
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Stop::output)?;
    Ok(broken)
}

/// Offset of the commit that holds the receipt's events, or why they are not there.
fn look_up(receipt: &Receipt, hash: Hash, shard: &super::directory::Shard) -> Result<u64, String> {
    let Some(place) = shard.segments.iter().position(|segment| segment.name == receipt.segment) else {
        return Err("the segment is not there; it was removed, by retention or by hand".to_string());
    };
    // One segment is enough: its own headers lead to the events, and the next one tells what it replaced.
    let mut alone = shard.clone();
    alone.segments.drain(..place);
    let name = &receipt.segment;
    let walked = walk(&alone, Depth::Full, None, |visit| match visit {
        Visit::Step(_, walker, Step::Commit(commit)) if covers(commit, receipt) => {
            ControlFlow::Break(check(walker, commit, receipt, hash).map(|()| commit.start))
        }
        Visit::Step(_, _, Step::Superseded(commit)) if covers(commit, receipt) => {
            ControlFlow::Break(Err(format!("the commit at byte {} failed and was replaced", commit.start)))
        }
        Visit::Step(_, _, Step::Damage(damage))
            if damage.lost.as_ref().is_none_or(|lost| lost.contains(&receipt.last))
                && !damage.range.is_empty() =>
        {
            ControlFlow::Break(Err(damage_line(name, damage)))
        }
        Visit::Step(_, _, Step::Tail { range, why }) => ControlFlow::Break(Err(tail_line(name, range, why))),
        Visit::Failed(_, offset, error) => {
            ControlFlow::Break(Err(format!("cannot be read from byte {offset} on: {error}")))
        }
        Visit::Close(_) => ControlFlow::Break(Err("no such events in this segment".to_string())),
        _ => ControlFlow::Continue(()),
    });
    match walked {
        ControlFlow::Break(verdict) => verdict,
        ControlFlow::Continue(()) => Err("the segment was removed meanwhile".to_string()),
    }
}

fn covers(commit: &Commit, receipt: &Receipt) -> bool {
    (commit.first.seq..commit.last.next_seq()).contains(&receipt.last)
}

fn check(walker: &mut Walker<Source>, commit: &Commit, receipt: &Receipt, hash: Hash) -> Result<(), String> {
    if receipt.first < commit.first.seq {
        return Err(format!("the commit that holds {} begins at {}", receipt.last, commit.first.seq));
    }
    let mut at = commit.start;
    for _ in 0..commit.runs {
        let line = walker.bytes(at, HEADER_BYTES).map_err(|error| error.to_string())?;
        let header = Header::parse(line).map_err(|error| error.to_string())?;
        if header.last_seq() >= receipt.last {
            let line: &[u8; HEADER_BYTES] = line.try_into().map_err(|_| "the file was cut".to_string())?;
            let found = Hash::of(line);
            return if found == hash {
                Ok(())
            } else {
                Err(format!("other events stand there: the header at byte {at} has the hash {found}"))
            };
        }
        at += HEADER_BYTES as u64 + u64::from(header.bytes);
    }
    Err("no such events in this commit".to_string())
}
