//! Values from the front of what a broker answered. `None` means cut off or impossible.
//!
//! It takes no memory and believes no count: each element is at least a byte long and has to be there. What the
//! values mean, and which of them may be null, its callers know.
use super::varint;

/// Where one reader is in an answer.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    flexible: bool,
}

impl<'a> Cursor<'a> {
    /// At the front of `bytes`. Flexible messages have compact lengths and tagged fields.
    pub fn new(bytes: &'a [u8], flexible: bool) -> Cursor<'a> {
        Cursor { bytes, at: 0, flexible }
    }

    /// The same place in a message of another form.
    #[must_use]
    pub fn with_form(self, flexible: bool) -> Cursor<'a> {
        Cursor { flexible, ..self }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Takes the header of an answer: the correlation id and, in a flexible message, tags.
    pub fn header(&mut self) -> Option<i32> {
        let correlation = self.i32()?;
        self.tags()?;
        Some(correlation)
    }

    /// So many bytes.
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }

    /// So many bytes, by value.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// An integer of 16 bits.
    pub fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    /// An integer of 32 bits.
    pub fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    /// An integer of 64 bits.
    pub fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// A varint without a sign, of at most 32 bits.
    pub fn unsigned(&mut self) -> Option<u32> {
        let (n, len) = varint::get_unsigned(&self.bytes[self.at..])?;
        self.at += len;
        u32::try_from(n).ok()
    }

    /// Elements of an array, which may be null.
    pub fn count(&mut self) -> Option<Option<u32>> {
        match self.flexible {
            true => Some(self.unsigned()?.checked_sub(1)),
            false => Some(u32::try_from(self.i32()?).ok()),
        }
    }

    /// Bytes of a string, which may be null.
    pub fn string(&mut self) -> Option<Option<&'a [u8]>> {
        let len = match self.flexible {
            true => self.unsigned()?.checked_sub(1),
            false => match self.i16()? {
                -1 => None,
                len => Some(u32::try_from(len).ok()?),
            },
        };
        match len {
            Some(len) => Some(Some(self.take(len as usize)?)),
            None => Some(None),
        }
    }

    /// Shows each tagged field: its number, and what is in it.
    pub fn each_tag(&mut self, mut show: impl FnMut(u32, &'a [u8]) -> Option<()>) -> Option<()> {
        if !self.flexible {
            return Some(());
        }
        for _ in 0..self.unsigned()? {
            let tag = self.unsigned()?;
            let len = self.unsigned()?;
            show(tag, self.take(len as usize)?)?;
        }
        Some(())
    }

    /// Passes over tagged fields.
    pub fn tags(&mut self) -> Option<()> {
        self.each_tag(|_, _| Some(()))
    }

    /// Nothing is left.
    pub fn ends(&self) -> Option<()> {
        (self.at == self.bytes.len()).then_some(())
    }
}
