//! AVX-512: a block is one register, and VBMI2 compresses tokens.
//!
//! One look-up says of each byte which classes it has, a bit each. Seen as a matrix of bits, turned over, that is a
//! mask for each class, eight in one register (GFNI): a row. The rows of eight blocks, turned over again, are the
//! columns that stage 1 works on. So no mask goes through memory alone.
use super::lanes::{ESCAPES, FIRST_HIGH, FIRST_LOW, SECOND_HIGH};
use super::x86::prefix_xor_clmul;
use super::{Isa, Kinds, Numerals, Tokens, Words};
use crate::window::{self, Classes, Columns};
use core::arch::x86_64::*;

struct Avx512;

const QUOTE: u8 = 1 << 0;
const SLASH: u8 = 1 << 1;
const CONTROL: u8 = 1 << 2;
const BLANK: u8 = 1 << 3;
/// A line feed too, which is what has this and `CONTROL`.
const PUNCT: u8 = 1 << 4;
const DIGIT: u8 = 1 << 5;
const ZERO: u8 = 1 << 6;
/// Not of the table.
const HIGH: u8 = 1 << 7;

#[repr(align(64))]
struct Table<const N: usize>([u8; N]);

/// What each character of ASCII is.
static TABLE: Table<128> = {
    let mut table = [0; 128];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = match byte as u8 {
            b'"' => QUOTE,
            b'\\' => SLASH,
            b'\n' => CONTROL | BLANK | PUNCT,
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

/// The masks of a block, one for each class. Of bytes beyond ASCII only [`HIGH`] is of meaning.
#[inline(always)]
unsafe fn row(block: __m512i) -> __m512i {
    // SAFETY: as of `Isa`.
    unsafe {
        // Each eight bytes back to front, for that is how a matrix is written.
        let back = table(&[7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8]);
        let block = _mm512_shuffle_epi8(block, back);
        let (low, up) = (load(&TABLE.0, 0), load(&TABLE.0, 64));
        let class = _mm512_permutex2var_epi8(low, block, up);
        // class | block & HIGH
        let class = _mm512_ternarylogic_epi64::<0xf8>(class, block, splat(HIGH));
        let turned = _mm512_gf2p8affine_epi64_epi8::<0>(_mm512_set1_epi64(DIAGONAL), class);
        _mm512_permutexvar_epi8(load(&EIGHTS.0, 0), turned)
    }
}

const DIAGONAL: i64 = 0x8040_2010_0804_0201_u64 as i64;

/// Of each eight bytes the first, then of each the second, and so on.
static EIGHTS: Table<64> = {
    let mut eights = [0; 64];
    let mut i = 0;
    while i < 64 {
        eights[i] = (i % 8 * 8 + i / 8) as u8;
        i += 1;
    }
    Table(eights)
};

#[inline(always)]
unsafe fn load(bytes: &[u8], at: usize) -> __m512i {
    // SAFETY: as of `Isa`; the caller has so many bytes.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().add(at).cast()) }
}

/// Eight rows as eight columns.
#[inline(always)]
unsafe fn turn(rows: &[__m512i; 8]) -> [__m512i; 8] {
    // SAFETY: as of `Isa`.
    unsafe {
        let ([c0, c2, c4, c6], [c1, c3, c5, c7]) = (every_second::<false>(rows), every_second::<true>(rows));
        [c0, c1, c2, c3, c4, c5, c6, c7]
    }
}

/// The columns of even number, or the odd ones. No closures here: one that is not inlined loses the processor's
/// features, and takes a hundred times as long.
#[inline(always)]
unsafe fn every_second<const ODD: bool>(rows: &[__m512i; 8]) -> [__m512i; 4] {
    // SAFETY: as of `Isa`.
    unsafe {
        let (a, b) = (pair::<ODD>(rows[0], rows[1]), pair::<ODD>(rows[2], rows[3]));
        let (c, d) = (pair::<ODD>(rows[4], rows[5]), pair::<ODD>(rows[6], rows[7]));
        let (first_low, first_high) =
            (_mm512_shuffle_i64x2::<0x88>(a, b), _mm512_shuffle_i64x2::<0x88>(c, d));
        let (next_low, next_high) = (_mm512_shuffle_i64x2::<0xdd>(a, b), _mm512_shuffle_i64x2::<0xdd>(c, d));
        [
            _mm512_shuffle_i64x2::<0x88>(first_low, first_high),
            _mm512_shuffle_i64x2::<0x88>(next_low, next_high),
            _mm512_shuffle_i64x2::<0xdd>(first_low, first_high),
            _mm512_shuffle_i64x2::<0xdd>(next_low, next_high),
        ]
    }
}

/// Every second word of both, side by side: the even ones, or the odd ones.
#[inline(always)]
unsafe fn pair<const ODD: bool>(row: __m512i, next: __m512i) -> __m512i {
    // SAFETY: as of `Isa`.
    unsafe { if ODD { _mm512_unpackhi_epi64(row, next) } else { _mm512_unpacklo_epi64(row, next) } }
}

/// The columns in their places.
#[inline(always)]
unsafe fn named<W: Words>([quote, slash, control, blank, punct, digit, zero, high]: [W; 8]) -> Columns<W> {
    let mut columns = [high; window::CLASSES];
    // SAFETY: as of `Isa`.
    unsafe {
        columns[window::QUOTE] = quote.without(high);
        columns[window::SLASH] = slash.without(high);
        columns[window::CONTROL] = control.without(high);
        columns[window::BLANK] = blank.without(high);
        columns[window::PUNCT] = punct.without(high);
        columns[window::FEED] = punct.and(control).without(high);
        columns[window::DIGIT] = digit.without(high);
        columns[window::ZERO] = zero.without(high);
    }
    columns
}

// SAFETY (all of it): as of `Isa`; room for tokens is `put`'s caller's, see `window`.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Isa for Avx512 {
    type Block = __m512i;
    type Words = __m512i;
    type Word = __m512i;
    const HOLDS: bool = true;
    const ALONE_MAX: usize = 3;

    #[inline(always)]
    unsafe fn load(at: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(at.cast()) }
    }

    #[inline(always)]
    unsafe fn load_part(at: *const u8, len: usize, _body_len: usize) -> Option<__m512i> {
        unsafe {
            let end = 1 << len;
            let bytes = _mm512_mask_loadu_epi8(splat(b' '), end - 1, at.cast());
            Some(_mm512_mask_mov_epi8(bytes, end, splat(b'\n')))
        }
    }

    /// One by one: of a block alone that is sooner done.
    #[inline(always)]
    unsafe fn masks(block: __m512i) -> Columns<u64> {
        unsafe {
            let high = _mm512_movepi8_mask(block);
            let class = _mm512_maskz_permutex2var_epi8(!high, load(&TABLE.0, 0), block, load(&TABLE.0, 64));
            let mut masks = [high; 8];
            for (bit, mask) in masks[..7].iter_mut().enumerate() {
                *mask = _mm512_test_epi8_mask(class, splat(1 << bit));
            }
            named(masks)
        }
    }

    #[inline(always)]
    unsafe fn classify(block: __m512i, classes: &mut Classes, at: usize) {
        unsafe { _mm512_store_si512(classes.rows().add(at).cast(), row(block)) }
    }

    #[inline(always)]
    unsafe fn columns(classes: &Classes, first: usize) -> Columns<__m512i> {
        unsafe {
            let rows = classes.rows_from(first);
            let mut eight = [splat(0); 8];
            for (i, row) in eight.iter_mut().enumerate() {
                *row = _mm512_load_si512(rows.add(i).cast());
            }
            named(turn(&eight))
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
    unsafe fn put<const HOLD: bool>(
        (tokens, held): (&mut Tokens, &mut __m512i),
        count: usize,
        block: __m512i,
        starts: u64,
        _prims: u64,
    ) {
        unsafe {
            let bytes = _mm512_maskz_compress_epi8(starts, block);
            _mm512_storeu_si512(tokens.0.as_mut_ptr().cast::<u8>().add(count).cast(), bytes);
            if HOLD {
                let behind = u64::MAX.checked_shl(count as u32).unwrap_or(0);
                // Put in by an `or`, for an expansion into `held` would wait for the one before.
                *held = _mm512_or_si512(*held, _mm512_maskz_expand_epi8(behind, bytes));
            }
        }
    }

    #[inline(always)]
    unsafe fn word(tokens: &Tokens, word: usize) -> __m512i {
        unsafe { Self::load(tokens.0.as_ptr().cast::<u8>().add(64 * word)) }
    }

    #[inline(always)]
    unsafe fn no_tokens() -> __m512i {
        unsafe { splat(0) }
    }

    #[inline(always)]
    unsafe fn kinds(block: __m512i) -> Kinds {
        unsafe {
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
    "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,vpclmulqdq,gfni,avx2,bmi1,bmi2,popcnt,lzcnt,pclmulqdq"
);
