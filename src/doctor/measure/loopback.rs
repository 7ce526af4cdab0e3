//! The server's own latency on this host: this very program with the null sink on one core, asked over loopback from
//! another, one request at a time.
//!
//! What is seen holds everything but a network and a disk: rings, wake-ups, the scheduler, idle states, interrupts.
use super::quantile;
use crate::core::memory::Clock;
use crate::doctor::judge::Loopback;
use crate::sys::{affinity, clock::MonotonicClock};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Time for requests; the first tenth is not counted.
const SPAN_NS: u64 = 700_000_000;
/// Between requests, so that both sides sleep and are woken as they are under moderate load.
const PAUSE_NS: u64 = 200_000;
/// How long the server may take to start, and a reply to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// One small event.
const REQUEST: &[u8] =
    b"POST /v1/events HTTP/1.1\r\nHost: doctor\r\nContent-Type: application/json\r\nPrefer: return=minimal\r\nContent-Length: 7\r\n\r\n{\"a\":1}";

/// A server that ends with its value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks a server on `core`, from whichever of `others` it may.
///
/// # Errors
/// Why it could not be had: what the server said.
pub fn measure(core: usize, others: &[usize]) -> Result<Loopback, String> {
    let (server, address) = start(core)?;
    let others: Vec<usize> = affinity::reachable(others).into_iter().filter(|other| *other != core).collect();
    let ask = move || {
        // Without another core they share one, and that shows in the figures.
        let _ = others.first().map(|other| affinity::pin(&[*other]));
        ask(address)
    };
    let times = std::thread::spawn(ask).join().map_err(|_| "the asking thread broke")?;
    let mut times = times.map_err(|error| format!("asking it over {address}: {error}"))?;
    drop(server);
    times.sort_unstable();
    Ok(Loopback {
        core,
        count: times.len(),
        p50_ns: quantile(&times, 0.5),
        p99_ns: quantile(&times, 0.99),
        longest_ns: quantile(&times, 1.0),
    })
}

fn start(core: usize) -> Result<(Server, SocketAddr), String> {
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RINGMILL_")) {
        command.env_remove(name);
    }
    // Nobody's unit but our own child.
    for name in
        ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"]
    {
        command.env_remove(name);
    }
    command.args(["serve", "--sink", "null", "--listen", "127.0.0.1:0", "--admin", "none", "--cores"]);
    command.arg(core.to_string());
    // Small, for a single connection is served.
    command.args(["--connections-max", "16", "--receive-buffers", "64", "--body-budget-bytes", "17MiB"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut server = Server(child.map_err(|error| format!("cannot start it: {error}"))?);
    let (sender, ready) = mpsc::channel();
    if let Some(out) = server.0.stdout.take() {
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(out).read_line(&mut line);
            let _ = sender.send(line);
        });
    }
    let line = ready.recv_timeout(PATIENCE).map_err(|_| "it did not start within 10 s".to_string())?;
    let address = line.split(' ').find_map(|word| word.strip_prefix("http=")?.parse().ok());
    match address {
        Some(address) => Ok((server, address)),
        None => {
            let mut said = String::new();
            let _ = server.0.kill();
            let _ = server.0.stderr.take().map(|mut log| log.read_to_string(&mut said));
            Err(format!("it did not start: {}", said.lines().last().unwrap_or("it said nothing")))
        }
    }
}

/// How long each request took.
fn ask(address: SocketAddr) -> std::io::Result<Vec<u64>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut reply, mut times) = ([0; 4096], Vec::new());
    let begun = MonotonicClock.now_ns();
    loop {
        let sent = MonotonicClock.now_ns();
        stream.write_all(REQUEST)?;
        let mut have = 0;
        while !reply[..have].windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut reply[have..])? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                n => have += n,
            }
        }
        if !reply.starts_with(b"HTTP/1.1 202") {
            let said = String::from_utf8_lossy(&reply[..have]).lines().next().unwrap_or_default().to_string();
            return Err(std::io::Error::other(format!("it answered {said}")));
        }
        let now = MonotonicClock.now_ns();
        if now - begun > SPAN_NS / 10 {
            times.push(now - sent);
        }
        if now - begun > SPAN_NS {
            return Ok(times);
        }
        std::thread::sleep(Duration::from_nanos(PAUSE_NS));
    }
}
