//! Which brackets belong together: four at a time, by a table of what four brackets do to those that are open.
//!
//! The way through text that is sound has one branch, the loop's. Where anything does not fit, [`careful`] goes
//! through the same brackets again one by one and starts anew at each line feed.
use crate::grammar::EMPTY;
use crate::kernel::{Isa, Kinds};

/// What up to four brackets do to a stack of open ones.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Step {
    /// For each bracket a byte: the place on the stack of what is open behind it, as a bit; none where that is one
    /// of the four.
    from: u32,
    /// How many of the stack are closed, and a bit for each.
    pops: u8,
    popped: u8,
    /// What these must be, the top one lowest; 1: an object.
    need: u8,
    /// How many stay open, and what they are, the innermost lowest.
    pushes: u8,
    pushed: u8,
    /// Where what is open is one of the four: which are objects.
    tops: u8,
    /// Behind which of them least is open, if that is none of the four.
    lowest: u8,
    /// 1: two of the four do not fit.
    wrong: u8,
}

/// By four bits that say which brackets open, and above them four that say which are an object's; above the last
/// bracket of fewer than four, and above four, a 1.
static STEPS: [Step; 512] = {
    let mut steps =
        [Step { from: 0, pops: 0, popped: 0, need: 0, pushes: 0, pushed: 0, tops: 0, lowest: 0, wrong: 0 };
            512];
    let mut index = 16;
    while index < 512 {
        steps[index] = step(index & 15, index >> 4);
        index += 1;
    }
    steps
};

const fn step(opens: usize, objects: usize) -> Step {
    let count = objects.ilog2();
    let (mut from, mut pops, mut need, mut tops, mut lowest, mut wrong) = (0u32, 0, 0, 0, 0, 0);
    // Of the four: how many are open, the innermost lowest.
    let (mut pushes, mut pushed) = (0, 0);
    let mut i = 0;
    while i < count {
        let object = objects >> i & 1;
        if opens >> i & 1 == 1 {
            (pushes, pushed) = (pushes + 1, pushed << 1 | object);
        } else if pushes > 0 {
            wrong |= pushed & 1 ^ object;
            (pushes, pushed) = (pushes - 1, pushed >> 1);
        } else {
            need |= object << pops;
            (pops, lowest) = (pops + 1, 0);
        }
        if pushes > 0 {
            tops |= (pushed & 1) << i;
        } else {
            from |= 1 << pops << (8 * i);
            lowest |= 1 << i;
        }
        i += 1;
    }
    Step {
        from,
        pops: pops as u8,
        popped: (1 << pops) - 1,
        need: need as u8,
        pushes,
        pushed: pushed as u8,
        tops: tops as u8,
        lowest,
        wrong: wrong as u8,
    }
}

/// What was found in the brackets of some tokens, a bit for each bracket.
pub(crate) struct Walked {
    /// The stack behind them.
    pub stack: u64,
    /// Whether what is open behind the bracket is an object.
    pub tops: u64,
    /// Behind which an event is complete.
    pub ends: u64,
    /// Something does not fit.
    pub wrong: bool,
}

/// Goes through `count` brackets, of which `opens` open and `objects` are an object's; `base` is the stack when an
/// event is complete. Nesting beyond 58 levels counts as wrong.
///
/// # Safety
/// The processor has the features of `I`.
#[inline(always)]
pub(crate) unsafe fn walk<I: Isa>(
    mut opens: u64,
    mut objects: u64,
    count: u32,
    mut stack: u64,
    base: u64,
) -> Walked {
    let (mut tops, mut ends, mut wrong) = (0, 0, 0);
    objects |= 1u64.checked_shl(count).unwrap_or(0);
    let mut done = 0;
    while done < count {
        let more = u64::from(count - done >= 4) << 8;
        let index = opens & 15 | (objects & 15) << 4 | more;
        // SAFETY: the index is below 512.
        let step = unsafe { STEPS.get_unchecked(index as usize) };
        let places = (stack as u32 & 31).wrapping_mul(0x0101_0101) & step.from;
        let set = places.wrapping_add(0x7f7f_7f7f) & 0x8080_8080;
        // SAFETY: the features of `I` are there.
        let open = unsafe { I::squeeze(u64::from(set), 0x8080_8080) } | u64::from(step.tops);
        tops |= open << done;
        wrong |= u64::from(step.wrong) | (stack ^ u64::from(step.need)) & u64::from(step.popped);
        let rest = stack >> step.pops;
        // Emptied too far, or full.
        wrong |= rest.wrapping_sub(1) >> 58;
        ends |= if rest == base { u64::from(step.lowest) << done } else { 0 };
        stack = rest << step.pushes | u64::from(step.pushed);
        (opens, objects, done) = (opens >> 4, objects >> 4, done + 4);
    }
    Walked { stack, tops, ends, wrong: wrong != 0 }
}

/// The same one by one, `stack` being empty again behind each line feed. Also returns which tokens do not fit: all
/// brackets of a line in which one does not.
#[cold]
#[inline(never)]
pub(crate) fn careful(kinds: &Kinds, mut stack: u64, base: u64) -> (Walked, u64) {
    let (mut tops, mut ends, mut wrong) = (0u64, 0u64, 0);
    let (mut nth, mut line, mut odd) = (0, 0, false);
    let mut rest = kinds.open | kinds.close | kinds.feed;
    while rest != 0 {
        let token = rest & rest.wrapping_neg();
        rest ^= token;
        if kinds.feed & token != 0 {
            wrong |= if odd || stack != EMPTY { line | token } else { 0 };
            (stack, line, odd) = (EMPTY, 0, false);
            continue;
        }
        let object = u64::from(kinds.object & token != 0);
        if kinds.open & token != 0 {
            odd |= stack >> 58 != 0;
            stack = stack << 1 | object;
        } else {
            odd |= (stack ^ object) & 1 != 0 || stack <= EMPTY;
            stack >>= 1;
            ends |= u64::from(stack == base) << nth;
        }
        tops |= (stack & 1) << nth;
        line |= token;
        nth += 1;
    }
    wrong |= if odd { line } else { 0 };
    (Walked { stack, tops, ends, wrong: true }, wrong)
}
