//! serde's `Deserialize` over an event's own bytes.
//!
//! Strings are borrowed or refused: a name with escapes is decoded on the stack, a value with escapes is an error,
//! unless the type is [`Text`], [`Value`] or one that owns its string. The former two are told by the
//! name of their newtype, as serde_json does it.
//! The event was judged before, so hardly anything is checked again; other bytes give an error or anything, and
//! end. It calls itself as deep as values are nested: an event no deeper than 64.
use super::from::{FromJson, number};
use super::{Error, ErrorKind, Kind, Rest, Text, Value};
use alloc::borrow::Cow;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

/// Longest name with escapes, in bytes without them.
const NAME_BYTES: usize = 256;

const TEXT: &str = "$ringmill::Text";
const VALUE: &str = "$ringmill::Value";

pub(super) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Error> {
    T::deserialize(Reader { whole: bytes, value: Value { bytes } })
}

/// At one value of those in `whole`.
#[derive(Clone, Copy)]
struct Reader<'a> {
    whole: &'a [u8],
    value: Value<'a>,
}

impl<'a> Reader<'a> {
    fn error(&self, kind: ErrorKind) -> Error {
        Error::at(self.offset(), kind)
    }

    fn offset(&self) -> usize {
        self.value.offset_in(self.whole)
    }

    fn as_type<T: FromJson<'a>>(&self) -> Result<T, Error> {
        T::from_json(self.value).map_err(|kind| self.error(kind))
    }

    fn with(&self, value: Value<'a>) -> Reader<'a> {
        Reader { value, ..*self }
    }

    fn inside(&self) -> Inside<'a> {
        Inside { reader: *self, rest: Rest::of(self.value.bytes) }
    }

    /// Whatever number it is, in the widest type that holds it exactly, else as `f64`.
    fn any_number<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = number(self.value).ok_or(self.error(ErrorKind::Expected("a number")))?;
        match (text.parse::<u64>(), text.parse::<i64>()) {
            // The minus of a zero is kept.
            _ if text == "-0" => visitor.visit_f64(-0.0),
            (Ok(number), _) => visitor.visit_u64(number),
            (_, Ok(number)) => visitor.visit_i64(number),
            _ => visitor.visit_f64(self.as_type()?),
        }
    }
}

macro_rules! as_type {
    ($($method:ident $visit:ident)*) => {
        $(fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.as_type()?)
        })*
    };
}

impl<'a> Deserializer<'a> for Reader<'a> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        let read = match self.value.kind() {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool => visitor.visit_bool(self.as_type()?),
            Kind::Number => self.any_number(visitor),
            Kind::String => visitor.visit_borrowed_str(self.as_type()?),
            Kind::Array => visitor.visit_seq(self.inside()),
            Kind::Object => visitor.visit_map(self.inside()),
        };
        read.map_err(|error| error.or_at(self.offset()))
    }

    as_type! {
        deserialize_i8 visit_i8 deserialize_i16 visit_i16 deserialize_i32 visit_i32 deserialize_i64 visit_i64
        deserialize_i128 visit_i128 deserialize_u8 visit_u8 deserialize_u16 visit_u16 deserialize_u32 visit_u32
        deserialize_u64 visit_u64 deserialize_u128 visit_u128 deserialize_f32 visit_f32 deserialize_f64 visit_f64
    }

    /// Of a type that owns its string, which takes memory anyway.
    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.as_type::<Text>()?.to_cow() {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_str(&text),
        }
    }

    fn deserialize_bytes<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_bytes(self.as_type::<&str>()?.as_bytes())
    }

    fn deserialize_byte_buf<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.kind() == Kind::Null { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match name {
            TEXT => visitor.visit_borrowed_bytes(self.as_type::<Text>()?.raw),
            VALUE => visitor.visit_borrowed_bytes(self.value.bytes),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let expected = self.error(ErrorKind::Expected("a variant's name, or an object of one member"));
        match self.value.kind() {
            Kind::String => {
                visitor.visit_enum(Variant { reader: self, name: self.as_type()?, content: None })
            }
            Kind::Object => {
                let mut members = self.as_type::<super::Members>()?;
                let (Some((name, content)), None) = (members.next(), members.next()) else {
                    return Err(expected);
                };
                visitor.visit_enum(Variant { reader: self, name, content: Some(self.with(content)) })
            }
            _ => Err(expected),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        <V: Visitor<'a>>
        bool char str unit unit_struct seq tuple tuple_struct map struct identifier
    }
}

/// Inside an array or object.
struct Inside<'a> {
    reader: Reader<'a>,
    rest: Rest<'a>,
}

impl<'a> Inside<'a> {
    fn value<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let at = self.rest.at;
        let value = self.rest.value().ok_or(Error::at(at, ErrorKind::Missing))?;
        let reader = self.reader.with(value);
        seed.deserialize(reader).map_err(|error| error.or_at(reader.offset()))
    }
}

impl<'a> SeqAccess<'a> for Inside<'a> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        match self.rest.begin() {
            None => Ok(None),
            Some(_) => self.value(seed).map(Some),
        }
    }
}

impl<'a> MapAccess<'a> for Inside<'a> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let name = match self.rest.begin() {
            None => return Ok(None),
            Some(_) => self.rest.name().ok_or(self.reader.error(ErrorKind::Expected("a name")))?,
        };
        let offset = Value { bytes: name.raw }.offset_in(self.reader.whole);
        seed.deserialize(Name { name, offset }).map(Some).map_err(|error| error.or_at(offset))
    }

    fn next_value_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<S::Value, Error> {
        self.value(seed)
    }
}

/// A member's name.
struct Name<'a> {
    name: Text<'a>,
    offset: usize,
}

/// Names of members are strings, whatever is wanted of them.
impl<'a> Deserializer<'a> for Name<'a> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        if let Some(name) = self.name.as_str() {
            return visitor.visit_borrowed_str(name);
        }
        let escaped = Error::at(self.offset, ErrorKind::Escaped);
        let (mut decoded, mut len) = ([0; NAME_BYTES], 0);
        for byte in self.name.bytes() {
            *decoded.get_mut(len).ok_or(escaped)? = byte;
            len += 1;
        }
        visitor.visit_str(core::str::from_utf8(&decoded[..len]).map_err(|_| escaped)?)
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match name {
            TEXT => visitor.visit_borrowed_bytes(self.name.raw),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    forward_to_deserialize_any! {
        <V: Visitor<'a>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// One variant of an enum: by name alone, or with its content.
struct Variant<'a> {
    reader: Reader<'a>,
    name: Text<'a>,
    content: Option<Reader<'a>>,
}

impl<'a> EnumAccess<'a> for Variant<'a> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'a>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let offset = self.reader.offset();
        let name = seed.deserialize(Name { name: self.name, offset });
        name.map(|name| (name, self)).map_err(|error| error.or_at(offset))
    }
}

impl<'a> Variant<'a> {
    fn content(&self) -> Result<Reader<'a>, Error> {
        self.content.ok_or(self.reader.error(ErrorKind::Expected("a variant with its content")))
    }
}

impl<'a> VariantAccess<'a> for Variant<'a> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.content {
            None => Ok(()),
            Some(content) => <()>::deserialize(content),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'a>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.content()?)
    }

    fn tuple_variant<V: Visitor<'a>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.content()?.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'a>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.content()?.deserialize_any(visitor)
    }
}

/// Takes the bytes that [`Reader`] hands over as they stand.
struct Raw(&'static str);

impl<'a> Visitor<'a> for Raw {
    type Value = &'a [u8];

    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} of an event of ringmill", self.0)
    }

    fn visit_borrowed_bytes<E: serde::de::Error>(self, bytes: &'a [u8]) -> Result<&'a [u8], E> {
        Ok(bytes)
    }
}

/// Only from events of this module; other formats have nothing to borrow.
impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_newtype_struct(TEXT, Raw("a string")).map(|raw| Text { raw })
    }
}

/// Only from events of this module; other formats have nothing to borrow.
impl<'de: 'a, 'a> Deserialize<'de> for Value<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let bytes = from.deserialize_newtype_struct(VALUE, Raw("a value"))?;
        if bytes.is_empty() { Err(D::Error::custom("no value")) } else { Ok(Value { bytes }) }
    }
}
