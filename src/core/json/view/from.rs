//! Single values as Rust's types.
use super::{Elements, ErrorKind, Event, Kind, Members, Rest, Text, Value};
use alloc::borrow::Cow;

/// What a single value can be asked for as.
pub trait FromJson<'a>: Sized {
    /// The value as this type.
    ///
    /// # Errors
    /// It is of another type, or does not fit.
    fn from_json(value: Value<'a>) -> Result<Self, ErrorKind>;

    /// What stands for a value that is not there; `None`: that is an error.
    fn missing() -> Option<Self> {
        None
    }
}

impl<'a> FromJson<'a> for Value<'a> {
    fn from_json(value: Value<'a>) -> Result<Self, ErrorKind> {
        Ok(value)
    }
}

impl<'a, T: FromJson<'a>> FromJson<'a> for Option<T> {
    fn from_json(value: Value<'a>) -> Result<Self, ErrorKind> {
        match value.kind() {
            Kind::Null => Ok(None),
            _ => T::from_json(value).map(Some),
        }
    }

    fn missing() -> Option<Self> {
        Some(None)
    }
}

impl<'a> FromJson<'a> for Event<'a> {
    fn from_json(value: Value<'a>) -> Result<Self, ErrorKind> {
        match value.kind() {
            Kind::Object => Ok(Event { bytes: value.bytes }),
            _ => Err(ErrorKind::Expected("an object")),
        }
    }
}

impl<'a> FromJson<'a> for Members<'a> {
    fn from_json(value: Value<'a>) -> Result<Self, ErrorKind> {
        Event::from_json(value).map(|object| object.members())
    }
}

impl<'a> FromJson<'a> for Elements<'a> {
    fn from_json(value: Value<'a>) -> Result<Self, ErrorKind> {
        match value.kind() {
            Kind::Array => Ok(Elements { rest: Rest::of(value.bytes) }),
            _ => Err(ErrorKind::Expected("an array")),
        }
    }
}

impl<'a> FromJson<'a> for Text<'a> {
    fn from_json(value: Value<'a>) -> Result<Self, ErrorKind> {
        match value.bytes {
            [b'"', raw @ .., b'"'] => Ok(Text { raw }),
            _ => Err(ErrorKind::Expected("a string")),
        }
    }
}

impl<'a> FromJson<'a> for &'a str {
    fn from_json(value: Value<'a>) -> Result<Self, ErrorKind> {
        Text::from_json(value)?.as_str().ok_or(ErrorKind::Escaped)
    }
}

/// Takes memory where something is escaped.
impl<'a> FromJson<'a> for Cow<'a, str> {
    fn from_json(value: Value<'a>) -> Result<Self, ErrorKind> {
        Text::from_json(value).map(|text| text.to_cow())
    }
}

impl<'a> FromJson<'a> for bool {
    fn from_json(value: Value<'a>) -> Result<Self, ErrorKind> {
        match value.bytes {
            b"true" => Ok(true),
            b"false" => Ok(false),
            _ => Err(ErrorKind::Expected("true or false")),
        }
    }
}

/// The text of a number.
pub(super) fn number(value: Value<'_>) -> Option<&str> {
    let text = core::str::from_utf8(value.bytes).ok()?;
    (value.kind() == Kind::Number).then_some(text)
}

macro_rules! integers {
    ($($int:ty)*) => {
        $(impl<'a> FromJson<'a> for $int {
            fn from_json(value: Value<'a>) -> Result<Self, ErrorKind> {
                let text = number(value).filter(|text| text.bytes().all(|b| b == b'-' || b.is_ascii_digit()));
                let text = text.ok_or(ErrorKind::Expected("a whole number"))?;
                // Unsigned types do not take JSON's -0.
                if text == "-0" { Ok(0) } else { text.parse().map_err(|_| ErrorKind::OutOfRange) }
            }
        })*
    };
}

integers!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize);

macro_rules! floats {
    ($($float:ty)*) => {
        $(impl<'a> FromJson<'a> for $float {
            fn from_json(value: Value<'a>) -> Result<Self, ErrorKind> {
                let text = number(value).ok_or(ErrorKind::Expected("a number"))?;
                let number: $float = text.parse().map_err(|_| ErrorKind::Expected("a number"))?;
                if number.is_finite() { Ok(number) } else { Err(ErrorKind::OutOfRange) }
            }
        })*
    };
}

floats!(f32 f64);
