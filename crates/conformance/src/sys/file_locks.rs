//! Locks and leases of files by hand, and waits for them.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use holdlock_test_support::eventually;

/// Takes a write lease on a file. False if the kernel does not grant it.
pub fn lease(file: &File) -> bool {
    // SAFETY: takes no pointers.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) == 0 }
}

/// Gives a lease back.
pub fn unlease(file: &File) {
    // SAFETY: takes no pointers.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
}

/// flock(2) by hand.
pub fn flock(file: &File, operation: i32) -> io::Result<()> {
    // SAFETY: takes no pointers.
    match unsafe { libc::flock(file.as_raw_fd(), operation) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// fcntl(2) by hand: F_SETLKW, F_OFD_SETLKW and their like, with F_WRLCK, F_RDLCK or
/// F_UNLCK, on the bytes (start, length). A length of 0 means up to the end.
pub fn fcntl_lock(file: &File, command: i32, kind: i32, bytes: (u64, u64)) -> io::Result<()> {
    // SAFETY: `flock` is plain data for which all-zero is valid.
    let mut request: libc::flock = unsafe { std::mem::zeroed() };
    request.l_type = kind as libc::c_short;
    request.l_whence = libc::SEEK_SET as libc::c_short;
    request.l_start = bytes.0 as libc::off_t;
    request.l_len = bytes.1 as libc::off_t;
    // SAFETY: these commands take a `struct flock`, alive in the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, &request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits until a process with one thread sleeps in the queue of a lock, in one of these system
/// calls. While another process reads /proc/locks, it sleeps before it gets that far.
pub fn wait_until_queued(pid: u32, calls: &[libc::c_long]) {
    let place = |name| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let is_one = |call: &str| calls.iter().any(|one| call.starts_with(&format!("{one} ")));
    eventually(
        &format!("pid {pid} sleeps in system call {calls:?}"),
        || {
            let function = place("wchan");
            function != "0" && !function.contains("percpu") && is_one(&place("syscall"))
        },
    );
}
