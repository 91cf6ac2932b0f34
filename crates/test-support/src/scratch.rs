//! A directory of one test, which is removed when the test ends.

use std::path::{Path, PathBuf};

/// A fresh directory.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// On the default temporary file system.
    #[expect(clippy::new_without_default, reason = "it creates a directory")]
    pub fn new() -> Scratch {
        Scratch::below(&std::env::temp_dir())
    }

    /// On a file system in memory if there is one: for trials that create and remove thousands of
    /// files.
    pub fn in_memory() -> Scratch {
        let shm = Path::new("/dev/shm");
        if shm.is_dir() {
            Scratch::below(shm)
        } else {
            Scratch::new()
        }
    }

    /// In this directory.
    pub fn below(parent: &Path) -> Scratch {
        let directory = tempfile::Builder::new()
            .prefix("holdlock-")
            .tempdir_in(parent);
        Scratch(directory.expect("a directory"))
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        self.0.path()
    }

    /// A path in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// The usual lock file.
    pub fn lock(&self) -> PathBuf {
        self.path("a.lock")
    }
}
