//! The file of what was refused: each entry a header line of 256 bytes, then the bytes as they came, then a newline.
//!
//! The bytes may hold anything, so an entry can only be found by its length, from the file's beginning on;
//! after damage the walk takes up again at a block whose header carries the same random file id.
use super::header::{Crc32c, Fields, HeaderError, Line, NUMBER_MAX};

/// Length of a quarantine header line with its newline.
pub const QUARANTINE_HEADER_BYTES: usize = 256;
/// Longest reason in a quarantine header; a longer one is cut.
pub const REASON_BYTES_MAX: usize = 64;
/// How every quarantine header line begins.
pub const QUARANTINE_START: &[u8] = b"{\"ringmill_quarantine\":1,";

/// What one quarantine header says of the bytes behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The shard that refused them.
    pub shard: u32,
    /// Why: printable ASCII without `"` and `\` (others become `?`), cut to [`REASON_BYTES_MAX`].
    pub reason: &'a str,
    /// Which event of its request, from 0.
    pub index: u32,
    /// Byte of the request's body where the trouble was found.
    pub offset: u32,
    /// Number of bytes that follow the header, without the closing newline.
    pub length: u32,
    /// Unix time in milliseconds, at most [`NUMBER_MAX`].
    pub time_ms: u64,
    /// Random id of the file, the same in all its headers.
    pub file: u64,
}

impl<'a> Entry<'a> {
    /// Writes the header line for `bytes`, whose length must be `self.length`. Allocates nothing.
    ///
    /// # Panics
    /// When the length is another.
    pub fn encode(&self, bytes: &[u8], out: &mut [u8; QUARANTINE_HEADER_BYTES]) {
        assert_eq!(bytes.len(), self.length as usize, "the header tells the length of its bytes");
        let mut line = Line::new(out);
        line.put(QUARANTINE_START);
        line.put(b"\"shard\":");
        line.number(u64::from(self.shard));
        line.put(b",\"reason\":\"");
        for byte in self.reason.bytes().take(REASON_BYTES_MAX) {
            line.put(&[if plain(byte) { byte } else { b'?' }]);
        }
        line.put(b"\",\"index\":");
        line.number(u64::from(self.index));
        line.put(b",\"offset\":");
        line.number(u64::from(self.offset));
        line.put(b",\"length\":");
        line.number(u64::from(self.length));
        line.put(b",\"time_ms\":");
        line.number(self.time_ms.min(NUMBER_MAX));
        line.put(b",\"file\":\"");
        line.hex(self.file, 16);
        line.put(b"\"");
        let mut crc = Crc32c::new();
        crc.update(line.so_far());
        crc.update(bytes);
        line.put(b",\"crc32c\":\"");
        line.hex(u64::from(crc.value()), 8);
        line.put(b"\"}");
        line.pad();
    }

    /// Reads a header from the front of `line`, and the checksum over it and its bytes, begun: the caller
    /// feeds the `length` bytes behind the header and compares with the number returned last.
    ///
    /// # Errors
    /// Says what the bytes are instead. `Checksum` is not among it: only the bytes behind can tell.
    pub fn parse(line: &'a [u8]) -> Result<(Entry<'a>, Crc32c, u32), HeaderError> {
        if !line.starts_with(QUARANTINE_START) {
            let short = QUARANTINE_START.starts_with(line);
            return Err(if short { HeaderError::Short } else { HeaderError::Start });
        }
        let line = line.get(..QUARANTINE_HEADER_BYTES).ok_or(HeaderError::Short)?;
        let mut fields = Fields { line, at: QUARANTINE_START.len() };
        fields.expect(b"\"shard\":")?;
        let shard = fields.number(u64::from(u32::MAX))? as u32;
        fields.expect(b",\"reason\":\"")?;
        let at = fields.at;
        let reason = fields.text()?;
        let reason = Some(reason)
            .filter(|text| text.len() <= REASON_BYTES_MAX && text.iter().all(|byte| plain(*byte)))
            .and_then(|text| core::str::from_utf8(text).ok())
            .ok_or(HeaderError::Syntax(at as u16))?;
        fields.expect(b"\",\"index\":")?;
        let index = fields.number(u64::from(u32::MAX))? as u32;
        fields.expect(b",\"offset\":")?;
        let offset = fields.number(u64::from(u32::MAX))? as u32;
        fields.expect(b",\"length\":")?;
        let length = fields.number(u64::from(u32::MAX))? as u32;
        fields.expect(b",\"time_ms\":")?;
        let time_ms = fields.number(NUMBER_MAX)?;
        fields.expect(b",\"file\":\"")?;
        let file = fields.hex(16)?;
        fields.expect(b"\"")?;
        let mut crc = Crc32c::new();
        crc.update(&line[..fields.at]);
        fields.expect(b",\"crc32c\":\"")?;
        let sum = fields.hex(8)? as u32;
        fields.expect(b"\"}")?;
        fields.padding()?;
        Ok((Entry { shard, reason, index, offset, length, time_ms, file }, crc, sum))
    }
}

fn plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let reason = "x".repeat(99);
        let entry = Entry {
            shard: u32::MAX,
            reason: &reason,
            index: u32::MAX,
            offset: u32::MAX,
            length: 3,
            time_ms: NUMBER_MAX,
            file: u64::MAX,
        };
        let mut line = [0; QUARANTINE_HEADER_BYTES];
        entry.encode(b"a\nb", &mut line);
        serde_json::from_slice::<serde_json::Value>(&line).unwrap();
        let (read, mut crc, sum) = Entry::parse(&line).unwrap();
        assert_eq!(read, Entry { reason: &reason[..REASON_BYTES_MAX], ..entry });
        crc.update(b"a\nb");
        assert_eq!(crc.value(), sum);

        Entry { reason: "a \"quoted\" \\ \n é", ..entry }.encode(b"abc", &mut line);
        assert_eq!(Entry::parse(&line).unwrap().0.reason, "a ?quoted? ? ? ??");
        for bit in 0..line.len() * 8 {
            line[bit / 8] ^= 1 << (bit % 8);
            if let Ok((_, mut crc, sum)) = Entry::parse(&line) {
                crc.update(b"abc");
                assert_ne!(crc.value(), sum, "bit {bit}");
            }
            line[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
