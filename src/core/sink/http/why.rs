//! What can go wrong between us and an HTTP target, in words for three readers: replies, logs, `/readyz`.
use core::fmt;

/// Why there is no connection, or no longer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The name has no address.
    Unresolved,
    /// Nobody listens there.
    Refused,
    /// Closed by the other side, or the way there broke.
    Closed,
    /// No answer in time.
    Timeout,
    /// The certificate is not trusted, or ours is not.
    Certificate,
    /// It does not speak HTTP/1.1, or TLS, or against their rules.
    Protocol,
    /// Anything else, by the system's error number.
    System(i32),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trouble::Unresolved => "the name has no address",
            Trouble::Refused => "connection refused",
            Trouble::Closed => "connection closed by the target",
            Trouble::Timeout => "no answer in time",
            Trouble::Certificate => "certificate not trusted",
            Trouble::Protocol => "answers against the protocol",
            Trouble::System(errno) => return write!(f, "system error {errno}"),
        })
    }
}

/// Why a target did not take events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It answered so, to a request or for the event.
    Status(u16),
    /// The connection was lost, or none could be had.
    Trouble(Trouble),
    /// A 2xx that does not say what became of each event.
    NoVerdict,
    /// It was still waiting for its turn when its time was over.
    Waited,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Status(status) => write!(f, "answered {status}"),
            Why::Trouble(trouble) => trouble.fmt(f),
            Why::NoVerdict => f.write_str("answered without a verdict for each event"),
            Why::Waited => f.write_str("did not come to it in time"),
        }
    }
}

/// Why nothing is sent to a target now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// The first connection is still being made.
    Starting,
    /// No connection can be made.
    Unreachable(Trouble),
    /// It refuses requests as they are configured; tried again now and then.
    Refuses(u16),
}

impl NotReady {
    /// What, and how to mend it; in words that need no formatting.
    pub const fn reason(self) -> &'static str {
        match self {
            NotReady::Starting => "still connecting to the HTTP target; retry",
            NotReady::Unreachable(trouble) => match trouble {
                Trouble::Unresolved => "the HTTP target cannot be reached: the name has no address",
                Trouble::Refused => "the HTTP target cannot be reached: connection refused",
                Trouble::Closed => "the HTTP target cannot be reached: it closes the connection",
                Trouble::Timeout => "the HTTP target cannot be reached: no answer in time",
                Trouble::Certificate => "the HTTP target cannot be reached: certificate not trusted",
                Trouble::Protocol => "the HTTP target cannot be reached: it answers against the protocol",
                Trouble::System(_) => {
                    "the HTTP target cannot be reached: a system error; see the server's log"
                }
            },
            NotReady::Refuses(status) => match status {
                401 | 407 => "the HTTP target refuses our credentials: mend http.header_file or http.user",
                403 => "the HTTP target does not let us write: grant it, or mend http.header_file",
                404 | 405 | 410 => "the HTTP target does not take events at that path: mend --sink",
                300..=399 => "the HTTP target redirects: give the address that it names in --sink",
                _ => "the HTTP target refuses requests as they are configured; see the server's log",
            },
        }
    }
}
