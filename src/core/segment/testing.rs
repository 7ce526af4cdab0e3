//! Writes segment and quarantine files in memory, for tests of what reads them.
use super::header::{BLOCK_BYTES, HEADER_BYTES, Hash, Header, StreamName, crc32c};
use super::quarantine::{Entry, QUARANTINE_HEADER_BYTES};
use super::walk::Chain;
use alloc::vec::Vec;

/// Grows one segment file commit by commit.
#[derive(Clone, Debug)]
pub struct Writer {
    /// The file so far, a multiple of [`BLOCK_BYTES`].
    pub bytes: Vec<u8>,
    /// Where the chain stands.
    pub chain: Chain,
    shard: u32,
    file: u64,
}

impl Writer {
    /// An empty file that goes on from `chain`.
    pub fn new(shard: u32, file: u64, chain: Chain) -> Writer {
        Writer { bytes: Vec::new(), chain, shard, file }
    }

    /// The chain before the first event of a shard.
    pub const FIRST: Chain = Chain { commit: 0, seq: 1, prev: Hash::ZERO };

    /// Appends one commit of these runs: a stream's name and its events.
    ///
    /// # Panics
    /// On a bad name.
    pub fn commit(&mut self, runs: &[(&str, &[&[u8]])]) {
        self.chain.commit += 1;
        for (at, (stream, events)) in runs.iter().enumerate() {
            let body: Vec<u8> =
                events.iter().flat_map(|event| event.iter().copied().chain([b'\n'])).collect();
            let header = Header {
                shard: self.shard,
                stream: StreamName::new(stream.as_bytes()).expect("a stream's name"),
                key: None,
                seq: self.chain.seq,
                events: events.len() as u32,
                bytes: body.len() as u32,
                commit: self.chain.commit,
                left: (runs.len() - 1 - at) as u32,
                time_ms: 1_763_000_000_000 + self.chain.commit,
                file: self.file,
                crc32c: crc32c(&body),
                prev: self.chain.prev,
            };
            let mut line = [0; HEADER_BYTES];
            header.encode(&mut line);
            self.bytes.extend_from_slice(&line);
            self.bytes.extend_from_slice(&body);
            self.chain.seq = header.next_seq();
            self.chain.prev = Hash::of(&line);
        }
        pad(&mut self.bytes);
    }
}

/// Appends one commit of refused events, each with its reason, to a quarantine file.
pub fn quarantine(out: &mut Vec<u8>, shard: u32, file: u64, refused: &[(&str, &[u8])]) {
    for (index, (reason, bytes)) in refused.iter().enumerate() {
        let entry = Entry {
            shard,
            reason,
            index: index as u32,
            offset: 7,
            length: bytes.len() as u32,
            time_ms: 1_763_000_000_000,
            file,
        };
        let mut line = [0; QUARANTINE_HEADER_BYTES];
        entry.encode(bytes, &mut line);
        out.extend_from_slice(&line);
        out.extend_from_slice(bytes);
        out.push(b'\n');
    }
    pad(out);
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), b'\n');
}
