//! What a string stands for, byte by byte.

/// The bytes that a string stands for.
#[derive(Clone, Debug)]
pub struct Unescaped<'a> {
    rest: &'a [u8],
    /// The character last decoded, from `at` on not yet given.
    held: [u8; 4],
    at: u8,
    len: u8,
}

impl<'a> Unescaped<'a> {
    /// Of what stands between the quotes.
    pub fn of(raw: &'a [u8]) -> Unescaped<'a> {
        Unescaped { rest: raw, held: [0; 4], at: 0, len: 0 }
    }

    fn unit(&self, at: usize) -> Option<u32> {
        let digits = core::str::from_utf8(self.rest.get(at..at + 4)?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    }

    /// The escape at the front: the character and how many bytes it takes.
    fn escape(&self) -> (char, usize) {
        let plain = match self.rest.get(1) {
            Some(b'u') => None,
            Some(b'b') => Some('\u{8}'),
            Some(b'f') => Some('\u{c}'),
            Some(b'n') => Some('\n'),
            Some(b'r') => Some('\r'),
            Some(b't') => Some('\t'),
            Some(other) => Some(*other as char),
            None => Some('\\'),
        };
        if let Some(plain) = plain {
            return (plain, 2);
        }
        let high = self.unit(2).unwrap_or(0xfffd);
        let low = if self.rest.get(6..8) == Some(b"\\u") { self.unit(8) } else { None };
        match (high, low) {
            (0xd800..0xdc00, Some(low @ 0xdc00..0xe000)) => {
                let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
            }
            _ => (char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), 6),
        }
    }
}

impl Iterator for Unescaped<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if self.at < self.len {
            self.at += 1;
            return Some(self.held[usize::from(self.at) - 1]);
        }
        let first = *self.rest.first()?;
        if first != b'\\' {
            self.rest = &self.rest[1..];
            return Some(first);
        }
        let (character, taken) = self.escape();
        self.rest = self.rest.get(taken..).unwrap_or_default();
        self.len = character.encode_utf8(&mut self.held).len() as u8;
        self.at = 1;
        Some(self.held[0])
    }
}
