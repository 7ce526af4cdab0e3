//! A block as several registers of bytes: what AVX2, SSE4.2 and NEON have in common.
use super::{Isa, Kinds, Numerals, Tokens, Words};
use crate::window::{
    BLANK, CLASSES, CONTROL, Classes, Columns, DIGIT, FEED, HIGH, PUNCT, QUOTE, SLASH, ZERO,
};
use core::marker::PhantomData;

/// A register of bytes.
///
/// # Safety
/// As of [`super::Isa`].
#[allow(dead_code)]
pub(crate) trait Lanes: Copy {
    const BYTES: usize;
    /// What [`ByBytes`] takes for the masks of neighbouring blocks.
    type Words: Words;
    unsafe fn load(at: *const u8) -> Self;
    unsafe fn store(self, at: *mut u8);
    unsafe fn splat(byte: u8) -> Self;
    /// A table of 16 bytes, in each half of a wider register.
    unsafe fn table(of: &[u8; 16]) -> Self;
    unsafe fn eq(self, other: Self) -> Self;
    unsafe fn min(self, other: Self) -> Self;
    unsafe fn and(self, other: Self) -> Self;
    unsafe fn or(self, other: Self) -> Self;
    unsafe fn xor(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    /// Subtraction that stops at zero.
    unsafe fn sub_to_zero(self, other: Self) -> Self;
    /// The high half of each byte.
    unsafe fn high_nibble(self) -> Self;
    /// `self` is a table: an entry for the low nibble of each byte of `at`, zero for bytes from 0x80 up.
    unsafe fn look_up(self, at: Self) -> Self;
    /// The top bit of each byte.
    unsafe fn tops(self) -> u64;
    /// Bit `BIT` of each byte.
    unsafe fn bits<const BIT: i32>(self) -> u64;
}

/// `N` registers make a block.
pub(crate) type Block<V, const N: usize> = [V; N];

#[inline(always)]
pub(crate) unsafe fn load<V: Lanes, const N: usize>(at: *const u8) -> Block<V, N> {
    // SAFETY: 64 bytes are readable at `at`, and N registers have 64.
    unsafe {
        let mut block = [V::load(at); N];
        for (i, lane) in block.iter_mut().enumerate().skip(1) {
            *lane = V::load(at.add(i * V::BYTES));
        }
        block
    }
}

/// The mask of a block from one of each register.
#[inline(always)]
pub(crate) fn gather<V: Lanes, const N: usize>(block: Block<V, N>, tops: impl Fn(V) -> u64) -> u64 {
    let mut mask = 0;
    for (i, lane) in block.into_iter().enumerate() {
        mask |= tops(lane) << (i * V::BYTES);
    }
    mask
}

/// White space is where a byte equals its entry: the table has each at the place of its own low nibble, and
/// elsewhere a byte of another low nibble.
pub(crate) const BLANKS: [u8; 16] =
    [0x20, 100, 100, 100, 17, 100, 113, 2, 100, 9, 10, 112, 100, 13, 100, 100];
/// The same for punctuation, with bit 5 set so that `[` and `{` meet.
pub(crate) const PUNCTS: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x3a, 0x7b, 0x2c, 0x7d, 0, 0];
/// What may follow a backslash, by low nibble: the byte itself; for `"` and `r`, which share one, see there.
pub(crate) const ESCAPES: [u8; 16] = [1, 0, b'"', 0, b't', 0, b'f', 0, 1, 0, 1, 1, b'\\', 1, b'n', b'/'];

/// What `by` makes of each register.
#[inline(always)]
fn turn<V: Lanes, const N: usize>(mut block: Block<V, N>, by: impl Fn(V) -> V) -> Block<V, N> {
    for lane in &mut block {
        *lane = by(*lane);
    }
    block
}

/// Where the masks of a block go, one for each class of bytes.
///
/// # Safety
/// As of [`super::Isa`].
trait Masks<V: Lanes, const N: usize> {
    /// The top bits of `lanes` are the mask of `class`.
    unsafe fn keep(&mut self, class: usize, lanes: Block<V, N>);
}

/// Register by register, as pieces of block `at` in a table: putting them together first would take a shift and an
/// `or` each.
struct Pieces<'c> {
    classes: &'c mut Classes,
    at: usize,
}

impl<V: Lanes, const N: usize> Masks<V, N> for Pieces<'_> {
    #[inline(always)]
    unsafe fn keep(&mut self, class: usize, lanes: Block<V, N>) {
        // SAFETY: N registers have the 64 bytes of a block, which has its place in the table.
        unsafe {
            let out = self.classes.0.get_unchecked_mut(class).0.as_mut_ptr().add(self.at).cast::<u8>();
            for (i, lane) in lanes.into_iter().enumerate() {
                let bits = lane.tops();
                if V::BYTES == 32 {
                    out.cast::<u32>().add(i).write(bits as u32);
                } else {
                    out.cast::<u16>().add(i).write(bits as u16);
                }
            }
        }
    }
}

impl<V: Lanes, const N: usize> Masks<V, N> for Columns<u64> {
    #[inline(always)]
    unsafe fn keep(&mut self, class: usize, lanes: Block<V, N>) {
        // SAFETY: passed on.
        self[class] = gather(lanes, |lane| unsafe { lane.tops() });
    }
}

/// # Safety
/// As of [`super::Isa`].
#[inline(always)]
unsafe fn sort<V: Lanes, const N: usize>(block: Block<V, N>, masks: &mut impl Masks<V, N>) {
    // SAFETY: the caller's processor has these lanes.
    unsafe {
        let (blanks, puncts) = (V::table(&BLANKS), V::table(&PUNCTS));
        let (bit5, below, nine, naught) = (V::splat(0x20), V::splat(0x1f), V::splat(9), V::splat(b'0'));
        let (quote, slash, feed) = (V::splat(b'"'), V::splat(b'\\'), V::splat(b'\n'));
        masks.keep(QUOTE, turn(block, |lane| lane.eq(quote)));
        masks.keep(SLASH, turn(block, |lane| lane.eq(slash)));
        masks.keep(FEED, turn(block, |lane| lane.eq(feed)));
        masks.keep(ZERO, turn(block, |lane| lane.eq(naught)));
        masks.keep(CONTROL, turn(block, |lane| lane.min(below).eq(lane)));
        masks.keep(HIGH, block);
        masks.keep(PUNCT, turn(block, |lane| puncts.look_up(lane).eq(lane.or(bit5))));
        masks.keep(BLANK, turn(block, |lane| blanks.look_up(lane).eq(lane)));
        let value = turn(block, |lane| lane.sub(naught));
        masks.keep(DIGIT, turn(value, |lane| lane.min(nine).eq(lane)));
    }
}

/// [`Isa::classify`]
///
/// # Safety
/// As of [`super::Isa`].
#[inline(always)]
pub(crate) unsafe fn classify<V: Lanes, const N: usize>(
    block: Block<V, N>,
    classes: &mut Classes,
    at: usize,
) {
    // SAFETY: passed on.
    unsafe { sort(block, &mut Pieces { classes, at }) }
}

/// [`Isa::masks`]
///
/// # Safety
/// As of [`super::Isa`].
#[inline(always)]
pub(crate) unsafe fn masks<V: Lanes, const N: usize>(block: Block<V, N>) -> Columns<u64> {
    let mut masks = [0; CLASSES];
    // SAFETY: passed on.
    unsafe { sort(block, &mut masks) };
    masks
}

/// [`Isa::columns`]
///
/// # Safety
/// As of [`super::Isa`].
#[inline(always)]
pub(crate) unsafe fn columns<W: Words>(classes: &Classes, first: usize) -> Columns<W> {
    // SAFETY: the blocks from `first` on lie in the table.
    unsafe {
        let mut columns = [W::splat(0); CLASSES];
        for (column, class) in columns.iter_mut().zip(&classes.0) {
            *column = W::load(class.0.as_ptr().add(first));
        }
        columns
    }
}

#[inline(always)]
pub(crate) unsafe fn numerals<V: Lanes, const N: usize>(block: Block<V, N>) -> Numerals {
    // SAFETY: the caller's processor has these lanes.
    unsafe {
        let equals = |byte: u8| {
            let wanted = V::splat(byte);
            gather(block, |lane| lane.eq(wanted).tops())
        };
        let (bit5, e) = (V::splat(0x20), V::splat(b'e'));
        let (nine, naught) = (V::splat(9), V::splat(b'0'));
        Numerals {
            digit: gather(block, |lane| {
                let value = lane.sub(naught);
                value.min(nine).eq(value).tops()
            }),
            zero: equals(b'0'),
            dot: equals(b'.'),
            exp: gather(block, |lane| lane.or(bit5).eq(e).tops()),
            minus: equals(b'-'),
            plus: equals(b'+'),
        }
    }
}

#[inline(always)]
pub(crate) unsafe fn brackets<V: Lanes, const N: usize>(block: Block<V, N>) -> (u64, u64) {
    // SAFETY: the caller's processor has these lanes.
    unsafe {
        let (bit5, open, close) = (V::splat(0x20), V::splat(b'{'), V::splat(b'}'));
        let opens = gather(block, |lane| lane.or(bit5).eq(open).tops());
        (opens, gather(block, |lane| lane.or(bit5).eq(close).tops()))
    }
}

#[inline(always)]
pub(crate) unsafe fn escapes<V: Lanes, const N: usize>(block: Block<V, N>) -> (u64, u64) {
    // SAFETY: the caller's processor has these lanes.
    unsafe {
        let (table, b, r, u) = (V::table(&ESCAPES), V::splat(b'b'), V::splat(b'r'), V::splat(b'u'));
        let simple = gather(block, |lane| table.look_up(lane).eq(lane).or(lane.eq(b)).or(lane.eq(r)).tops());
        (simple, gather(block, |lane| lane.eq(u).tops()))
    }
}

const TOO_SHORT: u8 = 1 << 0;
const TOO_LONG: u8 = 1 << 1;
const OVERLONG_3: u8 = 1 << 2;
const TOO_LARGE: u8 = 1 << 3;
const SURROGATE: u8 = 1 << 4;
const OVERLONG_2: u8 = 1 << 5;
const TOO_LARGE_1000: u8 = 1 << 6;
const OVERLONG_4: u8 = 1 << 6;
const TWO_CONTS: u8 = 1 << 7;
const CARRY: u8 = TOO_SHORT | TOO_LONG | TWO_CONTS;

/// What may be wrong, by the high nibble of the byte before (Keiser and Lemire, "Validating UTF-8 in less than
/// one instruction per byte").
pub(crate) const FIRST_HIGH: [u8; 16] = [
    TOO_LONG,
    TOO_LONG,
    TOO_LONG,
    TOO_LONG,
    TOO_LONG,
    TOO_LONG,
    TOO_LONG,
    TOO_LONG,
    TWO_CONTS,
    TWO_CONTS,
    TWO_CONTS,
    TWO_CONTS,
    TOO_SHORT | OVERLONG_2,
    TOO_SHORT,
    TOO_SHORT | OVERLONG_3 | SURROGATE,
    TOO_SHORT | TOO_LARGE | TOO_LARGE_1000 | OVERLONG_4,
];
/// … by its low nibble.
pub(crate) const FIRST_LOW: [u8; 16] = [
    CARRY | OVERLONG_3 | OVERLONG_2 | OVERLONG_4,
    CARRY | OVERLONG_2,
    CARRY,
    CARRY,
    CARRY | TOO_LARGE,
    CARRY | TOO_LARGE | TOO_LARGE_1000,
    CARRY | TOO_LARGE | TOO_LARGE_1000,
    CARRY | TOO_LARGE | TOO_LARGE_1000,
    CARRY | TOO_LARGE | TOO_LARGE_1000,
    CARRY | TOO_LARGE | TOO_LARGE_1000,
    CARRY | TOO_LARGE | TOO_LARGE_1000,
    CARRY | TOO_LARGE | TOO_LARGE_1000,
    CARRY | TOO_LARGE | TOO_LARGE_1000,
    CARRY | TOO_LARGE | TOO_LARGE_1000 | SURROGATE,
    CARRY | TOO_LARGE | TOO_LARGE_1000,
    CARRY | TOO_LARGE | TOO_LARGE_1000,
];
/// … by the high nibble of the byte itself.
pub(crate) const SECOND_HIGH: [u8; 16] = [
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_LONG | OVERLONG_2 | TWO_CONTS | OVERLONG_3 | TOO_LARGE_1000 | OVERLONG_4,
    TOO_LONG | OVERLONG_2 | TWO_CONTS | OVERLONG_3 | TOO_LARGE,
    TOO_LONG | OVERLONG_2 | TWO_CONTS | SURROGATE | TOO_LARGE,
    TOO_LONG | OVERLONG_2 | TWO_CONTS | SURROGATE | TOO_LARGE,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
];

#[inline(always)]
pub(crate) unsafe fn utf8<V: Lanes, const N: usize>(at: *const u8) -> bool {
    // SAFETY: 64 bytes at `at` and three before are readable; the caller's processor has these lanes.
    unsafe {
        let (first_high, first_low) = (V::table(&FIRST_HIGH), V::table(&FIRST_LOW));
        let (second_high, low) = (V::table(&SECOND_HIGH), V::splat(0x0f));
        let (three, four, top) = (V::splat(0xe0 - 0x80), V::splat(0xf0 - 0x80), V::splat(0x80));
        let mut wrong = V::splat(0);
        for i in 0..N {
            let at = at.add(i * V::BYTES);
            let (byte, before) = (V::load(at), V::load(at.sub(1)));
            let special = first_high
                .look_up(before.high_nibble())
                .and(first_low.look_up(before.and(low)))
                .and(second_high.look_up(byte.high_nibble()));
            let third = V::load(at.sub(2)).sub_to_zero(three);
            let fourth = V::load(at.sub(3)).sub_to_zero(four);
            wrong = wrong.or(third.or(fourth).and(top).xor(special));
        }
        wrong.eq(V::splat(0)).tops() == u64::MAX >> (64 - V::BYTES)
    }
}

/// A kernel of `N` registers a block that keeps tokens as bytes.
pub(crate) struct ByBytes<V, const N: usize>(PhantomData<V>);

// SAFETY (all of it): as of `Isa`; room for tokens is `put`'s caller's, see `window`.
#[allow(clippy::undocumented_unsafe_blocks)]
impl<V: Lanes, const N: usize> Isa for ByBytes<V, N> {
    type Block = Block<V, N>;
    type Words = V::Words;
    type Word = Block<V, N>;
    const HOLDS: bool = false;
    const ALONE_MAX: usize = 3;

    #[inline(always)]
    unsafe fn load(at: *const u8) -> Self::Block {
        unsafe { load(at) }
    }

    #[inline(always)]
    unsafe fn masks(block: Self::Block) -> Columns<u64> {
        unsafe { masks(block) }
    }

    #[inline(always)]
    unsafe fn classify(block: Self::Block, classes: &mut Classes, at: usize) {
        unsafe { classify(block, classes, at) }
    }

    #[inline(always)]
    unsafe fn columns(classes: &Classes, first: usize) -> Columns<V::Words> {
        unsafe { columns(classes, first) }
    }

    #[inline(always)]
    unsafe fn numerals(block: Self::Block) -> Numerals {
        unsafe { numerals(block) }
    }

    #[inline(always)]
    unsafe fn brackets(block: Self::Block) -> (u64, u64) {
        unsafe { brackets(block) }
    }

    #[inline(always)]
    unsafe fn escapes(block: Self::Block) -> (u64, u64) {
        unsafe { escapes(block) }
    }

    #[inline(always)]
    unsafe fn utf8(at: *const u8) -> bool {
        unsafe { utf8::<V, N>(at) }
    }

    /// Without a compressing instruction: a step for each token.
    #[inline(always)]
    unsafe fn put<const HOLD: bool>(
        (tokens, _): (&mut Tokens, &mut Self::Word),
        count: usize,
        block: Self::Block,
        mut starts: u64,
        _prims: u64,
    ) {
        let mut bytes = [0u8; 64];
        unsafe {
            for (i, lane) in block.into_iter().enumerate() {
                lane.store(bytes.as_mut_ptr().add(i * V::BYTES));
            }
            let mut out = tokens.0.as_mut_ptr().cast::<u8>().add(count);
            while starts != 0 {
                *out = *bytes.get_unchecked(starts.trailing_zeros() as usize);
                out = out.add(1);
                starts &= starts - 1;
            }
        }
    }

    #[inline(always)]
    unsafe fn word(tokens: &Tokens, word: usize) -> Self::Word {
        unsafe { load(tokens.0.as_ptr().cast::<u8>().add(64 * word)) }
    }

    #[inline(always)]
    unsafe fn no_tokens() -> Self::Word {
        unsafe { [V::splat(0); N] }
    }

    #[inline(always)]
    unsafe fn kinds(word: Self::Word) -> Kinds {
        unsafe {
            let bit5 = V::splat(0x20);
            let equals = |byte: u8| {
                let wanted = V::splat(byte);
                gather(word, |lane| lane.eq(wanted).tops())
            };
            let either = |byte: u8| {
                let wanted = V::splat(byte);
                gather(word, |lane| lane.or(bit5).eq(wanted).tops())
            };
            Kinds {
                open: either(b'{'),
                close: either(b'}'),
                object: equals(b'{') | equals(b'}'),
                colon: equals(b':'),
                comma: equals(b','),
                string: equals(b'"'),
                feed: equals(b'\n'),
            }
        }
    }

    #[inline(always)]
    unsafe fn prefix_xor(bits: u64) -> u64 {
        super::prefix_xor_by_shifts(bits)
    }

    #[inline(always)]
    unsafe fn select(bits: u64, n: u32) -> u32 {
        super::select_by_steps(bits, n)
    }

    #[inline(always)]
    unsafe fn squeeze(from: u64, mask: u64) -> u64 {
        super::squeeze_by_steps(from, mask)
    }

    #[inline(always)]
    unsafe fn spread(from: u64, mask: u64) -> u64 {
        super::spread_by_steps(from, mask)
    }
}
