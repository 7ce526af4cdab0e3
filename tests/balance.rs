//! New connections over two shards, from outside: whoever is above the others hands them over.
mod common;

use common::{Client, PATIENCE, Server, TempDir, ndjson, serve_segments};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// What one shard says in the turn in which it answers is seen by the next.
const APART: Duration = Duration::from_millis(3);

/// Two shards into segments of that folder; `None` where there is one core.
fn two(dir: &TempDir, args: &[&str]) -> Option<Server> {
    let Some(second) = common::second_core() else {
        eprintln!("not tested: there is one core");
        return None;
    };
    let mut command = serve_segments(&dir.join("data"));
    // The list goes on.
    command.args(["--cores", &second]).args(args);
    let server = Server::start(command);
    assert_eq!(server.field("shards"), "2");
    Some(server)
}

fn of(server: &Server, name: &str, shard: u32) -> f64 {
    let full = format!("{name}{{shard=\"{shard}\"}}");
    *server.metrics().get(&full).unwrap_or_else(|| panic!("no {full}"))
}

fn handed_over(server: &Server) -> f64 {
    server.metric("ringmill_connections_handed_over_total")
}

fn wait_until(server: &Server, what: &str, is: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < end, "{what} did not come; {:#?}", server.metrics());
        thread::sleep(Duration::from_millis(10));
    }
}

/// Nothing of the start is left in what counts as load.
fn settle(server: &Server) {
    wait_until(server, "rest", || (0..2).all(|shard| of(server, "ringmill_shard_busy_ratio", shard) < 0.03));
}

/// Sends an event; the shard that stored it.
fn ask(client: &mut Client) -> u64 {
    let reply = client.ask(&ndjson("{\"n\":1}\n"));
    assert_eq!(reply.status, 200, "{}", reply.show());
    reply.json()["receipt"]["shard"].as_u64().unwrap()
}

/// So many connections, one after the other, with their shards.
fn open(server: &Server, count: usize) -> Vec<(Client, u64)> {
    let one = || {
        thread::sleep(APART);
        let mut client = server.client();
        let shard = ask(&mut client);
        (client, shard)
    };
    std::iter::repeat_with(one).take(count).collect()
}

fn on(clients: &[(Client, u64)], shard: u64) -> usize {
    clients.iter().filter(|(_, of)| *of == shard).count()
}

/// Descriptors of sockets. Files come and go with the housekeeper, which makes successors in its own time.
fn sockets(server: &Server) -> usize {
    let all = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().flatten();
    let links = all.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

#[test]
fn new_connections_go_to_the_shard_with_fewer() {
    for driver in ["uring", "glommio"] {
        let dir = TempDir::new("balance");
        let Some(server) = two(&dir, &["--driver", driver]) else { return };
        settle(&server);
        let mut clients = open(&server, 16);
        assert_eq!((on(&clients, 0), on(&clients, 1)), (8, 8), "{driver}");
        // The kernel would have to hash sixteen in turns for nothing to be handed over, and again below.
        for round in 0..20 {
            clients.retain(|(_, shard)| *shard != round % 2);
            wait_until(&server, "the end of half of them", || {
                of(&server, "ringmill_connections", round as u32 % 2) == 0.0
            });
            let fresh = open(&server, 8);
            assert_eq!(on(&fresh, round % 2), 8, "{driver}, round {round}");
            clients.extend(fresh);
            if round > 0 && handed_over(&server) > 4.0 {
                break;
            }
        }
        for (client, shard) in &mut clients {
            assert_eq!(ask(client), *shard, "a connection stays where it is");
        }
        let (given, adopted) = (handed_over(&server), server.metric("ringmill_connections_adopted_total"));
        assert!(given > 4.0 && given == adopted, "{driver}: {given} given, {adopted} adopted");
        assert_eq!(server.metric("ringmill_hand_overs_closed_total"), 0.0);
        let status = common::get(server.admin(), "/status").json();
        let told: u64 = status["shards"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|shard| {
                shard["balance"]["handed_over"].as_object().unwrap().values().map(|n| n.as_u64().unwrap())
            })
            .sum();
        assert_eq!(told as f64, given, "{status}");
        server.stop();
    }
}

#[test]
fn every_slot_of_every_shard_is_used() {
    let dir = TempDir::new("balance-full");
    let Some(server) = two(&dir, &[]) else { return };
    // 64 each. The hash alone would turn some away before the last of them came.
    let mut clients = open(&server, 128);
    assert_eq!((on(&clients, 0), on(&clients, 1)), (64, 64));
    let mut late = server.client();
    late.send_some(&ndjson("{}\n"));
    late.assert_closed("there is no slot left");
    clients.iter_mut().for_each(|(client, shard)| assert_eq!(ask(client), *shard));
    assert_eq!(server.metric("ringmill_connections_refused_total"), 1.0);
    server.stop();
}

/// Sends a line, which is answered.
fn line(mut to: impl Write, mut from: impl BufRead) {
    to.write_all(b"{\"a\":1}\n").unwrap();
    let mut reply = String::new();
    from.read_line(&mut reply).unwrap();
    assert!(reply.contains("\"through\":1"), "{reply}");
    thread::sleep(APART);
}

#[test]
fn lines_are_handed_over_like_requests() {
    let dir = TempDir::new("balance-lines");
    let path = dir.join("lines.sock");
    let unix = format!("unix:{}", path.display());
    let args = ["--listen-lines", "127.0.0.1:0", "--listen-lines", &unix, "--lines-replies"];
    let Some(server) = two(&dir, &args) else { return };
    settle(&server);
    let (mut tcp, mut local) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        let stream = TcpStream::connect(server.lines()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        line(&stream, BufReader::new(&stream));
        tcp.push(stream);
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        line(&stream, BufReader::new(&stream));
        local.push(stream);
    }
    assert_eq!(
        (of(&server, "ringmill_connections", 0), of(&server, "ringmill_connections", 1)),
        (10.0, 10.0)
    );
    assert_eq!(server.metric("ringmill_lines_received_total"), 20.0);
    drop((tcp, local));
    server.stop();
}

#[test]
fn who_does_not_want_it_does_not_get_it() {
    let dir = TempDir::new("balance-off");
    let Some(server) = two(&dir, &["--connections-balance=false"]) else { return };
    let clients = open(&server, 12);
    assert_eq!(on(&clients, 0) + on(&clients, 1), 12);
    let exposed = server.metrics();
    let about = |name: &&String| name.contains("handed_over") || name.contains("repairing");
    assert_eq!(exposed.keys().find(about), None);
    let status = common::get(server.admin(), "/status").json();
    assert_eq!(status["shards"][0].get("balance"), None);
    server.stop();
}

/// Connections come, ask and go while others stay, from several threads; whole replies only. Then whatever was there
/// is gone, to the end of the last socket.
#[test]
fn no_descriptor_is_left_behind() {
    for driver in ["uring", "glommio"] {
        let dir = TempDir::new("balance-leaks");
        let Some(server) = two(&dir, &["--driver", driver]) else { return };
        drop(open(&server, 4));
        wait_until(&server, "rest", || server.metric("ringmill_connections") == 0.0);
        // The admin side lets go of a look a moment after its answer.
        let before = (0..20).map(|_| (thread::sleep(APART), sockets(&server)).1).min().unwrap();
        thread::scope(|scope| {
            for seed in 0..3 {
                let server = &server;
                scope.spawn(move || {
                    let mut random = common::Random::new(seed + 1);
                    let mut stay = Vec::new();
                    for _ in 0..120 {
                        let mut client = server.client();
                        match random.below(4) {
                            // Gone before anybody could have given it to anybody.
                            0 => drop(client),
                            1 => {
                                client.send(b"POST /v1/ev");
                                client.stream().shutdown(Shutdown::Both).unwrap();
                            }
                            2 => drop(ask(&mut client)),
                            _ => {
                                ask(&mut client);
                                stay.push(client);
                            }
                        }
                        if stay.len() > 12 {
                            stay.swap_remove(random.below(12) as usize);
                        }
                    }
                });
            }
        });
        wait_until(&server, "rest", || server.metric("ringmill_connections") == 0.0);
        wait_until(&server, "the end of the last socket", || sockets(&server) <= before);
        let metrics = server.metrics();
        let sum = |name: &str| {
            metrics.iter().filter(|(full, _)| full.starts_with(name)).map(|(_, n)| n).sum::<f64>()
        };
        let came = sum("ringmill_connections_adopted")
            + sum("ringmill_connections_returned")
            + sum("ringmill_hand_overs_closed");
        assert_eq!(sum("ringmill_connections_handed_over"), came, "{driver}");
        assert_eq!(sum("ringmill_connections_opened"), sum("ringmill_connections_closed"), "{driver}");
        assert_eq!(
            sum("ringmill_connections_opened") + sum("ringmill_connections_refused"),
            364.0,
            "{driver}"
        );
        server.stop();
    }
}

/// SIGTERM while connections come: each one has a whole reply or none, and the server ends.
#[test]
fn a_drain_in_the_middle_of_it_loses_no_reply() {
    let dir = TempDir::new("balance-drain");
    let Some(mut server) = two(&dir, &[]) else { return };
    settle(&server);
    let (stop, answered) = (AtomicBool::new(false), AtomicU32::new(0));
    let (http, bytes) = (server.http(), ndjson("{\"n\":1}\n"));
    let stays = open(&server, 9);
    let status = thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let Ok(stream) = TcpStream::connect(http) else { continue };
                    let mut client = Client::of(stream);
                    client.send_some(&bytes);
                    if let Some(reply) = client.try_reply(false) {
                        assert_eq!(reply.status, 200, "{}", reply.show());
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        wait_until(&server, "some", || handed_over(&server) > 20.0);
        server.terminate();
        let status = server.wait();
        stop.store(true, Ordering::Relaxed);
        status
    });
    assert_eq!(status.code(), Some(0), "{}", server.log());
    drop(stays);
    let stored = common::cat(&dir.join("data"), &[]);
    let stored = stored.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    let answered = answered.load(Ordering::Relaxed) as usize + 9;
    assert!(answered <= stored, "{answered} were told that they are stored, {stored} are");
}
