//! What a Produce answer means for a batch.

use super::Producer;
use super::brokers::Asked;
use super::errors::{self, Verdict};
use super::mutant::Mutant;
use super::partition::Phase;
use super::topics::Trouble;
use super::types::{BrokerSeen, LinkFailure, LinkId, Outcome, ProduceAnswer, Why};

/// Hints followed without metadata in between: a broker could go on naming others for ever.
const HINTS_MAX: u8 = 3;

/// Attempts in a row that fail before a new epoch is thought useless.
const BUMPS_MAX: u32 = 3;

impl Producer {
    pub(super) fn produce_answered(
        &mut self,
        now_ns: u64,
        link: LinkId,
        correlation: i32,
        throttle_ms: i32,
        nodes: &[BrokerSeen<'_>],
        answers: &mut dyn Iterator<Item = ProduceAnswer>,
    ) {
        let Some((row, at)) = self.request_of(now_ns, link, correlation) else { return };
        if self.rows[row].requests()[at].asked != Asked::Produce {
            return self.hang_up(now_ns, row, LinkFailure::Protocol);
        }
        self.mute(now_ns, row, throttle_ms);
        for answer in answers {
            let p = answer.partition.0 as usize;
            let expected = Phase::Sent { row, request: at };
            if self.partitions.get(p).is_some_and(|part| part.phase == expected) {
                self.judge(now_ns, p, &answer, nodes);
            }
        }
        if self.errs(Mutant::MissingIsWritten) {
            self.believe_missing(now_ns, row, at);
        }
        self.unanswered(now_ns, row, at);
        self.rows[row].request(at).asked = Asked::Free;
    }

    /// Decides about the head batch of a partition.
    fn judge(&mut self, now_ns: u64, p: usize, answer: &ProduceAnswer, nodes: &[BrokerSeen<'_>]) {
        let part = &mut self.partitions[p];
        part.phase = Phase::Waiting;
        let Some(head) = part.head else { return };
        let verdict = self.misjudge(head, errors::produce(answer.error));
        let batch = &mut self.batches[head];
        let maybe = batch.maybe;
        if answer.error != 0 {
            batch.last_error = answer.error;
        }
        match verdict {
            Verdict::Written => self.written(now_ns, p, answer.base_offset),
            // Where no attempt can be in the log, other records have our sequence numbers.
            Verdict::Duplicate if maybe => self.written(now_ns, p, answer.base_offset),
            Verdict::Duplicate | Verdict::Bump => self.start_anew(now_ns, p, false),
            Verdict::Renew => self.start_anew(now_ns, p, true),
            Verdict::Retry => self.retry(now_ns, p, true),
            Verdict::RetryElsewhere => self.retry_elsewhere(now_ns, p, answer, nodes),
            Verdict::Maybe => {
                batch.maybe = true;
                self.retry(now_ns, p, true);
            }
            Verdict::MaybeElsewhere => {
                batch.maybe = true;
                self.retry_elsewhere(now_ns, p, answer, nodes);
            }
            Verdict::Split if !maybe => self.too_large(now_ns, p),
            Verdict::BadRecord if !maybe => self.bad_record(now_ns, p, answer),
            Verdict::Denied => {
                let until = now_ns + self.settings.denied_retry_ns;
                self.trouble(self.partitions[p].topic, Some(Trouble::WriteDenied(until)));
                self.wake(until);
                self.give_up(now_ns, p, Why::Denied);
            }
            Verdict::Split => self.give_up(now_ns, p, Why::TooLarge),
            Verdict::BadRecord => self.give_up(now_ns, p, Why::BadRecord),
            Verdict::Rejected => self.give_up(now_ns, p, Why::Rejected),
        }
    }

    fn written(&mut self, now_ns: u64, p: usize, base_offset: i64) {
        let topic = self.partitions[p].topic;
        if let Some(Trouble::WriteDenied(_)) = self.topics.table[topic].trouble {
            self.trouble(topic, None);
        }
        self.finish(now_ns, p, Outcome::Written { base_offset });
    }

    /// The broker's idea of the sequence is another one. A batch that is surely in no log starts the new epoch
    /// (or the new id); one that may be in a log must not be sent under another stamp.
    fn start_anew(&mut self, now_ns: u64, p: usize, renew: bool) {
        let Some(head) = self.partitions[p].head else { return };
        if self.batches[head].maybe {
            self.give_up(now_ns, p, Why::SequenceLost);
            if renew && !matches!(self.partitions[p].phase, Phase::Sent { .. }) {
                self.partitions[p].renew();
                self.place(now_ns, p);
            }
            return;
        }
        let part = &mut self.partitions[p];
        // A broker that takes no epoch of ours (some fence those not given by them) gets another id.
        if renew || part.failures >= BUMPS_MAX {
            part.renew();
        } else {
            part.bump();
        }
        self.batches[head].stamp = None;
        self.batches[head].frozen = false;
        if self.errs(Mutant::RestampOthers) {
            self.restamp_others();
        }
        self.retry(now_ns, p, true);
    }

    fn retry_elsewhere(&mut self, now_ns: u64, p: usize, answer: &ProduceAnswer, nodes: &[BrokerSeen<'_>]) {
        let hinted = self.follow_hint(now_ns, p, answer, nodes);
        // The hint concerns one partition; what else moved only metadata tells (rule 12).
        self.want_metadata(now_ns);
        self.retry(now_ns, p, !hinted);
    }

    /// Adopts a leader that the answer names, if it is newer than what is known (KIP-951).
    fn follow_hint(
        &mut self,
        now_ns: u64,
        p: usize,
        answer: &ProduceAnswer,
        nodes: &[BrokerSeen<'_>],
    ) -> bool {
        let part = &self.partitions[p];
        let Some(hint) = answer.leader else { return false };
        if hint.leader < 0 || hint.epoch <= part.leader_epoch || part.hints >= HINTS_MAX {
            return false;
        }
        let known = self.row_of_broker(hint.leader);
        let named = || nodes.iter().find(|node| node.id == hint.leader);
        let Some(row) = known.or_else(|| named().and_then(|node| self.admit_broker(now_ns, node))) else {
            return false;
        };
        let part = &mut self.partitions[p];
        part.hints += 1;
        part.leader_epoch = hint.epoch;
        self.set_leader(now_ns, p, Some(row));
        true
    }

    fn too_large(&mut self, now_ns: u64, p: usize) {
        let Some(head) = self.partitions[p].head else { return };
        let outcome = match self.batches[head].records {
            1 => Outcome::Refused { record: 0, reason: self.reason(head, Why::TooLarge) },
            records => Outcome::Split { at: records / 2, why: Why::TooLarge },
        };
        self.finish(now_ns, p, outcome);
    }

    /// A record is at fault. Its neighbours are cut off from it: before it, then behind it, until it is alone.
    fn bad_record(&mut self, now_ns: u64, p: usize, answer: &ProduceAnswer) {
        let Some(head) = self.partitions[p].head else { return };
        let records = self.batches[head].records;
        let reason = self.reason(head, Why::BadRecord);
        let outcome = match answer.records {
            _ if records == 1 => Outcome::Refused { record: 0, reason },
            Some(bad) if bad.count >= records => Outcome::NotWritten(reason),
            Some(bad) if bad.first < records => Outcome::Split { at: bad.first.max(1), why: Why::BadRecord },
            _ => Outcome::Split { at: records / 2, why: Why::BadRecord },
        };
        self.finish(now_ns, p, outcome);
    }
}
