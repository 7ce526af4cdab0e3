//! SIGINT, SIGTERM and SIGHUP end a run early with what there is; a second one ends the process at once. On every way
//! out, what was done to other processes is set right first.
use crate::load::faults;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a signal came.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Watches for signals from now on.
    ///
    /// # Errors
    /// When the system lets nobody watch.
    pub fn watch() -> io::Result<Interrupt> {
        let interrupt = Interrupt::default();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let came = interrupt.0.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for _ in signals.forever() {
                if came.swap(true, Ordering::Relaxed) {
                    faults::undo_all().iter().for_each(|problem| eprintln!("ringmill load: {problem}"));
                    std::process::exit(1);
                }
            }
        })?;
        Ok(interrupt)
    }

    /// Whether one has come.
    pub fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sets processes right even if this one dies of a bug of its own: a panic ends it without unwinding.
pub fn undo_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        faults::undo_all().iter().for_each(|problem| eprintln!("ringmill load: {problem}"));
        before(panic);
    }));
}
