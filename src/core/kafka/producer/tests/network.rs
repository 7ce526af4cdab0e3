//! What arrives at the producer.
use super::cluster::Health;
use super::world::{MS, Reply, S, World};
use crate::kafka::producer::*;
use std::vec::Vec;

impl World {
    pub(super) fn dialed(&mut self, id: LinkId) {
        let wrong = self.goes_wrong();
        let Some(link) = self.links.get_mut(&id).filter(|link| !link.closed) else { return };
        match self.cluster.nodes[link.node] {
            Health::Up if !wrong => {
                link.up = true;
                self.producer.handle(self.now, Input::Up { link: id });
            }
            Health::Stopped => {}
            Health::Up | Health::Down => self.lost(id),
        }
    }

    pub(super) fn lost(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id).filter(|link| !link.closed) else { return };
        link.closed = true;
        self.producer.handle(self.now, Input::Down { link: id, why: LinkFailure::Reset });
    }

    pub(super) fn answer(&mut self, id: LinkId, correlation: i32, reply: &Reply, throttle_ms: i32) {
        let late = self.rng.bool();
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.closed && late {
            return;
        }
        link.asked.remove(&correlation);
        link.muted_until = link.muted_until.max(self.now + (throttle_ms as u64 * MS).min(2 * S));
        match reply {
            Reply::ProducerId(producer_id, error) => {
                let answer =
                    ProducerIdAnswer { error: *error, throttle_ms, producer_id: *producer_id, epoch: 0 };
                self.producer.handle(self.now, Input::InitProducerId { link: id, correlation, answer });
            }
            Reply::Metadata(view, error) => self.answer_metadata(id, correlation, *view, *error, throttle_ms),
            Reply::Produce(answers) => {
                let mut answers = answers.iter().copied();
                let nodes = [BrokerSeen { id: 1, host: "n1", port: 1 }];
                let answers = &mut answers;
                let input = Input::Produce { link: id, correlation, throttle_ms, nodes: &nodes, answers };
                self.producer.handle(self.now, input);
            }
        }
    }

    pub(super) fn answer_metadata(
        &mut self,
        link: LinkId,
        correlation: i32,
        view: usize,
        error: i16,
        throttle_ms: i32,
    ) {
        let brokers = [0, 1, 2].map(|id| BrokerSeen { id, host: ["n0", "n1", "n2"][id as usize], port: 1 });
        let view = &self.cluster.views[view.min(self.cluster.views.len() - 1)];
        let partitions: Vec<Vec<PartitionSeen>> = view
            .iter()
            .map(|topic| {
                let seen = topic.3.iter().enumerate().map(|(n, &(leader, epoch))| PartitionSeen {
                    error: if leader.is_some() { 0 } else { 5 },
                    number: n as i32,
                    leader: leader.map_or(-1, |node| node as i32),
                    leader_epoch: epoch,
                });
                seen.collect()
            })
            .collect();
        let topics: Vec<TopicSeen<'_>> = view
            .iter()
            .enumerate()
            .map(|(n, &(exists, denied, id, _))| TopicSeen {
                error: if !exists {
                    3
                } else if denied {
                    29
                } else {
                    0
                },
                name: ["t0", "t1"][n],
                id,
                partitions: if exists && !denied { &partitions[n] } else { &[] },
            })
            .collect();
        let answer = MetadataAnswer { error, throttle_ms, brokers: &brokers, topics: &topics };
        self.producer.handle(self.now, Input::Metadata { link, correlation, answer });
    }
}
