//! The built server from outside, against what README.md promises: every reply, every stored byte.
#[path = "../common/mod.rs"]
mod common;
mod drivers;
mod http;
mod lines;
mod process;
mod stored;
mod verdicts;

use common::{PATIENCE, Reply, Server, TempDir, serve, serve_segments};
use serde_json::Value;
use std::time::{Duration, Instant};

const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";
const JSON: &str = "Content-Type: application/json\r\n";

/// A server that writes segments, and its folder.
fn segments_server(name: &str) -> (Server, TempDir) {
    let dir = TempDir::new(name);
    (Server::start(serve_segments(&dir.join("data"))), dir)
}

/// A server without storage.
fn null_server() -> Server {
    let mut command = serve();
    command.args(["--sink", "null"]);
    Server::start(command)
}

/// Status and the counts of an ordinary reply.
fn assert_counts(what: &str, reply: &Reply, status: u16, accepted: u64, rejected: u64) -> Value {
    assert_eq!(reply.status, status, "{what}: {}", reply.show());
    assert_eq!(reply.header("content-type"), Some("application/json"), "{what}: {}", reply.show());
    let body = reply.json();
    assert_eq!(body["accepted"], accepted, "{what}: {body}");
    assert_eq!(body["rejected"], rejected, "{what}: {body}");
    assert_eq!(body["errors"].as_array().map(Vec::len), Some(rejected.min(100) as usize), "{what}: {body}");
    body
}

/// A reply outside 2xx says what went wrong, where, and how to mend it.
fn assert_explained(what: &str, reply: &Reply) {
    let body = reply.json();
    let code = body["error"].as_str().unwrap_or_else(|| panic!("{what}: no error in {body}"));
    let short = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    assert!(!code.is_empty() && code.bytes().all(short), "{what}: {code}");
    let reason = body["reason"].as_str().unwrap_or_else(|| panic!("{what}: no reason in {body}"));
    assert!(reason.len() > 10, "{what}: {reason}");
}

/// Asks until it holds: what is counted is counted soon after the reply, not before it.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
