//! Finds the events of a body and gets each its verdict: of a line or a whole body first from the fast check.
use super::{
    Format, MAX_EVENT_BYTES, Reason, Verdict,
    strict::{self, Flaw, skip_blank},
};
use core::ops::Range;

/// Calls `each` once for each event of `body`. `vouches` is shown slices that begin with `{` and says whether
/// such a slice is one valid event beyond doubt.
pub(super) fn scan(
    vouches: &mut impl FnMut(&[u8]) -> bool,
    body: &[u8],
    format: Format,
    each: impl FnMut(Verdict),
) {
    // One search of the whole body spares one for each event: raw carriage returns are rare.
    let returns = memchr::memchr(b'\r', body).is_some();
    let mut scan = Scan { vouches, body, returns, each };
    match format {
        Format::Json => scan.json(),
        Format::Lines => scan.lines(0),
        Format::Sniff => scan.sniff(),
    }
}

struct Scan<'a, V, E> {
    vouches: &'a mut V,
    body: &'a [u8],
    /// `body` holds a carriage return somewhere.
    returns: bool,
    each: E,
}

impl<V: FnMut(&[u8]) -> bool, E: FnMut(Verdict)> Scan<'_, V, E> {
    /// One value: an object, or an array of events.
    fn json(&mut self) {
        let whole = trim(self.body, 0..self.body.len());
        match self.body.get(whole.start) {
            Some(b'[') => self.array(whole),
            _ if whole.is_empty() => {}
            _ => match self.judge(whole.clone()) {
                None => self.good(whole, true),
                Some(flaw) => self.bad(whole, flaw),
            },
        }
    }

    /// One event a line, from `at` on.
    fn lines(&mut self, at: usize) {
        let mut start = at;
        while start < self.body.len() {
            let (line, next) = line(self.body, start);
            start = next;
            if line.is_empty() {
                continue;
            }
            match self.judge(line.clone()) {
                None => self.good(line, false),
                Some(flaw) => self.bad(line, flaw),
            }
        }
    }

    /// An unnamed format. Nothing is emitted before the decision, which is exact: behind a first line that is
    /// an event, more text means that the body is not one object; a first line that is none means that not
    /// each line stands alone.
    fn sniff(&mut self) {
        let whole = trim(self.body, 0..self.body.len());
        match self.body.get(whole.start) {
            None => return,
            Some(b'[') => return self.array(whole),
            Some(_) => {}
        }
        let (first, next) = line(self.body, whole.start);
        let Some(flaw) = self.judge(first.clone()) else {
            self.good(first, false);
            return self.lines(next);
        };
        if next < whole.end && strict::wrong_start(self.body, whole.start).is_none() {
            let value = strict::value(&self.body[..whole.end], whole.start);
            if !value.broken && value.end == whole.end {
                return match self.limits(&whole).or(value.flaw) {
                    None => self.good(whole, true),
                    Some(flaw) => self.bad(whole, flaw),
                };
            }
        }
        self.bad(first, flaw);
        self.lines(next);
    }

    /// The elements of an array, `whole` being the body without the white space around it.
    fn array(&mut self, whole: Range<usize>) {
        let bytes = &self.body[..whole.end];
        let mut at = skip_blank(bytes, whole.start + 1);
        if bytes.get(at) != Some(&b']') {
            loop {
                let Some(end) = self.element(at, whole.end) else { return };
                at = skip_blank(bytes, end);
                match bytes.get(at) {
                    Some(b',') => at = skip_blank(bytes, at + 1),
                    Some(b']') => break,
                    Some(_) => return self.bad(at..whole.end, Flaw::new(at, Reason::BETWEEN_EVENTS)),
                    None => return self.bad(at..at, Flaw::new(at, Reason::UNCLOSED_ARRAY)),
                }
            }
        }
        let rest = skip_blank(bytes, at + 1);
        if rest < whole.end {
            self.bad(rest..whole.end, Flaw::new(rest, Reason::AFTER_ARRAY));
        }
    }

    /// The verdict on the element at `at`, and its end; `None` when it is broken and takes the rest of the
    /// body, up to `limit`, with it. One exact pass gives both: finding the end first, so as to ask the fast
    /// check, took twice as long.
    fn element(&mut self, at: usize, limit: usize) -> Option<usize> {
        let bytes = &self.body[..limit];
        if at == limit {
            self.bad(at..at, Flaw::new(at, Reason::UNCLOSED_ARRAY));
            return None;
        }
        let value = strict::value(bytes, at);
        if value.broken {
            let flaw = value.flaw.unwrap_or(Flaw::new(value.end, Reason::EXPECTED_VALUE));
            self.bad(at..limit, flaw);
            return None;
        }
        let span = at..value.end;
        match self.limits(&span).or(strict::wrong_start(bytes, at)).or(value.flaw) {
            None => self.good(span, true),
            Some(flaw) => self.bad(span, flaw),
        }
        Some(value.end)
    }

    /// What is wrong with `span`, trimmed of white space, as one event.
    fn judge(&mut self, span: Range<usize>) -> Option<Flaw> {
        let flaw = self.limits(&span);
        if flaw.is_some() {
            return flaw;
        }
        let event = &self.body[span.clone()];
        if event[0] == b'{' && (self.vouches)(event) {
            return None;
        }
        strict::event(&self.body[..span.end], span.start)
    }

    fn limits(&self, span: &Range<usize>) -> Option<Flaw> {
        (span.len() > MAX_EVENT_BYTES).then(|| Flaw::new(span.start + MAX_EVENT_BYTES, Reason::TOO_LARGE))
    }

    fn good(&mut self, span: Range<usize>, over_lines: bool) {
        let event = &self.body[span.clone()];
        let breaks = over_lines && memchr::memchr(b'\n', event).is_some()
            || self.returns && memchr::memchr(b'\r', event).is_some();
        (self.each)(Verdict::Good { span, breaks });
    }

    fn bad(&mut self, span: Range<usize>, flaw: Flaw) {
        (self.each)(Verdict::Bad { span, offset: flaw.offset, reason: flaw.reason });
    }
}

/// The line that begins at `start` without the white space around it, and where the next one begins.
fn line(body: &[u8], start: usize) -> (Range<usize>, usize) {
    let end = memchr::memchr(b'\n', &body[start..]).map_or(body.len(), |at| start + at);
    (trim(body, start..end), end + 1)
}

/// `span` without JSON's white space at either end; empty, at its own end, when there is nothing else.
fn trim(body: &[u8], mut span: Range<usize>) -> Range<usize> {
    while let Some(b' ' | b'\t' | b'\r' | b'\n') = body[span.clone()].first() {
        span.start += 1;
    }
    while let Some(b' ' | b'\t' | b'\r' | b'\n') = body[span.clone()].last() {
        span.end -= 1;
    }
    span
}
