//! Each operation once against real sockets and files, and what the ring must refuse.
use super::*;
use crate::core::memory::{Clock, Memory};
use crate::sys::clock::MonotonicClock;
use crate::sys::mapping::{Mapping, Residence};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

const SMALL: Buffers = Buffers { count: 4, bytes: 4096 };

fn ring() -> Option<Ring> {
    match uring_support() {
        Ok(()) => Some(Ring::new(SMALL).unwrap()),
        Err(why) => {
            eprintln!("not tested: {why}");
            None
        }
    }
}

/// Completions until `count` have come.
fn wait(ring: &mut Ring, count: usize) -> Vec<Completion> {
    let mut all = Vec::with_capacity(64);
    while all.len() < count {
        ring.enter(Wait::Block).unwrap();
        ring.reap(&mut all);
    }
    all
}

#[test]
fn receives_into_buffers_runs_out_and_goes_on_after_they_return() {
    let Some(mut ring) = ring() else { return };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ring.receive(ours.as_fd(), 7);
    let mut held = Vec::new();
    for round in 0..4u8 {
        theirs.write_all(&[round; 10]).unwrap();
        let got = wait(&mut ring, 1).pop().unwrap();
        assert_eq!((got.kind(), got.key(), got.result()), (Kind::Receive, 7, Ok(10)));
        let buffer = got.buffer().unwrap();
        assert_eq!(ring.bytes(buffer, 10), [round; 10]);
        held.push(buffer);
    }
    assert_eq!(ring.buffers_free(), 0);
    theirs.write_all(b"more").unwrap();
    let none = wait(&mut ring, 1).pop().unwrap();
    assert_eq!((none.result(), none.more()), (Err(libc::ENOBUFS), false));
    for buffer in held {
        ring.give_back(buffer);
    }
    ring.publish();
    ring.receive(ours.as_fd(), 8);
    let got = wait(&mut ring, 1).pop().unwrap();
    assert_eq!((got.key(), got.result()), (8, Ok(4)));
    ring.give_back(got.buffer().unwrap());
    drop(theirs);
    let end = wait(&mut ring, 1).pop().unwrap();
    assert_eq!((end.result(), end.more(), end.buffer()), (Ok(0), false, None));
}

#[test]
fn large_buffers_are_a_group_of_their_own() {
    let few = Buffers { count: 16, bytes: 4096 };
    assert_eq!(few.large(), Some(Buffers { count: 2, bytes: 16384 }));
    assert_eq!(Buffers { count: 8, bytes: 4096 }.large(), None);
    if uring_support().is_err() {
        return;
    }
    let mut ring = Ring::new(few).unwrap();
    assert!(!ring.outgrows(4096), "there are no larger ones yet");
    ring.provide_large().unwrap();
    assert!(ring.outgrows(4096) && !ring.outgrows(4095));
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ring.receive_large(ours.as_fd(), 7);
    let mut held = Vec::new();
    for round in 0..2u8 {
        theirs.write_all(&[round; 10_000]).unwrap();
        let got = wait(&mut ring, 1).pop().unwrap();
        assert_eq!((got.key(), got.result()), (7, Ok(10_000)), "all of it at once");
        held.push(got.buffer().unwrap());
        assert!(ring.bytes(held[usize::from(round)], 10_000).iter().all(|&byte| byte == round));
    }
    theirs.write_all(&[2; 10_000]).unwrap();
    let none = wait(&mut ring, 1).pop().unwrap();
    assert_eq!((none.result(), none.more()), (Err(libc::ENOBUFS), false), "no ordinary one is taken instead");
    assert_eq!(ring.buffers_free(), 16);
    held.drain(..).for_each(|buffer| ring.give_back(buffer));
    ring.publish();
    ring.receive(ours.as_fd(), 8);
    let all = wait(&mut ring, 3);
    let lens: Vec<_> = all.iter().map(|got| got.result().unwrap()).collect();
    assert_eq!(lens, [4096, 4096, 1808]);
    for got in all {
        let (buffer, len) = (got.buffer().unwrap(), got.result().unwrap());
        assert!(ring.bytes(buffer, len).iter().all(|&byte| byte == 2));
        ring.give_back(buffer);
    }
    assert_eq!(ring.buffers_free(), 16);
}

#[test]
#[should_panic = "given back twice"]
fn a_buffer_cannot_be_given_back_twice() {
    let Some(mut ring) = ring() else { panic!("given back twice") };
    ring.give_back(0);
}

#[test]
fn sends_and_cancels() {
    let Some(mut ring) = ring() else { return };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ring.receive(ours.as_fd(), 1);
    let bytes = b"reply".to_vec();
    ring.send(ours.as_fd(), &bytes, 1);
    let sent = wait(&mut ring, 1).pop().unwrap();
    assert_eq!((sent.kind(), sent.result()), (Kind::Send, Ok(5)));
    let mut read = [0; 5];
    theirs.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"reply");
    assert_eq!(ring.outstanding(), 1);
    ring.cancel(Kind::Receive, 1);
    let end = wait(&mut ring, 1).pop().unwrap();
    assert_eq!((end.result(), end.more()), (Err(libc::ECANCELED), false));
    ring.enter(Wait::Look).unwrap();
    ring.reap(&mut Vec::with_capacity(4));
    assert_eq!(ring.outstanding(), 0);
}

#[test]
fn a_write_is_followed_by_its_sync_and_a_failed_one_cancels_it() {
    let Some(mut ring) = ring() else { return };
    let path = std::env::temp_dir().join(format!("ringmill-ring-{}", std::process::id()));
    let file = std::fs::File::create(&path).unwrap();
    let mut page = Mapping::new(4096, Residence::Now).unwrap();
    page.bytes_mut().fill(b'x');
    ring.write(file.as_raw_fd(), 4096, page.bytes(), true, 3);
    let done = wait(&mut ring, 2);
    assert_eq!((done[0].kind(), done[0].result()), (Kind::Write, Ok(4096)));
    assert_eq!((done[1].kind(), done[1].result()), (Kind::Sync, Ok(0)));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 8192);
    let read_only = std::fs::File::open(&path).unwrap();
    ring.write(read_only.as_raw_fd(), 0, page.bytes(), true, 3);
    let done = wait(&mut ring, 2);
    assert_eq!(done[0].result(), Err(libc::EBADF));
    assert_eq!((done[1].kind(), done[1].result()), (Kind::Sync, Err(libc::ECANCELED)));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn tells_of_a_connection_made_and_of_one_refused() {
    let Some(mut ring) = ring() else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let dial = || {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&address.into());
        socket
    };
    let made = dial();
    ring.writable(made.as_fd(), 5);
    let told = wait(&mut ring, 1).pop().unwrap();
    assert_eq!((told.kind(), told.key(), told.more()), (Kind::Writable, 5, false));
    assert!(made.take_error().unwrap().is_none());
    drop(listener);
    let refused = dial();
    ring.writable(refused.as_fd(), 6);
    assert_eq!(wait(&mut ring, 1).pop().unwrap().key(), 6);
    // A refusal on the loopback comes within the call, so the error may have been taken there already.
    assert!(refused.peer_addr().is_err());
    assert_eq!(ring.outstanding(), 0);
}

#[test]
fn a_spinning_ring_tells_when_there_is_work() {
    if ring().is_none() {
        return;
    }
    let mut ring = Ring::spinning(SMALL).unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    assert!(!ring.has_work());
    ring.receive(ours.as_fd(), 1);
    assert!(ring.has_work());
    ring.enter(Wait::Look).unwrap();
    assert!(!ring.has_work());
    theirs.write_all(b"x").unwrap();
    while !ring.has_work() {
        std::hint::spin_loop();
    }
    assert_eq!(wait(&mut ring, 1).pop().unwrap().result(), Ok(1));
    assert!(!ring.has_work());
}

#[test]
fn the_timer_moves_forward_and_comes_once() {
    let Some(mut ring) = ring() else { return };
    let start_ns = MonotonicClock.now_ns();
    ring.timer_until(start_ns + 60_000_000_000);
    ring.enter(Wait::Look).unwrap();
    ring.timer_until(start_ns + 5_000_000);
    ring.timer_until(start_ns + 30_000_000_000);
    let fired = wait(&mut ring, 1);
    assert_eq!((fired.len(), fired[0].kind()), (1, Kind::Timer));
    let took_ns = MonotonicClock.now_ns() - start_ns;
    assert!((5_000_000..1_000_000_000).contains(&took_ns), "{took_ns}");
    assert_eq!(ring.outstanding(), 0);
}

#[test]
fn accepts_many_and_a_full_submission_queue_passes() {
    let Some(mut ring) = ring() else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    ring.accept(listener.as_fd(), 2);
    for _ in 0..SUBMISSIONS + 10 {
        ring.cancel(Kind::Send, 99);
    }
    let address = listener.local_addr().unwrap();
    let clients: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    for (mut client, accepted) in clients.into_iter().zip(wait(&mut ring, 3)) {
        assert!(accepted.more());
        let mut socket = std::net::TcpStream::from(accepted.into_socket().unwrap());
        socket.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
}

#[test]
fn says_what_to_do() {
    for (code, word) in [(libc::EPERM, "io_uring"), (libc::EINVAL, "6.1"), (libc::ENOMEM, "ulimit")] {
        assert!(explain(&io::Error::from_raw_os_error(code)).contains(word));
    }
}

#[test]
fn a_peer_is_sent_gathered_parts_and_receives_though_no_provided_buffer_is_left() {
    let Some(mut ring) = ring() else { return };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let (hungry, mut feeder) = UnixStream::pair().unwrap();
    ring.receive(hungry.as_fd(), 1);
    for _ in 0..SMALL.count {
        feeder.write_all(b"full").unwrap();
        wait(&mut ring, 1);
    }
    assert_eq!(ring.buffers_free(), 0);
    ring.prepare_peer(2).unwrap();
    let (key, parts) = (9 << 32 | 2, [b"one ".to_vec(), b"two ".to_vec(), b"three".to_vec()]);
    let slices: Vec<_> = parts.iter().map(|part| io::IoSlice::new(part)).collect();
    ring.peer_receive(ours.as_fd(), key);
    ring.peer_send(ours.as_fd(), &slices, key);
    let sent = wait(&mut ring, 1).pop().unwrap();
    assert_eq!((sent.kind(), sent.key(), sent.result()), (Kind::PeerSend, key, Ok(13)));
    let mut read = [0; 13];
    theirs.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"one two three");
    theirs.write_all(b"answer").unwrap();
    let got = wait(&mut ring, 1).pop().unwrap();
    assert_eq!((got.kind(), got.buffer(), got.result()), (Kind::PeerReceive, None, Ok(6)));
    assert_eq!(ring.peer_bytes(2, 6), b"answer");
    ring.peer_receive(ours.as_fd(), key);
    ring.cancel(Kind::PeerReceive, key);
    assert_eq!(wait(&mut ring, 1).pop().unwrap().result(), Err(libc::ECANCELED));
}

#[test]
#[should_panic = "assertion failed: !place.receiving"]
fn what_the_kernel_fills_for_a_peer_cannot_be_read() {
    let Some(mut ring) = ring() else { panic!("assertion failed: !place.receiving") };
    let (ours, _theirs) = UnixStream::pair().unwrap();
    ring.prepare_peer(0).unwrap();
    ring.peer_receive(ours.as_fd(), 0);
    ring.peer_bytes(0, 1);
}

#[test]
fn a_ring_that_is_dropped_waits_for_its_peers() {
    let Some(mut ring) = ring() else { return };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ring.prepare_peer(0).unwrap();
    // More than a socket holds: it is stuck.
    let bytes = vec![b'a'; 4 << 20];
    ring.peer_receive(ours.as_fd(), 0);
    ring.peer_send(ours.as_fd(), &[io::IoSlice::new(&bytes)], 0);
    ring.enter(Wait::Look).unwrap();
    drop(ring);
    drop((bytes, ours));
    let mut read = Vec::new();
    theirs.read_to_end(&mut read).unwrap();
    assert!(read.len() < 4 << 20 && read.iter().all(|&byte| byte == b'a'));
}
