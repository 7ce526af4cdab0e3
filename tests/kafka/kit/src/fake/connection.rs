//! One connection of the fake: reads requests, lets faults strike, writes answers.

use super::{Request, Shared, answers, sasl::Login};
use crate::wire::{Head, framed, read_length};
use kafka_protocol::messages::ApiKey;
use std::{
    fmt,
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// Changes the bytes of an answer.
pub type Rewrite = dyn Fn(&mut Vec<u8>) + Send + Sync;

/// What goes wrong with a request.
#[derive(Clone)]
pub enum Act {
    /// The connection is closed before the request is looked at.
    CloseBefore,
    /// The connection is closed while the request is still coming.
    CloseMid,
    /// The request is carried out, then the connection is closed without an answer.
    CloseAfter,
    /// The request is carried out and never answered, nor are later ones on this connection, which stays open: a stream
    /// cannot lose one answer and deliver the next.
    DropAnswer,
    /// Nothing more is read or written on the connection, which stays open: a frozen broker.
    Freeze,
    /// The answer comes later.
    Delay(Duration),
    /// The answer tells to keep still for so many milliseconds; a request before that is a complaint.
    Throttle(i32),
    /// Not carried out; answered with this error (of each partition, topic, or of the whole).
    Error(i16),
    /// Carried out, and yet answered with this error.
    ErrorAfter(i16),
    /// The answer comes in pieces of so many bytes, each a packet of its own.
    Slices(usize),
    /// The answer's bytes, length included, are changed before they are sent: garbage, lies, cuts.
    Rewrite(Arc<Rewrite>),
}

impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::CloseBefore => write!(f, "CloseBefore"),
            Act::CloseMid => write!(f, "CloseMid"),
            Act::CloseAfter => write!(f, "CloseAfter"),
            Act::DropAnswer => write!(f, "DropAnswer"),
            Act::Freeze => write!(f, "Freeze"),
            Act::Delay(time) => write!(f, "Delay({time:?})"),
            Act::Throttle(ms) => write!(f, "Throttle({ms})"),
            Act::Error(code) => write!(f, "Error({code})"),
            Act::ErrorAfter(code) => write!(f, "ErrorAfter({code})"),
            Act::Slices(bytes) => write!(f, "Slices({bytes})"),
            Act::Rewrite(_) => write!(f, "Rewrite"),
        }
    }
}

/// A fault that waits for its request.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The node it waits at; any without.
    pub node: Option<i32>,
    /// The call it waits for.
    pub key: ApiKey,
    /// Requests that it lets pass first.
    pub skip: u32,
    /// How often it strikes.
    pub times: u32,
    /// What it does.
    pub act: Act,
}

impl Fault {
    /// Strikes the next request of this kind at any node, once.
    pub fn next(key: ApiKey, act: Act) -> Fault {
        Fault { node: None, key, skip: 0, times: 1, act }
    }

    /// The same, `times` times.
    pub fn times(self, times: u32) -> Fault {
        Fault { times, ..self }
    }

    /// The same, after `skip` requests of this kind.
    pub fn after(self, skip: u32) -> Fault {
        Fault { skip, ..self }
    }

    /// The same, at one node only.
    pub fn at(self, node: i32) -> Fault {
        Fault { node: Some(node), ..self }
    }
}

/// What an answer needs to know of where it is given.
pub(super) struct Session {
    pub shared: Arc<Shared>,
    pub node: i32,
    pub login: Login,
    /// Replaces what the request earns, before or after it is carried out.
    pub error: Option<(i16, bool)>,
    pub throttle_ms: i32,
}

pub(super) fn spawn(shared: Arc<Shared>, node: i32, number: u64, stream: TcpStream) {
    let login = Login::new(&shared.settings);
    let session = Session { shared, node, login, error: None, throttle_ms: 0 };
    thread::spawn(move || {
        let mut connection = Connection { session, number, stream, still_until: None, mute: false };
        let _ = connection.serve(); // The peer's end, or ours on purpose.
        let _ = connection.stream.shutdown(Shutdown::Both);
    });
}

struct Connection {
    session: Session,
    number: u64,
    stream: TcpStream,
    /// The end of a throttle that the peer was told of.
    still_until: Option<Instant>,
    /// Whether answers are no longer sent.
    mute: bool,
}

impl Connection {
    fn serve(&mut self) -> io::Result<()> {
        while let Some(length) = read_length(&mut self.stream)? {
            let mut frame = vec![0; length.min(8)];
            self.stream.read_exact(&mut frame)?;
            let head = Head::of(&frame).ok_or(io::ErrorKind::InvalidData)?;
            let key = ApiKey::try_from(head.key).map_err(|()| io::ErrorKind::InvalidData)?;
            let act = self.strike(key);
            if let Some(Act::CloseMid) = act {
                frame.resize(length / 2, 0);
                return self.stream.read_exact(&mut frame[8.min(length / 2)..]);
            }
            frame.resize(length, 0);
            self.stream.read_exact(&mut frame[8..])?;
            self.note(key, head.version, length);
            if !self.one(key, head, &frame, act)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The fault that this request meets.
    fn strike(&self, key: ApiKey) -> Option<Act> {
        let faults = &mut self.session.shared.state().faults;
        let mine =
            |fault: &Fault| fault.key == key && fault.node.is_none_or(|node| node == self.session.node);
        for at in 0..faults.len() {
            if !mine(&faults[at]) {
                continue;
            }
            if faults[at].skip > 0 {
                faults[at].skip -= 1;
                continue;
            }
            faults[at].times -= 1;
            let act = faults[at].act.clone();
            if faults[at].times == 0 {
                faults.remove(at);
            }
            return Some(act);
        }
        None
    }

    fn note(&mut self, key: ApiKey, version: i16, bytes: usize) {
        let (node, connection, at) = (self.session.node, self.number, Instant::now());
        let mut state = self.session.shared.state();
        state.journal.push(Request { node, connection, key, version, bytes, at });
        if let Some(early) = self.still_until.take().and_then(|until| until.checked_duration_since(at)) {
            state
                .complaints
                .push(format!("{key:?} at node {node} came {early:?} before the end of its throttle"));
        }
    }

    /// Carries out one request. `false` ends the connection.
    fn one(&mut self, key: ApiKey, head: Head, frame: &[u8], act: Option<Act>) -> io::Result<bool> {
        match act {
            Some(Act::CloseBefore) => return Ok(false),
            Some(Act::Freeze) => return self.freeze(),
            Some(Act::Error(code)) => self.session.error = Some((code, false)),
            Some(Act::ErrorAfter(code)) => self.session.error = Some((code, true)),
            Some(Act::Throttle(ms)) => self.session.throttle_ms = ms,
            _ => {}
        }
        let answer = answers::answer(&mut self.session, key, head, frame);
        self.session.error = None;
        let throttle = Duration::from_millis(std::mem::take(&mut self.session.throttle_ms) as u64);
        let Some(answer) = answer else { return Ok(false) };
        if !answer.body.is_empty() {
            if !throttle.is_zero() {
                self.still_until = Some(Instant::now() + throttle);
            }
            self.send(framed(&answer.body), act)?;
        }
        Ok(answer.goes_on)
    }

    fn send(&mut self, mut bytes: Vec<u8>, act: Option<Act>) -> io::Result<()> {
        self.mute |= matches!(act, Some(Act::DropAnswer));
        match act {
            _ if self.mute => Ok(()),
            Some(Act::CloseAfter) => Err(io::ErrorKind::ConnectionAborted.into()),
            Some(Act::Slices(size)) => bytes.chunks(size).try_for_each(|slice| {
                thread::sleep(Duration::from_micros(200)); // So that the kernel does not join them.
                self.stream.write_all(slice)
            }),
            Some(Act::Rewrite(how)) => {
                how(&mut bytes);
                self.stream.write_all(&bytes)
            }
            Some(Act::Delay(time)) => {
                thread::sleep(time);
                self.stream.write_all(&bytes)
            }
            _ => self.stream.write_all(&bytes),
        }
    }

    /// Reads nothing until the fake itself closes the connection: the peer cannot tell from a frozen process.
    fn freeze(&self) -> io::Result<bool> {
        loop {
            thread::sleep(Duration::from_millis(10));
            // A shut socket reads as ended; one with bytes waiting, or none, does not.
            self.stream.set_read_timeout(Some(Duration::from_millis(10)))?;
            match self.stream.peek(&mut [0]) {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(_) => return Ok(false),
            }
        }
    }
}
