//! The model of brokers answers as real ones do (the table of the facts about Kafka 4.3): or it proves nothing.
use super::cluster::{Appended, Log};
use crate::kafka::producer::Stamp;

fn stamp(epoch: i16, sequence: i32) -> Stamp {
    Stamp { producer_id: 7, epoch, sequence }
}

#[test]
fn the_model_refuses_gaps_and_knows_five_duplicates() {
    let mut log = Log::default();
    for n in 0..6 {
        assert_eq!(log.append(n, stamp(0, n as i32 * 2), n, 2, false), Appended::New(n));
    }
    assert_eq!(log.append(6, stamp(0, 2), 1, 2, false), Appended::Again(1), "of the last five");
    assert_eq!(log.append(6, stamp(0, 0), 0, 2, false), Appended::Refused(45), "older than five");
    assert_eq!(log.append(6, stamp(0, 14), 0, 2, false), Appended::Refused(45), "a gap");
    assert_eq!(log.append(6, stamp(1, 12), 0, 2, false), Appended::Refused(45), "a new epoch starts at 0");
    assert_eq!(log.append(6, stamp(1, 0), 0, 2, false), Appended::New(6));
    assert_eq!(log.append(7, stamp(0, 12), 0, 2, false), Appended::Refused(47), "fenced");
}

#[test]
fn the_model_takes_an_unknown_producer_at_any_sequence_unless_it_is_old() {
    assert_eq!(Log::default().append(0, stamp(0, 5), 0, 1, false), Appended::New(0));
    assert_eq!(Log::default().append(0, stamp(0, 5), 0, 1, true), Appended::Refused(59));
}

#[test]
fn the_model_wraps_to_zero() {
    let mut log = Log::default();
    log.append(0, stamp(0, i32::MAX - 1), 0, 2, false);
    assert_eq!(log.append(1, stamp(0, i32::MIN), 0, 1, false), Appended::Refused(45));
    assert_eq!(log.append(1, stamp(0, 0), 0, 1, false), Appended::New(1));
}
