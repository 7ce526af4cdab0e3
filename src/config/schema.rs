//! `[[schema]]` of the file: what events of a stream must look like, each piece with its line.
//!
//! Schemas are tables within tables, so they have no flags and no environment variables; everything else of the
//! file is flat, and in [`raw`].
use super::read::names;
use super::{ConfigError, kafka::KafkaPlan, raw, raw::line_of};
use crate::core::json::MAX_EVENT_BYTES;
use crate::core::json::schema::{BadSchema, Checks, Choice, Field, Schema, Types};
use crate::core::segment::header::StreamName;
use crate::core::sink::kafka::{KeyFrom, TimeFrom};
use std::fmt::Write;
use toml::de::{DeTable, DeValue};

/// A schema as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// What it says.
    pub schema: Schema,
    /// The file as it was named.
    path: String,
    /// Where it begins.
    line: usize,
    /// Where its fields begin.
    fields: Vec<usize>,
}

const SCHEMA_KEYS: &[&str] = &["stream", "additional", "field"];
const FIELD_KEYS: &[&str] = &["pointer", "required", "type", "max_length", "enum", "prefix", "additional"];

/// Reads what stands under `schema`.
pub(super) fn written(
    value: &DeValue<'_>,
    line: usize,
    text: &str,
    path: &str,
    errors: &mut Vec<ConfigError>,
) -> Vec<Written> {
    let mut reader = Reader { text, path, errors };
    let tables = reader.tables("schema", value, line);
    tables.into_iter().filter_map(|(table, line)| reader.schema(table, line)).collect()
}

struct Reader<'a> {
    text: &'a str,
    path: &'a str,
    errors: &'a mut Vec<ConfigError>,
}

/// The entries of a table, by name with dashes as underscores, each with its line.
type Entries<'t, 'v> = Vec<(String, &'t DeValue<'v>, usize)>;

impl Reader<'_> {
    fn refuse(&mut self, line: usize, why: String) {
        self.errors.push(ConfigError::File { path: self.path.into(), line, why });
    }

    /// The tables of an array of them, each with its line.
    fn tables<'t, 'v>(
        &mut self,
        name: &str,
        value: &'t DeValue<'v>,
        line: usize,
    ) -> Vec<(&'t DeTable<'v>, usize)> {
        let mut tables = Vec::new();
        let DeValue::Array(values) = value else {
            self.refuse(line, format!("`{name}` is a list of tables: write [[{name}]] above each"));
            return tables;
        };
        for value in values.iter() {
            let line = line_of(self.text, value.span().start);
            match value.get_ref() {
                DeValue::Table(table) => tables.push((table, line)),
                _ => self.refuse(line, format!("`{name}` is a list of tables: write [[{name}]] above each")),
            }
        }
        tables
    }

    /// What stands in a table, in its order; keys that are not in `known` are refused.
    fn entries<'t, 'v>(&mut self, table: &'t DeTable<'v>, known: &[&str], what: &str) -> Entries<'t, 'v> {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let mut kept: Entries = Vec::new();
        for (name, value) in entries {
            let line = line_of(self.text, name.span().start);
            let name = name.get_ref().replace('-', "_");
            if !known.contains(&&*name) {
                let why = format!("{what} has no `{name}`; it has {}", names(known));
                self.refuse(line, why);
            } else if kept.iter().any(|(before, _, _)| *before == name) {
                self.refuse(line, format!("`{name}` is given twice"));
            } else {
                kept.push((name, value.get_ref(), line));
            }
        }
        kept
    }

    fn expected(&mut self, name: &str, value: &DeValue<'_>, line: usize, what: &str) {
        self.refuse(line, format!("`{name}`: expected {what}, not {}", raw::with_article(value)));
    }

    fn switch(&mut self, name: &str, value: &DeValue<'_>, line: usize) -> bool {
        if let DeValue::Boolean(on) = value {
            return *on;
        }
        self.expected(name, value, line, "true or false");
        true
    }

    fn text(&mut self, name: &str, value: &DeValue<'_>, line: usize) -> Option<String> {
        if let DeValue::String(text) = value {
            return Some(text.to_string());
        }
        self.expected(name, value, line, "a string");
        None
    }

    fn schema(&mut self, table: &DeTable<'_>, line: usize) -> Option<Written> {
        let mut schema = Schema { stream: None, additional: true, fields: Vec::new() };
        let (mut stream, mut lines) = (None, Vec::new());
        let before = self.errors.len();
        for (name, value, line) in self.entries(table, SCHEMA_KEYS, "a schema") {
            match &*name {
                "stream" => stream = self.stream(value, line),
                "additional" => schema.additional = self.switch(&name, value, line),
                _ => {
                    for (table, line) in self.tables("schema.field", value, line) {
                        schema.fields.extend(self.field(table, line));
                        lines.push(line);
                    }
                }
            }
        }
        if self.errors.len() > before {
            return None;
        }
        let Some(stream) = stream else {
            let why =
                "a schema needs `stream`: the name of one, or \"*\" for all that have no schema of their own";
            self.refuse(line, why.into());
            return None;
        };
        if schema.fields.is_empty() && schema.additional {
            self.refuse(line, "a schema without fields asks for nothing: add [[schema.field]]".into());
            return None;
        }
        schema.stream = stream;
        Some(Written { schema, path: self.path.into(), line, fields: lines })
    }

    fn stream(&mut self, value: &DeValue<'_>, line: usize) -> Option<Option<StreamName>> {
        let text = self.text("stream", value, line)?;
        let name = if text == "*" { Some(None) } else { StreamName::new(text.as_bytes()).map(Some) };
        if name.is_none() {
            let why = format!(
                "`{text}` is no stream; expected 1 to 64 of letters, digits, `.`, `_` and `-`, or \"*\""
            );
            self.refuse(line, why);
        }
        name
    }

    fn field(&mut self, table: &DeTable<'_>, line: usize) -> Option<Field> {
        let (mut field, mut types, mut pointer) = (Field::at(""), None, None);
        let before = self.errors.len();
        for (name, value, line) in self.entries(table, FIELD_KEYS, "a field of a schema") {
            match &*name {
                "pointer" => pointer = self.text(&name, value, line),
                "required" => field.required = self.switch(&name, value, line),
                "additional" => field.additional = self.switch(&name, value, line),
                "prefix" => field.prefix = self.text(&name, value, line),
                "type" => types = self.types(value, line),
                "enum" => field.choices = self.choices(value, line),
                _ => field.max_length = self.length(value, line),
            }
        }
        if self.errors.len() > before {
            return None;
        }
        let Some(pointer) = pointer else {
            self.refuse(line, "a field needs `pointer`, such as \"/user/id\"".into());
            return None;
        };
        let string = Types::named("string").unwrap_or(Types::ANY);
        let implied = match (&field.prefix, field.max_length, field.additional) {
            (None, None, true) => Types::ANY,
            (None, None, false) => Types::named("object").unwrap_or(Types::ANY),
            _ => string,
        };
        (field.pointer, field.types) = (pointer, types.unwrap_or(implied));
        match misfit(&field) {
            Some(why) => {
                self.refuse(line, format!("field `{}`: {why}", field.pointer));
                None
            }
            None => Some(field),
        }
    }

    fn types(&mut self, value: &DeValue<'_>, line: usize) -> Option<Types> {
        let one = std::slice::from_ref(value);
        let values: Vec<&DeValue<'_>> = match value {
            DeValue::Array(values) => values.iter().map(|value| value.get_ref()).collect(),
            _ => one.iter().collect(),
        };
        let mut types = Types::NONE;
        for value in values {
            let text = self.text("type", value, line)?;
            let Some(named) = Types::named(&text) else {
                let why = format!("`{text}` is no type; expected {}", names(&Types::names()));
                self.refuse(line, why);
                return None;
            };
            types = types.or(named);
        }
        if types == Types::NONE {
            self.refuse(line, format!("no type is named; expected {}", names(&Types::names())));
        }
        Some(types)
    }

    fn choices(&mut self, value: &DeValue<'_>, line: usize) -> Vec<Choice> {
        let what = "a list of strings, numbers, true and false";
        let mut choices = Vec::new();
        let DeValue::Array(values) = value else {
            self.expected("enum", value, line, what);
            return choices;
        };
        for value in values.iter() {
            let finite = |text: &str| !text.contains("inf") && !text.contains("nan");
            choices.push(match value.get_ref() {
                DeValue::String(text) => Choice::Text(text.to_string()),
                DeValue::Integer(number) => Choice::Literal(raw::decimal(number)),
                DeValue::Float(number) if finite(number.as_str()) => Choice::Literal(number.as_str().into()),
                DeValue::Boolean(on) => Choice::Literal(on.to_string()),
                other => {
                    self.expected("enum", other, line, what);
                    return choices;
                }
            });
        }
        if choices.is_empty() {
            self.refuse(line, "`enum` names no value, so none could ever be right: name some".into());
        }
        choices
    }

    fn length(&mut self, value: &DeValue<'_>, line: usize) -> Option<u32> {
        let most = match value {
            DeValue::Integer(number) => raw::decimal(number).parse().ok(),
            _ => None,
        };
        let most = most.filter(|most| *most <= MAX_EVENT_BYTES as u32);
        if most.is_none() {
            self.expected("max_length", value, line, "a whole number of bytes, at most 262144");
        }
        most
    }
}

/// What can never be of use beside the field's types.
fn misfit(field: &Field) -> Option<String> {
    let has = |name: &str| field.types.each().any(|each| each == name);
    let lacks = |setting: &str, of: &str| {
        Some(format!("`{setting}` is of use only with {of}s, and `type` does not name {of}"))
    };
    if field.prefix.is_some() && !has("string") {
        return lacks("prefix", "string");
    }
    if field.max_length.is_some() && !has("string") {
        return lacks("max_length", "string");
    }
    if !field.additional && !has("object") {
        return lacks("additional", "object");
    }
    let possible = |choice: &Choice| match choice {
        Choice::Text(_) => has("string"),
        Choice::Literal(text) if text == "true" || text == "false" => has("boolean"),
        Choice::Literal(_) => has("number") || has("integer"),
    };
    let never = field.choices.iter().find(|choice| !possible(choice))?;
    let (Choice::Text(text) | Choice::Literal(text)) = never;
    Some(format!("`{text}` of `enum` is of none of the field's types: leave it out, or name its type"))
}

/// Holds the schemas against the bounds of what is compiled of them, together with the sink's own wishes.
pub(super) fn check(
    written: &[Written],
    kafka: Option<&KafkaPlan>,
    errors: &mut Vec<ConfigError>,
) -> Vec<Schema> {
    let schemas: Vec<Schema> = written.iter().map(|written| written.schema.clone()).collect();
    let key = kafka.and_then(|kafka| match &kafka.key {
        KeyFrom::Pointer(pointer) => Some(pointer),
        _ => None,
    });
    let time = kafka.and_then(|kafka| match &kafka.time {
        TimeFrom::Pointer(pointer) => Some(pointer),
        TimeFrom::Arrival => None,
    });
    if let Err(BadSchema { schema, field, why }) = Checks::new(&schemas, key, time) {
        let Written { schema, path, line, fields } = &written[schema];
        let (line, what) = match field {
            None => (*line, format!("schema of `{}`", stream(schema))),
            Some(field) => (fields[field], format!("field `{}`", schema.fields[field].pointer)),
        };
        errors.push(ConfigError::File { path: path.clone(), line, why: format!("{what}: {}", why.reason()) });
    }
    schemas
}

/// The stream, or `*`.
fn stream(schema: &Schema) -> &str {
    schema.stream.as_ref().map_or("*", StreamName::as_str)
}

/// A schema for people: its stream, then what is laid down of each field.
pub(super) fn row(schema: &Schema) -> String {
    let mut text = format!("`{}`:", stream(schema));
    for field in &schema.fields {
        let mut what: Vec<String> = Vec::new();
        what.extend(field.required.then(|| "required".into()));
        if field.types != Types::ANY {
            what.push(field.types.each().collect::<Vec<_>>().join(" or "));
        }
        what.extend(field.max_length.map(|most| format!("at most {most} bytes")));
        what.extend(field.prefix.as_ref().map(|prefix| format!("prefix {prefix:?}")));
        if !field.choices.is_empty() {
            let shown = field.choices.iter().map(|choice| match choice {
                Choice::Text(text) => format!("{text:?}"),
                Choice::Literal(text) => text.clone(),
            });
            what.push(format!("one of {}", shown.collect::<Vec<_>>().join(" ")));
        }
        what.extend((!field.additional).then(|| "no other names".into()));
        if what.is_empty() {
            what.push("anything".into());
        }
        let _ = write!(text, " {} {};", field.pointer, what.join(", "));
    }
    text += if schema.additional { " other names allowed" } else { " no other names" };
    text
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
