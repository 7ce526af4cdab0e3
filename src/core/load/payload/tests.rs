//! Every class against the server's own engine, and the draw against its distribution.
use super::class::{ALL, by_name};
use super::*;
use crate::ack::Ack;
use crate::batch::policy::Policy;
use crate::engine::{Action, Config, ConnId, Engine, Protocol, Timeouts};
use crate::load::reply::{LineReplies, Replies};
use crate::load::series::{ClassId, Outcome, VALID};
use crate::sink::null::NullSink;
use crate::testing::clock::HandClock;
use crate::testing::split::{Frame, http1_every_way};
use alloc::{format, vec};

/// A shard that keeps nothing, one connection of it, and all that it says to that.
struct Server {
    clock: HandClock,
    engine: Engine<Vec<u8>, HandClock, StrictScanner, NullSink>,
    id: ConnId,
    said: Vec<u8>,
    ended: bool,
    released: bool,
}

impl Server {
    fn new(protocol: Protocol) -> Server {
        let config = Config {
            shard: 0,
            connections_max: 2,
            body_budget_bytes: 17 << 20,
            batch_arena_bytes: 9 << 20,
            refused_arena_bytes: 1 << 20,
            ack: Ack::Accepted,
            policy: Policy { bytes_max: 8 << 20, events_max: 100_000, linger_ns: 0 },
            lines_replies: true,
            shed_after_ns: 1_000_000_000,
            quarantine_first: None,
            timeouts: Timeouts::default(),
        };
        let clock = HandClock::default();
        clock.0.set(1_000_000_000);
        let engine = Engine::new(config, clock.clone(), StrictScanner::new(), NullSink, |len| vec![0; len]);
        let mut server = Server { clock, engine, id: 0, said: vec![], ended: false, released: true };
        server.reopen(protocol);
        server
    }

    fn reopen(&mut self, protocol: Protocol) {
        if !self.released {
            self.engine.fail(self.id);
            self.turn();
        }
        assert!(self.released, "the connection is gone");
        self.said.clear();
        (self.ended, self.released) = (false, false);
        self.engine.tick();
        self.id = self.engine.open(protocol).expect("a slot");
    }

    fn send(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(16 << 10) {
            self.engine.tick();
            if !self.released {
                self.engine.receive(self.id, &mut piece.to_vec());
            }
            self.turn();
        }
    }

    fn pass(&mut self, ns: u64) {
        self.clock.0.set(self.clock.0.get() + ns);
        self.engine.tick();
        self.turn();
    }

    fn turn(&mut self) {
        loop {
            let mut more = self.engine.run();
            while let Some((id, bytes)) = self.engine.next_send() {
                let len = bytes.len();
                self.said.extend_from_slice(bytes);
                self.engine.sent(id, len);
                more = true;
            }
            while let Some((id, action)) = self.engine.next_action() {
                self.ended |= matches!(action, Action::EndWriting | Action::Close);
                if action == Action::Close {
                    self.engine.released(id);
                    self.released = true;
                }
                more = true;
            }
            if !more {
                return;
            }
        }
    }

    /// Delivers a request as a worker would, `tail` behind it.
    fn deliver(&mut self, request: &RequestRef<'_>, tail: &[u8]) {
        match request.delivery {
            Delivery::Whole => self.send(&[request.bytes, tail].concat()),
            Delivery::Slow { first, rest_after_ns } => {
                self.send(&request.bytes[..first]);
                let whole_lines = !request.bytes.starts_with(b"POST");
                assert!(self.said.is_empty() || whole_lines, "half a request has no reply");
                self.pass(rest_after_ns);
                self.send(&[&request.bytes[first..], tail].concat());
            }
            Delivery::ResetAfter(bytes) => {
                self.send(&request.bytes[..bytes]);
                assert!(self.said.is_empty() && !self.ended, "half a request has no reply");
                self.engine.fail(self.id);
                self.turn();
            }
            Delivery::CloseAfter(bytes) => {
                self.send(&request.bytes[..bytes]);
                assert!(self.said.is_empty() && !self.ended, "half a request has no reply");
                self.engine.receive_end(self.id);
                self.turn();
            }
        }
    }

    /// What a client makes of it: how each request ended.
    fn outcomes(&self) -> Vec<Outcome> {
        let mut replies = Replies::new();
        let mut outcomes = vec![];
        for reply in replies.feed(&self.said) {
            let reply = reply.expect("the server speaks HTTP");
            outcomes.push(Outcome::Status(reply.status));
            assert!(!reply.close || self.ended, "what it says of the connection is so");
        }
        assert_eq!(replies.end(), Ok(None));
        if outcomes.is_empty() && self.ended {
            outcomes.push(Outcome::Closed);
        }
        outcomes
    }
}

/// Answered with 404 where the connection lives.
const TAIL: &[u8] = b"GET /nowhere HTTP/1.1\r\nHost: t\r\n\r\n";

fn spec(events_per_request: u32) -> Spec<'static> {
    Spec { events_per_request, malformed_share: 0.5, ..Spec::default() }
}

/// What the server blames, one of these: a class that is refused for another reason tests something else.
const REASONS: &[(&str, &[&str])] = &[
    ("cut_json", &["without its closing quote", "ends before it is complete"]),
    ("bad_utf8", &["invalid UTF-8"]),
    ("bad_escape", &["unknown escape", "four hex digits"]),
    ("lone_surrogate", &["without its other half"]),
    ("control_character", &["must be escaped"]),
    ("bad_number", &["needless zero", "a digit in a number", "expected a value", "expected `,` or `}`"]),
    ("missing_colon", &["expected `:`"]),
    ("trailing_data", &["trailing data"]),
    ("not_an_object", &["must be a JSON object"]),
    ("bom", &["byte order mark"]),
    ("depth_bomb", &["deeper than 64"]),
    ("oversized_event", &["larger than 256 KiB"]),
    ("garbage_line", &["must be a JSON object", "invalid UTF-8"]),
    ("no_event", &["no_events"]),
    ("bad_chunk_size", &["bad_chunk_size"]),
    ("chunk_overrun", &["bad_chunk_data"]),
    ("duplicate_content_length", &["bad_content_length"]),
    ("length_and_chunked", &["length_and_coding"]),
    ("missing_length", &["length_required"]),
    ("body_too_large", &["body_too_long"]),
    ("head_too_large", &["head_too_long"]),
    ("missing_host", &["no_host"]),
    ("bad_header", &["bad_header_name", "bad_header_value"]),
    ("bad_version", &["version_not_supported"]),
];

#[track_caller]
fn assert_reason(class: &str, said: &[u8]) {
    let said = String::from_utf8_lossy(said);
    match REASONS.iter().find(|(name, _)| *name == class) {
        Some((_, reasons)) => assert!(reasons.iter().any(|reason| said.contains(reason)), "{class}: {said}"),
        None => assert!(said.is_empty() || said.contains("\"errors\":[]"), "{class}: {said}"),
    }
}

/// Every class of `corpus` through the engine, several requests of each.
fn check_http(corpus: &mut Corpus, what: &str) {
    let (mut server, mut rng) = (Server::new(Protocol::Http), Rng::new(3));
    let classes: Vec<Class> = corpus.classes().to_vec();
    let drawn: Vec<ClassId> = corpus.drawn().map(|class| class.id).chain([VALID]).collect();
    for class in classes.iter().filter(|class| drawn.contains(&class.id)) {
        let rounds = if class.name == "oversized_event" { 4 } else { 40 };
        for round in 0..rounds {
            server.reopen(Protocol::Http);
            let request = corpus.pick_of(class.id, &mut rng);
            server.deliver(&request, TAIL);
            let outcomes = server.outcomes();
            assert_reason(class.name, &server.said);
            let shown = request.bytes[..request.bytes.len().min(700)].escape_ascii();
            assert!(
                outcomes.first().is_some_and(|&outcome| class.expected.is_met_by(outcome)),
                "{what}: {} {round}: expected {}, got {outcomes:?}: {shown}",
                class.name,
                class.expected,
            );
            let lives = class.expected.then == Then::Lives;
            assert_eq!(request.closes, !lives, "{}", class.name);
            assert_eq!(server.ended, !lives, "{what}: {} {round}: {shown}", class.name);
            let behind = if lives { &[Outcome::Status(404)][..] } else { &[] };
            assert_eq!(&outcomes[1..], behind, "{what}: {} {round}: {shown}", class.name);
        }
    }
}

#[test]
fn every_class_is_answered_as_expected() {
    for events in [1, 2, 7] {
        let mut corpus = Corpus::build(&spec(events)).unwrap();
        assert_eq!(corpus.drawn().count(), ALL.len() - 1, "all of them are sent");
        check_http(&mut corpus, &format!("{events} events"));
    }
}

#[test]
fn every_class_is_answered_as_expected_whatever_else_is_asked() {
    for (what, spec) in [
        ("identifiers", Spec { ids: true, ..spec(3) }),
        ("all or nothing", Spec { path: "/v1/events/a?ack=accepted&partial=reject".into(), ..spec(3) }),
        ("spans", Spec { source: Source::Span, ..spec(1) }),
        ("given lines", Spec { source: Source::Lines(b"{}\n{\"a\": [1, 2]}\n"), ..spec(2) }),
        ("one given line", Spec { source: Source::Lines(b"{\"a\": \"long enough\"}"), ..spec(1) }),
        ("a given body", Spec { source: Source::Body(b"{\n\"a\":1}\n"), ..spec(1) }),
        (
            "given headers",
            Spec {
                headers: vec![
                    ("content-type".into(), "application/json".into()),
                    ("HOST".into(), "example.org".into()),
                    ("X-Key".into(), "a b".into()),
                ],
                ..spec(1)
            },
        ),
    ] {
        check_http(&mut Corpus::build(&spec).unwrap(), what);
    }
}

#[test]
fn malformed_messages_are_refused_in_whatever_pieces_they_come() {
    let mut corpus = Corpus::build(&spec(1)).unwrap();
    let mut rng = Rng::new(8);
    for class in ALL.iter().filter(|class| class.scope == Scope::Message && class.name != "no_event") {
        for _ in 0..3 {
            let request = corpus.pick_of(class.id, &mut rng);
            let frames = http1_every_way(request.bytes);
            let Some(Frame::Reject(reject)) = frames.last() else { panic!("{}: {frames:?}", class.name) };
            assert!(class.expected.is_met_by(Outcome::Status(reject.status)), "{}: {reject:?}", class.name);
        }
    }
}

#[test]
fn every_class_of_lines_is_answered_as_expected() {
    for events in [1, 5] {
        let spec = Spec { lines: true, ..spec(events) };
        let mut corpus = Corpus::build(&spec).unwrap();
        let classes: Vec<Class> = corpus.classes().to_vec();
        let drawn: Vec<ClassId> = corpus.drawn().map(|class| class.id).chain([VALID]).collect();
        assert!(drawn.len() >= 14 && !drawn.contains(&by_name("bad_chunk_size").unwrap().id));
        let (mut server, mut rng) = (Server::new(Protocol::Lines), Rng::new(9));
        for class in classes.iter().filter(|class| drawn.contains(&class.id)) {
            for round in 0..if class.name == "oversized_event" { 4 } else { 40 } {
                server.reopen(Protocol::Lines);
                let request = corpus.pick_of(class.id, &mut rng);
                let lines = memchr::memchr_iter(b'\n', request.bytes).count() as u64;
                server.deliver(&request, b"");
                let (mut replies, mut through, mut refused) = (LineReplies::new(), 0, 0);
                let mut rest = &server.said[..];
                while let Some(reply) = replies.next(&mut rest) {
                    let reply = reply.expect("a reply to lines");
                    assert!(reply.acked && reply.through > through);
                    through = reply.through;
                    refused += reply.rejected().count() as u64;
                }
                assert_eq!(through, lines, "{}", class.name);
                let status = match refused {
                    0 => 200,
                    _ if refused == lines => 400,
                    _ => 207,
                };
                assert!(
                    class.expected.is_met_by(Outcome::Status(status)),
                    "{} {round}: {status}, {refused} of {lines}: {}",
                    class.name,
                    request.bytes[..request.bytes.len().min(700)].escape_ascii()
                );
            }
        }
    }
}

/// The body of an HTTP request.
fn body(request: &[u8]) -> &[u8] {
    let head = memchr::memmem::find(request, b"\r\n\r\n").expect("a head");
    &request[head + 4..]
}

#[test]
fn valid_requests_hold_as_many_good_events_as_asked() {
    const GIVEN: &[u8] = b"{\"a\":1}\n\n {\"b\":2} \r\n{\"c\":[]}";
    for source in [Source::Log, Source::Metric, Source::Span, Source::Mix, Source::Lines(GIVEN)] {
        for (events_per_request, ids, lines) in
            [(1, false, false), (1, true, true), (10, false, true), (10, true, false)]
        {
            let spec = Spec { source, events_per_request, ids, lines, ..Spec::default() };
            let mut corpus = Corpus::build(&spec).unwrap();
            let mut rng = Rng::new(1);
            let mut next_id = 0;
            for _ in 0..300 {
                let request = corpus.pick(&mut rng);
                assert_eq!(
                    (request.class, request.delivery, request.closes),
                    (VALID, Delivery::Whole, false)
                );
                assert_eq!(request.ids, if ids { events_per_request } else { 0 });
                assert_eq!(request.first_id, next_id);
                next_id += u64::from(request.ids);
                let body = if lines { request.bytes } else { body(request.bytes) };
                assert!(!lines || body.ends_with(b"\n"), "a line has its end");
                let mut good = 0;
                StrictScanner::new().scan(body, Format::Lines, |verdict| {
                    assert!(matches!(verdict, Verdict::Good { .. }), "{verdict:?}: {}", body.escape_ascii());
                    good += 1;
                });
                assert_eq!(good, events_per_request);
            }
        }
    }
}

#[test]
fn the_corpus_has_the_mean_of_its_source() {
    let spec = Spec { lines: true, ..Spec::default() };
    let mean = Corpus::build(&spec).unwrap().valid_bytes_mean();
    // 423 and a line break; the standard deviation of a mean of 512 is 18.
    assert!((370..=480).contains(&mean), "{mean}");
}

/// Whether `count` of `n` draws fits probability `p`: five standard deviations, which one in two million misses.
#[track_caller]
fn assert_binomial(count: u64, n: u64, p: f64, what: &str) {
    let (expected, deviation) = (n as f64 * p, (n as f64 * p * (1.0 - p)).sqrt());
    assert!(
        (count as f64 - expected).abs() <= 5.0 * deviation,
        "{what}: {count} of {n}, expected {expected}"
    );
}

#[test]
fn the_share_of_malformed_requests_is_exact() {
    const N: u64 = 400_000;
    for share in [0.001, 0.2, 0.5] {
        let mut corpus = Corpus::build(&Spec { malformed_share: share, ..Spec::default() }).unwrap();
        let mut counts = vec![0u64; ALL.len()];
        let mut rng = Rng::new(77);
        for _ in 0..N {
            counts[usize::from(corpus.pick(&mut rng).class)] += 1;
        }
        assert_binomial(N - counts[0], N, share, "all");
        let weights: u64 = ALL[1..].iter().map(|class| u64::from(class.weight)).sum();
        for class in &ALL[1..] {
            let p = share * f64::from(class.weight) / weights as f64;
            assert_binomial(counts[usize::from(class.id)], N, p, class.name);
        }
    }
}

#[test]
fn none_all_and_some_classes() {
    let mut rng = Rng::new(1);
    let mut corpus = Corpus::build(&Spec::default()).unwrap();
    assert_eq!(corpus.drawn().count(), 0);
    assert!((0..1000).all(|_| corpus.pick(&mut rng).class == VALID));
    let malformed_classes = vec!["bom".into(), "missing_length".into()];
    let spec = Spec { malformed_share: 1.0, malformed_classes, ..Spec::default() };
    let mut corpus = Corpus::build(&spec).unwrap();
    assert_eq!(corpus.drawn().map(|class| class.name).collect::<Vec<_>>(), ["bom", "missing_length"]);
    assert!(
        (0..1000)
            .all(|_| matches!(ALL[usize::from(corpus.pick(&mut rng).class)].name, "bom" | "missing_length"))
    );
}

#[test]
fn seeds_and_threads() {
    let build = |seed, ids| Corpus::build(&Spec { seed, ids, ..spec(2) }).unwrap();
    assert_eq!(build(4, true).buffer(), build(4, true).buffer(), "the same seed gives the same bytes");
    assert_ne!(build(4, false).buffer(), build(5, false).buffer());
    let mut other = build(4, true).for_thread(0xabc);
    let built = Corpus::build(&Spec { seed: 4, ids: true, thread: 0xabc, ..spec(2) }).unwrap();
    assert_eq!(other.buffer(), built.buffer(), "another thread differs by its number alone");
    let mut rng = Rng::new(1);
    for n in 0..200 {
        let request = other.pick_of(VALID, &mut rng);
        for number in [request.first_id, request.first_id + 1] {
            let id = format!("\"r\":\"0000000000000004-0abc-{number:012x}-");
            assert!(memchr::memmem::find(request.bytes, id.as_bytes()).is_some(), "{n}: {id}");
        }
    }
    assert_eq!(other.next_id(), 400);
}

#[test]
fn heads_say_what_was_asked() {
    let first = |spec: &Spec<'_>| {
        let mut corpus = Corpus::build(spec).unwrap();
        String::from_utf8(corpus.pick(&mut Rng::new(1)).bytes.to_vec()).unwrap()
    };
    let text = first(&Spec { source: Source::Lines(b"{}"), ..Spec::default() });
    let agent = concat!("User-Agent: ringmill-load/", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        text,
        format!(
            "POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n{agent}\r\nContent-Type: application/json\r\n\
             Content-Length: 2\r\n\r\n{{}}"
        )
    );
    let text = first(&Spec { source: Source::Lines(b"{}"), events_per_request: 3, ..Spec::default() });
    assert!(
        text.contains("Content-Type: application/x-ndjson\r\nContent-Length: 9\r\n\r\n{}\n{}\n{}\n"),
        "{text}"
    );
    let text =
        first(&Spec { source: Source::Body(b""), method: "GET".into(), path: "/".into(), ..Spec::default() });
    assert_eq!(text, format!("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n{agent}\r\n\r\n"));
    let text = first(&Spec {
        source: Source::Body(b"plain"),
        headers: vec![("user-agent".into(), "me".into()), ("host".into(), "b".into())],
        ..Spec::default()
    });
    assert_eq!(
        text,
        "POST /v1/events HTTP/1.1\r\nuser-agent: me\r\nhost: b\r\nContent-Type: application/octet-stream\r\n\
         Content-Length: 5\r\n\r\nplain"
    );
    assert_eq!(first(&Spec { source: Source::Body(b"{}"), lines: true, ..Spec::default() }), "{}\n");
}

#[test]
fn a_payload_of_the_users_is_sent_whole() {
    let text: String = (0..2000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let spec = Spec {
        source: Source::Lines(text.as_bytes()),
        lines: true,
        events_per_request: 3,
        ..Spec::default()
    };
    let corpus = Corpus::build(&spec).unwrap();
    assert_eq!(corpus.unused_lines(), 0);
    for n in [0, 1, 777, 1998, 1999] {
        let line = format!("{{\"n\":{n}}}\n");
        assert!(memchr::memmem::find(corpus.buffer(), line.as_bytes()).is_some(), "{n}");
    }
    let long = format!("{{\"a\":\"{}\"}}\n", "x".repeat(1 << 20)).repeat(40);
    let spec = Spec { source: Source::Lines(long.as_bytes()), lines: true, ..Spec::default() };
    assert_eq!(Corpus::build(&spec).unwrap().unused_lines(), 8, "and says what is too much");
    let large = Spec { events_per_request: 70, ..spec };
    assert!(Corpus::build(&large).unwrap_err().contains("--events-per-request"));
}

#[test]
fn what_cannot_be_sent_is_explained() {
    let header = |name: &str, value: &str| vec![(name.into(), value.into())];
    let cases: Vec<(Spec<'_>, &str)> = vec![
        (Spec { events_per_request: 0, ..Spec::default() }, "at least one event"),
        (Spec { malformed_share: 1.5, ..Spec::default() }, "between 0 % and 100 %"),
        (Spec { malformed_share: f64::NAN, ..Spec::default() }, "between 0 % and 100 %"),
        (Spec { malformed_share: 0.1, method: "GET".into(), ..Spec::default() }, "use POST or PUT"),
        (Spec { malformed_classes: vec!["nonsense".into()], ..Spec::default() }, "no class `nonsense`"),
        (Spec { malformed_classes: vec!["valid".into()], ..Spec::default() }, "not malformed"),
        (Spec { malformed_classes: vec!["bad_header".into()], lines: true, ..Spec::default() }, "needs HTTP"),
        (Spec { class_status: vec!["bom".into()], ..Spec::default() }, "NAME=STATUS"),
        (Spec { method: "PO ST".into(), ..Spec::default() }, "no HTTP method"),
        (Spec { path: "v1".into(), ..Spec::default() }, "begin with /"),
        (Spec { path: "/a b".into(), ..Spec::default() }, "%20"),
        (Spec { host: "".into(), ..Spec::default() }, "a name or an address"),
        (Spec { headers: header("X Y", "1"), ..Spec::default() }, "cannot be sent"),
        (Spec { headers: header("X", "1\r\nY: 2"), ..Spec::default() }, "control characters"),
        (Spec { headers: header("content-length", "1"), ..Spec::default() }, "leave it out"),
        (Spec { source: Source::Lines(b"\n \n"), ..Spec::default() }, "holds no line"),
        (Spec { source: Source::Lines(b"{}\n\n17\n"), ids: true, ..Spec::default() }, "line 3"),
        (Spec { source: Source::Body(b"{}"), ids: true, ..Spec::default() }, "identifiers"),
        (Spec { source: Source::Body(b""), lines: true, ..Spec::default() }, "nothing to send"),
    ];
    for (spec, says) in cases {
        let error = Corpus::build(&spec).expect_err(says);
        assert!(error.contains(says), "expected `{says}`: {error}");
    }
}

#[test]
fn bad_lines_of_a_payload_are_named() {
    assert_eq!(first_bad_line(b"{}\n\n{\"a\":1}\n"), None);
    assert_eq!(first_bad_line(b"{}\n\n{\"a\":}\nx\n"), Some((3, Reason::EXPECTED_VALUE)));
    assert_eq!(first_bad_line(b"[]"), Some((1, Reason::NOT_AN_OBJECT)));
}
