//! One window of a body: what is known of it, and the order in which the stages look at it.
//!
//! A window is up to [`BLOCKS`] blocks of 64 bytes. What outlives it is in [`Carry`], so that strings, numbers,
//! brackets and characters may straddle windows; what it found is in [`Scratch`] until the next one.
use crate::checks;
use crate::grammar::{self, Grammar};
use crate::kernel::{Isa, Tokens};
use crate::stage1::tokenize;

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

    /// The block in which the last body ended, if it was not whole, with blanks behind the body.
    #[inline(always)]
    pub fn last_block(&self) -> &[u8; 64] {
        self.0[COPIED_BYTES..].first_chunk().expect("a block")
    }
}

/// What is to be looked at.
pub(crate) struct Job {
    /// The window's bytes in the body, of which the first `direct` blocks are readable.
    pub body: *const u8,
    /// Bytes of the body before the window.
    pub before: usize,
    /// Bytes of the body from the window's first on.
    pub left: usize,
    /// Blocks readable at `body`.
    pub direct: usize,
    /// Blocks, at most [`BLOCKS`]; at most one more than are direct.
    pub blocks: usize,
    /// The same bytes in a copy with blanks behind: where block 0 would stand. Readable from the last direct
    /// block on, and the 64 bytes before as far as the body has them; behind the last block [`AHEAD_BYTES`].
    pub copy: *const u8,
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
            direct: whole,
            blocks: whole + 1,
            copy: core::ptr::null(),
            lines,
        };
        if job.blocks > BLOCKS || more {
            // At least one block more is left: the kernel may look ahead into it.
            job.blocks = (whole - 1).min(BLOCKS);
            job.direct = job.blocks + 1;
        } else {
            job.copy = tail.0.as_mut_ptr().wrapping_add(COPIED_BYTES).wrapping_sub(64 * whole);
        }
        job
    }

    /// Whether the body ends in this window.
    #[inline(always)]
    fn is_last(&self) -> bool {
        self.blocks > self.direct
    }

    /// Copies the end of the body, ended by a line feed: the last line ends there whether it has its end or not.
    /// In pieces of 64 bytes that overlap, for lengths of all kinds are slow to copy.
    ///
    /// # Safety
    /// The job is as its fields say, and the last.
    #[inline(always)]
    unsafe fn copy_tail(&self) {
        let end = self.copy.wrapping_add(self.left).cast_mut();
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

    /// The body's last block, which is not whole.
    ///
    /// # Safety
    /// The job is as its fields say, and the last; its tail is copied.
    #[inline(always)]
    pub unsafe fn last<I: Isa>(&self) -> I::Block {
        let (at, whole) = (64 * self.direct, self.left / 64);
        debug_assert_eq!(self.direct, whole);
        // SAFETY: see above.
        unsafe { I::load_part(self.body.add(at), self.left - at, self.copy.wrapping_add(at)) }
    }

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
pub(crate) type Column = [u64; BLOCKS];

/// What is where, a column for each class of bytes.
#[repr(C, align(64))]
pub(crate) struct Classes {
    /// `"`
    pub quote: Column,
    /// `\`
    pub slash: Column,
    /// `{ } [ ] : ,`; in control characters anything.
    pub punct: Column,
    /// Space, tab, carriage return and line feed.
    pub blank: Column,
    /// Line feed.
    pub feed: Column,
    /// Below 0x20.
    pub control: Column,
    /// From 0x80 up.
    pub high: Column,
    /// `0` to `9`
    pub digit: Column,
    /// `0`
    pub zero: Column,
}

/// What a window held. Made once, reused for ever.
pub(crate) struct Scratch {
    pub tokens: Tokens,
    pub classes: Classes,
    /// Where tokens begin, block by block.
    pub starts: Column,
    /// Which bytes belong to numbers and words: of the block before the window, then block by block.
    pub prims: [u64; BLOCKS + 2],
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
            classes: Classes {
                quote: [0; BLOCKS],
                slash: [0; BLOCKS],
                punct: [0; BLOCKS],
                blank: [0; BLOCKS],
                feed: [0; BLOCKS],
                control: [0; BLOCKS],
                high: [0; BLOCKS],
                digit: [0; BLOCKS],
                zero: [0; BLOCKS],
            },
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
        if job.is_last() {
            job.copy_tail();
        }
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
        grammar::check::<I, LINES>(tokens, &mut carry.grammar, scratch);
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
