//! The same scripts through both drivers.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::testing::{Echo, patiently};
use super::*;

pub(super) const KINDS: [Kind; 2] = [Kind::Uring, Kind::Glommio];

pub(super) struct Shard {
    pub address: SocketAddr,
    pub path: std::path::PathBuf,
    pub sender: Sender<Echo>,
    requests: mpsc::Receiver<&'static str>,
    /// A task beside the driver has written a file and slept.
    beside: mpsc::Receiver<()>,
    pub thread: JoinHandle<Echo>,
}

/// A shard with few buffers, two of them large ones, so that running out of them is part of every test that moves more.
pub(super) fn start(kind: Kind, connections: usize) -> Option<Shard> {
    if kind == Kind::Uring
        && let Err(why) = crate::sys::ring::uring_support()
    {
        eprintln!("not tested: {why}");
        return None;
    }
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("ringmill-driver-{}-{number}", std::process::id()));
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&tcp).set_tcp_nodelay(true).unwrap();
    let unix = UnixListener::bind(&path).unwrap();
    let address = tcp.local_addr().unwrap();
    let (sender, mailbox) = mailbox::<Echo>().unwrap();
    let (ask, requests) = mpsc::channel();
    let (ended, beside) = mpsc::channel();
    let file = path.with_extension("beside");
    let thread = std::thread::spawn(move || {
        let executor = ::glommio::LocalExecutorBuilder::default().io_memory(1 << 20).make().unwrap();
        executor.run(async move {
            let hosted = Hosted::default();
            let working = hosted.working();
            let task = ::glommio::spawn_local(async move {
                work_beside(&file).await;
                drop(working);
                let _ = ended.send(());
            });
            task.detach();
            let edges = Edges {
                listeners: vec![
                    Listener { socket: Socket::Tcp(tcp), protocol: Protocol::Http },
                    Listener { socket: Socket::Unix(unix), protocol: Protocol::Lines },
                ],
                mailbox,
                requests: Box::new(move |request| ask.send(request).unwrap()),
                hosted,
                bounds: Bounds {
                    connections_max: connections as u32,
                    buffers: Buffers { count: 16, bytes: 4096 },
                    poll: false,
                },
            };
            drive(kind, Echo::new(connections), edges).await.unwrap()
        })
    });
    Some(Shard { address, path, sender, requests, beside, thread })
}

/// What a task of the same executor may want of glommio: files and timers.
async fn work_beside(path: &std::path::Path) {
    let file = ::glommio::io::DmaFile::create(path).await.unwrap();
    file.write_at(file.alloc_dma_buffer(4096), 0).await.unwrap();
    file.fdatasync().await.unwrap();
    file.close().await.unwrap();
    ::glommio::timer::sleep(Duration::from_millis(2)).await;
    ::glommio::io::remove(path).await.unwrap();
}

impl Shard {
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    pub fn ask<T: Send + 'static>(&self, question: impl FnOnce(&mut Echo) -> T + Send + 'static) -> T {
        let (answer, wait) = mpsc::channel();
        self.sender.send(Message::Ask(Box::new(move |echo| answer.send(question(echo)).unwrap()))).unwrap();
        wait.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    /// The driver may still be letting go of what a client has already seen the end of.
    pub fn wait_until_empty(&self) {
        let until = Instant::now() + Duration::from_secs(5);
        while self.ask(|echo| echo.open_count()) > 0 {
            assert!(Instant::now() < until);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn drain(self) -> Echo {
        self.sender.send(Message::Drain).unwrap();
        std::fs::remove_file(&self.path).unwrap();
        let echo = self.thread.join().unwrap();
        assert!(self.sender.send(Message::Drain).is_err());
        echo
    }
}

fn both(connections: usize, script: impl Fn(Shard)) {
    for kind in KINDS {
        eprintln!("{}", kind.as_str());
        start(kind, connections).map(&script);
    }
}

#[test]
fn other_tasks_of_the_executor_get_on() {
    both(8, |shard| {
        let mut tcp = shard.connect();
        let until = Instant::now() + Duration::from_secs(20);
        while shard.beside.try_recv().is_err() {
            assert!(Instant::now() < until, "glommio had no turn");
            tcp.write_all(b"x").unwrap();
            tcp.read_exact(&mut [0]).unwrap();
        }
        drop(tcp);
        shard.drain();
    });
}

#[test]
fn echoes_over_tcp_and_unix() {
    both(8, |shard| {
        let mut tcp = shard.connect();
        let mut unix = UnixStream::connect(&shard.path).unwrap();
        for round in 0..50u8 {
            let mut read = [0; 3];
            tcp.write_all(&[round, 1, 2]).unwrap();
            tcp.read_exact(&mut read).unwrap();
            assert_eq!(read, [round, 1, 2]);
            unix.write_all(&[3, round, 4]).unwrap();
            unix.read_exact(&mut read).unwrap();
            assert_eq!(read, [3, round, 4]);
        }
        drop((tcp, unix));
        assert_eq!(shard.drain().most, 2);
    });
}

#[test]
fn a_peer_that_does_not_read_is_paused_and_nothing_is_lost() {
    both(8, |shard| {
        let threads: Vec<_> = (0..3u8)
            .map(|seed| {
                let mut stream = shard.connect();
                std::thread::spawn(move || {
                    let bytes: Vec<u8> = (0..8_000_000u32)
                        .map(|n| (n.wrapping_mul(2654435761) >> 24) as u8 & 7 | seed)
                        .collect();
                    let (copy, expected) = (stream.try_clone().unwrap(), bytes.clone());
                    let writer = std::thread::spawn(move || {
                        (&copy).write_all(&bytes).unwrap();
                        copy.shutdown(Shutdown::Write).unwrap();
                    });
                    std::thread::sleep(Duration::from_millis(300));
                    let mut read = Vec::new();
                    stream.read_to_end(&mut read).unwrap();
                    writer.join().unwrap();
                    assert!(read == expected);
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(shard.drain().pauses > 0);
    });
}

#[test]
fn who_sends_much_at_a_time_gets_large_buffers_and_others_do_not() {
    let Some(shard) = start(Kind::Uring, 8) else { return };
    let (mut much, mut little) = (shard.connect(), shard.connect());
    let mut read = vec![0; 32_000];
    // What is sent at once may be received in pieces, but not each time.
    let until = Instant::now() + Duration::from_secs(20);
    while shard.ask(|echo| echo.longest) <= 4096 {
        assert!(Instant::now() < until, "no receive was longer than an ordinary buffer");
        much.write_all(&vec![b'm'; 32_000]).unwrap();
        much.read_exact(&mut read).unwrap();
        assert!(read.iter().all(|&byte| byte == b'm'));
        little.write_all(b"l").unwrap();
        little.read_exact(&mut read[..1]).unwrap();
        assert_eq!(read[0], b'l');
    }
    shard.ask(|echo| echo.longest = 0);
    little.write_all(&[b'l'; 4096]).unwrap();
    little.read_exact(&mut read[..4096]).unwrap();
    assert!(shard.ask(|echo| echo.longest) <= 4096);
    drop((much, little));
    shard.drain();
}

#[test]
fn a_full_slab_closes_and_a_released_slot_is_used_again() {
    both(2, |shard| {
        let mut streams: Vec<_> = (0..2).map(|_| shard.connect()).collect();
        for stream in &mut streams {
            stream.write_all(b"a").unwrap();
            stream.read_exact(&mut [0]).unwrap();
        }
        assert!(matches!(shard.connect().read(&mut [0]), Ok(0) | Err(_)));
        streams.clear();
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let mut stream = shard.connect();
            if stream.write_all(b"b").is_ok() && stream.read_exact(&mut [0]).is_ok() {
                break;
            }
            assert!(Instant::now() < until);
        }
        assert!(shard.drain().refused >= 1);
    });
}

#[test]
// A slot for each connection: one without a slot is closed at once, with what it had sent unread.
fn what_was_sent_before_closing_arrives_though_the_peer_still_sends() {
    both(24, |shard| {
        for _ in 0..20 {
            let mut stream = shard.connect();
            stream.write_all(b"Q").unwrap();
            // The connection is closing by now or soon: this must not turn into a reset that eats the echo.
            let _ = stream.write_all(&[b'm'; 100_000]);
            let mut read = Vec::new();
            stream.read_to_end(&mut read).unwrap();
            assert_eq!(read[0], b'Q');
        }
        assert_eq!(shard.drain().failed, 0);
    });
}

#[test]
fn a_close_ends_what_is_in_flight() {
    both(4, |shard| {
        for _ in 0..20 {
            let mut stream = shard.connect();
            // Not read: a send is stuck when the end comes.
            let _ = stream.write_all(&[b's'; 200_000]);
            let _ = stream.write_all(b"X");
            let mut read = Vec::new();
            assert!(stream.read_to_end(&mut read).is_err() || read.len() <= 200_001);
        }
        shard.wait_until_empty();
        shard.drain();
    });
}

#[test]
fn resets_free_the_slot() {
    both(4, |shard| {
        for _ in 0..40 {
            let mut stream = shard.connect();
            let _ = stream.write_all(&[b'r'; 300_000]);
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            drop(stream);
        }
        shard.wait_until_empty();
        shard.drain();
    });
}

#[test]
fn requests_go_out_mail_comes_in_and_a_page_is_written_and_synced() {
    both(2, |shard| {
        assert_eq!(shard.requests.recv_timeout(Duration::from_secs(10)), Ok("a file, please"));
        // A direct file needs a file system that has them; the temporary directory may be in memory.
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("target-driver-{}", std::process::id()));
        let file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(&path)
            .unwrap();
        shard.sender.send(Message::Mail(file.as_raw_fd())).unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while shard.ask(|echo| echo.steps.len()) < 2 {
            assert!(Instant::now() < until);
        }
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(bytes.len(), 8192);
        assert!(bytes[4096..].iter().all(|&byte| byte == b'e'));
        let echo = shard.drain();
        assert_eq!(echo.steps, [(IoStep::Write, Ok(4096)), (IoStep::Sync, Ok(0))]);
    });
}

#[test]
fn a_failed_write_is_told_and_its_sync_is_cancelled() {
    both(2, |shard| {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        shard.sender.send(Message::Mail(full.as_raw_fd())).unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while shard.ask(|echo| echo.steps.len()) < 2 {
            assert!(Instant::now() < until);
        }
        let echo = shard.drain();
        assert_eq!(echo.steps, [(IoStep::Write, Err(libc::ENOSPC)), (IoStep::Sync, Err(libc::ECANCELED))]);
    });
}

#[test]
fn draining_with_idle_connections_ends() {
    both(4, |shard| {
        let mut stream = shard.connect();
        stream.write_all(b"i").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        let start = Instant::now();
        let address = shard.address;
        let drain = std::thread::spawn(move || shard.drain());
        assert_eq!(patiently(|| stream.read(&mut [0])), 0);
        drop(stream);
        drain.join().unwrap();
        assert!(start.elapsed() < Duration::from_secs(5));
        assert!(TcpStream::connect(address).is_err());
    });
}

#[test]
fn the_bell_rings_once_for_many_messages() {
    let (sender, mailbox) = mailbox::<Echo>().unwrap();
    for number in 0..1000 {
        sender.send(Message::Mail(number)).unwrap();
    }
    assert_eq!((&mailbox.reader).read(&mut [0; 64]).unwrap(), 1);
    mailbox.hush();
    for number in 0..1000 {
        assert!(matches!(mailbox.take(), Some(Message::Mail(n)) if n == number));
    }
    assert!(mailbox.take().is_none());
    let clone = sender.clone();
    clone.send(Message::Drain).unwrap();
    mailbox.hush();
    assert!(matches!(mailbox.take(), Some(Message::Drain)));
    drop(mailbox);
    assert_eq!(sender.send(Message::Drain), Err(Gone));
}

#[test]
fn no_message_is_missed_between_the_hush_and_the_sleep() {
    let (sender, mailbox) = mailbox::<Echo>().unwrap();
    mailbox.reader.set_nonblocking(false).unwrap();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for number in 0..5_000 {
                    sender.send(Message::Mail(number)).unwrap();
                }
            })
        })
        .collect();
    let mut count = 0;
    while count < 10_000 {
        mailbox.hush();
        while mailbox.take().is_some() {
            count += 1;
        }
    }
    for thread in threads {
        thread.join().unwrap();
    }
}
