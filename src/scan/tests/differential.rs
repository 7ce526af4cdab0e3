//! Every kernel against the exact judge, and that against serde_json and the standard library's UTF-8.
//!
//! A quarter of a million mutated lines by default, `RINGMILL_LINES` for more; CI takes a million. A hundred
//! million, in units that may be interrupted: `benches/scan-long`.
mod common;
use common::*;
use ringmill_scan::{Format, Verdict};

fn lines_wanted() -> usize {
    std::env::var("RINGMILL_LINES").ok().and_then(|n| n.parse().ok()).unwrap_or(250_000)
}

#[test]
fn lines_agree_with_serde_json() {
    let (mut random, mut scanners) = (Random(seed()), scanners());
    let (mut line, mut body, mut spans) = (Vec::new(), Vec::new(), Vec::new());
    let (mut total, mut good, wanted) = (0, 0, lines_wanted());
    while total < wanted {
        body.clear();
        spans.clear();
        // From one line to several windows.
        for _ in 0..*random.pick::<usize>(&[&1, &2, &8, &64, &300]) {
            line_of(&mut random, &mut line);
            // A mutation may have put a line feed in.
            for part in line.split(|&b| b == b'\n') {
                let lead = part.iter().take_while(|&&b| blank(b)).count();
                let tail = part[lead..].iter().rev().take_while(|&&b| blank(b)).count();
                if lead < part.len() {
                    spans.push(body.len() + lead..body.len() + part.len() - tail);
                }
                body.extend_from_slice(part);
                body.push(b'\n');
            }
            body.pop();
            body.extend_from_slice(random.pick::<[u8]>(&[b"\n", b"\r\n", b"\n\n"]));
        }
        let verdicts = agreed(&mut scanners, &body, Format::Lines);
        assert_eq!(verdicts.len(), spans.len());
        for (verdict, line) in verdicts.iter().zip(&spans) {
            let (text, event) = (body[line.clone()].escape_ascii(), is_event(&body[line.clone()]));
            match verdict {
                Verdict::Good { span, breaks } => {
                    assert!(event, "accepted {text}");
                    assert_eq!((span, *breaks), (line, body[line.clone()].contains(&b'\r')));
                    good += 1;
                }
                Verdict::Bad { span, offset, kind } => {
                    assert!(!event, "refused {text}: {kind:?}");
                    assert_eq!(span, line);
                    assert!((line.start..=line.end).contains(offset), "{text}: {offset}");
                }
            }
        }
        total += spans.len();
    }
    eprintln!("{total} lines, {good} good");
    assert!((total / 4..total * 3 / 4).contains(&good), "{good} of {total} good: the mutation lost its bite");
}

#[test]
fn arrays_and_unnamed_bodies_agree() {
    let (mut random, mut scanners) = (Random(seed()), scanners());
    let (mut line, mut body) = (Vec::new(), Vec::new());
    let mut good = 0;
    for _ in 0..lines_wanted() / 10 {
        body.clear();
        body.extend_from_slice(random.pick::<[u8]>(&[b"[", b" [\n", b"["]));
        for i in 0..*random.pick::<usize>(&[&0, &1, &2, &5, &5, &40]) {
            if i > 0 {
                body.extend_from_slice(random.pick::<[u8]>(&[b",", b" , ", b",\n"]));
            }
            line_of(&mut random, &mut line);
            if random.below(16) > 0 && !is_event(&line) {
                line =
                    random.pick::<[u8]>(&[b"{ }", b"1", b"[[],{}]", b"{\"a\":\n[true]}", b"\"x\""]).to_vec();
            }
            body.extend_from_slice(&line);
            body.extend_from_slice(random.pick::<[u8]>(&[b"", b" ", b"\n"]));
        }
        body.push(b']');
        if random.below(8) == 0 {
            mutate(&mut random, &mut body);
        }
        for format in [Format::Json, Format::Sniff] {
            let verdicts = agreed(&mut scanners, &body, format);
            good += verdicts.iter().filter(|v| matches!(v, Verdict::Good { .. })).count();
        }
        // One object or lines.
        line_of(&mut random, &mut body);
        for _ in 0..random.below(4) {
            let at = random.below(body.len() + 1);
            body.splice(at..at, random.pick::<[u8]>(&[b"\n", b"\r\n", b"}\n{", b" "]).iter().copied());
        }
        for format in [Format::Json, Format::Sniff, Format::Lines] {
            agreed(&mut scanners, &body, format);
        }
    }
    assert!(good > lines_wanted() / 10, "{good}");
}
