//! `--dry-run`: what `serve` would trip over on this machine, tried without leaving a trace.
use super::plan::{Listen, Plan, Quarantine, Sink};
use crate::sink::kafka::tls::Tls;
use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    os::unix::{fs::FileTypeExt, net::UnixStream},
    path::Path,
    process::ExitCode,
};

/// Prints the plan on standard output; on standard error, each thing that would keep the server from
/// starting. 0 when there is none, else 2.
pub fn dry_run(plan: &Plan) -> ExitCode {
    let failures = failures(plan);
    if io::stdout().write_all(plan.to_string().as_bytes()).is_err() {
        return ExitCode::FAILURE;
    }
    failures.iter().for_each(|failure| eprintln!("ringmill: error: {failure}"));
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

/// Each thing of this moment that would keep the server from starting.
pub fn failures(plan: &Plan) -> Vec<String> {
    let mut failures = Vec::new();
    let tcp = plan.listen.iter().map(|address| ("listen", *address));
    let tcp = tcp.chain(plan.admin.map(|address| ("admin", address)));
    let lines = plan.listen_lines.iter().filter_map(|listen| match listen {
        Listen::Tcp(address) => Some(("listen_lines", *address)),
        Listen::Unix(_) => None,
    });
    failures.extend(tcp.chain(lines).filter_map(|(key, address)| port(key, address).err()));
    for listen in &plan.listen_lines {
        if let Listen::Unix(path) = listen {
            failures.extend(socket(path).err());
        }
    }
    if let Some(dir) = plan.data_dir() {
        let key = match (&plan.sink, &plan.quarantine) {
            (Sink::Segments(_), _) => "sink",
            (_, Quarantine::Dir(_)) => "quarantine",
            _ => "spill",
        };
        failures.extend(directory(key, dir).err());
    }
    if let Some(http) = &plan.http {
        failures.extend(http.tls.as_ref().and_then(|tls| Tls::load(tls).err()));
        failures.extend(http.secrets().err());
    }
    if let Some(kafka) = &plan.kafka {
        failures.extend(kafka.tls.as_ref().and_then(|tls| Tls::load(tls).err()));
        failures.extend(kafka.sasl.as_ref().and_then(|sasl| sasl.credentials().err()));
    }
    failures
}

fn port(key: &str, address: SocketAddr) -> Result<(), String> {
    let why = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is taken: stop its owner or choose another (0 for any)".to_string()
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have the address".to_string(),
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE".to_string(),
        _ => error.to_string(),
    };
    TcpListener::bind(address).map(drop).map_err(|error| format!("{key} = {address}: {}", why(error)))
}

fn socket(path: &Path) -> Result<(), String> {
    let fail = |why: &str| Err(format!("listen_lines = unix:{}: {why}", path.display()));
    match path.symlink_metadata() {
        Ok(found) if !found.file_type().is_socket() => fail("something else than a socket stands there"),
        Ok(_) if UnixStream::connect(path).is_ok() => fail("another server listens there"),
        Ok(_) => Ok(()),
        Err(_) => match path
            .parent()
            .map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
        {
            Some(parent) if parent.is_dir() => writable(parent).or_else(|why| fail(&why)),
            _ => fail("its directory does not exist"),
        },
    }
}

/// The directory, or the nearest one above that exists, can be written to.
fn directory(key: &str, dir: &Path) -> Result<(), String> {
    let fail = |why: String| format!("{key} = segments:{}: {why}", dir.display());
    for above in dir.ancestors() {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match above.metadata() {
            Ok(found) if !found.is_dir() => {
                return Err(fail(format!("{} is not a directory", above.display())));
            }
            Ok(_) => return writable(above).map_err(fail),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fail(format!("{}: {error}", above.display()))),
        }
    }
    Ok(())
}

/// Opens an unnamed file there, which leaves nothing behind.
fn writable(dir: &Path) -> Result<(), String> {
    use std::os::unix::fs::OpenOptionsExt;
    let opened = std::fs::OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).open(dir);
    match opened {
        // Not every file system has unnamed files; then only the attempt itself would tell.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EROFS | libc::EPERM)) => {
            Err(format!("{} cannot be written to: {error}", dir.display()))
        }
        _ => Ok(()),
    }
}
