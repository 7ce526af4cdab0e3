//! The closer looks at blocks that stage 1 named: numbers and words, escapes, UTF-8.
//!
//! Each marks the block in which it found something odd; none says what.
use crate::kernel::Isa;
use crate::window::{Job, Scratch, each_block};

/// Checks the numbers and words of the blocks that need it.
///
/// It goes in strides of 64 bytes that begin where a number does, so that each is looked at as a whole: one that
/// is cut by a stride's end begins the next stride. One that is cut by the window's end is left to the next
/// window.
///
/// # Safety
/// As of [`crate::window::fill`]; the block before the window is readable where `prims[0]` has bits.
#[inline(always)]
pub(crate) unsafe fn numbers<I: Isa>(job: &Job, open: &mut bool, scratch: &mut Scratch) {
    let blocks = scratch.blocks;
    // The window's blocks are 1 and up here, block 0 is the one before.
    let last = scratch.prims[blocks];
    let cut = last.leading_ones();
    scratch.prims[blocks + 1] = 0;
    scratch.prims[blocks] = last & u64::MAX.checked_shr(cut).unwrap_or(0);
    if *open {
        scratch.prim_blocks[0] |= 1;
    }
    let mut next = 0;
    for block in each_block(&scratch.prim_blocks) {
        let (begin, end) = (64 * (block + 1), (64 * (block + 2)).min(64 + job.left));
        if next < begin {
            // Back to where a number began that goes on here.
            next = next.max(begin - scratch.prims[block].leading_ones() as usize);
        }
        while next < end {
            let (word, shift) = (next / 64, next as u32 % 64);
            // SAFETY: `word` is at most the last block, and there is an entry behind it; 64 bytes are readable
            // behind the window, and before it from the number's start on.
            unsafe {
                let low = *scratch.prims.get_unchecked(word);
                let high = *scratch.prims.get_unchecked(word + 1);
                let prim = low >> shift | high << 1 << (63 - shift);
                let goes_on = (high >> shift & 1).wrapping_neg();
                let tail = (!(prim & goes_on)).leading_zeros();
                let whole = prim & u64::MAX.checked_shr(tail).unwrap_or(0);
                let at = next as isize - 64;
                if tail == 64 || wrong_numbers::<I>(job.load::<I>(at), job.body.offset(at), whole) != 0 {
                    // It lies in one of these two.
                    for odd in [word.wrapping_sub(1), word] {
                        if odd < blocks {
                            scratch.suspect(odd);
                        }
                    }
                }
                next += 64 - tail as usize % 64;
            }
        }
    }
    scratch.prims[0] = last;
    *open = cut > 0;
    if cut == 64 {
        scratch.suspect(blocks - 1);
    }
}

/// What is wrong with the numbers and words that `prim` covers, each of which begins and ends in it.
///
/// Bit by bit, as an adder goes through digits: a mark on the first digit, added to the mask of digits, comes
/// out behind the last one, where only certain bytes may stand.
///
/// # Safety
/// The words of `block`, which stands at `src`, are readable there.
#[inline(always)]
unsafe fn wrong_numbers<I: Isa>(block: I::Block, src: *const u8, mut prim: u64) -> u64 {
    // SAFETY: passed on.
    let masks = unsafe { I::numerals(block) };
    let mut starts = prim & !(prim << 1);
    let mut wrong = 0;
    let mut words = starts & !(masks.digit | masks.minus);
    starts &= !words;
    while words != 0 {
        let place = words.trailing_zeros();
        let len = (!(prim >> place)).trailing_zeros();
        // SAFETY: the word ends within the 64 bytes.
        wrong |= u64::from(!unsafe { is_word(src.add(place as usize), len) });
        prim &= !(u64::MAX.checked_shr(64 - len).unwrap_or(0) << place);
        words &= words - 1;
    }
    let digit = masks.digit & prim;
    let (dot, e) = (masks.dot & prim, masks.exp & prim);
    let (minus, plus) = (masks.minus & prim, masks.plus & prim);
    let (after_minus, after_e, after_dot) = ((starts & minus) << 1, e << 1, dot << 1);
    let signs = after_e & (minus | plus);
    // The first bytes of the three parts: what is no digit there is wrong.
    let int = starts & !minus | after_minus;
    let exp = after_e & !signs | signs << 1;
    wrong |= (int | after_dot | exp) & !digit;
    let behind = |first: u64| digit.wrapping_add(first & digit) & !digit;
    let int_end = behind(int);
    wrong |= dot & !int_end;
    wrong |= e & !(int_end | behind(after_dot));
    wrong |= minus & !(starts | after_e) | plus & !after_e;
    wrong |= prim & !(digit | dot | e | minus | plus);
    // A zero ends the integer.
    wrong |= (int & masks.zero) << 1 & digit;
    // A number that ends in the middle of what was begun.
    wrong | (dot | e | minus | plus) >> 63
}

/// Whether the `len` bytes at `at` are `true`, `false` or `null`.
///
/// # Safety
/// They are readable.
#[inline(always)]
unsafe fn is_word(at: *const u8, len: u32) -> bool {
    if !matches!(len, 4 | 5) {
        return false;
    }
    // SAFETY: see above.
    unsafe {
        let first = u32::from_le_bytes(at.cast::<[u8; 4]>().read());
        if len == 4 {
            return first == u32::from_le_bytes(*b"true") || first == u32::from_le_bytes(*b"null");
        }
        first == u32::from_le_bytes(*b"fals") && *at.add(4) == b'e'
    }
}

/// Checks the escapes of the blocks that have some.
///
/// # Safety
/// As of [`crate::window::fill`].
#[inline(always)]
pub(crate) unsafe fn escapes<I: Isa>(job: &Job, low_half: &mut usize, scratch: &mut Scratch) {
    for block in each_block(&scratch.escape_blocks) {
        // SAFETY: these blocks lie in the window, 64 bytes behind it are readable.
        unsafe {
            let escaped = *scratch.escapes.get_unchecked(block);
            let (simple, unicode) = I::escapes(job.load::<I>(64 * block as isize));
            let mut sound = escaped & !(simple | unicode) == 0;
            let mut units = escaped & unicode;
            while units != 0 {
                let place = 64 * block + units.trailing_zeros() as usize;
                sound &= unit(job.block(block).add(place % 64), place, low_half);
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
    for block in each_block(&scratch.high_blocks) {
        // SAFETY: these blocks lie in the window, 64 bytes behind it are readable.
        unsafe {
            let src = job.block(block);
            let sound = if block == 0 && job.before < 3 {
                let mut led = [b' '; 80];
                core::ptr::copy_nonoverlapping(src, led.as_mut_ptr().add(16), 64);
                I::utf8(led.as_ptr().add(16))
            } else {
                I::utf8(src)
            };
            // A character that goes on in the next block makes that one listed too; else it is cut off.
            let cut =
                (*src.add(63) >= 0xc0 || *src.add(62) >= 0xe0 || *src.add(61) >= 0xf0) && *src.add(64) < 0x80;
            if !sound || cut {
                scratch.suspect(block);
            }
        }
    }
}
