//! Leveled log lines on standard error, as text or JSON. Nothing is logged per event or per request.
//!
//! Everyone logs through the `log` macros (re-exported here); glommio does too.
use crate::core::date::Date;
use std::{
    io::Write,
    time::{SystemTime, UNIX_EPOCH},
};

pub use ::log::{LevelFilter, debug, error, info, trace, warn};

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `2026-01-31T12:00:00.000Z INFO  ringmill::serve: message`
    Text,
    /// One JSON object with `time`, `level`, `target` and `message`.
    Json,
}

struct Logger {
    format: Format,
    level: LevelFilter,
}

/// Sends log lines of `level` and above to standard error from now on. Only the first call counts.
pub fn init(format: Format, level: LevelFilter) {
    if ::log::set_boxed_logger(Box::new(Logger { format, level })).is_ok() {
        ::log::set_max_level(level);
    }
}

impl ::log::Log for Logger {
    fn enabled(&self, metadata: &::log::Metadata<'_>) -> bool {
        // What libraries find worth telling is seldom worth an operator's time.
        let ours = metadata.target().starts_with("ringmill");
        metadata.level() <= if ours { self.level } else { self.level.min(LevelFilter::Warn) }
    }

    fn log(&self, record: &::log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let level = record.level().as_str();
            let line =
                line(self.format, now.as_millis() as u64, level, record.target(), &record.args().to_string());
            // One write a line, so that lines of several threads do not mix. Nobody is left to tell
            // when standard error is gone.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

fn line(format: Format, unix_ms: u64, level: &str, target: &str, message: &str) -> String {
    let time = rfc3339(unix_ms);
    match format {
        // A message of several lines stays one: what it quotes may come from outside.
        Format::Text => format!("{time} {level:<5} {target}: {}\n", message.replace('\n', "\\n")),
        Format::Json => {
            let fields = serde_json::json!({"time": time, "level": level.to_ascii_lowercase(), "target": target, "message": message});
            format!("{fields}\n")
        }
    }
}

/// Unix milliseconds as `2026-01-31T12:00:00.000Z`.
pub fn rfc3339(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let Date { year, month, day } = Date::of_unix_day(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_763_000_000_000, "2025-11-13T02:13:20.000Z"),
            (4_102_444_800_000, "2100-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(unix_ms), text);
        }
    }

    #[test]
    fn lines_are_one_line() {
        let text = line(Format::Text, 0, "WARN", "ringmill::a", "x\ny");
        assert_eq!(text, "1970-01-01T00:00:00.000Z WARN  ringmill::a: x\\ny\n");
        let json: serde_json::Value =
            serde_json::from_str(line(Format::Json, 0, "WARN", "t", "a \"quote\"\n").trim_end()).unwrap();
        assert_eq!(json["level"], "warn");
        assert_eq!(json["message"], "a \"quote\"\n");
    }

    #[test]
    fn libraries_are_quieter() {
        use ::log::{Level, Log, Metadata};
        let logger = Logger { format: Format::Text, level: LevelFilter::Debug };
        for (target, level, enabled) in [
            ("ringmill::x", Level::Debug, true),
            ("ringmill::x", Level::Trace, false),
            ("glommio::x", Level::Warn, true),
            ("glommio::x", Level::Info, false),
        ] {
            let metadata = Metadata::builder().target(target).level(level).build();
            assert_eq!(logger.enabled(&metadata), enabled, "{target} {level}");
        }
    }
}
