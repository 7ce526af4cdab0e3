//! Certificates and credentials as they are in their files now, so that they can be replaced while the server runs.
//!
//! Files are read for each connection that is made, on a thread of their own; what is in them is worked out again
//! only when it has changed. A file that cannot be read, or a pair of which only one half was replaced yet, is an
//! error: then connections go on with what was read before.

use std::fs;
use std::path::{Path, PathBuf};

use super::sasl::Credentials;
use super::tls::{Tls, TlsSettings};

/// Longest of the files: an authority's list has some 300 KB.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What is shown to a broker, and what a broker has to show.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// TLS, if it is wanted.
    pub tls: Option<Tls>,
    /// Credentials, if they are wanted.
    pub sasl: Option<Credentials>,
}

/// Where they come from; called once for each connection.
pub type Read = Box<dyn FnMut() -> Result<Secrets, String> + Send>;

/// A file with a password, and how it is read.
type Password = (PathBuf, Box<dyn Fn() -> Result<Credentials, String> + Send>);

/// The files, and what was in them.
pub struct Files {
    tls: Option<TlsSettings>,
    password: Option<Password>,
    known: Option<(Vec<Vec<u8>>, Secrets)>,
}

impl Files {
    /// Nothing is read yet.
    pub fn new(tls: Option<TlsSettings>, password: Option<Password>) -> Files {
        Files { tls, password, known: None }
    }

    /// What is in them now.
    ///
    /// # Errors
    /// A sentence that names the file and says nothing of what is in it.
    pub fn read(&mut self) -> Result<Secrets, String> {
        let found = self.contents()?;
        if let Some((known, secrets)) = &self.known
            && *known == found
        {
            return Ok(secrets.clone());
        }
        let secrets = Secrets {
            tls: self.tls.as_ref().map(Tls::load).transpose()?,
            sasl: self.password.as_ref().map(|(_, read)| read()).transpose()?,
        };
        // If they were replaced meanwhile, the next connection sees that they are not these.
        self.known = Some((found, secrets.clone()));
        Ok(secrets)
    }

    fn contents(&self) -> Result<Vec<Vec<u8>>, String> {
        let tls = self.tls.iter().flat_map(|tls| {
            let client = tls.client.iter().flat_map(|(chain, key)| [chain, key]);
            tls.ca.iter().chain(client)
        });
        let password = self.password.iter().map(|(path, _)| path);
        tls.chain(password).map(|path| content(path)).collect()
    }
}

fn content(path: &Path) -> Result<Vec<u8>, String> {
    let fail = |why: &str| format!("{}: {why}", path.display());
    let found = fs::metadata(path).map_err(|error| fail(&error.to_string()))?;
    // Reading a pipe could wait for ever.
    if !found.is_file() || found.len() > FILE_BYTES_MAX {
        return Err(fail("not a file, or a very long one"));
    }
    fs::read(path).map_err(|error| fail(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::sasl::Mechanism;
    use super::*;
    use std::process;

    fn credentials(path: &Path) -> Result<Credentials, String> {
        let password = fs::read_to_string(path).map_err(|error| error.to_string())?;
        match password.is_empty() {
            true => Err("empty".into()),
            false => Ok(Credentials { mechanism: Mechanism::Plain, user: "bob".into(), password }),
        }
    }

    #[test]
    fn what_is_replaced_is_seen_and_what_is_broken_is_told() {
        let path = std::env::temp_dir().join(format!("ringmill-secrets-{}", process::id()));
        let (file, calls) = (path.clone(), std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0)));
        let counted = calls.clone();
        let read = move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            credentials(&file)
        };
        let mut files = Files::new(None, Some((path.clone(), Box::new(read))));
        let told = files.read().unwrap_err();
        assert!(told.starts_with(&format!("{}: ", path.display())), "{told}");
        for password in ["one", "two"] {
            fs::write(&path, password).unwrap();
            for _ in 0..3 {
                let found = files.read().unwrap();
                assert_eq!(found.sasl.unwrap().password, password);
                assert!(found.tls.is_none());
            }
        }
        assert_eq!(calls.load(std::sync::atomic::Ordering::Relaxed), 2, "once for each content");
        fs::write(&path, "").unwrap();
        assert_eq!(files.read().unwrap_err(), "empty");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(files.read().unwrap_err().ends_with("not a file, or a very long one"));
        fs::remove_dir(&path).unwrap();
    }
}
