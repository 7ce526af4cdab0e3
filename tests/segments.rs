//! Segment directories as `ringmill segments` sees them, beside the reader written from the format's page.
use clap::Parser;
use ringmill::command::segments::{SegmentsArgs, run_to};
use ringmill_core::segment::testing::{Writer, quarantine};
use ringmill_core::segment::{BLOCK_BYTES, Chain, HEADER_BYTES, Hash};
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    segments: SegmentsArgs,
}

/// A directory of its own, gone when the test ends.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("ringmill-segments-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn run(&self, command: &str, more: &[&str]) -> (u8, String) {
        let dir = self.0.to_str().unwrap();
        let line = Line::try_parse_from(["segments", command, dir].iter().chain(more)).unwrap();
        let mut out = Vec::new();
        let code = run_to(&line.segments, &mut out);
        (code, String::from_utf8_lossy(&out).into_owned())
    }

    fn python(&self, flags: &[&str]) -> (u8, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/read_segments.py");
        let done =
            Command::new("python3").arg(script).args(flags).arg(&self.0).output().expect("python3 runs");
        (done.status.code().unwrap() as u8, String::from_utf8_lossy(&done.stdout).into_owned())
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Two shards; shard 0 has a closed, an empty and an open segment.
fn sample(dir: &Dir) -> (Writer, Writer) {
    let mut first = Writer::new(0, 1, Writer::FIRST);
    first.commit(&[("default", &[b"{\"n\":1}", b"{\"n\":2}"]), ("logs", &[b"{\"n\":3}"])]);
    let big = format!("{{\"big\":\"{}\"}}", "b".repeat(300_000));
    first.commit(&[("default", &[big.as_bytes(), b"{\"n\":5}"])]);
    first.commit(&[("logs", &[b"{\"n\":6}"])]);
    let mut second = Writer::new(0, 2, first.chain);
    second.commit(&[("default", &[b"{\"n\":7}"])]);
    second.commit(&[("default", &[b"{\"n\":8}", b"{\"n\":9}"])]);
    let mut open = second.bytes.clone();
    open.resize(1 << 20, b'\n');
    let mut other = Writer::new(11, 3, Writer::FIRST);
    other.commit(&[("default", &[b"{\"shard\":11}"])]);
    dir.write("shard-000/0000000001.seg", &first.bytes);
    dir.write("shard-000/0000000002.seg", b"");
    dir.write("shard-000/0000000003.seg", &open);
    dir.write("shard-000/notes.txt", b"not ours");
    dir.write("shard-011/0000000001.seg", &other.bytes);
    let mut refused = Vec::new();
    quarantine(&mut refused, 0, 4, &[("a reason", b"{\"cut\":\n\n"), ("another", b"\xff\xfe")]);
    quarantine(&mut refused, 0, 4, &[("a third", b"{\"ringmill\":1,")]);
    dir.write("shard-000/0000000001.quarantine", &refused);
    (first, second)
}

#[test]
fn both_readers_print_the_same_events() {
    let dir = Dir::new("cat");
    sample(&dir);
    let (code, printed) = dir.run("cat", &[]);
    assert_eq!(code, 0);
    assert_eq!(dir.python(&[]), (0, printed.clone()));
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 10);
    assert_eq!((lines[0], lines[8], lines[9]), ("{\"n\":1}", "{\"n\":9}", "{\"shard\":11}"));
    let counts = format!("segments=4 commits=6 events=10 bytes={}", printed.len());
    assert_eq!(dir.python(&["--check"]), (0, format!("{counts} quarantined=3\n")));
    let (code, verified) = dir.run("verify", &[]);
    assert_eq!((code, verified.lines().last()), (0, Some(&*format!("sound: {counts} quarantined=3"))));

    let (code, refused) = dir.run("cat", &["--quarantine"]);
    assert_eq!(dir.python(&["--quarantine"]), (code, refused.clone()));
    assert!(refused.contains("a reason") && refused.contains("{\"cut\":\n\n\n{\"ringmill_quarantine\":1,"));
}

#[test]
fn cat_selects() {
    let dir = Dir::new("select");
    sample(&dir);
    for (flags, expected) in [
        (&["--stream", "logs"][..], "{\"n\":3}\n{\"n\":6}\n"),
        (&["--shard", "0", "--from", "8"], "{\"n\":8}\n{\"n\":9}\n"),
        (&["--shard", "0", "--from", "9"], "{\"n\":9}\n"),
        (&["--from", "10"], ""),
        (&["--shard", "11"], "{\"shard\":11}\n"),
        (&["--stream", "logs", "--with-meta"], "0\tlogs\t3\t{\"n\":3}\n0\tlogs\t6\t{\"n\":6}\n"),
        (
            &["--shard", "0", "--from", "6", "--with-meta", "--stream", "default"],
            "0\tdefault\t7\t{\"n\":7}\n0\tdefault\t8\t{\"n\":8}\n0\tdefault\t9\t{\"n\":9}\n",
        ),
    ] {
        assert_eq!(dir.run("cat", flags), (0, expected.to_string()), "{flags:?}");
    }
    let (_, all) = dir.run("cat", &["--with-meta"]);
    assert_eq!(all.lines().count(), 10);
    assert!(all.lines().nth(3).unwrap().starts_with("0\tdefault\t4\t{\"big\""));
}

#[test]
fn ls_tells_each_file() {
    let dir = Dir::new("ls");
    sample(&dir);
    let (code, listed) = dir.run("ls", &[]);
    assert_eq!(code, 0);
    let states: Vec<(&str, &str)> = listed
        .lines()
        .skip(1)
        .map(|line| {
            let mut words = line.split_whitespace();
            (words.next().unwrap(), words.next().unwrap())
        })
        .collect();
    assert_eq!(
        states,
        [
            ("shard-000/0000000001.seg", "closed"),
            ("shard-000/0000000002.seg", "empty"),
            ("shard-000/0000000003.seg", "open"),
            ("shard-000/0000000001.quarantine", "quarantine"),
            ("shard-011/0000000001.seg", "closed"),
        ]
    );
}

#[test]
fn both_readers_find_damage_and_go_on_behind_it() {
    let dir = Dir::new("damage");
    let (first, _) = sample(&dir);
    let name = "shard-000/0000000001.seg";
    for (at, kept) in
        [(5, 7), (HEADER_BYTES + 2, 7), (BLOCK_BYTES + 100_000, 8), (first.bytes.len() - BLOCK_BYTES, 9)]
    {
        let mut bytes = first.bytes.clone();
        bytes[at] ^= 4;
        dir.write(name, &bytes);
        let (code, report) = dir.run("verify", &[]);
        assert_eq!(code, 1, "{at}: {report}");
        let place = report.lines().find(|line| line.starts_with("damaged: ")).unwrap();
        assert!(place.starts_with(&format!("damaged: {name} bytes ")), "{place}");
        let (code, printed) = dir.run("cat", &[]);
        assert_eq!((code, printed.lines().count()), (1, kept), "{at}");
        assert_eq!(dir.python(&[]), (1, printed), "{at}");
        assert_eq!(dir.python(&["--check"]).0, 1);
    }
    // Cut at a commit's edge: the next segment tells.
    dir.write(name, &first.bytes[..first.bytes.len() - BLOCK_BYTES]);
    let (code, report) = dir.run("verify", &["--shard", "0"]);
    assert!(code == 1 && report.contains("(event 6 is lost)"), "{report}");
    assert_eq!(dir.python(&["--check"]).0, 1);
    // The whole segment between two gone.
    dir.write(name, &first.bytes);
    let third = Writer::new(0, 9, Chain { commit: 9, seq: 20, prev: Hash::ZERO });
    let mut third = third;
    third.commit(&[("default", &[b"{}"])]);
    dir.write("shard-000/0000000005.seg", &third.bytes);
    let (code, report) = dir.run("verify", &["--shard", "0"]);
    assert!(code == 1 && report.contains("(events 10..19 are lost)"), "{report}");
}

#[test]
fn a_failed_commit_is_in_neither_reader() {
    let dir = Dir::new("failed");
    let mut first = Writer::new(0, 1, Writer::FIRST);
    first.commit(&[("default", &[b"{\"n\":1}"])]);
    let before = first.chain;
    first.commit(&[("default", &[b"{\"answered\":503}"])]);
    let mut second = Writer::new(0, 2, before);
    second.commit(&[("default", &[b"{\"n\":2}"])]);
    dir.write("shard-000/0000000001.seg", &first.bytes);
    dir.write("shard-000/0000000002.seg", &second.bytes);
    let (code, report) = dir.run("verify", &[]);
    assert!(code == 0 && report.contains("superseded=1"), "{report}");
    let expected = (0, "{\"n\":1}\n{\"n\":2}\n".to_string());
    assert_eq!(dir.run("cat", &[]), expected);
    assert_eq!(dir.python(&[]), expected);
    // Torn as well: nothing is lost.
    dir.write("shard-000/0000000001.seg", &first.bytes[..BLOCK_BYTES + HEADER_BYTES + 3]);
    assert_eq!(dir.run("verify", &[]).0, 0);
    assert_eq!(dir.run("cat", &[]).1, expected.1);
    assert_eq!(dir.python(&[]), expected);
}

#[test]
fn a_receipt_is_kept_or_not() {
    let dir = Dir::new("receipt");
    let (first, _) = sample(&dir);
    let line: &[u8; HEADER_BYTES] = first.bytes[..HEADER_BYTES].try_into().unwrap();
    let hash = Hash::of(line);
    let receipt = |first: u64, last: u64, segment: u64, hash: Hash| {
        format!(
            "{{\"shard\":0,\"first\":{first},\"last\":{last},\"segment\":\"shard-000/{segment:010}.seg\",\"hash\":\"{hash}\"}}"
        )
    };
    for (json, code) in [
        (receipt(1, 2, 1, hash), 0),
        (format!("{{\"ack\":\"durable\",\"receipt\":{}}}", receipt(1, 2, 1, hash)), 0),
        (receipt(1, 2, 1, Hash::ZERO), 1),
        (receipt(1, 3, 1, hash), 1),
        (receipt(1, 2, 3, hash), 1),
        (receipt(1, 2, 4, hash), 1),
        (receipt(2, 1, 1, hash), 2),
        ("{\"receipt\":null}".to_string(), 2),
        ("nonsense".to_string(), 2),
    ] {
        let (found, said) = dir.run("verify", &["--receipt", &json]);
        assert_eq!(found, code, "{json}: {said}");
        assert!(code == 2 || said.starts_with(if code == 0 { "kept: " } else { "not kept: " }), "{said}");
    }
    let mut bytes = first.bytes.clone();
    bytes[HEADER_BYTES + 1] ^= 1;
    dir.write("shard-000/0000000001.seg", &bytes);
    assert_eq!(dir.run("verify", &["--receipt", &receipt(1, 2, 1, hash)]).0, 1);
}

#[test]
fn a_tail_that_is_finished_while_it_is_looked_at_is_no_damage() {
    let dir = Dir::new("live");
    let mut writer = Writer::new(0, 1, Writer::FIRST);
    writer.commit(&[("default", &[b"{\"n\":1}"])]);
    writer.commit(&[("default", &[b"{\"n\":2}", b"{\"n\":3}"])]);
    let whole = writer.bytes.clone();
    let mut torn = whole.clone();
    torn[BLOCK_BYTES + HEADER_BYTES + 4..].fill(b'\n');
    dir.write("shard-000/0000000001.seg", &torn);
    let path = dir.0.join("shard-000/0000000001.seg");
    let writing = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(150));
        std::fs::write(path, whole).unwrap();
    });
    let (code, report) = dir.run("verify", &[]);
    writing.join().unwrap();
    assert!(code == 0 && report.contains("events=3"), "{report}");
    // One that stays unfinished is reported.
    dir.write("shard-000/0000000001.seg", &torn);
    let (code, report) = dir.run("verify", &[]);
    assert!(code == 1 && report.contains("bytes 4096..4484, its last commit"), "{report}");
}

#[test]
fn mistakes_are_told() {
    let dir = Dir::new("mistakes");
    assert_eq!(dir.run("cat", &[]).0, 1);
    assert_eq!(dir.run("cat", &["--shard", "3"]).0, 1);
    let gone = Dir(dir.0.join("nowhere"));
    for command in ["ls", "cat", "verify"] {
        assert_eq!(gone.run(command, &[]), (1, String::new()));
    }
    for line in
        [&["segments", "cat"][..], &["segments", "cat", "x", "--stream", "a b"], &["segments", "kat", "x"]]
    {
        assert!(Line::try_parse_from(line).is_err_and(|error| error.exit_code() == 2));
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    struct Gone;
    impl std::io::Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let dir = Dir::new("pipe");
    sample(&dir);
    for command in ["ls", "cat", "verify"] {
        let line = Line::try_parse_from(["segments", command, dir.0.to_str().unwrap()]).unwrap();
        assert_eq!(run_to(&line.segments, Gone), 0);
    }
}
