//! A server that does what a script says, wrong things above all: plain threads and blocking sockets, so that what
//! it does is plain to see.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What is spoken to, on either kind of socket and with or without TLS.
pub trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A stream and what was read from it too far.
pub struct Peer<'a> {
    /// The connection.
    pub stream: &'a mut dyn Stream,
    ahead: Vec<u8>,
}

impl<'a> Peer<'a> {
    pub fn new(stream: &'a mut dyn Stream) -> Peer<'a> {
        Peer { stream, ahead: Vec::new() }
    }

    fn more(&mut self) -> io::Result<()> {
        let mut piece = [0; 16384];
        match self.stream.read(&mut piece)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.ahead.extend_from_slice(&piece[..count]);
                Ok(())
            }
        }
    }

    /// The next whole request with a length.
    pub fn request(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(head) = self.ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&self.ahead[..head]).to_lowercase();
                let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
                let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
                let end = head + 4 + length;
                if self.ahead.len() >= end {
                    return Ok(self.ahead.drain(..end).collect());
                }
            }
            self.more()?;
        }
    }

    /// The next line.
    pub fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.ahead.iter().position(|&byte| byte == b'\n') {
                return Ok(self.ahead.drain(..=end).collect());
            }
            self.more()?;
        }
    }

    /// Writes text.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(text.as_bytes())?;
        self.stream.flush()
    }

    /// Answers a request.
    pub fn reply(&mut self, status: u16, headers: &str) -> io::Result<()> {
        self.say(&format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n{headers}\r\n{{}}"))
    }

    /// Waits until the other side ends the connection.
    pub fn wait_for_end(&mut self) {
        while self.more().is_ok() {}
    }
}

/// Answers every request after `delay` until the connection ends.
pub fn answer_all(peer: &mut Peer<'_>, delay: Duration) -> io::Result<()> {
    loop {
        peer.request()?;
        std::thread::sleep(delay);
        peer.reply(200, "")?;
    }
}

/// Serves each connection by `script`, which is given its number, on threads of their own. They end with the process.
pub fn serve(script: impl Fn(u32, TcpStream) -> io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let script = Arc::new(script);
    let count = AtomicU32::new(0);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (script, number) = (script.clone(), count.fetch_add(1, Ordering::Relaxed));
            let stream = stream.unwrap();
            std::thread::spawn(move || {
                stream.set_nodelay(true).unwrap();
                let _ = script(number, stream);
            });
        }
    });
    address
}
