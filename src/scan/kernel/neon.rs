//! NEON. Compiled, and run under qemu-user only: never chosen by itself.
use super::lanes::{self, Block, Lanes};
use super::{Isa, Kinds, Numerals, Tokens};
use crate::window::Classes;
use core::arch::aarch64::*;

// SAFETY (all of it): every aarch64 that Rust targets has NEON.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Lanes for uint8x16_t {
    const BYTES: usize = 16;
    #[inline(always)]
    unsafe fn load(at: *const u8) -> Self {
        unsafe { vld1q_u8(at) }
    }
    #[inline(always)]
    unsafe fn splat(byte: u8) -> Self {
        unsafe { vdupq_n_u8(byte) }
    }
    #[inline(always)]
    unsafe fn table(of: &[u8; 16]) -> Self {
        unsafe { vld1q_u8(of.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn eq(self, other: Self) -> Self {
        unsafe { vceqq_u8(self, other) }
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        unsafe { vminq_u8(self, other) }
    }
    #[inline(always)]
    unsafe fn and(self, other: Self) -> Self {
        unsafe { vandq_u8(self, other) }
    }
    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        unsafe { vorrq_u8(self, other) }
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        unsafe { veorq_u8(self, other) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        unsafe { vsubq_u8(self, other) }
    }
    #[inline(always)]
    unsafe fn sub_to_zero(self, other: Self) -> Self {
        unsafe { vqsubq_u8(self, other) }
    }
    #[inline(always)]
    unsafe fn high_nibble(self) -> Self {
        unsafe { vshrq_n_u8::<4>(self) }
    }
    #[inline(always)]
    unsafe fn look_up(self, at: Self) -> Self {
        // Places beyond the table give zero.
        unsafe { vqtbl1q_u8(self, vandq_u8(at, vdupq_n_u8(0x8f))) }
    }
    #[inline(always)]
    unsafe fn tops(self) -> u64 {
        unsafe {
            const WEIGHTS: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
            let set = vcltzq_s8(vreinterpretq_s8_u8(self));
            let bits = vandq_u8(set, vld1q_u8(WEIGHTS.as_ptr()));
            u64::from(vaddv_u8(vget_low_u8(bits))) | u64::from(vaddv_u8(vget_high_u8(bits))) << 8
        }
    }
    #[inline(always)]
    unsafe fn bits<const BIT: i32>(self) -> u64 {
        unsafe { vtstq_u8(self, vdupq_n_u8(1 << BIT)).tops() }
    }
}

#[derive(Clone, Copy)]
struct Neon;

// SAFETY (all of it): as of `Isa`; room for tokens is `put`'s caller's, see `window`.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Isa for Neon {
    type Block = Block<uint8x16_t, 4>;
    type Words = u64;

    #[inline(always)]
    unsafe fn load(at: *const u8) -> Self::Block {
        unsafe { lanes::load(at) }
    }

    #[inline(always)]
    unsafe fn classify<const SOON: bool>(block: Self::Block, classes: &mut Classes, at: usize) {
        unsafe { lanes::classify::<_, _, SOON>(block, classes, at) }
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
        unsafe { lanes::utf8::<uint8x16_t, 4>(at) }
    }

    #[inline(always)]
    unsafe fn put(tokens: &mut Tokens, count: usize, block: Self::Block, starts: u64, _prims: u64) {
        unsafe {
            let mut bytes = [0u8; 64];
            for (i, lane) in block.into_iter().enumerate() {
                vst1q_u8(bytes.as_mut_ptr().add(i * 16), lane);
            }
            lanes::put_bytes(tokens, count, &bytes, starts);
        }
    }

    #[inline(always)]
    unsafe fn take(tokens: &Tokens, word: usize) -> Kinds {
        unsafe { lanes::take_bytes::<uint8x16_t, 4>(tokens, word) }
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

/// For processors that have what [`super::Kernel::Neon`] asks for.
pub(super) const CODE: super::Code = code!(Neon, "neon");
