//! The figures of all shards as Prometheus text, format 0.0.4.
//!
//! Every family is opened once by its `# HELP` and `# TYPE` lines and then holds one series a shard. A shard
//! that did not answer shows as `ringmill_shard_ready 0` and nowhere else: its last figures would lie.
use super::{Counters, Gauges, STAGES, ShardSnapshot};
use alloc::string::String;
use core::fmt::{self, Write};

/// The `Content-Type` of what [`write()`] makes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the buckets: nanoseconds, and the same in seconds as the label `le` says it.
///
/// 1, 2.5 and 5 of each decade: fine enough to draw a p999 against a promise of 1 ms, 23 series a stage.
const BUCKETS: [(u64, &str); 22] = [
    (1_000, "0.000001"),
    (2_500, "0.0000025"),
    (5_000, "0.000005"),
    (10_000, "0.00001"),
    (25_000, "0.000025"),
    (50_000, "0.00005"),
    (100_000, "0.0001"),
    (250_000, "0.00025"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1"),
    (2_500_000_000, "2.5"),
    (5_000_000_000, "5"),
    (10_000_000_000, "10"),
];

/// What the process as a whole has to say; the edge gathers it.
#[derive(Clone, Debug, Default)]
pub struct Process<'a> {
    /// Version of the program.
    pub version: &'a str,
    /// When it started: Unix time in milliseconds.
    pub start_ms: u64,
    /// Resident memory in bytes, where the system tells.
    pub rss_bytes: Option<u64>,
    /// The bound on all buffers, in bytes, as `--dry-run` prints it.
    pub memory_plan_bytes: u64,
}

/// One shard's answer to a scrape.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Number of the shard.
    pub shard: u32,
    /// Its figures; `None` when it did not answer in time.
    pub snapshot: Option<&'a ShardSnapshot>,
}

/// Appends the whole text to `out`.
pub fn write(out: &mut String, process: &Process<'_>, answers: &[Answer<'_>]) {
    render(out, process, answers).expect("writing to a String does not fail");
}

fn render(out: &mut String, process: &Process<'_>, answers: &[Answer<'_>]) -> fmt::Result {
    family(out, "ringmill_build_info", "gauge", "Always 1; the version is the label.")?;
    out.write_str("ringmill_build_info{version=\"")?;
    escape(out, process.version)?;
    out.write_str("\"} 1\n")?;
    family(out, "process_start_time_seconds", "gauge", "Start of the process in Unix seconds.")?;
    writeln!(out, "process_start_time_seconds {}.{:03}", process.start_ms / 1_000, process.start_ms % 1_000)?;
    if let Some(bytes) = process.rss_bytes {
        family(out, "process_resident_memory_bytes", "gauge", "Resident memory of the process.")?;
        writeln!(out, "process_resident_memory_bytes {bytes}")?;
    }
    family(out, "ringmill_memory_plan_bytes", "gauge", "Bound on all buffers, fixed at start.")?;
    writeln!(out, "ringmill_memory_plan_bytes {}", process.memory_plan_bytes)?;

    family(out, "ringmill_shard_ready", "gauge", "1 when the shard takes events.")?;
    for answer in answers {
        let ready = answer.snapshot.is_some_and(|s| s.ready.is_ok());
        writeln!(out, "ringmill_shard_ready{{shard=\"{}\"}} {}", answer.shard, u8::from(ready))?;
    }
    counters(out, answers)?;
    requests(out, answers)?;
    gauges(out, answers)?;
    super::kafka::render(out, answers)?;
    super::http::render(out, answers)?;
    super::spill::render(out, answers)?;
    super::balance::render(out, answers)?;
    stages(out, answers)
}

fn counters(out: &mut String, answers: &[Answer<'_>]) -> fmt::Result {
    for fields in Counters::FIELDS.chunk_by(|a, b| a.name == b.name) {
        family(out, fields[0].name, "counter", fields[0].help)?;
        for field in fields {
            for (shard, snapshot) in answered(answers) {
                write!(out, "{}{{shard=\"{shard}\"", field.name)?;
                if let Some((key, value)) = field.label {
                    write!(out, ",{key}=\"{value}\"")?;
                }
                writeln!(out, "}} {}", (field.get)(&snapshot.metrics.counters))?;
            }
        }
    }
    Ok(())
}

fn requests(out: &mut String, answers: &[Answer<'_>]) -> fmt::Result {
    family(out, "ringmill_requests_total", "counter", "Replies by HTTP status.")?;
    for (shard, snapshot) in answered(answers) {
        for (code, count) in snapshot.metrics.counters.requests.each() {
            write!(out, "ringmill_requests_total{{shard=\"{shard}\",code=\"")?;
            match code {
                Some(code) => write!(out, "{code}")?,
                None => out.write_str("other")?,
            }
            writeln!(out, "\"}} {count}")?;
        }
    }
    Ok(())
}

fn gauges(out: &mut String, answers: &[Answer<'_>]) -> fmt::Result {
    for (at, (name, help, _)) in Gauges::default().each().into_iter().enumerate() {
        family(out, name, "gauge", help)?;
        for (shard, snapshot) in answered(answers) {
            writeln!(out, "{name}{{shard=\"{shard}\"}} {}", snapshot.metrics.gauges.each()[at].2)?;
        }
    }
    Ok(())
}

fn stages(out: &mut String, answers: &[Answer<'_>]) -> fmt::Result {
    const NAME: &str = "ringmill_stage_seconds";
    family(out, NAME, "histogram", "Time that requests spent in each stage.")?;
    let bounds = BUCKETS.map(|(ns, _)| ns);
    for (shard, snapshot) in answered(answers) {
        let stages = &snapshot.metrics.stages;
        for stage in STAGES {
            let labels = format_args!("shard=\"{shard}\",stage=\"{}\"", stage.as_str());
            for ((_, le), within) in BUCKETS.into_iter().zip(stages.cumulative(stage, &bounds)) {
                writeln!(out, "{NAME}_bucket{{{labels},le=\"{le}\"}} {within}")?;
            }
            let (count, sum_ns) = (stages.count(stage), stages.sum_ns(stage));
            writeln!(out, "{NAME}_bucket{{{labels},le=\"+Inf\"}} {count}")?;
            let (s, ns) = (sum_ns / 1_000_000_000, sum_ns % 1_000_000_000);
            writeln!(out, "{NAME}_sum{{{labels}}} {s}.{ns:09}")?;
            writeln!(out, "{NAME}_count{{{labels}}} {count}")?;
        }
    }
    Ok(())
}

pub(super) fn answered<'a>(answers: &'a [Answer<'a>]) -> impl Iterator<Item = (u32, &'a ShardSnapshot)> {
    answers.iter().filter_map(|answer| Some((answer.shard, answer.snapshot?)))
}

pub(super) fn family(out: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

/// A label's value: `\`, `"` and line ends are the three that the format escapes.
fn escape(out: &mut String, value: &str) -> fmt::Result {
    for c in value.chars() {
        match c {
            '\\' => out.write_str("\\\\")?,
            '"' => out.write_str("\\\"")?,
            '\n' => out.write_str("\\n")?,
            c => out.write_char(c)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Stage;
    use alloc::{
        borrow::ToOwned,
        collections::{BTreeMap, BTreeSet},
        format,
        vec::Vec,
    };

    /// A reader of the format that knows nothing of the writer. Panics on any line that breaks a rule.
    #[derive(Default)]
    struct Parsed {
        /// Family to type.
        families: BTreeMap<String, String>,
        /// `name{labels}` to value, in order of appearance.
        samples: Vec<(String, BTreeMap<String, String>, f64)>,
    }

    impl Parsed {
        fn read(text: &str) -> Parsed {
            assert!(text.ends_with('\n'), "the last line must end");
            let mut parsed = Parsed::default();
            let mut open = String::new();
            let mut series = BTreeSet::new();
            for line in text.lines() {
                if let Some(rest) = line.strip_prefix("# HELP ") {
                    let (name, help) = rest.split_once(' ').expect(line);
                    assert!(!help.is_empty() && !help.contains('\\'), "{line}");
                    assert!(!parsed.families.contains_key(name), "opened twice: {line}");
                    open = name.to_owned();
                } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                    let (name, kind) = rest.split_once(' ').expect(line);
                    assert_eq!(name, open, "TYPE follows its HELP");
                    assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                    assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                    assert!(parsed.families.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
                } else {
                    let (id, value) = line.rsplit_once(' ').expect(line);
                    assert!(series.insert(id.to_owned()), "twice: {line}");
                    let (name, labels) = match id.split_once('{') {
                        Some((name, labels)) => (name, labels.strip_suffix('}').expect(line)),
                        None => (id, ""),
                    };
                    assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
                    let stem = match parsed.families[&open].as_str() {
                        "histogram" => ["_bucket", "_sum", "_count"]
                            .iter()
                            .find_map(|end| name.strip_suffix(end))
                            .expect(line),
                        _ => name,
                    };
                    assert_eq!(stem, open, "a sample stands under its family");
                    let labels = labels.split(',').filter(|l| !l.is_empty()).map(|label| {
                        let (key, value) = label.split_once('=').expect(line);
                        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).expect(line);
                        (key.to_owned(), value.to_owned())
                    });
                    parsed.samples.push((name.to_owned(), labels.collect(), value.parse().expect(line)));
                }
            }
            parsed
        }

        fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
            let fits = |have: &BTreeMap<String, String>| {
                have.len() == labels.len() && labels.iter().all(|(k, v)| have.get(*k).is_some_and(|h| h == v))
            };
            self.samples.iter().find(|(n, l, _)| n == name && fits(l)).map(|s| s.2)
        }
    }

    fn busy_shard() -> ShardSnapshot {
        let mut snapshot = ShardSnapshot { core: Some(3), ready: Ok(()), ..ShardSnapshot::new() };
        let metrics = &mut snapshot.metrics;
        metrics.counters.events_received = 10;
        metrics.counters.events_stored = 6;
        metrics.counters.events_quarantined = 1;
        metrics.counters.events_shed = 1;
        metrics.gauges.events_in_flight = 2;
        metrics.counters.timeouts_idle = 4;
        metrics.counters.requests.add(200, 5);
        metrics.counters.requests.add(207, 1);
        metrics.counters.requests.add(299, 3);
        let mut ns = 60;
        while ns < 100_000_000_000 {
            STAGES.into_iter().for_each(|stage| metrics.stages.record(stage, ns));
            ns += ns / 3;
        }
        snapshot
    }

    fn text(process: &Process<'_>, answers: &[Answer<'_>]) -> Parsed {
        let mut out = String::new();
        write(&mut out, process, answers);
        Parsed::read(&out)
    }

    #[test]
    fn the_names_of_the_contract_are_there() {
        let shard = busy_shard();
        let process = Process {
            version: "1.2.3",
            start_ms: 1_763_000_000_042,
            rss_bytes: Some(4096),
            memory_plan_bytes: 9,
        };
        let parsed = text(&process, &[Answer { shard: 0, snapshot: Some(&shard) }]);
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);
        let cases: &[Case] = &[
            ("ringmill_build_info", &[("version", "1.2.3")], 1.0),
            ("process_start_time_seconds", &[], 1_763_000_000.042),
            ("process_resident_memory_bytes", &[], 4096.0),
            ("ringmill_memory_plan_bytes", &[], 9.0),
            ("ringmill_shard_ready", &[("shard", "0")], 1.0),
            ("ringmill_events_received_total", &[("shard", "0")], 10.0),
            ("ringmill_events_stored_total", &[("shard", "0")], 6.0),
            ("ringmill_events_quarantined_total", &[("shard", "0")], 1.0),
            ("ringmill_events_rejected_total", &[("shard", "0")], 0.0),
            ("ringmill_events_shed_total", &[("shard", "0")], 1.0),
            ("ringmill_events_in_flight", &[("shard", "0")], 2.0),
            ("ringmill_connections", &[("shard", "0")], 0.0),
            ("ringmill_bytes_received_total", &[("shard", "0")], 0.0),
            ("ringmill_requests_total", &[("shard", "0"), ("code", "200")], 5.0),
            ("ringmill_requests_total", &[("shard", "0"), ("code", "207")], 1.0),
            ("ringmill_requests_total", &[("shard", "0"), ("code", "other")], 3.0),
            ("ringmill_timeouts_total", &[("shard", "0"), ("kind", "idle")], 4.0),
            ("ringmill_timeouts_total", &[("shard", "0"), ("kind", "head")], 0.0),
        ];
        for (name, labels, value) in cases {
            assert_eq!(parsed.get(name, labels), Some(*value), "{name} {labels:?}");
        }
        assert_eq!(parsed.families["ringmill_stage_seconds"], "histogram");
        assert_eq!(parsed.families["ringmill_connections"], "gauge");
    }

    #[test]
    fn buckets_are_cumulative_and_end_at_the_count() {
        let shard = busy_shard();
        let parsed = text(&Process::default(), &[Answer { shard: 7, snapshot: Some(&shard) }]);
        for stage in STAGES {
            let mine = |labels: &BTreeMap<String, String>| labels["stage"] == stage.as_str();
            let buckets: Vec<(f64, f64)> = parsed
                .samples
                .iter()
                .filter(|(name, labels, _)| name == "ringmill_stage_seconds_bucket" && mine(labels))
                .map(|(_, labels, n)| (labels["le"].parse().unwrap(), *n))
                .collect();
            assert_eq!(buckets.len(), BUCKETS.len() + 1);
            assert!(buckets.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1), "{buckets:?}");
            let labels = [("shard", "7"), ("stage", stage.as_str())];
            let count = parsed.get("ringmill_stage_seconds_count", &labels).unwrap();
            assert_eq!(*buckets.last().unwrap(), (f64::INFINITY, count));
            assert_eq!(count, shard.metrics.stages.count(stage) as f64);
            let sum = parsed.get("ringmill_stage_seconds_sum", &labels).unwrap();
            assert!((sum - shard.metrics.stages.sum_ns(stage) as f64 / 1e9).abs() < 1e-6);
        }
    }

    #[test]
    fn labels_of_bounds_say_the_bounds() {
        for (ns, le) in BUCKETS {
            assert!((le.parse::<f64>().unwrap() * 1e9 - ns as f64).abs() < 1e-3, "{le}");
        }
        assert!(BUCKETS.is_sorted());
    }

    #[test]
    fn a_time_at_a_bound_counts_within_a_bucket_of_it() {
        let mut shard = ShardSnapshot::new();
        shard.metrics.stages.record(Stage::Sink, 1_300_000);
        let parsed = text(&Process::default(), &[Answer { shard: 0, snapshot: Some(&shard) }]);
        let bucket = |le: &str| {
            let labels = [("shard", "0"), ("stage", "sink"), ("le", le)];
            parsed.get("ringmill_stage_seconds_bucket", &labels).unwrap()
        };
        assert_eq!((bucket("0.001"), bucket("0.0025"), bucket("+Inf")), (0.0, 1.0, 1.0));
    }

    #[test]
    fn every_shard_has_each_family_and_a_silent_one_only_its_readiness() {
        let shards = [busy_shard(), ShardSnapshot { ready: Err("draining"), ..busy_shard() }];
        let answers = [
            Answer { shard: 0, snapshot: Some(&shards[0]) },
            Answer { shard: 1, snapshot: Some(&shards[1]) },
            Answer { shard: 2, snapshot: None },
        ];
        let parsed = text(&Process::default(), &answers);
        let ready = |shard| parsed.get("ringmill_shard_ready", &[("shard", shard)]);
        assert_eq!((ready("0"), ready("1"), ready("2")), (Some(1.0), Some(0.0), Some(0.0)));
        let of = |shard: &str| {
            let of_shard = |l: &BTreeMap<String, String>| l.get("shard").is_some_and(|s| s == shard);
            parsed.samples.iter().filter(|(_, labels, _)| of_shard(labels)).count()
        };
        assert_eq!((of("0"), of("2")), (of("1"), 1));
        assert_eq!(parsed.get("process_resident_memory_bytes", &[]), None);
    }

    #[test]
    fn odd_versions_stay_inside_their_quotes() {
        let mut out = String::new();
        write(&mut out, &Process { version: "a\"b\\c\nd", ..Process::default() }, &[]);
        assert!(out.contains(&format!("ringmill_build_info{{version=\"{}\"}} 1\n", r#"a\"b\\c\nd"#)));
        Parsed::read(&out);
    }
}
