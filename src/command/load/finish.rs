//! The end of a run: reconciling, expectations, outputs, and whether all of it was well.
use super::settings::Settings;
use super::show::Show;
use super::{Outcome, Prepared};
use crate::core::load::expect::{self, Checked};
use crate::core::load::reconcile::{Acked, Reconcile, Totals};
use crate::core::load::summary::Summary;
use crate::load::report::{Expected, Place, Report, hlog, recoveries, text};
use crate::load::verify;
use crate::load::worker::Ended;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// How often the stored events are read again when some are missing, and the pause between: a server that
/// acknowledges before it writes may be a commit behind.
const READS: u32 = 3;
const READ_PAUSE: Duration = Duration::from_secs(1);

/// Stretches of lost events that are told one by one.
const LOST_TOLD: usize = 5;

/// Writes everything; whether the run did what was expected of it.
///
/// # Errors
/// When a result cannot be written where it was asked for; all others are written all the same.
pub(super) fn finish(prepared: &Prepared, outcome: Outcome, show: Show) -> Result<bool, String> {
    let Outcome { mut measured, sum, curve, comparison } = outcome;
    let settings = &prepared.settings;
    let Show { timeline, mut notes, marks: mut faults, .. } = show;
    notes.extend(about_connections(&measured.ended));
    if measured.stopped {
        notes.push(format!("ended early, after {:.1} s", measured.elapsed_ns as f64 / 1e9));
    }
    let mut well = true;
    if sum.summary.counts.completed == 0 {
        well = false;
        notes.push(nothing_completed(&sum.summary));
    }
    let mut counts = Vec::new();
    if let Some(place) = &settings.verify {
        let reconciled = reconcile(place, settings.seed, std::mem::take(&mut measured.acknowledged));
        well &= reconciled.sound;
        counts = reconciled.counts;
        notes.extend(reconciled.notes);
    }
    let expectations = expectations(settings, &sum.summary);
    well &= expectations.iter().all(|one| one.met);
    faults.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    recoveries(timeline.points(), &mut faults);
    let report = Report {
        target: prepared.inputs.first.target.to_string(),
        command: prepared.command.clone(),
        started_unix_ms: prepared.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64,
        settings: prepared.inputs.describe(settings),
        summary: sum.summary,
        totals: measured.totals,
        intervals: Some(measured.intervals),
        verdict: sum.verdict,
        timeline,
        curve,
        comparison,
        faults,
        expectations,
        verify: counts,
        controls: sum.controls,
        environment: serde_json::to_value(&prepared.environment).unwrap_or_default(),
        notes,
    };
    let problems = write(settings, &report);
    problems.iter().for_each(|problem| eprintln!("ringmill load: {problem}"));
    Ok(well && problems.is_empty())
}

/// Puts the results where they were asked for, and the summary where people look.
fn write(settings: &Settings, report: &Report) -> Vec<String> {
    let json = settings.json.as_deref().map(Place::parse);
    let html = settings.html.clone().map(Place::File);
    let mut problems = report.write(json.as_ref(), html.as_ref()).err().unwrap_or_default();
    if let Some(path) = &settings.hgrm {
        let mut text = Vec::new();
        let written = hlog::hgrm(&mut text, report.totals.latency().values())
            .map_err(|error| error.to_string())
            .and_then(|()| {
                let text = String::from_utf8_lossy(&text);
                crate::load::report::put("percentiles", &Place::File(path.clone()), &text)
            });
        problems.extend(written.err());
    }
    let summary = text::render(report);
    // Standard output may hold the JSON, and then nothing else.
    if json == Some(Place::Stdout) {
        eprint!("{summary}");
    } else {
        let _ = std::io::stdout().lock().write_all(summary.as_bytes());
    }
    problems
}

fn nothing_completed(summary: &Summary) -> String {
    let kinds: Vec<String> = summary
        .errors
        .each()
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| format!("{} {count}", kind.replace('_', " ")))
        .collect();
    let why = if kinds.is_empty() { "no reply came in time".to_string() } else { kinds.join(", ") };
    format!("failed: not one request was completed ({why})")
}

/// What the connections went through.
fn about_connections(ended: &[Ended]) -> Vec<String> {
    let mut notes = Vec::new();
    let sum = |field: fn(&Ended) -> u64| ended.iter().map(field).sum::<u64>();
    let failures = sum(|ended| ended.connect_failures);
    if failures > 0 {
        let why = ended.iter().filter_map(|ended| ended.last_failure.clone()).next_back();
        notes.push(format!("{failures} attempts to connect failed: {}", why.unwrap_or_default()));
    }
    let lost = sum(|ended| ended.lost);
    if lost > 0 {
        notes.push(format!("{lost} connections were lost while nothing of the kind was expected"));
    }
    let unsolicited = sum(|ended| ended.unsolicited);
    if unsolicited > 0 {
        notes.push(format!("{unsolicited} replies came without a request"));
    }
    notes
}

/// What `--expect` asked, one by one.
fn expectations(settings: &Settings, summary: &Summary) -> Vec<Expected> {
    let one = |Checked { what, measured, met }| Expected { what, measured, met };
    expect::each(&settings.expect, summary).into_iter().map(one).collect()
}

struct Reconciled {
    sound: bool,
    counts: Vec<(String, u64)>,
    notes: Vec<String>,
}

/// Looks for every acknowledged event.
fn reconcile(place: &Path, seed: u64, acked: Vec<Acked>) -> Reconciled {
    let mut last = None;
    for read in 0..READS {
        if read > 0 {
            std::thread::sleep(READ_PAUSE);
        }
        let mut reconcile = Reconcile::new(seed, acked.iter().cloned());
        let stored = verify::read(place, &mut |event| reconcile.take(event));
        let missing = reconcile.totals().lost > 0;
        last = Some((reconcile, stored));
        if !missing {
            break;
        }
    }
    let Some((reconcile, stored)) = last else {
        return Reconciled { sound: false, counts: Vec::new(), notes: Vec::new() };
    };
    let totals = reconcile.totals();
    let mut notes = Vec::new();
    let mut sound = totals.is_sound();
    match stored {
        Ok(stored) => {
            notes.extend(stored.damage.iter().map(|place| format!("--verify: damaged: {place}")));
            if stored.damaged > stored.damage.len() as u64 {
                notes.push(format!("--verify: damaged in {} places in all", stored.damaged));
            }
        }
        Err(why) => {
            sound = false;
            notes.push(format!("--verify: {why}"));
        }
    }
    if totals.sent == 0 {
        sound = false;
        notes.push("--verify: no event was sent, so nothing was verified".into());
    }
    for stretch in reconcile.lost(LOST_TOLD) {
        let (thread, first, last) = (stretch.thread, stretch.first, stretch.last);
        notes.push(format!("--verify: lost: events {first} to {last} of thread {thread} (seed {seed})"));
    }
    if totals.duplicated > 0 {
        notes.push("--verify: events are there twice; was an earlier run made with this --seed?".into());
    }
    Reconciled { sound, counts: by_name(&totals), notes }
}

fn by_name(totals: &Totals) -> Vec<(String, u64)> {
    let Totals { sent, acked, stored, lost, duplicated, altered, unknown, unacked, foreign } = *totals;
    [
        ("sent", sent),
        ("acked", acked),
        ("stored", stored),
        ("lost", lost),
        ("duplicated", duplicated),
        ("altered", altered),
        ("unknown", unknown),
        ("unacked", unacked),
        ("foreign", foreign),
    ]
    .map(|(name, count)| (name.to_string(), count))
    .to_vec()
}

/// The command line that does it again, quoted for a shell. A seed that was not given is part of it.
pub(super) fn command(settings: &Settings, with_seed: bool) -> String {
    let mut words: Vec<String> =
        std::env::args_os().skip(1).map(|word| quoted(&word.to_string_lossy())).collect();
    if with_seed {
        words.push("--seed".into());
        words.push(settings.seed.to_string());
    }
    format!("ringmill {}", words.join(" "))
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,+@%".contains(&byte);
    match !word.is_empty() && word.bytes().all(plain) {
        true => word.to_string(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        for word in ["a-b", "", "p999<5ms, errors<0.1%", "it's", "$HOME", "a\nb", "ünï"] {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(word))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
        assert_eq!(quoted("http://127.0.0.1:8080/x"), "http://127.0.0.1:8080/x");
    }

    #[test]
    fn a_lost_event_is_not_sound_and_neither_is_nothing() {
        let place = std::env::temp_dir().join(format!("ringmill-finish-{}", std::process::id()));
        std::fs::write(&place, "{\"a\":1}\n").unwrap();
        let nothing = reconcile(&place, 1, vec![Acked::new(0)]);
        assert!(!nothing.sound && nothing.notes[0].contains("nothing was verified"));
        assert!(nothing.counts.contains(&("foreign".into(), 1)));
        std::fs::remove_file(&place).unwrap();
        let gone = reconcile(&place, 1, Vec::new());
        assert!(!gone.sound && gone.notes[0].contains("No such file"), "{:?}", gone.notes);
    }
}
