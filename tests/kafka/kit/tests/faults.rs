//! Every fault of the fake and every meddling of the proxy does what its name says, and nothing more.

use kafka_protocol::{
    messages::{ApiKey, MetadataRequest, ProduceRequest, SaslAuthenticateRequest, SaslHandshakeRequest},
    protocol::StrBytes,
};
use ringmill_kafka_kit::{
    batch::Batch,
    fake::{Act, Fake, Fault, Hint, Settings, error},
    proxy::{Meddle, Proxy},
    raw::{Raw, Topic, encode, produce_request, timestamp},
};
use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_millis(200);

fn fake() -> Fake {
    Fake::start(Settings { nodes: 2, ..Settings::default() }.topic("events", 2))
}

fn connect(address: SocketAddr) -> (Raw, Topic) {
    let mut raw = Raw::connect(address).unwrap();
    let topic = raw.topic("events").unwrap();
    (raw, topic)
}

/// One batch of three records for a producer that nobody else is.
fn batch(producer: i64, sequence: i32) -> Vec<u8> {
    Batch::of_values(&["one", "two", "three"], timestamp()).stamped(producer, 0, sequence).encode()
}

/// What a client sees of one Produce under a fault: the error or the kind of failure.
fn produce(raw: &mut Raw, topic: &Topic, bytes: &[u8]) -> Result<i16, io::ErrorKind> {
    raw.patience(SOON);
    raw.produce(9, topic, 0, Some(bytes.to_vec())).map(|it| it.error_code).map_err(|e| e.kind())
}

fn is_closed(seen: Result<i16, io::ErrorKind>) -> bool {
    matches!(
        seen,
        Err(io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
    )
}

fn is_silent(seen: Result<i16, io::ErrorKind>) -> bool {
    matches!(seen, Err(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
}

#[test]
fn each_act_loses_exactly_what_it_says() {
    type Seen = fn(Result<i16, io::ErrorKind>) -> bool;
    let cases: [(Act, Seen, usize); 8] = [
        (Act::CloseBefore, is_closed, 0),
        (Act::CloseMid, is_closed, 0),
        (Act::CloseAfter, is_closed, 3),
        (Act::DropAnswer, is_silent, 3),
        (Act::Freeze, is_silent, 0),
        (Act::Error(error::KAFKA_STORAGE_ERROR), |seen| seen == Ok(error::KAFKA_STORAGE_ERROR), 0),
        (Act::ErrorAfter(error::REQUEST_TIMED_OUT), |seen| seen == Ok(error::REQUEST_TIMED_OUT), 3),
        (Act::Slices(1), |seen| seen == Ok(0), 3),
    ];
    for (act, seen, stored) in cases {
        let fake = fake();
        let (mut raw, topic) = connect(fake.addresses()[0]);
        let bytes = batch(1, 0);
        fake.fault(Fault::next(ApiKey::Produce, act.clone()).at(1));
        assert!(seen(produce(&mut raw, &topic, &bytes)), "{act:?}");
        assert_eq!(fake.records("events", 0).len(), stored, "{act:?}");
        // The retry, on a new connection, leaves exactly one.
        let (mut raw, topic) = connect(fake.addresses()[0]);
        assert_eq!(produce(&mut raw, &topic, &bytes), Ok(0), "{act:?}");
        assert_eq!(fake.records("events", 0).len(), 3, "{act:?}");
        assert_eq!((fake.complaints(), fake.faults_left()), (vec![], 0), "{act:?}");
    }
}

#[test]
fn faults_wait_for_their_node_their_call_and_their_turn() {
    let fake = fake();
    fake.fault(Fault::next(ApiKey::Produce, Act::Error(7)).at(2).times(2));
    fake.fault(Fault::next(ApiKey::Metadata, Act::Error(5)).after(1));
    let (mut raw, topic) = connect(fake.addresses()[0]);
    assert_eq!(raw.metadata(&["events"]).unwrap().topics[0].error_code, 5);
    assert_eq!(produce(&mut raw, &topic, &batch(1, 0)), Ok(0));
    let (mut other, _) = connect(fake.addresses()[1]);
    let mut second = |sequence| other.produce(9, &topic, 1, Some(batch(2, sequence))).unwrap().error_code;
    assert_eq!((second(0), second(0), second(0)), (7, 7, 0));
    assert_eq!(fake.faults_left(), 0);
}

#[test]
fn what_a_correct_producer_never_does_is_a_complaint() {
    let fake = fake();
    let (mut raw, topic) = connect(fake.addresses()[0]);
    assert_eq!(produce(&mut raw, &topic, &batch(1, 0)), Ok(0));
    let other = Batch::of_values(&["1", "2", "3"], 1).stamped(1, 0, 0).encode();
    assert_eq!(
        produce(&mut raw, &topic, &other),
        Ok(0),
        "Kafka sees a duplicate, and the new bytes are lost"
    );
    assert_eq!(fake.complaints().len(), 1);
    fake.fault(Fault::next(ApiKey::Produce, Act::Throttle(60_000)));
    let bytes = Some(batch(1, 3));
    let request = produce_request(&topic, 0, -1, bytes);
    assert_eq!(raw.call(9, &request).unwrap().throttle_time_ms, 60_000);
    raw.metadata(&["events"]).unwrap();
    assert_eq!(fake.complaints().len(), 2);
}

#[test]
fn leaders_move_and_hints_say_so_truly_not_at_all_or_falsely() {
    let fake = fake();
    let (mut raw, topic) = connect(fake.addresses()[0]);
    fake.change(|cluster| {
        cluster.freeze_metadata();
        cluster.lead("events", 0, 2);
    });
    assert_eq!(raw.topic("events").unwrap().leaders, [1, 2], "Metadata lags");
    for (hint, version, told) in [
        (Hint::True, 10, (2, 1)),
        (Hint::True, 9, (-1, -1)),
        (Hint::None, 13, (-1, -1)),
        (Hint::Lie(1, 0), 13, (1, 0)),
    ] {
        fake.change(|cluster| cluster.topic("events").partitions[0].hint = hint);
        let answer = raw.call(version, &produce_request(&topic, 0, -1, Some(batch(1, 0)))).unwrap();
        let it = &answer.responses[0].partition_responses[0];
        assert_eq!(it.error_code, error::NOT_LEADER_OR_FOLLOWER);
        assert_eq!((it.current_leader.leader_id.0, it.current_leader.leader_epoch), told, "{hint:?}");
        let port = answer.node_endpoints.first().map(|node| node.port as u16);
        let hinted = usize::try_from(told.0 - 1).ok().map(|node| fake.addresses()[node].port());
        assert_eq!(port, hinted, "{hint:?}");
    }
    fake.change(|cluster| cluster.thaw_metadata());
    assert_eq!(raw.topic("events").unwrap().leaders, [2, 2]);
    assert_eq!(fake.records("events", 0), vec![]);
}

#[test]
fn topics_vanish_grow_and_come_again_as_others() {
    let fake = fake();
    let (mut raw, old) = connect(fake.addresses()[0]);
    fake.change(|cluster| cluster.delete("events"));
    assert_eq!(raw.metadata(&["events"]).unwrap().topics[0].error_code, error::UNKNOWN_TOPIC_OR_PARTITION);
    fake.change(|cluster| cluster.create("events", 2));
    fake.change(|cluster| cluster.grow("events", 3));
    let new = raw.topic("events").unwrap();
    assert_eq!(new.leaders, [1, 2, 1]);
    let mut put = |topic, version| raw.produce(version, topic, 0, Some(batch(1, 0))).unwrap().error_code;
    assert_eq!(put(&old, 13), error::UNKNOWN_TOPIC_ID);
    assert_eq!((put(&old, 12), put(&new, 13)), (0, 0), "a name is the same, an id is not");
    fake.change(|cluster| cluster.forget_producers());
    assert_eq!(put(&new, 13), 0, "what is forgotten is taken twice");
    assert_eq!(fake.records("events", 0).len(), 6);
}

#[test]
fn a_node_stops_and_comes_back_at_its_address() {
    let fake = fake();
    let (mut raw, topic) = connect(fake.addresses()[0]);
    fake.stop_node(1);
    assert!(is_closed(produce(&mut raw, &topic, &batch(1, 0))));
    assert_eq!(Raw::connect(fake.addresses()[0]).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    let (mut other, _) = connect(fake.addresses()[1]);
    assert_eq!(other.metadata(&["events"]).unwrap().brokers.len(), 1);
    fake.start_node(1);
    let (mut raw, topic) = connect(fake.addresses()[0]);
    assert_eq!(produce(&mut raw, &topic, &batch(1, 0)), Ok(0));
    assert_eq!(raw.metadata(&["events"]).unwrap().brokers.len(), 2);
}

#[test]
fn answers_can_be_rewritten_and_versions_narrowed() {
    let fake = Fake::start(Settings::default().topic("events", 1).versions(ApiKey::Produce, 3, 7));
    let (mut raw, topic) = connect(fake.addresses()[0]);
    assert!(is_closed(produce(&mut raw, &topic, &batch(1, 0))), "version 9 is not offered");
    let (mut raw, _) = connect(fake.addresses()[0]);
    fake.fault(Fault::next(ApiKey::Metadata, Act::Rewrite(Arc::new(|bytes| bytes[7] ^= 0xff))));
    let lied = raw.metadata(&["events"]).unwrap_err();
    assert!(lied.to_string().contains("the answer is to"), "{lied}");
}

#[test]
fn nothing_is_said_before_the_login() {
    let users = vec![("ann".to_string(), "pw".to_string())];
    let fake = Fake::start(Settings { users, session: Some(SOON), ..Settings::default() }.topic("events", 1));
    let mut raw = Raw::connect(fake.addresses()[0]).unwrap();
    assert_eq!(raw.metadata(&["events"]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    for (password, code) in [("pw", 0), ("no", error::SASL_AUTHENTICATION_FAILED)] {
        let mut raw = Raw::connect(fake.addresses()[0]).unwrap();
        let plain = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str("PLAIN"));
        assert_eq!(raw.call(1, &plain).unwrap().error_code, 0);
        let bytes = format!("\0ann\0{password}").into_bytes().into();
        let login = raw.call(2, &SaslAuthenticateRequest::default().with_auth_bytes(bytes)).unwrap();
        assert_eq!(login.error_code, code);
        let allowed = raw.metadata(&["events"]).is_ok();
        assert_eq!(allowed, code == 0);
        if allowed {
            assert_eq!(login.session_lifetime_ms, SOON.as_millis() as i64);
            std::thread::sleep(SOON);
            assert!(raw.metadata(&["events"]).is_err(), "the session is over");
        }
    }
}

#[test]
fn the_proxy_loses_answers_and_keeps_requests() {
    type Seen = fn(Result<i16, io::ErrorKind>) -> bool;
    let cases: [(Meddle, Seen, usize); 7] = [
        (Meddle::DropAnswer, is_silent, 3),
        (Meddle::CutAnswer, is_closed, 3),
        (Meddle::CutAnswerAfter(7), is_closed, 3),
        (Meddle::CutRequestAfter(40), is_closed, 0),
        (Meddle::SliceAnswer(1), |seen| seen == Ok(0), 3),
        (Meddle::DelayAnswer(Duration::from_millis(20)), |seen| seen == Ok(0), 3),
        (Meddle::FlipRequest(20), |seen| seen == Ok(error::CORRUPT_MESSAGE), 0),
    ];
    for (meddle, seen, stored) in cases {
        let fake = fake();
        let proxy = Proxy::start(([127, 0, 0, 1], 0).into(), fake.addresses()[0]).unwrap();
        proxy.rule(ApiKey::Produce, 0, 1, meddle);
        let (mut raw, topic) = connect(proxy.address());
        assert!(seen(produce(&mut raw, &topic, &batch(1, 0))), "{meddle:?}");
        assert_eq!(fake.records("events", 0).len(), stored, "{meddle:?}");
        assert_eq!(proxy.rules_left(), 0, "{meddle:?}");
        let (mut raw, topic) = connect(proxy.address());
        assert_eq!(produce(&mut raw, &topic, &batch(2, 0)), Ok(0), "{meddle:?}");
    }
}

#[test]
fn the_proxy_keeps_answers_and_requests_together() {
    let fake = fake();
    let proxy = Proxy::start(([127, 0, 0, 1], 0).into(), fake.addresses()[0]).unwrap();
    proxy.rule(ApiKey::Produce, 1, 1, Meddle::DropAnswer);
    let (mut raw, topic) = connect(proxy.address());
    for version in [7, 9] {
        // Without an answer due, the next answer is that of the next request.
        raw.send(version, &produce_request(&topic, 0, 0, Some(batch(9, 0)))).unwrap();
    }
    let all: Vec<u8> = [
        encode(100, 9, &produce_request(&topic, 0, -1, Some(batch(1, 0)))),
        encode(101, 9, &MetadataRequest::default().with_topics(Some(vec![]))),
        encode(102, 9, &produce_request(&topic, 0, -1, Some(batch(1, 3)))),
    ]
    .concat();
    raw.send_bytes(&all).unwrap();
    raw.receive::<ProduceRequest>(9, 100).unwrap();
    raw.receive::<MetadataRequest>(9, 101).unwrap();
    raw.receive::<ProduceRequest>(9, 102).unwrap();
    assert_eq!(proxy.requests().len(), 6);
}

#[test]
fn the_proxy_slows_and_cuts() {
    let fake = fake();
    let proxy = Proxy::start(([127, 0, 0, 1], 0).into(), fake.addresses()[0]).unwrap();
    let (mut raw, topic) = connect(proxy.address());
    proxy.limit(Some(10_000));
    let began = Instant::now();
    let large = Batch::of_values(&[vec![b'x'; 2000]], timestamp()).encode();
    raw.produce(9, &topic, 0, Some(large)).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(200), "2 kB at 10 kB a second: {:?}", began.elapsed());
    proxy.limit(None);
    proxy.cut();
    assert!(is_closed(produce(&mut raw, &topic, &batch(1, 0))));
}
