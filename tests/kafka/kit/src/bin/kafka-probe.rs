//! Whether brokers judge: `kafka-probe HOST:PORT TOPIC` asks what no correct producer asks, and prints what they say.
//!
//! A rig whose brokers took a wrong checksum or a skipped sequence could prove nothing. The address must be that of the
//! leader of partition 0. Error codes are Kafka's: 0 good, 2 corrupt message, 45 out of order sequence number.

use ringmill_kafka_kit::{
    batch::Batch,
    raw::{Raw, timestamp},
};
use serde_json::json;

const VERSION: i16 = 9;

fn main() {
    let [_, address, name] = std::env::args().collect::<Vec<_>>().try_into().expect("HOST:PORT TOPIC");
    let mut raw = Raw::connect(address.parse().expect("an address")).expect("the broker listens");
    let topic = raw.topic(&name).expect("the topic is there");
    let producer = raw.producer_id().expect("there is a producer id");
    let batch = |sequence| Batch::of_values(&["one", "two"], timestamp()).stamped(producer, 0, sequence);
    let mut put = |bytes: Vec<u8>| {
        let answer = raw.produce(VERSION, &topic, 0, Some(bytes)).expect("the broker answers");
        (answer.error_code, answer.base_offset)
    };
    let first = batch(0).encode();
    let (good, offset) = put(first.clone());
    let mut flipped = batch(2).encode();
    *flipped.last_mut().expect("it is not empty") ^= 1;
    let told = json!({
        "good": good,
        "flipped_bit": put(flipped).0,
        "skipped_sequence": put(batch(3).encode()).0,
        "duplicate": put(first.clone()).0,
        "duplicate_has_the_same_offset": put(first).1 == offset,
        "going_on": put(batch(2).encode()).0,
    });
    println!("{told}");
}
