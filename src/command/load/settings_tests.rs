//! Tables of what is typed: what it becomes, and what is refused with which words.
use super::*;
use crate::cli::{self, Command};
use std::ffi::OsString;

/// What clap and [`Settings::new`] say to a command line; blanks part words, except in quotes.
fn settings(line: &str) -> Result<Settings, String> {
    let mut words: Vec<String> = vec!["ringmill".into(), "load".into()];
    for (at, part) in line.split('\'').enumerate() {
        match at % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_string)),
            _ => words.push(part.to_string()),
        }
    }
    match cli::parse(words.into_iter().map(OsString::from)) {
        Ok(Command::Load(args)) => Settings::new(&args),
        Ok(_) => Err("another command".into()),
        Err(error) => {
            assert_eq!(error.exit_code(), 2, "{line}: {error}");
            Err(error.to_string())
        }
    }
}

#[test]
fn numbers_as_people_write_them() {
    for (text, expected) in [
        ("500", Some(500.0)),
        ("50k", Some(50_000.0)),
        ("1.5M", Some(1.5e6)),
        (" 50K/s ", Some(50_000.0)),
        ("0.5", Some(0.5)),
        ("1_000", Some(1000.0)),
        ("0", None),
        ("-5", None),
        ("k", None),
        ("1.2.3", None),
        ("5G", None),
        ("10000M", None),
        ("inf", None),
        ("NaN", None),
        ("", None),
    ] {
        assert_eq!(rate(text).ok(), expected, "{text}");
    }
    for (text, expected) in [
        ("64", Some(64)),
        ("2k", Some(2000)),
        ("1.5k", Some(1500)),
        ("1.5", None),
        ("2MiB", None),
        ("", None),
    ] {
        assert_eq!(count(text).ok(), expected, "{text}");
    }
    for (text, expected) in [
        ("10", Some(10_000_000_000)),
        ("250us", Some(250_000)),
        ("1.5s", Some(1_500_000_000)),
        ("10 ms", Some(10_000_000)),
        ("2m", Some(120_000_000_000)),
        ("1h", Some(3_600_000_000_000)),
        ("0", Some(0)),
        ("10 sec", None),
        ("s", None),
        ("-1s", None),
        ("32d", None),
        (".", None),
    ] {
        assert_eq!(time(text).ok(), expected, "{text}");
    }
    for (text, expected) in [
        ("20%", Some(0.2)),
        ("0.2", Some(0.2)),
        ("0", Some(0.0)),
        ("100%", Some(1.0)),
        ("20", None),
        ("101%", None),
        ("-1%", None),
        ("%", None),
        ("a fifth", None),
    ] {
        assert_eq!(share(text).ok(), expected, "{text}");
    }
}

#[test]
fn plans() {
    let open = |shape| Some(Load::Open(shape));
    for (line, expected, duration_s) in [
        ("http://h", Some(Load::Closed), Some(10.0)),
        ("http://h --closed --duration 3s", Some(Load::Closed), Some(3.0)),
        ("http://h --rate 50k", open(Shape::Constant { per_s: 50_000.0 }), Some(10.0)),
        ("http://h --rate 2 --constant", open(Shape::Constant { per_s: 2.0 }), Some(10.0)),
        ("http://h --rate 2 --poisson", open(Shape::Poisson { per_s: 2.0 }), Some(10.0)),
        ("http://h --ramp 0..2k", open(Shape::Ramp { from_per_s: 0.0, to_per_s: 2000.0 }), Some(10.0)),
        (
            "http://h --steps 1k:2s,0:1s,3k:500ms",
            open(Shape::Steps(vec![(1000.0, 2_000_000_000), (0.0, 1_000_000_000), (3000.0, 500_000_000)])),
            Some(3.5),
        ),
        (
            "http://h --steps 1k:2s --duration 1s",
            open(Shape::Steps(vec![(1000.0, 2_000_000_000)])),
            Some(1.0),
        ),
        ("http://h --trace t.txt", Some(Load::Trace("t.txt".into())), None),
        ("http://h --find-rate p99<1ms", open(Shape::Constant { per_s: FIRST_RATE }), Some(5.0)),
        ("http://h --against http://i", Some(Load::Closed), Some(40.0)),
        (
            "http://h --find-rate p99<1ms --rate 9k --duration 2s",
            open(Shape::Constant { per_s: 9000.0 }),
            Some(2.0),
        ),
    ] {
        let settings = settings(line).unwrap_or_else(|why| panic!("{line}: {why}"));
        assert_eq!(Some(settings.load.clone()), expected, "{line}");
        assert_eq!(settings.duration_ns.map(|ns| ns as f64 / 1e9), duration_s, "{line}");
        assert_eq!(
            settings.closed_by_default,
            ["http://h", "http://h --against http://i"].contains(&line),
            "{line}"
        );
    }
}

#[test]
fn defaults_are_those_of_the_surface() {
    let plain = settings("http://h").unwrap();
    assert_eq!((plain.warmup_ns, plain.connections, plain.pipeline), (2_000_000_000, 64, 1));
    assert_eq!((plain.events_per_request, plain.malformed, plain.seed), (1, 0.0, 1));
    assert_eq!((plain.payload, plain.method.as_str()), (Payload::Mix, "POST"));
    assert_eq!((plain.cores, plain.question), (None, Question::Plain));
    let verify = |line: &str| settings(line).unwrap().seed;
    assert_ne!(verify("http://h --verify d"), verify("http://h --verify d"));
    assert_eq!(verify("http://h --verify d --seed 7"), 7);
    assert!(plain.faults.is_empty() && plain.expect.is_empty() && plain.verify.is_none());
}

#[test]
fn payloads_follow_the_method() {
    for (line, expected) in [
        ("http://h --payload log", Payload::Log),
        ("http://h --payload events.ndjson", Payload::Lines("events.ndjson".into())),
        ("http://h --method put --body b.bin", Payload::Body("b.bin".into())),
        ("http://h --method get", Payload::Nothing),
        ("http://h -X GET --payload span", Payload::Span),
    ] {
        assert_eq!(settings(line).unwrap().payload, expected, "{line}");
    }
    let given = settings("http://h -H 'A: b: c' --header 'X-Y:z'").unwrap();
    assert_eq!(given.headers, [("A".into(), "b: c".into()), ("X-Y".into(), "z".into())]);
}

#[test]
fn mistakes_are_refused_with_a_mend() {
    for (line, needle) in [
        ("", "URL"),
        ("http://h --rat 5", "--rate"),
        ("http://h --malformd 5%", "--malformed"),
        ("http://h --rate fast", "like 50k"),
        ("http://h --rate 0", "more than 0"),
        ("http://h --rate 1k --closed", "cannot be used with"),
        ("http://h --rate 1k --ramp 1..2", "cannot be used with"),
        ("http://h --poisson", "give a --rate"),
        ("http://h --ramp 1..2 --poisson", "go with --rate only"),
        ("http://h --ramp 10k", "10k..100k"),
        ("http://h --ramp 0..0", "sends nothing"),
        ("http://h --steps 10k", "RATE:TIME"),
        ("http://h --steps 10k:0s", "takes no time"),
        ("http://h --steps 0:1s", "sends nothing"),
        ("http://h --duration 10us", "less than 1ms"),
        ("http://h --duration soon", "like 10s"),
        ("http://h --connections 0", "1 to 60000"),
        ("http://h --pipeline 2k", "1 to 1024"),
        ("http://h --cores auto", "name the cores"),
        ("http://h --cores 3-1", "runs backwards"),
        ("http://h --timeout 0", "--timeout"),
        ("http://h --malformed 20", "20%"),
        ("http://h --malformed 20% --method GET", "GET has none"),
        ("http://h --verify d --method GET", "GET has none"),
        ("http://h --verify d --body f", "cannot be used with"),
        ("http://h --header nonsense", "Name: value"),
        ("http://h --header ' : x'", "a name is letters"),
        ("http://h --find-rate fast", "--find-rate"),
        ("http://h --find-rate p99<1ms --against http://i", "cannot be used with"),
        ("http://h --expect 'p99 quick'", "--expect"),
        ("http://h --fault 'now: kill 5'", "--fault"),
        ("http://h http://i", "unexpected argument"),
    ] {
        let told = settings(line).err().unwrap_or_else(|| panic!("{line} is taken"));
        assert!(told.contains(needle), "{line}: {told}");
    }
}

#[test]
fn traces_are_read_line_by_line() {
    assert_eq!(
        trace("# recorded\n0\n0.5  # half\n\n750ms\n2\n").unwrap(),
        [0, 500_000_000, 750_000_000, 2_000_000_000]
    );
    assert!(trace("0\nlater\n").unwrap_err().contains("line 2: `later`"));
    assert!(trace("# nothing\n").unwrap_err().contains("no time"));
}
