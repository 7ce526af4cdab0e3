//! Descriptors that change hands: sockets of the standard library to glommio, the service manager's to us.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// A glommio listener over a bound and listening stream socket, of the internet or of Unix.
///
/// glommio's own Unix listener cannot be made from a socket, and its TCP listener only ever accepts, which is
/// the same call for both.
///
/// # Panics
/// Outside a glommio executor.
pub fn listener(socket: impl Into<OwnedFd>) -> glommio::net::TcpListener {
    let fd = socket.into().into_raw_fd();
    // SAFETY: the descriptor was owned, and its ownership moves into the listener.
    unsafe { glommio::net::TcpListener::from_raw_fd(fd) }
}

/// A glommio stream over a connected stream socket.
///
/// # Panics
/// Outside a glommio executor.
pub fn stream(socket: impl Into<OwnedFd>) -> glommio::net::TcpStream {
    let fd = socket.into().into_raw_fd();
    // SAFETY: the descriptor was owned, and its ownership moves into the stream.
    unsafe { glommio::net::TcpStream::from_raw_fd(fd) }
}

/// Another descriptor for the socket of a glommio stream, to shut it down while it is being read.
///
/// # Errors
/// When there is no descriptor left.
pub fn duplicate(stream: &glommio::net::TcpStream) -> io::Result<OwnedFd> {
    // SAFETY: the stream keeps its descriptor open, and is borrowed for longer than this borrow of it.
    unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) }.try_clone_to_owned()
}

/// Sockets that the service manager passed to this process (`LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`), with their
/// names, marked to be closed on exec. Empty without them, when they are another process's, and from the second call
/// on. To be called before the process opens anything by number.
///
/// # Errors
/// A variable that says nonsense, or a descriptor that is not open.
pub fn passed() -> io::Result<Vec<(OwnedFd, String)>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let all = sd_notify::listen_fds_with_names()?;
    // SAFETY: the service manager opened these for this very process, whose number it wrote beside them; they were
    // just seen to be open, nothing else in it knows their numbers, and they are taken once.
    Ok(all.map(|(fd, name)| (unsafe { OwnedFd::from_raw_fd(fd) }, name)).collect())
}
