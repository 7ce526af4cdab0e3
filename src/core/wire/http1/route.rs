//! From a request line and the fields that matter to what is asked for.
use super::limits::STREAM_BYTES_MAX;
use super::syntax::{before_parameters, is, is_authority, is_stream, is_target, list, trim};
use super::{Action, Ingest};
use crate::{ack::Ack, json::Format, reject::Reject};
use core::ops::Range;

/// Path of the default stream; `/NAME` behind it names another.
const EVENTS: &[u8] = b"/v1/events";

const BAD_TARGET: Reject = Reject::new(
    400,
    "bad_target",
    "the request target is not a path, an absolute http URL or (for OPTIONS) *; percent-encode other characters",
);
const NOT_FOUND: Reject = Reject::new(
    404,
    "not_found",
    "there is nothing at this path; post events to /v1/events or /v1/events/STREAM",
);
const BAD_STREAM: Reject = Reject::new(
    404,
    "bad_stream",
    "the stream in /v1/events/STREAM must be 1 to 64 characters of A-Z a-z 0-9 . _ -",
);
const WRONG_METHOD: Reject =
    Reject::new(405, "method_not_allowed", "this method does not apply here; send events with POST");
const UNKNOWN_METHOD: Reject =
    Reject::new(501, "unknown_method", "this method is not known here; send events with POST, in capitals");
const UNKNOWN_EXPECTATION: Reject = Reject::new(
    417,
    "unknown_expectation",
    "the Expect header asks for something else than 100-continue; leave it out",
);
const UNKNOWN_ENCODING: Reject = Reject::new(
    415,
    "unknown_content_encoding",
    "the body has a Content-Encoding other than identity; send it uncompressed",
);
const BAD_ACK: Reject = Reject::new(
    400,
    "bad_ack",
    "ack in the query or Ringmill-Ack must be accepted, written, durable or replicated",
);
const BAD_PARTIAL: Reject =
    Reject::new(400, "bad_partial", "partial in the query must be accept or reject, given once");
const REPEATED_ACK: Reject =
    Reject::new(400, "bad_ack", "ack in the query or Ringmill-Ack is given more than once; keep one");
const UNKNOWN_PARAMETER: Reject =
    Reject::new(400, "unknown_parameter", "the query may hold only ack=LEVEL and partial=accept or reject");
const REPEATED_TYPE: Reject =
    Reject::new(400, "repeated_content_type", "Content-Type is given more than once; keep one");

/// The fields of a head that say what is asked for (those that say where it ends are the head's own).
#[derive(Default)]
pub(super) struct Wishes<'b> {
    pub(super) content_type: Option<&'b [u8]>,
    pub(super) ack: Option<&'b [u8]>,
    pub(super) minimal: Option<bool>,
    pub(super) coded: bool,
    pub(super) unknown_expectation: bool,
    pub(super) repeated_type: bool,
    pub(super) repeated_ack: bool,
}

impl Wishes<'_> {
    /// Takes note of one `Prefer` header; of several preferences for a return the first counts (RFC 7240).
    pub(super) fn prefer(&mut self, value: &[u8]) {
        for preference in list(value).map(before_parameters) {
            let mut halves = preference.splitn(2, |&b| b == b'=');
            let name = trim(halves.next().unwrap_or_default());
            if self.minimal.is_none() && is(name, b"return") {
                let wish = trim(halves.next().unwrap_or_default());
                self.minimal = Some(wish == b"minimal" || wish == b"\"minimal\"");
            }
        }
    }
}

/// What a request line asks for, once its head is known to be well framed. Ranges are relative to `target`.
///
/// # Errors
/// A target that is none of HTTP's forms: the request is malformed.
pub(super) fn action(method: &[u8], target: &[u8], wishes: &Wishes) -> Result<Action, Reject> {
    // The usual request first: no look at anything else.
    if target == EVENTS && method == b"POST" {
        return Ok(ingest(None, b"", wishes));
    }
    if !target.iter().all(|&b| is_target(b)) {
        return Err(BAD_TARGET);
    }
    if method == b"CONNECT" {
        return if is_authority(target) { Ok(Action::Refuse(WRONG_METHOD)) } else { Err(BAD_TARGET) };
    }
    if target == b"*" {
        return if method == b"OPTIONS" { Ok(Action::Options) } else { Err(BAD_TARGET) };
    }
    let start = path_start(target).ok_or(BAD_TARGET)?;
    let end = memchr::memchr(b'?', &target[start..]).map_or(target.len(), |at| start + at);
    let query = target.get(end + 1..).unwrap_or_default();
    let Some(rest) = target[start..end].strip_prefix(EVENTS) else { return Ok(Action::Refuse(NOT_FOUND)) };
    let stream = match rest {
        [] => None,
        [b'/', name @ ..] => {
            if name.is_empty() || name.len() > STREAM_BYTES_MAX || !name.iter().all(|&b| is_stream(b)) {
                return Ok(Action::Refuse(BAD_STREAM));
            }
            Some(end - name.len()..end)
        }
        _ => return Ok(Action::Refuse(NOT_FOUND)),
    };
    Ok(match method {
        b"POST" => ingest(stream, query, wishes),
        b"OPTIONS" => Action::Options,
        b"GET" | b"HEAD" | b"PUT" | b"DELETE" | b"PATCH" | b"TRACE" => Action::Refuse(WRONG_METHOD),
        _ => Action::Refuse(UNKNOWN_METHOD),
    })
}

/// Where the path begins: at 0, or in the absolute form behind a valid authority. `None`: neither form.
fn path_start(target: &[u8]) -> Option<usize> {
    if target.first() == Some(&b'/') {
        return Some(0);
    }
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|front| front.eq_ignore_ascii_case(scheme)))?
        .len();
    let length = target[scheme..].iter().position(|b| matches!(b, b'/' | b'?'));
    let end = length.map_or(target.len(), |length| scheme + length);
    is_authority(&target[scheme..end]).then_some(end)
}

/// An ingest request, or why it cannot be one.
fn ingest(stream: Option<Range<usize>>, query: &[u8], wishes: &Wishes) -> Action {
    match try_ingest(stream, query, wishes) {
        Ok(ingest) => Action::Ingest(ingest),
        Err(refusal) => Action::Refuse(refusal),
    }
}

fn try_ingest(stream: Option<Range<usize>>, query: &[u8], wishes: &Wishes) -> Result<Ingest, Reject> {
    if wishes.unknown_expectation {
        return Err(UNKNOWN_EXPECTATION);
    }
    if wishes.coded {
        return Err(UNKNOWN_ENCODING);
    }
    if wishes.repeated_type {
        return Err(REPEATED_TYPE);
    }
    let (mut ack, mut all_or_nothing) = (None, None);
    for pair in query.split(|&b| b == b'&').filter(|pair| !pair.is_empty()) {
        if let Some(level) = pair.strip_prefix(b"ack=") {
            if ack.replace(Ack::from_name(level).ok_or(BAD_ACK)?).is_some() {
                return Err(REPEATED_ACK);
            }
        } else if let Some(policy) = pair.strip_prefix(b"partial=") {
            let reject = match policy {
                b"reject" => true,
                b"accept" => false,
                _ => return Err(BAD_PARTIAL),
            };
            if all_or_nothing.replace(reject).is_some() {
                return Err(BAD_PARTIAL);
            }
        } else {
            return Err(UNKNOWN_PARAMETER);
        }
    }
    if ack.is_none() {
        if wishes.repeated_ack {
            return Err(REPEATED_ACK);
        }
        ack = wishes.ack.map(|level| Ack::from_name(level).ok_or(BAD_ACK)).transpose()?;
    }
    Ok(Ingest {
        stream,
        format: wishes.content_type.map_or(Format::Sniff, format),
        ack,
        all_or_nothing: all_or_nothing.unwrap_or(false),
        minimal: wishes.minimal.unwrap_or(false),
    })
}

/// The format that a Content-Type stands for, its parameters aside.
fn format(content_type: &[u8]) -> Format {
    let media = before_parameters(content_type);
    if is(media, b"application/json") {
        Format::Json
    } else if is(media, b"application/x-ndjson")
        || is(media, b"application/ndjson")
        || is(media, b"application/jsonl")
    {
        Format::Lines
    } else {
        Format::Sniff
    }
}
