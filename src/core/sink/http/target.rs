//! What a request to the target says before its body, made once at start but for what each request has of its own.
use crate::segment::header::StreamName;
use alloc::vec::Vec;

/// How the target wants events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// One event a line; any 2xx means that all are taken.
    #[default]
    Plain,
    /// `INSERT … FORMAT JSONEachRow`, with a token by which a repeated block is dropped.
    ClickHouse,
    /// `_bulk`: an action line before each event, and a verdict for each in the answer.
    Elasticsearch,
    /// `/insert/jsonline`.
    VictoriaLogs,
}

impl Preset {
    /// The names in settings.
    pub const NAMES: [&'static str; 4] = ["plain", "clickhouse", "elasticsearch", "victorialogs"];

    /// The preset of that name.
    pub fn from_name(name: &str) -> Option<Preset> {
        const ALL: [Preset; 4] =
            [Preset::Plain, Preset::ClickHouse, Preset::Elasticsearch, Preset::VictoriaLogs];
        Self::NAMES.iter().position(|known| *known == name).map(|at| ALL[at])
    }

    /// Its name in settings.
    pub const fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// Whether each event has an action line before it and a verdict of its own behind it.
    pub const fn is_bulk(self) -> bool {
        matches!(self, Preset::Elasticsearch)
    }
}

/// A piece of the request line.
#[derive(Clone, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Stream,
    Token,
}

/// The head of every request. Holds credentials, so it is never printed.
#[derive(Clone)]
pub struct Target {
    line: Vec<Part>,
    fields: Vec<u8>,
}

/// What no two events share, whichever server sends them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    /// Random for each run of a server: shards and numbers of others are alike.
    pub run: u64,
    /// Number of the shard.
    pub shard: u32,
    /// Sequence number in it.
    pub sequence: u64,
}

/// What one request has of its own.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    /// The stream of its events, where the path names one.
    pub stream: &'a StreamName,
    /// Which run, shard and number its first event has.
    pub first: EventId,
    /// How many events it has.
    pub events: u32,
    /// Bytes of its body.
    pub body_bytes: u64,
}

/// Stands in a path for the name of the stream.
pub const STREAM: &str = "{stream}";
/// Stands in a path for run, shard, sequence and count of a request's events: the same in each attempt.
pub const TOKEN: &str = "{token}";

impl Target {
    /// `path` begins with `/`, has no blank, and may have [`STREAM`] and [`TOKEN`] in it; `fields` are whole header
    /// lines, each with its line end.
    pub fn new(path: &str, fields: &[u8]) -> Target {
        let mut line = Vec::new();
        let mut text = b"POST ".to_vec();
        let mut rest = path;
        while !rest.is_empty() {
            let found = [(STREAM, Part::Stream), (TOKEN, Part::Token)].into_iter();
            let next = found.filter_map(|(name, part)| Some((rest.find(name)?, name, part)));
            let Some((at, name, part)) = next.min_by_key(|(at, ..)| *at) else { break };
            text.extend_from_slice(&rest.as_bytes()[..at]);
            line.push(Part::Text(core::mem::take(&mut text)));
            line.push(part);
            rest = &rest[at + name.len()..];
        }
        text.extend_from_slice(rest.as_bytes());
        text.extend_from_slice(b" HTTP/1.1\r\n");
        line.push(Part::Text(text));
        Target { line, fields: fields.to_vec() }
    }

    /// Whether each stream has requests of its own.
    pub fn is_by_stream(&self) -> bool {
        self.line.contains(&Part::Stream)
    }

    /// Bytes that no head is longer than.
    pub fn head_bytes_max(&self) -> usize {
        let part = |part: &Part| match part {
            Part::Text(text) => text.len(),
            Part::Stream | Part::Token => 66,
        };
        self.line.iter().map(part).sum::<usize>() + self.fields.len() + 48
    }

    /// Appends the head of a request.
    pub fn head(&self, own: &Own<'_>, out: &mut Vec<u8>) {
        for part in &self.line {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Stream => out.extend_from_slice(own.stream.as_bytes()),
                Part::Token => {
                    out.extend_from_slice(&hex(own.first.run));
                    for part in [u64::from(own.first.shard), own.first.sequence, u64::from(own.events)] {
                        out.push(b'-');
                        number(out, part);
                    }
                }
            }
        }
        out.extend_from_slice(&self.fields);
        out.extend_from_slice(b"Content-Length: ");
        number(out, own.body_bytes);
        out.extend_from_slice(b"\r\n\r\n");
    }
}

impl core::fmt::Debug for Target {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Target")
    }
}

fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The action line before one event: `create` under an id that no other event has, so that a repeated one is told
/// from a new one.
pub struct Lead {
    text: [u8; LEAD_BYTES_MAX],
    len: usize,
}

const OPENS: &[u8] = b"{\"create\":{\"_id\":\"";
const CLOSES: &[u8] = b"\"}}\n";
/// Longest action line: sixteen digits of the run, ten of the shard and twenty of the sequence.
pub const LEAD_BYTES_MAX: usize = OPENS.len() + CLOSES.len() + 48;
/// The shortest: a digit each of the latter two.
pub const LEAD_BYTES_MIN: usize = OPENS.len() + CLOSES.len() + 20;

fn hex(number: u64) -> [u8; 16] {
    core::array::from_fn(|at| b"0123456789abcdef"[(number >> (60 - 4 * at)) as usize & 15])
}

impl Lead {
    /// Of that event.
    pub fn new(id: EventId) -> Lead {
        let mut lead = Lead { text: [0; LEAD_BYTES_MAX], len: 0 };
        let (mut high, mut low) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (shard, sequence) = (high.format(id.shard).as_bytes(), low.format(id.sequence).as_bytes());
        for part in [OPENS, &hex(id.run), b":", shard, b":", sequence, CLOSES] {
            lead.text[lead.len..lead.len + part.len()].copy_from_slice(part);
            lead.len += part.len();
        }
        lead
    }

    /// With its line end.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    #[test]
    fn heads_are_what_the_path_and_the_fields_say() {
        let stream = StreamName::new(b"builds").unwrap();
        let own = Own {
            stream: &stream,
            first: EventId { run: 0xab, shard: 3, sequence: 17 },
            events: 5,
            body_bytes: 1234,
        };
        for (path, line, by_stream) in [
            ("/", "POST / HTTP/1.1", false),
            ("/logs/{stream}/_bulk", "POST /logs/builds/_bulk HTTP/1.1", true),
            ("/?t={token}&s={stream}", "POST /?t=00000000000000ab-3-17-5&s=builds HTTP/1.1", true),
            ("/{token}", "POST /00000000000000ab-3-17-5 HTTP/1.1", false),
        ] {
            let target = Target::new(path, b"Host: h\r\nA: b\r\n");
            let mut out = Vec::new();
            target.head(&own, &mut out);
            let expected = alloc::format!("{line}\r\nHost: h\r\nA: b\r\nContent-Length: 1234\r\n\r\n");
            assert_eq!(String::from_utf8(out.clone()).unwrap(), expected);
            assert_eq!(target.is_by_stream(), by_stream, "{path}");
            assert!(out.len() <= target.head_bytes_max());
        }
    }

    #[test]
    fn the_longest_of_all_has_room() {
        let name = StreamName::new(&[b's'; 64]).unwrap();
        let target = Target::new("/{stream}?{token}", b"");
        let own = Own {
            stream: &name,
            first: EventId { run: u64::MAX, shard: u32::MAX, sequence: u64::MAX },
            events: u32::MAX,
            body_bytes: u64::MAX,
        };
        let mut out = Vec::new();
        target.head(&own, &mut out);
        assert!(out.len() <= target.head_bytes_max(), "{} {}", out.len(), target.head_bytes_max());
        assert_eq!(
            Lead::new(EventId { run: u64::MAX, shard: u32::MAX, sequence: u64::MAX }).as_bytes().len(),
            LEAD_BYTES_MAX
        );
        let lead = Lead::new(EventId { run: 0xcafe, shard: 2, sequence: 7 });
        assert_eq!(lead.as_bytes(), b"{\"create\":{\"_id\":\"000000000000cafe:2:7\"}}\n");
        assert_eq!(lead.as_bytes().len(), LEAD_BYTES_MIN);
    }

    #[test]
    fn names_are_read_back() {
        for name in Preset::NAMES {
            assert_eq!(Preset::from_name(name).unwrap().as_str(), name);
        }
        assert_eq!(Preset::from_name("loki"), None);
    }
}
