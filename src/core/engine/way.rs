//! Where the events of one body go: the good ones into the layout of the sink, the others to the lists of refusals.
use super::admit::{NoRoom, Tally};
use super::conn::ErrorList;
use crate::batch::Batch;
use crate::batch::store::{Records, Store};
use crate::memory::Memory;
use crate::reply::{ERRORS_MAX, ErrorRecord};
use crate::segment::header::StreamName;
use crate::sink::Sink;
use crate::sink::kafka::{Event, KafkaSink, Misroute, Route, Unfit};
use crate::sink::quarantine::Refused;
use alloc::vec::Vec;

/// Into the open batch, found once a body.
pub(super) enum Way<'a, M> {
    Lines(&'a mut Batch<M>),
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
            Store::Lines(lines) => Ok(Way::Lines(lines)),
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

    #[inline(always)]
    pub(super) fn append(&mut self, event: &Event<'_>) -> Result<(), Unfit> {
        match self {
            Way::Lines(lines) => {
                let appended = lines.append(event.stream, event.value, event.breaks, event.now_ns);
                appended.map_err(|_| Unfit::Full)
            }
            Way::Records(records, kafka, route) => kafka.append(records, route, event),
        }
    }
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
