//! A page opened in headless Chromium, for the tests of the report and of the live page.
use std::{ffi::OsStr, fs, path::Path, process::Command, process::Output};

/// What to open, and for how long its script may run, in the browser's own time.
pub(crate) struct Visit<'a> {
    /// Where.
    pub(crate) url: &'a str,
    /// Of the pictures.
    pub(crate) name: &'a str,
    /// Milliseconds.
    pub(crate) budget_ms: u32,
    /// Heights of a picture that is 1200 wide, and of one that is 500.
    pub(crate) heights: [u32; 2],
}

/// The document after that time, and what was said on the console. `RINGMILL_KEEP_REPORT=DIR` keeps pictures there, for
/// people to look at.
pub(crate) fn visit(visit: &Visit<'_>) -> (String, Vec<String>) {
    let profile =
        std::env::temp_dir().join(format!("ringmill-{}-profile-{}", visit.name, std::process::id()));
    let done = chromium(visit, &profile, &["--dump-dom"]);
    if let Some(keep) = std::env::var_os("RINGMILL_KEEP_REPORT") {
        let [wide, phone] = visit.heights;
        // 0 is dark and 1 is light in Blink's settings.
        for (picture, width, height, scheme) in
            [("wide", 1200, wide, 1), ("phone", 500, phone, 1), ("dark", 1200, wide, 0)]
        {
            let shot = Path::new(&keep).join(format!("{}-{picture}.png", visit.name));
            let shot = format!("--screenshot={}", shot.display());
            let size = format!("--window-size={width},{height}");
            let scheme = format!("--blink-settings=preferredColorScheme={scheme}");
            chromium(visit, &profile, &[&shot, &size, &scheme]);
        }
    }
    fs::remove_dir_all(&profile).unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    let said = said.lines().filter(|line| line.contains("CONSOLE")).map(str::to_string).collect();
    (String::from_utf8_lossy(&done.stdout).into_owned(), said)
}

fn chromium(visit: &Visit<'_>, profile: &Path, flags: &[&str]) -> Output {
    let mut own = OsStr::new("--user-data-dir=").to_os_string();
    own.push(profile);
    Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--hide-scrollbars"])
        .arg(format!("--virtual-time-budget={}", visit.budget_ms))
        .arg(own)
        .args(flags)
        .arg(visit.url)
        .output()
        .expect("chromium runs")
}

/// What the script drew, without the script and its data.
pub(crate) fn shown(page: &str) -> &str {
    let page = &page[page.find("<div id=\"page\"").expect("the page's own element")..];
    &page[..page.find("<script").unwrap_or(page.len())]
}

/// A word that only a mistake of the script writes.
pub(crate) fn nonsense(shown: &str) -> Option<&'static str> {
    ["NaN", "undefined", "Infinity", "[object", ">null<"].into_iter().find(|word| shown.contains(word))
}
