//! Stored events as typed structs, or an error, without an allocator:
//! `ringmill segments cat DIR | cargo run --release -p ringmill-core --example typed [POINTER]`
//!
//! Reads events (or a segment file as it lies on the disk) from standard input or the file that is the second
//! argument, reads each into a struct that borrows from it, and sums up by what stands at POINTER, `/type` unless
//! another is given. A counting allocator proves that the pass takes no memory; if it did, the exit code is 1.
use ringmill_core::json::view::{Error, Event, Text};
use ringmill_core::json::{FastScanner, Format, Kernel};
use std::{fs, io, io::Read, process::ExitCode, sync::atomic::Ordering::Relaxed, time::Instant};

#[path = "../tests/counting/mod.rs"]
#[allow(dead_code)]
mod counting;

/// What is wanted of every event.
#[derive(serde::Deserialize)]
struct Routing<'e> {
    #[serde(rename = "type")]
    kind: &'e str,
    #[serde(borrow)]
    key: Option<Text<'e>>,
    ts: u64,
}

/// Kinds that are told apart; the rest is summed up as one.
const KINDS: usize = 64;
const NAME_BYTES: usize = 48;

#[derive(Clone, Copy)]
struct Kind {
    name: [u8; NAME_BYTES],
    len: usize,
    events: u64,
    bytes: u64,
    fits: u64,
    first: u64,
    last: u64,
}

impl Kind {
    const NEW: Kind =
        Kind { name: [0; NAME_BYTES], len: 0, events: 0, bytes: 0, fits: 0, first: u64::MAX, last: 0 };

    fn name(&self) -> &str {
        std::str::from_utf8(&self.name[..self.len]).unwrap_or("?")
    }
}

/// All sums, of fixed size.
struct Sums {
    kinds: [Kind; KINDS + 1],
    known: usize,
    keyed: u64,
    refused: u64,
    unfit: Option<Error>,
}

impl Sums {
    fn kind(&mut self, name: Option<Text<'_>>) -> &mut Kind {
        let (mut text, mut len) = ([0; NAME_BYTES], 0);
        for byte in name.iter().flat_map(Text::bytes).take(NAME_BYTES) {
            (text[len], len) = (byte, len + 1);
        }
        let known = &self.kinds[..self.known];
        let at = known.iter().position(|kind| kind.name[..kind.len] == text[..len]).unwrap_or(self.known);
        if at == self.known && at < KINDS {
            self.known += 1;
            self.kinds[at] = Kind { name: text, len, ..Kind::NEW };
        }
        &mut self.kinds[at]
    }

    fn add(&mut self, event: Event<'_>, pointer: &str) {
        let routing = event.read::<Routing>();
        self.keyed += u64::from(routing.as_ref().is_ok_and(|routing| routing.key.is_some()));
        let name = event.get::<Option<Text>>(pointer).ok().flatten();
        let kind = self.kind(name);
        (kind.events, kind.bytes) = (kind.events + 1, kind.bytes + event.as_bytes().len() as u64);
        match routing {
            Ok(Routing { kind: text, ts, .. }) => {
                kind.fits += u64::from(!text.is_empty());
                (kind.first, kind.last) = (kind.first.min(ts), kind.last.max(ts));
            }
            Err(why) => self.unfit = self.unfit.or(Some(why)),
        }
    }
}

fn read(path: Option<String>) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    match path {
        Some(path) => return fs::read(path),
        None => io::stdin().read_to_end(&mut all)?,
    };
    Ok(all)
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let pointer = args.next().unwrap_or("/type".into());
    let body = match read(args.next()) {
        Ok(body) => body,
        Err(why) => {
            eprintln!("cannot read the events: {why}");
            return ExitCode::FAILURE;
        }
    };
    let mut scanner = FastScanner::new(Kernel::best());
    let mut sums = Sums { kinds: [Kind::NEW; KINDS + 1], known: 0, keyed: 0, refused: 0, unfit: None };
    let (before, begun) = (counting::CALLS.load(Relaxed), Instant::now());
    Event::each(&mut scanner, &body, Format::Lines, |event| match event {
        // A segment file's own lines.
        Ok(event) if event.get::<u8>("/ringmill").is_ok() => {}
        Ok(event) => sums.add(event, &pointer),
        Err(_) => sums.refused += 1,
    });
    let (taken, calls) = (begun.elapsed(), counting::CALLS.load(Relaxed) - before);
    let events: u64 = sums.kinds.iter().map(|kind| kind.events).sum();
    println!("{:<24} {:>9} {:>12} {:>9}  first and last ts", pointer, "events", "bytes", "typed");
    for kind in sums.kinds.iter().filter(|kind| kind.events > 0) {
        let name = if kind.len > 0 { kind.name() } else { "(none, or more kinds)" };
        print!("{name:<24} {:>9} {:>12} {:>9}", kind.events, kind.bytes, kind.fits);
        println!("{}", if kind.fits > 0 { format!("  {} {}", kind.first, kind.last) } else { String::new() });
    }
    println!("{events} events, {} with a key, {} lines no events", sums.keyed, sums.refused);
    if let Some(why) = sums.unfit {
        println!("the first that does not fit the struct: {why}");
    }
    println!("{calls} allocations in {:.1} ms", taken.as_secs_f64() * 1e3);
    if calls == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
