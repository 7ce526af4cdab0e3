//! What programs of others make of our files. They need those programs, so they run only when asked for:
//! `cargo test --lib load::report -- --ignored`.
use super::{hlog::IntervalLog, html, json, sample, text};
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
    let browser = |flags: &[&str]| {
        Command::new("chromium")
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--enable-logging=stderr",
                "--hide-scrollbars",
            ])
            .args([
                "--virtual-time-budget=3000",
                &format!("--user-data-dir={}", dir.0.join("profile").display()),
            ])
            .args(flags)
            .arg(format!("file://{}", file.display()))
            .output()
            .expect("chromium runs")
    };
    let done = browser(&["--dump-dom"]);
    if let Some(keep) = std::env::var_os("RINGMILL_KEEP_REPORT") {
        let keep = Path::new(&keep);
        fs::copy(&file, keep.join(format!("{name}.html"))).unwrap();
        for (picture, size, mode) in
            [("wide", "1200,5200", "0"), ("phone", "500,8600", "0"), ("dark", "1200,5200", "1")]
        {
            let shot = format!("--screenshot={}", keep.join(format!("{name}-{picture}.png")).display());
            // 0 is dark and 1 is light in Blink's settings.
            let scheme = format!("--blink-settings=preferredColorScheme={}", if mode == "1" { 0 } else { 1 });
            browser(&[&shot, &format!("--window-size={size}"), &scheme]);
        }
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let said = said.lines().filter(|line| line.contains("CONSOLE")).map(str::to_string).collect();
    (String::from_utf8_lossy(&done.stdout).into_owned(), said)
}

/// What the script drew, without the script and its data.
fn shown(page: &str) -> &str {
    let start = page.find("<div id=\"page\">").expect("the page's own element");
    let end = page.find("id=\"data\"").expect("the data behind it");
    &page[start..end]
}

/// A word that only a mistake of the script writes.
fn nonsense(shown: &str) -> Option<&'static str> {
    ["NaN", "undefined", "Infinity", "[object", ">null<"].into_iter().find(|word| shown.contains(word))
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
