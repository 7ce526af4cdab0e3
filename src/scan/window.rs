//! One window of a body: what is known of it, and the order in which the stages look at it.
//!
//! A window is up to [`BLOCKS`] blocks of 64 bytes. What outlives it is in [`Carry`], so that strings, numbers,
//! brackets and characters may straddle windows; what it found is in [`Scratch`] until the next one.
use crate::checks;
use crate::grammar::{self, Grammar};
use crate::kernel::{Isa, Tokens};
use crate::stage1::tokenize;
use core::cell::Cell;
use core::ops::{Deref, DerefMut};

/// Most blocks of a window. Windows of 8 KiB keep all of `Scratch` that is touched within the first-level
/// cache.
pub(crate) const BLOCKS: usize = 128;

/// Bytes behind a window that must be readable: a number in its last block may be looked at with what follows.
pub(crate) const AHEAD_BYTES: usize = 64;

/// Bytes of the body's end that are copied at most: the last whole block, what is behind it, and 64 bytes before,
/// for a character or number may have begun there.
const COPIED_BYTES: usize = 192;

/// Where the end of a body is copied to, with blanks behind it, so that nothing beyond the body is ever read. The
/// block that is not whole stands behind [`COPIED_BYTES`].
#[repr(C, align(64))]
pub(crate) struct Tail([u8; COPIED_BYTES + 64 + 2 * AHEAD_BYTES]);

impl Tail {
    pub const fn new() -> Tail {
        Tail([b' '; COPIED_BYTES + 64 + 2 * AHEAD_BYTES])
    }
}

/// What is to be looked at.
pub(crate) struct Job {
    /// The window's bytes in the body.
    pub body: *const u8,
    /// Bytes of the body before the window.
    pub before: usize,
    /// Bytes of the body from the window's first on.
    pub left: usize,
    /// Blocks, at most [`BLOCKS`]; of the last one the body may have only a part, or nothing. Where the body does
    /// not end in this window there is at least one block more of it.
    pub blocks: usize,
    /// The body's end in a copy with blanks behind: where block 0 would stand. Readable, when it is made, from the
    /// last whole block on, and the 64 bytes before as far as the body has them; behind the last block
    /// [`AHEAD_BYTES`].
    copy: *mut u8,
    /// Whether it is made.
    copied: Cell<bool>,
    /// Line feeds are tokens, and end events; else closing brackets do, and line feeds are blank.
    pub lines: bool,
}

impl Job {
    /// The window of `body` that begins at `from`, as much of it as there is. `more`: the body has more bytes than
    /// are here, of which there are at least two blocks.
    #[inline(always)]
    pub fn new(body: &[u8], from: usize, more: bool, lines: bool, tail: &mut Tail) -> Job {
        let left = body.len() - from;
        let (at, whole) = (body.as_ptr().wrapping_add(from), left / 64);
        let mut job = Job {
            body: at,
            before: from,
            left,
            blocks: whole + 1,
            copy: core::ptr::null_mut(),
            copied: Cell::new(false),
            lines,
        };
        if job.blocks > BLOCKS || more {
            // At least one block more is left: the kernel may look ahead into it.
            job.blocks = (whole - 1).min(BLOCKS);
        } else {
            job.copy = tail.0.as_mut_ptr().wrapping_add(COPIED_BYTES).wrapping_sub(64 * whole);
        }
        job
    }

    /// Blocks of which the body has every byte.
    #[inline(always)]
    pub fn whole(&self) -> usize {
        self.left / 64
    }

    /// The end of the body, copied when it is first asked for and ended by a line feed: the last line ends there
    /// whether it has its end or not.
    ///
    /// # Safety
    /// The job is as its fields say, and the body ends in this window.
    #[inline(always)]
    unsafe fn copy(&self) -> *const u8 {
        if !self.copied.replace(true) {
            // SAFETY: passed on.
            unsafe { self.copy_tail() };
        }
        self.copy
    }

    /// In pieces of 64 bytes that overlap, for lengths of all kinds are slow to copy.
    ///
    /// # Safety
    /// As of [`Job::copy`].
    #[inline(never)]
    unsafe fn copy_tail(&self) {
        let end = self.copy.wrapping_add(self.left);
        let bytes = (self.before + self.left).min(COPIED_BYTES);
        // SAFETY: the body has these bytes before its end, and `Job::new` made room for as many before `end`, and
        // for 128 behind the block that it is in.
        unsafe {
            let (from, to) = (self.body.add(self.left).sub(bytes), end.sub(bytes));
            if bytes >= 64 {
                for offset in [0, (bytes - 64).min(64), bytes - 64] {
                    to.add(offset)
                        .cast::<[u64; 8]>()
                        .write_unaligned(from.add(offset).cast::<[u64; 8]>().read_unaligned());
                }
            } else {
                core::ptr::copy_nonoverlapping(from, to, bytes);
            }
            *end = b'\n';
            end.add(1).cast::<[u64; 16]>().write_unaligned([0x2020_2020_2020_2020; 16]);
        }
    }

    /// The 64 bytes of the window from `offset` on. Where the body ends before, a line feed and blanks follow.
    ///
    /// # Safety
    /// The job is as its fields say; the body has a byte at `offset`, or ends there.
    #[inline(always)]
    pub unsafe fn load<I: Isa>(&self, offset: isize) -> I::Block {
        let at = self.body.wrapping_offset(offset);
        let left = self.left as isize - offset;
        // SAFETY: see above; the copy goes so far back.
        unsafe {
            if left >= 64 {
                return I::load(at);
            }
            match I::load_part(at, left as usize, self.before + self.left) {
                Some(block) => block,
                None => I::load(self.copy().wrapping_offset(offset)),
            }
        }
    }

    /// Where a block can be read, what the checks need behind it, and three bytes before it if the body has them.
    ///
    /// # Safety
    /// The job is as its fields say, and `block` one of the window's.
    #[inline(always)]
    pub unsafe fn block(&self, block: usize) -> *const u8 {
        let body_has_it = 64 * block + 64 + AHEAD_BYTES <= self.left;
        // SAFETY: see above; who has no such bytes has the last window.
        let from = if body_has_it { self.body } else { unsafe { self.copy() } };
        from.wrapping_add(64 * block)
    }
}

/// What one window leaves to the next.
#[derive(Clone, Copy, Default)]
pub(crate) struct Carry {
    pub text: Text,
    /// The window ended in, or just behind, a number or word.
    pub number_open: bool,
    pub grammar: Grammar,
    /// Where the other half of a surrogate is due: bytes from the window's start to its `u`.
    pub low_half: usize,
}

/// What one block leaves to the next.
#[derive(Clone, Copy, Default)]
pub(crate) struct Text {
    /// 1: the next byte is escaped.
    pub escape: u64,
    /// 1: the next byte is inside a string.
    pub inside: u64,
    /// 1: the byte before is one of a number or word.
    pub prim: u64,
}

/// A mask for each block.
///
/// Somewhat longer than that: where a processor looks for what was just written it goes by the lower twelve bits
/// of addresses, so the same block must not stand 4096 bytes apart in two columns (Zen 5: see its optimization
/// guide on forwarding).
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Column(pub [u64; BLOCKS + 8]);

impl Column {
    const EMPTY: Column = Column([0; BLOCKS + 8]);
}

impl Deref for Column {
    type Target = [u64; BLOCKS + 8];
    #[inline(always)]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Column {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// Classes of bytes: `"`.
pub(crate) const QUOTE: usize = 0;
/// `\`
pub(crate) const SLASH: usize = 1;
/// `{ } [ ] : ,`; in control characters anything.
pub(crate) const PUNCT: usize = 2;
/// Space, tab, carriage return and line feed.
pub(crate) const BLANK: usize = 3;
/// Line feed.
pub(crate) const FEED: usize = 4;
/// Below 0x20.
pub(crate) const CONTROL: usize = 5;
/// From 0x80 up.
pub(crate) const HIGH: usize = 6;
/// `0` to `9`
pub(crate) const DIGIT: usize = 7;
/// `0`
pub(crate) const ZERO: usize = 8;
pub(crate) const CLASSES: usize = 9;

/// What is where in some blocks, by class.
pub(crate) type Columns<W> = [W; CLASSES];

/// Room for what is where in all blocks: columns, or what a kernel makes columns of.
#[repr(C, align(64))]
pub(crate) struct Classes(pub Columns<Column>);

impl Classes {
    /// As rows of eight masks, a row a block.
    #[inline(always)]
    pub fn rows(&mut self) -> *mut [u64; 8] {
        const { assert!(size_of::<Classes>() >= 64 * BLOCKS) };
        (&raw mut self.0).cast()
    }

    /// Those of the blocks from `first` on.
    #[inline(always)]
    pub fn rows_from(&self, first: usize) -> *const [u64; 8] {
        (&raw const self.0).cast::<[u64; 8]>().wrapping_add(first)
    }
}

/// A mask for each block and for the one before, which is number 0; the window's first one begins where a column
/// does.
#[repr(C, align(64))]
pub(crate) struct Led {
    lead: [u64; 7],
    masks: [u64; BLOCKS + 1 + 8],
}

impl Deref for Led {
    type Target = [u64; BLOCKS + 1 + 8];
    #[inline(always)]
    fn deref(&self) -> &Self::Target {
        &self.masks
    }
}

impl DerefMut for Led {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.masks
    }
}

/// What a window held. Made once, reused for ever.
pub(crate) struct Scratch {
    pub tokens: Tokens,
    pub classes: Classes,
    /// Where tokens begin, block by block.
    pub starts: Column,
    /// Which bytes belong to numbers and words: of the block before the window, then block by block.
    pub prims: Led,
    /// Blocks looked at.
    pub blocks: usize,
    /// Which bytes follow a backslash in a string, block by block.
    pub escapes: Column,
    /// Line feeds outside strings, block by block.
    pub feeds: Column,
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
pub(crate) fn each_block([low, high]: &Blocks) -> EachBlock {
    const { assert!(BLOCKS == 128) };
    EachBlock { low: *low, high: *high }
}

/// See [`each_block`]. Two words that are never seen as one: a load of both waits until what was stored into one of
/// them just now has reached the cache.
pub(crate) struct EachBlock {
    low: u64,
    high: u64,
}

impl Iterator for EachBlock {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.low != 0 {
            let block = self.low.trailing_zeros() as usize;
            self.low &= self.low - 1;
            return Some(block);
        }
        if self.high != 0 {
            let block = 64 + self.high.trailing_zeros() as usize;
            self.high &= self.high - 1;
            return Some(block);
        }
        None
    }
}

impl Scratch {
    pub const fn new() -> Scratch {
        Scratch {
            tokens: Tokens([[0; 4]; BLOCKS * 2 + 16]),
            classes: Classes([Column::EMPTY; CLASSES]),
            starts: Column::EMPTY,
            prims: Led { lead: [0; 7], masks: [0; BLOCKS + 1 + 8] },
            blocks: 0,
            escapes: Column::EMPTY,
            feeds: Column::EMPTY,
            prim_blocks: [0; BLOCKS / 64],
            escape_blocks: [0; BLOCKS / 64],
            high_blocks: [0; BLOCKS / 64],
            feed_blocks: [0; BLOCKS / 64],
            ends: [0; 64 * BLOCKS],
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

    /// The window ends in `block`: what was found in later ones is none of it.
    #[cold]
    pub fn forget_behind(&mut self, block: usize) {
        for (group, kept) in [(0, block), (1, block.wrapping_sub(64))] {
            let keep = if kept < 64 { u64::MAX >> (63 - kept) } else { u64::MAX * u64::from(block >= 64) };
            for set in
                [&mut self.prim_blocks, &mut self.escape_blocks, &mut self.high_blocks, &mut self.feed_blocks]
            {
                set[group] &= keep;
            }
        }
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
        match job.lines {
            true => look::<I, true>(job, carry, scratch),
            false => look::<I, false>(job, carry, scratch),
        }
    }
}

/// # Safety
/// As of [`fill`].
#[inline(always)]
unsafe fn look<I: Isa, const LINES: bool>(job: &Job, carry: &mut Carry, scratch: &mut Scratch) {
    // SAFETY: passed on.
    unsafe {
        scratch.suspects = [0; BLOCKS / 64];
        scratch.done = job.blocks * 64;
        scratch.tokens.0[0] = [0; 4];
        if carry.text.prim == 0 {
            scratch.prims[0] = 0;
            carry.number_open = false;
        }
        let (tokens, held) = tokenize::<I, LINES>(job, &mut carry.text, scratch);
        if LINES {
            list_ends(scratch);
        }
        checks::numbers::<I>(job, &mut carry.number_open, scratch);
        checks::escapes::<I>(job, &mut carry.low_half, scratch);
        checks::utf8::<I>(job, scratch);
        let more = 64 * job.blocks <= job.left;
        grammar::check::<I, LINES>((tokens, held, more), &mut carry.grammar, scratch);
        // Places that outlive the window count from the next one's start.
        carry.low_half = carry.low_half.wrapping_sub(scratch.done);
    }
}

#[inline(always)]
fn list_ends(scratch: &mut Scratch) {
    let mut len = 0;
    for block in each_block(&scratch.feed_blocks) {
        let mut feed = scratch.feeds[block];
        while feed != 0 {
            scratch.ends[len] = (64 * block) as u16 + feed.trailing_zeros() as u16;
            len += 1;
            feed &= feed - 1;
        }
    }
    scratch.ends_len = len;
}
