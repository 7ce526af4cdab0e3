//! From name to name through an event, by a window's masks or by its bytes.
//!
//! This is the walk that does all: into what is nested, to names that are escaped, repeated or strange. Where nothing
//! further can be found at a level, the rest of it is left.
//!
//! The levels need no stack: a level is that of the step whose value it is in, so the level around it is that of the
//! step before. The event is good, so no token is a surprise; on anything else the walk finds something or nothing,
//! and ends.
use super::{Fields, Found, NO_PARENT, bits, trim_back};
use crate::skim::{skip_blank, string_end};

/// Where tokens begin.
pub(super) trait Cursor {
    /// Where the current token begins; at or beyond the text's end behind the last one.
    fn at(&self) -> usize;
    /// Goes on to the next token.
    fn advance(&mut self);
    /// The current token is a name: from here on backslashes are watched for.
    fn watch(&mut self);
    /// There may have been a backslash since.
    fn saw_escape(&self) -> bool;
    /// Goes on behind the bracket that closes the last one, this token included, when `depth` are open before it.
    fn leave(&mut self, depth: usize);
}

/// Finds tokens byte by byte.
struct Bytes<'e> {
    event: &'e [u8],
    at: usize,
}

impl Cursor for Bytes<'_> {
    #[inline(always)]
    fn at(&self) -> usize {
        self.at
    }

    #[inline(always)]
    fn advance(&mut self) {
        let event = self.event;
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

    fn watch(&mut self) {}

    fn saw_escape(&self) -> bool {
        true
    }

    fn leave(&mut self, mut depth: usize) {
        while let Some(byte) = self.event.get(self.at) {
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.advance();
            if depth == 0 {
                return;
            }
        }
    }
}

/// Finds what is wanted in `event`.
pub(super) fn event(fields: &Fields, event: &[u8], found: &mut Found) {
    found.clear();
    if event.first() == Some(&b'{') {
        let cursor = Bytes { event, at: 0 };
        Walk { fields, text: event, from: 0, found, cursor }.go(NO_PARENT);
    }
}

/// The level that the walk is at: the members of the event, or of the value of a step.
struct Level {
    /// [`NO_PARENT`]: the event.
    of: u8,
    /// The steps that are wanted here.
    among: u64,
    sealed: bool,
    array: bool,
    /// Of an array, the number of the element.
    index: u32,
}

pub(super) struct Walk<'w, C> {
    pub fields: &'w Fields,
    /// Where the event begins at `from`, and what the cursor's places count in.
    pub text: &'w [u8],
    pub from: usize,
    pub found: &'w mut Found,
    pub cursor: C,
}

impl<C: Cursor> Walk<'_, C> {
    /// The byte that the current token begins with.
    #[inline(always)]
    fn here(&self) -> u8 {
        self.text.get(self.cursor.at()).copied().unwrap_or(0)
    }

    /// From an opening bracket, which is that of the value of step `root` ([`NO_PARENT`]: of the event), to behind
    /// the value. True: nothing further can be found in the event.
    #[inline(always)]
    pub fn go(&mut self, root: u8) -> bool {
        let mut level = self.enter(root);
        loop {
            if self.here() | 0x20 != b'}' {
                let step = if level.array { self.element(&level) } else { self.member(&level) };
                let is_nested = self.here() | 0x20 == b'{';
                if let Some(step) = step {
                    self.found.begin(step, self.cursor.at() - self.from);
                    if is_nested && self.enters(step) {
                        if level.array {
                            // Of the array around, the place: where that will have ended is not known yet.
                            self.found.spans[usize::from(level.of)].1 = level.index;
                        }
                        level = self.enter(step as u8);
                        continue;
                    }
                }
                if is_nested {
                    self.cursor.leave(0)
                } else {
                    self.cursor.advance()
                }
                if let Some(step) = step
                    && let Some(all) = self.end(step, root, &mut level)
                {
                    return all;
                }
            }
            while self.here() != b',' {
                // The level ends here, and with it the value that it is in.
                if level.of == NO_PARENT {
                    return true;
                }
                self.cursor.advance();
                let step = self.ascend(&mut level);
                if let Some(all) = self.end(step, root, &mut level) {
                    return all;
                }
            }
            self.cursor.advance();
            level.index = level.index.wrapping_add(1);
        }
    }

    /// Goes from a name to its value. Whose the value is, if it is wanted.
    #[inline(always)]
    fn member(&mut self, level: &Level) -> Option<usize> {
        let name = self.cursor.at();
        self.cursor.watch();
        self.cursor.advance();
        self.cursor.advance();
        let mut step = self.fields.step_of_plain(level.among, self.text, name);
        if step.is_none() && self.cursor.saw_escape() {
            step = self.fields.step_of_escaped(level.among, self.text, name);
        }
        self.fields.met(step, level.sealed, name.wrapping_sub(self.from), self.found)
    }

    fn element(&mut self, level: &Level) -> Option<usize> {
        bits(level.among).find(|step| self.fields.steps[*step].index == level.index)
    }

    /// Something is wanted within the object or array at the cursor, which is the value of `step`.
    #[inline(always)]
    fn enters(&self, step: usize) -> bool {
        let fields = self.fields;
        fields.steps[step].children != 0 || self.here() == b'{' && fields.sealed >> step & 1 == 1
    }

    /// To the first token within the object or array at the cursor.
    #[inline(always)]
    fn enter(&mut self, of: u8) -> Level {
        let array = self.here() == b'[';
        self.cursor.advance();
        Level { array, ..self.level_of(of) }
    }

    /// From a level to the one around it; returns the step whose value that was.
    fn ascend(&mut self, level: &mut Level) -> usize {
        let step = usize::from(level.of);
        *level = self.level_of(self.fields.steps[step].parent);
        if level.of != NO_PARENT {
            let (start, index) = self.found.spans[usize::from(level.of)];
            level.array = self.text.get(self.from + start as usize) == Some(&b'[');
            level.index = index;
        }
        step
    }

    fn level_of(&self, of: u8) -> Level {
        let fields = self.fields;
        let (among, sealed) = match of {
            NO_PARENT => (fields.top, fields.top_sealed),
            of => (fields.steps[usize::from(of)].children, fields.sealed >> of & 1 == 1),
        };
        Level { of, among, sealed, array: false, index: 0 }
    }

    /// The value of `step` ends before the cursor. Leaves levels at which nothing further can be found. When the walk
    /// is over: whether nothing further can be found in the event.
    #[inline(always)]
    fn end(&mut self, mut step: usize, root: u8, level: &mut Level) -> Option<bool> {
        loop {
            self.found.end(step, trim_back(self.text, self.cursor.at()).wrapping_sub(self.from));
            let all = !self.fields.thorough && self.fields.ends & !self.found.done == 0;
            if all || step == usize::from(root) {
                return Some(all);
            }
            if self.fields.thorough || level.among & !self.found.begun != 0 {
                return None;
            }
            if level.of == NO_PARENT {
                return Some(true);
            }
            self.cursor.leave(1);
            step = self.ascend(level);
        }
    }
}
