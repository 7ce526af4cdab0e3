//! Stage 1: bytes to tokens, in three runs over the blocks of a window.
//!
//! First each block is *classified*: a mask a class of bytes, kept in a table. Then strings, numbers and tokens are
//! found from the masks alone, those of several blocks in one register. Last, the bytes that begin tokens are put
//! side by side. In one run a block's masks would not fit into a processor's registers, and each would be worked on
//! alone.
//!
//! None of it has a branch that sound text ever takes: what a closer look may need is stored for every block, and
//! which blocks need it is a bit in a set.
use crate::kernel::{Isa, Words};
use crate::window::{BLOCKS, Blocks, Column, Job, Scratch, Text};

/// Windows of so few blocks are gone through block by block.
const LONE_BLOCKS: usize = 3;

/// Finds the tokens of a window and what a closer look needs; returns how many tokens.
///
/// # Safety
/// As of [`crate::window::fill`].
#[inline(always)]
pub(crate) unsafe fn tokenize<I: Isa, const LINES: bool>(
    job: &Job,
    text: &mut Text,
    scratch: &mut Scratch,
) -> usize {
    scratch.prim_blocks = [0; BLOCKS / 64];
    scratch.escape_blocks = [0; BLOCKS / 64];
    scratch.high_blocks = [0; BLOCKS / 64];
    scratch.feed_blocks = [0; BLOCKS / 64];
    scratch.blocks = job.blocks;
    // SAFETY: passed on.
    unsafe {
        if job.blocks <= LONE_BLOCKS {
            return one_by_one::<I, LINES>(job, text, scratch);
        }
        classify::<I>(job, scratch);
        mark::<I, LINES>(job, text, scratch);
        put::<I>(job, scratch)
    }
}

/// The three runs as one, block by block: a short event waits longer for what was just written than the work takes.
///
/// # Safety
/// As of [`crate::window::fill`].
#[inline(always)]
unsafe fn one_by_one<I: Isa, const LINES: bool>(job: &Job, text: &mut Text, scratch: &mut Scratch) -> usize {
    let (mut tokens, mut block, mut at, mut breaks) = (0, 0, *text, false);
    while block < scratch.blocks {
        // SAFETY: the block lies in the window: so many are readable, and the one behind them is the last.
        unsafe {
            let bytes = if block < job.direct { I::load(job.body.add(64 * block)) } else { job.last::<I>() };
            I::classify::<true>(bytes, &mut scratch.classes, block);
            group::<u64, LINES>(block, 1, &mut at, &mut breaks, scratch);
            put_block::<I>(block, bytes, &mut tokens, scratch);
        }
        block += 1;
    }
    scratch.breaks = breaks;
    *text = at;
    tokens
}

/// # Safety
/// As of [`crate::window::fill`].
#[inline(always)]
unsafe fn classify<I: Isa>(job: &Job, scratch: &mut Scratch) {
    let direct = job.direct.min(job.blocks);
    for block in 0..direct {
        // SAFETY: so many blocks of the body are readable, and the table has room for each.
        unsafe { I::classify::<false>(I::load(job.body.add(64 * block)), &mut scratch.classes, block) };
    }
    if direct < job.blocks {
        // SAFETY: the block is the body's last, not whole, and has its place too.
        unsafe { I::classify::<false>(job.last::<I>(), &mut scratch.classes, direct) };
    }
}

/// # Safety
/// As of [`crate::window::fill`]; the blocks are classified.
#[inline(always)]
unsafe fn mark<I: Isa, const LINES: bool>(job: &Job, text: &mut Text, scratch: &mut Scratch) {
    let (mut first, mut at, mut breaks) = (0, *text, false);
    while first < scratch.blocks {
        let blocks = (job.blocks - first).min(I::Words::LANES);
        // SAFETY: the blocks lie in the window, and so do their places in the tables.
        unsafe { group::<I::Words, LINES>(first, blocks, &mut at, &mut breaks, scratch) };
        first += I::Words::LANES;
    }
    scratch.breaks = breaks;
    *text = at;
}

/// As many blocks as fit into a register, from `first` on; only `blocks` of them are in the window.
///
/// # Safety
/// As of [`crate::window::fill`]; `first` is a multiple of the register's lanes.
#[inline(always)]
unsafe fn group<W: Words, const LINES: bool>(
    first: usize,
    blocks: usize,
    at: &mut Text,
    breaks: &mut bool,
    scratch: &mut Scratch,
) {
    let last = blocks - 1;
    // SAFETY: see above.
    unsafe {
        let valid = W::fill((1 << blocks) - 1);
        let classes = &scratch.classes;
        let column = |of: &Column| W::load(of.as_ptr().add(first)).and(valid);
        let escaped = escaped(column(&classes.slash), last, &mut at.escape);
        let quote = column(&classes.quote).without(escaped);
        let inside = strings(quote, last, &mut at.inside);
        let (control, feed) = (column(&classes.control), column(&classes.feed));
        let punct = column(&classes.punct).without(control);
        let prim = valid.without(inside.or(quote).or(punct).or(column(&classes.blank)));
        let tops = prim.tops();
        let behind_prim = prim.up().or(W::fill(tops << 1 | at.prim).top_as_low());
        at.prim = tops >> last & 1;
        let prim_starts = prim.without(behind_prim);
        let mut starts = punct.without(inside).or(quote.and(inside)).or(prim_starts);
        let feed_outside = feed.without(inside);
        if LINES {
            starts = starts.or(feed_outside);
            feed_outside.store(scratch.feeds.as_mut_ptr().add(first));
            note(&mut scratch.feed_blocks, first, feed_outside);
            // Tabs too: telling them apart is left to the few events in such windows.
            *breaks |= control.without(feed).some() != 0;
        } else {
            *breaks |= control.without(inside).some() != 0;
        }
        // Plain integers need no closer look: digits alone, and no zero with a digit behind it.
        let longer = prim.down().or(W::splat(1 << 63));
        let zeros = prim_starts.and(column(&classes.zero)).and(longer);
        note(&mut scratch.prim_blocks, first, prim.without(column(&classes.digit)).or(zeros));
        prim.store(scratch.prims.as_mut_ptr().add(first + 1));
        let escapes = escaped.and(inside);
        escapes.store(scratch.escapes.as_mut_ptr().add(first));
        note(&mut scratch.escape_blocks, first, escapes);
        note(&mut scratch.high_blocks, first, column(&classes.high));
        starts.store(scratch.starts.as_mut_ptr().add(first));
        let odd = control.and(inside);
        if odd.some() != 0 {
            let mut words = [0; 8];
            odd.store(words.as_mut_ptr());
            broken_string::<LINES>(first, &words[..blocks], at, scratch);
        }
    }
}

/// Puts the blocks whose word is not empty into the set.
#[inline(always)]
unsafe fn note<W: Words>(set: &mut Blocks, first: usize, words: W) {
    // SAFETY: `first` is a block of the window.
    unsafe { *set.get_unchecked_mut(first / 64) |= words.some() << (first % 64) };
}

/// Which bytes are escaped: those behind an odd number of backslashes (simdjson's way).
///
/// # Safety
/// As of [`Words`].
#[inline(always)]
unsafe fn escaped<W: Words>(slash: W, last: usize, carry: &mut u64) -> W {
    const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
    // Whether the first byte of each block is escaped: hardly ever by the block before in the same register, so
    // that is first taken to be so and then looked at.
    let mut begun = *carry;
    loop {
        // SAFETY: passed on.
        unsafe {
            let odd = W::splat(ODD);
            let first = W::fill(begun).top_as_low();
            let fresh = slash.without(first);
            let codes = fresh.up().or(odd).sub(fresh).xor(odd);
            let ends = codes.and(slash).tops();
            let next = (ends << 1 | *carry) & ((2 << last) - 1);
            if next == begun {
                *carry = ends >> last & 1;
                return codes.xor(slash.or(first));
            }
            begun = next;
        }
    }
}

/// Which bytes are inside strings, opening quotes among them, closing ones not.
///
/// # Safety
/// As of [`Words`].
#[inline(always)]
unsafe fn strings<W: Words>(quote: W, last: usize, carry: &mut u64) -> W {
    // SAFETY: passed on.
    unsafe {
        let alone = quote.prefix_xor();
        // Blocks with an odd number of quotes turn over all that follow.
        let mut turns = alone.tops();
        turns ^= turns << 1;
        turns ^= turns << 2;
        turns ^= turns << 4;
        let before = 0u64.wrapping_sub(*carry);
        *carry ^= turns >> last & 1;
        alone.xor(W::fill(turns << 1 ^ before))
    }
}

/// Control characters stand inside strings, as `odd` says of each block from `first` on. Where lines are gone
/// through and one of them is a line feed, the window ends behind it and the text starts anew: the line ends there,
/// whatever the quotes say.
#[cold]
#[inline(never)]
fn broken_string<const LINES: bool>(first: usize, odd: &[u64], text: &mut Text, scratch: &mut Scratch) {
    for (nth, &odd) in odd.iter().enumerate() {
        let block = first + nth;
        if odd == 0 || block >= scratch.blocks {
            continue;
        }
        scratch.suspect(block);
        let feeds = scratch.classes.feed[block] & odd;
        if LINES && feeds != 0 {
            let place = feeds.trailing_zeros();
            let keep = (1 << place) - 1;
            scratch.prims[block + 1] &= keep;
            scratch.starts[block] = scratch.starts[block] & keep | 1 << place;
            scratch.feeds[block] = scratch.feeds[block] & keep | 1 << place;
            scratch.escapes[block] &= keep;
            scratch.feed_blocks[block / 64] |= 1 << (block % 64);
            scratch.blocks = block + 1;
            scratch.done = 64 * block + place as usize + 1;
            *text = Text::default();
            scratch.forget_behind(block);
        }
    }
}

/// # Safety
/// As of [`crate::window::fill`]; the blocks are marked.
#[inline(always)]
unsafe fn put<I: Isa>(job: &Job, scratch: &mut Scratch) -> usize {
    let mut tokens = 0;
    let direct = job.direct.min(scratch.blocks);
    for block in 0..direct {
        // SAFETY: so many blocks of the body are readable.
        unsafe { put_block::<I>(block, I::load(job.body.add(64 * block)), &mut tokens, scratch) };
    }
    if direct < scratch.blocks {
        // SAFETY: the block is the body's last, not whole.
        unsafe { put_block::<I>(direct, job.last::<I>(), &mut tokens, scratch) };
    }
    tokens
}

/// # Safety
/// As of [`Isa`]; `block` lies in the window.
#[inline(always)]
unsafe fn put_block<I: Isa>(block: usize, bytes: I::Block, tokens: &mut usize, scratch: &mut Scratch) {
    // SAFETY: see above.
    unsafe {
        let starts = *scratch.starts.get_unchecked(block);
        let prims = starts & *scratch.prims.get_unchecked(block + 1);
        I::put(&mut scratch.tokens, *tokens, bytes, starts, prims);
        *tokens += starts.count_ones() as usize;
    }
}
