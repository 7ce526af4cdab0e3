//! Stage 1: bytes to tokens, in three runs over the blocks of a window.
//!
//! First each block is *classified*: which bytes are of which class, kept in a table. Then strings, numbers and tokens
//! are found from masks alone, those of several blocks in one register. Last, the bytes that begin tokens are put
//! side by side. In one run a block's masks would not fit into a processor's registers, and each would be worked on
//! alone.
//!
//! A lone event has other troubles: each run waits for what the one before has just written. So the shortest windows
//! are gone through block by block in registers, and the first 64 tokens of short ones stay in one.
//!
//! None of it has a branch that sound text ever takes: what a closer look may need is stored for every block, and
//! which blocks need it is a bit in a set.
use crate::kernel::{Isa, Words};
use crate::window::{
    BLANK, BLOCKS, Blocks, CONTROL, Columns, DIGIT, FEED, HIGH, Job, PUNCT, QUOTE, SLASH, Scratch, Text, ZERO,
};

/// Most blocks whose tokens are held in a register: the event that stands alone.
const HELD_MAX: usize = 8;

/// Finds the tokens of a window and what a closer look needs; returns how many tokens, and the first of them where
/// the kernel holds them.
///
/// # Safety
/// As of [`crate::window::fill`].
#[inline(always)]
pub(crate) unsafe fn tokenize<I: Isa, const LINES: bool>(
    job: &Job,
    text: &mut Text,
    scratch: &mut Scratch,
) -> (usize, Option<I::Word>) {
    for set in [
        &mut scratch.prim_blocks,
        &mut scratch.escape_blocks,
        &mut scratch.high_blocks,
        &mut scratch.feed_blocks,
    ] {
        *set = [0; BLOCKS / 64];
    }
    scratch.blocks = job.blocks;
    // SAFETY: passed on.
    unsafe {
        let mut held = I::no_tokens();
        if job.blocks <= I::ALONE_MAX {
            let tokens = one_by_one::<I, LINES>(job, text, &mut held, scratch);
            return (tokens, I::HOLDS.then_some(held));
        }
        classify::<I>(job, scratch);
        mark::<I, LINES>(job, text, scratch);
        if I::HOLDS && job.blocks <= HELD_MAX {
            let tokens = put::<I, true>(job, &mut held, scratch);
            (tokens, Some(held))
        } else {
            (put::<I, false>(job, &mut held, scratch), None)
        }
    }
}

/// The three runs as one, block by block: a short event waits longer for what was just written than the work takes.
///
/// # Safety
/// As of [`crate::window::fill`].
#[inline(always)]
unsafe fn one_by_one<I: Isa, const LINES: bool>(
    job: &Job,
    text: &mut Text,
    held: &mut I::Word,
    scratch: &mut Scratch,
) -> usize {
    let (mut tokens, mut block, mut at, mut breaks) = (0, 0, *text, false);
    while block < scratch.blocks {
        // SAFETY: the block lies in the window, and its place in the tables too.
        unsafe {
            let bytes = job.load::<I>(64 * block as isize);
            let masks = I::masks(bytes);
            let (starts, prims) = group::<I, u64, LINES>(&masks, (block, 1), &mut at, &mut breaks, scratch);
            I::put::<true>((&mut scratch.tokens, held), tokens, bytes, starts, starts & prims);
            tokens += starts.count_ones() as usize;
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
    let whole = job.whole().min(job.blocks);
    for block in 0..whole {
        // SAFETY: the body has all of the block, and the table has room for it.
        unsafe { I::classify(I::load(job.body.add(64 * block)), &mut scratch.classes, block) };
    }
    if whole < job.blocks {
        // SAFETY: the block is the body's last, and has its place too.
        unsafe { I::classify(job.load::<I>(64 * whole as isize), &mut scratch.classes, whole) };
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
        unsafe {
            let columns = I::columns(&scratch.classes, first);
            group::<I, I::Words, LINES>(&columns, (first, blocks), &mut at, &mut breaks, scratch);
        }
        first += I::Words::LANES;
    }
    scratch.breaks = breaks;
    *text = at;
}

/// As many blocks as fit into a register, from `first` on; only `blocks` of them are in the window. Returns where
/// tokens begin, and which bytes belong to numbers and words.
///
/// # Safety
/// As of [`crate::window::fill`]; `first` is a multiple of the register's lanes.
#[inline(always)]
unsafe fn group<I: Isa, W: Words, const LINES: bool>(
    columns: &Columns<W>,
    (first, blocks): (usize, usize),
    at: &mut Text,
    breaks: &mut bool,
    scratch: &mut Scratch,
) -> (W, W) {
    let last = blocks - 1;
    // SAFETY: see above.
    unsafe {
        let valid = W::fill((1 << blocks) - 1);
        let column = |class: usize| columns[class].and(valid);
        let escaped = escaped(column(SLASH), last, &mut at.escape);
        let quote = column(QUOTE).without(escaped);
        let inside = strings::<I, W>(quote, last, &mut at.inside);
        let (control, feed) = (column(CONTROL), column(FEED));
        let punct = column(PUNCT).without(control);
        let prim = valid.without(inside.or(quote).or(punct).or(column(BLANK)));
        let behind_prim = prim.up_through(at.prim);
        at.prim = prim.tops() >> last & 1;
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
        let zeros = prim_starts.and(column(ZERO)).and(longer);
        note(&mut scratch.prim_blocks, first, prim.without(column(DIGIT)).or(zeros));
        prim.store(scratch.prims.as_mut_ptr().add(first + 1));
        let escapes = escaped.and(inside);
        escapes.store(scratch.escapes.as_mut_ptr().add(first));
        note(&mut scratch.escape_blocks, first, escapes);
        note(&mut scratch.high_blocks, first, column(HIGH));
        starts.store(scratch.starts.as_mut_ptr().add(first));
        let odd = control.and(inside);
        if odd.some() != 0 {
            let mut words = [[0; 8]; 2];
            odd.store(words[0].as_mut_ptr());
            feed.store(words[1].as_mut_ptr());
            // A copy, for what has an address is not kept in registers.
            let mut text = *at;
            broken_strings::<LINES>((first, blocks), &words, &mut text, scratch);
            *at = text;
            let (starts, prims) = (scratch.starts.as_ptr(), scratch.prims.as_ptr());
            return (W::load(starts.add(first)), W::load(prims.add(first + 1)));
        }
        (starts, prim)
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
unsafe fn strings<I: Isa, W: Words>(quote: W, last: usize, carry: &mut u64) -> W {
    // SAFETY: passed on.
    unsafe {
        let alone = quote.prefix_xor::<I>();
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

/// Control characters stand inside strings, as the first mask says of each block from `first` on; the second has the
/// line feeds. Where lines are gone through and one of them is a line feed, the window ends behind it and the text
/// starts anew: the line ends there, whatever the quotes say.
#[cold]
#[inline(never)]
fn broken_strings<const LINES: bool>(
    (first, blocks): (usize, usize),
    [odd, feeds]: &[[u64; 8]; 2],
    text: &mut Text,
    scratch: &mut Scratch,
) {
    for (nth, (odd, feeds)) in odd.iter().zip(feeds).take(blocks).enumerate() {
        let block = first + nth;
        if *odd == 0 || block >= scratch.blocks {
            continue;
        }
        scratch.suspect(block);
        let feeds = feeds & odd;
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
unsafe fn put<I: Isa, const HOLD: bool>(job: &Job, held: &mut I::Word, scratch: &mut Scratch) -> usize {
    let mut tokens = 0;
    let whole = job.whole().min(scratch.blocks);
    for block in 0..whole {
        // SAFETY: the body has all of the block.
        unsafe {
            let bytes = I::load(job.body.add(64 * block));
            put_block::<I, HOLD>((block, bytes), &mut tokens, held, scratch);
        }
    }
    if whole < scratch.blocks {
        // SAFETY: the block is the body's last.
        unsafe {
            let bytes = job.load::<I>(64 * whole as isize);
            put_block::<I, HOLD>((whole, bytes), &mut tokens, held, scratch);
        }
    }
    tokens
}

/// # Safety
/// As of [`Isa`]; the block lies in the window.
#[inline(always)]
unsafe fn put_block<I: Isa, const HOLD: bool>(
    (block, bytes): (usize, I::Block),
    tokens: &mut usize,
    held: &mut I::Word,
    scratch: &mut Scratch,
) {
    // SAFETY: see above.
    unsafe {
        let starts = *scratch.starts.get_unchecked(block);
        let prims = starts & *scratch.prims.get_unchecked(block + 1);
        I::put::<HOLD>((&mut scratch.tokens, held), *tokens, bytes, starts, prims);
        *tokens += starts.count_ones() as usize;
    }
}
