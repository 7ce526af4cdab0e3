//! What was typed, made sense of: every refusal that needs neither the network nor a run.
//!
//! Reading words into values is here ([`rate`], [`time`], …), and what goes with what ([`Settings::new`]). Files are
//! opened in [`super::inputs`], processes in `load::faults`.
use super::args::LoadArgs;
use crate::core::load::expect::{self, Expectation};
use crate::core::load::fault::{self, Fault};
use crate::core::load::plan::Shape;
use crate::core::load::search::Goal;
use crate::sys::topology;
use std::path::PathBuf;

/// Connections and pipelined requests of one run; more is a typing mistake.
const CONNECTIONS_MAX: u64 = 60_000;
/// Requests in flight on one connection.
const PIPELINE_MAX: u64 = 1024;
/// Events in a request.
const EVENTS_MAX: u64 = 100_000;
/// Requests a second that are still worth planning for.
const RATE_MAX: f64 = 1e9;
/// A month.
const TIME_MAX_NS: f64 = 31.0 * 86_400.0 * 1e9;
/// Length of a run when nothing else says it.
const DURATION_NS: u64 = 10_000_000_000;

const TIMES_NS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("min", 60e9),
    ("h", 3600e9),
    ("d", 86_400e9),
];

/// What the server is asked to do, over time.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
    /// As fast as it replies.
    Closed,
    /// By a plan.
    Open(Shape),
    /// By a recorded one, still in its file.
    Trace(PathBuf),
}

/// What the requests hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Generated log lines.
    Log,
    /// Generated metrics.
    Metric,
    /// Generated spans.
    Span,
    /// All three.
    Mix,
    /// Events of a file, one a line.
    Lines(PathBuf),
    /// A file as it is.
    Body(PathBuf),
    /// Nothing, for methods that have no body.
    Nothing,
}

/// What is to be found out, beside figures.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// Nothing further.
    Plain,
    /// The highest rate that holds this goal, as typed and as read.
    FindRate(String, Goal),
    /// How this target compares.
    Against(String),
}

/// A run as it was asked for. Times in nanoseconds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The target.
    pub url: String,
    /// The plan.
    pub load: Load,
    /// Nothing was said of a rate, so that it is worth telling what a closed loop is.
    pub closed_by_default: bool,
    /// Length of the measured time; `None`: as long as the trace.
    pub duration_ns: Option<u64>,
    /// Time before it.
    pub warmup_ns: u64,
    /// Of plan and payloads.
    pub seed: u64,
    /// Over all threads.
    pub connections: u32,
    /// On each connection.
    pub pipeline: u32,
    /// Cores named by the user, rising.
    pub cores: Option<Vec<usize>>,
    /// After which a request has failed.
    pub timeout_ns: u64,
    /// Whether any certificate will do.
    pub insecure: bool,
    /// What requests hold.
    pub payload: Payload,
    /// How many events each.
    pub events_per_request: u32,
    /// Share of malformed ones.
    pub malformed: f64,
    /// `NAME=STATUS` as typed.
    pub class_status: Vec<String>,
    /// Header lines.
    pub headers: Vec<(String, String)>,
    /// The method, in upper case.
    pub method: String,
    /// What to find out.
    pub question: Question,
    /// What to do to whom.
    pub faults: Vec<Fault>,
    /// Where acknowledged events must be.
    pub verify: Option<PathBuf>,
    /// What has to hold.
    pub expect: Vec<Expectation>,
    /// Outputs, as typed.
    pub json: Option<String>,
    /// See [`LoadArgs::hlog`].
    pub hlog: Option<PathBuf>,
    /// See [`LoadArgs::hgrm`].
    pub hgrm: Option<PathBuf>,
    /// See [`LoadArgs::html`].
    pub html: Option<PathBuf>,
    /// No live view.
    pub no_tui: bool,
}

impl Settings {
    /// Makes sense of what was typed.
    ///
    /// # Errors
    /// The first thing that makes none, and how to mend it.
    pub fn new(args: &LoadArgs) -> Result<Settings, String> {
        let question = question(args)?;
        let load = load(args, &question)?;
        let duration_ns = duration(args, &load)?;
        let method = args.method.as_deref().unwrap_or("POST").to_ascii_uppercase();
        let payload = payload(args, &method)?;
        let named = |flag: &str, why: String| format!("{flag}: {why}");
        let cores = args.cores.as_deref().map(cores).transpose().map_err(|why| named("--cores", why))?;
        let faults =
            args.fault.as_deref().map(fault::parse).transpose().map_err(|why| named("--fault", why))?;
        let expect =
            args.expect.as_deref().map(expect::parse).transpose().map_err(|why| named("--expect", why))?;
        let malformed = args.malformed.unwrap_or(0.0);
        if malformed > 0.0 && payload == Payload::Nothing {
            return Err(format!("--malformed needs requests with a body; {method} has none"));
        }
        if args.verify.is_some() && payload == Payload::Nothing {
            return Err(format!("--verify needs requests with events; {method} has none"));
        }
        if args.timeout == 0 {
            return Err("--timeout: a request needs some time; give it 1ms at least".into());
        }
        Ok(Settings {
            url: args.url.clone(),
            closed_by_default: load == Load::Closed && !args.closed,
            load,
            duration_ns,
            warmup_ns: args.warmup,
            seed: args.seed.unwrap_or_else(|| seed(args)),
            connections: within("--connections", args.connections, CONNECTIONS_MAX)?,
            pipeline: within("--pipeline", args.pipeline, PIPELINE_MAX)?,
            cores,
            timeout_ns: args.timeout,
            insecure: args.insecure,
            payload,
            events_per_request: within("--events-per-request", args.events_per_request, EVENTS_MAX)?,
            malformed,
            class_status: args.class_status.clone(),
            headers: args.header.clone(),
            method,
            question,
            faults: faults.unwrap_or_default(),
            verify: args.verify.clone(),
            expect: expect.unwrap_or_default(),
            json: args.json.clone(),
            hlog: args.hlog.clone(),
            hgrm: args.hgrm.clone(),
            html: args.html.clone(),
            no_tui: args.no_tui,
        })
    }
}

/// Without a seed each run is the same as the last. Not so with `--verify`: events of an earlier run must not be
/// taken for those of this one.
fn seed(args: &LoadArgs) -> u64 {
    if args.verify.is_none() {
        return 1;
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as u64
}

fn question(args: &LoadArgs) -> Result<Question, String> {
    match (&args.find_rate, &args.against) {
        (Some(goal), _) => {
            let read = expect::goal(goal).map_err(|why| format!("--find-rate: {why}"))?;
            Ok(Question::FindRate(goal.clone(), read))
        }
        (None, Some(url)) => Ok(Question::Against(url.clone())),
        (None, None) => Ok(Question::Plain),
    }
}

fn load(args: &LoadArgs, question: &Question) -> Result<Load, String> {
    let shape = |per_s| if args.poisson { Shape::Poisson { per_s } } else { Shape::Constant { per_s } };
    let load = if let Some(text) = &args.ramp {
        Load::Open(ramp(text).map_err(|why| format!("--ramp: {why}"))?)
    } else if let Some(text) = &args.steps {
        Load::Open(Shape::Steps(steps(text).map_err(|why| format!("--steps: {why}"))?))
    } else if let Some(file) = &args.trace {
        Load::Trace(file.clone())
    } else if let Some(per_s) = args.rate {
        Load::Open(shape(per_s))
    } else if matches!(question, Question::FindRate(..)) {
        // The search brings its own rates; this one is where it begins.
        Load::Open(shape(FIRST_RATE))
    } else {
        Load::Closed
    };
    let spaced = args.poisson || args.constant;
    match load {
        Load::Closed if spaced => {
            Err("--poisson and --constant say how --rate is spaced; give a --rate".into())
        }
        Load::Trace(_) | Load::Open(Shape::Ramp { .. } | Shape::Steps(_)) if spaced => {
            Err("--poisson and --constant go with --rate only".into())
        }
        load => Ok(load),
    }
}

/// Where `--find-rate` begins without `--rate`: low enough for anything that serves at all.
pub const FIRST_RATE: f64 = 1000.0;

fn duration(args: &LoadArgs, load: &Load) -> Result<Option<u64>, String> {
    let duration_ns = match (args.duration, load) {
        (Some(given), _) => Some(given),
        (None, _) if args.find_rate.is_some() => Some(super::questions::PROBE_NS),
        (None, _) if args.against.is_some() => Some(super::questions::COMPARISON_NS),
        (None, Load::Open(Shape::Steps(steps))) => Some(steps.iter().map(|&(_, ns)| ns).sum()),
        (None, Load::Trace(_)) => None,
        (None, _) => Some(DURATION_NS),
    };
    match duration_ns {
        Some(ns) if ns < 1_000_000 => Err("--duration: nothing can be measured in less than 1ms".into()),
        duration_ns => Ok(duration_ns),
    }
}

fn payload(args: &LoadArgs, method: &str) -> Result<Payload, String> {
    let bodiless = matches!(method, "GET" | "HEAD" | "OPTIONS" | "DELETE" | "TRACE");
    Ok(match (&args.body, args.payload.as_deref()) {
        (Some(file), _) => Payload::Body(file.clone()),
        (None, None) if bodiless => Payload::Nothing,
        (None, None | Some("mix")) => Payload::Mix,
        (None, Some("log")) => Payload::Log,
        (None, Some("metric")) => Payload::Metric,
        (None, Some("span")) => Payload::Span,
        (None, Some("")) => return Err("--payload: log, metric, span, mix or the name of a file".into()),
        (None, Some(file)) => Payload::Lines(PathBuf::from(file)),
    })
}

fn within(flag: &str, value: u64, most: u64) -> Result<u32, String> {
    match u32::try_from(value) {
        Ok(small) if (1..=most).contains(&value) => Ok(small),
        _ => Err(format!("{flag}: {value} is not possible; 1 to {most} are")),
    }
}

fn cores(text: &str) -> Result<Vec<usize>, String> {
    if text == "auto" {
        return Err("name the cores, like 0-3,5, or leave the flag out".into());
    }
    let cores = topology::parse_list(text)?;
    if cores.is_empty() { Err("no core is named".into()) } else { Ok(cores) }
}

fn ramp(text: &str) -> Result<Shape, String> {
    let (from, to) = text.split_once("..").ok_or("a ramp is written as two rates: 10k..100k")?;
    let bound = |text: &str| if text.trim() == "0" { Ok(0.0) } else { rate(text) };
    let (from_per_s, to_per_s) = (bound(from)?, bound(to.trim_start_matches('='))?);
    match from_per_s + to_per_s > 0.0 {
        true => Ok(Shape::Ramp { from_per_s, to_per_s }),
        false => Err("a ramp from 0 to 0 sends nothing".into()),
    }
}

fn steps(text: &str) -> Result<Vec<(f64, u64)>, String> {
    let step = |part: &str| {
        let (per_s, length) = part
            .split_once(':')
            .ok_or(format!("`{}` is no step; a step is RATE:TIME, like 10k:30s", part.trim()))?;
        let per_s = if per_s.trim() == "0" { 0.0 } else { rate(per_s)? };
        match time(length)? {
            0 => Err(format!("the step `{}` takes no time", part.trim())),
            length => Ok((per_s, length)),
        }
    };
    let steps = text.split(',').map(step).collect::<Result<Vec<_>, String>>()?;
    match steps.iter().any(|&(per_s, _)| per_s > 0.0) {
        true => Ok(steps),
        false => Err("all steps are 0, which sends nothing".into()),
    }
}

/// The times of a trace, in nanoseconds: one a line, blank lines and lines from `#` on left out.
///
/// # Errors
/// The line that is no time.
pub fn trace(text: &str) -> Result<Vec<u64>, String> {
    let mut times = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            times.push(time(line).map_err(|why| format!("line {}: `{line}` is {why}", number + 1))?);
        }
    }
    if times.is_empty() { Err("no time stands in it".into()) } else { Ok(times) }
}

/// A number and the unit behind it.
fn split(text: &str) -> (Option<f64>, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    let number = text[..end].replace('_', "");
    let plain = number.bytes().any(|byte| byte.is_ascii_digit());
    (number.parse().ok().filter(|_| plain), text[end..].trim())
}

/// A number with `k` or `M`.
fn scaled(text: &str) -> Option<f64> {
    let (number, unit) = split(text);
    let scale = match unit {
        "" => 1.0,
        "k" | "K" => 1e3,
        "M" => 1e6,
        _ => return None,
    };
    Some(number? * scale)
}

/// Requests a second: `500`, `50k`, `1.5M`; also `50k/s`.
///
/// # Errors
/// What a rate looks like.
pub fn rate(text: &str) -> Result<f64, String> {
    let plain = text.trim().trim_end_matches("/s");
    match scaled(plain) {
        Some(rate) if rate > 0.0 && rate <= RATE_MAX => Ok(rate),
        Some(rate) if rate > RATE_MAX => Err("no machine sends that much; 1000M is the most".into()),
        Some(_) => Err("not a rate; it must be more than 0".into()),
        None => Err("not a rate; a rate is a number a second, with or without k, M, like 50k".into()),
    }
}

/// A count: `64`, `2k`.
///
/// # Errors
/// What a count looks like.
pub fn count(text: &str) -> Result<u64, String> {
    match scaled(text) {
        Some(count) if count.fract() == 0.0 && count < 1e15 => Ok(count as u64),
        _ => Err("not a count; a count is a whole number, with or without k, M".into()),
    }
}

/// A time in nanoseconds: `250us`, `1.5s`, `2m`; a bare number counts seconds.
///
/// # Errors
/// What a time looks like.
pub fn time(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let unit = if unit.is_empty() { "s" } else { unit };
    let scale = TIMES_NS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| scale);
    match (number, scale) {
        (Some(number), Some(scale)) if number * scale <= TIME_MAX_NS => Ok((number * scale).round() as u64),
        (Some(_), Some(_)) => Err("a time of more than 31 days".into()),
        _ => Err("not a time; a time is a number with us, ms, s, m or h, like 10s".into()),
    }
}

/// A share: `20%` or `0.2`.
///
/// # Errors
/// What a share looks like.
pub fn share(text: &str) -> Result<f64, String> {
    let wrong = || "not a share; a share is like 20% or 0.2, from 0 to 100%".to_string();
    let (number, unit) = split(text);
    let share = match unit {
        "%" => number.ok_or_else(wrong)? / 100.0,
        "" => number.ok_or_else(wrong)?,
        _ => return Err(wrong()),
    };
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(wrong()) }
}

/// A header line: `Name: value`.
///
/// # Errors
/// What a header line looks like.
pub fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("not a header line; write `Name: value`")?;
    let name = name.trim();
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err("not a header line; a name is letters, digits and dashes".into());
    }
    Ok((name.to_string(), value.trim().to_string()))
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
