//! The Kafka sink as one of those that deliver in parts, and what its refusals are called.
use super::{KafkaSink, Misroute, Returned};
use crate::batch::fate::Cause;
use crate::batch::store::Store;
use crate::json::Reason as Flaw;
use crate::kafka::producer::{self, Why};
use crate::memory::Memory;
use crate::segment::header::StreamName;
use crate::sink::{Late, NotReady, Place, Remote};

impl<M: Memory> Remote<M> for KafkaSink {
    fn tick(&mut self, now_ns: u64) -> bool {
        let due = self.producer.deadline_ns().is_some_and(|due_ns| due_ns <= now_ns);
        if due {
            self.producer.tick(now_ns);
        }
        due
    }

    fn deadline_ns(&self) -> Option<u64> {
        self.producer.deadline_ns()
    }

    fn version(&self) -> u64 {
        KafkaSink::version(self)
    }

    fn why_not(&mut self, now_ns: u64, stream: &StreamName) -> Option<NotReady> {
        match self.route(now_ns, stream) {
            Err(Misroute::NotReady(why)) => Some(why),
            _ => None,
        }
    }

    fn drain(&mut self) {
        KafkaSink::drain(self);
    }

    fn cut_short(&mut self, now_ns: u64) {
        KafkaSink::cut_short(self, now_ns);
    }

    fn is_drained(&self) -> bool {
        self.producer.is_drained()
    }

    fn take_outcomes(&mut self, store: &mut Store<M>, now_ns: u64, late: &mut Late<'_>) -> i64 {
        let Some(records) = store.records_mut() else { return 0 };
        let mut change = 0;
        while let Some((slot, outcome)) = self.producer.next_outcome() {
            change += match self.take_outcome(records, slot, outcome, now_ns) {
                Returned::Done => -1,
                Returned::Split => 1,
                Returned::Refused => {
                    for (event, value) in records.arena.values_of(slot) {
                        let cause = records.fates.of(event).map(|failure| failure.cause);
                        late(event, value, cause.map_or(Flaw::KAFKA_REFUSED, Cause::flaw));
                    }
                    -1
                }
            };
        }
        change
    }

    fn take_bytes(&mut self) -> (u64, u64) {
        KafkaSink::take_bytes(self)
    }

    fn place(&self, cause: Cause) -> Option<Place<'_>> {
        let Cause::Kafka(partition, reason) = cause else { return None };
        let (topic, number) = self.producer.locate(partition);
        Some(Place::Kafka(self.producer.topic(topic).0, number, reason))
    }

    fn name(&self) -> &'static str {
        "Kafka"
    }
}

/// What a reply's list of errors says of a refusal by Kafka.
pub(crate) fn flaw(reason: producer::Reason) -> Flaw {
    match (reason.why, reason.code) {
        (Why::TooLarge, _) => Flaw::KAFKA_TOO_LARGE,
        (_, 32) => Flaw::KAFKA_INVALID_TIMESTAMP,
        (Why::BadRecord, _) => Flaw::KAFKA_INVALID_RECORD,
        _ => Flaw::KAFKA_REFUSED,
    }
}
