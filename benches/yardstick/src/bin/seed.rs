//! The service that the first write-up describes: actix-web on tokio, each event parsed into an owned document,
//! a bounded crossbeam queue, and a flush every 500 ms that takes the queue empty. The flush writes nowhere, as
//! the server beside it does with its null sink.
//!
//! - `--json serde_json` (default) or `simd-json`: the parser. simd-json gets reused buffers, as its users do it.
//! - `--keep document` (default): the parsed event goes into the queue. `--keep bytes`: only the routing fields
//!   are parsed into values and the body's bytes are kept, the most that these libraries give away.
//! - `--flush-ms N` (500).

use std::cell::RefCell;
use std::time::Duration;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use ringmill_yardstick::{BODY_BYTES_MAX, Options, cores, events, is_lines};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Events that may wait for the flush; beyond it 503.
const QUEUE_EVENTS: usize = 1 << 20;

/// What a flush would need to route an event.
#[derive(serde::Deserialize)]
struct Routing {
    #[serde(rename = "type")]
    kind: Option<String>,
    key: Option<String>,
    ts: Option<u64>,
}

enum Event {
    Serde(serde_json::Map<String, serde_json::Value>),
    Simd(Box<simd_json::OwnedValue>),
    Routed(Routing, Bytes),
}

impl Event {
    /// Something of each event, so that no part of the work is left out as unused.
    fn weight(&self) -> usize {
        match self {
            Event::Serde(document) => document.len(),
            Event::Simd(document) => usize::from(matches!(**document, simd_json::OwnedValue::Object(_))),
            Event::Routed(routing, bytes) => {
                let texts = [&routing.kind, &routing.key].map(|text| text.as_ref().map_or(0, String::len));
                bytes.len() + texts[0] + texts[1] + usize::from(routing.ts.is_some())
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Parser {
    SerdeDocument,
    SerdeRouting,
    SimdDocument,
    SimdRouting,
}

thread_local! {
    /// simd-json rewrites what it parses, so it gets a copy.
    static SCRATCH: RefCell<(Vec<u8>, simd_json::Buffers)> = RefCell::default();
}

impl Parser {
    fn event(self, body: &Bytes, event: &[u8]) -> Option<Event> {
        match self {
            Parser::SerdeDocument => serde_json::from_slice(event).ok().map(Event::Serde),
            Parser::SerdeRouting => {
                let text = simdutf8::basic::from_utf8(event).ok()?;
                Some(Event::Routed(serde_json::from_str(text).ok()?, body.slice_ref(event)))
            }
            Parser::SimdDocument => scratch(event, |bytes, buffers| {
                let document = simd_json::owned::to_value_with_buffers(bytes, buffers).ok()?;
                let is_object = matches!(document, simd_json::OwnedValue::Object(_));
                is_object.then(|| Event::Simd(Box::new(document)))
            }),
            Parser::SimdRouting => scratch(event, |bytes, buffers| {
                let routing = simd_json::serde::from_slice_with_buffers(bytes, buffers).ok()?;
                Some(Event::Routed(routing, body.slice_ref(event)))
            }),
        }
    }
}

fn scratch<T>(event: &[u8], parse: impl FnOnce(&mut [u8], &mut simd_json::Buffers) -> T) -> T {
    SCRATCH.with_borrow_mut(|(bytes, buffers)| {
        bytes.clear();
        bytes.extend_from_slice(event);
        parse(bytes, buffers)
    })
}

struct Service {
    parser: Parser,
    queue: ArrayQueue<Event>,
}

async fn ingest(request: HttpRequest, body: Bytes, service: web::Data<Service>) -> HttpResponse {
    let lines = request.headers().get(CONTENT_TYPE).is_some_and(|value| is_lines(value.as_bytes()));
    if !lines {
        return match service.parser.event(&body, &body) {
            Some(event) => take(&service, event),
            None => HttpResponse::BadRequest().finish(),
        };
    }
    // All or nothing: only a body without a bad line is taken.
    let parsed: Option<Vec<Event>> =
        events(&body, true).map(|event| service.parser.event(&body, event)).collect();
    let Some(parsed) = parsed else { return HttpResponse::BadRequest().finish() };
    if parsed.into_iter().any(|event| service.queue.push(event).is_err()) {
        return HttpResponse::ServiceUnavailable().finish();
    }
    HttpResponse::Accepted().finish()
}

fn take(service: &Service, event: Event) -> HttpResponse {
    match service.queue.push(event) {
        Ok(()) => HttpResponse::Accepted().finish(),
        Err(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}

async fn flush(service: web::Data<Service>, every: Duration) {
    let mut ticks = actix_web::rt::time::interval(every);
    loop {
        ticks.tick().await;
        let mut weight = 0;
        while let Some(event) = service.queue.pop() {
            weight += event.weight();
        }
        std::hint::black_box(weight);
    }
}

fn parser(options: &Options) -> Parser {
    let json = options.text("json").unwrap_or("serde_json");
    match (json, options.text("keep").unwrap_or("document")) {
        ("serde_json", "document") => Parser::SerdeDocument,
        ("serde_json", "bytes") => Parser::SerdeRouting,
        ("simd-json", "document") => Parser::SimdDocument,
        ("simd-json", "bytes") => Parser::SimdRouting,
        (json, keep) => {
            eprintln!("--json {json} --keep {keep}: there are serde_json and simd-json, document and bytes");
            std::process::exit(2)
        }
    }
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let options = Options::parse(&["json", "keep", "flush-ms"]);
    let service = web::Data::new(Service { parser: parser(&options), queue: ArrayQueue::new(QUEUE_EVENTS) });
    actix_web::rt::spawn(flush(service.clone(), Duration::from_millis(options.number("flush-ms", 500))));
    HttpServer::new(move || {
        App::new()
            .app_data(web::PayloadConfig::new(BODY_BYTES_MAX))
            .app_data(service.clone())
            .default_service(web::post().to(ingest))
    })
    .workers(cores())
    .listen(options.listen()?)?
    .run()
    .await
}
