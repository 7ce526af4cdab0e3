//! Log, metric and span events, and their mix: what `benches/payload.py` makes, byte for byte.
//!
//! The draws stand in the order in which Python evaluates them; whoever changes one file changes the other, and
//! the hashes in the tests say so. The mix is, by count, 50 % logs, 30 % metrics, 15 % spans and 5 % logs with
//! stack traces, 423 bytes an event in the mean. Not a JSON library: it writes these events and no others.
use super::rng::Rng;
use alloc::borrow::Cow;
use alloc::{format, string::String, vec, vec::Vec};
use core::fmt::Write;

/// What to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A line of a service's log, about 260 bytes.
    Log,
    /// A dozen readings of one host, about 270 bytes.
    Metric,
    /// A span of a trace, about 800 bytes, with many escapes.
    Span,
    /// 50 % logs, 30 % metrics, 15 % spans, 5 % logs with a stack trace: about 423 bytes.
    Mix,
}

const SERVICES: [&str; 8] =
    ["checkout", "payments", "inventory", "gateway", "search", "auth", "ledger", "mailer"];
const LEVELS: [&str; 7] = ["info", "info", "info", "info", "debug", "warn", "error"];
const WORDS: [&str; 20] = [
    "request", "served", "cache", "miss", "retry", "upstream", "timeout", "queue", "flushed", "session",
    "opened", "closed", "order", "accepted", "worker", "lease", "renewed", "backoff", "shard", "commit",
];
const FOREIGN: [&str; 6] = [
    "Grüße aus Köln",
    "żądanie zakończone",
    "注文を受け付けました",
    "запрос выполнен",
    "coût élevé",
    "naïve café",
];
const REGIONS: [&str; 4] = ["eu-west-1", "us-east-2", "ap-south-1", "eu-north-1"];
const METRICS: [&str; 11] = [
    "cpu",
    "memory",
    "disk_read",
    "disk_write",
    "net_in",
    "net_out",
    "load1",
    "load5",
    "faults",
    "ctxsw",
    "temp",
];
const TABLES: [&str; 5] = ["orders", "users", "carts", "ledger_entries", "sessions"];
const FRAMES: [&str; 6] = [
    "com.example.checkout.CartService.reserve",
    "com.example.db.Pool.lend",
    "io.netty.channel.Handler.read",
    "java.base/java.lang.Thread.run",
    "com.example.http.Router.dispatch",
    "com.example.util.Retry.call",
];

const SECOND_NS: u64 = 1_000_000_000;

/// Appends one event to `out`, without a line break.
pub fn event(kind: Kind, rng: &mut Rng, out: &mut Vec<u8>) {
    let text = match kind {
        Kind::Log => log(rng, false),
        Kind::Metric => metric(rng),
        Kind::Span => span(rng),
        Kind::Mix => match rng.below(100) {
            0..50 => log(rng, false),
            50..80 => metric(rng),
            80..95 => span(rng),
            _ => log(rng, true),
        },
    };
    out.extend_from_slice(text.as_bytes());
}

/// A value whose spacing is not decided yet.
enum Value {
    /// JSON text as it is.
    Text(Cow<'static, str>),
    Object(Vec<(&'static str, Value)>),
    Array(Vec<Value>),
}

fn raw(text: impl Into<Cow<'static, str>>) -> Value {
    Value::Text(text.into())
}

fn quoted(text: impl core::fmt::Display) -> Value {
    raw(format!("\"{text}\""))
}

fn hex(rng: &mut Rng, digits: usize) -> String {
    (0..digits).map(|_| char::from(b"0123456789abcdef"[(rng.next() & 15) as usize])).collect()
}

fn words(rng: &mut Rng, count: u64) -> String {
    let words: Vec<&str> = (0..count).map(|_| rng.pick(&WORDS)).collect();
    words.join(" ")
}

/// 19-digit nanoseconds within one hour.
fn stamp(rng: &mut Rng) -> u64 {
    1_763_000_000 * SECOND_NS + rng.below(3_600 * SECOND_NS)
}

/// The routing fields first, or in one of five last; spaces in one of ten.
fn assemble(kind: &str, key: &str, stamp: u64, rest: Vec<(&'static str, Value)>, rng: &mut Rng) -> String {
    let routing = vec![("type", quoted(kind)), ("key", quoted(key)), ("ts", raw(format!("{stamp}")))];
    let (mut fields, tail) = if rng.percent(20) { (rest, routing) } else { (routing, rest) };
    fields.extend(tail);
    let (comma, colon) = if rng.percent(10) { (", ", ": ") } else { (",", ":") };
    let mut text = String::new();
    show(&Value::Object(fields), comma, colon, &mut text);
    text
}

fn show(value: &Value, comma: &str, colon: &str, out: &mut String) {
    match value {
        Value::Text(text) => out.push_str(text),
        Value::Object(fields) => {
            out.push('{');
            for (at, (key, value)) in fields.iter().enumerate() {
                let comma_here = if at > 0 { comma } else { "" };
                let _ = write!(out, "{comma_here}\"{key}\"{colon}");
                show(value, comma, colon, out);
            }
            out.push('}');
        }
        Value::Array(values) => {
            out.push('[');
            for (at, value) in values.iter().enumerate() {
                out.push_str(if at > 0 { comma } else { "" });
                show(value, comma, colon, out);
            }
            out.push(']');
        }
    }
}

fn log(rng: &mut Rng, trace: bool) -> String {
    let key = format!("{}-{}-{}", rng.pick(&SERVICES), hex(rng, 10), hex(rng, 5));
    let count = rng.between(4, 11);
    let mut text = words(rng, count);
    if rng.percent(5) {
        text = format!("{} {text}", rng.pick(&FOREIGN));
    } else if rng.percent(2) {
        text += r" \ud83d\ude80";
    }
    if rng.percent(35) {
        let _ = write!(text, r#" \"{}\""#, rng.pick(&WORDS));
    }
    if rng.percent(15) {
        let _ = write!(text, r"\t{}", rng.pick(&WORDS));
    }
    if rng.percent(10) {
        let _ = write!(text, r"\n{}", words(rng, 2));
    }
    let mut attrs = vec![
        ("region", quoted(rng.pick(&REGIONS))),
        ("status", raw(rng.pick(&["200", "200", "201", "204", "404", "500"]))),
        ("latency_ms", raw(format!("{}.{}", rng.below(400), rng.below(100)))),
        ("request_id", quoted(hex(rng, 16))),
    ];
    if rng.percent(50) {
        attrs.push(("retry", raw(rng.pick(&["true", "false", "null"]))));
    }
    let mut rest =
        vec![("level", quoted(rng.pick(&LEVELS))), ("msg", quoted(text)), ("attrs", Value::Object(attrs))];
    if trace {
        let mut stack = String::new();
        for _ in 0..rng.between(14, 36) {
            let (frame, word) = (rng.pick(&FRAMES), rng.pick(&WORDS));
            let _ = write!(stack, r"\n\tat {frame}({word}.java:{})", rng.below(900));
        }
        let message = words(rng, 4);
        rest.push(("stack", quoted(format!("java.lang.IllegalStateException: {message}{stack}"))));
    }
    let at = stamp(rng);
    assemble("log", &key, at, rest, rng)
}

fn number(rng: &mut Rng) -> String {
    match rng.below(4) {
        0 => {
            let digits = rng.between(1, 9) as u32;
            format!("{}", rng.below(10u64.pow(digits)))
        }
        1 => {
            let (whole, width) = (rng.below(10_000), rng.between(1, 6) as usize);
            format!("{whole}.{:0width$}", rng.below(10))
        }
        2 => format!("-{}.{}", rng.below(1000), rng.below(1000)),
        _ => {
            let (whole, part, sign) = (rng.between(1, 9), rng.below(1000), rng.pick(&["", "+", "-"]));
            format!("{whole}.{part}e{sign}{}", rng.between(1, 12))
        }
    }
}

fn metric(rng: &mut Rng) -> String {
    let count = rng.between(6, 11) as usize;
    let start = rng.below(METRICS.len() as u64) as usize;
    let values =
        (0..count).map(|at| (METRICS[(start + at) % METRICS.len()], raw(number(rng)))).collect::<Vec<_>>();
    let rest = vec![
        ("region", quoted(rng.pick(&REGIONS))),
        ("interval_s", raw("10")),
        ("values", Value::Object(values)),
        ("unit", raw("\"mixed\"")),
    ];
    let key = format!("host-{:04}", rng.below(10_000));
    let at = stamp(rng);
    assemble("metric", &key, at, rest, rng)
}

fn span(rng: &mut Rng) -> String {
    let table = rng.pick(&TABLES);
    let column = rng.pick(&WORDS);
    let sql = format!(
        r#"SELECT \"id\", \"{column}\" FROM \"{table}\"\n WHERE \"tenant\" = '{}' AND \"state\" <> \"void\""#,
        hex(rng, 8)
    );
    let begin = stamp(rng);
    let events = (0..rng.between(1, 4))
        .map(|_| {
            let name = quoted(rng.pick(&WORDS));
            let at = raw(format!("{}", begin + rng.below(SECOND_NS)));
            Value::Object(vec![("name", name), ("at_ns", at)])
        })
        .collect();
    let rest = vec![
        ("trace_id", quoted(hex(rng, 32))),
        ("span_id", quoted(hex(rng, 16))),
        ("parent_id", quoted(hex(rng, 16))),
        ("name", {
            let method = rng.pick(&["GET", "POST", "SELECT", "PUBLISH"]);
            quoted(format!("{method} {}", words(rng, 2)))
        }),
        ("duration_ns", raw(format!("{}", rng.below(SECOND_NS)))),
        ("resource", resource(rng)),
        ("http", http(rng, table)),
        (
            "db",
            Value::Object(vec![
                ("system", raw("\"postgresql\"")),
                ("statement", quoted(sql)),
                ("rows", raw(format!("{}", rng.below(500)))),
            ]),
        ),
        ("events", Value::Array(events)),
        (
            "status",
            Value::Object(vec![
                ("code", quoted(rng.pick(&["ok", "ok", "error"]))),
                ("sampled", raw(rng.pick(&["true", "false"]))),
            ]),
        ),
    ];
    let key = hex(rng, 32);
    assemble("span", &key, begin, rest, rng)
}

fn resource(rng: &mut Rng) -> Value {
    Value::Object(vec![
        ("service", quoted(rng.pick(&SERVICES))),
        ("version", quoted(format!("{}.{}.{}", rng.below(5), rng.below(20), rng.below(9)))),
        ("region", quoted(rng.pick(&REGIONS))),
        ("host", quoted(format!("host-{:04}.{}.internal", rng.below(10_000), rng.pick(&REGIONS)))),
    ])
}

fn http(rng: &mut Rng, table: &str) -> Value {
    Value::Object(vec![
        ("method", quoted(rng.pick(&["GET", "POST", "PUT"]))),
        ("status", raw(rng.pick(&["200", "201", "404", "503"]))),
        ("url", quoted(format!(r"https:\/\/api.example.com\/v2\/{table}\/{}", hex(rng, 8)))),
        ("agent", quoted(format!("ringmill-sdk/{}.{}", rng.below(9), rng.below(30)))),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Format, Scanner, StrictScanner, Verdict};
    use sha2::{Digest, Sha256};

    fn lines(kind: Kind, seed: u64, count: usize) -> Vec<u8> {
        let (mut rng, mut out) = (Rng::new(seed), Vec::new());
        for _ in 0..count {
            event(kind, &mut rng, &mut out);
            out.push(b'\n');
        }
        out
    }

    #[test]
    fn the_bytes_are_those_of_payload_py() {
        // python3 benches/payload.py --kind KIND --seed 1 --events 1000 | sha256sum
        for (kind, expected) in [
            (Kind::Mix, "07e178aabfe4e1049aeaa1c9bc822fd7127926c9029c4ce0e14287402b00a7e4"),
            (Kind::Log, "fe6291b79b54138ec9561a57f06f4fa7a320c47294f44f5b2df75b3f60c4b658"),
            (Kind::Metric, "ed9bd58111a3f8667bf586734cc0594a1d467fd8e55a8e846cfe355ae296b732"),
            (Kind::Span, "9a33b4afc587766422e1bb2d3b7b145d102e94cf462aed5219220f34f0cef70e"),
        ] {
            let found: String =
                Sha256::digest(lines(kind, 1, 1000)).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, expected, "{kind:?}");
        }
    }

    #[test]
    fn every_event_is_good_and_the_mix_has_its_mean() {
        for kind in [Kind::Log, Kind::Metric, Kind::Span, Kind::Mix] {
            let body = lines(kind, 42, 4000);
            let mut good = 0;
            StrictScanner::new().scan(&body, Format::Lines, |verdict| match verdict {
                Verdict::Good { .. } => good += 1,
                Verdict::Bad { span, reason, .. } => {
                    panic!("{kind:?}: {reason}: {}", body[span].escape_ascii())
                }
            });
            assert_eq!(good, 4000, "{kind:?}");
            if kind == Kind::Mix {
                // Standard deviation of an event is about 400 bytes, so of this mean about 7.
                let mean = (body.len() - 4000) as f64 / 4000.0;
                assert!((400.0..446.0).contains(&mean), "mean {mean}");
            }
        }
    }

    #[test]
    fn seeds_differ() {
        assert_eq!(lines(Kind::Mix, 5, 50), lines(Kind::Mix, 5, 50));
        assert_ne!(lines(Kind::Mix, 5, 50), lines(Kind::Mix, 6, 50));
    }
}
