//! What is taken, and every refusal with its text.
use super::*;
use crate::config::derive::tests::{derive, machine, refused};
use crate::core::ack::Ack;

#[test]
fn an_address_is_a_list_and_a_topic() {
    let address = parse_address("a.example:9092, [::1]:9093,10.0.0.1:1/Some.topic_1-x").unwrap();
    let brokers = [("a.example", 9092), ("[::1]", 9093), ("10.0.0.1", 1)];
    assert_eq!(address.brokers, brokers.map(|(host, port)| (host.to_string(), port)));
    assert_eq!(address.to_string(), "a.example:9092,[::1]:9093,10.0.0.1:1/Some.topic_1-x");
    assert!(!address.by_stream);
    let address = parse_address("a:1/in.{stream}").unwrap();
    assert_eq!((address.topic.as_str(), address.by_stream), ("in.", true));
    assert_eq!(address.to_string(), "a:1/in.{stream}");
    assert!(parse_address("a:1/{stream}").is_ok());
    for (text, why) in [
        ("a:9092", "no topic is named; expected kafka:HOST:PORT[,HOST:PORT…]/TOPIC"),
        ("a/t", "`a` is not HOST:PORT; expected"),
        ("a:0/t", "`a:0` is not HOST:PORT"),
        ("a:70000/t", "`a:70000` is not HOST:PORT"),
        (":1/t", "`:1` is not HOST:PORT"),
        ("a:1,/t", "`` is not HOST:PORT"),
        ("[::g]:1/t", "`[::g]:1` is not HOST:PORT"),
        ("http://a:1/t", "`http://a:1` is not HOST:PORT"),
        ("a:1,a:1/t", "a:1 is given twice"),
        ("a:1/", "`` is not a topic that Kafka allows"),
        ("a:1/..", "`..` is not a topic that Kafka allows"),
        ("a:1/a b", "`a b` is not a topic that Kafka allows"),
        ("a:1/{stream}-x", "`{stream}-x` is not a topic that Kafka allows"),
        ("a:1/{topic}", "`{topic}` is not a topic that Kafka allows"),
    ] {
        let refusal = parse_address(text).unwrap_err();
        assert!(refusal.starts_with(why), "{text}: {refusal}");
    }
}

#[test]
fn the_defaults_are_those_of_the_list() {
    let plan = derive("sink = \"kafka:a:1/t\"");
    assert_eq!((plan.ack, plan.sink.to_string().as_str()), (Ack::Replicated, "kafka:a:1/t"));
    let kafka = plan.kafka.unwrap();
    assert_eq!(
        (kafka.client_id.as_str(), kafka.codec, kafka.batch_bytes),
        ("ringmill", Codec::None, 1_000_000)
    );
    assert_eq!((kafka.request_timeout.as_secs(), kafka.delivery_timeout.as_secs()), (30, 120));
    assert_eq!((kafka.produce_timeout().as_secs(), kafka.leader_wait.as_secs()), (25, 10));
    assert_eq!((kafka.tls, kafka.sasl, kafka.create_topics), (None, None, false));
    assert_eq!((kafka.brokers_max, kafka.topics_max, kafka.partitions_max), (32, 1, 1024));
    assert!(matches!((kafka.key, kafka.time), (KeyFrom::None, TimeFrom::Arrival)));
    assert_eq!(kafka.headers.stream.as_deref(), Some("stream"));
    assert_eq!(kafka.headers.event_id.as_deref(), Some("id"));
    assert!(derive("").kafka.is_none());
}

#[test]
fn good_values_are_taken() {
    let plan = derive(
        "sink = \"kafka:a:1/t\"\nack = \"accepted\"\n[kafka]\nclient_id = \"me\"\ncompression = \"lz4\"\n\
         batch_bytes = \"64k\"\nrequest_timeout_s = \"2s\"\ndelivery_timeout_s = 5\nleader_wait_s = \"300ms\"\npartitioner = \"7\"\n\
         key = \"/user/id\"\ntimestamp = \"/t\"\nheaders = [\"s={stream}\", \"a=b,c=d\"]\ncreate_topics = true\ntls = true\n\
         tls_ca = \"/ca\"\ntls_cert = \"/cert\"\ntls_key = \"/key\"\ntls_server_name = \"kafka\"\n\
         sasl = \"plain\"\nuser = \"alice\"\npassword_file = \"/secret\"\nbrokers_max = 3\npartitions_max = 8",
    );
    assert_eq!(plan.ack, Ack::Accepted);
    let kafka = plan.kafka.unwrap();
    assert_eq!((kafka.client_id.as_str(), kafka.codec, kafka.batch_bytes), ("me", Codec::Lz4, 64 << 10));
    assert_eq!(kafka.produce_timeout(), Duration::from_secs(1));
    assert_eq!(kafka.leader_wait, Duration::from_millis(300));
    assert_eq!(kafka.spread, Spread::Explicit(7));
    assert!(matches!((&kafka.key, &kafka.time), (KeyFrom::Pointer(_), TimeFrom::Pointer(_))));
    let headers = &kafka.headers;
    assert_eq!((headers.stream.as_deref(), headers.event_id.as_deref()), (Some("s"), None));
    assert_eq!(headers.extra, [("a".to_string(), "b,c=d".to_string())]);
    let tls = kafka.tls.unwrap();
    assert_eq!(tls.ca, Some("/ca".into()));
    assert_eq!(tls.client, Some(("/cert".into(), "/key".into())));
    assert_eq!(tls.server_name.as_deref(), Some("kafka"));
    let sasl = kafka.sasl.unwrap();
    assert_eq!((sasl.mechanism, sasl.user.as_str()), (Mechanism::Plain, "alice"));
    assert!(kafka.create_topics);
}

#[test]
fn each_refusal_says_how_to_mend_it() {
    for (toml, text) in [
        (
            "compression = \"gzip\"",
            "kafka.compression = gzip (a.toml line 3): expected `none`, `lz4` or `zstd`",
        ),
        (
            "batch_bytes = \"2MiB\"",
            "kafka.batch_bytes = 2MiB (a.toml line 3): at most 1000000 bytes is allowed",
        ),
        ("batch_bytes = 1", "kafka.batch_bytes = 1 (a.toml line 3): at least 16 KiB is needed"),
        (
            "delivery_timeout_s = 3",
            "kafka.delivery_timeout_s = 3 (a.toml line 3): at least kafka.request_timeout_s is needed",
        ),
        (
            "partitioner = \"random\"",
            "kafka.partitioner = random (a.toml line 3): expected `sticky`, `round-robin` or the number",
        ),
        (
            "partitioner = \"1024\"",
            "kafka.partitioner = 1024 (a.toml line 3): kafka.partitions_max leaves room for partitions below 1024",
        ),
        ("key = \"user\"", "kafka.key = user (a.toml line 3): expected `none`, `header` or a JSON pointer"),
        ("key = \"/a~2\"", "kafka.key = /a~2 (a.toml line 3): in a JSON pointer `~` is written ~0"),
        (
            "timestamp = \"now\"",
            "kafka.timestamp = now (a.toml line 3): expected `arrival` or a JSON pointer",
        ),
        ("headers = \"x\"", "kafka.headers = x (a.toml line 3): `x`: expected NAME=VALUE"),
        (
            "headers = \"a=1,a=2\"",
            "kafka.headers = a=1,a=2 (a.toml line 3): `a=2`: the header a is given twice",
        ),
        (
            "headers = \"a={b}\"",
            "kafka.headers = a={b} (a.toml line 3): `a={b}`: a value is text, or once {stream}",
        ),
        (
            "headers = \"1=,2=,3=,4=,5=,6=,7=,8=,9=\"",
            "kafka.headers = 1=,2=,3=,4=,5=,6=,7=,8=,9= (a.toml line 3): a record has 8 headers at most",
        ),
        ("topics_max = 5", "kafka.topics_max = 5 (a.toml line 3): of no use with one topic"),
        ("client_id = \"\"", "kafka.client_id =  (a.toml line 3): a name of 1 to 249 bytes is expected"),
        ("tls_ca = \"x\"", "kafka.tls_ca = x (a.toml line 3): of no use without TLS: set kafka.tls = true"),
        ("tls_cert = \"x\"\ntls = true", "kafka.tls_cert = x (a.toml line 3): its private key is missing"),
        ("tls_key = \"x\"\ntls = true", "kafka.tls_key = x (a.toml line 3): its certificate is missing"),
        ("sasl = \"kerberos\"", "kafka.sasl = kerberos (a.toml line 3): expected `plain`, `scram-sha-256`"),
        ("user = \"x\"", "kafka.user = x (a.toml line 3): of no use without a mechanism: give kafka.sasl"),
        (
            "sasl = \"plain\"",
            "kafka.user = (default) (the default): kafka.sasl needs it\n\
             kafka.password_file = (default) (the default): kafka.sasl needs it",
        ),
        ("brokers_max = 0", "kafka.brokers_max = 0 (a.toml line 3): at least 1 is needed"),
    ] {
        let toml = format!("sink = \"kafka:a:1/t\"\n[kafka]\n{toml}");
        let got = refused(&toml, &machine());
        assert!(got.starts_with(text), "{toml}: {got}");
    }
}

#[test]
fn unknown_keys_are_met_with_a_suggestion() {
    use crate::config::raw::Raw;
    for (toml, text) in [
        (
            "[kafka]\npassword = \"x\"",
            "a.toml line 2: unknown key `kafka.password`; did you mean `kafka.password_file`?",
        ),
        (
            "[kafka]\ncompresion = \"x\"",
            "a.toml line 2: unknown key `kafka.compresion`; did you mean `kafka.compression`?",
        ),
        (
            "[kafka.tls]\nca = \"x\"",
            "kafka.tls = [kafka.tls] (a.toml line 1): a table cannot stand here; expected true or false",
        ),
    ] {
        let errors = Raw::from_toml(toml, "a.toml").unwrap_err();
        let got = errors[0].to_string();
        assert!(got.starts_with(text), "{toml}: {got}");
    }
}

#[test]
fn what_does_no_harm_is_warned_of() {
    let warnings = |toml: &str| derive(&format!("cores = 1\n{toml}")).warnings;
    assert_eq!(
        warnings("sink = \"null\"\nkafka.tls = true\nkafka.user = \"x\""),
        [
            "kafka.tls is given, but events do not go to Kafka",
            "kafka.user is given, but events do not go to Kafka"
        ]
    );
    let plain = "sink = \"kafka:a:1/t\"\n[kafka]\nsasl = \"plain\"\nuser = \"x\"\npassword_file = \"/x\"";
    assert_eq!(
        warnings(plain),
        ["kafka.sasl = plain without kafka.tls: the password goes over the network as it is"]
    );
    assert_eq!(warnings(&format!("{plain}\ntls = true")), Vec::<String>::new());
}

#[test]
fn a_password_is_one_line_of_a_file_and_never_shown() {
    let path = std::env::temp_dir().join(format!("ringmill-password-{}", std::process::id()));
    let sasl = Sasl { mechanism: Mechanism::ScramSha256, user: "alice".into(), password_file: path.clone() };
    for (text, password) in [
        (&b"pw"[..], Some("pw")),
        (b"pw\n", Some("pw")),
        (b"p w\r\n", Some("p w")),
        ("pässword\n".as_bytes(), Some("pässword")),
        (b"", None),
        (b"\n", None),
        (b"secret\nsecond\n", None),
        (b"\xff", None),
    ] {
        std::fs::write(&path, text).unwrap();
        let read = sasl.credentials();
        assert_eq!(read.as_ref().ok().map(|found| found.password.as_str()), password);
        assert!(!format!("{read:?}").contains("secret") && !format!("{read:?}").contains("pw"));
    }
    std::fs::remove_file(&path).unwrap();
    let why = sasl.credentials().unwrap_err();
    assert!(why.starts_with(&format!("kafka.password_file = {}: No such file", path.display())), "{why}");
}
