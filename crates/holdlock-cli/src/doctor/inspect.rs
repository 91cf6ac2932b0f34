//! The holders at this moment, including those of a removed file of the same path, and those of the
//! other family of locks, which does not exclude ours.

use std::path::Path;

use holdlock::inspect::{self, Kind, LockedFile};

use super::finding::Finding;
use super::place::Place;
use crate::exit::reason;

/// No findings if only a directory was named.
pub(super) fn look(place: &Place) -> Vec<Finding> {
    let Some(path) = &place.path else {
        return Vec::new();
    };
    match inspect::file(path) {
        Ok(snapshot) => snapshot
            .files
            .iter()
            .flat_map(|file| findings(path, file))
            .collect(),
        Err(error) => vec![Finding::note(
            "holders",
            format!("the holders cannot be seen: {}", reason(&error)),
        )],
    }
}

fn findings(path: &Path, file: &LockedFile) -> Vec<Finding> {
    if file.removed {
        let found = format!(
            "the lock is held by {}, on a file that was removed from {}: the next process locks \
             another file",
            names(file, |_| true),
            path.display()
        );
        let remedy = "wait until that process has ended, or end it; do not delete lock files";
        return vec![Finding::not_safe("removed-holder", found).remedy(remedy)];
    }
    let mut found = Vec::new();
    if file.locks.iter().any(|lock| lock.kind == Kind::Flock) {
        let holders = names(file, |kind| kind == Kind::Flock);
        found.push(Finding::note(
            "holders",
            format!("the lock is held by {holders}"),
        ));
    }
    if file.locks.iter().any(|lock| lock.kind.meets(Kind::Ofd)) {
        let holders = names(file, |kind| kind.meets(Kind::Ofd));
        let text = format!(
            "the file is locked through fcntl(2) by {holders}, which flock(2) does not exclude"
        );
        let remedy = "let all programs use the same kind of lock, or choose another lock file";
        found.push(Finding::warning("other-family", text).remedy(remedy));
    }
    found
}

/// The holders of the wanted kinds of locks, each once.
fn names(file: &LockedFile, wanted: impl Fn(Kind) -> bool) -> String {
    let locks = file.locks.iter().filter(|lock| wanted(lock.kind));
    let mut names: Vec<String> = Vec::new();
    for holder in locks.flat_map(|lock| &lock.holders) {
        let name = holder.process.to_string();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return "a process that cannot be seen from here".to_owned();
    }
    names.join(", ")
}
