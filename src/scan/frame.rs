//! Finds the events of a body and gets each its verdict. How lines and arrays are gone through is the way's.
use crate::exact::{self, Flaw};
use crate::fields::{Fields, Found, Window};
use crate::skim::skip_blank;
use crate::{Format, Kind, MAX_EVENT_BYTES, Verdict};
use core::ops::Range;

/// How many events are judged at a time.
pub(crate) trait Way {
    /// Whether `event`, which begins with `{`, is one beyond doubt. May say no to what is right.
    fn vouches(&mut self, event: &[u8]) -> bool;

    /// Whether the event that was vouched for last may hold raw line breaks.
    fn may_break(&self) -> bool {
        true
    }

    /// What is known of the event at `start`, if the last event was vouched for by one window.
    fn window<'w>(&'w mut self, _body: &'w [u8], _start: usize) -> Option<Window<'w>> {
        None
    }

    /// One event a line, from `at` on.
    fn lines<E: Each>(&mut self, frame: &mut Frame<'_, E>, at: usize);

    /// The elements of an array, `whole` being the body without the white space around it.
    fn array<E: Each>(&mut self, frame: &mut Frame<'_, E>, whole: Range<usize>);
}

/// Where verdicts go.
pub(crate) trait Each {
    /// Wants to know of each good event in which windows it lies.
    const FIELDS: bool = false;

    fn tell(&mut self, verdict: Verdict);

    /// `body[span]` is good; `window` is what is known of its bytes, if they were vouched for.
    #[inline(always)]
    fn good(&mut self, _body: &[u8], span: Range<usize>, breaks: bool, _window: Option<&Window<'_>>) {
        self.tell(Verdict::Good { span, breaks });
    }
}

impl<F: FnMut(Verdict)> Each for F {
    #[inline(always)]
    fn tell(&mut self, verdict: Verdict) {
        self(verdict);
    }
}

/// Verdicts, each with what was found in the event.
pub(crate) struct WithFields<'f, F> {
    pub fields: &'f Fields,
    pub found: Found,
    pub each: F,
}

impl<F: FnMut(Verdict, &Found)> Each for WithFields<'_, F> {
    const FIELDS: bool = true;

    fn tell(&mut self, verdict: Verdict) {
        (self.each)(verdict, &self.found);
    }

    #[inline]
    fn good(&mut self, body: &[u8], span: Range<usize>, breaks: bool, window: Option<&Window<'_>>) {
        match window {
            // SAFETY: only a kernel that the processor has says what is known of bytes.
            Some(window) => unsafe {
                let span = span.start - window.from..span.end - window.from;
                (window.finder.find)(self.fields, window, span, &mut self.found)
            },
            None => self.fields.find(&body[span.clone()], &mut self.found),
        }
        self.tell(Verdict::Good { span, breaks });
    }
}

/// A body and where its verdicts go.
pub(crate) struct Frame<'a, E> {
    pub body: &'a [u8],
    pub each: E,
}

/// Calls `each` once for each event of `body`.
pub(crate) fn scan(way: &mut impl Way, body: &[u8], format: Format, each: impl Each) {
    go(way, &mut Frame { body, each }, format);
}

/// Tells of each event of the frame's body.
pub(crate) fn go<E: Each>(way: &mut impl Way, frame: &mut Frame<'_, E>, format: Format) {
    match format {
        Format::Json => json(way, frame),
        Format::Lines => way.lines(frame, 0),
        Format::Sniff => sniff(way, frame),
    }
}

/// One value: an object, or an array of events.
fn json<E: Each>(way: &mut impl Way, frame: &mut Frame<'_, E>) {
    let whole = trim(frame.body, 0..frame.body.len());
    match frame.body.get(whole.start) {
        Some(b'[') => way.array(frame, whole),
        _ if whole.is_empty() => {}
        _ => {
            let flaw = frame.judge(way, &whole);
            let breaks = way.may_break();
            let window = way.window(frame.body, whole.start);
            match flaw {
                None if !breaks => frame.good(whole, false, window.as_ref()),
                flaw => frame.tell_seen(whole, flaw, window.as_ref()),
            }
        }
    }
}

/// An unnamed format. Nothing is emitted before the decision, which is exact: behind a first line that is
/// an event, more text means that the body is not one object; a first line that is none means that not
/// each line stands alone.
fn sniff<E: Each>(way: &mut impl Way, frame: &mut Frame<'_, E>) {
    let whole = trim(frame.body, 0..frame.body.len());
    match frame.body.get(whole.start) {
        None => return,
        Some(b'[') => return way.array(frame, whole),
        Some(_) => {}
    }
    let (first, next) = line(frame.body, whole.start);
    let flaw = frame.judge(way, &first);
    if flaw.is_some() && next < whole.end && exact::wrong_start(frame.body, whole.start).is_none() {
        let value = exact::value(&frame.body[..whole.end], whole.start);
        if !value.broken && value.end == whole.end {
            let flaw = limits(&whole).or(value.flaw);
            return frame.tell(whole, flaw);
        }
    }
    frame.tell_seen(first.clone(), flaw, way.window(frame.body, first.start).as_ref());
    way.lines(frame, next);
}

impl<E: Each> Frame<'_, E> {
    /// What is wrong with `span`, trimmed of white space, as one event.
    pub fn judge(&mut self, way: &mut impl Way, span: &Range<usize>) -> Option<Flaw> {
        let flaw = limits(span);
        if flaw.is_some() || self.body[span.start] == b'{' && way.vouches(&self.body[span.clone()]) {
            return flaw;
        }
        exact::event(&self.body[..span.end], span.start)
    }

    /// What is wrong with `span`, trimmed of white space, as one event, by the exact judge alone.
    #[cold]
    pub fn judge_exactly(&mut self, span: &Range<usize>) -> Option<Flaw> {
        limits(span).or_else(|| exact::event(&self.body[..span.end], span.start))
    }

    /// The exact verdict on the element at `at`, and its end; `None` when it is broken and takes the rest of the
    /// body, up to `limit`, with it. One exact pass gives both.
    pub fn element(&mut self, at: usize, limit: usize) -> Option<usize> {
        let bytes = &self.body[..limit];
        if at == limit {
            self.tell(at..at, Some(Flaw::new(at, Kind::UnclosedArray)));
            return None;
        }
        let value = exact::value(bytes, at);
        if value.broken {
            let flaw = value.flaw.unwrap_or(Flaw::new(value.end, Kind::ExpectedValue));
            self.tell(at..limit, Some(flaw));
            return None;
        }
        self.tell_element(at, value);
        Some(value.end)
    }

    /// The verdict on a value at `at` that is not broken.
    pub fn tell_element(&mut self, at: usize, value: exact::Value) {
        let span = at..value.end;
        let flaw = limits(&span).or(exact::wrong_start(self.body, at)).or(value.flaw);
        self.tell(span, flaw);
    }

    /// Where the next element begins behind one that ended at `end`; `None` when the array, which ends before
    /// `limit`, has no further element. Whatever is wrong there is told.
    #[inline(always)]
    pub fn next_element(&mut self, end: usize, limit: usize) -> Option<usize> {
        let bytes = &self.body[..limit];
        let at = skip_blank(bytes, end);
        match bytes.get(at) {
            Some(b',') => Some(skip_blank(bytes, at + 1)),
            Some(b']') => {
                self.after_array(at + 1, limit);
                None
            }
            Some(_) => {
                self.tell(at..limit, Some(Flaw::new(at, Kind::BetweenEvents)));
                None
            }
            None => {
                self.tell(at..at, Some(Flaw::new(at, Kind::UnclosedArray)));
                None
            }
        }
    }

    /// Where the first element of the array at `at` begins, if it has one.
    pub fn first_element(&mut self, at: usize, limit: usize) -> Option<usize> {
        let first = skip_blank(&self.body[..limit], at + 1);
        if self.body[..limit].get(first) != Some(&b']') {
            return Some(first);
        }
        self.after_array(first + 1, limit);
        None
    }

    fn after_array(&mut self, end: usize, limit: usize) {
        let rest = skip_blank(&self.body[..limit], end);
        if rest < limit {
            self.tell(rest..limit, Some(Flaw::new(rest, Kind::AfterArray)));
        }
    }

    /// The verdict on `span`: bad if there is a flaw.
    pub fn tell(&mut self, span: Range<usize>, flaw: Option<Flaw>) {
        self.tell_seen(span, flaw, None);
    }

    /// The same of an event that lies in a window; where there is a flaw, no matter what the window is.
    fn tell_seen(&mut self, span: Range<usize>, flaw: Option<Flaw>, window: Option<&Window<'_>>) {
        match flaw {
            None => {
                let breaks = memchr::memchr2(b'\n', b'\r', &self.body[span.clone()]).is_some();
                self.good(span, breaks, window);
            }
            Some(Flaw { offset, kind }) => self.each.tell(Verdict::Bad { span, offset, kind }),
        }
    }

    /// A good event.
    #[inline(always)]
    pub fn good(&mut self, span: Range<usize>, breaks: bool, window: Option<&Window<'_>>) {
        self.each.good(self.body, span, breaks, window);
    }
}

/// Every event alone.
pub(crate) struct Exact<'v, V>(pub &'v mut V);

impl<V: FnMut(&[u8]) -> bool> Way for Exact<'_, V> {
    fn vouches(&mut self, event: &[u8]) -> bool {
        (self.0)(event)
    }

    fn lines<E: Each>(&mut self, frame: &mut Frame<'_, E>, at: usize) {
        // One search of the whole body spares one for each event: raw carriage returns are rare.
        let returns = memchr::memchr(b'\r', frame.body).is_some();
        let mut start = at;
        while start < frame.body.len() {
            let (line, next) = line(frame.body, start);
            start = next;
            if line.is_empty() {
                continue;
            }
            match frame.judge(self, &line) {
                None if !returns => frame.good(line, false, None),
                flaw => frame.tell(line, flaw),
            }
        }
    }

    fn array<E: Each>(&mut self, frame: &mut Frame<'_, E>, whole: Range<usize>) {
        let mut next = frame.first_element(whole.start, whole.end);
        while let Some(at) = next {
            let Some(end) = frame.element(at, whole.end) else { return };
            next = frame.next_element(end, whole.end);
        }
    }
}

/// Too long an event.
pub(crate) fn limits(span: &Range<usize>) -> Option<Flaw> {
    (span.len() > MAX_EVENT_BYTES).then(|| Flaw::new(span.start + MAX_EVENT_BYTES, Kind::TooLarge))
}

/// The line that begins at `start` without the white space around it, and where the next one begins.
fn line(body: &[u8], start: usize) -> (Range<usize>, usize) {
    let end = memchr::memchr(b'\n', &body[start..]).map_or(body.len(), |at| start + at);
    (trim(body, start..end), end + 1)
}

/// `span` without JSON's white space at either end; empty, at its own end, when there is nothing else.
pub(crate) fn trim(body: &[u8], mut span: Range<usize>) -> Range<usize> {
    while let Some(b' ' | b'\t' | b'\r' | b'\n') = body[span.clone()].first() {
        span.start += 1;
    }
    while let Some(b' ' | b'\t' | b'\r' | b'\n') = body[span.clone()].last() {
        span.end -= 1;
    }
    span
}
