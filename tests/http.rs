//! The built server with an HTTP target behind it that does what it is told.
mod common;
#[path = "http/outside.rs"]
mod outside;
#[path = "http/target.rs"]
mod target;

use common::{PATIENCE, Reply, Server, TempDir, get, ndjson, post, serve};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    thread,
    time::{Duration, Instant},
};
use target::{Act, Target};

/// `serve` towards that target, with room for little and patience for little.
fn towards(target: &Target, path: &str, more: &[&str]) -> Command {
    let mut command = serve();
    command.arg("--sink").arg(format!("http://{}{path}", target.address()));
    command.args(more);
    command
}

fn start(target: &Target, more: &[&str]) -> Server {
    Server::start(towards(target, "/in", more))
}

const HASTY: [&str; 4] = ["--http-request-timeout-s", "500ms", "--http-delivery-timeout-s", "1500ms"];

/// Events that differ, one a line.
fn events(from: usize, count: usize) -> Vec<String> {
    let pad = "x".repeat(100);
    (from..from + count).map(|n| format!(r#"{{"n":{n},"pad":"{pad}"}}"#)).collect()
}

fn send(server: &Server, events: &[String]) -> Reply {
    server.client().ask(&ndjson(events.join("\n")))
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
fn assert_written(reply: &Reply, count: usize) {
    assert_eq!(reply.status, 202, "{}", reply.show());
    let body = reply.json();
    assert_eq!((&body["ack"], &body["accepted"]), (&"written".into(), &count.into()), "{body}");
}

/// received = stored + quarantined + rejected + shed, and nothing is left in flight.
#[track_caller]
fn assert_books(server: &Server) {
    let m = |name: &str| server.metric(&format!("ringmill_events_{name}"));
    let ended = m("stored_total") + m("quarantined_total") + m("rejected_total") + m("shed_total");
    assert_eq!((m("received_total"), m("in_flight")), (ended, 0.0));
}

fn answer(status: u16) -> Act {
    Act::Answer(status, "", String::new())
}

#[test]
fn what_is_told_as_written_is_there_byte_by_byte() {
    for more in [
        &["--driver", "uring"][..],
        &["--driver", "uring", "--http-connections", "3", "--http-batch-bytes", "16KiB"],
        &["--driver", "glommio", "--http-batch-bytes", "16KiB"],
    ] {
        let target = Target::start([]);
        let server = start(&target, more);
        assert_eq!(server.field("ack"), "written");
        assert_eq!(server.field("sink"), format!("http://{}/in", target.address()));
        let all = events(0, 2000);
        for part in all.chunks(400) {
            assert_written(&send(&server, part), part.len());
        }
        // What lies between the tokens of an event is kept; a line break between them becomes a blank.
        let odd = r#"{ "a" : [1,  2] ,"b":"\u00e9é" }"#.to_string();
        assert_written(&send(&server, std::slice::from_ref(&odd)), 1);
        let mut taken = target.taken();
        taken.sort();
        let mut sent = [all, vec![odd]].concat();
        sent.sort();
        assert!(taken == sent, "{} sent, {} taken", sent.len(), taken.len());
        assert_eq!(server.metric("ringmill_events_stored_total"), 2001.0);
        let seen = target.seen();
        assert!(seen.iter().all(|seen| seen.body.len() <= 64 << 10 && seen.body.ends_with(b"\n")));
        assert_eq!(seen[0].line, "POST /in HTTP/1.1");
        assert_eq!(seen[0].header("host"), Some(target.address().to_string().as_str()));
        assert_eq!(seen[0].header("content-type"), Some("application/x-ndjson"));
        assert_books(&server);
        server.stop();
    }
}

#[test]
fn with_one_connection_events_come_in_order_and_the_connection_is_kept() {
    let target = Target::start([answer(503), answer(200), answer(500)]);
    let server = start(&target, &["--http-batch-bytes", "16KiB"]);
    let all = events(0, 3000);
    assert_written(&send(&server, &all), 3000);
    assert_eq!(target.taken(), all);
    assert_eq!(target.connections(), 1);
    assert!(server.metric("ringmill_http_retries_total") >= 2.0);
    server.stop();
}

#[test]
fn each_status_has_its_rule() {
    // Status of every answer; whether it is tried again; status and code of the reply.
    for (status, again, reply, code) in [
        (408, true, 503, "not_written"),
        (425, true, 503, "not_written"),
        (429, true, 503, "not_written"),
        (503, true, 503, "not_written"),
        (507, true, 503, "not_written"),
        (500, true, 503, "possibly_written"),
        (502, true, 503, "possibly_written"),
        (504, true, 503, "possibly_written"),
        (301, false, 503, "not_written"),
        (401, false, 503, "not_written"),
        (403, false, 503, "not_written"),
        (404, false, 503, "not_written"),
        (400, false, 400, "no_good_event"),
        (413, false, 400, "no_good_event"),
        (422, false, 400, "no_good_event"),
    ] {
        let target = Target::start([]);
        target.always(Some(answer(status)));
        let server =
            start(&target, &["--http-request-timeout-s", "300ms", "--http-delivery-timeout-s", "400ms"]);
        let answered = send(&server, &events(0, 1));
        let body = answered.json();
        assert_eq!((answered.status, &body["error"]), (reply, &code.into()), "{status}: {body}");
        assert_eq!(target.seen().len() > 1, again, "{status}");
        if reply == 503 {
            assert!(answered.header("retry-after").is_some());
            assert!(body["reason"].as_str().unwrap().contains(&status.to_string()), "{body}");
            let field = if code == "not_written" { "not_written" } else { "possibly_written" };
            assert_eq!(body[field], 1, "{body}");
        } else {
            assert_eq!((&body["rejected"], &body["errors"][0]["index"]), (&1.into(), &0.into()), "{body}");
        }
        eventually("it is logged", || server.log().contains(&format!("answers {status}")));
        assert_books(&server);
        server.stop();
    }
}

#[test]
fn what_passes_is_waited_for() {
    let acts = [429, 503, 500, 408, 425, 502].map(answer);
    let target = Target::start(acts);
    let server = start(&target, &[]);
    let all = events(0, 50);
    assert_written(&send(&server, &all), 50);
    assert_eq!(target.taken(), all);
    assert_eq!(server.metric("ringmill_http_retries_total"), 6.0);
    assert_eq!(server.metric("ringmill_http_requests_taken_total"), 1.0);
    let status = get(server.admin(), "/status").json();
    assert_eq!(status["total"]["http"]["retries"], 6, "{status}");
    server.stop();
}

#[test]
fn a_target_is_left_alone_for_as_long_as_it_says() {
    let target = Target::start([Act::Answer(429, "Retry-After: 1\r\n", String::new())]);
    let server = start(&target, &[]);
    let began = Instant::now();
    assert_written(&send(&server, &events(0, 1)), 1);
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    // Longer than anybody waits: given up at the end of the delivery timeout, not after an hour.
    let target = Target::start([Act::Answer(503, "Retry-After: 3600\r\n", String::new())]);
    let server = start(&target, &HASTY);
    let reply = send(&server, &events(0, 1));
    assert_eq!((reply.status, &reply.json()["error"]), (503, &"not_written".into()));
    assert_eq!(target.seen().len(), 1);
}

#[test]
fn a_lost_connection_is_made_again_and_the_truth_is_told() {
    for (act, code) in [
        (Act::CloseAtHead, "possibly_written"),
        (Act::TakeAndClose, "possibly_written"),
        (Act::Hang, "possibly_written"),
        (Act::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut"), "possibly_written"),
        (Act::Raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "possibly_written"),
        (
            Act::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
            "possibly_written",
        ),
    ] {
        let target = Target::start([act.clone()]);
        let server = start(&target, &["--http-request-timeout-s", "500ms"]);
        let all = events(0, 20);
        assert_written(&send(&server, &all), 20);
        assert!(target.connections() >= 2, "{act:?}");
        assert!(target.seen().last().unwrap().lines() == all, "{act:?}");
        drop(server);
        let target = Target::start([]);
        target.always(Some(act.clone()));
        let server = start(&target, &HASTY);
        let reply = send(&server, &all);
        let body = reply.json();
        assert_eq!((reply.status, &body["error"]), (503, &code.into()), "{act:?} {body}");
        assert_eq!(body["possibly_written"], 20);
        assert_books(&server);
        server.stop();
    }
}

#[test]
fn answers_of_any_shape_are_read() {
    let raw: [&[u8]; 5] = [
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nand something that nobody asked for",
    ];
    let acts = raw.map(Act::Raw).into_iter().chain([Act::Drip(200), Act::Drip(503), Act::Slow]);
    let target = Target::start(acts);
    let server = start(&target, &[]);
    for n in 0..8 {
        assert_written(&send(&server, &events(n * 10, 10)), 10);
    }
    assert_eq!(server.metric("ringmill_http_requests_lost_total"), 0.0);
    assert_eq!(server.metric("ringmill_http_retries_total"), 1.0, "the 503");
    server.stop();
}

#[test]
fn a_refusal_before_the_body_has_come_is_heard() {
    let target = Target::start([Act::Early(413)]);
    let server = start(&target, &["--http-batch-bytes", "8MiB"]);
    // More than sockets' buffers hold, so that it is still on its way.
    let all = events(0, 60_000);
    assert_written(&send(&server, &all), 60_000);
    let seen = target.seen();
    assert_eq!(seen.iter().map(|seen| seen.lines().len()).sum::<usize>(), 60_000, "two halves");
    assert_eq!(server.metric("ringmill_http_splits_total"), 1.0);
    server.stop();
}

#[test]
fn one_poisoned_event_is_found_and_its_neighbours_go_in() {
    // The whole is refused, then each half that has the event, down to itself: the target knows by content.
    let target = Target::start([]);
    let poison = Poison::start();
    let server = Server::start({
        let mut command = serve();
        command.arg("--sink").arg(format!("http://{}/in", poison.address));
        command
    });
    let mut all = events(0, 100);
    all[37] = r#"{"poison":true}"#.into();
    let reply = send(&server, &all);
    let body = reply.json();
    assert_eq!(reply.status, 207, "{body}");
    assert_eq!((&body["accepted"], &body["rejected"]), (&99.into(), &1.into()));
    assert_eq!(body["errors"][0]["index"], 37);
    assert_eq!(body["errors"][0]["reason"], "refused by the HTTP target");
    assert_eq!(server.metric("ringmill_events_stored_total"), 99.0);
    assert_books(&server);
    server.stop();
    drop(target);
}

/// A target that refuses every body with the word `poison` in it.
struct Poison {
    address: std::net::SocketAddr,
}

impl Poison {
    fn start() -> Poison {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || Self::serve(stream));
            }
        });
        Poison { address }
    }

    fn serve(mut stream: TcpStream) -> Option<()> {
        let mut all = Vec::new();
        let mut chunk = [0; 65536];
        loop {
            let n = stream.read(&mut chunk).ok().filter(|n| *n > 0)?;
            all.extend_from_slice(&chunk[..n]);
            while let Some(end) = all.windows(4).position(|w| w == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&all[..end]).to_ascii_lowercase();
                let length = head.split("content-length: ").nth(1)?;
                let length: usize = length.split("\r\n").next()?.parse().ok()?;
                if all.len() < end + 4 + length {
                    break;
                }
                let body = String::from_utf8_lossy(&all[end + 4..end + 4 + length]).into_owned();
                let status = if body.contains("poison") { 400 } else { 200 };
                write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n").ok()?;
                all.drain(..end + 4 + length);
            }
        }
    }
}

#[test]
fn bulk_verdicts_go_to_their_events() {
    let target = Target::start([
        Act::Bulk(vec![201, 400, 429, 409, 429, 503, 413, 201]),
        Act::Bulk(vec![429, 201, 201]),
        Act::Bulk(vec![201]),
    ]);
    let server = Server::start(towards(&target, "/logs", &["--http-preset", "elasticsearch"]));
    let all = events(0, 8);
    let reply = send(&server, &all);
    let body = reply.json();
    assert_eq!(reply.status, 207, "{body}");
    assert_eq!((&body["accepted"], &body["rejected"]), (&6.into(), &2.into()), "{body}");
    let errors: Vec<_> =
        body["errors"].as_array().unwrap().iter().map(|e| (&e["index"], &e["reason"])).collect();
    assert_eq!(
        errors,
        [
            (&1.into(), &"refused by the HTTP target".into()),
            (&6.into(), &"larger than the HTTP target takes".into())
        ]
    );
    let seen = target.seen();
    assert_eq!(seen[0].path(), "/logs/_bulk?filter_path=items.*.status");
    let docs = |n: usize| -> Vec<String> { seen[n].lines().chunks(2).map(|pair| pair[1].clone()).collect() };
    assert_eq!(docs(0), all);
    assert_eq!(
        docs(1),
        [&all[2], &all[4], &all[5]].map(String::clone),
        "those alone that are to be sent again"
    );
    assert_eq!(docs(2), [all[2].clone()]);
    // An event has the same id in each attempt, and no other has it.
    let ids = |n: usize| -> Vec<String> { seen[n].lines().chunks(2).map(|pair| pair[0].clone()).collect() };
    assert_eq!(ids(1), [&ids(0)[2], &ids(0)[4], &ids(0)[5]].map(String::clone));
    let mut unique = ids(0);
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), 8);
    assert_eq!(server.metric("ringmill_http_events_retried_total"), 4.0);
    assert_books(&server);
    server.stop();
}

#[test]
fn a_bulk_without_verdicts_is_no_success() {
    for act in [
        answer(200),
        Act::Answer(200, "", r#"{"errors":false,"items":[{"create":{"status":201}}]}"#.into()),
        Act::Answer(200, "", "[".repeat(100_000)),
        Act::Bulk(vec![500]),
    ] {
        let target = Target::start([]);
        target.always(Some(act.clone()));
        let more = [&HASTY[..], &["--http-preset", "elasticsearch"]].concat();
        let server = Server::start(towards(&target, "/logs", &more));
        let reply = send(&server, &events(0, 2));
        let body = reply.json();
        assert_eq!((reply.status, &body["error"]), (503, &"possibly_written".into()), "{act:?} {body}");
        assert_books(&server);
        server.stop();
    }
    // Who we are is refused for each event: none is in, and the next are shed until it has been tried again.
    let target = Target::start([]);
    target.always(Some(Act::Bulk(vec![403])));
    let server = Server::start(towards(&target, "/logs", &["--http-preset", "elasticsearch"]));
    let reply = send(&server, &events(0, 2));
    assert_eq!((reply.status, &reply.json()["error"]), (503, &"not_written".into()), "{}", reply.show());
    assert_eq!(get(server.admin(), "/readyz").status, 503);
    target.always(Some(Act::Bulk(vec![201])));
    eventually("taken again", || send(&server, &events(5, 2)).status == 202);
    server.stop();
}

#[test]
fn lines_are_told_of_their_own_events() {
    let target = Target::start([Act::Bulk(vec![201, 400, 201])]);
    let more = ["--http-preset", "elasticsearch", "--listen-lines", "127.0.0.1:0", "--lines-replies"];
    let server = Server::start(towards(&target, "/logs", &more));
    let mut stream = TcpStream::connect(server.lines()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all((events(0, 3).join("\n") + "\n").as_bytes()).unwrap();
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with('\n') {
        stream.read_exact(&mut byte).unwrap();
        text.push(char::from(byte[0]));
    }
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&line["ack"], &line["through"]), (&"written".into(), &3.into()), "{line}");
    assert_eq!(line["rejected"][0]["line"], 2, "{line}");
    drop(stream);
    server.stop();
}

#[test]
fn what_cannot_be_reached_is_said_and_found_again() {
    let address = {
        let target = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        target.local_addr().unwrap()
    };
    let mut command = serve();
    command.arg("--sink").arg(format!("http://{address}/in")).args(["--shed-after-ms", "200ms"]);
    let server = Server::start(command);
    let ready = get(server.admin(), "/readyz");
    assert_eq!(ready.status, 503, "{}", ready.show());
    assert!(ready.json()["reason"].as_str().unwrap().contains("connection refused"), "{}", ready.show());
    let reply = send(&server, &events(0, 5));
    let body = reply.json();
    assert_eq!((reply.status, &body["error"]), (503, &"not_ready".into()), "{body}");
    assert!(reply.header("retry-after").is_some());
    assert!(server.log().contains("refuses the connection"), "{}", server.log());
    let target = Target::start_at(address, []);
    eventually("ready again", || get(server.admin(), "/readyz").status == 200);
    let all = events(10, 5);
    assert_written(&send(&server, &all), 5);
    assert_eq!(target.taken(), all, "what was shed was never sent");
    assert_books(&server);
    server.stop();
}

#[test]
fn a_drain_answers_what_was_taken_in() {
    let target = Target::start([answer(503), answer(503)]);
    let mut server = start(&target, &[]);
    let all = events(0, 10);
    let mut client = server.client();
    client.send(&ndjson(all.join("\n")));
    eventually("the first attempt", || !target.seen().is_empty());
    server.terminate();
    assert_written(&client.reply(), 10);
    assert_eq!(target.taken(), all);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn bodies_are_compressed_if_asked() {
    for (coding, driver) in [("gzip", "uring"), ("zstd", "glommio")] {
        let target = Target::start([answer(503)]);
        let server = start(&target, &["--http-compression", coding, "--driver", driver]);
        let all = events(0, 500);
        assert_written(&send(&server, &all), 500);
        let seen = target.seen();
        assert_eq!(seen.len(), 2);
        for seen in seen {
            assert_eq!(seen.header("content-encoding"), Some(coding));
            assert!(seen.body.len() < all.join("\n").len() / 4, "{}", seen.body.len());
            let mut text = Vec::new();
            match coding {
                "gzip" => {
                    flate2::read::GzDecoder::new(&seen.body[..]).read_to_end(&mut text).unwrap();
                }
                _ => {
                    text.reserve(1 << 20);
                    zstd_safe::decompress(&mut text, &seen.body).unwrap();
                }
            }
            assert_eq!(String::from_utf8(text).unwrap(), all.join("\n") + "\n");
        }
        server.stop();
    }
}

#[test]
fn presets_speak_as_their_targets_want() {
    let stream = |server: &Server, name: &str| {
        server.client().ask(&post(
            &format!("/v1/events/{name}"),
            "Content-Type: application/x-ndjson\r\n",
            b"{\"a\":1}",
        ))
    };
    let target = Target::start([]);
    let more = ["--http-preset", "clickhouse", "--http-table", "db.logs_{stream}"];
    let server = Server::start(towards(&target, "/?user=u", &more));
    assert_eq!(stream(&server, "web").status, 202);
    assert_eq!(stream(&server, "web").status, 202);
    let seen = target.seen();
    let start =
        "/?user=u&query=INSERT%20INTO%20db.logs_web%20FORMAT%20JSONEachRow&insert_deduplication_token=";
    assert!(seen.iter().all(|seen| seen.path().starts_with(start)), "{seen:?}");
    assert_ne!(seen[0].path(), seen[1].path(), "tokens differ");
    server.stop();
    // The token of a request is the same in each attempt.
    let target = Target::start([answer(500), answer(500)]);
    let server = Server::start(towards(&target, "/", &more));
    assert_eq!(stream(&server, "web").status, 202);
    let seen = target.seen();
    assert!(seen.len() == 3 && seen.iter().all(|other| other.path() == seen[0].path()), "{seen:?}");
    server.stop();

    let target = Target::start([]);
    let more = ["--http-preset", "victorialogs", "--http-stream-fields", "host,app", "--http-msg-field", "m"];
    let server = Server::start(towards(&target, "/", &more));
    assert_eq!(stream(&server, "web").status, 202);
    let seen = target.seen();
    assert_eq!(seen[0].path(), "/insert/jsonline?_stream_fields=host,app&_time_field=_time&_msg_field=m");
    assert_eq!(seen[0].header("content-type"), Some("application/stream+json"));
    server.stop();
}

#[test]
fn who_we_are_is_read_from_files_and_never_shown() {
    let dir = TempDir::new("http-secrets");
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let password = write("password", "pass:word\n");
    let token = write("token", "t0ken\r\n");
    let headers = write("headers", "X-Api-Key: s3cret\n\nX-Scope: a, b\n");
    for (more, name, value) in [
        (
            vec!["--http-user", "me", "--http-password-file", &password],
            "authorization",
            "Basic bWU6cGFzczp3b3Jk",
        ),
        (vec!["--http-token-file", &token], "authorization", "Bearer t0ken"),
        (vec!["--http-header-file", &headers, "--http-header", "X-More=1"], "x-api-key", "s3cret"),
    ] {
        let target = Target::start([]);
        let server = start(&target, &more);
        assert_written(&send(&server, &events(0, 1)), 1);
        assert_eq!(target.seen()[0].header(name), Some(value));
        let shown = server.log() + &String::from_utf8(get(server.admin(), "/status").body).unwrap();
        for secret in ["pass:word", "t0ken", "s3cret", "bWU6"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
        server.stop();
    }
}
