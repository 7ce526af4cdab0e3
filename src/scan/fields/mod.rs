//! Values that somebody wants of each event, named by JSON pointer, found while events are judged.
//!
//! Where windows vouch for an event, its tokens are known (`masks`), those of an event that a window's end cuts too.
//! Other events (judged exactly, or longer than two windows) are gone through byte by byte. The walk from name to
//! name is the same code for both (`walk`); it ends where nothing further can be found.
//!
//! Of a name that an object repeats, the first counts. Nothing is allocated; how much work an event can cause is
//! bounded by its length and the wanted steps, of which there are [`STEPS_MAX`] at most.
use crate::skim::string_end;
use core::ops::Range;

mod masks;
mod unescape;
mod walk;

pub(crate) use masks::{Finder, Part, Seam, Window, find, leave, walk};
pub use unescape::Unescaped;

/// Most steps of all wanted paths together; steps that paths share count once.
pub const STEPS_MAX: usize = 64;

/// Most bytes of all names together.
pub const NAMES_BYTES_MAX: usize = 2048;

/// What is wanted of each event: a set of paths.
///
/// ```
/// use ringmill_scan::{Fields, Format, Kernel, Scanner, Verdict};
/// let mut fields = Fields::new();
/// let method = fields.want([&b"attrs"[..], b"http.method"]).unwrap();
/// let body = br#"{"attrs":{"http.method":"GET"}}"#;
/// Scanner::new(Kernel::best()).scan_fields(body, Format::Lines, &fields, |verdict, found| {
///     let Verdict::Good { span, .. } = verdict else { panic!() };
///     assert_eq!(found.in_event(method, &body[span]), Some(&b"\"GET\""[..]));
/// });
/// ```
#[derive(Clone)]
pub struct Fields {
    steps: [Step; STEPS_MAX],
    len: usize,
    text: [u8; NAMES_BYTES_MAX],
    text_len: usize,
    /// Which steps' names may begin with two bytes of that hash, the closing quote included; but for names that
    /// stand in no event without a backslash.
    by_start: [u64; 256],
    /// The first steps of all paths.
    top: u64,
    /// The last steps.
    ends: u64,
    /// Steps that a schema names.
    declared: u64,
    /// Steps whose objects hold nothing but declared names.
    sealed: u64,
    /// The event itself is such an object.
    top_sealed: bool,
    /// Every name that is met has to be looked at.
    thorough: bool,
}

/// One step of a path: a name, or a place in an array.
#[derive(Clone, Copy)]
struct Step {
    /// The first eight bytes of the name and the quote behind it; `mask` is set where there are so many.
    head: u64,
    mask: u64,
    from: u16,
    to: u16,
    /// The same as the place in an array; [`NO_INDEX`] if it is none.
    index: u32,
    /// The step before; [`NO_PARENT`] at the top.
    parent: u8,
    children: u64,
}

/// No event has so many elements.
const NO_INDEX: u32 = u32::MAX;
const NO_PARENT: u8 = u8::MAX;

/// Names one wanted path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(u8);

/// The paths have more than [`STEPS_MAX`] steps, or more than [`NAMES_BYTES_MAX`] bytes of names, or one is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Fields {
    /// Nothing is wanted yet.
    pub const fn new() -> Fields {
        let step = Step { head: 0, mask: 0, from: 0, to: 0, index: NO_INDEX, parent: NO_PARENT, children: 0 };
        Fields {
            steps: [step; STEPS_MAX],
            len: 0,
            text: [0; NAMES_BYTES_MAX],
            text_len: 0,
            by_start: [0; 256],
            top: 0,
            ends: 0,
            declared: 0,
            sealed: 0,
            top_sealed: false,
            thorough: false,
        }
    }

    /// Nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.ends == 0 && !self.top_sealed
    }

    /// Wants the value at `path`: names from the event's own members inwards, unescaped. A name of digits without
    /// a needless zero is a place in an array too. The same path has the same slot.
    ///
    /// # Errors
    /// [`TooMany`]; what was wanted before is as it was, but room for steps and names may be used up.
    pub fn want<'n>(&mut self, path: impl IntoIterator<Item = &'n [u8]>) -> Result<Slot, TooMany> {
        let (mut parent, mut siblings) = (NO_PARENT, self.top);
        for name in path {
            let known = bits(siblings).find(|step| self.name(*step) == name);
            let step = match known {
                Some(step) => step,
                None => self.add(name, parent)?,
            };
            (parent, siblings) = (step as u8, self.steps[step].children);
        }
        if parent == NO_PARENT {
            return Err(TooMany);
        }
        self.ends |= 1 << parent;
        Ok(Slot(parent))
    }

    fn add(&mut self, name: &[u8], parent: u8) -> Result<usize, TooMany> {
        let (step, from, to) = (self.len, self.text_len, self.text_len + name.len());
        if step == STEPS_MAX || to > NAMES_BYTES_MAX {
            return Err(TooMany);
        }
        self.text[from..to].copy_from_slice(name);
        let (head, mask) = head_of(name);
        let index = index_of(name);
        self.steps[step] = Step { head, mask, from: from as u16, to: to as u16, index, parent, children: 0 };
        (self.len, self.text_len) = (step + 1, to);
        let bit = 1 << step;
        match parent {
            NO_PARENT => self.top |= bit,
            parent => self.steps[usize::from(parent)].children |= bit,
        }
        match name {
            _ if name.iter().any(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) => {}
            // What is behind the closing quote may be anything.
            [] => self.by_start.iter_mut().for_each(|steps| *steps |= bit),
            _ => self.by_start[start_hash(head)] |= bit,
        }
        Ok(step)
    }

    /// The path is part of a schema: its names are known where an object is [sealed](Fields::seal), and a
    /// repetition of one of them is [noted](Found::repeated).
    pub fn declare(&mut self, slot: Slot) {
        self.thorough = true;
        let mut step = slot.0;
        while step != NO_PARENT {
            self.declared |= 1 << step;
            step = self.steps[usize::from(step)].parent;
        }
    }

    /// The object there (`None`: the event itself) is to hold nothing but declared names; another is
    /// [noted](Found::stranger).
    pub fn seal(&mut self, slot: Option<Slot>) {
        self.thorough = true;
        match slot {
            Some(slot) => self.sealed |= 1 << slot.0,
            None => self.top_sealed = true,
        }
    }

    /// Finds what is wanted in `event`, the bytes of a good event. On other bytes it finds something or nothing.
    pub fn find(&self, event: &[u8], found: &mut Found) {
        walk::event(self, event, found);
    }

    /// The path without its last step, if that leaves one.
    pub fn parent(&self, slot: Slot) -> Option<Slot> {
        let parent = self.steps[usize::from(slot.0)].parent;
        (parent != NO_PARENT).then_some(Slot(parent))
    }

    fn name(&self, step: usize) -> &[u8] {
        let Step { from, to, .. } = self.steps[step];
        &self.text[usize::from(from)..usize::from(to)]
    }

    /// The step among `among` whose name stands as it is in the string at `at`, between the quotes.
    #[inline(always)]
    fn step_of_plain(&self, among: u64, text: &[u8], at: usize) -> Option<usize> {
        if at.wrapping_add(9) > text.len() || at > text.len() {
            return self.step_at_end(among, text, at);
        }
        // SAFETY: eight bytes from `at + 1` on are in the text.
        let start = u64::from_le_bytes(unsafe { text.as_ptr().add(at + 1).cast::<[u8; 8]>().read() });
        let mut maybe = among & self.by_start[start_hash(start)];
        while maybe != 0 {
            let step = maybe.trailing_zeros() as usize;
            let Step { head, mask, .. } = self.steps[step];
            if (start ^ head) & mask == 0 && (mask != u64::MAX || self.goes_on(step, text, at)) {
                return Some(step);
            }
            maybe &= maybe - 1;
        }
        None
    }

    /// Whether a string that begins like the name of `step` is that name.
    #[inline(never)]
    fn goes_on(&self, step: usize, text: &[u8], at: usize) -> bool {
        let name = self.name(step);
        text.get(at + 1 + name.len()) == Some(&b'"') && text[at + 1..].starts_with(name)
    }

    /// The same of a string near the text's end.
    #[cold]
    fn step_at_end(&self, among: u64, text: &[u8], at: usize) -> Option<usize> {
        let (first, second) = (*text.get(at + 1)?, *text.get(at + 2)?);
        let maybe = among & self.by_start[start_hash(u64::from_le_bytes([first, second, 0, 0, 0, 0, 0, 0]))];
        bits(maybe).find(|step| self.goes_on(*step, text, at))
    }

    /// The step among `among` whose name the string at `at` stands for, if that holds a backslash.
    #[cold]
    fn step_of_escaped(&self, among: u64, text: &[u8], at: usize) -> Option<usize> {
        let raw = text.get(at + 1..string_end(text, at)? - 1)?;
        memchr::memchr(b'\\', raw)?;
        bits(among).find(|step| Unescaped::of(raw).eq(self.name(*step).iter().copied()))
    }

    /// What a name that belongs to `step`, or to none, means at `at`: the step, if it is met for the first time.
    #[inline(always)]
    fn met(&self, step: Option<usize>, sealed: bool, at: usize, found: &mut Found) -> Option<usize> {
        let known = step.is_some_and(|step| self.declared >> step & 1 == 1);
        if sealed && !known && found.stranger == NOWHERE {
            found.stranger = at as u32;
        }
        let step = step?;
        if found.begun >> step & 1 == 0 {
            return Some(step);
        }
        if known && found.repeated.0 == NOWHERE {
            found.repeated = (at as u32, step as u8);
        }
        None
    }
}

impl Default for Fields {
    fn default() -> Fields {
        Fields::new()
    }
}

impl core::fmt::Debug for Fields {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Fields")
            .field("steps", &self.len)
            .field("names", &self.text[..self.text_len].escape_ascii())
            .finish_non_exhaustive()
    }
}

/// What was found in one event. Places count from the event's first byte.
#[derive(Clone, Debug)]
pub struct Found {
    /// Steps whose values have begun; others of the same name are passed over.
    begun: u64,
    /// Steps whose values have ended.
    done: u64,
    spans: [(u32, u32); STEPS_MAX],
    stranger: u32,
    /// Where, and which step.
    repeated: (u32, u8),
}

const NOWHERE: u32 = u32::MAX;

impl Found {
    /// Nothing.
    pub const fn new() -> Found {
        Found { begun: 0, done: 0, spans: [(0, 0); STEPS_MAX], stranger: NOWHERE, repeated: (NOWHERE, 0) }
    }

    /// Where the value of that path stands, quotes of a string included; `None` if there is none.
    #[inline]
    pub fn get(&self, slot: Slot) -> Option<Range<usize>> {
        let (start, end) = self.spans[usize::from(slot.0)];
        (self.done >> slot.0 & 1 == 1).then_some(start as usize..end as usize)
    }

    /// The value's bytes, in the event that was looked at.
    #[inline]
    pub fn in_event<'e>(&self, slot: Slot, event: &'e [u8]) -> Option<&'e [u8]> {
        event.get(self.get(slot)?)
    }

    /// Where the first name begins that is not declared, in an object that is sealed.
    pub fn stranger(&self) -> Option<usize> {
        (self.stranger != NOWHERE).then_some(self.stranger as usize)
    }

    /// Where a declared name begins that its object had before, and which it is: the first of them.
    pub fn repeated(&self) -> Option<(usize, Slot)> {
        let (at, step) = self.repeated;
        (at != NOWHERE).then_some((at as usize, Slot(step)))
    }

    /// Where the innermost value on the way to `slot` begins that is there: the event, if there is none.
    pub fn nearest(&self, slot: Slot, fields: &Fields) -> usize {
        let mut at = fields.parent(slot);
        while let Some(step) = at {
            if self.begun >> step.0 & 1 == 1 {
                return self.spans[usize::from(step.0)].0 as usize;
            }
            at = fields.parent(step);
        }
        0
    }

    #[inline(always)]
    fn clear(&mut self) {
        (self.begun, self.done) = (0, 0);
        (self.stranger, self.repeated) = (NOWHERE, (NOWHERE, 0));
    }

    #[inline(always)]
    fn begin(&mut self, step: usize, at: usize) {
        self.begun |= 1 << step;
        self.spans[step].0 = at as u32;
    }

    #[inline(always)]
    fn end(&mut self, step: usize, at: usize) {
        self.done |= 1 << step;
        self.spans[step].1 = at as u32;
    }
}

impl Default for Found {
    fn default() -> Found {
        Found::new()
    }
}

/// The places of the set bits.
fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let place = set.trailing_zeros() as usize;
        let some = set != 0;
        set &= set.wrapping_sub(1);
        some.then_some(place)
    })
}

#[inline(always)]
fn start_hash(start: u64) -> usize {
    (u32::from(start as u16).wrapping_mul(0x9e37_79b1) >> 24) as usize
}

/// The first eight bytes of a name and the quote behind it, and which of them there are.
fn head_of(name: &[u8]) -> (u64, u64) {
    let mut head = [0; 8];
    let all = name.iter().copied().chain([b'"']);
    head.iter_mut().zip(all).for_each(|(to, byte)| *to = byte);
    let bytes = (name.len() + 1).min(8);
    (u64::from_le_bytes(head), u64::MAX >> (64 - 8 * bytes))
}

fn index_of(name: &[u8]) -> u32 {
    let plain = name == b"0" || !name.starts_with(b"0") && name.iter().all(u8::is_ascii_digit);
    let index = if plain { core::str::from_utf8(name).ok().and_then(|text| text.parse().ok()) } else { None };
    index.unwrap_or(NO_INDEX)
}

/// Before JSON's white space.
#[inline(always)]
fn trim_back(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\r' | b'\n') = at.checked_sub(1).and_then(|before| bytes.get(before)) {
        at -= 1;
    }
    at
}
