//! One life: time, the driver's part, and what the producer may never do meanwhile.
use super::cluster::Cluster;
use super::oracle::{self, Told};
use crate::kafka::producer::mutant::Mutant;
use crate::kafka::producer::*;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

pub(super) const MS: u64 = 1_000_000;
pub(super) const S: u64 = 1_000_000_000;
pub(super) const NODES: usize = 3;
pub(super) const SLOTS: usize = 96;
/// Batches of one partition that are submitted and have no outcome.
const QUEUE_MAX: usize = 4;
/// A broker takes so many records in a batch and no more.
pub(super) const RECORDS_MAX: u32 = 5;
pub(super) const DELIVERY_NS: u64 = 6 * S;
/// Faults end by then; delivery timeout and backoffs are over a good while before the last batches.
pub(super) const SETTLE_NS: u64 = 10 * S;

#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) slot: Slot,
    pub(super) partition: PartitionIndex,
    pub(super) topic: usize,
    pub(super) id: TopicId,
    pub(super) part: usize,
    pub(super) stamp: Stamp,
    pub(super) first: u64,
    pub(super) records: u32,
}

#[derive(Clone, Debug)]
pub(super) enum Ask {
    Metadata,
    ProducerId,
    Produce(Vec<Attempt>),
}

/// An append whose outcome is awaited: where, which, at which leader's epoch; or an answer already.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Wait { at: Attempt, serial: u64, epoch: i32, id: TopicId, then: i16 },
    Now { at: Attempt, code: i16, records: Option<RecordErrors> },
}

#[derive(Clone, Debug)]
pub(super) enum Reply {
    Metadata(usize, i16),
    ProducerId(i64, i16),
    Produce(Vec<ProduceAnswer>),
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    Dialed(LinkId),
    Arrive(LinkId, i32, Ask),
    Resolve(LinkId, i32, Vec<Item>),
    Answer(LinkId, i32, Reply, i32),
    Lost(LinkId),
    Submit,
    Chaos,
    Elect(usize),
    Back(usize),
    Recreate(usize),
    Show(usize),
    Heal,
    Last,
}

pub(super) struct Link {
    pub(super) node: usize,
    pub(super) up: bool,
    pub(super) closed: bool,
    pub(super) muted_until: u64,
    pub(super) asked: BTreeMap<i32, Vec<Slot>>,
}

pub struct World {
    pub(super) now: u64,
    pub(super) rng: fastrand::Rng,
    pub(super) heap: BinaryHeap<std::cmp::Reverse<(u64, u64)>>,
    pub(super) events: BTreeMap<u64, Event>,
    pub(super) number: u64,
    pub(super) producer: Producer,
    pub(super) cluster: Cluster,
    pub(super) links: BTreeMap<LinkId, Link>,
    pub(super) backlog: Vec<Vec<Event>>,
    pub(super) hidden: Vec<bool>,
    pub(super) told: Vec<Told>,
    pub(super) slots: Vec<Option<usize>>,
    pub(super) poison: BTreeSet<u64>,
    /// Attempts by producer id that are on their way to a broker.
    pub(super) under_way: BTreeMap<i64, u32>,
    pub(super) next_id: u64,
    /// Thousandths: how often things go wrong.
    pub(super) wrong: u64,
    pub(super) by_id: bool,
    pub(super) old_brokers: bool,
    pub(super) duplicates_told: bool,
    pub(super) last: bool,
    pub(super) trace: bool,
}

fn settings(rng: &mut fastrand::Rng) -> Settings {
    Settings {
        slots_max: SLOTS,
        requests_max: rng.usize(1..=5),
        batches_per_request_max: rng.usize(1..=4),
        delivery_timeout_ns: [DELIVERY_NS, S][rng.usize(0..2)],
        leader_wait_ns: rng.u64(200 * MS..1500 * MS),
        retries_max: if rng.u8(0..4) == 0 { 3 } else { u32::MAX },
        request_timeout_ns: 1500 * MS,
        dial_timeout_ns: 500 * MS,
        suspect_ns: 300 * MS,
        silent_ns: 600 * MS,
        retry: Backoff { min_ns: 20 * MS, max_ns: 200 * MS },
        redial: Backoff { min_ns: 20 * MS, max_ns: 500 * MS },
        metadata_age_ns: 5 * S,
        rebootstrap_ns: 2 * S,
        denied_retry_ns: 500 * MS,
        throttle_max_ns: 2 * S,
        first_sequence: if rng.bool() { 0 } else { i32::MAX - rng.i32(0..4) },
        ..Settings::new(2, 4, 2, 10, rng.u64(..))
    }
}

impl World {
    pub fn new(seed: u64, mutant: Option<Mutant>) -> World {
        let mut rng = fastrand::Rng::with_seed(seed);
        let partitions = [rng.usize(1..=2), rng.usize(1..=2)];
        let mut producer = Producer::new(settings(&mut rng));
        producer.mutant = mutant;
        producer.add_topic(0, "t0").expect("room");
        producer.add_topic(0, "t1").expect("room");
        World {
            now: 0,
            heap: BinaryHeap::new(),
            events: BTreeMap::new(),
            number: 0,
            producer,
            cluster: Cluster::new(NODES, &partitions),
            links: BTreeMap::new(),
            backlog: vec![Vec::new(); NODES],
            hidden: vec![false; 2],
            told: Vec::new(),
            slots: vec![None; SLOTS],
            poison: BTreeSet::new(),
            under_way: BTreeMap::new(),
            next_id: 0,
            wrong: [0, 10, 60, 150][rng.usize(0..4)],
            by_id: rng.bool(),
            old_brokers: rng.u8(0..4) == 0,
            duplicates_told: rng.bool(),
            last: false,
            trace: std::env::var("RINGMILL_TRACE").is_ok(),
            rng,
        }
    }

    pub(super) fn goes_wrong(&mut self) -> bool {
        self.rng.u64(0..1000) < self.wrong
    }

    pub(super) fn after(&mut self, ns: u64, event: Event) {
        self.number += 1;
        self.heap.push(std::cmp::Reverse((self.now + ns, self.number)));
        self.events.insert(self.number, event);
    }

    pub(super) fn latency(&mut self) -> u64 {
        if self.goes_wrong() { self.rng.u64(0..3 * S) } else { self.rng.u64(100_000..5 * MS) }
    }

    /// What was said of all batches.
    pub fn outcomes(&self) -> impl Iterator<Item = Outcome> + '_ {
        self.told.iter().filter_map(|told| told.outcome)
    }

    /// The whole life; an error says which promise was broken.
    pub fn run(&mut self) -> Result<(), String> {
        let size = self.size();
        let healed = self.rng.u64(S..4 * S);
        self.after(0, Event::Submit);
        self.after(200 * MS, Event::Chaos);
        self.after(healed, Event::Heal);
        self.after(healed + SETTLE_NS, Event::Last);
        for turn in 0.. {
            if turn > 50_000 {
                return Err(format!("stalled at {} ns", self.now));
            }
            self.pump()?;
            let event = self.heap.peek().map(|next| next.0.0);
            let timer = self.producer.deadline_ns();
            match (event, timer) {
                (None, _) if self.producer.is_drained() => break,
                (None, None) => return Err("nothing will ever happen again".into()),
                (Some(at), None) => self.event(at)?,
                (Some(at), Some(timer)) if at <= timer => self.event(at)?,
                (_, Some(timer)) => {
                    self.now = self.now.max(timer);
                    self.producer.tick(self.now);
                }
            }
        }
        if size != self.size() {
            return Err(format!("tables grew: {size:?} to {:?}", self.size()));
        }
        self.in_time()?;
        oracle::check(&self.cluster, &self.told, self.by_id)
    }

    /// D: what the producer holds, as long as nothing grows.
    fn size(&self) -> [usize; 6] {
        let p = &self.producer;
        let requests = p.rows.iter().flat_map(|row| row.requests().iter().map(|r| r.batches.capacity()));
        let rows = p.rows.capacity();
        [
            rows,
            p.partitions.capacity(),
            p.topics.table.capacity(),
            p.batches.capacity(),
            p.outcomes.capacity(),
            requests.sum(),
        ]
    }

    /// E: the last batches, sent when all was well again, are written.
    fn in_time(&self) -> Result<(), String> {
        let last = self.told.iter().rev().take_while(|told| told.deadline_ns == u64::MAX);
        match last.into_iter().find(|told| !matches!(told.outcome, Some(Outcome::Written { .. }))) {
            Some(told) => Err(format!("all is well, and yet {told:?}")),
            None => Ok(()),
        }
    }

    fn event(&mut self, at: u64) -> Result<(), String> {
        let Some(std::cmp::Reverse((_, number))) = self.heap.pop() else { return Ok(()) };
        self.now = self.now.max(at);
        let event = self.events.remove(&number).expect("once");
        if self.trace {
            std::println!("{:>9} us {event:?}", self.now / 1000);
        }
        match event {
            Event::Dialed(link) => self.dialed(link),
            Event::Arrive(..) | Event::Resolve(..) => self.at_node(event),
            Event::Answer(link, correlation, reply, throttle) => {
                self.answer(link, correlation, &reply, throttle)
            }
            Event::Lost(link) => self.lost(link),
            Event::Submit => self.submit_some(),
            Event::Chaos => self.chaos(),
            Event::Elect(node) => self.elect(node),
            Event::Back(node) => self.back(node),
            Event::Recreate(topic) => self.recreate(topic),
            Event::Show(topic) => {
                (self.hidden[topic], self.cluster.topics[topic].denied) = (false, false);
                self.publish();
            }
            Event::Heal => self.heal(),
            Event::Last => return self.submit_last(),
        }
        Ok(())
    }

    fn pump(&mut self) -> Result<(), String> {
        loop {
            let command = match self.producer.next_command(self.now) {
                None => break,
                Some(command)
                    if self.trace && {
                        std::println!("{:>9} us   -> {command:?}", self.now / 1000);
                        false
                    } =>
                {
                    continue;
                }
                Some(Command::Dial { link, to }) => (link, None, Some(to), Ask::Metadata),
                Some(Command::HangUp { link }) => {
                    self.links.get_mut(&link).ok_or("hangs up what is not there")?.closed = true;
                    continue;
                }
                Some(Command::Metadata { link, correlation, .. }) => {
                    (link, Some(correlation), None, Ask::Metadata)
                }
                Some(Command::InitProducerId { link, correlation, .. }) => {
                    (link, Some(correlation), None, Ask::ProducerId)
                }
                Some(Command::Produce { link, correlation, batches }) => {
                    let batches = batches.to_vec();
                    let attempts = self.attempts(link, &batches)?;
                    (link, Some(correlation), None, Ask::Produce(attempts))
                }
            };
            match command {
                (link, None, Some(to), _) => self.dial(link, to)?,
                (link, Some(correlation), _, ask) => self.ask(link, correlation, ask)?,
                _ => unreachable!(),
            }
        }
        while let Some((slot, outcome)) = self.producer.next_outcome() {
            if self.trace {
                std::println!("{:>9} us   => {slot:?} {outcome:?}", self.now / 1000);
            }
            self.settle(slot, outcome)?;
        }
        self.nobody_is_held_up()
    }

    fn dial(&mut self, link: LinkId, to: Endpoint) -> Result<(), String> {
        let node = match to {
            Endpoint::Bootstrap(at) => usize::from(at),
            Endpoint::Broker { id } => id as usize % NODES,
        };
        if self.links.iter().any(|(id, other)| id.row() == link.row() && !other.closed) {
            return Err(format!("{link:?} dialled while another one is open in its place"));
        }
        let link_ = Link { node, up: false, closed: false, muted_until: 0, asked: BTreeMap::new() };
        if self.links.insert(link, link_).is_some() {
            return Err(format!("{link:?} is no new name"));
        }
        let wait = self.latency();
        self.after(wait, Event::Dialed(link));
        Ok(())
    }

    fn attempts(&mut self, link: LinkId, batches: &[Slot]) -> Result<Vec<Attempt>, String> {
        let mut attempts: Vec<Attempt> = Vec::new();
        for &slot in batches {
            let index = self.slots[slot.0 as usize].ok_or("sends a slot that is free")?;
            let stamp = self.producer.stamp(slot).ok_or("no stamp")?;
            let partition = self.producer.partition_of(slot).ok_or("no partition")?;
            let told = &mut self.told[index];
            if stamp.sequence < 0 || stamp.epoch < 0 {
                return Err(format!("wraps below zero: {stamp:?}"));
            }
            if self.producer.is_retry(slot) != (told.stamp == Some(stamp)) {
                return Err(format!("frozen or not? {told:?} {stamp:?}"));
            }
            told.stamp = Some(stamp);
            told.attempts += 1;
            let open = self
                .links
                .values()
                .filter(|link| !link.closed)
                .flat_map(|link| link.asked.values().flatten());
            let twice = open.chain(attempts.iter().map(|attempt| &attempt.slot));
            let part = (told.topic, told.part);
            for other in twice {
                let other = self.slots[other.0 as usize].map(|at| (self.told[at].topic, self.told[at].part));
                if other == Some(part) {
                    return Err(format!("two in flight of partition {part:?}"));
                }
            }
            let told = &self.told[index];
            let (_, id) = self.producer.topic(TopicIndex(told.topic as u16));
            *self.under_way.entry(stamp.producer_id).or_default() += 1;
            let Told { topic, part, first, records, .. } = *told;
            attempts.push(Attempt { slot, partition, topic, id, part, stamp, first, records });
        }
        let link = self.links.get(&link).ok_or("no such link")?;
        if link.asked.values().filter(|batches| !batches.is_empty()).count() >= 5 {
            return Err("more than five requests in flight".into());
        }
        Ok(attempts)
    }

    fn ask(&mut self, id: LinkId, correlation: i32, ask: Ask) -> Result<(), String> {
        let now = self.now;
        let link = self.links.get_mut(&id).ok_or("asks on a link that is not there")?;
        if link.closed || !link.up || now < link.muted_until {
            return Err(format!("asks on a link that is closed, not up, or muted: {id:?}"));
        }
        let slots = match &ask {
            Ask::Produce(attempts) => attempts.iter().map(|attempt| attempt.slot).collect(),
            _ => Vec::new(),
        };
        if link.asked.insert(correlation, slots).is_some() {
            return Err("a correlation id is in use".into());
        }
        let wait = self.latency();
        self.after(wait, Event::Arrive(id, correlation, ask));
        Ok(())
    }

    fn settle(&mut self, slot: Slot, outcome: Outcome) -> Result<(), String> {
        let index = self.slots[slot.0 as usize].take().ok_or("an outcome of a free slot")?;
        let open = |link: &&Link| !link.closed && link.asked.values().flatten().any(|other| *other == slot);
        let still = self.links.values().find(open).is_some();
        let told = &mut self.told[index];
        if told.outcome.replace(outcome).is_some() || still {
            return Err(format!("told twice, or while it is being sent: {told:?}"));
        }
        if self.now > told.deadline_ns {
            return Err(format!("told late, at {}: {told:?}", self.now));
        }
        let Outcome::Split { at, .. } = outcome else { return Ok(()) };
        let told = told.clone();
        if at == 0 || at >= told.records {
            return Err(format!("cannot be cut there: {told:?}"));
        }
        let free = (0..SLOTS).find(|&at| at != slot.0 as usize && self.slots[at].is_none());
        let other = Slot(free.ok_or("no slot")? as u32);
        let topic = TopicIndex(told.topic as u16);
        let partition = self.producer.partition(topic, told.part as i32).ok_or("no partition")?;
        let parts = [(slot, told.first, at), (other, told.first + u64::from(at), told.records - at)];
        for (slot, first, records) in parts {
            self.slots[slot.0 as usize] = Some(self.told.len());
            let told = Told { first, records, stamp: None, attempts: 0, outcome: None, ..told.clone() };
            self.told.push(told);
        }
        self.producer.submit_split(self.now, partition, parts.map(|(slot, _, records)| (slot, records, 100)));
        Ok(())
    }

    fn submit_some(&mut self) {
        let topic = self.rng.usize(0..2);
        let count = self.producer.partitions(TopicIndex(topic as u16)).count;
        if count > 0 {
            let part = self.rng.u32(0..count) as usize;
            // One commit may bring several for one partition.
            for _ in 0..self.rng.usize(1..=QUEUE_MAX) {
                let place = |at: &&usize| (self.told[**at].topic, self.told[**at].part) == (topic, part);
                if self.slots.iter().flatten().filter(place).count() >= QUEUE_MAX {
                    break;
                }
                let large = u32::from(self.rng.u8(0..8) == 0) * 3;
                let records = self.rng.u32(1..=RECORDS_MAX + large);
                if self.rng.u8(0..24) == 0 {
                    self.poison.insert(self.next_id + u64::from(self.rng.u32(0..records)));
                }
                let end = self.now + self.producer.settings.delivery_timeout_ns;
                self.submit(topic, part, records, end);
            }
        }
        if !self.last {
            let wait = self.rng.u64(5 * MS..150 * MS);
            self.after(wait, Event::Submit);
        }
    }

    pub(super) fn submit(&mut self, topic: usize, part: usize, records: u32, deadline_ns: u64) {
        let Some(free) = self.slots.iter().position(Option::is_none) else { return };
        let index = self.producer.partitions(TopicIndex(topic as u16)).index(part as u32).expect("known");
        self.slots[free] = Some(self.told.len());
        self.told.push(Told {
            topic,
            part,
            first: self.next_id,
            records,
            deadline_ns,
            stamp: None,
            attempts: 0,
            outcome: None,
        });
        self.next_id += u64::from(records);
        self.producer.submit(self.now, Slot(free as u32), index, records, 100 * records);
    }

    fn submit_last(&mut self) -> Result<(), String> {
        if let Some(told) = self.told.iter().find(|told| told.outcome.is_none()) {
            return Err(format!("still no outcome: {told:?}"));
        }
        self.producer.ready().map_err(|why| format!("all is well, and yet {why:?}"))?;
        self.last = true;
        for topic in 0..2 {
            let count = self.producer.partitions(TopicIndex(topic as u16)).count as usize;
            if count != self.cluster.topics[topic].parts.len() {
                return Err(format!("{count} partitions of topic {topic} are not what there is"));
            }
            for part in 0..count {
                self.submit(topic, part, 3, u64::MAX);
            }
        }
        self.producer.drain(self.now, self.now + 3 * S);
        Ok(())
    }
}
