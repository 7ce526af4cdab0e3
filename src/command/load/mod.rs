//! `ringmill load`: wiring. What was typed becomes settings, inputs, stretches of load, a report and an exit code.
//!
//! ```text
//! args ─▶ settings ─▶ inputs ─▶ measure ─┬─▶ summing ─▶ finish ─▶ exit code
//!                        (or questions)  └─▶ show, once a second
//! ```
//!
//! What the user has to mend is found before the first connection (exit code 2). From then on every way out writes
//! the results so far. Numbers are decided in `core::load`; here they are only passed on.
pub mod args;
mod finish;
pub mod inputs;
pub mod measure;
pub mod questions;
pub mod settings;
pub mod shape;
pub mod show;
mod signals;
pub mod summing;

pub use args::LoadArgs;

use crate::core::load::series::VALID;
use crate::load::environment::Environment;
use crate::load::probe::Probe;
use crate::load::report::hlog::IntervalLog;
use crate::load::report::{Comparison, Curve};
use crate::load::view::View;
use crate::load::{faults, verify};
use inputs::Inputs;
use measure::{Measured, measure};
use settings::{Question, Settings};
use show::Show;
use signals::Interrupt;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;
use summing::Sum;

/// How generator threads are called.
const THREADS: &str = "load-";

/// Runs the command.
pub fn run(args: &LoadArgs) -> ExitCode {
    match Prepared::new(args) {
        Err(why) => {
            eprintln!("ringmill load: {why}");
            ExitCode::from(2)
        }
        Ok(prepared) => match prepared.go() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(why) => {
                eprintln!("ringmill load: {why}");
                ExitCode::FAILURE
            }
        },
    }
}

/// A run of which everything is known that can be known before the first connection.
struct Prepared {
    settings: Settings,
    inputs: Inputs,
    subjects: Option<faults::Subjects>,
    log: Option<IntervalLog>,
    interrupt: Interrupt,
    environment: Environment,
    command: String,
    started: SystemTime,
}

/// What a run came to.
struct Outcome {
    measured: Measured,
    sum: Sum,
    curve: Option<Curve>,
    comparison: Option<Comparison>,
}

impl Prepared {
    fn new(args: &LoadArgs) -> Result<Prepared, String> {
        let settings = Settings::new(args)?;
        let inputs = Inputs::open(&settings)?;
        if let Some(place) = &settings.verify {
            verify::readable(place)?;
        }
        let subjects = match settings.faults.is_empty() {
            true => None,
            false => Some(faults::subjects(settings.faults.clone(), inputs.duration_ns)?),
        };
        let started = SystemTime::now();
        let command = finish::command(&settings, args.seed.is_none());
        let log = match &settings.hlog {
            Some(path) => Some(IntervalLog::create(path, started, &[&command])?),
            None => None,
        };
        let interrupt = Interrupt::watch().map_err(|error| format!("cannot watch for signals: {error}"))?;
        let environment = Environment::read(Path::new("/"), inputs.generator(&settings));
        Ok(Prepared { settings, inputs, subjects, log, interrupt, environment, command, started })
    }

    /// Measures, reports; whether all is well.
    fn go(mut self) -> Result<bool, String> {
        let mut show = self.show();
        for warning in std::mem::take(&mut self.inputs.warnings) {
            show.note(warning);
        }
        if let Some(log) = self.log.take() {
            show.log_to(log);
        }
        if let Some(subjects) = self.subjects.take() {
            signals::undo_on_panic();
            show.harm(subjects);
        }
        let cores: Vec<usize> = self.inputs.placement.threads.iter().filter_map(|core| *core).collect();
        let mut probe = Probe::start(&cores, self.inputs.placement.spin, THREADS)
            .map_err(|error| format!("cannot start the probe: {error}"))?;
        let outcome = self.ask(&mut probe, &mut show);
        drop(probe);
        show.close();
        self.environment.finish(Path::new("/"));
        finish::finish(&self, outcome?, show)
    }

    fn show(&self) -> Show {
        let view = if self.settings.no_tui { View::plain() } else { View::start(false) };
        let target = match &self.inputs.second {
            Some(second) => format!("{} against {}", self.inputs.first.target, second.target),
            None => self.inputs.first.target.to_string(),
        };
        let corpus = &self.inputs.first.corpus;
        let drawn: Vec<_> = corpus.drawn().map(|class| (class.id, class.name.to_string())).collect();
        let classes = match drawn.is_empty() {
            true => Vec::new(),
            false => [vec![(VALID, "valid".to_string())], drawn].concat(),
        };
        Show::new(view, target, self.interrupt.clone(), classes)
    }

    fn ask(&self, probe: &mut Probe, show: &mut Show) -> Result<Outcome, String> {
        let (inputs, settings) = (&self.inputs, &self.settings);
        match &settings.question {
            Question::FindRate(text, goal) => {
                let (measured, sum, curve) =
                    questions::find_rate(inputs, settings, (text, *goal), probe, show)?;
                Ok(Outcome { measured, sum, curve: Some(curve), comparison: None })
            }
            Question::Against(_) => {
                let (measured, sum, comparison) = questions::against(inputs, settings, probe, show)?;
                Ok(Outcome { measured, sum, curve: None, comparison: Some(comparison) })
            }
            Question::Plain => {
                let whole_s = inputs.duration_ns as f64 / 1e9;
                show.stretch("measuring", inputs.shape.as_ref(), inputs.duration_ns, Some(whole_s));
                let measured = measure(&inputs.stretch(settings), probe, show)?;
                let sum = summing::sum(&measured, inputs, inputs.shape.as_ref());
                Ok(Outcome { measured, sum, curve: None, comparison: None })
            }
        }
    }
}
