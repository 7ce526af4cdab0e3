//! Kafka's own producer takes the fake for a broker: with every login and codec, and through faults.

use kafka_protocol::messages::ApiKey;
use ringmill_kafka_kit::{
    fake::{Act, Fake, Fault, Settings, error},
    rig::Rig,
};
use std::{fs, path::PathBuf};

/// Settings of the Java client for the fake, in a file that the rig's folder takes along.
fn properties(rig: &Rig, fake: &Fake, more: &[(&str, &str)]) -> PathBuf {
    let bootstrap = fake.addresses()[0].to_string();
    let every =
        [("bootstrap.servers", bootstrap.as_str()), ("request.timeout.ms", "2000"), ("linger.ms", "1")];
    let text: String = every.iter().chain(more).map(|(key, value)| format!("{key}={value}\n")).collect();
    let path = PathBuf::from(rig.up()["folder"].as_str().unwrap()).join("client.properties");
    fs::write(&path, text).unwrap();
    path
}

/// 300 records of 100 bytes by the Java client; `Err` is its complaint.
fn produce(rig: &mut Rig, fake: &Fake, more: &[(&str, &str)]) -> Result<(), String> {
    let path = properties(rig, fake, more);
    rig.ask(&["produce", "events", "300", "100", path.to_str().unwrap()]).map(|_| ())
}

/// The values in the fake, each once, or a panic.
fn assert_exactly_once(fake: &Fake, partitions: usize) {
    let records = (0..partitions).flat_map(|partition| fake.records("events", partition));
    let mut keys: Vec<_> = records.map(|it| String::from_utf8(it.record.key.unwrap()).unwrap()).collect();
    keys.sort();
    let mut wanted: Vec<_> = (0..300).map(|i| format!("key-{i}")).collect();
    wanted.sort();
    assert_eq!(keys, wanted);
    assert_eq!((fake.complaints(), fake.faults_left()), (vec![], 0));
}

#[test]
fn kafkas_own_producer_takes_the_fake_for_a_broker() {
    let mut rig = Rig::start(&[]);
    codecs(&mut rig);
    logins(&mut rig);
    faults(&mut rig);
}

fn codecs(rig: &mut Rig) {
    for codec in ["none", "lz4", "zstd"] {
        let fake = Fake::start(Settings { nodes: 2, ..Settings::default() }.topic("events", 3));
        produce(rig, &fake, &[("compression.type", codec)]).unwrap();
        assert_exactly_once(&fake, 3);
    }
}

fn logins(rig: &mut Rig) {
    let users = vec![("an,n=".to_string(), "pw, of=ann".to_string())];
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        for (password, accepted) in [("pw, of=ann", true), ("pw", false)] {
            let settings = Settings { users: users.clone(), ..Settings::default() }.topic("events", 1);
            let fake = Fake::start(settings);
            let module = if mechanism == "PLAIN" { "plain.Plain" } else { "scram.Scram" };
            let login = format!(
                "org.apache.kafka.common.security.{module}LoginModule required username=\"an,n=\" password=\"{password}\";"
            );
            let more = [
                ("security.protocol", "SASL_PLAINTEXT"),
                ("sasl.mechanism", mechanism),
                ("sasl.jaas.config", &login),
            ];
            if accepted {
                produce(rig, &fake, &more).unwrap();
                assert_exactly_once(&fake, 1);
            } else {
                // One record: the client tries to log in anew for each.
                let path = properties(rig, &fake, &more);
                let why = rig.ask(&["produce", "events", "1", "10", path.to_str().unwrap()]).unwrap_err();
                assert!(why.contains("SaslAuthentication"), "{mechanism}: {why}");
            }
        }
    }
}

fn faults(rig: &mut Rig) {
    let acts = [
        Act::CloseBefore,
        Act::CloseMid,
        Act::CloseAfter,
        Act::DropAnswer,
        Act::Error(error::NOT_ENOUGH_REPLICAS),
        Act::ErrorAfter(error::NOT_ENOUGH_REPLICAS_AFTER_APPEND),
        Act::Slices(1),
    ];
    for act in acts {
        let fake = Fake::start(Settings { nodes: 2, ..Settings::default() }.topic("events", 2));
        fake.fault(Fault::next(ApiKey::Produce, act.clone()));
        fake.fault(Fault::next(ApiKey::Metadata, Act::Slices(1)));
        // One in flight, as ours: of two, an error for the first alone lets the second in, since a partition takes any
        // sequence of a producer that it does not know, and then the first is out of order for ever.
        let one = [("max.in.flight.requests.per.connection", "1")];
        produce(rig, &fake, &one).unwrap_or_else(|why| panic!("{act:?}: {why}"));
        assert_exactly_once(&fake, 2);
    }
}
