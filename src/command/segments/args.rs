//! `ringmill segments …` as typed.
use crate::config::raw::Raw;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What to do with a directory of segments.
#[derive(Clone, Debug, Args)]
pub struct SegmentsArgs {
    /// `ls`, `cat`, `verify` or `replay`.
    #[command(subcommand)]
    pub command: SegmentsCommand,
}

/// The commands over segments. They only read, also while a server writes; `replay` keeps a cursor beside them.
#[derive(Clone, Debug, Subcommand)]
pub enum SegmentsCommand {
    /// List the segments of each shard: events, sequence numbers, times, state
    Ls(LsArgs),
    /// Print stored events, byte for byte, one a line, shard by shard in order
    Cat(CatArgs),
    /// Check every byte of every segment, or what one receipt promised
    Verify(VerifyArgs),
    /// Send stored events to Kafka or over HTTP, in order, from where the last replay left off
    Replay(Box<ReplayArgs>),
}

/// `segments ls`
#[derive(Clone, Debug, Args)]
pub struct LsArgs {
    /// Directory of segments, as in `--sink segments:DIR`
    pub dir: PathBuf,
    /// Only this shard
    #[arg(long, value_name = "N")]
    pub shard: Option<u32>,
}

/// `segments cat`
#[derive(Clone, Debug, Args)]
pub struct CatArgs {
    /// Directory of segments, as in `--sink segments:DIR`
    pub dir: PathBuf,
    /// Only this shard
    #[arg(long, value_name = "N")]
    pub shard: Option<u32>,
    /// Only this stream
    #[arg(long, value_name = "S", value_parser = stream, conflicts_with = "quarantine")]
    pub stream: Option<String>,
    /// Only events with at least this sequence number, in each shard
    #[arg(long, value_name = "SEQ", conflicts_with = "quarantine")]
    pub from: Option<u64>,
    /// Print shard, stream and sequence number before each event, tab-separated
    #[arg(long, conflicts_with = "quarantine")]
    pub with_meta: bool,
    /// Print the quarantine instead: each refused event behind its header line, as stored
    #[arg(long)]
    pub quarantine: bool,
}

/// `segments verify`
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// Directory of segments, as in `--sink segments:DIR`
    pub dir: PathBuf,
    /// Only this shard
    #[arg(long, value_name = "N")]
    pub shard: Option<u32>,
    /// Say instead whether what this receipt promised is there; a whole reply will do too
    #[arg(long, value_name = "JSON")]
    pub receipt: Option<String>,
}

/// `segments replay`
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// Directory of segments, as in `--sink segments:DIR`
    pub dir: PathBuf,
    /// Where to, as `serve --sink` takes it: kafka:HOST:PORT[,HOST:PORT…]/TOPIC or http://HOST[:PORT][/PATH]
    #[arg(long, value_name = "SINK")]
    pub to: String,
    /// Only this shard
    #[arg(long, value_name = "N")]
    pub shard: Option<u32>,
    /// Only this stream
    #[arg(long, value_name = "S", value_parser = stream)]
    pub stream: Option<String>,
    /// Only events with at least this sequence number, in each shard
    #[arg(long, value_name = "SEQ")]
    pub from: Option<u64>,
    /// Events a second at most, such as 50k
    #[arg(long, value_name = "N")]
    pub rate: Option<String>,
    /// Begin anew, whatever was replayed before
    #[arg(long)]
    pub restart: bool,
    /// Go on where the last replay left off, though it names another target: the same cluster by another name
    #[arg(long, conflicts_with = "restart")]
    pub adopt: bool,
    /// How sockets are driven: uring, glommio or auto
    #[arg(long, value_name = "DRIVER", default_value = "auto", value_parser = ["uring", "glommio", "auto"])]
    pub driver: String,
    /// The settings of the Kafka sink, as `serve` takes them.
    #[arg(skip)]
    pub settings: Raw,
}

fn stream(text: &str) -> Result<String, String> {
    match ringmill_core::segment::StreamName::new(text.as_bytes()) {
        Some(_) => Ok(text.to_string()),
        None => Err("a stream's name is 1 to 64 of A-Z a-z 0-9 . _ -".to_string()),
    }
}
