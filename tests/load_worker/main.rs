//! A load thread against servers that do as a script says: delays, resets, nonsense, silence. Each must come out as
//! what it is, nothing may hang, and every request of the plan must have exactly one end.

mod run;
mod server;

use ringmill::core::load::payload::class;
use ringmill::core::load::plan::Shape;
use ringmill::core::load::series::Outcome;
use run::{MS, Report, Run};
use server::{Peer, answer_all, serve};
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

fn http(address: std::net::SocketAddr) -> Run {
    Run::new(&format!("http://{address}/v1/events"))
}

fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// The errors of a report, by name, those that are not zero.
fn errors(report: &Report) -> Vec<(&'static str, u64)> {
    report.total.errors().each().into_iter().filter(|(_, count)| *count > 0).collect()
}

#[test]
fn a_delay_is_in_the_latency_and_in_the_service_time() {
    let delay = Duration::from_millis(20);
    for spin in [false, true] {
        let address = serve(move |_, mut stream| answer_all(&mut Peer::new(&mut stream), delay));
        let report = Run { spin, ..http(address) }.go().unwrap();
        // The last of them is due 10 ms before the end.
        report.assert_sums(50);
        assert!(report.counts.censored >= 1 && report.counts.completed >= 20, "{:?}", report.counts);
        assert_eq!(errors(&report), []);
        assert_eq!(report.counts.unexpected, 0);
        let service = report.total.service().values();
        assert!(service.min() >= 19 * MS, "{}", service.min());
        assert_eq!(service.len(), report.counts.completed);
        assert!(report.total.first_byte().values().min() >= 19 * MS);
        assert_eq!(report.total.statuses().collect::<Vec<_>>(), [(200, report.counts.completed)]);
        assert_eq!((report.ended.connects, report.ended.lost, report.ended.stopped), (4, 0, false));
    }
}

#[test]
fn what_waits_for_a_connection_counts_from_when_it_was_due() {
    // One connection and 20 ms each: of 50 requests in half a second, half have to wait ever longer.
    let delay = Duration::from_millis(20);
    let address = serve(move |_, mut stream| answer_all(&mut Peer::new(&mut stream), delay));
    let report = Run { connections: 1, ..http(address) }.go().unwrap();
    report.assert_sums(50);
    let completed = report.counts.completed;
    assert!((5..=25).contains(&completed), "{:?}", report.counts);
    // The last that was answered was due at 10 ms times its number, and was answered no earlier than 20 ms times it.
    let latency = report.total.latency().values().max();
    assert!(latency >= (completed - 1) * 10 * MS, "{latency} {completed}");
    assert!(report.total.send_lag().values().max() >= (completed - 2) * 9 * MS);
    // At the end the oldest that waits has waited as long.
    assert!(report.total.latency().censored().max() >= completed * 9 * MS);
}

#[test]
fn a_closed_loop_sends_as_fast_as_it_is_answered() {
    let address = serve(|_, mut stream| answer_all(&mut Peer::new(&mut stream), Duration::from_millis(5)));
    for (pipeline, connections) in [(1, 3), (8, 1)] {
        let report = Run { shape: None, connections, pipeline, spin: true, ..http(address) }.go().unwrap();
        assert_eq!(report.counts.sent, report.counts.all());
        assert!(report.counts.censored <= u64::from(pipeline * connections));
        assert!(report.counts.completed > 10, "{:?}", report.counts);
        assert_eq!(errors(&report), []);
        // Due when it is sent: the first cell of the histogram.
        assert!(report.total.send_lag().values().max() < 1_000);
    }
}

#[test]
fn replies_of_all_shapes_and_in_all_pieces_are_read() {
    let address = serve(|_, mut stream| {
        let mut peer = Peer::new(&mut stream);
        for turn in 0.. {
            peer.request()?;
            let reply = match turn % 4 {
                0 => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
                1 => "HTTP/1.1 204 No Content\r\n\r\n",
                2 => "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
                _ => "HTTP/1.1 200 OK\r\ncontent-length:5\r\n\r\nhello",
            };
            for piece in reply.as_bytes().chunks(1 + turn % 40) {
                peer.stream.write_all(piece)?;
            }
        }
        Ok(())
    });
    let report = Run { pipeline: 4, ..http(address) }.go().unwrap();
    report.assert_sums(50);
    assert!(report.counts.completed >= 20, "{:?}", report.counts);
    assert_eq!((errors(&report), report.counts.unexpected, report.ended.connects), (vec![], 0, 4));
}

/// What each misbehaviour is called in the errors, with the script of a connection behind its first request.
#[test]
fn misbehaviour_is_called_by_its_name_and_the_run_goes_on() {
    type Script = fn(&mut Peer<'_>) -> std::io::Result<()>;
    let cases: &[(&str, Script)] = &[
        ("closed", |_| Ok(())),
        ("bad_reply", |peer| peer.say("220 mail.example ESMTP\r\n")),
        ("bad_reply", |peer| peer.say("HTTP/1.1 banana\r\n\r\n")),
        ("bad_reply", |peer| peer.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")),
        ("bad_reply", |peer| peer.say("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n")),
        ("bad_reply", |peer| peer.stream.write_all(&[0xff; 100_000])),
    ];
    for (number, (name, script)) in cases.iter().enumerate() {
        let script = *script;
        let address = serve(move |_, mut stream| {
            let mut peer = Peer::new(&mut stream);
            peer.request()?;
            script(&mut peer)
        });
        let report = http(address).go().unwrap();
        report.assert_sums(50);
        let found = errors(&report);
        assert!(
            matches!(found[..], [(kind, 5..)] if kind == *name),
            "{number} {name}: {found:?} {:?}",
            report.counts
        );
        assert_eq!(report.counts.completed, 0);
        assert!(report.ended.connects > 4);
    }
}

#[test]
fn resets_are_resets() {
    let address = serve(|_, mut stream| {
        Peer::new(&mut stream).request()?;
        reset(&stream);
        Ok(())
    });
    let report = http(address).go().unwrap();
    report.assert_sums(50);
    assert!(matches!(errors(&report)[..], [("reset", 5..)]), "{:?}", errors(&report));
    assert!(report.ended.lost > 4);
}

#[test]
fn a_server_that_never_answers_times_out() {
    let address = serve(|_, mut stream| {
        Peer::new(&mut stream).wait_for_end();
        Ok(())
    });
    let run = Run { timeout_ns: 50 * MS, pipeline: 2, ..http(address) };
    let report = run.go().unwrap();
    report.assert_sums(50);
    let found = errors(&report);
    assert!(found.iter().any(|&(kind, count)| kind == "timeout" && count >= 5), "{found:?}");
    // It never had an answer, so there is no latency, only lower bounds.
    assert_eq!(report.total.latency().values().len(), 0);
    assert!(report.total.latency().censored().max() >= 49 * MS);
    assert_eq!(report.counts.completed, 0);
}

#[test]
fn without_time_out_the_end_of_the_run_is_the_end() {
    let address = serve(|_, mut stream| {
        Peer::new(&mut stream).wait_for_end();
        Ok(())
    });
    let report = http(address).go().unwrap();
    report.assert_sums(50);
    assert_eq!((report.counts.sent, report.counts.censored), (4, 50));
}

#[test]
fn a_connection_that_ends_between_requests_is_made_anew_without_an_error() {
    for announced in [true, false] {
        let address = serve(move |_, mut stream| {
            let mut peer = Peer::new(&mut stream);
            for turn in 0..3 {
                peer.request()?;
                peer.reply(200, if turn == 2 && announced { "Connection: close\r\n" } else { "" })?;
            }
            Ok(())
        });
        let report = http(address).go().unwrap();
        report.assert_sums(50);
        // Unannounced, a request may cross the end on its way.
        let lost = if announced { 0 } else { 8 };
        assert!(report.counts.errors <= lost, "{:?}", errors(&report));
        assert!(report.counts.completed >= 20, "{:?}", report.counts);
        assert!(report.ended.connects >= 8, "{:?}", report.ended);
    }
}

#[test]
fn a_reply_that_ends_with_the_connection_counts() {
    let address = serve(|_, mut stream| {
        let mut peer = Peer::new(&mut stream);
        peer.request()?;
        peer.say("HTTP/1.0 200 OK\r\n\r\nas long as it lasts")
    });
    let report = http(address).go().unwrap();
    report.assert_sums(50);
    assert_eq!((errors(&report), report.counts.unexpected), (vec![], 0));
    assert!(report.counts.completed >= 20, "{:?}", report.counts);
}

#[test]
fn wrong_statuses_are_unexpected_and_replies_to_nothing_are_noted() {
    let address = serve(|_, mut stream| {
        let mut peer = Peer::new(&mut stream);
        loop {
            peer.request()?;
            peer.reply(503, "")?;
            peer.reply(200, "")?;
        }
    });
    let report = http(address).go().unwrap();
    report.assert_sums(50);
    assert_eq!(report.counts.unexpected, report.counts.completed);
    assert!(report.ended.unsolicited >= 10, "{:?}", report.ended);
    assert_eq!(report.total.statuses().map(|(status, _)| status).collect::<Vec<_>>(), [503]);
}

#[test]
fn one_that_hangs_up_at_once_is_not_stormed() {
    let address = serve(|_, stream| {
        reset(&stream);
        Ok(())
    });
    let report = match http(address).go() {
        Ok(report) => report,
        // It may be so quick that no connection ever came to be.
        Err(error) => return assert!(error.contains("reset"), "{error}"),
    };
    report.assert_sums(50);
    assert_eq!(report.counts.completed, 0);
    // 10, 20, 40 … ms between attempts of each of four connections.
    assert!((4..=40).contains(&report.ended.connects), "{:?}", report.ended);
}

#[test]
fn a_server_that_goes_away_for_good_fails_what_is_due() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let all: Vec<_> = (0..4).map(|_| listener.accept().unwrap().0).collect();
        drop(listener);
        // What is in flight is lost, and nobody listens any more.
        std::thread::sleep(Duration::from_millis(100));
        drop(all);
    });
    let report = http(address).go().unwrap();
    report.assert_sums(50);
    let found = errors(&report);
    assert!(found.iter().any(|&(kind, count)| kind == "connect_failed" && count >= 1), "{found:?}");
    assert!(report.ended.last_failure.as_deref().unwrap().contains("refused"));
}

#[test]
fn warm_up_is_sent_and_not_recorded_and_seconds_are_counted() {
    let address = serve(|_, mut stream| answer_all(&mut Peer::new(&mut stream), Duration::ZERO));
    let run = Run { warmup_ns: 1_200 * MS, duration_ns: 1_300 * MS, ..http(address) };
    let report = run.go().unwrap();
    // One in 10 ms, from 1.2 s to 2.5 s.
    report.assert_sums(130);
    let numbers: Vec<i64> = report.seconds.iter().map(|&(number, _)| number).collect();
    assert_eq!(numbers, [-1, -2, 0, 1]);
    assert_eq!(report.seconds[0].1 + report.seconds[1].1, 0);
    assert_eq!(report.seconds[2].1 + report.seconds[3].1, report.counts.sent);
}

#[test]
fn acknowledged_identifiers_are_kept_and_others_are_not() {
    let address = serve(|_, mut stream| {
        let mut peer = Peer::new(&mut stream);
        for turn in 0.. {
            let request = peer.request()?;
            assert!(String::from_utf8_lossy(&request).contains("{\"r\":\""));
            peer.reply(if turn % 2 == 0 { 200 } else { 503 }, "")?;
        }
        Ok(())
    });
    let mut run = Run { verify: true, connections: 1, ..http(address) };
    run.spec.ids = true;
    run.spec.events_per_request = 3;
    let report = run.go().unwrap();
    report.assert_sums(50);
    let right = report.counts.right();
    assert!(right >= 10);
    assert_eq!(report.ended.verify.unwrap().count(), 3 * right);
}

#[test]
fn malformed_classes_are_delivered_as_they_should_be() {
    // A server that only knows whether a whole request came: enough for slow, torn and closing classes.
    let address = serve(|_, mut stream| {
        let mut peer = Peer::new(&mut stream);
        loop {
            let request = peer.request()?;
            let bad = String::from_utf8_lossy(&request).contains("HTTP/2.0");
            if bad {
                return peer.reply(505, "Connection: close\r\n");
            }
            peer.reply(200, "")?;
        }
    });
    for (name, outcome, reconnects) in [
        ("slow_body", Outcome::Status(200), false),
        ("reset_mid_body", Outcome::Reset, true),
        ("close_mid_body", Outcome::Closed, true),
        ("bad_version", Outcome::Status(505), true),
    ] {
        let mut run = Run { shape: Some(Shape::Constant { per_s: 100.0 }), ..http(address) };
        run.connections = 2;
        run.pipeline = 4;
        run.spec.malformed_share = 0.5;
        run.spec.malformed_classes = vec![name.into()];
        run.spec.slow_ns = 20 * MS;
        let report = run.go().unwrap();
        report.assert_sums(50);
        let class = class::by_name(name).unwrap();
        let record = report.total.class(class.id);
        assert!(record.counts.completed >= 5, "{name}: {:?}", record.counts);
        assert_eq!((record.counts.unexpected, record.counts.errors), (0, 0), "{name} {outcome:?}");
        assert_eq!(report.counts.errors, 0, "{name}: {:?}", errors(&report));
        assert_eq!(report.ended.lost, 0, "{name}");
        assert_eq!(report.ended.connects > 2, reconnects, "{name}");
        if name == "slow_body" {
            assert!(record.latency.values().min() >= 19 * MS);
        }
    }
}

#[test]
fn lines_without_replies_end_when_they_are_taken() {
    let address = serve(|_, mut stream| {
        Peer::new(&mut stream).wait_for_end();
        Ok(())
    });
    let report = Run::new(&format!("lines://{address}")).go().unwrap();
    report.assert_sums(50);
    assert_eq!((report.counts.unexpected, report.counts.errors), (0, 0));
    assert!(report.counts.completed >= 20, "{:?}", report.counts);
    assert_eq!(report.total.statuses().collect::<Vec<_>>(), [(0, report.counts.completed)]);
}

#[test]
fn lines_with_replies_are_answered_by_count() {
    let address = serve(|_, mut stream| {
        let mut peer = Peer::new(&mut stream);
        for through in 1.. {
            peer.line()?;
            // Requests have two lines: a reply for each comes half way, too, and every third request is half refused.
            let refused =
                if through % 6 == 0 { format!("{{\"line\":{through},\"offset\":1}}") } else { String::new() };
            peer.say(&format!("{{\"ack\":\"durable\",\"through\":{through},\"rejected\":[{refused}]}}\n"))?;
        }
        Ok(())
    });
    let mut run = Run { connections: 1, ..Run::new(&format!("lines://{address}?replies")) };
    run.spec.events_per_request = 2;
    let report = run.go().unwrap();
    report.assert_sums(50);
    assert_eq!(errors(&report), []);
    let statuses: Vec<_> = report.total.statuses().collect();
    assert!(matches!(statuses[..], [(200, 20..), (207, 10..)]), "{statuses:?}");
}

#[test]
fn unix_sockets_serve_as_well() {
    let path = std::env::temp_dir().join(format!("ringmill-load-{}.sock", std::process::id()));
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || answer_all(&mut Peer::new(&mut stream.unwrap()), Duration::ZERO));
        }
    });
    let report = Run::new(&format!("unix:{}:/v1/events", path.display())).go().unwrap();
    std::fs::remove_file(path).unwrap();
    report.assert_sums(50);
    assert!(report.counts.completed >= 20, "{:?}", report.counts);
    assert_eq!((errors(&report), report.counts.unexpected), (vec![], 0));
}

#[test]
fn what_cannot_begin_says_why() {
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let error = http(nobody).go().err().unwrap();
    assert!(error.contains(&nobody.to_string()) && error.contains("is the server running"), "{error}");

    let error = Run::new("unix:/nonexistent/x.sock").go().err().unwrap();
    assert!(error.contains("/nonexistent/x.sock") && error.contains("no such socket"), "{error}");

    let error = Run { connections: u32::MAX, ..http(nobody) }.go().err().unwrap();
    assert!(error.contains("ulimit -n") && error.contains("--connections"), "{error}");

    let long = "x".repeat(200);
    let error = Run::new(&format!("unix:/{long}")).go().err().unwrap();
    assert!(error.contains("107 bytes"), "{error}");
}

mod tls {
    use super::*;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    use std::sync::Arc;

    fn serve_tls() -> std::net::SocketAddr {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        serve(move |_, stream| {
            let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
            answer_all(&mut Peer::new(&mut stream), Duration::ZERO)
        })
    }

    fn https(address: std::net::SocketAddr) -> Run {
        Run::new(&format!("https://{address}/v1/events"))
    }

    #[test]
    fn any_certificate_is_taken_only_on_demand() {
        let address = serve_tls();
        let error = https(address).go().err().unwrap();
        assert!(error.contains("certificate") && error.contains("--insecure"), "{error}");

        let mut run = https(address);
        run.target = run.target.insecure(true);
        run.pipeline = 3;
        run.spec.malformed_share = 0.2;
        run.spec.malformed_classes = vec!["slow_body".into(), "reset_mid_body".into()];
        run.spec.slow_ns = 5 * MS;
        let report = run.go().unwrap();
        report.assert_sums(50);
        assert!(report.counts.completed >= 20, "{:?}", report.counts);
        assert_eq!((errors(&report), report.counts.unexpected), (vec![], 0));
    }

    #[test]
    fn a_server_without_tls_is_found_out() {
        for hang_up in [false, true] {
            let address = serve(move |_, mut stream| {
                if !hang_up {
                    stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
                    Peer::new(&mut stream).wait_for_end();
                }
                Ok(())
            });
            let error = https(address).go().err().unwrap();
            assert!(error.contains("TLS handshake failed"), "{error}");
        }
    }

    #[test]
    fn a_connection_that_breaks_in_the_middle_of_tls_is_an_error() {
        let address = serve_tls();
        let front = serve(move |_, client| {
            // Lets the handshake pass, then speaks nonsense.
            let server = TcpStream::connect(address)?;
            let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            let (mut from, mut to) = (server, client);
            let mut piece = [0; 4096];
            let mut passed = 0;
            loop {
                let count = std::io::Read::read(&mut from, &mut piece)?;
                if count == 0 {
                    return Ok(());
                }
                if passed > 2000 {
                    // Instead of a reply, so that a request is in flight.
                    return to.write_all(b"and now for something completely different");
                }
                to.write_all(&piece[..count])?;
                passed += count;
            }
        });
        let mut run = https(front);
        run.target = run.target.insecure(true);
        run.connections = 1;
        let report = run.go().unwrap();
        report.assert_sums(50);
        assert!(report.counts.errors >= 1 && report.counts.completed >= 1, "{:?}", report.counts);
        assert!(report.ended.connects > 1);
    }
}
