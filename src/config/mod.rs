//! Configuration in two steps: [`raw`] reads what was written and where, [`plan`] decides what it means
//! on this machine. A flag beats the environment, the environment the file, the file the default.
pub mod check;
pub mod cores;
mod derive;
pub mod http;
mod http_memory;
pub mod kafka;
mod keys;
pub mod machine;
pub mod memory;
pub mod plan;
pub mod raw;
mod read;
pub mod replay;
pub mod schema;
pub mod units;

use std::{fmt, path::Path};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere.
    Default,
    /// In the configuration file, at this line counted from 1.
    File {
        /// The file as it was named.
        path: String,
        /// Counted from 1.
        line: usize,
    },
    /// In this environment variable.
    Env(String),
    /// Behind this flag (with its dashes).
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => out.write_str("the default"),
            Origin::File { path, line } => write!(out, "{path} line {line}"),
            Origin::Env(name) => write!(out, "environment {name}"),
            Origin::Flag(flag) => write!(out, "flag {flag}"),
        }
    }
}

/// What the operator has to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// A value that cannot be.
    Value {
        /// The setting, as in the file.
        key: String,
        /// The value as written.
        value: String,
        /// Where it stands.
        origin: Origin,
        /// What is wrong, with the bound, and how to mend it.
        why: String,
    },
    /// The file is not TOML, or holds a key that there is not.
    File {
        /// The file as it was named.
        path: String,
        /// Counted from 1; 0 where the whole file is meant.
        line: usize,
        /// What is wrong and how to mend it.
        why: String,
    },
    /// The configuration is good, but this machine does not bear it: why and how to mend it.
    Machine(String),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Value { key, value, origin, why } => {
                write!(out, "{key} = {value} ({origin}): {why}")
            }
            ConfigError::File { path, line: 0, why } => write!(out, "{path}: {why}"),
            ConfigError::File { path, line, why } => write!(out, "{path} line {line}: {why}"),
            ConfigError::Machine(why) => out.write_str(why),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Reads the file that `given` names, lays `given` (flags and environment) over it and derives the plan
/// for this machine. Raises this process's limits on locked memory and open files on the way.
///
/// # Errors
/// Everything that is wrong, so that it can be mended in one go.
pub fn load(given: raw::Raw) -> Result<plan::Plan, Vec<ConfigError>> {
    plan::Plan::derive(&with_file(given)?, &machine::Machine::read(Path::new("/")))
}

/// Lays `given` over the file that it names, if it names one.
fn with_file(given: raw::Raw) -> Result<raw::Raw, Vec<ConfigError>> {
    let mut raw = raw::Raw::default();
    if let Some(path) = given.text("config") {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let why = format!("cannot be read: {error}");
            vec![ConfigError::File { path: path.into(), line: 0, why }]
        })?;
        raw = raw::Raw::from_toml(&text, path)?;
    }
    Ok(raw.under(given))
}
