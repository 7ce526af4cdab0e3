//! What takes long and so is done on threads beside the shards: addresses of names, keys of SCRAM, files.
//!
//! A name that does not answer keeps its thread for as long as the system's resolver waits, so there are two for
//! names, and one of its own for keys and for files. All end when the last [`Helpers`] is dropped.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use super::sasl::{Key, KeyJob};
use super::secrets::{self, Secrets};

/// Threads for names.
const NAME_THREADS: usize = 2;
/// Addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 16;
/// Keys remembered. Brokers of a cluster share a user's salt, so one does unless passwords change.
const KEYS_MAX: usize = 8;

/// Something that takes long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// The addresses of a name.
    Resolve {
        /// The name.
        host: String,
        /// The port.
        port: u16,
    },
    /// The key that SCRAM wants.
    Key(KeyJob),
    /// Certificates and credentials as they are now.
    Secrets,
}

/// What came of it.
#[derive(Clone, Debug)]
pub enum Solution {
    /// At least one address, or what is wrong, in words.
    Resolved(Result<Vec<SocketAddr>, String>),
    /// The key.
    Key(Key),
    /// What is in the files, or what is wrong with them, in words.
    Secrets(Result<Secrets, String>),
}

type Job<T> = (T, Box<dyn FnOnce(Solution) + Send>);
type Name = (String, u16);

/// The threads. Clone it freely; it serves all shards.
#[derive(Clone)]
pub struct Helpers {
    names: mpsc::Sender<Job<Name>>,
    keys: mpsc::Sender<Job<KeyJob>>,
    secrets: Option<mpsc::Sender<Job<()>>>,
}

impl fmt::Debug for Helpers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Helpers")
    }
}

impl Helpers {
    /// Starts them. `secrets` reads what [`Task::Secrets`] asks for; without it nobody may ask.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(secrets: Option<secrets::Read>) -> io::Result<Helpers> {
        let (names, jobs) = mpsc::channel::<Job<Name>>();
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..NAME_THREADS {
            let jobs = jobs.clone();
            let work = move || {
                let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                while let Ok(((host, port), done)) = next() {
                    done(Solution::Resolved(resolve(&host, port)));
                }
            };
            thread::Builder::new().name(format!("kafka-names-{number}")).spawn(work)?;
        }
        let (keys, jobs) = mpsc::channel::<Job<KeyJob>>();
        let work = move || {
            let mut known = VecDeque::with_capacity(KEYS_MAX);
            while let Ok((job, done)) = jobs.recv() {
                done(Solution::Key(remember(&mut known, job)));
            }
        };
        thread::Builder::new().name("kafka-keys".into()).spawn(work)?;
        let secrets = secrets.map(read_secrets).transpose()?;
        Ok(Helpers { names, keys, secrets })
    }

    /// Does it, and tells `done` on the helper's thread. Never blocks.
    pub fn ask(&self, task: Task, done: impl FnOnce(Solution) + Send + 'static) {
        // The threads live as long as this.
        let _ = match task {
            Task::Resolve { host, port } => self.names.send(((host, port), Box::new(done))).is_ok(),
            Task::Key(job) => self.keys.send((job, Box::new(done))).is_ok(),
            Task::Secrets => {
                self.secrets.as_ref().is_some_and(|secrets| secrets.send(((), Box::new(done))).is_ok())
            }
        };
    }
}

fn read_secrets(mut read: secrets::Read) -> io::Result<mpsc::Sender<Job<()>>> {
    let (secrets, jobs) = mpsc::channel::<Job<()>>();
    let work = move || {
        while let Ok(((), done)) = jobs.recv() {
            done(Solution::Secrets(read()));
        }
    };
    thread::Builder::new().name("kafka-secrets".into()).spawn(work)?;
    Ok(secrets)
}

fn remember(known: &mut VecDeque<(KeyJob, Key)>, job: KeyJob) -> Key {
    if let Some((_, key)) = known.iter().find(|(before, _)| *before == job) {
        return key.clone();
    }
    let key = job.run();
    if known.len() == KEYS_MAX {
        known.pop_front();
    }
    known.push_back((job, key.clone()));
    key
}

fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    match (host, port).to_socket_addrs() {
        Ok(found) => {
            let found: Vec<_> = found.take(ADDRESSES_MAX).collect();
            if found.is_empty() { Err("the name has no address".into()) } else { Ok(found) }
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::kafka::sasl::tests::some_job;

    fn ask(helpers: &Helpers, task: Task) -> Solution {
        let (tell, told) = mpsc::channel();
        helpers.ask(task, move |solution| tell.send(solution).unwrap());
        told.recv().unwrap()
    }

    #[test]
    fn names_have_addresses_or_an_error() {
        let helpers = Helpers::start(None).unwrap();
        let task = |host: &str| Task::Resolve { host: host.into(), port: 9092 };
        let Solution::Resolved(Ok(found)) = ask(&helpers, task("localhost")) else { panic!("no address") };
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 9092));
        // Too long for any name: needs no resolver to know.
        let Solution::Resolved(result) = ask(&helpers, task(&"x".repeat(300))) else { panic!("a key") };
        assert!(!result.unwrap_err().is_empty());
    }

    #[test]
    fn files_are_read_each_time_and_errors_told() {
        let mut times = 0;
        let read = move || {
            times += 1;
            if times == 1 { Ok(Secrets::default()) } else { Err(format!("{times} times")) }
        };
        let helpers = Helpers::start(Some(Box::new(read))).unwrap();
        let read = || match ask(&helpers, Task::Secrets) {
            Solution::Secrets(found) => found.map(|found| found.sasl.is_none()),
            other => panic!("{other:?}"),
        };
        assert_eq!([read(), read()], [Ok(true), Err("2 times".into())]);
    }

    #[test]
    fn a_key_is_made_once() {
        let mut known = VecDeque::new();
        for salt in 0..20 {
            remember(&mut known, some_job(salt));
            remember(&mut known, some_job(salt));
        }
        assert_eq!(known.len(), KEYS_MAX);
        let helpers = Helpers::start(None).unwrap();
        let Solution::Key(key) = ask(&helpers, Task::Key(some_job(3))) else { panic!("no key") };
        assert_eq!(format!("{key:?}"), "Key");
    }
}
