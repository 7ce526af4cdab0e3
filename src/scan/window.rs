//! One window of a body: stage 1, which turns bytes into tokens, and the order of what follows.
//!
//! A window is up to [`BLOCKS`] blocks of 64 bytes. What outlives it is in [`Carry`], so that strings, numbers,
//! brackets and characters may straddle windows; what it found is in [`Scratch`] until the next one.
//!
//! Stage 1 has no branch that sound text ever takes: what a closer look may need is stored for every block, and
//! which blocks need it is a bit shifted into a set.
use crate::checks;
use crate::fields;
use crate::grammar::{self, Grammar};
use crate::kernel::{Isa, Tokens};

/// Most blocks of a window. Windows of 8 KiB keep all of `Scratch` that is touched within the first-level
/// cache.
pub(crate) const BLOCKS: usize = 128;

/// Bytes behind a window that must be readable: a number in its last block may be looked at with what follows.
pub(crate) const AHEAD_BYTES: usize = 64;

/// What is to be looked at.
pub(crate) struct Job {
    /// The window's bytes in the body, of which the first `direct` blocks are readable.
    pub body: *const u8,
    /// Blocks readable at `body`.
    pub direct: usize,
    /// The same bytes in a copy with blanks behind: where block 0 would stand. Readable from the last direct
    /// block on, and the 64 bytes before as far as the body has them; behind the last block [`AHEAD_BYTES`].
    /// The copy is short, for what was written in other portions is slow to read.
    pub copy: *const u8,
    /// Blocks, at most [`BLOCKS`].
    pub blocks: usize,
    /// At least three bytes before the window are readable.
    pub has_lead: bool,
    /// Line feeds are tokens, and end events; else closing brackets do, and line feeds are blank.
    pub lines: bool,
    /// Names at the events' own depth are wanted.
    pub fields: bool,
}

impl Job {
    /// Where `len` bytes of the window can be read from `offset` on.
    #[inline(always)]
    pub fn at(&self, offset: isize, len: usize) -> *const u8 {
        let from = if offset + len as isize <= 64 * self.direct as isize { self.body } else { self.copy };
        from.wrapping_offset(offset)
    }

    /// Where a block and what the checks need behind it can be read.
    #[inline(always)]
    pub fn block(&self, block: usize) -> *const u8 {
        self.at(64 * block as isize, 64 + AHEAD_BYTES)
    }
}

/// What one window leaves to the next.
#[derive(Clone, Copy, Default)]
pub(crate) struct Carry {
    pub text: Text,
    /// The window ended in, or just behind, a number or word.
    pub number_open: bool,
    pub grammar: Grammar,
    pub depth: fields::Depth,
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
    /// 1: the byte before is one of a number or word.
    prim: u64,
}

/// What a window held. Made once, reused for ever.
pub(crate) struct Scratch {
    pub tokens: Tokens,
    /// Where tokens begin, block by block.
    pub starts: [u64; BLOCKS],
    /// Which bytes belong to numbers and words: of the block before the window, then block by block.
    pub prims: [u64; BLOCKS + 2],
    /// Blocks looked at.
    pub blocks: usize,
    /// Which bytes follow a backslash in a string, block by block.
    pub escapes: [u64; BLOCKS],
    /// Line feeds outside strings, block by block.
    pub feeds: [u64; BLOCKS],
    /// Blocks with numbers and words that need a closer look.
    pub prim_blocks: Blocks,
    /// Blocks with escapes.
    pub escape_blocks: Blocks,
    /// Blocks with bytes beyond ASCII.
    pub high_blocks: Blocks,
    /// Blocks with line feeds.
    pub feed_blocks: Blocks,
    /// Where events end, in bytes from the window's start: line feeds, or the last closing brackets.
    pub ends: [u16; 64 * BLOCKS],
    pub ends_len: usize,
    /// Where wanted, which tokens are names at the events' own depth; and where these begin, block by block.
    pub key_tokens: [u64; BLOCKS + 1],
    pub keys: [u64; BLOCKS],
    /// Blocks in which something is odd.
    pub suspects: Blocks,
    /// There are raw line breaks between tokens.
    pub breaks: bool,
    /// Bytes looked at: all, unless a line feed was found in a string. The text starts anew behind them.
    pub done: usize,
}

/// A set of blocks, a bit each.
pub(crate) type Blocks = [u64; BLOCKS / 64];

/// The blocks of a set, in order.
#[inline(always)]
pub(crate) fn each_block(blocks: Blocks) -> impl Iterator<Item = usize> {
    blocks.into_iter().enumerate().flat_map(|(group, mut bits)| {
        core::iter::from_fn(move || {
            let block = 64 * group + bits.trailing_zeros() as usize;
            let some = bits != 0;
            bits &= bits.wrapping_sub(1);
            some.then_some(block)
        })
    })
}

impl Scratch {
    pub const fn new() -> Scratch {
        Scratch {
            tokens: Tokens([[0; 4]; BLOCKS * 2 + 16]),
            starts: [0; BLOCKS],
            prims: [0; BLOCKS + 2],
            blocks: 0,
            escapes: [0; BLOCKS],
            feeds: [0; BLOCKS],
            prim_blocks: [0; BLOCKS / 64],
            escape_blocks: [0; BLOCKS / 64],
            high_blocks: [0; BLOCKS / 64],
            feed_blocks: [0; BLOCKS / 64],
            ends: [0; 64 * BLOCKS],
            ends_len: 0,
            key_tokens: [0; BLOCKS + 1],
            keys: [0; BLOCKS],
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

/// Looks at a window.
///
/// # Safety
/// The processor has the features of `I`; `job` is as its fields say.
#[inline(always)]
pub(crate) unsafe fn fill<I: Isa>(job: &Job, carry: &mut Carry, scratch: &mut Scratch) {
    debug_assert!(job.blocks <= BLOCKS);
    // SAFETY: passed on.
    unsafe {
        match (job.lines, job.fields) {
            (true, false) => look::<I, true, false>(job, carry, scratch),
            (true, true) => look::<I, true, true>(job, carry, scratch),
            (false, false) => look::<I, false, false>(job, carry, scratch),
            (false, true) => look::<I, false, true>(job, carry, scratch),
        }
    }
}

/// # Safety
/// As of [`fill`].
#[inline(always)]
unsafe fn look<I: Isa, const LINES: bool, const FIELDS: bool>(
    job: &Job,
    carry: &mut Carry,
    scratch: &mut Scratch,
) {
    // SAFETY: passed on.
    unsafe {
        scratch.suspects = [0; BLOCKS / 64];
        scratch.done = job.blocks * 64;
        scratch.tokens.0[0] = [0; 4];
        if carry.text.prim == 0 {
            scratch.prims[0] = 0;
            carry.number_open = false;
        }
        let tokens = tokenize::<I, LINES>(job, &mut carry.text, scratch);
        if LINES {
            list_ends(scratch);
        }
        checks::numbers::<I>(job, &mut carry.number_open, scratch);
        checks::escapes::<I>(job, &mut carry.low_half, scratch);
        checks::utf8::<I>(job, scratch);
        grammar::check::<I, LINES, FIELDS>(tokens, &mut carry.grammar, &mut carry.depth, scratch);
        if FIELDS {
            fields::place::<I>(scratch);
        }
        // Places that outlive the window count from the next one's start.
        carry.low_half = carry.low_half.wrapping_sub(scratch.done);
    }
}

#[inline(always)]
fn list_ends(scratch: &mut Scratch) {
    let mut len = 0;
    for block in each_block(scratch.feed_blocks) {
        let mut feed = scratch.feeds[block];
        while feed != 0 {
            scratch.ends[len] = (64 * block) as u16 + feed.trailing_zeros() as u16;
            len += 1;
            feed &= feed - 1;
        }
    }
    scratch.ends_len = len;
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

/// The sets that stage 1 makes: a bit for each block, the newest lowest.
#[derive(Clone, Copy, Default)]
struct Sets {
    prim: u64,
    escape: u64,
    high: u64,
    feed: u64,
}

impl Sets {
    /// Puts them where block `i` is bit `i`; `blocks` were seen.
    #[inline(always)]
    fn keep(self, group: usize, blocks: usize, scratch: &mut Scratch) {
        let turn = |set: u64| if blocks == 0 { 0 } else { set.reverse_bits() >> (64 - blocks) };
        scratch.prim_blocks[group] = turn(self.prim);
        scratch.escape_blocks[group] = turn(self.escape);
        scratch.high_blocks[group] = turn(self.high);
        scratch.feed_blocks[group] = turn(self.feed);
    }
}

/// Stage 1; returns the number of tokens.
///
/// # Safety
/// As of [`fill`].
#[inline(always)]
unsafe fn tokenize<I: Isa, const LINES: bool>(job: &Job, text: &mut Text, scratch: &mut Scratch) -> usize {
    let (mut tokens, mut breaks, mut at) = (0, 0, *text);
    let (mut block, mut cut) = (0, false);
    for group in 0..BLOCKS / 64 {
        let (mut sets, first) = (Sets::default(), block);
        let end = if cut { block } else { job.blocks.min(64 * (group + 1)) };
        while block < end {
            // SAFETY: the block lies in the window, and so does its place in the tables.
            cut = unsafe {
                step::<I, LINES>(job, block, &mut at, &mut sets, &mut tokens, &mut breaks, scratch)
            };
            block += 1;
            if cut {
                at = Text::default();
                break;
            }
        }
        sets.keep(group, block - first, scratch);
    }
    (scratch.blocks, scratch.breaks) = (block, breaks != 0);
    *text = at;
    tokens
}

/// One block; returns whether the window ends in it.
///
/// # Safety
/// As of [`fill`]; `block` is less than the job's.
#[inline(always)]
unsafe fn step<I: Isa, const LINES: bool>(
    job: &Job,
    block: usize,
    at: &mut Text,
    sets: &mut Sets,
    tokens: &mut usize,
    breaks: &mut u64,
    scratch: &mut Scratch,
) -> bool {
    const LAST: u64 = 1 << 63;
    // SAFETY: see above.
    unsafe {
        let bytes = I::load(job.at(64 * block as isize, 64));
        let masks = I::masks(bytes);
        let escaped = escaped(masks.slash, &mut at.escape);
        let quote = masks.quote & !escaped;
        let inside = I::prefix_xor(quote) ^ at.inside;
        at.inside = ((inside as i64) >> 63) as u64;
        let mut prim = !(inside | quote | masks.dull);
        let mut prim_starts = prim & !(prim << 1 | at.prim);
        let mut starts = masks.punct & !inside | quote & inside | prim_starts;
        let mut feed = masks.feed & !inside;
        let mut escapes = escaped & inside;
        let mut cut = false;
        if masks.control & inside != 0 {
            scratch.suspect(block);
            let feeds = masks.feed & inside;
            if LINES && feeds != 0 {
                // The line ends here, whatever the quotes say; what follows is looked at afresh.
                let place = feeds.trailing_zeros();
                let keep = (1 << place) - 1;
                (prim, prim_starts, starts) = (prim & keep, prim_starts & keep, starts & keep);
                (feed, escapes) = (feed & keep | 1 << place, escapes & keep);
                scratch.done = 64 * block + place as usize + 1;
                cut = true;
            }
        }
        if LINES {
            starts |= feed;
            *scratch.feeds.get_unchecked_mut(block) = feed;
            sets.feed = sets.feed << 1 | u64::from(feed != 0);
            // Tabs too: telling them apart is left to the few events in such windows.
            *breaks |= masks.control & !masks.feed;
        } else {
            *breaks |= masks.control & !inside;
        }
        // Plain integers need no closer look: digits alone, and no zero with a digit behind it.
        let odd = (prim & !masks.digit) | (prim_starts & masks.zero & (prim >> 1 | LAST));
        *scratch.prims.get_unchecked_mut(block + 1) = prim;
        sets.prim = sets.prim << 1 | u64::from(odd != 0);
        at.prim = prim >> 63;
        *scratch.escapes.get_unchecked_mut(block) = escapes;
        sets.escape = sets.escape << 1 | u64::from(escapes != 0);
        sets.high = sets.high << 1 | u64::from(masks.high != 0);
        *scratch.starts.get_unchecked_mut(block) = starts;
        I::put(&mut scratch.tokens, *tokens, bytes, starts, prim_starts);
        *tokens += starts.count_ones() as usize;
        cut
    }
}
