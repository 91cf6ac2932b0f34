//! The file system of a file: fstatfs(2).

use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;

/// Whether stat(2) reports other device and inode numbers on this file system than the kernel's
/// lock table does.
pub(crate) fn hides_its_device(fd: BorrowedFd<'_>) -> bool {
    matches!(
        name_of(fd).as_str(),
        "overlay" | "btrfs" | "bcachefs" | "unknown"
    )
}

/// Whether the file system shows the kernel's own state. Programs cannot create files there, and
/// writing into a regular file changes the system, though the file seems to be empty.
pub(crate) fn is_the_kernels(fd: BorrowedFd<'_>) -> bool {
    matches!(
        name_of(fd).as_str(),
        "proc"
            | "sysfs"
            | "cgroup"
            | "cgroup2"
            | "devpts"
            | "bpf"
            | "tracefs"
            | "debugfs"
            | "securityfs"
            | "configfs"
            | "selinuxfs"
    )
}

/// The name of the file system of an open file, for error messages.
pub(crate) fn name_of(fd: BorrowedFd<'_>) -> String {
    // SAFETY: `statfs` is plain data for which all-zero is valid.
    let mut answer: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: an open descriptor and valid memory for the answer.
    if check(unsafe { libc::fstatfs(fd.as_raw_fd(), &mut answer) }).is_err() {
        return "unknown".into();
    }
    let name = match answer.f_type as u64 & 0xffff_ffff {
        0x6969 => "nfs",
        0xff53_4d42 => "cifs",
        0xfe53_4d42 => "smb2",
        0x6573_5546 => "fuse",
        0x0102_1997 => "9p",
        0x00c3_6400 => "ceph",
        0x5346_414f => "afs",
        0x0bd0_0bd0 => "lustre",
        0x0116_1970 => "gfs2",
        0x7461_636f => "ocfs2",
        0x794c_7630 => "overlay",
        0x0000_ef53 => "ext2/3/4",
        0x0102_1994 => "tmpfs",
        0x8584_58f6 => "ramfs",
        0x9123_683e => "btrfs",
        0xca45_1a4e => "bcachefs",
        0x5846_5342 => "xfs",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0x4d44 => "vfat",
        0x2011_bab0 => "exfat",
        0x786f_4256 => "vboxsf",
        0x9fa0 => "proc",
        0x6265_6572 => "sysfs",
        0x0027_e0eb => "cgroup",
        0x6367_7270 => "cgroup2",
        0x1cd1 => "devpts",
        0xcafe_4a11 => "bpf",
        0x7472_6163 => "tracefs",
        0x6462_6720 => "debugfs",
        0x7363_6673 => "securityfs",
        0x6265_6570 => "configfs",
        0xf97c_ff8c => "selinuxfs",
        other => return format!("type {other:#x}"),
    };
    name.into()
}
