//! The terminal of a live view, this one's and that of `top`: taken at the start, given back on every way out.
//!
//! Raw mode takes Ctrl-C from the kernel, so the keyboard is looked at with each update, and SIGINT and SIGTERM are
//! turned into the same wish: a terminal left in raw mode is worth a second's delay.
use super::{Snapshot, Wish, draw};
use crate::load::report::timeline::Timeline;
use ratatui::{
    Frame, Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor, event, execute,
        terminal::{
            Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
        },
    },
};
use signal_hook::{
    SigId,
    consts::{SIGINT, SIGTERM},
    flag, low_level,
};
use std::{
    io::{self, Stderr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

pub(crate) struct Live {
    terminal: Terminal<CrosstermBackend<Stderr>>,
    stop: Arc<AtomicBool>,
    handlers: Vec<SigId>,
    colour: bool,
}

impl Live {
    /// Takes the terminal.
    ///
    /// # Errors
    /// When standard error has no size or the terminal cannot be put into raw mode; it is as before then.
    pub(crate) fn start() -> io::Result<Live> {
        let stop = Arc::new(AtomicBool::new(false));
        enable_raw_mode()?;
        TAKEN.store(true, Relaxed);
        restore_on_panic();
        // Not every terminal's second screen is empty. `Terminal::clear` would ask where the cursor is, and fail
        // after two seconds where nobody answers.
        let prepared = execute!(io::stderr(), EnterAlternateScreen, Clear(ClearType::All), cursor::Hide)
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stderr())));
        let terminal = prepared.inspect_err(|_| restore())?;
        // Made before the handlers, so that whatever fails from here on gives the terminal back.
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let mut live = Live { terminal, stop, handlers: Vec::new(), colour };
        for signal in [SIGINT, SIGTERM] {
            live.handlers.push(flag::register(signal, Arc::clone(&live.stop))?);
        }
        Ok(live)
    }

    /// Draws, and looks at the keyboard.
    pub(super) fn update(&mut self, now: &Snapshot, timeline: &Timeline) -> Wish {
        self.show(|frame, colour| draw::draw(frame, now, timeline, colour))
    }

    /// Draws whatever it is, told whether in colour, and looks at the keyboard.
    pub(crate) fn show(&mut self, draw: impl FnOnce(&mut Frame<'_>, bool)) -> Wish {
        let colour = self.colour;
        // A terminal that went away says so by SIGHUP or not at all; the measurement goes on.
        let _ = self.terminal.draw(|frame| draw(frame, colour));
        if self.stop.load(Relaxed) || asked_to_stop() { Wish::Stop } else { Wish::Go }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        for handler in self.handlers.drain(..) {
            low_level::unregister(handler);
        }
        restore();
    }
}

/// Whether the terminal is ours now. The panic hook stays when the view is gone, and then has nothing to restore.
static TAKEN: AtomicBool = AtomicBool::new(false);

fn restore() {
    if TAKEN.swap(false, Relaxed) {
        let _ = execute!(io::stderr(), LeaveAlternateScreen, cursor::Show);
        let _ = disable_raw_mode();
    }
}

/// A panic aborts the process without running `Drop`; its message would be lost on the other screen.
fn restore_on_panic() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            before(info);
        }));
    });
}

/// Reads all keys that wait; whether one of them means to end.
fn asked_to_stop() -> bool {
    use event::{Event, KeyCode, KeyModifiers};
    let mut stop = false;
    while event::poll(Duration::ZERO).unwrap_or(false) {
        match event::read() {
            Ok(Event::Key(key)) => {
                let ctrl_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                stop |= ctrl_c || key.code == KeyCode::Char('q');
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    stop
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::Second;
    use ratatui::crossterm::terminal::is_raw_mode_enabled;

    /// `script -qec 'cargo test --lib load::view::live -- --ignored --nocapture' shown` gives it one.
    #[test]
    #[ignore = "needs a terminal as standard error"]
    fn a_terminal_is_taken_and_given_back_and_sigterm_is_a_wish() {
        let mut live = Live::start().expect("standard error is a terminal");
        assert!(is_raw_mode_enabled().unwrap());
        let mut timeline = Timeline::new();
        let now = Snapshot {
            target: "http://h".into(),
            percentiles: vec![("p50", Some(1000))],
            ..Snapshot::default()
        };
        for at_s in 0..3 {
            timeline.push(Second { at_s, bands: vec![at_s.into(); 12], ..Second::default() });
            assert_eq!(live.update(&now, &timeline), Wish::Go);
        }
        low_level::raise(SIGTERM).unwrap();
        assert_eq!(live.update(&now, &timeline), Wish::Stop);
        drop(live);
        assert!(!is_raw_mode_enabled().unwrap());
    }
}
