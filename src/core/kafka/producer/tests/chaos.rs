//! What goes wrong by itself, and how all becomes well.
use super::cluster::{Health, Part};
use super::world::{Event, MS, NODES, World};
use crate::kafka::producer::*;
use std::collections::BTreeSet;
use std::vec::Vec;

impl World {
    pub(super) fn publish(&mut self) {
        let before: Vec<bool> = self.cluster.topics.iter().map(|topic| topic.exists).collect();
        for (topic, hidden) in self.hidden.iter().enumerate() {
            self.cluster.topics[topic].exists &= !hidden;
        }
        self.cluster.publish();
        for (topic, exists) in before.into_iter().enumerate() {
            self.cluster.topics[topic].exists = exists;
        }
    }

    pub(super) fn up(&self) -> Vec<usize> {
        (0..NODES).filter(|&node| self.cluster.nodes[node] == Health::Up).collect()
    }

    pub(super) fn chaos(&mut self) {
        let wait = self.rng.u64(50 * MS..400 * MS);
        self.after(wait, Event::Chaos);
        let (node, topic) = (self.rng.usize(0..NODES), self.rng.usize(0..2));
        let back = self.rng.u64(100 * MS..2500 * MS);
        match self.rng.u8(0..11) {
            0 | 1 if self.cluster.nodes[node] == Health::Up => {
                let dead = self.rng.bool();
                self.cluster.nodes[node] = if dead { Health::Down } else { Health::Stopped };
                if dead {
                    let lost: Vec<LinkId> =
                        self.links.iter().filter(|(_, link)| link.node == node).map(|(id, _)| *id).collect();
                    lost.into_iter().for_each(|id| self.after(MS, Event::Lost(id)));
                }
                let elect = self.rng.u64(10 * MS..800 * MS);
                self.after(elect, Event::Elect(node));
                self.after(back, Event::Back(node));
            }
            2 | 3 => {
                let open: Vec<LinkId> =
                    self.links.iter().filter(|(_, link)| !link.closed).map(|(id, _)| *id).collect();
                if let Some(&id) = self.rng.choice(&open) {
                    self.lost(id);
                }
            }
            4 | 5 => self.elect(node),
            6 if self.cluster.topics[topic].exists => {
                self.cluster.bury(topic);
                self.publish();
                self.after(back, Event::Recreate(topic));
            }
            7 if self.cluster.topics[topic].exists && self.cluster.topics[topic].parts.len() < 3 => {
                let leader = self.rng.choice(self.up());
                let part = Part { leader, epoch: 0, log: Default::default() };
                self.cluster.topics[topic].parts.push(part);
                self.publish();
            }
            8 => {
                self.hidden[topic] = self.rng.bool();
                self.cluster.topics[topic].denied = !self.hidden[topic];
                self.publish();
                self.after(back, Event::Show(topic));
            }
            9 => self.forget_producers(),
            10 if self.cluster.topics[topic].exists => {
                let (count, keep) = (self.cluster.topics[topic].parts.len(), self.rng.bool());
                self.cluster.move_leader(topic, self.rng.usize(0..count), None, keep);
                self.publish();
                self.after(back, Event::Elect(usize::MAX));
            }
            _ => {}
        }
    }

    /// Producer state is lost where nothing is unknown: a broker that forgets what is under way duplicates it,
    /// and no producer can help it.
    pub(super) fn forget_producers(&mut self) {
        let open: BTreeSet<i64> = self
            .told
            .iter()
            .filter(|told| told.outcome.is_none())
            .filter_map(|told| Some(told.stamp?.producer_id))
            .collect();
        let all: BTreeSet<i64> = self.told.iter().filter_map(|told| Some(told.stamp?.producer_id)).collect();
        for producer in all.difference(&open) {
            if self.under_way.get(producer).copied().unwrap_or(0) == 0 {
                let parts = self.cluster.topics.iter_mut().flat_map(|topic| topic.parts.iter_mut());
                parts.for_each(|part| part.log.forget_producer(*producer));
            }
        }
    }

    /// What `node` leads gets another leader.
    pub(super) fn elect(&mut self, node: usize) {
        let up = self.up();
        for topic in 0..2 {
            for part in 0..self.cluster.topics[topic].parts.len() {
                let leader = self.cluster.topics[topic].parts[part].leader;
                if leader == Some(node) || leader.is_none() {
                    let to = self.rng.choice(&up).copied();
                    let keep = self.rng.bool();
                    self.cluster.move_leader(topic, part, to, keep);
                }
            }
        }
        self.publish();
    }

    pub(super) fn back(&mut self, node: usize) {
        self.cluster.nodes[node] = Health::Up;
        for event in std::mem::take(&mut self.backlog[node]) {
            self.at_node(event);
        }
    }

    pub(super) fn recreate(&mut self, topic: usize) {
        if !self.cluster.topics[topic].exists {
            let (count, up) = (self.rng.usize(1..=3), self.up());
            self.cluster.create(topic, count, &up);
            self.publish();
        }
    }

    pub(super) fn heal(&mut self) {
        self.wrong = 0;
        (0..NODES).for_each(|node| self.back(node));
        (0..2).for_each(|topic| self.recreate(topic));
        for topic in 0..2 {
            (self.hidden[topic], self.cluster.topics[topic].denied) = (false, false);
        }
        let gone = [Event::Chaos, Event::Elect(0), Event::Submit].map(|event| std::mem::discriminant(&event));
        self.events
            .iter_mut()
            .filter(|(_, event)| gone.contains(&std::mem::discriminant(event)))
            .for_each(|(_, event)| *event = Event::Heal);
        self.events.retain(|_, event| !matches!(event, Event::Heal));
        let kept: BTreeSet<u64> = self.events.keys().copied().collect();
        self.heap.retain(|next| kept.contains(&next.0.1));
        self.elect(usize::MAX);
    }
}
