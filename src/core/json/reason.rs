//! Why an event is refused: one pointer inside, plain English outside.
use crate::reply::REASON_BYTES_MAX;
use alloc::{boxed::Box, string::String};
use core::fmt;

/// Why an event is refused. Small and `Copy`, so that verdicts can be kept without allocation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reason(&'static &'static str);

/// Declares the reasons from one list, so that name and text cannot drift apart.
macro_rules! reasons {
    ($($name:ident $text:literal)*) => {
        impl Reason {
            $(#[doc = concat!("\"", $text, "\"")] pub const $name: Reason = Reason(&$text);)*

            /// Every reason but those that a schema words.
            pub const ALL: &[Reason] = &[$(Reason::$name),*];
        }
    };
}

reasons! {
    NOT_AN_OBJECT "an event must be a JSON object"
    BYTE_ORDER_MARK "a byte order mark must not precede the event"
    INVALID_UTF8 "invalid UTF-8"
    LONE_SURROGATE "a surrogate escape without its other half"
    TOO_DEEP "nested deeper than 64 levels"
    TOO_LARGE "an event must not be larger than 256 KiB"
    TRAILING_DATA "trailing data after the event"
    CUT_SHORT "the event ends before it is complete"
    UNCLOSED_STRING "a string without its closing quote"
    CONTROL_CHARACTER "a control character in a string must be escaped"
    BAD_ESCAPE "unknown escape in a string"
    BAD_HEX "expected four hex digits in a unicode escape"
    EXPECTED_VALUE "expected a value"
    EXPECTED_KEY "expected a string as key"
    EXPECTED_KEY_OR_BRACE "expected a string as key or `}`"
    EXPECTED_COLON "expected `:` after a key"
    EXPECTED_COMMA_OR_BRACE "expected `,` or `}` after a value"
    EXPECTED_COMMA_OR_BRACKET "expected `,` or `]` after a value"
    EXPECTED_DIGIT "expected a digit in a number"
    LEADING_ZERO "a number must not begin with a needless zero"
    BAD_LITERAL "expected `true`, `false` or `null`"
    UNCLOSED_ARRAY "the array of events is not closed"
    AFTER_ARRAY "trailing data after the array of events"
    BETWEEN_EVENTS "expected `,` or `]` after an event"
    KAFKA_TOO_LARGE "larger than Kafka takes"
    KAFKA_INVALID_RECORD "refused by Kafka as an invalid record"
    KAFKA_INVALID_TIMESTAMP "refused by Kafka for its timestamp"
    KAFKA_REFUSED "refused by Kafka"
    HTTP_TOO_LARGE "larger than the HTTP target takes"
    HTTP_REFUSED "refused by the HTTP target"
    SCHEMA_STRANGER "a name that the schema does not have"
}

impl Reason {
    /// What is wrong, for people. Plain ASCII without `"` or `\`: it goes into JSON as it is.
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    /// Its place in [`Reason::ALL`]; 255 for one that a schema words.
    pub fn number(self) -> u8 {
        Reason::ALL.iter().position(|known| *known == self).unwrap_or(255) as u8
    }

    /// A reason that the configuration words; what is not plain becomes `?`, and what does not fit into a reply is
    /// cut. It stays in memory for good: to be made at start only.
    pub(super) fn worded(text: &str) -> Reason {
        let clean = |c: char| if c.is_ascii_graphic() && c != '"' && c != '\\' || c == ' ' { c } else { '?' };
        let text: String = text.chars().map(clean).take(REASON_BYTES_MAX).collect();
        Reason(Box::leak(Box::new(&*Box::leak(text.into_boxed_str()))))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reason({})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn texts_fit_into_json_as_they_are_and_differ() {
        let mut seen = HashSet::new();
        for reason in Reason::ALL {
            let text = reason.as_str();
            assert!(text.bytes().all(|b| (b' '..0x7f).contains(&b) && b != b'"' && b != b'\\'), "{text}");
            assert!(seen.insert(text), "twice: {text}");
        }
    }
}
