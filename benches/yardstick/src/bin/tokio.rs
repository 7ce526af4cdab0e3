//! What one writes without a framework: tokio, httparse, serde_json.
//!
//! A task for each connection reads what there is, answers each whole request, and writes the replies of one read
//! at once. Each event is validated by serde_json without being kept: the least it can do. One thread on one
//! core, tokio's own scheduler on several.

use std::io;

use bytes::{Buf, BytesMut};
use ringmill_yardstick::{ACCEPTED, BAD_EVENT, BAD_REQUEST, Frame, Options, cores, events, frame};
use serde::de::IgnoredAny;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Bytes that a read asks for at least.
const READ_BYTES: usize = 16 << 10;

fn main() -> io::Result<()> {
    let options = Options::parse(&[]);
    let listener = options.listen()?;
    listener.set_nonblocking(true)?;
    let runtime = match cores() {
        1 => tokio::runtime::Builder::new_current_thread().enable_io().build()?,
        workers => tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_io().build()?,
    };
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (socket, _) = listener.accept().await?;
            tokio::spawn(async move {
                // A peer that goes away is no event of note.
                let _ = serve(socket).await;
            });
        }
    })
}

async fn serve(mut socket: TcpStream) -> io::Result<()> {
    let mut received = BytesMut::with_capacity(2 * READ_BYTES);
    let mut replies = Vec::with_capacity(4 << 10);
    loop {
        received.reserve(READ_BYTES);
        if socket.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
        let closing = answer(&mut received, &mut replies);
        socket.write_all(&replies).await?;
        replies.clear();
        if closing {
            return socket.shutdown().await;
        }
    }
}

/// Takes whole requests off the front and appends their replies; true when the connection is to end.
fn answer(received: &mut BytesMut, replies: &mut Vec<u8>) -> bool {
    while !received.is_empty() {
        match frame(received) {
            Frame::Request { head, body, lines } => {
                let good = events(&received[head..head + body], lines).all(is_object);
                replies.extend_from_slice(if good { ACCEPTED } else { BAD_EVENT });
                received.advance(head + body);
            }
            Frame::Partial => return false,
            Frame::Bad => {
                replies.extend_from_slice(BAD_REQUEST);
                return true;
            }
        }
    }
    false
}

/// Whether this is one JSON object. `IgnoredAny` does not look at UTF-8, so that is done before.
fn is_object(event: &[u8]) -> bool {
    let Ok(text) = simdutf8::basic::from_utf8(event) else { return false };
    text.trim_ascii_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok()
}
