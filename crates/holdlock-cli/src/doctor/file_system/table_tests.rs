//! Every type and option for which there is a rule of its own.

use super::*;
use crate::doctor::mounts;

fn level(kind: &str, options: &str) -> Level {
    let line = format!("1 0 0:9 / /x rw - {kind} src rw,{options}\n");
    judge(&mounts::parse(line.as_bytes())[0]).level
}

#[test]
fn local_file_systems_are_fine() {
    for kind in [
        "ext4", "xfs", "btrfs", "tmpfs", "ramfs", "zfs", "fuseblk", "overlay",
    ] {
        assert_eq!(level(kind, ""), Level::Ok, "{kind}");
    }
}

#[test]
fn nfs_depends_on_where_its_locks_are() {
    for (kind, options, expected) in [
        ("nfs4", "vers=4.2,hard,local_lock=none", Level::Note),
        ("nfs", "vers=4.1", Level::Note),
        ("nfs", "vers=3,local_lock=none", Level::Warning),
        ("nfs", "vers=3,nolock,local_lock=all", Level::Unsafe),
        ("nfs", "vers=3,nolock", Level::Unsafe),
        ("nfs4", "vers=4.2,local_lock=flock", Level::Unsafe),
        ("nfs", "vers=3,local_lock=posix", Level::Warning),
    ] {
        assert_eq!(level(kind, options), expected, "{kind} {options}");
    }
}

#[test]
fn locks_of_one_machine_on_files_of_many_are_unsafe() {
    for (kind, options) in [
        ("fuse.sshfs", "user_id=0"),
        ("fuse.rclone", ""),
        ("cifs", "vers=3.1.1,nobrl"),
        ("gfs2", "localflocks"),
        ("gfs2", "lockproto=lock_nolock"),
        ("lustre", "localflock"),
        ("lustre", "noflock"),
    ] {
        assert_eq!(level(kind, options), Level::Unsafe, "{kind} {options}");
    }
}

#[test]
fn what_cannot_be_known_is_a_warning_with_a_remedy() {
    for kind in [
        "9p",
        "drvfs",
        "virtiofs",
        "vboxsf",
        "fuse",
        "fuse.mergerfs",
        "cifs",
        "what",
    ] {
        let line = format!("1 0 0:9 / /x rw - {kind} src rw\n");
        let verdict = judge(&mounts::parse(line.as_bytes())[0]);
        assert_eq!(verdict.level, Level::Warning, "{kind}");
        assert!(verdict.remedy.is_some());
    }
    assert_eq!(level("ceph", ""), Level::Note);
    assert_eq!(level("gfs2", "lockproto=lock_dlm"), Level::Note);
}

#[test]
fn drives_of_windows_are_recognised() {
    let why = |source: &str, options: &str| {
        let line = format!("1 0 0:9 / /x rw - 9p {source} rw,{options}\n");
        judge(&mounts::parse(line.as_bytes())[0]).why
    };
    assert!(why("drvfs", "").contains("WSL"));
    assert!(why("C:\\134", "aname=drvfs;path=C:\\134").contains("WSL"));
    assert!(!why("host0", "").contains("WSL"));
}
