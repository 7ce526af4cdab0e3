//! Wanted values: every kernel and the walk by bytes against serde_json, wherever windows end.
mod common;
use common::*;
use ringmill_scan::{Fields, Format, Found, Scanner, Slot, Verdict, fields::STEPS_MAX};
use serde_json::value::RawValue;
use std::{fmt, ops::Range};

/// Members in their order, repeated ones too.
struct Members<'e>(Vec<(String, &'e RawValue)>);

impl<'de: 'e, 'e> serde::Deserialize<'de> for Members<'e> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> serde::de::Visitor<'de> for All {
            type Value = Vec<(String, &'de RawValue)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        from.deserialize_map(All).map(Members)
    }
}

/// The value at `path`: of names that are repeated the first.
fn reference<'e>(event: &'e str, path: &[&str]) -> Option<&'e str> {
    let mut value = event;
    for step in path {
        value = if value.starts_with('{') {
            let members: Members<'e> = serde_json::from_str(value).unwrap();
            members.0.into_iter().find(|(name, _)| name == step)?.1.get()
        } else if value.starts_with('[') {
            let plain = *step == "0" || !step.is_empty() && !step.starts_with('0');
            let index = step.parse::<usize>().ok().filter(|_| plain && !step.starts_with('+'))?;
            let elements: Vec<&RawValue> = serde_json::from_str(value).unwrap();
            elements.get(index)?.get()
        } else {
            return None;
        };
    }
    Some(value)
}

const PATHS: &[&[&str]] = &[
    &["k"],
    &["key"],
    &[""],
    &["k", "k"],
    &["k", "0"],
    &["key", "2", "k"],
    &["key", ""],
    &["k", "1", "1"],
    &["k", "key", "k"],
    &["k", "01"],
    &["0"],
    &["absent"],
    &["n\"\u{e9}\\"],
];

fn compile(paths: &[&[&str]]) -> (Fields, Vec<Slot>) {
    let mut fields = Fields::new();
    let slots = paths.iter().map(|path| fields.want(path.iter().map(|name| name.as_bytes())).unwrap());
    let slots = slots.collect();
    (fields, slots)
}

type Sets = Vec<(Vec<&'static [&'static str]>, Fields, Vec<Slot>)>;

/// All paths, and some of them alone: with few the walk ends early.
fn sets() -> Sets {
    let picked: [&[usize]; 6] = [&[0], &[1, 3], &[4], &[2, 5, 8], &[11], &[0, 1, 2]];
    let some = picked.iter().map(|picked| picked.iter().map(|at| PATHS[*at]).collect());
    let all: Vec<Vec<_>> = std::iter::once(PATHS.to_vec()).chain(some).collect();
    let compiled = all.into_iter().map(|paths| {
        let (fields, slots) = compile(&paths);
        (paths, fields, slots)
    });
    compiled.collect()
}

/// What was found in each good event.
type Finds = Vec<(Range<usize>, Vec<Option<Range<usize>>>)>;

fn note(finds: &mut Finds, verdict: &Verdict, found: &Found, slots: &[Slot]) {
    if let Verdict::Good { span, .. } = verdict {
        finds.push((span.clone(), slots.iter().map(|slot| found.get(*slot)).collect()));
    }
}

fn check(scanners: &mut [Box<Scanner>], sets: &Sets, body: &[u8], format: Format) -> usize {
    let verdicts = agreed(scanners, body, format);
    let mut total = 0;
    for (paths, fields, slots) in sets {
        let (mut want, mut found) = (Vec::new(), Found::new());
        for verdict in &verdicts {
            if let Verdict::Good { span, .. } = verdict {
                fields.find(&body[span.clone()], &mut found);
            }
            note(&mut want, verdict, &found, slots);
        }
        for (span, finds) in &want {
            let event = std::str::from_utf8(&body[span.clone()]).unwrap();
            for (path, find) in paths.iter().zip(finds) {
                let value = find.clone().map(|range| &event[range]);
                assert_eq!(value, reference(event, path), "{path:?} in {event}");
                total += usize::from(value.is_some());
            }
        }
        for scanner in &mut *scanners {
            let (mut got, mut same) = (Vec::new(), Vec::new());
            scanner.scan_fields(body, format, fields, |verdict, found| {
                note(&mut got, &verdict, found, slots);
                same.push(verdict);
            });
            assert_eq!(same, verdicts, "{:?}: fields change verdicts", scanner.kernel());
            for (got, want) in got.iter().zip(&want) {
                let text = body[want.0.clone()].escape_ascii();
                assert_eq!(got, want, "{:?}, {} bytes, {paths:?} in {text}", scanner.kernel(), body.len());
            }
            assert_eq!(got.len(), want.len());
        }
    }
    total
}

#[test]
fn what_serde_json_finds_is_found_in_lines() {
    let (mut random, mut scanners, sets) = (Random(seed()), scanners(), sets());
    let (mut line, mut body, mut found) = (Vec::new(), Vec::new(), 0);
    for round in 0..1500 {
        body.clear();
        let lines = if round % 30 == 0 { 400 } else { 1 + random.below(12) };
        for _ in 0..lines {
            line_of(&mut random, &mut line);
            body.extend_from_slice(&line);
            body.extend_from_slice(random.pick::<[u8]>(&[b"\n", b"\r\n", b"\n \n"]));
        }
        found += check(&mut scanners, &sets, &body, Format::Lines);
    }
    assert!(found > 20_000, "{found}: hardly anything to find");
}

#[test]
fn what_serde_json_finds_is_found_in_arrays_and_alone() {
    let (mut random, mut scanners, sets) = (Random(seed()), scanners(), sets());
    let (mut line, mut body, mut found) = (Vec::new(), Vec::new(), 0);
    for round in 0..600 {
        body.clear();
        body.push(b'[');
        for i in 0..if round % 30 == 0 { 300 } else { 1 + random.below(6) } {
            if i > 0 {
                body.extend_from_slice(random.pick::<[u8]>(&[b",", b" , ", b",\n"]));
            }
            line_of(&mut random, &mut line);
            if !is_event(&line) {
                line = random.pick::<[u8]>(&[b"{\"k\" : 5 }", b"[[],{}]", b"{\"k\":\n[true]}"]).to_vec();
            }
            body.extend_from_slice(&line);
        }
        body.extend_from_slice(b" ]");
        for format in [Format::Json, Format::Sniff] {
            found += check(&mut scanners, &sets, &body, format);
        }
        line_of(&mut random, &mut line);
        for format in [Format::Json, Format::Sniff, Format::Lines] {
            found += check(&mut scanners, &sets, &line, format);
        }
    }
    assert!(found > 10_000, "{found}: hardly anything to find");
}

#[test]
fn wherever_a_window_ends_the_same_is_found() {
    let (mut scanners, sets) = (scanners(), sets());
    let event = "{\"p\":{\"k\":[1,\"x\"]},\"\\u006bey\":[0, 1 ,{\"k\" : -1.5e3 }],\"n\\\"é\\\\\":\"y\\n\", \"k\" : \
        {\"key\":{\"k\":[[],{}]},\"\":\"a,}\"} , \"\":null,\"k\":7}";
    for place in (0..260).chain(8192 - 260..8192 + 20).chain([16_384 - 100, 16_384 - 30]) {
        let pad = format!("{{\"pad\":\"{}\"}}\n", "x".repeat(place));
        let body = format!("{pad}{event}\n{event}\n");
        assert!(check(&mut scanners, &sets, body.as_bytes(), Format::Lines) > 20);
        let array = format!("[{},{event},{event}]", pad.trim_end());
        assert!(check(&mut scanners, &sets, array.as_bytes(), Format::Json) > 20);
    }
}

#[test]
fn long_events_and_long_names_have_their_values() {
    let name = "n".repeat(200);
    let (mut fields, mut scanners) = (Fields::new(), scanners());
    let slot = fields.want([name.as_bytes(), b"3"]).unwrap();
    for len in [0, 10, 64, 130, 9000, 60_000] {
        let body = format!(
            "{{\"a\":\"{0}\",\"{name}\":[[{1}],0,\"{0}\",{{ \"q\":\"{0}\\\\\"}} ]}}",
            "z".repeat(len),
            "1,".repeat(len / 3) + "1"
        );
        let want = format!("{{ \"q\":\"{}\\\\\"}}", "z".repeat(len));
        for scanner in &mut scanners {
            let mut events = 0;
            scanner.scan_fields(body.as_bytes(), Format::Sniff, &fields, |verdict, found| {
                let Verdict::Good { span, .. } = verdict else { panic!("{verdict:?}") };
                assert_eq!(found.in_event(slot, &body.as_bytes()[span]), Some(want.as_bytes()));
                events += 1;
            });
            assert_eq!(events, 1);
        }
    }
}

#[test]
fn a_set_is_bounded_and_shares_its_steps() {
    let mut fields = Fields::new();
    assert!(fields.is_empty());
    assert!(fields.want([]).is_err(), "an event is no field of itself");
    let names: Vec<String> = (0..STEPS_MAX).map(|n| format!("name {n}")).collect();
    let slots: Vec<Slot> = names.iter().map(|name| fields.want([name.as_bytes()]).unwrap()).collect();
    assert!(fields.want([&b"more"[..]]).is_err());
    assert_eq!(fields.want([names[7].as_bytes()]), Ok(slots[7]), "known already");
    let event: String = names.iter().rev().map(|name| format!(",\"{name}\":\"{name}\"")).collect();
    let (event, mut found) = (format!("{{{}}}", &event[1..]), Found::new());
    fields.find(event.as_bytes(), &mut found);
    for (slot, name) in slots.iter().zip(&names) {
        assert_eq!(found.in_event(*slot, event.as_bytes()), Some(format!("\"{name}\"").as_bytes()));
    }
    assert!(Fields::new().want([&[b'x'; 2049][..]]).is_err());
    let (nested, _) = compile(&[&["a", "b"], &["a", "c"]]);
    assert!(format!("{nested:?}").contains("steps: 3"), "{nested:?}");
}

#[test]
fn a_name_ends_where_its_string_does() {
    let (fields, slots) = compile(&[&["a\":"], &["b\\"], &["seven78"], &["eight678"]]);
    for (event, finds) in [
        ("{\"a\":\"x\"}", [None; 4]),
        ("{\"a\\\":\":1,\"b\\\\\":2}", [Some("1"), Some("2"), None, None]),
        ("{\"b\\\"\":1,\"b\":\"\"}", [None; 4]),
        ("{\"seven7\":1,\"seven789\":2,\"eight67\":3,\"eight6789\":4}", [None; 4]),
        ("{\"seven78\":1,\"eight678\":2}", [None, None, Some("1"), Some("2")]),
        ("{\"eight678\":[{}],\"seven78\" : {\"a\":[]} }", [None, None, Some("{\"a\":[]}"), Some("[{}]")]),
    ] {
        for scanner in &mut scanners() {
            for body in [event.to_string(), format!("{event}\n{}", " ".repeat(100))] {
                scanner.scan_fields(body.as_bytes(), Format::Lines, &fields, |_, found| {
                    let got: Vec<_> =
                        slots.iter().map(|slot| found.in_event(*slot, event.as_bytes())).collect();
                    assert_eq!(got, finds.map(|find| find.map(str::as_bytes)), "{event}");
                });
            }
        }
    }
}

#[test]
fn strangers_and_repetitions_are_noted_alike() {
    let mut scanners = scanners();
    let mut fields = Fields::new();
    let (inner, outer) = (fields.want([&b"o"[..], b"i"]).unwrap(), fields.want([&b"o"[..]]).unwrap());
    fields.want([&b"key"[..]]).unwrap();
    fields.declare(inner);
    fields.seal(None);
    fields.seal(Some(outer));
    for (event, stranger, repeated) in [
        ("{\"o\":{\"i\":1}}", None, None),
        ("{\"o\":{\"i\":1,\"x\":{}},\"y\":1}", Some("\"x\""), None),
        ("{ \"y\" :{\"o\":1},\"o\":{\"x\":1}}", Some("\"y\""), None),
        ("{\"key\":1}", Some("\"key\""), None),
        ("{\"\\u006f\":{\"\\u0069\":1}}", None, None),
        ("{\"o\":{},\"\\u006f\":{\"x\":1}}", None, Some("\"\\u006f\"")),
        ("{\"o\":{\"i\":\"\\n\"},\"o\":{}}", None, Some("\"o\":{}}")),
        ("{\"o\":{\"i\":1,\"i\":2},\"o\":2}", None, Some("\"i\":2")),
        ("{\"o\":[{\"z\":1}],\"\":0}", Some("\"\""), None),
    ] {
        let mut found = Found::new();
        let place = |text: Option<&str>| text.map(|text| event.find(text).unwrap());
        fields.find(event.as_bytes(), &mut found);
        let repeats = found.repeated().map(|(at, _)| at);
        assert_eq!((found.stranger(), repeats), (place(stranger), place(repeated)), "{event}");
        for scanner in &mut scanners {
            scanner.scan_fields(event.as_bytes(), Format::Json, &fields, |_, by_window| {
                assert_eq!(by_window.stranger(), found.stranger(), "{event}");
                assert_eq!(by_window.repeated(), found.repeated(), "{event}");
            });
        }
    }
}

#[test]
fn no_bytes_make_the_walk_panic_or_run_for_ever() {
    let (mut random, sets, mut found) = (Random(seed()), sets(), Found::new());
    let mut line = Vec::new();
    for _ in 0..20_000 {
        line_of(&mut random, &mut line);
        for _ in 0..random.below(4) {
            mutate(&mut random, &mut line);
        }
        for (_, fields, slots) in &sets {
            fields.find(&line, &mut found);
            assert!(slots.iter().filter_map(|slot| found.get(*slot)).all(|range| range.end <= line.len()));
        }
    }
}
