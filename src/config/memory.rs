//! The memory plan: everything that the server holds, as a sum with one term for each consumer.
//!
//! Nothing else is allocated once the shards take events, so resident memory stays under the total.
use super::http_memory::HttpSizes;
use super::kafka::KafkaPlan;
use super::plan::Validator;
use super::units;
use crate::core::engine::{LOGS, connection_bytes, logs_bytes};
use crate::core::json::{FastScanner, Kernel, MAX_EVENT_BYTES, SimdScanner, schema::CHECK_BYTES};
use crate::core::kafka::arena::RecordArena;
use crate::core::kafka::compress::{Codec, Lz4};
use crate::core::sink::kafka::KeyFrom;
use crate::shard::balance;
use crate::sink::kafka::zstd::Zstd;
use crate::sys::mapping::Mapping;
use crate::sys::ring::Buffers;
use std::fmt;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Bytes of a receive buffer: a burst of 16 pipelined requests of 1 KiB in one completion; with 4 KiB a
/// deep pipeline cost 12 % more CPU.
pub const RECEIVE_BUFFER_BYTES: u64 = 16 * KIB;
/// Receive buffers of a shard: all of 64 busy connections may have 256 KiB on the way.
pub const RECEIVE_BUFFERS: u64 = 1024;
/// Bytes of an unfinished request that a connection keeps resident. Larger ones draw on the body budget;
/// the reservation behind (9 MiB of address space) is not resident and not counted.
pub const CARRY_BYTES: u64 = 64 * KIB;
/// The largest body of a request, decoded.
pub const BODY_BYTES_MAX: u64 = 8 * MIB;
/// Memory of a shard for the parts of bodies beyond [`CARRY_BYTES`].
pub const BODY_BUDGET_BYTES: u64 = 64 * MIB;
/// Two of the largest bodies and, in the last MiB, their heads: one that arrives and one that waits for its
/// place in a batch.
pub const BODY_BUDGET_BYTES_MIN: u64 = 2 * BODY_BYTES_MAX + MIB;
/// Replies of one connection that are not sent yet: a full one with 100 errors takes about 12 KiB.
pub const REPLY_BYTES: u64 = 16 * KIB;
/// Batch arenas of a shard: one fills while the other is on its way to the disk.
pub const ARENAS: u64 = 2;
/// What an arena holds beyond the largest batch: run headers, and padding to the block.
pub const ARENA_SLACK_BYTES: u64 = MIB;
/// A quarantine arena; what does not fit while one is being written is counted and dropped.
pub const QUARANTINE_ARENA_BYTES: u64 = MIB;
/// The windows and tables of the scanner's kernels. The exact scanner has none of it.
pub const SCANNER_BYTES: u64 = FastScanner::memory_bytes() as u64;
/// simd-json's padded copy, string buffer, index and tape.
pub const JSON_BYTES: u64 = SimdScanner::memory_max_bytes() as u64;
/// Verdicts of one request before they are written into its reply: spans of the events of a full body
/// are streamed, of the refused ones the first are kept, each with reason and place.
pub const RECORDS_BYTES: u64 = 1229 * KIB;
/// The driver's ring: 2048 submissions of 64 bytes with their index, 8192 completions of 16; and as many reaped
/// and twice as many waiting ones of 16.
pub const RING_BYTES: u64 = 2048 * (64 + 4) + 8192 * 16 + (8192 + 16384) * 16;
/// Stage histograms (two significant digits up to a minute), counters, slowest requests, and the copy
/// that a scrape asks for.
pub const METRICS_BYTES: u64 = MIB;
/// The engine's and the driver's state of one connection, beside its buffers: most of it the places of the replies
/// that it may owe.
pub const CONNECTION_BYTES: u64 = 5 * KIB;
const _: () = assert!(connection_bytes::<Mapping>() as u64 + 128 <= CONNECTION_BYTES);
/// A task of the `glommio` driver with its stream and wakers.
pub const TASK_BYTES: u64 = 4 * KIB;
/// A glommio executor without its I/O memory: three rings, task queues, a helper thread's stack.
pub const EXECUTOR_BYTES: u64 = 4 * MIB;
/// I/O memory of a glommio executor. It serves opening and recovering segments only, so a tenth of
/// glommio's default does.
pub const EXECUTOR_IO_BYTES: u64 = MIB;
/// Program text and data, allocator, admin thread with its runtime, housekeeping thread with its
/// pre-write buffer, and what a scrape of many shards needs. An estimate from above.
pub const PROCESS_BYTES: u64 = 32 * MIB;
/// The fewest connections that a derived plan goes down to.
pub const CONNECTIONS_MIN: u64 = 16;
/// Connections of a shard unless told otherwise.
pub const CONNECTIONS: u64 = 1024;

/// Failures of a commit's events, told apart, and whose lines are where in it: beside a byte for each event.
pub const FATES_BYTES: u64 = 160 * KIB;
/// The fewest bytes of a record, so that this many events are in an arena at most.
const RECORD_BYTES_MIN: u64 = 9;
/// The Kafka producer's state of one partition, of one batch and of one broker with its requests. From above.
const PRODUCER_BYTES: (u64, u64, u64) = (512, 256, 6 * KIB);
/// A topic with its name, its stream's name and its partitioner. From above.
const TOPIC_BYTES: u64 = KIB;
/// What one link to a broker holds: the driver's receive buffer and addresses of a send, bytes that came and were
/// not read, requests on their way.
pub const LINK_BYTES: u64 = (16 + 2 + 64 + 48) * KIB;
/// TLS on top: records on their way out, and rustls's buffers and keys.
pub const LINK_TLS_BYTES: u64 = (256 + 128) * KIB;
/// An answer about topics as it came and as it was read, for each partition and each broker. From above: three
/// replicas with their copies, and a host's name.
const METADATA_BYTES: (u64, u64) = (512, 1024);

/// Connections to brokers of one shard: one each and one for bootstrapping, twice, for one that was given up may
/// still be closing.
pub const fn links_max(brokers_max: u64) -> u64 {
    2 * (brokers_max + 1)
}

/// The quantities of the Kafka sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KafkaSizes {
    /// Brokers of the cluster.
    pub brokers: u64,
    /// Topics.
    pub topics: u64,
    /// Partitions of all topics.
    pub partitions: u64,
    /// Batches with the producer.
    pub slots: u64,
    /// Bytes of each arena's tables.
    pub table_bytes: u64,
    /// How batches are compressed.
    pub codec: Codec,
    /// Whether links are encrypted.
    pub tls: bool,
    /// Whether keys are read from events, where one with escapes has to be put together.
    pub keys: bool,
}

impl KafkaSizes {
    /// Those of a plan.
    pub fn of(plan: &KafkaPlan) -> KafkaSizes {
        let limits = plan.arena();
        KafkaSizes {
            brokers: u64::from(plan.brokers_max),
            topics: u64::from(plan.topics_max),
            partitions: u64::from(limits.partitions),
            slots: u64::from(limits.batches + limits.splits),
            table_bytes: RecordArena::<Mapping>::table_bytes(&limits) as u64,
            codec: plan.codec,
            tls: plan.tls.is_some(),
            keys: matches!(plan.key, KeyFrom::Pointer(_)),
        }
    }

    fn terms(&self, arena_bytes: u64) -> Vec<Term> {
        let KafkaSizes { brokers, topics, partitions, slots, .. } = *self;
        let tables = self.table_bytes + arena_bytes / RECORD_BYTES_MIN + FATES_BYTES;
        let of = PRODUCER_BYTES;
        let producer = topics * TOPIC_BYTES + partitions * of.0 + slots * of.1 + (brokers + 1) * of.2;
        let metadata = partitions * METADATA_BYTES.0 + brokers * METADATA_BYTES.1;
        let link = LINK_BYTES + if self.tls { LINK_TLS_BYTES } else { 0 };
        let mut terms = vec![
            term("gathered records", ARENAS, arena_bytes, "batches put together or compressed"),
            term("record tables", ARENAS, tables, "runs, batches and fates of records"),
            term("Kafka producer", 1, producer, "brokers, partitions and batches in flight"),
            term("Kafka links", links_max(brokers), link, "connections to brokers"),
            term("Kafka metadata", 1, metadata, "an answer about topics"),
        ];
        if self.keys {
            terms.push(term("key", 1, MAX_EVENT_BYTES as u64, "one whose escapes were decoded"));
        }
        match self.codec {
            Codec::None => {}
            Codec::Lz4 => {
                terms.push(term("lz4", 1, Lz4::MEMORY_BYTES as u64, "table and buffers of a block"))
            }
            Codec::Zstd => terms.push(term("zstd", 1, Zstd::MEMORY_BYTES as u64, "its context")),
        }
        terms
    }
}

/// The quantities from which the sum follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Number of shards.
    pub shards: u64,
    /// Connections of one shard.
    pub connections_max: u64,
    /// Receive buffers of one shard.
    pub receive_buffers: u64,
    /// Bytes of one shard for the parts of bodies beyond [`CARRY_BYTES`].
    pub body_budget_bytes: u64,
    /// Bytes at which a batch is sealed.
    pub batch_bytes_max: u64,
    /// I/O memory of one glommio executor in bytes.
    pub executor_io_bytes: u64,
    /// Who validates JSON.
    pub scanner: Validator,
    /// Schemas of streams.
    pub schemas: u64,
    /// Whether new connections are spread over the shards.
    pub balance: bool,
    /// Whether commits are copied into glommio's buffers.
    pub glommio: bool,
    /// The Kafka sink, if events go there.
    pub kafka: Option<KafkaSizes>,
    /// The HTTP sink, if events go there.
    pub http: Option<HttpSizes>,
    /// Bytes of what brings spilled events there; `None`: none are spilled.
    pub replay_bytes: Option<u64>,
}

impl Sizes {
    /// Bytes of one batch arena: the fullest batch and at least the largest body, for a request is
    /// never torn over two commits.
    pub fn arena_bytes(&self) -> u64 {
        self.batch_bytes_max.max(BODY_BYTES_MAX) + ARENA_SLACK_BYTES
    }

    /// The large receive buffers of one shard, beside its ordinary ones.
    fn large_buffers(&self) -> Option<Buffers> {
        let ordinary = Buffers { count: self.receive_buffers as u16, bytes: RECEIVE_BUFFER_BYTES as u32 };
        if self.glommio { None } else { ordinary.large() }
    }

    /// The sum.
    pub fn plan(&self) -> MemoryPlan {
        let arena = self.arena_bytes();
        let mut per_shard = self.base_terms();
        if let Some(kafka) = &self.kafka {
            per_shard.extend(kafka.terms(arena));
        }
        if let Some(http) = &self.http {
            per_shard.extend(http.terms(arena));
        }
        if self.replay_bytes.is_some() {
            per_shard.push(term("spill arenas", ARENAS, arena, "events on their way to the spill"));
            let why = "refused events beside them";
            per_shard.push(term("spill quarantine", ARENAS, QUARANTINE_ARENA_BYTES, why));
        }
        if self.schemas > 0 {
            let why = "what events are held against, one a schema";
            per_shard.push(term("schemas", self.schemas, CHECK_BYTES as u64, why));
        }
        if self.balance {
            let bytes = balance::memory_bytes(self.shards);
            per_shard.push(term("neighbours", 1, bytes, "loads of the other shards, ways to them"));
        }
        per_shard.extend(self.scanner_terms());
        if self.glommio {
            let why = "glommio's, one a connection";
            per_shard.push(term("connection tasks", self.connections_max, TASK_BYTES, why));
            per_shard.push(term("commit copy", 1, arena, "glommio writes from its own buffers"));
        }
        let mut fixed = vec![term("process", 1, PROCESS_BYTES, "program, allocator, admin, housekeeping")];
        fixed.extend(
            self.replay_bytes.map(|bytes| term("replayer", 1, bytes, "spilled events on their way back")),
        );
        MemoryPlan { shards: self.shards, per_shard, fixed }
    }

    /// What every shard holds, whatever its sink.
    fn base_terms(&self) -> Vec<Term> {
        let connections = self.connections_max;
        let receive = if self.glommio {
            term("receive buffers", connections, RECEIVE_BUFFER_BYTES, "one a connection")
        } else {
            let why = "buffers that the kernel fills";
            term("receive ring", self.receive_buffers, RECEIVE_BUFFER_BYTES, why)
        };
        let mut terms = vec![receive];
        terms.extend(self.large_buffers().map(|large| {
            let why = "for who sends much at a time";
            term("large receive ring", u64::from(large.count), u64::from(large.bytes), why)
        }));
        terms.extend([
            term("carry buffers", connections, CARRY_BYTES, "unfinished requests, one a connection"),
            term("body budget", 1, self.body_budget_bytes, "bodies beyond their carry buffer"),
            term("reply buffers", connections, REPLY_BYTES, "replies not sent yet"),
            term("batch arenas", ARENAS, self.arena_bytes(), "one fills while one is written"),
            term("quarantine arenas", ARENAS, QUARANTINE_ARENA_BYTES, "refused events on their way"),
            term("error records", 1, RECORDS_BYTES, "verdicts of one request"),
            term("connection tables", connections, CONNECTION_BYTES, "engine and driver state"),
            term("driver ring", 1, RING_BYTES, "submission and completion queues"),
            term("executor", 1, EXECUTOR_BYTES, "glommio without its I/O memory"),
            term("executor I/O memory", 1, self.executor_io_bytes, "counts three times as locked"),
            term("metrics", 1, METRICS_BYTES, "histograms, counters and their snapshot"),
        ]);
        terms
    }

    /// What the scanner holds. The exact one has no memory; only vector kernels judge bodies that
    /// are not whole yet.
    fn scanner_terms(&self) -> Vec<Term> {
        let kernel = term("scanner", 1, SCANNER_BYTES, "a window's tokens and tables");
        match self.scanner {
            Validator::Exact => vec![],
            Validator::SimdJson => {
                vec![term("JSON scratch and tape", 1, JSON_BYTES, "simd-json's copy and index")]
            }
            Validator::Fast(Kernel::Scalar) => vec![kernel],
            Validator::Fast(_) => {
                let (logs, each) = (self.connections_max.min(LOGS as u64), logs_bytes(1) as u64);
                vec![kernel, term("verdict logs", logs, each, "verdicts on bodies not whole yet")]
            }
        }
    }
}

fn term(name: &'static str, count: u64, each_bytes: u64, why: &'static str) -> Term {
    Term { name, count, each_bytes, why }
}

/// One consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Who holds it.
    pub name: &'static str,
    /// How many blocks.
    pub count: u64,
    /// Bytes of each.
    pub each_bytes: u64,
    /// What it is for.
    pub why: &'static str,
}

impl Term {
    /// Bytes of all its blocks.
    pub fn bytes(&self) -> u64 {
        self.count * self.each_bytes
    }
}

/// All consumers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Number of shards.
    pub shards: u64,
    /// What each shard holds.
    pub per_shard: Vec<Term>,
    /// What the process holds once.
    pub fixed: Vec<Term>,
}

impl MemoryPlan {
    /// Bytes of one shard.
    pub fn shard_bytes(&self) -> u64 {
        self.per_shard.iter().map(Term::bytes).sum()
    }

    /// Bytes that do not grow with the shards.
    pub fn fixed_bytes(&self) -> u64 {
        self.fixed.iter().map(Term::bytes).sum()
    }

    /// Bytes of everything.
    pub fn total_bytes(&self) -> u64 {
        self.shards * self.shard_bytes() + self.fixed_bytes()
    }
}

/// What of the variable quantities the operator fixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fixed {
    /// `connections_max` was given.
    pub connections_max: bool,
    /// `body_budget_bytes` was given.
    pub body_budget_bytes: bool,
}

/// Shrinks what the operator left open until the sum fits `bound_bytes`; what fits already stays, for a
/// bound is not a wish.
///
/// # Errors
/// The least bound in bytes that would do.
pub fn fit(mut sizes: Sizes, fixed: Fixed, bound_bytes: u64) -> Result<Sizes, u64> {
    if sizes.plan().total_bytes() <= bound_bytes {
        return Ok(sizes);
    }
    let (connections_wish, budget_wish) = (sizes.connections_max, sizes.body_budget_bytes);
    if !fixed.connections_max {
        sizes.connections_max = CONNECTIONS_MIN.min(connections_wish);
    }
    if !fixed.body_budget_bytes {
        sizes.body_budget_bytes = BODY_BUDGET_BYTES_MIN.min(budget_wish);
    }
    let least = sizes.plan().total_bytes();
    let Some(spare) = bound_bytes.checked_sub(least) else { return Err(least) };
    // Half of what is left over the minimum goes to bodies, the rest to connections.
    let mut spare = spare / sizes.shards;
    if !fixed.body_budget_bytes {
        let share = if fixed.connections_max { spare } else { spare / 2 };
        let more = (share / MIB * MIB).min(budget_wish - sizes.body_budget_bytes);
        sizes.body_budget_bytes += more;
        spare -= more;
    }
    if !fixed.connections_max {
        let one_more = Sizes { connections_max: sizes.connections_max + 1, ..sizes };
        let each = one_more.plan().shard_bytes() - sizes.plan().shard_bytes();
        sizes.connections_max += (spare / each).min(connections_wish - sizes.connections_max);
    }
    Ok(sizes)
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| format!("{:.2}", bytes as f64 / MIB as f64);
        let row = |out: &mut fmt::Formatter<'_>, name: &str, blocks: &str, bytes: u64, why: &str| {
            let line = format!("  {name:<22} {blocks:>16} {bytes:>14} {:>10}  {why}", mib(bytes));
            writeln!(out, "{}", line.trim_end())
        };
        let terms = |out: &mut fmt::Formatter<'_>, terms: &[Term]| {
            terms.iter().try_for_each(|term| {
                let blocks =
                    format!("{} x {}", term.count, units::bytes(term.each_bytes).replace(" bytes", " B"));
                row(out, term.name, &blocks, term.bytes(), term.why)
            })
        };
        writeln!(out, "memory of each shard {:>35} {:>10}", "bytes", "MiB")?;
        terms(out, &self.per_shard)?;
        row(out, "sum of a shard", "", self.shard_bytes(), "")?;
        writeln!(out, "memory of the process")?;
        row(out, "shards", &format!("{} shard(s)", self.shards), self.shards * self.shard_bytes(), "")?;
        terms(out, &self.fixed)?;
        row(out, "total", "", self.total_bytes(), "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Sizes = Sizes {
        shards: 2,
        connections_max: CONNECTIONS,
        receive_buffers: RECEIVE_BUFFERS,
        body_budget_bytes: BODY_BUDGET_BYTES,
        batch_bytes_max: 8 * MIB,
        executor_io_bytes: EXECUTOR_IO_BYTES,
        scanner: Validator::Exact,
        schemas: 0,
        balance: false,
        glommio: false,
        kafka: None,
        http: None,
        replay_bytes: None,
    };

    #[test]
    fn the_total_is_the_sum_of_what_is_printed() {
        let plan = DEFAULT.plan();
        let text = plan.to_string();
        let printed = |line: &str| -> Option<u64> { line.get(41..56)?.trim().parse().ok() };
        let rows: Vec<(&str, u64)> =
            text.lines().filter_map(|line| Some((line.get(..24)?.trim(), printed(line)?))).collect();
        let sum: u64 = rows.iter().take_while(|(name, _)| *name != "sum of a shard").map(|row| row.1).sum();
        let find =
            |name: &str| rows.iter().find(|row| row.0 == name).unwrap_or_else(|| panic!("{name}\n{text}")).1;
        assert_eq!(find("sum of a shard"), sum);
        assert_eq!(find("total"), 2 * sum + PROCESS_BYTES);
        assert_eq!(plan.total_bytes(), 2 * sum + PROCESS_BYTES);
        assert_eq!(rows.len(), plan.per_shard.len() + plan.fixed.len() + 3);
        assert!(text.lines().all(|line| line.trim_end() == line));
    }

    #[test]
    fn fitting_shrinks_what_is_open_and_nothing_else() {
        let total = DEFAULT.plan().total_bytes();
        assert_eq!(fit(DEFAULT, Fixed::default(), total), Ok(DEFAULT));
        assert_eq!(fit(DEFAULT, Fixed::default(), u64::MAX), Ok(DEFAULT));
        let least = fit(DEFAULT, Fixed::default(), 0).unwrap_err();
        for bound in [least, least + 1, least + 50 * MIB, total - 1] {
            let sizes = fit(DEFAULT, Fixed::default(), bound).unwrap();
            assert!(sizes.plan().total_bytes() <= bound);
            assert!(
                sizes.connections_max >= CONNECTIONS_MIN && sizes.body_budget_bytes >= BODY_BUDGET_BYTES_MIN
            );
        }
        assert_eq!(fit(DEFAULT, Fixed::default(), least - 1), Err(least));
        let glommio = Sizes { glommio: true, ..DEFAULT };
        assert!(fit(glommio, Fixed::default(), total - MIB).unwrap().plan().total_bytes() < total);
        let both = Fixed { connections_max: true, body_budget_bytes: true };
        assert_eq!(fit(DEFAULT, both, total - 1), Err(total));
        let one = Fixed { connections_max: true, body_budget_bytes: false };
        let sizes = fit(DEFAULT, one, total - 10 * MIB).unwrap();
        assert_eq!(
            (sizes.connections_max, sizes.body_budget_bytes),
            (CONNECTIONS, BODY_BUDGET_BYTES - 5 * MIB)
        );
    }

    #[test]
    fn the_kafka_sink_is_in_the_sum() {
        let kafka = KafkaSizes {
            brokers: 2,
            topics: 3,
            partitions: 10,
            slots: 20,
            table_bytes: 5 * KIB,
            codec: Codec::Lz4,
            tls: true,
            keys: true,
        };
        let with = Sizes { kafka: Some(kafka), ..DEFAULT }.plan();
        let more = with.shard_bytes() - DEFAULT.plan().shard_bytes();
        let arena = DEFAULT.arena_bytes();
        let records = 2 * (arena + 5 * KIB + arena / RECORD_BYTES_MIN + FATES_BYTES);
        let links = 6 * (LINK_BYTES + LINK_TLS_BYTES);
        let producer = 3 * KIB + 10 * 512 + 20 * 256 + 3 * 6 * KIB;
        let metadata = 10 * 512 + 2 * KIB;
        let rest = (Lz4::MEMORY_BYTES + MAX_EVENT_BYTES) as u64;
        assert_eq!(more, records + links + producer + metadata + rest);
        let names: Vec<_> = with.per_shard.iter().map(|term| term.name).collect();
        assert!(names.contains(&"gathered records") && names.contains(&"Kafka links"), "{names:?}");
    }

    #[test]
    fn the_least_budget_holds_two_of_the_largest_requests() {
        use crate::core::wire::http1::limits;
        let largest = (limits::BODY_BYTES_MAX + limits::HEAD_BYTES_MAX) as u64;
        assert!(BODY_BUDGET_BYTES_MIN >= 2 * largest, "{BODY_BUDGET_BYTES_MIN} < 2 x {largest}");
    }

    #[test]
    fn an_arena_holds_the_largest_body() {
        assert_eq!(Sizes { batch_bytes_max: 64 * KIB, ..DEFAULT }.arena_bytes(), 9 * MIB);
        assert_eq!(Sizes { batch_bytes_max: 32 * MIB, ..DEFAULT }.arena_bytes(), 33 * MIB);
    }
}
