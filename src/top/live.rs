//! The running view: one thread asks once a second, this one draws and looks at the keyboard.
use super::draw::{Seen, draw};
use super::fetch::Server;
use crate::load::view::Wish;
use crate::load::view::live::Live;
use serde_json::Value;
use std::io::IsTerminal;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// How often the keyboard is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Shows the server until the user quits. A server that is away is said to be, and asked again.
///
/// # Errors
/// When there is no terminal to draw on, with what to do then.
pub fn run(server: &Server, every: Duration) -> Result<(), String> {
    if !std::io::stderr().is_terminal() {
        return Err("standard error is no terminal to draw on: use --once".into());
    }
    let mut live =
        Live::start().map_err(|why| format!("the terminal cannot be drawn on ({why}): use --once"))?;
    let (sender, looks) = mpsc::channel();
    let asked = server.clone();
    // Left to itself at the end: it may be waiting for a server that does not answer.
    std::thread::spawn(move || {
        while sender.send(asked.status()).is_ok() {
            std::thread::sleep(every);
        }
    });
    let (mut status, mut trouble): (Option<Value>, Option<String>) = (None, None);
    loop {
        match looks.recv_timeout(LOOK_EVERY) {
            Ok(Ok(new)) => (status, trouble) = (Some(new), None),
            Ok(Err(why)) => trouble = Some(why),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err("the thread that asks has ended".into()),
        }
        let seen = Seen { server: server.name(), status: status.as_ref(), trouble: trouble.as_deref() };
        if live.show(|frame, colour| draw(frame, &seen, colour)) == Wish::Stop {
            return Ok(());
        }
    }
}
