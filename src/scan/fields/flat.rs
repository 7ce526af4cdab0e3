//! Finds what is wanted in an event that lies within one window and is vouched for.
//!
//! It goes from name to name at the event's own depth. A name without a backslash is compared as it stands; where
//! a value ends is told by the next name, or the event's end.
use super::walk::{self, Cursor};
use super::{Fields, Found, skip_blank, string_end, trim_back};
use crate::window::Scratch;
use core::ops::Range;

/// A window that vouches for an event.
#[derive(Clone, Copy)]
pub(crate) struct Window<'s> {
    pub scratch: &'s Scratch,
    /// Where it begins in the body; before the event, and its end is not before the event's.
    pub from: usize,
}

/// Finds tokens by their bits.
struct Masks<'s> {
    starts: &'s [u64],
    block: usize,
    /// Those of the block that are behind the current token.
    rest: u64,
    /// From the window's first byte to the event's.
    shift: usize,
    at: usize,
}

impl<'s> Masks<'s> {
    /// At the token that begins `at` bytes into the event.
    fn at(starts: &'s [u64], shift: usize, at: usize) -> Masks<'s> {
        let place = shift + at;
        let rest = starts[place / 64] & (u64::MAX - 1) << (place % 64);
        Masks { starts, block: place / 64, rest, shift, at }
    }
}

impl Cursor for Masks<'_> {
    #[inline(always)]
    fn at(&self) -> usize {
        self.at
    }

    #[inline(always)]
    fn advance(&mut self, event: &[u8]) {
        while self.rest == 0 {
            self.block += 1;
            match self.starts.get(self.block) {
                Some(starts) => self.rest = *starts,
                None => {
                    self.at = event.len();
                    return;
                }
            }
        }
        self.at = 64 * self.block + self.rest.trailing_zeros() as usize - self.shift;
        self.rest &= self.rest - 1;
    }
}

/// Finds what is wanted in `body[span]`.
pub(crate) fn by_window(
    fields: &Fields,
    window: Window<'_>,
    body: &[u8],
    span: Range<usize>,
    found: &mut Found,
) {
    found.clear();
    let Scratch { starts, escapes, keys, .. } = window.scratch;
    let blocks = window.scratch.blocks;
    let (starts, escapes, keys) = (&starts[..blocks], &escapes[..blocks], &keys[..blocks]);
    let event = &body[span.clone()];
    let shift = span.start - window.from;
    let (first, last) = (shift / 64, (shift + event.len() - 1) / 64);
    let mut open = None;
    for block in first..=last.min(blocks - 1) {
        let mut names = keys[block];
        if block == first {
            names &= u64::MAX << (shift % 64);
        }
        if block == last {
            names &= u64::MAX >> (63 - (shift + event.len() - 1) % 64);
        }
        // A name that begins here may hold a backslash, here or where it ends.
        let doubtful = escapes[block] != 0
            || block < last && (escapes.get(block + 1) != Some(&0) || starts.get(block + 1) == Some(&0));
        while names != 0 {
            let at = 64 * block + names.trailing_zeros() as usize - shift;
            names &= names - 1;
            if let Some(step) = open.take() {
                // Back over the comma.
                found.end(step, trim_back(event, trim_back(event, at) - 1));
                if fields.has_all(found) {
                    return;
                }
            }
            let step = if doubtful {
                string_end(event, at).and_then(|end| fields.step_of(fields.top, event, at, end))
            } else {
                fields.step_of_plain(fields.top, event, at)
            };
            if let Some(step) = fields.met(step, fields.top_sealed, at, found) {
                open = Some(step);
                begin(fields, event, found, (step, at), doubtful, |at| Masks::at(starts, shift, at));
            }
        }
    }
    if let Some(step) = open {
        found.end(step, trim_back(event, event.len() - 1));
    }
}

/// Notes where the value of `step` begins, whose name is at `at`, and looks into it if that is wanted.
#[inline(always)]
fn begin<'s>(
    fields: &Fields,
    event: &[u8],
    found: &mut Found,
    (step, at): (usize, usize),
    doubtful: bool,
    cursor: impl FnOnce(usize) -> Masks<'s>,
) {
    let name_end = match doubtful {
        true => string_end(event, at).unwrap_or(at),
        false => at + 2 + fields.name(step).len(),
    };
    let value = skip_blank(event, skip_blank(event, name_end) + 1);
    found.begin(step, value);
    if fields.steps[step].children != 0 || fields.sealed >> step & 1 == 1 {
        walk::behind(fields, event, found, step, cursor(value));
    }
}
