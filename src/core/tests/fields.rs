//! What a scan finds is what a look by JSON pointer finds, whoever scans.
use ringmill_core::json::pointer::Pointer;
use ringmill_core::json::{
    FastScanner, Fields, Format, Found, Kernel, Scanner, SimdScanner, Slot, StrictScanner, Verdict,
};

#[path = "../../scan/examples/compare/corpora.rs"]
#[allow(dead_code)]
mod corpora;
#[path = "../../scan/tests/common/events.rs"]
#[allow(dead_code)]
mod events;

use events::Random;

const POINTERS: &[&str] = &[
    "/type",
    "/key",
    "/ts",
    "/attrs",
    "/attrs/http.method",
    "/attributes/db/statement",
    "/attributes/net/peer/ip",
    "/events/1/name",
    "/events/0",
    "/status/error",
    "/values/0",
    "/message",
    "/links",
    "/nowhere/at/all",
];

/// Events mutated for each corpus.
const MUTATED: usize = 25_000;

struct Wanted {
    pointers: Vec<(Pointer, Slot)>,
    fields: Fields,
}

impl Wanted {
    fn new(of: &[&str]) -> Wanted {
        let mut fields = Fields::new();
        let pointers = of.iter().map(|text| {
            let pointer = Pointer::parse(text).unwrap();
            let slot = fields.want(pointer.names()).unwrap();
            (pointer, slot)
        });
        Wanted { pointers: pointers.collect(), fields }
    }

    /// Events judged good, and values found in them.
    fn check(&self, scanner: &mut impl Scanner, body: &[u8]) -> (usize, usize) {
        let (mut good, mut values) = (0, 0);
        scanner.scan_fields(body, Format::Lines, &self.fields, |verdict: Verdict, found: &Found| {
            let Verdict::Good { span, .. } = verdict else { return };
            let event = &body[span];
            for (pointer, slot) in &self.pointers {
                let value = pointer.find(event);
                assert_eq!(found.in_event(*slot, event), value, "{pointer:?} in {}", event.escape_ascii());
                values += usize::from(value.is_some());
            }
            good += 1;
        });
        (good, values)
    }

    fn check_all(&self, body: &[u8]) -> (usize, usize) {
        let strict = self.check(&mut StrictScanner::new(), body);
        assert_eq!(self.check(&mut SimdScanner::new(), body), strict);
        for kernel in Kernel::ALL.iter().filter(|kernel| kernel.is_available()) {
            assert_eq!(self.check(&mut FastScanner::new(*kernel), body), strict, "{kernel:?}");
        }
        strict
    }
}

fn mutate(random: &mut Random, line: &mut Vec<u8>) {
    const PIECES: &[&[u8]] = &[
        b" ",
        b"\"",
        b"\\",
        b"\\\"",
        b"\\u0061",
        b"{",
        b"}",
        b",",
        b"\"ts\":{\"a\":[1]},",
        b"\"k\\u0065y\":\"\\n\" ,",
        b"\"attrs\":{},",
        b" , \"events\" : [ ] , ",
        b"\xc3\xa9",
        b"0",
    ];
    let at = random.below(line.len() + 1);
    match random.below(4) {
        0 if at < line.len() => line[at] = random.below(256) as u8,
        1 if at < line.len() => drop(line.remove(at)),
        // Where a member may begin, so that the event often stays one.
        2 => {
            let starts: Vec<usize> =
                (1..line.len()).filter(|at| line[at - 1] == b'{' || line[at - 1] == b',').collect();
            let at = starts.get(random.below(starts.len().max(1))).copied().unwrap_or(0);
            line.splice(at..at, PIECES[8 + random.below(4)].iter().copied());
        }
        _ => drop(line.splice(at..at, PIECES[random.below(PIECES.len())].iter().copied())),
    }
}

#[test]
fn a_scan_finds_what_pointers_find() {
    let mut random = Random(0x5eed_0002);
    let (all, few) = (Wanted::new(POINTERS), Wanted::new(&POINTERS[..3]));
    for (name, body) in corpora::all() {
        let lines: Vec<&[u8]> = body.as_bytes().split(|byte| *byte == b'\n').collect();
        let whole = &body.as_bytes()[..body.len() / 4];
        let (good, values) = all.check_all(whole);
        assert!(good > 50 && values >= good, "{name}: {good} events, {values} values");
        few.check_all(whole);
        let (mut left, mut good) = (MUTATED, 0);
        let mut spoilt = Vec::new();
        while left > 0 {
            spoilt.clear();
            for _ in 0..1 + random.below(120) {
                let mut line = lines[random.below(lines.len())].to_vec();
                (0..random.below(3)).for_each(|_| mutate(&mut random, &mut line));
                spoilt.extend_from_slice(&line);
                spoilt.push(b'\n');
                left = left.saturating_sub(1);
            }
            good += all.check_all(&spoilt).0;
            few.check_all(&spoilt);
        }
        assert!(good > MUTATED / 4, "{name}: {good} of {MUTATED} stayed good");
    }
}
