//! `ringmill doctor`: arguments and exit codes.
use crate::doctor::judge::{Judgement, Verdict, judge};
use crate::doctor::report::{self, Paint};
use crate::doctor::{Wish, observe};
use crate::sys::topology::parse_list;
use clap::Args;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What to look at, as typed.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// Data directory of the server [default: the package's settings, else ./data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// CPUs for the shards, such as 2-7 [default: those that ringmill-tune would choose]
    #[arg(long, value_name = "LIST", value_parser = cores)]
    pub cores: Option<Cores>,
    /// Read only, and do not measure for three seconds
    #[arg(long)]
    pub no_measure: bool,
    /// Judge a copy of a host's files instead of this host; nothing is measured
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/",
        hide_default_value = true,
        env = "RINGMILL_DOCTOR_ROOT"
    )]
    pub root: PathBuf,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

/// A list of CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores(pub Vec<usize>);

fn cores(text: &str) -> Result<Cores, String> {
    match parse_list(text)? {
        none if none.is_empty() => Err("no CPU is named; write them like 2-7,10".into()),
        cores => Ok(Cores(cores)),
    }
}

/// Looks, prints, and says it by the exit code: 0 fit, 1 not, 2 could not tell.
pub fn run(args: &DoctorArgs) -> ExitCode {
    // An empty variable counts as not set.
    let root = if args.root.as_os_str().is_empty() { Path::new("/") } else { &args.root };
    let own = root == Path::new("/");
    let wish = Wish {
        root: root.to_path_buf(),
        cores: args.cores.clone().map(|cores| cores.0),
        data: args.data.clone(),
        measure: own && !args.no_measure,
    };
    let seen = match observe(&wish) {
        Ok(seen) => seen,
        Err(why) => {
            let place = if own { String::new() } else { format!("{}: ", root.display()) };
            eprintln!("ringmill doctor: error: {place}{why}");
            return ExitCode::from(2);
        }
    };
    if let Some(absent) = wish.cores.iter().flatten().find(|core| !seen.host.online.contains(core)) {
        eprintln!("ringmill doctor: error: --cores: CPU {absent} is not online");
        return ExitCode::from(2);
    }
    let judged = judge(&seen);
    let mut out = io::stdout().lock();
    let printed = if args.json {
        writeln!(out, "{}", report::json(&seen, &judged))
    } else {
        let paint = Paint(out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty()));
        write!(out, "{}", report::text(&seen, &judged, paint))
    };
    match printed {
        // The reader of our output is gone (`| head`): the exit code still tells.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("ringmill doctor: error: cannot write the output: {error}");
            ExitCode::from(2)
        }
        _ => code(&judged),
    }
}

fn code(judged: &Judgement) -> ExitCode {
    match judged.verdict {
        Verdict::Fit => ExitCode::SUCCESS,
        Verdict::Unfit => ExitCode::from(1),
        Verdict::Untold => ExitCode::from(2),
    }
}
