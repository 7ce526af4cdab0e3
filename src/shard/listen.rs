//! Listening sockets: one of its own for every shard, and a taken port found out before any is bound. What a service
//! manager passed is taken over instead ([`super::passed`]).
use super::driver::{Listener, Socket};
use super::passed::{self, Passed};
use crate::config::plan::{Listen, Plan};
use crate::core::engine::Protocol;
use socket2::{Domain, SockRef, Socket as RawSocket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Connections that may wait to be accepted; the system's `somaxconn` bounds it further.
pub(super) const BACKLOG: i32 = 4096;

/// All listeners of all shards.
#[derive(Default)]
pub struct Listening {
    /// Those of shard N at N.
    pub shards: Vec<Vec<Listener>>,
    /// HTTP addresses in force.
    pub http: Vec<String>,
    /// Line addresses in force.
    pub lines: Vec<String>,
    /// Unix sockets that were bound here, to be removed at the end.
    pub paths: Vec<PathBuf>,
    /// Sockets that were bound here, by the names under which a service manager may keep them.
    pub bound: Vec<(String, OwnedFd)>,
    /// Names of kept ones that are of no use any more.
    pub useless: Vec<String>,
}

/// Takes over what was passed, and binds everything else that the plan names.
///
/// # Errors
/// What the system says, with the address and the mend; a passed socket that nothing is for.
pub fn listen(plan: &Plan, mut passed: Passed) -> io::Result<Listening> {
    let n = plan.cores.shards.len();
    let mut all = Listening { shards: (0..n).map(|_| Vec::new()).collect(), ..Listening::default() };
    for (number, address) in plan.listen.iter().enumerate() {
        let given = passed.tcp(*address, Protocol::Http, number);
        let bound = all.tcp(*address, given, (Protocol::Http, number), "--listen")?;
        all.http.push(bound.to_string());
    }
    for (number, address) in plan.listen_lines.iter().enumerate() {
        let bound = match address {
            Listen::Tcp(address) => {
                let given = passed.tcp(*address, Protocol::Lines, number);
                all.tcp(*address, given, (Protocol::Lines, number), "--listen-lines")?.to_string()
            }
            Listen::Unix(path) => all.unix(path, passed.unix(path), number)?,
        };
        all.lines.push(bound);
    }
    all.named(&mut passed)?;
    all.useless = passed.finish()?;
    Ok(all)
}

impl Listening {
    /// Every shard listens there, at the address that is returned. Whatever was given is listened on, for connections
    /// may wait in it.
    fn tcp(
        &mut self,
        address: SocketAddr,
        given: Vec<TcpListener>,
        (protocol, number): (Protocol, usize),
        flag: &str,
    ) -> io::Result<SocketAddr> {
        let explain = |error: io::Error| {
            let mend = match error.kind() {
                io::ErrorKind::AddrInUse => "another process has it: choose another port",
                io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege: choose a higher one",
                io::ErrorKind::AddrNotAvailable => "no interface has that address: choose one of this host",
                _ => "choose another address",
            };
            io::Error::new(error.kind(), format!("cannot listen on {address}: {error}; {mend} with {flag}"))
        };
        if !given.is_empty() {
            return self.take_over(given, (protocol, Some(number))).map_err(explain);
        }
        // SO_REUSEPORT would join the sockets of another server of the same user; this one cannot.
        drop(bind(address, false).map_err(explain)?);
        let mut address = address;
        for shard in 0..self.shards.len() {
            // Port 0: the system chose for the first shard, the others follow.
            address = self.own(shard, address, (protocol, number)).map_err(explain)?;
        }
        Ok(address)
    }

    /// A new socket for a shard, beside those of the others.
    fn own(
        &mut self,
        shard: usize,
        address: SocketAddr,
        (protocol, number): (Protocol, usize),
    ) -> io::Result<SocketAddr> {
        let socket = bind(address, true)?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        let address = listener.local_addr()?;
        self.bound.push((passed::name(protocol, number, shard), listener.try_clone()?.into()));
        self.shards[shard].push(Listener { socket: Socket::Tcp(listener), protocol });
        Ok(address)
    }

    /// Hands out sockets at one address: each to a shard, in turns where there are more sockets than shards. Shards
    /// that get none bind their own if that can be (not for those of a socket unit, `number` being `None`, nor without
    /// `ReusePort=yes`), and share another's otherwise.
    fn take_over(
        &mut self,
        given: Vec<TcpListener>,
        (protocol, number): (Protocol, Option<usize>),
    ) -> io::Result<SocketAddr> {
        let (shards, address) = (self.shards.len(), given[0].local_addr()?);
        let shared: Vec<TcpListener> = given.iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?;
        let count = given.len();
        for (turn, listener) in given.into_iter().enumerate() {
            self.shards[turn % shards].push(Listener { socket: Socket::Tcp(listener), protocol });
        }
        for shard in count..shards {
            if number.is_some_and(|number| self.own(shard, address, (protocol, number)).is_ok()) {
                continue;
            }
            let listener = shared[shard % count].try_clone()?;
            self.shards[shard].push(Listener { socket: Socket::Tcp(listener), protocol });
        }
        Ok(address)
    }

    /// Sockets that a socket unit names after a protocol are served beside what the plan names.
    fn named(&mut self, passed: &mut Passed) -> io::Result<()> {
        for protocol in [Protocol::Http, Protocol::Lines] {
            let mut groups: BTreeMap<SocketAddr, Vec<TcpListener>> = BTreeMap::new();
            for listener in passed.named_tcp(protocol) {
                groups.entry(listener.local_addr()?).or_default().push(listener);
            }
            for given in groups.into_values() {
                let address = self.take_over(given, (protocol, None))?.to_string();
                match protocol {
                    Protocol::Http => self.http.push(address),
                    Protocol::Lines => self.lines.push(address),
                }
            }
        }
        for listener in passed.named_unix() {
            let address = listener.local_addr()?;
            let path = address.as_pathname().unwrap_or(Path::new("")).display().to_string();
            self.share(&listener)?;
            self.lines.push(format!("unix:{path}"));
        }
        Ok(())
    }

    /// All shards accept from one Unix socket, for there is no SO_REUSEPORT among these.
    fn share(&mut self, listener: &UnixListener) -> io::Result<()> {
        for shard in &mut self.shards {
            let socket = Socket::Unix(listener.try_clone()?);
            shard.push(Listener { socket, protocol: Protocol::Lines });
        }
        Ok(())
    }

    fn unix(&mut self, path: &Path, given: Vec<UnixListener>, number: usize) -> io::Result<String> {
        let explain = |error: io::Error| {
            let text = format!(
                "cannot listen on unix:{}: {error}; choose another with --listen-lines",
                path.display()
            );
            io::Error::new(error.kind(), text)
        };
        if !given.is_empty() {
            given.iter().try_for_each(|listener| self.share(listener)).map_err(explain)?;
            return Ok(format!("unix:{}", path.display()));
        }
        if path.exists() {
            if UnixStream::connect(path).is_ok() {
                return Err(explain(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "another process listens there",
                )));
            }
            use std::os::unix::fs::FileTypeExt;
            if !std::fs::symlink_metadata(path).map_err(explain)?.file_type().is_socket() {
                return Err(explain(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "a file that is no socket is there",
                )));
            }
            std::fs::remove_file(path).map_err(explain)?;
        }
        let first = UnixListener::bind(path).map_err(explain)?;
        self.paths.push(path.to_path_buf());
        self.share(&first).map_err(explain)?;
        self.bound.push((passed::name(Protocol::Lines, number, 0), first.into()));
        Ok(format!("unix:{}", path.display()))
    }
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<RawSocket> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    SockRef::from(&socket).set_reuse_port(shared)?;
    // Accepted sockets inherit it: a reply never waits for the acknowledgement of the one before.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
