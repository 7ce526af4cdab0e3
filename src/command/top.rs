//! `ringmill top`: wiring between the arguments and the view.
use crate::config::units;
use crate::top::{self, fetch::Server};
use clap::Args;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

/// Shows a running server.
#[derive(Args, Clone, Debug)]
pub struct TopArgs {
    /// The server's admin port
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:9090")]
    url: String,
    /// Print what the screen would show, once, and end
    #[arg(long)]
    once: bool,
    /// With --once: print the server's status as JSON, with rates over a second
    #[arg(long, requires = "once")]
    json: bool,
    /// How often to ask, at least 200ms
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    let every = units::parse_time(text, "s")?;
    if every < Duration::from_millis(200) { Err("at least 200ms".into()) } else { Ok(every) }
}

/// Runs it: 0 when the server was shown, 1 when it could not be asked or drawn, 2 for a URL that is none.
pub fn run(args: &TopArgs) -> ExitCode {
    let server = match Server::parse(&args.url) {
        Ok(server) => server,
        Err(why) => {
            eprintln!("ringmill: error: {why}");
            return ExitCode::from(2);
        }
    };
    let shown = match args.once {
        true => top::once(&server).map(|status| print(&server, &status, args.json)),
        false => top::live::run(&server, args.interval),
    };
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("ringmill: error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn print(server: &Server, status: &serde_json::Value, json: bool) {
    let text = if json { format!("{status}\n") } else { top::text(server.name(), status) };
    // Whoever closed the pipe has read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
