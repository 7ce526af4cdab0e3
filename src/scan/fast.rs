//! The scanner: windows of a body through a kernel, what they found as verdicts.
use crate::fields::{Fields, Found, Seam, Window};
use crate::frame::{self, Each, Frame, Way, WithFields, trim};
use crate::grammar::Grammar;
use crate::kernel::{self, Code};
use crate::window::{Carry, Job, Scratch, Tail};
use crate::{Format, Kernel, MAX_EVENT_BYTES, Verdict};
use core::ops::Range;

/// Fewest bytes of a body that is not whole that are looked at: two blocks, the second only to look ahead into.
const PIECE_BYTES_MIN: usize = 128;

/// Judges bodies. One per core: it is some 44 KiB of scratch, made once and reused; it never allocates.
///
/// ```
/// use ringmill_scan::{Format, Kernel, Scanner, Verdict};
/// let mut scanner = Scanner::new(Kernel::best());
/// let mut good = 0;
/// scanner.scan(b"{\"a\":1}\n{\"a\":01}\n{}", Format::Lines, |verdict| match verdict {
///     Verdict::Good { .. } => good += 1,
///     Verdict::Bad { offset, .. } => assert_eq!(offset, 13),
/// });
/// assert_eq!(good, 2);
/// ```
pub struct Scanner {
    kernel: Kernel,
    code: Option<Code>,
    tail: Tail,
    scratch: Scratch,
    seam: Seam,
    second_looks: u64,
}

impl Scanner {
    /// A scanner that uses `kernel`, or the scalar one if this processor does not have it.
    #[cfg(feature = "std")]
    pub fn new(kernel: Kernel) -> Scanner {
        let kernel = if kernel.is_available() { kernel } else { Kernel::Scalar };
        Scanner {
            kernel,
            code: kernel::code(kernel),
            tail: Tail::new(),
            scratch: Scratch::new(),
            seam: Seam::new(),
            second_looks: 0,
        }
    }

    /// The kernel in use.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// How many events the exact judge was asked about since the scanner was made. For tests and figures: on
    /// sound events it stays where it is.
    pub fn second_looks(&self) -> u64 {
        self.second_looks
    }

    /// Calls `each` once for each event of `body`, in order; blank lines are no events, nor is there any in
    /// a blank body or an empty array. Bodies must be shorter than 2⁶³ bytes, which all slices are.
    #[inline]
    pub fn scan(&mut self, body: &[u8], format: Format, each: impl FnMut(Verdict)) {
        self.scan_each(body, format, each);
    }

    /// The same, and `each` is told what was found in a good event of what `fields` wants. What it is told with a
    /// refused event is of no meaning. Where nothing is wanted, [`scan`](Scanner::scan) does less.
    pub fn scan_fields(
        &mut self,
        body: &[u8],
        format: Format,
        fields: &Fields,
        each: impl FnMut(Verdict, &Found),
    ) {
        self.scan_each(body, format, WithFields { fields, found: Found::new(), each });
    }

    #[inline(always)]
    pub(crate) fn scan_each<E: Each>(&mut self, body: &[u8], format: Format, each: E) {
        match self.fast() {
            None => frame::scan(&mut frame::Exact(&mut |_: &[u8]| false), body, format, each),
            Some(mut fast) => frame::scan(&mut fast, body, format, each),
        }
    }

    /// What a kernel works with; none for the scalar one.
    #[inline(always)]
    pub(crate) fn fast(&mut self) -> Option<Fast<'_>> {
        Some(Fast {
            code: self.code?,
            tail: &mut self.tail,
            scratch: &mut self.scratch,
            seam: &mut self.seam,
            second_looks: &mut self.second_looks,
            breaks: true,
            one_window: false,
        })
    }
}

pub(crate) struct Fast<'s> {
    pub code: Code,
    tail: &'s mut Tail,
    pub scratch: &'s mut Scratch,
    pub seam: &'s mut Seam,
    pub second_looks: &'s mut u64,
    /// The event that was vouched for last may hold line breaks.
    breaks: bool,
    /// The last event that was vouched for alone lies in one window.
    one_window: bool,
}

/// How a run of windows goes through a body.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    /// The next byte to be looked at; of the window before, the first.
    pub at: usize,
    carry: Carry,
    /// Which bytes of the block before belong to numbers and words.
    prims: u64,
    lines: bool,
    /// The body has more bytes than are here: only whole blocks are looked at, and one is left to look ahead
    /// into.
    pub more: bool,
}

impl Run {
    pub fn new(at: usize, lines: bool, grammar: Grammar) -> Run {
        Run { at, carry: Carry { grammar, ..Carry::default() }, prims: 0, lines, more: false }
    }

    /// Whether a body of so many bytes has another window.
    #[inline(always)]
    pub fn goes_on(&self, len: usize) -> bool {
        self.at < len && !(self.more && len - self.at < PIECE_BYTES_MIN)
    }
}

/// The event that has begun and not ended yet.
#[derive(Clone, Copy)]
pub(crate) struct Open {
    /// Its first byte.
    pub start: usize,
    /// Something in it is odd.
    pub odd: bool,
    /// There may be raw line breaks in it.
    pub breaks: bool,
}

impl Open {
    pub fn at(start: usize) -> Open {
        Open { start, odd: false, breaks: false }
    }
}

impl Fast<'_> {
    /// Looks at the next window of `body`; what was found is in the scratch. Returns where it began.
    pub fn next_window(&mut self, run: &mut Run, body: &[u8]) -> usize {
        let from = run.at;
        let job = Job::new(body, from, run.more, run.lines, self.tail);
        // Other bodies may have been looked at since.
        self.scratch.prims[0] = run.prims;
        // SAFETY: `Scanner::new` made sure of the processor, and the body and the tail are readable.
        unsafe { (self.code.window)(&job, &mut run.carry, self.scratch) };
        run.at = from + self.scratch.done;
        run.prims = self.scratch.prims[0];
        if run.at < body.len() && self.scratch.done != 64 * job.blocks {
            // The text starts anew behind a line feed in a string.
            run.carry = Carry::default();
        }
        from
    }
}

/// What is known of the last window of `body`, which begins at `from`.
#[inline(always)]
pub(crate) fn known<'s>(code: Code, scratch: &'s Scratch, body: &'s [u8], from: usize) -> Window<'s> {
    let (starts, escapes) = (&scratch.starts[..scratch.blocks], &scratch.escapes[..scratch.blocks]);
    Window { finder: code.finder, text: &body[from..], starts, escapes, from }
}

impl Way for Fast<'_> {
    fn vouches(&mut self, event: &[u8]) -> bool {
        let mut run = Run::new(0, false, Grammar::LINE);
        (self.breaks, self.one_window) = (false, false);
        loop {
            let from = self.next_window(&mut run, event);
            self.breaks |= self.scratch.breaks;
            if self.scratch.is_odd() {
                (*self.second_looks, self.breaks) = (*self.second_looks + 1, true);
                return false;
            }
            if self.scratch.ends_len > 0 {
                // The event ends here; it is whole if nothing follows.
                let whole = from + usize::from(self.scratch.ends[0]) + 1 == event.len();
                self.one_window = whole && from == 0;
                return whole;
            }
            if run.at >= event.len() {
                self.breaks = true;
                return false;
            }
        }
    }

    fn may_break(&self) -> bool {
        self.breaks
    }

    fn window<'w>(&'w mut self, body: &'w [u8], start: usize) -> Option<Window<'w>> {
        self.one_window.then(|| known(self.code, self.scratch, body, start))
    }

    fn lines<E: Each>(&mut self, frame: &mut Frame<'_, E>, at: usize) {
        // The last line ends with the body too: without its line feed there is one blank line less.
        frame.body = frame.body.strip_suffix(b"\n").unwrap_or(frame.body);
        self.go_lines(frame, &mut Run::new(at, true, Grammar::LINE), &mut Open::at(at));
    }

    fn array<E: Each>(&mut self, frame: &mut Frame<'_, E>, whole: Range<usize>) {
        if let Some(at) = frame.first_element(whole.start, whole.end) {
            self.go_array(frame, at, whole.end);
        }
    }
}

impl Fast<'_> {
    /// Judges the lines whose ends are here.
    #[inline(always)]
    pub fn go_lines<E: Each>(&mut self, frame: &mut Frame<'_, E>, run: &mut Run, open: &mut Open) {
        let body = frame.body;
        let Open { mut start, mut odd, mut breaks } = *open;
        self.seam.clear();
        while run.goes_on(body.len()) {
            let from = self.next_window(run, body);
            let scratch = &mut *self.scratch;
            let clean = !scratch.is_odd();
            breaks |= scratch.breaks;
            let known = known(self.code, scratch, body, from);
            for &end in &scratch.ends[..scratch.ends_len] {
                let end = from + usize::from(end);
                if end > body.len() {
                    break;
                }
                let begun = start.max(from) - from;
                odd |= !clean && scratch.is_suspect(begun, end - from);
                let mut span = start..end;
                start = end + 1;
                if span.is_empty() || body[span.start] != b'{' || body[span.end - 1] != b'}' {
                    span = trim(body, span);
                    if span.is_empty() {
                        odd = false;
                        continue;
                    }
                }
                if !odd && span.len() <= MAX_EVENT_BYTES {
                    let breaks = breaks && memchr::memchr(b'\r', &body[span.clone()]).is_some();
                    match E::FIELDS && span.start < from {
                        false => frame.good(span, breaks, Some(&known)),
                        true => frame.good(span, breaks, self.seam.join(&known, body, end).as_ref()),
                    }
                } else {
                    *self.second_looks += 1;
                    let flaw = frame.judge_exactly(&span);
                    frame.tell(span, flaw);
                }
                odd = false;
            }
            // The open line goes on in the next window.
            let last = (run.at - from).saturating_sub(1);
            odd |= !clean && start < run.at && scratch.is_suspect(start.max(from) - from, last);
            breaks = start < run.at && (scratch.breaks || breaks && start < from);
            if E::FIELDS {
                self.seam.keep(scratch, from, run.at, start);
            }
        }
        *open = Open { start, odd, breaks };
    }
}
