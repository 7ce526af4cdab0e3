//! What a load worker does for each request takes no memory. Alone in its binary: the counter is global.
mod counting;

use counting::CALLS;
use ringmill_core::load::payload::{Corpus, Rng, Spec};
use ringmill_core::load::reconcile::Acked;
use ringmill_core::load::reply::{LineReplies, Replies};
use std::sync::atomic::Ordering::Relaxed;

#[test]
fn picking_reading_and_marking_take_no_memory() {
    let spec = Spec { malformed_share: 0.2, ids: true, events_per_request: 4, ..Spec::default() };
    let mut corpus = Corpus::build(&spec).expect("a sound specification");
    let mut rng = Rng::new(5);
    let mut replies = Replies::new();
    let mut line_replies = LineReplies::new();
    let mut acked = Acked::new(0);
    acked.reserve(100_000);
    let text = b"HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n\
                 HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\nX: y\r\n\r\nabc";
    let line = b"{\"ack\":\"durable\",\"through\":4,\"rejected\":[{\"line\":3,\"reason\":\"x\"}]}\n";
    let before = CALLS.load(Relaxed);
    let (mut bytes, mut seen, mut lines) = (0, 0, 0);
    for round in 0..20_000 {
        let request = corpus.pick(&mut rng);
        bytes += request.bytes.len();
        acked.mark(request.first_id, request.ids);
        let (front, back) = text.split_at(1 + round % (text.len() - 1));
        seen += replies.feed(front).count();
        seen += replies.feed(back).count();
        let (mut front, mut back) = line.split_at(round % line.len());
        for part in [&mut front, &mut back] {
            while let Some(reply) = line_replies.next(part) {
                lines += reply.expect("a reply").rejected().count();
            }
        }
    }
    assert_eq!(CALLS.load(Relaxed), before, "no memory was taken");
    assert_eq!((seen, lines), (40_000, 20_000));
    assert!(bytes > 20_000 * 1000 && acked.count() > 60_000);
}
