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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{string::String, vec, vec::Vec};

    #[cfg(target_arch = "aarch64")]
    type Plain = crate::kernel::ByBytes<core::arch::aarch64::uint8x16_t, 4>;
    #[cfg(target_arch = "x86_64")]
    type Plain = crate::kernel::ByBytes<core::arch::x86_64::__m128i, 4>;

    /// Of brackets and line feeds.
    fn kinds(text: &[u8]) -> Kinds {
        let mask = |of: &[u8]| {
            text.iter().enumerate().map(|(i, byte)| u64::from(of.contains(byte)) << i).sum::<u64>()
        };
        Kinds {
            open: mask(b"[{"),
            close: mask(b"]}"),
            object: mask(b"{}"),
            colon: 0,
            comma: 0,
            string: 0,
            feed: mask(b"\n"),
        }
    }

    fn walked(text: &[u8], stack: u64, base: u64) -> Walked {
        let kinds = kinds(text);
        // SAFETY: what `Plain` needs is there wherever tests run.
        unsafe { walk::<Plain>(kinds.open, kinds.object, text.len() as u32, stack, base) }
    }

    /// What is to be found, bracket by bracket; none where they do not fit. The depth is followed without bounds.
    fn by_hand(text: &[u8]) -> Option<(Vec<u8>, u64, u64)> {
        let (mut open, mut tops, mut ends) = (Vec::new(), 0, 0);
        for (i, byte) in text.iter().enumerate() {
            match byte {
                b'[' | b'{' => open.push(*byte),
                _ if open.pop() != Some(byte - 2) => return None,
                _ => ends |= u64::from(open.is_empty()) << i,
            }
            // Where nothing is open it is the bit above all.
            tops |= (as_stack(&open) & 1) << i;
        }
        Some((open, tops, ends))
    }

    fn as_stack(open: &[u8]) -> u64 {
        open.iter().fold(EMPTY, |stack, byte| stack << 1 | u64::from(*byte == b'{'))
    }

    fn check(text: &[u8]) {
        let (found, expected) = (walked(text, EMPTY, EMPTY), by_hand(text));
        assert_eq!(found.wrong, expected.is_none(), "{}", text.escape_ascii());
        if let Some((open, tops, ends)) = expected {
            let found = (found.stack, found.tops & !(u64::MAX << 1 << (text.len() - 1)), found.ends);
            assert_eq!(found, (as_stack(&open), tops, ends), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn all_short_texts_of_brackets() {
        for len in 1..=7u32 {
            for number in 0..4usize.pow(len) {
                let text: Vec<u8> = (0..len).map(|i| b"[{]}"[number >> (2 * i) & 3]).collect();
                check(&text);
            }
        }
    }

    #[test]
    fn a_stack_from_before_is_gone_on_with() {
        // (open before, brackets, wrong)
        let rows: [(&[u8], &[u8], bool); 8] = [
            (b"{[", b"]}", false),
            (b"{[", b"}", true),
            (b"{", b"}}", true),
            (b"{[{[{", b"}]}]}", false),
            (b"[[[[[", b"]]]]]]", true),
            (b"{", b"[[[[]]]]}{}", false),
            (b"{{", b"}{}{}{}{}[", false),
            (b"", b"]", true),
        ];
        for (before, text, wrong) in rows {
            let whole = [before, text].concat();
            let found = walked(text, as_stack(before), EMPTY);
            assert_eq!(found.wrong, wrong, "{}", whole.escape_ascii());
            if let Some((open, tops, ends)) = by_hand(&whole) {
                let shift = before.len();
                let through = u64::MAX >> (64 - text.len());
                assert_eq!(found.stack, as_stack(&open));
                assert_eq!((found.tops & through, found.ends), (tops >> shift, ends >> shift));
            }
        }
        // In an array of events each ends one level up.
        let found = walked(b"{}{[]}", EMPTY << 1, EMPTY << 1);
        assert_eq!((found.wrong, found.ends), (false, 0b10_0010));
    }

    /// Up to 58 levels are followed; what is deeper than can be is never vouched for, wherever four brackets begin.
    #[test]
    fn depth_ends_at_the_stacks_end() {
        for before in 0..4 {
            for depth in 50..=64 {
                for open in [b'[', b'{'] {
                    let (before, all) = (vec![open; before], vec![open; depth]);
                    let text = &all[before.len()..];
                    let found = walked(text, as_stack(&before), EMPTY);
                    assert!(!found.wrong || depth > 58, "{depth}");
                    if !found.wrong {
                        assert!(depth < 63, "{depth}");
                        assert_eq!(found.stack, as_stack(&all));
                    }
                }
            }
        }
        // All that can be open is open, and four more.
        let full = as_stack(&[b'{'; 62]);
        assert!(walked(b"{{{{", full, EMPTY).wrong && walked(b"}", full, EMPTY).wrong);
    }

    #[test]
    fn one_by_one_accuses_the_lines_that_do_not_fit() {
        // Which tokens are accused stands below each text.
        let rows = [
            ("{[]}\n{}\n", ""),
            ("{[}\n{}\n[]\n", "^^^^"),
            ("{}\n{\n{}\n", "   ^^"),
            ("}\n{}\n", "^^"),
            ("{}\n[{]\n", "   ^^^^"),
            ("{[", ""),
            ("{}}", "^^^"),
        ];
        for (text, accused) in rows {
            let (_, wrong) = careful(&kinds(text.as_bytes()), EMPTY, EMPTY);
            let found: String =
                (0..text.len()).map(|i| if wrong >> i & 1 == 1 { '^' } else { ' ' }).collect();
            assert_eq!(found.trim_end(), accused, "{text:?}");
        }
        // What is open at the end goes on, and a line feed closes all.
        let stacks = [("{[", as_stack(b"{[")), ("{[\n{", as_stack(b"{")), ("{}\n", EMPTY)];
        for (text, stack) in stacks {
            let (walked, _) = careful(&kinds(text.as_bytes()), EMPTY, EMPTY);
            assert!(walked.wrong && walked.stack == stack, "{text:?}");
        }
        for depth in [58, 59, 60] {
            let text = vec![b'['; depth];
            let (_, wrong) = careful(&kinds(&text), EMPTY, EMPTY);
            assert_eq!(wrong != 0, depth > 58);
        }
    }
}
