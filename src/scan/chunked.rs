//! Bodies that arrive in pieces: each window is looked at when its bytes are here, so that what is left to do
//! behind the last piece is that piece alone.
//!
//! The body stays with the caller and lies in one place; a piece makes it longer. What is carried over a piece's
//! end is a [`Progress`]: positions and the state between two windows, a few hundred bytes that may be copied, and
//! put back to go the same way again.
//!
//! Nothing is told that the rest of the body could still change. A broken element takes the rest of its array
//! with it, so it is left to [`Scanner::finish`], and with it everything behind; so is a body of no named format
//! whose first line is no event, for it may be one object on several lines.
//!
//! No verdict is kept here: who must not act on them before the body is whole keeps them.
use crate::exact;
use crate::fast::{Fast, Open, Run, known};
use crate::fields::{Fields, Found};
use crate::frame::{self, Each, Frame, WithFields, limits, trim};
use crate::grammar::Grammar;
use crate::skim::skip_blank;
use crate::{Format, MAX_EVENT_BYTES, Scanner, Verdict};

/// How far a body that arrives in pieces has been judged.
#[derive(Clone, Copy)]
pub struct Progress {
    format: Format,
    stage: Stage,
    /// What follows is judged when the body is whole.
    stopped: bool,
    /// Before this byte, the first line of a body of no named format does not end; `None`: it has ended, and is
    /// no event.
    first_line: Option<usize>,
    run: Run,
    open: Open,
}

/// What stands at [`Progress::open`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// What the body begins with, but for blanks.
    Start,
    /// What follows an array's bracket, but for blanks.
    First,
    /// A line.
    Lines,
    /// An element of an array.
    Element,
    /// What separates elements.
    Between,
    /// An object that may be all of the body.
    Object,
    /// The same; it is sound, and ends before this byte.
    Ended(usize),
}

impl Progress {
    /// At the start of a body.
    pub fn new(format: Format) -> Progress {
        let stage = if format == Format::Lines { Stage::Lines } else { Stage::Start };
        let (run, open) = (Run::new(0, true, Grammar::LINE), Open::at(0));
        Progress { format, stage, stopped: false, first_line: Some(0), run, open }
    }

    /// How the body holds its events.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Bytes of the body that were looked at.
    pub fn through(&self) -> usize {
        self.run.at
    }

    fn begin(&mut self, stage: Stage, at: usize) {
        self.stage = stage;
        self.open = Open::at(at);
        let more = self.run.more;
        self.run = match stage {
            Stage::Element => Run::new(at, false, Grammar::ELEMENT),
            Stage::Object => Run::new(at, false, Grammar::LINE),
            _ => Run::new(at, true, Grammar::LINE),
        };
        self.run.more = more;
    }

    /// Finds out what the body begins with, as far as it is here.
    fn find_start(&mut self, body: &[u8]) {
        let at = skip_blank(body, self.open.start);
        self.open.start = at;
        let Some(first) = body.get(at) else { return };
        match (self.stage, self.format, first) {
            // An empty array. What is behind it is looked at when all is here.
            (Stage::First, _, b']') => (self.stage, self.stopped) = (Stage::Start, true),
            (Stage::First, _, _) => self.begin(Stage::Element, at),
            (_, _, b'[') => {
                (self.stage, self.open.start) = (Stage::First, at + 1);
                self.find_start(body);
            }
            (_, _, b'{') => {
                self.begin(Stage::Object, at);
                self.first_line = Some(at);
            }
            // No object: whatever follows, the first line is refused alone.
            (_, Format::Sniff, _) => self.begin(Stage::Lines, at),
            _ => self.stopped = true,
        }
    }

    /// Goes past what separates elements, as far as it is here.
    #[inline(always)]
    fn next_element(&mut self, body: &[u8]) {
        let at = skip_blank(body, self.open.start);
        self.open.start = at;
        if self.stage == Stage::Between {
            match body.get(at) {
                None => {}
                Some(b',') => (self.stage, self.open.start) = (Stage::Element, skip_blank(body, at + 1)),
                // The array's end or trouble: told when all that is behind it is here.
                Some(_) => self.stopped = true,
            }
        }
    }
}

impl Scanner {
    /// Judges what can be judged of a body that is not whole yet: `body` is what is here of it, from its first
    /// byte on. Calls `each` for events whose verdict no later byte can change, in order, for each once in the
    /// body's life.
    ///
    /// Each byte is looked at once or twice, however small the pieces are; few new bytes may be left for the next
    /// call. The scalar kernel leaves everything to [`Scanner::finish`].
    pub fn advance(&mut self, progress: &mut Progress, body: &[u8], each: impl FnMut(Verdict)) {
        self.advance_each(progress, body, each);
    }

    /// The same, and `each` is told what was found in a good event of what `fields` wants, as by
    /// [`Scanner::scan_fields`].
    pub fn advance_fields(
        &mut self,
        progress: &mut Progress,
        body: &[u8],
        fields: &Fields,
        each: impl FnMut(Verdict, &Found),
    ) {
        self.advance_each(progress, body, WithFields { fields, found: Found::new(), each });
    }

    #[inline(always)]
    fn advance_each<E: Each>(&mut self, progress: &mut Progress, body: &[u8], each: E) {
        if let Some(mut fast) = self.fast()
            && !progress.stopped
        {
            progress.run.more = true;
            fast.advance(progress, &mut Frame { body, each });
        }
    }

    /// Judges the rest of a body: `body` is all of it. What [`Scanner::advance`] told before and this tells now is
    /// what [`Scanner::scan`] says of the whole.
    pub fn finish(&mut self, progress: &mut Progress, body: &[u8], each: impl FnMut(Verdict)) {
        self.finish_each(progress, body, each);
    }

    /// The same, and `each` is told what was found in a good event of what `fields` wants.
    pub fn finish_fields(
        &mut self,
        progress: &mut Progress,
        body: &[u8],
        fields: &Fields,
        each: impl FnMut(Verdict, &Found),
    ) {
        self.finish_each(progress, body, WithFields { fields, found: Found::new(), each });
    }

    #[inline(always)]
    fn finish_each<E: Each>(&mut self, progress: &mut Progress, body: &[u8], each: E) {
        match self.fast() {
            Some(mut fast) => {
                progress.run.more = false;
                fast.finish(progress, &mut Frame { body, each });
            }
            None => self.scan_each(body, progress.format, each),
        }
    }
}

impl Fast<'_> {
    fn advance<E: Each>(&mut self, progress: &mut Progress, frame: &mut Frame<'_, E>) {
        if matches!(progress.stage, Stage::Start | Stage::First) {
            progress.find_start(frame.body);
        }
        if matches!(progress.stage, Stage::Object | Stage::Ended(_)) {
            self.first_line(progress, frame);
        }
        match progress.stage {
            Stage::Lines => self.go_lines(frame, &mut progress.run, &mut progress.open),
            Stage::Element | Stage::Between => self.elements(progress, frame, frame.body),
            Stage::Object => self.object(progress, frame.body),
            Stage::Start | Stage::First | Stage::Ended(_) => {}
        }
    }

    fn finish<E: Each>(&mut self, progress: &mut Progress, frame: &mut Frame<'_, E>) {
        let whole = trim(frame.body, 0..frame.body.len());
        if matches!(progress.stage, Stage::Object | Stage::Ended(_)) {
            self.first_line(progress, frame);
        }
        if progress.stage == Stage::Object && !progress.stopped && limits(&whole).is_none() {
            self.object(progress, &frame.body[..whole.end]);
        }
        match progress.stage {
            Stage::Lines => self.go_lines(frame, &mut progress.run, &mut progress.open),
            Stage::Element | Stage::Between => self.last_elements(progress, frame, whole.end),
            Stage::Ended(end) if end == whole.end && limits(&whole).is_none() => match progress.open.breaks {
                false => frame.good(whole, false, None),
                true => frame.tell(whole, None),
            },
            _ => frame::go(self, frame, progress.format),
        }
    }

    /// An object that begins a body of no named format: if it has a line for itself, lines follow.
    fn first_line<E: Each>(&mut self, progress: &mut Progress, frame: &mut Frame<'_, E>) {
        let (body, start) = (frame.body, progress.open.start);
        let Some(seen) = progress.first_line.filter(|_| progress.format == Format::Sniff) else { return };
        let Some(end) = memchr::memchr(b'\n', &body[seen..]).map(|at| seen + at) else {
            progress.first_line = Some(body.len());
            return;
        };
        progress.first_line = None;
        let line = trim(body, start..end);
        if frame.judge(self, &line).is_none() {
            frame.tell(line, None);
            progress.stopped = false;
            progress.begin(Stage::Lines, end + 1);
        }
    }

    /// Vouches for the object that is open, as far as it is here.
    fn object(&mut self, progress: &mut Progress, body: &[u8]) {
        let Progress { run, open, .. } = progress;
        while run.goes_on(body.len()) {
            // What is too large, or followed by so many blanks, is worth no look before its end is here.
            progress.stopped = run.at - open.start > MAX_EVENT_BYTES;
            if progress.stopped {
                return;
            }
            let from = self.next_window(run, body);
            if self.scratch.is_odd() {
                progress.stopped = true;
                return;
            }
            open.breaks |= self.scratch.breaks;
            if self.scratch.ends_len > 0 {
                progress.stage = Stage::Ended(from + usize::from(self.scratch.ends[0]) + 1);
                return;
            }
        }
    }

    /// Judges the elements that end in `body`, the front of the frame's.
    #[inline(always)]
    fn elements<E: Each>(&mut self, progress: &mut Progress, frame: &mut Frame<'_, E>, body: &[u8]) {
        self.seam.clear();
        progress.next_element(body);
        while !progress.stopped && progress.run.goes_on(body.len()) {
            let from = self.next_window(&mut progress.run, body);
            let clean = !self.scratch.is_odd();
            progress.open.breaks |= self.scratch.breaks;
            for i in 0..self.scratch.ends_len {
                let last = from + usize::from(self.scratch.ends[i]);
                // An element that is no object has no end of its own here: it is gone past to the next.
                while progress.stage == Stage::Element && last >= progress.open.start && !progress.stopped {
                    let Open { start, odd, .. } = progress.open;
                    let odd = odd && start < from
                        || !clean && self.scratch.is_suspect(start.max(from) - from, last - from);
                    self.element(progress, frame, body, last, odd);
                    progress.next_element(body);
                }
            }
            let Open { start, odd, breaks } = progress.open;
            let (through, begun) = (progress.run.at, start.max(from) - from);
            let open = start < through;
            progress.open.odd =
                open && (odd && start < from || !clean && self.scratch.is_suspect(begun, through - from - 1));
            progress.open.breaks = open && (self.scratch.breaks || breaks && start < from);
            if E::FIELDS {
                self.seam.keep(self.scratch, from, through, start);
            }
        }
    }

    /// Judges the element that is open, of which `last` is the last byte if it is an object and nothing is odd.
    #[inline(always)]
    fn element<E: Each>(
        &mut self,
        progress: &mut Progress,
        frame: &mut Frame<'_, E>,
        body: &[u8],
        last: usize,
        odd: bool,
    ) {
        let at = progress.open.start;
        let end = if body[at] == b'{' && !odd && limits(&(at..last + 1)).is_none() {
            let event = &body[at..last + 1];
            let breaks = progress.open.breaks && memchr::memchr2(b'\n', b'\r', event).is_some();
            let from = progress.run.at - self.scratch.done;
            let known = known(self.code, self.scratch, frame.body, from);
            match E::FIELDS && at < from {
                false => frame.good(at..last + 1, breaks, Some(&known)),
                true => frame.good(at..last + 1, breaks, self.seam.join(&known, frame.body, last).as_ref()),
            }
            last + 1
        } else {
            *self.second_looks += 1;
            let value = exact::value(body, at);
            // What is broken takes the rest with it, and a number may go on: both are told at the end.
            if value.broken || value.end == body.len() {
                progress.stopped = true;
                return;
            }
            frame.tell_element(at, value);
            value.end
        };
        (progress.stage, progress.open.start) = (Stage::Between, end);
    }

    /// Judges the elements of an array from `at` on; it ends before `limit`, blanks behind it apart.
    pub fn go_array<E: Each>(&mut self, frame: &mut Frame<'_, E>, at: usize, limit: usize) {
        let mut progress = Progress::new(Format::Json);
        progress.begin(Stage::Element, at);
        self.last_elements(&mut progress, frame, limit);
    }

    fn last_elements<E: Each>(&mut self, progress: &mut Progress, frame: &mut Frame<'_, E>, limit: usize) {
        progress.open.start = progress.open.start.min(limit);
        if !progress.stopped {
            self.elements(progress, frame, &frame.body[..limit]);
        }
        // No bracket ends what is left: it is no object, or broken, or the array's end.
        let mut at = progress.open.start;
        if progress.stage == Stage::Between {
            let Some(next) = frame.next_element(at, limit) else { return };
            at = next;
        }
        while let Some(end) = frame.element(at, limit) {
            let Some(next) = frame.next_element(end, limit) else { return };
            at = next;
        }
    }
}
