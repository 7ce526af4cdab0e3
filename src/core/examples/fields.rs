//! What wanted fields cost, for callgrind:
//! `valgrind --tool=callgrind target/release/examples/fields KERNEL CORPUS N MODE`
//!
//! Scans a body of 1 MiB N times. MODE `plain` wants nothing, `fields` the three values that route an event in the
//! pass, `pointers` looks them up behind it one by one, as was done before, `nested` wants two more that lie
//! deeper, `schema` holds each event against eight rules.
use ringmill_core::json::pointer::Pointer;
use ringmill_core::json::schema::{Checks, Field, Schema, Types};
use ringmill_core::json::{FastScanner, Fields, Format, Kernel, Scanner, Slot, Verdict};
use ringmill_core::segment::header::StreamName;
use std::hint::black_box;

#[path = "../../scan/examples/compare/corpora.rs"]
mod corpora;

const ROUTING: [&str; 3] = ["/type", "/key", "/ts"];
const NESTED: [&str; 5] = ["/type", "/key", "/ts", "/attrs/http.method", "/attributes/net/peer/ip"];

fn wanted(pointers: &[&str]) -> (Fields, Vec<Slot>) {
    let mut fields = Fields::new();
    let want = |text: &&str| fields.want(Pointer::parse(text).expect("a pointer").names()).expect("room");
    let slots = pointers.iter().map(want).collect();
    (fields, slots)
}

fn by_fields(scanner: &mut FastScanner, body: &[u8], (fields, slots): &(Fields, Vec<Slot>)) -> usize {
    let mut bytes = 0;
    scanner.scan_fields(body, Format::Lines, fields, |verdict, found| {
        if let Verdict::Good { .. } = verdict {
            bytes += slots.iter().filter_map(|slot| found.get(*slot)).map(|range| range.len()).sum::<usize>();
        }
    });
    bytes
}

fn plain(scanner: &mut FastScanner, body: &[u8], mut each: impl FnMut(&[u8])) {
    scanner.scan(body, Format::Lines, |verdict| {
        if let Verdict::Good { span, .. } = verdict {
            each(&body[span]);
        }
    });
}

fn rules() -> Checks {
    let typed = |pointer, name| Field { types: Types::named(name).expect("a type"), ..Field::at(pointer) };
    let string = |pointer| typed(pointer, "string");
    let fields = vec![
        Field { required: true, max_length: Some(16), ..string("/type") },
        Field { required: true, max_length: Some(64), ..string("/key") },
        Field { required: true, ..typed("/ts", "integer") },
        typed("/attrs", "object"),
        string("/level"),
        string("/message"),
        string("/name"),
        typed("/duration_us", "number"),
    ];
    Checks::new(&[Schema { stream: None, additional: true, fields }], None, None).expect("a schema")
}

fn by_schema(scanner: &mut FastScanner, body: &[u8], checks: &Checks) -> usize {
    let check = checks.of(&StreamName::DEFAULT).expect("a schema of all streams");
    let mut good = 0;
    scanner.scan_fields(body, Format::Lines, check.fields(), |verdict, found| {
        if let Verdict::Good { span, .. } = verdict {
            good += usize::from(check.violation(&body[span], found).is_none());
        }
    });
    good
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [kernel, corpus, times, mode] = &args[..] else {
        eprintln!("fields KERNEL CORPUS N plain|fields|pointers|nested|schema");
        std::process::exit(2);
    };
    let kernel = Kernel::ALL.iter().find(|k| k.name() == kernel).expect("a kernel's name");
    let (_, body) = corpora::all().into_iter().find(|(name, _)| name == corpus).expect("a corpus");
    let (body, times) = (body.as_bytes(), times.parse().expect("a number"));
    let (routing, nested, checks) = (wanted(&ROUTING), wanted(&NESTED), rules());
    let pointers = ROUTING.map(|text| Pointer::parse(text).expect("a pointer"));
    let mut scanner = FastScanner::new(*kernel);
    let mut sum = 0;
    for _ in 0..times {
        match &**mode {
            "fields" => sum += by_fields(&mut scanner, body, &routing),
            "nested" => sum += by_fields(&mut scanner, body, &nested),
            "schema" => sum += by_schema(&mut scanner, body, &checks),
            "pointers" => plain(&mut scanner, body, |event| {
                sum +=
                    pointers.iter().filter_map(|pointer| pointer.find(event)).map(<[u8]>::len).sum::<usize>();
            }),
            _ => plain(&mut scanner, body, |event| sum += black_box(event).len()),
        }
    }
    let events = body.iter().filter(|byte| **byte == b'\n').count() * times;
    println!("{events} events, {sum} bytes found");
}
