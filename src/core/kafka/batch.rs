//! RecordBatch v2 ("magic 2"), the one format that brokers have taken since 0.11, byte by byte.
//!
//! ```text
//! header, 61 bytes: offset 0 │ length │ leader epoch -1 │ 2 │ CRC-32C │ codec │ last offset delta
//!                   │ first, largest timestamp │ producer id, epoch, sequence │ count
//! record:           length │ 0 │ timestamp delta │ offset delta │ key │ value │ headers
//! ```
//!
//! The CRC covers the header from byte 21 and the records as sent, so compressed ones compressed. Records are
//! written as events come; the header, when it is known which producer id and sequence the batch goes under.
//! No transactions and no control records: ringmill makes neither.
use super::compress::Codec;
use super::varint;
use crate::segment::header::Crc32c;

/// Length of a batch's header.
pub const HEADER_BYTES: usize = 61;
/// Most bytes of a record beside its key, its headers' names and values, and its value: three varints of 32 bits
/// and the attributes, one of 64 (the timestamp), and the lengths of key and value. A header adds up to 10.
pub const RECORD_OVERHEAD_MAX: usize =
    3 * varint::BYTES_MAX + 1 + varint::LONG_BYTES_MAX + 2 * varint::BYTES_MAX;

/// A record's header: name and value. The name is UTF-8 where consumers are to read it.
pub type RecordHeader<'a> = (&'a [u8], &'a [u8]);

const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
/// What the length field does not count: the offset and itself.
const UNCOUNTED: usize = 12;

/// Under which name a broker recognises a batch that it has had before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Producer id, from InitProducerId; -1 for none.
    pub producer_id: i64,
    /// Its epoch; -1 for none.
    pub epoch: i16,
    /// Sequence number of the batch's first record, 0 to 2^31-1; -1 for none.
    pub sequence: i32,
}

impl Stamp {
    /// A batch that no broker can recognise.
    pub const NONE: Stamp = Stamp { producer_id: -1, epoch: -1, sequence: -1 };
}

/// The sequence number `records` after `sequence`: 0 follows 2^31-1.
pub const fn next_sequence(sequence: i32, records: u32) -> i32 {
    ((sequence as u32).wrapping_add(records) & i32::MAX as u32) as i32
}

/// Bytes of a record's field: its length and itself.
#[inline]
fn field_len(bytes: &[u8]) -> usize {
    varint::len(bytes.len() as i64) + bytes.len()
}

/// Bytes of a record's headers with their count.
#[inline]
pub(super) fn headers_len(headers: &[RecordHeader]) -> usize {
    let fields = headers.iter().map(|(name, value)| field_len(name) + field_len(value));
    varint::len(headers.len() as i64) + fields.sum::<usize>()
}

/// Exact length of what [`encode_record`] writes.
pub fn record_len(
    offset_delta: u32,
    timestamp_delta_ms: i64,
    key: Option<&[u8]>,
    headers: &[RecordHeader],
    value: &[u8],
) -> usize {
    let deltas = varint::len(timestamp_delta_ms) + varint::len(i64::from(offset_delta));
    let body = 1 + deltas + key.map_or(1, field_len) + field_len(value) + headers_len(headers);
    varint::len(body as i64) + body
}

/// What stands before a record's key, or without one before its value.
struct Head {
    /// Filled from both sides of [`Head::MIDDLE`]; longer than need be so that it can be copied as a whole.
    bytes: [u8; Head::COPIED + Head::MIDDLE],
    at: usize,
}

impl Head {
    /// The record's length ends here.
    const MIDDLE: usize = varint::BYTES_MAX;
    /// No less than the longest one: length, attributes, two deltas, two lengths.
    const COPIED: usize = 32;

    // Left to itself the compiler makes a call of it: 15 % of a record.
    #[inline(always)]
    fn varint(&mut self, n: i64) {
        self.at += varint::put(&mut self.bytes[self.at..], n);
    }

    /// Puts the length before what there is; returns where that begins.
    #[inline]
    fn length(&mut self, body: usize) -> usize {
        let start = Head::MIDDLE - varint::len(body as i64);
        varint::put(&mut self.bytes[start..], body as i64);
        start
    }
}

/// Writes one record at the start of `out` and returns its length, or `None`, having written nothing, if it does
/// not fit there or is longer than the format allows (2^31-1).
#[inline(always)]
pub fn encode_record(
    out: &mut [u8],
    offset_delta: u32,
    timestamp_delta_ms: i64,
    key: Option<&[u8]>,
    headers: &[RecordHeader],
    value: &[u8],
) -> Option<usize> {
    // The attributes, always 0, are there already.
    let mut head = Head { bytes: [0; Head::COPIED + Head::MIDDLE], at: Head::MIDDLE + 1 };
    head.varint(timestamp_delta_ms);
    head.varint(i64::from(offset_delta));
    let mut after = value.len() + headers_len(headers);
    match key {
        Some(key) => {
            head.varint(key.len() as i64);
            after += key.len() + varint::len(value.len() as i64);
        }
        None => {
            head.varint(-1);
            head.varint(value.len() as i64);
        }
    }
    let body = head.at - Head::MIDDLE + after;
    if body > i32::MAX as usize {
        return None;
    }
    let start = head.length(body);
    let (len, end) = (head.at - start + after, head.at - start);
    let out = out.get_mut(..len)?;
    // With such a value there is room for a copy of fixed length, of which the value overwrites what is too much.
    match value.len() >= Head::COPIED {
        true => out[..Head::COPIED].copy_from_slice(&head.bytes[start..start + Head::COPIED]),
        false => out[..end].copy_from_slice(&head.bytes[start..head.at]),
    }
    let mut to = Writer { out, at: end };
    if let Some(key) = key {
        to.raw(key);
        to.varint(value.len() as i64);
    }
    to.raw(value);
    to.varint(headers.len() as i64);
    for (name, value) in headers {
        to.varint(name.len() as i64);
        to.raw(name);
        to.varint(value.len() as i64);
        to.raw(value);
    }
    debug_assert_eq!(to.at, len);
    Some(len)
}

struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    #[inline(always)]
    fn byte(&mut self, byte: u8) {
        self.out[self.at] = byte;
        self.at += 1;
    }

    #[inline(always)]
    fn varint(&mut self, n: i64) {
        self.at += varint::put(&mut self.out[self.at..], n);
    }

    #[inline(always)]
    fn raw(&mut self, bytes: &[u8]) {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

/// What the header of a batch says beside lengths and checksum.
#[derive(Clone, Copy, Debug)]
pub struct BatchHeader {
    /// What the records' timestamp deltas count from, Unix time in milliseconds; the first record's time.
    pub first_timestamp_ms: i64,
    /// The largest timestamp of its records.
    pub max_timestamp_ms: i64,
    /// How many records, from 1.
    pub records: u32,
    /// How the records' bytes are compressed.
    pub codec: Codec,
    /// Whom the batch is from.
    pub stamp: Stamp,
}

impl BatchHeader {
    /// Writes the header of a batch whose records, as they are sent, are `records_bytes`.
    pub fn encode(&self, out: &mut [u8; HEADER_BYTES], records_bytes: &[u8]) {
        let length = (HEADER_BYTES - UNCOUNTED + records_bytes.len()) as i32;
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&0i64.to_be_bytes());
        put(&length.to_be_bytes());
        put(&(-1i32).to_be_bytes());
        put(&[2]);
        put(&[0; 4]);
        put(&i16::from(self.codec.id()).to_be_bytes());
        put(&(self.records as i32 - 1).to_be_bytes());
        put(&self.first_timestamp_ms.to_be_bytes());
        put(&self.max_timestamp_ms.to_be_bytes());
        put(&self.stamp.producer_id.to_be_bytes());
        put(&self.stamp.epoch.to_be_bytes());
        put(&self.stamp.sequence.to_be_bytes());
        put(&(self.records as i32).to_be_bytes());
        let mut crc = Crc32c::new();
        crc.update(&out[CRC_FROM..]);
        crc.update(records_bytes);
        out[CRC_AT..CRC_FROM].copy_from_slice(&crc.value().to_be_bytes());
    }
}

/// Length of the record at the start of `records`, which this module wrote.
pub(super) fn length_at(records: &[u8]) -> usize {
    let (body, len) = varint::get(records).expect("a record begins here");
    len + body as usize
}

/// Rewrites records where they lie so that their offset deltas begin at `first`, which is not above what they
/// begin at now, so none becomes longer. Returns how many bytes they take then, and the largest of their
/// timestamps, which count from `base_timestamp_ms`.
pub(super) fn renumber(records: &mut [u8], first: u32, base_timestamp_ms: i64) -> (usize, i64) {
    let (mut from, mut to, mut largest) = (0, 0, i64::MIN);
    let mut delta = i64::from(first);
    while from < records.len() {
        let end = from + length_at(&records[from..]);
        // Behind the length and the attributes.
        let timed = from + varint::get(&records[from..end]).expect("written by us").1 + 1;
        let (time, time_len) = varint::get(&records[timed..end]).expect("written by us");
        let numbered = timed + time_len;
        let rest = numbered + varint::get(&records[numbered..end]).expect("written by us").1;
        let body = 1 + time_len + varint::len(delta) + (end - rest);
        let mut head = [0; 2 * varint::BYTES_MAX + 1 + varint::LONG_BYTES_MAX];
        let mut put = Writer { out: &mut head, at: 0 };
        put.varint(body as i64);
        put.byte(0);
        put.varint(time);
        put.varint(delta);
        let head_len = put.at;
        records[to..to + head_len].copy_from_slice(&head[..head_len]);
        records.copy_within(rest..end, to + head_len);
        to += head_len + (end - rest);
        from = end;
        delta += 1;
        largest = largest.max(base_timestamp_ms.wrapping_add(time));
    }
    (to, largest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn sequences_wrap_to_zero() {
        let cases = [
            (0, 1, 1),
            (0, 0, 0),
            (i32::MAX, 1, 0),
            (i32::MAX - 2, 3, 0),
            (i32::MAX - 2, 2, i32::MAX),
            (i32::MAX, 1000, 999),
        ];
        for (sequence, records, next) in cases {
            assert_eq!(next_sequence(sequence, records), next, "{records} after {sequence}");
        }
    }

    #[test]
    fn a_record_needs_all_its_bytes() {
        let headers = [(&b"stream"[..], &b"web"[..]), (b"", b"")];
        for value in [&b""[..], b"{}", &[b'v'; 300], &[b'v'; 20_000]] {
            for key in [None, Some(&b""[..]), Some(b"key")] {
                let len = record_len(300, -5, key, &headers, value);
                let fixed = RECORD_OVERHEAD_MAX + 2 * 2 * varint::BYTES_MAX;
                assert!(len <= fixed + value.len() + key.map_or(0, <[u8]>::len) + 9);
                let mut out = vec![0xee; len + 1];
                assert_eq!(encode_record(&mut out[..len - 1], 300, -5, key, &headers, value), None);
                assert!(out.iter().all(|byte| *byte == 0xee));
                assert_eq!(encode_record(&mut out, 300, -5, key, &headers, value), Some(len));
                assert_eq!((out[len], length_at(&out)), (0xee, len));
            }
        }
    }

    #[test]
    fn renumbering_is_encoding_again() {
        let mut out = vec![0; 1 << 20];
        let mut expected = vec![0; 1 << 20];
        let (mut at, mut to) = (0, 0);
        for n in 0..5000u32 {
            let value = vec![b'v'; n as usize % 130];
            let time = i64::from(n) * 7 % 1000 - 20;
            at += encode_record(&mut out[at..], 16_000 + n, time, Some(b"k"), &[], &value).unwrap();
            to += encode_record(&mut expected[to..], 3 + n, time, Some(b"k"), &[], &value).unwrap();
        }
        assert_eq!(renumber(&mut out[..at], 3, 1000), (to, 1979));
        assert!(out[..to] == expected[..to]);
    }
}
