//! Times the scanner, its prototype and serde_json on the same bodies, in turn: what `benches/scan-beside` runs.
//!
//! ```text
//! beside time ROUNDS CORPUS WAY CONTENDER…    a line a round: nanoseconds an event of each contender, in order
//! beside count TIMES CORPUS WAY CONTENDER     goes through the body so often, for callgrind; prints the events
//! beside list                                 corpora, and contenders that this processor can run
//! ```
//!
//! `WAY` is `batch` (1 MiB at once), `alone` (an event and its line feed a call) or `object` (the same as
//! `application/json`). Contenders: `prototype-avx512`, `prototype-avx2`, which look for three fields; the same with
//! `-bare`, which do not; a kernel's name; the same with `+fields`, for the same three; `serde_json`, which skips
//! values behind a check of UTF-8.
//!
//! The prototype reads up to 64 bytes behind what it is given, so all have 80 blanks there; the scanner makes no use
//! of them. It knows no `object`.
use ringmill_scan::{Fields, Format, Kernel, Scanner, Verdict};
use std::{hint::black_box, process::ExitCode, time::Instant};

#[path = "../../../src/scan/examples/compare/corpora.rs"]
mod corpora;

/// The prototype, as it is and without fields.
mod prototype {
    #![allow(dead_code, clippy::all, unsafe_op_in_unsafe_fn)]
    include!(concat!(env!("OUT_DIR"), "/prototype.rs"));
    pub use bare::{Isa as BareIsa, Vx as Bare};
    pub use fields::{Isa, Vx};
}

/// Bytes behind each body.
const PADDING: usize = 80;

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Batch,
    Alone,
    Object,
}

/// Goes through a body, `PADDING` bytes longer than what counts, and says how many events of it are good.
type Contender = Box<dyn FnMut(&[u8]) -> usize>;

macro_rules! prototype {
    ($scanner:expr) => {{
        let mut scanner = $scanner;
        Box::new(move |padded: &[u8]| {
            let mut good = 0;
            scanner.batch(padded, padded.len() - PADDING, |event| good += usize::from(event.is_ok()));
            good
        })
    }};
}

fn serde_json() -> Contender {
    Box::new(|padded| {
        let body = &padded[..padded.len() - PADDING];
        let sound = |line: &&[u8]| {
            let text = std::str::from_utf8(line);
            text.is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
        };
        let mut start = 0;
        let lines = memchr::memchr_iter(b'\n', body).map(|end| {
            let line = &body[start..end];
            start = end + 1;
            line
        });
        lines.filter(sound).count()
    })
}

fn kernel(name: &str, way: Way) -> Option<Contender> {
    let (name, wanted) = name.strip_suffix("+fields").map_or((name, false), |name| (name, true));
    let kernel = Kernel::ALL.iter().find(|kernel| kernel.name() == name && kernel.is_available())?;
    let mut scanner = Box::new(Scanner::new(*kernel));
    let mut fields = Fields::new();
    for name in ["type", "key", "ts"] {
        fields.want([name.as_bytes()]).ok()?;
    }
    let format = if way == Way::Object { Format::Json } else { Format::Lines };
    Some(Box::new(move |padded| {
        let body = &padded[..padded.len() - PADDING];
        let is_good = |verdict: &Verdict| usize::from(matches!(verdict, Verdict::Good { .. }));
        let mut good = 0;
        if wanted {
            scanner.scan_fields(body, format, &fields, |verdict, found| {
                good += is_good(&verdict);
                black_box(found);
            });
        } else {
            scanner.scan(body, format, |verdict| good += is_good(&verdict));
        }
        good
    }))
}

fn contender(name: &str, way: Way) -> Option<Contender> {
    use prototype::{Bare, BareIsa, Isa, Vx};
    const WINDOW: usize = 16 << 10;
    Some(match name {
        "prototype-avx512" => prototype!(Vx::new(Isa::Avx512, WINDOW)),
        "prototype-avx2" => prototype!(Vx::new(Isa::Avx2, WINDOW)),
        "prototype-avx512-bare" => prototype!(Bare::new(BareIsa::Avx512, WINDOW)),
        "prototype-avx2-bare" => prototype!(Bare::new(BareIsa::Avx2, WINDOW)),
        "serde_json" => serde_json(),
        name => return kernel(name, way),
    })
}

/// What is handed over in a round: one body, or one for each event.
fn bodies(text: &str, way: Way) -> Vec<Vec<u8>> {
    let padded = |body: &[u8]| [body, &[b' '; PADDING][..]].concat();
    match way {
        Way::Batch => vec![padded(text.as_bytes())],
        Way::Alone => text.split_inclusive('\n').map(|line| padded(line.as_bytes())).collect(),
        Way::Object => text.lines().map(|line| padded(line.as_bytes())).collect(),
    }
}

fn run(contender: &mut Contender, bodies: &[Vec<u8>]) -> usize {
    bodies.iter().map(|body| contender(body)).sum()
}

fn go(args: &[&str]) -> Option<()> {
    let [command, times, corpus, way, names @ ..] = args else { return None };
    let way = match *way {
        "batch" => Way::Batch,
        "alone" => Way::Alone,
        "object" => Way::Object,
        _ => return None,
    };
    let times: usize = times.parse().ok()?;
    let (_, text) = corpora::all().into_iter().find(|(name, _)| name == corpus)?;
    let (bodies, events) = (bodies(&text, way), text.lines().count());
    let mut contenders: Vec<Contender> = names.iter().map(|name| contender(name, way)).collect::<Option<_>>()?;
    match (*command, &mut contenders[..]) {
        ("count", [only]) => {
            let total: usize = (0..times).map(|_| run(only, &bodies)).sum();
            assert_eq!(total, events * times);
            println!("{total}");
        }
        ("time", [_, ..]) => {
            for _ in 0..times {
                let mut line = Vec::new();
                for contender in &mut contenders {
                    let begun = Instant::now();
                    assert_eq!(black_box(run(contender, &bodies)), events);
                    line.push(format!("{:.3}", begun.elapsed().as_nanos() as f64 / events as f64));
                }
                println!("{}", line.join(" "));
            }
        }
        _ => return None,
    }
    Some(())
}

fn list() {
    for (name, text) in corpora::all() {
        println!("corpus {name} {} {}", text.len(), text.lines().count());
    }
    for kernel in Kernel::ALL.iter().filter(|kernel| kernel.is_available()) {
        println!("kernel {}", kernel.name());
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if args == ["list"] {
        list();
    } else if go(&args).is_none() {
        eprintln!("beside: usage: beside time|count TIMES CORPUS batch|alone|object CONTENDER…; `beside list`");
        return ExitCode::from(2);
    }
    ExitCode::SUCCESS
}
