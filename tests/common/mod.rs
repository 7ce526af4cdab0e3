//! The built server driven from outside: started on port 0 in a folder of its own, spoken to by raw sockets.
//!
//! Everything here waits with a bound and shows the server's log when it gives up.
#![allow(dead_code)] // Each test program uses its part.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// The program under test: the one built with these tests, or the one that `RINGMILL_BIN` names.
pub fn ringmill() -> Command {
    Command::new(std::env::var_os("RINGMILL_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_ringmill").into()))
}

/// No single wait of a test takes longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A folder that goes away with its value.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// A new empty folder under cargo's folder for test files, which lies on a real disk.
    pub fn new(name: &str) -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{unique}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of an entry in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("kept for a look: {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// The cores that this process may run on, as the kernel lists them: `0-3,6`.
fn cores() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_string()
}

/// The first core that this process may run on.
pub fn core() -> String {
    cores().split([',', '-']).next().unwrap().to_string()
}

/// The next one, if there is one.
pub fn second_core() -> Option<String> {
    let (list, first) = (cores(), core());
    let rest = &list[first.len()..];
    match rest.strip_prefix('-') {
        Some(_) => Some((first.parse::<usize>().unwrap() + 1).to_string()),
        None => rest.strip_prefix(',')?.split([',', '-']).next().map(str::to_string),
    }
}

/// `serve` with one shard, on ports of its own and with small buffers, so that many run at once.
pub fn serve() -> Command {
    let mut command = ringmill();
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--cores", &core()]);
    command.args(["--segment-bytes", "32MiB", "--quarantine-bytes", "4MiB", "--connections-max", "64"]);
    command.args(["--receive-buffers", "128", "--body-budget-bytes", "17MiB"]);
    command
}

/// [`serve`] into segments of that folder.
pub fn serve_segments(dir: &Path) -> Command {
    let mut command = serve();
    command.arg("--sink").arg(format!("segments:{}", dir.display()));
    command
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    ready: String,
    stdout: Mutex<mpsc::Receiver<String>>,
    stderr: Arc<Mutex<String>>,
}

impl Server {
    /// Starts it and waits for its ready line.
    pub fn start(mut command: Command) -> Server {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, stdout) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let stderr = Arc::new(Mutex::new(String::new()));
        let (err, log) = (BufReader::new(child.stderr.take().unwrap()), stderr.clone());
        thread::spawn(move || {
            for line in err.lines().map_while(Result::ok) {
                *log.lock().unwrap() += &(line + "\n");
            }
        });
        let mut server = Server { child, ready: String::new(), stdout: Mutex::new(stdout), stderr };
        match server.stdout.get_mut().unwrap().recv_timeout(PATIENCE) {
            Ok(line) => server.ready = line,
            Err(why) => {
                thread::sleep(Duration::from_millis(50));
                panic!("no ready line ({why}) from {command:?}; its log:\n{}", server.log())
            }
        }
        assert!(server.ready.starts_with("ringmill ready "), "not a ready line: {}", server.ready);
        server
    }

    /// The ready line.
    pub fn ready(&self) -> &str {
        &self.ready
    }

    /// A field of the ready line.
    pub fn field(&self, name: &str) -> &str {
        let value = |part: &'_ str| part.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
        let part = self.ready.split(' ').find(|part| value(part));
        &part.unwrap_or_else(|| panic!("no {name}= in {}", self.ready))[name.len() + 1..]
    }

    /// Where it takes HTTP.
    pub fn http(&self) -> SocketAddr {
        self.field("http").split(',').next().unwrap().parse().unwrap()
    }

    /// Where it takes lines over TCP.
    pub fn lines(&self) -> SocketAddr {
        self.field("lines").split(',').find_map(|a| a.parse().ok()).unwrap()
    }

    /// Where it is scraped.
    pub fn admin(&self) -> SocketAddr {
        self.field("admin").parse().unwrap()
    }

    /// A new connection for HTTP.
    pub fn client(&self) -> Client {
        Client::connect(self.http())
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// What it printed on standard output after the ready line.
    pub fn further_output(&self) -> Vec<String> {
        self.stdout.lock().unwrap().try_iter().collect()
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let status = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + Duration::from_secs(35);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the server does not end; its log:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGTERM, then its end, which must be exit code 0.
    pub fn stop(mut self) {
        self.terminate();
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "after SIGTERM; its log:\n{}", self.log());
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// All samples of `/metrics`: name with labels to value.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let reply = get(self.admin(), "/metrics");
        assert_eq!(reply.status, 200);
        let text = String::from_utf8(reply.body).unwrap();
        let sample = |line: &str| {
            line.rsplit_once(' ').map(|(name, value)| (name.to_string(), value.parse().unwrap()))
        };
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).filter_map(sample).collect()
    }

    /// The sum over all shards and labels of one metric.
    pub fn metric(&self, name: &str) -> f64 {
        let named =
            |full: &str| full == name || full.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
        self.metrics().iter().filter(|(full, _)| named(full)).map(|(_, value)| value).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a server that is expected to refuse to start, or any other command that ends by itself.
pub fn run(command: Command) -> Output {
    run_within(command, PATIENCE)
}

/// [`run`] for what may take longer.
pub fn run_within(mut command: Command, patience: Duration) -> Output {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let end = Instant::now() + patience;
    // A pipe's buffer is enough for what a refusal prints; longer output is read by the thread.
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let out = thread::spawn(move || read_all(&mut out));
    let err = thread::spawn(move || read_all(&mut err));
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{command:?} does not end: {}", String::from_utf8_lossy(&err.join().unwrap()));
        }
        thread::sleep(Duration::from_millis(5));
    };
    Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() }
}

fn read_all(from: &mut impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    from.read_to_end(&mut all).unwrap();
    all
}

/// One reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The value of a header that stands there once.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|why| panic!("{why} in the body of {}", self.show()))
    }

    /// For messages.
    pub fn show(&self) -> String {
        format!("{} {:?} {}", self.status, self.headers, String::from_utf8_lossy(&self.body))
    }
}

/// A connection that sends bytes as they are and reads whole replies.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    buf: Vec<u8>,
}

impl Client {
    /// Connects.
    pub fn connect(to: SocketAddr) -> Client {
        Client::of(TcpStream::connect_timeout(&to, PATIENCE).unwrap())
    }

    /// Speaks on that connection.
    pub fn of(stream: TcpStream) -> Client {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { stream, buf: Vec::new() }
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends as far as the server lets it; a server that has refused may have closed already.
    pub fn send_some(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends in two parts with a pause between, so that the server reads them apart.
    pub fn send_split(&mut self, bytes: &[u8], at: usize) {
        self.send(&bytes[..at]);
        thread::sleep(Duration::from_millis(2));
        self.send(&bytes[at..]);
    }

    /// The next reply; `None` when the server closed instead.
    pub fn try_reply(&mut self, to_head: bool) -> Option<Reply> {
        let mut chunk = [0; 65536];
        loop {
            if let Some((reply, length)) = parse(&self.buf, to_head) {
                self.buf.drain(..length);
                return Some(reply);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    assert!(self.buf.is_empty(), "cut reply: {}", String::from_utf8_lossy(&self.buf));
                    return None;
                }
                Ok(n) => self.buf.extend_from_slice(&chunk[..n]),
                Err(why) if why.kind() == std::io::ErrorKind::ConnectionReset => return None,
                // A ring that this thread once had may be torn down meanwhile.
                Err(why) if why.kind() == std::io::ErrorKind::Interrupted => {}
                Err(why) => panic!("no reply: {why}; so far {:?}", String::from_utf8_lossy(&self.buf)),
            }
        }
    }

    /// The next reply, which must come.
    pub fn reply(&mut self) -> Reply {
        self.try_reply(false).expect("the server closed the connection instead of replying")
    }

    /// Sends a request and reads its reply.
    pub fn ask(&mut self, request: &[u8]) -> Reply {
        self.send(request);
        self.reply()
    }

    /// Asserts that the server closes now without a further reply.
    pub fn assert_closed(&mut self, what: &str) {
        if let Some(reply) = self.try_reply(false) {
            panic!("{what}: a further reply where the connection should close: {}", reply.show());
        }
    }
}

/// A reply at the front of `buf` and its length, once it is whole.
fn parse(buf: &[u8], to_head: bool) -> Option<(Reply, usize)> {
    let end = buf.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&buf[..end]).expect("a head of ASCII");
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap();
    assert!(first.starts_with("HTTP/1.1 "), "not a status line: {first}");
    let status: u16 = first[9..12].parse().unwrap();
    let header =
        |line: &str| line.split_once(':').map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_string()));
    let headers: Vec<_> = lines.map(|line| header(line).unwrap_or_else(|| panic!("header {line}"))).collect();
    let mut length =
        headers.iter().find(|(n, _)| n == "content-length").map(|(_, v)| v.parse::<usize>().unwrap());
    if status < 200 || status == 204 || to_head {
        length = Some(0);
    }
    let length = length.unwrap_or_else(|| panic!("no Content-Length in: {head}"));
    let body = buf.get(end + 4..end + 4 + length)?.to_vec();
    Some((Reply { status, headers, body }, end + 4 + length))
}

/// A POST with these further header lines (each ending in CRLF).
pub fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut request =
        format!("POST {path} HTTP/1.1\r\nHost: test\r\n{headers}Content-Length: {}\r\n\r\n", body.len())
            .into_bytes();
    request.extend_from_slice(body);
    request
}

/// A POST of NDJSON to the default stream.
pub fn ndjson(body: impl AsRef<[u8]>) -> Vec<u8> {
    post("/v1/events", "Content-Type: application/x-ndjson\r\n", body.as_ref())
}

/// A POST of one JSON value to the default stream.
pub fn json(body: impl AsRef<[u8]>) -> Vec<u8> {
    post("/v1/events", "Content-Type: application/json\r\n", body.as_ref())
}

/// A GET on a connection of its own, as from the admin side.
pub fn get(to: SocketAddr, path: &str) -> Reply {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    parse(&all, false).unwrap_or_else(|| panic!("cut reply: {}", String::from_utf8_lossy(&all))).0
}

/// `ringmill segments WHAT DIR ARGS`.
pub fn segments(what: &str, dir: &Path, args: &[&str]) -> Output {
    let mut command = ringmill();
    command.args(["segments", what]).arg(dir).args(args);
    run(command)
}

/// What `segments cat` prints, which must succeed.
pub fn cat(dir: &Path, args: &[&str]) -> Vec<u8> {
    let output = segments("cat", dir, args);
    assert!(output.status.success(), "segments cat: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// How long the independent reader may take: it computes checksums in Python, 7 MB/s of them.
const STRANGERS_PATIENCE: Duration = Duration::from_secs(300);

/// What the independent reader prints, which must succeed.
pub fn read_by_stranger(dir: &Path) -> Vec<u8> {
    let mut command = Command::new("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/read_segments.py")).arg(dir);
    let output = run_within(command, STRANGERS_PATIENCE);
    assert!(output.status.success(), "read_segments.py: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// xorshift64*: random choices that a printed seed repeats.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of that seed.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// 0 to `bound` - 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % bound
    }
}
