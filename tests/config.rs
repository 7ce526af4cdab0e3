//! The built program's configuration, from outside.
use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Command, Output},
};

fn serve(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmill"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RINGMILL_") {
            command.env_remove(name);
        }
    }
    command.args(["serve", "--dry-run"]).args(args).envs(env.iter().copied()).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("ringmill-config-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().into()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server that runs elsewhere on this machine must not matter.
const ANY_PORT: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];

#[test]
fn a_sound_configuration_prints_the_sum_and_exits_0() {
    let folder = Folder::new("sound");
    let sink = format!("segments:{}/new/data", folder.0.display());
    let output = serve(&[&ANY_PORT[..], &["--sink", &sink]].concat(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let plan = text(&output.stdout);
    for needle in ["http             127.0.0.1:0", "ack              durable", "receive ring", "  total "] {
        assert!(plan.contains(needle), "{needle}\n{plan}");
    }
    assert!(!folder.0.join("new").exists(), "a rehearsal leaves no trace");
}

#[test]
fn the_scanner_and_its_kernel_are_told() {
    let folder = Folder::new("scanner");
    let path = folder.file("a.toml", "[json]\nengine = \"simd-json\"\n");
    let elsewhere = ["--sink", "null"];
    for (more, env, row) in [
        (&[][..], &[("RINGMILL_SIMD", "scalar")][..], "scanner          fast (scalar)\n"),
        (&["--scanner", "exact"], &[], "scanner          exact\n"),
        (&["--config", &path], &[], "scanner          simd-json\n"),
        (&["--config", &path], &[("RINGMILL_SCANNER", "exact")], "scanner          exact\n"),
    ] {
        let output = serve(&[&ANY_PORT[..], &elsewhere, more].concat(), env);
        let plan = text(&output.stdout);
        assert!(plan.contains(row), "{row}\n{plan}{}", text(&output.stderr));
        assert_eq!(
            plan.matches("a window's tokens and tables").count(),
            usize::from(row.contains("fast")),
            "{plan}"
        );
    }
    let foreign = if cfg!(target_arch = "x86_64") { "neon" } else { "avx2" };
    let output = serve(&[&ANY_PORT[..], &elsewhere].concat(), &[("RINGMILL_SIMD", foreign)]);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains(&format!("this processor has no {foreign}; its best is")), "{errors}");
}

#[test]
fn flags_beat_environment_beats_file() {
    let folder = Folder::new("layers");
    let path = folder.file(
        "a.toml",
        "ack = \"accepted\"\nlinger_us = 5\nconnections_max = 10\nlisten = \"127.0.0.1:0\"\n",
    );
    let output = serve(
        &["--config", &path, "--ack", "durable", "--sink", &format!("segments:{}", folder.0.display())],
        &[
            ("RINGMILL_ACK", "written"),
            ("RINGMILL_LINGER_US", "7us"),
            ("RINGMILL_ADMIN", "none"),
            ("RINGMILL_POLL", ""),
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let plan = text(&output.stdout);
    for needle in [
        "ack              durable",
        "linger 7us",
        "connections      10 a shard",
        "admin            -",
        "http             127.0.0.1:0",
    ] {
        assert!(plan.contains(needle), "{needle}\n{plan}");
    }
    let by_env = serve(&["--admin", "none", "--sink", "null"], &[("RINGMILL_CONFIG", &path)]);
    assert!(text(&by_env.stdout).contains("connections      10 a shard"), "{}", text(&by_env.stderr));
}

#[test]
fn refusals_exit_2_and_say_where() {
    let folder = Folder::new("refusals");
    let unknown = folder.file("unknown.toml", "\nsegment_byte = 1\nmemory = true\n");
    let broken = folder.file("broken.toml", "listen = \n");
    let plain = folder.file("plain", "x");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (args, env, needles) in [
        (vec!["--lisen", "x"], vec![], vec!["--lisen", "--listen"]),
        (
            vec!["--config", &unknown],
            vec![],
            vec![
                "line 2: unknown key `segment_byte`; did you mean `segment_bytes`?",
                "memory = true",
                "line 3",
            ],
        ),
        (vec!["--config", &broken], vec![], vec!["broken.toml line 1: "]),
        (vec!["--config", "/nonexistent/a.toml"], vec![], vec!["/nonexistent/a.toml: cannot be read"]),
        (
            vec!["--segment-bytes", "1k"],
            vec![],
            vec!["segment_bytes = 1k (flag --segment-bytes): at least 10 MiB"],
        ),
        (vec![], vec![("RINGMILL_MEMORY", "1")], vec!["memory = 1 (environment RINGMILL_MEMORY): at least "]),
        (
            vec!["--sink", "null", "--ack", "durable"],
            vec![],
            vec!["ack = durable (flag --ack): the sink null reaches `accepted` at most"],
        ),
        (
            vec!["--sink", "kafka:a/t", "--kafka-tls-ca", "x", "--kafka-compression", "snappy"],
            vec![("RINGMILL_KAFKA_USER", "me")],
            vec![
                "sink = kafka:a/t (flag --sink): `a` is not HOST:PORT; expected kafka:HOST:PORT[,HOST:PORT…]/TOPIC",
            ],
        ),
        (
            vec!["--sink", "kafka:a:1/t", "--kafka-tls-ca", "x", "--kafka-compression", "snappy"],
            vec![("RINGMILL_KAFKA_USER", "me")],
            vec![
                "kafka.tls_ca = x (flag --kafka-tls-ca): of no use without TLS",
                "kafka.compression = snappy (flag --kafka-compression): expected `none`, `lz4` or `zstd`",
                "kafka.user = me (environment RINGMILL_KAFKA_USER): of no use without a mechanism",
            ],
        ),
        (vec!["--sink", "kafka:a:1/t", "--kafka-password", "x"], vec![], vec!["--kafka-password", "-file"]),
        (
            vec!["--sink", "kafka:a:1/t", "--kafka-tls", "--kafka-tls-ca", &plain],
            vec![],
            vec!["no certificate"],
        ),
        (
            vec![
                "--sink",
                "kafka:a:1/t",
                "--kafka-sasl",
                "scram-sha-256",
                "--kafka-user",
                "me",
                "--kafka-password-file",
                "/nonexistent/secret",
            ],
            vec![],
            vec!["kafka.password_file = /nonexistent/secret: No such file"],
        ),
        (vec!["--cores", "8000"], vec![], vec!["core 8000 is not online"]),
        (vec!["--listen-lines", &taken], vec![], vec!["the port is taken"]),
        (vec!["--sink", &format!("segments:{plain}")], vec![], vec!["is not a directory"]),
        (
            vec!["--listen-lines", &format!("unix:{plain}")],
            vec![],
            vec!["something else than a socket stands there"],
        ),
    ] {
        let output = serve(&[&ANY_PORT[..], &args].concat(), &env);
        assert_eq!(output.status.code(), Some(2), "{args:?} {}", text(&output.stderr));
        for needle in needles {
            assert!(text(&output.stderr).contains(needle), "{args:?}: {needle}\n{}", text(&output.stderr));
        }
    }
}

#[test]
fn a_kafka_sink_is_planned_without_reaching_it_or_telling_its_password() {
    let folder = Folder::new("kafka");
    let secret = folder.file("secret", "correct horse\n");
    let toml = format!(
        "sink = \"kafka:broker.invalid:9092,[::1]:9093/events\"\n[kafka]\ncompression = \"lz4\"\ntls = true\n\
         sasl = \"scram-sha-512\"\nuser = \"alice\"\npassword_file = \"{secret}\"\n"
    );
    let path = folder.file("a.toml", &toml);
    let output = serve(&[&ANY_PORT[..], &["--config", &path, "--ack", "replicated"]].concat(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let plan = text(&output.stdout);
    for needle in [
        "sink             kafka:broker.invalid:9092,[::1]:9093/events\n",
        "ack              replicated\n",
        "kafka            client ringmill, TLS, SASL SCRAM-SHA-512 as alice; topics must exist\n",
        "compression lz4, partitioner sticky; room for 1024 partitions on 32 brokers\n",
        "gathered records",
        "Kafka links",
    ] {
        assert!(plan.contains(needle), "{needle}\n{plan}");
    }
    assert!(!plan.contains("correct horse") && !text(&output.stderr).contains("correct horse"));
    let other = serve(&[&ANY_PORT[..], &["--sink", "null", "--kafka-tls"]].concat(), &[]);
    assert_eq!(other.status.code(), Some(0), "{}", text(&other.stderr));
    assert!(text(&other.stderr).contains("kafka.tls is given, but events do not go to Kafka"));
}

#[test]
fn logs_go_to_standard_error_in_the_format_asked_for() {
    let args = [&ANY_PORT[..], &["--sink", "null", "--log-format", "json"]].concat();
    for (level, code) in [("off", 0), ("debug", 0), ("loud", 2)] {
        let output = serve(&args, &[("RINGMILL_LOG", level)]);
        assert_eq!(output.status.code(), Some(code), "{level} {}", text(&output.stderr));
        if code == 2 {
            assert!(text(&output.stderr).contains("log_level = loud (environment RINGMILL_LOG)"));
        } else {
            assert!(
                text(&output.stderr).lines().all(|line| line.starts_with('{')),
                "{}",
                text(&output.stderr)
            );
        }
    }
}

#[test]
fn usage_is_told() {
    for (args, code) in [
        (vec![], 2),
        (vec!["serv"], 2),
        (vec!["--help"], 0),
        (vec!["serve", "--help"], 0),
        (vec!["--version"], 0),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_ringmill")).args(&args).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}");
    }
}

#[test]
fn the_readme_names_every_setting_with_its_default() {
    let readme = include_str!("../README.md");
    for key in ringmill::config::raw::KEYS {
        let flag = format!("| `--{}", key.flag());
        let row = readme
            .lines()
            .find(|line| line.strip_prefix(&flag).is_some_and(|rest| rest.starts_with([' ', '`'])))
            .unwrap_or_else(|| panic!("no row for {flag} in the table of README.md"));
        assert!(row.ends_with(&format!("| {} |", key.default)), "{row}");
        assert!(row.contains(key.help), "{row}");
    }
}
