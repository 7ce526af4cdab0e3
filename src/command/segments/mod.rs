//! `ringmill segments ls | cat | verify | replay DIR`: what was stored, beside a running server or without one.
//!
//! Everything streams: memory is a window of a file, whatever the directory's size.
//! The format and what is sound is decided in [`ringmill_core::segment`]; here are files, lines and exit codes.
pub mod args;
mod cat;
pub mod directory;
mod ls;
mod replay;
mod verify;

pub use args::{SegmentsArgs, SegmentsCommand};
use directory::Segment;
use indicatif::{ProgressBar, ProgressStyle};
use ringmill_core::segment::{Damage, Why};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::ops::Range;
use std::process::ExitCode;

/// Runs the command on standard output: 0 done and sound, 1 damaged or failed, 2 bad usage.
pub fn run(args: &SegmentsArgs) -> ExitCode {
    ExitCode::from(run_to(args, io::stdout().lock()))
}

/// The same with another output; returns the exit code.
pub fn run_to(args: &SegmentsArgs, out: impl Write) -> u8 {
    let done = match &args.command {
        SegmentsCommand::Ls(args) => ls::ls(args, out),
        SegmentsCommand::Cat(args) => cat::cat(args, out),
        SegmentsCommand::Verify(args) => verify::verify(args, out),
        SegmentsCommand::Replay(args) => replay::replay(args, out),
    };
    match done {
        Ok(0) | Err(Stop::Unread) => 0,
        Ok(_) => 1,
        Err(Stop::Failed(why)) => {
            complain(&why);
            1
        }
        Err(Stop::Usage(why)) => {
            complain(&why);
            2
        }
    }
}

/// Why a command ends early.
#[derive(Debug)]
enum Stop {
    /// The reader of our output is gone (`| head`): all is well.
    Unread,
    /// It cannot be done.
    Failed(String),
    /// It was asked wrongly.
    Usage(String),
}

impl Stop {
    fn output(error: io::Error) -> Stop {
        match error.kind() {
            ErrorKind::BrokenPipe => Stop::Unread,
            _ => Stop::Failed(format!("cannot write the output: {error}")),
        }
    }
}

impl From<String> for Stop {
    fn from(why: String) -> Stop {
        Stop::Failed(why)
    }
}

fn complain(line: &str) {
    eprintln!("ringmill segments: {line}");
}

/// A damaged range in one line.
pub fn damage_line(name: &str, damage: &Damage) -> String {
    let Damage { range, lost, why } = damage;
    let place = if range.is_empty() {
        format!("at byte {}", range.start)
    } else {
        format!("bytes {}..{}", range.start, range.end)
    };
    let lost = match lost {
        Some(lost) if lost.end == lost.start + 1 => format!(" (event {} is lost)", lost.start),
        Some(lost) if !lost.is_empty() => format!(" (events {}..{} are lost)", lost.start, lost.end - 1),
        _ => String::new(),
    };
    format!("damaged: {name} {place}{lost}: {why}")
}

/// An unfinished end in one line.
pub fn tail_line(name: &str, range: &Range<u64>, why: &Why) -> String {
    let Range { start, end } = range;
    format!(
        "damaged: {name} bytes {start}..{end}, its last commit: {why}; unless the server died while it wrote this, \
         events are lost"
    )
}

/// A bar on standard error when that is a terminal, else nothing.
struct Progress {
    bar: ProgressBar,
    done: std::cell::Cell<u64>,
}

impl Progress {
    fn new(total: u64) -> Progress {
        let bar = if io::stderr().is_terminal() { ProgressBar::new(total) } else { ProgressBar::hidden() };
        if let Ok(style) =
            ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
        {
            bar.set_style(style);
        }
        Progress { bar, done: std::cell::Cell::new(0) }
    }

    /// None when events go to the same terminal.
    fn beside_output(total: u64) -> Progress {
        let progress = Progress::new(total);
        if io::stdout().is_terminal() {
            progress.bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        progress
    }

    fn at(&self, segment: &Segment, offset: u64) {
        self.bar.set_position(self.done.get() + offset.min(segment.len));
    }

    fn file_done(&self, segment: &Segment) {
        self.done.set(self.done.get() + segment.len);
        self.bar.set_position(self.done.get());
    }

    fn hidden<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}
