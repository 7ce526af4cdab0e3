//! Reading the files of a host, below whatever folder stands for `/`.
//!
//! [`Look`] is the one way in which anything of [`super`] but the measured part learns about a host, so that a
//! recorded tree, a map in a test and the machine itself are judged by the same code. What cannot be read counts as
//! not there.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A device's settings as `ethtool` names them: `-l`, `-c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// How many queues it has.
    Channels,
    /// How long it gathers interrupts.
    Coalesce,
}

impl Group {
    /// The word in `ringmill-tune`'s targets and in recorded trees.
    pub fn name(self) -> &'static str {
        match self {
            Group::Channels => "channels",
            Group::Coalesce => "coalesce",
        }
    }
}

/// What a host shows of itself. Paths are absolute.
pub trait Look {
    /// All of a file's text.
    fn text(&self, path: &str) -> Option<String>;
    /// Names in a folder, sorted; numbers by their value. Empty where there is none.
    fn names(&self, path: &str) -> Vec<String>;
    /// Whether something is there.
    fn there(&self, path: &str) -> bool;
    /// Whether it is a folder.
    fn folder(&self, path: &str) -> bool;
    /// Where a path really leads, below the same root, for devices that are links.
    fn real(&self, path: &str) -> Option<String>;
    /// Lines of a device's settings, `name value` each, in `ethtool`'s words; `maximum N` beside `combined N`.
    /// `None` when they cannot be had.
    fn device(&self, nic: &str, group: Group) -> Option<Vec<(String, String)>>;

    /// The first line of a file, without its end.
    fn line(&self, path: &str) -> Option<String> {
        self.text(path).map(|text| text.lines().next().unwrap_or_default().to_string())
    }
}

/// The files below a folder.
#[derive(Clone, Debug)]
pub struct Root {
    root: PathBuf,
    /// Whether that folder is `/` itself, so that the host's own programs speak of it.
    own: bool,
}

impl Root {
    /// Files are looked for below `root`.
    pub fn new(root: &Path) -> Root {
        Root { root: root.to_path_buf(), own: root == Path::new("/") }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

impl Look for Root {
    fn text(&self, path: &str) -> Option<String> {
        fs::read(self.at(path)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn names(&self, path: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.at(path)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_by_cached_key(|name| (name.parse::<u64>().unwrap_or(u64::MAX), name.clone()));
        names
    }

    fn there(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    fn folder(&self, path: &str) -> bool {
        self.at(path).is_dir()
    }

    fn real(&self, path: &str) -> Option<String> {
        let real = fs::canonicalize(self.at(path)).ok()?;
        let root = fs::canonicalize(&self.root).ok()?;
        Some(format!("/{}", real.strip_prefix(root).ok()?.to_str()?))
    }

    fn device(&self, nic: &str, group: Group) -> Option<Vec<(String, String)>> {
        // A recorded tree holds what `ethtool` said in a file of its own.
        let recorded = self.text(&format!("/.ethtool/{nic}.{}", group.name()));
        if recorded.is_some() || !self.own {
            let pair =
                |line: &str| line.split_once(' ').map(|(name, value)| (name.into(), value.trim().into()));
            return recorded.map(|text| text.lines().filter_map(pair).collect());
        }
        let flag = match group {
            Group::Channels => "-l",
            Group::Coalesce => "-c",
        };
        // /usr/sbin is not in everybody's PATH.
        ["ethtool", "/usr/sbin/ethtool", "/sbin/ethtool"].iter().find_map(|program| {
            let told =
                Command::new(program).args([flag, nic]).env("LC_ALL", "C").stdin(Stdio::null()).output();
            let told = told.ok()?;
            Some(ethtool(&String::from_utf8_lossy(&told.stdout), group))
        })
    }
}

/// What `ethtool -l` and `-c` print, as lines of `name value`. The names are those that it takes.
fn ethtool(text: &str, group: Group) -> Vec<(String, String)> {
    let mut maximum = false;
    let mut all: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        let line = line.trim().to_ascii_lowercase();
        if line.starts_with("pre-set maximums") {
            maximum = true;
        } else if line.starts_with("current hardware settings") {
            maximum = false;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        let (name, value) = (name.trim(), value.trim());
        match (group, name) {
            (Group::Channels, "combined") if maximum => all.push(("maximum".into(), value.into())),
            (Group::Channels, "combined") => all.push(("combined".into(), value.into())),
            (Group::Coalesce, "adaptive rx") => {
                let (rx, tx) = value.split_once("tx:").unwrap_or((value, ""));
                all.push(("adaptive-rx".into(), rx.trim().into()));
                all.push(("adaptive-tx".into(), tx.trim().into()));
            }
            (Group::Coalesce, "rx-usecs" | "tx-usecs") => all.push((name.into(), value.into())),
            _ => {}
        }
    }
    all.retain(|(_, value)| !value.is_empty() && value != "n/a");
    all
}

#[cfg(test)]
pub mod testing {
    //! A host out of a table.
    use super::{Group, Look};
    use std::collections::BTreeMap;

    /// Files by path; folders are what lies between.
    #[derive(Clone, Debug, Default)]
    pub struct Recorded(pub BTreeMap<String, String>);

    impl Recorded {
        /// These files.
        pub fn new(files: &[(&str, &str)]) -> Recorded {
            Recorded(files.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect())
        }
    }

    impl Look for Recorded {
        fn text(&self, path: &str) -> Option<String> {
            self.0.get(path).cloned()
        }
        fn names(&self, path: &str) -> Vec<String> {
            let inside = format!("{path}/");
            let name = |full: &String| full.strip_prefix(&inside)?.split('/').next().map(str::to_string);
            let mut names: Vec<String> = self.0.keys().filter_map(name).collect();
            names.dedup();
            names
        }
        fn there(&self, path: &str) -> bool {
            self.0.contains_key(path) || self.folder(path)
        }
        fn folder(&self, path: &str) -> bool {
            !self.names(path).is_empty()
        }
        fn real(&self, path: &str) -> Option<String> {
            self.there(path).then(|| path.to_string())
        }
        fn device(&self, _: &str, _: Group) -> Option<Vec<(String, String)>> {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ethtool_prints_is_understood() {
        let channels = "Channel parameters for e:\nPre-set maximums:\nRX:\t\tn/a\nCombined:\t16\n\
                        Current hardware settings:\nRX:\t\tn/a\nCombined:\t7\n";
        let coalesce = "Coalesce parameters for e:\nAdaptive RX: on  TX: n/a\nstats-block-usecs:\tn/a\n\n\
                        rx-usecs:\t20\nrx-frames:\tn/a\ntx-usecs:\t64\nrx-usecs-irq:\t3\n";
        let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect()
        };
        assert_eq!(ethtool(channels, Group::Channels), pairs(&[("maximum", "16"), ("combined", "7")]));
        let wanted = pairs(&[("adaptive-rx", "on"), ("rx-usecs", "20"), ("tx-usecs", "64")]);
        assert_eq!(ethtool(coalesce, Group::Coalesce), wanted);
        assert_eq!(ethtool("netlink error: Operation not supported\n", Group::Channels), []);
    }

    #[test]
    fn a_folder_stands_for_the_whole_host() {
        let root = std::env::temp_dir().join(format!("ringmill-look-{}", std::process::id()));
        fs::create_dir_all(root.join("sys/10")).unwrap();
        fs::create_dir_all(root.join("sys/9")).unwrap();
        fs::create_dir_all(root.join(".ethtool")).unwrap();
        fs::write(root.join("sys/9/online"), "0-3\nmore\n").unwrap();
        fs::write(root.join(".ethtool/e0.coalesce"), "rx-usecs 20\n").unwrap();
        let look = Root::new(&root);
        assert_eq!(look.names("/sys"), ["9", "10"]);
        assert_eq!(look.line("/sys/9/online").as_deref(), Some("0-3"));
        assert_eq!((look.line("/sys/9"), look.there("/sys/9"), look.there("/sys/8")), (None, true, false));
        assert_eq!(look.real("/sys/9/../10").as_deref(), Some("/sys/10"));
        assert_eq!(look.device("e0", Group::Coalesce).unwrap(), [("rx-usecs".into(), "20".into())]);
        assert_eq!(look.device("e0", Group::Channels), None);
        fs::remove_dir_all(root).unwrap();
    }
}
