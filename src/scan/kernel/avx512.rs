//! AVX-512: a block is one register, comparisons give masks at once, and VBMI2 compresses tokens.
use super::lanes::{ESCAPES, FIRST_HIGH, FIRST_LOW, SECOND_HIGH};
use super::x86::prefix_xor_clmul;
use super::{Isa, Kinds, Numerals, Tokens};
use crate::window::{Classes, Column};
use core::arch::x86_64::*;

#[derive(Clone, Copy)]
struct Avx512;

const QUOTE: u8 = 1 << 0;
const SLASH: u8 = 1 << 1;
const CONTROL: u8 = 1 << 2;
const BLANK: u8 = 1 << 3;
const PUNCT: u8 = 1 << 4;
const FEED: u8 = 1 << 5;
const DIGIT: u8 = 1 << 6;
const ZERO: u8 = 1 << 7;

#[repr(align(64))]
struct Table([u8; 128]);

/// What each character of ASCII is.
static TABLE: Table = {
    let mut table = [0; 128];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = match byte as u8 {
            b'"' => QUOTE,
            b'\\' => SLASH,
            b'\n' => CONTROL | BLANK | FEED,
            b'\t' | b'\r' => CONTROL | BLANK,
            0..0x20 => CONTROL,
            b' ' => BLANK,
            b'{' | b'}' | b'[' | b']' | b':' | b',' => PUNCT,
            b'0' => DIGIT | ZERO,
            b'1'..=b'9' => DIGIT,
            _ => 0,
        };
        byte += 1;
    }
    Table(table)
};

#[inline(always)]
unsafe fn splat(byte: u8) -> __m512i {
    // SAFETY: as of `Isa`.
    unsafe { _mm512_set1_epi8(byte as i8) }
}

#[inline(always)]
unsafe fn table(of: &[u8; 16]) -> __m512i {
    // SAFETY: as of `Isa`.
    unsafe { _mm512_broadcast_i32x4(_mm_loadu_si128(of.as_ptr().cast())) }
}

#[inline(always)]
unsafe fn equals(block: __m512i, byte: u8) -> u64 {
    // SAFETY: as of `Isa`.
    unsafe { _mm512_cmpeq_epi8_mask(block, splat(byte)) }
}

#[inline(always)]
unsafe fn high_nibble(block: __m512i) -> __m512i {
    // SAFETY: as of `Isa`.
    unsafe { _mm512_and_si512(_mm512_srli_epi16::<4>(block), splat(0x0f)) }
}

// SAFETY (all of it): as of `Isa`; room for tokens is `put`'s caller's, see `window`.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Isa for Avx512 {
    type Block = __m512i;
    type Words = __m512i;

    #[inline(always)]
    unsafe fn load(at: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(at.cast()) }
    }

    #[inline(always)]
    unsafe fn load_part(at: *const u8, len: usize, _copy: *const u8) -> __m512i {
        unsafe {
            let end = 1 << len;
            let bytes = _mm512_mask_loadu_epi8(splat(b' '), end - 1, at.cast());
            _mm512_mask_mov_epi8(bytes, end, splat(b'\n'))
        }
    }

    /// One look-up classifies all of ASCII; bytes beyond are of no class.
    #[inline(always)]
    unsafe fn classify<const SOON: bool>(block: __m512i, classes: &mut Classes, at: usize) {
        unsafe {
            let high = _mm512_movepi8_mask(block);
            let (low, up) = (Self::load(TABLE.0.as_ptr()), Self::load(TABLE.0.as_ptr().add(64)));
            let class = _mm512_maskz_permutex2var_epi8(!high, low, block, up);
            let keep = |column: &mut Column, bits: u8| {
                *column.get_unchecked_mut(at) = _mm512_test_epi8_mask(class, splat(bits));
            };
            *classes.high.get_unchecked_mut(at) = high;
            keep(&mut classes.quote, QUOTE);
            keep(&mut classes.slash, SLASH);
            keep(&mut classes.control, CONTROL);
            keep(&mut classes.punct, PUNCT);
            keep(&mut classes.blank, BLANK);
            keep(&mut classes.feed, FEED);
            keep(&mut classes.digit, DIGIT);
            keep(&mut classes.zero, ZERO);
        }
    }

    #[inline(always)]
    unsafe fn numerals(block: __m512i) -> Numerals {
        unsafe {
            let value = _mm512_sub_epi8(block, splat(b'0'));
            Numerals {
                digit: _mm512_cmplt_epu8_mask(value, splat(10)),
                zero: equals(block, b'0'),
                dot: equals(block, b'.'),
                exp: equals(_mm512_or_si512(block, splat(0x20)), b'e'),
                minus: equals(block, b'-'),
                plus: equals(block, b'+'),
            }
        }
    }

    #[inline(always)]
    unsafe fn brackets(block: __m512i) -> (u64, u64) {
        unsafe {
            let either = _mm512_or_si512(block, splat(0x20));
            (equals(either, b'{'), equals(either, b'}'))
        }
    }

    #[inline(always)]
    unsafe fn escapes(block: __m512i) -> (u64, u64) {
        unsafe {
            let by_table = _mm512_cmpeq_epi8_mask(block, _mm512_shuffle_epi8(table(&ESCAPES), block));
            (by_table | equals(block, b'b') | equals(block, b'r'), equals(block, b'u'))
        }
    }

    #[inline(always)]
    unsafe fn utf8(at: *const u8) -> bool {
        unsafe {
            let (byte, before) = (Self::load(at), Self::load(at.sub(1)));
            let special = _mm512_and_si512(
                _mm512_and_si512(
                    _mm512_shuffle_epi8(table(&FIRST_HIGH), high_nibble(before)),
                    _mm512_shuffle_epi8(table(&FIRST_LOW), _mm512_and_si512(before, splat(0x0f))),
                ),
                _mm512_shuffle_epi8(table(&SECOND_HIGH), high_nibble(byte)),
            );
            let third = _mm512_subs_epu8(Self::load(at.sub(2)), splat(0xe0 - 0x80));
            let fourth = _mm512_subs_epu8(Self::load(at.sub(3)), splat(0xf0 - 0x80));
            let due = _mm512_and_si512(_mm512_or_si512(third, fourth), splat(0x80));
            _mm512_cmpneq_epi8_mask(due, special) == 0
        }
    }

    /// The tokens' first bytes. Compressing into a register and storing that is
    /// much faster than compressing to memory (Zen 4).
    #[inline(always)]
    unsafe fn put(tokens: &mut Tokens, count: usize, block: __m512i, starts: u64, _prims: u64) {
        unsafe {
            let bytes = _mm512_maskz_compress_epi8(starts, block);
            _mm512_storeu_si512(tokens.0.as_mut_ptr().cast::<u8>().add(count).cast(), bytes);
        }
    }

    #[inline(always)]
    unsafe fn take(tokens: &Tokens, word: usize) -> Kinds {
        unsafe {
            let block = Self::load(tokens.0.as_ptr().cast::<u8>().add(64 * word));
            let with_bit5 = _mm512_or_si512(block, splat(0x20));
            Kinds {
                open: equals(with_bit5, b'{'),
                close: equals(with_bit5, b'}'),
                object: equals(block, b'{') | equals(block, b'}'),
                colon: equals(block, b':'),
                comma: equals(block, b','),
                string: equals(block, b'"'),
                feed: equals(block, b'\n'),
            }
        }
    }

    #[inline(always)]
    unsafe fn prefix_xor(bits: u64) -> u64 {
        unsafe { prefix_xor_clmul(bits) }
    }

    #[inline(always)]
    unsafe fn select(bits: u64, n: u32) -> u32 {
        unsafe { _pdep_u64(1 << n, bits).trailing_zeros() }
    }

    #[inline(always)]
    unsafe fn squeeze(from: u64, mask: u64) -> u64 {
        unsafe { _pext_u64(from, mask) }
    }

    #[inline(always)]
    unsafe fn spread(from: u64, mask: u64) -> u64 {
        unsafe { _pdep_u64(from, mask) }
    }
}

/// For processors that have what [`super::Kernel::Avx512`] asks for.
pub(super) const CODE: super::Code = code!(
    Avx512,
    "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,vpclmulqdq,avx2,bmi1,bmi2,popcnt,lzcnt,pclmulqdq"
);
