//! Bodies of 1 MiB, the same in every run: three kinds of events, a mix of them, tiny ones (38 B), and such of one size.
use std::fmt::Write;

/// xorshift64*.
pub struct Random(u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) * n) >> 32
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

const WORDS: &[&str] = &[
    "checkout",
    "retry",
    "upstream",
    "timeout",
    "accepted",
    "payload",
    "cache miss",
    "connection",
    "refused",
    "while",
    "reading",
    "response",
    "header",
    "from",
    "shard",
    "pool",
    "exhausted",
    "after",
    "ms",
    "worker",
];

fn text(random: &mut Random, words: u64, out: &mut String) {
    for i in 0..words {
        if i > 0 {
            out.push(' ');
        }
        out.push_str(random.pick(WORDS));
    }
}

fn routing(random: &mut Random, kind: &str, members: &[String], out: &mut String) {
    let ts = 1_763_000_000_000_000_000 + random.below(3_600_000_000) * 1000 + random.below(1000);
    let key = match kind {
        "log" => format!("service-{:010x}-{:05x}", random.below(1 << 40), random.below(1 << 20)),
        "metric" => format!("host-{:04}", random.below(10_000)),
        _ => format!("{:016x}{:016x}", random.below(u64::MAX >> 1), random.below(u64::MAX >> 1)),
    };
    let route = [format!("\"type\":\"{kind}\""), format!("\"key\":\"{key}\""), format!("\"ts\":{ts}")];
    let (first, last) = if random.below(5) == 0 { (members, &route[..]) } else { (&route[..], members) };
    let spaced = random.below(10) == 0;
    out.push('{');
    for (i, member) in first.iter().chain(last).enumerate() {
        if i > 0 {
            out.push_str(if spaced { ", " } else { "," });
        }
        out.push_str(&if spaced { member.replacen("\":", "\": ", 1) } else { member.clone() });
    }
    out.push('}');
}

pub fn log(random: &mut Random, out: &mut String, trace: bool) {
    let mut message = String::new();
    let words = 4 + random.below(6);
    text(random, words, &mut message);
    match random.below(100) {
        0..5 => message.push_str(" für Größe π ≈ 3"),
        5..7 => message.push_str(" \\ud83d\\ude00 done"),
        7..25 => message.push_str(" \\\"quoted\\\""),
        25..40 => message.push_str("\\n\\tat line"),
        _ => {}
    }
    if trace {
        for _ in 0..20 + random.below(15) {
            write!(
                message,
                "\\n\\tat com.example.{}.Handler.call(Handler.java:{})",
                random.pick(WORDS).replace(' ', ""),
                random.below(900)
            )
            .unwrap();
        }
    }
    let level = random.pick(&["info", "info", "warn", "error", "debug"]);
    let (status, took) = (200 + random.below(300), random.below(100_000));
    let path = random.below(100_000);
    let sampled = random.below(2) == 0;
    let members = [
        format!("\"level\":\"{level}\""),
        format!("\"message\":\"{message}\""),
        format!(
            "\"attrs\":{{\"http.method\":\"POST\",\"http.status\":{status},\"path\":\"/v1/orders/{path}\",\"net\":{{\"peer\":\"10.0.{}.{}\"}},\"sampled\":{sampled},\"took_us\":{took}}}",
            random.below(256),
            random.below(256)
        ),
    ];
    routing(random, "log", &members, out);
}

pub fn metric(random: &mut Random, out: &mut String) {
    let mut values = String::from("\"values\":{");
    for i in 0..6 + random.below(6) {
        let n = random.below(1_000_000);
        if i > 0 {
            values.push(',');
        }
        match random.below(4) {
            0 => write!(values, "\"counter_{i}\":{n}"),
            1 => write!(values, "\"gauge_{i}\":{}.{:03}", n / 1000, n % 1000),
            2 => write!(values, "\"delta_{i}\":-{n}"),
            _ => write!(values, "\"ratio_{i}\":{}.{:04}e-{}", n % 10, n / 100, n % 9),
        }
        .unwrap();
    }
    values.push('}');
    routing(random, "metric", &[values, "\"unit\":\"ms\"".into()], out);
}

pub fn span(random: &mut Random, out: &mut String) {
    let (id, parent, host) = (random.below(u64::MAX >> 1), random.below(u64::MAX >> 1), random.below(2000));
    let (mut sql, mut event) = (String::new(), String::new());
    text(random, 12, &mut sql);
    text(random, 6, &mut event);
    let ts = 1_763_000_000_000_000_000 + random.below(1 << 40);
    let members = [
        format!("\"id\":\"{id:016x}\",\"parent\":\"{parent:016x}\",\"name\":\"SELECT orders\""),
        format!(
            "\"resource\":{{\"service\":{{\"name\":\"orders\",\"version\":\"1.{host}.0\"}},\"host\":{{\"name\":\"host-{host}\",\"arch\":\"amd64\"}}}}"
        ),
        format!(
            "\"attributes\":{{\"db\":{{\"system\":\"postgresql\",\"statement\":\"SELECT \\\"id\\\", \\\"total\\\" FROM \\\"orders\\\" WHERE note = '{sql}'\"}},\"net\":{{\"peer\":{{\"ip\":\"10.0.{}.{}\",\"port\":5432}}}}}}",
            host % 250,
            host % 199
        ),
        format!(
            "\"events\":[{{\"ts\":{ts},\"name\":\"acquired\",\"waited_us\":{host}}},{{\"ts\":{ts},\"name\":\"{event}\",\"rows\":{}}}]",
            host * 7
        ),
        "\"status\":{\"code\":0,\"ok\":true,\"error\":null},\"links\":[],\"dropped\":{\"attributes\":0,\"events\":0}".to_string(),
    ];
    routing(random, "span", &members, out);
}

/// An event of `bytes` bytes or somewhat less, most of them text.
fn sized(random: &mut Random, out: &mut String, bytes: usize) {
    let end = out.len() + bytes - 3;
    let (key, ts) = (random.below(1 << 20), 1_763_000_000_000_000_000 + random.below(1 << 40));
    write!(out, "{{\"type\":\"log\",\"key\":\"{key:x}\",\"ts\":{ts},\"attrs\":{{\"status\":200,\"text\":\"")
        .unwrap();
    while out.len() + 11 < end {
        out.push_str(random.pick(WORDS));
        out.push(' ');
    }
    out.push_str("\"}}");
}

/// Name and lines.
pub fn all() -> Vec<(&'static str, String)> {
    let names = ["log", "metric", "span", "mix", "tiny", "150", "300", "400", "4000"];
    names.into_iter().enumerate().map(|(number, name)| (name, corpus(name, number as u64))).collect()
}

fn corpus(name: &str, number: u64) -> String {
    let mut random = Random(0x5eed_0001 + number);
    let mut out = String::new();
    while out.len() < 1 << 20 {
        match name {
            "log" => log(&mut random, &mut out, false),
            "metric" => metric(&mut random, &mut out),
            "span" => span(&mut random, &mut out),
            "tiny" => write!(
                out,
                "{{\"type\":\"t\",\"key\":\"{}\",\"ts\":{}}}",
                random.below(100),
                random.below(1 << 30)
            )
            .unwrap(),
            "150" | "300" | "400" | "4000" => sized(&mut random, &mut out, name.parse().expect("a number")),
            _ => match random.below(100) {
                0..50 => log(&mut random, &mut out, false),
                50..80 => metric(&mut random, &mut out),
                80..95 => span(&mut random, &mut out),
                _ => log(&mut random, &mut out, true),
            },
        }
        out.push('\n');
    }
    out
}
