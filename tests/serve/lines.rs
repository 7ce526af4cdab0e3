//! Lines over TCP and over a Unix socket.
use crate::common::{PATIENCE, Server, TempDir, cat, serve_segments};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

#[test]
fn lines_over_tcp_and_unix() {
    let dir = TempDir::new("lines");
    let config = dir.join("ringmill.toml");
    fs::write(&config, "[lines]\nreplies = true\n").unwrap();
    let socket = dir.join("lines.sock");
    let mut command = serve_segments(&dir.join("data"));
    command.arg("--config").arg(&config).args(["--listen-lines", "127.0.0.1:0"]);
    command.arg("--listen-lines").arg(format!("unix:{}", socket.display()));
    let server = Server::start(command);
    let tcp = TcpStream::connect(server.lines()).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    talk_lines(&tcp, &tcp, "tcp");
    tcp.shutdown(Shutdown::Write).unwrap();
    assert_eq!((&tcp).read(&mut [0; 16]).unwrap(), 0, "the server closes after the client's end");
    let unix = UnixStream::connect(&socket).unwrap();
    unix.set_read_timeout(Some(PATIENCE)).unwrap();
    talk_lines(&unix, &unix, "unix");
    // The last line may lack its end.
    let cut = TcpStream::connect(server.lines()).unwrap();
    cut.set_read_timeout(Some(PATIENCE)).unwrap();
    (&cut).write_all(b"{\"last\":1}").unwrap();
    cut.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    (&cut).read_to_string(&mut rest).unwrap();
    assert!(rest.lines().any(|l| serde_json::from_str::<Value>(l).unwrap()["through"] == 1), "{rest}");
    let stored = cat(&dir.join("data"), &[]);
    let text = String::from_utf8(stored).unwrap();
    for from in ["tcp", "unix"] {
        assert_eq!(text.lines().filter(|l| l.contains(from)).count(), 42, "{text}");
    }
    assert!(text.contains("{\"last\":1}\n"), "{text}");
    assert!(
        String::from_utf8_lossy(&cat(&dir.join("data"), &["--quarantine"])).contains("not json from tcp")
    );
    server.stop();
    assert!(!socket.exists(), "the socket's file is removed at the end");
}

/// Sends 42 good lines and a bad third, in uneven pieces; waits for the reply through the last.
fn talk_lines(mut write: impl Write, read: impl Read, from: &str) {
    let mut lines = format!("{{\"from\":\"{from}\"}}\r\n{{\"from\":\"{from}\"}}\nnot json from {from}!\n");
    for n in 0..40 {
        lines += &format!("{{\"from\":\"{from}\",\"n\":{n}}}\n");
    }
    let (one, two) = lines.as_bytes().split_at(37);
    write.write_all(one).unwrap();
    std::thread::sleep(Duration::from_millis(5));
    write.write_all(two).unwrap();
    let (mut through, mut rejected) = (0, Vec::new());
    for line in BufReader::new(read).lines() {
        let reply: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(reply["ack"], "durable", "{reply}");
        let now = reply["through"].as_u64().unwrap();
        assert!(now > through, "{reply} after {through}");
        through = now;
        rejected.extend(reply["rejected"].as_array().unwrap().clone());
        if through == 43 {
            break;
        }
    }
    assert_eq!((through, rejected.len()), (43, 1), "{rejected:?}");
    // Counted like `through`: the third line is 3.
    assert_eq!(rejected[0]["line"], 3, "{rejected:?}");
    assert!(rejected[0]["reason"].is_string(), "{rejected:?}");
}
