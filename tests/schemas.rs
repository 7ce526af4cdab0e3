//! Schemas of the built server, from outside: verdicts over HTTP and lines, the quarantine, refused configuration.
mod common;

use common::{Client, Reply, Server, TempDir, post, run, serve, serve_segments};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::Command,
};

const SCHEMAS: &str = r#"
[[schema]]
stream = "orders"
additional = false

[[schema.field]]
pointer = "/id"
required = true
prefix = "ord-"
max_length = 12

[[schema.field]]
pointer = "/state"
type = ["string", "null"]
enum = ["open", "paid"]

[[schema.field]]
pointer = "/amount"
type = "integer"
"#;

fn with_config(mut command: Command, dir: &Path, text: &str) -> Command {
    let path = dir.join("ringmill.toml");
    fs::write(&path, text).unwrap();
    command.arg("--config").arg(path);
    command
}

fn ndjson(path: &str, body: &str) -> Vec<u8> {
    post(path, "Content-Type: application/x-ndjson\r\n", body.as_bytes())
}

fn json(path: &str, body: &str) -> Vec<u8> {
    post(path, "Content-Type: application/json\r\n", body.as_bytes())
}

fn errors(reply: &Reply) -> Vec<(u64, u64, String)> {
    let reply = reply.json();
    let entry = |error: &serde_json::Value| {
        let number = |name: &str| error[name].as_u64().unwrap();
        (number("index"), number("offset"), error["reason"].as_str().unwrap().to_string())
    };
    reply["errors"].as_array().unwrap().iter().map(entry).collect()
}

#[test]
fn violations_are_verdicts_and_go_to_the_quarantine() {
    let events = [
        "{\"id\":\"ord-1\",\"state\":\"open\",\"amount\":5}",
        "{\"id\":\"ord-2\",\"state\":\"lost\"}",
        "{\"\\u0069d\":\"\\u006frd-3\",\"state\":null}",
        "{\"state\":\"paid\"}",
        "{\"id\":\"ord-4\",\"amount\":1.5}",
        "{\"id\":\"ord-123456789\"}",
        "{\"id\":\"ord-5\",\"extra\":{}}",
        "{\"id\":\"ord-6\"",
        "{\"id\":\"ord-7\",\"id\":\"x\"}",
    ];
    let body = events.join("\n");
    let place = |event: usize, text: &str| {
        let start: usize = events[..event].iter().map(|event| event.len() + 1).sum();
        (start + events[event].find(text).unwrap()) as u64
    };
    let want = [
        (1, place(1, "\"lost\""), "/state: expected `open` or `paid`"),
        (3, place(3, "{"), "/id: required, but missing"),
        (4, place(4, "1.5"), "/amount: expected an integer"),
        (5, place(5, "\"ord-123"), "/id: longer than 12 bytes"),
        (6, place(6, "\"extra\""), "a name that the schema does not have"),
        (7, place(7, "{") + events[7].len() as u64, "the event ends before it is complete"),
        (8, place(8, "\"id\":\"x\""), "/id: given twice"),
    ]
    .map(|(index, offset, reason)| (index, offset, reason.to_string()));
    for scanner in ["exact", "fast", "simd-json"] {
        let dir = TempDir::new("schemas");
        let mut command = serve_segments(&dir.join("data"));
        command.args(["--scanner", scanner]);
        let server = Server::start(with_config(command, dir.path(), SCHEMAS));
        let mut client = server.client();
        let reply = client.ask(&ndjson("/v1/events/orders", &body));
        assert_eq!(reply.status, 207, "{}", reply.show());
        assert_eq!(errors(&reply), want, "{scanner}");
        assert_eq!(reply.json()["accepted"], 2);
        let array = format!("[{}]", events[..7].join(","));
        let reply = client.ask(&json("/v1/events/orders", &array));
        let shifted: Vec<_> =
            want[..5].iter().map(|(at, offset, why)| (*at, offset + 1, why.clone())).collect();
        assert_eq!((reply.status, errors(&reply)), (207, shifted), "{scanner}");
        let reply = client.ask(&json("/v1/events/orders", events[3]));
        assert_eq!((reply.status, errors(&reply)), (400, vec![(0, 0, want[1].2.clone())]), "{scanner}");
        let reply = client.ask(&ndjson("/v1/events/other", events[3]));
        assert_eq!(reply.status, 200, "a stream without a schema takes any event: {}", reply.show());
        let rejected = server.metric("ringmill_events_quarantined_total");
        assert_eq!(rejected, 13.0, "{scanner}");
        server.stop();
        let stored = cat(&dir, &["--stream", "orders"]);
        assert_eq!(stored, [events[0], events[2], events[0], events[2], ""].join("\n"), "{scanner}");
        let quarantine = cat(&dir, &["--quarantine"]);
        for (index, offset, reason) in &want {
            let header = format!("\"reason\":\"{reason}\",\"index\":{index},\"offset\":{offset},");
            let entry = quarantine.split("{\"ringmill_quarantine\":1,").find(|entry| entry.contains(&header));
            let entry = entry.unwrap_or_else(|| panic!("no entry with {header} in {quarantine}"));
            assert!(entry.contains(events[*index as usize]), "{entry}");
        }
    }
}

fn cat(dir: &TempDir, args: &[&str]) -> String {
    String::from_utf8(common::cat(&dir.join("data"), args)).unwrap()
}

#[test]
fn lines_are_held_against_the_schema_of_all_streams() {
    let dir = TempDir::new("schema-lines");
    let mut command = serve();
    command.args(["--listen-lines", "127.0.0.1:0", "--lines-replies", "--sink", "null"]);
    let text = "[[schema]]\nstream = \"*\"\nfield = [{ pointer = \"/a/b\", required = true }]\n";
    let server = Server::start(with_config(command, dir.path(), text));
    let mut client = Client::connect(server.lines());
    client.send(b"{\"a\":{\"b\":1}}\n{\"a\":{\"c\":1}}\n");
    let mut settled = String::new();
    for line in BufReader::new(client.stream()).lines() {
        settled += &line.unwrap();
        if settled.contains("\"through\":2") {
            break;
        }
    }
    assert!(settled.contains("{\"line\":2,\"reason\":\"/a/b: required, but missing\"}"), "{settled}");
    server.stop();
}

#[test]
fn a_rehearsal_shows_schemas_and_refuses_what_cannot_be() {
    let dir = TempDir::new("schema-plan");
    let rehearse = |text: &str| {
        let mut command = serve();
        command.args(["--sink", "null", "--dry-run"]);
        run(with_config(command, dir.path(), text))
    };
    let output = rehearse(SCHEMAS);
    let (plan, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{said}");
    let row = "schema           `orders`: /id required, string, at most 12 bytes, prefix \"ord-\"; /state";
    assert!(plan.contains(row) && plan.contains("schemas"), "{plan}");
    let output = rehearse("[[schema]]\nstream = \"orders\"\n[[schema.field]]\npointer = \"id\"\n");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("line 3: field `id`: a JSON pointer begins with `/`, as in /user/id"), "{said}");
}
