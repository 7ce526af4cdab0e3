use super::*;
use crate::config::plan::Validator;
use crate::core::ack::Ack;
use crate::core::balance::COMING_MAX;
use crate::core::engine::Config;
use crate::core::sink::{AnySink, null::NullSink};
use crate::core::testing::engine::config;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const SLOTS: usize = 3;

/// A shard without a driver: a core, what it knows of its neighbours, its mailbox.
struct Stub {
    core: Core,
    neighbours: Neighbours,
    mailbox: Mailbox<Shard>,
}

fn core() -> Core {
    let config = Config { connections_max: SLOTS, ack: Ack::Accepted, ..config() };
    super::super::make(config, AnySink::Null(NullSink), Validator::Exact).unwrap()
}

fn stubs(count: usize) -> Vec<Stub> {
    let mut stubs: Vec<Stub> = homes(count, true)
        .unwrap()
        .into_iter()
        .enumerate()
        .map(|(own, home)| {
            let neighbours = Neighbours::new(home.street.expect("there are several"), own);
            Stub { core: core(), neighbours, mailbox: home.mailbox }
        })
        .collect();
    stubs.iter_mut().for_each(Stub::turn);
    stubs
}

impl Stub {
    fn turn(&mut self) {
        self.core.tick();
        self.neighbours.say(&self.core);
    }

    /// A connection is accepted: the client's end, and what came back to be opened here.
    fn accept(&mut self) -> (UnixStream, Option<OwnedFd>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.turn();
        (ours, self.neighbours.pass_on(&self.core, Protocol::Lines, theirs.into()))
    }

    fn open(&mut self) {
        self.core.open(Protocol::Http).unwrap();
        self.turn();
    }

    fn drain(&mut self) {
        self.core.drain();
        self.neighbours.say_ready(&self.core);
    }

    fn adopt(&mut self) -> Option<(ConnId, OwnedFd)> {
        let handed = self.mailbox.take_handed().expect("something was left");
        self.neighbours.adopt(&mut self.core, handed)
    }

    fn figures(&mut self) -> BalanceFigures {
        self.turn();
        *self.neighbours.figures(&self.core)
    }
}

#[test]
fn one_shard_knows_of_no_others_and_neither_do_several_that_are_not_to() {
    for (count, balance) in [(1, true), (1, false), (3, false)] {
        let homes = homes(count, balance).unwrap();
        assert!(homes.len() == count && homes.iter().all(|home| home.street.is_none()));
    }
}

#[test]
fn the_least_loaded_gets_it_and_counts_it() {
    let mut stubs = stubs(3);
    stubs[0].open();
    stubs[2].open();
    assert!(stubs[2].figures().repairing == 1 && stubs[1].figures().repairing == 0);
    let (mut client, back) = stubs[0].accept();
    assert!(back.is_none());
    client.write_all(b"early").unwrap();
    // It is on its way and counts already, so the next one stays where it is.
    let (_second, back) = stubs[2].accept();
    assert!(back.is_some());
    let (id, socket) = stubs[1].adopt().unwrap();
    assert_eq!(id, 0);
    let mut read = [0; 5];
    UnixStream::from(socket).read_exact(&mut read).unwrap();
    assert_eq!(&read, b"early");
    let figures: Vec<_> = stubs.iter_mut().map(Stub::figures).collect();
    assert!(figures[0].receivers().eq([(1, 1)]) && figures[2].receivers().eq([]));
    assert_eq!(
        figures.iter().map(|of| (of.active, of.adopted)).collect::<Vec<_>>(),
        [(1, 0), (1, 1), (1, 0)]
    );
    assert!(stubs[1].mailbox.take_handed().is_none());
}

#[test]
fn what_finds_no_room_goes_back_once_and_is_closed_then() {
    let mut stubs = stubs(2);
    for (what, fill) in [("a slot is free again", 0), ("none is", 1)] {
        let [one, other] = &mut stubs[..] else { unreachable!() };
        if fill == 0 {
            one.open();
        }
        let (mut client, back) = one.accept();
        assert!(back.is_none(), "{what}");
        // Meanwhile the other one fills up: what it said of its room was true then.
        while other.core.room() > 0 {
            other.core.open(Protocol::Http).unwrap();
        }
        assert!(other.adopt().is_none());
        if fill == 1 {
            while one.core.room() > 0 {
                one.core.open(Protocol::Http).unwrap();
            }
        }
        let adopted = one.adopt();
        assert_eq!(adopted.is_some(), fill == 0, "{what}");
        drop(adopted);
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "nobody holds it any more");
        // One that was given back once is not given away again.
        assert!(other.mailbox.take_handed().is_none() && one.mailbox.take_handed().is_none());
        for id in 0..SLOTS as ConnId {
            other.core.fail(id);
            other.core.released(id);
        }
        other.turn();
    }
    let (one, other) = (stubs[0].figures(), stubs[1].figures());
    assert_eq!((one.adopted, one.returned, one.closed), (0, 0, 0));
    assert_eq!(stubs[0].core.metrics().counters.connections_refused, 1);
    assert_eq!((other.adopted, other.returned, other.closed), (0, 2, 0));
    assert!(one.receivers().eq([(1, 2)]));
}

#[test]
fn nothing_goes_to_one_that_drains_or_is_held_up() {
    let mut stubs = stubs(2);
    stubs[0].open();
    let (_client, back) = stubs[0].accept();
    assert!(back.is_none(), "it waits there from now on");
    stubs[0].open();
    stubs[0].open();
    std::thread::sleep(Duration::from_nanos(2 * COMING_NS_MAX));
    assert!(stubs[0].accept().1.is_some(), "who does not take what came gets no more");
    assert_eq!(stubs[0].figures().forgone, 1);
    assert!(stubs[1].adopt().is_some());
    assert!(stubs[0].accept().1.is_none(), "it works again");
    // What is on its way when the drain begins goes back, and whoever drains itself closes it.
    stubs[1].drain();
    assert!(stubs[1].adopt().is_none());
    assert!(stubs[0].accept().1.is_some());
    stubs[0].drain();
    assert!(stubs[0].adopt().is_none());
    assert_eq!((stubs[1].figures().returned, stubs[0].core.metrics().counters.connections_refused), (1, 1));
}

#[test]
fn a_full_mailbox_keeps_it_here() {
    let mut stubs = stubs(2);
    let [one, other] = &mut stubs[..] else { unreachable!() };
    one.open();
    for _ in 0..COMING_MAX {
        let (_, theirs) = UnixStream::pair().unwrap();
        // Not counted, as if it had not been seen yet.
        let handed = Handed { socket: theirs.into(), protocol: Protocol::Http, from: Some(0) };
        one.neighbours.street.ways[1].hand_over(handed).unwrap();
    }
    assert!(one.accept().1.is_some());
    let figures = one.figures();
    assert_eq!((figures.forgone, figures.receivers().count()), (1, 0));
    assert_eq!(one.neighbours.street.seats[1].look(0).coming, 0, "it is not expected any more");
    assert!(other.mailbox.take_handed().is_some());
}

#[test]
fn seats_of_shards_share_no_line() {
    assert_eq!((align_of::<Seat>(), size_of::<Seat>(), size_of::<Said>()), (128, 256, 128));
    assert!(memory_bytes(2) < 8192 && memory_bytes(128) < 32 << 10, "{}", memory_bytes(128));
}
