//! Where an event goes and what goes with it: topic, key, time, headers. Values, and how they are read.
use super::{Event, time::unix_ms};
use crate::json::MAX_EVENT_BYTES;
use crate::json::pointer::{Pointer, Unescaped};
use crate::kafka::batch::RecordHeader;
use crate::segment::header::StreamName;
use alloc::string::String;
use alloc::vec::Vec;

/// Headers that a record may have: stream, id and six of the configuration's.
pub const HEADERS_MAX: usize = 8;

/// Where events go, and what goes with them.
#[derive(Clone, Debug)]
pub struct Routing {
    /// Which topic.
    pub topic: TopicFrom,
    /// Which key.
    pub key: KeyFrom,
    /// Which time.
    pub time: TimeFrom,
    /// Which headers.
    pub headers: HeaderRules,
}

/// Which topic.
#[derive(Clone, Debug)]
pub enum TopicFrom {
    /// This one.
    Fixed(String),
    /// That of the stream's name behind a prefix; a stream becomes a topic when it is first seen, up to the
    /// producer's `topics_max`.
    Stream {
        /// Before the name; may be empty.
        prefix: String,
    },
}

/// Which key.
#[derive(Clone, Debug)]
pub enum KeyFrom {
    /// None.
    None,
    /// What the request's `Ringmill-Key` says, for all of its events; none without one.
    Header,
    /// The value at this place of the event: a string without its quotes and escapes, anything else as it stands;
    /// none if it is absent or null.
    Pointer(Pointer),
}

/// Which time.
#[derive(Clone, Debug)]
pub enum TimeFrom {
    /// When it came.
    Arrival,
    /// The value at this place of the event, as [`unix_ms`] reads it; when it came if that is no time.
    Pointer(Pointer),
}

/// Which headers a record has, by name.
#[derive(Clone, Debug, Default)]
pub struct HeaderRules {
    /// The stream's name, under this.
    pub stream: Option<String>,
    /// The event's id, shard and sequence number with a colon between, under this.
    pub event_id: Option<String>,
    /// Others: name and value.
    pub extra: Vec<(String, String)>,
}

impl HeaderRules {
    /// Whether records have none.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.stream.is_none() && self.event_id.is_none() && self.extra.is_empty()
    }
}

impl Routing {
    /// Everything to one topic, without key and headers, at the time it came.
    pub fn fixed(topic: &str) -> Routing {
        Routing {
            topic: TopicFrom::Fixed(topic.into()),
            key: KeyFrom::None,
            time: TimeFrom::Arrival,
            headers: HeaderRules::default(),
        }
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        let HeaderRules { stream, event_id, extra } = &self.headers;
        let headers = usize::from(stream.is_some()) + usize::from(event_id.is_some()) + extra.len();
        if headers > HEADERS_MAX {
            return Err("a record has at most eight headers, those for stream and id included: name fewer");
        }
        Ok(())
    }

    /// Where key and time stand in an event.
    pub(super) fn pointers(&self) -> (Option<&Pointer>, Option<&Pointer>) {
        let key = if let KeyFrom::Pointer(pointer) = &self.key { Some(pointer) } else { None };
        let time = if let TimeFrom::Pointer(pointer) = &self.time { Some(pointer) } else { None };
        (key, time)
    }

    /// The time of an event.
    #[inline]
    pub(super) fn time_ms(&self, event: &Event<'_>) -> i64 {
        let came = event.wall_ms as i64;
        match &self.time {
            TimeFrom::Arrival => came,
            TimeFrom::Pointer(pointer) => {
                let value = event.picked.map_or_else(|| pointer.find(event.value), |picked| picked.time);
                value.and_then(unix_ms).unwrap_or(came)
            }
        }
    }

    /// The key of an event; `scratch` holds it where it stands nowhere as it is.
    #[inline]
    pub(super) fn key<'k>(&self, event: &Event<'k>, scratch: &'k mut Vec<u8>) -> Option<&'k [u8]> {
        match &self.key {
            KeyFrom::None => None,
            KeyFrom::Header => event.key,
            KeyFrom::Pointer(pointer) => {
                match event.picked.map_or_else(|| pointer.find(event.value), |p| p.key)? {
                    b"null" => None,
                    [b'"', text @ .., b'"'] if memchr::memchr(b'\\', text).is_none() => Some(text),
                    [b'"', text @ .., b'"'] => {
                        scratch.clear();
                        scratch.extend(Unescaped::of(text));
                        Some(scratch)
                    }
                    other => Some(other),
                }
            }
        }
    }

    /// Room for one key with escapes: no longer than its event.
    pub(super) fn scratch(&self) -> Vec<u8> {
        let keyed = matches!(self.key, KeyFrom::Pointer(_));
        Vec::with_capacity(if keyed { MAX_EVENT_BYTES } else { 0 })
    }
}

/// `shard:sequence`, as a header says it.
#[derive(Debug)]
pub(super) struct EventId {
    text: [u8; 32],
    len: usize,
    shard: u32,
    sequence: u64,
}

impl EventId {
    pub(super) fn new(shard: u32, sequence: u64) -> EventId {
        let mut id = EventId { text: [0; 32], len: 0, shard, sequence };
        let mut digits = itoa::Buffer::new();
        id.put(digits.format(shard).as_bytes());
        id.put(b":");
        id.put(digits.format(sequence).as_bytes());
        id
    }

    /// Makes it the id of another event: mostly of the next, which differs in its last digit nine times of ten.
    #[inline]
    pub(super) fn turn_to(&mut self, shard: u32, sequence: u64) {
        let last = &mut self.text[self.len - 1];
        match sequence.checked_sub(self.sequence).filter(|_| shard == self.shard) {
            Some(0) => {}
            Some(1) if *last != b'9' => (*last, self.sequence) = (*last + 1, sequence),
            _ => *self = EventId::new(shard, sequence),
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.text[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }
}

/// The headers of one record.
pub(super) struct Headers<'a> {
    list: [RecordHeader<'a>; HEADERS_MAX],
    len: usize,
}

impl<'a> Headers<'a> {
    // Left to itself the compiler copies the list about: 15 ns an event.
    #[inline(always)]
    pub(super) fn new(rules: &'a HeaderRules, stream: &'a StreamName, id: &'a EventId) -> Headers<'a> {
        let mut headers = Headers { list: [(&[], &[]); HEADERS_MAX], len: 0 };
        if let Some(name) = &rules.stream {
            headers.put(name, stream.as_bytes());
        }
        if let Some(name) = &rules.event_id {
            headers.put(name, id.as_bytes());
        }
        rules.extra.iter().for_each(|(name, value)| headers.put(name, value.as_bytes()));
        headers
    }

    #[inline(always)]
    fn put(&mut self, name: &'a str, value: &'a [u8]) {
        self.list[self.len] = (name.as_bytes(), value);
        self.len += 1;
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[RecordHeader<'a>] {
        &self.list[..self.len]
    }

    /// Bytes of names and values.
    pub(super) fn bytes(&self) -> usize {
        self.as_slice().iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_turns_is_one_made_afresh() {
        let sequences = (0..1200).chain([998, 999, 1000, 1000, 7, u64::MAX - 1, u64::MAX, 0, 1]);
        let mut id = EventId::new(3, 5);
        for sequence in sequences {
            let shard = 3 + u32::from(sequence == 77);
            id.turn_to(shard, sequence);
            assert_eq!(id.as_bytes(), EventId::new(shard, sequence).as_bytes());
        }
        assert_eq!(id.as_bytes(), b"3:1");
    }
}
