//! One row a broker, the last row for bootstrapping: its address, the link to it, the requests in flight there.

use super::list::List;
use super::types::{Endpoint, LinkFailure, LinkId, Slot};
use alloc::vec::Vec;

/// Questions (metadata, producer ids) in flight per link, beside the Produce requests.
pub(super) const QUESTIONS_MAX: usize = 8;

/// Up to 255 bytes of text, in place: a broker's host.
#[derive(Clone)]
pub(super) struct Text {
    len: u8,
    bytes: [u8; 255],
}

impl Text {
    const EMPTY: Text = Text { len: 0, bytes: [0; 255] };

    fn set(&mut self, text: &str) {
        // A longer name is none that DNS knows: an empty one fails to resolve, and says so.
        let text = if text.len() > 255 { "" } else { text };
        self.len = text.len() as u8;
        self.bytes[..text.len()].copy_from_slice(text.as_bytes());
    }

    pub(super) fn get(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.len as usize]).unwrap_or("")
    }
}

/// Where a link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Closed,
    /// Since this time.
    Dialing(u64),
    Up,
}

/// What a request asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing: this place is free.
    Free,
    Metadata,
    /// For a partition.
    ProducerId(usize),
    Produce,
}

pub(super) struct Request {
    pub(super) correlation: i32,
    pub(super) asked_ns: u64,
    pub(super) asked: Asked,
    pub(super) batches: Vec<Slot>,
}

pub(super) struct Peer {
    /// `None`: a free row, or the one for bootstrapping.
    pub(super) broker: Option<i32>,
    pub(super) host: Text,
    pub(super) port: u16,
    /// In the Metadata answer being read.
    pub(super) seen: bool,
    /// Partitions that it leads.
    pub(super) leads: u32,
    generation: u16,
    pub(super) state: State,
    /// It has not answered for too long.
    pub(super) silent: bool,
    /// A link given up of which the edge has not been told.
    pub(super) hang_up: Option<LinkId>,
    correlation: i32,
    requests: Vec<Request>,
    produce_requests: usize,
    pub(super) muted_until_ns: u64,
    /// Partitions whose head batch waits to be sent here.
    pub(super) ready: List,
    /// Since the last answer.
    pub(super) failures: u32,
    pub(super) redial_ns: u64,
    pub(super) last_failure: Option<LinkFailure>,
    pub(super) figures: Figures,
}

/// What is counted of a broker.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) requests: u64,
    pub(super) dials: u64,
    pub(super) lost: u64,
    pub(super) throttled_ns: u64,
    pub(super) rtt_ns: u64,
}

impl Peer {
    pub(super) fn new(produce_requests: usize, batches: usize) -> Peer {
        let request = |at| Request {
            correlation: 0,
            asked_ns: 0,
            asked: Asked::Free,
            batches: Vec::with_capacity(if at < produce_requests { batches } else { 0 }),
        };
        Peer {
            broker: None,
            host: Text::EMPTY,
            port: 0,
            seen: false,
            leads: 0,
            generation: 0,
            state: State::Closed,
            silent: false,
            hang_up: None,
            correlation: 0,
            requests: (0..produce_requests + QUESTIONS_MAX).map(request).collect(),
            produce_requests,
            muted_until_ns: 0,
            ready: List::EMPTY,
            failures: 0,
            redial_ns: 0,
            last_failure: None,
            figures: Figures::default(),
        }
    }

    /// Gives a free row to a broker.
    pub(super) fn occupy(&mut self, id: i32, host: &str, port: u16) {
        self.broker = Some(id);
        self.host.set(host);
        self.port = port;
        self.failures = 0;
        self.redial_ns = 0;
        self.muted_until_ns = 0;
        self.last_failure = None;
        self.figures = Figures::default();
    }

    pub(super) fn link(&self, row: usize) -> LinkId {
        LinkId::new(row, self.generation)
    }

    pub(super) fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// It is connected, and answers as far as anybody can tell.
    pub(super) fn speaks(&self) -> bool {
        self.is_up() && !self.silent
    }

    pub(super) fn endpoint(&self, bootstrap: u16) -> Endpoint {
        self.broker.map_or(Endpoint::Bootstrap(bootstrap), |id| Endpoint::Broker { id })
    }

    /// The link is no more: what names it from now on is stale.
    pub(super) fn close(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.state = State::Closed;
        self.silent = false;
        self.correlation = 0;
    }

    pub(super) fn requests(&self) -> &[Request] {
        &self.requests
    }

    pub(super) fn request(&mut self, at: usize) -> &mut Request {
        &mut self.requests[at]
    }

    pub(super) fn in_flight(&self) -> usize {
        self.requests.iter().filter(|request| request.asked != Asked::Free).count()
    }

    /// When the oldest request in flight was given out.
    pub(super) fn oldest_ns(&self) -> Option<u64> {
        let open = self.requests.iter().filter(|request| request.asked != Asked::Free);
        open.map(|request| request.asked_ns).min()
    }

    /// Can be given a request of the kind now.
    pub(super) fn room(&self, now_ns: u64, produce: bool) -> Option<usize> {
        if !self.is_up() || now_ns < self.muted_until_ns {
            return None;
        }
        let (from, to) = match produce {
            true => (0, self.produce_requests),
            false => (self.produce_requests, self.requests.len()),
        };
        (from..to).find(|&at| self.requests[at].asked == Asked::Free)
    }

    pub(super) fn ask(&mut self, now_ns: u64, at: usize, asked: Asked) {
        let correlation = self.correlation;
        self.correlation = if correlation == i32::MAX { 0 } else { correlation + 1 };
        self.figures.requests += 1;
        let request = &mut self.requests[at];
        (request.correlation, request.asked_ns, request.asked) = (correlation, now_ns, asked);
    }

    pub(super) fn find(&self, correlation: i32) -> Option<usize> {
        self.requests.iter().position(|r| r.asked != Asked::Free && r.correlation == correlation)
    }

    /// Takes note of an answer to request `at`: the link works, and this is how long it took. True: that is news.
    pub(super) fn answered(&mut self, now_ns: u64, at: usize) -> bool {
        let took = now_ns.saturating_sub(self.requests[at].asked_ns);
        let figures = &mut self.figures;
        // An eighth of the new into the old, as TCP smooths.
        figures.rtt_ns =
            if figures.rtt_ns == 0 { took } else { figures.rtt_ns - figures.rtt_ns / 8 + took / 8 };
        self.failures = 0;
        self.last_failure = None;
        core::mem::take(&mut self.silent)
    }
}
