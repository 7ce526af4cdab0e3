//! The run as HdrHistogram writes it: an interval log (`.hlog`, version 1.3) that grows as the run goes, and the
//! percentile text (`.hgrm`) of a finished series.
//!
//! Every second is one write of whole lines straight to the file: a process that is killed keeps each second before
//! it. It is not synced, for a sync would disturb the machine that is being measured. After a failed write the log is
//! cut back to its last whole second and stays closed: a log with silent gaps would look like a quiet server.
//!
//! Enter at [`IntervalLog::create`].
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{
    V2DeflateSerializer,
    interval_log::{IntervalLogWriterBuilder, Tag},
};
use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What a log needs of its file: appending, and taking back a line that was only half written.
pub trait LogFile: Write {
    /// Cuts the file to `len` bytes; what follows is written there.
    fn cut(&mut self, len: u64) -> io::Result<()>;
}

impl LogFile for File {
    fn cut(&mut self, len: u64) -> io::Result<()> {
        use std::io::{Seek, SeekFrom};
        self.set_len(len)?;
        self.seek(SeekFrom::Start(len)).map(|_| ())
    }
}

/// An interval log being written. Values are nanoseconds, so is the column `Interval_Max`.
pub struct IntervalLog<F: LogFile = File> {
    out: F,
    path: PathBuf,
    serializer: V2DeflateSerializer,
    /// A second is put together here, so that the file gets it in one write.
    buffer: Vec<u8>,
    whole: u64,
    failed: bool,
}

impl IntervalLog<File> {
    /// Starts a log at `path`, replacing what was there. `start` is the run's time zero, `about` goes into the head
    /// as comments (the command line, the seed), one a line.
    ///
    /// # Errors
    /// When the file cannot be made or written; the text says why and what to do.
    pub fn create(path: &Path, start: SystemTime, about: &[&str]) -> Result<IntervalLog<File>, String> {
        let file = File::create(path).map_err(|error| {
            format!(
                "cannot create the interval log {}: {error}; name another file with --hlog",
                path.display()
            )
        })?;
        IntervalLog::begin(file, path, start, about)
    }
}

impl<F: LogFile> IntervalLog<F> {
    /// As [`IntervalLog::create`], on an open and empty file. `path` is only named in messages.
    ///
    /// # Errors
    /// When the head cannot be written.
    pub fn begin(out: F, path: &Path, start: SystemTime, about: &[&str]) -> Result<IntervalLog<F>, String> {
        let mut log = IntervalLog {
            out,
            path: path.to_path_buf(),
            serializer: V2DeflateSerializer::new(),
            buffer: Vec::with_capacity(64 * 1024),
            whole: 0,
            failed: false,
        };
        log.comment_lines("[Histogram log format version 1.3]");
        for line in about {
            log.comment_lines(line);
        }
        log.comment_lines("values and Interval_Max in nanoseconds");
        // With a BaseTime every reader takes the timestamps for seconds since the start.
        let since_epoch = start.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        log.comment_lines(&format!("[StartTime: {since_epoch:.3} (seconds since epoch)]"));
        log.comment_lines(&format!("[BaseTime: {since_epoch:.3} (seconds since epoch)]"));
        log.buffer.extend_from_slice(
            b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
        );
        log.put(0.0)?;
        Ok(log)
    }

    /// Writes one interval: `from` the start of the run, `length` long, each series under its tag. Series without
    /// a value are written too: an empty second is a finding. Tags hold no comma, blank or line end; one that does
    /// is written with `_` instead.
    ///
    /// # Errors
    /// The first failed write says which second is lost and that all before it are kept. Later calls do nothing and
    /// succeed, so that a full disk is told once.
    pub fn interval<'a>(
        &mut self,
        from: Duration,
        length: Duration,
        series: impl IntoIterator<Item = (&'a str, &'a Histogram<u64>)>,
    ) -> Result<(), String> {
        if self.failed {
            return Ok(());
        }
        for (tag, histogram) in series {
            let clean = tag.replace([',', ' ', '\r', '\n'], "_");
            let written = IntervalLogWriterBuilder::new()
                .begin_log_with(&mut self.buffer, &mut self.serializer)
                .and_then(|mut writer| {
                    writer
                        .write_histogram(histogram, from, length, Tag::new(&clean))
                        .map_err(|error| io::Error::other(error.to_string()))
                });
            if let Err(error) = written {
                return Err(self.fail(from.as_secs_f64(), &error));
            }
        }
        self.put(from.as_secs_f64())
    }

    /// Writes `text` as comment lines, for instance the mark of a fault.
    ///
    /// # Errors
    /// As [`IntervalLog::interval`].
    pub fn comment(&mut self, at: Duration, text: &str) -> Result<(), String> {
        if self.failed {
            return Ok(());
        }
        self.comment_lines(&format!("{:.3} {text}", at.as_secs_f64()));
        self.put(at.as_secs_f64())
    }

    /// Whether a write has failed and the log has ended before the run.
    pub fn is_broken(&self) -> bool {
        self.failed
    }

    fn comment_lines(&mut self, text: &str) {
        for line in text.lines() {
            self.buffer.push(b'#');
            self.buffer.extend_from_slice(line.as_bytes());
            self.buffer.push(b'\n');
        }
    }

    fn put(&mut self, second: f64) -> Result<(), String> {
        let written = self.out.write_all(&self.buffer).and_then(|()| self.out.flush());
        if let Err(error) = written {
            return Err(self.fail(second, &error));
        }
        self.whole += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn fail(&mut self, second: f64, error: &io::Error) -> String {
        self.failed = true;
        self.buffer = Vec::new();
        // A torn line would make readers refuse the whole file. If even cutting fails, they lose the last line.
        let torn = self.out.cut(self.whole).is_err();
        let kept = if torn { "its last line may be torn" } else { "all before it is kept and whole" };
        format!(
            "cannot write the interval log {} at {second:.0} s: {error}; {kept}. The run goes on without it; to have \
             it all, make room or name a file on another disk with --hlog",
            self.path.display()
        )
    }
}

/// Where the percentile text of one series goes: beside the interval log, `run.hlog` to `run.latency.hgrm`.
pub fn hgrm_beside(hlog: &Path, series: &str) -> PathBuf {
    hlog.with_extension(format!("{series}.hgrm"))
}

/// Writes `histogram` (nanoseconds) as HdrHistogram's percentile text, values in milliseconds as its plotter expects
/// them, five steps for each halving of the distance to 100 %.
///
/// # Errors
/// Those of `out`.
pub fn hgrm(mut out: impl Write, histogram: &Histogram<u64>) -> io::Result<()> {
    const NS_PER_MS: f64 = 1e6;
    writeln!(out, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    let mut seen = 0;
    for step in histogram.iter_quantiles(5) {
        seen += step.count_since_last_iteration();
        let value = step.value_iterated_to() as f64 / NS_PER_MS;
        let quantile = step.quantile_iterated_to();
        if quantile < 1.0 {
            let inverse = 1.0 / (1.0 - quantile);
            writeln!(out, "{value:12.3} {quantile:1.12} {seen:10} {inverse:14.2}")?;
        } else {
            writeln!(out, "{value:12.3} {quantile:1.12} {seen:10}")?;
        }
    }
    let sub_buckets = (2 * 10_u64.pow(u32::from(histogram.sigfig()))).next_power_of_two();
    let (mean, deviation) = (histogram.mean() / NS_PER_MS, histogram.stdev() / NS_PER_MS);
    writeln!(out, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]")?;
    let max = histogram.max() as f64 / NS_PER_MS;
    writeln!(out, "#[Max     = {max:12.3}, Total count    = {:12}]", histogram.len())?;
    writeln!(out, "#[Buckets = {:12}, SubBuckets     = {sub_buckets:12}]", histogram.buckets())
}

#[cfg(test)]
#[path = "hlog_tests.rs"]
mod tests;
