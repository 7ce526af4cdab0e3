//! The disk that a shard spills to, and a replayer that brings what is on it to the brokers, in order.
use super::bench::MS;
use super::cluster::{Cluster, Logged};
use ringmill_core::kafka::partition::keyed;
use ringmill_core::segment::{BLOCK_BYTES, HEADER_BYTES, Header};

/// From news to what the replayer makes of it, and for each turn of it.
const REPLAY_NS: u64 = 5 * MS;

/// Runs of a turn.
const RUNS: usize = 10;

#[derive(Default)]
pub struct Disk {
    /// All sound commits, one behind the other.
    pub bytes: Vec<u8>,
    /// Writes fail with this error.
    pub sick: Option<i32>,
    /// Nothing is replayed.
    pub idle: bool,
    /// The last event that is with the brokers.
    pub replayed: u64,
    readable: u64,
    at: usize,
    busy_until_ns: u64,
}

impl Disk {
    pub fn next_seq(&self) -> u64 {
        self.headers().last().map_or(1, |header| header.next_seq())
    }

    pub fn headers(&self) -> Vec<Header> {
        let (mut at, mut headers) = (0, Vec::new());
        while at < self.bytes.len() {
            let header = Header::parse(&self.bytes[at..]).expect("a header");
            at = next(at, &header);
            headers.push(header);
        }
        headers
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, i32> {
        if let Some(errno) = self.sick {
            return Err(errno);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    pub fn may_read(&mut self, now_ns: u64, through: u64) {
        assert!(through > self.readable, "what may be read grows");
        self.readable = through;
        self.busy_until_ns = self.busy_until_ns.max(now_ns + REPLAY_NS);
    }

    /// What an earlier run left may be read from the start.
    pub fn left_behind(bytes: Vec<u8>, replayed: u64) -> Disk {
        let mut disk = Disk { bytes, replayed, ..Disk::default() };
        disk.readable = disk.next_seq() - 1;
        while let Some(header) = disk.waiting().filter(|header| header.last_seq() <= replayed) {
            disk.at = next(disk.at, &header);
        }
        disk
    }

    fn waiting(&self) -> Option<Header> {
        let bytes = self.bytes.get(self.at..).filter(|bytes| !bytes.is_empty())?;
        Some(Header::parse(bytes).expect("a header")).filter(|header| header.last_seq() <= self.readable)
    }

    pub fn due_ns(&self, now_ns: u64, down: bool) -> Option<u64> {
        self.waiting().filter(|_| !down && !self.idle).map(|_| self.busy_until_ns.max(now_ns))
    }

    /// Some runs; the last event of them.
    pub fn replay(&mut self, now_ns: u64, cluster: &mut Cluster) -> Option<u64> {
        self.due_ns(now_ns, cluster.down).filter(|due_ns| *due_ns <= now_ns)?;
        self.busy_until_ns = now_ns + REPLAY_NS;
        (0..RUNS).map_while(|_| self.replay_run(cluster)).last()
    }

    fn replay_run(&mut self, cluster: &mut Cluster) -> Option<u64> {
        let header = self.waiting()?;
        let partitions = cluster.topics[0].leaders.len() as u32;
        let from = self.at + HEADER_BYTES;
        for value in self.bytes[from..from + header.bytes as usize].split_inclusive(|byte| *byte == b'\n') {
            let value = value[..value.len() - 1].to_vec();
            let key = header.key.map(|key| key.as_bytes().to_vec());
            let partition = keyed(key.as_deref().unwrap_or(b""), partitions) as i32;
            let record = Logged { key, value, timestamp_ms: header.time_ms as i64, headers: Vec::new() };
            cluster.logs.entry((cluster.topics[0].name.clone(), partition)).or_default().push(record);
        }
        self.at = next(self.at, &header);
        self.replayed = header.last_seq();
        Some(self.replayed)
    }
}

fn next(at: usize, header: &Header) -> usize {
    let end = at + HEADER_BYTES + header.bytes as usize;
    if header.left == 0 { end.next_multiple_of(BLOCK_BYTES) } else { end }
}
