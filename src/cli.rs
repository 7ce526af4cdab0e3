//! What was typed, as values. Nothing is opened, read or checked against the machine here.
use crate::command::doctor::DoctorArgs;
use crate::command::load::LoadArgs;
use crate::command::segments::{SegmentsArgs, SegmentsCommand};
use crate::config::{
    Origin,
    raw::{Given, KEYS, Key, Kind, Raw},
};
use clap::{Arg, ArgAction, ArgMatches, Args, Command as Clap, FromArgMatches, parser::ValueSource};
use std::ffi::OsString;

const LOG_SHORT: &str = "log";

/// What to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Take events in, with these settings from flags and environment.
    Serve(Raw),
    /// Look into stored segments.
    Segments(SegmentsArgs),
    /// Put a server under load. Boxed, for it is many times as large as the others.
    Load(Box<LoadArgs>),
    /// Say what limits this host.
    Doctor(DoctorArgs),
}

/// Parses the arguments, the program's name first. Settings come from [`KEYS`], so that each is a flag, an
/// environment variable and a key of the file.
///
/// # Errors
/// A usage error with its suggestion, or the help or version that was asked for: `exit()` prints either.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, clap::Error> {
    let matches = command().try_get_matches_from(args)?;
    match matches.subcommand() {
        Some(("serve", given)) => Ok(Command::Serve(settings(given))),
        Some(("segments", given)) => segments_args(given).map(Command::Segments),
        Some(("load", given)) => LoadArgs::from_arg_matches(given).map(|args| Command::Load(Box::new(args))),
        Some(("doctor", given)) => DoctorArgs::from_arg_matches(given).map(Command::Doctor),
        _ => Err(command().error(clap::error::ErrorKind::MissingSubcommand, "a command is needed")),
    }
}

/// The whole command line.
pub fn command() -> Clap {
    Clap::new("ringmill")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Takes JSON events in, one core a shard, and acknowledges truthfully")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(serve())
        .subcommand(segments())
        .subcommand(
            LoadArgs::augment_args(Clap::new("load"))
                .about("Put any HTTP or line server under load, and say what the figures are worth"),
        )
        .subcommand(
            DoctorArgs::augment_args(Clap::new("doctor"))
                .about("Say what will limit p999 on this host, and the one command that mends each")
                .after_help("Exit codes: 0 fit, 1 not fit, 2 could not tell."),
        )
}

/// The settings of `serve` that `segments replay` takes too: those of its target, and the file they may stand in.
fn is_for_replay(key: &&Key) -> bool {
    key.name == "config" || key.name.starts_with("kafka.") || key.name.starts_with("http.")
}

fn segments() -> Clap {
    SegmentsArgs::augment_args(Clap::new("segments"))
        .about("List, print, verify or replay what was stored")
        .mut_subcommand("replay", |replay| replay.args(KEYS.iter().filter(is_for_replay).map(setting)))
}

fn segments_args(given: &ArgMatches) -> Result<SegmentsArgs, clap::Error> {
    let mut args = SegmentsArgs::from_arg_matches(given)?;
    if let (SegmentsCommand::Replay(replay), Some(("replay", given))) =
        (&mut args.command, given.subcommand())
    {
        replay.settings = settings_of(given, KEYS.iter().filter(is_for_replay));
    }
    Ok(args)
}

fn serve() -> Clap {
    let about = "Take events in: HTTP and lines on one side, segments or Kafka on the other";
    let more = "A flag beats its environment variable, that beats the file, that beats the default.\n\
                Sizes are like 256k or 64MiB, times like 250us or 5s.";
    // The customary short name of the variable beside the one that follows from the key.
    let short = Arg::new(LOG_SHORT).long("log").env("RINGMILL_LOG").hide(true);
    let serve = Clap::new("serve").about(about).after_help(more).arg(short);
    serve.args(KEYS.iter().map(setting))
}

/// A setting as a flag.
fn setting(key: &Key) -> Arg {
    let help = match key.kind {
        Kind::Switch => key.help.to_string(),
        _ => format!("{} [default: {}]", key.help, key.default),
    };
    let arg = Arg::new(key.name)
        .long(key.flag())
        .env(key.env())
        .value_name(key.value)
        .help(help)
        .hide_env_values(true);
    match key.kind {
        Kind::List => arg.action(ArgAction::Append).value_delimiter(','),
        Kind::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        _ => arg,
    }
}

/// Those of these settings that flags or environment gave. An empty variable counts as not set.
fn settings_of(matches: &ArgMatches, keys: impl Iterator<Item = &'static Key>) -> Raw {
    let mut raw = Raw::default();
    for key in keys {
        let Some(values) = matches.get_many::<String>(key.name) else { continue };
        let texts: Vec<String> = values.map(|text| text.trim().to_string()).collect();
        let origin = match matches.value_source(key.name) {
            Some(ValueSource::EnvVariable) if texts.iter().all(String::is_empty) => continue,
            Some(ValueSource::EnvVariable) => Origin::Env(key.env()),
            _ => Origin::Flag(format!("--{}", key.flag())),
        };
        raw.set(key, Given { texts, origin });
    }
    raw
}

/// The same of all of them, for `serve`.
fn settings(matches: &ArgMatches) -> Raw {
    let mut raw = settings_of(matches, KEYS.iter());
    if let (None, Some(level), Some(key)) = (
        raw.get("log_level"),
        matches.get_one::<String>(LOG_SHORT).filter(|level| !level.is_empty()),
        Key::find("log_level"),
    ) {
        raw.set(key, Given { texts: vec![level.clone()], origin: Origin::Env("RINGMILL_LOG".into()) });
    }
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        super::parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn flags_become_settings() {
        let line = "ringmill serve --listen 127.0.0.1:0 --listen [::1]:0,127.0.0.1:1 --lines-replies --dry-run=false --memory 1G";
        let Command::Serve(raw) = parse(line).unwrap() else { panic!("not serve") };
        for (name, texts, flag) in [
            ("listen", vec!["127.0.0.1:0", "[::1]:0", "127.0.0.1:1"], "--listen"),
            ("lines.replies", vec!["true"], "--lines-replies"),
            ("dry_run", vec!["false"], "--dry-run"),
            ("memory", vec!["1G"], "--memory"),
        ] {
            let given = raw.get(name).unwrap();
            assert_eq!(
                (given.texts.clone(), given.origin.clone()),
                (texts.iter().map(ToString::to_string).collect(), Origin::Flag(flag.into()))
            );
        }
        assert_eq!(raw.get("sink"), None);
    }

    #[test]
    fn mistakes_are_met_with_a_suggestion() {
        for (line, needle) in [
            ("ringmill serve --lisen x", "--listen"),
            ("ringmill serv", "serve"),
            ("ringmill segments cut x", "cat"),
            ("ringmill segments", "Usage"),
            ("ringmill serve x", "unexpected argument"),
            ("ringmill serve --memory 1 --memory 2", "cannot be used multiple times"),
            ("ringmill serve --memory", "a value is required"),
            ("ringmill load", "URL"),
            ("ringmill doctor --cores x", "not a core number"),
            ("ringmill doctor --cores=", "no CPU is named"),
            ("ringmill doctor x", "unexpected argument"),
            ("ringmill load http://h --conections 5", "--connections"),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(needle), "{line}: {error}");
        }
        assert_eq!(parse("ringmill --version").unwrap_err().exit_code(), 0);
        assert_eq!(parse("ringmill serve --help").unwrap_err().exit_code(), 0);
    }
}
