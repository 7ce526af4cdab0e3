//! NEON. Compiled, and run under qemu-user only: never chosen by itself.
use super::lanes::{ByBytes, Lanes};
use core::arch::aarch64::*;

// SAFETY (all of it): every aarch64 that Rust targets has NEON.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Lanes for uint8x16_t {
    const BYTES: usize = 16;
    type Words = u64;
    #[inline(always)]
    unsafe fn load(at: *const u8) -> Self {
        unsafe { vld1q_u8(at) }
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut u8) {
        unsafe { vst1q_u8(at, self) }
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

/// For processors that have what [`super::Kernel::Neon`] asks for.
pub(super) const CODE: super::Code = code!(ByBytes<uint8x16_t, 4>, "neon");
