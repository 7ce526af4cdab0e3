//! Time, the network, what fails when, and the driver's part.
use super::cluster::{Appended, Cluster, Health};
use super::oracle::{self, Told};
use crate::kafka::producer::mutant::Mutant;
use crate::kafka::producer::*;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;
const NODES: usize = 3;
const SLOTS: usize = 32;
/// A broker takes so many records in a batch and no more.
const RECORDS_MAX: u32 = 5;
/// Faults end by then; delivery timeout and backoffs are over a good while before the last batches.
const SETTLE_NS: u64 = 10 * S;

#[derive(Clone, Debug)]
struct Attempt {
    slot: Slot,
    partition: PartitionIndex,
    topic: usize,
    id: TopicId,
    part: usize,
    stamp: Stamp,
    first: u64,
    records: u32,
}

#[derive(Clone, Debug)]
enum Ask {
    Metadata,
    ProducerId,
    Produce(Vec<Attempt>),
}

/// An append whose outcome is awaited: where, which, at which leader's epoch; or an answer already.
#[derive(Clone, Debug)]
enum Item {
    Wait { at: Attempt, serial: u64, epoch: i32, id: TopicId, then: i16 },
    Now { at: Attempt, code: i16, records: Option<RecordErrors> },
}

#[derive(Clone, Debug)]
enum Reply {
    Metadata(usize, i16),
    ProducerId(i64, i16),
    Produce(Vec<ProduceAnswer>),
}

#[derive(Clone, Debug)]
enum Event {
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

struct Link {
    node: usize,
    up: bool,
    closed: bool,
    muted_until: u64,
    asked: BTreeMap<i32, Vec<Slot>>,
}

pub struct World {
    now: u64,
    rng: fastrand::Rng,
    heap: BinaryHeap<std::cmp::Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    number: u64,
    producer: Producer,
    cluster: Cluster,
    links: BTreeMap<LinkId, Link>,
    backlog: Vec<Vec<Event>>,
    hidden: Vec<bool>,
    told: Vec<Told>,
    slots: Vec<Option<usize>>,
    poison: BTreeSet<u64>,
    /// Attempts by producer id that are on their way to a broker.
    under_way: BTreeMap<i64, u32>,
    next_id: u64,
    /// Thousandths: how often things go wrong.
    wrong: u64,
    by_id: bool,
    old_brokers: bool,
    duplicates_told: bool,
    last: bool,
    trace: bool,
}

fn settings(rng: &mut fastrand::Rng) -> Settings {
    Settings {
        slots_max: SLOTS,
        requests_max: rng.usize(1..=5),
        batches_per_request_max: rng.usize(1..=4),
        delivery_timeout_ns: 6 * S,
        request_timeout_ns: 1500 * MS,
        dial_timeout_ns: 500 * MS,
        suspect_ns: 300 * MS,
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

    fn goes_wrong(&mut self) -> bool {
        self.rng.u64(0..1000) < self.wrong
    }

    fn after(&mut self, ns: u64, event: Event) {
        self.number += 1;
        self.heap.push(std::cmp::Reverse((self.now + ns, self.number)));
        self.events.insert(self.number, event);
    }

    fn latency(&mut self) -> u64 {
        if self.goes_wrong() { self.rng.u64(0..3 * S) } else { self.rng.u64(100_000..5 * MS) }
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
        oracle::check(&self.cluster, &self.told)
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

    // ---- what the producer wants ----

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
        Ok(())
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
        let Outcome::Split { at } = outcome else { return Ok(()) };
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
            let busy = self
                .slots
                .iter()
                .flatten()
                .filter(|&&at| (self.told[at].topic, self.told[at].part) == (topic, part));
            if busy.count() < 2 {
                let large = u32::from(self.rng.u8(0..8) == 0) * 3;
                let records = self.rng.u32(1..=RECORDS_MAX + large);
                if self.rng.u8(0..24) == 0 {
                    self.poison.insert(self.next_id + u64::from(self.rng.u32(0..records)));
                }
                self.submit(topic, part, records, self.now + 6 * S);
            }
        }
        if !self.last {
            let wait = self.rng.u64(5 * MS..150 * MS);
            self.after(wait, Event::Submit);
        }
    }

    fn submit(&mut self, topic: usize, part: usize, records: u32, deadline_ns: u64) {
        let Some(free) = self.slots.iter().position(Option::is_none) else { return };
        let index = self.producer.partitions(TopicIndex(topic as u16)).index(part as u32).expect("known");
        self.slots[free] = Some(self.told.len());
        self.told.push(Told {
            topic,
            part,
            first: self.next_id,
            records,
            submitted_ns: self.now,
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

    // ---- the network ----

    fn dialed(&mut self, id: LinkId) {
        let wrong = self.goes_wrong();
        let Some(link) = self.links.get_mut(&id).filter(|link| !link.closed) else { return };
        match self.cluster.nodes[link.node] {
            Health::Up if !wrong => {
                link.up = true;
                let versions =
                    Versions { produce: if self.by_id { 13 } else { 12 }, metadata: 12, init_producer_id: 4 };
                self.producer.handle(self.now, Input::Up { link: id, versions: &versions });
            }
            Health::Stopped => {}
            Health::Up | Health::Down => self.lost(id),
        }
    }

    fn lost(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id).filter(|link| !link.closed) else { return };
        link.closed = true;
        self.producer.handle(self.now, Input::Down { link: id, why: LinkFailure::Reset });
    }

    fn answer(&mut self, id: LinkId, correlation: i32, reply: &Reply, throttle_ms: i32) {
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

    fn answer_metadata(&mut self, link: LinkId, correlation: i32, view: usize, error: i16, throttle_ms: i32) {
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

    // ---- the brokers ----

    fn at_node(&mut self, event: Event) {
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

    fn drop_attempts(&mut self, event: &Event) {
        if let Event::Arrive(_, _, Ask::Produce(attempts)) = event {
            for attempt in attempts {
                *self.under_way.get_mut(&attempt.stamp.producer_id).expect("counted") -= 1;
            }
        }
    }

    fn arrive(&mut self, node: usize, id: LinkId, correlation: i32, ask: Ask) {
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
    fn take_in(&mut self, node: usize, at: Attempt) -> Item {
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
            return now(at, [2, 19, -1, 56, 7, 14, 3, 6, 999][self.rng.usize(0..9)]);
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

    fn resolve(&mut self, node: usize, id: LinkId, correlation: i32, items: Vec<Item>) {
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

    fn answer_item(&mut self, node: usize, item: Item) -> ProduceAnswer {
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

    fn reply(&mut self, id: LinkId, correlation: i32, reply: Reply) {
        if self.goes_wrong() {
            return;
        }
        let throttle = if self.goes_wrong() { self.rng.i32(1..4000) } else { 0 };
        let wait = self.latency();
        self.after(wait, Event::Answer(id, correlation, reply, throttle));
    }

    // ---- what goes wrong by itself ----

    fn publish(&mut self) {
        let before: Vec<bool> = self.cluster.topics.iter().map(|topic| topic.exists).collect();
        for (topic, hidden) in self.hidden.iter().enumerate() {
            self.cluster.topics[topic].exists &= !hidden;
        }
        self.cluster.publish();
        for (topic, exists) in before.into_iter().enumerate() {
            self.cluster.topics[topic].exists = exists;
        }
    }

    fn up(&self) -> Vec<usize> {
        (0..NODES).filter(|&node| self.cluster.nodes[node] == Health::Up).collect()
    }

    fn chaos(&mut self) {
        let wait = self.rng.u64(50 * MS..400 * MS);
        self.after(wait, Event::Chaos);
        let (node, topic) = (self.rng.usize(0..NODES), self.rng.usize(0..2));
        let back = self.rng.u64(100 * MS..2500 * MS);
        match self.rng.u8(0..10) {
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
                let part = super::cluster::Part { leader, epoch: 0, log: Default::default() };
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
            _ => {}
        }
    }

    /// Producer state is lost where nothing is unknown: a broker that forgets what is under way duplicates it,
    /// and no producer can help it.
    fn forget_producers(&mut self) {
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
    fn elect(&mut self, node: usize) {
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

    fn back(&mut self, node: usize) {
        self.cluster.nodes[node] = Health::Up;
        for event in std::mem::take(&mut self.backlog[node]) {
            self.at_node(event);
        }
    }

    fn recreate(&mut self, topic: usize) {
        if !self.cluster.topics[topic].exists {
            let (count, up) = (self.rng.usize(1..=3), self.up());
            self.cluster.create(topic, count, &up);
            self.publish();
        }
    }

    fn heal(&mut self) {
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
