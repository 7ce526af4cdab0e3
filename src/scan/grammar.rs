//! Stage 2: the grammar of all events of a window, 64 tokens a step.
//!
//! With tokens side by side, most of JSON's grammar is about pairs of neighbours, and a pair is two masks and a
//! shift. What is left is which brackets belong together and whether a comma stands in an object: that is one
//! loop over the brackets alone, without a branch but its end.
//!
//! A number or word is one token here, whatever its bytes; a string too, closing quote included.
use crate::MAX_DEPTH;
use crate::kernel::Isa;
use crate::window::{BLOCKS, Job, Scratch};

/// The open brackets, and what the token before was.
#[derive(Clone, Copy, Default)]
pub(crate) struct Grammar {
    /// A bit for each open bracket, the innermost lowest; 1: an object's. Those beyond 64 fall out at the top,
    /// which is no harm: such an event is a suspect already, or the one that fell out is the body's array.
    stack: u64,
    depth: u32,
    object_open: u64,
    array_open: u64,
    object_comma: u64,
    /// A comma in an array, or a colon.
    wants_value: u64,
    value_end: u64,
    close: u64,
    feed: u64,
    key: u64,
}

impl Grammar {
    /// At the start of a line, or of the only event of a body.
    pub const LINE: Grammar = Grammar {
        stack: 0,
        depth: 0,
        object_open: 0,
        array_open: 0,
        object_comma: 0,
        wants_value: 0,
        value_end: 0,
        close: 0,
        feed: 1,
        key: 0,
    };

    /// At the start of an array's element.
    pub const ELEMENT: Grammar = Grammar { depth: 1, feed: 0, wants_value: 1, ..Grammar::LINE };
}

/// Finds the block of a token, for tokens in rising order.
struct Finder {
    block: usize,
    /// Tokens before `block`.
    before: usize,
}

impl Finder {
    #[inline(always)]
    fn block_of(&mut self, token: usize, starts: &[u64; BLOCKS]) -> usize {
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

/// The tokens of one word, by what they are.
struct Kinds {
    open: u64,
    close: u64,
    /// Brackets of objects.
    object: u64,
    colon: u64,
    string: u64,
    comma: u64,
    feed: u64,
    prim: u64,
}

/// Checks `count` tokens, and in arrays finds where events end.
///
/// # Safety
/// As of [`crate::window::fill`]; so many tokens were put.
#[inline(always)]
pub(crate) unsafe fn check<I: Isa, const LINES: bool>(
    job: &Job,
    count: usize,
    state: &mut Grammar,
    scratch: &mut Scratch,
) {
    let mut culprits = Finder { block: 0, before: 0 };
    let mut closers = Finder { block: 0, before: 0 };
    let mut ends = 0;
    let mut first = 0;
    while first < count {
        let tokens = (count - first).min(64) as u32;
        let valid = u64::MAX >> (64 - tokens);
        // SAFETY: the word holds at least one token.
        let planes = unsafe { I::take(&scratch.tokens, first / 64) };
        let rest = !planes.b6 & valid;
        let kinds = Kinds {
            open: planes.b6 & planes.b1 & valid,
            close: planes.b6 & !planes.b1 & valid,
            object: planes.b6 & planes.b5 & valid,
            colon: rest & planes.b5 & planes.b1 & planes.b4,
            string: rest & planes.b5 & planes.b1 & !planes.b4,
            comma: rest & planes.b5 & !planes.b1,
            feed: rest & !planes.b5 & planes.b1,
            prim: rest & !planes.b5 & !planes.b1,
        };
        let (nesting, toggles, mut ended) = brackets::<LINES>(job, &kinds, state);
        // SAFETY: the features of `I` are there.
        let in_object = unsafe { I::prefix_xor(toggles.0) } ^ 0u64.wrapping_sub(toggles.1);
        let wrong = (nesting | pairs::<LINES>(&kinds, in_object, state, tokens)) & valid;
        if wrong != 0 {
            accuse(wrong, first, &mut culprits, scratch);
        }
        if !LINES {
            while ended != 0 {
                let token = first + ended.trailing_zeros() as usize;
                let block = closers.block_of(token, &scratch.starts);
                let nth = (token - closers.before) as u32;
                // SAFETY: the features of `I` are there.
                let place = unsafe { I::select(scratch.starts[block], nth) };
                scratch.ends[ends] = (64 * block) as u16 + place as u16;
                ends += 1;
                ended &= ended - 1;
            }
            scratch.ends_len = ends;
        }
        first += 64;
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

/// Goes through the brackets, and the line feeds, at which none may be open. Returns the brackets that do not
/// fit; where "in an object" begins or ends, with how it was before; and the closing brackets of events.
#[inline(always)]
fn brackets<const LINES: bool>(job: &Job, kinds: &Kinds, state: &mut Grammar) -> (u64, (u64, u64), u64) {
    let (mut stack, mut depth) = (state.stack, state.depth);
    let limit = MAX_DEPTH as u32 + job.base_depth;
    let before = stack & 1;
    let (mut wrong, mut toggles, mut ended) = (0, 0, 0);
    let mut marks = kinds.open | kinds.close;
    if LINES {
        marks |= kinds.feed;
    }
    while marks != 0 {
        let place = marks.trailing_zeros();
        marks &= marks - 1;
        let opens = kinds.open >> place & 1;
        let object = kinds.object >> place & 1;
        let top = stack & 1;
        let mut odd = (opens ^ 1) & (object ^ top);
        let shut = stack >> 1;
        let opened = stack << 1 | object;
        stack = if opens == 1 { opened } else { shut };
        let deeper = depth.wrapping_add((opens as u32) << 1).wrapping_sub(1);
        if LINES {
            let feed = kinds.feed >> place & 1;
            let stays = feed.wrapping_sub(1);
            odd |= feed & u64::from(depth != 0);
            stack &= stays;
            depth = deeper & stays as u32;
        } else {
            depth = deeper;
            ended |= ((opens ^ 1) & u64::from(depth == job.base_depth)) << place;
        }
        // Below zero is above the limit too.
        odd |= u64::from(depth > limit);
        wrong |= odd << place;
        toggles |= (stack & 1 ^ top) << place;
    }
    (state.stack, state.depth) = (stack, depth);
    (wrong, (toggles, before), ended)
}

/// The tokens that must not stand behind the one before; `tokens` of them are valid.
#[inline(always)]
fn pairs<const LINES: bool>(kinds: &Kinds, in_object: u64, state: &mut Grammar, tokens: u32) -> u64 {
    let Kinds { open, close, object, colon, string, comma, feed, prim } = *kinds;
    let (object_open, array_open) = (open & object, open & !object);
    let (object_comma, array_comma) = (comma & in_object, comma & !in_object);
    let wants_value = array_comma | colon;
    let (value, value_end) = (open | string | prim, close | string | prim);
    let last = tokens - 1;
    let behind = |mask: u64, carry: &mut u64| {
        let shifted = mask << 1 | *carry;
        *carry = mask >> last & 1;
        shifted
    };
    let behind_object_open = behind(object_open, &mut state.object_open);
    let behind_object_comma = behind(object_comma, &mut state.object_comma);
    let key = string & (behind_object_open | behind_object_comma);
    // A colon behind each key, and nowhere else.
    let mut wrong = colon ^ behind(key, &mut state.key);
    wrong |= behind_object_open & !(string | close);
    wrong |= behind_object_comma & !string;
    wrong |= behind(array_open, &mut state.array_open) & !(value | close);
    wrong |= behind(wants_value, &mut state.wants_value) & !value;
    wrong |= behind(value_end, &mut state.value_end) & !(comma | close | feed | colon);
    let behind_feed = behind(feed, &mut state.feed);
    wrong |= behind_feed & !(object_open | feed);
    if LINES {
        wrong |= feed & !(behind(close, &mut state.close) | behind_feed);
    }
    wrong
}
