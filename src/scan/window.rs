//! One window of a body: stage 1, which turns bytes into tokens, and the order of what follows.
//!
//! A window is up to [`BLOCKS`] blocks of 64 bytes. What outlives it is in [`Carry`], so that strings, numbers,
//! brackets and characters may straddle windows; what it found is in [`Scratch`] until the next one.
//!
//! Stage 1 has one branch a block that is ever taken in sound text (a second line feed in a block): lists are
//! written unconditionally and their lengths advanced by a comparison.
use crate::checks::{self, Numbers};
use crate::grammar::{self, Grammar};
use crate::kernel::{Isa, Tokens};

/// Most blocks of a window. Windows of 8 KiB keep all of `Scratch` that is touched within the first-level
/// cache.
pub(crate) const BLOCKS: usize = 128;

/// Bytes behind a window that must be readable: escapes look so far ahead.
pub(crate) const AHEAD_BYTES: usize = 16;

/// What is to be looked at.
pub(crate) struct Job {
    /// The window's bytes. Readable: 64 for each block and [`AHEAD_BYTES`] behind.
    pub src: *const u8,
    /// Blocks, at most [`BLOCKS`].
    pub blocks: usize,
    /// At least three bytes before `src` are readable and are those before the window.
    pub has_lead: bool,
    /// Line feeds are tokens, and end events; else closing brackets do, and line feeds are blank.
    pub lines: bool,
    /// Depth of the body at which an event ends: 0, or 1 in an array.
    pub base_depth: u32,
}

/// What one window leaves to the next.
#[derive(Clone, Copy, Default)]
pub(crate) struct Carry {
    pub text: Text,
    pub numbers: Numbers,
    pub grammar: Grammar,
    /// Where the other half of a surrogate is due: bytes from the window's start to its `u`.
    pub low_half: usize,
}

/// What one block leaves to the next.
#[derive(Clone, Copy, Default)]
pub(crate) struct Text {
    /// 1: the next byte is escaped.
    escape: u64,
    /// All ones: the next byte is inside a string.
    inside: u64,
    /// 1: the byte before is one of a number or word …
    prim: u64,
    /// … and its block was listed for a closer look.
    listed: u64,
    /// 1: the byte before is a carriage return.
    ret: u64,
}

/// What a window held. Made once, reused for ever.
pub(crate) struct Scratch {
    pub tokens: Tokens,
    /// Where tokens begin, block by block.
    pub starts: [u64; BLOCKS],
    /// Blocks with more than plain integers, …
    pub prim_at: [u16; BLOCKS + 1],
    /// … and which of their bytes belong to numbers and words.
    pub prims: [u64; BLOCKS + 1],
    /// Blocks with escapes, …
    pub escape_at: [u16; BLOCKS + 1],
    /// … and which of their bytes follow a backslash.
    pub escapes: [u64; BLOCKS + 1],
    /// Blocks with bytes beyond ASCII.
    pub high_at: [u16; BLOCKS + 1],
    /// Where events end, in bytes from the window's start: line feeds, or the last closing brackets.
    pub ends: [u16; 64 * (BLOCKS + 1)],
    pub ends_len: usize,
    /// Blocks in which something is odd.
    pub suspects: [u64; BLOCKS / 64],
    /// There are raw line breaks between tokens.
    pub breaks: bool,
    /// Bytes looked at: all, unless a line feed was found in a string. The text starts anew behind them.
    pub done: usize,
}

/// The highest bit of [`Scratch::prim_at`]: the block begins within a number or word.
pub(crate) const CONTINUES: u16 = 1 << 15;

impl Scratch {
    pub const fn new() -> Scratch {
        Scratch {
            tokens: Tokens([[0; 4]; BLOCKS * 2 + 16]),
            starts: [0; BLOCKS],
            prim_at: [0; BLOCKS + 1],
            prims: [0; BLOCKS + 1],
            escape_at: [0; BLOCKS + 1],
            escapes: [0; BLOCKS + 1],
            high_at: [0; BLOCKS + 1],
            ends: [0; 64 * (BLOCKS + 1)],
            ends_len: 0,
            suspects: [0; BLOCKS / 64],
            breaks: false,
            done: 0,
        }
    }

    #[cold]
    pub fn suspect(&mut self, block: usize) {
        self.suspects[block / 64] |= 1 << (block % 64);
    }

    /// Whether anything is odd.
    #[inline(always)]
    pub fn is_odd(&self) -> bool {
        self.suspects.iter().any(|word| *word != 0)
    }

    /// Whether anything is odd in these bytes of the window.
    #[cold]
    pub fn is_suspect(&self, from: usize, to: usize) -> bool {
        (from / 64..=to / 64).any(|block| self.has(block))
    }

    fn has(&self, block: usize) -> bool {
        self.suspects.get(block / 64).is_some_and(|word| word >> (block % 64) & 1 == 1)
    }
}

/// How long the lists of a window have become.
#[derive(Default)]
struct Lists {
    tokens: usize,
    prims: usize,
    escapes: usize,
    high: usize,
    ends: usize,
    breaks: u64,
}

/// Looks at a window.
///
/// # Safety
/// The processor has the features of `I`; `job` is as its fields say.
#[inline(always)]
pub(crate) unsafe fn fill<I: Isa>(job: &Job, carry: &mut Carry, scratch: &mut Scratch) {
    debug_assert!(job.blocks <= BLOCKS);
    // SAFETY: passed on.
    unsafe {
        scratch.suspects = [0; BLOCKS / 64];
        scratch.done = job.blocks * 64;
        scratch.tokens.0[0] = [0; 4];
        let lists = if job.lines {
            tokenize::<I, true>(job, &mut carry.text, scratch)
        } else {
            tokenize::<I, false>(job, &mut carry.text, scratch)
        };
        (scratch.ends_len, scratch.breaks) = (lists.ends, lists.breaks != 0);
        if lists.prims != 0 {
            checks::numbers::<I>(job, lists.prims, &mut carry.numbers, scratch);
        }
        if lists.escapes != 0 {
            checks::escapes::<I>(job, lists.escapes, &mut carry.low_half, scratch);
        }
        if lists.high != 0 {
            checks::utf8::<I>(job, lists.high, scratch);
        }
        if job.lines {
            grammar::check::<I, true>(job, lists.tokens, &mut carry.grammar, scratch);
        } else {
            grammar::check::<I, false>(job, lists.tokens, &mut carry.grammar, scratch);
        }
        // Places that outlive the window count from the next one's start.
        let text_ended = scratch.done != job.blocks * 64 || carry.text.prim == 0;
        carry.low_half = carry.low_half.wrapping_sub(scratch.done);
        carry.numbers.leave(job.blocks, text_ended);
    }
}

/// Which bytes are escaped: those behind an odd number of backslashes (simdjson's way).
#[inline(always)]
fn escaped(slash: u64, carry: &mut u64) -> u64 {
    const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
    let fresh = slash & !*carry;
    let maybe = (fresh << 1) | ODD;
    let codes = maybe.wrapping_sub(fresh) ^ ODD;
    let escaped = codes ^ (slash | *carry);
    *carry = (codes & slash) >> 63;
    escaped
}

/// Stage 1.
///
/// # Safety
/// As of [`fill`]. The lists have an entry for each block, `ends` one for each byte.
#[inline(always)]
unsafe fn tokenize<I: Isa, const LINES: bool>(job: &Job, text: &mut Text, scratch: &mut Scratch) -> Lists {
    const LAST: u64 = 1 << 63;
    let mut lists = Lists::default();
    let mut at = *text;
    for block in 0..job.blocks {
        // SAFETY: the block lies in the window; each list grows by at most one here.
        unsafe {
            let bytes = I::load(job.src.add(64 * block));
            let masks = I::masks(bytes);
            let escaped = escaped(masks.slash, &mut at.escape);
            let quote = masks.quote & !escaped;
            let inside = I::prefix_xor(quote) ^ at.inside;
            at.inside = ((inside as i64) >> 63) as u64;
            let punct = masks.punct & !masks.control & !inside;
            let mut prim = !(inside | quote | punct | masks.blank);
            let mut prim_starts = prim & !(prim << 1 | at.prim);
            let mut starts = punct | quote & inside | prim_starts;
            let mut feed = masks.feed & !inside;
            let mut escapes = escaped & inside;
            let in_string = masks.control & inside;
            let mut cut = false;
            if in_string != 0 {
                scratch.suspect(block);
                if LINES && masks.feed & inside != 0 {
                    // The line ends here, whatever the quotes say; what follows is looked at afresh.
                    let place = (masks.feed & inside).trailing_zeros();
                    let keep = (1 << place) - 1;
                    (prim, prim_starts, starts) = (prim & keep, prim_starts & keep, starts & keep);
                    (feed, escapes) = (feed & keep | 1 << place, escapes & keep);
                    scratch.done = 64 * block + place as usize + 1;
                    cut = true;
                }
            }
            if LINES {
                starts |= feed;
                *scratch.ends.get_unchecked_mut(lists.ends) =
                    (64 * block) as u16 + (feed.trailing_zeros() & 63) as u16;
                lists.ends += usize::from(feed != 0);
                let mut more = feed & feed.wrapping_sub(1);
                while more != 0 {
                    *scratch.ends.get_unchecked_mut(lists.ends) =
                        (64 * block) as u16 + more.trailing_zeros() as u16;
                    lists.ends += 1;
                    more &= more - 1;
                }
                lists.breaks |= (masks.ret & !LAST & !(masks.feed >> 1)) | (at.ret & !masks.feed);
                at.ret = masks.ret >> 63;
            } else {
                lists.breaks |= (masks.ret | masks.feed) & !inside;
            }
            // Plain integers need no closer look: digits alone, and no zero with a digit behind it.
            let continues = prim & at.prim;
            let odd = (prim & !masks.digit)
                | (prim_starts & masks.zero & (prim >> 1 | LAST))
                | (continues & at.listed);
            *scratch.prim_at.get_unchecked_mut(lists.prims) = block as u16 | (continues as u16) << 15;
            *scratch.prims.get_unchecked_mut(lists.prims) = prim;
            lists.prims += usize::from(odd != 0);
            at.listed = u64::from(odd != 0);
            at.prim = prim >> 63;
            *scratch.escape_at.get_unchecked_mut(lists.escapes) = block as u16;
            *scratch.escapes.get_unchecked_mut(lists.escapes) = escapes;
            lists.escapes += usize::from(escapes != 0);
            *scratch.high_at.get_unchecked_mut(lists.high) = block as u16;
            lists.high += usize::from(masks.high != 0);
            *scratch.starts.get_unchecked_mut(block) = starts;
            I::put(&mut scratch.tokens, lists.tokens, bytes, starts, prim_starts);
            lists.tokens += starts.count_ones() as usize;
            if cut {
                at = Text::default();
                break;
            }
        }
    }
    *text = at;
    lists
}
