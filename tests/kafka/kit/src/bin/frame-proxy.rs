//! The kit's proxy as a program, for tests that are not written in Rust.
//!
//! `frame-proxy LISTEN=TO…` listens in front of one broker for each argument, prints a JSON line and obeys standard
//! input, whose end is its own: each line a JSON array of words, answered by a JSON line. A proxy is named by its place
//! from 1, all of them by 0.
//!
//! ```text
//! ["rule", "1", "Produce", "SKIP", "TIMES", "cut-answer", "N"]   see `Meddle`; N where it has a number (bytes or milliseconds)
//! ["left", "0"]                rules that are not used up
//! ["limit", "0", "64000"]      bytes a second each way on each connection; 0 lifts it
//! ["cut", "0"]                 cuts every connection
//! ["requests", "0", "Produce"] how many of a call there were, and their versions
//! ```

use kafka_protocol::messages::ApiKey;
use ringmill_kafka_kit::proxy::{Meddle, Proxy};
use serde_json::{Value, json};
use std::{collections::BTreeSet, io::BufRead, time::Duration};

fn main() {
    let proxies: Vec<Proxy> = std::env::args().skip(1).map(|pair| start(&pair)).collect();
    println!("{}", json!({"ok": true, "proxies": proxies.len()}));
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let answer = match obey(&proxies, &line) {
            Ok(mut answer) => {
                answer["ok"] = true.into();
                answer
            }
            Err(why) => json!({"ok": false, "error": why}),
        };
        println!("{answer}");
    }
}

fn start(pair: &str) -> Proxy {
    let (listen, to) = pair.split_once('=').unwrap_or_else(|| panic!("{pair}: LISTEN=TO is expected"));
    let [listen, to] = [listen, to].map(|at| at.parse().unwrap_or_else(|why| panic!("{at}: {why}")));
    Proxy::start(listen, to).unwrap_or_else(|why| panic!("{listen}: {why}"))
}

fn obey(proxies: &[Proxy], line: &str) -> Result<Value, String> {
    let words: Vec<String> = serde_json::from_str(line).map_err(|why| why.to_string())?;
    let text = |at: usize| words.get(at).map(String::as_str).ok_or(format!("word {at} is missing"));
    let number = |at: usize| text(at)?.parse::<u64>().map_err(|_| format!("word {at}: a number is expected"));
    let meant: Vec<&Proxy> = match number(1)? as usize {
        0 => proxies.iter().collect(),
        place => vec![proxies.get(place - 1).ok_or(format!("there is no proxy {place}"))?],
    };
    match text(0)? {
        "rule" => {
            let (skip, times) = (number(3)? as u32, number(4)? as u32);
            let (call, what) = (key(text(2)?)?, meddle(text(5)?, number(6).unwrap_or(0))?);
            meant.iter().for_each(|proxy| proxy.rule(call, skip, times, what));
            Ok(json!({}))
        }
        "left" => Ok(json!({"left": meant.iter().map(|proxy| proxy.rules_left()).sum::<usize>()})),
        "limit" => {
            let rate = Some(number(2)?).filter(|rate| *rate > 0);
            meant.iter().for_each(|proxy| proxy.limit(rate));
            Ok(json!({}))
        }
        "cut" => {
            meant.iter().for_each(|proxy| proxy.cut());
            Ok(json!({}))
        }
        "requests" => {
            let wanted = key(text(2)?)?;
            let all = meant.iter().flat_map(|proxy| proxy.requests());
            let versions: Vec<i16> =
                all.filter(|(key, _)| *key == wanted).map(|(_, version)| version).collect();
            let told: BTreeSet<i16> = versions.iter().copied().collect();
            Ok(json!({"count": versions.len(), "versions": told}))
        }
        word => Err(format!("unknown word {word}")),
    }
}

fn key(name: &str) -> Result<ApiKey, String> {
    ApiKey::iter().find(|key| format!("{key:?}") == name).ok_or(format!("there is no call {name}"))
}

fn meddle(name: &str, n: u64) -> Result<Meddle, String> {
    let (bytes, time) = (n as usize, Duration::from_millis(n));
    Ok(match name {
        "drop-answer" => Meddle::DropAnswer,
        "cut-answer" => Meddle::CutAnswer,
        "cut-answer-after" => Meddle::CutAnswerAfter(bytes),
        "cut-request-after" => Meddle::CutRequestAfter(bytes),
        "delay-request" => Meddle::DelayRequest(time),
        "delay-answer" => Meddle::DelayAnswer(time),
        "slice-answer" => Meddle::SliceAnswer(bytes.max(1)),
        "flip-request" => Meddle::FlipRequest(bytes),
        _ => return Err(format!("unknown meddling {name}")),
    })
}
