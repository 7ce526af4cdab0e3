//! The answer to a `_bulk`, read as it comes: the status of each item, in the order of the events.
//!
//! It reads only what it needs, `items[].ACTION.status`, and keeps nothing of the rest, so an answer of any length
//! costs no memory. It is no JSON parser: what is not an answer to a bulk comes out as too few items, or too many,
//! and then none of it counts.
use alloc::vec::Vec;

/// Deeper than any answer goes.
const DEPTH_MAX: u32 = 32;
/// Longer than any name that matters.
const NAME_BYTES: usize = 8;

/// What became of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// It is in, now or since an earlier attempt: 2xx, and 409 for an id that is ours alone.
    Taken,
    /// To be sent again; whether it is known not to be in.
    Again {
        /// It is.
        sure: bool,
    },
    /// This very event is refused.
    Refused,
    /// We are.
    Denied,
}

impl Item {
    /// What a status of an item means.
    pub const fn of(status: u16) -> Item {
        match status {
            200..=299 | 409 => Item::Taken,
            429 | 503 => Item::Again { sure: true },
            500..=599 => Item::Again { sure: false },
            401 | 403 | 404 => Item::Denied,
            _ => Item::Refused,
        }
    }
}

/// Where the next byte belongs.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// Within the list of items.
    in_items: bool,
    /// The value of `items` comes next.
    at_items: bool,
    /// The value of an item's `status` comes next, or is being read.
    at_status: bool,
    begun: bool,
    ended: bool,
    broken: bool,
}

/// Reads one answer after the other.
#[derive(Debug)]
pub struct Bulk {
    place: Place,
    name: [u8; NAME_BYTES],
    name_len: usize,
    status: u32,
    has_status: bool,
    /// Statuses of the items so far.
    items: Vec<u16>,
    expected: usize,
}

impl Bulk {
    /// For answers of up to so many items: two bytes each.
    pub fn with_capacity(items_max: usize) -> Bulk {
        Bulk {
            place: Place::default(),
            name: [0; NAME_BYTES],
            name_len: 0,
            status: 0,
            has_status: false,
            items: Vec::with_capacity(items_max),
            expected: 0,
        }
    }

    /// Begins the answer to a request of so many events.
    pub fn begin(&mut self, expected: usize) {
        self.place = Place::default();
        self.items.clear();
        self.expected = expected;
    }

    /// Takes some of the body.
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.place.broken {
                return;
            }
            self.take(byte);
        }
    }

    /// The status of each event, if the answer said it of each and is complete.
    pub fn statuses(&self) -> Option<&[u16]> {
        let whole = self.place.ended && !self.place.broken && self.items.len() == self.expected;
        whole.then_some(&self.items)
    }

    fn take(&mut self, byte: u8) {
        if self.place.in_string {
            return self.take_text(byte);
        }
        match byte {
            b'"' => {
                self.place.in_string = true;
                self.name_len = 0;
            }
            b'{' | b'[' => self.open(byte),
            b'}' | b']' => self.close(byte),
            b':' => {
                let name = &self.name[..self.name_len.min(NAME_BYTES)];
                let is = |wanted: &[u8]| self.name_len == wanted.len() && name == wanted;
                self.place.at_items = self.place.depth == 1 && is(b"items");
                self.place.at_status = self.place.in_items && self.place.depth == 4 && is(b"status");
                if self.place.at_status {
                    (self.status, self.has_status) = (0, false);
                }
            }
            b',' => (self.place.at_items, self.place.at_status) = (false, false),
            b'0'..=b'9' if self.place.at_status => {
                self.status = (self.status * 10 + u32::from(byte - b'0')).min(9999);
                self.has_status = true;
            }
            _ => {}
        }
    }

    fn take_text(&mut self, byte: u8) {
        match (self.place.escaped, byte) {
            (false, b'"') => self.place.in_string = false,
            (false, b'\\') => {
                self.place.escaped = true;
                // No name that matters has an escape.
                self.name_len = NAME_BYTES + 1;
            }
            _ => {
                self.place.escaped = false;
                if let Some(place) = self.name.get_mut(self.name_len) {
                    *place = byte;
                }
                self.name_len = (self.name_len + 1).min(NAME_BYTES + 1);
            }
        }
    }

    fn open(&mut self, byte: u8) {
        let place = &mut self.place;
        if place.begun && place.depth == 0 || place.depth == DEPTH_MAX {
            place.broken = true;
            return;
        }
        place.begun = true;
        if place.depth == 1 && place.at_items && byte == b'[' {
            place.in_items = true;
        }
        (place.at_items, place.at_status) = (false, false);
        place.depth += 1;
        if place.in_items && place.depth == 3 {
            self.has_status = false;
        }
    }

    fn close(&mut self, byte: u8) {
        let place = &mut self.place;
        if place.depth == 0 {
            place.broken = true;
            return;
        }
        place.depth -= 1;
        place.at_status = false;
        match place.depth {
            0 => place.ended = true,
            1 if byte == b']' => place.in_items = false,
            2 if place.in_items => {
                if !self.has_status || self.items.len() == self.expected {
                    place.broken = true;
                    return;
                }
                self.items.push(self.status as u16);
                self.has_status = false;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec;
    use core::fmt::Write;

    fn read(pieces: &[&[u8]], expected: usize) -> Option<Vec<u16>> {
        let mut bulk = Bulk::with_capacity(expected);
        bulk.begin(expected);
        pieces.iter().for_each(|piece| bulk.feed(piece));
        bulk.statuses().map(<[u16]>::to_vec)
    }

    #[test]
    fn answers_are_read_whole_and_byte_by_byte() {
        let real = r#"{"took":30,"errors":true,"items":[{"create":{"_index":"a","_id":"0:1","status":201,
            "_shards":{"total":2,"status":999}}},{"create":{"_index":"items","_id":"status\":7","status":400,"error":
            {"type":"mapper_parsing_exception","reason":"failed [x] {y} \\","status":1,"caused_by":{"status":2}}}},
            {"index" : { "status" : 429 } }]}"#;
        for (text, expected, statuses) in [
            (real, 3, Some(vec![201, 400, 429])),
            (r#"{"items":[{"create":{"status":201}}]}"#, 1, Some(vec![201])),
            (r#"{"items":[{"create":{"status":201}}],"errors":false}"#, 1, Some(vec![201])),
            (r#"{"errors":false,"items":[]}"#, 0, Some(vec![])),
            (r#"{"items":[{"create":{"status":201}}]}"#, 2, None),
            (r#"{"items":[{"create":{"status":201}},{"create":{"status":201}}]}"#, 1, None),
            (r#"{"items":[{"create":{"state":201}}]}"#, 1, None),
            (r#"{"items":[{"create":{"status":201}}]"#, 1, None),
            (r#"{"x":{"items":[{"create":{"status":201}}]}}"#, 1, None),
            (r#"{"items":{"a":{"create":{"status":201}}}}"#, 1, None),
            (r#"]}"#, 0, None),
            ("", 0, None),
            ("not json", 0, None),
            (r#"{"items":[{"create":{"status":201}}]}{}"#, 1, None),
        ] {
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(read(&[text.as_bytes()], expected), statuses, "{text}");
            assert_eq!(read(&bytes, expected), statuses, "byte by byte: {text}");
        }
    }

    #[test]
    fn nothing_grows_or_panics_on_rubbish() {
        let deep = "[".repeat(100_000);
        assert_eq!(read(&[deep.as_bytes()], 1), None);
        let mut many = String::from(r#"{"items":["#);
        (0..10_000).for_each(|_| many.write_str(r#"{"a":{"status":99999999999}},"#).unwrap());
        let mut bulk = Bulk::with_capacity(10);
        bulk.begin(10);
        bulk.feed(many.as_bytes());
        assert_eq!((bulk.statuses(), bulk.items.capacity()), (None, 10));
        let mut chance = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let text: Vec<u8> =
                (0..chance.usize(0..60)).map(|_| b"{}[]\":,\\19 items status"[chance.usize(0..23)]).collect();
            read(&[&text], 2);
        }
    }

    #[test]
    fn each_status_has_its_meaning() {
        for (status, item) in [
            (200, Item::Taken),
            (201, Item::Taken),
            (409, Item::Taken),
            (400, Item::Refused),
            (413, Item::Refused),
            (401, Item::Denied),
            (403, Item::Denied),
            (404, Item::Denied),
            (429, Item::Again { sure: true }),
            (503, Item::Again { sure: true }),
            (500, Item::Again { sure: false }),
            (0, Item::Refused),
        ] {
            assert_eq!(Item::of(status), item, "{status}");
        }
    }
}
