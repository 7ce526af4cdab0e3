//! AVX-512: a block is one register, comparisons give masks at once, and VBMI2 compresses tokens.
use super::lanes::{BLANKS, ESCAPES, FIRST_HIGH, FIRST_LOW, PUNCTS, SECOND_HIGH};
use super::x86::prefix_xor_clmul;
use super::{Isa, Masks, Numerals, Planes, Tokens};
use crate::window::{Carry, Job, Scratch, fill};
use core::arch::x86_64::*;

#[derive(Clone, Copy)]
struct Avx512;

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

    #[inline(always)]
    unsafe fn load(at: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(at.cast()) }
    }

    #[inline(always)]
    unsafe fn masks(block: __m512i) -> Masks {
        unsafe {
            let punct = _mm512_shuffle_epi8(table(&PUNCTS), block);
            let value = _mm512_sub_epi8(block, splat(b'0'));
            Masks {
                quote: equals(block, b'"'),
                slash: equals(block, b'\\'),
                control: _mm512_cmplt_epu8_mask(block, splat(0x20)),
                high: _mm512_movepi8_mask(block),
                blank: _mm512_cmpeq_epi8_mask(block, _mm512_shuffle_epi8(table(&BLANKS), block)),
                punct: _mm512_cmpeq_epi8_mask(_mm512_or_si512(block, splat(0x20)), punct),
                feed: equals(block, b'\n'),
                ret: equals(block, b'\r'),
                digit: _mm512_cmplt_epu8_mask(value, splat(10)),
                zero: equals(block, b'0'),
            }
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

    /// The tokens' first bytes, zeros for numbers and words. Compressing into a register and storing that is
    /// much faster than compressing to memory (Zen 4).
    #[inline(always)]
    unsafe fn put(tokens: &mut Tokens, count: usize, block: __m512i, starts: u64, prims: u64) {
        unsafe {
            let bytes = _mm512_maskz_compress_epi8(starts, _mm512_maskz_mov_epi8(!prims, block));
            _mm512_storeu_si512(tokens.0.as_mut_ptr().cast::<u8>().add(count).cast(), bytes);
        }
    }

    #[inline(always)]
    unsafe fn take(tokens: &Tokens, word: usize) -> Planes {
        unsafe {
            let block = Self::load(tokens.0.as_ptr().cast::<u8>().add(64 * word));
            Planes {
                b6: _mm512_test_epi8_mask(block, splat(1 << 6)),
                b5: _mm512_test_epi8_mask(block, splat(1 << 5)),
                b4: _mm512_test_epi8_mask(block, splat(1 << 4)),
                b1: _mm512_test_epi8_mask(block, splat(1 << 1)),
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
}

/// # Safety
/// The processor has what [`super::Kernel::Avx512`] asks for; else see [`fill`].
#[target_feature(
    enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,popcnt,lzcnt,pclmulqdq"
)]
pub(super) unsafe fn window(job: &Job, carry: &mut Carry, scratch: &mut Scratch) {
    // SAFETY: the features are those of this function.
    unsafe { fill::<Avx512>(job, carry, scratch) }
}
