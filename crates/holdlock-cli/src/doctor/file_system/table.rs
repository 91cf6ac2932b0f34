//! What is known about locks on each type of file system.
//!
//! *Unsafe* is what certainly does not exclude a process with which the files are shared
//! by design. Where that depends on what cannot be seen from here it is a warning, and
//! where locks are as good as on a disk but different, a note.

use crate::doctor::finding::Level;
use crate::doctor::mounts::Mount;

/// What a type and its options mean for locks.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) level: Level,
    pub(super) why: &'static str,
    pub(super) remedy: Option<&'static str>,
}

pub(super) const NFS: [&str; 2] = ["nfs", "nfs4"];

const DISKS: [&str; 26] = [
    "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "bcachefs", "jfs", "reiserfs", "nilfs2",
    "ubifs", "jffs2", "vfat", "msdos", "exfat", "ntfs", "ntfs3", "hfsplus", "udf", "iso9660",
    "squashfs", "erofs", "ecryptfs", "fuseblk", "ufs",
];
const MEMORY: [&str; 3] = ["tmpfs", "ramfs", "devtmpfs"];
const CLUSTERS: [&str; 5] = [
    "ceph",
    "gpfs",
    "fuse.glusterfs",
    "fuse.ceph",
    "fuse.ceph-fuse",
];
/// FUSE programs that bring files from elsewhere and leave locks to this machine.
const NETWORK_FUSE: [&str; 14] = [
    "fuse.sshfs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.goofys",
    "fuse.geesefs",
    "fuse.mount-s3",
    "fuse.mountpoint-s3",
    "fuse.gcsfuse",
    "fuse.blobfuse",
    "fuse.blobfuse2",
    "fuse.davfs",
    "fuse.curlftpfs",
    "fuse.vmhgfs-fuse",
    "fuse.gvfsd-fuse",
];
const KERNEL: [&str; 8] = [
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "debugfs",
    "tracefs",
    "configfs",
    "securityfs",
];

const ELSEWHERE: &str =
    "keep the lock file on a local file system, or on one whose server keeps the locks (NFSv4)";
const LOCAL_DIRECTORY: &str = "keep the lock file on a local file system, such as /run/lock";

pub(super) fn judge(mount: &Mount) -> Verdict {
    let kind = mount.kind.as_str();
    match kind {
        _ if DISKS.contains(&kind) => fine("locks are the kernel's own"),
        _ if MEMORY.contains(&kind) => fine(
            "locks are the kernel's own; files are gone after a reboot, and nothing is lost by that",
        ),
        _ if NFS.contains(&kind) => nfs(mount),
        "overlay" => fine("locks are the kernel's own, within this overlay"),
        "cifs" | "smb3" | "smbfs" => smb(mount),
        "gfs2" | "ocfs2" => cluster_disk(mount),
        "lustre" => lustre(mount),
        "9p" | "drvfs" | "wslfs" => nine_p(mount),
        "virtiofs" | "vboxsf" | "prl_fs" | "vmhgfs" => warning(
            "shared with the host of this virtual machine; locks exclude within this machine, \
             and need not reach the host or other guests",
            LOCAL_DIRECTORY,
        ),
        _ if CLUSTERS.contains(&kind) => note("locks are kept by the cluster, for all its clients"),
        _ if NETWORK_FUSE.contains(&kind) => bad(
            "files from elsewhere, locks of this machine only: other machines are not excluded",
            ELSEWHERE,
        ),
        _ if kind.starts_with("fuse") => warning(
            "what locks do is up to the FUSE program; other ways to the same files may bypass them",
            "keep the lock file on a local file system, or ask that program's documentation",
        ),
        "afs" | "coda" | "beegfs" | "orangefs" | "pvfs2" | "ncpfs" => warning(
            "a network file system; whether locks reach other machines depends on its settings",
            ELSEWHERE,
        ),
        "autofs" => warning(
            "nothing is mounted there yet, it seems",
            "mount it, and try again",
        ),
        _ if KERNEL.contains(&kind) => warning(
            "files of the kernel, no place for lock files",
            LOCAL_DIRECTORY,
        ),
        _ => warning(
            "a type of file system of which nothing is known here; see what is tried below",
            "keep the lock file on a known local file system, if that is not enough",
        ),
    }
}

fn fine(why: &'static str) -> Verdict {
    verdict(Level::Ok, why, None)
}

fn note(why: &'static str) -> Verdict {
    verdict(Level::Note, why, None)
}

fn warning(why: &'static str, remedy: &'static str) -> Verdict {
    verdict(Level::Warning, why, Some(remedy))
}

fn bad(why: &'static str, remedy: &'static str) -> Verdict {
    verdict(Level::Unsafe, why, Some(remedy))
}

fn verdict(level: Level, why: &'static str, remedy: Option<&'static str>) -> Verdict {
    Verdict { level, why, remedy }
}

/// `nolock` shows as `local_lock=all` on newer kernels, which older ones do not have.
fn nfs(mount: &Mount) -> Verdict {
    let version_4 = mount.kind == "nfs4"
        || mount
            .value("vers")
            .is_some_and(|vers| vers.starts_with('4'));
    match mount.value("local_lock") {
        Some("all" | "flock") => bad(
            "mounted with local_lock: flock excludes on this machine only, not the other clients",
            "mount it with local_lock=none; or keep the lock file on a local file system where \
             one machine is all there is",
        ),
        Some("posix") => warning(
            "mounted with local_lock=posix: OFD locks exclude on this machine only, flock reaches \
             all clients",
            "use flock only (the default), or mount it with local_lock=none",
        ),
        _ if mount.has("nolock") => bad(
            "mounted with nolock: locks exclude on this machine only, not the other clients",
            "mount it without nolock; or keep the lock file on a local file system where one \
             machine is all there is",
        ),
        _ if version_4 => note(
            "locks are kept by the server, for all clients; an exclusive one needs a file that \
             can be written, and a client that the server lost contact with loses its locks",
        ),
        _ => warning(
            "locks are kept by the server's lock manager (NLM), which firewalls and crashes of \
             clients are known to break",
            "mount it with vers=4.2, or keep the lock file on a local file system",
        ),
    }
}

fn smb(mount: &Mount) -> Verdict {
    if mount.has("nobrl") {
        return bad(
            "mounted with nobrl: locks exclude on this machine only, not the other clients",
            "mount it without nobrl, or keep the lock file on a local file system",
        );
    }
    warning(
        "locks are kept by the server and are mandatory: others can neither read nor write what is \
         locked; servers differ in how well they do it",
        "lock an empty file that is used for nothing else, or keep it on a local file system",
    )
}

fn cluster_disk(mount: &Mount) -> Verdict {
    let one_node = mount.has("localflocks") || mount.value("lockproto") == Some("lock_nolock");
    if one_node {
        return bad(
            "mounted with local locks: the other nodes of the cluster are not excluded",
            "mount it without localflocks and with the cluster's lock manager",
        );
    }
    note("locks are kept by the cluster, for all its nodes")
}

fn lustre(mount: &Mount) -> Verdict {
    if mount.has("localflock") {
        return bad(
            "mounted with localflock: locks exclude on this machine only, not the other clients",
            "mount it with flock",
        );
    }
    if mount.has("noflock") {
        return bad(
            "mounted with noflock: there are no locks",
            "mount it with flock",
        );
    }
    note("locks are kept by the cluster, for all its clients")
}

fn nine_p(mount: &Mount) -> Verdict {
    let windows = mount.kind != "9p"
        || mount.source.as_os_str() == "drvfs"
        || mount
            .value("aname")
            .is_some_and(|name| name.starts_with("drvfs"));
    if windows {
        return warning(
            "a drive of Windows (WSL): programs of Windows do not see these locks",
            "keep the lock file in the Linux file system, outside of /mnt",
        );
    }
    warning(
        "shared over 9p: locks exclude within this machine, and most servers do not pass them on",
        LOCAL_DIRECTORY,
    )
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
