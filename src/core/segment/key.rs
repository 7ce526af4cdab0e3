//! The key that a request named for its events, as a header line holds it.
//!
//! Only a spill needs it: events that wait for Kafka in segments must reach the partition that their key leads to.
//! A key may be any bytes. In the header it stands percent-encoded: printable ASCII as it is but for `"`, `\` and
//! `%`; those and every other byte as `%` and two lower-case hex digits. So there is one way to write each key, and
//! the line stays one that every JSON reader takes.
use super::header::{HEADER_BYTES, StreamName};
use core::fmt;

/// What a header has for a key when all else is as long as a batch makes it, but for shard and stream: see
/// [`RunKey::fits`].
const SPARE_BYTES: usize = 12;
/// `,"key":""`.
const FRAME_BYTES: usize = 9;
/// Digits of the largest shard.
const SHARD_DIGITS_MAX: usize = 10;

/// A key of up to [`RunKey::BYTES_MAX`] bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RunKey {
    bytes: [u8; RunKey::BYTES_MAX],
    len: u8,
}

impl RunKey {
    /// Longest key: what fits beside a shard of one digit and a stream of one letter.
    pub const BYTES_MAX: usize = SPARE_BYTES + SHARD_DIGITS_MAX - 1 + StreamName::BYTES_MAX - 1 - FRAME_BYTES;

    /// The key, or `None` when it is longer than any header holds.
    pub fn new(key: &[u8]) -> Option<RunKey> {
        let mut bytes = [0; RunKey::BYTES_MAX];
        bytes.get_mut(..key.len())?.copy_from_slice(key);
        Some(RunKey { bytes, len: key.len() as u8 })
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether a header of that shard and stream is sure to have room for `key`, whatever its numbers come to.
    ///
    /// Without a key the longest header line is 380 bytes, a space and a newline. A batch of up to 95 MiB has at most
    /// eight digits of events and of bytes and four of runs that are left, which leaves 12 bytes.
    pub fn fits(shard: u32, stream: &StreamName, key: &[u8]) -> bool {
        let digits = shard.checked_ilog10().unwrap_or(0) as usize + 1;
        let room = SPARE_BYTES + SHARD_DIGITS_MAX - digits + StreamName::BYTES_MAX - stream.as_bytes().len();
        key.len() <= RunKey::BYTES_MAX && FRAME_BYTES + encoded_len(key) <= room
    }

    /// Hands the encoded key to `put`, piece by piece.
    pub(super) fn encode(&self, mut put: impl FnMut(&[u8])) {
        for byte in self.as_bytes() {
            match is_plain(*byte) {
                true => put(&[*byte]),
                false => put(&[b'%', hex(byte >> 4), hex(byte & 15)]),
            }
        }
    }

    /// Reads what [`RunKey::encode`] wrote; `None` for anything else.
    pub(super) fn decode(text: &[u8]) -> Option<RunKey> {
        let (mut key, mut at) = (RunKey { bytes: [0; RunKey::BYTES_MAX], len: 0 }, 0);
        while at < text.len() {
            let byte = match text[at] {
                b'%' => {
                    let byte = unhex(*text.get(at + 1)?)? << 4 | unhex(*text.get(at + 2)?)?;
                    at += 3;
                    (!is_plain(byte)).then_some(byte)?
                }
                byte => {
                    at += 1;
                    is_plain(byte).then_some(byte)?
                }
            };
            *key.bytes.get_mut(usize::from(key.len))? = byte;
            key.len += 1;
        }
        Some(key)
    }
}

impl fmt::Debug for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

const _: () = assert!(RunKey::BYTES_MAX < HEADER_BYTES && RunKey::BYTES_MAX <= u8::MAX as usize);

fn encoded_len(key: &[u8]) -> usize {
    key.iter().map(|byte| if is_plain(*byte) { 1 } else { 3 }).sum()
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\' | b'%')
}

fn hex(digit: u8) -> u8 {
    b"0123456789abcdef"[usize::from(digit)]
}

fn unhex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec::Vec;

    fn encoded(key: &RunKey) -> Vec<u8> {
        let mut text = Vec::new();
        key.encode(|piece| text.extend_from_slice(piece));
        text
    }

    #[test]
    fn every_byte_comes_back_and_in_one_way_only() {
        for byte in 0..=u8::MAX {
            for key in [&[byte][..], &[b'a', byte], &[byte, byte, b'z']] {
                let key = RunKey::new(key).unwrap();
                let text = encoded(&key);
                assert!(text.is_ascii() && !text.contains(&b'"') && !text.contains(&b'\\'));
                assert_eq!(text.len(), encoded_len(key.as_bytes()));
                assert_eq!(RunKey::decode(&text), Some(key));
            }
        }
        let text = encoded(&RunKey::new("a b%\u{e9}\"".as_bytes()).unwrap());
        assert_eq!(String::from_utf8(text).unwrap(), "a b%25%c3%a9%22");
        for bad in [&b"%"[..], b"%2", b"%2G", b"%C3", b"%61", b"\x00", b"\xff", b"a\\", b"a\""] {
            assert_eq!(RunKey::decode(bad), None, "{}", bad.escape_ascii());
        }
        assert_eq!(RunKey::decode(&[b'x'; RunKey::BYTES_MAX + 1]), None);
        assert_eq!(RunKey::decode(b"").map(|key| key.as_bytes().len()), Some(0));
    }

    #[test]
    fn what_fits_depends_on_its_neighbours() {
        let stream = |len| StreamName::new(&[b's'; 64][..len]).unwrap();
        for (shard, stream_len, key_len, fits) in [
            (0, 1, 75, true),
            (0, 1, 76, false),
            (0, 7, 69, true),
            (0, 7, 70, false),
            (10, 7, 68, true),
            (10, 7, 69, false),
            (0, 40, 36, true),
            (u32::MAX, 64, 3, true),
            (u32::MAX, 64, 4, false),
        ] {
            let key = [b'k'; 80];
            let found = RunKey::fits(shard, &stream(stream_len), &key[..key_len]);
            assert_eq!(found, fits, "shard {shard}, stream of {stream_len}, key of {key_len}");
        }
        assert!(RunKey::fits(0, &stream(7), &[0xff; 23]) && !RunKey::fits(0, &stream(7), &[0xff; 24]));
    }
}
