//! Listening sockets: one of its own for every shard, and a taken port found out before any is bound.
use super::driver::{Listener, Socket};
use crate::config::plan::{Listen, Plan};
use crate::core::engine::Protocol;
use socket2::{Domain, SockRef, Socket as RawSocket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Connections that may wait to be accepted; the system's `somaxconn` bounds it further.
const BACKLOG: i32 = 4096;

/// All listeners of all shards.
pub struct Listening {
    /// Those of shard N at N.
    pub shards: Vec<Vec<Listener>>,
    /// HTTP addresses in force.
    pub http: Vec<String>,
    /// Line addresses in force.
    pub lines: Vec<String>,
    /// Unix sockets, to be removed at the end.
    pub paths: Vec<PathBuf>,
}

/// Binds everything that the plan names.
///
/// # Errors
/// What the system says, with the address and the mend.
pub fn listen(plan: &Plan) -> io::Result<Listening> {
    let n = plan.cores.shards.len();
    let mut all = Listening {
        shards: (0..n).map(|_| Vec::new()).collect(),
        http: Vec::new(),
        lines: Vec::new(),
        paths: Vec::new(),
    };
    for address in &plan.listen {
        let bound = all.tcp(*address, Protocol::Http, "--listen")?;
        all.http.push(bound.to_string());
    }
    for address in &plan.listen_lines {
        let bound = match address {
            Listen::Tcp(address) => all.tcp(*address, Protocol::Lines, "--listen-lines")?.to_string(),
            Listen::Unix(path) => all.unix(path)?,
        };
        all.lines.push(bound);
    }
    Ok(all)
}

impl Listening {
    fn tcp(&mut self, address: SocketAddr, protocol: Protocol, flag: &str) -> io::Result<SocketAddr> {
        let explain = |error: io::Error| {
            let mend = match error.kind() {
                io::ErrorKind::AddrInUse => "another process has it: choose another port",
                io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege: choose a higher one",
                io::ErrorKind::AddrNotAvailable => "no interface has that address: choose one of this host",
                _ => "choose another address",
            };
            io::Error::new(error.kind(), format!("cannot listen on {address}: {error}; {mend} with {flag}"))
        };
        // SO_REUSEPORT would join the sockets of another server of the same user; this one cannot.
        drop(bind(address, false).map_err(explain)?);
        let mut address = address;
        for shard in &mut self.shards {
            let socket = bind(address, true).map_err(explain)?;
            socket.listen(BACKLOG).map_err(explain)?;
            let listener = std::net::TcpListener::from(socket);
            // Port 0: the system chose for the first shard, the others follow.
            address = listener.local_addr().map_err(explain)?;
            shard.push(Listener { socket: Socket::Tcp(listener), protocol });
        }
        Ok(address)
    }

    fn unix(&mut self, path: &Path) -> io::Result<String> {
        let explain = |error: io::Error| {
            let text = format!(
                "cannot listen on unix:{}: {error}; choose another with --listen-lines",
                path.display()
            );
            io::Error::new(error.kind(), text)
        };
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
        for shard in &mut self.shards {
            let socket = Socket::Unix(first.try_clone().map_err(explain)?);
            shard.push(Listener { socket, protocol: Protocol::Lines });
        }
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
