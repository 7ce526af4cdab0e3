//! `--verify`: what was acknowledged against what is stored.
//!
//! Each good event carries an identifier in front of its own fields:
//!
//! ```text
//! {"r":"0000000000000007-0003-00000000002a-1f0c9ab2","type":"log",…}
//!       seed             thread number     CRC-32C of everything behind the closing quote
//! ```
//!
//! Numbers rise by one in each thread, so what a thread handed out is one number and what was acknowledged one
//! bit each ([`Acked`]). The checksum travels in the event, so an altered event is found without a copy of it;
//! what a server changes in the spelling of an event (its spaces, the order of its fields) counts as altered,
//! for that is what was asked.
//!
//! Nothing here reads files: [`Reconcile::take`] is shown one stored event after the other, in any order.
use super::payload::{ID_BYTES, ID_NUMBER_AT, ID_START, ID_THREAD_AT};
use crate::segment::header::crc32c;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use memchr::memmem;

/// Words of one piece of a set: 64 KiB, half a million numbers.
const PIECE_WORDS: usize = 8192;
const PIECE_BITS: u64 = PIECE_WORDS as u64 * 64;

/// A growing set of numbers from 0 up, one bit each: 108 MB for ten hours at 25 k/s.
#[derive(Clone, Debug, Default)]
struct Bits {
    pieces: Vec<Box<[u64; PIECE_WORDS]>>,
}

impl Bits {
    fn reserve(&mut self, end: u64) {
        while (self.pieces.len() as u64) * PIECE_BITS < end {
            self.pieces.push(Box::new([0; PIECE_WORDS]));
        }
    }

    /// Puts `number` in; whether it was there.
    fn put(&mut self, number: u64) -> bool {
        self.reserve(number + 1);
        let word = &mut self.pieces[(number / PIECE_BITS) as usize][(number % PIECE_BITS / 64) as usize];
        let bit = 1 << (number % 64);
        let was = *word & bit != 0;
        *word |= bit;
        was
    }

    fn has(&self, number: u64) -> bool {
        self.word(number / 64) >> (number % 64) & 1 == 1
    }

    /// The bits of 64 numbers from `at * 64` on.
    fn word(&self, at: u64) -> u64 {
        let (piece, word) = (at / PIECE_WORDS as u64, at % PIECE_WORDS as u64);
        self.pieces.get(piece as usize).map_or(0, |piece| piece[word as usize])
    }
}

/// What one thread was promised.
#[derive(Clone, Debug)]
pub struct Acked {
    thread: u16,
    bits: Bits,
    sent: u64,
    count: u64,
}

impl Acked {
    /// Of a thread that has sent nothing yet.
    pub fn new(thread: u16) -> Acked {
        Acked { thread, bits: Bits::default(), sent: 0, count: 0 }
    }

    /// Takes the memory for numbers below `end` (rounded up to half a million). To be called off the hot path
    /// and ahead of it: [`Acked::mark`] then takes none.
    pub fn reserve(&mut self, end: u64) {
        self.bits.reserve(end);
    }

    /// Numbers that [`Acked::mark`] takes without memory.
    pub fn room(&self) -> u64 {
        self.bits.pieces.len() as u64 * PIECE_BITS
    }

    /// Numbers below `end` were handed out, whatever becomes of them.
    pub fn sent(&mut self, end: u64) {
        self.sent = self.sent.max(end);
    }

    /// `count` events from number `first` on were acknowledged.
    pub fn mark(&mut self, first: u64, count: u32) {
        let end = first + u64::from(count);
        self.sent(end);
        for number in first..end {
            self.count += u64::from(!self.bits.put(number));
        }
    }

    /// Events acknowledged.
    pub fn count(&self) -> u64 {
        self.count
    }
}

/// The reconciliation of a run.
#[derive(Debug)]
pub struct Reconcile {
    seed: u64,
    threads: Vec<Thread>,
    totals: Totals,
}

#[derive(Debug)]
struct Thread {
    acked: Acked,
    stored: Bits,
}

/// What came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events with an identifier that were handed out to be sent.
    pub sent: u64,
    /// Of those, the acknowledged.
    pub acked: u64,
    /// Of the sent, those found at least once.
    pub stored: u64,
    /// Acknowledged and not found.
    pub lost: u64,
    /// Copies of an event beyond its first.
    pub duplicated: u64,
    /// Found with other bytes than were sent. They count as stored too.
    pub altered: u64,
    /// Events of this run that nobody sent, or whose identifier is damaged.
    pub unknown: u64,
    /// Found though no acknowledgement was seen: nothing was promised, and nothing is wrong.
    pub unacked: u64,
    /// Events of others: without identifier, or of another run.
    pub foreign: u64,
}

impl Totals {
    /// Whether all that was promised was kept, once and unchanged.
    pub fn is_sound(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.altered == 0 && self.unknown == 0
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { sent, acked, stored, lost, duplicated, altered, unknown, unacked, foreign } = self;
        write!(
            f,
            "sent={sent} acked={acked} stored={stored} lost={lost} duplicated={duplicated} altered={altered} \
             unknown={unknown} unacked={unacked} foreign={foreign}"
        )
    }
}

/// Numbers in a row of one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The thread.
    pub thread: u16,
    /// The first number.
    pub first: u64,
    /// The last.
    pub last: u64,
}

impl Reconcile {
    /// Of a run with this seed, and what each of its threads was promised.
    pub fn new(seed: u64, acked: impl IntoIterator<Item = Acked>) -> Reconcile {
        let threads: Vec<Thread> =
            acked.into_iter().map(|acked| Thread { acked, stored: Bits::default() }).collect();
        let totals = Totals {
            sent: threads.iter().map(|thread| thread.acked.sent).sum(),
            acked: threads.iter().map(|thread| thread.acked.count).sum(),
            ..Totals::default()
        };
        Reconcile { seed, threads, totals }
    }

    /// Takes one stored event, without its line break.
    pub fn take(&mut self, event: &[u8]) {
        let id = match find(event) {
            Found::None => return self.totals.foreign += 1,
            Found::Damaged => return self.totals.unknown += 1,
            Found::Id(id) if id.seed != self.seed => return self.totals.foreign += 1,
            Found::Id(id) => id,
        };
        let thread = self.threads.iter_mut().find(|thread| thread.acked.thread == id.thread);
        let Some(thread) = thread.filter(|thread| id.number < thread.acked.sent) else {
            return self.totals.unknown += 1;
        };
        self.totals.altered += u64::from(!id.intact);
        if thread.stored.put(id.number) {
            self.totals.duplicated += 1;
            return;
        }
        self.totals.stored += 1;
        self.totals.unacked += u64::from(!thread.acked.bits.has(id.number));
    }

    /// What came out, once every stored event was [taken](Reconcile::take).
    pub fn totals(&self) -> Totals {
        let lost =
            self.threads.iter().flat_map(Thread::lost).map(|(_, bits)| u64::from(bits.count_ones())).sum();
        Totals { lost, ..self.totals }
    }

    /// The first `most` stretches of acknowledged events that were not found.
    pub fn lost(&self, most: usize) -> Vec<Stretch> {
        let mut stretches: Vec<Stretch> = Vec::new();
        for thread in &self.threads {
            let id = thread.acked.thread;
            let numbers = thread.lost().flat_map(|(at, bits)| {
                (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| at * 64 + bit)
            });
            for number in numbers {
                if let Some(last) = stretches.last_mut()
                    && (last.thread, last.last + 1) == (id, number)
                {
                    last.last = number;
                } else if stretches.len() == most {
                    return stretches;
                } else {
                    stretches.push(Stretch { thread: id, first: number, last: number });
                }
            }
        }
        stretches
    }
}

impl Thread {
    /// Acknowledged and not stored: words that are not empty, with their places.
    fn lost(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let words = self.acked.bits.pieces.len() as u64 * PIECE_WORDS as u64;
        (0..words)
            .map(|at| (at, self.acked.bits.word(at) & !self.stored.word(at)))
            .filter(|(_, bits)| *bits != 0)
    }
}

enum Found {
    None,
    Damaged,
    Id(Id),
}

struct Id {
    seed: u64,
    thread: u16,
    number: u64,
    intact: bool,
}

/// The identifier of a stored event.
fn find(event: &[u8]) -> Found {
    if let Some(rest) = event.strip_prefix(ID_START) {
        return match parse(rest) {
            Some(id) => Found::Id(id),
            None => Found::Damaged,
        };
    }
    // Somebody wrote it anew: with spaces, or in another order.
    for at in memmem::find_iter(event, b"\"r\"") {
        let value = event[at + 3..].trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        if let Some(id) = value.and_then(|value| value.strip_prefix(b"\"")).and_then(parse) {
            return Found::Id(Id { intact: false, ..id });
        }
    }
    Found::None
}

/// Reads an identifier, and the event behind it.
fn parse(text: &[u8]) -> Option<Id> {
    let (id, rest) = text.split_at_checked(ID_BYTES)?;
    let sum_at = ID_BYTES - 8;
    let dashes = [ID_THREAD_AT - 1, ID_NUMBER_AT - 1, sum_at - 1];
    if !rest.starts_with(b"\"") || dashes.iter().any(|&at| id[at] != b'-') {
        return None;
    }
    let sum = hex(&id[sum_at..])?;
    Some(Id {
        seed: hex(&id[..ID_THREAD_AT - 1])?,
        thread: hex(&id[ID_THREAD_AT..ID_NUMBER_AT - 1])? as u16,
        number: hex(&id[ID_NUMBER_AT..sum_at - 1])?,
        intact: sum == u64::from(crc32c(rest)),
    })
}

/// Lower-case hexadecimal digits, 16 at most.
fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |sum: u64, digit| match digit {
        b'0'..=b'9' => Some(sum << 4 | u64::from(digit - b'0')),
        b'a'..=b'f' => Some(sum << 4 | u64::from(digit - b'a' + 10)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::payload::{Corpus, Rng, Source, Spec};
    use alloc::string::ToString;
    use alloc::{format, vec};

    const SEED: u64 = 0xfeed;

    fn corpus(events_per_request: u32) -> Corpus {
        let spec = Spec { events_per_request, ids: true, lines: true, seed: SEED, ..Spec::default() };
        Corpus::build(&spec).unwrap()
    }

    /// Sends `requests` on each of two threads, all acknowledged. Returns the events as they were sent.
    fn run(requests: usize) -> (Vec<Acked>, Vec<Vec<u8>>) {
        let (mut acked, mut events) = (vec![], vec![]);
        for thread in 0..2 {
            let (mut corpus, mut rng) = (corpus(3).for_thread(thread), Rng::new(u64::from(thread)));
            let mut promised = Acked::new(thread);
            for _ in 0..requests {
                let request = corpus.pick(&mut rng);
                assert_eq!(request.ids, 3);
                promised.mark(request.first_id, request.ids);
                events.extend(request.bytes.trim_ascii_end().split(|&b| b == b'\n').map(<[u8]>::to_vec));
            }
            acked.push(promised);
        }
        (acked, events)
    }

    fn reconcile(acked: &[Acked], stored: &[Vec<u8>]) -> Reconcile {
        let mut reconcile = Reconcile::new(SEED, acked.to_vec());
        for event in stored {
            reconcile.take(event);
        }
        reconcile
    }

    #[test]
    fn all_kept() {
        let (acked, mut events) = run(1000);
        let sound = Totals { sent: 6000, acked: 6000, stored: 6000, ..Totals::default() };
        assert_eq!(reconcile(&acked, &events).totals(), sound);
        // The order does not matter.
        events.reverse();
        let found = reconcile(&acked, &events);
        assert!(found.totals().is_sound());
        assert_eq!(found.lost(9), []);
        let shown =
            "sent=6000 acked=6000 stored=6000 lost=0 duplicated=0 altered=0 unknown=0 unacked=0 foreign=0";
        assert_eq!(found.totals().to_string(), shown);
    }

    #[test]
    fn each_kind_of_damage_is_told_from_the_others() {
        let (acked, events) = run(200);
        type Damage = fn(&mut Vec<Vec<u8>>);
        let base = Totals { sent: 1200, acked: 1200, stored: 1200, ..Totals::default() };
        let cases: &[(&str, Damage, Totals)] = &[
            ("lost", |events| drop(events.drain(10..17)), Totals { stored: 1193, lost: 7, ..base }),
            ("twice", |events| events.push(events[5].clone()), Totals { duplicated: 1, ..base }),
            ("a flipped bit", |events| *events[5].last_mut().unwrap() ^= 1, Totals { altered: 1, ..base }),
            ("cut short", |events| events[700].truncate(60), Totals { altered: 1, ..base }),
            (
                "written anew",
                |events| events[9] = [b"{ \"r\" :", &events[9][5..]].concat(),
                Totals { altered: 1, ..base },
            ),
            (
                "a damaged identifier",
                |events| events[9][10] = b'X',
                Totals { stored: 1199, lost: 1, unknown: 1, ..base },
            ),
            (
                "never sent",
                |events| {
                    let event = core::str::from_utf8(&events[0]).unwrap();
                    events.push(event.replacen("-000000000000-", "-00000000ffff-", 1).into_bytes());
                },
                Totals { unknown: 1, ..base },
            ),
            (
                "of a thread that there was not",
                |events| {
                    let event = core::str::from_utf8(&events[0]).unwrap();
                    events.push(event.replacen("-0000-", "-0009-", 1).into_bytes());
                },
                Totals { unknown: 1, ..base },
            ),
            (
                "of another run, and without identifier",
                |events| {
                    let event = core::str::from_utf8(&events[0]).unwrap();
                    events.push(event.replacen("feed-", "beef-", 1).into_bytes());
                    events.push(b"{\"r\":1}".to_vec());
                    events.push(b"{\"type\":\"log\"}".to_vec());
                    events.push(vec![]);
                },
                Totals { foreign: 4, ..base },
            ),
        ];
        for (what, damage, expected) in cases {
            let mut stored = events.clone();
            damage(&mut stored);
            let found = reconcile(&acked, &stored).totals();
            assert_eq!(found, *expected, "{what}");
            assert_eq!(found.is_sound(), expected.foreign > 0, "{what}");
        }
    }

    #[test]
    fn what_was_not_promised_may_be_there_or_not() {
        let (_, events) = run(10);
        let mut half = Acked::new(0);
        half.sent(30);
        half.mark(0, 12);
        half.mark(6, 12);
        assert_eq!(half.count(), 18, "a number counts once");
        let found = reconcile(&[half], &events[..24]).totals();
        assert_eq!(found, Totals { sent: 30, acked: 18, stored: 24, unacked: 6, ..Totals::default() });
        assert!(found.is_sound());
    }

    #[test]
    fn losses_are_named_across_words_and_pieces() {
        let mut acked = Acked::new(4);
        acked.reserve(10);
        assert_eq!(acked.room(), PIECE_BITS);
        acked.mark(0, PIECE_BITS as u32 + 100);
        assert_eq!(acked.room(), 2 * PIECE_BITS);
        let mut reconcile = Reconcile::new(1, [acked]);
        let lost = [3..4, 60..70, PIECE_BITS - 2..PIECE_BITS + 3];
        for number in (0..PIECE_BITS + 100).filter(|number| !lost.iter().any(|lost| lost.contains(number))) {
            reconcile.threads[0].stored.put(number);
        }
        assert_eq!(reconcile.totals().lost, 1 + 10 + 5);
        let stretch = |first, last| Stretch { thread: 4, first, last };
        assert_eq!(
            reconcile.lost(9),
            [stretch(3, 3), stretch(60, 69), stretch(PIECE_BITS - 2, PIECE_BITS + 2)]
        );
        assert_eq!(reconcile.lost(2), [stretch(3, 3), stretch(60, 69)]);
    }

    #[test]
    fn users_events_carry_identifiers_too() {
        let given = b"{}\n  {\"a\": 1}  \r\n{ \"b\":2}\n{ }\n";
        let spec =
            Spec { source: Source::Lines(given), ids: true, lines: true, seed: SEED, ..Spec::default() };
        let (mut corpus, mut rng) = (Corpus::build(&spec).unwrap(), Rng::new(1));
        let mut acked = Acked::new(0);
        let mut stored = vec![];
        for _ in 0..50 {
            let request = corpus.pick(&mut rng);
            acked.mark(request.first_id, request.ids);
            stored.push(request.bytes.trim_ascii_end().to_vec());
        }
        let expected = Totals { sent: 50, acked: 50, stored: 50, ..Totals::default() };
        assert_eq!(reconcile(&[acked], &stored).totals(), expected);
        assert_eq!(
            stored.iter().map(Vec::len).min(),
            Some(format!("{{\"r\":\"{}\"}}", "-".repeat(ID_BYTES)).len())
        );
    }
}
