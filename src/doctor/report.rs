//! What was found, for people and for programs.
use super::host::Isolation;
use super::judge::{Finding, Judgement, Measured, Observed, Verdict, Weight, time};
use super::storage::Storage;
use crate::sys::limits::Uring;
use crate::sys::topology::format_list;
use serde_json::{Value, json};
use std::fmt::Write;

/// Columns of a line.
const WIDTH: usize = 79;
/// Columns before the text of a finding.
const INDENT: usize = 11;

/// How text is set off on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint(pub bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
    fn bold(self, text: &str) -> String {
        self.with("1", text)
    }
    fn of(self, weight: Weight, text: &str) -> String {
        match weight {
            Weight::Stops | Weight::Loses => self.with("1;31", text),
            Weight::Costs(_) => self.with("33", text),
            Weight::Little => self.with("2", text),
        }
    }
}

/// For people, at 80 columns.
pub fn text(seen: &Observed, judged: &Judgement, paint: Paint) -> String {
    let mut out = String::new();
    head(&mut out, seen);
    let limits: Vec<&Finding> =
        judged.findings.iter().filter(|finding| finding.weight != Weight::Little).collect();
    let little: Vec<&Finding> =
        judged.findings.iter().filter(|finding| finding.weight == Weight::Little).collect();
    let _ = writeln!(out, "\n{}", paint.bold(&verdict(judged.verdict, limits.len())));
    if !limits.is_empty() {
        let _ =
            writeln!(out, "The time in front is what each can cost one request, as an order of magnitude.");
    }
    for (number, finding) in limits.iter().enumerate() {
        out.push('\n');
        entry(&mut out, &format!("{}", number + 1), finding, paint);
    }
    if !little.is_empty() {
        let _ = writeln!(out, "\n{}", paint.bold("Matters little"));
        little.iter().for_each(|finding| entry(&mut out, "", finding, paint));
    }
    if judged.findings.iter().any(|finding| finding.on_host) {
        let _ = writeln!(
            out,
            "\nhost$ is a command for the host of this container; all: sudo ringmill-tune apply"
        );
    } else if limits.iter().filter(|finding| is_tune(finding)).count() > 1 {
        let _ = writeln!(out, "\nAll of ringmill-tune's at once: sudo {} apply", seen.tool);
    }
    if !judged.untold.is_empty() {
        let _ = writeln!(out, "\n{}", paint.bold("Could not tell"));
        judged.untold.iter().for_each(|what| wrap(&mut out, what, 2, 2));
    }
    match &seen.measured {
        Some(measured) => figures(&mut out, measured, paint),
        None => wrap(&mut out, "\nNothing was measured: no stalls, no disk, no rings, no server.", 0, 0),
    }
    out
}

fn is_tune(finding: &Finding) -> bool {
    finding.mend.as_deref().is_some_and(|mend| mend.contains("ringmill-tune apply"))
}

fn verdict(verdict: Verdict, limits: usize) -> String {
    let count = if limits == 1 { "1 thing limits".to_string() } else { format!("{limits} things limit") };
    match verdict {
        Verdict::Fit => "FIT: nothing that was looked at limits p999 here.".into(),
        Verdict::Unfit => format!("NOT FIT: {count} p999 here, the most important first."),
        Verdict::Untold => "COULD NOT TELL: nothing was found that limits p999, but not all was seen.".into(),
    }
}

fn head(out: &mut String, seen: &Observed) {
    let host = &seen.host;
    let row = |out: &mut String, name: &str, text: String| {
        let _ = write!(out, "{name:10}");
        wrap(out, &text, 0, 10);
    };
    let kind = match host.kind.name() {
        "metal" => "bare metal".to_string(),
        "vm" => "virtual machine".to_string(),
        _ => format!(
            "container on {}",
            if host.machine.name() == "vm" { "a virtual machine" } else { "bare metal" }
        ),
    };
    row(out, "host", format!("{}, kernel {}, {kind}", host.system, host.kernel));
    let plan = &host.plan;
    let kept = match host.isolation {
        Isolation::Partition => "kept free by a cpuset partition",
        Isolation::Isolcpus => "kept free by isolcpus",
        Isolation::None => "shared with everything else",
    };
    let helper = plan.helper.map_or(String::new(), |cpu| format!("; helpers {cpu}"));
    let idle = if plan.idle.is_empty() {
        String::new()
    } else {
        format!("; idle siblings {}", format_list(&plan.idle))
    };
    let system = format_list(&plan.house);
    row(
        out,
        "CPUs",
        format!("shards {}, to be {kept}{helper}{idle}; system {system}", format_list(&plan.exec)),
    );
    if let Some(storage) = &seen.storage {
        row(out, "data", data(storage));
    }
}

fn data(storage: &Storage) -> String {
    let device = |device: &super::storage::Device| match (&device.write_cache, device.fua) {
        (Some(cache), Some(fua)) => {
            format!("{} ({cache}, {})", device.name, if fua { "FUA" } else { "no FUA" })
        }
        (Some(cache), None) => format!("{} ({cache})", device.name),
        (None, _) => device.name.clone(),
    };
    let devices: Vec<String> = storage.devices.iter().map(device).collect();
    let devices = if devices.is_empty() { "no disk that is known".into() } else { devices.join(", ") };
    format!("{}: {} on {devices}", storage.dir, storage.kind)
}

fn entry(out: &mut String, number: &str, finding: &Finding, paint: Paint) {
    let cost = match finding.weight {
        Weight::Stops => "stops".to_string(),
        Weight::Loses => "loses".to_string(),
        Weight::Costs(ns) => time(ns.0),
        Weight::Little => String::new(),
    };
    let lead = format!("{number:>2} {}", paint.of(finding.weight, &format!("{cost:>7}")));
    let mut body = String::new();
    wrap(&mut body, &format!("{}: {}", finding.id, finding.what), 0, INDENT);
    let _ = write!(out, "{lead} {body}");
    if finding.weight != Weight::Little {
        wrap(out, &finding.why, INDENT, INDENT);
    }
    // A command is never broken, so that it can be copied.
    let prompt = if finding.on_host { "host$" } else { "$" };
    match (&finding.mend, &finding.note) {
        (Some(mend), note) => {
            let _ = writeln!(out, "{:INDENT$}{}", "", paint.bold(&format!("{prompt} {mend}")));
            note.iter().for_each(|note| wrap(out, note, INDENT, INDENT));
        }
        (None, Some(note)) => wrap(out, &format!("mend: {note}"), INDENT, INDENT),
        (None, None) => {}
    }
}

fn figures(out: &mut String, measured: &Measured, paint: Paint) {
    let _ = writeln!(out, "\n{}", paint.bold("Measured"));
    let _ = writeln!(out, "  {:24} {:>9} {:>9} {:>9}", "", "p50", "p99", "longest");
    let row = |out: &mut String, name: &str, p50: Option<u64>, p99: Option<u64>, most: Option<u64>| {
        let cell = |ns: Option<u64>| ns.map_or("-".into(), time);
        let _ = writeln!(out, "  {name:24} {:>9} {:>9} {:>9}", cell(p50), cell(p99), cell(most));
    };
    if let Ok(flush) = &measured.flush {
        let (p50, p99, most) = (Some(flush.p50_ns), Some(flush.p99_ns), Some(flush.longest_ns));
        row(out, "commit of 4 KiB", p50, p99, most);
        row(out, "  of it the write", Some(flush.write_p50_ns), None, None);
    }
    if let Ok(loopback) = &measured.loopback {
        let (p50, p99, most) = (Some(loopback.p50_ns), Some(loopback.p99_ns), Some(loopback.longest_ns));
        row(out, &format!("server on core {}", loopback.core), p50, p99, most);
    }
    if let Some((p50, p99)) = measured.wake_ns {
        row(out, "late after a sleep", Some(p50), Some(p99), None);
    }
    // Many cores: those with the longest stalls.
    let mut cores: Vec<_> = measured.jitter.iter().collect();
    cores.sort_by_key(|jitter| std::cmp::Reverse(jitter.longest_ns));
    for jitter in cores.iter().take(8) {
        let name = format!("core {}, idle", jitter.core);
        let wait = format!("p999 {}", time(jitter.p999_ns));
        let _ = writeln!(out, "  {name:24} {:>19} {:>9}", wait, time(jitter.longest_ns));
    }
    if cores.len() > 8 {
        let _ = writeln!(out, "  and {} cores with shorter stalls", cores.len() - 8);
    }
    let slack = measured.slack_ns.map_or("unknown".into(), time);
    let memlock = match (measured.memlock_exempt, measured.memlock_bytes) {
        (true, _) => "not counted".to_string(),
        (false, u64::MAX) => "without bound".to_string(),
        (false, bytes) => format!("{} KiB", bytes / 1024),
    };
    let rings = match &measured.uring {
        Uring::Full => "all the server needs",
        Uring::Basic(_) => "enough for `glommio` alone",
        Uring::Denied(_) => "denied",
    };
    let text = format!(
        "io_uring: {rings}; timer slack {slack}; locked memory {memlock}; {} open files",
        measured.files_max
    );
    wrap(out, &text, 2, 2);
}

/// Words in lines of [`WIDTH`], the first behind `first` columns, the others behind `rest`.
fn wrap(out: &mut String, text: &str, first: usize, rest: usize) {
    let (mut column, mut fresh) = (first.max(if first == 0 { rest } else { 0 }), true);
    if text.starts_with('\n') {
        out.push('\n');
    }
    // A first line without indent stands behind something that the caller has written, or begins at the margin.
    let _ = write!(out, "{:first$}", "");
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let word = word.trim_start_matches('\n');
        let length = word.chars().count();
        if !fresh && column + 1 + length > WIDTH {
            let _ = write!(out, "\n{:rest$}", "");
            (column, fresh) = (rest, true);
        }
        if !fresh {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
        fresh = false;
    }
    out.push('\n');
}

/// For programs.
pub fn json(seen: &Observed, judged: &Judgement) -> Value {
    let row = |finding: &Finding| {
        let Finding { id, weight, what, why, mend, note, on_host } = finding;
        let cost_us = if let Weight::Costs(ns) = weight { Some(ns.0 as f64 / 1e3) } else { None };
        json!({
            "id": id, "severity": weight.name(), "cost_us": cost_us, "what": what, "why": why,
            "command": mend, "note": note, "on_host": on_host,
        })
    };
    let host = &seen.host;
    let knob = |knob: &super::knobs::Knob| {
        let item = |item: &super::knobs::Item| json!({"target": item.target, "now": item.now, "wanted": item.wanted, "same": item.same()});
        json!({
            "knob": knob.name,
            "state": knob.state().name(),
            "in_profile": knob.is_in(host.kind.profile()),
            "items": knob.items.iter().map(item).collect::<Vec<_>>(),
        })
    };
    json!({
        "version": 1,
        "verdict": match judged.verdict {
            Verdict::Fit => "fit",
            Verdict::Unfit => "unfit",
            Verdict::Untold => "untold",
        },
        "host": {
            "system": host.system,
            "kernel": host.kernel,
            "kind": host.kind.name(),
            "machine": host.machine.name(),
            "profile": host.kind.profile(),
            "online": format_list(&host.online),
        },
        "plan": {
            "executors": format_list(&host.plan.exec),
            "helper": host.plan.helper.map(|cpu| cpu.to_string()).unwrap_or_default(),
            "idle": format_list(&host.plan.idle),
            "system": format_list(&host.plan.house),
        },
        "data": seen.storage.as_ref().map(storage_json),
        "findings": judged.findings.iter().map(row).collect::<Vec<_>>(),
        "untold": judged.untold,
        "measured": seen.measured.as_ref().map(measured_json),
        "knobs": seen.knobs.iter().map(knob).collect::<Vec<_>>(),
    })
}

fn storage_json(storage: &Storage) -> Value {
    let device = |device: &super::storage::Device| json!({"name": device.name, "write_cache": device.write_cache, "fua": device.fua, "rotational": device.rotational});
    json!({
        "dir": storage.dir,
        "mount": storage.mount,
        "file_system": storage.kind,
        "options": storage.options,
        "devices": storage.devices.iter().map(device).collect::<Vec<_>>(),
    })
}

fn measured_json(measured: &Measured) -> Value {
    let us = |ns: u64| ns as f64 / 1e3;
    let jitter = |jitter: &super::judge::Jitter| {
        json!({
            "core": jitter.core,
            "p999_us": us(jitter.p999_ns),
            "longest_us": us(jitter.longest_ns),
            "spun_us": us(jitter.spun_ns),
            "other_threads_us": us(jitter.ran_others_ns),
            "stolen_us": us(jitter.stolen_ns),
            "interrupt": jitter.interrupt.as_ref().map(|(name, count)| json!({"name": name, "count": count})),
        })
    };
    let (uring, why) = match &measured.uring {
        Uring::Full => ("full", None),
        Uring::Basic(why) => ("basic", Some(why)),
        Uring::Denied(why) => ("denied", Some(why)),
    };
    json!({
        "io_uring": {"state": uring, "why": why},
        "memlock_bytes": (measured.memlock_bytes != u64::MAX).then_some(measured.memlock_bytes),
        "memlock_counted": !measured.memlock_exempt,
        "files_max": measured.files_max,
        "timer_slack_us": measured.slack_ns.map(us),
        "late_after_sleep_us": measured.wake_ns.map(|(p50, p99)| json!({"p50": us(p50), "p99": us(p99)})),
        "idle_cores": measured.jitter.iter().map(jitter).collect::<Vec<_>>(),
        "commit": match &measured.flush {
            Ok(flush) => json!({
                "count": flush.count, "p50_us": us(flush.p50_ns), "p99_us": us(flush.p99_ns),
                "longest_us": us(flush.longest_ns), "write_p50_us": us(flush.write_p50_ns), "direct": flush.direct,
            }),
            Err(why) => json!({ "error": why }),
        },
        "loopback": match &measured.loopback {
            Ok(loopback) => json!({
                "core": loopback.core, "count": loopback.count, "p50_us": us(loopback.p50_ns),
                "p99_us": us(loopback.p99_ns), "longest_us": us(loopback.longest_ns),
            }),
            Err(why) => json!({ "error": why }),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        let mut out = String::from("lead ");
        wrap(&mut out, &"word ".repeat(20), 0, 5);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| line.len() <= WIDTH), "{out}");
        assert!(lines[1].starts_with("     word"));
        let mut out = String::new();
        wrap(&mut out, &"x".repeat(200), 2, 2);
        assert_eq!(out.lines().count(), 1);
    }

    #[test]
    fn colour_is_only_for_terminals() {
        assert_eq!(Paint(false).of(Weight::Stops, "x"), "x");
        assert_eq!(Paint(true).bold("x"), "\x1b[1mx\x1b[0m");
    }
}
