//! What the reference servers share: options, the listener, and where a request ends.
//!
//! Each server answers `POST` on any path with 202 and no body, listens on 127.0.0.1, and takes as many threads
//! as the cores it may run on (`taskset` decides). None of them stores anything.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

/// Largest body that is taken, as the server measured beside it is configured.
pub const BODY_BYTES_MAX: usize = 16 << 20;

/// Largest head.
pub const HEAD_BYTES_MAX: usize = 16 << 10;

/// Good events, taken.
pub const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";

/// Something in the body is no event.
pub const BAD_EVENT: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";

/// The request cannot be framed; the connection ends.
pub const BAD_REQUEST: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Options as typed: `--name value` or `--name=value`.
pub struct Options {
    values: BTreeMap<String, String>,
}

impl Options {
    /// Reads the arguments. Anything but the `known` options and `--port` ends the program with their list.
    pub fn parse(known: &[&str]) -> Options {
        let usage = |what: String| -> ! {
            let names: Vec<String> = known.iter().map(|name| format!(" [--{name} VALUE]")).collect();
            eprintln!("{what}\nusage: --port N{}", names.concat());
            std::process::exit(2)
        };
        let mut values = BTreeMap::new();
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let Some(option) = argument.strip_prefix("--") else {
                usage(format!("`{argument}` is no option"))
            };
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (option.to_owned(), arguments.next()),
            };
            if name != "port" && !known.contains(&name.as_str()) {
                usage(format!("there is no option --{name}"));
            }
            let Some(value) = value else { usage(format!("--{name} needs a value")) };
            values.insert(name, value);
        }
        Options { values }
    }

    /// What was given for `name`.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// A number, or `default`. What is no number ends the program.
    pub fn number(&self, name: &str, default: u64) -> u64 {
        self.text(name).map_or(default, |text| {
            text.parse().unwrap_or_else(|_| {
                eprintln!("--{name} {text}: a whole number is needed");
                std::process::exit(2)
            })
        })
    }

    /// A socket that listens on `--port` of 127.0.0.1, with a backlog for a thousand connections at once.
    ///
    /// # Errors
    /// Those of the kernel, above all a taken port.
    pub fn listen(&self) -> io::Result<TcpListener> {
        let port = u16::try_from(self.number("port", 9000)).map_err(io::Error::other)?;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        // Accepted sockets inherit it.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        socket.listen(1024)?;
        Ok(socket.into())
    }
}

/// How many cores this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What stands at the front of some received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A whole request: bytes of its head, of its body, and whether the body is one event a line.
    Request { head: usize, body: usize, lines: bool },
    /// More bytes are needed.
    Partial,
    /// No request, or one of a kind that is not taken: without a length, in chunks, too large.
    Bad,
}

/// Looks for one request at the front of `bytes`.
pub fn frame(bytes: &[u8]) -> Frame {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Frame::Partial,
        _ => return Frame::Bad,
    };
    let (mut length, mut lines) = (None, false);
    for header in request.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let value =
                std::str::from_utf8(header.value).ok().and_then(|text| text.trim().parse::<usize>().ok());
            match (value, length) {
                (Some(value), None) if value <= BODY_BYTES_MAX => length = Some(value),
                _ => return Frame::Bad,
            }
        } else if header.name.eq_ignore_ascii_case("content-type") {
            lines = is_lines(header.value);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Frame::Bad;
        }
    }
    match length {
        Some(body) if bytes.len() < head + body => Frame::Partial,
        Some(body) => Frame::Request { head, body, lines },
        None => Frame::Bad,
    }
}

/// Whether a Content-Type says one event a line.
pub fn is_lines(content_type: &[u8]) -> bool {
    let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(b"application/x-ndjson")
}

/// The events of a body: its lines, blank ones left out, or all of it.
pub fn events(body: &[u8], lines: bool) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(body);
    std::iter::from_fn(move || {
        while let Some(bytes) = rest {
            let end = if lines { memchr::memchr(b'\n', bytes) } else { None };
            let event = &bytes[..end.unwrap_or(bytes.len())];
            rest = end.map(|end| &bytes[end + 1..]);
            if !event.trim_ascii().is_empty() {
                return Some(event);
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_only_whole_requests_with_a_length() {
        let head = b"POST /v1/events HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n";
        let whole = [&head[..], b"{}\n", b"POST"].concat();
        assert_eq!(frame(&whole), Frame::Request { head: head.len(), body: 3, lines: false });
        for cut in 0..head.len() + 3 {
            assert_eq!(frame(&whole[..cut]), Frame::Partial, "{cut}");
        }
        let bad: [&[u8]; 4] = [
            b"POST / HTTP/1.1\r\nhost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
            b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        ];
        for bytes in bad {
            assert_eq!(frame(bytes), Frame::Bad, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn cuts_lines_without_the_blank_ones() {
        let cut = |body: &'static [u8], lines| events(body, lines).collect::<Vec<_>>();
        assert_eq!(cut(b"{}\n\n[]\r\n{", true), [&b"{}"[..], b"[]\r", b"{"]);
        assert_eq!(cut(b"{\n}\n", false), [&b"{\n}\n"[..]]);
        assert!(cut(b" \n", true).is_empty());
        assert!(is_lines(b"Application/X-NDJSON; charset=utf-8") && !is_lines(b"application/json"));
    }
}
