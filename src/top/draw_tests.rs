use super::*;
use ratatui::{Terminal, backend::TestBackend};
use std::fs;

/// The status of a real server with two shards under a load, one of whose connections sends 8 MB at a time.
const RECORDED: &str = include_str!("recorded.json");

fn recorded() -> Value {
    serde_json::from_str(RECORDED).unwrap()
}

fn screen(width: u16, height: u16, seen: &Seen<'_>) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, seen, true)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_string();
    (0..height).map(row).collect()
}

fn seen(status: &Value) -> Seen<'_> {
    Seen { server: "127.0.0.1:9090", status: Some(status), trouble: None }
}

/// The usual terminal, line by line as `recorded.txt` has it; `RINGMILL_ACCEPT=1` writes it anew, to be read.
#[test]
fn the_recorded_status_on_a_usual_terminal() {
    let status = recorded();
    let drawn = screen(80, 24, &seen(&status)).join("\n") + "\n";
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/top/recorded.txt");
    if std::env::var_os("RINGMILL_ACCEPT").is_some() {
        fs::write(golden, &drawn).unwrap();
    }
    assert_eq!(drawn, fs::read_to_string(golden).unwrap());
}

#[test]
fn the_text_of_once_holds_every_request_and_no_keys() {
    let status = recorded();
    let text = crate::top::text("127.0.0.1:9090", &status);
    let slow = status["total"]["slowest"].as_array().unwrap().len();
    assert!(text.lines().count() >= 16 + slow, "{text}");
    assert!(!text.contains(KEYS) && text.ends_with('\n') && !text.ends_with("\n\n"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 110));
}

#[test]
fn trouble_is_said_in_words() {
    let status = recorded();
    let away = Seen { trouble: Some("nobody listens on 127.0.0.1:9090"), ..seen(&status) };
    let lines = screen(120, 24, &away);
    assert!(
        lines[0].contains("AWAY: nobody listens on 127.0.0.1:9090; what is shown is old"),
        "{}",
        lines[0]
    );
    let never = Seen { status: None, ..away };
    let lines = screen(80, 24, &never);
    assert!(lines[1].contains("away: nobody listens") && lines[1].contains("trying again"), "{}", lines[1]);
    let mut ill = status.clone();
    ill["ready"] = false.into();
    ill["reasons"] = serde_json::json!(["shard 1: no space left"]);
    ill["shards"][1] =
        serde_json::json!({"shard": 1, "core": null, "ready": false, "reason": "does not answer"});
    ill["total"]["books"]["balanced"] = false.into();
    ill["total"]["spill"] = serde_json::json!({"mode": "spilling", "waiting_events": 12_345});
    ill["total"]["slowest"] = serde_json::json!([{
        "total_us": 1_500.0, "unseen_us": 40_000.0, "cause": "stall", "stall": "stolen", "stages_us": {"sink": null},
        "stream": null, "peer": null, "bytes": 3, "status": 200
    }]);
    let whole = screen(110, 24, &seen(&ill)).join("\n");
    for part in [
        "NOT READY: shard 1: no space left",
        "silent",
        "BOOKS DO NOT BALANCE",
        "spill spilling: 12 345 wait",
        "41.5 ms stall: stolen",
        "unseen 40.0 ms",
    ] {
        assert!(whole.contains(part), "{part} is missing in\n{whole}");
    }
}

#[test]
fn a_shard_that_gives_connections_away_is_marked() {
    let mut status = recorded();
    status["total"]["balance"] = serde_json::json!({ "handed_over": { "0": 1200, "3": 34 } });
    status["shards"][1]["balance"] = serde_json::json!({ "repairing": 1, "why": "busy" });
    let lines = screen(110, 24, &seen(&status));
    assert!(lines[1].contains("connections (1 234 given on)"), "{}", lines[1]);
    assert_eq!(lines.iter().filter(|line| line.ends_with("yes, →")).count(), 1, "{lines:#?}");
}

#[test]
fn no_size_and_no_content_panics() {
    let (status, nothing) = (recorded(), serde_json::json!({ "shards": [null, {}], "total": 3 }));
    for (width, height) in [(1, 1), (10, 3), (24, 80), (40, 12), (79, 24), (300, 80)] {
        for seen in [seen(&status), seen(&nothing), Seen { status: None, ..seen(&status) }] {
            assert_eq!(screen(width, height, &seen).len(), usize::from(height));
        }
    }
    let mut crowd = status.clone();
    crowd["shards"] = vec![status["shards"][0].clone(); 500].into();
    assert_eq!(screen(80, 24, &seen(&crowd)).len(), 24);
    assert!(crate::top::text("h", &crowd).contains("slowest"));
}
