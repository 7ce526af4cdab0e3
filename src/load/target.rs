//! What a URL means: where to connect, what to speak there, and what to call it in a request.
//!
//! | URL | meaning |
//! |-|-|
//! | `http://HOST[:PORT][/PATH]` | HTTP/1.1 over TCP, port 80 |
//! | `https://HOST[:PORT][/PATH]` | the same over TLS, port 443 |
//! | `lines://HOST:PORT[?replies]` | lines over TCP, answered if the query says so |
//! | `unix:SOCKET[:/PATH]` | HTTP/1.1 over a Unix socket |
//! | `lines+unix:SOCKET[?replies]` | lines over a Unix socket |
//!
//! Names are resolved once, when the URL is read, so that no run waits for a resolver. Nothing is connected here.

use http::Uri;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// HTTP/1.1.
    Http,
    /// One event a line. With `replies`, the server answers each batch with a line of JSON.
    Lines {
        /// Whether it does.
        replies: bool,
    },
}

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Any of these addresses, at least one; the next is tried when one refuses.
    Tcp(Vec<SocketAddr>),
    /// A Unix socket.
    Unix(PathBuf),
}

/// A server under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As it was given.
    pub url: String,
    /// Where.
    pub endpoint: Endpoint,
    /// What is spoken.
    pub speech: Speech,
    /// The value of the `Host` header: name and, unless it is the scheme's own, port.
    pub host: String,
    /// Path and query of the request, `/` if none was given.
    pub path: String,
    /// The name in the server's certificate, with TLS.
    pub tls: Option<String>,
    /// Take any certificate: for tests against one's own server only.
    pub insecure: bool,
}

impl Target {
    /// Reads a URL and resolves its name.
    ///
    /// # Errors
    /// A sentence for the user: what is wrong with the URL, or that its name does not resolve.
    pub fn parse(url: &str) -> Result<Target, String> {
        if let Some(rest) = url.strip_prefix("lines+unix:") {
            let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
            return unix(url, path, "/", Speech::Lines { replies: replies(url, query)? });
        }
        if let Some(rest) = url.strip_prefix("unix:") {
            let (socket, path) = match rest.split_once(":/") {
                Some((socket, _)) => (socket, &rest[socket.len() + 1..]),
                None => (rest, "/"),
            };
            return unix(url, socket, path, Speech::Http);
        }
        tcp(url)
    }

    /// The same, taking any certificate if `insecure`.
    pub fn insecure(self, insecure: bool) -> Target {
        Target { insecure, ..self }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
            Endpoint::Tcp(addresses) => {
                for (at, address) in addresses.iter().enumerate() {
                    write!(f, "{}{address}", if at > 0 { ", " } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

fn unix(url: &str, socket: &str, path: &str, speech: Speech) -> Result<Target, String> {
    let socket = socket.strip_prefix("//").unwrap_or(socket);
    if socket.is_empty() {
        return Err(format!("{url}: a path is missing, as in unix:/run/server.sock"));
    }
    Ok(Target {
        url: url.into(),
        endpoint: Endpoint::Unix(socket.into()),
        speech,
        host: "localhost".into(),
        path: path.into(),
        tls: None,
        insecure: false,
    })
}

fn tcp(url: &str) -> Result<Target, String> {
    const FORMS: &str = "a URL is http://HOST[:PORT]/PATH, https://…, lines://HOST:PORT, unix:SOCKET[:/PATH] or \
                         lines+unix:SOCKET";
    let bare = url.split('#').next().unwrap_or(url);
    let uri: Uri = bare.parse().map_err(|error| format!("{url}: {error}; {FORMS}"))?;
    let (scheme, authority) = match (uri.scheme_str(), uri.authority()) {
        (Some(scheme), Some(authority)) => (scheme, authority),
        _ => return Err(format!("{url}: {FORMS}")),
    };
    if authority.as_str().contains('@') {
        return Err(format!(
            "{url}: a user in a URL is not supported; give a header, as in -H 'Authorization: …'"
        ));
    }
    let (speech, usual) = match scheme {
        "http" => (Speech::Http, Some(80)),
        "https" => (Speech::Http, Some(443)),
        "lines" => (Speech::Lines { replies: replies(url, uri.query().unwrap_or(""))? }, None),
        _ => return Err(format!("{url}: {scheme}:// is not known; {FORMS}")),
    };
    let port = match (authority.port_u16(), usual) {
        (Some(port), _) => port,
        // The colons of an IPv6 address are in brackets.
        (None, _) if authority.as_str().rsplit(']').next().is_some_and(|rest| rest.contains(':')) => {
            return Err(format!("{url}: the port is not a number up to 65535"));
        }
        (None, Some(port)) => port,
        (None, None) => {
            return Err(format!("{url}: a port is needed, as in lines://{}:9000", uri.host().unwrap_or("")));
        }
    };
    // The brackets of an IPv6 address belong to the URL, not to the address.
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    if name.is_empty() {
        return Err(format!("{url}: a host is missing"));
    }
    let addresses: Vec<SocketAddr> = (name, port)
        .to_socket_addrs()
        .map_err(|error| format!("{url}: {name} does not resolve: {error}"))?
        .collect();
    if addresses.is_empty() {
        return Err(format!("{url}: {name} has no address"));
    }
    let host =
        if Some(port) == usual { authority.host().into() } else { format!("{}:{port}", authority.host()) };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(Target {
        url: url.into(),
        endpoint: Endpoint::Tcp(addresses),
        speech,
        host,
        // A query may stand without a path.
        path: if path.starts_with('/') { path.into() } else { format!("/{path}") },
        tls: (scheme == "https").then(|| name.into()),
        insecure: false,
    })
}

fn replies(url: &str, query: &str) -> Result<bool, String> {
    match query {
        "" => Ok(false),
        "replies" | "replies=true" | "replies=1" => Ok(true),
        "replies=false" | "replies=0" => Ok(false),
        other => Err(format!("{url}: ?{other} is not known; lines know only ?replies")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let http = Speech::Http;
        for (url, endpoint, speech, host, path, tls) in [
            ("http://127.0.0.1", "127.0.0.1:80", http, "127.0.0.1", "/", None),
            ("http://127.0.0.1:8080/v1/x?a=b#c", "127.0.0.1:8080", http, "127.0.0.1:8080", "/v1/x?a=b", None),
            ("http://127.0.0.1:80?a", "127.0.0.1:80", http, "127.0.0.1", "/?a", None),
            ("http://[::1]:9", "[::1]:9", http, "[::1]:9", "/", None),
            ("https://127.0.0.1/x", "127.0.0.1:443", http, "127.0.0.1", "/x", Some("127.0.0.1")),
            ("https://[::1]:1", "[::1]:1", http, "[::1]:1", "/", Some("::1")),
            (
                "lines://127.0.0.1:7",
                "127.0.0.1:7",
                Speech::Lines { replies: false },
                "127.0.0.1:7",
                "/",
                None,
            ),
            (
                "lines://127.0.0.1:7?replies",
                "127.0.0.1:7",
                Speech::Lines { replies: true },
                "127.0.0.1:7",
                "/?replies",
                None,
            ),
            ("unix:/run/x.sock", "unix:/run/x.sock", http, "localhost", "/", None),
            ("unix:x.sock:/a:/b?c", "unix:x.sock", http, "localhost", "/a:/b?c", None),
            ("unix:///run/x", "unix:/run/x", http, "localhost", "/", None),
            ("lines+unix:/x?replies=1", "unix:/x", Speech::Lines { replies: true }, "localhost", "/", None),
        ] {
            let target = Target::parse(url).unwrap();
            let found = (
                target.endpoint.to_string(),
                target.speech,
                &*target.host,
                &*target.path,
                target.tls.as_deref(),
            );
            assert_eq!(found, (endpoint.to_string(), speech, host, path, tls), "{url}");
            assert_eq!((target.to_string(), target.insecure), (url.to_string(), false));
            assert!(target.insecure(true).insecure);
        }
        let Endpoint::Tcp(local) = Target::parse("http://localhost:1/").unwrap().endpoint else { panic!() };
        assert!(local.iter().all(|address| address.ip().is_loopback()));
    }

    #[test]
    fn mistakes_are_explained() {
        for (url, needle) in [
            ("127.0.0.1:80", "http://HOST"),
            ("localhost/x", "http://HOST"),
            ("/x", "http://HOST"),
            ("", "http://HOST"),
            ("ftp://127.0.0.1/", "ftp://"),
            ("http://", "http"),
            ("http://u:p@127.0.0.1/", "Authorization"),
            ("http://127.0.0.1:99999/", "99999"),
            ("lines://127.0.0.1", "port is needed"),
            ("lines://127.0.0.1:1?x=y", "x=y"),
            ("unix:", "path is missing"),
            ("http://name.invalid/", "name.invalid"),
        ] {
            let error = Target::parse(url).unwrap_err();
            assert!(error.contains(needle), "{url}: {error}");
        }
    }
}
