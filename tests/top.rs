//! `ringmill top` from outside: a real server shown, and what it says when there is none.
mod common;

use common::{Client, Server, TempDir, json};
use serde_json::Value;
use std::{
    io::Write,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

fn top(args: &[&str]) -> Output {
    common::ringmill().arg("top").args(args).stdin(Stdio::null()).output().unwrap()
}

fn busy_server(dir: &TempDir) -> Server {
    let server = Server::start(common::serve_segments(&dir.join("data")));
    let mut client = Client::connect(server.http());
    for n in 0..50 {
        assert_eq!(client.ask(&json(format!("{{\"n\":{n}}}"))).status, 200);
    }
    server
}

#[test]
fn once_as_json_and_as_text() {
    let dir = TempDir::new("top");
    let server = busy_server(&dir);
    let url = format!("http://{}", server.admin());
    let output = top(&[&url, "--once", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["total"]["counters"]["events_stored"], 50);
    assert_eq!(status["total"]["books"]["balanced"], true);
    assert!(status["recent"]["window_ms"].as_u64().unwrap() >= 900, "two looks make a rate");
    let slow = status["total"]["slowest"].as_array().unwrap();
    assert!(!slow.is_empty() && slow.len() <= 32);
    for request in slow {
        assert_eq!(request["stream"], "default");
        assert_eq!((request["status"].as_u64(), request["events"].as_u64()), (Some(200), Some(1)));
        assert!(request["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{request}");
        let known = ["commit", "commit_before", "stall", "neighbour", "slow_reader", "unknown", "no_room"];
        assert!(known.contains(&request["cause"].as_str().unwrap()), "{request}");
        let parts: f64 = request["stages_us"].as_object().unwrap().values().filter_map(Value::as_f64).sum();
        assert!(parts <= request["total_us"].as_f64().unwrap() * 1.01 + 1_000.0, "{request}");
    }

    let output = top(&[&server.admin().to_string(), "--once"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["takes events", "books balance: 50 in = 50 stored", "seal_wait", "ack durable", "slowest"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "text has no control sequences");
}

#[test]
fn nobody_there_no_ringmill_and_no_url() {
    for (args, code, word) in [
        (&["http://127.0.0.1:1", "--once"][..], 1, "nobody listens on 127.0.0.1:1"),
        (&["https://h", "--once"], 2, "tunnel"),
        (&["http://"], 2, "is no URL"),
        (&["--json"], 2, "--once"),
        (&["127.0.0.1:1"], 1, "use --once"),
    ] {
        let output = top(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(word) && output.stdout.is_empty(), "{args:?}: {said}");
    }
    // The port for events is not the one for people.
    let dir = TempDir::new("top-wrong");
    let server = Server::start(common::serve_segments(&dir.join("data")));
    let output = top(&[&server.http().to_string(), "--once"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("is it the admin port?"), "{said}");
}

/// `top` on a terminal that `script` makes, and what was written to it.
fn on_terminal(url: &str, act: impl FnOnce(&mut std::process::Child)) -> (bool, String) {
    let command = format!("stty rows 24 cols 80; exec {:?} top {url}", common::ringmill().get_program());
    let mut child = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script runs");
    act(&mut child);
    let deadline = Instant::now() + common::PATIENCE;
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "top does not end");
        thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The process that `script` runs, once it is `top`.
fn child_of(script: u32) -> Option<i32> {
    let children = std::fs::read_to_string(format!("/proc/{script}/task/{script}/children")).ok()?;
    let pid = children.split_ascii_whitespace().next()?.parse().ok()?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (name.trim() == "ringmill").then_some(pid)
}

const LEAVES: &str = "\u{1b}[?1049l";

#[test]
#[ignore = "needs script for a terminal"]
fn a_terminal_is_drawn_on_and_given_back() {
    let dir = TempDir::new("top-live");
    let server = busy_server(&dir);
    let url = format!("http://{}", server.admin());
    let (ended_well, drawn) = on_terminal(&url, |child| {
        thread::sleep(Duration::from_millis(1_500));
        child.stdin.as_mut().unwrap().write_all(b"q").unwrap();
    });
    assert!(ended_well && drawn.contains("takes events") && drawn.contains(LEAVES), "{drawn}");

    let (ended_well, drawn) = on_terminal("127.0.0.1:1", |child| {
        thread::sleep(Duration::from_millis(1_500));
        child.stdin.as_mut().unwrap().write_all(b"q").unwrap();
    });
    assert!(ended_well && drawn.contains("away: nobody listens"), "{drawn}");

    let (_, drawn) = on_terminal(&url, |child| {
        let deadline = Instant::now() + common::PATIENCE;
        let pid = loop {
            if let Some(pid) = child_of(child.id()) {
                break pid;
            }
            assert!(Instant::now() < deadline, "top does not start");
            thread::sleep(Duration::from_millis(20));
        };
        thread::sleep(Duration::from_millis(1_000));
        assert!(Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap().success());
    });
    assert!(drawn.contains(LEAVES), "SIGTERM leaves no terminal behind: {drawn}");
}
