//! A table of schemas, events and verdicts; every scanner goes through it.
use super::*;
use crate::json::{FastScanner, Format, Found, Kernel, Scanner, SimdScanner, StrictScanner, Verdict};
use alloc::{format, vec};
use std::string::ToString;

fn field(pointer: &str, change: impl FnOnce(&mut Field)) -> Field {
    let mut field = Field::at(pointer);
    change(&mut field);
    field
}

fn types(names: &[&str]) -> Types {
    names.iter().fold(Types::NONE, |all, name| all.or(Types::named(name).unwrap()))
}

fn schema(additional: bool, fields: Vec<Field>) -> Schema {
    Schema { stream: None, additional, fields }
}

fn compile(schema: Schema) -> Checks {
    Checks::new(&[schema], None, None).unwrap()
}

/// What is said of `event`: `good`, or place and reason. All scanners must say the same.
#[track_caller]
fn verdict(checks: &Checks, event: &str) -> String {
    let check = checks.of(&StreamName::DEFAULT).unwrap();
    // Behind a line that shifts it, and before one that must not be touched.
    let body = format!("{{\"shift\":\"{}\"}}\n{event}\n{{}}\n", "s".repeat(event.len() % 70));
    let start = body.find('\n').unwrap() + 1;
    let mut said: Option<String> = None;
    let mut note = |body: &str, base: usize, verdict: Verdict, found: &Found| {
        let text = match verdict {
            Verdict::Bad { offset, reason, .. } => format!("{} {reason}", offset - base),
            Verdict::Good { span, .. } => match check.violation(body[span.clone()].as_bytes(), found) {
                Some((at, reason)) => format!("{} {reason}", span.start + at - base),
                None => "good".to_string(),
            },
        };
        assert_eq!(said.get_or_insert(text.clone()), &text, "scanners differ over {event}");
    };
    fn all(
        scanner: &mut impl Scanner,
        body: &str,
        check: &Check,
        each: &mut dyn FnMut(usize, Verdict, &Found),
    ) {
        let mut number = 0;
        scanner.scan_fields(body.as_bytes(), Format::Lines, check.fields(), |verdict, found| {
            each(number, verdict, found);
            number += 1;
        });
        assert_eq!(number, 3);
    }
    let mut second = |number, verdict, found: &Found| {
        if number == 1 {
            note(&body, start, verdict, found);
        }
    };
    all(&mut StrictScanner::new(), &body, check, &mut second);
    all(&mut SimdScanner::new(), &body, check, &mut second);
    for kernel in Kernel::ALL.iter().filter(|kernel| kernel.is_available()) {
        all(&mut FastScanner::new(*kernel), &body, check, &mut second);
    }
    for kernel in Kernel::ALL.iter().filter(|kernel| kernel.is_available()) {
        FastScanner::new(*kernel).scan_fields(
            event.as_bytes(),
            Format::Json,
            check.fields(),
            |verdict, found| {
                note(event, 0, verdict, found);
            },
        );
    }
    said.unwrap()
}

#[track_caller]
fn check(schema: Schema, table: &[(&str, &str)]) {
    let checks = compile(schema);
    for (event, want) in table {
        assert_eq!(verdict(&checks, event), *want, "{event}");
    }
}

#[test]
fn types_are_told_apart() {
    for (name, good, bad) in [
        ("string", &["\"\"", "\"1\"", "\"\\n\""][..], &["1", "true", "null", "{}", "[]"][..]),
        ("number", &["1", "-1.5e3", "0"], &["\"1\"", "false", "null", "{}", "[]"]),
        ("integer", &["1", "-0", "123456789012345678901234567890"], &["1.0", "1e2", "1E2", "\"1\"", "true"]),
        ("boolean", &["true", "false"], &["0", "null", "\"true\""]),
        ("null", &["null"], &["0", "false", "\"null\"", "{}"]),
        ("object", &["{}", "{\"a\":[]}"], &["[]", "0", "\"{}\""]),
        ("array", &["[]", "[{}]"], &["{}", "0", "\"[]\""]),
    ] {
        let article = if "ioa".contains(&name[..1]) { "an" } else { "a" };
        let said = if name == "null" { name.to_string() } else { format!("{article} {name}") };
        let checks = compile(schema(true, vec![field("/v", |field| field.types = types(&[name]))]));
        for value in good {
            assert_eq!(verdict(&checks, &format!("{{\"v\": {value} }}")), "good", "{value} is {name}");
        }
        for value in bad {
            let want = format!("6 /v: expected {said}");
            assert_eq!(verdict(&checks, &format!("{{\"v\": {value}}}")), want, "{value} is {name}");
        }
        assert_eq!(verdict(&checks, "{}"), "good", "nothing is required");
    }
    check(
        schema(true, vec![field("/v", |field| field.types = types(&["integer", "string", "null"]))]),
        &[
            ("{\"v\":null}", "good"),
            ("{\"v\":7}", "good"),
            ("{\"v\":7.5}", "5 /v: expected a string, an integer or null"),
        ],
    );
    let both = schema(true, vec![field("/v", |field| field.types = types(&["integer", "number"]))]);
    check(both, &[("{\"v\":7.5}", "good"), ("{\"v\":7}", "good")]);
}

#[test]
fn what_is_required_must_be_there() {
    let required = |pointer| field(pointer, |field| field.required = true);
    check(
        schema(true, vec![required("/id"), required("/a/b/c"), required("/list/1")]),
        &[
            ("{\"id\":null,\"a\":{\"b\":{\"c\":[]}},\"list\":[0,0]}", "good"),
            ("{\"a\":{\"b\":{\"c\":[]}},\"list\":[0,0]}", "0 /id: required, but missing"),
            ("{\"id\":1,\"a\":{\"b\":{}},\"list\":[0,0]}", "17 /a/b/c: required, but missing"),
            ("{\"id\":1,\"a\":{\"b\":5},\"list\":[0,0]}", "17 /a/b/c: required, but missing"),
            ("{\"id\":1,\"a\":[],\"list\":[0,0]}", "12 /a/b/c: required, but missing"),
            ("{\"id\":1,\"list\":[0,0]}", "0 /a/b/c: required, but missing"),
            ("{\"id\":1,\"a\":{\"b\":{\"c\":[]}},\"list\":[0]}", "34 /list/1: required, but missing"),
            ("{\"\\u0069d\":1,\"\\u0061\":{\"b\":{\"c\":[]}},\"list\":[0,0]}", "good"),
        ],
    );
}

#[test]
fn strings_have_lengths_prefixes_and_values() {
    check(
        schema(true, vec![field("/s", |field| field.max_length = Some(4))]),
        &[
            ("{\"s\":\"1234\"}", "good"),
            ("{\"s\":\"12345\"}", "5 /s: longer than 4 bytes"),
            ("{\"s\":\"\\u0031\\n\\\"\\/\"}", "good"),
            ("{\"s\":\"\\u0031\\n\\\"\\/5\"}", "5 /s: longer than 4 bytes"),
            ("{\"s\":\"\u{e9}\u{e9}\"}", "good"),
            ("{\"s\":\"\u{e9}\u{e9}e\"}", "5 /s: longer than 4 bytes"),
            ("{\"s\":\"\\u00e9\\u00e9\"}", "good"),
            ("{\"s\":\"\\ud83d\\ude00\"}", "good"),
            ("{\"s\":\"\\ud83d\\ude00!\"}", "5 /s: longer than 4 bytes"),
            ("{\"s\":123456}", "good"),
        ],
    );
    check(
        schema(true, vec![field("/s", |field| field.prefix = Some("ord-\u{e9}".into()))]),
        &[
            ("{\"s\":\"ord-\u{e9}\"}", "good"),
            ("{\"s\":\"ord-\u{e9}7\"}", "good"),
            ("{\"s\":\"\\u006frd-\\u00e97\"}", "good"),
            ("{\"s\":\"ord-\"}", "5 /s: expected to begin with `ord-?`"),
            ("{\"s\":\"\\u006frd\"}", "5 /s: expected to begin with `ord-?`"),
            ("{\"s\":\"\"}", "5 /s: expected to begin with `ord-?`"),
            ("{\"s\":\"xord-\u{e9}\"}", "5 /s: expected to begin with `ord-?`"),
        ],
    );
    let choices = vec![
        Choice::Text("a".into()),
        Choice::Text("q\"".into()),
        Choice::Literal("3".into()),
        Choice::Literal("true".into()),
    ];
    check(
        schema(true, vec![field("/s", |field| field.choices = choices.clone())]),
        &[
            ("{\"s\":\"a\"}", "good"),
            ("{\"s\":\"\\u0061\"}", "good"),
            ("{\"s\":\"q\\\"\"}", "good"),
            ("{\"s\":3}", "good"),
            ("{\"s\":true}", "good"),
            ("{\"s\":3.0}", "5 /s: expected `a`, `q?`, 3 or true"),
            ("{\"s\":\"3\"}", "5 /s: expected `a`, `q?`, 3 or true"),
            ("{\"s\":\"b\"}", "5 /s: expected `a`, `q?`, 3 or true"),
            ("{\"s\":null}", "5 /s: expected `a`, `q?`, 3 or true"),
            ("{\"s\":[]}", "5 /s: expected `a`, `q?`, 3 or true"),
        ],
    );
    let nullable = field("/s", |field| (field.choices, field.types) = (choices, types(&["string", "null"])));
    check(schema(true, vec![nullable]), &[("{\"s\":null}", "good"), ("{\"s\":\"a\"}", "good")]);
}

#[test]
fn sealed_objects_hold_what_is_named() {
    let sealed = field("/attrs", |field| field.additional = false);
    let fields = vec![Field::at("/id"), sealed, Field::at("/attrs/http/method"), Field::at("/attrs/a~1b")];
    check(
        schema(false, fields),
        &[
            ("{}", "good"),
            ("{\"id\":{\"any\":1},\"attrs\":{\"http\":{\"other\":1},\"a/b\":2}}", "good"),
            ("{\"id\":1,\"ID\":2}", "8 a name that the schema does not have"),
            ("{\"\\u0069d\":1,\"\\u0049D\":2}", "13 a name that the schema does not have"),
            ("{\"attrs\":{\"x\":1}}", "10 /attrs: a name that the schema does not have"),
            ("{\"attrs\":{\"a~1b\":1}}", "10 /attrs: a name that the schema does not have"),
            ("{\"attrs\":[{\"x\":1}]}", "good"),
            ("{\"attrs\":1}", "good"),
            ("{\"id\":1,\"id\":2}", "8 /id: given twice"),
            ("{\"attrs\":{\"http\":{},\"http\":1},\"attrs\":{}}", "20 /attrs/http: given twice"),
            ("{\"attrs\":{},\"x\":1,\"attrs\":{}}", "12 a name that the schema does not have"),
        ],
    );
}

#[test]
fn the_first_violation_in_byte_order_is_told() {
    let fields = vec![
        field("/z", |field| field.types = types(&["string"])),
        field("/a", |field| field.types = types(&["string"])),
        field("/o/m", |field| field.required = true),
    ];
    check(
        schema(true, fields),
        &[
            ("{\"a\":1,\"z\":1,\"o\":{\"m\":1}}", "5 /a: expected a string"),
            ("{\"z\":1,\"a\":1,\"o\":{\"m\":1}}", "5 /z: expected a string"),
            ("{\"z\":1,\"a\":1}", "0 /o/m: required, but missing"),
            ("{\"z\":1,\"o\":{}}", "5 /z: expected a string"),
            ("{\"z\":01}", "5 a number must not begin with a needless zero"),
        ],
    );
}

#[test]
fn a_stream_has_its_own_schema_or_that_of_all_others() {
    let name = |name: &str| StreamName::new(name.as_bytes()).unwrap();
    let required = |pointer: &str| vec![field(pointer, |field| field.required = true)];
    let schemas = [
        Schema { stream: Some(name("orders")), additional: true, fields: required("/id") },
        Schema { stream: None, additional: true, fields: required("/ts") },
    ];
    let key = super::super::pointer::Pointer::parse("/k").unwrap();
    let checks = Checks::new(&schemas, Some(&key), None).unwrap();
    for (stream, event, want) in [
        ("orders", "{\"ts\":1}", Some("/id: required, but missing")),
        ("orders", "{\"id\":1,\"k\":\"x\"}", None),
        ("others", "{\"id\":1}", Some("/ts: required, but missing")),
        ("others", "{\"k\":\"x\",\"ts\":1}", None),
    ] {
        let (check, mut found) = (checks.of(&name(stream)).unwrap(), Found::new());
        check.fields().find(event.as_bytes(), &mut found);
        let said = check.violation(event.as_bytes(), &found);
        assert_eq!(said.map(|(_, reason)| reason.as_str()), want, "{stream} {event}");
        let picked = check.picked(event.as_bytes(), &found);
        assert_eq!(picked.key, event.contains('k').then_some(&b"\"x\""[..]), "{event}");
        assert_eq!(picked.time, None);
    }
    let alone = Checks::new(&schemas[..1], None, None).unwrap();
    assert!(alone.of(&name("others")).is_none(), "nothing is looked up where nothing is asked for");
    assert!(Checks::new(&[], None, None).unwrap().of(&StreamName::DEFAULT).is_none());
    // What only the sink wants is no name of the schema.
    let closed = Schema { stream: None, additional: false, fields: vec![Field::at("/id")] };
    let checks = Checks::new(&[closed], Some(&key), None).unwrap();
    assert_eq!(verdict(&checks, "{\"id\":1,\"k\":2}"), "8 a name that the schema does not have");
    assert_eq!(verdict(&checks, "{\"id\":1}"), "good");
}

#[test]
fn what_cannot_be_is_told_by_schema_and_field() {
    let bad = |schemas: &[Schema]| Checks::new(schemas, None, None).unwrap_err();
    let of = |fields| schema(true, fields);
    let good = of(vec![Field::at("/a")]);
    let named = Schema { stream: Some(StreamName::DEFAULT), ..good.clone() };
    let at = |schema, field, why| BadSchema { schema, field, why };
    let wrong = [
        (vec![good.clone(), good.clone()], at(1, None, Why::SameStream)),
        (vec![named.clone(), good.clone(), named], at(2, None, Why::SameStream)),
        (vec![of(vec![Field::at("/a"), Field::at("/a")])], at(0, Some(1), Why::Twice)),
        (vec![of(vec![Field::at("a")])], at(0, Some(0), Why::Pointer(BadPointer::NoSlash))),
        (vec![of((0..65).map(|n| Field::at(&format!("/{n}"))).collect())], at(0, Some(64), Why::TooMany)),
        (
            vec![of(vec![field("/a", |field| field.choices = vec![Choice::Text("x".into()); 65])])],
            at(0, Some(0), Why::TooManyChoices),
        ),
    ];
    for (schemas, want) in wrong {
        assert_eq!(bad(&schemas), want);
    }
    let many =
        (0..65).map(|n| Schema { stream: StreamName::new(format!("s{n}").as_bytes()), ..good.clone() });
    assert_eq!(bad(&many.collect::<Vec<_>>()), at(64, None, Why::TooManySchemas));
}

#[test]
fn reasons_stay_within_a_reply_and_plain() {
    let long = "/a\"b\\c\u{e9}".repeat(40);
    let field = field(&long, |field| {
        (field.required, field.types) = (true, types(&["string", "number", "boolean", "object", "array"]));
    });
    let checks = compile(schema(true, vec![field]));
    let said = verdict(&checks, "{}");
    assert_eq!(said, format!("0 {}..: required, but missing", &"/a?b?c?".repeat(9)[..55]));
    let choices = (0..20).map(|n| Choice::Text(format!("choice number {n}"))).collect();
    let field = super::Field { choices, ..Field::at("/c") };
    let said = verdict(&compile(schema(true, vec![field])), "{\"c\":1}");
    assert_eq!(said, "5 /c: expected `choice number 0`, `choice number 1` or 18 more");
}
