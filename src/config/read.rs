//! Typed values out of the settings' text, each within its bounds; what is wrong is gathered, not returned.
use super::{
    ConfigError, Origin,
    raw::{Given, Key, Kind, Raw, parse_switch},
    units,
};
use std::{ops::RangeInclusive, time::Duration};

/// Reads typed values out of text and gathers what is wrong with them.
pub struct Reader<'a> {
    /// What was written.
    pub raw: &'a Raw,
    /// What is wrong with it so far.
    pub errors: Vec<ConfigError>,
}

impl Reader<'_> {
    /// Notes that the setting cannot be as it is, with what it was and where it stands.
    pub fn refuse(&mut self, name: &str, why: String) {
        let default = Given { texts: Vec::new(), origin: Origin::Default };
        let given = self.raw.get(name).unwrap_or(&default);
        let value = if given.texts.is_empty() { "(default)".into() } else { given.texts.join(",") };
        self.errors.push(ConfigError::Value { key: name.into(), value, origin: given.origin.clone(), why });
    }

    /// The value that `parse` makes of the text; `None`, and a refusal, where it makes none.
    pub fn one<T>(
        &mut self,
        name: &str,
        default: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let parsed = parse(self.raw.text(name).unwrap_or(default));
        parsed.map_err(|why| self.refuse(name, why)).ok()
    }

    /// One of the names in `known`; the default where another was refused.
    pub fn choice(&mut self, name: &str, default: &str, known: &[&str]) -> String {
        let found = self.one(name, default, |text| match known.contains(&text) {
            true => Ok(text.to_string()),
            false => Err(format!("expected {}", names(known))),
        });
        found.unwrap_or(default.into())
    }

    /// On or off.
    pub fn switch(&mut self, name: &str) -> bool {
        self.switch_or(name, false)
    }

    /// On or off where the default may be on.
    pub fn switch_or(&mut self, name: &str, default: bool) -> bool {
        let text = if default { "true" } else { "false" };
        self.one(name, text, parse_switch).unwrap_or(default)
    }

    fn bounded<T: PartialOrd + Copy>(
        &mut self,
        name: &str,
        default: T,
        bounds: RangeInclusive<T>,
        parse: impl FnOnce(&str) -> Result<T, String>,
        show: impl Fn(T) -> String,
    ) -> T {
        let Some(text) = self.raw.text(name) else { return default };
        let parsed = parse(text).and_then(|value| match value {
            value if value < *bounds.start() => Err(format!("at least {} is needed", show(*bounds.start()))),
            value if value > *bounds.end() => Err(format!("at most {} is allowed", show(*bounds.end()))),
            value => Ok(value),
        });
        parsed.unwrap_or_else(|why| {
            self.refuse(name, why);
            default
        })
    }

    /// A size; the default where another was refused.
    pub fn bytes(&mut self, name: &str, default: u64, bounds: RangeInclusive<u64>) -> u64 {
        self.bounded(name, default, bounds, units::parse_bytes, units::bytes)
    }

    /// A number; the default where another was refused.
    pub fn count(&mut self, name: &str, default: u64, bounds: RangeInclusive<u64>) -> u64 {
        self.bounded(name, default, bounds, units::parse_count, |count| count.to_string())
    }

    /// A span of time; the default where another was refused.
    pub fn time(&mut self, name: &str, default: Duration, bounds: RangeInclusive<Duration>) -> Duration {
        let unit = match Key::find(name).map(|key| key.kind) {
            Some(Kind::Time(unit)) => unit,
            _ => "s",
        };
        self.bounded(name, default, bounds, |text| units::parse_time(text, unit), units::time)
    }
}

/// Names in quotes, with `or` before the last.
pub fn names(known: &[&str]) -> String {
    let quoted: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}
