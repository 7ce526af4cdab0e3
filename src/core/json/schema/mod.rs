//! What the events of a stream must look like, beyond being JSON objects, and what is looked up in them besides.
//!
//! A [`Schema`] is what somebody wrote: fields by JSON pointer, each with what its value must be. [`Checks`] is
//! what it was compiled to, for all streams: one set of wanted [`Fields`](super::Fields) a stream, found while
//! its events are judged, and a rule for each. A violation is a verdict like any other: where, and why.
//!
//! It is no JSON Schema: there are no references, no alternatives, no formats and no rules between fields, so the
//! work on an event is bounded by its length and the number of fields, and nothing is allocated.
use super::pointer::BadPointer;
use crate::segment::header::StreamName;
use alloc::string::String;
use alloc::vec::Vec;

mod checks;
mod rule;
#[cfg(test)]
mod tests;

pub use checks::{CHECK_BYTES, Check, Checks, Picked};

/// Most schemas.
pub const SCHEMAS_MAX: usize = 64;
/// Most values that a field may have by name.
pub const CHOICES_MAX: usize = 64;

/// What the events of a stream must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Of which stream; `None`: of all that have none of their own.
    pub stream: Option<StreamName>,
    /// Names at an event's top that no field begins with are allowed.
    pub additional: bool,
    /// What of it is laid down.
    pub fields: Vec<Field>,
}

/// What one value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Where, as a JSON pointer.
    pub pointer: String,
    /// It must be there.
    pub required: bool,
    /// One of these.
    pub types: Types,
    /// Longest string, in bytes of UTF-8 without its escapes.
    pub max_length: Option<u32>,
    /// It must be one of these; none: anything. A null that `types` names is let through.
    pub choices: Vec<Choice>,
    /// A string must begin so.
    pub prefix: Option<String>,
    /// Of an object: names that no other field's pointer goes through are allowed.
    pub additional: bool,
}

impl Field {
    /// A field of which nothing is asked.
    pub fn at(pointer: &str) -> Field {
        Field {
            pointer: pointer.into(),
            required: false,
            types: Types::ANY,
            max_length: None,
            choices: Vec::new(),
            prefix: None,
            additional: true,
        }
    }
}

/// A value that a field may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A string, whatever of it is escaped.
    Text(String),
    /// A number or word, written exactly so: `1` is not `1.0`.
    Literal(String),
}

/// A set of types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Types(u8);

impl Types {
    /// Every type.
    pub const ANY: Types = Types(u8::MAX);
    /// No type.
    pub const NONE: Types = Types(0);

    /// Names of the types, each with its bit. An integer is a number without fraction and exponent.
    const NAMES: [(&'static str, u8); 7] = [
        ("string", rule::STRING),
        ("number", rule::NUMBER),
        ("integer", rule::INTEGER),
        ("boolean", rule::BOOLEAN),
        ("null", rule::NULL),
        ("object", rule::OBJECT),
        ("array", rule::ARRAY),
    ];

    /// The names that [`Types::named`] knows.
    pub fn names() -> [&'static str; 7] {
        Types::NAMES.map(|(name, _)| name)
    }

    /// The type of that name.
    pub fn named(name: &str) -> Option<Types> {
        Types::NAMES.iter().find(|(known, _)| *known == name).map(|(_, bit)| Types(*bit))
    }

    /// Both.
    pub const fn or(self, other: Types) -> Types {
        Types(self.0 | other.0)
    }

    /// What is wanted, in words: `a string or null`.
    fn wanted(self) -> String {
        let with_article = |name: &str| match name {
            "null" => "null".into(),
            "integer" | "object" | "array" => alloc::format!("an {name}"),
            name => alloc::format!("a {name}"),
        };
        let mut text = String::new();
        let all: Vec<String> = self.each().map(with_article).collect();
        for (at, name) in all.iter().enumerate() {
            text += match at {
                0 => "",
                at if at + 1 == all.len() => " or ",
                _ => ", ",
            };
            text += name;
        }
        text
    }

    /// The names of those in the set.
    pub fn each(self) -> impl Iterator<Item = &'static str> {
        Types::NAMES.into_iter().filter(move |(_, bit)| self.0 & bit != 0).map(|(name, _)| name)
    }
}

/// Why a schema cannot be, and which field of it is to blame, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSchema {
    /// The schema's number.
    pub schema: usize,
    /// The field's; `None`: the schema as a whole.
    pub field: Option<usize>,
    /// What is wrong.
    pub why: Why,
}

/// What is wrong with a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A pointer is none.
    Pointer(BadPointer),
    /// Two fields have the same pointer.
    Twice,
    /// Two schemas are of the same stream.
    SameStream,
    /// More steps or names than there is room for; see [`ringmill_scan::fields::STEPS_MAX`].
    TooMany,
    /// More than [`SCHEMAS_MAX`].
    TooManySchemas,
    /// More than [`CHOICES_MAX`].
    TooManyChoices,
}

impl Why {
    /// What is wrong and how to mend it.
    pub const fn reason(self) -> &'static str {
        match self {
            Why::Pointer(bad) => bad.reason(),
            Why::Twice => "another field of this schema has that pointer: make one of the two",
            Why::SameStream => "another schema is of that stream: make one of the two",
            Why::TooMany => {
                "the pointers of one schema, and of the Kafka key and time, have at most 64 different steps and 2048 \
                 bytes of names: name fewer fields"
            }
            Why::TooManySchemas => "there may be 64 schemas",
            Why::TooManyChoices => "a field may have 64 values by name: leave `enum` out, or use `prefix`",
        }
    }
}
