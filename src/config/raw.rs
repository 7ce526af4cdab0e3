//! What the operator wrote, and where: every setting by name, each value still text.
//!
//! [`KEYS`] is the one list from which flags, environment variables and the file's keys come, so that
//! they cannot drift apart. Nothing here knows what a value means beyond its kind.
pub use super::keys::{ALIASES, KEYS};
use super::{
    ConfigError, Origin,
    schema::{self, Written},
};
use std::collections::BTreeMap;
use toml::de::{DeInteger, DeTable, DeValue};

/// What kind of value a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One word or path.
    Text,
    /// Several, separated by commas, as a TOML array, or as a repeated flag.
    List,
    /// A size: `64MiB`, `256k`, or a number of bytes.
    Bytes,
    /// A time: `5s`, or a number of this unit.
    Time(&'static str),
    /// A count: `1024`, `50k`.
    Count,
    /// `true` or `false`; as a flag it needs no value.
    Switch,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in the file; `lines.replies` is `replies` in the table `lines`.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What to call its value in the help.
    pub value: &'static str,
    /// The default, in words.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
}

impl Key {
    /// The flag without its dashes: `segment-bytes`.
    pub fn flag(&self) -> String {
        self.name.replace(['_', '.'], "-")
    }

    /// The environment variable: `RINGMILL_SEGMENT_BYTES`.
    pub fn env(&self) -> String {
        format!("RINGMILL_{}", self.name.replace('.', "_").to_ascii_uppercase())
    }

    /// The key of that name.
    pub fn find(name: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// The key that the file calls so: by its name or by another one.
    fn in_file(name: &str) -> Option<&'static Key> {
        let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
        // A file cannot name another file.
        Key::find(alias.map_or(name, |(_, name)| name)).filter(|key| key.name != "config")
    }

    /// Whether the file has keys in a table of that name.
    fn in_table(table: &str) -> bool {
        let mut names = KEYS.iter().map(|key| key.name).chain(ALIASES.iter().map(|(alias, _)| *alias));
        names.any(|name| name.strip_prefix(table).is_some_and(|rest| rest.starts_with('.')))
    }
}

/// A value as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// One or, for lists, several pieces of text.
    pub texts: Vec<String>,
    /// Where it stands.
    pub origin: Origin,
}

/// Settings by name, each at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raw {
    values: BTreeMap<&'static str, Given>,
    /// What the file says of events, which is no setting.
    pub schemas: Vec<Written>,
}

impl Raw {
    /// Takes one setting in; a later one of the same name replaces it.
    pub fn set(&mut self, key: &'static Key, given: Given) {
        self.values.insert(key.name, given);
    }

    /// The setting of that name, if it was written.
    pub fn get(&self, name: &str) -> Option<&Given> {
        self.values.get(name)
    }

    /// The text of a setting that takes one.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.texts.first().map(String::as_str)
    }

    /// These settings with `above` laid over them.
    pub fn under(mut self, above: Raw) -> Raw {
        self.values.extend(above.values);
        self
    }

    /// Reads TOML. Dashes in keys count as underscores. `path` only names the file in errors.
    ///
    /// # Errors
    /// Every unknown key (with the nearest known one), every value of a wrong type, each with its line;
    /// or the one place where the text is not TOML.
    pub fn from_toml(text: &str, path: &str) -> Result<Raw, Vec<ConfigError>> {
        let document = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(0, |span| line_of(text, span.start));
            vec![ConfigError::File { path: path.into(), line, why: error.message().to_string() }]
        })?;
        let mut reader = TomlReader { text, path, raw: Raw::default(), errors: Vec::new() };
        reader.table("", document.get_ref());
        if reader.errors.is_empty() { Ok(reader.raw) } else { Err(reader.errors) }
    }
}

struct TomlReader<'a> {
    text: &'a str,
    path: &'a str,
    raw: Raw,
    errors: Vec<ConfigError>,
}

impl TomlReader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let full = format!("{prefix}{}", name.get_ref().replace('-', "_"));
            let line = line_of(self.text, name.span().start);
            if full == "schema" {
                let found = schema::written(value.get_ref(), line, self.text, self.path, &mut self.errors);
                self.raw.schemas.extend(found);
                continue;
            }
            let key = Key::in_file(&full);
            match (key, value.get_ref()) {
                (Some(key), found) => {
                    let written = self.text.get(value.span()).unwrap_or_default();
                    match texts(key.kind, found) {
                        Some(texts) if self.raw.get(key.name).is_none() => {
                            let origin = Origin::File { path: self.path.into(), line };
                            self.raw.set(key, Given { texts, origin });
                        }
                        Some(_) => self.refuse(key.name, written, line, "given twice".into()),
                        None => {
                            let why = format!(
                                "{} cannot stand here; expected {}",
                                with_article(found),
                                expected(key.kind)
                            );
                            self.refuse(key.name, written, line, why);
                        }
                    }
                }
                (None, DeValue::Table(inner)) if Key::in_table(&full) => {
                    self.table(&format!("{full}."), inner);
                }
                (None, _) => {
                    let why = match suggestion(&full) {
                        Some(name) => format!("unknown key `{full}`; did you mean `{name}`?"),
                        None => format!("unknown key `{full}`; `ringmill serve --help` lists the keys"),
                    };
                    self.errors.push(ConfigError::File { path: self.path.into(), line, why });
                }
            }
        }
    }

    fn refuse(&mut self, key: &str, written: &str, line: usize, why: String) {
        let origin = Origin::File { path: self.path.into(), line };
        self.errors.push(ConfigError::Value { key: key.into(), value: written.into(), origin, why });
    }
}

/// The text of a value whose type fits the kind.
fn texts(kind: Kind, value: &DeValue<'_>) -> Option<Vec<String>> {
    let one = match (kind, value) {
        (Kind::Switch, DeValue::Boolean(on)) => on.to_string(),
        (Kind::Switch, _) => return None,
        (_, DeValue::String(text)) => text.to_string(),
        (Kind::List, DeValue::Array(values)) => {
            let each = values.iter().map(|value| match value.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                DeValue::Integer(number) => Some(decimal(number)),
                _ => None,
            });
            return each.collect();
        }
        (Kind::List | Kind::Bytes | Kind::Time(_) | Kind::Count, DeValue::Integer(number)) => decimal(number),
        _ => return None,
    };
    Some(match kind {
        Kind::List => one.split(',').map(|part| part.trim().to_string()).collect(),
        _ => vec![one],
    })
}

/// An integer in whatever base as decimal text; one beyond all bounds stays as written, to be refused later.
pub(super) fn decimal(number: &DeInteger<'_>) -> String {
    i128::from_str_radix(number.as_str(), number.radix())
        .map_or(number.to_string(), |value| value.to_string())
}

/// A value's type in words: `an integer`.
pub(super) fn with_article(value: &DeValue<'_>) -> String {
    let noun = value.type_str();
    format!("{} {noun}", if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" })
}

/// The kind in words.
pub fn expected(kind: Kind) -> String {
    match kind {
        Kind::Text => "a string".into(),
        Kind::List => "a string or an array of strings".into(),
        Kind::Bytes => "a size such as 8388608, \"256k\" or \"64MiB\"".into(),
        Kind::Time(unit) => format!("a time such as \"5s\", or a whole number of {unit}"),
        Kind::Count => "a whole number".into(),
        Kind::Switch => "true or false".into(),
    }
}

/// The known key nearest to a mistyped one, if one is near: without units, or a few letters off.
fn suggestion(name: &str) -> Option<&'static str> {
    let near = |key: &&Key| (strsim::jaro_winkler(name, key.name) * 1000.0) as u32;
    let best = KEYS.iter().filter(|key| key.name != "config").max_by_key(near)?;
    (near(&best) > 800).then_some(best.name)
}

pub(super) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|&&byte| byte == b'\n').count()
}

/// Parses what a switch was set to outside the file.
///
/// # Errors
/// What a switch takes.
pub fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err("not a switch; expected true or false".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_derived() {
        let key = Key::find("lines.replies").unwrap();
        assert_eq!((key.flag().as_str(), key.env().as_str()), ("lines-replies", "RINGMILL_LINES_REPLIES"));
        let mut names: Vec<_> = KEYS.iter().map(Key::flag).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), KEYS.len());
    }

    #[test]
    fn toml_is_read_with_lines() {
        let text = "# comment\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\nlisten-lines = \"unix:/x, 127.0.0.1:3\"\n\
                    cores = [0, 1]\nmemory = \"1GiB\"\nconnections_max = 1_0\nhead_timeout_s = 0x10\n[lines]\nreplies = true\n";
        let raw = Raw::from_toml(text, "a.toml").unwrap();
        for (name, texts, line) in [
            ("listen", vec!["127.0.0.1:1", "127.0.0.1:2"], 2),
            ("listen_lines", vec!["unix:/x", "127.0.0.1:3"], 3),
            ("cores", vec!["0", "1"], 4),
            ("memory", vec!["1GiB"], 5),
            ("connections_max", vec!["10"], 6),
            ("head_timeout_s", vec!["16"], 7),
            ("lines.replies", vec!["true"], 9),
        ] {
            let given = raw.get(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(given.texts, texts, "{name}");
            assert_eq!(given.origin, Origin::File { path: "a.toml".into(), line }, "{name}");
        }
    }

    #[test]
    fn the_file_may_call_a_setting_by_another_name() {
        for text in
            ["json.engine = \"simd-json\"", "[json]\nengine = \"simd-json\"", "scanner = \"simd-json\""]
        {
            assert_eq!(Raw::from_toml(text, "a").unwrap().text("scanner"), Some("simd-json"), "{text}");
        }
        for (alias, name) in ALIASES {
            assert!(Key::find(alias).is_none() && Key::find(name).is_some(), "{alias}");
        }
    }

    #[test]
    fn toml_is_refused_with_lines() {
        for (text, errors) in [
            ("lisen = \"a\"", vec!["a.toml line 1: unknown key `lisen`; did you mean `listen`?"]),
            (
                "\n\nsegment-byte = 1",
                vec!["a.toml line 3: unknown key `segment_byte`; did you mean `segment_bytes`?"],
            ),
            (
                "head_timeout = 1",
                vec!["a.toml line 1: unknown key `head_timeout`; did you mean `head_timeout_s`?"],
            ),
            (
                "config = \"b\"",
                vec!["a.toml line 1: unknown key `config`; `ringmill serve --help` lists the keys"],
            ),
            ("xyz = 1", vec!["a.toml line 1: unknown key `xyz`; `ringmill serve --help` lists the keys"]),
            (
                "[lines]\nreplys = true\n[other]\na = 1",
                vec![
                    "a.toml line 2: unknown key `lines.replys`; did you mean `lines.replies`?",
                    "a.toml line 3: unknown key `other`; `ringmill serve --help` lists the keys",
                ],
            ),
            (
                "memory = true\nack = 3",
                vec![
                    "memory = true (a.toml line 1): a boolean cannot stand here; expected a size such as 8388608, \
                     \"256k\" or \"64MiB\"",
                    "ack = 3 (a.toml line 2): an integer cannot stand here; expected a string",
                ],
            ),
            (
                "lines.replies = \"yes\"",
                vec![
                    "lines.replies = \"yes\" (a.toml line 1): a string cannot stand here; expected true or false",
                ],
            ),
            (
                "listen = [1.5]",
                vec![
                    "listen = [1.5] (a.toml line 1): an array cannot stand here; expected a string or an array of strings",
                ],
            ),
            (
                "listen-lines = \"a\"\nlisten_lines = \"b\"",
                vec!["listen_lines = \"b\" (a.toml line 2): given twice"],
            ),
            (
                "scanner = \"fast\"\n[json]\nengine = \"exact\"\nspeed = 1",
                vec![
                    "scanner = \"exact\" (a.toml line 3): given twice",
                    "a.toml line 4: unknown key `json.speed`; `ringmill serve --help` lists the keys",
                ],
            ),
        ] {
            let got: Vec<_> =
                Raw::from_toml(text, "a.toml").unwrap_err().iter().map(ToString::to_string).collect();
            assert_eq!(got, errors, "{text}");
        }
        for text in ["memory = ", "a = 1\na = 2", "[", "memory = \"x"] {
            let errors = Raw::from_toml(text, "a.toml").unwrap_err();
            assert!(errors[0].to_string().starts_with("a.toml line "), "{text}: {}", errors[0]);
        }
    }

    #[test]
    fn the_later_layer_wins() {
        let mut above = Raw::default();
        let flag = Given { texts: vec!["2".into()], origin: Origin::Flag("--memory".into()) };
        above.set(Key::find("memory").unwrap(), flag.clone());
        let raw = Raw::from_toml("memory = 1\nack = \"durable\"", "a").unwrap().under(above);
        assert_eq!(raw.get("memory"), Some(&flag));
        assert_eq!(raw.text("ack"), Some("durable"));
    }
}
