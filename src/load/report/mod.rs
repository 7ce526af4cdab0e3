//! What a load test leaves behind: [`text`] for the terminal, [`json`] for scripts, [`hlog`] for HdrHistogram's
//! tools, [`html`] for people.
//!
//! All of them read one [`Report`], and none of them decides anything: numbers come from the pure part, and where the
//! samples cannot bear one, every format says so instead of printing something. No format needs the network.
//!
//! Enter at [`Report`] and [`Report::write`].
pub mod format;
pub mod hlog;
pub mod html;
pub mod json;
pub mod parts;
pub mod percentiles;
pub mod recover;
pub mod text;
pub mod timeline;

#[cfg(test)]
pub(crate) mod browser;
#[cfg(test)]
mod outside_tests;
#[cfg(test)]
mod sample;

pub use parts::{Comparison, Curve, CurvePoint, Expected, Ratio};
pub use recover::{FaultMark, Recovery, recoveries};
pub use timeline::{Second, Timeline};

use ringmill_core::load::{
    series::Recorder,
    stats::Intervals,
    summary::Summary,
    verdict::{Controls, Verdict},
};
use std::{fs, io, path::Path, path::PathBuf};

/// A finished run, or what there is of one that was ended early.
pub struct Report {
    /// The URL that was put under load.
    pub target: String,
    /// The command line that does it again, quoted for a shell.
    pub command: String,
    /// When the run began, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// How it was set up, in the order shown: plan, connections, payload, seed.
    pub settings: Vec<(String, String)>,
    /// The results.
    pub summary: Summary,
    /// The histograms behind the results.
    pub totals: Recorder,
    /// The stretches from which the intervals come; without them samples count as independent.
    pub intervals: Option<Intervals>,
    /// Who was the limit, and why.
    pub verdict: Verdict,
    /// The run second by second.
    pub timeline: Timeline,
    /// The curve of `--find-rate`.
    pub curve: Option<Curve>,
    /// The result of `--against`.
    pub comparison: Option<Comparison>,
    /// What was done by `--fault`, in order of time, with [`recoveries`] already found.
    pub faults: Vec<FaultMark>,
    /// What `--expect` asked.
    pub expectations: Vec<Expected>,
    /// What `--verify` found, as counts by name: acked, stored, lost, duplicated, altered.
    pub verify: Vec<(String, u64)>,
    /// What was measured beside the requests.
    pub controls: Controls,
    /// The machine, any JSON object.
    pub environment: serde_json::Value,
    /// What the reader must know: ended early, interval log cut off by a full disk.
    pub notes: Vec<String>,
}

/// Where a result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Standard output.
    Stdout,
    /// A file.
    File(PathBuf),
}

impl Place {
    /// `-` is standard output.
    pub fn parse(text: &str) -> Place {
        if text == "-" { Place::Stdout } else { Place::File(PathBuf::from(text)) }
    }
}

impl Report {
    /// Writes the JSON and the HTML where they were asked for. Tries both, whatever becomes of the first.
    ///
    /// # Errors
    /// One sentence for each that could not be written.
    pub fn write(&self, json_to: Option<&Place>, html_to: Option<&Place>) -> Result<(), Vec<String>> {
        let mut failed = Vec::new();
        if let Some(place) = json_to {
            failed.extend(put("JSON", place, &json::render(self)).err());
        }
        if let Some(place) = html_to {
            failed.extend(put("HTML", place, &html::render(self)).err());
        }
        if failed.is_empty() { Ok(()) } else { Err(failed) }
    }
}

/// Writes `text` to `place`. A regular file is replaced only when all of the new one is written, so that a full disk
/// never costs an older result.
///
/// # Errors
/// A sentence with `what`, the place and how to mend it.
pub fn put(what: &str, place: &Place, text: &str) -> Result<(), String> {
    let Place::File(path) = place else {
        return io::Write::write_all(&mut io::stdout().lock(), text.as_bytes())
            .map_err(|error| format!("cannot write the {what} to standard output: {error}"));
    };
    let written = match fs::metadata(path) {
        // A pipe or a device is written to, not replaced.
        Ok(meta) if !meta.is_file() => fs::write(path, text),
        _ => replace(path, text),
    };
    written.map_err(|error| {
        format!(
            "cannot write the {what} to {}: {error}; make room, or name a file in a directory that can be written to",
            path.display()
        )
    })
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_that_cannot_be_written_leaves_the_old_one_and_says_where() {
        let dir = std::env::temp_dir().join(format!("ringmill-report-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let place = Place::File(dir.join("run.json"));
        put("JSON", &place, "old").unwrap();
        put("JSON", &place, "new").unwrap();
        assert_eq!(fs::read_to_string(dir.join("run.json")).unwrap(), "new");
        // A directory in the way of the part file stands for a disk that refuses it.
        fs::create_dir(dir.join("run.json.part")).unwrap();
        let error = put("JSON", &place, "newest").unwrap_err();
        assert!(error.contains("run.json") && error.contains("JSON"), "{error}");
        assert_eq!(fs::read_to_string(dir.join("run.json")).unwrap(), "new");
        assert!(put("HTML", &Place::File(dir.join("none/run.html")), "x").is_err());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_full_device_is_told() {
        let error = put("HTML", &Place::File("/dev/full".into()), "x").unwrap_err();
        assert!(error.contains("/dev/full") && error.contains("No space"), "{error}");
    }

    #[test]
    fn a_dash_is_standard_output() {
        assert_eq!(Place::parse("-"), Place::Stdout);
        assert_eq!(Place::parse("a-b"), Place::File("a-b".into()));
    }
}
