//! A proxy that knows where frames begin and end: it can lose an answer and keep the request, which no proxy of bytes can.
//!
//! Between a client and any broker, real or fake. It forwards as it reads, frame by frame; rules decide what happens to
//! an exchange of a kind. For real brokers start the rig with `--proxied` and one proxy per node at the addresses it names.

use crate::wire::{Head, framed, read_frame};
use kafka_protocol::messages::ApiKey;
use std::{
    collections::VecDeque,
    io::{self, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// What happens to an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meddle {
    /// The broker answers; the client hears neither this nor any later answer of the connection, which stays open.
    DropAnswer,
    /// The broker answers, and instead of hearing it the client loses the connection.
    CutAnswer,
    /// The client hears so many bytes of the answer, then loses the connection.
    CutAnswerAfter(usize),
    /// The broker gets so many bytes of the request (its length counted), then both connections end.
    CutRequestAfter(usize),
    /// The request waits before it is forwarded, and whatever follows behind it.
    DelayRequest(Duration),
    /// The answer waits, and whatever follows behind it.
    DelayAnswer(Duration),
    /// The answer comes in pieces of so many bytes, each a packet of its own.
    SliceAnswer(usize),
    /// The lowest bit of the byte that lies so many before the request's end (0 is the last) arrives inverted.
    FlipRequest(usize),
}

/// A rule: what happens to how many exchanges of a call.
#[derive(Debug, Clone, Copy)]
struct Rule {
    key: ApiKey,
    skip: u32,
    times: u32,
    meddle: Meddle,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    /// Bytes a second in each direction of each connection, without a limit if nothing.
    rate: Option<u64>,
    streams: Vec<TcpStream>,
    requests: Vec<(ApiKey, i16)>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    over: AtomicBool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What happens to this exchange.
    fn meddle(&self, key: ApiKey) -> Option<Meddle> {
        let rules = &mut self.state().rules;
        let at = rules.iter_mut().position(|rule| {
            let mine = rule.key == key;
            let passed = mine && rule.skip > 0;
            rule.skip -= u32::from(passed);
            mine && !passed
        })?;
        let meddle = rules[at].meddle;
        rules[at].times -= 1;
        if rules[at].times == 0 {
            rules.remove(at);
        }
        Some(meddle)
    }

    /// Writes at the rate that holds.
    fn write(&self, to: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        let Some(rate) = self.state().rate else { return to.write_all(bytes) };
        let tick = Duration::from_millis(10);
        bytes.chunks((rate / 100).max(1) as usize).try_for_each(|some| {
            thread::sleep(tick);
            to.write_all(some)
        })
    }
}

/// A running proxy in front of one broker. It ends with this value.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Proxy {
    /// Listens at `listen` (port 0 for any) and connects each client to `upstream`.
    pub fn start(listen: SocketAddr, upstream: SocketAddr) -> io::Result<Proxy> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { state: Mutex::default(), over: AtomicBool::new(false) });
        let proxy = Proxy { shared: shared.clone(), address };
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.over.load(Ordering::Relaxed) {
                    return;
                }
                // A broker that is away is a connection that ends at once.
                let _ = TcpStream::connect(upstream).and_then(|broker| pair(&shared, client, broker));
            }
        });
        Ok(proxy)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Meddles with `times` exchanges of a call, after `skip` of them passed.
    pub fn rule(&self, key: ApiKey, skip: u32, times: u32, meddle: Meddle) {
        self.shared.state().rules.push(Rule { key, skip, times, meddle });
    }

    /// Rules that have not been used up.
    pub fn rules_left(&self) -> usize {
        self.shared.state().rules.len()
    }

    /// Bytes a second in each direction of each connection; `None` lifts the limit.
    pub fn limit(&self, bytes_per_second: Option<u64>) {
        self.shared.state().rate = bytes_per_second;
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        for stream in self.shared.state().streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Calls and versions of all requests so far.
    pub fn requests(&self) -> Vec<(ApiKey, i16)> {
        self.shared.state().requests.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        self.cut();
        let _ = TcpStream::connect(self.address); // Wakes the listener, which sees that it is over.
    }
}

/// Both directions between a client and its broker. Either's end ends the other.
fn pair(shared: &Arc<Shared>, client: TcpStream, broker: TcpStream) -> io::Result<()> {
    for stream in [&client, &broker] {
        stream.set_nodelay(true)?;
        let streams = &mut shared.state().streams;
        streams.retain(|old| old.peer_addr().is_ok()); // Those that have ended would pile up.
        streams.push(stream.try_clone()?);
    }
    let awaited = Arc::new(Mutex::new(VecDeque::new()));
    let (mut from, mut to) = (client.try_clone()?, broker.try_clone()?);
    let (up, queue) = (shared.clone(), awaited.clone());
    thread::spawn(move || {
        let _ = requests(&up, &mut from, &mut to, &queue);
        end(&from, &to);
    });
    let (shared, mut from, mut to) = (shared.clone(), broker, client);
    thread::spawn(move || {
        let _ = answers(&shared, &mut from, &mut to, &awaited);
        end(&from, &to);
    });
    Ok(())
}

fn end(one: &TcpStream, other: &TcpStream) {
    let _ = one.shutdown(Shutdown::Both);
    let _ = other.shutdown(Shutdown::Both);
}

/// What is to happen to the answers that are due, oldest first: brokers answer in order.
type Awaited = Mutex<VecDeque<Option<Meddle>>>;

fn requests(shared: &Shared, from: &mut TcpStream, to: &mut TcpStream, awaited: &Awaited) -> io::Result<()> {
    while let Some(frame) = read_frame(from)? {
        let head = Head::of(&frame).ok_or(io::ErrorKind::InvalidData)?;
        let key = ApiKey::try_from(head.key).map_err(|()| io::ErrorKind::InvalidData)?;
        shared.state().requests.push((key, head.version));
        let meddle = shared.meddle(key);
        let mut bytes = framed(&frame);
        match meddle {
            Some(Meddle::FlipRequest(before)) => {
                let at = bytes.len().saturating_sub(before + 1).max(4); // Never the frame's length.
                bytes[at] ^= 1;
            }
            Some(Meddle::CutRequestAfter(sent)) => return shared.write(to, &bytes[..sent.min(bytes.len())]),
            Some(Meddle::DelayRequest(time)) => thread::sleep(time),
            _ => {}
        }
        if !unanswered(key, head.version, &frame) {
            awaited.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push_back(meddle);
        }
        shared.write(to, &bytes)?;
    }
    Ok(())
}

/// Produce with acks=0 has no answer. Acks follow the header and the transactional id, whose forms vary by version.
fn unanswered(key: ApiKey, version: i16, frame: &[u8]) -> bool {
    let acks = || -> Option<i16> {
        let client = i16::from_be_bytes(frame.get(8..10)?.try_into().ok()?).max(0) as usize;
        let rest = frame.get(10 + client..)?;
        let id = if version >= 9 {
            let tags = 1; // No tags in the header, one byte; then the id's length + 1, one byte if it is short.
            tags + 1 + usize::from(*rest.get(tags)?).saturating_sub(1)
        } else {
            2 + i16::from_be_bytes(rest.get(..2)?.try_into().ok()?).max(0) as usize
        };
        Some(i16::from_be_bytes(rest.get(id..id + 2)?.try_into().ok()?))
    };
    key == ApiKey::Produce && acks() == Some(0)
}

fn answers(shared: &Shared, from: &mut TcpStream, to: &mut TcpStream, awaited: &Awaited) -> io::Result<()> {
    let mut mute = false;
    while let Some(frame) = read_frame(from)? {
        let meddle = awaited.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop_front().flatten();
        let bytes = framed(&frame);
        mute |= meddle == Some(Meddle::DropAnswer);
        match meddle {
            _ if mute => {}
            Some(Meddle::CutAnswer) => return Ok(()),
            Some(Meddle::CutAnswerAfter(heard)) => return shared.write(to, &bytes[..heard.min(bytes.len())]),
            Some(Meddle::SliceAnswer(size)) => bytes.chunks(size).try_for_each(|slice| {
                thread::sleep(Duration::from_micros(200)); // So that the kernel does not join them.
                to.write_all(slice)
            })?,
            other => {
                if let Some(Meddle::DelayAnswer(time)) = other {
                    thread::sleep(time);
                }
                shared.write(to, &bytes)?;
            }
        }
    }
    Ok(())
}
