//! Record batches, version 2: made with every field open to lies, and read without trust.
//!
//! Deliberately independent of the product's encoder, which is tested against it.

use std::io::Read;

/// Bytes of a batch before its records.
pub const HEADER_BYTES: usize = 61;
/// What the length field does not count: base offset and the length itself.
const UNCOUNTED: usize = 12;
/// Where the checksum lies, and where what it covers begins.
const CRC_AT: usize = 17;
const COVERED_FROM: usize = 21;

/// One record of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Distance of its offset from the batch's.
    pub offset_delta: i32,
    /// Distance of its timestamp from the batch's, in milliseconds.
    pub timestamp_delta: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A batch as fields. What `encode` writes is consistent as long as nobody changed anything.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Offset of the first record: 0 from a producer.
    pub base_offset: i64,
    /// −1 from a producer.
    pub leader_epoch: i32,
    /// 2.
    pub magic: i8,
    /// Written instead of the true checksum.
    pub crc: Option<u32>,
    /// Codec in the lowest three bits (0 none, 3 lz4, 4 zstd), 0x10 transactional, 0x20 control.
    pub attributes: i16,
    /// Records − 1.
    pub last_offset_delta: i32,
    /// Timestamp of the first record, in milliseconds since 1970.
    pub base_timestamp: i64,
    /// Largest timestamp.
    pub max_timestamp: i64,
    /// Producer id, −1 for none.
    pub producer_id: i64,
    /// Producer epoch, −1 for none.
    pub epoch: i16,
    /// Sequence of the first record, −1 for none.
    pub sequence: i32,
    /// Number of records.
    pub count: i32,
    /// The records' bytes, compressed if `attributes` says so.
    pub payload: Vec<u8>,
}

impl Batch {
    /// An uncompressed batch of one record for each value, all of them at `timestamp` (milliseconds since 1970).
    pub fn of_values<V: AsRef<[u8]>>(values: &[V], timestamp: i64) -> Batch {
        let records: Vec<Record> = values
            .iter()
            .enumerate()
            .map(|(i, value)| Record {
                offset_delta: i32::try_from(i).unwrap(),
                value: Some(value.as_ref().to_vec()),
                ..Record::default()
            })
            .collect();
        Batch::of(&records, timestamp)
    }

    /// An uncompressed batch of these records. `timestamp` is the first's, in milliseconds since 1970.
    pub fn of(records: &[Record], timestamp: i64) -> Batch {
        let latest = records.iter().map(|r| r.timestamp_delta).max().unwrap_or(0);
        let count = i32::try_from(records.len()).unwrap();
        let mut payload = Vec::new();
        records.iter().for_each(|record| put_record(&mut payload, record));
        Batch {
            base_offset: 0,
            leader_epoch: -1,
            magic: 2,
            crc: None,
            attributes: 0,
            last_offset_delta: count - 1,
            base_timestamp: timestamp,
            max_timestamp: timestamp + latest,
            producer_id: -1,
            epoch: -1,
            sequence: -1,
            count,
            payload,
        }
    }

    /// The same, stamped.
    pub fn stamped(mut self, producer_id: i64, epoch: i16, sequence: i32) -> Batch {
        (self.producer_id, self.epoch, self.sequence) = (producer_id, epoch, sequence);
        self
    }

    /// The same, its payload as an lz4 frame.
    pub fn lz4(mut self) -> Batch {
        let mut frame = lz4_flex::frame::FrameEncoder::new(Vec::new());
        std::io::Write::write_all(&mut frame, &self.payload).unwrap();
        self.payload = frame.finish().unwrap();
        self.attributes |= 3;
        self
    }

    /// The same, its payload compressed by zstd.
    pub fn zstd(mut self) -> Batch {
        self.payload = zstd::encode_all(&self.payload[..], 1).unwrap();
        self.attributes |= 4;
        self
    }

    /// Its bytes, with the true length and, unless `crc` is set, the true checksum.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.payload.len());
        out.extend(self.base_offset.to_be_bytes());
        let length = HEADER_BYTES - UNCOUNTED + self.payload.len();
        out.extend(i32::try_from(length).unwrap().to_be_bytes());
        out.extend(self.leader_epoch.to_be_bytes());
        out.extend(self.magic.to_be_bytes());
        out.extend([0; 4]);
        out.extend(self.attributes.to_be_bytes());
        out.extend(self.last_offset_delta.to_be_bytes());
        out.extend(self.base_timestamp.to_be_bytes());
        out.extend(self.max_timestamp.to_be_bytes());
        out.extend(self.producer_id.to_be_bytes());
        out.extend(self.epoch.to_be_bytes());
        out.extend(self.sequence.to_be_bytes());
        out.extend(self.count.to_be_bytes());
        out.extend(&self.payload);
        let crc = self.crc.unwrap_or_else(|| crc32c::crc32c(&out[COVERED_FROM..]));
        out[CRC_AT..COVERED_FROM].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// Reads one batch that fills `bytes`; `None` when it is shorter than its header, or its length says something
    /// else. Nothing but the length is checked, and `crc` is what stands there.
    pub fn decode(bytes: &[u8]) -> Option<Batch> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let length = i32::from_be_bytes(header[8..12].try_into().unwrap());
        if usize::try_from(length).ok()? + UNCOUNTED != bytes.len() {
            return None;
        }
        Some(Batch {
            base_offset: i64::from_be_bytes(header[0..8].try_into().unwrap()),
            leader_epoch: i32::from_be_bytes(header[12..16].try_into().unwrap()),
            magic: header[16] as i8,
            crc: Some(u32::from_be_bytes(header[17..21].try_into().unwrap())),
            attributes: i16::from_be_bytes(header[21..23].try_into().unwrap()),
            last_offset_delta: i32::from_be_bytes(header[23..27].try_into().unwrap()),
            base_timestamp: i64::from_be_bytes(header[27..35].try_into().unwrap()),
            max_timestamp: i64::from_be_bytes(header[35..43].try_into().unwrap()),
            producer_id: i64::from_be_bytes(header[43..51].try_into().unwrap()),
            epoch: i16::from_be_bytes(header[51..53].try_into().unwrap()),
            sequence: i32::from_be_bytes(header[53..57].try_into().unwrap()),
            count: i32::from_be_bytes(header[57..61].try_into().unwrap()),
            payload: bytes[HEADER_BYTES..].to_vec(),
        })
    }

    /// Whether the checksum that was read is that of the fields.
    pub fn is_intact(&self) -> bool {
        let honest = Batch { crc: None, ..self.clone() }.encode();
        self.crc.is_none_or(|crc| crc.to_be_bytes() == honest[CRC_AT..COVERED_FROM])
    }

    /// The sequence of its last record: after 2³¹ − 1 comes 0.
    pub fn last_sequence(&self) -> i32 {
        sequence_after(self.sequence, self.last_offset_delta)
    }

    /// Its records, decompressed.
    pub fn records(&self) -> Result<Vec<Record>, Unreadable> {
        let plain = self.plain()?;
        let mut rest = &plain[..];
        let mut records = Vec::new();
        for _ in 0..self.count {
            records.push(take_record(&mut rest).ok_or(Unreadable::Records)?);
        }
        if rest.is_empty() { Ok(records) } else { Err(Unreadable::Records) }
    }

    fn plain(&self) -> Result<Vec<u8>, Unreadable> {
        let mut plain = Vec::new();
        let done = match self.attributes & 7 {
            0 => return Ok(self.payload.clone()),
            3 => lz4_flex::frame::FrameDecoder::new(&self.payload[..]).read_to_end(&mut plain),
            4 => zstd::Decoder::new(&self.payload[..]).and_then(|mut from| from.read_to_end(&mut plain)),
            _ => return Err(Unreadable::Codec),
        };
        done.map(|_| plain).map_err(|_| Unreadable::Payload)
    }
}

/// Why a batch' records cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// No such codec, or none that this reader knows.
    Codec,
    /// The codec refuses the payload.
    Payload,
    /// The records are not what the batch says: cut off, too many, too few, or malformed.
    Records,
}

/// `sequence` advanced by `n`, which is not negative: after 2³¹ − 1 comes 0.
pub fn sequence_after(sequence: i32, n: i32) -> i32 {
    (i64::from(sequence) + i64::from(n)).rem_euclid(1 << 31) as i32
}

/// Writes one record: its length, then its body.
pub fn put_record(out: &mut Vec<u8>, record: &Record) {
    let mut body = vec![0]; // Attributes: none are defined.
    put_varint(&mut body, record.timestamp_delta);
    put_varint(&mut body, record.offset_delta.into());
    put_bytes(&mut body, record.key.as_deref());
    put_bytes(&mut body, record.value.as_deref());
    put_varint(&mut body, record.headers.len() as i64);
    for (name, value) in &record.headers {
        put_bytes(&mut body, Some(name.as_bytes()));
        put_bytes(&mut body, value.as_deref());
    }
    put_varint(out, body.len() as i64);
    out.extend(body);
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varint(out, bytes.map_or(-1, |b| b.len() as i64));
    out.extend(bytes.unwrap_or_default());
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = (value << 1 ^ value >> 63) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn take_record(from: &mut &[u8]) -> Option<Record> {
    let length = usize::try_from(take_varint(from)?).ok()?;
    let (mut body, rest) = from.split_at_checked(length)?;
    *from = rest;
    body = body.get(1..)?;
    let timestamp_delta = take_varint(&mut body)?;
    let offset_delta = i32::try_from(take_varint(&mut body)?).ok()?;
    let key = take_bytes(&mut body)?;
    let value = take_bytes(&mut body)?;
    let headers = (0..take_varint(&mut body)?)
        .map(|_| Some((String::from_utf8(take_bytes(&mut body)??).ok()?, take_bytes(&mut body)?)))
        .collect::<Option<_>>()?;
    body.is_empty().then_some(Record { offset_delta, timestamp_delta, key, value, headers })
}

fn take_bytes(from: &mut &[u8]) -> Option<Option<Vec<u8>>> {
    match take_varint(from)? {
        -1 => Some(None),
        length => {
            let (bytes, rest) = from.split_at_checked(usize::try_from(length).ok()?)?;
            *from = rest;
            Some(Some(bytes.to_vec()))
        }
    }
}

fn take_varint(from: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_reads_back() {
        let records: Vec<Record> = (0..3)
            .map(|i| Record {
                offset_delta: i,
                timestamp_delta: i64::from(i) * 100_000,
                key: (i > 0).then(|| vec![b'k'; 70]),
                value: (i < 2).then(|| vec![i as u8; 200]),
                headers: vec![("h".into(), None), ("é".into(), Some(vec![1]))],
            })
            .collect();
        for batch in [Batch::of(&records, 5), Batch::of(&records, 5).lz4(), Batch::of(&records, 5).zstd()] {
            let batch = batch.stamped(7, 1, i32::MAX - 1);
            let read = Batch::decode(&batch.encode()).unwrap();
            assert!(read.is_intact());
            assert_eq!(read.records().unwrap(), records);
            assert_eq!((read.producer_id, read.epoch, read.last_sequence()), (7, 1, 0));
        }
    }

    #[test]
    fn every_flipped_bit_after_the_checksum_is_seen() {
        let bytes = Batch::of_values(&["one", "two"], 1).encode();
        for bit in CRC_AT * 8..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!Batch::decode(&flipped).unwrap().is_intact(), "bit {bit}");
        }
    }

    #[test]
    fn no_prefix_and_no_flipped_byte_of_the_records_panics() {
        let batch = Batch::of_values(&[&[9u8; 300][..], b"x"], 1);
        for cut in 0..batch.payload.len() {
            let mut short = batch.clone();
            short.payload.truncate(cut);
            assert_eq!(short.records(), Err(Unreadable::Records));
            let mut changed = batch.clone();
            changed.payload[cut] ^= 0xff;
            let _ = changed.records();
        }
    }
}
