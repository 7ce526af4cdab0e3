//! Stage 2: the grammar of all events of a window, 64 tokens a step.
//!
//! With tokens side by side, most of JSON's grammar is about pairs of neighbours, and a pair is two masks and a
//! shift. What is left is which brackets belong together and whether a comma stands in an object: see
//! [`crate::brackets`].
//!
//! A number or word is one token here, whatever its bytes; a string too, closing quote included.
use crate::brackets::{careful, walk};
use crate::kernel::{Isa, Kinds};
use crate::window::{BLOCKS, Column, Scratch};

/// The open brackets, and what the token before was.
#[derive(Clone, Copy)]
pub(crate) struct Grammar {
    /// A bit for each open bracket, the innermost lowest, 1: an object's. Above them one bit that is always
    /// set, so that an empty stack is 1 and one that was emptied too far is 0.
    stack: u64,
    /// The stack when an event of an array, or the only one, has ended.
    base: u64,
    object_open: u64,
    array_open: u64,
    object_comma: u64,
    /// A comma in an array, or a colon.
    wants_value: u64,
    value_end: u64,
    /// An event is complete.
    ended: u64,
    feed: u64,
    key: u64,
}

impl Default for Grammar {
    fn default() -> Grammar {
        Grammar::LINE
    }
}

impl Grammar {
    /// At the start of a line, or of the only event of a body.
    pub const LINE: Grammar = Grammar {
        stack: EMPTY,
        base: EMPTY,
        object_open: 0,
        array_open: 0,
        object_comma: 0,
        wants_value: 0,
        value_end: 0,
        ended: 0,
        feed: 1,
        key: 0,
    };

    /// At the start of an array's element.
    pub const ELEMENT: Grammar =
        Grammar { stack: EMPTY << 1, base: EMPTY << 1, feed: 0, wants_value: 1, ..Grammar::LINE };
}

pub(crate) const EMPTY: u64 = 1;

/// Finds the block of a token, for tokens in rising order.
struct Finder {
    block: usize,
    /// Tokens before `block`.
    before: usize,
}

impl Finder {
    #[inline(always)]
    fn block_of(&mut self, token: usize, starts: &Column) -> usize {
        while self.block + 1 < BLOCKS {
            let through = self.before + starts[self.block].count_ones() as usize;
            if token < through {
                break;
            }
            (self.block, self.before) = (self.block + 1, through);
        }
        self.block
    }
}

/// Checks `count` tokens, of which the first 64 may be in `held`, and finds where the events of arrays end. `more`:
/// other tokens follow in the next window.
///
/// # Safety
/// As of [`crate::window::fill`]; so many tokens were put.
#[inline(always)]
pub(crate) unsafe fn check<I: Isa, const LINES: bool>(
    (count, held, more): (usize, Option<I::Word>, bool),
    state: &mut Grammar,
    scratch: &mut Scratch,
) {
    let mut culprits = Finder { block: 0, before: 0 };
    let mut closers = Finder { block: 0, before: 0 };
    let mut first = 0;
    if !LINES {
        scratch.ends_len = 0;
    }
    while first < count {
        let tokens = (count - first).min(64) as u32;
        // SAFETY: the word holds at least one token; the features of `I` are there.
        let (wrong, ended) = unsafe {
            let word = match held {
                Some(word) if first == 0 => word,
                _ => I::word(&scratch.tokens, first / 64),
            };
            let kinds = I::kinds(word).first(tokens);
            let (odd, in_object, ended) = brackets::<I, LINES>(&kinds, state);
            let more = more || first + 64 < count;
            (odd | pairs::<LINES>(&kinds, (in_object, ended), state, tokens, more), ended)
        };
        if wrong != 0 {
            accuse(wrong, first, &mut culprits, scratch);
        }
        if !LINES && ended != 0 {
            // SAFETY: the features of `I` are there.
            unsafe { list_ends::<I>(ended, first, &mut closers, scratch) };
        }
        first += 64;
    }
}

/// Notes where these tokens stand.
///
/// # Safety
/// The processor has the features of `I`.
#[inline(always)]
unsafe fn list_ends<I: Isa>(mut ended: u64, first: usize, closers: &mut Finder, scratch: &mut Scratch) {
    while ended != 0 {
        let token = first + ended.trailing_zeros() as usize;
        let block = closers.block_of(token, &scratch.starts);
        let nth = (token - closers.before) as u32;
        // SAFETY: see above.
        let place = unsafe { I::select(scratch.starts[block], nth) };
        scratch.ends[scratch.ends_len] = (64 * block) as u16 + place as u16;
        scratch.ends_len += 1;
        ended &= ended - 1;
    }
}

#[cold]
fn accuse(mut wrong: u64, first: usize, culprits: &mut Finder, scratch: &mut Scratch) {
    while wrong != 0 {
        let token = first + wrong.trailing_zeros() as usize;
        let block = culprits.block_of(token, &scratch.starts);
        scratch.suspect(block);
        wrong &= wrong - 1;
    }
}

impl Kinds {
    /// The first `tokens` of them.
    #[inline(always)]
    fn first(self, tokens: u32) -> Kinds {
        let valid = u64::MAX >> (64 - tokens);
        Kinds {
            open: self.open & valid,
            close: self.close & valid,
            object: self.object & valid,
            colon: self.colon & valid,
            comma: self.comma & valid,
            string: self.string & valid,
            feed: self.feed & valid,
        }
    }
}

/// Goes through the brackets; at line feeds none may be open. Returns tokens of events whose brackets do not
/// fit; which tokens stand in an object, rather than in an array; and the closing brackets of events.
///
/// # Safety
/// The processor has the features of `I`.
#[inline(always)]
unsafe fn brackets<I: Isa, const LINES: bool>(kinds: &Kinds, state: &mut Grammar) -> (u64, u64, u64) {
    let marks = kinds.open | kinds.close;
    let (before, count) = (state.stack & 1, marks.count_ones());
    // SAFETY: the features of `I` are there.
    unsafe {
        let (opens, objects) = (I::squeeze(kinds.open, marks), I::squeeze(kinds.object, marks));
        let mut walked = walk::<I>(opens, objects, count, state.stack, state.base);
        let mut ended = I::spread(walked.ends, marks);
        let at_rest = kinds.feed & !(ended << 1 | kinds.feed << 1 | state.ended | state.feed);
        let mut wrong = 0;
        if walked.wrong || LINES && at_rest != 0 {
            (walked, wrong) = careful(kinds, state.stack, state.base);
            ended = I::spread(walked.ends, marks);
        }
        state.stack = walked.stack;
        let toggles = I::spread(walked.tops ^ (walked.tops << 1 | before), marks);
        let in_object = I::prefix_xor(toggles) ^ 0u64.wrapping_sub(before);
        (wrong, in_object, ended)
    }
}

/// The tokens that must not stand behind the one before; `tokens` of them are valid. `more` follow: what these leave
/// to them is kept.
#[inline(always)]
fn pairs<const LINES: bool>(
    kinds: &Kinds,
    (in_object, ended): (u64, u64),
    state: &mut Grammar,
    tokens: u32,
    more: bool,
) -> u64 {
    let Kinds { open, close, object, colon, comma, string, feed } = *kinds;
    let (object_open, array_open) = (open & object, open & !object);
    let (object_comma, array_comma) = (comma & in_object, comma & !in_object);
    let wants_value = array_comma | colon;
    // Whatever is nothing else is a number or word.
    let value = !(close | colon | comma | feed);
    let value_end = !(open | colon | comma | feed);
    let last = tokens - 1;
    let behind_object_open = object_open << 1 | state.object_open;
    let behind_object_comma = object_comma << 1 | state.object_comma;
    let key = string & (behind_object_open | behind_object_comma);
    // A colon behind each key, and nowhere else.
    let mut wrong = colon ^ (key << 1 | state.key);
    wrong |= behind_object_open & !(string | close);
    wrong |= behind_object_comma & !string;
    wrong |= (array_open << 1 | state.array_open) & !(value | close);
    wrong |= (wants_value << 1 | state.wants_value) & !value;
    wrong |= (value_end << 1 | state.value_end) & !(comma | close | feed | colon);
    let behind_feed = feed << 1 | state.feed;
    wrong |= behind_feed & !(object_open | feed);
    if LINES {
        // A line feed behind each event, and else only behind another.
        let behind_end = ended << 1 | state.ended;
        wrong |= feed & !(behind_end | behind_feed) | behind_end & !feed;
    }
    if more {
        let bit = |mask: u64| mask >> last & 1;
        *state = Grammar {
            object_open: bit(object_open),
            array_open: bit(array_open),
            object_comma: bit(object_comma),
            wants_value: bit(wants_value),
            value_end: bit(value_end),
            ended: bit(ended),
            feed: bit(feed),
            key: bit(key),
            ..*state
        };
    }
    wrong & u64::MAX >> (63 - last)
}
