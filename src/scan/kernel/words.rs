//! The masks of neighbouring blocks side by side: what is done to one is done to all of a register.
use super::Isa;

/// A register of masks, that of the first block lowest.
///
/// # Safety
/// All methods need the processor features of the kernel that uses them; pointers must be readable, or writable,
/// for [`Words::LANES`] words.
pub(crate) trait Words: Copy {
    /// Masks in a register, at most 8.
    const LANES: usize;
    unsafe fn load(at: *const u64) -> Self;
    unsafe fn store(self, at: *mut u64);
    unsafe fn splat(word: u64) -> Self;
    /// All ones where `bits` has a bit, zero elsewhere; bits beyond [`Words::LANES`] do not count.
    unsafe fn fill(bits: u64) -> Self;
    unsafe fn and(self, other: Self) -> Self;
    /// What `self` has and `other` has not.
    unsafe fn without(self, other: Self) -> Self;
    unsafe fn or(self, other: Self) -> Self;
    unsafe fn xor(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    /// Each word shifted up by one.
    unsafe fn up(self) -> Self;
    /// All words as one long one, shifted up by one; `carry` is shifted in.
    unsafe fn up_through(self, carry: u64) -> Self;
    /// Each word shifted down by one.
    unsafe fn down(self) -> Self;
    /// The top bit of each word, as its lowest.
    unsafe fn top_as_low(self) -> Self;
    /// A bit for each word: its top one.
    unsafe fn tops(self) -> u64;
    /// A bit for each word: whether it has any.
    unsafe fn some(self) -> u64;
    /// Bit `i` of each word becomes the parity of its bits `0..=i`.
    unsafe fn prefix_xor<I: Isa>(self) -> Self;
}

// SAFETY (all of it): as of `Words`.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Words for u64 {
    const LANES: usize = 1;
    #[inline(always)]
    unsafe fn load(at: *const u64) -> u64 {
        unsafe { *at }
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut u64) {
        unsafe { *at = self }
    }
    #[inline(always)]
    unsafe fn splat(word: u64) -> u64 {
        word
    }
    #[inline(always)]
    unsafe fn fill(bits: u64) -> u64 {
        0u64.wrapping_sub(bits & 1)
    }
    #[inline(always)]
    unsafe fn and(self, other: u64) -> u64 {
        self & other
    }
    #[inline(always)]
    unsafe fn without(self, other: u64) -> u64 {
        self & !other
    }
    #[inline(always)]
    unsafe fn or(self, other: u64) -> u64 {
        self | other
    }
    #[inline(always)]
    unsafe fn xor(self, other: u64) -> u64 {
        self ^ other
    }
    #[inline(always)]
    unsafe fn sub(self, other: u64) -> u64 {
        self.wrapping_sub(other)
    }
    #[inline(always)]
    unsafe fn up(self) -> u64 {
        self << 1
    }
    #[inline(always)]
    unsafe fn up_through(self, carry: u64) -> u64 {
        self << 1 | carry
    }
    #[inline(always)]
    unsafe fn down(self) -> u64 {
        self >> 1
    }
    #[inline(always)]
    unsafe fn top_as_low(self) -> u64 {
        self >> 63
    }
    #[inline(always)]
    unsafe fn tops(self) -> u64 {
        self >> 63
    }
    #[inline(always)]
    unsafe fn some(self) -> u64 {
        u64::from(self != 0)
    }
    #[inline(always)]
    unsafe fn prefix_xor<I: Isa>(self) -> u64 {
        unsafe { I::prefix_xor(self) }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86 {
    //! Two masks in a register of SSE, four in one of AVX2, eight in one of AVX-512.
    use super::{Isa, Words};
    use core::arch::x86_64::*;

    macro_rules! words {
        ($words:ty, $lanes:literal, $load:ident, $store:ident, $splat:ident, $and:ident, $andnot:ident, $or:ident,
         $xor:ident, $sub:ident, $slli:ident, $srli:ident, $fill:expr, $below:expr, $tops:expr,
         $some:expr, $prefix:expr) => {
            // SAFETY (all of it): as of `Words`.
            #[allow(clippy::undocumented_unsafe_blocks)]
            impl Words for $words {
                const LANES: usize = $lanes;
                #[inline(always)]
                unsafe fn load(at: *const u64) -> Self {
                    unsafe { $load(at.cast()) }
                }
                #[inline(always)]
                unsafe fn store(self, at: *mut u64) {
                    unsafe { $store(at.cast(), self) }
                }
                #[inline(always)]
                unsafe fn splat(word: u64) -> Self {
                    unsafe { $splat(word as i64) }
                }
                #[inline(always)]
                unsafe fn fill(bits: u64) -> Self {
                    unsafe { $fill(bits) }
                }
                #[inline(always)]
                unsafe fn and(self, other: Self) -> Self {
                    unsafe { $and(self, other) }
                }
                #[inline(always)]
                unsafe fn without(self, other: Self) -> Self {
                    unsafe { $andnot(other, self) }
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
                unsafe fn up(self) -> Self {
                    unsafe { $slli::<1>(self) }
                }
                #[inline(always)]
                unsafe fn up_through(self, carry: u64) -> Self {
                    unsafe {
                        let below = $below(self, carry);
                        self.up().or(below.top_as_low())
                    }
                }
                #[inline(always)]
                unsafe fn down(self) -> Self {
                    unsafe { $srli::<1>(self) }
                }
                #[inline(always)]
                unsafe fn top_as_low(self) -> Self {
                    unsafe { $srli::<63>(self) }
                }
                #[inline(always)]
                unsafe fn tops(self) -> u64 {
                    unsafe { $tops(self) }
                }
                #[inline(always)]
                unsafe fn some(self) -> u64 {
                    unsafe { $some(self) }
                }
                #[inline(always)]
                unsafe fn prefix_xor<I: Isa>(self) -> Self {
                    unsafe { $prefix(self) }
                }
            }
        };
    }

    /// By shifts, for where carry-less multiplication takes one word at a time.
    macro_rules! prefix_by_shifts {
        ($name:ident, $words:ty, $slli:ident, $xor:ident) => {
            /// # Safety
            /// As of [`Words`].
            #[inline(always)]
            unsafe fn $name(bits: $words) -> $words {
                // SAFETY: see above.
                unsafe {
                    let bits = $xor(bits, $slli::<1>(bits));
                    let bits = $xor(bits, $slli::<2>(bits));
                    let bits = $xor(bits, $slli::<4>(bits));
                    let bits = $xor(bits, $slli::<8>(bits));
                    let bits = $xor(bits, $slli::<16>(bits));
                    $xor(bits, $slli::<32>(bits))
                }
            }
        };
    }
    prefix_by_shifts!(prefix_two, __m128i, _mm_slli_epi64, _mm_xor_si128);
    prefix_by_shifts!(prefix_four, __m256i, _mm256_slli_epi64, _mm256_xor_si256);

    words!(
        __m128i,
        2,
        _mm_loadu_si128,
        _mm_storeu_si128,
        _mm_set1_epi64x,
        _mm_and_si128,
        _mm_andnot_si128,
        _mm_or_si128,
        _mm_xor_si128,
        _mm_sub_epi64,
        _mm_slli_epi64,
        _mm_srli_epi64,
        |bits| {
            let lanes = _mm_set_epi64x(2, 1);
            _mm_cmpeq_epi64(_mm_and_si128(_mm_set1_epi64x(bits as i64), lanes), lanes)
        },
        |words, carry: u64| { _mm_unpacklo_epi64(_mm_cvtsi64_si128((carry << 63) as i64), words) },
        |words| _mm_movemask_pd(_mm_castsi128_pd(words)) as u64,
        |words| {
            let none = _mm_cmpeq_epi64(words, _mm_setzero_si128());
            (_mm_movemask_pd(_mm_castsi128_pd(none)) ^ 3) as u64
        },
        prefix_two
    );
    words!(
        __m256i,
        4,
        _mm256_loadu_si256,
        _mm256_storeu_si256,
        _mm256_set1_epi64x,
        _mm256_and_si256,
        _mm256_andnot_si256,
        _mm256_or_si256,
        _mm256_xor_si256,
        _mm256_sub_epi64,
        _mm256_slli_epi64,
        _mm256_srli_epi64,
        |bits| {
            let lanes = _mm256_set_epi64x(8, 4, 2, 1);
            _mm256_cmpeq_epi64(_mm256_and_si256(_mm256_set1_epi64x(bits as i64), lanes), lanes)
        },
        |words, carry: u64| {
            let carried = _mm256_zextsi128_si256(_mm_cvtsi64_si128((carry << 63) as i64));
            _mm256_blend_epi32::<0b11>(_mm256_permute4x64_epi64::<0b10_01_00_00>(words), carried)
        },
        |words| _mm256_movemask_pd(_mm256_castsi256_pd(words)) as u64,
        |words| {
            let none = _mm256_cmpeq_epi64(words, _mm256_setzero_si256());
            (_mm256_movemask_pd(_mm256_castsi256_pd(none)) ^ 15) as u64
        },
        prefix_four
    );
    words!(
        __m512i,
        8,
        _mm512_loadu_si512,
        _mm512_storeu_si512,
        _mm512_set1_epi64,
        _mm512_and_si512,
        _mm512_andnot_si512,
        _mm512_or_si512,
        _mm512_xor_si512,
        _mm512_sub_epi64,
        _mm512_slli_epi64,
        _mm512_srli_epi64,
        |bits| _mm512_maskz_set1_epi64(bits as u8, -1),
        |words, carry: u64| { _mm512_alignr_epi64::<7>(words, _mm512_set1_epi64((carry << 63) as i64)) },
        |words| u64::from(_mm512_movepi64_mask(words)),
        |words| u64::from(_mm512_test_epi64_mask(words, words)),
        |bits| {
            let ones = _mm512_set1_epi8(-1);
            let even = _mm512_clmulepi64_epi128::<0>(bits, ones);
            let odd = _mm512_clmulepi64_epi128::<1>(bits, ones);
            _mm512_unpacklo_epi64(even, odd)
        }
    );
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::kernel::{Kernel, lanes::ByBytes};
    use core::arch::x86_64::{__m128i, __m256i, __m512i};
    use std::vec::Vec;

    /// Something at either end, in both halves, next to each other and apart; more than a register has lanes.
    const MASKS: [u64; 11] = [
        0,
        1,
        1 << 63,
        !0,
        0x5555_5555_5555_5555,
        0xaaaa_aaaa_aaaa_aaaa,
        0x8000_0000_0000_0001,
        0x0000_0001_0000_0000,
        0xffff_ffff_0000_0000,
        0x0123_4567_89ab_cdef,
        0xfedc_ba98_7654_3210,
    ];

    type Plain = ByBytes<__m128i, 4>;
    type Pair<W> = (fn(W, W) -> W, fn(u64, u64) -> u64);

    // SAFETY (all of it): `on_each` asks for the processor first; the arrays have eight words.
    #[allow(clippy::undocumented_unsafe_blocks)]
    fn check<W: Words>() {
        let by_parity = |mask: u64| {
            let bit = |i: u32| u64::from((mask << (63 - i)).count_ones() & 1) << i;
            (0..64).map(bit).fold(0, |bits, bit| bits | bit)
        };
        assert_eq!((by_parity(0b1001), by_parity(1)), (0b0111, !0));
        let pairs: [Pair<W>; 5] = [
            (|a, b| unsafe { a.and(b) }, |a, b| a & b),
            (|a, b| unsafe { a.or(b) }, |a, b| a | b),
            (|a, b| unsafe { a.xor(b) }, |a, b| a ^ b),
            (|a, b| unsafe { a.without(b) }, |a, b| a & !b),
            (|a, b| unsafe { a.sub(b) }, u64::wrapping_sub),
        ];
        for shift in 0..MASKS.len() {
            let words =
                |from: usize| -> [u64; 8] { std::array::from_fn(|i| MASKS[(from + i) % MASKS.len()]) };
            let load = |words: &[u64; 8]| unsafe { W::load(words.as_ptr()) };
            let stored = |of: W| {
                let mut words = [0; 8];
                unsafe { of.store(words.as_mut_ptr()) };
                words[..W::LANES].to_vec()
            };
            let a = words(shift);
            let each = |of: fn(u64) -> u64| a.map(of)[..W::LANES].to_vec();
            let bits = |of: fn(u64) -> bool| (0..W::LANES).map(|i| u64::from(of(a[i])) << i).sum::<u64>();
            assert_eq!(stored(load(&a)), a[..W::LANES]);
            unsafe {
                assert_eq!(stored(load(&a).up()), each(|word| word << 1));
                assert_eq!(stored(load(&a).down()), each(|word| word >> 1));
                assert_eq!(stored(load(&a).top_as_low()), each(|word| word >> 63));
                for carry in [0, 1] {
                    let below = |i: usize| if i == 0 { carry } else { a[i - 1] >> 63 };
                    let up: Vec<u64> = (0..W::LANES).map(|i| a[i] << 1 | below(i)).collect();
                    assert_eq!(stored(load(&a).up_through(carry)), up);
                }
                assert_eq!(load(&a).tops(), bits(|word| word >> 63 == 1));
                assert_eq!(load(&a).some(), bits(|word| word != 0));
                assert_eq!(stored(W::splat(a[0])), [a[0]; 8][..W::LANES]);
                let parities: Vec<u64> = a[..W::LANES].iter().copied().map(by_parity).collect();
                assert_eq!(stored(load(&a).prefix_xor::<Plain>()), parities);
            }
            for other in 0..MASKS.len() {
                let b = words(other);
                for (of_words, of_word) in &pairs {
                    let expected: Vec<u64> = (0..W::LANES).map(|i| of_word(a[i], b[i])).collect();
                    assert_eq!(stored(of_words(load(&a), load(&b))), expected);
                }
            }
        }
        for bits in 0..1u64 << W::LANES {
            // Bits beyond the lanes do not count.
            for beyond in [0, u64::MAX << W::LANES] {
                let mut words = [7; 8];
                unsafe { W::fill(bits | beyond).store(words.as_mut_ptr()) };
                for (i, word) in words[..W::LANES].iter().enumerate() {
                    assert_eq!(*word, if bits >> i & 1 == 1 { !0 } else { 0 }, "{bits:b}");
                }
            }
        }
    }

    #[test]
    fn words_in_a_register_are_words() {
        check::<u64>();
        for (kernel, check) in [
            (Kernel::Sse42, check::<__m128i> as fn()),
            (Kernel::Avx2, check::<__m256i>),
            (Kernel::Avx512, check::<__m512i>),
        ] {
            if kernel.is_available() {
                check();
            }
        }
    }
}
