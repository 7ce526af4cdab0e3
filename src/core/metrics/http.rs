//! What a shard's HTTP sink shows of itself.
use super::exposition::{Answer, answered, family};
use crate::sink::http::{Figures, HttpSink, Totals};
use alloc::string::String;
use core::fmt::{self, Write};

/// Figures of one shard's HTTP sink.
#[derive(Clone, Copy, Debug, Default)]
pub struct Http {
    /// The sink is an HTTP target; otherwise all is zero.
    pub used: bool,
    /// Of events and bytes.
    pub figures: Figures,
    /// Of requests and connections.
    pub totals: Totals,
}

impl Http {
    /// Reads the sink.
    pub(crate) fn read(&mut self, sink: &HttpSink) {
        *self = Http { used: true, figures: sink.figures(), totals: sink.totals() };
    }

    /// Adds another shard's; of times from request to answer it keeps the longest.
    pub fn merge(&mut self, other: &Http) {
        let rtt_ns = self.totals.rtt_ns.max(other.totals.rtt_ns);
        self.used |= other.used;
        for (_, _, field) in FIGURES {
            *field(&mut self.figures) += *field(&mut other.figures.clone());
        }
        for (_, _, field) in TOTALS {
            *field(&mut self.totals) += *field(&mut other.totals.clone());
        }
        self.totals.rtt_ns = rtt_ns;
        self.totals.rested_ns += other.totals.rested_ns;
    }

    /// Each figure by its name, without units of time but nanoseconds; for people.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let (mut figures, mut totals) = (self.figures, self.totals);
        let stem = |name: &'static str| name.strip_suffix("_total").unwrap_or(name);
        let of_figures = FIGURES.map(|(name, _, field)| (stem(name), *field(&mut figures)));
        let of_totals = TOTALS.map(|(name, _, field)| (stem(name), *field(&mut totals)));
        let times = [("rtt_ns", totals.rtt_ns), ("rested_ns", totals.rested_ns)];
        of_figures.into_iter().chain(of_totals).chain(times)
    }
}

type Field<T> = (&'static str, &'static str, fn(&mut T) -> &mut u64);

const FIGURES: [Field<Figures>; 7] = [
    ("raw_bytes_total", "Bytes of bodies that were taken, before compression.", |f| &mut f.raw_bytes),
    ("sent_bytes_total", "Bytes of bodies as sent, repeated ones too.", |f| &mut f.sent_bytes),
    ("splits_total", "Requests that were cut in two after a refusal.", |f| &mut f.splits),
    ("events_retried_total", "Events that were sent again by themselves.", |f| &mut f.events_retried),
    ("events_not_written_total", "Events that are not at the target.", |f| &mut f.events_not_written),
    ("events_possibly_written_total", "Events of which it is not known whether they are there.", |f| {
        &mut f.events_possibly_written
    }),
    ("events_refused_total", "Events that the target refused for what they are.", |f| &mut f.events_refused),
];

const TOTALS: [Field<Totals>; 8] = [
    ("requests_taken_total", "Requests that a 2xx answered.", |t| &mut t.taken),
    ("requests_refused_total", "Requests that another status answered.", |t| &mut t.refused),
    ("requests_lost_total", "Requests that were lost, or not answered in time.", |t| &mut t.lost),
    ("retries_total", "Attempts after a first one.", |t| &mut t.retries),
    ("dials_total", "Connections that were begun.", |t| &mut t.dials),
    ("dials_failed_total", "Connections that came to nothing.", |t| &mut t.dials_failed),
    ("connections", "Connections that stand.", |t| &mut t.connected),
    ("requests_in_flight", "Requests without an answer.", |t| &mut t.in_flight),
];

/// Opens a family; its name decides whether it is a counter.
fn open(out: &mut String, name: &str, help: &str) -> fmt::Result {
    let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
    let mut full = String::from("ringmill_http_");
    full.push_str(name);
    family(out, &full, kind, help)
}

/// Appends everything about HTTP targets; nothing if no shard writes to one.
pub(super) fn render(out: &mut String, answers: &[Answer<'_>]) -> fmt::Result {
    let shards = || answered(answers).map(|(shard, snapshot)| (shard, snapshot.metrics.http));
    if !shards().any(|(_, http)| http.used) {
        return Ok(());
    }
    for (name, help, field) in FIGURES {
        open(out, name, help)?;
        for (shard, mut http) in shards() {
            writeln!(out, "ringmill_http_{name}{{shard=\"{shard}\"}} {}", field(&mut http.figures))?;
        }
    }
    for (name, help, field) in TOTALS {
        open(out, name, help)?;
        for (shard, mut http) in shards() {
            writeln!(out, "ringmill_http_{name}{{shard=\"{shard}\"}} {}", field(&mut http.totals))?;
        }
    }
    let times: [Field<Totals>; 2] = [
        ("rtt_seconds", "From request to answer, smoothed.", |t| &mut t.rtt_ns),
        ("rested_seconds_total", "Silence that the target asked for, or that failures led to.", |t| {
            &mut t.rested_ns
        }),
    ];
    for (name, help, field) in times {
        open(out, name, help)?;
        for (shard, mut http) in shards() {
            let ns = *field(&mut http.totals);
            let (seconds, rest) = (ns / 1_000_000_000, ns % 1_000_000_000);
            writeln!(out, "ringmill_http_{name}{{shard=\"{shard}\"}} {seconds}.{rest:09}")?;
        }
    }
    Ok(())
}
