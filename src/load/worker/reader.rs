//! What comes back: replies of either protocol, or nothing.

use std::collections::VecDeque;

use super::conn::Pending;
use crate::core::load::reply::{LineReplies, LineReply, Replies};
use crate::load::target::Speech;

/// An answer to the oldest request that has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Of HTTP. Over lines: 200 when each was taken, 207 when some, 400 when none, 503 when the commit failed,
    /// [`UNTOLD`].
    pub(super) status: u16,
    /// The server closes behind it.
    pub(super) close: bool,
}

/// The request was settled, but which of its lines were taken the server did not list.
pub(super) const UNTOLD: u16 = 0;

/// Bytes that are no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nonsense;

/// Reads what comes on one connection.
pub(super) enum Reader {
    /// Nothing is expected.
    None,
    Http(Box<Replies>),
    Lines(Box<Lines>),
}

impl Reader {
    /// `head`: every request is a HEAD.
    pub(super) fn new(speech: Speech, head: bool) -> Reader {
        match speech {
            Speech::Http => Reader::Http(Box::new(if head { Replies::to_head() } else { Replies::new() })),
            Speech::Lines { replies: true } => Reader::Lines(Box::default()),
            Speech::Lines { replies: false } => Reader::None,
        }
    }

    /// Begins anew: another connection.
    pub(super) fn reset(&mut self) {
        match self {
            Reader::None => {}
            Reader::Http(replies) => replies.reset(),
            Reader::Lines(lines) => {
                lines.replies.reset();
                lines.book = Book::default();
            }
        }
    }

    /// Takes bytes that came, and appends the answers that they complete, to requests of `flight` in order. Never
    /// more than the capacity of `answers` holds: more than were asked for are nonsense anyway.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        flight: &VecDeque<Pending>,
        answers: &mut Vec<Answer>,
    ) -> Result<(), Nonsense> {
        match self {
            Reader::None if bytes.is_empty() => Ok(()),
            Reader::None => Err(Nonsense),
            Reader::Http(replies) => {
                for reply in replies.feed(bytes) {
                    let reply = reply.map_err(|_| Nonsense)?;
                    if answers.len() == answers.capacity() {
                        break;
                    }
                    answers.push(Answer { status: reply.status, close: reply.close });
                }
                Ok(())
            }
            Reader::Lines(lines) => {
                loop {
                    let mut rest = bytes;
                    let Some(reply) = lines.replies.next(&mut rest) else { break };
                    let reply = reply.map_err(|_| Nonsense)?;
                    lines.book.settle(&reply, flight, answers)?;
                    bytes = &bytes[bytes.len() - rest.len()..];
                }
                Ok(())
            }
        }
    }

    /// The connection ended, `clean` or broken: appends the answer that ends with it, if there is one.
    pub(super) fn end(&mut self, clean: bool, answers: &mut Vec<Answer>) -> Result<(), Nonsense> {
        match self {
            Reader::Http(replies) if clean => match replies.end() {
                Ok(None) => Ok(()),
                Ok(Some(reply)) => {
                    answers.push(Answer { status: reply.status, close: true });
                    Ok(())
                }
                Err(_) => Err(Nonsense),
            },
            _ => Ok(()),
        }
    }

    /// Whether a reply has begun and is not complete.
    pub(super) fn in_reply(&self) -> bool {
        match self {
            Reader::Http(replies) => replies.in_reply(),
            _ => false,
        }
    }
}

/// Replies to lines, and where they stand.
#[derive(Default)]
pub(super) struct Lines {
    replies: LineReplies,
    book: Book,
}

/// Lines are settled by count, so that one reply may answer many requests, or part of one.
#[derive(Default)]
struct Book {
    /// Lines of requests that were answered.
    settled: u64,
    /// Refused lines of the oldest request that was not.
    refused: u32,
    /// A reply passed over lines of it without a word.
    untold: bool,
}

impl Book {
    fn settle(
        &mut self,
        reply: &LineReply<'_>,
        flight: &VecDeque<Pending>,
        answers: &mut Vec<Answer>,
    ) -> Result<(), Nonsense> {
        let mut left = flight.iter().skip(answers.len());
        while reply.through > self.settled {
            // Lines that nobody sent.
            let Some(request) = left.next() else { return Err(Nonsense) };
            let end = self.settled + u64::from(request.lines);
            let refused = reply.rejected().filter(|&line| line > self.settled && line <= end).count() as u32;
            self.refused += refused;
            self.untold |= reply.told_through() < end.min(reply.through);
            if reply.through < end {
                break;
            }
            let status = match (reply.acked, self.untold, self.refused) {
                (false, _, _) => 503,
                (true, true, _) => UNTOLD,
                (true, false, 0) => 200,
                (true, false, refused) if refused >= request.lines => 400,
                (true, false, _) => 207,
            };
            *self = Book { settled: end, ..Book::default() };
            answers.push(Answer { status, close: false });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(lines: &[u32]) -> VecDeque<Pending> {
        let pending = |&lines| Pending {
            class: 0,
            closes: false,
            lines,
            ids: 0,
            first_id: 0,
            intended_ns: 0,
            sent_ns: 0,
        };
        lines.iter().map(pending).collect()
    }

    fn statuses(answers: &mut Vec<Answer>) -> Vec<u16> {
        answers.drain(..).map(|answer| answer.status).collect()
    }

    #[test]
    fn lines_are_settled_by_count() {
        let mut reader = Reader::new(Speech::Lines { replies: true }, false);
        let mut answers = Vec::with_capacity(8);
        let reply = |through: u64, rejected: &str| {
            format!("{{\"ack\":\"durable\",\"through\":{through},\"rejected\":[{rejected}]}}\n")
        };
        let waiting = flight(&[1, 2, 1, 3]);
        reader.feed(reply(3, "{\"line\":3}").as_bytes(), &waiting, &mut answers).unwrap();
        assert_eq!(statuses(&mut answers), [200, 207]);
        // In two pieces, and the last request in two replies.
        let waiting = flight(&[1, 3]);
        let text = reply(5, "{\"line\":4},{\"line\":5}");
        reader.feed(&text.as_bytes()[..9], &waiting, &mut answers).unwrap();
        assert!(answers.is_empty());
        reader.feed(&text.as_bytes()[9..], &waiting, &mut answers).unwrap();
        assert_eq!(statuses(&mut answers), [400]);
        reader.feed(reply(7, "").as_bytes(), &flight(&[3]), &mut answers).unwrap();
        assert_eq!(statuses(&mut answers), [207]);
        // More than was sent.
        assert_eq!(reader.feed(reply(9, "").as_bytes(), &flight(&[]), &mut answers), Err(Nonsense));
        reader.reset();
        let failed = b"{\"ack\":null,\"through\":1,\"rejected\":[]}\n";
        reader.feed(failed, &flight(&[1]), &mut answers).unwrap();
        assert_eq!(statuses(&mut answers), [503]);
    }

    #[test]
    fn lines_behind_the_hundredth_refusal_are_not_judged() {
        let mut reader = Reader::new(Speech::Lines { replies: true }, false);
        let mut answers = Vec::with_capacity(8);
        let hundred: Vec<String> = (1..=100).map(|line| format!("{{\"line\":{line}}}")).collect();
        let text = format!("{{\"ack\":\"durable\",\"through\":130,\"rejected\":[{}]}}\n", hundred.join(","));
        // The third reaches beyond the reply, which already passed over the most of it.
        let waiting = flight(&[100, 20, 20, 5]);
        reader.feed(text.as_bytes(), &waiting, &mut answers).unwrap();
        assert_eq!(statuses(&mut answers), [400, UNTOLD]);
        let rest = b"{\"ack\":\"durable\",\"through\":145,\"rejected\":[]}\n";
        reader.feed(rest, &flight(&[20, 5]), &mut answers).unwrap();
        assert_eq!(statuses(&mut answers), [UNTOLD, 200]);
    }

    #[test]
    fn http_replies_come_in_order_and_the_last_may_end_with_the_connection() {
        let mut reader = Reader::new(Speech::Http, false);
        let mut answers = Vec::with_capacity(3);
        let two = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 400 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        reader.feed(two, &flight(&[]), &mut answers).unwrap();
        let expected = [Answer { status: 200, close: false }, Answer { status: 400, close: true }];
        assert_eq!(answers.drain(..).as_slice(), expected);
        reader.reset();
        reader.feed(b"HTTP/1.1 200 OK\r\n\r\nabc", &flight(&[]), &mut answers).unwrap();
        assert!(answers.is_empty() && reader.in_reply());
        reader.end(true, &mut answers).unwrap();
        assert_eq!(statuses(&mut answers), [200]);
        reader.reset();
        reader.feed(b"HTTP/1.1 200", &flight(&[]), &mut answers).unwrap();
        assert_eq!(reader.end(true, &mut answers), Err(Nonsense));
        assert_eq!(reader.end(false, &mut answers), Ok(()));
        reader.reset();
        assert_eq!(reader.feed(b"SSH-2.0-OpenSSH\r\n", &flight(&[]), &mut answers), Err(Nonsense));
    }

    #[test]
    fn replies_beyond_what_was_asked_for_take_no_memory() {
        let mut reader = Reader::new(Speech::Http, true);
        let mut answers = Vec::with_capacity(2);
        let many = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n".repeat(50);
        reader.feed(&many, &flight(&[]), &mut answers).unwrap();
        assert_eq!((answers.len(), answers.capacity()), (2, 2));
        assert_eq!(Reader::None.feed(b"x", &flight(&[]), &mut answers), Err(Nonsense));
    }
}
