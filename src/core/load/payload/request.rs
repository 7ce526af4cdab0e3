//! Requests as bytes: heads, bodies, and the places where identifiers go.
use super::malformed::Delivery;
use super::{Source, Spec};
use crate::segment::header::crc32c;
use alloc::{format, string::String, vec::Vec};

/// Hexadecimal digits of an event's number.
pub(super) const NUMBER_DIGITS: usize = 12;
/// Hexadecimal digits of a thread.
pub(super) const THREAD_DIGITS: usize = 4;
/// How an event with an identifier begins.
pub(in crate::load) const ID_START: &[u8] = b"{\"r\":\"";
/// Bytes of an identifier: seed, thread, number, checksum, and the dashes between.
pub(in crate::load) const ID_BYTES: usize = 16 + 1 + THREAD_DIGITS + 1 + NUMBER_DIGITS + 1 + 8;
/// Where in an identifier the thread stands.
pub(in crate::load) const ID_THREAD_AT: usize = 17;
/// Where in an identifier the number stands.
pub(in crate::load) const ID_NUMBER_AT: usize = ID_THREAD_AT + THREAD_DIGITS + 1;

/// A request being built: its bytes, where its identifiers begin, and how it is sent.
pub(super) struct Draft {
    pub(super) bytes: Vec<u8>,
    /// Offsets in `bytes`.
    pub(super) ids: Vec<usize>,
    /// Where the body begins in `bytes`.
    pub(super) body_at: usize,
    pub(super) delivery: Delivery,
}

impl Draft {
    pub(super) fn new() -> Draft {
        Draft { bytes: Vec::new(), ids: Vec::new(), body_at: 0, delivery: Delivery::Whole }
    }

    /// Appends a good event, with an identifier if the run has them.
    pub(super) fn event(&mut self, event: &[u8], spec: &Spec<'_>) {
        if !spec.ids {
            self.bytes.extend_from_slice(event);
            return;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(ID_START);
        self.ids.push(self.bytes.len());
        let id = format!("{:016x}-{:04x}-{:012x}-{:08x}", spec.seed, spec.thread, 0, 0);
        self.bytes.extend_from_slice(id.as_bytes());
        self.bytes.push(b'"');
        let rest = event.get(1..).unwrap_or_default();
        if !rest.trim_ascii_start().starts_with(b"}") {
            self.bytes.push(b',');
        }
        self.bytes.extend_from_slice(rest);
        let id_end = start + ID_START.len() + ID_BYTES;
        let sum = format!("{:08x}", crc32c(&self.bytes[id_end..]));
        self.bytes[id_end - 8..id_end].copy_from_slice(sum.as_bytes());
    }

    /// Puts `head` in front of what is there.
    pub(super) fn prepend(&mut self, head: &[u8]) {
        self.bytes.splice(..0, head.iter().copied());
        self.body_at += head.len();
        for at in &mut self.ids {
            *at += head.len();
        }
    }
}

/// How the head says where the body ends.
pub(super) enum Length {
    /// It does not.
    Unsaid,
    Of(usize),
    /// Two lengths.
    Both(usize, usize),
    Chunked,
    /// A length and the chunked coding.
    OfAndChunked(usize),
}

/// What a head is made of beside the specification's own.
pub(super) struct Shape<'a> {
    pub(super) version: &'a str,
    /// Whether there is a Host line.
    pub(super) host: bool,
    /// Instead of what the specification says: the body is of another kind.
    pub(super) content_type: Option<&'a str>,
    pub(super) length: Length,
    /// Header lines as they are, each with its line break.
    pub(super) extra: &'a str,
}

impl Shape<'_> {
    /// A sound head for a body of `length` bytes.
    pub(super) fn sound(length: usize) -> Shape<'static> {
        Shape { version: "HTTP/1.1", host: true, content_type: None, length: Length::Of(length), extra: "" }
    }
}

/// The head of a request.
pub(super) fn head(spec: &Spec<'_>, shape: &Shape<'_>) -> Vec<u8> {
    let mut out = format!("{} {} {}\r\n", spec.method, spec.path, shape.version);
    let given = |name: &str| spec.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    let mut line = |name: &str, value: &str| {
        out.push_str(name);
        out.push_str(": ");
        out.push_str(value);
        out.push_str("\r\n");
    };
    if shape.host && !given("host") {
        line("Host", &spec.host);
    }
    if !given("user-agent") {
        line("User-Agent", concat!("ringmill-load/", env!("CARGO_PKG_VERSION")));
    }
    for (name, value) in &spec.headers {
        let left_out = name.eq_ignore_ascii_case("host") && !shape.host
            || name.eq_ignore_ascii_case("content-type") && shape.content_type.is_some();
        if !left_out {
            line(name, value);
        }
    }
    match shape.content_type {
        Some(kind) => line("Content-Type", kind),
        None if !given("content-type") && has_body(spec) => line("Content-Type", content_type(spec)),
        None => {}
    }
    match shape.length {
        Length::Of(0) if !has_body(spec) => {}
        Length::Unsaid => {}
        Length::Of(bytes) => line("Content-Length", &format!("{bytes}")),
        Length::Both(first, second) => {
            line("Content-Length", &format!("{first}"));
            line("Content-Length", &format!("{second}"));
        }
        Length::Chunked => line("Transfer-Encoding", "chunked"),
        Length::OfAndChunked(bytes) => {
            line("Content-Length", &format!("{bytes}"));
            line("Transfer-Encoding", "chunked");
        }
    }
    out.push_str(shape.extra);
    out.push_str("\r\n");
    out.into_bytes()
}

/// Whether requests of this method have bodies as a rule, so that an empty one is said to be empty.
pub(super) fn has_body(spec: &Spec<'_>) -> bool {
    !matches!(spec.method.as_str(), "GET" | "HEAD" | "OPTIONS" | "DELETE" | "TRACE")
        || matches!(spec.source, Source::Body(body) if !body.is_empty())
}

/// The type of the usual body.
fn content_type(spec: &Spec<'_>) -> &'static str {
    match spec.source {
        Source::Body(body) => match body.trim_ascii_start().first() {
            Some(b'{' | b'[') => "application/json",
            _ => "application/octet-stream",
        },
        _ if spec.events_per_request == 1 => "application/json",
        _ => NDJSON,
    }
}

pub(super) const NDJSON: &str = "application/x-ndjson";

/// What cannot be sent as it stands.
///
/// # Errors
/// The first of them, and how to mend it.
pub(super) fn check(spec: &Spec<'_>) -> Result<(), String> {
    if spec.lines {
        return Ok(());
    }
    let is_token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    let is_value = |text: &str| text.bytes().all(|b| b == b'\t' || b >= b' ' && b != 0x7f);
    if !is_token(&spec.method) {
        return Err(format!("the method `{}` is no HTTP method; use POST or another word", spec.method));
    }
    if !spec.path.starts_with('/') || !spec.path.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!(
            "the path `{}` cannot be sent; it must begin with / and hold no spaces or characters beyond ASCII \
             (write them as %20 and so on)",
            spec.path
        ));
    }
    if spec.host.is_empty() || !spec.host.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("the host `{}` cannot be sent; use a name or an address", spec.host));
    }
    for (name, value) in &spec.headers {
        if !is_token(name) || !is_value(value) {
            return Err(format!(
                "the header `{name}: {}` cannot be sent; it is a name of letters, digits and dashes, and a value \
                 without control characters",
                value.escape_debug()
            ));
        }
        if name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(format!("the header `{name}` is set from the body; leave it out"));
        }
    }
    Ok(())
}
