//! What `ringmill top` shows: the server's `/status`, drawn on a terminal or as text.
//!
//! It computes nothing that the server does not say; rates and percentiles are those of `recent`. [`fetch`] asks,
//! [`draw`] draws, [`live`] keeps asking and drawing. Enter at [`live::run`] or [`once`].
pub mod draw;
pub mod fetch;
pub mod live;

use fetch::Server;
use ratatui::{Terminal, backend::TestBackend};
use serde_json::Value;
use std::time::Duration;

/// Between the two looks that a rate needs. The server compares looks from 0.9 s apart.
const APART: Duration = Duration::from_millis(1_050);
/// Columns of the text for scripts and mails.
const TEXT_COLUMNS: u16 = 110;

/// One status with rates: a second look when the first had nothing to compare with.
///
/// # Errors
/// Why the server cannot be asked, with what to do about it.
pub fn once(server: &Server) -> Result<Value, String> {
    let first = server.status()?;
    if !first["recent"].is_null() {
        return Ok(first);
    }
    std::thread::sleep(APART);
    server.status()
}

/// The screen as text, as long as everything needs.
pub fn text(server: &str, status: &Value) -> String {
    let rows = |name: &str| status[name].as_array().map_or(0, Vec::len);
    let slow = status["total"]["slowest"].as_array().map_or(0, Vec::len);
    let height = u16::try_from(24 + rows("shards") + slow).unwrap_or(u16::MAX);
    let seen = draw::Seen { server, status: Some(status), trouble: None };
    let Ok(mut terminal) = Terminal::new(TestBackend::new(TEXT_COLUMNS, height));
    let Ok(_) = terminal.draw(|frame| draw::draw(frame, &seen, false));
    let buffer = terminal.backend().buffer();
    let line = |y| (0..TEXT_COLUMNS).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    let lines: Vec<String> = (0..height).map(|y| line(y).trim_end().to_owned()).collect();
    let end = lines
        .iter()
        .rposition(|line| !line.is_empty() && !line.starts_with(draw::KEYS))
        .map_or(0, |at| at + 1);
    lines[..end].join("\n") + "\n"
}
