//! What goes wrong around a running server: slow, broken and greedy peers, no descriptors, no memory, no space,
//! damaged files, signals. Each gets its answer, is counted, and harms nobody else.
mod common;

use common::{Client, PATIENCE, Server, TempDir, cat, json, ndjson, post, read_by_stranger, run, segments};
use serde_json::Value;
use socket2::SockRef;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const DRIVERS: [&str; 2] = ["uring", "glommio"];
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// `serve` with one shard, small buffers and ports of its own, unless the flags say otherwise.
fn serve(sink: &str, flags: &[&str]) -> Command {
    let core = common::core();
    let mut command = common::ringmill();
    command.args(["serve", "--sink", sink]).args(flags);
    for (flag, value) in [
        ("--listen", "127.0.0.1:0"),
        ("--admin", "127.0.0.1:0"),
        ("--cores", core.as_str()),
        ("--segment-bytes", "32MiB"),
        ("--quarantine-bytes", "4MiB"),
        ("--connections-max", "64"),
        ("--receive-buffers", "128"),
        ("--body-budget-bytes", "20MiB"),
    ] {
        if !flags.contains(&flag) {
            command.args([flag, value]);
        }
    }
    command
}

/// A server without storage.
fn null_server(flags: &[&str]) -> Server {
    Server::start(serve("null", flags))
}

/// A server that writes segments.
fn segments_server(dir: &Path, flags: &[&str]) -> Server {
    Server::start(serve(&format!("segments:{}", dir.display()), flags))
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn signal(server: &Server, name: &str) {
    let sent = Command::new("kill").args([name, &server.pid().to_string()]).status().unwrap();
    assert!(sent.success(), "kill {name}");
}

/// Whether the server has closed or reset the connection, waiting for it; what it still sends is read.
fn ends(stream: &mut TcpStream) -> bool {
    loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(why) => return why.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// Received = stored + quarantined + rejected + shed, with nothing in flight.
fn assert_books(server: &Server) {
    eventually("balanced books", || {
        let metrics = server.metrics();
        let sum = |name: &str| -> f64 {
            let full = format!("ringmill_events_{name}");
            metrics.iter().filter(|(key, _)| key.starts_with(&full)).map(|(_, value)| value).sum()
        };
        sum("in_flight") == 0.0
            && sum("received_total")
                == sum("stored_total") + sum("quarantined_total") + sum("rejected_total") + sum("shed_total")
    });
}

#[test]
fn slow_peers_meet_their_deadlines() {
    for driver in DRIVERS {
        let server = null_server(&[
            "--driver",
            driver,
            "--head-timeout-s",
            "300ms",
            "--idle-timeout-s",
            "600ms",
            "--reply-timeout-s",
            "500ms",
        ]);
        // Half a head, then nothing more.
        let mut head = server.client();
        head.send(b"POST /v1/events HTTP/1.1\r\nHost: te");
        let reply = head.reply();
        assert_eq!(reply.status, 408, "{driver}: {}", reply.show());
        assert_eq!(reply.json()["error"], "too_slow", "{driver}: {}", reply.show());
        assert_eq!(reply.header("connection"), Some("close"), "{driver}: {}", reply.show());
        head.assert_closed(driver);
        // A byte now and then does not buy more time.
        let mut drop = server.client();
        let started = Instant::now();
        for byte in b"POST /v1/events HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n{}" {
            drop.send_some(&[*byte]);
            thread::sleep(Duration::from_millis(25));
            if started.elapsed() > Duration::from_secs(1) {
                break;
            }
        }
        assert_eq!(drop.reply().status, 408, "{driver}: a byte at a time");
        // Nothing at all, before any request and between two.
        let mut silent = server.client();
        let mut between = server.client();
        assert_eq!(between.ask(&json(r#"{"a":1}"#)).status, 202, "{driver}");
        silent.assert_closed(driver);
        between.assert_closed(driver);
        // Replies that nobody reads.
        let mut deaf = deaf_client(server.http());
        assert!(fill(&mut deaf), "{driver}: never closed though no reply was read");
        eventually("every slot is free again", || server.metric("ringmill_connections") == 0.0);
        let metrics = server.metrics();
        for kind in ["head", "idle", "reply"] {
            let count = metrics.iter().find(|(name, _)| {
                name.starts_with("ringmill_timeouts_total") && name.contains(&format!("\"{kind}\""))
            });
            assert!(*count.unwrap().1 > 0.0, "{driver}: {kind} is not counted");
        }
        server.stop();
    }
}

/// A connection with as little room for replies as the system allows.
fn deaf_client(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    SockRef::from(&stream).set_recv_buffer_size(4096).unwrap();
    stream
}

/// Sends requests without reading a reply until the connection breaks; false when it never does.
fn fill(stream: &mut TcpStream) -> bool {
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let requests = b"GET /nowhere HTTP/1.1\r\nHost: test\r\n\r\n".repeat(500);
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        match stream.write_all(&requests) {
            Err(why) if why.kind() == std::io::ErrorKind::WouldBlock => return false,
            Err(_) => return true,
            Ok(()) => {}
        }
    }
    false
}

#[test]
fn bodies_that_break_off_leave_nothing() {
    for driver in DRIVERS {
        let dir = TempDir::new("broken");
        let data = dir.join("data");
        let server = segments_server(&data, &["--driver", driver, "--connections-max", "4"]);
        let whole = |bytes: usize| {
            let line = b"{\"never\":\"stored\"}\n";
            ndjson(line.repeat(bytes / line.len() + 1))
        };
        // Far more than there are slots, and more together than the body budget.
        for round in 0..24 {
            let request = whole(if round % 3 == 0 { 3 * MIB } else { 2 * KIB });
            let mut stream = TcpStream::connect(server.http()).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            if stream.write_all(&request[..request.len() - 40]).is_err() {
                // The slots of the rounds before are not free yet.
                thread::sleep(Duration::from_millis(50));
                continue;
            }
            if round % 2 == 0 {
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            } else {
                stream.shutdown(Shutdown::Write).unwrap();
                assert!(ends(&mut stream), "{driver}: not closed after the client's end");
            }
            drop(stream);
            thread::sleep(Duration::from_millis(10));
        }
        eventually("every slot is free again", || server.metric("ringmill_connections") == 0.0);
        let mut clients: Vec<Client> = (0..4).map(|_| server.client()).collect();
        for client in &mut clients {
            let reply = client.ask(&ndjson("{\"kept\":1}\n".repeat(100_000)));
            assert_eq!(reply.status, 200, "{driver}: the budget is free again: {}", reply.show());
        }
        drop(clients);
        assert_books(&server);
        server.stop();
        assert!(cat(&data, &[]) == b"{\"kept\":1}\n".repeat(400_000), "{driver}: something else is stored");
    }
}

#[test]
fn more_connections_than_slots_are_turned_away() {
    for driver in DRIVERS {
        let server = null_server(&["--driver", driver, "--connections-max", "4"]);
        let mut held: Vec<Client> = (0..4).map(|_| server.client()).collect();
        for client in &mut held {
            assert_eq!(client.ask(&json("{}")).status, 202, "{driver}");
        }
        for _ in 0..20 {
            let mut fifth = TcpStream::connect(server.http()).unwrap();
            fifth.set_read_timeout(Some(PATIENCE)).unwrap();
            assert!(ends(&mut fifth), "{driver}: neither served nor closed");
        }
        for client in &mut held {
            assert_eq!(client.ask(&json("{}")).status, 202, "{driver}: those inside are not harmed");
        }
        held.pop();
        eventually("a slot came free", || {
            let mut client = server.client();
            client.send_some(&json("{}"));
            client.try_reply(false).is_some_and(|reply| reply.status == 202)
        });
        server.stop();
    }
}

/// Nanoseconds that all threads of the server were on a CPU.
fn cpu_ns(server: &Server) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let ns = |path: PathBuf| -> u64 {
        let text = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0)
    };
    tasks.map(|task| ns(task.unwrap().path())).sum()
}

#[test]
fn without_descriptors_it_neither_spins_nor_dies() {
    for driver in DRIVERS {
        // Most of the descriptors that the limit allows are taken when it starts: some forty are left.
        let plain = serve("null", &["--driver", driver]);
        let script =
            "for ((n = 60; n < 240; n++)); do eval \"exec $n</dev/null\"; done; ulimit -n 240; exec \"$@\"";
        let mut command = Command::new("bash");
        command.args(["-c", script, "bash"]).arg(plain.get_program()).args(plain.get_args());
        let server = Server::start(command);
        let mut inside = server.client();
        assert_eq!(inside.ask(&json("{}")).status, 202, "{driver}");
        let waiting: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(server.http()).unwrap()).collect();
        thread::sleep(Duration::from_millis(300));
        let before = cpu_ns(&server);
        thread::sleep(Duration::from_millis(400));
        let spent = Duration::from_nanos(cpu_ns(&server) - before);
        assert!(spent < Duration::from_millis(200), "{driver}: {spent:?} of CPU in 400 ms of nothing to do");
        assert_eq!(inside.ask(&json("{}")).status, 202, "{driver}: those inside are not harmed");
        drop(waiting);
        eventually("it accepts again", || {
            let mut client = server.client();
            client.send_some(&json("{}"));
            client.try_reply(false).is_some_and(|reply| reply.status == 202)
        });
        assert!(server.metric("ringmill_accept_errors_total") > 0.0, "{driver}: not counted");
        server.stop();
    }
}

#[test]
fn one_client_that_pipelines_does_not_delay_another() {
    const REQUESTS: usize = 10_000;
    for driver in DRIVERS {
        let server = null_server(&["--driver", driver]);
        let mut greedy = TcpStream::connect(server.http()).unwrap();
        greedy.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut writer = greedy.try_clone().unwrap();
        let all = json(format!("{{\"fill\":\"{}\"}}", "x".repeat(400))).repeat(REQUESTS);
        let done = Arc::new(AtomicBool::new(false));
        let sending = thread::spawn(move || writer.write_all(&all));
        let ended = done.clone();
        let reading = thread::spawn(move || {
            let (mut chunk, mut tail, mut replies) = ([0; 65536], Vec::new(), 0);
            while replies < REQUESTS {
                let n = greedy.read(&mut chunk).unwrap();
                assert!(n > 0, "closed after {replies} replies");
                tail.extend_from_slice(&chunk[..n]);
                let found = tail.windows(12).filter(|w| *w == b"HTTP/1.1 202").count();
                replies += found;
                let keep = tail.len().min(11);
                tail.drain(..tail.len() - keep);
            }
            ended.store(true, Ordering::Relaxed);
        });
        let (mut modest, mut slowest) = (server.client(), Duration::ZERO);
        for _ in 0..20 {
            let started = Instant::now();
            assert_eq!(modest.ask(&json("{}")).status, 202, "{driver}");
            slowest = slowest.max(started.elapsed());
        }
        // All of it takes the greedy one's whole run when nobody shares; with other tests beside it a second.
        assert!(slowest < Duration::from_secs(2), "{driver}: a request took {slowest:?}");
        sending.join().unwrap().unwrap();
        reading.join().unwrap();
        assert!(done.load(Ordering::Relaxed));
        assert_eq!(server.metric("ringmill_events_received_total"), (REQUESTS + 20) as f64, "{driver}");
        server.stop();
    }
}

#[test]
fn what_is_too_large_is_refused_alone() {
    for driver in DRIVERS {
        let dir = TempDir::new("large");
        let data = dir.join("data");
        let flags = ["--driver", driver, "--listen-lines", "127.0.0.1:0", "--lines-replies"];
        let server = segments_server(&data, &flags);
        let mut client = server.client();
        let large = format!("{{\"large\":\"{}\"}}", "x".repeat(300 * KIB));
        let reply = client.ask(&ndjson(format!("{{\"n\":1}}\n{large}\n{{\"n\":2}}\n")));
        let body = reply.json();
        assert_eq!((reply.status, &body["accepted"]), (207, &Value::from(2)), "{driver}: {body}");
        assert_eq!(body["errors"][0]["index"], 1, "{driver}: {body}");
        // Said before the body is sent, and after.
        client.send(b"POST /v1/events HTTP/1.1\r\nHost: test\r\nContent-Length: 9000000\r\n\r\n");
        assert_eq!(client.reply().status, 413, "{driver}");
        let mut client = server.client();
        client.send_some(&ndjson(vec![b' '; 9 * MIB]));
        assert!(client.try_reply(false).is_none_or(|reply| reply.status == 413), "{driver}");
        let mut client = server.client();
        client.send_some(
            &[b"GET / HTTP/1.1\r\nHost: test\r\nX: ".as_slice(), &vec![b'x'; 64 * KIB], b"\r\n\r\n"].concat(),
        );
        assert!(client.try_reply(false).is_none_or(|reply| reply.status == 431), "{driver}");
        // A line that comes in pieces: listed, the start of it kept, its neighbours stored.
        let lines = TcpStream::connect(server.lines()).unwrap();
        lines.set_read_timeout(Some(PATIENCE)).unwrap();
        let sent = format!("{{\"n\":3}}\n{{\"pieces\":\"{}\"}}\n{{\"n\":4}}\n", "y".repeat(400 * KIB));
        for piece in sent.as_bytes().chunks(20_000) {
            (&lines).write_all(piece).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
        let mut rejected = Vec::new();
        for reply in BufReader::new(&lines).lines() {
            let reply: Value = serde_json::from_str(&reply.unwrap()).unwrap();
            rejected.extend(reply["rejected"].as_array().unwrap().clone());
            if reply["through"] == 3 {
                break;
            }
        }
        assert_eq!(rejected.len(), 1, "{driver}: {rejected:?}");
        assert_eq!(rejected[0]["line"], 2, "{driver}: {rejected:?}");
        assert!(rejected[0]["reason"].as_str().unwrap().contains("256 KiB"), "{driver}: {rejected:?}");
        assert_books(&server);
        server.stop();
        let stored = String::from_utf8(cat(&data, &[])).unwrap();
        assert_eq!(stored, "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n", "{driver}");
        let kept = cat(&data, &["--quarantine"]);
        let start = format!("{{\"pieces\":\"{}", "y".repeat(256 * KIB - 20));
        assert!(kept.windows(start.len()).any(|w| w == start.as_bytes()), "{driver}: its start is not kept");
    }
}

/// The line `name:` of /proc/PID/status in bytes.
fn status_bytes(server: &Server, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// The total that `--dry-run` prints for that command line.
fn planned_bytes(mut command: Command) -> u64 {
    command.arg("--dry-run");
    let output = run(command);
    let text = String::from_utf8(output.stdout).unwrap();
    let total =
        text.lines().find_map(|line| line.trim().strip_prefix("total")).unwrap_or_else(|| panic!("{text}"));
    total.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn overload_is_shed_within_the_memory_plan() {
    const CLIENTS: usize = 24;
    for driver in DRIVERS {
        let dir = TempDir::new("overload");
        let data = dir.join("data");
        let sink = format!("segments:{}", data.display());
        let flags = ["--driver", driver, "--body-budget-bytes", "17MiB", "--connections-max", "32"];
        let flags = [flags.as_slice(), &["--shed-after-ms", "150ms", "--receive-buffers", "64"]].concat();
        let command = || serve(&sink, &flags);
        let planned = planned_bytes(command());
        let server = Server::start(command());
        let line = format!("{{\"fill\":\"{}\"}}\n", "z".repeat(1000));
        let events = 6 * MIB / line.len();
        let request = Arc::new(ndjson(line.repeat(events)));
        let to = server.http();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let request = request.clone();
                thread::spawn(move || {
                    let (mut stored, mut shed) = (0, 0);
                    for _ in 0..3 {
                        let mut client = Client::connect(to);
                        client.send_some(&request);
                        match client.try_reply(false) {
                            Some(reply) if reply.status == 200 => stored += 1,
                            Some(reply) => {
                                assert_eq!(reply.status, 503, "{}", reply.show());
                                let after = reply.header("retry-after").expect("Retry-After");
                                assert!((1..=60).contains(&after.parse::<u32>().unwrap()), "{after}");
                                shed += 1;
                            }
                            // Closed under a body that was still on its way: the reset overtook the reply.
                            None => shed += 1,
                        }
                    }
                    (stored, shed)
                })
            })
            .collect();
        let counts: Vec<(usize, usize)> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        let stored: usize = counts.iter().map(|(stored, _)| stored).sum();
        let shed: usize = counts.iter().map(|(_, shed)| shed).sum();
        assert_eq!(stored + shed, 3 * CLIENTS);
        assert!(stored > 0, "{driver}: nothing got through");
        let peak = status_bytes(&server, "VmHWM");
        println!("{driver}: {stored} stored, {shed} shed, peak {peak} of {planned} bytes planned");
        assert!(peak <= planned + planned / 20, "{driver}: {peak} bytes resident, {planned} planned");
        eventually("it takes events again", || server.client().ask(&json("{}")).status == 200);
        assert_books(&server);
        server.stop();
        let lines = cat(&data, &[]).iter().filter(|byte| **byte == b'\n').count();
        assert!(lines > stored * events, "{driver}: {lines} events stored, {} promised", stored * events);
    }
}

/// A small file system of its own, unmounted when dropped.
struct SmallDevice(PathBuf);

impl SmallDevice {
    /// `None` where mounting is not allowed.
    fn mount(at: &Path, size: &str) -> Option<SmallDevice> {
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "ringmill-test"]).arg(at);
        let done = mount.output().is_ok_and(|output| output.status.success());
        done.then(|| SmallDevice(at.to_path_buf()))
    }
}

impl Drop for SmallDevice {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_device_is_507_until_there_is_space() {
    for driver in DRIVERS {
        let dir = TempDir::new("full");
        let Some(device) = SmallDevice::mount(&dir.join("device"), "64m") else {
            println!("skipped: mounting a tmpfs is not allowed here");
            return;
        };
        let data = device.0.join("data");
        let ballast = device.0.join("ballast");
        fs::write(&ballast, vec![1; 24 * MIB]).unwrap();
        let flags = [
            "--driver",
            driver,
            "--segment-bytes",
            "10MiB",
            "--quarantine-bytes",
            "2MiB",
            "--shed-after-ms",
            "200ms",
        ];
        let server = segments_server(&data, &flags);
        let mut client = server.client();
        let line = |n: usize| format!("{{\"n\":{n},\"fill\":\"{}\"}}\n", "f".repeat(MIB / 8));
        let mut stored = String::new();
        let mut refused = None;
        for n in 0..60 {
            let body: String = (0..8).map(|part| line(8 * n + part)).collect();
            client.send(&ndjson(&body));
            let reply =
                client.try_reply(false).unwrap_or_else(|| panic!("{driver}: closed\n{}", server.log()));
            match reply.status {
                200 => stored += &body,
                _ => {
                    refused = Some(reply);
                    break;
                }
            }
        }
        let refused = refused.expect("40 MiB never fill up");
        assert_eq!(refused.status, 507, "{driver}: {}", refused.show());
        assert_eq!(refused.json()["error"], "no_space", "{driver}: {}", refused.show());
        assert!(stored.len() >= 20 * MIB, "{driver}: full after {} bytes", stored.len());
        // It stays alive, says so, and what it has can be read.
        let again = server.client().ask(&json("{\"small\":1}"));
        assert_eq!(again.status, 507, "{driver}: {}", again.show());
        let ready = common::get(server.admin(), "/readyz");
        assert_eq!(ready.status, 503, "{driver}: {}", ready.show());
        assert!(cat(&data, &[]) == stored.as_bytes(), "{driver}: not what was acknowledged");
        fs::remove_file(&ballast).unwrap();
        eventually("it takes events again", || server.client().ask(&json("{\"n\":-1}")).status == 200);
        assert_books(&server);
        server.stop();
        let verify = segments("verify", &data, &[]);
        assert!(verify.status.success(), "{driver}: {}", String::from_utf8_lossy(&verify.stdout));
        assert!(cat(&data, &[]).starts_with(stored.as_bytes()), "{driver}: acknowledged events are gone");
        fs::remove_dir_all(&data).unwrap();
        drop(device);
    }
}

/// Three commits in one segment; its path.
fn three_commits(data: &Path) -> PathBuf {
    let server = segments_server(data, &[]);
    let mut client = server.client();
    for n in 0..3 {
        assert_eq!(client.ask(&json(format!("{{\"n\":{n}}}"))).status, 200);
    }
    server.stop();
    let shard = data.join("shard-000");
    // A spare behind it may have come too late to be taken back.
    shard.join("0000000001.seg")
}

#[test]
fn damage_is_reported_and_left_as_it_is() {
    let dir = TempDir::new("damaged");
    let data = dir.join("data");
    let segment = three_commits(&data);
    let sound = fs::read(&segment).unwrap();
    let at = sound.windows(7).position(|w| w == b"{\"n\":1}").unwrap();
    fs::OpenOptions::new().write(true).open(&segment).unwrap().write_all_at(b"{\"n\":9}", at as u64).unwrap();
    let damaged = fs::read(&segment).unwrap();
    let server = segments_server(&data, &[]);
    let name = segment.file_name().unwrap().to_string_lossy().into_owned();
    let told = server.log().lines().any(|line| line.contains(&name) && line.contains("damaged"));
    assert!(told, "not reported: {}", server.log());
    assert_eq!(server.client().ask(&json("{\"n\":3}")).status, 200, "it goes on in a new segment");
    server.stop();
    assert!(fs::read(&segment).unwrap() == damaged, "the damaged segment was changed");
    let verify = segments("verify", &data, &[]);
    assert_eq!(verify.status.code(), Some(1), "{}", String::from_utf8_lossy(&verify.stdout));
}

#[test]
fn a_torn_end_is_cut_and_reported() {
    let dir = TempDir::new("torn");
    let data = dir.join("data");
    let segment = three_commits(&data);
    let sound = fs::read(&segment).unwrap();
    // A commit that was under way: its header reached the disk, its events did not.
    let torn = [&sound[sound.len() - 4096..][..2048], &[b'\n'; 2048]].concat();
    fs::OpenOptions::new().append(true).open(&segment).unwrap().write_all(&torn).unwrap();
    let server = segments_server(&data, &[]);
    assert!(server.log().contains("cut bytes"), "not reported: {}", server.log());
    assert_eq!(server.client().ask(&json("{\"n\":3}")).status, 200);
    server.stop();
    assert!(fs::read(&segment).unwrap() == sound, "cut to the last sound commit and nothing else");
    assert_eq!(cat(&data, &[]), b"{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    assert_eq!(read_by_stranger(&data), cat(&data, &[]));
    assert!(segments("verify", &data, &[]).status.success());
}

#[test]
fn a_stopped_server_goes_on_where_it_was() {
    for driver in DRIVERS {
        let dir = TempDir::new("stopped");
        let data = dir.join("data");
        let server = segments_server(&data, &["--driver", driver]);
        let end = Arc::new(AtomicBool::new(false));
        let producers: Vec<_> = (0..3)
            .map(|producer| {
                let (to, end) = (server.http(), end.clone());
                thread::spawn(move || {
                    let (mut client, mut sent) = (Client::connect(to), Vec::new());
                    while !end.load(Ordering::Relaxed) {
                        let body = format!("{{\"p\":{producer},\"n\":{}}}\n", sent.len());
                        let reply = client.ask(&ndjson(&body));
                        assert_eq!(reply.status, 200, "{}", reply.show());
                        sent.push(body);
                    }
                    sent
                })
            })
            .collect();
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(100));
            signal(&server, "-STOP");
            thread::sleep(Duration::from_millis(300));
            signal(&server, "-CONT");
        }
        thread::sleep(Duration::from_millis(100));
        end.store(true, Ordering::Relaxed);
        let mut sent: Vec<String> = producers.into_iter().flat_map(|p| p.join().unwrap()).collect();
        server.stop();
        let stored = String::from_utf8(cat(&data, &[])).unwrap();
        let mut stored: Vec<String> = stored.lines().map(|line| format!("{line}\n")).collect();
        sent.sort();
        stored.sort();
        assert!(sent.len() > 10 && sent == stored, "{driver}: {} sent, {} stored", sent.len(), stored.len());
    }
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let mut server = null_server(&[]);
    // Replies that nobody reads hold up the drain.
    let mut deaf = deaf_client(server.http());
    deaf.set_nonblocking(true).unwrap();
    let requests = b"GET /nowhere HTTP/1.1\r\nHost: test\r\n\r\n".repeat(500);
    let (mut at, mut quiet, end) = (0, 0, Instant::now() + PATIENCE);
    while quiet < 20 && Instant::now() < end {
        match deaf.write(&requests[at..]) {
            Ok(n) => (at, quiet) = ((at + n) % requests.len(), 0),
            Err(_) => {
                quiet += 1;
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
    server.terminate();
    eventually("the first signal is seen", || server.log().contains("draining"));
    thread::sleep(Duration::from_millis(200));
    let started = Instant::now();
    server.terminate();
    let status = server.wait();
    assert_eq!(status.code(), Some(1), "{}", server.log());
    assert!(started.elapsed() < Duration::from_secs(5), "it took {:?}", started.elapsed());
    assert!(server.log().contains("second signal"), "{}", server.log());
}

#[test]
fn an_unreadable_configuration_is_refused() {
    let dir = TempDir::new("unreadable");
    let folder = dir.join("folder.toml");
    fs::create_dir(&folder).unwrap();
    let binary = dir.join("binary.toml");
    fs::write(&binary, b"listen = \"\xff\xfe\"\n").unwrap();
    let cut = dir.join("cut.toml");
    fs::write(&cut, "# first\nlisten = [\"127.0.0.1:0\"\n").unwrap();
    for path in [dir.join("missing.toml"), folder, binary, cut] {
        let mut command = common::ringmill();
        command.args(["serve", "--config"]).arg(&path);
        let output = run(command);
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{log}");
        assert!(log.contains(&*path.to_string_lossy()), "{log}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn malformed_requests_harm_nobody_else() {
    let dir = TempDir::new("malformed");
    let data = dir.join("data");
    let server = segments_server(&data, &[]);
    let to = server.http();
    let noise = thread::spawn(move || {
        for n in 0..200 {
            let mut client = Client::connect(to);
            match n % 4 {
                0 => client.send_some(b"\0\x01\x02 nonsense\r\n\r\n"),
                1 => client.send_some(&post("/v1/events", "Content-Length: 7\r\n", b"{}")),
                2 => client.send_some(&json("{\"cut\":")),
                _ => client.send_some(
                    b"POST /v1/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                ),
            }
            if let Some(reply) = client.try_reply(false) {
                assert!((400..500).contains(&reply.status), "{n}: {}", reply.show());
            }
        }
    });
    let mut client = server.client();
    for n in 0..100 {
        assert_eq!(client.ask(&json(format!("{{\"n\":{n}}}"))).status, 200);
    }
    noise.join().unwrap();
    assert_books(&server);
    server.stop();
    let wanted: String = (0..100).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    assert_eq!(String::from_utf8(cat(&data, &[])).unwrap(), wanted);
}
