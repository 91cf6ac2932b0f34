//! The file at the lock's path. It is examined and never changed.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

use super::finding::Finding;
use super::place::Place;
use crate::exit::reason;

pub(super) fn look(place: &Place) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(directory) = &place.to_be_made {
        let found = format!(
            "the lock directory {} will be created by the first process to need it",
            directory.display()
        );
        findings.push(Finding::ok("lock-directory", found));
    }
    if let (Some(path), Some(file)) = (&place.path, &place.file) {
        findings.push(kind(path, file));
        findings.extend(links(file));
    } else if place.path.is_some() {
        let found = "there is no lock file yet; the first process to need it creates it";
        findings.push(Finding::ok("lock-file", found));
    }
    findings.extend(attributes(place));
    findings
}

fn kind(path: &Path, file: &Metadata) -> Finding {
    let kind = file.file_type();
    if kind.is_symlink() {
        symbolic_link(path)
    } else if kind.is_file() {
        opened(path)
    } else if kind.is_fifo() {
        special("a FIFO", "other programs hang when they open it")
    } else if kind.is_char_device() || kind.is_block_device() {
        special("a device", "opening a device can start an action")
    } else if kind.is_socket() {
        Finding::not_safe("lock-file", "it is a socket, which cannot be opened")
            .remedy("remove it, or choose another name")
    } else {
        Finding::warning("lock-file", "it is not a file, and its type is unknown")
    }
}

fn symbolic_link(path: &Path) -> Finding {
    let target = fs::read_link(path).unwrap_or_default();
    let target = target.display();
    match fs::metadata(path) {
        Ok(_) => {
            let found = format!("it is a symbolic link to {target}; links are not followed");
            Finding::not_safe("lock-file", found)
                .remedy(format!("name its target instead: {target}"))
        }
        Err(error) => {
            let error = reason(&error);
            let found = format!("it is a broken symbolic link ({target}: {error})");
            Finding::not_safe("lock-file", found).remedy("remove it, or name another file")
        }
    }
}

fn special(what: &str, why: &str) -> Finding {
    let found = format!("it is {what}; it can be locked, but {why}");
    Finding::warning("lock-file", found).remedy("use a regular file that has no other use")
}

/// Opens the file as a request for the lock does, but creates nothing.
fn opened(path: &Path) -> Finding {
    let careful =
        rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let open = |write: bool| {
        fs::OpenOptions::new()
            .read(!write)
            .write(write)
            .custom_flags(careful.bits() as i32)
            .open(path)
    };
    match open(false) {
        Ok(_) => Finding::ok("lock-file", "this user can open the lock file"),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => match open(true) {
            Ok(_) => Finding::ok(
                "lock-file",
                "this user can open the lock file, for writing only",
            ),
            Err(_) => Finding::not_safe("lock-file", "this user cannot open the lock file").remedy(
                format!("let its owner or root run: chmod a+r {}", path.display()),
            ),
        },
        // O_NONBLOCK: otherwise open(2) would wait. The kernel ends a lease that a program keeps.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let found = "another program has a lease on it: a request waits until the lease ends, \
                         after 45 s at most (fs.lease-break-time)";
            Finding::warning("lock-file", found).remedy("use a file that has no other use")
        }
        Err(error) => {
            let found = format!("it cannot be opened: {}", reason(&error));
            Finding::not_safe("lock-file", found).remedy("choose another file")
        }
    }
}

fn links(file: &Metadata) -> Option<Finding> {
    (file.is_file() && file.nlink() > 1).then(|| {
        let found = format!(
            "the lock file has {} names (hard links), which all stand for the same lock",
            file.nlink()
        );
        Finding::note("hard-links", found)
    })
}

/// chattr(1)'s `i` and `a`.
fn attributes(place: &Place) -> Vec<Finding> {
    let mut findings = Vec::new();
    let of = |path: &Path| {
        let found = statx(
            CWD,
            path,
            AtFlags::SYMLINK_NOFOLLOW,
            StatxFlags::BASIC_STATS,
        );
        found.map_or(StatxAttributes::empty(), |found| found.stx_attributes)
    };
    let directory = of(&place.directory);
    if directory.contains(StatxAttributes::IMMUTABLE) && place.file.is_none() {
        let found = "the directory is immutable: no lock file can be created";
        let remedy = format!("chattr -i {}", place.directory.display());
        findings.push(Finding::not_safe("immutable", found).remedy(remedy));
    } else if directory.contains(StatxAttributes::APPEND) {
        let found = "the directory is append-only: files in it cannot be removed, not even the \
                     temporary file of this command";
        findings.push(Finding::note("append-only", found));
    }
    let file = place
        .path
        .as_deref()
        .filter(|_| place.file.is_some())
        .map(of);
    if file
        .is_some_and(|file| file.intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND))
    {
        let found = "the lock file is immutable or append-only: programs that open it for writing \
                     cannot lock it, other programs can";
        findings.push(Finding::note("immutable", found));
    }
    findings
}
