//! Finds one value of an event by its JSON pointer (RFC 6901), in the event's own bytes.
//!
//! The event has been found valid before, so nothing is checked again: it looks for names at the right depth and
//! passes over the rest. Of a name that an object repeats the first counts. It takes no memory. On bytes that are
//! no JSON it finds something or nothing, and ends.
use alloc::boxed::Box;
use alloc::vec::Vec;
pub use ringmill_scan::Unescaped;
use ringmill_scan::skim::{skip_blank, string_end};

/// A parsed pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    name: Box<[u8]>,
    /// The same as the place in an array.
    index: Option<usize>,
}

/// Why a text is no pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPointer {
    /// It does not begin with `/`, so it names nothing within an event.
    NoSlash,
    /// `~` is followed by something else than 0 or 1.
    BadTilde,
}

impl BadPointer {
    /// What is wrong and how to mend it.
    pub const fn reason(self) -> &'static str {
        match self {
            BadPointer::NoSlash => "a JSON pointer begins with `/`, as in /user/id",
            BadPointer::BadTilde => "in a JSON pointer `~` is written ~0 and a `/` within a name ~1",
        }
    }
}

/// The place in an array that a name stands for: digits without a needless zero.
pub(super) fn index(name: &str) -> Option<usize> {
    let plain = name == "0" || !name.starts_with('0') && name.bytes().all(|byte| byte.is_ascii_digit());
    if plain { name.parse().ok() } else { None }
}

impl Pointer {
    /// Reads a pointer such as `/user/id` or `/tags/0`.
    ///
    /// # Errors
    /// See [`BadPointer`].
    pub fn parse(text: &str) -> Result<Pointer, BadPointer> {
        let rest = text.strip_prefix('/').ok_or(BadPointer::NoSlash)?;
        let steps = rest.split('/').map(|part| {
            let mut name = Vec::with_capacity(part.len());
            let mut bytes = part.bytes();
            while let Some(byte) = bytes.next() {
                name.push(match (byte, byte == b'~') {
                    (_, false) => byte,
                    _ => match bytes.next() {
                        Some(b'0') => b'~',
                        Some(b'1') => b'/',
                        _ => return Err(BadPointer::BadTilde),
                    },
                });
            }
            Ok(Step { name: name.into(), index: index(part) })
        });
        Ok(Pointer { steps: steps.collect::<Result<_, _>>()? })
    }

    /// Its names, unescaped, from the event's own members inwards.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.steps.iter().map(|step| &*step.name)
    }

    /// The bytes of the value that it points to, quotes of a string included; `None` if there is none.
    pub fn find<'e>(&self, event: &'e [u8]) -> Option<&'e [u8]> {
        let mut value = event;
        for step in &self.steps {
            value = match value.get(skip_blank(value, 0))? {
                b'{' => member(value, |raw| is_name(raw, &step.name))?,
                b'[' => element(value, step.index?)?,
                _ => return None,
            };
        }
        Some(value)
    }
}

/// The value of the first member whose name, as it stands between its quotes, is the one.
pub(super) fn member(object: &[u8], is: impl Fn(&[u8]) -> bool) -> Option<&[u8]> {
    let mut at = skip_blank(object, 0) + 1;
    loop {
        at = skip_blank(object, at);
        if object.get(at)? != &b'"' {
            return None;
        }
        let end = string_end(object, at)?;
        let found = is(&object[at + 1..end - 1]);
        at = skip_blank(object, end);
        // The colon.
        at = skip_blank(object, at + 1);
        let end = value_end(object, at)?;
        if found {
            return object.get(at..end);
        }
        at = skip_blank(object, end);
        if object.get(at)? != &b',' {
            return None;
        }
        at += 1;
    }
}

/// Element number `index`.
pub(super) fn element(array: &[u8], index: usize) -> Option<&[u8]> {
    let mut at = skip_blank(array, 0) + 1;
    let mut number = 0;
    loop {
        at = skip_blank(array, at);
        if array.get(at)? == &b']' {
            return None;
        }
        let end = value_end(array, at)?;
        if number == index {
            return array.get(at..end);
        }
        number += 1;
        at = skip_blank(array, end);
        if array.get(at)? != &b',' {
            return None;
        }
        at += 1;
    }
}

fn is_name(raw: &[u8], name: &[u8]) -> bool {
    // With a backslash in it, equal bytes are another name.
    match memchr::memchr(b'\\', raw) {
        None => raw == name,
        Some(_) => Unescaped::of(raw).eq(name.iter().copied()),
    }
}

/// Behind the value that begins at `at`; beyond `at` in any case.
pub(super) fn value_end(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => string_end(bytes, at),
        b'{' | b'[' => nested_end(bytes, at),
        b',' | b':' | b'}' | b']' => None,
        _ => {
            let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n');
            Some(bytes[at..].iter().position(ends).map_or(bytes.len(), |len| at + len))
        }
    }
}

fn nested_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = string_end(bytes, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use proptest::prelude::*;

    fn found<'e>(pointer: &str, event: &'e str) -> Option<&'e str> {
        let value = Pointer::parse(pointer).unwrap().find(event.as_bytes())?;
        Some(core::str::from_utf8(value).unwrap())
    }

    #[test]
    fn values_are_found_where_they_stand() {
        let event = " { \"a\" : 1 , \"b\":{\"c\":[10, {\"d\" :\"x,]}\\\"\" } , [ ] , null]}, \"\":true,\
            \"a/b\":2,\"m~n\":3,\"\\u0061\\n\":4,\"\\ud83d\\ude00\":5,\"0\":6,\"a\":7, \"e\":-1.5e3 }";
        for (pointer, value) in [
            ("/a", Some("1")),
            ("/b/c/0", Some("10")),
            ("/b/c/1/d", Some("\"x,]}\\\"\"")),
            ("/b/c/2", Some("[ ]")),
            ("/b/c/3", Some("null")),
            ("/b/c/4", None),
            ("/b/c/01", None),
            ("/b/c/-", None),
            ("/b/c/d", None),
            ("/b/x", None),
            ("/a/b", None),
            ("/", Some("true")),
            ("/a~1b", Some("2")),
            ("/m~0n", Some("3")),
            ("/a\n", Some("4")),
            ("/😀", Some("5")),
            ("/0", Some("6")),
            ("/e", Some("-1.5e3")),
            ("/d", None),
        ] {
            assert_eq!(found(pointer, event), value, "{pointer}");
        }
        assert_eq!(found("/a", "{}"), None);
        assert_eq!(found("/\\\"", "{\"\\\"\":1,\"\\\\\\\"\":2}"), Some("2"), "escaped, or a backslash");
        assert_eq!(found("/a", "{\"b\":{\"a\":1}}"), None, "only at its own depth");
    }

    #[test]
    fn what_is_no_pointer_is_told_apart() {
        for (text, bad) in [
            ("", BadPointer::NoSlash),
            ("a", BadPointer::NoSlash),
            ("/a~", BadPointer::BadTilde),
            ("/~2", BadPointer::BadTilde),
        ] {
            assert_eq!(Pointer::parse(text), Err(bad), "{text}");
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "[ab\"\\\\{}\\[\\],:\n\u{e9}😀]{0,6}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::hash_map("[ab~/\"\\\\é0]{0,3}", inner, 0..5)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn pointers(value: &serde_json::Value, at: String, all: &mut Vec<String>) {
        all.push(at.clone());
        match value {
            serde_json::Value::Array(values) => {
                for (n, value) in values.iter().enumerate() {
                    pointers(value, std::format!("{at}/{n}"), all);
                }
            }
            serde_json::Value::Object(members) => {
                for (name, value) in members {
                    let name = name.replace('~', "~0").replace('/', "~1");
                    pointers(value, std::format!("{at}/{name}"), all);
                }
            }
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn what_serde_json_finds_is_found(value in json(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let text = text.unwrap();
            let mut all = Vec::new();
            pointers(&value, String::new(), &mut all);
            for pointer in all.iter().filter(|pointer| !pointer.is_empty()) {
                let raw = Pointer::parse(pointer).unwrap().find(text.as_bytes());
                let read = raw.map(|raw| serde_json::from_slice::<serde_json::Value>(raw).unwrap());
                prop_assert_eq!(read.as_ref(), value.pointer(pointer), "{} in {}", pointer, text);
                if let Some(serde_json::Value::String(string)) = read {
                    let raw = raw.unwrap();
                    let bytes: Vec<u8> = Unescaped::of(&raw[1..raw.len() - 1]).collect();
                    prop_assert_eq!(bytes, string.into_bytes());
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic_or_run_for_ever(
            bytes in prop::collection::vec(prop::sample::select(&b"{}[]\",:\\u0ax "[..]), 0..40),
            pointer in "(/[a0]?){1,3}",
        ) {
            let found = Pointer::parse(&pointer).unwrap().find(&bytes).map_or(0, <[u8]>::len);
            prop_assert!(found <= bytes.len());
            prop_assert!(Unescaped::of(&bytes).count() <= 4 * bytes.len());
        }
    }
}
