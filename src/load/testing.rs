//! Aids for the tests of this folder.
use std::fs;
use std::path::PathBuf;

/// A folder of recorded files that stands in for `/`; removed with the value.
pub struct Tree(pub PathBuf);

impl Tree {
    /// `name` is the test's, so that two at once do not meet.
    pub fn new(name: &str, files: &[(&str, &str)]) -> Tree {
        let root = std::env::temp_dir().join(format!("ringmill-tree-{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Tree(root)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
