//! From token to token through an event, by its bytes or by a window's masks.
//!
//! The event is good, so no token is a surprise; on anything else the walk ends early.
use super::{Fields, Found, bits, skip_blank, string_end, trim_back};

/// Where tokens begin.
pub(super) trait Cursor {
    /// Where the current token begins; the event's length behind the last one.
    fn at(&self) -> usize;
    /// Goes on to the next token.
    fn advance(&mut self, event: &[u8]);
}

/// Finds tokens byte by byte.
struct Bytes {
    at: usize,
}

impl Cursor for Bytes {
    #[inline(always)]
    fn at(&self) -> usize {
        self.at
    }

    #[inline(always)]
    fn advance(&mut self, event: &[u8]) {
        let end = match event.get(self.at) {
            None => self.at,
            Some(b'"') => string_end(event, self.at).unwrap_or(event.len()),
            Some(b'{' | b'}' | b'[' | b']' | b':' | b',') => self.at + 1,
            Some(_) => {
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n');
                event[self.at + 1..].iter().position(ends).map_or(event.len(), |len| self.at + 1 + len)
            }
        };
        self.at = skip_blank(event, end);
    }
}

/// Finds what is wanted in `event`.
pub(super) fn event(fields: &Fields, event: &[u8], found: &mut Found) {
    if event.first() == Some(&b'{') {
        let mut walk = Walk { fields, event, found, cursor: Bytes { at: 0 } };
        let _ended = walk.object(fields.top, fields.top_sealed);
    }
}

/// Finds what is wanted behind `step`, at whose value the cursor stands.
pub(super) fn behind(fields: &Fields, event: &[u8], found: &mut Found, step: usize, cursor: impl Cursor) {
    let mut walk = Walk { fields, event, found, cursor };
    let _ended = walk.inside(step);
}

struct Walk<'w, C> {
    fields: &'w Fields,
    event: &'w [u8],
    found: &'w mut Found,
    cursor: C,
}

// `None`, wherever it comes from: nothing further is wanted, or the bytes are no event.
impl<C: Cursor> Walk<'_, C> {
    #[inline(always)]
    fn here(&self) -> Option<u8> {
        self.event.get(self.cursor.at()).copied()
    }

    #[inline(always)]
    fn advance(&mut self) {
        self.cursor.advance(self.event);
    }

    /// Through the members of the object at the cursor, up to the token behind it.
    fn object(&mut self, among: u64, sealed: bool) -> Option<()> {
        self.advance();
        while self.here()? == b'"' {
            let key = self.cursor.at();
            self.advance();
            let end = trim_back(self.event, self.cursor.at());
            self.advance();
            let step = self.fields.step_of(among, self.event, key, end);
            match self.fields.met(step, sealed, key, self.found) {
                Some(step) => self.take(step)?,
                None => self.pass()?,
            }
            if self.here()? == b',' {
                self.advance();
            }
        }
        self.advance();
        Some(())
    }

    /// Through the elements of the array at the cursor, up to the token behind it.
    fn array(&mut self, among: u64) -> Option<()> {
        self.advance();
        let mut index = 0;
        while self.here()? != b']' {
            match bits(among).find(|step| self.fields.steps[*step].index == index) {
                Some(step) => self.take(step)?,
                None => self.pass()?,
            }
            index += 1;
            if self.here()? == b',' {
                self.advance();
            }
        }
        self.advance();
        Some(())
    }

    /// The value at the cursor is that of `step`.
    fn take(&mut self, step: usize) -> Option<()> {
        self.found.begin(step, self.cursor.at());
        self.inside(step)?;
        self.found.end(step, trim_back(self.event, self.cursor.at()));
        if self.fields.has_all(self.found) { None } else { Some(()) }
    }

    fn inside(&mut self, step: usize) -> Option<()> {
        let (children, sealed) = (self.fields.steps[step].children, self.fields.sealed >> step & 1 == 1);
        match self.here()? {
            b'{' if children != 0 || sealed => self.object(children, sealed),
            b'[' if children != 0 => self.array(children),
            _ => self.pass(),
        }
    }

    /// Over the value at the cursor.
    fn pass(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            match self.here()? {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.checked_sub(1)?,
                _ => {}
            }
            self.advance();
            if depth == 0 {
                return Some(());
            }
        }
    }
}
