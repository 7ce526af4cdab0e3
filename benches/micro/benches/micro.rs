//! The stages of a request, timed for people: `cargo bench -p ringmill-micro [-- FILTER]`.
//!
//! The figure that counts is the one a unit (`elem/s` turned round). To compare two commits use
//! `benches/gate g1`, which runs both in turn; two runs of this one after the other compare the machine's moods.
#![allow(missing_docs)]
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringmill_micro::{STAGES, events, lines};

fn stages(criterion: &mut Criterion) {
    let events = events().expect("python3 and benches/payload.py");
    let lines = lines(&events).expect("enough events");
    let mut group = criterion.benchmark_group("stages");
    for stage in STAGES {
        let mut work = (stage.make)(&lines);
        group.throughput(Throughput::Elements(work() as u64));
        group.bench_function(stage.name, |bencher| bencher.iter(&mut work));
    }
    group.finish();
}

criterion_group!(benches, stages);
criterion_main!(benches);
