//! What is known about locks on each type of file system.
//!
//! The verdict is *unsafe* if locks certainly do not exclude some of the processes for which the
//! file system shares its files. It is a warning if that depends on something that cannot be seen
//! here, and a note if locks work as well as on a disk, but differently.

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
/// FUSE programs that show files of other machines; only this machine sees the locks.
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
            "locks are the kernel's own; a reboot removes the lock file, but it ends the locks as well",
        ),
        _ if NFS.contains(&kind) => nfs(mount),
        "overlay" => fine("locks are the kernel's own, within this overlay"),
        "cifs" | "smb3" | "smbfs" => smb(mount),
        "gfs2" | "ocfs2" => cluster_disk(mount),
        "lustre" => lustre(mount),
        "9p" | "drvfs" | "wslfs" => nine_p(mount),
        "virtiofs" | "vboxsf" | "prl_fs" | "vmhgfs" => warning(
            "shared with the host of this virtual machine; locks exclude within this machine, \
             but may not exclude the host or other guests",
            LOCAL_DIRECTORY,
        ),
        _ if CLUSTERS.contains(&kind) => note("locks are kept by the cluster, for all its clients"),
        _ if NETWORK_FUSE.contains(&kind) => bad(
            "the files are on other machines, but locks exclude on this machine only",
            ELSEWHERE,
        ),
        _ if kind.starts_with("fuse") => warning(
            "locks depend on the FUSE program; processes may reach the files without it",
            "keep the lock file on a local file system, or read that program's documentation",
        ),
        "afs" | "coda" | "beegfs" | "orangefs" | "pvfs2" | "ncpfs" => warning(
            "a network file system; whether locks reach other machines depends on its settings",
            ELSEWHERE,
        ),
        "autofs" => warning(
            "nothing seems to be mounted there yet",
            "mount the file system, and try again",
        ),
        _ if KERNEL.contains(&kind) => warning(
            "a file system of the kernel, unsuitable for lock files",
            LOCAL_DIRECTORY,
        ),
        _ => warning(
            "holdlock does not know this type of file system; see the results of the trials below",
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

/// Newer kernels show `nolock` as `local_lock=all`; older kernels do not have that option.
fn nfs(mount: &Mount) -> Verdict {
    let version_4 = mount.kind == "nfs4"
        || mount
            .value("vers")
            .is_some_and(|vers| vers.starts_with('4'));
    match mount.value("local_lock") {
        Some("all" | "flock") => bad(
            "mounted with local_lock: flock excludes on this machine only, not the other clients",
            "mount it with local_lock=none; or keep the lock file on a local file system, if only \
             this machine uses it",
        ),
        Some("posix") => warning(
            "mounted with local_lock=posix: OFD locks exclude on this machine only, flock reaches \
             all clients",
            "use flock only (the default), or mount it with local_lock=none",
        ),
        _ if mount.has("nolock") => bad(
            "mounted with nolock: locks exclude on this machine only, not the other clients",
            "mount it without nolock; or keep the lock file on a local file system, if only this \
             machine uses it",
        ),
        _ if version_4 => note(
            "the server keeps the locks, for all clients; an exclusive lock needs a writable file, \
             and a client loses its locks if the server loses contact with it",
        ),
        _ => warning(
            "the server's lock manager (NLM) keeps the locks; firewalls and crashes of clients are \
             known to break it",
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
        "the server keeps the locks, and they are mandatory: other processes can neither read nor \
         write a locked file; servers differ in how well they do it",
        "lock an empty file that has no other use, or keep it on a local file system",
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
