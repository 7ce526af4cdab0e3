//! Events from segments on their way to the sink: acknowledged when they came, and nobody waits for a reply.
//!
//! They come from no connection and are not looked into again; each keeps the id and the time under which it was
//! stored. An engine that replays has nothing else to do: its commits are of one shard's events each, and go one
//! at a time, so whoever drives it knows what became of each event before the next is sent:
//!
//! ```text
//! replay … replay (until `Unsent::Later`, or the last) ─▶ next_io seals ─▶ take_replayed ─▶ replay …
//! ```
use super::settle::Settled;
use super::way::Way;
use super::{Engine, Hub, NoRoom};
use crate::batch::fate::{Failure, Fate};
use crate::json::Scanner;
use crate::kafka::producer::{self, TopicIndex};
use crate::memory::{Clock, Memory};
use crate::reject::Reject;
use crate::segment::header::StreamName;
use crate::sink::kafka::{Event, KafkaSink, Misroute, Unfit};
use crate::sink::{NotReady, Place, Sink};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// One event as a segment holds it.
#[derive(Clone, Copy, Debug)]
pub struct Replayed<'a> {
    /// Shard that stored it.
    pub shard: u32,
    /// Its sequence number there.
    pub seq: u64,
    /// Its stream.
    pub stream: &'a StreamName,
    /// The key that its request named, if that was kept.
    pub key: Option<&'a [u8]>,
    /// Its bytes, without the line end.
    pub value: &'a [u8],
    /// When it was stored: Unix time in milliseconds.
    pub time_ms: u64,
}

/// Why an event is not in the open batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// The batch is full, or the commit before is not settled yet.
    Later,
    /// The sink takes nothing now, or nothing of this stream.
    NotReady(NotReady),
    /// No batch ever holds it.
    TooLarge,
    /// It has nowhere to go as long as the configuration is what it is.
    Refused(Reject),
}

/// What became of the events of one commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settlement {
    /// How many there were.
    pub events: u32,
    /// Those of them that the sink does not have, or may not have, by their place in the commit, rising.
    pub failed: Vec<(u32, Failure)>,
    /// All failed as a whole, for none of them left.
    pub lost: bool,
}

impl<M: Memory, C: Clock, S: Scanner, K: Sink> Engine<M, C, S, K> {
    /// Puts one event into the open batch, which the next `next_io` seals.
    ///
    /// # Errors
    /// Why it is not in it.
    pub fn replay(&mut self, event: &Replayed<'_>) -> Result<(), Unsent> {
        let hub = &mut self.hub;
        if hub.flights[0].is_some() || hub.replayed.is_some() {
            return Err(Unsent::Later);
        }
        hub.sink.ready().map_err(Unsent::NotReady)?;
        let (now_ns, events_max) = (hub.now_ns, hub.config.policy.events_max);
        let Hub { bays, open_bay, sink, .. } = hub;
        let bay = &mut bays[*open_bay];
        if bay.batch.is_empty() {
            sink.origin(event.shard, event.seq);
        } else if bay.batch.events() >= events_max {
            return Err(Unsent::Later);
        }
        let Replayed { stream, key, value, .. } = *event;
        let id = Some((event.shard, event.seq));
        let appended = match Way::find(&mut bay.batch, sink, now_ns, stream) {
            Ok(mut way) => way.append(&Event {
                stream,
                key,
                value,
                picked: None,
                breaks: false,
                now_ns,
                wall_ms: event.time_ms,
                id,
            }),
            Err(NoRoom::Refused(reject)) => return Err(Unsent::Refused(reject)),
            Err(NoRoom::Later | NoRoom::Never) => {
                let why = sink.kafka_mut().and_then(|kafka| unroutable(kafka, now_ns, stream));
                return Err(why.map_or(Unsent::Later, Unsent::NotReady));
            }
        };
        appended.map_err(|unfit| match unfit {
            Unfit::Full => Unsent::Later,
            Unfit::TooLarge => Unsent::TooLarge,
            Unfit::NoLeader => Unsent::NotReady(leaderless(sink, now_ns, stream)),
        })?;
        bay.replays = true;
        hub.metrics.counters.events_received += 1;
        hub.metrics.gauges.events_in_flight += 1;
        Ok(())
    }

    /// What became of the events that were replayed, once their commit is settled. Told once.
    pub fn take_replayed(&mut self) -> Option<Settlement> {
        self.hub.replayed.take()
    }

    /// Whether events that were replayed are with the sink; if not, they wait in the open batch for it to be
    /// ready.
    pub fn is_replaying(&self) -> bool {
        self.hub.flights[0].is_some()
    }

    /// Gives up at once whatever has no outcome yet: it counts as not, or as possibly, written.
    pub fn give_up_replay(&mut self) {
        let now_ns = self.hub.now_ns;
        if let Some(remote) = self.hub.sink.remote_mut::<M>() {
            remote.cut_short(now_ns);
        }
        self.poll_upstream();
    }

    /// A failure in words: where, and why.
    pub fn explain(&self, failure: &Failure) -> String {
        let remote = self.hub.sink.remote::<M>();
        match remote.and_then(|remote| Some((remote.name(), remote.place(failure.cause)?))) {
            Some((_, Place::Kafka(topic, partition, reason))) => {
                format!("topic {topic}, partition {partition}: {reason}")
            }
            Some((name, Place::Http(why))) => format!("{name}: {why}"),
            None => String::from("the sink failed"),
        }
    }

    /// Whether the event of this failure would meet it again whenever it is sent.
    pub fn is_final(failure: &Failure) -> bool {
        failure.fate == Fate::Refused
    }
}

/// Of a stream whose topic can be written to, but not where one event of it belongs.
fn leaderless<K: Sink>(sink: &mut K, now_ns: u64, stream: &StreamName) -> NotReady {
    let topic = sink.kafka_mut().and_then(|kafka| kafka.route(now_ns, stream).ok());
    let topic = topic.map_or(TopicIndex(0), |route| route.topic());
    NotReady::Upstream(producer::NotReady::NoLeader(topic))
}

fn unroutable(kafka: &mut KafkaSink, now_ns: u64, stream: &StreamName) -> Option<NotReady> {
    match kafka.route(now_ns, stream) {
        Err(Misroute::NotReady(why)) => Some(why),
        _ => None,
    }
}

impl<M: Memory, C: Clock, S: Scanner, K: Sink> Hub<M, C, S, K> {
    /// Notes what became of a commit's events, if they were replayed.
    pub(super) fn note_replayed(&mut self, settled: &Settled, lost: bool) {
        let bay = &self.bays[settled.bay];
        if !bay.replays {
            return;
        }
        let events = bay.batch.events();
        let fates = bay.batch.fates();
        let failed = match fates.is_empty() {
            true => Vec::new(),
            false => (0..events).filter_map(|at| fates.of(at).map(|failure| (at, *failure))).collect(),
        };
        self.replayed = Some(Settlement { events, failed, lost });
    }
}
