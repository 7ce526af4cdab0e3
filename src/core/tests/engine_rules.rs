//! The shard's rules one by one: deadlines, turns, orders of replies. The simulation mixes them; this names them.
use ringmill_core::ack::Ack;
use ringmill_core::batch::policy::Policy;
use ringmill_core::engine::{Action, Config, ConnId, Engine, IoStep, Protocol, SHARE_BYTES};
use ringmill_core::json::{FastScanner, Kernel};
use ringmill_core::sink::segments::SegmentSink;
use ringmill_core::sink::{FileKind, Mail, Request, Resume};
use ringmill_core::testing::clock::HandClock;
use ringmill_core::testing::engine::config;

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;

/// A shard whose device and housekeeper do as they are told, and one look at everything it says.
struct Bench {
    clock: HandClock,
    engine: Engine<Vec<u8>, HandClock, FastScanner, SegmentSink>,
    /// The device completes what it is given.
    device: bool,
    /// The housekeeper delivers what it is asked for.
    keeper: bool,
    /// Peers read what is sent.
    reads: bool,
    file: i32,
    said: Vec<Vec<u8>>,
    actions: Vec<(ConnId, Action)>,
    waiting: Vec<(u8, usize, bool)>,
    asked: Vec<Request>,
}

impl Bench {
    fn new(change: impl FnOnce(&mut Config)) -> Bench {
        let mut config = Config {
            batch_arena_bytes: 9 << 20,
            policy: Policy { bytes_max: 1 << 20, events_max: 10_000, linger_ns: 0 },
            ..config()
        };
        change(&mut config);
        let clock = HandClock::default();
        clock.0.set(S);
        let sink = SegmentSink::new(0, &Resume::START);
        let scanner = FastScanner::new(Kernel::best());
        let engine = Engine::new(config, clock.clone(), scanner, sink, |len| vec![0; len]);
        Bench {
            clock,
            engine,
            device: true,
            keeper: true,
            reads: true,
            file: 2,
            said: vec![Vec::new(); 4],
            actions: Vec::new(),
            waiting: Vec::new(),
            asked: Vec::new(),
        }
    }

    fn open(&mut self, protocol: Protocol) -> ConnId {
        self.turn();
        self.engine.open(protocol).expect("a slot")
    }

    fn http(&mut self) -> ConnId {
        self.open(Protocol::Http)
    }

    fn send(&mut self, id: ConnId, text: &str) {
        self.engine.tick();
        for piece in text.as_bytes().chunks(16 << 10) {
            self.engine.receive(id, &mut piece.to_vec());
        }
        self.turn();
    }

    /// Lets time pass in steps of the shard's own deadlines.
    fn pass(&mut self, ns: u64) {
        let end = self.clock.0.get() + ns;
        while let Some(due) = self.engine.deadline_ns().filter(|due| *due <= end) {
            self.clock.0.set(due.max(self.clock.0.get()));
            self.engine.tick();
            self.turn();
        }
        self.clock.0.set(end);
    }

    fn turn(&mut self) {
        loop {
            let mut more = self.engine.run();
            while let Some(request) = self.engine.next_request() {
                self.asked.push(request);
            }
            if self.keeper {
                for request in std::mem::take(&mut self.asked) {
                    if let Request::Prepare { kind, number } = request {
                        self.file += 1;
                        let (file, capacity) = (self.file, 32 << 20);
                        self.engine.mail(Mail::Ready { kind, file, number, id: number, capacity });
                        more = true;
                    }
                }
            }
            while let Some(io) = self.engine.next_io() {
                self.waiting.push((io.slot, io.bytes.len(), io.sync));
            }
            if self.device {
                for (slot, len, sync) in std::mem::take(&mut self.waiting) {
                    self.engine.io_done(slot, IoStep::Write, Ok(len));
                    if sync {
                        self.engine.io_done(slot, IoStep::Sync, Ok(0));
                    }
                    more = true;
                }
            }
            while let Some((id, bytes)) = self.engine.next_send() {
                let bytes = bytes.to_vec();
                if self.reads {
                    self.said[id as usize].extend_from_slice(&bytes);
                    self.engine.sent(id, bytes.len());
                    more = true;
                }
            }
            while let Some(action) = self.engine.next_action() {
                self.actions.push(action);
                if action.1 == Action::Close {
                    self.engine.released(action.0);
                }
                more = true;
            }
            if !more {
                return;
            }
        }
    }

    /// What was said to a connection since the last look.
    fn heard(&mut self, id: ConnId) -> String {
        String::from_utf8(std::mem::take(&mut self.said[id as usize])).expect("replies are text")
    }

    /// Statuses of the replies since the last look.
    fn statuses(&mut self, id: ConnId) -> Vec<u16> {
        let heard = self.heard(id);
        heard.split("HTTP/1.1 ").skip(1).map(|reply| reply[..3].parse().expect("a status")).collect()
    }

    fn actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions).into_iter().map(|(_, action)| action).collect()
    }
}

fn post(target: &str, headers: &str, body: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: t\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn event(n: usize) -> String {
    format!("{{\"n\":{n}}}\n")
}

#[test]
fn slow_peers_hear_408_or_are_closed_and_none_before_its_time() {
    use Action::{Close, EndWriting};
    let part = post("/v1/events", "", &"x".repeat(40_000));
    type Case<'a> = (&'a str, &'a str, u64, &'a [u16], &'a [Action]);
    let cases: [Case<'_>; 4] = [
        ("head", "POST /v1/events HT", 5 * S, &[408], &[EndWriting]),
        ("body", &part[..200], 30 * S, &[408], &[EndWriting]),
        ("idle", "", 60 * S, &[], &[Close]),
        ("idle behind a request", &post("/v1/events", "", "{}"), 60 * S, &[200], &[Close]),
    ];
    for (what, sent, limit_ns, statuses, actions) in cases {
        let mut bench = Bench::new(|_| {});
        let id = bench.http();
        bench.send(id, sent);
        bench.pass(limit_ns - 10 * MS);
        assert_eq!(bench.actions(), [], "{what}: too early");
        bench.pass(300 * MS);
        assert_eq!(bench.statuses(id), statuses, "{what}");
        assert_eq!(bench.actions(), actions, "{what}");
        if actions == [EndWriting] {
            // What still comes is thrown away; the peer has two seconds to end its side.
            bench.send(id, "more");
            bench.pass(1900 * MS);
            assert_eq!(bench.actions(), [], "{what}: lingers");
            bench.pass(500 * MS);
            assert_eq!(bench.actions(), [Close], "{what}: has lingered");
        }
        assert_eq!(bench.engine.leaks(), [""; 0]);
    }
}

#[test]
fn a_body_above_the_floor_may_take_its_time() {
    let mut bench = Bench::new(|_| {});
    let id = bench.http();
    let text = post("/v1/events", "", &format!("{{\"a\":\"{}\"}}", "x".repeat(60_000)));
    for piece in text.as_bytes().chunks(1500) {
        bench.send(id, std::str::from_utf8(piece).expect("ASCII"));
        bench.pass(S);
    }
    assert_eq!((bench.statuses(id), bench.actions()), (vec![200], vec![]));
}

#[test]
fn who_does_not_read_is_closed() {
    let mut bench = Bench::new(|_| {});
    let id = bench.http();
    bench.reads = false;
    bench.send(id, &post("/v1/events", "", "{}"));
    bench.pass(30 * S - 10 * MS);
    assert_eq!(bench.actions(), []);
    bench.pass(300 * MS);
    assert_eq!(bench.actions(), [Action::Close]);
    assert_eq!(bench.engine.metrics().counters.timeouts_reply, 1);
}

#[test]
fn a_reply_just_written_is_sent_before_idleness_counts() {
    let mut bench = Bench::new(|config| config.timeouts.idle_ns = S);
    let id = bench.http();
    bench.device = false;
    bench.send(id, &post("/v1/events", "", "{}"));
    bench.pass(3 * S);
    (bench.device, bench.reads) = (true, false);
    bench.turn();
    bench.pass(3 * S);
    assert_eq!(bench.actions(), []);
}

#[test]
fn a_sink_without_file_sheds_and_says_when_to_come_back() {
    let mut bench = Bench::new(|_| {});
    bench.keeper = false;
    let id = bench.http();
    let body = event(1);
    bench.send(id, &(post("/v1/events", "", &body) + "GET /v1/events HTTP/1.1\r\nHost: t\r\n\r\n"));
    assert_eq!(bench.actions(), [Action::PauseReading]);
    bench.pass(900 * MS);
    assert_eq!(bench.heard(id), "");
    bench.pass(600 * MS);
    let heard = bench.heard(id);
    assert!(heard.starts_with("HTTP/1.1 503 ") && heard.contains("\r\nRetry-After: "), "{heard}");
    assert!(heard.contains("\"error\":\"overloaded\"") && heard.contains("HTTP/1.1 405 "), "{heard}");
    assert_eq!(bench.actions(), [Action::ResumeReading]);
    bench.keeper = true;
    bench.send(id, &post("/v1/events", "", &body));
    assert_eq!(bench.statuses(id), [200]);
}

#[test]
fn a_request_that_was_shed_is_no_longer_in_hand() {
    let mut bench = Bench::new(|_| {});
    bench.keeper = false;
    let id = bench.http();
    let text = post("/v1/events", "", "{\"a\":1}");
    let (front, back) = text.split_at(text.len() - 3);
    bench.send(id, front);
    bench.send(id, back);
    bench.pass(45 * S);
    assert_eq!(bench.statuses(id), [503], "and no 408 behind it");
    assert_eq!(bench.actions(), [Action::PauseReading, Action::ResumeReading]);
}

#[test]
fn a_full_device_is_507_at_once() {
    let mut bench = Bench::new(|_| {});
    bench.keeper = false;
    let id = bench.http();
    bench.engine.mail(Mail::Failed { kind: FileKind::Segment, no_space: true });
    bench.send(id, &post("/v1/events", "", "{}"));
    assert_eq!(bench.statuses(id), [507]);
}

#[test]
fn a_batch_that_finds_no_further_segment_fails_in_time() {
    let mut bench = Bench::new(|_| {});
    bench.keeper = false;
    let id = bench.http();
    let (kind, capacity) = (FileKind::Segment, 4096);
    bench.engine.mail(Mail::Ready { kind, file: 3, number: 1, id: 1, capacity });
    bench.send(id, &post("/v1/events", "", &event(1).repeat(1000)));
    assert!(bench.engine.ready().is_err(), "the file that cannot hold it was given up");
    bench.pass(900 * MS);
    assert_eq!(bench.statuses(id), []);
    bench.pass(600 * MS);
    assert_eq!(bench.statuses(id), [503]);
    assert_eq!(bench.engine.metrics().counters.events_shed, 1000);
    assert!(bench.engine.metrics().books().balanced());
}

#[test]
fn refused_events_alone_are_answered_without_a_quarantine_file() {
    let mut bench = Bench::new(|config| config.quarantine_first = Some(1));
    bench.keeper = false;
    let id = bench.http();
    let (kind, capacity) = (FileKind::Segment, 1 << 20);
    bench.engine.mail(Mail::Ready { kind, file: 3, number: 1, id: 1, capacity });
    bench.send(id, &post("/v1/events", "", "nonsense"));
    bench.send(id, &post("/v1/events", "", "{}"));
    assert_eq!(bench.statuses(id), [400, 200]);
    assert!(bench.engine.metrics().books().balanced());
}

#[test]
fn a_drain_answers_what_came_and_closes() {
    let mut bench = Bench::new(|_| {});
    let (idle, busy, half) = (bench.http(), bench.http(), bench.http());
    let lines = bench.open(Protocol::Lines);
    bench.device = false;
    bench.send(busy, &post("/v1/events", "", "{}"));
    bench.send(half, "POST /v1/events HT");
    bench.send(lines, &event(1));
    bench.engine.drain();
    // On its way when the drain began.
    bench.send(lines, &event(2));
    bench.device = true;
    bench.turn();
    bench.pass(5 * S);
    assert_eq!((bench.statuses(idle), bench.statuses(busy)), (vec![], vec![200]));
    assert!(bench.heard(lines).contains("\"through\":2"));
    assert!(bench.engine.is_drained());
    assert_eq!(bench.engine.leaks(), [""; 0]);
}

#[test]
fn one_who_sends_much_delays_others_by_one_share_at_most() {
    let mut bench = Bench::new(|config| config.ack = Ack::Accepted);
    let (greedy, modest) = (bench.http(), bench.http());
    let request =
        post("/v1/events", "Prefer: return=minimal\r\n", &format!("{{\"a\":\"{}\"}}", "x".repeat(2000)));
    // The drivers hand in what came in this order; then comes the first turn.
    bench.engine.tick();
    bench.engine.receive(greedy, &mut request.repeat(1000).into_bytes());
    bench.engine.receive(modest, &mut request.clone().into_bytes());
    let done = bench.engine.metrics().counters.requests.total();
    assert_eq!(bench.engine.next_send().map(|(id, _)| id), Some(greedy));
    assert_eq!(bench.engine.next_send().map(|(id, _)| id), Some(modest), "answered in the same wake");
    assert!((done - 1) as usize * request.len() <= SHARE_BYTES + request.len(), "{done} requests came first");
    bench.engine.sent(greedy, 0);
    bench.engine.sent(modest, 0);
    bench.turn();
    bench.pass(S);
    assert_eq!(bench.statuses(greedy).len(), 1000);
    assert_eq!(bench.statuses(modest).len(), 1);
}

#[test]
fn continue_comes_in_its_turn_and_only_when_the_body_has_room() {
    let mut bench = Bench::new(|_| {});
    let (first, second) = (bench.http(), bench.http());
    let wait = |bytes: usize| {
        format!(
            "POST /v1/events HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: {bytes}\r\n\r\n"
        )
    };
    bench.device = false;
    bench.send(first, &(post("/v1/events", "", "{}") + &wait(2)));
    assert_eq!(bench.heard(first), "", "a reply is owed before it");
    bench.device = true;
    bench.turn();
    assert_eq!(bench.statuses(first), [200, 100]);
    bench.send(first, "{}");
    assert_eq!(bench.statuses(first), [200]);
    // Two bodies of 8 MiB fit the budget, a third waits for one of them.
    let third = bench.http();
    for (id, expected) in [(first, &[100][..]), (second, &[100]), (third, &[])] {
        bench.send(id, &wait(8 << 20));
        assert_eq!(bench.statuses(id), expected);
    }
    // What comes free behind a turn is not left until the clock is looked at.
    bench.engine.fail(first);
    assert_eq!(bench.engine.next_action(), Some((first, Action::Close)));
    bench.engine.released(first);
    assert_eq!(bench.engine.deadline_ns(), Some(bench.clock.0.get()));
    bench.turn();
    assert_eq!(bench.statuses(third), [100]);
    // Nor is it remembered for the next request.
    let mut body = "{\"a\":1}".to_string();
    body += &" ".repeat((8 << 20) - body.len());
    bench.send(third, &(body + &post("/v1/events", "", "{}")));
    assert_eq!(bench.statuses(third), [200, 200]);
}

#[test]
fn chunked_bodies_half_received_do_not_wait_for_each_other() {
    let mut bench = Bench::new(|_| {});
    let ids = [bench.http(), bench.http(), bench.http()];
    let head = "POST /v1/events HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
    let spaces = " ".repeat((1 << 20) - 8);
    let chunk = format!("{:x}\r\n{{\"a\":1}}{spaces}\n\r\n", 1 << 20);
    for id in ids {
        bench.send(id, head);
    }
    let mut left = [8; 3];
    let mut paused = [false; 3];
    while left != [0; 3] {
        let mut moved = false;
        for (at, id) in ids.into_iter().enumerate() {
            for (of, action) in std::mem::take(&mut bench.actions) {
                let place = ids.iter().position(|id| *id == of).expect("one of them");
                paused[place] = action == Action::PauseReading;
            }
            if left[at] > 0 && !paused[at] {
                left[at] -= 1;
                moved = true;
                bench.send(id, &chunk);
                if left[at] == 0 {
                    bench.send(id, "0\r\n\r\n");
                }
            }
        }
        bench.pass(MS);
        assert!(moved, "they wait for each other: {left:?}");
    }
    bench.pass(MS);
    for id in ids {
        assert_eq!(bench.statuses(id), [200]);
    }
}

#[test]
fn replies_to_bodies_of_every_kind() {
    let cases: [(&str, &str, &str, u16, &str); 9] = [
        (
            "",
            "",
            "{}\n{}",
            200,
            "\"accepted\":2,\"rejected\":0,\"errors\":[],\"receipt\":{\"shard\":0,\"first\":1,\"last\":2",
        ),
        ("?ack=written", "", "{}", 202, "\"ack\":\"written\""),
        ("?ack=accepted", "", "{}", 202, "\"receipt\":null"),
        ("", "", "{}\nx\n\n[]", 207, "\"accepted\":1,\"rejected\":2,\"errors\":[{\"index\":1,\"offset\":3,"),
        ("", "", "x", 400, "\"accepted\":0,\"rejected\":1,\"error\":\"no_good_event\""),
        ("", "", "\n", 400, "\"error\":\"no_events\""),
        ("?partial=reject", "", "{}\nx", 400, "\"accepted\":0,\"rejected\":2,\"error\":\"rejected\""),
        ("?ack=replicated", "", "{}", 400, "\"error\":\"ack_not_reachable\""),
        ("", "Prefer: return=minimal\r\n", "{}\nx", 207, "Content-Length: 0\r\n\r\n"),
    ];
    for (query, headers, body, status, part) in cases {
        let mut bench = Bench::new(|_| {});
        let id = bench.http();
        bench.send(id, &post(&format!("/v1/events{query}"), headers, body));
        let heard = bench.heard(id);
        assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{body:?}: {heard}");
        assert!(heard.contains(part), "{body:?}: {heard}");
        assert!(bench.engine.metrics().books().balanced());
        assert_eq!(bench.actions(), [], "the connection stays");
    }
}

#[test]
fn head_has_a_length_and_no_body() {
    let mut bench = Bench::new(|_| {});
    let id = bench.http();
    bench.send(id, "HEAD /v1/events HTTP/1.1\r\nHost: t\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n");
    let heard = bench.heard(id);
    let (head, rest) = heard.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 405 ") && !head.contains("Content-Length: 0"), "{head}");
    assert!(rest.starts_with("HTTP/1.1 204 "), "{rest}");
}

#[test]
fn lines_hear_how_far_they_came_and_which_were_refused() {
    let mut bench = Bench::new(|_| {});
    let id = bench.open(Protocol::Lines);
    bench.send(id, "{}\nx\n\n{}\n{\"a\"");
    let heard = bench.heard(id);
    assert!(
        heard.starts_with("{\"ack\":\"durable\",\"through\":4,\"rejected\":[{\"line\":2,\"reason\":"),
        "{heard}"
    );
    assert_eq!(heard.matches("\"line\"").count(), 1);
    bench.send(id, ":1}\n");
    assert_eq!(bench.heard(id), "{\"ack\":\"durable\",\"through\":5,\"rejected\":[]}\n");
    // Too long for any event: refused before its end is seen, and what is left of it skipped.
    bench.send(id, &"y".repeat(300 << 10));
    let heard = bench.heard(id);
    assert!(heard.contains("\"through\":6,\"rejected\":[{\"line\":6,"), "{heard}");
    bench.send(id, &format!("{}\nx\n", "y".repeat(100)));
    assert!(bench.heard(id).contains("\"through\":7,\"rejected\":[{\"line\":7,"));
    // The last line needs no end.
    bench.send(id, "{\"last\":true}");
    bench.engine.receive_end(id);
    bench.turn();
    assert_eq!(bench.heard(id), "{\"ack\":\"durable\",\"through\":8,\"rejected\":[]}\n");
    assert_eq!(bench.actions(), [Action::Close]);
    assert_eq!(bench.engine.metrics().counters.events_stored, 4);
}

#[test]
fn refused_lines_behind_a_reply_that_waits_ride_along_with_it() {
    // What arrives within the linger shares a batch.
    let mut bench = Bench::new(|config| config.policy.linger_ns = S);
    let id = bench.open(Protocol::Lines);
    let bad = "{\"a\":\"\\ud800\"}\n".repeat(100);
    bench.send(id, &(event(0) + &bad));
    bench.send(id, &bad);
    bench.send(id, &bad);
    assert_eq!(bench.heard(id), "");
    bench.pass(2 * S);
    let heard = bench.heard(id);
    assert!(heard.ends_with("]}\n") && heard.contains("\"through\":301"), "{heard}");
    assert_eq!(heard.matches("\"line\"").count(), 100);
}

#[test]
fn half_a_connection_still_hears_its_replies() {
    let mut bench = Bench::new(|_| {});
    let id = bench.http();
    bench.device = false;
    bench.send(id, &post("/v1/events", "", "{}").repeat(3));
    bench.engine.receive_end(id);
    bench.turn();
    assert_eq!(bench.actions(), []);
    bench.device = true;
    bench.turn();
    assert_eq!((bench.statuses(id), bench.actions()), (vec![200; 3], vec![Action::Close]));
    assert_eq!(bench.engine.leaks(), [""; 0]);
}

#[test]
fn reading_goes_on_behind_the_last_reply() {
    let mut bench = Bench::new(|_| {});
    bench.keeper = false;
    let id = bench.http();
    bench.send(id, &post("/v1/events", "Connection: close\r\n", "{}"));
    assert_eq!(bench.actions(), [Action::PauseReading]);
    bench.keeper = true;
    bench.turn();
    assert_eq!(bench.statuses(id), [200]);
    assert_eq!(bench.actions(), [Action::ResumeReading, Action::EndWriting]);
}

#[test]
fn a_short_linger_ends_when_it_says() {
    let mut bench = Bench::new(|config| config.policy.linger_ns = 200_000);
    let id = bench.http();
    bench.send(id, &post("/v1/events", "", "{}"));
    assert_eq!(bench.statuses(id), []);
    assert_eq!(bench.engine.deadline_ns(), Some(bench.clock.0.get() + 200_000));
    bench.pass(200_000);
    assert_eq!(bench.statuses(id), [200]);
}
