//! The split feeder: what arrives in pieces must mean what it means whole.
use crate::reject::Reject;
use crate::wire::http1::{Action, Decoded, Decoder};
use alloc::{vec, vec::Vec};
use core::fmt::Debug;

/// Inputs up to this many bytes are split at every byte; longer ones at both ends and at every 61st byte
/// between, for each split costs a run over the whole input.
const EVERY_SPLIT_BYTES_MAX: usize = 1024;

/// Runs `run` over `input` whole, byte by byte, and in two pieces for every place to cut, and returns its
/// result.
///
/// # Panics
/// When two runs differ.
pub fn every_split<T: PartialEq + Debug>(input: &[u8], mut run: impl FnMut(&[&[u8]]) -> T) -> T {
    let whole = run(&[input]);
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(run(&bytes), whole, "byte by byte (left) differs from whole (right)");
    let step = if input.len() <= EVERY_SPLIT_BYTES_MAX { 1 } else { 61 };
    let near_end = input.len().saturating_sub(40)..input.len();
    for cut in (1..input.len().min(40)).chain((40..input.len()).step_by(step)).chain(near_end) {
        let (front, back) = input.split_at(cut);
        assert_eq!(run(&[front, back]), whole, "cut at {cut} (left) differs from whole (right)");
    }
    whole
}

/// `input` cut at each of `cuts`, which must rise and lie within it.
pub fn at<'a>(input: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let ends = cuts.iter().copied().chain([input.len()]);
    let mut start = 0;
    ends.map(|end| &input[core::mem::replace(&mut start, end)..end]).collect()
}

/// A frame that owns its bytes, so that those from different buffers compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A request.
    Request {
        /// What it asks for, the range of the stream's name replaced by `0..0`.
        action: Action,
        /// The stream's name.
        stream: Option<Vec<u8>>,
        /// The decoded body.
        body: Vec<u8>,
        /// Whether the connection lives on.
        keep_alive: bool,
        /// HEAD.
        head_only: bool,
    },
    /// The connection's end.
    Reject(Reject),
    /// The input ended within a request.
    Cut {
        /// Behind its head.
        in_body: bool,
    },
}

/// What an HTTP/1.1 connection that receives `pieces` would act upon, up to its end.
///
/// # Panics
/// When the decoder breaks its contract: bytes behind a request changed, or a range out of bounds.
pub fn http1(pieces: &[&[u8]]) -> Vec<Frame> {
    let (mut decoder, mut frames, mut buf) = (Decoder::new(), vec![], vec![]);
    let mut fed: Vec<u8> = vec![];
    let mut cut = None;
    let mut continues = 0;
    for piece in pieces {
        buf.extend_from_slice(piece);
        fed.extend_from_slice(piece);
        while !buf.is_empty() {
            match decoder.decode(&mut buf) {
                Decoded::Incomplete(more) => {
                    assert!(more.keep <= buf.len());
                    assert!(!more.in_body || more.wants > more.keep, "an incomplete body wants more");
                    continues += usize::from(more.send_continue);
                    assert!(continues <= 1, "100 Continue goes out once");
                    buf.truncate(more.keep);
                    cut = Some(Frame::Cut { in_body: more.in_body });
                    break;
                }
                Decoded::Request(mut request) => {
                    let mut stream = None;
                    if let Action::Ingest(ingest) = &mut request.action {
                        stream = ingest.stream.as_mut().map(|name| buf[core::mem::take(name)].to_vec());
                    }
                    frames.push(Frame::Request {
                        action: request.action,
                        stream,
                        body: buf[request.body].to_vec(),
                        keep_alive: request.keep_alive,
                        head_only: request.head_only,
                    });
                    buf.drain(..request.consumed);
                    assert!(fed.ends_with(&buf), "the decoder touched bytes behind its request");
                    if !request.keep_alive {
                        return frames;
                    }
                    (cut, continues) = (None, 0);
                }
                Decoded::Reject(reject) => {
                    frames.push(Frame::Reject(reject));
                    assert_eq!(decoder.decode(&mut buf), Decoded::Reject(reject), "a refusal is final");
                    return frames;
                }
            }
        }
    }
    frames.extend(cut);
    frames
}

/// [`http1`] over `input` in [`every_split`], alone and with a pipelined request behind it: that one must be
/// read if and only if the connection lives on at the end of `input`. Returns the frames of `input` alone.
///
/// # Panics
/// When any two runs disagree.
pub fn http1_every_way(input: &[u8]) -> Vec<Frame> {
    const TAIL: &[u8] = b"POST /v1/events/tail HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\ntail";
    let alone = every_split(input, http1);
    let mut with_tail = alone.clone();
    match alone.last() {
        Some(Frame::Cut { .. }) => return alone,
        Some(Frame::Request { keep_alive: true, .. }) => with_tail.extend(http1(&[TAIL])),
        _ => {}
    }
    let both = [input, TAIL].concat();
    assert_eq!(every_split(&both, http1), with_tail, "with a pipelined tail");
    alone
}
