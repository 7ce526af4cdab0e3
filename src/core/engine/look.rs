//! What is looked up in events while they are judged: a stream's schema, and what the sink routes by.
use super::Engine;
use crate::json::schema::{BadSchema, Check, Checks, Picked, Schema};
use crate::json::{Format, Found, Reason, Scanner, Verdict};
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
pub(super) struct Good<'b> {
    /// How many; when there are several, each is a line.
    pub events: u32,
    pub breaks: bool,
    /// What the sink wants of it; `None`: nobody looked.
    pub picked: Option<Picked<'b>>,
}

/// Judges `body` by JSON's rules, and its good events by `check`.
#[inline(never)]
pub(super) fn judge<'b>(
    scanner: &mut impl Scanner,
    check: &Check,
    body: &'b [u8],
    format: Format,
    mut each: impl FnMut(Range<usize>, Judged<'b>),
) {
    scanner.scan_fields(body, format, check.fields(), |verdict, found: &Found| match verdict {
        Verdict::Good { span, breaks } => {
            let event = &body[span.clone()];
            let judged = match check.violation(event, found) {
                Some((at, reason)) => Err((span.start + at, reason)),
                None => Ok(Good { events: 1, breaks, picked: Some(check.picked(event, found)) }),
            };
            each(span, judged);
        }
        Verdict::Bad { span, offset, reason } => each(span, Err((offset, reason))),
    });
}
