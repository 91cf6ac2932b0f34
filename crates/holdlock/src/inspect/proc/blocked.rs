//! Finds the processes that wait for an OFD lock. The kernel's lock table has -1 in place of their
//! numbers, so this module looks at the system calls in which threads are blocked
//! (/proc/PID/task/TID/syscall). That takes the permission to trace the process.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use super::descriptors::is_alive;
use super::file_id::{FileId, field};
use super::mounts::Mounts;
use super::process;
use crate::Mode;
use crate::bytes::Range;
use crate::sys::{directory, lock_request};

/// A thread that is blocked in fcntl(F_OFD_SETLKW).
#[derive(Clone, Debug)]
pub(crate) struct Blocked {
    pub(crate) pid: u32,
    pub(crate) descriptor: u32,
    pub(crate) file_id: FileId,
    pub(crate) mode: Mode,
    pub(crate) range: Range,
}

/// All such threads that the caller can see, and the number of processes that it may not look at.
pub(crate) fn look() -> (Vec<Blocked>, usize) {
    let mut found = Vec::new();
    let mut denied = 0;
    for pid in process::pids() {
        match of(pid) {
            Ok(blocked) => found.extend(blocked),
            Err(error) if is_denial(&error) && is_alive(pid) => denied += 1,
            Err(_) => {}
        }
    }
    found.sort_by_key(|blocked| blocked.pid);
    (found, denied)
}

fn is_denial(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

fn of(pid: u32) -> io::Result<Vec<Blocked>> {
    let mut found = Vec::new();
    for task in directory::numbers(format!("/proc/{pid}/task"))? {
        match fs::read_to_string(format!("/proc/{pid}/task/{task}/syscall")) {
            Ok(call) => found.extend(request(pid, &call)),
            Err(error) if is_denial(&error) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(found)
}

/// Parses `72 0x3 0x26 0x7ffd… …`: the number of the system call, and its arguments.
fn request(pid: u32, call: &str) -> Option<Blocked> {
    let mut words = call.split_ascii_whitespace();
    let number = words.next()?.parse().ok()?;
    let mut argument = || {
        let digits = words.next()?.strip_prefix("0x")?;
        u64::from_str_radix(digits, 16).ok()
    };
    let (descriptor, command, at) = (argument()?, argument()?, argument()?);
    if !lock_request::is_blocking_ofd_lock(number, command) {
        return None;
    }
    let descriptor = u32::try_from(descriptor).ok()?;
    let mut request = [0; lock_request::LOCK_REQUEST_SIZE];
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    memory.read_exact_at(&mut request, at).ok()?;
    let (mode, start, length) = lock_request::read_lock_request(&request)?;
    Some(Blocked {
        pid,
        descriptor,
        file_id: file_id(pid, descriptor)?,
        mode,
        range: Range {
            start,
            end: (length > 0).then(|| start.saturating_add(length - 1)),
        },
    })
}

/// The file of a descriptor. Does not ask the file system, which might not answer.
fn file_id(pid: u32, descriptor: u32) -> Option<FileId> {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")).ok()?;
    let (major, minor) = Mounts::of(pid).device(field(&info, "mnt_id:")?)?;
    Some(FileId {
        major,
        minor,
        inode: field(&info, "ino:")?,
    })
}
