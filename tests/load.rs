//! `ringmill load` from outside: the built program against the built server, and against servers that misbehave.
//!
//! Nothing here asserts how fast anything is: counts, exit codes and words hold on a busy machine too.
mod common;

use common::{PATIENCE, Server, TempDir, ringmill, run_within, serve, serve_segments};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A finished `ringmill load … --json -`.
struct Load {
    code: Option<i32>,
    json: Value,
    /// Everything but the JSON.
    told: String,
}

fn load_command(line: &str) -> Command {
    let mut command = ringmill();
    command.arg("load").args(words(line));
    command
}

/// Words as a shell parts them, single quotes included.
fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        match at % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_string)),
            _ => words.push(part.to_string()),
        }
    }
    words
}

fn run(line: &str) -> Output {
    run_within(load_command(line), PATIENCE)
}

fn load(line: &str) -> Load {
    let output = run(&format!("{line} --json -"));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = String::from_utf8_lossy(&output.stdout);
    let json = serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why} in {text:?}\n{told}"));
    Load { code: output.status.code(), json, told }
}

/// A usage error or a failure without results: exit code and everything told.
fn refused(line: &str) -> (Option<i32>, String) {
    let output = run(line);
    assert_eq!(output.stdout, b"", "{line}");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn null_server() -> Server {
    let mut command = serve();
    command.args(["--sink", "null"]);
    Server::start(command)
}

impl Load {
    fn count(&self, name: &str) -> u64 {
        self.json[name].as_u64().unwrap_or_else(|| panic!("no {name} in {}", self.json))
    }

    fn notes(&self) -> String {
        self.json["notes"].to_string()
    }

    /// Every request of the plan ended in exactly one way, and that is what the classes say too.
    fn assert_adds_up(&self) {
        let ended = self.count("completed") + self.count("errors") + self.count("censored");
        let classes = self.json["classes"].as_object().unwrap();
        for name in ["sent", "completed", "errors", "censored", "unexpected"] {
            let sum: u64 = classes.values().map(|class| class[name].as_u64().unwrap()).sum();
            assert_eq!(sum, self.count(name), "{name} of all classes: {}", self.json);
        }
        assert!(self.count("sent") <= ended, "{}", self.json);
        let limits = ["none", "server", "generator", "platform"];
        assert!(
            limits.contains(&self.json["verdict"]["limit"].as_str().unwrap()),
            "{}",
            self.json["verdict"]
        );
        assert!(self.json["verdict"]["why"].as_str().unwrap().len() > 10);
    }
}

#[test]
fn an_open_loop_sends_its_plan_and_tells_all() {
    let server = null_server();
    let dir = TempDir::new("load-open");
    let url = format!("http://{}/v1/events", server.http());
    let files = ["o.hlog", "o.hgrm", "o.html"].map(|name| dir.join(name).display().to_string());
    let load = load(&format!(
        "{url} --rate 0.5k --duration 1500ms --warmup 200ms --connections 4 --hlog {} --hgrm {} --html {}",
        files[0], files[1], files[2]
    ));
    assert_eq!(load.code, Some(0), "{}", load.told);
    load.assert_adds_up();
    assert_eq!((&load.json["mode"], &load.json["offered_per_s"]), (&"open".into(), &500.0.into()));
    let planned = load.count("completed") + load.count("censored");
    assert!((749..=751).contains(&planned), "{planned} of 750 requests");
    assert_eq!((load.count("errors"), load.count("unexpected")), (0, 0));
    assert_eq!(load.json["status"]["202"], load.json["completed"]);
    for series in ["latency_us", "service_us", "first_byte_us", "send_lag_us"] {
        assert!(load.json[series]["max"].as_f64().unwrap() > 0.0, "{series}: {}", load.json);
        assert_eq!(load.json[series]["p9999"], Value::Null, "750 samples cannot bear it");
    }
    let command = load.json["command"].as_str().unwrap();
    assert!(command.starts_with("ringmill load http://") && command.ends_with("--seed 1"), "{command}");
    assert!(load.json["environment"]["kernel"]["release"].is_string());
    assert!(load.json["environment"]["generator"]["corpus"].is_string());
    assert!(load.told.contains("measuring") && load.told.contains("open loop"), "{}", load.told);
    let [log, percentiles, page] = files.map(|file| fs::read_to_string(file).unwrap());
    assert!(log.starts_with("#[Histogram log format version 1.3]") && log.contains("Tag=send_lag,"), "{log}");
    assert!(percentiles.contains("1/(1-Percentile)"));
    assert!(page.contains("--rate 0.5k"), "the page holds the command that made it");
}

#[test]
fn a_closed_loop_says_that_it_is_one() {
    let server = null_server();
    let line =
        format!("http://{} --duration 300ms --warmup 50ms --connections 2 --pipeline 4", server.http());
    for (line, says) in [(line.clone(), true), (format!("{line} --closed"), false)] {
        let load = load(&line);
        assert_eq!(load.code, Some(0), "{}", load.told);
        load.assert_adds_up();
        assert_eq!((&load.json["mode"], &load.json["offered_per_s"]), (&"closed".into(), &Value::Null));
        assert_eq!(load.notes().contains("no --rate: a closed loop"), says, "{}", load.notes());
        assert!(load.count("completed") > 0 && load.count("errors") == 0);
    }
}

#[test]
fn every_malformed_class_is_answered_as_the_readme_says() {
    let server = null_server();
    for events in [1, 3] {
        let load = load(&format!(
            "http://{} --rate 400 --duration 1500ms --warmup 0s --malformed 60% --events-per-request {events} \
             --connections 16",
            server.http()
        ));
        assert_eq!(load.code, Some(0), "{}", load.told);
        load.assert_adds_up();
        assert_eq!((load.count("unexpected"), load.count("errors")), (0, 0), "{}", load.json["classes"]);
        let classes = load.json["classes"].as_object().unwrap();
        let met = classes.values().filter(|class| class["completed"].as_u64() > Some(0)).count();
        assert!(met > 12, "{met} classes: {:?}", classes.keys());
        assert!(load.json["status"]["400"].as_u64() > Some(0), "{}", load.json["status"]);
    }
}

#[test]
fn a_class_that_is_answered_otherwise_is_unexpected_and_no_latency() {
    let server = null_server();
    let load = load(&format!(
        "http://{} --rate 300 --duration 500ms --warmup 0s --malformed 100% --class-status bad_utf8=422,bom=422",
        server.http()
    ));
    let unexpected = |name: &str| load.json["classes"][name]["unexpected"].as_u64().unwrap();
    assert!(unexpected("bad_utf8") > 0 && unexpected("bom") > 0, "{}", load.json["classes"]);
    assert_eq!(load.count("unexpected"), unexpected("bad_utf8") + unexpected("bom"));
    assert_eq!(load.json["classes"]["bad_utf8"]["completed"], load.json["classes"]["bad_utf8"]["unexpected"]);
}

/// Copies the segments and cuts the used part of the first file in half.
fn cut_copy(from: &Path, to: &Path) {
    let shard = to.join("shard-000");
    fs::create_dir_all(&shard).unwrap();
    let segment = from.join("shard-000/0000000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != b'\n').unwrap();
    bytes.truncate(used / 2);
    fs::write(shard.join("0000000001.seg"), bytes).unwrap();
}

#[test]
fn verify_finds_all_that_was_promised_and_what_was_cut_away() {
    let dir = TempDir::new("load-verify");
    let (data, cut) = (dir.join("data"), dir.join("cut"));
    let mut command = serve_segments(&data);
    command.args(["--listen-lines", "127.0.0.1:0", "--lines-replies"]);
    let server = Server::start(command);
    let line = |more: &str| {
        format!("http://{} --rate 400 --duration 700ms --warmup 100ms --connections 4 {more}", server.http())
    };
    let kept =
        load(&line(&format!("--malformed 10% --events-per-request 3 --seed 7 --verify {}", data.display())));
    let count = |load: &Load, name: &str| load.json["verify"][name].as_u64().unwrap();
    assert_eq!(kept.code, Some(0), "{} {}", kept.json["verify"], kept.told);
    assert!(count(&kept, "acked") > 100, "{}", kept.json["verify"]);
    for name in ["lost", "duplicated", "altered", "unknown", "foreign"] {
        assert_eq!(count(&kept, name), 0, "{name}: {}", kept.json["verify"]);
    }
    assert_eq!(count(&kept, "stored"), count(&kept, "acked") + count(&kept, "unacked"));

    // The same seed sends the same events again; what the copy lacks of them is lost.
    cut_copy(&data, &cut);
    let lost =
        load(&line(&format!("--malformed 10% --events-per-request 3 --seed 7 --verify {}", cut.display())));
    assert_eq!(lost.code, Some(1), "{}", lost.json["verify"]);
    assert!(count(&lost, "lost") > 0 && count(&lost, "altered") == 0, "{}", lost.json["verify"]);
    assert!(lost.notes().contains("lost: events") && lost.notes().contains("damaged"), "{}", lost.notes());
    // And the server holds them twice now, which is found as well.
    let lines = load(&format!(
        "lines://{}?replies --rate 200 --duration 500ms --warmup 0s --connections 2 --verify {}",
        server.lines(),
        data.display()
    ));
    assert_eq!((lines.code, count(&lines, "lost")), (Some(0), 0), "{} {}", lines.json["verify"], lines.told);
    assert!(count(&lines, "acked") > 0 && count(&lines, "foreign") > 0, "{}", lines.json["verify"]);
    server.stop();
}

#[test]
fn expectations_decide_the_exit_code() {
    let server = null_server();
    let line = format!("http://{} --rate 200 --duration 500ms --warmup 0s --connections 2", server.http());
    for (expect, code, met) in [
        ("errors<1%, rate>10", Some(0), vec![true, true]),
        ("p50>1ns, max<1ns", Some(1), vec![true, false]),
        ("p9999<1h", Some(1), vec![false]),
    ] {
        let load = load(&format!("{line} --expect '{expect}'"));
        assert_eq!(load.code, code, "{expect}: {}", load.told);
        let told: Vec<bool> =
            load.json["expect"].as_array().unwrap().iter().map(|one| one["met"].as_bool().unwrap()).collect();
        assert_eq!(told, met, "{}", load.json["expect"]);
    }
}

#[test]
fn what_cannot_be_begun_is_refused_with_a_mend() {
    let server = null_server();
    let http = server.http();
    let own = std::process::id();
    for (line, code, needle) in [
        (format!("http://{http} --rate fast"), 2, "like 50k"),
        (format!("http://{http} --durtion 1s"), 2, "--duration"),
        (format!("http://{http} --payload nothere.ndjson"), 2, "nothere.ndjson"),
        (format!("http://{http} --expect 'p99 quick'"), 2, "p99"),
        (format!("http://{http} --verify /no/such/place"), 2, "--sink segments:DIR"),
        (format!("http://{http} --fault '100ms: kill {own}'"), 2, "started by it"),
        (format!("http://{http} --fault '100ms: kill 1'"), 2, "2 to"),
        (format!("http://{http} --hlog /no/such/log"), 2, "--hlog"),
        ("gopher://127.0.0.1:1".to_string(), 2, "gopher"),
        ("http://127.0.0.1:1 --duration 1s".to_string(), 1, "refused"),
        (format!("https://{http} --insecure --duration 1s --timeout 1s"), 1, "https"),
        (format!("http://{http} --cores 8000 --duration 1s"), 1, "core 8000"),
        ("unix:/no/such/socket --duration 1s".to_string(), 1, "/no/such/socket"),
    ] {
        let (told_code, told) = refused(&line);
        assert_eq!(told_code, Some(code), "{line}: {told}");
        assert!(told.contains(needle), "{line}: {told}");
    }
}

#[test]
fn a_result_that_cannot_be_written_fails_the_run_but_not_the_others() {
    let server = null_server();
    let dir = TempDir::new("load-full");
    let page = dir.join("o.html");
    let output = run(&format!(
        "http://{} --rate 100 --duration 300ms --warmup 0s --json /dev/full --html {}",
        server.http(),
        page.display()
    ));
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("/dev/full") && told.contains("No space"), "{told}");
    assert!(fs::read_to_string(page).unwrap().contains("<html"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("open loop"));
}

/// A server that does `answer` with whatever comes; ends with the test program.
fn scripted(answer: fn(&mut dyn Stream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = stream;
            thread::spawn(move || {
                let mut chunk = [0; 65536];
                while stream.read(&mut chunk).is_ok_and(|length| length > 0) {
                    answer(&mut stream);
                }
            });
        }
    });
    address
}

trait Stream: Read + Write {
    fn end(&mut self);
}

impl Stream for std::net::TcpStream {
    fn end(&mut self) {
        let _ = self.shutdown(std::net::Shutdown::Both);
    }
}

#[test]
fn servers_that_misbehave_fail_the_run_and_are_told_apart() {
    let nonsense = scripted(|stream| drop(stream.write_all(b"SSH-2.0-something\r\n\r\n")));
    let closing = scripted(|stream| stream.end());
    let silent = scripted(|_| ());
    for (address, kind) in [(nonsense, "bad_reply"), (closing, "closed"), (silent, "timeout")] {
        let load = load(&format!(
            "http://{address} --rate 40 --duration 600ms --warmup 0s --connections 4 --timeout 100ms"
        ));
        assert_eq!(load.code, Some(1), "{kind}: {}", load.told);
        load.assert_adds_up();
        assert_eq!(load.count("completed"), 0, "{kind}");
        assert!(load.json["error_kinds"][kind].as_u64() > Some(0), "{kind}: {}", load.json["error_kinds"]);
        assert!(load.notes().contains("not one request was completed"), "{}", load.notes());
        // A request that got no answer has no latency: it only is known to take longer than it was watched.
        assert_eq!(load.json["latency_us"]["p99"], Value::Null, "{}", load.json["latency_us"]);
    }
    let wrong = scripted(|stream| drop(stream.write_all(b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n")));
    let load = load(&format!("http://{wrong} --rate 100 --duration 500ms --warmup 0s --connections 2"));
    assert_eq!(
        (load.json["status"]["503"].as_u64(), load.count("errors")),
        (Some(load.count("completed")), 0)
    );
    assert_eq!(load.count("unexpected"), load.count("completed"));
    assert_ne!(load.json["verdict"]["limit"], "none", "{}", load.json["verdict"]);
}

#[test]
fn any_server_is_a_target_and_a_unix_socket_too() {
    let dir = TempDir::new("load-unix");
    let socket = dir.join("s.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let seen = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut chunk = [0; 4096];
        let length = stream.read(&mut chunk).unwrap();
        let first = String::from_utf8_lossy(&chunk[..length]).into_owned();
        thread::spawn(move || {
            while stream
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
                .is_ok()
                && stream.read(&mut chunk).is_ok_and(|length| length > 0)
            {}
        });
        first
    });
    let load = load(&format!(
        "unix:{}:/x?y=1 --method get -H 'X-Test: yes' --rate 50 --duration 400ms --warmup 0s --connections 1",
        socket.display()
    ));
    let request = seen.join().unwrap();
    assert!(
        request.starts_with("GET /x?y=1 HTTP/1.1\r\n") && request.contains("\r\nX-Test: yes\r\n"),
        "{request}"
    );
    assert!(request.ends_with("\r\n\r\n") && !request.contains("Content-Length"), "{request}");
    assert_eq!((load.code, load.json["status"]["200"].as_u64()), (Some(0), Some(load.count("completed"))));
}

/// A load that goes on until it is told to stop; ended when dropped.
struct Going {
    child: Child,
    lines: BufReader<std::process::ChildStderr>,
    told: String,
}

impl Going {
    fn start(line: &str) -> Going {
        let mut command = load_command(&format!("{line} --json -"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        Going { child, lines, told: String::new() }
    }

    /// Reads its progress until a line holds `needle`.
    fn wait_for(&mut self, needle: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let line = self.next_line();
            assert!(!line.is_empty() && Instant::now() < end, "no {needle:?} in:\n{}", self.told);
            if line.contains(needle) {
                return;
            }
        }
    }

    /// The next line of its progress; empty at the end.
    fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        self.told += &line;
        line
    }

    /// Sends SIGINT and waits for its end.
    fn interrupt(mut self) -> Load {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
        let mut text = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        self.lines.read_to_string(&mut self.told).unwrap();
        let json =
            serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why} in {text:?}\n{}", self.told));
        Load { code: self.child.wait().unwrap().code(), json, told: std::mem::take(&mut self.told) }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        // SIGTERM, not SIGKILL, lets it set right what it has done to others.
        let id = self.child.id().to_string();
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = Command::new("kill").args(["-TERM", &id]).status();
        }
        let _ = self.child.wait();
    }
}

#[test]
fn an_interrupted_run_keeps_its_results_and_sets_processes_right() {
    let server = null_server();
    let pid = server.pid();
    let groups = || fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let before = groups();
    let mut fault = format!("100ms: throttle {pid} 50% for 1h");
    let line = |fault: &str| {
        format!(
            "http://{} --rate 100 --duration 2h --warmup 0s --connections 2 --fault '{fault}'",
            server.http()
        )
    };
    let mut going = Going::start(&line(&fault));
    let first = going.next_line();
    if first.contains("control group") {
        // Without the right to change control groups it is refused; being stopped takes no such right.
        assert_eq!(going.child.wait().unwrap().code(), Some(2));
        fault = format!("100ms: stop {pid} 1h");
        going = Going::start(&line(&fault));
    }
    going.wait_for("measuring");
    going.wait_for("measuring");
    assert!(going.told.contains("fault at 0."), "{}", going.told);
    let load = going.interrupt();
    assert_eq!(load.code, Some(0), "{}", load.told);
    load.assert_adds_up();
    assert!(load.notes().contains("ended early"), "{}", load.notes());
    assert!(load.json["elapsed_s"].as_f64().unwrap() < 600.0);
    let faults = load.json["faults"].as_array().unwrap();
    assert_eq!((faults.len(), &faults[0]["failed"]), (1, &Value::Null), "{faults:?}");
    assert_eq!(groups(), before, "the process is back where it was");
    assert_eq!(server.client().ask(&common::json(r#"{"a":1}"#)).status, 202, "and runs");
}

#[test]
fn a_stopped_server_is_continued_and_a_killed_one_is_missed() {
    let mut server = null_server();
    let pid = server.pid();
    let load = load(&format!(
        "http://{} --rate 100 --duration 1500ms --warmup 0s --connections 2 --timeout 500ms \
         --fault '200ms: stop {pid} 100ms; 900ms: kill {pid}'",
        server.http()
    ));
    let faults = load.json["faults"].as_array().unwrap();
    let done: Vec<bool> = faults.iter().map(|fault| fault["failed"].is_null()).collect();
    assert_eq!(done, [true, true], "{faults:?}");
    assert!(
        load.count("completed") > 0 && load.count("errors") + load.count("censored") > 0,
        "{}",
        load.json
    );
    assert!(load.notes().contains("connect"), "{}", load.notes());
    assert!(!server.wait().success());
}

#[test]
fn two_targets_are_compared_and_a_search_can_be_cut_short() {
    let (first, second) = (null_server(), null_server());
    let compared = load(&format!(
        "http://{} --against http://{} --rate 500 --duration 400ms --warmup 20ms --connections 2",
        first.http(),
        second.http()
    ));
    assert_eq!(compared.code, Some(0), "{}", compared.told);
    let ratios = compared.json["against"]["ratios"].as_array().unwrap();
    let told: Vec<(&str, &str)> =
        ratios.iter().map(|one| (one["what"].as_str().unwrap(), one["answer"].as_str().unwrap())).collect();
    let same = "not told apart";
    assert_eq!(
        told,
        ["p50", "p95", "p99", "p999", "throughput"].map(|what| (what, same)),
        "one pair tells nothing"
    );
    assert_eq!(ratios[4]["pairs"], 1);
    let (code, why) =
        refused(&format!("http://{} --against http://127.0.0.1:1 --rate 50 --duration 400ms", first.http()));
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("127.0.0.1:1") && why.contains("refused"), "{why}");

    let line =
        format!("http://{} --find-rate 'p50<10s' --rate 300 --duration 500ms --warmup 20ms", first.http());
    let mut going = Going::start(&line);
    going.wait_for("probe 3, ");
    thread::sleep(Duration::from_millis(20));
    let search = going.interrupt();
    assert_eq!(search.code, Some(0), "{}", search.told);
    let points = search.json["find_rate"]["points"].as_array().unwrap();
    assert!(!points.is_empty() && points[0]["offered_per_s"] == 300.0, "{points:?}");
    assert!(search.notes().contains("ended early"), "{}", search.notes());
}
