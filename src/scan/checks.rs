//! The closer looks at blocks that stage 1 named: numbers and words, escapes, UTF-8.
//!
//! Each marks the block in which it found something odd; none says what.
use crate::kernel::Isa;
use crate::window::{Job, Scratch, each_block};

/// Where in a number or word a listed block ended; meaningful for the block behind it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Numbers {
    /// The block that goes on here, in blocks from the window's start.
    next: usize,
    /// Bits 0 to 2: within the digits of the integer, of the fraction, of the exponent.
    int: u64,
    frac: u64,
    exp: u64,
    /// The byte before is a point, an e, the exponent's sign, the number's sign, the zero that it begins with.
    dot: u64,
    e: u64,
    sign: u64,
    minus: u64,
    zero: u64,
    /// Bytes of the block that belong to a word of the block before.
    word: u32,
}

/// Within the digits of an integer: what a block that was not listed leaves behind.
const INTEGER: Numbers =
    Numbers { next: 0, int: 1, frac: 0, exp: 0, dot: 0, e: 0, sign: 0, minus: 0, zero: 0, word: 0 };

impl Numbers {
    /// Makes the place count from the next window's start.
    #[inline(always)]
    pub fn leave(&mut self, blocks: usize, ended: bool) {
        self.next = if ended { usize::MAX } else { self.next.wrapping_sub(blocks) };
    }
}

/// Checks the numbers and words of the blocks that need it.
///
/// Bit by bit, as an adder goes through digits: a mark on the first digit, added to the mask of digits, comes
/// out behind the last one, where only certain bytes may stand.
///
/// # Safety
/// As of [`crate::window::fill`].
#[inline(always)]
pub(crate) unsafe fn numbers<I: Isa>(job: &Job, carry: &mut Numbers, scratch: &mut Scratch) {
    for block in each_block(scratch.prim_blocks) {
        // SAFETY: these blocks lie in the window, 16 bytes behind it are readable.
        unsafe {
            let prim = *scratch.prims.get_unchecked(block);
            let before = match block {
                0 => scratch.prim_before,
                _ => *scratch.prims.get_unchecked(block - 1) >> 63,
            };
            let continues = prim & before;
            let from = if continues == 0 {
                Numbers { int: 0, ..INTEGER }
            } else if carry.next == block {
                *carry
            } else {
                INTEGER
            };
            let (wrong, to) = block_of_numbers::<I>(job.src.add(64 * block), prim, continues, &from);
            *carry = to;
            carry.next = block + 1;
            if wrong != 0 {
                scratch.suspect(block);
            }
        }
    }
}

/// What is wrong with the numbers and words that `prim` covers, and how the block leaves the last one.
///
/// # Safety
/// 64 + 16 bytes are readable at `src`.
#[inline(always)]
unsafe fn block_of_numbers<I: Isa>(
    src: *const u8,
    prim: u64,
    continues: u64,
    from: &Numbers,
) -> (u64, Numbers) {
    // SAFETY: passed on.
    unsafe {
        let masks = I::numerals(I::load(src));
        let mut starts = prim & !(prim << 1 | continues);
        let tail = (1u64 << from.word) - 1;
        let mut prim = prim & !tail;
        let mut words = starts & !(masks.digit | masks.minus);
        starts &= !words;
        // The first one without a branch: most of these blocks have one or none.
        let some = u64::from(words != 0);
        let place = words.trailing_zeros() & 63;
        let len = word_len(src.add(place as usize)) * some as u32;
        let mut wrong = some & u64::from(len == 0);
        prim &= !(((1u64 << len) - 1) << place);
        let mut word = (place + len).saturating_sub(64);
        words &= words.wrapping_sub(1);
        while words != 0 {
            let place = words.trailing_zeros();
            let len = word_len(src.add(place as usize));
            wrong |= u64::from(len == 0);
            prim &= !(((1u64 << len) - 1) << place);
            word = (place + len).saturating_sub(64);
            words &= words - 1;
        }
        let digit = masks.digit & prim;
        let (dot, e) = (masks.dot & prim, masks.exp & prim);
        let (minus, plus) = (masks.minus & prim, masks.plus & prim);
        let after_e = e << 1 | from.e;
        let after_minus = (starts & minus) << 1 | from.minus;
        let signs = after_e & (minus | plus);
        let after_sign = signs << 1 | from.sign;
        let after_dot = dot << 1 | from.dot;
        // The first digits of the three parts; what must be a digit and is not is wrong.
        let int = starts & digit | after_minus;
        let exp = after_e & !signs | after_sign;
        wrong |= (after_minus | after_dot | exp) & !digit;
        let (int_end, int_out) = behind(int & digit, from.int, digit);
        let (frac_end, frac_out) = behind(after_dot & digit, from.frac, digit);
        let (_, exp_out) = behind(exp & digit, from.exp, digit);
        wrong |= dot & !int_end;
        wrong |= e & !(int_end | frac_end);
        wrong |= minus & !(starts | after_e) | plus & !after_e;
        wrong |= prim & !(digit | dot | e | minus | plus);
        let zero = int & masks.zero & digit;
        wrong |= (zero << 1 | from.zero) & digit;
        // What the block's last byte asks of the next one.
        let due = (dot | e | minus | plus) >> 63;
        if due != 0 && !matches!(*src.add(64), b'0'..=b'9' | b'+' | b'-') {
            wrong = 1;
        }
        let to = Numbers {
            next: 0,
            int: int_out,
            frac: frac_out,
            exp: exp_out,
            dot: dot >> 63,
            e: e >> 63,
            sign: signs >> 63,
            minus: (starts & minus) >> 63,
            zero: zero >> 63,
            word,
        };
        (wrong, to)
    }
}

/// The places behind the runs of digits that begin at `first`, or go on at bit 0 if `carry` is 1; and whether
/// the last run goes on in the next block.
#[inline(always)]
fn behind(first: u64, carry: u64, digit: u64) -> (u64, u64) {
    let (sum, over) = digit.overflowing_add(first);
    let (sum, over_too) = sum.overflowing_add(carry & digit);
    (sum & !digit | carry & !digit, u64::from(over | over_too))
}

/// The length of the word at `at`, zero if it is none or not alone.
///
/// # Safety
/// Six bytes are readable at `at`.
#[inline(always)]
unsafe fn word_len(at: *const u8) -> u32 {
    // SAFETY: see above.
    unsafe {
        let first = u32::from_le_bytes(at.cast::<[u8; 4]>().read());
        let four = first == u32::from_le_bytes(*b"true") || first == u32::from_le_bytes(*b"null");
        let five = (first == u32::from_le_bytes(*b"fals")) & (*at.add(4) == b'e');
        let len = u32::from(four) * 4 + u32::from(five) * 5;
        // Of what may follow, the grammar refuses what must not.
        len * u32::from(ENDS_WORD[usize::from(*at.add(len as usize))])
    }
}

/// Bytes that are not part of a number or word.
const ENDS_WORD: [bool; 256] = {
    let mut table = [false; 256];
    let ends = b" \t\r\n,:{}[]\"";
    let mut i = 0;
    while i < ends.len() {
        table[ends[i] as usize] = true;
        i += 1;
    }
    table
};

/// Checks the escapes of the blocks that have some.
///
/// # Safety
/// As of [`crate::window::fill`].
#[inline(always)]
pub(crate) unsafe fn escapes<I: Isa>(job: &Job, low_half: &mut usize, scratch: &mut Scratch) {
    for block in each_block(scratch.escape_blocks) {
        // SAFETY: these blocks lie in the window, 16 bytes behind it are readable.
        unsafe {
            let escaped = *scratch.escapes.get_unchecked(block);
            let src = job.src.add(64 * block);
            let (simple, unicode) = I::escapes(I::load(src));
            let mut sound = escaped & !(simple | unicode) == 0;
            let mut units = escaped & unicode;
            while units != 0 {
                let place = 64 * block + units.trailing_zeros() as usize;
                sound &= unit(job.src.add(place), place, low_half);
                units &= units - 1;
            }
            if !sound {
                scratch.suspect(block);
            }
        }
    }
}

/// Whether the escape whose `u` is at `at`, `place` bytes into the window, is one; notes where the other half of
/// a surrogate is due.
///
/// # Safety
/// Eleven bytes are readable at `at`.
#[inline(always)]
unsafe fn unit(at: *const u8, place: usize, low_half: &mut usize) -> bool {
    // SAFETY: see above.
    unsafe {
        let Some(code) = hex4(at.add(1)) else { return false };
        match code & 0xfc00 {
            0xdc00 => place == *low_half,
            0xd800 => {
                *low_half = place + 6;
                *at.add(5) == b'\\'
                    && *at.add(6) == b'u'
                    && hex4(at.add(7)).is_some_and(|low| low & 0xfc00 == 0xdc00)
            }
            _ => true,
        }
    }
}

/// # Safety
/// Four bytes are readable at `at`.
#[inline(always)]
unsafe fn hex4(at: *const u8) -> Option<u32> {
    // SAFETY: see above.
    let digits = unsafe { at.cast::<[u8; 4]>().read() };
    let mut code = 0;
    let mut all = 0;
    for digit in digits {
        let value = HEX[usize::from(digit)];
        all |= value;
        code = code << 4 | u32::from(value & 15);
    }
    (all < 16).then_some(code)
}

/// The value of a hexadecimal digit; 255: none.
const HEX: [u8; 256] = {
    let mut table = [255; 256];
    let mut digit = 0;
    while digit < 10 {
        table[b'0' as usize + digit] = digit as u8;
        digit += 1;
    }
    let mut digit = 0;
    while digit < 6 {
        table[b'a' as usize + digit] = 10 + digit as u8;
        table[b'A' as usize + digit] = 10 + digit as u8;
        digit += 1;
    }
    table
};

/// Checks the blocks that hold bytes beyond ASCII.
///
/// # Safety
/// As of [`crate::window::fill`].
#[inline(always)]
pub(crate) unsafe fn utf8<I: Isa>(job: &Job, scratch: &mut Scratch) {
    for block in each_block(scratch.high_blocks) {
        // SAFETY: these blocks lie in the window, 16 bytes behind it are readable.
        unsafe {
            let src = job.src.add(64 * block);
            let sound = if block == 0 && !job.has_lead {
                let mut led = [b' '; 80];
                core::ptr::copy_nonoverlapping(src, led.as_mut_ptr().add(16), 64);
                I::utf8(led.as_ptr().add(16))
            } else {
                I::utf8(src)
            };
            // A character that goes on in the next block makes that one listed too; else it is cut off.
            let cut = (*src.add(63) >= 0xc0 || *src.add(62) >= 0xe0 || *src.add(61) >= 0xf0)
                && *src.add(64) < 0x80;
            if !sound || cut {
                scratch.suspect(block);
            }
        }
    }
}
