//! Runs stages for `benches/gate`, which starts it under Valgrind or talks to two of them in turn.
//!
//! ```text
//! stages list                      name and unit of every stage, tab-separated
//! stages run STAGE ROUNDS FILE     units and allocations of that many runs after some to warm up, as JSON
//! stages time FILE                 for each line `STAGE RUNS` on standard input: nanoseconds and units
//! stages cpu                       what run-time detection sees; under Valgrind that is the emulated CPU
//! ```
//!
//! `ringmill_measured` is the one function that callgrind collects in.
use ringmill_micro::{STAGES, Stage, Work, lines};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::{collections::BTreeMap, io, process::ExitCode, time::Instant};

/// Runs before anything is measured: buffers grow to their size, files are opened.
const WARM_UP: usize = 5;

/// Counts allocations and reallocations of the process.
struct Counting;
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise is passed on; the block came from the system's allocator.
        unsafe { System.realloc(block, layout, bytes) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from the system's allocator.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Everything below this call is counted; its name is what the gate gives to callgrind.
// SAFETY: no other symbol of the program has this name.
#[unsafe(no_mangle)]
#[inline(never)]
fn ringmill_measured(work: &mut dyn FnMut() -> usize, runs: usize) -> usize {
    (0..runs).map(|_| work()).sum()
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args[..] {
        ["list"] => {
            STAGES.iter().for_each(|stage| println!("{}\t{}", stage.name, stage.unit));
            Ok(())
        }
        ["run", name, rounds, file] => run(name, rounds, file),
        ["time", file] => time(file),
        ["cpu"] => {
            println!("{}", features().join(" "));
            Ok(())
        }
        _ => Err(io::Error::other("usage: stages list | run STAGE ROUNDS FILE | time FILE | cpu")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stages: {error}");
            ExitCode::from(2)
        }
    }
}

fn stage(name: &str) -> io::Result<&'static Stage> {
    let unknown = || io::Error::other(format!("no stage is called {name}; `stages list` names them"));
    STAGES.iter().find(|stage| stage.name == name).ok_or_else(unknown)
}

fn number(text: &str) -> io::Result<usize> {
    text.parse().map_err(|_| io::Error::other(format!("{text} is no number of runs")))
}

fn ready(name: &str, lines: &[&[u8]]) -> io::Result<Work> {
    let mut work = (stage(name)?.make)(lines);
    for _ in 0..WARM_UP {
        work();
    }
    Ok(work)
}

fn run(name: &str, rounds: &str, file: &str) -> io::Result<()> {
    let events = std::fs::read(file)?;
    let rounds = number(rounds)?;
    let mut work = ready(name, &lines(&events)?)?;
    let before = ALLOCATIONS.load(Relaxed);
    let units = ringmill_measured(&mut work, rounds);
    let allocations = ALLOCATIONS.load(Relaxed) - before;
    println!("{{\"units\":{units},\"allocations\":{allocations}}}");
    Ok(())
}

fn time(file: &str) -> io::Result<()> {
    let events = std::fs::read(file)?;
    let lines = lines(&events)?;
    let mut made: BTreeMap<String, Work> = BTreeMap::new();
    let mut out = io::stdout();
    for command in io::stdin().lock().lines() {
        let command = command?;
        let Some((name, runs)) = command.split_once(' ') else {
            return Err(io::Error::other(format!("{command:?} is not STAGE RUNS")));
        };
        if !made.contains_key(name) {
            made.insert(name.to_owned(), ready(name, &lines)?);
        }
        let work = made.get_mut(name).expect("just made");
        let (runs, began) = (number(runs)?, Instant::now());
        let units = ringmill_measured(work, runs);
        writeln!(out, "{} {units}", began.elapsed().as_nanos())?;
        out.flush()?;
    }
    Ok(())
}

/// Those features that a dependency looks for at run time and would do otherwise without.
fn features() -> Vec<&'static str> {
    macro_rules! seen {
        ($($name:tt)*) => { [$(($name, std::arch::is_x86_feature_detected!($name))),*] };
    }
    #[cfg(target_arch = "x86_64")]
    let all = seen!("sse4.2" "pclmulqdq" "avx" "avx2" "bmi1" "bmi2" "sha" "vpclmulqdq" "avx512f" "avx512bw");
    #[cfg(not(target_arch = "x86_64"))]
    let all: [(&str, bool); 0] = [];
    all.into_iter().filter(|(_, seen)| *seen).map(|(name, _)| name).collect()
}
