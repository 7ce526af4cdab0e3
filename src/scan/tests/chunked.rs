//! A body in pieces has the verdicts of the whole, however it is cut.
mod common;
use common::*;
use ringmill_scan::{Format, Progress, Scanner, Verdict};

/// Miri takes a thousand times as long.
const STRIDE: usize = if cfg!(miri) { 61 } else { 1 };

fn rounds() -> usize {
    std::env::var("RINGMILL_BODIES").ok().and_then(|n| n.parse().ok()).unwrap_or(3_000)
}

#[track_caller]
fn assert_same(scanner: &mut Scanner, body: &[u8], format: Format, cuts: &[usize]) {
    let (want, got) = (exact(body, format), in_pieces(scanner, body, format, cuts));
    if got == want {
        return;
    }
    let differ = got.iter().zip(&want).find(|(got, want)| got != want);
    panic!(
        "{:?} {format:?}, {} bytes cut at {cuts:?}: {differ:?}, {} and {} verdicts\n{}",
        scanner.kernel(),
        body.len(),
        got.len(),
        want.len(),
        body[..body.len().min(2_000)].escape_ascii()
    );
}

/// Rising places to cut `len` bytes at.
fn cuts(random: &mut Random, len: usize) -> Vec<usize> {
    let step = *random.pick::<usize>(&[&3, &64, &130, &700, &5_000, &20_000]);
    let (mut cuts, mut at) = (Vec::new(), 0);
    while cuts.len() < if cfg!(miri) { 12 } else { 400 } {
        at += random.below(2 * step + 1);
        if at > len {
            break;
        }
        cuts.push(at);
    }
    cuts
}

fn separators(random: &mut Random) -> &'static [u8] {
    match random.below(8) {
        0 => b"\r\n",
        1 => b"\n\n",
        2 => b" \n\t",
        _ => b"\n",
    }
}

fn lines(random: &mut Random, body: &mut Vec<u8>) {
    let mut line = Vec::new();
    for _ in 0..*random.pick::<usize>(&[&1, &2, &8, &64, &200]) {
        line_of(random, &mut line);
        body.extend_from_slice(&line);
        body.extend_from_slice(separators(random));
    }
}

fn array(random: &mut Random, body: &mut Vec<u8>) {
    let mut element = Vec::new();
    body.extend_from_slice(random.pick::<[u8]>(&[b"[", b" [\n", b"["]));
    for i in 0..*random.pick::<usize>(&[&0, &1, &2, &8, &64, &200]) {
        if i > 0 {
            body.extend_from_slice(random.pick::<[u8]>(&[b",", b" , ", b",\n"]));
        }
        element.clear();
        match random.below(12) {
            0 => element.extend_from_slice(random.pick(PIECES)),
            1 => element.extend_from_slice(b"{\"a\":\n[true, \"\\ud800\"]}"),
            _ => object(random, 3, &mut element),
        }
        if random.below(200) == 0 {
            mutate(random, &mut element);
        }
        body.extend_from_slice(&element);
    }
    body.extend_from_slice(random.pick::<[u8]>(&[b"]", b" ]\n", b"", b"] {}"]));
}

/// One object, perhaps on several lines, perhaps with something behind it.
fn single(random: &mut Random, body: &mut Vec<u8>) {
    body.extend_from_slice(random.pick::<[u8]>(&[b"", b"", b" \n", b"\xef\xbb\xbf", b"x\n"]));
    body.extend_from_slice(b"{\"text\":\"");
    body.extend((0..random.below(20_000)).map(|_| *random.pick::<u8>(&[&b'a', &b' ', &b'{', &b'7'])));
    body.extend_from_slice(random.pick::<[u8]>(&[b"\",\"o\":", b"\",\n\"o\":", b"\n\",\"o\":"]));
    object(random, 3, body);
    body.extend_from_slice(random.pick::<[u8]>(&[
        b"}",
        b"\n}",
        b"}\n",
        b"}\r\n{\"a\":1}\n",
        b"} {}",
        b"}   \n \n",
    ]));
    if random.below(4) == 0 {
        mutate(random, body);
    }
}

#[test]
fn any_cuts_give_the_verdicts_of_the_whole() {
    let (mut random, mut scanners, mut body) = (Random(seed()), scanners_of_all_kernels(), Vec::new());
    for round in 0..rounds() {
        body.clear();
        match round % 3 {
            0 => lines(&mut random, &mut body),
            1 => array(&mut random, &mut body),
            _ => single(&mut random, &mut body),
        }
        let cuts = cuts(&mut random, body.len());
        let which = round / 3 % scanners.len();
        for format in [Format::Lines, Format::Json, Format::Sniff] {
            assert_same(&mut scanners[which], &body, format, &cuts);
        }
    }
}

#[test]
fn byte_by_byte() {
    let (mut random, mut scanners, mut body) = (Random(seed()), scanners_of_all_kernels(), Vec::new());
    for round in 0..rounds() / 50 {
        body.clear();
        match round % 3 {
            0 => (0..3).for_each(|_| lines(&mut random, &mut body)),
            1 => array(&mut random, &mut body),
            _ => single(&mut random, &mut body),
        }
        body.truncate(2_500);
        let every: Vec<usize> = (0..=body.len()).collect();
        let which = round / 3 % scanners.len();
        for format in [Format::Lines, Format::Json, Format::Sniff] {
            assert_same(&mut scanners[which], &body, format, &every);
        }
    }
}

/// Every cut in two of what is delicate.
#[test]
fn every_cut_in_two() {
    let event = r#"{"k":"\ud83d\ude00 é€😀 \\\" [{","n":[-1.5e+10,0,true,null,{"deep":[[[]]]}],"t":"x"}"#;
    let line = |n: usize| format!("{}{event}", " ".repeat(n));
    let bodies = [
        [line(0), line(3), "{\"bad\":01}".into(), line(1), line(0)].join("\n"),
        format!("[{},1,{} , [], {}\n,\"s\",{},{}]", line(0), line(2), line(0), line(0), line(1)),
        format!("  {}\n\n{}\r\n{}", line(0), line(9), line(0)),
        format!("{{\"a\":\n[{}],\n\"b\":{}}}  \n", line(0), line(1)),
        format!("[{},{},{{\"never\":\"closed}}]", line(0), line(0)),
        format!("[{},{}] and more {}", line(0), line(0), line(0)),
    ];
    for mut scanner in scanners_of_all_kernels() {
        for body in &bodies {
            for format in [Format::Lines, Format::Json, Format::Sniff] {
                for cut in (0..=body.len()).step_by(STRIDE) {
                    assert_same(&mut scanner, body.as_bytes(), format, &[cut]);
                }
            }
        }
    }
}

/// What is left behind the last piece is that piece, and a block.
#[test]
#[cfg_attr(miri, ignore)]
fn pieces_are_judged_as_they_come() {
    let event = |n: usize| format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(250));
    let events: Vec<String> = (0..1_000).map(event).collect();
    let (lines, array) = (events.join("\n"), format!("[{}]", events.join(",")));
    let object = format!("{{\"all\":{array}}}");
    let object = &object[..200_000.min(object.len())];
    for mut scanner in scanners() {
        for (body, format, told) in [
            (lines.as_str(), Format::Lines, true),
            (&lines, Format::Sniff, true),
            (&array, Format::Json, true),
            (&array, Format::Sniff, true),
            (object, Format::Json, false),
            (object, Format::Sniff, false),
        ] {
            let (mut progress, mut verdicts) = (Progress::new(format), 0);
            for so_far in (0..body.len()).step_by(16 << 10) {
                scanner.advance(&mut progress, &body.as_bytes()[..so_far], |verdict| {
                    assert!(matches!(verdict, Verdict::Good { .. }));
                    verdicts += 1;
                });
                assert!(so_far < progress.through() + 128, "{format:?}: {} of {so_far}", progress.through());
                assert!(!told || so_far < (verdicts + 2) * (events[999].len() + 1), "{format:?}: {verdicts}");
            }
        }
        assert_eq!(scanner.second_looks(), 0);
    }
}

/// Neither a long wait for something else than blanks nor a broken body is gone through again for each piece.
#[test]
#[cfg_attr(miri, ignore)]
fn the_worst_pieces_end_soon() {
    const LEN: usize = 1 << 20;
    let long = |start: &str, fill: u8| {
        let mut body = start.as_bytes().to_vec();
        body.resize(LEN, fill);
        body
    };
    let bodies = [
        long("", b' '),
        long("[", b' '),
        long("[{}", b' '),
        long("[{},", b'\n'),
        long("{}", b' '),
        long("{\"a\":\"", b'x'),
        long("[{},\"", b'x'),
        long("[{},", b'9'),
        long("[", b'['),
        long("x", b' '),
        long("{}\n", b'{'),
    ];
    for mut scanner in scanners() {
        for body in &bodies {
            for format in [Format::Json, Format::Lines, Format::Sniff] {
                let (mut progress, mut verdicts) = (Progress::new(format), Vec::new());
                for so_far in (0..LEN).step_by(150) {
                    scanner.advance(&mut progress, &body[..so_far], |verdict| verdicts.push(verdict));
                }
                scanner.finish(&mut progress, body, |verdict| verdicts.push(verdict));
                assert_eq!(verdicts, exact(body, format));
            }
        }
    }
}
