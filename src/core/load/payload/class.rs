//! The classes of requests: what is wrong with each, how often it is sent, and what the server should answer.
//!
//! The expectations are those of ringmill's README (tables of statuses, bounds of an event); a test puts every
//! class through the server's own engine. Other servers differ in taste, so each can be overridden
//! ([`with_status`]). Not the bytes: those are made in `malformed`.
use crate::load::series::{ClassId, Outcome};
use alloc::{format, string::String, vec::Vec};
use core::fmt;

/// What is wrong with the requests of a class, and so where it can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Nothing.
    Valid,
    /// One event; sent over HTTP and as lines.
    Event,
    /// One line among at least two good ones; sent over HTTP and as lines.
    Neighbour,
    /// The HTTP message around good events.
    Message,
    /// Nothing in the bytes, which come slowly; sent over HTTP and as lines.
    Slow,
    /// Nothing in the bytes, which stop in the middle; over lines nobody would answer for them.
    Torn,
}

/// What becomes of the connection behind the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It takes further requests.
    Lives,
    /// It ends: nothing may be sent behind this request, and whoever sent it opens another connection.
    Closes,
}

/// Which outcomes are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    /// Statuses, 0 for an empty place.
    statuses: [u16; 4],
    /// The end of the connection without any reply is right.
    silence: bool,
    /// What becomes of the connection.
    pub then: Then,
}

impl Expect {
    /// What a valid request deserves: 200, 201, 202 or 204.
    pub const SUCCESS: Expect = Expect { statuses: [200, 201, 202, 204], silence: false, then: Then::Lives };
    /// The connection ends without a reply.
    pub const SILENCE: Expect = Expect { statuses: [0; 4], silence: true, then: Then::Closes };

    /// Exactly this status.
    pub const fn status(status: u16, then: Then) -> Expect {
        Expect { statuses: [status, 0, 0, 0], silence: false, then }
    }

    /// Whether `outcome` is right. How the connection goes on is not part of it.
    ///
    /// Over lines a request has the status that its lines come to: 200 when each was taken, 207 when some, 400
    /// when none was.
    #[inline]
    pub fn is_met_by(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Status(status) => status != 0 && self.statuses.contains(&status),
            Outcome::Closed | Outcome::Reset => self.silence,
            Outcome::Timeout | Outcome::BadReply | Outcome::ConnectFailed => false,
        }
    }

    /// The expected statuses.
    pub fn statuses(&self) -> impl Iterator<Item = u16> + '_ {
        self.statuses.iter().copied().filter(|&status| status != 0)
    }
}

impl fmt::Display for Expect {
    /// `200 or 202`, `400, then closes`, `no reply`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, status) in self.statuses().enumerate() {
            write!(f, "{}{status}", if at > 0 { " or " } else { "" })?;
        }
        match (self.silence, self.then) {
            (true, _) => f.write_str("no reply"),
            (false, Then::Closes) => f.write_str(", then closes"),
            (false, Then::Lives) => Ok(()),
        }
    }
}

/// One class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// Its number, which is its place in [`ALL`].
    pub id: ClassId,
    /// Its name in options and reports (`snake_case`).
    pub name: &'static str,
    /// What its requests are, for people.
    pub what: &'static str,
    /// What is wrong.
    pub scope: Scope,
    /// How often it is drawn, relative to other malformed classes.
    ///
    /// What costs a connection, holds one up, or weighs as much as five hundred others is drawn seldom: a mix of
    /// one in five must not become a test of connecting, nor of the network's width.
    pub weight: u16,
    /// What the server should answer.
    pub expected: Expect,
}

impl Class {
    /// Whether it can be sent without HTTP.
    pub fn fits_lines(&self) -> bool {
        !matches!(self.scope, Scope::Message | Scope::Torn)
    }
}

/// The statuses of an event that is refused alone, where the request holds good ones beside it or none.
const ALONE: Expect = Expect::status(400, Then::Lives);
const BESIDE_GOOD: Expect = Expect::status(207, Then::Lives);

const COMMON: u16 = 8;
const SELDOM: u16 = 1;

/// Declares the classes from one list, so that number and place cannot drift apart.
macro_rules! classes {
    ($($number:literal $name:ident $scope:ident $weight:ident $expected:expr, $what:literal;)*) => {
        /// Every class with what is expected when a request holds one event; the index is the id.
        pub const ALL: &[Class] = &[$(Class {
            id: $number,
            name: stringify!($name),
            what: $what,
            scope: Scope::$scope,
            weight: $weight,
            expected: $expected,
        }),*];
    };
}

classes! {
    0 valid Valid COMMON Expect::SUCCESS, "good events";
    1 cut_json Event COMMON ALONE, "an event cut off at a random byte";
    2 bad_utf8 Event COMMON ALONE, "a string with a byte that UTF-8 does not have";
    3 bad_escape Event COMMON ALONE, "a string with an escape that JSON does not have";
    4 lone_surrogate Event COMMON ALONE, "a string with half of a surrogate pair";
    5 control_character Event COMMON ALONE, "a string with a raw control character";
    6 bad_number Event COMMON ALONE, "a number that JSON does not have, like 01 or NaN";
    7 missing_colon Event COMMON ALONE, "a key without its colon";
    8 trailing_data Event COMMON ALONE, "more text behind the event's end";
    9 not_an_object Event COMMON ALONE, "a number, string, null or bare word where an event is due";
    10 bom Event COMMON ALONE, "a byte order mark before the event";
    11 depth_bomb Event COMMON ALONE, "arrays nested 100 to 4000 deep";
    12 oversized_event Event SELDOM ALONE, "an event of 256 KiB and some bytes";
    13 garbage_line Neighbour COMMON BESIDE_GOOD, "a line of garbage among good ones";
    14 no_event Message COMMON ALONE, "a body without any event";
    15 bad_chunk_size Message SELDOM CLOSES, "a chunk whose size is no hexadecimal number";
    16 chunk_overrun Message SELDOM CLOSES, "a chunk longer than its size";
    17 duplicate_content_length Message SELDOM CLOSES, "two lengths that differ";
    18 length_and_chunked Message SELDOM CLOSES, "a length and the chunked coding";
    19 missing_length Message SELDOM Expect::status(411, Then::Closes), "a POST that does not say how long it is";
    20 body_too_large Message SELDOM Expect::status(413, Then::Closes), "a length over 8 MiB";
    21 head_too_large Message SELDOM Expect::status(431, Then::Closes), "a head over 16 KiB";
    22 missing_host Message SELDOM CLOSES, "HTTP/1.1 without Host";
    23 bad_header Message SELDOM CLOSES, "a header line that is folded, unnamed or holds a NUL";
    24 bad_version Message SELDOM Expect::status(505, Then::Closes), "HTTP/2.0 in a request line";
    25 slow_body Slow SELDOM Expect::SUCCESS, "good events whose second half comes later";
    26 reset_mid_body Torn SELDOM Expect::SILENCE, "a connection reset in the middle of the body";
    27 close_mid_body Torn SELDOM Expect::SILENCE, "a connection whose sending side ends in the middle of the body";
}

const CLOSES: Expect = Expect::status(400, Then::Closes);

/// The class of this name.
pub fn by_name(name: &str) -> Option<&'static Class> {
    ALL.iter().find(|class| class.name == name)
}

/// All classes as they are expected of requests of `events` events.
///
/// `all_or_nothing`: the server was asked to store all of a request or nothing (`?partial=reject`), so it says
/// 400 where it would say 207.
pub fn expected(events: u32, all_or_nothing: bool) -> Vec<Class> {
    ALL.iter()
        .map(|class| {
            let mut class = *class;
            let has_good = class.scope == Scope::Neighbour || class.scope == Scope::Event && events > 1;
            if has_good {
                class.expected = if all_or_nothing { ALONE } else { BESIDE_GOOD };
            }
            class
        })
        .collect()
}

/// Takes `name=NNN` (`--class-status`) over into `classes`: that class is answered with exactly this status.
///
/// # Errors
/// What is wrong with the text, and what the classes are.
pub fn with_status(classes: &mut [Class], text: &str) -> Result<(), String> {
    let (name, status) = text.split_once('=').ok_or_else(|| {
        format!("`{text}` is no expectation of a class; write NAME=STATUS, like bad_utf8=422")
    })?;
    let Some(class) = classes.iter_mut().find(|class| class.name == name.trim()) else {
        return Err(format!("there is no class `{}`; the classes are {}", name.trim(), names()));
    };
    match status.trim().parse() {
        Ok(status @ 200..=599) => {
            class.expected = Expect::status(status, class.expected.then);
            Ok(())
        }
        _ => Err(format!("`{}` in `{text}` is no status; write a number from 200 to 599", status.trim())),
    }
}

/// The names of all classes, separated by commas.
pub fn names() -> String {
    let names: Vec<&str> = ALL.iter().map(|class| class.name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use std::collections::HashSet;

    #[test]
    fn ids_are_places_and_names_differ() {
        let mut seen = HashSet::new();
        for (at, class) in ALL.iter().enumerate() {
            assert_eq!(usize::from(class.id), at, "{}", class.name);
            assert!(seen.insert(class.name), "twice: {}", class.name);
            assert!(class.weight > 0, "{} would never be sent", class.name);
            assert_eq!(by_name(class.name), Some(class));
        }
        assert_eq!(ALL[0].scope, Scope::Valid);
        assert!(ALL.len() > 14, "at least fourteen malformed ones");
    }

    #[test]
    fn outcomes() {
        let closes = Expect::status(400, Then::Closes);
        for (expect, outcome, met) in [
            (Expect::SUCCESS, Outcome::Status(202), true),
            (Expect::SUCCESS, Outcome::Status(204), true),
            (Expect::SUCCESS, Outcome::Status(207), false),
            (Expect::SUCCESS, Outcome::Status(503), false),
            (Expect::SUCCESS, Outcome::Closed, false),
            (closes, Outcome::Status(400), true),
            (closes, Outcome::Status(200), false),
            (closes, Outcome::Status(0), false),
            (closes, Outcome::Closed, false),
            (Expect::SILENCE, Outcome::Closed, true),
            (Expect::SILENCE, Outcome::Reset, true),
            (Expect::SILENCE, Outcome::Status(200), false),
            (Expect::SILENCE, Outcome::Status(0), false),
            (Expect::SILENCE, Outcome::Timeout, false),
            (Expect::SILENCE, Outcome::ConnectFailed, false),
        ] {
            assert_eq!(expect.is_met_by(outcome), met, "{expect:?} {outcome:?}");
        }
    }

    #[test]
    fn expectations_depend_on_the_company() {
        let of = |events, all_or_nothing, name: &str| {
            let classes = expected(events, all_or_nothing);
            classes.iter().find(|class| class.name == name).unwrap().expected.to_string()
        };
        assert_eq!(of(1, false, "bad_utf8"), "400");
        assert_eq!(of(10, false, "bad_utf8"), "207");
        assert_eq!(of(10, true, "bad_utf8"), "400");
        assert_eq!(of(1, false, "garbage_line"), "207");
        assert_eq!(of(1, true, "garbage_line"), "400");
        assert_eq!(of(10, false, "bad_chunk_size"), "400, then closes");
        assert_eq!(of(10, true, "valid"), "200 or 201 or 202 or 204");
        assert_eq!(of(10, true, "reset_mid_body"), "no reply");
    }

    #[test]
    fn a_status_can_be_overridden() {
        let mut classes = expected(1, false);
        with_status(&mut classes, "bad_utf8=422").unwrap();
        with_status(&mut classes, " missing_length = 400 ").unwrap();
        assert_eq!(classes[2].expected, Expect::status(422, Then::Lives));
        assert_eq!(classes[19].expected, Expect::status(400, Then::Closes));
        for (text, says) in [
            ("bad_utf8", "NAME=STATUS"),
            ("nonsense=400", "cut_json"),
            ("bad_utf8=99", "200 to 599"),
            ("bad_utf8=", "200 to 599"),
        ] {
            let error = with_status(&mut classes, text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
