//! Once it runs, a load thread takes no memory for a request, malformed or not. Alone in its binary: the counter is
//! global, and the server here takes none either.
#[path = "../src/core/tests/counting/mod.rs"]
mod counting;

use counting::CALLS;
use ringmill::core::load::payload::{Corpus, Source, Spec};
use ringmill::core::load::plan::{Plan, Shape};
use ringmill::core::load::reconcile::Acked;
use ringmill::load::target::Target;
use ringmill::load::worker::{Job, Message, Start, spawn};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};

/// Answers every request on each of `connections` connections. Requests have one event and so end with `}`.
fn serve(connections: usize) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for _ in 0..connections {
        let listener = listener.try_clone().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut piece = [0; 65536];
            loop {
                match stream.read(&mut piece) {
                    Ok(count @ 1..) if piece[..count].ends_with(b"}") => {
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
                    }
                    Ok(1..) => {}
                    _ => return,
                }
            }
        });
    }
    address
}

#[test]
fn requests_take_no_memory() {
    const CONNECTIONS: u32 = 4;
    for (per_s, ids) in [(Some(2_000.0), false), (Some(2_000.0), true), (None, false)] {
        let target = Target::parse(&format!("http://{}/", serve(CONNECTIONS as usize))).unwrap();
        let spec = Spec {
            source: Source::Mix,
            ids,
            malformed_share: 0.2,
            // Classes that keep their connection, and end like good ones.
            malformed_classes: ["bad_number", "missing_colon", "slow_body"].map(String::from).into(),
            slow_ns: 1_000_000,
            ..Spec::default()
        };
        let corpus = Corpus::build(&spec).unwrap();
        let (ticks, messages) = mpsc::channel();
        let (warmup_ns, duration_ns) = (200_000_000, 1_100_000_000);
        let job = Job {
            thread: 0,
            target,
            connections: CONNECTIONS,
            pipeline: 1,
            timeout_ns: 5_000_000_000,
            arrivals: per_s
                .map(|per_s| Plan::new(Shape::Poisson { per_s }, warmup_ns + duration_ns, 1).part(0, 1)),
            duration_ns,
            warmup_ns,
            classes: corpus.classes().len(),
            corpus,
            seed: 1,
            start: Arc::new(Start::new(1)),
            core: None,
            spin: false,
            sampler: None,
            verify: ids.then(|| Acked::new(0)),
        };
        let running = spawn(job, ticks).unwrap();
        let mut marks = Vec::with_capacity(16);
        let mut sent = 0;
        loop {
            match messages.recv().unwrap() {
                Message::Tick(mut tick) => {
                    marks.push(CALLS.load(Relaxed));
                    sent += tick.recorder.totals().sent;
                    tick.recorder.clear();
                    running.recycle(tick.recorder);
                }
                Message::Ended(ended) => {
                    assert_eq!((ended.lost, ended.unsolicited), (0, 0));
                    break;
                }
                Message::Failed { error, .. } => panic!("{error}"),
            }
        }
        running.join();
        // Between the end of the warm-up and the first second. The two channels may each take a block.
        let taken = marks[1] - marks[0];
        assert!(sent > 500 && taken <= 4, "{taken} allocations in a second, {sent} requests in all");
    }
}
