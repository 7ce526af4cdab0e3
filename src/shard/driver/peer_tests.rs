//! Outgoing connections: the same scripts through both drivers, against sockets of this test.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::peer::{PeerId, PeerSend};
use super::testing::patiently;
use super::*;
use crate::core::memory::Clock;
use crate::sys::clock::MonotonicClock;

const PATIENCE: Duration = Duration::from_secs(10);

/// What a buffer is filled with as soon as it is ours again: must never arrive.
const SPOILT: u8 = 0xff;

#[derive(Default)]
struct Call {
    dialed: Option<Result<(), i32>>,
    lost: Option<i32>,
    hung_up: bool,
    received: Vec<u8>,
    /// Messages of parts that have not left wholly. The first may be in flight.
    out: VecDeque<Vec<Vec<u8>>>,
    /// Bytes of the first message that left.
    gone: usize,
    /// Bytes in flight.
    flying: usize,
    sent_bytes: usize,
    /// Hang up by itself then.
    patience_ns: Option<u64>,
}

impl Call {
    fn spoil(message: &mut [Vec<u8>]) {
        message.iter_mut().for_each(|part| part.fill(SPOILT));
    }
}

/// Dials, sends and hangs up as it is asked, and checks everything that a driver tells it.
#[derive(Default)]
struct Caller {
    calls: Vec<Option<Call>>,
    dials: VecDeque<(PeerId, SocketAddr)>,
    hang_ups: VecDeque<PeerId>,
    released: Vec<(PeerId, Call)>,
    draining: bool,
}

impl Caller {
    fn dial(&mut self, id: PeerId, to: SocketAddr) {
        if self.calls.len() <= id as usize {
            self.calls.resize_with(id as usize + 1, || None);
        }
        assert!(self.calls[id as usize].replace(Call::default()).is_none());
        self.dials.push_back((id, to));
    }

    fn call(&mut self, id: PeerId) -> &mut Call {
        self.calls[id as usize].as_mut().expect("told of a peer that was not dialed")
    }

    fn hang_up(&mut self, id: PeerId) {
        assert!(!std::mem::replace(&mut self.call(id).hung_up, true));
        self.hang_ups.push_back(id);
    }
}

impl Logic for Caller {
    type Request = ();
    type Mail = ();

    fn next_dial(&mut self) -> Option<(PeerId, SocketAddr)> {
        self.dials.pop_front()
    }

    fn dialed(&mut self, peer: PeerId, result: Result<(), i32>) {
        let call = self.call(peer);
        assert!(call.dialed.replace(result).is_none() && !call.hung_up);
    }

    fn peer_receive(&mut self, peer: PeerId, data: &mut [u8]) {
        let call = self.call(peer);
        assert!(call.dialed == Some(Ok(())) && !call.hung_up && call.lost.is_none() && !data.is_empty());
        call.received.extend_from_slice(data);
    }

    fn peer_lost(&mut self, peer: PeerId, code: i32) {
        let call = self.call(peer);
        assert!(call.dialed == Some(Ok(())) && !call.hung_up && call.lost.replace(code).is_none());
    }

    fn next_peer_send(&mut self) -> Option<PeerSend<'_>> {
        let ready = |call: &Call| {
            call.dialed == Some(Ok(())) && !call.hung_up && call.lost.is_none() && call.flying == 0
        };
        let (id, call) = self.calls.iter_mut().enumerate().find_map(|(id, call)| {
            call.as_mut().filter(|call| ready(call) && !call.out.is_empty()).map(|call| (id, call))
        })?;
        let mut send = PeerSend::new(id as PeerId);
        let mut skip = call.gone;
        for part in &call.out[0] {
            let skipped = skip.min(part.len());
            skip -= skipped;
            if !send.push(&part[skipped..]) {
                break;
            }
        }
        call.flying = send.bytes();
        Some(send)
    }

    fn peer_sent(&mut self, peer: PeerId, bytes: usize) {
        let call = self.call(peer);
        assert!((1..=call.flying).contains(&bytes) && !call.hung_up);
        call.flying = 0;
        call.gone += bytes;
        call.sent_bytes += bytes;
        if call.gone == call.out[0].iter().map(Vec::len).sum::<usize>() {
            Call::spoil(&mut call.out.pop_front().unwrap());
            call.gone = 0;
        }
    }

    fn next_hang_up(&mut self) -> Option<PeerId> {
        self.hang_ups.pop_front()
    }

    fn peer_released(&mut self, peer: PeerId) {
        let mut call = self.calls[peer as usize].take().expect("released twice");
        assert!(call.hung_up);
        call.out.iter_mut().for_each(|message| Call::spoil(message));
        self.released.push((peer, call));
    }

    fn deadline_ns(&self) -> Option<u64> {
        self.calls.iter().flatten().filter_map(|call| call.patience_ns).min()
    }

    fn tick(&mut self) {
        let now_ns = MonotonicClock.now_ns();
        for id in 0..self.calls.len() as PeerId {
            let due = |call: &mut Call| call.patience_ns.take_if(|until_ns| *until_ns <= now_ns).is_some();
            if self.calls[id as usize].as_mut().is_some_and(due) {
                self.hang_up(id);
            }
        }
    }

    fn drain(&mut self) {
        self.draining = true;
    }

    fn is_drained(&mut self) -> bool {
        self.draining
    }

    // No connection comes, and there is no file.
    fn open(&mut self, _: Protocol) -> Option<ConnId> {
        None
    }
    fn receive(&mut self, _: ConnId, _: &mut [u8]) {}
    fn receive_end(&mut self, _: ConnId) {}
    fn fail(&mut self, _: ConnId) {}
    fn accept_failed(&mut self) {}
    fn released(&mut self, _: ConnId) {}
    fn next_send(&mut self) -> Option<(ConnId, &[u8])> {
        None
    }
    fn sent(&mut self, _: ConnId, _: usize) {}
    fn next_action(&mut self) -> Option<(ConnId, Action)> {
        None
    }
    fn run(&mut self) -> bool {
        false
    }
    fn next_io(&mut self) -> Option<Io<'_>> {
        None
    }
    fn io_done(&mut self, _: u8, _: IoStep, _: Result<usize, i32>) {}
    fn next_request(&mut self) -> Option<()> {
        None
    }
    fn mail(&mut self, (): ()) {}
}

struct Shard {
    sender: Sender<Caller>,
    thread: JoinHandle<Caller>,
}

fn both(script: impl Fn(Shard)) {
    for kind in [Kind::Uring, Kind::Glommio] {
        if let (Kind::Uring, Err(why)) = (kind, crate::sys::ring::uring_support()) {
            eprintln!("not tested: {why}");
            continue;
        }
        eprintln!("{}", kind.as_str());
        let (sender, mailbox) = mailbox::<Caller>().unwrap();
        let thread = std::thread::spawn(move || {
            let executor = ::glommio::LocalExecutorBuilder::default().io_memory(1 << 20).make().unwrap();
            let (requests, hosted) = (Box::new(|()| ()), Hosted::default());
            let bounds =
                Bounds { connections_max: 1, buffers: Buffers { count: 1, bytes: 4096 }, poll: false };
            let edges = Edges { listeners: Vec::new(), mailbox, requests, hosted, bounds };
            executor.run(async move { drive(kind, Caller::default(), edges).await.unwrap() })
        });
        script(Shard { sender, thread });
    }
}

impl Shard {
    fn ask<T: Send + 'static>(&self, question: impl FnOnce(&mut Caller) -> T + Send + 'static) -> T {
        let (answer, wait) = mpsc::channel();
        self.sender
            .send(Message::Ask(Box::new(move |caller| answer.send(question(caller)).unwrap())))
            .unwrap();
        wait.recv_timeout(PATIENCE).unwrap()
    }

    fn wait_for<T: Send + 'static>(
        &self,
        look: impl Fn(&mut Caller) -> Option<T> + Send + Copy + 'static,
    ) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.ask(move |caller| look(caller)) {
                return found;
            }
            assert!(Instant::now() < until, "it never came");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn dial(&self, id: PeerId, to: SocketAddr) {
        self.ask(move |caller| caller.dial(id, to));
    }

    /// How dialing ended.
    fn dialed(&self, id: PeerId) -> Result<(), i32> {
        self.wait_for(move |caller| caller.call(id).dialed)
    }

    /// A connection, and the far end of it.
    fn connect(&self, id: PeerId, listener: &TcpListener) -> TcpStream {
        self.dial(id, listener.local_addr().unwrap());
        let far = listener.accept().unwrap().0;
        far.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(self.dialed(id), Ok(()));
        far
    }

    fn send(&self, id: PeerId, parts: Vec<Vec<u8>>) {
        self.ask(move |caller| caller.call(id).out.push_back(parts));
    }

    fn hang_up(&self, id: PeerId) {
        self.ask(move |caller| caller.hang_up(id));
    }

    /// What is left of a peer that was hung up.
    fn released(&self) -> (PeerId, Call) {
        self.wait_for(|caller| caller.released.pop())
    }

    fn end(self) -> Caller {
        self.sender.send(Message::Drain).unwrap();
        self.thread.join().unwrap()
    }
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Parts of sizes from none to 70,000, and all of their bytes, none of which is [`SPOILT`].
fn parts(count: usize, seed: u8) -> (Vec<Vec<u8>>, Vec<u8>) {
    let sizes = [3, 0, 70_000, 61, 1, 4096, 25_000];
    let byte = |n: usize| (n.wrapping_mul(2_654_435_761) >> 20) as u8 & 0x3f ^ seed & 0x3f;
    let parts: Vec<Vec<u8>> =
        (0..count).map(|part| (0..sizes[part % sizes.len()]).map(|n| byte(n * 7 + part)).collect()).collect();
    let all = parts.concat();
    (parts, all)
}

#[test]
fn talks_both_ways_with_several() {
    both(|shard| {
        let listener = listener();
        let mut far: Vec<_> = (0..5).map(|id| shard.connect(id, &listener)).collect();
        for round in 0..30_u8 {
            for (id, far) in (0..).zip(&mut far) {
                shard.send(id, vec![vec![round], vec![id as u8, 1]]);
                let mut read = [0; 3];
                far.read_exact(&mut read).unwrap();
                assert_eq!(read, [round, id as u8, 1]);
                far.write_all(&[round, 7]).unwrap();
            }
        }
        for id in 0..5 {
            let received = shard.wait_for(move |caller| {
                let call = caller.call(id);
                (call.received.len() >= 60).then(|| call.received.clone())
            });
            assert!(received.chunks(2).zip(0..30).all(|(pair, round)| pair == [round, 7]), "{received:?}");
            shard.hang_up(id);
            assert_eq!(shard.released().0, id);
            assert_eq!(patiently(|| far[id as usize].read(&mut [0])), 0);
        }
        shard.end();
    });
}

#[test]
fn a_connection_refused_is_told_and_its_number_can_be_dialed_again() {
    both(|shard| {
        let gone = listener().local_addr().unwrap();
        for _ in 0..3 {
            shard.dial(0, gone);
            assert_eq!(shard.dialed(0), Err(libc::ECONNREFUSED));
            shard.hang_up(0);
            shard.released();
        }
        let listener = listener();
        let mut far = shard.connect(0, &listener);
        shard.send(0, vec![b"after all".to_vec()]);
        let mut read = [0; 9];
        far.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"after all");
        shard.end();
    });
}

#[test]
fn an_address_that_cannot_be_reached_is_told() {
    both(|shard| {
        // TCP has no broadcast: fails within the call.
        shard.dial(0, "255.255.255.255:9".parse().unwrap());
        assert!(matches!(shard.dialed(0), Err(1..)));
        shard.hang_up(0);
        shard.released();
        shard.end();
    });
}

#[test]
fn a_connect_that_is_never_answered_ends_when_the_logic_hangs_up() {
    both(|shard| {
        // Its queue is full, so that the kernel drops whoever knocks.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let fill: Vec<_> = (0..4).map(|_| peer::dial(address).unwrap()).collect();
        shard.ask(move |caller| {
            caller.dial(3, address);
            caller.call(3).patience_ns = Some(MonotonicClock.now_ns() + 50_000_000);
        });
        let (id, call) = shard.released();
        assert_eq!((id, call.dialed), (3, None));
        // Hung up before the driver has even taken it.
        shard.ask(move |caller| {
            caller.dial(3, address);
            caller.hang_up(3);
        });
        assert_eq!(shard.released().1.dialed, None);
        drop(fill);
        shard.end();
    });
}

#[test]
fn many_parts_arrive_in_order_at_a_slow_reader_and_are_never_touched_before() {
    both(|shard| {
        let listener = listener();
        socket2::SockRef::from(&listener).set_recv_buffer_size(16 << 10).unwrap();
        let mut far = shard.connect(1, &listener);
        let mut expected = Vec::new();
        for seed in 0..4 {
            let (parts, all) = parts(150, seed);
            shard.send(1, parts);
            expected.extend(all);
        }
        let mut read = Vec::new();
        let mut buffer = vec![0; 256 << 10];
        while read.len() < expected.len() {
            let len = patiently(|| far.read(&mut buffer));
            assert!(len > 0);
            read.extend_from_slice(&buffer[..len]);
            if read.len() < 2 << 20 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        assert!(read == expected);
        let total = expected.len();
        shard.wait_for(move |caller| (caller.call(1).sent_bytes == total).then_some(()));
        shard.end();
    });
}

#[test]
fn a_reset_in_the_middle_of_a_send_is_told_once() {
    both(|shard| {
        let listener = listener();
        for _ in 0..5 {
            let mut far = shard.connect(0, &listener);
            let (parts, _) = parts(600, 1);
            shard.send(0, parts);
            far.read_exact(&mut [0; 1000]).unwrap();
            socket2::SockRef::from(&far).set_linger(Some(Duration::ZERO)).unwrap();
            drop(far);
            let code = shard.wait_for(|caller| caller.call(0).lost);
            assert!([libc::ECONNRESET, libc::EPIPE].contains(&code), "{code}");
            shard.hang_up(0);
            let (_, call) = shard.released();
            assert!(!call.out.is_empty());
        }
        shard.end();
    });
}

#[test]
fn a_far_end_that_only_reads_is_lost_without_an_error() {
    both(|shard| {
        let listener = listener();
        let mut far = shard.connect(0, &listener);
        far.write_all(b"last words").unwrap();
        far.shutdown(Shutdown::Write).unwrap();
        assert_eq!(shard.wait_for(|caller| caller.call(0).lost), 0);
        shard.hang_up(0);
        assert_eq!(shard.released().1.received, b"last words");
        assert_eq!(patiently(|| far.read(&mut [0])), 0);
        shard.end();
    });
}

#[test]
fn hanging_up_with_a_send_in_flight_gives_the_buffers_back_when_the_kernel_has_let_go() {
    both(|shard| {
        let listener = listener();
        for round in 0..5 {
            let mut far = shard.connect(0, &listener);
            let (parts, all) = parts(600, round);
            shard.send(0, parts);
            // It is stuck: the far end does not read.
            patiently(|| far.peek(&mut [0]));
            shard.wait_for(|caller| (caller.call(0).flying > 0).then_some(()));
            shard.hang_up(0);
            // The buffers are spoilt now.
            let (_, call) = shard.released();
            assert!(!call.out.is_empty());
            let mut read = Vec::new();
            // The rest may be cut off by a reset, which is no end.
            let _ = far.read_to_end(&mut read);
            assert!(read.len() < all.len() && read == all[..read.len()], "{} bytes", read.len());
        }
        shard.end();
    });
}

#[test]
fn answers_in_slices_of_a_byte_arrive_whole() {
    both(|shard| {
        let listener = listener();
        let mut far = shard.connect(2, &listener);
        far.set_nodelay(true).unwrap();
        let answer: Vec<u8> = (0..700_u32).map(|n| n as u8).collect();
        answer.chunks(1).for_each(|slice| far.write_all(slice).unwrap());
        let received = shard.wait_for(|caller| {
            let call = caller.call(2);
            (call.received.len() >= 700).then(|| call.received.clone())
        });
        assert!(received == answer);
        // And longer ones than the buffer, which come in pieces.
        let (_, long) = parts(30, 3);
        far.write_all(&long).unwrap();
        let len = 700 + long.len();
        let received = shard.wait_for(move |caller| {
            let call = caller.call(2);
            (call.received.len() >= len).then(|| call.received.clone())
        });
        assert!(received[700..] == long);
        shard.end();
    });
}

#[test]
fn a_shard_that_ends_lets_go_of_everything() {
    both(|shard| {
        let listener = listener();
        let mut far = shard.connect(0, &listener);
        let (parts, all) = parts(600, 9);
        shard.send(0, parts);
        patiently(|| far.peek(&mut [0]));
        shard.wait_for(|caller| (caller.call(0).flying > 0).then_some(()));
        // A logic that does not wait for its peers; the buffers are gone when this returns.
        drop(shard.end());
        let mut read = Vec::new();
        let _ = far.read_to_end(&mut read);
        assert!(read.len() <= all.len() && read == all[..read.len()]);
    });
}
