//! argv to command to exit code: 0 done, 1 failed, 2 bad usage or configuration.
use ringmill::{cli, command, config, log};
use std::process::ExitCode;

/// Steady in size over days, and quick beside other threads; the shards themselves allocate nothing in
/// the steady state.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Ok(cli::Command::Serve(given)) => match config::load(given) {
            Ok(plan) => {
                log::init(plan.log_format, plan.log_level);
                plan.warnings.iter().for_each(|warning| log::warn!("{warning}"));
                match plan.dry_run {
                    true => config::check::dry_run(&plan),
                    false => command::serve::run(plan),
                }
            }
            Err(errors) => {
                errors.iter().for_each(|error| eprintln!("ringmill: error: {error}"));
                ExitCode::from(2)
            }
        },
        Ok(cli::Command::Segments(args)) => {
            log::init(log::Format::Text, log::LevelFilter::Info);
            command::segments::run(&args)
        }
        Ok(cli::Command::Load(args)) => {
            log::init(log::Format::Text, log::LevelFilter::Info);
            command::load::run(&args)
        }
        Ok(cli::Command::Doctor(args)) => {
            log::init(log::Format::Text, log::LevelFilter::Warn);
            command::doctor::run(&args)
        }
        // clap prints help to standard output with 0, errors to standard error with 2.
        Err(usage) => usage.exit(),
    }
}
