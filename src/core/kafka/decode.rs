//! A reader of record batches for tests: written from the format's description alone, slow, and strict about
//! everything, so that it shares no mistake with the encoder.
use alloc::vec::Vec;

/// A record as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A batch as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    pub codec: u8,
    pub first_timestamp_ms: i64,
    pub max_timestamp_ms: i64,
    pub producer_id: i64,
    pub epoch: i16,
    pub sequence: i32,
    pub events: Vec<Event>,
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        assert!(len <= self.0.len(), "cut off: {len} of {}", self.0.len());
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    /// A big-endian integer of `len` bytes with its sign.
    fn fixed(&mut self, len: usize) -> i128 {
        let bytes = self.take(len);
        let value = bytes.iter().fold(0i128, |value, byte| value * 256 + i128::from(*byte));
        if bytes[0] >= 128 { value - (1i128 << (8 * len)) } else { value }
    }

    fn varint(&mut self, bits: u32) -> i128 {
        let mut value = 0i128;
        for place in 0.. {
            let byte = i128::from(self.take(1)[0]);
            value += (byte % 128) << (7 * place);
            if byte < 128 {
                assert!(place == 0 || byte > 0, "longer than need be");
                break;
            }
        }
        assert!(value < 1i128 << bits, "{value} is no {bits} bits");
        if value % 2 == 0 { value / 2 } else { -(value + 1) / 2 }
    }

    fn sized(&mut self) -> Option<&'a [u8]> {
        match self.varint(32) {
            -1 => None,
            len => Some(self.take(usize::try_from(len).expect("a length"))),
        }
    }
}

/// CRC-32C, bit by bit.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

pub fn lz4(frame: &[u8]) -> Vec<u8> {
    let mut frame = Bytes(frame);
    assert_eq!(frame.take(7), [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]);
    let mut raw = Vec::new();
    loop {
        let size = u32::from_le_bytes(frame.take(4).try_into().unwrap());
        if size == 0 {
            break;
        }
        let block = frame.take((size & 0x7fff_ffff) as usize);
        match size >> 31 {
            1 => raw.extend_from_slice(block),
            _ => {
                let from = raw.len();
                raw.resize(from + 65_536, 0);
                let len = lz4_flex::block::decompress_into(block, &mut raw[from..]).expect("an LZ4 block");
                raw.truncate(from + len);
            }
        }
        assert!(block.len() <= 65_536);
    }
    assert!(frame.0.is_empty());
    raw
}

/// Reads one batch, whole and nothing behind.
pub fn batch(bytes: &[u8]) -> Decoded {
    let mut header = Bytes(bytes);
    assert_eq!(header.fixed(8), 0, "offset");
    assert_eq!(header.fixed(4), bytes.len() as i128 - 12, "length");
    assert_eq!(header.fixed(4), -1, "leader epoch");
    assert_eq!(header.fixed(1), 2, "magic");
    assert_eq!(header.fixed(4) as u32, crc32c(&bytes[21..]), "checksum");
    let codec = header.fixed(2);
    let last_delta = header.fixed(4);
    let first_timestamp_ms = header.fixed(8) as i64;
    let max_timestamp_ms = header.fixed(8) as i64;
    let (producer_id, epoch) = (header.fixed(8) as i64, header.fixed(2) as i16);
    let (sequence, count) = (header.fixed(4) as i32, header.fixed(4));
    assert_eq!(last_delta, count - 1);
    let raw = match codec {
        0 => header.0.to_vec(),
        3 => lz4(header.0),
        other => panic!("codec {other}"),
    };
    let mut records = Bytes(&raw);
    let events: Vec<Event> = (0..count).map(|n| record(&mut records, n, first_timestamp_ms)).collect();
    assert!(records.0.is_empty(), "{} bytes behind the last record", records.0.len());
    assert_eq!(events.iter().map(|event| event.timestamp_ms).max(), Some(max_timestamp_ms));
    let codec = codec as u8;
    Decoded { codec, first_timestamp_ms, max_timestamp_ms, producer_id, epoch, sequence, events }
}

fn record(from: &mut Bytes, number: i128, first_timestamp_ms: i64) -> Event {
    let len = from.varint(32);
    let mut body = Bytes(from.take(len as usize));
    assert_eq!(body.fixed(1), 0, "attributes");
    let timestamp_ms = first_timestamp_ms.wrapping_add(body.varint(64) as i64);
    assert_eq!(body.varint(32), number, "offset delta");
    let key = body.sized().map(<[u8]>::to_vec);
    let value = body.sized().expect("a value").to_vec();
    let mut headers = Vec::new();
    for _ in 0..body.varint(32) {
        let name = body.sized().expect("a name").to_vec();
        headers.push((name, body.sized().expect("a value").to_vec()));
    }
    assert!(body.0.is_empty(), "{} bytes behind a record", body.0.len());
    Event { timestamp_ms, key, value, headers }
}

#[test]
fn the_checksum_is_the_one_meant() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}
