//! Finds what is wanted in an event that windows vouch for, by what they know: where tokens begin, and where there
//! are escapes. Compiled once for each kernel, but none of it is done where nothing is wanted.
//!
//! Most of what is wanted are members of the event itself. These have a loop of their own, from name to name: every
//! fourth token where values are no objects and no arrays, which are left by their brackets alone.
use super::walk::{Cursor, Walk};
use super::{Fields, Found, NO_PARENT, trim_back};
use crate::kernel::Isa;
use crate::window::{BLOCKS, Scratch};
use core::marker::PhantomData;
use core::ops::Range;

/// What a kernel finds with.
#[derive(Clone, Copy)]
pub(crate) struct Finder {
    /// Finds what is wanted in an event.
    pub find: unsafe fn(&Fields, &Window<'_>, Range<usize>, &mut Found),
    /// Finds what is wanted in a part of it; see [`walk`].
    pub walk: unsafe fn(&Fields, &Window<'_>, Part, &mut Found) -> Option<usize>,
    /// Finds the end of an object or array; see [`leave`].
    pub leave: unsafe fn(&Window<'_>, usize) -> usize,
}

/// What is known of the bytes in which an event lies, block by block. Places count from the first one's first byte.
#[derive(Clone, Copy)]
pub(crate) struct Window<'s> {
    pub finder: Finder,
    /// The body from there on.
    pub text: &'s [u8],
    /// Where tokens begin.
    pub starts: &'s [u64],
    /// Which bytes follow a backslash in a string; as many blocks.
    pub escapes: &'s [u64],
    /// Where the first block stands in the body.
    pub from: usize,
}

/// A value in an event.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    /// Where the event begins.
    from: usize,
    /// … and the value.
    at: usize,
    /// Whose value it is; [`NO_PARENT`]: the event.
    of: u8,
}

/// Behind all tokens: no text has so many blocks.
const NO_BLOCK: usize = usize::MAX / 128;

impl Window<'_> {
    /// Of 64 bytes from `at` on, those of that column.
    #[inline(always)]
    fn bits(column: &[u64], at: usize) -> u64 {
        let block = at / 64;
        let low = column.get(block).copied().unwrap_or(0);
        let high = column.get(block + 1).copied().unwrap_or(0);
        ((u128::from(high) << 64 | u128::from(low)) >> (at % 64)) as u64
    }

    /// Where the token behind the one at `at` begins.
    #[inline(always)]
    fn behind(&self, at: usize) -> usize {
        let block = at / 64;
        let rest = self.starts.get(block).map_or(0, |starts| starts & (u64::MAX - 1) << (at % 64));
        if rest != 0 { 64 * block + rest.trailing_zeros() as usize } else { self.first_behind(block) }
    }

    /// Where the first token behind that block begins.
    #[inline(never)]
    fn first_behind(&self, mut block: usize) -> usize {
        loop {
            block += 1;
            match self.starts.get(block) {
                Some(0) => {}
                Some(starts) => return 64 * block + starts.trailing_zeros() as usize,
                None => return 64 * NO_BLOCK,
            }
        }
    }

    /// Where the token `nth` places behind the name at `at` begins, which is not among its first 64 bytes.
    #[inline(never)]
    fn nth_behind(&self, mut at: usize, nth: usize) -> usize {
        for _ in 0..nth {
            at = self.behind(at);
        }
        at
    }

    /// Whether there may be a backslash in the name at `at`; the places of tokens from there on are `tokens`.
    #[inline(always)]
    fn may_be_escaped(&self, at: usize, tokens: u64) -> bool {
        let block = at / 64;
        let (low, high) = (self.escapes.get(block), self.escapes.get(block + 1));
        low.copied().unwrap_or(0) | high.copied().unwrap_or(1) != 0 && self.is_escaped(at, tokens)
    }

    #[inline(never)]
    fn is_escaped(&self, at: usize, tokens: u64) -> bool {
        let colon = without_lowest(tokens);
        let name = (colon & colon.wrapping_neg()).wrapping_sub(1);
        // A longer name may hold one further on.
        colon == 0 || Window::bits(self.escapes, at) & name != 0
    }
}

/// Finds tokens by their bits.
struct Masks<'s, I> {
    window: &'s Window<'s>,
    block: usize,
    /// The block's tokens from the current one on.
    rest: u64,
    /// The escapes in this block.
    escapes: u64,
    /// … and in those since a name began.
    seen: u64,
    kernel: PhantomData<I>,
}

impl<'s, I: Isa> Masks<'s, I> {
    /// At the token at `at`.
    #[inline(always)]
    fn new(window: &'s Window<'s>, at: usize) -> Masks<'s, I> {
        let block = at / 64;
        let (starts, escapes) = (window.starts[block], window.escapes[block]);
        let rest = starts & u64::MAX << (at % 64);
        let mut masks = Masks { window, block, rest, escapes, seen: 0, kernel: PhantomData };
        masks.next_block();
        masks
    }

    /// To the first token of the blocks that follow, if there is none in this one.
    #[inline(always)]
    fn next_block(&mut self) {
        while self.rest == 0 {
            self.block += 1;
            match (self.window.starts.get(self.block), self.window.escapes.get(self.block)) {
                (Some(starts), Some(escapes)) => (self.rest, self.escapes) = (*starts, *escapes),
                _ => (self.block, self.rest) = (NO_BLOCK, 1),
            }
            self.seen |= self.escapes;
        }
    }

    /// The bytes of the block; behind the text there are none that are brackets.
    ///
    /// # Safety
    /// The processor has the features of `I`; the block is one of the window's.
    #[inline(always)]
    unsafe fn bytes(&self) -> I::Block {
        let text = &self.window.text[64 * self.block..];
        // SAFETY: 64 bytes are readable, or what there is, with which the text ends.
        unsafe {
            if text.len() >= 64 {
                return I::load(text.as_ptr());
            }
            match I::load_part(text.as_ptr(), text.len(), self.window.text.len()) {
                Some(block) => block,
                None => {
                    let mut padded = [b' '; 64];
                    padded[..text.len()].copy_from_slice(text);
                    I::load(padded.as_ptr())
                }
            }
        }
    }
}

impl<I: Isa> Cursor for Masks<'_, I> {
    #[inline(always)]
    fn at(&self) -> usize {
        64 * self.block + self.rest.trailing_zeros() as usize
    }

    #[inline(always)]
    fn advance(&mut self) {
        self.rest &= self.rest - 1;
        self.next_block();
    }

    #[inline(always)]
    fn watch(&mut self) {
        self.seen = self.escapes;
    }

    #[inline(always)]
    fn saw_escape(&self) -> bool {
        self.seen != 0
    }

    #[inline(always)]
    fn leave(&mut self, mut depth: usize) {
        while self.block < self.window.starts.len() {
            // SAFETY: a cursor is made only where the features of `I` are; the block is one of the window's.
            let (open, close) = unsafe { I::brackets(self.bytes()) };
            let (mut open, mut close) = (open & self.rest, close & self.rest);
            while close != 0 {
                let through = close ^ (close - 1);
                depth = (depth + (open & through).count_ones() as usize).wrapping_sub(1);
                if depth == 0 {
                    self.rest &= !through;
                    return self.next_block();
                }
                open &= !through;
                close &= close - 1;
            }
            depth += open.count_ones() as usize;
            self.rest = 0;
            self.next_block();
        }
    }
}

/// Finds what is wanted in the event at `span`, whose windows vouch for it.
///
/// # Safety
/// The processor has the features of `I`, and `window` is of its kernel.
#[inline(always)]
pub(crate) unsafe fn find<I: Isa>(
    fields: &Fields,
    window: &Window<'_>,
    span: Range<usize>,
    found: &mut Found,
) {
    found.clear();
    let (text, from, end) = (window.text, span.start, span.end - 1);
    if fields.thorough {
        // SAFETY: passed on.
        unsafe { (window.finder.walk)(fields, window, Part { from, at: from, of: NO_PARENT }, found) };
        return;
    }
    let mut among = fields.top;
    let mut name = window.behind(from);
    while name < end {
        // The name, colon, value, comma and the next name; as many of them as are within 64 bytes.
        let tokens = Window::bits(window.starts, name);
        let rest = without_lowest(without_lowest(tokens));
        let value = match rest {
            0 => window.nth_behind(name, 2),
            rest => name + rest.trailing_zeros() as usize,
        };
        let mut step = fields.step_of_plain(among, text, name);
        if step.is_none() && window.may_be_escaped(name, tokens) {
            step = fields.step_of_escaped(among, text, name);
        }
        let is_nested = text.get(value).is_some_and(|byte| byte | 0x20 == b'{');
        if let Some(step) = step {
            found.begin(step, value - from);
            // Of a name that is repeated, the first counts.
            among ^= 1 << step;
            if is_nested && fields.steps[step].children != 0 {
                let part = Part { from, at: value, of: step as u8 };
                // SAFETY: passed on.
                match unsafe { (window.finder.walk)(fields, window, part, found) } {
                    Some(behind) if among != 0 => name = window.behind(behind),
                    _ => return,
                }
                continue;
            }
        }
        let behind = without_lowest(rest);
        let comma = match behind {
            // SAFETY: passed on.
            _ if is_nested => unsafe { (window.finder.leave)(window, value) },
            0 => window.nth_behind(value, 1),
            behind => name + behind.trailing_zeros() as usize,
        };
        if let Some(step) = step {
            found.end(step, trim_back(text, comma) - from);
            if among == 0 {
                return;
            }
        }
        let next = without_lowest(behind);
        name =
            if is_nested || next == 0 { window.behind(comma) } else { name + next.trailing_zeros() as usize };
    }
}

#[inline(always)]
fn without_lowest(bits: u64) -> u64 {
    bits & bits.wrapping_sub(1)
}

/// Where the token behind the object or array at `at` begins.
///
/// # Safety
/// As of [`find`].
#[inline(always)]
pub(crate) unsafe fn leave<I: Isa>(window: &Window<'_>, at: usize) -> usize {
    let mut cursor = Masks::<I>::new(window, at);
    cursor.leave(0);
    cursor.at()
}

/// Finds what is wanted in a value that is an object or array. Where the token behind it begins; `None`: nothing
/// further can be found in the event.
///
/// # Safety
/// As of [`find`].
#[inline(always)]
pub(crate) unsafe fn walk<I: Isa>(
    fields: &Fields,
    window: &Window<'_>,
    part: Part,
    found: &mut Found,
) -> Option<usize> {
    let Part { from, at, of } = part;
    let cursor = Masks::<I>::new(window, at);
    let mut walk = Walk { fields, text: window.text, from, found, cursor };
    let all = walk.go(of);
    (!all).then(|| walk.cursor.at())
}

/// What windows knew of the event that was open when they ended: with what the next one knows, the event is looked at
/// like any other.
pub(crate) struct Seam {
    starts: [u64; 2 * BLOCKS],
    escapes: [u64; 2 * BLOCKS],
    /// Blocks kept.
    len: usize,
    /// Where the first one is in the body.
    from: usize,
}

impl Seam {
    pub const fn new() -> Seam {
        Seam { starts: [0; 2 * BLOCKS], escapes: [0; 2 * BLOCKS], len: 0, from: 0 }
    }

    /// Nothing is open.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The window from `from` to `through` ends within the event that begins at `start`.
    pub fn keep(&mut self, scratch: &Scratch, from: usize, through: usize, start: usize) {
        let first = start.saturating_sub(from) / 64;
        if start >= from {
            (self.len, self.from) = (0, from + 64 * first);
        } else if self.len == 0 {
            // It began before what could be kept.
            return;
        }
        let Some(kept) = scratch.starts.get(first..scratch.blocks) else { return self.clear() };
        let (len, whole) = (self.len + kept.len(), through == from + 64 * scratch.blocks);
        if !whole || len > self.starts.len() {
            return self.clear();
        }
        self.starts[self.len..len].copy_from_slice(kept);
        self.escapes[self.len..len].copy_from_slice(&scratch.escapes[first..scratch.blocks]);
        self.len = len;
    }

    /// The blocks that were kept and those of the next window up to `end`, a place in the body; `None` where they are
    /// not known or too many.
    pub fn join<'s>(&'s mut self, next: &Window<'s>, body: &'s [u8], end: usize) -> Option<Window<'s>> {
        let blocks = ((end - next.from) / 64 + 1).min(next.starts.len());
        let len = self.len + blocks;
        if self.len == 0 || self.from + 64 * self.len != next.from || len > self.starts.len() {
            return None;
        }
        self.starts[self.len..len].copy_from_slice(&next.starts[..blocks]);
        self.escapes[self.len..len].copy_from_slice(&next.escapes[..blocks]);
        let (starts, escapes) = (&self.starts[..len], &self.escapes[..len]);
        Some(Window { text: &body[self.from..], starts, escapes, from: self.from, ..*next })
    }
}
