//! Both drivers of the ingest sockets, through the same script.
use crate::NDJSON;
use crate::common::{Client, Random, Reply, Server, TempDir, cat, post, serve_segments};
use crate::http::refusals;
use crate::verdicts::BODIES;
use serde_json::{Value, json as value};
use std::net::Shutdown;

/// The same bytes through one driver: all replies, without what time or chance decides, and all that is stored.
fn scripted(driver: &str) -> (Vec<Reply>, Vec<u8>, Vec<u8>) {
    let dir = TempDir::new(driver);
    let mut command = serve_segments(&dir.join("data"));
    command.args(["--driver", driver]);
    let server = Server::start(command);
    assert_eq!(server.field("driver"), driver);
    let mut replies = Vec::new();
    let mut tell = |client: &mut Client| {
        let Some(mut reply) = client.try_reply(false) else { return false };
        reply.headers.retain(|(name, _)| name != "date");
        if let Ok(mut body) = serde_json::from_slice::<Value>(&reply.body) {
            // The hash covers the time and the file's random id; a body's length does not depend on them.
            if body["receipt"].is_object() {
                body["receipt"]["hash"] = value!("*");
            }
            reply.body = body.to_string().into_bytes();
        }
        replies.push(reply);
        true
    };
    let mut client = server.client();
    for case in BODIES {
        client.send(&post("/v1/events", &format!("Content-Type: {}\r\n", case.content_type), case.body));
        tell(&mut client);
    }
    for (_, bytes, _, _) in refusals() {
        let mut client = server.client();
        client.send_some(&bytes);
        client.stream().shutdown(Shutdown::Write).ok();
        while tell(&mut client) {}
    }
    // Seeded traffic: streams, levels, sizes from nothing to more than any buffer, pipelined and cut anywhere.
    let mut random = Random::new(42);
    for _ in 0..40 {
        let (mut bytes, count) = (Vec::new(), 1 + random.below(12));
        for _ in 0..count {
            let mut body = Vec::new();
            for _ in 0..1 + random.below(30) {
                let long = if random.below(40) == 0 { 60_000 } else { 300 };
                let fill = "x".repeat(random.below(long) as usize);
                let line = if random.below(10) == 0 {
                    format!("{{\"bad\":{fill}\n")
                } else {
                    format!("{{\"n\":\"{fill}\"}}\n")
                };
                body.extend_from_slice(line.as_bytes());
            }
            let ack = ["durable", "written", "accepted"][random.below(3) as usize];
            let path = format!("/v1/events/s{}?ack={ack}", random.below(3));
            bytes.extend(post(&path, NDJSON, &body));
        }
        let at = random.below(bytes.len() as u64) as usize;
        // Replies are read as they come so that neither side waits for the other.
        client.send_split(&bytes, at);
        for _ in 0..count {
            assert!(tell(&mut client), "{driver} closed");
        }
    }
    server.stop();
    let data = dir.join("data");
    (replies, cat(&data, &["--with-meta"]), cat(&data, &[]))
}

#[test]
fn both_drivers_say_and_store_the_same() {
    let (replies, meta, stored) = scripted("uring");
    let (other_replies, other_meta, other_stored) = scripted("glommio");
    for (n, (a, b)) in replies.iter().zip(&other_replies).enumerate() {
        assert_eq!(a.show(), b.show(), "reply {n}");
    }
    assert_eq!(replies.len(), other_replies.len());
    assert!(meta == other_meta, "streams and numbers differ");
    assert!(stored == other_stored, "stored bytes differ");
}
