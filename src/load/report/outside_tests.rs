//! What programs of others make of our files. They need those programs, so they run only when asked for:
//! `cargo test --lib load::report -- --ignored`.
use super::{
    browser::{Visit, nonsense, shown, visit},
    hlog::IntervalLog,
    html, json, sample, text,
};
use ringmill_core::load::series::Series;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, UNIX_EPOCH},
};

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("ringmill-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
#[ignore = "needs python3 with the package hdrhistogram"]
fn another_implementation_of_hdrhistogram_reads_the_log() {
    let dir = Dir::new("hlog");
    let path = dir.0.join("run.hlog");
    let mut log =
        IntervalLog::create(&path, UNIX_EPOCH + Duration::from_secs(1_800_000_000), &["a comment"]).unwrap();
    let (mut whole, empty) = (Series::new(), Series::new());
    for second in 0..30_u64 {
        let mut latency = Series::new();
        (1..=1000).for_each(|n| latency.record(n * n * (second + 1) * 37));
        whole.add(&latency);
        let series = [("latency", latency.values()), ("send_lag", empty.values())];
        log.interval(Duration::from_secs(second), Duration::from_secs(1), series).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/read_hlog.py");
    let done = Command::new("python3").arg(script).arg(&path).output().expect("python3 runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let lines: Vec<serde_json::Value> = String::from_utf8_lossy(&done.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |tag: &str| {
        lines.iter().find(|line| line["tag"] == tag).unwrap_or_else(|| panic!("{tag} in {lines:?}"))
    };
    let values = whole.values();
    assert_eq!(
        (of("latency")["intervals"].as_u64(), of("latency")["values"].as_u64()),
        (Some(30), Some(values.len()))
    );
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)] {
        assert_eq!(of("latency")[name].as_u64(), Some(values.value_at_quantile(quantile)), "{name}");
    }
    assert_eq!(
        (of("send_lag")["intervals"].as_u64(), of("send_lag")["values"].as_u64()),
        (Some(30), Some(0))
    );
}

/// Opens the page and gives what it became and what it said on the console. `RINGMILL_KEEP_REPORT=DIR` keeps the page
/// and pictures of it there, and the other formats, for people to look at.
fn open(page: &str, name: &str) -> (String, Vec<String>) {
    let dir = Dir::new(name);
    let file = dir.0.join("run.html");
    fs::write(&file, page).unwrap();
    if let Some(keep) = std::env::var_os("RINGMILL_KEEP_REPORT") {
        fs::copy(&file, Path::new(&keep).join(format!("{name}.html"))).unwrap();
    }
    let url = format!("file://{}", file.display());
    visit(&Visit { url: &url, name, budget_ms: 3000, heights: [5200, 8600] })
}

#[test]
#[ignore = "needs chromium"]
fn a_browser_shows_the_whole_report_without_a_word_on_its_console() {
    let report = sample::report();
    if let Some(keep) = std::env::var_os("RINGMILL_KEEP_REPORT") {
        fs::write(Path::new(&keep).join("report.txt"), text::render(&report)).unwrap();
        fs::write(Path::new(&keep).join("report.json"), json::render(&report)).unwrap();
    }
    let (page, said) = open(&html::render(&report), "report");
    assert!(said.is_empty(), "{said:?}");
    for title in [
        "The server was the limit",
        "Expectations",
        "Over time",
        "Percentiles",
        "Latency against rate",
        "Side by side",
        "Classes of requests",
        "Faults",
        "Acknowledged and stored",
        "Platform and generator",
        "Do it again",
        "Environment",
    ] {
        assert!(page.contains(&format!(">{title}<")), "{title} is missing");
    }
    assert!(page.matches("<svg").count() >= 7 && page.matches("<canvas").count() == 1, "a chart is missing");
    assert_eq!(nonsense(shown(&page)), None);
}

#[test]
#[ignore = "needs chromium"]
fn a_browser_shows_an_empty_run_and_hostile_names_too() {
    let (page, said) = open(&html::render(&sample::empty()), "empty");
    assert!(said.is_empty(), "{said:?}");
    let empty = shown(&page);
    assert!(
        empty.contains("closed loop") && empty.contains("refused") && empty.contains("ended before"),
        "{empty}"
    );
    assert_eq!(nonsense(empty), None);
    let mut report = sample::report();
    report.target = "http://h/<img src=x onerror=console.error(1)>".into();
    report.notes = vec!["<script>console.error(2)</script>".into()];
    report.environment =
        serde_json::json!({"<b>": "</script><script>console.error(3)</script>", "list": [{"a": 1}, null]});
    let (page, said) = open(&html::render(&report), "hostile");
    assert!(said.is_empty(), "{said:?}");
    assert!(page.contains("&lt;img src=x"), "the name is shown as text");
}
