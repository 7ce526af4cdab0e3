//! What is looked up in the events of each stream: fields of schemas, key and time of records.
use super::rule::{self, Rule};
use super::{BadSchema, CHOICES_MAX, SCHEMAS_MAX, Schema, Why};
use crate::json::pointer::Pointer;
use crate::json::{Fields, Found, Reason, Slot};
use crate::reply::REASON_BYTES_MAX;
use crate::segment::header::StreamName;
use alloc::boxed::Box;
use alloc::vec::Vec;
use ringmill_scan::fields::STEPS_MAX;

/// What is looked up in the events of all streams. Made once; shards may share it.
#[derive(Debug, Default)]
pub struct Checks {
    of_streams: Vec<(StreamName, Box<Check>)>,
    of_others: Option<Box<Check>>,
}

/// What is looked up in the events of one stream.
#[derive(Debug)]
pub struct Check {
    fields: Fields,
    key: Option<Slot>,
    time: Option<Slot>,
    rules: Vec<Rule>,
    /// Objects that hold nothing but what is named (`None`: the event), with what is said of anything else.
    sealed: Vec<(Option<Slot>, Reason)>,
    /// What is said of each name of the schema that stands twice.
    repeats: Vec<(Slot, Reason)>,
}

/// What the sink wants of an event: values as they stand in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Picked<'e> {
    /// At the pointer to the key.
    pub key: Option<&'e [u8]>,
    /// At the pointer to the time.
    pub time: Option<&'e [u8]>,
}

impl Checks {
    /// Compiles `schemas`, and looks up a record's key and time besides.
    ///
    /// # Errors
    /// The first schema that cannot be, and why.
    pub fn new(
        schemas: &[Schema],
        key: Option<&Pointer>,
        time: Option<&Pointer>,
    ) -> Result<Checks, BadSchema> {
        let mut checks = Checks::default();
        for (number, schema) in schemas.iter().enumerate() {
            let bad = |why| BadSchema { schema: number, field: None, why };
            if number == SCHEMAS_MAX {
                return Err(bad(Why::TooManySchemas));
            }
            let check = Check::new(schema, key, time);
            let check = check.map_err(|(field, why)| BadSchema { field, ..bad(why) })?;
            let known = match schema.stream {
                None => checks.of_others.replace(Box::new(check)).is_some(),
                Some(stream) => {
                    let known = checks.of_streams.iter().any(|(known, _)| *known == stream);
                    checks.of_streams.push((stream, Box::new(check)));
                    known
                }
            };
            if known {
                return Err(bad(Why::SameStream));
            }
        }
        if checks.of_others.is_none() && (key.is_some() || time.is_some()) {
            let nothing = Schema { stream: None, additional: true, fields: Vec::new() };
            // Where even that is too much, whoever wants key and time looks for them.
            checks.of_others = Check::new(&nothing, key, time).ok().map(Box::new);
        }
        Ok(checks)
    }

    /// Nothing is looked up.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.of_streams.is_empty() && self.of_others.is_none()
    }

    /// What is looked up in events of `stream`, if anything.
    #[inline]
    pub fn of(&self, stream: &StreamName) -> Option<&Check> {
        let own = self.of_streams.iter().find(|(known, _)| known == stream).map(|(_, check)| check);
        own.or(self.of_others.as_ref()).map(|check| &**check)
    }
}

/// Bytes that a compiled schema takes at most, but for the values of `enum`: with a rule, and half a dozen texts,
/// for each step that it may have.
pub const CHECK_BYTES: usize =
    size_of::<Check>() + STEPS_MAX * (size_of::<Rule>() + 6 * (REASON_BYTES_MAX + size_of::<&str>()));

impl Check {
    fn new(
        schema: &Schema,
        key: Option<&Pointer>,
        time: Option<&Pointer>,
    ) -> Result<Check, (Option<usize>, Why)> {
        let mut check = Check {
            fields: Fields::new(),
            key: None,
            time: None,
            rules: Vec::with_capacity(schema.fields.len()),
            sealed: Vec::new(),
            repeats: Vec::new(),
        };
        for (number, field) in schema.fields.iter().enumerate() {
            let bad = |why| (Some(number), why);
            let pointer = Pointer::parse(&field.pointer).map_err(|why| bad(Why::Pointer(why)))?;
            if field.choices.len() > CHOICES_MAX {
                return Err(bad(Why::TooManyChoices));
            }
            let slot = check.fields.want(pointer.names()).map_err(|_| bad(Why::TooMany))?;
            if check.rules.iter().any(|rule| rule.slot == slot) {
                return Err(bad(Why::Twice));
            }
            check.fields.declare(slot);
            check.rules.push(Rule::new(field, slot));
            check.word_repeats(slot, &field.pointer);
            if !field.additional {
                check.fields.seal(Some(slot));
                let words = rule::said(&field.pointer, "a name that the schema does not have");
                check.sealed.push((Some(slot), words));
            }
        }
        if !schema.additional {
            check.fields.seal(None);
            check.sealed.push((None, Reason::SCHEMA_STRANGER));
        }
        let mut want = |pointer: Option<&Pointer>| match pointer {
            Some(pointer) => check.fields.want(pointer.names()).map(Some).map_err(|_| (None, Why::TooMany)),
            None => Ok(None),
        };
        (check.key, check.time) = (want(key)?, want(time)?);
        Ok(check)
    }

    /// Words for each step of a pointer, in case that it stands twice.
    fn word_repeats(&mut self, slot: Slot, pointer: &str) {
        let (mut at, mut pointer) = (Some(slot), pointer);
        while let Some(slot) = at.filter(|slot| self.repeats.iter().all(|(known, _)| known != slot)) {
            self.repeats.push((slot, rule::said(pointer, "given twice")));
            at = self.fields.parent(slot);
            pointer = pointer.rfind('/').map_or("", |slash| &pointer[..slash]);
        }
    }

    /// What is to be found in each event.
    #[inline]
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// The sink wants something of each event.
    #[inline]
    pub fn picks(&self) -> bool {
        self.key.is_some() || self.time.is_some()
    }

    /// What the sink wants of an event.
    #[inline]
    pub fn picked<'e>(&self, event: &'e [u8], found: &Found) -> Picked<'e> {
        let pick = |slot: Option<Slot>| slot.and_then(|slot| found.in_event(slot, event));
        Picked { key: pick(self.key), time: pick(self.time) }
    }

    /// What of the schema an event violates, and where in it: the first in byte order.
    #[inline]
    pub fn violation(&self, event: &[u8], found: &Found) -> Option<(usize, Reason)> {
        let mut first = None;
        for rule in &self.rules {
            match found.get(rule.slot) {
                Some(span) => {
                    let at = span.start;
                    note(
                        &mut first,
                        event.get(span).and_then(|value| rule.wrong(value)).map(|why| (at, why)),
                    );
                }
                None if rule.required => {
                    note(&mut first, Some((found.nearest(rule.slot, &self.fields), rule.missing())));
                }
                None => {}
            }
        }
        note(&mut first, found.stranger().map(|at| (at, self.stranger(at, found))));
        note(&mut first, found.repeated().map(|(at, slot)| (at, self.repeat(slot))));
        first
    }

    /// What is said of an unknown name: by the innermost object that holds it.
    #[cold]
    fn stranger(&self, at: usize, found: &Found) -> Reason {
        let span = |slot: Option<Slot>| match slot {
            Some(slot) => found.get(slot).filter(|span| span.contains(&at)),
            None => Some(0..usize::MAX),
        };
        let around = self.sealed.iter().filter_map(|(slot, words)| Some((span(*slot)?.len(), *words)));
        around.min_by_key(|(len, _)| *len).map_or(Reason::SCHEMA_STRANGER, |(_, words)| words)
    }

    #[cold]
    fn repeat(&self, slot: Slot) -> Reason {
        let words = self.repeats.iter().find(|(known, _)| *known == slot);
        words.map_or(Reason::SCHEMA_STRANGER, |(_, words)| *words)
    }
}

/// Keeps what comes first in the event, of two in one place the one that was noted before.
#[inline(always)]
fn note(first: &mut Option<(usize, Reason)>, next: Option<(usize, Reason)>) {
    if let Some((at, why)) = next
        && first.is_none_or(|(before, _)| at < before)
    {
        *first = Some((at, why));
    }
}
