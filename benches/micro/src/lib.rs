//! The stages of a request, each alone and then all together, on the same events: what criterion times for people
//! (`cargo bench -p ringmill-micro`) and what the gate counts (`benches/gate`).
//!
//! Enter at [`STAGES`]. A stage is made once, with all that it needs, and then run as often as one likes; each
//! run does exactly the same, checks its own outcome and says how many units (requests, events, …) that were. There
//! is no socket, disk, thread or clock here, so a run under Valgrind counts the same instructions every time.
//!
//! The stages of the Kafka sink stand behind these: a commit of events to record batches.
//!
//! This is no test of correctness and no measure of a server: for these see `tests/` and `benches/run.py`.
mod kafka;
mod parts;
mod shard;

use std::{io, path::Path, process::Command};

/// Events of a body in the stages that have bodies.
pub const PER_BODY: usize = 100;
/// Events that [`events`] makes, at least what the stages ask for.
const EVENTS: usize = 512;

/// One stage: how it is called, what its units are, how it is made of NDJSON lines.
pub struct Stage {
    /// As the gate's baseline and criterion call it.
    pub name: &'static str,
    /// What is counted, in the singular.
    pub unit: &'static str,
    /// Makes it ready to run, of at least [`PER_BODY`] good lines.
    pub make: fn(&[&[u8]]) -> Work,
}

/// A stage with all it needs. Returns the units of a run.
pub type Work = Box<dyn FnMut() -> usize>;

/// All stages, in the order of a byte's way.
pub const STAGES: &[Stage] = &[
    Stage { name: "frame", unit: "request", make: parts::frame },
    Stage { name: "parse", unit: "event", make: parts::parse },
    Stage { name: "parse-array", unit: "event", make: parts::parse_array },
    Stage { name: "parse-simd", unit: "event", make: parts::parse_simd },
    Stage { name: "parse-bad", unit: "event", make: parts::parse_bad },
    Stage { name: "append", unit: "event", make: parts::append },
    Stage { name: "seal", unit: "commit", make: parts::seal },
    Stage { name: "reply", unit: "reply", make: parts::reply },
    Stage { name: "reply-refused", unit: "reply", make: parts::reply_refused },
    Stage { name: "request", unit: "request", make: shard::request },
    Stage { name: "request-cut", unit: "request", make: shard::request_cut },
    Stage { name: "request-durable", unit: "request", make: shard::request_durable },
    Stage { name: "batch", unit: "event", make: shard::batch },
    Stage { name: "batch-durable", unit: "event", make: shard::batch_durable },
    Stage { name: "batch-bad", unit: "event", make: shard::batch_bad },
    Stage { name: "kafka-record", unit: "event", make: kafka::record },
    Stage { name: "kafka-record-keyed", unit: "event", make: kafka::record_keyed },
    Stage { name: "kafka-event", unit: "event", make: kafka::event },
    Stage { name: "kafka-event-headers", unit: "event", make: kafka::event_headers },
    Stage { name: "kafka-seal", unit: "event", make: kafka::seal_plain },
    Stage { name: "kafka-seal-keyed", unit: "event", make: kafka::seal_keyed },
    Stage { name: "kafka-seal-lz4", unit: "event", make: kafka::seal_lz4 },
    Stage { name: "kafka-frame", unit: "batch", make: kafka::frame },
];

/// The events that `benches/payload.py` makes of its seed 1: mixed logs, metrics and spans.
///
/// # Errors
/// When `python3` is missing or the generator fails.
pub fn events() -> io::Result<Vec<u8>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../payload.py");
    let made = Command::new("python3").arg(script).args(["--events", &EVENTS.to_string()]).output()?;
    if !made.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&made.stderr)));
    }
    Ok(made.stdout)
}

/// The lines of NDJSON text, without their ends.
///
/// # Errors
/// When there are fewer than [`PER_BODY`].
pub fn lines(events: &[u8]) -> io::Result<Vec<&[u8]>> {
    let lines: Vec<&[u8]> = events.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    match lines.len() >= PER_BODY {
        true => Ok(lines),
        false => Err(io::Error::other(format!("{} events, {PER_BODY} are needed", lines.len()))),
    }
}

/// A `POST` of `body` as a client sends it.
fn post(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: micro/1\r\n\
         Content-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Lines of which every fifth lacks its last byte, which leaves an object open.
fn one_in_five_cut<'a>(lines: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let cut = |(at, line): (usize, &&'a [u8])| if at % 5 == 4 { &line[..line.len() - 1] } else { *line };
    lines.iter().enumerate().map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_does_the_same_each_time() {
        let events = events().unwrap();
        let lines = lines(&events).unwrap();
        for stage in STAGES {
            let mut work = (stage.make)(&lines);
            let units = work();
            assert!(units > 0, "{}", stage.name);
            for run in 0..50 {
                assert_eq!(work(), units, "{}, run {run}", stage.name);
            }
        }
    }

    #[test]
    fn names_are_the_gates_keys() {
        let mut names: Vec<_> = STAGES.iter().map(|stage| stage.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STAGES.len());
        assert!(lines(b"{}\n{}\n").is_err());
    }
}
