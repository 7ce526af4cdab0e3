//! Real Apache Kafka in tests: the program `tests/kafka/rig`, started and spoken to.
//!
//! `tests/kafka/rig --help` lists the words that [`Rig::order`] takes. The first start on a machine fetches Kafka from
//! Maven Central; Java 17 and Maven must be there.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// A first start fetches, compiles and archives.
const FIRST_START: Duration = Duration::from_secs(400);
const PATIENCE: Duration = Duration::from_secs(150);

/// Running brokers. They end with this value, and with this process however it ends.
#[derive(Debug)]
pub struct Rig {
    process: Child,
    answers: mpsc::Receiver<String>,
    up: Value,
}

/// A record as Kafka's own consumer read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumed {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

/// A batch as it lies in a node's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dumped {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Number of its records.
    pub records: i32,
    /// Its whole size.
    pub bytes: u64,
    /// `none`, `lz4`, `zstd`, `gzip` or `snappy`.
    pub codec: String,
    /// Producer id, −1 for none.
    pub producer_id: i64,
    /// Producer epoch.
    pub epoch: i16,
    /// Sequence of its first record.
    pub sequence: i32,
    /// Whether its checksum holds.
    pub valid: bool,
}

impl Rig {
    /// Starts brokers with the arguments of `rig`, such as `["--nodes", "3", "--topic", "events:6"]`. Panics with the
    /// rig's own words when they do not come up.
    pub fn start(arguments: &[&str]) -> Rig {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rig");
        let mut process = Command::new(&program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        let (lines, answers) = mpsc::channel();
        let stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
        let mut rig = Rig { process, answers, up: Value::Null };
        rig.up = rig.answer(FIRST_START).expect("the rig starts");
        rig
    }

    /// Gives one command; `Err` is what the rig says is wrong.
    pub fn ask(&mut self, words: &[&str]) -> Result<Value, String> {
        let mut line = Value::from(words).to_string();
        line.push('\n');
        self.process
            .stdin
            .as_mut()
            .expect("it is piped")
            .write_all(line.as_bytes())
            .map_err(|e| e.to_string())?;
        self.answer(PATIENCE)
    }

    /// Gives one command that must succeed.
    pub fn order(&mut self, words: &[&str]) -> Value {
        self.ask(words).unwrap_or_else(|e| panic!("{}: {e}", words.join(" ")))
    }

    fn answer(&mut self, within: Duration) -> Result<Value, String> {
        let line = self.answers.recv_timeout(within).map_err(|_| "the rig does not answer".to_string())?;
        let answer: Value = serde_json::from_str(&line).map_err(|e| format!("{line}: {e}"))?;
        if answer["ok"] == true { Ok(answer) } else { Err(answer["error"].as_str().unwrap_or(&line).into()) }
    }

    /// What the rig said when it was up: nodes, pids, folders, certificates, proxies.
    pub fn up(&self) -> &Value {
        &self.up
    }

    /// The address of each node for plain connections, node 1 first.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listener("PLAINTEXT")
    }

    /// The address of each node on a listener: `SASL`, `SSL`, `SASLSSL`, `MTLS` or `PROXIED`.
    pub fn listener(&self, name: &str) -> Vec<SocketAddr> {
        let told = self.up["listeners"][name].as_array().unwrap_or_else(|| panic!("no listener {name}"));
        told.iter().map(|at| at.as_str().unwrap().parse().unwrap()).collect()
    }

    /// For each node, where a proxy must listen and where it must connect. Needs `--proxied`.
    pub fn proxies(&self) -> Vec<(SocketAddr, SocketAddr)> {
        let all = self.up["proxies"].as_array().expect("the rig was started with --proxied");
        let at = |proxy: &Value, end: &str| proxy[end].as_str().unwrap().parse().unwrap();
        all.iter().map(|proxy| (at(proxy, "listen"), at(proxy, "to"))).collect()
    }

    /// The path of a certificate or key, such as `ca.pem`. Needs `--secure`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.up["security"]["files"][name].as_str().unwrap_or_else(|| panic!("no file {name}")).into()
    }

    /// Everything in a topic, partition by partition in the order of offsets.
    pub fn consume(&mut self, topic: &str) -> Vec<Consumed> {
        let bytes = |value: &Value| value.as_str().map(|text| STANDARD.decode(text).unwrap());
        let record = |line: &Value| Consumed {
            partition: number(&line["partition"]) as i32,
            offset: number(&line["offset"]),
            timestamp: number(&line["timestamp"]),
            key: bytes(&line["key"]),
            headers: line["headers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|h| (text(&h[0]), bytes(&h[1])))
                .collect(),
            value: bytes(&line["value"]),
        };
        self.lines(&["consume", topic]).iter().map(record).collect()
    }

    /// The batches of a partition in the log of one node.
    pub fn dump(&mut self, node: i32, topic: &str, partition: i32) -> Vec<Dumped> {
        let batch = |line: &Value| Dumped {
            base_offset: number(&line["base_offset"]),
            records: number(&line["records"]) as i32,
            bytes: number(&line["bytes"]) as u64,
            codec: text(&line["codec"]),
            producer_id: number(&line["producer_id"]),
            epoch: number(&line["epoch"]) as i16,
            sequence: number(&line["sequence"]) as i32,
            valid: line["valid"] == true,
        };
        self.lines(&["dump", &node.to_string(), topic, &partition.to_string()]).iter().map(batch).collect()
    }

    /// Runs a command that writes JSON lines to the file named last.
    fn lines(&mut self, words: &[&str]) -> Vec<Value> {
        let file = format!("{}/answer.jsonl", self.up["folder"].as_str().unwrap());
        self.order(&[words, &[&file]].concat());
        let text = fs::read_to_string(&file).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Rig {
    /// The end of its input ends the rig, which ends the brokers. Should it hang, its death takes them along.
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let end = Instant::now() + Duration::from_secs(30);
        while let Ok(None) = self.process.try_wait() {
            if Instant::now() > end {
                let _ = self.process.kill();
                let _ = self.process.wait();
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).into()
}
