//! One header line: 384 bytes that say what the run behind it holds and which header came before.
use super::key::RunKey;
use core::fmt;
use sha2::{Digest, Sha256};

/// Length of a header line with its newline.
pub const HEADER_BYTES: usize = 384;
/// Commits begin and end on multiples of this.
pub const BLOCK_BYTES: usize = 4096;
/// The largest number in any header: what every JSON reader holds exactly (2^53 - 1).
pub const NUMBER_MAX: u64 = (1 << 53) - 1;
/// How every header line begins.
pub const HEADER_START: &[u8] = b"{\"ringmill\":1,";

/// CRC32C (Castagnoli) of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// CRC32C over bytes that come piece by piece.
#[derive(Debug)]
pub struct Crc32c(crc_fast::Digest);

impl Crc32c {
    /// Over nothing yet.
    pub fn new() -> Crc32c {
        Crc32c(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi))
    }
    /// Takes the next piece in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    /// The checksum of all pieces so far.
    pub fn value(&self) -> u32 {
        self.0.finalize() as u32
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Crc32c::new()
    }
}

/// A SHA-256 of one header line, the link of the chain. Displays as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What the first header of a shard names as its predecessor.
    pub const ZERO: Hash = Hash([0; 32]);

    /// The hash of a header line.
    pub fn of(line: &[u8; HEADER_BYTES]) -> Hash {
        Hash(Sha256::digest(line).into())
    }

    /// Writes the 64 hex digits.
    pub fn hex(&self, out: &mut [u8; 64]) {
        for (digits, byte) in out.chunks_exact_mut(2).zip(self.0) {
            digits[0] = DIGITS[usize::from(byte >> 4)];
            digits[1] = DIGITS[usize::from(byte & 15)];
        }
    }

    /// Reads 64 hex digits, lower case only.
    pub fn from_hex(text: &[u8]) -> Option<Hash> {
        if text.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = hex_digit(digits[0])? << 4 | hex_digit(digits[1])?;
        }
        Some(Hash(bytes))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// A stream's name: 1–64 of `[A-Za-z0-9._-]`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName {
    bytes: [u8; StreamName::BYTES_MAX],
    len: u8,
}

impl StreamName {
    /// Longest name.
    pub const BYTES_MAX: usize = 64;
    /// Where events go when the request names no stream.
    pub const DEFAULT: StreamName = match StreamName::new(b"default") {
        Some(name) => name,
        None => panic!("`default` is a name"),
    };

    /// The name, or `None` when it is empty, too long or holds another character.
    pub const fn new(name: &[u8]) -> Option<StreamName> {
        if name.is_empty() || name.len() > StreamName::BYTES_MAX {
            return None;
        }
        let mut bytes = [0; StreamName::BYTES_MAX];
        let mut at = 0;
        while at < name.len() {
            if !matches!(name[at], b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-') {
                return None;
            }
            bytes[at] = name[at];
            at += 1;
        }
        Some(StreamName { bytes, len: name.len() as u8 })
    }

    /// The name's bytes, all ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).expect("checked to be ASCII when it was made")
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one header line says of the run behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The shard whose file this is.
    pub shard: u32,
    /// The stream of all events of the run.
    pub stream: StreamName,
    /// The key that all events of the run were sent with, if their request named one and it was kept.
    pub key: Option<RunKey>,
    /// Sequence number of the first event, at most [`NUMBER_MAX`].
    pub seq: u64,
    /// Events in the run, at least 1.
    pub events: u32,
    /// Bytes of the run behind the header: every event and its newline.
    pub bytes: u32,
    /// The commit's number within its shard, from 1, at most [`NUMBER_MAX`].
    pub commit: u64,
    /// Runs of the same commit that follow this one.
    pub left: u32,
    /// Unix time of the seal in milliseconds; clamped to [`NUMBER_MAX`] when encoded.
    pub time_ms: u64,
    /// Random id of the file, the same in all its headers.
    pub file: u64,
    /// CRC32C over the run's bytes.
    pub crc32c: u32,
    /// Hash of the header before this one in the same shard; [`Hash::ZERO`] before the first.
    pub prev: Hash,
}

/// Why 384 bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Fewer than [`HEADER_BYTES`] bytes.
    Short,
    /// They do not begin like a header.
    Start,
    /// They begin like one, but what stands at this byte does not belong there.
    Syntax(u16),
    /// Well formed, but the checksum over the header is another.
    Checksum,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderError::Short => f.write_str("the file ends within a header"),
            HeaderError::Start => f.write_str("no header stands here"),
            HeaderError::Syntax(at) => write!(f, "the header is malformed at its byte {at}"),
            HeaderError::Checksum => f.write_str("the header does not match its own checksum"),
        }
    }
}

impl core::error::Error for HeaderError {}

impl Header {
    /// Sequence number of the run's last event.
    pub fn last_seq(&self) -> u64 {
        self.seq + u64::from(self.events) - 1
    }

    /// Sequence number of the first event behind the run.
    pub fn next_seq(&self) -> u64 {
        self.seq + u64::from(self.events)
    }

    /// Writes the header line. Allocates nothing.
    ///
    /// # Panics
    /// When `seq` or `commit` is over [`NUMBER_MAX`]: a shard that counts so far is broken. When the line does not
    /// hold `key`: whoever took it did not ask [`RunKey::fits`].
    pub fn encode(&self, out: &mut [u8; HEADER_BYTES]) {
        assert!(self.seq <= NUMBER_MAX && self.commit <= NUMBER_MAX, "a header's numbers fit in 53 bits");
        let mut line = Line::new(out);
        line.put(HEADER_START);
        line.put(b"\"shard\":");
        line.number(u64::from(self.shard));
        line.put(b",\"stream\":\"");
        line.put(self.stream.as_bytes());
        line.put(b"\"");
        if let Some(key) = &self.key {
            line.put(b",\"key\":\"");
            key.encode(|piece| line.put(piece));
            line.put(b"\"");
        }
        line.put(b",\"seq\":");
        line.number(self.seq);
        line.put(b",\"events\":");
        line.number(u64::from(self.events));
        line.put(b",\"bytes\":");
        line.number(u64::from(self.bytes));
        line.put(b",\"commit\":");
        line.number(self.commit);
        line.put(b",\"left\":");
        line.number(u64::from(self.left));
        line.put(b",\"time_ms\":");
        line.number(self.time_ms.min(NUMBER_MAX));
        line.put(b",\"file\":\"");
        line.hex(self.file, 16);
        line.put(b"\",\"crc32c\":\"");
        line.hex(u64::from(self.crc32c), 8);
        line.put(b"\",\"prev\":\"");
        let mut prev = [0; 64];
        self.prev.hex(&mut prev);
        line.put(&prev);
        line.put(b"\"");
        let head = crc32c(line.so_far());
        line.put(b",\"head\":\"");
        line.hex(u64::from(head), 8);
        line.put(b"\"}");
        line.pad();
    }

    /// Reads a header from the front of `bytes`. There is one way to write each header, and nothing else passes.
    ///
    /// # Errors
    /// Says what the bytes are instead; see [`HeaderError`].
    pub fn parse(bytes: &[u8]) -> Result<Header, HeaderError> {
        if !bytes.starts_with(HEADER_START) {
            return Err(if HEADER_START.starts_with(bytes) {
                HeaderError::Short
            } else {
                HeaderError::Start
            });
        }
        let line: &[u8; HEADER_BYTES] =
            bytes.get(..HEADER_BYTES).and_then(|line| line.try_into().ok()).ok_or(HeaderError::Short)?;
        let mut fields = Fields { line, at: HEADER_START.len() };
        fields.expect(b"\"shard\":")?;
        let shard = fields.number(u64::from(u32::MAX))? as u32;
        fields.expect(b",\"stream\":\"")?;
        let stream = fields.name()?;
        fields.expect(b"\"")?;
        let key = fields.key()?;
        fields.expect(b",\"seq\":")?;
        let seq = fields.number(NUMBER_MAX)?;
        fields.expect(b",\"events\":")?;
        let events = fields.number(u64::from(u32::MAX))? as u32;
        fields.expect(b",\"bytes\":")?;
        let bytes = fields.number(u64::from(u32::MAX))? as u32;
        fields.expect(b",\"commit\":")?;
        let commit = fields.number(NUMBER_MAX)?;
        fields.expect(b",\"left\":")?;
        let left = fields.number(u64::from(u32::MAX))? as u32;
        fields.expect(b",\"time_ms\":")?;
        let time_ms = fields.number(NUMBER_MAX)?;
        fields.expect(b",\"file\":\"")?;
        let file = fields.hex(16)?;
        fields.expect(b"\",\"crc32c\":\"")?;
        let crc32c_run = fields.hex(8)? as u32;
        fields.expect(b"\",\"prev\":\"")?;
        let prev = fields.hash()?;
        fields.expect(b"\"")?;
        let covered = fields.at;
        fields.expect(b",\"head\":\"")?;
        let head = fields.hex(8)? as u32;
        fields.expect(b"\"}")?;
        fields.padding()?;
        if crc32c(&line[..covered]) != head {
            return Err(HeaderError::Checksum);
        }
        Ok(Header {
            shard,
            stream,
            key,
            seq,
            events,
            bytes,
            commit,
            left,
            time_ms,
            file,
            crc32c: crc32c_run,
            prev,
        })
    }

    /// The hash that the next header names as `prev`.
    pub fn hash(line: &[u8; HEADER_BYTES]) -> Hash {
        Hash::of(line)
    }
}

/// Fills a line from the left. All its pieces are bounded so that the longest line leaves room for a space.
pub(super) struct Line<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Line<'a> {
    pub(super) fn new(out: &'a mut [u8]) -> Line<'a> {
        Line { out, len: 0 }
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.out[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    pub(super) fn number(&mut self, number: u64) {
        self.put(itoa::Buffer::new().format(number).as_bytes());
    }

    pub(super) fn hex(&mut self, value: u64, digits: usize) {
        for digit in (0..digits).rev() {
            self.put(&[DIGITS[(value >> (4 * digit)) as usize & 15]]);
        }
    }

    pub(super) fn so_far(&self) -> &[u8] {
        &self.out[..self.len]
    }

    /// Spaces, at least one, and the newline. That space is what no stored event ends with.
    pub(super) fn pad(self) {
        let last = self.out.len() - 1;
        assert!(self.len < last, "a header leaves room for a space and a newline");
        self.out[self.len..last].fill(b' ');
        self.out[last] = b'\n';
    }
}

/// Reads a line from the left, each field in the one form in which it is written.
pub(super) struct Fields<'a> {
    pub(super) line: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Fields<'a> {
    fn wrong<T>(&self) -> Result<T, HeaderError> {
        Err(HeaderError::Syntax(self.at as u16))
    }

    fn rest(&self) -> &'a [u8] {
        &self.line[self.at..]
    }

    pub(super) fn expect(&mut self, text: &[u8]) -> Result<(), HeaderError> {
        let same = self.rest().iter().zip(text).take_while(|(a, b)| a == b).count();
        self.at += same;
        if same == text.len() { Ok(()) } else { self.wrong() }
    }

    /// Decimal without sign or leading zero, at most `max`.
    pub(super) fn number(&mut self, max: u64) -> Result<u64, HeaderError> {
        let digits = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        let text = &self.rest()[..digits];
        let number = text.iter().try_fold(0u64, |number, digit| {
            number.checked_mul(10)?.checked_add(u64::from(digit - b'0')).filter(|number| *number <= max)
        });
        match number {
            Some(number) if digits == 1 || (digits > 1 && text[0] != b'0') => {
                self.at += digits;
                Ok(number)
            }
            _ => self.wrong(),
        }
    }

    pub(super) fn hex(&mut self, digits: usize) -> Result<u64, HeaderError> {
        let mut value = 0;
        for _ in 0..digits {
            let Some(digit) = self.rest().first().copied().and_then(hex_digit) else { return self.wrong() };
            value = value << 4 | u64::from(digit);
            self.at += 1;
        }
        Ok(value)
    }

    fn hash(&mut self) -> Result<Hash, HeaderError> {
        let mut hash = Hash::ZERO;
        for byte in &mut hash.0 {
            *byte = self.hex(2)? as u8;
        }
        Ok(hash)
    }

    /// What stands before the next `"`.
    pub(super) fn text(&mut self) -> Result<&'a [u8], HeaderError> {
        let Some(len) = memchr::memchr(b'"', self.rest()) else { return self.wrong() };
        let text = &self.rest()[..len];
        self.at += len;
        Ok(text)
    }

    fn name(&mut self) -> Result<StreamName, HeaderError> {
        let start = self.at;
        let name = StreamName::new(self.text()?);
        name.ok_or(HeaderError::Syntax(start as u16))
    }

    /// The key and the quotes around it, if one stands here.
    fn key(&mut self) -> Result<Option<RunKey>, HeaderError> {
        const OPENS: &[u8] = b",\"key\":\"";
        if !self.rest().starts_with(OPENS) {
            return Ok(None);
        }
        self.at += OPENS.len();
        let start = self.at;
        let key = RunKey::decode(self.text()?).ok_or(HeaderError::Syntax(start as u16))?;
        self.expect(b"\"")?;
        Ok(Some(key))
    }

    /// Nothing but spaces up to the last byte, a newline.
    pub(super) fn padding(&mut self) -> Result<(), HeaderError> {
        while self.at < self.line.len() - 1 {
            self.expect(b" ")?;
        }
        self.expect(b"\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::String;

    fn largest() -> Header {
        Header {
            shard: u32::MAX,
            stream: StreamName::new(&[b'x'; 64]).unwrap(),
            key: None,
            seq: NUMBER_MAX,
            events: u32::MAX,
            bytes: u32::MAX,
            commit: NUMBER_MAX,
            left: u32::MAX,
            time_ms: u64::MAX,
            file: u64::MAX,
            crc32c: u32::MAX,
            prev: Hash([0xff; 32]),
        }
    }

    fn ordinary() -> Header {
        Header {
            shard: 0,
            stream: StreamName::DEFAULT,
            key: None,
            seq: 1041,
            events: 2,
            bytes: 846,
            commit: 17,
            left: 0,
            time_ms: 1_763_000_000_000,
            file: 0x0123_4567_89ab_cdef,
            crc32c: 0xdead_beef,
            prev: Hash::ZERO,
        }
    }

    /// The longest keys beside the largest numbers that a batch comes to.
    fn keyed() -> [Header; 4] {
        let batch = Header { events: 99_999_999, bytes: 99_999_999, left: 4096, ..largest() };
        let with = |shard, stream: &[u8], key: &[u8]| {
            let stream = StreamName::new(stream).unwrap();
            assert!(RunKey::fits(shard, &stream, key));
            Header { shard, stream, key: RunKey::new(key), ..batch }
        };
        [
            with(u32::MAX, &[b's'; 64], b"abc"),
            with(9, b"s", &[b'k'; RunKey::BYTES_MAX]),
            with(12, b"default", "\u{e9}\"%".as_bytes()),
            with(0, b"default", b""),
        ]
    }

    #[test]
    fn what_is_written_is_read_and_leaves_room_for_a_space() {
        let smallest = Header { seq: 0, events: 0, bytes: 0, time_ms: 0, commit: 0, ..ordinary() };
        for header in [largest(), ordinary(), smallest].into_iter().chain(keyed()) {
            let mut line = [0; HEADER_BYTES];
            header.encode(&mut line);
            let read = Header::parse(&line).unwrap();
            assert_eq!(read, Header { time_ms: header.time_ms.min(NUMBER_MAX), ..header });
            assert_eq!(&line[HEADER_BYTES - 2..], b" \n");
            let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
            assert_eq!(value["seq"], header.seq);
        }
    }

    #[test]
    fn the_line_is_the_documented_one() {
        let mut line = [0; HEADER_BYTES];
        ordinary().encode(&mut line);
        let zeros = "0".repeat(64);
        let covered = format!(
            "{{\"ringmill\":1,\"shard\":0,\"stream\":\"default\",\"seq\":1041,\"events\":2,\"bytes\":846,\
             \"commit\":17,\"left\":0,\"time_ms\":1763000000000,\"file\":\"0123456789abcdef\",\
             \"crc32c\":\"deadbeef\",\"prev\":\"{zeros}\""
        );
        let whole = format!("{covered},\"head\":\"{:08x}\"}}", crc32c(covered.as_bytes()));
        assert_eq!(String::from_utf8_lossy(&line), format!("{whole:<383}\n"));
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        for header in [largest(), ordinary()].into_iter().chain(keyed()) {
            let mut line = [0; HEADER_BYTES];
            header.encode(&mut line);
            for bit in 0..HEADER_BYTES * 8 {
                line[bit / 8] ^= 1 << (bit % 8);
                assert!(Header::parse(&line).is_err(), "bit {bit}");
                line[bit / 8] ^= 1 << (bit % 8);
            }
            for len in 0..HEADER_BYTES {
                assert_eq!(Header::parse(&line[..len]), Err(HeaderError::Short), "{len}");
            }
        }
    }

    #[test]
    fn checksums_are_the_published_ones() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let mut pieces = Crc32c::new();
        pieces.update(b"1234");
        pieces.update(b"56789");
        assert_eq!(pieces.value(), 0xe306_9283);
    }

    #[test]
    fn names_are_held_to_their_alphabet() {
        for bad in [&b""[..], b"a b", b"a/b", b"\xc3\xa9", &[b'a'; 65]] {
            assert_eq!(StreamName::new(bad), None);
        }
        assert_eq!(StreamName::new(b"A-z_0.9").unwrap().as_str(), "A-z_0.9");
    }
}
