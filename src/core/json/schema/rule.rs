//! One field's rule: what its value must be, and the words for what it is not.
use super::{Choice, Field, Types};
use crate::json::{Reason, Slot};
use crate::reply::REASON_BYTES_MAX;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use ringmill_scan::Unescaped;

pub(super) const STRING: u8 = 1;
pub(super) const NUMBER: u8 = 2;
pub(super) const INTEGER: u8 = 4;
pub(super) const BOOLEAN: u8 = 8;
pub(super) const NULL: u8 = 16;
pub(super) const OBJECT: u8 = 32;
pub(super) const ARRAY: u8 = 64;

/// What one value must be.
#[derive(Debug)]
pub(super) struct Rule {
    pub slot: Slot,
    pub required: bool,
    types: Types,
    max_length: Option<u32>,
    choices: Vec<Choice>,
    prefix: Option<Box<[u8]>>,
    words: Words,
}

/// What is said of violations.
#[derive(Debug)]
struct Words {
    missing: Reason,
    types: Reason,
    length: Reason,
    choice: Reason,
    prefix: Reason,
}

impl Rule {
    pub fn new(field: &Field, slot: Slot) -> Rule {
        let say = |what: String| said(&field.pointer, &what);
        let words = Words {
            missing: say("required, but missing".into()),
            types: say(format!("expected {}", field.types.wanted())),
            length: say(format!("longer than {} bytes", field.max_length.unwrap_or(0))),
            choice: say(format!("expected {}", choices(&field.choices))),
            prefix: say(format!("expected to begin with `{}`", field.prefix.as_deref().unwrap_or(""))),
        };
        Rule {
            slot,
            required: field.required,
            types: field.types,
            max_length: field.max_length,
            choices: field.choices.clone(),
            prefix: field.prefix.as_ref().map(|prefix| prefix.as_bytes().into()),
            words,
        }
    }

    /// What is said where the value is missing.
    pub fn missing(&self) -> Reason {
        self.words.missing
    }

    /// What is wrong with a value.
    #[inline]
    pub fn wrong(&self, value: &[u8]) -> Option<Reason> {
        let kind = match value {
            [b'"', ..] => STRING,
            [b'{', ..] => OBJECT,
            [b'[', ..] => ARRAY,
            [b't' | b'f', ..] => BOOLEAN,
            [b'n', ..] => NULL,
            // Only where it matters: whole numbers are numbers too.
            _ if self.types.0 & (NUMBER | INTEGER) == INTEGER && !is_whole(value) => NUMBER,
            _ => NUMBER | INTEGER,
        };
        if self.types.0 & kind == 0 {
            return Some(self.words.types);
        }
        match value {
            [b'"', raw @ .., b'"'] => self.wrong_text(raw),
            _ if self.choices.is_empty() || kind == NULL && self.types != Types::ANY => None,
            _ => {
                let is =
                    |choice: &Choice| matches!(choice, Choice::Literal(text) if text.as_bytes() == value);
                (!self.choices.iter().any(is)).then_some(self.words.choice)
            }
        }
    }

    fn wrong_text(&self, raw: &[u8]) -> Option<Reason> {
        if self.max_length.is_none() && self.prefix.is_none() && self.choices.is_empty() {
            return None;
        }
        let plain = memchr::memchr(b'\\', raw).is_none();
        // Escapes only ever make it longer.
        if let Some(most) = self.max_length.map(|most| most as usize)
            && raw.len() > most
            && (plain || Unescaped::of(raw).nth(most).is_some())
        {
            return Some(self.words.length);
        }
        if let Some(prefix) = &self.prefix {
            let begins = match plain {
                true => raw.starts_with(prefix),
                false => Unescaped::of(raw).take(prefix.len()).eq(prefix.iter().copied()),
            };
            if !begins {
                return Some(self.words.prefix);
            }
        }
        let is = |choice: &Choice| match choice {
            Choice::Literal(_) => false,
            Choice::Text(text) if plain => text.as_bytes() == raw,
            Choice::Text(text) => Unescaped::of(raw).eq(text.bytes()),
        };
        (!self.choices.is_empty() && !self.choices.iter().any(is)).then_some(self.words.choice)
    }
}

fn is_whole(number: &[u8]) -> bool {
    number.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-')
}

/// `` `a`, `b` or 3``, cut in the middle where that would be long.
fn choices(choices: &[Choice]) -> String {
    const ROOM: usize = 40;
    let mut text = String::new();
    for (at, choice) in choices.iter().enumerate() {
        let shown = match choice {
            Choice::Text(text) => format!("`{text}`"),
            Choice::Literal(text) => text.clone(),
        };
        if at > 0 && text.len() + shown.len() > ROOM {
            return format!("{text} or {} more", choices.len() - at);
        }
        text += match at {
            0 => "",
            at if at + 1 == choices.len() => " or ",
            _ => ", ",
        };
        text += &shown;
    }
    text
}

/// `/pointer: what`; of a long pointer the beginning.
pub(super) fn said(pointer: &str, what: &str) -> Reason {
    let room = REASON_BYTES_MAX.saturating_sub(what.chars().count() + 2).max(16);
    Reason::worded(&match pointer.chars().nth(room) {
        None => format!("{pointer}: {what}"),
        Some(_) => format!("{}..: {what}", pointer.chars().take(room - 2).collect::<String>()),
    })
}
