//! Directories like /tmp, where every user may create files, and what the kernel refuses there:
//! fs.protected_regular and fs.protected_symlinks.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::finding::Finding;
use super::place::Place;

const STICKY: u32 = 0o1000;

pub(super) fn look(place: &Place) -> Vec<Finding> {
    let mode = place.directory_is.mode();
    if mode & STICKY == 0 || mode & 0o022 == 0 || place.to_be_made.is_some() {
        return Vec::new();
    }
    let regular = setting("protected_regular");
    let applies = regular >= 2 || regular == 1 && mode & 0o002 != 0;
    let mut findings = vec![shared(place)];
    if applies {
        let found = format!(
            "fs.protected_regular is {regular}: programs that open another user's lock file here \
             with O_CREAT get \"Permission denied\", even as root; flock(1) and a shell's 9>FILE \
             do so, holdlock does not"
        );
        findings.push(
            Finding::note("protected-regular", found)
                .remedy("use a directory to which only the lock's users can write"),
        );
    }
    if setting("protected_symlinks") == 0 && mode & 0o002 != 0 {
        let found = "fs.protected_symlinks is 0: any user can put a symbolic link here that leads \
                     other programs to another file; holdlock does not follow it";
        findings.push(Finding::note("protected-symlinks", found));
    }
    findings
}

/// A name in such a directory belongs to the first user who creates a file of that name.
fn shared(place: &Place) -> Finding {
    let me = rustix::process::geteuid().as_raw();
    match place.file.as_ref().map(MetadataExt::uid) {
        Some(owner) if owner != me => {
            let found = format!(
                "the lock file belongs to user {owner}, and that user can remove it at any time, also \
                 while it is held"
            );
            Finding::note("sticky", found)
                .remedy("use a directory of your own, unless you share the lock with that user")
        }
        _ => {
            let found = "every user can create files here: another user can create the lock file \
                         first";
            Finding::note("sticky", found).remedy(
                "use a directory of your own, or a name (names have a directory of their own)",
            )
        }
    }
}

fn setting(name: &str) -> u32 {
    let text = fs::read_to_string(format!("/proc/sys/fs/{name}")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}
