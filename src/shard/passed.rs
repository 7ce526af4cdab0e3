//! Listening sockets that a service manager passed: of a socket unit, or our own, which it kept over a restart.
//!
//! A socket is known by its address; one of ours also by its name, `ringmill-http-A-S` for the A-th address of its
//! kind and shard S, which finds it again where the configuration leaves the port to the system. What is listened on
//! is decided by [`super::listen`].
use crate::core::engine::Protocol;
use crate::sys::adopt;
use socket2::Socket as RawSocket;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// How names of our own begin.
const OURS: &str = "ringmill-";

/// The name of a shard's socket at the address of that number among those of its kind.
pub fn name(protocol: Protocol, address: usize, shard: usize) -> String {
    format!("{}{shard}", stem(protocol, address))
}

/// What the names of all shards' sockets at that address have in common.
fn stem(protocol: Protocol, address: usize) -> String {
    format!("{OURS}{}-{address}-", kind(protocol))
}

/// The word for a protocol: what a socket unit calls its sockets (`FileDescriptorName=`).
pub fn kind(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "http",
        Protocol::Lines => "lines",
    }
}

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

struct Given {
    name: String,
    place: Place,
    socket: RawSocket,
}

/// Sockets that were passed and not taken yet.
#[derive(Default)]
pub struct Passed(Vec<Given>);

impl Passed {
    /// Those of this process's environment, which is asked once.
    ///
    /// # Errors
    /// A variable that says nonsense, or a socket that no connection can come from.
    pub fn take() -> io::Result<Passed> {
        let explain =
            |error| io::Error::other(format!("the sockets that systemd passed (LISTEN_FDS): {error}"));
        Passed::of(adopt::passed().map_err(explain)?)
    }

    fn of(passed: Vec<(OwnedFd, String)>) -> io::Result<Passed> {
        let given = |(fd, name): (OwnedFd, String)| {
            let socket = RawSocket::from(fd);
            let place = place(&socket).map_err(|why| {
                io::Error::other(format!(
                    "the socket `{name}` that systemd passed cannot be listened on: {why}; ListenStream= and Accept=no \
                     make one that can"
                ))
            })?;
            Ok(Given { name, place, socket })
        };
        let mut all = passed.into_iter().map(given).collect::<io::Result<Vec<Given>>>()?;
        // Shard 2 before shard 10.
        all.sort_by_key(|given| (given.name.len(), given.name.clone()));
        Ok(Passed(all))
    }

    fn draw(&mut self, wanted: impl Fn(&Given) -> bool) -> Vec<Given> {
        let (drawn, rest) = std::mem::take(&mut self.0).into_iter().partition(wanted);
        self.0 = rest;
        drawn
    }

    /// Those for the TCP address that is the `number`-th of its kind, and the address in force.
    pub fn tcp(&mut self, address: SocketAddr, protocol: Protocol, number: usize) -> Vec<TcpListener> {
        let stem = stem(protocol, number);
        let wanted = |given: &Given| match given.place {
            Place::Tcp(at) if address.port() == 0 => at.ip() == address.ip() && given.name.starts_with(&stem),
            Place::Tcp(at) => at == address,
            Place::Unix(_) => false,
        };
        self.draw(wanted).into_iter().map(|given| given.socket.into()).collect()
    }

    /// Those for a Unix socket.
    pub fn unix(&mut self, path: &Path) -> Vec<UnixListener> {
        let wanted = |given: &Given| given.place == Place::Unix(path.to_path_buf());
        self.draw(wanted).into_iter().map(|given| OwnedFd::from(given.socket).into()).collect()
    }

    /// TCP sockets that a socket unit names after a protocol, whatever their address.
    pub fn named_tcp(&mut self, protocol: Protocol) -> Vec<TcpListener> {
        let wanted = |given: &Given| matches!(given.place, Place::Tcp(_)) && given.name == kind(protocol);
        self.draw(wanted).into_iter().map(|given| given.socket.into()).collect()
    }

    /// The same of Unix sockets, which speak lines only.
    pub fn named_unix(&mut self) -> Vec<UnixListener> {
        let wanted =
            |given: &Given| matches!(given.place, Place::Unix(_)) && given.name == kind(Protocol::Lines);
        self.draw(wanted).into_iter().map(|given| OwnedFd::from(given.socket).into()).collect()
    }

    /// Names of ours that are of no use any more, for an address was taken out of the configuration.
    ///
    /// # Errors
    /// A socket of somebody else's that nothing in the configuration is for.
    pub fn finish(self) -> io::Result<Vec<String>> {
        let other = self.0.iter().find(|given| !given.name.starts_with(OURS));
        match other {
            Some(Given { name, place, .. }) => Err(io::Error::other(format!(
                "systemd passed a socket `{name}` ({}) that no --listen or --listen-lines names: name it there, or call \
                 it http or lines (FileDescriptorName=)",
                match place {
                    Place::Tcp(address) => address.to_string(),
                    Place::Unix(path) => format!("unix:{}", path.display()),
                }
            ))),
            None => Ok(self.0.into_iter().map(|given| given.name).collect()),
        }
    }
}

/// Where it listens, now with our own backlog: which is also how it is found out that it can.
fn place(socket: &RawSocket) -> io::Result<Place> {
    socket.listen(super::listen::BACKLOG)?;
    let address = socket.local_addr()?;
    if let Some(address) = address.as_socket() {
        socket.set_tcp_nodelay(true)?;
        return Ok(Place::Tcp(address));
    }
    let path = address.as_pathname().map(Path::to_path_buf);
    path.map(Place::Unix).ok_or_else(|| io::Error::other("it has no address of the internet and no path"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Type};
    use std::net::UdpSocket;

    fn passed(sockets: Vec<(OwnedFd, &str)>) -> io::Result<Passed> {
        Passed::of(sockets.into_iter().map(|(fd, name)| (fd, name.to_string())).collect())
    }

    fn bound() -> (OwnedFd, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener.into(), address)
    }

    #[test]
    fn sockets_are_known_by_address_by_our_names_and_by_kind() {
        let (ten, address_ten) = bound();
        let (two, address_two) = bound();
        let (named, address_named) = bound();
        let (by_address, address) = bound();
        let (gone, _) = bound();
        let mut all = passed(vec![
            (ten, "ringmill-http-0-10"),
            (two, "ringmill-http-0-2"),
            (named, "lines"),
            (by_address, "x.socket"),
            (gone, "ringmill-http-7-0"),
        ])
        .unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let at = |sockets: Vec<TcpListener>| -> Vec<SocketAddr> {
            sockets.iter().map(|socket| socket.local_addr().unwrap()).collect()
        };
        assert_eq!(at(all.tcp(any, Protocol::Lines, 0)), []);
        assert_eq!(at(all.tcp("[::1]:0".parse().unwrap(), Protocol::Http, 0)), []);
        assert_eq!(at(all.tcp(any, Protocol::Http, 0)), [address_two, address_ten]);
        assert_eq!(at(all.tcp(address, Protocol::Http, 1)), [address]);
        assert_eq!(at(all.named_tcp(Protocol::Http)), []);
        assert_eq!(at(all.named_tcp(Protocol::Lines)), [address_named]);
        assert_eq!(all.finish().unwrap(), ["ringmill-http-7-0"]);
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let (stranger, address) = bound();
        let error = passed(vec![(stranger, "x.socket")]).unwrap().finish().unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && error.contains("FileDescriptorName"), "{error}");
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = passed(vec![(datagrams.into(), "http")]).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("`http`") && error.contains("Accept=no"), "{error}");
        let connected = RawSocket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let (listener, address) = bound();
        connected.connect(&address.into()).unwrap();
        assert!(passed(vec![(connected.into(), "http")]).is_err());
        drop(listener);
    }

    #[test]
    fn unix_sockets_are_known_by_their_path() {
        let path = std::env::temp_dir().join(format!("ringmill-passed-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let one = UnixListener::bind(&path).unwrap();
        let mut all =
            passed(vec![(one.try_clone().unwrap().into(), "ringmill-lines-0-0"), (one.into(), "lines")])
                .unwrap();
        assert_eq!(all.named_tcp(Protocol::Lines).len(), 0);
        assert_eq!(all.unix(Path::new("/nowhere")).len(), 0);
        assert_eq!(all.named_unix().len(), 1);
        assert_eq!(all.unix(&path).len(), 1);
        assert_eq!(all.finish().unwrap(), Vec::<String>::new());
        std::fs::remove_file(path).unwrap();
    }
}
