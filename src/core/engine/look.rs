//! What is looked up in events while they are judged: a stream's schema, and what the sink routes by.
use super::Engine;
use crate::json::schema::{BadSchema, Check, Checks, Picked, Schema};
use crate::json::{Format, Found, Progress, Reason, Scanner, Verdict};
use crate::memory::{Clock, Memory};
use crate::sink::Sink;
use crate::sink::kafka::KafkaSink;
use core::ops::Range;

impl<M: Memory, C: Clock, S: Scanner, K: Sink> Engine<M, C, S, K> {
    /// Holds the events of streams against `schemas` from now on. To be called at start: the words for violations
    /// stay in memory for good.
    ///
    /// # Errors
    /// The first schema that cannot be, and why; nothing is changed then.
    pub fn set_schemas(&mut self, schemas: &[Schema]) -> Result<(), BadSchema> {
        self.hub.checks = checks(schemas, &self.hub.sink)?;
        Ok(())
    }
}

/// What `schemas` and the sink want of events.
pub(super) fn checks(schemas: &[Schema], sink: &impl Sink) -> Result<Checks, BadSchema> {
    let (key, time) = sink.kafka().map_or((None, None), KafkaSink::pointers);
    Checks::new(schemas, key, time)
}

/// What is said of a span of a body: good, or where the trouble is and why.
pub(super) type Judged<'b> = Result<Good<'b>, (usize, Reason)>;

/// Good events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Good<'b> {
    /// How many; when there are several, each is a line.
    pub events: u32,
    pub breaks: bool,
    /// What the sink wants of it; `None`: nothing, or nobody looked.
    pub picked: Option<Picked<'b>>,
}

/// How a body, or the front of one, is looked at: by JSON's rules, and by those of its stream if there are any.
#[derive(Clone, Copy)]
pub(super) struct Look<'c, 'b> {
    pub check: Option<&'c Check>,
    pub body: &'b [u8],
}

impl<'b> Look<'_, 'b> {
    /// Judges all of the body.
    #[inline(always)]
    pub fn scan(
        self,
        scanner: &mut impl Scanner,
        format: Format,
        mut each: impl FnMut(Range<usize>, Judged<'b>),
    ) {
        match self.check {
            None => scanner.scan(self.body, format, |verdict| plain(verdict, &mut each)),
            Some(check) => scanner.scan_fields(self.body, format, check.fields(), |verdict, found| {
                self.held(check, verdict, found, &mut each);
            }),
        }
    }

    /// Judges what can be judged of a body that is not whole yet; see [`Scanner::advance`].
    pub fn advance(
        self,
        scanner: &mut impl Scanner,
        progress: &mut Progress,
        mut each: impl FnMut(Range<usize>, Judged<'b>),
    ) {
        match self.check {
            None => scanner.advance(progress, self.body, |verdict| plain(verdict, &mut each)),
            Some(check) => {
                scanner.advance_fields(progress, self.body, check.fields(), |verdict, found| {
                    self.held(check, verdict, found, &mut each);
                });
            }
        }
    }

    /// Judges what is left of the whole body.
    #[inline(always)]
    pub fn finish(
        self,
        scanner: &mut impl Scanner,
        progress: &mut Progress,
        mut each: impl FnMut(Range<usize>, Judged<'b>),
    ) {
        match self.check {
            None => scanner.finish(progress, self.body, |verdict| plain(verdict, &mut each)),
            Some(check) => {
                scanner.finish_fields(progress, self.body, check.fields(), |verdict, found| {
                    self.held(check, verdict, found, &mut each);
                });
            }
        }
    }

    /// The sink wants something of each event.
    #[inline]
    pub fn picks(&self) -> bool {
        self.check.is_some_and(Check::picks)
    }

    /// Why the rules of the stream refuse that event.
    #[cold]
    pub fn why(&self, span: Range<usize>) -> Reason {
        let (event, mut found) = (&self.body[span], Found::new());
        let violation = self.check.and_then(|check| {
            check.fields().find(event, &mut found);
            check.violation(event, &found)
        });
        violation.map_or(Reason::SCHEMA_STRANGER, |(_, reason)| reason)
    }

    #[inline(always)]
    fn held(
        &self,
        check: &Check,
        verdict: Verdict,
        found: &Found,
        each: &mut impl FnMut(Range<usize>, Judged<'b>),
    ) {
        let Verdict::Good { span, breaks } = verdict else { return plain(verdict, each) };
        let event = &self.body[span.clone()];
        let judged = match check.violation(event, found) {
            Some((at, reason)) => Err((span.start + at, reason)),
            None => {
                let picked = check.picks().then(|| check.picked(event, found));
                Ok(Good { events: 1, breaks, picked })
            }
        };
        each(span, judged);
    }
}

#[inline(always)]
fn plain<'b>(verdict: Verdict, each: &mut impl FnMut(Range<usize>, Judged<'b>)) {
    match verdict {
        Verdict::Good { span, breaks } => each(span, Ok(Good { events: 1, breaks, picked: None })),
        Verdict::Bad { span, offset, reason } => each(span, Err((offset, reason))),
    }
}
