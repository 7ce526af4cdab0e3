//! What the stages need of a processor, and which one this is.
//!
//! A kernel turns 64 bytes into bit masks, bit `i` for byte `i`. Everything between the masks is the same code
//! for all of them ([`crate::window`], [`crate::checks`], [`crate::grammar`]), compiled once for each kernel.
use crate::fields::Finder;
use crate::window::{Carry, Classes, Columns, Job, Scratch};
#[cfg(test)]
pub(crate) use lanes::ByBytes;
pub(crate) use words::Words;

/// The code of a kernel: what is compiled for `$isa`, with the processor's `$features`.
macro_rules! code {
    ($isa:ty, $features:literal) => {{
        use crate::fields::{self, Fields, Finder, Found, Part, Window};
        use crate::window::{Carry, Job, Scratch};
        use core::ops::Range;

        // SAFETY (all of them): the features are those of the function, and its callers know that the processor has
        // them; else see there.
        #[target_feature(enable = $features)]
        unsafe fn window(job: &Job, carry: &mut Carry, scratch: &mut Scratch) {
            // SAFETY: see above.
            unsafe { crate::window::fill::<$isa>(job, carry, scratch) }
        }

        #[target_feature(enable = $features)]
        unsafe fn find(fields: &Fields, window: &Window<'_>, span: Range<usize>, found: &mut Found) {
            // SAFETY: see above.
            unsafe { fields::find::<$isa>(fields, window, span, found) }
        }

        #[target_feature(enable = $features)]
        unsafe fn walk(
            fields: &Fields,
            window: &Window<'_>,
            part: Part,
            found: &mut Found,
        ) -> Option<usize> {
            // SAFETY: see above.
            unsafe { fields::walk::<$isa>(fields, window, part, found) }
        }

        #[target_feature(enable = $features)]
        unsafe fn leave(window: &Window<'_>, at: usize) -> usize {
            // SAFETY: see above.
            unsafe { fields::leave::<$isa>(window, at) }
        }

        super::Code { window, finder: Finder { find, walk, leave } }
    }};
}

#[cfg(target_arch = "x86_64")]
mod avx512;
mod lanes;
#[cfg(target_arch = "aarch64")]
mod neon;
mod words;
#[cfg(target_arch = "x86_64")]
mod x86;

/// How bytes are looked at. All kernels give the same verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// 64 bytes in one register, tokens compressed by VBMI2.
    Avx512,
    /// 64 bytes in two registers, tokens gathered by BMI2.
    Avx2,
    /// 64 bytes in four registers; for processors without fast BMI2 too.
    Sse42,
    /// 64 bytes in four registers of an ARM.
    Neon,
    /// Byte by byte: the exact judge alone.
    Scalar,
}

impl Kernel {
    /// Every kernel, best first.
    pub const ALL: &[Kernel] = &[Kernel::Avx512, Kernel::Avx2, Kernel::Sse42, Kernel::Neon, Kernel::Scalar];

    /// Its name, as `RINGMILL_SIMD` and `/status` say it.
    pub const fn name(self) -> &'static str {
        match self {
            Kernel::Avx512 => "avx512",
            Kernel::Avx2 => "avx2",
            Kernel::Sse42 => "sse42",
            Kernel::Neon => "neon",
            Kernel::Scalar => "scalar",
        }
    }

    /// The best one of this processor. NEON is never chosen by itself: it was not measured on an ARM.
    #[cfg(feature = "std")]
    pub fn best() -> Kernel {
        let by_itself = |kernel: &&Kernel| **kernel != Kernel::Neon && kernel.is_available();
        *Kernel::ALL.iter().find(by_itself).unwrap_or(&Kernel::Scalar)
    }

    /// Whether this processor has what it needs, and has it fast.
    #[cfg(feature = "std")]
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => {
                has_avx2()
                    && std::is_x86_feature_detected!("avx512f")
                    && std::is_x86_feature_detected!("avx512bw")
                    && std::is_x86_feature_detected!("avx512vl")
                    && std::is_x86_feature_detected!("avx512vbmi")
                    && std::is_x86_feature_detected!("avx512dq")
                    && std::is_x86_feature_detected!("avx512vbmi2")
                    && std::is_x86_feature_detected!("vpclmulqdq")
                    && std::is_x86_feature_detected!("gfni")
            }
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => has_avx2() && has_fast_bmi2(),
            #[cfg(target_arch = "x86_64")]
            Kernel::Sse42 => {
                std::is_x86_feature_detected!("sse4.2")
                    && std::is_x86_feature_detected!("ssse3")
                    && std::is_x86_feature_detected!("popcnt")
            }
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => true,
            Kernel::Scalar => true,
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }
}

#[cfg(all(feature = "std", target_arch = "x86_64"))]
fn has_avx2() -> bool {
    std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("bmi1")
        && std::is_x86_feature_detected!("bmi2")
        && std::is_x86_feature_detected!("popcnt")
        && std::is_x86_feature_detected!("lzcnt")
        && std::is_x86_feature_detected!("pclmulqdq")
}

/// AMD's families before 0x19 (Zen 3) have `pext` and `pdep` in microcode: hundreds of cycles instead of one.
#[cfg(all(feature = "std", target_arch = "x86_64"))]
fn has_fast_bmi2() -> bool {
    use core::arch::x86_64::__cpuid;
    // Which knows the instructions and no processor.
    if cfg!(miri) {
        return true;
    }
    let vendor = __cpuid(0);
    let signature = __cpuid(1).eax;
    let family = (signature >> 8 & 0xf) + (signature >> 20 & 0xff);
    // "AuthenticAMD" or "HygonGenuine".
    !(matches!(vendor.ebx, 0x6874_7541 | 0x6f67_7948) && family < 0x19)
}

/// Fills `Scratch` with what a window of a body holds.
pub(crate) type WindowFn = unsafe fn(&Job, &mut Carry, &mut Scratch);

/// The code of a kernel, for processors that have it.
#[derive(Clone, Copy)]
pub(crate) struct Code {
    pub window: WindowFn,
    pub finder: Finder,
}

/// The code of `kernel`; none for the scalar one, and for those that this machine's compiler did not build.
pub(crate) fn code(kernel: Kernel) -> Option<Code> {
    match kernel {
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512 => Some(avx512::CODE),
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2 => Some(x86::AVX2),
        #[cfg(target_arch = "x86_64")]
        Kernel::Sse42 => Some(x86::SSE42),
        #[cfg(target_arch = "aarch64")]
        Kernel::Neon => Some(neon::CODE),
        _ => None,
    }
}

/// The bytes of numbers.
#[derive(Clone, Copy)]
pub(crate) struct Numerals {
    /// `0` to `9`
    pub digit: u64,
    /// `0`
    pub zero: u64,
    /// `.`
    pub dot: u64,
    /// `e` or `E`
    pub exp: u64,
    /// `-`
    pub minus: u64,
    /// `+`
    pub plus: u64,
}

/// What 64 tokens are.
#[derive(Clone, Copy)]
pub(crate) struct Kinds {
    /// `{` and `[`
    pub open: u64,
    /// `}` and `]`
    pub close: u64,
    /// Of these, `{` and `}`.
    pub object: u64,
    /// `:`
    pub colon: u64,
    /// `,`
    pub comma: u64,
    /// Strings.
    pub string: u64,
    /// Line feed.
    pub feed: u64,
}

impl Kinds {
    /// From bits 6, 5, 4 and 1 of each token's first byte, or zeros for numbers and words: they tell all kinds
    /// apart.
    #[allow(dead_code)]
    #[inline(always)]
    pub fn of_planes([b6, b5, b4, b1]: [u64; 4]) -> Kinds {
        let rest = !b6 & b5;
        Kinds {
            open: b6 & b1,
            close: b6 & !b1,
            object: b6 & b5,
            colon: rest & b1 & b4,
            comma: rest & !b1,
            string: rest & b1 & !b4,
            feed: !b6 & !b5 & b1,
        }
    }
}

/// Room for tokens, as the kernel wants them: bytes, or four words of bits for each 64 tokens. As bytes it is
/// long enough for a window of nothing but tokens and one more block.
#[repr(C, align(64))]
pub(crate) struct Tokens(pub [[u64; 4]; crate::window::BLOCKS * 2 + 16]);

/// A processor's share of the work.
///
/// # Safety
/// All methods need the processor features of the implementing kernel; pointers must be readable for 64 bytes,
/// for `utf8` for three bytes before too; blocks lie in the window.
pub(crate) trait Isa {
    type Block: Copy;
    /// The masks of neighbouring blocks.
    type Words: Words;
    /// 64 tokens.
    type Word: Copy;
    /// A window's first 64 tokens can be held in a register until they are looked at, instead of being read again
    /// where they were just written, piece by piece: that is slow.
    const HOLDS: bool;
    /// Windows of so few blocks are gone through block by block; a window of a table's masks would wait longer for
    /// what was just written than the work takes.
    const ALONE_MAX: usize;
    unsafe fn load(at: *const u8) -> Self::Block;
    /// The block at `at`, of which only the first `len` bytes, fewer than 64, are readable, and the last of them is
    /// the last one of a body of `body_len` bytes: then a line feed, then blanks. None where that is no faster than
    /// a copy.
    #[inline(always)]
    unsafe fn load_part(_at: *const u8, _len: usize, _body_len: usize) -> Option<Self::Block> {
        None
    }
    /// Sorts the bytes of a block.
    unsafe fn masks(block: Self::Block) -> Columns<u64>;
    /// The same; the masks are to be read later, by `columns`.
    unsafe fn classify(block: Self::Block, classes: &mut Classes, at: usize);
    /// The masks of the blocks from `first` on, a multiple of [`Words::LANES`].
    unsafe fn columns(classes: &Classes, first: usize) -> Columns<Self::Words>;
    unsafe fn numerals(block: Self::Block) -> Numerals;
    /// Which bytes are `{` or `[`, and which `}` or `]`.
    unsafe fn brackets(block: Self::Block) -> (u64, u64);
    /// Which bytes may follow a backslash, `u` apart from the others: (others, `u`).
    unsafe fn escapes(block: Self::Block) -> (u64, u64);
    /// Whether the block at `at` is part of well-formed UTF-8. A character that begins in its last three bytes
    /// is not judged, one that begins before it is.
    unsafe fn utf8(at: *const u8) -> bool;
    /// Appends the tokens that begin at `starts`; those of `prims` are numbers and words, and begin with none of
    /// the bytes that make other kinds. `count` have been appended before. `HOLD`: also to the word, which has the
    /// first 64 of all.
    unsafe fn put<const HOLD: bool>(
        to: (&mut Tokens, &mut Self::Word),
        count: usize,
        block: Self::Block,
        starts: u64,
        prims: u64,
    );
    /// The tokens from `64 * word` on; whatever behind the last one.
    unsafe fn word(tokens: &Tokens, word: usize) -> Self::Word;
    unsafe fn no_tokens() -> Self::Word;
    unsafe fn kinds(word: Self::Word) -> Kinds;
    /// Bit `i` of the result is the parity of bits `0..=i`.
    unsafe fn prefix_xor(bits: u64) -> u64;
    /// The place of the set bit number `n`.
    unsafe fn select(bits: u64, n: u32) -> u32;
    /// The bits of `from` at the places of `mask`, put side by side.
    unsafe fn squeeze(from: u64, mask: u64) -> u64;
    /// The lowest bits of `from`, put to the places of `mask`.
    unsafe fn spread(from: u64, mask: u64) -> u64;
}

/// [`Isa::prefix_xor`] without carry-less multiplication.
#[allow(dead_code)]
#[inline(always)]
pub(crate) fn prefix_xor_by_shifts(mut bits: u64) -> u64 {
    for by in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << by;
    }
    bits
}

/// [`Isa::select`] without `pdep`.
#[allow(dead_code)]
#[inline(always)]
pub(crate) fn select_by_steps(mut bits: u64, n: u32) -> u32 {
    for _ in 0..n {
        bits &= bits.wrapping_sub(1);
    }
    bits.trailing_zeros()
}

/// [`Isa::squeeze`] without `pext`.
#[allow(dead_code)]
#[inline(always)]
pub(crate) fn squeeze_by_steps(from: u64, mut mask: u64) -> u64 {
    let (mut bits, mut n) = (0, 0);
    while mask != 0 {
        bits |= (from >> mask.trailing_zeros() & 1) << n;
        n += 1;
        mask &= mask - 1;
    }
    bits
}

/// [`Isa::spread`] without `pdep`.
#[allow(dead_code)]
#[inline(always)]
pub(crate) fn spread_by_steps(mut from: u64, mut mask: u64) -> u64 {
    let mut bits = 0;
    while mask != 0 {
        bits |= (from & 1) << mask.trailing_zeros();
        from >>= 1;
        mask &= mask - 1;
    }
    bits
}
