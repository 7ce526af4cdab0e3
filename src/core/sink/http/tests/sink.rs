//! The sink as the engine and its edge see it: what becomes of each event of a commit.
use super::*;
use crate::batch::store::{Layout, Store};
use crate::segment::header::StreamName;
use crate::sink::{Remote, Sealed};
use alloc::string::{String, ToString};
use alloc::{format, vec};

const S: u64 = 1_000_000_000;
const ARENA_BYTES: usize = 1 << 20;
const OK: Answer = Answer { status: 200, rest_ns: None, reusable: true, idle_ns: None };

fn sink(preset: Preset, path: &str, batch_bytes: usize) -> HttpSink {
    let rules =
        Rules { lanes: 1, request_timeout_ns: 30 * S, delivery_timeout_ns: 120 * S, idle_ns: 4 * S, seed: 1 };
    let settings = Settings {
        preset,
        target: Target::new(path, b"Host: h\r\n"),
        rules,
        batch_bytes,
        arena_bytes: ARENA_BYTES,
        level: Ack::Written,
        first: EventId { run: 0xf00d, shard: 2, sequence: 100 },
    };
    let mut sink = HttpSink::new(settings, 0);
    assert_eq!(sink.next_command(0), Some(Command::Dial(0)));
    sink.handle(0, Input::Up(0));
    sink
}

/// A commit in flight, and what was said of its events.
struct Commit {
    store: Store<Vec<u8>>,
    refused: Vec<(u32, String, Flaw)>,
    awaits: i64,
}

impl Commit {
    fn new(sink: &mut HttpSink, events: &[&str]) -> Commit {
        let mut store = Store::new(Layout::Parcels, ARENA_BYTES, &mut |len| vec![0; len]);
        let lines: &mut Batch<Vec<u8>> = store.lines_mut().unwrap();
        for event in events {
            let lead = sink.lead(lines.events(), None);
            let lead = lead.as_ref().map_or(&[][..], Lead::as_bytes);
            lines.append_behind(lead, &StreamName::DEFAULT, event.as_bytes(), false, 0).unwrap();
        }
        let Sealed::Sent(awaits) = sink.seal(lines, 0) else { panic!("not sent") };
        Commit { store, refused: Vec::new(), awaits: awaits.into() }
    }

    fn take_outcomes(&mut self, sink: &mut HttpSink) {
        let refused = &mut self.refused;
        let mut late = |event: u32, bytes: &[u8], why: Flaw| {
            refused.push((event, String::from_utf8(bytes.to_vec()).unwrap(), why));
        };
        self.awaits += Remote::take_outcomes(sink, &mut self.store, 0, &mut late);
    }

    fn fates(&self) -> Vec<Option<Fate>> {
        let fates = self.store.fates();
        (0..self.store.events()).map(|event| fates.of(event).map(|failure| failure.fate)).collect()
    }

    /// What the next request carries.
    fn body(&self, sink: &HttpSink, parcel: usize) -> String {
        let lines = self.store.lines().unwrap();
        let bytes: Vec<u8> = match sink.parcel(parcel).partial {
            true => sink.open_events(parcel, lines).flatten().copied().collect(),
            false => {
                sink.pieces(parcel).iter().flat_map(|piece| lines.bytes(piece.bytes()).to_vec()).collect()
            }
        };
        String::from_utf8(bytes).unwrap()
    }
}

fn post(sink: &mut HttpSink, now_ns: u64) -> usize {
    match sink.next_command(now_ns) {
        Some(Command::Post(0, parcel)) => parcel,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_poisoned_event_is_found_whichever_it_is() {
    for count in 1..20 {
        let owned: Vec<String> = (0..count).map(|n| format!("{{\"n\":{n}}}")).collect();
        let events: Vec<&str> = owned.iter().map(String::as_str).collect();
        for bad in 0..count {
            let mut sink = sink(Preset::Plain, "/", 64 << 10);
            let mut commit = Commit::new(&mut sink, &events);
            while commit.awaits > 0 {
                let parcel = post(&mut sink, 0);
                let poisoned = commit.body(&sink, parcel).contains(&format!("{}\n", owned[bad]));
                let status = if poisoned { 400 } else { 200 };
                sink.handle(0, Input::Answered(0, Answer { status, ..OK }));
                commit.take_outcomes(&mut sink);
            }
            let mut expected = vec![None; count];
            expected[bad] = Some(Fate::Refused);
            assert_eq!(commit.fates(), expected);
            assert_eq!(commit.refused, [(bad as u32, owned[bad].clone(), Flaw::HTTP_REFUSED)]);
            assert_eq!(sink.figures().events_refused, 1);
        }
    }
}

#[test]
fn when_all_is_refused_the_search_ends() {
    let owned: Vec<String> = (0..500).map(|n| format!("{{\"n\":{n}}}")).collect();
    let events: Vec<&str> = owned.iter().map(String::as_str).collect();
    let mut sink = sink(Preset::Plain, "/", 64 << 10);
    let mut commit = Commit::new(&mut sink, &events);
    let mut requests = 0;
    while commit.awaits > 0 {
        post(&mut sink, 0);
        sink.handle(0, Input::Answered(0, Answer { status: 422, ..OK }));
        commit.take_outcomes(&mut sink);
        requests += 1;
    }
    assert_eq!(requests, 1 + 2 * pack::SPLITS_MAX);
    assert_eq!(commit.fates(), vec![Some(Fate::Refused); 500]);
    assert_eq!(commit.refused.len(), 500);
}

#[test]
fn verdicts_of_a_bulk_go_to_their_events() {
    let mut sink = sink(Preset::Elasticsearch, "/_bulk", 64 << 10);
    let mut commit =
        Commit::new(&mut sink, &["{\"a\":0}", "{\"a\":1}", "{\"a\":2}", "{\"a\":3}", "{\"a\":4}"]);
    let parcel = post(&mut sink, 0);
    let line =
        |n: u32| format!("{{\"create\":{{\"_id\":\"000000000000f00d:2:{}\"}}}}\n{{\"a\":{n}}}\n", 100 + n);
    assert_eq!(commit.body(&sink, parcel), (0..5).map(line).collect::<String>());
    sink.handle_bulk(0, 0, OK, Some(&[201, 429, 400, 503, 413]));
    commit.take_outcomes(&mut sink);
    assert_eq!((commit.awaits, sink.next_command(0)), (1, None), "it rests");
    assert_eq!(post(&mut sink, S), parcel);
    assert_eq!(sink.events_to_send(parcel), 2);
    assert_eq!(commit.body(&sink, parcel), [line(1), line(3)].concat());
    // What was taken twice under one id is there once.
    sink.handle_bulk(S, 0, OK, Some(&[409, 201]));
    commit.take_outcomes(&mut sink);
    assert_eq!(commit.awaits, 0);
    let refused = Some(Fate::Refused);
    assert_eq!(commit.fates(), [None, None, refused, None, refused]);
    let expected = [(2, Flaw::HTTP_REFUSED), (4, Flaw::HTTP_TOO_LARGE)];
    assert_eq!(commit.refused, expected.map(|(n, why)| (n, format!("{{\"a\":{n}}}"), why)));
}

#[test]
fn verdicts_that_come_too_late_leave_the_rest_unsure_or_not_written() {
    for (statuses, fates) in [
        // The last that was heard: 429 means not taken, 500 means nobody knows, none means nobody knows.
        (Some(&[201, 429][..]), [None, Some(Fate::NotWritten)]),
        (Some(&[500, 429]), [Some(Fate::PossiblyWritten); 2]),
        (Some(&[403, 429]), [Some(Fate::NotWritten); 2]),
        (None, [Some(Fate::PossiblyWritten); 2]),
    ] {
        let mut sink = sink(Preset::Elasticsearch, "/_bulk", 64 << 10);
        let mut commit = Commit::new(&mut sink, &["{}", "{}"]);
        post(&mut sink, 0);
        sink.handle_bulk(0, 0, OK, statuses);
        Remote::<Vec<u8>>::tick(&mut sink, 200 * S);
        commit.take_outcomes(&mut sink);
        assert_eq!((commit.awaits, commit.fates()), (0, fates.to_vec()), "{statuses:?}");
    }
}

#[test]
fn heads_name_the_stream_and_a_token_that_stays() {
    let mut sink = sink(Preset::ClickHouse, "/{stream}?t={token}", 16);
    let mut commit = Commit::new(&mut sink, &["{\"a\":0}", "{\"a\":1}", "{\"a\":2}"]);
    assert_eq!(commit.awaits, 2);
    let head = |sink: &HttpSink, parcel| {
        let mut out = Vec::new();
        sink.head(parcel, 7, &mut out);
        String::from_utf8(out).unwrap().lines().next().unwrap().to_string()
    };
    for expected in [
        "POST /default?t=000000000000f00d-2-100-2 HTTP/1.1",
        "POST /default?t=000000000000f00d-2-102-1 HTTP/1.1",
    ] {
        let parcel = post(&mut sink, 0);
        assert_eq!(head(&sink, parcel), expected);
        sink.handle(0, Input::Answered(0, OK));
    }
    commit.take_outcomes(&mut sink);
    assert_eq!(commit.awaits, 0);
    // Numbers go on with the next commit.
    Commit::new(&mut sink, &["{}"]);
    let parcel = post(&mut sink, 0);
    assert_eq!(head(&sink, parcel), "POST /default?t=000000000000f00d-2-103-1 HTTP/1.1");
}

#[test]
fn a_level_is_what_the_operator_says() {
    for level in [Ack::Written, Ack::Durable, Ack::Replicated] {
        let mut sink = sink(Preset::Plain, "/", 64 << 10);
        sink.level = level;
        assert_eq!(sink.strongest(), level);
        assert_eq!(sink.reached(Ack::Accepted), Ack::Accepted);
        assert_eq!(sink.reached(Ack::Written), level);
        assert_eq!(sink.reached(Ack::Replicated), Ack::Replicated, "refused if that is more");
    }
}
