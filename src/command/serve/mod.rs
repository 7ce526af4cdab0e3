//! `ringmill serve`: wiring. Binds, recovers, starts keeper, shards and admin, waits for the end.
//!
//! What can fail is tried in the order in which an operator mends it: addresses, data directory, cores.
//! Nothing is decided about events here.
mod signals;
mod spill;
mod systemd;

use crate::admin::{self, Admin, Ask, Facts, ShardPort};
use crate::config::plan::{Driver, Plan, Quarantine, Sink};
use crate::core::sink::Resume;
use crate::log;
use crate::replay;
use crate::shard::{self, Assignment, Beyond, Handle, Running, listen::Listening, passed::Passed};
use crate::sink::keeper::{FILLED_BYTES_PER_S_MAX, Keeper, Options};
use crate::sink::store::Store;
use crate::sink::volume::{DirLock, FsVolume};
use crate::sys::affinity;
use signals::Wake;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};
use systemd::Manager;

/// How long the ready line waits for the sinks; the shards listen all the while.
const READY_WAIT: Duration = Duration::from_secs(10);
/// The same for brokers, which are nothing of ours: those that can be reached answer sooner.
const BROKERS_WAIT: Duration = Duration::from_secs(3);

/// Runs the server until it is told to stop.
pub fn run(plan: Plan) -> ExitCode {
    match serve(&plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            log::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn serve(plan: &Plan) -> Result<(), String> {
    let manager = Manager::find();
    let listening = Passed::take().and_then(|passed| shard::listen::listen(plan, passed));
    let listening = listening.map_err(|error| error.to_string())?;
    let admin = plan.admin.map(|address| admin::bind(&address.to_string())).transpose();
    let admin = admin.map_err(|error| error.to_string())?;
    let store = open_store(plan)?;
    let beyond = beyond(plan)?;
    log_placement(plan);

    let handles: Arc<OnceLock<Vec<Handle>>> = Arc::default();
    let replayer = spill::start(plan, store.as_ref(), beyond.as_ref(), handles.clone())?;
    let (resumes, volumes, _lock) = take_apart(store);
    let keeper = volumes.map(|volumes| start_keeper(plan, volumes, handles.clone())).transpose()?;
    let Listening { shards: listeners, http, lines, paths, bound, useless } = listening;
    manager.keep(bound, &useless);
    let wake = Wake::new();
    let outside = (&*resumes, beyond.as_ref(), replayer.as_ref());
    let shards = start_shards(plan, listeners, outside, keeper.as_ref(), &wake)?;
    let ways: Vec<Handle> = shards.iter().map(|shard| shard.handle.clone()).collect();
    let _ = handles.set(ways.clone());
    let admin = admin.map(|bound| start_admin(plan, bound, &ways, replayer.as_ref())).transpose()?;
    wake.watch_signals().map_err(|error| format!("cannot watch for signals: {error}"))?;

    wait_until_ready(plan, &ways);
    announce(plan, &http, &lines, admin.as_ref());
    let feeder =
        manager.ready(status(plan, &http, &lines), &ways, pin_aside(plan.cores.housekeeping.clone()));
    let ended = wake.wait();
    manager.stopping();
    drop(feeder);
    let result = drain(plan, &ways, shards, ended);
    if let Some(replayer) = replayer {
        replayer.stop(spill::STOP_WITHIN);
    }
    if let Some(admin) = admin {
        let _ = admin.stop();
    }
    if let Some(keeper) = keeper {
        keeper.join();
    }
    // Connections wait in a socket that is kept, and come by its path.
    if !manager.keeps() {
        paths.iter().for_each(|path| drop(std::fs::remove_file(path)));
    }
    result
}

fn open_store(plan: &Plan) -> Result<Option<Store>, String> {
    let Some(dir) = plan.data_dir() else { return Ok(None) };
    let started = Instant::now();
    let store = Store::open(dir, plan.cores.shards.len() as u32).map_err(|error| error.to_string())?;
    for (warning, line) in store.report() {
        if warning {
            log::warn!("{line}");
        } else {
            log::info!("{line}");
        }
    }
    log::info!("recovered {} in {} ms", dir.display(), started.elapsed().as_millis());
    Ok(Some(store))
}

/// What the shards need to reach whoever else takes the events. Nothing is reached yet: whether anybody is there is
/// for the shards to find out, again and again.
fn beyond(plan: &Plan) -> Result<Option<Beyond>, String> {
    match (&plan.sink, &plan.kafka, &plan.http) {
        (Sink::Kafka(address), Some(kafka), _) => {
            shard::kafka::Setup::new(address, kafka).map(|setup| Some(Beyond::Kafka(setup)))
        }
        (Sink::Http(address), _, Some(http)) => {
            let setup = shard::http::Setup::new(address, http, plan.limits.arena_bytes as usize)?;
            Ok(Some(Beyond::Http(setup)))
        }
        _ => Ok(None),
    }
}

type Parts = (Vec<Resume>, Option<Vec<FsVolume>>, Option<DirLock>);

fn take_apart(store: Option<Store>) -> Parts {
    let Some(store) = store else { return (Vec::new(), None, None) };
    let (shards, lock) = store.into_parts();
    let (resumes, volumes) = shards.into_iter().map(|open| (open.resume, open.volume)).unzip();
    (resumes, Some(volumes), Some(lock))
}

fn log_placement(plan: &Plan) {
    log::info!("cores: {}; driver {}: {}", plan.cores.why, plan.driver, plan.driver_why);
    for (number, core) in plan.cores.shards.iter().enumerate() {
        let node = core.node.map_or("unknown".into(), |node| node.to_string());
        log::info!("shard {number}: core {}, SMT siblings {:?}, NUMA node {node}", core.core, core.siblings);
    }
    log::info!("memory plan: {} bytes in all", plan.memory.total_bytes());
}

/// Puts the calling thread on the housekeeping cores.
fn pin_aside(cores: Vec<usize>) -> impl FnOnce() + Send + 'static {
    move || {
        if let Err(error) = affinity::pin(&cores) {
            log::warn!("cannot move a housekeeping thread to cores {cores:?}: {error}");
        }
    }
}

fn start_keeper(
    plan: &Plan,
    volumes: Vec<FsVolume>,
    handles: Arc<OnceLock<Vec<Handle>>>,
) -> Result<Keeper, String> {
    let segments = &plan.segments;
    let options = Options {
        segment_bytes: segments.segment_bytes,
        quarantine_bytes: segments.quarantine_bytes,
        retention_bytes: segments.retention_bytes,
        retention_age: segments.retention_age,
        paced: true,
        filled_bytes_per_s_max: FILLED_BYTES_PER_S_MAX,
    };
    let deliver = move |shard: u32, mail| {
        // Requests come only from shards, so the handles are there before the first answer is.
        let handles = handles.wait();
        handles[shard as usize].mail(mail);
    };
    let notice = |notice: crate::sink::keeper::Notice| {
        if notice.is_warning() {
            log::warn!("{notice}");
        } else {
            log::info!("{notice}");
        }
    };
    let pin = pin_aside(plan.cores.housekeeping.clone());
    Keeper::start(volumes, options, pin, deliver, notice)
        .map_err(|error| format!("cannot start the housekeeper: {error}"))
}

fn start_shards(
    plan: &Plan,
    listeners: Vec<Vec<shard::driver::Listener>>,
    (resumes, beyond, replayer): (&[Resume], Option<&Beyond>, Option<&replay::Handle>),
    keeper: Option<&Keeper>,
    wake: &Wake,
) -> Result<Vec<Running>, String> {
    let mut shards = Vec::new();
    let spills = replayer.map_or(Vec::new(), |replayer| spill::setups(plan, replayer));
    let homes = shard::balance::homes(plan.cores.shards.len(), plan.limits.connections_balance);
    let homes = homes.map_err(|error| format!("cannot make the shards' mailboxes: {error}"))?;
    let places = plan.cores.shards.iter().zip(homes).zip(listeners);
    for (number, ((core, home), listeners)) in places.enumerate() {
        let (resume, keeps) = (resumes.get(number).copied(), plan.quarantine != Quarantine::None);
        let assignment = Assignment {
            number: number as u32,
            core: core.core,
            home,
            listeners,
            resume: resume.filter(|_| plan.segments_dir().is_some()),
            quarantine_first: resume.filter(|_| keeps).map(|resume| resume.next_quarantine),
            beyond: beyond.cloned(),
            spill: spills.get(number).cloned(),
            requests: keeper.map(Keeper::requests),
        };
        let running = shard::start(plan, assignment, wake.shard_ends())
            .map_err(|error| format!("shard {number}: {error}"))?;
        shards.push(running);
    }
    Ok(shards)
}

struct Port {
    number: u32,
    core: u32,
    handle: Handle,
    replayer: Option<replay::Handle>,
}

impl ShardPort for Port {
    fn ask(&self, ask: Ask) {
        let (number, core) = (self.number, self.core);
        // Here, not on the shard's thread: it takes a lock.
        let waiting = self.replayer.as_ref().and_then(|replayer| spill::waiting(replayer, number));
        self.handle.ask(move |shard| {
            if let Some(waiting) = waiting {
                shard.note_waiting(waiting);
            }
            let ready = shard.ready();
            ask.answer(number, Some(core), ready, shard.metrics());
        });
    }
}

fn start_admin(
    plan: &Plan,
    bound: admin::Bound,
    ways: &[Handle],
    replayer: Option<&replay::Handle>,
) -> Result<Admin, String> {
    let ports = ways.iter().zip(&plan.cores.shards).enumerate().map(|(number, (handle, core))| {
        let (number, core, handle) = (number as u32, core.core as u32, handle.clone());
        let port = Port { number, core, handle, replayer: replayer.cloned() };
        Box::new(port) as Box<dyn ShardPort>
    });
    let mut config = BTreeMap::from([
        ("sink".into(), plan.sink.to_string()),
        ("ack".into(), plan.ack.as_str().into()),
        ("driver".into(), plan.driver.to_string()),
        ("scanner".into(), plan.scanner.to_string()),
        ("listen".into(), Plan::join(&plan.listen)),
    ]);
    config.extend(plan.spill.iter().map(|spill| ("spill".into(), spill.to_string())));
    config.extend(plan.sink_rows().into_iter().map(|(name, text)| (name.into(), text)));
    let facts = Facts {
        version: env!("CARGO_PKG_VERSION").into(),
        config,
        memory_plan_bytes: plan.memory.total_bytes(),
    };
    bound
        .serve(facts, ports.collect(), pin_aside(plan.cores.housekeeping.clone()))
        .map_err(|error| format!("cannot start the admin side: {error}"))
}

/// Waits for every sink to take events, so that the first request after the ready line finds it so.
fn wait_until_ready(plan: &Plan, ways: &[Handle]) {
    let started = Instant::now();
    let beyond = plan.kafka.is_some() || plan.http.is_some();
    let wait = if beyond { BROKERS_WAIT } else { READY_WAIT };
    for handle in ways {
        let mut why = "it does not answer";
        while started.elapsed() < wait {
            let (answer, answered) = mpsc::channel();
            handle.ask(move |shard| answer.send(shard.ready()).unwrap_or_default());
            match answered.recv_timeout(Duration::from_secs(1)) {
                Ok(Ok(())) => break,
                Ok(Err(reason)) => why = reason,
                Err(_) => {}
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        if started.elapsed() >= wait {
            log::warn!("the sink is not ready yet: {why}; requests wait or are told 503 until it is");
            return;
        }
    }
}

fn announce(plan: &Plan, http: &[String], lines: &[String], admin: Option<&Admin>) {
    let admin = admin.map_or("-".into(), |admin| admin.local_addr().to_string());
    let line = format!(
        "ringmill ready http={} lines={} admin={admin} shards={} sink={} ack={} driver={}",
        Plan::join(http),
        Plan::join(lines),
        plan.cores.shards.len(),
        plan.sink,
        plan.ack.as_str(),
        match plan.driver {
            Driver::Uring => "uring",
            Driver::Glommio => "glommio",
        }
    );
    // Nobody may be reading; the server serves all the same.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The line that `systemctl status` shows.
fn status(plan: &Plan, http: &[String], lines: &[String]) -> String {
    let listens = [http, lines].concat();
    format!("{} shard(s) take events on {} for {}", plan.cores.shards.len(), listens.join(", "), plan.sink)
}

fn drain(plan: &Plan, ways: &[Handle], shards: Vec<Running>, ended: signals::Ended) -> Result<(), String> {
    if let signals::Ended::Signal(name) = ended {
        log::info!("{name}: draining");
    }
    ways.iter().for_each(Handle::drain);
    signals::exit_after(plan.drain_timeout);
    let mut result = Ok(());
    for (number, shard) in shards.into_iter().enumerate() {
        if let Err(error) = shard.join() {
            result = Err(format!("shard {number} failed: {error}"));
        }
    }
    match (result, ended) {
        (Ok(()), signals::Ended::Shard(number)) => Err(format!("shard {number} ended by itself")),
        (result, _) => result,
    }
}
