//! One question to a server's admin port and its answer.
use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// To connect, and between two pieces of the answer: a shard may take a second to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest answer taken: a hundred shards with all their slow requests are a tenth of it.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Where to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    authority: String,
    /// Before `/status`, where a proxy has put it below a path.
    path: String,
}

impl Server {
    /// From `http://HOST:PORT`, with a path if there is a proxy, or `HOST:PORT`.
    ///
    /// # Errors
    /// What is wrong with it and how to mend it.
    pub fn parse(url: &str) -> Result<Server, String> {
        let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let uri: http::Uri = whole.parse().map_err(|why| format!("`{url}` is no URL: {why}"))?;
        if uri.scheme_str() == Some("https") {
            return Err(format!(
                "`{url}`: top speaks http only; reach the admin port by a tunnel, such as ssh -L"
            ));
        }
        let Some(host) = uri.host().filter(|_| uri.scheme_str() == Some("http")) else {
            return Err(format!("`{url}`: a server is given as http://HOST:PORT"));
        };
        let path = uri.path().trim_end_matches('/').trim_end_matches("/status").to_owned();
        Ok(Server { authority: format!("{host}:{}", uri.port_u16().unwrap_or(9090)), path })
    }

    /// How it is shown.
    pub fn name(&self) -> &str {
        &self.authority
    }

    /// Asks for `/status`. Waits some seconds at most for every piece of the answer.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn status(&self) -> Result<Value, String> {
        let answer = self.ask().map_err(|why| self.explain(&why))?;
        let unknown = || format!("{} does not answer like a ringmill: is it the admin port?", self.authority);
        let head_ends = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(unknown)?;
        let head = String::from_utf8_lossy(&answer[..head_ends]);
        let code = head.split(' ').nth(1).filter(|_| head.starts_with("HTTP/1.")).ok_or_else(unknown)?;
        if code != "200" {
            return Err(format!(
                "{} answers {code} to GET {}/status: is it the admin port?",
                self.authority, self.path
            ));
        }
        let status: Value = serde_json::from_slice(&answer[head_ends + 4..]).map_err(|_| unknown())?;
        if status["shards"].is_array() { Ok(status) } else { Err(unknown()) }
    }

    fn ask(&self) -> io::Result<Vec<u8>> {
        let mut tried = Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        for address in self.authority.to_socket_addrs()? {
            tried = TcpStream::connect_timeout(&address, PATIENCE);
            if tried.is_ok() {
                break;
            }
        }
        let mut stream = tried?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // 1.0: the answer comes in one piece and ends with the connection.
        let (path, host) = (&self.path, &self.authority);
        write!(stream, "GET {path}/status HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        Ok(answer)
    }

    fn explain(&self, why: &io::Error) -> String {
        let server = &self.authority;
        match why.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!("nobody listens on {server}: is the server up, and is that its --admin address?")
            }
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("{server} does not answer in time")
            }
            _ => format!("{server}: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn urls() {
        let of = |authority: &str, path: &str| Server { authority: authority.into(), path: path.into() };
        for (url, server) in [
            ("http://127.0.0.1:9090", of("127.0.0.1:9090", "")),
            ("127.0.0.1:1234", of("127.0.0.1:1234", "")),
            ("http://host/", of("host:9090", "")),
            ("http://[::1]:80/status", of("[::1]:80", "")),
            ("http://proxy:8000/edge/one/", of("proxy:8000", "/edge/one")),
        ] {
            assert_eq!(Server::parse(url), Ok(server), "{url}");
        }
        for (url, word) in [
            ("https://h", "tunnel"),
            ("ftp://h", "http://HOST:PORT"),
            ("http://a b", "is no URL"),
            ("", "is no URL"),
        ] {
            assert!(Server::parse(url).unwrap_err().contains(word), "{url}: {:?}", Server::parse(url));
        }
    }

    /// A server that says this and closes, when it has read the whole request: what is left unread at a close
    /// resets the connection, and the answer is lost with it.
    fn saying(answer: &'static str) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server::parse(&listener.local_addr().unwrap().to_string()).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            let _ = stream.write_all(answer.as_bytes());
        });
        server
    }

    #[test]
    fn answers() {
        let good =
            saying("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{\"shards\":[]}\n").status();
        assert_eq!(good, Ok(serde_json::json!({ "shards": [] })));
        for (answer, word) in [
            ("HTTP/1.0 404 Not Found\r\n\r\n", "answers 404"),
            ("HTTP/1.0 200 OK\r\n\r\n{\"other\":1}", "like a ringmill"),
            ("HTTP/1.0 200 OK\r\n\r\n{\"shards\":[", "like a ringmill"),
            ("SSH-2.0-OpenSSH_9.2\r\n", "like a ringmill"),
            ("HTTP/1.0\r\n\r\n", "like a ringmill"),
            ("", "like a ringmill"),
        ] {
            let why = saying(answer).status().unwrap_err();
            assert!(why.contains(word), "{answer:?}: {why}");
        }
        let gone = Server::parse("127.0.0.1:1").unwrap().status().unwrap_err();
        assert!(gone.contains("nobody listens on 127.0.0.1:1"), "{gone}");
    }
}
