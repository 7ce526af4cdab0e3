//! The Kafka sink's settings: which cluster and topic, how batches are made, and who we say we are.
//!
//! Nothing is reached, resolved or read here; what this build does not do is refused, not left out.
use super::plan::Sink;
use super::raw::KEYS;
use super::read::Reader;
use super::units;
use crate::core::json::pointer::Pointer;
use crate::core::kafka::arena::{ArenaLimits, BATCH_BYTES_MAX};
use crate::core::kafka::compress::Codec;
use crate::core::kafka::partition::Spread;
use crate::core::sink::kafka::{HEADERS_MAX, HeaderRules, KeyFrom, Routing, TimeFrom, TopicFrom};
use crate::sink::kafka::sasl::{Credentials, Mechanism};
use crate::sink::kafka::tls::TlsSettings;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Addresses in a bootstrap list: more than anybody has use for.
const BOOTSTRAP_MAX: usize = 64;
/// Partitions that one commit may touch.
const TOUCHED_MAX: u32 = 1024;
/// Bytes of the largest commit, for how many full batches it may have.
const COMMIT_BYTES_MAX: u64 = 16 << 20;
/// A password and the line end behind it.
const PASSWORD_BYTES_MAX: u64 = 64 << 10;

/// Stands in a topic's name or a header's value for the name of the stream.
const STREAM: &str = "{stream}";
/// Stands in a header's value for the event's id.
const ID: &str = "{id}";

/// A cluster, and where in it events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The bootstrap list, host and port each; an IPv6 address stands in brackets.
    pub brokers: Vec<(String, u16)>,
    /// The topic's name, one that Kafka allows, or what stands before the stream's name in it.
    pub topic: String,
    /// Whether the stream's name follows.
    pub by_stream: bool,
}

impl Address {
    /// Which topic, in the sink's words.
    pub fn topic_from(&self) -> TopicFrom {
        match self.by_stream {
            false => TopicFrom::Fixed(self.topic.clone()),
            true => TopicFrom::Stream { prefix: self.topic.clone() },
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (host, port)) in self.brokers.iter().enumerate() {
            write!(out, "{}{host}:{port}", if index == 0 { "" } else { "," })?;
        }
        write!(out, "/{}{}", self.topic, if self.by_stream { STREAM } else { "" })
    }
}

/// How to say who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sasl {
    /// How the password is shown to a broker.
    pub mechanism: Mechanism,
    /// The user.
    pub user: String,
    /// Where the password is; read at start, never printed.
    pub password_file: PathBuf,
}

impl Sasl {
    /// Reads the password.
    ///
    /// # Errors
    /// A sentence that names the file and says nothing of what is in it.
    pub fn credentials(&self) -> Result<Credentials, String> {
        let path = self.password_file.display();
        let fail = |why: &str| format!("kafka.password_file = {path}: {why}");
        let found = std::fs::metadata(&self.password_file).map_err(|error| fail(&error.to_string()))?;
        if !found.is_file() || found.len() > PASSWORD_BYTES_MAX {
            return Err(fail("not a file of one line"));
        }
        let text = std::fs::read(&self.password_file).map_err(|error| fail(&error.to_string()))?;
        let text = String::from_utf8(text).map_err(|_| fail("not UTF-8"))?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let password = line.strip_suffix('\r').unwrap_or(line);
        if password.is_empty() || password.contains(['\n', '\0']) {
            return Err(fail("one line with the password is expected"));
        }
        Ok(Credentials { mechanism: self.mechanism, user: self.user.clone(), password: password.to_owned() })
    }
}

/// Everything about the Kafka sink but its address.
#[derive(Clone, Debug)]
pub struct KafkaPlan {
    /// What brokers log us as; at most 249 bytes.
    pub client_id: String,
    /// How batches are compressed.
    pub codec: Codec,
    /// Bytes of a partition's batch at most, header included.
    pub batch_bytes: u64,
    /// After which a batch is given up.
    pub delivery_timeout: Duration,
    /// After which events of a partition without a leader are turned away.
    pub leader_wait: Duration,
    /// After which a broker that does not answer is given up.
    pub request_timeout: Duration,
    /// How events without a key are spread.
    pub spread: Spread,
    /// Which key a record has.
    pub key: KeyFrom,
    /// Which time a record has.
    pub time: TimeFrom,
    /// Which headers a record has.
    pub headers: HeaderRules,
    /// Let brokers create topics.
    pub create_topics: bool,
    /// TLS, if it is wanted.
    pub tls: Option<TlsSettings>,
    /// Credentials, if they are wanted.
    pub sasl: Option<Sasl>,
    /// Brokers of the cluster that there is room for.
    pub brokers_max: u32,
    /// Topics that there is room for.
    pub topics_max: u32,
    /// Partitions of all topics that there is room for.
    pub partitions_max: u32,
}

impl KafkaPlan {
    /// What each of a shard's arenas reserves.
    pub fn arena(&self) -> ArenaLimits {
        ArenaLimits {
            partitions: self.partitions_max,
            // Two batches in a row of one partition are longer together than one may be.
            batches: TOUCHED_MAX.min(self.partitions_max) + (2 * COMMIT_BYTES_MAX / self.batch_bytes) as u32,
            batch_bytes: self.batch_bytes as usize,
            ..ArenaLimits::default()
        }
    }

    /// Where events go, and what goes with them.
    pub fn routing(&self, address: &Address) -> Routing {
        Routing {
            topic: address.topic_from(),
            key: self.key.clone(),
            time: self.time.clone(),
            headers: self.headers.clone(),
        }
    }

    /// How long a leader may wait for the other replicas. It answers within our own bound then.
    pub fn produce_timeout(&self) -> Duration {
        let margin = Duration::from_secs(5).min(self.request_timeout / 2);
        self.request_timeout - margin
    }

    /// Who we are to brokers, what they get, and how long it may take, for people. Nothing that is secret.
    pub fn rows(&self) -> [(&'static str, String); 4] {
        let tls = match &self.tls {
            None => "no TLS",
            Some(tls) if tls.client.is_some() => "TLS with a certificate of ours",
            Some(_) => "TLS",
        };
        let sasl = self
            .sasl
            .as_ref()
            .map_or("no SASL".into(), |sasl| format!("SASL {} as {}", sasl.mechanism.as_str(), sasl.user));
        let create = if self.create_topics { "may be created" } else { "must exist" };
        let batches = format!(
            "{} a partition, compression {}, partitioner {}; room for {} partitions on {} brokers",
            units::bytes(self.batch_bytes),
            codec_name(self.codec),
            spread_name(self.spread),
            self.partitions_max,
            self.brokers_max,
        );
        let key = match &self.key {
            KeyFrom::None => "no key",
            KeyFrom::Header => "key from the request",
            KeyFrom::Pointer(_) => "key from the event",
        };
        let time = match &self.time {
            TimeFrom::Arrival => "time of arrival",
            TimeFrom::Pointer(_) => "time from the event",
        };
        let headers = &self.headers;
        let own = usize::from(headers.stream.is_some()) + usize::from(headers.event_id.is_some());
        let records = format!("{key}, {time}, {} headers", own + headers.extra.len());
        let times = [self.request_timeout, self.delivery_timeout, self.leader_wait];
        let [request, delivery, leader] = times.map(units::time);
        [
            ("kafka", format!("client {}, {tls}, {sasl}; topics {create}", self.client_id)),
            ("kafka records", records),
            ("kafka batches", batches),
            ("kafka timeouts", format!("request {request}, delivery {delivery}, leader {leader}")),
        ]
    }
}

/// The settings of the Kafka sink if that is where events go; what is given for nothing is warned of.
pub(super) fn read(read: &mut Reader, sink: &Sink, warnings: &mut Vec<String>) -> Option<KafkaPlan> {
    let Sink::Kafka(address) = sink else {
        let given = KEYS.iter().filter(|key| key.name.starts_with("kafka."));
        let given = given.filter(|key| read.raw.get(key.name).is_some()).map(|key| key.name);
        warnings.extend(given.map(|name| format!("{name} is given, but events do not go to Kafka")));
        return None;
    };
    let second = Duration::from_secs(1);
    let request_timeout = read.time("kafka.request_timeout_s", 30 * second, second..=600 * second);
    let delivery_timeout = read.time("kafka.delivery_timeout_s", 120 * second, second..=3600 * second);
    if delivery_timeout < request_timeout {
        let why = "at least kafka.request_timeout_s is needed: a batch would be given up before its answer";
        read.refuse("kafka.delivery_timeout_s", why.into());
    }
    let tls = tls(read);
    let sasl = sasl(read);
    if tls.is_none() && sasl.as_ref().is_some_and(|sasl| sasl.mechanism == Mechanism::Plain) {
        warnings
            .push("kafka.sasl = plain without kafka.tls: the password goes over the network as it is".into());
    }
    let brokers_max = read.count("kafka.brokers_max", 32, 1..=500) as u32;
    let partitions_max = read.count("kafka.partitions_max", 1024, 1..=100_000) as u32;
    let batch_bytes =
        read.bytes("kafka.batch_bytes", BATCH_BYTES_MAX as u64, 16 << 10..=BATCH_BYTES_MAX as u64);
    Some(KafkaPlan {
        client_id: read.one("kafka.client_id", "ringmill", client_id).unwrap_or_default(),
        codec: read.one("kafka.compression", "none", codec).unwrap_or_default(),
        batch_bytes,
        delivery_timeout,
        leader_wait: read.time("kafka.leader_wait_s", 10 * second, second / 10..=3600 * second),
        request_timeout,
        spread: read
            .one("kafka.partitioner", "sticky", |text| spread(text, batch_bytes, partitions_max))
            .unwrap_or(Spread::RoundRobin),
        key: read.one("kafka.key", "none", key).unwrap_or(KeyFrom::None),
        time: read.one("kafka.timestamp", "arrival", time).unwrap_or(TimeFrom::Arrival),
        headers: headers(read),
        create_topics: read.switch("kafka.create_topics"),
        tls,
        sasl,
        brokers_max,
        topics_max: topics_max(read, address),
        partitions_max,
    })
}

fn pointer(text: &str, others: &str) -> Result<Pointer, String> {
    match text.starts_with('/') {
        true => Pointer::parse(text).map_err(|why| why.reason().into()),
        false => Err(format!("expected {others} or a JSON pointer such as `/user/id`")),
    }
}

fn key(text: &str) -> Result<KeyFrom, String> {
    match text {
        "none" => Ok(KeyFrom::None),
        "header" => Ok(KeyFrom::Header),
        _ => pointer(text, "`none`, `header`").map(KeyFrom::Pointer),
    }
}

fn time(text: &str) -> Result<TimeFrom, String> {
    match text {
        "arrival" => Ok(TimeFrom::Arrival),
        _ => pointer(text, "`arrival`").map(TimeFrom::Pointer),
    }
}

/// The headers of every record, in `NAME=VALUE`.
fn headers(read: &mut Reader) -> HeaderRules {
    let default = [format!("stream={STREAM}"), format!("id={ID}")];
    let texts = read.raw.get("kafka.headers").map_or(default.to_vec(), |given| given.texts.clone());
    let mut rules = HeaderRules::default();
    if texts == ["none"] || texts.iter().all(String::is_empty) {
        return rules;
    }
    if texts.len() > HEADERS_MAX {
        read.refuse("kafka.headers", format!("a record has {HEADERS_MAX} headers at most"));
    }
    let mut names = Vec::new();
    for text in &texts {
        let refusal = match text.split_once('=') {
            None | Some(("", _)) => Some("expected NAME=VALUE".into()),
            Some((name, _)) if names.contains(&name) => Some(format!("the header {name} is given twice")),
            Some((name, STREAM)) if rules.stream.is_none() => {
                rules.stream = Some(name.into());
                None
            }
            Some((name, ID)) if rules.event_id.is_none() => {
                rules.event_id = Some(name.into());
                None
            }
            Some((_, value)) if value.contains(['{', '}']) => {
                Some(format!("a value is text, or once {STREAM} or {ID} alone"))
            }
            Some((name, value)) => {
                rules.extra.push((name.into(), value.into()));
                None
            }
        };
        names.extend(text.split_once('=').map(|(name, _)| name));
        if let Some(why) = refusal {
            read.refuse("kafka.headers", format!("`{text}`: {why}"));
        }
    }
    rules
}

/// One, or as many streams as may become topics.
fn topics_max(read: &mut Reader, address: &Address) -> u32 {
    if address.by_stream {
        return read.count("kafka.topics_max", 64, 1..=10_000) as u32;
    }
    if read.raw.get("kafka.topics_max").is_some() {
        read.refuse("kafka.topics_max", format!("of no use with one topic: end its name with {STREAM}"));
    }
    1
}

fn client_id(text: &str) -> Result<String, String> {
    match text.len() {
        1..=249 => Ok(text.into()),
        _ => Err("a name of 1 to 249 bytes is expected".into()),
    }
}

fn codec(text: &str) -> Result<Codec, String> {
    match text {
        "none" => Ok(Codec::None),
        "lz4" => Ok(Codec::Lz4),
        "zstd" => Ok(Codec::Zstd),
        _ => Err("expected `none`, `lz4` or `zstd`".into()),
    }
}

fn spread(text: &str, batch_bytes: u64, partitions_max: u32) -> Result<Spread, String> {
    match text {
        // A full batch's worth each: the fewest batches in which all of a commit goes at once.
        "sticky" => Ok(Spread::Sticky { bytes: batch_bytes }),
        "round-robin" => Ok(Spread::RoundRobin),
        _ => match text.parse() {
            Ok(number) if number < partitions_max => Ok(Spread::Explicit(number)),
            Ok(_) => Err(format!("kafka.partitions_max leaves room for partitions below {partitions_max}")),
            Err(_) => Err("expected `sticky`, `round-robin` or the number of a partition".into()),
        },
    }
}

fn tls(read: &mut Reader) -> Option<TlsSettings> {
    let path = |read: &Reader, name: &str| read.raw.text(name).map(PathBuf::from);
    if !read.switch("kafka.tls") {
        for name in ["kafka.tls_ca", "kafka.tls_cert", "kafka.tls_key", "kafka.tls_server_name"] {
            if read.raw.get(name).is_some() {
                read.refuse(name, "of no use without TLS: set kafka.tls = true, or leave it out".into());
            }
        }
        return None;
    }
    let client = match (path(read, "kafka.tls_cert"), path(read, "kafka.tls_key")) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => {
            read.refuse("kafka.tls_cert", "its private key is missing: give kafka.tls_key".into());
            None
        }
        (None, Some(_)) => {
            read.refuse("kafka.tls_key", "its certificate is missing: give kafka.tls_cert".into());
            None
        }
    };
    let server_name = read.raw.text("kafka.tls_server_name").map(str::to_owned);
    Some(TlsSettings { ca: path(read, "kafka.tls_ca"), client, server_name })
}

fn sasl(read: &mut Reader) -> Option<Sasl> {
    let mechanism = read.one("kafka.sasl", "none", |text| match (text, Mechanism::parse(text)) {
        ("none", _) => Ok(None),
        (_, Some(mechanism)) => Ok(Some(mechanism)),
        _ => Err("expected `plain`, `scram-sha-256`, `scram-sha-512` or `none`".into()),
    })?;
    let [user, password_file] = ["kafka.user", "kafka.password_file"].map(|name| {
        let text = read.raw.text(name).filter(|text| !text.is_empty()).map(str::to_owned);
        match (mechanism, &text) {
            (None, Some(_)) => {
                read.refuse(name, "of no use without a mechanism: give kafka.sasl, or leave it out".into());
            }
            (Some(_), None) => read.refuse(name, "kafka.sasl needs it".into()),
            _ => {}
        }
        text
    });
    let (mechanism, user, password_file) = (mechanism?, user?, password_file?);
    Some(Sasl { mechanism, user, password_file: password_file.into() })
}

/// Parses what stands behind `kafka:`: `HOST:PORT[,HOST:PORT…]/TOPIC`.
///
/// # Errors
/// What such an address looks like.
pub(super) fn parse_address(text: &str) -> Result<Address, String> {
    let expected = "expected kafka:HOST:PORT[,HOST:PORT…]/TOPIC";
    let (list, topic) = text.rsplit_once('/').ok_or_else(|| format!("no topic is named; {expected}"))?;
    let mut brokers = Vec::new();
    for broker in list.split(',').map(str::trim) {
        let parsed =
            parse_broker(broker).ok_or_else(|| format!("`{broker}` is not HOST:PORT; {expected}"))?;
        if brokers.contains(&parsed) {
            return Err(format!("{broker} is given twice"));
        }
        brokers.push(parsed);
    }
    if brokers.len() > BOOTSTRAP_MAX {
        return Err(format!("at most {BOOTSTRAP_MAX} brokers are taken; the others are found by themselves"));
    }
    let (name, by_stream) = match topic.strip_suffix(STREAM) {
        Some(prefix) => (prefix, true),
        None => (topic, false),
    };
    let sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let least = if by_stream { 0 } else { 1 };
    if !(least..=249).contains(&name.len()) || !name.bytes().all(sound) || matches!(topic, "." | "..") {
        return Err(format!(
            "`{topic}` is not a topic that Kafka allows: 1 to 249 of letters, digits, `.`, `_` and `-`, \
             or such a beginning with {STREAM} behind it"
        ));
    }
    Ok(Address { brokers, topic: name.into(), by_stream })
}

fn parse_broker(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let sound = match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
            (1..=253).contains(&host.len()) && host.bytes().all(letter)
        }
    };
    sound.then(|| (host.to_owned(), port))
}

fn codec_name(codec: Codec) -> &'static str {
    match codec {
        Codec::None => "none",
        Codec::Lz4 => "lz4",
        Codec::Zstd => "zstd",
    }
}

fn spread_name(spread: Spread) -> String {
    match spread {
        Spread::Sticky { .. } => "sticky".into(),
        Spread::RoundRobin => "round-robin".into(),
        Spread::Explicit(number) => number.to_string(),
    }
}

#[cfg(test)]
#[path = "kafka_tests.rs"]
mod tests;
