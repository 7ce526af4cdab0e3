//! The loop of a load thread.
//!
//! A turn: offer what is due to connections with room, send (one send a connection), look at the ring, take what
//! came. Times inside are absolute nanoseconds of the monotonic clock; one reading serves a turn. So a request counts
//! as sent when its turn began to hand it to the kernel, a reply as received when it was found in the ring.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};

use super::conn::{Conn, Dues, Stage};
use super::dial::Dialler;
use super::queue::Queue;
use super::reader::{Answer, Reader};
use super::schedule::Schedule;
use super::tally::{Gauges, Tally};
use super::{Ended, Job, Message, prepare};
use crate::core::load::payload::{Corpus, Rng};
use crate::core::load::plan::Arrivals;
use crate::core::load::reconcile::Acked;
use crate::core::load::series::{Recorder, VALID};
use crate::core::memory::Clock;
use crate::load::probe::Sampler;
use crate::load::target::Speech;
use crate::sys::clock::{MonotonicClock, thread_cpu_ns};
use crate::sys::ring::{Buffers, COMPLETIONS, Completion, Kind, Ring, Wait};

/// A sleeping thread looks at the clock so often, to notice that it shall stop.
const LOOK_EVERY_NS: u64 = 100_000_000;

/// Bytes of a receive buffer: an ordinary reply fills a fraction of one, and only touched lines cost cache.
const BUFFER_BYTES: u32 = 16 * 1024;

/// Identifiers for which there is memory before it is known how many a second takes: 256 KiB.
const FIRST_IDS: u64 = 2_000_000;

/// What a thread has.
pub(super) struct Worker {
    /// Before everything that the kernel may be reading: dropped first, and waits for all its operations.
    pub(super) ring: Ring,
    pub(super) conns: Vec<Conn>,
    pub(super) corpus: Corpus,
    pub(super) rng: Rng,
    pub(super) dialler: Dialler,
    pub(super) clock: MonotonicClock,
    pub(super) schedule: Schedule,
    /// None in a closed loop.
    pub(super) queue: Option<Queue<Arrivals>>,
    pub(super) tally: Tally,
    pub(super) dues: Dues,
    /// Connections that may have room, longest waiting first.
    pub(super) ready: VecDeque<u32>,
    /// Connections with bytes to send.
    pub(super) dirty: Vec<u32>,
    /// Connections whose receive ended for want of buffers.
    pub(super) starved: Vec<u32>,
    /// Connections that take requests, and requests in flight.
    pub(super) up: u32,
    pub(super) in_flight: u32,
    pub(super) pipeline: usize,
    pub(super) timeout_ns: u64,
    pub(super) speech: Speech,
    pub(super) verify: Option<Acked>,
    pub(super) ended: Ended,
    /// False before the start and after the end: nothing is offered.
    pub(super) open: bool,
    /// Scratch.
    pub(super) answers: Vec<Answer>,
    pub(super) plain: Vec<u8>,
    /// The next identifier when memory was last taken for some.
    reserved_at: u64,
    fresh: Vec<Completion>,
    overdue: Vec<u32>,
    idle: Idle,
    stop: Arc<AtomicBool>,
}

/// How much of a second nothing was to be done in.
struct Idle {
    /// Spins; otherwise the thread's processor time tells.
    spin: bool,
    spun_ns: u64,
    /// The last turn in which nothing was to be done.
    last_ns: Option<u64>,
    mark_ns: u64,
    mark_cpu_ns: u64,
    /// What comes between two idle turns is the platform's.
    sampler: Option<Arc<Sampler>>,
    sample_ns: u64,
}

impl Idle {
    fn new(spin: bool, sampler: Option<Arc<Sampler>>) -> Idle {
        Idle { spin, spun_ns: 0, last_ns: None, mark_ns: 0, mark_cpu_ns: 0, sampler, sample_ns: 0 }
    }

    /// A turn without work, in a thread that spins.
    #[inline]
    fn turn(&mut self, now_ns: u64) {
        let Some(last_ns) = self.last_ns.replace(now_ns) else { return };
        self.spun_ns += now_ns - last_ns;
        if let Some(sampler) = &self.sampler {
            sampler.idled(last_ns, now_ns, &mut self.sample_ns);
        }
    }

    fn share(&mut self, now_ns: u64) -> f32 {
        let cpu_ns = if self.spin { 0 } else { thread_cpu_ns() };
        let elapsed_ns = now_ns.saturating_sub(self.mark_ns).max(1);
        let busy_ns = match self.spin {
            true => elapsed_ns.saturating_sub(self.spun_ns),
            false => cpu_ns - self.mark_cpu_ns,
        };
        (self.spun_ns, self.mark_ns, self.mark_cpu_ns) = (0, now_ns, cpu_ns);
        (busy_ns as f32 / elapsed_ns as f32).min(1.0)
    }
}

/// Does the job on the calling thread.
///
/// # Errors
/// A sentence for the user: what could not be set up, why no connection could be made, or that the ring failed.
pub(super) fn run(
    mut job: Job,
    stop: Arc<AtomicBool>,
    ticks: Sender<Message>,
    back: Receiver<Box<Recorder>>,
) -> Result<Ended, String> {
    prepare(&job)?;
    let arrivals = job.arrivals.take();
    let (start, warmup_ns, duration_ns) = (job.start.clone(), job.warmup_ns, job.duration_ns);
    let mut worker = Worker::new(job, stop, ticks, back)?;
    worker.connect_all()?;
    let Some(origin_ns) = start.arrive() else {
        worker.ended.stopped = true;
        return Ok(worker.ended);
    };
    worker.schedule = Schedule::new(origin_ns, warmup_ns, duration_ns);
    worker.tally.begin(worker.schedule);
    worker.queue = arrivals.map(|times| Queue::new(times, origin_ns));
    worker.measure().map_err(|error| format!("io_uring failed: {error}"))?;
    Ok(worker.close())
}

impl Worker {
    fn new(
        job: Job,
        stop: Arc<AtomicBool>,
        ticks: Sender<Message>,
        back: Receiver<Box<Recorder>>,
    ) -> Result<Worker, String> {
        let count = job.connections.max(1) as usize;
        let pipeline = job.pipeline.max(1) as usize;
        // Twice the connections, so that each can have a reply while another is being read.
        let buffers = (2 * count).next_power_of_two().clamp(64, 1024) as u16;
        let buffers = Buffers { count: buffers, bytes: BUFFER_BYTES };
        let ring = if job.spin { Ring::spinning(buffers) } else { Ring::new(buffers) };
        let is_head = job.corpus.buffer().starts_with(b"HEAD ");
        let reader = || Reader::new(job.target.speech, is_head);
        // Whatever was asked for, a recorder has room for what is sent.
        let drawn = job.corpus.drawn().last().map_or(0, |class| usize::from(class.id));
        let classes = job.classes.max(drawn + 1);
        Ok(Worker {
            ring: ring.map_err(|error| format!("io_uring: {error}"))?,
            conns: (0..count).map(|_| Conn::new(pipeline, reader())).collect(),
            dialler: Dialler::new(&job.target)?,
            clock: MonotonicClock,
            schedule: Schedule::new(u64::MAX, 0, 0),
            queue: None,
            tally: Tally::new(job.thread, classes, back, ticks),
            dues: Dues::new(count),
            ready: VecDeque::with_capacity(count),
            dirty: Vec::with_capacity(count),
            starved: Vec::with_capacity(count),
            up: 0,
            in_flight: 0,
            pipeline,
            timeout_ns: job.timeout_ns,
            speech: job.target.speech,
            ended: Ended {
                thread: job.thread,
                stopped: false,
                connects: 0,
                connect_failures: 0,
                lost: 0,
                unsolicited: 0,
                last_failure: None,
                verify: None,
            },
            open: false,
            answers: Vec::with_capacity(pipeline + 1),
            plain: Vec::new(),
            reserved_at: 0,
            fresh: Vec::with_capacity(COMPLETIONS as usize),
            overdue: Vec::with_capacity(count),
            idle: Idle::new(job.spin, job.sampler),
            stop,
            rng: Rng::new(job.seed),
            corpus: job.corpus,
            verify: job.verify,
        })
    }

    /// Dials every connection and waits until each is up or was refused at every address.
    fn connect_all(&mut self) -> Result<(), String> {
        loop {
            let now_ns = self.clock.now_ns();
            self.sweep(now_ns);
            if let Some(fatal) = self.dialler.fatal.take() {
                return Err(fatal);
            }
            let attempts = self.dialler.addresses.len() as u32;
            let is_settled = |conn: &Conn| conn.stage == Stage::Up || conn.failures >= attempts;
            if self.conns.iter().all(is_settled) {
                break;
            }
            self.send_all();
            self.sleep_until(now_ns + LOOK_EVERY_NS);
            self.turn(true).map_err(|error| format!("io_uring failed: {error}"))?;
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
        }
        if self.up == 0 && !self.stop.load(Ordering::Relaxed) {
            return Err(self
                .ended
                .last_failure
                .take()
                .unwrap_or_else(|| "no connection could be made".into()));
        }
        Ok(())
    }

    /// Sends and takes until the time is over.
    fn measure(&mut self) -> std::io::Result<()> {
        let mut now_ns = self.clock.now_ns();
        let mut mark_ns = self.schedule.next_mark(now_ns.max(self.schedule.origin_ns));
        self.idle.share(now_ns);
        self.reserve();
        loop {
            if now_ns >= mark_ns {
                if mark_ns >= self.schedule.end_ns {
                    return Ok(());
                }
                self.tick(mark_ns, now_ns);
                mark_ns = self.schedule.next_mark(now_ns.max(mark_ns)).min(self.schedule.end_ns);
            }
            if self.stop.load(Ordering::Relaxed) {
                self.ended.stopped = true;
                self.schedule.end_ns = now_ns;
                return Ok(());
            }
            if now_ns >= self.dues.next_ns() {
                self.sweep(now_ns);
            }
            self.open = now_ns >= self.schedule.origin_ns;
            let more = self.open && self.offer(now_ns);
            self.send_all();
            match self.idle.spin {
                true => self.spin(now_ns)?,
                false => {
                    self.sleep_until(mark_ns.min(now_ns + LOOK_EVERY_NS));
                    self.turn(!more)?;
                }
            }
            now_ns = self.clock.now_ns();
        }
    }

    fn spin(&mut self, now_ns: u64) -> std::io::Result<()> {
        if self.ring.has_work() {
            self.idle.last_ns = None;
            return self.turn(false);
        }
        self.idle.turn(now_ns);
        std::hint::spin_loop();
        Ok(())
    }

    /// Makes sure that a sleep ends when something is due.
    fn sleep_until(&mut self, at_ns: u64) {
        let mut at_ns = at_ns.min(self.dues.next_ns());
        if !self.open {
            at_ns = at_ns.min(self.schedule.origin_ns);
        } else if let Some(queue) = &self.queue {
            at_ns = at_ns.min(queue.next_ns());
        }
        self.ring.timer_until(at_ns);
    }

    /// Lets the kernel work and takes what came.
    fn turn(&mut self, sleep: bool) -> std::io::Result<()> {
        self.ring.enter(if sleep { Wait::Block } else { Wait::Look })?;
        self.ring.reap(&mut self.fresh);
        if self.fresh.is_empty() {
            return Ok(());
        }
        let now_ns = self.clock.now_ns();
        let mut fresh = std::mem::take(&mut self.fresh);
        for completion in fresh.drain(..) {
            match completion.kind() {
                Kind::Receive => self.received(&completion, now_ns),
                Kind::Send => self.sent(&completion, now_ns),
                Kind::Writable => self.dialled(&completion, now_ns),
                _ => {}
            }
        }
        self.fresh = fresh;
        self.ring.publish();
        self.feed_starved();
        Ok(())
    }

    /// Looks after connections that want it.
    fn sweep(&mut self, now_ns: u64) {
        let mut overdue = std::mem::take(&mut self.overdue);
        self.dues.sweep(now_ns, &mut overdue);
        for id in overdue.drain(..) {
            self.overdue(id, now_ns);
        }
        self.overdue = overdue;
    }

    fn feed_starved(&mut self) {
        let mut free = self.ring.buffers_free();
        while free > 0
            && let Some(id) = self.starved.pop()
        {
            self.conns[id as usize].starved = false;
            self.receive(id);
            free -= 1;
        }
    }

    /// Sets when connection `id` wants to be looked at next.
    #[inline]
    pub(super) fn note_due(&mut self, id: u32) {
        self.dues.set(id, self.conns[id as usize].due_ns(self.timeout_ns));
    }

    fn tick(&mut self, mark_ns: u64, now_ns: u64) {
        let gauges = self.gauges(now_ns);
        self.tally.tick(mark_ns, gauges);
        self.reserve();
    }

    /// Takes memory for the identifiers of the next seconds, so that no request has to.
    fn reserve(&mut self) {
        if let Some(verify) = &mut self.verify {
            let next_id = self.corpus.next_id();
            let last_second = next_id - std::mem::replace(&mut self.reserved_at, next_id);
            verify.reserve(next_id + 2 * last_second + FIRST_IDS);
        }
    }

    fn gauges(&mut self, now_ns: u64) -> Gauges {
        Gauges {
            in_flight: self.in_flight,
            queued: self.queue.as_ref().map_or(0, Queue::waiting),
            busy_share: self.idle.share(now_ns),
        }
    }

    /// Counts what has not ended as censored, and reports for the last time.
    fn close(mut self) -> Ended {
        let end_ns = self.schedule.end_ns;
        let gauges = self.gauges(end_ns);
        for conn in &self.conns {
            for pending in &conn.flight {
                self.tally.censor(pending.class, pending.intended_ns, end_ns);
            }
        }
        if let Some(queue) = &mut self.queue {
            // What became due after the end is of no interest, and the plan may be longer than the run.
            queue.advance(end_ns.saturating_sub(1));
            while let Some(intended_ns) = queue.take() {
                self.tally.censor(VALID, intended_ns, end_ns);
            }
        }
        self.tally.end(end_ns, gauges);
        if let Some(verify) = &mut self.verify {
            verify.sent(self.corpus.next_id());
        }
        Ended { verify: self.verify.take(), ..self.ended }
    }
}
