//! Frames in any slices, answers before their requests have left, and what is no Kafka.
use super::*;

struct None_;

impl Batches for None_ {
    fn bytes(&self, _: crate::core::kafka::arena::Slot) -> (&[u8], &[u8]) {
        (&[], &[])
    }
}

fn up() -> Link {
    let mut link = Link::new();
    link.stage = Stage::Up;
    link
}

fn ask(link: &mut Link, correlation: i32) {
    link.put(Pending { correlation, asked: Asked::Metadata(4) }, vec![correlation as u8; 10]);
}

fn send(link: &mut Link) -> Vec<u8> {
    assert!(link.wants_to_send(&None_));
    let sent: Vec<u8> = link.send(0, &None_).parts().iter().flat_map(|part| part.to_vec()).collect();
    assert!(!link.wants_to_send(&None_), "one send at a time");
    sent
}

fn frame(correlation: i32, body: &[u8]) -> Vec<u8> {
    let len = (4 + body.len()) as i32;
    [&len.to_be_bytes()[..], &correlation.to_be_bytes(), body].concat()
}

/// Correlation ids and lengths of what can be read now.
fn read(link: &mut Link) -> Result<Vec<(i32, usize)>, Failure> {
    let inbox = link.take_inbox();
    let (mut at, mut seen) = (0, Vec::new());
    let result = loop {
        match link.next_answer(&inbox, at) {
            Ok(Some((pending, frame))) => {
                seen.push((pending.correlation, frame.len()));
                at = frame.end;
            }
            Ok(None) => break Ok(seen),
            Err(failure) => break Err(failure),
        }
    };
    link.put_back(inbox, at);
    result
}

#[test]
fn answers_in_slices_of_any_size_are_read_whole() {
    let bytes = [frame(1, b"one"), frame(2, b""), frame(3, &[7; 300])].concat();
    for size in 1..bytes.len() {
        let mut link = up();
        (1..=3).for_each(|n| ask(&mut link, n));
        let sent = send(&mut link).len();
        link.sent(sent);
        let mut seen = Vec::new();
        for slice in bytes.chunks(size) {
            link.feed(slice).unwrap();
            seen.extend(read(&mut link).unwrap());
        }
        assert_eq!(seen, [(1, 7), (2, 4), (3, 304)], "slices of {size}");
    }
}

#[test]
fn an_answer_waits_until_its_request_has_left() {
    let mut link = up();
    ask(&mut link, 1);
    ask(&mut link, 2);
    assert_eq!(send(&mut link).len(), 20);
    link.feed(&[frame(1, b""), frame(2, b"")].concat()).unwrap();
    assert_eq!(read(&mut link), Ok(vec![]));
    link.sent(9);
    assert_eq!(read(&mut link), Ok(vec![]));
    assert_eq!(send(&mut link), [1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]);
    link.sent(1);
    assert_eq!(read(&mut link), Ok(vec![(1, 4)]));
    send(&mut link);
    link.sent(10);
    assert_eq!(read(&mut link), Ok(vec![(2, 4)]));
}

#[test]
fn what_is_no_answer_ends_it() {
    for (bytes, words) in [
        (&[0x15, 3, 3, 0, 2, 2, 40][..], "TLS alert"),
        (b"HTTP/1.1 400 Bad Request", "HTTP"),
        (&[0, 0, 0, 3, 1, 1, 1], "too long or too short"),
        (&[0xff, 0xff, 0xff, 0xff], "too long or too short"),
        (&[1, 0, 0, 1], "too long or too short"),
        (&[0, 0, 0, 4, 0, 0, 0, 9], "another request"),
    ] {
        let mut link = up();
        ask(&mut link, 1);
        send(&mut link);
        link.sent(10);
        link.feed(bytes).unwrap();
        let failure = read(&mut link).unwrap_err();
        assert!(failure.why == LinkFailure::Protocol && failure.text.contains(words), "{failure:?}");
    }
    let mut link = up();
    link.feed(&frame(1, b"")).unwrap();
    assert!(read(&mut link).unwrap_err().text.contains("without having been asked"));
}

#[test]
fn one_that_only_talks_is_bounded() {
    let mut link = up();
    ask(&mut link, 1);
    link.stage = Stage::Hello;
    let flood = (0..100).try_for_each(|_| link.feed(&[0; 4096]));
    assert!(flood.unwrap_err().text.contains("more than it was asked for"));
    // A long answer's buffer is not kept.
    let mut link = up();
    ask(&mut link, 1);
    send(&mut link);
    link.sent(10);
    link.feed(&frame(1, &vec![0; 1 << 20])).unwrap();
    assert_eq!(read(&mut link).unwrap().len(), 1);
    assert!(link.inbox.capacity() <= INBOX_BYTES);
}

#[test]
fn requests_wait_behind_a_renewal() {
    let mut link = up();
    link.handshake = Some(Handshake::new("test".into(), None));
    ask(&mut link, 1);
    link.renew(None);
    ask(&mut link, 2);
    let sent = send(&mut link);
    assert_eq!(sent[..10], [1; 10]);
    assert_eq!(sent[14..16], 17_i16.to_be_bytes());
    link.sent(sent.len());
    assert!(!link.wants_to_send(&None_));
    link.renewed();
    assert_eq!(send(&mut link), [2; 10]);
}

#[test]
fn what_is_in_flight_stays_until_it_is_free() {
    let mut link = up();
    ask(&mut link, 1);
    send(&mut link);
    link.leave();
    assert_eq!(link.queue.len(), 1);
    link.free();
    assert_eq!((link.queue.len(), link.pending.len(), link.stage), (0, 0, Stage::Free));
}
