//! The program: what it says at start, what it refuses to start with, how it ends.
use crate::common;
use crate::common::{Client, Server, TempDir, cat, get, json, run, segments, serve, serve_segments};
use crate::{null_server, segments_server};
use ringmill_core::json::Kernel;
use serde_json::json as value;
use std::fs;
use std::net::TcpListener;

#[test]
fn ready_line_names_what_runs() {
    let dir = TempDir::new("ready");
    let mut command = serve_segments(&dir.join("data"));
    command.args(["--listen", "127.0.0.1:0", "--listen-lines", "127.0.0.1:0", "--driver", "uring"]);
    let lines = format!("unix:{}", dir.join("lines.sock").display());
    command.args(["--listen-lines", &lines]);
    let mut server = Server::start(command);
    let keys: Vec<&str> =
        server.ready().split(' ').skip(2).map(|part| part.split('=').next().unwrap()).collect();
    assert_eq!(keys, ["http", "lines", "admin", "shards", "sink", "ack", "driver"], "{}", server.ready());
    assert_eq!(server.field("http").split(',').count(), 2);
    assert_eq!(server.field("lines").split(',').count(), 2);
    assert!(server.field("lines").split(',').any(|a| a == lines), "{}", server.ready());
    assert_eq!(server.field("shards"), "1");
    assert_eq!(server.field("sink"), format!("segments:{}", dir.join("data").display()));
    assert_eq!((server.field("ack"), server.field("driver")), ("durable", "uring"));
    for http in server.field("http").split(',') {
        assert_eq!(Client::connect(http.parse().unwrap()).ask(&json(r#"{"a":1}"#)).status, 200);
    }
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(server.further_output(), Vec::<String>::new(), "one line only on standard output");

    let mut command = common::ringmill();
    command.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--sink",
        "null",
        "--admin",
        "none",
        "--cores",
        &common::core(),
    ]);
    let server = Server::start(command);
    let fields = ["lines", "admin", "sink", "ack"].map(|name| server.field(name).to_string());
    assert_eq!(fields, ["-", "-", "null", "accepted"]);
}

#[test]
fn a_level_beyond_the_sink_is_refused_at_start() {
    for (sink, ack) in [("null", "durable"), ("null", "replicated"), ("segments:./never-made", "replicated")]
    {
        let mut command = serve();
        command.args(["--sink", sink, "--ack", ack]);
        let output = run(command);
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{sink} {ack}: {log}");
        assert!(log.contains("ack") && log.contains(ack), "{log}");
    }
}

#[test]
fn admin_answers() {
    let (server, _dir) = segments_server("admin");
    assert_eq!(get(server.admin(), "/healthz").status, 200);
    assert_eq!(get(server.admin(), "/readyz").status, 200);
    let status = get(server.admin(), "/status");
    assert_eq!(status.status, 200);
    let status = status.json();
    let kernel = Kernel::best().name();
    for judge in [&status["total"]["scanner"], &status["shards"][0]["scanner"]] {
        assert_eq!((&judge["name"], &judge["kernel"]), (&value!("fast"), &value!(kernel)), "{status}");
    }
    assert_eq!(status["config"]["scanner"], format!("fast ({kernel})"));
    assert_eq!(get(server.admin(), "/nowhere").status, 404);
}

#[test]
fn sigterm_answers_what_was_received() {
    let (mut server, dir) = segments_server("drain");
    let mut client = server.client();
    let mut all = Vec::new();
    for n in 0..200 {
        all.extend(json(format!("{{\"n\":{n}}}")));
    }
    client.send(&all);
    assert_eq!(client.reply().status, 200);
    let idle = server.client();
    server.terminate();
    let mut acked = 1;
    while let Some(reply) = client.try_reply(false) {
        acked += usize::from(reply.status == 200);
    }
    let status = server.wait();
    assert_eq!(status.code(), Some(0), "{}", server.log());
    drop(idle);
    let stored = String::from_utf8(cat(&dir.join("data"), &[])).unwrap();
    assert!(stored.lines().count() >= acked, "{acked} acknowledged, stored:\n{stored}");
    for (n, line) in stored.lines().enumerate() {
        assert_eq!(line, format!("{{\"n\":{n}}}"));
    }
    assert!(segments("verify", &dir.join("data"), &[]).status.success());
}

#[test]
fn one_owner_a_folder() {
    let (server, dir) = segments_server("owner");
    let output = run(serve_segments(&dir.join("data")));
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(output.stdout.is_empty() && log.contains(&*dir.join("data").to_string_lossy()), "{log}");
    assert_eq!(server.client().ask(&json(r#"{"a":1}"#)).status, 200, "the first goes on");
    server.stop();
    assert_eq!(cat(&dir.join("data"), &[]), b"{\"a\":1}\n");
}

#[test]
fn a_taken_port_is_an_error() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = null_server();
    for taken in [other.local_addr().unwrap(), server.http()] {
        let mut command = common::ringmill();
        command.args([
            "serve",
            "--sink",
            "null",
            "--admin",
            "none",
            "--cores",
            &common::core(),
            "--listen",
            &taken.to_string(),
        ]);
        let output = run(command);
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(output.stdout.is_empty() && log.contains(&taken.to_string()), "{log}");
    }
}

#[test]
fn foreign_files_are_refused_and_kept() {
    let dir = TempDir::new("foreign");
    let shard = dir.join("data/shard-000");
    fs::create_dir_all(&shard).unwrap();
    let foreign = shard.join("0000000001.seg");
    fs::write(&foreign, "somebody else's notes\n").unwrap();
    let output = run(serve_segments(&dir.join("data")));
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("0000000001.seg"), "{log}");
    assert_eq!(fs::read_to_string(&foreign).unwrap(), "somebody else's notes\n");
}

#[test]
fn bad_usage_is_explained() {
    let dir = TempDir::new("usage");
    let config = dir.join("bad.toml");
    fs::write(&config, "# first\nlisten = \"127.0.0.1:0\"\nsnik = \"null\"\n").unwrap();
    let config = config.to_string_lossy().into_owned();
    for (args, wanted) in [
        (vec!["serve", "--snik", "null"], "--sink"),
        (vec!["serve", "--config", &config], "sink"),
        (vec!["serve", "--config", &config], "3"),
        (vec!["serve", "--sink", "tape:x"], "sink"),
        (vec!["serve", "--cores", "9999"], "9999"),
        (vec!["serve", "--listen", "nowhere"], "listen"),
        (vec!["serve", "--memory", "1k"], "memory"),
    ] {
        let mut command = common::ringmill();
        command.args(&args);
        let output = run(command);
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {log}");
        assert!(log.contains(wanted), "{args:?}: {log}");
    }
    let mut command = serve();
    command.args(["--sink", "null", "--dry-run"]);
    let output = run(command);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).to_lowercase().contains("total"));
}
