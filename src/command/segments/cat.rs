//! `segments cat`: stored events to standard output.
use super::args::CatArgs;
use super::directory::{Segment, Shard, Source, Visit, shards, walk};
use super::{Progress, Stop, complain};
use ringmill_core::segment::{
    Commit, Depth, HEADER_BYTES, Header, QuarantineStep, QuarantineWalker, Step, Walker,
};
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;

/// Prints; the number says how many places were passed over because they are damaged.
pub(super) fn cat(args: &CatArgs, out: impl Write) -> Result<u64, Stop> {
    let shards = shards(&args.dir, args.shard)?;
    let mut out = BufWriter::with_capacity(256 << 10, out);
    let mut damaged = 0;
    let total = shards.iter().map(if args.quarantine { quarantine_len } else { Shard::len }).sum();
    let progress = Progress::beside_output(total);
    for shard in &shards {
        if args.quarantine {
            for file in &shard.quarantines {
                damaged += quarantine(file, shard.number, &mut out)?;
                progress.file_done(file);
            }
            continue;
        }
        let walked = walk(shard, Depth::Full, args.from, |visit| {
            let done = match visit {
                Visit::Step(segment, walker, Step::Commit(commit)) => {
                    progress.at(segment, commit.end);
                    print(args, segment, walker, commit, &mut out)
                }
                Visit::Step(segment, _, Step::Damage(damage)) => {
                    damaged += 1;
                    complain(&super::damage_line(&segment.name, damage));
                    Ok(())
                }
                Visit::Step(segment, _, Step::Tail { range, why }) => {
                    damaged += 1;
                    complain(&super::tail_line(&segment.name, range, why));
                    Ok(())
                }
                Visit::Failed(segment, offset, error) => {
                    damaged += 1;
                    complain(&format!("{} cannot be read from byte {offset} on: {error}", segment.name));
                    Ok(())
                }
                Visit::Close(segment) => {
                    progress.file_done(segment);
                    Ok(())
                }
                _ => Ok(()),
            };
            match done {
                Ok(()) => ControlFlow::Continue(()),
                Err(stop) => ControlFlow::Break(stop),
            }
        });
        if let ControlFlow::Break(stop) = walked {
            return Err(stop);
        }
    }
    out.flush().map_err(Stop::output)?;
    Ok(damaged)
}

fn quarantine_len(shard: &Shard) -> u64 {
    shard.quarantines.iter().map(|file| file.len).sum()
}

fn print(
    args: &CatArgs,
    segment: &Segment,
    walker: &mut Walker<Source>,
    commit: &Commit,
    out: &mut impl Write,
) -> Result<(), Stop> {
    let unread = |error| Stop::Failed(format!("{} cannot be read: {error}", segment.name));
    let mut at = commit.start;
    for _ in 0..commit.runs {
        let line = walker.bytes(at, HEADER_BYTES).map_err(unread)?;
        let header = Header::parse(line)
            .map_err(|error| Stop::Failed(format!("{} changed while it was read: {error}", segment.name)))?;
        let body = at + HEADER_BYTES as u64;
        let end = body + u64::from(header.bytes);
        at = end;
        let wanted = args.stream.as_ref().is_none_or(|stream| stream.as_bytes() == header.stream.as_bytes())
            && args.from.is_none_or(|from| header.last_seq() >= from);
        if !wanted {
            continue;
        }
        let whole = !args.with_meta && args.from.is_none_or(|from| header.seq >= from);
        let mut lines = Lines {
            header: &header,
            from: args.from.unwrap_or(0),
            meta: args.with_meta,
            seq: header.seq,
            fresh: true,
        };
        let mut from = body;
        while from < end {
            let want = (end - from).min(Walker::<Source>::WINDOW_BYTES as u64) as usize;
            let piece = walker.bytes(from, want).map_err(unread)?;
            if piece.is_empty() {
                return Err(Stop::Failed(format!("{} was cut while it was read", segment.name)));
            }
            from += piece.len() as u64;
            if whole { out.write_all(piece) } else { lines.print(piece, out) }.map_err(Stop::output)?;
        }
    }
    Ok(())
}

/// Prints a run that comes in pieces line by line.
struct Lines<'a> {
    header: &'a Header,
    from: u64,
    meta: bool,
    seq: u64,
    fresh: bool,
}

impl Lines<'_> {
    fn print(&mut self, piece: &[u8], out: &mut impl Write) -> std::io::Result<()> {
        for line in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.seq >= self.from {
                if self.fresh && self.meta {
                    write!(out, "{}\t{}\t{}\t", self.header.shard, self.header.stream, self.seq)?;
                }
                out.write_all(line)?;
            }
            self.fresh = line.ends_with(b"\n");
            self.seq += u64::from(self.fresh);
        }
        Ok(())
    }
}

fn quarantine(file: &Segment, shard: u32, out: &mut impl Write) -> Result<u64, Stop> {
    let unread = |error| Stop::Failed(format!("{} cannot be read: {error}", file.name));
    let mut walker = QuarantineWalker::new(Source::open(&file.path).map_err(unread)?, shard);
    let mut damaged = 0;
    while let Some(step) = walker.step().map_err(unread)? {
        match step {
            QuarantineStep::Entry { range } => {
                let mut from = range.start;
                while from < range.end {
                    let want =
                        (range.end - from).min(QuarantineWalker::<Source>::WINDOW_BYTES as u64) as usize;
                    let piece = walker.bytes(from, want).map_err(unread)?;
                    if piece.is_empty() {
                        return Err(Stop::Failed(format!("{} was cut while it was read", file.name)));
                    }
                    from += piece.len() as u64;
                    out.write_all(piece).map_err(Stop::output)?;
                }
            }
            QuarantineStep::Damage { range, why } => {
                damaged += 1;
                complain(&format!("damaged: {} bytes {}..{}: {why}", file.name, range.start, range.end));
            }
            // The quarantine is bounded and written as it comes; its unfinished end was never told to anyone.
            QuarantineStep::Tail { range, why } => {
                complain(&format!("unfinished: {} bytes {}..{}: {why}", file.name, range.start, range.end));
            }
            QuarantineStep::End { .. } => {}
        }
    }
    Ok(damaged)
}
