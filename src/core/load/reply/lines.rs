//! What ringmill answers to lines with `--lines-replies`: one JSON object a settled batch, one a line.
//!
//! Reads what [`crate::reply::Composer::lines`] writes and no other JSON.
use super::BadReply;
use crate::reply::ERRORS_MAX;
use alloc::vec::Vec;
use memchr::{memchr, memmem};

/// Longest reply to lines: ringmill's have 14 KiB at most.
pub(super) const LINE_REPLY_BYTES_MAX: usize = 64 << 10;

/// The verdict on a batch of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineReply<'a> {
    /// All lines up to this one are settled, counted from 1 on this connection.
    pub through: u64,
    /// Their level was reached. Otherwise nothing since the reply before is promised.
    pub acked: bool,
    rejected: &'a [u8],
}

impl LineReply<'_> {
    /// The numbers of the refused lines, rising: the first hundred.
    pub fn rejected(&self) -> impl Iterator<Item = u64> + '_ {
        const LINE: &[u8] = b"{\"line\":";
        memmem::find_iter(self.rejected, LINE).filter_map(|at| number(&self.rejected[at + LINE.len()..]))
    }

    /// Up to which line it is told what became of each: a reply lists a hundred refusals at most, and behind the
    /// hundredth nobody can tell the good from the bad.
    pub fn told_through(&self) -> u64 {
        self.rejected().nth(ERRORS_MAX - 1).unwrap_or(self.through)
    }
}

/// Reads the replies to lines of one connection.
#[derive(Clone, Debug)]
pub struct LineReplies {
    carry: Vec<u8>,
    /// Bytes in front of the present line.
    offset: u64,
    dead: Option<BadReply>,
    /// The line in `carry` was handed out.
    spent: bool,
}

impl LineReplies {
    /// Takes all the memory it will need: 64 KiB.
    pub fn new() -> LineReplies {
        LineReplies { carry: Vec::with_capacity(LINE_REPLY_BYTES_MAX), offset: 0, dead: None, spent: false }
    }

    /// Begins anew: another connection.
    pub fn reset(&mut self) {
        self.carry.clear();
        (self.offset, self.dead, self.spent) = (0, None, false);
    }

    /// The next reply that ends in `data`, which shrinks to what is behind it; `None` when there is none, all of
    /// `data` being taken in. Call it until then.
    pub fn next<'s, 'd: 's>(&'s mut self, data: &mut &'d [u8]) -> Option<Result<LineReply<'s>, BadReply>> {
        if let Some(bad) = self.dead {
            return (!core::mem::take(data).is_empty()).then_some(Err(bad));
        }
        if core::mem::take(&mut self.spent) {
            self.carry.clear();
        }
        let end = memchr(b'\n', data);
        let (head, tail) = data.split_at(end.map_or(data.len(), |at| at + 1));
        *data = tail;
        if self.carry.len() + head.len() > LINE_REPLY_BYTES_MAX {
            *data = &[];
            let why = "a line of replies is longer than 64 KiB";
            return Some(Err(*self.dead.insert(BadReply { why, offset: self.offset })));
        }
        if end.is_none() || !self.carry.is_empty() {
            self.carry.extend_from_slice(head);
        }
        end?;
        let line = if self.carry.is_empty() { head } else { &self.carry[..] };
        let offset = self.offset;
        self.offset += line.len() as u64;
        self.spent = !self.carry.is_empty();
        match line_reply(line) {
            Some(reply) => Some(Ok(reply)),
            None => {
                let why = "a line that is no reply to lines, like {\"ack\":\"durable\",\"through\":4,\"rejected\":[]}";
                *data = &[];
                Some(Err(*self.dead.insert(BadReply { why, offset })))
            }
        }
    }
}

impl Default for LineReplies {
    fn default() -> LineReplies {
        LineReplies::new()
    }
}

/// Reads one reply. Quotes in its texts would be escaped, so what looks like a key is one.
fn line_reply(line: &[u8]) -> Option<LineReply<'_>> {
    const THROUGH: &[u8] = b",\"through\":";
    const REJECTED: &[u8] = b",\"rejected\":[";
    let ack = line.trim_ascii().strip_prefix(b"{\"ack\":")?.strip_suffix(b"]}")?;
    let acked = !ack.starts_with(b"null");
    let through = number(&ack[memmem::find(ack, THROUGH)? + THROUGH.len()..])?;
    let rejected = &ack[memmem::find(ack, REJECTED)? + REJECTED.len()..];
    Some(LineReply { through, acked, rejected })
}

/// The number at the front.
fn number(text: &[u8]) -> Option<u64> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    core::str::from_utf8(&text[..end]).ok()?.parse().ok()
}
