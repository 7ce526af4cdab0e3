//! What `segments replay` needs to know: its target, and where its engine runs. Decided as for `serve`.
use super::http::{self, HttpPlan};
use super::kafka::{self, KafkaPlan};
use super::machine::Machine;
use super::plan::Sink;
use super::raw::Raw;
use super::read::Reader;
use super::{ConfigError, derive, memory};
use crate::sys::limits::{self, Uring};
use std::path::Path;

/// Where events are replayed to.
#[derive(Clone, Debug)]
pub enum Target {
    /// Kafka: which cluster and topic, and how.
    Kafka(kafka::Address, Box<KafkaPlan>),
    /// An HTTP target, and how.
    Http(http::Address, Box<HttpPlan>),
}

/// What was decided.
#[derive(Clone, Debug)]
pub struct ReplayPlan {
    /// Where to.
    pub target: Target,
    /// The target's name, as a sink is written.
    pub name: String,
    /// Drive sockets by a ring of our own, not by glommio.
    pub uring: bool,
    /// I/O memory of the executor.
    pub executor_io_bytes: u64,
    /// What is given for nothing.
    pub warnings: Vec<String>,
}

/// Decides, from `--to`, `--driver` and the sink's settings. Raises this process's limits on locked memory and open
/// files on the way.
///
/// # Errors
/// Everything that is wrong.
pub fn load(to: &str, driver: &str, given: Raw) -> Result<ReplayPlan, Vec<ConfigError>> {
    let raw = super::with_file(given)?;
    derive(to, driver, &raw, &Machine::read(Path::new("/")))
}

fn derive(to: &str, driver: &str, raw: &Raw, machine: &Machine) -> Result<ReplayPlan, Vec<ConfigError>> {
    let refuse = |why: String| vec![ConfigError::Machine(why)];
    let sink = derive::parse_sink(to).map_err(|why| refuse(format!("--to {to}: {why}")))?;
    let mut read = Reader { raw, errors: Vec::new() };
    let mut warnings = Vec::new();
    // What stands in the server's file for another sink is no mistake here.
    let kafka = kafka::read(&mut read, &sink, &mut Vec::new());
    let http = http::read(&mut read, &sink, &mut warnings);
    if kafka.is_some() {
        warnings.clear();
    }
    let name = sink.to_string();
    let target = match (sink, kafka, http) {
        (Sink::Kafka(address), Some(plan), _) => Target::Kafka(address, Box::new(plan)),
        (Sink::Http(address), _, Some(plan)) => Target::Http(address, Box::new(plan)),
        _ => {
            let expected = "events are replayed to kafka:HOST:PORT/TOPIC or http://HOST/PATH";
            return Err(refuse(format!("--to {to}: {expected}")));
        }
    };
    let uring = match (driver, &machine.uring) {
        (_, Uring::Denied(why)) => return Err(refuse(why.clone())),
        ("uring", Uring::Basic(why)) => return Err(refuse(format!("--driver uring: {why}"))),
        (driver, uring) => driver != "glommio" && *uring == Uring::Full,
    };
    let io_bytes =
        limits::glommio_io_bytes(machine.memlock_bytes, machine.memlock_exempt, 1, memory::EXECUTOR_IO_BYTES);
    match (io_bytes, read.errors.is_empty()) {
        (Err(why), _) => Err(refuse(why)),
        (Ok(_), false) => Err(read.errors),
        (Ok(executor_io_bytes), true) => Ok(ReplayPlan { target, name, uring, executor_io_bytes, warnings }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::derive::tests::machine;

    fn decide(to: &str, driver: &str, toml: &str) -> Result<ReplayPlan, String> {
        let raw = Raw::from_toml(toml, "a.toml").unwrap();
        derive(to, driver, &raw, &machine()).map_err(|errors| errors[0].to_string())
    }

    #[test]
    fn a_target_is_a_sink_that_others_read() {
        let plan = decide("kafka:a:1,b:2/events", "auto", "[kafka]\ncompression = \"lz4\"").unwrap();
        assert_eq!((plan.name.as_str(), plan.uring), ("kafka:a:1,b:2/events", true));
        assert!(!decide("kafka:a:1/t", "glommio", "").unwrap().uring);
        for (to, toml, needle) in [
            ("segments:x", "", "events are replayed to kafka:"),
            ("null", "", "events are replayed to kafka:"),
            ("kafka:a/t", "", "not HOST:PORT"),
            ("nonsense", "", "not a sink"),
            ("kafka:a:1/t", "[kafka]\ncompression = \"rar\"", "compression = rar (a.toml line 2)"),
        ] {
            let why = decide(to, "auto", toml).map(|plan| plan.name).unwrap_err();
            assert!(why.contains(needle), "{to} {toml}: {why}");
        }
    }
}
