//! The page as text, and in a browser: `cargo test --lib admin::page -- --ignored`, with `RINGMILL_KEEP_REPORT=DIR`
//! for pictures of it to look at.
use super::super::tests::{busy, start};
use super::*;
use std::{path::Path, process::Command};

#[test]
fn one_file_without_a_network_that_runs_its_own_script_alone() {
    let page = html();
    for needs_network in ["src=", "@import", "url(", "XMLHttpRequest", "<link rel=\"stylesheet\"", "https://"]
    {
        assert!(!page.contains(needs_network), "{needs_network}");
    }
    assert!(!page.contains("{{"), "a part was not filled in");
    assert_eq!((page.matches("<script").count(), page.matches("</script>").count()), (1, 1));
    let script = page.split_once("<script>").unwrap().1.split_once("</script>").unwrap().0;
    let hash = STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, script.as_bytes()));
    assert!(policy().contains(&format!("script-src 'sha256-{hash}'")), "the hash is of what stands there");
    assert!(policy().starts_with("default-src 'none'") && !policy().contains("unsafe-eval"));
}

/// What the browser made of the page after some turns, and what it said on its console.
fn open(address: &str, name: &str) -> (String, Vec<String>) {
    let dir = std::env::temp_dir().join(format!("ringmill-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let browser = |flags: &[&str]| {
        Command::new("chromium")
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--enable-logging=stderr",
                "--hide-scrollbars",
            ])
            .args([
                "--virtual-time-budget=9000",
                &format!("--user-data-dir={}", dir.join("profile").display()),
            ])
            .args(flags)
            .arg(format!("http://{address}/"))
            .output()
            .expect("chromium runs")
    };
    let done = browser(&["--dump-dom"]);
    if let Some(keep) = std::env::var_os("RINGMILL_KEEP_REPORT") {
        // 0 is dark and 1 is light in Blink's settings.
        for (picture, size, scheme) in
            [("wide", "1200,3400", 1), ("phone", "500,4600", 1), ("dark", "1200,3400", 0)]
        {
            let shot = Path::new(&keep).join(format!("{name}-{picture}.png"));
            let shot = format!("--screenshot={}", shot.display());
            let scheme = format!("--blink-settings=preferredColorScheme={scheme}");
            browser(&[&shot, &format!("--window-size={size}"), &scheme]);
        }
    }
    std::fs::remove_dir_all(&dir).unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    let said = said.lines().filter(|line| line.contains("CONSOLE")).map(str::to_string).collect();
    (String::from_utf8_lossy(&done.stdout).into_owned(), said)
}

/// What the script drew, without the script.
fn shown(page: &str) -> &str {
    &page[page.find("<div id=\"page\"").expect("the page's own element")
        ..page.find("<script").unwrap_or(page.len())]
}

#[test]
#[ignore = "needs chromium"]
fn a_browser_draws_everything_and_says_nothing_on_its_console() {
    let admin = start(busy());
    let (page, said) = open(&admin.local_addr().to_string(), "live");
    assert!(said.is_empty(), "{said:?}");
    let page = shown(&page);
    for part in [
        ">Takes events<",
        "two &lt;b&gt;streams&lt;/b&gt;",
        ">Where the time goes<",
        "Slowest requests of the last minute",
        "it waited for room",
        "another thread had the core",
        "10.0.0.7:41000",
        "they balance",
        "expected `,` or `}` after a value",
        "Connections are uneven: shard 1",
        "New connections of shard 1 go to others, for it has more connections that send.",
        "12 / 0",
        "0 / 7",
        "seal_wait",
    ] {
        assert!(page.contains(part), "{part} is missing in {page}");
    }
    assert!(page.matches("<svg").count() == 2, "a chart is missing");
    assert!(page.matches("<path").count() >= 5, "nothing is drawn");
    for word in ["NaN", "undefined", "Infinity", "[object", ">null<"] {
        assert!(!page.contains(word), "{word} in {page}");
    }
}

#[test]
#[ignore = "needs chromium"]
fn a_browser_says_when_nobody_answers() {
    let admin = start(vec![]);
    let address = admin.local_addr().to_string();
    let (page, said) = open(&address, "empty");
    assert!(said.is_empty(), "{said:?}");
    assert!(shown(&page).contains("Not ready") && shown(&page).contains("no shard runs"), "{page}");
    // A proxy in front that has lost its server, as far as a browser can tell.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = gone.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in gone.incoming() {
            let Ok(mut stream) = stream else { return };
            // A browser may open one more than it needs.
            let _ = stream.set_read_timeout(Some(std::time::Duration::from_millis(500)));
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            let page = html();
            let _ = match request[..read].starts_with(b"GET / ") {
                true => write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
                    page.len()
                ),
                false => write!(
                    stream,
                    "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                ),
            };
        }
    });
    let (page, _) = open(&address, "away");
    assert!(shown(&page).contains("The server does not answer") && shown(&page).contains("502"), "{page}");
}
