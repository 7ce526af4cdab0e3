//! A listener that a crowd or a sleeper cannot exhaust.
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep},
};

/// Connections served at once; more wait in the backlog. Some scrapers, a few people, one `top`.
pub(super) const CONNECTIONS_MAX: usize = 64;
/// How long a connection may go without taking a byte of a reply. Beyond the usual scrape interval of a
/// minute, so that a scraper keeps its connection.
const QUIET_MAX: Duration = Duration::from_secs(90);
/// Pause after a failed accept: without file descriptors the next would fail at once.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

pub(super) struct Bounded {
    listener: TcpListener,
    slots: Arc<Semaphore>,
    quiet_max: Duration,
}

impl Bounded {
    pub fn new(listener: TcpListener) -> Bounded {
        Bounded::with_limits(listener, CONNECTIONS_MAX, QUIET_MAX)
    }

    pub fn with_limits(listener: TcpListener, connections_max: usize, quiet_max: Duration) -> Bounded {
        Bounded { listener, slots: Arc::new(Semaphore::new(connections_max)), quiet_max }
    }
}

impl axum::serve::Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let slot = self.slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    // Replies leave in one piece; without this the last part waits for the peer's ACK.
                    let _ = stream.set_nodelay(true);
                    let quiet = Box::pin(sleep(self.quiet_max));
                    let io = Connection { stream, quiet, quiet_max: self.quiet_max, _slot: slot };
                    return (io, peer);
                }
                // The peer went away before we came: no reason to pause.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => sleep(ACCEPT_BACKOFF).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A stream that fails with `TimedOut` once `quiet_max` went by without a byte written.
///
/// Only written bytes count: a peer that drips its request in cannot keep the connection.
pub(super) struct Connection {
    stream: TcpStream,
    quiet: Pin<Box<Sleep>>,
    quiet_max: Duration,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    /// To be asked where the stream has nothing for us: pending until the time is up.
    fn poll_quiet<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.quiet.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending => self.poll_quiet(cx),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, buf) {
            Poll::Ready(done) => {
                let until = Instant::now() + self.quiet_max;
                self.quiet.as_mut().reset(until);
                Poll::Ready(done)
            }
            Poll::Pending => self.poll_quiet(cx),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
