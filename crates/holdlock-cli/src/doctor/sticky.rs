//! Directories like /tmp, where everybody may create and the kernel mistrusts it:
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
                .remedy("use a directory which only the lock's users can write to"),
        );
    }
    if setting("protected_symlinks") == 0 && mode & 0o002 != 0 {
        let found = "fs.protected_symlinks is 0: programs that follow links can be led elsewhere \
                     from here by any user; holdlock does not follow them";
        findings.push(Finding::note("protected-symlinks", found));
    }
    findings
}

/// Names in such a directory belong to who comes first.
fn shared(place: &Place) -> Finding {
    let me = rustix::process::geteuid().as_raw();
    match place.file.as_ref().map(MetadataExt::uid) {
        Some(owner) if owner != me => {
            let found = format!(
                "the lock file belongs to user {owner}, who can remove it at any time, also while \
                 it is held"
            );
            Finding::note("sticky", found)
                .remedy("use a directory of your own where that user is no partner of yours")
        }
        _ => {
            let found = "everybody can create files here: another user can have the lock file's \
                         name first";
            Finding::note("sticky", found).remedy(
                "use a directory of your own; a bare name instead of a path stands for a file in one",
            )
        }
    }
}

fn setting(name: &str) -> u32 {
    let text = fs::read_to_string(format!("/proc/sys/fs/{name}")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}
