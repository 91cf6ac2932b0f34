//! The module and its peers, each in a directory of its own: two releases of one package
//! cannot be in one environment.

use std::path::PathBuf;

use super::wheel::wheel;
use super::{BUILDERS, environment, install};
use crate::dist::target_directory;
use crate::run::{Done, run};

/// The directories, and the package for each: the newest release unless a version is given.
const PEERS: [(&str, &str); 4] = [
    ("filelock", "filelock"),
    ("filelock-3.20.3", "filelock==3.20.3"),
    ("portalocker", "portalocker"),
    ("fasteners", "fasteners"),
];

/// Clients of the servers that keep locks between hosts.
const CLIENTS: [&str; 4] = [
    "portalocker",
    "psycopg[binary]",
    "python-redis-lock",
    "redis",
];

/// Builds and installs all of them, and returns the directory above. Needs PyPI.
pub(crate) fn peers() -> Done<PathBuf> {
    let python = environment(&BUILDERS)?;
    let place = target_directory().join("python-peers");
    let _ = std::fs::remove_dir_all(&place);
    let built = wheel(&python)?;
    let ours = ("holdlock", built.to_string_lossy());
    let theirs = PEERS.map(|(directory, package)| (directory, package.into()));
    for (directory, package) in theirs.into_iter().chain([ours]) {
        let mut fetch = install(&python);
        fetch.arg("--target").arg(place.join(directory));
        fetch.arg(&*package);
        run(fetch)?;
    }
    let mut fetch = install(&python);
    fetch
        .arg("--target")
        .arg(place.join("engines"))
        .args(CLIENTS);
    run(fetch)?;
    Ok(place)
}
