//! Prebuilt requests in one buffer, and the draw among them.
use super::class::{self, ALL, Class, Then};
use super::malformed::{self, Delivery};
use super::request::{self, ID_NUMBER_AT, ID_THREAD_AT, NUMBER_DIGITS, THREAD_DIGITS};
use super::rng::Rng;
use super::{Source, Spec, events};
use crate::load::series::{ClassId, VALID};
use alloc::{format, string::String, vec, vec::Vec};

/// Valid requests of generated events. With one event each about 280 KiB: enough that no server and no cache
/// sees the same one too often, little enough to stay in the generator's second-level cache.
const VALID_VARIANTS: usize = 512;
/// Requests of each malformed class.
const MALFORMED_VARIANTS: usize = 32;
/// Bytes of all valid requests, after which no more are built.
const VALID_BYTES_MAX: usize = 32 << 20;
/// Bytes of one malformed class, after which no more are built.
const CLASS_BYTES_MAX: usize = 1 << 20;
/// Bytes of one request. Offsets then stay within 32 bits, whatever else there is.
const REQUEST_BYTES_MAX: usize = 64 << 20;

/// One prebuilt request.
#[derive(Clone, Copy, Debug)]
struct Variant {
    at: u32,
    len: u32,
    /// Its identifiers: `ids[id_at..id_at + id_count]`.
    id_at: u32,
    id_count: u32,
    delivery: Delivery,
}

/// Which variants a class has.
#[derive(Clone, Copy, Debug, Default)]
struct Shelf {
    at: u32,
    count: u32,
    closes: bool,
}

/// A request to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRef<'a> {
    /// Its class.
    pub class: ClassId,
    /// Its bytes, up to the next [`Corpus::pick`].
    pub bytes: &'a [u8],
    /// Where they begin in [`Corpus::buffer`].
    pub at: usize,
    /// How to send them.
    pub delivery: Delivery,
    /// Nothing may be sent behind it on the same connection: that should end.
    pub closes: bool,
    /// Number of its first event with an identifier; the others follow without gap.
    pub first_id: u64,
    /// Events with an identifier: all good ones, those that a 200, 202 or 207 acknowledges. 0 without `ids`.
    pub ids: u32,
}

/// All requests that a thread sends.
#[derive(Clone, Debug)]
pub struct Corpus {
    buffer: Vec<u8>,
    variants: Vec<Variant>,
    /// By class.
    shelves: Vec<Shelf>,
    /// Malformed classes, each as often as its weight: a draw of a place is a draw by weight.
    lots: Vec<ClassId>,
    /// Share of malformed ones in 2^32.
    threshold: u64,
    /// Where in `buffer` identifiers begin.
    ids: Vec<u32>,
    next_id: u64,
    classes: Vec<Class>,
    unused_lines: usize,
}

impl Corpus {
    /// Builds all requests. Takes some milliseconds, and 32 MiB at most unless a single request is larger.
    ///
    /// # Errors
    /// What in the specification cannot be sent, and how to mend it.
    pub fn build(spec: &Spec<'_>) -> Result<Corpus, String> {
        request::check(spec)?;
        if spec.events_per_request == 0 {
            return Err(
                "a request must hold at least one event; set --events-per-request to 1 or more".into()
            );
        }
        let all_or_nothing = spec.path.split(['?', '&']).any(|part| part == "partial=reject");
        let mut classes = class::expected(spec.events_per_request, all_or_nothing);
        for text in &spec.class_status {
            class::with_status(&mut classes, text)?;
        }
        let mut corpus = Corpus {
            buffer: Vec::new(),
            variants: Vec::new(),
            shelves: vec![Shelf::default(); ALL.len()],
            lots: lots(spec)?,
            threshold: (spec.malformed_share * 4_294_967_296.0) as u64,
            ids: Vec::new(),
            next_id: 0,
            classes,
            unused_lines: 0,
        };
        corpus.add_valid(spec)?;
        corpus.add_malformed(spec)?;
        corpus.buffer.shrink_to_fit();
        Ok(corpus)
    }

    /// The same requests for another thread of the same run: its identifiers differ, and start from 0.
    pub fn for_thread(&self, thread: u16) -> Corpus {
        let mut other = self.clone();
        other.next_id = 0;
        for &at in &other.ids {
            let at = at as usize + ID_THREAD_AT;
            write_hex(&mut other.buffer[at..at + THREAD_DIGITS], u64::from(thread));
        }
        other
    }

    /// The next request: malformed with the probability that the specification said. Takes a constant time and
    /// no memory; with identifiers, also the time to write one number for each event.
    #[inline]
    pub fn pick(&mut self, rng: &mut Rng) -> RequestRef<'_> {
        let class = if rng.bits() >> 32 < self.threshold {
            self.lots[rng.fast_below(self.lots.len() as u32) as usize]
        } else {
            VALID
        };
        self.pick_of(class, rng)
    }

    /// The next request, of this class.
    ///
    /// # Panics
    /// When there is none: the class is not among [`Corpus::drawn`], nor 0.
    #[inline]
    pub fn pick_of(&mut self, class: ClassId, rng: &mut Rng) -> RequestRef<'_> {
        let shelf = self.shelves[usize::from(class)];
        assert!(shelf.count > 0, "no request of this class was built");
        let variant = self.variants[(shelf.at + rng.fast_below(shelf.count)) as usize];
        let first_id = self.next_id;
        if variant.id_count > 0 {
            self.number(&variant);
        }
        let at = variant.at as usize;
        RequestRef {
            class,
            bytes: &self.buffer[at..at + variant.len as usize],
            at,
            delivery: variant.delivery,
            closes: shelf.closes,
            first_id,
            ids: variant.id_count,
        }
    }

    fn number(&mut self, variant: &Variant) {
        let ids = variant.id_at as usize..(variant.id_at + variant.id_count) as usize;
        for &at in &self.ids[ids] {
            let at = at as usize + ID_NUMBER_AT;
            write_hex(&mut self.buffer[at..at + NUMBER_DIGITS], self.next_id);
            self.next_id += 1;
        }
    }

    /// All classes with what is expected of them; the index is the [`ClassId`]. Its length is what a recorder
    /// needs, but 1 will do if nothing malformed is [drawn](Corpus::drawn).
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// The malformed classes that are drawn, rising.
    pub fn drawn(&self) -> impl Iterator<Item = &Class> {
        self.classes.iter().filter(|class| class.id != VALID && self.shelves[usize::from(class.id)].count > 0)
    }

    /// All requests, one behind the other: for senders that register their memory once. Without `ids` it never
    /// changes.
    pub fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// Number of the next event with an identifier: how many were handed out so far.
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// Bytes of a valid request in the mean, rounded down.
    pub fn valid_bytes_mean(&self) -> usize {
        let shelf = self.shelves[usize::from(VALID)];
        let variants = &self.variants[shelf.at as usize..(shelf.at + shelf.count) as usize];
        variants.iter().map(|variant| variant.len as usize).sum::<usize>() / variants.len().max(1)
    }

    /// Lines of the user's payload that are not sent, for there were more than 32 MiB of them.
    pub fn unused_lines(&self) -> usize {
        self.unused_lines
    }

    fn add_valid(&mut self, spec: &Spec<'_>) -> Result<(), String> {
        if let Source::Body(body) = spec.source {
            if spec.ids {
                return Err(
                    "the body from a file is sent as it is and cannot carry identifiers; give it as \
                            NDJSON with --payload to verify it"
                        .into(),
                );
            }
            if spec.lines && body.is_empty() {
                return Err("there is nothing to send: the body is empty".into());
            }
            // No line is added where there is one: a line break ends it if it is to be a line.
            let mut sent = body.to_vec();
            if !spec.lines {
                sent = request::head(spec, &request::Shape::sound(body.len()));
                sent.extend_from_slice(body);
            } else if !body.ends_with(b"\n") {
                sent.push(b'\n');
            }
            let mut draft = request::Draft::new();
            draft.bytes = sent;
            return self.shelve(VALID, vec![draft]);
        }
        let mut lines = Lines::new(spec, 0)?;
        let mut drafts = Vec::new();
        let (mut bytes, mut used) = (0, 0);
        let wanted = lines.len().map_or(VALID_VARIANTS, |len| len.div_ceil(spec.events_per_request as usize));
        while drafts.len() < wanted && bytes < VALID_BYTES_MAX {
            let draft = self.draft(&ALL[usize::from(VALID)], spec, &mut lines)?;
            bytes += draft.bytes.len();
            used += spec.events_per_request as usize;
            drafts.push(draft);
        }
        self.unused_lines = lines.len().unwrap_or(0).saturating_sub(used);
        self.shelve(VALID, drafts)
    }

    fn add_malformed(&mut self, spec: &Spec<'_>) -> Result<(), String> {
        for class in ALL.iter().filter(|class| class.id != VALID) {
            if !self.lots.contains(&class.id) {
                continue;
            }
            // A seed of its own: what one class draws changes no other.
            let mut lines = Lines::new(spec, u64::from(class.id))?;
            let mut drafts = Vec::new();
            let mut bytes = 0;
            while drafts.len() < MALFORMED_VARIANTS && bytes < CLASS_BYTES_MAX {
                let draft = self.draft(class, spec, &mut lines)?;
                bytes += draft.bytes.len();
                drafts.push(draft);
            }
            self.shelve(class.id, drafts)?;
        }
        Ok(())
    }

    fn draft(&self, class: &Class, spec: &Spec<'_>, lines: &mut Lines<'_>) -> Result<request::Draft, String> {
        let mut events = Vec::new();
        let mut total = 0;
        for _ in 0..spec.events_per_request {
            let event = lines.next();
            total += event.len() + 1;
            if total > REQUEST_BYTES_MAX {
                return Err(format!(
                    "{} events make a request of more than 64 MiB; lower --events-per-request",
                    spec.events_per_request
                ));
            }
            events.push(event);
        }
        let events: Vec<&[u8]> = events.iter().map(|event| &event[..]).collect();
        Ok(malformed::build(class, spec, &events, &mut lines.rng))
    }

    fn shelve(&mut self, class: ClassId, drafts: Vec<request::Draft>) -> Result<(), String> {
        self.shelves[usize::from(class)] = Shelf {
            at: self.variants.len() as u32,
            count: drafts.len() as u32,
            closes: self.classes[usize::from(class)].expected.then == Then::Closes,
        };
        for draft in drafts {
            let at = self.buffer.len();
            if at + draft.bytes.len() > u32::MAX as usize {
                return Err("the requests do not fit into 4 GiB; send fewer events in each".into());
            }
            self.variants.push(Variant {
                at: at as u32,
                len: draft.bytes.len() as u32,
                id_at: self.ids.len() as u32,
                id_count: draft.ids.len() as u32,
                delivery: draft.delivery,
            });
            self.ids.extend(draft.ids.iter().map(|id| (at + id) as u32));
            self.buffer.extend_from_slice(&draft.bytes);
        }
        Ok(())
    }
}

/// Malformed classes by weight; empty when none is to be sent.
fn lots(spec: &Spec<'_>) -> Result<Vec<ClassId>, String> {
    let share = spec.malformed_share;
    if !(0.0..=1.0).contains(&share) {
        return Err(format!("a share of malformed requests lies between 0 % and 100 %, but it is {share}"));
    }
    for name in &spec.malformed_classes {
        match class::by_name(name) {
            Some(class) if class.id == VALID => {
                return Err("the class `valid` is not malformed; name others, or lower --malformed".into());
            }
            Some(class) if spec.lines && !class.fits_lines() => {
                return Err(format!("the class `{name}` needs HTTP and cannot be sent as lines"));
            }
            Some(_) => {}
            None => return Err(format!("there is no class `{name}`; the classes are {}", class::names())),
        }
    }
    if share == 0.0 {
        return Ok(Vec::new());
    }
    if !spec.lines && matches!(spec.method.as_str(), "GET" | "HEAD" | "OPTIONS" | "DELETE" | "TRACE") {
        return Err(format!(
            "malformed requests are made of bodies, and {} has none; use POST or PUT, or leave --malformed out",
            spec.method
        ));
    }
    let is_named = |class: &Class| {
        spec.malformed_classes.is_empty() || spec.malformed_classes.iter().any(|name| name == class.name)
    };
    let drawn = ALL
        .iter()
        .filter(|class| class.id != VALID && is_named(class) && (!spec.lines || class.fits_lines()));
    Ok(drawn.flat_map(|class| core::iter::repeat_n(class.id, usize::from(class.weight))).collect())
}

/// Where good events come from: made as they are asked for, or the user's, over and over.
struct Lines<'a> {
    given: Vec<&'a [u8]>,
    next: usize,
    kind: events::Kind,
    rng: Rng,
}

impl<'a> Lines<'a> {
    fn new(spec: &Spec<'a>, stream: u64) -> Result<Lines<'a>, String> {
        let (kind, given) = match spec.source {
            Source::Log => (events::Kind::Log, Vec::new()),
            Source::Metric => (events::Kind::Metric, Vec::new()),
            Source::Span => (events::Kind::Span, Vec::new()),
            Source::Mix => (events::Kind::Mix, Vec::new()),
            // What is wrong with a request of the user's own is shown with events of ours.
            Source::Body(_) => (events::Kind::Log, Vec::new()),
            Source::Lines(text) => (events::Kind::Log, given(text, spec.ids)?),
        };
        // The first stream of a seed is that of `payload.py`.
        let rng = Rng::new(spec.seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Ok(Lines { given, next: 0, kind, rng })
    }

    /// How many different ones there are; `None`: no end of them.
    fn len(&self) -> Option<usize> {
        (!self.given.is_empty()).then_some(self.given.len())
    }

    fn next(&mut self) -> Vec<u8> {
        if let Some(&line) = self.given.get(self.next) {
            self.next = (self.next + 1) % self.given.len();
            return line.to_vec();
        }
        let mut event = Vec::new();
        events::event(self.kind, &mut self.rng, &mut event);
        event
    }
}

/// The lines of the user's payload that are not blank.
fn given(text: &[u8], ids: bool) -> Result<Vec<&[u8]>, String> {
    let mut lines = Vec::new();
    for (at, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if ids && !line.starts_with(b"{") {
            return Err(format!(
                "line {} of the payload is no JSON object, so it cannot carry the identifier that --verify \
                 needs; mend the line or leave --verify out",
                at + 1
            ));
        }
        lines.push(line);
    }
    if lines.is_empty() {
        return Err("the payload holds no line; it must be NDJSON, one event a line".into());
    }
    Ok(lines)
}

/// Writes the lowest digits of `number` over all of `place`.
#[inline]
fn write_hex(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}
