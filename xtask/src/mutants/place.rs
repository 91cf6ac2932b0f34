//! The copy of the tree in which mechanisms are taken out.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Done, root};

/// Copies the files that git knows: no builds and no scratch files. A file that has not changed
/// since the last copy is left alone, so that cargo need not build it again.
pub(super) fn copy_tree(tree: &Path) -> Done {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    listed
        .and_then(|listed| copy(&String::from_utf8_lossy(&listed.stdout), tree))
        .map_err(|error| format!("copying the tree: {error}"))
}

fn copy(names: &str, tree: &Path) -> io::Result<()> {
    let mut known = HashSet::new();
    for name in names.lines().filter(|name| root().join(name).is_file()) {
        let (from, to) = (root().join(name), tree.join(name));
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        if fs::read(&to).ok() != Some(fs::read(&from)?) {
            fs::copy(from, &to)?;
        }
        known.insert(to);
    }
    remove_others(tree, &known)
}

fn remove_others(directory: &Path, known: &HashSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, known)?;
        } else if !known.contains(&path) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
