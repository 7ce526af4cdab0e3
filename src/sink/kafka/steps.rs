//! Requests put on a connection, and what its answers mean for the producer.

use std::sync::Arc;

use super::handshake::{self, Failure, Handshake, Progress};
use super::link::{Asked, Link, Pending, Stage};
use super::resolve::Task;
use super::sasl::Credentials;
use super::wire::{self, Head};
use super::{Links, Unsent};
use crate::core::kafka::produce::{
    self, BATCHES_MAX, PartitionAnswer, ProduceBatch, ProduceHead, ProduceResponse, TopicRef,
};
use crate::core::kafka::producer::{
    BrokerSeen, Input, LeaderHint, LinkFailure, LinkId, ProduceAnswer, Producer, RecordErrors, Slot, TopicId,
};
use crate::shard::driver::peer::PeerId;

/// Part of a session's lifetime after which we say again who we are, in thousandths: like Kafka's own client,
/// and spread so that connections do not do it together.
const RENEW_PERMILLE: (u64, u64) = (850, 100);

impl Link {
    /// Lets the handshake put its next request.
    pub(super) fn proceed(&mut self, put: impl FnOnce(&mut Handshake, &mut Vec<u8>)) {
        let Some(handshake) = &mut self.handshake else { return };
        let mut out = Vec::new();
        put(handshake, &mut out);
        if !out.is_empty() {
            let pending = Pending { correlation: handshake.correlation(), asked: Asked::Handshake };
            self.put(pending, out);
        }
    }

    /// Begins to say again who we are.
    pub(super) fn renew(&mut self, credentials: Option<Arc<Credentials>>) {
        self.renewing = true;
        if let Some(handshake) = &mut self.handshake {
            handshake.credentials = credentials;
        }
        self.proceed(Handshake::again);
    }
}

impl Links {
    fn link_of(&mut self, id: LinkId) -> Option<&mut Link> {
        let row = self.rows.get(id.row()).filter(|row| row.id == Some(id))?;
        row.peer.map(|peer| &mut self.links[peer as usize])
    }

    fn touch_row(&mut self, id: LinkId) {
        if let Some(peer) = self.rows.get(id.row()).and_then(|row| row.peer) {
            self.touch(peer);
        }
    }

    pub(super) fn ask_metadata(
        &mut self,
        producer: &Producer,
        id: LinkId,
        correlation: i32,
        allow_create: bool,
    ) {
        let (topics, client_id) = (std::mem::take(&mut self.topics), self.client_id.clone());
        if let Some(link) = self.link_of(id)
            && let Some(handshake) = &link.handshake
        {
            let version = handshake.versions().metadata;
            let head = Head { client_id: &client_id, version, correlation };
            let mut out = Vec::new();
            head.metadata(topics.iter().map(|&topic| producer.topic(topic).0), allow_create, &mut out);
            link.put(Pending { correlation, asked: Asked::Metadata(version) }, out);
        }
        self.touch_row(id);
        self.topics = topics;
    }

    pub(super) fn ask_producer_id(&mut self, id: LinkId, correlation: i32) {
        let client_id = self.client_id.clone();
        if let Some(link) = self.link_of(id)
            && let Some(handshake) = &link.handshake
        {
            let version = handshake.versions().init_producer_id;
            let mut out = Vec::new();
            Head { client_id: &client_id, version, correlation }.init_producer_id(&mut out);
            link.put(Pending { correlation, asked: Asked::InitProducerId(version) }, out);
        }
        self.touch_row(id);
    }

    /// Stamps the batches in `self.slots` and puts them as one request.
    pub(super) fn produce(
        &mut self,
        now_ns: u64,
        producer: &mut Producer,
        batches: &mut impl Unsent,
        id: LinkId,
        correlation: i32,
    ) {
        let slots = &mut self.slots;
        for &slot in slots.iter() {
            if let Some(stamp) = producer.new_stamp(slot) {
                batches.stamp(slot, stamp);
            }
        }
        let place = |slot: &Slot| producer.partition_of(*slot).map(|partition| producer.locate(partition));
        // The batches of a topic have to stand together.
        slots.sort_unstable_by_key(place);
        let row = self.rows.get(id.row()).filter(|row| row.id == Some(id)).and_then(|row| row.peer);
        let Some(link) = row.map(|peer| &mut self.links[peer as usize]) else { return };
        let Some(handshake) = &link.handshake else { return };
        let topic = |slot: &Slot| place(slot).map(|(topic, _)| producer.topic(topic));
        let known = slots.iter().all(|slot| topic(slot).is_some_and(|(_, id)| id != TopicId::NONE));
        let version = handshake::produce_version(handshake.versions().produce, known);
        let none = ProduceBatch { topic: TopicRef::Name(b""), partition: 0, slot: Slot(0), bytes: 0 };
        let mut list = [none; BATCHES_MAX];
        let mut count = 0;
        for (to, slot) in list.iter_mut().zip(slots.iter()) {
            let (Some((name, id)), Some((_, partition))) = (topic(slot), place(slot)) else { continue };
            let (header, records) = batches.bytes(*slot);
            *to = ProduceBatch {
                topic: match version {
                    produce::VERSION_TOPIC_IDS.. => TopicRef::Id(id.0),
                    _ => TopicRef::Name(name.as_bytes()),
                },
                partition,
                slot: *slot,
                bytes: (header.len() + records.len()) as u32,
            };
            count += 1;
        }
        let timeout_ms = self.settings.produce_timeout_ms;
        let head = ProduceHead { version, correlation, client_id: &self.client_id, timeout_ms };
        let mut frame = link.frame();
        match frame.encode(&head, &list[..count]) {
            Ok(bytes) => {
                link.put_produce(Pending { correlation, asked: Asked::Produce(version) }, frame, bytes);
                self.touch_row(id);
            }
            Err(error) => {
                debug_assert!(false, "{error:?}");
                let text = format!("was to be sent what cannot be framed: {error:?}");
                self.down(now_ns, producer, id, &Failure::new(LinkFailure::Protocol, text));
            }
        }
    }

    /// From the driver.
    pub fn peer_receive(&mut self, now_ns: u64, producer: &mut Producer, peer: PeerId, data: &[u8]) {
        let link = &mut self.links[peer as usize];
        if matches!(link.stage, Stage::Leaving | Stage::Free) {
            return;
        }
        let fed = link.feed(data);
        if link.stage == Stage::Tls && link.tls.as_ref().is_some_and(|session| !session.is_shaking()) {
            link.stage = Stage::Hello;
            link.proceed(Handshake::begin);
        }
        // What came before the connection broke may be answers.
        self.read(now_ns, producer, peer);
        if let Err(failure) = fed {
            self.fail(now_ns, producer, peer, &failure);
        }
        self.touch(peer);
    }

    /// From the driver.
    pub fn peer_sent(&mut self, now_ns: u64, producer: &mut Producer, peer: PeerId, bytes: usize) {
        let link = &mut self.links[peer as usize];
        if !matches!(link.stage, Stage::Leaving | Stage::Free) {
            link.sent(bytes);
            self.read(now_ns, producer, peer);
            self.touch(peer);
        }
    }

    fn fail(&mut self, now_ns: u64, producer: &mut Producer, peer: PeerId, failure: &Failure) {
        let link = &self.links[peer as usize];
        if !matches!(link.stage, Stage::Leaving | Stage::Free) {
            let id = link.id;
            self.down(now_ns, producer, id, failure);
        }
    }

    /// Works off the answers that are there.
    fn read(&mut self, now_ns: u64, producer: &mut Producer, peer: PeerId) {
        let inbox = self.links[peer as usize].take_inbox();
        let mut read = 0;
        loop {
            let link = &mut self.links[peer as usize];
            if matches!(link.stage, Stage::Leaving | Stage::Free) {
                break;
            }
            let done = match link.next_answer(&inbox, read) {
                Ok(None) => break,
                Ok(Some((pending, frame))) => {
                    read = frame.end;
                    self.answer(now_ns, producer, peer, pending, &inbox[frame])
                }
                Err(failure) => Err(failure),
            };
            if let Err(failure) = done {
                self.fail(now_ns, producer, peer, &failure);
            }
        }
        self.links[peer as usize].put_back(inbox, read);
    }

    fn answer(
        &mut self,
        now_ns: u64,
        producer: &mut Producer,
        peer: PeerId,
        pending: Pending,
        frame: &[u8],
    ) -> Result<(), Failure> {
        let link = &mut self.links[peer as usize];
        let (id, correlation) = (link.id, pending.correlation);
        let unreadable = |name: &str| {
            Failure::new(LinkFailure::Protocol, format!("sends an answer to {name} that cannot be read"))
        };
        match pending.asked {
            Asked::Handshake => return self.shake(now_ns, producer, peer, frame),
            Asked::Metadata(version) => {
                link.answers += 1;
                wire::metadata(frame, version, |answer| {
                    producer.handle(now_ns, Input::Metadata { link: id, correlation, answer });
                })
                .ok_or_else(|| unreadable("Metadata"))?;
            }
            Asked::InitProducerId(version) => {
                link.answers += 1;
                let answer =
                    wire::init_producer_id(frame, version).ok_or_else(|| unreadable("InitProducerId"))?;
                producer.handle(now_ns, Input::InitProducerId { link: id, correlation, answer });
            }
            Asked::Produce(version) => {
                link.answers += 1;
                let response = ProduceResponse::parse(frame, version).map_err(|_| unreadable("Produce"))?;
                self.produced(now_ns, producer, id, correlation, &response);
            }
        }
        Ok(())
    }

    fn produced<'a>(
        &mut self,
        now_ns: u64,
        producer: &mut Producer,
        link: LinkId,
        correlation: i32,
        response: &ProduceResponse<'a>,
    ) {
        self.answers.clear();
        self.answers
            .extend(response.partitions().take(BATCHES_MAX).filter_map(|seen| judged(producer, &seen)));
        // Empty, and so without memory, unless leaders have moved.
        let node = |seen: produce::NodeEndpoint<'a>| {
            let port = u16::try_from(seen.port).ok()?;
            Some(BrokerSeen { id: seen.id, host: std::str::from_utf8(seen.host).ok()?, port })
        };
        let nodes: Vec<_> = response.endpoints().take(BATCHES_MAX).filter_map(node).collect();
        let throttle_ms = i32::try_from(response.throttle_ms()).unwrap_or(i32::MAX);
        let answers = &mut self.answers.drain(..);
        producer.handle(now_ns, Input::Produce { link, correlation, throttle_ms, nodes: &nodes, answers });
    }

    fn shake(
        &mut self,
        now_ns: u64,
        producer: &mut Producer,
        peer: PeerId,
        frame: &[u8],
    ) -> Result<(), Failure> {
        let link = &mut self.links[peer as usize];
        let Some(handshake) = &mut link.handshake else { return Ok(()) };
        let mut out = Vec::new();
        let progress = handshake.answer(frame, &mut out)?;
        let correlation = handshake.correlation();
        if !out.is_empty() {
            link.put(Pending { correlation, asked: Asked::Handshake }, out);
        }
        match progress {
            Progress::Asked => {}
            Progress::NeedsKey(job) => self.tasks.push_back((link.id, Task::Key(job))),
            Progress::Done { lifetime_ms } => {
                let id = link.id;
                let (least, spread) = RENEW_PERMILLE;
                let permille = least + u64::from(id.0).wrapping_mul(37) % spread;
                link.renew_ns = (lifetime_ms > 0)
                    .then(|| now_ns.saturating_add((lifetime_ms as u64).saturating_mul(permille * 1000)));
                if link.stage == Stage::Up {
                    link.renewed();
                } else {
                    link.stage = Stage::Up;
                    link.prepare();
                    producer.handle(now_ns, Input::Up { link: id });
                }
            }
        }
        Ok(())
    }
}

/// A partition's answer in the producer's words. None for a partition that it never had.
fn judged(producer: &Producer, seen: &PartitionAnswer<'_>) -> Option<ProduceAnswer> {
    let topic = match seen.topic {
        TopicRef::Name(name) => producer.topic_by_name(std::str::from_utf8(name).ok()?)?,
        TopicRef::Id(id) => producer.topic_by_id(TopicId(id))?,
    };
    let partition = producer.partition(topic, seen.partition)?;
    let bad = || seen.record_errors.clone().filter_map(|error| u32::try_from(error.record).ok());
    let records = bad().min().map(|first| RecordErrors { first, count: bad().count() as u32 });
    let leader = seen.leader.map(|(leader, epoch)| LeaderHint { leader, epoch });
    Some(ProduceAnswer { partition, error: seen.error, base_offset: seen.base_offset, records, leader })
}
