//! `ringmill load …` as typed. Whether it makes sense is decided in [`super::settings`].
use super::settings;
use clap::Args;
use std::path::PathBuf;

/// How much of what is sent where, and what is to be said about it.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "Without --rate (or --ramp, --steps, --trace) it is a closed loop: a new request leaves when a reply \
                  is there, and a server that stalls is asked less.\n\
                  Rates and counts are like 500, 50k, 1.5M; times like 250us, 10ms, 5s, 2m, 1h (a bare number: seconds); \
                  shares like 20%.\n\
                  Exit codes: 0 done and all expectations met, 1 failed or an expectation unmet, 2 bad usage."
)]
pub struct LoadArgs {
    /// http://, https://, lines://HOST:PORT, unix:PATH (HTTP) or lines+unix:PATH; without a path: /v1/events
    #[arg(value_name = "URL")]
    pub url: String,

    /// Requests a second, whatever the server does; latency counts from the intended time
    #[arg(long, value_name = "RATE", value_parser = settings::rate, help_heading = "Plan")]
    pub rate: Option<f64>,
    /// Independent arrivals with that mean rate, as of many users
    #[arg(long, help_heading = "Plan")]
    pub poisson: bool,
    /// Evenly spaced arrivals (the default)
    #[arg(long, conflicts_with = "poisson", help_heading = "Plan")]
    pub constant: bool,
    /// From one rate to another over the whole run: 10k..100k
    #[arg(long, value_name = "A..B", conflicts_with = "rate", help_heading = "Plan")]
    pub ramp: Option<String>,
    /// One rate after another: 10k:30s,20k:30s
    #[arg(long, value_name = "RATE:TIME,…", conflicts_with_all = ["rate", "ramp"], help_heading = "Plan")]
    pub steps: Option<String>,
    /// Recorded times, one a line: seconds from the start, or with a unit
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rate", "ramp", "steps"], help_heading = "Plan")]
    pub trace: Option<PathBuf>,
    /// A closed loop: a new request leaves when a reply is there
    #[arg(long, conflicts_with_all = ["rate", "ramp", "steps", "trace", "poisson", "constant", "find_rate"], help_heading = "Plan")]
    pub closed: bool,
    /// Length of the measured time [default: 10s, or as long as the steps or the trace; 5s for each probe of
    /// --find-rate; 40s for --against]
    #[arg(long, value_name = "TIME", value_parser = settings::time, help_heading = "Plan")]
    pub duration: Option<u64>,
    /// Time before it, sent and not counted
    #[arg(long, value_name = "TIME", value_parser = settings::time, default_value = "2s", help_heading = "Plan")]
    pub warmup: u64,
    /// Seed of plan and payloads [default: 1; with --verify another for each run]
    #[arg(long, value_name = "N", help_heading = "Plan")]
    pub seed: Option<u64>,

    /// Connections, over all threads
    #[arg(long, value_name = "N", value_parser = settings::count, default_value = "64", help_heading = "Driver")]
    pub connections: u64,
    /// Requests in flight on each connection
    #[arg(long, value_name = "N", value_parser = settings::count, default_value = "1", help_heading = "Driver")]
    pub pipeline: u64,
    /// One sending thread on each of these cores, which it does not share: 0-3,5 [default: one, on the first core]
    #[arg(long, value_name = "LIST", help_heading = "Driver")]
    pub cores: Option<String>,
    /// A request without a reply for this long has failed
    #[arg(long, value_name = "TIME", value_parser = settings::time, default_value = "10s", help_heading = "Driver")]
    pub timeout: u64,
    /// Take any certificate
    #[arg(long, help_heading = "Driver")]
    pub insecure: bool,

    /// log, metric, span, mix, or a file with one event a line [default: mix]
    #[arg(long, value_name = "KIND|FILE", help_heading = "Requests")]
    pub payload: Option<String>,
    /// Events in each request
    #[arg(long, value_name = "N", value_parser = settings::count, default_value = "1", help_heading = "Requests")]
    pub events_per_request: u64,
    /// Share of malformed requests, in many classes, each with its own figures
    #[arg(long, value_name = "SHARE", value_parser = settings::share, help_heading = "Requests")]
    pub malformed: Option<f64>,
    /// What another server answers to a class: bad_utf8=422; repeatable
    #[arg(long, value_name = "NAME=STATUS", value_delimiter = ',', help_heading = "Requests")]
    pub class_status: Vec<String>,
    /// A header line: `Name: value`; repeatable
    #[arg(long, short = 'H', value_name = "LINE", value_parser = settings::header, help_heading = "Requests")]
    pub header: Vec<(String, String)>,
    /// GET, POST, PUT, … [default: POST]
    #[arg(long, short = 'X', value_name = "NAME", help_heading = "Requests")]
    pub method: Option<String>,
    /// A file that is the body of every request
    #[arg(long, value_name = "FILE", conflicts_with_all = ["payload", "malformed"], help_heading = "Requests")]
    pub body: Option<PathBuf>,

    /// Search the highest rate that holds a goal: p999<1ms; up, then down again
    #[arg(long, value_name = "GOAL", conflicts_with_all = ["ramp", "steps", "trace", "against", "fault", "verify"], help_heading = "Questions")]
    pub find_rate: Option<String>,
    /// A second target, compared side by side in slices of a second
    #[arg(long, value_name = "URL", conflicts_with_all = ["ramp", "steps", "trace", "fault", "verify"], help_heading = "Questions")]
    pub against: Option<String>,
    /// Harm processes you name: `10s: throttle PID 5% for 5s; 20s: stop PID 200ms; 30s: kill PID`
    #[arg(long, value_name = "TIMELINE", help_heading = "Questions")]
    pub fault: Option<String>,
    /// Afterwards look for every acknowledged event in this segment directory or NDJSON file
    #[arg(long, value_name = "DIR|FILE", conflicts_with = "body", help_heading = "Questions")]
    pub verify: Option<PathBuf>,
    /// What has to hold, else exit code 1: `p999<5ms, errors<0.1%, rate>45k`
    #[arg(long, value_name = "LIST", help_heading = "Questions")]
    pub expect: Option<String>,

    /// Results as JSON; - for standard output
    #[arg(long, value_name = "FILE|-", help_heading = "Output")]
    pub json: Option<String>,
    /// Interval log of HdrHistogram, written as the run goes
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub hlog: Option<PathBuf>,
    /// Percentiles of the latency as HdrHistogram's text
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub hgrm: Option<PathBuf>,
    /// The report as one HTML file that needs no network
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub html: Option<PathBuf>,
    /// Plain progress lines also on a terminal
    #[arg(long, help_heading = "Output")]
    pub no_tui: bool,
}
