//! Frames: a length of four bytes, then that many.

use std::{
    io::{self, Read},
    time::{Duration, SystemTime},
};

/// What a broker takes at most, as `socket.request.max.bytes` of Kafka.
pub const FRAME_BYTES_MAX: usize = 100 << 20;

/// Reads one frame without its length. `None` at the peer's orderly end between frames.
pub fn read_frame(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let Some(length) = read_length(from)? else { return Ok(None) };
    let mut frame = vec![0; length];
    from.read_exact(&mut frame)?;
    Ok(Some(frame))
}

/// Reads the length of the next frame, which is within bounds.
pub fn read_length(from: &mut impl Read) -> io::Result<Option<usize>> {
    let mut length = [0; 4];
    match from.read(&mut length[..1])? {
        0 => return Ok(None),
        _ => from.read_exact(&mut length[1..])?,
    }
    match usize::try_from(i32::from_be_bytes(length)) {
        Ok(length) if length <= FRAME_BYTES_MAX => Ok(Some(length)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length:?} bytes"))),
    }
}

/// A frame with its length before it.
pub fn framed(body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len()).expect("a frame is below 2 GiB");
    [&length.to_be_bytes(), body].concat()
}

/// The first fields of a request: key of the call, its version, and the number that the answer repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub key: i16,
    pub version: i16,
    pub correlation: i32,
}

impl Head {
    /// Of a request without its length.
    pub fn of(frame: &[u8]) -> Option<Head> {
        let head: &[u8; 8] = frame.first_chunk()?;
        Some(Head {
            key: i16::from_be_bytes([head[0], head[1]]),
            version: i16::from_be_bytes([head[2], head[3]]),
            correlation: i32::from_be_bytes([head[4], head[5], head[6], head[7]]),
        })
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
