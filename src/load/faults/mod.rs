//! Faults done to processes that the user named: stopped, throttled, killed, and set right again.
//!
//! ```text
//! subjects: may this be done to that process?      refused before the run begins
//! schedule: begins and ends by time                one thread sleeps from one to the next
//! PENDING:  what has to be set right               at its time, at the run's end, or by a panic on its way out
//! ```
//!
//! Nothing is done to a process that was not named, that is another user's, that is this one, one of its parents,
//! the first one or one of the kernel's. A process is held by a descriptor from the check on, so a number that is
//! given anew in the meantime harms nobody.
//! What cannot be helped: a `kill -9` of the load tester itself leaves a stopped process stopped and a throttled one
//! in its group, which is named after both so that it can be found.
mod throttle;

use crate::core::load::fault::{Fault, What};
use crate::sys::signal::{Process, Signal, effective_user};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Flag of a kernel thread in `/proc/PID/stat`.
const PF_KTHREAD: u64 = 0x0020_0000;

/// What has to be set right, with a number to find it again. Global, because a panic hook and a second signal must
/// reach it whatever thread they come on.
static PENDING: Mutex<Vec<(usize, Undo)>> = Mutex::new(Vec::new());

enum Undo {
    Continue(Arc<Process>),
    Unthrottle(throttle::Throttled),
}

impl Undo {
    fn now(self) -> Result<(), String> {
        match self {
            Undo::Continue(process) => continued(&process),
            Undo::Unthrottle(throttled) => throttled.restore(),
        }
    }
}

/// Sets right everything that is pending; safe to call at any time and any number of times.
pub fn undo_all() -> Vec<String> {
    let pending = std::mem::take(&mut *PENDING.lock().unwrap_or_else(PoisonError::into_inner));
    pending.into_iter().filter_map(|(_, undo)| undo.now().err()).collect()
}

fn pend(number: usize, undo: Undo) {
    PENDING.lock().unwrap_or_else(PoisonError::into_inner).push((number, undo));
}

fn unpend(number: usize) -> Option<Undo> {
    let mut pending = PENDING.lock().unwrap_or_else(PoisonError::into_inner);
    let at = pending.iter().position(|(of, _)| *of == number)?;
    Some(pending.swap_remove(at).1)
}

/// What became of a fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Happened {
    /// Which of the list, from 0.
    pub number: usize,
    /// When it was done, nanoseconds from the start of the measured time.
    pub at_ns: u64,
    /// How long it is meant to last, nanoseconds; 0 for a kill.
    pub for_ns: u64,
    /// As it was given: `stop 1234 200ms`.
    pub what: String,
    /// Why it could not be done or undone, where it could not.
    pub failed: Option<String>,
}

/// Processes that may be harmed, in the order of the faults.
pub struct Subjects {
    faults: Vec<Fault>,
    processes: Vec<Arc<Process>>,
}

/// Opens every process that is named, and refuses what must not be done.
///
/// # Errors
/// Which fault is refused, why, and what to name instead.
pub fn subjects(faults: Vec<Fault>, duration_ns: u64) -> Result<Subjects, String> {
    let mut processes: Vec<Arc<Process>> = Vec::new();
    for fault in &faults {
        let refused = |why: String| format!("--fault: `{fault}` is refused: {why}");
        if fault.at_ns >= duration_ns {
            let run = crate::config::units::time(Duration::from_nanos(duration_ns));
            return Err(refused(format!(
                "the run ends at {run}; choose an earlier time or a longer --duration"
            )));
        }
        let known = processes.iter().find(|process| process.pid() == fault.pid).cloned();
        let process = match known {
            Some(process) => process,
            None => {
                let process = Process::open(fault.pid).map_err(|error| refused(no_process(&error)))?;
                may_be_harmed(Path::new("/"), fault.pid).map_err(refused)?;
                Arc::new(process)
            }
        };
        if let What::Throttle { percent, .. } = fault.what {
            throttle::possible(Path::new("/"), fault.pid, percent).map_err(refused)?;
        }
        processes.push(process);
    }
    Ok(Subjects { faults, processes })
}

fn no_process(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ESRCH | libc::EINVAL) => {
            "there is no such process (a thread's number does not do)".to_string()
        }
        _ => format!("it cannot be opened: {error}"),
    }
}

/// Whether faults may be done to that process.
fn may_be_harmed(root: &Path, pid: u32) -> Result<(), String> {
    let status =
        fs::read_to_string(root.join(format!("proc/{pid}/status"))).map_err(|_| "it has just ended")?;
    let number = |name: &str, at: usize| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().nth(at)?.parse::<u32>().ok()
    };
    if pid == 1 {
        return Err("process 1 keeps the whole machine or container alive".into());
    }
    if flags(root, pid).is_none_or(|flags| flags & PF_KTHREAD != 0) {
        return Err("it is a thread of the kernel".into());
    }
    if number("Tgid:", 0) != Some(pid) {
        return Err("it is a thread; name its process".into());
    }
    let (owner, ours) = (number("Uid:", 0), effective_user());
    if owner != Some(ours) || number("Uid:", 1) != Some(ours) {
        return Err(format!(
            "it belongs to user {}, and this is user {ours}; run as the owner of the process",
            owner.map_or("unknown".into(), |user| user.to_string())
        ));
    }
    if let Some(line) = lineage(root).iter().position(|&parent| parent == pid) {
        return Err(match line {
            0 => "it is this very load tester".into(),
            _ => "this load tester was started by it and would go down with it".to_string(),
        });
    }
    Ok(())
}

/// This process and its parents.
fn lineage(root: &Path) -> Vec<u32> {
    let mut line = vec![std::process::id()];
    // A bound, for a recorded tree may go round in circles.
    while line.len() < 1000 {
        let last = line[line.len() - 1];
        let Some(parent) = stat(root, last).and_then(|fields| fields.get(1)?.parse().ok()) else { break };
        if parent == 0 {
            break;
        }
        line.push(parent);
    }
    line
}

/// The fields of `/proc/PID/stat` from the state on; the name before them may hold anything.
fn stat(root: &Path, pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(root.join(format!("proc/{pid}/stat"))).ok()?;
    Some(text.rsplit_once(") ")?.1.split_ascii_whitespace().map(str::to_string).collect())
}

fn flags(root: &Path, pid: u32) -> Option<u64> {
    stat(root, pid)?.get(6)?.parse().ok()
}

/// One thing to do at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    at_ns: u64,
    fault: usize,
    begins: bool,
}

/// Begins and ends in order of time; an end comes before a beginning of the same moment.
fn schedule(faults: &[Fault]) -> Vec<Step> {
    let mut steps = Vec::new();
    for (number, fault) in faults.iter().enumerate() {
        steps.push(Step { at_ns: fault.at_ns, fault: number, begins: true });
        if fault.what != What::Kill {
            steps.push(Step { at_ns: fault.end_ns(), fault: number, begins: false });
        }
    }
    steps.sort_by_key(|step| (step.at_ns, step.begins));
    steps
}

/// Faults on their way. Dropping it sets right what is pending.
pub struct Faults {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    happened: mpsc::Receiver<Happened>,
}

impl Faults {
    /// Does each fault at its time after `begin`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(subjects: Subjects, begin: Instant) -> io::Result<Faults> {
        let (stop, stopped) = mpsc::channel();
        let (tell, happened) = mpsc::channel();
        let run = move || {
            for step in schedule(&subjects.faults) {
                let due = begin + Duration::from_nanos(step.at_ns);
                match stopped.recv_timeout(due.saturating_duration_since(Instant::now())) {
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => break,
                }
                let told = step.carry_out(&subjects, begin);
                if told.is_some_and(|happened| tell.send(happened).is_err()) {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("faults".into()).spawn(run)?;
        Ok(Faults { stop: Some(stop), thread: Some(thread), happened })
    }

    /// What has happened since the last call.
    pub fn happened(&self) -> Vec<Happened> {
        self.happened.try_iter().collect()
    }

    /// Ends the timeline, sets right what is pending and says what could not be.
    pub fn finish(mut self) -> (Vec<Happened>, Vec<String>) {
        self.end();
        (self.happened(), undo_all())
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.end();
        for problem in undo_all() {
            crate::log::error!("{problem}");
        }
    }
}

impl Step {
    /// Does or undoes; tells of each beginning, and of an end only when it failed.
    fn carry_out(self, subjects: &Subjects, begin: Instant) -> Option<Happened> {
        let fault = &subjects.faults[self.fault];
        let at_ns = begin.elapsed().as_nanos() as u64;
        let done = if self.begins {
            harm(self.fault, fault, &subjects.processes[self.fault])
        } else {
            unpend(self.fault).map_or(Ok(()), Undo::now)
        };
        (self.begins || done.is_err()).then(|| Happened {
            number: self.fault,
            at_ns,
            for_ns: fault.end_ns() - fault.at_ns,
            what: fault.to_string(),
            failed: done.err(),
        })
    }
}

fn harm(number: usize, fault: &Fault, process: &Arc<Process>) -> Result<(), String> {
    let gone = |error: io::Error| match error.raw_os_error() {
        Some(libc::ESRCH) => format!("process {} has ended", fault.pid),
        _ => format!("process {}: {error}", fault.pid),
    };
    match fault.what {
        What::Kill => process.send(Signal::Kill).map_err(gone),
        What::Stop { .. } => {
            // Before the signal, so that no moment lies between in which nobody knows of it.
            pend(number, Undo::Continue(process.clone()));
            process.send(Signal::Stop).map_err(|error| {
                drop(unpend(number));
                gone(error)
            })
        }
        What::Throttle { percent, .. } => {
            let throttled = throttle::throttle(Path::new("/"), process, percent)?;
            pend(number, Undo::Unthrottle(throttled));
            Ok(())
        }
    }
}

fn continued(process: &Process) -> Result<(), String> {
    match process.send(Signal::Continue) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
            let pid = process.pid();
            Err(format!("process {pid} stays stopped: {error}; continue it with `kill -CONT {pid}`"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
