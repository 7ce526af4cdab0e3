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

/// An event as its judge left it: where it stands, and what is wrong with it or what was found in it.
pub(super) type Judged<'b> = (Range<usize>, Result<Look<'b>, (usize, Reason)>);

/// A good event.
pub(super) struct Look<'b> {
    pub breaks: bool,
    /// `None`: nobody looked.
    pub picked: Option<Picked<'b>>,
}

/// Judges `body` by JSON's rules, and its good events by `check`.
#[inline(always)]
pub(super) fn judge<'b>(
    scanner: &mut impl Scanner,
    check: Option<&Check>,
    body: &'b [u8],
    format: Format,
    mut each: impl FnMut(Judged<'b>),
) {
    match check {
        None => scanner.scan(body, format, |verdict| {
            each(match verdict {
                Verdict::Good { span, breaks } => (span, Ok(Look { breaks, picked: None })),
                Verdict::Bad { span, offset, reason } => (span, Err((offset, reason))),
            });
        }),
        Some(check) => judge_by(scanner, check, body, format, &mut each),
    }
}

#[inline(never)]
fn judge_by<'b>(
    scanner: &mut impl Scanner,
    check: &Check,
    body: &'b [u8],
    format: Format,
    each: &mut impl FnMut(Judged<'b>),
) {
    scanner.scan_fields(body, format, check.fields(), |verdict, found: &Found| match verdict {
        Verdict::Good { span, breaks } => {
            let event = &body[span.clone()];
            match check.violation(event, found) {
                Some((at, reason)) => each((span.clone(), Err((span.start + at, reason)))),
                None => each((span, Ok(Look { breaks, picked: Some(check.picked(event, found)) }))),
            }
        }
        Verdict::Bad { span, offset, reason } => each((span, Err((offset, reason)))),
    });
}
