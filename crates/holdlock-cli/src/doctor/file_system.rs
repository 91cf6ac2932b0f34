//! The file system of a place: what its type and its mount options mean for locks.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, fstatfs, statx};

use super::finding::Finding;
use super::mounts::{self, Mount};
use super::overlay;
use super::place::Place;

mod table;

use table::{NFS, Verdict, judge};

/// The finding about the type.
pub(super) const ID: &str = "file-system";
/// The finding of a mount that cannot be written.
pub(super) const READ_ONLY: &str = "read-only";

/// The mount that a path is on. A symbolic link is not followed.
pub(super) fn mount_of(path: &Path) -> Option<Mount> {
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID).ok()?;
    let mounts = mounts::read().ok()?;
    // Kernels before 5.8 do not have the number.
    if StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID) {
        mounts::by_id(&mounts, found.stx_mnt_id).cloned()
    } else {
        mounts::by_name(&mounts, &path.canonicalize().ok()?).cloned()
    }
}

pub(super) fn look(place: &Place) -> Vec<Finding> {
    // `/.` so that a symbolic link to the directory is followed.
    let Some(directory) = mount_of(&place.directory.join(".")) else {
        return vec![unknown(&place.directory)];
    };
    let own = place
        .file
        .as_ref()
        .and(place.path.as_deref())
        .and_then(mount_of)
        .filter(|mount| mount.id != directory.id);
    let mut findings = findings(own.as_ref().unwrap_or(&directory), place.file.is_some());
    if let Some(own) = own {
        let found = format!(
            "the lock file is a mount of its own ({}); the trials below use its directory, which \
             is on {}",
            own.kind, directory.kind
        );
        findings.push(
            Finding::note("lock-file-mount", found)
                .remedy("mount a directory instead, and lock a file in it"),
        );
    }
    findings
}

/// The same for a path that must not be touched: only its name decides.
pub(super) fn look_by_name(path: &Path) -> Vec<Finding> {
    let mounts = mounts::read().unwrap_or_default();
    // Whether there is a lock file is unknown.
    mounts::by_name(&mounts, path).map_or_else(Vec::new, |mount| findings(mount, true))
}

/// What a mount's type and options say. `exists`: there is a lock file on it.
fn findings(mount: &Mount, exists: bool) -> Vec<Finding> {
    let (kind, point) = (&mount.kind, mount.point.display());
    if mount.has("ro") && !exists {
        let found = format!(
            "{kind} on {point} is mounted read-only: there is no lock file, and none can be created"
        );
        let finding = Finding::not_safe(READ_ONLY, found)
            .remedy("mount it for writing, or choose another directory");
        return vec![finding];
    }
    let Verdict { level, why, remedy } = judge(mount);
    let mut main = Finding::new(level, ID, format!("{kind} on {point}: {why}"));
    main.remedy = remedy.map(str::to_owned);
    let mut findings = vec![main];
    if mount.has("ro") {
        let found =
            format!("{point} is mounted read-only; the lock file can be locked nevertheless");
        findings.push(Finding::note(READ_ONLY, found));
    }
    if NFS.contains(&kind.as_str()) && mount.has("soft") {
        let found = "the mount option soft is set: if the server is slow, calls fail with an input/output error";
        findings.push(Finding::warning("soft-mount", found).remedy("mount it hard"));
    }
    findings.extend((kind == "overlay").then(|| overlay::layers(mount)));
    findings
}

/// /proc may not be mounted. The kernel's number of the type is shown instead.
fn unknown(directory: &Path) -> Finding {
    let magic = File::open(directory)
        .ok()
        .and_then(|file| fstatfs(file.as_fd()).ok())
        .map_or_else(String::new, |found| format!(" (type {:#x})", found.f_type));
    let found = format!("the mount is not in /proc/self/mountinfo{magic}");
    Finding::warning(ID, found).remedy("mount /proc: mount -t proc proc /proc")
}
