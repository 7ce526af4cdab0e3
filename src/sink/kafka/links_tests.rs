//! A producer, its links and a broker of this test, in one thread: every byte goes through, in slices of any size.
use super::handshake::tests::{KAFKA_4, versions};
use super::sasl::Mechanism;
use super::sasl::tests::{far_first, far_last};
use super::tls::tests::Authority;
use super::wire::tests::{answer, metadata_body};
use super::*;
use crate::core::kafka::arena::ArenaLimits;
use crate::core::kafka::producer::{NotReady, Outcome, Settings};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, InitProducerIdResponse, ProduceRequest, ProduceResponse, RequestHeader, SaslAuthenticateRequest,
    SaslAuthenticateResponse, SaslHandshakeResponse,
};
use kafka_protocol::protocol::Decodable;
use rustls::ServerConnection;
use std::io::{Read, Write};

const MS: u64 = 1_000_000;

/// What the broker does, and what it saw.
struct Broker {
    keys: Vec<(i16, i16, i16)>,
    password: &'static str,
    mechanism: Mechanism,
    lifetime_ms: i64,
    /// Says yes to everybody, without a proof.
    lets_in: bool,
    asked: Vec<i16>,
    /// Records as they came, a batch each.
    batches: Vec<Vec<u8>>,
    silent: bool,
}

/// The far end of one connection.
struct Far {
    tls: Option<ServerConnection>,
    came: Vec<u8>,
    back: Vec<u8>,
    /// The first message of a SCRAM exchange.
    first: Option<String>,
}

struct World {
    producer: Producer,
    links: Links,
    arena: RecordArena<Vec<u8>>,
    broker: Broker,
    far: Vec<Option<Far>>,
    authority: Option<Authority>,
    dialed: Vec<SocketAddr>,
    refused: Vec<SocketAddr>,
    /// Most bytes that one send moves, and that one receive brings.
    slice: usize,
    now_ns: u64,
    outcomes: Vec<Outcome>,
    /// What the files hold, and how often they were read.
    secrets: Result<Secrets, String>,
    secrets_read: u32,
}

fn world(change: impl FnOnce(&mut LinkSettings), authority: Option<Authority>) -> World {
    let mut settings = LinkSettings {
        brokers: vec![("127.0.0.1".into(), 9092)],
        client_id: "test".into(),
        tls: authority.as_ref().map(|authority| Tls::load(&authority.settings()).unwrap()),
        sasl: None,
        renews_secrets: false,
        produce_timeout_ms: 20_000,
    };
    change(&mut settings);
    let bootstrap = settings.brokers.len() as u16;
    let mut producer = Producer::new(Settings::new(bootstrap, 4, 2, 8, 7));
    producer.add_topic(0, "events").unwrap();
    let limits = ArenaLimits { partitions: 8, batches: 8, splits: 2, runs: 16, batch_bytes: 1_000_000 };
    World {
        producer,
        links: Links::new(settings, 4),
        arena: RecordArena::new(vec![0; 1 << 20], vec![0; 1 << 20], limits),
        broker: Broker {
            keys: KAFKA_4.to_vec(),
            password: "pw",
            mechanism: Mechanism::Plain,
            lifetime_ms: 0,
            lets_in: false,
            asked: Vec::new(),
            batches: Vec::new(),
            silent: false,
        },
        far: Vec::new(),
        authority,
        dialed: Vec::new(),
        refused: Vec::new(),
        slice: usize::MAX,
        now_ns: 0,
        outcomes: Vec::new(),
        secrets: Err("no such file".into()),
        secrets_read: 0,
    }
}

fn credentials(mechanism: Mechanism, password: &str) -> Option<Credentials> {
    Some(Credentials { mechanism, user: "bob".into(), password: password.into() })
}

impl World {
    /// Moves everything until nothing moves, then time by some milliseconds, for so many.
    fn run(&mut self, ms: u64) {
        let end_ns = self.now_ns + ms * MS;
        loop {
            while self.step() {}
            if self.now_ns >= end_ns {
                return;
            }
            self.now_ns += 5 * MS;
            self.producer.tick(self.now_ns);
            self.links.tick(self.now_ns);
        }
    }

    fn step(&mut self) -> bool {
        let now_ns = self.now_ns;
        self.links.obey(now_ns, &mut self.producer, &mut self.arena);
        while let Some((_, outcome)) = self.producer.next_outcome() {
            self.outcomes.push(outcome);
        }
        let mut moved = false;
        while let Some((peer, address)) = self.links.next_dial() {
            moved = true;
            self.dialed.push(address);
            let refused = self.refused.contains(&address);
            let tls = self.authority.as_ref().map(|authority| authority.broker("127.0.0.1", false));
            self.far.resize_with(self.far.len().max(peer as usize + 1), || None);
            let far = Far { tls, came: Vec::new(), back: Vec::new(), first: None };
            self.far[peer as usize] = (!refused).then_some(far);
            let result = if refused { Err(libc::ECONNREFUSED) } else { Ok(()) };
            self.links.dialed(now_ns, &mut self.producer, peer, result);
        }
        while let Some(peer) = self.links.next_hang_up() {
            moved = true;
            self.far[peer as usize] = None;
            self.links.peer_released(peer);
        }
        while let Some((link, task)) = self.links.next_task() {
            moved = true;
            let solution = match task {
                Task::Key(job) => Solution::Key(job.run()),
                Task::Secrets => {
                    self.secrets_read += 1;
                    Solution::Secrets(self.secrets.clone())
                }
                Task::Resolve { host, port } if host == "kafka" => {
                    Solution::Resolved(Ok((1..=2).map(|n| ([127, 0, 0, n], port).into()).collect()))
                }
                Task::Resolve { .. } => Solution::Resolved(Err("no such name".into())),
            };
            self.links.solved(now_ns, &mut self.producer, link, solution);
        }
        while let Some(send) = self.links.next_peer_send(&self.arena) {
            moved = true;
            let bytes: Vec<u8> =
                send.parts().iter().flat_map(|part| part.to_vec()).take(self.slice).collect();
            let peer = send.peer;
            let far = self.far[peer as usize].as_mut().expect("sends to nobody");
            self.broker.hear(far, &bytes);
            self.links.peer_sent(now_ns, &mut self.producer, peer, bytes.len());
        }
        for peer in 0..self.far.len() {
            let Some(far) = &mut self.far[peer] else { continue };
            let back = std::mem::take(&mut far.back);
            moved |= !back.is_empty();
            for slice in back.chunks(self.slice.min(back.len().max(1))) {
                self.links.peer_receive(now_ns, &mut self.producer, peer as PeerId, slice);
            }
        }
        moved
    }

    /// Submits one batch of so many records of 1,000 bytes, and what it is made of.
    fn submit(&mut self, records: u32) -> Vec<u8> {
        self.arena.clear();
        let index = self.producer.partitions(TopicIndex(0)).index(1).unwrap();
        for n in 0..records {
            self.arena
                .append(index.0, Some(b"key"), &[], 1_000, &[b'a' + n as u8 % 26; 1000], false)
                .unwrap();
        }
        self.arena.seal(None);
        let batch = self.arena.batches().next().unwrap();
        self.producer.submit(self.now_ns, batch.slot, index, batch.records, batch.bytes);
        self.arena.batch_bytes(batch.slot).1.to_vec()
    }

    /// A first batch, which brings the producer id.
    fn warm_up(&mut self) {
        self.submit(1);
        self.run(300);
        assert_eq!(self.outcomes.drain(..).count(), 1);
    }

    fn lose_all(&mut self, code: i32) {
        for peer in 0..self.far.len() as PeerId {
            if self.far[peer as usize].take().is_some() {
                self.links.peer_lost(self.now_ns, &mut self.producer, peer, code);
            }
        }
    }

    fn failure(&mut self) -> String {
        let mut last = String::new();
        while let Some(failure) = self.links.next_failure() {
            last = failure;
        }
        last
    }
}

impl Broker {
    fn hear(&mut self, far: &mut Far, bytes: &[u8]) {
        match &mut far.tls {
            None => far.came.extend_from_slice(bytes),
            Some(tls) => {
                let mut bytes = bytes;
                while !bytes.is_empty() {
                    tls.read_tls(&mut bytes).unwrap();
                    tls.process_new_packets().unwrap();
                    let _ = tls.reader().read_to_end(&mut far.came);
                }
            }
        }
        let mut answers = Vec::new();
        while let Some(head) = far.came.first_chunk::<4>() {
            let end = 4 + u32::from_be_bytes(*head) as usize;
            if far.came.len() < end {
                break;
            }
            let frame: Vec<u8> = far.came.drain(..end).skip(4).collect();
            let body = self.answer(&frame, &mut far.first);
            if !self.silent {
                answers.extend_from_slice(&(body.len() as u32).to_be_bytes());
                answers.extend(body);
            }
        }
        match &mut far.tls {
            None => far.back.extend(answers),
            Some(tls) => {
                tls.writer().write_all(&answers).unwrap();
                while tls.wants_write() {
                    tls.write_tls(&mut far.back).unwrap();
                }
            }
        }
    }

    fn answer(&mut self, frame: &[u8], first: &mut Option<String>) -> Vec<u8> {
        let number = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
        let (key, version) = (number(0), number(2));
        let api = ApiKey::try_from(key).unwrap();
        let mut rest = frame;
        let header = RequestHeader::decode(&mut rest, api.request_header_version(version)).unwrap();
        let correlation = header.correlation_id;
        self.asked.push(key);
        match api {
            ApiKey::ApiVersions => answer(correlation, version, &versions(&self.keys, 0)),
            ApiKey::SaslHandshake => answer(correlation, version, &SaslHandshakeResponse::default()),
            ApiKey::SaslAuthenticate => {
                let token = SaslAuthenticateRequest::decode(&mut rest, version).unwrap().auth_bytes;
                let (error, token) = self.authenticate(std::str::from_utf8(&token).unwrap(), first);
                let body = SaslAuthenticateResponse::default()
                    .with_error_code(error)
                    .with_auth_bytes(token.into_bytes().into())
                    .with_session_lifetime_ms(self.lifetime_ms);
                answer(correlation, version, &body)
            }
            ApiKey::Metadata => answer(correlation, version, &metadata_body(version, "127.0.0.1", 9093)),
            ApiKey::InitProducerId => {
                let body = InitProducerIdResponse::default().with_producer_id(9.into());
                answer(correlation, version, &body)
            }
            ApiKey::Produce => {
                let asked = ProduceRequest::decode(&mut rest, version).unwrap();
                let mut body = ProduceResponse::default();
                for topic in asked.topic_data {
                    let mut answered =
                        TopicProduceResponse::default().with_name(topic.name).with_topic_id(topic.topic_id);
                    for data in topic.partition_data {
                        self.batches.push(data.records.unwrap().to_vec());
                        answered.partition_responses.push(
                            PartitionProduceResponse::default().with_index(data.index).with_base_offset(40),
                        );
                    }
                    body.responses.push(answered);
                }
                answer(correlation, version, &body)
            }
            other => panic!("asked {other:?}"),
        }
    }

    fn authenticate(&self, token: &str, first: &mut Option<String>) -> (i16, String) {
        if self.lets_in {
            return (0, String::new());
        }
        if self.mechanism == Mechanism::Plain {
            let good = token.rsplit('\0').next() == Some(self.password);
            return (if good { 0 } else { 58 }, String::new());
        }
        let Some(said) = first.take() else {
            *first = Some(token.into());
            return (0, far_first(token));
        };
        let (knows, last) = far_last(self.mechanism, self.password, &said, token);
        (if knows { 0 } else { 58 }, if knows { last } else { String::new() })
    }
}

#[test]
fn a_batch_arrives_as_it_lies_whatever_the_slices_versions_and_credentials() {
    let narrow =
        |produce, metadata| vec![(0, 3, produce), (3, 4, metadata), (22, 0, 3), (17, 0, 1), (36, 0, 1)];
    let mechanisms =
        [None, Some(Mechanism::Plain), Some(Mechanism::ScramSha256), Some(Mechanism::ScramSha512)];
    for (case, mechanism) in mechanisms.into_iter().enumerate() {
        for (slice, encrypted, keys) in [
            (usize::MAX, false, KAFKA_4.to_vec()),
            (1, false, narrow(3, 4)),
            (7, true, narrow(9, 9)),
            (100_000, true, KAFKA_4.to_vec()),
            (1000, false, narrow(13, 9)),
        ] {
            let authority = encrypted.then(|| Authority::new(&format!("links-{case}-{slice}")));
            let sasl = mechanism.and_then(|mechanism| credentials(mechanism, "pw"));
            let mut world = world(|settings| settings.sasl = sasl, authority);
            world.broker.mechanism = mechanism.unwrap_or(Mechanism::Plain);
            (world.broker.keys, world.slice) = (keys, slice);
            world.run(200);
            assert_eq!(world.failure(), "");
            assert_eq!(world.producer.ready(), Ok(()));
            let records = if slice < 10 { 5 } else { 700 };
            let expected = world.submit(records);
            world.run(1000);
            assert_eq!(world.failure(), "");
            assert_eq!(world.outcomes, [Outcome::Written { base_offset: 40 }]);
            assert_eq!(world.broker.batches.len(), 1);
            let batch = &world.broker.batches[0];
            assert!(batch[..61] == *world.arena.batch_bytes(Slot(0)).0 && batch[61..] == expected);
            assert!(!world.links.borrows_batches());
            assert_eq!(world.failure(), "");
        }
    }
}

#[test]
fn a_name_is_resolved_and_its_addresses_are_tried_in_turn() {
    let mut world = world(|settings| settings.brokers = vec![("kafka".into(), 9092)], None);
    world.refused = vec!["127.0.0.1:9092".parse().unwrap()];
    world.run(300);
    assert_eq!(world.producer.ready(), Ok(()));
    assert_eq!(world.dialed[..2], ["127.0.0.1:9092".parse().unwrap(), "127.0.0.2:9092".parse().unwrap()]);
    assert_eq!(world.failure(), "");
}

#[test]
fn what_cannot_be_reached_is_said_with_its_name() {
    let mut unknown = world(|settings| settings.brokers = vec![("nowhere".into(), 9092)], None);
    unknown.run(300);
    assert_eq!(unknown.failure(), "broker nowhere:9092 has no address: no such name; check --sink");
    assert_eq!(unknown.producer.ready(), Err(NotReady::Unreachable(LinkFailure::Unresolved)));
    let mut down = world(|_| (), None);
    down.refused = vec!["127.0.0.1:9092".parse().unwrap()];
    down.run(300);
    assert!(down.dialed.len() > 1, "it tries again");
    assert!(down.failure().starts_with("broker 127.0.0.1:9092 refuses the connection"));
    assert_eq!(down.producer.ready(), Err(NotReady::Unreachable(LinkFailure::Refused)));
}

#[test]
fn wrong_credentials_are_said_and_tried_again() {
    for mechanism in [Mechanism::Plain, Mechanism::ScramSha256] {
        let mut world = world(|settings| settings.sasl = credentials(mechanism, "wrong"), None);
        world.broker.mechanism = mechanism;
        world.run(300);
        let failure = world.failure();
        let words = format!("refuses the user name or password for {}", mechanism.as_str());
        assert!(failure.contains(&words), "{failure}");
        assert_eq!(world.producer.ready(), Err(NotReady::Unreachable(LinkFailure::Authentication)));
        // Somebody mends it at the broker.
        world.broker.password = "wrong";
        world.run(20_000);
        assert_eq!(world.producer.ready(), Ok(()));
    }
}

#[test]
fn an_impostor_that_lets_everybody_in_is_not_believed() {
    let mut world = world(|settings| settings.sasl = credentials(Mechanism::ScramSha256, "pw"), None);
    world.broker.lets_in = true;
    world.run(300);
    assert!(world.failure().contains("cannot be believed during SCRAM-SHA-256"));
    assert_eq!(world.producer.ready(), Err(NotReady::Unreachable(LinkFailure::Authentication)));
}

#[test]
fn who_we_are_is_said_again_before_the_session_ends() {
    let mut world = world(|settings| settings.sasl = credentials(Mechanism::ScramSha512, "pw"), None);
    (world.broker.mechanism, world.broker.lifetime_ms) = (Mechanism::ScramSha512, 1000);
    world.run(200);
    assert_eq!(world.producer.ready(), Ok(()));
    let dialed = world.dialed.len();
    let at_ns = world.links.deadline_ns().unwrap();
    assert!(at_ns < 1000 * MS);
    for _ in 0..10 {
        world.submit(3);
        world.run(300);
    }
    assert_eq!(world.outcomes.len(), 10);
    let said = world.broker.asked.iter().filter(|&&key| key == 17).count();
    assert!(said >= 4, "{said} times in 3 s");
    assert_eq!((world.dialed.len(), world.failure()), (dialed, String::new()));
}

#[test]
fn batches_are_borrowed_until_the_driver_lets_go() {
    let mut world = world(|_| (), None);
    world.run(200);
    world.warm_up();
    world.submit(100);
    // As `step`, but the kernel holds on to what it was given.
    world.links.obey(world.now_ns, &mut world.producer, &mut world.arena);
    let peer = world.links.next_peer_send(&world.arena).unwrap().peer;
    assert!(world.links.borrows_batches());
    let far = world.far[peer as usize].take();
    world.links.peer_lost(world.now_ns, &mut world.producer, peer, libc::ECONNRESET);
    assert_eq!(world.failure(), "broker 127.0.0.1:9093 closed the connection");
    assert_eq!(world.links.next_hang_up(), Some(peer));
    assert!(world.links.borrows_batches() && !world.links.is_empty());
    world.links.peer_released(peer);
    assert!(!world.links.borrows_batches());
    drop(far);
    // It comes back with the same bytes.
    world.run(3000);
    assert_eq!(world.outcomes, [Outcome::Written { base_offset: 40 }]);
}

#[test]
fn a_connection_that_breaks_at_any_moment_is_made_anew() {
    for at in 0..40 {
        let mut world = world(|settings| settings.sasl = credentials(Mechanism::ScramSha256, "pw"), None);
        (world.broker.mechanism, world.slice) = (Mechanism::ScramSha256, 50);
        for _ in 0..at {
            world.step();
        }
        world.lose_all(if at % 2 == 0 { 0 } else { libc::ECONNRESET });
        world.run(3000);
        assert_eq!(world.producer.ready(), Ok(()), "broken at step {at}");
        world.submit(2);
        world.run(3000);
        assert_eq!(world.outcomes.len(), 1, "broken at step {at}");
    }
}

#[test]
fn a_broker_that_falls_silent_is_given_up_and_nothing_stays_behind() {
    let mut world = world(|_| (), None);
    world.run(200);
    world.warm_up();
    world.submit(2);
    world.broker.silent = true;
    world.run(150_000);
    assert!(matches!(world.outcomes[..], [Outcome::PossiblyWritten(_)]), "{:?}", world.outcomes);
    assert!(!world.links.borrows_batches());
    world.producer.drain(world.now_ns, world.now_ns);
    world.run(100);
    assert!(world.producer.is_drained() && world.links.is_empty());
}

#[test]
fn credentials_are_those_of_the_moment_and_older_ones_do_when_they_cannot_be_read() {
    let mut world = world(
        |settings| (settings.sasl, settings.renews_secrets) = (credentials(Mechanism::Plain, "pw"), true),
        None,
    );
    // What was read at the start does where nothing can be read.
    world.run(200);
    world.warm_up();
    assert!(world.failure().starts_with("no such file; going on with"), "and it is told");
    let read = world.secrets_read;
    assert!(read > 0);
    // The password is changed there and here, and connections are lost.
    world.broker.password = "new";
    world.secrets = Ok(Secrets { tls: None, sasl: credentials(Mechanism::Plain, "new") });
    world.lose_all(0);
    world.run(2000);
    assert!(world.producer.ready().is_ok() && world.secrets_read > read);
    world.secrets = Err("half written".into());
    world.lose_all(0);
    world.run(2000);
    assert!(world.producer.ready().is_ok(), "with those read last");
    assert!(world.failure().starts_with("half written; "));
}

#[test]
fn who_has_to_say_again_who_we_are_reads_the_password_again() {
    let mut world = world(
        |settings| (settings.sasl, settings.renews_secrets) = (credentials(Mechanism::Plain, "pw"), true),
        None,
    );
    world.secrets = Ok(Secrets { tls: None, sasl: credentials(Mechanism::Plain, "pw") });
    world.broker.lifetime_ms = 10_000;
    world.run(200);
    world.warm_up();
    let (read, asked) = (world.secrets_read, world.broker.asked.len());
    world.broker.password = "new";
    world.secrets = Ok(Secrets { tls: None, sasl: credentials(Mechanism::Plain, "new") });
    world.run(9_600);
    assert!(world.secrets_read > read);
    let again = world.broker.asked[asked..].iter().filter(|api| **api == 36).count();
    assert!(again > 0 && world.producer.ready().is_ok(), "{again} times, on the same connection");
    assert_eq!(world.failure(), "");
}
