//! Both scanners against serde_json and the standard library's UTF-8, over mutated lines and arrays.
use super::*;
use events::{Random, blank, is_event, line_of, mutate, seed};
use serde_json::value::RawValue;

#[path = "../../../scan/tests/common/events.rs"]
#[allow(dead_code)]
mod events;

/// Lines judged, at least. Each run takes another seed with `RINGMILL_SEED`.
const LINES: usize = 1_000_000;

/// The span of each non-blank line of `body` and whether it is an event.
fn lines_by_oracle(body: &[u8]) -> Vec<(Range<usize>, bool)> {
    let mut start = 0;
    let mut lines = Vec::new();
    for line in body.split(|&b| b == b'\n') {
        let lead = line.iter().take_while(|&&b| blank(b)).count();
        if lead < line.len() {
            let tail = line.iter().rev().take_while(|&&b| blank(b)).count();
            lines.push((start + lead..start + line.len() - tail, is_event(&line[lead..line.len() - tail])));
        }
        start += line.len() + 1;
    }
    lines
}

fn collect(scanner: &mut impl Scanner, body: &[u8], format: Format, into: &mut Vec<Verdict>) {
    into.clear();
    scanner.scan(body, format, |verdict| into.push(verdict));
}

#[test]
fn lines_agree_with_serde_json() {
    let mut random = Random(seed());
    let (mut simd, mut strict) = (SimdScanner::new(), StrictScanner::new());
    let (mut line, mut body, mut got, mut exact) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut total, mut good) = (0, 0);
    while total < LINES {
        body.clear();
        for _ in 0..64 {
            line_of(&mut random, &mut line);
            body.extend_from_slice(&line);
            body.extend_from_slice(random.pick::<[u8]>(&[b"\n", b"\r\n", b"\n\n"]));
        }
        let want = lines_by_oracle(&body);
        collect(&mut simd, &body, Format::Lines, &mut got);
        collect(&mut strict, &body, Format::Lines, &mut exact);
        assert_eq!(got, exact);
        assert_eq!(got.len(), want.len());
        for (verdict, (line, event)) in got.iter().zip(want) {
            let text = body[line.clone()].escape_ascii();
            match verdict {
                Verdict::Good { span, breaks } => {
                    assert!(event, "accepted {text}");
                    assert_eq!((span, *breaks), (&line, body[line.clone()].contains(&b'\r')));
                    good += 1;
                }
                Verdict::Bad { span, offset, reason } => {
                    assert!(!event, "refused {text}: {reason}");
                    assert_eq!(*span, line);
                    assert!((line.start..=line.end).contains(offset), "{text}: {offset}");
                }
            }
            total += 1;
        }
    }
    assert!((total / 4..total * 3 / 4).contains(&good), "{good} of {total} good: the mutation lost its bite");
}

#[test]
fn arrays_agree_with_serde_json() {
    let mut random = Random(seed());
    let (mut simd, mut strict) = (SimdScanner::new(), StrictScanner::new());
    let (mut line, mut body, mut got, mut exact) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut well_formed = 0;
    for _ in 0..60_000 {
        body.clear();
        body.push(b'[');
        for i in 0..random.below(5) {
            if i > 0 {
                body.push(b',');
            }
            line_of(&mut random, &mut line);
            if random.below(4) > 0 && !is_event(&line) {
                line = b"{ }".to_vec();
            }
            body.extend_from_slice(&line);
            body.extend_from_slice(random.pick::<[u8]>(&[b"", b" ", b"\n"]));
        }
        body.push(b']');
        if random.below(8) == 0 {
            mutate(&mut random, &mut body);
        }
        if body.iter().find(|&&b| !blank(b)) != Some(&b'[') {
            continue;
        }
        collect(&mut simd, &body, Format::Json, &mut got);
        collect(&mut strict, &body, Format::Json, &mut exact);
        assert_eq!(got, exact, "{}", body.escape_ascii());
        collect(&mut simd, &body, Format::Sniff, &mut exact);
        assert_eq!(got, exact, "{}", body.escape_ascii());
        let mut at = 0;
        for verdict in &got {
            let (Verdict::Good { span, .. } | Verdict::Bad { span, .. }) = verdict;
            assert!(at <= span.start && span.end <= body.len(), "{}", body.escape_ascii());
            at = span.end;
            if let Verdict::Good { span, breaks } = verdict {
                let event = &body[span.clone()];
                assert!(is_event(event), "accepted {}", event.escape_ascii());
                assert_eq!(*breaks, event.iter().any(|b| b"\r\n".contains(b)));
            }
        }
        let text = core::str::from_utf8(&body);
        let elements = text.ok().and_then(|text| serde_json::from_str::<Vec<&RawValue>>(text).ok());
        if let Some(elements) = elements {
            well_formed += 1;
            assert_eq!(got.len(), elements.len(), "{}", body.escape_ascii());
            for (verdict, element) in got.iter().zip(elements) {
                let start = element.get().as_ptr().addr() - body.as_ptr().addr();
                let element = start..start + element.get().len();
                match verdict {
                    Verdict::Good { span, .. } => assert_eq!(*span, element),
                    Verdict::Bad { span, .. } => {
                        assert_eq!(*span, element);
                        assert!(!is_event(&body[element]));
                    }
                }
            }
        }
    }
    assert!(well_formed > 10_000, "{well_formed}");
}

#[test]
fn unnamed_bodies_are_lines_or_one_object() {
    let mut random = Random(seed());
    let (mut simd, mut strict) = (SimdScanner::new(), StrictScanner::new());
    let (mut body, mut got, mut exact) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..60_000 {
        line_of(&mut random, &mut body);
        for _ in 0..random.below(4) {
            let at = random.below(body.len() + 1);
            body.splice(at..at, random.pick::<[u8]>(&[b"\n", b"\r\n", b"}\n{"]).iter().copied());
        }
        if body.iter().find(|&&b| !blank(b)) == Some(&b'[') {
            continue;
        }
        collect(&mut simd, &body, Format::Sniff, &mut got);
        collect(&mut strict, &body, Format::Sniff, &mut exact);
        assert_eq!(got, exact, "{}", body.escape_ascii());
        let lines = lines_by_oracle(&body);
        let (lead, tail) = (body.iter().position(|b| !blank(*b)), body.iter().rposition(|b| !blank(*b)));
        let trimmed = lead.zip(tail).map_or(&[][..], |(lead, tail)| &body[lead..=tail]);
        if lines.iter().all(|(_, event)| *event) || !is_event(trimmed) {
            let lone_flaw = got.len() == 1 && lines.len() > 1 && matches!(got[0], Verdict::Bad { .. });
            assert!(lone_flaw || got.len() == lines.len(), "{}", body.escape_ascii());
        } else {
            assert!(matches!(&got[..], [Verdict::Good { .. }]), "{}", body.escape_ascii());
        }
    }
}
