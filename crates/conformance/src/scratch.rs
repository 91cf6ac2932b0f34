//! A directory of a test's own, which goes when the test ends.

use std::path::{Path, PathBuf};

/// A fresh directory.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// On the default temporary file system.
    #[expect(clippy::new_without_default, reason = "it creates a directory")]
    pub fn new() -> Scratch {
        Scratch::below(&std::env::temp_dir())
    }

    /// On a file system in memory where there is one: for trials that create and
    /// remove files by the thousand.
    pub fn in_memory() -> Scratch {
        let shm = Path::new("/dev/shm");
        if shm.is_dir() {
            Scratch::below(shm)
        } else {
            Scratch::new()
        }
    }

    fn below(parent: &Path) -> Scratch {
        let directory = tempfile::Builder::new()
            .prefix("holdlock-")
            .tempdir_in(parent);
        Scratch(directory.expect("a directory"))
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The usual lock file.
    pub fn lock(&self) -> PathBuf {
        self.path("a.lock")
    }
}
