use super::*;
use crate::json::{FastScanner, Kernel};
use alloc::borrow::Cow;
use proptest::prelude::*;
use serde::Deserialize;
use std::{collections::BTreeMap, format, string::String, vec::Vec};

const STORED: &str = "{ \"s\" : \"plain\" ,\"e\":\"a\\n\\u00e9\\ud83d\\ude00\\\"\",\"n\":-12,\"big\":18446744073709551616,\
    \"f\":1.5e3,\"huge\":1e400,\"t\":true,\"z\":null,\"o\":{\"http.method\":\"GET\",\"a/b\":[1,{\"m~n\":2} , []]},\
    \"s\":\"second\", \"\\u0065sc\":7 }";

fn event() -> Event<'static> {
    Event::new(STORED.as_bytes()).unwrap()
}

#[track_caller]
fn said<T>(result: Result<T, Error>) -> String {
    format!("{}", result.err().expect("an error"))
}

#[test]
fn single_values_are_typed() {
    let event = event();
    assert_eq!(event.get("/s"), Ok("plain"), "the first of two");
    assert_eq!(event.get("/o/http.method"), Ok("GET"));
    assert_eq!(event.get("/n"), Ok(-12i8));
    assert_eq!(event.get("/f"), Ok(1500.0f64));
    assert_eq!(event.get("/n"), Ok(-12.0f32));
    assert_eq!(event.get("/big"), Ok(18_446_744_073_709_551_616u128));
    assert_eq!(event.get("/t"), Ok(true));
    assert_eq!(event.get("/o/a~1b/1/m~0n"), Ok(2u8));
    assert_eq!(event.get("/esc"), Ok(7u64));
    assert_eq!(event.get::<Option<bool>>("/z"), Ok(None));
    assert_eq!(event.get::<Option<bool>>("/nowhere/at/all"), Ok(None));
    assert_eq!(event.get::<Option<bool>>("/t"), Ok(Some(true)));
    assert_eq!(event.get::<Cow<str>>("/e"), Ok("a\n\u{e9}\u{1f600}\"".into()));
    assert!(matches!(event.get("/s"), Ok(Cow::Borrowed("plain"))));
    assert_eq!(event.get::<Event>("/o").unwrap().get("/http.method"), Ok("GET"));
    assert_eq!(event.get::<Value>("/o/a~1b").unwrap().as_bytes(), b"[1,{\"m~n\":2} , []]");
    assert_eq!(
        event.get::<Value>("/s").unwrap().get(""),
        Ok("plain"),
        "the empty pointer is the value itself"
    );
    let text: Text = event.get("/e").unwrap();
    assert_eq!(text, "a\n\u{e9}\u{1f600}\"");
    assert_eq!(format!("{text}"), "a\n\u{e9}\u{1f600}\"");
    assert_eq!((text.as_str(), event.get::<Text>("/s").unwrap().as_str()), (None, Some("plain")));
}

#[test]
fn what_does_not_fit_is_an_error_with_its_place() {
    let (event, place) = (event(), |text: &str| STORED.find(text).unwrap());
    for (result, want) in [
        (
            said(event.get::<&str>("/e")),
            format!(
                "a string with escapes cannot be borrowed: ask for Text or Cow at byte {}",
                place("\"a\\n")
            ),
        ),
        (said(event.get::<&str>("/n")), format!("expected a string at byte {}", place("-12"))),
        (said(event.get::<u8>("/n")), format!("a number out of range at byte {}", place("-12"))),
        (said(event.get::<u64>("/big")), format!("a number out of range at byte {}", place("1844"))),
        (said(event.get::<u64>("/f")), format!("expected a whole number at byte {}", place("1.5e3"))),
        (said(event.get::<f64>("/huge")), format!("a number out of range at byte {}", place("1e400"))),
        (said(event.get::<bool>("/z")), format!("expected true or false at byte {}", place("null"))),
        (said(event.get::<Event>("/o/a~1b")), format!("expected an object at byte {}", place("[1,"))),
        (
            said(event.get::<Elements>("/o").map(|_| ())),
            format!("expected an array at byte {}", place("{\"http")),
        ),
        (said(event.get::<&str>("/x")), "there is no such value".into()),
        (said(event.get::<&str>("x")), "a JSON pointer begins with `/`, as in /user/id".into()),
        (said(event.get::<Option<&str>>("/x/~2")), BadPointer::BadTilde.reason().into()),
    ] {
        assert_eq!(result, want);
    }
    for (bytes, want) in [
        ("", "an event must be a JSON object at byte 0"),
        ("[{}]", "an event must be a JSON object at byte 0"),
        ("{\"a\":01}", "a number must not begin with a needless zero at byte 5"),
        ("{} {}", "trailing data after the event at byte 3"),
    ] {
        assert_eq!(said(Event::new(bytes.as_bytes())), want);
    }
    assert_eq!(Event::new(b" {} \n").unwrap().as_bytes(), b"{}");
}

#[test]
fn insides_are_gone_through_in_order() {
    let object: Event = event().get("/o").unwrap();
    let names: Vec<String> = object.members().map(|(name, _)| format!("{name}")).collect();
    assert_eq!(names, ["http.method", "a/b"]);
    let kinds: Vec<Kind> = object.get::<Elements>("/a~1b").unwrap().map(|value| value.kind()).collect();
    assert_eq!(kinds, [Kind::Number, Kind::Object, Kind::Array]);
    assert_eq!(event().members().count(), 11);
    assert_eq!(Event::new(b"{ }").unwrap().members().count(), 0);
}

#[derive(Debug, PartialEq, Deserialize)]
enum Level {
    #[serde(rename = "info")]
    Info,
    Code(u8),
    Range {
        from: i16,
    },
    Pair(u8, u8),
}

#[derive(Debug, PartialEq, Deserialize)]
struct Attrs<'e> {
    method: &'e str,
    #[serde(default)]
    status: Option<u16>,
}

#[derive(Debug, Deserialize)]
struct Log<'e> {
    service: &'e str,
    took: f32,
    #[serde(borrow)]
    message: Text<'e>,
    attrs: Attrs<'e>,
    levels: [Level; 4],
    any: Value<'e>,
    nothing: (),
    letter: char,
}

#[test]
fn structs_borrow_the_event() {
    let stored = "{\"\\u0073ervice\":\"checkout\",\"unknown\":{\"\\n\":[\"\\t\"]},\"took\":3,\"message\":\"a\\tb\",\
        \"attrs\":{\"method\":\"GET\",\"status\":null},\"any\":{\"x\": \"\\n\"} ,\"nothing\":null,\"letter\":\"x\",\
        \"levels\":[\"info\",{\"Code\":7},{\"Range\":{\"from\":-3}},{\"Pair\":[1,2]}]}";
    let log: Log = Event::new(stored.as_bytes()).unwrap().read().unwrap();
    assert_eq!((log.service, log.took, log.letter, log.nothing), ("checkout", 3.0, 'x', ()));
    assert!(stored.as_bytes().as_ptr_range().contains(&log.service.as_ptr()), "borrowed, not copied");
    assert_eq!(log.message, "a\tb");
    assert_eq!(log.attrs, Attrs { method: "GET", status: None });
    assert_eq!(log.levels, [Level::Info, Level::Code(7), Level::Range { from: -3 }, Level::Pair(1, 2)]);
    assert_eq!(log.any.as_bytes(), b"{\"x\": \"\\n\"}");
    let by_name: BTreeMap<&str, Value> = Event::new(b"{\"a\":1,\"b\":[]}").unwrap().read().unwrap();
    assert_eq!(by_name["b"].kind(), Kind::Array);
}

#[test]
fn structs_of_another_shape_are_errors_with_their_place() {
    for (stored, want) in [
        (
            "{\"method\":\"G\\u0045T\"}",
            "a string with escapes cannot be borrowed: ask for Text or Cow at byte 10",
        ),
        ("{\"method\":3}", "invalid type: integer `3`, expected a borrowed string at byte 10"),
        ("{\"status\":70000,\"method\":\"GET\"}", "a number out of range at byte 10"),
        ("{\"status\":3}", "missing field `method` at byte 0"),
        ("{\"method\":\"A\",\"method\":\"B\"}", "duplicate field `method` at byte 0"),
        ("{\"status\":{},\"method\":\"GET\"}", "expected a whole number at byte 10"),
    ] {
        let event = Event::new(stored.as_bytes()).unwrap();
        assert_eq!(said(event.read::<Attrs>()), want, "{stored}");
    }
    let owned: BTreeMap<String, String> = Event::new(b"{\"a\\n\":\"b\\t\"}").unwrap().read().unwrap();
    assert_eq!(owned["a\n"], "b\t", "what owns its strings takes memory anyway");
    let long = format!("{{\"{}\":1}}", "\\u0061".repeat(257));
    let error = Event::new(long.as_bytes()).unwrap().read::<Attrs>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Escaped);
}

#[test]
fn every_scanner_hands_events_over() {
    let body = b"{\"a\":1}\n{\"a\":}\n\n{\"a\":3}";
    for kernel in Kernel::ALL {
        let mut seen = Vec::new();
        Event::each(&mut FastScanner::new(*kernel), body, Format::Lines, |event| {
            seen.push(event.and_then(|event| event.get::<u8>("/a")).map_err(|error| error.offset()));
        });
        assert_eq!(seen, [Ok(1), Err(13), Ok(3)]);
    }
}

proptest! {
    #[test]
    fn what_serde_json_reads_is_read(text in "[a-z\"\\\\\n\u{e9}\u{1f600}]{0,12}", number: i64, eighths: i32, on: bool) {
        #[derive(Debug, PartialEq, Deserialize, serde::Serialize)]
        struct All<T> { text: T, number: i64, float: f64, on: Option<bool>, list: Vec<i64> }
        // serde_json's own reading of other floats is not exact.
        let float = f64::from(eighths) / 8.0;
        let all = All { text: &*text, number, float, on: Some(on), list: std::vec![number, 0] };
        let stored = serde_json::to_string(&all).unwrap();
        let event = Event::new(stored.as_bytes()).unwrap();
        let read = event.read::<All<Text>>().unwrap();
        prop_assert!(read.text == *text);
        prop_assert_eq!((read.number, read.float, read.on, &read.list), (number, float, Some(on), &all.list));
        match serde_json::from_str::<All<&str>>(&stored) {
            Ok(theirs) => prop_assert_eq!(event.read::<All<&str>>().unwrap(), theirs),
            Err(_) => prop_assert_eq!(event.read::<All<&str>>().unwrap_err().kind(), ErrorKind::Escaped),
        }
        prop_assert_eq!(event.get::<Cow<str>>("/text").unwrap(), text);
    }

    #[test]
    fn no_bytes_make_it_panic_or_run_for_ever(
        bytes in prop::collection::vec(prop::sample::select(&b"{}[]\",:\\u0ax -1"[..]), 0..40),
    ) {
        let value = Value { bytes: &bytes };
        let _ = value.read::<Attrs>();
        let _ = value.read::<serde::de::IgnoredAny>();
        let _ = value.read::<BTreeMap<&str, Value>>();
        let _ = value.get::<Text>("/a/0").map(|text| format!("{text}"));
        let (members, elements) = (Members { rest: Rest::of(&bytes) }, Elements { rest: Rest::of(&bytes) });
        prop_assert!(members.count() <= 40 && elements.count() <= 40);
    }
}
