//! Connections that one shard accepts and another serves, through each pair of drivers.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::testing::{Echo, patiently};
use super::tests::{KINDS, Shard, start};
use super::*;

/// One that accepts, and one that gets everything.
fn pairs(connections: usize, script: impl Fn(Shard, Shard)) {
    for (kind, other) in KINDS.into_iter().flat_map(|kind| KINDS.map(|other| (kind, other))) {
        eprintln!("from {} to {}", kind.as_str(), other.as_str());
        let (Some(from), Some(to)) = (start(kind, connections), start(other, connections)) else { continue };
        let onward = to.sender.clone();
        from.ask(move |echo| echo.onward = Some(onward));
        script(from, to);
    }
}

fn echo(mut stream: impl Read + Write, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    let mut read = vec![0; bytes.len()];
    stream.read_exact(&mut read).unwrap();
    assert_eq!(read, bytes);
}

fn wait_for(shard: &Shard, what: impl Fn(&mut Echo) -> bool + Copy + Send + 'static) {
    let until = Instant::now() + Duration::from_secs(10);
    while !shard.ask(what) {
        assert!(Instant::now() < until, "it never came");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Nobody serves it: it ends, or is reset if something that was sent is lost with it.
fn assert_closed(mut stream: TcpStream) {
    let read = patiently(|| match stream.read(&mut [0]) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(0),
        result => result,
    });
    assert_eq!(read, 0);
}

#[test]
fn what_was_sent_before_is_served_by_the_other() {
    pairs(16, |from, to| {
        let streams: Vec<TcpStream> = (0..8)
            .map(|round: u8| {
                // It lies in the socket before anybody has accepted, or comes at any moment of the hand-over.
                let mut stream = from.connect();
                stream.write_all(&[round, 1]).unwrap();
                stream.write_all(&[2]).unwrap();
                let mut read = [0; 3];
                stream.read_exact(&mut read).unwrap();
                assert_eq!(read, [round, 1, 2]);
                stream
            })
            .collect();
        let unix = UnixStream::connect(&from.path).unwrap();
        echo(&unix, b"unix");
        streams.iter().for_each(|stream| echo(stream, &[7; 20_000]));
        assert_eq!(from.ask(|echo| (echo.open_count(), echo.passed)), (0, 9));
        assert_eq!(to.ask(|echo| (echo.open_count(), echo.adopted)), (9, 9));
        // The one that accepted has nothing more to do with them.
        from.drain();
        streams.iter().for_each(|stream| echo(stream, b"still"));
        drop((streams, unix));
        to.wait_until_empty();
        assert_eq!(to.drain().failed, 0);
    });
}

#[test]
fn one_that_cannot_be_had_is_closed_and_one_that_ended_is_given_nothing() {
    pairs(2, |from, to| {
        let kept: Vec<TcpStream> = (0..2).map(|_| from.connect()).collect();
        kept.iter().for_each(|stream| echo(stream, b"in"));
        assert_closed(from.connect());
        assert_eq!(to.ask(|echo| (echo.open_count(), echo.refused)), (2, 1));
        drop(kept);
        to.drain();
        // Its mailbox went with it, so the connection comes back and is served here.
        let here = from.connect();
        echo(&here, b"here");
        assert_eq!(from.ask(|echo| (echo.open_count(), echo.passed)), (1, 3));
        drop(here);
        from.drain();
    });
}

#[test]
fn one_that_drains_closes_what_comes_and_ends() {
    pairs(8, |from, to| {
        let stays = from.connect();
        echo(&stays, b"a");
        to.sender.send(Message::Drain).unwrap();
        wait_for(&to, |echo| echo.draining);
        // The connection that stays keeps it from ending, so it is still there to be given another.
        let mut late = from.connect();
        let _ = late.write_all(b"late");
        assert_closed(late);
        stays.shutdown(Shutdown::Both).unwrap();
        let echo = to.thread.join().unwrap();
        assert_eq!((echo.adopted, echo.failed), (1, 0));
        std::fs::remove_file(&to.path).unwrap();
        from.drain();
    });
}

#[test]
fn a_mailbox_takes_so_many_and_what_is_left_in_it_is_closed() {
    let (sender, mailbox) = mailbox::<Echo>().unwrap();
    let handed = || {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (ours, Handed { socket: theirs.into(), protocol: Protocol::Lines, from: Some(3) })
    };
    let waiting: Vec<UnixStream> = (0..COMING_MAX)
        .map(|_| {
            let (ours, handed) = handed();
            sender.hand_over(handed).unwrap();
            ours
        })
        .collect();
    let (mut ours, one_more) = handed();
    let back = sender.hand_over(one_more).unwrap_err();
    assert_eq!((back.from, back.protocol), (Some(3), Protocol::Lines));
    ours.write_all(b"x").unwrap();
    UnixStream::from(back.socket).read_exact(&mut [0]).unwrap();
    mailbox.hush();
    assert_eq!(mailbox.take_handed().map(|handed| handed.from), Some(Some(3)));
    sender.hand_over(handed().1).unwrap();
    drop(mailbox);
    for mut stream in waiting {
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "nobody holds the other end");
    }
    assert!(sender.hand_over(handed().1).is_err());
}
