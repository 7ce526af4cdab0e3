//! A block as several registers of bytes: what AVX2, SSE4.2 and NEON have in common.
use super::Numerals;
use crate::window::{Classes, Column};

/// A register of bytes.
///
/// # Safety
/// As of [`super::Isa`].
#[allow(dead_code)]
pub(crate) trait Lanes: Copy {
    const BYTES: usize;
    unsafe fn load(at: *const u8) -> Self;
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
    unsafe { core::array::from_fn(|i| V::load(at.add(i * V::BYTES))) }
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

/// [`super::Isa::classify`]
///
/// # Safety
/// As of [`super::Isa`].
#[inline(always)]
pub(crate) unsafe fn classify<V: Lanes, const N: usize, const SOON: bool>(
    block: Block<V, N>,
    classes: &mut Classes,
    at: usize,
) {
    // SAFETY: the caller's processor has these lanes; block `at` has its place in each column.
    unsafe {
        let (blanks, puncts) = (V::table(&BLANKS), V::table(&PUNCTS));
        let (bit5, below, nine, naught) = (V::splat(0x20), V::splat(0x1f), V::splat(9), V::splat(b'0'));
        let (quote, slash, feed) = (V::splat(b'"'), V::splat(b'\\'), V::splat(b'\n'));
        keep::<_, _, SOON>(&mut classes.quote, at, block, |lane| lane.eq(quote));
        keep::<_, _, SOON>(&mut classes.slash, at, block, |lane| lane.eq(slash));
        keep::<_, _, SOON>(&mut classes.feed, at, block, |lane| lane.eq(feed));
        keep::<_, _, SOON>(&mut classes.zero, at, block, |lane| lane.eq(naught));
        keep::<_, _, SOON>(&mut classes.control, at, block, |lane| lane.min(below).eq(lane));
        keep::<_, _, SOON>(&mut classes.high, at, block, |lane| lane);
        keep::<_, _, SOON>(&mut classes.punct, at, block, |lane| puncts.look_up(lane).eq(lane.or(bit5)));
        keep::<_, _, SOON>(&mut classes.blank, at, block, |lane| blanks.look_up(lane).eq(lane));
        keep::<_, _, SOON>(&mut classes.digit, at, block, |lane| {
            let value = lane.sub(naught);
            value.min(nine).eq(value)
        });
    }
}

/// Stores the top bits of what `class` makes of a block, register by register: putting them together first would
/// take a shift and an `or` each.
///
/// # Safety
/// As of [`super::Isa`]; `at` lies within the column.
#[inline(always)]
unsafe fn keep<V: Lanes, const N: usize, const SOON: bool>(
    column: &mut Column,
    at: usize,
    block: Block<V, N>,
    class: impl Fn(V) -> V,
) {
    // SAFETY: N registers have the 64 bytes of a block.
    unsafe {
        if SOON {
            *column.get_unchecked_mut(at) = gather(block, |lane| class(lane).tops());
            return;
        }
        let out = column.as_mut_ptr().add(at).cast::<u8>();
        for (i, lane) in block.into_iter().enumerate() {
            let bits = class(lane).tops();
            if V::BYTES == 32 {
                out.cast::<u32>().add(i).write(bits as u32);
            } else {
                out.cast::<u16>().add(i).write(bits as u16);
            }
        }
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

/// [`super::Isa::put`] without a compressing instruction: a step for each token.
///
/// # Safety
/// `tokens` has room for 64 bytes from `count` on.
#[inline(always)]
pub(crate) unsafe fn put_bytes(tokens: &mut super::Tokens, count: usize, block: &[u8; 64], mut starts: u64) {
    // SAFETY: there are at most 64 starts, each below 64.
    unsafe {
        let mut out = tokens.0.as_mut_ptr().cast::<u8>().add(count);
        while starts != 0 {
            let i = starts.trailing_zeros();
            *out = *block.get_unchecked(i as usize);
            out = out.add(1);
            starts &= starts - 1;
        }
    }
}

/// [`super::Isa::take`] from bytes.
///
/// # Safety
/// As of [`super::Isa`]; word `word` lies within `tokens`.
#[inline(always)]
pub(crate) unsafe fn take_bytes<V: Lanes, const N: usize>(
    tokens: &super::Tokens,
    word: usize,
) -> super::Kinds {
    // SAFETY: see above.
    unsafe {
        let block: Block<V, N> = load(tokens.0.as_ptr().cast::<u8>().add(64 * word));
        let bit5 = V::splat(0x20);
        let equals = |byte: u8| {
            let wanted = V::splat(byte);
            gather(block, |lane| lane.eq(wanted).tops())
        };
        let either = |byte: u8| {
            let wanted = V::splat(byte);
            gather(block, |lane| lane.or(bit5).eq(wanted).tops())
        };
        super::Kinds {
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
