//! Who limited the run: nobody, the server, the generator or the platform below both.
//!
//! A rule names what it saw and is only asked when the ones before it did not hold: a platform that steals
//! time makes a generator late, and a late generator makes a server look slow, so the lowest layer is judged
//! first. The verdict refuses to guess: what was not measured is said in its words.
use super::summary::{Mode, Summary};
use alloc::format;
use alloc::string::String;

/// What was measured beside the requests, over the same stretch. Zero where nothing of the kind happened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Controls {
    /// Samples of the idle probe; 0: it did not run, and the platform is not judged by it.
    pub probe_samples: u64,
    /// 99 % of the probe's samples were late by no more than this, in nanoseconds.
    pub hiccup_p99_ns: u64,
    /// Its largest lateness, in nanoseconds.
    pub hiccup_max_ns: u64,
    /// Time that the probe lost to hiccups, of all its time (0 to 1).
    pub hiccup_share: f64,
    /// CPU time that the hypervisor gave to others, of the time of the cores used (0 to 1).
    pub steal_share: f64,
    /// Time that the control group was throttled for its quota, in nanoseconds.
    pub throttled_ns: u64,
    /// Time that the generator's threads waited for a core, of their time (0 to 1).
    pub run_queue_share: f64,
    /// Median lateness of sending, in nanoseconds, of requests for which a connection was free.
    pub send_lag_p50_ns: u64,
    /// Its 99 % quantile, in nanoseconds.
    pub send_lag_p99_ns: u64,
    /// Time that the busiest generator thread worked and did not wait (0 to 1).
    pub generator_busy_share: f64,
    /// Requests sent a second, divided by those of the plan; 1 in a closed loop.
    pub achieved_share: f64,
    /// Most requests that waited for a free connection at the end of any interval.
    pub queued_max: u64,
    /// Growth of requests queued and in flight from the first to the last quarter, a second.
    pub in_flight_growth_per_s: f64,
}

/// The limit of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The plan was kept and nothing disturbed it.
    None,
    /// The server did not keep up.
    Server,
    /// The load generator did not keep up: the figures are its own.
    Generator,
    /// The machine disturbed the run: the figures are not the server's alone.
    Platform,
}

impl Limit {
    /// `none`, `server`, `generator` or `platform`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Limit::None => "none",
            Limit::Server => "server",
            Limit::Generator => "generator",
            Limit::Platform => "platform",
        }
    }
}

/// The limit, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Who limited the run.
    pub limit: Limit,
    /// What was seen, with its figures, in one sentence or two.
    pub why: String,
}

/// Time lost to hiccups, steal or throttling above which the platform is blamed: a hundredth of the time
/// lost is what a p99 is made of.
const LOST_SHARE: f64 = 0.01;
/// Part of a latency quantile above which a disturbance explains it.
const PART_OF_TAIL: f64 = 0.2;
/// Waiting for a core above which the generator did not own its cores.
const RUN_QUEUE_SHARE: f64 = 0.05;
/// A thread busier than this has no room to be on time.
const BUSY_SHARE: f64 = 0.9;
/// Sent below this part of the plan, the rate was not kept.
const ACHIEVED_SHARE: f64 = 0.99;
/// Failed or unexpected above this share, the server did not serve the load.
const FAILED_SHARE: f64 = 0.001;
/// Requests piling up faster than this part of the rate, the server does not keep up.
const GROWTH_SHARE: f64 = 0.01;
/// Sending is not called late below this, in nanoseconds: two histogram cells of noise and a spinning
/// pacer's own turn are of this size.
const LAG_NOISE_NS: u64 = 5_000;

/// Judges a run.
pub fn judge(controls: &Controls, summary: &Summary) -> Verdict {
    let rules: [(Limit, Rule); 3] =
        [(Limit::Platform, platform), (Limit::Generator, generator), (Limit::Server, server)];
    for (limit, rule) in rules {
        if let Some(why) = rule(controls, summary) {
            return Verdict { limit, why };
        }
    }
    let mut why = format!(
        "{:.1} % of the plan was sent, send lag p99 {}, generator busy {:.0} %",
        controls.achieved_share * 100.0,
        time(controls.send_lag_p99_ns),
        controls.generator_busy_share * 100.0
    );
    if controls.probe_samples == 0 {
        why.push_str("; no hiccup probe ran, so short disturbances of the platform are not excluded");
    }
    Verdict { limit: Limit::None, why }
}

type Rule = fn(&Controls, &Summary) -> Option<String>;

fn platform(c: &Controls, s: &Summary) -> Option<String> {
    let throttled_share = share(c.throttled_ns as f64, s.elapsed_ns as f64);
    if c.steal_share > LOST_SHARE {
        return Some(format!("the hypervisor stole {:.1} % of the cores' time", c.steal_share * 100.0));
    }
    if throttled_share > LOST_SHARE {
        return Some(format!(
            "the control group was throttled for {:.1} % of the time",
            throttled_share * 100.0
        ));
    }
    if c.run_queue_share > RUN_QUEUE_SHARE {
        return Some(format!(
            "the generator waited for a core {:.1} % of its time; give it cores of its own (--cores)",
            c.run_queue_share * 100.0
        ));
    }
    // The probe on a busy core meets the generator's own work in the kernel.
    if c.probe_samples == 0 || c.generator_busy_share > BUSY_SHARE {
        return None;
    }
    if c.hiccup_share > LOST_SHARE {
        return Some(format!(
            "the idle probe lost {:.1} % of its time to hiccups of up to {}",
            c.hiccup_share * 100.0,
            time(c.hiccup_max_ns)
        ));
    }
    let p99 = s.latency.p99?.value_ns;
    (c.hiccup_p99_ns as f64 > PART_OF_TAIL * p99 as f64).then(|| {
        format!(
            "hiccups of the idle probe (p99 {}) are as large as the latency to be measured (p99 {})",
            time(c.hiccup_p99_ns),
            time(p99)
        )
    })
}

fn generator(c: &Controls, s: &Summary) -> Option<String> {
    let busy = c.generator_busy_share > BUSY_SHARE;
    if s.mode == Mode::Closed {
        return busy.then(|| {
            format!("the generator was busy {:.0} %: the server may do more", c.generator_busy_share * 100.0)
        });
    }
    if c.achieved_share < ACHIEVED_SHARE && (busy || c.queued_max == 0) {
        return Some(format!(
            "it sent {:.1} % of the plan while connections were free (busy {:.0} %); give it more cores or a lower --rate",
            c.achieved_share * 100.0,
            c.generator_busy_share * 100.0
        ));
    }
    for (name, lag, latency) in
        [("p50", c.send_lag_p50_ns, s.latency.p50), ("p99", c.send_lag_p99_ns, s.latency.p99)]
    {
        let Some(latency) = latency else { continue };
        if lag > LAG_NOISE_NS
            && lag as f64 > PART_OF_TAIL * latency.value_ns as f64
            && (busy || c.queued_max == 0)
        {
            return Some(format!(
                "its own send lag ({name} {}) is a large part of the latency ({name} {})",
                time(lag),
                time(latency.value_ns)
            ));
        }
    }
    None
}

fn server(c: &Controls, s: &Summary) -> Option<String> {
    let failed = s.counts.errors + s.counts.unexpected;
    let failed_share = share(failed as f64, s.counts.all() as f64);
    if s.counts.all() > 0 && s.counts.completed == 0 {
        return Some(format!("it completed none of {} requests", s.counts.all()));
    }
    if failed_share > FAILED_SHARE {
        return Some(format!(
            "{:.2} % of the requests failed or got a reply that their class does not expect",
            failed_share * 100.0
        ));
    }
    if s.mode == Mode::Closed {
        return Some(String::from("a closed loop runs as fast as the server replies"));
    }
    if c.achieved_share < ACHIEVED_SHARE {
        return Some(format!(
            "{:.1} % of the plan was sent: up to {} requests waited for a free connection (the server, or too few --connections)",
            c.achieved_share * 100.0,
            c.queued_max
        ));
    }
    let rate = s.offered_per_s.unwrap_or(0.0);
    (c.in_flight_growth_per_s > GROWTH_SHARE * rate && rate > 0.0).then(|| {
        format!(
            "unanswered requests grew by {:.0} a second at {rate:.0} offered a second",
            c.in_flight_growth_per_s
        )
    })
}

fn share(part: f64, of: f64) -> f64 {
    if of > 0.0 { part / of } else { 0.0 }
}

/// A time for people, in the unit that fits, with three digits.
pub fn time(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let digits = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::super::series::{Counts, Errors};
    use super::super::stats::Estimate;
    use super::super::summary::Quantiles;
    use super::*;
    use alloc::vec::Vec;

    fn summary(mode: Mode) -> Summary {
        let estimate = |value_ns| {
            Some(Estimate {
                value_ns,
                low_ns: value_ns,
                high_ns: Some(value_ns),
                effective_samples: 1e6,
                effective_above: 1e4,
                at_least: false,
            })
        };
        let latency = Quantiles { p50: estimate(100_000), p99: estimate(1_000_000), ..Quantiles::default() };
        Summary {
            mode,
            offered_per_s: (mode == Mode::Open).then_some(50_000.0),
            elapsed_ns: 10_000_000_000,
            counts: Counts { sent: 500_000, completed: 500_000, ..Counts::default() },
            status: Vec::new(),
            errors: Errors::default(),
            latency,
            service: latency,
            first_byte: latency,
            send_lag: Quantiles::default(),
            classes: Vec::new(),
        }
    }

    fn calm() -> Controls {
        Controls {
            probe_samples: 1_000_000,
            hiccup_p99_ns: 2_000,
            hiccup_max_ns: 80_000,
            hiccup_share: 0.0001,
            send_lag_p50_ns: 1_000,
            send_lag_p99_ns: 20_000,
            generator_busy_share: 0.3,
            achieved_share: 1.0,
            ..Controls::default()
        }
    }

    #[test]
    fn each_disturbance_is_named_and_the_lowest_layer_first() {
        type Change = fn(&mut Controls, &mut Summary);
        let cases: [(&str, Limit, &str, Change); 16] = [
            ("calm", Limit::None, "100.0 % of the plan was sent", |_, _| {}),
            ("no probe", Limit::None, "no hiccup probe ran", |c, _| c.probe_samples = 0),
            ("steal", Limit::Platform, "stole 2.0 %", |c, _| c.steal_share = 0.02),
            ("throttled", Limit::Platform, "throttled for 5.0 %", |c, _| c.throttled_ns = 500_000_000),
            ("no core", Limit::Platform, "waited for a core 10.0 %", |c, _| c.run_queue_share = 0.1),
            ("hiccups", Limit::Platform, "lost 3.0 %", |c, _| c.hiccup_share = 0.03),
            ("hiccups as long as the tail", Limit::Platform, "p99 300 us", |c, _| c.hiccup_p99_ns = 300_000),
            ("stolen and late", Limit::Platform, "stole", |c, _| {
                (c.steal_share, c.achieved_share, c.generator_busy_share) = (0.2, 0.5, 1.0);
            }),
            ("too slow a generator", Limit::Generator, "70.0 % of the plan", |c, _| {
                (c.achieved_share, c.generator_busy_share) = (0.7, 0.99);
            }),
            ("late in the median", Limit::Generator, "p50 60.0 us", |c, _| c.send_lag_p50_ns = 60_000),
            ("late in the tail", Limit::Generator, "p99 500 us", |c, _| c.send_lag_p99_ns = 500_000),
            ("late for want of connections", Limit::None, "", |c, _| {
                (c.send_lag_p99_ns, c.queued_max) = (500_000, 10);
            }),
            ("queue before the server", Limit::Server, "up to 900 requests", |c, _| {
                (c.achieved_share, c.queued_max) = (0.7, 900);
            }),
            ("growing", Limit::Server, "grew by 2000 a second", |c, _| c.in_flight_growth_per_s = 2_000.0),
            ("failing", Limit::Server, "1.00 % of the requests failed", |_, s| {
                (s.counts.completed, s.counts.errors) = (495_000, 5_000);
            }),
            ("mute", Limit::Server, "none of 500000", |_, s| {
                (s.counts.completed, s.counts.censored) = (0, 500_000);
                s.latency = Quantiles::default();
            }),
        ];
        for (name, limit, why, change) in cases {
            let (mut controls, mut summary) = (calm(), summary(Mode::Open));
            change(&mut controls, &mut summary);
            let verdict = judge(&controls, &summary);
            assert!(verdict.limit == limit && verdict.why.contains(why), "{name}: {verdict:?}");
        }
    }

    #[test]
    fn a_closed_loop_is_always_limited_by_someone() {
        let closed = summary(Mode::Closed);
        assert_eq!(judge(&calm(), &closed).limit, Limit::Server);
        let busy = Controls { generator_busy_share: 0.97, ..calm() };
        let verdict = judge(&busy, &closed);
        assert!(verdict.limit == Limit::Generator && verdict.why.contains("busy 97 %"), "{verdict:?}");
    }

    #[test]
    fn a_closed_loop_is_limited_by_the_server_unless_the_generator_is_busy() {
        let judged = |busy, hiccup_share| {
            let controls = Controls { generator_busy_share: busy, hiccup_share, ..calm() };
            judge(&controls, &summary(Mode::Closed)).limit
        };
        assert_eq!(judged(0.3, 0.0), Limit::Server);
        assert_eq!(judged(0.95, 0.0), Limit::Generator);
        // What the probe loses on a busy core, the generator took.
        assert_eq!(judged(0.95, 0.13), Limit::Generator);
        assert_eq!(judged(0.3, 0.13), Limit::Platform);
    }

    #[test]
    fn times_are_written_in_the_unit_that_fits() {
        let cases = [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_500, "1.50 us"),
            (92_020_000, "92.0 ms"),
            (300_000_000, "300 ms"),
            (3_600_000_000_000, "3600 s"),
        ];
        for (ns, wanted) in cases {
            assert_eq!(time(ns), wanted);
        }
    }
}
