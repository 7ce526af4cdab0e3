//! The HTTP sink's settings: which target, how it wants events, and who we say we are.
//!
//! Nothing is reached or resolved here. Secrets are read from files when the server starts, and never printed.
use super::plan::Sink;
use super::raw::KEYS;
use super::read::{Reader, names};
use super::units;
use crate::core::ack::Ack;
use crate::core::sink::http::target::{STREAM, TOKEN};
use crate::core::sink::http::{Preset, Target};
use crate::sink::http::encode::Coding;
use crate::sink::kafka::tls::TlsSettings;
use base64::Engine as _;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const MIB: u64 = 1 << 20;
/// Connections of a shard; the least common need is to have more than a target takes at once.
const CONNECTIONS_MAX: u64 = 64;
/// A file with secrets, and the line ends in it.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// A target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// A name or an address, without brackets.
    pub host: String,
    /// Where it listens.
    pub port: u16,
    /// Path and query as given, `/` at least.
    pub path: String,
    /// What a 2xx of it promises.
    pub level: Ack,
}

impl Address {
    /// The value of `Host`: the port only if it is not the scheme's own.
    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.tls { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(out, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// How we say who we are, beside header lines.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Login {
    /// `Authorization: Basic`, with the password in a file.
    Basic(String, PathBuf),
    /// `Authorization: Bearer`, with the token in a file.
    Bearer(PathBuf),
}

/// Everything about the HTTP sink but its address.
#[derive(Clone, Debug)]
pub struct HttpPlan {
    /// How the target wants events.
    pub preset: Preset,
    /// Bytes of one body at most, before compression.
    pub batch_bytes: u64,
    /// Connections of a shard.
    pub connections: u16,
    /// How bodies are compressed.
    pub coding: Coding,
    /// After which an answer is waited for no longer.
    pub request_timeout: Duration,
    /// After which events are given up.
    pub delivery_timeout: Duration,
    /// After which an idle connection is closed.
    pub idle_timeout: Duration,
    /// TLS, if it is wanted.
    pub tls: Option<TlsSettings>,
    /// Path and query of requests, with places for stream and token.
    path: String,
    /// Header lines that are no secret.
    headers: Vec<(String, String)>,
    header_file: Option<PathBuf>,
    login: Option<Login>,
}

impl HttpPlan {
    /// Reads the files that say who we are, as header lines.
    ///
    /// # Errors
    /// A sentence that names the file and says nothing of what is in it.
    pub fn secrets(&self) -> Result<Vec<u8>, String> {
        let mut lines = String::new();
        if let Some(path) = &self.header_file {
            for (number, line) in read_secret("http.header_file", path)?.lines().enumerate() {
                if line.trim().is_empty() {
                    continue;
                }
                let fail = |why| format!("http.header_file = {}: line {}: {why}", path.display(), number + 1);
                let (name, value) =
                    line.split_once(':').ok_or_else(|| fail("expected `Name: value`".into()))?;
                let (name, value) = sound_header(name.trim(), value.trim()).map_err(fail)?;
                lines.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        match &self.login {
            Some(Login::Basic(user, path)) => {
                let password = one_line("http.password_file", path)?;
                let both = base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}"));
                lines.push_str(&format!("Authorization: Basic {both}\r\n"));
            }
            Some(Login::Bearer(path)) => {
                let token = one_line("http.token_file", path)?;
                let (_, token) = sound_header("Authorization", &token)
                    .map_err(|_| format!("http.token_file = {}: not a token", path.display()))?;
                lines.push_str(&format!("Authorization: Bearer {token}\r\n"));
            }
            None => {}
        }
        Ok(lines.into_bytes())
    }

    /// The head of every request.
    pub fn target(&self, address: &Address, secrets: &[u8]) -> Target {
        let kind = match self.preset {
            Preset::VictoriaLogs => "application/stream+json",
            _ => "application/x-ndjson",
        };
        let mut fields = format!(
            "Host: {}\r\nUser-Agent: ringmill/{}\r\n",
            address.authority(),
            env!("CARGO_PKG_VERSION")
        );
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            fields.push_str(&format!("Content-Type: {kind}\r\n"));
        }
        if self.coding != Coding::Identity {
            fields.push_str(&format!("Content-Encoding: {}\r\n", self.coding.as_str()));
        }
        for (name, value) in &self.headers {
            fields.push_str(&format!("{name}: {value}\r\n"));
        }
        Target::new(&self.path, &[fields.as_bytes(), secrets].concat())
    }

    /// What is sent, how, and how long it may take, for people. Nothing that is secret.
    pub fn rows(&self) -> [(&'static str, String); 3] {
        let tls = match &self.tls {
            None => "no TLS",
            Some(tls) if tls.client.is_some() => "TLS with a certificate of ours",
            Some(_) => "TLS",
        };
        let login = match (&self.login, &self.header_file) {
            (Some(Login::Basic(user, _)), _) => format!("as {user}"),
            (Some(Login::Bearer(_)), _) => "with a token".into(),
            (None, Some(_)) => "with headers of a file".into(),
            (None, None) => "as nobody".into(),
        };
        let [request, delivery, idle] =
            [self.request_timeout, self.delivery_timeout, self.idle_timeout].map(units::time);
        [
            ("http target", format!("{}, POST {}, {tls}, {login}", self.preset.as_str(), self.path)),
            (
                "http requests",
                format!(
                    "{} each, compression {}, {} connection(s) a shard",
                    units::bytes(self.batch_bytes),
                    self.coding.as_str(),
                    self.connections
                ),
            ),
            ("http timeouts", format!("request {request}, delivery {delivery}, idle {idle}")),
        ]
    }
}

fn read_secret(key: &str, path: &Path) -> Result<String, String> {
    let fail = |why: &str| format!("{key} = {}: {why}", path.display());
    let found = std::fs::metadata(path).map_err(|error| fail(&error.to_string()))?;
    if !found.is_file() || found.len() > SECRET_BYTES_MAX {
        return Err(fail("not a small file"));
    }
    let bytes = std::fs::read(path).map_err(|error| fail(&error.to_string()))?;
    String::from_utf8(bytes).map_err(|_| fail("not UTF-8"))
}

fn one_line(key: &str, path: &Path) -> Result<String, String> {
    let text = read_secret(key, path)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    match line.is_empty() || line.contains(['\n', '\r', '\0']) {
        true => Err(format!("{key} = {}: one line is expected", path.display())),
        false => Ok(line.to_owned()),
    }
}

/// Headers that we make ourselves.
const OURS: [&str; 6] =
    ["host", "content-length", "content-encoding", "transfer-encoding", "connection", "expect"];

fn sound_header(name: &str, value: &str) -> Result<(String, String), String> {
    let sound = http::HeaderName::from_bytes(name.as_bytes()).is_ok() && !name.is_empty();
    if !sound {
        return Err(format!("`{name}` is no name of a header"));
    }
    if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
        return Err(format!("the header {name} is made by the server itself"));
    }
    if http::HeaderValue::from_str(value).is_err() {
        return Err(format!("the value of {name} is none that a header can have"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Reads the level that a 2xx stands for into the address, for it decides what can be promised.
pub(super) fn level(read: &mut Reader, address: &mut Address) {
    let levels = [Ack::Written, Ack::Durable, Ack::Replicated];
    let found = read.one("http.level", "written", |text| {
        let level = Ack::from_name(text.as_bytes()).filter(|level| levels.contains(level));
        level.ok_or_else(|| format!("expected {}", names(&levels.map(Ack::as_str))))
    });
    address.level = found.unwrap_or(Ack::Written);
}

/// The settings of the HTTP sink if that is where events go; what is given for nothing is warned of.
pub(super) fn read(read: &mut Reader, sink: &Sink, warnings: &mut Vec<String>) -> Option<HttpPlan> {
    let Sink::Http(address) = sink else {
        let given = KEYS.iter().filter(|key| key.name.starts_with("http."));
        let given = given.filter(|key| read.raw.get(key.name).is_some()).map(|key| key.name);
        warnings.extend(given.map(|name| format!("{name} is given, but events do not go to an HTTP target")));
        return None;
    };
    let second = Duration::from_secs(1);
    let preset = read
        .one("http.preset", "plain", |text| {
            Preset::from_name(text).ok_or_else(|| format!("expected {}", names(&Preset::NAMES)))
        })
        .unwrap_or_default();
    let request_timeout = read.time("http.request_timeout_s", 30 * second, second / 10..=600 * second);
    let delivery_timeout = read.time("http.delivery_timeout_s", 120 * second, second / 10..=3600 * second);
    if delivery_timeout < request_timeout {
        let why = "at least http.request_timeout_s is needed: events would be given up before their answer";
        read.refuse("http.delivery_timeout_s", why.into());
    }
    let coding = read
        .one("http.compression", "none", |text| {
            Coding::from_name(text).ok_or_else(|| format!("expected {}", names(&Coding::NAMES)))
        })
        .unwrap_or_default();
    let login = login(read);
    let header_file = read.raw.text("http.header_file").map(PathBuf::from);
    if !address.tls && (login.is_some() || header_file.is_some()) {
        warnings
            .push("the sink is http:// and not https://: credentials go over the network as they are".into());
    }
    Some(HttpPlan {
        preset,
        batch_bytes: read.bytes("http.batch_bytes", 4 * MIB, 16 << 10..=64 * MIB),
        connections: read.count("http.connections", 1, 1..=CONNECTIONS_MAX) as u16,
        coding,
        request_timeout,
        delivery_timeout,
        idle_timeout: read.time("http.idle_timeout_s", 4 * second, second / 10..=3600 * second),
        tls: tls(read, address),
        path: path(read, preset, address),
        headers: headers(read),
        header_file,
        login,
    })
}

fn headers(read: &mut Reader) -> Vec<(String, String)> {
    let texts = read.raw.get("http.header").map_or(Vec::new(), |given| given.texts.clone());
    let mut found: Vec<(String, String)> = Vec::new();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        let parsed = match text.split_once('=') {
            None => Err("expected NAME=VALUE".into()),
            Some((name, value)) => sound_header(name.trim(), value.trim()),
        };
        match parsed {
            Ok((name, _)) if found.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) => {
                read.refuse("http.header", format!("the header {name} is given twice"));
            }
            Ok(header) => found.push(header),
            // A value may be a secret that belongs into a file.
            Err(why) => read.refuse("http.header", why),
        }
    }
    found
}

fn login(read: &mut Reader) -> Option<Login> {
    let [user, password, token] = ["http.user", "http.password_file", "http.token_file"]
        .map(|name| read.raw.text(name).filter(|text| !text.is_empty()).map(str::to_owned));
    match (user, password, token) {
        (None, None, None) => None,
        (Some(_), _, Some(_)) => {
            read.refuse(
                "http.token_file",
                "a user and a token are two ways to say who we are: keep one".into(),
            );
            None
        }
        (None, None, Some(token)) => Some(Login::Bearer(token.into())),
        (Some(user), Some(_), None) if user.contains(':') => {
            read.refuse("http.user", "a user's name has no colon".into());
            None
        }
        (Some(user), Some(password), None) => Some(Login::Basic(user, password.into())),
        (Some(_), None, None) => {
            read.refuse("http.user", "its password is missing: give http.password_file".into());
            None
        }
        (None, Some(_), _) => {
            read.refuse("http.password_file", "its user is missing: give http.user".into());
            None
        }
    }
}

fn tls(read: &mut Reader, address: &Address) -> Option<TlsSettings> {
    const NAMES: [&str; 4] = ["http.tls_ca", "http.tls_cert", "http.tls_key", "http.tls_server_name"];
    if !address.tls {
        for name in NAMES {
            if read.raw.get(name).is_some() {
                read.refuse(name, "of no use without TLS: give https:// in sink, or leave it out".into());
            }
        }
        return None;
    }
    let [ca, cert, key, server_name] = NAMES.map(|name| read.raw.text(name).map(str::to_owned));
    let client = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert.into(), key.into())),
        (None, None) => None,
        (Some(_), None) => {
            read.refuse("http.tls_cert", "its private key is missing: give http.tls_key".into());
            None
        }
        (None, Some(_)) => {
            read.refuse("http.tls_key", "its certificate is missing: give http.tls_cert".into());
            None
        }
    };
    Some(TlsSettings { ca: ca.map(PathBuf::from), client, server_name })
}

/// Path and query of every request: what was given, and what the preset makes of it.
fn path(read: &mut Reader, preset: Preset, address: &Address) -> String {
    let (path, query) = address.path.split_once('?').unwrap_or((&address.path, ""));
    let own: [(&str, &[&str]); 2] = [
        ("clickhouse", &["http.table"]),
        ("victorialogs", &["http.stream_fields", "http.time_field", "http.msg_field"]),
    ];
    for (name, keys) in own {
        for key in keys.iter().filter(|_| name != preset.as_str()) {
            if read.raw.get(key).is_some() {
                read.refuse(key, format!("of use with http.preset = {name} alone"));
            }
        }
    }
    match preset {
        Preset::Plain => address.path.clone(),
        Preset::ClickHouse => {
            let Some(table) = read.raw.text("http.table").filter(|table| !table.is_empty()) else {
                read.refuse("http.table", "a table is needed, such as `events` or `logs.{stream}`".into());
                return String::new();
            };
            let insert = escape(&format!("INSERT INTO {table} FORMAT JSONEachRow"));
            with_query(
                path,
                query,
                &[format!("query={insert}"), format!("insert_deduplication_token={TOKEN}")],
            )
        }
        Preset::Elasticsearch => {
            let path = path.trim_end_matches('/');
            let bulk = if path.ends_with("/_bulk") { String::from(path) } else { format!("{path}/_bulk") };
            with_query(&bulk, query, &["filter_path=items.*.status".into()])
        }
        Preset::VictoriaLogs => {
            let path = if path == "/" { "/insert/jsonline" } else { path };
            let fields = [
                ("http.stream_fields", "_stream_fields", ""),
                ("http.time_field", "_time_field", "_time"),
                ("http.msg_field", "_msg_field", "_msg"),
            ];
            let given = fields.map(|(key, name, default)| {
                let texts = read.raw.get(key).map(|given| given.texts.join(","));
                let value = texts.unwrap_or(default.into());
                (!value.is_empty()).then(|| format!("{name}={}", escape(&value)))
            });
            with_query(path, query, &given.into_iter().flatten().collect::<Vec<_>>())
        }
    }
}

/// What was given comes first, so that a preset's words have the last.
fn with_query(path: &str, given: &str, more: &[String]) -> String {
    let all: Vec<&str> = std::iter::once(given)
        .filter(|given| !given.is_empty())
        .chain(more.iter().map(String::as_str))
        .collect();
    if all.is_empty() { path.into() } else { format!("{path}?{}", all.join("&")) }
}

/// Percent-encodes what may not stand in a query as it is, places for the stream aside.
fn escape(text: &str) -> String {
    let plain = |text: &str| -> String {
        let one = |byte: u8| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b',' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        };
        text.bytes().map(one).collect()
    };
    text.split(STREAM).map(plain).collect::<Vec<_>>().join(STREAM)
}

/// Parses `http://HOST[:PORT][/PATH][?QUERY]`, the same with https.
///
/// # Errors
/// What such a URL looks like.
pub(super) fn parse_address(url: &str) -> Result<Address, String> {
    let expected = "expected http://HOST[:PORT][/PATH] or https://…";
    let uri: http::Uri = url.parse().map_err(|error| format!("not a URL: {error}; {expected}"))?;
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(format!("not a URL of HTTP; {expected}")),
    };
    let authority = uri.authority().ok_or_else(|| format!("no host is named; {expected}"))?;
    if authority.as_str().contains('@') {
        return Err("credentials do not belong into a URL: give http.user and http.password_file".into());
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || authority.port_u16() == Some(0) {
        return Err(format!("no host or no port is named; {expected}"));
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let braces = path.replace(STREAM, "");
    if braces.contains(['{', '}']) {
        return Err(format!("the only thing in braces that a path may have is {STREAM}"));
    }
    Ok(Address {
        tls,
        host: host.to_owned(),
        port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
        path: path.to_owned(),
        level: Ack::Written,
    })
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
