//! What happens beyond the rules: links that die, brokers that lie, topics made anew, ends.
use super::desk::{Desk, MS, S, Wish, settings};
use crate::kafka::producer::*;
use std::vec;
use std::vec::Vec;

#[test]
fn answers_of_a_link_given_up_are_stale() {
    let mut desk = Desk::new(&[1]);
    desk.submit(0, 0, 1);
    let request = desk.produce();
    // No answer for 30 s.
    let wishes = desk.pass(31 * S);
    assert!(wishes.contains(&Wish::HangUp(request.0)), "{wishes:?}");
    desk.say(&request, 0, 0);
    assert_eq!(desk.outcome(), None);
    let again = wishes.into_iter().find_map(|wish| match wish {
        Wish::Produce(link, correlation, batches) => Some((link, correlation, batches)),
        _ => None,
    });
    let again = again.expect("sent again");
    assert_ne!(again.0, request.0);
    desk.down(request.0);
    desk.up(request.0);
    desk.say(&again, 0, 0);
    desk.written(0);
}

#[test]
fn an_answer_to_nothing_or_of_the_wrong_kind_costs_the_link() {
    for wrong in [false, true] {
        let mut desk = Desk::new(&[1]);
        desk.submit(0, 0, 1);
        let (link, correlation, _) = desk.produce();
        match wrong {
            true => desk.id(link, correlation, 0),
            false => desk.id(link, correlation + 1, 0),
        }
        assert_eq!(desk.wish(), Some(Wish::HangUp(link)));
        desk.pass(S);
        assert_eq!((desk.stamp(0), desk.p.is_retry(Slot(0))), ((101, 0, 0), true));
    }
}

#[test]
fn a_batch_that_the_answer_does_not_mention_may_be_written() {
    let mut desk = Desk::with(Settings { retries_max: 0, ..settings() }, &[1]);
    desk.submit(0, 0, 1);
    let (link, correlation, _) = desk.produce();
    desk.say_all(link, correlation, &[], 0);
    assert_eq!(desk.possibly(0), Why::Retries);
}

#[test]
fn a_topic_made_anew_gets_a_new_id_and_what_the_old_one_may_hold_is_told() {
    // What was answered to the batch before: unknown, or a proof.
    for (code, possibly) in [(7, true), (19, false)] {
        let mut desk = Desk::new(&[1]);
        desk.submit(0, 0, 4);
        let request = desk.produce();
        desk.say(&request, 0, 0);
        desk.written(0);
        desk.submit(0, 0, 1);
        let request = desk.produce();
        desk.say(&request, 0, code);
        desk.topics[0] = (0, 9, vec![(1, 0)]);
        let index = desk.index(0, 0);
        desk.p.want_metadata(desk.now);
        desk.pass(S);
        assert_eq!(desk.p.topic(TopicIndex(0)), ("t", TopicId([9; 16])));
        if possibly {
            assert_eq!(desk.possibly(0), Why::Recreated);
            desk.p.submit(desk.now, Slot(0), index, 1, 100);
            desk.pass(S);
        }
        assert_eq!(desk.stamp(0), (102, 0, 0), "a new id, sequence 0");
        assert_eq!(desk.p.topic_by_id(TopicId([1; 16])), Some(TopicIndex(0)), "late answers name the old id");
    }
}

#[test]
fn an_answer_that_still_names_the_old_topic_is_not_a_third_one() {
    let mut desk = Desk::new(&[1]);
    let refresh = |desk: &mut Desk, id: u8| {
        desk.topics[0].1 = id;
        desk.p.want_metadata(desk.now);
        desk.now += 200 * MS;
        desk.p.tick(desk.now);
        let Some(Wish::Metadata(link, correlation)) = desk.wish() else { panic!() };
        desk.metadata(link, correlation);
    };
    refresh(&mut desk, 9);
    refresh(&mut desk, 1);
    assert_eq!(desk.p.topic(TopicIndex(0)).1, TopicId([9; 16]));
}

#[test]
fn partitions_that_a_topic_made_anew_has_not_end_what_waits_for_them() {
    let mut desk = Desk::new(&[1, -1]);
    desk.submit(0, 1, 1);
    desk.topics[0] = (0, 9, vec![(1, 0)]);
    desk.pass(S);
    assert_eq!(desk.not_written(0), Why::PartitionGone);
    assert_eq!(desk.p.partitions(TopicIndex(0)).count, 1);
}

#[test]
fn when_no_broker_can_be_reached_the_bootstrap_list_is_tried_again() {
    let mut desk = Desk::new(&[1]);
    let links: Vec<LinkId> = (0..2).map(|row| desk.p.rows[row].link(row)).collect();
    links.into_iter().for_each(|link| desk.down(link));
    desk.now += 100 * MS;
    desk.p.tick(desk.now);
    let wishes = desk.wishes();
    assert!(wishes.iter().any(|wish| matches!(wish, Wish::Dial(_, Endpoint::Bootstrap(_)))), "{wishes:?}");
    assert!(
        wishes.iter().any(|wish| matches!(wish, Wish::Dial(_, Endpoint::Broker { id: 1 }))),
        "{wishes:?}"
    );
    assert_eq!(desk.p.ready(), Err(NotReady::Unreachable(LinkFailure::Reset)));
}

#[test]
fn brokers_that_do_not_answer_about_topics_send_us_to_the_bootstrap_list() {
    let mut desk = Desk::with(Settings { rebootstrap_ns: 5 * S, ..settings() }, &[1]);
    desk.submit(0, 0, 1);
    let request = desk.produce();
    desk.say(&request, 0, 6);
    let mut booted = false;
    for _ in 0..100 {
        desk.now += 100 * MS;
        desk.p.tick(desk.now);
        for wish in desk.wishes() {
            booted |= matches!(wish, Wish::Dial(_, Endpoint::Bootstrap(_)));
            if let Wish::Metadata(link, correlation) = wish {
                let answer = MetadataAnswer { error: -1, throttle_ms: 0, brokers: &[], topics: &[] };
                desk.p.handle(desk.now, Input::Metadata { link, correlation, answer });
            }
        }
    }
    assert!(booted);
}

#[test]
fn a_broker_that_stopped_is_left_when_others_lead() {
    let mut desk = Desk::new(&[1, 2]);
    desk.submit(0, 0, 1);
    let (link, ..) = desk.produce();
    desk.topics[0].2[0] = (2, 1);
    let wishes = desk.pass(4 * S);
    assert!(wishes.contains(&Wish::HangUp(link)), "long before its 30 s are over: {wishes:?}");
    let again = wishes.iter().find_map(|wish| match wish {
        Wish::Produce(to, ..) if *to != link => Some(*to),
        _ => None,
    });
    assert!(again.is_some() && desk.stamp(0) == (101, 0, 0), "{wishes:?}");
}

#[test]
fn a_drain_ends_by_its_deadline_and_hangs_up() {
    let mut desk = Desk::new(&[1, -1]);
    desk.submit(0, 0, 1);
    desk.submit(1, 1, 1);
    desk.produce();
    desk.p.drain(desk.now, desk.now + 3 * S);
    assert_eq!(desk.p.ready(), Err(NotReady::Draining));
    desk.pass(3 * S);
    let mut outcomes = [desk.outcome().expect("two"), desk.outcome().expect("two")];
    outcomes.sort_by_key(|outcome| outcome.0);
    assert!(matches!(outcomes[0].1, Outcome::PossiblyWritten(_)), "{outcomes:?}");
    assert!(matches!(outcomes[1].1, Outcome::NotWritten(_)), "{outcomes:?}");
    desk.serve();
    assert!(desk.p.is_drained());
}

#[test]
fn a_drain_without_work_is_over_at_once() {
    let mut desk = Desk::new(&[1]);
    desk.p.drain(0, 3 * S);
    let wishes = desk.wishes();
    assert!(wishes.iter().all(|wish| matches!(wish, Wish::HangUp(_))), "{wishes:?}");
    assert!(desk.p.is_drained());
}

#[test]
fn an_epoch_that_is_used_up_is_followed_by_a_new_id() {
    let mut desk = Desk::new(&[1]);
    desk.submit(0, 0, 1);
    let request = desk.produce();
    desk.say(&request, 0, 0);
    desk.written(0);
    let index = desk.index(0, 0).0 as usize;
    desk.p.partitions[index].identity.as_mut().expect("an id").epoch = i16::MAX;
    desk.submit(0, 0, 1);
    let request = desk.produce();
    desk.say(&request, 0, 45);
    desk.pass(S);
    assert_eq!(desk.stamp(0), (102, 0, 0));
}

#[test]
fn a_producer_id_refused_is_told_and_asked_for_again() {
    let mut desk = Desk::new(&[1]);
    desk.submit(0, 0, 1);
    let Some(Wish::Id(link, correlation, _)) = desk.wish() else { panic!() };
    desk.id(link, correlation, 31);
    assert_eq!(desk.p.ready(), Err(NotReady::NoProducerId(31)));
    assert!(matches!(desk.pass(S)[..], [Wish::Produce(..)]));
    assert_eq!(desk.p.ready(), Ok(()));
}

#[test]
fn metadata_that_is_denied_ends_what_waits_and_only_of_that_topic() {
    let mut desk = Desk::new(&[-1]);
    desk.submit(0, 0, 1);
    desk.topics[0].0 = 29;
    desk.pass(S);
    assert_eq!(desk.not_written(0), Why::Denied);
    assert_eq!(desk.p.ready_topic(TopicIndex(0)), Err(NotReady::Denied(TopicIndex(0))));
    assert_eq!(desk.p.ready_topic(TopicIndex(1)), Ok(()));
}

#[test]
fn a_cluster_larger_than_the_tables_is_told_and_harms_nobody() {
    let mut desk = Desk::with(Settings { partitions_max: 3, ..settings() }, &[1, 1, 1]);
    assert_eq!(desk.p.ready_topic(TopicIndex(0)), Ok(()));
    assert_eq!(desk.p.ready_topic(TopicIndex(1)), Err(NotReady::TooManyPartitions(TopicIndex(1))));
    desk.submit(0, 0, 1);
    let request = desk.produce();
    desk.say(&request, 0, 0);
    desk.written(0);
}

#[test]
fn names_that_kafka_does_not_know_are_not_taken() {
    let mut p = Producer::new(Settings::new(1, 1, 1, 1, 0));
    for name in
        ["", ".", "..", "a/b", "ä", std::string::String::from_utf8(vec![b'a'; 250]).expect("text").as_str()]
    {
        assert_eq!(p.add_topic(0, name), None, "{name}");
    }
    assert_eq!((p.add_topic(0, "a.b_c-9"), p.add_topic(0, "b")), (Some(TopicIndex(0)), None));
    assert_eq!(p.add_topic(0, "a.b_c-9"), Some(TopicIndex(0)));
}

#[test]
fn nothing_to_do_means_no_turns() {
    let mut desk = Desk::new(&[1, 2]);
    let mut turns = 0;
    while let Some(at) = desk.p.deadline_ns().filter(|&at| at < 290 * S) {
        desk.p.tick(at);
        assert_eq!(desk.wishes(), []);
        turns += 1;
    }
    assert!(turns < 20, "{turns} looks in five idle minutes");
}

#[test]
fn of_a_cluster_with_more_brokers_than_links_those_that_lead_are_known() {
    let mut desk = Desk::cold(Settings { brokers_max: 2, ..settings() }, &[8, 9]);
    let Some(Wish::Dial(boot, _)) = desk.wish() else { panic!() };
    desk.up(boot);
    let Some(Wish::Metadata(link, correlation)) = desk.wish() else { panic!() };
    let brokers: Vec<_> = (0..10).map(|id| BrokerSeen { id, host: "b", port: 1 }).collect();
    let seen = |number, leader| PartitionSeen { error: 0, number, leader, leader_epoch: 0 };
    let partitions = [seen(0, 8), seen(1, 9)];
    let topics = [TopicSeen { error: 0, name: "t", id: TopicId([1; 16]), partitions: &partitions }];
    let answer = MetadataAnswer { error: 0, throttle_ms: 0, brokers: &brokers, topics: &topics };
    desk.p.handle(0, Input::Metadata { link, correlation, answer });
    let leaders: Vec<_> = desk.p.partition_stats().map(|(_, stats)| stats.leader).collect();
    assert_eq!(leaders, [Some(8), Some(9)]);
}

/// Answers everything well but dials to broker 1, until a batch is sent; gives the link and how often it was asked who
/// leads. Broker 2 is said to lead from the third answer on.
fn leader_that_is_gone(desk: &mut Desk, refused: bool) -> Option<(Wish, u32)> {
    let (end, mut asked) = (desk.now + 20 * S, 0);
    loop {
        while let Some(wish) = desk.wish() {
            match wish {
                Wish::Dial(link, Endpoint::Broker { id: 1 }) if refused => desk.down(link),
                Wish::Dial(_, Endpoint::Broker { id: 1 }) | Wish::HangUp(_) => {}
                Wish::Dial(link, _) => desk.up(link),
                Wish::Metadata(link, correlation) => {
                    asked += 1;
                    if asked == 3 {
                        desk.topics[0].2[0] = (2, 1);
                    }
                    desk.metadata(link, correlation);
                }
                Wish::Id(link, correlation, _) => desk.id(link, correlation, 0),
                produce @ Wish::Produce(..) => return Some((produce, asked)),
            }
        }
        desk.now = desk.p.deadline_ns().filter(|at| *at <= end)?.max(desk.now);
        desk.p.tick(desk.now);
    }
}

#[test]
fn a_leader_that_cannot_be_reached_makes_it_ask_again_who_leads() {
    // The others learn later than we do that a broker is gone: their first answers still name it. Its port may be closed,
    // or nobody there at all.
    for refused in [true, false] {
        let mut desk = Desk::new(&[1]);
        desk.submit(0, 0, 1);
        let (link, ..) = desk.produce();
        let gone = desk.now;
        desk.down(link);
        let sent = leader_that_is_gone(&mut desk, refused);
        let Some((Wish::Produce(link, correlation, batches), asked)) = sent else {
            panic!("refused {refused}: never sent to the new leader")
        };
        assert!(
            asked == 3 && desk.now - gone < 8 * S,
            "refused {refused}: {asked} after {}",
            desk.now - gone
        );
        desk.say(&(link, correlation, batches), 0, 0);
        desk.written(0);
    }
}

#[test]
fn a_partition_without_a_leader_gives_up_what_is_in_no_log_and_keeps_what_may_be() {
    let mut desk = Desk::with(Settings { leader_wait_ns: 3 * S, ..settings() }, &[1, 1]);
    desk.submit(0, 0, 1);
    let request = desk.produce();
    desk.topics[0].2 = vec![(-1, 1), (-1, 1)];
    desk.p.want_metadata(desk.now);
    desk.pass(200 * MS);
    desk.say(&request, 0, 7);
    desk.submit(1, 1, 1);
    desk.pass(2 * S);
    let forsaken = |desk: &Desk| [0, 1].map(|number| desk.p.partitions(TopicIndex(0)).is_forsaken(number));
    assert_eq!((desk.outcome(), forsaken(&desk)), (None, [false; 2]));
    let version = desk.p.partitions(TopicIndex(0)).version;
    desk.pass(2 * S);
    assert_eq!((desk.not_written(1), forsaken(&desk)), (Why::NoLeader, [true; 2]));
    assert!(desk.p.partitions(TopicIndex(0)).version > version, "who waits looks again");
    // The next one is given up when it comes; the one that may be written has the delivery timeout.
    desk.submit(1, 1, 1);
    assert_eq!((desk.not_written(1), desk.outcome()), (Why::NoLeader, None));
    desk.topics[0].2 = vec![(1, 2), (1, 2)];
    desk.submit(2, 0, 1);
    let wishes = desk.pass(2 * S);
    assert_eq!(forsaken(&desk), [false; 2]);
    assert_eq!(desk.stamp(0), (101, 0, 0));
    assert!(wishes.iter().any(|wish| matches!(wish, Wish::Produce(..))), "{wishes:?}");
}

#[test]
fn a_leader_that_cannot_be_reached_is_as_good_as_none() {
    let mut desk = Desk::with(Settings { leader_wait_ns: 3 * S, ..settings() }, &[1, 2]);
    let link = (0..2).find(|&row| desk.p.rows[row].broker == Some(1)).map(|row| desk.p.rows[row].link(row));
    desk.down(link.expect("connected"));
    desk.submit(0, 0, 1);
    for _ in 0..50 {
        desk.now += 100 * MS;
        desk.p.tick(desk.now);
        for wish in desk.wishes() {
            if let Wish::Dial(link, Endpoint::Broker { id: 1 }) = wish {
                desk.down(link);
            }
        }
    }
    assert_eq!(desk.not_written(0), Why::NoLeader);
    assert!(!desk.p.partitions(TopicIndex(0)).is_forsaken(1));
}

#[test]
fn a_broker_that_is_silent_counts_as_not_reachable_until_it_answers() {
    let mut desk = Desk::new(&[1, 2]);
    desk.topics[1].2 = vec![(1, 0)];
    desk.submit(0, 0, 1);
    let request = desk.produce();
    let connected = |desk: &Desk| [0, 1].map(|number| desk.p.partitions(TopicIndex(0)).is_connected(number));
    desk.pass(4 * S);
    assert_eq!(connected(&desk), [true, true]);
    let version = desk.p.partitions(TopicIndex(0)).version;
    desk.pass(2 * S);
    assert_eq!(connected(&desk), [false, true]);
    assert!(desk.p.partitions(TopicIndex(0)).version > version, "what has a choice looks again");
    assert_eq!(desk.p.ready_topic(TopicIndex(0)), Ok(()), "by way of the other one");
    let silent = NotReady::Unreachable(LinkFailure::Timeout);
    assert_eq!(desk.p.ready_topic(TopicIndex(1)), Err(silent), "which has no other");
    desk.say(&request, 0, 0);
    desk.written(0);
    assert_eq!((connected(&desk), desk.p.ready_topic(TopicIndex(1))), ([true, true], Ok(())));
}
