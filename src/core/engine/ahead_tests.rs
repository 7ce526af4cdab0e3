use super::*;
use crate::json::pointer::Pointer;
use crate::json::schema::{Checks, Field, Schema, Types};
use crate::json::{FastScanner, Kernel, StrictScanner};
use alloc::{format, string::String, vec};
use fastrand::Rng;

fn told<'b>(scan: impl FnOnce(&mut dyn FnMut(Told<'b>))) -> Vec<Told<'b>> {
    let mut all = vec![];
    scan(&mut |told| all.push(told));
    all
}

/// Runs depend on where pieces ended; events do not.
fn events<'b>(body: &[u8], all: &[Told<'b>]) -> Vec<Told<'b>> {
    let mut single = vec![];
    for told in all {
        match told {
            Told::Good { span, good } if good.events > 1 => {
                let before = single.len();
                each_line(body, span.clone(), |span| {
                    single.push(Told::Good { span, good: Good { events: 1, ..*good } });
                });
                assert_eq!(single.len() - before, good.events as usize);
            }
            one => single.push(one.clone()),
        }
    }
    single
}

fn line(random: &mut Rng) -> String {
    match random.u32(..12) {
        0 => "{\"cut\":".into(),
        1 => "{\"a\":\r1}".into(),
        2 => String::new(),
        3 => "[1,2]".into(),
        _ => format!("{{\"n\":{},\"t\":\"{}\"}}", random.u32(..1 << 20), "x".repeat(random.usize(..400))),
    }
}

/// With a schema, and with what a sink wants besides.
fn checks() -> [Checks; 2] {
    let field = |pointer, name| Field { types: Types::named(name).unwrap(), ..Field::at(pointer) };
    let fields = vec![
        Field { required: true, ..field("/n", "integer") },
        Field { max_length: Some(300), ..field("/t", "string") },
    ];
    let schema = [Schema { stream: None, additional: true, fields }];
    let pointer = |text| Pointer::parse(text).unwrap();
    [
        Checks::new(&schema, None, None).unwrap(),
        Checks::new(&schema, Some(&pointer("/t")), Some(&pointer("/n"))).unwrap(),
    ]
}

#[test]
fn a_body_in_pieces_is_told_as_a_whole() {
    let mut random = Rng::with_seed(0x5eed_0002);
    let (mut fast, mut strict) = (FastScanner::new(Kernel::best()), StrictScanner::new());
    let (mut ahead, checks) = (Ahead::new(), checks());
    let (mut refused, mut picked) = (0, 0);
    for round in 0..300 {
        let lines: Vec<String> = (0..random.usize(..400)).map(|_| line(&mut random)).collect();
        let (format, body) = match round % 3 {
            0 => (Format::Lines, lines.join("\n")),
            1 => (Format::Sniff, lines.join("\n")),
            _ => (Format::Json, format!("[{}]", lines.join(","))),
        };
        let check = checks.get(round / 3 % 3).and_then(|checks| checks.of(&StreamName::DEFAULT));
        let body = body.as_bytes();
        ahead.begin(format);
        let mut here = 0;
        while here < body.len() {
            if ahead.wants(here) {
                ahead.advance(&mut fast, check, &body[..here]);
            }
            here += 1 + random.usize(..20_000);
        }
        let want = told(|each| judge_whole(&mut strict, check, body, format, each));
        let want = events(body, &want);
        for told in &want {
            match told {
                Told::Good { good, .. } => {
                    assert_eq!(good.picked.is_some(), round / 3 % 3 == 1);
                    picked += usize::from(good.picked.is_some());
                }
                Told::Bad { reason, .. } => refused += usize::from(reason.number() == 255),
            }
        }
        // Twice: the first time there was no room.
        for _ in 0..2 {
            let got = told(|each| ahead.tell(&mut fast, check, body, each));
            assert_eq!(events(body, &got), want, "round {round}");
        }
    }
    assert!(refused > 100 && picked > 1000, "{refused}, {picked}: hardly anything held against a schema");
}

#[test]
fn a_full_log_leaves_the_rest_for_the_end() {
    let mut fast = FastScanner::new(Kernel::best());
    let mut ahead = Ahead::new();
    for (body, format) in [
        (format!("[{}]", vec!["{}"; 200_000].join(",")), Format::Json),
        (["{}", "{", "{\"a\":1}"].join("\n").repeat(60_000), Format::Lines),
    ] {
        let body = body.as_bytes();
        ahead.begin(format);
        for here in (0..body.len()).step_by(9_999) {
            if ahead.wants(here) {
                ahead.advance(&mut fast, None, &body[..here]);
                assert!(ahead.log.len() <= LOG_BYTES && ahead.log.capacity() == LOG_BYTES);
            }
        }
        assert!(ahead.full && ahead.progress.through() > 10_000 && ahead.progress.through() < body.len());
        let got = told(|each| ahead.tell(&mut fast, None, body, each));
        let mut count = 0;
        fast.scan(body, format, |_| count += 1);
        assert_eq!(events(body, &got).len(), count);
    }
}

#[test]
fn entries_come_back_as_they_were() {
    let good = |span, events, breaks| Told::Good { span, good: Good { events, breaks, picked: None } };
    let all = [
        good(0..2, 1, false),
        good(3..9_000_000, 3_000_000, false),
        Told::Bad { span: 9_000_000..9_000_000, offset: 9_000_000, reason: Reason::UNCLOSED_ARRAY },
        Told::Bad { span: 9_000_001..9_300_000, offset: 9_262_145, reason: Reason::TOO_LARGE },
        good(9_400_000..9_400_010, 1, true),
    ];
    let mut ahead = Ahead::new();
    all.iter().for_each(|told| ahead.note(&[], told.clone()));
    assert!(!ahead.full && ahead.log.len() <= all.len() * ENTRY_BYTES_MAX);
    let look = Look { check: None, body: &[] };
    let mut entries = Entries { log: &ahead.log, at: 0, look: &look };
    assert_eq!(core::iter::from_fn(|| entries.next()).collect::<Vec<_>>(), all);
}

#[test]
fn wanted_values_come_back_from_where_they_stood() {
    let [_, checks] = checks();
    let body = [&b"x".repeat(300_000)[..], b"{\"t\":\"\",\"n\":-5}{\"n\" : 17 }"].concat();
    let event = |span: Range<usize>, key: Option<Range<usize>>, time: Range<usize>| {
        let value = |range: Range<usize>| &body[range];
        let picked = Some(Picked { key: key.map(value), time: Some(value(time)) });
        Told::Good { span, good: Good { events: 1, breaks: false, picked } }
    };
    let (start, second) = (300_000, 300_015);
    let far = Some(299_990..299_999);
    let all = [
        event(0..262_144, Some(0..262_144), 262_144..262_144),
        event(262_144..start, far, 262_144..start),
        event(start..second, Some(start + 5..start + 7), start + 12..start + 14),
        event(second..body.len(), None, second + 7..second + 9),
    ];
    let mut ahead = Ahead::new();
    all.iter().for_each(|told| ahead.note(&body, told.clone()));
    assert!(!ahead.full && ahead.log.len() <= all.len() * ENTRY_BYTES_MAX);
    let look = Look { check: checks.of(&StreamName::DEFAULT), body: &body };
    let mut entries = Entries { log: &ahead.log, at: 0, look: &look };
    assert_eq!(core::iter::from_fn(|| entries.next()).collect::<Vec<_>>(), all);
}
