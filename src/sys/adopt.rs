//! Sockets of the standard library handed to glommio.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

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
pub fn duplicate(stream: &glommio::net::TcpStream) -> std::io::Result<OwnedFd> {
    // SAFETY: the stream keeps its descriptor open, and is borrowed for longer than this borrow of it.
    unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) }.try_clone_to_owned()
}
