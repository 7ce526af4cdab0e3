//! What a run needs from outside before anything is sent: targets, payloads, cores. Each refusal is the user's to
//! mend, so all of it comes before the first connection.
use super::measure::Stretch;
use super::settings::{Load, Payload, Question, Settings, trace};
use super::shape;
use crate::core::load::payload::{self, Corpus, Source, Spec};
use crate::core::load::plan::Shape;
use crate::load::environment::Generator;
use crate::load::target::{Speech, Target};
use crate::sys::{affinity, topology};
use std::path::Path;

/// Where events go when the URL has no path: ringmill's own.
const OWN_PATH: &str = "/v1/events";

/// Largest payload or body file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// The threads of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// One entry a thread: the core it is pinned to, if it is.
    pub threads: Vec<Option<usize>>,
    /// Whether they spin between requests.
    pub spin: bool,
    /// Why, for people.
    pub why: String,
}

/// One server and the requests for it.
pub struct Aim {
    /// The server.
    pub target: Target,
    /// What is sent to it.
    pub corpus: Corpus,
}

/// Everything a run needs.
pub struct Inputs {
    /// The server, or the first of two.
    pub first: Aim,
    /// The one of `--against`.
    pub second: Option<Aim>,
    /// The plan; `None` for a closed loop.
    pub shape: Option<Shape>,
    /// Length of the measured time in nanoseconds.
    pub duration_ns: u64,
    /// Where it runs.
    pub placement: Placement,
    /// What the user should know.
    pub warnings: Vec<String>,
}

impl Inputs {
    /// Resolves names, reads files, builds requests.
    ///
    /// # Errors
    /// What is wrong and how to mend it.
    pub fn open(settings: &Settings) -> Result<Inputs, String> {
        let mut warnings = Vec::new();
        let (shape, duration_ns) = plan(settings)?;
        let bytes = payload_bytes(&settings.payload)?;
        let first = aim(settings, &settings.url, &bytes, &mut warnings)?;
        let second = match &settings.question {
            Question::Against(url) => Some(aim(settings, url, &bytes, &mut warnings)?),
            _ => None,
        };
        if settings.verify.is_some() && matches!(first.target.speech, Speech::Lines { replies: false }) {
            return Err(
                "--verify needs acknowledgements, and this line target gives none; add ?replies to the URL \
                        and --lines-replies to the server"
                    .into(),
            );
        }
        if settings.closed_by_default {
            warnings.push(
                "no --rate: a closed loop. A new request leaves when a reply is there, so a server that stalls is \
                 asked less and its latency looks better than users would find it"
                    .into(),
            );
        }
        let placement = placement(settings, &mut warnings);
        Ok(Inputs { first, second, shape, duration_ns, placement, warnings })
    }

    /// The whole run as one stretch on the first target.
    pub fn stretch<'a>(&'a self, settings: &'a Settings) -> Stretch<'a> {
        Stretch {
            aim: &self.first,
            shape: self.shape.as_ref(),
            duration_ns: self.duration_ns,
            warmup_ns: settings.warmup_ns,
            seed: settings.seed,
            connections: settings.connections,
            pipeline: settings.pipeline,
            timeout_ns: settings.timeout_ns,
            placement: &self.placement,
            classes: self.classes(),
            verify: settings.verify.is_some(),
        }
    }

    /// Payload classes that recorders tell apart: only the valid one when nothing malformed is sent.
    pub fn classes(&self) -> usize {
        let corpus = &self.first.corpus;
        if corpus.drawn().next().is_some() { corpus.classes().len() } else { 1 }
    }

    /// What the environment's record says of the generator.
    pub fn generator(&self, settings: &Settings) -> Generator {
        let pinned: Vec<usize> = self.placement.threads.iter().filter_map(|core| *core).collect();
        Generator {
            threads: self.placement.threads.len(),
            cores: topology::format_list(&pinned),
            spins: self.placement.spin,
            seed: settings.seed,
            corpus: Some(format!("{:08x}", crate::core::segment::crc32c(self.first.corpus.buffer()))),
        }
    }

    /// The run's settings for people, in the order shown.
    pub fn describe(&self, settings: &Settings) -> Vec<(String, String)> {
        let plan = match &self.shape {
            Some(shape) => shape::describe(shape),
            None => "closed loop".to_string(),
        };
        let seconds = |ns: u64| format!("{} s", ns as f64 / 1e9);
        let payload = match &settings.payload {
            Payload::Lines(file) => format!("events of {}", file.display()),
            Payload::Body(file) => format!("the body {}", file.display()),
            other => format!("{other:?}").to_ascii_lowercase(),
        };
        let mut lines = vec![
            ("plan", plan),
            ("duration", seconds(self.duration_ns)),
            ("warm-up", seconds(settings.warmup_ns)),
            ("connections", settings.connections.to_string()),
            ("pipeline", settings.pipeline.to_string()),
            ("threads", self.placement.why.clone()),
            ("method", settings.method.clone()),
            ("payload", payload),
            ("events a request", settings.events_per_request.to_string()),
            ("bytes a request", format!("{} in the mean", self.first.corpus.valid_bytes_mean())),
        ];
        if settings.malformed > 0.0 {
            let classes = self.first.corpus.drawn().count();
            lines.push(("malformed", format!("{} % in {classes} classes", settings.malformed * 100.0)));
        }
        lines.push(("seed", settings.seed.to_string()));
        lines.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    }
}

fn plan(settings: &Settings) -> Result<(Option<Shape>, u64), String> {
    let ask = settings.duration_ns.unwrap_or(0);
    match &settings.load {
        Load::Closed => Ok((None, ask)),
        Load::Open(shape) => Ok((Some(shape.clone()), ask)),
        Load::Trace(file) => {
            let text = read("--trace", file)?;
            let text =
                String::from_utf8(text).map_err(|_| format!("--trace {}: not text", file.display()))?;
            let times = trace(&text).map_err(|why| format!("--trace {}: {why}", file.display()))?;
            let last = times.iter().copied().max().unwrap_or(0);
            // A plan ends before its end, and the last reply needs time.
            let whole = (last + 1).next_multiple_of(1_000_000_000);
            Ok((Some(Shape::Trace(times)), settings.duration_ns.unwrap_or(whole)))
        }
    }
}

fn read(flag: &str, file: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: String| format!("{flag} {}: {error}", file.display());
    let size = std::fs::metadata(file).map_err(|error| failed(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(failed("more than 1 GiB; a part of it will do, for requests repeat".into()));
    }
    std::fs::read(file).map_err(|error| failed(error.to_string()))
}

fn payload_bytes(payload: &Payload) -> Result<Vec<u8>, String> {
    match payload {
        Payload::Lines(file) => {
            let hint = |why: String| match file.components().count() {
                1 => format!("{why} (the built-in payloads are log, metric, span and mix)"),
                _ => why,
            };
            read("--payload", file).map_err(hint)
        }
        Payload::Body(file) => read("--body", file),
        _ => Ok(Vec::new()),
    }
}

fn aim(settings: &Settings, url: &str, bytes: &[u8], warnings: &mut Vec<String>) -> Result<Aim, String> {
    let mut target = Target::parse(url)?.insecure(settings.insecure);
    let lines = matches!(target.speech, Speech::Lines { .. });
    if !lines && target.path == "/" && !url.ends_with('/') {
        target.path = OWN_PATH.into();
    }
    let source = match &settings.payload {
        Payload::Log => Source::Log,
        Payload::Metric => Source::Metric,
        Payload::Span => Source::Span,
        Payload::Mix => Source::Mix,
        Payload::Lines(_) => Source::Lines(bytes),
        Payload::Body(_) | Payload::Nothing => Source::Body(bytes),
    };
    if let (Payload::Lines(file), Some((line, reason))) = (&settings.payload, payload::first_bad_line(bytes))
    {
        warnings.push(format!(
            "{} line {line} is no event that ringmill takes: {reason}; it is sent as it is",
            file.display()
        ));
    }
    let spec = Spec {
        source,
        events_per_request: settings.events_per_request,
        malformed_share: settings.malformed,
        class_status: settings.class_status.clone(),
        seed: settings.seed,
        method: settings.method.clone(),
        path: target.path.clone(),
        host: target.host.clone(),
        headers: settings.headers.clone(),
        ids: settings.verify.is_some(),
        lines,
        ..Spec::default()
    };
    let corpus = Corpus::build(&spec)?;
    if corpus.unused_lines() > 0 {
        warnings.push(format!(
            "{} lines at the end of the payload are not sent: 32 MiB of requests are the most that is kept",
            corpus.unused_lines()
        ));
    }
    Ok(Aim { target, corpus })
}

/// One thread on each core that was named, else a single one that goes where the scheduler likes.
fn placement(settings: &Settings, warnings: &mut Vec<String>) -> Placement {
    let allowed = affinity::current().map_or(1, |cores| cores.len());
    let Some(cores) = &settings.cores else {
        let spin = allowed > 1;
        let how = if spin { "spinning" } else { "sleeping, for it has no core to itself" };
        return Placement { threads: vec![None], spin, why: format!("1, not pinned, {how}") };
    };
    let mut threads: Vec<Option<usize>> = cores.iter().copied().map(Some).collect();
    if threads.len() > settings.connections as usize {
        threads.truncate(settings.connections as usize);
        warnings.push(format!("only {} threads, for there are no more connections", threads.len()));
    }
    let list = topology::format_list(&threads.iter().filter_map(|core| *core).collect::<Vec<_>>());
    Placement { why: format!("{} on cores {list}, spinning", threads.len()), threads, spin: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::load::args::LoadArgs;
    use clap::{Args, Command, FromArgMatches};

    fn inputs(line: &str) -> Result<Inputs, String> {
        let words = std::iter::once("load").chain(line.split(' '));
        let matches = LoadArgs::augment_args(Command::new("load")).try_get_matches_from(words).unwrap();
        Inputs::open(&Settings::new(&LoadArgs::from_arg_matches(&matches).unwrap())?)
    }

    #[test]
    fn a_url_without_a_path_is_ringmills_own() {
        for (url, path) in [
            ("http://127.0.0.1:1", "/v1/events"),
            ("http://127.0.0.1:1/", "/"),
            ("http://127.0.0.1:1/x?y", "/x?y"),
            ("unix:/run/x.sock", "/v1/events"),
            ("unix:/run/x.sock:/", "/"),
        ] {
            assert_eq!(inputs(url).unwrap().first.target.path, path, "{url}");
        }
    }

    #[test]
    fn threads_are_as_many_as_cores_but_no_more_than_connections() {
        let cores: Vec<_> = [0, 1, 2].map(Some).into();
        let three = inputs("http://127.0.0.1:1 --cores 0-2 --connections 8").unwrap();
        assert_eq!((three.placement.threads, three.placement.spin), (cores.clone(), true));
        let two = inputs("http://127.0.0.1:1 --cores 0-2 --connections 2").unwrap();
        assert_eq!(two.placement.threads, cores[..2]);
        assert!(two.warnings.iter().any(|warning| warning.contains("only 2 threads")));
        assert_eq!(inputs("http://127.0.0.1:1").unwrap().placement.threads, [None]);
    }

    #[test]
    fn a_closed_loop_says_so_unless_it_was_asked_for() {
        for (line, told) in [
            ("http://127.0.0.1:1", true),
            ("http://127.0.0.1:1 --closed", false),
            ("http://127.0.0.1:1 --rate 5", false),
        ] {
            let inputs = inputs(line).unwrap();
            assert_eq!(inputs.warnings.iter().any(|warning| warning.contains("closed loop")), told, "{line}");
        }
    }

    #[test]
    fn what_is_not_there_is_told_with_its_flag() {
        for (line, needle) in [
            ("http://127.0.0.1:1 --payload nothere", "log, metric, span and mix"),
            ("http://127.0.0.1:1 --payload ./not/here", "--payload ./not/here"),
            ("http://127.0.0.1:1 --body /nothere", "--body /nothere"),
            ("http://127.0.0.1:1 --trace /nothere", "--trace /nothere"),
            ("ftp://127.0.0.1:1", "ftp"),
            ("http://127.0.0.1:1 --against nonsense", "nonsense"),
            ("http://127.0.0.1:1 --malformed 20% --class-status nonsense=400", "cut_json"),
            ("lines://127.0.0.1:1 --verify /tmp", "?replies"),
        ] {
            let told = inputs(line).err().unwrap_or_else(|| panic!("{line} is taken"));
            assert!(told.contains(needle), "{line}: {told}");
        }
    }

    #[test]
    fn a_trace_is_as_long_as_its_last_second() {
        let file = std::env::temp_dir().join(format!("ringmill-trace-{}", std::process::id()));
        for (text, seconds) in [("0\n1.5\n", 2), ("0\n", 1), ("2\n", 3)] {
            std::fs::write(&file, text).unwrap();
            let inputs = inputs(&format!("http://127.0.0.1:1 --trace {}", file.display())).unwrap();
            assert_eq!(inputs.duration_ns, seconds * 1_000_000_000, "{text:?}");
        }
        std::fs::remove_file(&file).unwrap();
    }
}
