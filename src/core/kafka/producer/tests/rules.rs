//! The fourteen rules of a correct producer, by number. What a rule asks of bytes is tested where bytes are written.
use super::desk::{Desk, MS, S, Wish, settings};
use crate::kafka::producer::*;
use std::vec;

/// Codes after which an attempt may be in the log.
const MAYBE: [i16; 8] = [-1, 3, 6, 7, 20, 56, 5, 4711];

#[test]
fn rule_1_connects_asks_who_leads_takes_an_id_and_only_then_produces() {
    let mut desk = Desk::cold(settings(), &[1]);
    let Some(Wish::Dial(boot, Endpoint::Bootstrap(0))) = desk.wish() else { panic!() };
    assert_eq!(desk.wish(), None, "nothing before it is up");
    desk.up(boot);
    assert_eq!(desk.wish(), Some(Wish::Metadata(boot, 0)));
    desk.metadata(boot, 0);
    desk.submit(0, 0, 2);
    let wishes = desk.wishes();
    let [Wish::Dial(link, Endpoint::Broker { id: 1 }), Wish::Id(boot_, 1, _)] = wishes[..] else {
        panic!("{wishes:?}")
    };
    assert_eq!(boot_, boot, "any broker gives an id");
    desk.up(link);
    assert_eq!(desk.wishes(), [], "no id yet");
    desk.id(boot, 1, 0);
    assert_eq!(desk.wishes(), [Wish::HangUp(boot), Wish::Produce(link, 0, vec![Slot(0)])]);
}

#[test]
fn rule_2_a_request_holds_one_batch_of_a_partition() {
    let mut desk = Desk::new(&[1, 1]);
    for (slot, number) in [(0, 0), (1, 0), (2, 1)] {
        desk.submit(slot, number, 1);
    }
    let request = desk.produce_all();
    assert!(request.iter().all(|(_, _, batches)| !batches.contains(&Slot(1))), "{request:?}");
}

#[test]
fn rule_3_the_stamp_that_the_header_needs_is_there_when_a_batch_is_to_be_sent_and_not_before() {
    let mut desk = Desk::new(&[1]);
    desk.submit(0, 0, 1);
    assert_eq!(desk.p.stamp(Slot(0)), None);
    desk.produce();
    assert_eq!(desk.stamp(0), (101, 0, 0));
    assert!(!desk.p.is_retry(Slot(0)), "the header is to be written");
}

#[test]
fn rule_4_sequences_count_records_and_wrap_to_zero() {
    for (sequence, records, next) in [(0, 3, 3), (i32::MAX, 1, 0), (i32::MAX - 2, 3, 0), (i32::MAX - 2, 5, 2)]
    {
        assert_eq!(next_sequence(sequence, records), next);
    }
    let mut desk = Desk::with(Settings { first_sequence: i32::MAX - 2, ..settings() }, &[1]);
    for (records, sequence) in [(2, i32::MAX - 2), (3, i32::MAX), (1, 2)] {
        desk.submit(0, 0, records);
        let request = desk.produce();
        assert_eq!(desk.stamp(0), (101, 0, sequence));
        desk.say(&request, 0, 0);
        desk.written(0);
    }
}

#[test]
fn rule_5_a_sent_batch_is_frozen_and_has_no_outcome_while_its_link_lives() {
    let mut desk = Desk::with(Settings { delivery_timeout_ns: S, ..settings() }, &[1]);
    desk.submit(0, 0, 1);
    let (link, ..) = desk.produce();
    let before = desk.stamp(0);
    desk.down(link);
    let (link, ..) = (0..)
        .find_map(|_| {
            desk.pass(100 * MS).pop().map(|wish| match wish {
                Wish::Produce(link, correlation, batches) => (link, correlation, batches),
                other => panic!("{other:?}"),
            })
        })
        .expect("sent again");
    assert!(desk.p.is_retry(Slot(0)) && desk.stamp(0) == before);
    assert_eq!(desk.outcome(), None);
    // Its time is over while it is in flight: the link goes first.
    assert!(desk.pass(2 * S).contains(&Wish::HangUp(link)));
    assert_eq!(desk.possibly(0), Why::Deadline);
}

#[test]
fn rule_6_what_may_be_written_is_sent_again_under_its_stamp_and_its_sequence_never_used_again() {
    for code in MAYBE {
        let mut desk = Desk::new(&[1]);
        desk.submit(0, 0, 5);
        let request = desk.produce();
        desk.say(&request, 0, code);
        let again = desk.pass(150 * MS);
        assert!(matches!(again[..], [Wish::Produce(..)]), "{code}: {again:?}");
        assert_eq!((desk.stamp(0), desk.p.is_retry(Slot(0))), ((101, 0, 0), true), "{code}");
        // No answer ever, up to the delivery timeout.
        desk.pass(121 * S);
        assert_eq!(desk.possibly(0), Why::Deadline, "{code}");
        desk.submit(1, 0, 1);
        desk.pass(S);
        assert_eq!(desk.stamp(1), (101, 1, 0), "{code}: a new epoch");
    }
}

#[test]
fn rule_6_a_proof_is_a_proof() {
    for code in [2, 19] {
        let mut desk = Desk::with(Settings { retries_max: 0, ..settings() }, &[1]);
        desk.submit(0, 0, 5);
        let request = desk.produce();
        desk.say(&request, 0, code);
        assert_eq!(desk.not_written(0), Why::Retries, "{code}");
        desk.submit(0, 0, 5);
        desk.pass(S);
        assert_eq!(desk.stamp(0), (101, 0, 0), "{code}: nobody has that sequence");
    }
}

#[test]
fn rule_7_a_bump_touches_one_partition() {
    let mut desk = Desk::new(&[1, 2]);
    desk.submit(0, 0, 1);
    desk.submit(1, 1, 1);
    let requests = desk.produce_all();
    for request in &requests {
        let number = request.2[0].0;
        desk.say(request, number, [7, 45][number as usize]);
    }
    desk.pass(150 * MS);
    assert_eq!(desk.stamp(0), (101, 0, 0), "unknown: as it was");
    assert_eq!(desk.stamp(1), (102, 1, 0), "its own id, a new epoch");
}

#[test]
fn rule_8_one_in_flight_and_the_next_when_the_answer_is_there() {
    let mut desk = Desk::new(&[1]);
    desk.submit(0, 0, 1);
    desk.submit(1, 0, 1);
    let request = desk.produce();
    assert_eq!(desk.pass(S), []);
    desk.say(&request, 0, 0);
    assert_eq!(desk.produce().2, [Slot(1)]);
    assert_eq!(desk.stamp(1), (101, 0, 1));
}

#[test]
fn rule_8_a_duplicate_is_success_of_what_was_sent_before_and_of_nothing_else() {
    let mut desk = Desk::new(&[1]);
    desk.submit(0, 0, 1);
    let request = desk.produce();
    desk.say(&request, 0, 46);
    assert_eq!(desk.outcome(), None, "other records have its sequence");
    let [Wish::Produce(link, correlation, batches)] = &desk.pass(150 * MS)[..] else { panic!() };
    assert_eq!(desk.stamp(0), (101, 1, 0));
    desk.say(&(*link, *correlation, batches.clone()), 0, 7);
    let [Wish::Produce(link, correlation, batches)] = &desk.pass(150 * MS)[..] else { panic!() };
    desk.say(&(*link, *correlation, batches.clone()), 0, 46);
    desk.written(0);
}

#[test]
fn rule_8_a_sequence_that_the_broker_lost_starts_anew() {
    // Code, what an unwritten batch gets: id and epoch.
    for (code, id, epoch) in [(45, 101, 1), (59, 101, 1), (47, 102, 0), (90, 102, 0), (49, 102, 0)] {
        let mut desk = Desk::new(&[1]);
        desk.submit(0, 0, 3);
        let request = desk.produce();
        desk.say(&request, 0, 0);
        desk.written(0);
        desk.submit(0, 0, 3);
        let request = desk.produce();
        assert_eq!(desk.stamp(0), (101, 0, 3));
        desk.say(&request, 0, code);
        desk.pass(150 * MS);
        assert_eq!((desk.stamp(0), desk.p.is_retry(Slot(0))), ((id, epoch, 0), false), "{code}");
        assert_eq!(desk.outcome(), None);
    }
}

#[test]
fn rule_8_what_may_be_written_is_not_sent_under_a_new_sequence() {
    for code in [45, 59, 47, 90] {
        let mut desk = Desk::new(&[1]);
        desk.submit(0, 0, 3);
        let request = desk.produce();
        desk.say(&request, 0, 20);
        let [Wish::Produce(link, correlation, batches)] = &desk.pass(150 * MS)[..] else { panic!() };
        desk.say(&(*link, *correlation, batches.clone()), 0, code);
        assert_eq!(desk.possibly(0), Why::SequenceLost, "{code}");
    }
}

#[test]
fn rule_9_a_topic_that_vanishes_keeps_its_sequences() {
    let mut desk = Desk::new(&[1]);
    desk.submit(0, 0, 4);
    let request = desk.produce();
    desk.say(&request, 0, 0);
    desk.written(0);
    desk.submit(0, 0, 1);
    let request = desk.produce();
    desk.topics[0].0 = 3;
    desk.say(&request, 0, 3);
    desk.pass(200 * MS);
    assert_eq!(desk.p.ready_topic(TopicIndex(0)), Err(NotReady::NoTopic(TopicIndex(0))));
    assert_eq!(desk.p.ready(), Ok(()), "the other topic is there");
    desk.pass(2 * S);
    desk.topics[0].0 = 0;
    desk.pass(2 * S);
    assert_eq!((desk.stamp(0), desk.p.ready_topic(TopicIndex(0))), ((101, 0, 4), Ok(())));
}

#[test]
fn rule_10_too_large_is_split_and_its_parts_go_before_what_waits_behind() {
    let mut desk = Desk::new(&[1]);
    desk.submit(0, 0, 5);
    desk.submit(1, 0, 1);
    let request = desk.produce();
    desk.say(&request, 0, 10);
    assert_eq!(desk.outcome(), Some((0, Outcome::Split { at: 2, why: Why::TooLarge })));
    assert_eq!(desk.pass(S), [], "nothing goes before the parts");
    let index = desk.index(0, 0);
    desk.p.submit_split(desk.now, index, [(Slot(0), 2, 40), (Slot(2), 3, 60)]);
    for (slot, sequence) in [(0, 0), (2, 2), (1, 5)] {
        let request = desk.produce();
        assert_eq!((&request.2[..], desk.stamp(slot)), (&[Slot(slot)][..], (101, 0, sequence)));
        desk.say(&request, 0, 0);
        desk.written(slot);
    }
    desk.submit(0, 0, 1);
    let request = desk.produce();
    desk.say(&request, 0, 10);
    let reason = Reason { why: Why::TooLarge, code: 10 };
    assert_eq!(desk.outcome(), Some((0, Outcome::Refused { record: 0, reason })));
}

#[test]
fn rule_10_a_bad_record_is_cut_out() {
    // What the broker says of four records, where to cut.
    let said = |first, count| Some(RecordErrors { first, count });
    let cases = [(said(2, 1), 2), (said(0, 1), 1), (said(3, 1), 3), (None, 2), (said(9, 1), 2)];
    for (records, at) in cases {
        let mut desk = Desk::new(&[1]);
        desk.submit(0, 0, 4);
        let request = desk.produce();
        desk.answer(&request, 0, |answer| ProduceAnswer { error: 87, records, ..answer });
        assert_eq!(desk.outcome(), Some((0, Outcome::Split { at, why: Why::BadRecord })), "{records:?}");
    }
    let mut desk = Desk::new(&[1]);
    desk.submit(0, 0, 4);
    let request = desk.produce();
    desk.answer(&request, 0, |answer| ProduceAnswer { error: 87, records: said(0, 4), ..answer });
    assert_eq!(desk.not_written(0), Why::BadRecord, "all are bad");
}

#[test]
fn rule_10_a_topic_that_is_denied_fails_alone() {
    let mut desk = Desk::new(&[1]);
    let other = desk.index(1, 0);
    desk.submit(0, 0, 1);
    desk.p.submit(0, Slot(1), other, 1, 100);
    let requests = desk.produce_all();
    for (link, correlation, batches) in &requests {
        let answers: std::vec::Vec<_> = batches
            .iter()
            .map(|slot| ProduceAnswer {
                partition: desk.p.partition_of(*slot).expect("in use"),
                error: if slot.0 == 0 { 29 } else { 0 },
                base_offset: 7,
                records: None,
                leader: None,
            })
            .collect();
        desk.say_all(*link, *correlation, &answers, 0);
    }
    let mut outcomes = [desk.outcome().expect("two"), desk.outcome().expect("two")];
    outcomes.sort_by_key(|outcome| outcome.0);
    let reason = Reason { why: Why::Denied, code: 29 };
    assert_eq!(outcomes, [(0, Outcome::NotWritten(reason)), (1, Outcome::Written { base_offset: 7 })]);
    assert_eq!(desk.p.ready_topic(TopicIndex(0)), Err(NotReady::Denied(TopicIndex(0))));
    assert_eq!((desk.p.ready_topic(TopicIndex(1)), desk.p.ready()), (Ok(()), Ok(())));
    desk.pass(11 * S);
    assert_eq!(desk.p.ready_topic(TopicIndex(0)), Ok(()), "the next one may try");
}

#[test]
fn rule_11_a_batch_that_expires_is_told_apart_by_whether_it_may_be_written() {
    // Never sent: no leader, and nobody forsakes it.
    let mut desk = Desk::with(Settings { leader_wait_ns: u64::MAX, ..settings() }, &[-1]);
    desk.submit(0, 0, 1);
    desk.pass(121 * S);
    assert_eq!(desk.not_written(0), Why::Deadline);
    // Sent and refused with a proof each time.
    let mut desk = Desk::with(Settings { delivery_timeout_ns: S, ..settings() }, &[1]);
    desk.submit(0, 0, 1);
    for _ in 0..1100 {
        for wish in desk.pass(MS) {
            let Wish::Produce(link, correlation, batches) = wish else { continue };
            desk.say(&(link, correlation, batches), 0, 19);
        }
    }
    assert_eq!(desk.not_written(0), Why::Deadline);
    // In flight.
    desk.submit(0, 0, 1);
    desk.pass(121 * S);
    assert_eq!(desk.possibly(0), Why::Deadline);
    desk.submit(0, 0, 1);
    desk.pass(S);
    assert_eq!(desk.stamp(0), (101, 1, 0), "drained, so the epoch can be new");
}

#[test]
fn rule_12_a_newer_leader_is_followed_at_once_and_metadata_is_asked_all_the_same() {
    let mut desk = Desk::new(&[1, 2]);
    desk.submit(0, 0, 1);
    let request = desk.produce();
    desk.pass(S);
    desk.answer(&request, 0, |answer| ProduceAnswer {
        error: 6,
        leader: Some(LeaderHint { leader: 2, epoch: 1 }),
        ..answer
    });
    let wishes = desk.wishes();
    assert!(wishes.iter().any(|wish| matches!(wish, Wish::Metadata(..))), "{wishes:?}");
    let sent = wishes.iter().find_map(|wish| match wish {
        Wish::Produce(link, ..) => Some(*link),
        _ => None,
    });
    assert!(sent.is_some_and(|link| link != request.0), "to the other broker, without a backoff: {wishes:?}");
    // Metadata that is older than the hint is not believed at once, but not doubted for ever.
    for wish in wishes {
        if let Wish::Metadata(link, correlation) = wish {
            desk.metadata(link, correlation);
        }
    }
    let leader = |desk: &Desk| desk.p.partition_stats().next().expect("known").1.leader;
    assert_eq!(leader(&desk), Some(2));
    desk.pass(2 * S);
    assert_eq!(leader(&desk), Some(1), "said three times");
}

#[test]
fn rule_12_a_hint_that_is_not_newer_is_ignored_and_hints_have_an_end() {
    let mut desk = Desk::new(&[1, 2]);
    desk.submit(0, 0, 1);
    let mut sent = 0;
    // Then broker after broker points at the other one, with epochs that grow for ever.
    let request = desk.produce();
    let hint = LeaderHint { leader: 2, epoch: 0 };
    desk.answer(&request, 0, |answer| ProduceAnswer { error: 6, leader: Some(hint), ..answer });
    let wishes = desk.wishes();
    assert!(
        !wishes.iter().any(|wish| matches!(wish, Wish::Produce(..))),
        "no newer than what is known: {wishes:?}"
    );
    let [Wish::Produce(link, correlation, batches)] = &desk.pass(150 * MS)[..] else { panic!() };
    assert_eq!(*link, request.0);
    let mut request = (*link, *correlation, batches.clone());
    for epoch in 1..21 {
        sent = epoch;
        desk.answer(&request, 0, |answer| ProduceAnswer {
            error: 6,
            leader: Some(LeaderHint { leader: 1 + epoch % 2, epoch }),
            ..answer
        });
        let next = desk.wishes().into_iter().find_map(|wish| match wish {
            Wish::Produce(link, correlation, batches) => Some((link, correlation, batches)),
            _ => None,
        });
        let Some(next) = next else { break };
        request = next;
    }
    assert!((3..=5).contains(&sent), "{sent} attempts without a pause");
}

#[test]
fn rule_13_the_partitioner_is_told_what_there_is() {
    let mut desk = Desk::new(&[1, -1, 2]);
    let seen = desk.p.partitions(TopicIndex(0));
    let leaders = [0, 1, 2].map(|number| seen.has_leader(number));
    let version = seen.version;
    assert_eq!((seen.count, leaders, seen.index(3)), (3, [true, false, true], None));
    assert_eq!((seen.is_connected(0), seen.is_connected(1)), (true, false));
    let before = desk.index(0, 2);
    desk.topics[0].2 = vec![(1, 0), (2, 0), (2, 0), (1, 0)];
    desk.pass(2 * S);
    let seen = desk.p.partitions(TopicIndex(0));
    assert_eq!((seen.count, seen.has_leader(1), seen.version > version), (4, true, true), "grown");
    assert_eq!(desk.index(0, 2), before, "an index stays");
    assert_eq!(desk.p.locate(desk.index(0, 3)), (TopicIndex(0), 3));
    assert_eq!(desk.p.locate(desk.index(1, 0)), (TopicIndex(1), 0));
}

#[test]
fn rule_14_a_throttled_link_is_silent_and_others_are_not() {
    let mut desk = Desk::new(&[1, 2]);
    desk.submit(0, 0, 1);
    let (link, correlation, _) = desk.produce();
    let partition = desk.index(0, 0);
    let answer = ProduceAnswer { partition, error: 0, base_offset: 7, records: None, leader: None };
    desk.say_all(link, correlation, &[answer], 900);
    desk.written(0);
    desk.submit(0, 0, 1);
    desk.submit(1, 1, 1);
    let (other, ..) = desk.produce();
    assert_ne!(other, link);
    assert_eq!(desk.pass(899 * MS), []);
    assert!(matches!(desk.pass(2 * MS)[..], [Wish::Produce(at, ..)] if at == link));
}

#[test]
fn rule_14_no_broker_can_ask_for_silence_without_end() {
    let mut desk = Desk::new(&[1]);
    desk.submit(0, 0, 1);
    let (link, correlation, _) = desk.produce();
    let partition = desk.index(0, 0);
    let answer = ProduceAnswer { partition, error: 0, base_offset: 7, records: None, leader: None };
    desk.say_all(link, correlation, &[answer], i32::MAX);
    desk.written(0);
    desk.submit(0, 0, 1);
    assert!(matches!(desk.pass(61 * S)[..], [Wish::Produce(..)]));
}
