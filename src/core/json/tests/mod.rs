//! Tables of what is accepted, what is refused and why; both scanners go through each.
use super::*;
use alloc::{format, vec::Vec};
use std::string::String;

mod differential;
mod suite;

/// All verdicts on `body`, on which both scanners must agree to the last offset.
fn verdicts(body: &[u8], format: Format) -> Vec<Verdict> {
    let (mut simd, mut strict) = (Vec::new(), Vec::new());
    SimdScanner::new().scan(body, format, |verdict| simd.push(verdict));
    StrictScanner::new().scan(body, format, |verdict| strict.push(verdict));
    assert_eq!(simd, strict, "the scanners differ over {}", body.escape_ascii());
    for kernel in Kernel::ALL {
        let (mut fast, mut scanner) = (Vec::new(), FastScanner::new(*kernel));
        scanner.scan(body, format, |verdict| fast.push(verdict));
        assert_eq!(fast, strict, "{kernel:?} differs over {}", body.escape_ascii());
        let (mut progress, mut pieces) = (Progress::new(format), Vec::new());
        let step = body.len() / 500 + 1;
        for here in (0..body.len()).step_by(step) {
            scanner.advance(&mut progress, &body[..here], |verdict| pieces.push(verdict));
        }
        scanner.finish(&mut progress, body, |verdict| pieces.push(verdict));
        assert_eq!(pieces, strict, "{kernel:?} differs in pieces over {}", body.escape_ascii());
    }
    simd
}

/// A verdict in one line: `good "text"`, with `+breaks`, or `bad offset "text": reason`.
fn tell(body: &[u8], verdict: &Verdict) -> String {
    match verdict {
        Verdict::Good { span, breaks } => {
            format!("good{} {}", if *breaks { "+breaks" } else { "" }, body[span.clone()].escape_ascii())
        }
        Verdict::Bad { span, offset, reason } => {
            format!("bad {offset} {}: {reason}", body[span.clone()].escape_ascii())
        }
    }
}

#[track_caller]
fn check(format: Format, body: impl AsRef<[u8]>, want: &[&str]) {
    let body = body.as_ref();
    let got: Vec<_> = verdicts(body, format).iter().map(|v| tell(body, v)).collect();
    assert_eq!(got, want, "{format:?} {}", body.escape_ascii());
}

/// The one event of `line`: `Ok`, or why and where it is refused.
#[track_caller]
fn one(line: &[u8]) -> Result<(), (usize, Reason)> {
    match &verdicts(line, Format::Lines)[..] {
        [Verdict::Good { .. }] => Ok(()),
        [Verdict::Bad { offset, reason, .. }] => Err((*offset, *reason)),
        other => panic!("{} verdicts on {}", other.len(), line.escape_ascii()),
    }
}

#[test]
fn lines_are_found_and_trimmed() {
    use Format::Lines;
    check(Lines, "", &[]);
    check(Lines, "\n\r\n \t \n", &[]);
    check(Lines, "{}", &["good {}"]);
    check(Lines, "{}\n", &["good {}"]);
    check(Lines, "{}\r\n{\"a\":1}\r\n", &["good {}", "good {\\\"a\\\":1}"]);
    check(Lines, " \t{}  \n\n\r\n\t{ }\r", &["good {}", "good { }"]);
    check(Lines, "{\r}\n{}", &["good+breaks {\\r}", "good {}"]);
    check(Lines, "{\"é\":\"\u{10ffff}\"}", &["good {\\\"\\xc3\\xa9\\\":\\\"\\xf4\\x8f\\xbf\\xbf\\\"}"]);
}

#[test]
fn a_bad_line_never_touches_its_neighbours() {
    let bad: &[&[u8]] = &[
        b"{\"a\":1",
        b"{\"a\":\"",
        b"{\"a\":\"\\",
        b"}",
        b"]",
        b"[",
        b"\"",
        b",",
        b"{\"a\":[",
        b"\xff",
        b"{\"a\":\"\xf0\x9f\"}",
        b"{\"a\":\"\xf0\x9f",
        b"\"ts\":1}",
        b"{\"type\":\"a\"",
        b"\0",
        b"\xef\xbb\xbf{}",
        b"{\"a\":\"\\ud83d\"}",
        b"nul",
        b"{}{}",
        b"{\"a\":1}\x0c",
    ];
    for first in bad {
        for second in bad {
            let good = b"{\"n\":1}";
            let parts: [&[u8]; 5] = [good, first, second, good, good];
            let body = parts.join(&b"\n"[..]);
            let got = verdicts(&body, Format::Lines);
            assert_eq!(got.len(), 5, "{}", body.escape_ascii());
            let mut at = 0;
            for (part, verdict) in parts.iter().zip(&got) {
                let line = at..at + part.len();
                match verdict {
                    Verdict::Good { span, breaks } => {
                        assert_eq!((span, *part, *breaks), (&line, &good[..], false));
                    }
                    Verdict::Bad { span, offset, .. } => {
                        assert_ne!(*part, good);
                        assert!(line.start <= span.start && span.end <= line.end, "{line:?} {span:?}");
                        assert!((line.start..=line.end).contains(offset));
                    }
                }
                at = line.end + 1;
            }
        }
    }
}

#[test]
fn json_is_one_value() {
    use Format::Json;
    check(Json, " \r\n", &[]);
    check(Json, " {\"a\":1} \n", &["good {\\\"a\\\":1}"]);
    check(Json, "{\n \"a\":\r\n1}", &["good+breaks {\\n \\\"a\\\":\\r\\n1}"]);
    check(Json, "{}\n{}", &["bad 3 {}\\n{}: trailing data after the event"]);
    check(Json, "null", &["bad 0 null: an event must be a JSON object"]);
    check(
        Json,
        b"\xef\xbb\xbf[]",
        &["bad 0 \\xef\\xbb\\xbf[]: a byte order mark must not precede the event"],
    );
    check(Json, "{\"a\":1", &["bad 6 {\\\"a\\\":1: the event ends before it is complete"]);
}

#[test]
fn an_array_holds_events() {
    use Format::Json;
    check(Json, "[]", &[]);
    check(Json, " [ ] ", &[]);
    check(Json, "[{}]", &["good {}"]);
    check(Json, "[ {} ,\n{\"a\":[{},\"]\"]}\r\n]", &["good {}", "good {\\\"a\\\":[{},\\\"]\\\"]}"]);
    check(Json, "[{\n},{}]", &["good+breaks {\\n}", "good {}"]);
}

#[test]
fn a_well_formed_element_is_refused_alone() {
    use Format::Json;
    let not = "an event must be a JSON object";
    check(
        Json,
        "[{},1,[{}],\"]\",null,{}]",
        &[
            "good {}",
            &format!("bad 4 1: {not}"),
            &format!("bad 6 [{{}}]: {not}"),
            &format!("bad 11 \\\"]\\\": {not}"),
            &format!("bad 15 null: {not}"),
            "good {}",
        ],
    );
    check(Json, b"[{\"a\":\"\xff\"},{}]", &["bad 7 {\\\"a\\\":\\\"\\xff\\\"}: invalid UTF-8", "good {}"]);
    let lone = "a surrogate escape without its other half";
    check(Json, "[{\"\\ud800\":1},{}]", &[&format!("bad 3 {{\\\"\\\\ud800\\\":1}}: {lone}"), "good {}"]);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(64), "]".repeat(64));
    check(
        Json,
        format!("[{deep},{{}}]"),
        &[&format!("bad 69 {}: nested deeper than 64 levels", deep.replace('"', "\\\"")), "good {}"],
    );
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_EVENT_BYTES));
    let body = format!("[{large},{{}}]");
    assert_eq!(
        verdicts(body.as_bytes(), Json),
        [
            Verdict::Bad { span: 1..1 + large.len(), offset: 1 + MAX_EVENT_BYTES, reason: Reason::TOO_LARGE },
            Verdict::Good { span: large.len() + 2..large.len() + 4, breaks: false },
        ]
    );
}

#[test]
fn broken_json_takes_the_rest_of_the_array_with_it() {
    use Format::Json;
    check(
        Json,
        "[{},{\"a\":1],{}] ",
        &["good {}", "bad 10 {\\\"a\\\":1],{}]: expected `,` or `}` after a value"],
    );
    check(Json, "[{},{\"a\"}]", &["good {}", "bad 8 {\\\"a\\\"}]: expected `:` after a key"]);
    check(Json, "[{}", &["good {}", "bad 3 : the array of events is not closed"]);
    check(Json, "[{}, ", &["good {}", "bad 4 : the array of events is not closed"]);
    check(Json, "[", &["bad 1 : the array of events is not closed"]);
    check(Json, "[{},]", &["good {}", "bad 4 ]: expected a value"]);
    check(Json, "[,{}]", &["bad 1 ,{}]: expected a value"]);
    check(Json, "[{} {}]", &["good {}", "bad 4 {}]: expected `,` or `]` after an event"]);
    check(Json, "[{}}", &["good {}", "bad 3 }: expected `,` or `]` after an event"]);
    check(Json, "[{}] x", &["good {}", "bad 5 x: trailing data after the array of events"]);
    check(Json, "[][]", &["bad 2 []: trailing data after the array of events"]);
    check(Json, "[{\"a\":\"", &["bad 7 {\\\"a\\\":\\\": a string without its closing quote"]);
    check(Json, "[{\"a\":\"\\", &["bad 8 {\\\"a\\\":\\\"\\\\: a string without its closing quote"]);
    check(Json, "[1.]", &["bad 3 1.]: expected a digit in a number"]);
}

#[test]
fn an_unnamed_format_is_told_from_the_body() {
    use Format::Sniff;
    check(Sniff, "", &[]);
    check(Sniff, "\n \r\n", &[]);
    check(Sniff, "\n [{},{}]", &["good {}", "good {}"]);
    check(Sniff, "{}\n\n{ }", &["good {}", "good { }"]);
    check(Sniff, "{\n\"a\":1\n}\n", &["good+breaks {\\n\\\"a\\\":1\\n}"]);
    check(Sniff, "{}", &["good {}"]);
    let whole = "{\n\"a\":\"\\udc00\"}";
    check(
        Sniff,
        whole,
        &["bad 7 {\\n\\\"a\\\":\\\"\\\\udc00\\\"}: a surrogate escape without its other half"],
    );
    check(
        Sniff,
        "{}\n{\n}",
        &[
            "good {}",
            "bad 4 {: the event ends before it is complete",
            "bad 5 }: an event must be a JSON object",
        ],
    );
    check(
        Sniff,
        "{\n}\n{}",
        &[
            "bad 1 {: the event ends before it is complete",
            "bad 2 }: an event must be a JSON object",
            "good {}",
        ],
    );
    check(Sniff, "x\n{}", &["bad 0 x: an event must be a JSON object", "good {}"]);
    check(Sniff, "x", &["bad 0 x: an event must be a JSON object"]);
}

#[test]
fn trouble_is_found_where_it_is() {
    use Reason as R;
    let table: &[(&[u8], usize, Reason)] = &[
        (b"\xef\xbb\xbf{}", 0, R::BYTE_ORDER_MARK),
        (b"\xff{}", 0, R::INVALID_UTF8),
        (b"[]", 0, R::NOT_AN_OBJECT),
        (b"\x0b{}", 0, R::NOT_AN_OBJECT),
        (b"{} {}", 3, R::TRAILING_DATA),
        (b"{}\0", 2, R::TRAILING_DATA),
        (b"{", 1, R::CUT_SHORT),
        (b"{\"a\"", 4, R::CUT_SHORT),
        (b"{\"a\":", 5, R::CUT_SHORT),
        (b"{\"a\":1", 6, R::CUT_SHORT),
        (b"{\"a\":-", 6, R::CUT_SHORT),
        (b"{\"a\":tru", 8, R::CUT_SHORT),
        (b"{\"a\":[1,", 8, R::CUT_SHORT),
        (b"{\"a", 3, R::UNCLOSED_STRING),
        (b"{\"a\\u12", 7, R::UNCLOSED_STRING),
        (b"{\"a\tb\":1}", 3, R::CONTROL_CHARACTER),
        (b"{\"a\":\"0123456789\x1f\"}", 16, R::CONTROL_CHARACTER),
        (b"{\"a\":\"\\x\"}", 6, R::BAD_ESCAPE),
        (b"{\"a\":\"\\u00g0\"}", 10, R::BAD_HEX),
        (b"{\"a\":\"\\u12\"}", 10, R::BAD_HEX),
        (b"{\"a\":\"\\ud800\\n\"}", 6, R::LONE_SURROGATE),
        (b"{\"a\":\"\\ud800\\ud800\\udc00\"}", 6, R::LONE_SURROGATE),
        (b"{\"a\":\"..\\udfff\"}", 8, R::LONE_SURROGATE),
        (b"{\"a\":\"\\ud800\\u0041\"}", 6, R::LONE_SURROGATE),
        (b"{\"a\":\"\\uDBFFx\"}", 6, R::LONE_SURROGATE),
        (b"{\"a\":\"abcdefgh\xc0\x80\"}", 14, R::INVALID_UTF8),
        (b"{\"a\":\"\xed\xa0\x80\"}", 6, R::INVALID_UTF8),
        (b"{\"a\":\xff}", 5, R::INVALID_UTF8),
        (b"{\"a\":\"\xff\" x", 6, R::INVALID_UTF8),
        (b"{\"a\":}", 5, R::EXPECTED_VALUE),
        (b"{\"a\":+1}", 5, R::EXPECTED_VALUE),
        (b"{\"a\":.5}", 5, R::EXPECTED_VALUE),
        (b"{\"a\":NaN}", 5, R::EXPECTED_VALUE),
        (b"{\"a\":[1,]}", 8, R::EXPECTED_VALUE),
        (b"{\"a\":1,}", 7, R::EXPECTED_KEY),
        (b"{a:1}", 1, R::EXPECTED_KEY_OR_BRACE),
        (b"{\"a\" 1}", 5, R::EXPECTED_COLON),
        (b"{\"a\":1 \"b\":2}", 7, R::EXPECTED_COMMA_OR_BRACE),
        (b"{\"a\":1]", 6, R::EXPECTED_COMMA_OR_BRACE),
        (b"{\"a\":truex}", 9, R::EXPECTED_COMMA_OR_BRACE),
        (b"{\"a\":[1 2]}", 8, R::EXPECTED_COMMA_OR_BRACKET),
        (b"{\"a\":[1}}", 7, R::EXPECTED_COMMA_OR_BRACKET),
        (b"{\"a\":1.}", 7, R::EXPECTED_DIGIT),
        (b"{\"a\":1e+}", 8, R::EXPECTED_DIGIT),
        (b"{\"a\":-x}", 6, R::EXPECTED_DIGIT),
        (b"{\"a\":007}", 5, R::LEADING_ZERO),
        (b"{\"a\":-01}", 6, R::LEADING_ZERO),
        (b"{\"a\":nil}", 5, R::BAD_LITERAL),
        (b"{\"a\":True}", 5, R::EXPECTED_VALUE),
    ];
    for &(line, offset, reason) in table {
        assert_eq!(one(line), Err((offset, reason)), "{}", line.escape_ascii());
    }
}

#[test]
fn numbers_of_any_size_are_accepted() {
    let nines = "9".repeat(400);
    for number in [
        "18446744073709551616",
        "-9223372036854775809",
        "1e400",
        "-1e400",
        "1e-400",
        "1E+99999999999999999999",
        "0e-99999999999999999999",
        "123456789012345678901234567890.123456789012345678901234567890e12345",
        &nines,
    ] {
        assert_eq!(one(format!("{{\"a\":{number}}}").as_bytes()), Ok(()), "{number}");
        assert_eq!(one(format!("{{\"a\":[{number},{number}]}}").as_bytes()), Ok(()), "{number}");
    }
}

#[test]
fn sixty_four_levels_and_no_more() {
    for (open, close, inner) in [("[", "]", "[]"), ("{\"a\":", "}", "{}"), ("[{\"a\":", "}]", "[]")] {
        let levels = |s: &str| s.matches(['[', '{']).count();
        let (mut deepest, mut offset) = (0, 0);
        for n in 0..2100 {
            let line = format!("{{\"a\":{}{inner}{}}}", open.repeat(n), close.repeat(n));
            let depth = levels(&line[..line.find(['}', ']']).unwrap()]);
            match one(line.as_bytes()) {
                Ok(()) => deepest = deepest.max(depth),
                Err((at, reason)) => {
                    assert!(depth > MAX_DEPTH);
                    assert_eq!(reason, Reason::TOO_DEEP);
                    assert_eq!(levels(&line[..at]), MAX_DEPTH);
                    offset = at;
                }
            }
        }
        assert_eq!((deepest, offset > 0), (MAX_DEPTH, true));
    }
    // Beyond what is followed nothing overflows and nothing recurses.
    for open in ["[", "{\"a\":"] {
        let line = format!("{{\"a\":{}", open.repeat(40_000));
        assert_eq!(one(line.as_bytes()).unwrap_err().1, Reason::TOO_DEEP);
    }
}

#[test]
fn the_longest_event_is_exactly_256_kib() {
    let of = |len: usize| format!("{{\"a\":\"{}\"}}", "\u{e9}".repeat(len / 2 - 4));
    let longest = of(MAX_EVENT_BYTES);
    assert_eq!(longest.len(), MAX_EVENT_BYTES);
    let over = longest.replacen('}', " }", 1);
    for format in [Format::Lines, Format::Json, Format::Sniff] {
        let body = format!("  {longest}\n ");
        let span = 2..2 + MAX_EVENT_BYTES;
        assert_eq!(verdicts(body.as_bytes(), format), [Verdict::Good { span, breaks: false }]);
        let body = format!("  {over}\n ");
        let span = 2..3 + MAX_EVENT_BYTES;
        let offset = 2 + MAX_EVENT_BYTES;
        let reason = Reason::TOO_LARGE;
        assert_eq!(verdicts(body.as_bytes(), format), [Verdict::Bad { span, offset, reason }]);
    }
    // Around the size up to which simd-json is asked.
    for len in [65_534, 65_536, 65_538] {
        assert_eq!(one(of(len).as_bytes()), Ok(()));
    }
}

#[test]
fn a_scanner_is_as_good_as_new_after_anything() {
    let mut scanner = SimdScanner::new();
    let mut scan = |body: &[u8]| {
        let mut good = 0;
        scanner.scan(body, Format::Lines, |v| good += usize::from(matches!(v, Verdict::Good { .. })));
        good
    };
    let ones = b"1,".repeat(30_000);
    let many = [&b"{\"a\":["[..], &ones, b"1]}"].concat();
    for _ in 0..3 {
        assert_eq!(scan(&many), 1);
        assert_eq!(scan(b"{\"a\":\"\\n\"}\n{\"a\"\n{}"), 2);
        assert_eq!(scan(&many[..many.len() - 1]), 0);
        assert_eq!(scan("[".repeat(60_000).as_bytes()), 0);
        assert_eq!(scan(format!("{{\"a\":{}", "[".repeat(60_000)).as_bytes()), 0);
    }
}
