//! A target that does what it is told: one act for each request, in order, then "taken".
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// What to do with one request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Read it, and answer so: status, further header lines, body.
    Answer(u16, &'static str, String),
    /// The same with the answer a byte at a time.
    Drip(u16),
    /// Read it, and answer with these bytes as they are; then close.
    Raw(&'static [u8]),
    /// Read it, keep it, close without a word.
    TakeAndClose,
    /// Close as soon as its head came.
    CloseAtHead,
    /// Answer as soon as its head came, without reading more, then close.
    Early(u16),
    /// Read it, and say nothing for as long as anybody waits.
    Hang,
    /// Read it in small sips, then take it.
    Slow,
    /// Read it; answer as `_bulk` does, with these statuses for its events in turn, the last for all others.
    Bulk(Vec<u16>),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Method, path and version.
    pub line: String,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// As it came.
    pub body: Vec<u8>,
    /// It was taken, as far as the target goes.
    pub taken: bool,
}

impl Seen {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The path with its query.
    pub fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }

    /// The lines of its body.
    pub fn lines(&self) -> Vec<String> {
        String::from_utf8(self.body.clone()).unwrap().lines().map(str::to_owned).collect()
    }
}

#[derive(Default)]
struct Shared {
    acts: Mutex<VecDeque<Act>>,
    always: Mutex<Option<Act>>,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
}

/// See the module. Its threads end with the process.
#[derive(Clone)]
pub struct Target {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Target {
    /// On a port of its own.
    pub fn start(acts: impl IntoIterator<Item = Act>) -> Target {
        Target::start_at("127.0.0.1:0".parse().unwrap(), acts)
    }

    /// On that port.
    pub fn start_at(address: SocketAddr, acts: impl IntoIterator<Item = Act>) -> Target {
        let listener = TcpListener::bind(address).unwrap();
        let shared = Arc::new(Shared { acts: Mutex::new(acts.into_iter().collect()), ..Shared::default() });
        let target = Target { address: listener.local_addr().unwrap(), shared: shared.clone() };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let shared = shared.clone();
                thread::spawn(move || serve(&stream, &shared));
            }
        });
        target
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to do with every request that no other act is left for.
    pub fn always(&self, act: Option<Act>) {
        *self.shared.always.lock().unwrap() = act;
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// The lines of all bodies that were taken.
    pub fn taken(&self) -> Vec<String> {
        self.seen().iter().filter(|seen| seen.taken).flat_map(Seen::lines).collect()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

fn serve(stream: &TcpStream, shared: &Shared) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::with_capacity(1024, stream);
    loop {
        let (line, headers) = head(&mut reader)?;
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.map_or(0, |(_, value)| value.parse().unwrap());
        let act = shared.acts.lock().unwrap().pop_front().or_else(|| shared.always.lock().unwrap().clone());
        let act = act.unwrap_or(Act::Answer(200, "", String::new()));
        match act {
            Act::CloseAtHead => return None,
            Act::Early(status) => {
                write!(&*stream, "HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n").ok()?;
                // What was sent on is left unread for a moment, or the answer would be lost with it.
                thread::sleep(Duration::from_millis(100));
                return None;
            }
            _ => {}
        }
        let mut body = vec![0; length];
        match act {
            Act::Slow => {
                for sip in body.chunks_mut(16 << 10) {
                    reader.read_exact(sip).ok()?;
                    thread::sleep(Duration::from_millis(1));
                }
            }
            _ => reader.read_exact(&mut body).ok()?,
        }
        let taken = match &act {
            Act::Answer(status, ..) | Act::Drip(status) => (200..300).contains(status),
            Act::TakeAndClose | Act::Slow => true,
            _ => false,
        };
        let seen = Seen { line, headers, body, taken };
        let events = seen.body.iter().filter(|byte| **byte == b'\n').count() / 2;
        shared.seen.lock().unwrap().push(seen);
        answer(stream, &act, events)?;
    }
}

fn answer(mut stream: &TcpStream, act: &Act, events: usize) -> Option<()> {
    match act {
        Act::Answer(status, headers, body) => {
            let length = body.len();
            write!(stream, "HTTP/1.1 {status} x\r\n{headers}Content-Length: {length}\r\n\r\n{body}").ok()
        }
        Act::Slow => write!(stream, "HTTP/1.1 204 x\r\n\r\n").ok(),
        Act::Drip(status) => {
            let text =
                format!("HTTP/1.1 {status} x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
            for byte in text.as_bytes() {
                stream.write_all(&[*byte]).ok()?;
                thread::sleep(Duration::from_micros(300));
            }
            Some(())
        }
        Act::Bulk(statuses) => {
            let status = |n: usize| statuses.get(n).or(statuses.last()).unwrap();
            let items: Vec<String> =
                (0..events).map(|n| format!("{{\"create\":{{\"status\":{}}}}}", status(n))).collect();
            let body = format!("{{\"took\":1,\"errors\":true,\"items\":[{}]}}", items.join(","));
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).ok()
        }
        Act::Raw(bytes) => {
            stream.write_all(bytes).ok()?;
            None
        }
        Act::Hang => {
            // Until the other side gives up.
            let _ = stream.read(&mut [0; 1]);
            None
        }
        Act::TakeAndClose | Act::CloseAtHead | Act::Early(_) => None,
    }
}

type Head = (String, Vec<(String, String)>);

fn head(reader: &mut impl BufRead) -> Option<Head> {
    let mut line = String::new();
    let mut next = || {
        line.clear();
        let read = reader.read_line(&mut line).ok()?;
        (read > 0).then(|| line.trim_end().to_owned())
    };
    let first = next()?;
    let mut headers = Vec::new();
    loop {
        let line = next()?;
        if line.is_empty() {
            return Some((first, headers));
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}
