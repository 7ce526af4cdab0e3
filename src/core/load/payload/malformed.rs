//! Makes one request of a class: valid, spoiled in its bytes, or sound and delivered badly.
//!
//! Each spoils one thing and leaves all others right, so that the reply is to that thing.
use super::class::{Class, Scope};
use super::request::{Draft, Length, NDJSON, Shape, head};
use super::rng::Rng;
use super::{Source, Spec, events};
use crate::json::MAX_EVENT_BYTES;
use crate::wire::http1::limits::{BODY_BYTES_MAX, HEAD_BYTES_MAX};
use alloc::{format, string::String, vec, vec::Vec};

/// How the bytes of a request go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// At once.
    Whole,
    /// In two parts. The connection can send nothing else in between.
    Slow {
        /// Bytes to send at once.
        first: usize,
        /// Nanoseconds after which the rest follows.
        rest_after_ns: u64,
    },
    /// This many bytes, then the connection is reset (closed with `SO_LINGER` 0).
    ResetAfter(usize),
    /// This many bytes, then the sending side is shut down and the server's end awaited.
    CloseAfter(usize),
}

/// What a malformed event is made from: one that begins with `{` and ends with `}`, with something in between.
fn is_spoilable(event: &[u8]) -> bool {
    event.len() > 8 && event.starts_with(b"{") && event.ends_with(b"}")
}

/// A request of `class`, from the good events `lines` (as many as a request has), without line breaks.
pub(super) fn build(class: &Class, spec: &Spec<'_>, lines: &[&[u8]], rng: &mut Rng) -> Draft {
    match class.scope {
        Scope::Valid => plain(spec, lines),
        Scope::Event => with_bad_event(class.name, spec, lines, rng),
        Scope::Neighbour => with_garbage_line(spec, lines, rng),
        Scope::Message => message(class.name, spec, lines, rng),
        Scope::Slow | Scope::Torn => {
            let mut draft = plain(spec, lines);
            draft.delivery = delivery(class.name, spec, &draft, rng);
            draft
        }
    }
}

/// One that nothing is wrong with.
fn plain(spec: &Spec<'_>, lines: &[&[u8]]) -> Draft {
    let mut draft = body(spec, lines, None);
    if !spec.lines {
        let content_type = kind_of(spec, lines.len());
        let head = head(spec, &Shape { content_type, ..Shape::sound(draft.bytes.len()) });
        draft.prepend(&head);
    }
    draft
}

/// What a body of `count` events is, where the user's own body says nothing about it.
fn kind_of(spec: &Spec<'_>, count: usize) -> Option<&'static str> {
    let kind = if count == 1 { "application/json" } else { NDJSON };
    matches!(spec.source, Source::Body(_)).then_some(kind)
}

/// The body: `lines`, the one numbered in `bad` replaced.
fn body(spec: &Spec<'_>, lines: &[&[u8]], bad: Option<(usize, &[u8])>) -> Draft {
    let mut draft = Draft::new();
    let single = lines.len() == 1 && !spec.lines;
    for (at, line) in lines.iter().enumerate() {
        match bad {
            Some((place, bytes)) if place == at => draft.bytes.extend_from_slice(bytes),
            _ => draft.event(line, spec),
        }
        if !single {
            draft.bytes.push(b'\n');
        }
    }
    draft
}

fn with_bad_event(name: &str, spec: &Spec<'_>, lines: &[&[u8]], rng: &mut Rng) -> Draft {
    let place = rng.below(lines.len() as u64) as usize;
    let mut made = Vec::new();
    let event = if is_spoilable(lines[place]) {
        lines[place]
    } else {
        events::event(events::Kind::Log, rng, &mut made);
        &made
    };
    let bad = spoil(name, event, rng);
    let mut draft = body(spec, lines, Some((place, &bad)));
    if !spec.lines {
        let content_type = kind_of(spec, lines.len());
        let head = head(spec, &Shape { content_type, ..Shape::sound(draft.bytes.len()) });
        draft.prepend(&head);
    }
    draft
}

/// A line break is the one thing that garbage must not hold: it would be two lines.
const GARBAGE: [&[u8]; 6] = [
    b"hello",
    b"<event level=\"info\">not JSON</event>",
    b"\x00\x01\xfe\xff\x80garbage",
    b"level=info msg=\"not JSON\"",
    b"}{",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
];

/// Garbage at a random place among at least two good events, always as lines.
fn with_garbage_line(spec: &Spec<'_>, lines: &[&[u8]], rng: &mut Rng) -> Draft {
    let mut made = Vec::new();
    events::event(events::Kind::Log, rng, &mut made);
    let mut lines = lines.to_vec();
    lines.resize(lines.len().max(2), &made);
    let place = rng.below(lines.len() as u64 + 1) as usize;
    let garbage = rng.pick(&GARBAGE);
    lines.insert(place, garbage);
    let mut draft = body(spec, &lines, Some((place, garbage)));
    if !spec.lines {
        let head = head(spec, &Shape { content_type: Some(NDJSON), ..Shape::sound(draft.bytes.len()) });
        draft.prepend(&head);
    }
    draft
}

/// `event` made bad as the class of this name says. Holds no line break.
fn spoil(name: &str, event: &[u8], rng: &mut Rng) -> Vec<u8> {
    let open = &event[..event.len() - 1];
    let with = |tail: &[u8]| [open, tail].concat();
    match name {
        "cut_json" => event[..rng.between(1, event.len() as u64 - 1) as usize].to_vec(),
        "bad_utf8" => {
            let bytes: &[u8] = rng.pick(&[b"\xff", b"\xc0", b"\xf8", b"\xe2\x82", b"\xed\xa0\x80"]);
            [open, b",\"x\":\"", bytes, b"\"}"].concat()
        }
        "bad_escape" => {
            let escape: &[u8] = rng.pick(&[b"\\q", b"\\x41", b"\\u12g4", b"\\'"]);
            [open, b",\"x\":\"", escape, b"\"}"].concat()
        }
        "lone_surrogate" => {
            let half: &[u8] = rng.pick(&[b"\\ud83d!", b"\\udc00", b"\\ud83d\\u0041"]);
            [open, b",\"x\":\"", half, b"\"}"].concat()
        }
        "control_character" => {
            let raw = rng.pick(&[0u8, 1, 8, 27, 31]);
            [open, b",\"x\":\"a", &[raw], b"b\"}"].concat()
        }
        "bad_number" => {
            let number: &[u8] = rng.pick(&[b"01", b"1.", b".5", b"+1", b"1e", b"NaN", b"0x1f", b"-"]);
            [open, b",\"x\":", number, b"}"].concat()
        }
        "missing_colon" => with(b",\"x\" 1}"),
        "trailing_data" => {
            let tail: &[u8] = rng.pick(&[b"}", b" 1", b"{}", b"x", b","]);
            [event, tail].concat()
        }
        "not_an_object" => {
            let other: &[u8] = rng.pick(&[b"17", b"\"text\"", b"null", b"hello", b"[1,2]"]);
            other.to_vec()
        }
        "bom" => [b"\xef\xbb\xbf", event].concat(),
        "depth_bomb" => {
            let depth = rng.between(100, 4000) as usize;
            [b"{\"x\":", &[b'['].repeat(depth)[..], &[b']'].repeat(depth), b"}"].concat()
        }
        "oversized_event" => {
            let bytes = MAX_EVENT_BYTES + 1 + rng.below(1024) as usize;
            let fill = bytes.saturating_sub(event.len() + 7);
            [open, b",\"x\":\"", &vec![b'x'; fill], b"\"}"].concat()
        }
        other => unreachable!("{other} is no class of a bad event"),
    }
}

/// An HTTP message that is wrong around its good events.
fn message(name: &str, spec: &Spec<'_>, lines: &[&[u8]], rng: &mut Rng) -> Draft {
    // None of these is stored, so none of their events is one that could be missed.
    let spec = &Spec { ids: false, ..spec.clone() };
    let mut draft = body(spec, lines, None);
    let length = draft.bytes.len();
    let sound = Shape { content_type: kind_of(spec, lines.len()), ..Shape::sound(length) };
    let shape = match name {
        "no_event" => {
            let blank: &[u8] = rng.pick(&[b"", b"\n", b" \r\n\n"]);
            draft = Draft::new();
            draft.bytes.extend_from_slice(blank);
            Shape { length: Length::Of(blank.len()), ..sound }
        }
        "bad_chunk_size" => {
            let size = rng.pick(&[
                "",
                "g",
                "-5",
                "0x1f",
                " 1f",
                "00000000000000001f",
                "1f 1f",
                "ffffffffffffffffff",
            ]);
            frame_as_chunk(&mut draft, size);
            Shape { length: Length::Chunked, ..sound }
        }
        "chunk_overrun" => {
            let size = format!("{:x}", length.saturating_sub(1).max(1));
            frame_as_chunk(&mut draft, &size);
            Shape { length: Length::Chunked, ..sound }
        }
        "duplicate_content_length" => Shape { length: Length::Both(length, length + 1), ..sound },
        "length_and_chunked" => {
            frame_as_chunk(&mut draft, &format!("{length:x}"));
            Shape { length: Length::OfAndChunked(length), ..sound }
        }
        // Where nothing says that a body follows, one that followed would be taken for the next request.
        "missing_length" => {
            draft = Draft::new();
            Shape { length: Length::Unsaid, ..sound }
        }
        // Its beginning is enough: the length is refused before any of it is read.
        "body_too_large" => Shape { length: Length::Of(BODY_BYTES_MAX + 1 + length), ..sound },
        "head_too_large" => {
            let extra = format!("X-Padding: {}\r\n", "x".repeat(HEAD_BYTES_MAX));
            return framed(draft, spec, Shape { extra: &extra, ..sound });
        }
        "missing_host" => Shape { host: false, ..sound },
        "bad_header" => {
            let extra = rng.pick(&["X : 1\r\n", "X: 1\r\n 2\r\n", "X: a\0b\r\n", "nothing\r\n", ": 1\r\n"]);
            Shape { extra, ..sound }
        }
        "bad_version" => Shape { version: "HTTP/2.0", ..sound },
        other => unreachable!("{other} is no class of a bad message"),
    };
    framed(draft, spec, shape)
}

fn framed(mut draft: Draft, spec: &Spec<'_>, shape: Shape<'_>) -> Draft {
    let head = head(spec, &shape);
    draft.prepend(&head);
    draft
}

/// Makes the body one chunk, its size written as `size`, and the last chunk behind it.
fn frame_as_chunk(draft: &mut Draft, size: &str) {
    let mut line = String::from(size);
    line.push_str("\r\n");
    draft.prepend(line.as_bytes());
    draft.bytes.extend_from_slice(b"\r\n0\r\n\r\n");
}

/// When and how the bytes of a sound request stop: within its body.
fn delivery(name: &str, spec: &Spec<'_>, draft: &Draft, rng: &mut Rng) -> Delivery {
    let (body_at, end) = (draft.body_at, draft.bytes.len());
    // At least its last two bytes are missing: a line break alone would leave the last event whole.
    let torn = body_at + rng.below((end - body_at).saturating_sub(2).max(1) as u64) as usize;
    match name {
        "slow_body" => Delivery::Slow { first: body_at + (end - body_at) / 2, rest_after_ns: spec.slow_ns },
        "reset_mid_body" => Delivery::ResetAfter(torn),
        "close_mid_body" => Delivery::CloseAfter(torn),
        other => unreachable!("{other} is no class of a bad delivery"),
    }
}
