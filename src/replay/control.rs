//! The replay's own thread: reads ahead, hands chunks to the engine, settles them, moves the cursors, removes files.
use super::chunk::Chunk;
use super::cursor::{Cursor, Place};
use super::feed::{Done, Told};
use super::lane::Lane;
use super::read::{Filled, Finding};
use super::{Committed, Cursors, Hosting, Notice, Progress, Target, aside, feed, teller};
use crate::core::segment::StreamName;
use crate::shard::{self, Running};
use crate::sink::name::shard_dir;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Chunks under a bound on the rate last a tenth of a second.
const CHUNKS_PER_S: u64 = 10;

/// What the thread is told.
pub enum Message {
    /// A commit became durable.
    Committed(u32, Committed),
    /// End, within this time.
    Stop(Duration),
    /// From the feed.
    Told(Told),
}

/// Why a replay ended before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The shard that it stopped in, and the first event that the target does not have, or may not have.
    pub at: Option<(u32, u64)>,
    /// Events behind it that the target has or may have, so that the next run may bring them twice.
    pub perhaps: u64,
    /// Why.
    pub why: String,
}

/// What a replay came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Each shard.
    pub shards: Vec<Progress>,
    /// Places that could not be read.
    pub damaged: u64,
    /// Cursors that could not be written in the end, with the error.
    pub cursor: Option<String>,
    /// It did not come to the end.
    pub stopped: Option<Stop>,
}

/// A chunk that is out.
pub(super) struct Out {
    pub(super) lane: usize,
    /// It came back with refused events that could not be kept yet, and their lines.
    pub(super) held: Option<(Done, Vec<u8>)>,
}

/// See the module.
pub struct Control {
    pub(super) dir: PathBuf,
    pub(super) name: String,
    pub(super) stream: Option<StreamName>,
    inbox: Receiver<Message>,
    pub(super) notice: Box<dyn FnMut(Notice) + Send>,
    pub(super) lanes: Vec<Lane>,
    /// Remove segments that are done.
    pub remove: bool,
    /// Events a second at most.
    pub rate: Option<u64>,
    engine: Option<Running>,
    shared: Arc<Mutex<Vec<Progress>>>,
    pub(super) out: Option<Out>,
    pub(super) ahead: Option<(usize, Chunk)>,
    spare: Vec<Chunk>,
    /// The lane that is served next.
    turn: usize,
    /// When the next chunk may go.
    next_send: Instant,
    pub(super) next_cursor: Instant,
    pub(super) retry_at: Option<Instant>,
    /// What fails on the disk.
    pub(super) failing: Vec<String>,
    stop_at: Option<Instant>,
    pub(super) summary: Summary,
}

impl Control {
    /// Without shards yet.
    pub fn new(
        dir: PathBuf,
        name: String,
        stream: Option<StreamName>,
        inbox: Receiver<Message>,
        notice: Box<dyn FnMut(Notice) + Send>,
    ) -> Control {
        let now = Instant::now();
        Control {
            dir,
            name,
            stream,
            inbox,
            notice,
            lanes: Vec::new(),
            remove: false,
            rate: None,
            engine: None,
            shared: Arc::default(),
            out: None,
            ahead: None,
            spare: vec![Chunk::new(), Chunk::new()],
            turn: 0,
            next_send: now,
            next_cursor: now,
            retry_at: None,
            failing: Vec::new(),
            stop_at: None,
            summary: Summary::default(),
        }
    }

    /// Tells the operator something.
    pub fn tell(&mut self, notice: Notice) {
        (self.notice)(notice);
    }

    /// Where a shard's replay begins, and which segments are not to be removed.
    ///
    /// # Errors
    /// Why its cursor is not to be heeded.
    pub fn where_to_begin(&self, shard: u32, cursors: Cursors) -> Result<(Place, Vec<u64>), String> {
        let folder = self.dir.join(shard_dir(shard));
        let cursor = match cursors {
            Cursors::Ignore => None,
            _ => Cursor::read(&folder)?,
        };
        let Some(cursor) = cursor else { return Ok(Default::default()) };
        let mine = self.stream.map(|stream| stream.as_str().to_owned());
        if cursors == Cursors::Heed && (cursor.target != self.name || cursor.stream != mine) {
            let of = |stream: &Option<String>| {
                stream.as_ref().map_or(String::new(), |stream| format!(", stream {stream} alone"))
            };
            return Err(format!(
                "shard {shard} was replayed to {}{} through event {}, and this is {}{}: --restart begins anew, \
                 --adopt goes on from there (the same cluster by another name)",
                cursor.target,
                of(&cursor.stream),
                cursor.place.next.saturating_sub(1),
                self.name,
                of(&mine)
            ));
        }
        Ok((cursor.place, cursor.kept))
    }

    /// Adds a shard, behind those that are there.
    pub fn add(&mut self, mut lane: Lane) {
        if let Err(line) = lane.sum_up() {
            self.tell(Notice::Damaged { line });
        }
        self.lanes.push(lane);
        self.publish();
    }

    /// Starts the engine that the chunks go to.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn start_engine(
        &mut self,
        hosting: Hosting,
        target: Target,
        patience: Option<Duration>,
        messages: &Sender<Message>,
    ) -> Result<(), String> {
        let mut tell = teller(messages);
        let ended = move |result| tell(Told::Ended(result));
        let engine = shard::host::start(hosting, target.beyond(), feed(patience, messages), ended);
        self.engine = Some(engine.map_err(|error| error.to_string())?);
        Ok(())
    }

    /// The figures, as they will be kept up to date.
    pub fn progress(&self) -> Arc<Mutex<Vec<Progress>>> {
        self.shared.clone()
    }

    /// Bytes of files that are left to read.
    pub fn bytes_left(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.reader.bytes_left()).sum()
    }

    /// Runs to the end of what there is, or for ever when it follows, or until it is stopped.
    ///
    /// # Errors
    /// When the engine ended by itself.
    pub fn run(mut self) -> Result<Summary, String> {
        for lane in 0..self.lanes.len() {
            self.remove_done(lane);
        }
        let ended = loop {
            let follows = self.lanes.iter().any(|lane| lane.durable.is_some());
            if self.stop_at.is_none() && self.summary.stopped.is_none() {
                self.read_ahead();
                self.send();
            }
            let over = self.stop_at.is_some() || self.summary.stopped.is_some();
            if self.out.is_none() && (over || !follows && self.ahead.is_none()) {
                break Ok(());
            }
            if self.stop_at.is_some_and(|at| Instant::now() >= at) {
                break Ok(());
            }
            self.try_again();
            match self.wait() {
                Some(Message::Committed(shard, what)) => self.committed(shard, what),
                Some(Message::Stop(within)) => self.stop(within),
                Some(Message::Told(Told::Done(done))) => self.done(*done),
                Some(Message::Told(Told::Stuck(why))) => self.stuck(Some(why)),
                Some(Message::Told(Told::Moving)) => self.stuck(None),
                Some(Message::Told(Told::Ended(result))) => {
                    break Err(result.err().unwrap_or_else(|| "the engine ended".into()));
                }
                None => {}
            }
        };
        self.finish();
        if let Err(error) = ended {
            self.tell(Notice::Failing { what: "replay".into(), error: error.clone() });
            return Err(error);
        }
        self.summary.shards = self.lanes.iter().map(|lane| lane.progress.clone()).collect();
        Ok(self.summary)
    }

    fn stop(&mut self, within: Duration) {
        self.stop_at = Some(Instant::now() + within);
        let first = self.lanes.iter().find(|lane| !lane.dry || self.out.is_some());
        if self.summary.stopped.is_none() && first.is_some() {
            let why = "it was told to stop".into();
            self.summary.stopped = Some(Stop { at: None, perhaps: 0, why });
        }
    }

    /// Waits for news, or until something is due.
    fn wait(&mut self) -> Option<Message> {
        let dirty = self.lanes.iter().any(|lane| lane.dirty);
        let paced = self.out.is_none() && self.ahead.is_some();
        let due =
            [dirty.then_some(self.next_cursor), paced.then_some(self.next_send), self.retry_at, self.stop_at];
        let Some(due) = due.into_iter().flatten().min() else { return self.inbox.recv().ok() };
        self.inbox.recv_timeout(due.saturating_duration_since(Instant::now())).ok()
    }

    /// Reads the next chunk, of each shard in turn when they are followed, else of the first that has more.
    fn read_ahead(&mut self) {
        let lanes = self.lanes.len();
        for step in 0..lanes {
            if self.ahead.is_some() {
                return;
            }
            let at = (self.turn + step) % lanes;
            if self.lanes[at].dry {
                continue;
            }
            let Some(mut chunk) = self.spare.pop() else { return };
            let events_max = self.rate.map_or(u64::MAX, |rate| rate.div_ceil(CHUNKS_PER_S));
            let lane = &mut self.lanes[at];
            lane.dry = lane.reader.fill(&mut chunk, events_max.min(1 << 20) as usize) == Filled::Dry;
            let findings = lane.reader.take_findings();
            findings.into_iter().for_each(|finding| self.found(at, finding));
            if chunk.is_empty() {
                self.spare.push(chunk);
                self.pass_over(at);
                continue;
            }
            self.turn = if self.lanes[at].durable.is_some() { at + 1 } else { at };
            self.ahead = Some((at, chunk));
        }
    }

    /// Nothing was in what was read last: the cursor may move if nothing before it is out.
    fn pass_over(&mut self, at: usize) {
        if self.out.as_ref().is_none_or(|out| out.lane != at) {
            let lane = &mut self.lanes[at];
            if lane.settled != lane.reader.place() {
                lane.settled = lane.reader.place();
                lane.dirty = true;
                lane.count();
                self.settled(at, 0);
            }
        }
    }

    fn found(&mut self, at: usize, finding: Finding) {
        let lane = &mut self.lanes[at];
        match finding {
            Finding::Damage { segment, line } => {
                if !lane.kept.contains(&segment) {
                    lane.kept.push(segment);
                    lane.dirty = true;
                }
                self.summary.damaged += 1;
                self.tell(Notice::Damaged { line });
            }
            Finding::Replaced(line) => self.tell(Notice::Replaced { line }),
        }
    }

    fn send(&mut self) {
        if self.out.is_some() || self.ahead.is_none() || Instant::now() < self.next_send {
            return;
        }
        let (Some((lane, chunk)), Some(engine)) = (self.ahead.take(), &self.engine) else { return };
        if let Some(rate) = self.rate {
            let lasts = Duration::from_secs_f64(chunk.events() as f64 / rate as f64);
            self.next_send = self.next_send.max(Instant::now()) + lasts;
        }
        engine.handle.ask(move |shard| shard.replay(chunk));
        self.out = Some(Out { lane, held: None });
        // The next is read while this one is on its way.
        self.read_ahead();
    }

    fn done(&mut self, done: Done) {
        let lines = done
            .refused
            .iter()
            .flat_map(|(event, why)| aside::line(&done.chunk.event(*event), &self.name, why))
            .collect();
        if let Some(out) = &mut self.out {
            out.held = Some((done, lines));
        }
        self.settle();
    }

    /// Settles a chunk that came back, once its refused events are kept.
    pub(super) fn settle(&mut self) {
        let Some(Out { lane: at, held: Some((done, lines)) }) = self.out.take() else { return };
        let reader = &self.lanes[at].reader;
        let (shard, what) = (reader.shard(), format!("keep refused events of shard {}", reader.shard()));
        let kept = if lines.is_empty() { Ok(()) } else { aside::keep(reader.folder(), &lines) };
        match kept {
            Ok(()) => self.succeeds(&what),
            Err(error) if self.lanes[at].durable.is_some() && self.stop_at.is_none() => {
                self.out = Some(Out { lane: at, held: Some((done, lines)) });
                return self.fails(what, &error);
            }
            Err(error) => {
                // By hand, whoever runs it sees to the disk and runs it again.
                let next = self.lanes[at].settled.next.max(done.chunk.event(0).seq);
                let (perhaps, why) = (done.chunk.events() as u64, format!("cannot {what}: {error}"));
                self.summary.stopped.get_or_insert(Stop { at: Some((shard, next)), perhaps, why });
                return self.spare.push(done.chunk);
            }
        }
        self.account(at, done);
    }

    fn account(&mut self, at: usize, done: Done) {
        let Done { chunk, refused, stopped } = done;
        let lane = &mut self.lanes[at];
        let shard = lane.reader.shard();
        let end = stopped.as_ref().map_or(chunk.events(), |stopped| stopped.at);
        let bytes: u64 = match &stopped {
            None => chunk.bytes() as u64,
            Some(_) => (0..end).map(|event| chunk.event(event).value.len() as u64 + 1).sum(),
        };
        let progress = &mut lane.progress;
        progress.refused_events += refused.len() as u64;
        progress.replayed_events += (end - refused.iter().filter(|(event, _)| *event < end).count()) as u64;
        progress.replayed_bytes += bytes;
        progress.waiting_bytes = progress.waiting_bytes.saturating_sub(bytes);
        lane.settled = match &stopped {
            Some(stopped) => Place { next: chunk.event(stopped.at).seq, ..chunk.start },
            None if self.ahead.as_ref().is_some_and(|(ahead, _)| *ahead == at) => chunk.end,
            None => lane.reader.place(),
        };
        lane.dirty = true;
        lane.count();
        for (event, why) in &refused {
            let event = chunk.event(*event);
            let (seq, stream, why) = (event.seq, event.stream.to_string(), why.clone());
            (self.notice)(Notice::Refused { shard, seq, stream, why });
        }
        if let Some(stopped) = stopped {
            let seq = chunk.event(stopped.at).seq;
            let stop = Stop { at: Some((shard, seq)), perhaps: stopped.perhaps as u64, why: stopped.why };
            self.summary.stopped.get_or_insert(stop);
        }
        self.spare.push(chunk);
        self.settled(at, end as u64);
    }

    /// What follows from a lane's place having moved.
    fn settled(&mut self, at: usize, events: u64) {
        let lane = &self.lanes[at];
        let last = lane.dry && self.ahead.as_ref().is_none_or(|(ahead, _)| *ahead != at);
        if last || Instant::now() >= self.next_cursor {
            self.write_cursors();
        }
        self.remove_done(at);
        self.publish();
        let (shard, through) = (self.lanes[at].reader.shard(), self.lanes[at].progress.through);
        let bytes_left = self.bytes_left();
        self.tell(Notice::Done { shard, events, bytes_left });
        self.tell(Notice::Replicated { shard, through });
    }

    fn committed(&mut self, shard: u32, what: Committed) {
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.reader.shard() == shard) else { return };
        lane.reader.allow(what.segment, what.through);
        lane.durable = Some((what.segment, what.through));
        lane.progress.waiting_bytes += what.bytes;
        lane.mark(what.through, what.time_ms);
        lane.dry = false;
        lane.count();
        self.publish();
    }

    fn stuck(&mut self, why: Option<String>) {
        for lane in &mut self.lanes {
            lane.progress.stuck =
                why.clone().filter(|_| lane.durable.is_none() || lane.progress.waiting_events > 0);
        }
        self.publish();
        self.tell(why.map_or(Notice::Moving, |why| Notice::Stuck { why }));
    }

    fn publish(&self) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.clear();
        shared.extend(self.lanes.iter().map(|lane| lane.progress.clone()));
    }

    /// Ends the engine and writes the cursors.
    fn finish(&mut self) {
        if let Some(engine) = self.engine.take() {
            if self.out.is_some() {
                engine.handle.ask(shard::Shard::give_up_replay);
            }
            engine.handle.drain();
            if let Err(error) = engine.join() {
                self.tell(Notice::Failing {
                    what: "end the replay's engine".into(),
                    error: error.to_string(),
                });
            }
        }
        self.write_cursors();
        self.publish();
    }
}
