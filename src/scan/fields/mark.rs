//! Stage 2's part: which tokens of a window are names of an event's own members, and where they stand.
//!
//! Compiled into a kernel only where fields are wanted.
use crate::kernel::{Isa, Kinds};
use crate::window::Scratch;

/// What one word of tokens leaves to the next.
#[derive(Clone, Copy, Default)]
pub(crate) struct Depth {
    /// Open brackets. Where more were closed than opened it is of no meaning until the next line feed: what
    /// stands there is no event that anybody vouches for.
    open: u64,
    /// 1: the last token was an opening bracket or a comma.
    behind: u64,
}

/// Notes which of these tokens, 64 of them or the last, are names at depth 1: strings behind a bracket or comma.
///
/// # Safety
/// The processor has the features of `I`; `word` is less than the number of blocks.
#[inline(always)]
pub(crate) unsafe fn mark<I: Isa>(
    kinds: &Kinds,
    tokens: u32,
    word: usize,
    state: &mut Depth,
    scratch: &mut Scratch,
) {
    let marks = kinds.open | kinds.close | kinds.feed;
    let before = u64::from(state.open == 1);
    let mut flat = before.wrapping_neg();
    let count = marks.count_ones();
    if count != 0 {
        // SAFETY: the features of `I` are there.
        let (mut opens, mut feeds) =
            unsafe { (I::squeeze(kinds.open, marks), I::squeeze(kinds.feed, marks)) };
        let (mut open, mut tops) = (state.open, 0u64);
        for _ in 0..count {
            open = open.wrapping_add((opens & 1) << 1).wrapping_sub(1) & (feeds & 1).wrapping_sub(1);
            tops = tops >> 1 | u64::from(open == 1) << 63;
            (opens, feeds) = (opens >> 1, feeds >> 1);
        }
        state.open = open;
        let tops = tops >> (64 - count);
        // SAFETY: the features of `I` are there.
        flat ^= unsafe { I::prefix_xor(I::spread(tops ^ (tops << 1 | before), marks)) };
    }
    let leads = kinds.open | kinds.comma;
    scratch.key_tokens[word] = kinds.string & flat & (leads << 1 | state.behind);
    state.behind = leads >> (tokens - 1) & 1;
}

/// From tokens to places: where those names begin, block by block.
///
/// # Safety
/// The processor has the features of `I`; the window's tokens are marked.
#[inline(always)]
pub(crate) unsafe fn place<I: Isa>(scratch: &mut Scratch) {
    let mut token = 0;
    for block in 0..scratch.blocks {
        let starts = scratch.starts[block];
        let (word, shift) = (token / 64, token as u32 % 64);
        let (low, high) = (scratch.key_tokens[word], scratch.key_tokens[word + 1]);
        // SAFETY: the features of `I` are there.
        scratch.keys[block] = unsafe { I::spread(low >> shift | high << 1 << (63 - shift), starts) };
        token += starts.count_ones() as usize;
    }
}
