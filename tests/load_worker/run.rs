//! A run of one load thread, put together and summed up.

use ringmill::core::load::payload::{Corpus, Source, Spec};
use ringmill::core::load::plan::{Plan, Shape};
use ringmill::core::load::reconcile::Acked;
use ringmill::core::load::series::{Counts, Recorder};
use ringmill::load::target::{Speech, Target};
use ringmill::load::worker::{Ended, Job, Message, Start, spawn};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// No test waits longer for a message.
const PATIENCE: Duration = Duration::from_secs(20);

/// One millisecond, in nanoseconds.
pub const MS: u64 = 1_000_000;

/// What to run; `Run::new` is 50 requests, evenly spaced over half a second, on 4 connections.
pub struct Run {
    pub target: Target,
    pub shape: Option<Shape>,
    pub connections: u32,
    pub pipeline: u32,
    pub timeout_ns: u64,
    pub warmup_ns: u64,
    pub duration_ns: u64,
    pub spin: bool,
    pub spec: Spec<'static>,
    pub verify: bool,
}

/// What came of it.
pub struct Report {
    /// Of all seconds.
    pub total: Recorder,
    pub counts: Counts,
    pub ended: Ended,
    /// Number and recorder's count of sent requests of each tick; warm-up ones are negative.
    pub seconds: Vec<(i64, u64)>,
}

impl Run {
    pub fn new(url: &str) -> Run {
        let target = Target::parse(url).unwrap();
        let lines = matches!(target.speech, Speech::Lines { .. });
        let spec = Spec { source: Source::Log, lines, host: target.host.clone(), ..Spec::default() };
        Run {
            target,
            shape: Some(Shape::Constant { per_s: 100.0 }),
            connections: 4,
            pipeline: 1,
            timeout_ns: 5_000 * MS,
            warmup_ns: 0,
            duration_ns: 500 * MS,
            spin: false,
            spec,
            verify: false,
        }
    }

    /// Runs it.
    pub fn go(self) -> Result<Report, String> {
        let corpus = Corpus::build(&self.spec).unwrap();
        let classes = corpus.classes().len();
        let length_ns = self.warmup_ns + self.duration_ns;
        let job = Job {
            thread: 0,
            target: self.target,
            connections: self.connections,
            pipeline: self.pipeline,
            timeout_ns: self.timeout_ns,
            arrivals: self.shape.map(|shape| Plan::new(shape, length_ns, 1).part(0, 1)),
            duration_ns: self.duration_ns,
            warmup_ns: self.warmup_ns,
            corpus,
            seed: 1,
            start: Arc::new(Start::new(1)),
            core: None,
            spin: self.spin,
            sampler: None,
            classes,
            verify: self.verify.then(|| Acked::new(0)),
        };
        let (ticks, messages) = mpsc::channel();
        let running = spawn(job, ticks).unwrap();
        let mut total = Recorder::new(classes);
        let mut seconds = Vec::new();
        loop {
            match messages.recv_timeout(PATIENCE).expect("the thread hangs") {
                Message::Tick(mut tick) => {
                    let number = i64::from(tick.second);
                    let number = if tick.warmup { -1 - number } else { number };
                    seconds.push((number, tick.recorder.totals().sent));
                    assert!((0.0..=1.0).contains(&tick.busy_share), "{}", tick.busy_share);
                    total.add(&tick.recorder);
                    tick.recorder.clear();
                    running.recycle(tick.recorder);
                }
                Message::Ended(ended) => {
                    running.join();
                    return Ok(Report { counts: total.totals(), total, ended, seconds });
                }
                Message::Failed { error, .. } => {
                    running.join();
                    return Err(error);
                }
            }
        }
    }
}

impl Report {
    /// Every request of the plan has one end.
    pub fn assert_sums(&self, planned: u64) {
        assert_eq!(self.counts.all(), planned, "{:?}", self.counts);
    }
}
