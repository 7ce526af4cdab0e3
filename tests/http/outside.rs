//! What needs others: VictoriaLogs (see `real` beside this file), and TLS with certificates of the test's own.
use super::common::{PATIENCE, Server, TempDir, get, ndjson, serve};
use super::{assert_books, assert_written, events, eventually, send};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    thread,
    time::Duration,
};

/// VictoriaLogs, killed when dropped.
struct VictoriaLogs(std::process::Child);

impl VictoriaLogs {
    fn start(address: std::net::SocketAddr, dir: &std::path::Path) -> VictoriaLogs {
        let program = std::env::var("RINGMILL_VICTORIALOGS").expect("tests/http/real sets it");
        let mut command = Command::new(program);
        command.arg(format!("-httpListenAddr={address}")).arg(format!("-storageDataPath={}", dir.display()));
        command.args(["-loggerLevel=ERROR", "-memory.allowedBytes=64MB"]);
        VictoriaLogs(command.spawn().unwrap())
    }

    /// What it has, by the number of each event.
    fn numbers(address: std::net::SocketAddr) -> Vec<usize> {
        let reply = get_to_end(address, "/select/logsql/query?query=*%20%7C%20fields%20n&limit=100000");
        let number = |line: &str| -> Option<usize> {
            let value: serde_json::Value = serde_json::from_str(line).ok()?;
            value["n"].as_str()?.parse().ok()
        };
        let mut numbers: Vec<usize> = reply.lines().filter_map(number).collect();
        numbers.sort_unstable();
        numbers
    }

    fn stop(mut self) {
        let status = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        assert!(status.success());
        self.0.wait().unwrap();
    }
}

impl Drop for VictoriaLogs {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All that comes, chunks and all.
fn get_to_end(address: std::net::SocketAddr, path: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(address) else { return String::new() };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
#[ignore = "needs VictoriaLogs: run tests/http/real"]
fn real_victorialogs_has_every_event_that_was_told_as_written() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dir = TempDir::new("victorialogs");
    let running = VictoriaLogs::start(address, dir.path());
    let time = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output().unwrap().stdout;
    let time = String::from_utf8(time).unwrap().trim().to_owned();
    let event = |n: usize| format!(r#"{{"_time":"{time}","_msg":"event {n}","app":"a{}","n":"{n}"}}"#, n % 3);
    for coding in ["none", "gzip", "zstd"] {
        let base = ["none", "gzip", "zstd"].iter().position(|known| *known == coding).unwrap() * 10_000;
        let mut command = serve();
        command.arg("--sink").arg(format!("http://{address}"));
        command.args(["--http-preset", "victorialogs", "--http-stream-fields", "app"]);
        command.args(["--http-compression", coding, "--http-batch-bytes", "64KiB"]);
        let server = Server::start(command);
        eventually("ready", || get(server.admin(), "/readyz").status == 200);
        let all: Vec<String> = (base..base + 5000).map(event).collect();
        for part in all.chunks(500) {
            assert_written(&send(&server, part), part.len());
        }
        let expected: Vec<usize> = (base..base + 5000).collect();
        eventually("all of it is found", || {
            let found = VictoriaLogs::numbers(address);
            found.into_iter().filter(|n| *n >= base).collect::<Vec<_>>() == expected
        });
        server.stop();
    }
    // Stopped and started again under a request: it waits, and is told the truth.
    let mut command = serve();
    command.arg("--sink").arg(format!("http://{address}"));
    command.args(["--http-preset", "victorialogs", "--http-stream-fields", "app", "--shed-after-ms", "60s"]);
    let server = Server::start(command);
    running.stop();
    let mut client = server.client();
    client.send(&ndjson((40_000..40_500).map(event).collect::<Vec<_>>().join("\n")));
    thread::sleep(Duration::from_millis(300));
    let running = VictoriaLogs::start(address, dir.path());
    assert_written(&client.reply(), 500);
    eventually("what was sent meanwhile is found", || {
        let found = VictoriaLogs::numbers(address);
        found.into_iter().filter(|n| *n >= 40_000).collect::<Vec<_>>() == (40_000..40_500).collect::<Vec<_>>()
    });
    server.stop();
    running.stop();
}

/// A target behind TLS that takes everything, with a certificate of its own; returns that, in PEM.
fn start_tls() -> (std::net::SocketAddr, String) {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let config = std::sync::Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let session = rustls::ServerConnection::new(config.clone()).unwrap();
            thread::spawn(move || take_all(rustls::StreamOwned::new(session, stream)));
        }
    });
    (address, own.cert.pem())
}

/// Answers each request with the bytes of its body, counted.
fn take_all(mut stream: impl Read + Write) -> Option<()> {
    let mut all = Vec::new();
    let mut chunk = [0; 65536];
    loop {
        let n = stream.read(&mut chunk).ok().filter(|n| *n > 0)?;
        all.extend_from_slice(&chunk[..n]);
        let Some(end) = all.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&all[..end]).to_ascii_lowercase();
        let length: usize = head.split("content-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
        if all.len() >= end + 4 + length {
            all.drain(..end + 4 + length);
            write!(stream, "HTTP/1.1 200 x\r\nContent-Length: 2\r\n\r\nok").ok()?;
        }
    }
}

#[test]
fn tls_is_spoken_with_whom_we_trust_and_nobody_else() {
    let (address, pem) = start_tls();
    let dir = TempDir::new("http-tls");
    let (ca, other) = (dir.join("ca.pem"), dir.join("other.pem"));
    fs::write(&ca, pem).unwrap();
    fs::write(&other, rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert.pem()).unwrap();
    let run = |scheme: &str, more: &[&str]| {
        let mut command = serve();
        command.arg("--sink").arg(format!("{scheme}://{address}/in")).args(["--shed-after-ms", "200ms"]);
        command.args(more);
        Server::start(command)
    };
    for driver in ["uring", "glommio"] {
        let server = run("https", &["--http-tls-ca", ca.to_str().unwrap(), "--driver", driver]);
        for n in 0..5 {
            // More than is encrypted at once.
            assert_written(&send(&server, &events(n * 5000, 5000)), 5000);
        }
        assert_eq!(server.metric("ringmill_http_dials_total"), 1.0);
        assert_books(&server);
        server.stop();
    }
    for (scheme, more, why) in [
        ("https", vec!["--http-tls-ca", other.to_str().unwrap()], "certificate not trusted"),
        (
            "https",
            vec!["--http-tls-ca", ca.to_str().unwrap(), "--http-tls-server-name", "elsewhere"],
            "certificate not trusted",
        ),
    ] {
        let server = run(scheme, &more);
        let reply = send(&server, &events(0, 1));
        let body = reply.json();
        assert_eq!((reply.status, &body["error"]), (503, &"not_ready".into()), "{body}");
        assert!(body["reason"].as_str().unwrap().contains(why), "{body}");
        assert!(server.log().contains("http.tls_"), "{}", server.log());
        server.stop();
    }
}
