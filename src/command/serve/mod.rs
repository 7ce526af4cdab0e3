//! `ringmill serve`.
use crate::config::plan::Plan;
use std::process::ExitCode;

/// Runs the server until it is told to stop.
pub fn run(_plan: Plan) -> ExitCode {
    crate::log::error!("serving is not wired up yet; --dry-run works");
    ExitCode::FAILURE
}
