//! How far an event has come when its sender is told that it was taken.

/// The promise behind a 2xx, weakest first, so that levels compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ack {
    /// Validated and in bounded memory; survives nothing.
    Accepted,
    /// Every write completed; survives the death of the process.
    Written,
    /// `fdatasync` succeeded after every byte; survives loss of power.
    Durable,
    /// Kafka `acks=all`; survives loss of the node.
    Replicated,
}

impl Ack {
    /// All levels, weakest first.
    pub const ALL: [Ack; 4] = [Ack::Accepted, Ack::Written, Ack::Durable, Ack::Replicated];

    /// The name used in requests, replies, flags and configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Ack::Accepted => "accepted",
            Ack::Written => "written",
            Ack::Durable => "durable",
            Ack::Replicated => "replicated",
        }
    }

    /// The level of that exact name.
    pub fn from_name(name: &[u8]) -> Option<Ack> {
        Ack::ALL.into_iter().find(|level| level.as_str().as_bytes() == name)
    }

    /// 200 where the promise survives loss of power, 202 where it does not.
    pub const fn http_status(self) -> u16 {
        match self {
            Ack::Accepted | Ack::Written => 202,
            Ack::Durable | Ack::Replicated => 200,
        }
    }
}
