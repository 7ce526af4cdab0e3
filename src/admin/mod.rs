//! The side for people and scrapers: plain axum on a thread of its own, away from the shards' cores.
//!
//! It owns no figure. For every look it sends each shard an [`Ask`], which carries the memory that the answer
//! is written to, and waits at most [`ANSWER_MAX`]; a shard that stays silent is shown as silent. So nothing is
//! shared with a shard, a look costs it no allocation, and a stuck shard cannot hide behind old figures.
//!
//! ```text
//! /metrics ─┐                      ┌─ ShardPort 0 ──► shard 0: ask.answer(..)
//! /readyz ──┼─► gather::Shards ask ┼─ ShardPort 1 ──► shard 1      │
//! /status ──┘   (one at a time)    └─ …                            │
//!       ◄──────────── ShardSnapshots, by value ◄───────────────────┘
//! ```
//!
//! What one look finds, all who asked before it began may share: however many scrape, a shard has one question
//! at a time.
mod gather;
mod listen;
mod page;
mod recent;
mod status;

pub use gather::{ANSWER_MAX, Ask, ShardPort};

use crate::core::metrics::exposition::{self, Answer, Process};
use axum::{
    Router,
    extract::State,
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use gather::{Look, Shards};
use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::oneshot;

/// How long a stop waits for replies under way: as long as a shard may take to answer, and a little.
const STOP_MAX: Duration = Duration::from_millis(1_500);

/// What the process knows of itself and every look repeats.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Version of the program.
    pub version: String,
    /// The settings in force, key to value, as an operator would write them. Leave secrets out.
    pub config: BTreeMap<String, String>,
    /// The bound on all buffers in bytes, as `--dry-run` prints it.
    pub memory_plan_bytes: u64,
}

/// A bound port that nobody serves yet; connections wait in its backlog.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

/// Takes the address, so that a taken port is known before any shard starts.
///
/// # Errors
/// Whatever the system says, with the address and the mend in the text.
pub fn bind(address: &str) -> io::Result<Bound> {
    let explain = |error: io::Error| {
        let mend = match error.kind() {
            io::ErrorKind::AddrInUse => "; another process has it: choose another with --admin, or none",
            io::ErrorKind::PermissionDenied => {
                "; ports below 1024 need a privilege: choose another with --admin"
            }
            _ => "; --admin takes HOST:PORT, or none",
        };
        io::Error::new(error.kind(), format!("admin cannot listen on {address}: {error}{mend}"))
    };
    let listener = TcpListener::bind(address).map_err(explain)?;
    listener.set_nonblocking(true).map_err(explain)?;
    let address = listener.local_addr().map_err(explain)?;
    Ok(Bound { listener, address })
}

impl Bound {
    /// The address in force, with the port that the system chose for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Starts the thread. Port N of `ports` leads to shard N. `pin` runs first on the new thread, to put it
    /// on the housekeeping cores.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub fn serve(
        self,
        facts: Facts,
        ports: Vec<Box<dyn ShardPort>>,
        pin: impl FnOnce() + Send + 'static,
    ) -> io::Result<Admin> {
        let (stop, stopped) = oneshot::channel::<()>();
        let house = Arc::new(House {
            facts,
            shards: Shards::new(ports),
            recent: recent::Recent::default(),
            started: Instant::now(),
            start_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64),
        });
        let address = self.address;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let thread = std::thread::Builder::new().name("admin".into()).spawn(move || {
            pin();
            runtime.block_on(run(self.listener, house, stopped))
        })?;
        Ok(Admin { address, stop: Some(stop), thread: Some(thread) })
    }
}

/// The running admin side. Dropping it stops it.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Admin {
    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Lets replies under way finish (at most 1.5 s), then ends the thread.
    ///
    /// # Errors
    /// What made the thread end before its time, if anything did.
    pub fn stop(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        drop(self.stop.take());
        match self.thread.take() {
            Some(thread) => {
                thread.join().unwrap_or_else(|_| Err(io::Error::other("the admin thread panicked")))
            }
            None => Ok(()),
        }
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        // Nobody is left to tell; `stop` is the way to hear of it.
        let _ = self.end();
    }
}

/// All that a handler may look at.
struct House {
    facts: Facts,
    shards: Shards,
    recent: recent::Recent,
    started: Instant,
    start_ms: u64,
}

async fn run(listener: TcpListener, house: Arc<House>, stopped: oneshot::Receiver<()>) -> io::Result<()> {
    let listener = listen::Bounded::new(tokio::net::TcpListener::from_std(listener)?);
    // Dropping the sender is the signal; the value never comes.
    let (drain, draining) = oneshot::channel::<()>();
    let serve = axum::serve(listener, router(house)).with_graceful_shutdown(async move {
        let _ = draining.await;
    });
    let mut serve = std::pin::pin!(std::future::IntoFuture::into_future(serve));
    tokio::select! {
        ended = &mut serve => return ended,
        _ = stopped => drop(drain),
    }
    // A client that does not read its reply must not hold up the end of the process.
    tokio::time::timeout(STOP_MAX, serve).await.unwrap_or(Ok(()))
}

fn router(house: Arc<House>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || reply(StatusCode::OK, TEXT, "ok\n".into())))
        .route("/readyz", get(ready))
        .route("/status", get(status))
        .route("/quarantine", get(quarantine))
        .fallback(async || {
            let reason = "no such page; there are /, /metrics, /healthz, /readyz, /status and /quarantine";
            refuse(StatusCode::NOT_FOUND, "not_found", reason)
        })
        .method_not_allowed_fallback(async || {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "everything here is read with GET")
        })
        .with_state(house)
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// A figure is of the moment, so no cache may keep it.
fn reply(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let headers: [(HeaderName, &str); 3] = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, body).into_response()
}

fn refuse(status: StatusCode, error: &str, reason: &str) -> Response {
    reply(status, JSON, format!("{}\n", serde_json::json!({ "error": error, "reason": reason })))
}

async fn metrics(State(house): State<Arc<House>>) -> Response {
    let look = house.shards.look().await;
    let process = Process {
        version: &house.facts.version,
        start_ms: house.start_ms,
        rss_bytes: rss_bytes(),
        memory_plan_bytes: house.facts.memory_plan_bytes,
    };
    let answers: Vec<Answer<'_>> =
        look.numbered().map(|(shard, snapshot)| Answer { shard, snapshot }).collect();
    let mut text = String::new();
    exposition::write(&mut text, &process, &answers);
    reply(StatusCode::OK, exposition::CONTENT_TYPE, text)
}

async fn ready(State(house): State<Arc<House>>) -> Response {
    let look = house.shards.look().await;
    let reasons = reasons(&look);
    if reasons.is_empty() {
        return reply(StatusCode::OK, JSON, "{\"ready\":true}\n".into());
    }
    refuse(StatusCode::SERVICE_UNAVAILABLE, "not_ready", &reasons.join("; "))
}

async fn status(State(house): State<Arc<House>>) -> Response {
    let look = house.shards.look().await;
    let status = status::Status::new(&house, &look, rss_bytes());
    match serde_json::to_string(&status) {
        Ok(json) => reply(StatusCode::OK, JSON, json + "\n"),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error.to_string()),
    }
}

/// Apart from the status, for it shows what clients sent: a proxy may let one through and not the other.
async fn quarantine(State(house): State<Arc<House>>) -> Response {
    let look = house.shards.look().await;
    match serde_json::to_string(&status::Refused::new(&look)) {
        Ok(json) => reply(StatusCode::OK, JSON, json + "\n"),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error.to_string()),
    }
}

async fn page() -> Response {
    let mut response = reply(StatusCode::OK, HTML, page::html().into());
    if let Ok(policy) = axum::http::HeaderValue::from_str(page::policy()) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Why the server is not ready, a sentence a shard; empty when every shard takes events.
fn reasons(look: &Look) -> Vec<String> {
    if look.numbered().len() == 0 {
        return vec!["no shard runs".into()];
    }
    let reason = |(shard, snapshot): (u32, Option<&crate::core::metrics::ShardSnapshot>)| match snapshot {
        None => Some(format!("shard {shard} does not answer")),
        Some(snapshot) => snapshot.ready.err().map(|why| format!("shard {shard}: {why}")),
    };
    look.numbered().filter_map(reason).collect()
}

/// Resident memory of this process in bytes, where `/proc` tells.
fn rss_bytes() -> Option<u64> {
    rss_of(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn rss_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests;
