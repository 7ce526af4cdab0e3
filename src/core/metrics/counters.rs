//! What happened since start, as plain integers that only rise.
//!
//! One table below makes the struct, its sum and the listing, so that a counter cannot be kept and yet
//! forgotten in the exposition.

/// One counter as the outside sees it.
#[derive(Clone, Copy)]
pub struct Field {
    /// Metric name, ending in `_total`. Fields of one name stand side by side.
    pub name: &'static str,
    /// One sentence for `# HELP`.
    pub help: &'static str,
    /// A label that tells fields of one name apart.
    pub label: Option<(&'static str, &'static str)>,
    /// Reads the value.
    pub get: fn(&Counters) -> u64,
}

macro_rules! counters {
    ($($field:ident: $name:literal, $help:literal $(, $key:literal = $value:literal)?;)*) => {
        /// What happened on one shard since start. Each field is incremented by its owner alone.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $(#[doc = $help] $(#[doc = concat!(" (", $key, " `", $value, "`)")])? pub $field: u64,)*
            /// Replies by HTTP status.
            pub requests: Requests,
        }

        impl Counters {
            /// Every counter but `requests`, in the order of the exposition.
            pub const FIELDS: &[Field] = &[$(Field {
                name: concat!("ringmill_", $name, "_total"),
                help: $help,
                label: counters!(@label $($key, $value)?),
                get: |counters| counters.$field,
            },)*];

            /// Adds another shard's counters.
            pub fn merge(&mut self, other: &Counters) {
                $(self.$field = self.$field.saturating_add(other.$field);)*
                self.requests.merge(&other.requests);
            }
        }
    };
    (@label) => { None };
    (@label $key:literal, $value:literal) => { Some(($key, $value)) };
}

counters! {
    events_received: "events_received", "Events found in requests and lines, good or bad.";
    events_stored: "events_stored", "Events that the sink settled.";
    events_quarantined: "events_quarantined", "Refused events that were kept verbatim in the quarantine.";
    events_rejected: "events_rejected", "Events refused and not kept.";
    events_shed: "events_shed", "Events turned away for lack of room or because the sink failed.";
    bytes_received: "bytes_received", "Bytes read from ingest connections.";
    bytes_sent: "bytes_sent", "Bytes of replies given to ingest connections.";
    bytes_stored: "bytes_stored", "Bytes of stored events, one line end each included.";
    bytes_written: "bytes_written", "Bytes written to the sink, headers and padding included.";
    lines_received: "lines_received", "Non-blank lines received on line listeners.";
    connections_opened: "connections_opened", "Connections opened here, whichever shard accepted them.";
    connections_closed: "connections_closed", "Connections closed, by whichever side.";
    connections_refused: "connections_refused", "Connections closed at once for want of a slot.";
    connections_reset: "connections_reset", "Connections that the peer broke off or that failed.";
    accept_errors: "accept_errors", "Failed accepts (no file descriptor left, and the like).";
    timeouts_head: "timeouts", "Connections closed for being too slow.", "kind" = "head";
    timeouts_body: "timeouts", "Connections closed for being too slow.", "kind" = "body";
    timeouts_idle: "timeouts", "Connections closed for being too slow.", "kind" = "idle";
    timeouts_reply: "timeouts", "Connections closed for being too slow.", "kind" = "reply";
    reads_paused: "reads_paused", "Times that a connection's reading was paused for back-pressure.";
    commits: "commits", "Commits that the sink settled.";
    commit_failures: "commit_failures", "Commits that the sink failed.";
    segments_opened: "segments_opened", "Segments put into use.";
    segments_failed: "segments_failed", "Segments retired after a failed write or flush.";
    quarantine_dropped: "quarantine_dropped", "Refused events that the full quarantine could not keep.";
}

/// Which deadline a peer missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// The head of a request was not there in time.
    Head,
    /// The body came slower than its floor.
    Body,
    /// Nothing came at all between requests.
    Idle,
    /// The reply was not read in time.
    Reply,
}

impl Counters {
    /// Counts a connection closed for missing a deadline.
    pub fn timeout(&mut self, kind: Timeout) {
        match kind {
            Timeout::Head => self.timeouts_head += 1,
            Timeout::Body => self.timeouts_body += 1,
            Timeout::Idle => self.timeouts_idle += 1,
            Timeout::Reply => self.timeouts_reply += 1,
        }
    }

    /// Both sides of the books, `in_flight` being the events whose fate is open.
    pub fn books(&self, in_flight: u64) -> Books {
        let outcomes =
            [self.events_stored, self.events_quarantined, self.events_rejected, self.events_shed, in_flight];
        Books {
            received: self.events_received,
            accounted: outcomes.iter().fold(0u64, |sum, n| sum.saturating_add(*n)),
        }
    }
}

/// Events that came in beside events whose whereabouts are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Books {
    /// Events received.
    pub received: u64,
    /// Stored, quarantined, rejected, shed or in flight.
    pub accounted: u64,
}

impl Books {
    /// Whether no event was lost and none counted twice.
    pub const fn balanced(self) -> bool {
        self.received == self.accounted
    }
}

/// The statuses that have a place of their own; any other is counted as `other`.
const CODES: [u16; 20] =
    [200, 202, 204, 207, 400, 404, 405, 408, 411, 413, 414, 415, 417, 429, 431, 500, 501, 503, 505, 507];

/// Replies by HTTP status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    counts: [u64; CODES.len() + 1],
}

impl Requests {
    /// Counts one reply.
    pub fn count(&mut self, status: u16) {
        self.add(status, 1);
    }

    /// Counts `n` replies of one status.
    pub fn add(&mut self, status: u16, n: u64) {
        // The likely statuses stand first in the table: one or two comparisons.
        let slot = CODES.iter().position(|code| *code == status).unwrap_or(CODES.len());
        self.counts[slot] = self.counts[slot].saturating_add(n);
    }

    /// Replies of that status; of all unlisted ones together when it has no place of its own.
    pub fn get(&self, status: u16) -> u64 {
        self.counts[CODES.iter().position(|code| *code == status).unwrap_or(CODES.len())]
    }

    /// Replies of every status.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0u64, |sum, n| sum.saturating_add(*n))
    }

    /// (status, replies) of those that occurred; status `None` stands for all that have no place.
    pub fn each(&self) -> impl Iterator<Item = (Option<u16>, u64)> + '_ {
        let codes = CODES.into_iter().map(Some).chain([None]);
        codes.zip(self.counts).filter(|(_, n)| *n > 0)
    }

    /// Adds another shard's replies.
    pub fn merge(&mut self, other: &Requests) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine = mine.saturating_add(theirs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books() {
        let sound = Counters {
            events_received: 100,
            events_stored: 60,
            events_quarantined: 20,
            events_rejected: 5,
            events_shed: 10,
            ..Counters::default()
        };
        let cases = [
            ("at rest with all known", Counters { events_received: 95, ..sound }, 0, true),
            ("busy", sound, 5, true),
            ("one lost", sound, 4, false),
            ("one twice", sound, 6, false),
            ("nothing yet", Counters::default(), 0, true),
        ];
        for (what, counters, in_flight, balanced) in cases {
            assert_eq!(counters.books(in_flight).balanced(), balanced, "{what}");
        }
    }

    #[test]
    fn every_status_is_counted_once() {
        let mut requests = Requests::default();
        for status in 100..600 {
            requests.count(status);
        }
        assert_eq!(requests.total(), 500);
        assert_eq!(requests.get(503), 1);
        assert_eq!(requests.get(418), 500 - CODES.len() as u64);
        assert_eq!(requests.each().count(), CODES.len() + 1);
        assert_eq!(Requests::default().each().count(), 0);
    }

    #[test]
    fn timeouts_by_kind() {
        let mut counters = Counters::default();
        for (n, kind) in [Timeout::Head, Timeout::Body, Timeout::Idle, Timeout::Reply].into_iter().enumerate()
        {
            (0..=n).for_each(|_| counters.timeout(kind));
        }
        let listed = Counters::FIELDS.iter().filter(|f| f.name == "ringmill_timeouts_total");
        let listed = listed.map(|f| (f.label.unwrap().1, (f.get)(&counters)));
        assert!(listed.eq([("head", 1), ("body", 2), ("idle", 3), ("reply", 4)]));
    }

    #[test]
    fn merging_adds_every_field() {
        let mut one = Counters { events_stored: 3, timeouts_idle: 1, ..Counters::default() };
        one.requests.add(207, 4);
        let mut sum = one;
        sum.merge(&one);
        for field in Counters::FIELDS {
            assert_eq!((field.get)(&sum), 2 * (field.get)(&one), "{}", field.name);
        }
        assert_eq!(sum.requests.get(207), 8);
    }
}
