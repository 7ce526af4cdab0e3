//! `docs/metrics.md` is the catalogue of the code, servers with each sink expose what it says, and what `deploy/` plots
//! and watches is in it. `RINGMILL_ACCEPT=1` writes the table anew.
mod common;

use common::{Server, TempDir};
use ringmill::core::metrics::catalogue::{self, Family};
use std::{collections::BTreeSet, fs, path::Path};

const PAGE: &str = "docs/metrics.md";
const BEGIN: &str = "<!-- the table: made by tests/metrics.rs -->\n";

fn repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn table() -> String {
    let mut table = String::from("| metric | type | labels | of | what |\n|-|-|-|-|-|\n");
    for Family { name, kind, labels, with, help } in catalogue::families() {
        let of = if with == "all" { "every server".into() } else { format!("`{with}`") };
        let labels = if labels.is_empty() { "–".into() } else { format!("`{labels}`") };
        table += &format!("| `{name}` | {kind} | {labels} | {of} | {} |\n", help.replace('|', "\\|"));
    }
    table
}

#[test]
fn the_page_is_what_the_code_says() {
    let page = fs::read_to_string(repository(PAGE)).unwrap();
    let (words, shown) = page.split_once(BEGIN).expect("the page marks its table");
    if std::env::var_os("RINGMILL_ACCEPT").is_some() {
        fs::write(repository(PAGE), format!("{words}{BEGIN}{}", table())).unwrap();
        return;
    }
    let (shown, made): (BTreeSet<&str>, String) = (shown.lines().collect(), table());
    let made: BTreeSet<&str> = made.lines().collect();
    let missing: Vec<_> = made.difference(&shown).collect();
    let stale: Vec<_> = shown.difference(&made).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "missing {missing:#?}\nstale {stale:#?}\nRINGMILL_ACCEPT=1 cargo test --test metrics mends it"
    );
}

/// What a server with that sink exposes, held against the catalogue, both ways. Nobody is behind the last two.
#[test]
fn servers_expose_what_the_page_says() {
    let dir = TempDir::new("metrics");
    let segments = format!("segments:{}", dir.join("data").display());
    let spill = format!("segments:{}", dir.join("spill").display());
    let second = common::second_core();
    let (cores, shards) = match &second {
        Some(second) => (vec!["--sink", "null", "--cores", second], vec!["all", "shards"]),
        None => (vec!["--sink", "null"], vec!["all"]),
    };
    let sinks: [(&[&str], &[&str]); 5] = [
        (&["--sink", "null"], &["all"]),
        (&cores, &shards),
        (&["--sink", &segments], &["all"]),
        (&["--sink", "kafka:127.0.0.1:1/events", "--spill", &spill], &["all", "kafka", "spill"]),
        (&["--sink", "http://127.0.0.1:1/in"], &["all", "http"]),
    ];
    // One after the other waits for the ready line of each; those beyond take some seconds over it.
    std::thread::scope(|scope| {
        for (args, parts) in sinks {
            scope.spawn(move || {
                let mut command = common::serve();
                command.args(args);
                let server = Server::start(command);
                let reply = common::get(server.admin(), "/metrics");
                let text = String::from_utf8(reply.body).unwrap();
                let exposed: BTreeSet<_> =
                    catalogue::read(&text, "").into_iter().map(|f| (f.name, f.kind, f.help)).collect();
                let told = catalogue::families().into_iter().filter(|f| parts.contains(&f.with));
                let told: BTreeSet<_> = told.map(|f| (f.name, f.kind, f.help)).collect();
                assert_eq!(exposed, told, "{args:?}");
            });
        }
    });
}

/// Names of metrics in a text, without the endings of a histogram's series.
fn named(text: &str) -> BTreeSet<String> {
    let of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !of_name(c)).filter(|word| word.starts_with("ringmill_") && word.len() > 9);
    let stem = |word: &str| {
        ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).map(str::to_owned)
    };
    words.map(|word| stem(word).unwrap_or_else(|| word.to_owned())).collect()
}

#[test]
fn what_is_plotted_and_watched_is_counted() {
    let known: BTreeSet<String> = catalogue::families().into_iter().map(|family| family.name).collect();
    for (path, fewest) in [
        ("deploy/observe/alerts.yml", 5),
        ("deploy/observe/alerts_test.yml", 5),
        ("deploy/observe/grafana/dashboard.json", 8),
    ] {
        let named = named(&fs::read_to_string(repository(path)).unwrap());
        assert!(named.len() >= fewest, "{path} names {named:?}");
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{path} names {unknown:?}, which no server exposes");
    }
}
