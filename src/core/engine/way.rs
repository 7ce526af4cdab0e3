//! Where the events of one body go: the good ones into the layout of the sink, the others to the lists of refusals.
use super::admit::{NoRoom, Tally};
use super::conn::ErrorList;
use crate::batch::Batch;
use crate::batch::store::{Records, Store};
use crate::memory::Memory;
use crate::reject::Reject;
use crate::reply::{ERRORS_MAX, ErrorRecord};
use crate::segment::RunKey;
use crate::segment::header::StreamName;
use crate::sink::Sink;
use crate::sink::http::HttpSink;
use crate::sink::http::target::Lead;
use crate::sink::kafka::{Event, KafkaSink, Misroute, Route, Unfit};
use crate::sink::quarantine::Refused;
use alloc::vec::Vec;

const KEY_TOO_LONG: Reject = Reject::new(
    503,
    "key_too_long",
    "events wait on disk for Kafka, where a Ringmill-Key of that length has no room: shorten it, or retry later",
);

/// Into the open batch, found once a body.
pub(super) enum Way<'a, M> {
    Lines(&'a mut Batch<M>),
    /// An action line before each.
    Led(&'a mut Batch<M>, &'a HttpSink),
    /// Lines that will be records: what no record could hold is refused at once.
    Spill(&'a mut Batch<M>, &'a mut KafkaSink, &'a Records<M>),
    Records(&'a mut Records<M>, &'a mut KafkaSink, Route),
}

impl<'a, M: Memory> Way<'a, M> {
    #[inline]
    pub(super) fn find<K: Sink>(
        store: &'a mut Store<M>,
        sink: &'a mut K,
        now_ns: u64,
        stream: &StreamName,
    ) -> Result<Way<'a, M>, NoRoom> {
        match store {
            Store::Lines(lines) => Ok(match sink.http() {
                Some(http) if http.preset().is_bulk() => Way::Led(lines, http),
                _ => Way::Lines(lines),
            }),
            Store::Records(records) => {
                let kafka = sink.kafka_mut().ok_or(NoRoom::Later)?;
                match kafka.route(now_ns, stream) {
                    Ok(route) => {
                        records.arena.bound_batches(route.batch_bytes());
                        Ok(Way::Records(records, kafka, route))
                    }
                    Err(Misroute::NotReady(_)) => Err(NoRoom::Later),
                    Err(Misroute::Refused(reject)) => Err(NoRoom::Refused(reject)),
                }
            }
        }
    }

    /// The way into a spill; what is known of the sink is held against the request now, for nobody can be told later.
    pub(super) fn spill<K: Sink>(
        store: &'a mut Store<M>,
        sink: &'a mut K,
        records: &'a Records<M>,
        (shard, now_ns, stream, key): (u32, u64, &StreamName, Option<&[u8]>),
    ) -> Result<Way<'a, M>, NoRoom> {
        let (Store::Lines(lines), Some(kafka)) = (store, sink.kafka_mut()) else { return Err(NoRoom::Later) };
        if key.is_some_and(|key| !RunKey::fits(shard, stream, key)) {
            return Err(NoRoom::Refused(KEY_TOO_LONG));
        }
        kafka.name_topic(now_ns, stream).map_err(NoRoom::Refused)?;
        Ok(Way::Spill(lines, kafka, records))
    }

    /// Whether good lines that follow each other may be appended at once.
    #[inline]
    pub(super) fn takes_runs(&self) -> bool {
        matches!(self, Way::Lines(_))
    }

    /// Appends `event`, which is several lines only if it takes runs.
    #[inline(always)]
    pub(super) fn append_run(&mut self, event: &Event<'_>, events: u32) -> Result<(), Unfit> {
        match self {
            Way::Lines(lines) if events > 1 => {
                let appended = lines.append_run(event.stream, event.value, events, event.now_ns);
                appended.map_err(|_| Unfit::Full)
            }
            _ => self.append(event),
        }
    }

    #[inline(always)]
    pub(super) fn append(&mut self, event: &Event<'_>) -> Result<(), Unfit> {
        match self {
            Way::Lines(lines) => {
                let appended = lines.append(event.stream, event.value, event.breaks, event.now_ns);
                appended.map_err(|_| Unfit::Full)
            }
            Way::Led(lines, http) => led(lines, http, event),
            Way::Records(records, kafka, route) => kafka.append(records, route, event),
            Way::Spill(lines, kafka, records) => {
                if !kafka.takes(&records.arena, event) {
                    return Err(Unfit::TooLarge);
                }
                let Event { stream, key, value, breaks, now_ns, .. } = *event;
                lines.append_keyed(stream, key, value, breaks, now_ns).map_err(|_| Unfit::Full)
            }
        }
    }
}

#[inline(never)]
fn led<M: Memory>(lines: &mut Batch<M>, http: &HttpSink, event: &Event<'_>) -> Result<(), Unfit> {
    let lead = http.lead(lines.events(), event.id);
    let lead = lead.as_ref().map_or(&[][..], Lead::as_bytes);
    lines.append_behind(lead, event.stream, event.value, event.breaks, event.now_ns).map_err(|_| Unfit::Full)
}

/// Where refusals are listed and refused bytes kept.
pub(super) struct Refusals<'a, M> {
    pub errors: &'a mut [Vec<ErrorRecord>],
    pub free: &'a mut Vec<ErrorList>,
    pub refused: &'a mut Refused<M>,
    /// There is a quarantine.
    pub keeps: bool,
}

impl<M: Memory> Refusals<'_, M> {
    /// Lists one refusal and keeps its bytes, as far as there is room. `index` is its place in the body.
    #[inline(never)]
    pub(super) fn take(&mut self, tally: &mut Tally, record: ErrorRecord, index: u32, bytes: &[u8]) {
        if tally.errors.is_none() {
            tally.errors = self.free.pop();
        }
        if let Some(list) = tally.errors.map(|list| &mut self.errors[usize::from(list)])
            && list.len() < ERRORS_MAX
        {
            list.push(record);
        }
        let kept = self.keeps && self.refused.append(bytes, index, record.offset, record.reason.as_str());
        tally.kept += u32::from(kept);
        tally.rejected += 1;
    }
}
