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

/// The finding that tells the type, whatever else there is to be said.
pub(super) const ID: &str = "file-system";

/// The mount that a path is really on. A symbolic link is looked at itself.
pub(super) fn mount_of(path: &Path) -> Option<Mount> {
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID).ok()?;
    let mounts = mounts::read().ok()?;
    // Kernels before 5.8 do not tell the number.
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
            "the lock file is a mount of its own ({}); what is tried below is tried in its \
             directory, which is {}",
            own.kind, directory.kind
        );
        findings.push(
            Finding::note("lock-file-mount", found)
                .remedy("mount a directory instead, and lock a file in it"),
        );
    }
    findings
}

/// The same for a path that cannot be touched, as far as its name tells.
pub(super) fn look_by_name(path: &Path) -> Vec<Finding> {
    let mounts = mounts::read().unwrap_or_default();
    // Without a word on what may be there: nobody knows.
    mounts::by_name(&mounts, path).map_or_else(Vec::new, |mount| findings(mount, true))
}

/// What a mount's type and options say. `exists`: there is a lock file on it.
fn findings(mount: &Mount, exists: bool) -> Vec<Finding> {
    let (kind, point) = (&mount.kind, mount.point.display());
    let Verdict { level, why, remedy } = judge(mount);
    let mut main = Finding::new(level, ID, format!("{kind} on {point}: {why}"));
    main.remedy = remedy.map(str::to_owned);
    let mut findings = vec![main];
    if mount.has("ro") {
        findings.push(read_only(mount, exists));
    }
    if NFS.contains(&kind.as_str()) && mount.has("soft") {
        let found = "mounted soft: when the server is slow, calls fail with an input/output error";
        findings.push(Finding::warning("soft-mount", found).remedy("mount it hard"));
    }
    findings.extend((kind == "overlay").then(|| overlay::layers(mount)));
    findings
}

fn read_only(mount: &Mount, exists: bool) -> Finding {
    let found = format!("{} is mounted read-only", mount.point.display());
    if exists {
        let found = format!("{found}; a lock file that is there can be locked all the same");
        Finding::note("read-only", found)
    } else {
        Finding::not_safe("read-only", found)
            .remedy("mount it for writing, or choose another directory")
    }
}

/// /proc is not mounted, perhaps; the kernel's number is better than nothing.
fn unknown(directory: &Path) -> Finding {
    let magic = File::open(directory)
        .ok()
        .and_then(|file| fstatfs(file.as_fd()).ok())
        .map_or_else(String::new, |found| format!(" (type {:#x})", found.f_type));
    let found = format!("the mount is not in /proc/self/mountinfo{magic}");
    Finding::warning(ID, found).remedy("mount /proc, to let it be looked up")
}
