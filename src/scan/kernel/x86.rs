//! AVX2 with BMI2, and SSE4.2 without.
use super::lanes::{self, Block, ByBytes, Lanes, gather};
use super::{Isa, Kinds, Numerals, Tokens};
use crate::window::{Classes, Columns};
use core::arch::x86_64::*;

macro_rules! lanes {
    ($lane:ty, $bytes:literal, $load:ident, $store:ident, $set1:ident, $eq:ident, $min:ident, $and:ident, $or:ident,
     $xor:ident, $sub:ident, $subs:ident, $srli:ident, $slli:ident, $shuffle:ident, $movemask:ident, $table:expr) => {
        // SAFETY (all of them): the caller's processor has these instructions, see `Lanes`.
        #[allow(clippy::undocumented_unsafe_blocks)]
        impl Lanes for $lane {
            const BYTES: usize = $bytes;
            type Words = $lane;
            #[inline(always)]
            unsafe fn load(at: *const u8) -> Self {
                unsafe { $load(at.cast()) }
            }
            #[inline(always)]
            unsafe fn store(self, at: *mut u8) {
                unsafe { $store(at.cast(), self) }
            }
            #[inline(always)]
            unsafe fn splat(byte: u8) -> Self {
                unsafe { $set1(byte as i8) }
            }
            #[inline(always)]
            unsafe fn table(of: &[u8; 16]) -> Self {
                unsafe { $table(_mm_loadu_si128(of.as_ptr().cast())) }
            }
            #[inline(always)]
            unsafe fn eq(self, other: Self) -> Self {
                unsafe { $eq(self, other) }
            }
            #[inline(always)]
            unsafe fn min(self, other: Self) -> Self {
                unsafe { $min(self, other) }
            }
            #[inline(always)]
            unsafe fn and(self, other: Self) -> Self {
                unsafe { $and(self, other) }
            }
            #[inline(always)]
            unsafe fn or(self, other: Self) -> Self {
                unsafe { $or(self, other) }
            }
            #[inline(always)]
            unsafe fn xor(self, other: Self) -> Self {
                unsafe { $xor(self, other) }
            }
            #[inline(always)]
            unsafe fn sub(self, other: Self) -> Self {
                unsafe { $sub(self, other) }
            }
            #[inline(always)]
            unsafe fn sub_to_zero(self, other: Self) -> Self {
                unsafe { $subs(self, other) }
            }
            #[inline(always)]
            unsafe fn high_nibble(self) -> Self {
                unsafe { $and($srli::<4>(self), $set1(0x0f)) }
            }
            #[inline(always)]
            unsafe fn look_up(self, at: Self) -> Self {
                unsafe { $shuffle(self, at) }
            }
            #[inline(always)]
            unsafe fn tops(self) -> u64 {
                unsafe { $movemask(self) as u32 as u64 & (u64::MAX >> (64 - $bytes)) }
            }
            #[inline(always)]
            unsafe fn bits<const BIT: i32>(self) -> u64 {
                unsafe {
                    // Bits that cross into the next byte stay below its top one.
                    let top = match BIT {
                        6 => $slli::<1>(self),
                        5 => $slli::<2>(self),
                        4 => $slli::<3>(self),
                        _ => $slli::<6>(self),
                    };
                    top.tops()
                }
            }
        }
    };
}

lanes!(
    __m256i,
    32,
    _mm256_loadu_si256,
    _mm256_storeu_si256,
    _mm256_set1_epi8,
    _mm256_cmpeq_epi8,
    _mm256_min_epu8,
    _mm256_and_si256,
    _mm256_or_si256,
    _mm256_xor_si256,
    _mm256_sub_epi8,
    _mm256_subs_epu8,
    _mm256_srli_epi16,
    _mm256_slli_epi16,
    _mm256_shuffle_epi8,
    _mm256_movemask_epi8,
    _mm256_broadcastsi128_si256
);
lanes!(
    __m128i,
    16,
    _mm_loadu_si128,
    _mm_storeu_si128,
    _mm_set1_epi8,
    _mm_cmpeq_epi8,
    _mm_min_epu8,
    _mm_and_si128,
    _mm_or_si128,
    _mm_xor_si128,
    _mm_sub_epi8,
    _mm_subs_epu8,
    _mm_srli_epi16,
    _mm_slli_epi16,
    _mm_shuffle_epi8,
    _mm_movemask_epi8,
    core::convert::identity
);

struct Avx2;

/// The eight fours of a block from number `FIRST` on: text, `edge` in that in which it ends after `len` bytes, and
/// blanks. No closure, which might not be inlined and lose the processor's features.
///
/// # Safety
/// As of [`Isa::load_part`].
#[inline(always)]
unsafe fn half_part<const FIRST: i32>(at: *const u8, len: usize, edge: i32) -> __m256i {
    // SAFETY: only what is text is read.
    unsafe {
        let (edge, end) = (_mm256_set1_epi32(edge), _mm256_set1_epi32(len as i32 / 4 - FIRST));
        let place = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let whole = _mm256_cmpgt_epi32(end, place);
        let text = _mm256_maskload_epi32(at.wrapping_add(4 * FIRST as usize).cast(), whole);
        let text = _mm256_blendv_epi8(_mm256_set1_epi8(b' ' as i8), text, whole);
        _mm256_blendv_epi8(text, edge, _mm256_cmpeq_epi32(end, place))
    }
}

// SAFETY (all of it): as of `Isa`; room for tokens is `put`'s caller's, see `window`.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Isa for Avx2 {
    type Block = Block<__m256i, 2>;
    type Words = __m256i;
    /// Four bits of each token, a plane each.
    type Word = [u64; 4];
    const HOLDS: bool = true;
    const ALONE_MAX: usize = 3;

    #[inline(always)]
    unsafe fn load(at: *const u8) -> Self::Block {
        unsafe { lanes::load(at) }
    }

    /// In fours: those that are whole, the one in which the body ends, and blanks.
    #[inline(always)]
    unsafe fn load_part(at: *const u8, len: usize, body_len: usize) -> Option<Self::Block> {
        if body_len < 4 {
            return None;
        }
        unsafe {
            let last = u64::from(at.add(len).sub(4).cast::<u32>().read_unaligned());
            let edge = (u64::from(u32::from_le_bytes(*b"\n   ")) << 32 | last) >> (32 - 8 * (len % 4));
            Some([half_part::<0>(at, len, edge as i32), half_part::<8>(at, len, edge as i32)])
        }
    }

    #[inline(always)]
    unsafe fn masks(block: Self::Block) -> Columns<u64> {
        unsafe { lanes::masks(block) }
    }

    #[inline(always)]
    unsafe fn classify(block: Self::Block, classes: &mut Classes, at: usize) {
        unsafe { lanes::classify(block, classes, at) }
    }

    #[inline(always)]
    unsafe fn columns(classes: &Classes, first: usize) -> Columns<__m256i> {
        unsafe { lanes::columns(classes, first) }
    }

    #[inline(always)]
    unsafe fn numerals(block: Self::Block) -> Numerals {
        unsafe { lanes::numerals(block) }
    }

    #[inline(always)]
    unsafe fn brackets(block: Self::Block) -> (u64, u64) {
        unsafe { lanes::brackets(block) }
    }

    #[inline(always)]
    unsafe fn escapes(block: Self::Block) -> (u64, u64) {
        unsafe { lanes::escapes(block) }
    }

    #[inline(always)]
    unsafe fn utf8(at: *const u8) -> bool {
        unsafe { lanes::utf8::<__m256i, 2>(at) }
    }

    #[inline(always)]
    unsafe fn put<const HOLD: bool>(
        (tokens, held): (&mut Tokens, &mut Self::Word),
        count: usize,
        block: Self::Block,
        starts: u64,
        prims: u64,
    ) {
        unsafe {
            let mut planes = [
                gather(block, |lane| lane.bits::<6>()) & !prims,
                gather(block, |lane| lane.bits::<5>()) & !prims,
                gather(block, |lane| lane.bits::<4>()),
                gather(block, |lane| lane.bits::<1>()) & !prims,
            ];
            for plane in &mut planes {
                *plane = _pext_u64(*plane, starts);
            }
            if HOLD && count < 64 {
                for (held, bits) in held.iter_mut().zip(planes) {
                    *held |= bits << count;
                }
                if count + starts.count_ones() as usize <= 64 {
                    tokens.0[1] = [0; 4];
                    return;
                }
            }
            let (word, shift) = (count / 64, count as u32 % 64);
            let words = tokens.0.as_mut_ptr().add(word);
            for (plane, bits) in planes.into_iter().enumerate() {
                (*words)[plane] |= bits << shift;
                (*words.add(1))[plane] = bits >> 1 >> (63 - shift);
            }
        }
    }

    #[inline(always)]
    unsafe fn word(tokens: &Tokens, word: usize) -> Self::Word {
        unsafe { *tokens.0.get_unchecked(word) }
    }

    #[inline(always)]
    unsafe fn no_tokens() -> Self::Word {
        [0; 4]
    }

    #[inline(always)]
    unsafe fn kinds(word: Self::Word) -> Kinds {
        Kinds::of_planes(word)
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

/// # Safety
/// The processor has PCLMULQDQ.
#[inline(always)]
pub(super) unsafe fn prefix_xor_clmul(bits: u64) -> u64 {
    // SAFETY: see above.
    unsafe {
        let product = _mm_clmulepi64_si128::<0>(_mm_cvtsi64_si128(bits as i64), _mm_set1_epi8(-1));
        _mm_cvtsi128_si64(product) as u64
    }
}

/// For processors that have what [`super::Kernel::Avx2`] asks for.
pub(super) const AVX2: super::Code = code!(Avx2, "avx2,bmi1,bmi2,popcnt,lzcnt,pclmulqdq");

/// For processors that have what [`super::Kernel::Sse42`] asks for.
pub(super) const SSE42: super::Code = code!(ByBytes<__m128i, 4>, "sse4.2,ssse3,popcnt");
