//! Which other users of this host can acquire the lock, and which can remove its file.

use std::os::unix::fs::MetadataExt;

use super::finding::Finding;
use super::place::Place;

const STICKY: u32 = 0o1000;

pub(super) fn look(place: &Place) -> Vec<Finding> {
    // The lock directory will belong to this user alone, whatever directory it is in.
    if place.to_be_made.is_some() {
        return Vec::new();
    }
    let mut findings = vec![who(place)];
    let mode = place.directory_is.mode();
    if mode & 0o022 != 0 && mode & STICKY == 0 {
        let who = if mode & 0o002 != 0 {
            "everybody".to_owned()
        } else {
            format!("group {}", place.directory_is.gid())
        };
        let found = format!(
            "{who} can remove or replace the lock file, also while it is held: \
             {} has mode {:04o}",
            place.directory.display(),
            mode & 0o7777
        );
        let remedy = format!(
            "chmod +t {}, or choose a directory to which only the lock's users can write",
            place.directory.display()
        );
        // A group often exists for sharing: its members are trusted with the files.
        findings.push(if mode & 0o002 != 0 {
            Finding::warning("removal", found).remedy(remedy)
        } else {
            Finding::note("removal", found).remedy(remedy)
        });
    }
    findings
}

/// Opening for reading is enough for a flock.
fn who(place: &Place) -> Finding {
    let directory = place.directory_is.mode();
    let owner = place.directory_is.uid();
    if directory & 0o011 == 0 {
        let found = format!("only user {owner} and root can reach the lock's directory");
        return Finding::ok("users", found);
    }
    let Some(file) = place.file.as_ref().filter(|file| file.is_file()) else {
        let found = if directory & 0o002 != 0 {
            "every user can create the lock file and acquire the lock, unless the umask of its \
             creator forbids that"
        } else {
            "the umask of the lock file's creator decides which users can acquire the lock"
        };
        return Finding::ok("users", found);
    };
    let (mode, owner) = (file.mode(), file.uid());
    if mode & 0o006 != 0 && directory & 0o001 != 0 {
        let found = "every user of this host can acquire the lock, and hold it without limit";
        return Finding::ok("users", found);
    }
    let found = match mode & 0o060 {
        0 => format!("only user {owner} and root can acquire the lock"),
        _ => format!(
            "only user {owner}, group {} and root can acquire the lock",
            file.gid()
        ),
    };
    let mode = mode & 0o7777;
    Finding::note("users", format!("{found} (mode {mode:04o})"))
        .remedy("to share it with other users: chmod a+r, or chgrp and chmod g+r")
}
