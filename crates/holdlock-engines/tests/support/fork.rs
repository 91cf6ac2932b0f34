//! Children of fork(2).

#![allow(unsafe_code, reason = "fork")]

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use rustix::net::{SocketAddrAny, getpeername, getsockname};

/// Runs `body` in a child, which exits with what it returns.
pub(crate) fn in_child(body: impl FnOnce() -> bool) -> libc::pid_t {
    // SAFETY: the child calls only code that is meant for children of fork.
    match unsafe { libc::fork() } {
        0 => {
            let code = if body() { 0 } else { 1 };
            // SAFETY: ends the child.
            unsafe { libc::_exit(code) }
        }
        pid => pid,
    }
}

/// The kernel ends this process in so many seconds.
pub(crate) fn end_in(seconds: u32) {
    // SAFETY: takes no pointers.
    unsafe { libc::alarm(seconds) };
}

/// Closes all descriptors but the standard ones, and opens so many files.
pub(crate) fn close_descriptors(files: usize) -> Vec<std::fs::File> {
    // SAFETY: takes no pointers. What the numbers belonged to has to notice.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    let files = (0..files).map(|_| std::fs::File::open("/dev/zero"));
    files.map(|file| file.expect("opens")).collect()
}

pub(crate) fn ended_well(pid: libc::pid_t) -> bool {
    let mut status = 0;
    // SAFETY: waits for a child of ours.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

/// Whether this process has a socket that is connected to this port. A socket that has no address
/// yet is given a moment for it.
pub(crate) fn is_connected_to(port: u16) -> bool {
    let moment = std::time::Duration::from_millis(50);
    (3..256).any(|number| {
        // SAFETY: a number that is not open is an error, and nothing is closed.
        let socket = unsafe { BorrowedFd::borrow_raw(number) };
        let is_peer = || getpeername(socket).is_ok_and(|peer| port_of(peer) == Some(port));
        let is_new = || getsockname(socket).is_ok_and(|name| port_of(Some(name)) == Some(0));
        is_peer()
            || is_new() && {
                std::thread::sleep(moment);
                is_peer()
            }
    })
}

fn port_of(address: Option<SocketAddrAny>) -> Option<u16> {
    Some(SocketAddr::try_from(address?).ok()?.port())
}
