//! Scripts of what a broker answers, and how the handshake ends.
use super::super::wire::tests::answer;
use super::*;
use crate::sink::kafka::wire;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiVersionsResponse, SaslAuthenticateResponse, SaslHandshakeResponse};
use kafka_protocol::protocol::StrBytes;

/// Ranges of (Produce, Metadata, InitProducerId, SaslHandshake, SaslAuthenticate) of Kafka 4.
pub(in crate::sink::kafka) const KAFKA_4: [(i16, i16, i16); 5] =
    [(0, 0, 13), (3, 0, 13), (22, 0, 6), (17, 0, 1), (36, 0, 2)];

pub(in crate::sink::kafka) fn versions(keys: &[(i16, i16, i16)], error: i16) -> ApiVersionsResponse {
    let key = |&(key, min, max): &(i16, i16, i16)| {
        ApiVersion::default().with_api_key(key).with_min_version(min).with_max_version(max)
    };
    ApiVersionsResponse::default().with_error_code(error).with_api_keys(keys.iter().map(key).collect())
}

fn handshake(mechanism: Option<Mechanism>) -> (Handshake, Vec<u8>) {
    let credentials = mechanism
        .map(|mechanism| Arc::new(Credentials { mechanism, user: "bob".into(), password: "pw".into() }));
    let mut handshake = Handshake::new("test".into(), credentials);
    let mut out = Vec::new();
    handshake.begin(&mut out);
    (handshake, out)
}

fn say(handshake: &mut Handshake, frame: &[u8]) -> Result<Progress, Failure> {
    let mut out = Vec::new();
    let progress = handshake.answer(frame, &mut out);
    assert_eq!(!out.is_empty(), matches!(progress, Ok(Progress::Asked)), "{progress:?}");
    progress
}

fn say_versions(handshake: &mut Handshake, keys: &[(i16, i16, i16)]) -> Result<Progress, Failure> {
    let frame = answer(handshake.correlation(), 3, &versions(keys, 0));
    say(handshake, &frame)
}

fn token(version: i16, error: i16, token: &str, lifetime_ms: i64) -> Vec<u8> {
    let body = SaslAuthenticateResponse::default()
        .with_error_code(error)
        .with_error_message((error != 0).then(|| StrBytes::from_static_str("Authentication\nfailed")))
        .with_auth_bytes(token.as_bytes().to_vec().into())
        .with_session_lifetime_ms(lifetime_ms);
    answer(1, version, &body)
}

fn mechanisms(error: i16) -> Vec<u8> {
    let offered = vec![StrBytes::from_static_str("PLAIN"), StrBytes::from_static_str("GSSAPI")];
    answer(1, 1, &SaslHandshakeResponse::default().with_error_code(error).with_mechanisms(offered))
}

/// Up to the first token.
fn greeted(mechanism: Mechanism) -> Handshake {
    let (mut handshake, _) = handshake(Some(mechanism));
    assert!(matches!(say_versions(&mut handshake, &KAFKA_4), Ok(Progress::Asked)));
    assert!(matches!(say(&mut handshake, &mechanisms(0)), Ok(Progress::Asked)));
    handshake
}

#[test]
fn agrees_on_the_newest_versions_that_both_have() {
    for (keys, produce, metadata, id) in [
        (KAFKA_4, 13, 13, 5),
        ([(0, 0, 3), (3, 0, 4), (22, 0, 0), (17, 0, 1), (36, 0, 0)], 3, 4, 0),
        ([(0, 3, 30), (3, 4, 30), (22, 5, 30), (17, 1, 1), (36, 0, 9)], 13, 13, 5),
        ([(0, 7, 9), (3, 0, 9), (22, 1, 4), (17, 0, 1), (36, 0, 1)], 9, 9, 4),
    ] {
        let (mut handshake, _) = handshake(None);
        let done = say_versions(&mut handshake, &keys);
        assert!(matches!(done, Ok(Progress::Done { lifetime_ms: 0 })), "{done:?}");
        let agreed = Versions { produce, metadata, init_producer_id: id };
        assert_eq!(handshake.versions(), agreed);
    }
    assert_eq!(
        (produce_version(13, true), produce_version(13, false), produce_version(9, false)),
        (13, 12, 9)
    );
}

#[test]
fn asks_an_old_broker_in_its_version() {
    let (mut handshake, _) = handshake(None);
    let first = handshake.correlation();
    let frame = answer(first, 0, &versions(&KAFKA_4, 35));
    assert!(matches!(say(&mut handshake, &frame), Ok(Progress::Asked)));
    assert_ne!(handshake.correlation(), first);
    let frame = answer(1, 0, &versions(&KAFKA_4, 0));
    assert!(matches!(say(&mut handshake, &frame), Ok(Progress::Done { .. })));
    assert_eq!(handshake.versions().produce, 13);
}

#[test]
fn says_what_a_broker_lacks() {
    for (keys, why, words) in [
        (vec![(3, 0, 13), (22, 0, 5)], LinkFailure::TooOld, "does not know Produce"),
        (vec![(0, 0, 2), (3, 0, 13), (22, 0, 5)], LinkFailure::TooOld, "older"),
        (vec![(0, 0, 6), (3, 0, 13), (22, 0, 5)], LinkFailure::TooOld, "we speak 7 to"),
        (vec![(0, 14, 20), (3, 0, 13), (22, 0, 5)], LinkFailure::Protocol, "newer"),
        (vec![(0, 0, 13), (3, 0, 3), (22, 0, 5)], LinkFailure::TooOld, "Metadata in versions 0 to 3"),
        (vec![(0, 0, 13), (3, 0, 13)], LinkFailure::TooOld, "InitProducerId"),
    ] {
        let failure = say_versions(&mut handshake(None).0, &keys).unwrap_err();
        assert!(failure.why == why && failure.text.contains(words), "{failure:?}");
    }
    let failure = say_versions(&mut handshake(Some(Mechanism::Plain)).0, &KAFKA_4[..3]).unwrap_err();
    assert!(failure.text.contains("SaslHandshake"), "{failure:?}");
    let (mut twice, _) = handshake(None);
    let frame = answer(1, 0, &versions(&KAFKA_4, 35));
    say(&mut twice, &frame).unwrap();
    let failure = say(&mut twice, &frame).unwrap_err();
    assert!(failure.text.contains("UNSUPPORTED_VERSION"), "{failure:?}");
}

#[test]
fn plain_is_one_token() {
    let mut handshake = greeted(Mechanism::Plain);
    let done = say(&mut handshake, &token(2, 0, "", 60_000));
    assert!(matches!(done, Ok(Progress::Done { lifetime_ms: 60_000 })), "{done:?}");
    // Once more, as the broker wants it: without asking for versions.
    let mut out = Vec::new();
    handshake.again(&mut out);
    assert_eq!(out[4..6], 17_i16.to_be_bytes());
    assert!(matches!(say(&mut handshake, &mechanisms(0)), Ok(Progress::Asked)));
    assert!(matches!(say(&mut handshake, &token(2, 0, "", 0)), Ok(Progress::Done { lifetime_ms: 0 })));
}

#[test]
fn scram_waits_for_its_key_and_believes_only_a_right_proof() {
    for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha512] {
        let (mut handshake, _) = handshake(Some(mechanism));
        say_versions(&mut handshake, &KAFKA_4).unwrap();
        let mut out = Vec::new();
        handshake.answer(&mechanisms(0), &mut out).unwrap();
        let sent = String::from_utf8_lossy(&out).into_owned();
        let nonce = sent.split_once(",r=").unwrap().1.trim_end_matches('\0').to_owned();
        let first = format!("r={nonce}more,s=c2FsdA==,i=4096");
        let job = match say(&mut handshake, &token(2, 0, &first, 0)) {
            Ok(Progress::NeedsKey(job)) => job,
            other => panic!("{other:?}"),
        };
        let mut out = Vec::new();
        handshake.key(&job.run(), &mut out);
        assert!(String::from_utf8_lossy(&out).contains("c=biws,r="));
        // A second key changes nothing.
        let mut none = Vec::new();
        handshake.key(&job.run(), &mut none);
        assert!(none.is_empty());
    }
}

#[test]
fn a_wrong_proof_ends_it() {
    let mut handshake = greeted(Mechanism::ScramSha256);
    let failure = say(&mut handshake, &token(2, 0, "r=other,s=c2FsdA==,i=4096", 0)).unwrap_err();
    assert_eq!(failure.why, LinkFailure::Authentication);
    assert!(failure.text.contains("nonce"), "{failure:?}");
}

#[test]
fn refusals_say_where_and_how_to_mend() {
    let (mut unknown, _) = handshake(Some(Mechanism::ScramSha256));
    say_versions(&mut unknown, &KAFKA_4).unwrap();
    let failure = say(&mut unknown, &mechanisms(33)).unwrap_err();
    assert_eq!(failure.text, "does not take SCRAM-SHA-256 but PLAIN, GSSAPI; check kafka.sasl");
    let (mut plaintext, _) = handshake(Some(Mechanism::Plain));
    say_versions(&mut plaintext, &KAFKA_4).unwrap();
    let failure = say(&mut plaintext, &mechanisms(34)).unwrap_err();
    assert!(failure.text.contains("takes no credentials on this port"), "{failure:?}");
    let mut refused = greeted(Mechanism::Plain);
    let failure = say(&mut refused, &token(2, 58, "", 0)).unwrap_err();
    assert_eq!(failure.why, LinkFailure::Authentication);
    assert_eq!(
        failure.text,
        "refuses the user name or password for PLAIN (Authenticationfailed); check kafka.sasl"
    );
    let closed = greeted(Mechanism::ScramSha256).closed();
    assert_eq!(
        closed.text,
        "closed the connection during SaslAuthenticate: wrong user name or password for SCRAM-SHA-256; check \
         kafka.sasl"
    );
    let closed = handshake(None).0.closed();
    assert!(closed.text.contains("ApiVersions"), "{closed:?}");
}

#[test]
fn garbage_at_any_step_is_an_error() {
    for garbage in [&b""[..], b"x", &[0xff; 40], &[0; 5]] {
        let mut places = [
            handshake(None).0,
            {
                let mut handshake = handshake(Some(Mechanism::Plain)).0;
                say_versions(&mut handshake, &KAFKA_4).unwrap();
                handshake
            },
            greeted(Mechanism::Plain),
            greeted(Mechanism::ScramSha512),
        ];
        for handshake in &mut places {
            let failure = say(handshake, garbage).unwrap_err();
            assert!(!failure.text.is_empty());
            // And it is over.
            assert!(say(handshake, garbage).is_err());
        }
    }
    assert_eq!(wire::API_VERSIONS, 3);
}
