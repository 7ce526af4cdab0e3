//! What brokers do with what arrives, when they answer, and with what.
use super::cluster::{Appended, Health};
use super::world::{Ask, Attempt, Event, Item, MS, RECORDS_MAX, Reply, S, World};
use crate::kafka::producer::*;
use std::vec::Vec;

impl World {
    pub(super) fn at_node(&mut self, event: Event) {
        let (Event::Arrive(id, ..) | Event::Resolve(id, ..)) = &event else { return };
        let link = &self.links[id];
        let (node, closed) = (link.node, link.closed);
        match self.cluster.nodes[node] {
            Health::Stopped => self.backlog[node].push(event),
            Health::Down => self.drop_attempts(&event),
            Health::Up => match event {
                // Closed on our side, but the request may still lie in the broker's socket.
                Event::Arrive(_, _, _) if closed && self.rng.u8(0..3) == 0 => self.drop_attempts(&event),
                Event::Arrive(id, correlation, ask) => self.arrive(node, id, correlation, ask),
                Event::Resolve(id, correlation, items) => self.resolve(node, id, correlation, items),
                _ => {}
            },
        }
    }

    pub(super) fn drop_attempts(&mut self, event: &Event) {
        if let Event::Arrive(_, _, Ask::Produce(attempts)) = event {
            for attempt in attempts {
                *self.under_way.get_mut(&attempt.stamp.producer_id).expect("counted") -= 1;
            }
        }
    }

    pub(super) fn arrive(&mut self, node: usize, id: LinkId, correlation: i32, ask: Ask) {
        if self.goes_wrong() {
            self.drop_attempts(&Event::Arrive(id, correlation, ask));
            return if self.rng.bool() {
                self.lost(id)
            };
        }
        let wrong = self.goes_wrong();
        match ask {
            Ask::Metadata => {
                let newest = self.cluster.views.len() - 1;
                let view = if wrong { newest.saturating_sub(self.rng.usize(0..3)) } else { newest };
                let error = if wrong && self.rng.bool() { [-1, 129, 31][self.rng.usize(0..3)] } else { 0 };
                self.reply(id, correlation, Reply::Metadata(view, error));
            }
            Ask::ProducerId => {
                let code = if wrong { [15, 14, -1, 31, 7][self.rng.usize(0..5)] } else { 0 };
                self.cluster.next_producer += 1;
                let producer = self.cluster.next_producer;
                self.reply(id, correlation, Reply::ProducerId(producer, code));
            }
            Ask::Produce(attempts) => {
                let items = attempts.into_iter().map(|attempt| self.take_in(node, attempt)).collect();
                let wait = if wrong { self.rng.u64(0..2 * S) } else { self.rng.u64(0..10 * MS) };
                self.after(wait, Event::Resolve(id, correlation, items));
            }
        }
    }

    /// Checks as a leader does, in its order, and appends.
    pub(super) fn take_in(&mut self, node: usize, at: Attempt) -> Item {
        *self.under_way.get_mut(&at.stamp.producer_id).expect("counted") -= 1;
        let now = |at, code| Item::Now { at, code, records: None };
        let topic = &self.cluster.topics[at.topic];
        if topic.denied {
            return now(at, 29);
        }
        if self.by_id && (at.id != topic.topic_id() || !topic.exists) {
            return now(at, 100);
        }
        if self.hidden[at.topic] || at.part >= topic.parts.len() {
            return now(at, 3);
        }
        if self.goes_wrong() {
            let codes = [2, 19, -1, 56, 7, 14, 3, 6, 999, 10, 87, 45, 59, 47, 90, 29, 42, 100, 129];
            return now(at, codes[self.rng.usize(0..codes.len())]);
        }
        if self.cluster.topics[at.topic].parts[at.part].leader != Some(node) {
            return now(at, 6);
        }
        let bad: Vec<u32> =
            (0..at.records).filter(|n| self.poison.contains(&(at.first + u64::from(*n)))).collect();
        if at.records > RECORDS_MAX {
            return now(at, 10);
        }
        if let Some(&first) = bad.first() {
            let records = RecordErrors { first, count: bad.len() as u32 };
            return Item::Now { at, code: 87, records: self.rng.bool().then_some(records) };
        }
        self.number += 1;
        let (serial, old) = (self.number, self.old_brokers);
        let part = &mut self.cluster.topics[at.topic].parts[at.part];
        let (appended, epoch) = (part.log.append(serial, at.stamp, at.first, at.records, old), part.epoch);
        let id = self.cluster.topics[at.topic].topic_id();
        let then = if self.goes_wrong() { [7, 20, -1, 56, 6, 5, 999][self.rng.usize(0..7)] } else { 0 };
        match appended {
            Appended::Refused(code) => now(at, code),
            Appended::New(serial) => Item::Wait { at, serial, epoch, id, then },
            Appended::Again(serial) => {
                let then = if self.duplicates_told && then == 0 { 46 } else { then };
                Item::Wait { at, serial, epoch, id, then }
            }
        }
    }

    pub(super) fn resolve(&mut self, node: usize, id: LinkId, correlation: i32, items: Vec<Item>) {
        let mut answers: Vec<ProduceAnswer> = Vec::new();
        for item in items {
            let answer = self.answer_item(node, item);
            if !self.goes_wrong() {
                answers.push(answer);
            }
            if self.goes_wrong() {
                let partition = PartitionIndex(self.rng.u32(0..12));
                answers.push(ProduceAnswer {
                    partition: if self.rng.bool() { answer.partition } else { partition },
                    ..answer
                });
                // One that says what is not true of another partition is no Kafka broker: only harmless ones.
                if answers.last().is_some_and(|last| last.partition != answer.partition) {
                    answers.pop();
                    answers.push(ProduceAnswer { partition: PartitionIndex(4_000_000_000), ..answer });
                }
            }
        }
        if self.goes_wrong() {
            return if self.rng.bool() {
                self.lost(id)
            };
        }
        self.reply(id, correlation, Reply::Produce(answers));
    }

    pub(super) fn answer_item(&mut self, node: usize, item: Item) -> ProduceAnswer {
        let (at, code, records, base_offset) = match item {
            Item::Now { at, code, records } => (at, code, records, -1),
            Item::Wait { at, serial, epoch, id, then } => {
                let topic = &mut self.cluster.topics[at.topic];
                let same = topic.exists && topic.topic_id() == id;
                match topic.parts.get_mut(at.part).filter(|_| same) {
                    None => (at, 3, None, -1),
                    Some(part) if part.epoch != epoch || part.leader != Some(node) => (at, 6, None, -1),
                    Some(_) if !matches!(then, 0 | 46) => (at, then, None, -1),
                    Some(part) => {
                        part.log.replicate(serial);
                        let offset = part.log.offset_of(serial).expect("it leads since");
                        (at, then, None, offset)
                    }
                }
            }
        };
        let mut leader = None;
        if code == 6 {
            let part = self.cluster.topics[at.topic].parts.get(at.part);
            let truth =
                part.and_then(|part| Some(LeaderHint { leader: part.leader? as i32, epoch: part.epoch }));
            leader = if self.goes_wrong() {
                Some(LeaderHint { leader: self.rng.i32(-1..5), epoch: self.rng.i32(0..9) })
            } else {
                truth.filter(|_| self.rng.bool())
            };
        }
        ProduceAnswer { partition: at.partition, error: code, base_offset, records, leader }
    }

    pub(super) fn reply(&mut self, id: LinkId, correlation: i32, reply: Reply) {
        if self.goes_wrong() {
            return;
        }
        let throttle = if self.goes_wrong() { self.rng.i32(1..4000) } else { 0 };
        let wait = self.latency();
        self.after(wait, Event::Answer(id, correlation, reply, throttle));
    }
}
