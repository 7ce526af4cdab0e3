//! Settings of the HTTP sink: what is refused, and what becomes of the rest.
use super::*;
use crate::config::derive::tests::machine;
use crate::config::plan::Plan;
use crate::config::raw::Raw;

fn plan(text: &str) -> Result<Plan, String> {
    let raw = Raw::from_toml(text, "a.toml").map_err(|errors| errors[0].to_string())?;
    Plan::derive(&raw, &machine())
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

#[test]
fn urls_are_read() {
    for (text, shown, host, port, path) in [
        ("http://a", "http://a/", "a", 80, "/"),
        ("http://a:9200/logs", "http://a:9200/logs", "a", 9200, "/logs"),
        ("https://a.b/x?y=z", "https://a.b/x?y=z", "a.b", 443, "/x?y=z"),
        ("https://[::1]:8443", "https://[::1]:8443/", "::1", 8443, "/"),
        ("http:http://a/in.{stream}", "http://a/in.{stream}", "a", 80, "/in.{stream}"),
        ("http:https://a", "https://a/", "a", 443, "/"),
    ] {
        let sink = crate::config::derive::parse_sink(text).unwrap();
        assert_eq!(sink.to_string(), shown);
        let Sink::Http(address) = sink else { panic!("{text}") };
        assert_eq!((address.host.as_str(), address.port, address.path.as_str()), (host, port, path));
    }
    for (text, why) in [
        ("http:", "not a URL"),
        ("http://", "not a URL"),
        ("http:a:9200", "not a URL of HTTP"),
        ("http:ftp://a", "not a URL of HTTP"),
        ("http://me:pw@a/", "credentials do not belong"),
        ("http://a:0/", "no port"),
        ("http://a/{topic}", "in braces"),
        ("https:a", "not a sink"),
    ] {
        let error = crate::config::derive::parse_sink(text).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
        assert!(!error.contains("pw"), "{error}");
    }
}

#[test]
fn presets_make_paths() {
    for (sink, more, path) in [
        ("http://a/in?x=1", "", "/in?x=1"),
        ("http://a/logs", "http.preset = 'elasticsearch'", "/logs/_bulk?filter_path=items.*.status"),
        ("http://a", "http.preset = 'elasticsearch'", "/_bulk?filter_path=items.*.status"),
        ("http://a/x/_bulk?p=1", "http.preset = 'elasticsearch'", "/x/_bulk?p=1&filter_path=items.*.status"),
        (
            "http://a",
            "http.preset = 'victorialogs'\nhttp.time_field = 't s'",
            "/insert/jsonline?_time_field=t%20s&_msg_field=_msg",
        ),
        (
            "http://a/?user=u",
            "http.preset = 'clickhouse'\nhttp.table = '`db`.{stream}'",
            "/?user=u&query=INSERT%20INTO%20%60db%60.{stream}%20FORMAT%20JSONEachRow&insert_deduplication_token={token}",
        ),
    ] {
        let plan = plan(&format!("sink = '{sink}'\n{more}")).unwrap();
        assert_eq!(plan.http.unwrap().path, path);
    }
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    for (more, why) in [
        ("http.preset = 'loki'", "http.preset = loki (a.toml line 2): expected `plain`, `clickhouse`"),
        ("http.preset = 'clickhouse'", "http.table"),
        ("http.table = 'a'", "of use with http.preset = clickhouse alone"),
        ("http.msg_field = 'a'", "of use with http.preset = victorialogs alone"),
        ("http.level = 'accepted'", "expected `written`, `durable` or `replicated`"),
        ("ack = 'durable'", "reaches `written` at most"),
        ("http.compression = 'lz4'", "expected `none`, `gzip` or `zstd`"),
        ("http.connections = 0", "at least 1"),
        ("http.batch_bytes = '1k'", "at least 16 KiB"),
        ("http.delivery_timeout_s = '5s'", "at least http.request_timeout_s"),
        ("http.tls_ca = 'x.pem'", "of no use without TLS"),
        ("http.user = 'me'", "its password is missing"),
        ("http.password_file = 'x'", "its user is missing"),
        ("http.user = 'a:b'\nhttp.password_file = 'x'", "has no colon"),
        ("http.user = 'a'\nhttp.password_file = 'x'\nhttp.token_file = 'y'", "keep one"),
        ("http.header = 'Host=x'", "made by the server itself"),
        ("http.header = 'a b=x'", "no name of a header"),
        ("http.header = 'x'", "expected NAME=VALUE"),
        ("http.header = ['X-A=1', 'x-a=2']", "given twice"),
    ] {
        let error = plan(&format!("sink = 'http://a/in'\n{more}")).unwrap_err();
        assert!(error.contains(why), "{more}: {error}");
    }
    let warned = plan("sink = 'null'\nhttp.preset = 'plain'").unwrap().warnings;
    assert!(warned.iter().any(|text| text.contains("http.preset is given, but")), "{warned:?}");
    let warned = plan("sink = 'http://a'\nhttp.token_file = 'x'").unwrap().warnings;
    assert!(
        warned.iter().any(|text| text.contains("credentials go over the network as they are")),
        "{warned:?}"
    );
}

#[test]
fn the_level_is_the_operators_word() {
    for level in ["written", "durable", "replicated"] {
        let plan = plan(&format!("sink = 'http://a'\nhttp.level = '{level}'")).unwrap();
        assert_eq!(plan.ack.as_str(), level);
    }
}

#[test]
fn the_sink_is_in_the_memory_plan() {
    let without = plan("sink = 'null'").unwrap().memory.shard_bytes();
    let bytes =
        |more: &str| plan(&format!("sink = 'https://a'\n{more}")).unwrap().memory.shard_bytes() - without;
    let plain = bytes("");
    assert!(bytes("http.connections = 3") > plain);
    // Compressed bodies are put together: two connections' worth of them.
    assert!(bytes("http.compression = 'zstd'") > plain + (8 << 20));
    assert!(bytes("http.preset = 'elasticsearch'") > plain + (8 << 20));
    let shown = plan("sink = 'https://a'").unwrap().to_string();
    assert!(shown.contains("http target      plain, POST /, TLS, as nobody"), "{shown}");
}

#[test]
fn files_of_secrets_are_read_or_refused_without_being_shown() {
    let dir = std::env::temp_dir().join(format!("ringmill-http-files-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let of = |more: String| plan(&format!("sink = 'https://a'\n{more}")).unwrap().http.unwrap().secrets();
    let headers = file("h", "X-Key: s1\n\n  Other :  s2 \n");
    let found = of(format!("http.header_file = '{headers}'")).unwrap();
    assert_eq!(String::from_utf8(found).unwrap(), "X-Key: s1\r\nOther: s2\r\n");
    for (key, text, why) in [
        ("header_file", "secret", "line 1: expected `Name: value`"),
        ("header_file", "A: b\nHost: secret", "line 2: the header Host is made by the server itself"),
        ("token_file", "secret\nmore", "one line is expected"),
        ("token_file", "", "one line is expected"),
        ("token_file", "sec\u{1}ret", "not a token"),
    ] {
        let path = file("x", text);
        let error = of(format!("http.{key} = '{path}'")).unwrap_err();
        assert!(error.contains(why) && !error.contains("secret"), "{error}");
    }
    assert!(of("http.token_file = '/does/not/exist'".into()).unwrap_err().contains("/does/not/exist"));
    std::fs::remove_dir_all(&dir).unwrap();
}
