//! The file of what was refused: each entry a header line of 256 bytes, then the bytes as they came, then a newline.
//!
//! The bytes may hold anything, so an entry can only be found by its length, from the file's beginning on;
//! after damage the walk takes up again at a block whose header carries the same random file id.
use super::header::{BLOCK_BYTES, Crc32c, Fields, HeaderError, Line, NUMBER_MAX};
use super::walk::{ReadAt, Window, blank};
use core::{fmt, ops::Range};

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

/// What a [`QuarantineWalker`] found next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuarantineStep {
    /// An entry: `range` holds its header, its bytes and the newline behind them.
    Entry {
        /// Where it stands.
        range: Range<u64>,
    },
    /// Bytes that are not what they must be; sound entries follow.
    Damage {
        /// Where.
        range: Range<u64>,
        /// What is wrong.
        why: QuarantineWhy,
    },
    /// The same at the end of the file: entries never finished, or not finished yet.
    Tail {
        /// Where, newlines at the end not counted.
        range: Range<u64>,
        /// What is wrong.
        why: QuarantineWhy,
    },
    /// Nothing but newlines from here on.
    End {
        /// End of the last entry, a multiple of [`BLOCK_BYTES`].
        used: u64,
    },
}

/// A sound entry: the file's id and where the entry stands.
type Found = (u64, Range<u64>);

/// What is wrong with a quarantine entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuarantineWhy {
    /// Where a header must stand is none.
    Header(HeaderError),
    /// The header is of another shard or another file.
    Foreign,
    /// The file ends within the entry.
    Short,
    /// Header and bytes do not match their checksum, or no newline closes them.
    Checksum,
    /// The fill behind the last entry of a commit is not all newlines.
    Padding,
}

impl fmt::Display for QuarantineWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QuarantineWhy::Header(error) => error.fmt(f),
            QuarantineWhy::Foreign => f.write_str("an entry of another shard or file stands here"),
            QuarantineWhy::Short => f.write_str("the file ends within an entry"),
            QuarantineWhy::Checksum => f.write_str("the entry does not match its crc32c"),
            QuarantineWhy::Padding => f.write_str("the fill behind the entries is not newlines"),
        }
    }
}

/// Walks one quarantine file in constant memory. [`step`](QuarantineWalker::step) until it gives `None`.
#[derive(Debug)]
pub struct QuarantineWalker<R> {
    window: Window<R>,
    shard: u32,
    file: Option<u64>,
    at: u64,
    done: bool,
}

impl<R: ReadAt> QuarantineWalker<R> {
    /// Bytes read at a time, and the memory that a walk takes.
    pub const WINDOW_BYTES: usize = 256 << 10;

    /// A walk over `source`, a quarantine file of `shard`.
    pub fn new(source: R, shard: u32) -> QuarantineWalker<R> {
        let window = Window::new(source, Self::WINDOW_BYTES);
        QuarantineWalker { window, shard, file: None, at: 0, done: false }
    }

    /// Up to `want` bytes from `offset` on; fewer when the window holds no more, or at the file's end.
    ///
    /// # Errors
    /// When the source fails.
    pub fn bytes(&mut self, offset: u64, want: usize) -> Result<&[u8], R::Error> {
        self.window.at(offset, want)
    }

    /// After `Tail` or `End`: looks at the same place again, where an entry may have been finished by then.
    pub fn retry(&mut self) {
        self.window.forget();
        self.done = false;
    }

    /// The next finding; `None` behind `Tail` and `End`.
    ///
    /// # Errors
    /// When the source fails. The step can be tried again.
    pub fn step(&mut self) -> Result<Option<QuarantineStep>, R::Error> {
        if self.done {
            return Ok(None);
        }
        let block = BLOCK_BYTES as u64;
        // Behind an entry comes another, or newlines up to the next block.
        let edge = self.at.next_multiple_of(block);
        if self.at < edge && self.window.at(self.at, 1)?.first() != Some(&b'{') {
            let fill = (edge - self.at) as usize;
            let found = self.window.at(self.at, fill)?;
            if found.len() < fill || !blank(found) {
                return self.unsound(QuarantineWhy::Padding).map(Some);
            }
            self.at = edge;
        }
        match self.entry(self.at)? {
            Ok((file, range)) => {
                (self.file, self.at) = (Some(file), range.end);
                Ok(Some(QuarantineStep::Entry { range }))
            }
            Err(why) => self.unsound(why).map(Some),
        }
    }

    fn entry(&mut self, at: u64) -> Result<Result<Found, QuarantineWhy>, R::Error> {
        let (shard, expected) = (self.shard, self.file);
        let (entry, mut crc, sum) = match Entry::parse(self.window.at(at, QUARANTINE_HEADER_BYTES)?) {
            Ok(found) => found,
            Err(error) => return Ok(Err(QuarantineWhy::Header(error))),
        };
        if entry.shard != shard || expected.is_some_and(|file| file != entry.file) {
            return Ok(Err(QuarantineWhy::Foreign));
        }
        let (file, body) = (entry.file, at + QUARANTINE_HEADER_BYTES as u64);
        let end = body + u64::from(entry.length);
        let mut from = body;
        while from < end {
            let piece = self.window.up_to(from, end)?;
            if piece.is_empty() {
                return Ok(Err(QuarantineWhy::Short));
            }
            crc.update(piece);
            from += piece.len() as u64;
        }
        let close = self.window.at(end, 1)?.first().copied();
        Ok(match close {
            None => Err(QuarantineWhy::Short),
            Some(b'\n') if crc.value() == sum => Ok((file, at..end + 1)),
            Some(_) => Err(QuarantineWhy::Checksum),
        })
    }

    fn unsound(&mut self, why: QuarantineWhy) -> Result<QuarantineStep, R::Error> {
        let (start, block_bytes) = (self.at, BLOCK_BYTES as u64);
        let (mut at, mut junk_end) = (start, start);
        loop {
            let edge = (at + 1).next_multiple_of(block_bytes);
            let bytes = self.window.at(at, (edge - at) as usize)?;
            if bytes.is_empty() {
                break;
            }
            if let Some(last) = bytes.iter().rposition(|byte| *byte != b'\n').filter(|_| !blank(bytes)) {
                junk_end = at + last as u64 + 1;
            }
            // Refused bytes may hold anything, but not the random id of the file that they will stand in.
            if at > start
                && self.file.is_some()
                && bytes.starts_with(QUARANTINE_START)
                && self.entry(at)?.is_ok()
            {
                self.at = at;
                return Ok(QuarantineStep::Damage { range: start..at, why });
            }
            at = edge;
        }
        self.done = true;
        if junk_end == start {
            return Ok(QuarantineStep::End { used: start });
        }
        Ok(QuarantineStep::Tail { range: start..junk_end, why })
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

    #[test]
    fn a_file_is_walked_by_lengths_and_flips_are_located() {
        use crate::segment::testing::quarantine;
        let mut bytes = std::vec![];
        quarantine(&mut bytes, 2, 0xabc, &[("bad", b"{\"a\n"), ("worse", b"\n\n\n"), ("empty", b"")]);
        let forged = bytes.clone();
        let first_end = bytes.len() as u64;
        quarantine(&mut bytes, 2, 0xabc, &[("holds another file", &forged)]);
        let second_end = bytes.len() as u64;
        quarantine(&mut bytes, 2, 0xabc, &[("last", b"x")]);
        let sound = bytes.len();
        bytes.resize(sound + 2 * BLOCK_BYTES, b'\n');
        let walk = |bytes: &[u8]| {
            let mut walker = QuarantineWalker::new(bytes, 2);
            let mut steps = std::vec![];
            while let Some(step) = walker.step().unwrap() {
                steps.push(step);
                assert!(steps.len() < 50);
            }
            steps
        };
        let steps = walk(&bytes);
        assert_eq!(steps.len(), 6, "{steps:?}");
        assert_eq!(steps[5], QuarantineStep::End { used: sound as u64 });
        for at in (0..bytes.len()).filter(|at| at % 7 == 0 || at % BLOCK_BYTES < 300) {
            bytes[at] ^= 1 << (at % 8);
            let found = walk(&bytes).into_iter().any(|step| match step {
                QuarantineStep::Damage { range, .. } | QuarantineStep::Tail { range, .. } => {
                    range.contains(&(at as u64))
                }
                _ => false,
            });
            assert!(found, "byte {at}: {:?}", walk(&bytes));
            bytes[at] ^= 1 << (at % 8);
        }
        bytes[first_end as usize + 3] ^= 1;
        let steps = walk(&bytes);
        assert!(
            matches!(&steps[3], QuarantineStep::Damage { range, .. } if range.start == first_end && range.end <= second_end)
        );
    }
}
