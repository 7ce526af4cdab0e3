//! Links without sockets: requests byte for byte, answers in any pieces, what is borrowed and for how long.
use super::*;
use crate::core::ack::Ack;
use crate::core::batch::store::{Layout, Store};
use crate::core::segment::header::StreamName;
use crate::core::sink::http::target::EventId;
use crate::core::sink::http::{NotReady, Preset, Rules, Settings, Target};
use crate::core::sink::{Remote, Sealed, Sink};
use encode::Coding;

const S: u64 = 1_000_000_000;
const ARENA_BYTES: usize = 1 << 20;
const NOW: (u64, u64) = (S, 1_700_000_000_000);

/// A sink, its links, and a commit.
struct Bench {
    sink: HttpSink,
    links: Links,
    store: Store<Vec<u8>>,
    awaits: i64,
}

impl Bench {
    fn new(events: &[&str]) -> Bench {
        let rules = Rules {
            lanes: 1,
            request_timeout_ns: 30 * S,
            delivery_timeout_ns: 120 * S,
            idle_ns: 4 * S,
            seed: 1,
        };
        let mut sink = HttpSink::new(
            Settings {
                preset: Preset::Plain,
                target: Target::new("/in", b"Host: h\r\n"),
                rules,
                batch_bytes: 64 << 10,
                arena_bytes: ARENA_BYTES,
                level: Ack::Written,
                first: EventId { run: 1, shard: 0, sequence: 1 },
            },
            0,
        );
        let settings = LinkSettings {
            host: "127.0.0.1".into(),
            port: 80,
            tls: None,
            lanes: 1,
            batch_bytes: 64 << 10,
            coding: Coding::Identity,
        };
        let mut links = Links::new(settings, &sink, ARENA_BYTES).unwrap();
        let mut store = Store::new(Layout::Parcels, ARENA_BYTES, &mut |len| vec![0; len]);
        links.obey(S, &mut sink, store.lines());
        let (peer, address) = links.next_dial().unwrap();
        assert_eq!((peer, address.to_string().as_str()), (0, "127.0.0.1:80"));
        links.dialed(S, &mut sink, 0, Ok(()));
        let lines = store.lines_mut().unwrap();
        for event in events {
            lines.append(&StreamName::DEFAULT, event.as_bytes(), false, 0).unwrap();
        }
        let Sealed::Sent(awaits) = sink.seal(lines, 0) else { panic!("not sent") };
        let mut bench = Bench { sink, links, store, awaits: awaits.into() };
        bench.obey();
        bench
    }

    fn obey(&mut self) {
        self.links.obey(S, &mut self.sink, self.store.lines());
        self.awaits += Remote::take_outcomes(&mut self.sink, &mut self.store, S, &mut |_, _, _| {});
    }

    /// What is sent next, and by whom.
    fn send(&mut self) -> Option<(PeerId, Vec<u8>)> {
        let send = self.links.next_peer_send(&self.sink, self.store.lines())?;
        Some((send.peer, send.parts().iter().flat_map(|part| part.to_vec()).collect()))
    }

    fn sent(&mut self, bytes: usize) {
        self.links.peer_sent(NOW, &mut self.sink, 0, bytes);
        self.obey();
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.links.peer_receive(NOW, &mut self.sink, 0, bytes);
        self.obey();
    }

    fn written(&self) -> bool {
        self.awaits == 0 && self.store.fates().is_empty()
    }
}

const REQUEST: &str = "POST /in HTTP/1.1\r\nHost: h\r\nContent-Length: 16\r\n\r\n{\"a\":0}\n{\"a\":1}\n";
const EVENTS: [&str; 2] = ["{\"a\":0}", "{\"a\":1}"];

#[test]
fn a_request_goes_out_however_the_kernel_takes_it() {
    for sip in [1, 2, 3, 7, 50, 1000] {
        let mut bench = Bench::new(&EVENTS);
        let mut gone = Vec::new();
        while let Some((peer, bytes)) = bench.send() {
            assert_eq!(peer, 0);
            assert!(bench.links.borrows(), "lines lie in the commit");
            assert!(bench.send().is_none(), "one send at a time");
            let taken = bytes.len().min(sip);
            gone.extend_from_slice(&bytes[..taken]);
            bench.sent(taken);
        }
        assert_eq!(String::from_utf8(gone).unwrap(), REQUEST);
        assert!(!bench.links.borrows());
        bench.receive(b"HTTP/1.1 204 x\r\n\r\n");
        assert!(bench.written());
    }
}

#[test]
fn answers_are_read_in_any_pieces() {
    for (text, reusable) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n", true),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\nKeep-Alive: timeout=5, max=3\r\n\r\n", true),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", false),
    ] {
        for piece in 1..=text.len() {
            let mut bench = Bench::new(&EVENTS);
            let (_, bytes) = bench.send().unwrap();
            bench.sent(bytes.len());
            for bytes in text.as_bytes().chunks(piece) {
                assert!(!bench.written());
                bench.receive(bytes);
            }
            assert!(bench.written(), "{text:?} in pieces of {piece}");
            assert_eq!(bench.links.next_hang_up().is_none(), reusable, "{text:?}");
        }
        // With a tail that nobody asked for, it counts, and the connection does not.
        let mut bench = Bench::new(&EVENTS);
        let (_, bytes) = bench.send().unwrap();
        bench.sent(bytes.len());
        bench.receive(format!("{text}HTTP/1.1 500 x\r\n\r\n").as_bytes());
        assert!(bench.written());
        assert_eq!(bench.links.next_hang_up(), Some(0));
    }
}

#[test]
fn taken_is_believed_when_all_has_left_and_refused_at_once() {
    let mut bench = Bench::new(&EVENTS);
    let (_, bytes) = bench.send().unwrap();
    bench.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(!bench.written(), "the kernel still reads from the commit");
    bench.sent(bytes.len() - 1);
    assert!(!bench.written() && bench.links.borrows());
    let (_, rest) = bench.send().unwrap();
    bench.sent(rest.len());
    assert!(bench.written());
    assert_eq!(bench.links.next_hang_up(), Some(0), "what came early ends the connection");

    let mut bench = Bench::new(&EVENTS);
    bench.send().unwrap();
    bench.receive(b"HTTP/1.1 403 x\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(bench.awaits, 0);
    assert_eq!(bench.sink.ready(), Err(crate::core::sink::NotReady::Target(NotReady::Refuses(403))));
    assert_eq!(bench.links.next_hang_up(), Some(0));
    assert!(bench.links.borrows(), "until the driver lets go of what is in flight");
    bench.links.peer_released(0);
    assert!(!bench.links.borrows());
}

#[test]
fn what_is_no_answer_ends_the_connection_and_says_why() {
    for (text, why) in [
        ("SSH-2.0-x\r\n", "does not answer as HTTP/1.1 does"),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "does not answer as HTTP/1.1 does"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", "did not answer: connection closed by the target"),
        ("", "did not answer: connection closed by the target"),
    ] {
        let mut bench = Bench::new(&EVENTS);
        let (_, bytes) = bench.send().unwrap();
        bench.sent(bytes.len());
        if !text.is_empty() {
            bench.receive(text.as_bytes());
        }
        bench.links.peer_lost(NOW, &mut bench.sink, 0, 0);
        bench.obey();
        assert_eq!((bench.awaits, bench.links.next_hang_up()), (1, Some(0)), "tried again later");
        let said = bench.links.next_failure().unwrap();
        assert!(said.starts_with("target 127.0.0.1:80 ") && said.contains(why), "{said}");
    }
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let mut bench = Bench::new(&EVENTS);
    let (_, bytes) = bench.send().unwrap();
    bench.sent(bytes.len());
    bench.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n");
    for _ in 0..(1 << 20) / (16 << 10) {
        bench.receive(&[b'x'; 16 << 10]);
    }
    assert!(bench.links.next_failure().unwrap().contains("an answer without end"));
    assert_eq!(bench.links.next_hang_up(), Some(0));
}

#[test]
fn a_rested_connection_that_says_something_is_let_go_of_without_a_word() {
    let mut bench = Bench::new(&EVENTS);
    let (_, bytes) = bench.send().unwrap();
    bench.sent(bytes.len());
    bench.receive(b"HTTP/1.1 204 x\r\n\r\n");
    bench.receive(b"HTTP/1.1 408 Request Timeout\r\n\r\n");
    assert_eq!((bench.links.next_hang_up(), bench.links.next_failure()), (Some(0), None));
    assert_eq!(bench.sink.ready(), Ok(()));
    bench.links.peer_released(0);
    assert!(bench.links.is_empty());
}
